"""NYU Depth v2 from a miniature file in the layout of MATLAB 7.3."""

import numpy as np
import pytest

from keras_dense.datasets import Loader, nyu_depth_v2
from keras_dense.heads import Segmentation

h5py = pytest.importorskip("h5py", reason="h5py, which reads MATLAB 7.3 files, is not installed")

COUNT, HEIGHT, WIDTH = 5, 3, 4


def arrays():
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), np.uint8),
        "depths": rng.uniform(0.5, 10, (COUNT, HEIGHT, WIDTH)).astype("float32"),
        "rawDepths": rng.uniform(0, 3, (COUNT, HEIGHT, WIDTH)).round().astype("float32"),
        "labels": rng.integers(0, 7, (COUNT, HEIGHT, WIDTH), np.uint16),
    }


@pytest.fixture
def home(tmp_path):
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        for key, value in arrays().items():
            # MATLAB has the frames in the last axis and stores the last axis first.
            axes = (0, 3, 2, 1) if value.ndim == 4 else (0, 2, 1)
            file[key] = value.transpose(axes)
    return tmp_path


@pytest.fixture
def savemat(home):
    io = pytest.importorskip("scipy.io", reason="SciPy, which writes .mat files, is not installed")
    io.savemat(home / "splits.mat", {"trainNdxs": [[5], [2]], "testNdxs": [[1], [3], [4]]})
    return lambda name, **content: io.savemat(home / name, content)


def test_frames(home):
    ds = nyu_depth_v2(home, "all")
    wanted = arrays()
    assert len(ds) == COUNT and repr(ds) == "<nyu_depth_v2, split='all': 5 samples>"
    for i in (0, 3):
        sample = ds[i]
        assert set(sample) == {"image", "depth", "intrinsics"}
        np.testing.assert_array_equal(sample["image"], wanted["images"][i])
        np.testing.assert_array_equal(sample["depth"][..., 0], wanted["depths"][i])
        assert sample["depth"].dtype == np.float32 and sample["image"].dtype == np.uint8
    raw = nyu_depth_v2(home / "nyu_depth_v2_labeled.mat", "all", raw=True)
    np.testing.assert_array_equal(raw[2]["depth"][..., 0], wanted["rawDepths"][2])
    # The published center counts from 1.
    np.testing.assert_allclose(ds.intrinsics[:2, 2], [324.58244941, 252.73616633], rtol=1e-6)
    np.testing.assert_allclose(np.diag(ds.intrinsics), [518.85790117, 519.46961112, 1], rtol=1e-6)


def test_official_split(home, savemat):
    wanted = arrays()["images"]
    train, test = nyu_depth_v2(home), nyu_depth_v2(home, "test")
    assert train.indices.tolist() == [1, 4] and test.indices.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(train[1]["image"], wanted[4])
    assert test.describe(1) == "nyu_depth_v2_labeled.mat, frame 2"
    savemat("splits.mat", trainNdxs=[[6]], testNdxs=[[1]])
    with pytest.raises(ValueError, match="splits.mat: lists frames 6 to 6, but there are 5"):
        nyu_depth_v2(home)
    savemat("splits.mat", frames=[[1]])
    with pytest.raises(
        ValueError, match=r"splits.mat: has no array 'testNdxs'. It has: \['frames'\]"
    ):
        nyu_depth_v2(home, "test")


def test_classes_of_a_sequence(home):
    ds = nyu_depth_v2(home, "all", mapping=[2, 1, 0, 3, 2, 2])
    table = np.array([255, 1, 0, 255, 2, 1, 1], np.uint8)
    labels = ds[1]["segmentation"]
    np.testing.assert_array_equal(labels, table[arrays()["labels"][1]])
    assert labels.dtype == np.uint8 and ds.num_classes == 3 and ds.class_names[2] == "class 2"
    assert ds.palette.shape == (3, 3) and ds.ignore_class == 255
    images, targets = Loader(ds, Segmentation(3), 5)[0]
    np.testing.assert_array_equal(targets, table[arrays()["labels"]])
    short = nyu_depth_v2(home, "all", mapping=[1, 2], class_names=["wall", "floor"])
    assert short.class_names == ["wall", "floor"]
    with pytest.raises(ValueError, match="frame 0: label 6 is not among the 2"):
        short[0]


def test_classes_of_files(home, savemat):
    names = np.array(["wall", "floor", "bed", "sofa"], object)
    savemat("classMapping40.mat", mapClass=[[4, 1, 2, 3, 3, 1]], className=names[None])
    thirteen = {"labels": [[2, 1, 0, 1]], "classes": np.array(["soft", "hard"], object)[None]}
    savemat("class13Mapping.mat", classMapping13=thirteen)
    labels = arrays()["labels"][4]
    ds = nyu_depth_v2(home, "train", mapping=home / "classMapping40.mat")
    assert ds.class_names == list(names)
    table = np.array([255, 3, 0, 1, 2, 2, 0])
    np.testing.assert_array_equal(ds[1]["segmentation"], table[labels])
    both = [home / "classMapping40.mat", str(home / "class13Mapping.mat")]
    ds = nyu_depth_v2(home, "train", mapping=both)
    assert ds.class_names == ["soft", "hard"]
    table = np.array([255, 0, 1, 0, 255, 255, 1])
    np.testing.assert_array_equal(ds[1]["segmentation"], table[labels])
    with pytest.raises(ValueError, match="has neither 'mapClass' nor 'classMapping13'"):
        nyu_depth_v2(home, mapping=home / "splits.mat")
    with pytest.raises(ValueError, match="the second mapping has 4 entries, .* up to 6"):
        savemat("six.mat", mapClass=[[1, 2, 3, 4, 5, 6]])
        nyu_depth_v2(home, mapping=[home / "six.mat", both[1]])


def test_bad_input(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none"):
        nyu_depth_v2(tmp_path / "none")
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test', 'all'.*'val'"):
        nyu_depth_v2(home, "val")
    with pytest.raises(FileNotFoundError, match="split 'train' needs the official list"):
        nyu_depth_v2(home)
    with pytest.raises(ValueError, match="from 1 to at most 2, .* Received: classes 0 to 3"):
        nyu_depth_v2(home, "all", mapping=[1, 3, 0], class_names=["a", "b"])
    broken = tmp_path / "broken.mat"
    broken.write_bytes(b"MATLAB 5.0")
    with pytest.raises(ValueError, match="broken.mat: cannot be read as a MATLAB 7.3 file"):
        nyu_depth_v2(broken, "all")
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["images"] = np.zeros((2, 3, 4, 5), "uint8")
    with pytest.raises(ValueError, match="other.mat: has no depths. It has: images"):
        nyu_depth_v2(tmp_path / "other.mat", "all")
    with h5py.File(tmp_path / "other.mat", "a") as file:
        file["depths"] = np.zeros((2, 5, 4))
    with pytest.raises(ValueError, match="arrays of inconsistent shapes"):
        nyu_depth_v2(tmp_path / "other.mat", "all")
