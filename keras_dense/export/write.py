"""Writing, running, comparing and renaming, common to all formats."""

import numpy as np

from keras_dense._files import beside, whole
from keras_dense._lock import lock
from keras_dense.export.check import (
    differences,
    expect_finite,
    expect_same,
    random_images,
    sentence,
)
from keras_dense.export.files import size_of


def write_and_check(product, path, write, load, images=None, exact=True):
    """Write an export, run it beside the model, and return the differences.

    Args:
        product: a `Product`.
        path: where to write.
        write: function `write(path)` that writes the export.
        load: function `load(path)` that returns a function from uint8 images to `{name: array}`.
        images: images to compare on; default: random ones.
        exact: bool, whether both must compute the same, up to rounding.

    Returns:
        `{name: difference}`.
    """
    images = random_images(product.shape) if images is None else images
    weights = {w.path: np.asarray(w) for w in product.model.weights}
    expect_finite(
        {k: np.asarray(y) for k, y in product.raw(images, product.model).items()}, weights
    )
    with lock(beside(path.absolute(), ".lock"), path), whole(path) as temporary:
        write(temporary)
        answers = load(temporary)(images)
        found = differences(product.reference(images), answers, product.labels)
        if exact:
            # Early labels differ from the model, but not from the graph that is exported.
            expect_same(product.reference(images, product.expected), answers, product.labels)
    print(f"{path} ({size_of(path) / 1e6:.3g} MB): {sentence(found, product.labels)}")
    return found
