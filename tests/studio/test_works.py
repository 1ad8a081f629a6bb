"""What takes long on a panel, here and in other processes: dreams, films, the pictures
of the looks, and what stops or refuses them.
"""

import re
import shlex
from pathlib import Path

import chores
import clips
import numpy as np
import pytest
from conftest import load, main
from panels import PICTURE_LINE, Job, choices, drop, press, size_of, until

import deepdream as dd
from deepdream import looks
from deepdream.cli import parser
from deepdream.films import read_film
from deepdream.nets import zoo
from deepdream.recipe import from_record
from deepdream.studio import Studio, shelf, tasks, works
from deepdream.studio.turns import Crew

pytest_plugins = "panel_fixtures"


def test_a_dream_that_would_be_too_large_is_refused(panel, tmp_path, monkeypatch):
    dd.save_image(tmp_path / "tall.png", np.zeros((4000, 10, 3), np.float32))
    drop(panel, "tall.png", (tmp_path / "tall.png").read_bytes())
    panel.turn(width=640)
    assert (
        press(panel, "dream") == "Width is 640; a dream of tall.png may be at most 75 pixels wide."
    )
    assert len(panel.parts.picture.before) < 200_000
    panel.turn(width=40, iter_n=1, octave_n=1)
    assert press(panel, "dream") == "" and press(panel, "tour") == ""
    monkeypatch.setattr(works, "MOST_DREAMT", 10_000)
    panel.turn(image="", width=640)
    assert press(panel, "dream") == "Width is 640; a dream of noise may be at most 133 pixels wide."


def test_a_network_that_cannot_be_downloaded_is_replaced(apart, monkeypatch):
    apart.turn(model="bvlc_googlenet")
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "dream", chores.lack_weights)
        note = press(apart, "dream")
    assert note.startswith(
        "the weights of bvlc_googlenet cannot be downloaded; squeezenet_v1.1 is chosen now, "
    )
    assert (
        press(apart, "dream") == "" and dd.read_settings(apart.result)["model"] == "squeezenet_v1.1"
    )


def test_it_dreams_the_same_in_a_process_of_its_own(apart):
    assert press(apart, "dream") == ""
    here = Studio(load("squeezenet_v1.1", apart.knobs["engine"].value))
    here.turn(width=64, iter_n=1, octave_n=1)
    assert press(here, "dream") == "" and here.result != apart.result
    assert (
        apart.result.read_bytes() == here.result.read_bytes()
        and apart.parts.line.text == here.parts.line.text
    )


@pytest.mark.parametrize("kind, frames", [("zoom", 5), ("journey", 9), ("video", 4)])
def test_films(apart, tmp_path, monkeypatch, kind, frames):
    monkeypatch.chdir(tmp_path)
    clips.write(tmp_path / "clip.mp4", clips.panned(4), rate=12)
    apart.parts.seconds.value, apart.parts.film_width.value = 0.5, 64
    if kind == "video":
        assert press(apart, "film", kind) == "drop a film of yours first."
        said = drop(apart, "clip.mp4", (tmp_path / "clip.mp4").read_bytes(), "film")
        assert said == "clip.mp4 is here; now press My video."
    assert press(apart, "film", kind) == ""
    name = f"{'clip' if kind == 'video' else 'mountains'}-{kind}-1.mp4"
    assert apart.parts.picture.name == apart.result.name == apart.parts.past.chosen == name
    assert (
        apart.parts.picture.mime == "video/mp4"
        and apart.parts.picture.after == apart.result.read_bytes()
    )
    assert not list(apart.result.parent.glob("*.frames"))
    pictures = list(read_film(apart.result))
    assert len(pictures) == frames and pictures[0].shape[1] == 64
    settings = dd.read_settings(apart.result)
    assert (
        settings["command"] == kind
        and settings["model"] == "squeezenet_v1.1"
        and settings["iter_n"] == 1
    )
    words = shlex.split(apart.parts.line.text)[1:]
    assert parser.parse(words).recipe == from_record(settings)
    assert main(*words[:-1], "out.mp4").returncode == 0
    assert Path("out.mp4").read_bytes() == apart.result.read_bytes(), (
        "the command makes the same film"
    )
    press(apart, "again")
    assert apart.parts.buttons["again"].disabled and apart.result.name == name, (
        "a film cannot be dreamt on"
    )


def test_a_film_from_noise(apart):
    apart.parts.seconds.value, apart.parts.film_width.value = 0.5, 64
    apart.turn(image="")
    assert press(apart, "film", "zoom") == "a zoom begins with a picture; choose one."
    assert (
        press(apart, "film", "journey") == "" and dd.read_settings(apart.result)["size"] == "64x36"
    )
    assert apart.result.name == "noise-journey-1.mp4"


def test_a_film_that_is_stopped_keeps_its_frames(toy_net, monkeypatch):
    monkeypatch.chdir(
        toy_net.model.folders[0].parent
    )  # the network's folder is recorded as a relative path
    panel = Studio(toy_net)
    panel.turn(iter_n=1, octave_n=1)
    panel.parts.seconds.value, panel.parts.film_width.value = 60, 64
    panel.film("zoom")
    until(lambda: re.search("Frame ([4-9]|[0-9]{2,}) of 600", panel.parts.picture.text))
    panel.stop()
    panel.thread.join(300)
    settings, n = dd.read_settings(panel.result), len(list(read_film(panel.result)))
    assert n >= 3 and settings["stopped_at"] == n / 600 and settings["model"] == "toy"
    assert panel.parts.picture.note == f"Stopped at {n / 600:.0%}; this is the film so far."
    assert (
        panel.parts.line.about == PICTURE_LINE + ", had it not been stopped"
        and "--frames 600" in panel.parts.line.text
    )
    panel.film("zoom")
    panel.stop()  # before there is a frame
    panel.thread.join(300)
    assert panel.parts.picture.note == "Stopped." and panel.result.name == "mountains-zoom-1.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "film", chores.crash_on_film)
        assert "the process that dreamt ended with -9" in press(panel, "film", "zoom")
    panel.parts.seconds.value = 0.5
    assert press(panel, "film", "zoom") == "" and panel.result.name == "mountains-zoom-2.mp4"
    assert "stopped_at" not in dd.read_settings(panel.result)


def test_a_film_of_ones_own_that_is_stopped_keeps_its_sound(panel, tmp_path):
    clips.write(tmp_path / "clip.mp4", clips.panned(40), sound=1.6)
    drop(panel, "clip.mp4", (tmp_path / "clip.mp4").read_bytes(), "film")
    panel.turn(iter_n=50)
    panel.parts.seconds.value, panel.parts.film_width.value = 600, 64
    panel.film("video")
    until(lambda: re.search("Frame ([4-9]|[0-9]{2,}) of 40, ", panel.parts.picture.text))
    panel.stop()
    panel.thread.join(300)
    settings, n = dd.read_settings(panel.result), len(list(read_film(panel.result)))
    assert 3 <= n < 40 and settings["stopped_at"] == n / 40 and settings["source"] == "clip.mp4"
    seconds, hertz, _ = clips.tone(panel.result)
    assert abs(seconds - n / 25) < 0.1 and abs(hertz - 440) < 10


def test_uploads_are_looked_at_in_a_process(apart, photo, tmp_path, monkeypatch):
    dd.save_image(tmp_path / "p.png", photo)
    data = (tmp_path / "p.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "inspect", chores.crash_on_picture)
        assert drop(apart, "p.png", data) == "the process that dreamt ended with -6."
        assert "p.png" not in choices(apart.knobs["image"])
        assert not list((tmp_path / "panels").glob("*/*"))
    for module in (shelf, tasks):  # in this process, none is looked at
        monkeypatch.setattr(module, "view_picture", None)
    assert drop(apart, "p.png", data) == "" and apart.knobs["image"].value == "p.png"
    assert size_of(apart.parts.picture.before) == (144, 96)
    assert drop(apart, "q.png", b"no picture").startswith(
        "q.png cannot be read as a picture; these can: JPEG, PNG, "
    )
    assert "q.png" not in choices(apart.knobs["image"]) and apart.knobs["image"].value == "p.png"


def test_pictures_of_the_looks(monkeypatch):
    monkeypatch.setattr(zoo, "DEFAULT", "squeezenet_v1.1")
    monkeypatch.setattr(works, "LOOK_WIDTH", 64)
    monkeypatch.setattr(works, "MOST_LOOKS", 4)
    offered = looks.of_network("squeezenet_v1.1")
    few = {name: offered[name] for name in ("Petals", "Caricature")}
    monkeypatch.setattr(looks, "of_network", lambda _: few)

    def pictures(panel):
        until(lambda: all(item["picture"] for item in panel.parts.looks.items))
        return {item["key"]: item["picture"] for item in panel.parts.looks.items}

    crew = Crew(1)
    panel = Studio(crew=crew)
    panel.turn(width=64, iter_n=1, octave_n=1)
    assert press(panel, "dream") == "", "the looks give way"
    first = pictures(panel)
    assert first.keys() == few.keys() and {size_of(picture) for picture in first.values()} == {
        (64, 36)
    }
    until(lambda: not crew.working)
    with monkeypatch.context() as patch:
        patch.setattr(crew, "run", None)
        other = Studio(crew=crew)
        assert pictures(other) == first, "they were kept"
        other.close()
    panel.turn(image="")
    second = pictures(panel)
    panel.turn(seed=1)
    third = pictures(panel)
    assert len({*first.values(), *second.values(), *third.values()}) == 6, (
        "of another picture, and of other noise"
    )
    assert len(crew.looks) == 4, "the oldest were forgotten"
    panel.close()


def test_too_much_work_is_refused(crew, panel):
    crew.most_work = 5000
    asks = (
        r"that is [\d.]+ times the work that one visitor may ask for here; "
        "lower the width, the iterations or the "
    )
    assert re.fullmatch(asks + r"octaves\.", press(panel, "dream")) and panel.result is None
    panel.parts.seconds.value, panel.parts.film_width.value = 2, 64
    assert re.fullmatch(asks + r"length\.", press(panel, "film", "zoom"))
    panel.turn(iter_n=1, octave_n=1)
    assert press(panel, "dream") == ""
    assert Crew(1).most_work is None and Crew(1, 10).most_work > 1e8


def test_a_dream_that_takes_too_long_is_stopped(crew, apart):
    crew.minutes = 0.01
    apart.turn(iter_n=10_000)
    note = press(apart, "dream")
    assert re.fullmatch(
        r"Stopped at \d%, because only 1 s are allowed here; this is the picture so far\.", note
    ), note
    assert press(apart, "tour") == "Stopped, because only 1 s are allowed here."


def test_closing_ends_the_work_and_removes_the_folder(crew, apart, toy_net):
    idle = Studio(toy_net)
    assert press(idle, "dream") == "" and idle.result.exists()
    idle.close()
    assert not idle.result.parent.exists()
    assert press(apart, "dream") == ""
    folder = apart.result.parent
    apart.parts.seconds.value, apart.parts.film_width.value = 60, 64
    apart.film("zoom")
    until(lambda: re.search("Frame (?!1 )", apart.parts.picture.text))
    apart.close()
    apart.thread.join(300)
    assert not folder.exists() and not crew.working


def test_stop_leaves_the_queue(crew, apart, tmp_path):
    first = Job(crew, chores.wait, tmp_path / "go")
    until(lambda: first.reports)
    texts = []
    apart.parts.picture.observe(lambda change: texts.append(change.new), "text")
    apart.dream()
    until(
        lambda: (
            texts and re.fullmatch("In the queue: you are next; [1-9][0-9]* s so far", texts[-1])
        )
    )
    apart.stop()
    apart.thread.join(300)
    assert apart.parts.picture.note == "Stopped." and apart.result is None and not apart.busy
    (tmp_path / "go").touch()
    assert press(apart, "dream") == "" and apart.result


@pytest.mark.parametrize(
    "seconds, says",
    [
        (0, "0 s"),
        (8.4, "8 s"),
        (89, "89 s"),
        (180, "3 min"),
        (7500, "2 h 5 min"),
        (3 * 86_400, "3 days"),
    ],
)
def test_a_time_in_words(seconds, says):
    assert tasks.say_time(seconds) == says
