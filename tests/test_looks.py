"""Looks: every recipe in looks.toml makes sense; where a recipe begins and what
replaces it. What a network sees.
"""

import re

import numpy as np
import pytest
from conftest import load, main, refused
from plain import opinion

import deepdream as dd
from deepdream import looks, sheets
from deepdream.jobs import outline
from deepdream.language import parse
from deepdream.making import make_dream
from deepdream.nets import download
from deepdream.nets.classes import class_number
from deepdream.objectives import TERMS
from deepdream.pictures import or_sample, picture_settings
from deepdream.recipe import complete
from deepdream.seeing import look, side_by_side

GOOGLENET = "inception_4c/output"
NETWORKS = {  # and how many looks each has at least
    "bvlc_googlenet": 16,
    "squeezenet_v1.1": 9,
    "squeezenet_places365": 8,
    "efficientnet_lite0": 3,
    "mobilenet_v2_dogs": 3,
}
SAMPLES = "mountains.jpg", "forest.jpg", "flower.jpg"


def test_googlenet_has_sixteen_and_each_has_a_line_of_words():
    table = looks.read()
    assert len(looks.of_network("bvlc_googlenet")) == 16
    assert len({look.about for look in table.values()}) == len(table)
    for name, each in table.items():
        assert each.name == name and 10 < len(each.about) < 70
        assert (GOOGLENET in each.networks) != bool(each.only)
        assert not re.search("inception|fire|channel", each.about), "words that people understand"


@pytest.mark.parametrize("model", NETWORKS)
def test_each_look_climbs_what_its_network_has(model):
    """Without the weights: the outline is enough."""
    net, there = outline(model), looks.of_network(model)
    assert len(there) >= NETWORKS[model]
    for each in there:
        recipe = complete("dream", looks.begin({"look": each, "model": model, "image": "a.jpg"}))
        assert (recipe["end"] is None) != (recipe["objective"] is None)
        if recipe["objective"]:
            parse(recipe["objective"], or_sample).layers_in(net)
        else:
            assert recipe["end"] in net.climbable


@pytest.mark.parametrize("engine", ["caffe", "torch"])
@pytest.mark.parametrize("photo", SAMPLES)
def test_each_look_of_squeezenet_changes_each_photograph_and_no_two_are_alike(photo, engine):
    net, image = load("squeezenet_v1.1", engine), dd.load_image(or_sample(photo), 120)
    dreams = []
    for each in looks.of_network("squeezenet_v1.1"):
        recipe = complete(
            "dream", looks.begin({"look": each, "model": "squeezenet_v1.1", "image": photo})
        )
        recipe |= {"width": 120, "seed": 0, "iter_n": 3, "octave_n": 1}
        dreams.append(make_dream(recipe, net)[0])
        assert np.abs(dreams[-1] - image).mean() > 1
    assert all(np.abs(a - b).mean() > 1 for i, a in enumerate(dreams) for b in dreams[:i])


def test_what_a_person_gives_replaces_what_the_look_says():
    def begin(**given):
        return looks.begin({"look": "petals", "model": "squeezenet_v1.1"} | given)

    plain = begin()
    assert plain == {"model": "squeezenet_v1.1", "guide": "flower.jpg", "end": "fire5/concat"}
    assert begin(iter_n=3, end="fire2/concat") == plain | {"iter_n": 3, "end": "fire2/concat"}
    assert begin(guide="a.jpg") == plain | {"guide": "a.jpg"}
    assert begin(objective="L2('conv1')") == {
        "model": "squeezenet_v1.1",
        "objective": "L2('conv1')",
    }
    caricature = looks.begin({"look": "Caricature", "model": "squeezenet_v1.1", "guide": "a.jpg"})
    assert (
        "objective" not in caricature and caricature["guide"] == "a.jpg" and caricature["lap"] == 4
    )
    assert looks.begin({"iter_n": 3, "look": None}) == {"iter_n": 3}, (
        "no look, and nothing is added"
    )


def test_the_default_network_is_asked_for_only_where_none_is_given(monkeypatch):
    """It may be downloaded."""
    asked = []
    monkeypatch.setattr(download, "default", lambda: asked.append(1) or "squeezenet_v1.1")
    assert (
        looks.begin({"look": "Eyes", "model": "squeezenet_v1.1"})["end"] == "fire5/concat"
        and not asked
    )
    assert (
        looks.begin({"look": "Eyes"}) == {"end": "fire5/concat", "model": "squeezenet_v1.1"}
        and asked
    )


def test_a_picture_records_the_settings_and_not_the_look(tmp_path):
    out, again = tmp_path / "o.png", tmp_path / "again.png"
    words = "--model", "squeezenet_v1.1", "--engine", "caffe"
    done = main(
        "dream",
        "flower.jpg",
        *words,
        "--look",
        "relief",
        "--width",
        100,
        "--iterations",
        2,
        "-o",
        out,
    )
    assert done.returncode == 0, done
    carried = picture_settings(out)
    assert (
        "look" not in carried
        and carried["end"] == "fire2/concat"
        and carried["lap"] == 3
        and carried["iter_n"] == 2
    )
    assert (
        main("replay", out, "-o", again).returncode == 0 and out.read_bytes() == again.read_bytes()
    )
    shown = main("replay", out, "--look", "Petals").stdout
    assert (
        "--guide flower.jpg" in shown
        and "fire5/concat" in shown
        and "fire2" not in shown
        and "--lap 3" in shown
    )


def test_wrong_looks_are_refused(tmp_path, toy):
    dream = "dream", "flower.jpg", "-o", tmp_path / "o.png", "--look"
    refused(
        main(*dream, "eye"),
        r"unknown look 'Eye'; did you mean 'Eyes'\? \(`deepdream looks` lists them all\)",
    )
    refused(
        main(*dream, "Dogs", "--model", "squeezenet_v1.1"),
        r"does not have the look 'Dogs'; it has 2015, Strokes, ",
    )
    refused(
        main(*dream, "Eyes", "--model", toy),
        "looks are for networks with the layers of GoogLeNet or SqueezeNet",
    )
    refused(
        main("looks", "flower.jpg", "--model", toy, "-o", tmp_path / "o.png"),
        "has no looks: they are for networks",
    )
    refused(main("looks", "flower.jpg"), "a sheet of looks needs a picture and -o")
    refused(main("looks", "-o", tmp_path / "o.png"), "a sheet of looks needs a picture and -o")
    refused(
        main("looks", "absent.jpg", "-o", tmp_path / "o.png"), "cannot read the picture absent.jpg"
    )
    refused(main("looks", "flower.jpg", "-o", tmp_path / "o.bmp"), "its name must end in")
    assert not list(tmp_path.glob("o.*"))


def test_the_command_lists_them_in_words():
    lines = main("looks").stdout.splitlines()
    assert len(lines) == len(looks.read())
    assert lines[4] == "Eyes             eyes look at you from everywhere"
    assert lines[16].startswith("Temples ") and lines[16].endswith("(--model squeezenet_places365)")


def test_a_network_with_looks_of_its_own_has_no_others():
    """SqueezeNet's layers have the same names, but know other things."""
    here = looks.of_network("squeezenet_places365")
    assert {"Temples", "Arcades", "Town", "Castle", "Strokes"} <= here.keys()
    assert "Eyes" not in here and "2015" not in here
    assert "Temples" not in looks.of_network("squeezenet_v1.1")


def test_a_sheet_shows_all_of_them_and_can_be_made_again(tmp_path, monkeypatch):
    few = {name: looks.read()[name] for name in ("2015", "Strokes", "Relief")}
    monkeypatch.setattr(looks, "read", lambda: few)
    out, again = tmp_path / "sheet.png", tmp_path / "again.png"
    words = "--model", "squeezenet_v1.1", "--width", 90
    assert main("looks", "forest.jpg", *words, "-o", out).returncode == 0
    assert dd.load_image(out).shape[1] > 3 * 90
    assert (
        main("replay", out, "-o", again).returncode == 0 and out.read_bytes() == again.read_bytes()
    )


def test_a_stopped_sheet_has_what_was_finished(monkeypatch):
    steps = []

    def on_step(step):
        steps.append(step)
        return step.end == "Strokes" or None

    recipe = complete("looks", {"image": "flower.jpg", "model": "squeezenet_v1.1", "width": 90})
    picture, _ = sheets.make_looks(recipe, on_step)
    assert (
        {step.end for step in steps} == {"2015", "Strokes"}
        and steps[-1].stopped
        and steps[-1].done < 0.2
    )
    assert 2 * 90 < picture.shape[1] < 3 * 90


def test_look_agrees_with_the_network(net):
    image = dd.load_image(or_sample("flower.jpg"))
    seen = look(net, image, n=5)
    name, share = next(iter(seen.classes.items()))
    likely, rank = opinion(net, image, class_number(net, name))
    assert rank == 1 and share == pytest.approx(likely, abs=0.1), "opinion() resizes in another way"
    assert list(seen.channels) == dd.stations(net) and all(
        len(channels) == 5 for channels in seen.channels.values()
    )
    layer = net.default_layer
    net.blobs["data"].reshape(1, 3, *image.shape[:2])
    net.blobs["data"].data[0] = dd.preprocess(net, image)
    net.forward(end=layer)
    means = net.blobs[layer].data[0].mean((1, 2))
    assert list(seen.channels[layer]) == list(np.argsort(-means)[:5])
    assert list(seen.channels[layer].values()) == pytest.approx(
        np.sort(means)[:-6:-1] / means.mean(), rel=1e-4
    )


def test_its_table_has_words_to_climb_with(squeezenet):
    seen = look(squeezenet, dd.load_image(or_sample("mountains.jpg"), 300))
    found = re.findall(r"channel\('[^']+', \d+\)", str(seen))
    assert len(found) == 3 * len(seen.channels) and all(
        parse(words).layers_in(squeezenet) for words in found
    )
    assert "<table>" in seen._repr_html_() and seen._repr_html_().count("<tr>") == 1 + len(
        seen.channels
    )
    both = side_by_side(
        [seen, look(squeezenet, np.zeros((200, 200, 3)))], ["before", "after"]
    ).splitlines()
    assert both[0].split() == ["before", "after"] and len(both) == 1 + 3 * (1 + len(seen.channels))


def test_the_command_shows_before_and_after():
    done = main("look", "mountains.jpg", "--after", "flower.jpg", "--model", "squeezenet_v1.1")
    assert done.returncode == 0 and done.stdout.splitlines()[0].split() == [
        "mountains.jpg",
        "flower.jpg",
    ]
    refused(
        main("look", "absent.jpg", "--model", "squeezenet_v1.1"),
        "cannot read the picture absent.jpg",
    )
    refused(main("look", "--model", "squeezenet_v1.1"), "IN is missing|image is missing|required")


def test_a_network_without_classes_is_looked_at_for_its_channels(toy):
    net = dd.load_net(toy)
    assert len(look(net, np.full((60, 80, 3), 99.0)).classes) == 3, "numbers stand for names"
    with pytest.raises(dd.DreamError, match="an image is an array"):
        look(net, np.zeros((60, 80)))


def test_a_look_takes_its_terms_from_the_table():
    used = set(
        re.findall(r"\b([A-Za-z]\w+)\(", " ".join(str(each) for each in looks.read().values()))
    )
    assert used - {"Look"} <= TERMS.keys()
