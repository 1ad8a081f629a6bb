"""What to climb. An objective fills `dst.diff` with the gradient of a number that should rise, given `dst.data`.

Two of Google's are plain functions of one layer. The rest are Objectives: each knows its layer, and they add and scale
like numbers (a habit of lucid's), `L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)`. Weights
multiply the gradients as they are: on a photograph, L2's is 1,000 to 3,000 times as strong as a channel's beside it.
"""

import ast
import math
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

MOST_GUIDE = 500_000  # pixels of a guide that is read from a file


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
    picture = preprocess(net, image)
    net.check(end, *picture.shape[1:])
    src, dst = net.blobs["data"], net.blobs[end]
    src.reshape(1, *picture.shape)
    src.data[0] = picture
    net.forward(end=end)
    return dst.data[0].copy()


class Objective:
    """A number to climb: a weighted sum of terms. It adds, subtracts, scales by numbers, and reads as it was written.

    terms: (weight, bind) each. bind: a function of the net that tells (layer, slope, degree). slope: a function of
    `dst`, the layer's Blob or a Part of it, that answers the term's gradient at dst.data[0]. degree: 2 for a square,
    else 1; the term's value is data . slope / degree (Euler's theorem on homogeneous functions).
    """

    __array_ufunc__ = None  # so that `numpy.float64(2) * objective` is ours to answer

    def __init__(self, text: str, terms: list[tuple[float, Callable]], is_sum: bool = False) -> None:
        self.text, self.terms, self.is_sum = text, terms, is_sum
        self._bound = WeakKeyDictionary()

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
        try:
            weights = [float(weight) * each for each, _ in self.terms]
        except OverflowError:
            weights = [math.inf]
        if not all(map(math.isfinite, weights)):
            raise DreamError(f"a weight in {text[:80]} is not a finite number")
        return Objective(text, [(weight, bind) for weight, (_, bind) in zip(weights, self.terms)])

    def _factor(self):
        return f"({self})" if self.is_sum else str(self)

    def bound(self, net) -> dict[str, list[tuple[float, Callable, int]]]:
        """{layer: [(weight, slope, degree), ...]} for this network; a DreamError for a layer or class that it lacks."""
        if net not in self._bound:
            layers = {}
            for weight, bind in self.terms:
                layer, slope, degree = bind(net)
                layers.setdefault(layer, []).append((weight, slope, degree))
            self._bound[net] = layers
        return self._bound[net]

    def value(self, net) -> float:
        """The number itself, of the picture now in net.blobs['data']."""
        layers = self.bound(net)
        return float(
            sum(
                weight / degree * np.multiply(dst.data[0], slope(dst), dtype=np.float64).sum()
                for layer, dst in net.stops(layers)
                for weight, slope, degree in layers[layer]
            )
        )


def parts(objective: Callable | Objective, end: str | None, net) -> dict[str, Callable]:
    """{layer: a function that fills `dst.diff`}: an Objective's own layers, or `end` for a plain function."""
    if not isinstance(objective, Objective):
        if not callable(objective):
            raise DreamError(f"objective is {objective!r}; it must be a function that fills dst.diff, or an Objective")
        return {end: objective}

    def fill(dst, terms):
        (weight, slope, _), *others = terms
        np.multiply(slope(dst), weight, out=dst.diff[0])
        for weight, slope, _ in others:
            dst.diff[0] += weight * slope(dst)

    return {layer: partial(fill, terms=terms) for layer, terms in objective.bound(net).items()}


def _term(layer, slope, text, channel=None, degree=1):
    """An Objective of one term. layer and channel: what they are, or a function of the net that tells it."""

    def bind(net):
        name = layer(net) if callable(layer) else layer
        if name not in net.climbable:
            raise net.unknown(name, net.climbable)
        if channel is None:
            return name, slope, degree
        i = channel(net) if callable(channel) else channel
        _in_range(f"channel of layer {name!r}", i, net.channels(name))
        return name, partial(slope, layer=name, i=i), degree

    return Objective(text, [(1.0, bind)])


def L2(layer: str) -> Objective:
    """Whatever the layer sees, more of it: half the sum of squares. The same dream as with `objective_L2`."""
    return _term(str(layer), lambda dst: dst.data[0], f"L2({str(layer)!r})", degree=2)


def channel(layer: str, i: int) -> Objective:
    """One feature of the layer, everywhere: the sum over places of channel i, from 0."""
    return _term(str(layer), _channel, f"channel({str(layer)!r}, {i})", _plain(i))


def unit(layer: str, i: int, x: int, y: int) -> Objective:
    """One feature at one place: the value of channel i at (x, y) of the layer's own grid, from its upper left.

    The grid belongs to one size of the picture and stays in place only without jitter: take octave_n=1, jitter=0.
    """
    return _term(
        str(layer), partial(_unit, x=_plain(x), y=_plain(y)), f"unit({str(layer)!r}, {i}, {x}, {y})", _plain(i)
    )


def logit(label: str | int) -> Objective:
    """A class, by name or number: its value before the softmax, which unlike a probability can always rise.

    A network that takes pictures of only one size sees a larger one through windows of that size.
    """
    label = str(label) if isinstance(label, str) else _plain(label)
    return _term(scores, _channel, f"logit({label!r})", lambda net: class_number(net, label))


def load_guide(path: str | Path) -> np.ndarray:
    """The picture in a file, (H, W, 3), reduced to `MOST_GUIDE` pixels where it has more, for it goes through whole."""
    from .show import load_image

    image = load_image(path)
    height, width = image.shape[:2]
    if height * width > MOST_GUIDE:
        image = load_image(path, max(1, int((MOST_GUIDE * width / height) ** 0.5)))
    return image


def guide(layer: str, image: np.ndarray | str | Path) -> Objective:
    """More of what is in the guide, an image (H, W, 3) or a path for `load_guide`: the sum over places of the best
    match's product."""
    shown = repr(str(image)) if isinstance(image, (str, Path)) else f"<image {'x'.join(map(str, np.shape(image)))}>"

    def bind(net):
        if layer not in net.climbable:
            raise net.unknown(layer, net.climbable)
        src = net.blobs["data"]
        before = src.data.copy()
        try:
            picture = load_guide(image) if isinstance(image, (str, Path)) else image
            features = guide_features(net, picture, layer)
        finally:
            src.reshape(*before.shape)
            src.data[:] = before
        return layer, partial(slope, features=features), 1

    def slope(dst, features):
        best = SimpleNamespace(data=dst.data, diff=np.empty_like(dst.data, order="C"))
        objective_guide(best, features)
        return best.diff[0]

    return Objective(f"guide({str(layer)!r}, {shown})", [(1.0, bind)])


def _channel(dst, layer, i):
    g = np.zeros_like(dst.data[0])
    g[i] = 1
    return g


def _unit(dst, layer, i, x, y):
    data = dst.data[0]
    if data.ndim != 3:
        raise DreamError(f"layer {layer!r} has no places, only {len(data)} channels; take channel({layer!r}, {i})")
    top, left, height, width = getattr(dst, "place", (0, 0, *data.shape[1:]))
    _in_range(f"x in layer {layer!r} at this octave's size", x, width)
    _in_range(f"y in layer {layer!r} at this octave's size", y, height)
    g = np.zeros_like(data)
    if top <= y < top + data.shape[1] and left <= x < left + data.shape[2]:  # in this part
        g[i, y - top, x - left] = 1
    return g


def _plain(i):
    """NumPy's integers as Python's, which neither overflow nor look odd in words."""
    return int(i) if isinstance(i, Integral) and not isinstance(i, bool) else i


def _in_range(what, i, n):
    if not (isinstance(i, Integral) and not isinstance(i, bool) and 0 <= i < n):
        raise DreamError(f"{what} is {i!r}; it must be a whole number from 0 to {n - 1}")


def scores(net) -> str:
    """The layer whose blob holds the classes' values before the softmax; the last layer where there is no softmax."""
    blobs = [layer.bottom[0] for layer in net.layer_specs if layer.type == "Softmax"] or net.layer_specs[-1].top
    return blobs[-1]


def class_number(net, label: str | int) -> int:
    """The number of a class, given that or one of its names; a DreamError with the closest names for any other."""
    if not isinstance(label, str):
        if net.labels:
            _in_range(f"the number of a class of {net.model.name}", label, len(net.labels))
        return label  # where classes have no names, the blob will tell
    if not net.labels:
        raise DreamError(f"{net.model.name} has no names for its classes; give the number of one instead of {label!r}")
    given = " ".join(label.lower().replace("_", " ").split())
    names = [(name.strip(), i) for i, names in enumerate(net.labels) for name in [names, *names.split(",")]]
    numbers = sorted({i for name, i in names if name.lower() == given})
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        which = "; ".join(f"{i}: {net.labels[i]}" for i in numbers)
        raise DreamError(
            f"{label!r} names {len(numbers)} classes of {net.model.name}; give the number of one ({which})"
        )
    known = list(dict.fromkeys(name for name, _ in names if "," not in name))
    raise unknown("class", label, [name for name in known if given and given in name.lower()] or known,
                  f"{net.model.name} has {len(net.labels)} classes")  # fmt: skip


def wanted(what: str | int | Objective) -> Objective:
    """An Objective, given that, or in words (see `parse`), or a class by name or number."""
    if isinstance(what, str):
        what = what.strip()
        return parse(what) if "(" in what else logit(int(what) if what.isdecimal() else what)
    return what if isinstance(what, Objective) else logit(what)


OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
TERMS = {term.__name__: term for term in (L2, guide, channel, unit, logit)}


def parse(text: str, find: Callable[[str], str] = str) -> Objective:
    """The objective that `text` writes, such as "L2('conv2') - 3 * channel('conv3', 7)"; `find` tells where a guide
    that it names lies."""

    def build(node):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            sides = build(node.left), build(node.right)
            if str not in map(type, sides):
                return OPERATORS[type(node.op)](*sides)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -build(node.operand)
        if isinstance(node, ast.Call) and not node.keywords and getattr(node.func, "id", None) in TERMS:
            given = list(map(build, node.args))
            if node.func.id == "guide" and len(given) == 2:
                given[1] = find(given[1])
            return TERMS[node.func.id](*given)
        if isinstance(node, ast.Constant) and type(node.value) in (str, int, float):
            return node.value
        raise TypeError(f"{ast.unparse(node)!r} has no meaning in it")

    try:
        objective = build(ast.parse(text.strip(), mode="eval").body)
        if not isinstance(objective, Objective):
            raise TypeError("it has no term")
        return objective
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", error) or type(error).__name__
        form = (
            "an objective is a sum such as \"L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)\""
        )
        raise DreamError(f"cannot read {text[:200]!r}: {reason}; {form}, of {', '.join(TERMS)}") from None
