"""Convolutions and padding: each a function of the table in layers.py."""

import numpy as np

from .building import Params, Step
from .padding import (
    ZERO,
    Pair,
    Window,
    even_out,
    fits_dilation,
    shift,
    sides,
    window,
)  # fmt: skip

MIRRORS = {"reflect": "REFLECT", "edge": "REPLICATE"}  # Caffe's names


def _convolution(step: Step) -> None:
    filters = step.weight(1, "filters")
    form = window(step, filters.shape[2:])
    x = step.blob()
    if not fits_dilation(form):
        channels = step.shape()[1]
        x = shift(step, "pad", x, channels, form.before, form.after)
        form = form.padded(ZERO)
    ends = form.before, form.after
    filters, pad = even_out(filters, *ends, form.dilation)
    kernel = filters.shape[2:]
    param = sides(kernel, pad, form.stride, form.dilation)
    param["num_output"] = len(filters)
    _end(step, "Convolution", x, filters, param)


def _deconvolution(step: Step) -> None:
    """ONNX's ConvTranspose, where padding cuts off what comes out."""
    filters = step.weight(1, "filters")
    form = window(step, filters.shape[2:])
    if step.get("auto_pad", "NOTSET") != "NOTSET":
        raise step.refuse("auto_pad is unknown here")
    form = form._replace(after=_cut_after(step, form))
    if not fits_dilation(form):
        raise step.refuse("its padding is uneven, and it is dilated")
    ends = form.before, form.after
    filters, pad = even_out(filters, *ends, form.dilation)
    kernel = filters.shape[2:]
    param = sides(kernel, pad, form.stride, form.dilation)
    param["num_output"] = filters.shape[1] * step.get("group", 1)
    _end(step, "Deconvolution", step.blob(), filters, param)


def _cut_after(step: Step, form: Window) -> Pair:
    """How many rows and columns are cut off at the end."""
    old, new = step.picture()[2:], step.result[2:]
    ends = []
    for axis in (0, 1):
        whole = (old[axis] - 1) * form.stride[axis] + form.extent[axis]
        ends.append(whole - form.before[axis] - new[axis])
    return ends[0], ends[1]


def _end(
    step: Step, kind: str, x: str, filters: np.ndarray, param: Params
) -> None:  # fmt: skip
    """The node's own layer, with its bias and its groups."""
    weights = (filters,)
    bias = step.optional(2, "bias")
    if bias is None:
        param["bias_term"] = False
    else:
        weights += (bias,)
    groups = step.get("group", 1)
    if groups != 1:
        param["group"] = groups
    step.end(kind, x, weights=weights, convolution_param=param)


def _pad(step: Step) -> None:
    """Zeros, or another number, around a picture."""
    ends = _ends(step)
    if not ends:
        return step.same()
    if not set(ends) <= {2, 3} or len(step.shape()) != 4:
        raise step.refuse("it pads other axes than height and width")
    (top, bottom), (left, right) = (ends.get(axis, ZERO) for axis in (2, 3))
    before, after = (top, left), (bottom, right)
    x, channels = step.blob(), step.shape()[1]
    mode = step.get("mode", "constant")
    if mode != "constant":
        return _mirror(step, mode, before, after)
    given = step.optional(2, "number")
    number = 0.0
    if given is not None and given.size:
        number = float(given.reshape(-1)[0])
    if not number:
        shift(step, "", x, channels, before, after)
        return
    if not abs(number) < 1e4:
        raise step.refuse(f"it pads with {number}")
    x = step.helper("below", "Power", x, power_param={"shift": -number})
    x = shift(step, "pad", x, channels, before, after)
    step.end("Power", x, power_param={"shift": number})


def _mirror(step: Step, mode: str, before: Pair, after: Pair) -> None:
    """Mirror images, or copies of the edge, around a picture."""
    if mode not in MIRRORS or min(*before, *after) < 0:
        raise step.refuse(f"{mode} is no way of padding in Caffe")
    param = {"pad_type": MIRRORS[mode]}
    param |= {"pad_u": before[0], "pad_l": before[1]}
    param |= {"pad_d": after[0], "pad_r": after[1]}
    step.end("Pad", step.blob(), pad_param=param)


def _ends(step: Step) -> dict[int, Pair]:
    """{axis: (before, after)} of what a Pad pads."""
    amounts = step.weight(1, "padding").tolist()
    axes = step.optional(3, "axes")
    count = len(step.shape())
    names = range(count) if axes is None else axes % count
    half = len(amounts) // 2
    pairs = zip(amounts[:half], amounts[half:])
    return {int(axis): pair for axis, pair in zip(names, pairs) if any(pair)}


OPERATIONS = {"Conv": _convolution, "ConvTranspose": _deconvolution, "Pad": _pad}
