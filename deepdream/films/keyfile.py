"""Key files: settings at some frames of a film, in TOML or likewise in
JSON. They have their names on the command line, or in Python:

    [0]
    layer = "conv2/3x3"

    [100]
    look = "Dogs"
    to = [0.8, 0.3]
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import looks
from ..errors import DreamError, reason, unknown
from ..paths import why_unreadable
from ..settings import Params, Recipe, check, option, rows_of
from .keys import KEYED, Keys

NUMBERS = "a key has the number of its frame, such as [100]"


class KeyFile:
    """A key file that was read; keys: by names in Python, with looks resolved."""

    def __init__(self, words: str, base: Recipe) -> None:
        """words: a path, or JSON itself. base: the film's recipe. Raises DreamError."""
        is_text = words.lstrip().startswith("{")
        self.name = "--keys" if is_text else words
        text = words if is_text else _read_text(words)
        is_json = is_text or words.lower().endswith(".json")
        # {(frame, setting in Python): its name in the file}
        self._written: dict[tuple[int, str], str] = {}
        keys: Keys = {}
        for heading, given in _parse(self.name, text, is_json).items():
            if not re.fullmatch("[0-9]{1,9}", heading):
                raise DreamError(f"{self.name}: {heading!r} is no key; {NUMBERS}")
            frame = int(heading)
            if frame in keys:
                raise DreamError(f"{self.name}: frame {frame} has two keys")
            with self.naming(frame):
                keys[frame] = self._read_key(frame, given, base)
        if not keys:
            raise DreamError(f"{self.name}: there are no keys; {NUMBERS}")
        self.keys = dict(sorted(keys.items()))

    def to_json(self) -> str:
        """The keys as a film's recipe records them, in every process the same."""
        shown = {}
        for frame, key in self.keys.items():
            # in the order of KEYED, since that of a look's settings differs
            there = {name: key[name] for name in KEYED if key.get(name) is not None}
            shown[str(frame)] = there
        return json.dumps(shown)

    @contextmanager
    def naming(self, frame: int) -> Iterator[None]:
        """Add the file and the key to a DreamError in this block."""
        try:
            yield
        except DreamError as error:
            name = error.setting or ""
            shown = self._written.get((frame, name)) or option(name, "zoom").lstrip("-")
            message = f"{self.name}, key {frame}: {error.named(shown)}"
            raise DreamError(message) from None

    def _read_key(self, frame: int, given: object, base: Recipe) -> Params:
        if not isinstance(given, dict):
            raise DreamError(f"a key holds settings, such as zoom = 0.1, and not {given!r}")
        names, key = _names(), {}
        for written, value in given.items():
            if written not in names:
                shown = [option(name, "zoom").lstrip("-") for name in KEYED]
                raise unknown("setting", written, shown, "a key has no others")
            name = names[written]
            if name in key:
                raise DreamError(f"{written} is there twice, under two of its names")
            if value is None:
                raise DreamError(f"{written} is null; leave it out, or give it a value")
            self._written[frame, name] = written
            check(name, value, "zoom")
            key[name] = value
        if "look" in key:
            key = _with_look(key, base)
        if "guide" in key:  # without a layer, it has the film's
            return {"objective": None} | key
        if key.keys() & {*looks.GOALS}:
            return dict.fromkeys(looks.GOALS) | key
        return key


def read_keys(words: str, base: Recipe) -> str:
    """The keys as a film's recipe records them; as for `KeyFile`."""
    return KeyFile(words, base).to_json()


def _names() -> dict[str, str]:
    """{a name in key files: the setting's name in Python}"""
    names = {}
    rows = rows_of("zoom")
    for name in KEYED:
        for spelling in (rows[name].option, rows[name].alias or name, name):
            names[spelling.lstrip("-")] = name
    return names


def _with_look(key: Params, base: Recipe) -> Params:
    """A key with its look's settings; what others have is as on the command line."""
    says = looks.begin({"model": base["model"]} | key)
    del says["model"]
    settings: set[str] = set()  # that some look has
    for look in looks.read().values():
        settings.update(look.common, *look.networks.values())
    return {name: base[name] for name in settings.difference(looks.GOALS)} | says


def _read_text(path: str) -> str:
    if not path.lower().endswith((".toml", ".json")):
        allowed = "the path of a .toml or .json file"
        raise DreamError(f"{{setting}} is {path!r}; it must be {allowed}", "keys")
    if fault := why_unreadable(path):
        raise DreamError(f"cannot read the keys {path}: {fault}")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DreamError(f"cannot read the keys {path}: it is not UTF-8 text") from None
    except OSError as error:
        raise DreamError(f"cannot read the keys {path}: {reason(error)}") from None


def _parse(name: str, text: str, is_json: bool) -> Params:
    """{heading: what stands under it}"""
    try:
        if not is_json:
            return tomllib.loads(text)
        tables = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        where = f"{name}, line {error.lineno}"
        raise DreamError(f"{where}: this is not JSON: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        raise DreamError(f"{name}: this is not TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DreamError(f"{name} cannot be read: {error}") from None
    if not isinstance(tables, dict):
        raise DreamError(f'{name} must have the form {{"100": {{"zoom": 0.1}}}}')
    return tables


def _without_repeats(pairs: list[tuple[str, object]]) -> Params:
    """A JSON object; one name twice would hide a mistake."""
    for name, n in Counter(name for name, _ in pairs).items():
        if n > 1:
            raise ValueError(f"{name!r} is there twice")
    return dict(pairs)
