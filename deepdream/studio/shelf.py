"""The pictures of a panel: the package's samples, what was uploaded, and what was dreamt."""

import os
import re
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import DreamError
from ..jobs import sha256
from ..pictures import SAMPLES, load_image, save_image
from .turns import PAGE

MOST_PIXELS = 40_000_000  # of an uploaded picture
MOST_SIDE = 30_000  # pixels
MOST_KEPT = 500 * 2**20  # bytes of one panel's pictures
READABLE = "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"  # for some other formats, Pillow starts programs


class Shelf:
    """The pictures there are, by name: `files` is {name: path}.

    Uploads and dreams are files in a `folder` that lasts as long as the panel.
    """

    def __init__(self) -> None:
        self.folder = TemporaryDirectory(prefix="deepdream-", dir=os.environ.get(PAGE))
        self.files = dict(SAMPLES)

    def find(self, name: str) -> str:
        """The path of the picture of this name; raises DreamError if there is none."""
        if name not in self.files:
            raise DreamError(f"there is no picture {name!r} here; upload it as a guide first")
        return str(self.files[name])

    def find_same(self, name: str, digest: str | None) -> str | None:
        """The name of the picture with this sha256, or where that is not known, of the one with this name."""
        if not digest:
            return name if name in self.files else None
        return next((here for here, path in self.files.items() if sha256(path) == digest), None)

    def load(self, name: str, width: int, most: int) -> np.ndarray:
        """The picture of this name, (h, w, 3), at most `width` wide and of at most so many pixels."""
        path = self.find(name)
        return load_image(path, min(width, widest(*picture_size(path), most)))

    def keep(self, name: str, data: bytes) -> str:
        """Keep an uploaded file, and return the name that it has here."""
        name = _clean(name)
        stem, suffix = os.path.splitext(name)
        n = 1
        while name in self.files and self.files[name].read_bytes() != data:
            n += 1
            name = f"{stem}-{n}{suffix}"
        if name not in self.files:
            self.check_room(len(data))
            path = Path(self.folder.name, name)
            path.write_bytes(data)
            self.files[name] = path
        return name

    def save(self, picture: np.ndarray, settings: dict[str, Any]) -> str:
        """Keep a dream (H, W, 3), and return its name."""
        n = 1
        while f"dream-{n}.png" in self.files:
            n += 1
        name = f"dream-{n}.png"
        path = Path(self.folder.name, name)
        save_image(path, picture, settings)
        self.files[name] = path
        return name

    def check_room(self, needed: int = 0) -> None:
        """Raise a DreamError if there is no room for so many bytes more."""
        held = sum(file.stat().st_size for file in Path(self.folder.name).iterdir())
        if held + needed > MOST_KEPT:
            most = f"at most {MOST_KEPT >> 20} MB of pictures"
            raise DreamError(f"one panel keeps {most}; reload the page, or start a new panel")


def _clean(name: str) -> str:
    """A short name for a file, made from the name of a visitor's file: no folders, no strange letters."""
    name = name.replace("\\", "/").split("/")[-1]
    name = re.sub(r"[^\w.() -]+", "_", name).lstrip(" .-") or "picture"
    stem, suffix = os.path.splitext(name)
    return _shorten(stem, 80) + _shorten(suffix, 10)


def _shorten(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes."""
    return text.encode()[:most].decode(errors="ignore")


def check_picture(name: str, data: bytes) -> None:
    """Raise a DreamError for a file that is no picture, or one that would be too large when it is unpacked."""
    from PIL import Image

    most = f"at most {MOST_PIXELS // 10**6} megapixels are allowed; make it smaller"
    try:
        with Image.open(BytesIO(data), formats=READABLE) as image:
            if max(image.size) > MOST_SIDE:
                raise DreamError(f"{name} has {image.width:,} x {image.height:,} pixels; a side may have {MOST_SIDE:,}")
            if image.width * image.height > MOST_PIXELS:
                raise DreamError(f"{name} has {image.width:,} x {image.height:,} pixels; {most}")
            image.load()
    except Image.DecompressionBombError:
        raise DreamError(f"{name} has far too many pixels; {most}") from None
    except DreamError:
        raise
    except Exception:  # Pillow's decoders raise all kinds
        raise DreamError(f"{name} cannot be read as a picture; these can: {', '.join(READABLE)}") from None


def picture_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture as `load_image` gives it, with the camera's rotation applied."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        is_turned = image.getexif().get(0x0112, 1) >= 5
    return (width, height) if is_turned else (height, width)


def widest(height: int, width: int, most: int) -> int:
    """How wide a picture of this shape may be, so that it has at most so many pixels, and no side is too long."""
    return max(1, min(int((most * width / height) ** 0.5), MOST_SIDE, MOST_SIDE * width // height))
