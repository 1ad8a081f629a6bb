"""What a network wants of a picture's colours."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import DreamError

RANGES = {"0..1": 1.0, "0..255": 255.0}  # {of values: what white is}
# Of ImageNet's pictures: red, green, blue of 0..1
MEAN = 0.485, 0.456, 0.406
STD = 0.229, 0.224, 0.225
LIGHT = [[0.299], [0.587], [0.114]]  # how light red, green and blue are
Numbers = float | Sequence[float]


class Pixels(NamedTuple):
    """A network gets (colour * white / 255 - mean) / std of colours 0..255.

    mean, std: of red, green and blue. order: of the colours, "rgb" or
    "bgr". notes: what was assumed, in words.
    """

    white: float
    mean: list[float]
    std: list[float]
    order: str
    notes: list[str]

    def prepare(self, image: np.ndarray, channels: int) -> np.ndarray:
        """(h, w, 3) RGB, 0..255 -> (1, channels, h, w) as the source wants it."""
        picture = np.float64(image) * (self.white / 255)
        picture = (picture - self.mean) / self.std
        if channels == 1:
            picture = picture @ np.array(LIGHT)
        elif self.order == "bgr":
            picture = picture[..., ::-1]
        return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)

    def as_toml(self) -> dict[str, object]:
        """The same as model.toml says it: data = (BGR - mean) * scale."""
        mean = [_shorten(255 * m / self.white) for m in self.mean[::-1]]
        scale = [_shorten(self.white / 255 / s) for s in self.std[::-1]]
        return {"mean": mean, "scale": scale, "order": self.order}


def _shorten(number: float) -> float:
    """Without the digits that come from computing with fractions."""
    return float(f"{number:.12g}")


def choose_pixels(
    mean: Numbers | None, std: Numbers | None, order: str, value_range: str
) -> Pixels:
    """What a network wants, where None is what networks of ImageNet want.

    Raises DreamError for what cannot be.
    """
    if value_range not in RANGES:
        given = f"{{setting}} is {value_range!r}"
        raise DreamError(f"{given}; it must be {' or '.join(RANGES)}", "range")
    if order not in ("rgb", "bgr"):
        raise DreamError(f"{{setting}} is {order!r}; it must be rgb or bgr", "order")
    white = RANGES[value_range]
    means = [white * m for m in MEAN] if mean is None else _three("mean", mean)
    stds = [white * s for s in STD] if std is None else _three("std", std)
    if not all(0 <= m <= white for m in means):
        advice = "--range 0..255 is for values up to 255"
        raise DreamError(f"{{setting}} is {means}; it must lie in {value_range} ({advice})", "mean")
    if not all(white / 255 / 255 <= s < np.inf for s in stds):
        raise DreamError(f"{{setting}} is {stds}; it must be above {white / 65025:.2g}", "std")
    about = f"mean {_list(means)}, std {_list(stds)} of values {value_range}, {order.upper()}"
    usual = mean is None or std is None
    note = f"{about}: ImageNet's usual ones, because none were given" if usual else about
    return Pixels(white, means, stds, order, [note])


def _three(name: str, given: Numbers) -> list[float]:
    """One number for all colours, or three: red, green, blue."""
    try:
        numbers = np.asarray(given, float).reshape(-1).tolist()
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 3):
        must = "it must be one number, or three: red, green, blue"
        raise DreamError(f"{{setting}} is {given!r}; {must}", name)
    return numbers * (3 // len(numbers))


def _list(numbers: list[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
