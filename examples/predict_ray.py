"""Predict a collection of images on every machine of a Ray cluster, or on this one.

    python examples/predict_ray.py model.keras photos/ --out labels/ --workers 2
    python examples/predict_ray.py model.keras s3://bucket/photos --out /mnt/labels --address auto

Ray Data (`pip install "ray[data]"`) reads the files and sends them to `--workers` processes with a
model each. (Tested on one machine, with files.) Results are files as `python -m keras_dense
predict` writes them: the heads of the model decide on their kind. Existing results are skipped.
`run.json` identifies the model, and a folder with results of another one is an error. Images that
cannot be read or predicted are listed at the end, and in `failed.json`.

On a cluster, all machines must find the model and `--out` under the same path.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

EXTENSIONS = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "gif", "webp", "ppm"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path)
    add("images", help="folder, local or of any kind that Ray Data reads (s3://, gs://, …)")
    add("--out", type=pathlib.Path, required=True)
    add("--workers", type=int, default=1, help="processes with a model each")
    add("--cpus", type=int, default=1, help="of each")
    add("--gpus", type=float, default=0.0, help="of each; may be a fraction")
    add("--address", help="of a cluster: auto, or ray://…; default: this machine")
    return parser.parse_args()


def load(file):
    """A model and the heads that it predicts with, by key: "" for a single one."""
    import keras

    import keras_dense as kd

    model = keras.saving.load_model(file, compile=False)
    return model, kd.heads.Heads(kd.heads.of(model)).final()


class Predictor:
    """A process of Ray, which loads the model once."""

    def __init__(self, model, out):
        import keras_dense as kd

        loaded, self.heads = load(model)
        self.predictor = kd.inference.TiledPredictor(loaded)
        self.out = out

    def __call__(self, row):
        """Predict and write one file; returns its path, and an error text or ""."""
        path = row["path"]
        name = pathlib.PurePosixPath(path).name
        try:
            found = self.predictor.run(pixels(row["bytes"], name), progress=False)
            for key, result in self.heads.unpack(found).items():
                head = self.heads[key]
                write(self.out / key / f"{name}{head.suffix}", head, result)
        # One image must not end the run of the others.
        except Exception as error:
            return {"path": path, "error": f"{type(error).__name__}: {error}"}
        return {"path": path, "error": ""}


def pixels(file, name):
    """RGB from the bytes of a file, upright; an error for more than 8 bits a channel."""
    from keras_dense.datasets.files import read_image

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        path.write_bytes(file)
        return read_image(path, upright=True)


def write(path, head, result):
    """Write a result as its head stores it, to a file that appears when it is complete."""
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    array, palette, _ = head.stored(result)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(new, "wb") as file:
            if path.suffix == ".npy":
                np.save(file, array)
            else:
                image = Image.fromarray(array)
                if palette is not None:
                    image.putpalette(np.asarray(palette, "uint8").tobytes())
                image.save(file, format="PNG")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def check_out(args):
    """Exit if results would be mixed with the images, or with those of another model."""
    if pathlib.Path(args.images).is_dir() and args.out.exists():
        if args.out.samefile(args.images):
            raise SystemExit("--out must not be the folder of the images")
    run = {args.model.name: hashlib.sha256(args.model.read_bytes()).hexdigest()}
    state = args.out / "run.json"
    if state.exists() and json.loads(state.read_text()) != run:
        raise SystemExit(f"{args.out} has results of another model")
    if not state.exists() and args.out.exists() and any(args.out.iterdir()):
        raise SystemExit(f"{args.out} has files that are no results of this script")
    args.out.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps(run, indent=1))


def main():
    args = arguments()
    try:
        import ray
    except ImportError:
        raise SystemExit('Runs on Ray Data: pip install "ray[data]"') from None
    check_out(args)
    out = args.out.absolute()
    endings = {key: head.suffix for key, head in load(args.model)[1].items()}

    def waits(row):
        name = pathlib.PurePosixPath(row["path"]).name
        return not all((out / key / f"{name}{end}").exists() for key, end in endings.items())

    ray.init(address=args.address, include_dashboard=False, logging_level="warning")
    files = ray.data.read_binary_files(args.images, include_paths=True, file_extensions=EXTENSIONS)
    done = files.filter(waits).map(
        Predictor,
        fn_constructor_kwargs={"model": args.model.absolute(), "out": out},
        concurrency=args.workers,
        num_cpus=args.cpus,
        num_gpus=args.gpus,
    )
    failed, counts = {}, collections.Counter()
    for row in done.iter_rows():
        counts["failed" if row["error"] else "written"] += 1
        if row["error"]:
            failed[row["path"]] = row["error"]
    print(f"{counts['written']} images written to {args.out}, {counts['failed']} failed")
    (args.out / "failed.json").write_text(json.dumps(failed, indent=1))
    for path, error in failed.items():
        print(f"  {path}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
