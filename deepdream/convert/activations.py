"""Operations on single numbers: each a function of the table in layers.py."""

import math

import numpy as np

from .building import Params, Step

LEAST = np.finfo(np.float32).min
# Caffe's own HardSigmoid and HardSwish have no backward pass: a dream would
# get no gradient through them. Here they are made of layers that have one.


def relu(step: Step) -> None:
    step.in_place("ReLU")


def leaky_relu(step: Step) -> None:
    slope = step.get("alpha", 0.01)
    if slope > 0:  # the sign of what it wrote tells what it read
        return step.in_place("ReLU", relu_param={"negative_slope": slope})
    step.end("ReLU", step.blob(), relu_param={"negative_slope": slope})


def prelu(step: Step) -> None:
    slopes = step.weight(1, "slopes")
    if slopes.size == 1:
        shared = {"channel_shared": True}
        blob = step.blob()
        return step.end("PReLU", blob, weights=(slopes.reshape(()),), prelu_param=shared)
    shape = step.shape()
    wide = (1,) * (len(shape) - slopes.ndim) + slopes.shape
    if wide != (1, shape[1], *[1] * (len(shape) - 2)):
        raise step.refuse("it needs one slope, or one for each channel")
    step.end("PReLU", step.blob(), weights=(slopes.reshape(-1),))


def elu(step: Step) -> None:
    step.in_place("ELU", elu_param={"alpha": step.get("alpha", 1.0)})


def selu(step: Step) -> None:
    alpha = step.get("alpha", 1.6732632)
    gamma = step.get("gamma", 1.0507010)
    curve = step.helper("elu", "ELU", step.blob(), elu_param={"alpha": alpha})
    step.end("Power", curve, power_param={"scale": gamma})


def celu(step: Step) -> None:
    alpha = step.get("alpha", 1.0)
    x = step.helper("scaled", "Power", step.blob(), power_param={"scale": 1 / alpha})
    curve = step.helper("elu", "ELU", x)
    step.end("Power", curve, power_param={"scale": alpha})


def sigmoid(step: Step) -> None:
    step.in_place("Sigmoid")


def tanh(step: Step) -> None:
    step.in_place("TanH")


def softplus(step: Step) -> None:
    step.end("BNLL", step.blob())


def exp(step: Step) -> None:
    step.end("Exp", step.blob())


def log(step: Step) -> None:
    step.end("Log", step.blob())


def absolute(step: Step) -> None:
    step.end("AbsVal", step.blob())


def negative(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"scale": -1})


def reciprocal(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"power": -1})


def square_root(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"power": 0.5})


def power(step: Step) -> None:
    exponent = step.constant(1)
    if exponent is None or exponent.size != 1:
        raise step.refuse("its exponent must be one constant number")
    number = float(exponent.reshape(-1)[0])
    is_whole = number.is_integer() and 3 <= number <= 8
    if is_whole:  # Caffe's Power has no gradient at 0
        factors = [step.blob()] * int(number)
        return step.end("Eltwise", *factors, eltwise_param={"operation": "PROD"})
    step.end("Power", step.blob(), power_param={"power": number})


def softsign(step: Step) -> None:
    x = step.blob()
    size = step.helper("abs", "AbsVal", x)
    share = step.helper("share", "Power", size, power_param={"shift": 1, "power": -1})
    step.end("Eltwise", x, share, eltwise_param={"operation": "PROD"})


def clip(step: Step) -> None:
    low, high = _bound(step, 1, -math.inf), _bound(step, 2, math.inf)
    if low >= high:
        raise step.refuse("its upper bound must be above the lower one")
    if low == 0:
        if high == math.inf:
            return step.in_place("ReLU")
        return step.in_place("ReLU6", relu6_param=_ceiling(high))
    x = step.blob()
    if low == -math.inf and high == math.inf:
        return step.same()
    if low == -math.inf:  # high - relu(high - x)
        rest = step.helper("rest", "Power", x, power_param={"scale": -1, "shift": high})
        rest = step.helper("relu", "ReLU", rest)
        return step.end("Power", rest, power_param={"scale": -1, "shift": high})
    x = step.helper("above", "Power", x, power_param={"shift": -low})
    if high == math.inf:
        x = step.helper("relu", "ReLU", x)
    else:
        x = step.helper("clip", "ReLU6", x, relu6_param=_ceiling(high - low))
    step.end("Power", x, power_param={"shift": low})


def _bound(step: Step, i: int, default: float) -> float:
    given = len(step.node.inputs) > i and step.node.inputs[i]
    if not given:
        return default
    number = float(step.weight(i, "bounds").reshape(-1)[0])
    return default if abs(number) >= -LEAST else number


def _ceiling(number: float) -> Params:
    return {"threshold": number} if number != 6 else {}


def hard_sigmoid(step: Step) -> None:
    x = _line(step, step.get("alpha", 0.2), step.get("beta", 0.5))
    step.end("ReLU6", x, relu6_param=_ceiling(1))


def hard_swish(step: Step) -> None:
    line = _line(step, 1 / 6, 0.5)
    gate = step.helper("gate", "ReLU6", line, relu6_param=_ceiling(1))
    _gated(step, gate)


def swish(step: Step) -> None:
    alpha = step.get("alpha", 1.0)
    x = step.blob()
    if alpha != 1:
        x = step.helper("scaled", "Power", x, power_param={"scale": alpha})
    _gated(step, step.helper("gate", "Sigmoid", x))


def mish(step: Step) -> None:
    x = step.helper("softplus", "BNLL", step.blob())
    _gated(step, step.helper("gate", "TanH", x))


def _line(step: Step, slope: float, shift: float) -> str:
    line = {"scale": slope, "shift": shift}
    return step.helper("line", "Power", step.blob(), power_param=line)


def _gated(step: Step, gate: str) -> None:
    step.end("Eltwise", step.blob(), gate, eltwise_param={"operation": "PROD"})


def softmax(step: Step) -> None:
    axis = step.get("axis", -1) % len(step.shape())
    step.end("Softmax", step.blob(), softmax_param={"axis": axis})


def log_softmax(step: Step) -> None:
    axis = step.get("axis", -1) % len(step.shape())
    share = step.helper("softmax", "Softmax", step.blob(), softmax_param={"axis": axis})
    step.end("Log", share)


OPERATIONS = {
    "Abs": absolute,
    "Celu": celu,
    "Clip": clip,
    "Elu": elu,
    "Exp": exp,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "LeakyRelu": leaky_relu,
    "Log": log,
    "LogSoftmax": log_softmax,
    "Mish": mish,
    "Neg": negative,
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": reciprocal,
    "Relu": relu,
    "Selu": selu,
    "Sigmoid": sigmoid,
    "Softmax": softmax,
    "Softplus": softplus,
    "Softsign": softsign,
    "Sqrt": square_root,
    "Swish": swish,
    "Tanh": tanh,
}
