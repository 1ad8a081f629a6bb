"""The table of settings, one row each; everything else that knows about settings is
derived from it.

From a row come the option on the command line and its help, the check of its value in
Python, the knob in the studio, what a batch job may say, what a picture carries with
it, and the command that makes a picture again.

A recipe is a dict of plain JSON values: `command`, and every setting of that command by
its name in Python. `complete` makes one from what a person gave, `from_record` from
what a picture carries; both check every value.
"""

import ast
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, count
from pathlib import Path
from typing import Any

from .errors import DreamError, unknown
from .objectives import read_words
from .settings import ABOUT, MAKERS, REQUIRED, File, check_row, read, rows_of, text_of

VERSION = "0.2.0"
Recipe = dict[str, Any]


def complete(command: str, given: Mapping[str, Any]) -> Recipe:
    """The recipe of a command: what is given, checked, and the defaults of everything
    else.

    Raises DreamError for a setting that the command does not have, or that is missing,
    and for a value that is not allowed.
    """
    rows = rows_of(command)
    recipe: Recipe = {"command": command}
    for name in given:
        if name not in rows and name != "command":
            raise unknown("setting", name, rows, f"`{command}` has no others")
    for name, row in rows.items():
        value = given.get(name)
        value = row.default if value is None else value
        if value is REQUIRED:
            raise DreamError(f"{{setting}} is missing; it must be {row.allowed}: {row.help}", name)
        has_several = row.varies and isinstance(value, list) and len(value) > 0
        for each in value if has_several else [value]:
            check_row(row, each)
        recipe[name] = value
    return recipe


def record(recipe: Recipe, **about: Any) -> dict[str, Any]:
    """The settings that a picture carries: `about`, and of the recipe all that decides
    how the picture looks.

    Of a file given by its full path only the name is recorded: pictures are published,
    and folders are named after people.
    """
    rows, carried = rows_of(recipe["command"]), {"deepdream": VERSION}
    short = with_files(
        recipe, lambda _, path: (Path(path).is_absolute() and Path(path).name) or path
    )
    for name, value in (short | about).items():
        row = rows.get(name)
        if value is not None and (row is None or row.kept):
            carried[name] = value
    return carried


def command_of(record: Mapping[str, Any]) -> Any:
    """The command of a picture's settings, or of a job; older pictures, and short jobs,
    leave it out.
    """
    return record.get("command", "draw" if "draw" in record else "dream")


def from_record(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a picture, given the settings that it carries, by this version or
    an older one.

    Raises DreamError where they were not written by this program, or hold a value that
    is not allowed: pictures come from strangers.
    """
    command = command_of(record)
    if "deepdream" not in record or command not in MAKERS:
        raise DreamError(
            "it carries no settings of deepdream's command line; only what that has made can be replayed"
        )
    try:
        return _from_record(command, record)
    except RecursionError:
        raise DreamError("its settings are nested too deeply") from None


def _from_record(command: str, record: Mapping[str, Any]) -> Recipe:
    for name, row in ABOUT.items():
        if name in record:
            check_row(row, record[name])
    digests = record.get("sha256", {})
    if not isinstance(digests, dict) or not all(
        isinstance(digest, str) for digest in digests.values()
    ):
        raise DreamError(f"{{setting}} is {digests!r}; it must be texts by their names", "sha256")
    rows, given = rows_of(command), {}
    for name, value in record.items():
        if name in rows and rows[name].kept:
            a_word = rows[name].varies and isinstance(value, str)  # as version 0.1.0 wrote it
            given[name] = read(command, name, value) if a_word else value
    return complete(
        command, {name: row.before for name, row in rows.items() if row.before is not None} | given
    )


def with_defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a picture carries, and the defaults of those that did not exist
    when it was made.
    """
    rows = rows_of(record.get("command", ""))
    defaults = {
        name: row.default if row.before is None else row.before
        for name, row in rows.items()
        if row.kept
    }
    return {name: default for name, default in defaults.items() if default is not None} | dict(
        record
    )


def words(recipe: Recipe, out: str) -> list[str]:
    """The command line, word by word, that makes this recipe's picture or film at
    `out`; defaults are left out.

    A text such as "-L2('conv1')" at a place would look like an option, so all places
    then come last, after `--`.
    """
    places, options = [], []
    for name, row in rows_of(recipe["command"]).items():
        value = recipe.get(name)
        if value is None or value == row.default:
            continue
        if row.kind is bool:
            options.append(row.option)
            continue
        several = isinstance(value, (list, tuple))
        texts = [text_of(each) for each in value] if several else [text_of(value)]
        if several and row.varies:
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
    """Words as one line of a command line, for a shell such as bash; a control
    character is written as its number.
    """

    def escape(c: str) -> str:
        if c.isprintable():
            return f"\\{c}" if c in "\\'" else c
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))

    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{''.join(map(escape, word))}'"
        for word in words
    )


def files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(name, path) of each setting that is a file to read."""
    for name, row in rows_of(command_of(recipe)).items():
        if row.kind is File and recipe.get(name):
            yield name, recipe[name]


def all_files(recipe: Recipe) -> dict[str, str]:
    """{name: path} of each file that the recipe reads: those of `files`, and the guides
    inside an objective.

    Such guides are called `objective 1`, `objective 2` and so on; inside an objective
    to draw, `draw 1`.
    """
    found: dict[str, str] = {}
    with_files(recipe, found.setdefault)
    return found


def with_files(recipe: Recipe, find: Callable[[str, str], str]) -> Recipe:
    """The recipe with find(name, path) in place of each path of `all_files`."""

    def find_guide(setting: str) -> Callable[[str], str]:
        numbers = count(1)
        return lambda path: find(f"{setting} {next(numbers)}", path)

    found = {name: find(name, path) for name, path in files(recipe)}
    words = [name for name in ("objective", "draw") if recipe.get(name)]
    found |= {name: _with_guides(recipe[name], find_guide(name)) for name in words}
    if str(recipe.get("keys") or "").startswith("{"):
        found["keys"] = _with_files_of_keys(recipe["keys"], find)
    return recipe | found


def _with_files_of_keys(text: str, find: Callable[[str, str], str]) -> str:
    """Keys in JSON, see keys.py, with find(name, path) in place of each path; those of
    key 100 are called `key 100 mask` and so on. Any other text stays as it is."""

    def find_of(frame: str) -> Callable[[str, str], str]:
        return lambda name, path: find(f"key {frame} {name}", path)

    try:
        keys = json.loads(text)
        for frame, given in keys.items():
            found = with_files({"command": "zoom"} | given, find_of(frame))
            keys[frame] = {name: found[name] for name in given}
    except (ValueError, TypeError, RecursionError):
        return text  # keys.py says what is wrong with it
    return json.dumps(keys)


def _with_guides(words: Any, find: Callable[[str], str]) -> Any:
    """An objective in words, or several, with find(path) in place of each guide's path;
    any other text as it is.
    """
    if isinstance(words, list):
        return [_with_guides(each, find) for each in words]
    text = str(words).strip()
    paths: list[ast.Constant] = []
    try:
        for node in ast.walk(read_words(text)):
            match node:
                case ast.Call(func=ast.Name(id="guide" | "caricature")):
                    for path in [
                        *node.args[1:2],
                        *(it.value for it in node.keywords if it.arg == "image"),
                    ]:
                        match path:
                            case ast.Constant(value=str()):
                                paths.append(path)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # it is the name of a class, or `objectives.parse` says what is wrong with it
    paths.sort(key=lambda path: (path.lineno, path.col_offset))
    found = [repr(find(str(path.value))).encode() for path in paths]
    if not found:
        return words
    data = text.encode()
    lines = [
        0,
        *accumulate(len(line) for line in data.splitlines(keepends=True)),
    ]  # where each begins
    for path, name in zip(
        paths[::-1], found[::-1]
    ):  # from the end, so that the positions before it stay
        first = lines[path.lineno - 1] + path.col_offset
        last = lines[(path.end_lineno or path.lineno) - 1] + (path.end_col_offset or 0)
        data = data[:first] + name + data[last:]
    return data.decode()
