"""Recipes: dicts of plain JSON values that say how a picture is made:
`command`, and every setting of that command by its name in Python, checked
by the table.
"""

import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import settings
from .errors import DreamError, unknown
from .language import parse
from .settings import Recipe, Record, check_row, rows_of

VERSION = "0.2.0"
IN_WORDS = "objective", "draw"  # settings that may hold the paths of guides


def complete(command: str, given: Mapping[str, object]) -> Recipe:
    """The recipe of a command: what is given, checked, and the defaults of
    all else. Raises DreamError for a setting or value that is unknown,
    missing or not allowed.
    """
    rows = rows_of(command)
    recipe: Recipe = {"command": command}
    for name in given:
        if name not in rows and name != "command":
            raise unknown("setting", name, rows, f"`{command}` has no others")
    for name, row in rows.items():
        value = row.default if given.get(name) is None else given[name]
        if value is settings.REQUIRED:
            fault = f"{{setting}} is missing; it must be {row.allowed}: {row.help}"
            raise DreamError(fault, name)
        several = value if row.varies and isinstance(value, list) and value else [value]
        for each in several:
            check_row(row, each)
        recipe[name] = value
    return recipe


def record(recipe: Recipe, **about: object) -> Record:
    """What a picture carries: `about`, and of the recipe all that decides its looks.

    Of full paths only the name: pictures are published, folders named after people.
    """
    rows = rows_of(recipe["command"])
    carried: Record = {"deepdream": VERSION}
    for name, value in (with_files(recipe, _shorten) | about).items():
        row = rows.get(name)
        if value is not None and (row is None or row.kept):
            carried[name] = value
    return carried


def _shorten(_: str, path: str) -> str:
    full = Path(path)
    return full.name if full.is_absolute() and full.name else path


def command_of(record: Mapping[str, Any]) -> Any:
    """The command of a record or job; older pictures, and short jobs, leave it out."""
    return record.get("command", "draw" if "draw" in record else "dream")


def from_record(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a picture, from what it carries, by this version or an older one.

    Raises DreamError for what is not ours or not allowed: it may be a stranger's.
    """
    command = command_of(record)
    if "deepdream" not in record or command not in settings.MAKERS:
        raise DreamError(
            "it carries no settings of deepdream's command line; "
            "only what that has made can be replayed"
        )
    try:
        return _from_record(command, record)
    except RecursionError:
        raise DreamError("its settings are nested too deeply") from None


def _from_record(command: str, record: Mapping[str, Any]) -> Recipe:
    for name, row in settings.ABOUT.items():
        if name in record:
            check_row(row, record[name])
    digests = record.get("sha256", {})
    if not isinstance(digests, dict) or any(not isinstance(d, str) for d in digests.values()):
        fault = f"{{setting}} is {digests!r}; it must be texts by their names"
        raise DreamError(fault, "sha256")
    rows = rows_of(command)
    given = {name: row.old_default for name, row in rows.items()}
    for name, value in record.items():
        if name in rows and rows[name].kept:
            if rows[name].varies and isinstance(value, str):  # as version 0.1.0 wrote it
                value = settings.read(command, name, value)
            given[name] = value
    return complete(command, given)


def with_defaults(record: Record) -> Record:
    """A record, and the defaults of settings that did not exist when it was made."""
    defaults: Record = {}
    for name, row in rows_of(record.get("command", "")).items():
        default = row.default if row.old_default is None else row.old_default
        if row.kept and default is not None:
            defaults[name] = default
    return defaults | record


def words(recipe: Recipe, out: str) -> list[str]:
    """The command line, word by word, that makes this recipe's picture or
    film at `out`, without defaults; places come last, after `--`, if one
    looks like an option.
    """
    places: list[str] = []
    options: list[str] = []
    for name, row in rows_of(recipe["command"]).items():
        value = recipe.get(name)
        if value is None or value == row.default:
            continue
        if row.kind is bool:
            options.append(row.option)
            continue
        several = value if isinstance(value, (list, tuple)) else [value]
        texts = [settings.text_of(each) for each in several]
        if row.varies:
            texts = [",".join(texts)]
        if not row.is_option:
            places += texts
        elif row.count is None and texts[0].startswith("-"):
            options.append(f"{row.option}={texts[0]}")
        else:
            options += [row.option, *texts]
    options += ["-o", f"./{out}" if out.startswith("-") else out]
    if any(text.startswith("-") for text in places):
        return [recipe["command"], *options, "--", *places]
    return [recipe["command"], *places, *options]


def quote(words: Iterable[str]) -> str:
    """Words as one line for a shell such as bash, control characters as numbers."""
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escape, word))}'"


def _escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


# The files that a recipe reads


def files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(name, path) of each setting that is a file to read."""
    for name, row in rows_of(command_of(recipe)).items():
        path = recipe.get(name)
        if row.kind is settings.File and path and isinstance(path, str):
            yield name, path


def all_files(recipe: Recipe) -> dict[str, str]:
    """{name: path} of each file that the recipe reads: those of `files`; an
    objective's guides, `objective 1` or `draw 1` and so on; and those of
    keys, `key 100 mask`.
    """
    found = dict(files(recipe))
    for name in IN_WORDS:
        paths = [path for text in _texts(recipe.get(name)) for path in _guides(text)]
        found |= {f"{name} {i + 1}": path for i, path in enumerate(paths)}
    for frame, key in _keys(recipe).items():
        inside = all_files({"command": "zoom"} | key)
        found |= {f"key {frame} {name}": path for name, path in inside.items()}
    return found


def with_files(recipe: Recipe, find: Callable[[str, str], str]) -> Recipe:
    """The recipe with find(name, path) in place of each path of `all_files`."""
    found = {name: find(name, path) for name, path in all_files(recipe).items()}
    return _replace(recipe, found)


def _replace(recipe: Recipe, found: Mapping[str, str], prefix: str = "") -> Recipe:
    """The recipe with other paths, by their names in `all_files` after this prefix."""
    new: Recipe = {name: found[prefix + name] for name, _ in files(recipe)}
    for name in IN_WORDS:
        paths = (path for key, path in found.items() if key.startswith(f"{prefix}{name} "))
        texts = [_with_guides(text, paths) for text in _texts(recipe.get(name))]
        if texts:
            new[name] = texts if isinstance(recipe[name], list) else texts[0]
    keys = _keys(recipe)
    for frame, key in keys.items():
        replaced = _replace({"command": "zoom"} | key, found, f"{prefix}key {frame} ")
        keys[frame] = {name: replaced[name] for name in key}
    if keys:
        new["keys"] = json.dumps(keys)
    return recipe | new


def _keys(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """{frame: settings} of keys in JSON; none for a path, or for what
    films/keys.py refuses.
    """
    text = recipe.get("keys")
    if not isinstance(text, str) or not text.startswith("{"):
        return {}
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return keys if all(isinstance(key, dict) for key in keys.values()) else {}


def _texts(value: object) -> list[Any]:
    """The texts of a setting that has one, a list of them, or none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _guides(text: object) -> list[str]:
    """The paths in an objective in words, in order; none in any other text."""
    paths: list[str] = []

    def note(path: str) -> str:
        paths.append(path)
        return path

    try:
        parse(str(text), note)
    except DreamError:  # it is the name of a class, or nothing that can be climbed
        return []
    return paths


def _with_guides(text: str, paths: Iterator[str]) -> str:
    """An objective in words with the next of these in place of each of its paths."""
    return str(parse(text, lambda _: next(paths))) if _guides(text) else text
