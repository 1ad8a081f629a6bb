"""Sums, products and means: each a function of the table in layers.py."""

import numpy as np

from ..errors import DreamError
from ..nets.shapes import Shape
from .building import Params, Step

SUM, PRODUCT, MAX = "SUM", "PROD", "MAX"
# {operation: (its layer, the name of that layer's parameters)} of broadcasting
LAYERS = {SUM: ("Bias", "bias_param"), PRODUCT: ("Scale", "scale_param")}


def _add(step: Step) -> None:
    _combine(step, SUM)


def _multiply(step: Step) -> None:
    _combine(step, PRODUCT)


def _subtract(step: Step) -> None:
    first, second = step.constant(0), step.constant(1)
    if second is not None:
        return _with_constant(step, SUM, 0, -second)
    if first is None and step.shape(0) == step.shape(1):
        difference = {"coeff": [1, -1]}
        return step.end("Eltwise", step.blob(0), step.blob(1), eltwise_param=difference)
    minus = step.helper("minus", "Power", step.blob(1), power_param={"scale": -1})
    if first is not None:
        return _with_constant(step, SUM, 1, first, minus)
    _with_map(step, SUM, step.blob(0), minus)


def _divide(step: Step) -> None:
    first, second = step.constant(0), step.constant(1)
    if second is not None:
        return _with_constant(step, PRODUCT, 0, 1 / second)
    x = step.blob(1)
    if first is not None and first.size == 1 and first.reshape(-1)[0] == 1:
        return step.end("Power", x, power_param={"power": -1})
    inverse = step.helper("inverse", "Power", x, power_param={"power": -1})
    if first is not None:
        return _with_constant(step, PRODUCT, 1, first, inverse)
    _with_map(step, PRODUCT, step.blob(0), inverse)


def _combine(step: Step, operation: str) -> None:
    for i in (0, 1):
        array = step.constant(1 - i)
        if array is not None:
            return _with_constant(step, operation, i, array)
    _with_map(step, operation, step.blob(0), step.blob(1))


def _with_constant(
    step: Step, operation: str, i: int, array: np.ndarray, x: str | None = None
) -> None:
    """Input i, or blob x made of it, and an array that does not change."""
    if step.result != step.shape(i):
        raise _too_large(step, array, step.shape(i))
    kind, given = with_array(step, operation, step.shape(i), array)
    if x is None and kind != "Power" and _fold(step, operation, i, given):
        return
    step.end(kind, x or step.blob(i), **given)


def with_array(step: Step, operation: str, big: Shape, array: np.ndarray) -> tuple[str, Params]:
    """The type of a layer that adds or multiplies a blob of shape `big` by an
    array that does not change; and what that layer is given.
    """
    array = array.astype(np.float32)
    if array.size == 1:
        name = "shift" if operation == SUM else "scale"
        return "Power", {"power_param": {name: float(array.reshape(-1)[0])}}
    small = (1,) * (len(big) - array.ndim) + array.shape
    if len(small) != len(big) or any(n not in (1, m) for n, m in zip(small, big)):
        raise _too_large(step, array, big)
    axes = [axis for axis, n in enumerate(small) if n != 1]
    first, last = axes[0], axes[-1] + 1
    numbers = np.broadcast_to(array.reshape(small[first:last]), big[first:last])
    kind, name = LAYERS[operation]
    param = {"axis": first} if first != 1 else {}
    if last - first != 1:
        param["num_axes"] = last - first
    return kind, {"weights": (numbers,), name: param}


def _too_large(step: Step, array: np.ndarray, big: Shape) -> DreamError:
    return step.refuse(f"its constant {array.shape} is larger than the map {big}")


def _fold(step: Step, operation: str, i: int, given: Params) -> bool:
    """Put a number for each channel into the convolution before."""
    (numbers,) = given["weights"]
    if i != 0 or numbers.ndim != 1:
        return False
    axis = given[LAYERS[operation][1]].get("axis", 1)
    if operation == SUM:
        return step.fold(np.ones_like(numbers), numbers, axis)
    return step.fold(numbers, np.zeros_like(numbers), axis)


def _with_map(step: Step, operation: str, x: str, y: str) -> None:
    """Blobs x and y of the two inputs, equal in shape or broadcast."""
    big, small = step.shape(0), step.shape(1)
    if big == small:
        param = {"operation": operation} if operation != SUM else {}
        return step.end("Eltwise", x, y, eltwise_param=param)
    if big != step.result:
        x, y, big, small = y, x, small, big
    small = (1,) * (len(big) - len(small)) + small
    block = _common_axes(big, small)
    if big != step.result or block is None:
        raise step.refuse(f"Caffe does not stretch {small} to {big}")
    y = _drop_ones(step, y, small, *block)
    kind, name = LAYERS[operation]
    params: Params = {name: {"axis": block[0]}}
    step.end(kind, x, y, **params)


def _common_axes(big: Shape, small: Shape) -> tuple[int, int] | None:
    """[first, last) of the axes of `small` that are not 1, which equal big's."""
    axes = [axis for axis, n in enumerate(small) if n != 1] or [0]
    first, last = axes[0], axes[-1] + 1
    if first == 1 and small[0] == big[0]:
        first = 0  # (n, channels, 1, 1) as (n, channels)
    return (first, last) if small[first:last] == big[first:last] else None


def _drop_ones(step: Step, y: str, small: Shape, first: int, last: int) -> str:
    """Blob y with the axes [first, last) alone."""
    shape = step.builder.graph.shapes
    own = min((len(shape[name]) for name in step.node.inputs), default=0)
    added = len(small) - own  # ones that only stand in `small`
    first, last, axes = max(first - added, 0), last - added, own
    if (first, last) == (0, axes):
        return y
    if (first, last) == (0, 2):
        return step.helper("flat", "Flatten", y)
    if last < axes:
        form = {"shape": {}, "axis": last, "num_axes": axes - last}
        y = step.helper("flat", "Reshape", y, reshape_param=form)
    if first > 0:
        form = {"shape": {}, "axis": 0, "num_axes": first}
        y = step.helper("map", "Reshape", y, reshape_param=form)
    return y


def _largest(step: Step) -> None:
    """Max of maps, and of numbers."""
    _extreme(step, 1)


def _smallest(step: Step) -> None:
    """min(a, b) = -max(-a, -b)."""
    _extreme(step, -1)


def _extreme(step: Step, sign: int) -> None:
    count = len(step.node.inputs)
    maps = [i for i in range(count) if step.constant(i) is None]
    numbers = [array for i in range(count) if (array := step.constant(i)) is not None]
    if any(array.size != 1 for array in numbers) or (numbers and len(maps) > 1):
        raise step.refuse("it compares a map with a constant that is no number")
    if any(step.shape(i) != step.result for i in maps):
        raise step.refuse("it compares maps of several shapes")
    if not numbers and count == 1:
        return step.same()
    param = {"operation": MAX}
    if not numbers and sign > 0:
        return step.end("Eltwise", *map(step.blob, maps), eltwise_param=param)
    if not numbers:
        minus = {"scale": -1}
        turned = [step.helper(f"minus{i}", "Power", step.blob(i), power_param=minus) for i in maps]
        most = step.helper("max", "Eltwise", *turned, eltwise_param=param)
        return step.end("Power", most, power_param={"scale": -1})
    bound = sign * max(sign * float(array.reshape(-1)[0]) for array in numbers)
    above = {"scale": sign, "shift": -sign * bound}
    rest = step.helper("above", "Power", step.blob(maps[0]), power_param=above)
    rest = step.helper("relu", "ReLU", rest)
    step.end("Power", rest, power_param={"scale": sign, "shift": bound})


def _total(step: Step) -> None:
    """Sum and Mean of several maps of one shape."""
    count = len(step.node.inputs)
    if any(step.shape(i) != step.result for i in range(count)):
        raise step.refuse("it adds maps of several shapes")
    if count == 1:
        return step.same()
    param = {"coeff": [1 / count] * count} if step.node.op == "Mean" else {}
    blobs = [step.blob(i) for i in range(count)]
    step.end("Eltwise", *blobs, eltwise_param=param)


def _inner_product(step: Step) -> None:
    """Gemm with constant weights."""
    matrix = step.weight(1, "weights")
    if step.get("transA", 0):
        raise step.refuse("it turns its input round")
    if not step.get("transB", 0):
        matrix = matrix.T
    matrix = matrix * np.float32(step.get("alpha", 1.0))
    bias = step.optional(2, "bias")
    weights = (matrix,)
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), len(matrix))
        weights += (bias * np.float32(step.get("beta", 1.0)),)
    _end_product(step, weights, 1)


def _matrix_product(step: Step) -> None:
    matrix = step.weight(1, "second matrix")
    if matrix.ndim != 2:
        raise step.refuse("its second matrix must have two axes")
    _end_product(step, (matrix.T,), len(step.shape()) - 1)


def _end_product(step: Step, weights: tuple[np.ndarray, ...], axis: int) -> None:
    param: Params = {"num_output": len(weights[0])}
    if len(weights) == 1:
        param["bias_term"] = False
    if axis != 1:
        param["axis"] = axis
    step.end("InnerProduct", step.blob(), weights=weights, inner_product_param=param)


OPERATIONS = {
    "Add": _add,
    "Div": _divide,
    "Gemm": _inner_product,
    "MatMul": _matrix_product,
    "Max": _largest,
    "Mean": _total,
    "Min": _smallest,
    "Mul": _multiply,
    "Sub": _subtract,
    "Sum": _total,
}
