"""Hold the look of a film whose frames are each dreamt from the one before.

Such a film drifts: after some hundred frames its colours burn out, or it goes dark. So
the mean of each colour, the saturation, and the contrast at each scale are held near
those of a model, most often the film's first frame. What is too strong is weakened.
What is missing at the finest scales is strengthened. At the others this would draw
crosses and streaks, since a zoom makes one place large over and over; there, what is
missing is added from pieces of the model, which move as the film does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

FINE = 2  # scales, from the finest, whose detail is strengthened
LIFE = 24  # frames; a new piece begins to fade in after half of that
# To brightness, red against blue, and green against both; colours that drift do it
# mostly along these.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0, -0.5], [-0.25, 0.5, -0.25]], np.float32)


def hold_look(frame: np.ndarray, model: np.ndarray, fill: np.ndarray, hold: float) -> np.ndarray:
    """A frame (H, W, 3) with the mean colour, contrast and saturation, at each scale,
    nearer to those of the model.

    fill: as large; what is added where a scale has too little contrast. hold: how near,
    from 0 to 1.
    """

    def between(a: Any, b: Any) -> Any:
        return a ** (1 - hold) * b**hold

    (now, mean), (like, mean_like), (more, _) = (_split(image) for image in (frame, model, fill))
    levels = []
    for n, (level, wanted, extra) in enumerate(zip(now, like, more)):
        strength = _strength(level)  # (3,)
        target = between(strength, _strength(wanted))
        level = level * (target / strength).clip(0, 1.25 if n < FINE else 1)
        levels.append(level if n < FINE else _fill_up(level, extra, target))
    picture = _join(levels, (1 - hold) * mean + hold * mean_like)
    average = picture.mean((0, 1))
    saturation = between(_saturation(frame), _saturation(model))
    contrast = between(frame.std(), model.std())
    for _ in range(2):  # the second time makes up for what the clip takes away
        grey = picture.mean(2, keepdims=True)
        picture = grey + saturation / _saturation(picture) * (picture - grey)
        picture = average + contrast / max(picture.std(), 1e-3) * (picture - picture.mean((0, 1)))
        picture = picture.clip(0, 255)
    return picture


def pieces(number: int) -> list[tuple[int, int, float]]:
    """The pieces of the model that fill frame `number`: (which, its age in frames, its
    share) of each.

    The shares are a sine and a cosine, so that together they always have the same
    strength.
    """
    last, age = divmod(number, LIFE // 2)
    return [
        (which, old, float(np.sin(np.pi * old / LIFE)))
        for which, old in ((last, age + LIFE // 2), (last + 1, age))
    ]


def piece(model: np.ndarray, which: int) -> np.ndarray:
    """The model (H, W, 3) less its mean, turned over and moved at random; beyond its
    edges are its mirror images.
    """
    height, width = model.shape[:2]
    random = np.random.RandomState(which)
    # By no more than a quarter, so that most of the model is there.
    down, right = (
        random.randint(2) * n + random.randint(-(n // 4), n // 4 + 1) for n in (height, width)
    )
    mirrored = np.pad(model - model.mean((0, 1)), ((0, height), (0, width), (0, 0)), "symmetric")
    return np.roll(mirrored, (down, right), (0, 1))[:height, :width]


def clouds(size: tuple[int, int], seed: int) -> np.ndarray:
    """Clouds of colour with the contrast that photographs have at each scale (Field,
    1987): (h, w, 3), 0..255.
    """
    height, width = size
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.hypot(down, right)
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(np.random.RandomState(seed).normal(size=(3, *size))) / frequency**1.25
    fields = np.fft.irfft2(waves, size)
    fields *= np.reshape([50, 15, 8], (3, 1, 1)) / fields.std(
        (1, 2), keepdims=True
    )  # in opponent colours
    picture = 118 + np.moveaxis(fields, 0, 2) @ np.linalg.inv(OPPONENT).T
    return picture.clip(0, 255).astype(np.float32)


def _split(image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """(a Laplacian pyramid of an image (H, W, 3), in opponent colours, the finest scale
    first; their means, (3,))
    """
    import cv2  # mirrors at the borders; beyond those of `lap_normalize` in dream.py there is nothing, as in TensorFlow

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
    """A level with as little of `extra` added or taken away as makes it as strong as
    the target, (3,).
    """
    own, both, theirs = (
        (a * b).mean((0, 1)) for a, b in ((level, level), (level, extra), (extra, extra))
    )
    lack = (target**2 - own).clip(0)
    share = (np.sqrt(both**2 + theirs * lack) - abs(both)) / (
        theirs + 1e-6
    )  # solves |level + share * extra| = target
    return level + np.where(both < 0, -share, share) * extra


def _saturation(image: np.ndarray) -> float:
    """The mean distance between a pixel's largest and smallest colour."""
    return float((image.max(2) - image.min(2)).mean()) + 1e-3
