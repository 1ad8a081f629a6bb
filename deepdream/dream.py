"""The algorithm of Google's DeepDream notebook (2015), to the bit:
github.com/google/deepdream, dream.ipynb.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from .errors import DreamError
from .nets.base import EngineArray, Fill, Net, check_image, deprocess, preprocess, to_data
from .nets.tiles import fit
from .objectives import Objective, objective_L2, parse, parts
from .pictures import grey, resized
from .pyramid import lap_normalize
from .settings import ROWS, check
from .stopping import Stopped


class Step(NamedTuple):
    """What `on_step` is called with after each step, and once more when a dream was
    stopped.

    end: the layer, or the Objective in words. done: the share of all work, 0..1.
    image(): the picture so far, (H, W, 3) float32, RGB, at the size of this octave, or
    in full when the dream was stopped.
    """

    octave: int
    iteration: int
    end: str
    done: float
    image: Callable[[], np.ndarray]
    stopped: bool = False


OnStep = Callable[[Step], object]


def gradient(net: Net, end: str | None, objective: Fill | Objective = objective_L2) -> Any:
    """How the objective at layer `end` changes with the picture now in
    net.blobs['data']: (3, H, W).

    An Objective names its own layers, and `end` is then ignored. The answer is a view,
    in the engine's own array (NumPy's or torch's); net.blobs['data'].diff[0] is the
    same in NumPy with any engine.
    """
    if isinstance(objective, Objective):
        objective = objective.begin(net).aim(net)
    return net.climb(parts(objective, end, net.inner))


def make_step(
    net: Net,
    step_size: float = 1.5,
    end: str = "inception_4c/output",
    jitter: int = 32,
    clip: bool = True,
    objective: Fill | Objective = objective_L2,
    rng: Any = np.random,
    smooth: float = 0.0,
    mask: Any = None,
    keep_color: bool = False,
    lap: int = 0,
    turn: float = 0.0,
) -> None:
    """One step of gradient ascent on the picture in net.blobs['data'].

    step_size: mean change of a colour value, of 255. jitter: largest random shift, in
    pixels. clip: stay in 0..255. objective: fills the `diff` of layer `end`, see
    objectives.py. rng: draws the shifts, a RandomState or np.random. smooth: sigma in
    pixels of a Gaussian over the gradient, against grain. mask: (H, W), 0..1, in the
    engine's own array: how much each pixel takes part. keep_color: change only how
    light a pixel is. lap: how often to split the gradient by scale, see
    `lap_normalize`. turn: largest random rotation, in degrees; the network looks at the
    picture turned, and the gradient is turned back.
    """
    image, roll, axes = net.image, net.xp.roll, (-2, -1)  # (3, H, W)

    ox, oy = map(int, rng.randint(-jitter, jitter + 1, 2))
    image[:] = roll(
        image, (oy, ox), axes
    )  # shift, so that no pixel always lies on the network's grid
    net.shift = oy, ox  # Python delivers Ctrl-C at a call, so never between these two lines

    angle = rng.uniform(-turn, turn) if turn else 0.0
    g = (
        _turned_gradient(net, end, objective, angle) if angle else gradient(net, end, objective)
    )  # (3, H, W)
    image = (
        net.image
    )  # again, because an objective that looks at the picture may move it between host and device
    if keep_color:
        g = g.mean(0)[None]  # (1, H, W)
    if lap:
        g = lap_normalize(net.xp, g, lap)
    if smooth:
        g = net.blur(g, smooth)
    if mask is not None:
        g = g * roll(mask, (oy, ox), axes)
    strength = abs(g).mean() / (1 if mask is None else mask.mean())
    if not np.finfo(np.float32).tiny < float(strength) < np.inf:
        what = objective if isinstance(objective, Objective) else f"layer {end!r}"
        where = "" if mask is None else " where the mask is light"
        raise DreamError(
            f"{what} gives no direction to climb{where}: its gradient is {strength}; try another layer"
        )
    step = step_size / strength * g  # a step of the same length, however steep the slope
    if keep_color and clip:  # no further than the first colour that reaches an end
        low, high = net.limits
        step = step.clip(net.xp.amax(low - image, 0), net.xp.amin(high - image, 0))
    image += step
    del step  # large pictures are short of memory

    image[:] = roll(image, (-oy, -ox), axes)  # shift back
    net.shift = 0, 0

    if clip:
        image[:] = image.clip(*net.limits)


def _turned_gradient(net: Net, end: str | None, objective: Fill | Objective, angle: float) -> Any:
    """As `gradient`, of the picture turned by so many degrees; turned back, and 0 where
    the network saw nothing.
    """
    upright = deepcopy(net.image)
    try:
        net.image[:] = net.rotate(upright, angle)
        net.angle = angle
        return net.rotate(gradient(net, end, objective), -angle, mirror=False)
    finally:  # after Ctrl-C, too
        net.image[:] = upright
        net.angle = 0.0


def octaves(
    net: Net, base_img: np.ndarray, octave_n: int = 4, octave_scale: float = 1.4
) -> list[np.ndarray]:
    """The picture at `octave_n` sizes, smallest first, each `octave_scale` times the
    one before: (3, h, w) float32.
    """
    return [net.to_numpy(base) for base in _bases(net, base_img, octave_n, octave_scale)]


def _bases(net: Net, base_img: np.ndarray, octave_n: int, octave_scale: float) -> list[EngineArray]:
    """As `octaves`, in the engine's own arrays."""
    bases = [net.array(preprocess(net, base_img))]
    for _ in range(octave_n - 1):
        bases.append(net.zoom(bases[-1], 1.0 / octave_scale, 1.0 / octave_scale))
    return bases[::-1]


def deepdream(
    net: Net,
    base_img: np.ndarray,
    iter_n: int = 10,
    octave_n: int = 4,
    octave_scale: float = 1.4,
    end: str = "inception_4c/output",
    clip: bool = True,
    on_step: OnStep | None = None,
    seed: int | None = None,
    tile: int | None = None,
    halo: int | None = None,
    mask: Any = None,
    **step_params: Any,
) -> np.ndarray:
    """Dream: climb at each octave in turn, and carry the detail that was found up to
    the next.

    base_img: (H, W, 3) float32, RGB, 0..255. iter_n: steps an octave. octave_n,
    octave_scale: see `octaves`. on_step: called with a Step after each step; it stops
    the dream by returning True. seed: draws the same shifts again; None continues
    NumPy's global generator, as the original does. tile, halo: in pixels, see tiles.py;
    without them, a picture goes through the network in tiles only if it would take more
    than half of the free memory, or than DEEPDREAM_MEMORY. mask: a path, or (h, w) or
    (h, w, 3), whole numbers 0..255 or fractions 0..1, of any size; the dream grows
    where it is light. step_params: as for `make_step`; an objective may be in words,
    see `objectives.parse`.

    Returns the picture, (H, W, 3) float32, RGB; beyond 0..255 if `clip` is off. After
    Ctrl-C it returns the picture so far. Raises DreamError for an unknown layer, a
    picture too small for it, or a number that makes no sense.
    """
    net, objective, mask = prepare(
        net, base_img, iter_n, octave_n, octave_scale, end, seed, tile, halo, mask, **step_params
    )
    step_params["objective"] = objective
    if seed is not None:
        step_params["rng"] = np.random.RandomState(seed)
    label = str(objective) if isinstance(objective, Objective) else end
    canvas = Canvas(net, base_img, _bases(net, base_img, octave_n, octave_scale)[:-1], mask)
    octave, i, total = (
        0,
        0,
        max(1, iter_n * (np.size(base_img) + sum(math.prod(base.shape) for base in canvas.bases))),
    )
    done = 0  # values computed, of the total

    def show() -> np.ndarray:
        return fit_brightness(canvas.small_picture(), clip)

    try:
        for octave in range(octave_n):
            canvas.enlarge()
            if octave == 0 and isinstance(objective, Objective):
                step_params["objective"] = objective.begin(net, base_img)
            for i in range(iter_n):
                with np.errstate(over="ignore", invalid="ignore"):  # it says itself what is wrong
                    make_step(net, end=end, clip=clip, mask=canvas.light, **step_params)
                canvas.touched = True
                done += canvas.size
                if on_step:
                    stop = on_step(Step(octave, i, label, done / total, show))
                    if stop is True and done < total:
                        raise Stopped
    except KeyboardInterrupt:
        picture = canvas.picture()
        net.shift = 0, 0
        if on_step:
            on_step(
                Step(
                    octave,
                    i,
                    label,
                    done / total,
                    lambda: fit_brightness(picture, clip),
                    stopped=True,
                )
            )
        return picture
    return canvas.picture()


def prepare(
    net: Net,
    base_img: np.ndarray,
    iter_n: int = 10,
    octave_n: int = 4,
    octave_scale: float = 1.4,
    end: str = "inception_4c/output",
    seed: int | None = None,
    tile: int | None = None,
    halo: int | None = None,
    mask: Any = None,
    objective: Fill | Objective | str = objective_L2,
    **step_params: Any,
) -> tuple[Net, Fill | Objective, np.ndarray | None]:
    """All checks before a dream: (the network, in tiles if need be; the objective; the
    mask, (h, w) float32, 0..1).

    Arguments and errors are those of `deepdream`.
    """
    numbers = {"iter_n": iter_n, "octave_n": octave_n, "octave_scale": octave_scale, "seed": seed}
    for name, value in (numbers | step_params).items():
        if name in ROWS and ROWS[name].kind in (int, float):
            check(name, value)
    if isinstance(objective, str):
        objective = parse(objective)
    mask = None if mask is None else grey(mask)
    check_image(base_img)
    sizes = [np.shape(base_img)[:2]]  # (h, w) of each octave, smallest first
    for _ in range(octave_n - 1):
        sizes.insert(0, tuple(round(n * (1.0 / octave_scale)) for n in sizes[0]))
    layers = parts(objective, end, net)
    return fit(net, layers, sizes, tile, halo, isinstance(objective, Objective)), objective, mask


class Canvas:
    """The picture as it grows in net.blobs['data'], one octave after another.

    Large pictures are short of memory: `bases` are those of all octaves but the last,
    whose base is made from `base_img` when its turn comes, and only what a later octave
    or Ctrl-C needs is kept.
    """

    def __init__(
        self, net: Net, base_img: np.ndarray, bases: list[EngineArray], mask: np.ndarray | None
    ) -> None:
        self.net, self.base_img, self.bases, self.mask = net, base_img, bases, mask
        self.light = None  # the mask at this octave's size, (h, w), in the engine's own array
        self.size = 0  # number of values in the picture at this octave
        self.touched = False  # whether a step was made
        # The photograph under the detail; 0 while the detail is enlarged by itself;
        # None at the last octave
        self._below: EngineArray | float | None = None
        self._start: EngineArray | None = None  # what is on its way into the network

    def enlarge(self) -> None:
        """Go to the next octave: enlarge what the network has added so far, and lay it
        over the photograph.
        """
        net, src, last = self.net, self.net.blobs["data"], not self.bases
        h, w = np.shape(self.base_img)[:2] if last else self.bases[0].shape[-2:]
        self.size = 3 * h * w
        if self._below is None:
            detail = net.array(np.zeros((3, h, w), np.float32))
        else:
            detail = net.image - self._below
            self._start, self._below = detail, 0.0
            src.reshape(
                1, 3, 1, 1
            )  # frees the old picture and its gradient, except in Caffe's own blobs
            detail = _enlarge(net, detail, h, w)
        if self.mask is not None:
            self.light = net.array(resized(self.mask, h, w))
            detail *= self.light > 0
        below = None if last else self.bases.pop(0)  # (3, h, w)
        detail += self._photograph() if below is None else below
        self._start, self._below = detail, below
        src.reshape(1, 3, h, w)
        net.image[:] = detail
        net.shift, self._start = (0, 0), None

    def _photograph(self) -> EngineArray:
        """What is under the detail at the last octave, (3, H, W)."""
        return self.net.array(to_data(self.base_img, self.net.mean))

    def small_picture(self) -> np.ndarray:
        """The picture at this octave's size, (h, w, 3), between two steps."""
        return deprocess(self.net, self.net.blobs["data"].data[0])

    def picture(self) -> np.ndarray:
        """The picture so far, (H, W, 3), at any moment, even in the middle of a step."""
        net = self.net
        if not self.touched:
            return deprocess(net, net.to_numpy(self._photograph()))
        so_far = net.image if self._start is None else self._start  # (3, h, w)
        if self._start is None and any(net.shift):
            so_far = net.xp.roll(so_far, tuple(-n for n in net.shift), (-2, -1))
        if self._below is None:
            return deprocess(net, net.to_numpy(so_far))
        h, w = np.shape(self.base_img)[:2]
        whole = _enlarge(net, so_far - self._below, h, w)
        if self.mask is not None:
            whole *= net.array(resized(self.mask, h, w)) > 0
        whole += self._photograph()
        return deprocess(net, net.to_numpy(whole))


def _enlarge(net: Net, detail: EngineArray, h: int, w: int) -> EngineArray:
    """(3, h', w') -> (3, h, w)"""
    h1, w1 = detail.shape[-2:]
    return net.zoom(detail, 1.0 * h / h1, 1.0 * w / w1)


def fit_brightness(image: np.ndarray, clip: bool) -> np.ndarray:
    """An unclipped dream (H, W, 3), scaled so that nearly all of it fits into 0..255; a
    clipped one as it is.
    """
    brightest = 255.0 if clip else np.percentile(image, 99.98)
    return image * (255.0 / brightest) if brightest > 0 and not clip else image
