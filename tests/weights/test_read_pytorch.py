"""Checkpoints of PyTorch beside `torch`, and pickles that are made to do harm."""

import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.formats import pickles
from keras_dense._weights.read import read_file

torch = pytest.importorskip("torch", reason="the files are those of PyTorch")
pytestmark = pytest.mark.once
FORMS = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def saved(tmp_path, thing, new=True):
    path = tmp_path / "model.pth"
    torch.save(thing, path, _use_new_zipfile_serialization=new)
    return path


def check(found, state):
    assert list(found) == list(state)
    for name, tensor in state.items():
        wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        expected = wide.numpy()
        assert found[name].dtype == expected.dtype and found[name].shape == expected.shape, name
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        assert found[name].flags.c_contiguous and found[name].flags.writeable


def tensors():
    torch.manual_seed(0)
    base = torch.randn(4, 5, 6)
    tied = torch.nn.Parameter(torch.randn(3, 2))
    state = {
        "plain": torch.randn(2, 3, 4),
        "turned": base.permute(2, 0, 1),
        "part": base[1:3, ::2, 4],
        "row": base[3],
        "repeated": torch.randn(1, 3).expand(4, 3),
        "empty": torch.zeros(0, 3),
        "empty part": base[4:],
        "single": torch.tensor(2.5),
        "counter": torch.tensor(7),
        "tied": tied,
        "tied again": tied,
        "transposed tie": tied.T,
        "channels last": torch.randn(1, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
    for dtype in "half bfloat16 double int8 uint8 int16 int32 int64 bool complex64".split():
        state[dtype] = (torch.randn(3, 2) * 9).to(getattr(torch, dtype))
    return state


@FORMS
def test_tensors_of_all_kinds(tmp_path, new):
    state = tensors()
    check(kd.weights.read(saved(tmp_path, state, new)), state)


@FORMS
def test_tied_tensors_do_not_share_memory(tmp_path, new):
    found = kd.weights.read(saved(tmp_path, tensors(), new))
    arrays = list(found.values())
    for n, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[:n])


def test_dtypes_without_a_storage_class(tmp_path):
    state = {"a": torch.arange(5).to(torch.uint16), "b": torch.arange(3).to(torch.uint32)[1:]}
    found = kd.weights.read(saved(tmp_path, state))
    assert found["a"].dtype == "uint16" and found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["b"].dtype == "uint32" and found["b"].tolist() == [1, 2]


@FORMS
def test_bad_dtypes_are_named(tmp_path, new):
    from torch import nn

    bad = {
        "sparse; save `tensor.to_dense()`": torch.eye(3).to_sparse(),
        "on the device 'meta', without values": nn.Linear(2, 2, device="meta").weight.data,
    }
    if new:
        bad["has the dtype 'float8_e4m3fn', which"] = torch.ones(2).to(torch.float8_e4m3fn)
    for message, tensor in bad.items():
        path = saved(tmp_path, {"a": torch.ones(2), "net.b": tensor}, new)
        with pytest.raises(ValueError) as error:
            kd.weights.read(path)
        assert "the tensor 'net.b'" in str(error.value) and message in str(error.value)


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
@FORMS
def test_bad_quantized_tensors(tmp_path, new):
    quantized = torch.quantize_per_tensor(torch.ones(3), 0.1, 3, torch.qint8)
    state = {"a": torch.ones(2), "b": quantized, "c": torch.ones(4)}
    path = saved(tmp_path, state, new)
    with pytest.raises(ValueError, match="the tensor 'b' is quantized; save `tensor.dequantize"):
        kd.weights.read(path)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.register_buffer("grid", torch.ones(3), persistent=False)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(4, 2)])


@FORMS
def test_a_whole_module_is_read_without_its_class(tmp_path, new):
    network = Network()
    for thing in (network, {"model": network, "epoch": 3}):
        path = saved(tmp_path, thing, new)
        check(kd.weights.read(path), network.state_dict())
    assert read_file(path).meta == {"epoch": 3}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "optimizer": {"state": {0: torch.ones(2)}}, "epoch": 3},
        lambda s: {"model": s, "model_ema": s, "lr_scheduler": {"last": torch.ones(1)}},
        lambda s: {"model_state": s, "optimizer_state": {"x": torch.ones(1)}},
        lambda s: {"epoch": 3, "net": {"state_dict": s}, "best": torch.ones(1)},
        lambda s: {"optimizer": {"x": torch.ones(1)}, **s},
        lambda s: {f"module.{name}": x for name, x in s.items()},
        lambda s: {"state_dict": {f"module._orig_mod.{name}": x for name, x in s.items()}},
    ],
)
def test_nested_checkpoints(tmp_path, wrap):
    state = Network().state_dict()
    found = kd.weights.read(saved(tmp_path, wrap(state)))
    check({name: x for name, x in found.items() if name in state}, state)


def test_networks_side_by_side_keep_their_names(tmp_path):
    state = Network().state_dict()
    thing = {"encoder": state, "decoder": state, "optimizer": {"m": torch.ones(2)}, "epoch": 3}
    contents = read_file(saved(tmp_path, thing))
    assert list(contents.tensors) == [f"{k}.{n}" for k in ("encoder", "decoder") for n in state]
    assert contents.meta == {"epoch": 3, "left_out": ["optimizer"]}


def test_arrays_and_objects_beside_the_tensors(tmp_path):
    meta = {"iter": np.int64(5), "mean": np.float32([1, 2]), "path": pathlib.PurePosixPath("a/b")}
    contents = read_file(saved(tmp_path, {"state_dict": tensors(), "meta": meta}))
    assert contents.meta["meta"]["iter"] == 5 and contents.meta["meta"]["mean"] == [1.0, 2.0]
    assert contents.meta["meta"]["path"] == "<pathlib.PurePosixPath>"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_plain_pickle_of_arrays(tmp_path, protocol):
    path = tmp_path / "R-50.pkl"
    arrays = {"conv1_w": np.arange(6.0).reshape(2, 3).T, "b": np.arange(3, dtype=">i4")}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a"}, protocol))
    contents = read_file(path)
    assert contents.meta == {"__author__": "a"}
    for name, x in arrays.items():
        np.testing.assert_array_equal(contents.tensors[name], x)
        assert contents.tensors[name].dtype.isnative


def test_big_endian_storages(tmp_path):
    path = saved(tmp_path, {"a": torch.tensor([1.5, -2.0]), "b": torch.tensor([1.5]).bfloat16()})
    other = tmp_path / "big.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                width = 4 if len(data) == 8 else 2
                data = b"".join(data[n : n + width][::-1] for n in range(0, len(data), width))
            new.writestr(name, data)
    found = kd.weights.read(other)
    assert found["a"].tolist() == [1.5, -2.0] and found["b"].tolist() == [1.5]


@FORMS
def test_memory_is_that_of_the_tensors(tmp_path, new):
    state = {f"conv{n}.weight": torch.randn(512, 64, 3, 3) for n in range(12)}
    path = saved(tmp_path, {"state_dict": state, "optimizer": dict(state)}, new)
    tracemalloc.start()
    found = kd.weights.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 1.1 * sum(x.nbytes for x in found.values())


def test_bad_checksum(tmp_path):
    path = saved(tmp_path, {"a": torch.full((1000,), 0.7)})
    data = bytearray(path.read_bytes())
    at = data.find(torch.full((9,), 0.7).numpy().tobytes())
    data[at + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the tensor 'a' is damaged: the checksum"):
        kd.weights.read(path)


def test_bad_compressed_archive(tmp_path):
    path = saved(tmp_path, {"a": torch.ones(1000)})
    other = tmp_path / "small.pth"
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="is compressed, which PyTorch does not do"):
        kd.weights.read(other)


# --- Made to do harm ------------------------------------------------------------------------

MARK = "keras_dense_was_here"


class Harm:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def archive(tmp_path, pickled, **storages):
    path = tmp_path / "harm.pth"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, data in storages.items():
            file.writestr(f"archive/data/{name}", data)
    return path


def old(tmp_path, pickled):
    path = tmp_path / "harm.pth"
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(x, 2) for x in parts) + pickled + pickle.dumps([], 2))
    return path


def code(*names):
    """A pickle of protocol 2 by its opcodes."""
    return b"\x80\x02" + b"".join(names) + b"."


SYSTEM = b"cposix\nsystem\n"
COMMAND = f"touch {MARK}".encode()
TEXT = b"X" + struct.pack("<I", len(COMMAND)) + COMMAND
HARMFUL = {
    "os.system": pickle.dumps(Harm(os.system, COMMAND.decode())),
    "eval": pickle.dumps(Harm(eval, f"open({MARK!r}, 'w')")),
    "in a dict": pickle.dumps({"state_dict": {"a": Harm(exec, f"open({MARK!r}, 'w')")}}),
    "copyreg": pickle.dumps({"x": Harm(__import__("copyreg").add_extension, "os", "system", 240)}),
    "inst": code(b"(", TEXT, b"iposix\nsystem\n"),
    "obj": code(b"(", SYSTEM, TEXT, b"o"),
    "newobj": code(SYSTEM, TEXT, b"\x85\x81"),
    "newobj_ex": b"\x80\x04" + SYSTEM + TEXT + b"\x85}\x92.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + TEXT + b"\x85R.",
    "dotted": b"\x80\x04\x8c\x02os\x8c\x0bpath.os.sys\x93" + TEXT + b"\x85R.",
    "build": code(b"ccollections\nOrderedDict\n)R}", b"U\x05items", SYSTEM, b"sb"),
    "append": code(b"cbuiltins\nprint\n", TEXT, b"a"),
    "setitem": code(b"cos\nenviron\n)RU\x01aU\x01bs"),
    "extension": code(b"\x82\xf0", TEXT, b"\x85R"),
    "called twice": code(SYSTEM, TEXT, b"\x85R", TEXT, b"\x85R"),
    "rebuild": code(b"ctorch._tensor\n_rebuild_from_type_v2\n(", SYSTEM, SYSTEM, TEXT, b"\x85NtR"),
    "persistent": code(b"(U\x07storage", SYSTEM, TEXT, b"tQ"),
    "numpy": code(b"cnumpy.core.multiarray\n_reconstruct\n(", SYSTEM, b"K\0\x85U\x01btR"),
    "defaultdict": code(b"ccollections\ndefaultdict\n", SYSTEM, b"\x85RU\x01aK\1s"),
    "module": code(b"ctorch.serialization\nload\n", TEXT, b"\x85R"),
}


@pytest.mark.parametrize("form", [archive, old])
@pytest.mark.parametrize("name", HARMFUL)
def test_bad_pickles_are_not_executed(tmp_path, monkeypatch, name, form):
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    path = form(tmp_path, HARMFUL[name])
    with pytest.raises(ValueError, match="harm.pth"):
        kd.weights.read(path)
    assert not (tmp_path / MARK).exists() and os.environ.get("a") != "b"
    assert set(sys.modules) - modules <= {"tarfile"}


def test_a_harmful_pickle_does_harm_to_python(tmp_path):
    """The files of the test above are what they seem."""
    for name in ("os.system", "obj", "stack global"):
        subprocess.run(
            [sys.executable, "-c", f"import pickle; pickle.loads({HARMFUL[name]!r})"],
            cwd=tmp_path,
            check=True,
        )
        (tmp_path / MARK).unlink()


@pytest.mark.parametrize("form", [archive, old])
def test_tensors_beside_harm_are_read(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    thing = {"state_dict": {"a": np.ones(3)}, "hook": Harm(os.system, COMMAND.decode())}
    contents = read_file(form(tmp_path, pickle.dumps(thing)))
    assert list(contents.tensors) == ["a"] and contents.meta == {"hook": "<posix.system>"}
    assert not (tmp_path / MARK).exists()


def view(
    storage="FloatStorage", offset=0, shape=(2,), strides=(1,), count=4, key="0", kind="torch"
):
    """A pickle of {"a": a view of a storage}; numbers may be any."""

    class Pickler(pickle._Pickler):
        def save(self, thing, **more):
            if isinstance(thing, Raw):
                self.write(thing.data)
                return None
            return super().save(thing, **more)

    class Raw:
        def __init__(self, data):
            self.data = data

    def plain(x):
        out = io.BytesIO()
        Pickler(out, 2).save(x)
        return out.getvalue()

    identity = ("storage", Raw(f"c{kind}\n{storage}\n".encode()), key, "cpu", count)
    arguments = (Raw(plain(identity) + b"Q"), offset, shape, strides, False, Raw(b"}"))
    tensor = Raw(b"ctorch._utils\n_rebuild_tensor_v2\n" + plain(arguments) + b"R")
    return b"\x80\x02" + plain({"a": tensor}) + b"."


def test_views_of_the_tests_are_right(tmp_path):
    data = np.arange(4, dtype="float32").tobytes()
    path = archive(tmp_path, view(offset=1, shape=(3,)), **{"0": data})
    assert kd.weights.read(path)["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape": (5,)}, "lies outside its storage of 4 numbers"),
        ({"offset": 3}, "lies outside its storage of 4 numbers"),
        ({"offset": 2**61}, "lies outside its storage"),
        ({"offset": -1}, "its shape or strides are none"),
        ({"strides": (4,)}, "lies outside its storage"),
        ({"strides": (-1,), "offset": 3}, "its shape or strides are none"),
        ({"shape": (2**40, 2), "strides": (0, 1)}, "asks for far more memory than its"),
        ({"shape": (-2,)}, "its shape or strides are none"),
        ({"shape": (2.0,)}, "its shape or strides are none"),
        ({"shape": "ab"}, "its shape or strides are none"),
        ({"shape": (True,)}, "its shape or strides are none"),
        ({"shape": (2, 2)}, "its shape or strides are none"),
        ({"shape": (1,) * 70, "strides": (1,) * 70}, "its shape or strides are none"),
        ({"count": 400, "shape": (400,)}, "its storage should have 400 numbers and has 4"),
        ({"count": -4}, "its shape or strides are none"),
        ({"key": "7"}, "is missing from the file"),
        ({"key": "../version"}, "is missing from the file"),
        ({"key": 3}, "it has no storage"),
        ({"storage": "StringStorage"}, "has a storage of torch.StringStorage"),
        ({"kind": "os"}, "has a storage of os.FloatStorage"),
    ],
)
def test_bad_views_are_never_read_out_of_bounds(tmp_path, change, message):
    data = np.arange(4, dtype="float32").tobytes()
    path = archive(tmp_path, view(**change), **{"0": data})
    with pytest.raises(ValueError) as error:
        kd.weights.read(path)
    assert "harm.pth' cannot be read: the tensor 'a'" in str(error.value)
    assert message in str(error.value)


def doubled(levels):
    """A list of two equal lists of two equal lists …: 2 to the power of `levels` entries."""
    inner = np.ones(1)
    for _ in range(levels):
        inner = [inner, inner]
    return inner


@pytest.mark.parametrize(
    "pickled, message",
    [
        (pickle.dumps({"a": doubled(19)}), "has more than 200000 entries"),
        (pickle.dumps({"a": doubled(100)}), "has more than 200000 entries"),
        (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "has no tensors"),
        (b"\x80\x02)" + b"\x85" * 10**5 + b"\x85cbuiltins\nset\n)R.", "has no tensors"),
        (b"\x80\x04\x8f(" + b")" + b"\x85" * 10**5 + b"\x90.", "has no tensors"),
        (b"\x80\x02}" + b")" + b"\x85" * 10**5 + b"K\1s.", "has no tensors"),
        (b"\x80\x02]q\0h\0a.", "has no tensors"),
        (b"\x80\x02N" + b"r\xff\xff\xff\xff" + b".", "has no tensors"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "in the middle of a pickle"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b".", "in the middle of a pickle"),
        (b"\x80\x02\x8b" + struct.pack("<i", -5) + b".", "in the middle of a pickle"),
        (b"\x80\x02I" + b"9" * 10**5 + b"\n.", "its pickle has a fault at byte"),
        (b"\x80\x02h\x05.", "its pickle has a fault at byte 4"),
        (b"\x80\x020.", "its pickle has a fault at byte"),
        (b"\x80\x02\xff.", "opcode b'\\xff' at byte 2"),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("form", [archive, old])
def test_bad_bombs(tmp_path, pickled, message, form):
    with pytest.raises(ValueError) as error:
        kd.weights.read(form(tmp_path, pickled))
    assert message in str(error.value) or form is old


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_is_as_python_reads_it(protocol):
    thing = {
        "numbers": [0, 1, -1, 255, 256, -(2**31), 2**31, 2**80, -(2**80), 1.5, float("inf")],
        "text": ["", "a", "ä", "\n\\", "日本" * 100],
        "bytes": [b"", b"\xff\0", b"a" * 300],
        "containers": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {1: {2: []}}, {3, 4}],
        "flags": [None, True, False],
    }
    shared = ["shared"]
    thing["shared"] = [shared, shared]
    assert pickles.load(pickle.dumps(thing, protocol))[0] == thing
