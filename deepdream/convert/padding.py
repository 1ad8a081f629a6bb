"""Padding and cropping that a gradient passes, at every size of picture.

Caffe's convolutions and poolings pad alike on both sides, and its Pad layer
has no backward pass. So uneven padding becomes zeros around the filters.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .building import Params, Step

Pair = tuple[int, int]  # of height and width
ZERO, ONE = (0, 0), (1, 1)


class Window(NamedTuple):
    """What slides over a picture.

    before: rows of padding above, columns on the left. after: below, right.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    after: Pair

    @property
    def extent(self) -> Pair:
        """How many rows and columns it covers."""
        h, w = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation))
        return h, w

    @property
    def is_even(self) -> bool:
        """Whether it is padded alike on both sides."""
        return self.before == self.after


def window(step: Step, kernel: Sequence[int]) -> Window:
    """The window of a Conv or a pooling; its padding where SAME asks for it."""
    size = step.picture()[2:]
    if len(kernel) != 2:
        raise step.refuse("only windows of two axes are known")
    stride = _pair(step.get("strides", ONE))
    dilation = _pair(step.get("dilations", ONE))
    pads = step.get("pads", (0, 0, 0, 0))
    found = Window(_pair(kernel), stride, dilation, _pair(pads[:2]), _pair(pads[2:]))
    if min(*found.before, *found.after) < 0:
        raise step.refuse("its padding is below 0")
    how = step.get("auto_pad", "NOTSET")
    if how in ("SAME_UPPER", "SAME_LOWER"):
        return _same(found, size, how == "SAME_UPPER")
    return found


def _same(window: Window, size: Sequence[int], is_upper: bool) -> Window:
    """Padded so that one answer comes of each `stride` pixels."""
    small, large = [], []
    for side, extent, stride in zip(size, window.extent, window.stride):
        total = (math.ceil(side / stride) - 1) * stride + extent - side
        small.append(max(total, 0) // 2)
        large.append(max(total, 0) - max(total, 0) // 2)
    before, after = (small, large) if is_upper else (large, small)
    return window._replace(before=_pair(before), after=_pair(after))


def _pair(values: Sequence[int]) -> Pair:
    first, second = values
    return int(first), int(second)


def even_out(
    filters: np.ndarray, before: Pair, after: Pair, dilation: Pair = ONE
) -> tuple[np.ndarray, Pair]:
    """(filters with zeros around them, padding alike on both sides).

    Together they do what the filters (.., .., h, w) do with uneven padding.
    Where that is below 0, a convolution crops.
    """
    pad = max(before[0], after[0], 0), max(before[1], after[1], 0)
    front = [(p - q) // d for p, q, d in zip(pad, before, dilation)]
    back = [(p - q) // d for p, q, d in zip(pad, after, dilation)]
    around = ((0, 0), (0, 0), *zip(front, back))
    return np.pad(filters, around), pad


def fits_dilation(window: Window) -> bool:
    """Whether the unevenness is a whole number of the filters' steps."""
    pairs = zip(window.before, window.after, window.dilation)
    return all((before - after) % step == 0 for before, after, step in pairs)


def shift(
    step: Step, suffix: str, x: str, channels: int,
    before: Sequence[int], after: Sequence[int], stride: Sequence[int] = ONE,
) -> str:  # fmt: skip
    """Zeros around blob x, or rows and columns cut off where below 0.

    It is a convolution that copies each pixel. suffix: of a helper, or ""
    for the layer that ends the step.
    """
    one = np.ones((channels, 1, 1, 1), np.float32)
    filters, pad = even_out(one, _pair(before), _pair(after))
    return spread(step, suffix, x, filters, pad, _pair(stride))


def spread(
    step: Step, suffix: str, x: str, filters: np.ndarray, pad: Pair, stride: Pair,
    kind: str = "Convolution",
) -> str:  # fmt: skip
    """A Convolution, or Deconvolution, of each channel by itself."""
    channels = len(filters)
    param = {"num_output": channels, "group": channels, "bias_term": False}
    param |= sides(kernel_size=filters.shape[2:], pad=pad, stride=stride)
    layer: Params = {"weights": (filters,), "convolution_param": param}
    if suffix:
        return step.helper(suffix, kind, x, **layer)
    step.end(kind, x, **layer)
    return step.name


def select(channels: int, places: Sequence[int]) -> Params:
    """The parameters of a Convolution that picks channels."""
    filters = np.zeros((len(places), channels, 1, 1), np.float32)
    filters[range(len(places)), places] = 1
    param = {"num_output": len(places), "bias_term": False, "kernel_size": [1]}
    return {"weights": (filters,), "convolution_param": param}


def sides(
    kernel_size: Sequence[int], pad: Sequence[int] = ZERO,
    stride: Sequence[int] = ONE, dilation: Sequence[int] = ONE,
) -> Params:  # fmt: skip
    """Heights and widths as a convolution_param has them, where not the default."""
    param = {}
    for name, (height, width) in (("kernel", kernel_size), ("pad", pad), ("stride", stride)):
        if (height, width) == {"pad": ZERO, "stride": ONE}.get(name):
            continue
        if height == width:
            param["kernel_size" if name == "kernel" else name] = [height]
        else:
            param |= {f"{name}_h": height, f"{name}_w": width}
    if tuple(dilation) != ONE:
        height, width = dilation
        param["dilation"] = [height] if height == width else [height, width]
    return param
