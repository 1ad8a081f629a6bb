"""Gradients that this Caffe leaves out: its backward pass of these layers does
nothing, without a word. {type: a function that computes it}
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .bilinear import mixing
from .layer_shapes import Layer, pads


class Pass(NamedTuple):
    """A layer, what it has read and written, and the gradient of the latter."""

    layer: Layer
    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray


def _hard_sigmoid(it: Pass) -> np.ndarray:
    inside = (it.y > 0) & (it.y < 1)
    return it.layer.hardsigmoid_param.alpha * inside * it.dy


def _hard_swish(it: Pass) -> np.ndarray:
    gate = (it.x / 6 + 0.5).clip(0, 1)
    inside = abs(it.x) < 3
    return (gate + it.x / 6 * inside) * it.dy


def _pad(it: Pass) -> np.ndarray:
    p = it.layer.pad_param
    up, down, left, right = pads(it.layer)
    height, width = it.x.shape[2:]
    if up < 0:  # all four cut off
        dx = np.zeros_like(it.x)
        dx[:, :, -up : height + down, -left : width + right] = it.dy
        return dx
    if p.pad_type == p.CONSTANT:
        return it.dy[:, :, up : up + height, left : left + width]
    mode = "edge" if p.pad_type == p.REPLICATE else "reflect"
    rows = np.eye(height, dtype=np.float32)[np.pad(np.arange(height), (up, down), mode)]
    columns = np.eye(width, dtype=np.float32)[np.pad(np.arange(width), (left, right), mode)]
    return rows.T @ it.dy @ columns


def _upsample(it: Pass) -> np.ndarray:
    p = it.layer.upsample_param
    shape = [it.x.shape[0], it.x.shape[1]]
    for side in it.x.shape[2:]:
        shape += [side, p.scale]
    return it.dy.reshape(shape).sum(axis=tuple(range(3, len(shape), 2)))


def _interpolate(it: Pass) -> np.ndarray:
    sizes = zip(it.x.shape[2:], it.y.shape[2:])
    down, across = (mixing(it.layer, *sides) for sides in sizes)
    return down.T @ it.dy @ across


def _pixel_shuffle(it: Pass) -> np.ndarray:
    n, c, h, w = it.x.shape
    f = it.layer.pixelshuffle_param.upscale_factor
    parts = it.dy.reshape(n, c // f**2, h, f, w, f)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(it.x.shape)


GRADIENTS: dict[str, Callable[[Pass], np.ndarray]] = {
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Pad": _pad,
    "Upsample": _upsample,
    "BilinearInterpolate": _interpolate,
    "PixelShuffle": _pixel_shuffle,
}
