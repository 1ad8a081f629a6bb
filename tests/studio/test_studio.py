"""The studio's panel without a browser: knobs, settings, looks, films, and the crew.
test_page.py has the browser.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import chores
import clips
import numpy as np
import psutil
import pytest
from conftest import load, main, refused, write_model
from PIL import Image

import deepdream as dd
from deepdream import load_net, looks
from deepdream.cli import parser
from deepdream.films.files import read_film
from deepdream.nets import zoo
from deepdream.objectives import class_number
from deepdream.pictures import SAMPLES, load_guide
from deepdream.recipe import complete, from_record

for package in ("anywidget", "ipywidgets"):
    pytest.importorskip(package, reason=f"the studio needs {package}: pip install {package}")
from deepdream.studio import Studio, serve, shelf, tasks, turns, widgets  # noqa: E402
from deepdream.studio import panel as panels  # noqa: E402
from deepdream.studio.knobs import WISHES  # noqa: E402
from deepdream.studio.turns import Crew  # noqa: E402


@pytest.fixture(scope="module")
def toy_net(tmp_path_factory):
    return load_net(write_model(tmp_path_factory.mktemp("models") / "toy"), "caffe")


@pytest.fixture
def panel(toy_net):
    """A panel on the toy network, with little to do."""
    panel = Studio(toy_net)
    panel.turn(width=64, iter_n=2, octave_n=2, jitter=4)
    yield panel
    panel.close()


@pytest.fixture
def apart():
    """A panel without a network, which has all done in other processes; again with
    little to do.
    """
    panel = Studio()
    panel.turn(model="squeezenet_v1.1", width=64, iter_n=1, octave_n=1)
    yield panel
    panel.close()


def press(panel, button, *args):
    """Press, and wait until all is done; what the panel says then."""
    getattr(panel, button)(*args)
    panel.thread.join(300)
    assert not panel.busy and not panel.picture.busy
    return panel.picture.note


def until(condition):
    """Wait until this holds."""
    ends = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def click(strip, key):
    """Press a picture that is a button."""
    strip._handle_custom_msg(key, [])


def size_of(picture):
    """(width, height) of a JPEG."""
    return Image.open(BytesIO(picture)).size


def dropped(panel, name, data, role="image"):
    panel._take_file(role, name, len(data), data)
    return panel.picture.note


def test_a_dream_again_and_undo(panel):
    assert press(panel, "dream") == "" and panel.result.name == "mountains-dream-1.png"
    settings = dd.read_settings(panel.result)
    wanted = {
        name: value
        for name, value in panel.settings().items()
        if value is not None and name != "model"
    }
    assert wanted.items() <= settings.items() and len(wanted) > 10
    image = dd.load_image(SAMPLES["mountains.jpg"], 64)
    plain = dd.deepdream(panel.given, image, end="both", iter_n=2, octave_n=2, jitter=4, seed=0)
    assert np.array_equal(np.uint8(plain.clip(0, 255)), np.uint8(dd.load_image(panel.result)))
    assert (
        panel.picture.after == panel.result.read_bytes()
        and panel.picture.name == "mountains-dream-1.png"
    )
    assert (
        press(panel, "again") == ""
        and dd.read_settings(panel.result)["image"] == "mountains-dream-1.png"
    )
    assert "deepdream dream mountains-dream-1.png" in panel.line.text
    panel.undo()
    assert panel.result.name == "mountains-dream-1.png" and "dream mountains.jpg" in panel.line.text
    panel.undo()
    assert (
        panel.result is None and panel.buttons["undo"].disabled and panel.buttons["again"].disabled
    )
    panel.undo()  # nothing is left to undo
    assert panel.result is None


def test_stop_ends_the_dream_within_a_step(panel, monkeypatch):
    from deepdream import dream

    steps, said, make_step = [], [], dream.make_step

    def slowly(*args, **kwargs):
        make_step(*args, **kwargs)
        steps.append(1)
        if len(steps) == 5:
            panel.stop()
            said.append(panel.picture.text)

    monkeypatch.setattr(dream, "make_step", slowly)
    panel.turn(iter_n=1000)
    note = press(panel, "dream")
    assert (
        note
        == f"Stopped at {dd.read_settings(panel.result)['stopped_at']:.0%}; this is the picture so far."
    )
    assert len(steps) == 5 and said == ["Stopping after this step"]
    panel.turn(iter_n=2)
    assert press(panel, "dream") == "" and "stopped_at" not in dd.read_settings(panel.result)


def test_the_panel_stays_live_while_it_dreams(panel, monkeypatch):
    from deepdream import dream

    make_step, go = dream.make_step, threading.Event()

    def wait_and_step(*args, **kwargs):
        assert go.wait(300)
        make_step(*args, **kwargs)

    monkeypatch.setattr(dream, "make_step", wait_and_step)
    panel.dream()
    assert (
        panel.picture.busy
        and not panel.buttons["stop"].disabled
        and panel.buttons["dream"].disabled
    )
    thread = panel.thread
    panel.dream()  # a second press, before the first is through
    panel.undo()
    assert panel.thread is thread
    panel.knobs["seed"].value = 5
    assert "--seed 5" in panel.line.text and panel.line.about == panels.KNOBS_LINE
    assert panel.knobs["image"].disabled and "a dream is being made; wait for it" in dropped(
        panel, "x.png", b""
    )
    panel.stop()
    go.set()
    thread.join(300)
    assert dd.read_settings(panel.result)["seed"] == 0, "the knobs as they were when it began"
    assert (
        "--seed 0" in panel.line.text
        and panel.line.about == panels.PICTURE_LINE + ", had it not been stopped"
    )
    panel.knobs["seed"].value = 6
    assert "--seed 6" in panel.line.text and panel.line.about == panels.KNOBS_LINE


def test_noise(panel):
    panel.turn(image="", seed=3)
    assert (
        "dream --model" in panel.line.text
        and "--size 64x36" in panel.line.text
        and "--width" not in panel.line.text
    )
    press(panel, "dream")
    assert (
        dd.load_image(panel.result).shape == (36, 64, 3)
        and dd.read_settings(panel.result)["size"] == "64x36"
    )
    settings = dd.read_settings(panel.result)
    press(panel, "again")
    assert (
        dd.read_settings(panel.result)["image"] == "noise-dream-1.png"
        and panel.result.name == "noise-dream-2.png"
    )
    panel.turn(image="forest.jpg", width=100)
    assert panel.restore(settings) == [] and panel.settings()["size"] == "64x36"
    assert panel.restore(settings | {"size": "64x99"}) == ["--size 64x99"]
    before = panel.picture.before
    panel.turn(seed=4)
    assert panel.picture.before != before, "other noise"


def test_every_knob_comes_back(panel, photo, tmp_path):
    dd.save_image(tmp_path / "g.png", photo)
    data = (tmp_path / "g.png").read_bytes()
    for role in ("guide", "mask"):
        assert dropped(panel, "g.png", data, role) == ""
    turned = {
        "end": "left",
        "iter_n": 3,
        "octave_n": 3,
        "octave_scale": 1.3,
        "step_size": -2.0,
        "jitter": 7,
    }
    turned |= {
        "seed": 9,
        "width": 70,
        "guide": "g.png",
        "mask": "g.png",
        "smooth": 0.5,
        "keep_color": True,
    }
    turned |= {"image": "flower.jpg"}
    panel.turn(**turned)
    assert press(panel, "dream") == ""
    settings = dd.read_settings(panel.result)
    assert turned.items() <= settings.items()
    other = Studio(panel.given)
    other.turn(guide="forest.jpg")
    assert (
        other.restore(settings) == ["the guide g.png", "the mask g.png"]
        and other.knobs["guide"].value == ""
    )
    dropped(other, "another name.png", data, "guide")
    assert other.restore(settings) == []
    assert other.settings() == panel.settings() | {
        "guide": "another name.png",
        "mask": "another name.png",
    }
    panel.turn(objective="L2('both') + 2 * guide('left', 'g.png')")
    assert press(panel, "dream") == ""
    settings = dd.read_settings(panel.result)
    assert (
        settings["objective"] == "L2('both') + 2 * guide('left', 'g.png')"
        and "guide" not in settings
    )
    assert other.restore(settings) == [] and other.settings()["objective"] == settings["objective"]


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"model": "bvlc_googlenet"}, "unknown network 'bvlc_googlenet'"),
        ({"end": "bothe"}, "unknown layer 'bothe'; did you mean 'both'?"),
        (
            {"iter_n": 10**9},
            "Repeats (iterations) is 1000000000; it must be a whole number from 0 to 10000",
        ),
        (
            {"iter_n": "many"},
            "Repeats (iterations) is 'many'; it must be a whole number from 0 to 10000",
        ),
        (
            {"octave_scale": float("nan")},
            "Ratio of sizes (octave scale) is nan; it must be a number, above 1 and at most 100",
        ),
        (
            {"jitter": [1, 2]},
            "Shake (jitter) is [1, 2]; it must be a whole number of pixels, at least 0",
        ),
        ({"command": "zoom"}, "it does not carry the settings of a dream of a picture"),
        ({"draw": ["banana"]}, "it does not carry the settings of a dream of a picture"),
        ({"image": {"a": 1}}, "Picture is {'a': 1}; it must be the path of a file"),
        ({"sha256": 5}, "sha256 is 5; it must be texts by their names"),
        (
            {"help": True, "seed": -1},
            "Chance (seed) is -1; it must be a whole number from 0 to 4294967295",
        ),
        ({"tile": -1}, "--tile is -1; it must be a whole number of pixels from 1 to 65535"),
    ],
)
def test_settings_that_have_no_knobs_turn_none(panel, tmp_path, photo, wrong, says):
    press(panel, "dream")
    settings, before = dd.read_settings(panel.result), panel.settings()
    dd.save_image(tmp_path / "x.png", photo, settings | {"seed": 77, "width": 99} | wrong)
    note = dropped(panel, "x.png", (tmp_path / "x.png").read_bytes())
    assert says in note and note.startswith("x.png is used as a plain picture: ")
    assert panel.settings() == before | {"image": "x.png"}
    panel.undo()
    assert panel.result.name == "mountains-dream-1.png", "one step back"


def test_a_file_comes_in_pieces_and_no_name_leaves_the_folder(panel, photo, tmp_path):
    received = []
    drop = widgets.Drop(lambda *file: received.append(file), what="a photograph")
    for at in (0, 4, 8):
        drop._receive(drop, {"name": "a.png", "size": 10, "at": at}, [b"0123456789"[at : at + 4]])
    drop._receive(drop, {"name": "large.png", "size": 10**9}, [])
    drop._receive(drop, {"name": "liar.png", "size": 5, "at": 0}, [bytes(widgets.MOST_BYTES + 1)])
    assert received == [
        ("a.png", 10, b"0123456789"),
        ("large.png", 10**9, None),
        ("liar.png", widgets.MOST_BYTES + 1, None),
    ]
    dd.save_image(tmp_path / "p.png", photo)
    data = (tmp_path / "p.png").read_bytes()
    kept_as = {"../../p.png": "p.png", "C:\\x\\p.png": "p.png", "-o.png": "o.png", "..": "picture"}
    kept_as |= {"a\nb<i>.png": "a_b_i_.png", "mountains.jpg": "mountains-2.jpg"}
    kept_as |= dict.fromkeys(["mountains-dream-1.png"] * 2, "mountains-dream-1.png")
    kept_as |= {"x" * 300 + ".png": "x" * 80 + ".png", "é" * 90 + ".png": "é" * 40 + ".png"}
    for given, kept in kept_as.items():
        assert dropped(panel, given, data) == "" and panel.knobs["image"].value == kept
        assert panel.shelf.files[kept].parent == Path(panel.shelf.folder.name)
    panel.turn(image="mountains.jpg")
    press(panel, "dream")
    assert panel.result.name == "mountains-dream-2.png", "an upload has the other name"


def test_a_panel_keeps_only_so_many_pictures(panel, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "MOST_KEPT", 100_000)
    dd.save_image(tmp_path / "p.png", photo)
    data = (tmp_path / "p.png").read_bytes()
    assert dropped(panel, "p.png", data) == ""
    notes = [dropped(panel, f"{i}.png", data) for i in range(4)]
    assert "one panel keeps at most 0 MB of pictures" in notes[-1]
    monkeypatch.setattr(shelf, "MOST_KEPT", 50_000)
    assert "one panel keeps at most 0 MB of pictures" in press(panel, "dream")


def test_a_dream_that_would_be_too_large_is_refused(panel, tmp_path, monkeypatch):
    dd.save_image(tmp_path / "tall.png", np.zeros((4000, 10, 3), np.float32))
    dropped(panel, "tall.png", (tmp_path / "tall.png").read_bytes())
    panel.turn(width=640)
    assert (
        press(panel, "dream") == "Width is 640; a dream of tall.png may be at most 75 pixels wide."
    )
    assert len(panel.picture.before) < 200_000
    panel.turn(width=40, iter_n=1, octave_n=1)
    assert press(panel, "dream") == "" and press(panel, "tour") == ""
    monkeypatch.setattr(panels, "MOST_DREAMT", 10_000)
    panel.turn(image="", width=640)
    assert press(panel, "dream") == "Width is 640; a dream of noise may be at most 133 pixels wide."


def test_a_portrait_is_measured_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "p.jpg", exif=exif)
    assert (
        shelf.picture_size(tmp_path / "p.jpg")
        == dd.load_image(tmp_path / "p.jpg").shape[:2]
        == (40, 30)
    )


def test_guides_are_small_whatever_is_given(tmp_path):
    dd.save_image(tmp_path / "g.png", np.zeros((900, 1600, 3)))
    assert load_guide(tmp_path / "g.png").shape == (530, 942, 3)
    assert load_guide(SAMPLES["flower.jpg"]).shape == (320, 480, 3)


def test_a_value_that_is_not_allowed_has_no_command(panel):
    panel.knobs[
        "octave_scale"
    ].value = 0  # typed in the browser; the field itself has only inclusive limits
    says = "Ratio of sizes (octave scale) is 1.0; it must be a number, above 1 and at most 100, such as 1.4."
    assert panel.line.text == "" and panel.picture.note == says
    panel.picture.note = ""
    panel.dream()
    assert panel.picture.note == says and not panel.picture.busy and panel.thread is None
    panel.knobs["octave_scale"].value = 1.01
    assert "--octave-scale 1.01" in panel.line.text and panel.picture.note == ""


def test_knobs_are_made_from_the_table(panel):
    from deepdream.settings import knobs

    fresh = Studio(panel.given).knobs
    assert fresh.keys() == knobs().keys()
    for name, row in knobs().items():
        knob = fresh[name]
        assert knob.description == row.knob and knob.tooltip == row.help
        if row.kind in (int, float):
            assert knob.value == row.default
            assert knob.min == (row.above if row.low is None else row.low) and knob.max == row.high


def test_the_command_leaves_out_what_goes_without_saying(panel):
    settings = dict.fromkeys(("device", "dtype")) | {
        "deepdream": "0.1.0",
        "command": "dream",
        "image": "forest.jpg",
    }
    assert panel.restore(settings | {"device": "cpu", "dtype": "float32", "width": 64}) == []
    assert panel.line.text.endswith("--seed 0 --width 64 -o dream.png")
    missing = panel.restore(settings | {"device": "cuda", "clip": False, "tile": 64, "end": "both"})
    assert missing == ["--device cuda --tile 64 --no-clip"]


def test_turning_knobs_in_python(panel):
    for wrong, says in (
        ({"layer": "both"}, "unknown knob 'layer'"),
        ({"seed": 3, "end": "bothe"}, "unknown layer 'bothe'; did you mean 'both'?"),
        (
            {"image": "forest.jpg", "width": 0},
            "width is 0; it must be a whole number of pixels from 1 to 65535",
        ),
        ({"width": None}, "width cannot be None"),
        (
            {"octave_scale": 1},
            "octave_scale is 1; it must be a number, above 1 and at most 100, such as 1.4",
        ),
        ({"keep_color": "maybe"}, "keep_color is 'maybe'; it must be True or False"),
    ):
        before, states = panel.settings(), len(panel.states)
        with pytest.raises(dd.DreamError, match=re.escape(says)):
            panel.turn(**wrong)
        assert panel.settings() == before and len(panel.states) == states


def test_a_note_says_what_went_wrong(panel, monkeypatch, photo):
    panel.turn(objective="logit('peacock')")
    assert press(panel, "dream").startswith(
        "toy has no names for its classes; give the number of one, or an objective"
    )
    panel.turn(objective="", width=16, octave_n=9)
    assert "small" in press(panel, "dream")
    panel.turn(width=64, octave_n=2)
    for error, says in (
        (MemoryError(), "not enough memory; lower the width"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (KeyError("x"), "Something went wrong here"),
    ):
        monkeypatch.setattr(
            tasks, "make_dream", lambda *_, error=error: (_ for _ in ()).throw(error)
        )
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        assert says in press(panel, "dream")
    monkeypatch.undo()
    assert press(panel, "dream") == ""


def test_the_tour(panel, monkeypatch):
    press(panel, "tour")
    stops = panel.strip.items
    assert [stop["key"] for stop in stops] == dd.stations(panel.given)[1:]
    assert all(stop["picture"][:2] == b"\xff\xd8" and stop["says"] for stop in stops)
    click(panel.strip, stops[0]["key"])
    assert panel.knobs["end"].value == panel.strip.chosen == stops[0]["key"]
    click(panel.strip, "gone")
    assert "unknown layer 'gone'" in panel.picture.note
    panel.turn(image="", width=640)
    assert panel.strip.items == [], "it was of another picture"
    assert press(panel, "tour") == ""
    assert {size_of(stop["picture"]) for stop in panel.strip.items} == {(tasks.TOUR_WIDTH, 135)}, (
        "small noise"
    )

    def stop_and_dream(*args, **kwargs):
        panel.stop()
        return dd.deepdream(*args, **kwargs)

    monkeypatch.setattr(tasks, "deepdream", stop_and_dream)
    assert press(panel, "tour") == "Stopped." and panel.strip.items == []


def test_networks_and_engines_to_choose_from(monkeypatch, squeezenet):
    monkeypatch.delenv("DEEPDREAM_ENGINE", raising=False)
    panel = Studio()
    models = [name for _, name in panel.knobs["model"].options]
    assert (
        models[:1] == ["bvlc_googlenet"]
        and "squeezenet_v1.1" in models
        and "places205_googlenet" not in models
    )
    layers = [name for _, name in panel.knobs["end"].options]
    assert layers[0] == "conv1/7x7_s2" and layers.index("inception_3b/output") < layers.index(
        "inception_4c/output"
    )
    assert panel.knobs["end"].value == "inception_4c/output" and "prob" not in layers
    says = dict(label.split(" · ") for label, _ in panel.knobs["end"].options)
    assert says["conv2/3x3"] == says["inception_3b/5x5_reduce"] == "edges and strokes"
    assert (
        says["inception_3b/output"] == "textures and eyes"
        and says["inception_5b/output"] == "whole things"
    )
    panel.turn(model="squeezenet_v1.1")
    assert panel.knobs["end"].value == "fire8/concat"
    assert Studio(squeezenet).knobs["model"].options == (
        ("SqueezeNet v1.1, ImageNet", "squeezenet_v1.1"),
    )
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    if "torch" in [name for _, name in panel.knobs["engine"].options]:
        assert Studio().knobs["engine"].value == "torch"


@pytest.mark.parametrize("able", [["float32"], ["float32", "bfloat16"]])
def test_bfloat16_is_offered_where_the_hardware_multiplies_it(monkeypatch, able):
    torchnet = pytest.importorskip(
        "deepdream.nets.torch", reason="PyTorch is not installed: pip install torch"
    )
    monkeypatch.setattr(torchnet, "find_dtypes", lambda device: able)
    monkeypatch.setattr("deepdream.studio.knobs._may_have_bfloat16", lambda: True)
    panel = Studio()
    offered = [name for _, name in panel.knobs["engine"].options]
    assert ("torch bfloat16" in offered) == ("bfloat16" in able) and "torch" in offered
    panel.turn(engine="torch")
    assert panel.knobs.recipe()["dtype"] == "float32", "not what another machine's auto would be"
    if "bfloat16" in able:
        panel.turn(engine="torch bfloat16")
        assert panel.knobs.recipe()["dtype"] == "bfloat16"
    panel.turn(engine="caffe")
    assert panel.knobs.recipe()["dtype"] is None


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


# What the knobs are for people who do not know them


def test_wishes_move_their_knobs_and_follow_them(panel):
    fresh = Studio(panel.given)
    for name, wish in WISHES.items():
        slider = fresh.wishes[name]
        assert slider.places == len(wish.values) and slider.value == len(wish.values) // 2, (
            "the defaults"
        )
        for place, values in enumerate(wish.values):
            slider.value = place
            assert slider.value == place and values.items() <= fresh.settings().items()
            assert slider.value == place
    fresh.turn(iter_n=9, octave_n=1, octave_scale=1.21, step_size=900.0)
    assert [slider.value for slider in fresh.wishes.values()] == [3, 0, 8], (
        "the nearest, and the last"
    )
    assert "--iterations 9" in fresh.line.text, "the knobs stay where they are"
    fresh.wishes["much"].value = 99  # no browser of ours
    assert fresh.knobs["iter_n"].value == 45


def test_one_click_takes_a_look(panel):
    fresh = Studio()
    fresh.turn(model="squeezenet_v1.1", image="forest.jpg", width=99, seed=5)
    offered = looks.of_network("squeezenet_v1.1")
    assert [item["key"] for item in fresh.looks.items] == list(offered)
    for name in [
        *offered,
        "Petals",
        "2015",
        "Ghost",
        "Engraving",
    ]:  # nothing stays of the look before
        click(fresh.looks, name)
        assert fresh.picture.note == "" and fresh.looks.chosen == name
        settings = fresh.settings()
        wanted = complete("dream", looks.begin({"model": "squeezenet_v1.1", "look": name}))
        own = {
            "image": "forest.jpg",
            "width": 99,
            "seed": 5,
            "engine": settings["engine"],
            "dtype": settings["dtype"],
        }
        assert settings == wanted | own
    before = fresh.settings()
    click(fresh.looks, "Dogs")  # is only for GoogLeNet
    assert "does not have the look 'Dogs'" in fresh.picture.note and fresh.settings() == before
    assert panel.looks.items == [], "these are not layers of the toy"


def test_the_name_of_a_thing_is_an_objective(squeezenet):
    panel = Studio(squeezenet)
    panel.turn(objective=" peacock ", width=64, iter_n=1, octave_n=1)
    assert panel.settings()["objective"] == "logit('peacock')"
    command = parser.parse(shlex.split(panel.line.text)[1:])
    assert command.recipe["objective"] == "logit('peacock')" and command.recipe["end"] is None
    assert (
        press(panel, "dream") == ""
        and dd.read_settings(panel.result)["objective"] == "logit('peacock')"
    )
    panel.turn(objective="84")
    assert panel.settings()["objective"] == "logit(84)"
    panel.turn(objective="it's")
    assert parser.parse(shlex.split(panel.line.text)[1:]).recipe["objective"] == """logit("it's")"""
    assert 'unknown class "it\'s"' in press(panel, "dream")


def test_the_search_finds_each_thing(squeezenet):
    panel = Studio(squeezenet)
    texts, keys = zip(*panel.search.choices, strict=True)
    assert list(texts) == squeezenet.labels and keys[84] == "peacock"
    classes = {}
    for i, text in enumerate(texts):
        for name in (text, *text.split(",")):
            classes.setdefault(name.strip().lower(), set()).add(i)
    unclear = [i for i, key in enumerate(keys) if classes.get(key.lower()) != {i}]
    assert unclear == [86, 124, 134, 264, 358, 474, 517, 577, 594, 638, 639, 657, 876], (
        "two cranes are among them"
    )
    assert [keys[i] for i in unclear] == [str(i) for i in unclear], "so they have numbers"
    for i in (0, 84, 134, 517, 999):
        assert class_number(squeezenet, int(keys[i]) if keys[i].isdecimal() else keys[i]) == i
    click(panel.search, "peacock")
    assert panel.knobs["objective"].value == "peacock" and "peacock" in panel.line.text
    click(panel.search, "")
    assert panel.settings()["objective"] is None


def test_the_history_goes_back_and_forth(panel):
    press(panel, "dream")
    first, line = panel.picture.after, panel.line.text
    panel.turn(image="forest.jpg")
    press(panel, "dream")
    assert [item["key"] for item in panel.past.items] == [
        "mountains-dream-1.png",
        "forest-dream-1.png",
    ]
    assert {size_of(item["picture"])[0] for item in panel.past.items} == {panels.THUMB}
    assert panel.past.chosen == "forest-dream-1.png"
    forest, second = panel.picture.before, panel.picture.after
    click(panel.past, "mountains-dream-1.png")
    assert (
        panel.picture.after == first and panel.line.text == line and panel.picture.before != forest
    )
    assert panel.past.chosen == panel.picture.name == "mountains-dream-1.png"
    click(panel.past, "gone")
    assert panel.picture.after == first
    press(panel, "again")
    assert (
        dd.read_settings(panel.result)["image"] == "mountains-dream-1.png"
        and len(panel.past.items) == 3
    )
    click(panel.past, "forest-dream-1.png")
    assert panel.picture.after == second and panel.picture.before == forest
    panel.undo()
    panel.undo()
    assert panel.picture.after == first and panel.past.chosen == "mountains-dream-1.png"


# In other processes


def test_it_dreams_the_same_in_a_process_of_its_own(apart):
    assert press(apart, "dream") == ""
    here = Studio(load("squeezenet_v1.1", apart.knobs["engine"].value))
    here.turn(width=64, iter_n=1, octave_n=1)
    assert press(here, "dream") == "" and here.result != apart.result
    assert (
        apart.result.read_bytes() == here.result.read_bytes() and apart.line.text == here.line.text
    )


@pytest.mark.parametrize("kind, frames", [("zoom", 5), ("journey", 9), ("video", 4)])
def test_films(apart, tmp_path, monkeypatch, kind, frames):
    monkeypatch.chdir(tmp_path)
    clips.write(tmp_path / "clip.mp4", clips.panned(4), rate=12)
    apart.seconds.value, apart.film_width.value = 0.5, 64
    if kind == "video":
        assert press(apart, "film", kind) == "drop a film of yours first."
        apart._take_film("clip.mp4", 9, (tmp_path / "clip.mp4").read_bytes())
        assert apart.picture.note == "clip.mp4 is here; now press My video."
    assert press(apart, "film", kind) == ""
    name = f"{'clip' if kind == 'video' else 'mountains'}-{kind}-1.mp4"
    assert apart.picture.name == apart.result.name == apart.past.chosen == name
    assert apart.picture.mime == "video/mp4" and apart.picture.after == apart.result.read_bytes()
    assert not list(Path(apart.shelf.folder.name).glob("*.frames"))
    pictures = list(read_film(apart.result))
    assert len(pictures) == frames and pictures[0].shape[1] == 64
    settings = dd.read_settings(apart.result)
    assert (
        settings["command"] == kind
        and settings["model"] == "squeezenet_v1.1"
        and settings["iter_n"] == 1
    )
    words = shlex.split(apart.line.text)[1:]
    assert parser.parse(words).recipe == from_record(settings)
    assert main(*words[:-1], "out.mp4").returncode == 0
    assert Path("out.mp4").read_bytes() == apart.result.read_bytes(), (
        "the command makes the same film"
    )
    press(apart, "again")
    assert apart.buttons["again"].disabled and apart.result.name == name, (
        "a film cannot be dreamt on"
    )


def test_a_film_from_noise(apart):
    apart.seconds.value, apart.film_width.value = 0.5, 64
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
    panel.seconds.value, panel.film_width.value = 60, 64
    panel.film("zoom")
    until(lambda: re.search("Frame ([4-9]|[0-9]{2,}) of 600", panel.picture.text))
    panel.stop()
    panel.thread.join(300)
    settings, n = dd.read_settings(panel.result), len(list(read_film(panel.result)))
    assert n >= 3 and settings["stopped_at"] == n / 600 and settings["model"] == "toy"
    assert panel.picture.note == f"Stopped at {n / 600:.0%}; this is the film so far."
    assert (
        panel.line.about == panels.PICTURE_LINE + ", had it not been stopped"
        and "--frames 600" in panel.line.text
    )
    panel.film("zoom")
    panel.stop()  # before there is a frame
    panel.thread.join(300)
    assert panel.picture.note == "Stopped." and panel.result.name == "mountains-zoom-1.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "film", chores.crash_on_film)
        assert "the process that dreamt ended with -9" in press(panel, "film", "zoom")
    panel.seconds.value = 0.5
    assert press(panel, "film", "zoom") == "" and panel.result.name == "mountains-zoom-2.mp4"
    assert "stopped_at" not in dd.read_settings(panel.result)


def test_a_film_of_ones_own_that_is_stopped_keeps_its_sound(panel, tmp_path):
    clips.write(tmp_path / "clip.mp4", clips.panned(40), sound=1.6)
    panel._take_film("clip.mp4", 9, (tmp_path / "clip.mp4").read_bytes())
    panel.turn(iter_n=50)
    panel.seconds.value, panel.film_width.value = 600, 64
    panel.film("video")
    until(lambda: re.search("Frame ([4-9]|[0-9]{2,}) of 40, ", panel.picture.text))
    panel.stop()
    panel.thread.join(300)
    settings, n = dd.read_settings(panel.result), len(list(read_film(panel.result)))
    assert 3 <= n < 40 and settings["stopped_at"] == n / 40 and settings["source"] == "clip.mp4"
    seconds, hertz, _ = clips.tone(panel.result)
    assert abs(seconds - n / 25) < 0.1 and abs(hertz - 440) < 10


def test_what_is_no_film_is_refused(panel, tmp_path):
    for name, data, says in (
        ("x.png", b"", "x.png is no film; these are: .mp4, "),
        ("x.mp4", b"no film", "x.mp4"),
        ("x.mp4", None, "x.mp4 has 0 MB; at most 20 MB are allowed"),
    ):
        panel._take_film(name, 9, data)
        assert says in panel.picture.note and name not in panel.shelf.files and panel.source == ""
    clips.write(tmp_path / "c.mp4", clips.panned(2))
    data = (tmp_path / "c.mp4").read_bytes()
    assert (
        dropped(panel, "c.mp4", data, "mask")
        == "c.mp4 is a film, and here is a place for a picture."
    )
    assert panel.source == "" and "c.mp4" not in panel.shelf.files
    assert (
        dropped(panel, "c.mp4", data) == "c.mp4 is here; now press My video."
        and panel.source == "c.mp4"
    )
    assert panel.knobs["image"].value == "mountains.jpg"


def test_uploads_are_looked_at_in_a_process(apart, photo, tmp_path, monkeypatch):
    dd.save_image(tmp_path / "p.png", photo)
    data = (tmp_path / "p.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "inspect", chores.crash_on_picture)
        assert dropped(apart, "p.png", data) == "the process that dreamt ended with -6."
        assert "p.png" not in apart.shelf.files and not list(
            Path(apart.shelf.folder.name).iterdir()
        )
    for module in (shelf, tasks):
        monkeypatch.setattr(module, "view_picture", None)  # in this process, none is looked at
    assert dropped(apart, "p.png", data) == "" and apart.knobs["image"].value == "p.png"
    assert apart.shelf.view("p.png").size == photo.shape[:2] and size_of(apart.picture.before) == (
        144,
        96,
    )
    assert dropped(apart, "q.png", b"no picture").startswith(
        "q.png cannot be read as a picture; these can: JPEG, PNG, "
    )
    assert "q.png" not in apart.shelf.files and apart.knobs["image"].value == "p.png"


def test_pictures_of_the_looks(monkeypatch):
    monkeypatch.setattr(zoo, "DEFAULT", "squeezenet_v1.1")
    monkeypatch.setattr(panels, "LOOK_WIDTH", 64)
    monkeypatch.setattr(panels, "MOST_LOOKS", 4)
    offered = looks.of_network("squeezenet_v1.1")
    few = {name: offered[name] for name in ("Petals", "Caricature")}
    monkeypatch.setattr(looks, "of_network", lambda _: few)

    def pictures(panel):
        until(lambda: all(item["picture"] for item in panel.looks.items))
        return {item["key"]: item["picture"] for item in panel.looks.items}

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


def test_too_much_work_is_refused(panel):
    panel.crew.most_work = 5000
    asks = r"that is [\d.]+ times the work that one visitor may ask for here; lower the width, the iterations or the "
    assert re.fullmatch(asks + r"octaves\.", press(panel, "dream")) and panel.result is None
    panel.seconds.value, panel.film_width.value = 2, 64
    assert re.fullmatch(asks + r"length\.", press(panel, "film", "zoom"))
    panel.turn(iter_n=1, octave_n=1)
    assert press(panel, "dream") == ""
    assert Crew(1).most_work is None and Crew(1, 10).most_work > 1e8


def test_a_dream_that_takes_too_long_is_stopped(apart):
    apart.crew.minutes = 0.01
    apart.turn(iter_n=10_000)
    note = press(apart, "dream")
    assert re.fullmatch(
        r"Stopped at \d%, because only 1 s are allowed here; this is the picture so far\.", note
    ), note
    assert press(apart, "tour") == "Stopped, because only 1 s are allowed here."


def test_closing_ends_the_work_and_removes_the_folder(apart, toy_net):
    idle = Studio(toy_net)
    assert press(idle, "dream") == "" and idle.result.exists()
    idle.close()
    assert not Path(idle.shelf.folder.name).exists()
    folder = Path(apart.shelf.folder.name)
    assert press(apart, "dream") == "" and apart.result.parent == folder
    apart.seconds.value, apart.film_width.value = 60, 64
    apart.film("zoom")
    until(lambda: re.search("Frame (?!1 )", apart.picture.text))
    apart.close()
    apart.thread.join(300)
    assert not folder.exists() and not apart.crew.working


def test_stop_leaves_the_queue(apart, tmp_path):
    first = Job(apart.crew, chores.wait, tmp_path / "go")
    until(lambda: first.reports)
    texts = []
    apart.picture.observe(lambda change: texts.append(change.new), "text")
    apart.dream()
    until(
        lambda: (
            texts and re.fullmatch("In the queue: you are next; [1-9][0-9]* s so far", texts[-1])
        )
    )
    apart.stop()
    apart.thread.join(300)
    assert apart.picture.note == "Stopped." and apart.result is None and not apart.busy
    (tmp_path / "go").touch()
    assert press(apart, "dream") == "" and apart.result


# The crew


class Job(threading.Thread):
    """A task that a crew is given: its places in the queue, what it reports, and in the
    end its answer.
    """

    def __init__(self, crew, task, *args, gives_way=False):
        super().__init__(daemon=True)
        self.crew, self.task, self.args, self.stopping = crew, task, args, threading.Event()
        self.places, self.reports, self.answer = [], {}, None
        self.waiting = None if gives_way else self.places.append
        self.start()

    def run(self):
        try:
            self.answer = self.crew.run(
                self.task, self.args, self.show, self.stopping, self.waiting
            )
        except Exception as error:
            self.answer = error

    def show(self, **what):
        self.reports |= what

    def ends(self):
        self.join(300)
        return self.answer


def test_first_come_first_served(tmp_path):
    crew, gates = Crew(2), [tmp_path / str(i) for i in range(5)]
    jobs = []
    for gate in gates:
        jobs.append(Job(crew, chores.wait, gate))
        until(lambda: jobs[-1].reports or jobs[-1].places)
    until(lambda: jobs[1].reports)
    assert [job.places[-1:] for job in jobs] == [[], [], [1], [2], [3]]
    jobs[3].stopping.set()
    assert isinstance(jobs[3].ends(), tasks.StoppedError)
    until(lambda: jobs[4].places[-1] == 2)
    gates[1].touch()
    until(lambda: jobs[2].reports and jobs[4].places[-1] == 1)
    assert not jobs[4].reports and jobs[1].ends() is True, "two at once"
    gates[0].touch()
    until(lambda: jobs[4].reports)
    jobs[2].stopping.set()
    gates[4].touch()
    assert [job.ends() for job in jobs if job is not jobs[3]] == [True, True, False, True]
    assert not jobs[3].reports and not crew.waiting and not crew.working


def test_who_does_not_wait_gives_way(tmp_path):
    crew, gates = Crew(1), [tmp_path / str(i) for i in range(4)]
    shy = Job(crew, chores.wait, gates[0], gives_way=True)
    until(lambda: shy.reports)
    first = Job(crew, chores.wait, gates[1])
    assert shy.ends() is False, "it was stopped"
    until(lambda: first.reports)
    shy = Job(crew, chores.wait, gates[2], gives_way=True)
    until(lambda: crew.giving_way)
    second = Job(crew, chores.wait, gates[3])
    until(lambda: second.places)
    gates[1].touch()
    until(lambda: second.reports)
    assert not shy.reports, "the other came later, and goes first"
    for gate in gates:
        gate.touch()
    assert first.ends() is second.ends() is shy.ends() is True and not crew.giving_way


def test_a_task_has_so_many_minutes(tmp_path, monkeypatch):
    crew = Crew(1, 0.01)
    late = Job(crew, chores.wait, tmp_path / "never")
    assert late.ends() is False and late.reports["late"] == ", because only 1 s are allowed here"
    monkeypatch.setattr(turns, "GRACE", 0.3)
    late = Job(crew, chores.go_on)
    assert "it did not stop in time, and was ended" in str(late.ends())
    assert not psutil.pid_exists(late.reports["pid"])


@pytest.mark.parametrize("how, code", [("kill", -9), ("abort", -6), ("exit", 3)])
@pytest.mark.parametrize("is_told", [False, True])
def test_a_process_that_dies_harms_nobody(how, code, is_told):
    crew = Crew(1)
    job = Job(crew, chores.die, how, is_told)
    if is_told:
        until(lambda: job.reports)
        job.stopping.set()
    memory = ", perhaps because there was not enough memory; lower the width" * (code == -9)
    assert (
        isinstance(job.ends(), dd.DreamError)
        and str(job.answer) == f"the process that dreamt ended with {code}{memory}"
    )
    assert crew.run_now(chores.eat, 1) > 0


def test_a_process_that_is_killed_from_outside(tmp_path):
    crew = Crew(1)
    job, second = Job(crew, chores.wait, tmp_path / "never"), Job(crew, chores.eat, 1)
    until(lambda: job.reports)
    os.kill(job.reports["pid"], signal.SIGKILL)
    assert "the process that dreamt ended with -9" in str(job.ends())
    assert second.ends() > 0


def test_what_a_task_raises_comes_back():
    crew = Crew(1)
    for error in (
        dd.DreamError("{setting} is 3", "width"),
        KeyError("x"),
        ConnectionError("x"),
        EOFError("x"),
    ):
        with pytest.raises(type(error)) as raised:
            crew.run_now(chores.fail, error)
        assert raised.value.args == error.args and getattr(raised.value, "setting", 0) == getattr(
            error, "setting", 0
        )
    with pytest.raises(RuntimeError, match=r"DreamError.*lambda"):
        crew.run_now(chores.fail_strangely)


def test_nothing_remains_of_a_task():
    crew, me = Crew(2), psutil.Process()
    crew.run_now(chores.eat, 1)  # the forkserver remains

    def ours():
        return {child.pid: child.memory_info().rss for child in me.children(recursive=True)}

    before, own = ours(), me.memory_info().rss
    jobs = [
        Job(crew, chores.eat, 300),
        Job(crew, chores.fail, KeyError()),
        Job(crew, chores.die, "kill"),
    ]
    assert jobs[0].ends() > 300 << 20
    for job in jobs:
        job.ends()
        assert job.reports["pid"] not in ours()
    assert ours().keys() == before.keys() and not crew.working
    assert sum(ours().values()) + me.memory_info().rss < sum(before.values()) + own + (100 << 20)


def test_a_crew_without_a_forkserver(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])  # Windows
    assert Crew(1).run_now(chores.eat, 1) > 0


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


# The page


def test_the_page_asks_no_other_host():
    for name in ("page.html", "page.js", "studio.js", "studio.css"):
        text = (Path(panels.__file__).parent / name).read_text()
        assert not re.search(r"""["'(=]\s*(https?:)?//[\w]""", text), name


def test_serve_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(serve, "version", {"segno": "1.6"}.__getitem__)
    monkeypatch.setattr(serve, "PackageNotFoundError", KeyError)
    monkeypatch.setattr(serve, "NEEDS", {"segno": "", "anywidget": ""})
    refused(main("serve"), "the page needs anywidget; `pip install anywidget` installs it")
    monkeypatch.setattr(serve, "NEEDS", {"segno": "==1.7", "anywidget": ""})
    refused(
        main("serve"),
        "the page needs segno==1.7, anywidget; `pip install segno==1.7 anywidget` installs them",
    )


def test_the_server_needs_no_ipywidgets():
    code = "import sys; import deepdream.studio.serve; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
