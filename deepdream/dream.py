"""Google's DeepDream notebook of 2015, to the bit: github.com/google/deepdream."""

import math
from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .algebra import Objective
from .canvas import Canvas, fit_brightness, make_bases
from .errors import DreamError
from .given import Picture, add_keywords, as_image, check_keywords, warn_dark
from .language import ObjectiveLike, as_objective
from .nets.base import EngineArray, Net, alone, check_net
from .nets.shapes import Size
from .nets.tiles import fit
from .objectives import objective_L2
from .pictures import read_mask
from .pyramid import lap_normalize
from .settings import ROWS, Params, check
from .stopping import Stopped, check_cell, delay_ctrl_c, end_cell

Mask = np.ndarray | str | Path | None


class Step(NamedTuple):
    """What `on_step` is called with after each step, and once more at a stop.

    end: the layer, or the Objective in words. done: share of the work,
    0..1. image(): the picture (H, W, 3) at this octave's size, or in full
    at a stop. value: of the objective, before this step. size: of the
    finished picture, (H, W).
    """

    octave: int
    iteration: int
    end: str
    done: float
    image: Callable[[], np.ndarray]
    stopped: bool = False
    value: float = math.nan
    size: Size | None = None


OnStep = Callable[[Step], object]


def gradient(net: Net, end: str | None, objective: ObjectiveLike = objective_L2) -> EngineArray:
    """How the objective changes with the picture in net.blobs['data']: (3,
    h, w), a view of its diff in the engine's own array.

    end: the layer; an Objective names its own. Raises DreamError for an unknown layer.
    """
    return _climb(net, as_objective(objective, end))


def _climb(
    net: Net, objective: Objective, shift: tuple[int, int] = (0, 0), angle: float = 0.0
) -> EngineArray:
    """As `gradient`, of a picture that is shifted, and seen turned."""
    if not angle:
        return net.climb(objective.start(net).fills(net, shift))
    upright = deepcopy(net.image)
    net.image[:] = net.rotate(upright, angle)
    g = net.climb(objective.start(net).fills(net, shift, angle))
    net.image[:] = upright
    return net.rotate(g, -angle, mirror=False)


def make_step(
    net: Net, step_size: float = 1.5, end: str = "inception_4c/output", jitter: int = 32,
    clip: bool = True, objective: ObjectiveLike = objective_L2,
    rng: np.random.RandomState | ModuleType = np.random, smooth: float = 0.0,
    mask: EngineArray = None, keep_color: bool = False, lap: int = 0, turn: float = 0.0,
) -> None:  # fmt: skip
    """One step of gradient ascent on the picture in net.blobs['data'].

    step_size: mean change of a colour value, of 255. jitter: largest random
    shift, pixels. clip: stay in 0..255. objective: fills the `diff` of
    layer `end`. rng: draws the shifts. smooth: sigma of a Gaussian over the
    gradient, pixels. mask: (h, w), 0..1, in the engine's own array.
    keep_color: change only how light a pixel is. lap: see `lap_normalize`.
    turn: largest random rotation of what the network sees, degrees. Raises
    DreamError where there is no gradient.
    """
    check_net(net)
    objective = as_objective(objective, end)
    roll, axes = net.xp.roll, (-2, -1)
    # Shifted, so that no pixel always lies on the network's grid
    ox, oy = map(int, rng.randint(-jitter, jitter + 1, 2))
    net.image[:] = roll(net.image, (oy, ox), axes)  # (3, h, w)
    angle = rng.uniform(-turn, turn) if turn else 0.0
    g = _climb(net, objective, (oy, ox), angle)  # (3, h, w)
    if keep_color:
        g = g.mean(0)[None]  # (1, h, w)
    if lap:
        g = lap_normalize(net.xp, g, lap)
    if smooth:
        g = net.blur(g, smooth)
    if mask is not None:
        g = g * roll(mask, (oy, ox), axes)
    # A step of the same length, however steep the slope
    step = step_size / _measure(g, mask, objective) * g
    image = net.image  # only now, because an objective that looks at it may move it
    if keep_color and clip:  # no further than the first colour that reaches an end
        low, high = net.limits
        step = step.clip(net.xp.amax(low - image, 0), net.xp.amin(high - image, 0))
    image += step
    del step  # large pictures are short of memory
    image[:] = roll(image, (-oy, -ox), axes)  # shift back
    if clip:
        image[:] = image.clip(*net.limits)


def _measure(g: EngineArray, mask: EngineArray, objective: Objective) -> EngineArray:
    """The mean |gradient| where the mask is light, or a DreamError."""
    strength = abs(g).mean() / (1 if mask is None else mask.mean())
    if not np.finfo(np.float32).tiny < float(strength) < np.inf:
        what = f"layer {str(objective)!r}" if objective.is_plain else objective
        where = "" if mask is None else " where the mask is light"
        none = f"gives no direction to climb{where}: its gradient is {strength}"
        cure = "try another layer"
        if not np.isfinite(float(strength)):
            cure = "a number of the objective's is not finite"
        raise DreamError(f"{what} {none}; {cure}")
    return strength


def octaves(
    net: Net, base_img: np.ndarray, octave_n: int = 4, octave_scale: float = 1.4
) -> list[np.ndarray]:
    """The picture at `octave_n` sizes, smallest first: (3, h, w) float32.

    Raises DreamError for what is no image (H, W, 3).
    """
    check_net(net)
    base_img = as_image(base_img)
    check("octave_n", octave_n)
    check("octave_scale", octave_scale)
    return [net.to_numpy(base) for base in make_bases(net, base_img, octave_n, octave_scale)]


@alone
def deepdream(
    net: Net, base_img: np.ndarray, iter_n: int = 10, octave_n: int = 4,
    octave_scale: float = 1.4, end: str = "inception_4c/output", clip: bool = True,
    on_step: OnStep | None = None, seed: int | None = None, tile: int | None = None,
    halo: int | None = None, mask: Mask = None, **step_params: Any,
) -> np.ndarray:  # fmt: skip
    """Climb at each octave in turn, and carry the detail up to the next.
    Returns the picture, (H, W, 3) float32, RGB, beyond 0..255 if not
    `clip`; at Ctrl-C, so far.

    base_img: (H, W, 3), RGB, 0..255. iter_n: steps an octave. octave_n,
    octave_scale: as for `octaves`. on_step: called with a Step after each
    step; True stops the dream. seed: of the shifts; None continues NumPy's
    global generator. tile, halo: as for `tiles.fit`. mask: as for
    `read_mask`. step_params: of `make_step`. Raises DreamError for an
    unknown layer, a picture too small, and a senseless number.
    """
    check_cell()
    given: Params = step_params | {"clip": clip}
    net, objective, mask = check_dream(  # from here on, the network may be in tiles
        net, base_img, iter_n, octave_n, octave_scale, end, seed, tile, halo, mask, **given
    )
    base_img = as_image(base_img)
    if seed is not None:
        step_params["rng"] = np.random.RandomState(seed)
    canvas = Canvas(net, base_img, octave_n, octave_scale, mask, clip)
    step_params["objective"] = objective.start(net, base_img)
    work, size = iter_n * canvas.work, np.shape(base_img)[:2]
    progress = Progress(on_step, str(objective), work, canvas.show, size)
    try:
        for octave in range(octave_n):
            if octave > 0:
                with delay_ctrl_c():
                    canvas.advance()
            for i in range(iter_n):
                with delay_ctrl_c(), np.errstate(over="ignore", invalid="ignore"):
                    make_step(net, end=end, clip=clip, mask=canvas.light, **step_params)
                    progress.count(canvas.size, octave, i, net.value)
                progress.report()
    except KeyboardInterrupt as stop:
        picture = canvas.picture()
        end_cell(stop)
        progress.stop(lambda: fit_brightness(picture, clip))
        return picture.view(Picture)
    return canvas.picture().view(Picture)


add_keywords(deepdream, make_step)


def check_dream(
    net: Net, base_img: np.ndarray, iter_n: int = 10, octave_n: int = 4,
    octave_scale: float = 1.4, end: str = "inception_4c/output", seed: int | None = None,
    tile: int | None = None, halo: int | None = None, mask: Mask = None,
    objective: ObjectiveLike = objective_L2, **step_params: Any,
) -> tuple[Net, Objective, np.ndarray | None]:  # fmt: skip
    """All checks of `deepdream`'s arguments: (the network, in tiles if need
    be; the objective; the mask, (h, w) float32, 0..1). Raises as
    `deepdream` does.
    """
    check_net(net)
    check_keywords(step_params, signature(deepdream).parameters)
    numbers = {"iter_n": iter_n, "octave_n": octave_n, "octave_scale": octave_scale, "seed": seed}
    for name, value in (numbers | step_params).items():
        kind = ROWS[name].kind if name in ROWS else None
        if kind in (int, float) or (kind is bool and isinstance(value, str)):
            check(name, value)
    goal = as_objective(objective, end)
    light = None if mask is None else read_mask(mask)
    image = as_image(base_img)
    warn_dark(image)
    h, w = image.shape[:2]
    sizes = [(h, w)]  # of each octave, smallest first
    for _ in range(octave_n - 1):
        h, w = round(h * (1.0 / octave_scale)), round(w * (1.0 / octave_scale))
        sizes.insert(0, (h, w))
    tiled = fit(net, goal.layers_in(net), sizes, tile, halo, windows=not goal.is_plain)
    return tiled, goal, light


class Progress:
    """Calls `on_step` after each step. work: all of it, in any unit."""

    def __init__(
        self, on_step: OnStep | None, label: str, work: int, show: Callable[[], np.ndarray],
        size: Size | None,
    ) -> None:  # fmt: skip
        if on_step is not None and not callable(on_step):
            must = "it must be a function of a Step, such as live_view()"
            raise DreamError(f"on_step is {on_step!r}; {must}")
        self.on_step = on_step
        self.work = max(1, work)
        self.done = 0
        self.step = Step(0, 0, label, 0.0, show, size=size)

    def count(self, work: int, octave: int, iteration: int, value: EngineArray) -> None:
        """So much more is done; what the objective was."""
        self.done += work
        self.step = self.step._replace(
            octave=octave,
            iteration=iteration,
            done=self.done / self.work,
            value=float(value) if self.on_step else math.nan,
        )

    def report(self) -> None:
        """Raises Stopped if `on_step` answers True, and something is left to do."""
        answer = self.on_step(self.step) if self.on_step else None
        if callable(answer):
            name = getattr(self.on_step, "__name__", "")
            cure = f"write on_step={name}(), with parentheses"
            raise DreamError(f"on_step={name} makes a view, and is none; {cure}")
        if answer is True and self.done < self.work:
            raise Stopped

    def stop(self, show: Callable[[], np.ndarray]) -> None:
        """Report that it was stopped, with the picture that is left."""
        if self.on_step:
            self.on_step(self.step._replace(image=show, stopped=True))
