"""Dreams over a film, without flicker: a frame's detail moves with what it lies on."""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..dream import OnStep, Step, deepdream
from ..errors import DreamError
from ..given import add_keywords, as_image, check_image
from ..nets.base import Net
from ..objectives import guide_features, objective_guide
from ..pictures import guide_width, load_guide, read_mask, resize
from ..settings import ROWS, Params, Record, check
from ..stopping import Stopped
from .files import check_range, film_about, follow_film, is_film, read_film
from .flow import Motion, find_motion
from .make import Film

Picture = str | Path | np.ndarray  # a path, or (h, w, 3), or of a mask (h, w)
Pictures = Picture | Iterable[Picture] | None
Light = np.ndarray | np.float32 | float  # of a mask: (H, W), or one number for all


class SteadyFrame(NamedTuple):
    """A dream (H, W, 3), with what the next one needs; source: what it was made from.

    strength: mean |detail|; 0 if there is none, and the next frame begins
    again. light: of a mask that moves, (H, W) 0..1.
    """

    picture: np.ndarray
    source: np.ndarray
    strength: float
    light: Light = 1.0


def steady(
    net: Net, sources: Iterable[np.ndarray], blend: float = 0.9, seed: int = 0,
    last: SteadyFrame | None = None, mask: Pictures = None,
    guide: np.ndarray | Iterable[np.ndarray] | None = None, end: str = "inception_4c/output",
    **dream_params: Any,
) -> Iterator[SteadyFrame]:  # fmt: skip
    """Dream over the pictures of a film (H, W, 3) one after another, without flicker.

    blend: from 0, each picture for itself, to 0.99. seed: every picture's.
    last: continue after this frame. mask: as for `deepdream`; the dream
    grows where it gets lighter. guide: dream in `guide_features` of this
    (h, w, 3) at layer `end`. Both may be iterables, whose last picture
    stays. Raises as `zoom` does.
    """
    check("blend", blend)
    if guide is not None and "objective" in dream_params:
        raise DreamError("a guide is an objective, too; give one of the two")
    is_moving = not is_one(mask)
    guides = repeat(None)
    if guide is not None:
        guides = _features(net, _stay(guide, "guide"), end)
    for source, part, features in zip(sources, _masks(mask), guides):
        source = as_image(source)
        if features is not None:
            dream_params["objective"] = partial(objective_guide, guide_features=features)
        light = np.float32(1) if part is None else resize(part, *source.shape[:2])  # (H, W)
        now = light if is_moving else np.float32(1)
        dream = partial(dream_frame, net, seed=seed, end=end, **dream_params)
        motion = None
        if last is not None and last.strength and blend and light.any():
            motion = find_motion(last.source, source)
        if not light.any():
            detail, strength = np.zeros_like(source, np.float32), 0.0
        elif last is None or motion is None:
            detail = _level(source, dream(source, mask=part) - source, light)
            strength = float(abs(detail).mean())
        else:
            detail, strength = _dream_on(dream, source, last, motion, blend, light, now)
        last = SteadyFrame(source + detail, source, strength, now)
        yield last


add_keywords(steady, deepdream)


def _dream_on(
    dream: Callable[..., np.ndarray], source: np.ndarray, last: SteadyFrame, motion: Motion,
    blend: float, light: np.ndarray | np.float32, now: np.ndarray | np.float32,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """(the detail (H, W, 3), its strength) of a source's dream after the last frame.

    The last detail moves along, and each pixel dreams only as much as was
    lost: the share a = blend * trust is kept, and the step is 1 - a**2.
    (With 1 - a the dream would fade, as new detail points elsewhere.)
    """
    before = last.light
    if isinstance(before, np.ndarray):
        before = motion.move(before)
    old_detail = motion.move(last.picture - last.source, is_smooth=True)
    kept = blend * motion.trust * (light > 0)  # (H, W)
    lightest = np.maximum(np.maximum(before, now), 1e-6)
    begin = (source + (kept * (now / lightest))[..., None] * old_detail).clip(0, 255)
    rest = light * (1 - (kept * (before / lightest)) ** 2)
    detail = dream(begin, mask=rest) - source
    strength = last.strength * float(np.mean(now) / np.mean(last.light))
    detail *= min(1.25, strength / max(abs(detail).mean(), 1e-3))
    return _level(source, detail, light), strength


def _level(source: np.ndarray, detail: np.ndarray, light: np.ndarray | np.float32) -> np.ndarray:
    """Shift the detail where the mask is light, to mean 0 and a picture in 0..255."""
    share = np.expand_dims(light / light.mean(), -1)
    for _ in range(3):  # each makes up for what the clip took away before
        detail = (source + detail - detail.mean((0, 1)) * share).clip(0, 255) - source
    return detail


def is_one(pictures: object) -> bool:
    """Whether this is one picture, an array or a path, or none."""
    if isinstance(pictures, str) or hasattr(pictures, "__array__"):
        return True
    return not isinstance(pictures, Iterable)


def _masks(mask: Pictures) -> Iterator[np.ndarray | None]:
    """A mask for each picture, (h, w) 0..1; None without one."""
    if mask is None:
        return repeat(None)
    if is_one(mask):
        return repeat(read_mask(mask))  # pyright: ignore[reportArgumentType], see `is_one`
    return (read_mask(picture, in_film=True) for picture in _stay(mask, "mask"))


def _stay(pictures: Any, name: str) -> Iterator[Any]:
    """Pictures without end: one again and again, or several, whose last one stays."""
    last = None
    for picture in [pictures] if is_one(pictures) else pictures:
        last = picture
        yield picture
    if last is None:
        raise DreamError(f"there is no picture in the {name}; it needs at least one")
    yield from repeat(last)


def _features(net: Net, pictures: Iterable[np.ndarray], end: str) -> Iterator[np.ndarray]:
    """The `guide_features` of each picture, made again only if it has changed."""
    before = features = None
    for picture in pictures:
        if before is None or features is None or not np.array_equal(picture, before):
            check_image(picture)
            before, features = np.array(picture), guide_features(net, picture, end)
        yield features


def dream_frame(
    net: Net, frame: np.ndarray, on_step: OnStep | None = None, **dream_params: Any
) -> np.ndarray:
    """As `deepdream`, but one that is stopped raises Stopped: half a frame is none."""

    def pass_on(step: Step) -> None:
        if step.stopped or (on_step and on_step(step) is True):
            raise Stopped

    return deepdream(net, frame, on_step=pass_on, **dream_params)


class Footage:
    """The part of a film that is dreamt over, as for `read_film`.

    fps: of the dream. frames: at most so many. announced: how many the file
    says. Raises DreamError for what is no film, or no part of it.
    """

    def __init__(
        self, path: str | Path, start: int = 0, stop: int | None = None, stride: int = 1,
        width: int | None = None, **reading: Any,
    ) -> None:  # fmt: skip
        check_range(start, stop, stride, width)
        fps, there, _ = film_about(path)
        least = ROWS["fps"].low or 0
        if fps / stride < least:
            has = f"{path} has {float(fps):g} frames a second"
            most = f"it must be at most {int(float(fps) / least)}"
            raise DreamError(f"{{setting}} is {stride}; {has}, so {most}", "stride")
        self.path, self.start, self.stride = path, start, stride
        self.reading = {"start": start, "stop": stop, "stride": stride, "width": width} | reading
        self.fps = fps / stride
        self.frames = None if stop is None else len(range(start, stop, stride))
        last = there if stop is None else min(stop, there or stop)
        self.announced = len(range(start, last, stride)) or None
        self.sound = path, start / fps, math.inf if stop is None else stop / fps

    def film(self, net: Net, params: Params, settings: Record, **writing: Any) -> Film:
        """Its dream. params: for `steady`; masks and guides may be paths of films."""
        make = partial(self._make, net, params)
        numbers = self.frames, self.announced, self.fps
        return Film(settings, *numbers, make, self.sound, writing)

    def _make(
        self, net: Net, params: Params, on_step: OnStep | None, done: int, *last: Any
    ) -> Iterator[SteadyFrame]:
        sources = read_film(self.path, done=done, **self.reading)
        params = dict(params)
        for name in ("mask", "guide"):
            params[name] = self._follow(params.get(name), name, done)
        before = SteadyFrame(*last) if last else None
        return steady(net, sources, last=before, on_step=on_step, **params)

    def _follow(self, given: Picture | None, name: str, done: int) -> Pictures:
        if not (isinstance(given, (str, Path)) and is_film(given)):
            return given
        width = guide_width(next(follow_film(given))) if name == "guide" else None
        return follow_film(given, self.start, self.stride, width, done)


def dream_video(
    net: Net, source: str | Path, out: str | Path, start: int = 0, stop: int | None = None,
    stride: int = 1, width: int | None = None, blend: float = 0.9, seed: int = 0,
    settings: Record | None = None, restart: bool = False,
    on_frame: Callable[[int], object] | None = None,
    on_encode: Callable[[int, int], object] | None = None, mask: Picture | None = None,
    guide: Picture | None = None, on_step: OnStep | None = None, **dream_params: Any,
) -> None:  # fmt: skip
    """Dream over a film, and keep its sound: `read_film`, `steady` and
    `make_film` in one.

    Of every `stride` frames one is dreamt, and shown as long as all of
    them. mask, guide: an array, a path, or the path of a film, whose frame
    i goes with frame i of the source. The rest, and what is raised, is as
    for those three.
    """
    footage = Footage(source, start, stop, stride, width)
    _check_pictures(out, source, mask, guide)
    if isinstance(guide, (str, Path)) and not is_film(guide):
        guide = load_guide(guide)
    if settings is None:
        settings = {"source": Path(source).name} | footage.reading
        settings |= {"model": net.model.name, **net.engine, "blend": blend, "seed": seed}
        settings |= {name: describe(value) for name, value in dream_params.items()}
        for name, given in (("mask", mask), ("guide", guide)):
            if given is not None:
                settings[name] = describe(given, may_be_film=True)
    params = {"blend": blend, "seed": seed, "mask": mask, "guide": guide} | dream_params
    film = footage.film(net, params, settings, restart=restart)
    film.write(out, on_step, on_frame, on_encode)


def _check_pictures(out: str | Path, source: str | Path, mask: Pictures, guide: Pictures) -> None:
    """Refuse a dream over its own source, and several pictures as a mask or guide."""
    names = "film to dream over", "mask", "guide"
    for name, given in zip(names, (source, mask, guide)):
        if not is_one(given):
            cure = "give one, or the path of a film"
            raise DreamError(f"{{setting}} is several pictures; {cure}", name)
        if not isinstance(given, (str, Path)) or not os.path.exists(given):
            continue
        if os.path.exists(out) and os.path.samefile(given, out):
            raise DreamError(f"{out} is the {name}; give the dream another name")


def describe(value: object, may_be_film: bool = False) -> object:
    """A parameter as the settings record it, in every process the same."""
    if may_be_film and isinstance(value, (str, Path)) and is_film(value):
        with open(value, "rb") as film:
            return hashlib.file_digest(film, "sha256").hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
    if isinstance(value, (int, float, str, type(None))):
        return value
    return getattr(value, "__qualname__", None) or re.sub(" at 0x[0-9a-f]+", "", str(value))
