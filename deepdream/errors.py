"""What goes wrong, in one clear sentence: what was given, what is allowed, what to do."""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from numbers import Integral
from pathlib import Path


class DreamError(Exception):
    """Something given cannot be dreamt with; the message is meant for the person who gave it."""


def unknown(what: str, given: str, allowed: Iterable[str], advice: str) -> DreamError:
    """A `DreamError` for a name that is none of those allowed; it names the closest ones."""
    allowed = list(allowed)
    close = get_close_matches(str(given), allowed, 3, 0.5)
    if close:
        hint = f"did you mean {' or '.join(map(repr, close))}?"
    else:
        hint = "allowed: " + ", ".join(allowed[:12]) + (", ..." if len(allowed) > 12 else "")
    return DreamError(f"unknown {what} {str(given)!r}; {hint} ({advice})")


def check_number(name: str, value, kind: type, fits: Callable[..., bool], allowed: str) -> None:
    """Raise a `DreamError` unless `value` is of this kind (numbers.Integral, numbers.Real) and fits."""
    if isinstance(value, bool) or not (isinstance(value, kind) and fits(value)):
        raise DreamError(f"{name} is {value!r}; it must be {allowed}")


def check_seed(seed: int | None) -> None:
    """Raise a `DreamError` for what NumPy's RandomState does not take; None is left to the caller."""
    if seed is not None:
        check_number("seed", seed, Integral, lambda n: 0 <= n < 2**32, "a whole number from 0 to 4294967295")


def out_of_memory(error: Exception) -> bool:
    """Whether this is Python's or PyTorch's way to say so."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


class CannotWriteError(DreamError):
    """A file cannot be written: the disk may be full, and what was to be written is not at fault."""


@contextmanager
def whole(path: Path, part: Path | None = None) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` once all is written, and is gone when something fails.

    An OSError becomes a `CannotWriteError`.
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
