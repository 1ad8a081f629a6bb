"""Films in and out: read any that ffmpeg reads, write .mp4, .webm, .gif or a folder of frames."""

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from .errors import DreamError, check_number, whole
from .net import check_image
from .show import check_output, save_image, to_image

# Codecs of picture and sound, and the options of the first: hardly to be told from the frames. (Without mbtree, whose
# AVX-512 code gives other bytes now and then for pictures less than 200 pixels wide.)
FORMATS = {
    ".mp4": ("libx264", "aac", {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", "libopus", {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "1"}),
    ".gif": ("gif", None, {}),
}


def read_film(path: str | Path, start: int = 0, stop: int | None = None, stride: int = 1, width: int | None = None,
              done: int = 0) -> Iterator[np.ndarray]:  # fmt: skip
    """The pictures of any film that ffmpeg reads, (H, W, 3) float32, RGB, 0..255, at even distances in time.

    start, stop, stride: as of a range, in frames. width: in pixels. done: leave out so many of them. Raises DreamError
    for what is no film; one that is damaged gives what can be decoded, and a warning that says how much that is.
    """
    check_range(start, stop, stride, width)
    size = None
    for i, (frame, aspect) in enumerate(_decoded(path, start, stop, stride)):
        if i == 0 or i >= done:
            picture = _picture(frame, aspect, width, size)
            size = picture.shape[1::-1]  # the film keeps what it began with
        if i >= done:
            yield picture


def film_about(path: str | Path) -> tuple[Fraction, int, str]:
    """(frames a second, about how many frames, 0 where it does not tell, the comment that travels in it) of a film."""
    with _opened(path) as container:
        comments = [text for name, text in container.metadata.items() if name.lower() == "comment"]
        return _fps(container), _announced(container), comments[0] if comments else ""


def check_range(start: int, stop: int | None, stride: int, width: int | None = None) -> None:
    """Raise a DreamError for a part of a film that makes no sense."""
    check_number("start", start, Integral, lambda n: n >= 0, "a frame's number, from 0")
    check_number("stride", stride, Integral, lambda n: n > 0, "a whole number above 0")
    if stop is not None:
        check_number("stop", stop, Integral, lambda n: n > start, f"a frame's number above start, which is {start}")
    if width is not None:
        check_number("width", width, Integral, lambda n: 1 <= n <= 16384, "a number of pixels, 1 to 16384")


def _decoded(path, start, stop, stride):
    """The frames of `read_film` as ffmpeg has them, and how much wider than high their pixels are."""
    import av

    tick, held, broken = 0, None, None
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        fps, announced, first = _fps(container), _announced(container), _begin(container)
        aspect = stream.sample_aspect_ratio or 1
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:  # what comes after it may be whole
                frames, broken = (), error
            for frame in frames:
                at = tick if frame.time is None else round((frame.time - first) * fps)
                if not tick - 1 <= at <= tick + 10 * fps:  # a clock that was set anew, as where films were joined
                    first, at = frame.time - tick / fps, tick
                while tick <= at and tick != stop:
                    if tick >= start and (tick - start) % stride == 0:
                        # Where time passes without a frame, the last one is still to be seen.
                        yield (frame if tick == at or held is None else held), aspect
                    tick += 1
                held = frame
                if tick == stop:
                    return
    why = f" ({broken.strerror})" if broken else ""
    if tick == 0:
        raise DreamError(f"cannot read the film {path}: not one frame of it can be decoded{why}")
    if broken or tick < announced - max(1, announced // 50):
        of = f" of about {announced}" if announced else ""
        warnings.warn(f"{path} is damaged or breaks off: {tick}{of} frames can be shown{why}", stacklevel=3)
    if tick <= start:
        raise DreamError(f"start is {start}; {path} has {tick} frames, so it must be at most {tick - 1}")


@contextmanager
def _opened(path):
    import av

    path = Path(path)
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise DreamError(f"cannot read the film {path}: {reason}")
    try:
        container = av.open(f"file:{path}")  # or a colon in the name would mean a protocol
    except (av.FFmpegError, OSError) as error:
        raise DreamError(f"cannot read the film {path}: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise DreamError(f"cannot read the film {path}: there are no pictures in it")
        yield container


def _fps(container):
    stream = container.streams.video[0]
    fps = stream.average_rate or stream.guessed_rate or Fraction(25)
    return fps if fps <= 240 else Fraction(30)  # some screen recorders claim 1000


def _announced(container):
    """How many frames the file says it has; 0 where it does not tell."""
    stream, fps = container.streams.video[0], _fps(container)
    clock = re.match(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # in Matroska
    seconds = sum(float(part) * unit for part, unit in zip(clock.groups(), (3600, 60, 1))) if clock else 0
    if stream.duration:
        seconds = stream.duration * stream.time_base
    return max(round(seconds * fps), stream.frames if fps == stream.average_rate else 0)


def _begin(container):
    """When the first picture is due, in seconds."""
    stream = container.streams.video[0]
    return (stream.start_time or 0) * stream.time_base


def _picture(frame, aspect, width, size):
    """A frame, upright, as (H, W, 3) float32: of this size, (width, height), else of this width, else as it is."""
    from PIL import Image

    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if aspect != 1:
        image = image.resize((max(1, round(image.width * aspect)), image.height), Image.Resampling.LANCZOS)
    image = Image.fromarray(np.rot90(image, frame.rotation // 90))
    if size is None:
        width = width or image.width
        size = width, max(1, round(image.height * width / image.width))
    return np.float32(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))


def save_film(path: str | Path, pictures: Iterable[np.ndarray], fps: float | Fraction = 25,
              settings: dict | None = None, sound: tuple | None = None) -> None:  # fmt: skip
    """Write pictures (H, W, 3) as they come: .mp4 (H.264), .webm (VP9), .gif, whole or not at all; a folder of frames.

    settings: travel in the film, see `read_settings`. sound: (film, start, end), the part of its sound that is to go
    with them, in seconds. An .mp4 or .webm of odd size gets one more row or column, and a warning says so.
    """
    check_film(path, fps)
    path = Path(path)
    if is_folder(path):
        path.mkdir(exist_ok=True)
        for i, picture in enumerate(pictures):
            save_image(frame_path(path, i), picture, (settings or {}) | {"frame": i})
        return
    with whole(path) as part:
        encode(part, iter(pictures), fps, settings or {}, sound)


def check_film(path: str | Path, fps: float | Fraction = 25) -> None:
    """Raise a DreamError where a film could not be written: better before hours of dreaming than after them."""
    import av

    path, fps = Path(path), float(fps) if isinstance(fps, Fraction) else fps
    check_number("fps", fps, Real, lambda x: 0 < x <= 240, "a number of frames a second, above 0, to 240")
    if is_folder(path):
        if path.is_file():
            raise DreamError(f"cannot write frames to {path}: it is a file; name a folder, or {', '.join(FORMATS)}")
        if not path.parent.is_dir():
            raise DreamError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        return
    check_output(path, FORMATS, ", or have no dot in it, for a folder of frames")
    codec = FORMATS[path.suffix.lower()][0]
    if codec == "gif" and fps > 50:
        raise DreamError(f"fps is {fps:g}; a .gif shows at most 50 frames a second: take fewer (of a film, --stride 2)")
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        cure = "`pip install --force-reinstall --only-binary :all: av` brings it, or take another ending"
        raise DreamError(f"cannot write the film {path}: this PyAV lacks the encoder {codec}; {cure}") from None


def is_folder(path: str | Path) -> bool:
    """Whether a film of this name is a folder of frames."""
    path = Path(path)
    return path.suffix in ("", ".frames") or path.is_dir()


def frame_path(folder: Path, i: int) -> Path:
    """Where frame i of a film lies in a folder."""
    return folder / f"{i:06d}.png"


def encode(path: Path, pictures: Iterator[np.ndarray], fps: float | Fraction, settings: dict,
           sound: tuple | None) -> None:  # fmt: skip
    """As `save_film`, in place."""
    import av

    codec, voice, options = FORMATS[path.suffix.lower()]
    note, fps = json.dumps(settings), Fraction(fps).limit_denominator(100000)
    first = next(pictures, None)
    if first is None:
        raise DreamError("a film needs at least one picture; there is none")
    try:
        # The same frames give the same bytes; and what a browser must know of an .mp4 comes first.
        muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if codec == "libx264" else {})
        with av.open(f"file:{path}", "w", options=muxing) as film:
            film.metadata["comment"] = note
            stream = film.add_stream(codec, rate=fps, options=options)
            heard = _sound(film, voice, *sound) if sound and voice else iter(())
            time, packet = next(heard, (math.inf, None))
            for frame in _frames(stream, first, pictures, fps):
                while time <= frame.time:  # in step, or the muxer would hold all of one till the other comes
                    film.mux(packet)
                    time, packet = next(heard, (math.inf, None))
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
            for _, late in chain([(time, packet)] if packet else (), heard):
                film.mux(late)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise  # the disk's fault, for `whole` to tell
        size = f"{first.shape[1]}x{first.shape[0]}"
        raise DreamError(f"{codec} fails on frames of {size} pixels ({error.strerror}); try another size") from None
    if codec == "gif":
        _comment(path, note.encode())


def _frames(stream, first, pictures, fps):
    """The pictures as the encoder takes them: for a .gif in 256 colours of each one's own, else in BT.709's planes."""
    import av

    check_image(first)
    height, width = first.shape[:2]
    gif = stream.name == "gif"
    odd = (0, 0) if gif else (height % 2, width % 2)
    if any(odd):
        size = f"{width}x{height} -> {width + odd[1]}x{height + odd[0]}"
        warnings.warn(f"H.264 and VP9 take even sizes only: the last row or column is repeated, {size}", stacklevel=2)
        height, width = height + odd[0], width + odd[1]
    stream.height, stream.width, stream.pix_fmt = height, width, "pal8" if gif else "yuv420p"
    context = stream.codec_context
    if gif:
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / fps)
        split, sink = graph.add("split"), graph.add("buffersink")
        palette, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
        links = (source, split), (split, palette, 0, 0), (split, use, 1, 0), (palette, use, 0, 1), (use, sink)
        for out, *link in links:
            out.link_to(*link)
        graph.configure()
    else:
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1  # limited, 709
    for i, picture in enumerate(chain([first], pictures)):
        check_image(picture)
        if picture.shape != first.shape:
            raise DreamError(f"frame {i} of the film is {picture.shape}, and those before it {first.shape}")
        shown = np.pad(to_image(picture), ((0, odd[0]), (0, odd[1]), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(shown, "rgb24")
        frame.pts, frame.time_base = i, 1 / fps
        if gif:
            graph.push(frame)
            yield graph.pull()
        else:
            yield frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _sound(film, codec, source, start, end):
    """A film's sound from `start` to `end`, in seconds, encoded: (time, packet) each. What fails ends it."""
    import av

    def packets():
        with _opened(source) as container:
            origin, until = _begin(container) + start, _begin(container) + end
            kind, resampler, due = None, None, 0  # due: the next sample's number
            for frame in container.decode(audio=0):
                if frame.time is None or not origin <= frame.time < until:
                    continue
                if kind != (frame.format.name, frame.layout.name, frame.rate):
                    kind = frame.format.name, frame.layout.name, frame.rate
                    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
                at = round((frame.time - origin) * stream.rate)
                if at < due - stream.rate // 10:  # a step back, as where films were joined
                    continue
                for heard in resampler.resample(frame):
                    heard.pts, heard.time_base = max(at, due), Fraction(1, stream.rate)
                    due = heard.pts + heard.samples
                    yield from stream.encode(heard)
            yield from stream.encode()

    def timed():
        try:
            for packet in packets():
                yield float(packet.pts * packet.time_base), packet
        except (av.FFmpegError, ValueError) as error:
            warnings.warn(f"the sound of {source} ends early: {error}", stacklevel=2)

    with _opened(source) as container:
        if not container.streams.audio:
            return iter(())
        mono = container.streams.audio[0].channels == 1
    stream = film.add_stream(codec, rate=48000, layout="mono" if mono else "stereo")
    stream.bit_rate = 96000 if mono else 192000
    return timed()


def _comment(path, note):
    """Put a comment into a GIF, after its header, where programs look for it; ffmpeg leaves it out."""
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
