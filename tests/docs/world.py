"""Files, small networks and names that the blocks of the documentation take for granted."""

import functools
import inspect
import pathlib
from typing import Any

import keras
import numpy as np

import keras_dense as kd

# Blocks that need what is not here, by page and beginning; their names are checked all the same.
NOT_RUN = {
    "docs/atrous.md": ("dense = kd.surgery.dilate(\n",),  # a layer of the user's
    "docs/data.md": ("# Cities", "depth = kd.datasets.read_depth"),  # files of data sets
    "docs/export.md": ("module = tf", "session = onnxruntime"),  # files and packages of runtimes
    "docs/objects.md": ("import numpy as np\nimport onnxruntime",),  # tests/heads has it
    "docs/serving.md": ("# pip install",),  # a server
    "docs/transformers.md": ("import keras_dense as kd", "backbone = kd.backbone"),  # presets
}
# Pages whose blocks do not continue each other.
INDEPENDENT = {"docs/tasks.md", "docs/training.md", "docs/transformers.md", "docs/weights.md"}
_SIDE = 64  # of crops


def prepare(monkeypatch: Any) -> None:
    """Write small files into the working directory, and make all that takes long short.

    Trainings take one step of two images, data sets are small, nothing is downloaded or exported.
    """
    write_files()
    replace = monkeypatch.setattr
    fit, predict = keras.Model.fit, keras.Model.predict

    signature = inspect.signature(fit)

    def one_step(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        given |= {"epochs": given.get("initial_epoch", 0) + 1, "steps_per_epoch": 1, "verbose": 0}
        return fit(**given)

    replace(keras.Model, "fit", one_step)
    replace(keras.Model, "predict", functools.partialmethod(predict, verbose=0))
    loader, crop, scenes = (
        kd.datasets.Loader,
        kd.datasets.transforms.RandomCrop,
        kd.datasets.scenes,
    )

    class Loader(loader):
        def __init__(self, dataset, heads, batch_size, **kwargs):
            super().__init__(dataset, heads, min(batch_size, 2), **kwargs)

    class RandomCrop(crop):
        def __init__(self, size):
            super().__init__(min(size, _SIDE))

    replace(kd.datasets, "Loader", Loader)
    replace(kd.datasets.transforms, "RandomCrop", RandomCrop)
    replace(kd.datasets, "scenes", lambda n, *args, **kw: scenes(min(n, 4), *args, **kw))
    # `kd.backbones.backbone` is a function and a file.
    file = inspect.getmodule(kd.backbone)
    replace(file, "application", functools.partial(_untrained, file.application))
    network = keras.applications.EfficientNetB0
    replace(keras.applications, "EfficientNetB0", functools.partial(network, weights=None))
    replace(kd.weights, "pretrained", _pretrained)
    if keras.backend.backend() != "tensorflow":
        for name in kd.export.__all__:
            replace(kd.export, name, lambda *args, **kwargs: {})


def _untrained(application, source, weights, **kwargs):
    """A network by name with random weights."""
    if source.lower().startswith(("resnet", "mobilenet", "inception", "efficientnet")):
        source, kwargs["alpha"] = "mobilenet_v2", 0.35
    return application(source, None, **kwargs)


def _pretrained(name, path=None, *, num_classes=None, heads=None, strict=True, **_):
    """In place of a published network: a small one."""
    if heads is None:
        classes = num_classes or 21
        heads = kd.heads.RelativeDepth() if "depth" in name else kd.heads.Segmentation(classes)
    return kd.fcn32s(kd.backbone("mobilenet_v2", weights=None, alpha=0.35), heads=heads)


def write_files() -> None:
    import torch
    from PIL import Image

    rng = np.random.default_rng(0)
    scenes = kd.datasets.scenes(4, (64, 96))
    for n in range(10):
        sample = scenes[n % 4]
        image = sample["image"]
        labels = np.minimum(sample["segmentation"], 2).astype("uint8")
        for folder in ("", "train/", "val/"):
            _write(f"{folder}images/{n}.png", image)
            _write(f"{folder}masks/{n}.png", labels)
        _write(f"black_and_white/{n}.png", np.where(labels > 0, 255, 0).astype("uint8"))
        numbers = np.kron(np.arange(1, 25).reshape(4, 6), np.ones((16, 16))).astype("uint8")
        _write(f"data/nuclei/images/{n}.png", image)
        _write(f"data/nuclei/instances/{n}.png", numbers)
    for name in ("photograph.jpg", "street.jpg"):
        Image.fromarray(image).save(name)
    for folder in ("a", "b"):
        pathlib.Path(folder).mkdir()
        np.savez(f"{folder}/images.npz", labels=rng.integers(1, 9, (5, 3, 3)))
    torch.save({"layer.weight": torch.zeros(2, 3)}, "file.pth")


def _write(path: str, array: Any) -> None:
    from PIL import Image

    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, "uint8")).save(path)


def names(page: str) -> dict[str, Any]:
    """Names that the blocks of a page find."""
    classes = {"docs/scores.md": 2, "docs/tasks.md": 19}.get(page, 3)
    train = kd.datasets.folder("images", "masks", num_classes=max(3, classes))
    head = kd.heads.Segmentation(classes)
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    model = kd.fcn32s(backbone, heads=head)
    if page == "docs/transformers.md":
        model = kd.segformer(heads=head)
    model.compile("sgd", **kd.objectives(model))
    model.save("model.keras")
    images = np.stack([train[n]["image"] for n in range(2)])
    labels = np.stack([train[n]["segmentation"] for n in range(2)])
    if classes == 2:
        train = kd.datasets.folder("images", "black_and_white", num_classes=2, remap={255: 1})
    logits = keras.ops.convert_to_numpy(model.predict_on_batch(images))
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    found = {"keras": keras, "np": np, "kd": kd, "train": train, "val": train, "partial": train}
    found |= {"backbone": backbone, "model": model, "other": model, "other_model": model}
    found |= {"image": images[0], "images": images, "photographs": images, "slide": images[0]}
    found |= {"labels": labels, "masks": labels, "logits": logits, "class_names": head.class_names}
    found |= {"probabilities": probabilities if page == "docs/crf.md" else probabilities[0]}
    found |= {
        "pairs": [(labels[0], labels[1])],
        "head": head,
        "steps": 10,
        "softmax": keras.ops.softmax,
    }
    found |= {name: kd.datasets.Loader(train, head, 2) for name in ("batches", "loader")}
    found |= {name: keras.optimizers.Adam(1e-3) for name in ("optimizer", "adam")}
    if page == "docs/upsampling.md":
        found["x"] = keras.Input((8, 8, 4))
    return found
