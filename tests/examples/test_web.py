"""Web page of examples/web in a browser: its outputs are those of Python."""

import functools
import http.server
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest

import keras_dense as kd

pytestmark = pytest.mark.once


def in_a_browser(test):
    other = keras.backend.backend() != "tensorflow"
    return pytest.mark.slow(pytest.mark.skipif(other, reason="TensorFlow exports")(test))


WEB = pathlib.Path(__file__).resolve().parents[2] / "examples" / "web"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The npm package that the pages are built with."""
    for package in ("onnx", "onnxruntime", "tf2onnx", "PIL"):
        pytest.importorskip(package)
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (apt-get install npm); it fetches onnxruntime-web")
    spec = importlib.util.spec_from_file_location("build_web", WEB / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    try:
        return build.fetch_runtime(tmp_path_factory.mktemp("npm"))
    except subprocess.CalledProcessError:
        pytest.skip("npm cannot fetch onnxruntime-web")


@pytest.fixture
def opened(browser, runtime, tmp_path):
    """A function that builds the site of a model, serves it and opens it."""
    ends = []

    def open_(model, *options):
        model.save(tmp_path / "model.keras")
        site = tmp_path / "site"
        command = [sys.executable, WEB / "build.py", tmp_path / "model.keras", site]
        command += ["--runtime", runtime, *options]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        handler = functools.partial(Quiet, directory=site)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda line: line.type == "error" and page.faults.append(line.text))
        ends.extend([page.close, server.shutdown, server.server_close])
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("#status:has-text('Ready')", timeout=120_000)
        return page

    yield open_
    for end in ends:
        end()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def wait(page, truth, seconds=120):
    """Until an expression is true. (Playwright's own waiting needs the eval that pages forbid.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(truth):
        assert time.monotonic() < end, (truth, page.inner_text("body"), page.faults)
        time.sleep(0.05)


def give(page, file):
    """Choose a file on the page and wait for the outputs of the model, `{name: array}`."""
    page.evaluate("window.kerasDense.last = null")
    page.set_input_files("#file", file)
    return outputs_of(page)


def outputs_of(page):
    wait(page, "window.kerasDense.last !== null")
    last = page.evaluate(
        """() => Object.entries(window.kerasDense.last).map(
            ([name, { dims, data }]) => [name, dims, data.constructor.name, [...data]])"""
    )
    dtypes = {"Uint8Array": "uint8", "Float32Array": "float32"}
    return {name: np.array(data, dtypes[kind]).reshape(dims) for name, dims, kind, data in last}


def overlay(page, name):
    """Choose an output, and return its drawing over the image, RGBA."""
    page.check(f"#outputs input[value={name}]", force=True)
    width, height, data = page.evaluate(
        """() => {
            const canvas = document.getElementById("overlay");
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, [...data]];
        }"""
    )
    return np.array(data, int).reshape(height, width, 4)


def lively(model):
    """The model with weights for which every class occurs."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            layer.kernel.assign(rng.normal(0, 0.3, layer.kernel.shape))
    return model


def test_outputs_of_unknown_kind_are_drawn_and_described():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (apt-get install nodejs)")
    code = f"""
        import {{ kindOf }} from {(WEB / "kinds.js").as_uri()!r};
        const output = {{ dims: [1, 1, 3, 1], data: new Float32Array([-1, 0.5, 2]) }};
        const facts = {{ unit: "px" }};
        const kind = kindOf(facts);
        const paint = kind.painter(output, facts);
        console.log(JSON.stringify([paint(0), paint(2), kind.read(output, facts, 1)]));
        console.log(kindOf({{ unit: "meter" }}) === kind, kindOf({{ classes: [] }}) === kind);
    """
    command = [node, "--input-type=module", "--eval", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    drawn, others = result.stdout.splitlines()
    assert json.loads(drawn) == [[0, 0, 4], [252, 253, 191], "0.500 px"]
    assert others == "false false"


@in_a_browser
def test_labels_of_a_photograph(opened, shared_data, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    head = kd.heads.Segmentation(5, class_names=["sky", "road", "tree", "car", "dog"])
    model = lively(kd.fcn8s(backbone, heads=head))
    photograph = Image.open(min((shared_data / "voc_mini" / "images").iterdir())).convert("RGB")
    photograph.save(tmp_path / "photograph.png")
    pixels = np.asarray(photograph)
    assert max(pixels.shape) <= 512  # The page computes it at its own size.

    page = opened(model)
    found = give(page, tmp_path / "photograph.png")
    logits = np.asarray(model(pixels[None].astype("float32"), training=False))
    labels, counts = np.unique(logits.argmax(-1), return_counts=True)
    assert (counts > 100).sum() >= 3
    assert found["labels"].shape == logits.shape[:3]
    assert (found["labels"] == logits.argmax(-1)).mean() >= 0.999
    probability = np.asarray(keras.ops.softmax(logits)).max(-1)
    assert np.isclose(found["confidence"], probability, atol=1e-3).mean() >= 0.999

    painted = overlay(page, "labels")
    assert (painted[..., :3] == head.palette[found["labels"][0]]).all()
    assert (painted[..., 3] == 255).all()
    legend = page.inner_text("#legend")
    assert head.class_names[labels[counts.argmax()]] == legend.split()[0]
    assert "wasm" in page.inner_text("#status")

    # Another size, chosen by keys.
    page.evaluate("window.kerasDense.last = null")
    page.focus("#side")
    page.keyboard.press("Home")
    assert max(outputs_of(page)["labels"].shape) == 128
    assert "computed at 128 ×" in page.inner_text("#status")

    # A huge image is made smaller; a file of another kind is refused with a message.
    page.select_option("#side", "512")
    photograph.resize((4100, 1030)).save(tmp_path / "huge.png")
    assert give(page, tmp_path / "huge.png")["labels"].shape == (1, 129, 512)
    (tmp_path / "notes.txt").write_text("no image")
    page.set_input_files("#file", tmp_path / "notes.txt")
    page.wait_for_selector("#problem:not(:empty)")
    assert "notes.txt is not an image" in page.inner_text("#problem")
    give(page, tmp_path / "photograph.png")
    assert page.inner_text("#problem") == ""
    assert page.faults == []


@in_a_browser
def test_weights_in_float16(opened, backbone, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    head = kd.heads.Segmentation(5)
    model = lively(kd.fcn32s(backbone, heads=head))
    scene = kd.datasets.scenes(count=1, size=(97, 131))[0]["image"]
    Image.fromarray(scene).save(tmp_path / "scene.png")
    page = opened(model, "--float16")
    labels = np.asarray(model(scene[None].astype("float32"), training=False)).argmax(-1)
    assert (give(page, tmp_path / "scene.png")["labels"] == labels).mean() >= 0.99
    assert page.faults == []


@in_a_browser
def test_four_tasks_on_a_phone(opened, backbone, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    heads = {
        "segmentation": kd.heads.Segmentation(5),
        "depth": kd.heads.Depth(max_depth=30.0),
        "normals": kd.heads.Normals(concentration=True),
        "color": kd.heads.Colorization(grid=40),
    }
    model = lively(kd.assemble(backbone, kd.decoders.unet((8, 8, 4, 4, 4)), heads))
    scene = kd.datasets.scenes(count=1, size=(97, 131))[0]["image"]
    Image.fromarray(scene).save(tmp_path / "scene.png")

    page = opened(model)
    page.set_viewport_size({"width": 360, "height": 740})
    found = give(page, tmp_path / "scene.png")
    wanted = kd.decoded(model)(scene[None].astype("float32"))
    wanted = {name: np.asarray(y)[0] for name, y in wanted.items()}
    assert (found["segmentation_labels"][0] == wanted["segmentation"]).mean() >= 0.999
    for name in ("depth", "normals"):
        np.testing.assert_allclose(found[name][0], wanted[name], atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(found["color"][0].astype(int), wanted["color"], atol=1)

    for name, colors in {
        "depth": kd.plot.depth(found["depth"][0]),
        "normals": kd.plot.normals(found["normals"][0]),
        "color": found["color"][0],
    }.items():
        np.testing.assert_allclose(overlay(page, name)[..., :3], colors, atol=1)
    for name in ("segmentation_confidence", "normals_uncertainty"):
        assert len(np.unique(overlay(page, name))) > 3
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360, "the page is wider than the phone"

    page.focus("#stage")
    before = page.inner_text("#spot")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    assert page.inner_text("#spot") != before
    page.click("#samples button")
    wait(page, "window.kerasDense.last.depth.dims[1] === 288")
    assert page.faults == []
