"""The look of a film that is held: measured against the model's, by means that are not
those of hold.py.
"""

from itertools import pairwise

import numpy as np
import pytest
from conftest import write_model
from scipy.fft import dctn

import deepdream as dd
from deepdream.films import hold
from deepdream.pictures import SAMPLES


@pytest.fixture(scope="module")
def toynet(tmp_path_factory):
    return dd.load_net(write_model(tmp_path_factory.mktemp("models") / "toy"))


@pytest.fixture(scope="module")
def mountains():
    return dd.load_image(SAMPLES["mountains.jpg"], 160)


@pytest.fixture(scope="module")
def forest():
    return dd.load_image(SAMPLES["forest.jpg"], 160)[:90]


def about(image):
    """(the mean of each colour, the standard deviation, the mean distance between a
    pixel's colours, the spectrum's slope) of an image."""
    h, w = image.shape[:2]
    power = dctn(image.mean(2), norm="ortho") ** 2
    frequency = np.hypot(np.arange(h)[:, None] / h, np.arange(w) / w) / 2
    edges = np.geomspace(2 / h, 0.5, 10)
    rings = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(edges[1:]), np.log(rings), 1)[0]
    return image.mean((0, 1)), image.std(), (image.max(2) - image.min(2)).mean(), slope


def test_a_frame_gets_the_look_of_the_model(mountains, forest):
    held = forest * 0.6 + 90
    for _ in range(3):  # as it happens from frame to frame
        held = hold.hold_look(held, mountains, hold.piece(mountains, 1), 1.0)
    assert (
        held.shape == forest.shape
        and held.dtype == np.float32
        and held.min() >= 0
        and held.max() <= 255
    )
    (mean, contrast, saturation, slope), wanted = about(held), about(mountains)
    assert abs(mean - wanted[0]).max() < 1 and contrast == pytest.approx(wanted[1], rel=0.04)
    assert saturation == pytest.approx(wanted[2], rel=0.1) and abs(slope - wanted[3]) < 0.25
    drawn = np.corrcoef(held.mean(2).ravel(), forest.mean(2).ravel())[0, 1]
    assert drawn > 0.6, "it is still the forest"


def test_how_firmly(mountains, forest):
    fill = hold.piece(mountains, 1)
    loose, half, firm = (
        hold.hold_look(forest, mountains, fill, share) for share in (0.0, 0.5, 1.0)
    )
    assert abs(loose - forest).max() < 0.05
    at = [about(image)[1] for image in (forest, half, firm)]
    assert at[0] < at[1] < at[2] or at[0] > at[1] > at[2]
    assert at[1] == pytest.approx((at[0] * at[2]) ** 0.5, rel=0.05)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (9, 8), (64, 96)])
def test_flat_and_small_frames(size):
    flat, other = (
        np.full((*size, 3), 40, np.float32),
        np.full((*size, 3), (10, 200, 30), np.float32),
    )
    noise = np.random.RandomState(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    for frame in (flat, other, noise):
        for model in (flat, other, noise):
            for share in (0.3, 1.0):
                held = hold.hold_look(frame, model, hold.piece(model, 2), share)
                assert np.isfinite(held).all() and held.shape == frame.shape


def test_the_pieces_come_and_go_without_a_jump():
    """At all frames their shares, as powers, add up to one, and none changes by more
    than a few hundredths a frame.
    """
    before = {}
    for number in range(100):
        now = {which: share for which, age, share in hold.pieces(number)}
        assert sum(share**2 for share in now.values()) == pytest.approx(1)
        for which in before.keys() | now.keys():
            assert number == 0 or abs(before.get(which, 0) - now.get(which, 0)) < 0.14
        assert all(0 <= age < hold.LIFE for _, age, _ in hold.pieces(number))
        before = now


def test_a_piece_is_the_model_somewhere_else(mountains):
    first, second = hold.piece(mountains, 1), hold.piece(mountains, 2)
    assert np.array_equal(first, hold.piece(mountains, 1)) and not np.array_equal(first, second)
    assert np.isin(first, mountains - mountains.mean((0, 1))).all()
    edges = abs(np.diff(first, axis=0)).max(), abs(np.diff(first, axis=1)).max()
    assert max(edges) <= max(abs(np.diff(mountains, axis=axis)).max() for axis in (0, 1)), "no seam"


def test_clouds_have_the_contrast_of_photographs(mountains, forest):
    mean, contrast, saturation, slope = about(hold.clouds((90, 160), 0))
    others = [about(image) for image in (mountains, forest)]
    assert abs(mean - 118).max() < 2 and min(other[1] for other in others) - 5 < contrast < 60
    assert (
        saturation < max(other[2] for other in others)
        and min(other[3] for other in others) - 0.3 < slope < -1.8
    )


def drift(frames):
    """How far the frames go from the first: the largest change of a mean, and of the
    contrast, as a ratio.
    """
    (mean, contrast, *_), rest = about(frames[0]), [about(frame) for frame in frames[1:]]
    return max(abs(each[0] - mean).max() for each in rest), max(
        abs(np.log(each[1] / contrast)) for each in rest
    )


def test_a_film_that_is_held_does_not_drift(toynet, mountains):
    """On this network a dream left to itself darkens and colours the picture within
    some frames.
    """
    way = {"end": "both", "iter_n": 2, "octave_n": 1, "seed": 0}
    plain = drift(list(dd.zoom(toynet, mountains, 60, **way)))
    held = list(dd.zoom(toynet, mountains, 60, hold=1.0, **way))
    assert plain[0] > 10 and plain[1] > 0.1
    assert drift(held)[0] < 1 and drift(held)[1] < 0.02
    changes = [abs(b - a).mean() for a, b in pairwise(held)]
    assert min(changes[30:]) > 0.5 * np.mean(changes[:30]), "it does not come to rest"


def test_the_first_frame_is_the_notebooks(toynet, mountains):
    way = {"end": "both", "iter_n": 2, "octave_n": 1, "seed": 0}
    assert np.array_equal(
        next(dd.zoom(toynet, mountains, 2, hold=1.0, **way)),
        next(dd.zoom(toynet, mountains, 2, **way)),
    )


@pytest.mark.parametrize(
    "way", [{"scale": 0, "shift": (4, 0)}, {"scale": -0.05}, {"rotate": 5, "scale": 0}]
)
def test_no_seams_at_the_borders_that_come_in(toynet, mountains, way):
    """Where the old border has come in, the film changes no faster from pixel to pixel
    than elsewhere.
    """
    frames = list(
        dd.zoom(toynet, mountains, 12, hold=1.0, end="both", iter_n=1, octave_n=1, seed=0, **way)
    )
    steps = abs(np.diff(frames[-1].mean(2), axis=1))  # from column to column
    assert steps.mean(0).max() < 3 * np.median(steps.mean(0))


def test_what_comes_in_while_panning_does_not_repeat(toynet, mountains):
    """The plain film mirrors 4 columns again and again: they come back after 8."""

    def repeats(share):
        way = {
            "scale": 0,
            "shift": (4, 0),
            "end": "both",
            "iter_n": 1,
            "octave_n": 1,
            "seed": 0,
            "step_size": 0.01,
        }
        *_, last = dd.zoom(toynet, mountains, 13, hold=share, **way)
        strip = last[:, :40].mean(2)
        return (
            np.corrcoef(strip[:, :32].ravel(), strip[:, 8:].ravel())[0, 1]
            - np.corrcoef(strip[:, :32].ravel(), strip[:, 4:36].ravel())[0, 1]
        )

    assert repeats(0.0) > 0.005 > repeats(1.0)
