"""Miniatures of RGB-D data sets as downloaded: each is read by one call."""

import math
import pickle

import numpy as np
import pytest

from keras_dense.datasets import (
    Loader,
    check,
    diode,
    hypersim,
    kitti_depth,
    nyu_depth_v2,
    sun_rgbd,
    write_depth,
)
from keras_dense.heads import Depth

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
METERS = RNG.uniform(1, 9, (6, 8)).round(2).astype("float32")
METERS[0, :3] = 0
RGB = RNG.integers(0, 256, (6, 8, 3), "uint8")


def image(path, pixels=RGB):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def depth(path, meters=METERS, scale=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_depth(path, meters, scale=scale)


def test_nyu_depth_v2_as_images(tmp_path):
    for name in ("train/kitchen_0028b/{}00045", "train/bath_1/{}00000", "test/bath_1/{}00001"):
        image(tmp_path / f"{name.format('rgb_')}.jpg", np.zeros((480, 640, 3), "uint8"))
        depth(tmp_path / f"{name.format('sync_depth_')}.png", np.full((480, 640), 2.5))
    train, test = nyu_depth_v2(tmp_path), nyu_depth_v2(tmp_path, "test")
    assert (len(train), len(test), len(nyu_depth_v2(tmp_path, "all"))) == (2, 1, 3)
    sample = train[0]
    assert train.describe(0).endswith("bath_1/rgb_00000.jpg") and (sample["depth"] == 2.5).all()
    np.testing.assert_allclose(sample["intrinsics"][:2, 2], [324.582, 252.736], atol=1e-3)
    with pytest.raises(ValueError, match="`mapping` and `raw` need the labeled file"):
        nyu_depth_v2(tmp_path, raw=True)
    (tmp_path / "test/bath_1/rgb_00001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*rgb_00001.jpg' for sync_depth_00001"):
        nyu_depth_v2(tmp_path, "test")
    image(tmp_path / "test/bath_1/rgb_00001.jpg")
    with pytest.raises(ValueError, match="intrinsics are for 480 × 640 pixels"):
        nyu_depth_v2(tmp_path, "test")[0]
    with pytest.raises(FileNotFoundError, match="nyu_depth_v2_labeled.mat', and no image like"):
        nyu_depth_v2(tmp_path / "test" / "bath_1")


DRIVE = "2011_09_26_drive_0001_sync"


@pytest.fixture
def kitti(tmp_path):
    for camera in ("image_02", "image_03"):
        for frame in ("0000000005", "0000000006"):
            depth(
                tmp_path / f"train/{DRIVE}/proj_depth/groundtruth/{camera}/{frame}.png", scale=256
            )
        for frame in ("0000000004", "0000000005", "0000000006"):
            image(tmp_path / f"raw/2011_09_26/{DRIVE}/{camera}/data/{frame}.png")
    calibration = tmp_path / "raw/2011_09_26/calib_cam_to_cam.txt"
    calibration.write_text(
        "calib_time: 09-Jan-2012 13:57:47\nP_rect_02: 7 0 3 40 0 7.5 2 0.2 0 0 1 0.002\n"
        "P_rect_03: 8 0 3 -30 0 8 2 2 0 0 1 0\n"
    )
    return tmp_path


def test_kitti_depth(kitti):
    ds = kitti_depth(kitti, raw=kitti / "raw")
    assert len(ds) == 4 and repr(ds) == "<kitti_depth, split='train': 4 samples>"
    assert ds.describe(0).endswith(f"2011_09_26/{DRIVE}/image_02/data/0000000005.png")
    sample = ds[0]
    np.testing.assert_allclose(sample["depth"][..., 0], METERS, atol=0.5001 / 256)
    assert (sample["depth"][0, :3] == 0).all()
    assert sample["intrinsics"].tolist() == [[7, 0, 3], [0, 7.5, 2], [0, 0, 1]]
    right = kitti_depth(kitti, raw=kitti / "raw", cameras=["image_03"])
    assert len(right) == 2 and right[1]["intrinsics"][0, 0] == 8 and right.intrinsics is not None
    (kitti / "raw/2011_09_26" / DRIVE).rename(kitti / "train" / "raw")
    (kitti / "train/raw/image_02").rename(kitti / "train" / DRIVE / "image_02")
    beside = kitti_depth(kitti, cameras=["image_02"])
    assert len(beside) == 2 and "intrinsics" not in beside[0]
    with pytest.raises(FileNotFoundError, match=f"no images of {DRIVE} in any of .*; give raw="):
        kitti_depth(kitti)
    (kitti / "train" / DRIVE / "image_02/data/0000000006.png").unlink()
    with pytest.raises(FileNotFoundError, match="no image 0000000006.png in"):
        kitti_depth(kitti, cameras=["image_02"])


def test_kitti_depth_selection(tmp_path):
    home = tmp_path / "depth_selection/val_selection_cropped"
    for camera in ("image_02", "image_03"):
        image(home / f"image/{DRIVE}_image_0000000005_{camera}.png")
        depth(
            home / f"groundtruth_depth/{DRIVE}_groundtruth_depth_0000000005_{camera}.png",
            scale=256,
        )
    (home / "intrinsics").mkdir()
    (home / f"intrinsics/{DRIVE}_image_0000000005_image_02.txt").write_text("7 0 3 0 7 2 0 0 1")
    ds = kitti_depth(tmp_path, "val_selection_cropped")
    assert len(ds) == 2 and ds[0]["intrinsics"][0].tolist() == [7, 0, 3]
    assert "intrinsics" not in ds[1] and ds.intrinsics is None
    np.testing.assert_allclose(ds[1]["depth"][..., 0], METERS, atol=0.5001 / 256)
    assert len(kitti_depth(home, "val_selection_cropped", cameras=("image_03",))) == 1


def test_kitti_depth_errors(kitti):
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'val', 'val_sel.*'test'"):
        kitti_depth(kitti, "test")
    with pytest.raises(ValueError, match="`cameras` must be one or both of .*cameras='image_02'"):
        kitti_depth(kitti, cameras="image_02")
    with pytest.raises(FileNotFoundError, match="there is no depth map like"):
        kitti_depth(kitti, "val")
    with pytest.raises(FileNotFoundError, match="there is no folder .*groundtruth_depth"):
        kitti_depth(kitti, "val_selection_cropped")
    calibration = kitti / "raw/2011_09_26/calib_cam_to_cam.txt"
    calibration.write_text("P_rect_02: 1 2 3")
    with pytest.raises(ValueError, match="calib_cam_to_cam.txt: must contain 12 numbers"):
        kitti_depth(kitti, raw=kitti / "raw")
    calibration.write_text("P_rect_00: 1 2 3")
    with pytest.raises(ValueError, match="calib_cam_to_cam.txt: has no P_rect_02"):
        kitti_depth(kitti, raw=kitti / "raw")


def test_diode(tmp_path):
    valid = RNG.uniform(size=METERS.shape) > 0.5
    scans = ("val/indoors/scene_00019/scan_00183", "val/outdoor/scene_00022/scan_00193")
    for scan in scans:
        stem = tmp_path / scan / f"{scan[-5:]}_010"
        image(stem.with_name(stem.name + ".png"))
        np.save(f"{stem}_depth.npy", METERS[..., None])
        np.save(f"{stem}_depth_mask.npy", valid.astype("float64"))
        np.save(f"{stem}_normal.npy", np.full((6, 8, 3), (0, 0.6, 0.8)))
    camera = {"intrinsics": (9, 9, 3.5, 2.5)}
    ds = diode(tmp_path, "val", **camera)
    assert len(ds) == 2 and repr(ds) == "<diode, split='val': 2 samples>"
    sample = ds[1]
    np.testing.assert_array_equal(sample["depth"][..., 0], METERS * valid)
    assert set(sample) == {"image", "depth", "intrinsics"}
    assert len(diode(tmp_path, "val/outdoor", **camera)) == len(diode(tmp_path / scans[0])) == 1
    np.testing.assert_allclose(diode(tmp_path).intrinsics[:2, 2], [511.5, 383.5])
    normals = diode(tmp_path, normals_frame="opengl", **camera)[0]["normals"]
    np.testing.assert_allclose(normals[0, 0], (0, -0.6, -0.8), atol=1e-6)
    (tmp_path / scans[1] / "00193_010_depth_mask.npy").unlink()
    with pytest.raises(FileNotFoundError, match="'00193_010.png' .*without a mask of val"):
        diode(tmp_path, "val")


@pytest.fixture
def scene(tmp_path):
    """A tilted plane as Hypersim stores it: distances along rays, normals with y up."""
    h5py = pytest.importorskip("h5py")
    rows, columns = np.mgrid[:6, :8]
    focal = 4 / math.tan(math.radians(30))
    rays = np.stack([(columns - 3.5) / focal, (rows - 2.5) / focal, np.ones((6, 8))], -1)
    normal = np.array([0.0, -0.6, -0.8])  # in a sample's axes
    planar = 5 * normal[2] / (rays @ normal)
    distance = planar * np.linalg.norm(rays, axis=-1)
    distance[2, 3] = np.nan
    vectors = np.broadcast_to(normal * (1, -1, -1), (6, 8, 3)).copy()
    vectors[:, 4:] *= -1  # seen from behind
    vectors[2, 3] = np.nan
    images = tmp_path / "ai_001_001/images"
    image(images / "scene_cam_00_final_preview/frame.0000.tonemap.jpg")
    image(images / "scene_cam_00_final_preview/frame.0000.color.jpg")
    geometry = images / "scene_cam_00_geometry_hdf5"
    geometry.mkdir()
    for name, array in {"depth_meters": distance, "normal_cam": vectors}.items():
        with h5py.File(geometry / f"frame.0000.{name}.hdf5", "w") as file:
            file["dataset"] = array.astype("float16")
    planar[2, 3] = 0
    return tmp_path, planar, normal


def test_hypersim(scene):
    path, planar, normal = scene
    ds = hypersim(path)
    assert len(ds) == 1 and repr(ds) == "<hypersim: 1 samples>"
    sample = ds[0]
    np.testing.assert_allclose(sample["depth"][..., 0], planar, rtol=1e-3)
    known = planar > 0
    np.testing.assert_allclose(
        sample["normals"][known], np.tile(normal, (known.sum(), 1)), atol=2e-3
    )
    assert not sample["normals"][2, 3].any()
    np.testing.assert_allclose(sample["intrinsics"][0], [6.928, 0, 3.5], atol=1e-3)
    assert "normals" not in hypersim(path / "ai_001_001", normals=False)[0]
    assert len(hypersim(path, scenes=["ai_001_001"])) == 1
    with pytest.raises(FileNotFoundError, match="ai_009_009' has no image like"):
        hypersim(path, scenes=["ai_009_009"])
    with pytest.raises(FileNotFoundError, match="there is no scene like 'ai_001_001' in"):
        hypersim(path / "ai_001_001/images")
    next(path.rglob("*normal_cam.hdf5")).unlink()
    with pytest.raises(FileNotFoundError, match="no file .*frame.0000.normal_cam.hdf5"):
        hypersim(path)


def test_the_focal_length_of_hypersim_is_the_published_one(tmp_path):
    from keras_dense.datasets.hypersim import _camera

    np.testing.assert_allclose(_camera((768, 1024))[:2], [[886.81, 0, 511.5], [0, 886.81, 383.5]])


@pytest.fixture
def sun(tmp_path):
    numbers = np.rint(METERS * 1000).astype("uint16")
    for i, name in enumerate(("SUNRGBD/kv2/align/b", "SUNRGBD/kv1/NYUdata/NYU0001")):
        image(tmp_path / name / f"image/{i:07d}-1.jpg")
        image(tmp_path / name / f"depth_bfx/{i:07d}.png", (numbers << 3) | (numbers >> 13))
        image(tmp_path / name / f"depth/{i:07d}.png", numbers * 0)
        image(tmp_path / name / f"fullres/{i:07d}.jpg")
        (tmp_path / name / "intrinsics.txt").write_text(f"{7 + i} 0 3.5 0 7 2.5 0 0 1 \n")
    return tmp_path


def test_sun_rgbd(sun):
    ds = sun_rgbd(sun)
    assert len(ds) == 2 and ds.intrinsics is None
    np.testing.assert_allclose(ds[0]["depth"][..., 0], METERS, atol=5e-4)
    assert [ds[i]["intrinsics"][0, 0] for i in range(2)] == [8, 7]
    assert not sun_rgbd(sun / "SUNRGBD/kv2", raw=True)[0]["depth"].any()
    io = pytest.importorskip("scipy.io", reason="SciPy, which writes .mat files, is not installed")
    lists = sun / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    with pytest.raises(FileNotFoundError, match="split 'train' needs the official list"):
        sun_rgbd(sun, "train")
    lists.parent.mkdir(parents=True)
    names = [
        "/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001/",
        "/n/fs/sun3d/data/SUNRGBD/kv2/align/b",
    ]
    io.savemat(lists, {
        "alltest": np.array([names[:1]], object), "alltrain": np.array([names[::-1]], object),
    })  # fmt: skip
    assert sun_rgbd(sun, "test").describe(0).endswith("NYU0001/image/0000001-1.jpg")
    assert sun_rgbd(sun / "SUNRGBD", "train").describe(0).endswith("b/image/0000000-1.jpg")
    with pytest.raises(ValueError, match="`split` must be one of 'all', 'train', 'test'"):
        sun_rgbd(sun, "val")
    (sun / "SUNRGBD/kv2/align/b/intrinsics.txt").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 folders of split 'train' are not below"):
        sun_rgbd(sun, "train")


def test_sun_rgbd_errors(sun):
    home = sun / "SUNRGBD/kv2/align/b"
    image(home / "depth_bfx/0000000.png", np.uint8(METERS))
    with pytest.raises(ValueError, match=r"depth_bfx/0000000.png: `decode` failed .*16 bits"):
        sun_rgbd(sun)[1]
    image(home / "depth_bfx/second.png", np.uint8(METERS))
    with pytest.raises(ValueError, match="depth_bfx' must contain one depth map. Received: 2"):
        sun_rgbd(sun)
    (home / "depth_bfx/second.png").unlink()
    (home / "intrinsics.txt").write_text("7 0")
    with pytest.raises(ValueError, match="intrinsics.txt: must contain 9 numbers. Received: 2"):
        sun_rgbd(sun)
    with pytest.raises(FileNotFoundError, match="there is no folder with image/ and intrinsics"):
        sun_rgbd(home / "image")


def test_layouts_are_datasets_like_any_other(kitti):
    ds = kitti_depth(kitti, raw=kitti / "raw")
    with pytest.warns(UserWarning, match="Images that occur more than once: 3"):
        check(ds)
    images, targets = Loader(ds, Depth(max_depth=80.0), 2)[0]
    assert images.shape == (2, 6, 8, 3) and targets.shape == (2, 6, 8, 1)
    assert pickle.loads(pickle.dumps(ds))[3].keys() == ds[3].keys()  # for processes that read
