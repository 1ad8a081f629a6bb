"""Operations with a window: each a function of the table in layers.py."""

from collections.abc import Callable

import numpy as np

from .building import Params, Step
from .padding import ONE, ZERO, Pair, Window, even_out, fits_dilation, shift, sides, window

Chain = Callable[[str, str, int], str]  # (suffix, blob, channels) -> blob


def convolution(step: Step) -> None:
    filters = step.weight(1, "filters")
    form = window(step, filters.shape[2:])
    x = step.blob()
    if not fits_dilation(form):
        x = shift(step, "pad", x, step.shape()[1], form.before, form.after)
        form = form._replace(before=ZERO, after=ZERO)
    filters, pad = even_out(filters, form.before, form.after, form.dilation)
    param = {"num_output": len(filters)}
    _end_convolution(step, "Convolution", x, filters, pad, form, param)


def deconvolution(step: Step) -> None:
    """ONNX's ConvTranspose; padding there cuts its answer off."""
    filters = step.weight(1, "filters")
    form = window(step, filters.shape[2:])
    if step.get("auto_pad", "NOTSET") != "NOTSET":
        raise step.refuse("auto_pad is unknown here; export it with fixed padding")
    after = _uncropped(step, form)
    if not fits_dilation(form._replace(after=after)):
        raise step.refuse("its padding is uneven, and it is dilated")
    filters, pad = even_out(filters, form.before, after, form.dilation)
    param = {"num_output": filters.shape[1] * step.get("group", 1)}
    _end_convolution(step, "Deconvolution", step.blob(), filters, pad, form, param)


def _uncropped(step: Step, form: Window) -> Pair:
    """How many rows and columns are cut off at the end."""
    sizes = zip(step.picture()[2:], form.stride, form.extent, form.before, step.result[2:])
    h, w = ((n - 1) * stride + e - first - out for n, stride, e, first, out in sizes)
    return h, w


def _end_convolution(
    step: Step, kind: str, x: str, filters: np.ndarray, pad: Pair, form: Window, param: Params
) -> None:
    bias = step.constant(2)
    weights = (filters,) if bias is None else (filters, bias)
    if bias is None:
        param["bias_term"] = False
    if step.get("group", 1) != 1:
        param["group"] = step.get("group")
    param |= sides(filters.shape[2:], pad, form.stride, form.dilation)
    step.end(kind, x, weights=weights, convolution_param=param)


def max_pool(step: Step) -> None:
    form = _pooling_window(step)
    rounds_up = bool(step.get("ceil_mode", 0))
    is_rest = form.before == ZERO and form.after == tuple(s - 1 for s in form.stride)
    if form.is_even:
        return _end_pool(step, step.blob(), form, rounds_up)
    if rounds_up:
        raise step.refuse("its padding is uneven, and ceil_mode is on")
    if is_rest:  # the windows that begin in the picture, then, as Caffe has them
        return _end_pool(step, step.blob(), form._replace(after=ZERO), rounds_up=True)
    # with even padding at every pixel, and of these answers every so many
    pad = tuple(map(max, zip(form.before, form.after)))
    param = _pooling_param("MAX", form._replace(before=pad, stride=ONE))
    each = step.helper("each", "Pooling", step.blob(), pooling_param=param)
    before = [first - p for first, p in zip(form.before, pad)]
    after = [last - p for last, p in zip(form.after, pad)]
    shift(step, "", each, step.shape()[1], before, after, form.stride)


def average_pool(step: Step) -> None:
    form = _pooling_window(step)
    rounds_up = bool(step.get("ceil_mode", 0))
    counts_padding = step.get("count_include_pad", 0) or form.before == form.after == ZERO
    if form.is_even and counts_padding:
        return _end_pool(step, step.blob(), form, rounds_up, "AVE")
    if not form.is_even and rounds_up:
        raise step.refuse("its padding is uneven, and ceil_mode is on")

    def pool(suffix: str, x: str, channels: int) -> str:
        even = form
        if not form.is_even:
            x = shift(step, f"{suffix}_pad", x, channels, form.before, form.after)
            even = form._replace(before=ZERO, after=ZERO)
        param = _pooling_param("AVE", even, rounds_up)
        return step.helper(suffix, "Pooling", x, pooling_param=param)

    if not counts_padding:
        return end_by_share(step, pool)
    x = shift(step, "pad", step.blob(), step.shape()[1], form.before, form.after)
    _end_pool(step, x, form._replace(before=ZERO, after=ZERO), False, "AVE")


def _pooling_window(step: Step) -> Window:
    form = window(step, step.get("kernel_shape"))
    if form.dilation != ONE:
        raise step.refuse("it is dilated")
    if any(p >= k for p, k in zip((*form.before, *form.after), form.kernel * 2)):
        raise step.refuse("it is padded by more than its window")
    can_miss = any(s > k for s, k in zip(form.stride, form.kernel))
    if step.get("ceil_mode", 0) and can_miss:
        raise step.refuse("its stride is larger than its window, and ceil_mode is on")
    if len(step.node.outputs) > 1 and step.node.outputs[1]:
        raise step.refuse("it says where the maxima are, too")
    return form


def _pooling_param(kind: str, form: Window, rounds_up: bool = False) -> Params:
    param: Params = {"pool": kind, "ceil_mode": rounds_up}
    for name, value in sides(form.kernel, form.before, form.stride).items():
        param[name] = value[0] if isinstance(value, list) else value
    return param


def _end_pool(step: Step, x: str, form: Window, rounds_up: bool = False, kind: str = "MAX") -> None:
    step.end("Pooling", x, pooling_param=_pooling_param(kind, form, rounds_up))


def end_by_share(step: Step, chain: Chain) -> None:
    """What `chain` makes of the input, over what it makes of ones.

    So that what lies outside the picture does not count, at every size.
    """
    x, channels = step.blob(), step.shape()[1]
    y = chain("all", x, channels)
    weights = np.zeros((1, channels, 1, 1)), np.ones(1)
    param = {"num_output": 1, "kernel_size": [1]}
    ones = step.helper("ones", "Convolution", x, weights=weights, convolution_param=param)
    share = chain("share", ones, 1)
    share = step.helper("inverse", "Power", share, power_param={"power": -1})
    form = {"shape": {}, "axis": 0, "num_axes": 2}  # (1, 1, h, w) -> (h, w)
    share = step.helper("map", "Reshape", share, reshape_param=form)
    step.end("Scale", y, share, scale_param={"axis": 2})


def global_pool(step: Step) -> None:
    step.picture()
    kind = "MAX" if step.node.op == "GlobalMaxPool" else "AVE"
    param = {"pool": kind, "global_pooling": True}
    step.end("Pooling", step.blob(), pooling_param=param)


def pad(step: Step) -> None:
    """Zeros, or another number, around a picture."""
    pads = step.weight(1, "padding").tolist()
    axes = step.constant(3)
    count = len(step.shape())
    axes = list(range(count)) if axes is None else [axis % count for axis in axes.tolist()]
    both = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :])))
    both = {axis: ends for axis, ends in both.items() if any(ends)}
    if not both:
        return step.same()
    if step.get("mode", "constant") != "constant":
        cure = "Caffe's Pad has no backward pass, so only padding with a number works"
        raise step.refuse(cure)
    if not set(both) <= {2, 3} or count != 4:
        raise step.refuse("it pads other axes than height and width")
    before, after = zip(*(both.get(axis, ZERO) for axis in (2, 3)))
    given = step.constant(2)
    number = 0.0 if given is None or not given.size else float(given.reshape(-1)[0])
    x, channels = step.blob(), step.shape()[1]
    if not number:
        shift(step, "", x, channels, before, after)
        return
    if not abs(number) < 1e4:
        raise step.refuse(f"it pads with {number}")
    x = step.helper("below", "Power", x, power_param={"shift": -number})
    x = shift(step, "pad", x, channels, before, after)
    step.end("Power", x, power_param={"shift": number})


OPERATIONS = {
    "AveragePool": average_pool,
    "Conv": convolution,
    "ConvTranspose": deconvolution,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "MaxPool": max_pool,
    "Pad": pad,
}
