r"""Deep Layer Cascade: accuracy against time, and against pixels that reach the last stage.

    python benchmarks/layer_cascade.py --model runs/cascade/model.keras --root ../shared/data/camvid

One trained model at several thresholds, on a validation split: mean IoU, the share of pixels that
reach stages 2 and 3, and the time of `LayerCascade.predict` over that of the network with its last
stage computed everywhere, in turns for each image. Prints a Markdown table; writes curves, and
drawings of the stages where pixels leave, to `--out`. KERAS_BACKEND chooses the backend.
"""

import argparse
import json
import os
import pathlib
import time

from _turns import in_turns

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Above 1, no pixel leaves early.
THRESHOLDS = (2.0, 0.999, 0.995, 0.985, 0.97, 0.95, 0.9, 0.8, 0.6)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=pathlib.Path, required=True, help="a .keras file of kd.layer_cascade")
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data/camvid"))
    add("--scenes", type=int, metavar="SIDE", help="built-in scenes of that size, not CamVid")
    add("--images", type=int, help="number of validation images; default: all")
    add("--timed", type=int, default=10, help="images that are timed")
    add("--rounds", type=int, default=5)
    add("--busy", action="store_true", help="seconds of computing, on a machine with other work")
    add("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    add("--drawn", type=int, default=3, help="images in the drawing of stages")
    add("--out", type=pathlib.Path, default=pathlib.Path("."))
    return parser.parse_args(argv)


def accuracy(cascade, val, head):
    """Scores on a data set, and the shares of pixels that reach each stage."""
    import numpy as np

    import keras_dense as kd

    metric, reached, pixels = kd.metrics.ConfusionMatrix(head.num_classes), 0.0, 0
    for i in range(len(val)):
        sample = val[i]
        result = cascade.predict(sample["image"][None])
        metric.update_state(head.encode(sample)[None], result.prediction)
        count = sample["image"].shape[0] * sample["image"].shape[1]
        reached, pixels = reached + count * np.array(result.reached), pixels + count
    scores = metric.scores()
    return scores["mean_iou"], scores["pixel_accuracy"], (reached / pixels).tolist()


def times(cascade, model, images, thresholds, rounds, busy):
    """Seconds per image of the model, and of the cascade at each threshold."""

    def at(threshold, image):
        cascade.thresholds = (threshold,) * len(cascade.thresholds)
        return cascade.predict(image)

    total = {}
    clock = time.process_time if busy else time.perf_counter
    for image in images:
        calls = {str(t): lambda t=t, image=image: at(t, image) for t in thresholds}
        calls["model"] = lambda image=image: model.predict_on_batch(image)
        for name, seconds in in_turns(rounds, limit=600, clock=clock, **calls).items():
            total[name] = total.get(name, 0.0) + min(seconds) / len(images)
    return total


def draw_curves(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in (
        (left, "third", "pixels that reach the last stage, %"),
        (right, "time", "time of one image, % of the model's"),
    ):
        x = [100 * row[key] for row in rows]
        axes.plot(x, [100 * row["mean_iou"] for row in rows], "o-", color="#c8372d", markersize=4)
        for row, at in zip(rows, x, strict=True):
            name = "all" if row["threshold"] > 1 else f"{row['threshold']:g}"
            place = (at, 100 * row["mean_iou"])
            axes.annotate(name, place, xytext=(4, -10), textcoords="offset points", fontsize=7)
        axes.set_xlabel(label, fontsize=9)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    right.axvline(100, color="#8a8f98", linewidth=1, linestyle=":")
    left.set_ylabel("mean IoU, %", fontsize=9)
    figure.savefig(path)


def draw_stages(cascade, val, head, count, path):
    """Rows of image, prediction, and the stage where each pixel leaves."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colors = np.array([[214, 234, 248], [93, 173, 226], [200, 55, 45]], "uint8")
    places = np.linspace(0, len(val) - 1, min(count, len(val)) + 2)[1:-1]
    figure = Figure(figsize=(9, 2.4 * len(places)), dpi=100, layout="constrained")
    rows = figure.subplots(len(places), 3, squeeze=False)
    for row, place in zip(rows, places, strict=True):
        image = val[round(place)]["image"]
        result = cascade.predict(image[None])
        labels = head.draw(result.prediction[0].argmax(-1))
        for axes, shown in zip(row, (image, labels, colors[result.stage[0] - 1]), strict=True):
            axes.imshow(shown)
            axes.axis("off")
        row[2].set_title(" · ".join(f"{share:.0%}" for share in result.reached), fontsize=8)
    legend = [Patch(color=color / 255, label=f"stage {n}") for n, color in enumerate(colors, 1)]
    figure.legend(handles=legend, loc="outside lower right", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path)


def main(argv=None):
    args = arguments(argv)
    import keras

    import keras_dense as kd

    if args.scenes:
        val = kd.datasets.scenes(30, args.scenes, "val")
    else:
        val = kd.datasets.camvid(args.root, "val")
    if args.images:
        val = kd.datasets.subset(val, min(args.images, len(val)))
    head = kd.heads.Segmentation(val.num_classes, class_names=val.class_names, palette=val.palette)
    trained = keras.saving.load_model(args.model, compile=False)
    cascade = kd.inference.LayerCascade(trained)
    published = cascade.thresholds
    model = cascade.last  # The same network with every stage computed everywhere.
    images = [val[i]["image"][None] for i in range(min(args.timed, len(val)))]
    seconds = times(cascade, model, images, args.thresholds, args.rounds, args.busy)

    print(f"{keras.backend.backend()}, {len(val)} images; the model: {seconds['model']:.3f} s\n")
    print("| threshold | mean IoU | pixel accuracy | reach stage 2 | reach stage 3 | time |")
    print("|---:|---:|---:|---:|---:|---:|")
    rows = []
    for threshold in args.thresholds:
        cascade.thresholds = (threshold,) * len(published)
        mean_iou, pixel_accuracy, (_, second, third) = accuracy(cascade, val, head)
        ratio = seconds[str(threshold)] / seconds["model"]
        rows.append(
            {
                "threshold": threshold,
                "mean_iou": float(mean_iou),
                "pixel_accuracy": float(pixel_accuracy),
                "second": second,
                "third": third,
                "time": ratio,
            }
        )
        name = "no pixel leaves" if threshold > 1 else f"{threshold:g}"
        print(
            f"| {name} | {mean_iou:.3f} | {pixel_accuracy:.3f} | {second:.1%} | {third:.1%} "
            f"| {ratio:.2f} × |",
            flush=True,
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "layer_cascade.json").write_text(json.dumps(rows, indent=1))
    draw_curves(rows, args.out / "layer_cascade.png")
    cascade.thresholds = published
    draw_stages(cascade, val, head, args.drawn, args.out / "layer_cascade_stages.png")


if __name__ == "__main__":
    main()
