"""Depth for the tests of its losses: not a test."""

import numpy as np

# Every way to say that a depth is not known.
UNKNOWN = (0.0, -1.0, np.nan, np.inf, -np.inf)


def batch(shape=(2, 6, 5), seed=0, unknown=True):
    """Depth in meters, a fifth of it unknown, and predictions that are right by half."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 9.0, shape)
    prediction = truth * np.exp(rng.normal(0.1, 0.3, shape))
    if unknown:
        holes = rng.random(shape) < 0.2
        truth[holes] = rng.choice(UNKNOWN, holes.sum())
    return truth.astype("float32"), prediction[..., None].astype("float32")
