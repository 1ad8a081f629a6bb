"""Hold the look of a film whose frames are each dreamt from the one before.

Such a film drifts: its colours burn out, or it goes dark. So mean colour,
saturation, and contrast at each scale are held near a picture's. What is
too strong is weakened, what is too weak strengthened. Where that would draw
streaks, since a zoom repeats it, pieces of the picture are added, which
move as the film does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .moves import Move, join, move_frame, move_over

FINE = 2  # scales, from the finest, whose detail is strengthened
LIFE = 24  # frames; a new piece begins to fade in after half of that
# To brightness, red against blue, and green against both; colours that
# drift do it mostly along these.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0, -0.5], [-0.25, 0.5, -0.25]], np.float32)


class Held:
    """A film whose look is held near that of `like`, or its first frame; hold: 0..1."""

    def __init__(self, hold: float, like: np.ndarray | None) -> None:
        self.hold, self.like = hold, like
        self._fill: np.ndarray | None = None  # of the frame that is made now

    def move(self, frame: np.ndarray, move: Move | None, i: int, recent: list[Move]) -> np.ndarray:
        """The frame (H, W, 3) to dream frame i from. recent: the moves before."""
        self._fill = None
        if self.hold and self.like is not None:
            self._fill = make_fill(self.like, i, recent)
        if move is None:
            return frame
        if self._fill is None:
            return move_frame(frame, move)
        return move_over(self._fill, frame, move)

    def correct(self, frame: np.ndarray) -> np.ndarray:
        if self.like is None:
            self.like = frame
        if self._fill is None:
            return frame
        return hold_look(frame, self.like, self._fill, self.hold)


def hold_look(frame: np.ndarray, like: np.ndarray, fill: np.ndarray, hold: float) -> np.ndarray:
    """A frame (H, W, 3) with a look nearer to that of `like`; fill: what to add."""

    def between(a: Any, b: Any) -> Any:
        return a ** (1 - hold) * b**hold

    (now, mean), (wanted, wanted_mean), (more, _) = map(_split, (frame, like, fill))
    levels = []
    for n, (level, goal, extra) in enumerate(zip(now, wanted, more)):
        strength = _strength(level)  # (3,)
        target = between(strength, _strength(goal))
        level = level * (target / strength).clip(0, 1.25 if n < FINE else 1)
        levels.append(level if n < FINE else _fill_up(level, extra, target))
    picture = _join(levels, (1 - hold) * mean + hold * wanted_mean)
    average = picture.mean((0, 1))
    saturation = between(_saturation(frame), _saturation(like))
    contrast = between(frame.std(), like.std())
    for _ in range(2):  # the second time makes up for what the clip takes away
        grey = picture.mean(2, keepdims=True)
        picture = grey + saturation / _saturation(picture) * (picture - grey)
        rest = picture - picture.mean((0, 1))
        picture = (average + contrast / max(picture.std(), 1e-3) * rest).clip(0, 255)
    return picture


def make_fill(like: np.ndarray, i: int, moves: list[Move]) -> np.ndarray:
    """What fills frame i and its borders, (H, W, 3); moves: the last before it."""
    fill = np.zeros_like(like) + like.mean((0, 1))
    for which, age, share in pieces(i):
        part = piece(like, which)
        since = moves[max(0, len(moves) - age) :] if age else []
        fill += share * (move_frame(part, join(since)) if since else part)
    return fill


def pieces(number: int) -> list[tuple[int, int, float]]:
    """(which, age in frames, share) of each piece that fills frame `number`.

    The shares are a sine and a cosine, whose strength is always the same together.
    """
    last, age = divmod(number, LIFE // 2)
    ages = (last, age + LIFE // 2), (last + 1, age)
    return [(which, old, float(np.sin(np.pi * old / LIFE))) for which, old in ages]


def piece(like: np.ndarray, which: int) -> np.ndarray:
    """The picture (H, W, 3) less its mean, mirrored and moved at random."""
    height, width = like.shape[:2]
    random = np.random.RandomState(which)

    def draw(n: int) -> int:  # by no more than a quarter, so that most of it is there
        return random.randint(2) * n + random.randint(-(n // 4), n // 4 + 1)

    by = draw(height), draw(width)
    beyond = (0, height), (0, width), (0, 0)
    mirrored = np.pad(like - like.mean((0, 1)), beyond, "symmetric")
    return np.roll(mirrored, by, (0, 1))[:height, :width]


def clouds(size: tuple[int, int], seed: int) -> np.ndarray:
    """Clouds (h, w, 3), 0..255, with the contrast of photographs (Field, 1987)."""
    height, width = size
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(down, right)
    frequency[0, 0] = np.inf
    noise = np.random.RandomState(seed).normal(size=(3, *size))
    fields = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.25, size)
    contrast = np.reshape([50, 15, 8], (3, 1, 1))  # in opponent colours
    fields *= contrast / fields.std((1, 2), keepdims=True)
    picture = 118 + np.moveaxis(fields, 0, 2) @ np.linalg.inv(OPPONENT).T
    return picture.clip(0, 255).astype(np.float32)


def _split(image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """(a Laplacian pyramid in opponent colours, the finest first; their means, (3,))"""
    # It mirrors at the borders; beyond those of `lap_normalize` in
    # pyramid.py there is nothing, as in TensorFlow.
    import cv2

    rest = image.astype(np.float32) @ OPPONENT.T
    mean = rest.mean((0, 1))
    rest -= mean
    levels = []
    while min(rest.shape[:2]) >= 8:
        half = cv2.pyrDown(rest)
        levels.append(rest - cv2.pyrUp(half, dstsize=rest.shape[1::-1]))
        rest = half
    return [*levels, rest], mean


def _join(levels: Sequence[np.ndarray], mean: np.ndarray) -> np.ndarray:
    """The way back."""
    import cv2

    picture = levels[-1]
    for level in levels[-2::-1]:
        picture = cv2.pyrUp(picture, dstsize=level.shape[1::-1]) + level
    return (picture + (mean - picture.mean((0, 1)))) @ np.linalg.inv(OPPONENT).T


def _strength(level: np.ndarray) -> np.ndarray:
    """(3,)"""
    return np.sqrt((level**2).mean((0, 1)) + 1e-6)


def _fill_up(level: np.ndarray, extra: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A level plus as little of `extra` as makes it as strong as the target, (3,)."""
    pairs = (level, level), (level, extra), (extra, extra)
    own, both, theirs = ((a * b).mean((0, 1)) for a, b in pairs)  # (3,) each
    lack = (target**2 - own).clip(0)
    # solves |level + share * extra| = target
    share = (np.sqrt(both**2 + theirs * lack) - abs(both)) / (theirs + 1e-6)
    return level + np.where(both < 0, -share, share) * extra


def _saturation(image: np.ndarray) -> float:
    """The mean distance between a pixel's largest and smallest colour."""
    return float((image.max(2) - image.min(2)).mean()) + 1e-3
