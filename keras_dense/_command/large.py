"""Images beyond the size limit of Pillow."""

import contextlib

from keras_dense._optional import require
from keras_dense.datasets.files import read_image
from keras_dense.inference import GeoTiff

WINDOWED = (".tif", ".tiff", ".jp2", ".j2k", ".vrt")  # GDAL reads these by windows
_ORIENTATION = 0x0112


def read(file, channels, by_windows, whole):
    """An image as RGB, uint8 `(H, W, 3)`, upright; a large one by windows or whole.

    Args:
        file: its path.
        channels: int, number of channels of the model.
        by_windows: bool, whether it may be read by windows.
        whole: bool, whether a large one may be read whole.

    Returns:
        An array, or a `GeoTiff` of a large image.

    Raises:
        ValueError: if it cannot be read, or is large and neither way is allowed.
    """
    windowed = file.suffix.lower() in WINDOWED
    size, known = _large(file)
    # Pillow cannot read many channels, or more than 8 bits.
    if windowed and by_windows and (not known or (size is not None and not whole)):
        return _scene(file, channels)
    if size is None:
        return read_image(file, upright=True)
    pixels = f"{size[0]}×{size[1]} pixels"
    if whole:
        with _no_limit():
            return read_image(file, upright=True)
    gigabytes = size[0] * size[1] * 3 / 1e9
    windows = (
        "--tile reads it by windows" if windowed else "as a TIFF it is read by windows (--tile)"
    )
    raise ValueError(
        f"{file}: is large, {pixels}; {windows}, --large reads it whole, which takes "
        f"{gigabytes:.2g} GB or more"
    )


def _scene(file, channels):
    """A large image by windows."""
    image = require("PIL.Image", extra="examples")
    unidentified = require("PIL", extra="examples").UnidentifiedImageError
    turned = 1
    with _no_limit(), contextlib.suppress(unidentified):
        with image.open(file) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1)
    if turned != 1:
        raise ValueError(
            f"{file}: is large and has an EXIF orientation ({turned}), which windows cannot "
            "follow; turn and save it first, or read it whole (--large)"
        )
    scene = GeoTiff(file)
    if scene.shape[2] == 1 and channels == 3:  # gray, as in small images
        return GeoTiff(file, bands=scene.bands * 3)
    if scene.shape[2] != channels:
        raise ValueError(
            f"{file}: has {scene.shape[2]} bands for a model of {channels} channels; "
            "kd.inference.predict_tiled takes kd.inference.GeoTiff(path, bands=…)"
        )
    return scene


def _large(file):
    """Height and width of an image beyond Pillow's limit, else `None`; and whether Pillow can
    read such files.
    """
    image = require("PIL.Image", extra="examples")
    unidentified = require("PIL", extra="examples").UnidentifiedImageError
    try:
        with image.open(file):
            return None, True
    except image.DecompressionBombError:
        with _no_limit(), image.open(file) as opened:
            return (opened.height, opened.width), True
    except unidentified:
        return None, False
    # Reading it will raise the proper error.
    except Exception:
        return None, True


@contextlib.contextmanager
def _no_limit():
    """Remove the limit of Pillow for the body of a `with` statement."""
    image = require("PIL.Image", extra="examples")
    before, image.MAX_IMAGE_PIXELS = image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        image.MAX_IMAGE_PIXELS = before
