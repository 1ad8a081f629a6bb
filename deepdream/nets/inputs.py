"""What a network wants of a picture besides its mean: a scale, another order
of its colours, or grey.

`data` is always (1, 3, h, w), BGR minus the mean. Where that is not what the
network reads, one layer is put between, for both engines alike.
"""

from collections.abc import Iterable, MutableSequence

import numpy as np

from ..errors import DreamError
from .caffemodel import Weights
from .shapes import INPUT, Layer
from .zoo import Model, read_own_layers

GREY = [0.114, 0.587, 0.299]  # how light blue, green and red are


def layers(model: Model) -> list[Layer]:
    """The network's layers as they run. Raises DreamError as `zoo.own_layers`."""
    found = read_own_layers(model)
    insert(found, model)
    return found


def add(model: Model, own: list[Layer], weights: Weights) -> tuple[list[Layer], Weights]:
    """A prototxt's layers and their weights as they run."""
    matrix = insert(own, model)
    if matrix is None:
        return own, weights
    return own, {INPUT: [matrix]} | weights


def insert(layers: MutableSequence[Layer], model: Model) -> np.ndarray | None:
    """Put the layer `data/input` behind `data`, in place, where it is needed.

    Returns its weights, (outputs, 3, 1, 1), or None. Raises DreamError where
    there is one already.
    """
    shape = layers[0].input_param.shape[0]
    matrix = _weigh(model, grey=len(shape.dim) > 1 and shape.dim[1] == 1)
    if matrix is None:
        return None
    if any(layer.name == INPUT for layer in layers):
        advice = "leave scale and order out of its model.toml"
        raise DreamError(f"{model.name} has a layer {INPUT!r} already; {advice}")
    shape.dim[1] = 3
    for layer in layers[1:]:
        for blobs in (layer.bottom, layer.top):
            blobs[:] = [INPUT if blob == "data" else blob for blob in blobs]
    between = type(layers[0])(name=INPUT, type="Convolution", bottom=["data"], top=[INPUT])
    p = between.convolution_param
    p.num_output, p.bias_term = len(matrix), False
    p.kernel_size.append(1)
    layers.insert(1, between)
    return matrix


def describe(model: Model) -> str:
    """Mean, scale and order in words, each with the file that says it."""
    scale = model.scale or [1]
    if len(set(scale)) == 1:
        scale = scale[:1]
    mean = f"{_list(model.mean)} of blue, green, red"
    said = {"mean": mean, "scale": _list(scale), "order": model.order}
    usual = "as usual; no file says it"
    parts = (f"{key} {text} ({model.origins.get(key, usual)})" for key, text in said.items())
    return "; ".join(parts)


def _list(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _weigh(model: Model, grey: bool) -> np.ndarray | None:
    """What the network reads of blue, green and red: (outputs, 3, 1, 1), or None."""
    matrix = np.eye(3)
    if grey:
        matrix = np.array([GREY])
    elif model.order == "rgb":
        matrix = matrix[::-1]
    matrix = matrix * (model.scale or 1)
    if np.array_equal(matrix, np.eye(3)):
        return None
    return matrix.astype(np.float32)[..., None, None]
