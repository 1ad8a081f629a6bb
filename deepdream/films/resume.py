"""Why a film may be resumed: its frames, and the settings that it was begun with.

The frames are kept as 000000.png and so on, beside a `state.npz` that the
next needs: in the folder asked for, or for clip.mp4 in clip.frames/. The
state counts: it is written first, and whole. Which settings may differ:
column `resume` of the table.
"""

import json
import os
from pathlib import Path

import numpy as np

from ..errors import DreamError
from ..paths import whole
from ..pictures import save_image, to_json
from ..recipe import with_defaults, with_files
from ..settings import ABOUT, ROWS, Record
from .files import frame_path

STATE = "state.npz"
RESTART = "--restart makes the film from the beginning"


def resume(folder: Path, settings: Record) -> tuple[int, tuple]:
    """(how many frames are finished, what the next one needs). Raises DreamError."""
    if not (folder / STATE).exists():
        return 0, ()
    done, last, begun = read_state(folder)
    check_same(folder, begun, settings)
    for i in range(done - 1):
        if not frame_path(folder, i).exists():
            raise DreamError(f"{frame_path(folder, i)} is missing; {RESTART}")
    latest = frame_path(folder, done - 1)
    if not latest.exists():  # the run was killed after writing the state
        save_image(latest, last[0], begun | {"frame": done - 1})
    return done, last


def write_state(folder: Path, done: int, state: tuple, settings: Record) -> None:
    """Keep what the next frame needs; `done` frames are finished with this."""
    with whole(folder / STATE) as part:
        np.savez(part, *state, done=done, settings=to_json(settings))


def read_state(folder: Path) -> tuple[int, tuple, Record]:
    """(how many frames are finished, what the next one needs, the settings)"""
    path = folder / STATE
    try:
        with np.load(path) as kept:
            done = int(kept["done"])
            begun = dict(json.loads(str(kept["settings"])))
            others = range(1, len(kept.files) - 2)
            last = [kept["arr_0"], *(kept[f"arr_{i}"] for i in others)]
    except Exception as error:  # a damaged file can raise nearly anything
        raise DreamError(f"cannot read {path}: {error}; {RESTART}") from None
    # Numbers come back as arrays without dimensions, with which NumPy would
    # calculate in other precision.
    return done, tuple(a if a.ndim else a.item() for a in last), begun


def clear(folder: Path) -> None:
    """Throw away a film's frames; last the state, which shows that it is one."""
    for path in *folder.glob("[0-9]*.png"), folder / STATE:
        path.unlink(missing_ok=True)


def check_same(folder: Path, begun: Record, now: Record, what: str = "film") -> None:
    """Raise a DreamError if what is in the folder was begun with other settings."""
    begun, now = with_defaults(begun), with_defaults(json.loads(to_json(now)))
    old, new = _compare_files(begun, now)
    for name in ("command", *sorted(begun.keys() | now.keys())):
        row = ROWS.get(name) or ABOUT.get(name)
        may_differ = row.resume if row else False
        if isinstance(may_differ, str):  # if this setting is off
            may_differ = not now.get(may_differ)
        if may_differ or old.get(name) == new.get(name):
            continue
        how = f"with {{setting}} {begun.get(name)!r}, and now it is {now.get(name)!r}"
        if name == "sha256":
            how = "from another file than this one"
        elif name == "keys":  # both are long
            how = "with other {setting} than now"
        problem = f"was begun {how}"
        if name == "frames":
            problem = f"is a loop of {begun[name]} frames, which cannot get other ones"
        cure = "go back to that, choose another name, or begin again with --restart"
        setting = None if name == "sha256" else name
        raise DreamError(f"the {what} in {folder} {problem}; {cure}", setting)


def _compare_files(begun: Record, now: Record) -> tuple[Record, Record]:
    """Both settings; files with a sha256 in both lose their paths, others folders."""
    before, after = begun.get("sha256", {}), now.get("sha256", {})

    def shorten(name: str, path: str) -> str:
        if name in before and name in after:
            return ""
        return Path(path).name if os.path.isabs(str(path)) else path

    old, new = with_files(begun, shorten), with_files(now, shorten)
    new["sha256"] = {
        name: digest for name, digest in after.items()
        # older versions recorded none of the guides inside an objective
        if name in before or not name.startswith("objective ")
    }  # fmt: skip
    return old, new
