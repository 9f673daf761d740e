"""Depth and normals from PNG: units, unknown pixels, axes, and errors that name bad files."""

import json

import numpy as np
import pytest

from keras_dense.datasets import (
    Loader,
    cached,
    check,
    depth_folder,
    photographs,
    split,
    subset,
)

Image = pytest.importorskip("PIL.Image")

DEPTH = np.array([[0, 1000, 2500], [65535, 1, 512]], np.uint16)
# In a sample's axes: straight ahead, a floor, a wall to the right; unknown; two that are slanted.
NORMALS = np.array(
    [[(0, 0, -1), (0, -1, 0), (-1, 0, 0)], [(0, 0, 0), (0.6, 0, -0.8), (0.48, -0.6, -0.64)]]
)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def to_pixels(normals):
    pixels = np.round((normals + 1) / 2 * 255).astype(np.uint8)
    pixels[(normals == 0).all(-1)] = 0
    return pixels


@pytest.fixture
def room(tmp_path):
    for i, name in enumerate("ab"):
        save(tmp_path / "rgb" / f"{name}.jpg", np.full((2, 3, 3), 50 * i, np.uint8))
        save(tmp_path / "depth" / f"{name}.png", DEPTH)
        save(tmp_path / "normal" / f"{name}_n.png", to_pixels(NORMALS))
    return tmp_path


@pytest.mark.parametrize("scale", [1000.0, 256])
def test_depth_in_meters(room, scale):
    ds = depth_folder(room / "rgb", room / "depth", scale=scale)
    assert len(ds) == 2 and repr(ds) == "<depth_folder: 2 samples>"
    sample = ds[1]
    assert set(sample) == {"image", "depth"} and sample["image"].dtype == np.uint8
    assert sample["depth"].dtype == np.float32 and sample["depth"].shape == (2, 3, 1)
    np.testing.assert_allclose(sample["depth"][..., 0], DEPTH.astype("float64") / scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("frame", "signs"),
    [("opencv", (1, 1, 1)), ("dsine", (-1, -1, -1)), ("opengl", (1, -1, -1)),
     ("omnidata", (1, 1, -1))],
)  # fmt: skip
def test_normals_of_each_frame_come_out_alike(room, frame, signs):
    save(room / "normal" / "a_n.png", to_pixels(NORMALS * signs))
    ds = depth_folder(
        room / "rgb",
        room / "depth",
        normals=room / "normal",
        normals_suffix="_n",
        normals_frame=frame,
        names=["a"],
    )
    normals = ds[0]["normals"]
    assert normals.dtype == np.float32 and len(ds) == 1
    np.testing.assert_allclose(normals, NORMALS, atol=0.006)
    known = (NORMALS != 0).any(-1)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), known, atol=1e-6)


def test_short_normals_are_unknown(room):
    pixels = to_pixels(NORMALS)
    pixels[0, 0] = (128, 127, 100)
    save(room / "normal" / "a_n.png", pixels)
    ds = depth_folder(room / "rgb", room / "depth", normals=room / "normal", normals_suffix="_n")
    assert not ds[0]["normals"][0, 0].any() and ds[0]["normals"][0, 1].any()


def test_intrinsics(room, tmp_path):
    matrix = np.array([[500, 0, 1.5], [0, 510, 1], [0, 0, 1]], np.float32)
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({"fx": 500, "fy": 510, "cx": 1.5, "cy": 1, "frames": {}}))
    for given in (matrix, (500, 510, 1.5, 1), file, str(file)):
        ds = depth_folder(room / "rgb", room / "depth", intrinsics=given)
        found = ds[0]["intrinsics"]
        np.testing.assert_array_equal(found, matrix)
        assert found.dtype == np.float32 and ds.intrinsics is not found
    kept = subset(cached(ds), [1])
    np.testing.assert_array_equal(kept[0]["intrinsics"], matrix)
    assert kept.intrinsics.shape == (3, 3)
    assert len(Loader(ds, None, 2)[0][0]) == 2


def test_names_and_suffixes(tmp_path):
    for name in ("1", "2", "10"):
        save(tmp_path / "rgb" / f"{name}.png", np.zeros((2, 3, 3), np.uint8))
        save(tmp_path / "depth" / f"{name}_depth.png", DEPTH)
    (tmp_path / "train.txt").write_text("10\n1\n")
    ds = depth_folder(
        tmp_path / "rgb", tmp_path / "depth", depth_suffix="_depth", names=tmp_path / "train.txt",
        name="rooms", split="train",
    )  # fmt: skip
    assert [files[0].stem for files in ds.files] == ["10", "1"]
    assert repr(ds) == "<rooms, split='train': 2 samples>" and ds.describe(1).endswith("1.png")


def test_errors_name_the_file(room):
    save(room / "depth" / "a.png", np.zeros((2, 3), np.uint8))
    save(room / "depth" / "b.png", DEPTH[:1])
    ds = depth_folder(room / "rgb", room / "depth")
    with pytest.raises(ValueError, match="a.png: has at most 8 bits per pixel.*decode="):
        ds[0]
    with pytest.raises(ValueError, match="b.png .*'depth' is 1 x 3 pixels .* image is 2 x 3"):
        ds[1]
    save(room / "depth" / "a.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="a.png: has 3 channels, but depth has one; give decode="):
        ds[0]
    (room / "depth" / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="a.png: cannot be read as an image"):
        ds[0]
    with pytest.raises(ValueError, match="2 of 2 samples are faulty"):
        check(ds)
    with_normals = {"normals": room / "normal", "normals_suffix": "_n"}
    save(room / "depth" / "a.png", DEPTH)
    away = depth_folder(room / "rgb", room / "depth", **with_normals, normals_frame="opengl")
    with pytest.raises(ValueError, match="3 of 5 normals face away .*normals_frame='opengl'"):
        away[0]
    save(room / "normal" / "a_n.png", to_pixels(NORMALS[:1]))
    with pytest.raises(ValueError, match="'normals' is 1 x 3 pixels"):
        depth_folder(room / "rgb", room / "depth", **with_normals)[0]


def test_missing_partners(room, tmp_path):
    (room / "depth" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="'b.jpg' in .* without a depth map in"):
        depth_folder(room / "rgb", room / "depth")
    with pytest.raises(FileNotFoundError, match="without a normal map in"):
        depth_folder(room / "rgb", room / "depth", names=["a"], normals=room / "normal")
    with pytest.raises(FileNotFoundError, match="rooms: there is no depth maps folder"):
        depth_folder(room / "rgb", tmp_path / "none", name="rooms")
    with pytest.raises(FileNotFoundError, match="there is no file of intrinsics"):
        depth_folder(room / "rgb", room / "depth", names=["a"], intrinsics=tmp_path / "no.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0}, "`scale` must be a number > 0.*scale=0"),
        ({"scale": "mm"}, "`scale` must be a number > 0"),
        ({"normals_frame": "up"}, "`normals_frame` must be one of .*'opengl'.*'up'"),
        ({"intrinsics": (1, 2, 3)}, "`intrinsics` must be a matrix"),
        ({"intrinsics": (0, 2, 3, 4)}, "`intrinsics` must be a matrix"),
        ({"intrinsics": np.ones((3, 3))}, "`intrinsics` must be a matrix"),
    ],
)
def test_bad_arguments(room, arguments, message):
    with pytest.raises(ValueError, match=message):
        depth_folder(room / "rgb", room / "depth", **arguments)


def test_bad_intrinsics_file(room, tmp_path):
    (tmp_path / "k.json").write_text('{"fx": 1}')
    with pytest.raises(ValueError, match="k.json' must be JSON with the numbers fx, fy, cx, cy"):
        depth_folder(room / "rgb", room / "depth", intrinsics=tmp_path / "k.json")


def test_intrinsics_of_another_size(room, tmp_path):
    camera = {"fx": 9, "fy": 9, "cx": 2, "cy": 1}
    file, folders = tmp_path / "k.json", (room / "rgb", room / "depth")
    height, width = depth_folder(*folders)[0]["image"].shape[:2]
    file.write_text(json.dumps({**camera, "height": height, "width": width}))
    assert "intrinsics" in depth_folder(*folders, intrinsics=file)[0]
    file.write_text(json.dumps({**camera, "height": 2 * height, "width": 2 * width}))
    with pytest.raises(ValueError, match=f"intrinsics are for {2 * height} × {2 * width} pixels"):
        depth_folder(*folders, intrinsics=file)[0]
    with pytest.raises(ValueError, match="have their center at row 1, column 99"):
        depth_folder(*folders, intrinsics=(9, 9, 99, 1))[0]


def test_real_kitchen(shared_data):
    """The normals agree with the depth, so the axes of the files are read correctly."""
    home = shared_data / "rgbd" / "kitchen"
    ds = depth_folder(
        home / "rgb", home / "depth", normals=home / "normal", normals_frame="opengl",
        intrinsics=home / "index.json",
    )  # fmt: skip
    assert len(ds) == 94 and ds.intrinsics[0].tolist() == [262.5, 0, 159.75]
    sample = ds[40]
    depth, normals = sample["depth"][..., 0].astype("float64"), sample["normals"]
    assert 0.9 < (depth > 0).mean() < 1 and 0.5 < np.median(depth[depth > 0]) < 4
    assert ((depth > 0) == normals.any(-1)).mean() > 0.95
    # From central differences of the points: n = (down - up) x (right - left), towards the camera.
    rows, columns = np.mgrid[:240, :320]
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(ds.intrinsics).T
    points = rays * depth[..., None]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    wanted = np.cross(right, down)
    wanted *= -np.sign((wanted * points[1:-1, 1:-1]).sum(-1, keepdims=True))
    length = np.linalg.norm(wanted, axis=-1)
    shift = [depth[1:-1, 2:], depth[1:-1, :-2], depth[2:, 1:-1], depth[:-2, 1:-1]]
    known = np.all([s > 0 for s in shift], 0) & normals[1:-1, 1:-1].any(-1) & (length > 0)
    cosine = (wanted * normals[1:-1, 1:-1]).sum(-1)[known] / length[known]
    assert np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))) < 12
    facing = (normals[1:-1, 1:-1] * rays[1:-1, 1:-1]).sum(-1)[known]
    assert (facing < 0).mean() > 0.99


def test_photographs(tmp_path):
    save(tmp_path / "b.png", np.full((2, 3), 7, np.uint8))  # gray
    save(tmp_path / "a" / "z" / "c.JPG", np.zeros((4, 5, 3), np.uint8))
    save(tmp_path / ".trash" / "d.png", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    ds = photographs(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in ds.files] == [
        "a/broken.jpg",
        "a/z/c.JPG",
        "b.png",
    ]
    assert set(ds[1]) == {"image"} and ds[1]["image"].shape == (4, 5, 3)
    np.testing.assert_array_equal(ds[2]["image"], np.full((2, 3, 3), 7, np.uint8))
    assert repr(ds).startswith("<photographs: 3 in ") and ds.describe(2) == str(tmp_path / "b.png")
    with pytest.raises(ValueError, match="broken.jpg: cannot be read as an image"):
        ds[0]
    with pytest.raises(ValueError, match="1 of 3 samples are faulty:\n  sample 0: .*broken.jpg"):
        check(ds)
    with pytest.raises(FileNotFoundError, match="photographs: there is no folder"):
        photographs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty'.* contain(s)? no image"):
        photographs(tmp_path / "empty")


def test_real_photographs(shared_data):
    ds = photographs(shared_data / "photos")
    assert len(ds) == 500 and min(ds[3]["image"].shape[:2]) == 240
    train, val = split(ds, 0.9)
    assert (len(train), len(val)) == (450, 50)
