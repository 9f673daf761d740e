"""COCO panoptic: every pixel belongs to a segment, and a JSON says of what kind that is."""

import json

import numpy as np

from keras_dense.datasets.files import orientation_of
from keras_dense.datasets.folder import SegmentationFiles
from keras_dense.datasets.layouts import check_split, place
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.stored import stored, turned

SPLITS = {"train": "train2017", "val": "val2017", "train2017": "train2017", "val2017": "val2017"}


class PanopticDecoder:
    """Turn a PNG of segments into class indices.

    Args:
        segments: dict from a mask's name to a dict from number of segment to class.
    """

    def __init__(self, segments):
        self.segments = segments

    def __call__(self, path, upright=None):
        """Read a mask as uint8 `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, no RGB, or holds a segment that the JSON does not know.
        """
        found = stored(path)
        if found.model != "RGB" or found.channels != 3 or found.bits != 8 or found.lossy:
            raise ValueError(
                f"{path}: must be RGB of 8 bits, without loss, R + 256 G + 65536 B the number of "
                f"a segment. It is {found.lossy or found.mode} of {found.bits} bits"
            )
        rgb = found.numbers.astype(np.int32)
        numbers, places = np.unique(
            rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], return_inverse=True
        )
        classes = {0: VOID} | self.segments[path.name]
        unknown = [int(number) for number in numbers if number not in classes]
        if unknown:
            raise ValueError(
                f"{path}: holds segment {unknown[0]}, which the JSON does not list for this file "
                f"({len(unknown)} such segments)"
            )
        table = np.array([classes[number] for number in numbers.tolist()], np.uint8)
        return turned(table[places].reshape(found.size), orientation_of(found, upright))


def coco_panoptic(root, split="train", *, upright=None):
    """COCO panoptic of 2017 as a segmentation, in the categories that its JSON lists (133).

    Layout: images in `train2017/` or `images/train2017/`; `annotations/panoptic_train2017.json`
    and the unpacked folder `panoptic_train2017/` of PNG, in `annotations/` or in `root`; likewise
    `val2017`. A segment's number is R + 256 G + 65536 B; 0, and what belongs to none, is 255, void.

    Args:
        root: path.
        split: `"train"` or `"val"`.
        upright: as of `folder`.

    Returns:
        A dataset, as `folder` gives it. Names and colors of its classes are those of the JSON.

    Raises:
        FileNotFoundError: if a folder, the JSON, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the JSON is no list of panoptic segments. Reading a
            sample raises `ValueError` naming the file if it is corrupt, of another size, or holds
            a segment that is not listed.

    Source: Kirillov et al., "Panoptic segmentation", CVPR 2019.

    Example:

    ```python
    val = kd.datasets.coco_panoptic("data/coco", "val")
    ```
    """
    part = check_split(split, SPLITS, "coco_panoptic")
    name = f"panoptic_{part}"
    path = place(root, "coco_panoptic", f"annotations/{name}.json", f"{name}.json")
    masks = place(root, "coco_panoptic", f"annotations/{name}", name)
    images = place(root, "coco_panoptic", f"images/{part}", part)
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
