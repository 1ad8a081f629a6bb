"""What each frame of a film climbs: a key's goal, or two while one fades away."""

import math

import numpy as np

from ..algebra import Objective
from ..dream import gradient
from ..nets.base import Net, preprocess, put
from ..nets.sizes import extend, find
from .keys import Keys, around

MEASURED = 512  # pixels of a side: enough to measure, and little memory


def goal_at(net: Net, frame: np.ndarray, keys: Keys, i: int, cross_fade: int | None) -> Objective:
    """What frame i climbs. frame: the one before. cross_fade: as for `zoom`."""
    here, there = around(keys, "objective", i)
    goal = keys[here]["objective"]
    if there is None:
        return goal
    between = there - here
    length = between // 4 if cross_fade is None else min(cross_fade, between - 1)
    fading = i + 1 - (there - length)  # number of this frame in the cross-fade, from 1
    after = keys[there]["objective"]
    if after is goal or fading <= 0:
        return goal
    return fade_goals(net, frame, goal, after, fading / (length + 1))


def fade_goals(
    net: Net, frame: np.ndarray, here: Objective, there: Objective, share: float
) -> Objective:
    """The sum of both, the second with this share. Each is divided by the
    strength of its gradient on this frame (H, W, 3), for one may be ten
    times the other's.
    """
    from scipy import ndimage as nd

    h, w = (max(0, (n - MEASURED) // 2) for n in frame.shape[:2])
    middle = preprocess(net, frame[h : h + MEASURED, w : w + MEASURED])  # (3, h, w)
    to_own = 1, *np.divide(net.own_size, middle.shape[1:])
    own = np.asarray(nd.zoom(middle, to_own, order=1))  # for a classifier
    terms = []
    for goal, part in ((here, 1 - share), (there, share)):
        layers = goal.layers_in(net)
        suits = find(net, layers, middle.shape[1:])
        put(net, extend(middle, suits) if suits else own)
        strength = float(abs(gradient(net, None, goal)).mean())
        # Four digits are precise enough, and readable in a progress bar.
        terms.append((round_digits(part / strength) if strength > 0 else part) * goal)
    return terms[0] + terms[1]


def round_digits(number: float, digits: int = 4) -> float:
    """A number, 0 or above, rounded to this many digits in all."""
    if not number:
        return number
    return round(number, digits - 1 - math.floor(math.log10(number)))
