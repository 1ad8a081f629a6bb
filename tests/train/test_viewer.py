"""A photograph that is watched while the network learns."""

import os

import pytest
from learning import ENGINES, PHOTO, draw_classes, draw_loose, few, learn, same, weights

import deepdream as dd
from deepdream.films import film_about
from deepdream.train import train

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("patterns") / "pictures", 30)


def test_watching(tmp_path, toy, patterns):
    out, film = tmp_path / "out", tmp_path / "film.mp4"
    given = few(toy, watch=str(PHOTO), width=64, watch_every=4)
    learn(patterns, out, **given)
    watched = ["000000.png", "000004.png", "000008.png", "000010.png"]
    assert sorted(os.listdir(out / "watch")) == watched and not film.exists()
    size = dd.load_image(out / "watch.jpg").size
    first = [(out / "watch" / name).read_bytes() for name in watched]
    assert len(set(first)) == 4, "the dreams change with the network"
    given["film"] = str(film)
    learn(patterns, out, **given | {"steps": 16})
    assert sorted(os.listdir(out / "watch")) == [*watched, "000012.png", "000016.png"]
    assert dd.load_image(out / "watch.jpg").size > size
    assert film_about(film)[:2] == (8, 6)
    for steps in (10, 16):
        learn(patterns, tmp_path / "plain", **few(toy, steps=steps))
    plain = weights(tmp_path / "plain")
    assert same(weights(out), plain), "watching changes nothing in what is learnt"
    for width, frames in ((40, 2), (64, 1)):  # with another photograph the dreams begin again
        learn(patterns, out, **given | {"steps": 18, "width": width})
        assert film_about(film)[1] == frames


@pytest.mark.parametrize("engine", ENGINES)
def test_a_film_that_was_killed_is_continued(tmp_path, toy, engine):
    loose = draw_loose(tmp_path / "loose")
    given = few(toy, engine=engine, watch=str(PHOTO), width=48, watch_every=4, steps=30)
    learn(loose, tmp_path / "whole", film=str(tmp_path / "whole.gif"), **given)
    given["film"] = str(tmp_path / "out.gif")
    with pytest.raises(ZeroDivisionError):
        train(loose, tmp_path / "out", lambda lesson: 1 / (lesson.step - 26), **given)
    learn(loose, tmp_path / "out", **given)
    assert (tmp_path / "out.gif").read_bytes() == (tmp_path / "whole.gif").read_bytes()
    assert film_about(tmp_path / "out.gif")[1] == 9


def test_a_finished_network_can_be_watched(tmp_path, toy, patterns):
    learn(patterns, tmp_path / "out", **few(toy))
    film = str(tmp_path / "x.gif")
    learn(patterns, tmp_path / "out", **few(toy, watch=str(PHOTO), width=48, film=film))
    assert film_about(film)[1] == 1
