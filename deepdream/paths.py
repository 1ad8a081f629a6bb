"""Files and folders: which can be read or written; files whole or not at all."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, TemporaryFile

from .errors import CannotWriteError, DreamError, reason

PIPES = "/dev/stdin", "/dev/fd/"  # those that a shell connects
NO_NAME = "no file can have this name"  # a zero byte, or half a character


def why_unreadable(path: str | Path, may_be_pipe: bool = False) -> str:
    """Why a file cannot be read, as far as this shows unopened; empty if it can.

    may_be_pipe: /dev/stdin will do, too. Others might be waited for for ever.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return reason(error)
    except ValueError:
        return NO_NAME
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if may_be_pipe and stat.S_ISFIFO(mode) and str(path).startswith(PIPES):
        return ""
    return "it is a pipe or a device; save what comes from it as a file first"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end. Raises CannotWriteError for an OSError."""
    try:
        with TemporaryDirectory(prefix="deepdream-") as folder:
            yield Path(folder)
    except OSError as error:
        why = f"{reason(error)}; set TMPDIR to a folder that can be written"
        raise CannotWriteError(f"temporary files cannot be written: {why}") from None


@contextmanager
def whole(path: Path, part: Path | None = None) -> Iterator[Path]:
    """A temporary path that becomes `path` once all is written, or is
    removed. Raises CannotWriteError for an OSError.
    """
    part = part or path.with_name(f".deepdream-{secrets.token_hex(8)}.part{path.suffix}")
    try:
        yield part
        # so that not even a power cut leaves half a file under that name
        with open(part, "r+b") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {reason(error)}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `folder` once all is written, or is
    removed. replace: take the place of one that is there. Raises
    CannotWriteError for an OSError.
    """
    beside = folder.absolute().parent
    part = beside / f".deepdream-{secrets.token_hex(8)}"
    old = part.with_suffix(".old")
    try:
        beside.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        if replace and folder.is_dir():
            os.replace(folder, old)
        os.replace(part, folder)
    except OSError as error:
        if old.is_dir():
            os.replace(old, folder)
        raise CannotWriteError(f"cannot write {folder}: {reason(error)}") from None
    finally:
        for each in (part, old):
            rmtree(each, ignore_errors=True)


@contextmanager
def reserve(folder: Path, what: str, state: str) -> Iterator[None]:
    """Make the folder if need be, keep other processes out, and remove half files.

    what: is made there, in words. state: the file that shows that a run was
    begun. Raises DreamError for a folder that cannot be written, is in use,
    or holds others.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DreamError(f"cannot write the {what} to {folder}: {error.strerror}") from None
    try:
        with _lock(folder, what):
            names = os.listdir(folder)
            if state not in names and not all(name.startswith(".deepdream-") for name in names):
                others = f"holds other files, and no {what} to resume; choose another"
                raise DreamError(f"the folder {folder} {others}")
            for half in folder.glob(".deepdream-*"):
                half.unlink()
            yield
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # this succeeds only if nothing was made and it is empty


@contextmanager
def _lock(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes from working in the same folder, but on Windows."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"another process is making the {what} in {folder}"
            raise DreamError(f"{busy}; wait for it, or choose another name") from None
        except OSError:
            pass  # some network drives have no locks
        yield
    finally:
        os.close(lock)


def check_folder(path: str | Path) -> None:
    """Raise a DreamError if this folder could not be made, or written into."""
    if os.path.isfile(path):
        raise DreamError(f"{path} is a file; -o takes a folder")
    check_place(path)


def check_place(path: str | Path, name: object = None) -> None:
    """Raise a DreamError, about `name` or the path, if that could not be written."""
    there = Path(os.path.abspath(path))
    missing: list[str] = []
    try:
        while not there.is_dir():
            missing.append(there.name)
            there = there.parent
        # a name may be too long for the folder that has it
        for each in (path, *(there / short for short in missing)):
            with suppress(FileNotFoundError):
                os.lstat(each)
        with TemporaryFile(dir=there):
            pass
    except (OSError, ValueError) as error:
        fault = getattr(error, "strerror", None) or NO_NAME
        raise DreamError(f"cannot write {path if name is None else name}: {fault}") from None


def is_local(path: str) -> bool:
    """Whether this is a path, not a URL."""
    return "://" not in path
