"""A block of ViTDet, whose attention within windows knows relative positions, for any size."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Size, Tensor
from keras_dense.layers.hub_block import HubBlock
from keras_dense.layers.tokens import grid_of
from keras_dense.ops.image import pad_map, to_multiple
from keras_dense.ops.relative import relative_positions


@keras.saving.register_keras_serializable("keras_dense")
class ViTDetBlock(HubBlock):
    """A block of KerasHub's ViTDet for images of any size: `ViTDetBlock(…)(tokens, image)`.

    Maps are padded to whole windows with zeros, which take part in attention, as in the authors'
    code. Where attention is global, relative positions are interpolated linearly, as there.

    Args:
        patch: int ≥ 1 or a pair, height and width of a patch.
        **kwargs: those of `HubBlock`.

    Reference: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection",
    ECCV 2022, section 3; Kirillov et al., "Segment Anything", ICCV 2023, appendix A.
    """

    def __init__(self, kind: str, arguments: Mapping[str, Any], *, patch: Size, **kwargs: Any):
        super().__init__(kind, arguments, **kwargs)
        self.patch = _check.pair(patch, "patch")

    def call(self, inputs: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        block, side, units = self.layer, self.layer.window_size, inputs.shape[-1]
        height, width = grid_of(image, self.patch)
        x = block.layer_norm1(inputs)
        if side:
            x = self._in_windows(x, height, width, side, units)
        else:
            x = self._attend(x, height, width, units)
        x = ops.add(inputs, x)
        # Its `Sequential` was built for maps, and takes nothing else.
        y = block.mlp_block(ops.expand_dims(block.layer_norm2(x), 1))
        return ops.add(x, ops.squeeze(y, 1))

    def _in_windows(self, x, height, width, side, units):
        bottom, right = to_multiple(height, side), to_multiple(width, side)
        x = pad_map(ops.reshape(x, (-1, height, width, units)), (0, bottom), (0, right))
        rows, columns = (height + bottom) // side, (width + right) // side
        x = ops.reshape(x, (-1, rows, side, columns, side, units))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, side * side, units))
        x = self._attend(x, side, side, units)
        x = ops.reshape(x, (-1, rows, columns, side, side, units))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, rows * side, columns * side, units))
        return ops.reshape(x[:, :height, :width], (-1, height * width, units))

    def _attend(self, x, height, width, units):
        attention = self.layer.attention
        heads, size = attention.num_heads, attention.key_dim
        parts = ops.reshape(attention.qkv(x), (-1, height * width, 3, heads, size))
        query, key, value = (parts[:, :, i] for i in range(3))
        bias = None
        if attention.use_rel_pos:
            tables = attention.add_decomposed_relative_pe
            grid = ops.reshape(query, (-1, height, width, heads, size))
            bias = relative_positions(grid, tables.rel_pos_h, tables.rel_pos_w)
        x = ops.dot_product_attention(query, key, value, bias=bias, scale=attention.scale)
        return attention.projection(ops.reshape(x, (-1, height * width, units)))

    def get_config(self):
        return {**super().get_config(), "patch": self.patch}
