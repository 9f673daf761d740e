"""Pure functions on tensors, written with `keras.ops`.

Scripts use the functions listed here; parts of layers, losses and metrics are in the modules.
"""

from keras_dense.ops.ab_bins import ab_bins, annealed_mean, soft_encode
from keras_dense.ops.atrous import atrous_conv, atrous_depthwise_conv
from keras_dense.ops.color import gray, in_gamut, lab_to_rgb, lightness, recolor, rgb_to_lab
from keras_dense.ops.geometry import (
    FRAMES,
    angle_between,
    convert_normals,
    crop_intrinsics,
    depth_to_points,
    flip_intrinsics,
    normals_from_depth,
    points_to_pixels,
    resize_intrinsics,
    warp_intrinsics,
)
from keras_dense.ops.image import upsample_bilinear
from keras_dense.ops.resize import adaptive_average_pool, pixel_shuffle, resize_bilinear
from keras_dense.ops.similarity import structural_similarity

__all__ = [
    "FRAMES",
    "ab_bins",
    "adaptive_average_pool",
    "angle_between",
    "annealed_mean",
    "atrous_conv",
    "atrous_depthwise_conv",
    "convert_normals",
    "crop_intrinsics",
    "depth_to_points",
    "flip_intrinsics",
    "gray",
    "in_gamut",
    "lab_to_rgb",
    "lightness",
    "normals_from_depth",
    "pixel_shuffle",
    "points_to_pixels",
    "recolor",
    "resize_bilinear",
    "resize_intrinsics",
    "rgb_to_lab",
    "soft_encode",
    "structural_similarity",
    "upsample_bilinear",
    "warp_intrinsics",
]
