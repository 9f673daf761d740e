"""Gain or loss of tasks that are learned together."""

import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any


def multitask_delta(
    multi: Mapping[str, Any],
    single: Mapping[str, Any],
    *,
    lower_is_better: Collection[str] = (),
) -> float:
    """Mean relative gain of a multi-task model over one model for each task.

    ```
    Δ = mean_t (-1)^l_t (M_t - S_t) / S_t,    l_t = 1 where lower is better, else 0
    ```

    A task with several scores has the mean of their gains, so that each task counts once.

    Args:
        multi: dict from task to score M of the multi-task model, or to a dict of scores.
        single: scores S of the single-task models, in the same form.
        lower_is_better: names of tasks, or of scores within tasks, that are errors.

    Returns:
        A float: 0.02 is 2 % better on average, negative is worse.

    Raises:
        ValueError: if the two do not have the same tasks and scores, a score is no finite number,
            one of `single` is 0, or `lower_is_better` names something else.

    Reference: Maninis, Radosavovic, Kokkinos, "Attentive single-tasking of multiple tasks",
        CVPR 2019, equation 5 (there as a drop, with the sign turned).

    Example:

    >>> multi = {"segmentation": 0.42, "depth": 0.54, "normals": 20.0}
    >>> single = {"segmentation": 0.40, "depth": 0.60, "normals": 20.0}
    >>> lower = ["depth", "normals"]
    >>> round(multitask_delta(multi, single, lower_is_better=lower), 4)  # (5 % + 10 % + 0) / 3
    0.05
    """
    lower = {lower_is_better} if isinstance(lower_is_better, str) else set(lower_is_better)
    names = set(multi).union(*(m for m in multi.values() if isinstance(m, dict)))
    if lower - names:
        raise ValueError(
            f"`lower_is_better` must name tasks or scores: {sorted(names)}. "
            f"Received: {sorted(lower - names)}"
        )
    return _gain("the tasks", multi, single, lower, False)


def _gain(name: str, multi: Any, single: Any, lower: set[str], is_error: bool) -> float:
    """Gain of a score, or the mean of several."""
    is_error = is_error or name in lower
    if isinstance(multi, dict) or isinstance(single, dict):
        kinds = [sorted(s) if isinstance(s, dict) else s for s in (multi, single)]
        if kinds[0] != kinds[1] or not kinds[0]:
            raise ValueError(
                "`multi` and `single` must have the same tasks and scores, at least one. "
                f"Received for {name}: {kinds[0]} and {kinds[1]}"
            )
        gains = [_gain(key, multi[key], single[key], lower, is_error) for key in multi]
        return sum(gains) / len(gains)
    good = all(isinstance(s, numbers.Real) and math.isfinite(s) for s in (multi, single))
    if not good or single == 0:
        raise ValueError(
            "Scores must be finite numbers, and those of `single` not 0. "
            f"Received for {name}: {multi!r} and {single!r}"
        )
    gain = (multi - single) / single
    return float(-gain if is_error else gain)
