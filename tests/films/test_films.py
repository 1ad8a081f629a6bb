"""Films in and out, against ffmpeg."""

import os
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import PHOTO, panned, tone, write

import deepdream as dd
from deepdream.films import encode
from deepdream.films import files as films
from deepdream.pictures import to_image

FORMATS = pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])


# Reading


def test_a_film_is_read_frame_by_frame(tmp_path):
    pictures = panned(20)
    path = write(tmp_path / "in.avi", pictures)
    frames = list(dd.read_film(path))
    assert len(frames) == 20 and frames[0].dtype == np.float32
    assert max(abs(a - b).mean() for a, b in zip(frames, pictures)) < 4
    some = list(dd.read_film(path, start=3, stop=15, stride=5))
    assert len(some) == 3 and all(np.array_equal(frames[3 + 5 * i], some[i]) for i in range(3))
    assert next(dd.read_film(path, width=30)).shape == (20, 30, 3)
    assert films.film_about(path)[:2] == (25, 20)
    assert sum(1 for _ in dd.read_film(path, start=19)) == 1
    assert sum(1 for _ in dd.read_film(PHOTO, width=50)) == 1, "a picture is a film of one frame"


def test_frames_at_uneven_times_are_read_at_even_ones(tmp_path):
    """As phones and screen recorders write them."""
    pictures = [np.full((32, 32, 3), 40 * i, np.float32) for i in range(5)]
    path = write(tmp_path / "in.mkv", pictures, times=[0, 0.04, 0.08, 0.24, 0.28])
    fps = films.film_about(path)[0]
    seen = [round(float(frame.mean()) / 40) for frame in dd.read_film(path)]
    assert seen == sorted(seen) and set(seen) == set(range(5))
    assert len(seen) == round(0.28 * fps) + 1, "the third frame is seen for as long as it was"


def test_a_film_held_upright_is_read_upright(tmp_path):
    path = write(tmp_path / "in.mp4", panned(2))
    data = path.read_bytes()
    straight = np.array([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000], ">i4").tobytes()
    turned = np.array(
        [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000], ">i4"
    ).tobytes()  # clockwise
    track = data.index(straight, data.index(b"tkhd"))
    path.write_bytes(data[:track] + turned + data[track + 36 :])
    (frame, _), original = dd.read_film(path), panned(1)[0]
    assert frame.shape == (96, 64, 3) and abs(frame - np.rot90(original, -1)).mean() < 5


def test_a_film_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    whole = write(tmp_path / "whole.avi", panned(50)).read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(
        UserWarning, match=r"half\.avi is damaged or breaks off: \d+ of about 50 frames"
    ):
        frames = list(dd.read_film(tmp_path / "half.avi"))
    assert 15 < len(frames) < 35


def test_a_film_with_damage_in_its_middle_goes_on_after_it(tmp_path):
    data = bytearray(write(tmp_path / "in.mp4", panned(40), codec="libx264").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    (tmp_path / "in.mp4").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the decoder notices depends on what was hit
        assert len(list(dd.read_film(tmp_path / "in.mp4"))) == 40


def test_joined_films_are_read_as_one(tmp_path):
    """As recorders leave them: the clock begins again, the picture has another size,
    the sound another rate.
    """
    first = write(tmp_path / "a.ts", panned(8), sound=0.32)
    second = write(tmp_path / "b.ts", panned(8, 64, 96), sound=0.32, hertz=32000)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(dd.read_film(joined))
    assert len(frames) == 16 and {frame.shape for frame in frames} == {(64, 96, 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some sound may be lost
        dd.save_film(tmp_path / "out.mp4", frames, 25, {}, (joined, Fraction(0), 9.0))
    assert (
        len(list(dd.read_film(tmp_path / "out.mp4"))) == 16 and tone(tmp_path / "out.mp4")[0] > 0.2
    )


def test_pixels_that_are_not_square(tmp_path):
    path = tmp_path / "tape.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 72, 58, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        frame = av.VideoFrame.from_ndarray(np.zeros((58, 72, 3), np.uint8), "rgb24")
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert next(dd.read_film(path)).shape == (58, 108, 3)


def test_fast_films_and_odd_names(tmp_path):
    fast = write(tmp_path / "100%: fast.mp4", panned(24), rate=240)
    assert films.film_about(fast)[:2] == (240, 24) and len(list(dd.read_film(fast))) == 24
    out = tmp_path / "a: b.mp4"
    dd.save_film(out, panned(2), 240)
    assert len(list(dd.read_film(out))) == 2
    with pytest.raises(dd.DreamError, match=r"fps is 60; a \.gif shows at most 50 frames a second"):
        dd.save_film(tmp_path / "out.gif", panned(2), 60)


@pytest.mark.parametrize("name", ["in.avi", "in.gif"])
def test_a_film_follows_another(tmp_path, name):
    path = tmp_path / name
    if name == "in.gif":
        dd.save_film(path, panned(5))
    else:
        write(path, panned(5))
    frames = list(dd.read_film(path))

    def follows(*numbers, **given):
        pictures = list(films.follow_film(path, **given))
        return len(pictures) == len(numbers) and all(
            np.array_equal(a, frames[i]) for a, i in zip(pictures, numbers)
        )

    assert follows(0, 1, 2, 3, 4, 4)
    assert follows(1, 4, 4, start=1, stride=3) and follows(0, 3, 4, stride=3), (
        "its last picture is the last to come"
    )
    assert (
        follows(4, 4, start=4) and follows(4, start=5) and follows(4, start=999, stride=7, done=3)
    )
    assert (
        follows(3, 4, 4, done=3)
        and follows(4, 4, start=1, stride=3, done=1)
        and follows(4, stride=3, done=2)
    )
    assert next(films.follow_film(path, width=30)).shape == (20, 30, 3)


def test_what_is_a_film(tmp_path):
    pictures, stills, moving = (
        panned(3),
        ["a.png", "a.jpg", "a.webp", "one.gif", "a.tif"],
        ["a.mp4", "a.webm", "a.gif"],
    )
    for name in stills:
        to_image(pictures[0]).save(tmp_path / name)
    for name in moving:
        dd.save_film(tmp_path / name, pictures)
    write(tmp_path / "a.mpg", pictures, codec="mpeg1video")
    write(tmp_path / "a.m1v", pictures, codec="mpeg1video")  # Pillow opens it, and cannot read it
    to_image(pictures[0]).save(
        tmp_path / "many.webp", save_all=True, append_images=[to_image(pictures[1])]
    )
    assert all(films.is_film(tmp_path / name) for name in (*moving, "a.mpg", "a.m1v"))
    assert not any(films.is_film(str(tmp_path / name)) for name in (*stills, "many.webp"))
    for name in ("text.png", "text.gif", "text.mp4"):
        (tmp_path / name).write_text("This is no picture.\n" * 100)
    assert films.is_film(tmp_path / "text.mp4"), "so that it is called a film that cannot be read"
    assert not any(
        films.is_film(tmp_path / name)
        for name in ("text.png", "text.gif", "absent.mp4", ".", "a/b.mp4")
    )
    whole = (tmp_path / "a.gif").read_bytes()
    left = []
    for n in range(0, len(whole), 97):
        (tmp_path / "cut.gif").write_bytes(whole[:n])
        left.append(films.is_film(tmp_path / "cut.gif"))
    assert left == sorted(left) and left[-1] and not left[0], (
        "as long as a second frame is left of it"
    )


@pytest.mark.parametrize(
    "name", ["absent.mp4", "text.mp4", "empty.mp4", "sound.m4a", "cut.mp4", "http://x/y.mp4"]
)
def test_what_is_no_film(tmp_path, name):
    if name == "text.mp4":
        (tmp_path / name).write_text("This is not a film.\n" * 100)
    if name == "empty.mp4":
        (tmp_path / name).touch()
    if name == "cut.mp4":
        (tmp_path / name).write_bytes(write(tmp_path / "whole.mp4", panned(9)).read_bytes()[:3000])
    if name == "sound.m4a":
        with av.open(str(tmp_path / name), "w", format="mp4") as out:
            voice = out.add_stream("aac", rate=44100)
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), "fltp", "stereo")
            silence.rate = 44100
            out.mux(voice.encode(silence))
            out.mux(voice.encode())
    with pytest.raises(dd.DreamError, match=r"cannot read the film .*: "):
        next(dd.read_film(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"start": -1}, "start is -1"),
        ({"start": 9}, "start is 9; .* has 3 frames, so it must be at most 2"),
        ({"stop": 2, "start": 2}, "stop is 2; it must be a frame's number above start, which is 2"),
        ({"stride": 0}, "stride is 0"),
        ({"stop": 2.5}, "stop is 2.5; it must be a whole number"),
        ({"width": 0}, "width is 0"),
        ({"width": 20000}, "width is 20000; a film can be at most 16384 pixels wide"),
    ],
)
def test_what_reading_refuses(tmp_path, given, says):
    path = write(tmp_path / "in.avi", panned(3))
    with pytest.raises(dd.DreamError, match=says) as refusal:
        list(dd.read_film(path, **given))
    assert refusal.value.setting == next(iter(given)), (
        "so that the command line can name its option"
    )


# Writing


@FORMATS
def test_a_film_is_written_and_read_again(tmp_path, suffix):
    pictures, path = panned(12), tmp_path / f"out{suffix}"
    settings = {"deepdream": "x", "title": "é" * 400}
    dd.save_film(path, iter(pictures), 20, settings)
    frames = list(dd.read_film(path))
    assert len(frames) == 12 and films.film_about(path)[0] == 20
    assert max(abs(a - b).mean() for a, b in zip(frames, pictures)) < 5
    assert dd.read_settings(path) == settings
    again = tmp_path / f"again{suffix}"
    dd.save_film(again, iter(pictures), 20, settings)
    assert again.read_bytes() == path.read_bytes()
    assert len(os.listdir(tmp_path)) == 2, "no other files are left"


def test_an_mp4_plays_in_a_browser(tmp_path):
    dd.save_film(tmp_path / "out.mp4", panned(3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it can begin before it is all there"


@FORMATS
def test_colours_are_kept(tmp_path, suffix):
    colours = np.float32(
        [[200, 30, 90], [10, 240, 20], [30, 60, 220], [128, 128, 128], [0, 0, 0], [255, 255, 255]]
    )
    picture = np.repeat(np.repeat(colours[None], 16, 1), 16, 0)
    dd.save_film(tmp_path / f"out{suffix}", [picture] * 2)
    frame = next(dd.read_film(tmp_path / f"out{suffix}"))
    assert abs(frame[8, 8::16] - colours).max() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sizes_are_padded_with_a_warning(tmp_path, suffix):
    pictures = [picture[:63, :95] for picture in panned(2)]
    with pytest.warns(UserWarning, match="95x63 -> 96x64"):
        dd.save_film(tmp_path / f"out{suffix}", pictures)
    frame = next(dd.read_film(tmp_path / f"out{suffix}"))
    assert frame.shape == (64, 96, 3) and abs(frame[:63, :95] - pictures[0]).mean() < 5


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path, says in (
        ("out.avi", r"must end in \.mp4, \.webm, \.gif, or have no dot in it, for a folder"),
        ("absent/out.mp4", "there is no folder"),
        ("file", "it is a file; name a folder"),
    ):
        with pytest.raises(dd.DreamError, match=says):
            encode.check_film(tmp_path / path)
    for fps in (0, "fast", 1000):
        with pytest.raises(dd.DreamError, match="fps is"):
            dd.save_film(tmp_path / "out.mp4", panned(2), fps)
    with pytest.raises(dd.DreamError, match="at least one picture"):
        dd.save_film(tmp_path / "out.mp4", [])
    with pytest.raises(
        dd.DreamError,
        match=r"frame 1 of the film is \(64, 50, 3\), and those before it \(64, 96, 3\)",
    ):
        dd.save_film(tmp_path / "out.mp4", [panned(1)[0], panned(1, 50)[0]])

    with pytest.raises(dd.DreamError, match="libx264 fails on frames of 20000x8 pixels"):
        dd.save_film(tmp_path / "out.mp4", [np.zeros((8, 20000, 3))])
    monkeypatch.setitem(encode.CODECS, ".mp4", ("libx266", "aac", {}))
    with pytest.raises(dd.DreamError, match=r"lacks the encoder libx266; `pip install"):
        encode.check_film(tmp_path / "out.mp4")
    assert os.listdir(tmp_path) == ["file"]


def test_settings_of_a_picture_and_of_a_folder_of_frames(tmp_path):
    dd.save_film(tmp_path / "frames", panned(2), settings={"end": "both"})
    assert dd.read_settings(tmp_path / "frames") == {"end": "both", "frame": 0}
    assert dd.read_settings(tmp_path / "frames" / "000001.png") == {"end": "both", "frame": 1}
    assert dd.read_settings(write(tmp_path / "other.mp4", panned(2))) == {}
    (tmp_path / "empty").mkdir()
    with pytest.raises(dd.DreamError, match="there are no frames of a film in the folder"):
        dd.read_settings(tmp_path / "empty")


def test_a_name_that_is_too_long_is_refused_before_the_first_frame(tmp_path):
    """While a film is made, files with longer names lie beside it."""
    for name in ("x" * 300, "x" * 251 + ".mp4", "x" * 240 + ".mp4", "x" * 240 + ".gif"):
        with pytest.raises(dd.DreamError, match=r"^cannot write .*: File name too long$"):
            encode.check_film(tmp_path / name)
        assert not os.listdir(tmp_path)
    dd.save_film(tmp_path / ("x" * 230 + ".gif"), panned(1))
    for name in ("a\0.mp4", "\ud800.gif", "a\0"):
        with pytest.raises(dd.DreamError, match="no file can have this name"):
            encode.check_film(tmp_path / name)


@pytest.mark.parametrize("fps", [0, 1e-7, 0.009, 241, 1e30, Fraction(1, 10**9), float("nan")])
def test_frames_a_second_that_no_film_can_have(tmp_path, fps):
    with pytest.raises(
        dd.DreamError, match=r"^fps is .*; it must be a number of frames a second from 0.01 to 240"
    ):
        dd.save_film(tmp_path / "a.mp4", panned(1), fps)
    dd.save_film(tmp_path / "slow.mp4", panned(2), 0.01)
    assert films.film_about(tmp_path / "slow.mp4")[:2] == (Fraction(1, 100), 2)


def test_a_film_whose_container_breaks_off_is_refused(tmp_path):
    """Here ffmpeg fails before the first packet, not in one."""
    (tmp_path / "a.mp4").write_bytes(b"SIMPLE  =                    T" + bytes(2880))
    with pytest.raises(
        dd.DreamError, match=r"a\.mp4: not one frame of it can be decoded \(Invalid data"
    ):
        list(dd.read_film(tmp_path / "a.mp4"))
