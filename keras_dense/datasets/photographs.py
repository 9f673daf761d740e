"""Any folder of photographs: all that a network needs to learn colors."""

import pathlib

from keras_dense.datasets.files import READABLE, read_image
from keras_dense.datasets.listing import walk
from keras_dense.datasets.sample import check_sample


class Photographs:
    """A map-style dataset of image files; `photographs` makes it.

    Attributes:
        name: str.
        files: list of paths.
    """

    name = "photographs"

    def __init__(self, root, files, decode_image=None, upright=True):
        self.root = root
        self.files = list(files)
        self.decode_image = decode_image
        self.upright = upright

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        path = self.files[index]
        return check_sample({"image": read_image(path, self.upright, self.decode_image)}, str(path))

    def describe(self, index):
        """What sample `index` is, for messages: its path."""
        return str(self.files[index])

    def __repr__(self):
        return f"<{self.name}: {len(self)} in {str(self.root)!r}>"


def photographs(folder, *, decode_image=None, upright=True):
    """All photographs in a folder and the folders in it, in the order of their paths.

    Files that are no pictures by their extension, and hidden ones, are passed over. Gray pictures
    become RGB; a network that learns colors learns gray from them.

    Args:
        folder: path.
        decode_image: function from the numbers of a file as stored to uint8 `(H, W, 3)` or
            `(H, W)`; see `folder`.
        upright: bool: whether to turn them as their EXIF orientation says, as viewers do.

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3)}`, RGB, each of its own size.

    Raises:
        FileNotFoundError: if the folder is missing or holds no picture.
        ValueError: reading a sample, naming the file, if it is broken, or holds more than 8 bits a
            channel and there is no `decode_image`. (`kd.datasets.check`
            reads them all and lists every broken one.)

    Example:

    ```python
    train, val = kd.datasets.split(kd.datasets.photographs("data/holidays"), 0.9)
    ```
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"photographs: there is no folder {str(root)!r}")
    files = sorted(path for path in walk(root) if path.suffix.lower() in READABLE)
    if not files:
        raise FileNotFoundError(
            f"photographs: the folder {str(root)!r} holds no picture "
            f"({', '.join(e[1:] for e in READABLE)}), nor does any folder in it"
        )
    return Photographs(root, files, decode_image, upright)
