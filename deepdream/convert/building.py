"""A conversion on its way: the layers so far, and which blob has which value."""

from collections import Counter
from typing import Any

import numpy as np

from ..errors import DreamError
from ..nets.caffemodel import Weights
from ..nets.caffemodel_pb2 import LayerParameter  # pyright: ignore[reportAttributeAccessIssue]
from ..nets.shapes import Layer, Shape
from .graph import Graph, Node

# Layers whose backward pass does not read what they wrote, and whose blob is
# their own memory: another layer may change it in place.
KEEPS_NOTHING = {
    "Convolution", "Deconvolution", "InnerProduct",
    "Pooling", "Eltwise", "Scale", "Bias", "Concat",
}  # fmt: skip
FOLDS = {"Convolution": 1, "InnerProduct": -1}  # {type: axis of its outputs}
Params = dict[str, Any]  # what a layer's parameters say, by their names in Caffe


class Builder:
    """Caffe's layers and weights for the nodes of a graph so far.

    values: {layer: value of the graph} that its first top holds right after
    the layer has run, as forward(end=layer) leaves it. A later activation
    in place changes the blob: the value of that one stands under its name.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[Layer] = []
        self.weights: Weights = {}
        self.values: dict[str, str] = {}
        self.blobs: dict[str, str] = {graph.input: "data"}  # {value: its blob}
        self.makers: dict[str, Layer] = {}  # {blob: the last layer that wrote it}
        self.aliases: set[str] = set()  # blobs with more values than one
        self.reads = Counter(name for node in graph.nodes for name in node.inputs)
        self.reads.update(graph.outputs)
        shape = {"dim": graph.shapes[graph.input]}
        self.add("Input", "data", [], ["data"], input_param={"shape": [shape]})

    def add(
        self, kind: str, name: str, bottoms: list[str], tops: list[str], **params: Params
    ) -> None:
        """Append a layer. Parameters that are {} are left out."""
        given = {key: value for key, value in params.items() if value}
        layer = LayerParameter(name=name, type=kind, bottom=bottoms, top=tops, **given)
        self.layers.append(layer)
        self.makers.update(dict.fromkeys(tops, layer))


class Step:
    """One node on its way into layers.

    The last layer of a node carries the node's name; helpers before it have
    a suffix, such as 'layer3.2.se/flat'.
    """

    def __init__(self, builder: Builder, node: Node) -> None:
        self.builder = builder
        self.node = node
        self.name = node.name

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.node.attributes.get(attribute, default)

    def constant(self, i: int) -> np.ndarray | None:
        """Input number i where it is constant, else None."""
        inputs = self.node.inputs
        name = inputs[i] if i < len(inputs) else ""
        return self.builder.graph.constants.get(name)

    def weight(self, i: int, what: str) -> np.ndarray:
        """Input number i, which must be constant."""
        array = self.constant(i)
        if array is None:
            raise self.refuse(f"its {what} must be constant")
        return array

    def optional(self, i: int, what: str) -> np.ndarray | None:
        """Input number i, which must be constant if it is given, else None."""
        given = self.node.inputs[i : i + 1]
        return self.weight(i, what) if any(given) else None

    def blob(self, i: int = 0) -> str:
        """The blob of input number i, which must not be constant."""
        name = self.node.inputs[i]
        if name not in self.builder.blobs:
            raise self.refuse("it needs what depends on the picture, not a constant")
        return self.builder.blobs[name]

    def shape(self, i: int = 0) -> Shape:
        """The shape of input number i."""
        return self.builder.graph.shapes[self.node.inputs[i]]

    @property
    def result(self) -> Shape:
        """The shape of the first output."""
        return self.builder.graph.shapes[self.node.outputs[0]]

    def picture(self, i: int = 0) -> Shape:
        """The shape of input number i, which must be (n, channels, h, w)."""
        shape = self.shape(i)
        if len(shape) != 4:
            raise self.refuse(f"it needs (n, channels, height, width), not {shape}")
        return shape

    def helper(
        self, suffix: str, kind: str, *bottoms: str,
        weights: tuple[np.ndarray, ...] = (), **params: Params,
    ) -> str:  # fmt: skip
        """Append a layer before the node's own; its blob."""
        name = f"{self.name}/{suffix}"
        self._add(kind, name, bottoms, [name], weights, params)
        return name

    def end(
        self, kind: str, *bottoms: str,
        weights: tuple[np.ndarray, ...] = (), **params: Params,
    ) -> None:  # fmt: skip
        """Append the layer that carries the node's name and makes its output."""
        self._add(kind, self.name, bottoms, [self.name], weights, params)
        self._settle([self.name])

    def leave_unchecked(self) -> None:
        """What ended jumps: rounding may decide which side, so nobody compares it."""
        self.builder.values.pop(self.name, None)

    def in_place(self, kind: str, **params: Params) -> None:
        """`end`, but in the blob it reads, where nothing else needs that."""
        blob = self.blob()
        top = blob if self._is_free(blob) else self.name
        self._add(kind, self.name, (blob,), [top], (), params)
        self._settle([top])

    def split(self, bottom: str, tops: list[str], **params: Params) -> None:
        """Append a Slice of this name whose tops are all the node's outputs."""
        self._add("Slice", self.name, (bottom,), tops, (), params)
        self._settle(tops)

    def cut_out(self, bottom: str, tops: list[str], **params: Params) -> None:
        """Append a Slice of this name; the top of that name is the output."""
        self._add("Slice", self.name, (bottom,), tops, (), params)
        self._settle([self.name])

    def same(self, blob: str | None = None) -> None:
        """The output is this blob, or the first input's: no layer."""
        blob = blob or self.blob()
        self.builder.aliases.add(blob)
        self.builder.blobs[self.node.outputs[0]] = blob

    def fold(self, factor: np.ndarray, summand: np.ndarray, axis: int = 1) -> bool:
        """Multiply and add into the weights of the layer before, if that can be.

        factor, summand: a number for each place along an axis.
        """
        blob = self.blob()
        layer = self.builder.makers[blob]
        kind = layer.type
        is_own = layer.name == blob and kind in FOLDS
        if not is_own or not self._is_free(blob):
            return False
        if axis != FOLDS[kind] % len(self.shape()):
            return False
        filters, *bias = self.builder.weights[blob]
        old = bias[0] if bias else np.zeros(len(factor), np.float32)
        wide = factor.reshape(-1, *[1] * (filters.ndim - 1))
        new = filters * wide, old * factor + summand
        self.builder.weights[blob] = [array.astype(np.float32) for array in new]
        params = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}
        getattr(layer, params[kind]).ClearField("bias_term")  # it has one now
        value = self.node.outputs[0]
        self.builder.values[blob] = value
        self.builder.blobs[value] = blob
        return True

    def refuse(self, why: str) -> DreamError:
        """The error for what cannot become Caffe."""
        node = self.node
        where = f"{node.name!r} ({node.op}) cannot become a layer of Caffe: {why}"
        before = self._before()
        whole = "dream the whole on PyTorch with load_net(module)"
        if not before:
            return DreamError(f"{where}; {whole}")
        cut = f"end the network before it with `--until {before}`"
        return DreamError(f"{where}; {cut}, or {whole}")

    def _before(self) -> str:
        """The name of the node that makes what this one reads, or ''."""
        for value in self.node.inputs:
            for node in self.builder.graph.nodes:
                if value in node.outputs:
                    return node.name
        return ""

    def _is_free(self, blob: str) -> bool:
        """Whether the blob of the first input may change: nobody else reads it."""
        alone = self.builder.reads[self.node.inputs[0]] == 1
        kind = self.builder.makers[blob].type
        return alone and kind in KEEPS_NOTHING and blob not in self.builder.aliases

    def _add(
        self, kind: str, name: str, bottoms: tuple[str, ...], tops: list[str],
        weights: tuple[np.ndarray, ...], params: Params,
    ) -> None:  # fmt: skip
        self.builder.add(kind, name, list(bottoms), tops, **params)
        if weights:
            arrays = [np.require(each, np.float32, "C") for each in weights]
            self.builder.weights[name] = arrays

    def _settle(self, tops: list[str]) -> None:
        """The node's outputs are in these blobs of the last layer."""
        outputs = self.node.outputs
        self.builder.blobs.update(zip(outputs, tops))
        layer = self.builder.layers[-1]
        if layer.top[0] == tops[0]:
            self.builder.values[layer.name] = outputs[0]
