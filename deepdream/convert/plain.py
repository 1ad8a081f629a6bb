"""ONNX made plain: a recent opset, float32, one picture of a fixed size."""

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DreamError, one_line, reason

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

Size = tuple[int, int]  # height, width
OPSET = 13  # older networks are brought up to this one
SIDE = 224  # of a picture, where a network has no size of its own
COLOURS = 1, 3
FLOATS = 1, 10, 11, 16  # float32, float16, float64, bfloat16 in ONNX's files
QUANTISED = (
    "Quantize", "QLinear", "ConvInteger", "MatMulInteger", "QGemm", "MatMulNBits",
)  # fmt: skip


def make_plain(model: "ModelProto") -> "ModelProto":
    """The same network without functions, in float32, opset 13 or later.

    Raises DreamError for one that is quantised, or too old.
    """
    from onnx import inliner, version_converter

    if model.functions:
        model = inliner.inline_local_functions(model)
    for node in model.graph.node:
        if any(word in node.op_type for word in QUANTISED):
            fault = f"this network is quantised ({node.op_type}), and Caffe computes in float32"
            raise DreamError(f"{fault}; export it as it was before")
    _to_float32(model.graph)
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    opset = max(versions, default=1)
    if opset >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # a RuntimeError, or onnx's own
        fault = f"the opset {opset} is too old, and cannot be brought to {OPSET}"
        cure = f"export the network again, with opset {OPSET} or later"
        raise DreamError(f"{fault}: {one_line(reason(error))}; {cure}") from None


def _to_float32(graph: "GraphProto") -> None:
    """Make all other floats float32, in place; forget inferred shapes."""
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen(tensor)
    for value in [*graph.input, *graph.output]:
        about = value.type.tensor_type
        if about.elem_type in FLOATS:
            about.elem_type = FLOATS[0]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
            if node.op_type == "Cast" and attribute.i in FLOATS:
                attribute.i = FLOATS[0]
            if attribute.HasField("g"):
                _to_float32(attribute.g)
            for inner in attribute.graphs:
                _to_float32(inner)


def _widen(tensor: "TensorProto") -> None:
    from onnx import numpy_helper

    if tensor.data_type in FLOATS[1:]:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def fix_input(model: "ModelProto", size: Size | None) -> str:
    """Give the picture one shape, (1, channels, h, w), in place; its value's name.

    Where the network wants the channels last, as Keras does, they are moved
    first. Raises DreamError for an input that is no picture.
    """
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    pictures = [each for each in inputs if len(each.type.tensor_type.shape.dim) == 4]
    if not pictures:
        has = ", ".join(f"{each.name} {_describe(each)}" for each in inputs) or "none"
        must = "a dream needs an input (1, channels, height, width)"
        raise DreamError(f"{must}; this network's inputs: {has}")
    about = pictures[0].type.tensor_type
    about.elem_type = FLOATS[0]
    dims = [dim.dim_value for dim in about.shape.dim]
    last = dims[1] not in COLOURS and dims[3] in COLOURS
    colours = dims[3] if last else dims[1] or 3
    if colours not in COLOURS:
        must = "a dream needs a picture of three colours, or grey"
        raise DreamError(f"{must}; the input {pictures[0].name!r} is {_describe(pictures[0])}")
    own = dims[1:3] if last else dims[2:]
    h, w = size or [side or SIDE for side in own]
    shape = (1, h, w, colours) if last else (1, colours, h, w)
    for dim, number in zip(about.shape.dim, shape):
        dim.dim_value = number
    for end in graph.output:
        end.type.tensor_type.ClearField("shape")
    return _move_channels(graph, pictures[0], shape) if last else pictures[0].name


def _move_channels(graph: "GraphProto", value: "ValueInfoProto", shape: tuple[int, ...]) -> str:
    """Put a picture with its channels first before an input that has them last."""
    from onnx import TensorProto, helper

    name = f"{value.name}.channels_first"
    n, h, w, c = shape
    graph.input.remove(value)
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (n, c, h, w)))
    turn = helper.make_node("Transpose", [name], [value.name], perm=(0, 2, 3, 1))
    graph.node.insert(0, turn)
    return name


def _describe(value: "ValueInfoProto") -> str:
    """The shape of an input, in words."""
    dims = value.type.tensor_type.shape.dim
    return f"({', '.join(str(dim.dim_value or dim.dim_param or '?') for dim in dims)})"
