"""A picture too large for one pass goes through the network in overlapping tiles, whose gradients add up to its own.

Each value of a layer's blob is climbed in one tile only, the one whose core it lies in; a halo of pixels around the
core gives it the surroundings that it sees. With half the layer's receptive field as halo the sum is the gradient of
the whole picture, if its layers pad as much as they take away. The default is a third, rounded up to the layer's grid,
and at most a quarter of a tile that was asked for. On GoogLeNet at 1024x575 (conv2 to inception_5b, a photograph and a
dream) mean |error| is then at most 0.9 % of mean |gradient|, 0.4 % for the default layer.
"""

import math
import operator
import os
import re
from collections.abc import Callable, Collection
from functools import partial
from itertools import count, pairwise, product
from numbers import Integral
from typing import NamedTuple

import numpy as np

from . import caffemodel
from .errors import DreamError, check_number
from .net import DreamNet

SIDE = 512  # of a tile, in pixels, where the layer does not ask for more
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Part(NamedTuple):
    """What an objective sees of a blob: `data` and `diff`, (1, channels, h, w), those of a tile's core, copied, and its
    `place` in the blob of the whole picture: top, left, and that blob's height and width."""

    data: np.ndarray
    diff: np.ndarray
    place: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


class Cut(NamedTuple):
    """A tile along one axis, in pixels: what the network is shown, low..high, and the core in it, first..last."""

    low: int
    first: int
    last: int
    high: int


def fit(net, layers: Collection[str], octaves: list[tuple[int, int]], tile: int | None = None, halo: int | None = None,
        windows: bool = True):  # fmt: skip
    """A network to climb these layers with at all octaves, (height, width) each: `net` itself, or Tiles around it.

    tile, halo: side of a tile, and the margin in it, in pixels. Where no tile is given, there are tiles only if a pass
    over the largest octave would not fit into the `budget`. windows: whether a layer that takes pictures of only one
    size, as a classifier's do, may climb in windows of that size. (In tiles, one that sees everything always does.)
    """
    specs, fields = net.layer_specs, caffemodel.receptive_fields(net.layer_specs)
    for name, value, least, such in (("tile", tile, 1, SIDE), ("halo", halo, 0, SIDE // 4)):
        if value is not None:
            check_number(
                name, value, Integral, partial(operator.le, least), f"a whole number of pixels, such as {such}"
            )
    tile, halo = (value if value is None else int(value) for value in (tile, halo))
    for layer in layers:
        if layer not in net.climbable:
            raise net.unknown(layer, net.climbable)
    own = net.own_size
    twice = [2 * n for n in own]
    local = [layer for layer in layers if fields[layer] < math.inf and caffemodel.fits(specs, layer, twice)
             and len(caffemodel.top_shape(specs, layer, *own)) == 4]  # fmt: skip
    one_size = [layer for layer in layers if windows and layer not in local
                and not all(caffemodel.fits(specs, layer, size) for size in octaves)]  # fmt: skip
    for size in octaves[::-1]:
        for layer in set(layers) - set(one_size):
            # Tiles never go through at full size, where there may be more values than Caffe can count.
            shown = [min(n, 1024) for n in size] if layer in local else size
            try:
                caffemodel.check(specs, layer, *shown)
            except DreamError as error:
                hint = f"; it is one of {len(octaves)} octaves: use fewer, or a larger image"
                raise DreamError(f"{error}{hint if size != octaves[-1] else ''}") from None
    allowed, whole = budget(net), set(layers) - set(one_size)
    too_large = tile < max(octaves[-1]) if tile else _need(net, whole, *octaves[-1]) > allowed
    net.expect(tiles=too_large)
    if not too_large:
        for layer in whole:
            net.check(layer, *octaves[-1])
    if not one_size and not too_large:
        return net
    if too_large:
        one_size = [layer for layer in layers if layer not in local]
    for layer in one_size:
        net.check(layer, *own)
    return Tiles(net, _tiling(net, local, tile, halo, allowed) if too_large and local else None, one_size)


def budget(net) -> float:
    """The bytes that a pass may take: half of what is free, or DEEPDREAM_MEMORY, such as '1.5GB'."""
    given = os.environ.get("DEEPDREAM_MEMORY")
    if not given:
        return net.free_memory() / 2
    number = re.fullmatch(r"([0-9]*\.?[0-9]+) *((?:[kmg]i?)?)b?", given.strip().lower())
    if not number:
        raise DreamError(f"DEEPDREAM_MEMORY is {given!r}; it must be a number of bytes, such as 1500000000 or 1.5GB")
    return min(float(number[1]) * UNITS[number[2]], net.free_memory())


def _need(net, layers, height, width):
    try:
        return max((caffemodel.memory(net.layer_specs, layer, height, width) for layer in layers), default=0)
    except DreamError:
        return math.inf  # more values than Caffe can count


def _tiling(net, layers, tile, halo, allowed):
    """(core, halo, grid) in pixels for tiles that fit these layers; a DreamError where none can."""
    specs = net.layer_specs
    grid = math.lcm(*(caffemodel.grid(specs, layer)[0] for layer in layers))
    field = max(caffemodel.receptive_fields(specs)[layer] for layer in layers)
    third = math.ceil(field / 3 / grid) * grid

    def margins(side):
        """(core, halo) of a tile of this side, or None where it is too small for one."""
        most = max(grid, side // 4 // grid * grid)
        for margin in range(min(third, most) if halo is None else math.ceil(halo / grid) * grid, side // 2, grid):
            core = (side - 2 * margin) // grid * grid
            if core and all(_reaches(specs, layer, core, margin) for layer in layers):
                return core, margin
        return None

    names = " and ".join(map(repr, layers))
    if tile is not None:
        if not margins(tile):
            least = next(side for side in count(grid, grid) if margins(side))
            margin = "" if halo is None else f" with a halo of {halo}"
            raise DreamError(f"tile is {tile}; layer {names} needs tiles of at least {least} pixels{margin}")
        for layer in layers:
            net.check(layer, tile, tile)
        return *margins(tile), grid
    least = 0, math.inf
    for side in range(max(SIDE, 4 * third, 4 * (halo or 0)), 0, -grid):
        need = _need(net, layers, side, side)
        if margins(side) and need <= allowed:
            return *margins(side), grid
        if margins(side):
            least = side, need
    raise DreamError(f"a budget of {allowed / 1e6:.0f} MB is too small for even one tile of layer {names}: {least[0]} "
                     f"pixels need {least[1] / 1e6:.0f} MB; free some memory, or raise DEEPDREAM_MEMORY")  # fmt: skip


def _reaches(specs, layer, core, halo):
    """Whether the blob of a tile holds all values of the core, as it may not where a network pads little."""
    grid, jump = caffemodel.grid(specs, layer)
    sides = grid, core, core + halo
    try:
        return all(min(caffemodel.top_shape(specs, layer, n + halo, n + halo)[2:]) >= n / jump for n in sides)
    except DreamError:
        return False


def _cuts(length, core, halo, grid):
    """Tiles along one axis, as even as the grid allows; the last takes what is left over."""
    blocks = max(1, length // grid)
    n = -(-blocks // (core // grid))
    edges = [blocks * i // n * grid for i in range(n)] + [length]
    return [Cut(max(0, a - halo), a, b, min(length, b + halo)) for a, b in pairwise(edges)]


def _windows(length, side):
    """Windows of one size along one axis; where the picture is smaller than one, it stands in the middle."""
    n = -(-length // side)
    lows = [(length - side) * i // (n - 1) for i in range(n)] if n > 1 else [(length - side) // 2]
    return [Cut(low, low, low + side, low + side) for low in lows]


class Picture:
    """As the blob `data`, of any size: (1, 3, h, w)."""

    def reshape(self, *shape: int) -> None:
        self.shape, self.data, self.diff = shape, np.zeros(shape, np.float32), np.zeros(shape, np.float32)


class Tiles(DreamNet):
    """Stands for a network in `make_step` and `deepdream` where a picture does not go through it at once.

    tiling: (core, halo, grid) of the tiles; None lets the whole picture through. one_size: the layers to climb in
    windows of the network's own size instead, side by side and no further over each other than need be; each adds its
    own value.
    """

    def __init__(self, net, tiling: tuple[int, int, int] | None, one_size: list[str]) -> None:
        self.net, self.tiling, self.one_size = net, tiling, one_size
        self.mean, self.limits = net.mean, (-net.mean, 255 - net.mean)
        self.blobs = {"data": Picture()}

    def gradient(self, parts: dict[str, Callable], climb: Callable) -> np.ndarray:
        """The gradient of `parts`, {layer: a function that fills `dst.diff`}; `climb` finds that of one tile."""
        src, total = self.net.blobs["data"], self.image_diff
        total[:] = 0
        for cuts, fills in self._tiles(parts):
            here = [slice(max(0, cut.low), min(n, cut.high)) for cut, n in zip(cuts, total.shape[1:])]
            inside = [slice(rows.start - cut.low, rows.stop - cut.low) for rows, cut in zip(here, cuts)]
            src.reshape(1, 3, *(cut.high - cut.low for cut in cuts))
            src.data[:] = 0
            src.data[0][:, *inside] = self.image[:, *here]
            climb(self.net, fills)
            total[:, *here] += src.diff[0][:, *inside]
        return total

    def _tiles(self, parts):
        """((rows, columns), what of `parts` to climb there) for each tile."""
        size = self.image.shape[1:]
        local = {layer: f for layer, f in parts.items() if layer not in self.one_size}
        if local:
            axes = [_cuts(n, *(self.tiling or (n, 0, n))) for n in size]
            cores = {layer: self._core(layer, f, [cuts[-1] for cuts in axes]) for layer, f in local.items()}
            for cuts in product(*axes):
                yield cuts, {layer: partial(core, cuts) for layer, core in cores.items()}
        windows = {layer: f for layer, f in parts.items() if layer in self.one_size}
        if windows:
            for cuts in product(*map(_windows, size, self.net.own_size)):
                yield cuts, windows

    def _core(self, layer, f, lasts):
        """A function (cuts, dst) that lets f fill `dst.diff` where that tile's core is, and nowhere else."""
        jump = caffemodel.grid(self.net.layer_specs, layer)[1]
        last_shape = caffemodel.top_shape(self.net.layer_specs, layer, *(cut.high - cut.low for cut in lasts))[2:]
        whole = [int(cut.low / jump) + n for cut, n in zip(lasts, last_shape)]

        def fill(cuts, dst):
            ends = [
                None if cut.last == last.last else int((cut.last - cut.low) / jump) for cut, last in zip(cuts, lasts)
            ]
            core = ..., *(slice(int((cut.first - cut.low) / jump), end) for cut, end in zip(cuts, ends))
            data = np.array(dst.data[core], order="C")
            part = Part(data, np.zeros_like(data), (*(int(cut.first / jump) for cut in cuts), *whole))
            if data.size:
                f(part)
            dst.diff[:] = 0
            dst.diff[core] = part.diff

        return fill
