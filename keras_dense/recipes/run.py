"""From two folders to a trained model, its report and its exports."""

import copy
import json
import math
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._files import whole
from keras_dense._types import PathLike
from keras_dense.recipes.choose import check, choose
from keras_dense.recipes.data import dataset_of
from keras_dense.recipes.deliver import deliver
from keras_dense.recipes.fit import finish, fit
from keras_dense.recipes.folds import cross_validate
from keras_dense.recipes.intervals import save_images
from keras_dense.recipes.look import look
from keras_dense.recipes.network import heads_of
from keras_dense.recipes.recipe import FILE, Recipe, load
from keras_dense.recipes.report import write_report, write_summary
from keras_dense.recipes.rounds import Line, duration
from keras_dense.recipes.speed import fix_length, measure, set_rounds

RESULTS = "results.json"


def train(
    images: PathLike | None = None,
    masks: PathLike | None = None,
    *,
    out: PathLike,
    recipe: Recipe | PathLike | None = None,
    depth: PathLike | None = None,
    normals: PathLike | None = None,
    kind: str | None = None,
    classes: Sequence[str] | int | None = None,
    palette: Any = None,
    void: Sequence[int] = (),
    recursive: bool = False,
    exports: Sequence[str] | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    progress: bool | Callable[[str], None] = True,
    **choices: Any,
) -> dict[str, Any]:
    """Train a model on a folder of images and a folder of masks, in a given time.

    Looks at the data, chooses how to train with a reason for each choice (`recipe.json`), measures
    how long a step takes, trains, chooses the final weights by validation, and writes a report. The
    same call continues a run that was stopped, even by `kill -9`, to the same numbers.

    The folder of the run has `recipe.json`, `model.keras` (which knows its heads, names and
    colors), `report.html`, `results.json`, `history.csv`, `images.npz` (counts of each validation
    image), `preview/` and `export/`.

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks; see `look` for it, and for `depth`, `normals`, `kind`,
            `classes`, `palette`, `void` and `recursive`.
        out: path of the folder of the run.
        recipe: a `Recipe`, or the path of one, to train by it; it replaces all arguments that are
            not about the run itself.
        depth, normals, kind, classes, palette, void, recursive: see `look`.
        exports: formats to write beside the model, such as `["savedmodel", "onnx"]`; by default
            those whose packages are installed, `[]` for none.
        dry_run: bool, whether to look and choose only; the recipe is written.
        overwrite: bool, whether to remove a run with other arguments that is in `out`.
        workers: int >= 1, number of threads that read images.
        progress: bool, whether to print what is found, chosen and done; or a function that takes
            each line.
        **choices: arguments of `choose`: `network`, `backbone`, `weights`, `minutes`, `validation`,
            `folds`, `seed`, and every choice of a recipe by its name, such as `crop=[256, 256]`.

    Returns:
        A dict, as in `results.json`: "score", "heads" (scores of each), "intervals" (95 % over the
        validation images), "candidates", "model",
        "report", "exports", "steps", "seconds". With `dry_run` the `Recipe`.

    Raises:
        FileNotFoundError: if a folder or a file is missing.
        ValueError: for data or arguments that do not fit; if `out` holds a run with other ones.

    Example:

    ```python
    results = kd.recipes.train("images", "masks", out="run", minutes=20)
    model = keras.saving.load_model("run/model.keras")
    ```
    """
    began = time.perf_counter()
    out = pathlib.Path(out)
    say = progress if callable(progress) else (_print if progress else _silent)
    if (images is None) == (recipe is None):
        which = "neither" if recipe is None else "both"
        raise ValueError(f"Give either `images` or `recipe`. Received: {which}")
    workers = _check.integer(workers, "workers", low=1)
    looking = {"depth": depth, "normals": normals, "kind": kind, "classes": classes}
    looking |= {"palette": palette, "void": list(void), "recursive": recursive}
    given = {"images": images, "masks": masks, "recipe": recipe, **looking, **choices}
    done = _prepare(out, given, overwrite)
    if done is not None and not dry_run:
        say(f"this run is finished: score {done['score']:.4f}, see {out / 'report.html'}")
        return done
    chosen = recipe is None and not (out / FILE).exists()
    found = _recipe(out, images, masks, recipe, looking, choices, workers, say)
    if chosen or dry_run:
        say(str(found))
    if dry_run:
        found.save(out / FILE)
        say(f"\n{out / FILE} can be edited, and trained by with --recipe")
        return found
    if "folds" in found:
        return _run_folds(found, out, exports, workers, say, began)
    return _run(found, out, exports, workers, say, began)


def _print(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    """Print nothing."""


def _prepare(out: pathlib.Path, given: Mapping[str, Any], overwrite: bool) -> dict | None:
    """Compare arguments with those of a run in the folder; results if it is finished."""
    file = out / "arguments.json"
    now = {key: _text(value) for key, value in given.items() if value not in (None, [])}
    then = None
    if file.exists():
        then = json.loads(file.read_text(encoding="utf-8"))
    begun = any((out / "checkpoints").glob("epoch_*")) or (out / RESULTS).exists()
    if then == now:
        if (out / RESULTS).exists() and not overwrite:
            return json.loads((out / RESULTS).read_text(encoding="utf-8"))
        if not overwrite:
            return None
    elif begun and not overwrite:
        before = then or {}
        names = [n for n in sorted({*before, *now}) if before.get(n) != now.get(n)]
        changes = ", ".join(f"{n} ({before.get(n)} then, {now.get(n)} now)" for n in names)
        raise ValueError(
            f"`out` must be a new folder, or overwrite must be given: {str(out)!r} holds a run "
            f"with other arguments. Received other values of: {changes}"
        )
    # A first try that did not get to its first round does not block a corrected one.
    for name in ("checkpoints", "weights", "preview"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (RESULTS, FILE, "history.csv"):
        (out / name).unlink(missing_ok=True)
    with whole(file) as draft:
        draft.write_text(json.dumps(now, indent=1), encoding="utf-8")
    return None


def _text(value: Any) -> str:
    if isinstance(value, Recipe):
        return json.dumps(value, sort_keys=True, default=str)
    path = pathlib.Path(value) if isinstance(value, (str, pathlib.Path)) else None
    if path is not None and path.suffix == ".json" and path.is_file():
        return path.read_text(encoding="utf-8")
    if path is not None and path.exists():
        return str(path.resolve())
    return str(np.asarray(value).tolist()) if isinstance(value, np.ndarray) else str(value)


def _recipe(out, images, masks, recipe, looking, choices, workers, say) -> Recipe:
    """The recipe of a run: that of the folder if it is continued, else given, else chosen."""
    if (out / FILE).exists():
        found = load(out / FILE)
        check(found)
        return found
    if recipe is not None:
        if choices:
            raise ValueError(
                f"`recipe` holds all choices: edit it. Received: also {', '.join(choices)}"
            )
        found = Recipe(copy.deepcopy(dict(recipe))) if isinstance(recipe, Recipe) else load(recipe)
        check(found)
        return found
    line = Line(say is not _silent)
    findings = look(images, masks, **looking, workers=workers, progress=line.show)
    line.clear()
    say(f"{findings}\n")
    return choose(findings, **choices)


def _depth_range(recipe: Recipe, train: Any) -> tuple[float, float] | None:
    if "depth" not in recipe["data"]:
        return None
    if "depth_range" not in recipe["choices"]:
        values = [
            np.percentile(depth[known], (1, 99.5))
            for depth in (train[i]["depth"] for i in range(0, len(train), -(-len(train) // 30)))
            if (known := np.isfinite(depth) & (depth > 0)).any()
        ]
        if not values:
            raise ValueError("`depth` must have known pixels. Received: none")
        low, high = np.min(values, 0)[0], np.max(values, 0)[1]
        span = [round(float(low) / 1.5, 4), round(float(high) * 1.25, 4)]
        recipe.set("depth_range", span, "Meters: somewhat more than the training images show.")
    low, high = recipe.value("depth_range")
    return low, high


def _run(
    recipe: Recipe,
    out: pathlib.Path,
    exports: Sequence[str] | None,
    workers: int,
    say: Any,
    began: float,
) -> dict[str, Any]:
    train_data, val = (dataset_of(recipe, recipe[part]) for part in ("train", "validation"))
    heads = heads_of(recipe, _depth_range(recipe, train_data))
    if recipe.value("steps") is None:
        say("\nmeasuring the time of a step")
        speed = measure(recipe, heads, train_data, val, workers)
        fix_length(recipe, speed, time.perf_counter() - began, exports != [])
        for text in recipe["warned"][-1:]:
            say(f"! {text}")
    elif recipe.value("rounds") is None:
        set_rounds(recipe)
    recipe.save(out / FILE)
    say(
        f"{recipe.value('steps')} steps of {recipe.value('batch_size')} windows: "
        f"{recipe['choices']['steps']['why']}"
    )
    model, history = fit(recipe, heads, train_data, val, out, say, workers)
    scored, tried = finish(recipe, model, heads, train_data, val, out, history, say)
    if scored.counts:
        save_images(scored.counts, [name for name, _ in scored.images], out)
    delivered = deliver(model, out, exports, say)
    results: dict[str, Any] = {
        "score": scored.score,
        "heads": scored.heads,
        "intervals": scored.intervals(),
        "candidates": tried,
        "calibration_error": scored.calibration_error,
        "images": {"train": len(recipe["train"]), "validation": len(recipe["validation"])},
        "model": str(out / "model.keras"),
        "exports": delivered,
        "steps": recipe.value("steps"),
        "rounds": recipe.value("rounds"),
        "matrix": None if scored.matrix is None else scored.matrix.tolist(),
    }
    results["report"] = str(write_report(recipe, model, heads, val, scored, results, history, out))
    found = _finished(results, out, began)
    say(
        f"score {scored.score:.4f} in {duration(found['seconds'])}; model.keras and report.html "
        f"are in {out}"
    )
    return found


def _run_folds(recipe, out, exports, workers, say, began) -> dict[str, Any]:
    recipe.save(out / FILE)

    def one(part: Recipe, folder: pathlib.Path) -> dict[str, Any]:
        return train(recipe=part, out=folder, exports=[], workers=workers, progress=say)

    model, results = cross_validate(recipe, out, one, say)
    results |= {"model": str(out / "model.keras"), "exports": deliver(model, out, exports, say)}
    results["report"] = str(write_summary(recipe, results, out))
    found = _finished(results, out, began)
    say(f"the mean of all folds is model.keras in {out}; report.html has their scores")
    return found


def _finished(results: dict[str, Any], out: pathlib.Path, began: float) -> dict[str, Any]:
    """Write the results; numbers that are not finite, which JSON does not have, are `None`."""
    results["seconds"] = round(time.perf_counter() - began, 1)
    found = _plain(results)
    with whole(out / RESULTS) as draft:
        draft.write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
