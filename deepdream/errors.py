"""What goes wrong, in one clear sentence: what was given, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


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
