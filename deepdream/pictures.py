"""Pictures in and out: load, resize, save with settings, lay out on a sheet; masks and
guides.
"""

import json
import math
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from numbers import Integral
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DreamError, reason
from .paths import check_place, whole, why_unreadable
from .settings import check

if TYPE_CHECKING:
    import PIL.Image

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
READABLE = (*FORMATS, ".webp", ".gif", ".bmp", ".tif", ".tiff")
# What is read, whatever its name, where Pillow can. For some other formats it starts
# programs.
KINDS = "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"
MOST_PIXELS = 89_478_485  # above this Pillow suspects a decompression bomb
MOST_SIDE = 65_500  # of a JPEG
MOST_GUIDE = 500_000  # pixels of a guide that is read from a file
HERE = Path(__file__).parent
IMAGES = (
    HERE / "images" if (HERE / "images").is_dir() else HERE.parent / "images"
)  # in a wheel, or in the repository
SAMPLES = {name: IMAGES / name for name in ("mountains.jpg", "forest.jpg", "flower.jpg")}
_stderr = RLock()


def or_sample(path: str) -> str:
    """The path itself, or if no such file exists, that of the package's photograph of
    this name.
    """
    return str(SAMPLES[path]) if path in SAMPLES and not os.path.exists(path) else path


def kinds() -> list[str]:
    """The formats that are read here."""
    from PIL import Image

    Image.init()
    return [kind for kind in KINDS if kind in Image.OPEN]


@contextmanager
def open_picture(source: str | Path | BytesIO, name: object = None) -> Iterator["PIL.Image.Image"]:
    """A picture as Pillow opens it. What Pillow raises, here or in the block, becomes a
    DreamError, and what else it and its libraries have to say about a damaged file is
    not shown.

    name: what it is called, if that is not its path.
    """
    from PIL import Image

    cannot = f"cannot read the picture {source if name is None else name}"
    fault = "" if isinstance(source, BytesIO) else why_unreadable(source, may_be_pipe=True)
    if fault:
        raise DreamError(f"{cannot}: {fault}")
    formats = kinds()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=formats) as image, _quiet(image.format == "TIFF"):
                yield image
    except (DreamError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise DreamError(
            f"{cannot}: only {', '.join(formats)} are read, and it is none of them"
        ) from None
    except Image.DecompressionBombError:
        raise DreamError(f"{cannot}: it has more than {2 * MOST_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DreamError(f"{cannot}: {reason(error)}") from None
    except Exception:  # a damaged file can raise nearly anything
        raise DreamError(f"{cannot}: it is damaged") from None


@contextmanager
def _quiet(wanted: bool = True) -> Iterator[None]:
    """Silence the C libraries in this process, if that is wanted: libtiff writes to
    stderr, past Python.
    """
    if not wanted:
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
    """A picture -> (H, W, 3) float32, RGB, 0..255; resized to `width` pixels if that is
    given.

    path: of a file of one of the KINDS, or one of the package's photographs, such as
    mountains.jpg. side: reduce it until its shorter side has no more pixels than this;
    large JPEGs are then read much faster. Transparency is laid on white, 16 bits become
    8, and a camera's rotation is applied. Raises DreamError for what cannot be read, or
    is too large.
    """
    from PIL import Image, ImageOps

    path = or_sample(str(path))
    with open_picture(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise DreamError(
                f"cannot read the picture {path}: it has more than {MOST_PIXELS:,} pixels"
            )
        if max(image.size) > MOST_SIDE:
            raise DreamError(
                f"cannot read the picture {path}: it has more than {MOST_SIDE:,} pixels at a side"
            )
        if side:
            image.draft(image.mode, (side, side))  # a JPEG is decoded no larger than it need be
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # Pillow would cut these off at 255
            image = _reduce_to_8_bits(image, path)
        if image.has_transparency_data:
            image = Image.alpha_composite(
                Image.new("RGBA", image.size, "white"), image.convert("RGBA")
            )
        image = image.convert("RGB")
    if side and min(image.size) > side:
        scale = side / min(image.size)
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
        )
    if width is not None:
        height = max(1, round(image.height * width / image.width))
        if width < 1 or width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
            most = f"{MOST_PIXELS:,} pixels, and {MOST_SIDE:,} at a side"
            raise DreamError(
                f"{{setting}} is {width}; it must be 1 or more, and the picture at most {most}",
                "width",
            )
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32)


def _reduce_to_8_bits(image: "PIL.Image.Image", path: str | Path) -> "PIL.Image.Image":
    from PIL import Image

    values = np.asarray(image, np.float32)
    if not np.isfinite(values).all():
        raise DreamError(f"cannot read the picture {path}: some of its values are not numbers")
    if image.mode.startswith("I;16") or values.max() > 255:
        values = values / 257  # 16 bits
    elif image.mode == "F" and values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.uint8(np.clip(values, 0, 255)))


def load_guide(path: str | Path) -> np.ndarray:
    """The picture in a file, (H, W, 3), reduced to `MOST_GUIDE` pixels, since it goes
    through the network whole.
    """
    image = load_image(path)
    width = guide_width(image)
    return load_image(path, width) if width else image


def guide_width(image: np.ndarray) -> int | None:
    """The width at which an image (H, W, 3) has at most `MOST_GUIDE` pixels; None if it
    has no more now.
    """
    height, width = image.shape[:2]
    return (
        max(1, int((MOST_GUIDE * width / height) ** 0.5)) if height * width > MOST_GUIDE else None
    )


def grey(mask: str | Path | np.ndarray, in_film: bool = False) -> np.ndarray:
    """A mask as it was given, a path or an array -> (h, w) float32, 0..1.

    Arrays are (h, w) or (h, w, 3), whole numbers 0..255 or fractions 0..1. Raises
    DreamError for what is no mask. in_film: it is one of many, so it may be black all
    over, and if it is (h, w, 3), its values are 0..255.
    """
    mask = load_image(mask).astype(np.uint8) if isinstance(mask, (str, Path)) else np.asarray(mask)
    values = mask.mean(2) if mask.ndim == 3 and mask.shape[2] == 3 else mask
    if values.ndim != 2 or not values.size or mask.dtype.kind not in "buif":
        raise DreamError(
            f"a mask is a grey picture, (height, width) or (height, width, 3); this one is {mask.shape}"
        )
    if not (values.min() >= 0 and values.max() <= 255):
        raise DreamError(
            f"the mask's values go from {values.min()} to {values.max()}; they must lie in 0..255 or 0..1"
        )
    if not values.any() and not in_film:
        raise DreamError("the mask is black all over; the dream grows where a mask is light")
    is_picture = mask.dtype.kind in "ui" or values.max() > 1 or (in_film and mask.ndim == 3)
    return np.asarray(values / 255 if is_picture else values, np.float32)


def resized(a: np.ndarray, h: int, w: int) -> np.ndarray:
    """A mask (h', w') or an image (h', w', 3), float32, at another size: (h, w) or (h,
    w, 3).
    """
    from PIL import Image

    if a.ndim == 3:
        return np.stack([resized(a[..., colour], h, w) for colour in range(a.shape[2])], 2)
    return np.asarray(Image.fromarray(a).resize((w, h), Image.Resampling.BILINEAR))


def fit_into(a: np.ndarray, h: int, w: int) -> np.ndarray:
    """The middle of an image (H, W, 3), as much of it as has the shape of h x w, at
    that size: (h, w, 3).
    """
    from PIL import Image, ImageOps

    if a.shape[:2] == (h, w):
        return a
    return np.asarray(ImageOps.fit(to_image(a), (w, h), Image.Resampling.BILINEAR), np.float32)


def to_image(a: np.ndarray) -> "PIL.Image.Image":
    """(H, W, 3) RGB, 0..255, clipped where it goes beyond -> PIL.Image."""
    from PIL import Image

    return Image.fromarray(np.uint8(np.clip(a, 0, 255)))


def encode(a: np.ndarray, fmt: str) -> bytes:
    """An image (H, W, 3) as the bytes of a 'jpeg' or 'png' file."""
    data = BytesIO()
    to_image(a).save(data, fmt)
    return data.getvalue()


def save_image(path: str | Path, image: np.ndarray, settings: dict[str, Any] | None = None) -> None:
    """Write an image (H, W, 3) as .jpg or .png, whole or not at all; it carries the
    settings, see `read_settings`.
    """
    path = Path(path)
    check_output(path)
    if np.ndim(image) not in (2, 3):
        raise DreamError(
            f"an image is an array (height, width, 3), RGB; this one is {np.shape(image)}"
        )
    note = to_json(settings or {})
    options: dict[str, Any] = {}
    if FORMATS[path.suffix.lower()] == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("deepdream", note)
    else:
        options |= {"quality": 95, "subsampling": 0, "comment": note.encode()}
    with whole(path) as part:
        to_image(image).save(part, FORMATS[path.suffix.lower()], **options)


def to_json(settings: dict[str, Any]) -> str:
    """Settings, or a report, as they are written to files: JSON in one line, NumPy's
    numbers as plain ones.
    """
    return json.dumps(settings, default=lambda value: value.item())


def from_json(note: str | bytes) -> dict[str, Any]:
    """The settings in a file's comment; empty if it is somebody else's comment."""
    try:
        settings = json.loads(note)
        return settings if isinstance(settings, dict) else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def picture_settings(path: str | Path) -> dict[str, Any]:
    """The settings that a picture carries; empty if there are none."""
    with open_picture(path) as image:
        image.load()
        return from_json(image.info.get("deepdream") or image.info.get("comment") or "{}")


def check_output(
    path: str | Path, formats: Collection[str] = tuple(FORMATS), or_else: str = ""
) -> None:
    """Raise a DreamError if `save_image` could not write there: better before a dream
    than after it.
    """
    path = Path(path)
    if path.suffix.lower() not in formats:
        raise DreamError(f"cannot write {path}: its name must end in {', '.join(formats)}{or_else}")
    if os.path.isdir(path):
        raise DreamError(f"cannot write {path}: it is a folder")
    if not os.path.isdir(path.parent):
        raise DreamError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    check_place(path)


def is_picture(path: str) -> bool:
    """Whether the name of this file, or URL, is that of a picture."""
    name = path.rsplit("/", 1)[-1]
    return not name.startswith(".") and Path(name).suffix.lower() in READABLE


def sheet(pictures: list[np.ndarray], labels: list[str], columns: int | None = None) -> np.ndarray:
    """Pictures (H, W, 3) side by side on white, each with its label below: one picture
    (H', W', 3) more.

    columns: how many pictures side by side; without it the sheet is nearly square.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not pictures or any(np.ndim(picture) != 3 for picture in pictures):
        raise DreamError("a sheet is made of pictures, arrays (height, width, 3), at least one")
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    gap, line = max(2, width // 40), max(14, width // 12)
    columns = columns or math.ceil(len(pictures) ** 0.5)
    rows = math.ceil(len(pictures) / columns)
    canvas = Image.new(
        "RGB", (columns * (width + gap) + gap, rows * (height + line + gap) + gap), "white"
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(line * 0.7)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + line + gap)
        canvas.paste(to_image(picture), (x, y))
        label = " ".join(label.split())
        while pen.textlength(label, font) > width and label != "…":
            label = label.rstrip("…")[:-1] + "…"
        pen.text((x + width / 2, y + height + line / 2), label, "black", font, "mm")
    return np.asarray(canvas, np.float32)


LARGEST = 16_384  # pixels of a side of noise


def noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """The noise that a dream without a picture begins with, soft and grey: (h, w, 3)
    float32, for a size of (h, w).
    """
    check("seed", seed)
    if not all(isinstance(side, Integral) and 0 < side <= LARGEST for side in size):
        height, width = size
        allowed = f"both numbers must be whole numbers of pixels from 1 to {LARGEST}"
        raise DreamError(f"{{setting}} is {width}x{height}; {allowed}", "size")
    return np.random.RandomState(seed).normal(118, 8, (*size, 3)).clip(0, 255).astype(np.float32)
