"""Objectives: gradients compared with finite differences of values computed here; sums; objectives in words."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from conftest import load, write_model

import deepdream as dd
from deepdream import L2, channel, guide, logit, unit
from deepdream.objectives import class_number, parse

GUIDE = np.random.RandomState(3).uniform(0, 255, (20, 28, 3))


def values(net, layer):
    """What the layer makes of the picture in the network: (channels, h, w) float64."""
    net.forward(end=layer)
    return np.float64(net.blobs[layer].data[0])


def guide_value(net, layer):
    """The sum over places of the largest dot-product with any place of the guide."""
    src = net.blobs["data"]
    picture = src.data.copy()
    src.reshape(1, 3, *GUIDE.shape[:2])
    src.data[0] = np.rollaxis(GUIDE, 2)[::-1] - net.mean
    features = values(net, layer)
    src.reshape(*picture.shape)
    src.data[:] = picture
    found = values(net, layer)
    channels = len(found)
    return (found.reshape(channels, -1).T @ features.reshape(channels, -1)).max(1).sum()


def several_value(net):
    squares = (values(net, "conv1") ** 2).sum() / 100 + (values(net, "pool1") ** 2).sum()
    return squares - 0.5 * values(net, "both")[1, 3, 2] + guide_value(net, "left")


# name: (the objective, its value computed another way)
TERMS = {
    "L2": (L2("both"), lambda net: (values(net, "both") ** 2).sum() / 2),
    "before its ReLU": (L2("conv1"), lambda net: (values(net, "conv1") ** 2).sum() / 2),
    "guide": (guide("both", GUIDE), lambda net: guide_value(net, "both")),
    "channel": (channel("both", 3), lambda net: values(net, "both")[3].sum()),
    "unit": (unit("conv1", 5, 11, 4), lambda net: values(net, "conv1")[5, 4, 11]),
    "logit": (logit(2), lambda net: values(net, "fc")[2]),
    "a sum": (
        0.7 * L2("both") - 30 * channel("both", 3),
        lambda net: 0.35 * (values(net, "both") ** 2).sum() - 30 * values(net, "both")[3].sum(),
    ),
    "layers": (L2("conv1") / 50 + 2 * L2("pool1") - 0.5 * unit("both", 1, 2, 3) + guide("left", GUIDE), several_value),
}


@pytest.fixture(params=["caffe", "torch"])
def net(request, toy):
    (toy / "labels.txt").write_text("ant, emmet\nanemone fish\ncrane\nfire ant\ncrane, tower crane\n")
    (toy / "model.toml").write_text('default_layer = "both"\nlabels = "labels.txt"')
    net = load(toy, request.param)
    net.blobs["data"].data[...] = np.random.RandomState(1).normal(0, 50, (1, 3, 24, 32))
    return net


def gradient(net, objective):
    dd.gradient(net, "", objective)
    return net.blobs["data"].diff[0].copy()


@pytest.mark.parametrize("term", TERMS)
def test_gradient_agrees_with_finite_differences_of_the_value(net, term):
    objective, value = TERMS[term]
    x = net.blobs["data"].data[0].copy()
    g = gradient(net, objective)
    direction = np.random.RandomState(2).normal(0, 1, x.shape) + g / np.abs(g).mean()
    found = []
    for step in (0.02, -0.02):
        net.blobs["data"].data[0] = x + step * direction
        found.append(value(net))
    assert (found[0] - found[1]) / 0.04 == pytest.approx((g * direction).sum(), rel=1e-3)


def test_the_gradient_of_a_sum_is_the_sum_of_gradients(net):
    a, b, c = L2("conv1"), channel("both", 3), guide("both", GUIDE)
    total = gradient(net, 0.01 * a - 2 * (b + c / 4) + sum([b, b]))
    expected = 0.01 * gradient(net, a) - 0.5 * gradient(net, c)
    assert np.abs(total - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.array_equal(net.blobs["data"].diff[0], gradient(net, c)), "the last gradient stays in the blob"


def test_L2_and_guide_dream_like_the_plain_functions(net, photo):
    features = dd.guide_features(net, GUIDE, "both")
    plain = partial(dd.objective_guide, guide_features=features)
    dream = partial(dd.deepdream, net, photo, iter_n=2, octave_n=2, seed=0)
    assert np.array_equal(dream(objective=L2("both")), dream(end="both"))
    assert np.array_equal(dream(objective=guide("both", GUIDE)), dream(end="both", objective=plain))
    assert np.array_equal(dream(objective=-4 * L2("both")), dream(end="both", step_size=-1.5))


def test_a_guide_leaves_the_picture_in_the_network_alone(net):
    before = net.blobs["data"].data.copy()
    gradient(net, guide("both", GUIDE))
    assert np.array_equal(net.blobs["data"].data, before)


def test_the_value_rises_and_with_a_negative_weight_falls(net):
    for sign in (1, -1):
        found = []
        for _ in range(10):
            found.append(values(net, "both")[3].sum())
            dd.make_step(net, step_size=1, jitter=0, objective=sign * channel("both", 3))
        assert sign * (found[-1] - found[0]) > 0


@pytest.mark.parametrize(
    "text",
    [
        "0.7 * L2('inception_4c/output') + 0.3 * channel('inception_4d/output', 42)",
        "-L2('a')",
        "L2('a') - 2 * (channel('b', 1) + unit('c', 1, 2, 3))",
        "(L2('a') + L2('b')) * 2",
        "-(L2('a') - L2('b')) / 4",
        "guide('inception_3b/output', 'flower.jpg') - (L2('a') - logit('anemone fish'))",
        "1e-05 * logit(954)",
    ],
)
def test_str_gives_back_the_words(text):
    here = {"L2": L2, "channel": channel, "unit": unit, "guide": guide, "logit": logit}
    assert str(eval(text, here)) == str(parse(text)) == repr(parse(text)) == text


def test_a_guide_that_nobody_looks_at_needs_only_its_layer():
    seen = []
    assert str(parse("2 * guide('left', 'a.jpg') - L2('both')", seen.append)) == "2 * L2('left') - L2('both')"
    assert seen == ["a.jpg"]
    with pytest.raises(dd.DreamError, match=r"guide\('left'\): missing a required argument: 'image'"):
        parse("guide('left')", seen.append)


def test_weights_are_multiplied_and_divided():
    weights = [term.weight for term in (2 * (L2("a") - L2("b") / 4) - np.float32(3) * -L2("c")).terms]
    assert weights == [2, -0.5, 3]


@pytest.mark.parametrize(
    "nonsense",
    [lambda a: a * a, lambda a: a + 1, lambda a: 1 / a, lambda a: a - "b", lambda a: a * [1], lambda a: 2 - a],
)
def test_sums_without_a_meaning_raise_a_type_error(nonsense):
    with pytest.raises(TypeError):
        nonsense(L2("both"))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 10**400, 1e300])
def test_weights_that_are_not_finite_are_refused(weight):
    with pytest.raises(dd.DreamError, match="is not a finite number"):
        weight * (1e300 * L2("both"))
    assert str(np.int64(3) * L2(np.str_("a")) + Fraction(1, 2) * logit(np.int64(3))) == "3 * L2('a') + 1/2 * logit(3)"


def test_numpys_integers_work(net, photo):
    dream = partial(dd.deepdream, net, photo, octave_n=1, iter_n=1, seed=0, tile=np.int64(40))
    assert np.array_equal(
        dream(objective=unit("conv1", np.uint8(1), np.uint8(3), 2)), dream(objective=unit("conv1", 1, 3, 2))
    )


def test_an_objective_can_be_given_in_words(net, photo):
    dream = partial(dd.deepdream, net, photo, octave_n=1, iter_n=1, seed=0)
    steps = []
    assert np.array_equal(dream(objective="2 * L2('both')", on_step=steps.append), dream(end="both"))
    assert steps[0].end == "2 * L2('both')"


def test_a_guide_that_fails_leaves_the_picture_in_the_network_alone(net):
    before = net.blobs["data"].data.copy()
    with pytest.raises(dd.DreamError):
        gradient(net, guide("both", np.zeros((40, 40))))
    assert np.array_equal(net.blobs["data"].data, before)


def test_each_close_class_is_suggested_once(googlenet):
    with pytest.raises(dd.DreamError, match="did you mean 'banana' or 'ananas' or 'bandeau'"):
        logit("bananna").bind(googlenet)


WORDS = ["", "L2('a'", "L2", "3", "L2('a') * L2('b')", "L2()", "L2('a').terms", "eval('1')", "L2(l='a')", "L2('a') / 0",
         "L2('a') if 1 else L2('b')", "__import__('os')",
         "L2('a' * 99999999999)", "-" * 100000 + "L2('a')"]  # fmt: skip


@pytest.mark.parametrize("text", WORDS)
def test_words_that_are_not_an_objective_are_refused(text):
    with pytest.raises(dd.DreamError, match=r"an objective is a sum such as .* of L2, guide, .*, typical, caricature$"):
        parse(text)


def test_classes_are_found_by_name(net, googlenet):
    assert [class_number(net, name) for name in ("ant", "EMMET", "anemone_fish", " fire  ant", 2)] == [0, 0, 1, 3, 2]
    assert class_number(googlenet, "banana") == 954
    for name in ("banana", "dumbbell", "starfish", "ant", "parachute", "anemone fish"):
        assert name in googlenet.labels[class_number(googlenet, name)]


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (logit("anemonefish"), "unknown class 'anemonefish'; did you mean 'anemone fish'"),
        (logit("tower"), "unknown class 'tower'; did you mean 'tower crane'"),
        (logit("crane"), r"'crane' names 2 classes of toy; .* \(2: crane; 4: crane, tower crane\)"),
        (logit(5), "the number of a class of toy is 5; it must be a whole number from 0 to 4"),
        (channel("both", 10), "channel of layer 'both' is 10; it must be a whole number from 0 to 9"),
        (channel("both", -1), "channel of layer 'both' is -1; it must be a whole number from 0 to 9"),
        (channel("both", 1.0), r"channel of layer 'both' is 1\.0"),
        (channel("boht", 1), "unknown layer 'boht'; did you mean 'both'"),
        (channel("both", True), "channel of layer 'both' is True"),
        (unit("both", 1, 36, 0), "x in layer 'both' at this octave's size is 36; .* from 0 to 35"),
        (unit("both", 1, 0, 24), "y in layer 'both' at this octave's size is 24; .* from 0 to 23"),
        (unit("both", 10, 0, 0), "channel of layer 'both' is 10"),
        (unit("fc", 1, 0, 0), r"layer 'fc' has no places, only 5 channels; take channel\('fc', 1\)"),
        (guide("both", "absent.jpg"), r"cannot read the picture absent\.jpg"),
        (guide("both", 3), r"an image is an array \(height, width, 3\)"),
        (guide("both", np.full((9, 9, 3), np.nan)), "values are not numbers"),
        (1e-42 * channel("both", 3), "gives no direction to climb"),
        ("L2('both') * 'a'", "cannot read"),
        (None, "objective is None; it must be a function"),
        (channel("both", 3) - channel("both", 3), r"channel\('both', 3\) - channel\('both', 3\) gives no direction"),
    ],
)
@pytest.mark.parametrize("tile", [None, 40])
def test_wrong_objectives_are_refused(net, photo, objective, says, tile):
    with pytest.raises(dd.DreamError, match=says):
        dd.deepdream(net, photo, objective=objective, octave_n=1, iter_n=1, tile=tile)


@pytest.mark.parametrize("width", [90, 300, 224])
def test_a_class_is_climbed_in_windows_of_the_networks_size(googlenet, width):
    """At 300x300, this layer cannot run."""
    image = np.random.RandomState(0).uniform(100, 150, (150, width, 3)).astype(np.float32)
    dream = dd.deepdream(googlenet, image, objective=logit("starfish"), octave_n=2, iter_n=3, seed=0)
    assert np.abs(dream - image).mean() > 1
    assert (np.abs(dream - image).reshape(150, width, 3).mean(2) > 0).mean() > 0.99, "every part of it takes part"


def test_in_one_window_the_gradient_of_a_class_is_the_same(googlenet):
    """If the picture has the network's own size, windows make no difference."""
    from deepdream.tiles import Tiles

    x = np.random.RandomState(0).normal(0, 20, (3, 224, 224)).astype(np.float32)
    tiles = Tiles(googlenet, None, ["loss3/classifier"])
    gradients = []
    for net in (googlenet, tiles):
        net.blobs["data"].reshape(1, *x.shape)
        net.blobs["data"].data[0] = x
        gradients.append(gradient(net, logit("banana")))
    assert gradients[0].any() and np.array_equal(*gradients)


def test_without_a_softmax_the_classes_are_in_the_last_layer(tmp_path):
    from deepdream.objectives import scores

    bare = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
              layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
                      inner_product_param { num_output: 5 } }"""
    net = dd.load_net(write_model(tmp_path / "bare", bare, ""))
    assert scores(net) == "fc"
    with pytest.raises(dd.DreamError, match="bare has no names for its classes; give the number"):
        logit("ant").bind(net)
    with pytest.raises(dd.DreamError, match="channel of layer 'fc' is 5"):
        gradient(net, logit(5))
