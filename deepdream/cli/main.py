"""The command line. `parse` turns words into a recipe, by the table in
settings.py, and each command is a function of that recipe. Nothing else in
the package prints.
"""

import argparse
import warnings

from ..errors import DreamError, in_words, out_of_memory
from ..settings import option, rows_of
from .commands import run
from .parser import parse
from .terminal import complain, is_lost, open_streams, say, warn


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status: 0; 1 if some pictures failed, or
    the name of what was made cannot be printed; 2 for bad input; 130 after
    Ctrl-C.
    """
    open_streams()
    with warnings.catch_warnings():
        warnings.showwarning = warn
        args = argparse.Namespace(command="")
        try:
            try:
                args = parse(argv)
                return run(args) or int(is_lost())
            finally:
                say()  # what argparse has printed
        except KeyboardInterrupt as stop:
            complain(f"stopped{stop}")
            return 130
        except Exception as error:
            complain(explain(error, args.command))
            return 2


def explain(error: Exception, command: str) -> str:
    """A sentence for the person who gave the command; our own faults are raised."""
    if isinstance(error, DreamError):
        return error.named(option(error.setting or "", command))
    if out_of_memory(error):
        rows = rows_of(command)
        cure = ""
        if "batch" in rows:
            cure = "; take a smaller --batch"
        elif "width" in rows:
            cure = "; make the pictures smaller with --width"
        return f"there is not enough memory{cure}"
    # a file, or a library, that this machine does not let us read
    if isinstance(error, (OSError, ImportError)):
        return in_words(error)
    raise error
