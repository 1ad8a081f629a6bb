"""The sound of a film, or of a part of it, for another film."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import begin_of, open_film

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer

HERTZ = 48_000  # of the sound that is written
Time = float | Fraction  # in seconds
Sound = tuple[str | Path, Time, Time]  # a film, and the start and end of a part
Timed = Iterator[tuple[float, "av.Packet"]]


def add_sound(film: "OutputContainer", codec: str, sound: Sound) -> Timed:
    """Add a stream to `film` for this sound: its packets, with times in seconds."""
    with open_film(sound[0]) as container:
        if not container.streams.audio:
            return iter(())
        mono = container.streams.audio[0].channels == 1
    stream: Any = film.add_stream(codec, rate=HERTZ, layout="mono" if mono else "stereo")
    stream.bit_rate = 96_000 if mono else 192_000
    return _time_packets(stream, sound)


def _time_packets(stream: "av.AudioStream", sound: Sound) -> Timed:
    """(time in seconds, packet) of each; after an error it ends, with a warning."""
    from av.error import FFmpegError

    try:
        for packet in _encode(stream, *sound):
            yield float((packet.pts or 0) * packet.time_base), packet
    except (FFmpegError, ValueError) as error:
        warnings.warn(f"the sound of {sound[0]} ends early: {error}", stacklevel=2)


def _encode(
    stream: "av.AudioStream", source: str | Path, start: Time, end: Time
) -> Iterator["av.Packet"]:
    import av

    with open_film(source) as container:
        begin, until = begin_of(container) + start, begin_of(container) + end
        due = 0  # the number of the next sample
        kind, resampler = None, None
        for frame in container.decode(audio=0):
            if frame.time is None or not begin <= frame.time < until:
                continue
            before, kind = kind, (frame.format.name, frame.layout.name, frame.rate)
            if resampler is None or kind != before:
                resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
            at = round((frame.time - begin) * HERTZ)
            if at < due - HERTZ // 10:  # the clock steps back, as in joined films
                continue
            for resampled in resampler.resample(frame):
                resampled.pts, resampled.time_base = max(at, due), Fraction(1, HERTZ)
                due = resampled.pts + resampled.samples
                yield from stream.encode(resampled)
        yield from stream.encode()
