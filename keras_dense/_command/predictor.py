"""Prediction of single images, whole, by tiles, or in several versions."""

import keras
import numpy as np

from keras_dense.heads import decoded
from keras_dense.inference import TiledPredictor, predict_multiscale
from keras_dense.inference.network import share_lost
from keras_dense.surgery.strides import total_stride


def predictor(model, heads, args):
    """Function from pixels `(H, W, 3)`, and one to call with a share that is done, to results.

    Args:
        model, heads: the model and its heads.
        args: of the command: `tile`, `overlap`, `scales`, `flip`.
    """
    fixed = None not in model.input.shape[1:3]
    if args.scales or args.flip:

        def predict(pixels, progress):
            scales = args.scales or (1.0,)
            found = predict_multiscale(model, pixels[None], heads, scales=scales, flip=args.flip)
            return heads.map(lambda _, head, p: head.decode(p, pixels[None]), found)

    elif args.tile is not None or fixed:
        tiled = TiledPredictor(model, heads)

        def predict(pixels, progress):
            found = tiled.run(pixels, tile=args.tile, overlap=args.overlap, progress=progress)
            return heads.map(lambda _, head, p: p[None], found)

    else:
        network = _checking(model, heads)

        def predict(pixels, progress):
            found, lost = network.predict_on_batch(pixels[None])
            heads.map(_check_lost, lost)
            return found

    def single(pixels, progress=False):
        found = predict(pixels, progress)
        found = heads.map(lambda _, head, p: keras.ops.convert_to_numpy(p)[0], found)
        heads.map(_check, found)
        return found

    return single


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
