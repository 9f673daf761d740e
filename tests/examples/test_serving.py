"""Servers of examples/serving: right answers under load, and refused requests."""

import argparse
import base64
import concurrent.futures
import contextlib
import http.client
import http.server
import importlib.util
import io
import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command.files import write_result
from keras_dense.datasets.files import read_image

SERVING = pathlib.Path(__file__).resolve().parents[2] / "examples" / "serving"
HEAD = kd.heads.Segmentation(5, class_names=["road", "sky", "café", "car", "tree"])
PATIENCE = 3

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports"),
]
Image = pytest.importorskip("PIL.Image")


def script(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"serving_{name}", SERVING / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network, its `.keras` file and its ONNX file."""
    for package in ("onnxruntime", "starlette", "uvicorn", "python_multipart", "tf2onnx"):
        pytest.importorskip(package)
    keras.utils.set_random_seed(0)
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    model = kd.fcn8s(backbone, heads=HEAD)
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D) and layer.filters == HEAD.channels:
            layer.kernel.assign(rng.normal(0, 0.3, layer.kernel.shape))
    # Without it, a new network predicts the same for all images.
    images = np.stack([pixels(seed) for seed in range(4)]).astype("float32")
    kd.training.recalibrate_batch_norm(model, [images])
    folder = tmp_path_factory.mktemp("model")
    model.save(folder / "model.keras")
    kd.export.onnx(model, folder / "model.onnx")
    return model, folder


def labels_of(model, pixels):
    return np.argmax(model(pixels[None].astype("float32"), training=False)[0], -1)


def pixels(seed=0, height=96, width=128):
    """Blocks of colors, which have different labels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype="uint8")
    return blocks.repeat(16, 0).repeat(16, 1)[:height, :width]


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, format, **options)
    return file.getvalue()


def bomb(side, bits=8):
    """RGB PNG with `side` × `side` pixels according to its header, and almost no data."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, bits, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@contextlib.contextmanager
def serving(file, *arguments):
    """Run a server in a process; yields the process and its address."""
    command = [sys.executable, SERVING / "server.py", file, "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            first = process.stdout.readline()
            assert "http://127.0.0.1:" in first, first
            yield process, re.search(r"127\.0\.0\.1:\d+", first)[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(network):
    limits = ["--max-bytes", 200_000, "--max-pixels", 100_000, "--threads", 1]
    with serving(network[1] / "model.onnx", *limits) as found:
        yield found


def send(address, body, path="/predict", method="POST", **headers):
    """`(status, headers, body)`."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(address, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def form(*files):
    """A multipart body and its Content-Type."""
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = b"".join(part + file + b"\r\n" for file in files) + b"--edge--\r\n"
    return body, "multipart/form-data; boundary=edge"


def labels_in(png):
    image = Image.open(io.BytesIO(png))
    assert image.mode == "P"
    return np.array(image), np.array(image.getpalette()[:15]).reshape(5, 3)


def assert_labels(found, wanted):
    """Equal, except for pixels between two classes that rounding decides on."""
    assert found.shape == wanted.shape
    assert (found != wanted).mean() <= 2e-3


IMAGE = encoded(pixels())
BAD = {
    "empty": (b"", {}, 400),
    "text": (b"not an image", {}, 415),
    "truncated": (IMAGE[:150], {}, 400),
    "truncated_jpeg": (encoded(pixels(), "JPEG")[:700], {}, 400),
    "corrupt": (IMAGE[:60] + bytes(40) + IMAGE[100:], {}, 400),
    "sixteen_bits": (encoded(np.zeros((50, 50), "uint16")), {}, 415),
    "sixteen_bits_rgb": (bomb(50, bits=16), {}, 415),
    "frames": (
        encoded(
            Image.new("L", (50, 50)), save_all=True, append_images=[Image.new("L", (50, 50), 9)]
        ),
        {},
        415,
    ),
    "another_format": (encoded(pixels(), "WEBP"), {"Content_Type": "image/webp"}, 415),
    "another_type": (IMAGE, {"Content_Type": "application/json"}, 415),
    "no_boundary": (IMAGE, {"Content_Type": "multipart/form-data"}, 400),
    "no_file": (form()[0], {"Content_Type": form()[1]}, 400),
    "two_files": (form(IMAGE, IMAGE)[0], {"Content_Type": form()[1]}, 400),
    "no_form": (IMAGE, {"Content_Type": form()[1]}, 400),
    "too_many_bytes": (bytes(200_001), {}, 413),
    "many_too_many_bytes": (bytes(20_000_000), {}, 413),
    "too_many_pixels": (encoded(np.zeros((320, 320, 3), "uint8")), {}, 413),
    "bomb": (bomb(20_000), {}, 413),
    "large_bomb": (bomb(2_000_000_000), {}, 413),
    "another_answer": (IMAGE, {"Accept": "text/csv, image/png;q=0"}, 406),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(server, name):
    body, headers, status = BAD[name]
    found, _, answer = send(server[1], body, **headers)
    assert (found, [*json.loads(answer)]) == (status, ["error"]), answer


def test_refuses_requests(server):
    assert send(server[1], IMAGE, "/predict?output=depth")[0] == 400
    assert send(server[1], None, method="GET")[0] == 405
    assert send(server[1], IMAGE, "/elsewhere")[0] == 404
    chunks = iter([bytes(150_000)] * 3)  # There is no Content-Length.
    assert send(server[1], chunks)[0] == 413


def test_answers(server, network):
    wanted = labels_of(network[0], pixels())
    assert len(np.unique(wanted)) > 2
    status, headers, body = send(server[1], IMAGE, Content_Type="image/png")
    answer = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (answer["height"], answer["width"], answer["model"]) == (96, 128, network[0].name)
    assert answer["milliseconds"]["predicting"] > 0
    shares = answer["outputs"]["labels"]["shares"]
    for name, share in zip(HEAD.class_names, np.bincount(wanted.ravel(), minlength=5), strict=True):
        assert shares.get(name, 0) == pytest.approx(share / wanted.size, abs=2e-3)
    assert 0 < answer["outputs"]["confidence"]["mean"] <= 1

    body, kind = form(IMAGE)
    png = send(server[1], body, Content_Type=kind, Accept="text/html, image/*;q=0.9")[2]
    found, palette = labels_in(png)
    assert_labels(found, wanted)
    np.testing.assert_array_equal(palette, HEAD.palette)
    npy = send(server[1], IMAGE, "/predict?output=confidence", Accept="application/x-npy")[2]
    confidence = np.load(io.BytesIO(npy))
    assert (confidence.dtype, confidence.shape) == (np.float32, (96, 128))

    png = send(server[1], IMAGE, "/predict?output=confidence", Accept="image/png")[2]
    gray = np.array(Image.open(io.BytesIO(png)))
    np.testing.assert_allclose(gray, 255 * confidence, atol=1)
    about = json.loads(send(server[1], None, "/about", "GET")[2])
    assert about["outputs"]["labels"]["classes"] == HEAD.class_names
    assert send(server[1], None, "/healthz", "GET")[0] == 200


@pytest.mark.filterwarnings("ignore:.* transparent pixels:UserWarning")
def test_images_of_all_kinds(server, network, tmp_path):
    """Images are read as by the command line: `read_image(upright=True)`."""
    rgb = Image.fromarray(pixels(3, 65, 97))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(rgb, "JPEG", exif=turned),
        "alpha.png": encoded(rgb.convert("RGBA")),
        "palette.png": encoded(rgb.quantize(16), transparency=0),
        "gray.png": encoded(rgb.convert("L")),
        "bits.png": encoded(rgb.convert("1")),
        "odd.png": encoded(pixels(4, 81, 77)),
    }
    for name, file in kinds.items():
        (tmp_path / name).write_bytes(file)
        image = read_image(tmp_path / name, upright=True)
        status, _, body = send(server[1], file, Accept="image/png")
        assert status == 200, (name, body)
        assert_labels(labels_in(body)[0], labels_of(network[0], image))
    assert read_image(tmp_path / "turned.jpg", upright=True).shape == (97, 65, 3)


def test_tiny_images(server, network):
    """The answer is labels, or an error if the model itself fails."""
    for height, width in [(1, 1), (1, 40), (2, 3), (5, 5)]:
        image = pixels(5, height, width)
        status, _, body = send(server[1], encoded(image), Accept="image/png")
        if status == 200:
            assert_labels(labels_in(body)[0], labels_of(network[0], image))
        else:
            assert status == 422 and f"{height}×{width} pixels" in json.loads(body)["error"]


def test_a_network_of_nan_is_the_fault_of_the_server(network, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(network[1] / "model.onnx")
    for weight in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim == 4:
            broken = np.full_like(values, np.nan)
            weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
    onnx.save(graph, tmp_path / "nan.onnx")
    with serving(tmp_path / "nan.onnx") as (_, address):
        for accept in ("application/json", "image/png", "application/x-npy"):
            status, _, body = send(address, IMAGE, Accept=accept)
            text = json.loads(body)["error"]
            assert status == 500 and "predicts no numbers: 100 % of 'confidence'" in text


def resident(process):
    """Bytes of memory of a process, from /proc."""
    status = pathlib.Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc")
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])


def test_under_load(server, network):
    process, address = server
    load = script("load").load
    wanted = [labels_of(network[0], pixels(seed)) for seed in range(4)]
    files = [encoded(pixels(seed)) for seed in range(4)]
    accepts = ("application/json", "image/png", "application/x-npy")

    def half():
        """100 requests of 8 clients, with refused ones between them; returns the memory used."""
        jobs, expected = [], []
        bad = [*BAD.values()]
        for i in range(100):
            jobs.append((files[i % 4], {"Accept": accepts[i % 3]}))
            expected.append(200)
            if i % 4 == 0:
                body, headers, status = bad[i // 4 % len(bad)]
                jobs.append((body, {k.replace("_", "-"): v for k, v in headers.items()}))
                expected.append(status)
        answers = load(f"http://{address}/predict", jobs, 8)
        assert [getattr(answer, "status", answer) for answer in answers] == expected
        good = [answer for answer in answers if answer.status == 200]
        for i, answer in enumerate(good):
            labels, media = wanted[i % 4], accepts[i % 3]
            if media == "application/json":
                shares = json.loads(answer.body)["outputs"]["labels"]["shares"]
                most = HEAD.class_names[np.bincount(labels.ravel()).argmax()]
                assert shares[most] == pytest.approx(
                    np.bincount(labels.ravel()).max() / labels.size, abs=2e-3
                )
            elif media == "image/png":
                assert_labels(labels_in(answer.body)[0], labels)
            else:
                assert_labels(np.load(io.BytesIO(answer.body)), labels)
        return resident(process)

    first = half()
    second = half()
    assert second < first + 8e6
    status, _, body = send(address, None, "/healthz", "GET")
    assert (status, json.loads(body)) == (200, {"status": "ok", "requests": 0})


def begun(address, body):
    """Connection on which all but the last byte of a request has been sent."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[:-1])
    return connection


def answer_on(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def waiting(address, count):
    """Wait until the server has this number of requests."""
    for _ in range(200):
        if json.loads(send(address, None, "/healthz", "GET")[2])["requests"] == count:
            return
        time.sleep(0.02)
    raise AssertionError(f"never {count} requests at a time")


def test_full_slow_and_stopped(network):
    limits = ["--workers", 1, "--queue", 1, "--patience", PATIENCE]
    with serving(network[1] / "model.onnx", *limits) as (process, address):
        slow, never = begun(address, IMAGE), begun(address, IMAGE)
        waiting(address, 2)
        status, headers, body = send(address, IMAGE)
        assert (status, headers["Retry-After"]) == (503, "1"), body
        slow.sendall(IMAGE[-1:])
        assert answer_on(slow)[0] == 200
        assert answer_on(never)[0] == 408
        waiting(address, 0)
        begun(address, IMAGE).close()  # A client that goes away.
        assert send(address, IMAGE)[0] == 200

        last = begun(address, IMAGE)
        waiting(address, 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        last.sendall(IMAGE[-1:])
        assert answer_on(last)[0] == 200  # It was accepted before.
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert process.stdout.read() == "stopped\n"
        with pytest.raises(OSError):
            begun(address, IMAGE)


def test_half_sent_headers_keep_no_one_out(network):
    """The limits of time, bytes and connections of an address, each answered in JSON."""
    limits = ["--patience", 2, "--connections", 8, "--threads", 1]
    with serving(network[1] / "model.onnx", *limits) as (process, address):

        def opened(text):
            host, port = address.split(":")
            connection = socket.create_connection((host, int(port)), timeout=30)
            connection.sendall(text)
            return connection

        def refused(connection):
            status, body = answer_on(connection)
            connection.close()
            return status, json.loads(body)["error"]

        half = [opened(b"POST /predict HTTP/1.1\r\nHost: x\r\n") for _ in range(8)]
        text = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        assert refused(opened(text)) == (503, "8 connections of this address are open")
        for connection in half:
            assert refused(connection) == (408, "no headers arrived within 2 seconds")
        time.sleep(0.2)
        assert send(address, IMAGE)[0] == 200
        assert refused(opened(b"nonsense\r\n\r\n"))[0] == 400
        assert refused(opened(b"GET / HTTP/1.1\r\nA: " + bytes(100_000)))[0] in (400, 431)
        # The second request of a connection, too.
        with contextlib.closing(opened(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) as again:
            assert answer_on(again)[0] == 200
            again.sendall(b"GET /he")
            assert again.recv(1) == b""


def test_files_that_are_no_networks(network, tmp_path):
    """Said in one line: no file of ONNX, half of one, one without a description."""
    onnx = pytest.importorskip("onnx")
    whole = (network[1] / "model.onnx").read_bytes()
    plain = onnx.load_from_string(whole)
    for entry in plain.metadata_props:
        entry.value = '{"inputs": {}}'
    bad = {
        "text": (b"no network", "cannot be read as an ONNX file ("),
        "empty": (b"", "cannot be read as an ONNX file ("),
        "half": (whole[: len(whole) // 2], "cannot be read as an ONNX file ("),
        "plain": (plain.SerializeToString(), "has no description of its outputs"),
    }
    server = script("server")
    for name, (content, message) in bad.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(SystemExit) as ended:
            server.main([str(tmp_path / f"{name}.onnx"), "--port", "0"])
        said = str(ended.value)
        assert f"{name}.onnx {message}" in said and "\n" not in said, said


def test_pixels_fit_the_memory(network, monkeypatch):
    server = script("server")
    memory = server.free_memory()
    if memory is None:
        pytest.skip("no /proc")
    assert memory > 0
    settings = {"threads": 1, "workers": 2, "queue": 1, "max_bytes": 1, "max_pixels": None}
    args = argparse.Namespace(model=network[1] / "model.onnx", patience=1.0, **settings)
    monkeypatch.setattr(server, "free_memory", lambda: 100 * 10**9)
    assert server.Service(args).max_pixels == 4 << 20
    monkeypatch.setattr(server, "free_memory", lambda: 400 * 10**6)
    assert 256**2 < server.Service(args).max_pixels < 4 << 20
    monkeypatch.setattr(server, "free_memory", lambda: None)
    assert server.Service(args).max_pixels == 4 << 20


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """Folder with an earlier version and another model, after a run of tensorflow_serving.py."""
    folder = tmp_path_factory.mktemp("served")
    for there in ("scene/7", "rooms/1"):
        (folder / there).mkdir(parents=True)
        (folder / there / "saved_model.pb").write_bytes(b"")
    convert = script("tensorflow_serving")
    (folder / "image.png").write_bytes(IMAGE)
    arguments = [str(network[1] / "model.keras"), str(folder)]
    for wrong in (["--name", "scene", "--version", "7"], ["--name", "../scene"]):
        with pytest.raises(SystemExit):
            convert.main([*arguments, *wrong])
    convert.main([*arguments, "--name", "scene", "--image", str(folder / "image.png")])
    return folder


def test_folder(folder):
    found = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))
    assert found == ["requests/scene.json", "rooms/1", "scene/7", "scene/8"]
    config = (folder / "models.config").read_text()
    assert re.findall(r'base_path: "(.*)"', config) == ["/models/rooms", "/models/scene"]
    text_format = pytest.importorskip("google.protobuf.text_format")
    name = "tensorflow_serving.config.model_server_config_pb2"
    parsed = text_format.Parse(config, pytest.importorskip(name).ModelServerConfig())
    found = {(model.name, model.model_platform) for model in parsed.model_config_list.config}
    assert found == {("rooms", "tensorflow"), ("scene", "tensorflow")}


class StandIn(http.server.BaseHTTPRequestHandler):
    """Stand-in for the REST interface of TensorFlow Serving."""

    def do_POST(self):
        name = re.fullmatch(r"/v1/models/(\w+)(?:/versions/\d+)?:predict", self.path)[1]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signature = self.server.models[name].signatures[
            asked.get("signature_name", "serving_default")
        ]
        ((key, spec),) = signature.structured_input_signature[1].items()

        def value(x):
            if isinstance(x, dict) and [*x] == ["b64"]:
                return base64.b64decode(x["b64"], validate=True)
            return value(x[key]) if isinstance(x, dict) else x

        import tensorflow as tf

        batch = tf.constant([value(x) for x in asked["instances"]], spec.dtype)
        outputs = {k: y.numpy().tolist() for k, y in signature(**{key: batch}).items()}
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        body = json.dumps({"predictions": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def stand_in(folder):
    import tensorflow as tf

    with http.server.HTTPServer(("127.0.0.1", 0), StandIn) as server:
        server.models = {"scene": tf.saved_model.load(str(folder / "scene" / "8"))}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", server.models
        server.shutdown()


def test_rest(stand_in, folder, network):
    body = (folder / "requests" / "scene.json").read_bytes()
    status, _, answer = send(stand_in[0], body, "/v1/models/scene:predict")
    (row,) = json.loads(answer)["predictions"]
    assert status == 200 and sorted(row) == ["confidence", "labels"]
    assert_labels(np.array(row["labels"]), labels_of(network[0], pixels()))
    body = json.dumps({"instances": pixels(1, 32, 33)[None].tolist()})
    (row,) = json.loads(send(stand_in[0], body, "/v1/models/scene/versions/8:predict")[2])[
        "predictions"
    ]
    assert_labels(np.array(row["labels"]), labels_of(network[0], pixels(1, 32, 33)))


def client(url, folder, tmp_path):
    """The overlay that the client draws of an image with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.png").write_bytes(encoded(pixels(2), exif=exif))
    about = folder / "scene" / "8" / "assets" / "about.json"
    files = [str(tmp_path / "turned.png"), str(tmp_path / "overlay.png")]
    script("client").main([url, *files, "--about", str(about)])
    return np.array(Image.open(files[1])), read_image(files[0], upright=True)


def assert_overlay(found, image, model):
    wanted = (image.astype("float32") + HEAD.palette[labels_of(model, image)]) / 2
    assert found.shape == image.shape == (128, 96, 3)
    assert (np.abs(found - wanted).max(-1) > 1).mean() <= 2e-3


def test_client(server, stand_in, folder, network, tmp_path):
    for url in (f"http://{server[1]}/predict", f"http://{stand_in[0]}/v1/models/scene:predict"):
        assert_overlay(*client(url, folder, tmp_path), network[0])
    with pytest.raises(SystemExit, match="answers 404"):
        client(f"http://{server[1]}/elsewhere", folder, tmp_path)


def test_grpc(stand_in, folder, network, tmp_path):
    grpc = pytest.importorskip("grpc")
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    class Predictions(apis.PredictionServiceServicer):
        def Predict(self, request, context):
            model = stand_in[1][request.model_spec.name]
            signature = model.signatures[request.model_spec.signature_name]
            inputs = {k: tf.constant(tf.make_ndarray(x)) for k, x in request.inputs.items()}
            outputs = signature(**inputs)
            answer = predict_pb2.PredictResponse()
            for name in request.output_filter or outputs:
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name].numpy()))
            return answer

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    apis.add_PredictionServiceServicer_to_server(Predictions(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        overlay = client(f"grpc://127.0.0.1:{port}/scene", folder, tmp_path)
    finally:
        server.stop(None)
    assert_overlay(*overlay, network[0])


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        kd.heads.Segmentation(1),
        kd.heads.Segmentation(300, palette=np.zeros((300, 3))),
        kd.heads.Depth(max_depth=10.0),
        kd.heads.Depth(max_depth=100.0),
        kd.heads.Depth(max_depth=1000.0),
        kd.heads.Normals(),
        kd.heads.Colorization(),
    ],
    ids=lambda head: type(head).__name__,
)
def test_files_are_those_of_the_command_line(network, tmp_path, head):
    """The server and the command line agree in every pixel, for every kind of output."""
    rng = np.random.default_rng(0)
    ((name, facts), *_) = json.loads(json.dumps(head.about())).items()
    result = {
        "labels": lambda: rng.integers(0, len(facts["classes"]), (7, 9), "int32"),
        "depth": lambda: rng.uniform(*facts["range"], (7, 9, 1)).astype("float32"),
        "normals": lambda: rng.uniform(-1, 1, (7, 9, 3)).astype("float32"),
        "color": lambda: rng.integers(0, 256, (7, 9, 3), "uint8"),
    }[name]()
    server = script("server")
    file = io.BytesIO()
    server.drawing(name, result, facts).save(file, "PNG")
    write_result(tmp_path / "result.png", head, result, {})
    theirs, ours = Image.open(file), Image.open(tmp_path / "result.png")
    assert (theirs.mode, theirs.getpalette()) == (ours.mode, ours.getpalette())
    np.testing.assert_array_equal(np.asarray(theirs), np.asarray(ours))
    summary = server.summary(result, facts)
    if name == "labels":
        assert sum(summary["shares"].values()) == pytest.approx(1, abs=2e-3)
    else:
        assert summary["min"] < summary["mean"] < summary["max"]


def test_several_labels(network):
    server = script("server")
    facts = kd.heads.Segmentation(3, mode="multilabel", class_names=list("abc")).about()
    labels = np.zeros((4, 5, 3), "uint8")
    labels[:2, :, 0], labels[..., 2] = 1, 1
    assert server.summary(labels, facts["labels"]) == {"shares": {"c": 1.0, "a": 0.5}}
    with pytest.raises(Exception, match="application/x-npy"):
        server.drawing("labels", labels, facts["labels"])


def test_outputs_of_unknown_kind_are_drawn_in_gray(network):
    server = script("server")
    edges = np.array([[[0.0], [0.5]], [[1.0], [0.25]]], "float32")
    facts = {"unit": "probability", "range": [0, 1]}
    assert np.array(server.drawing("edges", edges, facts)).tolist() == [[0, 128], [255, 64]]
    flow = np.stack([edges[..., 0], 3 * edges[..., 0]], -1)  # Two channels, of unknown range.
    assert np.array(server.drawing("flow", flow, {})).tolist() == [[0, 128], [255, 64]]
    assert server.summary(flow, {})["max"] == 3


def test_server_needs_no_keras(network):
    """The server imports neither Keras nor a backend, which take more memory than the network."""
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['keras', 'tensorflow', 'torch', "
        "'jax', 'keras_dense'])); sys.argv[0] = 'server.py'; "
        f"runpy.run_path({str(SERVING / 'server.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(network[1] / "none.onnx")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "there is no file" in result.stderr
