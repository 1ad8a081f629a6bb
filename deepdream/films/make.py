"""Films that take hours: made frame by frame, and resumed where a run was stopped."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ..dream import OnStep
from ..errors import CannotWriteError, DreamError
from ..paths import reserve, whole
from ..pictures import load_image, save_image
from ..settings import Params, Record
from ..stopping import Interrupted
from .encode import check_film, encode_film, save_film
from .files import frame_path, is_folder
from .resume import RESTART, STATE, clear, resume, write_state
from .sound import Sound

# Called with how many frames are finished and with what it yielded last, it
# yields the rest: for each frame a tuple of the picture (H, W, 3) and what
# else the next frame needs.
Make = Callable[..., Iterator[tuple]]
OnFrame = Callable[[int], object]
OnEncode = Callable[[int, int], object]


@dataclass(frozen=True)
class Film:
    """A film that can be made, see `plan`.

    frames: how many are put into it; None for all. announced: how many that
    will be. make, writing: what `make_film` takes, the first after
    `on_step`.
    """

    settings: Record
    frames: int | None
    announced: int | None
    fps: float | Fraction
    make: Make
    sound: Sound | None = None
    writing: Params = field(default_factory=dict)

    def write(
        self, out: str | Path, on_step: OnStep | None = None, on_frame: OnFrame | None = None,
        on_encode: OnEncode | None = None,
    ) -> None:  # fmt: skip
        """Make the film, see `make_film`; on_step as for `deepdream`."""
        given = self.writing | {"fps": self.fps, "sound": self.sound}
        given |= {"on_frame": on_frame, "on_encode": on_encode}
        make_film(out, partial(self.make, on_step), self.settings, self.frames, **given)

    def write_part(self, out: str | Path, n: int, about: Record) -> Record:
        """Write the first n frames of a stopped film, with sound; what it carries."""
        settings, sound = self.settings | about, None
        if self.sound:
            source, begin, _ = self.sound
            sound = source, begin, begin + n / self.fps
        save_film(out, _read_frames(frames_folder(out), n, None), self.fps, settings, sound)
        return settings


def make_film(
    out: str | Path, make: Make, settings: Record, frames: int | None = None,
    fps: float | Fraction = 25, sound: Sound | None = None, restart: bool = False,
    on_frame: OnFrame | None = None, on_encode: OnEncode | None = None,
) -> None:  # fmt: skip
    """Make a film that may take hours, frame by frame; one that was stopped is resumed.

    out: .mp4, .webm, .gif, or a folder. make: see `Make`. settings: for
    frames and film; with others, none is resumed. frames: how many to put
    into the film; None for all. restart: throw away an earlier run.
    on_frame: called with how many are finished; on_encode: how many are
    encoded, of how many. Raises DreamError for what cannot be resumed or
    made; it, and a KeyboardInterrupt, say how many are finished.
    """
    check_film(out, fps)
    if not isinstance(settings, dict):
        raise DreamError(f"settings is {settings!r}; it must be a dict")
    out, folder = Path(out), frames_folder(out)
    with reserve(folder, "film", STATE):
        done, last = (0, ()) if restart else resume(folder, settings)
        try:
            if on_frame:
                on_frame(done)
            for state in make(done, *last):
                if restart:
                    clear(folder)
                    restart = False
                write_state(folder, done + 1, state, settings)
                done += 1  # it counts even without its picture, which the state holds
                path = frame_path(folder, done - 1)
                save_image(path, state[0], settings | {"frame": done - 1})
                if on_frame:
                    on_frame(done)
            if out != folder:
                pictures = _read_frames(folder, min(done, frames or done), on_encode)
                with whole(out, out.with_name(f".deepdream-{out.name}")) as part:
                    encode_film(part, pictures, fps, settings, sound)
        except (DreamError, KeyboardInterrupt) as error:
            raise _add_finished(error, done, folder) from None


def frames_folder(out: str | Path) -> Path:
    """Where the frames of a film at `out` are kept."""
    return Path(out) if is_folder(out) else Path(out).with_suffix(".frames")


def _add_finished(error: DreamError | KeyboardInterrupt, done: int, folder: Path) -> BaseException:
    if not done:
        return error
    kept = f"; frames finished: {done}, in {folder}"
    cure = "; the same command resumes the film"
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(f"{error}{kept}{cure}")
    if isinstance(error, CannotWriteError):
        kept += cure
    return type(error)(f"{error.args[0]}{kept}", error.setting)


def _read_frames(folder: Path, n: int, on_encode: OnEncode | None) -> Iterator[np.ndarray]:
    for i in range(n):
        if on_encode:
            on_encode(i, n)
        try:
            yield load_image(frame_path(folder, i))
        except DreamError as error:
            raise DreamError(f"{error}; {RESTART}") from None
    if on_encode:
        on_encode(n, n)
