"""What of a network learns: layers above some that stay, and a new head."""

import json
from copy import deepcopy

import numpy as np
from google.protobuf import text_format

from ..errors import DreamError, unknown
from ..nets import shapes
from ..nets.caffemodel_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue], made when it is imported
from ..nets.shapes import Layer
from ..nets.zoo import Model

HEAD = "classes"  # the classifier; below it are classes/pool and classes/norm
LENGTH = 10.0  # of the features that the classifier sees
HEAD_RATE = 0.5  # the classifier's learning rate, as a share of the others'
Rates = dict[str, float]  # {layer with weights: its learning rate}; 0 if it stays


def check_layer(model: Model, layers: list[Layer], end: str | None) -> str:
    """The layer to train. Raises DreamError if it cannot be trained."""
    if end is None:
        fault = f"{model.name} has no default layer"
        raise DreamError(f"{fault}; {{setting}} names the one to train", "end")
    size = shapes.own_size(layers)
    can = shapes.climbable(layers)
    can = [name for name in can if len(shapes.top_shape(layers, name, *size)) == 4]
    can = [name for name in can if not name.startswith(f"{HEAD}/")]  # trained before
    if end in can:
        return end
    if end in [layer.name for layer in layers]:
        needs = "its output must be its own, with a height and a width"
        raise DreamError(f"layer {end!r} cannot be trained: {needs}; try {can[-1]!r}")
    advice = f"`deepdream layers --model {model.name}` lists all of them"
    raise unknown("layer to train", end, can, advice)


def as_net(layers: list[Layer], name: str = "") -> NetParameter:
    """The layers as Caffe has them in a file."""
    net = NetParameter(name=name)
    net.layer.extend(layers)
    return net


def up_to(layers: list[Layer], end: str) -> list[Layer]:
    """The layers up to this one."""
    return layers[: [layer.name for layer in layers].index(end) + 1]


def add_head(layers: list[Layer], end: str, classes: int) -> list[Layer]:
    """The layers that make `end`, and a new head, all of types that every
    Caffe has. An LRN over all channels makes features equally long: x /
    sqrt(sum of squares) * LENGTH.
    """
    cut: list[Layer] = []
    needed = {end}  # blobs
    for layer in reversed(up_to(layers, end)):
        if needed.intersection(layer.top):
            cut.insert(0, layer)
            needed |= set(layer.bottom)
    channels = shapes.top_shape(layers, end, *shapes.own_size(layers))[1]
    window = 2 * channels - 1  # all channels, seen from each of them
    head = f"""
    layer {{ name: "{HEAD}/pool" type: "Pooling" top: "{HEAD}/pool"
             bottom: {json.dumps(end)} pooling_param {{ pool: AVE global_pooling: true }} }}
    layer {{ name: "{HEAD}/norm" type: "LRN" top: "{HEAD}/norm" bottom: "{HEAD}/pool"
             lrn_param {{ local_size: {window} alpha: {window / LENGTH**2!r}
                          beta: 0.5 k: 1e-6 }} }}
    layer {{ name: "{HEAD}" type: "InnerProduct" top: "{HEAD}" bottom: "{HEAD}/norm"
             inner_product_param {{ num_output: {classes} }} }}
    layer {{ name: "prob" type: "Softmax" top: "prob" bottom: "{HEAD}" }}
    """
    return [*cut, *text_format.Parse(head, NetParameter()).layer]


def remove_norm(layers: list[Layer]) -> list[Layer]:
    """The layers without the head's LRN."""
    layers = [deepcopy(layer) for layer in layers if layer.name != f"{HEAD}/norm"]
    layers[-2].bottom[:] = [f"{HEAD}/pool"]
    return layers


def random_head(layers: list[Layer], seed: int) -> list[np.ndarray]:
    """The classifier's matrix (classes, channels) and bias to begin with."""
    matrix, bias = shapes.param_shapes(layers)[HEAD]
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.01, matrix).astype(np.float32), np.zeros(bias, np.float32)]


def scale_head(head: list[np.ndarray], length: float) -> list[np.ndarray]:
    """The classifier as it is written. length: of the features, on average.

    Training divides features by their own length. The network that is
    written does not, or a class drawn from noise would stay small: more of
    it at one place would be less elsewhere. So its matrix is divided, by
    the mean length.
    """
    matrix, bias = head
    return [matrix * np.float32(LENGTH / (length or LENGTH)), bias]


def choose_rates(model: Model, layers: list[Layer], freeze: str | None) -> Rates:
    """The rate of each layer, as a share of the highest; DreamError if nothing learns.

    freeze: the last layer that stays, 'none', or None to choose.
    """
    names = [layer.name for layer in layers]
    below = names[: names.index(f"{HEAD}/pool")]
    rates = dict.fromkeys(shapes.param_shapes(layers), 0.0)
    learn = [name for name in rates if name != shapes.INPUT]
    if freeze is None:
        poolings = [it.name for it in up_to(layers, below[-1]) if it.type == "Pooling"]
        choices = [*poolings[1:2], *learn[:1], "none"]
    elif freeze in ("none", *below):
        choices = [freeze]
    else:
        advice = f"`none`, or a layer of {model.name} below the one to train"
        raise unknown("layer to freeze", freeze, below, advice)
    for frozen in choices:
        first = 0 if frozen == "none" else names.index(frozen) + 1
        for layer in layers[first:]:
            if layer.name in learn and layer.type != "BatchNorm":
                rates[layer.name] = HEAD_RATE if layer.name == HEAD else 1.0
        if 1.0 in rates.values():
            return rates
    stuck = f"no layer up to {below[-1]} is left to learn"
    cure = "choose an earlier layer for {setting}, or a later one for --layer"
    raise DreamError(f"{stuck}; {cure}", "freeze")
