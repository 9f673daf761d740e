"""Prediction of single images, whole, by tiles, or in several versions."""

import argparse
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_dense._command.memory import Memory, available
from keras_dense.heads import Heads, decoded
from keras_dense.inference import TiledPredictor, predict_multiscale
from keras_dense.inference.lean import Lean
from keras_dense.inference.network import share_lost
from keras_dense.surgery.strides import total_stride


class Predictor:
    """Results of single images. Tiles are used where they are asked for, and where an image is too
    large for the memory of the machine.

    Args:
        model, heads: the model and its heads.
        args: of the command: `tile` (0: never), `overlap`, `scales`, `flip`.
        say: function that prints a line, when first an image is divided for want of memory.

    Attributes:
        divided: int, number of images that were.
    """

    def __init__(
        self,
        model: keras.Model,
        heads: Heads,
        args: argparse.Namespace,
        say: Callable[[str], None] = print,
    ) -> None:
        self._heads, self._args, self._say = heads, args, say
        fixed = None not in model.input.shape[1:3]
        self._forced = bool(args.tile) or (fixed and not args.scales)
        self._free = args.tile is None and not self._forced and not fixed
        network = _checking(model, heads)
        self._whole = Lean(network)
        self._versions: _Versions | None = None
        if args.scales or args.flip:
            self._versions = _Versions(model, heads, args)
        self._memory = Memory(network, (args.scales or (1.0,)) if self._versions else ())
        self._model, self._tiled = model, None
        self._decided: dict[tuple[int, int], int | None] = {}
        self.divided = 0

    def __call__(self, pixels: Any, progress: Any = False) -> Any:
        """Results of an image, pixels `(H, W, 3)`.

        Args:
            progress: function that is called with the numbers of finished and of all tiles.

        Raises:
            ValueError: if the model predicts NaN, or there is too little memory.
        """
        tile = self._args.tile or None
        divided = self._forced
        if self._free:
            tile = self._tile(pixels.shape[:2])
            divided = tile is not None
        try:
            found = self._by_tiles(pixels, tile, progress) if divided else self._undivided(pixels)
        except Exception as error:
            if not _no_memory(error):
                raise
            raise ValueError(
                f"needs more memory than there is, {_size(pixels)} pixels; tiles take less: "
                f"--tile {256 if divided else 1024}"
            ) from error
        self._heads.map(_check, found)
        return found

    def _tile(self, size):
        """The side of the tiles that an image needs on this machine, or `None`.

        Images of one size are treated alike: what the first one leaves allocated would count.
        """
        if size not in self._decided:
            room = available()
            self._decided[size] = tile = self._memory.tile(size, room)
            if tile is not None and not self.divided:
                self._say(
                    f"{size[0]}×{size[1]} pixels are predicted in tiles of {tile}: undivided they "
                    f"need about {self._memory.needed(size) / 1e9:.2g} GB of memory, of which "
                    f"{room / 1e9:.2g} GB are left (--tile 0 turns this off)"
                )
        self.divided += self._decided[size] is not None
        return self._decided[size]

    def _by_tiles(self, pixels, tile, progress):
        if self._tiled is None:
            self._tiled = _Tiles(self._model, self._heads, self._versions)
        overlap = self._args.overlap
        return self._tiled.run(pixels, tile=tile, overlap=overlap, progress=progress)

    def _undivided(self, pixels):
        if self._versions is not None:
            found = self._versions.results(pixels[None])
        else:
            found, lost = self._whole.predict_on_batch(pixels[None])
            self._heads.map(_check_lost, lost)
        return self._heads.map(lambda _, head, x: keras.ops.convert_to_numpy(x)[0], found)


class _Versions:
    """The mean of the predictions of several versions of an image."""

    def __init__(self, model, heads, args):
        self._network, self._heads = Lean(model), heads
        self._settings = {"scales": args.scales or (1.0,), "flip": args.flip}

    def mean(self, images):
        return predict_multiscale(self._network, images, self._heads, **self._settings)

    def results(self, images, mean=None):
        mean = self.mean(images) if mean is None else mean
        return self._heads.map(lambda _, head, x: head.decode(x, images), mean)


class _Tiles(TiledPredictor):
    """A predictor of tiles, of their versions if there are any."""

    def __init__(self, model, heads, versions):
        self._versions = versions
        super().__init__(model, heads)

    def _refresh(self):
        parts, network = super()._refresh()
        return parts, network if self._versions is None else _Mean(parts, self._versions)


class _Mean:
    """In place of the network of a tile: the outputs of its parts, of the mean over versions."""

    def __init__(self, parts, versions):
        self._parts, self._versions = parts, versions

    def predict_on_batch(self, images):
        mean = self._versions.mean(images)
        results = self._versions.results(images, mean)
        if not isinstance(mean, dict):
            mean, results = {"": mean}, {"": results}
        outputs = []
        for part in self._parts:
            x, result = (keras.ops.convert_to_numpy(y[part.key]) for y in (mean, results))
            result = result.astype(part.dtype)
            outputs += [result] if part.outputs[0] == part.outputs[1] else [x, result]
            # Predictions of NaN were refused.
            outputs += [] if part.lost is None else [np.zeros(len(images))]
        return outputs


def _checking(model, heads):
    """Results, and the share of pixels with NaN or infinity."""
    product = decoded(model, heads)

    def lost(_, head, y, result):
        return share_lost(y, "int" in keras.backend.standardize_dtype(result.dtype))

    shares = heads.map(lost, model.output, product.output)
    return keras.Model(model.input, (product.output, shares), name=product.name)


def _check_lost(key, head, share):
    if float(share[0]) > 0:
        what = f" of {key!r}" if key else ""
        raise ValueError(
            f"the model predicts NaN or infinity{what} at {100 * float(share[0]):.3g} % of the "
            "pixels: are its weights finite?"
        )


def explained(error, pixels, model):
    """A shorter error for an image that is smaller than the stride of the network."""
    try:
        stride = total_stride(model)
    except ValueError:
        return error
    if pixels is None or min(pixels.shape[:2]) >= stride:
        return error
    height, width = pixels.shape[:2]
    return ValueError(f"is too small: {height}×{width} pixels, for a network of stride {stride}")


def _check(_, head, result):
    if not np.isfinite(result).all():
        raise ValueError("the model predicts NaN or infinity")


def _no_memory(error):
    """Whether an error says that memory is short, in the words of the libraries."""
    said = str(error).lower()
    words = "out of memory", "not enough memory", "allocate memory", "oom when"
    return isinstance(error, MemoryError) or any(word in said for word in words)


def _size(pixels):
    return f"{pixels.shape[0]}×{pixels.shape[1]}"
