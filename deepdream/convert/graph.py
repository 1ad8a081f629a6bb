"""An ONNX network as plain nodes: constants folded, sizes fixed, all shapes known."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DreamError, unknown
from .folding import Draft, settle
from .naming import name_nodes
from .plain import Size
from .sources import open_source

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# What ends a network that detects or chooses; no gradient comes through it
HEADS = (
    "ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero", "Unique", "Compress",
)  # fmt: skip
CONTROL = "If", "Loop", "Scan", "SequenceMap"
CUT = "`--until NAME` (in Python, until=NAME) ends the network there"


class Node(NamedTuple):
    """One operation of ONNX.

    name: the source's own, readable, such as 'layer3.2.conv2'; no two are
    equal. inputs: names of values, '' for one that is left out. attributes:
    numbers, texts and lists of them; NumPy's arrays for tensors.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, object]


class Graph(NamedTuple):
    """A network.

    nodes: as they run; what is constant is folded, and Identity, Dropout
    and Constant are gone. constants: {value: array}. shapes: of every
    value, batch 1. input: the picture's value, (1, channels, h, w).
    """

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]
    input: str
    outputs: list[str]


def read(
    source: "str | Path | ModelProto", size: Size | None = None, until: str | None = None
) -> Graph:
    """A network from an .onnx file, or as the package onnx has it in memory.

    size: (h, w) of the picture; None: the network's own, or 224x224 where
    it has none. until: the name of a node or module; what comes after is
    cut off. Raises DreamError for what is no such network, or cannot
    become one of Caffe.
    """
    return trim(open_source(source, size).model, size, until)[0]


def trim(
    model: "ModelProto", size: Size | None = None, until: str | None = None
) -> tuple[Graph, "ModelProto"]:
    """As `read`, for what `open_source` has opened; and the same in ONNX, to run."""
    draft = Draft(model, size)
    settle(draft)
    names = dict(zip(map(_first, draft.nodes), name_nodes(draft.nodes)))
    if until:
        draft.outputs = _find_end(draft.nodes, names, until)
        draft.prune()
    _cut_heads(draft, names)
    _check_nodes(draft, names)
    draft.complete_shapes()
    nodes = [_to_node(node, names[_first(node)], draft) for node in draft.nodes]
    read_values = {value for node in nodes for value in node.inputs}
    constants = {name: draft.constants[name] for name in draft.constants if name in read_values}
    shapes = draft.shapes | {name: array.shape for name, array in constants.items()}
    return Graph(nodes, constants, shapes, draft.input, draft.outputs), model


def _first(node: "NodeProto") -> str:
    """The name of its first output, which no other node has."""
    return next(name for name in node.output if name)


def _find_end(nodes: list["NodeProto"], names: dict[str, str], until: str) -> list[str]:
    """The value at which a network ends: of a node, or of a module's last."""
    for node in nodes:
        if until in (names[_first(node)], node.name, *node.output):
            return [until if until in node.output else _first(node)]
    inside = [each for each in nodes if names[_first(each)].startswith(f"{until}.")]
    if not inside:
        advice = "it is the name of a node or a module of the source"
        raise unknown("node", until, names.values(), advice)
    return [_first(inside[-1])]


def _cut_heads(draft: Draft, names: dict[str, str]) -> None:
    """End the network where something chooses, such as ArgMax."""
    lost: set[str] = set()
    ends = []
    for node in draft.nodes:
        if node.op_type in HEADS:
            ends += [name for name in node.input if name in draft.computed]
            where = f"{names[_first(node)]!r} ({node.op_type})"
            warnings.warn(f"cut off at {where}, which has no gradient", stacklevel=4)
        elif lost.isdisjoint(node.input):
            continue
        lost |= set(node.output)
    if not lost:
        return
    kept = [name for name in draft.outputs if name not in lost]
    ends = [name for name in ends if name not in lost]
    draft.outputs = list(dict.fromkeys(kept + ends))
    draft.prune()


def _check_nodes(draft: Draft, names: dict[str, str]) -> None:
    """Raise a DreamError for operations that nobody could read."""
    from onnx.defs import has

    if not draft.nodes:
        raise DreamError("nothing in this network depends on the picture")
    known = {"", *draft.constants, *draft.computed}
    others = {name for node in draft.nodes for name in node.input if name not in known}
    if others:
        also = ", ".join(sorted(others))
        raise DreamError(f"a dream has one input, a picture; this network also needs {also}; {CUT}")
    for node in draft.nodes:
        where = f"{names[_first(node)]!r} ({node.op_type})"
        if node.op_type in CONTROL:
            fault = f"{where} chooses or repeats parts of the network as it runs"
            raise DreamError(f"{fault}, which Caffe cannot do; {CUT}")
        if node.domain not in ("", "ai.onnx") or not has(node.op_type):
            domain = f" of {node.domain}" if node.domain else ""
            fault = f"{where} is an operation{domain} that ONNX does not define"
            raise DreamError(f"{fault}; {CUT}")


def _to_node(node: "NodeProto", name: str, draft: Draft) -> Node:
    attributes = {each.name: _value(each) for each in node.attribute}
    inputs = list(node.input)
    if node.op_type.startswith("Reduce") and "axes" in attributes:
        # as since opset 18
        axes = f"{_first(node)}.axes"
        draft.constants[axes] = np.array(attributes.pop("axes"), np.int64)
        inputs.append(axes)
    return Node(node.op_type, name, inputs, list(node.output), attributes)


def _value(attribute: object) -> object:
    """An attribute in Python's own types."""
    from onnx import TensorProto, helper, numpy_helper

    value = helper.get_attribute_value(attribute)  # pyright: ignore[reportArgumentType]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (int, float)):
        return value
    return [each.decode() if isinstance(each, bytes) else each for each in value]
