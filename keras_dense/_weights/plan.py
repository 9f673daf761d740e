"""Weights that are ready to be set, and the check that they are all."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_dense._types import Array
from keras_dense._weights.looks import looks_like
from keras_dense._weights.report import Report


class Plan:
    """Converted and compared weights of a file; nothing is set yet.

    Attributes:
        report: the `Report` of what will be read.

    >>> from keras_dense._weights.rules import Rule, plan
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a")])
    >>> tensors = {"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)}
    >>> ready = plan(tensors, model, [Rule("fc", "a", "linear")], source="a.pth")
    >>> ready.check()
    >>> ready.apply().read
    ('a/kernel', 'a/bias')
    """

    def __init__(
        self,
        report: Report,
        variables: Mapping[str, Any],
        values: dict[str, Array],
        keys: Sequence[str],
    ) -> None:
        self.report = report
        self._variables = variables
        self._values = values
        self._keys = keys

    def check(self, strict: bool = True) -> None:
        """Raise a `ValueError` unless everything fits.

        Args:
            strict: bool. With `False` it is enough that something fits.
        """
        if self.report.complete and self.report.read:
            return
        if strict or not self.report.read:
            raise ValueError("\n".join([self._headline(), str(self.report), *self._hints(strict)]))

    def apply(self, *, restore: bool = True) -> Report:
        """Set the weights. Can be called once: the values are released one after another.

        Args:
            restore: bool, whether the model gets its old weights back if setting one fails. A
                model that is thrown away then does without, and without their memory.

        Returns:
            The report.
        """
        old: dict[str, Array] = {}
        try:
            for name in list(self._values):
                variable, value = self._variables[name], self._values.pop(name)
                if restore:
                    # A copy: PyTorch's arrays share the memory of the variable.
                    old[name] = np.array(keras.ops.convert_to_numpy(variable.value))
                variable.assign(np.array(value, dtype=_dtype(variable), order="C"))
        except BaseException:
            for name, value in old.items():
                self._variables[name].assign(value)
            raise
        return self.report

    def _headline(self) -> str:
        report = self.report
        found = looks_like(self._keys)
        text = f"The weights of {report.source!r} do not fit the model {report.model!r}."
        if len(report.read) < report.total / 2:
            text = f"{report.source!r} holds weights of another network than {report.model!r}."
            text += f" They look like: {found}." if found else " It is none that is known here."
        return text

    def _hints(self, strict: bool) -> list[str]:
        report, hints = self.report, []
        others = [m for m in report.mismatched if m.file_shape != m.model_shape]
        if others and all(m.file_shape[:-1] == m.model_shape[:-1] for m in others):
            have, want = (
                sorted({shape[-1] for shape in shapes})
                for shapes in zip(*((m.file_shape, m.model_shape) for m in others), strict=True)
            )
            if len(have) == len(want) == 1:
                hints.append(
                    f"The file was trained for {have[0]} classes, the model predicts {want[0]}. "
                    "With `strict=False` all other weights are read, and the scores of the model "
                    "stay as they are, for training."
                )
        elif report.read and strict and len(report.read) >= report.total / 2:
            hints.append("With `strict=False` what fits is read, and the rest stays as it is.")
        # Of another network, near names mean nothing.
        for name in report.missing[:3] if len(report.read) >= report.total / 2 else ():
            plain = name.replace("/", ".").replace("_", ".")
            near = difflib.get_close_matches(plain, report.unread, n=2, cutoff=0.5)
            if near:
                hints.append(f"Nearest to {name!r} in the file: {', '.join(map(repr, near))}.")
        return hints


def _dtype(variable: Any) -> Any:
    """The type of a variable as NumPy has it: it lacks bfloat16, which Keras converts."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float32" if dtype == "bfloat16" else dtype
