"""From a recipe to a picture: what is refused before a network is loaded, what a
picture carries, and what is not made again.
"""

import hashlib

import numpy as np
import pytest
from conftest import write_model
from rows import refusal

import deepdream as dd
from deepdream import making
from deepdream.recipe import complete

QUICK = {"iter_n": 1, "octave_n": 1, "seed": 0}


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A toy network, in a folder with a picture, a mask and a guide."""
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for name in ("a.png", "mask.png", "guide.png"):
        dd.save_image(name, random.uniform(0, 255, (30, 40, 3)))
    return dd.load_net(write_model(tmp_path / "toy"), "caffe")


def dream(net, **settings):
    return making.make_dream(complete("dream", {"image": "a.png"} | QUICK | settings), net)


def test_a_picture_carries_what_it_was_made_from(net):
    picture, carried = dream(net, mask="mask.png", guide="guide.png")
    assert picture is not None and picture.shape == (30, 40, 3)
    assert carried["width"] == 40 and carried["end"] == "both" and carried["model"] == "toy"
    assert carried["engine"] == "caffe" and carried["command"] == "dream"
    digests = dict(carried["sha256"])
    with open("toy/toy.caffemodel", "rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    assert digests.pop("weights") == weights
    named = {"image": "a.png", "mask": "mask.png", "guide": "guide.png"}
    assert digests == {name: making.sha256(path) for name, path in named.items()}


def test_a_random_seed_is_recorded(net):
    first, carried = dream(net, seed=None)
    assert isinstance(carried["seed"], int)
    again, _ = dream(net, seed=carried["seed"])
    assert np.array_equal(first, again)


def test_what_is_already_there_is_not_made_again(net):
    words = "L2('both') + 2 * guide('left', 'guide.png')"
    _, carried = dream(net, objective=words)
    made = complete("dream", {"image": "a.png", "objective": words} | QUICK)
    spelled = carried | {"objective": 'L2("both")+2*guide("left", "guide.png")'}
    older = {name: value for name, value in carried.items() if name != "lap"}
    for known in (carried, carried | {"deepdream": "0.1.0"}, spelled, older):
        assert making.make_dream(made, net, known=known) == (None, carried)
    for known in (carried | {"seed": 1}, {}, carried | {"objective": "L2('both')"}):
        picture, _ = making.make_dream(made, net, known=known)
        assert picture is not None
    drawing = complete("draw", {"draw": ["3"], "steps": 1})
    _, carried = making.make_drawing(drawing, net)
    assert making.make_drawing(drawing, net, known=carried) == (None, carried)


def test_files_are_found_by_whoever_makes_it(net, tmp_path):
    places = {"photo": "a.png", "light": "mask.png", "forms": "guide.png"}
    made = complete("dream", {"image": "photo", "mask": "light", "guide": "forms"} | QUICK)
    picture, carried = making.make_dream(made, net, find=places.__getitem__)
    same, _ = dream(net, mask="mask.png", guide="guide.png")
    assert np.array_equal(picture, same)
    assert carried["image"] == "photo" and carried["mask"] == "light"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "a dream begins with a picture, IN, or noise of a --size"),
        ({"image": "a.png", "size": "40x30"}, "give one of the two"),
        ({"size": "40x30", "width": 40}, "--width is for a picture; noise has a --size"),
        ({"image": "none.png"}, "cannot read the picture none.png"),
        ({"image": "a.png", "mask": "none.png"}, "cannot read the picture none.png"),
        ({"image": "a.png", "objective": "L2("}, "cannot read 'L2('"),
        ({"image": "a.png", "objective": "L2('a')", "end": "a"}, "--objective names its own"),
    ],
)
def test_what_is_refused_before_a_network_is_loaded(net, monkeypatch, given, says):
    monkeypatch.setattr(making, "load_net", lambda **_: pytest.fail("it is loaded"))
    assert says in refusal(making.make_dream, complete("dream", given))


def test_a_network_is_opened_as_the_recipe_says(monkeypatch):
    asked = []
    monkeypatch.setattr(making, "load_net", lambda **given: asked.append(given))
    chosen = {"model": "toy", "engine": "torch", "device": "cpu", "dtype": "float32"}
    making.open_net(complete("dream", {"image": "a.png"} | chosen))
    assert asked == [chosen]


def test_a_sheet_that_is_stopped_has_what_was_drawn(net):
    steps = []

    def on_step(step):
        steps.append(step)
        return len(steps) == 5 or None  # in the second drawing of three

    made = complete("draw", {"draw": ["0", "1", "2"], "steps": 3})
    sheet, carried = making.make_drawing(made, net, on_step)
    assert carried["draw"] == ["0", "1"] and made["draw"] == ["0", "1", "2"]
    assert [round(9 * step.done) for step in steps] == [1, 2, 3, 4, 5, 5]
    assert steps[-1].stopped and sheet.shape[1] > sheet.shape[0]


def test_several_pictures_of_a_thing_are_a_line_of_a_sheet(net):
    made = complete("draw", {"draw": ["0", "1"], "steps": 1, "several": 3, "size": 16})
    sheet, _ = making.make_drawing(made, net)
    drawn = [dd.draw(net, what, 1, several=3, size=16) for what in (0, 1)]
    labels = [f"{what} {i}" for what in (0, 1) for i in (1, 2, 3)]
    assert np.array_equal(sheet, dd.sheet([*drawn[0], *drawn[1]], labels, 3))


def test_a_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert making.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert "cannot read" in refusal(making.sha256, tmp_path / "none")
