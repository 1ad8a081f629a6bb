"""Drawing from noise: what comes out is what was asked for, also to a network that did not draw it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TOY, load, write_model
from plain import opinion

import deepdream as dd
from deepdream.objectives import class_number

ROOT = Path(__file__).parent.parent


def activations(net, picture, layer):
    """What a layer makes of a picture (H, W, 3): (channels, h, w)."""
    net.blobs["data"].reshape(1, 3, *picture.shape[:2])
    net.blobs["data"].data[0] = dd.preprocess(net, picture)
    net.forward(end=layer)
    return net.blobs[layer].data[0].copy()


def test_googlenet_and_squeezenet_know_a_starfish_that_googlenet_drew(googlenet, squeezenet):
    picture = dd.draw(googlenet, "starfish", steps=120)
    assert picture.shape == (300, 300, 3) and picture.min() >= 0 and picture.max() <= 255
    starfish = class_number(googlenet, "starfish")
    p, rank = opinion(googlenet, picture, starfish)
    assert p > 0.95 and rank == 1
    assert opinion(squeezenet, picture, starfish)[1] <= 5


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_squeezenet_draws_what_it_was_asked_for(engine):
    net = load("squeezenet_v1.1", engine)
    for name in ("banana", "starfish"):
        assert opinion(net, dd.draw(net, name, steps=60), class_number(net, name))[0] > 0.9


def test_a_channel_wakes_up(squeezenet):
    """Far beyond what it makes of a photograph."""
    photo, drawing = (
        dd.load_image(ROOT / "images" / "flower.jpg", 400),
        dd.draw(squeezenet, dd.channel("fire5/concat", 20), steps=40),
    )
    values = [activations(squeezenet, picture[:227, :227], "fire5/concat")[20].sum() for picture in (photo, drawing)]
    assert values[1] > 5 * values[0]


def test_a_seed_repeats(toy):
    net = dd.load_net(toy)
    first, again, other = (dd.draw(net, 3, steps=5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, dd.draw(net, np.int64(3), steps=np.int64(5), seed=np.int64(1)))


def test_a_guide_may_be_a_photograph_of_the_package(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, flower = dd.load_net(toy), ROOT / "images" / "flower.jpg"
    assert np.array_equal(dd.draw(net, "guide('left', 'flower.jpg')", 2), dd.draw(net, dd.guide("left", flower), 2))
    dd.save_image("flower.jpg", np.zeros((30, 40, 3)))
    mine = dd.draw(net, "guide('left', 'flower.jpg')", 2)
    assert np.array_equal(mine, dd.draw(net, dd.guide("left", np.zeros((30, 40, 3))), 2)), "a file that is there"


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [interrupt, lambda: True], ids=["ctrl-c", "true"])
def test_on_step_gets_every_step_and_a_stopped_drawing_keeps_the_picture(toy, stop):
    steps = []

    def on_step(step):
        steps.append(step)
        return stop() if step.iteration == 2 and not step.stopped else None

    picture = dd.draw(dd.load_net(toy), dd.L2("both"), steps=5, on_step=on_step)
    assert [(step.iteration, step.stopped) for step in steps] == [(0, False), (1, False), (2, False), (2, True)]
    assert [step.done for step in steps] == [0.2, 0.4, 0.6, steps[-1].done]
    assert {(step.octave, step.end) for step in steps} == {(0, "L2('both')")}
    assert np.array_equal(steps[-1].image(), picture) and picture.shape == (32, 43, 3)


def test_on_step_cannot_stop_a_finished_drawing(toy):
    steps = []
    picture = dd.draw(dd.load_net(toy), 3, steps=1, on_step=lambda step: bool(steps.append(step)) or True)
    assert len(steps) == 1 and not steps[0].stopped and np.array_equal(picture, dd.draw(dd.load_net(toy), 3, steps=1))


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_features_asleep_are_woken(engine):
    """Nothing in the noise wakes these channels, so their ReLU leaves them no slope."""
    net, layer = load("squeezenet_v1.1", engine), "fire9/concat"

    def strongest(picture):
        return activations(net, picture, layer).max((1, 2))

    noise = np.random.RandomState(0).normal(0, 8, (304, 304, 3)) + net.mean.ravel()[::-1]
    asleep = np.flatnonzero(strongest(noise) == 0)
    assert len(asleep) > 20
    for i in asleep[:: len(asleep) // 5]:
        assert strongest(dd.draw(net, dd.channel(layer, int(i)), steps=15))[i] > 0


def test_what_never_wakes_is_said(tmp_path):
    dead = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
              layer { name: "dead" type: "Power" bottom: "data" top: "dead" power_param { scale: 0 } }"""
    with pytest.raises(dd.DreamError, match=r"channel\('dead', 0\) gives no direction to climb, not even from noise"):
        dd.draw(dd.load_net(write_model(tmp_path / "dead", dead, "")), dd.channel("dead", 0), steps=3)


@pytest.mark.parametrize(
    ("what", "wrong", "says"),
    [
        ("bananna", {}, "unknown class 'bananna'; did you mean 'banana'"),
        (1000, {}, "the number of a class of squeezenet_v1.1 is 1000; it must be a whole number from 0 to 999"),
        ("channel('fire5/concat', 999)", {}, "channel of layer 'fire5/concat' is 999"),
        (dd.L2("fire5"), {}, "unknown layer 'fire5'"),
        ("²", {}, "unknown class '²'"),
        ("1000", {}, "the number of a class of squeezenet_v1.1 is 1000"),
        (1e-44 * dd.channel("fire5/concat", 3), {"steps": 2}, "gives no direction to climb"),
        ("banana", {"steps": 0}, "steps is 0"),
        ("banana", {"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_drawn(squeezenet, what, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.draw(squeezenet, what, **wrong)


def test_a_sheet_has_all_pictures_and_labels():
    pictures = [np.full((40, 60, 3), value, np.float32) for value in (10, 60, 110, 160, 210)]
    sheet = dd.sheet(pictures, ["one", "two", "three", "four", "a label that is much too long for its picture"])
    assert sheet.shape[1] > 3 * 60 and sheet.shape[0] > 2 * 40
    for picture in pictures:
        assert (sheet == picture[0, 0]).all(2).sum() >= 40 * 60
    assert (sheet[50:60] < 60).any(), "the labels are black"
    assert dd.sheet([np.zeros((5, 5, 3))], ["two\nlines"]).shape[2] == 3


def test_toy_has_no_head_of_its_own(tmp_path):
    """A network that ends before any class still draws channels."""
    net = dd.load_net(write_model(tmp_path / "toy", TOY[: TOY.index('layer { name: "fc"')]))
    assert dd.draw(net, dd.channel("both", 1), steps=3).shape == (32, 43, 3)
