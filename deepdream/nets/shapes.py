"""Shapes through a whole network.

With them, blob sizes, parameters and memory are computed, and what Caffe
would refuse in words of its own, or accept without a word, is refused
clearly.
"""

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from ..errors import DreamError, unknown
from . import asking, sizes
from .branches import climbable as climbable
from .branches import needed
from .layer_shapes import INPUT as INPUT
from .layer_shapes import TYPES, Layer, Shape, Size, TopsAndParams, pair
from .layer_shapes import axis as axis

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
        if layer.name in names:
            fault = f"two layers are called {layer.name!r}"
            raise DreamError(f"{fault}; each needs a name of its own")
        names.add(layer.name)
        here = _step(layer, blobs, size)
        for top in layer.top:
            fault = ""
            if top in blobs and top not in layer.bottom:
                fault = f"writes to {top!r}, which another layer writes to"
            elif top in read:
                fault = f"changes {top!r} in place after another layer has read it"
            if fault:
                raise DreamError(f"layer {layer.name!r} {fault}")
        blobs |= zip(layer.top, here.tops)
        read = (read | set(layer.bottom)) - set(layer.top)
        yield here
        if layer.name == end:
            return


def walk_all(
    layers: list[Layer], size: Size | None, end: str | None = None
) -> Iterator[LayerShapes]:
    """As `walk`, without what cannot run at this size with its own weights."""
    if size is None:
        yield from walk(layers, None, end)
        return
    blobs: dict[str, Shape] = {}
    for own in walk(layers, None, end):
        layer = own.layer
        try:
            here = _step(layer, blobs, size)
            if here.params != own.params:
                raise DreamError("it would need other weights")
        except DreamError:
            for top in layer.top:
                blobs.pop(top, None)
            continue
        blobs |= zip(layer.top, here.tops)
        yield here


def left_out(layers: list[Layer], size: Size) -> set[str]:
    """The layers that cannot run at this size with their own weights."""
    run = {here.layer.name for here in walk_all(layers, size)}
    return {layer.name for layer in layers} - run


def _step(layer: Layer, blobs: dict[str, Shape], size: Size | None) -> LayerShapes:
    """The shapes of one layer, given those of the blobs so far, or a DreamError."""
    name = layer.name
    for bottom in layer.bottom:
        if bottom not in blobs:
            advice = "a bottom is the top of an earlier layer"
            raise unknown(f"bottom of layer {name!r}:", bottom, blobs, advice)
    bottoms = [blobs[bottom] for bottom in layer.bottom]
    tops, params = _run(layer, bottoms, size)
    for shape in tops:
        _check_size(layer, bottoms, shape)
    return LayerShapes(layer, bottoms, tops, params)


def _run(layer: Layer, bottoms: list[Shape], size: Size | None) -> TopsAndParams:
    what = f"layer {layer.name!r} ({layer.type})"
    try:
        if layer.type in TYPES:
            tops, params = TYPES[layer.type](layer, *bottoms)
        else:
            tops, params = asking.ask(layer, bottoms)
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
    data = next(walk(layers)).tops[0]  # (n, channels, height, width)
    return data[2], data[3]


def param_shapes(layers: list[Layer]) -> dict[str, list[Shape]]:
    """{layer: shapes of its parameters}, in file order, where it has any."""
    return {layer.name: params for layer, _, _, params in walk(layers) if params}


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
        runs = partial(fits, layers, end)
        others = sizes.describe(runs, own_size(layers), (height, width))
        raise DreamError(f"layer {end!r} cannot run on {picture}, {others}: {error}") from None


def fits(layers: list[Layer], end: str, size: Size | None) -> bool:
    """Whether layer `end` can run on a picture of this size."""
    try:
        _check_run(layers, end, size)
    except DreamError:
        return False
    return True


def top_shape(layers: list[Layer], end: str, height: int, width: int) -> Shape:
    """The shape of what layer `end` makes of a picture of this size."""
    *_, last = walk(needed(layers, end), (height, width))
    return last.tops[0]


def _check_run(layers: list[Layer], end: str, size: Size | None) -> None:
    """Raise a DreamError unless `end` can run so, with its own weights."""
    path = needed(layers, end)
    for here, own in zip(walk(path, size), walk(path)):
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
    p = layer.convolution_param
    kernel = math.prod(pair(p, "kernel_size", 0))
    is_plain = kernel == 1 == max(pair(p, "stride", 1)) and not any(pair(p, "pad", 0))
    if layer.type == "Deconvolution" and not is_plain:
        return top[1] * kernel * math.prod(bottoms[0][2:])
    if layer.type != "Convolution" or is_plain:
        return 0
    return bottoms[0][1] * kernel * math.prod(top[2:])


def memory(layers: list[Layer], end: str, height: int, width: int) -> int:
    """About how many bytes Caffe needs to climb `end`."""
    # The places of maxima; the scale and sums; copies of what was read, and of diffs
    extra = {"Pooling": 1, "LRN": 3, "BatchNorm": 3, "Scale": 1, "MVN": 1, "Normalize": 1}
    read = [name for layer in layers for name in layer.bottom if name not in layer.top]
    readers = Counter(read)
    values = 0
    for layer, bottoms, tops, _ in walk_all(layers, (height, width), end):
        for name, shape in zip(layer.top, tops):
            copies = extra.get(layer.type, 0)
            if name not in layer.bottom:
                copies += 2
                if readers[name] > 1:
                    copies += readers[name]
            values += columns(layer, bottoms, shape) + copies * math.prod(shape)
    return 4 * values
