"""Web page that runs a model in the browser, from any static web server and without a GPU.

    python examples/web/build.py runs/four/model.keras site
    python -m http.server --directory site

It exports the model to ONNX (on the TensorFlow backend, whichever it was trained on) and puts it
into a folder with the page, ONNX Runtime Web and some sample images. The outputs are those of the
heads that the model carries. See docs/web.md.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

VERSION = "1.30.0"
PAGE = ("index.html", "style.css", "app.js", "image.js", "kinds.js", "colors.js", "worker.js")
# The build for the CPU, one file besides the WebAssembly. Renamed to ".js": some web servers do not
# know ".mjs", and browsers then refuse it.
RUNTIME = {
    "package.json": "package.json",  # The version and the license.
    "dist/ort.wasm.bundle.min.mjs": "ort.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}


def export(model, site, float16):
    """Write `model.onnx`, and the meaning of its outputs as `about.json`."""
    command = [sys.executable, "-m", "keras_dense", "export", model, "onnx", site / "model.onnx"]
    command += ["--overwrite"]
    command += ["--quantize", "float16"] if float16 else []
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "tensorflow"}, check=True)
    import onnx

    properties = onnx.load(site / "model.onnx").metadata_props
    about = next(entry.value for entry in properties if entry.key == "about")
    channels = json.loads(about)["inputs"]["images"]["shape"][-1]
    if channels != 3:
        sys.exit(f"{model}: takes images of {channels} channels; the page sends RGB images")
    (site / "about.json").write_text(about, encoding="utf-8")


def copy_runtime(site, package):
    """Copy three files of the npm package onnxruntime-web, which is fetched unless one is given."""
    folder = site / "ort"
    here = folder / "package.json"
    if not package and here.exists() and json.loads(here.read_text())["version"] == VERSION:
        return
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(package or fetch_runtime(temporary))
        folder.mkdir(exist_ok=True)
        for name, ours in RUNTIME.items():
            shutil.copyfile(source / name, folder / ours)


def fetch_runtime(folder):
    """Unpack the npm package in a folder, and return its path."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "npm (of Node.js) is not installed. It fetches onnxruntime-web; elsewhere, "
            f"`npm pack onnxruntime-web@{VERSION}`, unpack, and give its path: --runtime package"
        )
    # `pack` only fetches and checks the archive: nothing in it is run.
    command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(pathlib.Path(folder).glob("*.tgz"))) as archive:
        wanted = [archive.getmember(f"package/{name}") for name in RUNTIME]
        archive.extractall(folder, wanted)
    return pathlib.Path(folder) / "package"


def write_samples(site, files):
    """Write the sample images of the page: given files, or drawn scenes."""
    from PIL import Image

    import keras_dense as kd

    folder = site / "samples"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if files:
        images = [Image.open(file).convert("RGB") for file in files]
    else:
        scenes = kd.datasets.scenes(count=4, size=(288, 384), split="test")
        images = [Image.fromarray(sample["image"]) for sample in scenes]
    names = []
    for n, image in enumerate(images, 1):
        image.thumbnail((1280, 1280))
        names.append(f"samples/{n}.jpg")
        image.save(site / names[-1], quality=92)
    (site / "samples.json").write_text(json.dumps(names))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file, from any backend")
    add("site", type=pathlib.Path, help="folder to write; other files in it stay")
    add("--samples", nargs="+", help="images to choose on the page (default: drawn scenes)")
    add("--float16", action="store_true", help="weights in float16: half as much to load")
    add("--runtime", help="an unpacked onnxruntime-web package (default: npm fetches it)")
    args = parser.parse_args(argv)
    args.site.mkdir(parents=True, exist_ok=True)
    try:
        export(args.model, args.site, args.float16)
        copy_runtime(args.site, args.runtime)
    except subprocess.CalledProcessError as error:  # It has printed the reason.
        sys.exit(error.returncode)
    write_samples(args.site, args.samples)
    for name in PAGE:
        shutil.copyfile(pathlib.Path(__file__).parent / name, args.site / name)
    size = sum(file.stat().st_size for file in args.site.rglob("*") if file.is_file())
    print(f"{args.site}: {size / 1e6:.0f} MB. python -m http.server --directory {args.site}")


if __name__ == "__main__":
    main()
