"""The shapes that each layer type makes of its bottoms, and of its parameters."""

import math
import struct
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

Shape = tuple[int, ...]
Size = tuple[int, int]  # height, width
Message = Any  # of protobuf, ours or Caffe's, which gives its fields no types
Layer = Message  # a LayerParameter
TopsAndParams = tuple[list[Shape], list[Shape]]
INPUT = "data/input"  # the layer for scale, order and grey, behind `data`


def pair(p: Message, name: str, default: int) -> Size:
    """(height, width) of a kernel, stride, pad or dilation."""
    stem = name.removesuffix("_size")
    if name != "dilation" and (p.HasField(stem + "_h") or p.HasField(stem + "_w")):
        return getattr(p, stem + "_h"), getattr(p, stem + "_w")
    value = getattr(p, name)
    values = [value] if isinstance(value, int) else list(value) or [default]
    return values[0], values[-1]


def axis(number: int, shape: Iterable[int]) -> int:
    """The number of an axis from the front; below 0, Caffe counts from the back."""
    n = len(tuple(shape))
    _require(-n <= number < n, f"it has no axis {number}")
    return number % n


# Each function below is one layer type: (layer, *bottoms) -> (tops,
# parameters), all of them shapes. A ValueError says why they do not fit; a
# TypeError, that their number is wrong.


def _require(truth: bool, message: str) -> None:
    if not truth:
        raise ValueError(message)


def _check_image(x: Shape) -> None:
    _require(len(x) == 4, "it needs (n, channels, height, width)")


def _params(p: Message, filters: Shape) -> list[Shape]:
    return [filters, (p.num_output,)] if p.bias_term else [filters]


def _same(layer: Layer, x: Shape) -> TopsAndParams:
    return [x], []


def _convolution(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.convolution_param
    _check_image(x)
    n, c, *size = x
    kernel, stride = pair(p, "kernel_size", 0), pair(p, "stride", 1)
    pad, dilation = pair(p, "pad", 0), pair(p, "dilation", 1)
    positive = p.num_output > 0 and min(*kernel, *stride, *dilation) > 0
    _require(positive, "num_output, kernel_size and stride must be above 0")
    splits = p.group > 0 and c % p.group == 0 and p.num_output % p.group == 0
    both = f"{c} channels and {p.num_output} outputs"
    _require(splits, f"{both} do not split into {p.group} groups")
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    axes = zip(size, extent, stride, pad)
    if layer.type == "Deconvolution":
        out = [s * (side - 1) + e - 2 * q for side, e, s, q in axes]
        filters = (c, p.num_output // p.group, *kernel)
    else:
        out = [(side + 2 * q - e) // s + 1 for side, e, s, q in axes]
        filters = (p.num_output, c // p.group, *kernel)
    return [(n, p.num_output, *out)], _params(p, filters)


def _pooling(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.pooling_param
    _check_image(x)
    n, c, *size = x
    if p.global_pooling:
        return [(n, c, 1, 1)], []
    _require(p.pool != p.STOCHASTIC, "stochastic pooling is for training")
    kernel, stride = pair(p, "kernel_size", 0), pair(p, "stride", 1)
    pad = pair(p, "pad", 0)
    _require(min(*kernel, *stride) > 0, "kernel_size and stride must be above 0")
    is_smaller = pad[0] < kernel[0] and pad[1] < kernel[1]
    _require(is_smaller, "pad must be smaller than kernel_size")
    out = []
    for side, k, s, q in zip(size, kernel, stride, pad):
        rest = side + 2 * q - k
        windows = (math.ceil(rest / s) if p.ceil_mode else rest // s) + 1
        if any(pad) and (windows - 1) * s >= side + q:
            windows -= 1  # the last window starts inside the picture
        inside = (windows - 1) * s < side + q
        fault = "stride is so much larger than kernel_size that a window lies outside"
        _require(inside, fault)
        out.append(windows)
    # A second top has the places of the maxima
    tops = 2 if len(layer.top) == 2 and p.pool == p.MAX else 1
    return [(n, c, *out)] * tops, []


def _lrn(layer: Layer, x: Shape) -> TopsAndParams:
    _require(layer.lrn_param.local_size % 2 == 1, "local_size must be odd")
    _check_image(x)
    return [x], []


def _inner_product(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.inner_product_param
    _require(p.num_output > 0, "num_output must be above 0")
    first = axis(p.axis, x)
    inputs = math.prod(x[first:])
    filters = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    return [(*x[:first], p.num_output)], _params(p, filters)


def _prelu(layer: Layer, x: Shape) -> TopsAndParams:
    return [x], [() if layer.prelu_param.channel_shared else (x[1],)]


def _batch_norm(layer: Layer, x: Shape) -> TopsAndParams:
    return [x], [(x[1],), (x[1],), (1,)]


def _scale(layer: Layer, x: Shape, factor: Shape | None = None) -> TopsAndParams:
    """The factor, or summand, is a second bottom or a parameter."""
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    first = axis(p.axis, x)
    params = []
    if factor is None:
        factor = x[first:] if p.num_axes == -1 else x[first : first + p.num_axes]
        params.append(factor)
    else:
        part = x[first : first + len(factor)]
        _require(factor == part, "the second bottom does not fit the first")
    if layer.type == "Scale" and p.bias_term:
        params.append(factor)
    return [x], params


def _concat(layer: Layer, *xs: Shape) -> TopsAndParams:
    p = layer.concat_param
    i = axis(p.concat_dim if p.HasField("concat_dim") else p.axis, xs[0])
    others = {(*x[:i], *x[i + 1 :]) for x in xs}
    _require(len(others) == 1, f"they differ in more than axis {i}")
    return [(*xs[0][:i], sum(x[i] for x in xs), *xs[0][i + 1 :])], []


def _slice(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.slice_param
    i = axis(p.slice_dim if p.HasField("slice_dim") else p.axis, x)
    n = len(layer.top)
    points = list(p.slice_point)
    if not points:
        _require(n > 0 and x[i] % n == 0, f"axis {i} does not split into {n}")
        points = [x[i] // n * part for part in range(1, n)]
    edges = [0, *points, x[i]]
    sizes = [after - before for before, after in pairwise(edges)]
    rises = len(sizes) == n and min(sizes) > 0
    _require(rises, f"slice_point must rise, with {n - 1} numbers below {x[i]}")
    return [(*x[:i], size, *x[i + 1 :]) for size in sizes], []


def _eltwise(layer: Layer, x: Shape, *xs: Shape) -> TopsAndParams:
    alike = len(xs) > 0 and all(other == x for other in xs)
    _require(alike, "it needs two or more bottoms of one shape")
    coeffs = len(layer.eltwise_param.coeff)
    _require(coeffs in (0, 1 + len(xs)), "it needs one coeff for each bottom")
    return [x], []


def _flatten(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.flatten_param
    first, last = axis(p.axis, x), axis(p.end_axis, x)
    return [(*x[:first], math.prod(x[first : last + 1]), *x[last + 1 :])], []


def _reshape(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.reshape_param
    first = p.axis if p.axis >= 0 else len(x) + p.axis + 1
    last = len(x) if p.num_axes == -1 else first + p.num_axes
    _require(0 <= first <= last <= len(x), f"it has no axes {first} to {last}")
    # 0 means: as it is
    dims = [x[first + i] if dim == 0 else dim for i, dim in enumerate(p.shape.dim)]
    total = math.prod(x[first:last])
    fault = f"{total} numbers do not make {dims}"
    if -1 in dims:  # -1 means: whatever is left
        known = math.prod(dim for dim in dims if dim != -1)
        _require(known > 0 and total % known == 0, fault)
        dims[dims.index(-1)] = total // known
    _require(math.prod(dims) == total, fault)
    return [(*x[:first], *dims, *x[last:])], []


def _crop(layer: Layer, x: Shape, like: Shape) -> TopsAndParams:
    """As large as the second bottom, from axis `axis` on."""
    p = layer.crop_param
    first = axis(p.axis, x)
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= len(x) - first
    _require(len(offsets) == len(x) - first, "it needs one offset for each axis")
    _require(len(like) == len(x), "the second bottom has other axes")
    for i, offset in enumerate(offsets, first):
        fits_in = offset + like[i] <= x[i]
        _require(fits_in, f"axis {i} is too short for {like[i]} after {offset}")
    return [(*x[:first], *like[first:])], []


def _normalize(layer: Layer, x: Shape) -> TopsAndParams:
    _check_image(x)
    return [x], [() if layer.norm_param.channel_shared else (x[1],)]


def order(layer: Layer, axes: int) -> list[int]:
    """Where each axis of a Permute comes from."""
    given = list(layer.permute_param.order)
    once = len(set(given)) == len(given) and all(i < axes for i in given)
    _require(once, f"order must name each of {axes} axes once")
    return given + [i for i in range(axes) if i not in given]


def _permute(layer: Layer, x: Shape) -> TopsAndParams:
    return [tuple(x[i] for i in order(layer, len(x)))], []


def pads(layer: Layer) -> tuple[int, int, int, int]:
    """What a Pad adds: up, down, left, right."""
    p = layer.pad_param
    return p.pad_u, p.pad_d, p.pad_l, p.pad_r


def _pad(layer: Layer, x: Shape) -> TopsAndParams:
    _check_image(x)
    up, down, left, right = sides = pads(layer)
    alike = min(sides) >= 0 or max(sides) < 0
    _require(alike, "all paddings must be below 0 or none")
    is_inside = max(up, down) < x[2] and max(left, right) < x[3]
    mirrors = layer.pad_param.pad_type == layer.pad_param.REFLECT
    _require(is_inside or not mirrors, "a reflection must be smaller than the picture")
    return [(*x[:2], x[2] + up + down, x[3] + left + right)], []


def _upsample(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.upsample_param
    fits_in = len(x) == p.dims_num and p.dims_num in (3, 4)
    _require(fits_in, "it needs dims_num axes, 3 or 4")
    _require(p.scale > 0, "scale must be above 0")
    kept = 4 - p.dims_num + 2
    return [(*x[:kept], *(side * p.scale for side in x[kept:]))], []


def _resize(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.resize_param
    _check_image(x)
    size = p.height, p.width
    if p.is_pyramid_test:  # in float32, as Caffe
        scales = p.out_height_scale, p.out_width_scale
        size = tuple(int(float32(s * side)) for s, side in zip(scales, x[2:]))
    return [(*x[:2], *size)], []


def _interpolate(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.bilinear_interpolate_param
    _check_image(x)
    _require(min(x[2:]) > 1, "it needs 2 rows and 2 columns")
    gives_size = p.HasField("dst_h") or p.HasField("dst_w")
    is_clear = gives_size != p.HasField("scale_factor")
    _require(is_clear, "give dst_h and dst_w, or scale_factor")
    if not gives_size:
        return [(*x[:2], *(int(float32(p.scale_factor * n)) for n in x[2:]))], []
    height = p.dst_h if p.HasField("dst_h") else x[2]
    return [(*x[:2], height, p.dst_w if p.HasField("dst_w") else x[3])], []


def float32(number: float) -> float:
    """The nearest number in single precision."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _tile(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.tile_param
    i = axis(p.axis, x)
    _require(p.tiles > 0, "tiles must be above 0")
    return [(*x[:i], x[i] * p.tiles, *x[i + 1 :])], []


def _argmax(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.argmax_param
    if p.HasField("axis"):
        i = axis(p.axis, x)
        _require(1 <= p.top_k <= x[i], f"top_k must be 1 to {x[i]}")
        return [(*x[:i], p.top_k, *x[i + 1 :])], []
    _require(1 <= p.top_k <= math.prod(x[1:]), "top_k is too large, or 0")
    ones = [1] * (max(3, len(x)) - 3)
    return [(x[0], 2 if p.out_max_val else 1, p.top_k, *ones)], []


def _mvn(layer: Layer, x: Shape) -> TopsAndParams:
    _check_image(x)
    return [x], []


def _reduction(layer: Layer, x: Shape) -> TopsAndParams:
    return [x[: axis(layer.reduction_param.axis, x)]], []


def _pixel_shuffle(layer: Layer, x: Shape) -> TopsAndParams:
    n, c, h, w = x
    factor = layer.pixelshuffle_param.upscale_factor
    splits = factor > 0 and c % factor**2 == 0
    _require(splits, f"{c} channels do not split into {factor} x {factor}")
    return [(n, c // factor**2, h * factor, w * factor)], []


SAME = (
    *("ReLU", "ReLU6", "ELU", "Sigmoid", "TanH", "HardSigmoid", "HardSwish"),
    *("Power", "Exp", "Log", "AbsVal", "BNLL", "Threshold", "Dropout", "Softmax"),
)
TYPES: dict[str, Callable[..., TopsAndParams]] = {
    **dict.fromkeys(SAME, _same),
    "Input": lambda layer: ([tuple(it.dim) for it in layer.input_param.shape], []),
    **dict.fromkeys(("Convolution", "Deconvolution"), _convolution),
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "PReLU": _prelu,
    "Concat": _concat,
    "Slice": _slice,
    "Split": lambda layer, x: ([x for _ in layer.top], []),
    "Eltwise": _eltwise,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _scale,
    "Crop": _crop,
    "Normalize": _normalize,
    "MVN": _mvn,
    "Pad": _pad,
    "Upsample": _upsample,
    "Resize": _resize,
    "BilinearInterpolate": _interpolate,
    "PixelShuffle": _pixel_shuffle,
    "Permute": _permute,
    "Tile": _tile,
    "Reduction": _reduction,
    "ArgMax": _argmax,
    "Silence": lambda layer, *xs: ([], []),
    "Flatten": _flatten,
    "Reshape": _reshape,
}
