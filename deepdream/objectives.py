"""What to climb. An objective fills `dst.diff` with the gradient of a number that should rise, given `dst.data`.

Two of Google's are plain functions of one layer. The rest are Objectives: each knows its layer, and they add and scale
like numbers (a habit of lucid's), `L2('inception_4c/output') - 8000 * channel('inception_4c/output', 237)`. Weights
multiply the gradients as they are: on a photograph, L2's is 1,000 to 3,000 times as strong as a channel's beside it.
"""

import ast
import operator
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import numpy as np

from .errors import DreamError, unknown
from .net import preprocess


def objective_L2(dst) -> None:
    """Whatever the layer sees, more of it: half the sum of squares, whose gradient is the activations themselves."""
    dst.diff[:] = dst.data


def objective_guide(dst, guide_features: np.ndarray) -> None:
    """At each place, more of what best matches there among the guide's features (channels, h, w).

    Use it as `functools.partial(objective_guide, guide_features=guide_features(net, image, end))`.
    """
    x = dst.data[0].copy()
    y = guide_features
    ch = x.shape[0]
    if len(y) != ch:
        raise DreamError(
            f"the guide has {len(y)} channels, the layer {ch}; take `guide_features` at the layer to climb"
        )
    x = x.reshape(ch, -1)
    y = y.reshape(ch, -1)
    A = x.T.dot(y)  # (places here, places in the guide): the dot-products of their features
    dst.diff[0].reshape(ch, -1)[:] = y[:, A.argmax(1)]  # at each place the guide's best match


def guide_features(net, image: np.ndarray, end: str) -> np.ndarray:
    """What layer `end` makes of a guide image (H, W, 3): (channels, h, w) float32."""
    h, w = image.shape[:2]
    net.check(end, h, w)
    src, dst = net.blobs["data"], net.blobs[end]
    src.reshape(1, 3, h, w)
    src.data[0] = preprocess(net, image)
    net.forward(end=end)
    return dst.data[0].copy()


class Objective:
    """A number to climb: a weighted sum of terms. It adds, subtracts, scales by numbers, and reads as it was written.

    terms: (weight, bind) each. bind: a function of the net that tells (layer, rise). rise: a function of `dst`, the
    layer's Blob or a Part of it, that answers (value, gradient), the gradient being that at dst.data[0].
    """

    __array_ufunc__ = None  # so that `numpy.float64(2) * objective` is ours to answer

    def __init__(self, text: str, terms: list[tuple[float, Callable]], is_sum: bool = False) -> None:
        self.text, self.terms, self.is_sum = text, terms, is_sum

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __add__(self, other):
        if isinstance(other, Real) and other == 0:  # where Python's `sum` begins
            return self
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(f"{self} + {other}", self.terms + other.terms, True)

    __radd__ = __add__

    def __sub__(self, other):
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(f"{self} - {other._factor()}", self.terms + (-other).terms, True)

    def __mul__(self, weight):
        return self._scaled(weight, f"{self._factor()} * {weight}")

    def __rmul__(self, weight):
        return self._scaled(weight, f"{weight} * {self._factor()}")

    def __truediv__(self, weight):
        return self._scaled(1 / weight if isinstance(weight, Real) else weight, f"{self._factor()} / {weight}")

    def __neg__(self):
        return self._scaled(-1, f"-{self._factor()}")

    def _scaled(self, weight, text):
        if not isinstance(weight, Real):
            return NotImplemented
        if not np.isfinite(weight):
            raise DreamError(f"the weight of {self} is {weight}; it must be a finite number")
        return Objective(text, [(float(weight) * each, bind) for each, bind in self.terms])

    def _factor(self):
        return f"({self})" if self.is_sum else str(self)

    def bound(self, net) -> dict[str, list[tuple[float, Callable]]]:
        """{layer: [(weight, rise), ...]} for this network; a DreamError for a layer or class that it lacks."""
        layers = {}
        for weight, bind in self.terms:
            layer, rise = bind(net)
            if layer not in net.climbable:
                raise net.unknown(layer, net.climbable)
            layers.setdefault(layer, []).append((weight, rise))
        return layers

    def value(self, net) -> float:
        """The number itself, of the picture now in net.blobs['data']."""
        layers = self.bound(net)
        return float(sum(weight * rise(dst)[0] for layer, dst in net.stops(layers) for weight, rise in layers[layer]))


def parts(objective: Callable | Objective, end: str, net) -> dict[str, Callable]:
    """{layer: a function that fills `dst.diff`}: an Objective's own layers, or `end` for a plain function."""
    if not isinstance(objective, Objective):
        return {end: objective}

    def fill(dst, terms):
        dst.diff[:] = 0
        for weight, rise in terms:
            dst.diff[0] += weight * rise(dst)[1]

    return {layer: partial(fill, terms=terms) for layer, terms in objective.bound(net).items()}


def _term(text, bind):
    return Objective(text, [(1.0, bind)])


def L2(layer: str) -> Objective:
    """Whatever the layer sees, more of it: half the sum of squares. The same dream as with `objective_L2`."""

    def rise(dst):
        x = dst.data[0]
        return np.square(x, dtype=np.float64).sum() / 2, x

    return _term(f"L2({layer!r})", lambda net: (layer, rise))


def guide(layer: str, image: np.ndarray | str | Path) -> Objective:
    """More of what is in the guide, an image (H, W, 3) or its path: the sum over places of the best match's product."""
    shown = f"<image {'x'.join(map(str, np.shape(image)))}>" if isinstance(image, np.ndarray) else repr(str(image))
    features = WeakKeyDictionary()

    def bind(net):
        if net not in features:
            from .show import load_image

            picture = image if isinstance(image, np.ndarray) else load_image(image)
            src = net.blobs["data"]
            before = src.data.copy()
            features[net] = guide_features(net, picture, layer)
            src.reshape(*before.shape)
            src.data[:] = before
        return layer, partial(rise, guide_features=features[net])

    def rise(dst, guide_features):
        wanted = SimpleNamespace(data=dst.data, diff=np.empty_like(dst.data, order="C"))
        objective_guide(wanted, guide_features)
        return np.multiply(dst.data, wanted.diff, dtype=np.float64).sum(), wanted.diff[0]

    return _term(f"guide({layer!r}, {shown})", bind)


def channel(layer: str, i: int) -> Objective:
    """One feature of the layer, everywhere: the sum over places of channel i, from 0."""
    return _term(f"channel({layer!r}, {i})", lambda net: (layer, partial(_channel, layer=layer, i=i)))


def unit(layer: str, i: int, x: int, y: int) -> Objective:
    """One feature at one place: the value of channel i at (x, y) of the layer's own grid, from its upper left."""
    return _term(f"unit({layer!r}, {i}, {x}, {y})", lambda net: (layer, partial(_unit, layer=layer, i=i, x=x, y=y)))


def logit(label: str | int) -> Objective:
    """A class, by name or number: its value before the softmax, which unlike a probability can always rise.

    A network that takes pictures of only one size sees a larger one through windows of that size.
    """

    def bind(net):
        layer = scores(net)
        return layer, partial(_channel, layer=layer, i=class_number(net, label))

    return _term(f"logit({label!r})", bind)


def _channel(dst, layer, i):
    x = dst.data[0]
    _in_range(f"channel of layer {layer!r}", i, len(x))
    g = np.zeros_like(x)
    g[i] = 1
    return x[i].sum(dtype=np.float64), g


def _unit(dst, layer, i, x, y):
    data = dst.data[0]
    if data.ndim != 3:
        raise DreamError(f"layer {layer!r} has no places, only {len(data)} channels; take channel({layer!r}, {i})")
    top, left, height, width = getattr(dst, "place", (0, 0, *data.shape[1:]))
    _in_range(f"channel of layer {layer!r}", i, len(data))
    _in_range(f"x in layer {layer!r} at this size", x, width)
    _in_range(f"y in layer {layer!r} at this size", y, height)
    g = np.zeros_like(data)
    here = g[i, max(0, y - top) :, max(0, x - left) :]
    if y < top or x < left or not here.size:  # in another part
        return 0.0, g
    here[0, 0] = 1
    return float(data[i, y - top, x - left]), g


def _in_range(what, i, n):
    if not (isinstance(i, Integral) and 0 <= i < n):
        raise DreamError(f"{what} is {i!r}; it must be a whole number from 0 to {n - 1}")


def scores(net) -> str:
    """The layer whose blob holds the classes' values before the softmax; the last layer where there is no softmax."""
    tops = [layer.bottom[0] for layer in net.layer_specs if layer.type == "Softmax"] or net.layer_specs[-1].top
    return tops[-1]


def class_number(net, label: str | int) -> int:
    """The number of a class, given that or one of its names; a DreamError with the closest names for any other."""
    if not isinstance(label, str):
        if net.labels:
            _in_range(f"the number of a class of {net.model.name}", label, len(net.labels))
        return label  # where classes have no names, the blob will tell
    if not net.labels:
        raise DreamError(f"{net.model.name} has no names for its classes; give the number of one instead of {label!r}")
    wanted = " ".join(label.lower().replace("_", " ").split())
    names = [(name.strip(), i) for i, names in enumerate(net.labels) for name in [names, *names.split(",")]]
    numbers = sorted({i for name, i in names if name.lower() == wanted})
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        raise DreamError(
            f"{label!r} names {len(numbers)} classes of {net.model.name}; give the number of one: {numbers}"
        )
    known = [name for name, _ in names if "," not in name]
    raise unknown("class", label, [name for name in known if wanted and wanted in name.lower()] or known,
                  f"{net.model.name} has {len(net.labels)} classes")  # fmt: skip


def wanted(what: str | int | Objective) -> Objective:
    """An Objective, given that, or in words (see `parse`), or a class by name or number."""
    if isinstance(what, str):
        return parse(what) if "(" in what else logit(int(what) if what.isdigit() else what)
    return what if isinstance(what, Objective) else logit(what)


OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
TERMS = {term.__name__: term for term in (L2, guide, channel, unit, logit)}


def parse(text: str) -> Objective:
    """The objective that `text` writes, such as "L2('conv2') - 3 * channel('conv3', 7)"; what `str` of it reads."""

    def build(node):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](build(node.left), build(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -build(node.operand)
        if isinstance(node, ast.Call) and not node.keywords and getattr(node.func, "id", None) in TERMS:
            return TERMS[node.func.id](*map(build, node.args))
        if isinstance(node, ast.Constant) and type(node.value) in (str, int, float):
            return node.value
        raise TypeError(f"{ast.unparse(node)!r} has no meaning in it")

    try:
        objective = build(ast.parse(text.strip(), mode="eval").body)
        if not isinstance(objective, Objective):
            raise TypeError("it has no term")
        return objective
    except (SyntaxError, TypeError, ValueError, ZeroDivisionError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        form = "an objective is a sum such as \"L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)\""
        raise DreamError(f"cannot read {text!r}: {reason}; {form}, of {', '.join(TERMS)}") from None
