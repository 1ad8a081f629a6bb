"""What is printed, and how: stdout and stderr where they are closed, full, or cannot
spell a name.
"""

import codecs
import io
import os
import sys

from ..errors import one_line, reason

unprinted: list[str] = []  # why something could not be printed


def say(text: object = "") -> None:
    """Print a line, at once: all that a command prints goes through here, and what is
    wrong through `complain`.

    If that fails, the work goes on, and nothing more is printed: Python would try again
    at the end.
    """
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = _nowhere()
        if not isinstance(error, BrokenPipeError):
            unprinted.append(reason(error))
            complain(f"cannot print to stdout: {reason(error)}")


def complain(text: object) -> None:
    """Print a line to stderr, if that can be done: nothing must fail because nobody can
    read what is wrong.
    """
    try:
        print(f"deepdream: {one_line(str(text))}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = _nowhere()


def _nowhere() -> io.TextIOBase:
    return open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)


def open_streams() -> None:
    """Make stdout and stderr usable, also where they are closed, or cannot spell a
    file's name.

    Where one is closed, the next file that is opened would get its number, and whatever
    Caffe or ffmpeg complains of.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # it gets the lowest number, which is this one
        if name != "stdin" and getattr(sys, name) is None:
            setattr(sys, name, _nowhere())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="deepdream")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """For characters that cannot be printed: the bytes of a file's name that they stand
    for, or else such as \\xf6.
    """
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error("deepdream", _spell)


def warn(message: object, *_: object, **__: object) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):  # above a bar that is on the screen
        complain(message)
