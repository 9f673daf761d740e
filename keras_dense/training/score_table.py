"""Scores of several models in one table."""

from collections.abc import Collection, Mapping

Scores = Mapping[str, Mapping[str, float]]


def score_table(rows: Mapping[str, Scores], *, lower_is_better: Collection[str] = ()) -> str:
    """A Markdown table with one row for each model, and one column for each score of each task.

    Args:
        rows: dict from the title of a row to its scores, `{task: {score: number}}`. Rows may have
            different tasks: cells without a number stay empty.
        lower_is_better: names of scores that are errors. Their columns have the mark ↓, the others
            ↑.

    Returns:
        The table, a string without a line break at its end. Numbers have four digits.

    Raises:
        ValueError: if there is no score, or `lower_is_better` names an unknown one.

    >>> rows = {"one": {"depth": {"rmse": 0.5}}, "two": {"depth": {"rmse": 0.412345}}}
    >>> print(score_table(rows, lower_is_better=["rmse"]))
    |  | depth: rmse ↓ |
    |---|---:|
    | one | 0.5 |
    | two | 0.4123 |
    """
    columns = [(task, name) for scores in rows.values() for task in scores for name in scores[task]]
    tasks = list(dict.fromkeys(task for task, _ in columns))
    # By task, each in the order of its first row.
    columns = sorted(dict.fromkeys(columns), key=lambda column: tasks.index(column[0]))
    if not columns:
        raise ValueError("`rows` must have at least one score. Received: none")
    unknown = set(lower_is_better) - {name for _, name in columns}
    if unknown:
        raise ValueError(
            f"`lower_is_better` must name scores: {sorted({name for _, name in columns})}. "
            f"Received: {sorted(unknown)}"
        )
    titles = [f"{task}: {name} {'↓' if name in lower_is_better else '↑'}" for task, name in columns]
    lines = [f"|  | {' | '.join(titles)} |", "|---|" + "---:|" * len(columns)]
    for title, scores in rows.items():
        values = [scores.get(task, {}).get(name) for task, name in columns]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)
