"""Masks from files: class indices from numbers or colors."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.files import Decode, orientation_of, read_labels, whole
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.stored import Stored, stored, turned

# The border of objects in the masks of PASCAL VOC.
VOC_BORDER = ((224, 224, 192),)


class MaskDecoder:
    """Turn a mask file into class indices.

    Args:
        num_classes: int.
        palette: array-like `(num_classes, 3)`, the colors of color-coded masks.
        void_colors: sequence of colors that mean void in color-coded masks.
        remap: dict from a value in the file to a class, or to 255 for void.
        encoding: `"index"`, `"color"` or `"auto"`: color if the file has three channels.
        decode: function from the numbers as stored to indices `(H, W)` or colors `(H, W, 3)`.

    Raises:
        ValueError: if `remap` maps to a class that does not exist.
    """

    def __init__(
        self,
        num_classes: int,
        palette: ArrayLike | None,
        void_colors: Sequence[Sequence[int]] = VOC_BORDER,
        remap: Mapping[int, int] | None = None,
        encoding: str = "auto",
        decode: Decode | None = None,
    ) -> None:
        self.num_classes = num_classes
        self.encoding = encoding
        self.decode = decode
        self.remap = _check_remap(remap or {}, num_classes)
        self.codes, self.classes, self.twice = _color_table(palette, void_colors)
        self._warned = False

    def __call__(self, path: PathLike, upright: bool | None = None) -> Array:
        """Read a mask as uint8 (int32 beyond 255 classes) `(H, W)`, 255 = void.

        Args:
            path: path of the mask.
            upright: bool, whether to apply the EXIF orientation; with `None`, there must be none.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, contains a class or color that does not exist, or is
                lossy, inverted or transparent.
        """
        found = stored(path)
        numbers, unknown = self._numbers(found)
        if found.nodata in self.remap and not found.masked:
            unknown = None  # the caller has defined that number
        if numbers.ndim == 3:
            labels = self._from_colors(path, numbers)
        else:
            labels = whole(numbers if unknown is None else np.where(unknown, 0, numbers), path)
            if found.model == "palette" and self.encoding == "auto" and self.decode is None:
                self._check_order(found)
        if self.num_classes > VOID and VOID not in self.remap and (labels == VOID).any():
            raise ValueError(
                f"{path}: has label {VOID}, which means void in samples, but is also one of the "
                f"{self.num_classes} classes. Give remap={{{VOID}: {VOID}}} if it is void"
            )
        self._check_unlisted(path, labels)
        labels = self._checked(path, self._remapped(labels))
        if unknown is not None:
            self._warn_of_nodata(found, unknown)
            labels[unknown] = VOID
        return turned(labels, orientation_of(found, upright))

    def values(self, path: PathLike) -> set | None:
        """Return the set of numbers in a mask; `None` if it has colors."""
        numbers, _ = self._numbers(stored(path))
        return None if numbers.ndim == 3 else set(np.unique(numbers).tolist())

    def _numbers(self, found: Stored) -> tuple[Array, Array | None]:
        """Read indices `(H, W)` or colors `(H, W, 3)`, and unknown pixels."""
        numbers, unknown = read_labels(found, self.decode)
        if numbers.ndim == 3 and numbers.shape[2] == 1:
            numbers = numbers[..., 0]
        by_palette = found.model == "palette" and self.encoding == "color" and self.decode is None
        if by_palette:
            numbers = found.colors
        if numbers.ndim == 2:
            return numbers, unknown
        if self.encoding == "index":
            raise ValueError(
                f"{found.path}: is an image of mode {found.mode!r}, not of class indices; give "
                'encoding="color" with a palette, or decode=lambda x: x[..., 0] if the indices are '
                "in the first channel"
            )
        if self.decode is not None and 0 <= numbers.min(initial=0) <= numbers.max(initial=0) < 256:
            numbers = numbers.astype(np.uint8) if numbers.dtype.kind in "iu" else numbers
        rgb = found.model in ("RGB", "palette") or self.decode is not None
        if not rgb or numbers.shape[2] != 3 or numbers.dtype != np.uint8:
            raise ValueError(
                f"{found.path}: must contain class indices or RGB of 8 bits. Received: "
                f"{numbers.shape[2]} channels ({found.model}) of {numbers.dtype}; give decode=, "
                "such as decode=lambda x: x[..., 0]"
            )
        if self.decode is None and found.transparent is not None:
            raise ValueError(
                f"{found.path}: has {int(found.transparent.sum())} transparent pixels; give "
                "decode=, such as decode=lambda x: x[..., :3] for their stored colors"
            )
        return numbers, unknown

    def _from_colors(self, path: PathLike, rgb: Array) -> Array:
        if self.codes is None:
            raise ValueError(f"{path}: has colors; give the palette of the classes")
        if self.twice:
            raise ValueError(
                f"{path}: has colors, but the palette has color {self.twice[0]} for class "
                f"{self.twice[1]} and for class {self.twice[2]}"
            )
        labels = self._class_of(rgb)
        unknown = labels < 0
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            gray = (rgb == rgb[..., :1]).all()
            hint = (
                "; all colors are gray: give decode=lambda x: x[..., 0] if these are class indices"
            )
            raise ValueError(
                f"{path}: color {tuple(rgb[row, column].tolist())} at row {row}, column {column} "
                f"is not in the palette ({int(unknown.sum())} such pixels{hint * bool(gray)})"
            )
        return labels

    def _class_of(self, rgb: Array) -> Array:
        """Look up the classes of colors; -1 for a color that is not in the palette."""
        rgb = rgb.astype(np.int32)
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        place = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        return np.where(self.codes[place] == codes, self.classes[place], -1)

    def _check_order(self, found: Stored) -> None:
        """Refuse a palette whose colors are those of other classes than its numbers."""
        used = np.flatnonzero(found.pillow.histogram())
        used = used[used < len(found.palette)]
        colors = found.palette[used]
        if self.codes is None or len(np.unique(colors, axis=0)) < len(used):
            return
        meant, shown = self._remapped(used), self._class_of(colors)
        grays = colors[:, 0] if (colors == colors[:, :1]).all() else None
        if (shown >= 0).all() and (shown != meant).any():
            at = np.argmax(shown != meant)
            what = f"the color of class {shown[at]}"
        elif grays is not None and (grays != used).any() and (grays < self.num_classes).all():
            at = np.argmax(grays != used)
            what = f"the gray {grays[at]}"
        else:
            return
        raise ValueError(
            f"{found.path}: its palette has {what} for number {used[at]}. Give "
            'encoding="index" to read the numbers, encoding="color" to read the colors'
        )

    def _check_unlisted(self, path: PathLike, labels: Array) -> None:
        """Refuse a number that `remap` leaves unchanged but gives to another number, too."""
        targets = sorted(set(self.remap.values()) - set(self.remap) - {VOID})
        both = labels[np.isin(labels, targets)] if targets else labels[:0]
        if both.size:
            label = int(both.flat[0])
            other = next(value for value, target in self.remap.items() if target == label)
            raise ValueError(
                f"{path}: has label {label}, which is not in remap, but remap turns {other} into "
                f"that class. Give remap={{{label}: {label}}} to merge them"
            )

    def _remapped(self, labels: Array) -> Array:
        if not self.remap:
            return labels
        low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
        if low < 0 or high > 65535:
            values, places = np.unique(labels, return_inverse=True)
        else:
            values, places = np.arange(high + 1), labels
        table = np.array([self.remap.get(v, v) for v in values.tolist()], np.int32)
        return table[places].reshape(labels.shape)

    def _checked(self, path: PathLike, labels: Array) -> Array:
        bad = ((labels < 0) | (labels >= self.num_classes)) & (labels != VOID)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            values = np.unique(labels[bad])
            raise ValueError(
                f"{path}: label {int(labels[row, column])} at row {row}, column {column} is out "
                f"of range: there are {self.num_classes} classes (0 to {self.num_classes - 1}, "
                f"{VOID} = void). Such labels in this file: {values[:8].tolist()}; "
                f"remap={{{values[0]}: {VOID}}} turns one into void"
            )
        return labels.astype(np.uint8 if self.num_classes <= VOID else np.int32)

    def _warn_of_nodata(self, found: Stored, unknown: Array) -> None:
        known_class = found.nodata is not None and 0 <= found.nodata < self.num_classes
        if known_class and unknown.any() and not self._warned:
            self._warned = True
            warnings.warn(
                f"{found.path}: has {found.nodata} as nodata, so class {found.nodata} becomes "
                f"void; remap={{{found.nodata}: {found.nodata}}} keeps the class",
                stacklevel=3,
            )


def _check_remap(remap: Mapping[int, int], num_classes: int) -> dict[int, int]:
    checked = {}
    for value, label in dict(remap).items():
        try:
            value, label = _check.integer(value, "remap"), _check.integer(label, "remap")
            good = label == VOID or 0 <= label < num_classes
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                f"`remap` must map integers to classes 0 to {num_classes - 1} or to {VOID} (void). "
                f"Received: remap={{{value!r}: {label!r}}}"
            )
        checked[value] = label
    return checked


def _color_table(palette: ArrayLike | None, void_colors: Sequence[Sequence[int]]) -> tuple:
    """Return sorted codes of colors, their classes, and a color that two classes share."""
    if palette is None:
        return None, None, None
    void = [color for color in void_colors if tuple(color) not in set(map(tuple, palette))]
    if tuple(void_colors) != VOC_BORDER:
        void = list(void_colors)
    colors = np.concatenate([palette, np.reshape(void, (-1, 3))]).astype(np.int32)
    classes: Array = np.append(np.arange(len(palette)), [VOID] * len(void)).astype(np.int32)
    codes = colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]
    sorted_codes, first, places = np.unique(codes, return_index=True, return_inverse=True)
    other = np.flatnonzero(classes[first][places.reshape(-1)] != classes)
    twice = None
    if other.size:
        at = other[0]
        twice = tuple(colors[at].tolist()), int(classes[first][places[at]]), int(classes[at])
    return sorted_codes, classes[first], twice
