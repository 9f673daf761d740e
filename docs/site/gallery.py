"""The gallery: figures drawn from the networks, with their costs, references and results."""

import json
import os
import re
import subprocess
import sys

import api

# Builders that are not networks of their own.
NOT_DRAWN = ("assemble", "initialize", "with_crf", "with_reconstruction", "with_tags")
DRAWN = api.ROOT / "build" / "networks"
SCRIPT = api.ROOT / "docs" / "draw_networks.py"
PLACE = "<!-- networks -->"
# Results that the guides have: image, what it shows, and the place of its figures.
RESULTS = {
    "deeplabv3plus": (
        "camvid_deeplabv3plus.jpg",
        "image, truth, prediction, error",
        "results.md#deeplabv3-on-camvid",
    ),
    "fcn32s": (
        "camvid_crf.png",
        "before and after a CRF, and trained with it",
        "results.md#a-crf-on-camvid",
    ),
    "fcn8s": (
        "camvid_pretrained.jpg",
        "image, truth, prediction, error",
        "results.md#fcn-8s-on-camvid",
    ),
    "layer_cascade": (
        "layer_cascade_stages.jpg",
        "the stage at which each pixel exits",
        "results.md#a-cascade-on-camvid",
    ),
    "segformer": (
        "scenes_from_random_weights.jpg",
        "image, truth, FCN-8s, SegFormer",
        "results.md#a-vision-transformer-from-random-weights",
    ),
    "segnet_basic": (
        "camvid_segnet.jpg",
        "image, truth, prediction, error",
        "results.md#segnet-on-camvid",
    ),
    "unet": (
        "nuclei_unet.jpg",
        "image, truth, prediction, error",
        "results.md#u-net-on-cells",
    ),
}


def networks() -> list[api.Entry]:
    """The builders of networks."""
    entries = api.pages()[f"{api.PACKAGE}.models"]
    return [entry for entry in entries if entry.name not in NOT_DRAWN]


def draw() -> None:
    """Draw the figures again if the package has changed. Needs Keras and a backend."""
    done = DRAWN / "costs.json"
    sources = [SCRIPT, *(api.ROOT / api.PACKAGE).rglob("*.py")]
    if done.is_file() and done.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    places = [str(api.ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    subprocess.run([sys.executable, str(SCRIPT), str(DRAWN)], check=True, env=environment)


def complete(markdown: str) -> str:
    """The page with an entry for each network."""
    costs = json.loads((DRAWN / "costs.json").read_text("utf-8"))
    entries = [_entry(entry, costs[entry.name]) for entry in networks()]
    return markdown.replace(PLACE, "\n\n".join(entries))


def _entry(entry: api.Entry, cost: dict[str, int]) -> str:
    text = entry.definition.docstring or ""
    figure = (DRAWN / f"{entry.name}.svg").read_text("utf-8")
    numbers = (
        f"{cost['parameters'] / 1e6:,.1f} M parameters, {cost['multiply_adds'] / 1e9:,.1f} G "
        f"multiply-adds, {cost['peak'] / 1e6:,.0f} MB of maps at the same time"
    )
    parts = [f"## {entry.name}", f"[`{entry.short}`](api/models.md#{entry.path}): {first(text)}"]
    parts += [f'<div class="kd-network">{figure}</div>', numbers]
    if reference(text):
        parts.append(reference(text))
    if entry.name in RESULTS:
        image, about, place = RESULTS[entry.name]
        parts.append(f"![{about}]({image})\n\n[{about[0].upper()}{about[1:]}]({place})")
    return "\n\n".join(parts)


def first(docstring: str) -> str:
    """First sentence or paragraph of a docstring, on one line."""
    return " ".join(docstring.strip().partition("\n\n")[0].split())


def reference(docstring: str) -> str:
    """The paper of a docstring, on one line; empty if it names none."""
    found = re.search(r"^Reference:(.*?)(?=\n\s*\n|\Z)", docstring, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
