"""How a frame moves to the next: enlarge, rotate, shift, fly to a point, fade into the
first frame of a loop.
"""

from collections.abc import Iterator
from functools import reduce
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from .hold import piece, pieces
from .keys import Keys, at, ease, to_pixels

SOFT = 4  # pixels over which a picture passes into what is beyond its borders


# How a film moves


class Move(NamedTuple):
    """From one frame to the next: what is at `matrix @ place + offset` comes to
    `place`, both in pixels (down, right).

    matrix: (2, 2); or without rotation, a number.
    """

    matrix: Any
    offset: np.ndarray


def make_moves(keys: Keys, size: tuple[int, int]) -> Iterator[Move]:
    """The moves to frame 1, 2 and so on, of frames of this size (H, W)."""
    point = None  # where the film flies to, (down, right) in pixels of the frame that moves
    for i in count():
        to = keys.get(i, {}).get("to")
        point = point if to is None else to_pixels(to, size)
        scale, rotate, (right, down) = (
            at(keys, name, i + 1) for name in ("scale", "rotate", "shift")
        )
        here = np.divide(size, 2) if point is None else np.array(point)
        there = here if point is None or scale <= 0 else _approach(here, np.array(size), scale)
        by = there - here + [down, right]
        if rotate:
            cos, sin = (
                (1 - scale) * np.cos(np.radians(rotate)),
                (1 - scale) * np.sin(np.radians(rotate)),
            )
            matrix = np.array([[cos, -sin], [sin, cos]])
            yield Move(matrix, here - matrix @ (here + by))
        else:
            yield Move(1 - scale, here * scale - (1 - scale) * by)
        if point is not None:
            point = tuple(np.clip(here + by, 0, size))  # a shift may carry it out of the picture


def _approach(here: np.ndarray, size: np.ndarray, scale: float) -> np.ndarray:
    """Where a point comes to lie in the next frame: a tenth nearer to the middle, or as
    near as no border comes in.
    """
    wanted = size / 2 + 0.9 * (here - size / 2)
    return np.clip(wanted, size - (size - here) / (1 - scale), here / (1 - scale))


def then(first: Move, second: Move) -> Move:
    """Both moves in one, so that the picture is resampled only once."""
    return Move(
        np.dot(first.matrix, second.matrix), np.dot(first.matrix, second.offset) + first.offset
    )


def move_frame(frame: np.ndarray, move: Move, order: int = 1) -> np.ndarray:
    """The notebook's affine transform; beyond the borders are mirror images.

    order: of the splines between pixels. 1 is the notebook's, and without rotation and
    shift gives the same bits; 3 keeps more of the detail.
    """
    from scipy import ndimage as nd

    matrix: Any = move.matrix if np.ndim(move.matrix) else [move.matrix, move.matrix]
    offset: Any = move.offset
    planes = np.moveaxis(
        frame, 2, 0
    )  # one by one, for otherwise SciPy interpolates between the colours, too
    moved = np.stack(
        [
            nd.affine_transform(plane, matrix, offset, order=order, mode="mirror")
            for plane in planes
        ],
        2,
    )
    return moved if order == 1 else moved.clip(0, 255)


def move_over(beyond: np.ndarray, frame: np.ndarray, move: Move) -> np.ndarray:
    """A frame moved, with `beyond` (H, W, 3) in place of mirror images beyond its
    borders.
    """
    moved = move_frame(frame, move, order=3)
    outside = np.clip(-_inside(move, frame.shape[:2]) / SOFT, 0, 1).astype(np.float32)[..., None]
    return moved + outside * (beyond - moved)


def _inside(move: Move, size: tuple[int, int]) -> np.ndarray:
    """(H, W): how far inside the old picture each pixel of the new one comes from, in
    pixels; below 0, from beyond.
    """
    height, width = size
    y, x = (
        np.tensordot(np.dot(move.matrix, np.eye(2)), np.indices(size), 1)
        + move.offset[:, None, None]
    )
    return np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))


def make_fill(model: np.ndarray, i: int, moves: list[Move]) -> np.ndarray:
    """What `hold_look` fills frame i with, and its borders, (H, W, 3). moves: the last
    ones before it.
    """
    fill = np.zeros_like(model) + model.mean((0, 1))
    for which, age, share in pieces(i):
        moved = piece(model, which)
        since = moves[max(0, len(moves) - age) :] if age else []
        fill += share * (move_frame(moved, reduce(then, since)) if since else moved)
    return fill


def fade_into(frame: np.ndarray, first: np.ndarray, way: Move, share: float) -> np.ndarray:
    """A frame near the end of a loop, with the film's first frame growing in its
    middle, (H, W, 3).

    way: from this frame to the end, where the loop is closed. share: of the fade that
    is over, from 0 to 1.
    """
    share = ease(share)
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    edge = 0.25 * min(
        frame.shape[:2]
    )  # pixels; its borders are soft, and come to lie ever further outside
    soft = np.clip(_inside(back, frame.shape[:2]) / edge + 2 * share, 0, 1)[..., None]
    return np.asarray(frame + share * soft * (move_frame(first, back, order=3) - frame), np.float32)
