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
from .base import EngineArray, Fill, Net, Values

SIDE = 512  # of a tile, in pixels, unless the layer needs more
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Part(NamedTuple):
    """What an objective sees of a blob: `data` and `diff`, (1, channels, h, w), those
    of a tile's core, copied, and its `place` in the blob of the whole picture: top,
    left, and that blob's height and width."""

    data: np.ndarray
    diff: np.ndarray
    place: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


class Cut(NamedTuple):
    """A tile along one axis, in pixels: the network sees low..high, and the core in it
    is first..last.
    """

    low: int
    first: int
    last: int
    high: int


class Tiling(NamedTuple):
    """Sizes of the tiles in pixels: side of the core, width of the halo, and the grid
    that both lie on.
    """

    core: int
    halo: int
    grid: int


def fit(
    net: Net,
    layers: Collection[str],
    octaves: list[tuple[int, int]],
    tile: int | None = None,
    halo: int | None = None,
    windows: bool = True,
) -> Net:
    """A network to climb these layers with at all octaves, (height, width) each: `net`
    itself, or Tiles around it.

    tile, halo: side of a tile, and the margin in it, in pixels. Without a tile, there
    are tiles only if a pass over the largest octave would not fit into the `budget`.
    windows: whether a layer that takes pictures of only one size, as a classifier's do,
    may climb in windows of that size. (In tiles, a layer that sees everything always
    does.)
    """
    check("tile", tile)
    check("halo", halo)
    tile, halo = (
        value if value is None else int(value) for value in (tile, halo)
    )  # Caffe takes no NumPy integers
    for layer in layers:
        net.check_layer(layer)
    local = _local(net, layers)
    one_size = []
    if windows:
        one_size = [
            layer
            for layer in layers
            if layer not in local and not _runs_at_all(net, layer, octaves)
        ]
    whole = [layer for layer in layers if layer not in one_size]
    _check_octaves(net, whole, local, octaves)
    largest = octaves[-1]
    allowed = budget(net)
    in_tiles = tile < max(largest) if tile else _need(net, whole, *largest) > allowed
    # Malloc should keep the large blobs of a whole picture for the next step. In tiles,
    # large blocks are copies of the picture, and should go back to the system. Only
    # here is it known which of the two will come.
    net.keep_large_blocks(not in_tiles)
    if in_tiles:
        one_size = [layer for layer in layers if layer not in local]
    else:
        for layer in whole:
            net.check(layer, *largest)
        if not one_size:
            return net
    for layer in one_size:
        net.check(layer, *net.own_size)
    return Tiles(
        net,
        _choose_tiling(net, local, tile, halo, allowed) if in_tiles and local else None,
        one_size,
    )


def _local(net: Net, layers: Iterable[str]) -> list[str]:
    """Those of the layers that see only a part of the picture, run on other sizes, and
    have places: (n, c, h, w).
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


def _runs_at_all(net: Net, layer: str, octaves: list[tuple[int, int]]) -> bool:
    return all(shapes.fits(net.layer_specs, layer, size) for size in octaves)


def _check_octaves(
    net: Net, layers: list[str], local: list[str], octaves: list[tuple[int, int]]
) -> None:
    """Raise a DreamError for an octave, from the largest down, on which one of the
    layers cannot run.
    """
    for height, width in octaves[::-1]:
        for layer in layers:
            try:
                if (
                    layer in local
                ):  # never at full size, which may have more values than Caffe can count
                    shapes.check(net.layer_specs, layer, min(height, 1024), min(width, 1024))
                else:
                    shapes.check(net.layer_specs, layer, height, width)
            except DreamError as error:
                if (height, width) == octaves[-1]:
                    raise
                hint = f"it is one of {len(octaves)} octaves: use fewer, or a larger image"
                raise DreamError(f"{error}; {hint}") from None


def budget(net: Net) -> float:
    """The bytes that a pass may take: half of what is free, or DEEPDREAM_MEMORY, such
    as '1.5GB'.
    """
    given = os.environ.get("DEEPDREAM_MEMORY")
    if not given:
        return net.free_memory() / 2
    number = re.fullmatch(r"([0-9]*\.?[0-9]+) *((?:[kmg]i?)?)b?", given.strip().lower())
    if not number:
        raise DreamError(
            f"DEEPDREAM_MEMORY is {given!r}; it must be a number of bytes, such as 1500000000 or 1.5GB"
        )
    return min(float(number[1]) * UNITS[number[2]], net.free_memory())


def _need(net: Net, layers: Iterable[str], height: int, width: int) -> float:
    """The bytes that a pass to the most expensive of these layers takes at this size."""
    try:
        return max(
            (shapes.memory(net.layer_specs, layer, height, width) for layer in layers), default=0
        )
    except DreamError:
        return math.inf  # more values than Caffe can count


def _choose_tiling(
    net: Net, layers: list[str], tile: int | None, halo: int | None, allowed: float
) -> Tiling:
    """The tiles for these layers: of the given size, or the largest that `allowed`
    bytes hold; else a DreamError.
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
            message = f"{{setting}} is {tile}; layer {names} needs tiles of at least {least} pixels{margin}"
            raise DreamError(message, setting="tile")
        for layer in layers:
            net.check(layer, tile, tile)
        return tiling
    smallest = 0, math.inf  # pixels, and the bytes that they need
    for side in range(max(SIDE, 4 * third, 4 * (halo or 0)), 0, -grid):
        tiling = divide(side)
        if tiling:
            smallest = side, _need(net, layers, side, side)
            if smallest[1] <= allowed:
                return tiling
    raise DreamError(
        f"a budget of {allowed / 1e6:.0f} MB is too small for even one tile of layer {names}: "
        f"{smallest[0]} pixels need {smallest[1] / 1e6:.0f} MB; free some memory, or raise "
        "DEEPDREAM_MEMORY"
    )


def _divide(
    specs: list[shapes.Layer], layers: list[str], grid: int, third: int, halo: int | None, side: int
) -> Tiling | None:
    """How a tile of this side divides into core and halo; None where it is too small
    for a core.
    """
    if halo is None:
        quarter = max(grid, side // 4 // grid * grid)
        margin = min(third, quarter)
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


def _cuts(length: int, core: int, halo: int, grid: int) -> list[Cut]:
    """Tiles along one axis, as even as the grid allows; the last takes what is left
    over.
    """
    blocks = max(1, length // grid)
    n = math.ceil(blocks / (core // grid))
    edges = [blocks * i // n * grid for i in range(n)] + [length]
    return [Cut(max(0, a - halo), a, b, min(length, b + halo)) for a, b in pairwise(edges)]


def _windows(length: int, side: int) -> list[Cut]:
    """Windows of one size along one axis; a picture that is smaller than a window lies
    in its middle.
    """
    n = math.ceil(length / side)
    lows = [(length - side) * i // (n - 1) for i in range(n)] if n > 1 else [(length - side) // 2]
    return [Cut(low, low, low + side, low + side) for low in lows]


class Picture:
    """A picture of any size, as the blob `data`: (1, 3, h, w)."""

    shape: tuple[int, ...]
    data: np.ndarray
    diff: np.ndarray

    def reshape(self, *shape: int) -> None:
        self.shape, self.data, self.diff = (
            shape,
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
        )


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
        """The gradient of the sum of `fills`, {layer: a function that fills
        `dst.diff`}: (3, h, w), tile by tile.
        """
        src, total = self.net.blobs["data"], self.image_diff
        total[:] = 0
        for rows, columns, fills_here in self._tiles(fills):
            here, inside = self._show(rows, columns)
            self.net.climb(fills_here)
            total[here] += src.diff[0][inside]
        return total

    def features(self, layer: str) -> np.ndarray:
        """As Net's, put together from the tiles; of windows, each is a place, and
        its values are means.
        """
        if layer in self.one_size:
            height, width = self.image.shape[1:]
            whole = [_windows(n, own) for n, own in zip((height, width), self.net.own_size)]
            means = []
            for cuts in product(*whole):
                self._show(*cuts)
                values = self.net.features(layer)
                means.append(values.reshape(len(values), -1).mean(1))
            return np.stack(means, 1).reshape(-1, *map(len, whole))
        found: list[np.ndarray] = []

        def keep(part: Part) -> None:
            top, left, height, width = part.place
            channels, h, w = part.shape[1:]
            if not found:
                found.append(np.zeros((channels, height, width), np.float32))
            found[0][:, top : top + h, left : left + w] = part.data[0]

        for rows, columns, fills_here in self._tiles({layer: keep}):
            self._show(rows, columns)
            self.net.forward(end=layer)
            fills_here[layer](self.net.blobs[layer])
        return found[0]

    def _show(self, rows: Cut, columns: Cut) -> tuple[tuple, tuple]:
        """Put a tile into the network: (what of the picture is in it, where in it that
        lies).

        A window may reach beyond the picture.
        """
        src, (height, width) = self.net.blobs["data"], self.image.shape[1:]
        top, bottom = max(0, rows.low), min(height, rows.high)
        left, right = max(0, columns.low), min(width, columns.high)
        here = np.s_[:, top:bottom, left:right]
        inside = np.s_[
            :, top - rows.low : bottom - rows.low, left - columns.low : right - columns.low
        ]
        src.reshape(1, 3, rows.high - rows.low, columns.high - columns.low)
        src.data[:] = 0
        src.data[0][inside] = self.image[here]
        return here, inside

    def _tiles(self, fills: Mapping[str, Fill]) -> Iterator[tuple[Cut, Cut, dict[str, Fill]]]:
        """(rows, columns, which of `fills` to climb there) of each tile."""
        height, width = self.image.shape[1:]
        local = {layer: fill for layer, fill in fills.items() if layer not in self.one_size}
        if local:
            rows = _cuts(height, *self.tiling) if self.tiling else [Cut(0, 0, height, height)]
            columns = _cuts(width, *self.tiling) if self.tiling else [Cut(0, 0, width, width)]
            cores = {
                layer: Core(self.net, layer, fill, rows[-1], columns[-1])
                for layer, fill in local.items()
            }
            for cuts in product(rows, columns):
                here: dict[str, Fill] = {
                    layer: partial(core.fill, *cuts) for layer, core in cores.items()
                }
                yield *cuts, here
        windows = {layer: fill for layer, fill in fills.items() if layer in self.one_size}
        if windows:
            own_height, own_width = self.net.own_size
            for cuts in product(_windows(height, own_height), _windows(width, own_width)):
                yield *cuts, windows


class Core:
    """The core of each tile in the blob of one layer: only there does `fill_part` fill
    the diff.

    The last tile along each axis, `last_row` and `last_column`, says how large the blob
    of the whole picture is.
    """

    def __init__(
        self, net: Net, layer: str, fill_part: Fill, last_row: Cut, last_column: Cut
    ) -> None:
        self.fill_part, self.lasts = fill_part, (last_row, last_column)
        self.jump = receptive.grid(net.layer_specs, layer)[1]
        sides = [cut.high - cut.low for cut in self.lasts]
        height, width = shapes.top_shape(net.layer_specs, layer, *sides)[2:]
        self.whole = (
            self._to_values(last_row.low) + height,
            self._to_values(last_column.low) + width,
        )

    def _to_values(self, pixels: int) -> int:
        return int(pixels / self.jump)

    def fill(self, rows: Cut, columns: Cut, dst: Values) -> None:
        """Fill `dst.diff` of the tile at these cuts."""
        core = []
        for cut, last in zip((rows, columns), self.lasts):
            end = None if cut.last == last.last else self._to_values(cut.last - cut.low)
            core.append(slice(self._to_values(cut.first - cut.low), end))
        core = (..., *core)
        data = np.array(dst.data[core], order="C")  # (1, channels, h, w)
        place = self._to_values(rows.first), self._to_values(columns.first), *self.whole
        part = Part(data, np.zeros_like(data), place)
        if data.size:
            self.fill_part(part)
        dst.diff[:] = 0
        dst.diff[core] = part.diff
