"""Nodes that say one thing together become one node."""

from collections import Counter

import numpy as np

from .graph import Graph, Node

NOBODY = Node("", "", [], [], {})


def simplify(graph: Graph) -> Graph:
    """The same network, with fewer nodes."""
    reads = Counter(name for node in graph.nodes for name in node.inputs)
    reads.update(graph.outputs)
    # {value: its maker}, where only one node reads it
    alone = {name: node for node in graph.nodes for name in node.outputs if reads[name] == 1}
    graph = graph._replace(constants=dict(graph.constants))
    kept: dict[int, Node] = {}
    for node in graph.nodes:
        parts = [node]
        while len(parts) < 3 and parts[0].inputs:
            parts.insert(0, alone.get(parts[0].inputs[0], NOBODY))
        kept[id(node)] = node
        match [part.op for part in parts]:
            case [*_, "Pad", "Conv"]:
                new, old = _pad(graph, *parts[-2:]), parts[-2:-1]
            case ["Reshape", "InstanceNormalization", "Reshape"]:
                new, old = _group(graph, *parts), parts[:-1]
            case _:
                continue
        if new:
            kept[id(node)] = new
            for part in old:
                kept.pop(id(part), None)
    return graph._replace(nodes=list(kept.values()))


def _pad(graph: Graph, pad: Node, conv: Node) -> Node | None:
    """A Conv that pads by itself with the zeros of a Pad before it."""
    amounts, value, axes = (graph.constants.get(name) for name in (*pad.inputs[1:], "", "", "")[:3])
    is_zero = value is None or not np.any(value)
    is_constant = pad.attributes.get("mode", "constant") == "constant"
    is_plain = conv.attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    if amounts is None or amounts.size != 8 or axes is not None:
        return None
    if not (is_zero and is_constant and is_plain):
        return None
    ends = amounts.reshape(2, 4)
    if ends.min() < 0 or ends[:, :2].any():
        return None
    own = np.array(conv.attributes.get("pads", [0] * 4))
    both = own + ends[:, 2:].reshape(-1)
    attributes = conv.attributes | {"pads": both.tolist(), "auto_pad": "NOTSET"}
    inputs = [pad.inputs[0], *conv.inputs[1:]]
    return conv._replace(inputs=inputs, attributes=attributes)


def _group(graph: Graph, first: Node, norm: Node, last: Node) -> Node | None:
    """GroupNorm, which exporters write as an InstanceNorm between two Reshapes."""
    before, inside = graph.shapes[first.inputs[0]], graph.shapes[first.outputs[0]]
    is_back = graph.shapes[last.outputs[0]] == before
    is_constant = all(name in graph.constants for name in norm.inputs[1:])
    if not (is_back and is_constant and len(inside) == 3):
        return None
    channels, groups = before[1], inside[1]
    if channels % groups:
        return None
    inputs = [first.inputs[0]]
    for name in norm.inputs[1:]:
        wide = f"{norm.name}/{name}"
        numbers = graph.constants[name]
        graph.constants[wide] = np.repeat(numbers, channels // groups)
        inputs.append(wide)
    attributes = {"num_groups": groups, "epsilon": norm.attributes.get("epsilon", 1e-5)}
    return Node("GroupNormalization", norm.name, inputs, last.outputs, attributes)
