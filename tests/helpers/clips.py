"""Small films for the tests, written by plain PyAV, and what their sound is."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from deepdream import load_image

PHOTO = Path(__file__).parents[2] / "images" / "mountains.jpg"


def panned(n, width=96, height=64):
    """n pictures (height, width, 3) of a window that moves over the photograph."""
    photo = load_image(PHOTO, 320)
    return [photo[40 : 40 + height, 20 + i : 20 + i + width] for i in range(n)]


def write(path, pictures, times=None, codec="mpeg4", sound=0.0, rate=25, hertz=44100, silent=0.0):
    """A film of these pictures, at these times in seconds.

    sound: for so many seconds there is a tone of 440 Hz. silent: after so many seconds
    of silence.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = (
            width,
            height,
            "yuv420p",
            4_000_000,
        )
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if sound:
            voice = out.add_stream("aac", rate=hertz, layout="stereo")
            at = np.arange(int(hertz * sound)) / hertz
            wave = np.sin(2 * np.pi * 440 * at) * (at >= silent)
            samples = av.AudioFrame.from_ndarray(np.float32([wave, wave]), "fltp", "stereo")
            samples.rate, samples.pts = hertz, 0
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.uint8(picture)), "rgb24")
            if times:
                frame.pts, frame.time_base = round(1000 * times[i]), Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = i, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound:
            out.mux(voice.encode(samples))
            out.mux(voice.encode())
    return path


def tone(path):
    """(seconds, frequency, when it begins) of a film's sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    wave = np.concatenate([frame.to_ndarray() for frame in frames], 1)[0]
    strongest = np.abs(np.fft.rfft(wave)).argmax()
    rate = frames[0].rate
    return len(wave) / rate, strongest * rate / len(wave), np.argmax(abs(wave) > 0.3) / rate
