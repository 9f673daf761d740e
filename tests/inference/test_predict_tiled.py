"""Tiles: the same prediction as of the whole photo, in little memory, and after a kill."""

import errno
import os

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.inference.tiles import Axis, Stitcher, fade


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def shallow(channels=5, stride=2):
    """A network that sees a few pixels, on maps of a stride."""
    image = keras.Input((None, None, 3))
    x = kd.layers.PadToMultiple(stride)(layers.Rescaling(1 / 127.5, -1)(image))
    x = layers.Conv2D(8, 3, strides=stride, padding="same", activation="relu")(x)
    x = layers.Conv2D(channels, 3, padding="same")(x)
    x = kd.layers.BilinearUpsampling(stride)(x)
    return keras.Model(image, kd.layers.CropLike()(x, image))


def on_grid(grid):
    """A small network on a grid, with stride 4."""
    x = image = keras.Input((None, None, 3))
    for n in range(2):
        x = layers.ZeroPadding2D(1, name=f"pad{n}")(x)
        x = layers.Conv2D(4, 3, strides=2, activation="relu", name=f"conv{n}")(x)
    x = layers.Rescaling(1.0, name="last")(x)
    backbone = kd.backbone(keras.Model(image, x), preprocessing="tf")
    return kd.assemble(backbone, lambda f: f["P2"], kd.heads.Segmentation(5), grid=grid)


@pytest.mark.parametrize(
    "grid, size, exact",
    [
        ("multiple", (250, 203), True),
        ("corners", (250, 203), True),
        ("image", (252, 204), True),
        ("image", (250, 203), False),
        ("image_corners", (253, 205), True),
        ("image_corners", (250, 203), False),
        ("multiple_corners", (252, 204), False),
    ],
)
def test_tiles_of_other_grids(grid, size, exact, recwarn):
    """Tiles equal the whole image, or a warning says that they are stretched."""
    keras.utils.set_random_seed(0)
    model, image = on_grid(grid), photo(*size)
    whole = ops.convert_to_numpy(model(image[None].astype("float32")))[0]
    tiled = kd.inference.predict_tiled(model, image, raw=True, tile=128, progress=False)
    warned = any("Tiles are predicted a little differently" in str(w.message) for w in recwarn)
    assert warned != exact
    difference = np.abs(tiled - whole).max() / np.abs(whole).max()
    assert (difference < 1e-5) == exact and difference < 0.5


@pytest.mark.parametrize("length", [97, 100, 101, 128, 193, 260])
@pytest.mark.parametrize(
    "tile, overlap, grid", [(96, 24, 8), (64, 16, 1), (64, 16, 32), (64, 0, 1)]
)
def test_tiles_cover_an_axis(length, tile, overlap, grid):
    axis = Axis.of(length, tile, overlap, grid)
    owned = [axis.own(k) for k in range(len(axis.places))]
    assert owned[0][0] == 0 and owned[-1][1] == length
    for k, place in enumerate(axis.places):
        first, end = owned[k]
        last = k == len(owned) - 1
        assert place <= first and end + (0 if last else axis.width) <= place + tile <= length
        # A tile fades out after it has faded in.
        assert k == 0 or first + axis.width <= end
        assert last or place % grid == 0 or axis.width == overlap
        assert k == 0 or first == owned[k - 1][1]
    assert len(axis.places) == 1 or axis.width >= overlap


def test_a_fitted_tile_computes_little_and_lies_on_the_strides():
    for length in (1537, 2048, 5000, 10000):
        axis = Axis.fitted(length, 48, 32)
        assert all(place % 32 == 0 for place in axis.places)
        assert axis.width >= 48 and axis.tile <= 1536
    computed = len(axis.places) * -(-axis.tile // 32) * 32
    assert (10000 / computed) ** 2 > 0.88


def test_a_stitcher_mixes_by_weights_that_sum_to_one():
    rows, columns = Axis.of(50, 24, 6, 1), Axis.of(71, 24, 6, 1)
    whole = np.random.default_rng(0).normal(size=(50, 71, 2)).astype("float32")
    # Every tile is wrong by a constant of its own: what comes out is a mean of neighbors.
    stitcher = Stitcher(rows, columns, 0, lambda x: x)
    found = np.zeros_like(whole)
    exact = np.zeros_like(whole)
    weights = np.zeros((50, 71, 1), "float32")
    ramp = fade(6, 0)
    for j, y in enumerate(rows.places):
        for k, x in enumerate(columns.places):
            tile = whole[y : y + 24, x : x + 24] + 10 * j + k
            place, region = stitcher.add(j, k, tile, tile)
            found[place] = region
            factors = []
            for axis, n in ((rows, j), (columns, k)):
                weight = np.zeros(axis.length, "float32")
                first, end = axis.own(n)
                weight[first:end] = 1
                if n:
                    weight[first : first + 6] = ramp
                if end < axis.length:
                    weight[end : end + 6] = 1 - ramp
                factors.append(weight)
            weight = (factors[0][:, None] * factors[1])[..., None]
            weights += weight
            exact[y : y + 24, x : x + 24] += weight[y : y + 24, x : x + 24] * tile
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.everywhere
@pytest.mark.parametrize("size, tile", [((131, 205), 64), ((131, 205), (96, 64)), ((40, 200), 64)])
def test_equals_the_whole_where_the_network_sees_less_than_the_overlap(size, tile):
    model, image = shallow(), photo(*size)
    whole = ops.convert_to_numpy(model(image[None]))[0]
    found = kd.inference.predict_tiled(model, image, tile=tile, progress=False)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5)
    head = kd.heads.Segmentation(5)
    labels = kd.inference.predict_tiled(model, image, head, tile=tile, batch_size=3, progress=False)
    assert labels.dtype == np.uint8 and labels.shape == size
    assert (labels != whole.argmax(-1)).mean() < 1e-4


@pytest.mark.everywhere
def test_a_photo_that_fits_is_predicted_as_it_is(backbone):
    model = kd.fcn32s(backbone, 5)
    image = photo(45, 67)
    found = kd.inference.predict_tiled(model, image, raw=True, progress=False)
    np.testing.assert_array_equal(found, model.predict_on_batch(image[None])[0])


def test_every_head_at_once(backbone):
    heads = {
        "labels": kd.heads.Segmentation(5),
        "depth": kd.heads.Depth(),
        "normals": kd.heads.Normals(concentration=True),
        "colors": kd.heads.Colorization(grid=40),
        "aux": kd.heads.Auxiliary(kd.heads.Segmentation(5)),
    }
    model = kd.fcn32s(backbone, heads=heads)
    image = photo(150, 230)
    found = kd.inference.predict_tiled(model, image, heads, tile=128, progress=False)
    assert {key: (x.shape, x.dtype.name) for key, x in found.items()} == {
        "labels": ((150, 230), "uint8"),
        "depth": ((150, 230, 1), "float32"),
        "normals": ((150, 230, 3), "float32"),
        "colors": ((150, 230, 3), "uint8"),
    }
    np.testing.assert_allclose(np.linalg.norm(found["normals"], axis=-1), 1, rtol=1e-4)
    del heads["colors"]
    raw = kd.inference.predict_tiled(model, image, heads, tile=128, raw=True, progress=False)
    assert raw["labels"].shape == (150, 230, 5) and raw["normals"].shape == (150, 230, 4)
    np.testing.assert_allclose(np.linalg.norm(raw["normals"][..., :3], axis=-1), 1, rtol=1e-4)
    np.testing.assert_allclose(raw["depth"].clip(1e-3, 10), found["depth"], rtol=1e-5)
    assert (raw["labels"].argmax(-1) != found["labels"]).mean() < 1e-3


class Breaking:
    """A photo that cannot be read any more after some reads."""

    def __init__(self, image, reads):
        self.image, self.reads = image, reads
        self.shape, self.dtype = image.shape, image.dtype

    def __getitem__(self, key):
        self.reads -= 1
        if self.reads < 0:
            raise OSError("the disk is gone")
        return self.image[key]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, batch_size):
    model, head, image = shallow(), kd.heads.Segmentation(5), photo(200, 200)
    settings = {"tile": 64, "overlap": 10, "batch_size": batch_size, "progress": False}
    kd.inference.predict_tiled(model, image, head, out=tmp_path / "once.npy", **settings)
    out = tmp_path / "stopped.npy"
    with pytest.raises(OSError, match="disk is gone"):
        kd.inference.predict_tiled(model, Breaking(image, 11), head, out=out, **settings)
    state = tmp_path / "stopped.npy.state.npz"
    assert not out.exists() and state.exists()
    with np.load(state) as kept:
        assert kept["done"] >= 4
    other = kd.heads.Segmentation(5, class_names=list("abcde"))
    with pytest.raises(ValueError, match="another heads. Continue"):
        kd.inference.predict_tiled(model, image, other, out=out, **settings)
    with pytest.raises(ValueError, match="another model"):
        kd.inference.predict_tiled(shallow(), image, head, out=out, **settings)
    with pytest.raises(ValueError, match="another image"):
        kd.inference.predict_tiled(model, photo(200, 200, 1), head, out=out, **settings)
    with pytest.raises(ValueError, match="another arguments"):
        kd.inference.predict_tiled(model, image, head, out=out, **{**settings, "overlap": 12})
    # A result that was removed is started again, even with a state file.
    kept = {path: path.read_bytes() for path in tmp_path.glob("stopped*")}
    (tmp_path / "stopped.npy.part").unlink()
    with pytest.raises(OSError, match="disk is gone"):
        kd.inference.predict_tiled(model, Breaking(image, 1), head, out=out, **settings)
    assert not state.exists()
    for path, content in kept.items():
        path.write_bytes(content)
    # Each tile is read once: to predict it, or to see that what was predicted is still there.
    last = Breaking(image, 16)
    found = kd.inference.predict_tiled(model, last, head, out=out, **settings)
    assert out.read_bytes() == (tmp_path / "once.npy").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["once.npy", "stopped.npy"]
    assert found.shape == (200, 200) and not found.flags.writeable
    with pytest.raises(FileExistsError, match="already"):
        kd.inference.predict_tiled(model, image, head, out=out, **settings)


class Stop(BaseException):
    """A kill: no code catches it."""


def stopping(monkeypatch, number):
    """Let the call of a given number, of all that change what is on the disk, end the run."""
    calls = []

    def counted(function):
        def call(*args, **kwargs):
            calls.append(function)
            if len(calls) == number:
                raise Stop
            return function(*args, **kwargs)

        return call

    for name in ("replace", "rename", "unlink", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return calls


def test_a_run_stopped_at_any_moment_can_be_finished(tmp_path, monkeypatch):
    """Between any two changes of the disk, also where one of two files has its name already."""
    pytest.importorskip("zarr")
    image = photo(100, 120)
    x = keras.Input((None, None, 3))
    model = keras.Model(x, {k: layers.Conv2D(3, 1)(x) for k in "ab"})
    heads = {key: kd.heads.Segmentation(3) for key in "ab"}
    settings = {"tile": 64, "overlap": 10, "progress": False}
    expected = kd.inference.predict_tiled(model, image, heads, **settings)
    number, names = 0, {"a": "a.npy", "b": "b.zarr"}
    while True:
        number += 1
        folder = tmp_path / str(number)
        out = {key: folder / name for key, name in names.items()}
        with monkeypatch.context() as patch:
            calls = stopping(patch, number)
            try:
                kd.inference.predict_tiled(model, image, heads, out=out, **settings)
            except Stop:
                pass
        if len(calls) < number:
            break
        left = [path for path in folder.iterdir() if path.suffix != ".lock"]
        if sorted(path.name for path in left) != sorted(names.values()):
            found = kd.inference.predict_tiled(model, image, heads, out=out, **settings)
            for key, y in found.items():
                np.testing.assert_array_equal(y[:], expected[key])
        # A lock that was left would be recognized; its folder is not used again.
        left = [path.name for path in folder.iterdir() if path.suffix != ".lock"]
        assert sorted(left) == sorted(names.values())
    assert number > 10


def test_two_runs_do_not_write_to_one_path(tmp_path):
    model, head, image = shallow(), kd.heads.Segmentation(5), photo(90, 90)
    out = tmp_path / "labels.npy"
    said = []

    class Reading(Breaking):
        def __getitem__(self, key):
            if not said:
                with pytest.raises(BlockingIOError, match="another run .* writes to .*labels.npy"):
                    kd.inference.predict_tiled(model, image, head, out=out, progress=False)
                said.append(True)
            return self.image[key]

    kd.inference.predict_tiled(model, Reading(image, 99), head, out=out, progress=False)
    assert said and [path.name for path in tmp_path.iterdir()] == ["labels.npy"]


def test_progress_as_a_function(tmp_path):
    seen = []
    kd.inference.predict_tiled(
        shallow(), photo(100, 120), tile=64, overlap=10, progress=lambda *x: seen.append(x)
    )
    assert seen == [(n, 6) for n in range(1, 7)]


def test_a_very_long_name(tmp_path):
    out = tmp_path / ("a" * 251 + ".npy")
    model, image = shallow(), photo(200, 90)
    settings = {"heads": kd.heads.Segmentation(5), "out": out, "tile": 64, "progress": False}
    with pytest.raises(OSError, match="disk is gone"):
        kd.inference.predict_tiled(model, Breaking(image, 5), **settings)
    assert kd.inference.predict_tiled(model, image, **settings).shape == (200, 90)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_disk_that_is_too_small_says_so_before_anything_is_predicted(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    settings = {"heads": kd.heads.Segmentation(5), "progress": False}
    with pytest.raises(OSError, match="No space left on device: .*labels.npy"):
        kd.inference.predict_tiled(
            shallow(), Breaking(photo(90, 90), 0), out=tmp_path / "labels.npy", **settings
        )
    assert not list(tmp_path.iterdir())


def test_zarr_in_and_out(tmp_path):
    zarr = pytest.importorskip("zarr")
    model, head, image = shallow(), kd.heads.Segmentation(5), photo(130, 150)
    stored = zarr.open_array(
        store=str(tmp_path / "in.zarr"), mode="w", shape=image.shape, chunks=(50, 50, 3), dtype="u1"
    )
    stored[:] = image
    expected = kd.inference.predict_tiled(model, image, head, tile=64, progress=False)
    out = tmp_path / "out.zarr"
    found = kd.inference.predict_tiled(model, stored, head, tile=64, out=out, progress=False)
    np.testing.assert_array_equal(found[:], expected)
    into = zarr.open_array(
        store=str(tmp_path / "mine.zarr"),
        mode="w",
        shape=image.shape[:2],
        chunks=(9, 9),
        dtype="u1",
    )
    assert (
        kd.inference.predict_tiled(model, stored, head, tile=64, out=into, progress=False) is into
    )
    np.testing.assert_array_equal(into[:], expected)


def test_geotiff_in_and_out(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    image = photo(600, 130)
    transform = rasterio.Affine(2.0, 0.0, 500000.0, 0.0, -2.0, 5400000.0)
    with rasterio.open(
        tmp_path / "in.tif",
        "w",
        driver="GTiff",
        height=600,
        width=130,
        count=4,
        dtype="uint8",
        crs="EPSG:32632",
        transform=transform,
    ) as file:
        file.write(np.moveaxis(image, -1, 0)[::-1], (1, 2, 3))
    scene = kd.inference.GeoTiff(tmp_path / "in.tif", bands=(3, 2, 1))
    np.testing.assert_array_equal(np.asarray(scene), image)
    np.testing.assert_array_equal(scene[5:9, 100:200], image[5:9, 100:200])
    model, head = shallow(), kd.heads.Depth()
    model = shallow(1)
    expected = kd.inference.predict_tiled(model, image, head, tile=64, progress=False)
    out = tmp_path / "depth.tif"
    found = kd.inference.predict_tiled(model, scene, head, tile=64, out=out, progress=False)
    np.testing.assert_array_equal(found[...], expected)
    with rasterio.open(out) as file:
        assert file.transform == transform and file.crs.to_epsg() == 32632
    with pytest.raises(ValueError, match="bands"):
        kd.inference.GeoTiff(tmp_path / "in.tif", bands=(5,))
    with pytest.raises(FileNotFoundError, match="nowhere.tif"):
        kd.inference.GeoTiff(tmp_path / "nowhere.tif")


def test_memory_maps(tmp_path):
    model, head, image = shallow(), kd.heads.Segmentation(5), photo(100, 150)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    into = np.memmap(tmp_path / "labels", "uint8", "w+", shape=(100, 150))
    kd.inference.predict_tiled(model, mapped, head, tile=64, out=into, progress=False)
    expected = kd.inference.predict_tiled(model, image, head, tile=64, progress=False)
    np.testing.assert_array_equal(into, expected)


@pytest.mark.everywhere
def test_a_network_of_fixed_size():
    image = keras.Input((64, 48, 3))
    model = keras.Model(image, layers.Conv2D(5, 3, padding="same")(image))
    free = keras.Input((None, None, 3))
    whole = keras.Model(free, model.layers[-1](free)).predict_on_batch(photo(100, 90)[None])[0]
    found = kd.inference.predict_tiled(model, photo(100, 90), progress=False)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-3)
    with pytest.raises(ValueError, match=r"`tile` must be \(64, 48\)"):
        kd.inference.predict_tiled(model, photo(100, 90), tile=32, progress=False)
    with pytest.raises(ValueError, match="must not be smaller"):
        kd.inference.predict_tiled(model, photo(63, 90), progress=False)


@pytest.mark.parametrize(
    "message, change",
    [
        ("`image` must have shape", {"image": np.zeros((9, 9), "uint8")}),
        ("`image` must have shape", {"image": np.zeros((9, 9, 4), "uint8")}),
        ("`tile` must be", {"tile": 0}),
        ("`tile` must be", {"tile": (8, 8, 8)}),
        ("`overlap` must be an int", {"overlap": -1}),
        ("`overlap` must be at most a quarter of a tile, 8", {"tile": 32, "overlap": 9}),
        ("`batch_size` must be", {"batch_size": 0}),
        ("`heads` must be those of the model", {"heads": kd.heads.Segmentation(7)}),
        ("`heads` must have the structure", {"heads": {"a": kd.heads.Segmentation(5)}}),
        ("`out` must have shape", {"out": np.zeros((9, 9))}),
        ("`out` must end in", {"out": "labels.png"}),
    ],
)
def test_what_cannot_be(message, change):
    arguments = {"image": photo(40, 40), "heads": kd.heads.Segmentation(5), **change}
    with pytest.raises(ValueError, match=message):
        kd.inference.predict_tiled(shallow(), progress=False, **arguments)


def test_models_that_cannot_be(backbone):
    image = photo(64, 64)
    head = kd.heads.Colorization(grid=40)
    model = kd.fcn32s(backbone, heads=head)
    with pytest.raises(ValueError, match="cannot be written raw"):
        kd.inference.predict_tiled(model, image, head, raw=True, progress=False)
    classifier = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()])
    with pytest.raises(ValueError, match="predict at every pixel"):
        kd.inference.predict_tiled(classifier, image, progress=False)
    pair = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    both = keras.Model(pair, layers.Add()(pair))
    with pytest.raises(ValueError, match="one batch of images"):
        kd.inference.predict_tiled(both, image, progress=False)
