"""Inputs of the command line are never overwritten, and existing results are recognized."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import files, main, results
from keras_dense._command.marks import mark_of
from keras_dense._files import _OWNER
from keras_dense._lock import host_code, lock

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once
HEAD = kd.heads.Segmentation(3, class_names=["é", "b", "c"])


def photo(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def network(seed=0, classes=3):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(classes, 1)(image), name="small")


@pytest.fixture
def place(tmp_path):
    """A model with its head, and a folder of two photographs."""
    (tmp_path / "photos").mkdir()
    for n, name in enumerate(("a.png", "b.jpg")):
        PIL.fromarray(photo(seed=n)).save(tmp_path / "photos" / name)
    network().save(tmp_path / "m.keras")
    text = json.dumps(keras.saving.serialize_keras_object(HEAD))
    (tmp_path / "head.json").write_text(text)
    return tmp_path


def predict(place, *arguments, model="m.keras", photos="photos"):
    heads = ["--heads", str(place / "head.json")]
    images = [str(place / model), str(place / photos)]
    return main(["predict", *images, *heads, *map(str, arguments)])


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize("way", ["same", "dots", "link", "below", "case"])
def test_results_do_not_go_among_the_photos(place, capsys, way, more):
    photos = place / "photos"
    outs = {"same": photos, "dots": photos / ".." / "photos", "case": place / "PHOTOS"}
    if way == "link":
        outs["link"] = place / "link"
        outs["link"].symlink_to(photos)
    if way == "case":
        if not outs["case"].exists():
            pytest.skip("the file system tells names by case")
    if way == "below":
        heads = {"photos": HEAD, "more": HEAD}
        image = keras.Input((None, None, 3))
        keras.Model(image, {k: layers.Conv2D(3, 1)(image) for k in heads}).save(place / "m.keras")
        (place / "head.json").write_text(json.dumps(keras.saving.serialize_keras_object(heads)))
        outs["below"] = place
    before = contents(place)
    assert predict(place, "--out", outs[way], *more) == 1
    assert "--out must not be a folder of the images" in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_a_single_photo_is_not_written_over(place, capsys, more):
    photos = place / "photos"
    before = contents(photos)
    assert predict(place, "--out", photos, *more, photos="photos/a.png") == 1
    assert "would write over" in capsys.readouterr().err
    # By way of a hard link, too.
    (place / "out").mkdir()
    os.link(photos / "a.png", place / "out" / "a.png")
    assert predict(place, "--out", place / "out", *more) == 1
    assert "would write over" in capsys.readouterr().err
    assert contents(photos) == before
    # A result beside a photo of another ending is no harm.
    assert predict(place, "--out", photos, *more, photos="photos/b.jpg") == 0
    assert {**contents(photos), "b.png": b""} == {**before, "b.png": b""}


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_foreign_files_are_never_replaced(place, capsys, more):
    (place / "out").mkdir()
    PIL.fromarray(photo(seed=9)).save(place / "out" / "b.png")
    before = contents(place)
    assert predict(place, "--out", place / "out", *more) == 1
    said = capsys.readouterr().err
    assert "1 files are there that are no results of this command" in said and "b.png" in said
    assert contents(place) == before


def test_results_of_another_run_are_told_apart(place, capsys):
    out = place / "out"
    assert predict(place, "--out", out) == 0
    before = contents(out)

    def refused(what, *more, **other):
        assert predict(place, "--out", out, *more, **other) == 1
        said = capsys.readouterr().err
        assert f"is the result of another run, with other {what}" in said and "--overwrite" in said
        assert contents(out) == before

    refused("settings", "--flip")
    shutil.copy(place / "head.json", place / "kept.json")
    text = json.dumps(keras.saving.serialize_keras_object(kd.heads.Segmentation(3)))
    (place / "head.json").write_text(text)
    refused("model, heads")
    shutil.copy(place / "kept.json", place / "head.json")
    network(seed=1).save(place / "m.keras")
    refused("model")
    assert predict(place, "--out", out, "--overwrite") == 0
    after = contents(out)
    assert after.keys() == before.keys() and after != before
    capsys.readouterr()
    assert predict(place, "--out", out) == 0
    assert "2 images were done before" in capsys.readouterr().out


def test_a_photo_that_was_changed_is_done_anew(place, capsys):
    out, changed = place / "out", place / "photos" / "a.png"
    assert predict(place, "--out", out) == 0
    PIL.fromarray(photo(seed=5)).save(changed)
    later = (out / "a.png").stat().st_mtime_ns + 10**9
    os.utime(changed, ns=(later, later))
    assert predict(place, "--out", out) == 0
    said = capsys.readouterr().out
    assert "1 images were done before" in said and "1 images were changed since" in said
    model = keras.saving.load_model(place / "m.keras")
    expected = model.predict_on_batch(photo(seed=5)[None])[0].argmax(-1)
    np.testing.assert_array_equal(np.array(PIL.open(out / "a.png")), expected)


def test_two_runs_do_not_write_to_one_folder(place, capsys):
    out = place / "out"
    with lock(out / ".lock", out):
        for more in ((), ("--overwrite",)):
            assert predict(place, "--out", out, *more) == 1
            said = capsys.readouterr().err
            assert f"another run (process {os.getpid()} on " in said and "Wait for its end" in said
    assert not contents(out)
    assert predict(place, "--out", out) == 0
    assert sorted(contents(out)) == ["a.png", "b.png"]


@pytest.mark.parametrize("more", [("--watch", "1"), ("--watch", "1", "--overwrite")])
def test_watched_folders_are_not_written_to(place, capsys, more):
    (place / "link").symlink_to(place / "photos")
    before = contents(place)
    for out in (place / "photos", place / "link", place / "photos" / ".." / "photos"):
        assert predict(place, "--out", out, *more) == 1
        assert "--out must not be a folder of the images" in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.exhaustive
@pytest.mark.skipif(
    keras.backend.backend() != "torch" or not os.environ.get("KERAS_DENSE_ON_REQUEST"),
    reason="others cannot be forked; depends on the time: KERAS_DENSE_ON_REQUEST=1 runs it",
)
def test_killed_at_random_moments(place):
    """Results are whole at any moment; a run that is not killed finishes them."""
    for n in range(12):
        PIL.fromarray(photo(200, 300, seed=n)).save(place / "photos" / f"{n}.png")
    assert predict(place, "--out", place / "once") == 0
    out, rng = place / "out", np.random.default_rng(0)
    for _ in range(20):
        process = os.fork()
        if not process:
            predict(place, "--out", out, "--overwrite")
            os._exit(0)
        time.sleep(float(rng.uniform(0, 0.6)))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        for path in out.glob("*.png"):
            assert path.read_bytes() == (place / "once" / path.name).read_bytes()
    assert predict(place, "--out", out) == 0
    assert contents(out) == contents(place / "once")


def test_drafts_of_killed_runs_go_where_nothing_is_left_to_do(place):
    out = place / "out"
    assert predict(place, "--out", out) == 0
    before = contents(out)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    left = out / f".a.png.{host_code()}-{process.pid}-1.x.partial" / "new"
    left.mkdir(parents=True)
    (left / "a.png").write_bytes(b"half")
    assert predict(place, "--out", out) == 0
    assert contents(out) == before


def test_a_run_leaves_nothing_but_drafts_at_any_moment(place, monkeypatch):
    """The name of a draft, which the next run removes, while a folder is tried out."""
    out, found, real = place / "out", [], os.path.samefile

    def samefile(a, b):
        found.extend(path.name for path in out.iterdir())
        return real(a, b)

    monkeypatch.setattr(os.path, "samefile", samefile)
    assert predict(place, "--out", out) == 0
    probes = [name for name in found if name.startswith(".probe.")]
    assert probes and all(_OWNER.search(name) for name in probes)
    assert sorted(contents(out)) == ["a.png", "b.png"]


@pytest.mark.exhaustive
def test_the_mark_is_the_same_in_another_process(place):
    assert predict(place, "--out", place / "out") == 0
    command = [sys.executable, "-m", "keras_dense", "predict", str(place / "m.keras")]
    done = subprocess.run(
        [
            *command,
            str(place / "photos"),
            *("--heads", str(place / "head.json")),
            *("--out", str(place / "out")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 images were done before" in done.stdout


def test_results_say_what_they_mean_and_who_made_them(place):
    assert predict(place, "--out", place / "out", "--overlay") == 0
    found = PIL.open(place / "out" / "a.png")
    assert json.loads(found.info["about"])["classes"] == ["é", "b", "c"]
    assert set(mark_of(place / "out" / "a.png")) == {"model", "heads", "settings"}
    assert mark_of(place / "out" / "overlay" / "b.png") == mark_of(place / "out" / "a.png")
    tags = kd.heads.Segmentation(3, mode="multilabel")
    mark, path = {"model": "é"}, place / "tags.npy"
    files.write_result(path, tags, np.ones((4, 5, 3)), mark)
    assert mark_of(path) == mark and np.load(path).shape == (4, 5, 3)
    assert np.load(path, mmap_mode="r").sum() == 60
    np.save(path, np.ones((4, 5, 3)))
    for other in (path, place / "head.json", place / "nowhere.png", place / "photos" / "b.jpg"):
        assert mark_of(other) is None
    shutil.copy(place / "photos" / "a.png", place / "cut.png")
    with open(place / "cut.png", "r+b") as file:
        file.truncate(40)
    assert mark_of(place / "cut.png") is None


def test_names_that_differ_by_case_only(place, capsys, monkeypatch):
    PIL.fromarray(photo()).save(place / "photos" / "A.jpg")
    if len(list((place / "photos").iterdir())) < 3:
        pytest.skip("the file system does not tell names by case")
    monkeypatch.setattr(results, "make_folder", lambda folder: False)
    assert predict(place, "--out", place / "out") == 1
    assert "does not tell names by case" in capsys.readouterr().err


def test_one_name_in_two_folders(place, capsys):
    shutil.copytree(place / "photos", place / "more")
    paths = [str(place / name) for name in ("photos", "more")]
    assert main(["predict", str(place / "m.keras"), *paths, "--out", str(place / "out")]) == 1
    said = capsys.readouterr().err
    assert "would be written to one file; predict them one after the other" in said


def test_what_is_passed_over_is_said(place, capsys):
    (place / "photos" / "c.heic").write_bytes(b"")
    (place / "photos" / "more").mkdir()
    shutil.copy(place / "photos" / "a.png", place / "photos" / "more" / "d.png")
    assert predict(place, "--out", place / "out") == 0
    said = capsys.readouterr().err
    assert "1 file ending in '.heic'" in said and "('more'; name them to read them)" in said
    assert sorted(contents(place / "out")) == ["a.png", "b.png"]


def test_scores_are_not_written_over_anything_else(place):
    for name in ("m.keras", "head.json"):
        with pytest.raises(files.Unusable, match="--out would write over"):
            files.check_scores_file(place / name, [place / "m.keras", place / "head.json", None])
    (place / "link.json").symlink_to(place / "head.json")
    with pytest.raises(files.Unusable, match="--out would write over"):
        files.check_scores_file(place / "link.json", [place / "head.json"])
    for text in ("notes", '{"a": 1}', "[1]"):
        (place / "notes.json").write_text(text)
        with pytest.raises(files.Unusable, match="is there, and holds no scores"):
            files.check_scores_file(place / "notes.json", [])
    (place / "notes.json").write_text('{"mean_iou": 0.5, "images": 2}')
    files.check_scores_file(place / "notes.json", [])
    files.check_scores_file(place / "new.json", [])
    asked = ["evaluate", str(place / "m.keras"), str(place / "photos"), str(place / "photos")]
    asked += ["--heads", str(place / "head.json")]
    for name in ("m.keras", "head.json"):
        before = contents(place)
        assert main([*asked, "--out", str(place / name)]) == 1
        assert contents(place) == before


def test_a_model_that_predicts_nan_is_named_as_the_reason(place, capsys):
    model = network()
    model.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    model.save(place / "m.keras")
    for settings in ((), ("--tile", 64), ("--flip",)):
        assert predict(place, "--out", place / "out", *settings) == 1
        said = capsys.readouterr().err
        assert "2 of 2 images failed" in said and "a.png: " in said
        assert "predicts NaN" in said and "at 100 % of the pixels" in said
    assert not contents(place / "out")


@pytest.fixture
def small_limit(monkeypatch):
    """Pillow takes photos of more than 2 · 200 pixels for bombs."""
    monkeypatch.setattr(PIL, "MAX_IMAGE_PIXELS", 200)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_photos_say_what_to_do(place, capsys, small_limit):
    out, model = place / "out", keras.saving.load_model(place / "m.keras")
    assert predict(place, "--out", out, "--tile", 16) == 1
    said = capsys.readouterr().err
    assert "a.png: is large, 20×30 pixels; as a TIFF it is read by windows" in said
    assert "--large reads it whole, which takes 1.8e-06 GB" in said
    assert predict(place, "--out", out, "--tile", 16, "--large") == 0
    assert PIL.MAX_IMAGE_PIXELS == 200
    PIL.MAX_IMAGE_PIXELS = None
    found = np.array(PIL.open(out / "a.png"))
    np.testing.assert_array_equal(found, model.predict_on_batch(photo()[None])[0].argmax(-1))
    assert predict(place, "--out", place / "none", "--large") == 1
    assert "--large goes with --tile" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("kind", ["tiled", "striped", "gray", "palette", "deep", "turned", "wide"])
def test_a_large_tiff_is_read_by_windows(place, capsys, small_limit, kind):
    rasterio = pytest.importorskip("rasterio")
    shutil.rmtree(place / "photos")
    (place / "photos").mkdir()
    path, pixels = place / "photos" / "scene.tif", photo(70, 90)
    bands = np.moveaxis(pixels, -1, 0)
    if kind in ("gray", "palette"):
        bands = bands[:1]
    if kind == "wide":
        bands = np.concatenate([bands, bands])
    if kind == "deep":
        bands = bands.astype("uint16") * 257
    settings = {"tiled": True, "blockxsize": 16, "blockysize": 16} if kind == "tiled" else {}
    count, height, width = bands.shape
    settings |= {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    expected = pixels
    if kind == "turned":
        PIL.fromarray(pixels).save(path, tiffinfo={274: 6})
    else:
        with rasterio.open(path, "w", driver="GTiff", **settings) as file:
            if kind == "palette":
                table = np.random.default_rng(1).integers(0, 256, (256, 3)).tolist()
                file.write_colormap(1, {n: (*color, 255) for n, color in enumerate(table)})
                expected = np.array(table, "uint8")[bands[0]]
            file.write(bands)
    if kind == "gray":
        expected = pixels[..., :1].repeat(3, -1)
    errors = {
        "deep": "from 0 to 255. Received: uint16",
        "turned": "large and has an EXIF orientation (6)",
        "wide": "has 6 bands for a model of 3 channels; kd.inference.predict_tiled takes",
    }
    settings = ("--out", place / "out", "--tile", 32, "--overlay")
    assert predict(place, *settings) == (kind in errors)
    if kind == "turned":
        assert predict(place, *settings, "--large") == 0
    if kind in errors:
        assert errors[kind] in capsys.readouterr().err
        return
    PIL.MAX_IMAGE_PIXELS = None
    found = np.array(PIL.open(place / "out" / "scene.png"))
    model = keras.saving.load_model(place / "m.keras")
    np.testing.assert_array_equal(found, model.predict_on_batch(expected[None])[0].argmax(-1))
    assert np.array(PIL.open(place / "out" / "overlay" / "scene.png")).shape == (70, 90, 3)


def test_exports_do_not_go_over_what_is_read(place, capsys):
    os.link(place / "m.keras", place / "m.onnx")
    before = contents(place)
    for out in ("m.onnx", "head.json", "m.keras", "photos"):
        asked = ["export", str(place / "m.keras"), "onnx", str(place / out), "--overwrite"]
        asked += ["--heads", str(place / "head.json")]
        assert main([*asked, "--images", str(place / "photos")]) == 1
        assert "would write over" in capsys.readouterr().err
    assert main(["export", str(place / "m.keras"), "savedmodel", str(place), "--overwrite"]) == 1
    assert "holds what is read, " in capsys.readouterr().err
    assert contents(place) == before
