"""Read films, any that ffmpeg reads, and what they carry."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DreamError, reason
from ..paths import why_unreadable
from ..pictures import from_json, is_picture, list_decoders, picture_settings
from ..settings import Record, check

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# What is read, by ffmpeg's names: no playlists, which can name other files.
READERS = (
    "3gp,apng,asf,av1,avi,dv,f4v,fits,flv,gif,gxf,h264,hevc,image2,ivf,m4v,matroska,mjpeg,"
    "mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,rm,vc1,vob,webm,webp_pipe,wtv,yuv4mpegpipe"
)
WIDEST = 16_384  # pixels; H.264 and VP9 allow no more
Frames = Iterator["av.VideoFrame"]


def read_film(
    path: str | Path, start: int = 0, stop: int | None = None, stride: int = 1,
    width: int | None = None, done: int = 0,
) -> Iterator[np.ndarray]:  # fmt: skip
    """The pictures of any film that ffmpeg reads, (H, W, 3) float32, RGB,
    0..255, at even distances in time.

    start, stop, stride: as of a range. width: in pixels. done: leave out so
    many. Raises DreamError for what is no film, and warns about a damaged
    one.
    """
    check_range(start, stop, stride, width)
    size = None
    for i, (frame, aspect) in enumerate(_select(path, start, stop, stride)):
        if i == 0 or i >= done:
            picture = _to_picture(frame, aspect, width, size)
            size = picture.shape[1], picture.shape[0]  # of all that follow
            if i >= done:
                yield picture


def follow_film(
    path: str | Path, start: int = 0, stride: int = 1, width: int | None = None, done: int = 0
) -> Iterator[np.ndarray]:
    """As `read_film`, beside a film that is read from `start`; its last one stays."""
    frames = _select(path, 0, None, 1)
    latest = next(frames)  # raises for a film without frames
    picture = _to_picture(*latest, width, None)
    size = picture.shape[1], picture.shape[0]
    for i, frame in enumerate(chain([latest], frames)):
        latest = frame
        if i >= start + stride * done and (i - start) % stride == 0:
            yield _to_picture(*frame, width, size)
    yield _to_picture(*latest, width, size)


def is_film(path: str | Path) -> bool:
    """Whether this is a film: a .gif of several frames, or what Pillow cannot open.

    A broken picture is none: `load_image` says what is wrong.
    """
    from PIL import Image, UnidentifiedImageError

    if not os.path.isfile(path):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=list_decoders()) as image:
                if image.format == "GIF":
                    image.seek(1)  # fails if there is only one frame
                return image.format == "GIF"
    except UnidentifiedImageError:
        return not is_picture(str(path))
    except Exception:  # a damaged file can raise nearly anything
        return False


def film_about(path: str | Path) -> tuple[Fraction, int, str]:
    """(frames a second, about how many frames or 0, the comment) of a film."""
    with open_film(path) as container:
        texts = {name.lower(): text for name, text in container.metadata.items()}
        return _fps(container), _count_announced(container), texts.get("comment", "")


def film_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a film's frames, as the file says before any is decoded."""
    with open_film(path) as container:
        return container.streams.video[0].height, container.streams.video[0].width


def read_settings(path: str | Path) -> Record:
    """What a picture, film or folder carries. Raises DreamError if it is unreadable."""
    path = Path(path)
    if path.suffix.lower() in (".mp4", ".webm"):
        return from_json(film_about(path)[2])
    if os.path.isdir(path):
        path = frame_path(path, 0)
        if not path.exists():
            raise DreamError(f"there are no frames of a film in the folder {path.parent}")
    return picture_settings(path)


def check_range(start: int, stop: int | None, stride: int, width: int | None = None) -> None:
    """Raise a DreamError if this part of a film makes no sense."""
    for name, value in {"start": start, "stop": stop, "stride": stride, "width": width}.items():
        check(name, value)
    if stop is not None and stop <= start:
        allowed = f"a frame's number above start, which is {start}"
        raise DreamError(f"{{setting}} is {stop}; it must be {allowed}", "stop")
    if width is not None and width > WIDEST:
        most = f"a film can be at most {WIDEST} pixels wide"
        raise DreamError(f"{{setting}} is {width}; {most}", "width")


def _select(
    path: str | Path, start: int, stop: int | None, stride: int
) -> Iterator[tuple["av.VideoFrame", Fraction]]:
    """(frame, a pixel's width divided by its height) of this range of a film."""
    errors: list[str] = []
    n = 0
    with open_film(path) as container:
        announced = _count_announced(container)
        stream = container.streams.video[0]
        aspect = _fraction(stream.sample_aspect_ratio or Fraction(1))
        if not 1 / 16 <= aspect <= 16:  # nobody means that
            aspect = Fraction(1)
        for frame in _space_evenly(_decode(container, errors), container):
            n += 1
            if n > start and (n - 1 - start) % stride == 0:
                yield frame, aspect
            if n == stop:
                return
    why = f" ({errors[-1]})" if errors else ""
    if n == 0:
        raise DreamError(f"cannot read the film {path}: not one frame of it can be decoded{why}")
    if errors or n < announced - max(1, announced // 50):
        of = f" of about {announced}" if announced else ""
        shown = f"{n}{of} frames can be shown{why}"
        warnings.warn(f"{path} is damaged or breaks off: {shown}", stacklevel=3)
    if n <= start:
        has = f"{path} has {n} frames, so it must be at most {n - 1}"
        raise DreamError(f"{{setting}} is {start}; {has}", "start")


def _decode(container: "InputContainer", errors: list[str]) -> Frames:
    """All frames that can be decoded; a packet that cannot adds to the errors."""
    from av.error import FFmpegError

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:  # nothing can be read after it
            errors.append(reason(error))
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except FFmpegError as error:  # the packets after it may be whole
            errors.append(reason(error))
            continue
        yield from frames


def _space_evenly(frames: Frames, container: "InputContainer") -> Frames:
    """One frame for each tick of the film's clock; if none is new, the one before."""
    fps, first = _fps(container), begin_of(container)
    tick, shown = 0, None
    for frame in frames:
        at = tick if frame.time is None else round((frame.time - first) * fps)
        if not tick - 1 <= at <= tick + 10 * fps:
            # the clock was set again, for example because films were joined
            first, at = (frame.time or 0) - tick / fps, tick
        while tick <= at:
            yield frame if tick == at or shown is None else shown
            tick += 1
        shown = frame


@contextmanager
def open_film(path: str | Path) -> Iterator["InputContainer"]:
    """A film, open. Raises DreamError if it cannot be read, or holds no pictures."""
    import av
    from av.error import FFmpegError

    if fault := why_unreadable(path):
        raise DreamError(f"cannot read the film {path}: {fault}")
    try:
        # Without `file:`, a colon in the name would mean a protocol.
        container = av.open(f"file:{path}", options={"format_whitelist": READERS})
    except (FFmpegError, OSError, ValueError) as error:
        raise DreamError(f"cannot read the film {path}: {reason(error)}") from None
    with container:
        if not container.streams.video:
            raise DreamError(f"cannot read the film {path}: there are no pictures in it")
        yield container


def _fraction(number: Any) -> Fraction:
    """A Fraction of PyAV's numbers, which since version 19 have their own class."""
    return Fraction(number.numerator, number.denominator)


def _fps(container: "InputContainer") -> Fraction:
    stream = container.streams.video[0]
    fps = _fraction(stream.average_rate or stream.guessed_rate or Fraction(25))
    return fps if fps <= 240 else Fraction(30)  # some screen recorders claim 1000


def _count_announced(container: "InputContainer") -> int:
    """How many frames the file says it has; 0 if it does not say."""
    stream, fps = container.streams.video[0], _fps(container)
    seconds = 0
    in_matroska = stream.metadata.get("DURATION", "")
    if clock := re.match(r"(\d+):(\d+):([\d.]+)", in_matroska):
        hours, minutes, rest = map(float, clock.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    if stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    return max(round(seconds * fps), stream.frames if fps == stream.average_rate else 0)


def begin_of(container: "InputContainer") -> Fraction | int:
    """When the first picture is due, in seconds."""
    stream = container.streams.video[0]
    return (stream.start_time or 0) * (stream.time_base or 0)


def _to_picture(
    frame: "av.VideoFrame", aspect: Fraction, width: int | None, size: tuple[int, int] | None
) -> np.ndarray:
    """A frame, upright, (H, W, 3) float32; without a size (w, h), of this width."""
    from PIL import Image

    fine = Image.Resampling.LANCZOS
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if aspect != 1:
        image = image.resize((max(1, round(image.width * aspect)), image.height), fine)
    image = Image.fromarray(np.rot90(np.asarray(image), frame.rotation // 90))
    if size is None:
        wide = width or image.width
        size = wide, max(1, round(image.height * wide / image.width))
        if width and size[1] > WIDEST:
            high = f"that makes {size[1]} pixels of height, above {WIDEST}"
            raise DreamError(f"{{setting}} is {width}; {high}", "width")
    if image.size != size:
        image = image.resize(size, fine)
    return np.asarray(image, np.float32)


def frame_path(folder: Path, i: int) -> Path:
    """The path of frame i of a film in a folder."""
    return folder / f"{i:06d}.png"


def is_folder(path: str | Path) -> bool:
    """Whether a film of this name is a folder of frames."""
    path = Path(path)
    return path.suffix in ("", ".frames") or os.path.isdir(path)
