"""Dreams that move: the notebook's endless zoom, a journey through the layers, a film dreamt without flicker.

Each is a generator: it makes one picture when it is asked for the next, and keeps no more than that needs. `done` is
the number of pictures that exist already, so that a long film can be resumed.
"""

import math
import operator
from collections.abc import Iterable, Iterator
from functools import reduce
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from .dream import OnStep, Step, deepdream, gradient, prepare
from .errors import DreamError
from .net import Net, check_image, preprocess, put
from .objectives import L2, Objective
from .pictures import grey, resized
from .recipe import check
from .shapes import fits, pair

LARGEST = 16_384  # pixels of a side of noise


def zoom(net: Net, frame: np.ndarray, frames: int = 100, scale: float = 0.05, rotate: float = 0.0,
         shift: tuple[float, float] = (0, 0), seed: int | None = None, done: int = 0,
         **dream_params: Any) -> Iterator[np.ndarray]:  # fmt: skip
    """Dream, enlarge a little, and dream again: yields `frames` pictures (H, W, 3) float32, as in the notebook.

    scale: the share of the sides that is cut off from one frame to the next; below 0 the picture shrinks, surrounded by
    its mirror images. rotate: by how many degrees it turns clockwise. shift: by how many pixels it moves right and
    down. seed: frame i draws its random shifts from seed + i; None continues NumPy's global generator. done: continue
    after this many frames, with the last of them as `frame`. dream_params: as for `deepdream`.

    Raises DreamError for a value that is not allowed, and KeyboardInterrupt after Ctrl-C, or if `on_step` returns True:
    half a frame is no frame.
    """
    check_image(frame)
    check("frames", frames)
    _check_motion(scale, rotate, shift, seed)
    for i in range(done, frames):
        frame = _dream_next(net, frame, i, scale, rotate, shift, seed, **dream_params)
        yield frame


def journey(net: Net, layers: list[str] | str | None = None, frames_per_layer: int = 100, cross_fade: int | None = None,
            frame: np.ndarray | None = None, size: tuple[int, int] = (360, 640), scale: float = 0.02,
            rotate: float = 0.0, shift: tuple[float, float] = (0, 0), seed: int = 0, done: int = 0, iter_n: int = 4,
            **dream_params: Any) -> Iterator[np.ndarray]:  # fmt: skip
    """Zoom through the network: begin with noise and climb one layer after another, from strokes to whole animals.

    After Johan Nordberg's film "Inside an artificial brain" (2015). layers: see `stations`. cross_fade: over this many
    frames at the end of a layer, the next layer takes over, in a weighted sum of both; without it, a quarter of the
    layer's frames. frame: begin with this picture (H, W, 3) instead of seeded noise of `size`, (H, W). All else is as
    for `zoom`.
    """
    layers = stations(net, layers)
    cross_fade = _check_cross_fade(frames_per_layer, cross_fade)
    _check_motion(scale, rotate, shift, seed)
    frame = noise(size, seed) if frame is None else frame
    check_image(frame)
    # All layers are checked now: what the last one refuses must not stop the film after hours.
    prepare(net, frame, iter_n, objective=reduce(operator.add, map(L2, layers)), **dream_params)
    for i in range(done, len(layers) * frames_per_layer):
        n, k = divmod(i, frames_per_layer)  # frame k of layer n
        objective = L2(layers[n])
        fading = k + 1 - (frames_per_layer - cross_fade)  # the number of this frame in the cross-fade, from 1
        if fading > 0 and n + 1 < len(layers):
            objective = _cross_fade(net, frame, layers[n], layers[n + 1], fading / (cross_fade + 1))
        frame = _dream_next(
            net, frame, i, scale, rotate, shift, seed, iter_n=iter_n, objective=objective, **dream_params
        )
        yield frame


def stations(net: Net, layers: Iterable[str] | str | None = None) -> list[str]:
    """The layers of a journey: those given, in the order given; 'all' that can be climbed, in network order.

    None chooses the convolutions (larger than 1x1), concatenations and sums that everything passes through, in network
    order: in GoogLeNet conv1, conv2 and the outputs of the nine Inception modules, in VGG every convolution.
    """
    if layers is None:
        layers = _bottlenecks(net)
    elif layers == "all":
        twice = 2 * net.own_size[0], 2 * net.own_size[1]  # a classifier runs only on pictures of the network's own size
        layers = [layer for layer in net.climbable if fits(net.layer_specs, layer, twice)]
    layers = [layers] if isinstance(layers, str) else list(layers)
    for layer in layers:
        net.check_layer(layer)
    if not layers:
        raise DreamError("a journey needs at least one layer; name some (`deepdream layers` lists them)")
    return layers


def _bottlenecks(net: Net) -> list[str]:
    """The layers for `stations` that everything passes through: no later layer reads a blob from before them."""
    specs = net.layer_specs
    last_reader = {bottom: i for i, spec in enumerate(specs) for bottom in spec.bottom}  # of each blob
    found = []
    waiting: set[str] = set()  # the blobs that a later layer still reads
    for i, spec in enumerate(specs):
        waiting = {blob for blob in waiting | set(spec.top) if last_reader.get(blob, 0) > i}
        is_large = spec.type == "Convolution" and max(pair(spec.convolution_param, "kernel_size", 0)) > 1
        suits = is_large or spec.type in ("Concat", "Eltwise")
        if suits and spec.name in net.climbable and waiting == set(spec.top):
            found.append(spec.name)
    return found


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """The noise that a dream without a picture begins with, soft and grey: (h, w, 3) float32, for a size of (h, w)."""
    check("seed", seed)
    if not all(isinstance(side, Integral) and 0 < side <= LARGEST for side in size):
        height, width = size
        allowed = f"both numbers must be whole numbers of pixels from 1 to {LARGEST}"
        raise DreamError(f"{{setting}} is {width}x{height}; {allowed}", "size")
    return np.random.RandomState(seed).normal(118, 8, (*size, 3)).clip(0, 255).astype(np.float32)


class SteadyFrame(NamedTuple):
    """A frame of a film, with what the next frame needs of it.

    picture: the dream, (H, W, 3). source: what it was dreamt from, (H, W, 3). strength: mean |detail| of the dream.
    """

    picture: np.ndarray
    source: np.ndarray
    strength: float


def steady(net: Net, sources: Iterable[np.ndarray], blend: float = 0.9, seed: int = 0, last: SteadyFrame | None = None,
           mask: Any = None, **dream_params: Any) -> Iterator[SteadyFrame]:  # fmt: skip
    """Dream over the pictures of a film (H, W, 3) one after another, without flicker.

    The detail of the last dream moves along the optical flow with what it lies on, and each pixel dreams only as much
    as its detail was lost on the way. Trust, 0..1, says how well the forward and backward flow agree: the share
    a = blend * trust of the detail is kept, and the step is 1 - a**2. (With 1 - a the dream would fade, because new
    detail points elsewhere than the detail that is kept.) Every picture's detail has the mean 0 and the strength of the
    first, so neither brightness nor contrast drift. After a cut the dream begins again.

    blend: from 0, each picture for itself, to 0.99. seed: every picture draws the same random shifts. last: continue
    after this frame. mask and dream_params: as for `deepdream`. Ctrl-C and `on_step` are as for `zoom`.
    """
    check("blend", blend)
    mask = None if mask is None else grey(mask)  # (h, w)
    for source in sources:
        check_image(source)
        light = np.float32(1) if mask is None else resized(mask, *source.shape[:2])  # (H, W)
        carried = _carry(last, source) if last is not None and blend else None
        if last is None or carried is None:
            dream = _dream_frame(net, source, seed=seed, mask=mask, **dream_params)
            detail = _level(source, dream - source, light)
            strength = float(abs(detail).mean())
        else:
            trust, old_detail = carried
            kept = blend * trust * (light > 0)  # (H, W)
            begin = (source + kept[..., None] * old_detail).clip(0, 255)
            dream = _dream_frame(net, begin, seed=seed, mask=light * (1 - kept**2), **dream_params)
            detail = dream - source
            detail *= min(1.25, last.strength / max(abs(detail).mean(), 1e-3))
            detail = _level(source, detail, light)
            strength = last.strength
        last = SteadyFrame(source + detail, source, strength)
        yield last


def _level(source: np.ndarray, detail: np.ndarray, light: np.ndarray | np.float32) -> np.ndarray:
    """Shift the detail (H, W, 3) where the mask is light, until its mean is 0 and the picture stays in 0..255."""
    share = np.expand_dims(light / light.mean(), -1)
    for _ in range(3):  # each round makes up for what the clip of the round before took away
        detail = (source + detail - detail.mean((0, 1)) * share).clip(0, 255) - source
    return detail


def _carry(last: SteadyFrame, source: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(trust (H, W) 0..1, detail (H, W, 3)) of the last frame, moved to where they belong now; None after a cut."""
    import cv2

    if last.source.shape != source.shape:
        return None
    old, new = (
        cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (last.source, source)
    )  # (H, W) each
    height, width = new.shape
    back = _flow(new, old)  # (H, W, 2)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))  # (H, W) each
    x, y = x + back[..., 0], y + back[..., 1]

    def move(image: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.remap(image, x, y, how, borderMode=cv2.BORDER_REPLICATE)

    forth = move(_flow(old, new))
    # Sundaram, Brox and Keutzer's check (2010): there and back again should end where it began.
    astray = ((back + forth) ** 2).sum(2) / (0.02 * (back**2 + forth**2).sum(2) + 0.5)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    trust = np.exp(-astray) * inside
    before, now = move(old.astype(np.float32)), new.astype(np.float32)
    before, now = before - before.mean(), now - now.mean()  # so that a flash of light is no cut
    if trust.mean() < 0.25 or abs(before - now).mean() > 0.7 * abs(now).mean() + 5:
        return None
    return trust, move(last.picture - last.source, cv2.INTER_CUBIC)


def _flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(H, W, 2): from each pixel of one grey image (H, W) to its place in the other, in pixels right and down."""
    import cv2

    height, width = here.shape
    below, beside = max(0, 32 - height), max(0, 32 - width)  # on smaller pictures OpenCV's DIS may crash
    padded = [cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE) for image in (here, there)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*padded, None)[:height, :width]


def _check_motion(scale: float, rotate: float, shift: tuple[float, float], seed: int | None) -> None:
    check("scale", scale)
    check("rotate", rotate)
    check("shift", shift.tolist() if isinstance(shift, np.ndarray) else shift)
    check("seed", seed)


def _check_cross_fade(frames_per_layer: int, cross_fade: int | None) -> int:
    """The number of frames of a cross-fade. Raises DreamError for one that does not fit into a layer's frames."""
    check("frames_per_layer", frames_per_layer)
    check("cross_fade", cross_fade)
    if cross_fade is None:
        return frames_per_layer // 4
    if cross_fade >= frames_per_layer:
        allowed = f"a whole number of frames from 0 to {frames_per_layer - 1}: less than a layer has"
        raise DreamError(f"{{setting}} is {cross_fade}; it must be {allowed}", "cross_fade")
    return cross_fade


def _dream_next(net: Net, frame: np.ndarray, i: int, scale: float, rotate: float, shift: tuple[float, float],
                seed: int | None, **dream_params: Any) -> np.ndarray:  # fmt: skip
    """Frame i of a film, given the frame before, or if i is 0, the picture that the film begins with."""
    if i > 0:
        frame = _move(frame, scale, rotate, shift)
    return _dream_frame(net, frame, seed=None if seed is None else (seed + i) % 2**32, **dream_params)


def _dream_frame(net: Net, frame: np.ndarray, on_step: OnStep | None = None, **dream_params: Any) -> np.ndarray:
    """As `deepdream`, but a dream that is stopped raises KeyboardInterrupt: half a frame is no frame."""

    def pass_on(step: Step) -> None:
        if step.stopped or (on_step and on_step(step) is True):
            raise KeyboardInterrupt

    return deepdream(net, frame, on_step=pass_on, **dream_params)


def _move(frame: np.ndarray, scale: float, rotate: float, shift: tuple[float, float]) -> np.ndarray:
    """The notebook's affine transform, with rotation and shift. Without these two it gives exactly the same numbers."""
    from scipy import ndimage as nd

    h, w = frame.shape[:2]
    s, (right, down) = scale, shift
    if rotate:
        cos, sin = (1 - s) * np.cos(np.radians(rotate)), (1 - s) * np.sin(np.radians(rotate))
        matrix, centre = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.array([h / 2, w / 2, 0])
        offset: Any = centre - matrix @ (centre + [down, right, 0])
    else:
        matrix, offset = [1 - s, 1 - s, 1], [h * s / 2 - (1 - s) * down, w * s / 2 - (1 - s) * right, 0]
    return nd.affine_transform(frame, matrix, offset, order=1, mode="mirror")


def _cross_fade(net: Net, frame: np.ndarray, here: str, there: str, fade: float) -> Objective:
    """L2 of both layers, the second with the share `fade`.

    Each is divided by the strength of its gradient on this frame, which for one may be ten times that of the other.
    """
    from scipy import ndimage as nd

    h, w = (max(0, n // 2 - 256) for n in frame.shape[:2])
    middle = preprocess(net, frame[h : h + 512, w : w + 512])  # (3, h, w): enough to measure, and little memory
    to_own = 1, *np.divide(net.own_size, middle.shape[1:])
    own = np.asarray(nd.zoom(middle, to_own, order=1))  # the size that a classifier needs
    terms = []
    for layer, share in ((here, 1 - fade), (there, fade)):
        picture = middle if fits(net.layer_specs, layer, middle.shape[1:]) else own
        put(net, picture)
        strength = float(abs(gradient(net, layer)).mean())
        # Four digits are precise enough, and readable in the objective's words, which a progress bar shows.
        terms.append((_round(share / strength) if strength > 0 else share) * L2(layer))
    return terms[0] + terms[1]


def _round(number: float, digits: int = 4) -> float:
    """A number above 0, or 0 itself, rounded to this many digits in all."""
    return round(number, digits - 1 - math.floor(math.log10(number))) if number else number
