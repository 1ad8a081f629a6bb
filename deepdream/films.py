"""Films in and out: read any that ffmpeg reads, write .mp4, .webm, .gif or a folder of frames."""

import math
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DreamError, reason, whole, why_unreadable
from .net import check_image
from .pictures import (
    check_output,
    check_place,
    from_json,
    is_picture,
    kinds,
    picture_settings,
    save_image,
    to_image,
    to_json,
)
from .recipe import check

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# {suffix: (codec of the picture, codec of the sound, options)}. With these options the loss can hardly be seen. (There
# is no mbtree, because its AVX-512 code sometimes gives other bytes for pictures less than 200 pixels wide.)
FORMATS = {
    ".mp4": ("libx264", "aac", {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", "libopus", {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "1"}),
    ".gif": ("gif", None, {}),
}
# What is read, by ffmpeg's names: no playlists, for these can name other files of this machine.
FILMS = (
    "3gp,apng,asf,av1,avi,dv,f4v,fits,flv,gif,gxf,h264,hevc,image2,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,"
    "ogg,rm,vc1,vob,webm,webp_pipe,wtv,yuv4mpegpipe"
)
WIDEST = 16_384  # pixels; H.264 and VP9 allow no more
HERTZ = 48_000  # of the sound that is written
BT709 = 1  # ffmpeg's number for these colours
LIMITED = 1  # ffmpeg's number for brightness from 16 to 235

Sound = tuple[str | Path, float | Fraction, float | Fraction]  # a film, and the start and end of a part, in seconds


# Reading


def read_film(path: str | Path, start: int = 0, stop: int | None = None, stride: int = 1, width: int | None = None,
              done: int = 0) -> Iterator[np.ndarray]:  # fmt: skip
    """The pictures of any film that ffmpeg reads, (H, W, 3) float32, RGB, 0..255, at even distances in time.

    start, stop, stride: as of a range, in frames. width: in pixels. done: leave out the first so many pictures. Raises
    DreamError if the file is no film; a damaged film gives what can be decoded, and a warning that says how much it is.
    """
    check_range(start, stop, stride, width)
    size = None
    for i, (frame, aspect) in enumerate(_select(path, start, stop, stride)):
        if i == 0 or i >= done:
            picture = _to_picture(frame, aspect, width, size)
            size = picture.shape[1], picture.shape[0]  # all pictures get the size of the first
            if i >= done:
                yield picture


def follow_film(path: str | Path, start: int = 0, stride: int = 1, width: int | None = None,
                done: int = 0) -> Iterator[np.ndarray]:  # fmt: skip
    """The pictures of a film that goes along with another, which is read from `start` in the same strides.

    As `read_film`, but the very last picture of the film comes once more at the end, even if `start` is after it: it is
    the one that stays if the other film is longer.
    """
    wanted, size = start + stride * done, None
    for i, (frame, aspect) in enumerate(_select(path, 0, None, 1)):
        if i == 0:
            picture = _to_picture(frame, aspect, width, None)
            size = picture.shape[1], picture.shape[0]
        if i == wanted:
            yield _to_picture(frame, aspect, width, size)
            wanted += stride
    yield _to_picture(frame, aspect, width, size)


def is_film(path: str | Path) -> bool:
    """Whether a file is a film and not a still picture: a .gif of several frames, or what Pillow cannot open.

    What is missing, or is broken and has the name of a picture, is none: `load_image` says what is wrong with it.
    """
    from PIL import Image, UnidentifiedImageError

    if not os.path.isfile(path):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=kinds()) as image:
                if image.format == "GIF":
                    image.seek(1)  # fails if there is only one frame
                return image.format == "GIF"
    except UnidentifiedImageError:
        return not is_picture(str(path))
    except Exception:  # a damaged file can raise nearly anything
        return False


def film_about(path: str | Path) -> tuple[Fraction, int, str]:
    """(frames a second, about how many frames, 0 if the file does not say, the comment in the file) of a film."""
    with _open(path) as container:
        comments = [text for name, text in container.metadata.items() if name.lower() == "comment"]
        return _fps(container), _count_announced(container), comments[0] if comments else ""


def film_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a film's frames, as the file says before any is decoded."""
    with _open(path) as container:
        return container.streams.video[0].height, container.streams.video[0].width


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings that a picture, a film or a folder of frames carries; empty if there are none."""
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
        raise DreamError(f"{{setting}} is {stop}; it must be a frame's number above start, which is {start}", "stop")
    if width is not None and width > WIDEST:
        raise DreamError(f"{{setting}} is {width}; a film can be at most {WIDEST} pixels wide", "width")


def _select(path: str | Path, start: int, stop: int | None, stride: int) -> Iterator[tuple["VideoFrame", Fraction]]:
    """The frames of this range of a film, and the ratio of a pixel's width to its height."""
    errors: list[str] = []
    n = 0
    with _open(path) as container:
        announced = _count_announced(container)
        aspect = _fraction(container.streams.video[0].sample_aspect_ratio or Fraction(1))
        aspect = aspect if 1 / 16 <= aspect <= 16 else Fraction(1)  # nobody means that
        for n, frame in enumerate(_space_evenly(_decode(container, errors), container), 1):
            if n > start and (n - 1 - start) % stride == 0:
                yield frame, aspect
            if n == stop:
                return
    why = f" ({errors[-1]})" if errors else ""
    if n == 0:
        raise DreamError(f"cannot read the film {path}: not one frame of it can be decoded{why}")
    if errors or n < announced - max(1, announced // 50):
        of = f" of about {announced}" if announced else ""
        warnings.warn(f"{path} is damaged or breaks off: {n}{of} frames can be shown{why}", stacklevel=3)
    if n <= start:
        raise DreamError(f"{{setting}} is {start}; {path} has {n} frames, so it must be at most {n - 1}", "start")


def _decode(container: "InputContainer", errors: list[str]) -> Iterator["VideoFrame"]:
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


def _space_evenly(frames: Iterable["VideoFrame"], container: "InputContainer") -> Iterator["VideoFrame"]:
    """One frame for each tick of the film's clock: if time passes without a frame, the one before is still seen."""
    fps, first = _fps(container), _begin(container)
    tick, shown = 0, None
    for frame in frames:
        at = tick if frame.time is None else round((frame.time - first) * fps)
        if not tick - 1 <= at <= tick + 10 * fps:  # the clock was set again, for example because films were joined
            first, at = (frame.time or 0) - tick / fps, tick
        while tick <= at:
            yield frame if tick == at or shown is None else shown
            tick += 1
        shown = frame


@contextmanager
def _open(path: str | Path) -> Iterator["InputContainer"]:
    import av
    from av.error import FFmpegError

    fault = why_unreadable(path)
    if fault:
        raise DreamError(f"cannot read the film {path}: {fault}")
    try:
        # Without `file:`, a colon in the name would mean a protocol.
        container = av.open(f"file:{path}", options={"format_whitelist": FILMS})
    except (FFmpegError, OSError, ValueError) as error:
        raise DreamError(f"cannot read the film {path}: {reason(error)}") from None
    with container:
        if not container.streams.video:
            raise DreamError(f"cannot read the film {path}: there are no pictures in it")
        yield container


def _fraction(number: Any) -> Fraction:
    """A Fraction of what PyAV gives: a Fraction, or since version 19 a class of its own."""
    return Fraction(number.numerator, number.denominator)


def _fps(container: "InputContainer") -> Fraction:
    stream = container.streams.video[0]
    fps = _fraction(stream.average_rate or stream.guessed_rate or Fraction(25))
    return fps if fps <= 240 else Fraction(30)  # some screen recorders claim 1000


def _count_announced(container: "InputContainer") -> int:
    """How many frames the file says it has; 0 if it does not say."""
    stream, fps = container.streams.video[0], _fps(container)
    seconds = 0
    clock = re.match(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # in Matroska
    if clock:
        hours, minutes, rest = map(float, clock.groups())
        seconds = hours * 3600 + minutes * 60 + rest
    if stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    return max(round(seconds * fps), stream.frames if fps == stream.average_rate else 0)


def _begin(container: "InputContainer") -> Fraction | int:
    """When the first picture is due, in seconds."""
    stream = container.streams.video[0]
    return stream.start_time * stream.time_base if stream.start_time and stream.time_base else 0


def _to_picture(frame: "VideoFrame", aspect: Fraction, width: int | None, size: tuple[int, int] | None) -> np.ndarray:
    """A frame, upright, as (H, W, 3) float32.

    size: (width, height). Without it, the picture gets this width; without a width, it keeps its own.
    """
    from PIL import Image

    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if aspect != 1:
        image = image.resize((max(1, round(image.width * aspect)), image.height), Image.Resampling.LANCZOS)
    image = Image.fromarray(np.rot90(np.asarray(image), frame.rotation // 90))
    if size is None:
        size = width or image.width, max(1, round(image.height * (width or image.width) / image.width))
        if width and size[1] > WIDEST:
            raise DreamError(f"{{setting}} is {width}; that makes {size[1]} pixels of height, above {WIDEST}", "width")
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image, np.float32)


# Writing


def save_film(path: str | Path, pictures: Iterable[np.ndarray], fps: float | Fraction = 25,
              settings: dict[str, Any] | None = None, sound: Sound | None = None) -> None:  # fmt: skip
    """Write pictures (H, W, 3) as they come: an .mp4 (H.264), .webm (VP9) or .gif, or a folder of frames.

    A file is written whole or not at all. settings: are written into the film, see `read_settings`. sound: (film,
    start, end) in seconds: this part of its sound is added. An .mp4 or .webm of odd size gets one more row or column,
    and a warning says so.
    """
    check_film(path, fps)
    path = Path(path)
    if is_folder(path):
        path.mkdir(exist_ok=True)
        for i, picture in enumerate(pictures):
            save_image(frame_path(path, i), picture, (settings or {}) | {"frame": i})
        return
    with whole(path) as part:
        encode_film(part, iter(pictures), fps, settings or {}, sound)


def check_film(path: str | Path, fps: float | Fraction = 25) -> None:
    """Raise a DreamError if a film could not be written: better before hours of dreaming than after them."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    path, fps = Path(path), float(fps) if isinstance(fps, Fraction) else fps
    check("fps", fps)
    if is_folder(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise DreamError(f"cannot write frames to {path}: it is a file; name a folder, or {', '.join(FORMATS)}")
        if not os.path.isdir(path.parent):
            raise DreamError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        check_place(path)
        return
    check_output(path, FORMATS, ", or have no dot in it, for a folder of frames")
    check_place(path.with_name(f".deepdream-{path.stem}.frames"), path)  # longer than what is made beside it
    codec = FORMATS[path.suffix.lower()][0]
    if codec == "gif" and fps > 50:
        cure = "use fewer frames (of a film, every second one with --stride 2), or another format"
        raise DreamError(f"{{setting}} is {fps:g}; a .gif shows at most 50 frames a second: {cure}", "fps")
    try:
        Codec(codec, "w")
    except UnknownCodecError:
        cure = "`pip install --force-reinstall --only-binary :all: av` brings it, or choose another format"
        raise DreamError(f"cannot write the film {path}: this PyAV lacks the encoder {codec}; {cure}") from None


def is_folder(path: str | Path) -> bool:
    """Whether a film of this name is a folder of frames."""
    path = Path(path)
    return path.suffix in ("", ".frames") or os.path.isdir(path)


def frame_path(folder: Path, i: int) -> Path:
    """The path of frame i of a film in a folder."""
    return folder / f"{i:06d}.png"


def encode_film(path: Path, pictures: Iterator[np.ndarray], fps: float | Fraction, settings: dict[str, Any],
                sound: Sound | None) -> None:  # fmt: skip
    """As `save_film` for a file, but straight to that path."""
    import av
    from av.error import FFmpegError

    codec, sound_codec, options = FORMATS[path.suffix.lower()]
    note, fps = to_json(settings), Fraction(fps).limit_denominator(100000)
    first = next(pictures, None)
    if first is None:
        raise DreamError("a film needs at least one picture; there is none")
    try:
        # With bitexact, the same frames give the same bytes. With faststart, a browser can play what it has so far.
        muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if codec == "libx264" else {})
        with av.open(f"file:{path}", "w", options=muxing) as film:
            film.metadata["comment"] = note
            stream: Any = film.add_stream(codec, rate=fps, options=options)
            sounds = _add_sound(film, sound_codec, *sound) if sound and sound_codec else iter(())
            _mux(film, stream, _make_frames(stream, first, pictures, fps), sounds)
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise  # the disk is at fault; `whole` reports it
        size = f"{first.shape[1]}x{first.shape[0]}"
        raise DreamError(f"{codec} fails on frames of {size} pixels ({error.strerror}); try another size") from None
    if codec == "gif":
        _write_comment(path, note.encode())


def _mux(film: "OutputContainer", stream: "VideoStream", frames: Iterator["VideoFrame"],
         sounds: Iterator[tuple[float, "Packet"]]) -> None:  # fmt: skip
    """Write frames and sound in the order of time, or else ffmpeg would keep all of one until the other comes."""
    time, packet = next(sounds, (math.inf, None))
    for frame in frames:
        while packet and time <= (frame.time or 0):
            film.mux(packet)
            time, packet = next(sounds, (math.inf, None))
        film.mux(stream.encode(frame))
    film.mux(stream.encode())
    while packet:
        film.mux(packet)
        time, packet = next(sounds, (math.inf, None))


def _make_frames(stream: "VideoStream", first: np.ndarray, pictures: Iterator[np.ndarray],
                 fps: Fraction) -> Iterator["VideoFrame"]:  # fmt: skip
    """The pictures as the encoder needs them: in BT.709's planes, or for a .gif in up to 256 colours of their own."""
    import av

    check_image(first)
    height, width = first.shape[:2]
    is_gif = stream.name == "gif"
    odd = (0, 0) if is_gif else (height % 2, width % 2)
    if any(odd):
        size = f"{width}x{height} -> {width + odd[1]}x{height + odd[0]}"
        warnings.warn(f"H.264 and VP9 need even sizes: the last row or column is repeated, {size}", stacklevel=2)
    stream.height, stream.width, stream.pix_fmt = height + odd[0], width + odd[1], "pal8" if is_gif else "yuv420p"
    if not is_gif:
        context = stream.codec_context
        context.color_range = LIMITED
        context.colorspace = context.color_primaries = context.color_trc = BT709
    palette = _make_palette_filter(width, height, fps) if is_gif else None
    for i, picture in enumerate(chain([first], pictures)):
        check_image(picture)
        if picture.shape != first.shape:
            raise DreamError(f"frame {i} of the film is {picture.shape}, and those before it {first.shape}")
        padded = np.pad(
            np.asarray(to_image(picture)), ((0, odd[0]), (0, odd[1]), (0, 0)), "edge"
        )  # (even h, even w, 3)
        frame = av.VideoFrame.from_ndarray(padded, "rgb24")
        frame.pts, frame.time_base = i, 1 / fps
        if palette:
            palette.push(frame)
            yield palette.vpull()
        else:
            yield frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _make_palette_filter(width: int, height: int, fps: Fraction) -> "Graph":
    """A filter that reduces each frame to the 256 colours that suit it best."""
    from av import VideoFormat
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=VideoFormat("rgb24"), time_base=1 / fps)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _add_sound(film: "OutputContainer", codec: str, source: str | Path, start: float | Fraction,
               end: float | Fraction) -> Iterator[tuple[float, "Packet"]]:  # fmt: skip
    """Add a stream to `film` for the sound of `source` from `start` to `end`: its packets, each with its time."""
    with _open(source) as container:
        if not container.streams.audio:
            return iter(())
        mono = container.streams.audio[0].channels == 1
    stream: Any = film.add_stream(codec, rate=HERTZ, layout="mono" if mono else "stereo")
    stream.bit_rate = 96_000 if mono else 192_000
    return _time_sound(stream, source, start, end)


def _time_sound(stream: "AudioStream", source: str | Path, start: float | Fraction,
                end: float | Fraction) -> Iterator[tuple[float, "Packet"]]:  # fmt: skip
    """(time in seconds, packet) for each packet; if something fails, the sound ends there, with a warning."""
    from av.error import FFmpegError

    try:
        for packet in _encode_sound(stream, source, start, end):
            yield float((packet.pts or 0) * packet.time_base), packet
    except (FFmpegError, ValueError) as error:
        warnings.warn(f"the sound of {source} ends early: {error}", stacklevel=2)


def _encode_sound(stream: "AudioStream", source: str | Path, start: float | Fraction,
                  end: float | Fraction) -> Iterator["Packet"]:  # fmt: skip
    with _open(source) as container:
        begin, until = _begin(container) + start, _begin(container) + end
        due = 0  # the number of the next sample
        kind, resampler = None, None
        for frame in container.decode(audio=0):
            if frame.time is None or not begin <= frame.time < until:
                continue
            if resampler is None or kind != _kind(frame):
                kind, resampler = _kind(frame), _make_resampler(stream)
            at = round((frame.time - begin) * HERTZ)
            if at < due - HERTZ // 10:  # the clock steps back, for example because films were joined
                continue
            for resampled in resampler.resample(frame):
                resampled.pts, resampled.time_base = max(at, due), Fraction(1, HERTZ)
                due = resampled.pts + resampled.samples
                yield from stream.encode(resampled)
        yield from stream.encode()


def _kind(frame: "AudioFrame") -> tuple[str, str, int]:
    """What a resampler is made for."""
    return frame.format.name, frame.layout.name, frame.rate


def _make_resampler(stream: "AudioStream") -> Any:
    import av

    return av.AudioResampler(stream.format, stream.layout, stream.rate)


def _write_comment(path: Path, note: bytes) -> None:
    """Put a comment into a .gif, after its header, where other programs expect it; ffmpeg writes none."""
    blocks = b"".join(bytes([len(block)]) + block for block in (note[i : i + 255] for i in range(0, len(note), 255)))
    copy = path.with_suffix(".copy")
    try:
        with open(path, "rb") as film, open(copy, "wb") as out:
            head = film.read(13)
            palette = 3 * 2 ** ((head[10] & 7) + 1) if head[10] & 128 else 0
            out.write(head + film.read(palette) + b"!\xfe" + blocks + b"\0")
            shutil.copyfileobj(film, out)
        os.replace(copy, path)
    finally:
        copy.unlink(missing_ok=True)
