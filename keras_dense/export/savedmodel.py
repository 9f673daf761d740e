"""SavedModel: for TensorFlow, TensorFlow Serving and other readers."""

from collections.abc import Sequence

import keras

from keras_dense._types import ArrayLike, PathLike
from keras_dense.export.arguments import checked
from keras_dense.export.product import Product
from keras_dense.export.write import write_and_check
from keras_dense.heads.model_heads import Given


def savedmodel(
    model: keras.Model,
    folder: PathLike,
    heads: Given = None,
    *,
    size: Sequence[int] | None = None,
    images: ArrayLike | None = None,
    early_labels: bool = False,
) -> dict[str, float]:
    """Write a SavedModel, which TensorFlow runs without Keras or keras_dense.

    Signatures, each a function of one tensor to a dict of tensors:

    - `serving_default(images)`: uint8 images `(B, H, W, C)` → results, see `kd.export`;
    - `raw(images)`: the same images → raw predictions (logits, …), under the keys of `heads`, or
      "prediction" for a single head;
    - `encoded(encoded)`: JPEG, PNG, GIF or BMP files as strings `(B,)` → as `serving_default`; in
      the REST interface of TensorFlow Serving `{"instances": [{"b64": "…"}]}`. The images of one
      batch must be of one size, otherwise it is an error: send them one at a time. So are PNG of
      16 bits, which would be cut. Files are taken as they are stored: nothing is turned by its
      EXIF orientation, transparency is dropped. Only for models of 1 or 3 channels.

    `assets/about.json` holds the meaning of the outputs, with the names and colors of classes.

    Args:
        model: a model of one image, as any builder returns it.
        folder: path to write to; an existing SavedModel is replaced at the end.
        heads: its heads; default: those that the model carries.
        size: `(height, width)` of all images; default: any, or what the model takes.
        images: uint8 `(B, H, W, C)` to compare on; default: random images.
        early_labels: bool, whether to decide labels before the last upsampling and repeat them:
            less computation with many classes, but edges in steps of the upsampling's factor. For
            models that end in bilinear upsampling, fixed or learned.

    Returns:
        `{name: difference}` of each output to that of the model: for labels the share that differs,
        otherwise the largest |difference|. Also printed.

    Raises:
        ValueError, TypeError: for arguments that do not fit.
        RuntimeError: on another backend than TensorFlow, or if the SavedModel computes something
            else than the model. Then nothing is written.

    Example:

    ```python
    kd.export.savedmodel(model, "served/1")
    served = tf.saved_model.load("served/1").signatures["serving_default"]
    labels = served(images=images)["labels"]
    ```
    """
    path, chosen, size, images = checked("savedmodel", model, folder, heads, size, images)
    product = Product(model, chosen, size, early_labels=early_labels)

    def write(path):
        about = path.parent.parent / "about.json"
        about.write_text(product.about, encoding="utf-8")
        signatures = {"serving_default": product.function(), "raw": product.function(product.raw)}
        if product.shape[-1] in (1, 3):
            signatures["encoded"] = _encoded(product)
        product.save(path, signatures, about=about)

    return write_and_check(product, path, write, load, images)


def load(path):
    """A function of images that runs a SavedModel."""
    import tensorflow as tf

    module = tf.saved_model.load(str(path))
    serve = module.signatures["serving_default"]

    def run(images):
        # `module` has to live as long as its function.
        outputs = serve(images=tf.constant(images)) if module else {}
        return {name: y.numpy() for name, y in outputs.items()}

    return run


def _encoded(product):
    """The product of image files."""
    import tensorflow as tf

    channels = product.shape[-1]

    def decoded(file):
        png = tf.strings.substr(file, 0, 8) == b"\x89PNG\r\n\x1a\n"
        deep = tf.logical_and(png, tf.strings.substr(file, 24, 1) == b"\x10")
        text = "The image has 16 bits a channel, of which half would be lost; scale it to 8"
        check = tf.debugging.assert_equal(deep, False, text)
        with tf.control_dependencies([check]):
            return tf.io.decode_image(tf.identity(file), channels, expand_animations=False)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="encoded")])
    def serve(encoded):
        first = tf.shape(decoded(encoded[0]))

        def of_one_size(file):
            image = decoded(file)
            same = tf.debugging.assert_equal(
                tf.shape(image),
                first,
                "The images of one batch must be of one size; send them one at a time",
            )
            with tf.control_dependencies([same]):
                return tf.identity(image)

        images = tf.map_fn(
            of_one_size, encoded, fn_output_signature=tf.TensorSpec(product.shape[1:], tf.uint8)
        )
        return product(tf.ensure_shape(images, product.shape))

    return serve
