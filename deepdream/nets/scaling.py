"""A scale that nobody gave: whether a network's first layers answer a
photograph as they did in its training.
"""

import warnings
from typing import NamedTuple

import numpy as np

from ..pictures import fit_into, load_image
from .base import Net, preprocess
from .shapes import Layer

SAMPLE = "forest.jpg"
TOO_FAR = 10  # times as far from the mean as in training; without its scale, 58 or more
TOO_MANY = 0.5  # of the positive values, at the limit of a ReLU6; usual are 0.01 to 0.1
# What keeps a scale as it is
LINEAR = (
    *("Input", "Convolution", "Pooling", "Scale", "Bias"),
    *("ReLU", "PReLU", "Power", "Pad", "Split"),
)


class Probe(NamedTuple):
    """A layer that shows the scale, and the one to run to, so that it does."""

    layer: Layer
    end: str


def warn_unscaled(net: Net) -> None:
    """Warn if a network whose model says no scale seems to need one."""
    if net.model.scale is not None:
        return
    probe = _find_probe(net.layer_specs)
    if probe is None:
        return
    fault = _find_fault(net, probe)
    if fault:
        where = net.model.folders[0] / "model.toml"
        usual = "usual ones are 0.017, 0.0078 (1/128) and 0.0039 (1/255)"
        cure = f"write its scale into {where}, such as `scale = 0.017`; {usual}"
        none = "`scale = 1` says that it is right as it is"
        message = f"{net.model.name} seems to need a scale: {fault}; {cure}; {none}"
        warnings.warn(message, stacklevel=3)  # at the line that called `load_net`


def _find_probe(layers: list[Layer]) -> Probe | None:
    """The first BatchNorm or ReLU6, if all before it keeps a scale as it is."""
    before = ""
    for layer in layers:
        if layer.type == "BatchNorm":
            return Probe(layer, before)
        if layer.type == "ReLU6":
            return Probe(layer, layer.name)
        if layer.type not in LINEAR:
            return None
        before = layer.name
    return None


def _find_fault(net: Net, probe: Probe) -> str:
    """How a photograph's values differ from those in training; "" if they fit."""
    layer = probe.layer
    if layer.type == "ReLU6":
        values = _see(net, probe.end, layer.top[0])
        return _clipped(values, layer)
    statistics = _read_statistics(net, layer)
    if statistics is None:
        return ""
    mean, variance = statistics
    values = _see(net, probe.end, layer.bottom[0])
    squares = ((values - mean[:, None]) ** 2).mean(1) / variance
    times = float(np.median(squares)) ** 0.5
    if not times > TOO_FAR:
        return ""
    return f"values at layer {layer.name!r} are {times:.0f} times as large as in its training"


def _clipped(values: np.ndarray, layer: Layer) -> str:
    """As `_find_fault`, of what a ReLU6 makes."""
    positive = values[values > 0]
    if not positive.size:
        return ""
    share = float((positive >= layer.relu6_param.threshold * 0.9999).mean())
    if share < TOO_MANY:
        return ""
    return f"layer {layer.name!r} cuts off {share:.0%} of all positive values"


def _read_statistics(net: Net, layer: Layer) -> tuple[np.ndarray, np.ndarray] | None:
    """(means, variances) of each channel in training, or None where it had none."""
    blobs = [np.array(blob.data, float).ravel() for blob in net.params[layer.name]]
    mean, variance, factor = blobs
    if not factor[0] > 0 or min(variance) < 0:
        return None
    mean, variance = mean / factor[0], variance / factor[0]
    is_untrained = not mean.any() and np.ptp(variance) == 0
    return None if is_untrained else (mean, variance + layer.batch_norm_param.eps)


def _see(net: Net, end: str, blob: str) -> np.ndarray:
    """What a blob holds for a photograph after layer `end`: (channels, values)."""
    height, width = net.own_size
    image = fit_into(load_image(SAMPLE, side=min(height, width)), height, width)
    net.blobs["data"].data[0] = preprocess(net, image)
    net.forward(end=end)
    values = np.array(net.blobs[blob].data[0], float)
    net.blobs["data"].data[0] = 0
    return values.reshape(len(values), -1)
