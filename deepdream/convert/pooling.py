"""Poolings: each a function of the table in layers.py."""

from collections.abc import Callable

import numpy as np

from .building import Params, Step
from .padding import ONE, ZERO, Window, shift, sides, window

Chain = Callable[[str, str, int], str]  # (suffix, blob, channels) -> blob


def _max_pool(step: Step) -> None:
    form = _window(step)
    x = step.blob()
    if _is_global(step, form):
        return _global_pool(step)
    if form.is_even:
        return _end(step, "MAX", x, form)
    steps = tuple(stride - 1 for stride in form.stride)
    if form.before == ZERO and form.after == steps:
        # Caffe's ceil_mode lets the last window reach out of the picture
        return _end(step, "MAX", x, form.padded(ZERO), rounds_up=True)
    # evenly padded and at every pixel; of these maxima, every so many
    pad = form.widest
    param = _param("MAX", form.padded(pad)._replace(stride=ONE))
    each = step.helper("each", "Pooling", x, pooling_param=param)
    before = [first - p for first, p in zip(form.before, pad)]
    after = [last - p for last, p in zip(form.after, pad)]
    channels = step.shape()[1]
    shift(step, "", each, channels, before, after, form.stride)


def _average_pool(step: Step) -> None:
    form = _window(step)
    if _is_global(step, form):
        return _global_pool(step)
    x, channels = step.blob(), step.shape()[1]
    counts = step.get("count_include_pad", 0)
    if counts or form.widest == ZERO:
        x, form = _evened(step, "pad", x, channels, form)
        return _end(step, "AVE", x, form)
    rounds_up = bool(step.get("ceil_mode", 0))

    def pool(suffix: str, x: str, channels: int) -> str:
        x, even = _evened(step, f"{suffix}_pad", x, channels, form)
        param = _param("AVE", even, rounds_up)
        return step.helper(suffix, "Pooling", x, pooling_param=param)

    end_by_share(step, pool)


def _evened(
    step: Step, suffix: str, x: str, channels: int, form: Window
) -> tuple[str, Window]:  # fmt: skip
    """Blob x with zeros around it, where its padding is uneven."""
    if form.is_even:
        return x, form
    x = shift(step, suffix, x, channels, form.before, form.after)
    return x, form.padded(ZERO)


def _window(step: Step) -> Window:
    form = window(step, step.get("kernel_shape"))
    if form.dilation != ONE:
        raise step.refuse("it is dilated")
    if any(p >= k for p, k in zip(form.widest, form.kernel)):
        raise step.refuse("it is padded by more than its window")
    if len(step.node.outputs) > 1 and step.node.outputs[1]:
        raise step.refuse("it says where the maxima are, too")
    if step.get("ceil_mode", 0):
        if not form.is_even:
            raise step.refuse("its padding is uneven, and ceil_mode is on")
        if any(s > k for s, k in zip(form.stride, form.kernel)):
            raise step.refuse("it has gaps between windows, and ceil_mode is on")
    return form


def _end(
    step: Step, kind: str, x: str, form: Window, rounds_up: bool = False
) -> None:  # fmt: skip
    rounds_up = rounds_up or bool(step.get("ceil_mode", 0))
    step.end("Pooling", x, pooling_param=_param(kind, form, rounds_up))


def _param(kind: str, form: Window, rounds_up: bool = False) -> Params:
    """What a pooling says; Caffe rounds up unless it is told not to."""
    param: Params = {"pool": kind, "ceil_mode": rounds_up}
    for name, value in sides(form.kernel, form.before, form.stride).items():
        param[name] = value[0] if isinstance(value, list) else value
    return param


def end_by_share(step: Step, chain: Chain) -> None:
    """What `chain` makes of the input, over what it makes of ones.

    So what lies outside the picture does not count, whatever its size.
    """
    x, channels = step.blob(), step.shape()[1]
    y = chain("all", x, channels)
    zeros = np.zeros((1, channels, 1, 1))
    param = {"num_output": 1, "kernel_size": [1]}
    ones = step.helper(
        "ones", "Convolution", x,
        weights=(zeros, np.ones(1)), convolution_param=param,
    )  # fmt: skip
    share = chain("share", ones, 1)
    share = step.helper("inverse", "Power", share, power_param={"power": -1})
    form = {"shape": {}, "axis": 0, "num_axes": 2}  # (1, 1, h, w) -> (h, w)
    share = step.helper("map", "Reshape", share, reshape_param=form)
    step.end("Scale", y, share, scale_param={"axis": 2})


def _is_global(step: Step, form: Window) -> bool:
    """Whether one window covers the whole picture, as exporters write it."""
    is_whole = form.kernel == step.picture()[2:]
    return is_whole and form.widest == ZERO and form.kernel != ONE


def _global_pool(step: Step) -> None:
    step.picture()
    kind = "MAX" if "Max" in step.node.op else "AVE"
    param = {"pool": kind, "global_pooling": True}
    step.end("Pooling", step.blob(), pooling_param=param)


OPERATIONS = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MaxPool": _max_pool,
}
