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
from keras_dense.recipes.recipe import Recipe
from keras_dense.recipes.rounds import SCORE, window
from keras_dense.recipes.scores import Scored, predict

_SHOWN = 4  # best and worst images
_CONFUSIONS = 8  # pairs of classes that are listed
_MATRIX = 40  # classes of the largest matrix that is drawn
_TILE = 250
_LARGEST = 1400  # pixels of the side of an image that is drawn; of larger ones the center


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
    key, head = next(((k, h) for k, h in found.items() if h.annotation == "labels"), ("", None))
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
    if head is not None and scored.matrix is not None:
        parts += [
            page.section("Classes", _classes(head, scored.heads[key], scored.matrix)),
            page.section("Worst and best images", _extremes(model, found, key, val, scored)),
            page.section("Where classes are confused", _confusion(head, scored.matrix)),
            page.section("Calibration", _calibration(scored)),
        ]
    others = {k: v for k, v in scored.heads.items() if head is None or k != key}
    if others:
        parts.append(page.section("Other predictions", _others(others, model, found, val, key)))
    parts.append(page.section("How to use the model", _commands(out, results)))
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
        page.section("Classes, over all folds", _pooled(recipe, results)),
        page.section(
            "What was found",
            page.paragraphs(recipe["said"]),
            page.paragraphs(recipe["warned"], "warning"),
        ),
        page.section("What was chosen, and why", _choices(recipe)),
        page.section("How to use the model", _commands(out, results)),
    ]
    path = out / "report.html"
    with whole(path) as draft:
        draft.write_text(page.page(f"Report of {out.resolve().name}", parts), encoding="utf-8")
    return path


def _pooled(recipe: Recipe, results: Mapping[str, Any]) -> str:
    for values in results["heads"].values():
        if "iou" in values:
            columns = ("iou", "dice", "accuracy", "precision")
            names = recipe["data"]["read"]["class_names"]
            rows = [
                (name, *(_percent(values[column][i]) for column in columns))
                for i, name in enumerate(names)
            ]
            rows.append(("mean", *(_percent(values[f"mean_{column}"]) for column in columns)))
            return page.table(("class", "IoU", "Dice", "recall", "precision"), rows, 1)
    return ""


def _summary(recipe: Recipe, scored: Scored, results: Mapping[str, Any]) -> str:
    lines = []
    for key, values in scored.heads.items():
        numbers = {
            name: value for name, value in values.items() if np.ndim(value) == 0 and value == value
        }
        shown = ", ".join(
            f"{name.replace('_', ' ')} {value:.3f}" for name, value in numbers.items()
        )
        lines.append(f"{key or 'Labels'}: {shown}")
    lines.append(
        f"On {len(recipe['validation'])} images that were held out, at their own size; trained on "
        f"{len(recipe['train'])} images, {results['steps']} steps."
    )
    return page.paragraphs(lines)


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


def _classes(head: Any, values: Mapping[str, Any], matrix: Array) -> str:
    truth = matrix.sum(1)
    rows = []
    for i, name in enumerate(head.class_names):
        numbers = [values[column][i] for column in ("iou", "dice", "accuracy", "precision")]
        share = 100 * truth[i] / max(truth.sum(), 1)
        rows.append((page.swatch(head.palette[i]), name, *map(_percent, numbers), f"{share:.2f}"))
    names = ("mean_iou", "mean_dice", "mean_accuracy", "mean_precision")
    rows.append(("", "mean", *(_percent(values[name]) for name in names), ""))
    head_row = ("", "class", "IoU", "Dice", "recall", "precision", "share of pixels")
    note = "Percent; a class that does not occur in the held-out images has a dash."
    return page.table(head_row, rows, 2) + page.paragraphs([note])


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def _extremes(model: keras.Model, heads: Heads, key: str, val: Any, scored: Scored) -> str:
    """Image, truth, prediction and error of the images with the lowest and the highest IoU."""
    order = sorted(
        (i for i, (_, value) in enumerate(scored.images) if value == value),
        key=lambda i: scored.images[i][1],
    )
    worst = order[:_SHOWN]
    best = [i for i in order[::-1][:_SHOWN] if i not in worst]
    return "".join(
        page.inline_image(
            _panel(model, heads, key, val, which), "; ".join(_caption(scored, i) for i in which)
        )
        for which in (worst, best)
        if which
    )


def _caption(scored: Scored, index: int) -> str:
    name, value = scored.images[index]
    return f"{pathlib.Path(name).name}: mean IoU {value:.3f}"


def _panel(model: keras.Model, heads: Heads, key: str, val: Any, which: Sequence[int]) -> Array:
    head, rows = heads[key], []
    for index in which:
        sample = window(check_sample(val[index]), most=_LARGEST)
        logits = predict(model, sample["image"], heads)[key]
        labels = keras.ops.convert_to_numpy(head.decode(logits, sample["image"][None]))[0]
        rows.append((sample["image"], np.asarray(head.encode(sample)), labels))
    images, truths, guesses = (list(column) for column in zip(*rows, strict=True))
    return plot.panel(
        images, truths, guesses, head.palette, class_names=head.class_names, tile=_TILE
    )


def _confusion(head: Any, matrix: Array) -> str:
    names = head.class_names
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = [(shares[i, j], i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    wrong = [(share, i, j) for share, i, j in sorted(wrong, reverse=True) if share > 0.005]
    lines = [
        f"{100 * share:.1f} % of {names[i]} is taken for {names[j]} ({matrix[i, j]:,} pixels)."
        for share, i, j in wrong[:_CONFUSIONS]
    ]
    if len(names) > _MATRIX:
        return page.paragraphs(lines)
    rows = []
    for i, name in enumerate(names):
        cells: list[str] = [name]
        cells += [_cell(shares[i, j], i == j) for j in range(len(names))]
        rows.append(cells)
    note = "Rows are the truth, columns the prediction, in percent of the row."
    return page.paragraphs([*lines, note]) + page.table(("", *names), rows, 1)


def _cell(share: float, right: bool) -> str:
    color = "106,154,60" if right else "200,55,45"
    style = f"background: rgba({color},{0.75 * share:.2f})"
    if share < 0.005:
        return ""
    return page.Markup(f'<span style="{style}">{100 * share:.0f}</span>')


def _calibration(scored: Scored) -> str:
    if scored.bins is None:
        return ""
    count, confidence, right = scored.bins.sum(1)
    error = scored.calibration_error
    tends = "too sure" if confidence > right else "not sure enough"
    line = (
        f"Confidence is {100 * confidence / max(count, 1):.1f} % on average, and "
        f"{100 * right / max(count, 1):.1f} % of the pixels are right: the model is {tends}. The "
        f"expected calibration error is {100 * error:.1f} %."
    )
    title = "Share of right pixels over their confidence; the line is a model that knows"
    return page.paragraphs([line]) + page.reliability(scored.bins, title)


def _others(values, model, heads, val, labels) -> str:
    rows = [
        (key or "prediction", name, f"{value:.4g}")
        for key, scores in values.items()
        for name, value in scores.items()
    ]
    drawings = []
    for index in np.linspace(0, len(val) - 1, min(len(val), _SHOWN)).round().astype(int):
        sample = window(check_sample(val[int(index)]), most=_LARGEST)
        found = predict(model, sample["image"], heads)
        shown: dict[str, Array] = {}
        for key in values:
            head = heads[key]
            truth = np.asarray(head.encode(sample))
            guess = keras.ops.convert_to_numpy(head.decode(found[key], sample["image"][None]))[0]
            name = key or type(head).__name__.lower()
            shown |= {f"{name}: truth": head.draw(truth), f"{name}: prediction": head.draw(guess)}
        drawings.append(page.inline_image(plot.tasks(sample["image"], shown, tile=_TILE)))
    return page.table(("head", "score", "value"), rows, 2) + "".join(drawings)


def _commands(out: pathlib.Path, results: Mapping[str, Any]) -> str:
    model = out / "model.keras"
    lines = [
        "# labels of a folder of images, as files and over the images",
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
        "product = kd.decoded(model)             # labels instead of logits",
        "labels = product.predict(image[None])   # uint8 RGB, any size",
        f"kd.recipes.train(recipe={str(out / 'recipe.json')!r}, out='again')  # the same again",
    ]
    blocks = ("\n".join(lines), "\n".join(python))
    return "".join(f"<pre>{page.text(block)}</pre>" for block in blocks)
