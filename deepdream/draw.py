"""What a network means by a banana: a picture of a class, or of anything else to climb, drawn from noise.

Google's article of 2015 starts "with an image full of random noise" and tweaks it "towards what the neural net
considers a banana". This needs a prior, it says: neighbouring pixels of photographs are correlated. Here the prior
shapes the gradient. The longer a wave is, the more of it photographs hold, and their colours mostly change together, so
the gradient is multiplied by just that: in Fourier space by 1 / frequency, in colour by a correlation. (Olah,
Mordvintsev and Schubert call it preconditioning: Feature Visualization, Distill 2017.) Two more habits, both from
auduno/deepdraw, keep the picture from being one that only this network, at this very place, takes for a banana: each
step looks at it through a window of random place and scale, and it starts out blurred, so that large forms come first.
"""

from typing import Any

import numpy as np

from .dream import OnStep, Step, gradient
from .errors import DreamError
from .net import Net, deprocess
from .objectives import Objective, parts, to_objective
from .recipe import check

# The first of two numbers belongs to the first step, the second to the last.
Ends = tuple[float, float]
MARGIN = 1.34  # side of the picture over that of the network's own
SCALES: tuple[Ends, Ends] = (0.6, 0.7), (0.8, 1.1)  # least and largest scale of a window; the whole picture is 0.75
STEP: Ends = 6.0, 1.0  # mean change of a colour value, of 255
BLUR: Ends = 1.5, 0.3  # sigma in pixels
COLOUR = 0.7  # correlation of two colours in a pixel
CONTRAST = 52.0  # standard deviation of the finished picture's colour values
NOISE = 8.0  # standard deviation of the noise


def draw(net: Net, what: str | int | Objective, steps: int = 300, seed: int = 0,
         on_step: OnStep | None = None) -> np.ndarray:  # fmt: skip
    """Draw a class or an objective from noise: (h, w, 3) float32, RGB, 0..255.

    what: a class, by name or number, or an Objective, or one in words, "channel('inception_4d/output', 42)". seed: of
    the noise and of the windows. on_step: called with a Step after each step; it stops the drawing by returning True.
    After that, or after Ctrl-C, the picture so far is returned. Raises DreamError for an unknown class (it names the
    closest), and for an objective that never gives a direction to climb.
    """
    check("steps", steps)
    check("seed", seed)
    objective = to_objective(what)
    for layer in objective.bind(net):
        net.check(layer, *net.own_size)
    drawing = Drawing(net, objective, np.random.RandomState(seed))
    label, steps = str(objective), int(steps)
    i = done = 0
    try:
        for i in range(steps):
            drawing.step(i / steps)
            done = i + 1
            if on_step and on_step(Step(0, i, label, done / steps, drawing.picture)) is True and done < steps:
                raise KeyboardInterrupt  # as if somebody had pressed Ctrl-C
    except KeyboardInterrupt:
        if on_step:
            on_step(Step(0, i, label, done / steps, drawing.picture, stopped=True))
        return drawing.picture()
    if not drawing.is_alive:
        raise DreamError(f"{objective} gives no direction to climb, not even from noise; try another")
    return drawing.picture()


class Drawing:
    """A picture as it is drawn from noise. is_alive: whether the objective ever gave a direction to climb."""

    def __init__(self, net: Net, objective: Objective, rng: np.random.RandomState) -> None:
        self.net, self.objective, self.rng, self.is_alive = net, objective, rng, False
        self.h, self.w = (round(MARGIN * n) for n in net.own_size)
        waves = np.hypot(np.fft.fftfreq(self.h)[:, None], np.fft.rfftfreq(self.w))  # (h, w // 2 + 1), cycles a pixel
        self.prior = np.float32(1 / np.maximum(waves, 1 / max(self.h, self.w)))
        self.x = self._noise()  # (3, h, w), around the mean colour of photographs

    def _noise(self) -> np.ndarray:
        return self.rng.normal(0, NOISE, (3, self.h, self.w)).astype(np.float32)

    def step(self, at: float) -> None:
        """One step of the ascent; `at` says how far the drawing is, 0..1."""
        from scipy import ndimage as nd

        g = np.float32(np.fft.irfft2(np.fft.rfft2(self._look(at)) * self.prior, s=(self.h, self.w)))  # (3, h, w)
        g = (1 - COLOUR) * g + COLOUR * g.sum(0)
        strength = abs(g).mean()
        if np.finfo(np.float32).tiny < strength < np.inf:
            self.is_alive = True
            x = self.x + _between(STEP, at) / strength * g
            x = x.clip(-self.net.mean, 255 - self.net.mean)
            self.x = nd.gaussian_filter(x, _between(BLUR, at), axes=(1, 2))
        else:
            self.x += self._noise()  # perhaps something wakes up by chance

    def _look(self, at: float) -> np.ndarray:
        """The gradient of the picture, (3, h, w), as far as a random window shows it."""
        net, src = self.net, self.net.blobs["data"]
        least, largest = (_between(ends, at) for ends in SCALES)
        scale = self.rng.uniform(least, largest)
        rows = _make_window(self.rng, net.own_size[0], self.h, scale)  # (own h, h)
        columns = _make_window(self.rng, net.own_size[1], self.w, scale)  # (own w, w)
        src.reshape(1, 3, *net.own_size)
        src.data[0] = [rows @ colour @ columns.T for colour in self.x]
        if not gradient(net, None, self.objective).any():
            _climb_without_relus(net, self.objective)
        return np.stack([rows.T @ colour @ columns for colour in src.diff[0]])

    def picture(self) -> np.ndarray:
        """The picture so far, (h, w, 3), with the contrast of a photograph."""
        mean = self.x.mean((1, 2), keepdims=True)
        shown = (self.x - mean) * (CONTRAST / max(self.x.std(), 1)) + mean
        return deprocess(self.net, shown).clip(0, 255)


def _climb_without_relus(net: Net, objective: Objective) -> None:
    """As `gradient`, for features asleep: their ReLU lets nothing through, so the slope is 0, but not below the ReLU.

    In Inception and Fire modules the layer is a Concat of convolutions, each with a ReLU in place. A backward pass that
    starts at the convolution leaves the ReLU out.
    """
    total: Any = 0  # (3, h, w)
    fills = parts(objective, None, net)
    for layer, dst in net.stops(fills):
        fills[layer](dst)
        bottoms, ends = _split_concat(net, layer, dst.data.shape[1])
        for bottom, diff in zip(bottoms, np.split(dst.diff.copy(), ends[:-1], 1)):
            net.blobs[bottom].diff[:] = diff
            net.backward(start=bottom)
            total = total + net.blobs["data"].diff[0]
    net.blobs["data"].diff[0] = total


def _split_concat(net: Net, layer: str, channels: int) -> tuple[list[str], list[int]]:
    """The layers that a Concat joins, and the channel at which each ends; for any other layer, itself."""
    specs = {spec.name: spec for spec in net.layer_specs}
    spec = specs[layer]
    if spec.type == "Concat" and spec.concat_param.axis == 1:
        bottoms = [bottom for bottom in spec.bottom if bottom in specs]
        ends = np.cumsum([net.blobs[bottom].shape[1] for bottom in bottoms]).tolist()
        if ends and ends[-1] == channels:  # or else a bottom is a blob that no layer has the name of
            return bottoms, ends
    return [layer], [channels]


def _between(ends: Ends, at: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * at


def _make_window(rng: np.random.RandomState, n: int, side: int, scale: float) -> Any:
    """A matrix (n, side) that samples a line of `side` pixels at n points, from a random place on.

    scale: how many points there are for a pixel. The matrix is sparse, and so no work for BLAS, whose threads would
    continue to spin while the network runs.
    """
    from scipy import sparse

    seen = min(n / scale, side) - 1
    at = rng.uniform(0, side - 1 - seen) + np.linspace(0, seen, n)
    return sparse.csr_array(np.float32(np.maximum(0, 1 - abs(at[:, None] - np.arange(side)))))
