"""Masks from files: class indices out of numbers or colors."""

import warnings

import numpy as np

from keras_dense import _check
from keras_dense.datasets.files import orientation_of, read_labels, whole
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.stored import stored, turned

# The border of objects in the masks of PASCAL VOC.
VOC_BORDER = ((224, 224, 192),)


class MaskDecoder:
    """Turn a mask file into class indices.

    Args:
        num_classes: int.
        palette: `(num_classes, 3)`, the colors of color-coded masks.
        void_colors: colors of void in color-coded masks.
        remap: dict from a value in the file to a class, or to 255 for void.
        encoding: `"index"`, `"color"` or `"auto"`: color where the file has three channels.
        decode: function from the numbers of the file as stored to indices `(H, W)` or colors
            `(H, W, 3)`.

    Raises:
        ValueError: if `remap` names what is no class.
    """

    def __init__(
        self,
        num_classes,
        palette,
        void_colors=VOC_BORDER,
        remap=None,
        encoding="auto",
        decode=None,
    ):
        self.num_classes = num_classes
        self.encoding = encoding
        self.decode = decode
        self.remap = _check_remap(remap or {}, num_classes)
        self.codes, self.classes, self.twice = _color_table(palette, void_colors)
        self._warned = False

    def __call__(self, path, upright=None):
        """Read a mask as uint8 (int32 beyond 255 classes) `(H, W)`, 255 = void.

        Args:
            path: path.
            upright: whether to turn it as its EXIF orientation says; `None`: it may have none.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, holds a class or color that does not exist, or says of
                itself what makes its numbers doubtful: that it is lossy, inverted, transparent.
        """
        found = stored(path)
        numbers, unknown = self._numbers(found)
        if found.nodata in self.remap and not found.masked:
            unknown = None  # the caller has said what that number means
        if numbers.ndim == 3:
            labels = self._from_colors(path, numbers)
        else:
            labels = whole(numbers if unknown is None else np.where(unknown, 0, numbers), path)
            if found.model == "palette" and self.encoding == "auto" and self.decode is None:
                self._check_order(found)
        if self.num_classes > VOID and VOID not in self.remap and (labels == VOID).any():
            raise ValueError(
                f"{path}: has label {VOID}, which is void in every sample, and class {VOID} of "
                f"{self.num_classes} here. remap={{{VOID}: {VOID}}} says that void is meant"
            )
        self._check_unlisted(path, labels)
        labels = self._checked(path, self._remapped(labels))
        if unknown is not None:
            self._warn_of_nodata(found, unknown)
            labels[unknown] = VOID
        return turned(labels, orientation_of(found, upright))

    def values(self, path):
        """The different numbers in a mask, as a set; `None` if it has colors."""
        numbers, _ = self._numbers(stored(path))
        return None if numbers.ndim == 3 else set(np.unique(numbers).tolist())

    def _numbers(self, found):
        """Indices `(H, W)` or colors `(H, W, 3)`, and where the file says they are unknown."""
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
                f"{found.path}: is a picture of mode {found.mode!r}, not of class indices; use "
                'encoding="color" with a palette, or decode=lambda x: x[..., 0] if the first '
                "channel holds them"
            )
        if self.decode is not None and 0 <= numbers.min(initial=0) <= numbers.max(initial=0) < 256:
            numbers = numbers.astype(np.uint8) if numbers.dtype.kind in "iu" else numbers
        rgb = found.model in ("RGB", "palette") or self.decode is not None
        if not rgb or numbers.shape[2] != 3 or numbers.dtype != np.uint8:
            raise ValueError(
                f"{found.path}: must hold class indices or RGB of 8 bits. It holds "
                f"{numbers.shape[2]} channels ({found.model}) of {numbers.dtype}; give decode=, "
                "such as decode=lambda x: x[..., 0]"
            )
        if self.decode is None and found.transparent is not None:
            raise ValueError(
                f"{found.path}: has {int(found.transparent.sum())} transparent pixels; give "
                "decode=, such as decode=lambda x: x[..., :3] to take the colors stored there"
            )
        return numbers, unknown

    def _from_colors(self, path, rgb):
        if self.codes is None:
            raise ValueError(f"{path}: has colors; give the palette that says what they mean")
        if self.twice:
            raise ValueError(
                f"{path}: has colors, and the palette gives color {self.twice[0]} to class "
                f"{self.twice[1]} and to class {self.twice[2]}"
            )
        labels = self._class_of(rgb)
        unknown = labels < 0
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            gray = (rgb == rgb[..., :1]).all()
            hint = "; they are gray: decode=lambda x: x[..., 0] if these are class indices"
            raise ValueError(
                f"{path}: color {tuple(rgb[row, column].tolist())} at row {row}, column {column} "
                f"is not in the palette ({int(unknown.sum())} such pixels{hint * bool(gray)})"
            )
        return labels

    def _class_of(self, rgb):
        """Classes of colors, -1 where a color is in no palette."""
        rgb = rgb.astype(np.int32)
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        place = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        return np.where(self.codes[place] == codes, self.classes[place], -1)

    def _check_order(self, found):
        """A palette that has our colors under other numbers: which of both is meant?"""
        used = np.flatnonzero(found.picture.histogram())
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
            f"{found.path}: its palette gives number {used[at]} {what}. Which is meant? "
            'encoding="index" reads the numbers, encoding="color" the colors'
        )

    def _check_unlisted(self, path, labels):
        """A number that stays as it is must not fall together with one that is moved there."""
        targets = sorted(set(self.remap.values()) - set(self.remap) - {VOID})
        both = labels[np.isin(labels, targets)] if targets else labels[:0]
        if both.size:
            label = int(both.flat[0])
            other = next(value for value, target in self.remap.items() if target == label)
            raise ValueError(
                f"{path}: has label {label}, which remap does not name, and remap makes {other} "
                f"that same class. If both are meant, remap={{{label}: {label}}} says so"
            )

    def _remapped(self, labels):
        if not self.remap:
            return labels
        low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
        if low < 0 or high > 65535:
            values, places = np.unique(labels, return_inverse=True)
        else:
            values, places = np.arange(high + 1), labels
        table = np.array([self.remap.get(v, v) for v in values.tolist()], np.int32)
        return table[places].reshape(labels.shape)

    def _checked(self, path, labels):
        bad = ((labels < 0) | (labels >= self.num_classes)) & (labels != VOID)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            values = np.unique(labels[bad])
            raise ValueError(
                f"{path}: label {int(labels[row, column])} at row {row}, column {column} is out "
                f"of range: there are {self.num_classes} classes (0 to {self.num_classes - 1}, "
                f"{VOID} = void). Such labels in this file: {values[:8].tolist()}; "
                f"remap={{{values[0]}: {VOID}}} makes one void"
            )
        return labels.astype(np.uint8 if self.num_classes <= VOID else np.int32)

    def _warn_of_nodata(self, found, unknown):
        known_class = found.nodata is not None and 0 <= found.nodata < self.num_classes
        if known_class and unknown.any() and not self._warned:
            self._warned = True
            warnings.warn(
                f"{found.path}: says that {found.nodata} means no data, so class {found.nodata} is "
                f"void; remap={{{found.nodata}: {found.nodata}}} keeps it a class",
                stacklevel=3,
            )


def _check_remap(remap, num_classes):
    checked = {}
    for value, label in dict(remap).items():
        try:
            value, label = _check.integer(value, "remap"), _check.integer(label, "remap")
            good = label == VOID or 0 <= label < num_classes
        except ValueError:
            good = False
        if not good:
            raise ValueError(
                f"folder: remap must map integers to classes 0 to {num_classes - 1} "
                f"or to {VOID} (void). Received: {value!r}: {label!r}"
            )
        checked[value] = label
    return checked


def _color_table(palette, void_colors):
    """Sorted codes of colors, their classes, and a color that two classes have, or `None`."""
    if palette is None:
        return None, None, None
    void = [color for color in void_colors if tuple(color) not in set(map(tuple, palette))]
    if tuple(void_colors) != VOC_BORDER:
        void = list(void_colors)
    colors = np.concatenate([palette, np.reshape(void, (-1, 3))]).astype(np.int32)
    classes = np.append(np.arange(len(palette)), [VOID] * len(void)).astype(np.int32)
    codes = colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]
    sorted_codes, first, places = np.unique(codes, return_index=True, return_inverse=True)
    other = np.flatnonzero(classes[first][places.reshape(-1)] != classes)
    twice = None
    if other.size:
        at = other[0]
        twice = tuple(colors[at].tolist()), int(classes[first][places[at]]), int(classes[at])
    return sorted_codes, classes[first], twice
