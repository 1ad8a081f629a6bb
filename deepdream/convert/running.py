"""Run a network of ONNX, to learn what its values are."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DreamError, one_line, reason

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def runner_name() -> str:
    """The package that a Runner runs networks with."""
    return "onnxruntime" if find_spec("onnxruntime") else "onnx"


class Runner:
    """A network, and the values of it that are asked for.

    By onnxruntime if it is installed, else, much slower, by the evaluator
    of the package onnx.
    """

    def __init__(self, model: "ModelProto", input: str, values: Iterable[str]) -> None:
        from onnx import ModelProto

        self.input, self.values = input, list(dict.fromkeys(values))
        shown = ModelProto()
        shown.CopyFrom(model)
        _cut(shown.graph, self.values)
        load = _load_runtime if runner_name() == "onnxruntime" else _load_onnx
        self._run = load(shown)

    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """{value: what it is} for a picture (1, c, h, w), or a DreamError."""
        try:
            arrays = self._run(self.values, {self.input: picture})
        except Exception as error:  # either raises nearly anything
            size = "x".join(map(str, picture.shape[:1:-1]))
            fault = f"the source itself does not run on a picture of {size}"
            raise DreamError(f"{fault}: {one_line(reason(error))}") from None
        return dict(zip(self.values, map(np.asarray, arrays)))


def keep_needed(nodes: Iterable["NodeProto"], values: Iterable[str]) -> list["NodeProto"]:
    """Those of the nodes, in running order, that these values need."""
    needed = set(values)
    kept = []
    for node in reversed(list(nodes)):
        if not needed.isdisjoint(node.output):
            needed |= {*node.input, *free_names(node)} - {""}
            kept.append(node)
    return kept[::-1]


def free_names(node: "NodeProto") -> set[str]:
    """The outer values that the graphs inside a node read."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= {*inner.input, *free_names(inner)}
    return names


def _cut(graph: "GraphProto", values: list[str]) -> None:
    """Leave, in place, what these values need, and make them the outputs."""
    nodes = keep_needed(graph.node, values)
    read = {name for node in nodes for name in (*node.input, *free_names(node))}
    for owner in (graph.input, graph.initializer):
        kept = [each for each in owner if each.name in read]
        del owner[:]
        owner.extend(kept)
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    for name in values:
        graph.output.add(name=name)


def _load_runtime(model: "ModelProto"):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run
    except Exception as error:  # of onnxruntime's own kinds
        raise DreamError(f"onnxruntime cannot load the source: {reason(error)}") from None


def _load_onnx(model: "ModelProto"):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run
