"""Backbones of KerasHub's vision transformers beside the library transformers, same weights."""

import importlib
import importlib.util

import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from tests import torchvision_operations
from tests.backbones.hub_networks import ended
from tests.backbones.hub_transformers import PEERS

pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def transformers():
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers")
    torchvision_operations.declare()
    return importlib.import_module("transformers")


@pytest.mark.parametrize("name", PEERS)
def test_equals_transformers(transformers, name):
    """At the size that a network was built for, and where its positions are interpolated."""
    peer = PEERS[name]
    theirs = peer.build(transformers)
    ours = peer.moved(theirs)
    backbone = kd.backbone(ours, taps={"T4": 4})
    for size in ((peer.size, peer.size), peer.other):
        x = np.random.default_rng(0).uniform(0, 1, (1, *size, 3)).astype("float32")
        wanted = peer.tokens(theirs, x)
        got = backbone(x)["T4"]
        if peer.normalized:
            got = ended(name, ours, got)
        got = ops.convert_to_numpy(got).reshape(wanted.shape)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
