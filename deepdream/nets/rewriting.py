"""Layer types of other Caffes, in terms of this one's; their weights still fit."""

from collections.abc import Callable, Iterable

import numpy as np

from .layer_shapes import Layer


def rewrite(layers: Iterable[Layer]) -> list[Layer]:
    """The layers, each of another Caffe's types replaced by some that do the same."""
    found: list[Layer] = []
    for layer in layers:
        found += REWRITES.get(layer.type, _keep)(layer)
    return _free(found)


def fold(layers: list[Layer], weights: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """The weights; a BN's slope, bias, mean and variance as a Scale's two."""
    folded = dict(weights)
    for layer in layers:
        blobs = weights.get(layer.name, [])
        if layer.HasField("bn_param") and len(blobs) == 4:
            slope, bias, mean, variance = (blob.astype(np.float64) for blob in blobs)
            scale = slope / np.sqrt(variance + layer.bn_param.eps)
            folded[layer.name] = [it.astype(np.float32) for it in (scale, bias - scale * mean)]
    return folded


def _new(layer: Layer, name: str, kind: str, bottoms: Iterable[str], top: str) -> Layer:
    return type(layer)(name=name, type=kind, bottom=bottoms, top=[top])


def _keep(layer: Layer) -> list[Layer]:
    return [layer]


def _bn(layer: Layer) -> list[Layer]:
    """SegNet's has slope and bias; PSPNet's mean and variance too (see `fold`)."""
    layer.type = "Scale"
    layer.scale_param.bias_term = True
    layer.bn_param.SetInParent()
    return [layer]


def _axpy(layer: Layer) -> list[Layer]:
    """A gate (n, c, 1, 1) times x, plus y."""
    gate, x, y = layer.bottom
    flat, gated = f"{layer.name}/gate", f"{layer.name}/gated"
    scale = _new(layer, gated, "Scale", [x, flat], gated)
    scale.scale_param.axis = 0
    last = _new(layer, layer.name, "Eltwise", [gated, y], layer.top[0])
    return [_new(layer, flat, "Flatten", [gate], flat), scale, last]


def _depthwise(layer: Layer) -> list[Layer]:
    """A filter for each channel."""
    layer.type = "Convolution"
    p = layer.convolution_param
    if not p.HasField("group"):
        p.group = p.num_output
    return [layer]


def _shuffle(layer: Layer) -> list[Layer]:
    """The channels of each group, taken in turn."""
    name, top = layer.name, layer.top[0]
    first = _new(layer, f"{name}/groups", "Reshape", layer.bottom, f"{name}/groups")
    turn = _new(layer, f"{name}/turn", "Permute", first.top, f"{name}/turn")
    last = _new(layer, name, "Reshape", turn.top, top)
    for each, dims in ((first, [layer.shuffle_channel_param.group, -1]), (last, [-1])):
        each.reshape_param.axis = 1
        each.reshape_param.num_axes = 3 - len(dims)
        each.reshape_param.shape.dim[:] = dims
    turn.permute_param.order[:] = [0, 2, 1]
    return [first, turn, last]


def _swish(layer: Layer) -> list[Layer]:
    """x times sigmoid(beta x)."""
    name = layer.name
    scaled = _new(layer, f"{name}/scaled", "Power", layer.bottom, f"{name}/scaled")
    scaled.power_param.scale = layer.swish_param.beta
    gate = _new(layer, f"{name}/gate", "Sigmoid", scaled.top, f"{name}/gate")
    last = _new(layer, name, "Eltwise", [layer.bottom[0], gate.top[0]], layer.top[0])
    last.eltwise_param.operation = last.eltwise_param.PROD
    return [scaled, gate, last]


def _clip(layer: Layer) -> list[Layer]:
    """A ReLU6 between two shifts."""
    p, name = layer.clip_param, layer.name
    down = _new(layer, f"{name}/down", "Power", layer.bottom, f"{name}/down")
    down.power_param.shift = -p.min
    clip = _new(layer, f"{name}/clip", "ReLU6", down.top, f"{name}/clip")
    clip.relu6_param.threshold = p.max - p.min
    last = _new(layer, name, "Power", clip.top, layer.top[0])
    last.power_param.shift = p.min
    return [down, clip, last]


def _unsqueeze(layer: Layer) -> list[Layer]:
    """Caffe's own keeps its first size, and has no gradient."""
    layer.type = "Reshape"
    p = layer.reshape_param
    p.axis, p.num_axes = layer.unsqueeze_param.dim, 0
    p.shape.dim[:] = [1]
    return [layer]


REWRITES: dict[str, Callable[[Layer], list[Layer]]] = {
    "BN": _bn,
    "Axpy": _axpy,
    "ConvolutionDepthwise": _depthwise,
    "ConvolutionDepthWise": _depthwise,
    "DepthwiseConvolution": _depthwise,
    "ShuffleChannel": _shuffle,
    "Swish": _swish,
    "Clip": _clip,
    "Unsqueeze": _unsqueeze,
}
# Caffe's gradient of these in place is wrong, for it needs what they have overwritten
NOT_IN_PLACE = "HardSwish", "BNLL", "Log", "AbsVal", "Power", "MVN", "Normalize", "Eltwise"


def _free(layers: list[Layer]) -> list[Layer]:
    """The layers, those NOT_IN_PLACE, or on the picture, with a top of their own."""
    names: dict[str, str] = {}  # {blob: what it is called from here on}
    for layer in layers:
        bottoms = [names.get(blob, blob) for blob in layer.bottom]
        is_unfit = layer.type in NOT_IN_PLACE or "data" in bottoms
        if is_unfit and layer.top and set(layer.top) <= set(layer.bottom):
            names[layer.top[0]] = layer.name
        layer.bottom[:] = bottoms
        layer.top[:] = [names.get(blob, blob) for blob in layer.top]
    return layers
