"""Images with points or boxes from a table, as masks that are void elsewhere."""

import csv
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, PathLike, Sample
from keras_dense.datasets.files import Decode, read_image
from keras_dense.datasets.marks import labels_of_boxes
from keras_dense.datasets.pairs import list_files
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.datasets.samples import Samples
from keras_dense.datasets.tags import UNKNOWN_TAG, stem_of
from keras_dense.heads.palette import as_palette, voc_palette

POINT, BOX = ("x", "y"), ("left", "top", "right", "bottom")
Mark = tuple[int, tuple[float, ...]]


class MarkedImages(Samples):
    """Map-style data set of images with points or boxes; see `marked`.

    Attributes:
        num_classes: int.
        class_names: list of str.
        palette: uint8 `(num_classes, 3)`.
        ignore_class: 255.
        files: list of paths.
        marks: for each file a list of pairs of a class and its coordinates.
    """

    ignore_class = VOID
    name = "marked"

    def __init__(
        self,
        files: Sequence[pathlib.Path],
        marks: Sequence[Sequence[Mark]],
        class_names: Sequence[str],
        palette: Array,
        settings: dict,
    ) -> None:
        self.files, self.marks = list(files), list(marks)
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.palette = palette
        self._settings = settings

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path, settings = self.files[index], self._settings
        image = read_image(path, settings["upright"], settings["decode_image"])
        size, marks = image.shape[:2], self.marks[index]
        self._check_places(path, size, marks)
        draw = self._boxes if settings["boxes"] else self._points
        tags: Array = np.full(self.num_classes, UNKNOWN_TAG, np.uint8)
        if settings["complete"]:
            tags[:] = 0
            if settings["background"] is not None:
                tags[settings["background"]] = UNKNOWN_TAG
        tags[[label for label, _ in marks]] = 1
        sample = {"image": image, "segmentation": draw(size, marks), "tags": tags}
        return check_sample(sample, str(path))

    def _points(self, size: tuple[int, int], marks: Sequence[Mark]) -> Array:
        labels: Array = np.full(size, VOID, np.uint8)
        rows, columns = np.indices(size)
        for label, (x, y) in marks:
            labels[np.hypot(rows - y, columns - x) <= self._settings["radius"] + 0.5] = label
        return labels

    def _boxes(self, size: tuple[int, int], marks: Sequence[Mark]) -> Array:
        boxes = []
        for label, coordinates in marks:
            left, top, right, bottom = (round(c) for c in coordinates)
            boxes.append((label, top, left, bottom, right))
        settings = self._settings
        return labels_of_boxes(boxes, size, settings["background"], settings["core"])

    def _check_places(
        self, path: pathlib.Path, size: tuple[int, int], marks: Sequence[Mark]
    ) -> None:
        """Raise for a mark outside the image: perhaps it belongs to another size of it."""
        for label, coordinates in marks:
            outside = min(coordinates) < -0.5
            for sides, limit in ((coordinates[::2], size[1]), (coordinates[1::2], size[0])):
                outside = outside or max(sides) > limit
            if outside:
                raise ValueError(
                    f"{path}: a mark of {self.class_names[label]!r} at {coordinates} is outside "
                    f"the image, {size[0]} x {size[1]} (height x width)"
                )

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return str(self.files[index])

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} samples, {self.num_classes} classes>"


def marked(
    images: PathLike,
    table: PathLike,
    *,
    class_names: Sequence[str],
    palette: ArrayLike | None = None,
    radius: int = 3,
    core: float = 0.2,
    background: int | None = None,
    complete: bool = False,
    image_suffix: str = "",
    recursive: bool = False,
    upright: bool | None = None,
    decode_image: Decode | None = None,
) -> MarkedImages:
    """Read images with points or boxes from a table, as masks that are void elsewhere.

    The table is a CSV file, UTF-8, with a mark in each row, in one of two forms:

    | header | mark |
    |---|---|
    | `image,class,x,y` | a point; the center of the first pixel is (0, 0) |
    | `image,class,left,top,right,bottom` | a box, from the left edge of its first pixel to the right edge of its last one |

    Points become disks. Boxes become void with a core that has the label, and `background` outside.
    Samples have `"tags"`: marked classes are there, others unknown, or not there if the marks are
    `complete`. Scribbles are masks with 255 elsewhere, which `folder` reads.

    Args:
        images: path of the folder of images.
        table: path of the table. Images without a row are left out.
        class_names: sequence of str.
        palette: array-like `(classes, 3)`, colors from 0 to 255; the VOC colors by default.
        radius: int >= 0, of points, in pixels.
        core: float from 0 to below 1, side of the core of a box, relative to the box.
        background: int, the class outside boxes if all objects have one, or `None`: void.
        complete: bool, whether each class that an image contains has a mark there.
        image_suffix, recursive, upright, decode_image: see `folder`.

    Returns:
        A data set: `len(ds)`, `ds[i]`, `num_classes`, `class_names`, `palette`, `ignore_class`.

    Raises:
        FileNotFoundError: if the folder or the table is missing.
        ValueError: naming file and row, for a header, class or coordinate of another kind; for more
            than 255 classes; reading a sample, if a mark is outside its image.

    Warns:
        UserWarning: if images have no row, or rows no image.

    Example:

    ```python
    weak = kd.datasets.marked("images", "points.csv", class_names=["ground", "crop", "weed"])
    ```
    """  # noqa: E501
    names = [str(name) for name in class_names]
    if not 1 <= len(names) <= VOID:
        raise _check.fail("class_names", f"1 to {VOID} names", class_names)
    colors = voc_palette(len(names)) if palette is None else as_palette(palette)
    if colors.shape != (len(names), 3):
        raise ValueError(
            f"`palette` must have one color for each of {len(names)} classes. Received: shape "
            f"{colors.shape}"
        )
    rows, boxes = _read(pathlib.Path(table), names)
    if background is not None:
        background = _check.integer(background, "background", low=0, high=len(names) - 1)
    settings = {
        "boxes": boxes,
        "radius": _check.integer(radius, "radius", low=0),
        "core": _check.number(core, "core", 0, below=1),
        "background": background,
        "complete": _check.flag(complete, "complete"),
        "upright": upright,
        "decode_image": decode_image,
    }
    files = list_files(images, None, image_suffix, recursive, "marked")
    chosen = {}
    for path in files:
        inside = path.relative_to(images).with_suffix("").as_posix().removesuffix(image_suffix)
        key = inside if inside in rows else inside.rpartition("/")[2]
        if key in rows:
            chosen[path] = key
    if not chosen:
        raise ValueError(f"marked: no image in {str(images)!r} has a row in {str(table)!r}")
    left = [f"{len(files) - len(chosen)} images without a row"] * (len(chosen) < len(files))
    alone = set(rows) - set(chosen.values())
    left += (
        [f"rows of {len(alone)} images that are missing, such as {min(alone)!r}"] if alone else []
    )
    if left:
        warnings.warn(f"marked: left out of {str(table)!r}: {' and '.join(left)}", stacklevel=2)
    return MarkedImages(list(chosen), [rows[k] for k in chosen.values()], names, colors, settings)


def _read(path: pathlib.Path, names: list[str]) -> tuple[dict[str, list[Mark]], bool]:
    """Marks by the stems of images, and whether they are boxes."""
    if not path.is_file():
        raise FileNotFoundError(f"marked: there is no table {str(path)!r}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in row] for row in csv.reader(file)]
    lines = [line for line in lines if any(line)]
    header = tuple(lines[0]) if lines else ()
    if header not in (("image", "class", *POINT), ("image", "class", *BOX)):
        raise ValueError(
            f"{path}: the header must be image,class,{','.join(POINT)} or "
            f"image,class,{','.join(BOX)}. Received: {','.join(header)}"
        )
    boxes = header[2:] == BOX
    found: dict[str, list[Mark]] = {}
    for number, line in enumerate(lines[1:], 2):
        where = f"{path}, row {number}"
        if len(line) != len(header):
            raise ValueError(f"{where}: must have {len(header)} cells. Received: {len(line)}")
        if line[1] not in names:
            raise ValueError(f"{where}: {line[1]!r} is none of the classes {', '.join(names)}")
        try:
            places = tuple(float(cell) for cell in line[2:])
        except ValueError:
            raise ValueError(
                f"{where}: coordinates must be numbers. Received: {line[2:]}"
            ) from None
        if boxes and not (places[0] < places[2] and places[1] < places[3]):
            raise ValueError(f"{where}: a box must have left < right and top < bottom: {places}")
        found.setdefault(stem_of(line[0]), []).append((names.index(line[1]), places))
    return found, boxes
