"""Operations that choose between numbers: each a function of the table in layers.py.

What is true is 1, and what is not, 0. Nothing has a slope where it switches,
so no gradient comes through a comparison, only through what was chosen.
"""

import numpy as np

from .activations import STEEP
from .arithmetic import MAX, PRODUCT, SUM, with_array
from .building import Step


def _greater(step: Step) -> None:
    _compare(step, 0, 1)


def _less(step: Step) -> None:
    _compare(step, 1, 0)


def _greater_or_equal(step: Step) -> None:
    """Not less."""
    _opposite(step, _is_above(step, 1, 0))


def _less_or_equal(step: Step) -> None:
    _opposite(step, _is_above(step, 0, 1))


def _not(step: Step) -> None:
    _opposite(step, step.blob())


def _compare(step: Step, high: int, low: int) -> None:
    steep = _difference(step, high, low)
    step.end("ReLU6", steep, relu6_param={"threshold": 1})
    step.leave_unchecked()


def _is_above(step: Step, high: int, low: int) -> str:
    steep = _difference(step, high, low)
    return step.helper("switch", "ReLU6", steep, relu6_param={"threshold": 1})


def _difference(step: Step, high: int, low: int) -> str:
    """Input `high` less input `low`, made very steep."""
    minus = {"scale": -1}
    first, second = step.constant(high), step.constant(low)
    if second is not None:
        x = step.blob(high)
        if second.any():
            kind, given = with_array(step, SUM, step.shape(high), -second)
            x = step.helper("above", kind, x, **given)
    elif first is not None:
        x = step.helper("minus", "Power", step.blob(low), power_param=minus)
        if first.any():
            kind, given = with_array(step, SUM, step.shape(low), first)
            x = step.helper("above", kind, x, **given)
    else:
        x, y = _blobs(step, high, low)
        less = {"coeff": [1, -1]}
        x = step.helper("above", "Eltwise", x, y, eltwise_param=less)
    return step.helper("steep", "Power", x, power_param={"scale": STEEP})


def _opposite(step: Step, x: str) -> None:
    step.end("Power", x, power_param={"scale": -1, "shift": 1})
    step.leave_unchecked()


def _sign(step: Step) -> None:
    """1 above 0, -1 below."""
    steep = {"scale": STEEP}
    x = step.helper("steep", "Power", step.blob(), power_param=steep)
    one = {"threshold": 1}
    above = step.helper("above", "ReLU6", x, relu6_param=one)
    turned = step.helper("minus", "Power", x, power_param={"scale": -1})
    below = step.helper("below", "ReLU6", turned, relu6_param=one)
    step.end("Eltwise", above, below, eltwise_param={"coeff": [1, -1]})
    step.leave_unchecked()


def _both(step: Step) -> None:
    x, y = _blobs(step, 0, 1)
    step.end("Eltwise", x, y, eltwise_param={"operation": PRODUCT})
    step.leave_unchecked()


def _either(step: Step) -> None:
    x, y = _blobs(step, 0, 1)
    step.end("Eltwise", x, y, eltwise_param={"operation": MAX})
    step.leave_unchecked()


def _blobs(step: Step, i: int, j: int) -> tuple[str, str]:
    if step.shape(i) != step.shape(j):
        raise step.refuse("it compares maps of several shapes")
    return step.blob(i), step.blob(j)


def _cast(step: Step) -> None:
    """What is true or false as a number: it is one already."""
    makers = step.builder.graph.nodes
    source = step.node.inputs[0]
    made_by = [node.op for node in makers if source in node.outputs]
    if not TRUTHS.issuperset(made_by):
        raise step.refuse("Caffe has no whole numbers")
    step.same()


def _where(step: Step) -> None:
    """A sum of both, one of them times 0."""
    chosen = step.constant(0)
    if chosen is not None:
        return _where_fixed(step, chosen != 0)
    if step.shape(0) != step.result:
        raise step.refuse("it chooses between maps of several shapes")
    turned = {"scale": -1, "shift": 1}
    yes = step.blob(0)
    no = step.helper("not", "Power", yes, power_param=turned)
    parts = [_part(step, 1, "yes", yes), _part(step, 2, "no", no)]
    step.end("Eltwise", *parts)


def _part(step: Step, i: int, name: str, mask: str) -> str:
    """Input i where it is chosen, else 0."""
    array = step.constant(i)
    if array is not None:
        kind, given = with_array(step, PRODUCT, step.result, array)
        return step.helper(name, kind, mask, **given)
    if step.shape(i) != step.result:
        raise step.refuse("it chooses between maps of several shapes")
    product = {"operation": PRODUCT}
    return step.helper(name, "Eltwise", mask, step.blob(i), eltwise_param=product)


def _where_fixed(step: Step, chosen: np.ndarray) -> None:
    """The same places are chosen in every picture."""
    maps, numbers = [], np.zeros(1)
    for i, mask in ((1, chosen), (2, ~chosen)):
        array = step.constant(i)
        if array is not None:
            numbers = np.where(mask, array, 0)
            continue
        kind, given = with_array(step, PRODUCT, step.result, mask)
        maps.append(step.helper(f"kept{i}", kind, step.blob(i), **given))
    if len(maps) == 2:
        return step.end("Eltwise", *maps)
    kind, given = with_array(step, SUM, step.result, numbers)
    step.end(kind, *maps, **given)


OPERATIONS = {
    "And": _both,
    "Cast": _cast,
    "Greater": _greater,
    "GreaterOrEqual": _greater_or_equal,
    "Less": _less,
    "LessOrEqual": _less_or_equal,
    "Not": _not,
    "Or": _either,
    "Sign": _sign,
    "Where": _where,
}
TRUTHS = set(OPERATIONS) - {"Cast", "Sign", "Where"}
