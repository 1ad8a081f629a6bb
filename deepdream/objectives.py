"""What to climb: a number that should rise.

Two of Google's objectives are plain functions of one layer. The rest are Objectives,
which are added and scaled like numbers, as in lucid (see algebra.py):
`L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)`. Weights
multiply the gradients as they are: on a photograph, L2's is 1,000 to 3,000 times as
strong as that of a channel.

To add a term, write its class and, under `@in_words`, the function that makes an
Objective of it: it can then be written on the command line, too.
"""

import ast
import math
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from numbers import Integral, Real
from pathlib import Path
from typing import TypeVar

import numpy as np

from .algebra import Objective, Term, Weighted, is_whole, number_in_words
from .errors import DreamError, unknown
from .nets.base import EngineArray, Net, Place, Values, check_image, preprocess, put, to_data
from .pictures import fit_into, load_guide

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Objective])
Picture = np.ndarray | str | Path  # an image (H, W, 3), or a path for `load_guide`

TERMS: dict[str, Callable[..., Objective]] = {}  # what may stand in words, see language.py


def in_words(factory: Factory) -> Factory:
    """Let this function be called in words, by its name."""
    TERMS[factory.__name__] = factory
    return factory


def objective_L2(dst: Values) -> None:
    """Whatever the layer sees, more of it: half the sum of squares, whose gradient is
    the activations themselves.
    """
    dst.diff[:] = dst.data


def objective_guide(dst: Values, guide_features: np.ndarray) -> None:
    """At each place, more of what best matches there among the guide's features,
    (channels, h, w).

    Use it as `functools.partial(objective_guide, guide_features=guide_features(net,
    image, end))`. Raises DreamError where the layer has another number of channels.
    """
    ch = dst.data.shape[1]
    dst.diff[0].reshape(ch, -1)[:] = _best_matches(dst.data[0], guide_features)


def _best_matches(x: EngineArray, y: EngineArray) -> EngineArray:
    """For each place of x, (channels, h, w), the features of y that match it best:
    (channels, h * w).
    """
    ch = x.shape[0]
    if len(y) != ch:
        cure = "take `guide_features` at the layer to climb"
        raise DreamError(f"the guide has {len(y)} channels, the layer {ch}; {cure}")
    x = x.reshape(ch, -1)
    y = y.reshape(ch, -1)
    A = x.T @ y  # (places here, places in the guide): dot-products of features
    return y[:, A.argmax(1)]


def guide_features(net: Net, image: np.ndarray, end: str) -> np.ndarray:
    """What layer `end` makes of a guide image (H, W, 3): (channels, h, w) float32.

    Raises DreamError for an unknown layer, and for an image that is too small for it.
    """
    picture = preprocess(net, image)  # (3, H, W)
    net.check(end, *picture.shape[1:])
    put(net, picture)
    return net.features(end)


def _one(term: Term, text: str) -> Objective:
    """An Objective of one term, and what it is in words."""
    return Objective(text, [Weighted(1.0, term)])


@dataclass(frozen=True)
class Squares(Term):
    layer: str

    def add(self, dst: Values, weight: float, place: Place | None) -> None:
        dst.diff[:] += weight * dst.data


@in_words
def L2(layer: str) -> Objective:
    """Whatever the layer sees, more of it: half the sum of squares. The same dream as
    with `objective_L2`.
    """
    layer = str(layer)
    return _one(Squares(layer), f"L2({layer!r})")


@dataclass(frozen=True, eq=False)
class Guide(Term):
    """features: what the layer makes of the image, (channels, h, w), once it is
    started, as NumPy's array and as the engine's own.
    """

    layer: str
    image: Picture
    features: tuple[np.ndarray, EngineArray] | None = None

    def layer_in(self, net: Net) -> str:
        if self.features is None:
            net.check(self.layer, *_load(self.image).shape[:2])
        return self.layer

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        if self.features is not None:
            return [self]
        net = net.inner  # a guide is small, and needs no tiles
        src = net.blobs["data"]
        before = src.data.copy()  # (1, 3, h, w): the picture in the network stays as it is
        try:
            features = guide_features(net, _load(self.image), self.layer)
        finally:
            src.reshape(*before.shape)
            src.data[:] = before
        return [replace(self, features=(features, net.array(features)))]

    def add(self, dst: Values, weight: float, place: Place | None) -> None:
        assert self.features
        x = dst.data[0]
        best = _best_matches(x, self.features[0 if isinstance(x, np.ndarray) else 1])
        dst.diff[0] += weight * best.reshape(x.shape)


@in_words
def guide(layer: str, image: Picture) -> Objective:
    """More of what is in the guide, an image (H, W, 3) or a path for `load_guide`: the
    sum over places of the best match's product.
    """
    layer = str(layer)
    return _one(Guide(layer, image), f"guide({layer!r}, {_show(image)})")


def _load(image: Picture) -> np.ndarray:
    """A guide as an array (H, W, 3). Raises DreamError if it cannot be one."""
    loaded = load_guide(image) if isinstance(image, (str, Path)) else image
    check_image(loaded)
    return np.asarray(loaded)


def _show(image: Picture) -> str:
    """A guide in words."""
    if isinstance(image, (str, Path)):
        return repr(str(image))
    return f"<image {'x'.join(map(str, np.shape(image)))}>"


@dataclass(frozen=True)
class Channel(Term):
    layer: str
    i: int

    def layer_in(self, net: Net) -> str:
        net.check_layer(self.layer)
        _check_range(f"channel of layer {self.layer!r}", self.i, net.channels(self.layer))
        return self.layer

    def add(self, dst: Values, weight: float, place: Place | None) -> None:
        dst.diff[0, self.i] += weight


@in_words
def channel(layer: str, i: int) -> Objective:
    """One feature of the layer, everywhere: the sum over places of channel i, from 0."""
    layer = str(layer)
    return _one(Channel(layer, _to_int(i)), f"channel({layer!r}, {i})")


@dataclass(frozen=True)
class Unit(Channel):
    x: int
    y: int

    def add(self, dst: Values, weight: float, place: Place | None) -> None:
        layer, i, data = self.layer, self.i, dst.data[0]  # (channels, h, w)
        if data.ndim != 3:
            what = f"layer {layer!r} has no places, only {len(data)} channels"
            raise DreamError(f"{what}; take channel({layer!r}, {i})")
        top, left, height, width = place or (0, 0, *data.shape[1:])
        _check_range(f"x in layer {layer!r} at this octave's size", self.x, width)
        _check_range(f"y in layer {layer!r} at this octave's size", self.y, height)
        y, x = self.y - top, self.x - left
        if 0 <= y < data.shape[1] and 0 <= x < data.shape[2]:  # it lies in this part
            dst.diff[0, i, y, x] += weight


@in_words
def unit(layer: str, i: int, x: int, y: int) -> Objective:
    """One feature at one place: the value of channel i at (x, y) of the layer's own
    grid, from its upper left.

    The grid belongs to one size of the picture and stays in place only without jitter:
    take octave_n=1, jitter=0.
    """
    layer = str(layer)
    made = Unit(layer, _to_int(i), _to_int(x), _to_int(y))
    return _one(made, f"unit({layer!r}, {i}, {x}, {y})")


@dataclass(frozen=True)
class Logit(Term):
    label: str | int

    def _channel(self, net: Net) -> Channel:
        return Channel(scores(net), class_number(net, self.label))

    def layer_in(self, net: Net) -> str:
        return self._channel(net).layer_in(net)

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        return [self._channel(net)]


@in_words
def logit(label: str | int) -> Objective:
    """A class, by name or number: its value before the softmax, which unlike a
    probability can always rise.

    A network that takes pictures of only one size sees a larger one through windows of
    that size.
    """
    label = str(label) if isinstance(label, str) else _to_int(label)
    return _one(Logit(label), f"logit({label!r})")


@dataclass(frozen=True)
class Ranked(Term):
    """n channels of a ranking of all. at: 0 for the first of it, 1 for the last."""

    name: str
    layer: str
    n: int
    at: float
    needs_picture = True

    def __str__(self) -> str:
        n = "" if self.n == 1 else f", {self.n}"
        return f"{self.name}({self.layer!r}{n})"

    def layer_in(self, net: Net) -> str:
        net.check_layer(self.layer)
        n, most = self.n, net.channels(self.layer)
        if not (is_whole(n) and 1 <= n <= most):
            what = f"{self.name}({self.layer!r}, {n!r}) asks for {n!r} channels"
            raise DreamError(f"{what}; layer {self.layer!r} has 1 to {most}")
        return self.layer

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        ranking = rank_channels(net.features(self.layer))
        if not ranking:
            why = "all channels of the layer are 0 on this picture"
            raise DreamError(f"{self}: {why}; try another layer")
        first = int(self.at * max(0, len(ranking) - self.n))
        return [Channel(self.layer, i) for i in ranking[first : first + self.n]]


@in_words
def strongest(layer: str, n: int = 1) -> Objective:
    """More of what this picture has already: the n channels whose mean over it is
    largest, at a dream's first octave.

    `look` lists them. What rises is the sum of their values over all places, as with
    `channel`.
    """
    return _ranked("strongest", layer, n, 0)


@in_words
def weakest(layer: str, n: int = 1) -> Objective:
    """The n channels whose mean over the picture is smallest, of those that are not 0
    everywhere; see `strongest`.
    """
    return _ranked("weakest", layer, n, 1)


@in_words
def typical(layer: str, n: int = 1) -> Objective:
    """The n channels in the middle between `strongest` and `weakest`; see there."""
    return _ranked("typical", layer, n, 1 / 2)


def _ranked(name: str, layer: str, n: int, at: float) -> Objective:
    term = Ranked(name, str(layer), _to_int(n), at)
    return _one(term, str(term))


def rank_channels(features: np.ndarray) -> list[int]:
    """The channels of a layer (channels, ...), by their mean, the largest first;
    without those that are 0 everywhere, which have no slope.
    """
    flat = features.reshape(len(features), -1)
    return [int(i) for i in np.argsort(-flat.mean(1), kind="stable") if flat[i].any()]


@dataclass(frozen=True, eq=False)
class Caricature(Term):
    """target: what the layer makes of the image, (channels, h, w), once it is aimed.
    fits: see `_compare`, of the whole layer, where tiles show parts of it.
    """

    layer: str
    image: Picture | None
    power: float
    target: np.ndarray | None = None
    fits: tuple[float, float] | None = None
    any_array = False  # it looks at values

    @property
    def needs_picture(self) -> bool:
        return self.image is None

    @cached_property
    def _fit(self) -> Callable[[int, int], np.ndarray]:
        """From a size to the image at that size, (h, w, 3); it remembers the last."""
        assert self.image is not None
        return lru_cache(maxsize=1)(partial(fit_into, _load(self.image)))

    def layer_in(self, net: Net) -> str:
        net.check_layer(self.layer)
        if self.image is not None and self.target is None:
            self._fit  # noqa: B018, refuses what is no image
        return self.layer

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        return [self if self.image is not None else replace(self, image=picture)]

    def aim(self, net: Net, shift: tuple[int, int], angle: float) -> Term:
        is_own = self.image is None
        target = net.features(self.layer) if is_own else self._look(net, shift, angle)
        fits = None
        if net.inner is not net:  # a tile sees only a part
            fits = _compare(net.features(self.layer), target)
        return replace(self, target=target, fits=fits)

    def _look(self, net: Net, shift: tuple[int, int], angle: float) -> np.ndarray:
        """What the layer makes of the image, shifted and turned as the picture in the
        network is, which stays there.
        """
        picture = deepcopy(net.image)
        data = net.array(to_data(self._fit(*picture.shape[1:]), net.mean))
        shown = net.xp.roll(data, shift, (-2, -1))
        net.image[:] = net.rotate(shown, angle) if angle else shown
        try:
            return net.features(self.layer)
        finally:
            net.image[:] = picture

    def add(self, dst: Values, weight: float, place: Place | None) -> None:
        x, t, power = dst.data[0], self.target, self.power
        assert t is not None
        if place:
            t = t[:, place.top : place.top + x.shape[1], place.left : place.left + x.shape[2]]
        if t.shape != x.shape:
            how = "sees this picture through windows; for a caricature take another layer"
            raise DreamError(f"layer {self.layer!r} {how}")
        d, size = self.fits or _compare(x, t)
        c = max(0.1, d / size)
        if power * math.log10(c) > 30:  # near the end of what float32 holds
            steep = f"is too steep for power={power} on this picture; take a smaller power"
            raise DreamError(f"caricature({self.layer!r}) {steep}")
        if c == 0.1:
            dst.diff[0] += weight * 0.1**power * t
        else:
            dst.diff[0] += weight * c**power * ((power + 1) * t - power * d / size**2 * x)


def _compare(x: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """(<x, t>, |x|)"""
    return float(np.sum(x * t, dtype=float)), float(np.sum(x * x, dtype=float)) ** 0.5 + 1e-6


@in_words
def caricature(layer: str, image: Picture | None = None, power: float = 1) -> Objective:
    """Exaggerate: what a layer makes of an image, more of it, and the more so the
    better it fits at present.

    image: (H, W, 3), or a path, of which the layer sees the same part as of the
    picture; without one, the picture that the dream begins with. power: 0 asks for
    strength alone; the larger, the closer the likeness. With x and t what the layer
    makes of the picture and of the image, d = <x, t> and c = max(0.1, d / |x|): d *
    c**power. After lucid's dot_compare (Olah and others, "The Building Blocks of
    Interpretability", Distill 2018). Raises DreamError for another power than 0..100.
    """
    layer = str(layer)
    if isinstance(power, bool) or not isinstance(power, Real) or not 0 <= power <= 100:
        what = f"the power of caricature({layer!r}) is {power!r}"
        raise DreamError(f"{what}; it must be a number from 0 to 100")
    shown = "" if image is None else f", {_show(image)}"
    closer = "" if power == 1 else f", power={number_in_words(power)}"
    return _one(Caricature(layer, image, power), f"caricature({layer!r}{shown}{closer})")


def _to_int(i: T) -> int | T:
    """NumPy's integers as Python's, which neither overflow nor look odd in words;
    anything else as it is.
    """
    return int(i) if isinstance(i, Integral) and not isinstance(i, bool) else i


def _check_range(what: str, i: int, n: int) -> None:
    if not (is_whole(i) and 0 <= i < n):
        raise DreamError(f"{what} is {i!r}; it must be a whole number from 0 to {n - 1}")


def scores(net: Net) -> str:
    """The layer whose blob holds the classes' values before the softmax; the last layer
    if there is no softmax.
    """
    blobs = [layer.bottom[0] for layer in net.layer_specs if layer.type == "Softmax"]
    return blobs[-1] if blobs else net.layer_specs[-1].top[-1]


def class_number(net: Net, label: str | int) -> int:
    """The number of a class, given that or one of its names.

    Raises DreamError, with the closest names, for a class that the network lacks, and
    for a name of several.
    """
    if not isinstance(label, str):
        if net.labels:  # without names, its blob's channels are the limit, see `Channel`
            _check_range(f"the number of a class of {net.model.name}", label, len(net.labels))
        return label
    model, labels = net.model.name, net.labels
    if not labels:
        cure = "give the number of one, or an objective such as channel('LAYER', 0),"
        raise DreamError(f"{model} has no names for its classes; {cure} instead of {label!r}")
    given = " ".join(label.lower().replace("_", " ").split())
    names = [
        (name.strip(), i) for i, names in enumerate(labels) for name in [names, *names.split(",")]
    ]
    numbers = sorted({i for name, i in names if name.lower() == given})
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        which = "; ".join(f"{i}: {labels[i]}" for i in numbers)
        several = f"{label!r} names {len(numbers)} classes of {model}"
        raise DreamError(f"{several}; give the number of one ({which})")
    single = list(dict.fromkeys(name for name, _ in names if "," not in name))
    similar = [name for name in single if given and given in name.lower()]
    raise unknown("class", label, similar or single, f"{model} has {len(labels)} classes")


def read_words(text: str) -> ast.Expression:  # until recipe.py uses language.parse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval")
