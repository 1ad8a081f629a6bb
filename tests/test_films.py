"""Films in and out, against ffmpeg; runs that are killed and go on, as real processes."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import mounted, refused, run

import deepdream as dd
from deepdream import film

PHOTO = Path(__file__).parent.parent / "images" / "mountains.jpg"
FORMATS = pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])


def panned(n, width=96, height=64):
    photo = dd.load_image(PHOTO, 320)
    return [photo[40 : 40 + height, 20 + i : 20 + i + width] for i in range(n)]


def write(path, pictures, times=None, codec="mpeg4", sound=0.0, rate=25, hertz=44100, silent=0.0):
    """A film by plain PyAV, of these pictures at these times in seconds; with so many seconds of sound: a tone of
    440 Hz, after some silence."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 4_000_000
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if sound:
            voice = out.add_stream("aac", rate=hertz, layout="stereo")
            at = np.arange(int(hertz * sound)) / hertz
            wave = np.sin(2 * np.pi * 440 * at) * (at >= silent)
            heard = av.AudioFrame.from_ndarray(np.float32([wave, wave]), "fltp", "stereo")
            heard.rate, heard.pts = hertz, 0
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.uint8(picture)), "rgb24")
            frame.pts, frame.time_base = (
                (round(1000 * times[i]), Fraction(1, 1000)) if times else (i, Fraction(1, rate))
            )
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound:
            out.mux(voice.encode(heard))
            out.mux(voice.encode())
    return path


def tone(path):
    """(seconds, frequency, when it begins to sound) of a film's sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    heard = np.concatenate([frame.to_ndarray() for frame in frames], 1)[0]
    strongest = np.abs(np.fft.rfft(heard)).argmax()
    rate = frames[0].rate
    return len(heard) / rate, strongest * rate / len(heard), np.argmax(abs(heard) > 0.3) / rate


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
    assert film.film_about(path)[:2] == (25, 20)
    assert sum(1 for _ in dd.read_film(path, start=19)) == 1
    assert sum(1 for _ in dd.read_film(PHOTO, width=50)) == 1, "a picture is a film of one frame"


def test_frames_at_uneven_times_are_read_at_even_ones(tmp_path):
    """As phones and screen recorders write them."""
    pictures = [np.full((32, 32, 3), 40 * i, np.float32) for i in range(5)]
    path = write(tmp_path / "in.mkv", pictures, times=[0, 0.04, 0.08, 0.24, 0.28])
    with av.open(str(path)) as container:
        fps = film._fps(container)
    seen = [round(float(frame.mean()) / 40) for frame in dd.read_film(path)]
    assert seen == sorted(seen) and set(seen) == set(range(5))
    assert len(seen) == round(0.28 * fps) + 1, "the third frame is seen for as long as it was"


def test_a_film_held_upright_is_read_upright(tmp_path):
    path = write(tmp_path / "in.mp4", panned(2))
    data = path.read_bytes()
    straight = np.array([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000], ">i4").tobytes()
    turned = np.array([0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000], ">i4").tobytes()  # clockwise
    track = data.index(straight, data.index(b"tkhd"))
    path.write_bytes(data[:track] + turned + data[track + 36 :])
    (frame, _), original = dd.read_film(path), panned(1)[0]
    assert frame.shape == (96, 64, 3) and abs(frame - np.rot90(original, -1)).mean() < 5


def test_a_film_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    whole = write(tmp_path / "whole.avi", panned(50)).read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"half\.avi is damaged or breaks off: \d+ of about 50 frames"):
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
    """As recorders leave them: the clock begins anew, the picture has another size, the sound another rate."""
    first = write(tmp_path / "a.ts", panned(8), sound=0.32)
    second = write(tmp_path / "b.ts", panned(8, 64, 96), sound=0.32, hertz=32000)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(dd.read_film(joined))
    assert len(frames) == 16 and {frame.shape for frame in frames} == {(64, 96, 3)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some sound may be lost
        dd.save_film(tmp_path / "out.mp4", frames, 25, {}, (joined, Fraction(0), 9.0))
    assert len(list(dd.read_film(tmp_path / "out.mp4"))) == 16 and tone(tmp_path / "out.mp4")[0] > 0.2


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
    assert film.film_about(fast)[:2] == (240, 24) and len(list(dd.read_film(fast))) == 24
    out = tmp_path / "a: b.mp4"
    dd.save_film(out, panned(2), 240)
    assert len(list(dd.read_film(out))) == 2
    with pytest.raises(dd.DreamError, match=r"fps is 60; a \.gif shows at most 50 frames a second"):
        dd.save_film(tmp_path / "out.gif", panned(2), 60)


@pytest.mark.parametrize("name", ["absent.mp4", "text.mp4", "empty.mp4", "sound.m4a", "cut.mp4", "http://x/y.mp4"])
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
        ({"width": 0}, "width is 0"),
    ],
)
def test_what_reading_refuses(tmp_path, given, says):
    path = write(tmp_path / "in.avi", panned(3))
    with pytest.raises(dd.DreamError, match=says):
        list(dd.read_film(path, **given))


# Writing


@FORMATS
def test_a_film_is_written_and_read_again(tmp_path, suffix):
    pictures, path = panned(12), tmp_path / f"out{suffix}"
    settings = {"deepdream": "x", "title": "é" * 400}
    dd.save_film(path, iter(pictures), 20, settings)
    frames = list(dd.read_film(path))
    assert len(frames) == 12 and film.film_about(path)[0] == 20
    assert max(abs(a - b).mean() for a, b in zip(frames, pictures)) < 5
    assert dd.read_settings(path) == settings
    again = tmp_path / f"again{suffix}"
    dd.save_film(again, iter(pictures), 20, settings)
    assert again.read_bytes() == path.read_bytes()
    assert len(os.listdir(tmp_path)) == 2, "nothing else is left lying about"


def test_an_mp4_plays_in_a_browser(tmp_path):
    dd.save_film(tmp_path / "out.mp4", panned(3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it can begin before it is all there"


@FORMATS
def test_colours_are_kept(tmp_path, suffix):
    colours = np.float32([[200, 30, 90], [10, 240, 20], [30, 60, 220], [128, 128, 128], [0, 0, 0], [255, 255, 255]])
    picture = np.repeat(np.repeat(colours[None], 16, 1), 16, 0)
    dd.save_film(tmp_path / f"out{suffix}", [picture] * 2)
    frame = next(dd.read_film(tmp_path / f"out{suffix}"))
    assert abs(frame[8, 8::16] - colours).max() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sizes_are_padded_and_it_is_said(tmp_path, suffix):
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
            film.check_film(tmp_path / path)
    for fps in (0, "fast", 1000):
        with pytest.raises(dd.DreamError, match="fps is"):
            dd.save_film(tmp_path / "out.mp4", panned(2), fps)
    with pytest.raises(dd.DreamError, match="at least one picture"):
        dd.save_film(tmp_path / "out.mp4", [])
    with pytest.raises(dd.DreamError, match=r"frame 1 of the film is \(64, 50, 3\), and those before it \(64, 96, 3\)"):
        dd.save_film(tmp_path / "out.mp4", [panned(1)[0], panned(1, 50)[0]])

    with pytest.raises(dd.DreamError, match="libx264 fails on frames of 20000x8 pixels"):
        dd.save_film(tmp_path / "out.mp4", [np.zeros((8, 20000, 3))])
    monkeypatch.setitem(film.FORMATS, ".mp4", ("libx266", "aac", {}))
    with pytest.raises(dd.DreamError, match=r"lacks the encoder libx266; `pip install"):
        film.check_film(tmp_path / "out.mp4")
    assert os.listdir(tmp_path) == ["file"]


# Dreaming over a film


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_sound_is_kept(tmp_path, toy, suffix):
    source = write(tmp_path / "in.mp4", panned(50, 64, 48), sound=2.0, silent=0.8)
    out, net = tmp_path / f"out{suffix}", dd.load_net(toy)
    dd.dream_video(net, source, out, end="both", iter_n=1, octave_n=1)
    seconds, frequency, begins = tone(out)
    assert seconds == pytest.approx(2, abs=0.1) and frequency == pytest.approx(440, abs=2)
    assert begins == pytest.approx(0.8, abs=0.04)
    part = tmp_path / f"part{suffix}"
    dd.dream_video(net, source, part, start=10, stop=35, stride=5, width=40, end="both", iter_n=1, octave_n=1)
    seconds, frequency, begins = tone(part)
    assert seconds == pytest.approx(1, abs=0.1) and frequency == pytest.approx(440, abs=3)
    assert begins == pytest.approx(0.8 - 10 / 25, abs=0.04)
    frames = list(dd.read_film(part))
    assert len(frames) == 5 and frames[0].shape == (30, 40, 3) and film.film_about(part)[0] == 5
    dd.dream_video(net, source, tmp_path / "mute.gif", stop=3, end="both", iter_n=1, octave_n=1)
    before = source.read_bytes()
    with pytest.raises(dd.DreamError, match="is the film to dream over; give the dream another name"):
        dd.dream_video(net, source, source, end="both")
    assert source.read_bytes() == before


def test_memory_does_not_grow_with_the_film(tmp_path, toy):
    source = write(tmp_path / "in.mp4", panned(62, 160, 96), sound=2.4)
    code = f"""if True:
        import psutil
        import deepdream as dd
        resident = {{}}
        def on_frame(n):
            resident[n] = psutil.Process().memory_info().rss
        net = dd.load_net({str(toy)!r})
        dd.dream_video(net, {str(source)!r}, {str(tmp_path / "out.mp4")!r}, end="both", iter_n=2, octave_n=2,
                       on_frame=on_frame)
        assert max(resident) == 62
        print(resident[60] / resident[10])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05


# Going on


def zoomed(out, toy, *more, **kwargs):
    few = "--frames", 8, "--iterations", 4, "--octaves", 2
    return run("zoom", PHOTO, "-o", out, "--model", toy, "--width", 240, *few, *more, **kwargs)


@pytest.mark.parametrize("command", ["zoom", "video"])
def test_a_run_killed_ten_times_makes_the_same_film(tmp_path, toy, command):
    """SIGKILL at random moments; a frame that was there is not made again."""
    random.seed(1)
    given = [PHOTO, "--frames", 14, "--width", 200]
    if command == "video":
        given = [write(tmp_path / "in.mp4", panned(14, 200, 112), sound=0.5)]
    given = [command, *given, "--model", toy, "--iterations", 6, "--octaves", 3, "--layer", "both"]
    assert run(*given, "-o", tmp_path / "whole.mp4").returncode == 0
    out, frames = tmp_path / "out.mp4", tmp_path / "out.frames"
    begun, seen, kills = time.monotonic(), {}, 0
    process = None
    while kills < 10:
        process = subprocess.Popen([sys.executable, "-m", "deepdream", *map(str, given), "-o", out])
        more = len(seen) + random.choice([0, 1, 1, 2])
        while process.poll() is None and len(list(frames.glob("0*.png"))) < more:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.3))
        if process.poll() is not None:  # it was too quick; begin once more
            assert process.returncode == 0
            for path in frames.iterdir():
                path.unlink()
            out.unlink()
            seen = {}
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        now = {path.name: path.stat().st_mtime_ns for path in frames.glob("0*.png")} if frames.exists() else {}
        assert seen.items() <= now.items(), "none is lost, and none done twice"
        seen = now
        assert time.monotonic() - begun < 300
    assert len(seen) > 3, "some were made before the last run"
    assert run(*given, "-o", out).returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    with np.load(frames / "state.npz") as ours, np.load(tmp_path / "whole.frames" / "state.npz") as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files), "what eight bits do not show"
    left = sorted(os.listdir(frames))
    assert left == sorted(os.listdir(tmp_path / "whole.frames")) and len(left) == 15
    for name in left[:14]:
        assert (frames / name).read_bytes() == (tmp_path / "whole.frames" / name).read_bytes()
    assert {path.name: path.stat().st_mtime_ns for path in frames.glob("0*.png")}.items() >= seen.items()
    assert sorted(os.listdir(tmp_path)) == sorted({"out.mp4", "out.frames", "whole.mp4", "whole.frames", "toy"} | (
        {"in.mp4"} if command == "video" else set()))  # fmt: skip


def counted(settings, out, n=4, **kwargs):
    """A film of n grey frames; the numbers of those that were made now."""
    made = []

    def make(done, last=None):
        for i in range(done, n):
            made.append(i)
            assert done == 0 or last is not None
            yield (np.full((8, 8, 3), 10.0 * i, np.float32),)

    dd.make_film(out, make, settings, n, **kwargs)
    return made


def test_what_a_second_run_does(tmp_path):
    out, frames = tmp_path / "out.gif", tmp_path / "out.frames"
    assert counted({"scale": 1}, out) == [0, 1, 2, 3] and counted({"scale": 1}, out) == []
    with pytest.raises(dd.DreamError, match=r"was begun with scale 1, and now it is 2; go back .*--restart"):
        counted({"scale": 2}, out)
    with pytest.raises(dd.DreamError, match="begun with rotate None, and now it is 5"):
        counted({"scale": 1, "rotate": 5}, out)
    assert counted({"scale": 1, "frames": 6, "fps": 5}, out, 6, fps=5) == [4, 5], "a film may grow"
    assert film.film_about(out)[:2] == (5, 6)
    counted({"scale": 1}, out, 3)
    assert len(list(dd.read_film(out))) == 3 and len(list(frames.glob("0*.png"))) == 6, "and be cut short again"
    assert counted({"scale": 1}, tmp_path / "out.mp4", 6) == [], "or be another format"
    assert counted({"scale": 2}, out, 2, restart=True) == [0, 1]
    assert sorted(os.listdir(frames)) == ["000000.png", "000001.png", "state.npz"]
    assert dd.read_settings(frames / "000001.png") == {"scale": 2, "frame": 1}
    (frames / "000001.png").unlink()
    assert counted({"scale": 2}, out, 2) == [] and (frames / "000001.png").exists(), "the state has the last one"
    (frames / "000000.png").unlink()
    with pytest.raises(dd.DreamError, match=r"000000\.png is gone; --restart"):
        counted({"scale": 2}, out, 2)
    state = (frames / "state.npz").read_bytes()
    for damaged in (b"PK", state[: len(state) // 2], state.replace("scale".encode("utf-32-le"), bytes(20))):
        (frames / "state.npz").write_bytes(damaged)
        with pytest.raises(dd.DreamError, match=r"cannot read .*state\.npz.*--restart"):
            counted({"scale": 2}, out, 2)
    assert counted({"scale": 2}, out, 2, restart=True) == [0, 1]
    assert counted({"sha256": {"image": "a"}, "image": "here.jpg"}, tmp_path / "o.gif") == [0, 1, 2, 3]
    assert counted({"sha256": {"image": "a"}, "image": "there.jpg"}, tmp_path / "o.gif") == [], "the same picture"
    with pytest.raises(dd.DreamError, match="was begun from another file than this one"):
        counted({"sha256": {"image": "b"}, "image": "here.jpg"}, tmp_path / "o.gif")
    with pytest.raises(dd.DreamError, match="was begun with command None, and now it is 'video'"):
        counted({"command": "video", "blend": 1}, tmp_path / "o.gif")


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "000000.png").touch()
    for restart in (False, True):
        with pytest.raises(dd.DreamError, match="holds other files and no film begun"):
            counted({}, tmp_path / "mine", restart=restart)
    assert os.listdir(tmp_path / "mine") == ["000000.png"]
    (tmp_path / "empty").mkdir()
    counted({}, tmp_path / "empty")
    counted({}, tmp_path / "frames")
    assert sorted(os.listdir(tmp_path / "frames"))[0] == "000000.png" and dd.read_settings(tmp_path / "frames")


def test_two_runs_at_once_do_not_meet(tmp_path):
    def make(done, *last):
        with pytest.raises(dd.DreamError, match="another process is making the film"):
            counted({}, tmp_path / "out.gif")
        yield (np.zeros((8, 8, 3)),)

    dd.make_film(tmp_path / "out.gif", make, {})


def test_a_failure_says_what_is_safe(tmp_path):
    def make(done, *last):
        yield (np.zeros((8, 8, 3)),)
        raise dd.DreamError("the lamp went out")

    with pytest.raises(dd.DreamError, match=r"the lamp went out; frames finished: 1, in .*out\.frames$"):
        dd.make_film(tmp_path / "out.gif", make, {})
    with pytest.raises(dd.DreamError, match="frames is 0"):
        dd.make_film(tmp_path / "none.gif", lambda *_: dd.zoom(None, np.zeros((8, 8, 3)), 0), {})
    assert not (tmp_path / "none.frames").exists()


def test_a_disk_that_fills_up(tmp_path, toy):
    with mounted(tmp_path / "full", "size=700k"):
        out = tmp_path / "full" / "out.mp4"
        done = zoomed(out, toy)
        refused(done, r"cannot write .*No space left on device; frames finished: \d, in .*out\.frames; the same")
        kept = len(list((tmp_path / "full" / "out.frames").glob("0*.png")))
        assert 0 < kept < 8
        subprocess.run(["mount", "-o", "remount,size=9m", tmp_path / "full"], check=True)
        assert zoomed(out, toy).returncode == 0
        assert len(list(dd.read_film(out))) == 8


# On the command line


def test_the_commands(tmp_path, toy):
    few = "--model", toy, "--iterations", 1, "--octaves", 2
    film_in = write(tmp_path / "in.avi", panned(6, 64, 48))
    for args, frames in (
        (("zoom", PHOTO, "--width", 80, "--frames", 3, "--rotate", -2.5, "--shift", -3, 1.5), 3),
        (("journey", "--size", "64x48", "--frames-per-layer", 2), 4),
        (("journey", PHOTO, "--width", 80, "--layers", "both, left", "--frames-per-layer", 2, "--cross-fade", 1), 4),
        (("video", film_in, "--start", 1, "--stop", 6, "--stride", 2, "--width", 64, "--blend", 0.5), 3),
    ):
        out, again = tmp_path / "out.gif", tmp_path / "again.gif"
        done = run(*args, "-o", out, *few)
        assert done.returncode == 0 and done.stdout == f"{out}\n", done
        assert len(list(dd.read_film(out))) == frames
        settings = dd.read_settings(out)
        assert settings["command"] == args[0] and settings["model"] == "toy"
        assert dd.read_settings(tmp_path / "out.frames" / "000001.png") == settings | {"frame": 1}
        for shown in (tmp_path / "out.frames", tmp_path / "out.frames" / "000001.png"):
            assert shlex.split(run("replay", shown).stdout)[-2:] == ["-o", str(tmp_path / "out.frames")]
        beside = tmp_path / Path(PHOTO).name
        beside.write_bytes(PHOTO.read_bytes())
        done = run("replay", out, "-o", again, "--model", toy)
        assert done.returncode == 0 and again.read_bytes() == out.read_bytes(), done
        done = run(*args, "-o", out, *few, "--restart", "--jitter", 5)
        assert done.returncode == 0 and dd.read_settings(out)["jitter"] == 5
        for path in (tmp_path / "out.frames", tmp_path / "again.frames"):
            for frame in path.iterdir():
                frame.unlink()


def test_wrong_films(tmp_path, toy):
    (tmp_path / "text.mp4").write_text("no film")
    few = "--model", toy
    for args, says in (
        (("zoom", PHOTO, "-o", "out.mov"), r"must end in \.mp4"),
        (("zoom", PHOTO, "-o", "out.mp4", "--frames", 0), "--frames is 0"),
        (("zoom", "absent.jpg", "-o", "out.mp4"), "there is no such file"),
        (("zoom", PHOTO, "-o", "absent/out.mp4"), "there is no folder"),
        (("zoom", PHOTO, "-o", "out.mp4", "--fps", 0), "--fps is 0.0; it must be"),
        (("zoom", PHOTO, "-o", "out.mp4", "--zoom", 2), "--zoom is 2.0"),
        (("journey", "-o", "out.mp4", "--layers", "boht"), "unknown layer 'boht'"),
        (("journey", "-o", "out.mp4", "--size", "0x5"), "not WIDTHxHEIGHT"),
        (("video", "text.mp4", "-o", "out.mp4"), "cannot read the film"),
        (("video", PHOTO, "-o", "out.mp4", "--stride", 0), "--stride is 0"),
        (("video", PHOTO, "-o", "out.mp4", "--blend", 2), "--blend is 2"),
        (("journey", "-o", "out.mp4", "--width", 80), "--size is for a journey from noise"),
        (("journey", "-o", "out.mp4", "--layers", " ,"), "at least one layer"),
        (("video", "toy", "-o", "out.mp4"), "it is a folder"),
        (("video", PHOTO, "-o", "out.mp4", "--layr", "both"), "unrecognized arguments: --layr both"),
    ):
        refused(run(*args, *few, cwd=tmp_path), says)
    assert sorted(os.listdir(tmp_path)) == ["text.mp4", "toy"]


def test_ctrl_c_stops_a_film_between_frames(tmp_path, toy):
    args = "zoom", PHOTO, "-o", tmp_path / "o.mp4", "--model", toy, "--width", 80
    code = f"""if True:
        import signal, sys
        from deepdream import __main__, frames
        save_image = frames.save_image
        def stop_after_two(path, *args):
            save_image(path, *args)
            if path.name == "000001.png":
                signal.raise_signal(signal.SIGINT)
        frames.save_image = stop_after_two
        sys.exit(__main__.main({[*map(str, args)]}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "frames finished: 2, in" in done.stderr and done.stderr.count("\n") == 1, done


def test_replay(tmp_path, toy):
    picture, again = tmp_path / "in.png", tmp_path / "again.png"
    dd.save_image(picture, panned(1)[0])
    given = ["--iterations", 1, "--octaves", 2, "--objective=-L2('both')", "--keep-color", "--no-clip", "--mask"]
    assert run("dream", picture, "-o", tmp_path / "o.png", "--model", toy, *given, picture).returncode == 0
    seed = dd.read_settings(tmp_path / "o.png")["seed"]
    done = run("replay", tmp_path / "o.png")
    words = "deepdream dream in.png --model toy --engine caffe --objective=-L2('both') --iterations 1 --octaves 2"
    words = [*words.split(), "--seed", str(seed), *"--width 96 --mask in.png --keep-color --no-clip -o".split()]  # noqa: SIM905
    assert shlex.split(done.stdout) == [*words, str(tmp_path / "o.png")]
    done = run("replay", tmp_path / "o.png", "-o", again, "--model", toy)
    assert done.returncode == 0 and again.read_bytes() == (tmp_path / "o.png").read_bytes(), done
    done = run("replay", tmp_path / "o.png", "--seed", 5)
    assert done.stdout.endswith("--seed 5\n")
    assert run("draw", "3", "-o", tmp_path / "d.jpg", "--model", toy, "--steps", 2).returncode == 0
    assert run("replay", tmp_path / "d.jpg", "-o", tmp_path / "d2.jpg", "--model", toy).returncode == 0
    assert (tmp_path / "d.jpg").read_bytes() == (tmp_path / "d2.jpg").read_bytes()
    dd.save_image(tmp_path / "later.png", panned(1)[0], {"deepdream": "9.0", "command": "fly"})
    refused(run("replay", tmp_path / "later.png"), "carries no settings of deepdream's command line")
    refused(run("replay", picture), "carries no settings of deepdream's command line")
    refused(run("replay", tmp_path / "absent.png"), "cannot read the picture")
    dd.save_image(picture, panned(2)[1])
    done = run("replay", tmp_path / "o.png", "-o", again, "--model", toy)
    assert done.returncode == 0 and "is not the same as what" in done.stderr
    picture.unlink()
    refused(run("replay", tmp_path / "o.png", "-o", again), r"was made from in\.png, which is not here; put that")


def test_what_older_versions_wrote_can_be_replayed(tmp_path):
    old = {"deepdream": "0.1.0", "model": "bvlc_googlenet", "engine": "caffe", "image": "a.jpg", "guide": None}
    old |= {"width": 100, "iter_n": 5, "end": "conv2/3x3", "clip": True, "seed": None}
    dd.save_image(tmp_path / "o.png", panned(1)[0], old)
    says = "deepdream dream a.jpg --model bvlc_googlenet --engine caffe --layer conv2/3x3 --iterations 5 --width 100 -o"
    assert run("replay", tmp_path / "o.png").stdout.startswith(says)
