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
    begins = frames - min(LONGEST_FADE, max(1, frames // 4))
    if i < begins:
        return frame
    way = join(islice(make_moves(keys, frame.shape[:2]), i, frames))
    return fade_into(frame, first, way, min(1.0, (i - begins + every) / (frames - begins)))


def fade_into(frame: np.ndarray, first: np.ndarray, way: Move, share: float) -> np.ndarray:
    """A frame (H, W, 3) with the film's first frame growing in its middle.

    way: from this frame to the end of the loop. share: of the fade that is over, 0..1.
    """
    share = ease(share)
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    # pixels; its borders are soft, and come to lie ever further outside
    edge = 0.25 * min(frame.shape[:2])
    soft = np.clip(inside(back, frame.shape[:2]) / edge + 2 * share, 0, 1)[..., None]
    faded = frame + share * soft * (move_frame(first, back, order=3) - frame)
    return np.asarray(faded, np.float32)
