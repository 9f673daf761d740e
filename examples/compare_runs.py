"""Compare runs of train.py, and several tasks learned at once with each task alone.

    python examples/compare_runs.py runs/equal runs/uncertainty \
        --single runs/segmentation runs/depth runs/normals runs/color --out gain.md

Reads `results.json` of each run and prints a Markdown table: one row for each run, and one for the
runs of single tasks together. With `--single` there is the gain of each run over these: the mean
over the tasks of the relative gain in one score, `kd.training.multitask_delta`.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_dense as kd

# Scores in the table, the first of each task for the gain; and those that are errors.
SCORES = {
    "segmentation": ("mean_iou", "pixel_accuracy"),
    "depth": ("abs_rel", "rmse", "delta1"),
    "normals": ("mean", "median", "within_11.25"),
    "color": ("rmse_ab", "auc", "auc_rebalanced", "psnr"),
}
ERRORS = {"abs_rel", "rmse", "mean", "median", "rmse_ab"}


def scores_of(run):
    """The scores of a run that the table shows, `{task: {name: number}}`."""
    found = json.loads((run / "results.json").read_text())["scores"]
    return {
        task: {name: values[name] for name in SCORES.get(task, ()) if name in values}
        for task, values in found.items()
    }


def gain(scores, single):
    """The mean relative gain over single tasks."""
    missing = sorted(set(scores) - set(single))
    if missing:
        raise SystemExit(f"--single has no run for {', '.join(missing)}")
    names = {task: SCORES[task][0] for task in scores}
    one, other = ({t: {n: found[t][n]} for t, n in names.items()} for found in (scores, single))
    return kd.training.multitask_delta(one, other, lower_is_better=ERRORS & set(names.values()))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("runs", type=pathlib.Path, nargs="+", help="folders of train.py")
    add("--single", type=pathlib.Path, nargs="*", default=[], help="runs of one task each")
    add("--out", type=pathlib.Path, help="a file for the table, besides")
    args = parser.parse_args(argv)
    rows = {run.name: scores_of(run) for run in args.runs}
    single = {}
    for run in args.single:
        single |= scores_of(run)
    shown = {**rows, "single tasks": single} if single else rows
    there = {name for row in shown.values() for scores in row.values() for name in scores}
    lines = [kd.training.score_table(shown, lower_is_better=ERRORS & there)]
    if single:
        gains = {title: 100 * gain(scores, single) for title, scores in rows.items()}
        lines += [
            f"{title}: gain over single tasks {value:+.1f} %" for title, value in gains.items()
        ]
    text = "\n\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
