"""Write, run, compare, rename: what all formats have in common."""

import numpy as np

from keras_dense.export.check import (
    differences,
    expect_finite,
    expect_same,
    random_images,
    sentence,
)
from keras_dense.export.files import size_of, written


def write_and_check(product, path, write, load, images=None, exact=True):
    """Write an export, run it beside the model, and say how far they are apart.

    Args:
        product: a `Product`.
        path: where to write.
        write: `write(path)`, which writes the export.
        load: `load(path)` → a function of images, uint8, to `{name: array}`.
        images: what to compare on; default: random images.
        exact: whether they must compute the same, but for rounding.

    Returns:
        `{name: difference}`.
    """
    images = random_images(product.shape) if images is None else images
    weights = {w.path: np.asarray(w) for w in product.model.weights}
    expect_finite(
        {k: np.asarray(y) for k, y in product.raw(images, product.model).items()}, weights
    )
    with written(path) as temporary:
        write(temporary)
        answers = load(temporary)(images)
        found = differences(product.reference(images), answers, product.labels)
        if exact:
            # With early labels it differs from the model, and must not from what was to leave.
            expect_same(product.reference(images, product.expected), answers, product.labels)
    print(f"{path} ({size_of(path) / 1e6:.3g} MB): {sentence(found, product.labels)}")
    return found
