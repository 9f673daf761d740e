"""Predictions that a network makes on its way to the last one."""

import keras

from keras_dense.heads.auxiliary import Auxiliary


@keras.saving.register_keras_serializable("keras_dense")
class Intermediate(Auxiliary):
    """A head for one of the predictions that a network makes on its way to the final one.

    Unlike `Auxiliary`, which adds layers of its own, it only hands out scores that the network
    computes anyhow: of an earlier stage (`kd.layer_cascade`) or unit
    (`kd.stacked_deconvolutional_network`). It predicts what `head` predicts, with that head's
    loss; `kd.decoded(model, heads)` leaves it out.

    Args:
        head: the head whose earlier prediction it is.
        stage: the name that the network has for it; an error lists them.
        weight: weight of this loss among those of all heads.

    Raises:
        TypeError: if `head` is no head, or an auxiliary one.

    >>> from keras_dense.heads import Segmentation
    >>> early = Intermediate(Segmentation(21), "stage1")
    >>> early.channels, early.weight
    (21, 1.0)
    """

    def __init__(self, head, stage, weight=1.0):
        super().__init__(head, level=None, weight=weight)
        self.stage = stage

    def get_config(self):
        config = super().get_config()
        return {"head": config["head"], "stage": self.stage, "weight": self.weight}


def with_intermediate(head, stages, weight=1.0, name="segmentation"):
    """A head, and one for each of the predictions made on the way to it, as heads for a builder.

    Args:
        head: what is predicted.
        stages: names of the earlier predictions, which become keys of the output.
        weight: of each of their losses, or a list with one for each.
        name: the key of the final prediction.

    Raises:
        TypeError: if `head` is no head.
        ValueError: for a stage named like the final prediction, or another number of weights than
            of stages.

    >>> from keras_dense.heads import Segmentation
    >>> list(with_intermediate(Segmentation(21), ["stage1", "stage2"]))
    ['segmentation', 'stage1', 'stage2']
    """
    stages = [stages] if isinstance(stages, str) else list(stages)
    weights = list(weight) if isinstance(weight, (tuple, list)) else [weight] * len(stages)
    if name in stages:
        raise ValueError(f"`name` must be another than those of the stages. Received: {name!r}")
    if len(weights) != len(stages):
        raise ValueError(
            f"`weight` must be a number, or one for each stage. Received: {len(weights)} weights "
            f"for {len(stages)} stages"
        )
    early = {s: Intermediate(head, s, w) for s, w in zip(stages, weights, strict=True)}
    return {name: head, **early}
