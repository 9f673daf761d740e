"""Images in one folder, depth of the same names in another, and perhaps normals in a third."""

import functools

from keras_dense.datasets.cameras import read_camera
from keras_dense.datasets.depth_files import positive, read_depth
from keras_dense.datasets.listing import READABLE, find_files
from keras_dense.datasets.normals_files import read_normals
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.rasters import RASTERS
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.ops.geometry import check_frame


def depth_folder(
    images,
    depths,
    *,
    scale=None,
    decode=None,
    max_depth=None,
    key=None,
    normals=None,
    normals_frame="opencv",
    normals_decode=None,
    valid=None,
    intrinsics=None,
    names=None,
    image_suffix="",
    depth_suffix="",
    normals_suffix="",
    valid_suffix="",
    recursive=False,
    decode_image=None,
    upright=None,
    name=None,
    split=None,
):
    """Images in one folder, depth of the same names in another, in any format that holds numbers.

    All folders may be one, if suffixes tell the files apart.

    Args:
        images: path of the folder of images.
        depths: path of the folder of depth: `images/a.jpg` goes with `depths/a.png`, or `.npy`,
            `.npz`, `.tif`, `.pfm`, `.exr`, `.h5`, `.mat`; see `read_depth`.
        scale: float > 0, numbers of the depth files in a meter: 256 in KITTI, 5000 in TUM RGB-D;
            1000 (millimeters) for integers and 1 for floats unless given.
        decode: function from a depth file's numbers to those that are meant: for disparities,
            distances along the ray, depth packed in colors; see `read_depth`.
        max_depth: float > 0, meters; what is farther is unknown.
        key: str, which array of a `.npz`, `.h5` or `.mat` file, which channel of an EXR.
        normals: path of a folder of normals: integers of 8 or 16 bits, `(n + 1) / 2` times 255 or
            65535 with (0, 0, 0) = unknown, or floats, the vectors themselves.
        normals_frame: the axes of the normals' files; what comes out is "opencv":
            "opencv": x right, y down, z forward, towards the camera, a wall is (0, 0, -1);
            "dsine": the same axes, away from the camera, (0, 0, 1);
            "opengl": x right, y up, z to the viewer, (0, 0, 1);
            "omnidata": x right, y down, z to the viewer, (0, 0, 1).
        normals_decode: function from a file's numbers to vectors, `(H, W, 3)`.
        valid: path of a folder of masks, 0 where depth is not to be trusted.
        intrinsics: of the camera: a `(3, 3)` matrix, `(fx, fy, cx, cy)`, the path of a JSON file
            with these four keys, and perhaps "height" and "width" of the images they are of, or
            the path of a text file with the nine numbers of the matrix. The center of the pixel in
            row v, column u is `(u, v)`.
        names: which samples: a list of stems, or the path of a text file with one a line. All
            of the folder unless given.
        image_suffix, depth_suffix, normals_suffix, valid_suffix: str, what their stems end with
            beside what they share: with `"_rgb"` and `"_depth"`, `a_rgb.png` goes with
            `a_depth.npy`; other files are passed over. With an ending (`".png"`, `"_depth.npy"`)
            it says which one is meant.
        recursive: bool: whether folders below are read, too. `images/x/a.jpg` goes with
            `depths/x/a.png`.
        decode_image: function from the numbers of an image file as stored to uint8 `(H, W, 3)` or
            `(H, W)`: `lambda x: (x // 256).astype("uint8")` for 16 bits a channel.
        upright: whether to turn images as their EXIF orientation says; `False` leaves them as
            stored. `None` takes what fits the depth map, and where its size does not say, a turned
            image is an error. Depth, normals and masks are never turned.
        name: str, how the dataset calls itself.
        split: str, kept as an attribute.

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters}`,
        with "normals", float32 `(H, W, 3)`, and "intrinsics", float32 `(3, 3)`, where given.
        Unknown depth is 0.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image, is missing.
        ValueError: if an argument is out of range. Reading a sample raises `ValueError` naming the
            file if it is corrupt, of another size (than its image, or than the intrinsics are of),
            if its numbers cannot be depth as they are (see `read_depth`), or most normals look
            away.

    Example:

    ```python
    ds = kd.datasets.depth_folder(
        "kitchen/rgb", "kitchen/depth", normals="kitchen/normal", normals_frame="opengl",
        intrinsics="kitchen/index.json",
    )
    ```
    """
    who = name or "depth_folder"
    for argument, value in {"scale": scale, "max_depth": max_depth}.items():
        if value is not None:
            positive(argument, value)
    check_frame("normals_frame", normals_frame)

    def match(folder, suffix, what, stems):
        return match_files(
            images,
            folder,
            names=stems,
            image_suffix=image_suffix,
            mask_suffix=suffix,
            recursive=recursive,
            extensions=RASTERS,
            who=who,
            what=what,
        )

    pairs = match(depths, depth_suffix, "depth map", names)
    known = find_files(images, who, "images", image_suffix, recursive, READABLE)
    stem_of = {path: stem for stem, path in known.items()}
    stems = [stem_of[image] for image, _ in pairs]
    others = {}
    for field, folder, suffix, what in (
        ("normals", normals, normals_suffix, "normal map"),
        ("valid", valid, valid_suffix, "mask of what is valid"),
    ):
        if folder is not None:
            others[field] = [path for _, path in match(folder, suffix, what, stems)]
    matrix, size = read_camera(intrinsics, who)
    files = [
        RgbdFile(image, depth, intrinsics=matrix, **{k: v[i] for k, v in others.items()})
        for i, (image, depth) in enumerate(pairs)
    ]
    depth = functools.partial(_depth, scale=scale, key=key, decode=decode, max_depth=max_depth)
    vectors = functools.partial(_normals, frame=normals_frame, decode=normals_decode)
    return DepthFiles(files, depth, vectors, who, split, size, upright, decode_image)


def _depth(path, intrinsics, **arguments):
    return read_depth(path, **arguments)


def _normals(path, intrinsics, frame, decode):
    return read_normals(path, frame, decode=decode)
