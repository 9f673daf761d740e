"""NYU Depth v2: 1449 labeled frames of rooms, with a Kinect's depth."""

import pathlib

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.heads.palette import voc_palette

FILE = "nyu_depth_v2_labeled.mat"
SIZE = (480, 640)

# Of the color camera, as published; its center counts pixels from 1.
INTRINSICS = np.array(
    [
        [518.85790117450188, 0, 325.58244941119034 - 1],
        [0, 519.46961112127485, 253.73616633400465 - 1],
        [0, 0, 1],
    ],
    np.float32,
)


class NyuDepthV2:
    """A map-style dataset of the frames in the labeled file; `nyu_depth_v2` makes it.

    Attributes:
        name, split: str.
        indices: int array, which frames of the file, from 0.
        intrinsics: float32 `(3, 3)`.
        num_classes, class_names, palette, ignore_class: of the labels, where there is a mapping.
    """

    name = "nyu_depth_v2"

    def __init__(self, path, split, indices, depths, classes):
        self.path = path
        self.split = split
        self.indices = indices
        self.depths = depths
        self.intrinsics = INTRINSICS.copy()
        self._class_of = None
        if classes is not None:
            self._class_of, self.class_names = classes
            self.num_classes = len(self.class_names)
            self.palette = voc_palette(self.num_classes)
            self.ignore_class = VOID

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        frame = int(self.indices[index])
        # Opened each time: it takes a millisecond, and threads and processes need no care.
        with _h5py().File(self.path, "r") as file:
            # MATLAB writes the last axis first.
            sample = {
                "image": np.ascontiguousarray(file["images"][frame].T),
                "depth": np.ascontiguousarray(file[self.depths][frame].T, np.float32)[..., None],
            }
            if self._class_of is not None:
                sample["segmentation"] = self._classes(file["labels"][frame].T, index)
        return check_sample({**sample, "intrinsics": self.intrinsics.copy()}, self.describe(index))

    def _classes(self, labels, index):
        if labels.max(initial=0) >= len(self._class_of):
            raise ValueError(
                f"{self.describe(index)}: label {labels.max()} is not among the "
                f"{len(self._class_of) - 1} that the mapping knows"
            )
        return np.ascontiguousarray(self._class_of[labels])

    def describe(self, index):
        """What sample `index` is, for messages: the file and the frame in it."""
        return f"{self.path.name}, frame {int(self.indices[index])}"

    def __repr__(self):
        return f"<{self.name}, split={self.split!r}: {len(self)} samples>"


def _h5py():
    return require("h5py", extra="scipy")


def nyu_depth_v2(path, split="train", *, mapping=None, class_names=None, raw=False):
    """NYU Depth v2: the labeled file (`nyu_depth_v2_labeled.mat`, 2.8 GB), or its pictures.

    The official split (795 for training, 654 for testing) is in `splits.mat`, which has to lie
    beside the file. The 894 kinds of things that were labeled become the usual 40 or 13 classes
    by a file that is not part of the data set: without `mapping` there are no labels.

    As pictures, as the raw frames or the labeled ones are often passed on, depth is millimeters
    in 16 bits, each beside its image:

    ```
    <path>/train/kitchen_0028b/rgb_00045.jpg
    <path>/train/kitchen_0028b/sync_depth_00045.png
    ```

    Args:
        path: path of the file, or of the folder that holds it; or of a folder of pictures.
        split: `"train"`, `"test"`, or `"all"`, for which no `splits.mat` is needed; of pictures the
            folder of this name, or all.
        mapping: from the file's labels (1, 2, …) to classes (1, 2, …; 0 = none): the path of
            `classMapping40.mat`; or a list of paths that are applied in turn, such as
            `["classMapping40.mat", "class13Mapping.mat"]`; or a sequence of ints, the classes of
            the labels 1, 2, ….
        class_names: list of str; of the mapping's file unless given.
        raw: bool: the depth that the sensor measured, 0 where there is none, instead of the one
            whose holes were filled.

    Returns:
        A dataset of samples `{"image": uint8 (480, 640, 3), "depth": float32 (480, 640, 1) in
        meters, "intrinsics": float32 (3, 3)}`, with a mapping also `"segmentation"`, uint8
        `(480, 640)`, classes from 0, 255 = void. Of pictures there are no labels.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not what it should be, or for an unknown split.
        ImportError: without h5py; for `.mat` files of splits and mappings without SciPy.

    Source: Silberman, Hoiem, Kohli, Fergus, "Indoor segmentation and support inference from RGBD
        images", ECCV 2012; 40 classes of Gupta et al., CVPR 2013, 13 of Couprie et al., ICLR 2013.

    Example:

    ```python
    train = kd.datasets.nyu_depth_v2("data/nyu", "train", mapping="data/nyu/classMapping40.mat")
    ```
    """
    path = pathlib.Path(path)
    if split not in ("train", "test", "all"):
        raise ValueError(
            f'nyu_depth_v2: split must be "train", "test" or "all". Received: split={split!r}'
        )
    if path.is_dir() and not (path / FILE).is_file():
        return _pictures(path, split, mapping, raw)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"nyu_depth_v2: there is no file {str(path)!r}")
    depths = "rawDepths" if raw else "depths"
    wanted = ["images", depths] + (["labels"] if mapping is not None else [])
    count = _count(path, wanted)
    indices = np.arange(count) if split == "all" else _split(path.parent, split, count)
    classes = None if mapping is None else _mapping(mapping, class_names)
    return NyuDepthV2(path, split, indices, depths, classes)


def _pictures(path, split, mapping, raw):
    """`rgb_*` beside `sync_depth_*`, at any depth below the split's folder."""
    home = path if split == "all" else path / split
    depths = sorted(home.rglob("sync_depth_*.png"))
    if not depths:
        raise FileNotFoundError(
            f"nyu_depth_v2: there is no file {str(path / FILE)!r}, and no picture like "
            f"{str(home / 'kitchen_0028b/sync_depth_00045.png')!r}"
        )
    if mapping is not None or raw:
        raise ValueError(
            "nyu_depth_v2: `mapping` and `raw` are for the labeled file; pictures have neither "
            f"labels nor raw depth. Received: mapping={mapping!r}, raw={raw!r}"
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


def _millimeters(path, intrinsics):
    return read_depth(path, scale=1000)


def _count(path, wanted):
    """How many frames the file has, if it has all that is wanted."""
    try:
        with _h5py().File(path, "r") as file:
            shapes = {key: file[key].shape for key in wanted if key in file}
            known = sorted(file)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a MATLAB 7.3 file ({error})") from error
    missing = [key for key in wanted if key not in shapes]
    if missing:
        raise ValueError(f"{path}: has no {', '.join(missing)}. It has: {', '.join(known)}")
    count, *size = shapes["images"]
    if len(size) != 3 or any(shapes[key] != (count, *size[1:]) for key in wanted[1:]):
        raise ValueError(f"{path}: arrays of these shapes do not go together: {shapes}")
    return count


def _split(directory, split, count):
    """The frames of a split, from 0."""
    path = directory / "splits.mat"
    if not path.is_file():
        raise FileNotFoundError(
            f"nyu_depth_v2: split {split!r} needs the official list, {str(path)!r}, which is not "
            'there. split="all" needs none'
        )
    frames = np.ravel(read_mat(path, f"{split}Ndxs")).astype(int)
    if frames.min() < 1 or frames.max() > count:
        raise ValueError(
            f"{path}: names frames {frames.min()} to {frames.max()}, and there are {count}"
        )
    return np.sort(frames - 1)


def read_mat(path, key=None, who="nyu_depth_v2"):
    """What a `.mat` file of an older format holds: a dict, or one array of it."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{who}: there is no file {str(path)!r}")
    try:
        found = require("scipy.io", extra="scipy").loadmat(path, squeeze_me=True)
    # SciPy raises the second for files of version 7.3.
    except (ValueError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a MATLAB file ({error})") from error
    if key is None:
        return found
    if key not in found:
        known = [name for name in found if not name.startswith("__")]
        raise ValueError(f"{path}: has no {key!r}. It has: {known}")
    return found[key]


def _mapping(mapping, class_names):
    """A table from the file's labels to uint8 classes (255 = void), and the classes' names."""
    if isinstance(mapping, (str, pathlib.Path)):
        steps = [mapping]
    else:
        steps = [np.asarray(mapping)] if np.asarray(mapping).dtype.kind in "iu" else mapping
    table, names = None, None
    for step in steps:
        step, names = (step, None) if isinstance(step, np.ndarray) else _step(step)
        step = np.concatenate([[0], step.astype(int)])
        if table is not None and table.max() >= len(step):
            raise ValueError(
                f"nyu_depth_v2: the second mapping has {len(step) - 1} entries, and the first "
                f"gives classes up to {table.max()}"
            )
        table = step if table is None else step[table]
    names = list(class_names if class_names is not None else (names or []))
    count = int(table.max())
    names = names or [f"class {i}" for i in range(count)]
    if not 1 <= count <= len(names) <= VOID or table.min() < 0:
        raise ValueError(
            f"nyu_depth_v2: mapping must give classes from 1 to at most {len(names)}, one for "
            f"each name, and 0 for none. Received: classes {table.min()} to {count}"
        )
    return np.where(table > 0, table - 1, VOID).astype(np.uint8), names


def _step(path):
    """Classes of the labels 1, 2, … in a mapping's file, and their names."""
    found = read_mat(path)
    if "mapClass" in found:
        classes, names = found["mapClass"], found.get("className")
    elif "classMapping13" in found:  # a structure: its fields are classes and names
        classes, names = found["classMapping13"].item()[:2]
    else:
        known = [name for name in found if not name.startswith("__")]
        raise ValueError(f"{path}: has neither 'mapClass' nor 'classMapping13'. It has: {known}")
    return np.ravel(classes), None if names is None else [str(name) for name in np.ravel(names)]
