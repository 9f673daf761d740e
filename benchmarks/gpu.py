"""Images per second and peak memory on a GPU: training and inference, three backends, and peers.

    python benchmarks/gpu.py                         # at most 8 minutes; writes build/gpu/
    python benchmarks/gpu.py --backends torch --networks unet --minutes 3
    python benchmarks/gpu.py --smoke                 # on the CPU, tiny: whether the script works

FCN-8s on VGG-16, DeepLabv3+ on ResNet-50, U-Net on ResNet-34, and a dense CRF (the layer alone,
behind one 1×1 convolution), 21 classes, random weights: in float32 with the defaults of the
backend (TF32 where that is the default), in mixed_bfloat16, and in mixed_bfloat16 with
`jit_compile=True` (JAX compiles in any case). Beside them DeepLabv3+ and U-Net of
segmentation_models_pytorch and DeepLabv3 of torchvision, where these are installed: autocast to
bfloat16 and `torch.compile`, channels last.

Inference is from uint8 pixels in NumPy to labels in NumPy. Training is `fit` on pixels and labels
in memory, loss and optimizer (SGD with momentum), no metrics; the peers' tensors are on the
device. Each network of each backend has a process and a share of the time that is left. What was
not reached, or failed, is in the table as well. Prints and writes a Markdown table (gpu.md) and
JSON (gpu.json).
"""

import argparse
import gc
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
from _memory import forget, resident
from _peers import peer_library
from _process import BACKENDS, installed

CLASSES = 21
NETWORKS = {
    "fcn8s": "FCN-8s, VGG-16",
    "deeplabv3plus": "DeepLabv3+, ResNet-50",
    "unet": "U-Net, ResNet-34",
    "crf": "CRF layer",
}
# Precision, and whether to compile. The cheapest first: JAX cannot forget a peak of memory.
FORMS = (("bfloat16", False), ("float32", False), ("bfloat16", True))
TASKS = ("inference", "training")
# (network, library, function) of the peers.
PEERS = {
    "deeplabv3plus": [
        ("segmentation_models_pytorch", "DeepLabV3Plus", "resnet50"),
        ("torchvision", "deeplabv3_resnet50", None),
    ],
    "unet": [("segmentation_models_pytorch", "Unet", "resnet34")],
}
END = 10  # Seconds that are kept for the tables.


def batch_of(network, batch):
    """The CRF computes with every pixel at full size, so it gets a quarter of the images."""
    return max(1, batch // 4) if network == "crf" else batch


def seconds_per_call(call, limit):
    """Seconds of the first call, and the median of later ones; at most 20, or `limit` seconds."""
    began = time.perf_counter()
    call()
    first = time.perf_counter() - began
    times = []
    while len(times) < 20 and (len(times) < 2 or sum(times) < limit):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return first, float(np.median(times))


# The device of a backend: its name or None, and its peak of memory.


def torch_device():
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def device_of(backend):
    """The name of the GPU, or `None` if the backend has none."""
    if backend == "torch":
        return torch_device()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(found[0]) if found else {}
        return details.get("device_name", "GPU") if found else None
    import jax

    found = [device for device in jax.devices() if device.platform == "gpu"]
    return found[0].device_kind if found else None


class Peak:
    """Peak of memory of a task, MB: on the GPU what arrays took, on the CPU what is resident."""

    def __init__(self, backend, on_gpu):
        self.backend, self.on_gpu = backend, on_gpu
        self.before = 0

    def start(self):
        if not self.on_gpu:
            forget()
        elif self.backend == "torch":
            import torch

            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        elif self.backend == "tensorflow":
            import tensorflow as tf

            tf.config.experimental.reset_memory_stats("GPU:0")
        else:
            self.before = self._now()

    def _now(self):
        if not self.on_gpu:
            return resident("VmHWM")
        if self.backend == "torch":
            import torch

            return torch.cuda.max_memory_allocated() / 2**20
        if self.backend == "tensorflow":
            import tensorflow as tf

            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        import jax

        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20

    def end(self):
        """MB, and whether this is only an upper bound: an earlier task had the same peak."""
        now = self._now()
        return now, self.on_gpu and self.backend == "jax" and now <= self.before


# Ours.


def our_network(name, smoke):
    import keras

    import keras_dense as kd

    given = {"num_classes": CLASSES, "weights": None}
    if name == "fcn8s":
        return kd.fcn8s("mobilenet_v2" if smoke else "vgg16", **given)
    if name == "deeplabv3plus":
        return kd.deeplabv3plus("mobilenet_v2" if smoke else "resnet50", **given)
    if name == "unet":
        return kd.unet("resnet18" if smoke else "resnet34", **given)
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    logits = keras.layers.Conv2D(CLASSES, 1, dtype="float32")(x)
    model = kd.heads.attach(keras.Model(image, logits), kd.heads.Segmentation(CLASSES))
    return kd.with_crf(model)


def our_tasks(name, form, data, smoke):
    """Calls by task, and the images of each, of our network in a precision."""
    import keras

    import keras_dense as kd

    precision, compiled = form
    images, labels = data
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    keras.utils.set_random_seed(0)
    model = our_network(name, smoke)
    settings = kd.objectives(model)
    settings.pop("metrics")
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), jit_compile=compiled, **settings)
    labels_of = kd.decoded(model)
    labels_of.compile(jit_compile=compiled)
    steps = 1 if smoke else 4
    many = [np.concatenate([x] * steps) for x in (images, labels)]

    def train():
        model.fit(*many, batch_size=len(images), verbose=0, shuffle=False)

    return {
        "inference": (lambda: np.asarray(labels_of.predict_on_batch(images)), len(images)),
        "training": (train, steps * len(images)),
    }


# Peers.


def peer_network(library, function, encoder):
    module = peer_library(library)
    if library == "torchvision":
        return module.models.segmentation.__dict__[function](
            weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
        )
    return getattr(module, function)(encoder, encoder_weights=None, classes=CLASSES)


def peer_tasks(peer, form, data, smoke):
    import torch

    precision, compiled = form
    device = "cuda" if torch_device() else "cpu"
    images, labels = data
    network = peer_network(*peer).to(device, memory_format=torch.channels_last)
    run = torch.compile(network) if compiled else network
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
    loss = torch.nn.functional.cross_entropy
    y = torch.from_numpy(labels).long().to(device)

    def forward(x):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return run(x)

    def pixels():
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return x.to(torch.float32, memory_format=torch.channels_last) / 255

    def infer():
        network.eval()
        with torch.inference_mode():
            out = forward(pixels())
            out = out["out"] if isinstance(out, dict) else out
            return out.argmax(1).to(torch.int32).cpu().numpy()

    x = pixels()

    def train():
        network.train()
        optimizer.zero_grad()
        out = forward(x)
        if isinstance(out, dict):
            total = loss(out["out"].float(), y) + 0.4 * loss(out["aux"].float(), y)
        else:
            total = loss(out.float(), y)
        total.backward()
        optimizer.step()
        total.item()

    return {"inference": (infer, len(images)), "training": (train, len(images))}


# Processes.


def work(options):
    """Measure one network of one backend, or the peers of a network; a line of JSON per result."""
    began = time.perf_counter()
    backend, name = options.work
    peers = backend == "peers"
    device = torch_device() if peers else device_of(backend)
    with open(options.file, "a") as file:

        def write(**found):
            print(json.dumps(found), file=file, flush=True)

        if device is None and not options.smoke:
            write(library=backend, network=name, failed="no GPU is seen by this backend")
            return
        rng = np.random.default_rng(0)
        count, size = batch_of(name, options.batch), options.size
        data = (
            rng.integers(0, 256, (count, size, size, 3), "uint8"),
            rng.integers(0, CLASSES, (count, size, size), "int32"),
        )
        libraries = PEERS.get(name, []) if peers else [None]
        libraries = [p for p in libraries if p is None or peer_library(p[0]) is not None]
        peak = Peak("torch" if peers else backend, device is not None)
        longest = 0.0
        for form in FORMS if not options.smoke else FORMS[:2]:
            if form[1] and backend == "jax":
                continue  # The others are compiled as well.
            for peer in libraries:
                library = f"{peer[0]} {peer[1]}" if peer else backend
                case = {
                    "library": library,
                    "network": name,
                    "precision": form[0],
                    "compiled": form[1] or backend == "jax",
                    "device": device or "CPU",
                }
                left = options.seconds - (time.perf_counter() - began)
                if longest > left:
                    write(**case, failed="not reached in the time of this process")
                    continue
                start = time.perf_counter()
                tasks = call = None
                gc.collect()  # the network before
                try:
                    make = peer_tasks if peer else our_tasks
                    tasks = make(peer or name, form, data, options.smoke)
                    for task in TASKS:
                        call, images = tasks[task]
                        peak.start()
                        first, later = seconds_per_call(call, 0.1 if options.smoke else 1.5)
                        memory, bound = peak.end()
                        write(
                            **case,
                            task=task,
                            images_per_second=images / later,
                            first_call=first,
                            memory=memory,
                            memory_is_bound=bound,
                        )
                except Exception as error:  # Out of memory, a compiler that is missing ...
                    lines = f"{type(error).__name__}: {error}".splitlines()
                    write(**case, failed=lines[0][:120])
                longest = max(longest, time.perf_counter() - start)


def plan(options):
    """(backend, network) of each process, the networks of all backends by turns."""
    backends = installed(options.backends)
    peers = [n for n in PEERS if n in options.networks] if "torch" in backends else []
    peers = [n for n in peers if any(importlib.util.find_spec(peer[0]) for peer in PEERS[n])]
    jobs = []
    for network in options.networks:
        jobs += [(backend, network) for backend in backends]
        jobs += [("peers", network)] * (network in peers)
    return jobs


def run(job, seconds, options, file):
    """Run a process, and end it when its time is over; its results stay."""
    backend, network = job
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment = {**variables, **os.environ}
    environment["KERAS_BACKEND"] = "torch" if backend == "peers" else backend
    if options.smoke:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    words = [*job, "--seconds", seconds, "--file", file, "--size", options.size]
    words += ["--batch", options.batch] + ["--smoke"] * options.smoke
    command = [sys.executable, __file__, "--work", *map(str, words)]
    failed = None
    try:
        done = subprocess.run(
            command, env=environment, timeout=seconds, stdout=subprocess.DEVNULL, stderr=None
        )
        if done.returncode:
            failed = f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        failed = f"ended after {seconds:.0f} s, its share of the time"
    if failed:
        with open(file, "a") as results:
            print(
                json.dumps({"library": backend, "network": network, "failed": failed}), file=results
            )


def table(found):
    lines = [
        "| network | library | precision | compiled | inference, images/s | MB | "
        "training, images/s | MB | first calls, s |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    rows = {}
    for result in found:
        key = tuple(result.get(k) for k in ("network", "library", "precision", "compiled"))
        rows.setdefault(key, {})[result.get("task", "failed")] = result
    for (network, library, precision, compiled), tasks in rows.items():
        cells = []
        for task in TASKS:
            if task in tasks:
                result = tasks[task]
                bound = "≤ " if result["memory_is_bound"] else ""
                cells += [f"{result['images_per_second']:.1f}", f"{bound}{result['memory']:.0f}"]
            else:
                cells += ["", ""]
        firsts = [f"{tasks[task]['first_call']:.1f}" for task in TASKS if task in tasks]
        last = ", ".join(firsts)
        if "failed" in tasks:
            last = (last + "; " if last else "") + tasks["failed"]["failed"].replace("|", "\\|")
        text = {True: "yes", False: "no", None: ""}[compiled]
        cells = [NETWORKS[network], library, precision or "", text, *cells, last]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    options = arguments()
    if options.work:
        return work(options)
    if options.smoke:
        options.size, options.batch = min(options.size, 64), 2
    began = time.monotonic()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    file.write_text("")
    jobs = plan(options)
    for number, job in enumerate(jobs):
        left = options.minutes * 60 - END - (time.monotonic() - began)
        if left < 5:
            with open(file, "a") as results:
                row = {"library": job[0], "network": job[1], "failed": "not reached"}
                print(json.dumps(row), file=results)
            continue
        run(job, left / (len(jobs) - number), options, file)
    found = [json.loads(line) for line in file.read_text().splitlines()]
    devices = sorted({result["device"] for result in found if "device" in result})
    text = (
        f"{', '.join(devices) or 'No device'}; {options.batch} images of {options.size}×"
        f"{options.size} (CRF: {batch_of('crf', options.batch)}), {CLASSES} classes; "
        f"{(time.monotonic() - began) / 60:.1f} minutes"
        f"{', on smaller backbones than named' * options.smoke}.\n\n{table(found)}\n"
    )
    (out / "gpu.md").write_text(text)
    facts = {"versions": versions(), "size": options.size, "batch": options.batch}
    (out / "gpu.json").write_text(json.dumps({**facts, "results": found}, indent=1))
    print(text)
    if not any("task" in result for result in found):
        sys.exit("Nothing was measured. --smoke tries the script on the CPU.")


def versions():
    from importlib import metadata

    names = ("keras", "torch", "tensorflow", "jax", "torchvision", "segmentation_models_pytorch")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add("--minutes", type=float, default=8, help="limit of the whole run")
    add("--size", type=int, default=512)
    add("--batch", type=int, default=8)
    add("--out", default="build/gpu", help="folder for gpu.md and gpu.json")
    add("--smoke", action="store_true", help="on the CPU, tiny networks")
    # For the processes of this script.
    add("--work", nargs=2, help=argparse.SUPPRESS)
    add("--seconds", type=float, help=argparse.SUPPRESS)
    add("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
