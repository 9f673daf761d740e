"""All numbers that a recipe is chosen by, in one table.

`choose` reads them, and nothing else in this subpackage has numbers of its own that change a
result. Those of a `Kind` differ with the data; those below it are common.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """Numbers for one kind of images.

    Attributes:
        network: str, name of a builder, or of a decoder.
        network_arguments: its arguments.
        crop: int, the largest side of a training crop, in pixels.
        scale_range: smallest and largest factor of random zooms.
        rotate: float, largest angle of random rotations, in degrees.
        color: strengths of `ColorJitter`; for gray images only brightness and contrast are used.
        losses: pairs of the name of a loss and its weight.
    """

    network: str
    network_arguments: dict[str, Any]
    crop: int
    scale_range: tuple[float, float]
    rotate: float
    color: dict[str, float]
    losses: tuple[tuple[str, float], ...]


STRONG = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.03}

KINDS = {
    # Photographs: there is an up and a down, and objects at all distances.
    "scenes": Kind(
        network="fcn",  # FCN-8s, two levels finer: better on CamVid in equal time
        network_arguments={"skips": ["P4", "P3", "P2", "P1"]},
        crop=320,
        scale_range=(0.75, 1.5),
        rotate=0.0,
        color=STRONG,
        losses=(("cross_entropy", 1.0), ("dice", 1.0)),
    ),
    # Cells, tissue, aerial images: neither up nor down, and one scale.
    "surfaces": Kind(
        network="unet",
        network_arguments={},
        crop=256,
        scale_range=(0.75, 1.5),
        rotate=15.0,
        color=STRONG,
        losses=(("cross_entropy", 1.0), ("dice", 1.0)),
    ),
    # Vessels, membranes, cracks, roads from above: a few pixels wide.
    "thin": Kind(
        network="unet",
        network_arguments={},
        crop=256,
        scale_range=(0.8, 1.25),
        rotate=15.0,
        color=STRONG,
        losses=(("cross_entropy", 1.0), ("dice", 1.0)),
    ),
    # Depth and normals, alone or beside labels.
    "geometry": Kind(
        network="unet",
        network_arguments={"filters": [128, 96, 64, 48]},
        crop=224,
        scale_range=(0.9, 1.2),
        rotate=0.0,
        color=STRONG,
        losses=(("cross_entropy", 1.0), ("dice", 1.0)),
    ),
}

# The network.
BACKBONE = "mobilenet_v2"
CROP_MULTIPLE = 32

# The optimizer.
BATCH_SIZE = 8
LEARNING_RATE = 1e-3
BACKBONE_RATE = 0.3  # multiple of the learning rate, with pretrained weights
# With fewer, at BACKBONE_RATE, the score of PASCAL VOC falls from 100 steps on.
FEW_PHOTOGRAPHS = 200
BACKBONE_RATE_OF_FEW = 0.05
WEIGHT_DECAY = 1e-4
SCHEDULE = {"kind": "polynomial", "power": 0.9, "warmup": 0.0}
BATCH_NORM_MOMENTUM = 0.95
RECALIBRATION_IMAGES = 360  # whole training images behind the final batch-norm statistics
RECALIBRATION_TIME = 0.08  # of all the time, at most
CLEARLY_BETTER = 0.02  # score of a round above that of the last one, for it to be a candidate
AVERAGE_ROUNDS = 3  # the mean of the weights of the last rounds is a candidate; 0: it is not

# The loss.
OFTEN = 3  # images that a class must be in, to count for the imbalance
STRONG_IMBALANCE = 5000.0  # pixels of the most frequent class for one of the rarest
CLASS_WEIGHT_POWER = 0.5  # of median frequency weights, where the imbalance is strong
CLASS_WEIGHT_RANGE = (0.3, 3.0)
BORDER_WEIGHTS = (4.0, 4.0)  # w0 and sigma, for numbered objects

# What is thin, and where there is no up and down.
THIN = 8.0  # mean width in pixels of the area of a class
UP_AND_DOWN = 0.25  # mean over standard deviation of upper minus lower half, over images
UP_AND_DOWN_T = 4.0  # the same as a t statistic
FEW_FOR_UP_AND_DOWN = 6  # images; fewer say nothing

# Near-duplicates, by hashes of 256 bits.
NEAR = 26  # bits that differ, at most
SEQUENCE = 0.75  # distance of neighbors in the numbering, of that of any two images

# The validation.
VALIDATION_SHARE = 0.15
VALIDATION_MOST = 80  # images
VALIDATION_IN_ROUNDS = 24  # images that are scored during the training; all of them at its end
SEQUENCE_BLOCKS = 10  # contiguous parts of a sequence, of which some are for validation
SHORT_BLOCK = 4  # images; parts of short sequences are not shorter
LONG_SEQUENCE = 60  # images; in longer ones, those beside held-out ones are not trained on

# The length.
MINUTES = 20.0
ROUNDS = 8  # validations
LEAST_STEPS = 60
STEPS_PER_ROUND = 400  # the most; longer trainings have more rounds
EPOCHS = 600  # passes over the data, the most
RESERVE = 0.07  # of the time, for what is slower than measured
EXPORT_SECONDS = 60.0

# Memory and large images.
CACHE_BYTES = 3e9
LARGE_PIXELS = 3_000_000  # larger images are validated in pieces
LOOK_AT = 1500  # images whose pixels are read before training
