"""Two processes beside one: gradients of every kind of loss, and the time of a step.

    torchrun --nproc-per-node 2 benchmarks/scale.py

On the processor, with PyTorch. *Gradients*: those of a batch whose two halves differ in void pixels
(none, and three quarters), averaged over the processes, beside those of one process with the whole
batch: the length of the difference over the length of the latter. "local" is the mean of the losses
of both halves, as `DistributedDataParallel` has it. *Time*: of a training step with
`kd.training.SyncProcesses`, over that of Keras' own step through `DistributedDataParallel`; both
take turns.
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

import keras_dense as kd  # noqa: E402
from keras_dense.ops import replicas  # noqa: E402

L = kd.losses
LOSSES = {
    "CrossEntropy": L.CrossEntropy(),
    "Focal": L.Focal(),
    "Dice, Jaccard, Tversky: Dice": L.Dice(),
    "Lovasz(per_image=True)": L.Lovasz(per_image=True),
    "OhemCrossEntropy(min_pixels=0)": L.OhemCrossEntropy(threshold=0.15, min_pixels=0),
    "OhemCrossEntropy(ratio=0.3)": L.OhemCrossEntropy(ratio=0.3),
    "Lovasz()": L.Lovasz(),
    "Keras' SparseCategoricalCrossentropy": keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255
    ),
}


def gradients(args):
    """Relative errors of averaged gradients."""
    rank = dist.get_rank()
    world = kd.datasets.scenes(4, args.size)
    images = np.stack([world[i]["image"] for i in range(4)])
    labels = np.stack([world[i]["segmentation"] for i in range(4)])
    labels[1::2, : args.size * 3 // 4] = 255
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(
        image, keras.layers.Conv2D(8, 3, padding="same")(keras.layers.ZeroPadding2D(1)(x))
    )

    def gradient(loss, part, together=False):
        model.zero_grad()
        if together:
            with replicas.common_step():
                loss(torch.tensor(labels[part]), model(images[part], training=True)).backward()
        else:
            loss(torch.tensor(labels[part]), model(images[part], training=True)).backward()
        return [v.value.grad.clone() for v in model.trainable_variables]

    def error(found, exact):
        found, exact = (torch.cat([g.reshape(-1) for g in gs]) for gs in (found, exact))
        return float((found - exact).norm() / exact.norm())

    for name, loss in LOSSES.items():
        exact = gradient(loss, slice(None))
        both = []
        for together in (False, True):
            own = gradient(loss, slice(rank, None, 2), together)
            replicas.average_over_processes(own)
            both.append(error(own, exact))
        if rank == 0:
            print(f"| {name} | {both[0]:.1e} | {both[1]:.1e} |", flush=True)


class Through:
    """A model that is called through DistributedDataParallel."""

    def __init__(self, model, parallel):
        self.__dict__.update(model=model, parallel=parallel)

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *args, **kwargs):
        return self.parallel(*args, **kwargs)


def steps(args):
    """Seconds of a step in both ways, the median of rounds in turns."""
    keras.utils.set_random_seed(0)
    model = kd.fcn8s("mobilenet_v2", 8, weights=None)
    model.compile(keras.optimizers.SGD(1e-3), loss=L.CrossEntropy())
    world = kd.datasets.scenes(2, args.size)
    images = np.stack([world[i]["image"] for i in range(2)])
    labels = np.stack([world[i]["segmentation"] for i in range(2)])
    data = [(torch.tensor(images), torch.tensor(labels), None)]
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    own = model.optimizer.apply

    def averaged(grads, variables):
        replicas.average_over_processes(grads)
        own(grads, variables)

    def with_callback():
        model.optimizer.apply = averaged
        with replicas.common_step():
            model.train_step(data[0])
        del model.optimizer.apply

    def with_wrapper():
        type(model).train_step(Through(model, parallel), data[0])

    # The hooks of DistributedDataParallel average what only its own step prepares.
    seconds = {with_callback: [], with_wrapper: []}
    for round in range(args.rounds + 1):
        for step in seconds:
            dist.barrier()
            start = time.perf_counter()
            step()
            dist.barrier()
            if round:
                seconds[step].append(time.perf_counter() - start)
    mine, theirs = (np.array(times) for times in seconds.values())
    if dist.get_rank() == 0:
        print(
            f"step with SyncProcesses over one with DistributedDataParallel: median ratio "
            f"{np.median(mine / theirs):.2f} ({np.median(mine):.2f} s, {np.median(theirs):.2f} s)"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    if dist.get_rank() == 0:
        print("| loss | local | keras_dense |\n|---|---|---|")
    gradients(args)
    steps(args)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
