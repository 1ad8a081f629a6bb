"""Objectives: gradients compared with finite differences of values computed here; sums;
objectives in words.
"""

import signal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import load, write_model
from PIL import Image

import deepdream as dd
from deepdream import L2, caricature, channel, guide, logit, strongest, typical, unit, weakest
from deepdream.dream import octaves
from deepdream.language import parse
from deepdream.nets import zoo
from deepdream.nets.classes import class_number, scores

IMAGES = Path(__file__).parent.parent / "images"
GUIDE = np.random.RandomState(3).uniform(0, 255, (20, 28, 3))
TARGET = np.random.RandomState(4).uniform(0, 255, (24, 32, 3))  # as large as the picture
PICTURE = np.random.RandomState(1).normal(0, 50, (3, 24, 32)).astype(np.float32)


def values(net, layer):
    """What the layer makes of the picture in the network: (channels, h, w) float64."""
    net.forward(end=layer)
    return np.float64(net.blobs[layer].data[0])


def values_of(net, layer, image):
    """What the layer makes of another image, (h, w, 3); the picture in the network
    stays there.
    """
    src = net.blobs["data"]
    picture = src.data.copy()
    src.reshape(1, 3, *image.shape[:2])
    src.data[0] = np.rollaxis(image, 2)[::-1] - net.mean
    found = values(net, layer)
    src.reshape(*picture.shape)
    src.data[:] = picture
    return found


def guide_value(net, layer):
    """The sum over places of the largest dot-product with any place of the guide."""
    features = values_of(net, layer, GUIDE)
    found = values(net, layer)
    channels = len(found)
    return (found.reshape(channels, -1).T @ features.reshape(channels, -1)).max(1).sum()


def several_value(net):
    squares = (values(net, "conv1") ** 2).sum() / 100 + (values(net, "pool1") ** 2).sum()
    return squares - 0.5 * values(net, "both")[1, 3, 2] + guide_value(net, "left")


def caricature_value(net, layer, power, image=TARGET):
    x, t = values(net, layer), values_of(net, layer, image)
    d = (x * t).sum()
    return d * max(0.1, d / np.sqrt((x * x).sum())) ** power


def ranking(net, layer):
    """The sums over places of all channels, from the smallest up, which is the order of
    their means.
    """
    return np.sort(values(net, layer).sum((1, 2)))


def unlike(net):
    """An image in which the first convolution sees rather the picture's opposite."""
    noise = np.random.RandomState(5).normal(0, 50, PICTURE.shape)
    return np.dstack((net.mean - PICTURE + noise)[::-1])


def looking_value(net):
    strong, weak = ranking(net, "both")[-2:].sum(), ranking(net, "pool1")[:3].sum()
    return (
        3000 * strong
        - 500 * weak
        + caricature_value(net, "conv1", 1) / 1000
        + (values(net, "left") ** 2).sum() / 2
    )


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
    "layers": (
        L2("conv1") / 50 + 2 * L2("pool1") - 0.5 * unit("both", 1, 2, 3) + guide("left", GUIDE),
        several_value,
    ),
    "strongest": (strongest("both", 3), lambda net: ranking(net, "both")[-3:].sum()),
    "weakest": (weakest("both", 2), lambda net: ranking(net, "both")[:2].sum()),
    "typical": (typical("both", 4), lambda net: ranking(net, "both")[3:7].sum()),
    "one typical": (typical("conv1"), lambda net: ranking(net, "conv1")[4]),
    "strength": (caricature("both", TARGET, 0), lambda net: caricature_value(net, "both", 0)),
    "caricature": (caricature("pool1", TARGET), lambda net: caricature_value(net, "pool1", 1)),
    "a close one": (
        caricature("both", TARGET, power=2.5),
        lambda net: caricature_value(net, "both", 2.5),
    ),
    "looking": (
        3000 * strongest("both", 2)
        - 500 * weakest("pool1", 3)
        + caricature("conv1", TARGET) / 1000
        + L2("left"),
        looking_value,
    ),
}


@pytest.fixture(params=["caffe", "torch"])
def net(request, toy):
    (toy / "labels.txt").write_text(
        "ant, emmet\nanemone fish\ncrane\nfire ant\ncrane, tower crane\n"
    )
    (toy / "model.toml").write_text('default_layer = "both"\nlabels = "labels.txt"')
    net = load(toy, request.param)
    net.blobs["data"].data[0] = PICTURE
    return net


@pytest.fixture(params=["squeezenet", "googlenet"])
def real(request):
    """Each real network in turn."""
    return request.getfixturevalue(request.param)


def gradient(net, objective):
    dd.gradient(net, "", objective)
    return net.blobs["data"].diff[0].copy()


def check_slope(net, objective, value):
    x = net.blobs["data"].data[0].copy()
    g = gradient(net, objective)
    risen = float(net.value)
    assert risen == pytest.approx(value(net), rel=1e-4)
    direction = np.random.RandomState(2).normal(0, 1, x.shape) + g / np.abs(g).mean()
    found = []
    for step in (0.02, -0.02):
        net.blobs["data"].data[0] = x + step * direction
        found.append(value(net))
    net.blobs["data"].data[0] = x
    assert (found[0] - found[1]) / 0.04 == pytest.approx((g * direction).sum(), rel=1e-3)


@pytest.mark.parametrize("term", TERMS)
def test_gradient_agrees_with_finite_differences_of_the_value(net, term):
    check_slope(net, *TERMS[term])


@pytest.mark.parametrize("power", [0, 1, 3])
def test_the_likeness_of_a_caricature_counts_as_0_1_at_least(net, power):
    image = unlike(net)
    assert (values(net, "conv1") * values_of(net, "conv1", image)).sum() < 0
    check_slope(
        net,
        caricature("conv1", image, power),
        lambda net: caricature_value(net, "conv1", power, image),
    )


@pytest.mark.parametrize("power", [0, 1, 2.5])
def test_outside_a_dream_a_caricature_is_of_the_picture_itself(net, power):
    """With t = x the formula is |x|^power times x, the slope of L2."""
    length = np.linalg.norm(values(net, "both"))
    expected = length**power * gradient(net, L2("both"))
    assert (
        np.abs(gradient(net, caricature("both", power=power)) - expected).max()
        < 1e-5 * np.abs(expected).max()
    )


def test_a_caricatures_image_is_cut_and_resized_to_the_picture(net):
    image = np.random.RandomState(5).randint(0, 256, (48, 96, 3)).astype(np.uint8)
    middle = Image.fromarray(image).resize((32, 24), Image.Resampling.BILINEAR, box=(16, 0, 80, 48))
    expected = gradient(net, caricature("both", np.asarray(middle, float)))
    for same in (image, image.tolist()):
        assert np.array_equal(gradient(net, caricature("both", same)), expected)


@pytest.mark.parametrize(
    "objective", [strongest("both", 2), caricature("both"), caricature("both", GUIDE)]
)
def test_a_look_leaves_the_picture_in_the_network_alone(net, objective):
    for _ in range(2):
        gradient(net, objective)
        assert np.array_equal(net.blobs["data"].data[0], PICTURE)


def chosen(net, objective):
    """The channels that an objective becomes on the picture in the network, sorted."""
    ((layer, fill),) = objective.start(net).fills(net).items()
    blob = SimpleNamespace(
        data=np.zeros((1, net.channels(layer), 1, 1)), diff=np.zeros((1, net.channels(layer), 1, 1))
    )
    fill(blob)
    return np.flatnonzero(blob.diff).tolist()


def test_channels_that_see_nothing_are_never_chosen(net):
    net.params["conv1"][1].data[[0, 2, 3, 5, 6]] = -1e6  # so that the ReLU leaves only 1, 4 and 7
    for term in (strongest, weakest, typical):
        assert chosen(net, term("pool1", 5)) == [1, 4, 7]
        assert set(chosen(net, term("pool1"))) < {1, 4, 7}
    net.params["conv1"][1].data[:] = -1e6
    with pytest.raises(
        dd.DreamError,
        match=r"strongest\('pool1', 2\): all channels of the layer are 0 on this picture",
    ):
        gradient(net, strongest("pool1", 2))


def at_first_octave(net, photo, layer, octave_n):
    """The mean of each channel where a dream begins, which stays in the network."""
    first = octaves(net, photo, octave_n)[0]
    net.blobs["data"].reshape(1, *first.shape)
    net.blobs["data"].data[0] = first
    return values(net, layer).mean((1, 2))


@pytest.mark.parametrize("name", ["mountains", "forest", "flower"])
def test_the_strongest_channels_are_far_stronger_than_the_mean(real, name):
    layer = real.default_layer
    photo = dd.load_image(IMAGES / f"{name}.jpg", 373)  # the first octave of four up to 1024
    means = at_first_octave(real, photo, layer, 1)
    assert (means[chosen(real, strongest(layer, 5))] >= 3 * means.mean()).all()
    assert (means[chosen(real, weakest(layer, 5))] < means.mean() / 10).all()
    assert chosen(real, strongest(layer)) == [means.argmax()]


def test_each_dream_chooses_its_channels_once(real, photo):
    layer, seen = real.default_layer, []
    objective = strongest(layer, 3)
    for picture in (photo, dd.load_image(IMAGES / "flower.jpg", 120)):
        dream = partial(dd.deepdream, real, picture, iter_n=2, octave_n=2, seed=0)
        channels = at_first_octave(real, picture, layer, 2).argsort()[-3:]
        assert np.array_equal(
            dream(objective=objective), dream(objective=sum(channel(layer, i) for i in channels))
        )
        seen.append(set(channels))
    assert seen[0] != seen[1]


def test_in_a_dream_a_caricature_is_of_the_photograph(net, photo):
    objective = caricature("both") - L2("left") / 2
    for picture in (photo, photo[:, ::-1]):
        dream = partial(dd.deepdream, net, picture, iter_n=2, octave_n=2, seed=0, turn=10)
        assert np.array_equal(
            dream(objective=objective),
            dream(objective=caricature("both", picture) - L2("left") / 2),
        )


def test_the_image_is_shifted_and_turned_as_the_picture_is(net, photo):
    """At the first step the two are the same, and then the slope is that of L2."""
    dream = partial(dd.deepdream, net, photo, iter_n=1, octave_n=1, seed=0, turn=30)
    assert np.abs(dream(objective=caricature("both")) - dream(end="both")).max() < 1e-3


def test_ctrl_c_during_a_look_at_the_image_waits_for_the_step(net, photo, monkeypatch):
    dream = partial(
        dd.deepdream, net, photo, octave_n=1, seed=0, turn=10, objective=caricature("both", GUIDE)
    )
    expected, look, looks = dream(iter_n=3), net.features, []

    def interrupted(layer):
        looks.append(layer)
        if len(looks) == 3:
            signal.raise_signal(signal.SIGINT)
        return look(layer)

    monkeypatch.setattr(net, "features", interrupted)
    assert np.array_equal(dream(iter_n=5), expected)


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("model", ["squeezenet_v1.1", "bvlc_googlenet"])
def test_a_caricature_comes_nearer_to_its_image_on_ten_crops(model):
    if not zoo.find(model).file(".caffemodel"):
        pytest.skip(f"the weights of {model} are not here")
    net = load(model, "torch")
    layer, flower = net.default_layer, dd.load_image(IMAGES / "flower.jpg", 160)[:80, :112]
    target = values_of(net, layer, flower)
    for name in ("mountains", "forest"):
        for left in range(0, 400, 80):
            crop = dd.load_image(IMAGES / f"{name}.jpg", 480)[60:140, left : left + 112]
            dream = dd.deepdream(net, crop, 4, 1, seed=0, objective=caricature(layer, flower))
            before, after = values_of(net, layer, crop), values_of(net, layer, dream)
            assert cosine(after, target) > cosine(before, target)


def test_a_caricature_is_stronger_and_keeps_its_likeness_better_than_L2(real, photo):
    layer = real.default_layer
    before = values_of(real, layer, photo)
    dream = partial(dd.deepdream, real, photo, iter_n=4, octave_n=1, seed=0, end=layer)
    caricatured, climbed = (
        values_of(real, layer, dream(**how)) for how in ({"objective": caricature(layer)}, {})
    )
    assert np.linalg.norm(caricatured) > 1.05 * np.linalg.norm(before)
    assert 1 - cosine(caricatured, before) < 0.7 * (1 - cosine(climbed, before))


def test_the_gradient_of_a_sum_is_the_sum_of_gradients(net):
    a, b, c = L2("conv1"), channel("both", 3), guide("both", GUIDE)
    total = gradient(net, 0.01 * a - 2 * (b + c / 4) + sum([b, b]))
    expected = 0.01 * gradient(net, a) - 0.5 * gradient(net, c)
    assert np.abs(total - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.array_equal(net.blobs["data"].diff[0], gradient(net, c)), (
        "the last gradient stays in the blob"
    )


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


def test_an_image_in_words_is_a_path(tmp_path, net):
    dd.save_image(tmp_path / "a.png", TARGET)
    seen = []
    objective = parse(
        "caricature('both', image='a.png')", lambda path: seen.append(path) or str(tmp_path / path)
    )
    assert seen == ["a.png"]
    rounded = dd.load_image(tmp_path / "a.png")
    assert np.array_equal(gradient(net, objective), gradient(net, caricature("both", rounded)))
    for text in (
        "caricature('both', 3)",
        "caricature('both', L2('both'))",
        "guide('both', image=3)",
    ):
        with pytest.raises(dd.DreamError, match="must be a path in quotes"):
            parse(text)


def test_weights_are_multiplied_and_divided():
    weights = [
        term.weight for term in (2 * (L2("a") - L2("b") / 4) - np.float32(3) * -L2("c")).terms
    ]
    assert weights == [2, -0.5, 3]


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda a: a * a,
        lambda a: a + 1,
        lambda a: 1 / a,
        lambda a: a - "b",
        lambda a: a * [1],
        lambda a: 2 - a,
    ],
)
def test_sums_without_a_meaning_raise_a_type_error(nonsense):
    with pytest.raises(TypeError):
        nonsense(L2("both"))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 10**400, 1e300, 1e38])
def test_weights_that_are_not_finite_are_refused(weight):
    with pytest.raises(dd.DreamError, match="is not a finite number"):
        weight * (1e30 * L2("both"))
    assert (
        str(np.int64(3) * L2(np.str_("a")) + Fraction(1, 2) * logit(np.int64(3)))
        == "3 * L2('a') + 1/2 * logit(3)"
    )


def test_numpys_integers_work(net, photo):
    dream = partial(dd.deepdream, net, photo, octave_n=1, iter_n=1, seed=0, tile=np.int64(40))
    assert np.array_equal(
        dream(objective=unit("conv1", np.uint8(1), np.uint8(3), 2)),
        dream(objective=unit("conv1", 1, 3, 2)),
    )


def test_each_step_says_what_rises(net, photo):
    """Before it; of a function, what it returns, or else what is linear."""
    steps, seen = [], []

    def own(dst):
        dst.diff[:] = 3 * dst.data
        seen.append(1.5 * (np.float64(dst.data) ** 2).sum())
        return seen[-1]

    def silent(dst):
        dst.diff[0, 2] = 5
        seen.append(5 * np.float64(dst.data[0, 2]).sum())

    for objective in own, silent:
        dream = partial(dd.deepdream, net, photo, 3, 2, end="both", seed=0)
        dream(objective=objective, on_step=steps.append)
        assert [step.value for step in steps] == pytest.approx(seen, rel=1e-5)
        steps.clear(), seen.clear()
    dream(on_step=steps.append, jitter=0)
    assert steps[2].value > steps[0].value > 0
    assert {step.size for step in steps} == {photo.shape[:2]}


def nothing(dst):
    pass


def returns(dst):
    return (dst.data**2).sum()


@pytest.mark.parametrize("objective", [nothing, returns])
def test_an_objective_that_fills_nothing_is_refused(net, photo, objective):
    dd.deepdream(net, photo, 1, 1, end="both", seed=0)  # leaves a diff there
    with pytest.raises(dd.DreamError, match=r"did not fill dst\.diff.*dst\.diff\[:\] = dst\.data"):
        dd.deepdream(net, photo, 1, 1, end="both", seed=0, objective=objective)


def test_what_an_objective_leaves_out_is_zero(net, photo):
    """Not what the dream before has left there."""

    def one(dst):
        dst.diff[0, 3] = 1

    dream = partial(dd.deepdream, net, photo, 1, 1, end="both", seed=0)
    dream()
    assert np.array_equal(dream(objective=one), dream(objective=channel("both", 3)))


def test_an_objective_can_be_given_in_words(net, photo):
    dream = partial(dd.deepdream, net, photo, octave_n=1, iter_n=1, seed=0)
    steps = []
    assert np.array_equal(
        dream(objective="2 * L2('both')", on_step=steps.append), dream(end="both")
    )
    assert steps[0].end == "2 * L2('both')"


def test_a_guide_that_fails_leaves_the_picture_in_the_network_alone(net):
    before = net.blobs["data"].data.copy()
    with pytest.raises(dd.DreamError):
        gradient(net, guide("both", np.zeros((40, 40))))
    assert np.array_equal(net.blobs["data"].data, before)


def test_each_close_class_is_suggested_once(googlenet):
    with pytest.raises(dd.DreamError, match="did you mean 'banana' or 'ananas' or 'bandeau'"):
        logit("bananna").layers_in(googlenet)


def test_classes_are_found_by_name(net, googlenet):
    assert [
        class_number(net, name) for name in ("ant", "EMMET", "anemone_fish", " fire  ant", 2)
    ] == [0, 0, 1, 3, 2]
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
        (
            channel("both", 10),
            "channel of layer 'both' is 10; it must be a whole number from 0 to 9",
        ),
        (
            channel("both", -1),
            "channel of layer 'both' is -1; it must be a whole number from 0 to 9",
        ),
        (channel("both", 1.0), r"channel of layer 'both' is 1\.0"),
        (channel("boht", 1), "unknown layer 'boht'; did you mean 'both'"),
        (channel("both", True), "channel of layer 'both' is True"),
        (unit("both", 1, 36, 0), "x in layer 'both' at this octave's size is 36; .* from 0 to 35"),
        (unit("both", 1, 0, 24), "y in layer 'both' at this octave's size is 24; .* from 0 to 23"),
        (unit("both", 10, 0, 0), "channel of layer 'both' is 10"),
        (
            unit("fc", 1, 0, 0),
            r"layer 'fc' has no places, only 5 channels; take channel\('fc', 1\)",
        ),
        (guide("both", "absent.jpg"), r"cannot read the picture absent\.jpg"),
        (guide("both", 3), r"an image is an array \(height, width, 3\)"),
        (guide("both", np.full((9, 9, 3), np.nan)), "values are not numbers"),
        (strongest("boht"), "unknown layer 'boht'; did you mean 'both'"),
        (caricature("boht", GUIDE), "unknown layer 'boht'; did you mean 'both'"),
        (
            strongest("both", 0),
            r"^strongest\('both', 0\) asks for 0 channels; layer 'both' has 1 to 10$",
        ),
        (weakest("both", -1), r"weakest\('both', -1\) asks for -1 channels"),
        (typical("both", 1.5), r"typical\('both', 1\.5\) asks for 1\.5 channels"),
        (strongest("both", True), r"strongest\('both', True\) asks for True channels"),
        (typical("both", 11), r"typical\('both', 11\) asks for 11 channels"),
        (
            caricature("both", 3),
            r"^an image is an array \(height, width, 3\), RGB; this one is \(\)",
        ),
        (caricature("both", np.zeros((40, 40))), r"an image is an array .* this one is \(40, 40\)"),
        (caricature("both", np.full((9, 9, 3), np.nan)), "values are not numbers"),
        (
            caricature("both", "absent.jpg"),
            r"cannot read the picture absent\.jpg: there is no such file$",
        ),
        (
            caricature("both", power=100),
            r"^caricature\('both'\) is too steep for power=100 on this picture; take a",
        ),
        (1e-42 * channel("both", 3), "gives no direction to climb"),
        ("L2('both') * 'a'", "cannot read"),
        (None, "objective is None; it must be a function"),
        (
            channel("both", 3) - channel("both", 3),
            r"channel\('both', 3\) - channel\('both', 3\) gives no direction",
        ),
    ],
)
@pytest.mark.parametrize("tile", [None, 40])
def test_wrong_objectives_are_refused(net, photo, objective, says, tile):
    with pytest.raises(dd.DreamError, match=says):
        dd.deepdream(net, photo, objective=objective, octave_n=1, iter_n=1, tile=tile)


@pytest.mark.parametrize("power", [-1, 101, "a", float("nan"), True, None])
def test_powers_that_are_no_number_are_refused(power):
    with pytest.raises(
        dd.DreamError, match=rf"^the power of caricature\('both'\) is {power!r}; .* from 0 to 100$"
    ):
        caricature("both", power=power)


def test_a_caricature_in_windows_is_refused(googlenet):
    for size in ((200, 300, 3), (100, 100, 3)):
        with pytest.raises(
            dd.DreamError,
            match=r"^layer 'loss3/classifier' sees this picture through windows; for a ",
        ):
            dd.deepdream(
                googlenet,
                np.full(size, 99),
                iter_n=1,
                octave_n=1,
                objective=caricature("loss3/classifier"),
            )


@pytest.mark.parametrize("width", [90, 300, 224])
def test_a_class_is_climbed_in_windows_of_the_networks_size(googlenet, width):
    """At 300x300, this layer cannot run."""
    image = np.random.RandomState(0).uniform(100, 150, (150, width, 3)).astype(np.float32)
    dream = dd.deepdream(
        googlenet, image, objective=logit("starfish"), octave_n=2, iter_n=3, seed=0
    )
    assert np.abs(dream - image).mean() > 1
    assert (np.abs(dream - image).reshape(150, width, 3).mean(2) > 0).mean() > 0.99, (
        "every part of it takes part"
    )


def test_in_one_window_the_gradient_of_a_class_is_the_same(googlenet):
    """If the picture has the network's own size, windows make no difference."""
    from deepdream.nets.tiles import Tiles

    x = np.random.RandomState(0).normal(0, 20, (3, 224, 224)).astype(np.float32)
    tiles = Tiles(googlenet, None, ["loss3/classifier"])
    gradients = []
    for net in (googlenet, tiles):
        net.blobs["data"].reshape(1, *x.shape)
        net.blobs["data"].data[0] = x
        gradients.append(gradient(net, logit("banana")))
    assert gradients[0].any() and np.array_equal(*gradients)


def test_without_a_softmax_the_classes_are_in_the_last_layer(tmp_path):
    bare = """layer { name: "data" type: "Input" top: "data"
                      input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
              layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
                      inner_product_param { num_output: 5 } }"""
    net = dd.load_net(write_model(tmp_path / "bare", bare, ""))
    assert scores(net) == "fc"
    with pytest.raises(dd.DreamError, match="bare has no names for its classes; give the number"):
        logit("ant").layers_in(net)
    with pytest.raises(dd.DreamError, match="channel of layer 'fc' is 5"):
        gradient(net, logit(5))
