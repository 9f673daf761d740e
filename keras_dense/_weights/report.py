"""Report of what was read of a file, and what was not."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keras_dense._types import Shape

# A list in a message shows so many entries.
SHOWN = 8


class Mismatch(NamedTuple):
    """A weight of another shape than in the file.

    Attributes:
        name: str, the weight of the model.
        file_shape: shape of the tensor in the file, in the order of axes that Keras uses.
        model_shape: shape of the weight.
        key: str, the tensor in the file.
    """

    name: str
    file_shape: Shape
    model_shape: Shape
    key: str

    def __str__(self) -> str:
        if self.file_shape == self.model_shape:
            return f"{self.name}: kept, as another weight of its layer does not fit"
        return (
            f"{self.name}: {self.file_shape} in the file ({self.key}), "
            f"{self.model_shape} in the model"
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """Weights that were read, and all that were not.

    Attributes:
        source: str, the file.
        model: str, name of the model.
        read: weights of the model that got a value.
        missing: weights of the model without one.
        unread: tensors of the file that nothing was made of.
        mismatched: weights whose tensor has another shape.
        left_out: dict from a reason to the tensors that were left out for it.

    Example:

    >>> report = Report("a.pth", "fcn8s", read=("a/kernel",), missing=("b/kernel", "b/bias"))
    >>> print(report)
    read 1 of 3 weights of 'fcn8s' from 'a.pth'
      missing in the file: b/kernel, b/bias
    >>> report.complete
    False
    """

    source: str
    model: str
    read: Sequence[str] = ()
    missing: Sequence[str] = ()
    unread: Sequence[str] = ()
    mismatched: Sequence[Mismatch] = ()
    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every weight was read, and every tensor used or left out on purpose."""
        return not (self.missing or self.unread or self.mismatched)

    @property
    def total(self) -> int:
        """The number of weights of the model."""
        return len(self.read) + len(self.missing) + len(self.mismatched)

    def __str__(self) -> str:
        lines = [
            f"read {len(self.read)} of {self.total} weights of {self.model!r} from {self.source!r}"
        ]
        for what, names in (
            ("missing in the file", self.missing),
            ("unread tensors of the file", self.unread),
        ):
            if names:
                lines.append(f"  {what}: {listed(names)}")
        if self.mismatched:
            lines.append("  of another shape:")
            lines += [f"    {one}" for one in self.mismatched[:SHOWN]]
            if len(self.mismatched) > SHOWN:
                lines.append(f"    … and {len(self.mismatched) - SHOWN} more")
        for reason, names in self.left_out.items():
            lines.append(f"  left out, {reason}: {listed(names, 3)}")
        return "\n".join(lines)


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names of a list, and how many more there are.

    >>> listed(["a", "b", "c", "d"], 2)
    'a, b, … (4 in all)'
    """
    if len(names) <= shown:
        return ", ".join(names)
    return f"{', '.join(names[:shown])}, … ({len(names)} in all)"
