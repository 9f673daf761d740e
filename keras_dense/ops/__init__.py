"""Pure functions on tensors, written with `keras.ops`."""

from keras_dense.ops.ab_bins import ab_bins, annealed_mean, nearest_bins, soft_encode
from keras_dense.ops.atrous import atrous_conv, atrous_depthwise_conv
from keras_dense.ops.boundary import boundary
from keras_dense.ops.color import (
    full_size,
    gray,
    in_gamut,
    lab_to_rgb,
    lightness,
    recolor,
    rgb_to_lab,
)
from keras_dense.ops.count import count, first_largest
from keras_dense.ops.gaussian import exact_gaussian, spatial_gaussian
from keras_dense.ops.geometry import (
    FRAMES,
    angle_between,
    convert_normals,
    crop_intrinsics,
    depth_to_points,
    flip_intrinsics,
    normalize,
    normals_from_depth,
    points_to_pixels,
    resize_intrinsics,
    warp_intrinsics,
)
from keras_dense.ops.hypercolumn import (
    gather_pixels,
    perceptron,
    perceptron_by_bands,
    sample_bilinear,
)
from keras_dense.ops.image import (
    crop_like,
    depthwise_conv_transpose,
    pad_reflect,
    pad_to_multiple,
    upsample_bilinear,
)
from keras_dense.ops.permutohedral import lattice_filter, permutohedral_lattice
from keras_dense.ops.resize import (
    adaptive_average_pool,
    pixel_shuffle,
    resize_bilinear,
    resize_placed,
)
from keras_dense.ops.similarity import structural_similarity
from keras_dense.ops.unpooling import max_pool_with_argmax, max_unpool
from keras_dense.ops.windows import max_windows, mean_windows

__all__ = [
    "FRAMES",
    "ab_bins",
    "adaptive_average_pool",
    "angle_between",
    "annealed_mean",
    "atrous_conv",
    "atrous_depthwise_conv",
    "boundary",
    "convert_normals",
    "count",
    "crop_intrinsics",
    "crop_like",
    "depth_to_points",
    "depthwise_conv_transpose",
    "exact_gaussian",
    "first_largest",
    "flip_intrinsics",
    "full_size",
    "gather_pixels",
    "gray",
    "in_gamut",
    "lab_to_rgb",
    "lattice_filter",
    "lightness",
    "max_pool_with_argmax",
    "max_unpool",
    "max_windows",
    "mean_windows",
    "nearest_bins",
    "normalize",
    "normals_from_depth",
    "pad_reflect",
    "pad_to_multiple",
    "perceptron",
    "perceptron_by_bands",
    "permutohedral_lattice",
    "pixel_shuffle",
    "points_to_pixels",
    "recolor",
    "resize_bilinear",
    "resize_intrinsics",
    "resize_placed",
    "rgb_to_lab",
    "sample_bilinear",
    "soft_encode",
    "spatial_gaussian",
    "structural_similarity",
    "upsample_bilinear",
    "warp_intrinsics",
]
