"""A picture too large for one pass goes through the network in overlapping tiles, whose
gradients add up to its own.

Each value of a layer's blob is climbed in one tile only: the tile whose core it lies
in. A halo of pixels around the core gives it the surroundings that it sees. With half
the layer's receptive field as halo, the sum is the gradient of the whole picture, if
the network's layers pad as much as they take away. The default is a third, rounded up
to the layer's grid, and at most a quarter of a tile whose size was given. On GoogLeNet
at 1024x575 (conv2 to inception_5b, a photograph and a dream) mean |error| is then at
most 0.9 % of mean |gradient|, 0.4 % for the default layer.
"""

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import count, pairwise, product
from typing import NamedTuple

import numpy as np

from ..errors import DreamError
from ..settings import check
from . import receptive, shapes
from .base import EngineArray, Fill, Net, Place, Values

SIDE = 512  # of a tile, in pixels, unless the layer needs more
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
Size = tuple[int, int]  # (height, width) of a picture, in pixels


class Cut(NamedTuple):
    """A tile along one axis, in pixels: low..high, and its core, first..last."""

    low: int
    first: int
    last: int
    high: int


class Tiling(NamedTuple):
    """In pixels: side of the core, width of the halo, the grid that both lie on."""

    core: int
    halo: int
    grid: int

    def cuts(self, length: int) -> list[Cut]:
        """Along one axis, as even as the grid allows; the last takes what is left."""
        blocks = max(1, length // self.grid)
        n = math.ceil(blocks / (self.core // self.grid))
        edges = [blocks * i // n * self.grid for i in range(n)] + [length]
        return [
            Cut(max(0, first - self.halo), first, last, min(length, last + self.halo))
            for first, last in pairwise(edges)
        ]


def fit(
    net: Net, layers: Collection[str], octaves: list[Size], tile: int | None = None,
    halo: int | None = None, windows: bool = True,
) -> Net:  # fmt: skip
    """A network to climb these layers with at all octaves: `net` itself, or Tiles.

    tile, halo: side of a tile, and the margin in it, in pixels. Without a tile, there
    are tiles only if a pass over the largest octave would not fit into the `budget`.
    windows: whether a layer that takes pictures of only one size, as a classifier's do,
    may climb in windows of that size. (In tiles, a layer that sees everything always
    does.) Raises DreamError for an unknown layer, an octave on which one cannot run,
    and where memory is too small.
    """
    check("tile", tile)
    check("halo", halo)
    # Caffe takes no NumPy integers
    tile, halo = (n if n is None else int(n) for n in (tile, halo))
    for layer in layers:
        net.check_layer(layer)
    local = _find_local(net, layers)
    others = [layer for layer in layers if layer not in local]
    one_size = [layer for layer in others if windows and not _suits(net, layer, octaves)]
    whole = [layer for layer in layers if layer not in one_size]
    _check_octaves(net, whole, local, octaves)
    allowed, largest = budget(net), octaves[-1]
    in_tiles = tile < max(largest) if tile else _count_bytes(net, whole, *largest) > allowed
    # Malloc should keep the large blobs of a whole picture for the next step. In tiles,
    # large blocks are copies of the picture, and should go back to the system. Only
    # here is it known which of the two will come.
    net.keep_large_blocks(not in_tiles)
    tiling = None
    if in_tiles:
        one_size = others
        tiling = _choose_tiling(net, local, tile, halo, allowed) if local else None
    else:
        for layer in whole:
            net.check(layer, *largest)
    for layer in one_size:
        net.check(layer, *net.own_size)
    return Tiles(net, tiling, one_size) if in_tiles or one_size else net


def _find_local(net: Net, layers: Iterable[str]) -> list[str]:
    """The layers that tiles can show part by part: each value sees a part of the
    picture, pictures may have any size, and the blob is (n, channels, h, w).
    """
    specs, (height, width) = net.layer_specs, net.own_size
    fields = receptive.fields(specs)
    return [
        layer
        for layer in layers
        if fields[layer] < math.inf
        and shapes.fits(specs, layer, (2 * height, 2 * width))
        and len(shapes.top_shape(specs, layer, height, width)) == 4
    ]


def _suits(net: Net, layer: str, octaves: list[Size]) -> bool:
    """Whether the layer runs at all octaves."""
    return all(shapes.fits(net.layer_specs, layer, size) for size in octaves)


def _check_octaves(net: Net, layers: list[str], local: list[str], octaves: list[Size]) -> None:
    """Raise a DreamError for an octave, from the largest down, on which one of the
    layers cannot run.
    """
    for (height, width), layer in product(octaves[::-1], layers):
        # In tiles, never at full size, which may have more values than Caffe can count
        most = 1024 if layer in local else max(height, width)
        try:
            shapes.check(net.layer_specs, layer, min(height, most), min(width, most))
        except DreamError as error:
            if (height, width) == octaves[-1]:
                raise
            hint = f"it is one of {len(octaves)} octaves: use fewer, or a larger image"
            raise DreamError(f"{error}; {hint}") from None


def budget(net: Net) -> float:
    """The bytes that a pass may take: half of what is free, or DEEPDREAM_MEMORY, such
    as '1.5GB'. Raises DreamError for one that is no number of bytes.
    """
    given = os.environ.get("DEEPDREAM_MEMORY")
    if not given:
        return net.free_memory() / 2
    number = re.fullmatch(r"([0-9]*\.?[0-9]+) *((?:[kmg]i?)?)b?", given.strip().lower())
    if not number:
        must = "it must be a number of bytes, such as 1500000000 or 1.5GB"
        raise DreamError(f"DEEPDREAM_MEMORY is {given!r}; {must}")
    return min(float(number[1]) * UNITS[number[2]], net.free_memory())


def _count_bytes(net: Net, layers: Iterable[str], height: int, width: int) -> float:
    """The bytes that a pass to the most expensive of these layers takes."""
    specs = net.layer_specs
    try:
        return max((shapes.memory(specs, layer, height, width) for layer in layers), default=0)
    except DreamError:
        return math.inf  # more values than Caffe can count


def _choose_tiling(
    net: Net, layers: list[str], tile: int | None, halo: int | None, allowed: float
) -> Tiling:
    """The tiles for these layers: of the given size, or the largest that `allowed`
    bytes hold. Raises DreamError for a tile or a budget that is too small.
    """
    specs = net.layer_specs
    grid = math.lcm(*(receptive.grid(specs, layer)[0] for layer in layers))
    field = max(receptive.fields(specs)[layer] for layer in layers)
    third = math.ceil(field / 3 / grid) * grid
    divide = partial(_divide, specs, layers, grid, third, halo)
    names = " and ".join(map(repr, layers))
    if tile is not None:
        tiling = divide(tile)
        if not tiling:
            least = next(side for side in count(grid, grid) if divide(side))
            margin = "" if halo is None else f" with a halo of {halo}"
            needs = f"layer {names} needs tiles of at least {least} pixels{margin}"
            raise DreamError(f"{{setting}} is {tile}; {needs}", setting="tile")
        for layer in layers:
            net.check(layer, tile, tile)
        return tiling
    smallest, need = 0, math.inf
    for side in range(max(SIDE, 4 * third, 4 * (halo or 0)), 0, -grid):
        tiling = divide(side)
        if tiling:
            smallest, need = side, _count_bytes(net, layers, side, side)
            if need <= allowed:
                return tiling
    raise DreamError(
        f"a budget of {allowed / 1e6:.0f} MB is too small for even one tile of layer {names}: "
        f"{smallest} pixels need {need / 1e6:.0f} MB; free some memory, or raise DEEPDREAM_MEMORY"
    )


def _divide(
    specs: list[shapes.Layer], layers: list[str], grid: int, third: int, halo: int | None, side: int
) -> Tiling | None:
    """How a tile of this side divides into core and halo; None where it is too small
    for a core.
    """
    if halo is None:
        margin = min(third, max(grid, side // 4 // grid * grid))
    else:
        margin = math.ceil(halo / grid) * grid
    while margin < side // 2:
        core = (side - 2 * margin) // grid * grid
        if core and all(_reaches(specs, layer, core, margin) for layer in layers):
            return Tiling(core, margin, grid)
        margin += grid
    return None


def _reaches(specs: list[shapes.Layer], layer: str, core: int, halo: int) -> bool:
    """Whether the blob of a tile holds all values of the core; where a network pads
    little, some may be missing.
    """
    grid, jump = receptive.grid(specs, layer)
    try:
        for side in (grid, core, core + halo):
            height, width = shapes.top_shape(specs, layer, side + halo, side + halo)[2:]
            if min(height, width) < side / jump:
                return False
    except DreamError:
        return False
    return True


def _cut_windows(length: int, side: int) -> list[Cut]:
    """Windows along one axis; a picture smaller than a window lies in its middle."""
    n = math.ceil(length / side)
    spare = length - side
    lows = [spare * i // (n - 1) for i in range(n)] if n > 1 else [spare // 2]
    return [Cut(low, low, low + side, low + side) for low in lows]


class Picture:
    """A picture of any size, as the blob `data`: (1, 3, h, w)."""

    shape: tuple[int, ...]
    data: np.ndarray
    diff: np.ndarray

    def reshape(self, *shape: int) -> None:
        self.shape = shape
        self.data = np.zeros(shape, np.float32)
        self.diff = np.zeros(shape, np.float32)


class Part(NamedTuple):
    """What an objective sees of a tile's blob: its core, copied, as arrays (1,
    channels, h, w).
    """

    data: np.ndarray
    diff: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


# Of a tile: where it is in the tile's blob, and in that of the whole picture
Core = tuple[tuple[slice, slice], Place]


class InCore(NamedTuple):
    """Fills the diff of a tile's blob, in its core alone."""

    fill: Fill
    core: Core
    any_array = False

    def __call__(self, dst: Values, place: Place | None = None) -> None:
        inside, place = self.core
        core = ..., *inside
        data = np.array(dst.data[core], order="C")  # (1, channels, h, w)
        part = Part(data, np.zeros_like(data))
        if data.size:
            self.fill(part, place)
        dst.diff[:] = 0
        dst.diff[core] = part.diff


class Tiles(Net):
    """Takes the place of a network in `make_step` and `deepdream` where a picture does
    not go through it at once.

    tiling: None lets the whole picture through. one_size: the layers to climb in
    windows of the network's own size instead, side by side, which overlap no more than
    they must; each adds its own value.
    """

    def __init__(self, net: Net, tiling: Tiling | None, one_size: list[str]) -> None:
        self.net, self.tiling, self.one_size = net, tiling, one_size
        self.adopt(net.model, net.layer_specs)
        self.mean, self.limits = net.mean, (-net.mean, 255 - net.mean)
        self.engine = net.engine
        self.blobs = {"data": Picture()}

    @property
    def inner(self) -> Net:
        return self.net

    def climb(self, fills: Mapping[str, Fill]) -> EngineArray:
        """As Net's, tile by tile."""
        self.image_diff[:] = 0
        local = [layer for layer in fills if layer not in self.one_size]
        for rows, columns, cores in self._tiles(local):
            here = {layer: InCore(fills[layer], core) for layer, core in cores.items()}
            self._climb_tile(rows, columns, here)
        windows = {layer: fill for layer, fill in fills.items() if layer in self.one_size}
        if windows:
            for rows, columns in product(*self._windows()):
                self._climb_tile(rows, columns, windows)
        return self.image_diff

    def _climb_tile(self, rows: Cut, columns: Cut, fills: Mapping[str, Fill]) -> None:
        """Add the gradient of one tile to that of the picture."""
        here, inside = self._show(rows, columns)
        self.net.climb(fills)
        self.image_diff[here] += self.net.blobs["data"].diff[0][inside]

    def features(self, layer: str) -> np.ndarray:
        """As Net's, put together from the tiles; of windows, each is a place, and
        its values are means.
        """
        if layer in self.one_size:
            means, cuts = [], self._windows()
            for rows, columns in product(*cuts):
                self._show(rows, columns)
                values = self.net.features(layer)
                means.append(values.reshape(len(values), -1).mean(1))
            return np.stack(means, 1).reshape(-1, *map(len, cuts))
        found = None
        for rows, columns, cores in self._tiles([layer]):
            self._show(rows, columns)
            self.net.forward(end=layer)
            inside, (top, left, height, width) = cores[layer]
            values = self.net.blobs[layer].data[(0, ..., *inside)]  # (channels, h, w)
            if found is None:
                found = np.zeros((len(values), height, width), np.float32)
            h, w = values.shape[1:]
            found[:, top : top + h, left : left + w] = values
        assert found is not None
        return found

    def _show(self, rows: Cut, columns: Cut) -> tuple[tuple, tuple]:
        """Put a tile into the network, or a window, which may reach beyond the picture:
        (what of the picture is in it, where in it that lies).
        """
        src, (height, width) = self.net.blobs["data"], self.image.shape[1:]
        top, bottom = max(0, rows.low), min(height, rows.high)
        left, right = max(0, columns.low), min(width, columns.high)
        here = np.s_[:, top:bottom, left:right]
        y, x = rows.low, columns.low
        inside = np.s_[:, top - y : bottom - y, left - x : right - x]
        src.reshape(1, 3, rows.high - y, columns.high - x)
        src.data[:] = 0
        src.data[0][inside] = self.image[here]
        return here, inside

    def _windows(self) -> list[list[Cut]]:
        """The windows along both axes."""
        sizes = zip(self.image.shape[1:], self.net.own_size)
        return [_cut_windows(length, side) for length, side in sizes]

    def _tiles(self, layers: list[str]) -> Iterator[tuple[Cut, Cut, dict[str, Core]]]:
        """(rows, columns, the core in each layer's blob) of each tile."""
        lengths = self.image.shape[1:]
        if not layers:
            return
        if self.tiling:
            rows, columns = map(self.tiling.cuts, lengths)
        else:
            rows, columns = ([Cut(0, 0, length, length)] for length in lengths)
        lasts = rows[-1], columns[-1]
        whole = {layer: self._measure(layer, lasts) for layer in layers}
        for cuts in product(rows, columns):
            yield *cuts, {layer: _find_core(*whole[layer], cuts, lasts) for layer in layers}

    def _measure(self, layer: str, lasts: tuple[Cut, Cut]) -> tuple[float, Size]:
        """(pixels to a value of a layer, the size of its blob of the whole picture)"""
        specs = self.net.layer_specs
        jump = receptive.grid(specs, layer)[1]
        sizes = shapes.top_shape(specs, layer, *(cut.high - cut.low for cut in lasts))[2:]
        height, width = (int(cut.low / jump) + n for cut, n in zip(lasts, sizes))
        return jump, (height, width)


def _find_core(jump: float, whole: Size, cuts: tuple[Cut, Cut], lasts: tuple[Cut, Cut]) -> Core:
    """The core of the tile at these cuts; see `_measure`."""
    inside = []
    for cut, last in zip(cuts, lasts):
        end = None if cut.last == last.last else int((cut.last - cut.low) / jump)
        inside.append(slice(int((cut.first - cut.low) / jump), end))
    top, left = (int(cut.first / jump) for cut in cuts)
    return (inside[0], inside[1]), Place(top, left, *whole)
