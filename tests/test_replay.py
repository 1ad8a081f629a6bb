"""From pictures and films back to what made them."""

import hashlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from clips import PHOTO, panned
from conftest import main, refused, run
from filming import HELD, is_made, is_same_film, keyed_folder, zoom

import deepdream as dd


@pytest.fixture
def keyed(tmp_path, monkeypatch):
    return keyed_folder(tmp_path, monkeypatch)


def test_replay(tmp_path, toy):
    picture, again = tmp_path / "in.png", tmp_path / "again.png"
    dd.save_image(picture, panned(1)[0])
    given = [
        "--iterations",
        1,
        "--octaves",
        2,
        "--objective=-L2('both')",
        "--keep-color",
        "--no-clip",
        "--mask",
    ]
    assert (
        main("dream", picture, "-o", tmp_path / "o.png", "--model", toy, *given, picture).returncode
        == 0
    )
    seed = dd.read_settings(tmp_path / "o.png")["seed"]
    words = shlex.split(main("replay", tmp_path / "o.png").stdout)
    assert words[:3] == ["deepdream", "dream", "in.png"] and words[-2:] == [
        "-o",
        str(tmp_path / "o.png"),
    ]
    options = "--model toy --engine caffe --objective=-L2('both') --iterations 1 --octaves 2"
    options += " --width 96 --mask in.png"
    expected = [
        *shlex.split(options.replace("'", "\\'")),
        "--keep-color",
        "--no-clip",
        "--seed",
        str(seed),
    ]
    assert sorted(words[3:-2]) == sorted(expected)
    assert is_made(main("replay", tmp_path / "o.png", "-o", again, "--model", toy), again)
    assert again.read_bytes() == (tmp_path / "o.png").read_bytes()
    assert "--seed 5 " in main("replay", tmp_path / "o.png", "--seed", 5).stdout
    assert main("draw", "3", "-o", tmp_path / "d.jpg", "--model", toy, "--steps", 2).returncode == 0
    assert (
        run("replay", tmp_path / "d.jpg", "-o", tmp_path / "d2.jpg", "--model", toy).returncode == 0
    )
    assert (tmp_path / "d.jpg").read_bytes() == (tmp_path / "d2.jpg").read_bytes()
    dd.save_image(tmp_path / "later.png", panned(1)[0], {"deepdream": "9.0", "command": "fly"})
    refused(
        main("replay", tmp_path / "later.png"), "carries no settings of deepdream's command line"
    )
    refused(main("replay", picture), "carries no settings of deepdream's command line")
    refused(main("replay", tmp_path / "absent.png"), "cannot read the picture")
    dd.save_image(picture, panned(2)[1])
    done = main("replay", tmp_path / "o.png", "-o", again, "--model", toy)
    assert done.returncode == 0 and "is not the same as what" in done.stderr
    picture.unlink()
    refused(
        main("replay", tmp_path / "o.png", "-o", again),
        r"was made from in\.png, which is not here; put that",
    )


def test_replay_never_takes_the_picture_itself_for_its_source(tmp_path, toy, monkeypatch):
    """A dream often has the name of its photograph, in another folder."""
    monkeypatch.chdir(tmp_path)
    few = "--model", toy, "--iterations", 1, "--octaves", 1, "--seed", 0
    for folder in ("photos", "dreams", "elsewhere"):
        Path(folder).mkdir()
    dd.save_image("photos/a.png", panned(1)[0])
    assert main("dream", Path("photos/a.png").resolve(), "-o", "dreams/a.png", *few).returncode == 0
    assert dd.read_settings("dreams/a.png")["image"] == "a.png"
    says = r"dreams/a\.png was made from a\.png, which is not here; put that beside it, or "
    says += "run this where that is$"
    refused(main("replay", "dreams/a.png", "-o", "x.png", "--model", toy), says)
    monkeypatch.chdir("photos")
    assert is_made(main("replay", "../dreams/a.png", "-o", "../x.png", "--model", toy), "../x.png")
    assert Path("../x.png").read_bytes() == Path("../dreams/a.png").read_bytes()


def test_replay_prefers_the_file_that_has_not_changed(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name, picture in (("sub/a.png", panned(1)[0]), ("sub/flower.jpg", panned(2)[1])):
        dd.save_image(name, picture)
    words = (
        "--objective",
        "guide('left', 'flower.jpg')",
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
    )
    monkeypatch.chdir("sub")
    assert main("dream", "a.png", "-o", "o.png", *words).returncode == 0
    monkeypatch.chdir(tmp_path)
    dd.save_image("a.png", panned(2)[1])  # others, by the names that are recorded
    dd.save_image("flower.jpg", panned(1)[0])
    done = main("replay", "sub/o.png", "-o", "x.png", "--model", toy)
    assert is_made(done, "x.png") and done.stderr == ""
    assert np.array_equal(dd.load_image("x.png"), dd.load_image("sub/o.png"))


def test_a_guide_inside_an_objective_is_found_and_checked(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("far").mkdir()
    dd.save_image("a.png", panned(1)[0])
    dd.save_image("far/g.png", panned(2)[1])
    few = "--model", toy, "--iterations", 1, "--octaves", 1
    words = "--objective", f"L2('both')+2*guide('left','{tmp_path}/far/g.png')"
    assert main("dream", "a.png", "-o", "o.png", *words, *few).returncode == 0
    carried, digest = (
        dd.read_settings("o.png"),
        hashlib.sha256(Path("far/g.png").read_bytes()).hexdigest(),
    )
    assert (
        carried["objective"] == "L2('both') + 2 * guide('left', 'g.png')"
        and carried["sha256"]["objective 1"] == digest
    )
    again = "replay", "o.png", "-o", "x.png", "--model", toy
    refused(main(*again), r"o\.png was made from g\.png, which is not here; put that beside it")
    Path("far/g.png").rename("g.png")
    assert (
        is_made(main(*again), "x.png") and Path("x.png").read_bytes() == Path("o.png").read_bytes()
    )
    dd.save_image("g.png", panned(1)[0])
    assert "g.png is not the same as what o.png was made from" in main(*again).stderr
    draw = "draw", "guide('left', 'g.png')", "--model", toy, "--steps", 1
    assert main(*draw, "-o", "far/d.png").returncode == 0
    refused(
        main("draw", "guide('left', 'none.png')", *draw[2:], "-o", "x.png"),
        "cannot read none.png: there is no",
    )
    Path("g.png").rename("far/g.png")
    assert is_made(main("replay", "far/d.png", "-o", "d.png", "--model", toy), "d.png")
    assert np.array_equal(dd.load_image("d.png"), dd.load_image("far/d.png"))


def test_the_replay_of_a_film_that_became_longer_makes_all_of_it(tmp_path, toy):
    film = tmp_path / "film"
    words = (
        "zoom",
        PHOTO,
        "-o",
        film,
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
        "--width",
        64,
        "--frames",
    )
    for frames in (2, 3):
        assert is_made(main(*words, frames), film)
    assert " --frames 3 " in main("replay", film).stdout
    refused(main("replay", tmp_path / "toy"), r"there are no frames of a film in the folder .*toy")


def test_what_older_versions_wrote_can_be_replayed(tmp_path):
    old = {
        "deepdream": "0.1.0",
        "model": "bvlc_googlenet",
        "engine": "caffe",
        "image": "a.jpg",
        "guide": None,
    }
    old |= {"width": 100, "iter_n": 5, "end": "conv2/3x3", "clip": True, "seed": None}
    dd.save_image(tmp_path / "o.png", panned(1)[0], old)
    says = "deepdream dream a.jpg --model bvlc_googlenet --engine caffe --layer conv2/3x3"
    says += " --iterations 5 --width 100 -o"
    assert main("replay", tmp_path / "o.png").stdout.startswith(says)


def test_a_film_with_keys_is_replayed_without_the_key_file(keyed):
    assert is_made(main(*zoom("film.gif", *HELD)), "film.gif")
    carried = dd.read_settings("film.gif")
    digests = {"image": "in.png", "key 0 mask": "mask.png", "weights": "toy/toy.caffemodel"}
    digests |= {"key 3 guide": "far/guide.png", "key 5 objective 1": "far/guide.png"}
    digests = {
        name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in digests.items()
    }
    assert carried["sha256"] == digests
    assert (carried["to"], carried["hold"], carried["loop"]) == ([20, 40], 0.5, True)
    recorded = json.loads(carried["keys"])
    assert recorded["3"]["guide"] == "guide.png" and recorded["0"] == {
        "end": "left",
        "mask": "mask.png",
    }
    assert recorded["5"]["objective"] == "L2('left') + 2 * guide('right', 'guide.png')"
    assert (
        recorded["2"].items()
        >= {"end": "fire8/concat", "scale": 0.2, "iter_n": 2, "lap": 0}.items()
    )
    assert recorded["2"]["to"] == [0.8, 0.3] and "look" not in carried["keys"]
    assert str(keyed) not in json.dumps(carried), "pictures are published"
    (keyed / "film.toml").unlink()
    again = "replay", "film.gif", "-o", "again.gif", "--model", "toy"
    refused(
        main(*again), r"film\.gif was made from guide\.png, which is not here; put that beside it"
    )
    (keyed / "far" / "guide.png").rename("guide.png")
    assert is_made(main(*again), "again.gif") and is_same_film("again.gif", "film.gif")
    words = shlex.split(main("replay", "film.gif").stdout)
    assert words[:3] == ["deepdream", "zoom", "in.png"] and words[-2:] == ["-o", "film.gif"]
    assert is_made(main(*words[1:-1], "words.gif"), "words.gif") and is_same_film(
        "words.gif", "film.gif"
    )
    dd.save_image("guide.png", panned(1, 64, 40)[0])
    done = main(*again, "--restart")
    assert done.stderr.count("guide.png is not the same as what film.gif was made from") == 2, done
    assert Path("again.gif").read_bytes() != Path("film.gif").read_bytes()


def test_the_keys_of_a_replay_may_be_replaced(keyed):
    assert is_made(main(*zoom("film.gif", "--frames", 2)), "film.gif")
    Path("other.json").write_text('{"1": {"zoom": 0.3}}')
    done = main("replay", "film.gif", "-o", "other.gif", "--model", "toy", "--keys", "other.json")
    assert done.returncode == 2 and "guide.png" in done.stderr, (
        "those of the film must be there all the same"
    )
    (keyed / "far" / "guide.png").rename("guide.png")
    done = main("replay", "film.gif", "-o", "other.gif", "--model", "toy", "--keys", "other.json")
    assert (
        is_made(done, "other.gif")
        and dd.read_settings("other.gif")["keys"] == '{"1": {"scale": 0.3}}'
    )
