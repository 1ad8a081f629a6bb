"""Caffe's layer types in PyTorch, {type: a function that computes it}."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from .layer_shapes import Layer, axis, pair
from .torch_fast import AcrossChannels, StridedOnPicture, WithoutStride, channels_last, suits_nnpack
from .torch_shaping import TYPES as SHAPING
from .torch_shaping import top_shape

# Each function below is one layer type: (layer, its weights, *bottoms) ->
# top or tops. Autograd does the rest. Tensors are (n, channels, h, w),
# unless a layer changes that.


def is_relu_in_place(layer: Layer) -> bool:
    """Whether a layer is a plain ReLU that overwrites what it reads."""
    is_plain = layer.type == "ReLU" and not layer.relu_param.negative_slope
    return is_plain and layer.bottom[0] == layer.top[0]


def _relu(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    slope = layer.relu_param.negative_slope
    return F.leaky_relu(x, slope) if slope else F.relu(x)


def _filters_and_bias(weights: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    return weights[0], weights[1] if len(weights) > 1 else None


def _convolution(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    stride, pad = pair(p, "stride", 1), pair(p, "pad", 0)
    dilation = pair(p, "dilation", 1)
    filters, bias = _filters_and_bias(weights)
    kernel = tuple(filters.shape[2:])
    is_square = all(h == w for h, w in (kernel, stride, pad, dilation))
    is_simple = is_square and dilation[0] == p.group == 1 and pad[0] < kernel[0]
    if is_simple and not filters.requires_grad:  # these compute no gradient of weights
        if x.shape[1] <= 4 and stride[0] > 1:
            return StridedOnPicture.apply(x, filters, bias, stride[0], pad[0])
        if stride[0] == 1 and suits_nnpack(x, filters, pad[0], exact=False):
            return WithoutStride.apply(x, filters, bias, pad[0])
    x = channels_last(x).to(filters.dtype)
    return F.conv2d(x, filters, bias, stride, pad, dilation, p.group)


def _deconvolution(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    stride, pad = pair(p, "stride", 1), pair(p, "pad", 0)
    dilation = pair(p, "dilation", 1)
    filters, bias = _filters_and_bias(weights)
    x = x.to(filters.dtype)
    return F.conv_transpose2d(x, filters, bias, stride, pad, 0, p.group, dilation)


def _pooling(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor | tuple[Tensor, ...]:
    x = channels_last(x)
    p = layer.pooling_param
    average = p.pool == p.AVE
    if p.global_pooling:
        return x.mean((2, 3), keepdim=True) if average else F.max_pool2d(x, x.shape[2:])
    kernel, stride = pair(p, "kernel_size", 0), pair(p, "stride", 1)
    pad = pair(p, "pad", 0)
    if any(2 * q > k for q, k in zip(pad, kernel)):  # more than PyTorch pads by itself
        height, width = top_shape(layer, x)[2:]
        outside = 0 if average else -math.inf
        x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=outside)
        pool = F.avg_pool2d if average else F.max_pool2d
        y = pool(x, kernel, stride, ceil_mode=p.ceil_mode)
        return y[:, :, :height, :width].clone()
    if average:
        return F.avg_pool2d(x, kernel, stride, pad, p.ceil_mode)
    if len(layer.top) == 2:
        y, places = F.max_pool2d(x, kernel, stride, pad, 1, p.ceil_mode, True)
        return y, places.to(x.dtype)
    return F.max_pool2d(x, kernel, stride, pad, ceil_mode=p.ceil_mode)


def _lrn(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.lrn_param
    if p.norm_region == p.ACROSS_CHANNELS:
        return AcrossChannels.apply(x, p.local_size, p.alpha, p.beta, p.k)
    means = F.avg_pool2d(x * x, p.local_size, 1, p.local_size // 2)
    return x * (1 + p.alpha * means) ** -p.beta


def _inner_product(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.inner_product_param
    matrix, bias = _filters_and_bias(weights)
    x = x.flatten(axis(p.axis, x.shape)).to(matrix.dtype)
    return F.linear(x, matrix.T if p.transpose else matrix, bias)


def _prelu(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return F.prelu(x, weights[0].reshape(-1).to(x.dtype))


def _batch_norm(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        return F.batch_norm(x, None, None, training=True, eps=p.eps)
    mean, variance, count = (blob.to(x.dtype) for blob in weights)
    factor = torch.where(count == 0, 0, 1 / count)
    return F.batch_norm(x, mean * factor, variance * factor, eps=p.eps)


def _along(x: Tensor, factor: Tensor, first: int) -> Tensor:
    """`factor`, its first axis along axis `first` of x."""
    return factor.reshape(*factor.shape, *[1] * (x.ndim - first - factor.ndim))


def _scale(layer: Layer, weights: list[Tensor], x: Tensor, *bottom: Tensor) -> Tensor:
    first = axis(layer.scale_param.axis, x.shape)
    factor, *bias = [*bottom, *weights]  # it is a second bottom, or else a parameter
    y = x * _along(x, factor, first)
    return y + _along(x, bias[0], first) if bias else y


def _bias(layer: Layer, weights: list[Tensor], x: Tensor, *bottom: Tensor) -> Tensor:
    bias = bottom[0] if bottom else weights[0]
    return x + _along(x, bias, axis(layer.bias_param.axis, x.shape))


def _eltwise(layer: Layer, weights: list[Tensor], *xs: Tensor) -> Tensor:
    p = layer.eltwise_param
    if p.operation == p.SUM and p.coeff:
        xs = tuple(x if c == 1 else c * x for c, x in zip(p.coeff, xs))
    result = xs[0]
    for x in xs[1:]:
        if p.operation == p.SUM:
            result = result + x
        elif p.operation == p.PROD:
            result = result * x
        else:
            result = torch.where(result > x, result, x)
    return result


def _concat(layer: Layer, weights: list[Tensor], *xs: Tensor) -> Tensor:
    p = layer.concat_param
    i = p.concat_dim if p.HasField("concat_dim") else p.axis
    return torch.cat(tuple(map(channels_last, xs)), axis(i, xs[0].shape))


def _power(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.power_param
    y = p.shift + p.scale * x
    return y if p.power == 1 else y**p.power


def _relu6(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.relu6_param
    y = F.leaky_relu(x, p.negative_slope) if p.negative_slope else F.relu(x)
    return torch.where(y < p.threshold, y, p.threshold)


def _hard_sigmoid(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.hardsigmoid_param
    return (x * p.alpha + p.beta).clamp(0, 1)


def _exp(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.exp_param
    rate = 1 if p.base == -1 else math.log(p.base)
    return (rate * (p.shift + p.scale * x)).exp()


def _log(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.log_param
    rate = 1 if p.base == -1 else math.log(p.base)
    return (p.shift + p.scale * x).log() / rate


def _normalize(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    """Each pixel, or all of them, as a vector of length 1, times a scale."""
    p = layer.norm_param
    scale = weights[0].to(x.dtype).reshape(-1, 1, 1)
    axes = (1, 2, 3) if p.across_spatial else (1,)
    x = x.clone()
    if x.requires_grad:  # Caffe applies the scale last on the way down, too
        x.register_hook(lambda gradient: gradient * scale)
    unit = x / ((x * x).sum(axes, keepdim=True) + p.eps).sqrt()
    return unit + (unit * (scale - 1)).detach()


def _mvn(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.mvn_param
    axes = (1, 2, 3) if p.across_channels else (2, 3)
    y = x - x.mean(axes, keepdim=True)
    if not p.normalize_variance:
        return y
    return y / ((y * y).mean(axes, keepdim=True).sqrt() + p.eps)


def _reduction(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.reduction_param
    shape = top_shape(layer, x)
    x = x.reshape(*shape, -1)
    if p.operation == p.ASUM:
        x = x.abs()
    elif p.operation == p.SUMSQ:
        x = x * x
    return p.coeff * (x.mean(-1) if p.operation == p.MEAN else x.sum(-1))


TYPES: dict[str, Callable] = {
    **SHAPING,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "ReLU": _relu,
    "PReLU": _prelu,
    "ELU": lambda layer, weights, x: F.elu(x, layer.elu_param.alpha),
    "Sigmoid": lambda layer, weights, x: x.sigmoid(),
    "TanH": lambda layer, weights, x: x.tanh(),
    "Concat": _concat,
    "Eltwise": _eltwise,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _bias,
    "Power": _power,
    "ReLU6": _relu6,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda layer, weights, x: x * (x / 6 + 0.5).clamp(0, 1),
    "Exp": _exp,
    "Log": _log,
    "AbsVal": lambda layer, weights, x: x.abs(),
    "BNLL": lambda layer, weights, x: torch.logaddexp(x, torch.zeros_like(x)),
    "Threshold": lambda layer, weights, x: (x > layer.threshold_param.threshold).to(x.dtype),
    "Normalize": _normalize,
    "MVN": _mvn,
    "Reduction": _reduction,
    "Softmax": lambda layer, weights, x: x.softmax(axis(layer.softmax_param.axis, x.shape)),
}
