"""Dreams that move: the notebook's endless zoom, a journey through the layers, a film
dreamt without flicker.

Each is a generator: it makes one picture when it is asked for the next, and keeps no
more than that needs. `done` is the number of pictures that exist already, so that a
long film can be resumed.
"""

import math
from collections import deque
from collections.abc import Iterator
from functools import reduce
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np

from ..algebra import Objective
from ..dream import gradient
from ..errors import DreamError
from ..nets.base import Net, check_image, preprocess, put
from ..nets.shapes import fits
from ..pictures import noise, resized
from ..seeing import stations
from ..settings import check
from .hold import LIFE, clouds, hold_look
from .keys import MOTION, Keys, around, at, complete_keys
from .moves import fade_into, make_fill, make_moves, move_frame, move_over, then
from .video import dream_frame

LONGEST_FADE = 50  # frames


def zoom(
    net: Net,
    frame: np.ndarray,
    frames: int = 100,
    scale: float = 0.05,
    rotate: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    seed: int | None = None,
    done: int = 0,
    to: tuple[float, float] | None = None,
    hold: float = 0.0,
    loop: bool = False,
    keys: Keys | None = None,
    cross_fade: int | None = None,
    like: np.ndarray | None = None,
    first: np.ndarray | None = None,
    every: int = 1,
    **dream_params: Any,
) -> Iterator[np.ndarray]:
    """Dream, enlarge a little, and dream again: yields `frames` pictures (H, W, 3)
    float32, as in the notebook.

    scale: the share of the sides that is cut off from one frame to the next; below 0
    the picture shrinks, surrounded by its mirror images. rotate: by how many degrees it
    turns clockwise. shift: by how many pixels it moves right and down. seed: frame i
    draws its random shifts from seed + i; None continues NumPy's global generator.
    done: continue after this many frames, with the last of them as `frame`.
    dream_params: as for `deepdream`.

    to: fly to this point (x, y) of the picture, in pixels, or in shares of the sides
    from 0 to 1. hold: how firmly to hold the look of the first frame, or of the picture
    `like` (H, W, 3), see hold.py. loop: the last frames fade into the first. first: the
    film's first frame, which these two need after `done` frames. keys: {frame:
    {setting: value}}, see keys.py; as an objective, a key takes one that can be added,
    and as a mask a picture or an array. cross_fade: during this many frames before a
    key, its objective takes over from the one before; without it, during a quarter of
    the frames between them. every: make one of so many frames, and leave out those
    between.

    Raises DreamError for a value that is not allowed, and KeyboardInterrupt after
    Ctrl-C, or if `on_step` returns True: half a frame is no frame.
    """
    check_image(frame)
    motion = {"scale": scale, "rotate": rotate, "shift": shift, "to": to}
    for name, value in {
        "frames": frames,
        "seed": seed,
        "hold": hold,
        "loop": loop,
        "cross_fade": cross_fade,
    }.items():
        check(name, value)
    if done and first is None and (loop or (hold and like is None)):
        raise DreamError(
            "to continue a film with `hold` or `loop`, give its first frame, too, as `first`"
        )
    if first is not None and first.shape != frame.shape:
        raise DreamError(
            f"`first` is {first.shape}, and the frames are {frame.shape}; give the film's first frame"
        )
    if not isinstance(every, Integral) or every < 1:
        raise DreamError(f"every is {every!r}; it must be a whole number of frames, at least 1")
    if like is not None:
        check_image(like)
        like = resized(np.asarray(like, np.float32), *frame.shape[:2])
    keys = complete_keys(net, frame, keys or {}, motion, dream_params, frames if loop else None)
    size = frame.shape[:2]
    last = max(0, done - 1) * every  # the number of the frame that was made last
    moves = make_moves(keys, size)
    recent = deque(islice(moves, last), maxlen=LIFE)
    fade_begins = frames - min(LONGEST_FADE, max(1, frames // 4)) if loop else frames
    for i in range(done * every, frames, every):
        step = list(islice(moves, every)) if i > 0 else []
        recent += step
        now = dream_params | {name: at(keys, name, i) for name in keys[0] if name not in MOTION}
        if "objective" in keys[0]:
            now["objective"] = _goal_at(net, frame, keys, i, cross_fade)
        model = (first if like is None else like) if hold else None  # whose look is held
        fill = None if model is None else make_fill(model, i, list(recent))
        if i > 0:
            move = reduce(then, step)
            frame = move_frame(frame, move) if fill is None else move_over(fill, frame, move)
        frame = dream_frame(net, frame, seed=None if seed is None else (seed + i) % 2**32, **now)
        if model is not None and fill is not None:
            frame = hold_look(frame, model, fill, hold)
        first = frame if first is None else first
        if i >= fade_begins:
            way = reduce(then, islice(make_moves(keys, size), i, frames))
            frame = fade_into(
                frame, first, way, min(1.0, (i - fade_begins + every) / (frames - fade_begins))
            )
        yield frame


def journey(
    net: Net,
    layers: list[str] | str | None = None,
    frames_per_layer: int = 100,
    cross_fade: int | None = None,
    frame: np.ndarray | None = None,
    size: tuple[int, int] = (360, 640),
    scale: float = 0.02,
    rotate: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    seed: int = 0,
    done: int = 0,
    iter_n: int = 4,
    down: bool = False,
    hold: float = 0.3,
    like: np.ndarray | None = None,
    **zoom_params: Any,
) -> Iterator[np.ndarray]:
    """Zoom through the network: begin with noise and climb one layer after another,
    from strokes to whole animals.

    After Johan Nordberg's film "Inside an artificial brain" (2015). layers, down: see
    `stations`. cross_fade: over this many frames at the end of a layer, the next layer
    takes over, in a weighted sum of both; without it, a quarter of the layer's frames.
    frame: begin with this picture (H, W, 3) instead of seeded noise of `size`, (H, W).
    like: from noise, `hold` goes by the contrast that photographs have, or by this
    picture. All else is as for `zoom`.
    """
    layers = stations(net, layers, down)
    _check_cross_fade(frames_per_layer, cross_fade)
    if frame is None:
        frame, like = noise(size, seed), clouds(size, seed) if like is None else like
    keys = {n * frames_per_layer: {"end": layer} for n, layer in enumerate(layers)}
    frames = len(layers) * frames_per_layer
    yield from zoom(
        net,
        frame,
        frames,
        scale,
        rotate,
        shift,
        seed,
        done,
        hold=hold,
        keys=keys,
        cross_fade=cross_fade,
        like=like,
        iter_n=iter_n,
        **zoom_params,
    )


def _check_cross_fade(frames_per_layer: int, cross_fade: int | None) -> None:
    """Raise a DreamError for a cross-fade that does not fit into a layer's frames."""
    check("frames_per_layer", frames_per_layer)
    check("cross_fade", cross_fade)
    if cross_fade is not None and cross_fade >= frames_per_layer:
        allowed = (
            f"a whole number of frames from 0 to {frames_per_layer - 1}: less than a layer has"
        )
        raise DreamError(f"{{setting}} is {cross_fade}; it must be {allowed}", "cross_fade")


def _goal_at(net: Net, frame: np.ndarray, keys: Keys, i: int, cross_fade: int | None) -> Objective:
    """What frame i climbs. frame: the one before."""
    here, there = around(keys, "objective", i)
    goal = keys[here]["objective"]
    if there is None or keys[there]["objective"] is goal:
        return goal
    length = (there - here) // 4 if cross_fade is None else min(cross_fade, there - here - 1)
    fading = i + 1 - (there - length)  # the number of this frame in the cross-fade, from 1
    return (
        _cross_fade(net, frame, goal, keys[there]["objective"], fading / (length + 1))
        if fading > 0
        else goal
    )


def _cross_fade(
    net: Net, frame: np.ndarray, here: Objective, there: Objective, fade: float
) -> Objective:
    """The sum of both, the second with the share `fade`.

    Each is divided by the strength of its gradient on this frame, which for one may be
    ten times that of the other.
    """
    from scipy import ndimage as nd

    h, w = (max(0, n // 2 - 256) for n in frame.shape[:2])
    middle = preprocess(
        net, frame[h : h + 512, w : w + 512]
    )  # (3, h, w): enough to measure, and little memory
    to_own = 1, *np.divide(net.own_size, middle.shape[1:])
    own = np.asarray(nd.zoom(middle, to_own, order=1))  # the size that a classifier needs
    terms = []
    for goal, share in ((here, 1 - fade), (there, fade)):
        suits = all(fits(net.layer_specs, layer, middle.shape[1:]) for layer in goal.layers_in(net))
        put(net, middle if suits else own)
        strength = float(abs(gradient(net, None, goal)).mean())
        # Four digits are precise enough, and readable in the objective's words, which a
        # progress bar shows.
        terms.append((_round(share / strength) if strength > 0 else share) * goal)
    return terms[0] + terms[1]


def _round(number: float, digits: int = 4) -> float:
    """A number above 0, or 0 itself, rounded to this many digits in all."""
    return round(number, digits - 1 - math.floor(math.log10(number))) if number else number
