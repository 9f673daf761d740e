"""Inputs of `predict` besides folders: lists, videos, folders that grow; models of others."""

import io
import os
import shutil
import signal
import stat
import sys
import threading
import time

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import main, video
from keras_dense._command.watch import Watcher

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once
HEAD = kd.heads.Segmentation(3, class_names=list("abc"))


def photo(seed=0, height=20, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def network():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(3, 1)(image), name="small")


@pytest.fixture
def place(tmp_path):
    """A model that carries its head, and a folder of two photographs."""
    (tmp_path / "in").mkdir()
    for n in range(2):
        PIL.fromarray(photo(n)).save(tmp_path / "in" / f"{n}.png")
    kd.heads.attach(network(), HEAD).save(tmp_path / "m.keras")
    return tmp_path


def predict(place, *arguments):
    return main(["predict", str(place / "m.keras"), *map(str, arguments)])


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def expected(place, pixels):
    model = keras.saving.load_model(place / "m.keras", compile=False)
    return model.predict_on_batch(pixels[None])[0].argmax(-1)


# Lists


def test_a_list_on_stdin(place, capsys, monkeypatch):
    out = place / "out"
    files = "\n".join(str(place / "in" / f"{n}.png") for n in (1, 0)) + "\n\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(files))
    assert predict(place, "-", "--out", out) == 0
    assert names(out) == ["0.png", "1.png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(files))
    assert predict(place, "-", "--out", place / "in", "--overwrite") == 1
    assert "would write over" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert predict(place, "-", "--out", out) == 1
    assert "stdin lists no files" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("nowhere.png\n"))
    assert predict(place, "-", "--out", out) == 1
    assert "there is no file or folder 'nowhere.png'" in capsys.readouterr().err


# Videos


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program with the name and the options of ffmpeg; its videos are arrays."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"""#!{sys.executable}
import sys
import numpy as np
a = sys.argv[1:]
source = a[a.index("-i") + 1]
if "image2pipe" in a:
    assert a[a.index("-pix_fmt") + 1] == "rgb24"
    try:
        video = np.load(open(source, "rb"))
    except Exception:
        sys.exit("moov atom not found")
    for frame in video:
        sys.stdout.buffer.write(b"P6\\n%d %d\\n255\\n" % (frame.shape[1], frame.shape[0]))
        sys.stdout.buffer.write(frame.tobytes())
elif source == "-":
    width, height = map(int, a[a.index("-s") + 1].split("x"))
    content = np.frombuffer(sys.stdin.buffer.read(), "uint8")
    np.save(open(a[-1], "wb"), content.reshape(-1, height, width, 3))
else:
    sys.exit("Duration: 00:00:02.50, start: 0\\n Stream #0:0: Video: h264, 30x20, 2 fps, 2 tbr")
""")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def film(path, count=5):
    frames = np.stack([photo(n) for n in range(count)])
    with open(path, "wb") as file:
        np.save(file, frames)
    return frames


def test_frames_of_a_video(place, ffmpeg, capsys):
    frames, out = film(place / "street.mp4"), place / "out"
    assert video.facts_of(place / "street.mp4") == (2.0, 2.5)
    assert predict(place, place / "street.mp4", "--out", out, "--overlay") == 0
    numbers = [f"street/{n:06d}.png" for n in range(5)]
    assert names(out) == sorted([*numbers, *(f"overlay/{name}" for name in numbers)])
    found = np.array(PIL.open(out / numbers[3]))
    np.testing.assert_array_equal(found, expected(place, frames[3]))
    # A second start does what is missing.
    before = (out / numbers[0]).stat().st_mtime_ns
    (out / numbers[4]).unlink()
    assert predict(place, place / "street.mp4", "--out", out, "--overlay") == 0
    assert (out / numbers[4]).exists() and (out / numbers[0]).stat().st_mtime_ns == before
    assert "4 frames were done before" in capsys.readouterr().out


def test_a_video_of_a_video(place, ffmpeg, capsys):
    frames, out = film(place / "street.mp4"), place / "drawn.mp4"
    assert predict(place, place / "street.mp4", "--out", out) == 0
    found = np.load(out)
    np.testing.assert_array_equal(found[2], HEAD.draw(expected(place, frames[2])))
    assert predict(place, place / "street.mp4", "--out", out) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert predict(place, place / "street.mp4", "--out", out, "--overwrite", "--overlay") == 0
    drawn = HEAD.overlay(expected(place, frames[2]), frames[2])
    np.testing.assert_array_equal(np.load(out)[2], drawn)
    assert predict(place, place / "street.mp4", "--out", place / "street.mp4", "--overwrite") == 1
    assert "would write over" in capsys.readouterr().err
    assert names(place) == [
        "bin/ffmpeg",
        "drawn.mp4",
        "in/0.png",
        "in/1.png",
        "m.keras",
        "street.mp4",
    ]


def test_a_frame_that_cannot_be_predicted(place, ffmpeg, capsys):
    film(place / "street.mp4")
    model = keras.saving.load_model(place / "m.keras", compile=False)
    model.layers[1].bias.assign([np.nan, 0.0, 0.0])
    model.save(place / "m.keras")
    for out in ("out", "drawn.mp4"):
        assert predict(place, place / "street.mp4", "--out", place / out) == 1
        assert "street.mp4, frame 0: the model predicts NaN" in capsys.readouterr().err
    assert not (place / "drawn.mp4").exists() and names(place / "out") == []


def test_videos_that_cannot_be(place, ffmpeg, capsys, monkeypatch):
    (place / "bad.mp4").write_bytes(b"no video")
    out = place / "out"
    for target in (out, place / "drawn.mp4"):
        assert predict(place, place / "bad.mp4", "--out", target) == 1
        assert "cannot be read as a video (moov atom not found)" in capsys.readouterr().err
    assert not (place / "drawn.mp4").exists()
    assert predict(place, place / "bad.mp4", place / "in", "--out", out) == 1
    assert "not together" in capsys.readouterr().err
    assert predict(place, place / "none.mp4", "--out", out) == 1
    assert "there is no video" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert predict(place, place / "bad.mp4", "--out", out) == 1
    assert "pip install imageio-ffmpeg" in capsys.readouterr().err


# A folder that grows


def test_files_are_given_when_they_are_whole(tmp_path, capsys):
    watcher = Watcher([tmp_path])

    def given():
        return [stem for stem, _ in watcher.whole_files()]

    file = tmp_path / "a.png"
    file.write_bytes(b"")
    assert given() == given() == []  # Without contents it has only begun.
    file.write_bytes(b"half")
    assert given() == []
    file.write_bytes(b"half and more")
    assert given() == [] and given() == ["a"] and given() == []
    file.write_bytes(b"another")
    assert given() == [] and given() == ["a"]
    for name in (".b.png", "b.txt", "c.png.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert given() == given() == given() == []
    assert capsys.readouterr().err.count("a.jpg: left out, its results would have the name") == 1
    file.unlink()
    assert given() == ["a"]  # The other one has the name for itself now.


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_folder_is_watched_until_it_is_stopped(place, capsys, how):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    out, cut = place / "out", io.BytesIO()
    PIL.fromarray(photo(7)).save(cut, "PNG")

    def camera():
        deadline = time.monotonic() + 60

        def wait(condition):
            while not condition() and time.monotonic() < deadline:
                time.sleep(0.02)

        wait(lambda: (out / "1.png").exists())
        (place / "in" / "late.png").write_bytes(cut.getvalue()[:200])
        time.sleep(0.2)
        (place / "in" / "late.png").write_bytes(cut.getvalue())
        wait(lambda: (out / "late.png").exists())
        time.sleep(0.3)
        signal.raise_signal(how) if how == signal.SIGINT else os.kill(os.getpid(), how)

    thread = threading.Thread(target=camera)
    thread.start()
    try:
        assert predict(place, place / "in", "--out", out, "--watch", "0.05") == 0
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert "stopped after 3 images" in capsys.readouterr().out
    assert names(out) == ["0.png", "1.png", "late.png"]
    np.testing.assert_array_equal(np.array(PIL.open(out / "late.png")), expected(place, photo(7)))


def test_watching_has_its_own_arguments(place, capsys):
    assert predict(place, place / "in", "--out", place / "out", "--watch", "0") == 1
    assert "--watch must be a number of seconds > 0" in capsys.readouterr().err
    assert predict(place, place / "in/0.png", "--out", place / "out", "--watch", "1") == 1
    assert "--watch takes folders" in capsys.readouterr().err
    assert predict(place, place / "in", "--out", place / "in", "--watch", "1") == 1
    assert "--out must not be a folder of the images" in capsys.readouterr().err


# Odd files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_is_not_waited_for(place, capsys):
    os.mkfifo(place / "in" / "m.png")
    assert predict(place, place / "in", "--out", place / "out") == 0
    assert "1 file that cannot be read (a pipe, a device, a broken link)" in capsys.readouterr().err
    assert predict(place, place / "in" / "m.png", "--out", place / "out") == 1
    assert "is no file (a pipe, a socket or a device)" in capsys.readouterr().err


def test_the_longest_names(place):
    for stem in ("a" * 251, "é" * 125):
        shutil.copy(place / "in" / "0.png", place / "in" / f"{stem}.png")
    out = place / "out"
    assert predict(place, place / "in", "--out", out, "--overlay") == 0
    assert len(names(out)) == 8
    assert predict(place, place / "in", "--out", out, "--overlay", "--overwrite") == 0


def test_a_missing_pillow_is_said_once(place, capsys, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert predict(place, place / "in", "--out", place / "out") == 1
    said = capsys.readouterr().err
    assert said.count("needs `PIL`") == 1 and "pip install keras_dense[examples]" in said
    assert "failed" not in said


# Models of others


def test_a_sequential_model(place, capsys):
    path = place / "m.keras"
    keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 1)]).save(path)
    assert main(["info", str(path)]) == 0
    assert "Segmentation 0, 1, 2" in capsys.readouterr().out
    assert predict(place, place / "in", "--out", place / "out") == 0
    found = np.array(PIL.open(place / "out" / "1.png"))
    np.testing.assert_array_equal(found, expected(place, photo(1)))


@keras.saving.register_keras_serializable("elsewhere")
class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def test_layers_that_a_file_cannot_bring_along(place, capsys):
    image, path = keras.Input((None, None, 3)), str(place / "other.keras")
    x = layers.Lambda(lambda x: 2 * x, name="twice")(layers.Conv2D(3, 1)(image))
    keras.Model(image, x).save(path)
    assert main(["info", path]) == 1
    said = capsys.readouterr().err
    assert "Lambda layer" in said and "safe_mode=False" in said
    keras.Model(image, Doubled()(layers.Conv2D(3, 1)(image))).save(path)
    known = keras.saving.get_custom_objects().pop("elsewhere>Doubled", None)
    objects = keras.saving.get_registered_object("elsewhere>Doubled")
    assert known is not None or objects is None
    assert main(["info", path]) == 1
    said = capsys.readouterr().err
    assert "needs the class 'Doubled'" in said and "--import MODULE" in said
    (place / "mine.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('elsewhere')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    assert main(["info", path, "--import", str(place / "mine.py")]) == 0
    assert main(["info", path, "--import", "no_such_module"]) == 1
    assert "--import no_such_module: ModuleNotFoundError" in capsys.readouterr().err


def test_info_draws_receptive_fields_and_says_the_cost(place, backbone, capsys):
    path = place / "fpn.keras"
    kd.fpn(backbone, 5).save(path)
    assert main(["info", str(path), "--size", "96", "128", "--draw", str(place / "f.png")]) == 0
    said = capsys.readouterr().out
    cost = kd.surgery.cost(kd.fpn(backbone, 5), (96, 128))
    assert "of one image of 96×128" in said
    for part in ("backbone", "decoder", "head", "total"):
        assert f"\n  {part} " in said
    assert f"{cost.parameters:,}" in said
    drawing = np.array(PIL.open(place / "f.png"))
    assert drawing.ndim == 3 and len(np.unique(drawing.reshape(-1, 3), axis=0)) > 6
    assert main(["info", str(path), "--draw", str(path)]) == 1
    assert "drawings are PNG files" in capsys.readouterr().err
    (place / "notes.png").write_text("notes")
    assert main(["info", str(path), "--draw", str(place / "notes.png")]) == 1
    assert "is no PNG" in capsys.readouterr().err
    assert main(["info", str(path), "--size", "0", "9"]) == 1
    assert "the cost at --size 0 9: `size` must be" in capsys.readouterr().err
