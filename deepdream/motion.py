"""Dreams that move: the notebook's endless zoom, a journey through the layers, a film dreamt without flicker.

Each is a generator: it makes one picture when it is asked for the next, and keeps no more than that needs. `done` is
the number of pictures that exist already, so that a long film can be resumed.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial, reduce
from itertools import count, islice, pairwise, repeat
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from .dream import OnStep, Step, deepdream, gradient, prepare
from .errors import DreamError, unknown
from .hold import LIFE, clouds, hold_look, piece, pieces
from .keys import KEYED, MOTION, Keys, around, at, ease
from .net import Net, check_image, preprocess, put
from .objectives import L2, Objective, guide_features, objective_guide, objective_L2, parse, parts
from .pictures import grey, resized
from .recipe import ROWS, check
from .shapes import fits, pair

LARGEST = 16_384  # pixels of a side of noise
LONGEST_FADE = 50  # frames
SOFT = 4  # pixels over which a picture passes into what is beyond its borders


def zoom(net: Net, frame: np.ndarray, frames: int = 100, scale: float = 0.05, rotate: float = 0.0,
         shift: tuple[float, float] = (0, 0), seed: int | None = None, done: int = 0,
         to: tuple[float, float] | None = None, hold: float = 0.0, loop: bool = False, keys: Keys | None = None,
         cross_fade: int | None = None, like: np.ndarray | None = None, first: np.ndarray | None = None, every: int = 1,
         **dream_params: Any) -> Iterator[np.ndarray]:  # fmt: skip
    """Dream, enlarge a little, and dream again: yields `frames` pictures (H, W, 3) float32, as in the notebook.

    scale: the share of the sides that is cut off from one frame to the next; below 0 the picture shrinks, surrounded by
    its mirror images. rotate: by how many degrees it turns clockwise. shift: by how many pixels it moves right and
    down. seed: frame i draws its random shifts from seed + i; None continues NumPy's global generator. done: continue
    after this many frames, with the last of them as `frame`. dream_params: as for `deepdream`.

    to: fly to this point (x, y) of the picture, in pixels, or in shares of the sides from 0 to 1. hold: how firmly to
    hold the look of the first frame, or of the picture `like` (H, W, 3), see hold.py. loop: the last frames fade into
    the first. first: the film's first frame, which these two need after `done` frames. keys: {frame: {setting: value}},
    see keys.py; as an objective, a key takes one that can be added, and as a mask a picture or an array. cross_fade:
    during this many frames before a key, its objective takes over from the one before; without it, during a quarter of
    the frames between them. every: make one of so many frames, and leave out those between.

    Raises DreamError for a value that is not allowed, and KeyboardInterrupt after Ctrl-C, or if `on_step` returns True:
    half a frame is no frame.
    """
    check_image(frame)
    motion = {"scale": scale, "rotate": rotate, "shift": shift, "to": to}
    for name, value in {"frames": frames, "seed": seed, "hold": hold, "loop": loop, "cross_fade": cross_fade}.items():
        check(name, value)
    if done and first is None and (loop or (hold and like is None)):
        raise DreamError("to continue a film with `hold` or `loop`, give its first frame, too, as `first`")
    if first is not None and first.shape != frame.shape:
        raise DreamError(f"`first` is {first.shape}, and the frames are {frame.shape}; give the film's first frame")
    if not isinstance(every, Integral) or every < 1:
        raise DreamError(f"every is {every!r}; it must be a whole number of frames, at least 1")
    if like is not None:
        check_image(like)
        like = resized(np.asarray(like, np.float32), *frame.shape[:2])
    keys = _complete(net, frame, keys or {}, motion, dream_params, frames if loop else None)
    size = frame.shape[:2]
    last = max(0, done - 1) * every  # the number of the frame that was made last
    moves = _moves(keys, size)
    recent = deque(islice(moves, last), maxlen=LIFE)
    fade_begins = frames - min(LONGEST_FADE, max(1, frames // 4)) if loop else frames
    for i in range(done * every, frames, every):
        step = list(islice(moves, every)) if i > 0 else []
        recent += step
        now = dream_params | {name: at(keys, name, i) for name in keys[0] if name not in MOTION}
        if "objective" in keys[0]:
            now["objective"] = _goal_at(net, frame, keys, i, cross_fade)
        model = (first if like is None else like) if hold else None  # whose look is held
        fill = None if model is None else _fill(model, i, list(recent))
        if i > 0:
            move = reduce(_then, step)
            frame = _move(frame, move) if fill is None else _move_over(fill, frame, move)
        frame = _dream_frame(net, frame, seed=None if seed is None else (seed + i) % 2**32, **now)
        if model is not None and fill is not None:
            frame = hold_look(frame, model, fill, hold)
        first = frame if first is None else first
        if i >= fade_begins:
            way = reduce(_then, islice(_moves(keys, size), i, frames))
            frame = _fade_into(frame, first, way, min(1.0, (i - fade_begins + every) / (frames - fade_begins)))
        yield frame


def journey(net: Net, layers: list[str] | str | None = None, frames_per_layer: int = 100, cross_fade: int | None = None,
            frame: np.ndarray | None = None, size: tuple[int, int] = (360, 640), scale: float = 0.02,
            rotate: float = 0.0, shift: tuple[float, float] = (0, 0), seed: int = 0, done: int = 0, iter_n: int = 4,
            down: bool = False, hold: float = 0.3, like: np.ndarray | None = None,
            **zoom_params: Any) -> Iterator[np.ndarray]:  # fmt: skip
    """Zoom through the network: begin with noise and climb one layer after another, from strokes to whole animals.

    After Johan Nordberg's film "Inside an artificial brain" (2015). layers, down: see `stations`. cross_fade: over this
    many frames at the end of a layer, the next layer takes over, in a weighted sum of both; without it, a quarter of
    the layer's frames. frame: begin with this picture (H, W, 3) instead of seeded noise of `size`, (H, W). like: from
    noise, `hold` goes by the contrast that photographs have, or by this picture. All else is as for `zoom`.
    """
    layers = stations(net, layers, down)
    _check_cross_fade(frames_per_layer, cross_fade)
    if frame is None:
        frame, like = noise(size, seed), clouds(size, seed) if like is None else like
    keys = {n * frames_per_layer: {"end": layer} for n, layer in enumerate(layers)}
    frames = len(layers) * frames_per_layer
    yield from zoom(net, frame, frames, scale, rotate, shift, seed, done, hold=hold, keys=keys,
                    cross_fade=cross_fade, like=like, iter_n=iter_n, **zoom_params)  # fmt: skip


def stations(net: Net, layers: Iterable[str] | str | None = None, down: bool = False) -> list[str]:
    """The layers of a journey: those given, in the order given; 'all' that can be climbed, in network order.

    None chooses the convolutions (larger than 1x1), concatenations and sums that everything passes through, in network
    order: in GoogLeNet conv1, conv2 and the outputs of the nine Inception modules, in VGG every convolution. down: from
    the deepest to the lowest, as in the film of 2015 in Google's gallery.
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
    if down:
        layers.sort(key=[spec.name for spec in net.layer_specs].index, reverse=True)
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

    picture: the dream, (H, W, 3). source: what it was dreamt from, (H, W, 3). strength: mean |detail| of the dream; 0
    if there is none, and the next frame begins again. light: under a mask that moves, how light it was, (H, W) 0..1.
    """

    picture: np.ndarray
    source: np.ndarray
    strength: float
    light: np.ndarray | np.float32 | float = 1.0


def steady(net: Net, sources: Iterable[np.ndarray], blend: float = 0.9, seed: int = 0, last: SteadyFrame | None = None,
           mask: Any = None, guide: Any = None, end: str = "inception_4c/output",
           **dream_params: Any) -> Iterator[SteadyFrame]:  # fmt: skip
    """Dream over the pictures of a film (H, W, 3) one after another, without flicker.

    The detail of the last dream moves along the optical flow with what it lies on, and each pixel dreams only as much
    as its detail was lost on the way. Trust, 0..1, says how well the forward and backward flow agree: the share
    a = blend * trust of the detail is kept, and the step is 1 - a**2. (With 1 - a the dream would fade, because new
    detail points elsewhere than the detail that is kept.) Every picture's detail has the mean 0 and the strength of the
    first, so neither brightness nor contrast drift. After a cut the dream begins again.

    blend: from 0, each picture for itself, to 0.99. seed: every picture draws the same random shifts. last: continue
    after this frame. mask: as for `deepdream`, or an iterable of such, one for each picture; where the mask becomes
    lighter the dream grows, where it becomes darker it fades, and a picture under a black mask is not dreamt. guide: a
    picture (h, w, 3) in whose `guide_features` at layer `end` to dream, or an iterable of them. If a mask or guide has
    fewer pictures, its last one stays. dream_params: as for `deepdream`. Ctrl-C and `on_step` are as for `zoom`.
    """
    check("blend", blend)
    if guide is not None and "objective" in dream_params:
        raise DreamError("a guide is an objective, too; give one of the two")
    is_moving = not is_one(mask)
    if is_moving:
        masks = (grey(picture, in_film=True) for picture in _stay(mask, "mask"))
    else:
        masks = repeat(None if mask is None else grey(mask))
    guides = repeat(None) if guide is None else _features(net, _stay(guide, "guide"), end)
    for source, mask, features in zip(sources, masks, guides):
        check_image(source)
        if features is not None:
            dream_params["objective"] = partial(objective_guide, guide_features=features)
        light = np.float32(1) if mask is None else resized(mask, *source.shape[:2])  # (H, W)
        now = light if is_moving else np.float32(1)
        carried = _carry(last, source) if last is not None and last.strength and blend and light.any() else None
        if not light.any():
            detail, strength = np.zeros_like(source, np.float32), 0.0
        elif last is None or carried is None:
            dream = _dream_frame(net, source, seed=seed, mask=mask, end=end, **dream_params)
            detail = _level(source, dream - source, light)
            strength = float(abs(detail).mean())
        else:
            trust, old_detail, before = carried
            kept = blend * trust * (light > 0)  # (H, W)
            lightest = np.maximum(np.maximum(before, now), 1e-6)
            begin = (source + (kept * (now / lightest))[..., None] * old_detail).clip(0, 255)
            rest = light * (1 - (kept * (before / lightest)) ** 2)
            dream = _dream_frame(net, begin, seed=seed, mask=rest, end=end, **dream_params)
            detail = dream - source
            strength = last.strength * float(np.mean(now) / np.mean(last.light))
            detail *= min(1.25, strength / max(abs(detail).mean(), 1e-3))
            detail = _level(source, detail, light)
        last = SteadyFrame(source + detail, source, strength, now)
        yield last


def is_one(pictures: Any) -> bool:
    """Whether this is one picture, an array or a path, or none; not an iterable of pictures."""
    return isinstance(pictures, str) or hasattr(pictures, "__array__") or not isinstance(pictures, Iterable)


def _stay(pictures: Any, name: str) -> Iterator[Any]:
    """Pictures without end: the same one again and again, or those of an iterable, whose last one stays."""
    picture = None
    for picture in [pictures] if is_one(pictures) else pictures:
        yield picture
    if picture is None:
        raise DreamError(f"there is no picture in the {name}; it needs at least one")
    yield from repeat(picture)


def _features(net: Net, pictures: Iterable[np.ndarray], end: str) -> Iterator[np.ndarray]:
    """The `guide_features` of each picture (h, w, 3); those of a picture that has not changed are not made again."""
    before: Any = None
    features: Any = None
    for picture in pictures:
        if before is None or not np.array_equal(picture, before):
            check_image(picture)
            before, features = np.array(picture), guide_features(net, picture, end)
        yield features


def _level(source: np.ndarray, detail: np.ndarray, light: np.ndarray | np.float32) -> np.ndarray:
    """Shift the detail (H, W, 3) where the mask is light, until its mean is 0 and the picture stays in 0..255."""
    share = np.expand_dims(light / light.mean(), -1)
    for _ in range(3):  # each round makes up for what the clip of the round before took away
        detail = (source + detail - detail.mean((0, 1)) * share).clip(0, 255) - source
    return detail


def _carry(last: SteadyFrame, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """(trust (H, W) 0..1, detail (H, W, 3), light) of the last frame, moved to where they are now; None after a cut."""
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
    light = move(last.light) if isinstance(last.light, np.ndarray) else last.light
    return trust, move(last.picture - last.source, cv2.INTER_CUBIC), light


def _flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(H, W, 2): from each pixel of one grey image (H, W) to its place in the other, in pixels right and down."""
    import cv2

    height, width = here.shape
    below, beside = max(0, 32 - height), max(0, 32 - width)  # on smaller pictures OpenCV's DIS may crash
    padded = [cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE) for image in (here, there)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*padded, None)[:height, :width]


def _check_cross_fade(frames_per_layer: int, cross_fade: int | None) -> None:
    """Raise a DreamError for a cross-fade that does not fit into a layer's frames."""
    check("frames_per_layer", frames_per_layer)
    check("cross_fade", cross_fade)
    if cross_fade is not None and cross_fade >= frames_per_layer:
        allowed = f"a whole number of frames from 0 to {frames_per_layer - 1}: less than a layer has"
        raise DreamError(f"{{setting}} is {cross_fade}; it must be {allowed}", "cross_fade")


def _dream_frame(net: Net, frame: np.ndarray, on_step: OnStep | None = None, **dream_params: Any) -> np.ndarray:
    """As `deepdream`, but a dream that is stopped raises KeyboardInterrupt: half a frame is no frame."""

    def pass_on(step: Step) -> None:
        if step.stopped or (on_step and on_step(step) is True):
            raise KeyboardInterrupt

    return deepdream(net, frame, on_step=pass_on, **dream_params)


# How the settings change in a film


def check_key(
    net: Net, frame: np.ndarray, number: int, given: Mapping[str, Any], dream_params: dict[str, Any]
) -> dict[str, Any]:
    """One key of a film as `zoom` uses it: checked, its goal an Objective, its mask (H, W) as large as the frames.

    Raises DreamError for what `zoom` with these `dream_params` could not dream.
    """
    if not isinstance(number, Integral) or number < 0:
        raise DreamError(f"a key is at frame {number!r}; frames have whole numbers from 0")
    key = {}
    for name, value in given.items():
        if name not in KEYED or name in ("look", "guide"):
            allowed = [name for name in KEYED if name not in ("look", "guide")]
            raise unknown("setting", name, allowed, "a key has no others; looks and guides by name are for key files")
        if name == "mask":
            key[name] = _whole_mask(value, frame)
        elif name not in ("end", "objective"):
            check(name, value.tolist() if isinstance(value, np.ndarray) else value)
            key[name] = value
    if given.keys() & {"end", "objective"}:
        key["objective"] = _goal(given)
    if key.get("to") is not None:
        to_pixels(key["to"], frame.shape[:2])
    prepare(net, frame, **dream_params | {name: value for name, value in key.items() if name not in MOTION})
    return key


def _complete(net: Net, frame: np.ndarray, keys: Keys, motion: dict[str, Any], dream_params: dict[str, Any],
              end: int | None) -> Keys:  # fmt: skip
    """The keys as `zoom` uses them, with one at frame 0 that has all settings that are about motion, or in other keys.

    end: the frame at which all are back at what they were at first, if the film is a loop.
    """
    given = keys | {0: motion | keys.get(0, {})}
    complete = {number: check_key(net, frame, number, key, dream_params) for number, key in given.items()}
    first = complete[0]
    for name in {name for key in complete.values() for name in key} - first.keys():
        if name == "objective":
            first[name] = _goal(dream_params)
        elif name == "mask":
            first[name] = _whole_mask(dream_params.get(name), frame)
        else:
            first[name] = dream_params.get(name, ROWS[name].default)
    if end is not None:
        complete = {number: key for number, key in complete.items() if number < end} | {end: first | {"to": None}}
    complete = dict(sorted(complete.items()))
    _check_octaves(net, frame, complete, dream_params)
    return complete


def _check_octaves(net: Net, frame: np.ndarray, keys: Keys, dream_params: dict[str, Any]) -> None:
    """Raise a DreamError for octaves that become too small from one key to the next, where both settings change."""
    if not keys[0].keys() & {"octave_n", "octave_scale"}:
        return

    def octaves(i: int) -> dict[str, Any]:
        return {name: at(keys, name, i) if name in keys[0] else dream_params.get(name, ROWS[name].default)
                for name in ("octave_n", "octave_scale")}  # fmt: skip

    def depth(i: int) -> float:
        return (octaves(i)["octave_n"] - 1) * math.log(octaves(i)["octave_scale"])

    for here, there in pairwise([*keys, max(keys) + 1]):
        deepest = max(range(here, there), key=depth)
        goals = {}
        if "objective" in keys[0]:
            before, after = around(keys, "objective", here)
            goals["objective"] = keys[before]["objective"] + (keys[after]["objective"] if after else 0)
        try:
            prepare(net, frame, **dream_params | octaves(deepest) | goals)
        except DreamError as error:
            raise DreamError(f"at frame {deepest}: {error.args[0]}", error.setting) from None


def _goal(given: Mapping[str, Any]) -> Objective:
    """What to climb, of a key or of `deepdream`'s parameters, as an Objective, which can fade into another."""
    objective = given.get("objective", objective_L2)
    if isinstance(objective, str):
        return parse(objective)
    if objective is objective_L2:
        return L2(given.get("end", "inception_4c/output"))
    if not isinstance(objective, Objective):
        raise DreamError("an objective that is a function cannot fade into another; take one that can be added")
    return objective


def _whole_mask(mask: Any, frame: np.ndarray) -> np.ndarray:
    """A mask, or None for none, as large as a frame: (H, W), 0..1."""
    return np.ones(frame.shape[:2], np.float32) if mask is None else resized(grey(mask), *frame.shape[:2])


def _goal_at(net: Net, frame: np.ndarray, keys: Keys, i: int, cross_fade: int | None) -> Objective:
    """What frame i climbs. frame: the one before."""
    here, there = around(keys, "objective", i)
    goal = keys[here]["objective"]
    if there is None or keys[there]["objective"] is goal:
        return goal
    length = (there - here) // 4 if cross_fade is None else min(cross_fade, there - here - 1)
    fading = i + 1 - (there - length)  # the number of this frame in the cross-fade, from 1
    return _cross_fade(net, frame, goal, keys[there]["objective"], fading / (length + 1)) if fading > 0 else goal


def _cross_fade(net: Net, frame: np.ndarray, here: Objective, there: Objective, fade: float) -> Objective:
    """The sum of both, the second with the share `fade`.

    Each is divided by the strength of its gradient on this frame, which for one may be ten times that of the other.
    """
    from scipy import ndimage as nd

    h, w = (max(0, n // 2 - 256) for n in frame.shape[:2])
    middle = preprocess(net, frame[h : h + 512, w : w + 512])  # (3, h, w): enough to measure, and little memory
    to_own = 1, *np.divide(net.own_size, middle.shape[1:])
    own = np.asarray(nd.zoom(middle, to_own, order=1))  # the size that a classifier needs
    terms = []
    for goal, share in ((here, 1 - fade), (there, fade)):
        suits = all(fits(net.layer_specs, layer, middle.shape[1:]) for layer in parts(goal, None, net))
        put(net, middle if suits else own)
        strength = float(abs(gradient(net, None, goal)).mean())
        # Four digits are precise enough, and readable in the objective's words, which a progress bar shows.
        terms.append((_round(share / strength) if strength > 0 else share) * goal)
    return terms[0] + terms[1]


def _round(number: float, digits: int = 4) -> float:
    """A number above 0, or 0 itself, rounded to this many digits in all."""
    return round(number, digits - 1 - math.floor(math.log10(number))) if number else number


# How a film moves


class Move(NamedTuple):
    """From one frame to the next: what is at `matrix @ place + offset` comes to `place`, both in pixels (down, right).

    matrix: (2, 2); or without rotation, a number.
    """

    matrix: Any
    offset: np.ndarray


def _moves(keys: Keys, size: tuple[int, int]) -> Iterator[Move]:
    """The moves to frame 1, 2 and so on, of frames of this size (H, W)."""
    point = None  # where the film flies to, (down, right) in pixels of the frame that moves
    for i in count():
        to = keys.get(i, {}).get("to")
        point = point if to is None else to_pixels(to, size)
        scale, rotate, (right, down) = (at(keys, name, i + 1) for name in ("scale", "rotate", "shift"))
        here = np.divide(size, 2) if point is None else np.array(point)
        there = here if point is None or scale <= 0 else _approach(here, np.array(size), scale)
        by = there - here + [down, right]
        if rotate:
            cos, sin = (1 - scale) * np.cos(np.radians(rotate)), (1 - scale) * np.sin(np.radians(rotate))
            matrix = np.array([[cos, -sin], [sin, cos]])
            yield Move(matrix, here - matrix @ (here + by))
        else:
            yield Move(1 - scale, here * scale - (1 - scale) * by)
        if point is not None:
            point = tuple(np.clip(here + by, 0, size))  # a shift may carry it out of the picture


def to_pixels(to: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """A point (x, y) of a picture of this size (H, W), in pixels or in shares of the sides: (down, right) in pixels."""
    (x, y), (height, width) = to, size
    if max(x, y) <= 1:
        return y * height, x * width
    if x > width or y > height or 0 < min(x, y) < 1:
        allowed = f"a point of the frames, which are {width}x{height}, in pixels, or in shares of the sides from 0 to 1"
        raise DreamError(f"{{setting}} is {x:g} {y:g}; it must be {allowed}", "to")
    return y, x


def _approach(here: np.ndarray, size: np.ndarray, scale: float) -> np.ndarray:
    """Where a point comes to lie in the next frame: a tenth nearer to the middle, or as near as no border comes in."""
    wanted = size / 2 + 0.9 * (here - size / 2)
    return np.clip(wanted, size - (size - here) / (1 - scale), here / (1 - scale))


def _then(first: Move, second: Move) -> Move:
    """Both moves in one, so that the picture is resampled only once."""
    return Move(np.dot(first.matrix, second.matrix), np.dot(first.matrix, second.offset) + first.offset)


def _move(frame: np.ndarray, move: Move, order: int = 1) -> np.ndarray:
    """The notebook's affine transform; beyond the borders are mirror images.

    order: of the splines between pixels. 1 is the notebook's, and without rotation and shift gives the same bits; 3
    keeps more of the detail.
    """
    from scipy import ndimage as nd

    matrix: Any = move.matrix if np.ndim(move.matrix) else [move.matrix, move.matrix]
    offset: Any = move.offset
    planes = np.moveaxis(frame, 2, 0)  # one by one, for otherwise SciPy interpolates between the colours, too
    moved = np.stack([nd.affine_transform(plane, matrix, offset, order=order, mode="mirror") for plane in planes], 2)
    return moved if order == 1 else moved.clip(0, 255)


def _move_over(beyond: np.ndarray, frame: np.ndarray, move: Move) -> np.ndarray:
    """A frame moved, with `beyond` (H, W, 3) in place of mirror images beyond its borders."""
    moved = _move(frame, move, order=3)
    outside = np.clip(-_inside(move, frame.shape[:2]) / SOFT, 0, 1).astype(np.float32)[..., None]
    return moved + outside * (beyond - moved)


def _inside(move: Move, size: tuple[int, int]) -> np.ndarray:
    """(H, W): how far inside the old picture each pixel of the new one comes from, in pixels; below 0, from beyond."""
    height, width = size
    y, x = np.tensordot(np.dot(move.matrix, np.eye(2)), np.indices(size), 1) + move.offset[:, None, None]
    return np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))


def _fill(model: np.ndarray, i: int, moves: list[Move]) -> np.ndarray:
    """What `hold_look` fills frame i with, and its borders, (H, W, 3). moves: the last ones before it."""
    fill = np.zeros_like(model) + model.mean((0, 1))
    for which, age, share in pieces(i):
        moved = piece(model, which)
        since = moves[max(0, len(moves) - age) :] if age else []
        fill += share * (_move(moved, reduce(_then, since)) if since else moved)
    return fill


def _fade_into(frame: np.ndarray, first: np.ndarray, way: Move, share: float) -> np.ndarray:
    """A frame near the end of a loop, with the film's first frame growing in its middle, (H, W, 3).

    way: from this frame to the end, where the loop is closed. share: of the fade that is over, from 0 to 1.
    """
    share = ease(share)
    matrix = np.linalg.inv(np.dot(way.matrix, np.eye(2)))
    back = Move(matrix, -matrix @ way.offset)
    edge = 0.25 * min(frame.shape[:2])  # pixels; its borders are soft, and come to lie ever further outside
    soft = np.clip(_inside(back, frame.shape[:2]) / edge + 2 * share, 0, 1)[..., None]
    return np.asarray(frame + share * soft * (_move(first, back, order=3) - frame), np.float32)
