"""Films that run for ever: the last frames fade into the first."""

from itertools import islice

import numpy as np

from .keys import Keys, ease
from .moves import Move, inside, join, make_moves, move_frame

LONGEST_FADE = 50  # frames


def close_loop(
    frame: np.ndarray, first: np.ndarray, keys: Keys, i: int, frames: int, every: int
) -> np.ndarray:
    """Frame i of a loop (H, W, 3) with the first frame in it, as far as it has faded
    in.

    keys: complete. frames: of the film, of which one of `every` is made.
    """
    size = frame.shape[:2]
    begins = frames - min(LONGEST_FADE, max(1, frames // 4))
    if i < begins:
        return frame
    share = ease(min(1.0, (i - begins + every) / (frames - begins)))
    way = join(islice(make_moves(keys, size), i, frames))  # to the end of the loop
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    edge = 0.25 * min(size)  # pixels; it is soft, and moves ever further outside
    soft = np.clip(inside(back, size) / edge + 2 * share, 0, 1)[..., None]
    faded = frame + share * soft * (move_frame(first, back, order=3) - frame)
    return np.asarray(faded, np.float32)
