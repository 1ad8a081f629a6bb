"""The studio: a panel of knobs for people who do not program, in a notebook
or as a page in the browser.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .panel import Studio

__all__ = ["Studio"]


def __getattr__(name: str) -> type["Studio"]:
    """Import `Studio` only when it is asked for: `serve` needs no ipywidgets."""
    if name != "Studio":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .panel import Studio

    return Studio
