"""Write films: .mp4, .webm, .gif, or a folder of frames."""

import math
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DreamError
from ..given import check_image
from ..paths import check_place, whole
from ..pictures import check_output, save_image, to_image, to_json
from ..settings import Record, check
from ..stopping import Interrupted
from .files import frame_path, is_folder
from .sound import Sound, add_sound

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer
    from av.filter import Graph

# {suffix: (codec of the picture, codec of the sound, options)}. With these
# options the loss can hardly be seen. (There is no mbtree, because its
# AVX-512 code sometimes gives other bytes for pictures less than 200 pixels
# wide.)
CODECS = {
    ".mp4": ("libx264", "aac", {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", "libopus", {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "1"}),
    ".gif": ("gif", None, {}),
}
BT709 = 1  # ffmpeg's number for these colours
LIMITED = 1  # ffmpeg's number for brightness from 16 to 235


def save_film(
    path: str | Path, pictures: Iterable[np.ndarray], fps: float | Fraction = 25,
    settings: Record | None = None, sound: Sound | None = None,
) -> None:  # fmt: skip
    """Write pictures (H, W, 3) into an .mp4 (H.264), .webm (VP9) or .gif,
    whole or not at all, or into a folder of frames.

    settings: for `read_settings`. sound: (film, start, end) in seconds. A
    film of odd size gets one more row or column, with a warning. At Ctrl-C,
    the pictures so far are the film. Raises DreamError for what cannot be
    written, and Interrupted.
    """
    check_film(path, fps)
    path, settings = Path(path), settings or {}
    made = _Made(pictures)
    if is_folder(path):
        path.mkdir(exist_ok=True)
        for i, picture in enumerate(made):
            save_image(frame_path(path, i), picture, settings | {"frame": i})
    else:
        with whole(path) as part:
            encode_film(part, iter(made), fps, settings, sound)
    if made.is_stopped:
        raise Interrupted(f"; {path} has the {made.n} frames that were made")


class _Made:
    """Pictures that end early, but not at once, when Ctrl-C is pressed."""

    is_stopped = False
    n = 0

    def __init__(self, pictures: Iterable[np.ndarray]) -> None:
        self.pictures = pictures

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for picture in self.pictures:
                self.n += 1
                yield picture
        except KeyboardInterrupt:
            if not self.n:
                raise
            self.is_stopped = True


def check_film(path: str | Path, fps: float | Fraction = 25) -> None:
    """Raise a DreamError if a film could not be written: before hours of dreaming."""
    from av.codec.codec import Codec, UnknownCodecError

    path, fps = Path(path), float(fps) if isinstance(fps, Fraction) else fps
    check("fps", fps)
    if is_folder(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            cure = f"name a folder, or {', '.join(CODECS)}"
            raise DreamError(f"cannot write frames to {path}: it is a file; {cure}")
        if not os.path.isdir(path.parent):
            missing = f"there is no folder {path.parent}; make it first"
            raise DreamError(f"cannot write {path}: {missing}")
        check_place(path)
        return
    check_output(path, CODECS, ", or have no dot in it, for a folder of frames")
    check_place(path.with_name(f".deepdream-{path.stem}.frames"), path)  # the longest name
    codec = CODECS[path.suffix.lower()][0]
    if codec == "gif" and fps > 50:
        cure = "use fewer frames (of a film, every second one with --stride 2), or another format"
        most = "a .gif shows at most 50 frames a second"
        raise DreamError(f"{{setting}} is {fps:g}; {most}: {cure}", "fps")
    try:
        Codec(codec, "w")
    except UnknownCodecError:
        cure = "`pip install --force-reinstall --only-binary :all: av` brings it"
        lacks = f"this PyAV lacks the encoder {codec}; {cure}, or choose another format"
        raise DreamError(f"cannot write the film {path}: {lacks}") from None


def encode_film(
    path: Path, pictures: Iterator[np.ndarray], fps: float | Fraction, settings: Record,
    sound: Sound | None,
) -> None:  # fmt: skip
    """As `save_film` for a file, but straight to that path."""
    import av
    from av.error import FFmpegError

    codec, sound_codec, options = CODECS[path.suffix.lower()]
    note, fps = to_json(settings), Fraction(fps).limit_denominator(100000)
    first = next(pictures, None)
    if first is None:
        raise DreamError("a film needs at least one picture; there is none")
    try:
        # With bitexact, the same frames give the same bytes. With
        # faststart, a browser can play what it has so far.
        muxing = {"fflags": "+bitexact"}
        if codec == "libx264":
            muxing["movflags"] = "+faststart"
        with av.open(f"file:{path}", "w", options=muxing) as film:
            film.metadata["comment"] = note
            stream: Any = film.add_stream(codec, rate=fps, options=options)
            sounds = add_sound(film, sound_codec, sound) if sound and sound_codec else iter(())
            _mux(film, stream, _make_frames(stream, first, pictures, fps), sounds)
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise  # the disk is at fault; `whole` reports it
        size = f"{first.shape[1]}x{first.shape[0]}"
        fails = f"{codec} fails on frames of {size} pixels ({error.strerror})"
        raise DreamError(f"{fails}; try another size") from None
    if codec == "gif":
        _write_comment(path, note.encode())


def _mux(
    film: "OutputContainer", stream: "av.VideoStream",
    frames: Iterator["av.VideoFrame"], sounds: Iterator[tuple[float, "av.Packet"]],
) -> None:  # fmt: skip
    """Write frames and sound in the order of time, or ffmpeg would keep all of one."""
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


def _make_frames(
    stream: "av.VideoStream", first: np.ndarray, pictures: Iterator[np.ndarray], fps: Fraction
) -> Iterator["av.VideoFrame"]:
    """The pictures in BT.709's planes, or for a .gif in up to 256 colours each."""
    import av

    check_image(first)
    height, width = first.shape[:2]
    palette, down, right = None, height % 2, width % 2
    if stream.name == "gif":
        palette, down, right = _make_palette_filter(width, height, fps), 0, 0
    elif down or right:
        size = f"{width}x{height} -> {width + right}x{height + down}"
        need = "H.264 and VP9 need even sizes: the last row or column is repeated"
        warnings.warn(f"{need}, {size}", stacklevel=2)
    stream.height, stream.width = height + down, width + right
    stream.pix_fmt = "pal8" if palette else "yuv420p"
    if not palette:
        context = stream.codec_context
        context.color_range = LIMITED
        context.colorspace = context.color_primaries = context.color_trc = BT709
    for i, picture in enumerate(chain([first], pictures)):
        check_image(picture)
        if picture.shape != first.shape:
            sizes = f"{picture.shape}, and those before it {first.shape}"
            raise DreamError(f"frame {i} of the film is {sizes}")
        edges = (0, down), (0, right), (0, 0)
        padded = np.pad(np.asarray(to_image(picture)), edges, "edge")
        frame = av.VideoFrame.from_ndarray(padded, "rgb24")
        frame.pts, frame.time_base = i, 1 / fps
        if palette:
            palette.push(frame)
            yield palette.vpull()
        else:
            yield frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _make_palette_filter(width: int, height: int, fps: Fraction) -> "Graph":
    from av import VideoFormat
    from av.filter import Graph

    graph = Graph()
    rgb = VideoFormat("rgb24")
    source = graph.add_buffer(width=width, height=height, format=rgb, time_base=1 / fps)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _write_comment(path: Path, note: bytes) -> None:
    """Put a comment into a .gif, after its header; ffmpeg writes none."""
    parts = (note[i : i + 255] for i in range(0, len(note), 255))
    blocks = b"".join(bytes([len(part)]) + part for part in parts)
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
