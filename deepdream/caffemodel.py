"""Caffe's two files, prototxt and caffemodel, as layers, shapes and arrays. No engine needed.

A network is a list of layers in file order (`read_layers`). `walk` runs shapes through them; sizes,
parameters and receptive fields all come from it, so that what Caffe would abort on, and what it would
pass in silence, is an exception before Caffe sees it.
"""

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from . import caffemodel_pb2 as pb
from .errors import DreamError, unknown, whole

Shape = tuple[int, ...]
Weights = dict[str, list[np.ndarray]]
V1_NAMES = {"RELU": "ReLU", "LRN": "LRN", "TANH": "TanH"}  # those that are not just CamelCase of the old name
INT_MAX = 2**31 - 1  # Caffe aborts on blobs with more values


def read_prototxt(path: Path, net: Message | None = None) -> Message:
    """The NetParameter that a prototxt holds, brought to today's form by `upgrade`.

    Given `net`, an empty NetParameter of Caffe's own, a field unknown to it is an error; without, the
    answer is ours, which leaves out what a dream does not read.
    """
    lenient = net is None
    net = pb.NetParameter() if lenient else net
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8-sig"), net, allow_unknown_field=lenient)
        upgrade(net)
    except (OSError, UnicodeDecodeError, text_format.ParseError, ValueError) as error:
        raise DreamError(f"cannot read {path} as a Caffe prototxt: {error}") from None
    if not net.layer:
        raise DreamError(f"{path} describes no layers; a deploy.prototxt is needed")
    return net


def read_layers(path: Path) -> list[Message]:
    """The layers of a deploy.prototxt in file order, checked: types, names, connections, one `data` input."""
    layers = list(read_prototxt(path).layer)
    inputs = [top for layer in layers if layer.type == "Input" for top in layer.top]
    if inputs != ["data"]:
        raise DreamError(f"{path} has the inputs {inputs}; a dream needs one, called 'data' (a deploy.prototxt has it)")
    data = next(walk(layers))[2][0]
    if len(data) != 4 or data[1] != 3:
        raise DreamError(f"{path}: 'data' has the shape {data}; a dream needs (n, 3, height, width)")
    for _ in walk(layers):
        pass
    return layers


def upgrade(net: Message) -> None:
    """Give a NetParameter, ours or Caffe's, today's form: no V1 `layers`, no `input:` header, no training layers."""
    for old in net.layers:
        name = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[old.type].name
        new = net.layer.add(name=old.name, type=V1_NAMES.get(name) or name.title().replace("_", ""))
        for field, value in old.ListFields():
            if field.name not in ("name", "type", "param") and field.name in new.DESCRIPTOR.fields_by_name:
                getattr(new, field.name).MergeFrom(value)
    dims = [list(shape.dim) for shape in net.input_shape]
    dims += [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
    if len(dims) != len(net.input):
        raise ValueError(f"{len(net.input)} inputs, but {len(dims)} input shapes")
    layers = [layer for layer in net.layer if {rule.phase for rule in layer.include if rule.HasField("phase")} != {0}]
    del net.layer[:]
    for name, dim in zip(net.input, dims):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=dim)
    net.layer.extend(layers)
    for old_form in ("layers", "input", "input_shape", "input_dim"):
        net.ClearField(old_form)


# ---------------------------------------------------------------------------------------------- weights


def read_weights(path: Path) -> Weights:
    """All blobs of a caffemodel (V1 or V2 layers), float32, by layer name; layers without blobs are left out."""
    net = pb.NetParameter()
    try:
        net.ParseFromString(Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        raise DreamError(f"cannot read {path} as a caffemodel: {error}; it may be cut short: get it again") from None
    weights = {
        layer.name: [_array(blob, layer.name, path) for blob in layer.blobs] for layer in [*net.layers, *net.layer]
    }
    weights = {name: blobs for name, blobs in weights.items() if blobs}
    if not weights:
        raise DreamError(f"{path} holds no weights: it is not a caffemodel, or an empty one; get it again")
    return weights


def _array(blob: Message, layer: str, path: Path) -> np.ndarray:
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    raw, dtype = (blob.data, "<f4") if blob.data else (blob.double_data, "<f8")
    if len(raw) != math.prod(shape) * int(dtype[-1]):
        raise DreamError(
            f"{path}: layer {layer!r} says {shape} but holds {len(raw)} bytes; the file is damaged: get it again"
        )
    return np.frombuffer(raw, dtype).astype(np.float32, copy=False).reshape(shape)


def write_weights(path: Path, weights: Weights) -> None:
    """Write a caffemodel in today's (V2) format, whole or not at all."""
    net = pb.NetParameter()
    for name, blobs in weights.items():
        layer = net.layer.add(name=name)
        for blob in blobs:
            layer.blobs.add(data=blob.astype("<f4").tobytes()).shape.dim.extend(blob.shape)
    with whole(Path(path)) as part:
        part.write_bytes(net.SerializeToString())


def fit_weights(layers: list[Message], weights: Weights, source: Path) -> Weights:
    """The weights that `layers` need, in their shapes and order; a DreamError where one is missing or does not fit."""
    fitted = {}
    for layer, shapes in param_shapes(layers).items():
        blobs = weights.get(layer, [])
        # Old files pad every shape to four numbers, so ones do not count.
        squeezed = [[n for n in blob.shape if n != 1] for blob in blobs]
        if squeezed != [[n for n in shape if n != 1] for shape in shapes]:
            found = ", ".join(str(blob.shape) for blob in blobs) or "none"
            raise DreamError(
                f"{source}: layer {layer!r} needs weights of the shapes {', '.join(map(str, shapes))}, but the file "
                f"has {found}; it belongs to another network than the prototxt"
            )
        fitted[layer] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes)]
    return fitted


def weights_digest(weights: Weights) -> str:
    """sha256 over each layer's name, a zero byte and its blobs as little-endian float32, whatever the file's format."""
    digest = hashlib.sha256()
    for name, blobs in weights.items():
        digest.update(name.encode() + b"\0")
        for blob in blobs:
            digest.update(np.ascontiguousarray(blob, "<f4"))
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------------- shapes


def walk(
    layers: list[Message], size: tuple[int, int] | None = None, end: str | None = None
) -> Iterator[tuple[Message, list[Shape], list[Shape], list[Shape]]]:
    """Run shapes through the layers: yields (layer, bottom shapes, top shapes, parameter shapes), through `end`.

    `size` is the (height, width) of the picture; None means the prototxt's own.
    """
    blobs: dict[str, Shape] = {}
    names, read = set(), set()
    for layer in layers:
        if layer.type not in TYPES:
            raise unknown(
                f"layer type of layer {layer.name!r}:",
                layer.type,
                TYPES,
                "a deploy.prototxt has only layers that run forward",
            )
        if layer.name in names:
            raise DreamError(f"two layers are called {layer.name!r}; each needs a name of its own")
        names.add(layer.name)
        for bottom in layer.bottom:
            if bottom not in blobs:
                raise unknown(
                    f"bottom of layer {layer.name!r}:", bottom, blobs, "a bottom is the top of an earlier layer"
                )
        bottoms = [blobs[bottom] for bottom in layer.bottom]
        try:
            tops, params = TYPES[layer.type](layer, *bottoms)
        except (ValueError, TypeError, IndexError) as error:
            given = " and ".join(map(str, bottoms)) or "no bottom"
            raise DreamError(f"layer {layer.name!r} ({layer.type}) cannot take {given}: {error}") from None
        if layer.type == "Input" and size:
            tops = [(1, *top[1:-2], *size) for top in tops]
        if len(tops) != len(layer.top):
            raise DreamError(f"layer {layer.name!r} ({layer.type}) has {len(layer.top)} tops; it needs {len(tops)}")
        for top, shape in zip(layer.top, tops):
            if min(shape, default=1) < 1:
                raise DreamError(f"nothing is left of the picture at layer {layer.name!r}: its shape would be {shape}")
            if max(math.prod(shape), columns(layer, bottoms, shape)) > INT_MAX:
                raise DreamError(f"layer {layer.name!r} would hold more values than Caffe can count")
            if top in blobs and top not in layer.bottom:
                raise DreamError(f"layer {layer.name!r} writes to {top!r}, which another layer writes to")
            if top in read:
                raise DreamError(f"layer {layer.name!r} changes {top!r} in place after another layer has read it")
            blobs[top] = shape
        read = (read - set(layer.top)) | (set(layer.bottom) - set(layer.top))
        yield layer, bottoms, tops, params
        if layer.name == end:
            return


def param_shapes(layers: list[Message]) -> dict[str, list[Shape]]:
    """{layer name: shapes of its parameters}, for the layers that have any, in file order."""
    return {layer.name: params for layer, _, _, params in walk(layers) if params}


def climbable(layers: list[Message]) -> list[str]:
    """The layers a dream can climb, in network order: those with a blob of their own name."""
    return [layer.name for layer in layers if layer.name in layer.top and layer.type != "Input"]


def check(layers: list[Message], end: str, height: int, width: int) -> None:
    """Raise a DreamError unless layer `end` can run on a picture of this size; it says the smallest that can."""
    size = (height, width)
    try:
        _run(layers, end, size)
    except DreamError as error:
        small = _smallest(layers, end)
        if min(size) < small:
            advice = f"which needs at least {small}x{small} pixels"
            raise DreamError(f"a picture of {width}x{height} is too small for layer {end!r}, {advice}") from None
        h, w = next(walk(layers))[2][0][-2:]
        sizes = f"on a picture of {width}x{height}, only on one of its own size, {w}x{h}"
        raise DreamError(f"layer {end!r} cannot run {sizes}: {error}") from None


def fits(layers: list[Message], end: str, size: tuple[int, int] | None) -> bool:
    """Whether layer `end` can run on a picture of this (height, width)."""
    try:
        _run(layers, end, size)
    except DreamError:
        return False
    return True


def top_shape(layers: list[Message], end: str, height: int, width: int) -> Shape:
    """The shape of the blob that layer `end` makes of a picture of this size."""
    *_, (_, _, tops, _) = walk(layers, (height, width), end)
    return tops[0]


def _run(layers, end, size):
    for (layer, *_, params), (*_, own) in zip(walk(layers, size, end), walk(layers, None, end)):
        if params != own:
            raise DreamError(f"layer {layer.name!r} would need other weights")


def _smallest(layers, end, most=4096):
    """The side of the smallest square picture on which `end` can run; 0 where none up to `most` can."""
    high = 1
    while not fits(layers, end, (high, high)):
        high *= 2
        if high > most:
            return 0
    return bisect_left(range(high), True, key=lambda side: side > 0 and fits(layers, end, (side, side)))


def columns(layer: Message, bottoms: list[Shape], top: Shape) -> int:
    """How many values Caffe lays out in columns for a convolution to become a matrix product; 0 where it need not."""
    if layer.type != "Convolution":
        return 0
    kernel = math.prod(pair(layer.convolution_param, "kernel_size", 0))
    return bottoms[0][1] * kernel * math.prod(top[2:]) if kernel > 1 else 0


def memory(layers: list[Message], end: str, height: int, width: int) -> int:
    """About how many bytes Caffe needs to climb `end` from a picture of this size.

    Each blob has data and diff, and a diff more for each of its readers where there are several; each convolution keeps
    its columns, each maximum its place, each LRN its scale and what it sums.
    """
    readers = Counter(bottom for layer in layers for bottom in layer.bottom if bottom not in layer.top)
    values = 0
    for layer, bottoms, tops, _ in walk(layers, (height, width), end):
        for name, shape in zip(layer.top, tops):
            values += columns(layer, bottoms, shape)
            values += math.prod(shape) * {"Pooling": 1, "LRN": 3}.get(layer.type, 0)
            if name not in layer.bottom:
                values += math.prod(shape) * (2 + (readers[name] if readers[name] > 1 else 0))
    return 4 * values


def receptive_fields(layers: list[Message]) -> dict[str, float]:
    """{layer name: side in pixels of what one value of its top sees}; infinite where that is the whole picture."""
    return {name: field for name, (field, _) in _fields(layers).items()}


def grid(layers: list[Message], end: str) -> tuple[int, float]:
    """(by how many pixels a picture can move so that every blob through layer `end` moves along, by whole values;
    how many pixels lie between two neighbours of that layer's own blob)."""
    fields = _fields(layers)
    before = [layer.name for layer in layers]
    jumps = [fields[name][1] for name in before[: before.index(end) + 1]]
    return math.lcm(*(int(jump) for jump in jumps if jump >= 1)), jumps[-1]


def _fields(layers):
    """{layer name: (its receptive field, pixels between neighbouring values)}"""
    seen: dict[str, tuple[float, float]] = {}  # by blob
    fields = {}
    for layer in layers:
        field, jump = map(max, zip(*(seen[bottom] for bottom in layer.bottom))) if layer.bottom else (1, 1)
        if layer.type in ("Convolution", "Deconvolution"):
            p = layer.convolution_param
            kernel, stride, dilation = (pair(p, name, 1)[0] for name in ("kernel_size", "stride", "dilation"))
            if layer.type == "Convolution":
                field, jump = field + (kernel - 1) * dilation * jump, jump * stride
            else:
                field, jump = field + (math.ceil(kernel / stride) - 1) * jump, jump / stride
        elif layer.type == "Pooling" and not layer.pooling_param.global_pooling:
            kernel, stride = (pair(layer.pooling_param, name, 1)[0] for name in ("kernel_size", "stride"))
            field, jump = field + (kernel - 1) * jump, jump * stride
        elif layer.type == "LRN" and layer.lrn_param.norm_region == pb.LRNParameter.WITHIN_CHANNEL:
            field += (layer.lrn_param.local_size - 1) * jump
        elif layer.type in ("InnerProduct", "Pooling"):
            field = math.inf
        seen.update((top, (field, jump)) for top in layer.top)
        fields[layer.name] = field, jump
    return fields


# Each function below is one layer type: (layer, *bottom shapes) -> (top shapes, parameter shapes).
# A ValueError says why the shapes do not fit; a TypeError, from the call, that there are too few or too many.


def pair(p: Message, name: str, default: int) -> tuple[int, int]:
    """(height, width) of kernel_size, stride, pad or dilation, whichever way Caffe writes them."""
    stem = name.removesuffix("_size")
    if name != "dilation" and (p.HasField(stem + "_h") or p.HasField(stem + "_w")):
        return getattr(p, stem + "_h"), getattr(p, stem + "_w")
    value = getattr(p, name)
    values = [value] if isinstance(value, int) else list(value) or [default]
    return values[0], values[-1]


def _need(truth: bool, message: str) -> None:
    if not truth:
        raise ValueError(message)


def _axis(axis: int, shape: Shape) -> int:
    _need(-len(shape) <= axis < len(shape), f"it has no axis {axis}")
    return axis % len(shape)


def _image(x: Shape) -> Shape:
    _need(len(x) == 4, "it needs (n, channels, height, width)")
    return x


def _input(layer):
    return [tuple(shape.dim) for shape in layer.input_param.shape], []


def _same(layer, x):
    return [x], []


def _convolution(layer, x):
    p = layer.convolution_param
    n, c, *size = _image(x)
    kernel, stride, pad, dilation = (
        pair(p, *arg) for arg in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    _need(
        p.num_output > 0 and min(*kernel, *stride, *dilation) > 0, "num_output, kernel_size and stride must be above 0"
    )
    _need(
        p.group > 0 and c % p.group == 0 and p.num_output % p.group == 0,
        f"{c} channels and {p.num_output} outputs do not split into {p.group} groups",
    )
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    if layer.type == "Deconvolution":
        out = [s * (x - 1) + e - 2 * q for x, e, s, q in zip(size, extent, stride, pad)]
        filters = (c, p.num_output // p.group, *kernel)
    else:
        out = [(x + 2 * q - e) // s + 1 for x, e, s, q in zip(size, extent, stride, pad)]
        filters = (p.num_output, c // p.group, *kernel)
    return [(n, p.num_output, *out)], [filters] + [(p.num_output,)] * p.bias_term


def _pooling(layer, x):
    p = layer.pooling_param
    n, c, *size = _image(x)
    if p.global_pooling:
        return [(n, c, 1, 1)], []
    _need(p.pool != p.STOCHASTIC, "stochastic pooling is for training")
    kernel, stride, pad = (pair(p, *arg) for arg in (("kernel_size", 0), ("stride", 1), ("pad", 0)))
    _need(min(*kernel, *stride) > 0, "kernel_size and stride must be above 0")
    _need(pad[0] < kernel[0] and pad[1] < kernel[1], "pad must be smaller than kernel_size")
    out = []
    for x, k, s, q in zip(size, kernel, stride, pad):
        o = (x + 2 * q - k + (s - 1) * p.ceil_mode) // s + 1
        o -= any(pad) and (o - 1) * s >= x + q  # where it is padded, the last window starts inside the picture
        _need((o - 1) * s < x + q, "stride is so much larger than kernel_size that a window lies outside")
        out.append(o)
    return [(n, c, *out)], []


def _lrn(layer, x):
    _need(layer.lrn_param.local_size % 2 == 1, "local_size must be odd")
    return [_image(x)], []


def _inner_product(layer, x):
    p = layer.inner_product_param
    _need(p.num_output > 0, "num_output must be above 0")
    axis = _axis(p.axis, x)
    filters = (p.num_output, math.prod(x[axis:]))
    return [(*x[:axis], p.num_output)], [filters[::-1] if p.transpose else filters] + [(p.num_output,)] * p.bias_term


def _prelu(layer, x):
    return [x], [() if layer.prelu_param.channel_shared else (x[1],)]


def _batch_norm(layer, x):
    return [x], [(x[1],), (x[1],), (1,)]


def _scale(layer, x, factor=None):
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    axis = _axis(p.axis, x)
    shape = x[axis:] if p.num_axes == -1 else x[axis : axis + p.num_axes]
    if factor is not None:
        _need(factor == x[axis : axis + len(factor)], "the second bottom does not fit the first")
        shape = factor
    return [x], [shape] * (factor is None) + [shape] * (layer.type == "Scale" and p.bias_term)


def _concat(layer, *xs):
    p = layer.concat_param
    axis = _axis(p.concat_dim if p.HasField("concat_dim") else p.axis, xs[0])
    _need(len({(*x[:axis], *x[axis + 1 :]) for x in xs}) == 1, f"they differ in more than axis {axis}")
    return [(*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])], []


def _slice(layer, x):
    p = layer.slice_param
    axis = _axis(p.slice_dim if p.HasField("slice_dim") else p.axis, x)
    n = len(layer.top)
    points = list(p.slice_point) or [x[axis] // n * i for i in range(1, n)]
    _need(p.slice_point or x[axis] % n == 0, f"axis {axis} does not split into {n}")
    sizes = np.diff([0, *points, x[axis]]).tolist()
    _need(len(sizes) == n and min(sizes) > 0, f"slice_point must rise, with {n - 1} numbers below {x[axis]}")
    return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes], []


def _split(layer, x):
    return [x] * len(layer.top), []


def _eltwise(layer, x, *xs):
    _need(len(xs) > 0 and all(other == x for other in xs), "it needs two or more bottoms of one shape")
    _need(len(layer.eltwise_param.coeff) in (0, 1 + len(xs)), "it needs one coeff for each bottom")
    return [x], []


def _flatten(layer, x):
    first, last = _axis(layer.flatten_param.axis, x), _axis(layer.flatten_param.end_axis, x)
    return [(*x[:first], math.prod(x[first : last + 1]), *x[last + 1 :])], []


def _reshape(layer, x):
    p = layer.reshape_param
    first = p.axis if p.axis >= 0 else len(x) + p.axis + 1
    last = len(x) if p.num_axes == -1 else first + p.num_axes
    _need(0 <= first <= last <= len(x), f"it has no axes {first} to {last}")
    dims = [x[first + i] if dim == 0 else dim for i, dim in enumerate(p.shape.dim)]
    total = math.prod(x[first:last])
    if -1 in dims:
        known = math.prod(dim for dim in dims if dim != -1)
        _need(known > 0 and total % known == 0, f"{total} numbers do not make {dims}")
        dims[dims.index(-1)] = total // known
    _need(math.prod(dims) == total, f"{total} numbers do not make {dims}")
    return [(*x[:first], *dims, *x[last:])], []


TYPES: dict[str, Callable] = {
    "Input": _input, "Convolution": _convolution, "Deconvolution": _convolution, "InnerProduct": _inner_product,
    "Pooling": _pooling, "LRN": _lrn, "ReLU": _same, "PReLU": _prelu, "ELU": _same, "Sigmoid": _same, "TanH": _same,
    "Concat": _concat, "Slice": _slice, "Split": _split, "Eltwise": _eltwise, "BatchNorm": _batch_norm,
    "Scale": _scale, "Bias": _scale, "Power": _same, "Flatten": _flatten, "Reshape": _reshape,
    "Dropout": _same, "Softmax": _same,
}  # fmt: skip
