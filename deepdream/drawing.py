"""What a network means by a banana: a class, or anything to climb, drawn from noise.

Google's article of 2015 has a prior: neighbouring pixels of photographs are
correlated. Here it shapes the gradient, in Fourier space by 1 / frequency,
in colour by a correlation (Olah, Mordvintsev and Schubert: Feature
Visualization, Distill 2017). As in auduno/deepdraw, each step looks through
a window of random place and scale, and the picture starts out blurred, so
that large forms come first.

As in lucid, several pictures push each other away. One larger than the
network's own is looked at as a whole, and through windows that become
smaller, for the detail.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .algebra import Objective
from .dream import OnStep, Progress, gradient
from .errors import DreamError
from .given import Picture
from .language import to_objective
from .nets.base import EngineArray, Net, alone, deprocess
from .pictures import sheet
from .settings import check
from .stopping import check_cell, delay_ctrl_c, end_cell

if TYPE_CHECKING:
    import scipy.sparse

Ends = tuple[float, float]  # at the first step, and at the last
MARGIN = 1.34  # side of the picture over that of the network's own
# Least and largest scale of a window; the whole picture is 0.75
SCALES: tuple[Ends, Ends] = (0.6, 0.7), (0.8, 1.1)
STEP: Ends = 6.0, 1.0  # mean change of a colour value, of 255
BLUR: Ends = 1.5, 0.3  # sigma in pixels
COLOUR = 0.7  # correlation of two colours in a pixel
CONTRAST = 52.0  # standard deviation of the finished picture's colour values
NOISE = 8.0  # standard deviation of the noise
DIVERSITY = 1.5  # push of pictures that look the same, over what they climb
CLOSE = 2 / 3  # share of the steps after which windows become no smaller


@alone
def draw(
    net: Net, what: str | int | Objective, steps: int = 300, seed: int = 0,
    on_step: OnStep | None = None, several: int = 1, size: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Draw a class or an objective from noise: (h, w, 3) float32, RGB,
    0..255; or several pictures, (several, h, w, 3). After Ctrl-C it returns
    them so far.

    what: as for `to_objective`. seed: the first picture's. on_step: as for
    `deepdream`, after a step of all pictures. several: how many. size: of
    the longer side, pixels; None: a third more than the network's own.
    Raises DreamError for an unknown class, and an objective without a
    direction.
    """
    check_cell()
    given = {"steps": steps, "seed": seed, "several": several, "size": size}
    for name, value in given.items():
        check(name, value, "draw")
    steps = int(steps)
    objective = _check_objective(net, what)
    seeds = [(int(seed) + i) % 2**32 for i in range(several)]
    drawings = [Drawing(net, objective, np.random.RandomState(n), size) for n in seeds]

    def show() -> np.ndarray:
        pictures = [drawing.picture() for drawing in drawings]
        names = [str(n + 1) for n in range(several)]
        return pictures[0] if several == 1 else sheet(pictures, names)

    shape = (drawings[0].h, drawings[0].w) if several == 1 else None
    progress = Progress(on_step, str(objective), steps, show, shape)
    try:
        for i in range(steps):
            for drawing in drawings:
                with delay_ctrl_c(), np.errstate(over="ignore", invalid="ignore"):
                    drawing.step(i / steps, drawings)
            progress.count(1, 0, i, drawings[-1].value)
            progress.report()
        if not any(drawing.is_alive for drawing in drawings):
            none = "gives no direction to climb, not even from noise"
            raise DreamError(f"{objective} {none}; try another")
    except KeyboardInterrupt as stop:
        end_cell(stop)
        progress.stop(show)
    pictures = [drawing.picture() for drawing in drawings]
    return pictures[0].view(Picture) if several == 1 else np.stack(pictures)


def _check_objective(net: Net, what: str | int | Objective) -> Objective:
    objective = to_objective(what)
    if objective.needs_picture:
        no_picture = "depends on the picture that a dream begins with, and here is none"
        cure = "name channels, such as channel('LAYER', 0), or give the caricature an image"
        raise DreamError(f"{objective} {no_picture}; {cure}")
    for layer in objective.layers_in(net):
        net.check(layer, *net.own_size)
    return objective


class Drawing:
    """A picture as it is drawn from noise.

    x: (3, h, w), around the mean colour. times: its side over that without
    a size. value: of the objective, where it was last looked at. is_alive:
    the objective once gave a direction. gram: (channels, channels), of what
    the network last saw in it.
    """

    def __init__(
        self, net: Net, objective: Objective, rng: np.random.RandomState, size: int | None = None
    ) -> None:
        self.net, self.objective, self.rng = net, objective, rng
        self.is_alive = False
        self.value: EngineArray = math.nan
        own = max(net.own_size)
        self.times = size / (MARGIN * own) if size else 1.0
        scale = size / own if size else MARGIN
        self.h, self.w = (max(1, round(scale * n)) for n in net.own_size)
        # (h, w // 2 + 1), cycles a pixel
        waves = np.hypot(np.fft.fftfreq(self.h)[:, None], np.fft.rfftfreq(self.w))
        longest = max(self.h, self.w)
        self.prior = (1 / np.maximum(waves, 1 / longest)).astype(np.float32)
        # Waves too short to be seen in the picture at the network's own size
        self.short = (1 - np.exp(-((2 * scale * waves) ** 2))).astype(np.float32)
        self.gram: EngineArray | None = None
        self.layers = _find_layers(net, objective)
        self.x = self._noise()

    def _noise(self) -> np.ndarray:
        return self.rng.normal(0, NOISE, (3, self.h, self.w)).astype(np.float32)

    def step(self, at: float, among: "Sequence[Drawing]") -> None:
        """A step of the ascent, away from the others. at: how far it is, 0..1."""
        from scipy import ndimage as nd

        g = self._shape(self._look(at, self.times, among), self.prior)  # (3, h, w)
        closer = self.times ** min(1, at / CLOSE)
        n = round(closer**2)  # so many windows cover the picture
        if self.times > 1 and n > 1:
            looks = (self._look(at, self.times / closer) for _ in range(n))
            detail: EngineArray = sum(looks)
            g = _to_unit(g) + _to_unit(self._shape(detail, self.prior * self.short))
        strength = abs(g).mean()
        if not np.finfo(np.float32).tiny < strength < np.inf:
            self.x += self._noise()  # perhaps something wakes up by chance
            return
        self.is_alive = True
        x = self.x + _between(STEP, at) / strength * g
        x = x.clip(-self.net.mean, 255 - self.net.mean)
        sigma = _between((BLUR[0] * max(1, self.times), BLUR[1]), at)
        self.x = nd.gaussian_filter(x, sigma, axes=(1, 2))

    def _shape(self, g: np.ndarray, waves: np.ndarray) -> np.ndarray:
        """The gradient, each wave multiplied, and its colours more alike."""
        shaped = np.fft.irfft2(np.fft.rfft2(g) * waves, s=(self.h, self.w))
        g = shaped.astype(np.float32)
        return (1 - COLOUR) * g + COLOUR * g.sum(0)

    def _look(self, at: float, times: float, among: "Sequence[Drawing]" = ()) -> np.ndarray:
        """The gradient, (3, h, w), of what a random window shows."""
        net = self.net
        src = net.blobs["data"]
        least, largest = (_between(ends, at) / times for ends in SCALES)
        scale = self.rng.uniform(least, largest)
        own_h, own_w = net.own_size
        rows = _make_window(self.rng, own_h, self.h, scale, times)  # (own h, h)
        columns = _make_window(self.rng, own_w, self.w, scale, times)  # (own w, w)
        src.reshape(1, 3, own_h, own_w)
        src.data[0] = [rows @ colour @ columns.T for colour in self.x]
        if not gradient(net, None, self.objective).any():
            _climb_without_relus(net, self.objective)
        self.value = net.value
        g = self.move_away(among) if len(among) > 1 else src.diff[0]
        return np.stack([rows.T @ colour @ columns for colour in g])

    def move_away(self, among: "Sequence[Drawing]") -> np.ndarray:
        """The gradient now, (3, h, w), with one away from the others."""
        net = self.net
        layer, last = self.layers
        src, blob = net.blobs["data"], net.blobs[layer]
        g = src.diff[0].copy()
        x = net.array(blob.data[0])
        self.gram = gram(x)
        grams = [each.gram for each in among if each is not self and each.gram is not None]
        if not grams:
            return g
        alike, slope = likeness(x, sum(grams) / len(grams))
        blob.diff[0] = -net.to_numpy(slope)
        net.backward(start=last)
        return g + DIVERSITY * alike**2 * abs(g).mean() * _to_unit(src.diff[0])

    def picture(self) -> np.ndarray:
        """The picture so far, (h, w, 3), with the contrast of a photograph."""
        mean = self.x.mean((1, 2), keepdims=True)
        shown = (self.x - mean) * (CONTRAST / max(self.x.std(), 1)) + mean
        return deprocess(self.net, shown).clip(0, 255)


def gram(x: EngineArray) -> EngineArray:
    """Which channels of (channels, h, w) are active together: (channels, channels)."""
    return _gram(x)[0]


def _gram(x: EngineArray) -> tuple[EngineArray, EngineArray, EngineArray]:
    """(the `gram`; the norm that it was divided by; x as (channels, places))."""
    a = x.reshape(len(x), -1)
    product = a @ a.T
    norm = (product**2).sum() ** 0.5
    return product / (norm if norm > 0 else 1), norm, a


def likeness(x: EngineArray, theirs: EngineArray) -> tuple[float, EngineArray]:
    """(the product of x's `gram` with the mean of `theirs`; its gradient by x)"""
    own, norm, a = _gram(x)
    alike = float((own * theirs).sum())
    slope = 2 * (theirs - alike * own) @ a / (norm if norm > 0 else 1)
    return alike, slope.reshape(x.shape)


def _find_layers(net: Net, objective: Objective) -> tuple[str, str]:
    """(the layer where several pictures differ, the last that writes into its blob)"""
    names = net.layer_names
    deepest = max(objective.layers_in(net), key=names.index)
    before = net.layer_specs[: names.index(deepest) + 1]
    choices = [deepest, net.default_layer, *(spec.name for spec in reversed(before))]
    climbable = {spec.name for spec in before} & set(net.climbable)

    layer = deepest
    for each in choices:
        if each in climbable:
            shape = net.top_shape(each, *net.own_size)
            if math.prod(shape[2:]) > 1:  # it has places
                layer = each
                break
    return layer, [spec.name for spec in before if layer in spec.top][-1]


def _to_unit(g: np.ndarray) -> np.ndarray:
    """g with a mean |value| of 1; 0 where it has no direction."""
    strength = abs(g).mean()
    has_direction = np.finfo(np.float32).tiny < strength < np.inf
    return g / strength if has_direction else np.zeros_like(g)


def _climb_without_relus(net: Net, objective: Objective) -> None:
    """As `gradient`, for features whose ReLU lets nothing through."""
    total = np.zeros((), np.float32)  # (3, h, w)
    fills = objective.start(net).fills(net)
    for layer, dst in net.stops(fills):
        fills[layer](dst)
        bottoms, ends = _split_concat(net, layer, dst.data.shape[1])
        for bottom, diff in zip(bottoms, np.split(dst.diff.copy(), ends[:-1], 1)):
            net.blobs[bottom].diff[:] = diff
            net.backward(start=bottom)
            total = total + net.blobs["data"].diff[0]
    net.blobs["data"].diff[0] = total


def _split_concat(net: Net, layer: str, channels: int) -> tuple[list[str], list[int]]:
    """The layers that a Concat joins, and where their channels end."""
    specs = {spec.name: spec for spec in net.layer_specs}
    spec = specs[layer]
    if spec.type == "Concat" and spec.concat_param.axis == 1:
        bottoms = [bottom for bottom in spec.bottom if bottom in specs]
        ends = np.cumsum([net.blobs[bottom].shape[1] for bottom in bottoms]).tolist()
        if ends and ends[-1] == channels:  # else a bottom's blob has no layer's name
            return bottoms, ends
    return [layer], [channels]


def _between(ends: Ends, at: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * at


def _make_window(
    rng: np.random.RandomState, n: int, side: int, scale: float, times: float
) -> "scipy.sparse.csr_array":
    """A matrix (n, side) that samples `side` pixels at n points, from a random place.

    scale: points for a pixel. times: each is the mean of so many pixels, so
    that none is unseen. Sparse, so that BLAS's threads do not spin while
    the network runs.
    """
    from scipy import sparse

    seen = min(n / scale, side) - 1
    at = rng.uniform(0, side - 1 - seen) + np.linspace(0, seen, n)
    weights = np.maximum(0, 1 - abs(at[:, None] - np.arange(side)) / max(1, times))
    if times > 1:
        weights /= weights.sum(1, keepdims=True)
    return sparse.csr_array(np.float32(weights))
