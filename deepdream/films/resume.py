"""Films that take hours: made frame by frame, and resumed where an earlier run was
stopped or killed.

The frames are kept without loss as 000000.png and so on, beside a `state.npz` that the
next frame needs: in the folder asked for, or for clip.mp4 in clip.frames/. The state is
what counts: it is written first, and whole or not at all.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..errors import DreamError
from ..pictures import save_image, to_json
from ..recipe import with_defaults, with_files
from .files import frame_path

STATE = "state.npz"
# Settings that may differ when a run is resumed: a film may be made longer or faster,
# or by another version, and a network trained longer.
FREE = "frames", "stop", "fps", "steps", "deepdream"
RESTART = "--restart makes the film from the beginning"


@contextmanager
def reserve(folder: Path, what: str = "film") -> Iterator[None]:
    """Make the folder if need be, keep other processes out, and remove half files that
    a killed run has left.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DreamError(f"cannot write the {what} to {folder}: {error.strerror}") from None
    try:
        with _lock(folder, what):
            names = os.listdir(folder)
            if STATE not in names and not all(name.startswith(".deepdream-") for name in names):
                raise DreamError(
                    f"the folder {folder} holds other files, and no {what} to resume; choose another"
                )
            for half in folder.glob(".deepdream-*"):
                half.unlink()
            yield
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # this succeeds only if no frame was made and the folder is empty


@contextmanager
def _lock(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes from working in the same folder. On Windows there is no
    lock.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"another process is making the {what} in {folder}"
            raise DreamError(f"{busy}; wait for it, or choose another name") from None
        except OSError:
            pass  # some network drives have no locks
        yield
    finally:
        os.close(lock)


def clear(folder: Path) -> None:
    """Throw away a film's frames; the state last, because it shows that they are frames
    and not other pictures.
    """
    for path in *folder.glob("[0-9]*.png"), folder / STATE:
        path.unlink(missing_ok=True)


def resume(folder: Path, settings: dict[str, Any]) -> tuple[int, tuple]:
    """(how many frames are finished, what the next one needs). Raises DreamError if the
    film cannot be resumed.
    """
    if not (folder / STATE).exists():
        return 0, ()
    done, last, begun = _read_state(folder / STATE)
    check_same(folder, begun, settings)
    for i in range(done - 1):
        if not frame_path(folder, i).exists():
            raise DreamError(f"{frame_path(folder, i)} is missing; {RESTART}")
    if not frame_path(
        folder, done - 1
    ).exists():  # the run was killed between writing the state and its picture
        save_image(frame_path(folder, done - 1), last[0], begun | {"frame": done - 1})
    return done, last


def _read_state(path: Path) -> tuple[int, tuple, dict[str, Any]]:
    """(how many frames are finished, what the next one needs, the settings)"""
    try:
        with np.load(path) as kept:
            done, begun = int(kept["done"]), dict(json.loads(str(kept["settings"])))
            last = [kept["arr_0"], *(kept[f"arr_{i}"] for i in range(1, len(kept.files) - 2))]
    except Exception as error:  # a damaged file can raise nearly anything
        raise DreamError(f"cannot read {path}: {error}; {RESTART}") from None
    # Numbers come back as arrays without dimensions, with which NumPy would calculate
    # in other precision.
    return done, tuple(a if a.ndim else a.item() for a in last), begun


def check_same(
    folder: Path, begun: dict[str, Any], now: dict[str, Any], what: str = "film"
) -> None:
    """Raise a DreamError if what is in the folder was begun with other settings than
    now.
    """
    begun, now = with_defaults(begun), with_defaults(json.loads(to_json(now)))
    before, after = begun.get("sha256", {}), now.get("sha256", {})
    files = before.keys() & after.keys()

    def shorten(name: str, path: str) -> str:
        """A file with the same sha256 key is compared by that; its path may be another."""
        return "" if name in files else Path(path).name if os.path.isabs(str(path)) else path

    old, new = with_files(begun, shorten), with_files(now, shorten)
    # Older versions recorded no sha256 of the guides inside an objective, and their
    # full paths.
    new["sha256"] = {
        name: after[name] for name in after if name in before or not name.startswith("objective ")
    }
    for name in ("command", *sorted(begun.keys() | now.keys())):
        is_free = name in FREE and not (
            name == "frames" and now.get("loop")
        )  # a loop ends by fading in its first
        if old.get(name) == new.get(name) or is_free or name in files:
            continue
        cure = "go back to that, choose another name, or begin again with --restart"
        if name == "sha256":
            raise DreamError(
                f"the {what} in {folder} was begun from another file than this one; {cure}"
            )
        if name == "frames":
            loop = f"is a loop of {begun[name]} frames, which cannot get other ones"
            raise DreamError(f"the {what} in {folder} {loop}; {cure}", name)
        other = f"with {{setting}} {begun.get(name)!r}, and now it is {now.get(name)!r}"
        if name == "keys":  # both are long
            other = "with other {setting} than now"
        raise DreamError(f"the {what} in {folder} was begun {other}; {cure}", name)
