"""Folders of photographs, such as those for colorization."""

import pathlib
from collections.abc import Iterable

from keras_dense._types import PathLike, Sample
from keras_dense.datasets.files import READABLE, Decode, read_image
from keras_dense.datasets.layouts import existing_folder
from keras_dense.datasets.listing import walk
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.samples import Samples


class Photographs(Samples):
    """Map-style data set of image files; `photographs` makes it.

    Attributes:
        name: str.
        files: list of paths.
    """

    name = "photographs"

    def __init__(
        self,
        root: pathlib.Path,
        files: Iterable[pathlib.Path],
        decode_image: Decode | None = None,
        upright: bool | None = True,
    ) -> None:
        self.root = root
        self.files = list(files)
        self.decode_image = decode_image
        self.upright = upright

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path = self.files[index]
        return check_sample({"image": read_image(path, self.upright, self.decode_image)}, str(path))

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return str(self.files[index])

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} in {str(self.root)!r}>"


def photographs(
    folder: PathLike, *, decode_image: Decode | None = None, upright: bool | None = True
) -> Photographs:
    """Read all photographs in a folder and its subfolders, in the order of their paths.

    Hidden files, and files without the extension of an image, are skipped. Gray images become RGB;
    a network that learns colors learns gray from them.

    Args:
        folder: path.
        decode_image: function from the numbers of a file as stored to uint8 `(H, W, 3)` or
            `(H, W)`; see `folder`.
        upright: bool, whether to apply the EXIF orientation, as viewers do.

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3)}`, RGB, each of its own size.

    Raises:
        FileNotFoundError: if the folder is missing or contains no image.
        ValueError: reading a sample, naming the file, if it is corrupt, or has more than 8 bits per
            channel and there is no `decode_image`. (`kd.datasets.check` reads all and lists every
            corrupt one.)

    Example:

    ```python
    train, val = kd.datasets.split(kd.datasets.photographs("data/holidays"), 0.9)
    ```
    """
    root = existing_folder(folder, "photographs")
    files = sorted(path for path in walk(root) if path.suffix.lower() in READABLE)
    if not files:
        raise FileNotFoundError(
            f"photographs: the folder {str(root)!r} and its subfolders contain no image "
            f"({', '.join(e[1:] for e in READABLE)})"
        )
    return Photographs(root, files, decode_image, upright)
