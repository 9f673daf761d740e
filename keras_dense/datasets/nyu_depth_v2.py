"""NYU Depth v2: 1449 labeled indoor frames with the depth of a Kinect."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike, Sample
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.raster_files import mat_array, mat_arrays, open_hdf5
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.datasets.samples import Samples
from keras_dense.heads.palette import voc_palette

FILE = "nyu_depth_v2_labeled.mat"
SIZE = (480, 640)

# The color camera, as published; its principal point counts pixels from 1.
INTRINSICS = np.array(
    [
        [518.85790117450188, 0, 325.58244941119034 - 1],
        [0, 519.46961112127485, 253.73616633400465 - 1],
        [0, 0, 1],
    ],
    np.float32,
)


class NyuDepthV2(Samples):
    """Map-style data set of the frames in the labeled file; `nyu_depth_v2` makes it.

    Attributes:
        name: str.
        split: str.
        indices: int array, frames of the file, from 0.
        intrinsics: float32 `(3, 3)`.
        num_classes: int, only with a mapping, like those below.
        class_names: list of str.
        palette: uint8 `(num_classes, 3)`.
        ignore_class: 255.
    """

    name = "nyu_depth_v2"

    def __init__(
        self,
        path: pathlib.Path,
        split: str,
        indices: Array,
        depths: str,
        classes: tuple[Array, list[str]] | None,
    ) -> None:
        self.path = path
        self.split = split
        self.indices = indices
        self.depths = depths
        self.intrinsics = INTRINSICS.copy()
        self._class_of: Array | None = None
        if classes is not None:
            self._class_of, self.class_names = classes
            self.num_classes = len(self.class_names)
            self.palette = voc_palette(self.num_classes)
            self.ignore_class = VOID

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.indices[index])
        # Opening takes a millisecond, and makes this safe for threads and processes.
        with _open(self.path) as file:
            # MATLAB writes the last axis first.
            sample = {
                "image": np.ascontiguousarray(file["images"][frame].T),
                "depth": np.ascontiguousarray(file[self.depths][frame].T, np.float32)[..., None],
            }
            if self._class_of is not None:
                labels = file["labels"][frame].T
                sample["segmentation"] = self._classes(self._class_of, labels, index)
        return check_sample({**sample, "intrinsics": self.intrinsics.copy()}, self.describe(index))

    def _classes(self, class_of: Array, labels: Array, index: int) -> Array:
        if labels.max(initial=0) >= len(class_of):
            raise ValueError(
                f"{self.describe(index)}: label {labels.max()} is not among the "
                f"{len(class_of) - 1} labels of the mapping"
            )
        return np.ascontiguousarray(class_of[labels])

    def describe(self, index: int) -> str:
        """Return the file and the frame of a sample, for messages."""
        return f"{self.path.name}, frame {int(self.indices[index])}"

    def __repr__(self) -> str:
        return f"<{self.name}, split={self.split!r}: {len(self)} samples>"


def _open(path: PathLike) -> Any:
    return open_hdf5(path, "a MATLAB 7.3 file")


def nyu_depth_v2(
    path: PathLike,
    split: str = "train",
    *,
    mapping: PathLike | Sequence[PathLike] | Sequence[int] | None = None,
    class_names: Iterable[str] | None = None,
    raw: bool = False,
) -> NyuDepthV2 | DepthFiles:
    """Read NYU Depth v2: the labeled file (`nyu_depth_v2_labeled.mat`, 2.8 GB), or image files.

    The official split (795 for training, 654 for testing) is read from `splits.mat` beside the
    file. A mapping file, which is not part of the data set, turns the 894 labels into the usual 40
    or 13 classes: without `mapping` there are no labels.

    As a folder of images, in which the raw frames or the labeled ones are often distributed, each
    depth map (millimeters in 16 bits) is beside its image:

    ```
    <path>/train/kitchen_0028b/rgb_00045.jpg
    <path>/train/kitchen_0028b/sync_depth_00045.png
    ```

    Args:
        path: path of the file or its folder; or of a folder of images.
        split: `"train"`, `"test"`, or `"all"`, which does not need `splits.mat`. For images, the
            subfolder of this name, or everything.
        mapping: from labels of the file (1, 2, …) to classes (1, 2, …; 0 = none): the path of
            `classMapping40.mat`; or a list of paths applied in turn, such as
            `["classMapping40.mat", "class13Mapping.mat"]`; or a sequence of ints, the classes of
            the labels 1, 2, ….
        class_names: list of str; by default those of the mapping file.
        raw: bool, whether to read the depth measured by the sensor, 0 where there is none; by
            default, its holes are filled.

    Returns:
        A data set of samples `{"image": uint8 (480, 640, 3), "depth": float32 (480, 640, 1) in
        meters, "intrinsics": float32 (3, 3)}`, with a mapping also `"segmentation"`, uint8
        `(480, 640)`, classes from 0, 255 = void. A folder of images has no labels.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is corrupt or of another kind, or for an unknown split.
        ImportError: without h5py; for `.mat` files of splits and mappings without SciPy.

    Reference: Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD
        images", ECCV 2012; 40 classes of Gupta et al., CVPR 2013, 13 of Couprie et al., ICLR 2013.

    Example:

    ```python
    train = kd.datasets.nyu_depth_v2("data/nyu", "train", mapping="data/nyu/classMapping40.mat")
    ```
    """
    path = pathlib.Path(path)
    _check.choice(split, "split", ("train", "test", "all"))
    raw = _check.flag(raw, "raw")
    if path.is_dir() and not (path / FILE).is_file():
        return _images(path, split, mapping, raw)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"nyu_depth_v2: there is no file {str(path)!r}")
    depths = "rawDepths" if raw else "depths"
    wanted = ["images", depths] + (["labels"] if mapping is not None else [])
    count = _count(path, wanted)
    indices = np.arange(count) if split == "all" else _split(path.parent, split, count)
    classes = None if mapping is None else _mapping(mapping, class_names)
    return NyuDepthV2(path, split, indices, depths, classes)


def _images(path: pathlib.Path, split: str, mapping: Any, raw: bool) -> DepthFiles:
    """Read `rgb_*` beside `sync_depth_*`, at any depth below the folder of the split."""
    home = path if split == "all" else path / split
    depths = sorted(home.rglob("sync_depth_*.png"))
    if not depths:
        raise FileNotFoundError(
            f"nyu_depth_v2: there is no file {str(path / FILE)!r}, and no image like "
            f"{str(home / 'kitchen_0028b/sync_depth_00045.png')!r}"
        )
    if mapping is not None or raw:
        raise ValueError(
            "nyu_depth_v2: `mapping` and `raw` need the labeled file; images have neither labels "
            f"nor raw depth. Received: mapping={mapping!r}, raw={raw!r}"
        )
    files, matrix = [], INTRINSICS.copy()
    for depth in depths:
        stem = depth.with_name(depth.stem.replace("sync_depth_", "rgb_"))
        found = [stem.with_name(stem.name + ending) for ending in (".jpg", ".png")]
        found = [image for image in found if image.is_file()]
        if not found:
            raise FileNotFoundError(f"nyu_depth_v2: no image '{stem}.jpg' for {depth.name}")
        files.append(RgbdFile(found[0], depth, intrinsics=matrix))
    return DepthFiles(files, _millimeters, None, "nyu_depth_v2", split, SIZE)


def _millimeters(path: PathLike, intrinsics: Array | None) -> Array:
    return read_depth(path, scale=1000)


def _count(path: PathLike, wanted: Sequence[str]) -> int:
    """Return the number of frames of a file that has all the wanted arrays."""
    with _open(path) as file:
        shapes = {key: file[key].shape for key in wanted if key in file}
        known = sorted(file)
    missing = [key for key in wanted if key not in shapes]
    if missing:
        raise ValueError(f"{path}: has no {', '.join(missing)}. It has: {', '.join(known)}")
    count, *size = shapes["images"]
    if len(size) != 3 or any(shapes[key] != (count, *size[1:]) for key in wanted[1:]):
        raise ValueError(f"{path}: has arrays of inconsistent shapes: {shapes}")
    return count


def _split(directory: pathlib.Path, split: str, count: int) -> Array:
    """Return the frames of a split, from 0."""
    path = directory / "splits.mat"
    if not path.is_file():
        raise FileNotFoundError(
            f"nyu_depth_v2: split {split!r} needs the official list, {str(path)!r}, which is "
            'missing. split="all" needs no list'
        )
    frames: Array = np.ravel(mat_array(path, f"{split}Ndxs")).astype(int)
    if frames.min() < 1 or frames.max() > count:
        raise ValueError(
            f"{path}: lists frames {frames.min()} to {frames.max()}, but there are {count}"
        )
    return np.sort(frames - 1)


def _mapping(mapping: Any, class_names: Iterable[str] | None) -> tuple[Array, list[str]]:
    """Return the uint8 classes (255 = void) of the labels, and the names of the classes."""
    if isinstance(mapping, (str, pathlib.Path)):
        steps = [mapping]
    else:
        steps = [np.asarray(mapping)] if np.asarray(mapping).dtype.kind in "iu" else mapping
    table: Any = None
    names = None
    for step in steps:
        step, names = (step, None) if isinstance(step, np.ndarray) else _step(step)
        step = np.concatenate([[0], step.astype(int)])
        if table is not None and table.max() >= len(step):
            raise ValueError(
                f"nyu_depth_v2: the second mapping has {len(step) - 1} entries, but the first has "
                f"classes up to {table.max()}"
            )
        table = step if table is None else step[table]
    names = list(class_names if class_names is not None else (names or []))
    count = int(table.max())
    names = names or [f"class {i}" for i in range(count)]
    if not 1 <= count <= len(names) <= VOID or table.min() < 0:
        raise ValueError(
            f"`mapping` must have classes from 1 to at most {len(names)}, one for each name, and 0 "
            f"for none. Received: classes {table.min()} to {count}"
        )
    return np.where(table > 0, table - 1, VOID).astype(np.uint8), names


def _step(path: PathLike) -> tuple[Array, list[str] | None]:
    """Read the classes of the labels 1, 2, … in a mapping file, and their names."""
    found = mat_arrays(path, squeeze=True)
    if "mapClass" in found:
        classes, names = found["mapClass"], found.get("className")
    elif "classMapping13" in found:  # a structure: its fields are classes and names
        classes, names = found["classMapping13"].item()[:2]
    else:
        raise ValueError(
            f"{path}: has neither 'mapClass' nor 'classMapping13'. It has: {sorted(found)}"
        )
    return np.ravel(classes), None if names is None else [str(name) for name in np.ravel(names)]
