"""Makes the small files in `fixtures/`, each by the framework whose format it is.

Run it in an environment that has them all (torch, tensorflow, safetensors):

    python tests/weights/make_fixtures.py

There is no writer of Caffe's format left; its files are encoded here by the numbers of the fields
in `src/caffe/proto/caffe.proto` of BVLC/caffe, as the reader lists them.
"""

import json
import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "fixtures"


def arrays():
    """Tensors that all files hold: two kernels, a bias, a single integer."""
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.normal(size=(4, 3, 3, 3)).astype("float32"),
        "conv1.bias": rng.normal(size=4).astype("float32"),
        "conv2.weight": rng.normal(size=(2, 4, 1, 1)).astype("float16"),
        "bn.num_batches_tracked": np.array(7, "int64"),
    }


def varint(value):
    value &= 2**64 - 1
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number, value):
    """A field of a protocol buffer: an integer, or bytes of any length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(x, *, old=False, double=False, packed=True):
    """A `BlobProto`; an old one has four sizes in fields of their own."""
    if old:
        sizes = (1,) * (4 - x.ndim) + x.shape
        shape = b"".join(field(n, size) for n, size in enumerate(sizes, 1))
    else:
        shape = field(7, field(1, b"".join(map(varint, x.shape))))
    raw = x.astype("<f8" if double else "<f4").tobytes()
    number = 8 if double else 5
    if packed:
        return field(number, raw) + shape
    width, kind = (8, 1) if double else (4, 5)
    tag = varint(number << 3 | kind)
    pieces = (raw[n : n + width] for n in range(0, len(raw), width))
    return b"".join(tag + piece for piece in pieces) + shape


def caffemodel(x):
    """A `NetParameter` with `layer`: its second blob in double, its third number by number."""
    layer = field(1, "conv/1") + field(2, "Convolution") + field(3, "data")
    layer += field(7, blob(x["conv1.weight"])) + field(7, blob(x["conv1.bias"], double=True))
    second = field(1, "conv2") + field(2, "Convolution")
    second += field(7, blob(x["conv2.weight"], packed=False))
    relu = field(1, "relu") + field(2, "ReLU")
    return field(1, "tiny") + field(100, layer) + field(100, relu) + field(100, second)


def caffemodel_v1(x):
    """A `NetParameter` with `layers`, which have numbers as types and old shapes."""
    layer = field(2, "data") + field(4, "conv/1") + field(5, 4)
    layer += field(6, blob(x["conv1.weight"], old=True)) + field(6, blob(x["conv1.bias"], old=True))
    second = field(4, "conv2") + field(5, 39) + field(6, blob(x["conv2.weight"], old=True))
    return field(1, "tiny") + field(2, layer) + field(2, second)


def caffemodel_v0(x):
    """A `NetParameter` whose layers wrap those of the first version."""
    inner = field(1, "conv/1") + field(2, "conv") + field(50, blob(x["conv1.weight"], old=True))
    return field(1, "tiny") + field(2, field(1, inner))


def write_caffe():
    for name, make in (("v2", caffemodel), ("v1", caffemodel_v1), ("v0", caffemodel_v0)):
        (FOLDER / f"{name}.caffemodel").write_bytes(make(arrays()))


def write_torch():
    import torch

    state = {f"module.{name}": torch.from_numpy(x) for name, x in arrays().items()}
    file = {
        "state_dict": state,
        "optimizer": {"state": {0: {"step": 3, "momentum": torch.ones(5)}}},
        "meta": {"CLASSES": ("road", "sky"), "PALETTE": [[128, 64, 128], [70, 130, 180]]},
    }
    torch.save(file, FOLDER / "zip.pth")
    torch.save(file, FOLDER / "old.pth", _use_new_zipfile_serialization=False)


def write_safetensors():
    from safetensors.numpy import save_file

    x = arrays()
    save_file(x, FOLDER / "tiny.safetensors", {"from": "a test"})
    parts = {"part-1.safetensors": list(x)[:2], "part-2.safetensors": list(x)[2:]}
    for name, keys in parts.items():
        save_file({key: x[key] for key in keys}, FOLDER / name)
    places = {key: name for name, keys in parts.items() for key in keys}
    index = {"metadata": {"total_size": 480}, "weight_map": places}
    (FOLDER / "parts.safetensors.index.json").write_text(json.dumps(index))


def write_tensorflow():
    import tensorflow as tf

    v1 = tf.compat.v1
    x = arrays()
    kernel = x["conv1.weight"].transpose(2, 3, 1, 0)
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            "conv1/weights": kernel,
            "conv1/weights/Momentum": kernel * 0,
            "conv1/biases": x["conv1.bias"],
            "half": x["conv2.weight"],
            "brain": x["conv1.bias"].astype(tf.bfloat16.as_numpy_dtype),
            "global_step": np.int64(7),
        }
        made = [v1.get_variable(name, initializer=value) for name, value in variables.items()]
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(FOLDER / "model.ckpt"), write_meta_graph=False)
    del made
    (FOLDER / "checkpoint").unlink()
    with tf.Graph().as_default() as graph:
        for name in ("conv1/weights", "conv1/biases", "half", "brain", "global_step"):
            tf.constant(variables[name], name=name)
        tf.constant(0.5, shape=(2, 3), name="filled")
        tf.constant(["text"], name="text")
        tf.identity(graph.get_tensor_by_name("half:0"), name="half/read")
    (FOLDER / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())


def write_tflite():
    import tensorflow as tf

    x = arrays()
    kernel = x["conv1.weight"].transpose(2, 3, 1, 0)

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 6, 3))])
    def network(image):
        y = tf.nn.conv2d(image, kernel, 1, "SAME") + x["conv1.bias"]
        return tf.reshape(y, (1, -1))

    convert = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    convert.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(1, 6, 6, 3)).astype("float32") for _ in range(4)]
    convert.representative_dataset = lambda: ([image] for image in images)
    (FOLDER / "int8.tflite").write_bytes(convert.convert())


def main():
    FOLDER.mkdir(exist_ok=True)
    write_caffe()
    write_torch()
    write_safetensors()
    write_tensorflow()
    write_tflite()
    total = 0
    for path in sorted(FOLDER.iterdir()):
        total += path.stat().st_size
        sys.stdout.write(f"{path.stat().st_size:8d} {path.name}\n")
    sys.stdout.write(f"{total:8d} in all\n")


if __name__ == "__main__":
    main()
