r"""Send an image to a server, and draw the labels of the answer over it.

The server is server.py, or TensorFlow Serving over REST or gRPC (which needs
`pip install tensorflow-serving-api`, and sends the labels without their confidence):

    python examples/serving/client.py http://127.0.0.1:8000/predict street.jpg overlay.png
    python examples/serving/client.py http://127.0.0.1:8501/v1/models/scene:predict \
        street.jpg overlay.png --about served/scene/1/assets/about.json
    python examples/serving/client.py grpc://127.0.0.1:8500/scene street.jpg overlay.png \
        --about served/scene/1/assets/about.json

The script needs numpy and pillow only. TensorFlow Serving answers with numbers of classes:
`--about` is the file of the export with their names and colors. It ignores the EXIF orientation, so
images are turned here.
"""

import argparse
import base64
import io
import json
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
from PIL import Image, ImageOps

TRIES = 5
MESSAGE = 256 << 20  # Most bytes of an answer over gRPC; the default is 4 MB.


def post(url, body, headers):
    """The body of the answer; waits while the server is busy."""
    for attempt in range(TRIES):
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            if error.code != 503 or attempt + 1 == TRIES:
                sys.exit(f"{url} answers {error.code}: {text}")
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except urllib.error.URLError as error:
            sys.exit(f"{url} does not answer ({error.reason})")


def from_server(url, file, output):
    """Labels in their colors, as RGB."""
    query = f"?output={urllib.parse.quote(output)}" if output else ""
    headers = {"Content-Type": "application/octet-stream", "Accept": "image/png"}
    return np.array(Image.open(io.BytesIO(post(url + query, file, headers))).convert("RGB"))


def from_rest(url, file, output):
    """Labels `(H, W)` from the REST interface of TensorFlow Serving."""
    instance = {"b64": base64.b64encode(file).decode("ascii")}
    body = json.dumps({"signature_name": "encoded", "instances": [instance]}).encode()
    answer = post(url, body, {"Content-Type": "application/json"})
    return np.array(json.loads(answer)["predictions"][0][output or "labels"], "int32")


def from_grpc(url, file, output):
    """Labels `(H, W)` from the gRPC interface of TensorFlow Serving."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    address = urllib.parse.urlsplit(url)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = address.path.strip("/")
    request.model_spec.signature_name = "encoded"
    request.inputs["encoded"].CopyFrom(tf.make_tensor_proto([file]))
    request.output_filter.append(output or "labels")
    options = [("grpc.max_receive_message_length", MESSAGE)]
    with grpc.insecure_channel(address.netloc, options) as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 60.0)
    return tf.make_ndarray(answer.outputs[output or "labels"])[0]


def upright(file, image):
    """The file itself, or a PNG of the turned image if EXIF asks for it."""
    if image.getexif().get(0x0112, 1) == 1:
        return file
    turned = io.BytesIO()
    ImageOps.exif_transpose(image).save(turned, format="PNG")
    return turned.getvalue()


def palette(about, output):
    """The colors of the classes; random ones without a file that lists them."""
    if about is None:
        return np.random.default_rng(0).integers(0, 256, (256, 3), dtype="uint8")
    facts = json.loads(about.read_text(encoding="utf-8"))["outputs"][output or "labels"]
    return np.array(facts["palette"], "uint8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("url")
    add("image", type=pathlib.Path)
    add("overlay", type=pathlib.Path)
    add("--output", help="name of the labels if it is not labels, such as segmentation_labels")
    add("--about", type=pathlib.Path, help="about.json of the SavedModel")
    args = parser.parse_args(argv)

    if args.overlay.exists() and args.overlay.samefile(args.image):
        parser.error("overlay must not be the image itself")
    file = args.image.read_bytes()
    image = Image.open(io.BytesIO(file))
    began = time.perf_counter()
    if args.url.startswith("grpc://"):
        found = from_grpc(args.url, upright(file, image), args.output)
    elif args.url.endswith(":predict"):
        found = from_rest(args.url, upright(file, image), args.output)
    else:
        found = from_server(args.url, file, args.output)
    milliseconds = 1000 * (time.perf_counter() - began)
    colors = found if found.ndim == 3 else palette(args.about, args.output)[found]
    shown = ImageOps.exif_transpose(image).convert("RGB")
    Image.blend(shown, Image.fromarray(colors), 0.5).save(args.overlay)
    print(f"{args.image} ({shown.width}×{shown.height}) in {milliseconds:.0f} ms -> {args.overlay}")


if __name__ == "__main__":
    main()
