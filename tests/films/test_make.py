"""Films that take hours, and the commands that make them."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clips import PHOTO, panned, write
from conftest import main, mounted, refused, run
from filming import count, frames_in, is_made, keyed_folder, zoom

import deepdream as dd
from deepdream.films import make


@pytest.fixture
def keyed(tmp_path, monkeypatch):
    return keyed_folder(tmp_path, monkeypatch)


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
            r"cannot write .*No space left on device; frames finished: \d, in .*out\.frames; the ",
        )
        kept = len(list((tmp_path / "full" / "out.frames").glob("0*.png")))
        assert 0 < kept < 8
        subprocess.run(["mount", "-o", "remount,size=9m", tmp_path / "full"], check=True)
        assert main("zoom", PHOTO, "-o", out, *few).returncode == 0
        assert len(list(dd.read_film(out))) == 8


# On the command line


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
