"""Files that are not what their names say: pointers, web pages, archives."""

from pathlib import Path

from ..errors import DreamError

HDF5 = b"\x89HDF\r\n\x1a\n"  # how such a file begins
ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
PAGES = b"<!doctype html", b"<html", b"<?xml", b"<head"


def check(path: Path) -> None:
    """Raise a DreamError for a file that stands for another, or holds it."""
    if what := _name(read_head(path)):
        raise DreamError(f"cannot read {path}: it is {what}")


def read_head(path: Path) -> bytes:
    """The first bytes of a file; none of one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(1024)
    except (OSError, ValueError):
        return b""


def _name(head: bytes) -> str:
    """What a file is that begins so, and what to do; "" if it may be right."""
    if head.startswith(b"version https://git-lfs"):
        what = f"a Git LFS pointer, {len(head)} bytes, not the file itself"
        return f"{what}; `git lfs pull` gets that"
    if head.lstrip().lower().startswith(PAGES):
        return "a web page, not the file itself; download that (on GitHub: the raw file)"
    for start, kind in ARCHIVES.items():
        if head.startswith(start):
            return f"an archive ({kind}); unpack it, and put the file in it here"
    return ""
