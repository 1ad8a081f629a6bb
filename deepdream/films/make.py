"""Films that take hours: made frame by frame, and resumed where an earlier run was
stopped or killed.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CannotWriteError, DreamError
from ..nets.base import Net
from ..paths import whole
from ..pictures import guide_width, load_guide, load_image, save_image, to_json
from ..settings import ROWS
from .encode import Sound, check_film, encode_film
from .files import check_range, film_about, follow_film, frame_path, is_film, is_folder, read_film
from .resume import RESTART, STATE, clear, reserve, resume
from .video import SteadyFrame, is_one, steady

# Called with how many frames are finished and with what it yielded last, it yields the
# rest: for each frame a tuple of the picture (H, W, 3) and what else the next frame
# needs.
Make = Callable[..., Iterator[tuple]]


def make_film(
    out: str | Path,
    make: Make,
    settings: dict[str, Any],
    frames: int | None = None,
    fps: float | Fraction = 25,
    sound: Sound | None = None,
    restart: bool = False,
    on_frame: Callable[[int], object] | None = None,
    on_encode: Callable[[int, int], object] | None = None,
) -> None:
    """Make a film that may take hours, frame by frame; an earlier run that was stopped
    or killed is resumed.

    out: .mp4, .webm, .gif, or a folder, which has no suffix. make: see `Make`.
    settings: are written into each frame and into the film; a film that was begun with
    others is not resumed. frames: put this many into the film; None takes all that are
    made. restart: throw away the frames of an earlier run. on_frame: called with the
    number of frames that are finished. on_encode: called with the number of frames that
    are encoded, and of those that will be.
    """
    check_film(out, fps)
    if not isinstance(settings, dict):
        raise DreamError(f"settings is {settings!r}; it must be a dict")
    out = Path(out)
    folder = out if is_folder(out) else out.with_suffix(".frames")
    with reserve(folder):
        done, last = (0, ()) if restart else resume(folder, settings)
        try:
            if on_frame:
                on_frame(done)
            for state in make(done, *last):
                if restart:
                    clear(folder)
                    restart = False
                with whole(folder / STATE) as part:
                    np.savez(part, *state, done=done + 1, settings=to_json(settings))
                done += 1  # it counts as finished even without its picture, which can be made from the state
                save_image(frame_path(folder, done - 1), state[0], settings | {"frame": done - 1})
                if on_frame:
                    on_frame(done)
            if out != folder:
                pictures = _read_frames(folder, min(done, frames or done), on_encode)
                with whole(out, out.with_name(f".deepdream-{out.name}")) as part:
                    encode_film(part, pictures, fps, settings, sound)
        except (DreamError, KeyboardInterrupt) as error:
            raise _add_finished(error, done, folder) from None


def _add_finished(error: DreamError | KeyboardInterrupt, done: int, folder: Path) -> BaseException:
    """The same error, with how many frames are finished in its message."""
    if not done:
        return error
    kept = f"; frames finished: {done}, in {folder}"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"{error}{kept}; the same command resumes the film")
    if isinstance(error, CannotWriteError):
        kept += "; the same command resumes the film"
    return type(error)(f"{error.args[0]}{kept}", error.setting)


def dream_video(
    net: Net,
    source: str | Path,
    out: str | Path,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    width: int | None = None,
    blend: float = 0.9,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    restart: bool = False,
    on_frame: Callable[[int], object] | None = None,
    on_encode: Callable[[int, int], object] | None = None,
    mask: Any = None,
    guide: Any = None,
    **dream_params: Any,
) -> None:
    """Dream over a film, without flicker, and keep its sound: `read_film`, `steady` and
    `make_film` in one.

    Of every `stride` frames one is dreamt and shown as long as all of them. mask,
    guide: a picture, as an array or a path, or the path of a film, whose frame i
    belongs to frame i of the source; if it is shorter, its last frame stays. The rest
    is as for those three.
    """
    check_range(start, stop, stride, width)
    fps, _, _ = film_about(source)
    if fps / stride < (least := ROWS["fps"].low or 0):
        most = f"{source} has {float(fps):g} frames a second, so it must be at most {int(float(fps) / least)}"
        raise DreamError(f"{{setting}} is {stride}; {most}", "stride")
    for what, path in (("film to dream over", source), ("mask", mask), ("guide", guide)):
        if (
            isinstance(path, (str, Path))
            and Path(out).exists()
            and Path(path).exists()
            and os.path.samefile(path, out)
        ):
            raise DreamError(f"{out} is the {what}; give the dream another name")
    for name, given in (("mask", mask), ("guide", guide)):
        if not is_one(given):
            raise DreamError("{setting} is several pictures; give one, or the path of a film", name)
    if isinstance(guide, (str, Path)) and not is_film(guide):
        guide = load_guide(guide)
    along = {"mask": mask, "guide": guide}
    if settings is None:
        settings = {
            "source": Path(source).name,
            "start": start,
            "stop": stop,
            "stride": stride,
            "width": width,
        }
        settings |= {"model": net.model.name, **net.engine, "blend": blend, "seed": seed}
        settings |= {
            name: _describe(value) for name, value in dream_params.items() if name != "on_step"
        }
        settings |= {
            name: _describe(given, may_be_film=True)
            for name, given in along.items()
            if given is not None
        }

    def make(done: int, *last: Any) -> Iterator[SteadyFrame]:
        sources = read_film(source, start, stop, stride, width, done)
        pictures = {
            name: _follow(given, name, start, stride, done) for name, given in along.items()
        }
        return steady(
            net,
            sources,
            blend,
            seed,
            SteadyFrame(*last) if last else None,
            **pictures,
            **dream_params,
        )

    frames = None if stop is None else len(range(start, stop, stride))
    sound = source, start / fps, math.inf if stop is None else stop / fps
    make_film(out, make, settings, frames, fps / stride, sound, restart, on_frame, on_encode)


def _follow(given: Any, name: str, start: int, stride: int, done: int) -> Any:
    """The pictures of a mask or guide that is the path of a film; any other as it is
    given.
    """
    if not (isinstance(given, (str, Path)) and is_film(given)):
        return given
    width = guide_width(next(follow_film(given))) if name == "guide" else None
    return follow_film(given, start, stride, width, done)


def _describe(value: Any, may_be_film: bool = False) -> Any:
    """A parameter as the settings record it: the same for the same parameter, in
    another process too.
    """
    if may_be_film and isinstance(value, (str, Path)) and is_film(value):
        with open(value, "rb") as film:
            return hashlib.file_digest(film, "sha256").hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
    if isinstance(value, (int, float, str, type(None))):
        return value
    return getattr(value, "__qualname__", None) or re.sub(" at 0x[0-9a-f]+", "", str(value))


def _read_frames(
    folder: Path, n: int, on_encode: Callable[[int, int], object] | None
) -> Iterator[np.ndarray]:
    """The first n frames, one by one; the next is asked for when the one before is
    encoded.
    """
    for i in range(n):
        if on_encode:
            on_encode(i, n)
        try:
            yield load_image(frame_path(folder, i))
        except DreamError as error:
            raise DreamError(f"{error}; {RESTART}") from None
    if on_encode:
        on_encode(n, n)
