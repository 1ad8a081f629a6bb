"""Objectives as numbers: terms that are added and scaled."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from .errors import DreamError
from .nets.base import EngineArray, Fill, Net, Place, Values
from .nets.classes import is_whole

UNTOUCHED = -0.0  # equals 0, but can be told from a 0 that was written
MOST_WEIGHT = 1e30  # so that float32 holds the gradient, too


class Term:
    """One term of an Objective, a dataclass. Terms without arrays are equal
    where their values are, so that a recorded gradient is found again.

    name: of the function that makes it. needs_picture: it depends on what a
    dream begins with. any_array: see `Fill`. is_plain: it replaces the
    whole diff.
    """

    name: str
    layer: str
    needs_picture: bool = False
    any_array: bool = True
    is_plain: bool = False

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, vars(self).values()))})"

    def layer_in(self, net: Net) -> str:
        """Its layer in this network. Raises DreamError for none, and as `check`."""
        net.check_layer(self.layer)
        self.check(net)
        return self.layer

    def check(self, net: Net) -> None:
        """Raise a DreamError if it makes no sense at its layer."""

    def start(self, net: Net, picture: np.ndarray | None) -> "Iterable[Term]":
        """What stands for it in this network. picture: (H, W, 3), what a
        dream begins with, if any; its first octave is in the network now.
        """
        return [self]

    def aim(self, net: Net, shift: tuple[int, int], angle: float) -> "Term":
        """What stands for it in this step. shift, angle: of the picture in
        the network, (down, right) in pixels, and then degrees.
        """
        return self

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        """Add its gradient, times the weight, to `dst.diff`. place: see `Fill`.
        What it is now, without the weight: a number.
        """
        raise NotImplementedError


class Weighted(NamedTuple):
    """A term, and how often it counts."""

    weight: float
    term: Term


@dataclass(frozen=True)
class Function(Term):
    """A function of one layer's values, such as `objective_L2`, alone in its Sum.

    Its value is what it returns, if that is a number; else the sum of
    diff * data, which is the objective where that is linear.
    """

    function: Callable[[Values], object]
    layer: str
    any_array: bool
    is_plain = True

    def layer_in(self, net: Net) -> str:
        return self.layer  # a pass refuses one that is not there

    def add(self, dst: Values, weight: float, place: Place | None) -> EngineArray:
        if not self.any_array:
            dst.diff[:] = UNTOUCHED
        value: EngineArray = self.function(dst)
        if not self.any_array:  # else it may not be looked at
            self._check_filled(dst, value)
        is_number = isinstance(value, Real) or getattr(value, "ndim", None) == 0
        return value if is_number else dot(dst.diff, dst.data)

    def _check_filled(self, dst: Values, value: object) -> None:
        """Raise a DreamError if the function has written nothing."""
        if dst.diff.any() or not dst.data.any() or not np.signbit(dst.diff).all():
            return
        name = getattr(self.function, "__name__", "your objective")
        returned = "" if value is None else ", it returned a value instead"
        cure = "write the gradient there, such as `dst.diff[:] = dst.data`"
        raise DreamError(f"your objective {name} did not fill dst.diff{returned}; {cure}")


@dataclass(frozen=True)
class Sum:
    """Fills `dst.diff` with the weighted sum of the terms of one layer; see `Fill`."""

    terms: tuple[Weighted, ...]
    any_array: bool

    def __call__(self, dst: Values, place: Place | None = None) -> EngineArray:
        if not any(term.is_plain for _, term in self.terms):
            dst.diff[:] = 0
        value: EngineArray = 0.0
        for weight, term in self.terms:
            value += weight * term.add(dst, weight, place)
        return value


class Objective:
    """A number to climb: a weighted sum of terms. str() gives it back in words."""

    __array_ufunc__ = None  # so that NumPy leaves `numpy.float64(2) * objective` to us

    def __init__(self, text: str, terms: list[Weighted], is_sum: bool = False) -> None:
        self.text, self.terms, self.is_sum = text, terms, is_sum
        self.needs_picture = any(term.needs_picture for _, term in terms)
        self.is_plain = any(term.is_plain for _, term in terms)
        self._started: WeakKeyDictionary[Net, Objective] = WeakKeyDictionary()

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

    def __mul__(self, weight: object) -> "Objective":
        return self._scale(weight, f"{self._factor()} * {number_in_words(weight)}")

    def __rmul__(self, weight: object) -> "Objective":
        return self._scale(weight, f"{number_in_words(weight)} * {self._factor()}")

    def __truediv__(self, weight: object) -> "Objective":
        shown = number_in_words(weight)
        if "/" in shown:
            shown = f"({shown})"
        inverse = 1 / weight if isinstance(weight, Real) else weight
        return self._scale(inverse, f"{self._factor()} / {shown}")

    def __neg__(self) -> "Objective":
        return self._scale(-1, f"-{self._factor()}")

    def _scale(self, weight: object, text: str) -> "Objective":
        if not isinstance(weight, Real):
            return NotImplemented
        try:
            factor = float(weight)
        except OverflowError:
            factor = math.inf
        terms = [Weighted(factor * weight, term) for weight, term in self.terms]
        if not all(abs(weight) <= MOST_WEIGHT for weight, _ in terms):
            limit = f"is not a finite number, or beyond {MOST_WEIGHT:g}"
            raise DreamError(f"a weight in {text[:80]} {limit}")
        return Objective(text, terms)

    def _factor(self) -> str:
        return f"({self})" if self.is_sum else str(self)

    def layers_in(self, net: Net) -> list[str]:
        """Its layers here, or a DreamError for terms without sense there."""
        return list(dict.fromkeys(term.layer_in(net) for _, term in self.terms))

    def start(self, net: Net, picture: np.ndarray | None = None) -> "Objective":
        """What stands for it, see `Term.start`. Raises as `layers_in`."""
        if net.inner in self._started:
            return self._started[net.inner]
        self.layers_in(net)
        terms = []
        for weight, term in self.terms:
            terms += [Weighted(weight, each) for each in term.start(net, picture)]
        started = Objective(self.text, terms, self.is_sum)
        if not self.needs_picture:
            self._started[net.inner] = started
        return started

    def fills(
        self, net: Net, shift: tuple[int, int] = (0, 0), angle: float = 0.0
    ) -> dict[str, Fill]:
        """{layer: what fills its diff} in one step; shift, angle: see `Term.aim`."""
        layers: dict[str, list[Weighted]] = {}
        for weight, term in self.terms:
            aimed = Weighted(weight, term.aim(net, shift, angle))
            layers.setdefault(term.layer, []).append(aimed)
        any_array = all(term.any_array for _, term in self.terms)
        return {layer: Sum(tuple(terms), any_array) for layer, terms in layers.items()}


def dot(x: EngineArray, y: EngineArray) -> EngineArray:
    """The sum of x * y, of arrays of the same shape."""
    return (x * y).sum()


def one(term: Term) -> Objective:
    """An Objective of one term."""
    return Objective(str(term), [Weighted(1.0, term)])


def number_in_words(number: object) -> str:
    """A number, Python's or NumPy's, as Python's language has it."""
    if is_whole(number) or isinstance(number, Fraction) or not isinstance(number, Real):
        return str(number)
    return repr(float(number))
