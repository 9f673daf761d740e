"""What each head hands out under which names, and what is said about it."""

from keras_dense.heads import Colorization, Depth, Normals, Segmentation
from keras_dense.heads.heads import decode


def name_of(key, kind):
    """The name of an output: its kind, after the key of its head where there is one.

    >>> name_of(None, "labels"), name_of("depth", "depth"), name_of("objects", "labels")
    ('labels', 'depth', 'objects_labels')
    """
    return kind if key in (None, kind) else f"{key}_{kind}"


def handed_out(head, prediction, image):
    """`{kind: tensor}` of a prediction, computed with TensorFlow."""
    if isinstance(head, Segmentation):
        return _labels(head, prediction)
    if isinstance(head, Normals) and head.concentration:
        uncertainty = head.uncertainty(prediction)
        return {"normals": head.decode(prediction), "uncertainty": uncertainty}
    return {kind_of(head): decode(head, prediction, image)}


def kind_of(head):
    """The first of the kinds of a head's outputs."""
    kinds = {Segmentation: "labels", Depth: "depth", Normals: "normals", Colorization: "color"}
    return next((kind for type_, kind in kinds.items() if isinstance(head, type_)), "prediction")


def _labels(head, logits):
    import tensorflow as tf

    dtype = tf.uint8 if head.num_classes <= 256 else tf.int32
    if head.mode == "multiclass":
        # `keras.ops.argmax` looks at the bits of floats, which other runtimes cannot do.
        labels = tf.argmax(logits, axis=-1, output_type=tf.int32)
        confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    else:
        labels, confidence = logits > 0, tf.sigmoid(tf.abs(logits))
        if head.mode == "binary":
            labels, confidence = labels[..., 0], confidence[..., 0]
    return {"labels": tf.cast(labels, dtype), "confidence": confidence}


def described(head):
    """`{kind: facts}`, to be written as JSON."""
    if isinstance(head, Segmentation):
        classes = {"classes": head.class_names, "palette": head.palette.tolist()}
        return {
            "labels": {"mode": head.mode, **classes},
            "confidence": {"range": [0, 1], "of": "labels"},
        }
    if isinstance(head, Depth):
        return {"depth": {"unit": "metre", "range": [head.min_depth, head.max_depth]}}
    if isinstance(head, Normals):
        facts = {"normals": {"unit": "unit vector", "frame": head.frame}}
        return {**facts, "uncertainty": {"unit": "degree"}} if head.concentration else facts
    if isinstance(head, Colorization):
        return {"color": {"unit": "RGB, 0–255"}}
    return {kind_of(head): {}}
