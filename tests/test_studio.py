"""The studio's panel without a browser: knobs, settings, threads, the queue. tests/test_page.py has the browser."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import main, refused, write_model
from PIL import Image

import deepdream as dd
from deepdream import load_net, zoo
from deepdream.pictures import SAMPLES, load_guide

for package in ("anywidget", "ipywidgets", "filelock"):
    pytest.importorskip(package, reason=f"the studio needs {package}: pip install {package}")
from deepdream.studio import Studio, shelf, widgets  # noqa: E402
from deepdream.studio import panel as panels  # noqa: E402


@pytest.fixture(scope="module")
def toy_net(tmp_path_factory):
    return load_net(write_model(tmp_path_factory.mktemp("models") / "toy"), "caffe")


@pytest.fixture
def panel(toy_net):
    """A panel on the toy network, with little to do."""
    panel = Studio(toy_net)
    panel.turn(width=64, iter_n=2, octave_n=2, jitter=4)
    return panel


def press(panel, button):
    """Press, and wait until all is done; what the panel says then."""
    getattr(panel, button)()
    panel.thread.join(300)
    assert not panel.picture.busy
    return panel.picture.note


def dropped(panel, name, data, role="image"):
    panel._take_file(role, name, len(data), data)
    return panel.picture.note


def test_a_dream_again_and_undo(panel):
    assert press(panel, "dream") == "" and panel.result.name == "dream-1.png"
    settings = dd.read_settings(panel.result)
    wanted = {name: value for name, value in panel.settings().items() if value is not None and name != "model"}
    assert wanted.items() <= settings.items() and len(wanted) > 10
    image = dd.load_image(SAMPLES["mountains.jpg"], 64)
    plain = dd.deepdream(panel.given, image, end="both", iter_n=2, octave_n=2, jitter=4, seed=0)
    assert np.array_equal(np.uint8(plain.clip(0, 255)), np.uint8(dd.load_image(panel.result)))
    assert panel.picture.after == panel.result.read_bytes() and panel.picture.name == "dream-1.png"
    assert press(panel, "again") == "" and dd.read_settings(panel.result)["image"] == "dream-1.png"
    assert "deepdream dream dream-1.png" in panel.line.text
    panel.undo()
    assert panel.result.name == "dream-1.png" and "dream mountains.jpg" in panel.line.text
    panel.undo()
    assert panel.result is None and panel.buttons["undo"].disabled and panel.buttons["again"].disabled
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
    assert note == f"Stopped at {dd.read_settings(panel.result)['stopped_at']:.0%}; this is the picture so far."
    assert len(steps) == 5 and said == ["stopping after this step"]
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
    assert panel.picture.busy and not panel.buttons["stop"].disabled and panel.buttons["dream"].disabled
    thread = panel.thread
    panel.dream()  # a second press, before the first is through
    panel.undo()
    assert panel.thread is thread
    panel.knobs["seed"].value = 5
    assert "--seed 5" in panel.line.text and panel.line.about == panels.KNOBS_LINE
    assert panel.knobs["image"].disabled and "a dream is being made; wait for it" in dropped(panel, "x.png", b"")
    panel.stop()
    go.set()
    thread.join(300)
    assert dd.read_settings(panel.result)["seed"] == 0, "the knobs as they were when it began"
    assert "--seed 0" in panel.line.text and panel.line.about == panels.PICTURE_LINE + ", had it not been stopped"
    panel.knobs["seed"].value = 6
    assert "--seed 6" in panel.line.text and panel.line.about == panels.KNOBS_LINE


def test_noise(panel):
    panel.turn(image="", seed=3)
    assert "dream --model" in panel.line.text and "--size 64x36" in panel.line.text and "--width" not in panel.line.text
    press(panel, "dream")
    assert dd.load_image(panel.result).shape == (36, 64, 3) and dd.read_settings(panel.result)["size"] == "64x36"
    settings = dd.read_settings(panel.result)
    press(panel, "again")
    assert dd.read_settings(panel.result)["image"] == "dream-1.png"
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
    turned = {"end": "left", "iter_n": 3, "octave_n": 3, "octave_scale": 1.3, "step_size": -2.0, "jitter": 7}
    turned |= {"seed": 9, "width": 70, "guide": "g.png", "mask": "g.png", "smooth": 0.5, "keep_color": True}
    turned |= {"image": "flower.jpg"}
    panel.turn(**turned)
    assert press(panel, "dream") == ""
    settings = dd.read_settings(panel.result)
    assert turned.items() <= settings.items()
    other = Studio(panel.given)
    other.turn(guide="forest.jpg")
    assert other.restore(settings) == ["the guide g.png", "the mask g.png"] and other.knobs["guide"].value == ""
    dropped(other, "another name.png", data, "guide")
    assert other.restore(settings) == []
    assert other.settings() == panel.settings() | {"guide": "another name.png", "mask": "another name.png"}
    panel.turn(objective="L2('both') + 2 * guide('left', 'g.png')")
    assert press(panel, "dream") == ""
    settings = dd.read_settings(panel.result)
    assert settings["objective"] == "L2('both') + 2 * guide('left', 'g.png')" and "guide" not in settings
    assert other.restore(settings) == [] and other.settings()["objective"] == settings["objective"]


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"model": "bvlc_googlenet"}, "unknown network 'bvlc_googlenet'"),
        ({"end": "bothe"}, "unknown layer 'bothe'; did you mean 'both'?"),
        ({"iter_n": 10**9}, "Iterations is 1000000000; it must be a whole number from 0 to 10000"),
        ({"iter_n": "many"}, "Iterations is 'many'; it must be a whole number from 0 to 10000"),
        ({"octave_scale": float("nan")}, "Octave scale is nan; it must be a number, above 1 and at most 100"),
        ({"jitter": [1, 2]}, "Jitter is [1, 2]; it must be a whole number of pixels, at least 0"),
        ({"command": "zoom"}, "it does not carry the settings of a dream of a picture"),
        ({"draw": ["banana"]}, "it does not carry the settings of a dream of a picture"),
        ({"image": {"a": 1}}, "Picture is {'a': 1}; it must be the path of a file"),
        ({"sha256": 5, "seed": -1}, "Seed is -1; it must be a whole number from 0 to 4294967295"),
        ({"help": True, "seed": -1}, "Seed is -1; it must be a whole number from 0 to 4294967295"),
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
    assert panel.result.name == "dream-1.png", "one step back"


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
    kept_as |= {"a\nb<i>.png": "a_b_i_.png", "mountains.jpg": "mountains-2.jpg", "dream-1.png": "dream-1.png"}
    kept_as |= {"x" * 300 + ".png": "x" * 80 + ".png", "é" * 90 + ".png": "é" * 40 + ".png"}
    for given, kept in kept_as.items():
        assert dropped(panel, given, data) == "" and panel.knobs["image"].value == kept
        assert panel.shelf.files[kept].parent == Path(panel.shelf.folder.name)
    press(panel, "dream")
    assert panel.result.name == "dream-2.png"


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
    assert press(panel, "dream") == "Width is 640; a dream of tall.png may be at most 75 pixels wide."
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
    assert shelf.picture_size(tmp_path / "p.jpg") == dd.load_image(tmp_path / "p.jpg").shape[:2] == (40, 30)


def test_guides_are_small_whatever_is_given(tmp_path):
    dd.save_image(tmp_path / "g.png", np.zeros((900, 1600, 3)))
    assert load_guide(tmp_path / "g.png").shape == (530, 942, 3)
    assert load_guide(SAMPLES["flower.jpg"]).shape == (320, 480, 3)


def test_a_value_that_is_not_allowed_has_no_command(panel):
    panel.knobs["octave_scale"].value = 0  # typed in the browser; the field itself has only inclusive limits
    says = "Octave scale is 1.0; it must be a number, above 1 and at most 100, such as 1.4."
    assert panel.line.text == "" and panel.picture.note == says
    panel.picture.note = ""
    panel.dream()
    assert panel.picture.note == says and not panel.picture.busy and panel.thread is None
    panel.knobs["octave_scale"].value = 1.01
    assert "--octave-scale 1.01" in panel.line.text and panel.picture.note == ""


def test_knobs_are_made_from_the_table(panel):
    from deepdream.recipe import knobs

    fresh = Studio(panel.given).knobs
    assert fresh.keys() == knobs().keys()
    for name, row in knobs().items():
        knob = fresh[name]
        assert knob.description == row.knob and knob.tooltip == row.help
        if row.kind in (int, float):
            assert knob.value == row.default
            assert knob.min == (row.above if row.low is None else row.low) and knob.max == row.high


def test_the_command_leaves_out_what_goes_without_saying(panel):
    settings = dict.fromkeys(("device", "dtype")) | {"deepdream": "0.1.0", "command": "dream", "image": "forest.jpg"}
    assert panel.restore(settings | {"device": "cpu", "dtype": "float32", "width": 64}) == []
    assert panel.line.text.endswith("--seed 0 --width 64 -o dream.png")
    missing = panel.restore(settings | {"device": "cuda", "clip": False, "tile": 64, "end": "both"})
    assert missing == ["--device cuda --tile 64 --no-clip"]


def test_turning_knobs_in_python(panel):
    for wrong, says in (
        ({"layer": "both"}, "unknown knob 'layer'"),
        ({"seed": 3, "end": "bothe"}, "unknown layer 'bothe'; did you mean 'both'?"),
        ({"image": "forest.jpg", "width": 0}, "width is 0; it must be a whole number of pixels from 1 to 65535"),
        ({"width": None}, "width cannot be None"),
        ({"octave_scale": 1}, "octave_scale is 1; it must be a number, above 1 and at most 100, such as 1.4"),
        ({"keep_color": "maybe"}, "keep_color is 'maybe'; it must be True or False"),
    ):
        before, states = panel.settings(), len(panel.states)
        with pytest.raises(dd.DreamError, match=re.escape(says)):
            panel.turn(**wrong)
        assert panel.settings() == before and len(panel.states) == states


def test_a_note_says_what_went_wrong(panel, monkeypatch, photo):
    panel.turn(objective="logit('peacock')")
    assert press(panel, "dream").startswith("toy has no names for its classes; give the number of one, or an objective")
    panel.turn(objective="", width=16, octave_n=9)
    assert "small" in press(panel, "dream")
    panel.turn(width=64, octave_n=2)
    for error, says in (
        (MemoryError(), "not enough memory; lower the width"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (KeyError("x"), "Something went wrong here"),
    ):
        monkeypatch.setattr(panels, "make_dream", lambda *_, error=error: (_ for _ in ()).throw(error))
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        assert says in press(panel, "dream")
    monkeypatch.undo()
    assert press(panel, "dream") == ""


def test_the_tour(panel, monkeypatch):
    press(panel, "tour")
    stops = panel.strip.stops
    assert [stop["layer"] for stop in stops] == dd.stations(panel.given)[1:]
    assert all(stop["picture"][:2] == b"\xff\xd8" for stop in stops)
    panel.strip._handle_custom_msg(stops[0]["layer"], [])
    assert panel.knobs["end"].value == panel.strip.chosen == stops[0]["layer"]
    panel.strip._handle_custom_msg("gone", [])
    assert "unknown layer 'gone'" in panel.picture.note
    panel.turn(image="forest.jpg")
    assert panel.strip.stops == [], "it was of another picture"

    def stop_and_dream(*args, **kwargs):
        panel.stop()
        return dd.deepdream(*args, **kwargs)

    monkeypatch.setattr(panels, "deepdream", stop_and_dream)
    assert press(panel, "tour") == "Stopped." and panel.strip.stops == []


def test_networks_and_engines_to_choose_from(monkeypatch, squeezenet):
    monkeypatch.delenv("DEEPDREAM_ENGINE", raising=False)
    panel = Studio()
    models = [name for _, name in panel.knobs["model"].options]
    assert models[:1] == ["bvlc_googlenet"] and "squeezenet_v1.1" in models and "places205_googlenet" not in models
    layers = [name for _, name in panel.knobs["end"].options]
    assert layers[0] == "conv1/7x7_s2" and layers.index("inception_3b/output") < layers.index("inception_4c/output")
    assert panel.knobs["end"].value == "inception_4c/output" and "prob" not in layers
    says = dict(label.split(" · ") for label, _ in panel.knobs["end"].options)
    assert says["conv2/3x3"] == says["inception_3b/5x5_reduce"] == "edges and strokes"
    assert says["inception_3b/output"] == "textures and eyes" and says["inception_5b/output"] == "whole things"
    panel.turn(model="squeezenet_v1.1")
    assert panel.knobs["end"].value == "fire8/concat"
    assert Studio(squeezenet).knobs["model"].options == (("SqueezeNet v1.1, ImageNet", "squeezenet_v1.1"),)
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    if "torch" in [name for _, name in panel.knobs["engine"].options]:
        assert Studio().knobs["engine"].value == "torch"


@pytest.mark.parametrize("able", [["float32"], ["float32", "bfloat16"]])
def test_bfloat16_is_offered_where_the_hardware_multiplies_it(monkeypatch, able):
    torchnet = pytest.importorskip("deepdream.torchnet", reason="PyTorch is not installed: pip install torch")
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


def test_a_network_that_cannot_be_downloaded_is_replaced(monkeypatch):
    def open_net(recipe):
        if recipe["model"] == "bvlc_googlenet":
            raise zoo.NoWeightsError("the weights of bvlc_googlenet cannot be downloaded")
        return load_net(recipe["model"], "caffe")

    monkeypatch.setattr(panels, "open_net", open_net)
    panel = Studio()
    panel.turn(width=100, iter_n=1, octave_n=1)
    note = press(panel, "dream")
    assert note.endswith("cannot be downloaded; squeezenet_v1.1 is chosen now, so press the button again.")
    assert press(panel, "dream") == "" and dd.read_settings(panel.result)["model"] == "squeezenet_v1.1"


def ticket(folder, at_once=1):
    """A process that waits for its turn: it prints each place in the queue, then 'turn', until its input ends."""
    code = """if True:
        import sys, threading
        from deepdream.studio.turns import in_turn
        with in_turn(lambda place: print(place, flush=True), threading.Event()):
            print("turn", flush=True)
            sys.stdin.read()
    """
    env = os.environ | {"DEEPDREAM_PAGE": str(folder), "DEEPDREAM_AT_ONCE": str(at_once)}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )


def read_until(process, what):
    """Read what a process prints until it prints this line."""
    for line in process.stdout:
        if line.strip() == what:
            return
    raise AssertionError(f"it ended before it printed {what!r}")


def test_visitors_queue_and_the_dead_do_not_count(tmp_path):
    first = ticket(tmp_path)
    read_until(first, "turn")
    second = ticket(tmp_path)
    read_until(second, "1")
    third = ticket(tmp_path)
    read_until(third, "2")
    second.kill()
    second.wait()
    read_until(third, "1")
    first.send_signal(signal.SIGKILL)
    read_until(third, "turn")
    fourth = ticket(tmp_path, at_once=2)
    read_until(fourth, "turn")
    for process in (third, fourth):
        process.stdin.close()
        assert process.wait(120) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("ticket")] == []


def test_stop_leaves_the_queue(panel, tmp_path, monkeypatch):
    first = ticket(tmp_path)
    read_until(first, "turn")
    monkeypatch.setenv("DEEPDREAM_PAGE", str(tmp_path))
    monkeypatch.setenv("DEEPDREAM_AT_ONCE", "1")
    counts = threading.Event()

    def see(change):
        if re.match("In the queue: you are next; [1-9][0-9]* s so far", change.new):
            counts.set()

    panel.picture.observe(see, "text")
    panel.dream()
    assert counts.wait(300), "the seconds keep the page from being taken for idle"
    panel.stop()
    panel.thread.join(300)
    assert panel.picture.note == "Stopped." and panel.result is None and not panel.picture.busy
    first.stdin.close()
    first.wait(120)
    assert press(panel, "dream") == "" and panel.result


def test_the_notebook_that_travels_in_the_wheel_is_short_and_bare():
    notebook = json.loads((Path(panels.__file__).parent / "studio.ipynb").read_text())
    assert len(notebook["cells"]) <= 2
    assert not [cell for cell in notebook["cells"] if cell.get("outputs")]


def test_serve_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "voila", None)
    refused(main("serve"), "the page needs voila; `pip install voila` installs it")
    monkeypatch.setitem(sys.modules, "filelock", None)
    refused(main("serve"), "the page needs voila, filelock; `pip install voila filelock` installs them")


def test_the_server_needs_no_ipywidgets():
    code = "import sys; import deepdream.studio.serve; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
