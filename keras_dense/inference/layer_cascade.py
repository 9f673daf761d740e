"""Prediction with a Deep Layer Cascade: later stages compute only the pixels that need them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import tree

from keras_dense._arrays import as_pixels
from keras_dense._types import Array, ArrayLike
from keras_dense.layers.cascade import Certainty, KeepCells, PoolKeptCells, Settled, Unsure
from keras_dense.layers.phases import PhasePooling2D
from keras_dense.models.layer_cascade import check_thresholds
from keras_dense.surgery.graph import functional, rebuild, walk
from keras_dense.surgery.region import RegionNetwork
from keras_dense.surgery.strides import strides


class Cascaded(NamedTuple):
    """Prediction of a cascade.

    Attributes:
        prediction: logits `(B, H, W, C)`, float32.
        stage: uint8 `(B, H, W)`, the stage (1, 2, …) that predicted each pixel.
        reached: the share of pixels that reached each stage; that of the first is 1.
    """

    prediction: np.ndarray
    stage: np.ndarray
    reached: tuple


class _Graph:
    """The calls of a network, and those that a tensor depends on."""

    def __init__(self, model):
        self.calls = []

        def visit(node, *args, **kwargs):
            self.calls.append(node)
            return list(node.outputs)

        walk(model, model.input, visit, nested=False)
        self.makers = {id(x): node for node in self.calls for x in node.outputs}

    def needed(self, tensor):
        """Ids of the calls that lead to a tensor."""
        found, waiting = set(), [tensor]
        while waiting:
            node = self.makers.get(id(waiting.pop()))
            if node is not None and id(node) not in found:
                found.add(id(node))
                waiting.extend(node.input_tensors)
        return found

    def crossing(self, made, used):
        """Tensors of calls in `made` that calls in `used` read."""
        found = {}
        for node in self.calls:
            if id(node) in used:
                for x in node.input_tensors:
                    if id(self.makers.get(id(x))) in made:
                        found[id(x)] = x
        return list(found.values())


class LayerCascade:
    """A trained cascade: at every stage, pixels with a certain prediction leave.

    The first stage computes the whole image. A later one computes a list of the cells that reached
    it: its convolutions gather their neighbors from that list, and cells that left count as zero
    (the paper's region convolution), so its time grows with the number of cells. With thresholds
    above 1 no pixel leaves, and the prediction is that of the last stage.

    The weights are copied: after further training, make a new object. Maps go through NumPy between
    stages. At the thresholds of the training the prediction is that of the model.

    Attributes:
        thresholds: floats for each stage but the last; may be set.
        last: a `keras.Model` that computes the last stage everywhere, for comparison.

    Args:
        model: a model of `kd.layer_cascade` with its stages among the heads, trained or loaded
            from a file.
        thresholds: the certainty above which pixels leave a stage: a number, or one for each stage
            but the last; default: those of the training.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a model without stages, a wrong number of thresholds, thresholds that are
            not above 0, stages at maps of several strides, or an operation that cannot be computed
            for a part of the cells (it is named).

    Reference: Li et al., "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
    Deep Layer Cascade", CVPR 2017, section 3.2.

    >>> import keras_dense as kd
    >>> heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> cascade = LayerCascade(kd.layer_cascade(backbone, heads=heads), thresholds=2.0)
    >>> result = cascade.predict(np.zeros((1, 33, 47, 3), "uint8"))
    >>> result.prediction.shape, result.reached
    ((1, 33, 47, 11), (1.0, 1.0, 1.0))
    """

    def __init__(
        self, model: keras.Model, thresholds: float | Sequence[float] | None = None
    ) -> None:
        scored, certainties, trained = [], [], []
        settled = {}

        def unmasked(node, copies, *args, **kwargs):
            """The network without the layers that let cells leave."""
            op = node.operation
            if isinstance(op, Certainty):
                scored.append(args[0])
                certainties.append(copies(op, *args))
                return certainties[-1]
            if isinstance(op, Unsure):
                trained.append(op.threshold)
                return args[0]
            if isinstance(op, PoolKeptCells):
                return copies(op, args[0], kind=PhasePooling2D)
            if isinstance(op, Settled):
                settled["last"] = args[0]
            return args[0] if isinstance(op, (KeepCells, Settled)) else None

        flat = rebuild(functional(model), unmasked)
        if not certainties or not settled:
            raise ValueError(
                "`model` must have stages that pixels can leave. Received: "
                f"{model.name!r}. Build it with "
                "kd.layer_cascade(…, heads=kd.heads.with_intermediate(head, "
                "['stage1', 'stage2']))."
            )
        scored.append(settled["last"])
        self._count = len(trained) + 1
        self.thresholds = tuple(trained) if thresholds is None else thresholds
        self._stride = self._common_stride(flat, scored)

        graph = _Graph(keras.Model(flat.input, [*scored, *certainties, flat.output]))
        needed = [graph.needed(x) for x in scored]
        made: set = set()
        self._lists: list = []
        self._stages: list = []
        for n, scores in enumerate(scored):
            calls = needed[n] - made
            made = made | calls
            reads = graph.crossing(made - calls, calls) if n else [flat.input]
            gives = graph.crossing(calls, set().union(*needed[n + 1 :]) - made)
            outputs = [scores, *certainties[n : n + 1], *gives]
            reads_one = reads if len(reads) > 1 else reads[0]
            part = keras.Model(reads_one, outputs, name=f"stage{n + 1}")
            self._stages.append(RegionNetwork(part) if n else part)
            self._lists.append(([id(x) for x in reads], [id(x) for x in gives]))
        last = scored[-1]
        finish = next(
            x for x in tree.flatten(flat.output) if id(graph.makers[id(last)]) in graph.needed(x)
        )
        self._finish = keras.Model([last, flat.input], finish, name="finish")
        self.last = keras.Model(flat.input, finish, name=f"{model.name}_last")

    @property
    def thresholds(self) -> tuple[float, ...]:
        return self._thresholds

    @thresholds.setter
    def thresholds(self, value: float | Sequence[float]) -> None:
        self._thresholds = check_thresholds(value, self._count)

    @staticmethod
    def _common_stride(flat, scored):
        found = strides(keras.Model(flat.input, list(scored)))
        if len(set(found)) > 1:
            raise ValueError(
                "The stages of a cascade must end at maps of one stride, as after "
                f"kd.surgery.dilate(backbone, 8). Received strides: {found}"
            )
        return found[0]

    def predict(self, images: ArrayLike) -> Cascaded:
        """Predict images, each pixel by the stage at which it leaves.

        Args:
            images: `(B, H, W, C)`, RGB, uint8 or floats, 0–255.

        Returns:
            `Cascaded`: the prediction `(B, H, W, classes)`, the stage of each pixel, and the share
            of pixels that reached each stage.

        Raises:
            TypeError: for images that are no array.
            ValueError: for images of another shape or range, or if a stage predicts NaN.
        """
        images = as_pixels(images, "images", batch=True)
        first: Any = self._stages[0]
        later = self._stages[1:]
        scores, certainty, *gives = first.predict_on_batch(images)
        scores = np.array(scores)  # Arrays of JAX are read-only.
        stage = np.ones(scores.shape[:3], "uint8")
        mask = np.ones(scores.shape[:3], bool)
        cells = {
            key: np.asarray(x).reshape(-1, x.shape[-1])
            for key, x in zip(self._lists[0][1], gives, strict=True)
        }
        certainty = np.asarray(certainty).reshape(-1)
        for n, part in enumerate(later):
            # A pixel with NaN would never count as uncertain.
            lost = np.isnan(certainty)
            if lost.any():
                raise ValueError(
                    f"Stage {n + 1} predicts NaN at {100 * lost.mean():.3g} % of the pixels that "
                    "reach it: are its weights finite?"
                )
            stays = certainty <= self.thresholds[n]
            mask[mask] = stays
            if not stays.any():
                break
            reads, gives = self._lists[n + 1]
            cells = {key: x[stays] for key, x in cells.items()}
            new, *more = part.predict([cells[key] for key in reads], mask)
            scores[mask], stage[mask] = new, n + 2
            if n + 1 < len(later):
                certainty, *more = more
                certainty = certainty.reshape(-1)
            cells |= dict(zip(gives, more, strict=True))
        prediction = self._finish.predict_on_batch([scores, images.astype("float32")])
        height, width = images.shape[1:3]
        stage = stage.repeat(self._stride, 1).repeat(self._stride, 2)[:, :height, :width]
        reached = tuple(float(np.mean(stage > n)) for n in range(len(self._stages)))
        return Cascaded(np.asarray(prediction), stage, reached)

    def predict_on_batch(self, images: ArrayLike) -> Array:
        """The prediction alone, so that a cascade can be evaluated like a model.

        ```python
        kd.training.evaluate(cascade, kd.datasets.Loader(val, head, 1), head)
        ```
        """
        return self.predict(images).prediction
