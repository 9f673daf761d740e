"""Steps that all families share: layers by class, weights moved, features named by stride."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import keras

from keras_dense._types import Features, Tensor
from keras_dense.surgery.graph import transfer
from keras_dense.surgery.strides import strides


def layers_of(model: keras.Model, kind: str) -> list[keras.layers.Layer]:
    """The layers of a class, by its name, in the order of the graph.

    >>> mlp = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="one")])
    >>> [layer.name for layer in layers_of(mlp, "Dense")]
    ['one']
    """
    return [layer for layer in model.layers if type(layer).__name__ == kind]


@contextlib.contextmanager
def precision_of(layer: keras.layers.Layer) -> Iterator[None]:
    """Build layers with the dtype policy of another.

    >>> with precision_of(keras.layers.Dense(2, dtype="mixed_bfloat16")):
    ...     keras.layers.Dense(3).compute_dtype
    'bfloat16'
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(layer.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def move(pairs: Iterable[tuple[keras.layers.Layer, keras.layers.Layer]]) -> None:
    """Give each first layer the weights of the second, and whether it is trained.

    >>> one, two = keras.layers.Dense(2), keras.layers.Dense(2)
    >>> one.build((None, 3)), two.build((None, 3))
    (None, None)
    >>> move([(one, two)])
    >>> bool((one.get_weights()[0] == two.get_weights()[0]).all())
    True
    """
    for ours, theirs in pairs:
        transfer(ours, theirs.get_weights())
        ours.trainable = theirs.trainable


def by_stride(image: Tensor, maps: Sequence[Tensor]) -> Features:
    """Maps as features `{"P2": …}`, named by the strides that are read off the graph.

    Of several maps of a stride the last one counts; those of other strides than 1, 2, …, 32 are no
    features.

    >>> image = keras.Input((None, None, 3))
    >>> list(by_stride(image, [keras.layers.Conv2D(4, 4, strides=4)(image)]))
    ['P2']
    """
    levels = {2**n: f"P{n}" for n in range(6)}
    found = strides(keras.Model(image, list(maps)))
    named = {levels[s]: x for x, s in zip(maps, found, strict=True) if s in levels}
    return {level: named[level] for level in sorted(named)}
