"""Drawing from noise: what comes out is what was asked for, also to a network that did
not draw it.
"""

import signal
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import TOY, load, main, refused, write_model
from PIL import Image
from plain import opinion

import deepdream as dd
from deepdream import drawing
from deepdream.drawing import Drawing, gram, likeness
from deepdream.language import to_objective
from deepdream.objectives import class_number

ROOT = Path(__file__).parent.parent


def activations(net, picture, layer):
    """What a layer makes of a picture (H, W, 3): (channels, h, w)."""
    net.blobs["data"].reshape(1, 3, *picture.shape[:2])
    net.blobs["data"].data[0] = dd.preprocess(net, picture)
    net.forward(end=layer)
    return net.blobs[layer].data[0].copy()


@pytest.mark.slow
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
    values = [
        activations(squeezenet, picture[:227, :227], "fire5/concat")[20].sum()
        for picture in (photo, drawing)
    ]
    assert values[1] > 5 * values[0]


def test_a_seed_repeats(toy):
    net = dd.load_net(toy)
    first, again, other = (dd.draw(net, 3, steps=5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, dd.draw(net, np.int64(3), steps=np.int64(5), seed=np.int64(1)))


def test_a_guide_may_be_a_photograph_of_the_package(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, flower = dd.load_net(toy), ROOT / "images" / "flower.jpg"
    assert np.array_equal(
        dd.draw(net, "guide('left', 'flower.jpg')", 2), dd.draw(net, dd.guide("left", flower), 2)
    )
    dd.save_image("flower.jpg", np.zeros((30, 40, 3)))
    mine = dd.draw(net, "guide('left', 'flower.jpg')", 2)
    assert np.array_equal(mine, dd.draw(net, dd.guide("left", np.zeros((30, 40, 3))), 2)), (
        "a file that is there"
    )


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("stop", [interrupt, lambda: True], ids=["ctrl-c", "true"])
def test_on_step_gets_every_step_and_a_stopped_drawing_keeps_the_picture(toy, stop):
    steps = []

    def on_step(step):
        steps.append(step)
        return stop() if step.iteration == 2 and not step.stopped else None

    picture = dd.draw(dd.load_net(toy), dd.L2("both"), steps=5, on_step=on_step)
    assert [(step.iteration, step.stopped) for step in steps] == [
        (0, False),
        (1, False),
        (2, False),
        (2, True),
    ]
    assert [step.done for step in steps] == [0.2, 0.4, 0.6, steps[-1].done]
    assert {(step.octave, step.end) for step in steps} == {(0, "L2('both')")}
    assert np.array_equal(steps[-1].image(), picture) and picture.shape == (32, 43, 3)


def test_on_step_cannot_stop_a_finished_drawing(toy):
    steps = []
    picture = dd.draw(
        dd.load_net(toy), 3, steps=1, on_step=lambda step: bool(steps.append(step)) or True
    )
    assert (
        len(steps) == 1
        and not steps[0].stopped
        and np.array_equal(picture, dd.draw(dd.load_net(toy), 3, steps=1))
    )


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
    dead = """layer { name: "data" type: "Input" top: "data"
                      input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
              layer { name: "dead" type: "Power" bottom: "data" top: "dead"
                      power_param { scale: 0 } }"""
    with pytest.raises(
        dd.DreamError,
        match=r"channel\('dead', 0\) gives no direction to climb, not even from noise",
    ):
        dd.draw(
            dd.load_net(write_model(tmp_path / "dead", dead, "")), dd.channel("dead", 0), steps=3
        )


@pytest.mark.parametrize(
    ("what", "wrong", "says"),
    [
        ("bananna", {}, "unknown class 'bananna'; did you mean 'banana'"),
        (
            1000,
            {},
            "number of a class of squeezenet_v1.1 is 1000; it must be a whole number from 0 to 999",
        ),
        ("channel('fire5/concat', 999)", {}, "channel of layer 'fire5/concat' is 999"),
        (dd.L2("fire5"), {}, "unknown layer 'fire5'"),
        ("²", {}, "unknown class '²'"),
        (
            "strongest('fire5/concat')",
            {},
            "depends on the picture that a dream begins with, and here is none",
        ),
        ("2 * caricature('fire5/concat')", {}, "or give the caricature an image"),
        ("1000", {}, "the number of a class of squeezenet_v1.1 is 1000"),
        (1e-44 * dd.channel("fire5/concat", 3), {"steps": 2}, "gives no direction to climb"),
        ("banana", {"steps": 0}, "steps is 0"),
        ("banana", {"seed": -1}, "seed is -1"),
        (
            "banana",
            {"several": 0},
            "several is 0; it must be a whole number of pictures from 1 to 100",
        ),
        ("banana", {"several": None}, "several is None"),
        ("banana", {"size": 15}, "size is 15; it must be a whole number of pixels from 16 to 4096"),
        (
            "banana",
            {"size": "640x360"},
            "size is '640x360'; it must be a whole number of pixels from 16 to 4096",
        ),
    ],
)
def test_what_cannot_be_drawn(squeezenet, what, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.draw(squeezenet, what, **wrong)


def test_a_sheet_has_all_pictures_and_labels():
    pictures = [np.full((40, 60, 3), value, np.float32) for value in (10, 60, 110, 160, 210)]
    sheet = dd.sheet(
        pictures, ["one", "two", "three", "four", "a label that is much too long for its picture"]
    )
    assert sheet.shape[1] > 3 * 60 and sheet.shape[0] > 2 * 40
    for picture in pictures:
        assert (sheet == picture[0, 0]).all(2).sum() >= 40 * 60
    assert (sheet[50:60] < 60).any(), "the labels are black"
    assert dd.sheet([np.zeros((5, 5, 3))], ["two\nlines"]).shape[2] == 3


def test_toy_has_no_head_of_its_own(tmp_path):
    """A network that ends before any class still draws channels."""
    net = dd.load_net(write_model(tmp_path / "toy", TOY[: TOY.index('layer { name: "fc"')]))
    assert dd.draw(net, dd.channel("both", 1), steps=3).shape == (32, 43, 3)


def plain_likeness(x, theirs):
    """<G, theirs>, with G of x, (channels, h, w), in float64, written out as lucid has
    it.
    """
    a = np.float64(x).reshape(len(x), -1).T  # (places, channels)
    g = a.T @ a
    return (g / np.linalg.norm(g) * theirs).sum()


def some_gram(channels, seed=7):
    x = np.random.RandomState(seed).normal(1, 1, (channels, 5, 6)).clip(0)
    return gram(x)


def test_the_gradient_of_the_likeness_agrees_with_finite_differences():
    rng = np.random.RandomState(0)
    x, theirs = rng.normal(1, 2, (7, 4, 5)), (some_gram(7) + some_gram(7, 8)) / 2
    value, slope = likeness(x, theirs)
    assert value == pytest.approx(plain_likeness(x, theirs)) and 0 < value < 1
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        difference = (plain_likeness(x + step, theirs) - plain_likeness(x - step, theirs)) / 2e-5
        assert slope[i] == pytest.approx(difference, rel=1e-3, abs=1e-9)


def test_a_picture_is_like_itself_and_not_like_what_shares_no_channel():
    left, right = np.zeros((2, 6, 3, 3))
    left[:3], right[3:] = 1, 2
    assert (
        likeness(left, gram(left * 5))[0] == pytest.approx(1)
        and likeness(left, gram(right))[0] == 0
    )
    nothing = np.zeros((6, 3, 3))
    assert likeness(nothing, gram(left))[0] == 0 and not likeness(nothing, gram(left))[1].any()


@pytest.mark.parametrize("engine", ["caffe", "torch"])
@pytest.mark.parametrize(
    ("what", "default", "layers"),
    [
        ("channel('both', 3)", "both", ("both", "both")),
        ("channel('conv1', 3)", "both", ("conv1", "conv1")),
        ("channel('conv1', 3) + channel('left', 0)", "both", ("left", "left")),
        ("logit(2)", "pool1", ("pool1", "pool1")),
        ("logit(2)", "conv1", ("conv1", "relu1")),  # which changes it in place
        ("logit(2)", "fc", ("both", "both")),
    ],
)
def test_the_way_from_the_others_agrees_with_finite_differences(
    tmp_path, engine, what, default, layers
):
    """The gradient of the picture, as the likeness at a layer gives it, through the
    whole network.
    """
    net = load(write_model(tmp_path / "toy", toml=f'default_layer = "{default}"'), engine)
    drawing, other = (Drawing(net, to_objective(what), np.random.RandomState(i)) for i in range(2))
    assert drawing.layers == layers
    layer = layers[0]
    x = np.random.RandomState(1).normal(0, 50, (3, 24, 32)).astype(np.float32)
    theirs = some_gram(net.channels(layer))
    other.gram = net.array(np.float32(theirs))
    net.blobs["data"].data[0] = x

    def value(picture):
        net.blobs["data"].data[0] = picture
        net.forward(end=layers[1])
        return plain_likeness(net.blobs[layer].data[0], theirs)

    ahead = dd.gradient(net, None, drawing.objective)
    ahead = net.to_numpy(ahead).copy()
    away = (
        drawing.move_away([other]) - ahead
    )  # with a strength that the pictures' own climb decides
    assert abs(away).mean() == pytest.approx(1.5 * value(x) ** 2 * abs(ahead).mean(), rel=1e-3)
    slope, at_layer = -away, likeness(np.float64(net.blobs[layer].data[0]), theirs)[1]
    net.forward(end=layers[1])
    net.blobs[layer].diff[0] = at_layer
    net.backward(start=layers[1])
    exact = net.blobs["data"].diff[0].copy()
    assert np.allclose(
        slope * (abs(exact).mean() / abs(slope).mean()),
        exact,
        rtol=1e-3,
        atol=1e-3 * abs(exact).max(),
    )
    for seed in range(3):
        direction = exact + np.random.RandomState(seed).normal(0, 1, x.shape) * exact.std()
        direction /= abs(direction).max()
        difference = (value(x + 0.02 * direction) - value(x - 0.02 * direction)) / 0.04
        assert difference == pytest.approx((exact * direction).sum(), rel=1e-3)


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_without_diversity_several_pictures_are_those_of_several_seeds(toy, monkeypatch, engine):
    net, last = load(toy, engine), 2**32 - 1
    monkeypatch.setattr(drawing, "DIVERSITY", 0)
    pictures = dd.draw(net, "channel('both', 1)", steps=5, seed=last, several=3)
    assert pictures.shape == (3, 32, 43, 3) and pictures.dtype == np.float32
    for picture, seed in zip(pictures, [last, 0, 1]):
        assert np.array_equal(picture, dd.draw(net, "channel('both', 1)", steps=5, seed=seed))


def test_several_pictures_repeat_and_one_is_as_ever(toy):
    net = dd.load_net(toy)
    first, again = (dd.draw(net, 3, steps=5, several=np.int64(2)) for _ in range(2))
    assert np.array_equal(first, again) and not np.array_equal(first[0], dd.draw(net, 3, steps=5))
    assert np.array_equal(dd.draw(net, 3, steps=5, several=1), dd.draw(net, 3, steps=5))


@pytest.mark.parametrize("stop", [interrupt, lambda: True], ids=["ctrl-c", "true"])
def test_on_step_gets_a_step_of_all_pictures(toy, stop):
    steps, sizes = [], []

    def on_step(step):
        steps.append(step)
        sizes.append(step.image().shape)
        return stop() if step.iteration == 1 and not step.stopped else None

    pictures = dd.draw(dd.load_net(toy), dd.L2("both"), steps=4, on_step=on_step, several=3)
    assert [(step.iteration, step.stopped) for step in steps] == [(0, False), (1, False), (1, True)]
    assert [step.done for step in steps][:2] == [0.25, 0.5] and pictures.shape == (3, 32, 43, 3)
    assert len(set(sizes)) == 1 and sizes[0][0] > 64 and sizes[0][1] > 86, "a sheet of all"


def test_several_pictures_where_nothing_has_places(tmp_path):
    """A network that sees all places at once has nothing but its classes to compare."""
    toy = """layer { name: "data" type: "Input" top: "data"
                     input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
             layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
                     inner_product_param { num_output: 5 } }"""
    net = dd.load_net(write_model(tmp_path / "flat", toy, ""))
    assert dd.draw(net, dd.channel("fc", 2), steps=3, several=2).shape == (2, 32, 32, 3)


def judge(net, pictures, what, layer, value):
    """(the mean likeness of any two pictures at a layer, the value of each), of
    pictures at the network's own size.
    """
    small = []
    for picture in pictures:
        image = Image.fromarray(np.uint8(picture)).resize(
            net.own_size[::-1], Image.Resampling.BICUBIC
        )
        small.append(np.asarray(image, np.float32))
    grams = [gram(np.float64(activations(net, picture, layer))) for picture in small]
    alike = np.mean([(a * b).sum() for a, b in combinations(grams, 2)])
    return alike, np.array([value(picture) for picture in small])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["banana", "channel('fire8/concat', 100)"])
def test_several_pictures_differ_and_still_show_what_was_asked_for(what):
    net = load("squeezenet_v1.1", "torch")

    def value(picture):
        if what == "banana":
            return activations(net, picture, "pool10")[class_number(net, what)].sum()
        return activations(net, picture, "fire8/concat")[100].sum()

    seeds = [dd.draw(net, what, steps=50, seed=seed) for seed in range(4)]
    several = dd.draw(net, what, steps=50, several=4)
    (alike, own), (alike_now, own_now) = (
        judge(net, p, what, "fire8/concat", value) for p in (seeds, several)
    )
    assert alike_now < 2 / 3 * alike and (own_now > 0.8 * own).all(), (
        alike,
        alike_now,
        own_now / own,
    )


@pytest.mark.parametrize(
    ("size", "shape"), [(64, (48, 64, 3)), (np.int64(120), (90, 120, 3)), (16, (12, 16, 3))]
)
def test_a_size_is_that_of_the_longer_side(toy, size, shape):
    net = dd.load_net(toy)
    picture = dd.draw(net, "channel('both', 1)", steps=4, size=size)
    assert picture.shape == shape and np.isfinite(picture).all() and picture.std() > 5
    assert np.array_equal(picture, dd.draw(net, "channel('both', 1)", steps=4, size=size))
    assert dd.draw(net, 2, steps=2, size=size, several=2).shape == (2, *shape)


def test_a_large_picture_shows_the_class_as_a_whole_and_detail_that_a_smaller_one_has_not():
    net = load("squeezenet_v1.1", "torch")
    large, usual = dd.draw(net, "starfish", steps=30, size=500), dd.draw(net, "starfish", steps=30)
    assert (
        large.shape == (500, 500, 3) and opinion(net, large, class_number(net, "starfish"))[0] > 0.9
    )
    enlarged = np.asarray(
        Image.fromarray(np.uint8(usual)).resize((500, 500), Image.Resampling.BICUBIC)
    )
    waves = np.hypot(np.fft.fftfreq(500)[:, None], np.fft.rfftfreq(500))

    def fine(picture):  # the power of waves shorter than five pixels
        return (abs(np.fft.rfft2(picture.mean(2))) ** 2)[waves > 1 / 5].sum()

    assert fine(large) > 3 * fine(enlarged)


def test_several_pictures_and_a_size_on_the_command_line(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--model", toy, "--steps", 2, "--several", 3, "--size", 64, "-o"]
    assert main("draw", "3", *common, "one.png").returncode == 0
    assert main("draw", "3", "channel('both', 1)", *common, "two.png").returncode == 0
    settings = dd.read_settings("one.png")
    assert (settings["several"], settings["size"]) == (3, 64)
    sizes = [dd.load_image(name).shape[:2] for name in ("one.png", "two.png")]
    assert (
        sizes[0][0] > 2 * 48
        and sizes[0][1] > 2 * 64
        and sizes[1][0] > 2 * 48
        and sizes[1][1] > 3 * 64
    )
    line = main("replay", "two.png").stdout
    assert "--several 3" in line and "--size 64" in line
    assert main("replay", "two.png", "-o", "again.png").returncode == 0
    assert Path("again.png").read_bytes() == Path("two.png").read_bytes()
    refused(
        main("draw", "3", "--model", toy, "--size", "64x48", "-o", "x.png"),
        "--size is '64x48'; it must be a whole",
    )
    refused(
        main("draw", "3", "--model", toy, "--several", "0", "-o", "x.png"),
        "--several is 0; it must be a whole",
    )
