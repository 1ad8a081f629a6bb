"""A picture too large for one pass goes through the network in overlapping
tiles, whose gradients add up to its own.

Each value of a blob is climbed in the one tile whose core it lies in; a
halo around the core gives it surroundings. Half a receptive field would be
exact. The default, a third, and at most a quarter of a given tile, errs by
0.9 % of the gradient at most.
"""

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import count, product
from typing import NamedTuple

import numpy as np

from ..errors import DreamError
from ..settings import check
from . import sizes
from .base import EngineArray, Fill, Net, Part, Place, Values
from .shapes import Size

WHOLE = 1024  # pixels of a side, beyond which tiles are checked in place of the picture
SIDE = 512  # of a tile, in pixels, unless the layer needs more
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Cut(NamedTuple):
    """A tile along one axis, in pixels: low..high, and its core, first..last."""

    low: int
    first: int
    last: int
    high: int


class Tiling(NamedTuple):
    """In pixels: side of the core, width of the halo, and their grid."""

    core: int
    halo: int
    grid: int

    def cuts(self, length: int) -> list[Cut]:
        """Along one axis, as even as the grid allows; the last takes what is left."""
        blocks = max(1, length // self.grid)
        n = math.ceil(blocks / (self.core // self.grid))
        edges = [blocks * i // n * self.grid for i in range(n)] + [length]
        lows = [max(0, first - self.halo) for first in edges[:-1]]
        highs = [min(length, last + self.halo) for last in edges[1:]]
        return list(map(Cut, lows, edges, edges[1:], highs))


def fit(
    net: Net, layers: Collection[str], octaves: list[Size], tile: int | None = None,
    halo: int | None = None, windows: bool = True,
) -> Net:  # fmt: skip
    """A network to climb these layers with at all octaves: `net` itself, or Tiles.

    tile, halo: side of a tile, and the margin in it, pixels. None: tiles
    only beyond the `budget`. windows: a layer of one size, as a
    classifier's, may climb in windows of it. Raises DreamError for an
    unknown layer, an octave on which it cannot run, and too little memory.
    """
    check("tile", tile)
    check("halo", halo)
    # Caffe takes no NumPy integers
    tile, halo = (n if n is None else int(n) for n in (tile, halo))
    for layer in layers:
        net.check_layer(layer)
    local = _find_local(net, layers)
    others = [layer for layer in layers if layer not in local]
    one_size = []
    for layer in others:
        if windows and not all(net.fits(layer, size) for size in octaves):
            one_size.append(layer)
    whole = [layer for layer in layers if layer not in one_size]
    exact = _check_octaves(net, whole, local, octaves)
    allowed, largest = budget(net), sizes.find(net, whole, octaves[-1]) or octaves[-1]
    in_tiles = tile < max(largest) if tile else _count_bytes(net, whole, *largest) > allowed
    net.keep_large_blocks(not in_tiles)  # in tiles, they are copies of the picture
    tiling = None
    if in_tiles:
        one_size, whole = others, local
        tiling = _choose_tiling(net, local, tile, halo, allowed) if local else None
    else:
        for layer in whole:
            net.check(layer, *largest)
        large = [size for size in octaves if max(size) > WHOLE]
        exact = exact and all(net.fits(*each) for each in product(whole, large))
    for layer in one_size:
        net.check(layer, *net.own_size)
    if exact and not in_tiles and not one_size:
        return net
    return Tiles(net, tiling, one_size, whole)


def _find_local(net: Net, layers: Iterable[str]) -> list[str]:
    """The layers that tiles can show part by part."""
    height, width = net.own_size
    twice = 2 * height, 2 * width
    in_part = [layer for layer in layers if net.reach(layer).side < math.inf]
    local = [layer for layer in in_part if sizes.find(net, [layer], twice)]
    return [each for each in local if len(net.top_shape(each, height, width)) == 4]


def _check_octaves(net: Net, layers: list[str], local: list[str], octaves: list[Size]) -> bool:
    """Whether all layers run at all octaves as they are, or a DreamError if
    one runs at none of those near.
    """
    exact = True
    for (height, width), layer in product(octaves[::-1], layers):
        # In tiles, never at full size, which may have more values than Caffe can count
        most = WHOLE if layer in local else max(height, width)
        size = min(height, most), min(width, most)
        if net.fits(layer, size):
            continue
        exact = False
        try:
            if not sizes.find(net, layers, size):
                net.check_run(layer, *size)
        except DreamError as error:
            if (height, width) == octaves[-1]:
                raise
            hint = f"it is one of {len(octaves)} octaves: use fewer, or a larger image"
            raise DreamError(f"{error}; {hint}") from None
    return exact


def budget(net: Net) -> float:
    """The bytes for a pass: DEEPDREAM_MEMORY, or half of what is free.

    Raises DreamError for what is no number of bytes.
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
    try:
        return max((net.memory(layer, height, width) for layer in layers), default=0)
    except DreamError:
        return math.inf  # more values than Caffe can count


def _choose_tiling(
    net: Net, layers: list[str], tile: int | None, halo: int | None, allowed: float
) -> Tiling:
    """Tiles of this size, or the largest within `allowed` bytes."""
    grid = math.lcm(*(net.reach(layer).grid for layer in layers))
    field = max(net.reach(layer).side for layer in layers)
    third = math.ceil(field / 3 / grid) * grid
    divide = partial(_divide, net, layers, grid, third, halo)
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
    net: Net, layers: list[str], grid: int, third: int, halo: int | None, side: int
) -> Tiling | None:
    """A tile's core and halo; None if it is too small for these."""
    if halo is None:
        least = min(third, max(grid, side // 4 // grid * grid))
    else:
        least = math.ceil(halo / grid) * grid
    for margin in range(least, side // 2, grid):
        core = (side - 2 * margin) // grid * grid
        if core and all(_reaches(net, layer, core, margin) for layer in layers):
            return Tiling(core, margin, grid)
    return None


def _reaches(net: Net, layer: str, core: int, halo: int) -> bool:
    """Whether a tile's blob holds all values of the core."""
    _, jump, grid = net.reach(layer)
    try:
        for side in (grid, core, core + halo):
            tile = side + halo, side + halo
            tile = sizes.find(net, [layer], tile) or tile
            height, width = net.top_shape(layer, *tile)[2:]
            if min(height, width) < side / jump:
                return False
    except DreamError:
        return False
    return True


def _cut_windows(length: int, side: int) -> list[Cut]:
    """Along one axis; a small picture lies in a window's middle."""
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


# Of a tile: where it is in the tile's blob, and in that of the whole picture
Core = tuple[tuple[slice, slice], Place]


class InCore(NamedTuple):
    """Fills the diff of a tile's blob, in its core alone."""

    fill: Fill
    core: Core
    any_array = False

    def __call__(self, dst: Values, place: Place | None = None) -> EngineArray:
        inside, place = self.core
        core = ..., *inside
        data = np.array(dst.data[core], order="C")  # (1, channels, h, w)
        part = Part(data, np.zeros_like(data))
        value = self.fill(part, place) if data.size else 0.0
        dst.diff[:] = 0
        dst.diff[core] = part.diff
        return value


class Tiles(Net):
    """Stands for a network where a picture does not go through it at once.

    tiling: None lets the whole picture through. one_size: the layers to
    climb in windows of the network's own size instead; each window adds its
    value. others: all others to climb: what does not run at its own size is
    enlarged until they do, see sizes.py.
    """

    def __init__(
        self, net: Net, tiling: Tiling | None, one_size: list[str],
        others: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.net, self.tiling, self.one_size = net, tiling, one_size
        self.others = others
        self.answer_as(net)
        self.limits = -net.mean, 255 - net.mean
        self.engine = net.engine
        self.blobs = {"data": Picture()}

    @property
    def inner(self) -> Net:
        return self.net

    def climb(self, fills: Mapping[str, Fill]) -> EngineArray:
        """As Net's, tile by tile."""
        self.image_diff[:] = 0
        self.value = 0.0
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
        here, inside = self._show(rows, columns)
        self.net.climb(fills)
        self.value += float(self.net.value)
        self.image_diff[here] += self.net.blobs["data"].diff[0][inside]

    def features(self, layer: str) -> np.ndarray:
        """As Net's, from the tiles; each window is a place, and its values means."""
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
        """Put in a tile or window: (where in the picture, where in it)."""
        src, (height, width) = self.net.blobs["data"], self.image.shape[1:]
        top, bottom = max(0, rows.low), min(height, rows.high)
        left, right = max(0, columns.low), min(width, columns.high)
        here = np.s_[:, top:bottom, left:right]
        y, x = rows.low, columns.low
        inside = np.s_[:, top - y : bottom - y, left - x : right - x]
        src.reshape(1, 3, rows.high - y, columns.high - x)
        if y < 0 or x < 0:  # the picture lies in the middle of a window
            src.data[:] = 0
            src.data[0][inside] = self.image[here]
        else:
            src.data[0] = sizes.extend(self.image[here], src.data.shape[2:])
        return here, inside

    def _windows(self) -> list[list[Cut]]:
        return list(map(_cut_windows, self.image.shape[1:], self.net.own_size))

    def _tiles(self, layers: list[str]) -> Iterator[tuple[Cut, Cut, dict[str, Core]]]:
        """(rows, columns, the core in each layer's blob) of each tile."""
        if not layers:
            return
        lengths = self.image.shape[1:]
        if self.tiling:
            rows, columns = map(self.tiling.cuts, lengths)
        else:
            rows, columns = ([Cut(0, 0, length, length)] for length in lengths)
        lasts = self._enlarge(rows[-1], columns[-1])
        whole = {layer: self._measure(layer, lasts) for layer in layers}
        for cuts in product(rows, columns):
            yield (
                *self._enlarge(*cuts),
                {layer: _find_core(*whole[layer], cuts, lasts) for layer in layers},
            )

    def _enlarge(self, rows: Cut, columns: Cut) -> tuple[Cut, Cut]:
        """The same tile, as large as it has to be for the network to run."""
        size = rows.high - rows.low, columns.high - columns.low
        height, width = sizes.find(self.net, self.others, size) or size
        rows = rows._replace(high=rows.low + height)
        return rows, columns._replace(high=columns.low + width)

    def _measure(self, layer: str, lasts: tuple[Cut, Cut]) -> tuple[float, Size]:
        """(pixels to a value of a layer, the size of the whole blob)"""
        jump = self.net.reach(layer).jump
        sizes = self.net.top_shape(layer, *(cut.high - cut.low for cut in lasts))[2:]
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
