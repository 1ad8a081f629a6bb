"""What version 0.1.0 made, in tests/data, can be replayed by this version, and its
films resume.

Other processors round differently, so pixels are compared with a tolerance: the
pictures have few steps, and another seed or setting changes them by much more.
"""

import hashlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_model

from deepdream import load_image, read_film, read_settings
from deepdream.cli.main import main
from deepdream.recipe import with_defaults

DATA = Path(__file__).parent / "data"
# sha256 of the toy network's file
WEIGHTS = "7840b7806bceca6d82c00234856b0590e9fc83f179901902acb65db5cc6a15b3"
CLOSE = 1.0  # mean difference of two colour values, of 255, that rounding may make

# The commands that made them, in the words of today: --scale is called --octave-scale
# now. What has the default's value is left out, and what the program chose (the layer,
# the width) is named.
FEW = "--iterations 2 --octaves 2"
CAFFE = "--model toy --engine caffe"
COMMANDS = {
    "dream.png": f"dream photo.png {CAFFE} --layer left --guide guide.jpg --mask mask.png "
    f"--keep-color --no-clip --seed 7 {FEW} --octave-scale 1.3 --step 2.5 --jitter 4 "
    "--smooth 0.5 --tile 300 --width 64",
    "noise.jpg": f"dream {CAFFE} --size 64x48 --seed 11 {FEW} "
    "--objective \"L2('left') - 0.5 * channel('right', 3)\"",
    "torch.png": "dream photo.png --model toy --engine torch --device cpu --dtype float32 "
    f"--width 48 --seed 3 {FEW} --layer both",
    "draw.jpg": f"draw 3 \"channel('left', 1)\" {CAFFE} --steps 3 --seed 5",
    "grid.png": f"grid photo.png {CAFFE} --width 40 --layer conv1,both --iterations 1,2 "
    "--octaves 1",
    "journey.gif": f"journey {CAFFE} --layers conv1,both --frames-per-layer 2 --cross-fade 1 "
    "--size 48x36 --zoom 0.04 --rotate 2.0 --hold 0.0 --fps 10.0 --iterations 1 --octaves 2 "
    "--seed 2",
    "video.mp4": f"video source.mp4 {CAFFE} --stop 2 --blend 0.8 --width 48 {FEW} --layer both",
    "zoom": f"zoom photo.png {CAFFE} --frames 4 --width 48 --zoom 0.1 --shift 1.0 -2.0 {FEW} "
    "--layer both",
}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of tests/data, where the command line runs, with its network."""
    folder = tmp_path / "data"
    shutil.copytree(DATA, folder)
    weights = write_model(folder / "toy") / "toy.caffemodel"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == WEIGHTS, (
        "write_model has changed; tests/data needs it"
    )
    monkeypatch.chdir(folder)
    return folder


def needs_engine(name: str) -> None:
    engine = read_settings(DATA / name)["engine"]
    pytest.importorskip(engine, reason=f"{name} was made with {engine}, which is not installed")


def run(command: str) -> None:
    assert main(shlex.split(command)) == 0, command


def are_close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two pictures (H, W, 3) are the same but for rounding."""
    return a.shape == b.shape and abs(a - b).mean() < CLOSE


def carried(path: Path) -> dict:
    """The settings of a picture or film, also those that are newer than it, but for the
    version that made it.
    """
    return {
        name: value
        for name, value in with_defaults(read_settings(path)).items()
        if name != "deepdream"
    }


def frames(folder: Path) -> dict[str, tuple[bytes, int]]:
    """{name: (content, time of the last change)} of a film's frames."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.glob("[0-9]*.png"))
    }


def frames_done(folder: Path) -> int:
    with np.load(folder / "state.npz") as state:
        return int(state["done"])


# Replay


@pytest.mark.parametrize("name", COMMANDS)
def test_replay_prints_the_command(name: str, old: Path, capsys: pytest.CaptureFixture) -> None:
    run(f"replay {name}")
    words = shlex.split(capsys.readouterr().out)
    assert words[0] == "deepdream" and words[-2:] == ["-o", name]
    assert sorted(words[1:-2]) == sorted(shlex.split(COMMANDS[name]))
    assert read_settings(old / name)["deepdream"] == "0.1.0"


@pytest.mark.parametrize("name", ["dream.png", "noise.jpg", "torch.png", "draw.jpg"])
def test_replay_makes_the_picture_again(name: str, old: Path) -> None:
    needs_engine(name)
    again = old / f"again-{name}"
    run(f"replay {name} -o {again}")
    assert are_close(load_image(again), load_image(name))
    assert carried(again) == carried(old / name)


def test_replay_with_another_setting_makes_another_picture(old: Path) -> None:
    """So the tolerance of the test before is small enough."""
    needs_engine("dream.png")
    for change in ("--seed 8", "--octave-scale 1.4", "--smooth 0", "--step 1.5", "--layer right"):
        run(f"replay dream.png -o again.png {change}")
        assert not are_close(load_image("again.png"), load_image("dream.png")), change


def test_replay_makes_a_grid_again_from_the_pictures_that_are_there(
    old: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("distributed")
    needs_engine("grid.png")
    folder = old / "grid.pictures"
    before = load_image("grid.png")
    missing = folder / "both, iterations 2.png"
    missing.unlink()
    there = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    run("replay grid.png -o grid.png --workers 1")
    assert "1 made, 3 were there, 0 failed" in capsys.readouterr().out
    assert len(there) == 3 and missing.exists()
    assert there == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in there}
    assert are_close(load_image("grid.png"), before)
    run("replay grid.png")
    assert sorted(shlex.split(capsys.readouterr().out)[1:-2]) == sorted(
        shlex.split(COMMANDS["grid.png"])
    )


@pytest.mark.parametrize("name", ["journey.gif", "video.mp4"])
def test_replay_makes_the_film_again(name: str, old: Path) -> None:
    needs_engine(name)
    again = old / f"again-{name}"
    run(f"replay {name} -o {again}")
    made, before = again.with_suffix(".frames"), (old / name).with_suffix(".frames")
    assert [*frames(made)] == [*frames(before)]
    assert all(
        are_close(load_image(made / frame), load_image(before / frame)) for frame in frames(before)
    )
    assert len(list(read_film(again))) == len(list(read_film(name))) == len(frames(before))
    assert carried(again) == carried(old / name)


def test_replay_makes_a_whole_film_from_one_that_was_interrupted(old: Path) -> None:
    needs_engine("zoom")
    run("replay zoom -o again")
    before = {
        "000000.png": "zoom",
        "000001.png": "zoom",
        "000002.png": "zoom-finished",
        "000003.png": "zoom-finished",
    }
    assert [*frames(old / "again")] == [*before]
    for name, folder in before.items():
        assert are_close(load_image(old / "again" / name), load_image(old / folder / name)), name
        assert carried(old / "again" / name) == carried(old / folder / name)


# Resume


def test_an_interrupted_film_resumes_and_keeps_its_frames(old: Path) -> None:
    needs_engine("zoom")
    assert frames_done(old / "zoom") == 2
    begun = frames(old / "zoom")
    assert [*begun] == ["000000.png", "000001.png"]
    run(f"{COMMANDS['zoom']} -o zoom")
    finished = frames(old / "zoom")
    assert [*finished] == [f"00000{i}.png" for i in range(4)] and frames_done(old / "zoom") == 4
    assert {name: finished[name] for name in begun} == begun, (
        "frames that were there are not made again"
    )
    for name in ("000002.png", "000003.png"):
        assert are_close(
            load_image(old / "zoom" / name), load_image(old / "zoom-finished" / name)
        ), name
        assert carried(old / "zoom" / name) == carried(old / "zoom-finished" / name)


def test_a_film_of_two_versions_becomes_longer(old: Path) -> None:
    """Its state then has the settings of this version, and its first frames those of
    the old one.
    """
    needs_engine("zoom")
    run(f"{COMMANDS['zoom']} -o zoom")
    before = frames(old / "zoom")
    run(f"{COMMANDS['zoom']} --frames 5 -o zoom")
    after = frames(old / "zoom")
    assert len(after) == 5 and {name: after[name] for name in before} == before


def test_a_finished_film_is_not_made_again(old: Path) -> None:
    needs_engine("journey.gif")
    before, state = (
        frames(old / "journey.frames"),
        (old / "journey.frames" / "state.npz").read_bytes(),
    )
    shown = list(read_film("journey.gif"))
    run(f"{COMMANDS['journey.gif']} -o journey.gif")
    assert frames(old / "journey.frames") == before
    assert (old / "journey.frames" / "state.npz").read_bytes() == state
    again = list(read_film("journey.gif"))
    assert len(again) == 4 and all(are_close(*pair) for pair in zip(again, shown))


def test_a_finished_film_gets_another_speed_from_the_same_frames(old: Path) -> None:
    needs_engine("journey.gif")
    before = frames(old / "journey.frames")
    run(f"{COMMANDS['journey.gif']} --fps 5 -o journey.gif")
    assert frames(old / "journey.frames") == before and read_settings("journey.gif")["fps"] == 5


def test_a_finished_film_becomes_longer(old: Path) -> None:
    needs_engine("video.mp4")
    before = frames(old / "video.frames")
    assert len(before) == 2
    run(f"{COMMANDS['video.mp4']} --stop 4 -o video.mp4")
    after = frames(old / "video.frames")
    assert len(after) == 4 and {name: after[name] for name in before} == before
    assert len(list(read_film("video.mp4"))) == 4 and read_settings("video.mp4")["stop"] == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("--seed 1", "0, and now it is 1"),
        ("--octave-scale 1.3", "1.4, and now it is 1.3"),
        ("--layer left", "'both', and now it is 'left'"),
        ("--mask mask.png", "None, and now it is 'mask.png'"),
    ],
)
def test_an_old_film_refuses_other_settings(
    change: str, says: str, old: Path, capsys: pytest.CaptureFixture
) -> None:
    needs_engine("zoom")
    before = frames(old / "zoom")
    assert main(shlex.split(f"{COMMANDS['zoom']} {change} -o zoom")) == 2
    assert says in capsys.readouterr().err
    assert frames(old / "zoom") == before


def test_an_old_journey_refuses_the_look_that_later_ones_hold(
    old: Path, capsys: pytest.CaptureFixture
) -> None:
    """Its frames held nothing; its own command, which did not say so, would now mix
    both.
    """
    needs_engine("journey.gif")
    before = frames(old / "journey.frames"), (old / "journey.gif").read_bytes()
    assert (
        main(shlex.split(f"{COMMANDS['journey.gif'].replace('--hold 0.0', '')} -o journey.gif"))
        == 2
    )
    says = "the film in journey.frames was begun with --hold 0.0, and now it is 0.3; "
    says += "go back to that, choose another"
    assert says in capsys.readouterr().err
    assert (frames(old / "journey.frames"), (old / "journey.gif").read_bytes()) == before


def test_an_old_film_refuses_another_network(old: Path, capsys: pytest.CaptureFixture) -> None:
    needs_engine("zoom")
    write_model(
        old / "toy",
        (old / "toy" / "deploy.prototxt").read_text().replace("kernel_size: 5", "kernel_size: 3"),
    )
    assert main(shlex.split(f"{COMMANDS['zoom']} -o zoom")) == 2
    assert "from another file than this one" in capsys.readouterr().err


def test_the_old_files_are_whole() -> None:
    """The tests above would not notice if a later version replaced the old files."""
    for name in COMMANDS:
        assert read_settings(DATA / name)["deepdream"] == "0.1.0"
    with np.load(DATA / "zoom" / "state.npz") as state:
        assert json.loads(str(state["settings"]))["sha256"]["weights"] == WEIGHTS
    assert sum(path.stat().st_size for path in DATA.rglob("*")) < 300_000
