"""The algorithm of Google's DeepDream notebook (2015), to the bit: github.com/google/deepdream, dream.ipynb."""

from collections.abc import Callable
from copy import deepcopy
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DreamError, check_number, check_seed
from .net import check_image, deprocess, preprocess
from .objectives import Objective, objective_L2, parse, parts


class Step(NamedTuple):
    """What `on_step` hears after a step, and once more where Ctrl-C stopped the dream.

    `end` is the layer, or the Objective in words; `done` the share of all work, 0..1; `image()` the picture so far.
    """

    octave: int
    iteration: int
    end: str
    done: float
    image: Callable[[], np.ndarray]
    stopped: bool = False


def gradient(net, end: str | None, objective: Callable | Objective = objective_L2):
    """How the objective at layer `end` changes with the picture now in net.blobs['data']: (3, H, W).

    An Objective names its own layers, whatever `end` is. A view, in the engine's own array, NumPy's or torch's;
    net.blobs['data'].diff[0] is NumPy's with any engine.
    """
    from .tiles import Tiles  # late, for it reads Caffe's files

    if isinstance(net, Tiles):
        return net.gradient(parts(objective, end, net.net), climb)
    return climb(net, parts(objective, end, net))


def climb(net, fills: dict[str, Callable]):
    """The gradient of the sum of `fills`, {layer: a function that fills `dst.diff`}: one pass up, one down for each."""
    diffs = {}
    for layer, dst in net.stops(fills):
        fills[layer](dst)
        diffs[layer] = dst.diff if len(fills) == 1 else dst.diff.copy()
    net.backward(start=layer)
    if len(fills) > 1:  # a pass down overwrites the diffs that it meets, so each layer has one of its own
        total = deepcopy(net.image_diff)
        for other in list(diffs)[:-1]:
            net.blobs[other].diff[:] = diffs[other]
            net.backward(start=other)
            total += net.image_diff
        net.image_diff[:] = total
    return net.image_diff


def make_step(net, step_size: float = 1.5, end: str = "inception_4c/output", jitter: int = 32, clip: bool = True,
              objective: Callable | Objective = objective_L2, rng=np.random, smooth: float = 0.0, mask=None,
              keep_color: bool = False) -> None:  # fmt: skip
    """One step of gradient ascent on the picture in net.blobs['data'].

    step_size: mean change of a colour value, of 255. jitter: largest random shift, in pixels. clip: stay in 0..255.
    objective: fills the `diff` of layer `end`, see objectives.py. rng: draws the shifts, a RandomState or np.random.
    smooth: sigma in pixels of a Gaussian over the gradient, against grain. mask: (H, W), 0..1, in the engine's own
    array: how much each pixel takes part. keep_color: change only how light a pixel is.
    """
    image, roll, axes = net.image, net.xp.roll, (-2, -1)

    ox, oy = map(int, rng.randint(-jitter, jitter + 1, 2))
    image[:] = roll(image, (oy, ox), axes)  # shift, so that no pixel always lies on the net's grid
    net.shift = oy, ox  # Ctrl-C comes with a call, so never between these two lines

    g = gradient(net, end, objective)
    image = net.image  # anew, for an objective may have looked at the picture and so moved it between host and device
    if keep_color:
        g = g.mean(0)[None]
    if smooth:
        g = net.blurred(g, smooth)
    if mask is not None:
        g = g * roll(mask, (oy, ox), axes)
    strength = abs(g).mean() / (1 if mask is None else mask.mean())
    if not np.finfo(np.float32).tiny < strength < np.inf:
        what = objective if isinstance(objective, Objective) else f"layer {end!r}"
        where = "" if mask is None else " where the mask is light"
        raise DreamError(f"{what} gives no direction to climb{where}: its gradient is {strength}; try another layer")
    step = step_size / strength * g  # a step of the same length, however steep the slope
    if keep_color and clip:  # no further than the first colour to reach an end
        low, high = net.limits
        step = step.clip(net.xp.amax(low - image, 0), net.xp.amin(high - image, 0))
    image += step
    del step  # large pictures are short of memory

    image[:] = roll(image, (-oy, -ox), axes)  # shift back
    net.shift = 0, 0

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
              seed: int | None = None, tile: int | None = None, halo: int | None = None, mask: np.ndarray | None = None,
              **step_params) -> np.ndarray:  # fmt: skip
    """Dream: climb at each octave in turn, carrying the detail that was found up to the next.

    base_img: (H, W, 3) float32, RGB, 0..255. iter_n: steps an octave. octave_n, octave_scale: see `octaves`.
    on_step: called with a Step after each step. seed: draws the same shifts again; None goes on with NumPy's
    global generator, as the original does. tile, halo: in pixels, see tiles.py; without, a picture goes through the
    network in tiles only where it would take more than half of the free memory, or than DEEPDREAM_MEMORY. mask: a path,
    or (h, w) or (h, w, 3), whole numbers 0..255 or fractions 0..1, of any size; the dream grows where it is light.
    step_params: as for `make_step`; an objective may be in words, see `objectives.parse`.

    Returns the picture, (H, W, 3) float32, RGB; beyond 0..255 where `clip` is off. Ctrl-C returns it as far as it
    got. Raises DreamError for an unknown layer, a picture too small for it, or a number that makes no sense.
    """
    from .tiles import fit

    _check_numbers(iter_n, octave_n, octave_scale, seed, **step_params)
    if seed is not None:
        step_params["rng"] = np.random.RandomState(seed)
    objective = step_params.get("objective", objective_L2)
    if isinstance(objective, str):
        objective = step_params["objective"] = parse(objective)
    mask = None if mask is None else grey(mask)
    check_image(base_img)
    sizes = [np.shape(base_img)[:2]]
    for _ in range(octave_n - 1):
        sizes.insert(0, tuple(round(n * (1.0 / octave_scale)) for n in sizes[0]))
    net = fit(net, parts(objective, end, net), sizes, tile, halo, isinstance(objective, Objective))
    bases = octaves(net, base_img, octave_n, octave_scale)
    label = str(objective) if isinstance(objective, Objective) else end
    total = iter_n * sum(base.size for base in bases)
    done = octave = i = 0

    src, start, below = net.blobs["data"], None, None
    try:
        for octave in range(octave_n):
            base = bases.pop(0)
            h, w = base.shape[-2:]
            # What the network has added so far
            detail = _enlarge(src.data[0] - below, h, w) if octave > 0 else np.zeros_like(base)
            if mask is not None:
                light = resized(mask, h, w)
                detail *= light > 0
                step_params["mask"] = net.array(light)
            detail += base
            start, below = detail, base if bases else None  # what lies below the last picture, nobody will ask
            del base, detail  # large pictures are short of memory
            src.reshape(1, 3, h, w)
            src.data[0] = start
            net.shift, start = (0, 0), None
            for i in range(iter_n):
                make_step(net, end=end, clip=clip, **step_params)
                done += 3 * h * w
                if on_step:
                    on_step(Step(octave, i, label, done / total, lambda: visible(deprocess(net, src.data[0]), clip)))
    except KeyboardInterrupt:
        picture = preprocess(net, base_img)
        if done:
            so_far = np.roll(src.data[0], [-n for n in net.shift], (-2, -1)) if start is None else start
            if below is None:
                picture = so_far
            else:
                detail = _enlarge(so_far - below, *picture.shape[-2:])
                picture += detail if mask is None else detail * (resized(mask, *picture.shape[-2:]) > 0)
        image = deprocess(net, picture)
        if on_step:
            on_step(Step(octave, i, label, done / total, lambda: visible(image, clip), stopped=True))
        return image
    return deprocess(net, src.data[0])


def _enlarge(detail, h, w):
    from scipy import ndimage as nd

    h1, w1 = detail.shape[-2:]
    return nd.zoom(detail, (1, 1.0 * h / h1, 1.0 * w / w1), order=1)


def grey(mask):
    """A mask as given -> (h, w) float32, 0..1."""
    if isinstance(mask, (str, Path)):
        from .show import load_image

        mask = np.uint8(load_image(mask))
    mask = np.asarray(mask)
    grey = mask.mean(2) if mask.ndim == 3 and mask.shape[2] == 3 else mask
    if grey.ndim != 2 or not grey.size or mask.dtype.kind not in "buif":
        raise DreamError(f"a mask is a grey picture, (height, width) or (height, width, 3); this one is {mask.shape}")
    if not (grey.min() >= 0 and grey.max() <= 255):
        raise DreamError(f"the mask's values go from {grey.min()} to {grey.max()}; they must lie in 0..255, or 0..1")
    if not grey.any():
        raise DreamError("the mask is black all over; the dream grows where a mask is light")
    return np.float32(grey / 255 if mask.dtype.kind in "ui" or grey.max() > 1 else grey)


def resized(grey, h, w):
    from PIL import Image

    return np.asarray(Image.fromarray(grey).resize((w, h), Image.Resampling.BILINEAR))


def visible(image: np.ndarray, clip: bool) -> np.ndarray:
    """An unclipped dream scaled so that nearly all of it fits 0..255; a clipped one as it is."""
    brightest = 255.0 if clip else np.percentile(image, 99.98)
    return image * (255.0 / brightest) if brightest > 0 and not clip else image


def _check_numbers(iter_n, octave_n, octave_scale, seed, step_size=1.5, jitter=32, smooth=0.0, **_):
    for name, value, kind, fits, allowed in (
        ("iter_n", iter_n, Integral, lambda n: n >= 0, "a whole number, 0 or more"),
        ("octave_n", octave_n, Integral, lambda n: 1 <= n <= 100, "a whole number, 1 to 100"),
        ("octave_scale", octave_scale, Real, lambda x: 1 < x < np.inf, "a number above 1, such as 1.4"),
        ("step_size", step_size, Real, lambda x: abs(x) <= 1000, "a number from -1000 to 1000, such as 1.5"),
        ("jitter", jitter, Integral, lambda n: 0 <= n < 2**31, "a whole number of pixels, 0 or more"),
        ("smooth", smooth, Real, lambda x: 0 <= x < np.inf, "a number of pixels, 0 or more"),
    ):
        check_number(name, value, kind, fits, allowed)
    check_seed(seed)
