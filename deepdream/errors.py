"""Errors as one clear sentence: what was given, what is allowed, what to do."""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb

LONGEST = 500  # characters of a message
LONGEST_WORD = 150  # characters of a word in it: a path, or a value
MOST_NAMES = 12  # that a message lists


class DreamError(Exception):
    """Something given cannot be used; the message is for the person who gave it.

    setting: the one at fault, by its name in Python; the message has
    `{setting}` in its place, for `--iterations` on the command line, and
    the knob's label in the studio.
    """

    def __init__(self, message: object = "", setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting

    def named(self, name: str) -> str:
        """The message with this name for the setting, as one line."""
        message = str(self.args[0])
        if self.setting:
            message = message.replace("{setting}", name)
        return one_line(message)

    def __str__(self) -> str:
        return self.named(self.setting or "")

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: lines of the person's own code, and the message."""
        frames = [frame for frame in extract_tb(self.__traceback__) if _is_own(frame.filename)]
        lines = [f"line {frame.lineno}: {frame.line}" for frame in frames[-4:]]
        return [*lines, f"{type(self).__name__}: {self}"]


class CannotWriteError(DreamError):
    """A file cannot be written; what was to be written is not at fault."""


def _is_own(file: str) -> bool:
    """Whether a file of code is the person's, not a library's."""
    libraries = str(Path(__file__).parent), sys.prefix, sys.base_prefix
    return not file.startswith((*libraries, "<"))


def one_line(text: str) -> str:
    """A message as one line for a terminal, at most `LONGEST` printable characters."""
    text = shorten(text, 10 * LONGEST)
    text = re.sub(r"\S+", lambda word: shorten(word[0], LONGEST_WORD), text)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shorten(text, LONGEST)


def shorten(text: str, most: int) -> str:
    """The text, without its middle if it has more characters than this."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"


def unknown(what: str, given: object, allowed: Iterable[str], advice: str) -> DreamError:
    """A DreamError for a name that is not allowed; it suggests others like it."""
    allowed = list(allowed)
    word = shorten(str(given), LONGEST_WORD)  # to compare long names takes long
    close = get_close_matches(word, allowed, 3, 0.5)
    # for --scale, --octave-scale comes first
    close.sort(key=lambda name: word.strip("-") not in name)
    # of the layers of a module, the last comes first: its output
    longer = [name for name in allowed[::-1] if word and name.startswith(word)]
    close = list(dict.fromkeys(longer + close))[:3]
    if close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        more = ", ..." if len(allowed) > MOST_NAMES else ""
        hint = f"allowed: {', '.join(allowed[:MOST_NAMES])}{more}"
    return DreamError(f"unknown {what} {word!r}; {hint} ({advice})")


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python or PyTorch reports that memory ran out."""
    if isinstance(error, RuntimeError):
        return "memory" in str(error)
    return isinstance(error, MemoryError)


def reason(error: BaseException) -> str:
    """Why something failed, in a few words, without Python's or the file's name."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def in_words(error: BaseException) -> str:
    """As `reason`, and for which file, where the error names one."""
    name = getattr(error, "filename", None)
    return reason(error) if name is None else f"{reason(error)}: {name}"


def install(*packages: str) -> str:
    """How to install packages of Python, where pip may be missing, too."""
    pip = "pip"
    if not find_spec("pip"):
        pip = f"{sys.executable} -m ensurepip && {sys.executable} -m pip"
    them = "it" if len(packages) == 1 else "them"
    return f"`{pip} install {' '.join(packages)}` installs {them}"
