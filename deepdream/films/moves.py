"""How a frame moves to the next: enlarge, rotate, shift, fly to a point."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np

from .keys import Keys, at, to_pixels

SOFT = 4  # pixels over which a picture passes into what is beyond its borders


class Move(NamedTuple):
    """Each place of the new frame shows what was at `matrix @ place +
    offset` in the old.

    Places are (down, right) in pixels. matrix: (2, 2); or without rotation, a number.
    """

    matrix: np.ndarray | float
    offset: np.ndarray


class Way:
    """The moves of a film, one after another. recent: those made last."""

    def __init__(self, keys: Keys, size: tuple[int, int], i: int, most: int) -> None:
        """keys: complete. size: (H, W). i: where it begins. most: how many are kept."""
        self._moves = make_moves(keys, size)
        self.recent = deque(islice(self._moves, i), maxlen=most)

    def go(self, frames: int) -> Move:
        """The move to the frame after so many."""
        moves = list(islice(self._moves, frames))
        self.recent += moves
        return join(moves)


def make_moves(keys: Keys, size: tuple[int, int]) -> Iterator[Move]:
    """The moves to frame 1, 2 and so on, of frames of this size (H, W)."""
    point = None  # where the film flies to, (down, right) in the frame that moves
    for i in count():
        if (to := keys.get(i, {}).get("to")) is not None:
            point = to_pixels(to, size)
        scale = at(keys, "scale", i + 1)
        rotate = at(keys, "rotate", i + 1)
        right, down = at(keys, "shift", i + 1)
        here = there = np.divide(size, 2) if point is None else np.array(point)
        if point is not None and scale > 0:
            there = _approach(here, np.array(size), scale)
        by = there - here + [down, right]
        if rotate:
            angle = np.radians(rotate)
            cos = (1 - scale) * np.cos(angle)
            sin = (1 - scale) * np.sin(angle)
            matrix = np.array([[cos, -sin], [sin, cos]])
            yield Move(matrix, here - matrix @ (here + by))
        else:
            yield Move(1 - scale, here * scale - (1 - scale) * by)
        if point is not None:  # a shift may carry it out of the picture
            point = tuple(np.clip(here + by, 0, size))


def _approach(here: np.ndarray, size: np.ndarray, scale: float) -> np.ndarray:
    """A point, in the next frame a tenth nearer to the middle, but with no border."""
    wanted = size / 2 + 0.9 * (here - size / 2)
    return np.clip(wanted, size - (size - here) / (1 - scale), here / (1 - scale))


def join(moves: Iterable[Move]) -> Move:
    """Several moves in one, so that the picture is resampled only once."""
    matrix, offset = 1.0, np.zeros(2)
    for move in moves:
        offset = np.dot(matrix, move.offset) + offset
        matrix = np.dot(matrix, move.matrix)
    return Move(matrix, offset)


def move_frame(frame: np.ndarray, move: Move, order: int = 1) -> np.ndarray:
    """The notebook's affine transform of a frame (H, W, 3), mirrored at the borders.

    order: of the splines. 1 is the notebook's; 3 keeps more of the detail.
    """
    from scipy import ndimage as nd

    matrix: Any = move.matrix if np.ndim(move.matrix) else [move.matrix, move.matrix]
    way = {"offset": move.offset, "order": order, "mode": "mirror"}
    # one by one, for otherwise SciPy interpolates between the colours, too
    planes = np.moveaxis(frame, 2, 0)
    moved = np.stack([nd.affine_transform(plane, matrix, **way) for plane in planes], 2)
    return moved if order == 1 else moved.clip(0, 255)


def move_over(beyond: np.ndarray, frame: np.ndarray, move: Move) -> np.ndarray:
    """A frame moved, with `beyond` (H, W, 3) beyond its borders."""
    moved = move_frame(frame, move, order=3)
    outside = np.clip(-inside(move, frame.shape[:2]) / SOFT, 0, 1)  # (H, W)
    return moved + outside.astype(np.float32)[..., None] * (beyond - moved)


def inside(move: Move, size: tuple[int, int]) -> np.ndarray:
    """(H, W): from how far inside the old picture each pixel comes; below 0, beyond."""
    height, width = size
    places = np.tensordot(np.dot(move.matrix, np.eye(2)), np.indices(size), 1)
    y, x = places + move.offset[:, None, None]  # (H, W) each
    return np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
