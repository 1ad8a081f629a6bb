"""The studio's panel without a browser: buttons, settings, looks, and files that are
dropped. test_page.py has the browser.
"""

import re
import threading

import clips
import numpy as np
import pytest
from panels import KNOBS_LINE, PICTURE_LINE, click, drop, press, size_of

import deepdream as dd
from deepdream import looks
from deepdream.objectives import class_number
from deepdream.pictures import SAMPLES
from deepdream.recipe import complete
from deepdream.studio import Studio, shelf, stage, tasks
from deepdream.studio.knobs import WISHES

pytest_plugins = "panel_fixtures"


def test_a_dream_again_and_undo(panel, toy_net):
    assert press(panel, "dream") == "" and panel.result.name == "mountains-dream-1.png"
    settings = dd.read_settings(panel.result)
    wanted = {
        name: value
        for name, value in panel.settings().items()
        if value is not None and name != "model"
    }
    assert wanted.items() <= settings.items() and len(wanted) > 10
    image = dd.load_image(SAMPLES["mountains.jpg"], 64)
    plain = dd.deepdream(toy_net, image, end="both", iter_n=2, octave_n=2, jitter=4, seed=0)
    assert np.array_equal(np.uint8(plain.clip(0, 255)), np.uint8(dd.load_image(panel.result)))
    assert (
        panel.parts.picture.after == panel.result.read_bytes()
        and panel.parts.picture.name == "mountains-dream-1.png"
    )
    assert (
        press(panel, "again") == ""
        and dd.read_settings(panel.result)["image"] == "mountains-dream-1.png"
    )
    assert "deepdream dream mountains-dream-1.png" in panel.parts.line.text
    panel.undo()
    assert (
        panel.result.name == "mountains-dream-1.png"
        and "dream mountains.jpg" in panel.parts.line.text
    )
    panel.undo()
    assert (
        panel.result is None
        and panel.parts.buttons["undo"].disabled
        and panel.parts.buttons["again"].disabled
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
            said.append(panel.parts.picture.text)

    monkeypatch.setattr(dream, "make_step", slowly)
    panel.turn(iter_n=1000)
    note = press(panel, "dream")
    share = dd.read_settings(panel.result)["stopped_at"]
    assert note == f"Stopped at {share:.0%}; this is the picture so far."
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
        panel.parts.picture.busy
        and not panel.parts.buttons["stop"].disabled
        and panel.parts.buttons["dream"].disabled
    )
    thread = panel.thread
    panel.dream()  # a second press, before the first is through
    panel.undo()
    assert panel.thread is thread
    panel.knobs["seed"].value = 5
    assert "--seed 5" in panel.parts.line.text and panel.parts.line.about == KNOBS_LINE
    assert panel.knobs["image"].disabled and "a dream is being made; wait for it" in drop(
        panel, "x.png", b""
    )
    panel.stop()
    go.set()
    thread.join(300)
    assert dd.read_settings(panel.result)["seed"] == 0, "the knobs as they were when it began"
    assert (
        "--seed 0" in panel.parts.line.text
        and panel.parts.line.about == PICTURE_LINE + ", had it not been stopped"
    )
    panel.knobs["seed"].value = 6
    assert "--seed 6" in panel.parts.line.text and panel.parts.line.about == KNOBS_LINE


def test_noise(panel):
    panel.turn(image="", seed=3)
    assert (
        "dream --model" in panel.parts.line.text
        and "--size 64x36" in panel.parts.line.text
        and "--width" not in panel.parts.line.text
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
    before = panel.parts.picture.before
    panel.turn(seed=4)
    assert panel.parts.picture.before != before, "other noise"


def test_every_knob_comes_back(panel, toy_net, photo, tmp_path):
    dd.save_image(tmp_path / "g.png", photo)
    data = (tmp_path / "g.png").read_bytes()
    for role in ("guide", "mask"):
        assert drop(panel, "g.png", data, role) == ""
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
    other = Studio(toy_net)
    other.turn(guide="forest.jpg")
    assert (
        other.restore(settings) == ["the guide g.png", "the mask g.png"]
        and other.knobs["guide"].value == ""
    )
    drop(other, "another name.png", data, "guide")
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
    note = drop(panel, "x.png", (tmp_path / "x.png").read_bytes())
    assert says in note and note.startswith("x.png is used as a plain picture: ")
    assert panel.settings() == before | {"image": "x.png"}
    panel.undo()
    assert panel.result.name == "mountains-dream-1.png", "one step back"


def test_a_panel_keeps_only_so_many_pictures(panel, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "MOST_KEPT", 100_000)
    dd.save_image(tmp_path / "p.png", photo)
    data = (tmp_path / "p.png").read_bytes()
    assert drop(panel, "p.png", data) == ""
    notes = [drop(panel, f"{i}.png", data) for i in range(4)]
    assert "one panel keeps at most 0 MB of pictures" in notes[-1]
    monkeypatch.setattr(shelf, "MOST_KEPT", 50_000)
    assert "one panel keeps at most 0 MB of pictures" in press(panel, "dream")


def test_a_value_that_is_not_allowed_has_no_command(panel):
    # As typed in the browser; the field itself has only inclusive limits
    panel.knobs["octave_scale"].value = 0
    says = (
        "Ratio of sizes (octave scale) is 1.0; "
        "it must be a number, above 1 and at most 100, such as 1.4."
    )
    assert panel.parts.line.text == "" and panel.parts.picture.note == says
    panel.parts.picture.note = ""
    panel.dream()
    assert (
        panel.parts.picture.note == says and not panel.parts.picture.busy and panel.thread is None
    )
    panel.knobs["octave_scale"].value = 1.01
    assert "--octave-scale 1.01" in panel.parts.line.text and panel.parts.picture.note == ""


def test_the_command_leaves_out_what_goes_without_saying(panel):
    settings = dict.fromkeys(("device", "dtype")) | {
        "deepdream": "0.1.0",
        "command": "dream",
        "image": "forest.jpg",
    }
    assert panel.restore(settings | {"device": "cpu", "dtype": "float32", "width": 64}) == []
    assert panel.parts.line.text.endswith("--seed 0 --width 64 -o dream.png")
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


def test_the_tour(panel, toy_net, monkeypatch):
    press(panel, "tour")
    stops = panel.parts.strip.items
    assert [stop["key"] for stop in stops] == dd.stations(toy_net)[1:]
    assert all(stop["picture"][:2] == b"\xff\xd8" and stop["says"] for stop in stops)
    click(panel.parts.strip, stops[0]["key"])
    assert panel.knobs["end"].value == panel.parts.strip.chosen == stops[0]["key"]
    click(panel.parts.strip, "gone")
    assert "unknown layer 'gone'" in panel.parts.picture.note
    panel.turn(image="", width=640)
    assert panel.parts.strip.items == [], "it was of another picture"
    assert press(panel, "tour") == ""
    assert {size_of(stop["picture"]) for stop in panel.parts.strip.items} == {
        (tasks.TOUR_WIDTH, 135)
    }, "small noise"

    def stop_and_dream(*args, **kwargs):
        panel.stop()
        return dd.deepdream(*args, **kwargs)

    monkeypatch.setattr(tasks, "deepdream", stop_and_dream)
    assert press(panel, "tour") == "Stopped." and panel.parts.strip.items == []


def test_wishes_move_their_knobs_and_follow_them(toy_net):
    fresh = Studio(toy_net)
    for name, wish in WISHES.items():
        slider = fresh.parts.wishes[name]
        assert slider.places == len(wish.values) and slider.value == len(wish.values) // 2, (
            "the defaults"
        )
        for place, values in enumerate(wish.values):
            slider.value = place
            assert slider.value == place and values.items() <= fresh.settings().items()
            assert slider.value == place
    fresh.turn(iter_n=9, octave_n=1, octave_scale=1.21, step_size=900.0)
    assert [slider.value for slider in fresh.parts.wishes.values()] == [3, 0, 8], (
        "the nearest, and the last"
    )
    assert "--iterations 9" in fresh.parts.line.text, "the knobs stay where they are"
    fresh.parts.wishes["much"].value = 99  # no browser of ours
    assert fresh.knobs["iter_n"].value == 45


def test_one_click_takes_a_look(panel):
    fresh = Studio()
    fresh.turn(model="squeezenet_v1.1", image="forest.jpg", width=99, seed=5, jitter=7)
    offered = looks.of_network("squeezenet_v1.1")
    assert [item["key"] for item in fresh.parts.looks.items] == list(offered)
    for name in [
        *offered,
        "Petals",
        "2015",
        "Ghost",
        "Engraving",
    ]:  # nothing stays of the look before
        click(fresh.parts.looks, name)
        assert fresh.parts.picture.note == "" and fresh.parts.looks.chosen == name
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
    click(fresh.parts.looks, "Dogs")  # is only for GoogLeNet
    assert (
        "does not have the look 'Dogs'" in fresh.parts.picture.note and fresh.settings() == before
    )
    assert panel.parts.looks.items == [], "these are not layers of the toy"


def test_the_search_finds_each_thing(squeezenet):
    panel = Studio(squeezenet)
    texts, keys = zip(*panel.parts.search.choices, strict=True)
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
    click(panel.parts.search, "peacock")
    assert panel.knobs["objective"].value == "peacock" and "peacock" in panel.parts.line.text
    click(panel.parts.search, "")
    assert panel.settings()["objective"] is None


def test_the_history_goes_back_and_forth(panel):
    press(panel, "dream")
    first, line = panel.parts.picture.after, panel.parts.line.text
    panel.turn(image="forest.jpg")
    press(panel, "dream")
    assert [item["key"] for item in panel.parts.past.items] == [
        "mountains-dream-1.png",
        "forest-dream-1.png",
    ]
    assert {size_of(item["picture"])[0] for item in panel.parts.past.items} == {stage.THUMB}
    assert panel.parts.past.chosen == "forest-dream-1.png"
    forest, second = panel.parts.picture.before, panel.parts.picture.after
    click(panel.parts.past, "mountains-dream-1.png")
    assert (
        panel.parts.picture.after == first
        and panel.parts.line.text == line
        and panel.parts.picture.before != forest
    )
    assert panel.parts.past.chosen == panel.parts.picture.name == "mountains-dream-1.png"
    click(panel.parts.past, "gone")
    assert panel.parts.picture.after == first
    press(panel, "again")
    assert (
        dd.read_settings(panel.result)["image"] == "mountains-dream-1.png"
        and len(panel.parts.past.items) == 3
    )
    click(panel.parts.past, "forest-dream-1.png")
    assert panel.parts.picture.after == second and panel.parts.picture.before == forest
    panel.undo()
    panel.undo()
    assert panel.parts.picture.after == first and panel.parts.past.chosen == "mountains-dream-1.png"


def test_what_is_no_film_is_refused(panel, tmp_path):
    for name, data, says in (
        ("x.png", b"", "x.png is no film; these are: .mp4, "),
        ("x.mp4", b"no film", "x.mp4"),
        ("x.mp4", None, "x.mp4 has 0 MB; at most 20 MB are allowed"),
    ):
        assert says in drop(panel, name, data, "film")
    assert press(panel, "film", "video") == "drop a film of yours first."
    clips.write(tmp_path / "c.mp4", clips.panned(2))
    data = (tmp_path / "c.mp4").read_bytes()
    assert (
        drop(panel, "c.mp4", data, "mask") == "c.mp4 is a film, and here is a place for a picture."
    )
    assert press(panel, "film", "video") == "drop a film of yours first."
    assert drop(panel, "c.mp4", data) == "c.mp4 is here; now press My video."
    assert panel.knobs["image"].value == "mountains.jpg"
