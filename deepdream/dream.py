"""The algorithm of Google's DeepDream notebook (2015), to the bit: github.com/google/deepdream, dream.ipynb."""

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from .errors import DreamError
from .net import deprocess, preprocess
from .objectives import objective_L2


class Step(NamedTuple):
    """What `on_step` hears after a step, and once more where Ctrl-C stopped the dream.

    `done` is the share of all work, 0..1; `image()` is the picture so far.
    """

    octave: int
    iteration: int
    end: str
    done: float
    image: Callable[[], np.ndarray]
    stopped: bool = False


def gradient(net, end: str, objective: Callable = objective_L2):
    """How the objective at layer `end` changes with the picture now in net.blobs['data']: (3, H, W).

    A view, in the engine's own array: NumPy's or torch's. net.blobs['data'].diff[0] is NumPy's with any engine.
    """
    net.forward(end=end)
    objective(net.blobs[end])
    net.backward(start=end)
    return net.image_diff


def make_step(net, step_size: float = 1.5, end: str = "inception_4c/output", jitter: int = 32, clip: bool = True,
              objective: Callable = objective_L2, rng=np.random) -> None:  # fmt: skip
    """One step of gradient ascent on the picture in net.blobs['data'].

    step_size: mean change of a colour value, of 255. jitter: largest random shift, in pixels. clip: stay in 0..255.
    objective: fills the `diff` of layer `end`, see objectives.py. rng: draws the shifts, a RandomState or np.random.
    """
    image, roll = net.image, net.xp.roll

    ox, oy = map(int, rng.randint(-jitter, jitter + 1, 2))
    image[:] = roll(image, (oy, ox), (-2, -1))  # shift, so that no pixel always lies on the net's grid

    g = gradient(net, end, objective)
    image = net.image  # anew, for an objective may have looked at the picture and so moved it between host and device
    strength = abs(g).mean()
    if not strength > 0:
        raise DreamError(f"layer {end!r} gives no direction to climb: its gradient is {strength}; try another layer")
    image += step_size / strength * g  # a step of the same length, however steep the slope

    image[:] = roll(image, (-oy, -ox), (-2, -1))  # shift back

    if clip:
        image[:] = image.clip(*net.limits)


def octaves(net, base_img: np.ndarray, octave_n: int = 4, octave_scale: float = 1.4) -> list[np.ndarray]:
    """The picture at `octave_n` sizes, smallest first, each `octave_scale` times the one before: (3, h, w) float32."""
    from scipy import ndimage as nd

    bases = [preprocess(net, base_img)]
    for _ in range(octave_n - 1):
        bases.append(nd.zoom(bases[-1], (1, 1.0 / octave_scale, 1.0 / octave_scale), order=1))
    return bases[::-1]


def deepdream(net, base_img: np.ndarray, iter_n: int = 10, octave_n: int = 4, octave_scale: float = 1.4,
              end: str = "inception_4c/output", clip: bool = True, on_step: Callable[[Step], object] | None = None,
              seed: int | None = None, **step_params) -> np.ndarray:  # fmt: skip
    """Dream: climb at each octave in turn, carrying the detail that was found up to the next.

    base_img: (H, W, 3) float32, RGB, 0..255. iter_n: steps an octave. octave_n, octave_scale: see `octaves`.
    on_step: called with a Step after each step. seed: draws the same shifts again; None goes on with NumPy's
    global generator, as the original does. step_params: as for `make_step`.

    Returns the picture, (H, W, 3) float32, RGB; beyond 0..255 where `clip` is off. Ctrl-C returns it as far as it
    got. Raises DreamError for an unknown layer, a picture too small for it, or a number that makes no sense.
    """
    _check_numbers(iter_n, octave_n, octave_scale, seed, **step_params)
    if seed is not None:
        step_params["rng"] = np.random.RandomState(seed)
    bases = octaves(net, base_img, octave_n, octave_scale)
    net.check(end, *bases[-1].shape[-2:])
    try:
        for base in bases[:-1]:
            net.check(end, *base.shape[-2:])
    except DreamError as error:
        raise DreamError(f"{error}; it is one of {octave_n} octaves: use fewer, or a larger image") from None
    total = iter_n * sum(base.size for base in bases)
    done = octave = i = 0
    safe = None  # what Ctrl-C leaves: a base, and the picture after the last whole step on it

    src = net.blobs["data"]
    detail = np.zeros_like(bases[0])  # what the network has added so far
    try:
        for octave, base in enumerate(bases):
            h, w = base.shape[-2:]
            if octave > 0:
                detail = _enlarge(detail, h, w)
            src.reshape(1, 3, h, w)
            src.data[0] = base + detail
            for i in range(iter_n):
                make_step(net, end=end, clip=clip, **step_params)
                safe = base, deepcopy(net.image)
                done += base.size
                if on_step:
                    on_step(Step(octave, i, end, done / total, lambda: visible(deprocess(net, src.data[0]), clip)))
            detail = src.data[0] - base
    except KeyboardInterrupt:
        if safe:
            base, picture = safe
            src.reshape(1, *base.shape)
            net.image[:] = picture
            detail = src.data[0] - base
        image = deprocess(net, bases[-1] + _enlarge(detail, *bases[-1].shape[-2:]))
        if on_step:
            on_step(Step(octave, i, end, done / total, lambda: visible(image, clip), stopped=True))
        return image
    return deprocess(net, src.data[0])


def _enlarge(detail, h, w):
    from scipy import ndimage as nd

    h1, w1 = detail.shape[-2:]
    return nd.zoom(detail, (1, 1.0 * h / h1, 1.0 * w / w1), order=1)


def visible(image: np.ndarray, clip: bool) -> np.ndarray:
    """An unclipped dream scaled so that nearly all of it fits 0..255; a clipped one as it is."""
    brightest = 255.0 if clip else np.percentile(image, 99.98)
    return image * (255.0 / brightest) if brightest > 0 and not clip else image


def _check_numbers(iter_n, octave_n, octave_scale, seed, step_size=1.5, jitter=32, **_):
    for name, value, kind, fits, allowed in (
        ("iter_n", iter_n, Integral, lambda n: n >= 0, "a whole number, 0 or more"),
        ("octave_n", octave_n, Integral, lambda n: 1 <= n <= 100, "a whole number, 1 to 100"),
        ("octave_scale", octave_scale, Real, lambda x: 1 < x < np.inf, "a number above 1, such as 1.4"),
        ("step_size", step_size, Real, np.isfinite, "a number, such as 1.5"),
        ("jitter", jitter, Integral, lambda n: 0 <= n < 2**31, "a whole number of pixels, 0 or more"),
        (
            "seed",
            0 if seed is None else seed,
            Integral,
            lambda n: 0 <= n < 2**32,
            "a whole number from 0 to 4294967295",
        ),
    ):
        if not (isinstance(value, kind) and fits(value)):
            raise DreamError(f"{name} is {value!r}; it must be {allowed}")
