"""The shapes that each layer type makes of its bottoms, and of its parameters.

With them, blob sizes, parameters and memory are computed, and what Caffe
would refuse in words of its own, or accept without a word, is refused
clearly.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import DreamError, unknown

Shape = tuple[int, ...]
Size = tuple[int, int]  # height, width
Message = Any  # of protobuf, ours or Caffe's, which gives its fields no types
Layer = Message  # a LayerParameter
TopsAndParams = tuple[list[Shape], list[Shape]]
INPUT = "data/input"  # the layer that `inputs.insert` puts behind `data`
INT_MAX = 2**31 - 1  # Caffe cannot count more values in a blob


class LayerShapes(NamedTuple):
    """A layer, and the shapes of its bottoms, tops and parameters."""

    layer: Layer
    bottoms: list[Shape]
    tops: list[Shape]
    params: list[Shape]


def walk(
    layers: list[Layer], size: Size | None = None, end: str | None = None
) -> Iterator[LayerShapes]:
    """Run shapes through the layers, in file order, and stop after layer `end`.

    size: of the picture; None: the prototxt's own. Raises DreamError for a
    layer that cannot run, and for connections that Caffe would refuse.
    """
    blobs: dict[str, Shape] = {}
    names: set[str] = set()
    read: set[str] = set()  # blobs that a layer has read since they were last written
    for layer in layers:
        name = layer.name
        if layer.type not in TYPES:
            advice = "a deploy.prototxt has only layers that run forward"
            raise unknown(f"layer type of layer {name!r}:", layer.type, TYPES, advice)
        if name in names:
            raise DreamError(f"two layers are called {name!r}; each needs a name of its own")
        names.add(name)
        for bottom in layer.bottom:
            if bottom not in blobs:
                advice = "a bottom is the top of an earlier layer"
                raise unknown(f"bottom of layer {name!r}:", bottom, blobs, advice)
        bottoms = [blobs[bottom] for bottom in layer.bottom]
        tops, params = _run(layer, bottoms, size)
        for top, shape in zip(layer.top, tops):
            _check_size(layer, bottoms, shape)
            fault = ""
            if top in blobs and top not in layer.bottom:
                fault = f"writes to {top!r}, which another layer writes to"
            elif top in read:
                fault = f"changes {top!r} in place after another layer has read it"
            if fault:
                raise DreamError(f"layer {name!r} {fault}")
            blobs[top] = shape
        read = (read | set(layer.bottom)) - set(layer.top)
        yield LayerShapes(layer, bottoms, tops, params)
        if name == end:
            return


def _run(layer: Layer, bottoms: list[Shape], size: Size | None) -> TopsAndParams:
    what = f"layer {layer.name!r} ({layer.type})"
    try:
        tops, params = TYPES[layer.type](layer, *bottoms)
    except (ValueError, TypeError, IndexError) as error:
        given = " and ".join(map(str, bottoms)) or "no bottom"
        raise DreamError(f"{what} cannot take {given}: {error}") from None
    if layer.type == "Input" and size:
        tops = [(1, *top[1:-2], *size) for top in tops]
    if len(tops) != len(layer.top):
        raise DreamError(f"{what} has {len(layer.top)} tops; it needs {len(tops)}")
    return tops, params


def _check_size(layer: Layer, bottoms: list[Shape], top: Shape) -> None:
    """Raise a DreamError for a top with no values, or too many for Caffe."""
    what = f"layer {layer.name!r}"
    if min(top, default=1) < 1:
        would = f"its shape would be {top}"
        raise DreamError(f"nothing is left of the picture at {what}: {would}")
    if max(math.prod(top), columns(layer, bottoms, top)) > INT_MAX:
        raise DreamError(f"{what} would hold more values than Caffe can count")


def own_size(layers: list[Layer]) -> Size:
    """The size of the picture that the prototxt asks for."""
    data = next(walk(layers)).tops[0]  # (n, 3, height, width)
    return data[2], data[3]


def param_shapes(layers: list[Layer]) -> dict[str, list[Shape]]:
    """{layer: shapes of its parameters}, in file order, where it has any."""
    return {layer.name: params for layer, _, _, params in walk(layers) if params}


def climbable(layers: list[Layer]) -> list[str]:
    """The layers with a blob of their own name."""
    own = [layer for layer in layers if layer.name in layer.top]
    return [layer.name for layer in own if layer.type != "Input" and layer.name != INPUT]


def check(layers: list[Layer], end: str, height: int, width: int) -> None:
    """Raise a DreamError unless layer `end` can run on a picture of this size."""
    try:
        _check_run(layers, end, (height, width))
    except DreamError as error:
        picture = f"a picture of {width}x{height}"
        small = _smallest(layers, end)
        if min(height, width) < small:
            needs = f"layer {end!r}, which needs at least {small}x{small} pixels"
            raise DreamError(f"{picture} is too small for {needs}") from None
        h, w = own_size(layers)
        own = f"only on one of its own size, {w}x{h}"
        raise DreamError(f"layer {end!r} cannot run on {picture}, {own}: {error}") from None


def fits(layers: list[Layer], end: str, size: Size | None) -> bool:
    """Whether layer `end` can run on a picture of this size."""
    try:
        _check_run(layers, end, size)
    except DreamError:
        return False
    return True


def top_shape(layers: list[Layer], end: str, height: int, width: int) -> Shape:
    """The shape of what layer `end` makes of a picture of this size."""
    *_, last = walk(layers, (height, width), end)
    return last.tops[0]


def _check_run(layers: list[Layer], end: str, size: Size | None) -> None:
    """Raise a DreamError unless `end` can run so, with its own weights."""
    for here, own in zip(walk(layers, size, end), walk(layers, None, end)):
        if here.params != own.params:
            raise DreamError(f"layer {here.layer.name!r} would need other weights")


def _smallest(layers: list[Layer], end: str, most: int = 4096) -> int:
    """The side of the smallest picture for `end`; 0 for none."""
    high = 1
    while not fits(layers, end, (high, high)):
        high *= 2
        if high > most:
            return 0
    low = high // 2 + 1  # half of `high` was too small
    while low < high:
        middle = (low + high) // 2
        if fits(layers, end, (middle, middle)):
            high = middle
        else:
            low = middle + 1
    return high


def columns(layer: Layer, bottoms: list[Shape], top: Shape) -> int:
    """How many values Caffe copies for a matrix product."""
    if layer.type != "Convolution":
        return 0
    kernel = math.prod(pair(layer.convolution_param, "kernel_size", 0))
    return bottoms[0][1] * kernel * math.prod(top[2:]) if kernel > 1 else 0


def memory(layers: list[Layer], end: str, height: int, width: int) -> int:
    """About how many bytes Caffe needs to climb `end`."""
    extra = {"Pooling": 1, "LRN": 3}  # the places of maxima; the scale and sums
    read = [name for layer in layers for name in layer.bottom if name not in layer.top]
    readers = Counter(read)
    values = 0
    for layer, bottoms, tops, _ in walk(layers, (height, width), end):
        for name, shape in zip(layer.top, tops):
            copies = extra.get(layer.type, 0)
            if name not in layer.bottom:
                copies += 2
                if readers[name] > 1:
                    copies += readers[name]
            values += columns(layer, bottoms, shape) + copies * math.prod(shape)
    return 4 * values


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
    return [(n, c, *out)], []


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


SAME = "ReLU", "ELU", "Sigmoid", "TanH", "Power", "Dropout", "Softmax"
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
    "Flatten": _flatten,
    "Reshape": _reshape,
}
