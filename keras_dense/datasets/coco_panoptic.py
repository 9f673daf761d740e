"""COCO panoptic: images of numbered segments, and a JSON file with the class of each."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.files import orientation_of
from keras_dense.datasets.folder import SegmentationFiles
from keras_dense.datasets.layouts import first_existing
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.stored import stored, turned

SPLITS = {"train": "train2017", "val": "val2017", "train2017": "train2017", "val2017": "val2017"}


class PanopticDecoder:
    """Turn a PNG of segments into class indices.

    Args:
        segments: dict from the name of a mask to a dict from number of segment to class.
    """

    def __init__(self, segments: Mapping[str, dict[int, int]]) -> None:
        self.segments = segments

    def __call__(self, path: pathlib.Path, upright: bool | None = None) -> Array:
        """Read a mask as uint8 `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, not RGB, or contains a segment that is not in the JSON.
        """
        found = stored(path)
        if found.model != "RGB" or found.channels != 3 or found.bits != 8 or found.lossy:
            raise ValueError(
                f"{path}: must be lossless RGB of 8 bits, with segment R + 256 G + 65536 B. "
                f"Received: {found.lossy or found.mode} of {found.bits} bits"
            )
        rgb: Array = found.numbers.astype(np.int32)
        numbers, places = np.unique(
            rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], return_inverse=True
        )
        classes = {0: VOID} | self.segments[path.name]
        unknown = [int(number) for number in numbers if number not in classes]
        if unknown:
            raise ValueError(
                f"{path}: contains segment {unknown[0]}, which the JSON does not list for this "
                f"file ({len(unknown)} such segments)"
            )
        table = np.array([classes[number] for number in numbers.tolist()], np.uint8)
        return turned(table[places].reshape(found.size), orientation_of(found, upright))


def coco_panoptic(
    root: PathLike, split: str = "train", *, upright: bool | None = None
) -> SegmentationFiles:
    """Read COCO panoptic of 2017 as a segmentation, in the 133 categories of its JSON.

    Layout: images in `train2017/` or `images/train2017/`; `annotations/panoptic_train2017.json`
    and the unpacked folder `panoptic_train2017/` of PNG, in `annotations/` or in `root`; likewise
    `val2017`. The number of a segment is R + 256 G + 65536 B; 0 is no segment, and becomes 255,
    void.

    Args:
        root: path.
        split: `"train"` or `"val"`.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`. Names and colors of its classes come from the JSON.

    Raises:
        FileNotFoundError: if a folder, the JSON, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the JSON is not a list of panoptic segments. Reading a
            sample raises `ValueError` naming the file if it is corrupt, has another size, or a
            segment that is not listed.

    Reference: Kirillov et al., "Panoptic segmentation", CVPR 2019.

    Example:

    ```python
    val = kd.datasets.coco_panoptic("data/coco", "val")
    ```
    """
    part = SPLITS[_check.choice(split, "split", SPLITS)]
    name = f"panoptic_{part}"
    path = first_existing(root, "coco_panoptic", f"annotations/{name}.json", f"{name}.json")
    masks = first_existing(root, "coco_panoptic", f"annotations/{name}", name)
    images = first_existing(root, "coco_panoptic", f"images/{part}", part)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = content["categories"]
        index = {category["id"]: i for i, category in enumerate(categories)}
        names = [category["name"] for category in categories]
        colors = np.array([category["color"] for category in categories], np.uint8)
        segments = {
            one["file_name"]: {s["id"]: index[s["category_id"]] for s in one["segments_info"]}
            for one in content["annotations"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"coco_panoptic: {str(path)!r} must be JSON with 'categories' and 'annotations' of "
            f"panoptic segments ({type(error).__name__}: {error})"
        ) from error
    pairs = match_files(images, masks, names=sorted(segments), who="coco_panoptic")
    decoder = PanopticDecoder(segments)
    return SegmentationFiles(pairs, decoder, names, colors, "coco_panoptic", split, upright)
