"""A model card: the facts of a run in one Markdown file, with places for what only people know."""

import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_dense import _check
from keras_dense._files import whole
from keras_dense._types import PathLike
from keras_dense.recipes.recipe import FILE, Recipe, load, tells_apart
from keras_dense.recipes.report_objects import SCORES

CARD = "model_card.md"


def card(
    run: PathLike,
    file: PathLike | None = None,
    *,
    license: str | None = None,
    data_license: str | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Write the model card of a run: data, classes, scores with intervals, limits, use.

    Everything that the run knows is filled in, as its `recipe.json` and `results.json` say it; the
    model is not loaded. What only people know (licenses, intended use, the origin of the images)
    has a line that says so: edit the file.

    Args:
        run: path of the folder of a finished run of `kd.recipes.train`.
        file: path of the card; default: `model_card.md` in the folder of the run.
        license: str, the license of the model, such as "CC-BY-4.0".
        data_license: str, the license of the images and masks.
        overwrite: bool, whether to replace a card that exists, edited or not.

    Returns:
        The path of the card.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        FileExistsError: if there is a card, without `overwrite`.
        ValueError: if the files of the run cannot be read.

    Example:

    ```python
    kd.recipes.train("images", "masks", out="run", minutes=20)
    kd.recipes.card("run", data_license="CC-BY-4.0")  # run/model_card.md
    ```
    """
    run = pathlib.Path(run)
    path = run / CARD if file is None else pathlib.Path(file)
    recipe, results = _read(run)
    if path.exists() and not _check.flag(overwrite, "overwrite"):
        raise FileExistsError(
            f"{str(path)!r} exists, perhaps edited: give `overwrite=True`, or another `file`"
        )
    parts = [
        _front(license),
        f"# Model card: {run.resolve().name}\n\n{_about(recipe, results)}",
        _section("Intended use", [_to_fill("who should use it, for what, and for what not")]),
        _section("Data", _data(recipe, data_license)),
        _section("Scores", _scores(recipe, results)),
        _section("Training", _training(recipe, results)),
        _section("Limits", _limits(recipe, results)),
        _section("Use", _use(recipe, run)),
        _section("License", [license or _to_fill("the license of the model")]),
    ]
    with whole(path) as draft:
        draft.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return path


def _read(run: pathlib.Path) -> tuple[Recipe, dict[str, Any]]:
    file = run / "results.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"`run` must be the folder of a finished run of `kd.recipes.train`: there is no "
            f"{str(file)!r}"
        )
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is not JSON: {error}") from error
    return load(run / FILE), results


def _front(license: str | None) -> str:
    """Lines that catalogues of models read."""
    lines = ["library_name: keras", "tags: [keras_dense, image-segmentation]"]
    lines += [f"license: {json.dumps(license)}"] if license else []
    return "\n".join(["---", *lines, "---"])


def _to_fill(what: str) -> str:
    return f"*To be filled in: {what}*"


def _section(title: str, parts: Iterable[str]) -> str:
    return "\n\n".join([f"## {title}", *parts])


def _about(recipe: Recipe, results: Mapping[str, Any]) -> str:
    kinds = [name for name in ("masks", "depth", "normals") if recipe["data"].get(name)]
    names = {"masks": "labels", "depth": "depth in meters", "normals": "surface normals"}
    found = [names[kind] for kind in kinds]
    if tells_apart(recipe):
        found[0] = "numbered objects"
    network, backbone = recipe.value("network"), recipe.value("backbone")
    weights = recipe.value("weights")
    start = "random weights" if weights is None else f"weights: {weights}"
    lines = [
        f"A model of keras_dense that predicts {', '.join(found)} at every pixel of an RGB image."
    ]
    lines.append(f"Network: `{network}` on `{backbone}` ({start}).")
    if "folds" in results:
        lines.append(f"It is the mean of {len(results['folds'])} networks of a cross-validation.")
    return " ".join(lines)


def _data(recipe: Recipe, license: str | None) -> Iterator[str]:
    train, held = len(recipe["train"]), len(recipe["validation"])
    yield f"Images to train on: {train}, held out: {held}." if held else f"Images: {train}."
    yield "\n".join(f"- {text}" for text in recipe["said"])
    origin = "who took the images, where, when, with what; who drew the masks"
    yield f"Origin: {_to_fill(origin)}"
    yield f"License: {license or _to_fill('the license of the images and masks')}"
    yield f"People: {_to_fill('whether persons can be recognized, and whether they agreed')}"


def _scores(recipe: Recipe, results: Mapping[str, Any]) -> Iterator[str]:
    held = results.get("images", {}).get("validation", len(recipe["validation"]))
    whole_set = "all images, each by a model that was not trained on it"
    yield (
        f"Scored on {whole_set if 'folds' in results else f'the held-out images ({held})'}, at "
        "their own size. Intervals: 95 %, by bootstrap over images; a dash where there are too few."
    )
    for key, values in results["heads"].items():
        ends = results.get("intervals", {}).get(key, {})
        names = [name for name in SCORES if name in values] if "pq" in values else list(values)
        rows = [
            (name.replace("_", " "), _number(values[name]), _interval(ends.get(name)))
            for name in names
            if not isinstance(values[name], list) and values[name] is not None
        ]
        title = f"**{key}**\n\n" if key else ""
        yield title + _table(("score", "value", "95 % interval"), rows)
        if isinstance(values.get("iou"), list):
            yield _classes(recipe, values, ends)
    if results.get("calibration_error") is not None:
        yield f"Expected calibration error of the labels: {_number(results['calibration_error'])}."


def _classes(recipe: Recipe, values: Mapping[str, Any], ends: Mapping[str, Any]) -> str:
    facts = {each["name"]: each for each in recipe["data"].get("classes", ())}
    rows = []
    for n, name in enumerate(recipe["data"]["read"]["class_names"]):
        fact = facts.get(name, {})
        share = f"{100 * fact['share']:.2g} %" if "share" in fact else "–"
        interval = _interval(ends["iou"][n]) if "iou" in ends else "–"
        dice = _number(values["dice"][n]) if "dice" in values else "–"
        iou = _number(values["iou"][n])
        rows.append((name, share, str(fact.get("images", "–")), iou, interval, dice))
    titles = ("class", "share of pixels", "images", "IoU", "95 % interval", "Dice")
    return _table(titles, rows)


def _training(recipe: Recipe, results: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (name.replace("_", " "), f"`{json.dumps(choice['value'])}`", choice["why"])
        for name, choice in recipe["choices"].items()
        if choice["value"] is not None
    ]
    steps = f"{results['steps']} steps. " if results.get("steps") else ""
    yield f"{steps}{results['seconds']:,.0f} seconds in all. The choices, from `{FILE}`:"
    yield _table(("choice", "value", "reason"), rows)


def _limits(recipe: Recipe, results: Mapping[str, Any]) -> Iterator[str]:
    lines = list(recipe["warned"])
    lines.append("Images unlike those above (cameras, light, places, sizes) were not tried.")
    if "candidates" in results:
        lines.append(
            f"The held-out images chose the final weights among {len(results['candidates'])} "
            "candidates: their scores are a little too good. Keep other images for a last test."
        )
    lines.append("Intervals speak about other images of this kind, not about another training.")
    for key, values in results["heads"].items():
        poor = _missed(recipe, values)
        if poor:
            where = f" of {key}" if key else ""
            lines.append(f"Hardly found (IoU below .1){where}: {', '.join(poor)}.")
    yield "\n".join(f"- {text}" for text in lines)
    yield _to_fill("known failures, and harm that a wrong prediction can do")


def _missed(recipe: Recipe, values: Mapping[str, Any]) -> list[str]:
    scores = values.get("iou")
    if not isinstance(scores, list):
        return []
    names = recipe["data"]["read"]["class_names"]
    return [name for name, iou in zip(names, scores, strict=True) if iou is not None and iou < 0.1]


def _use(recipe: Recipe, run: pathlib.Path) -> Iterator[str]:
    last = (
        "maps = kd.decoded(model).predict(image[None])[0]\n"
        "numbers = kd.heads.of(model).objects(maps)  # 0 is background"
        if tells_apart(recipe)
        else "results = kd.decoded(model).predict(image[None])"
    )
    yield (
        "```python\nimport keras\nimport keras_dense as kd\n\n"
        f'model = keras.saving.load_model("{(run / "model.keras").name}", compile=False)\n'
        f"{last}\n```"
    )
    yield "Images are RGB, 0–255, of any size; objects should be as large as in training."


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None or any(end is None or not math.isfinite(end) for end in ends):
        return "–"
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
