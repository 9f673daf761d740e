"""Length of a training: measured steps, and the number of them that a time budget holds."""

import dataclasses
import time
from typing import Any

import keras
import numpy as np

import keras_dense.datasets as datasets
from keras_dense.recipes import numbers as N
from keras_dense.recipes.data import (
    Stretched,
    augmentation,
    plain_batches,
    recalibration_images,
)
from keras_dense.recipes.network import build, compile_for
from keras_dense.recipes.recipe import Recipe
from keras_dense.recipes.scores import score

_CANDIDATES = 2  # of the final weights, as a rule
_WARM, _TIMED, _SECONDS = 2, 8, 20.0


@dataclasses.dataclass
class Speed:
    """Seconds of the parts of a training.

    Attributes:
        start: until the first step is done: building, compiling, reading.
        step: one training step.
        image: validation of one image.
        recalibration: one whole training image through the network in training mode.
    """

    start: float
    step: float
    image: float
    recalibration: float


def measure(recipe: Recipe, heads: Any, train: Any, val: Any, workers: int = 2) -> Speed:
    """Time some steps of a network that is thrown away."""
    began = time.perf_counter()
    model = build(recipe, heads)
    compile_for(recipe, model, 1000)
    batch = recipe.value("batch_size")
    stretched = Stretched(train, batch * (_WARM + _TIMED), recipe.value("seed"))
    loader = datasets.Loader(
        stretched, heads, batch, transforms=augmentation(recipe), workers=workers
    )
    steps: list[float] = []
    for number in range(_WARM + _TIMED):
        before = time.perf_counter()
        model.train_on_batch(*loader[number])
        steps.append(time.perf_counter() - before)
        if number >= _WARM + 2 and sum(steps[_WARM:]) > _SECONDS:
            break
    start = time.perf_counter() - began - sum(steps[_WARM:])
    image = _time_images(model, val, heads)
    recalibration = _time_recalibration(recipe, model, train)
    return Speed(start, float(np.mean(steps[_WARM:])), image, recalibration)


def _time_images(model: keras.Model, val: Any, heads: Any) -> float:
    """Mean seconds of scoring an image, without those that compile."""
    times = []
    for number in range(min(len(val), 5) + 1):
        before = time.perf_counter()
        score(model, datasets.subset(val, [number % len(val)]), heads)
        times.append(time.perf_counter() - before)
    return float(np.mean(times[len(times) // 2 :]))


def _time_recalibration(recipe: Recipe, model: keras.Model, train: Any) -> float:
    images = next(iter(plain_batches(recipe, train, 2 * recipe.value("batch_size"))))[0]
    times = []
    for _ in range(2):  # the first one prepares much
        before = time.perf_counter()
        model(images, training=True)
        times.append(time.perf_counter() - before)
    return min(times) / len(images)


def fix_length(recipe: Recipe, speed: Speed, spent: float, exports: bool = True) -> None:
    """Set the number of steps and rounds, so that all of it ends in time.

    Args:
        recipe: changed in place.
        speed: measured.
        spent: float, seconds that have passed already.
        exports: bool, whether exports are written at the end.
    """
    budget = 60 * recipe.value("minutes")
    images = len(recipe["validation"])
    recalibrated = recalibration_images(recipe)
    affordable = N.RECALIBRATION_TIME * budget / (_CANDIDATES * speed.recalibration)
    if recalibrated > max(affordable, recipe.value("batch_size")):
        recalibrated = max(int(affordable), recipe.value("batch_size"))
        why = f"{100 * N.RECALIBRATION_TIME:.0f} % of the time hold statistics over so many images."
        recipe.set("batch_norm", {**recipe.value("batch_norm"), "recalibrate": recalibrated}, why)
    # The candidates are recalibrated, three sets of weights scored, and the best one is drawn.
    end = _CANDIDATES * recalibrated * speed.recalibration + 4 * images * speed.image + 10
    end += N.EXPORT_SECONDS if exports else 0.0
    each = min(images, N.VALIDATION_IN_ROUNDS) * speed.image + 2.0
    left = budget * (1 - N.RESERVE) - spent - speed.start - end
    rounds = N.ROUNDS
    steps = (left - rounds * each) / speed.step
    if steps > rounds * N.STEPS_PER_ROUND:
        # Longer trainings are validated as often.
        steps = left / (speed.step + each / N.STEPS_PER_ROUND)
        rounds = round(steps / N.STEPS_PER_ROUND)
    most = int(N.EPOCHS * len(recipe["train"]) / recipe.value("batch_size"))
    why = (
        f"{recipe.value('minutes'):g} minutes: {speed.step:.2f} s for a step, {speed.image:.2f} s "
        f"for a validated image, {end:.0f} s for the end."
    )
    if steps < N.LEAST_STEPS:
        recipe["warned"].append(
            f"{recipe.value('minutes'):g} minutes hold {max(steps, 0):.0f} steps of "
            f"{speed.step:.2f} s, too few to learn; {N.LEAST_STEPS} are trained, which takes "
            f"{(N.LEAST_STEPS - steps) * speed.step / 60:.1f} minutes more."
        )
        steps = N.LEAST_STEPS
    elif steps > max(most, N.LEAST_STEPS):
        steps = max(most, N.LEAST_STEPS)
        why += f" No more than {N.EPOCHS} passes over {len(recipe['train'])} images."
    _set(recipe, int(steps), rounds, why)


def set_rounds(recipe: Recipe) -> None:
    """Set the number of rounds of a recipe whose steps were given."""
    steps = recipe.value("steps")
    rounds = recipe.value("rounds") or max(N.ROUNDS, round(steps / N.STEPS_PER_ROUND))
    _set(recipe, steps, rounds, recipe["choices"]["steps"]["why"])


def _set(recipe: Recipe, steps: int, rounds: int, why: str) -> None:
    """Set steps and rounds, of equal length."""
    rounds = max(1, min(rounds, steps))
    each = max(1, steps // rounds)
    recipe.set("steps", each * rounds, why)
    recipe.set("rounds", rounds, f"Validations, spread evenly: one after {each} steps.")
