"""A drawing that shows whether normals are in the expected frame."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_dense._arrays import as_array
from keras_dense._types import Array
from keras_dense.heads import Normals
from keras_dense.ops import normals_from_depth
from keras_dense.plot.compose import tasks


def normals_check(sample: Mapping[str, Any], *, tile: int = 256) -> Array:
    """Draw an image, its normals, the normals of its depth, and the angle between the two.

    If an axis is reversed or two axes are swapped, whole walls and floors differ. In the right
    frame only borders differ, where depth jumps. The last title shows the median angle.

    Args:
        sample: dict with "image", "normals" `(H, W, 3)`, "depth" `(H, W, 1)` in meters and
            "intrinsics" `(3, 3)`, as from `kd.datasets.scenes` and `depth_folder`.
        tile: int ≥ 1, width of each drawing in pixels.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if the sample lacks one of the keys.

    >>> from keras_dense.datasets import scenes
    >>> normals_check(scenes(1, size=(48, 64))[0], tile=64).shape
    (79, 286, 3)
    """
    missing = [key for key in ("image", "normals", "depth", "intrinsics") if key not in sample]
    if missing:
        raise ValueError(
            f"`sample` must have {', '.join(map(repr, missing))}. "
            f"Received: a sample with {', '.join(map(repr, sample))}"
        )
    head = Normals()
    depth: Array = as_array(sample["depth"], "depth").astype("float32")
    normals: Array = as_array(sample["normals"], "normals").astype("float32")
    intrinsics: Array = as_array(sample["intrinsics"], "intrinsics").astype("float32")
    depth = depth[..., None] if depth.ndim == 2 else depth
    of_depth = ops.convert_to_numpy(normals_from_depth(depth[None], intrinsics))[0]
    known = np.linalg.norm(of_depth, axis=-1) > 0.5
    given = np.where(known[..., None], normals, 0)
    known &= np.linalg.norm(given, axis=-1) > 0.5
    title = "nothing to compare"
    if known.any():
        cosine = (given * of_depth).sum(-1)[known] / np.linalg.norm(given, axis=-1)[known]
        median = np.degrees(np.median(np.arccos(cosine.clip(-1, 1))))
        title = f"angle: median {median:.1f}°"
    drawings = {
        "normals": head.draw(normals),
        "normals of the depth": head.draw(of_depth),
        title: head.error(given, of_depth),
    }
    return tasks(sample["image"], drawings, tile=tile)
