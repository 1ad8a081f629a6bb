"""Nodes that say one thing together become one node."""

from collections import Counter

import numpy as np

from .graph import Graph, Node

FAR = 15  # where softplus(x) and x are the same number
LINEAR = "Conv", "ConvTranspose", "MaxPool", "AveragePool"
# What torch makes of LRN before it divides by it, from the last
RESPONSE = (
    ("Pow",), ("Add",), ("Mul",), ("Squeeze", "Reshape"),
    ("AveragePool",), ("Pad",), ("Unsqueeze", "Reshape"), ("Mul",),
)  # fmt: skip
NOBODY = Node("", "", [], [], {})


def simplify(graph: Graph) -> Graph:
    """The same network, with fewer nodes."""
    reads = Counter(name for node in graph.nodes for name in node.inputs)
    reads.update(graph.outputs)
    # {value: its maker}, where only one node reads it
    alone = {name: node for node in graph.nodes for name in node.outputs if reads[name] == 1}
    graph = graph._replace(constants=dict(graph.constants), shapes=dict(graph.shapes))
    kept: dict[int, Node] = {}
    for node in graph.nodes:
        parts = [node]
        while len(parts) < 3 and parts[0].inputs:
            parts.insert(0, alone.get(parts[0].inputs[0], NOBODY))
        kept[id(node)] = node
        match [part.op for part in parts]:
            case [*_, "Pad", "Conv"]:
                new, old = _pad(graph, *parts[-2:]), parts[-2:-1]
            case ["Transpose", "GatherND", "Transpose"]:
                new, old = _gather(graph, *parts), parts[:-1]
            case [*_, "Reshape", "Gather"]:
                new, old = _stride(graph, *parts[-2:]), parts[-2:-1]
            case [*_, "Where"]:
                new, old = _softplus(graph, node, alone)
            case [*_, "Div"]:
                new, old = _response(graph, node, alone)
            case [*_, "Gather", "Unsqueeze"]:
                new, old = _pick(graph, *parts[-2:]), parts[-2:-1]
            case ["Reshape", "InstanceNormalization", "Reshape"]:
                new, old = _group(graph, *parts), parts[:-1]
            case _:
                continue
        if new:
            kept[id(node)] = new
            for part in old:
                kept.pop(id(part), None)
    nodes = [each for node in kept.values() for each in _widen(graph, node)]
    return graph._replace(nodes=nodes)


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


def _pick(graph: Graph, gather: Node, last: Node) -> Node | None:
    """x[:, i] with an axis in the place of the one that is lost: x[:, i : i + 1]."""
    place = graph.constants.get(gather.inputs[1])
    before, after = graph.shapes[gather.inputs[0]], graph.shapes[last.outputs[0]]
    axis = np.array(gather.attributes.get("axis", 0)) % len(before)
    kept = list(before)
    kept[int(axis)] = 1
    if place is None or place.ndim or list(after) != kept:
        return None
    listed = f"{gather.name}/{gather.inputs[1]}"
    graph.constants[listed] = place.reshape(1)
    inputs = [gather.inputs[0], listed]
    return gather._replace(inputs=inputs, outputs=last.outputs)


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


def _gather(graph: Graph, first: Node, gather: Node, last: Node) -> Node | None:
    """x[:, [2, 1, 0]], for which torch's exporter brings the axis to the front."""
    places = graph.constants.get(gather.inputs[1])
    perm, back = (np.array(node.attributes["perm"]) for node in (first, last))
    is_back = np.array_equal(np.argsort(perm), back)
    is_whole = not gather.attributes.get("batch_dims", 0)
    if places is None or not (is_back and is_whole):
        return None
    if places.ndim != 2 or places.shape[1] != 1:
        return None
    listed = f"{gather.name}/{gather.inputs[1]}"
    graph.constants[listed] = places.reshape(-1)
    inputs = [first.inputs[0], listed]
    return Node("Gather", last.name, inputs, last.outputs, {"axis": int(perm[0])})


def _stride(graph: Graph, flat: Node, gather: Node) -> Node | None:
    """A Reshape, which torch may write as the numbers, picked in their order."""
    places = graph.constants.get(gather.inputs[1])
    if places is None or len(graph.shapes[flat.outputs[0]]) != 1:
        return None
    if not np.array_equal(places.reshape(-1), np.arange(places.size)):
        return None
    if graph.shapes[flat.outputs[0]] != (places.size,):
        return None
    return Node("Reshape", gather.name, flat.inputs[:1], gather.outputs, {})


def _softplus(
    graph: Graph, where: Node, alone: dict[str, Node]
) -> tuple[Node | None, list[Node]]:  # fmt: skip
    """torch's own, which takes x itself where x is so large that nothing else shows."""
    chosen, x, small = where.inputs
    greater, soft = alone.get(chosen, NOBODY), alone.get(small, NOBODY)
    bound = graph.constants.get([*greater.inputs, "", ""][1])
    is_far = bound is not None and bound.size == 1 and bound.min() >= FAR
    is_it = greater.op == "Greater" and soft.op == "Softplus"
    if not (is_it and is_far and greater.inputs[0] == soft.inputs[0] == x):
        return None, []
    return soft._replace(name=where.name, outputs=where.outputs), [greater, soft]


def _response(
    graph: Graph, last: Node, alone: dict[str, Node]
) -> tuple[Node | None, list[Node]]:  # fmt: skip
    """LRN, which torch writes as a mean over neighbouring channels."""
    x, value = last.inputs
    chain = []
    for ops in RESPONSE:
        node = alone.get(value, NOBODY)
        if node.op not in ops:
            return None, []
        chain.append(node)
        value = node.inputs[0]
    power, plus, times, _, mean, *_, square = chain
    size, *rest = np.array(mean.attributes.get("kernel_shape", [0])).tolist()
    numbers = [graph.constants.get(node.inputs[1]) for node in (times, plus, power)]
    if square.inputs != [x, x] or set(rest) != {1} or size % 2 == 0:
        return None, []
    if any(array is None or array.size != 1 for array in numbers):
        return None, []
    found = [float(array.reshape(-1)[0]) for array in numbers if array is not None]
    attributes = {"size": size, **dict(zip(("alpha", "bias", "beta"), found))}
    return Node("LRN", last.name, [x], last.outputs, attributes), chain


def _widen(graph: Graph, node: Node) -> list[Node]:
    """A convolution or pooling along one axis as one of a picture of one row."""
    shapes = graph.shapes
    before, after = (shapes.get(names[0], ()) for names in (node.inputs, node.outputs))
    if node.op not in LINEAR or len(before) != 3:
        return [node]
    wide, done = f"{node.name}/wide", f"{node.name}/done"
    shapes[wide] = *before[:2], 1, before[2]
    shapes[done] = *after[:2], 1, after[2]
    inputs = [wide, *node.inputs[1:]]
    filters = graph.constants.get(inputs[1]) if len(inputs) > 1 else None
    if filters is not None:
        inputs[1] = f"{node.name}/{inputs[1]}"
        graph.constants[inputs[1]] = filters[:, :, None]
        shapes[inputs[1]] = filters[:, :, None].shape
    given = dict(node.attributes)
    for name in ("kernel_shape", "strides", "dilations"):
        if name in given:
            given[name] = [1, *np.array(given[name]).tolist()]
    if "pads" in given:
        first, last = np.array(given["pads"]).tolist()
        given["pads"] = [0, first, 0, last]
    row = Node(node.op, f"{node.name}/row", inputs, [done], given)
    return [
        Node("Reshape", f"{node.name}/wide", node.inputs[:1], [wide], {}),
        row,
        Node("Reshape", node.name, [done], node.outputs, {}),
    ]
