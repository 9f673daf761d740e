"""What heads have in common, where nothing else is said."""

from keras import ops


class Head:
    """The start of a head of your own: what its predictions become away from training.

    A head has `channels`, `loss`, `weight`, `target`, and the methods `metrics`, `finish`,
    `encode`, `unknown`, `decode`, `draw`, `error`, `legend` and `get_config`, as
    `kd.heads.Depth` shows; the methods here have defaults that suit a map of numbers.

    >>> import numpy as np
    >>> ops.convert_to_numpy(Head().flipped(np.array([[[[1.0], [2.0]]]]))).ravel().tolist()
    [2.0, 1.0]
    """

    def flipped(self, prediction):
        """The prediction `(B, H, W, C)` of a mirrored image, as one of the image itself."""
        return ops.flip(prediction, axis=2)

    def rescaled(self, prediction, scale):
        """The prediction of an image zoomed by `scale`, as one of the image: the same."""
        return prediction

    def blended(self, mean):
        """A weighted mean of predictions as a prediction: the mean itself."""
        return mean

    def to_mean(self, prediction):
        """What is averaged over several views of an image: the prediction, in float32."""
        return ops.cast(prediction, "float32")

    def from_mean(self, mean):
        """A prediction from such a mean."""
        return self.blended(mean)

    def outputs(self, prediction, image):
        """What an exported model hands out: `{name: tensor}`.

        Args:
            prediction: what the model gives.
            image: the images, 0–255.
        """
        return {"prediction": decode(self, prediction, image)}

    def about(self):
        """What is said of them, `{name: facts}`, to be written as JSON."""
        return {"prediction": {}}


def decode(head, prediction, image):
    """`head.decode(prediction)`; heads that need the image (colors have its lightness) get it.

    >>> from keras_dense.heads import Colorization
    >>> logits, image = ops.zeros((1, 2, 2, 313)), ops.zeros((1, 8, 6, 3))
    >>> tuple(decode(Colorization(), logits, image).shape)
    (1, 8, 6, 3)
    """
    if getattr(head, "needs_image", False):
        return head.decode(prediction, image)
    return head.decode(prediction)
