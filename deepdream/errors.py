"""Errors as one clear sentence (what was given, what is allowed, what to do), and files
written whole or not at all.
"""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

LONGEST, LONGEST_WORD = 500, 150  # characters of a message, and of a word in it: a path, or a value


class DreamError(Exception):
    """Something given cannot be used; the message is meant for the person who gave it.

    setting: the name in Python of the setting at fault, if there is one; the message
    then has `{setting}` in its place, so that the command line can write `--iterations`
    for `iter_n`, and the studio the label of the knob.
    """

    def __init__(self, message: object = "", setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting

    def named(self, name: str) -> str:
        """The message with this name for the setting, as one line."""
        message = str(self.args[0])
        return one_line(message.replace("{setting}", name) if self.setting else message)

    def __str__(self) -> str:
        return self.named(self.setting or "")


class CannotWriteError(DreamError):
    """A file cannot be written, perhaps because the disk is full; what was to be
    written is not at fault.
    """


def one_line(text: str) -> str:
    """A message as one line for a terminal: what it quotes may be long, and may hold
    control characters.
    """
    text = re.sub(r"\S+", lambda word: shorten(word[0], LONGEST_WORD), shorten(text, 10 * LONGEST))
    return shorten("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), LONGEST)


def shorten(text: str, most: int) -> str:
    """The text, without its middle if it has more characters than this."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[-(most // 3) :]}"


def unknown(what: str, given: object, allowed: Iterable[str], advice: str) -> DreamError:
    """A DreamError for a name that is not among those allowed; it suggests those that
    begin with it, or the closest.
    """
    allowed, given = (
        list(allowed),
        shorten(str(given), LONGEST_WORD),
    )  # to compare long names takes long
    close = get_close_matches(given, allowed, 3, 0.5)
    close.sort(key=lambda name: given.strip("-") not in name)  # --octave-scale first for --scale
    longer = [name for name in allowed if given and name.startswith(given)]
    close = [*dict.fromkeys(longer[::-1] + close)][
        :3
    ]  # of the layers of a module the last comes first, its output
    if close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        hint = "allowed: " + ", ".join(allowed[:12]) + (", ..." if len(allowed) > 12 else "")
    return DreamError(f"unknown {what} {given!r}; {hint} ({advice})")


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python or PyTorch reports that memory ran out."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error)
    )


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
    pip = "pip" if find_spec("pip") else f"{sys.executable} -m ensurepip && {sys.executable} -m pip"
    return f"`{pip} install {' '.join(packages)}` installs {'it' if len(packages) == 1 else 'them'}"
