"""Pictures in and out: load, save with settings, show in a notebook, watch a dream grow."""

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from .dream import Step
from .errors import DreamError, whole

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
MOST_PIXELS = 89_478_485  # where Pillow suspects a decompression bomb
HERE = Path(__file__).parent
IMAGES = HERE / "images" if (HERE / "images").is_dir() else HERE.parent / "images"  # in a wheel, or in the repository
SAMPLES = {name: IMAGES / name for name in ("mountains.jpg", "forest.jpg", "flower.jpg")}


def or_sample(path: str) -> str:
    """The path itself, or where nothing is there, that of the package's photograph of this name."""
    return str(SAMPLES[path]) if path in SAMPLES and not os.path.exists(path) else path


def load_image(path: str | Path, width: int | None = None) -> np.ndarray:
    """Any picture that Pillow reads -> (H, W, 3) float32, RGB, 0..255; resized to `width` pixels where that is given.

    Transparency is laid on white, 16 bits become 8, and a camera's rotation is applied.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
            image.load()
        image = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DreamError(f"cannot read the picture {path}: it has more than {MOST_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise DreamError(f"cannot read the picture {path}: {reason}") from None
    if image.mode.startswith(("I", "F")):  # Pillow would cut these off at 255
        values = np.asarray(image, np.float32)
        if not np.isfinite(values).all():
            raise DreamError(f"cannot read the picture {path}: some of its values are not numbers")
        if image.mode.startswith("I;16") or values.max() > 255:
            values = values / 257  # 16 bits
        elif image.mode == "F" and values.max() <= 1:
            values = values * 255
        image = Image.fromarray(np.uint8(np.clip(values, 0, 255)))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if width is not None:
        height = max(1, round(image.height * width / image.width))
        if width < 1 or width * height > MOST_PIXELS:
            raise DreamError(f"width is {width}; it must be 1 or more, and the picture at most {MOST_PIXELS:,} pixels")
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.float32(image)


def to_image(a: np.ndarray):
    """(H, W, 3) RGB, 0..255, clipped where beyond -> PIL.Image."""
    from PIL import Image

    return Image.fromarray(np.uint8(np.clip(a, 0, 255)))


def save_image(path: str | Path, image: np.ndarray, settings: dict | None = None) -> None:
    """Write an image (H, W, 3) as .jpg or .png, whole or not at all; `settings` travel in it, see `read_settings`."""
    path = Path(path)
    check_output(path)
    note, options = written(settings or {}), {}
    if FORMATS[path.suffix.lower()] == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("deepdream", note)
    else:
        options |= {"quality": 95, "subsampling": 0, "comment": note.encode()}
    with whole(path) as part:
        to_image(image).save(part, FORMATS[path.suffix.lower()], **options)


def written(settings: dict) -> str:
    """Settings, or a report, as they are written to files: JSON, in one line."""
    return json.dumps(settings, default=lambda value: value.item())


def check_output(path: str | Path, formats: Collection[str] = FORMATS, or_else: str = "") -> None:
    """Raise a DreamError where `save_image` could not write: better before a dream than after it."""
    path = Path(path)
    if path.suffix.lower() not in formats:
        raise DreamError(f"cannot write {path}: its name must end in {', '.join(formats)}{or_else}")
    try:
        if path.is_dir():
            raise DreamError(f"cannot write {path}: it is a folder")
        if not path.parent.is_dir():
            raise DreamError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DreamError(f"cannot write {path}: {error.strerror or error}") from None


def read_settings(path: str | Path) -> dict:
    """The settings that a picture or film carries, or a folder of frames; empty where there are none."""
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() in (".mp4", ".webm"):
        from .film import film_about

        return _settings(film_about(path)[2])
    if path.is_dir():
        path = path / "000000.png"
        if not path.exists():
            raise DreamError(f"there are no frames of a film in the folder {path.parent}")
    try:
        with Image.open(path) as image:
            image.load()
            return _settings(image.info.get("deepdream") or image.info.get("comment") or "{}")
    except (OSError, SyntaxError) as error:
        raise DreamError(f"cannot read the picture {path}: {error}") from None


def _settings(note):
    try:
        settings = json.loads(note)
        return settings if isinstance(settings, dict) else {}
    except (ValueError, RecursionError):
        return {}  # somebody else's comment


def sheet(pictures: list[np.ndarray], labels: list[str], columns: int | None = None) -> np.ndarray:
    """Pictures (H, W, 3) side by side on white, each with its label below it: one picture more. Nearly square, or with
    as many columns as are asked for."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    gap, line = max(2, width // 40), max(14, width // 12)
    columns = columns or math.ceil(len(pictures) ** 0.5)
    rows = math.ceil(len(pictures) / columns)
    canvas = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + line + gap) + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(line * 0.7)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + line + gap)
        canvas.paste(to_image(picture), (x, y))
        label = " ".join(label.split())
        while pen.textlength(label, font) > width and label != "…":
            label = label.rstrip("…")[:-1] + "…"
        pen.text((x + width / 2, y + height + line / 2), label, "black", font, "mm")
    return np.float32(canvas)


def showarray(a: np.ndarray, fmt: str = "jpeg") -> None:
    """Show an image (H, W, 3) in the notebook."""
    from IPython.display import Image, display

    display(Image(encode(a, fmt)))


def live_view(every: float = 0.2) -> Callable[[Step], None]:
    """An `on_step` for notebooks: a progress bar with the time left, and the picture, changing in place.

    It is drawn at most once in `every` seconds; at the end the finished picture replaces both. One for each dream.
    """
    import ipywidgets
    from IPython.display import Image, Pretty, clear_output, display
    from tqdm.notebook import tqdm

    progress = progress_bar(tqdm, disable=False)
    picture = ipywidgets.Image(format="jpeg")
    display(picture)
    started, drawn = time.monotonic(), 0.0

    def on_step(step: Step) -> None:
        nonlocal drawn
        progress(step)
        now = time.monotonic()
        if step.done == 1 or step.stopped:
            # Widgets are gone when the notebook is read later; a plain picture stays.
            progress.bar.close()
            picture.close()
            clear_output(wait=True)
            display(Pretty(f"{step.end}, {now - started:.1f} s"), Image(encode(step.image(), "jpeg")))
        elif now - drawn >= every:
            picture.value = encode(step.image(), "jpeg")
            drawn = now

    return on_step


def progress_bar(tqdm: type | None = None, disable: bool | None = None) -> Callable[[Step], None]:
    """An `on_step` that draws a bar with the time left: on a terminal, or where the given `tqdm` draws.

    It carries `bar`, the tqdm, `done`, how far it got, and `stopped`, whether Ctrl-C ended it."""
    if tqdm is None:
        from tqdm import tqdm

    def on_step(step: Step) -> None:
        on_step.done, on_step.stopped = step.done, step.stopped
        bar.set_description_str(f"octave {step.octave}, step {step.iteration}, {step.end} ", refresh=False)
        bar.update(step.done - bar.n)

    look = "{desc}{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"
    bar = on_step.bar = tqdm(total=1.0, bar_format=look, ncols=100, leave=False, disable=disable)
    on_step.done, on_step.stopped = 0.0, False
    return on_step


@contextmanager
def film_bar(frames: int | None) -> Iterator[tuple[Callable[[Step], None], Callable[[int], None]]]:
    """(on_step, on_frame) of one bar for a whole film, on a terminal: frames a second, and the time left."""
    from tqdm import tqdm

    done = None
    look = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
    with tqdm(total=frames, bar_format=look, unit=" frames", ncols=120, leave=False, disable=None) as bar:

        def on_frame(frame: int) -> None:
            nonlocal done
            if done is None:
                bar.initial = bar.n = bar.last_print_n = frame  # those of an earlier run took no time now
            done = frame
            bar.update(frame - bar.n)
            if frames and frame >= frames:
                bar.set_description_str("encoding ")

        def on_step(step: Step) -> None:
            label = step.end if len(step.end) <= 40 else f"{step.end[:39]}…"
            bar.set_description_str(f"{label} ", refresh=False)
            bar.update(done + step.done - bar.n)

        yield on_step, on_frame


def encode(a: np.ndarray, fmt: str) -> bytes:
    """An image (H, W, 3) as the bytes of a 'jpeg' or 'png' file."""
    data = BytesIO()
    to_image(a).save(data, fmt)
    return data.getvalue()
