"""Nodes that say one thing together become one node."""

from collections import Counter

import numpy as np

from .graph import Graph, Node


def simplify(graph: Graph) -> Graph:
    """The same network, with fewer nodes."""
    reads = Counter(name for node in graph.nodes for name in node.inputs)
    reads.update(graph.outputs)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    constants = dict(graph.constants)
    nodes: list[Node] = []
    gone: set[int] = set()  # ids of nodes
    for node in graph.nodes:
        before = makers.get(node.inputs[0]) if node.inputs else None
        is_only = before is not None and reads[node.inputs[0]] == 1
        new = None
        if is_only and node.op == "Conv" and before.op == "Pad":
            new = _padded(node, before, graph)
        if is_only and node.op == "Reshape" and before.op == "InstanceNormalization":
            first = makers.get(before.inputs[0])
            if first and reads[before.inputs[0]] == 1 and first.op == "Reshape":
                new = _grouped(node, before, first, graph, constants)
                if new:
                    gone.add(id(first))
        if new:
            gone.add(id(before))
        nodes.append(new or node)
    kept = [node for node in nodes if id(node) not in gone]
    return graph._replace(nodes=kept, constants=constants)


def _padded(conv: Node, pad: Node, graph: Graph) -> Node | None:
    """A Conv that pads by itself with what a Pad before it pads: zeros."""
    amounts = graph.constants.get(pad.inputs[1])
    value = graph.constants.get(pad.inputs[2]) if len(pad.inputs) > 2 else None
    is_zero = value is None or not np.any(value)
    is_constant = pad.attributes.get("mode", "constant") == "constant"
    is_plain = conv.attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if amounts is None or (len(pad.inputs) > 3 and pad.inputs[3]):
        return None
    amounts = amounts.tolist()
    if not (is_zero and is_constant and is_plain and len(amounts) == 8):
        return None
    if min(amounts) < 0 or any(amounts[i] for i in (0, 1, 4, 5)):
        return None
    own = conv.attributes.get("pads", [0] * 4)
    both = [a + b for a, b in zip(own, (*amounts[2:4], *amounts[6:8]))]  # pyright: ignore
    attributes = conv.attributes | {"pads": both, "auto_pad": "NOTSET"}
    inputs = [pad.inputs[0], *conv.inputs[1:]]
    return conv._replace(inputs=inputs, attributes=attributes)


def _grouped(
    last: Node, norm: Node, first: Node, graph: Graph, constants: dict[str, np.ndarray]
) -> Node | None:
    """GroupNorm, which exporters write as an InstanceNorm between two Reshapes."""
    before, inside = graph.shapes[first.inputs[0]], graph.shapes[first.outputs[0]]
    if graph.shapes[last.outputs[0]] != before or len(inside) != 3:
        return None
    channels, groups = before[1], inside[1]
    if channels % groups or any(name not in constants for name in norm.inputs[1:]):
        return None
    inputs = [first.inputs[0]]
    for name in norm.inputs[1:]:
        wide = f"{norm.name}/{name}"
        constants[wide] = np.repeat(constants[name], channels // groups)
        inputs.append(wide)
    attributes = {"num_groups": groups, "epsilon": norm.attributes.get("epsilon", 1e-5)}
    return Node("GroupNormalization", norm.name, inputs, last.outputs, attributes)
