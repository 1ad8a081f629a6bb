"""Caffe's layer types that move values, in PyTorch: {type: a function}.

As in `torch_layers`: (layer, its weights, *bottoms) -> top or tops. What a
layer writes has memory of its own, since later ones may work in place.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from .bilinear import mixing
from .layer_shapes import TYPES as SHAPES
from .layer_shapes import Layer, Shape, axis, order, pads

PADDING = ["constant", "replicate", "reflect"]


def top_shape(layer: Layer, *bottoms: Tensor) -> Shape:
    """What the layer makes of bottoms of these shapes."""
    tops, _ = SHAPES[layer.type](layer, *(tuple(x.shape) for x in bottoms))
    return tops[0]


def _flatten(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.flatten_param
    return x.flatten(axis(p.axis, x.shape), axis(p.end_axis, x.shape)).clone()


def _reshape(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return x.reshape(top_shape(layer, x)).clone()


def _slice(layer: Layer, weights: list[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    p = layer.slice_param
    i = axis(p.slice_dim if p.HasField("slice_dim") else p.axis, x.shape)
    parts = x.tensor_split(list(p.slice_point) or len(layer.top), i)
    return tuple(part.clone() for part in parts)


def _crop(layer: Layer, weights: list[Tensor], x: Tensor, like: Tensor) -> Tensor:
    p = layer.crop_param
    first = axis(p.axis, x.shape)
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= x.ndim - first
    for i, offset in enumerate(offsets, first):
        x = x.narrow(i, offset, like.shape[i])
    return x.clone()


def _permute(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return x.permute(order(layer, x.ndim)).clone()


def _pad(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.pad_param
    up, down, left, right = pads(layer)
    sides = left, right, up, down
    if min(sides) < 0 or p.pad_type == p.CONSTANT:
        return F.pad(x, sides, value=p.pad_value).clone()
    return F.pad(x, sides, mode=PADDING[p.pad_type]).clone()


def _upsample(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.upsample_param
    for i in range(x.ndim - p.dims_num + 2, x.ndim):
        x = x.repeat_interleave(p.scale, i)
    return x.clone()


def _resize(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    size = zip(x.shape[2:], top_shape(layer, x)[2:])
    down, across = (torch.from_numpy(mixing(layer, *sides)).to(x) for sides in size)
    return down @ x @ across.T


def _pixel_shuffle(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return F.pixel_shuffle(x, layer.pixelshuffle_param.upscale_factor).clone()


def _tile(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.tile_param
    return torch.cat([x] * p.tiles, axis(p.axis, x.shape))


def _argmax(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    """The places of the largest values; of equal ones, the last comes first."""
    p = layer.argmax_param
    shape = top_shape(layer, x)
    if not p.HasField("axis"):
        x = x.flatten(1)
    i = axis(p.axis, x.shape) if p.HasField("axis") else 1
    values, places = x.flip(i).sort(dim=i, descending=True, stable=True)
    values = values.narrow(i, 0, p.top_k)
    places = (x.shape[i] - 1 - places).narrow(i, 0, p.top_k).to(x.dtype)
    if not p.out_max_val:
        return places.reshape(shape)
    if p.HasField("axis"):
        return values.reshape(shape)
    return torch.stack([places, values], 1).reshape(shape)


TYPES: dict[str, Callable] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": lambda layer, weights, x: tuple(x.clone() for _ in layer.top),
    "Dropout": lambda layer, weights, x: x.clone(),
    "Silence": lambda layer, weights, *xs: (),
    "Crop": _crop,
    "Permute": _permute,
    "Pad": _pad,
    "Upsample": _upsample,
    "Resize": _resize,
    "BilinearInterpolate": _resize,
    "PixelShuffle": _pixel_shuffle,
    "Tile": _tile,
    "ArgMax": _argmax,
}
