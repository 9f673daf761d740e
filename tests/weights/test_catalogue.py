"""The catalogue: names, what is known about each, and rules that cover every file."""

import importlib.util
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_dense as kd
from keras_dense._weights.rules import Rule
from keras_dense.weights.catalogue import SOURCES, records
from keras_dense.weights.load import ready_for

from .published import KEYS, shapes, zeros

pytestmark = pytest.mark.once

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Of a network that users trained themselves there is no file; tests/weights/test_smp.py has one.
NAMES = [name for name in kd.weights.list() if kd.weights.info(name).stored is None]
# Quick to build: one of each kind.
QUICK = (
    "torchvision/fcn_resnet50",
    "torchvision/lraspp_mobilenet_v3_large",
    "deeplab/mobilenetv2_dm05_voc",
)
LISTED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive)
    for path in sorted(KEYS.glob("*.json.gz"))
    for name in shapes(path.name.partition(".")[0])
]


def test_names_by_pattern():
    networks = kd.weights.list("torchvision/*")
    assert len(networks) == 6 and networks[0] == "torchvision/fcn_resnet50"
    # The classes count, too.
    assert set(networks) <= set(kd.weights.list("*voc*")) and kd.weights.list("VOC")
    assert kd.weights.list("*/lraspp*") == ["torchvision/lraspp_mobilenet_v3_large"]
    assert kd.weights.list("nothing like it") == []


def test_a_record_prints_well():
    text = repr(kd.weights.info("torchvision/deeplabv3_resnet50")).splitlines()
    assert text[0] == "torchvision/deeplabv3_resnet50"
    assert "  predicts    21 classes of PASCAL VOC" in text
    assert any(
        line.startswith("  scores      mean IoU 66.4, pixel accuracy 92.4 (") for line in text
    )
    assert "  test size   short side 520" in text
    assert "  file        deeplabv3_resnet50_coco-cd0a2569.pth 168.3 MB, hash cd0a2569" in text
    assert (
        "  from        https://download.pytorch.org/models/deeplabv3_resnet50_coco-cd0a2569.pth"
        in text
    )
    assert any(line.startswith("  license     BSD-3-Clause") for line in text)


def test_bad_names():
    with pytest.raises(ValueError, match="Did you mean 'torchvision/deeplabv3_resnet50' or"):
        kd.weights.info("torchvision/deeplab_resnet50")
    with pytest.raises(ValueError, match="Did you mean 'torchvision/fcn_resnet101'"):
        kd.weights.info("fcn_resnet101")
    with pytest.raises(ValueError, match="kd.weights.list.* Sources: torchvision"):
        kd.weights.info("quite another thing")


@pytest.mark.parametrize("name", NAMES)
def test_records_are_complete(name):
    record = kd.weights.info(name)
    assert record.name.count("/") == 1 and record.source in record.name
    for field in ("data", "license", "citation", "page", "normalization", "grid", "test_size"):
        assert getattr(record, field), field
    assert record.bytes and bool(record.scores) == bool(record.scored_on)
    head = record.head()
    assert isinstance(head, kd.heads.Head)
    if record.classes is not None:
        assert len(record.classes.names) == len(record.classes.palette) == head.num_classes
        assert len(set(record.classes.names)) == len(record.classes.names)
    assert all(isinstance(rule, Rule) for rule in record.rules)
    (source,) = (s for s in SOURCES if record in s.RECORDS)
    assert any(record.rules is rules for rules in source.RULES.values())
    if record.hash is not None and record.trusted and len(record.hash) == 8:
        assert record.hash in record.remote.file


def test_networks_of_ones_own_are_listed():
    assert kd.weights.list("smp") == ["smp"]
    record = kd.weights.info("smp")
    assert "from        no place is known for download: pass `path`" in repr(record)
    for field in ("data", "license", "citation", "page", "normalization", "grid", "test_size"):
        assert getattr(record, field), field
    with pytest.raises(ValueError, match="`path` must be the folder of the network for 'smp'"):
        record.builder(heads=None, input_shape=(None, None, 3), **record.arguments)


def test_terms_that_are_not_permissive_are_said():
    record = kd.weights.info("torchvision/fcn_resnet50")
    assert record.permissive and record.remote.notice is None
    other = kd.weights.Record(
        name="a/b", builder=keras.Model, rules=(), license="CC BY-NC 4.0", page="https://a.org"
    )
    assert not other.permissive
    assert other.remote.notice == (
        "The weights 'a/b' come under terms of their own: CC BY-NC 4.0. See https://a.org"
    )
    with pytest.raises(ValueError, match="'a/b' must have `classes` or `make_head`"):
        other.head()
    assert "pass `path`" in repr(other)


@pytest.mark.parametrize("name", LISTED)
def test_every_name_of_the_published_file_is_covered(name):
    record, head = kd.weights.info(name), kd.weights.info(name).head()
    heads = head
    if record.auxiliary is not None:
        heads = {"segmentation": head, "auxiliary": kd.heads.Auxiliary(head, **record.auxiliary)}
    model = record.builder(heads=heads, input_shape=(None, None, 3), **record.arguments)
    report = ready_for(model, zeros(name), record.rules, name).report
    assert report.complete, report
    assert set(report.left_out) <= {"counters"}
    # Without the auxiliary head, what belongs to it is left out by name.
    if record.auxiliary is not None and name in QUICK:
        model = record.builder(heads=head, input_shape=(None, None, 3), **record.arguments)
        report = ready_for(model, zeros(name), record.rules, name).report
        (reason,) = set(report.left_out) - {"counters"}
        assert report.complete and "auxiliary" in reason
        assert "left out, the auxiliary head" in str(report)


@pytest.mark.exhaustive
def test_importing_builds_nothing():
    code = (
        "import keras; made = []; plain = keras.layers.Layer.__init__\n"
        "def counted(self, *args, **kwargs):\n"
        "    made.append(self); plain(self, *args, **kwargs)\n"
        "keras.layers.Layer.__init__ = counted\n"
        "import keras_dense\n"
        "print(len(keras_dense.weights.list()), len(made))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-2:] == [str(len(records())), "0"]


def test_the_tables_of_the_docs_are_those_of_the_catalogue():
    page = REPOSITORY / "docs" / "list_weights.py"
    spec = importlib.util.spec_from_file_location("list_weights", page)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text(encoding="utf-8")
    assert f"{script.START}\n{script.tables()}{script.END}" in text
