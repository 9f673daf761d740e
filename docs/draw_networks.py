"""Draw the networks of the gallery from the models: `python docs/draw_networks.py FOLDER`.

Writes a figure `NAME.svg` for each network, and `costs.json`. A box is a map: the finer, the higher
it stands and the taller it is; the more channels, the wider. Layers that change neither size nor
channels are not shown. The features of the backbone are gray, those of the decoder blue, the
predictions orange.
"""

import dataclasses
import json
import math
import os
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent / "site"))
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gallery  # noqa: E402
import keras  # noqa: E402

import keras_dense as kd  # noqa: E402

SIDE = 256  # of the image that is drawn
COST_SIDE = 512
CLASSES = 21
BACKBONE = {"source": "mobilenet_v2", "weights": None}
# Networks with a backbone of their own, and settings that keep them small.
OWN = {"deconvnet", "dilated_context", "eigen_fergus", "lraspp", "resnet38", "segformer", "segnet"}
OWN |= {"segnet_basic", "unet", "zhang_colorization"}


@dataclasses.dataclass
class Box:
    """A map of the figure."""

    row: int  # log2 of its stride
    channels: int
    kind: str  # "backbone", "decoder" or "output"
    sources: tuple[int, ...]
    label: str = ""
    column: int = 0
    lane: int = 0


def build(name: str, side: int) -> keras.Model:
    """A network for an image of fixed size, with random weights."""
    builder = getattr(kd.models, name)
    shape = (side, side, 3)
    classes = {} if name == "zhang_colorization" else {"num_classes": CLASSES}
    if name in OWN:
        return builder(weights=None, **classes, input_shape=shape)
    return builder(kd.backbone(**BACKBONE), **classes, input_shape=shape)


def boxes(model: keras.Model) -> list[Box]:
    """The maps of a network, in the order of computation."""
    found: list[Box] = []
    known: dict[int, int | None] = {}  # box of a tensor
    for tensor in keras.tree.flatten(model.outputs):
        _box(tensor, found, known)
        index = known[id(tensor)]
        if index is not None:
            found[index].kind = "output"
    for box in found:
        box.column = 1 + max((found[source].column for source in box.sources), default=-1)
    _lanes(found)
    return found


def _box(tensor: Any, found: list[Box], known: dict[int, int | None]) -> int | None:
    """Box of a tensor; of one that is no map, the box of what it is computed from."""
    if id(tensor) in known:
        return known[id(tensor)]
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    each = [_box(source, found, known) for source in node.input_tensors]
    sources = tuple(dict.fromkeys(source for source in each if source is not None))
    if isinstance(history.operation, keras.Model):
        levels = keras.tree.flatten(history.operation.output)
        _chain(node.output_tensors, levels, sources, found, known)
        return known[id(tensor)]
    known[id(tensor)] = sources[0] if sources else None
    if len(tensor.shape) == 4 and tensor.shape[1]:
        row = max(0, round(math.log2(SIDE / tensor.shape[1])))
        channels = tensor.shape[3]
        same = len(sources) == 1 and (found[sources[0]].row, found[sources[0]].channels) == (
            row,
            channels,
        )
        if not same:
            found.append(Box(row, channels, "decoder", sources))
            known[id(tensor)] = len(found) - 1
    return known[id(tensor)]


def _chain(
    outputs: list[Any],
    levels: list[Any],
    sources: tuple[int, ...],
    found: list[Box],
    known: dict[int, int | None],
) -> None:
    """Boxes of the features of a backbone, each computed from the finer one."""
    order = sorted(range(len(outputs)), key=lambda n: -(outputs[n].shape[1] or 0))
    for n in order:
        row = max(0, round(math.log2(SIDE / outputs[n].shape[1])))
        found.append(Box(row, outputs[n].shape[-1], "backbone", sources))
        known[id(outputs[n])] = len(found) - 1
        sources = (len(found) - 1,)


def _lanes(found: list[Box]) -> None:
    """Boxes of one row and column side by side."""
    used: dict[tuple[int, int], int] = {}
    for box in found:
        place = (box.row, box.column)
        box.lane = used.get(place, 0)
        used[place] = box.lane + 1


def svg(found: list[Box]) -> str:
    """The figure; its colors are classes of the style sheet of the site."""
    rows = sorted({box.row for box in found})
    lanes = {row: 1 + max(box.lane for box in found if box.row == row) for row in rows}
    tops, y = {}, 8.0
    for row in rows:
        tops[row] = y
        y += lanes[row] * (_height(row) + 5) + 8
    step = 30
    width = 46 + step * (1 + max(box.column for box in found))
    places = []
    for box in found:
        wide, high = 3 + 1.9 * math.log2(1 + box.channels), _height(box.row)
        x = 40 + step * box.column
        places.append((x, tops[box.row] + box.lane * (high + 5), wide, high))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y:.0f}" '
        f'style="width:{width}px" role="img">'
    ]
    for row in rows:
        label = "1" if row == 0 else f"1/{2**row}"
        middle = tops[row] + _height(row) / 2 + 4
        parts.append(f'<text x="2" y="{middle:.0f}" class="kd-label">{label}</text>')
    for box, (x, top, _, high) in zip(found, places, strict=True):
        for source in box.sources:
            x0, top0, wide0, high0 = places[source]
            a, b = (x0 + wide0, top0 + high0 / 2), (x, top + high / 2)
            bend = max(6.0, (b[0] - a[0]) / 2)
            parts.append(
                f'<path class="kd-edge" d="M{a[0]:.1f} {a[1]:.1f}C{a[0] + bend:.1f} {a[1]:.1f} '
                f'{b[0] - bend:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"/>'
            )
    for box, (x, top, wide, high) in zip(found, places, strict=True):
        about = f"stride {2**box.row}, {box.channels} channels"
        parts.append(
            f'<rect class="kd-{box.kind}" x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" '
            f'height="{high:.1f}" rx="2"><title>{about}</title></rect>'
        )
    return "".join([*parts, "</svg>"])


def _height(row: int) -> float:
    return max(7.0, 40.0 - 6 * row)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    _zero_weights()
    costs = {}
    for name in (entry.name for entry in gallery.networks()):
        keras.utils.clear_session(free_memory=False)
        model = build(name, SIDE)
        (folder / f"{name}.svg").write_text(svg(boxes(model)), encoding="utf-8")
        size = (COST_SIDE, COST_SIDE)
        spent = kd.surgery.cost(build(name, COST_SIDE), size)
        costs[name] = {
            "parameters": spent.parameters,
            "multiply_adds": spent.multiply_adds,
            "peak": spent.peak,
        }
        print(name, flush=True)
    (folder / "costs.json").write_text(json.dumps(costs, indent=1), encoding="utf-8")


def _zero_weights() -> None:
    """Drawing random numbers takes most of building a network, and nothing is computed here."""
    kinds = (keras.initializers.VarianceScaling, keras.initializers.RandomNormal)
    for kind in (*kinds, keras.initializers.RandomUniform, keras.initializers.TruncatedNormal):
        kind.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)


if __name__ == "__main__":
    main()
