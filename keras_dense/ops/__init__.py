"""Pure functions on tensors, written with `keras.ops`."""

from keras_dense.ops.atrous import atrous_conv, atrous_depthwise_conv
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
from keras_dense.ops.unpooling import max_pool_with_argmax, max_unpool
from keras_dense.ops.windows import max_windows, mean_windows

__all__ = [
    "FRAMES",
    "adaptive_average_pool",
    "angle_between",
    "atrous_conv",
    "atrous_depthwise_conv",
    "convert_normals",
    "count",
    "crop_intrinsics",
    "crop_like",
    "depth_to_points",
    "depthwise_conv_transpose",
    "exact_gaussian",
    "first_largest",
    "flip_intrinsics",
    "gather_pixels",
    "lattice_filter",
    "max_pool_with_argmax",
    "max_unpool",
    "max_windows",
    "mean_windows",
    "normalize",
    "normals_from_depth",
    "pad_reflect",
    "pad_to_multiple",
    "perceptron",
    "perceptron_by_bands",
    "permutohedral_lattice",
    "pixel_shuffle",
    "points_to_pixels",
    "resize_bilinear",
    "resize_intrinsics",
    "resize_placed",
    "sample_bilinear",
    "spatial_gaussian",
    "upsample_bilinear",
    "warp_intrinsics",
]
