"""Means and norms over axes, and what is normalised by them."""

import numpy as np

from .building import Params, Step
from .shaping import end_reshape

WAYS = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceSumSquare": "SUMSQ",
    "ReduceL1": "ASUM",
    "ReduceL2": "SUMSQ",
}


def reduce(step: Step) -> None:
    axes = _axes(step)
    if not axes:
        return step.same()
    op, shape = step.node.op, step.shape()
    if len(shape) == 4 and axes == [2, 3] and op in ("ReduceMean", "ReduceMax"):
        return _over_picture(step)
    if len(shape) == 4 and axes == [1] and op != "ReduceL1" and op != "ReduceL2":
        return _over_channels(step)
    if op not in WAYS:
        raise step.refuse("it is known over channels, or height and width")
    x, rest = step.blob(), [axis for axis in range(len(shape)) if axis not in axes]
    order = rest + axes
    if order != sorted(order):
        x = step.helper("order", "Permute", x, permute_param={"order": order})
    param = {"operation": WAYS[op], "axis": len(rest)}
    kept = tuple(shape[axis] for axis in rest)
    kind = "Reduction"
    params: Params = {"reduction_param": param}
    if op == "ReduceL2":
        x = step.helper("squares", kind, x, reduction_param=param)
        kind = "Power"
        params = {"power_param": {"power": 0.5}}
    if step.result == kept:
        return step.end(kind, x, **params)
    x = step.helper("reduced", kind, x, **params)
    end_reshape(step, x, kept)


def _axes(step: Step) -> list[int]:
    """The axes to reduce, from the front."""
    count = len(step.shape())
    given = step.constant(1)
    if given is None or not given.size:
        return [] if step.get("noop_with_empty_axes", 0) else list(range(count))
    return sorted(int(axis) % count for axis in given.reshape(-1))


def _over_picture(step: Step) -> None:
    kind = "MAX" if step.node.op == "ReduceMax" else "AVE"
    param = {"pool": kind, "global_pooling": True}
    if len(step.result) == 4:
        return step.end("Pooling", step.blob(), pooling_param=param)
    pooled = step.helper("pool", "Pooling", step.blob(), pooling_param=param)
    step.end("Flatten", pooled)


def _over_channels(step: Step) -> None:
    """One map of all: sums are a convolution; maxima, a pooling."""
    op, channels = step.node.op, step.shape()[1]
    x = step.blob()
    if op in ("ReduceMax", "ReduceMin"):
        if op == "ReduceMin":
            raise step.refuse("of minima there is no layer")
        last = {"order": [0, 2, 3, 1]}
        x = step.helper("last", "Permute", x, permute_param=last)
        param = {"pool": "MAX", "kernel_h": 1, "kernel_w": channels}
        x = step.helper("max", "Pooling", x, pooling_param=param)  # (n, h, w, 1)
        if len(step.result) == 3:
            return step.end("Flatten", x, flatten_param={"axis": 2})
        first = {"order": [0, 3, 1, 2]}
        return step.end("Permute", x, permute_param=first)
    if op == "ReduceSumSquare":
        x = step.helper("squares", "Power", x, power_param={"power": 2})
    part = 1 / channels if op == "ReduceMean" else 1
    filters = np.full((1, channels, 1, 1), part)
    param = {"num_output": 1, "kernel_size": [1], "bias_term": False}
    layer: Params = {"weights": (filters,), "convolution_param": param}
    if len(step.result) == 4:
        return step.end("Convolution", x, **layer)
    x = step.helper("sum", "Convolution", x, **layer)
    step.end("Flatten", x, flatten_param={"axis": 1, "end_axis": 2})


def batch_norm(step: Step) -> None:
    scale, bias, mean, variance = (step.weight(i, "statistics") for i in range(1, 5))
    factor = scale / np.sqrt(variance + np.float32(step.get("epsilon", 1e-5)))
    summand = bias - mean * factor
    if not step.fold(factor, summand):
        _end_scale(step, step.blob(), factor, summand)


def _end_scale(step: Step, x: str, factor: np.ndarray, summand: np.ndarray) -> None:
    """A factor and a summand for each channel."""
    param = {"bias_term": True}
    step.end("Scale", x, weights=(factor, summand), scale_param=param)


def _standardise(step: Step, x: str, axis: int) -> str:
    """Blob x less its mean over the axes from `axis` on, over its deviation.

    Caffe's MVN adds epsilon to the deviation, where ONNX adds it to the
    variance, so it is made step by step.
    """
    mean = {"operation": "MEAN", "axis": axis}
    minus = step.helper("mean", "Reduction", x, reduction_param=mean | {"coeff": -1})
    centred = step.helper("centred", "Bias", x, minus, bias_param={"axis": 0})
    squares = step.helper("squares", "Power", centred, power_param={"power": 2})
    variance = step.helper("variance", "Reduction", squares, reduction_param=mean)
    inverse = {"shift": step.get("epsilon", 1e-5), "power": -0.5}
    inverse = step.helper("inverse", "Power", variance, power_param=inverse)
    return step.helper("standard", "Scale", centred, inverse, scale_param={"axis": 0})


def instance_norm(step: Step) -> None:
    scale, bias = step.weight(1, "scale"), step.weight(2, "bias")
    x = _standardise(step, step.blob(), 2)
    _end_scale(step, x, scale, bias)


def group_norm(step: Step) -> None:
    groups = step.get("num_groups")
    channels = step.shape()[1]
    scale, bias = step.weight(1, "scale"), step.weight(2, "bias")
    if len(scale) == groups:
        scale, bias = (np.repeat(array, channels // groups) for array in (scale, bias))
    form = {"shape": {"dim": [groups, -1]}, "axis": 1, "num_axes": 1}
    x = step.helper("groups", "Reshape", step.blob(), reshape_param=form)
    x = _standardise(step, x, 2)
    flat = {"axis": 1, "end_axis": 2}
    x = step.helper("channels", "Flatten", x, flatten_param=flat)
    _end_scale(step, x, scale, bias)


def layer_norm(step: Step) -> None:
    shape = step.shape()
    axis = step.get("axis", -1) % len(shape)
    scale = np.broadcast_to(step.weight(1, "scale"), shape[axis:])
    bias = step.constant(2)
    bias = np.zeros(shape[axis:]) if bias is None else np.broadcast_to(bias, shape[axis:])
    x = _standardise(step, step.blob(), axis)
    param = {"axis": axis, "num_axes": len(shape) - axis, "bias_term": True}
    step.end("Scale", x, weights=(scale, bias), scale_param=param)


def local_response(step: Step) -> None:
    """LRN across channels."""
    step.picture()
    size = step.get("size")
    if size % 2 == 0:
        raise step.refuse(f"its size must be odd, not {size}")
    param = {"local_size": size, "alpha": step.get("alpha", 1e-4)}
    param |= {"beta": step.get("beta", 0.75), "k": step.get("bias", 1.0)}
    step.end("LRN", step.blob(), lrn_param=param)


OPERATIONS = {
    "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LRN": local_response,
    "LayerNormalization": layer_norm,
    **dict.fromkeys((*WAYS, "ReduceMax"), reduce),
}
