"""How the values of blobs lie on the picture: what each sees, and how far apart."""

import math
from typing import NamedTuple

from .shapes import Layer, pair

# Types whose values each see the whole picture, or two neighbours
WHOLE = "InnerProduct", "Pooling", "MVN", "Reduction", "SPP"
MIXED = "BilinearInterpolate", "Resize"


class Field(NamedTuple):
    """A value sees `side` x `side` pixels; its neighbour's are `jump` away."""

    side: float
    jump: float


class Reach(NamedTuple):
    """A layer's Field, and the grid on which all blobs through it lie, in pixels."""

    side: float
    jump: float
    grid: int


def fields(layers: list[Layer]) -> dict[str, float]:
    """{layer: side in pixels of what a value sees}"""
    return {name: field.side for name, field in _fields(layers).items()}


def reach(layers: list[Layer], end: str) -> Reach:
    """How the values of layer `end` lie on the picture."""
    by_layer = _fields(layers)
    names = [layer.name for layer in layers]
    jumps = [by_layer[name].jump for name in names[: names.index(end) + 1]]
    grid = math.lcm(*(int(jump) for jump in jumps if jump >= 1))
    return Reach(by_layer[end].side, jumps[-1], grid)


def _fields(layers: list[Layer]) -> dict[str, Field]:
    by_blob: dict[str, Field] = {}
    by_layer: dict[str, Field] = {}
    for layer in layers:
        below = [by_blob[bottom] for bottom in layer.bottom] or [Field(1, 1)]
        side = max(field.side for field in below)
        jump = max(field.jump for field in below)
        by_layer[layer.name] = field = _field(layer, side, jump)
        for top in layer.top:
            by_blob[top] = field
    return by_layer


def _field(layer: Layer, side: float, jump: float) -> Field:
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        names = "kernel_size", "stride", "dilation"
        kernel, stride, dilation = (pair(p, name, 1)[0] for name in names)
        if layer.type == "Convolution":
            return Field(side + (kernel - 1) * dilation * jump, jump * stride)
        return Field(side + (math.ceil(kernel / stride) - 1) * jump, jump / stride)
    if layer.type == "Pooling" and not layer.pooling_param.global_pooling:
        p = layer.pooling_param
        kernel, stride = pair(p, "kernel_size", 1)[0], pair(p, "stride", 1)[0]
        return Field(side + (kernel - 1) * jump, jump * stride)
    p = layer.lrn_param
    if layer.type == "LRN" and p.norm_region == p.WITHIN_CHANNEL:
        return Field(side + (p.local_size - 1) * jump, jump)
    if layer.type in WHOLE or (layer.norm_param.across_spatial and layer.type == "Normalize"):
        return Field(math.inf, jump)
    return Field(side + (layer.type in MIXED) * jump, jump / _enlarged(layer))


def _enlarged(layer: Layer) -> float:
    """How many times larger a layer makes what it reads."""
    if layer.type == "Upsample":
        return layer.upsample_param.scale
    if layer.type == "PixelShuffle":
        return layer.pixelshuffle_param.upscale_factor
    if layer.type == "BilinearInterpolate":
        return layer.bilinear_interpolate_param.scale_factor
    if layer.type == "Resize" and layer.resize_param.is_pyramid_test:
        return layer.resize_param.out_height_scale
    return 1
