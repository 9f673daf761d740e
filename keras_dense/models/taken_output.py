"""One output of a model, to be replaced by a refined one: what `with_crf` and others share."""

from typing import Any, NamedTuple

import keras

from keras_dense._types import Tensor
from keras_dense.heads import Head
from keras_dense.heads.collection import carried
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery.graph import functional


class Taken(NamedTuple):
    """An output of a model from one image.

    Attributes:
        model: the model.
        key: its key among several outputs, or `None`.
        scores: the output.
        head: the head that it carries, or `None`.
    """

    model: keras.Model
    key: str | None
    scores: Tensor
    head: Head | None

    def check_classes(self) -> None:
        """Raise a `ValueError` unless it is logits of several classes, one for each pixel."""
        shape = tuple(self.scores.shape)
        other = self.head is not None and self.head.mode != "multiclass"
        if len(shape) != 4 or (shape[-1] or 0) < 2 or other:
            raise ValueError(
                "`model` must predict logits (B, H, W, classes) of at least 2 classes, of which "
                f"each pixel has one. Received: an output of shape {shape}"
            )

    def replaced(
        self, scores: Tensor, suffix: str, name: str | None = None, inputs: Any = None
    ) -> keras.Model:
        """The model with other scores; it shares layers and weights.

        Args:
            scores: the new output, computed from the model's tensors.
            suffix: str, what is added to names.
            name: str, name of the model.
            inputs: its inputs; default: the image.
        """
        if self.head is not None:
            scores = HeadOutput(self.head, name=f"{self.key or 'prediction'}_{suffix}")(scores)
        outputs = scores if self.key is None else {**self.model.output, self.key: scores}
        inputs = self.model.input if inputs is None else inputs
        return keras.Model(inputs, outputs, name=name or f"{self.model.name}_{suffix}")


def take_output(model: keras.Model, key: str | None, purpose: str) -> Taken:
    """Find the output of a model that is to be replaced.

    Args:
        model: a functional model.
        key: str, the output, or `None`: the only one, or the only segmentation.
        purpose: str, for the message: "the output `purpose`".

    Raises:
        TypeError: for a model with several inputs, or whose graph cannot be read.
        ValueError: for a key that the model does not have, or if it is not clear which is meant.
    """
    model = functional(model)
    if not isinstance(model.input, keras.KerasTensor):
        raise TypeError(
            "`model` must have one input, the image. Received: a model with inputs "
            f"{[x.name for x in model.inputs]}"
        )
    outputs = model.output
    if not isinstance(outputs, dict):
        if key is not None:
            raise ValueError(f"`key` must be None for a model of one output. Received: key={key!r}")
        return Taken(model, None, outputs, carried(outputs))
    heads = {name: carried(output) for name, output in outputs.items()}
    choices = [n for n, head in heads.items() if head and head.final and head.mode == "multiclass"]
    choices = choices or [n for n, head in heads.items() if head is None and len(outputs) == 1]
    if key is None and len(choices) == 1:
        key = choices[0]
    if key not in outputs:
        raise ValueError(
            f"`key` must be the output that {purpose}, one of {', '.join(choices or outputs)}. "
            f"Received: key={key!r}"
        )
    return Taken(model, key, outputs[key], heads[key])
