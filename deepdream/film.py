"""Films in and out: read any, write .mp4, .webm, .gif or a folder of frames, and go on where a killed run stopped.

Frames are kept without loss, 000000.png and so on, beside a `state.npz` that the next one needs: in the folder asked
for, or for clip.mp4 in clip.frames/. The state is what counts: it is written first, and whole or not at all.
"""

import json
import math
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain, islice
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from .errors import DreamError, check_number, whole
from .movie import Dreamt, steady
from .show import check_output, load_image, save_image, to_image

# Codecs of picture and sound, and the options of the first: hardly to be told from the frames. (Without mbtree, whose
# AVX-512 code gives other bytes now and then for pictures less than 200 pixels wide.)
FORMATS = {
    ".mp4": ("libx264", "aac", {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", "libopus", {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "1"}),
    ".gif": ("gif", None, {}),
}
LENGTH = "frames", "stop", "fps"  # settings that no frame depends on: a film may be made longer, or faster
OURS = r"\d{6}\.png|state\.npz|\.deepdream-.*"  # the files in a folder of frames


def read_film(path: str | Path, start: int = 0, stop: int | None = None, stride: int = 1,
              width: int | None = None) -> Iterator[np.ndarray]:  # fmt: skip
    """The pictures of any film that ffmpeg reads, (H, W, 3) float32, RGB, 0..255, at even distances in time.

    start, stop, stride: as of a range, in frames. width: in pixels. Raises DreamError for what is no film; a film that
    breaks off gives what can be decoded, and a warning that says how much that is.
    """
    import av

    _check_range(start, stop, stride)
    tick, held, broken = 0, None, None
    with _opened(path) as container:
        fps, announced, first = _fps(container), _announced(container), _begin(container)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stretched = stream.sample_aspect_ratio or 1  # width of a pixel over its height, on tape and some discs
        try:
            for frame in container.decode(video=0):
                at = tick if frame.time is None else round((frame.time - first) * fps)
                while tick <= at and tick != stop:
                    if tick >= start and (tick - start) % stride == 0:
                        # Where time passes without a frame, the last one is still to be seen.
                        yield _picture(frame if tick == at or held is None else held, stretched, width)
                    tick += 1
                held = frame
                if tick == stop:
                    return
        except av.FFmpegError as error:
            broken = error
    why = f" ({broken.strerror})" if broken else ""
    if tick == 0:
        raise DreamError(f"cannot read the film {path}: not one frame of it can be decoded{why}")
    if broken or tick < announced - max(1, announced // 50):
        of = f" of about {announced}" if announced else ""
        warnings.warn(f"{path} breaks off: {tick}{of} frames can be decoded{why}", stacklevel=2)
    if tick <= start:
        raise DreamError(f"start is {start}; {path} has {tick} frames, so it must be at most {tick - 1}")


def film_about(path: str | Path) -> tuple[Fraction, int, str]:
    """(frames a second, about how many frames, 0 where it does not tell, the comment that travels in it) of a film."""
    with _opened(path) as container:
        comments = [text for name, text in container.metadata.items() if name.lower() == "comment"]
        return _fps(container), _announced(container), comments[0] if comments else ""


def save_film(path: str | Path, pictures: Iterable[np.ndarray], fps: float | Fraction = 25,
              settings: dict | None = None, sound: tuple | None = None) -> None:  # fmt: skip
    """Encode pictures (H, W, 3) as they come: .mp4 (H.264), .webm (VP9) or .gif, whole or not at all.

    settings: travel in the film, see `read_settings`. sound: (film, start, end), the part of its sound that is to go
    with them, in seconds. An .mp4 or .webm of odd size gets one more row or column, and a warning says so.
    """
    check_film(path, fps)
    path = Path(path)
    with whole(path) as part:
        _encode(part, iter(pictures), Fraction(fps).limit_denominator(100000), json.dumps(settings or {}), sound)


def make_film(out: str | Path, make: Callable[..., Iterator[tuple]], settings: dict, frames: int | None = None,
              fps: float | Fraction = 25, sound: tuple | None = None, restart: bool = False,
              on_frame: Callable[[int], object] | None = None) -> None:  # fmt: skip
    """Make a film that may take hours, frame by frame, and go on where an earlier run was killed.

    out: .mp4, .webm, .gif, or a folder, which has no suffix. make: called with the number of frames that are done and
    what it yielded last, it goes on to yield tuples: a picture (H, W, 3), and what else the next frame needs. settings:
    travel in each frame and in the film; what was begun with others is not gone on with. frames: take so many; None
    takes all that are made. restart: throw away what is done. on_frame: called with the number of frames done.
    """
    check_film(out, fps)
    out = Path(out)
    folder = out.with_suffix(".frames") if out.suffix else out
    with _alone(folder):
        done, last = (0, ()) if restart else _resumed(folder, settings)
        try:
            if on_frame:
                on_frame(done)
            for state in make(done, *last):
                if restart:
                    _clear(folder)
                    restart = False
                with whole(folder / "state.npz") as part:
                    np.savez(part, *state, done=done + 1, settings=json.dumps(settings))
                done += 1
                save_image(_frame(folder, done - 1), state[0], settings | {"frame": done - 1})
                if on_frame:
                    on_frame(done)
            if out != folder:
                pictures = (load_image(_frame(folder, i)) for i in range(min(done, frames or done)))
                with whole(out, folder) as part:
                    _encode(part, pictures, Fraction(fps).limit_denominator(100000), json.dumps(settings), sound)
        except (DreamError, KeyboardInterrupt) as error:
            kept = f"; frames finished: {done}, in {folder}; the same command goes on from there" if done else ""
            raise type(error)(f"{error}{kept}") from None


def dream_video(net, source: str | Path, out: str | Path, start: int = 0, stop: int | None = None, stride: int = 1,
                width: int | None = None, blend: float = 0.9, seed: int = 0, settings: dict | None = None,
                restart: bool = False, on_frame: Callable[[int], object] | None = None,
                **dream_params) -> None:  # fmt: skip
    """Dream over a film, without flicker, and with its sound: `read_film`, `steady`, `make_film` in one.

    Of every `stride` frames one is dreamt and shown as long as all of them. The rest is as for those three.
    """
    check_film(out)
    _check_range(start, stop, stride)
    fps, _, _ = film_about(source)
    if settings is None:
        plain = {k: v if isinstance(v, (int, float, str, type(None))) else str(v) for k, v in dream_params.items()}
        settings = {"source": Path(source).name, "start": start, "stop": stop, "stride": stride, "width": width}
        settings |= {"model": net.model.name, **net.engine, "blend": blend, "seed": seed, **plain}

    def make(done, *last):
        sources = islice(read_film(source, start, stop, stride, width), done, None)
        return steady(net, sources, blend, seed, Dreamt(*last) if last else None, **dream_params)

    frames = None if stop is None else len(range(start, stop, stride))
    sound = (source, start / fps, math.inf if stop is None else stop / fps)
    make_film(out, make, settings, frames, fps / stride, sound, restart, on_frame)


def check_film(path: str | Path, fps: float | Fraction = 25) -> None:
    """Raise a DreamError where a film could not be written: better before hours of dreaming than after them."""
    import av

    path = Path(path)
    check_number("fps", fps, Real, lambda x: 0.1 <= x <= 240, "a number of frames a second, from 0.1 to 240")
    if not path.suffix:
        if path.exists() and not path.is_dir():
            raise DreamError(
                f"cannot write frames to {path}: it is a file; name a folder, or a film, {', '.join(FORMATS)}"
            )
        return
    check_output(path, (*FORMATS, "nothing, for a folder of frames"))
    codec = FORMATS[path.suffix.lower()][0]
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        cure = "`pip install --force-reinstall --only-binary :all: av` brings it, or take another ending"
        raise DreamError(f"cannot write the film {path}: this PyAV lacks the encoder {codec}; {cure}") from None


def _check_range(start, stop, stride):
    check_number("start", start, Integral, lambda n: n >= 0, "a frame's number, from 0")
    check_number("stride", stride, Integral, lambda n: n > 0, "a whole number above 0")
    if stop is not None:
        check_number("stop", stop, Integral, lambda n: n > start, f"a frame's number above start, which is {start}")


@contextmanager
def _opened(path):
    import av

    if not Path(path).is_file():
        raise DreamError(f"cannot read the film {path}: there is no such file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DreamError(f"cannot read the film {path}: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise DreamError(f"cannot read the film {path}: there are no pictures in it")
        yield container


def _fps(container):
    stream = container.streams.video[0]
    fps = stream.average_rate or stream.guessed_rate or Fraction(25)
    return fps if fps <= 120 else Fraction(30)  # some screen recorders claim 1000


def _announced(container):
    """How many frames the file says it has, or its length does; 0 where neither is told."""
    stream = container.streams.video[0]
    if stream.duration:
        return stream.frames or round(stream.duration * stream.time_base * _fps(container))
    return stream.frames or round((container.duration or 0) / 1e6 * _fps(container))


def _begin(container):
    """When the first picture is due, in seconds."""
    stream = container.streams.video[0]
    return (stream.start_time or 0) * stream.time_base


def _picture(frame, stretched, width):
    from PIL import Image

    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if stretched != 1:
        image = image.resize((max(1, round(image.width * stretched)), image.height), Image.Resampling.LANCZOS)
    image = Image.fromarray(np.rot90(image, frame.rotation // 90))
    if width is not None:
        check_number("width", width, Integral, lambda n: 1 <= n <= 16384, "a number of pixels, 1 to 16384")
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    return np.float32(image)


def _encode(path, pictures, fps, note, sound):
    import av

    codec, voice, options = FORMATS[path.suffix.lower()]
    first = next(pictures, None)
    if first is None:
        raise DreamError("a film needs at least one picture; there is none")
    try:
        # The same frames give the same bytes; and what a browser must know of an .mp4 comes first.
        muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if codec == "libx264" else {})
        with av.open(str(path), "w", options=muxing) as film:
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
        raise OSError(error.errno, error.strerror) from None  # `whole` knows the film's name
    if codec == "gif":
        _comment(path, note.encode())


def _frames(stream, first, pictures, fps):
    """The pictures as the encoder takes them: for a .gif in 256 colours of each one's own, else in BT.709's planes."""
    import av

    height, width = first.shape[:2]
    odd, gif = (height % 2, width % 2), stream.name == "gif"
    if any(odd) and not gif:
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
        if picture.shape != first.shape:
            raise DreamError(f"frame {i} of the film is {picture.shape}, and those before it {first.shape}")
        shown = np.asarray(to_image(picture))
        if gif:
            frame = av.VideoFrame.from_ndarray(shown, "rgb24")
            frame.pts, frame.time_base = i, 1 / fps
            graph.push(frame)
            frame = graph.pull()
        else:
            shown = np.pad(shown, ((0, odd[0]), (0, odd[1]), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(shown, "rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = i, 1 / fps
        yield frame


def _sound(film, codec, source, start, end):
    """A film's sound from `start` to `end`, in seconds, encoded: (time, packet) each."""
    import av

    def packets():
        with _opened(source) as container:
            origin = _begin(container) + start
            try:
                for frame in container.decode(audio=0):
                    if frame.time is not None and origin <= frame.time < _begin(container) + end:
                        frame.pts, frame.time_base = round((frame.time - origin) * frame.rate), Fraction(1, frame.rate)
                        yield from stream.encode(frame)
            except av.FFmpegError:
                pass  # the film breaks off here
            yield from stream.encode()

    with _opened(source) as container:
        if not container.streams.audio:
            return iter(())
        mono = container.streams.audio[0].channels == 1
        stream = film.add_stream(codec, rate=48000, layout="mono" if mono else "stereo")
        stream.bit_rate = 96000 if mono else 192000
    return ((float(packet.pts * packet.time_base), packet) for packet in packets())


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


@contextmanager
def _alone(folder):
    """The folder, made if need be, for this process only."""
    try:
        folder.mkdir(exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DreamError(f"cannot write the frames to {folder}: {error.strerror}") from None
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    here = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(here)
        busy = f"another process is making the film in {folder}"
        raise DreamError(f"{busy}; wait for it, or choose another name") from None
    try:
        yield
    finally:
        os.close(here)
        with suppress(OSError):
            folder.rmdir()  # where nothing came of it, and so it is empty


def _frame(folder, i):
    return folder / f"{i:06d}.png"


def _clear(folder, names=OURS):
    """Remove what an earlier run left of a film; raise a DreamError where other things lie among it."""
    found = os.listdir(folder)
    if "state.npz" not in found and not all(re.fullmatch(OURS, name) for name in found):
        raise DreamError(f"the folder {folder} holds other files and no film begun; choose another")
    for name in found:
        if re.fullmatch(names, name):
            (folder / name).unlink()


def _resumed(folder, settings):
    """(how many frames are done, what the next one needs); a DreamError where they were begun with other settings."""
    _clear(folder, r"\.deepdream-.*")  # half a file, of a run that was killed
    state = folder / "state.npz"
    if not state.exists():
        return 0, ()
    try:
        with np.load(state) as kept:
            arrays = [kept[name] for name in kept.files if name.startswith("arr_")]
            done, begun = int(kept["done"]), json.loads(str(kept["settings"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DreamError(f"cannot read {state}: {error}; --restart makes the film from the beginning") from None
    now = json.loads(json.dumps(settings))
    for name in sorted((begun.keys() | now.keys()) - set(LENGTH)):
        if begun.get(name) != now.get(name):
            was = f"the film in {folder} was begun with {name} {begun.get(name)!r}, and now it is {now.get(name)!r}"
            raise DreamError(f"{was}; go back to that, choose another name, or throw its frames away with --restart")
    for i in range(done):
        if not _frame(folder, i).exists():
            if i < done - 1:
                raise DreamError(f"{_frame(folder, i)} is gone; --restart makes the film from the beginning")
            save_image(_frame(folder, i), arrays[0], begun | {"frame": i})  # killed between the state and its picture
    return done, arrays
