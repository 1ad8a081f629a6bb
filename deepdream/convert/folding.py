"""A network of ONNX while it is read: constants are computed, shapes inferred."""

from collections.abc import Iterable
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DreamError, reason
from .plain import FLOATS, fix_input
from .running import Runner, free_names, keep_needed

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MANY = 4096  # numbers of a constant; shapes do not depend on larger ones
RANDOM = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Multinomial", "Bernoulli",
)  # fmt: skip
VANISH = "Identity", "Dropout"
Turned = dict[str, tuple[str, list[int]]]  # {value: what it was, its new order of axes}


class Draft:
    """The nodes of a network, {value: array} of constants, {value: its shape}.

    input: the picture's value. computed: the values that depend on it.
    """

    def __init__(self, model: "ModelProto", size: tuple[int, int] | None) -> None:
        from onnx import numpy_helper

        self.model = model
        self.input = fix_input(model, size)
        graph = model.graph
        self.nodes = [deepcopy(node) for node in graph.node]
        arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.constants: dict[str, np.ndarray] = arrays
        self.outputs = [each.name for each in graph.output]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.kinds: dict[str, int] = {}  # of elements, by ONNX's numbers
        self.prune()

    @property
    def computed(self) -> set[str]:
        """The picture, and what is made of it."""
        return {self.input, *(name for node in self.nodes for name in node.output)}

    def prune(self) -> None:
        """Leave out what no output needs."""
        self.nodes = keep_needed(self.nodes, self.outputs)

    def as_model(self, outputs: Iterable[str] = ()) -> "ModelProto":
        """This network without its large constants, which become inputs."""
        from onnx import TensorProto, helper, numpy_helper

        used = {name for node in self.nodes for name in node.input}
        used.update(*map(free_names, self.nodes))
        small, inputs = [], []
        for name in sorted(used & set(self.constants)):
            array = self.constants[name]
            if array.size > MANY:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
            else:
                small.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        inputs += [each for each in self.model.graph.input if each.name == self.input]
        made = outputs or self.outputs
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
        graph = helper.make_graph(self.nodes, "network", inputs, ends, small)
        opsets = self.model.opset_import
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.model.ir_version)

    def infer(self) -> None:
        """Find shapes and kinds as far as they follow from the constants."""
        from onnx import shape_inference

        model = self.as_model()
        for end in model.graph.output:
            end.type.Clear()
        try:
            found = shape_inference.infer_shapes(model, data_prop=True).graph
        except (RuntimeError, ValueError):  # what is missing is found by running it
            return
        for value in [*found.value_info, *found.input, *found.output]:
            about = value.type.tensor_type
            self.kinds[value.name] = about.elem_type
            dims = [dim.dim_value for dim in about.shape.dim]
            if about.HasField("shape") and all(dim > 0 for dim in dims):
                self.shapes[value.name] = tuple(dims)

    def complete_shapes(self) -> None:
        """Find the shapes that are still unknown by running the network once.

        Raises DreamError if it does not run.
        """
        made = [name for node in self.nodes for name in node.output if name]
        unknown = [name for name in made if name not in self.shapes]
        if not unknown:
            return
        zeros = np.zeros(self.shapes[self.input], np.float32)
        for name, array in Runner(self.model, self.input, unknown).run(zeros).items():
            self.shapes[name] = array.shape


def settle(draft: Draft) -> None:
    """Compute what is constant, and infer shapes, until neither finds more."""
    count = -1
    while _choose(draft) or count != len(draft.nodes):
        count = len(draft.nodes)
        draft.infer()
        _fold(draft)
        draft.prune()


def _choose(draft: Draft) -> bool:
    """Put a branch in the place of each If that always takes it; whether any did.

    In the network itself, too, so that all values can still be asked for.
    """
    taken = {}
    for node in draft.nodes:
        chosen = draft.constants.get(node.input[0]) if node.op_type == "If" else None
        if chosen is not None:
            name = "then_branch" if chosen.all() else "else_branch"
            (branch,) = (each.g for each in node.attribute if each.name == name)
            taken[node.output[0]] = _inside(branch, list(node.output), draft)
    if not taken:
        return False
    whole = draft.model.graph
    draft.nodes = _put_in(draft.nodes, taken)
    nodes = _put_in(whole.node, taken)
    del whole.node[:]
    whole.node.extend(nodes)
    return True


def _put_in(
    nodes: Iterable["NodeProto"], taken: dict[str, list["NodeProto"]]
) -> list["NodeProto"]:  # fmt: skip
    """The nodes, with others in the place of those that make such a value."""
    return [
        deepcopy(each) for node in nodes
        for each in taken.get(node.output[0], [node])
    ]  # fmt: skip


def _inside(
    branch: "GraphProto", outputs: list[str], draft: Draft
) -> list["NodeProto"]:  # fmt: skip
    """The nodes of a branch; those after them give its outputs these names."""
    from onnx import helper, numpy_helper

    draft.model.graph.initializer.extend(branch.initializer)
    for each in branch.initializer:
        draft.constants[each.name] = numpy_helper.to_array(each)
    ends = [
        helper.make_node("Identity", [end.name], [name])
        for end, name in zip(branch.output, outputs)
    ]
    return [*branch.node, *ends]


def _fold(draft: Draft) -> None:
    kept = []
    same: dict[str, str] = {}  # {value: the earlier one that it equals}
    turned: Turned = {}
    for node in draft.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
        if node.op_type == "Transpose":
            _join_turns(node, turned)
        if _vanishes(node, draft):
            same[node.output[0]] = node.input[0]
            continue
        arrays = _compute(node, draft)
        if arrays is None:
            kept.append(node)
        else:
            draft.constants |= zip(node.output, arrays)
    draft.nodes = kept
    draft.outputs = [same.get(name, name) for name in draft.outputs]


def _join_turns(node: "NodeProto", turned: Turned) -> None:
    """Make one Transpose of two that follow each other."""
    perm = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
    if perm is None:
        return
    source, before = turned.get(node.input[0], (node.input[0], list(range(len(perm)))))
    perm = [before[i] for i in perm]
    node.input[0] = source
    for each in node.attribute:
        each.ints[:] = perm
    turned[node.output[0]] = source, perm


def _vanishes(node: "NodeProto", draft: Draft) -> bool:
    """Whether a node changes nothing."""
    if node.op_type == "Dropout" and len(node.input) > 2:
        learns = draft.constants.get(node.input[2])
        if learns is not None and learns.any():
            cure = "call the module's eval() and export it again"
            raise DreamError(f"this network was exported while it was in training; {cure}")
    if node.op_type == "Cast":
        to = next(each.i for each in node.attribute if each.name == "to")
        return to in FLOATS and draft.kinds.get(node.input[0]) in FLOATS
    if node.op_type == "Transpose":
        perm = [list(each.ints) for each in node.attribute if each.name == "perm"]
        return perm == [sorted(perm[0])] if perm else False
    if node.op_type == "Pad" and len(node.input) > 1:
        amounts = draft.constants.get(node.input[1])
        return amounts is not None and not amounts.any()
    if node.op_type == "Reshape":
        before, after = (draft.shapes.get(name) for name in (node.input[0], node.output[0]))
        return before is not None and before == after
    return node.op_type in VANISH


def _compute(node: "NodeProto", draft: Draft) -> list[np.ndarray] | None:
    """The outputs of a node whose inputs are constant; None for another."""
    if node.op_type in ("Shape", "Size") and node.input[0] in draft.shapes:
        zeros = np.broadcast_to(np.float32(0), draft.shapes[node.input[0]])
        return _evaluate(node, {node.input[0]: zeros}, draft)
    names = [name for name in node.input if name]
    free = free_names(node)
    if free or node.op_type in RANDOM or node.domain not in ("", "ai.onnx"):
        return None
    if not all(name in draft.constants for name in names):
        return None
    return _evaluate(node, {name: draft.constants[name] for name in names}, draft)


def _evaluate(
    node: "NodeProto", inputs: dict[str, np.ndarray], draft: Draft
) -> list[np.ndarray] | None:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    infos = [helper.make_tensor_value_info(name, 1, None) for name in inputs]
    outputs = [name for name in node.output if name]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph([node], "node", infos, ends)
    opsets = draft.model.opset_import
    model = helper.make_model(graph, opset_imports=opsets)
    try:
        arrays = ReferenceEvaluator(model).run(None, inputs)
    except Exception as error:  # the evaluator raises nearly anything
        what = f"{node.name or node.op_type!r} ({node.op_type})"
        fault = f"the constants of {what} cannot be computed"
        raise DreamError(f"{fault}: {reason(error)}") from None
    found = [np.asarray(array) for array in arrays]
    floats = [array.dtype.kind == "f" for array in found]
    return [a.astype(np.float32) if is_float else a for a, is_float in zip(found, floats)]
