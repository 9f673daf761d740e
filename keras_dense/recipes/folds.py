"""Cross-validation, and the ensemble of its models."""

import copy
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_dense.heads import Heads, attach, of
from keras_dense.recipes.intervals import OWN, intervals_of, load_images, scores_of
from keras_dense.recipes.recipe import Recipe


def fold_recipes(recipe: Recipe) -> list[Recipe]:
    """Return a recipe for each fold: trained on the other folds, in its part of the time."""
    found = []
    count = len(recipe["folds"])
    for number, part in enumerate(recipe["folds"], 1):
        one = Recipe(copy.deepcopy({key: v for key, v in recipe.items() if key != "folds"}))
        one["train"], one["validation"] = part["train"], part["validation"]
        one.set("validation", None, f"Fold {number} of {count}.")
        one.set("minutes", recipe.value("minutes") / count, f"Time of one of {count} folds.")
        found.append(one)
    return found


def ensemble(models: Sequence[keras.Model]) -> keras.Model:
    """Return a model that predicts the mean of several: of probabilities, meters, normals.

    Args:
        models: models with the same heads.

    >>> from keras_dense.heads import Segmentation
    >>> def one(name):
    ...     image = keras.Input((None, None, 3))
    ...     model = keras.Model(image, keras.layers.Conv2D(5, 1)(image), name=name)
    ...     return attach(model, Segmentation(5))
    >>> ensemble([one("a"), one("b")]).output_shape
    (None, None, None, 5)
    """
    heads = Heads(of(models[0])).final()
    image = keras.Input(models[0].input_shape[1:], name="image")
    outputs = []
    for number, model in enumerate(models, 1):
        part = keras.Model(model.input, model.output, name=f"fold_{number}")
        outputs.append(heads.unpack(part(image)))

    def mean(key: str, head: Any) -> Any:
        total = sum(head.to_mean(output[key]) for output in outputs)
        return head.from_mean(total / len(outputs))

    return attach(keras.Model(image, heads.map(mean), name="ensemble"), heads.pack(heads))


def cross_validate(
    recipe: Recipe,
    out: pathlib.Path,
    run_one: Callable[[Recipe, pathlib.Path], dict[str, Any]],
    say: Callable[[str], None],
) -> tuple[keras.Model, dict[str, Any]]:
    """Train a model for each fold, in `out/fold_1`, `out/fold_2`, ….

    All folds have the number of steps that the first one measured.

    Returns:
        The ensemble, and results: the scores of all images, each by the model that was not trained
        on it.
    """
    found: list[dict[str, Any]] = []
    for number, one in enumerate(fold_recipes(recipe), 1):
        if found:
            one.set("steps", found[0]["steps"], "As in the first fold.")
            one.set("rounds", found[0]["rounds"], "As in the first fold.")
        say(f"\nfold {number} of {len(recipe['folds'])}")
        found.append(run_one(one, out / f"fold_{number}"))
    models = [keras.saving.load_model(each["model"], compile=False) for each in found]
    values = [each["score"] for each in found]
    folders = [out / f"fold_{number}" for number in range(1, len(found) + 1)]
    pooled, intervals = _pooled(found, folders)
    results: dict[str, Any] = {
        "score": float(np.mean(values)),
        "folds": found,
        "spread": float(np.std(values)),
        "steps": found[0]["steps"],
        "heads": pooled,
        "intervals": intervals,
    }
    say(f"score of {len(found)} folds: {np.mean(values):.4f} ± {np.std(values):.4f}")
    return ensemble(models), results


def _pooled(
    found: Sequence[Mapping[str, Any]], folders: Sequence[pathlib.Path]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, list]]]:
    """Scores over all folds and their intervals: of labels and objects from the counts of all
    images, others as means.
    """
    pooled: dict[str, dict[str, Any]] = {}
    intervals: dict[str, dict[str, list]] = {}
    for key, values in found[0]["heads"].items():
        pooled[key] = {
            name: float(np.mean([each["heads"][key][name] for each in found]))
            for name in values
            if all(isinstance(each["heads"][key][name], float) for each in found)
        }
        annotation = next((a for a, name in OWN.items() if name in values), None)
        if annotation is not None:
            counts = load_images(folders)[annotation]
            pooled[key] |= scores_of(annotation, counts)
            intervals[key] = intervals_of(annotation, counts)
    return pooled, intervals
