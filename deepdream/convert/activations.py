"""Operations on single numbers: each a function of the table in layers.py."""

import math

import numpy as np

from .building import Params, Step

LEAST = np.finfo(np.float32).min
STEEP = 1e20  # makes 1 or more of what is above 0, except next to nothing
# 1 - erf(z), by Abramowitz and Stegun
P = 0.3275911
ERROR = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429]
# Caffe's own HardSigmoid and HardSwish have no backward pass: a dream would
# get no gradient through them. Here they are made of layers that have one.


def _relu(step: Step) -> None:
    step.in_place("ReLU")


def _leaky_relu(step: Step) -> None:
    slope = step.get("alpha", 0.01)
    if slope > 0:  # the sign of what it wrote tells what it read
        return step.in_place("ReLU", relu_param={"negative_slope": slope})
    step.end("ReLU", step.blob(), relu_param={"negative_slope": slope})


def _prelu(step: Step) -> None:
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


def _elu(step: Step) -> None:
    step.in_place("ELU", elu_param={"alpha": step.get("alpha", 1.0)})


def _selu(step: Step) -> None:
    alpha = step.get("alpha", 1.6732632)
    gamma = step.get("gamma", 1.0507010)
    curve = step.helper("elu", "ELU", step.blob(), elu_param={"alpha": alpha})
    step.end("Power", curve, power_param={"scale": gamma})


def _celu(step: Step) -> None:
    alpha = step.get("alpha", 1.0)
    x = step.helper("scaled", "Power", step.blob(), power_param={"scale": 1 / alpha})
    curve = step.helper("elu", "ELU", x)
    step.end("Power", curve, power_param={"scale": alpha})


def _sigmoid(step: Step) -> None:
    step.in_place("Sigmoid")


def _tanh(step: Step) -> None:
    step.in_place("TanH")


def _softplus(step: Step) -> None:
    step.end("BNLL", step.blob())


def _exp(step: Step) -> None:
    step.end("Exp", step.blob())


def _log(step: Step) -> None:
    step.end("Log", step.blob())


def _absolute(step: Step) -> None:
    step.end("AbsVal", step.blob())


def _negative(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"scale": -1})


def _reciprocal(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"power": -1})


def _square_root(step: Step) -> None:
    step.end("Power", step.blob(), power_param={"power": 0.5})


def _power(step: Step) -> None:
    exponent = step.constant(1)
    if exponent is None or exponent.size != 1:
        raise step.refuse("its exponent must be one constant number")
    number = float(exponent.reshape(-1)[0])
    is_whole = number.is_integer() and 3 <= number <= 8
    if is_whole:  # Caffe's Power has no gradient at 0
        factors = [step.blob()] * int(number)
        return step.end("Eltwise", *factors, eltwise_param={"operation": "PROD"})
    step.end("Power", step.blob(), power_param={"power": number})


def _softsign(step: Step) -> None:
    x = step.blob()
    size = step.helper("abs", "AbsVal", x)
    share = step.helper("share", "Power", size, power_param={"shift": 1, "power": -1})
    step.end("Eltwise", x, share, eltwise_param={"operation": "PROD"})


def _clip(step: Step) -> None:
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


def _hard_sigmoid(step: Step) -> None:
    x = _line(step, step.get("alpha", 0.2), step.get("beta", 0.5))
    step.end("ReLU6", x, relu6_param=_ceiling(1))


def _hard_swish(step: Step) -> None:
    line = _line(step, 1 / 6, 0.5)
    gate = step.helper("gate", "ReLU6", line, relu6_param=_ceiling(1))
    _gated(step, gate)


def _swish(step: Step) -> None:
    alpha = step.get("alpha", 1.0)
    x = step.blob()
    if alpha != 1:
        x = step.helper("scaled", "Power", x, power_param={"scale": alpha})
    _gated(step, step.helper("gate", "Sigmoid", x))


def _mish(step: Step) -> None:
    x = step.helper("softplus", "BNLL", step.blob())
    _gated(step, step.helper("gate", "TanH", x))


def _line(step: Step, slope: float, shift: float) -> str:
    line = {"scale": slope, "shift": shift}
    return step.helper("line", "Power", step.blob(), power_param=line)


def _gated(step: Step, gate: str) -> None:
    step.end("Eltwise", step.blob(), gate, eltwise_param={"operation": "PROD"})


def _gelu(step: Step) -> None:
    """x * (1 + erf(x / sqrt(2))) / 2, which is relu(x) - |x| * rest(|x|) / 2."""
    if step.get("approximate", "none") == "tanh":
        return _gelu_by_tanh(step)
    x = step.blob()
    size, rest = _rest(step, x, math.sqrt(0.5))
    product = {"operation": "PROD"}
    tail = step.helper("tail", "Eltwise", size, rest, eltwise_param=product)
    above = step.helper("relu", "ReLU", x)
    step.end("Eltwise", above, tail, eltwise_param={"coeff": [1, -0.5]})


def _erf(step: Step) -> None:
    """The error function, which is 1 - rest(x) above 0, and odd."""
    x = step.blob()
    _, rest = _rest(step, x, 1)
    turned = {"scale": -1, "shift": 1}
    size = step.helper("size", "Power", rest, power_param=turned)
    sign = step.helper("steep", "Power", x, power_param={"scale": STEEP})
    sign = step.helper("above", "ReLU6", sign, relu6_param=_ceiling(1))
    both = {"scale": 2, "shift": -1}
    sign = step.helper("sign", "Power", sign, power_param=both)
    step.end("Eltwise", sign, size, eltwise_param={"operation": "PROD"})


def _rest(step: Step, x: str, slope: float) -> tuple[str, str]:
    """|x|, and 1 - erf(slope * |x|) as Abramowitz and Stegun have it (7.1.26).

    That is exp(-z * z) * sum(a[k] * t**k), where t = 1 / (1 + P * z), and at
    most 1.5e-7 from the truth.
    """
    size = step.helper("abs", "AbsVal", x)
    powers = []
    for k in range(1, len(ERROR) + 1):
        line = {"scale": P * slope, "shift": 1, "power": -k}
        powers.append(step.helper(f"t{k}", "Power", size, power_param=line))
    series = step.helper("series", "Eltwise", *powers, eltwise_param={"coeff": ERROR})
    square = {"scale": slope, "power": 2}
    square = step.helper("square", "Power", x, power_param=square)
    bell = step.helper("bell", "Exp", square, exp_param={"scale": -1})
    product = {"operation": "PROD"}
    return size, step.helper("rest", "Eltwise", series, bell, eltwise_param=product)


def _gelu_by_tanh(step: Step) -> None:
    """x * (1 + tanh(c * (x + 0.044715 x^3))) / 2, a common approximation."""
    x = step.blob()
    product = {"operation": "PROD"}
    cube = step.helper("cube", "Eltwise", x, x, x, eltwise_param=product)
    slope = math.sqrt(2 / math.pi)
    both = {"coeff": [slope, 0.044715 * slope]}
    curve = step.helper("curve", "Eltwise", x, cube, eltwise_param=both)
    curve = step.helper("tanh", "TanH", curve)
    half = {"scale": 0.5, "shift": 0.5}
    _gated(step, step.helper("gate", "Power", curve, power_param=half))


def _softmax(step: Step) -> None:
    axis = step.get("axis", -1) % len(step.shape())
    step.end("Softmax", step.blob(), softmax_param={"axis": axis})


def _log_softmax(step: Step) -> None:
    axis = step.get("axis", -1) % len(step.shape())
    share = step.helper("softmax", "Softmax", step.blob(), softmax_param={"axis": axis})
    step.end("Log", share)


OPERATIONS = {
    "Abs": _absolute,
    "Celu": _celu,
    "Clip": _clip,
    "Elu": _elu,
    "Erf": _erf,
    "Exp": _exp,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Log": _log,
    "LogSoftmax": _log_softmax,
    "Mish": _mish,
    "Neg": _negative,
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _reciprocal,
    "Relu": _relu,
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Sqrt": _square_root,
    "Swish": _swish,
    "Tanh": _tanh,
}
