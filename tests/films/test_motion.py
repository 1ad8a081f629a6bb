"""Zoom against the notebook's loop; where a film goes; keys, loops, journeys."""

import signal
from functools import reduce
from itertools import islice, pairwise

import numpy as np
import pytest
from conftest import write_model
from plain import Camera, plain_zoom, stock_net

import deepdream as dd
from deepdream import seeing
from deepdream.films import goals, hold, keys, moves, video

FEW = {"iter_n": 2, "octave_n": 2}
PAN = Camera("mountains.jpg", lambda i: (20 + 4.3 * i, 60 + 0.7 * i, 1.3))


@pytest.fixture(scope="module")
def toynet(tmp_path_factory):
    return dd.load_net(write_model(tmp_path_factory.mktemp("models") / "toy"))


def same(a, b):
    a, b = list(a), list(b)
    assert len(a) == len(b)
    return all(np.array_equal(*frames) for frames in zip(a, b))


# Zoom


def test_a_zoom_is_the_notebooks_to_the_bit(squeezenet, photo):
    np.random.seed(0)
    ours = list(dd.zoom(squeezenet, photo, 3, end="fire5/concat", **FEW))
    np.random.seed(0)
    plain = plain_zoom(stock_net(squeezenet), squeezenet.mean, photo, "fire5/concat", 3, **FEW)
    assert same(ours, plain)


def test_a_zoom_makes_one_frame_at_a_time(toynet, photo, monkeypatch):
    made = []
    monkeypatch.setattr(video, "deepdream", lambda net, frame, **_: made.append(1) or frame)
    frames = dd.zoom(toynet, photo, 10**9, end="both")
    assert not made
    next(frames), next(frames)
    assert len(made) == 2


def test_a_zoom_is_resumed(toynet, photo):
    way = {"scale": 0.1, "rotate": 3, "shift": (2, -1), "seed": 2**32 - 2, "end": "both", **FEW}
    whole = list(dd.zoom(toynet, photo, 5, **way))
    assert same(whole[3:], dd.zoom(toynet, whole[2], 5, done=3, **way))
    assert not np.array_equal(whole[0], next(dd.zoom(toynet, photo, 1, **way | {"seed": 1})))


def test_how_a_picture_moves():
    y, x = np.mgrid[:60, :80]
    picture = np.float32(np.stack([x, y, x + y], 2))  # tells where each pixel came from
    middle = (30, 40)

    def came_from(scale=0.0, rotate=0.0, shift=(0, 0), at=middle):
        (move,) = islice(
            moves.make_moves(
                {0: {"scale": scale, "rotate": rotate, "shift": shift}}, picture.shape[:2]
            ),
            1,
        )
        return moves.move_frame(picture, move)[at][:2]

    assert np.allclose(came_from(), (40, 30))
    assert np.allclose(came_from(0.1), (40, 30)) and np.allclose(
        came_from(0.1, at=(30, 60)), (40 + 20 * 0.9, 30)
    )
    assert np.allclose(came_from(shift=(5, -2)), (35, 32)) and np.allclose(
        came_from(0.5, 0, (4, 0)), (38, 30)
    )
    # Clockwise: what is seen to the right of the middle was above it.
    assert np.allclose(came_from(rotate=90, at=(30, 50)), (40, 20), atol=1e-4)
    assert np.allclose(came_from(rotate=90, shift=(0, 6)), (34, 30), atol=1e-4)
    assert (
        min(
            came_from(0.05, 10, (9, 9), at=corner).min()
            for corner in ((0, 0), (59, 0), (0, 79), (59, 79))
        )
        >= 0
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"frames": 0}, "frames is 0; it must be a whole number"),
        ({"scale": 1}, "scale is 1; it must be a number"),
        ({"rotate": "left"}, "rotate is 'left'"),
        ({"shift": (0, np.nan)}, r"shift is \(0, nan\); it must be a number of pixels"),
        ({"shift": (0, 1e30)}, r"shift is \(0, 1e\+30\); it must be a number of pixels"),
        ({"shift": 5}, "shift is 5; it must be 2 numbers"),
        ({"seed": -1}, "seed is -1"),
        ({"end": "boht"}, "unknown layer 'boht'"),
        ({"iter_n": 1.5}, "iter_n is 1.5"),
    ],
)
def test_what_a_zoom_refuses(toynet, photo, given, says):
    with pytest.raises(dd.DreamError, match=says):
        next(dd.zoom(toynet, photo, **{"end": "both"} | given))


@pytest.mark.parametrize(
    "stop", [lambda: signal.raise_signal(signal.SIGINT), lambda: True], ids=["ctrl-c", "true"]
)
def test_a_film_that_is_stopped_ends_without_half_a_frame(toynet, photo, stop):
    steps = []

    def on_step(step):
        steps.append(step)
        return stop() if len(steps) == 6 else None

    film = dd.zoom(toynet, photo, end="both", on_step=on_step, **FEW)
    assert len(next(film)) == len(photo)
    with pytest.raises(KeyboardInterrupt):
        next(film)
    assert len(steps) == 6 and not steps[-1].stopped


def test_a_film_that_is_stopped_in_a_frames_last_step(toynet, photo):
    with pytest.raises(KeyboardInterrupt):
        next(dd.zoom(toynet, photo, end="both", on_step=lambda step: step.done == 1, **FEW))


# Films that go where they are pointed


def rides(monkeypatch):
    """Dream nothing, so that only the motion remains."""
    monkeypatch.setattr(video, "deepdream", lambda net, frame, **_: frame)


def places(height=90, width=160):
    """A picture (height, width, 3) that tells where each pixel came from: right, down,
    and 0.
    """
    y, x = np.mgrid[:height, :width]
    return np.float32(np.stack([x, y, 0 * x], 2))


@pytest.mark.parametrize("to", [(0.8, 0.3), (128, 27)], ids=["shares", "pixels"])
def test_a_zoom_flies_to_a_point(toynet, monkeypatch, to):
    """The point comes to the middle, a little with each frame, and no border comes in
    on the way.
    """
    rides(monkeypatch)
    frames = list(dd.zoom(toynet, places(), 60, to=to, end="both"))
    seen = [
        np.unravel_index(((f[..., :2] - (128, 27)) ** 2).sum(2).argmin(), (90, 160)) for f in frames
    ]  # (down, right)
    off = [np.hypot(y - 45, x - 80) for y, x in seen]
    assert seen[0] == (27, 128) and off[-1] < 2 and all(b < a + 1.5 for a, b in pairwise(off))
    for before, after in pairwise(frames):  # a mirror image would turn the order of the pixels
        assert (np.diff(after[..., 0], axis=1) > -1e-3).all() and (
            np.diff(after[..., 1], axis=0) > -1e-3
        ).all()
        assert np.ptp(after[..., 0]) <= np.ptp(before[..., 0])


def test_a_point_in_the_corner_stays_in_view(toynet, monkeypatch):
    rides(monkeypatch)
    for to in ((0, 0), (1, 1), (160, 0)):
        *_, last = dd.zoom(toynet, places(), 80, to=to, end="both", rotate=1)
        corner = np.multiply(to, (160, 90)) if max(to) <= 1 else to
        assert np.hypot(*(last[..., :2] - corner).transpose(2, 0, 1)).min() < 3


def test_a_film_without_zoom_turns_around_its_point(toynet, monkeypatch):
    rides(monkeypatch)
    *_, last = dd.zoom(toynet, places(), 10, to=(40, 20), scale=0, rotate=10, end="both")
    assert np.allclose(last[20, 40, :2], (40, 20), atol=0.1)


@pytest.mark.parametrize(
    ("to", "says"),
    [
        (
            (170, 20),
            "to is 170 20; it must be a point of the frames, which are 160x90, in pixels, or in ",
        ),
        ((20, 91), "to is 20 91"),
        ((0.5, 20), "to is 0.5 20; it must be a point of the frames"),
        ((-1, 20), r"to is \(-1, 20\); it must be a number of pixels from 0"),
        (0.5, "to is 0.5; it must be 2 numbers"),
        ((np.nan, 1), "to is "),
    ],
)
def test_points_that_are_not_in_the_picture(toynet, to, says):
    with pytest.raises(dd.DreamError, match=says):
        next(dd.zoom(toynet, places(), 5, to=to, end="both"))


def test_several_moves_are_one(toynet):
    """Joined, they sample the picture once; what they show is the same, but sharper."""
    picture = PAN.shot(0)
    keys = {0: {"scale": 0.03, "rotate": 4, "shift": (1, -2), "to": (0.6, 0.4)}}
    six = list(islice(moves.make_moves(keys, picture.shape[:2]), 6))
    one_by_one = reduce(moves.move_frame, six, picture)
    at_once = moves.move_frame(picture, moves.join(six))
    inside = slice(30, 90), slice(50, 150)
    assert abs(one_by_one - at_once)[inside].mean() < 6
    grain = [abs(np.diff(image[inside], axis=1)).mean() for image in (one_by_one, at_once)]
    assert grain[1] > 1.05 * grain[0]
    ways = moves.make_moves(keys, picture.shape[:2])
    assert moves.move_frame(places(), next(ways)).shape == (90, 160, 3)


# Keys


def noted(monkeypatch):
    """What each frame is dreamt with; nothing is dreamt."""
    seen = []
    monkeypatch.setattr(video, "deepdream", lambda net, frame, **given: seen.append(given) or frame)
    return seen


def test_keys_change_a_film(toynet, photo, monkeypatch):
    seen = noted(monkeypatch)
    mask = np.zeros(photo.shape[:2])
    mask[:, :50] = 1
    keys = {
        4: {"step_size": 3.5, "iter_n": 6, "keep_color": True},
        8: {"mask": mask},
        2: {"lap": 3},
    }
    list(dd.zoom(toynet, photo, 10, end="both", step_size=1.5, iter_n=2, keys=keys))
    steps = [given["step_size"] for given in seen]
    assert steps[0] == 1.5 and steps[2] == 2.5 and steps[4:] == [3.5] * 6
    assert steps[1] - steps[0] < steps[2] - steps[1], "slowly at first"
    assert [given["iter_n"] for given in seen] == [2, 3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert [given["keep_color"] for given in seen] == [False] * 4 + [True] * 6
    assert [given["lap"] for given in seen] == [0, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert [round(float(given["mask"][:, 60:].mean()), 3) for given in seen][::4] == [1.0, 0.5, 0.0]
    assert all((given["mask"][:, :50] == 1).all() for given in seen)


def test_objectives_fade_from_key_to_key(toynet, photo, monkeypatch):
    """As those of a journey do."""
    seen = noted(monkeypatch)
    keys = {8: {"objective": "channel('left', 1)"}, 12: {"end": "conv1"}}
    list(dd.zoom(toynet, photo, 14, end="both", keys=keys))
    climbed = [sorted(given["objective"].layers_in(toynet)) for given in seen]
    assert (
        climbed
        == [["both"]] * 6
        + [["both", "left"]] * 2
        + [["left"]] * 3
        + [["conv1", "left"]]
        + [["conv1"]] * 2
    )
    assert (
        seen[0]["objective"].text == "L2('both')"
        and seen[8]["objective"].text == "channel('left', 1)"
    )


def test_two_guides_of_one_size_fade(toynet, photo, monkeypatch):
    """Their words are the same, since a picture has only its size there."""
    seen = noted(monkeypatch)
    first, second = (dd.guide("left", image) for image in (photo, photo[::-1]))
    list(
        dd.zoom(
            toynet, photo, 9, end="both", keys={0: {"objective": first}, 8: {"objective": second}}
        )
    )
    terms = [len(given["objective"].terms) for given in seen]
    assert str(first) == str(second) and terms == [1] * 6 + [2] * 2 + [1]


def test_a_journey_is_a_zoom_with_a_key_for_each_layer(toynet, photo):
    way = {"iter_n": 1, "octave_n": 1, "seed": 0, "scale": 0.02, "hold": 0.3}
    keys = {0: {"end": "conv1"}, 4: {"end": "left"}}
    journey = dd.journey(toynet, ["conv1", "left"], 4, cross_fade=2, frame=photo, **way)
    assert same(journey, dd.zoom(toynet, photo, 8, keys=keys, cross_fade=2, **way))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({-1: {"scale": 0.1}}, "a key is at frame -1; frames have whole numbers from 0"),
        ({"5": {"scale": 0.1}}, "a key is at frame '5'"),
        ({5: {"frames": 3}}, "unknown setting 'frames'"),
        ({5: {"scale": 2}}, "scale is 2; it must be a number"),
        ({5: {"end": "boht"}}, "unknown layer 'boht'; did you mean 'both'"),
        ({5: {"objective": "L2(both)"}}, "objective|L2"),
        ({5: {"objective": lambda dst: None}}, "a function cannot fade into another"),
        ({5: {"octave_n": 40}}, "too small for layer"),
        ({5: {"mask": "mask"}}, "cannot read the picture mask"),
        ({5: {"to": (2000, 2)}}, "it must be a point of the frames"),
    ],
)
def test_keys_are_checked_before_the_first_frame(toynet, photo, keys, says):
    with pytest.raises(dd.DreamError, match=says):
        next(
            dd.zoom(
                toynet, photo, 9, end="both", keys=keys, on_step=lambda _: pytest.fail("a step")
            )
        )


# Loops, and every tenth frame


ALL = {
    "to": (0.7, 0.4),
    "rotate": 2,
    "hold": 0.6,
    "loop": True,
    "seed": 4,
    "end": "both",
    **FEW,
    "keys": {
        3: {"end": "left", "scale": 0.1},
        6: {"objective": "channel('both', 2)", "step_size": 3},
    },
}


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"rotate": 5},
        {"scale": -0.1},
        {"scale": 0, "shift": (3, 1)},
        {"to": (0.9, 0.2)},
        {"keys": {8: {"scale": 0.1}}},
    ],
)
def test_a_loop_ends_where_it_begins(toynet, monkeypatch, way):
    """From the last frame, the film moves on to the first; and on the way no frame
    jumps.
    """
    rides(monkeypatch)
    picture = PAN.shot(0)
    frames = list(dd.zoom(toynet, picture, 40, loop=True, end="both", **way))
    plain = list(dd.zoom(toynet, picture, 30, end="both", **way))
    assert "keys" in way or same(frames[:30], plain)
    motions = {"scale": 0.05, "rotate": 0, "shift": (0, 0), "to": None} | way
    complete = keys.complete_keys(
        toynet, picture, motions.pop("keys", {}), motions, {"end": "both"}, 40
    )
    (move,) = islice(moves.make_moves(complete, picture.shape[:2]), 39, 40)
    inside = slice(12, -12), slice(20, -20)
    closed = abs(moves.move_frame(frames[-1], move) - frames[0])[inside].mean()
    jumps = [abs(b - a)[inside].mean() for a, b in pairwise([*frames, frames[0]])]
    assert closed < 3 and jumps[-1] < 1.5 * max(jumps[:10])
    assert max(jumps[30:]) < max(jumps[:10]) + 0.35 * abs(frames[29] - frames[0])[inside].mean()


def test_a_held_loop_is_as_sharp_at_its_seam_as_elsewhere(toynet):
    frames = list(
        dd.zoom(
            toynet, PAN.shot(0), 16, loop=True, hold=1, end="both", iter_n=1, octave_n=1, seed=0
        )
    )
    grain = [abs(np.diff(frame, axis=1)).mean() for frame in frames]
    assert grain[-1] > 0.93 * grain[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"every": 0}, "every is 0; it must be a whole number of frames, at least 1"),
        ({"cross_fade": -5}, "cross_fade is -5"),
        ({"hold": 2}, "hold is 2; it must be a number from 0 to 1"),
        ({"hold": 1, "like": np.zeros((5, 5))}, "image"),
        (
            {"done": 1, "loop": True, "first": np.zeros((9, 9, 3))},
            r"`first` is \(9, 9, 3\), and the frames are",
        ),
        (
            {"keys": {3: {"look": "Eyes"}}},
            "unknown setting 'look'.* looks and guides by name are for key files",
        ),
    ],
)
def test_what_a_directed_zoom_refuses(toynet, photo, given, says):
    with pytest.raises(dd.DreamError, match=says):
        next(dd.zoom(toynet, photo, **{"end": "both"} | given))


def test_the_model_of_a_held_film_may_have_any_size(toynet, photo):
    frames = list(dd.zoom(toynet, photo, 3, hold=1, like=PAN.shot(0), end="both", **FEW))
    assert frames[0].shape == photo.shape and abs(frames[2].mean() - PAN.shot(0).mean()) < 5


def test_a_film_with_everything_is_resumed(toynet, photo):
    whole = list(dd.zoom(toynet, photo, 12, **ALL))
    for done in (1, 5, 11):
        assert same(
            whole[done:], dd.zoom(toynet, whole[done - 1], 12, done=done, first=whole[0], **ALL)
        )
    with pytest.raises(dd.DreamError, match="give its first frame, too"):
        next(dd.zoom(toynet, whole[3], 12, done=4, **ALL))


def test_every_tenth_frame(toynet, photo, monkeypatch):
    """It is where the whole film has it, and is dreamt with the same settings."""
    seen = noted(monkeypatch)
    way = {
        "to": (0.7, 0.4),
        "end": "both",
        "keys": {20: {"scale": 0.01, "step_size": 3}},
        "seed": 4,
    }
    whole, all_seen = list(dd.zoom(toynet, places(96, 144), 35, **way)), seen[:]
    seen.clear()
    some = list(dd.zoom(toynet, places(96, 144), 35, every=10, **way))
    assert len(some) == 4 and same([], [])
    for n, frame in enumerate(some):
        assert abs(frame - whole[10 * n])[10:-10, 10:-10].mean() < 0.5
        assert (
            seen[n]["step_size"] == all_seen[10 * n]["step_size"]
            and seen[n]["seed"] == all_seen[10 * n]["seed"]
        )
    assert same(some[2:], dd.zoom(toynet, some[1], 35, every=10, done=2, **way))
    monkeypatch.undo()
    whole = list(dd.zoom(toynet, photo, 23, every=4, **ALL))
    assert len(whole) == 6 and same(
        whole[4:], dd.zoom(toynet, whole[3], 23, every=4, done=4, first=whole[0], **ALL)
    )


# Journeys


def test_the_stations_of_a_journey(squeezenet, googlenet, toynet):
    modules = [
        f"inception_{name}/output"
        for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    ]
    assert seeing.stations(googlenet) == ["conv1/7x7_s2", "conv2/3x3", *modules]
    assert seeing.stations(squeezenet) == ["conv1", *(f"fire{n}/concat" for n in range(2, 10))]
    assert seeing.stations(toynet) == ["conv1", "both"]
    assert seeing.stations(toynet, "all") == ["conv1", "pool1", "left", "right", "both"], (
        "not fc, of one size only"
    )
    assert seeing.stations(toynet, ["both", "conv1"]) == ["both", "conv1"] and seeing.stations(
        toynet, "left"
    ) == ["left"]
    for layers, says in (
        (["both", "boht"], "unknown layer 'boht'; did you mean 'both'"),
        ([], "at least one layer"),
    ):
        with pytest.raises(dd.DreamError, match=says):
            seeing.stations(toynet, layers)


def test_a_journey_climbs_one_layer_after_another(toynet, monkeypatch):
    climbed = []

    def noted(net, frame, *args, objective, **_):
        climbed.append(
            {layer: fill.terms[0][0] for layer, fill in objective.start(net).fills(net).items()}
        )
        return frame

    monkeypatch.setattr(video, "deepdream", noted)
    frames = list(
        dd.journey(
            toynet, ["conv1", "left", "both"], 4, cross_fade=2, size=(48, 64), scale=0, hold=0
        )
    )
    assert len(frames) == len(climbed) == 12 and frames[0].shape == (48, 64, 3)
    assert [list(weights) for weights in climbed] == [["conv1"]] * 2 + [["conv1", "left"]] * 2 + [
        ["left"]
    ] * 2 + [["left", "both"]] * 2 + [["both"]] * 4
    first, second = (weights["conv1"] / weights["left"] for weights in climbed[2:4])
    assert first == pytest.approx(4 * second, rel=0.01), "2/3 to 1/3, then 1/3 to 2/3"


def test_weights_are_rounded_to_four_digits():
    """As printing them with four digits does, to the bit."""
    random = np.random.RandomState(0)
    for number in 10 ** random.uniform(-40, 40, 10_000):
        assert goals.round_digits(float(number)) == float(f"{number:.4g}")
    assert [goals.round_digits(number) for number in (0.0, 1.0, 0.99999, 12344.0)] == [
        0,
        1,
        1,
        12340,
    ]


def test_layers_fade_by_what_they_change_and_not_by_their_numbers(squeezenet, photo):
    """At half of the fade both layers' gradients are as strong; raw, one is several
    times the other.
    """
    fading = goals.fade_goals(squeezenet, photo, dd.L2("fire5/concat"), dd.L2("fire8/concat"), 0.5)
    strength = {}
    for layer, fill in fading.start(squeezenet).fills(squeezenet).items():
        ((weight, _),) = fill.terms
        squeezenet.blobs["data"].reshape(1, 3, *photo.shape[:2])
        squeezenet.blobs["data"].data[0] = dd.preprocess(squeezenet, photo)
        strength[layer] = weight, abs(dd.gradient(squeezenet, layer)).mean()
    (a, raw_a), (b, raw_b) = strength.values()
    assert a * raw_a == pytest.approx(b * raw_b, rel=0.01) and not 1 / 2 < raw_a / raw_b < 2


def test_a_journey_to_a_classifier(toynet):
    """It takes pictures of only one size, and so is climbed in windows."""
    assert (
        len(list(dd.journey(toynet, ["both", "fc"], 3, cross_fade=2, size=(48, 64), octave_n=2)))
        == 6
    )


def test_a_journey_is_resumed(toynet, photo):
    way = {
        "layers": ["conv1", "both"],
        "frames_per_layer": 3,
        "cross_fade": 2,
        "rotate": 1.0,
        "octave_n": 2,
    }
    whole = list(dd.journey(toynet, size=(48, 64), seed=3, **way))
    like = hold.clouds((48, 64), 3)  # what the journey from noise goes by
    assert same(whole[3:], dd.journey(toynet, frame=whole[2], like=like, seed=3, done=3, **way))
    assert same(whole, dd.journey(toynet, size=(48, 64), seed=3, **way))
    assert not np.array_equal(whole[0], next(dd.journey(toynet, size=(48, 64), seed=4, **way)))
    from_a_picture = list(dd.journey(toynet, frame=photo, **way))
    assert abs(from_a_picture[0] - photo).mean() < 20
    first, last = from_a_picture[0], from_a_picture[2]
    assert same(from_a_picture[3:], dd.journey(toynet, frame=last, first=first, done=3, **way))
    with pytest.raises(dd.DreamError, match="give its first frame, too"):
        next(dd.journey(toynet, frame=last, done=3, **way))


def test_a_journey_down(toynet, squeezenet):
    assert seeing.stations(squeezenet, down=True) == seeing.stations(squeezenet)[::-1]
    assert seeing.stations(toynet, ["conv1", "both", "left"], down=True) == [
        "both",
        "left",
        "conv1",
    ]
    way = {"frames_per_layer": 2, "size": (48, 64), "octave_n": 2}
    assert same(dd.journey(toynet, down=True, **way), dd.journey(toynet, ["both", "conv1"], **way))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"layers": ["conv1", "boht"]}, "unknown layer 'boht'"),
        ({"frames_per_layer": 0}, "frames_per_layer is 0"),
        (
            {"frames_per_layer": 4, "cross_fade": 4},
            "cross_fade is 4; it must be a whole number of frames from 0 to 3",
        ),
        (
            {"size": (2, 2), "octave_n": 1},
            "too small for layer 'both'",
        ),  # conv1, the first, could be climbed
        (
            {"size": (48.5, 64)},
            r"size is 64x48\.5; both numbers must be whole numbers of pixels from 1 to 16384",
        ),
        ({"size": (0, 64)}, "size is 64x0"),
        ({"octave_n": 12}, "too small for layer"),
    ],
)
def test_what_a_journey_refuses_before_its_first_frame(toynet, given, says):
    with pytest.raises(dd.DreamError, match=says):
        next(dd.journey(toynet, **{"size": (48, 64)} | given))
