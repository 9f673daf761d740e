"""Six data sets by `python -m keras_dense train`, and by segmentation_models_pytorch (SMP).

    python benchmarks/recipes.py ours camvid --minutes 20      # writes runs/recipes/camvid_ours
    python benchmarks/recipes.py unet camvid --minutes 20      # SMP's U-Net; SMP must be installed
    python benchmarks/recipes.py deeplabv3plus camvid          # SMP's DeepLabv3+
    python benchmarks/recipes.py table                         # of all that have been run

Both start from the same ImageNet weights of MobileNetV2, and both are scored on the same test
images, which chose nothing. Ours gets two folders and the minutes, nothing else. SMP's networks get
the windows of our recipe (zooms, flips, colors), cross entropy and Dice, AdamW with our rates, all
images that are not for the test, and the same minutes of training; they have no recipe that chooses
weights, so the last ones count.

| data | for the test | classes |
|---|---|---|
| camvid | its validation split | 11 |
| voc_mini, msrc21 | every fourth image | 21 |
| nuclei, isbi2012, drive | every fifth image | 2 |

DRIVE is scored inside the field of view. Needs the folders of ../shared/data.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DATA = {  # folders of images and masks, test images: every n-th, classes
    "camvid": ("camvid/train/images", "camvid/train/masks", 0, 11),
    "voc_mini": ("voc_mini/images", "voc_mini/masks", 4, 21),
    "msrc21": ("msrc21/images", "msrc21/masks", 4, 21),
    "nuclei": ("bio/nuclei/images", "bio/nuclei/instances", 5, 2),
    "isbi2012": ("bio/isbi2012/images", "bio/isbi2012/masks", 5, 2),
    "drive": ("bio/drive/images", "bio/drive/masks", 5, 2),
}
METHODS = ("ours", "unet", "deeplabv3plus")
WEIGHTS = "weights/mobilenet_v2_1.0_224.weights.h5"
VOID = 255


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("method", choices=(*METHODS, "table"))
    add("data", nargs="*", choices=[*DATA, []], help="default: all")
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    add("--out", type=pathlib.Path, default=pathlib.Path("runs/recipes"))
    add("--minutes", type=float, default=20.0)
    add("--seed", type=int, default=0)
    add("--threads", type=int, help="of PyTorch, for SMP; default: its own")
    return parser.parse_args(argv)


def linked(name, root, out):
    """Folders `train` and `test` of links, each with `images` and `masks`."""
    images, masks, every, _ = DATA[name]
    pairs = {"train": (root / images, root / masks), "test": (root / images, root / masks)}
    if name == "camvid":
        pairs["test"] = tuple(root / f"camvid/val/{kind}" for kind in ("images", "masks"))
    folder = out / "data" / name
    for part, (first, second) in pairs.items():
        mask_of = {file.stem: file for file in second.iterdir()}
        files = sorted(file for file in first.iterdir() if file.stem in mask_of)
        if every:
            files = [f for i, f in enumerate(files) if (i % every == 0) == (part == "test")]
        for kind, chosen in (("images", files), ("masks", [mask_of[f.stem] for f in files])):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            for file in chosen:
                link = folder / part / kind / file.name
                if not link.exists():
                    link.symlink_to(file.resolve())
    return folder


def labels_of(name, file, root):
    """The true labels of a test image, 255 where they do not count."""
    import numpy as np
    from PIL import Image

    numbers = np.asarray(Image.open(file)).astype(int)
    if name == "camvid":
        return np.where(numbers == 11, VOID, numbers)
    if name == "nuclei":
        return (numbers > 0).astype(int)
    if name not in ("isbi2012", "drive"):
        return numbers
    labels = (numbers > 127).astype(int)
    if name == "drive":
        view = np.asarray(Image.open(root / "bio/drive/fov" / file.name))
        labels = np.where((view if view.ndim == 2 else view[..., 0]) > 127, labels, VOID)
    return labels


def score(name, folder, root, predict):
    """Confusion matrices of all test images."""
    import numpy as np
    from PIL import Image

    classes = DATA[name][3]
    masks = {file.stem: file for file in (folder / "test/masks").iterdir()}
    matrices = []
    for file in sorted((folder / "test/images").iterdir()):
        found = predict(np.asarray(Image.open(file).convert("RGB")))
        truth = labels_of(name, masks[file.stem], root)
        known = truth < classes
        pairs = truth[known] * classes + found[known]
        matrices.append(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))
    return np.array(matrices)


def train_ours(name, folder, args):
    """Our command, and a function that predicts labels."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import numpy as np

    import keras_dense as kd

    out = args.out / f"{name}_ours"
    kd.recipes.train(
        folder / "train/images",
        folder / "train/masks",
        out=out,
        weights=args.root / WEIGHTS,
        minutes=args.minutes,
        seed=args.seed,
        void=[11] if name == "camvid" else [],
        exports=[],
    )
    model = keras.saving.load_model(out / "model.keras")
    head = kd.heads.of(model)

    def predict(image):
        y = model.predict_on_batch(image[None])
        if isinstance(head, kd.heads.Instances):
            result = keras.ops.convert_to_numpy(head.decode(y))[0]
            return (kd.inference.number_objects(result, head) > 0).astype(int)
        return np.asarray(y)[0].argmax(-1)

    return predict


def train_smp(method, name, folder, args):
    """A network of SMP in a plain loop of PyTorch, and a function that predicts labels."""
    os.environ["KERAS_BACKEND"] = "torch"
    import numpy as np
    import torch
    from _peers import peer_library

    import keras_dense as kd

    began = time.monotonic()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    peer_library("torchvision")
    smp = peer_library("segmentation_models_pytorch")
    found = kd.recipes.look(
        folder / "train/images", folder / "train/masks", void=[11] if name == "camvid" else []
    )
    recipe = kd.recipes.choose(
        found, weights=args.root / WEIGHTS, seed=args.seed, **foreground(found)
    )
    everything = kd.recipes.data.dataset_of(recipe, sorted(recipe["train"] + recipe["validation"]))
    batch = recipe.value("batch_size")
    batches = kd.datasets.Loader(
        kd.recipes.data.Stretched(everything, 1_000_000 * batch, args.seed),
        kd.heads.Segmentation(DATA[name][3]),
        batch,
        transforms=kd.recipes.data.augmentation(recipe),
        seed=args.seed,
        workers=2,
    )
    build = {"unet": smp.Unet, "deeplabv3plus": smp.DeepLabV3Plus}[method]
    network = build("mobilenet_v2", encoder_weights=None, classes=DATA[name][3])
    copy_weights(network.encoder, args.root / WEIGHTS)
    entropy = torch.nn.CrossEntropyLoss(ignore_index=VOID)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=VOID)
    slow = {id(p) for p in network.encoder.parameters()}
    rate = recipe.value("learning_rate")
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in slow], "lr": rate},
        {"params": list(network.encoder.parameters()), "lr": rate * recipe.value("backbone_rate")},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.value("weight_decay"))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda _: max(1 - (time.monotonic() - began) / (60 * args.minutes), 0) ** 0.9
    )
    steps = 0
    while time.monotonic() - began < 60 * args.minutes:
        images, labels = batches[steps][:2]
        scores = network.train()(as_input(images))
        labels = torch.from_numpy(np.array(labels)).long()
        loss = entropy(scores, labels) + dice(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        steps += 1
        if steps % 50 == 0:
            print(f"{steps} steps, {time.monotonic() - began:.0f} s, loss {loss:.3f}", flush=True)
    network.eval()

    def predict(image):
        height, width = image.shape[:2]
        pads = ((0, -height % 32), (0, -width % 32), (0, 0))
        with torch.inference_mode():
            scores = network(as_input(np.pad(image, pads, "reflect")[None]))
        return scores[0, :, :height, :width].argmax(0).numpy()

    return predict


def foreground(found):
    """Choices for numbered objects, which SMP's heads do not tell apart."""
    return {"objects": "foreground"} if found["read"]["kind"] == "objects" else {}


def as_input(images):
    """Images as MobileNetV2 was trained on, channels first."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(images, "float32") / 127.5 - 1).permute(0, 3, 1, 2)


def copy_weights(encoder, file):
    """The weights of Keras' MobileNetV2 in SMP's encoder: the same layers in the same order."""
    import keras
    import torch

    donor = keras.applications.MobileNetV2(weights=None)
    donor.load_weights(file)
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
    layers = [layer for layer in donor.layers if isinstance(layer, kinds)]
    ours = (torch.nn.Conv2d, torch.nn.BatchNorm2d)
    modules = [m for m in encoder.modules() if isinstance(m, ours)]
    assert len(layers) == len(modules)
    for layer, module in zip(layers, modules, strict=True):
        values = [torch.tensor(value) for value in layer.get_weights()]
        with torch.no_grad():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = layer.epsilon
                targets = (module.weight, module.bias, module.running_mean, module.running_var)
                for target, value in zip(targets, values, strict=True):
                    target.copy_(value)
            else:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
                module.weight.copy_(values[0].permute(*order))


def mean_iou(matrices):
    """Over the classes that the test images have."""
    import numpy as np

    whole = matrices.sum(0)
    right = whole.diagonal()
    union = whole.sum(0) + whole.sum(1) - right
    known = whole.sum(1) > 0
    return float(np.mean(right[known] / union[known]))


def table(args):
    """One line for each data set, with paired differences to the better network of SMP."""
    import numpy as np

    import keras_dense as kd

    print("| data | ours | SMP's U-Net | SMP's DeepLabv3+ | ours − the better (95 %) | Dice |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in args.data or DATA:
        files = {m: args.out / f"{name}_{m}.npy" for m in METHODS}
        found = {m: np.load(file) for m, file in files.items() if file.exists()}
        scores = {m: mean_iou(matrices) for m, matrices in found.items()}
        cells = [f"{scores[m]:.4f}" if m in scores else "" for m in METHODS]
        peers = [m for m in scores if m != "ours"]
        difference = ""
        if peers and "ours" in scores:
            best = max(peers, key=scores.get)
            paired = kd.training.paired_bootstrap(found[best], found["ours"], score="mean_iou")
            difference = f"{paired.value:+.4f} ({paired.low:+.4f} to {paired.high:+.4f})"
        dice = ""
        if "ours" in found and DATA[name][3] == 2:
            whole = found["ours"].sum(0)
            dice = f"{2 * whole[1, 1] / (2 * whole[1, 1] + whole[0, 1] + whole[1, 0]):.4f}"
        print(f"| {name} | {' | '.join(cells)} | {difference} | {dice} |")


def main(argv=None):
    args = arguments(argv)
    if args.method == "table":
        return table(args)
    import numpy as np

    for name in args.data or DATA:
        folder = linked(name, args.root, args.out)
        began = time.monotonic()
        if args.method == "ours":
            predict = train_ours(name, folder, args)
        else:
            predict = train_smp(args.method, name, folder, args)
        minutes = (time.monotonic() - began) / 60
        matrices = score(name, folder, args.root, predict)
        np.save(args.out / f"{name}_{args.method}.npy", matrices)
        result = {"data": name, "method": args.method, "minutes": round(minutes, 2)}
        print(json.dumps({**result, "mean_iou": round(mean_iou(matrices), 4)}), flush=True)


if __name__ == "__main__":
    main()
