"""What a network means by a banana: a picture of a class, or of anything else to climb, drawn from noise.

Google's article of 2015 starts "with an image full of random noise" and tweaks it "towards what the neural net
considers a banana"; this needs a prior, it says: neighbouring pixels of photographs are correlated. Here the prior
shapes the gradient. Photographs hold more of a wave the longer it is, and their colours mostly change together, so the
gradient is multiplied by just that: in Fourier space by 1 / frequency, in colour by a correlation. (To climb in such
coordinates is what Olah, Mordvintsev and Schubert call preconditioning: Feature Visualization, Distill 2017.) Two more
habits keep the picture from being one that only this network, in this very frame, takes for a banana: each step looks
at it through a window of random place and scale, and it starts out blurred, large forms first, as in auduno/deepdraw.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np

from .dream import Step, gradient
from .errors import DreamError, check_number, check_seed
from .net import deprocess
from .objectives import Objective, parts, wanted

# The first of two numbers belongs to the first step, the second to the last.
MARGIN = 1.34  # side of the picture over that of the network's own
SCALES = (0.6, 0.7), (0.8, 1.1)  # a window's pixels over the picture's: the least, and the most; all of it fits in 0.75
STEP = 6.0, 1.0  # mean change of a colour value, of 255
BLUR = 1.5, 0.3  # sigma in pixels
COLOUR = 0.7  # correlation of two colours in a pixel
CONTRAST = 52.0  # standard deviation of the finished picture's colour values


def draw(net, what: str | int | Objective, steps: int = 300, seed: int = 0,
         on_step: Callable[[Step], object] | None = None) -> np.ndarray:  # fmt: skip
    """Draw a class or an objective from noise: (h, w, 3) float32, RGB, 0..255.

    what: a class, by name or number, or an Objective, or one in words, "channel('inception_4d/output', 42)". seed: of
    the noise and of the windows. on_step: called with a Step after each step. Ctrl-C returns the picture so far.
    Raises DreamError for an unknown class (it names the closest), and for what never gives a direction to climb.
    """
    from scipy import ndimage as nd

    check_number("steps", steps, Integral, lambda n: n > 0, "a whole number above 0")
    check_seed(seed)
    steps, what = int(steps), wanted(what)
    src = net.blobs["data"]
    for layer in what.bound(net):
        net.check(layer, *net.own_size)
    rng = np.random.RandomState(seed)
    size = [round(MARGIN * n) for n in net.own_size]
    waves = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1]))  # cycles a pixel
    prior = np.float32(1 / np.maximum(waves, 1 / max(size)))
    x = np.float32(rng.normal(0, 8, (3, *size)))  # noise around the mean colour of photographs
    alive, i = False, 0

    def picture():
        shown = (x - x.mean((1, 2), keepdims=True)) * (CONTRAST / max(x.std(), 1)) + x.mean((1, 2), keepdims=True)
        return deprocess(net, shown).clip(0, 255)

    try:
        for i in range(steps):
            at = i / steps
            scale = rng.uniform(*(_between(ends, at) for ends in SCALES))
            rows, columns = (_window(rng, n, side, scale) for n, side in zip(net.own_size, size))
            src.reshape(1, 3, *net.own_size)
            src.data[0] = [rows @ colour @ columns.T for colour in x]
            if not gradient(net, None, what).any():
                _waking(net, what)
            g = np.stack([rows.T @ colour @ columns for colour in src.diff[0]])
            g = np.float32(np.fft.irfft2(np.fft.rfft2(g) * prior, s=size))
            g = (1 - COLOUR) * g + COLOUR * g.sum(0)
            strength = abs(g).mean()
            if np.finfo(np.float32).tiny < strength < np.inf:
                alive = True
                x = x + _between(STEP, at) / strength * g
                x = nd.gaussian_filter(x.clip(-net.mean, 255 - net.mean), _between(BLUR, at), axes=(1, 2))
            else:
                x += np.float32(rng.normal(0, 8, x.shape))  # perhaps something wakes by chance
            if on_step:
                on_step(Step(0, i, str(what), (i + 1) / steps, picture))
    except KeyboardInterrupt:
        if on_step:
            on_step(Step(0, i, str(what), i / steps, picture, stopped=True))
        return picture()
    if not alive:
        raise DreamError(f"{what} gives no direction to climb, not even from noise; try another")
    return picture()


def _waking(net, objective):
    """As `gradient`, for features asleep: their ReLU passes nothing, so there is no slope, but there is one below it.

    In Inception and Fire modules the layer is a Concat of convolutions, each with a ReLU in place; a pass down that
    starts at the convolution leaves the ReLU out.
    """
    total, specs, fills = 0, {spec.name: spec for spec in net.layer_specs}, parts(objective, None, net)
    for layer, dst in net.stops(fills):
        fills[layer](dst)
        spec = specs[layer]
        by_channel = spec.type == "Concat" and spec.concat_param.axis == 1
        bottoms = [bottom for bottom in spec.bottom if bottom in specs] if by_channel else [layer]
        ends = np.cumsum([net.blobs[bottom].shape[1] for bottom in bottoms])
        if ends[-1] != dst.data.shape[1]:  # a bottom that no layer of that name writes
            bottoms, ends = [layer], [0]
        for bottom, diff in zip(bottoms, np.split(dst.diff.copy(), ends[:-1], 1)):
            net.blobs[bottom].diff[:] = diff
            net.backward(start=bottom)
            total = total + net.blobs["data"].diff[0]
    net.blobs["data"].diff[0] = total


def _between(ends, at):
    return ends[0] + (ends[1] - ends[0]) * at


def _window(rng, n, side, scale):
    """A matrix (n, side) that samples a line of `side` pixels at n points, `scale` to a pixel, from a random place on.

    Sparse, and so no work for BLAS, whose threads would go on spinning while the network runs.
    """
    from scipy import sparse

    seen = min(n / scale, side) - 1
    at = rng.uniform(0, side - 1 - seen) + np.linspace(0, seen, n)
    return sparse.csr_array(np.float32(np.maximum(0, 1 - abs(at[:, None] - np.arange(side)))))
