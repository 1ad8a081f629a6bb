"""A network of ONNX as layers and weights of Caffe.

Each operation is a small function in a module of its family, listed in
OPERATIONS by its name in ONNX. It receives a Step: one node, and the layers
so far. What it appends must be right for pictures of every size, and must
let a gradient through: several of Caffe's own layer types have no backward
pass on a processor (HardSigmoid, HardSwish, Pad, PixelShuffle, Threshold,
Unsqueeze, Upsample), so others take their place. Only for padding with
mirror images is there nothing but Pad; `nets` computes its gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..nets.caffemodel import Weights
from ..nets.shapes import Layer
from . import activations, arithmetic, choosing, pooling, reducing, resizing, shaping, windows
from .building import Builder, Step
from .graph import Graph
from .patterns import simplify

OPERATIONS: dict[str, Callable[[Step], None]] = {
    **activations.OPERATIONS,
    **arithmetic.OPERATIONS,
    **choosing.OPERATIONS,
    **pooling.OPERATIONS,
    **reducing.OPERATIONS,
    **resizing.OPERATIONS,
    **shaping.OPERATIONS,
    **windows.OPERATIONS,
}


class Converted(NamedTuple):
    """A network of Caffe.

    layers: the first is the Input `data`. values: {layer: the value of the
    graph} that the layer's first top equals, shape for shape, right after
    forward(end=layer). An activation in place, later, changes that blob.
    """

    layers: list[Layer]
    weights: Weights
    values: dict[str, str]


def to_caffe(graph: Graph) -> Converted:
    """The layers and weights that do what the graph does.

    The weights keep the source's order of channels. Raises DreamError for
    what cannot become Caffe; it names the node, and where to cut.
    """
    known = {value for node in graph.nodes for value in node.outputs}
    graph = simplify(graph)
    builder = Builder(graph)
    for node in graph.nodes:
        step = Step(builder, node)
        if node.op not in OPERATIONS:
            raise step.refuse("no layers of it compute this")
        OPERATIONS[node.op](step)
    values = {
        layer: value for layer, value in builder.values.items()
        if value in known
    }  # fmt: skip
    return Converted(builder.layers, builder.weights, values)
