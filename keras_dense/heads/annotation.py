"""What a sample knows for a head."""

import numpy as np


def annotation(sample, key, dtype=None):
    """`sample[key]` as an array, or an error that says what the sample has.

    >>> annotation({"depth": [[1, 2]]}, "depth", "float32").tolist()
    [[1.0, 2.0]]
    """
    if key not in sample:
        raise KeyError(
            f"The sample has no {key!r} to train this head on. It has: "
            f"{', '.join(map(repr, sample))}."
        )
    return np.asarray(sample[key], dtype)
