"""The base of data sets: samples by number, and a hint where arrays are expected."""

from typing import Any


class Samples:
    """Base of data sets: `len(dataset)` samples, each `dataset[i]`.

    A data set is neither an array nor batches. `fit` of Keras asks for `__array__` and then for
    `shape` before anything else, NumPy for `__array__`, so that is where users are told.
    """

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(self._hint())

    @property
    def shape(self) -> Any:
        # `hasattr(dataset, "shape")` is still false.
        raise AttributeError(self._hint())

    def _hint(self) -> str:
        return (
            "a data set holds samples, not batches of images and targets. Give `fit`, `evaluate` "
            "and `predict` of Keras a loader: kd.datasets.Loader(dataset, heads, batch_size=8). "
            f"Received: {repr(self):.100}"
        )
