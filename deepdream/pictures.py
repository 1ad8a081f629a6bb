"""Pictures in and out of files, masks, guides and sheets.

A picture is (H, W, 3) float32, RGB, 0..255. Pillow is imported late: it is heavy.
"""

import json
import math
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from numbers import Integral
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from .errors import DreamError, reason
from .given import Picture, as_image, check_image, is_pillow, to_rgb
from .paths import check_place, whole, why_unreadable
from .settings import Params, Record, check

if TYPE_CHECKING:
    from PIL.Image import Image

# How a name ends, and what Pillow calls the format
WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
READABLE = (*WRITABLE, ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What is read, where Pillow can. For some other formats it starts programs.
DECODERS = "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"
MOST_PIXELS = 89_478_485  # above this Pillow suspects a decompression bomb
MOST_SIDE = 65_500  # pixels, of a JPEG
MOST_GUIDE = 500_000  # pixels of a guide that is read from a file
MOST_NOISE = 16_384  # pixels of a side of noise
HERE = Path(__file__).parent
# in a wheel, or in the repository
IMAGES = HERE / "images" if (HERE / "images").is_dir() else HERE.parent / "images"
SAMPLES = {name: IMAGES / name for name in ("mountains.jpg", "forest.jpg", "flower.jpg")}
_stderr = RLock()


def or_sample(path: str) -> str:
    """The path, or the package's photograph of this name."""
    return str(SAMPLES[path]) if path in SAMPLES and not os.path.exists(path) else path


def list_decoders() -> list[str]:
    """Those of DECODERS that this Pillow has."""
    from PIL import Image

    Image.init()
    return [name for name in DECODERS if name in Image.OPEN]


@contextmanager
def open_picture(source: str | Path | BytesIO, name: object = None) -> Iterator["Image"]:
    """A picture as Pillow opens it. What Pillow raises, here or in the
    block, becomes a DreamError; its warnings are not shown. name: to call
    it by, if not its path.
    """
    from PIL import Image

    cannot = f"cannot read the picture {source if name is None else name}"
    fault = "" if isinstance(source, BytesIO) else why_unreadable(source, may_be_pipe=True)
    if fault:
        raise DreamError(f"{cannot}: {fault}")
    formats = list_decoders()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=formats) as image, _silence(image.format):
                yield image
    except (DreamError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        allowed = f"only {', '.join(formats)} are read, and it is none of them"
        raise DreamError(f"{cannot}: {allowed}") from None
    except Image.DecompressionBombError:
        raise DreamError(f"{cannot}: it has more than {2 * MOST_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DreamError(f"{cannot}: {reason(error)}") from None
    except Exception:  # a damaged file can raise nearly anything
        raise DreamError(f"{cannot}: it is damaged") from None


@contextmanager
def _silence(fmt: str | None) -> Iterator[None]:
    """Silence stderr for a TIFF: libtiff writes there, past Python."""
    if fmt != "TIFF":
        yield
        return
    with _stderr, open(os.devnull, "wb") as nothing:
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def load_image(path: str | Path, width: int | None = None, side: int | None = None) -> np.ndarray:
    """A picture -> (H, W, 3) float32, RGB, 0..255, upright and on white.

    path: of a file in one of DECODERS, or the name of a photograph of the
    package, such as mountains.jpg. width: to resize it to, pixels. side:
    the most pixels of its shorter side, which large JPEGs reach much
    faster. Raises DreamError for what cannot be read, or is too large.
    """
    from PIL.Image import Resampling

    path = or_sample(_check_path(path))
    if width is not None and not isinstance(width, Integral):
        check("width", width)
    if side is not None and not (isinstance(side, Integral) and side > 0):
        raise DreamError(f"side is {side!r}; it must be a whole number of pixels, at least 1")
    with open_picture(path) as image:
        _check_size(image, path)
        if side:
            image.draft(image.mode, (side, side))  # decodes a JPEG about as large
        image.load()
        image = to_rgb(image, path)
    if side and min(image.size) > side:
        scale = side / min(image.size)
        size = round(image.width * scale), round(image.height * scale)
        image = image.resize(size, Resampling.LANCZOS)
    if width is not None:
        height = max(1, round(image.height * width / image.width))
        _check_width(width, height)
        image = image.resize((width, height), Resampling.LANCZOS)
    return np.asarray(image, np.float32).view(Picture)


def _check_path(path: object) -> str:
    """A path as text, ~ made a folder. Raises DreamError for what is none."""
    if not isinstance(path, (str, Path)):
        kind = type(path).__name__
        already = (
            "; a picture needs no `load_image`"
            if isinstance(path, np.ndarray) or is_pillow(path)
            else ""
        )
        raise DreamError(f"`load_image` takes the path of a file, not {kind!r}{already}")
    text = str(path)
    if text.startswith(("http://", "https://")):
        first = "urllib.request.urlretrieve(address, 'photo.jpg')"
        cure = f"download it first, as with {first}"
        raise DreamError(f"{text!r} is an address, and `load_image` reads files; {cure}")
    return os.path.expanduser(text)


def _check_size(image: "Image", path: str) -> None:
    cannot = f"cannot read the picture {path}: it has more than"
    if image.width * image.height > MOST_PIXELS:
        raise DreamError(f"{cannot} {MOST_PIXELS:,} pixels")
    if max(image.size) > MOST_SIDE:
        raise DreamError(f"{cannot} {MOST_SIDE:,} pixels at a side")


def _check_width(width: int, height: int) -> None:
    if width < 1 or width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        most = f"{MOST_PIXELS:,} pixels, and {MOST_SIDE:,} at a side"
        allowed = f"it must be 1 or more, and the picture at most {most}"
        raise DreamError(f"{{setting}} is {width}; {allowed}", "width")


def load_guide(path: str | Path) -> np.ndarray:
    """As `load_image`, with at most MOST_GUIDE pixels: it is never in tiles."""
    image = load_image(path)
    width = guide_width(image)
    return load_image(path, width) if width else image


def guide_width(image: np.ndarray) -> int | None:
    """The width for MOST_GUIDE pixels; None if it has fewer."""
    height, width = image.shape[:2]
    if height * width <= MOST_GUIDE:
        return None
    return max(1, int((MOST_GUIDE * width / height) ** 0.5))


def read_mask(mask: str | Path | np.ndarray, in_film: bool = False) -> np.ndarray:
    """A mask -> (h, w) float32, 0..1. The dream grows where it is light.

    mask: a path, or (h, w) or (h, w, 3), whole numbers 0..255 or fractions
    0..1. in_film: it may be black all over, and of (h, w, 3), values are
    0..255. Raises DreamError for what is no mask.
    """
    if isinstance(mask, (str, Path)):
        mask = load_image(mask).astype(np.uint8)
    if is_pillow(mask):
        mask = np.asarray(to_rgb(mask))
    mask = np.asarray(mask)
    values = mask.mean(2) if mask.ndim == 3 and mask.shape[2] == 3 else mask
    if values.ndim != 2 or not values.size or mask.dtype.kind not in "buif":
        shapes = "(height, width) or (height, width, 3)"
        raise DreamError(f"a mask is a grey picture, {shapes}; this one is {mask.shape}")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 255):
        allowed = "they must lie in 0..255 or 0..1"
        raise DreamError(f"the mask's values go from {low} to {high}; {allowed}")
    if not values.any() and not in_film:
        raise DreamError("the mask is black all over; the dream grows where a mask is light")
    is_picture = mask.dtype.kind in "ui" or high > 1 or (in_film and mask.ndim == 3)
    return np.asarray(values / 255 if is_picture else values, np.float32)


def resize(a: np.ndarray, h: int, w: int) -> np.ndarray:
    """(H, W) or (H, W, 3), float32, at the size (h, w)."""
    from PIL import Image

    if a.ndim == 3:
        return np.stack([resize(a[..., i], h, w) for i in range(a.shape[2])], 2)
    return np.asarray(Image.fromarray(a).resize((w, h), Image.Resampling.BILINEAR))


def fit_into(a: np.ndarray, h: int, w: int) -> np.ndarray:
    """An image's middle, as much as has this shape: (h, w, 3)."""
    from PIL import Image, ImageOps

    if a.shape[:2] == (h, w):
        return a
    image = ImageOps.fit(to_image(a), (w, h), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def to_image(a: np.ndarray) -> "Image":
    """(H, W, 3) RGB, 0..255, clipped where it goes beyond -> PIL.Image."""
    from PIL import Image

    if is_pillow(a):
        a = np.asarray(to_rgb(a))
    return Image.fromarray(np.uint8(np.clip(a, 0, 255)))


def encode(a: np.ndarray, fmt: str) -> bytes:
    """An image (H, W, 3) as the bytes of a 'jpeg' or 'png' file."""
    data = BytesIO()
    to_image(a).save(data, fmt)
    return data.getvalue()


def save_image(path: str | Path, image: np.ndarray, settings: Record | None = None) -> None:
    """Write an image (H, W, 3), RGB, 0..255, as .jpg or .png, whole or not
    at all, with the settings in it. Raises DreamError if it cannot be
    written, or is no image.
    """
    if not isinstance(path, (str, Path)):
        order = "the path comes first: save_image('dream.jpg', image)"
        raise DreamError(f"the path is of type {type(path).__name__!r}; {order}")
    path = Path(path).expanduser()
    check_output(path)
    if np.ndim(image) != 2 and np.shape(image)[2:] != (4,):
        check_image(image)
    fmt = WRITABLE[path.suffix.lower()]
    note = to_json(settings or {})
    options: Params = {"quality": 95, "subsampling": 0, "comment": note.encode()}
    if fmt == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("deepdream", note)
        options = {"pnginfo": info}
    with whole(path) as part:
        to_image(image).save(part, fmt, **options)


def to_json(settings: Record) -> str:
    """JSON in one line, NumPy's numbers as plain ones."""
    return json.dumps(settings, default=lambda value: value.item())


def from_json(note: str | bytes) -> Record:
    """The settings in a comment; empty if it is another."""
    try:
        settings = json.loads(note)
    except (ValueError, TypeError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def picture_settings(path: str | Path) -> Record:
    """The settings in a picture, if any, or a DreamError."""
    with open_picture(path) as image:
        image.load()
        about = image.info
        return from_json(about.get("deepdream") or about.get("comment") or "{}")


def check_output(
    path: str | Path, suffixes: Collection[str] = tuple(WRITABLE), or_else: str = ""
) -> None:
    """Raise a DreamError if nothing could be written there."""
    path = Path(path)
    cannot = f"cannot write {path}"
    if path.suffix.lower() not in suffixes:
        raise DreamError(f"{cannot}: its name must end in {', '.join(suffixes)}{or_else}")
    if os.path.isdir(path):
        raise DreamError(f"{cannot}: it is a folder")
    if not os.path.isdir(path.parent):
        raise DreamError(f"{cannot}: there is no folder {path.parent}; make it first")
    check_place(path)


def is_picture(path: str) -> bool:
    """Whether this file, or URL, has a picture's name."""
    name = path.rsplit("/", 1)[-1]
    return not name.startswith(".") and Path(name).suffix.lower() in READABLE


def sheet(
    pictures: list[np.ndarray], labels: list[str] | None = None, columns: int | None = None
) -> np.ndarray:
    """Pictures (H, W, 3) on white, each with its label below: (H', W', 3).

    labels: None for none. columns: how many side by side; None: nearly
    square. Raises DreamError if there are no pictures, one is not (H, W,
    3), or there are not as many labels.
    """
    from PIL import Image, ImageDraw, ImageFont

    pictures, labels = _check_sheet(pictures, labels)
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    gap, line = max(2, width // 40), max(14, width // 12)
    across, down = width + gap, height + line + gap  # from one picture to the next
    columns = columns or math.ceil(len(pictures) ** 0.5)
    rows = math.ceil(len(pictures) / columns)
    canvas = Image.new("RGB", (columns * across + gap, rows * down + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(line * 0.7)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        x = gap + i % columns * across
        y = gap + i // columns * down
        canvas.paste(to_image(picture), (x, y))
        label = " ".join(label.split())
        while pen.textlength(label, font) > width and label != "…":
            label = label.rstrip("…")[:-1] + "…"
        pen.text((x + width / 2, y + height + line / 2), label, "black", font, "mm")
    return np.asarray(canvas, np.float32).view(Picture)


def _check_sheet(pictures: object, labels: object) -> tuple[list[np.ndarray], list[str]]:
    """The pictures, and a label for each. Raises as `sheet`."""
    must = "a sheet is made of pictures, arrays (height, width, 3), at least one"
    is_one = is_pillow(pictures) or (isinstance(pictures, np.ndarray) and pictures.ndim == 3)
    several = list(pictures) if isinstance(pictures, Iterable) and not is_one else []
    if not several or any(np.ndim(picture) != 3 for picture in several):
        one = "; write [picture] for a sheet of one" if is_one else ""
        raise DreamError(must + one)
    several = [as_image(picture) if is_pillow(picture) else picture for picture in several]
    if labels is None:
        return several, [""] * len(several)
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise DreamError(f"labels is {labels!r}; it must be a list, with a label for each picture")
    words = [str(label) for label in labels]
    if len(words) != len(several):
        counts = f"the sheet has {len(several)} pictures, and labels for {len(words)}"
        raise DreamError(f"{counts}; give each picture one, or leave out `labels`")
    return several, words


def make_noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """What a dream of nothing begins with: (h, w, 3) float32, or a DreamError."""
    check("seed", seed)
    if not all(isinstance(side, Integral) and 0 < side <= MOST_NOISE for side in size):
        height, width = size
        allowed = f"both numbers must be whole numbers of pixels from 1 to {MOST_NOISE}"
        raise DreamError(f"{{setting}} is {width}x{height}; {allowed}", "size")
    noise = np.random.RandomState(seed).normal(118, 8, (*size, 3))
    return noise.clip(0, 255).astype(np.float32)
