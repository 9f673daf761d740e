"""Pictures opened with Pillow; errors name the file and what to do."""

from keras_dense._optional import require


def opened(path):
    """A file opened with Pillow, not read yet; errors name the file and what to do."""
    image = require("PIL.Image", extra="examples")
    return named(path, lambda: image.open(path))


def load(picture, path):
    """Read the pixels of what was opened; errors name the file."""
    named(path, picture.load)


def named(path, read):
    """What `read()` returns; what Pillow raises becomes an error that names the file."""
    image = require("PIL.Image", extra="examples")
    try:
        return read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except image.DecompressionBombError as error:
        raise ValueError(
            f"{path}: {error}. If the file is trusted, set PIL.Image.MAX_IMAGE_PIXELS = None; "
            "kd.inference.GeoTiff reads large pictures window by window"
        ) from error
    # What Pillow raises for a broken file depends on the format and on where it is broken.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error})") from error
