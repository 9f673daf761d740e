"""Images opened with Pillow; errors name the file and the remedy."""

from collections.abc import Callable
from typing import Any, TypeVar

from keras_dense._optional import require
from keras_dense._types import PathLike

T = TypeVar("T")


def open_image(path: PathLike) -> Any:
    """Open a file with Pillow, without decoding its pixels."""
    image = require("PIL.Image", extra="examples")
    return naming_file(path, lambda: image.open(path))


def load_pixels(image: Any, path: PathLike) -> None:
    """Decode the pixels of a Pillow image."""
    naming_file(path, image.load)


def naming_file(path: PathLike, read: Callable[[], T]) -> T:
    """Call `read()`; errors of Pillow become errors that name the file."""
    image = require("PIL.Image", extra="examples")
    try:
        return read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except image.DecompressionBombError as error:
        raise ValueError(
            f"{path}: {error}. If you trust the file, set PIL.Image.MAX_IMAGE_PIXELS = None; "
            "kd.inference.GeoTiff reads large images window by window"
        ) from error
    # The exceptions of Pillow for a broken file depend on its format and on the position.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError) as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error
