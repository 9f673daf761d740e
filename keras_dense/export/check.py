"""Comparison of an export with its model."""

import numpy as np

_SHARE, _CLOSE, _LEAST = 0.1, 0.01, 1e-4


def random_images(shape, seed=0):
    """Random images with large shapes and small ones, uint8; where a size is free, 2 × 123 × 181.

    No noise: a lattice of a conditional random field has no room for so many colors.

    >>> random_images((None, None, 64, 3)).shape
    (2, 123, 64, 3)
    """
    batch, height, width, channels = (
        n or free for n, free in zip(shape, (2, 123, 181, 3), strict=True)
    )
    rng = np.random.default_rng(seed)

    def shapes(side, strength):
        size = (batch, -(-height // side), -(-width // side), channels)
        blocks = rng.uniform(0, strength, size)
        return blocks.repeat(side, 1).repeat(side, 2)[:, :height, :width]

    return (shapes(16, 220) + shapes(4, 35)).astype("uint8")


def expect_finite(predictions, weights):
    """Raise if the model itself predicts NaN or infinity, so that nothing can be compared.

    Args:
        predictions: dict of arrays, raw predictions of the model.
        weights: dict of arrays, to name those that are not finite.

    >>> expect_finite({"prediction": np.array([[0.0, np.nan]])}, {"c/kernel": np.array([np.inf])})
    Traceback (most recent call last):
    ValueError: The model itself gives NaN or infinity for 50 % of its output 'prediction', before \
anything is exported; these of its weights are not finite: c/kernel. Nothing was written.
    """
    for name, y in predictions.items():
        # Minus infinity rules a class out.
        wrong = ~(np.isfinite(y) | np.isneginf(y))
        if not wrong.any():
            continue
        found = [path for path, w in weights.items() if not np.isfinite(w).all()]
        some = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        reason = (
            f"these of its weights are not finite: {some}" if found else "its weights are finite"
        )
        raise ValueError(
            f"The model itself gives NaN or infinity for {100 * wrong.mean():.3g} % of its output "
            f"{name!r}, before anything is exported; {reason}. Nothing was written."
        )


class WrongOutput(RuntimeError):
    """An output with another name, shape or type than that of the model."""


def differences(wanted, found, labels=()):
    """`{name: the share of labels that differ, or the largest |difference|}`.

    Args:
        wanted, found: dicts of arrays.
        labels: names of those that hold labels.

    Raises:
        WrongOutput: if names, shapes or types are others.
    """
    for name, y in wanted.items():
        other = found.get(name)
        if other is None or other.shape != y.shape or other.dtype != y.dtype:
            got = "nothing" if other is None else f"{other.dtype} {other.shape}"
            raise WrongOutput(f"The output {name!r} should be {y.dtype} {y.shape}, it is {got}.")
    return {name: _difference(y, found[name], name in labels) for name, y in wanted.items()}


def _difference(wanted, found, is_label):
    if is_label:
        return float(np.mean(wanted != found))
    return float(np.max(np.abs(wanted.astype("float64") - found), initial=0.0))


def expect_same(wanted, found, labels=()):
    """Raise if more than 10 % of the values differ by more than 1 % of the largest one.

    Some may differ: rounding decides between two nearly equal classes, and between two nearly equal
    cells of a pooling window, which moves all values that SegNet's decoder puts around them.
    """
    for name, y in wanted.items():
        largest = float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0))
        limit = 0.5 if name in labels else max(_CLOSE * largest, _LEAST)
        with np.errstate(invalid="ignore"):  # infinite in both
            apart = np.abs(y.astype("float64") - found[name])
        same = (apart <= limit) | (y == found[name])
        far = ~same  # NaN is far from everything
        if far.mean() > _SHARE:
            by = "" if name in labels else f", by up to {np.max(apart[far]):.3g}"
            raise RuntimeError(
                f"The exported graph computes something else: {100 * far.mean():.3g} % of "
                f"{name!r} differ from the model{by}. Nothing was written."
            )


def sentence(found, labels=("labels",)):
    """Sentence that describes differences.

    >>> sentence({"labels": 0.0, "confidence": 1.2e-7})
    'labels differ at 0 % of the pixels, confidence by at most 1.2e-07'
    """
    return ", ".join(
        f"{name} differ at {100 * x:.2g} % of the pixels"
        if name in labels
        else f"{name} by at most {x:.2g}"
        for name, x in found.items()
    )
