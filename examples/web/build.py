"""A page that runs a model in the browser: any static web server will do, and no GPU.

    python examples/web/build.py runs/four/model.keras site
    python -m http.server --directory site

It exports the model to ONNX (on the TensorFlow backend, wherever it was trained) and puts it into a
folder with the page, ONNX Runtime Web and some sample pictures. See docs/web.md.
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
PAGE = ("index.html", "style.css", "app.js", "picture.js", "kinds.js", "colors.js", "worker.js")
# The build that computes on the CPU, in one file besides the WebAssembly. Renamed to ".js": some
# web servers do not know ".mjs" and browsers then refuse it.
RUNTIME = {
    "package.json": "package.json",  # names the version and the licence
    "dist/ort.wasm.bundle.min.mjs": "ort.js",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}


def export(model, heads, site, float16):
    """`model.onnx`, and what its outputs mean as `about.json`."""
    command = [sys.executable, "-m", "keras_dense", "export", model]
    command += ["--heads", heads] if heads else []
    command += ["onnx", site / "model.onnx", "--overwrite"]
    command += ["--quantize", "float16"] if float16 else []
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "tensorflow"}, check=True)
    import onnx

    properties = onnx.load(site / "model.onnx").metadata_props
    about = next(entry.value for entry in properties if entry.key == "about")
    channels = json.loads(about)["inputs"]["images"]["shape"][-1]
    if channels != 3:
        sys.exit(f"{model}: takes images of {channels} channels; the page gives RGB pictures")
    (site / "about.json").write_text(about, encoding="utf-8")


def copy_runtime(site, package):
    """Three files of the npm package onnxruntime-web, which is fetched unless one is named."""
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
    """Unpack the npm package in a folder; where that is."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(
            "npm (of Node.js) is not installed. It fetches onnxruntime-web; elsewhere, "
            f"`npm pack onnxruntime-web@{VERSION}`, unpack, and name it: --runtime package"
        )
    # `pack` only fetches (and checks) the archive: nothing in it is run.
    command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(pathlib.Path(folder).glob("*.tgz"))) as archive:
        wanted = [archive.getmember(f"package/{name}") for name in RUNTIME]
        archive.extractall(folder, wanted)
    return pathlib.Path(folder) / "package"


def write_samples(site, files):
    """Pictures to choose, or drawn scenes where none are named."""
    from PIL import Image

    import keras_dense as kd

    folder = site / "samples"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if files:
        pictures = [Image.open(file).convert("RGB") for file in files]
    else:
        scenes = kd.datasets.scenes(count=4, size=(288, 384), split="test")
        pictures = [Image.fromarray(sample["image"]) for sample in scenes]
    names = []
    for n, picture in enumerate(pictures, 1):
        picture.thumbnail((1280, 1280))
        names.append(f"samples/{n}.jpg")
        picture.save(site / names[-1], quality=92)
    (site / "samples.json").write_text(json.dumps(names))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file, from any backend")
    add("site", type=pathlib.Path, help="the folder to write; of one that is there, our files only")
    add("--heads", help="heads.json of the run (default: the one beside the model)")
    add("--samples", nargs="+", help="pictures to choose on the page (default: drawn scenes)")
    add("--float16", action="store_true", help="weights in float16: half as much to load")
    add("--runtime", help="an unpacked onnxruntime-web package (default: npm fetches it)")
    args = parser.parse_args(argv)
    args.site.mkdir(parents=True, exist_ok=True)
    try:
        export(args.model, args.heads, args.site, args.float16)
        copy_runtime(args.site, args.runtime)
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode)
    write_samples(args.site, args.samples)
    for name in PAGE:
        shutil.copyfile(pathlib.Path(__file__).parent / name, args.site / name)
    size = sum(file.stat().st_size for file in args.site.rglob("*") if file.is_file())
    print(f"{args.site}: {size / 1e6:.0f} MB. python -m http.server --directory {args.site}")


if __name__ == "__main__":
    main()
