"""Films that take hours: dreams over a film, runs that are killed and resumed, as real
processes; replay.
"""

import hashlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clips import PHOTO, panned, tone, write
from conftest import TOY, main, mounted, refused, run, write_model

import deepdream as dd
from deepdream import seeing
from deepdream.films import files as films
from deepdream.films import make, resume, video

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
    dd.dream_video(
        net, source, part, start=10, stop=35, stride=5, width=40, end="both", iter_n=1, octave_n=1
    )
    seconds, frequency, begins = tone(part)
    assert seconds == pytest.approx(1, abs=0.1) and frequency == pytest.approx(440, abs=3)
    assert begins == pytest.approx(0.8 - 10 / 25, abs=0.04)
    frames = list(dd.read_film(part))
    assert len(frames) == 5 and frames[0].shape == (30, 40, 3) and films.film_about(part)[0] == 5
    dd.dream_video(net, source, tmp_path / "mute.gif", stop=3, end="both", iter_n=1, octave_n=1)
    before = source.read_bytes()
    with pytest.raises(
        dd.DreamError, match="is the film to dream over; give the dream another name"
    ):
        dd.dream_video(net, source, source, end="both")
    assert source.read_bytes() == before


@pytest.fixture
def masked(tmp_path):
    """(a film of 9 frames, a film of 7 masks, the fourth of them black, a film of 4
    guides)
    """
    masks = [np.zeros((40, 60, 3), np.uint8) for _ in range(7)]
    for i in (0, 1, 2, 4, 5, 6):
        masks[i][:, 6 * i : 6 * i + 20] = 255
    dd.save_film(tmp_path / "guides.gif", panned(4, 48, 40))
    return (
        write(tmp_path / "in.mp4", panned(9)),
        write(tmp_path / "masks.avi", masks),
        tmp_path / "guides.gif",
    )


def test_masks_and_guides_that_are_films(tmp_path, toy, masked, monkeypatch):
    net, (source, masks, guides) = dd.load_net(toy), masked
    few = {"end": "both", "iter_n": 1, "octave_n": 2}
    made, features = [], video.guide_features
    monkeypatch.setattr(video, "guide_features", lambda *args: made.append(1) or features(*args))
    dd.dream_video(net, source, tmp_path / "out", mask=masks, guide=str(guides), **few)
    assert len(made) == 4, "the last guide stays, and is not looked at again"
    white, pictures = [np.uint8(frame) for frame in dd.read_film(masks)], list(dd.read_film(guides))
    by_hand = dd.steady(net, dd.read_film(source), mask=white, guide=pictures, **few)
    for i, frame in enumerate(by_hand):
        assert np.array_equal(
            dd.load_image(tmp_path / "out" / f"{i:06d}.png"), np.uint8(frame.picture)
        ), i
    black = dd.load_image(tmp_path / "out" / "000003.png")
    assert np.array_equal(black, list(dd.read_film(source))[3]), "the source's picture"
    # The same frames belong together in a part of the film.
    dd.dream_video(net, source, tmp_path / "part", 1, 8, 2, mask=masks, guide=guides, **few)
    some = dd.read_film(source, 1, 8, 2)
    by_hand = dd.steady(
        net, some, mask=[white[i] for i in (1, 3, 5, 6)], guide=[pictures[i] for i in (1, 3)], **few
    )
    for i, frame in enumerate(by_hand):
        assert np.array_equal(
            dd.load_image(tmp_path / "part" / f"{i:06d}.png"), np.uint8(frame.picture)
        ), i
    assert i == 3


def test_large_guides_are_reduced(tmp_path, toy, monkeypatch):
    seen, net, black = [], dd.load_net(toy), np.zeros((720, 1000, 3))
    monkeypatch.setattr(
        video, "guide_features", lambda _, image, end: seen.append(image.shape) or image
    )
    monkeypatch.setattr(video, "deepdream", lambda _, image, **params: image + 5)
    guide, still = write(tmp_path / "guide.mp4", [black] * 2), tmp_path / "guide.png"
    dd.save_image(still, black)
    source = write(tmp_path / "in.mp4", panned(2))
    for path in (guide, still):
        dd.dream_video(net, source, tmp_path / path.suffix[1:], guide=path)
    assert seen == [(600, 833, 3)] * 2


def test_a_film_under_masks_is_resumed_frame_by_frame(tmp_path, toy, masked):
    net, (source, masks, guides) = dd.load_net(toy), masked
    given = {"mask": masks, "guide": guides, "end": "both", "iter_n": 1, "octave_n": 2}
    dd.dream_video(net, source, tmp_path / "whole", **given)
    for stop in range(1, 10):
        dd.dream_video(net, source, tmp_path / "parts", stop=stop, **given)
    for name in sorted(os.listdir(tmp_path / "whole"))[:9]:
        assert np.array_equal(
            *(dd.load_image(tmp_path / folder / name) for folder in ("whole", "parts"))
        ), name
    with (
        np.load(tmp_path / "whole" / "state.npz") as one,
        np.load(tmp_path / "parts" / "state.npz") as other,
    ):
        assert all(np.array_equal(one[f"arr_{i}"], other[f"arr_{i}"]) for i in range(4))


def test_another_mask_or_guide_is_refused(tmp_path, toy, masked):
    net, (source, masks, guides) = dd.load_net(toy), masked
    given = {"mask": masks, "guide": guides, "end": "both", "iter_n": 1, "octave_n": 1, "stop": 2}
    dd.dream_video(net, source, tmp_path / "out", **given)
    copied = tmp_path / "copied.avi"
    copied.write_bytes(masks.read_bytes())
    dd.dream_video(net, source, tmp_path / "out", **given | {"mask": copied})
    for name in ("mask", "guide"):
        with pytest.raises(
            dd.DreamError, match=f"was begun with {name} '[0-9a-f]+', and now it is"
        ):
            dd.dream_video(net, source, tmp_path / "out", **given | {name: source})
    with pytest.raises(
        dd.DreamError, match="mask is several pictures; give one, or the path of a film"
    ):
        dd.dream_video(net, source, tmp_path / "out", **given | {"mask": iter([])})
    with pytest.raises(
        dd.DreamError, match=r"guides\.gif is the guide; give the dream another name"
    ):
        dd.dream_video(net, source, guides, **given)
    words = (
        "video",
        source,
        "-o",
        tmp_path / "film",
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
    )
    assert is_made(main(*words, "--mask", masks, "--guide", guides), tmp_path / "film")
    carried = dd.read_settings(tmp_path / "film")
    assert (
        carried["sha256"].keys() >= {"source", "mask", "guide"} and carried["guide"] == "guides.gif"
    )
    assert is_made(main(*words, "--mask", copied, "--guide", guides), tmp_path / "film")
    refused(
        main(*words, "--mask", source, "--guide", guides),
        "was begun from another file than this one",
    )
    again = "replay", tmp_path / "film", "-o", tmp_path / "again", "--model", toy
    assert is_made(main(*again), tmp_path / "again"), "all three lie beside it"
    for name in frames_in(tmp_path / "film"):
        assert np.array_equal(
            *(dd.load_image(tmp_path / folder / name) for folder in ("film", "again"))
        )


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


GUIDE = "functools.partial(<function objective_guide>, guide_features=array([[0., 1., 2.]], dtype=float32))"


def test_parameters_are_described_the_same_in_every_process():
    """Version 0.1.0 wrote these texts; a film that it began must find them again."""
    mask = np.arange(6, dtype=np.float32).reshape(2, 3)
    for value, text in (
        (mask, "e2c0a71510b5394df7773b63fb5f54372b84c3564e67811bde7d665be227976d"),
        (dd.L2("both") + 2 * dd.channel("left", 1), "L2('both') + 2 * channel('left', 1)"),
        (dd.objective_L2, "objective_L2"),
        (0.5, 0.5),
        (None, None),
        (Path("mask.png"), "mask.png"),
        (partial(dd.objective_guide, guide_features=mask[:1]), GUIDE),
    ):
        assert make._describe(value) == text
    assert make._describe(mask[:, ::-1]) != make._describe(mask)


# Runs that are killed


def frames_in(folder):
    """{name: time of the last change} of a film's frames."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.png")}


def wait_for_frames(process, folder, n):
    """Whether the process has finished n frames; False if it ended before that was
    seen.
    """
    while process.poll() is None:
        if len(frames_in(folder)) >= n:
            return True
        time.sleep(0.005)
    return False


def kill_and_resume(tmp_path, toy, command, kills, n):
    """A film of n frames whose runs are killed at random moments is the same as one
    that was made at once.
    """
    if command == "zoom":
        given = ["zoom", PHOTO, "--frames", n, "--width", 200]
    else:
        given = ["video", write(tmp_path / "in.mp4", panned(n, 200, 112), sound=0.5)]
    if command == "masks":
        moving = [np.zeros((56, 100, 3), np.uint8) for _ in range(n - 2)]
        for i, mask in enumerate(moving):
            mask[:, 5 * i : 5 * i + 40] = 255 * (i % 5 > 0)
        given += ["--mask", write(tmp_path / "masks.mp4", moving)]
        given += ["--guide", write(tmp_path / "guides.mp4", panned(n // 2, 80, 64))]
    given = [*given, "--model", toy, "--iterations", 6, "--octaves", 3, "--layer", "both"]
    inputs = os.listdir(tmp_path)
    assert main(*given, "-o", tmp_path / "whole.mp4").returncode == 0
    out, frames, whole = tmp_path / "out.mp4", tmp_path / "out.frames", tmp_path / "whole.frames"
    seen, killed = {}, 0
    while killed < kills:
        process = subprocess.Popen([sys.executable, "-m", "deepdream", *map(str, given), "-o", out])
        if wait_for_frames(process, frames, len(seen) + random.choice([0, 1, 1, 2])):
            time.sleep(
                random.uniform(0, 0.2)
            )  # any moment within a frame; nothing below depends on which
        process.kill()
        if process.wait() == 0:  # it finished before it was killed: begin again
            for path in (*frames.iterdir(), out):
                path.unlink()
            seen = {}
            continue
        assert process.returncode == -signal.SIGKILL
        killed += 1
        now = frames_in(frames)
        assert seen.items() <= now.items(), "none is lost, and none is made twice"
        seen = now
    assert main(*given, "-o", out).returncode == 0
    assert seen.items() <= frames_in(frames).items()
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    with np.load(frames / "state.npz") as ours, np.load(whole / "state.npz") as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files), (
            "what eight bits do not show"
        )
    left = sorted(os.listdir(frames))
    assert left == sorted(os.listdir(whole)) == [*(f"{i:06d}.png" for i in range(n)), "state.npz"]
    for name in left[:n]:
        assert (frames / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(
        [*inputs, "out.mp4", "out.frames", "whole.mp4", "whole.frames"]
    )


def test_a_run_killed_four_times_makes_the_same_film(tmp_path, toy):
    random.seed(1)
    kill_and_resume(tmp_path, toy, "video", 4, 14)


def test_a_run_with_masks_and_guides_is_killed_three_times(tmp_path, toy):
    random.seed(3)
    kill_and_resume(tmp_path, toy, "masks", 3, 10)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["zoom", "video", "masks"])
def test_a_run_killed_ten_times_makes_the_same_film(tmp_path, toy, command):
    random.seed(2)
    kill_and_resume(tmp_path, toy, command, 10, 30)


class Killed(BaseException):
    """In place of SIGKILL, at a moment that is chosen."""


@pytest.mark.parametrize("moment", ["state", "picture"])
def test_a_run_killed_between_two_files_makes_the_same_film(tmp_path, monkeypatch, moment):
    """Before the state of frame 2 is written, and between that and its picture."""
    write_state, write_picture = np.savez, make.save_image

    def kill_at_state(*args, done, **kwargs):
        if done == 3 and moment == "state":
            raise Killed
        write_state(*args, done=done, **kwargs)

    def kill_at_picture(path, *args):
        if path.name == "000002.png" and moment == "picture":
            raise Killed
        write_picture(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", kill_at_state)
        patch.setattr(make, "save_image", kill_at_picture)
        with pytest.raises(Killed):
            count({}, tmp_path / "out.gif")
    assert len(frames_in(tmp_path / "out.frames")) == 2
    assert count({}, tmp_path / "out.gif") == ([2, 3] if moment == "state" else [3])
    count({}, tmp_path / "whole.gif")
    assert (tmp_path / "out.gif").read_bytes() == (tmp_path / "whole.gif").read_bytes()


# What is resumed, and what is not


def count(settings, out, n=4, **kwargs):
    """Make a film of n grey frames; the numbers of those that were made now."""
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
    assert count({"scale": 1}, out) == [0, 1, 2, 3] and count({"scale": 1}, out) == []
    assert count({"scale": 1, "frames": 6, "fps": 5}, out, 6, fps=5) == [4, 5], "a film may grow"
    assert films.film_about(out)[:2] == (5, 6)
    count({"scale": 1}, out, 3)
    assert len(list(dd.read_film(out))) == 3 and len(list(frames.glob("0*.png"))) == 6, (
        "and be cut short again"
    )
    assert count({"scale": 1}, tmp_path / "out.mp4", 6) == [], "or be another format"
    assert count({"scale": 2}, out, 2, restart=True) == [0, 1]
    assert sorted(os.listdir(frames)) == ["000000.png", "000001.png", "state.npz"]
    assert dd.read_settings(frames / "000001.png") == {"scale": 2, "frame": 1}


def test_what_is_encoded_is_counted(tmp_path):
    out, calls = tmp_path / "out.gif", []
    count({}, out, on_frame=calls.append, on_encode=lambda *now: calls.append(now))
    encoded = [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert calls == [0, 1, 2, 3, 4, *encoded]
    calls.clear()
    count({}, tmp_path / "out.mp4", on_frame=calls.append, on_encode=lambda *now: calls.append(now))
    assert calls == [4, *encoded], "only encoding remains"
    calls.clear()
    count({}, tmp_path / "folder", on_encode=lambda *now: calls.append(now))
    assert calls == [], "its frames need no encoding"


@pytest.mark.parametrize(
    ("begun", "now", "says", "setting"),
    [
        (
            {"scale": 1},
            {"scale": 2},
            r"was begun with scale 1, and now it is 2; go back .*--restart",
            "scale",
        ),
        (
            {"scale": 1},
            {"scale": 1, "rotate": 5},
            "was begun with rotate None, and now it is 5",
            "rotate",
        ),
        (
            {"scale": 1},
            {"command": "video"},
            "was begun with command None, and now it is 'video'",
            "command",
        ),
        (
            {"sha256": {"image": "a"}},
            {"sha256": {"image": "b"}},
            "was begun from another file than this one",
            None,
        ),
    ],
)
def test_other_settings_are_refused(tmp_path, begun, now, says, setting):
    out = tmp_path / "out.gif"
    count(begun, out)
    with pytest.raises(dd.DreamError, match=says) as refusal:
        count(now, out)
    assert refusal.value.setting == setting
    assert count(now, out, restart=True) == [0, 1, 2, 3]


def test_a_file_may_move_and_the_version_change(tmp_path):
    out = tmp_path / "out.gif"
    begun = {"deepdream": "0.1.0", "sha256": {"image": "a"}, "image": "here.jpg"}
    assert count(begun, out) == [0, 1, 2, 3]
    assert count(begun | {"image": "there.jpg"}, out) == [], "the same picture"
    assert count(begun | {"deepdream": "9.0"}, out) == []


def test_frames_that_are_missing(tmp_path):
    out, frames = tmp_path / "out.gif", tmp_path / "out.frames"
    count({}, out, 2)
    (frames / "000001.png").unlink()
    assert count({}, out, 2) == [] and (frames / "000001.png").exists(), (
        "the state has the last one"
    )
    (frames / "000000.png").unlink()
    with pytest.raises(dd.DreamError, match=r"000000\.png is missing; --restart"):
        count({}, out, 2)


def test_a_damaged_state(tmp_path):
    out, path = tmp_path / "out.gif", tmp_path / "out.frames" / "state.npz"
    count({"scale": 2}, out, 2)
    state = path.read_bytes()
    for damaged in (
        b"PK",
        state[: len(state) // 2],
        state.replace("scale".encode("utf-32-le"), bytes(20)),
    ):
        path.write_bytes(damaged)
        with pytest.raises(dd.DreamError, match=r"cannot read .*state\.npz.*--restart"):
            count({"scale": 2}, out, 2)
    assert count({"scale": 2}, out, 2, restart=True) == [0, 1]


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "000000.png").touch()
    for restart in (False, True):
        with pytest.raises(
            dd.DreamError, match="holds other files, and no film to resume; choose another"
        ):
            count({}, tmp_path / "mine", restart=restart)
    assert os.listdir(tmp_path / "mine") == ["000000.png"]
    (tmp_path / "empty").mkdir()
    count({}, tmp_path / "empty")
    count({}, tmp_path / "frames")
    assert sorted(os.listdir(tmp_path / "frames"))[0] == "000000.png" and dd.read_settings(
        tmp_path / "frames"
    )


def test_two_runs_at_once_do_not_meet(tmp_path):
    def make(done, *last):
        with pytest.raises(dd.DreamError, match="another process is making the film"):
            count({}, tmp_path / "out.gif")
        yield (np.zeros((8, 8, 3)),)

    dd.make_film(tmp_path / "out.gif", make, {})


def test_a_failure_says_what_is_safe(tmp_path):
    def make(done, *last):
        yield (np.zeros((8, 8, 3)),)
        raise dd.DreamError("{setting} is broken", "lamp")

    with pytest.raises(
        dd.DreamError, match=r"^lamp is broken; frames finished: 1, in .*out\.frames$"
    ) as failure:
        dd.make_film(tmp_path / "out.gif", make, {})
    assert failure.value.named("--lamp").startswith("--lamp is broken; frames finished: 1")
    with pytest.raises(dd.DreamError, match="frames is 0") as failure:
        dd.make_film(tmp_path / "none.gif", lambda *_: dd.zoom(None, np.zeros((8, 8, 3)), 0), {})
    assert failure.value.setting == "frames" and not (tmp_path / "none.frames").exists()


def test_a_disk_that_fills_up(tmp_path, toy):
    few = "--model", toy, "--width", 240, "--frames", 8, "--iterations", 1, "--octaves", 2
    with mounted(tmp_path / "full", "size=700k"):
        out = tmp_path / "full" / "out.mp4"
        done = main("zoom", PHOTO, "-o", out, *few)
        refused(
            done,
            r"cannot write .*No space left on device; frames finished: \d, in .*out\.frames; the same",
        )
        kept = len(list((tmp_path / "full" / "out.frames").glob("0*.png")))
        assert 0 < kept < 8
        subprocess.run(["mount", "-o", "remount,size=9m", tmp_path / "full"], check=True)
        assert main("zoom", PHOTO, "-o", out, *few).returncode == 0
        assert len(list(dd.read_film(out))) == 8


# On the command line


def is_made(done, out):
    """Whether a command made this file, and said just that."""
    assert done.returncode == 0 and done.stdout == f"{out}\n", done
    return Path(out).exists()


@pytest.mark.parametrize(
    ("args", "frames"),
    [
        (("zoom", PHOTO, "--width", 80, "--frames", 3, "--rotate", -2.5, "--shift", -3, 1.5), 3),
        (("journey", "--size", "64x48", "--frames-per-layer", 2), 4),
        (
            (
                "video",
                "in.avi",
                "--start",
                1,
                "--stop",
                6,
                "--stride",
                2,
                "--width",
                64,
                "--blend",
                0.5,
            ),
            3,
        ),
    ],
    ids=["zoom", "journey", "video"],
)
def test_the_commands(tmp_path, toy, monkeypatch, args, frames):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.avi", panned(6, 64, 48))
    (tmp_path / PHOTO.name).write_bytes(PHOTO.read_bytes())  # for replay
    given = *args, "--model", toy, "--iterations", 1, "--octaves", 2
    out, again = tmp_path / "out.gif", tmp_path / "again.gif"
    assert is_made(run(*given, "-o", out), out)
    assert len(list(dd.read_film(out))) == frames
    settings = dd.read_settings(out)
    assert settings["command"] == args[0] and settings["model"] == "toy"
    assert dd.read_settings(tmp_path / "out.frames" / "000001.png") == settings | {"frame": 1}
    for shown in (tmp_path / "out.frames", tmp_path / "out.frames" / "000001.png"):
        assert shlex.split(main("replay", shown).stdout)[-2:] == [
            "-o",
            str(tmp_path / "out.frames"),
        ]
    assert is_made(main("replay", out, "-o", again, "--model", toy), again)
    assert again.read_bytes() == out.read_bytes()
    refused(main(*given, "-o", out, "--jitter", 5), "was begun with --jitter 32, and now it is 5")
    assert is_made(main(*given, "-o", out, "--restart", "--jitter", 5), out)
    assert dd.read_settings(out)["jitter"] == 5


def test_a_journey_from_a_picture(tmp_path, toy):
    out = tmp_path / "out.gif"
    few = (
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        2,
        "--width",
        80,
        "--frames-per-layer",
        2,
        "--cross-fade",
        1,
    )
    assert is_made(main("journey", PHOTO, "-o", out, "--layers", "both, left", *few), out)
    assert len(list(dd.read_film(out))) == 4


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("zoom", PHOTO, "-o", "out.mov"), r"must end in \.mp4"),
        (("zoom", PHOTO, "-o", "out.mp4", "--frames", 0), "--frames is 0"),
        (("zoom", "absent.jpg", "-o", "out.mp4"), "there is no such file"),
        (("zoom", PHOTO, "-o", "absent/out.mp4"), "there is no folder"),
        (("zoom", PHOTO, "-o", "out.mp4", "--fps", 0), r"--fps is 0\.0; it must be"),
        (
            ("zoom", PHOTO, "-o", "out.gif", "--fps", 60),
            r"--fps is 60; a \.gif shows at most 50 frames a second",
        ),
        (("zoom", PHOTO, "-o", "out.mp4", "--zoom", 2), r"--zoom is 2\.0"),
        (("journey", "-o", "out.mp4", "--layers", "boht"), "unknown layer 'boht'"),
        (("journey", "-o", "out.mp4", "--size", "0x5"), "it must be WIDTHxHEIGHT"),
        (
            ("journey", "-o", "out.mp4", "--size", "20000x5"),
            "--size is 20000x5; both numbers must be",
        ),
        (
            ("journey", "-o", "out.mp4", "--frames-per-layer", 2, "--cross-fade", 2),
            "--cross-fade is 2; it must be",
        ),
        (("journey", "-o", "out.mp4", "--width", 80), "--size is for a journey from noise"),
        (("journey", "-o", "out.mp4", "--layers", " ,"), "at least one layer"),
        (("video", "text.mp4", "-o", "out.mp4"), "cannot read the film"),
        (("video", PHOTO, "-o", "out.mp4", "--stride", 0), "--stride is 0"),
        (
            ("video", PHOTO, "-o", "out.mp4", "--start", 1),
            "--start is 1; .* has 1 frames, so it must be at most 0",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--stop", 2, "--start", 3),
            "--stop is 2; it must be .* above start",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--width", 20000),
            "--width is 20000; a film can be at most 16384",
        ),
        (("video", PHOTO, "-o", "out.mp4", "--blend", 2), r"--blend is 2\.0"),
        (("video", "toy", "-o", "out.mp4"), "it is a folder"),
        (
            ("video", PHOTO, "-o", "out.mp4", "--mask", "text.mp4"),
            r"cannot read the film text\.mp4: ",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--guide", "text.mp4"),
            r"cannot read the film text\.mp4: ",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--mask", "absent.mp4"),
            r"picture absent\.mp4: there is no such file",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--guide", "absent.png"),
            r"picture absent\.png: there is no such file",
        ),
        (("video", PHOTO, "-o", "out.mp4", "--guide", "toy"), "cannot read the picture toy: "),
        (
            ("zoom", PHOTO, "-o", "out.mp4", "--mask", "text.mp4"),
            r"cannot read the picture text\.mp4: ",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--guide", PHOTO, "--objective", "L2('both')"),
            "leave out --layer and",
        ),
        (
            ("video", PHOTO, "-o", "out.mp4", "--layr", "both"),
            "unknown option '--layr'; did you mean '--layer'",
        ),
    ],
)
def test_wrong_films(tmp_path, toy, monkeypatch, args, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no film")
    refused(main(*args, "--model", toy), says)
    assert sorted(os.listdir(tmp_path)) == ["text.mp4", "toy"]


def test_ctrl_c_stops_a_film_between_frames(tmp_path, toy, monkeypatch):
    save_image = make.save_image

    def stop_after_two(path, *args):
        save_image(path, *args)
        if path.name == "000001.png":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(make, "save_image", stop_after_two)
    few = "--width", 80, "--iterations", 1, "--octaves", 1
    done = main("zoom", PHOTO, "-o", tmp_path / "o.mp4", "--model", toy, *few)
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done
    assert (
        "stopped; frames finished: 2, in" in done.stderr
        and "the same command resumes the film" in done.stderr
    )
    monkeypatch.undo()
    done = main("zoom", PHOTO, "-o", tmp_path / "o.mp4", "--model", toy, *few, "--frames", 3)
    assert is_made(done, tmp_path / "o.mp4") and len(frames_in(tmp_path / "o.frames")) == 3


def test_replay(tmp_path, toy):
    picture, again = tmp_path / "in.png", tmp_path / "again.png"
    dd.save_image(picture, panned(1)[0])
    given = [
        "--iterations",
        1,
        "--octaves",
        2,
        "--objective=-L2('both')",
        "--keep-color",
        "--no-clip",
        "--mask",
    ]
    assert (
        main("dream", picture, "-o", tmp_path / "o.png", "--model", toy, *given, picture).returncode
        == 0
    )
    seed = dd.read_settings(tmp_path / "o.png")["seed"]
    words = shlex.split(main("replay", tmp_path / "o.png").stdout)
    assert words[:3] == ["deepdream", "dream", "in.png"] and words[-2:] == [
        "-o",
        str(tmp_path / "o.png"),
    ]
    options = "--model toy --engine caffe --objective=-L2('both') --iterations 1 --octaves 2 --width 96 --mask in.png"
    expected = [
        *shlex.split(options.replace("'", "\\'")),
        "--keep-color",
        "--no-clip",
        "--seed",
        str(seed),
    ]
    assert sorted(words[3:-2]) == sorted(expected)
    assert is_made(main("replay", tmp_path / "o.png", "-o", again, "--model", toy), again)
    assert again.read_bytes() == (tmp_path / "o.png").read_bytes()
    assert "--seed 5 " in main("replay", tmp_path / "o.png", "--seed", 5).stdout
    assert main("draw", "3", "-o", tmp_path / "d.jpg", "--model", toy, "--steps", 2).returncode == 0
    assert (
        run("replay", tmp_path / "d.jpg", "-o", tmp_path / "d2.jpg", "--model", toy).returncode == 0
    )
    assert (tmp_path / "d.jpg").read_bytes() == (tmp_path / "d2.jpg").read_bytes()
    dd.save_image(tmp_path / "later.png", panned(1)[0], {"deepdream": "9.0", "command": "fly"})
    refused(
        main("replay", tmp_path / "later.png"), "carries no settings of deepdream's command line"
    )
    refused(main("replay", picture), "carries no settings of deepdream's command line")
    refused(main("replay", tmp_path / "absent.png"), "cannot read the picture")
    dd.save_image(picture, panned(2)[1])
    done = main("replay", tmp_path / "o.png", "-o", again, "--model", toy)
    assert done.returncode == 0 and "is not the same as what" in done.stderr
    picture.unlink()
    refused(
        main("replay", tmp_path / "o.png", "-o", again),
        r"was made from in\.png, which is not here; put that",
    )


def test_replay_never_takes_the_picture_itself_for_its_source(tmp_path, toy, monkeypatch):
    """A dream often has the name of its photograph, in another folder."""
    monkeypatch.chdir(tmp_path)
    few = "--model", toy, "--iterations", 1, "--octaves", 1, "--seed", 0
    for folder in ("photos", "dreams", "elsewhere"):
        Path(folder).mkdir()
    dd.save_image("photos/a.png", panned(1)[0])
    assert main("dream", Path("photos/a.png").resolve(), "-o", "dreams/a.png", *few).returncode == 0
    assert dd.read_settings("dreams/a.png")["image"] == "a.png"
    says = r"dreams/a\.png was made from a\.png, which is not here; put that beside it, or run this where that is$"
    refused(main("replay", "dreams/a.png", "-o", "x.png", "--model", toy), says)
    monkeypatch.chdir("photos")
    assert is_made(main("replay", "../dreams/a.png", "-o", "../x.png", "--model", toy), "../x.png")
    assert Path("../x.png").read_bytes() == Path("../dreams/a.png").read_bytes()


def test_replay_prefers_the_file_that_has_not_changed(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name, picture in (("sub/a.png", panned(1)[0]), ("sub/flower.jpg", panned(2)[1])):
        dd.save_image(name, picture)
    words = (
        "--objective",
        "guide('left', 'flower.jpg')",
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
    )
    monkeypatch.chdir("sub")
    assert main("dream", "a.png", "-o", "o.png", *words).returncode == 0
    monkeypatch.chdir(tmp_path)
    dd.save_image("a.png", panned(2)[1])  # others, by the names that are recorded
    dd.save_image("flower.jpg", panned(1)[0])
    done = main("replay", "sub/o.png", "-o", "x.png", "--model", toy)
    assert is_made(done, "x.png") and done.stderr == ""
    assert np.array_equal(dd.load_image("x.png"), dd.load_image("sub/o.png"))


def test_a_guide_inside_an_objective_is_found_and_checked(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("far").mkdir()
    dd.save_image("a.png", panned(1)[0])
    dd.save_image("far/g.png", panned(2)[1])
    few = "--model", toy, "--iterations", 1, "--octaves", 1
    words = "--objective", f"L2('both')+2*guide('left','{tmp_path}/far/g.png')"
    assert main("dream", "a.png", "-o", "o.png", *words, *few).returncode == 0
    carried, digest = (
        dd.read_settings("o.png"),
        hashlib.sha256(Path("far/g.png").read_bytes()).hexdigest(),
    )
    assert (
        carried["objective"] == "L2('both') + 2 * guide('left', 'g.png')"
        and carried["sha256"]["objective 1"] == digest
    )
    again = "replay", "o.png", "-o", "x.png", "--model", toy
    refused(main(*again), r"o\.png was made from g\.png, which is not here; put that beside it")
    Path("far/g.png").rename("g.png")
    assert (
        is_made(main(*again), "x.png") and Path("x.png").read_bytes() == Path("o.png").read_bytes()
    )
    dd.save_image("g.png", panned(1)[0])
    assert "g.png is not the same as what o.png was made from" in main(*again).stderr
    draw = "draw", "guide('left', 'g.png')", "--model", toy, "--steps", 1
    assert main(*draw, "-o", "far/d.png").returncode == 0
    refused(
        main("draw", "guide('left', 'none.png')", *draw[2:], "-o", "x.png"),
        "cannot read none.png: there is no",
    )
    Path("g.png").rename("far/g.png")
    assert is_made(main("replay", "far/d.png", "-o", "d.png", "--model", toy), "d.png")
    assert np.array_equal(dd.load_image("d.png"), dd.load_image("far/d.png"))


def test_a_film_knows_the_guide_inside_its_objective(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dd.save_image("a.png", panned(1)[0])
    dd.save_image("g.png", panned(2)[1])
    Path("far").mkdir()

    def zoom(frames, guide="g.png"):
        few = "--model", toy, "--iterations", 1, "--octaves", 1, "--frames", frames
        return main("zoom", "a.png", "-o", "film", "--objective", f"guide('left', '{guide}')", *few)

    assert is_made(zoom(2), "film")
    Path("far/g.png").write_bytes(Path("g.png").read_bytes())
    assert is_made(zoom(3, "far/g.png"), "film"), "the same picture at another place"
    dd.save_image("g.png", panned(1)[0])
    refused(zoom(4), "the film in film was begun from another file than this one")
    refused(zoom(4, "a.png"), "the film in film was begun from another file than this one")
    done, last, begun = resume._read_state(Path("film", "state.npz"))
    del begun["sha256"]["objective 1"]  # as version 0.2.0 wrote it
    begun["objective"] = f"guide('left', '{tmp_path}/g.png')"
    np.savez("film/state.npz", *last, done=done, settings=json.dumps(begun))
    refused(zoom(4, "a.png"), "was begun with --objective .*g.png.*, and now it is .*a.png")
    assert is_made(zoom(4), "film") and len(frames_in(Path("film"))) == 4


def test_the_replay_of_a_film_that_became_longer_makes_all_of_it(tmp_path, toy):
    film = tmp_path / "film"
    words = (
        "zoom",
        PHOTO,
        "-o",
        film,
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
        "--width",
        64,
        "--frames",
    )
    for frames in (2, 3):
        assert is_made(main(*words, frames), film)
    assert " --frames 3 " in main("replay", film).stdout
    refused(main("replay", tmp_path / "toy"), r"there are no frames of a film in the folder .*toy")


def test_what_older_versions_wrote_can_be_replayed(tmp_path):
    old = {
        "deepdream": "0.1.0",
        "model": "bvlc_googlenet",
        "engine": "caffe",
        "image": "a.jpg",
        "guide": None,
    }
    old |= {"width": 100, "iter_n": 5, "end": "conv2/3x3", "clip": True, "seed": None}
    dd.save_image(tmp_path / "o.png", panned(1)[0], old)
    says = "deepdream dream a.jpg --model bvlc_googlenet --engine caffe --layer conv2/3x3 --iterations 5 --width 100 -o"
    assert main("replay", tmp_path / "o.png").stdout.startswith(says)


# Films with keys, held looks, loops


KEYS = """
[0]
layer = "left"
mask = "mask.png"

[2]
look = "2015"
zoom = 0.2
to = [0.8, 0.3]

[3]
guide = "FAR/guide.png"
jitter = 4

[5]
objective = "L2('left') + 2 * guide('right', 'FAR/guide.png')"
rotate = 10
keep-color = true
"""
HELD = "--hold", 0.5, "--to", 20, 40, "--loop", "--frames", 7


@pytest.fixture
def keyed(tmp_path, monkeypatch):
    """In the working folder a photograph, a mask, a network, film.toml, and
    far/guide.png, which that names in full.
    """
    monkeypatch.chdir(tmp_path)
    write_model(
        tmp_path / "toy", TOY.replace('"both"', '"fire8/concat"'), 'default_layer = "fire8/concat"'
    )
    (tmp_path / "far").mkdir()
    dd.save_image("in.png", panned(1, 80, 60)[0])
    dd.save_image("far/guide.png", panned(2, 64, 40)[1])
    mask = np.zeros((20, 30))
    mask[:, 5:25] = 255
    dd.save_image("mask.png", np.repeat(mask[..., None], 3, 2))
    (tmp_path / "film.toml").write_text(KEYS.replace("FAR", str(tmp_path / "far")))
    return tmp_path


def zoom(out, *args, keys="film.toml"):
    """The words of a small film, with keys."""
    few = "--model", "toy", "--iterations", 2, "--octaves", 2
    return ["zoom", "in.png", "-o", out, *(["--keys", keys] if keys else []), *few, *args]


def files_in(folder):
    """{name: content} of a film's frames, and the arrays of its state."""
    with np.load(Path(folder, "state.npz")) as state:
        arrays = {name: state[name].tobytes() for name in state.files}
    return {path.name: path.read_bytes() for path in Path(folder).glob("0*.png")} | arrays


def is_same_film(one, other):
    """Whether two films, and the frames that they were made of, are the same byte by
    byte.
    """
    one, other = Path(one), Path(other)
    frames = [path.with_suffix(".frames") for path in (one, other)]
    return one.read_bytes() == other.read_bytes() and files_in(frames[0]) == files_in(frames[1])


@pytest.fixture
def interrupt(monkeypatch):
    """A function: make a film in this process that is killed, or stopped by Ctrl-C,
    when frame i has been saved.
    """
    save_image = make.save_image

    def run_until(i, words, how=Killed):
        def save(path, *args):
            save_image(path, *args)
            if path.name == f"{i:06d}.png":
                if how is Killed:
                    raise Killed
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(make, "save_image", save)
            if how is not Killed:
                return main(*words)
            with pytest.raises(Killed):
                main(*words)

    return run_until


def test_a_film_with_keys_that_is_held_and_a_loop_is_resumed_at_each_frame(keyed, interrupt):
    assert is_made(main(*zoom("whole.gif", *HELD)), "whole.gif")
    for i in range(6):
        interrupt(i, zoom("out.gif", *HELD))
        assert len(frames_in(keyed / "out.frames")) == i + 1
    assert is_made(main(*zoom("out.gif", *HELD)), "out.gif") and is_same_film(
        "out.gif", "whole.gif"
    )
    assert len(list(dd.read_film("out.gif"))) == 7
    done = interrupt(2, zoom("stopped.gif", *HELD), "Ctrl-C")
    assert (
        done.returncode == 130
        and "frames finished: 3, in stopped.frames; the same command" in done.stderr
    ), done
    assert is_made(main(*zoom("stopped.gif", *HELD)), "stopped.gif") and is_same_film(
        "stopped.gif", "whole.gif"
    )
    assert is_made(main(*zoom("plain.gif", *HELD, keys=None)), "plain.gif")
    assert not is_same_film("plain.gif", "whole.gif")


def test_a_film_with_keys_that_is_killed_is_resumed_by_another_process(keyed):
    """Processes differ in more than one might think: in each a set has another order."""
    random.seed(5)
    words = [*map(str, zoom("out.gif", *HELD, "--iterations", 6))]
    killed = 0
    for attempt in range(6):
        env = os.environ | {"PYTHONHASHSEED": str(attempt)}
        before = len(list(keyed.glob("out.frames/0*.png")))
        process = subprocess.Popen([sys.executable, "-m", "deepdream", *words], env=env)
        if wait_for_frames(process, keyed / "out.frames", before + 2):
            time.sleep(random.uniform(0, 0.1))
        process.kill()
        if process.wait() == 0:
            break
        killed += 1
        assert process.returncode == -signal.SIGKILL
        if killed == 2:
            break
    assert killed
    assert is_made(run(*words, env=os.environ | {"PYTHONHASHSEED": "7"}), "out.gif")
    assert is_made(main(*zoom("whole.gif", *HELD, "--iterations", 6)), "whole.gif")
    assert is_same_film("out.gif", "whole.gif")


def test_a_film_with_keys_is_replayed_without_the_key_file(keyed):
    assert is_made(main(*zoom("film.gif", *HELD)), "film.gif")
    carried = dd.read_settings("film.gif")
    digests = {"image": "in.png", "key 0 mask": "mask.png", "weights": "toy/toy.caffemodel"}
    digests |= {"key 3 guide": "far/guide.png", "key 5 objective 1": "far/guide.png"}
    digests = {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in digests.items()
    }
    assert carried["sha256"] == digests
    assert (carried["to"], carried["hold"], carried["loop"]) == ([20, 40], 0.5, True)
    recorded = json.loads(carried["keys"])
    assert recorded["3"]["guide"] == "guide.png" and recorded["0"] == {
        "end": "left",
        "mask": "mask.png",
    }
    assert recorded["5"]["objective"] == "L2('left') + 2 * guide('right', 'guide.png')"
    assert (
        recorded["2"].items()
        >= {"end": "fire8/concat", "scale": 0.2, "iter_n": 2, "lap": 0}.items()
    )
    assert recorded["2"]["to"] == [0.8, 0.3] and "look" not in carried["keys"]
    assert str(keyed) not in json.dumps(carried), "pictures are published"
    (keyed / "film.toml").unlink()
    again = "replay", "film.gif", "-o", "again.gif", "--model", "toy"
    refused(
        main(*again), r"film\.gif was made from guide\.png, which is not here; put that beside it"
    )
    (keyed / "far" / "guide.png").rename("guide.png")
    assert is_made(main(*again), "again.gif") and is_same_film("again.gif", "film.gif")
    words = shlex.split(main("replay", "film.gif").stdout)
    assert words[:3] == ["deepdream", "zoom", "in.png"] and words[-2:] == ["-o", "film.gif"]
    assert is_made(main(*words[1:-1], "words.gif"), "words.gif") and is_same_film(
        "words.gif", "film.gif"
    )
    dd.save_image("guide.png", panned(1, 64, 40)[0])
    done = main(*again, "--restart")
    assert done.stderr.count("guide.png is not the same as what film.gif was made from") == 2, done
    assert Path("again.gif").read_bytes() != Path("film.gif").read_bytes()


def test_the_keys_of_a_replay_may_be_replaced(keyed):
    assert is_made(main(*zoom("film.gif", "--frames", 2)), "film.gif")
    Path("other.json").write_text('{"1": {"zoom": 0.3}}')
    done = main("replay", "film.gif", "-o", "other.gif", "--model", "toy", "--keys", "other.json")
    assert done.returncode == 2 and "guide.png" in done.stderr, (
        "those of the film must be there all the same"
    )
    (keyed / "far" / "guide.png").rename("guide.png")
    done = main("replay", "film.gif", "-o", "other.gif", "--model", "toy", "--keys", "other.json")
    assert (
        is_made(done, "other.gif")
        and dd.read_settings("other.gif")["keys"] == '{"1": {"scale": 0.3}}'
    )


def test_what_a_film_with_keys_is_resumed_with(keyed):
    assert is_made(main(*zoom("loop.gif", *HELD)), "loop.gif")
    before = files_in("loop.frames")
    says = "the film in loop.frames is a loop of 7 frames, which cannot get other ones; go back to that, choose another"
    refused(main(*zoom("loop.gif", *HELD, "--frames", 8)), f"^deepdream: {says}")
    refused(
        main(*zoom("loop.gif", *HELD[:-3], "--frames", 7)),
        "was begun with --loop True, and now it is False",
    )
    refused(
        main(*zoom("loop.gif", *HELD, "--hold", 0.4)),
        "was begun with --hold 0.5, and now it is 0.4",
    )
    refused(
        main(*zoom("loop.gif", *HELD, "--to", 20, 41)), "was begun with --to .*, and now it is "
    )
    refused(main(*zoom("loop.gif", *HELD, keys=None)), "was begun with other --keys than now")
    assert files_in("loop.frames") == before

    assert is_made(main(*zoom("film.gif", "--frames", 3, "--hold", 0.5)), "film.gif")
    for other in ('{"0": {"layer": "left"}}', KEYS.replace("zoom = 0.2", "zoom = 0.3")):
        keys = other if other.startswith("{") else "other.toml"
        Path("other.toml").write_text(other.replace("FAR", str(keyed / "far")))
        refused(
            main(*zoom("film.gif", "--frames", 6, "--hold", 0.5, keys=keys)),
            "was begun with other --keys than now",
        )
    (keyed / "far").rename("near")
    same = (
        (keyed / "film.toml")
        .read_text()
        .replace("/far/", "/near/")
        .replace("zoom = 0.2", "scale = 0.20")
    )
    Path("same.toml").write_text(same)
    assert is_made(
        main(*zoom("film.gif", "--frames", 6, "--hold", 0.5, keys="same.toml")), "film.gif"
    ), "longer"
    assert is_made(
        main(*zoom("whole.gif", "--frames", 6, "--hold", 0.5, keys="same.toml")), "whole.gif"
    )
    assert Path("film.gif").read_bytes() == Path("whole.gif").read_bytes()
    dd.save_image("near/guide.png", panned(1, 64, 40)[0])
    refused(
        main(*zoom("film.gif", "--frames", 6, "--hold", 0.5, keys="same.toml")),
        "was begun from another file than",
    )


# Journeys downwards


def test_a_journey_down_records_its_layers_and_is_replayed(keyed):
    words = (
        "journey",
        "--down",
        "--size",
        "64x48",
        "--model",
        "toy",
        "--frames-per-layer",
        2,
        "--iterations",
        1,
    )
    words = *words, "--octaves", 1, "--hold", 0.4, "--loop"
    assert is_made(main(*words, "-o", "down.gif"), "down.gif")
    carried = dd.read_settings("down.gif")
    up = ",".join(seeing.stations(dd.load_net("toy")))
    assert (
        carried["layers"] == ",".join(reversed(up.split(","))) == "fire8/concat,conv1"
        and carried["down"] is True
    )
    assert is_made(main("replay", "down.gif", "-o", "again.gif", "--model", "toy"), "again.gif")
    assert is_same_film("again.gif", "down.gif")
    refused(
        main(*words, "--frames-per-layer", 3, "-o", "down.gif"),
        "was begun with --frames-per-layer 2, and now it",
    )
    done = main(*words, "--layers", "left,fire8/concat,conv1", "-o", "sorted.gif")
    assert (
        is_made(done, "sorted.gif")
        and dd.read_settings("sorted.gif")["layers"] == "fire8/concat,left,conv1"
    )


# Previews


def previewed(name, frames, size, whole):
    """(The pictures, the settings) of the preview of a film by this name, whose replay
    makes this whole film.
    """
    path, again = Path(name), Path(f"again{Path(name).suffix}")
    preview = path.with_stem(f"{path.stem}-preview")
    folder = preview.with_suffix(".frames") if path.suffix else preview
    assert not path.exists() and not path.with_suffix(".frames").exists(), (
        "that name is left to the film"
    )
    pictures = [dd.load_image(folder / name) for name in sorted(frames_in(folder))]
    assert len(pictures) == frames and {picture.shape for picture in pictures} == {(*size, 3)}
    carried = dd.read_settings(preview)
    assert carried["preview"] is True and "--preview" not in main("replay", preview).stdout
    assert is_made(main("replay", preview, "-o", again, "--model", "toy"), again)
    if path.suffix:
        assert is_same_film(again, whole)
        assert dd.read_settings(whole) == {
            name: value for name, value in carried.items() if name != "preview"
        }
    else:
        assert files_in(again) == files_in(whole)
    return pictures, carried


@pytest.fixture
def guided(keyed):
    """The same, with the guide also beside the film, where a replay finds it."""
    (keyed / "guide.png").write_bytes((keyed / "far" / "guide.png").read_bytes())


def test_the_preview_of_a_zoom(keyed, guided):
    dd.save_image("in.png", panned(1, 160, 10)[0].repeat(4, 0).repeat(4, 1))
    given = "--frames", 11, "--shift", 5, 0, "--hold", 0.5, "--octaves", 3, "--iterations", 1
    assert is_made(main(*zoom("film.gif", *given, "--preview")), "film-preview.gif")
    assert films.film_about("film-preview.gif")[0] == 2.5, "it lasts as long as the film"
    assert is_made(main(*zoom("whole.gif", *given)), "whole.gif")
    previewed("film.gif", 2, (20, 320), "whole.gif")


def test_the_preview_of_a_small_film_begins_as_that(keyed, guided):
    given = "--frames", 21, "--iterations", 1, "--octaves", 1
    assert is_made(main(*zoom("film", *given, "--preview")), "film-preview")
    assert is_made(main(*zoom("whole", *given)), "whole")
    pictures, _ = previewed("film", 3, (60, 80), "whole")
    assert np.array_equal(pictures[0], dd.load_image("whole/000000.png"))


def test_the_preview_of_a_journey(keyed):
    few = (
        "--model",
        "toy",
        "--frames-per-layer",
        6,
        "--iterations",
        1,
        "--octaves",
        1,
        "--layers",
        "conv1,left",
    )
    words = "journey", "--size", "360x36", *few
    assert is_made(main(*words, "-o", "film.gif", "--preview"), "film-preview.gif")
    assert is_made(main(*words, "-o", "whole.gif"), "whole.gif")
    previewed("film.gif", 2, (32, 320), "whole.gif")


def test_the_preview_of_a_video(keyed):
    write("in.mp4", panned(23, 40, 100), sound=1)
    words = (
        "video",
        "in.mp4",
        "--model",
        "toy",
        "--iterations",
        1,
        "--octaves",
        2,
        "--start",
        2,
        "--width",
        140,
    )
    words = *words, "--mask", "mask.png"
    assert is_made(main(*words, "-o", "film.mp4", "--preview"), "film-preview.mp4")
    assert films.film_about("film-preview.mp4")[0] == 2.5 and tone("film-preview.mp4")[
        0
    ] == pytest.approx(0.9, abs=0.1)
    assert is_made(main(*words, "-o", "whole.mp4"), "whole.mp4")
    _, carried = previewed("film.mp4", 3, (320, 128), "whole.mp4")
    assert (carried["width"], carried["stride"], carried["start"]) == (140, 1, 2)
    refused(
        main(*words, "-o", "film.mp4", "--preview", "--start", 99),
        "--start is 99; .* has 23 frames",
    )


def test_a_preview_is_resumed(keyed, interrupt):
    given = *HELD[:-1], 31
    assert is_made(main(*zoom("whole.gif", *given, "--preview")), "whole-preview.gif")
    for i in (0, 2):
        interrupt(i, zoom("out.gif", *given, "--preview"))
    assert is_made(main(*zoom("out.gif", *given, "--preview")), "out-preview.gif")
    assert is_same_film("out-preview.gif", "whole-preview.gif")
    assert len(frames_in(keyed / "out-preview.frames")) == 4
    says = "the film in out-preview.frames was begun with --preview True, and now it is None"
    refused(main(*zoom("out-preview.gif", *given)), says)
    done = main(*zoom("out.gif", *given, "--preview", "--restart", "--jitter", 5))
    assert is_made(done, "out-preview.gif") and dd.read_settings("out-preview.gif")["jitter"] == 5


def test_a_preview_is_not_written_over_what_it_reads(keyed):
    dd.save_film("a-preview.gif", panned(2, 80, 60))
    before = Path("a-preview.gif").read_bytes()
    few = "--model", "toy", "--octaves", 1, "--iterations", 1
    done = main("zoom", "a-preview.gif", "-o", "a.gif", "--preview", "--frames", 2, *few)
    assert Path("a-preview.gif").read_bytes() == before
    refused(done, r"a-preview\.gif would be read and overwritten; choose another name for -o")


def test_the_preview_of_a_video_is_not_written_over_it(keyed):
    dd.save_film("a-preview.gif", panned(2, 80, 60))
    before = Path("a-preview.gif").read_bytes()
    done = main(
        "video", "a-preview.gif", "-o", "a.gif", "--preview", "--model", "toy", "--octaves", 1
    )
    refused(
        done,
        r"a-preview\.gif (is the film to dream over; give the dream|would be read and overwritten; choose) ",
    )
    assert Path("a-preview.gif").read_bytes() == before


def test_what_a_key_file_names_is_not_overwritten(keyed):
    dd.save_film("mask.gif", panned(1, 80, 60))
    before = Path("mask.gif").read_bytes()
    Path("film.toml").write_text("[0]\nmask = 'mask.gif'")
    done = main(*zoom("mask.gif", "--frames", 1))
    assert Path("mask.gif").read_bytes() == before
    refused(done, r"mask\.gif would be read and overwritten; choose another name for -o")


def test_what_keys_on_the_command_line_name_is_not_overwritten(keyed):
    dd.save_film("mask.gif", panned(1, 80, 60))
    done = main(*zoom("mask.gif", "--frames", 1, keys='{"0": {"mask": "mask.gif"}}'))
    refused(done, r"mask\.gif would be read and overwritten; choose another name for -o")
