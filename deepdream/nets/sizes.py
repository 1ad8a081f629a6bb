"""Pictures of a size that a network cannot run on, enlarged to one that it can.

Where some layers round up and others down, and both meet again, a network
runs at few sizes only. A picture of another size goes in with its mirror
image below and to the right of it.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from .layer_shapes import Size

if TYPE_CHECKING:
    from .base import Outline

Fits = Callable[[Size], bool]  # whether a network runs on pictures of this size
FARTHEST = 64  # pixels to add to a side, at most
Known = dict[tuple[Size, frozenset[str]], Size | None]
KNOWN: "WeakKeyDictionary[Outline, Known]" = WeakKeyDictionary()


def find(net: "Outline", layers: Collection[str], size: Size) -> Size | None:
    """The size, or else the next above at which all these layers run.

    None: there is none near, or the picture is smaller than any that runs.
    """
    height, width = map(int, size)
    known = KNOWN.setdefault(net, {})
    key = (height, width), frozenset(layers)
    if key not in known:
        fits = partial(_fit_all, net, layers)
        known[key] = search(fits, key[0], net.own_size)
    return known[key]


def _fit_all(net: "Outline", layers: Collection[str], size: Size) -> bool:
    return all(net.fits(layer, size) for layer in layers)


def search(fits: Fits, size: Size, own: Size) -> Size | None:
    """As `find`. own: a size that runs."""
    if fits(size):
        return size
    rows = _search_side(lambda n: fits((n, own[1])), size[0])
    columns = rows and _search_side(lambda n: fits((own[0], n)), size[1])
    if rows and columns and fits((rows, columns)):
        return rows, columns
    return None


def _search_side(fits: Callable[[int], bool], n: int) -> int | None:
    """The next length from n on, if there is a shorter one, too."""
    above = next(filter(fits, range(n, n + FARTHEST + 1)), None)
    if above is None or above == n:
        return above
    below = range(n - 1, max(0, n - FARTHEST - 1), -1)
    return above if any(map(fits, below)) else None


def extend(picture: np.ndarray, size: Size) -> np.ndarray:
    """(channels, h, w) with its mirror image beyond it: (channels, *size)."""
    added = [(0, more - n) for more, n in zip(size, picture.shape[1:])]
    if not np.any(added):
        return picture
    return np.pad(picture, [(0, 0), *added], "symmetric")


def fit_picture(net: "Outline", picture: np.ndarray, layers: Collection[str]) -> np.ndarray:
    """A picture (channels, h, w), extended so that these layers run, if they can."""
    size = picture.shape[1], picture.shape[2]
    return extend(picture, find(net, layers, size) or size)


def describe(fits: Fits, own: Size, size: Size) -> str:
    """At which sizes a network runs, if not at this."""
    whole = f"only on one of its own size, {own[1]}x{own[0]}"
    # A few pixels more, rounded off at once, still are the own size of a classifier
    larger = range(own[0] + FARTHEST // 2, own[0] + FARTHEST)
    if not any(fits((n, own[1])) for n in larger):
        return whole
    if near := search(fits, size, own):
        return f"but on one of {near[1]}x{near[0]}, the next larger that runs"
    rows = next(n for n in range(1, own[0] + 1) if fits((n, own[1])))
    columns = next(n for n in range(1, own[1] + 1) if fits((own[0], n)))
    return f"but on one of {columns}x{rows}, and some that are larger"
