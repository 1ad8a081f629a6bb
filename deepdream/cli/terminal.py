"""What is printed, even where stdout or stderr is closed, full, or cannot spell it."""

import codecs
import io
import os
import sys

from ..errors import one_line, reason


class _Nowhere(io.TextIOBase):
    """In place of a stream that cannot be written: what is printed is lost."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def write(self, text: str, /) -> int:
        return len(text)


def open_streams() -> None:
    """Make stdout and stderr usable where they are closed, or cannot spell a name."""
    # Else the next file gets the lowest free number, and what Caffe or ffmpeg print
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _Nowhere()
    sys.stderr = sys.stderr or _Nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("deepdream", _spell)
        sys.stdout.reconfigure(errors="deepdream")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """For what cannot be printed: the bytes of a file's name, or else such as \\xf6."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def say(text: object = "") -> None:
    """Print a line to stdout, at once. If that fails, the work goes on."""
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it, as after `| head`
        sys.stdout = _Nowhere()
    except OSError as error:
        sys.stdout = _Nowhere(reason(error))
        complain(f"cannot print to stdout: {reason(error)}")


def is_lost() -> bool:
    """Whether something that somebody reads could not be printed."""
    return bool(getattr(sys.stdout, "fault", ""))


def complain(text: object) -> None:
    """Print a line to stderr, if that can be done."""
    try:
        print(f"deepdream: {one_line(str(text))}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = _Nowhere()


def warn(message: object, *_: object, **__: object) -> None:
    """As `complain`, above a bar; in place of Python's way to show a warning."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        complain(message)
