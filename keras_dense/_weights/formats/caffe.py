"""Networks of Caffe (`.caffemodel`): the message `NetParameter`.

The numbers of the fields are those of `src/caffe/proto/caffe.proto` in BVLC/caffe:

    NetParameter      name=1 layers=2 (V1) layer=100
    LayerParameter    name=1 type=2 blobs=7
    V1LayerParameter  layer=1 (V0) name=4 type=5 blobs=6
    V0LayerParameter  name=1 type=2 blobs=50
    BlobProto         num=1 channels=2 height=3 width=4 data=5 shape=7 double_data=8
    BlobShape         dim=1
"""

import math

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, Contents, File, native
from keras_dense._weights.formats.wire import Message, fields

# V1LayerParameter.LayerType, of the layers that have weights.
_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
# Top-level fields: number and kind. A file begins with the name, or with a layer.
_TOP = {(1, 2), (2, 2), (3, 2), (4, 0), (4, 2), (5, 0), (6, 2), (7, 0), (8, 2), (100, 2)}


def fits(file: File) -> bool:
    """Check for the fields of a `NetParameter` that has layers."""
    layers = False
    try:
        for field in fields(file.map, 0, file.size):
            if (field.number, field.kind) not in _TOP:
                return False
            if field.number in (2, 100):
                layers = True
                _parts(file, field.number, field.start, field.end)
    except Broken:
        # Truncated; the layers before tell what it was.
        return layers
    return layers


def contents(file: File, everything: bool) -> Contents:
    """Contents of a network: the blobs of a layer are `name.0`, `name.1`, …."""
    tensors: dict[str, Array] = {}
    types: dict[str, str] = {}
    twice = set()
    for field in fields(file.map, 0, file.size):
        if field.number not in (2, 100):
            continue
        name, kind, blobs = _parts(file, field.number, field.start, field.end)
        if blobs and name in types:
            twice.add(name)  # The last one counts, as in Caffe.
        for index, blob in enumerate(blobs):
            types[name] = kind
            tensors[f"{name}.{index}"] = _array(f"{name}.{index}", blob)
    if not tensors:
        raise Broken("is a network of Caffe without weights. Give its .caffemodel")
    meta = {"types": types} | ({"repeated": sorted(twice)} if twice else {})
    return Contents(tensors, meta, "Caffe")


def _parts(file: File, number: int, start: int, end: int) -> tuple[str, str, list[Message]]:
    """Name, type and blobs of a layer of any version."""
    layer = Message(file.map, start, end)
    if number == 100:
        return layer.text(1), layer.text(2), layer.messages(7)
    if 1 in layer.fields and 4 not in layer.fields:
        layer = layer.message(1)
        return layer.text(1), layer.text(2), layer.messages(50)
    kind = layer.integer(5)
    return layer.text(4), _TYPES.get(kind, str(kind)), layer.messages(6)


def _array(name: str, blob: Message) -> Array:
    values = blob.reals(5, "<f4") if 5 in blob.fields else blob.reals(8, "<f8")
    if 7 in blob.fields:
        shape = tuple(blob.message(7).integers(1))
    else:
        shape = tuple(blob.integer(axis) for axis in (1, 2, 3, 4))
    if any(n < 0 for n in shape) or math.prod(shape) != values.size:
        raise Broken(f"is damaged: {name[:200]!r} has {values.size} numbers for {list(shape)}")
    return native(values).reshape(shape)
