"""The pictures of a panel: the package's samples, what was uploaded, and
what was dreamt.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ..errors import DreamError
from ..films import film_about, film_size, read_film
from ..making import sha256
from ..pictures import SAMPLES, encode, list_decoders, load_image, open_picture, picture_settings

MOST_UPLOADED = 40_000_000  # pixels
MOST = f"at most {MOST_UPLOADED // 10**6} megapixels are allowed; make it smaller"
LONGEST_SIDE = 30_000  # pixels
MOST_SHOWN = 2_000_000  # pixels of the picture as it is shown
VIEW_WIDTH = 1600  # pixels
FILM_SUFFIXES = ".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"
MOST_KEPT = 500 * 2**20  # bytes of one panel's pictures
MOST_FILES = 200  # of one panel: of each, there is a view in memory
MOST_KEPT_BY_ALL = 4 * 2**30  # bytes of the pictures of all panels of a page
Record = dict[str, Any]  # the settings that a picture carries


class View(NamedTuple):
    """What there is to see of a picture."""

    size: tuple[int, int]  # (height, width)
    settings: Record  # that it carries
    jpeg: bytes  # it, at most MOST_SHOWN pixels
    fps: float = 0.0  # of a film
    frames: int = 0  # of a film, about; 0 if it does not say


class Shelf:
    """The pictures there are, by name: `files` is {name: path}.

    Uploads and dreams are files in a `folder` that lasts as long as the
    panel. within: a folder for the folders of all panels of a page, which
    together may hold MOST_KEPT_BY_ALL. film: the name of the film to dream
    over.
    """

    def __init__(self, within: str | Path | None = None) -> None:
        self.within = within
        self.folder = TemporaryDirectory(
            prefix="deepdream-", dir=within, ignore_cleanup_errors=True
        )
        self.files = dict(SAMPLES)
        self.film = ""
        self.views: dict[str, View] = {}  # of the pictures that were looked at
        self._digests: dict[str, str] = {}
        self._promised: set[str] = set()  # names of what is being made

    def find(self, name: str) -> str:
        """The path of the picture of this name; raises DreamError if there is none."""
        return find_in(self.files, name)

    def find_same(self, name: str, digest: str | None) -> str | None:
        """The name of the picture with this sha256; if it is not known, this name."""
        if not digest:
            return name if name in self.files else None
        return next((here for here, path in self.files.items() if sha256(path) == digest), None)

    def digest(self, name: str) -> str:
        """The sha256 of the picture of this name."""
        if name not in self._digests:
            self._digests[name] = sha256(self.find(name))
        return self._digests[name]

    def pictures(self) -> list[str]:
        """The names of all that are no films."""
        return [name for name in self.files if not has_film_name(name)]

    def view(self, name: str) -> View:
        """What there is to see of one of our own pictures, or of one seen before."""
        if name not in self.views:
            self.views[name] = view_picture(self.find(name), name)
        return self.views[name]

    def keep(self, name: str, data: bytes) -> str:
        """Keep an uploaded file, and return the name that it has here;
        raises DreamError if there is no room.
        """
        name = _clean(name)
        stem, suffix = os.path.splitext(name)
        n = 1
        while self._is_taken(name, data):
            n += 1
            name = f"{stem}-{n}{suffix}"
        if name not in self.files:
            self.check_room(len(data))
            path = Path(self.folder.name, name)
            path.write_bytes(data)
            self.files[name] = path
        return name

    def _is_taken(self, name: str, data: bytes) -> bool:
        """Whether a file of this name is another one, or will be."""
        if name in self.files:
            return self.files[name].read_bytes() != data
        return name in self._promised

    def remove(self, name: str) -> None:
        """Remove a file that was kept."""
        self.files.pop(name).unlink(missing_ok=True)

    def new(self, what: str, source: str, suffix: str) -> Path:
        """A path for what is made of this picture, such as mountains-dream-2.png."""
        stem = re.sub(r"-(dream|zoom|journey|video)-\d+$", "", Path(source).stem) or "noise"
        for n in count(1):
            path = Path(self.folder.name, f"{stem}-{what}-{n}{suffix}")
            if path.name not in self.files:
                self._promised.add(path.name)
                return path
        raise AssertionError

    def check_room(self, needed: int = 0) -> None:
        """Raise a DreamError if there is no room for so many bytes more."""
        if _size(self.folder.name) + needed > MOST_KEPT or len(self.files) >= MOST_FILES:
            most = f"at most {MOST_KEPT >> 20} MB of pictures, and {MOST_FILES} files"
            cure = "download what you like, and begin a new panel"
            raise DreamError(f"one panel keeps {most}; {cure}")
        if self.within and _size(self.within) + needed > MOST_KEPT_BY_ALL:
            raise DreamError(
                "the visitors' pictures fill the space that there is for them; come back later"
            )


def find_in(files: Mapping[str, Path], name: str) -> str:
    """The path of the file of this name; raises DreamError if there is none."""
    if name not in files:
        raise DreamError(f"there is no picture {name!r} here; upload it as a guide first")
    return str(files[name])


def _size(folder: str | Path) -> int:
    """How many bytes all files of a folder have."""
    sizes = 0
    for path in Path(folder).rglob("*"):
        with suppress(OSError):  # another panel may remove it meanwhile
            sizes += path.stat().st_size
    return sizes


def _clean(name: str) -> str:
    """A short name for a visitor's file: no folders, no strange letters."""
    name = name.replace("\\", "/").split("/")[-1]
    name = re.sub(r"[^\w.() -]+", "_", name).lstrip(" .-") or "picture"
    stem, suffix = os.path.splitext(name)
    return _shorten(stem, 80) + _shorten(suffix, 10)


def _shorten(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes."""
    return text.encode()[:most].decode(errors="ignore")


def has_film_name(name: str) -> bool:
    """Whether a file of this name is taken for a film."""
    return Path(name).suffix.lower() in FILM_SUFFIXES


def view_picture(path: str | Path, name: str) -> View:
    """Look at a picture, or at the first frame of a film; a DreamError if
    it is none, or is too large when unpacked.

    Of a stranger's file, this is for a process of its own: a decoder may
    crash, or need much memory.
    """
    if has_film_name(name):
        _check_pixels(name, *film_size(path))
        frame = next(read_film(path, width=VIEW_WIDTH))
        fps, frames, _ = film_about(path)
        return View(frame.shape[:2], {}, encode(frame, "jpeg"), float(fps), frames)
    check_upload(name, Path(path).read_bytes())
    height, width = picture_size(path)
    small = load_image(path, min(width, widest(height, width, MOST_SHOWN), VIEW_WIDTH))
    return View((height, width), picture_settings(path), encode(small, "jpeg"))


def check_upload(name: str, data: bytes) -> None:
    """Raise a DreamError for what is no picture, or is too large when unpacked."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=list_decoders()) as image:
            _check_pixels(name, image.height, image.width)
            image.load()
    except Image.DecompressionBombError:
        raise DreamError(f"{name} has far too many pixels; {MOST}") from None
    except DreamError:
        raise
    except Exception:  # Pillow's decoders raise all kinds
        can = f"these can: {', '.join(list_decoders())}"
        raise DreamError(f"{name} cannot be read as a picture; {can}") from None


def _check_pixels(name: str, height: int, width: int) -> None:
    has = f"{name} has {width:,} x {height:,} pixels"
    if max(height, width) > LONGEST_SIDE:
        raise DreamError(f"{has}; a side may have {LONGEST_SIDE:,}")
    if width * height > MOST_UPLOADED:
        raise DreamError(f"{has}; {MOST}")


def picture_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture as `load_image` gives it, turned upright."""
    with open_picture(path) as image:
        width, height = image.size
        is_turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
    return (width, height) if is_turned else (height, width)


def widest(height: int, width: int, most: int) -> int:
    """How wide a picture of this shape may be, to have at most so many pixels."""
    by_pixels = int((most * width / height) ** 0.5)
    by_height = LONGEST_SIDE * width // height
    return max(1, min(by_pixels, LONGEST_SIDE, by_height))
