"""Keys: a film's settings at some of its frames, and what follows for those between."""

import math
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np

from .. import looks
from ..algebra import Objective
from ..dream import check_dream
from ..errors import DreamError, unknown
from ..language import parse
from ..nets.base import Net
from ..objectives import L2, objective_L2
from ..pictures import read_mask, resize
from ..settings import ROWS, Params, check, rows_of

Keys = dict[int, Params]  # {frame: {setting in Python: value}}
MOTION = "scale", "rotate", "shift", "to"
NOT_KEYED = "tile", "seed"
DREAMT = [row.name for row in rows_of("zoom").values() if "deepdream" in row.to]
# The settings that may change within a film.
KEYED = ("look", *looks.GOALS, *MOTION, "mask")
KEYED = (*KEYED, *(name for name in DREAMT if name not in NOT_KEYED))
BY_NAME = "look", "guide"  # in key files alone


def at(keys: Keys, name: str, frame: int) -> Any:
    """A setting at a frame: numbers change smoothly from key to key, others at once."""
    before, after = around(keys, name, frame)
    value = keys[before][name]
    if after is None:
        return value
    mixed = _mix(value, keys[after][name], ease((frame - before) / (after - before)))
    return round(mixed) if ROWS[name].kind is int else mixed


def ease(t: float) -> float:
    """From 0 to 1 as t is, but slowly at first and at last."""
    return t * t * (3 - 2 * t)


def around(keys: Keys, name: str, frame: int) -> tuple[int, int | None]:
    """(the last key up to this frame that has the setting; the next such, or None)"""
    having = [key for key in keys if name in keys[key]]
    before = max(key for key in having if key <= frame)
    return before, min((key for key in having if key > frame), default=None)


def _mix(a: Any, b: Any, share: float) -> Any:
    """What is between two values; a if they are no numbers or lists of them."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [_mix(x, y, share) for x, y in zip(a, b)]
    numbers = int, float, np.number, np.ndarray
    if isinstance(a, bool) or not (isinstance(a, numbers) and isinstance(b, numbers)):
        return a
    return a + share * (b - a)


def check_key(
    net: Net, frame: np.ndarray, number: object, given: Params, dream_params: Params
) -> Params:
    """One key for `zoom`: checked, its goal an Objective, its mask (H, W)
    as a frame is.

    Raises DreamError for what could not be dreamt.
    """
    if not isinstance(number, Integral) or number < 0:
        raise DreamError(f"a key is at frame {number!r}; frames have whole numbers from 0")
    key = {}
    for name, value in given.items():
        if name not in KEYED or name in BY_NAME:
            allowed = [name for name in KEYED if name not in BY_NAME]
            advice = "a key has no others; looks and guides by name are for key files"
            raise unknown("setting", name, allowed, advice)
        if name == "mask":
            key[name] = whole_mask(value, frame)
        elif name not in ("end", "objective"):
            check(name, value.tolist() if isinstance(value, np.ndarray) else value)
            key[name] = value
    if given.keys() & {"end", "objective"}:
        key["objective"] = goal_of(given)
    if key.get("to") is not None:
        to_pixels(key["to"], frame.shape[:2])
    dreamt = {name: value for name, value in key.items() if name not in MOTION}
    check_dream(net, frame, **dream_params | dreamt)
    return key


def complete_keys(
    net: Net, frame: np.ndarray, keys: Keys, motion: Params, dream_params: Params, end: int | None
) -> Keys:
    """The keys as `zoom` uses them: that at frame 0 has all settings that any has.

    end: where a loop is back at its beginning. Raises as `check_key` does.
    """
    complete = {}
    for number, given in (keys | {0: motion | keys.get(0, {})}).items():
        complete[number] = check_key(net, frame, number, given, dream_params)
    first = complete[0]
    for name in set().union(*complete.values()) - first.keys():
        if name == "objective":
            first[name] = goal_of(dream_params)
        elif name == "mask":
            first[name] = whole_mask(dream_params.get(name), frame)
        else:
            first[name] = dream_params.get(name, ROWS[name].default)
    if end is not None:
        complete = {number: key for number, key in complete.items() if number < end}
        complete[end] = first | {"to": None}
    complete = dict(sorted(complete.items()))
    _check_octaves(net, frame, complete, dream_params)
    return complete


def _check_octaves(net: Net, frame: np.ndarray, keys: Keys, dream_params: Params) -> None:
    """Refuse octaves that become too small between keys, if both settings change."""
    names = "octave_n", "octave_scale"
    if not keys[0].keys() & {*names}:
        return
    plain = {name: dream_params.get(name, ROWS[name].default) for name in names}
    keyed = [name for name in names if name in keys[0]]

    def octaves(i: int) -> Params:
        return plain | {name: at(keys, name, i) for name in keyed}

    def depth(i: int) -> float:
        return (octaves(i)["octave_n"] - 1) * math.log(octaves(i)["octave_scale"])

    for here, there in pairwise([*keys, max(keys) + 1]):
        deepest = max(range(here, there), key=depth)
        goals = {}
        if "objective" in keys[0]:
            before, after = around(keys, "objective", here)
            goal = keys[before]["objective"]
            goals["objective"] = goal if after is None else goal + keys[after]["objective"]
        try:
            check_dream(net, frame, **dream_params | octaves(deepest) | goals)
        except DreamError as error:
            raise DreamError(f"at frame {deepest}: {error.args[0]}", error.setting) from None


def goal_of(given: Params) -> Objective:
    """What parameters climb, as an Objective; a plain function raises DreamError."""
    objective = given.get("objective", objective_L2)
    if isinstance(objective, str):
        return parse(objective)
    if objective is objective_L2:
        return L2(given.get("end", "inception_4c/output"))
    if not isinstance(objective, Objective):
        cannot = "an objective that is a function cannot fade into another"
        raise DreamError(f"{cannot}; take one that can be added")
    return objective


def whole_mask(mask: str | np.ndarray | None, frame: np.ndarray) -> np.ndarray:
    """A mask, or None for none, as large as a frame (H, W, 3): (H, W), 0..1."""
    if mask is None:
        return np.ones(frame.shape[:2], np.float32)
    return resize(read_mask(mask), *frame.shape[:2])


def to_pixels(to: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """A point (x, y) in pixels or shares of the sides: (down, right) in pixels.

    size: (H, W), of the picture. Raises DreamError if the point is beyond.
    """
    (x, y), (height, width) = to, size
    if max(x, y) <= 1:
        return y * height, x * width
    if x > width or y > height or 0 < min(x, y) < 1:
        of = f"a point of the frames, which are {width}x{height}"
        allowed = f"{of}, in pixels, or in shares of the sides from 0 to 1"
        raise DreamError(f"{{setting}} is {x:g} {y:g}; it must be {allowed}", "to")
    return y, x
