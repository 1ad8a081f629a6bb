"""Runs that are killed and resumed, as real processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import PHOTO, panned, write
from conftest import main, refused, run
from filming import (
    HELD,
    KEYS,
    Killed,
    count,
    files_in,
    frames_in,
    is_made,
    is_same_film,
    keyed_folder,
    zoom,
)

import deepdream as dd
from deepdream.films import make, resume


@pytest.fixture
def keyed(tmp_path, monkeypatch):
    return keyed_folder(tmp_path, monkeypatch)


# Runs that are killed


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
    """Processes differ more than one might think: in each a set has its own order."""
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


# What is resumed, and what is not


def test_what_a_second_run_does(tmp_path):
    out, frames = tmp_path / "out.gif", tmp_path / "out.frames"
    assert count({"scale": 1}, out) == [0, 1, 2, 3] and count({"scale": 1}, out) == []
    assert count({"scale": 1, "frames": 6, "fps": 5}, out, 6, fps=5) == [4, 5], "a film may grow"
    assert dd.films.film_about(out)[:2] == (5, 6)
    count({"scale": 1}, out, 3)
    assert len(list(dd.read_film(out))) == 3 and len(list(frames.glob("0*.png"))) == 6, (
        "and be cut short again"
    )
    assert count({"scale": 1}, tmp_path / "out.mp4", 6) == [], "or be another format"
    assert count({"scale": 2}, out, 2, restart=True) == [0, 1]
    assert sorted(os.listdir(frames)) == ["000000.png", "000001.png", "state.npz"]
    assert dd.read_settings(frames / "000001.png") == {"scale": 2, "frame": 1}


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


def test_what_a_film_with_keys_is_resumed_with(keyed):
    assert is_made(main(*zoom("loop.gif", *HELD)), "loop.gif")
    before = files_in("loop.frames")
    says = "the film in loop.frames is a loop of 7 frames, which cannot get other ones; go back"
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
    done, last, begun = resume.read_state(Path("film"))
    del begun["sha256"]["objective 1"]  # as version 0.2.0 wrote it
    begun["objective"] = f"guide('left', '{tmp_path}/g.png')"
    np.savez("film/state.npz", *last, done=done, settings=json.dumps(begun))
    refused(zoom(4, "a.png"), "was begun with --objective .*g.png.*, and now it is .*a.png")
    assert is_made(zoom(4), "film") and len(frames_in(Path("film"))) == 4
