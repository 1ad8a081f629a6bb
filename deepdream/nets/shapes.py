"""Layer types and their shapes: what each layer makes of a picture, and what it needs
for that. No engine needed.

`walk` runs shapes through the layers of a network. Blob sizes, parameters and memory
are all computed with it. So what Caffe would refuse in words of its own, or accept
without a word, is refused clearly before Caffe sees it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import DreamError, unknown

Shape = tuple[int, ...]
Layer = Any  # a LayerParameter, ours or Caffe's; protobuf gives its fields no types
TopsAndParams = tuple[list[Shape], list[Shape]]
INT_MAX = 2**31 - 1  # Caffe cannot count more values in a blob


class LayerShapes(NamedTuple):
    """A layer, and the shapes of its bottoms, tops and parameters."""

    layer: Layer
    bottoms: list[Shape]
    tops: list[Shape]
    params: list[Shape]


def walk(
    layers: list[Layer], size: tuple[int, int] | None = None, end: str | None = None
) -> Iterator[LayerShapes]:
    """Run shapes through the layers, in file order, and stop after layer `end`.

    `size` is the (height, width) of the picture; None means the prototxt's own size.
    Raises DreamError for a layer that cannot run, and for connections that Caffe would
    refuse.
    """
    blobs: dict[str, Shape] = {}
    names: set[str] = set()
    read: set[str] = set()  # blobs that a layer has read since they were last written
    for layer in layers:
        if layer.type not in TYPES:
            what = f"layer type of layer {layer.name!r}:"
            raise unknown(
                what, layer.type, TYPES, "a deploy.prototxt has only layers that run forward"
            )
        if layer.name in names:
            raise DreamError(f"two layers are called {layer.name!r}; each needs a name of its own")
        names.add(layer.name)
        for bottom in layer.bottom:
            if bottom not in blobs:
                advice = "a bottom is the top of an earlier layer"
                raise unknown(f"bottom of layer {layer.name!r}:", bottom, blobs, advice)
        bottoms = [blobs[bottom] for bottom in layer.bottom]
        tops, params = _run(layer, bottoms, size)
        for top, shape in zip(layer.top, tops):
            _check_size(layer, bottoms, shape)
            if top in blobs and top not in layer.bottom:
                raise DreamError(
                    f"layer {layer.name!r} writes to {top!r}, which another layer writes to"
                )
            if top in read:
                raise DreamError(
                    f"layer {layer.name!r} changes {top!r} in place after another layer has read it"
                )
            blobs[top] = shape
        read = (read | set(layer.bottom)) - set(layer.top)
        yield LayerShapes(layer, bottoms, tops, params)
        if layer.name == end:
            return


def _run(layer: Layer, bottoms: list[Shape], size: tuple[int, int] | None) -> TopsAndParams:
    """The shapes of a layer's tops and parameters, for a picture of this size."""
    try:
        tops, params = TYPES[layer.type](layer, *bottoms)
    except (ValueError, TypeError, IndexError) as error:
        given = " and ".join(map(str, bottoms)) or "no bottom"
        raise DreamError(
            f"layer {layer.name!r} ({layer.type}) cannot take {given}: {error}"
        ) from None
    if layer.type == "Input" and size:
        tops = [(1, *top[1:-2], *size) for top in tops]
    if len(tops) != len(layer.top):
        raise DreamError(
            f"layer {layer.name!r} ({layer.type}) has {len(layer.top)} tops; it needs {len(tops)}"
        )
    return tops, params


def _check_size(layer: Layer, bottoms: list[Shape], top: Shape) -> None:
    """Raise a DreamError for a top without any values, or with more than Caffe can
    count.
    """
    if min(top, default=1) < 1:
        raise DreamError(
            f"nothing is left of the picture at layer {layer.name!r}: its shape would be {top}"
        )
    if max(math.prod(top), columns(layer, bottoms, top)) > INT_MAX:
        raise DreamError(f"layer {layer.name!r} would hold more values than Caffe can count")


def own_size(layers: list[Layer]) -> tuple[int, int]:
    """The (height, width) of the picture that the prototxt itself asks for."""
    data = next(walk(layers)).tops[0]  # (n, 3, height, width)
    return data[2], data[3]


def param_shapes(layers: list[Layer]) -> dict[str, list[Shape]]:
    """{layer name: shapes of its parameters}, for the layers that have any, in file
    order.
    """
    return {layer.name: params for layer, _, _, params in walk(layers) if params}


def climbable(layers: list[Layer]) -> list[str]:
    """The layers that a dream can climb, in network order: those with a blob of their
    own name.
    """
    return [layer.name for layer in layers if layer.name in layer.top and layer.type != "Input"]


def check(layers: list[Layer], end: str, height: int, width: int) -> None:
    """Raise a DreamError unless layer `end` can run on a picture of this size; it names
    the smallest size that can.
    """
    size = (height, width)
    try:
        _check_run(layers, end, size)
    except DreamError as error:
        small = _smallest(layers, end)
        if min(size) < small:
            advice = f"which needs at least {small}x{small} pixels"
            raise DreamError(
                f"a picture of {width}x{height} is too small for layer {end!r}, {advice}"
            ) from None
        h, w = own_size(layers)
        sizes = f"on a picture of {width}x{height}, only on one of its own size, {w}x{h}"
        raise DreamError(f"layer {end!r} cannot run {sizes}: {error}") from None


def fits(layers: list[Layer], end: str, size: tuple[int, int] | None) -> bool:
    """Whether layer `end` can run on a picture of this (height, width)."""
    try:
        _check_run(layers, end, size)
    except DreamError:
        return False
    return True


def top_shape(layers: list[Layer], end: str, height: int, width: int) -> Shape:
    """The shape of the blob that layer `end` makes of a picture of this size."""
    *_, last = walk(layers, (height, width), end)
    return last.tops[0]


def _check_run(layers: list[Layer], end: str, size: tuple[int, int] | None) -> None:
    """Raise a DreamError unless `end` can run at this size with the same weights as at
    the prototxt's own size.
    """
    for here, own in zip(walk(layers, size, end), walk(layers, None, end)):
        if here.params != own.params:
            raise DreamError(f"layer {here.layer.name!r} would need other weights")


def _smallest(layers: list[Layer], end: str, most: int = 4096) -> int:
    """The side of the smallest square picture on which `end` can run; 0 where none up
    to `most` can.
    """
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
    """How many values Caffe copies into columns to turn a convolution into a matrix
    product; 0 where it need not.
    """
    if layer.type != "Convolution":
        return 0
    kernel = math.prod(pair(layer.convolution_param, "kernel_size", 0))
    return bottoms[0][1] * kernel * math.prod(top[2:]) if kernel > 1 else 0


def memory(layers: list[Layer], end: str, height: int, width: int) -> int:
    """About how many bytes Caffe needs to climb `end` from a picture of this size.

    Each blob has data and diff, and one more diff for each of its readers if there are
    several. Each convolution keeps its columns, each pooling the places of its maxima,
    each LRN its scale and its sums.
    """
    extra = {"Pooling": 1, "LRN": 3}
    readers = Counter(
        bottom for layer in layers for bottom in layer.bottom if bottom not in layer.top
    )
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


class Field(NamedTuple):
    """What one value of a blob sees: a square of `side` pixels; its neighbour sees one
    that is `jump` pixels away.
    """

    side: float
    jump: float


def receptive_fields(layers: list[Layer]) -> dict[str, float]:
    """{layer name: side in pixels of what one value of its top sees}; infinite where
    that is the whole picture.
    """
    return {name: field.side for name, field in _fields(layers).items()}


def grid(layers: list[Layer], end: str) -> tuple[int, float]:
    """How a picture and the blobs through layer `end` lie on each other: (step, jump),
    in pixels.

    If the picture moves by a multiple of `step`, each blob moves with it by a whole
    number of values. `jump` pixels lie between two neighbours of that layer's own blob.
    """
    fields = _fields(layers)
    names = [layer.name for layer in layers]
    jumps = [fields[name].jump for name in names[: names.index(end) + 1]]
    return math.lcm(*(int(jump) for jump in jumps if jump >= 1)), jumps[-1]


def _fields(layers: list[Layer]) -> dict[str, Field]:
    """{layer name: its Field}"""
    by_blob: dict[str, Field] = {}
    by_layer: dict[str, Field] = {}
    for layer in layers:
        below = [by_blob[bottom] for bottom in layer.bottom] or [Field(1, 1)]
        side, jump = max(field.side for field in below), max(field.jump for field in below)
        by_layer[layer.name] = field = _field(layer, side, jump)
        for top in layer.top:
            by_blob[top] = field
    return by_layer


def _field(layer: Layer, side: float, jump: float) -> Field:
    """The Field of a layer, given that of its bottoms."""
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        kernel, stride, dilation = (
            pair(p, name, 1)[0] for name in ("kernel_size", "stride", "dilation")
        )
        if layer.type == "Convolution":
            return Field(side + (kernel - 1) * dilation * jump, jump * stride)
        return Field(side + (math.ceil(kernel / stride) - 1) * jump, jump / stride)
    if layer.type == "Pooling" and not layer.pooling_param.global_pooling:
        kernel, stride = (
            pair(layer.pooling_param, name, 1)[0] for name in ("kernel_size", "stride")
        )
        return Field(side + (kernel - 1) * jump, jump * stride)
    if layer.type == "LRN" and layer.lrn_param.norm_region == layer.lrn_param.WITHIN_CHANNEL:
        return Field(side + (layer.lrn_param.local_size - 1) * jump, jump)
    if layer.type in ("InnerProduct", "Pooling"):
        return Field(math.inf, jump)
    return Field(side, jump)


def pair(p: Any, name: str, default: int) -> tuple[int, int]:
    """(height, width) of kernel_size, stride, pad or dilation, in any of the ways that
    Caffe writes them.
    """
    stem = name.removesuffix("_size")
    if name != "dilation" and (p.HasField(stem + "_h") or p.HasField(stem + "_w")):
        return getattr(p, stem + "_h"), getattr(p, stem + "_w")
    value = getattr(p, name)
    values = [value] if isinstance(value, int) else list(value) or [default]
    return values[0], values[-1]


def axis(number: int, shape: Iterable[int]) -> int:
    """The number of an axis counted from the front; Caffe also counts from the back,
    with numbers below 0.
    """
    n = len(tuple(shape))
    _require(-n <= number < n, f"it has no axis {number}")
    return number % n


# Each function below is one layer type: (layer, *bottom shapes) -> (top shapes,
# parameter shapes). A ValueError says why the shapes do not fit; a TypeError, from the
# call itself, that there are too few or too many.


def _require(truth: bool, message: str) -> None:
    if not truth:
        raise ValueError(message)


def _check_image(x: Shape) -> None:
    _require(len(x) == 4, "it needs (n, channels, height, width)")


def _filters_and_bias(filters: Shape, outputs: int, bias_term: bool) -> list[Shape]:
    return [filters, (outputs,)] if bias_term else [filters]


def _input(layer: Layer) -> TopsAndParams:
    return [tuple(shape.dim) for shape in layer.input_param.shape], []


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
    _require(splits, f"{c} channels and {p.num_output} outputs do not split into {p.group} groups")
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    if layer.type == "Deconvolution":
        out = [s * (side - 1) + e - 2 * q for side, e, s, q in zip(size, extent, stride, pad)]
        filters = (c, p.num_output // p.group, *kernel)
    else:
        out = [(side + 2 * q - e) // s + 1 for side, e, s, q in zip(size, extent, stride, pad)]
        filters = (p.num_output, c // p.group, *kernel)
    return [(n, p.num_output, *out)], _filters_and_bias(filters, p.num_output, p.bias_term)


def _pooling(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.pooling_param
    _check_image(x)
    n, c, *size = x
    if p.global_pooling:
        return [(n, c, 1, 1)], []
    _require(p.pool != p.STOCHASTIC, "stochastic pooling is for training")
    kernel, stride, pad = pair(p, "kernel_size", 0), pair(p, "stride", 1), pair(p, "pad", 0)
    _require(min(*kernel, *stride) > 0, "kernel_size and stride must be above 0")
    _require(pad[0] < kernel[0] and pad[1] < kernel[1], "pad must be smaller than kernel_size")
    out = []
    for side, k, s, q in zip(size, kernel, stride, pad):
        rest = side + 2 * q - k
        windows = (math.ceil(rest / s) if p.ceil_mode else rest // s) + 1
        if any(pad) and (windows - 1) * s >= side + q:
            windows -= 1  # if there is padding, the last window starts inside the picture
        inside = (windows - 1) * s < side + q
        _require(inside, "stride is so much larger than kernel_size that a window lies outside")
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
    return [(*x[:first], p.num_output)], _filters_and_bias(filters, p.num_output, p.bias_term)


def _prelu(layer: Layer, x: Shape) -> TopsAndParams:
    return [x], [() if layer.prelu_param.channel_shared else (x[1],)]


def _batch_norm(layer: Layer, x: Shape) -> TopsAndParams:
    return [x], [(x[1],), (x[1],), (1,)]


def _scale(layer: Layer, x: Shape, factor: Shape | None = None) -> TopsAndParams:
    """Scale and Bias: what x is multiplied with, or what is added to it, is a second
    bottom, or else a parameter.
    """
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    first = axis(p.axis, x)
    params = []
    if factor is None:
        factor = x[first:] if p.num_axes == -1 else x[first : first + p.num_axes]
        params.append(factor)
    else:
        _require(
            factor == x[first : first + len(factor)], "the second bottom does not fit the first"
        )
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
    _require(
        len(sizes) == n and min(sizes) > 0,
        f"slice_point must rise, with {n - 1} numbers below {x[i]}",
    )
    return [(*x[:i], size, *x[i + 1 :]) for size in sizes], []


def _split(layer: Layer, x: Shape) -> TopsAndParams:
    return [x for _ in layer.top], []


def _eltwise(layer: Layer, x: Shape, *xs: Shape) -> TopsAndParams:
    _require(
        len(xs) > 0 and all(other == x for other in xs), "it needs two or more bottoms of one shape"
    )
    _require(
        len(layer.eltwise_param.coeff) in (0, 1 + len(xs)), "it needs one coeff for each bottom"
    )
    return [x], []


def _flatten(layer: Layer, x: Shape) -> TopsAndParams:
    first, last = axis(layer.flatten_param.axis, x), axis(layer.flatten_param.end_axis, x)
    return [(*x[:first], math.prod(x[first : last + 1]), *x[last + 1 :])], []


def _reshape(layer: Layer, x: Shape) -> TopsAndParams:
    p = layer.reshape_param
    first = p.axis if p.axis >= 0 else len(x) + p.axis + 1
    last = len(x) if p.num_axes == -1 else first + p.num_axes
    _require(0 <= first <= last <= len(x), f"it has no axes {first} to {last}")
    dims = [
        x[first + i] if dim == 0 else dim for i, dim in enumerate(p.shape.dim)
    ]  # 0 means: as it is
    total = math.prod(x[first:last])
    if -1 in dims:  # -1 means: whatever is left
        known = math.prod(dim for dim in dims if dim != -1)
        _require(known > 0 and total % known == 0, f"{total} numbers do not make {dims}")
        dims[dims.index(-1)] = total // known
    _require(math.prod(dims) == total, f"{total} numbers do not make {dims}")
    return [(*x[:first], *dims, *x[last:])], []


TYPES: dict[str, Callable[..., TopsAndParams]] = {
    "Input": _input,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "ReLU": _same,
    "PReLU": _prelu,
    "ELU": _same,
    "Sigmoid": _same,
    "TanH": _same,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Eltwise": _eltwise,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _scale,
    "Power": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _same,
    "Softmax": _same,
}
