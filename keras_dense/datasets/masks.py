"""Masks from files: class indices out of numbers or colours."""

import numpy as np

from keras_dense.datasets.files import open_picture
from keras_dense.datasets.sample import VOID


class MaskDecoder:
    """Turn a mask file into class indices.

    Args:
        num_classes: int.
        palette: `(num_classes, 3)`, the colours of colour-coded masks.
        void_colors: colours of void in colour-coded masks.
        remap: dict from a value in the file to a class, or to 255 for void.
        encoding: `"index"`, `"color"` or `"auto"`: colour where the file has three channels.
    """

    def __init__(self, num_classes, palette, void_colors=(), remap=None, encoding="auto"):
        self.num_classes = num_classes
        self.encoding = encoding
        self.remap = dict(remap or {})
        self.codes, self.classes = _color_table(palette, void_colors)

    def __call__(self, path):
        """Read a mask as uint8 (int32 beyond 255 classes) `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, or holds a class or colour that does not exist.
        """
        picture = open_picture(path)
        colored = picture.mode not in ("P", "L", "1", "LA") and not picture.mode.startswith("I")
        if self.encoding == "color" or (self.encoding == "auto" and colored):
            labels = self._from_colors(path, np.asarray(picture.convert("RGB"), np.int32))
        elif colored:
            raise ValueError(
                f"{path}: is a picture of mode {picture.mode!r}, not of class indices; "
                'use encoding="color" with a palette'
            )
        else:
            labels = np.array(picture.convert("L") if picture.mode == "LA" else picture)
            labels = labels.astype(np.int32)
        return self._checked(path, self._remapped(labels))

    def _from_colors(self, path, rgb):
        if self.codes is None:
            raise ValueError(f"{path}: has colours; give the palette that says what they mean")
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        place = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        unknown = self.codes[place] != codes
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise ValueError(
                f"{path}: colour {tuple(rgb[row, column].tolist())} at row {row}, column {column} "
                f"is not in the palette ({int(unknown.sum())} such pixels)"
            )
        return self.classes[place]

    def _remapped(self, labels):
        if not self.remap:
            return labels
        size = max(labels.max(initial=0), *self.remap, 255) + 1
        table = np.arange(size, dtype=np.int32)
        for value, label in self.remap.items():
            table[value] = label
        return table[labels.clip(0)]

    def _checked(self, path, labels):
        bad = ((labels < 0) | (labels >= self.num_classes)) & (labels != VOID)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            values = np.unique(labels[bad])
            raise ValueError(
                f"{path}: label {int(labels[row, column])} at row {row}, column {column} is out "
                f"of range: there are {self.num_classes} classes (0 to {self.num_classes - 1}, "
                f"{VOID} = void). Such labels in this file: {values[:8].tolist()}"
            )
        return labels.astype(np.uint8 if self.num_classes <= VOID else np.int32)


def _color_table(palette, void_colors):
    if palette is None:
        return None, None
    colors = np.concatenate([palette, np.reshape(void_colors, (-1, 3))]).astype(np.int32)
    classes = np.append(np.arange(len(palette)), [VOID] * (len(colors) - len(palette)))
    codes, first = np.unique(
        colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2], return_index=True
    )
    return codes, classes[first].astype(np.int32)
