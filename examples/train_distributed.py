r"""Train on all devices of a machine, or on many machines; to be copied and changed.

One machine, all its devices:

    KERAS_BACKEND=jax python examples/train_distributed.py
    KERAS_BACKEND=tensorflow python examples/train_distributed.py
    KERAS_BACKEND=torch torchrun --nproc-per-node gpu examples/train_distributed.py

Several machines, the same command on each (JAX: with its own number; `train`: the first machine):

    KERAS_BACKEND=torch torchrun --nnodes 2 --nproc-per-node gpu --rdzv-backend c10d \
        --rdzv-endpoint train:29400 examples/train_distributed.py --out /shared/run
    KERAS_BACKEND=jax KERAS_DISTRIBUTION_JOB_ADDRESSES=train:29400 \
        KERAS_DISTRIBUTION_NUM_PROCESSES=2 KERAS_DISTRIBUTION_PROCESS_ID=0 \
        python examples/train_distributed.py --out /shared/run

Your own photographs, in data/train/images, data/train/masks, data/val/images, data/val/masks:

    … examples/train_distributed.py --root data --classes sky road car --backbone resnet50

Without --root it learns from drawn scenes. `--batch-size` is that of all devices together, so the
same command trains the same network on any number of them (see docs/scale.md for batch norm).
If a process dies, all stop; the same command continues after the last complete epoch, on as many
devices as there are then.
"""

import argparse
import contextlib
import datetime
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import keras_dense as kd


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", type=pathlib.Path, help="a folder with train/ and val/; default: drawn scenes")
    add("--classes", nargs="+", help="names of the classes of --root")
    add("--out", type=pathlib.Path, default=pathlib.Path("runs/distributed"))
    add("--backbone", default="mobilenetv2")
    add("--weights", default="imagenet", help="of the backbone: imagenet, none, or a file")
    add("--size", type=int, default=128, help="of the crops")
    add("--batch-size", type=int, default=32, help="of all devices together")
    add("--epochs", type=int, default=20)
    add("--learning-rate", type=float, default=0.05, help="for this batch size")
    add("--timeout", type=float, default=10, help="minutes to wait for a process (PyTorch)")
    add("--smoke", action="store_true", help="as little as possible of everything")
    return parser.parse_args()


@contextlib.contextmanager
def all_devices(minutes):
    """Join the processes of the launcher; a model that is built inside trains on all devices."""
    if keras.backend.backend() == "torch":
        import torch

        if "RANK" not in os.environ:  # without torchrun
            yield
            return
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group(
            "nccl" if gpu else "gloo", timeout=datetime.timedelta(minutes=minutes)
        )
        yield
        torch.distributed.destroy_process_group()
    elif keras.backend.backend() == "jax":
        if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
            keras.distribution.initialize()
        with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
            yield
    else:
        import tensorflow as tf

        with tf.distribute.MirroredStrategy().scope():
            yield


def data(args):
    """Data sets to train on and to validate."""
    if args.root is None:
        return (
            kd.datasets.cached(kd.datasets.scenes(count, args.size, split))
            for count, split in ((16 if args.smoke else 1000, "train"), (args.batch_size, "val"))
        )
    folders = (args.root / split for split in ("train", "val"))
    return (
        kd.datasets.folder(path / "images", path / "masks", class_names=args.classes)
        for path in folders
    )


def main():
    args = arguments()
    if args.smoke:
        args.size, args.batch_size, args.epochs, args.weights = 32, 4, min(args.epochs, 2), "none"
    with all_devices(args.timeout):
        train(args)


def train(args):
    keras.utils.set_random_seed(0)  # the same weights everywhere
    train, val = data(args)
    head = kd.heads.Segmentation(train.num_classes, class_names=train.class_names)
    weights = None if args.weights == "none" else args.weights
    model = kd.fpn(args.backbone, heads=head, weights=weights)
    kd.training.batch_norm_momentum(model, 0.95)
    steps = args.epochs * (len(train) // args.batch_size)
    schedule = keras.optimizers.schedules.PolynomialDecay(args.learning_rate, steps, 0.0, power=0.9)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(optimizer, **kd.objectives(model))

    T = kd.datasets.transforms
    views = [T.RandomScale(0.75, 1.5), T.RandomCrop(args.size), T.RandomFlip()]
    batches = kd.datasets.Loader(
        train, model, args.batch_size, transforms=views, shuffle=True, shard="auto"
    )
    # Devices need parts of equal size: what remains is left out here. For exact scores evaluate
    # the saved model on one device, each image at its own size.
    crop = [T.CenterCrop(args.size)]
    scored = kd.datasets.Loader(
        val, model, args.batch_size, transforms=crop, drop_last=True, shard="auto"
    )

    rank, count = batches.shard
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = kd.training.Checkpoint(args.out)
    start = checkpoint.restore(model, batches)
    print(f"process {rank} of {count}: epoch {start + 1} of {args.epochs}", flush=True)
    model.fit(
        batches,
        epochs=args.epochs,
        initial_epoch=start,
        validation_data=scored,
        callbacks=[kd.training.SyncProcesses(), checkpoint],
        shuffle=False,
        verbose=2 if rank == 0 else 0,
    )
    file = kd.training.save(model, args.out / "model.keras")  # all call it, the first writes
    if rank == 0:
        print(f"{file}: mean IoU {checkpoint.history['val_mean_iou'][-1]:.3f}")


if __name__ == "__main__":
    main()
