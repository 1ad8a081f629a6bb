"""A film dreamt without flicker: the detail of one frame moves along with what it lies
on.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from ..dream import OnStep, Step, deepdream
from ..errors import DreamError
from ..nets.base import Net, check_image
from ..objectives import guide_features, objective_guide
from ..pictures import grey, resized
from ..settings import check


class SteadyFrame(NamedTuple):
    """A frame of a film, with what the next frame needs of it.

    picture: the dream, (H, W, 3). source: what it was dreamt from, (H, W, 3). strength:
    mean |detail| of the dream; 0 if there is none, and the next frame begins again.
    light: under a mask that moves, how light it was, (H, W) 0..1.
    """

    picture: np.ndarray
    source: np.ndarray
    strength: float
    light: np.ndarray | np.float32 | float = 1.0


def steady(
    net: Net,
    sources: Iterable[np.ndarray],
    blend: float = 0.9,
    seed: int = 0,
    last: SteadyFrame | None = None,
    mask: Any = None,
    guide: Any = None,
    end: str = "inception_4c/output",
    **dream_params: Any,
) -> Iterator[SteadyFrame]:
    """Dream over the pictures of a film (H, W, 3) one after another, without flicker.

    The detail of the last dream moves along the optical flow with what it lies on, and
    each pixel dreams only as much as its detail was lost on the way. Trust, 0..1, says
    how well the forward and backward flow agree: the share a = blend * trust of the
    detail is kept, and the step is 1 - a**2. (With 1 - a the dream would fade, because
    new detail points elsewhere than the detail that is kept.) Every picture's detail
    has the mean 0 and the strength of the first, so neither brightness nor contrast
    drift. After a cut the dream begins again.

    blend: from 0, each picture for itself, to 0.99. seed: every picture draws the same
    random shifts. last: continue after this frame. mask: as for `deepdream`, or an
    iterable of such, one for each picture; where the mask becomes lighter the dream
    grows, where it becomes darker it fades, and a picture under a black mask is not
    dreamt. guide: a picture (h, w, 3) in whose `guide_features` at layer `end` to
    dream, or an iterable of them. If a mask or guide has fewer pictures, its last one
    stays. dream_params: as for `deepdream`. Ctrl-C and `on_step` are as for `zoom`.
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
        carried = (
            _carry(last, source)
            if last is not None and last.strength and blend and light.any()
            else None
        )
        if not light.any():
            detail, strength = np.zeros_like(source, np.float32), 0.0
        elif last is None or carried is None:
            dream = dream_frame(net, source, seed=seed, mask=mask, end=end, **dream_params)
            detail = _level(source, dream - source, light)
            strength = float(abs(detail).mean())
        else:
            trust, old_detail, before = carried
            kept = blend * trust * (light > 0)  # (H, W)
            lightest = np.maximum(np.maximum(before, now), 1e-6)
            begin = (source + (kept * (now / lightest))[..., None] * old_detail).clip(0, 255)
            rest = light * (1 - (kept * (before / lightest)) ** 2)
            dream = dream_frame(net, begin, seed=seed, mask=rest, end=end, **dream_params)
            detail = dream - source
            strength = last.strength * float(np.mean(now) / np.mean(last.light))
            detail *= min(1.25, strength / max(abs(detail).mean(), 1e-3))
            detail = _level(source, detail, light)
        last = SteadyFrame(source + detail, source, strength, now)
        yield last


def is_one(pictures: Any) -> bool:
    """Whether this is one picture, an array or a path, or none; not an iterable of
    pictures.
    """
    return (
        isinstance(pictures, str)
        or hasattr(pictures, "__array__")
        or not isinstance(pictures, Iterable)
    )


def _stay(pictures: Any, name: str) -> Iterator[Any]:
    """Pictures without end: the same one again and again, or those of an iterable,
    whose last one stays.
    """
    picture = None
    for picture in [pictures] if is_one(pictures) else pictures:
        yield picture
    if picture is None:
        raise DreamError(f"there is no picture in the {name}; it needs at least one")
    yield from repeat(picture)


def _features(net: Net, pictures: Iterable[np.ndarray], end: str) -> Iterator[np.ndarray]:
    """The `guide_features` of each picture (h, w, 3); those of a picture that has not
    changed are not made again.
    """
    before: Any = None
    features: Any = None
    for picture in pictures:
        if before is None or not np.array_equal(picture, before):
            check_image(picture)
            before, features = np.array(picture), guide_features(net, picture, end)
        yield features


def _level(source: np.ndarray, detail: np.ndarray, light: np.ndarray | np.float32) -> np.ndarray:
    """Shift the detail (H, W, 3) where the mask is light, until its mean is 0 and the
    picture stays in 0..255.
    """
    share = np.expand_dims(light / light.mean(), -1)
    for _ in range(3):  # each round makes up for what the clip of the round before took away
        detail = (source + detail - detail.mean((0, 1)) * share).clip(0, 255) - source
    return detail


def _carry(last: SteadyFrame, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """(trust (H, W) 0..1, detail (H, W, 3), light) of the last frame, moved to where
    they are now; None after a cut.
    """
    import cv2

    if last.source.shape != source.shape:
        return None
    old, new = (
        cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (last.source, source)
    )  # (H, W) each
    height, width = new.shape
    back = _flow(new, old)  # (H, W, 2)
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )  # (H, W) each
    x, y = x + back[..., 0], y + back[..., 1]

    def move(image: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.remap(image, x, y, how, borderMode=cv2.BORDER_REPLICATE)

    forth = move(_flow(old, new))
    # Sundaram, Brox and Keutzer's check (2010): there and back again should end where
    # it began.
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
    """(H, W, 2): from each pixel of one grey image (H, W) to its place in the other, in
    pixels right and down.
    """
    import cv2

    height, width = here.shape
    below, beside = (
        max(0, 32 - height),
        max(0, 32 - width),
    )  # on smaller pictures OpenCV's DIS may crash
    padded = [
        cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        for image in (here, there)
    ]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*padded, None)[:height, :width]


def dream_frame(
    net: Net, frame: np.ndarray, on_step: OnStep | None = None, **dream_params: Any
) -> np.ndarray:
    """As `deepdream`, but a dream that is stopped raises KeyboardInterrupt: half a
    frame is no frame.
    """

    def pass_on(step: Step) -> None:
        if step.stopped or (on_step and on_step(step) is True):
            raise KeyboardInterrupt

    return deepdream(net, frame, on_step=pass_on, **dream_params)
