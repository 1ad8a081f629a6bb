"""Run a network of ONNX, to learn what its values are."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DreamError, one_line, reason

if TYPE_CHECKING:
    from onnx import ModelProto


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
        del shown.graph.output[:]
        for name in self.values:
            shown.graph.output.add(name=name)
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
