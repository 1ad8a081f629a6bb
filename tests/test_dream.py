"""The algorithm, against itself written out plainly on a stock Caffe net."""

import signal
import threading
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage as nd
from conftest import TOY, load, write_model
from plain import plain_dream, plain_gradient, plain_lapnorm, stock_net

import deepdream as dd
from deepdream.dream import octaves
from deepdream.nets.tiles import fit
from deepdream.pyramid import lap_normalize

END = {
    "squeezenet_v1.1": {"before ReLU": "fire5/expand3x3", "guided": "fire5/concat"},
    "bvlc_googlenet": {"before ReLU": "inception_3b/5x5_reduce", "guided": "inception_3b/output"},
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """The toy network on each engine, loaded once: a dream does not depend on the
    dreams before it.
    """
    return cache(partial(load, write_model(tmp_path_factory.mktemp("model") / "toy")))


@pytest.fixture
def toy_net(toys):
    return toys("caffe")


def plain_guide(features):
    def objective(dst):
        x, y = dst.data[0].reshape(len(features), -1), features.reshape(len(features), -1)
        dst.diff[0].reshape(len(features), -1)[:] = y[:, x.T.dot(y).argmax(1)]

    return objective


@pytest.mark.parametrize("case", ["default", "before ReLU", "guided", "unclipped"])
def test_dream_equals_the_plain_algorithm_to_the_bit(net, photo, case):
    end = END[net.model.name].get(case, net.default_layer)
    ours, plain = {"iter_n": 3, "octave_n": 3}, {"iter_n": 3, "octave_n": 3}
    if case == "unclipped":
        ours["clip"] = plain["clip"] = False
    if case == "guided":
        features = dd.guide_features(net, photo[::-1, ::2], end)
        ours["objective"] = partial(dd.objective_guide, guide_features=features)
        plain["objective"] = plain_guide(features)
    np.random.seed(0)
    dream = dd.deepdream(net, photo, end=end, **ours)
    np.random.seed(0)
    expected = plain_dream(stock_net(net), net.mean, photo, end, **plain)
    assert np.array_equal(dream, expected)
    assert np.abs(dream - photo).mean() > 3


def test_a_dream_does_not_depend_on_the_dreams_before_it(net, photo):
    """Caffe's backward runs through side branches too, with whatever diffs an earlier
    pass left in them.
    """
    early = END[net.model.name]["before ReLU"]
    dream = partial(dd.deepdream, net, photo, seed=0, iter_n=2, octave_n=2)
    fresh = dd.deepdream(
        dd.load_net(net.model.name), photo, seed=0, iter_n=2, octave_n=2, end=early
    )
    dream(end=net.default_layer)
    assert np.array_equal(dream(end=early), fresh)


def test_gradient_agrees_with_finite_differences(toy):
    net = dd.load_net(toy)  # one of its own, whose picture has the prototxt's size
    src = net.blobs["data"]
    src.data[0] = x = np.random.RandomState(1).normal(0, 50, src.data.shape[1:])
    g = dd.gradient(net, "both").copy()
    # Partly uphill, so that the difference stands well above the noise of float32.
    direction = np.random.RandomState(2).normal(0, 1, x.shape) + g / np.abs(g).mean()

    def value(at):
        src.data[0] = at
        net.forward(end="both")
        return (np.float64(net.blobs["both"].data) ** 2).sum() / 2

    slope = (value(x + 0.03 * direction) - value(x - 0.03 * direction)) / 0.06
    assert slope == pytest.approx((g * direction).sum(), rel=1e-3)


def test_weight_gradients_are_not_computed(squeezenet, photo):
    src = squeezenet.blobs["data"]
    src.reshape(1, 3, 96, 144)
    src.data[0] = dd.preprocess(squeezenet, photo)
    dd.gradient(squeezenet, "fire5/concat")
    assert all(
        not blob.diff.any()
        for name, blobs in squeezenet.params.items()
        if name != "data/bias"
        for blob in blobs
    )


def test_every_head_of_a_network_can_be_climbed(tmp_path):
    """As with stock Caffe's force_backward, to the bit, whichever layer comes last in
    the file.
    """
    heads = TOY.replace(
        'layer { name: "fc"',
        'layer { name: "aux" type: "TanH" bottom: "pool1" top: "aux" }\nlayer { name: "fc"',
    )
    heads += (
        'layer { name: "late" type: "Power" bottom: "left" top: "late" power_param { scale: 2 } }'
    )
    net = dd.load_net(write_model(tmp_path / "toy", heads))
    stock = stock_net(net)
    for each in (net, stock):
        each.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
    for end in ("prob", "both", "aux", "left", "late"):
        for name in stock.blobs:
            stock.blobs[name].diff[...] = 0
        expected = plain_gradient(stock, end)
        assert expected.any() and np.array_equal(dd.gradient(net, end), expected)


def test_preprocess_and_back(squeezenet, photo):
    blob = dd.preprocess(squeezenet, photo)
    assert blob.dtype == np.float32 and blob.shape == (3, 96, 144)
    assert np.array_equal(blob[0], photo[..., 2] - 104)
    assert np.allclose(dd.deprocess(squeezenet, blob), photo, atol=1e-4)


def test_octaves_grow(squeezenet, photo):
    assert [base.shape[1:] for base in octaves(squeezenet, photo, 3, 2.0)] == [
        (24, 36),
        (48, 72),
        (96, 144),
    ]


def test_seed_repeats_and_leaves_the_global_generator_alone(toy_net, photo):
    dream = partial(dd.deepdream, toy_net, photo, end="both", iter_n=2, octave_n=2)
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    first, again, other = dream(seed=1), dream(seed=1), dream(seed=2)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(1)
    assert np.array_equal(dream(), first)


def test_on_step_gets_every_step_and_sees_the_picture(toy_net, photo):
    steps, pictures = [], []

    def on_step(step):
        steps.append(step)
        pictures.append(step.image())

    dream = dd.deepdream(toy_net, photo, end="both", iter_n=3, octave_n=2, on_step=on_step)
    assert [(s.octave, s.iteration, s.end) for s in steps] == [
        (o, i, "both") for o in (0, 1) for i in (0, 1, 2)
    ]
    assert steps[-1].done == 1 and all(a.done < b.done for a, b in pairwise(steps))
    assert not any(step.stopped for step in steps)
    assert [p.shape for p in pictures] == [(69, 103, 3)] * 3 + [(96, 144, 3)] * 3
    assert np.array_equal(pictures[-1], dream)


def test_on_step_scales_an_unclipped_picture(toy_net, photo):
    seen = []
    dd.deepdream(
        toy_net, photo * 3, end="both", iter_n=1, octave_n=1, clip=False, on_step=seen.append
    )
    assert np.percentile(seen[-1].image(), 99.98) == pytest.approx(255, rel=1e-3)


press_ctrl_c = partial(signal.raise_signal, signal.SIGINT)


def stop_at(octave, iteration, stop, steps):
    """An `on_step` that stops the dream there by calling `stop`, and collects the steps
    in `steps`.
    """

    def on_step(step):
        steps.append(step)
        return (
            stop()
            if (step.octave, step.iteration, step.stopped) == (octave, iteration, False)
            else None
        )

    return on_step


@pytest.mark.parametrize("tile", [None, 40])
@pytest.mark.parametrize("octave", [0, 1, 2])
def test_ctrl_c_and_true_return_the_picture_so_far(toy_net, photo, octave, tile):
    """True from `on_step` is the same as Ctrl-C at that step."""
    dreams = []
    for stop in (press_ctrl_c, lambda: True):
        steps = []
        how = {
            "iter_n": 3,
            "octave_n": 3,
            "seed": 0,
            "tile": tile,
            "on_step": stop_at(octave, 1, stop, steps),
        }
        dream = dd.deepdream(toy_net, photo, end="both", **how)
        assert dream.shape == photo.shape
        assert 0.1 < np.abs(dream - photo).mean() < 60
        assert len(steps) == 3 * octave + 3 and [step.stopped for step in steps[-2:]] == [
            False,
            True,
        ]
        assert steps[-1].done == steps[-2].done < 1
        assert (steps[-1].octave, steps[-1].iteration, steps[-1].end) == (octave, 1, "both")
        assert np.array_equal(steps[-1].image(), dream)
        dreams.append(dream)
    assert np.array_equal(*dreams)


def test_true_at_the_last_step_is_a_finished_dream(toy_net, photo):
    dream = partial(dd.deepdream, toy_net, photo, end="both", iter_n=2, octave_n=2, seed=0)
    steps = []
    picture = dream(on_step=stop_at(1, 1, lambda: True, steps))
    assert len(steps) == 4 and not steps[-1].stopped and steps[-1].done == 1
    assert np.array_equal(picture, dream())


def test_only_true_stops_a_dream(toy_net, photo):
    """Not whatever else an `on_step` happens to return."""
    for answer in (1, "yes", np.ones(3), False):
        steps = []
        dd.deepdream(
            toy_net,
            photo,
            end="both",
            iter_n=2,
            octave_n=1,
            on_step=stop_at(0, 0, lambda a=answer: a, steps),
        )
        assert len(steps) == 2 and not steps[-1].stopped


@pytest.mark.parametrize("turn", [0, 90])
def test_a_real_ctrl_c_during_a_step_leaves_no_shifted_picture(toy_net, photo, turn):
    """Whenever SIGINT comes, the picture is the photograph plus a little detail, never
    rolled or turned.
    """
    for delay in np.random.RandomState(0).uniform(0.02, 0.3, 12):
        timer = threading.Timer(delay, signal.raise_signal, [signal.SIGINT])

        def start(step, timer=timer):
            if step.octave == step.iteration == 0 and not step.stopped:
                timer.start()

        how = {
            "iter_n": 10_000,
            "octave_n": 2,
            "step_size": 0.001,
            "jitter": 60,
            "turn": turn,
            "on_step": start,
        }
        dream = dd.deepdream(toy_net, photo, end="both", **how)
        timer.join()
        assert np.abs(dream - photo).mean() < 6, "that is a shifted picture"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"end": "bothh"}, r"did you mean 'both'\? [^;]*$"),
        ({"end": "relu1"}, "unknown layer 'relu1'"),
        ({"end": "fc"}, "only on one of its own size, 32x24"),
        ({"iter_n": -1}, "iter_n is -1"),
        ({"octave_n": 0}, "octave_n is 0"),
        (
            {"octave_scale": 1.0},
            "octave_scale is 1.0; it must be a number, above 1 and at most 100, such as 1.4",
        ),
        ({"step_size": float("nan")}, "step_size is nan"),
        (
            {"step_size": 1e38, "clip": False},
            r"step_size is 1e\+38; it must be a number from -1000 to 1000",
        ),
        ({"jitter": 1.5}, "jitter is 1.5"),
        ({"iter_n": "ten"}, "iter_n is 'ten'"),
        ({"octave_n": 12}, "one of 12 octaves"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"lap": -1}, "lap is -1; it must be a whole number from 0 to 16$"),
        ({"lap": 1.5}, "lap is 1.5; it must be"),
        ({"lap": 17}, "lap is 17; it must be"),
        ({"turn": -1}, "turn is -1; it must be"),
        ({"turn": 181}, "turn is 181; it must be"),
        ({"turn": "a"}, "turn is 'a'; it must be"),
        ({"jitter": 10**20}, "jitter is 1000"),
        ({"octave_n": 10**6}, "octave_n is 1000000"),
        (
            {"objective": partial(dd.objective_guide, guide_features=np.ones((3, 2, 2)))},
            "the guide has 3 channels",
        ),
        ({"objective": lambda dst: dst.diff.fill(0)}, "no direction"),
    ],
)
def test_what_makes_no_sense_is_refused(toy_net, photo, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.deepdream(toy_net, photo, **{"end": "both", "iter_n": 1} | wrong)


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 4), (0, 5, 3), (3, 40, 40)])
def test_what_is_no_image_is_refused(toy_net, shape):
    with pytest.raises(dd.DreamError, match=r"an image is an array \(height, width, 3\)"):
        dd.deepdream(toy_net, np.zeros(shape), end="both")


@pytest.mark.parametrize("side", [1, 2, 5, 14])
def test_a_small_image_is_refused_with_the_smallest_size(googlenet, side):
    with pytest.raises(dd.DreamError, match="at least 15x15 pixels"):
        dd.deepdream(googlenet, np.zeros((side, side, 3)), octave_scale=3)


def test_the_smallest_image_works(googlenet):
    dd.deepdream(
        googlenet, np.random.RandomState(0).uniform(0, 255, (15, 15, 3)), octave_n=1, iter_n=1
    )


def test_passes_by_hand_on_a_wrong_size_do_not_abort(googlenet):
    """300x300 run to a fully connected layer made the Caffe of 2015 abort."""
    googlenet.blobs["data"].reshape(1, 3, 300, 300)
    with pytest.raises(dd.DreamError, match="only on one of its own size, 224x224"):
        googlenet.forward(end="loss3/classifier")
    with pytest.raises(dd.DreamError, match="only on one of its own size, 224x224"):
        googlenet.forward()
    with pytest.raises(dd.DreamError, match="more values than Caffe can count"):
        googlenet.check("conv1/7x7_s2", 7500, 8000)
    for shape in [(1, 1, 100, 100), (3, 100, 100)]:
        googlenet.blobs["data"].reshape(*shape)
        with pytest.raises(dd.DreamError, match=r"must be \(n, 3, height, width\)"):
            googlenet.forward(end="inception_3a/output")
    googlenet.blobs["data"].reshape(1, 3, 224, 224)
    with pytest.raises(dd.DreamError, match="unknown layer"):
        googlenet.backward(start="inception_9z/output")


ENGINES = pytest.mark.parametrize("engine", ["caffe", "torch"])


@ENGINES
@pytest.mark.parametrize("tile", [None, 40])
def test_a_mask_keeps_the_dream_where_it_is_light(toys, photo, engine, tile):
    mask = np.zeros((48, 72), np.uint8)  # half the picture's size
    mask[:, 30:] = 128
    mask[:, 50:] = 255
    how = {"end": "both", "iter_n": 3, "octave_n": 3, "seed": 0, "tile": tile}
    dream = dd.deepdream(toys(engine), photo, mask=mask, **how)
    change = np.abs(dream - photo).mean((0, 2))
    assert not change[:58].any(), "black is the photograph, to the bit"
    # Half of what white gives, with a soft edge between the two; half the light moves
    # half as far.
    assert 0.3 < change[65:95].mean() / change[105:].mean() < 0.8
    again = dd.deepdream(toys(engine), photo, mask=mask[..., None].repeat(3, 2) / 255.0, **how)
    assert np.array_equal(dream, again), "0..1, and colour planes, mean the same"


def test_a_white_mask_is_no_mask(toy_net, photo):
    dream = partial(dd.deepdream, toy_net, photo, end="both", iter_n=2, octave_n=2, seed=0)
    assert np.array_equal(dream(), dream(mask=np.full((7, 5), True)))


def test_a_mask_may_be_a_file_and_ctrl_c_keeps_to_it(toy_net, photo, tmp_path):
    mask = np.zeros((96, 144, 3), np.uint8)
    mask[:, 80:] = 255
    dd.save_image(tmp_path / "mask.png", mask)

    def stop(step):
        if step.octave == 1 and not step.stopped:
            press_ctrl_c()

    how = {"end": "both", "iter_n": 2, "octave_n": 3, "seed": 0}
    for on_step in (None, stop):
        dream = dd.deepdream(toy_net, photo, mask=tmp_path / "mask.png", on_step=on_step, **how)
        change = np.abs(dream - photo).mean((0, 2))
        assert not change[:80].any() and change[80:].all()


def test_ctrl_c_between_two_octaves_waits_for_the_next(toy_net, photo, monkeypatch):
    zoom, calls, steps = toy_net.zoom, [], []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:  # after the two that make the octaves
            press_ctrl_c()
        return zoom(*args)

    monkeypatch.setattr(toy_net, "zoom", interrupted)
    how = {"end": "both", "iter_n": 2, "octave_n": 3, "on_step": steps.append}
    dream = dd.deepdream(toy_net, photo, **how)
    assert [step.stopped for step in steps] == [False, False, True]
    assert np.array_equal(steps[-1].image(), dream)
    assert 0.1 < np.abs(dream - photo).mean() < 10


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_picture_that_is_not_finite_is_refused(toy_net, photo, value):
    """It would corrupt Caffe's memory: a maximum of NaN lies nowhere."""
    bad = photo.astype(float)
    bad[3, 4, 1] = value
    with pytest.raises(dd.DreamError, match="values are not numbers, or not finite"):
        dd.deepdream(toy_net, bad, end="both", iter_n=1, octave_n=1)


@ENGINES
@pytest.mark.parametrize("tile", [None, 40])
def test_keep_color_changes_only_the_light(toys, photo, engine, tile):
    how = {
        "end": "both",
        "iter_n": 6,
        "octave_n": 2,
        "step_size": 8,
        "tile": tile,
        "keep_color": True,
    }
    dream = dd.deepdream(toys(engine), photo, **how)
    change = dream - photo
    assert np.abs(change).mean() > 5 and dream.min() >= -1e-3 and dream.max() <= 255.001
    assert np.abs(change - change.mean(2, keepdims=True)).max() < 1e-3, (
        "red, green and blue move together"
    )


@ENGINES
def test_smooth_takes_the_grain_off_the_gradient(squeezenet, photo, engine):
    net = squeezenet if engine == "caffe" else load("squeezenet_v1.1", engine)
    grain = []
    for sigma in (0, 1, 3):
        dream = dd.deepdream(
            net, photo, end="fire3/concat", iter_n=2, octave_n=1, seed=0, smooth=sigma
        )
        change = dream - photo
        assert np.abs(change).mean() > 1
        grain.append(np.abs(np.diff(change, axis=1)).mean() / np.abs(change).mean())
    assert grain[0] > 1.3 * grain[1] > 1.3 * grain[2]


@ENGINES
def test_a_smoothed_step_is_the_gaussian_of_the_gradient(toy, engine):
    from scipy import ndimage as nd

    net = load(toy, engine)
    src = net.blobs["data"]
    src.data[0] = x = np.random.RandomState(1).normal(0, 20, (3, 24, 32)).astype(np.float32)
    dd.gradient(net, "both")
    g = nd.gaussian_filter(net.blobs["data"].diff[0], (0, 2, 2))
    dd.make_step(net, end="both", jitter=0, smooth=2, step_size=2)
    assert np.abs(net.blobs["data"].data[0] - (x + 2 * g / np.abs(g).mean())).max() < 1e-4


SIZES = [(24, 32), (33, 18), (24, 17), (5, 2), (1, 1), (1, 9)]


@pytest.mark.parametrize("size", SIZES)
def test_lap_normalize_is_the_formula_written_out(size):
    g = np.random.RandomState(0).normal(0, 3, (3, *size)).cumsum(1).astype(np.float32)
    for splits in (1, 4):
        assert lap_normalize(np, g, splits) == pytest.approx(plain_lapnorm(g, splits), abs=1e-4)
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    assert lap_normalize(torch, torch.from_numpy(g), 4).numpy() == pytest.approx(
        plain_lapnorm(g), abs=1e-4
    )
    assert not lap_normalize(np, 0 * g, 4).any()


def step_and_gradient(net, jitter=0, **how):
    """(what one step adds to a picture, (3, h, w); the gradient there)"""
    src = net.blobs["data"]
    src.reshape(1, 3, 61, 82)
    src.data[0] = x = np.random.RandomState(1).normal(0, 20, (3, 61, 82)).astype(np.float32)
    dd.gradient(net, "both")
    g = src.diff[0].copy()
    dd.make_step(net, end="both", jitter=jitter, clip=False, **how)
    return src.data[0] - x, g


@ENGINES
@pytest.mark.parametrize("tile", [None, 40])
def test_a_step_with_lap_is_the_normalized_gradient(toys, engine, tile):
    """In tiles, that of the whole picture."""
    net = toys(engine)
    if tile:
        net = fit(net, ["both"], [(61, 82)], tile)
    step, g = step_and_gradient(net, step_size=2, lap=4)
    expected = plain_lapnorm(g)
    assert np.abs(step - 2 * expected / np.abs(expected).mean()).max() < 1e-3


@ENGINES
@pytest.mark.parametrize(
    "how", [{}, {"keep_color": True}, {"smooth": 1.5}, {"mask": True}, {"turn": 20}]
)
def test_a_step_is_as_long_with_lap_as_without(toys, engine, how):
    net, share = toys(engine), 1
    if "mask" in how:  # where it is light, a step is as long as it would be without a mask
        mask = np.linspace(0, 1, 61 * 82, dtype=np.float32).reshape(61, 82)
        how, share = {"mask": net.array(mask)}, mask.mean()
    for lap in (0, 4):
        step, _ = step_and_gradient(
            net, jitter=8, step_size=1.5, lap=lap, rng=np.random.RandomState(0), **how
        )
        assert np.abs(step).mean() == pytest.approx(1.5 * share, rel=1e-3)


def test_lap_makes_larger_forms(squeezenet, photo):
    rough = []
    for lap in (0, 4):
        change = (
            dd.deepdream(
                squeezenet, photo, end="fire3/concat", iter_n=2, octave_n=1, seed=0, lap=lap
            )
            - photo
        )
        rough.append(np.abs(np.diff(change, axis=1)).mean() / np.abs(change).mean())
    assert rough[0] > 1.3 * rough[1]


@ENGINES
@pytest.mark.parametrize("tile", [None, 40])
def test_a_turned_step_turns_the_picture_and_its_gradient_back(toys, photo, engine, tile):
    net, how = (
        toys(engine),
        {"end": "both", "iter_n": 1, "octave_n": 1, "seed": 3, "clip": False, "tile": tile},
    )
    dream = dd.deepdream(net, photo, turn=25, **how)
    rng = np.random.RandomState(3)
    ox, oy = rng.randint(-32, 33, 2)
    turn = partial(nd.rotate, axes=(1, 2), reshape=False, order=1)
    angle = rng.uniform(-25, 25)
    assert abs(angle) > 5
    rolled = np.roll(dd.preprocess(net, photo), (oy, ox), (1, 2))
    looking = fit(net, ["both"], [photo.shape[:2]], tile)
    looking.blobs["data"].reshape(1, *rolled.shape)
    looking.blobs["data"].data[0] = turn(rolled, -angle, mode="mirror")
    dd.gradient(looking, "both")
    g = turn(looking.blobs["data"].diff[0], angle, mode="grid-constant")
    expected = np.roll(rolled + 1.5 * g / np.abs(g).mean(), (-oy, -ox), (1, 2))
    change, expected = dream - photo, dd.deprocess(net, expected) - photo
    assert np.abs(change - expected).mean() < 1e-3 * np.abs(expected).mean()


@ENGINES
def test_turns_of_no_degrees_are_no_turns(toys, photo, engine):
    dream = partial(dd.deepdream, toys(engine), photo, end="both", iter_n=2, octave_n=2)
    np.random.seed(0)
    plain = dream(turn=0.0, lap=0)
    drawn, rng = np.random.random(), np.random.RandomState(0)
    rng.randint(-32, 33, 2 * 4)  # the shifts of four steps, and nothing else
    assert drawn == rng.random_sample() and np.array_equal(plain, dream(seed=0))
    first, again, other = dream(seed=1, turn=9), dream(seed=1, turn=9), dream(seed=1)
    assert np.array_equal(first, again) and np.abs(first - other).mean() > 1


@ENGINES
@pytest.mark.parametrize("tile", [None, 60])
def test_ctrl_c_in_a_turned_gradient_returns_the_picture_after_the_step(toys, photo, engine, tile):
    calls = []

    def objective(dst):
        dst.diff[:] = dst.data
        calls.append(1)
        if len(calls) == stop_at_call:
            press_ctrl_c()

    dream = partial(
        dd.deepdream,
        toys(engine),
        photo,
        end="both",
        objective=objective,
        octave_n=1,
        seed=0,
        turn=40,
        tile=tile,
    )
    stop_at_call = 0
    dream(iter_n=2)
    stop_at_call, calls = len(calls) + 1, []
    interrupted = dream(iter_n=5)
    stop_at_call = 0
    expected = dream(iter_n=3)
    assert np.array_equal(interrupted, expected) and np.abs(expected - photo).mean() > 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mask": np.zeros((9, 9))}, "the mask is black all over"),
        ({"mask": np.ones(9)}, r"a mask is a grey picture.*\(9,\)"),
        ({"mask": np.full((9, 9), np.nan)}, "the mask's values go from nan to nan"),
        (
            {"mask": np.full((9, 9), 30000, np.uint16)},
            "the mask's values go from 30000 to 30000; they must lie in 0..255",
        ),
        ({"mask": np.array("mask")}, "a mask is a grey picture"),
        ({"mask": "absent.png"}, r"cannot read the picture absent\.png"),
        ({"smooth": -1}, "smooth is -1; it must be a number of pixels from 0 to 1000"),
        ({"smooth": float("inf")}, "smooth is inf"),
    ],
)
def test_masks_and_sigmas_that_cannot_be(toy_net, photo, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.deepdream(toy_net, photo, end="both", iter_n=1, octave_n=1, **wrong)


@ENGINES
def test_a_function_gets_the_networks_own_blob_as_it_is(toys, photo, engine):
    net, seen = toys(engine), []

    def objective(dst):
        seen.append(dst)
        dst.diff[:] = 2 * dst.data

    steps = []
    how = {"end": "both", "iter_n": 1, "octave_n": 1, "seed": 0}
    dream = dd.deepdream(net, photo, objective=objective, on_step=steps.append, **how)
    assert seen == [net.blobs["both"]] and steps[0].end == "both"
    assert np.abs(dream - dd.deepdream(net, photo, **how)).max() < 1e-3


@pytest.mark.parametrize("any_array", [True, False])
def test_a_function_that_says_so_gets_tensors(photo, toys, any_array):
    net, kinds = toys("torch"), set()

    def objective(dst):
        kinds.add(type(dst.data).__name__)
        dst.diff[:] = dst.data

    objective.any_array = any_array
    how = {"end": "both", "iter_n": 1, "octave_n": 1, "seed": 0}
    dream = dd.deepdream(net, photo, objective=objective, **how)
    assert kinds == {"Tensor" if any_array else "ndarray"}
    assert np.array_equal(dream, dd.deepdream(net, photo, **how))
