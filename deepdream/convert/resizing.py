"""Resize by whole numbers, as convolutions of each channel by itself."""

import math

import numpy as np

from .building import Step
from .padding import ZERO, Pair, even_out, spread
from .windows import end_by_share


def resize(step: Step) -> None:
    old, new = step.picture()[2:], step.result[2:]
    if step.result[:2] != step.shape()[:2]:
        raise step.refuse("it resizes other axes than height and width")
    mode = step.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise step.refuse(f"of its modes, nearest and linear are known, not {mode}")
    if old == new:
        return step.same()
    large, small = (new, old) if new > old else (old, new)
    if any(n % m for n, m in zip(large, small)):
        raise step.refuse(f"from {old} to {new} is no whole number of times")
    factors = large[0] // small[0], large[1] // small[1]
    _check_scales(step, [after / before for before, after in zip(old, new)])
    if new > old:
        return _enlarge(step, mode, factors)
    if step.get("antialias", 0):
        raise step.refuse("it smooths what it makes smaller (antialias)")
    rows = [_taps(step, mode, factor) for factor in factors]
    filters = np.repeat(np.outer(*rows)[None, None], step.shape()[1], 0)
    spread(step, "", step.blob(), filters, ZERO, factors)


def _check_scales(step: Step, wanted: list[float]) -> None:
    scales = step.constant(2)
    if scales is not None and scales.size == 4 and not np.allclose(scales[2:], wanted):
        raise step.refuse(f"its scales {scales[2:].tolist()} are no whole numbers")


def _source(step: Step, i: int, scale: float) -> float:
    """The place in the input that pixel i of the output is made of."""
    how = step.get("coordinate_transformation_mode", "half_pixel")
    if how in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / scale - 0.5
    if how == "asymmetric":
        return i / scale
    if how == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    raise step.refuse(f"{how} depends on the size of the picture; half_pixel does not")


def _nearest(step: Step, place: float) -> int:
    how = step.get("nearest_mode", "round_prefer_floor")
    rounded = {
        "floor": math.floor(place),
        "ceil": math.ceil(place),
        "round_prefer_floor": math.ceil(place - 0.5),
        "round_prefer_ceil": math.floor(place + 0.5),
    }
    return rounded[how]


def _taps(step: Step, mode: str, factor: int) -> np.ndarray:
    """How much each of `factor` pixels counts where they become one."""
    place = _source(step, 0, 1 / factor)
    taps = np.zeros(factor, np.float32)
    if mode == "nearest":
        taps[_nearest(step, place)] = 1
        return taps
    below = math.floor(place)
    taps[below] = 1 - (place - below)
    if place > below:
        taps[below + 1] = place - below
    return taps


def _enlarge(step: Step, mode: str, factors: Pair) -> None:
    channels = step.shape()[1]
    if mode == "nearest":
        for factor in factors:
            if any(_nearest(step, _source(step, i, factor)) for i in range(factor)):
                raise step.refuse("its rounding makes no block of each pixel")
        filters = np.ones((channels, 1, *factors), np.float32)
        spread(step, "", step.blob(), filters, ZERO, factors, "Deconvolution")
        return
    (rows, top, bottom), (columns, left, right) = (_hat(step, n) for n in factors)
    hat = np.outer(rows, columns)[None, None]
    kernel, margin = even_out(hat, (top, left), (bottom, right))

    def enlarge(suffix: str, x: str, channels: int) -> str:
        filters = np.repeat(kernel, channels, 0)
        return spread(step, suffix, x, filters, margin, factors, "Deconvolution")

    end_by_share(step, enlarge)


def _hat(step: Step, factor: int) -> tuple[np.ndarray, int, int]:
    """What one pixel becomes; and how much to cut off before and after.

    Between two pixels, their weights fall from 1 to 0 in a straight line.
    """
    first = _source(step, 0, factor)
    cut = math.ceil(round(factor * (1 + first), 6)) - 1
    length = math.ceil(round(cut + factor * (1 - first), 6))
    places = (np.arange(length) - cut) / factor + first
    return 1 - np.abs(places), cut, length - cut - factor


OPERATIONS = {"Resize": resize}
