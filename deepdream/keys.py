"""Keys: what the settings of a film are at some of its frames, and what follows for the frames between.

A key file says it in TOML, or in the same form in JSON. Settings have their names on the command line, or in Python:

    [0]
    layer = "conv2/3x3"

    [100]
    look = "Dogs"
    zoom = 0.1
    to = [0.8, 0.3]
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import looks
from .errors import DreamError, unknown, why_unreadable
from .recipe import ROWS, Recipe, check, option, settings

Keys = dict[int, dict[str, Any]]  # {frame: {setting in Python: value}}

MOTION = "scale", "rotate", "shift", "to"
# The settings that may change within a film.
KEYED = (
    *("look", *looks.GOALS, *MOTION, "mask"),
    *(row.name for row in settings("zoom").values() if row.passed and row.name != "tile"),
)


def at(keys: Keys, name: str, frame: int) -> Any:
    """The value of a setting at a frame: numbers change smoothly from key to key, all else at its key."""
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
    """(the last key before this frame, or at it, that has the setting; the next such key, or None)"""
    having = [key for key in keys if name in keys[key]]
    return max(key for key in having if key <= frame), min((key for key in having if key > frame), default=None)


def _mix(a: Any, b: Any, share: float) -> Any:
    """What is between two values; a if they are not numbers, or arrays or lists of numbers."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return [_mix(x, y, share) for x, y in zip(a, b)]
    numbers = int, float, np.number, np.ndarray
    if isinstance(a, bool) or not (isinstance(a, numbers) and isinstance(b, numbers)):
        return a
    return a + share * (b - a)


class KeyFile:
    """A key file that was read. keys: what it says, by the names in Python, with the settings of looks in their place.

    Raises DreamError, with the line, for what cannot be read or is not allowed.
    """

    def __init__(self, words: str, base: Recipe) -> None:
        """words: the path of a .toml or .json file, or JSON itself. base: the recipe of the film."""
        is_text = words.lstrip().startswith("{")
        self.name, self.text = ("--keys", words) if is_text else (words, _read_text(words))
        self.names: dict[tuple[int, str], str] = {}  # {(frame, setting in Python): its name in the file}
        self.keys: Keys = {}
        tables = self._parse(is_json=is_text or words.lower().endswith(".json"))
        for heading, given in tables.items():
            if not re.fullmatch("[0-9]{1,9}", heading):
                raise self._error(f"{heading!r} is no key; a key has the number of its frame, such as [100]", heading)
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
            raise DreamError(f"{self.name}, line {error.lineno}: this is not JSON: {error.msg}") from None
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
        rows = settings("zoom")
        by_name = {spelling.lstrip("-"): name for name in KEYED
                   for spelling in (rows[name].option, rows[name].alias or name, name)}  # fmt: skip
        key: dict[str, Any] = {}
        for written, value in given.items():
            if written not in by_name:
                shown = dict.fromkeys(option(name, "zoom").lstrip("-") for name in KEYED)
                raise self._error(str(unknown("setting", written, shown, "a key has no others")), frame, written)
            name = by_name[written]
            self.names[frame, name] = written
            if name in key:
                raise self._error(f"{written} is there twice, under two of its names", frame, written)
            if value is None:
                raise self._error(f"{written} is null; leave it out, or give it a value", frame, written)
            with self.line(frame, name):
                check(name, value, "zoom")
            key[name] = value
        if "look" in key:
            with self.line(frame, "look"):
                look = looks.begin({"model": base["model"]} | key)
            del look["model"]
            # A look begins where the command line does, not with what the look before it left.
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
        """Add the line of a key, or of one of its settings, to a DreamError that is raised in this block."""
        try:
            yield
        except DreamError as error:
            wrong = self.names.get((frame, error.setting or ""), option(error.setting or "", "zoom").lstrip("-"))
            written = self.names.get((frame, name or error.setting or ""), "")
            raise self._error(error.named(wrong), frame, written) from None


def write(keys: Mapping[int, Mapping[str, Any]]) -> str:
    """Keys as a film's recipe records them: JSON in one line, which `KeyFile` reads."""
    # In the order of KEYED, which is the same in every process: the order of a look's settings is not.
    return json.dumps({str(frame): {name: given[name] for name in KEYED if given.get(name) is not None}
                       for frame, given in keys.items()})  # fmt: skip


def _looked() -> set[str]:
    """The settings that some look has."""
    return {name for look in looks.read().values() for says in (look.common, *look.networks.values()) for name in says}


def _read_text(path: str) -> str:
    if not path.lower().endswith((".toml", ".json")):
        raise DreamError(f"{{setting}} is {path!r}; it must be the path of a .toml or .json file", "keys")
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
    """The number of the line, from 1, where a key begins, or one of its settings is given."""
    lines = text.splitlines()
    begins = re.compile(
        rf"""\s*(\[[\s\[]*["']?{re.escape(heading)}["']?\s*[\].]|["'{{\s]*{re.escape(heading)}["']?\s*[:=.])"""
    )
    start = next((i for i, line in enumerate(lines) if heading and begins.match(line)), 0)
    gives = re.compile(rf"""([^#]*[\s{{,."'])?{re.escape(name)}["']?\s*[:=]""")
    found = (i for i in range(start, len(lines)) if gives.match(lines[i]))
    return 1 + (next(found, start) if name else start)
