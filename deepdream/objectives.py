"""What to climb: a number that should rise.

Google's two are plain functions of one layer. The others are added and
scaled, as in lucid: `L2('conv2') + 8000 * channel('conv2', 7)`. Weights
multiply the gradients as they are: on a photograph, L2's is 1,000 to 3,000
times as strong as a channel's.

To add a term, write a class of `Term` and a function that makes an
Objective of it, and name this in TERMS.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np

from .algebra import Objective, Term, dot, number_in_words, one
from .errors import DreamError
from .given import as_image
from .nets.base import EngineArray, Net, Place, Values, preprocess, put, to_data
from .nets.classes import as_int, check_range, class_number, is_whole, scores
from .nets.sizes import fit_picture
from .pictures import fit_into, load_guide

Picture = np.ndarray | str | Path  # an image (H, W, 3), or a path for `load_guide`


def objective_L2(dst: Values) -> EngineArray:
    """Whatever the layer sees, more of it: half the sum of squares."""
    dst.diff[:] = dst.data
    return 0.5 * dot(dst.data, dst.data)


def objective_guide(dst: Values, guide_features: np.ndarray) -> None:
    """At each place, more of its best match among the features, (channels, h, w).

    Raises DreamError for another number of channels.
    """
    ch = dst.data.shape[1]
    dst.diff[0].reshape(ch, -1)[:] = _best_matches(dst.data[0], guide_features)


def _best_matches(x: EngineArray, y: EngineArray) -> EngineArray:
    """For each place of x, that of y: (channels, h * w)."""
    ch = x.shape[0]
    if len(y) != ch:
        cure = "take `guide_features` at the layer to climb"
        raise DreamError(f"the guide has {len(y)} channels, the layer {ch}; {cure}")
    x = x.reshape(ch, -1)
    y = y.reshape(ch, -1)
    A = x.T @ y  # (places here, places in the guide): dot-products of features
    return y[:, A.argmax(1)]


def guide_features(net: Net, image: np.ndarray, end: str) -> np.ndarray:
    """What layer `end` makes of a guide (H, W, 3): (channels, h, w).

    Raises DreamError for an unknown layer, or too small an image.
    """
    picture = preprocess(net, image)  # (3, H, W)
    net.check(end, *picture.shape[1:])
    put(net, fit_picture(net, picture, [end]))
    return net.features(end)


@dataclass(frozen=True)
class Squares(Term):
    """Half the sum of squares of a layer's values."""

    layer: str
    name = "L2"

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        dst.diff[:] += weight * dst.data
        return 0.5 * dot(dst.data, dst.data)


def L2(layer: str) -> Objective:
    """Whatever the layer sees, more of it: as `objective_L2`."""
    return one(Squares(str(layer)))


class Exemplar:
    """An image (H, W, 3), or the path of one, which is read when it is needed."""

    def __init__(self, given: Picture) -> None:
        self.given = given
        self._pixels = self._fitted = None

    def __repr__(self) -> str:
        if isinstance(self.given, (str, Path)):
            return repr(str(self.given))
        return f"<image {'x'.join(map(str, np.shape(self.given)))}>"

    def read(self) -> np.ndarray:
        """(H, W, 3). Raises DreamError for what cannot be read, or is no image."""
        if self._pixels is None:
            given = self.given
            pixels = load_guide(given) if isinstance(given, (str, Path)) else given
            self._pixels = as_image(pixels)
        return self._pixels

    def fit(self, h: int, w: int) -> np.ndarray:
        """As much of its middle as has this shape, (h, w, 3)."""
        if self._fitted is None or self._fitted.shape[:2] != (h, w):
            self._fitted = fit_into(self.read(), h, w)
        return self._fitted


@dataclass(frozen=True, eq=False)
class Guide(Term):
    """features: of the image, (channels, h, w), NumPy's and the engine's."""

    layer: str
    image: Exemplar
    features: tuple[np.ndarray, EngineArray] | None = None

    def __str__(self) -> str:
        return f"guide({self.layer!r}, {self.image})"

    def check(self, net: Net) -> None:
        if self.features is None:
            net.check(self.layer, *self.image.read().shape[:2])

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        if self.features is not None:
            return [self]
        net = net.inner  # a guide is small, and needs no tiles
        src = net.blobs["data"]
        before = src.data.copy()  # (1, 3, h, w): the picture in the network stays as it is
        features = guide_features(net, self.image.read(), self.layer)
        src.reshape(*before.shape)
        src.data[:] = before
        return [replace(self, features=(features, net.array(features)))]

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        assert self.features
        x = dst.data[0]
        best = _best_matches(x, self.features[0 if isinstance(x, np.ndarray) else 1])
        best = best.reshape(x.shape)
        dst.diff[0] += weight * best
        return dot(best, x)


def guide(layer: str, image: Picture) -> Objective:
    """More of what is in an image (H, W, 3), or its path."""
    return one(Guide(str(layer), Exemplar(image)))


@dataclass(frozen=True)
class Channel(Term):
    """The sum over places of a channel's values."""

    layer: str
    i: int
    name = "channel"

    def check(self, net: Net) -> None:
        check_range(f"channel of layer {self.layer!r}", self.i, net.channels(self.layer))

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        dst.diff[0, self.i] += weight
        return dst.data[0, self.i].sum()


def channel(layer: str, i: int) -> Objective:
    """One feature of the layer: the sum over all places of channel i, from 0."""
    return one(Channel(str(layer), as_int(i)))


@dataclass(frozen=True)
class Unit(Channel):
    """A channel's value at one place."""

    x: int
    y: int
    name = "unit"

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        layer, i, data = self.layer, self.i, dst.data[0]  # (channels, h, w)
        if data.ndim != 3:
            what = f"layer {layer!r} has no places, only {len(data)} channels"
            raise DreamError(f"{what}; take channel({layer!r}, {i})")
        top, left, height, width = place or (0, 0, *data.shape[1:])
        check_range(f"x in layer {layer!r} at this octave's size", self.x, width)
        check_range(f"y in layer {layer!r} at this octave's size", self.y, height)
        y, x = self.y - top, self.x - left
        if 0 <= y < data.shape[1] and 0 <= x < data.shape[2]:  # it is in this part
            dst.diff[0, i, y, x] += weight
            return data[i, y, x]
        return 0.0


def unit(layer: str, i: int, x: int, y: int) -> Objective:
    """Channel i at (x, y) of the layer's grid; take octave_n=1, jitter=0."""
    return one(Unit(str(layer), as_int(i), as_int(x), as_int(y)))


@dataclass(frozen=True)
class Logit(Term):
    """The value of a class before the softmax."""

    label: str | int
    name = "logit"

    def _channel(self, net: Net) -> Channel:
        return Channel(scores(net), class_number(net, self.label))

    def layer_in(self, net: Net) -> str:
        return self._channel(net).layer_in(net)

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        return [self._channel(net)]


def logit(label: str | int) -> Objective:
    """A class, by name or number: its value before the softmax."""
    return one(Logit(str(label) if isinstance(label, str) else as_int(label)))


@dataclass(frozen=True)
class Ranked(Term):
    """n channels of a ranking of all. at: 0 for the first of it, 1 for the last."""

    layer: str
    n: int
    name: str
    at: float
    needs_picture = True

    def __str__(self) -> str:
        n = "" if self.n == 1 else f", {self.n}"
        return f"{self.name}({self.layer!r}{n})"

    def check(self, net: Net) -> None:
        n, most = self.n, net.channels(self.layer)
        if not (is_whole(n) and 1 <= n <= most):
            what = f"{self.name}({self.layer!r}, {n!r}) asks for {n!r} channels"
            raise DreamError(f"{what}; layer {self.layer!r} has 1 to {most}")

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        ranking = rank_channels(net.features(self.layer))
        if not ranking:
            why = "all channels of the layer are 0 on this picture"
            raise DreamError(f"{self}: {why}; try another layer")
        first = int(self.at * max(0, len(ranking) - self.n))
        return [Channel(self.layer, i) for i in ranking[first : first + self.n]]


def strongest(layer: str, n: int = 1) -> Objective:
    """The n channels whose mean over the picture is largest; `look` lists them."""
    return one(Ranked(str(layer), as_int(n), "strongest", 0))


def weakest(layer: str, n: int = 1) -> Objective:
    """As `strongest`, of the smallest mean, but not 0 everywhere."""
    return one(Ranked(str(layer), as_int(n), "weakest", 1))


def typical(layer: str, n: int = 1) -> Objective:
    """As `strongest`, of the middle of the ranking."""
    return one(Ranked(str(layer), as_int(n), "typical", 1 / 2))


def rank_channels(features: np.ndarray) -> list[int]:
    """The channels that are not all 0, the largest mean first."""
    flat = features.reshape(len(features), -1)
    return [int(i) for i in np.argsort(-flat.mean(1), kind="stable") if flat[i].any()]


@dataclass(frozen=True, eq=False)
class Caricature(Term):
    """target: what the layer makes of the image, (channels, h, w), once it
    is aimed. fits: see `_compare`, of the whole layer, where tiles show
    parts of it.
    """

    layer: str
    image: Exemplar | None
    power: float
    target: np.ndarray | None = None
    fits: tuple[float, float] | None = None
    any_array = False  # it looks at values

    @property
    def needs_picture(self) -> bool:
        return self.image is None

    def __str__(self) -> str:
        image = "" if self.image is None else f", {self.image}"
        power = "" if self.power == 1 else f", power={number_in_words(self.power)}"
        return f"caricature({self.layer!r}{image}{power})"

    def check(self, net: Net) -> None:
        if self.image:
            self.image.read()

    def start(self, net: Net, picture: np.ndarray | None) -> list[Term]:
        if self.image or picture is None:
            return [self]
        return [replace(self, image=Exemplar(picture))]

    def aim(self, net: Net, shift: tuple[int, int], angle: float) -> Term:
        target = self._look(net, shift, angle)
        in_tiles = net.inner is not net
        fits = _compare(net.features(self.layer), target) if in_tiles else None
        return replace(self, target=target, fits=fits)

    def _look(self, net: Net, shift: tuple[int, int], angle: float) -> np.ndarray:
        """What the layer makes of the image, moved as the picture is."""
        if not self.image:
            return net.features(self.layer)
        picture = deepcopy(net.image)
        image = to_data(self.image.fit(*picture.shape[1:]), net.mean)
        shown = net.xp.roll(net.array(image), shift, (-2, -1))
        net.image[:] = net.rotate(shown, angle) if angle else shown
        try:
            return net.features(self.layer)
        finally:
            net.image[:] = picture

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        x, t, power = dst.data[0], self.target, self.power
        assert t is not None
        if place:
            h, w = x.shape[1:]
            t = t[:, place.top : place.top + h, place.left : place.left + w]
        if t.shape != x.shape:
            how = "sees this picture through windows; for a caricature take another layer"
            raise DreamError(f"layer {self.layer!r} {how}")
        d, size = self.fits or _compare(x, t)
        c = max(0.1, d / size)
        here = d if self.fits is None else dot(x, t)
        if power * math.log10(c) > 30:  # near the end of what float32 holds
            steep = f"is too steep for power={power} on this picture; take a smaller power"
            raise DreamError(f"caricature({self.layer!r}) {steep}")
        if c == 0.1:
            dst.diff[0] += weight * 0.1**power * t
        else:
            dst.diff[0] += weight * c**power * ((power + 1) * t - power * d / size**2 * x)
        return here * c**power


def _compare(x: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """(<x, t>, |x|)"""
    squares = float(np.sum(x * x, dtype=float))
    return float(np.sum(x * t, dtype=float)), squares**0.5 + 1e-6


def caricature(layer: str, image: Picture | None = None, power: float = 1) -> Objective:
    """Exaggerate what a layer makes of an image, the more the better it fits now.

    image: (H, W, 3), or a path; None: what the dream begins with. power:
    the larger, the closer the likeness. With x and t what the layer makes
    of picture and image, d = <x, t> and c = max(0.1, d / |x|), d * c**power
    rises, as in lucid's dot_compare. Raises DreamError for another power
    than 0..100.
    """
    layer = str(layer)
    if isinstance(power, bool) or not isinstance(power, Real) or not 0 <= power <= 100:
        what = f"the power of caricature({layer!r}) is {power!r}"
        raise DreamError(f"{what}; it must be a number from 0 to 100")
    return one(Caricature(layer, None if image is None else Exemplar(image), power))


# What may stand in words, see language.py
TERMS: dict[str, Callable[..., Objective]] = {
    factory.__name__: factory
    for factory in (L2, guide, channel, unit, logit, strongest, weakest, typical, caricature)
}
