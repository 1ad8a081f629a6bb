"""Films that run for ever: the last frames fade into the first."""

from itertools import islice

import numpy as np

from .keys import Keys, ease
from .moves import Move, inside, join, make_moves, move_frame

LONGEST_FADE = 50  # frames


class Loop:
    """The end of a film that is a loop."""

    def __init__(self, keys: Keys, size: tuple[int, int], frames: int, every: int) -> None:
        """keys: complete, see `complete_keys`. size: (H, W). frames: of the whole film,
        of which one of `every` is made.
        """
        self.keys, self.size, self.frames, self.every = keys, size, frames, every
        self.begins = frames - min(LONGEST_FADE, max(1, frames // 4))

    def fade(self, frame: np.ndarray, first: np.ndarray, i: int) -> np.ndarray:
        """Frame i (H, W, 3) with the film's first frame in it, as far as it has faded
        in.
        """
        if i < self.begins:
            return frame
        way = join(islice(make_moves(self.keys, self.size), i, self.frames))
        share = (i - self.begins + self.every) / (self.frames - self.begins)
        return fade_into(frame, first, way, min(1.0, share))


def fade_into(frame: np.ndarray, first: np.ndarray, way: Move, share: float) -> np.ndarray:
    """A frame near the end of a loop, with the film's first frame growing in its
    middle, (H, W, 3).

    way: from this frame to the end, where the loop is closed. share: of the fade that
    is over, from 0 to 1.
    """
    share = ease(share)
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    # pixels; its borders are soft, and come to lie ever further outside
    edge = 0.25 * min(frame.shape[:2])
    soft = np.clip(inside(back, frame.shape[:2]) / edge + 2 * share, 0, 1)[..., None]
    faded = frame + share * soft * (move_frame(first, back, order=3) - frame)
    return np.asarray(faded, np.float32)
