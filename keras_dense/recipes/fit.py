"""One training by a recipe: rounds that survive a kill, and the choice of the final weights."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras

import keras_dense.datasets as datasets
import keras_dense.training as training
from keras_dense.recipes.data import Stretched, augmentation, plain_batches, recalibration_images
from keras_dense.recipes.network import build, compile_for
from keras_dense.recipes.numbers import CLEARLY_BETTER
from keras_dense.recipes.recipe import Recipe
from keras_dense.recipes.rounds import SCORE, Line, Rounds, load_weights
from keras_dense.recipes.scores import Scored, score

Say = Callable[[str], None]
MEAN = "mean of the last rounds"
GAP_BATCHES = 4


def fit(
    recipe: Recipe, heads: Any, train: Any, val: Any, out: pathlib.Path, say: Say, workers: int = 2
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train by a recipe with a number of steps; continues after the last finished round.

    Returns:
        The model after the last round, and the history.
    """
    seed, batch = recipe.value("seed"), recipe.value("batch_size")
    rounds = recipe.value("rounds")
    steps = recipe.value("steps") // rounds
    model = build(recipe, heads)
    if recipe.value("network") is None and recipe.value("weights").endswith("8bit"):
        # Folded batch norms get statistics, or the first step would undo what is learned.
        some = plain_batches(recipe, train, 10 * batch)
        training.recalibrate_batch_norm(model, some, keep_function=True)
    compile_for(recipe, model, steps * rounds)
    loader = datasets.Loader(
        Stretched(train, steps * rounds * batch, seed),
        heads,
        batch,
        transforms=augmentation(recipe),
        seed=seed,
        workers=workers,
    )
    checkpoint = training.Checkpoint(out, seed=seed)
    start = checkpoint.restore(model, loader)
    if start:
        say(f"continuing after round {start} of {rounds}")
    if start < rounds:
        watch = Rounds(
            val,
            heads,
            out,
            rounds=rounds,
            steps=steps,
            average=recipe.value("average_rounds"),
            history=checkpoint.history,
            say=say,
        )
        model.fit(
            loader,
            epochs=rounds,
            initial_epoch=start,
            steps_per_epoch=steps,
            callbacks=[watch, checkpoint],
            shuffle=False,  # the order is that of `Stretched`, so that a run can be repeated
            verbose=0,
        )
    return model, checkpoint.history


def finish(
    recipe: Recipe,
    model: keras.Model,
    heads: Any,
    train: Any,
    val: Any,
    out: pathlib.Path,
    history: dict[str, list[float]],
    say: Say,
) -> tuple[Scored, dict[str, float]]:
    """Choose the final weights by validation, and leave them in the model.

    Candidates are the weights after the last round, their mean over the last rounds, and those of
    the best round if it was clearly better than the last, each with batch-norm statistics over
    whole training images, and all but the mean also as they are.

    Returns:
        The scores of the chosen weights, and the score of each candidate.
    """
    rounds = recipe.value("rounds")
    images = recalibration_images(recipe)
    last = model.get_weights()
    candidates: dict[str, Any] = {"last round": last}
    average = out / "weights" / f"average_{rounds}.npz"
    if recipe.value("average_rounds") > 1 and average.exists():
        candidates[MEAN] = load_weights(average)
    scored = history.get(SCORE, [])
    best = max(range(len(scored)), key=lambda i: scored[i]) if scored else rounds - 1
    better = bool(scored) and scored[best] > scored[-1] + CLEARLY_BETTER
    if better and (out / "weights" / "best.npz").exists():
        candidates[f"round {best + 1}"] = load_weights(out / "weights" / "best.npz")
    tried: dict[str, float] = {}
    winner: tuple[Scored, list] | None = None
    line, gap = Line(), 0.0

    def attempt(name: str) -> None:
        nonlocal winner
        line.show(f"scoring {name} on {len(val)} images")
        found = score(model, val, heads)
        tried[name] = found.score
        if winner is None or found.score > winner[0].score:
            winner = found, model.get_weights()

    for name, weights in candidates.items():
        if images and name != MEAN:
            model.set_weights(weights)
            attempt(f"{name}, statistics of the training")
        model.set_weights(weights)
        if images and weights is last:
            few = min(images, GAP_BATCHES * recipe.value("batch_size"))
            gap = training.batch_norm_gap(model, plain_batches(recipe, train, few))
        if images:
            line.show(f"batch-norm statistics of {name} over {images} images")
            keras.utils.set_random_seed(recipe.value("seed"))
            training.recalibrate_batch_norm(model, plain_batches(recipe, train, images))
        attempt(name)
    line.clear()
    if winner is None:
        raise ValueError("there must be a candidate for the final weights. Received: none")
    model.set_weights(winner[1])
    if gap > training.WIDE_GAP:
        say(
            f"batch norms: the moving statistics were far from those of batches (gap {gap:.2g}, "
            "wide from 1), so scores during training mean little; they were computed anew. A "
            "shorter momentum (batch_norm), or more steps, narrows the gap"
        )
    listed = ", ".join(f"{name} {value:.4f}" for name, value in tried.items())
    say(f"validation of all {len(val)} images: {listed}")
    return winner[0], tried
