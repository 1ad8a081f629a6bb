"""Dreams that move: the notebook's endless zoom, a journey through the layers, a film dreamt without flicker.

Each makes one picture after another, when it is asked for, and keeps no more than it needs for the next; film.py has
the files. `done` is the number of pictures there are already, so that a long film can go on where it stopped.
"""

from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from .dream import deepdream, gradient, grey, resized
from .errors import DreamError, check_number, check_seed
from .net import check_image, preprocess
from .objectives import L2


def zoom(net, frame: np.ndarray, frames: int = 100, scale: float = 0.05, rotate: float = 0.0,
         shift: tuple[float, float] = (0, 0), seed: int | None = None, done: int = 0,
         **dream_params) -> Iterator[np.ndarray]:  # fmt: skip
    """Dream, enlarge a little, and dream again: yields `frames` pictures (H, W, 3) float32, as in the notebook.

    scale: what is cut off the picture from one frame to the next, as a share of its sides; below 0 it shrinks, among
    its mirror images. rotate: by how many degrees it turns clockwise. shift: by how many pixels it moves right and
    down. seed: frame i draws its shifts from seed + i; None goes on with NumPy's global generator. done: go on after so
    many frames, with the last of them as `frame`. dream_params: as for `deepdream`.

    Raises DreamError for what makes no sense, and KeyboardInterrupt after Ctrl-C, for half a frame is none.
    """
    check_image(frame)
    check_number("frames", frames, Integral, lambda n: n > 0, "a whole number above 0")
    _check_way(scale, rotate, shift, seed)
    for i in range(done, frames):
        frame = _next(net, frame, i, scale, rotate, shift, seed, **dream_params)
        yield frame


def journey(net, layers: list[str] | str | None = None, frames_per_layer: int = 100, cross_fade: int | None = None,
            frame: np.ndarray | None = None, size: tuple[int, int] = (360, 640), scale: float = 0.02,
            rotate: float = 0.0, shift: tuple[float, float] = (0, 0), seed: int = 0, done: int = 0, iter_n: int = 4,
            **dream_params) -> Iterator[np.ndarray]:  # fmt: skip
    """Zoom through the network: from noise on, climb one layer after another, from strokes to whole animals.

    After Johan Nordberg's film "Inside an artificial brain" (2015). layers: see `stations`. cross_fade: over the last
    so many frames of a layer, a quarter of them by default, the next one takes over, in a weighted sum of both. frame:
    begin with this picture (H, W, 3), and not with seeded noise of `size`, (H, W). All else is as for `zoom`.
    """
    layers = stations(net, layers)
    check_number("frames_per_layer", frames_per_layer, Integral, lambda n: n > 0, "a whole number above 0")
    cross_fade = frames_per_layer // 4 if cross_fade is None else cross_fade
    allowed = f"a whole number of frames, from 0 to {frames_per_layer - 1}: fewer than a layer has"
    check_number("cross_fade", cross_fade, Integral, lambda n: 0 <= n < frames_per_layer, allowed)
    _check_way(scale, rotate, shift, seed)
    frame = noise(size, seed) if frame is None else frame
    check_image(frame)
    # What a later layer would refuse is refused now, and not after hours.
    deepdream(net, frame, 0, objective=sum(map(L2, layers)), **dream_params | {"on_step": None})
    for i in range(done, len(layers) * frames_per_layer):
        n, k = divmod(i, frames_per_layer)
        objective, fade = L2(layers[n]), max(0, k + 1 - (frames_per_layer - cross_fade)) / (cross_fade + 1)
        if fade > 0 and n + 1 < len(layers):
            objective = _cross_faded(net, frame, layers[n], layers[n + 1], fade)
        frame = _next(net, frame, i, scale, rotate, shift, seed, iter_n=iter_n, objective=objective, **dream_params)
        yield frame


def stations(net, layers: list[str] | str | None = None) -> list[str]:
    """The layers of a journey: those given, in the order given; 'all' that can be climbed, in that of the network.

    None takes the convolutions (larger than 1x1), concatenations and sums that everything passes through, in network
    order: in GoogLeNet conv1, conv2 and the outputs of the nine Inception modules, in VGG every convolution.
    """
    from . import caffemodel

    specs = net.layer_specs
    if layers is None:
        layers, waiting = [], set()  # blobs that a later layer still reads
        last = {bottom: i for i, spec in enumerate(specs) for bottom in spec.bottom}
        for i, spec in enumerate(specs):
            waiting = {blob for blob in waiting | set(spec.top) if last.get(blob, 0) > i}
            large = spec.type == "Convolution" and max(caffemodel.pair(spec.convolution_param, "kernel_size", 0)) > 1
            if (
                spec.name in net.climbable
                and waiting == set(spec.top)
                and (large or spec.type in ("Concat", "Eltwise"))
            ):
                layers.append(spec.name)
    elif layers == "all":
        size = [2 * n for n in net.own_size]  # a classifier takes only pictures of its own size
        layers = [layer for layer in net.climbable if caffemodel.fits(specs, layer, size)]
    layers = [layers] if isinstance(layers, str) else list(layers)
    for layer in layers:
        if layer not in net.climbable:
            raise net.unknown(layer, net.climbable)
    if not layers:
        raise DreamError("a journey needs at least one layer; name some (`deepdream layers` lists them)")
    return layers


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """Where a dream of nothing begins: (H, W, 3) float32, soft and grey."""
    check_seed(seed)
    for pixels in size:
        check_number("size", pixels, Integral, lambda n: 0 < n <= 16384, "(height, width), whole numbers of pixels")
    return np.float32(np.random.RandomState(seed).normal(118, 8, (*size, 3)).clip(0, 255))


class Dreamt(NamedTuple):
    """What a film's next picture needs of this one: it, (H, W, 3), what it was dreamt from, its detail's strength."""

    picture: np.ndarray
    source: np.ndarray
    strength: float


def steady(net, sources: Iterable[np.ndarray], blend: float = 0.9, seed: int = 0, last: Dreamt | None = None, mask=None,
           **dream_params) -> Iterator[Dreamt]:  # fmt: skip
    """Dream over the pictures of a film (H, W, 3) one after another, without flicker.

    The detail that the last picture was given moves on with what it lies on, along the optical flow, and each pixel
    dreams anew only by as much as its detail did not come along: with the trust that forward and backward flow agree
    on, a share a = blend * trust of the detail is kept, and the step is 1 - a**2. (With 1 - a the dream would fade, for
    what is new points elsewhere than what is kept.) Every picture's detail has the mean 0 and the strength of the
    first, so neither brightness nor contrast drift. After a cut all begins anew.

    blend: from 0, each picture for itself, to 0.99. seed: every picture draws the same shifts. last: go on after this.
    mask and dream_params: as for `deepdream`.
    """
    check_number("blend", blend, Real, lambda x: 0 <= x <= 0.99, "a number from 0 to 0.99, such as 0.9")
    mask = None if mask is None else grey(mask)
    for source in sources:
        check_image(source)
        light = np.float32(1) if mask is None else resized(mask, *source.shape[:2])
        kept, detail = _carried(last, source) if last and blend else (None, 0)
        if kept is None:
            dream = _dreamt(net, source, seed=seed, mask=mask, **dream_params)
        else:
            kept = blend * kept * (light > 0)
            start = (source + kept[..., None] * detail).clip(0, 255)
            dream = _dreamt(net, start, seed=seed, mask=light * (1 - kept**2), **dream_params)
        detail = dream - source
        if kept is not None:
            detail *= min(1.25, last.strength / max(abs(detail).mean(), 1e-3))
        share = (light / light.mean())[..., None]
        for _ in range(3):  # what the clip takes off, the next round gives back
            detail = (source + detail - detail.mean((0, 1)) * share).clip(0, 255) - source
        strength = last.strength if kept is not None else float(abs(detail).mean())
        last = Dreamt(source + detail, source, strength)
        yield last


def _carried(last, source):
    """(trust (H, W) 0..1, detail (H, W, 3)) of the last picture where it is now; (None, 0) after a cut."""
    import cv2

    if last.source.shape != source.shape:
        return None, 0
    old, new = (cv2.cvtColor(np.uint8(image), cv2.COLOR_RGB2GRAY) for image in (last.source, source))
    height, width = new.shape
    border = 0, max(0, 32 - height), 0, max(0, 32 - width)  # in lower pictures OpenCV's DIS may crash

    def flow(*images):
        """(H, W, 2): from each pixel of the first image to where it is in the second, in pixels right and down"""
        padded = (cv2.copyMakeBorder(image, *border, cv2.BORDER_REPLICATE) for image in images)
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return dis.calc(*padded, None)[:height, :width]

    back = flow(new, old)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + back[..., 0], y + back[..., 1]

    def moved(image, how=cv2.INTER_LINEAR):
        return cv2.remap(image, x, y, how, borderMode=cv2.BORDER_REPLICATE)

    forth = moved(flow(old, new))
    # Sundaram, Brox and Keutzer's check (2010): there and back again should end where it began.
    astray = ((back + forth) ** 2).sum(2) / (0.02 * (back**2 + forth**2).sum(2) + 0.5)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    trust = np.exp(-astray) * inside
    was, now = moved(np.float32(old)), np.float32(new)
    was, now = was - was.mean(), now - now.mean()  # a flash of light is no cut
    if trust.mean() < 0.25 or abs(was - now).mean() > 0.7 * abs(now).mean() + 5:
        return None, 0
    return trust, moved(last.picture - last.source, cv2.INTER_CUBIC)


def _check_way(scale, rotate, shift, seed):
    check_number("scale", scale, Real, lambda x: -1 <= x < 1, "a number from -1 to below 1, such as 0.05")
    check_number("rotate", rotate, Real, lambda x: abs(x) <= 360, "a number of degrees, from -360 to 360")
    if np.shape(shift) != (2,):
        raise DreamError(f"shift is {shift!r}; it must be two numbers of pixels, to the right and down")
    for pixels in shift:
        check_number("shift", pixels, Real, lambda x: abs(x) <= 1e6, "two numbers of pixels, at most a million each")
    check_seed(seed)


def _next(net, frame, i, scale, rotate, shift, seed, **dream_params):
    """Frame i of a film that is fed back, given the one before it, or what it begins with."""
    if i > 0:
        frame = _moved(frame, scale, rotate, shift)
    return _dreamt(net, frame, seed=None if seed is None else (seed + i) % 2**32, **dream_params)


def _dreamt(net, frame, on_step=None, **dream_params):
    """As `deepdream`, but Ctrl-C goes on to the caller: half a frame is no frame."""

    def hear(step):
        if step.stopped:
            raise KeyboardInterrupt
        if on_step:
            on_step(step)

    return deepdream(net, frame, on_step=hear, **dream_params)


def _moved(frame, scale, rotate, shift):
    """The notebook's affine transform, and turned and shifted. At rotate 0, shift 0 its very numbers."""
    from scipy import ndimage as nd

    h, w = frame.shape[:2]
    s, (right, down) = scale, shift
    if rotate:
        cos, sin = (1 - s) * np.cos(np.radians(rotate)), (1 - s) * np.sin(np.radians(rotate))
        matrix, centre = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.array([h / 2, w / 2, 0])
        offset = centre - matrix @ (centre + [down, right, 0])
    else:
        matrix, offset = [1 - s, 1 - s, 1], [h * s / 2 - (1 - s) * down, w * s / 2 - (1 - s) * right, 0]
    return nd.affine_transform(frame, matrix, offset, order=1, mode="mirror")


def _cross_faded(net, frame, here, there, fade):
    """L2 of both layers, each divided by how steep it is on this very frame: raw, one may be ten times the other."""
    from scipy import ndimage as nd

    from .caffemodel import fits

    h, w = (max(0, n // 2 - 256) for n in frame.shape[:2])
    middle = preprocess(net, frame[h : h + 512, w : w + 512])  # enough to tell, and no burden on memory
    small = nd.zoom(middle, (1, *np.divide(net.own_size, middle.shape[1:])), order=1)  # for a classifier
    weights = []
    for layer, share in ((here, 1 - fade), (there, fade)):
        seen = middle if fits(net.layer_specs, layer, middle.shape[1:]) else small
        net.blobs["data"].reshape(1, *seen.shape)
        net.blobs["data"].data[0] = seen
        strength = float(abs(gradient(net, layer)).mean())
        weights.append(float(f"{share / strength:.4g}") if strength > 0 else share)
    return weights[0] * L2(here) + weights[1] * L2(there)
