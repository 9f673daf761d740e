"""Tour of one network that predicts four things for every pixel, in about twenty minutes.

    python examples/tour.py --out tour                                  # from random weights
    python examples/tour.py --out tour --weights mobilenet_v2.weights.h5   # or "imagenet"

Nothing else is needed: the scenes are drawn, with exact labels, depth and normals. The network
learns the classes, the distance, the direction of surfaces and the colors, and sees lightness only.
docs/tour.md explains each step with drawings.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd

SKY = 0  # Among the classes of scenes.


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path("tour"))
    add("--weights", default="none", help="of MobileNetV2: none, imagenet, or a file")
    add("--count", type=int, default=480, help="scenes to learn from")
    add("--epochs", type=int, default=12)
    add("--smoke", action="store_true", help="as little as possible of everything")
    return parser.parse_args()


def heads_for(train):
    """The heads of the network; outputs, targets and losses have the same structure."""
    return {
        "segmentation": kd.heads.Segmentation(
            train.num_classes, class_names=train.class_names, palette=train.palette
        ),
        "depth": kd.heads.Depth(0.3, train.max_depth, activation="log_sigmoid"),
        "normals": kd.heads.Normals(),
        "color": kd.heads.Colorization(prior=kd.training.estimate_ab_prior(train)),
    }


class Partial:
    """A data set in which every third image has labels only, as is usual in real data."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        sample = self.dataset[index]
        if index % 3:
            return sample
        return {key: sample[key] for key in ("image", "segmentation")}


def show(path, drawings, columns, titles=None, width=224):
    tiles = [kd.plot.fit_width(drawing, width, sharp=True) for drawing in drawings]
    grid = kd.plot.grid(tiles, columns=columns, titles=titles)
    print(f"   -> {kd.plot.save(path, grid)}", flush=True)


def draw_truth(sample, heads):
    """Image, labels, depth, normals, and the points in space seen from the side."""
    drawn = [head.draw(head.encode(sample)) for key, head in heads.items() if key != "color"]
    cloud = kd.plot.point_cloud(sample["depth"], sample["image"], sample["intrinsics"])
    return [sample["image"], *drawn, cloud]


def predicted(product, image):
    """Results for an image; the sky has neither depth nor normals in the training data."""
    found = product.predict_on_batch(image[None])
    found = {key: keras.ops.convert_to_numpy(value)[0] for key, value in found.items()}
    known = (found["segmentation"] != SKY)[..., None]
    return {**found, "depth": found["depth"] * known, "normals": found["normals"] * known}


def draw_prediction(product, sample, heads):
    """The image that the network sees, and its labels, depth, normals, colors and points."""
    image = sample["image"]
    found = predicted(product, image)
    drawn = [head.draw(found[key]) for key, head in heads.items()]
    cloud = kd.plot.point_cloud(found["depth"], found["color"], sample["intrinsics"])
    gray = keras.ops.convert_to_numpy(kd.ops.gray(image.astype("float32")))
    return [gray.round().astype("uint8"), *drawn, cloud]


def disagreement(product, samples):
    """Degrees between the predicted normals and the normals of the predicted depth."""
    angles = []
    for sample in samples:
        found = predicted(product, sample["image"])
        flat = kd.ops.normals_from_depth(found["depth"][None], sample["intrinsics"])
        angle = keras.ops.convert_to_numpy(kd.ops.angle_between(found["normals"][None], flat))
        known = keras.ops.convert_to_numpy(keras.ops.any(flat != 0, axis=-1))
        angles.append(np.degrees(angle.reshape(known.shape)[known]))
    return float(np.median(np.concatenate(angles)))


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    began = time.perf_counter()
    count, size, epochs = (6, (48, 64), 2) if args.smoke else (args.count, (96, 128), args.epochs)

    print("1. Scenes with exact annotations: image, labels, depth, normals, points")
    train = kd.datasets.cached(kd.datasets.scenes(count, size, "train"))
    val = kd.datasets.cached(kd.datasets.scenes(max(count // 8, 4), size, "val"))
    heads = heads_for(train)
    drawings = [tile for i in range(3) for tile in draw_truth(train[i], heads)]
    show(args.out / "1_world.jpg", drawings, 5, ["image", "labels", "depth", "normals", "points"])

    print("2. One network for all tasks")
    weights = None if args.weights == "none" else args.weights
    backbone = kd.backbone("mobilenet_v2", weights=weights)
    # Four steps up, to half the size of the image, with enough channels there for all heads.
    model = kd.unet(backbone, heads=heads, filters=(128, 96, 64, 48))
    for key, output in model.output.items():
        print(f"   {key:13} {output.shape}")
    print(f"   {model.count_params():,} parameters")

    print("3. It learns all tasks at once, and how to weigh their losses")
    kd.training.batch_norm_momentum(model, 0.95)
    training = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    batches = kd.datasets.Loader(
        Partial(train),
        heads,
        batch_size=2 if args.smoke else 8,
        transforms=[kd.datasets.transforms.RandomFlip()],  # Normals are mirrored, too.
        shuffle=True,
        missing="unknown",
    )
    rate = keras.optimizers.schedules.PolynomialDecay(1e-3, len(batches) * epochs, 0.0, power=0.9)
    # Adam moves every number by about the learning rate in a step: too little for these weights.
    weighing = {id(v) for v in training.balancer.trainable_variables}
    optimizer = kd.training.layerwise(
        training,
        keras.optimizers.AdamW(rate, weight_decay=1e-4),
        lambda v: 30.0 if id(v) in weighing else 1.0,
    )
    training.compile(optimizer, **kd.objectives(model))
    checkpoint = kd.training.Checkpoint(args.out / "run")
    start = checkpoint.restore(training, batches)  # 0, or where it was interrupted.
    if start < epochs:
        training.fit(
            batches,
            validation_data=kd.datasets.Loader(val, heads, batch_size=8),
            validation_freq=max(epochs // 6, 1),
            epochs=epochs,
            initial_epoch=start,
            callbacks=[checkpoint],
            shuffle=False,
            verbose=2,
        )
    kd.plot.curves(checkpoint.history, args.out / "2_curves.png")
    for key, weight in training.balancer.current().items():
        print(f"   {key:13} weighs {weight:.2f}")

    print("4. Predictions for new scenes; the network sees the first column")
    product = kd.decoded(model)  # labels, meters, unit normals, RGB
    places = (0, 1, 2) if args.smoke else (3, 11, 25, 42)
    titles = ["input", "labels", "depth", "normals", "colors", "points, painted"]
    drawings = [tile for i in places for tile in draw_prediction(product, val[i], heads)]
    show(args.out / "3_predictions.jpg", drawings, 6, titles)
    drawings = [tile for i in places for tile in draw_truth(val[i], heads)]
    show(args.out / "4_truth.jpg", drawings, 5, ["image", "labels", "depth", "normals", "points"])

    print("5. Scores")
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=8))
    for key, values in scores.items():
        numbers = {name: value for name, value in values.items() if np.ndim(value) == 0}
        text = ", ".join(f"{name} {value:.3g}" for name, value in list(numbers.items())[:3])
        print(f"   {key:13} {text}")
    samples = [val[i] for i in range(min(len(val), 20))]
    print(
        "   predicted normals and the normals of the predicted depth differ by "
        f"{disagreement(product, samples):.1f} degrees in the median"
    )

    print("6. Saved: one file for training, one that returns results")
    model.save(args.out / "model.keras")
    product.save(args.out / "product.keras")
    again = keras.saving.load_model(args.out / "product.keras")
    kd.surgery.accelerate(again)  # as builders do: the same operations give the same numbers
    image = val[0]["image"][None]
    same = all(
        np.array_equal(a, b)
        for a, b in zip(
            keras.tree.flatten(again.predict(image, verbose=0)),
            keras.tree.flatten(product.predict(image, verbose=0)),
            strict=True,
        )
    )
    print(f"   loaded again, it returns {'the same' if same else 'something else'}")
    print(f"Done in {(time.perf_counter() - began) / 60:.1f} minutes: {args.out}")


if __name__ == "__main__":
    main()
