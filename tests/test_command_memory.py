"""`predict` divides images into tiles where the memory of the machine is too small for them."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import main, memory, predictor

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once
HEADS = {"labels": kd.heads.Segmentation(5), "depth": kd.heads.Depth(max_depth=10.0)}
GB = 10**9


def photo(height=150, width=210, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


@pytest.fixture
def place(tmp_path):
    """A network of stride 2 that sees 7 pixels, and two photographs."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(image)  # far from saturated probabilities, which tie
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    outputs = {
        "labels": layers.Conv2DTranspose(5, 4, strides=2, padding="same")(x),
        "depth": layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="softplus")(x),
    }
    kd.heads.attach(keras.Model(image, outputs), HEADS).save(tmp_path / "m.keras")
    (tmp_path / "in").mkdir()
    for name, size in (("large", (150, 210)), ("small", (40, 50))):
        PIL.fromarray(photo(*size)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path


def predict(place, out, *arguments):
    files = [str(place / "m.keras"), str(place / "in")]
    return main(["predict", *files, "--out", str(place / out), *map(str, arguments)])


def results(place, out):
    return {
        str(path.relative_to(place / out)): np.array(PIL.open(path)).astype("int32")
        for path in sorted((place / out).rglob("*.png"))
    }


@pytest.mark.parametrize("more", [(), ("--flip",)])
def test_large_images_are_divided_and_equal_undivided_ones(place, capsys, monkeypatch, more):
    assert predict(place, "whole", "--overlay", *more) == 0
    assert "tiles" not in capsys.readouterr().out
    whole = results(place, "whole")
    monkeypatch.setattr(memory, "SMALL", 64 * 64)
    monkeypatch.setattr(memory, "TILES", (96, 64))
    monkeypatch.setattr(predictor, "available", lambda: 2_500_000)
    assert predict(place, "tiles", "--overlay", *more) == 0
    said = capsys.readouterr().out
    assert said.count("are predicted in tiles of") == 1 and "150×210 pixels" in said
    assert "(--tile 0 turns this off)" in said
    found = results(place, "tiles")
    assert found.keys() == whole.keys() and len(found) == 8
    for name, x in found.items():
        assert np.abs(x - whole[name]).max() <= ("depth" in name), name
    # Never, and always.
    assert predict(place, "never", "--tile", 0, *more) == 0
    assert predict(place, "always", "--tile", 64, *more) == 0
    assert "are predicted in tiles" not in capsys.readouterr().out
    for out in ("never", "always"):
        for name, x in results(place, out).items():
            assert np.abs(x - whole[name]).max() <= ("depth" in name), name


def test_the_document_counts_divided_images(place, capsys, monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 64 * 64)
    monkeypatch.setattr(predictor, "available", lambda: 1)
    assert predict(place, "out", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["divided"] == 1 and document["images"] == 2


def test_images_of_one_size_are_treated_alike(place, capsys, monkeypatch):
    PIL.fromarray(photo(seed=3)).save(place / "in" / "later.png")
    rooms = iter([GB, 1, 1])
    monkeypatch.setattr(memory, "SMALL", 64 * 64)
    monkeypatch.setattr(predictor, "available", lambda: next(rooms))
    assert predict(place, "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["divided"] == 0


def test_too_little_memory_is_said(place, capsys, monkeypatch):
    def fails(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr(predictor.Predictor, "_undivided", fails)
    assert predict(place, "out") == 1
    said = capsys.readouterr().err
    assert "needs more memory than there is, 150×210 pixels; tiles take less: --tile 1024" in said
    assert predict(place, "out", "--tile", "-1") == 1
    assert "--tile must be a number of pixels, or 0 for none" in capsys.readouterr().err


def test_the_tile_is_the_largest_that_fits(backbone):
    network = kd.fcn32s(backbone, 5)
    estimate = memory.Memory(network)
    needed = {side: estimate.needed((side, side)) for side in memory.TILES}
    assert needed[1536] == pytest.approx(9 * needed[512], rel=0.1)

    def tile(size, room):
        return estimate.tile(size, int(room / memory.SHARE) + 1)

    assert tile((1000, 1000), 0) is None
    assert tile((9000, 9000), needed[1536]) == 1536
    assert tile((9000, 9000), needed[1024]) == 1024
    assert tile((9000, 9000), 1) == 256
    assert tile((1536, 1024), needed[1024]) == 1024
    assert tile((1536, 1536), needed[1536]) is None
    # A wide image in one row of tiles.
    assert tile((300, 9000), needed[768]) == 1536
    several = memory.Memory(network, (0.5, 2.0))
    assert several.needed((256, 256)) > needed[512]


def system(root, available, groups="", files=()):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemFree: 5 kB\nMemAvailable: {available // 1000} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in dict(files).items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory.available(str(root))


def test_memory_of_the_machine_and_of_control_groups(tmp_path):
    assert memory.available() > 0
    assert system(tmp_path / "none", 8 * GB) == 8 * GB // 1000 * 1024
    second = {
        "a/memory.max": f"{3 * GB}",
        "a/memory.current": f"{2 * GB}",
        "a/memory.stat": f"anon 7\ninactive_file {GB}\n",
        "a/b/memory.max": "max\n",
        "a/b/memory.current": "5",
        "a/b/memory.stat": "inactive_file 1\n",
    }
    assert system(tmp_path / "second", 8 * GB, "0::/a/b\n", second) == 2 * GB
    first = {
        "memory/memory.limit_in_bytes": f"{4 * GB}",
        "memory/memory.usage_in_bytes": f"{GB}",
        "memory/memory.stat": "inactive_file 3\ntotal_inactive_file 0\n",
    }
    # The path is one outside of the container.
    groups = "3:cpu:/\n4:memory:/docker/7\n"
    assert system(tmp_path / "first", 8 * GB, groups, first) == 3 * GB
    assert system(tmp_path / "little", GB, groups, first) < 2 * GB
