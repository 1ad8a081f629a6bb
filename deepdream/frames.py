"""A film that takes hours: made frame by frame, and gone on with where an earlier run was stopped or killed.

The frames are kept without loss, 000000.png and so on, beside a `state.npz` that the next one needs: in the folder
asked for, or for clip.mp4 in clip.frames/. The state is what counts: it is written first, and whole or not at all.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from .errors import CannotWriteError, DreamError, whole
from .film import check_film, check_range, encode, film_about, frame_path, is_folder, read_film
from .movie import Dreamt, steady
from .show import load_image, save_image

FREE = "frames", "stop", "fps"  # settings that no frame depends on: a film may be made longer, or faster
STATE = "state.npz"


def make_film(out: str | Path, make: Callable[..., Iterator[tuple]], settings: dict, frames: int | None = None,
              fps: float | Fraction = 25, sound: tuple | None = None, restart: bool = False,
              on_frame: Callable[[int], object] | None = None) -> None:  # fmt: skip
    """Make a film that may take hours, frame by frame, and go on where an earlier run was killed.

    out: .mp4, .webm, .gif, or a folder, which has no suffix. make: called with the number of frames that are done and
    what it yielded last, it goes on to yield tuples: a picture (H, W, 3), and what else the next frame needs. settings:
    travel in each frame and in the film; what was begun with others is not gone on with. frames: take so many; None
    takes all that are made. restart: throw away what is done. on_frame: called with the number of frames done.
    """
    check_film(out, fps)
    out = Path(out)
    folder = out if is_folder(out) else out.with_suffix(".frames")
    with _alone(folder):
        done, last = (0, ()) if restart else _resumed(folder, settings)
        try:
            if on_frame:
                on_frame(done)
            for state in make(done, *last):
                if restart:
                    _clear(folder)
                    restart = False
                with whole(folder / STATE) as part:
                    np.savez(part, *state, done=done + 1, settings=json.dumps(settings))
                done += 1
                save_image(frame_path(folder, done - 1), state[0], settings | {"frame": done - 1})
                if on_frame:
                    on_frame(done)
            if out != folder:
                pictures = (_read_frame(folder, i) for i in range(min(done, frames or done)))
                with whole(out, out.with_name(f".deepdream-{out.name}")) as part:
                    encode(part, pictures, fps, settings, sound)
        except (DreamError, KeyboardInterrupt) as error:
            again = isinstance(error, (CannotWriteError, KeyboardInterrupt))
            kept = f"; frames finished: {done}, in {folder}{'; the same command goes on from there' if again else ''}"
            raise type(error)(f"{error}{kept if done else ''}") from None


def dream_video(net, source: str | Path, out: str | Path, start: int = 0, stop: int | None = None, stride: int = 1,
                width: int | None = None, blend: float = 0.9, seed: int = 0, settings: dict | None = None,
                restart: bool = False, on_frame: Callable[[int], object] | None = None,
                **dream_params) -> None:  # fmt: skip
    """Dream over a film, without flicker, and with its sound: `read_film`, `steady`, `make_film` in one.

    Of every `stride` frames one is dreamt and shown as long as all of them. The rest is as for those three.
    """
    check_range(start, stop, stride, width)
    fps, _, _ = film_about(source)
    if Path(out).exists() and os.path.samefile(source, out):
        raise DreamError(f"{out} is the film to dream over; give the dream another name")
    if settings is None:
        settings = {"source": Path(source).name, "start": start, "stop": stop, "stride": stride, "width": width}
        settings |= {"model": net.model.name, **net.engine, "blend": blend, "seed": seed}
        settings |= {name: _told(value) for name, value in dream_params.items() if name != "on_step"}

    def make(done, *last):
        sources = read_film(source, start, stop, stride, width, done)
        return steady(net, sources, blend, seed, Dreamt(*last) if last else None, **dream_params)

    frames = None if stop is None else len(range(start, stop, stride))
    sound = source, start / fps, math.inf if stop is None else stop / fps
    make_film(out, make, settings, frames, fps / stride, sound, restart, on_frame)


def _told(value):
    """A parameter as settings tell it: the same again for the same, in another process, too."""
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
    if isinstance(value, (int, float, str, type(None))):
        return value
    return getattr(value, "__qualname__", None) or re.sub(" at 0x[0-9a-f]+", "", str(value))


@contextmanager
def _alone(folder):
    """The folder, made if need be, for this process only, and without half a file of a run that was killed."""
    new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DreamError(f"cannot write the frames to {folder}: {error.strerror}") from None
    lock = None
    try:
        with suppress(ImportError):  # on Windows, two runs at once are not noticed
            import fcntl

            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = f"another process is making the film in {folder}"
                raise DreamError(f"{busy}; wait for it, or choose another name") from None
            except OSError:
                pass  # some disks on a network have no locks
        names = os.listdir(folder)
        if STATE not in names and not all(name.startswith(".deepdream-") for name in names):
            raise DreamError(f"the folder {folder} holds other files and no film begun; choose another")
        for half in folder.glob(".deepdream-*"):
            half.unlink()
        yield
    finally:
        if lock is not None:
            os.close(lock)
        if new:
            with suppress(OSError):
                folder.rmdir()  # where nothing came of it, and so it is empty


def _read_frame(folder, i):
    try:
        return load_image(frame_path(folder, i))
    except DreamError as error:
        raise DreamError(f"{error}; --restart makes the film from the beginning") from None


def _clear(folder):
    """Throw away a film's frames; the state last, for it tells them from other pictures."""
    for path in *folder.glob("[0-9]*.png"), folder / STATE:
        path.unlink(missing_ok=True)


def _resumed(folder, settings):
    """(how many frames are done, what the next one needs); a DreamError where they were begun with other settings."""
    state = folder / STATE
    if not state.exists():
        return 0, ()
    anew = "--restart makes the film from the beginning"
    try:
        with np.load(state) as kept:
            # Numbers come back as arrays without dimensions, and with those NumPy would go on in other precision.
            last = [a if (a := kept[f"arr_{i}"]).ndim else a.item() for i in range(len(kept.files) - 2)]
            picture, done, begun = last[0], int(kept["done"]), dict(json.loads(str(kept["settings"])))
    except Exception as error:  # whatever a damaged file leads to
        raise DreamError(f"cannot read {state}: {error}; {anew}") from None
    now = json.loads(json.dumps(settings))
    same_file = begun.get("sha256", {}).keys() & now.get("sha256", {}).keys()  # which may be called from elsewhere
    for name in ("command", *sorted(begun.keys() | now.keys())):
        if begun.get(name) != now.get(name) and name not in (*FREE, *same_file):
            other = f"with {name} {begun.get(name)!r}, and now it is {now.get(name)!r}"
            other = "from another file than this one" if name == "sha256" else other
            cure = "go back to that, choose another name, or throw its frames away with --restart"
            raise DreamError(f"the film in {folder} was begun {other}; {cure}")
    gone = [i for i in range(done - 1) if not frame_path(folder, i).exists()]
    if gone:
        raise DreamError(f"{frame_path(folder, gone[0])} is gone; {anew}")
    if not frame_path(folder, done - 1).exists():  # killed between the state and its picture
        save_image(frame_path(folder, done - 1), picture, begun | {"frame": done - 1})
    return done, last
