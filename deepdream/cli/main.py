"""The command line: deepdream dream, looks, draw, zoom, journey, video, batch, grid,
atlas, train, serve and others.

The parser is made from the table in settings.py. It only cuts the words apart: `parse`
turns them into a recipe, which is checked there, and each command is a function of that
recipe. Nothing else in the package prints.
"""

import argparse
import warnings

from ..errors import DreamError, in_words, out_of_memory
from ..settings import option, rows_of
from .commands import run
from .parser import parse
from .terminal import complain, open_streams, say, unprinted, warn


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 if some pictures failed, 2 for bad
    input, 130 after Ctrl-C.

    It is also 1 if the name of what was made cannot be printed, but not because nobody
    reads it, as after `| head`.
    """
    open_streams()
    warnings.showwarning = warn
    unprinted.clear()
    args = argparse.Namespace(command=None)
    try:
        try:
            args = parse(argv)
            return run(args) or len(unprinted)
        finally:
            say()  # what argparse has printed
    except DreamError as error:
        complain(error.named(option(error.setting or "", args.command or "")))
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        rows = rows_of(args.command or "")
        cures = {
            "batch": "; take a smaller --batch",
            "width": "; make the pictures smaller with --width",
        }
        advice = next((cure for name, cure in cures.items() if name in rows), "")
        complain(f"there is not enough memory{advice}")
        return 2
    except KeyboardInterrupt as stop:
        complain(f"stopped{stop}")
        return 130
    except (
        OSError,
        ImportError,
    ) as error:  # a file or a library that this machine does not let us read
        complain(DreamError(in_words(error)))
        return 2
