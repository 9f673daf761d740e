"""Whether normals are in the frame they are thought to be in, seen at a glance."""

import numpy as np
from keras import ops

from keras_dense._arrays import as_array
from keras_dense.heads import Normals
from keras_dense.ops import normals_from_depth
from keras_dense.plot.compose import tasks


def normals_check(sample, tile=256):
    """One figure: image, normals, the normals of the depth, and the angle between the two.

    With an axis turned round, or two exchanged, whole walls and floors differ; with the right
    frame only borders do, where depth jumps. The last title has the median angle.

    Args:
        sample: a dict with "image", "normals" `(H, W, 3)`, "depth" `(H, W, 1)` in meters and
            "intrinsics" `(3, 3)`, as `kd.datasets.scenes` and `depth_folder` give it.
        tile: int, the width of each picture in pixels.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if the sample lacks something.

    >>> from keras_dense.datasets import scenes
    >>> normals_check(scenes(1, size=(48, 64))[0], tile=64).shape
    (79, 286, 3)
    """
    missing = [key for key in ("image", "normals", "depth", "intrinsics") if key not in sample]
    if missing:
        raise ValueError(
            f"normals_check: the sample has no {', '.join(missing)}. It has: {', '.join(sample)}"
        )
    head = Normals()
    depth, normals, intrinsics = (
        as_array(sample[key], f"normals_check: {key}").astype("float32")
        for key in ("depth", "normals", "intrinsics")
    )
    depth = depth[..., None] if depth.ndim == 2 else depth
    flat = ops.convert_to_numpy(normals_from_depth(depth[None], intrinsics))[0]
    known = np.linalg.norm(flat, axis=-1) > 0.5
    given = np.where(known[..., None], normals, 0)
    known &= np.linalg.norm(given, axis=-1) > 0.5
    title = "nothing to compare"
    if known.any():
        cosine = (given * flat).sum(-1)[known] / np.linalg.norm(given, axis=-1)[known]
        median = np.degrees(np.median(np.arccos(cosine.clip(-1, 1))))
        title = f"angle: median {median:.1f}°"
    pictures = {
        "normals": head.draw(normals),
        "normals of the depth": head.draw(flat),
        title: head.error(given, flat),
    }
    return tasks(sample["image"], pictures, tile=tile)
