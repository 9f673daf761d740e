"""Report of a run: one HTML file, with all images inside and nothing outside."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

import keras_dense.plot as plot
from keras_dense._files import whole
from keras_dense._types import Array
from keras_dense.datasets import check_sample
from keras_dense.heads import Heads
from keras_dense.recipes import page
from keras_dense.recipes.recipe import Recipe, tells_apart
from keras_dense.recipes.report_labels import LARGEST, TILE, classes_table, labels_parts
from keras_dense.recipes.report_objects import SCORES, objects_parts, objects_table
from keras_dense.recipes.rounds import SCORE, window
from keras_dense.recipes.scores import Scored, predict

_SHOWN = 4  # images
_FIND_LABELS = (
    "product = kd.decoded(model)             # labels instead of logits",
    "labels = product.predict(image[None])   # uint8 RGB, any size",
)
_FIND_OBJECTS = (
    "maps = kd.decoded(model).predict(image[None])[0]  # uint8 RGB, any size",
    "numbers = kd.heads.of(model).objects(maps)        # 0 is background",
)


def write_report(
    recipe: Recipe,
    model: keras.Model,
    heads: Any,
    val: Any,
    scored: Scored,
    results: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    out: pathlib.Path,
) -> pathlib.Path:
    """Write `report.html`.

    Args:
        recipe: of the run.
        model: with its final weights.
        heads: of the model.
        val: data set that was scored.
        scored: scores of the model.
        results: as in `results.json`.
        history: of the rounds.
        out: folder of the run.

    Returns:
        The path of the report.
    """
    found = Heads(heads).final()
    where = {h.annotation: k for k, h in found.items()}
    parts = [
        _summary(recipe, scored, results),
        page.section(
            "What was found",
            page.paragraphs(recipe["said"]),
            page.paragraphs(recipe["warned"], "warning"),
        ),
        page.section("What was chosen, and why", _choices(recipe)),
        page.section("Training", _curves(history), _candidates(results)),
    ]
    if "labels" in where:
        parts += labels_parts(model, found, where["labels"], val, scored, results)
    if "instances" in where:
        parts += objects_parts(model, found, where["instances"], val, scored, results)
    others = {k: scored.heads[k] for k, h in found.items() if h.annotation in ("depth", "array")}
    if others:
        parts.append(page.section("Other predictions", _others(others, model, found, val)))
    parts.append(page.section("How to use the model", _commands(recipe, out, results)))
    path = out / "report.html"
    with whole(path) as draft:
        draft.write_text(page.page(f"Report of {out.resolve().name}", parts), encoding="utf-8")
    return path


def write_summary(recipe: Recipe, results: Mapping[str, Any], out: pathlib.Path) -> pathlib.Path:
    """Write the report of a cross-validation; each fold has a report of its own."""
    rows = [
        (f"fold_{i}", f"{each['score']:.4f}", len(recipe["folds"][i - 1]["validation"]))
        for i, each in enumerate(results["folds"], 1)
    ]
    mean = (
        f"Score of {len(rows)} folds: {results['score']:.4f}, standard deviation "
        f"{results['spread']:.4f}. Each image was scored by the model that was not trained on it; "
        "model.keras predicts the mean of all of them, which is usually better."
    )
    parts = [
        page.paragraphs([mean]),
        page.section("Folds", page.table(("folder", "score", "images"), rows, 1)),
        page.section("Scores, over all folds", _pooled(recipe, results)),
        page.section(
            "What was found",
            page.paragraphs(recipe["said"]),
            page.paragraphs(recipe["warned"], "warning"),
        ),
        page.section("What was chosen, and why", _choices(recipe)),
        page.section("How to use the model", _commands(recipe, out, results)),
    ]
    path = out / "report.html"
    with whole(path) as draft:
        draft.write_text(page.page(f"Report of {out.resolve().name}", parts), encoding="utf-8")
    return path


def _pooled(recipe: Recipe, results: Mapping[str, Any]) -> str:
    for key, values in results["heads"].items():
        ends = results["intervals"].get(key, {})
        if "pq" in values:
            return objects_table(values, ends)
        if "iou" in values:
            return classes_table(recipe["data"]["read"]["class_names"], values, ends)
    return ""


def _summary(recipe: Recipe, scored: Scored, results: Mapping[str, Any]) -> str:
    lines = []
    for key, values in scored.heads.items():
        ends = results["intervals"].get(key, {})
        names = [name for name in SCORES if name in values] if "pq" in values else list(values)
        shown = ", ".join(
            _score(name, values[name], ends.get(name))
            for name in names
            if np.ndim(values[name]) == 0 and values[name] == values[name]
        )
        lines.append(f"{key or ('Objects' if 'pq' in values else 'Labels')}: {shown}")
    lines.append(
        f"On {len(recipe['validation'])} images that were held out, at their own size; trained on "
        f"{len(recipe['train'])} images, {results['steps']} steps."
    )
    return page.paragraphs(lines)


def _score(name: str, value: float, ends: Sequence[float] | None) -> str:
    known = ends is not None and all(map(math.isfinite, ends))
    interval = f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends is not None and known else ""
    return f"{name.replace('_', ' ')} {value:.3f}{interval}"


def _choices(recipe: Recipe) -> str:
    rows = [
        (name.replace("_", " "), json.dumps(choice["value"]), choice["why"])
        for name, choice in recipe["choices"].items()
    ]
    return page.table(("choice", "value", "reason"), rows)


def _curves(history: Mapping[str, Sequence[float]]) -> str:
    loss, score = history.get("loss", ()), history.get(SCORE, ())
    return page.curves({"loss": loss}, "Loss of each round") + page.curves(
        {"validation": score}, "Validation score after each round"
    )


def _candidates(results: Mapping[str, Any]) -> str:
    rows = [(name, f"{value:.4f}") for name, value in results["candidates"].items()]
    why = "Final weights are those of the candidate with the best validation score."
    return page.paragraphs([why]) + page.table(("weights", "score"), rows, 1)


def _others(values, model, heads, val) -> str:
    rows = [
        (key or "prediction", name, f"{value:.4g}")
        for key, scores in values.items()
        for name, value in scores.items()
    ]
    drawings = []
    for index in np.linspace(0, len(val) - 1, min(len(val), _SHOWN)).round().astype(int):
        sample = window(check_sample(val[int(index)]), most=LARGEST)
        found = predict(model, sample["image"], heads)
        shown: dict[str, Array] = {}
        for key in values:
            head = heads[key]
            truth = np.asarray(head.encode(sample))
            guess = keras.ops.convert_to_numpy(head.decode(found[key], sample["image"][None]))[0]
            name = key or type(head).__name__.lower()
            shown |= {f"{name}: truth": head.draw(truth), f"{name}: prediction": head.draw(guess)}
        drawings.append(page.inline_image(plot.tasks(sample["image"], shown, tile=TILE)))
    return page.table(("head", "score", "value"), rows, 2) + "".join(drawings)


def _commands(recipe: Recipe, out: pathlib.Path, results: Mapping[str, Any]) -> str:
    model = out / "model.keras"
    lines = [
        "# predictions of a folder of images, as files and over the images",
        f"python -m keras_dense predict {model} photographs --out labels --overlay",
        "# scores on other images and masks",
        f"python -m keras_dense evaluate {model} other/images other/masks",
        "# what the model is",
        f"python -m keras_dense info {model}",
    ]
    exports = results["exports"]
    if "savedmodel" in exports:
        folder = pathlib.Path(exports["savedmodel"]).resolve().parent
        lines += [
            "# served over HTTP and gRPC",
            f'docker run -p 8501:8501 -v "{folder}:/models/model" tensorflow/serving',
        ]
    else:
        lines += [
            "# a SavedModel, for TensorFlow Serving (needs TensorFlow)",
            f"python -m keras_dense export {model} savedmodel {out / 'export/savedmodel/1'}",
        ]
    if "onnx" in exports:
        lines += [
            "# served over HTTP without Keras (examples/serving/server.py)",
            f"python examples/serving/server.py {exports['onnx']}",
        ]
    else:
        lines += [
            "# ONNX, for ONNX Runtime and others (needs keras_dense[export])",
            f"python -m keras_dense export {model} onnx {out / 'export/model.onnx'}",
        ]
    python = [
        "import keras, keras_dense as kd",
        "",
        f"model = keras.saving.load_model({str(model)!r}, compile=False)",
        *(_FIND_OBJECTS if tells_apart(recipe) else _FIND_LABELS),
        f"kd.recipes.train(recipe={str(out / 'recipe.json')!r}, out='again')  # the same again",
    ]
    blocks = ("\n".join(lines), "\n".join(python))
    return "".join(f"<pre>{page.text(block)}</pre>" for block in blocks)
