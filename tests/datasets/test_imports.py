"""Errors name optional packages if they are missing."""

import builtins
import sys

import numpy as np
import pytest

from keras_dense._optional import require
from keras_dense.datasets import transforms
from keras_dense.heads.palette import voc_palette

pytestmark = pytest.mark.once


def test_absent_pillow_says_what_to_install(monkeypatch):
    for name in [m for m in sys.modules if m.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"needs `PIL`.*pip install keras_dense\[examples\]"):
        transforms.Resize(4)({"image": np.zeros((8, 8, 3), np.uint8)})


def test_require_returns_the_module():
    assert require("json", extra="examples").dumps([1]) == "[1]"


def test_voc_palette():
    assert voc_palette(22)[[0, 1, 15, 20, 21]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
        [128, 64, 128],
    ]
    assert len({tuple(c) for c in voc_palette(256).tolist()}) == 256
    for bad in (0, 2**24 + 1, 2.0, True):
        with pytest.raises(ValueError, match="`n` must be an integer from 1 to 16777216"):
            voc_palette(bad)
