"""A published network read into ours, beside the interpreter of its own file.

    python benchmarks/published.py [--photographs 24] [--files mobilenetv2_voc_8bit …]

Google's DeepLabv3 on MobileNetV2, quantized (`.tflite`), on photographs of PASCAL VOC in the folder
`voc_mini`. As in the authors' evaluation, each is put on a canvas of 513×513 in the mean color,
which both networks get. The agreement is the share of the pixels of a photograph that have the same
label. The mean IoU is over the classes that the masks have. Below, ours alone gets the photograph
in its own size, on each grid of `kd.assemble`: what a trained network loses on another grid than
its own. KERAS_BACKEND chooses the backend (default: tensorflow).
"""

import argparse
import os
import pathlib
import sys

import numpy as np
from _process import heading, row

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FILES = {
    "mobilenetv2_voc_8bit": "deeplabv3_mnv2_pascal_quant.tflite",
    "mobilenetv2_dm05_voc_8bit": "deeplabv3_mnv2_dm05_pascal_quant.tflite",
}
GRIDS = ("corners", "image", "multiple")
SIDE, MEAN = 513, 128


def on_canvas(image):
    """A photograph in the top left corner of the canvas."""
    canvas = np.full((SIDE, SIDE, 3), MEAN, "uint8")
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


class Interpreter:
    """Labels of LiteRT."""

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=os.cpu_count())
        self.interpreter.allocate_tensors()
        (self.input,), (self.output,) = (
            [detail["index"] for detail in details]
            for details in (
                self.interpreter.get_input_details(),
                self.interpreter.get_output_details(),
            )
        )

    def __call__(self, image):
        self.interpreter.set_tensor(self.input, on_canvas(image)[None])
        self.interpreter.invoke()
        labels = self.interpreter.get_tensor(self.output)
        return labels.reshape(SIDE, SIDE)[: image.shape[0], : image.shape[1]]


class Ours:
    """Labels of a model of Keras."""

    def __init__(self, model, canvas):
        self.model, self.canvas = model, canvas

    def __call__(self, image):
        from keras import ops

        seen = on_canvas(image) if self.canvas else image
        scores = ops.convert_to_numpy(self.model.predict_on_batch(seen[None]))
        return scores[0, : image.shape[0], : image.shape[1]].argmax(-1)


class Confusion:
    """Counts of true and predicted labels."""

    def __init__(self, classes):
        self.counts = np.zeros((classes, classes), "int64")

    def add(self, truth, labels):
        known, n = truth < len(self.counts), len(self.counts)
        pairs = truth[known].astype("int64") * n + labels[known]
        self.counts += np.bincount(pairs, minlength=n * n).reshape(n, n)

    @property
    def mean_iou(self):
        true, union = self.counts.sum(1), self.counts.sum(0) + self.counts.sum(1)
        iou = self.counts.diagonal() / np.maximum(union - self.counts.diagonal(), 1)
        return iou[true > 0].mean()

    @property
    def accuracy(self):
        return self.counts.trace() / self.counts.sum()


def networks(name, path, grids=GRIDS):
    """Functions from a photograph to its labels, by what is measured."""
    import keras_dense as kd

    model = kd.weights.pretrained(f"deeplab/{name}", path=path)
    found = {"interpreter": Interpreter(path), "ours, the same canvas": Ours(model, True)}
    record = kd.weights.info(f"deeplab/{name}")
    for grid in grids:
        head, arguments = kd.heads.of(model), {**record.arguments, "grid": grid}
        other = record.builder(heads=head, input_shape=(None, None, 3), **arguments)
        other.set_weights(model.get_weights())
        found[f'ours, own size, "{grid}"'] = Ours(other, False)
    return found


def measure(samples, functions, compared):
    """Rows of the table: what, agreement on the first photographs, scores on all."""
    confusions = {what: Confusion(21) for what in functions}
    agreements = {what: [] for what in functions}
    for number, sample in enumerate(samples):
        labels = {what: function(sample["image"]) for what, function in functions.items()}
        for what, found in labels.items():
            confusions[what].add(sample["segmentation"], found)
            if number < compared:
                agreements[what].append((found == labels["interpreter"]).mean())
    for what, confusion in confusions.items():
        same = agreements[what]
        agreement = "" if what == "interpreter" else f"{np.mean(same):.4f} (min {min(same):.3f})"
        yield what, agreement, f"{confusion.mean_iou:.4f}", f"{confusion.accuracy:.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=24, help="that labels are compared on")
    parser.add_argument("--limit", type=int, help="photographs in all")
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    arguments = parser.parse_args()
    data = pathlib.Path(os.environ.get("KERAS_DENSE_DATA", REPOSITORY.parent / "shared/data"))
    if not (data / "voc_mini").is_dir():
        sys.exit(f"no photographs in {data / 'voc_mini'}: KERAS_DENSE_DATA names another folder")
    import keras_dense as kd

    source = kd.datasets.folder(data / "voc_mini/images", data / "voc_mini/masks", num_classes=21)
    count = min(arguments.limit or len(source), len(source))
    samples = [source[index] for index in range(count)]
    samples = [sample for sample in samples if max(sample["image"].shape) <= SIDE]
    compared = min(arguments.photographs, len(samples))
    for name in arguments.files:
        path = data / "weights" / FILES[name]
        print(f"\n{path.name}, {len(samples)} photographs, {compared} compared\n")
        heading("network", "labels as the interpreter", "mean IoU", "pixel accuracy")
        for cells in measure(samples, networks(name, path), compared):
            row(*cells)


if __name__ == "__main__":
    main()
