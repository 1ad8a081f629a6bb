"""Errors as one clear sentence (what was given, what is allowed, what to do), and files written whole or not at all."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path


class DreamError(Exception):
    """Something given cannot be used; the message is meant for the person who gave it.

    setting: the name in Python of the setting at fault, if there is one; the message then has `{setting}` in its place,
    so that the command line can write `--iterations` for `iter_n`, and the studio the label of the knob.
    """

    def __init__(self, message: object = "", setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting

    def named(self, name: str) -> str:
        """The message with this name for the setting."""
        return str(self.args[0]).replace("{setting}", name) if self.setting else str(self.args[0])

    def __str__(self) -> str:
        return self.named(self.setting or "")


class CannotWriteError(DreamError):
    """A file cannot be written, perhaps because the disk is full; what was to be written is not at fault."""


def unknown(what: str, given: object, allowed: Iterable[str], advice: str) -> DreamError:
    """A DreamError for a name that is not among those allowed; it suggests those that begin with it, or the closest."""
    allowed = list(allowed)
    close = get_close_matches(str(given), allowed, 3, 0.5)
    close.sort(key=lambda name: str(given).strip("-") not in name)  # --octave-scale first for --scale
    longer = [name for name in allowed if given and name.startswith(str(given))]
    close = [*dict.fromkeys(longer[::-1] + close)][:3]  # of the layers of a module the last comes first, its output
    if close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        hint = "allowed: " + ", ".join(allowed[:12]) + (", ..." if len(allowed) > 12 else "")
    return DreamError(f"unknown {what} {str(given)!r}; {hint} ({advice})")


def out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python or PyTorch reports that memory ran out."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


@contextmanager
def whole(path: Path, part: Path | None = None) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` once all is written, and is removed if something fails.

    Raises CannotWriteError in place of an OSError.
    """
    part = part or path.with_name(f".deepdream-{secrets.token_hex(8)}.part{path.suffix}")
    try:
        yield part
        with open(part, "r+b") as written:
            os.fsync(written.fileno())  # so that not even a power cut leaves half a file under that name
        os.replace(part, path)
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
