"""Keys: what the settings of a film are at some of its frames, and what follows for the
frames between.

A key file says it in TOML, or in the same form in JSON. Settings have their names on
the command line, or in Python:

    [0]
    layer = "conv2/3x3"

    [100]
    look = "Dogs"
    zoom = 0.1
    to = [0.8, 0.3]
"""

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from .. import looks
from ..algebra import Objective
from ..dream import check_dream
from ..errors import DreamError, unknown
from ..language import parse
from ..nets.base import Net
from ..objectives import L2, objective_L2
from ..paths import why_unreadable
from ..pictures import grey, resized
from ..recipe import Recipe
from ..settings import ROWS, check, option, rows_of

Keys = dict[int, dict[str, Any]]  # {frame: {setting in Python: value}}
MOTION = "scale", "rotate", "shift", "to"
# The settings that may change within a film.
KEYED = (
    *("look", *looks.GOALS, *MOTION, "mask"),
    *(
        row.name
        for row in rows_of("zoom").values()
        if "deepdream" in row.to and row.name not in ("tile", "seed")
    ),
)


def at(keys: Keys, name: str, frame: int) -> Any:
    """The value of a setting at a frame: numbers change smoothly from key to key, all
    else at its key.
    """
    before, after = around(keys, name, frame)
    value = keys[before][name]
    if after is None:
        return value
    t = (frame - before) / (after - before)
    mixed = _mix(value, keys[after][name], ease(t))
    return round(mixed) if ROWS[name].kind is int else mixed


def ease(t: float) -> float:
    """From 0 to 1 as t is, but slowly at first and at last."""
    return t * t * (3 - 2 * t)


def around(keys: Keys, name: str, frame: int) -> tuple[int, int | None]:
    """(the last key before this frame, or at it, that has the setting; the next such
    key, or None)
    """
    having = [key for key in keys if name in keys[key]]
    return max(key for key in having if key <= frame), min(
        (key for key in having if key > frame), default=None
    )


def _mix(a: Any, b: Any, share: float) -> Any:
    """What is between two values; a if they are not numbers, or arrays or lists of
    numbers.
    """
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [_mix(x, y, share) for x, y in zip(a, b)]
    numbers = int, float, np.number, np.ndarray
    if isinstance(a, bool) or not (isinstance(a, numbers) and isinstance(b, numbers)):
        return a
    return a + share * (b - a)


class KeyFile:
    """A key file that was read. keys: what it says, by the names in Python, with the
    settings of looks in their place.

    Raises DreamError, with the line, for what cannot be read or is not allowed.
    """

    def __init__(self, words: str, base: Recipe) -> None:
        """words: the path of a .toml or .json file, or JSON itself. base: the recipe of
        the film.
        """
        is_text = words.lstrip().startswith("{")
        self.name, self.text = ("--keys", words) if is_text else (words, _read_text(words))
        self.names: dict[
            tuple[int, str], str
        ] = {}  # {(frame, setting in Python): its name in the file}
        self.keys: Keys = {}
        tables = self._parse(is_json=is_text or words.lower().endswith(".json"))
        for heading, given in tables.items():
            if not re.fullmatch("[0-9]{1,9}", heading):
                raise self._error(
                    f"{heading!r} is no key; a key has the number of its frame, such as [100]",
                    heading,
                )
            if int(heading) in self.keys:
                raise self._error(f"frame {int(heading)} has two keys", heading)
            self.keys[int(heading)] = self._read_key(int(heading), given, base)
        if not self.keys:
            raise self._error("there are no keys; a key has the number of its frame, such as [100]")
        self.keys = dict(sorted(self.keys.items()))

    def _parse(self, is_json: bool) -> dict[str, Any]:
        try:
            if not is_json:
                return tomllib.loads(self.text)
            tables = json.loads(self.text, object_pairs_hook=_without_repeats)
        except json.JSONDecodeError as error:
            raise DreamError(
                f"{self.name}, line {error.lineno}: this is not JSON: {error.msg}"
            ) from None
        except tomllib.TOMLDecodeError as error:
            what, _, place = str(error).partition(" (at ")
            line = re.match("line ([0-9]+)", place)
            number = int(line[1]) if line else max(1, len(self.text.splitlines()))
            raise DreamError(f"{self.name}, line {number}: this is not TOML: {what}") from None
        except (ValueError, RecursionError) as error:
            raise DreamError(f"{self.name} cannot be read: {error}") from None
        if not isinstance(tables, dict):
            raise DreamError(f'{self.name} must have the form {{"100": {{"zoom": 0.1}}}}')
        return tables

    def _read_key(self, frame: int, given: Any, base: Recipe) -> dict[str, Any]:
        """The settings of one key by their names in Python."""
        if not isinstance(given, dict):
            raise self._error(f"a key holds settings, such as zoom = 0.1, and not {given!r}", frame)
        rows = rows_of("zoom")
        by_name = {
            spelling.lstrip("-"): name
            for name in KEYED
            for spelling in (rows[name].option, rows[name].alias or name, name)
        }
        key: dict[str, Any] = {}
        for written, value in given.items():
            if written not in by_name:
                shown = dict.fromkeys(option(name, "zoom").lstrip("-") for name in KEYED)
                raise self._error(
                    str(unknown("setting", written, shown, "a key has no others")), frame, written
                )
            name = by_name[written]
            self.names[frame, name] = written
            if name in key:
                raise self._error(
                    f"{written} is there twice, under two of its names", frame, written
                )
            if value is None:
                raise self._error(
                    f"{written} is null; leave it out, or give it a value", frame, written
                )
            with self.line(frame, name):
                check(name, value, "zoom")
            key[name] = value
        if "look" in key:
            with self.line(frame, "look"):
                look = looks.begin({"model": base["model"]} | key)
            del look["model"]
            # A look begins where the command line does, not with what the look before
            # it left.
            key = {name: base[name] for name in _looked() - {*looks.GOALS}} | look
        if "guide" in key:  # without a layer, it has the film's
            return {"objective": None} | key
        if key.keys() & {*looks.GOALS}:
            return dict.fromkeys(looks.GOALS) | key
        return key

    def _error(self, message: str, frame: int | str = "", name: str = "") -> DreamError:
        return DreamError(f"{self.name}, line {_find_line(self.text, str(frame), name)}: {message}")

    @contextmanager
    def line(self, frame: int, name: str = "") -> Iterator[None]:
        """Add the line of a key, or of one of its settings, to a DreamError that is
        raised in this block.
        """
        try:
            yield
        except DreamError as error:
            wrong = self.names.get(
                (frame, error.setting or ""), option(error.setting or "", "zoom").lstrip("-")
            )
            written = self.names.get((frame, name or error.setting or ""), "")
            raise self._error(error.named(wrong), frame, written) from None


def write(keys: Mapping[int, Mapping[str, Any]]) -> str:
    """Keys as a film's recipe records them: JSON in one line, which `KeyFile` reads."""
    # In the order of KEYED, which is the same in every process: the order of a look's
    # settings is not.
    return json.dumps(
        {
            str(frame): {name: given[name] for name in KEYED if given.get(name) is not None}
            for frame, given in keys.items()
        }
    )


def _looked() -> set[str]:
    """The settings that some look has."""
    return {
        name
        for look in looks.read().values()
        for says in (look.common, *look.networks.values())
        for name in says
    }


def _read_text(path: str) -> str:
    if not path.lower().endswith((".toml", ".json")):
        raise DreamError(
            f"{{setting}} is {path!r}; it must be the path of a .toml or .json file", "keys"
        )
    if fault := why_unreadable(path):
        raise DreamError(f"cannot read the keys {path}: {fault}")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DreamError(f"cannot read the keys {path}: {reason}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one name twice would hide a mistake."""
    counts = Counter(name for name, _ in pairs)
    twice = next((name for name, n in counts.items() if n > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is there twice")
    return dict(pairs)


def _find_line(text: str, heading: str, name: str) -> int:
    """The number of the line, from 1, where a key begins, or one of its settings is
    given.
    """
    lines = text.splitlines()
    begins = re.compile(
        rf"""\s*(\[[\s\[]*["']?{re.escape(heading)}["']?\s*[\].]|["'{{\s]*{re.escape(heading)}["']?\s*[:=.])"""
    )
    start = next((i for i, line in enumerate(lines) if heading and begins.match(line)), 0)
    gives = re.compile(rf"""([^#]*[\s{{,."'])?{re.escape(name)}["']?\s*[:=]""")
    found = (i for i in range(start, len(lines)) if gives.match(lines[i]))
    return 1 + (next(found, start) if name else start)


# How the settings change in a film


def check_key(
    net: Net, frame: np.ndarray, number: int, given: Mapping[str, Any], dream_params: dict[str, Any]
) -> dict[str, Any]:
    """One key of a film as `zoom` uses it: checked, its goal an Objective, its mask (H,
    W) as large as the frames.

    Raises DreamError for what `zoom` with these `dream_params` could not dream.
    """
    if not isinstance(number, Integral) or number < 0:
        raise DreamError(f"a key is at frame {number!r}; frames have whole numbers from 0")
    key = {}
    for name, value in given.items():
        if name not in KEYED or name in ("look", "guide"):
            allowed = [name for name in KEYED if name not in ("look", "guide")]
            raise unknown(
                "setting",
                name,
                allowed,
                "a key has no others; looks and guides by name are for key files",
            )
        if name == "mask":
            key[name] = whole_mask(value, frame)
        elif name not in ("end", "objective"):
            check(name, value.tolist() if isinstance(value, np.ndarray) else value)
            key[name] = value
    if given.keys() & {"end", "objective"}:
        key["objective"] = goal_of(given)
    if key.get("to") is not None:
        to_pixels(key["to"], frame.shape[:2])
    check_dream(
        net,
        frame,
        **dream_params | {name: value for name, value in key.items() if name not in MOTION},
    )
    return key


def complete_keys(
    net: Net,
    frame: np.ndarray,
    keys: Keys,
    motion: dict[str, Any],
    dream_params: dict[str, Any],
    end: int | None,
) -> Keys:
    """The keys as `zoom` uses them, with one at frame 0 that has all settings that are
    about motion, or in other keys.

    end: the frame at which all are back at what they were at first, if the film is a
    loop.
    """
    given = keys | {0: motion | keys.get(0, {})}
    complete = {
        number: check_key(net, frame, number, key, dream_params) for number, key in given.items()
    }
    first = complete[0]
    for name in {name for key in complete.values() for name in key} - first.keys():
        if name == "objective":
            first[name] = goal_of(dream_params)
        elif name == "mask":
            first[name] = whole_mask(dream_params.get(name), frame)
        else:
            first[name] = dream_params.get(name, ROWS[name].default)
    if end is not None:
        complete = {number: key for number, key in complete.items() if number < end} | {
            end: first | {"to": None}
        }
    complete = dict(sorted(complete.items()))
    _check_octaves(net, frame, complete, dream_params)
    return complete


def _check_octaves(net: Net, frame: np.ndarray, keys: Keys, dream_params: dict[str, Any]) -> None:
    """Raise a DreamError for octaves that become too small from one key to the next,
    where both settings change.
    """
    if not keys[0].keys() & {"octave_n", "octave_scale"}:
        return

    def octaves(i: int) -> dict[str, Any]:
        return {
            name: at(keys, name, i)
            if name in keys[0]
            else dream_params.get(name, ROWS[name].default)
            for name in ("octave_n", "octave_scale")
        }

    def depth(i: int) -> float:
        return (octaves(i)["octave_n"] - 1) * math.log(octaves(i)["octave_scale"])

    for here, there in pairwise([*keys, max(keys) + 1]):
        deepest = max(range(here, there), key=depth)
        goals = {}
        if "objective" in keys[0]:
            before, after = around(keys, "objective", here)
            goals["objective"] = keys[before]["objective"] + (
                keys[after]["objective"] if after else 0
            )
        try:
            check_dream(net, frame, **dream_params | octaves(deepest) | goals)
        except DreamError as error:
            raise DreamError(f"at frame {deepest}: {error.args[0]}", error.setting) from None


def goal_of(given: Mapping[str, Any]) -> Objective:
    """What to climb, of a key or of `deepdream`'s parameters, as an Objective, which
    can fade into another.
    """
    objective = given.get("objective", objective_L2)
    if isinstance(objective, str):
        return parse(objective)
    if objective is objective_L2:
        return L2(given.get("end", "inception_4c/output"))
    if not isinstance(objective, Objective):
        raise DreamError(
            "an objective that is a function cannot fade into another; take one that can be added"
        )
    return objective


def whole_mask(mask: Any, frame: np.ndarray) -> np.ndarray:
    """A mask, or None for none, as large as a frame: (H, W), 0..1."""
    return (
        np.ones(frame.shape[:2], np.float32)
        if mask is None
        else resized(grey(mask), *frame.shape[:2])
    )


def to_pixels(to: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """A point (x, y) of a picture of this size (H, W), in pixels or in shares of the
    sides: (down, right) in pixels.
    """
    (x, y), (height, width) = to, size
    if max(x, y) <= 1:
        return y * height, x * width
    if x > width or y > height or 0 < min(x, y) < 1:
        allowed = f"a point of the frames, which are {width}x{height}, in pixels, or in shares of the sides from 0 to 1"
        raise DreamError(f"{{setting}} is {x:g} {y:g}; it must be {allowed}", "to")
    return y, x
