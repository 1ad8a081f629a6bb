"""Where networks come from: ONNX files, torch's exported programs, modules."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DreamError, install, one_line, reason
from ..paths import why_unreadable

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_BYTES = 2**31 - 1  # of a file in this format, and in Caffe's
OPSET = 13  # older networks are brought up to this one
SIDE = 224  # of a picture, where a network has no size of its own
QUANTISED = "Quantize", "QLinear", "Integer", "QGemm"


def load_onnx(path: str | Path) -> "ModelProto":
    """The network in an .onnx file, float32, in a recent version of ONNX.

    Raises DreamError for what is none, or cannot become one of Caffe.
    """
    path = Path(path)
    cannot = f"cannot import {path}"
    if fault := why_unreadable(path):
        raise DreamError(f"{cannot}: {fault}")
    try:
        import onnx
    except ImportError:
        raise DreamError(f"importing a network needs onnx; {install('onnx')}") from None
    if path.stat().st_size > MOST_BYTES:
        raise DreamError(f"{cannot}: it is larger than 2 GB, and so is no file of ONNX")
    model = onnx.ModelProto()
    try:
        data = path.read_bytes()
        model.ParseFromString(data)
        is_onnx = model.ir_version > 0 and len(model.graph.node) > 0
    except OSError as error:
        raise DreamError(f"{cannot}: {reason(error)}") from None
    except Exception:  # protobuf's, by whichever name
        is_onnx = False
    if not is_onnx:
        raise DreamError(f"{cannot}: it is no network of ONNX, or a damaged one")
    return make_plain(model)


def make_plain(model: "ModelProto") -> "ModelProto":
    """The network in a recent version, in float32."""
    from onnx import inliner, version_converter

    opset = max((each.version for each in model.opset_import if not each.domain), default=1)
    if model.functions:
        model = inliner.inline_local_functions(model)
    if opset < OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # it raises RuntimeError, and others
            fault = f"this network has the old opset {opset}, which cannot be brought to {OPSET}"
            cure = f"export it again with opset {OPSET} or later"
            raise DreamError(f"{fault}: {one_line(reason(error))}; {cure}") from None
    return model


def fix_input(model: "ModelProto", size: tuple[int, int] | None) -> str:
    """Give the picture one size, 1 x channels x h x w; the name of its value."""
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise DreamError(f"a dream needs one input, a picture; this network has {names}")
    dims = inputs[0].type.tensor_type.shape.dim
    if len(dims) != 4:
        raise DreamError(f"a dream needs a picture (1, channels, height, width), not {len(dims)} axes")
    own = [dim.dim_value or SIDE for dim in dims[2:]]
    new = [1, dims[1].dim_value or 3, *(size or own)]
    for dim, number in zip(dims, new):
        dim.dim_value = number
    return inputs[0].name
