"""From a recipe to a film: what its functions receive, and previews."""

import signal
from pathlib import Path

import numpy as np
import pytest
from clips import panned, tone, write
from conftest import main, refused
from filming import files_in, frames_in, is_made, is_same_film, keyed_folder, zoom

import deepdream as dd
from deepdream import seeing, settings
from deepdream.cli import parser
from deepdream.films import make, motion, planning, video


@pytest.fixture
def keyed(tmp_path, monkeypatch):
    return keyed_folder(tmp_path, monkeypatch)


# What the functions receive


@pytest.fixture
def sway(monkeypatch):
    """A function that adds one row to the table, for these commands and this
    function, and nothing else.
    """

    def add(commands, function):
        row = settings.row(
            settings.Value("sway", "--sway", float, 0.5),
            settings.Use(commands, to=(function,)),
            help="how far",
        )
        monkeypatch.setattr(settings, "TABLE", (*settings.TABLE, row))
        parser.make_parser.cache_clear()

    yield add
    parser.make_parser.cache_clear()


COMMANDS = {
    "zoom": ["zoom", "in.png", "--frames", "2"],
    "journey": ["journey", "--size", "64x48", "--frames-per-layer", "1"],
    "video": ["video", "in.gif"],
}
FEW = "--model", "toy", "--iterations", "1", "--octaves", "1"


@pytest.mark.parametrize(
    ("command", "function", "module"),
    [
        ("zoom", "zoom", planning),
        ("journey", "journey", planning),
        ("journey", "zoom", motion),
        ("video", "steady", video),
        ("video", "read_film", video),
        ("zoom", "make_film", make),
        ("journey", "make_film", make),
        ("video", "make_film", make),
        ("zoom", "deepdream", video),
        ("journey", "deepdream", video),
        ("video", "deepdream", video),
    ],
)
def test_a_new_row_arrives_in_the_function(keyed, sway, monkeypatch, command, function, module):
    """On the command line and in Python, for each kind of film; and it is recorded."""
    sway((command,), function)
    dd.save_film("in.gif", panned(2, 64, 48))
    plain, got = getattr(module, function), []
    monkeypatch.setattr(
        module, function, lambda *args, sway, **given: got.append(sway) or plain(*args, **given)
    )
    out = f"{command}-{function}.gif"
    assert is_made(main(*COMMANDS[command], *FEW, "--sway", "0.7", "-o", out), out)
    assert got and set(got) == {0.7} and dd.read_settings(out)["sway"] == 0.7
    got.clear()
    recipe = parser.parse([*COMMANDS[command], *FEW, "-o", "x.gif"]).recipe
    dd.films.plan(recipe).write("x.gif")
    assert set(got) == {0.5}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_film_is_planned_with_files_found_elsewhere(keyed, tmp_path_factory, command):
    """As the studio does: by name, and with a network that is already there."""
    dd.save_film("in.gif", panned(2, 64, 48))
    recipe = parser.parse([*COMMANDS[command], *FEW, "--mask", "mask.png", "-o", "x.gif"]).recipe
    dd.films.plan(recipe).write("whole.gif")
    net, away = dd.load_net("toy"), tmp_path_factory.mktemp("away")
    found = {}
    for name in ("in.png", "in.gif", "mask.png"):
        found[name] = str(Path(name).rename(away / f"other-{name}"))
    film = dd.films.plan(recipe, found.__getitem__, net)
    film.write("found.gif")
    assert is_same_film("found.gif", "whole.gif")
    assert film.frames in (2, None) and film.announced == 2
    with pytest.raises(dd.DreamError, match="cannot read"):
        dd.films.plan(recipe, net=net)


def test_a_film_that_is_stopped_keeps_a_part_of_its_sound(keyed):
    write("in.mp4", panned(10, 64, 48), sound=0.4)
    recipe = parser.parse(["video", "in.mp4", *FEW, "-o", "x.mp4"]).recipe
    film, numbers = dd.films.plan(recipe), []
    with pytest.raises(KeyboardInterrupt, match="frames finished: 5"):
        film.write(
            "x.mp4", lambda step: numbers[-1] == 5 and signal.raise_signal(2), numbers.append
        )
    carried = film.write_part("x.mp4", 5, {"stopped_at": 0.5})
    assert carried["stopped_at"] == 0.5 and dd.read_settings("x.mp4") == carried
    assert len(list(dd.read_film("x.mp4"))) == 5 and tone("x.mp4")[0] == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize(
    ("out", "preview"),
    [
        ("film.mp4", "film-preview.mp4"),
        ("a.b/film", "a.b/film-preview"),
        ("frames/", "frames-preview"),
        ("-preview.gif", "-preview-preview.gif"),
    ],
)
def test_the_name_of_a_preview(out, preview):
    assert dd.films.preview_path(out) == preview
    assert dd.films.film_of_preview(preview) == Path(out)


# Journeys downwards


def test_a_journey_down_records_its_layers_and_is_replayed(keyed):
    words = (
        "journey",
        "--down",
        "--size",
        "64x48",
        "--model",
        "toy",
        "--frames-per-layer",
        2,
        "--iterations",
        1,
    )
    words = *words, "--octaves", 1, "--hold", 0.4, "--loop"
    assert is_made(main(*words, "-o", "down.gif"), "down.gif")
    carried = dd.read_settings("down.gif")
    up = ",".join(seeing.stations(dd.load_net("toy")))
    assert (
        carried["layers"] == ",".join(reversed(up.split(","))) == "fire8/concat,conv1"
        and carried["down"] is True
    )
    assert is_made(main("replay", "down.gif", "-o", "again.gif", "--model", "toy"), "again.gif")
    assert is_same_film("again.gif", "down.gif")
    refused(
        main(*words, "--frames-per-layer", 3, "-o", "down.gif"),
        "was begun with --frames-per-layer 2, and now it",
    )
    done = main(*words, "--layers", "left,fire8/concat,conv1", "-o", "sorted.gif")
    assert (
        is_made(done, "sorted.gif")
        and dd.read_settings("sorted.gif")["layers"] == "fire8/concat,left,conv1"
    )


# Previews


def previewed(name, frames, size, whole):
    """(The pictures, the settings) of the preview of a film by this name, whose replay
    makes this whole film.
    """
    path, again = Path(name), Path(f"again{Path(name).suffix}")
    preview = path.with_stem(f"{path.stem}-preview")
    folder = preview.with_suffix(".frames") if path.suffix else preview
    assert not path.exists() and not path.with_suffix(".frames").exists(), (
        "that name is left to the film"
    )
    pictures = [dd.load_image(folder / name) for name in sorted(frames_in(folder))]
    assert len(pictures) == frames and {picture.shape for picture in pictures} == {(*size, 3)}
    carried = dd.read_settings(preview)
    assert carried["preview"] is True and "--preview" not in main("replay", preview).stdout
    assert is_made(main("replay", preview, "-o", again, "--model", "toy"), again)
    if path.suffix:
        assert is_same_film(again, whole)
        assert dd.read_settings(whole) == {
            name: value for name, value in carried.items() if name != "preview"
        }
    else:
        assert files_in(again) == files_in(whole)
    return pictures, carried


@pytest.fixture
def guided(keyed):
    """The same, with the guide also beside the film, where a replay finds it."""
    (keyed / "guide.png").write_bytes((keyed / "far" / "guide.png").read_bytes())


def test_the_preview_of_a_zoom(keyed, guided):
    dd.save_image("in.png", panned(1, 160, 10)[0].repeat(4, 0).repeat(4, 1))
    given = "--frames", 11, "--shift", 5, 0, "--hold", 0.5, "--octaves", 3, "--iterations", 1
    assert is_made(main(*zoom("film.gif", *given, "--preview")), "film-preview.gif")
    assert dd.films.film_about("film-preview.gif")[0] == 2.5, "it lasts as long as the film"
    assert is_made(main(*zoom("whole.gif", *given)), "whole.gif")
    previewed("film.gif", 2, (20, 320), "whole.gif")


def test_the_preview_of_a_small_film_begins_as_that(keyed, guided):
    given = "--frames", 21, "--iterations", 1, "--octaves", 1
    assert is_made(main(*zoom("film", *given, "--preview")), "film-preview")
    assert is_made(main(*zoom("whole", *given)), "whole")
    pictures, _ = previewed("film", 3, (60, 80), "whole")
    assert np.array_equal(pictures[0], dd.load_image("whole/000000.png"))


def test_the_preview_of_a_journey(keyed):
    few = (
        "--model",
        "toy",
        "--frames-per-layer",
        6,
        "--iterations",
        1,
        "--octaves",
        1,
        "--layers",
        "conv1,left",
    )
    words = "journey", "--size", "360x36", *few
    assert is_made(main(*words, "-o", "film.gif", "--preview"), "film-preview.gif")
    assert is_made(main(*words, "-o", "whole.gif"), "whole.gif")
    previewed("film.gif", 2, (32, 320), "whole.gif")


def test_the_preview_of_a_video(keyed):
    write("in.mp4", panned(23, 40, 100), sound=1)
    words = (
        "video",
        "in.mp4",
        "--model",
        "toy",
        "--iterations",
        1,
        "--octaves",
        2,
        "--start",
        2,
        "--width",
        140,
    )
    words = *words, "--mask", "mask.png"
    assert is_made(main(*words, "-o", "film.mp4", "--preview"), "film-preview.mp4")
    assert dd.films.film_about("film-preview.mp4")[0] == 2.5 and tone("film-preview.mp4")[
        0
    ] == pytest.approx(0.9, abs=0.1)
    assert is_made(main(*words, "-o", "whole.mp4"), "whole.mp4")
    _, carried = previewed("film.mp4", 3, (320, 128), "whole.mp4")
    assert (carried["width"], carried["stride"], carried["start"]) == (140, 1, 2)
    refused(
        main(*words, "-o", "film.mp4", "--preview", "--start", 99),
        "--start is 99; .* has 23 frames",
    )


def test_a_preview_is_not_written_over_what_it_reads(keyed):
    dd.save_film("a-preview.gif", panned(2, 80, 60))
    before = Path("a-preview.gif").read_bytes()
    few = "--model", "toy", "--octaves", 1, "--iterations", 1
    done = main("zoom", "a-preview.gif", "-o", "a.gif", "--preview", "--frames", 2, *few)
    assert Path("a-preview.gif").read_bytes() == before
    refused(done, r"a-preview\.gif would be read and overwritten; choose another name for -o")


def test_the_preview_of_a_video_is_not_written_over_it(keyed):
    dd.save_film("a-preview.gif", panned(2, 80, 60))
    before = Path("a-preview.gif").read_bytes()
    done = main(
        "video", "a-preview.gif", "-o", "a.gif", "--preview", "--model", "toy", "--octaves", 1
    )
    refused(done, r"a-preview\.gif would be read and overwritten; choose another name for -o")
    assert Path("a-preview.gif").read_bytes() == before
