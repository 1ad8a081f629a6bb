"""Dreams that move: the notebook's endless zoom, and a journey through the layers."""

from collections.abc import Iterator
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np

from ..dream import deepdream
from ..errors import DreamError
from ..given import add_keywords, as_image
from ..nets.base import Net, check_net
from ..pictures import make_noise, resize
from ..seeing import stations
from ..settings import check
from .goals import goal_at
from .hold import LIFE, Held, clouds
from .keys import MOTION, Keys, at, complete_keys, ease
from .moves import Move, Way, inside, join, make_moves, move_frame
from .video import dream_frame

LONGEST_FADE = 50  # frames, of a loop


def zoom(
    net: Net, frame: np.ndarray, frames: int = 100, scale: float = 0.05, rotate: float = 0.0,
    shift: tuple[float, float] = (0, 0), seed: int | None = None, done: int = 0,
    to: tuple[float, float] | None = None, hold: float = 0.0, loop: bool = False,
    keys: Keys | None = None, cross_fade: int | None = None, like: np.ndarray | None = None,
    first: np.ndarray | None = None, every: int = 1, **dream_params: Any,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Dream, enlarge a little, and dream again, as in the notebook: yields `frames`
    pictures (H, W, 3) float32, RGB, 0..255, each when it is asked for.

    scale: the share of the sides that is cut off each frame; below 0 it shrinks.
    rotate: degrees clockwise. shift: pixels right and down. seed: frame i draws from
    seed + i; None continues NumPy's generator. done: resume after so many; `frame` is
    their last, `first` their first. to: fly to this point (x, y), in pixels or shares
    of the sides. hold: how firmly, 0..1, to keep the look of the first frame, or of
    `like` (H, W, 3). loop: fade into the first. keys: {frame: {setting: value}}, see
    keys.py. cross_fade: how many frames before a key its objective takes over; None for
    a quarter. every: make one of so many. dream_params: for `deepdream`. Raises
    DreamError, and Stopped or KeyboardInterrupt.
    """
    needs_first = bool(done) and (loop or bool(hold and like is None))
    numbers = {"frames": frames, "seed": seed, "hold": hold, "loop": loop, "cross_fade": cross_fade}
    for name, value in numbers.items():
        check(name, value)
    frame = _check_frames(net, frame, first, needs_first, every)
    size = frame.shape[:2]
    motion = {"scale": scale, "rotate": rotate, "shift": shift, "to": to}
    end = frames if loop else None
    keys = complete_keys(net, frame, keys or {}, motion, dream_params, end)
    way = Way(keys, size, max(0, done - 1) * every, LIFE)
    if like is not None:
        like = resize(np.asarray(as_image(like), np.float32), *size)
    held = Held(hold, first if like is None else like)
    for i in range(done * every, frames, every):
        now = {name: at(keys, name, i) for name in keys[0] if name not in MOTION}
        if "objective" in now:
            now["objective"] = goal_at(net, frame, keys, i, cross_fade)
        now["seed"] = None if seed is None else (seed + i) % 2**32
        move = way.go(every) if i > 0 else None
        frame = held.move(frame, move, i, list(way.recent))
        frame = held.correct(dream_frame(net, frame, **dream_params | now))
        first = frame if first is None else first
        if loop:
            frame = close_loop(frame, first, keys, i, frames, every)
        yield frame


add_keywords(zoom, deepdream)


def _check_frames(
    net: Net, frame: np.ndarray, first: np.ndarray | None, needs_first: bool, every: int
) -> np.ndarray:
    """The frame, as an array (H, W, 3); or a DreamError."""
    check_net(net)
    frame = as_image(frame)
    if first is None and needs_first:
        cure = "give its first frame, too, as `first`"
        raise DreamError(f"to continue a film with `hold` or `loop`, {cure}")
    if first is not None and first.shape != frame.shape:
        other = f"`first` is {first.shape}, and the frames are {frame.shape}"
        raise DreamError(f"{other}; give the film's first frame")
    if not isinstance(every, Integral) or every < 1:
        allowed = "a whole number of frames, at least 1"
        raise DreamError(f"every is {every!r}; it must be {allowed}")
    return frame


def close_loop(
    frame: np.ndarray, first: np.ndarray, keys: Keys, i: int, frames: int, every: int
) -> np.ndarray:
    """Frame i of a loop of so many, with the first as far as it has faded in."""
    size = frame.shape[:2]
    begins = frames - min(LONGEST_FADE, max(1, frames // 4))
    if i < begins:
        return frame
    share = ease(min(1.0, (i - begins + every) / (frames - begins)))
    way = join(islice(make_moves(keys, size), i, frames))  # to the end of the loop
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    edge = 0.25 * min(size)  # pixels; it is soft, and moves ever further outside
    soft = np.clip(inside(back, size) / edge + 2 * share, 0, 1)[..., None]
    faded = frame + share * soft * (move_frame(first, back, order=3) - frame)
    return np.asarray(faded, np.float32)


def journey(
    net: Net, layers: list[str] | str | None = None, frames_per_layer: int = 100,
    cross_fade: int | None = None, frame: np.ndarray | None = None,
    size: tuple[int, int] = (360, 640), scale: float = 0.02, rotate: float = 0.0,
    shift: tuple[float, float] = (0, 0), seed: int = 0, done: int = 0, iter_n: int = 4,
    down: bool = False, hold: float = 0.3, like: np.ndarray | None = None, **zoom_params: Any,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Zoom through the network: from noise, climb one layer after another, as `zoom`
    does.

    After Johan Nordberg's film "Inside an artificial brain" (2015). layers, down: see
    `stations`. frame: begin with this picture instead of seeded noise of `size`, (H,
    W). like: from noise, None means the contrast of photographs.
    """
    layers = stations(net, layers, down)
    check("frames_per_layer", frames_per_layer)
    check("cross_fade", cross_fade)
    if cross_fade is not None and cross_fade >= frames_per_layer:
        most = f"from 0 to {frames_per_layer - 1}: less than a layer has"
        allowed = f"a whole number of frames {most}"
        raise DreamError(f"{{setting}} is {cross_fade}; it must be {allowed}", "cross_fade")
    if frame is None:
        frame = make_noise(size, seed)
        like = clouds(size, seed) if like is None else like
    way = {"scale": scale, "rotate": rotate, "shift": shift, "seed": seed, "done": done}
    way |= {"hold": hold, "like": like, "cross_fade": cross_fade, "iter_n": iter_n}
    keys = {n * frames_per_layer: {"end": layer} for n, layer in enumerate(layers)}
    frames = len(layers) * frames_per_layer
    yield from zoom(net, frame, frames, keys=keys, **way, **zoom_params)


add_keywords(journey, zoom)
