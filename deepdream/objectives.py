"""What to climb. An objective fills `dst.diff` with the gradient of a number that
should rise, given `dst.data`.

Two of Google's are plain functions of one layer. The rest are Objectives: each knows
its layer, and they can be added and scaled like numbers, as in lucid:
`L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)`. Weights
multiply the gradients as they are: on a photograph, L2's is 1,000 to 3,000 times as
strong as that of a channel.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import cache, lru_cache, partial
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from .errors import DreamError, unknown
from .nets.base import Fill, Net, Values, check_image, preprocess, put, to_data
from .pictures import fit_into, load_guide, or_sample


def read_words(text: str) -> ast.Expression:
    """The syntax tree of an objective in words; Python's warnings about it are for
    those who write programs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval")


T = TypeVar("T")
MOST_WEIGHT = 1e30  # so that float32 holds the gradient, too
Add = Callable[
    [Values, float], object
]  # adds the gradient of a term, times its weight, to dst.diff
Bind = Callable[[Net], tuple[str, Add]]  # the layer of a term in this network, and its gradient


class Term(NamedTuple):
    """One term of an Objective.

    begin: of a term that depends on the picture that a dream begins with: the terms
    that stand for it then, given the network with the smallest octave in it, and the
    picture (H, W, 3), or None where there is no dream. aim: of a term that compares the
    picture with another as it is shifted now: what stands for it for this one step.
    """

    weight: float
    bind: Bind
    begin: "Callable[[Net, np.ndarray | None], list[Term]] | None" = None
    aim: Callable[[Net], Bind] | None = None


def objective_L2(dst: Values) -> None:
    """Whatever the layer sees, more of it: half the sum of squares, whose gradient is
    the activations themselves.
    """
    dst.diff[:] = dst.data


objective_L2.any_array = True  # see `Fill`


def objective_guide(dst: Values, guide_features: np.ndarray) -> None:
    """At each place, more of what best matches there among the guide's features
    (channels, h, w).

    Use it as `functools.partial(objective_guide, guide_features=guide_features(net,
    image, end))`.
    """
    ch = dst.data.shape[1]
    dst.diff[0].reshape(ch, -1)[:] = _best_matches(dst.data[0], guide_features)


def _best_matches(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each place of x, (channels, h, w), the features of y that match it best:
    (channels, h * w).
    """
    ch = x.shape[0]
    if len(y) != ch:
        raise DreamError(
            f"the guide has {len(y)} channels, the layer {ch}; take `guide_features` at the layer to climb"
        )
    x = x.reshape(ch, -1)
    y = y.reshape(ch, -1)
    A = x.T @ y  # (places here, places in the guide): the dot-products of their features
    return y[:, A.argmax(1)]


def guide_features(net: Net, image: np.ndarray, end: str) -> np.ndarray:
    """What layer `end` makes of a guide image (H, W, 3): (channels, h, w) float32."""
    picture = preprocess(net, image)  # (3, H, W)
    net.check(end, *picture.shape[1:])
    put(net, picture)
    return net.features(end)


class Objective:
    """A number to climb: a weighted sum of terms. It can be added, subtracted and
    scaled; str() gives it back in words.

    is_fleeting: whether it is for one step alone.
    """

    __array_ufunc__ = None  # so that NumPy leaves `numpy.float64(2) * objective` to us

    def __init__(
        self, text: str, terms: list[Term], is_sum: bool = False, is_fleeting: bool = False
    ) -> None:
        self.text, self.terms, self.is_sum, self.is_fleeting = text, terms, is_sum, is_fleeting
        self._bound: WeakKeyDictionary[Net, dict[str, Sum]] = WeakKeyDictionary()

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __add__(self, other: object) -> "Objective":
        if isinstance(other, Real) and other == 0:  # where Python's `sum` begins
            return self
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(f"{self} + {other}", self.terms + other.terms, True)

    __radd__ = __add__

    def __sub__(self, other: object) -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(f"{self} - {other._factor()}", self.terms + (-other).terms, True)

    def __mul__(self, weight: Any) -> "Objective":
        return self._scale(weight, f"{self._factor()} * {weight}")

    def __rmul__(self, weight: Any) -> "Objective":
        return self._scale(weight, f"{weight} * {self._factor()}")

    def __truediv__(self, weight: Any) -> "Objective":
        return self._scale(
            1 / weight if isinstance(weight, Real) else weight, f"{self._factor()} / {weight}"
        )

    def __neg__(self) -> "Objective":
        return self._scale(-1, f"-{self._factor()}")

    def _scale(self, weight: Any, text: str) -> "Objective":
        if not isinstance(weight, Real):
            return NotImplemented
        try:
            weights = [float(weight) * term.weight for term in self.terms]
        except OverflowError:
            weights = [math.inf]
        if not all(abs(weight) <= MOST_WEIGHT for weight in weights):
            raise DreamError(
                f"a weight in {text[:80]} is not a finite number, or beyond {MOST_WEIGHT:g}"
            )
        return Objective(
            text, [term._replace(weight=weight) for weight, term in zip(weights, self.terms)]
        )

    def _factor(self) -> str:
        return f"({self})" if self.is_sum else str(self)

    def bind(self, net: Net) -> "dict[str, Sum]":
        """{layer: the terms there} for this network; a DreamError for a layer or class
        that it does not have.
        """
        if net not in self._bound:
            sums: dict[str, Sum] = {}
            for term in self.terms:
                layer, add = term.bind(net)
                sums.setdefault(layer, Sum(any_array=not self.is_fleeting)).terms.append(
                    (term.weight, add)
                )
            self._bound[net] = sums
        return self._bound[net]

    @property
    def needs_picture(self) -> bool:
        """Whether it depends on the picture that a dream begins with."""
        return any(term.begin for term in self.terms)

    def begin(self, net: Net, image: np.ndarray | None = None) -> "Objective":
        """This objective for a dream that begins with `image`, now in the network at
        its first octave: `strongest` becomes the channels that it means."""
        if not self.needs_picture:
            return self
        terms: list[Term] = []
        for term in self.terms:
            if term.begin:
                terms += [
                    each._replace(weight=term.weight * each.weight)
                    for each in term.begin(net, image)
                ]
            else:
                terms.append(term)
        return Objective(self.text, terms, self.is_sum)

    def aim(self, net: Net) -> "Objective":
        """This objective for one step, with the picture in the network as it is shifted
        now.
        """
        if not any(term.aim for term in self.terms):
            return self
        terms = [Term(term.weight, term.aim(net) if term.aim else term.bind) for term in self.terms]
        return Objective(self.text, terms, self.is_sum, is_fleeting=True)


class Sum:
    """Fills `dst.diff` with the weighted sum of the terms of one layer. any_array: see
    `Fill`.
    """

    def __init__(self, any_array: bool = True) -> None:
        self.any_array = any_array
        self.terms: list[tuple[float, Add]] = []

    def __call__(self, dst: Values) -> None:
        dst.diff[:] = 0
        for weight, add in self.terms:
            add(dst, weight)


def parts(objective: Fill | Objective, end: str | None, net: Net) -> dict[str, Fill]:
    """{layer: a function that fills `dst.diff`}: an Objective's own layers, or `end`
    for a plain function.
    """
    if isinstance(objective, Objective):
        return dict(objective.bind(net))
    if not callable(objective):
        raise DreamError(
            f"objective is {objective!r}; it must be a function that fills dst.diff, or an Objective"
        )
    if end is None:  # as the default layer of a model without one
        raise net.unknown("None", net.climbable)
    return {end: objective}


def _term(
    layer: str | Callable[[Net], str], add: Callable, text: str, channel: Any = None
) -> Objective:
    """An Objective of one term. layer and channel: what they are, or a function of the
    net that finds them.
    """

    def bind(net: Net) -> tuple[str, Add]:
        name = layer(net) if callable(layer) else layer
        net.check_layer(name)
        if channel is None:
            return name, add
        i = channel(net) if callable(channel) else channel
        _check_range(f"channel of layer {name!r}", i, net.channels(name))
        return name, partial(add, layer=name, i=i)

    return Objective(text, [Term(1.0, bind)])


def L2(layer: str) -> Objective:
    """Whatever the layer sees, more of it: half the sum of squares. The same dream as
    with `objective_L2`.
    """
    return _term(str(layer), _L2, f"L2({str(layer)!r})")


def channel(layer: str, i: int) -> Objective:
    """One feature of the layer, everywhere: the sum over places of channel i, from 0."""
    return _term(str(layer), _channel, f"channel({str(layer)!r}, {i})", _to_int(i))


def unit(layer: str, i: int, x: int, y: int) -> Objective:
    """One feature at one place: the value of channel i at (x, y) of the layer's own
    grid, from its upper left.

    The grid belongs to one size of the picture and stays in place only without jitter:
    take octave_n=1, jitter=0.
    """
    return _term(
        str(layer),
        partial(_unit, x=_to_int(x), y=_to_int(y)),
        f"unit({str(layer)!r}, {i}, {x}, {y})",
        _to_int(i),
    )


def logit(label: str | int) -> Objective:
    """A class, by name or number: its value before the softmax, which unlike a
    probability can always rise.

    A network that takes pictures of only one size sees a larger one through windows of
    that size.
    """
    label = str(label) if isinstance(label, str) else _to_int(label)
    return _term(scores, _channel, f"logit({label!r})", lambda net: class_number(net, label))


def guide(layer: str, image: np.ndarray | str | Path) -> Objective:
    """More of what is in the guide, an image (H, W, 3) or a path for `load_guide`: the
    sum over places of the best match's product."""
    shown = _show(image)

    def bind(net: Net) -> tuple[str, Add]:
        net.check_layer(layer)
        src = net.blobs["data"]
        before = src.data.copy()  # (1, 3, h, w): the picture in the network stays as it is
        try:
            features = guide_features(net, _load(image), layer)
        finally:
            src.reshape(*before.shape)
            src.data[:] = before
        return layer, partial(_guide, features=features, theirs=net.array(features))

    return Objective(f"guide({str(layer)!r}, {shown})", [Term(1.0, bind)])


def _load(image: np.ndarray | str | Path) -> np.ndarray:
    return load_guide(image) if isinstance(image, (str, Path)) else image


def _show(image: np.ndarray | str | Path) -> str:
    """A guide in words."""
    if isinstance(image, (str, Path)):
        return repr(str(image))
    return f"<image {'x'.join(map(str, np.shape(image)))}>"


def strongest(layer: str, n: int = 1) -> Objective:
    """More of what this picture has already: the n channels whose mean over it is
    largest, at a dream's first octave.

    `look` lists them. What rises is the sum of their values over all places, as with
    `channel`.
    """
    return _ranked("strongest", layer, n, lambda ranking: ranking[:n])


def weakest(layer: str, n: int = 1) -> Objective:
    """The n channels whose mean over the picture is smallest, of those that are not 0
    everywhere; see `strongest`.
    """
    return _ranked("weakest", layer, n, lambda ranking: ranking[::-1][:n])


def typical(layer: str, n: int = 1) -> Objective:
    """The n channels in the middle between `strongest` and `weakest`; see there."""
    return _ranked(
        "typical", layer, n, lambda ranking: ranking[max(0, (len(ranking) - n) // 2) :][:n]
    )


def _ranked(name: str, layer: str, n: int, choose: Callable[[list[int]], list[int]]) -> Objective:
    layer, n = str(layer), _to_int(n)

    def bind(net: Net) -> tuple[str, Add]:
        net.check_layer(layer)
        channels = net.channels(layer)
        if not (isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= channels):
            raise DreamError(
                f"{name}({layer!r}, {n!r}) asks for {n!r} channels; layer {layer!r} has 1 to {channels}"
            )
        return layer, _L2  # nobody climbs it before it has begun

    def begin(net: Net, image: np.ndarray | None) -> list[Term]:
        chosen = choose(rank_channels(net.features(layer)))
        if not chosen:
            raise DreamError(
                f"{text}: all channels of the layer are 0 on this picture; try another layer"
            )
        return [term for i in chosen for term in channel(layer, i).terms]

    text = f"{name}({layer!r})" if n == 1 else f"{name}({layer!r}, {n})"
    return Objective(text, [Term(1.0, bind, begin)])


def rank_channels(features: np.ndarray) -> list[int]:
    """The channels of a layer (channels, ...), by their mean, the largest first;
    without those that are 0 everywhere, which have no slope.
    """
    flat = features.reshape(len(features), -1)
    return [int(i) for i in np.argsort(-flat.mean(1), kind="stable") if flat[i].any()]


def caricature(
    layer: str, image: np.ndarray | str | Path | None = None, power: float = 1
) -> Objective:
    """Exaggerate: what a layer makes of an image, more of it, and the more so the
    better it fits at present.

    image: (H, W, 3), or a path, of which the layer sees the same part as of the
    picture; without one, the picture that the dream begins with. power: 0 asks for
    strength alone; the larger, the closer the likeness. With x and t what the layer
    makes of the picture and of the image, d = <x, t> and c = max(0.1, d / |x|): d *
    c**power. After lucid's dot_compare (Olah and others, "The Building Blocks of
    Interpretability", Distill 2018).
    """
    layer = str(layer)
    if isinstance(power, bool) or not isinstance(power, Real) or not 0 <= power <= 100:
        raise DreamError(
            f"the power of caricature({layer!r}) is {power!r}; it must be a number from 0 to 100"
        )
    shown = "" if image is None else f", {_show(image)}"
    text = f"caricature({layer!r}{shown}{'' if power == 1 else f', power={power}'})"

    def make_term(image: np.ndarray | str | Path | None) -> Term:
        """The term, once it is known which image."""

        @cache
        def load() -> np.ndarray:
            assert image is not None
            loaded = _load(image)
            check_image(loaded)
            return np.asarray(loaded)

        @lru_cache(maxsize=1)
        def fit(h: int, w: int) -> np.ndarray:
            return fit_into(load(), h, w)

        def bind(net: Net) -> tuple[str, Add]:
            net.check_layer(layer)
            if image is not None:
                load()
            return layer, _L2  # nobody climbs it before it is aimed

        def aim(net: Net) -> Bind:
            target = (
                net.features(layer)
                if image is None
                else _look_at(net, layer, fit(*net.image.shape[1:]))
            )
            fits = (
                None if net.inner is net else _compare(net.features(layer), target)
            )  # a tile sees only a part
            add = partial(_caricature, layer=layer, target=target, power=power, fits=fits)
            return lambda _: (layer, add)

        begin = (lambda net, photograph: [make_term(photograph)]) if image is None else None
        return Term(1.0, bind, begin, aim)

    return Objective(text, [make_term(image)])


def _look_at(net: Net, layer: str, image: np.ndarray) -> np.ndarray:
    """What a layer makes of an image (h, w, 3), shifted and turned as the picture in
    the network is, which stays.
    """
    picture = deepcopy(net.image)
    try:
        shown = net.xp.roll(net.array(to_data(image, net.mean)), net.shift, (-2, -1))
        net.image[:] = net.rotate(shown, net.angle) if net.angle else shown
        return net.features(layer)
    finally:
        net.image[:] = picture


def _L2(dst: Values, weight: float) -> None:
    dst.diff[:] += weight * dst.data


def _guide(dst: Values, weight: float, features: np.ndarray, theirs: Any) -> None:
    """features: as NumPy's array; theirs: the same in the engine's own."""
    x = dst.data[0]
    best = _best_matches(x, features if isinstance(x, np.ndarray) else theirs)
    dst.diff[0] += weight * best.reshape(x.shape)


def _caricature(
    dst: Values,
    weight: float,
    layer: str,
    target: np.ndarray,
    power: float,
    fits: tuple[float, float] | None,
) -> None:
    """target: what the layer makes of the image. fits: see `_compare`, of the whole
    layer, where `dst` is a part.
    """
    x, t, place = dst.data[0], target, getattr(dst, "place", None)
    if place:
        top, left = place[:2]
        t = target[:, top : top + x.shape[1], left : left + x.shape[2]]
    if t.shape != x.shape:
        raise DreamError(
            f"layer {layer!r} sees this picture through windows; for a caricature take another layer"
        )
    d, size = fits or _compare(x, t)
    c = max(0.1, d / size)
    if power * math.log10(c) > 30:  # near the end of what float32 holds
        raise DreamError(
            f"caricature({layer!r}) is too steep for power={power} on this picture; take a smaller power"
        )
    if c == 0.1:
        dst.diff[0] += weight * 0.1**power * t
    else:
        dst.diff[0] += weight * c**power * ((power + 1) * t - power * d / size**2 * x)


def _compare(x: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """(<x, t>, |x|)"""
    return float(np.sum(x * t, dtype=float)), float(np.sum(x * x, dtype=float)) ** 0.5 + 1e-6


def _channel(dst: Values, weight: float, layer: str, i: int) -> None:
    dst.diff[0, i] += weight


def _unit(dst: Values, weight: float, layer: str, i: int, x: int, y: int) -> None:
    data = dst.data[0]  # (channels, h, w)
    if data.ndim != 3:
        raise DreamError(
            f"layer {layer!r} has no places, only {len(data)} channels; take channel({layer!r}, {i})"
        )
    top, left, height, width = getattr(dst, "place", (0, 0, *data.shape[1:]))
    _check_range(f"x in layer {layer!r} at this octave's size", x, width)
    _check_range(f"y in layer {layer!r} at this octave's size", y, height)
    if top <= y < top + data.shape[1] and left <= x < left + data.shape[2]:  # it lies in this part
        dst.diff[0, i, y - top, x - left] += weight


def _to_int(i: T) -> int | T:
    """NumPy's integers as Python's, which neither overflow nor look odd in words;
    anything else as it is.
    """
    return int(i) if isinstance(i, Integral) and not isinstance(i, bool) else i


def _check_range(what: str, i: Any, n: int) -> None:
    if not (isinstance(i, Integral) and not isinstance(i, bool) and 0 <= int(i) < n):
        raise DreamError(f"{what} is {i!r}; it must be a whole number from 0 to {n - 1}")


def scores(net: Net) -> str:
    """The layer whose blob holds the classes' values before the softmax; the last layer
    if there is no softmax.
    """
    blobs = [layer.bottom[0] for layer in net.layer_specs if layer.type == "Softmax"]
    return blobs[-1] if blobs else net.layer_specs[-1].top[-1]


def class_number(net: Net, label: str | int) -> int:
    """The number of a class, given that or one of its names; a DreamError with the
    closest names for any other.
    """
    if not isinstance(label, str):
        if net.labels:
            _check_range(f"the number of a class of {net.model.name}", label, len(net.labels))
        return label  # without names, the number of channels of its blob is the limit, see `_term`
    if not net.labels:
        cure = "give the number of one, or an objective such as channel('LAYER', 0),"
        raise DreamError(
            f"{net.model.name} has no names for its classes; {cure} instead of {label!r}"
        )
    given = " ".join(label.lower().replace("_", " ").split())
    names = [
        (name.strip(), i)
        for i, names in enumerate(net.labels)
        for name in [names, *names.split(",")]
    ]
    numbers = sorted({i for name, i in names if name.lower() == given})
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        which = "; ".join(f"{i}: {net.labels[i]}" for i in numbers)
        raise DreamError(
            f"{label!r} names {len(numbers)} classes of {net.model.name}; give the number of one ({which})"
        )
    single = list(dict.fromkeys(name for name, _ in names if "," not in name))
    similar = [name for name in single if given and given in name.lower()]
    raise unknown(
        "class", label, similar or single, f"{net.model.name} has {len(net.labels)} classes"
    )


def to_objective(what: str | int | Objective) -> Objective:
    """An Objective: given itself, in words (see `parse`), or as a class, by name or
    number.

    A guide in words may be one of the package's photographs.
    """
    if isinstance(what, str):
        what = what.strip()
        return (
            parse(what, or_sample)
            if "(" in what
            else logit(int(what) if what.isdecimal() else what)
        )
    return what if isinstance(what, Objective) else logit(what)


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
TERMS = {
    term.__name__: term
    for term in (L2, guide, channel, unit, logit, strongest, weakest, typical, caricature)
}


def parse(text: str, find: Callable[[str], str | None] = str) -> Objective:
    """The objective that `text` describes, such as "L2('conv2') - 3 * channel('conv3',
    7)".

    find: a function that makes the path to read a guide from, given the path in the
    text. Where it makes None, nobody will look at the guide, and only its layer
    matters: L2 stands for it.
    """

    def build(node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            sides = build(node.left), build(node.right)
            if str not in map(type, sides):
                return OPERATORS[type(node.op)](*sides)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -build(node.operand)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TERMS:
            term = TERMS[node.func.id]
            named = {str(it.arg): build(it.value) for it in node.keywords}
            try:
                given = signature(term).bind(*map(build, node.args), **named)
            except TypeError as error:
                raise TypeError(f"{ast.unparse(node)}: {error}") from None
            path = given.arguments.get("image")
            if path is not None:
                if not isinstance(path, str):
                    raise TypeError(f"the image of {ast.unparse(node)} must be a path in quotes")
                given.arguments["image"] = find(path)
                if given.arguments["image"] is None:
                    return L2(given.arguments["layer"])
            return term(*given.args, **given.kwargs)
        if isinstance(node, ast.Constant) and type(node.value) in (str, int, float, type(None)):
            return node.value
        raise TypeError(f"{ast.unparse(node)!r} has no meaning in it")

    try:
        objective = build(read_words(text.strip()).body)
        if not isinstance(objective, Objective):
            raise TypeError("it has no term")
        return objective
    except (
        SyntaxError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        reason = getattr(error, "msg", error) or type(error).__name__
        form = "an objective is a sum such as \"L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)\""
        raise DreamError(
            f"cannot read {text[:200]!r}: {reason}; {form}, of {', '.join(TERMS)}"
        ) from None
