"""Cells apart: a network for numbered objects, beside connected components of a foreground.

    python examples/numbered_objects.py data/nuclei --weights mobilenet_v1_0.25_128.weights.h5
    python examples/numbered_objects.py data/nuclei --head foreground
    python examples/numbered_objects.py                     # drawn cells, nothing to download

The folder has images/ and instances/, numbers of 16 bits. Some images are held out by a fixed seed,
and choose nothing. Objects need SciPy and scikit-image: pip install keras_dense[objects]
"""

import argparse
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("root", nargs="?", help="folder of images/ and instances/; default: drawn cells")
    add("--head", choices=["instances", "foreground"], default="instances")
    add("--weights", help="of MobileNet with alpha=0.25; default: random ones")
    add("--hold-out", type=int, default=15)
    add("--steps", type=int, default=500)
    add("--crop", type=int, default=128)
    add("--batch-size", type=int, default=8)
    add("--seed", type=int, default=0)
    add("--out", type=pathlib.Path, default=pathlib.Path("objects"))
    add("--smoke", action="store_true", help="as little as possible of everything")
    return parser.parse_args()


def drawn_cells(count, size=160):
    """Discs on dark ground, many of them in touch."""
    y, x = np.mgrid[:size, :size]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        numbers = np.zeros((size, size), "int32")
        for number, (v, u) in enumerate(rng.uniform(0, size, (60, 2)), start=1):
            numbers[(y - v) ** 2 + (x - u) ** 2 <= rng.uniform(5, 11) ** 2] = number
        light = rng.uniform(90, 220, 61)[numbers] * (numbers > 0) + rng.normal(30, 9, numbers.shape)
        image = np.repeat(light[..., None].clip(0, 255).astype("uint8"), 3, -1)
        yield {"image": image, "instances": numbers}


@keras.saving.register_keras_serializable("example")
class Foreground(kd.heads.Segmentation):
    """Objects against background, with a line of background between those that touch."""

    def encode(self, sample):
        numbers = sample["instances"]
        apart = kd.datasets.separate_instances(numbers.clip(0)) > 0
        return np.where(numbers < 0, self.ignore_class, apart).astype("int32")

    def objects(self, result, *, min_size=10):
        from scipy import ndimage

        numbers, count = ndimage.label(result)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        return np.where(sizes[numbers] >= min_size, numbers, 0)


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    if args.smoke:
        args.steps, args.crop, args.batch_size = 2, 64, 2

    print("1. Images, and some that are held out")
    if args.root is None:
        data = list(drawn_cells(6 if args.smoke else 60))
    else:
        found = kd.datasets.instances(args.root, "trainval", separate=False)
        data = [found[index] for index in range(len(found))]
    hold_out = min(args.hold_out, len(data) // 3)
    held = set(np.random.default_rng(0).permutation(len(data))[:hold_out].tolist())
    train = [sample for index, sample in enumerate(data) if index not in held]
    test = [data[index] for index in sorted(held)]
    print(f"   {len(train)} for training, {len(test)} held out")

    print("2. A network")
    head = kd.heads.Instances() if args.head == "instances" else Foreground(1, target="instances")
    backbone = kd.backbone("mobilenet", args.weights, alpha=0.25)
    filters = (64, 48, 32, 16, 16)
    model = kd.unet(backbone, heads=head, filters=filters, upsampling="bilinear")
    kd.training.batch_norm_momentum(model, 0.95)
    print(f"   {model.count_params():,} parameters")

    print("3. Training")
    T = kd.datasets.transforms
    transforms = [
        T.RandomScale(0.75, 1.4),
        T.RandomRotation(45),
        T.RandomCrop(args.crop),
        T.RandomFlip(0.5, 0.5),
        T.ColorJitter(),
    ]
    # Many times the same images, so that an epoch of Keras has some steps.
    repeats = max(1, 50 * args.batch_size // len(train)) if not args.smoke else 1
    batches = kd.datasets.Loader(
        train * repeats,
        head,
        args.batch_size,
        transforms=transforms,
        shuffle=True,
        seed=args.seed,
    )
    epochs = max(1, round(args.steps / len(batches)))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(batches))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), **kd.objectives(model))
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2)
    model.save(args.out / f"{args.head}.keras")

    print("4. Objects of the images that were held out")
    product, rows = kd.decoded(model), []
    for sample in test:
        result = keras.ops.convert_to_numpy(product.predict_on_batch(sample["image"][None]))[0]
        rows.append((sample, head.objects(result)))
    counted = kd.metrics.InstanceScores()
    for sample, numbers in rows:
        counted.update(sample["instances"], numbers)
    found = kd.training.bootstrap(counted)
    for name in ("ap50", "pq", "aji"):
        print("   {}: {:.3f}, {:.3f} to {:.3f} on other images".format(name, *found[name]))

    print("5. A drawing: image, truth, objects, errors")
    drawer = kd.heads.Instances()
    strips = []
    for sample, numbers in sorted(rows, key=lambda row: -row[0]["instances"].max())[:3]:
        height, width = sample["image"].shape[:2]
        window = slice(0, min(height, 224)), slice(0, min(width, 224))
        image, truth, numbers = (x[window] for x in (sample["image"], sample["instances"], numbers))
        drawn = [image, drawer.overlay(truth, image), drawer.overlay(numbers, image)]
        strips.append(np.concatenate([*drawn, drawer.error(truth, numbers, image)], axis=1))
    width = min(strip.shape[1] for strip in strips)
    drawing = np.concatenate([strip[:, :width] for strip in strips])
    print(f"   -> {kd.plot.save(args.out / f'{args.head}.png', drawing)}")


if __name__ == "__main__":
    main()
