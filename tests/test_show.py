"""What is seen while a dream grows: the progress bar and the live view."""

import re
from base64 import b64decode
from datetime import datetime, timedelta
from functools import partial
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from tqdm import tqdm

import deepdream as dd
from deepdream.dream import Step
from deepdream.show import Progress, TrainingProgress, as_image


def step(iteration, done, end="both", stopped=False):
    return Step(0, iteration, end, done, lambda: np.zeros((4, 6, 3)), stopped)


@pytest.fixture
def screen():
    return StringIO()


@pytest.fixture
def bar(screen):
    """The class of a bar that is drawn on `screen` whenever it changes."""
    return partial(tqdm, file=screen, mininterval=0, ascii=True)


def test_the_progress_of_a_dream(screen, bar):
    with Progress(tqdm=bar, disable=False) as progress:
        assert progress.done == 0 and not progress.stopped and "  0%|" in screen.getvalue()
        progress(step(1, 0.25))
        assert progress.done == progress.bar.n == 0.25
        assert (
            "octave 0, step 1, both  25%|" in screen.getvalue() and "elapsed" in screen.getvalue()
        )
        progress(step(1, 0.25, stopped=True))
        assert progress.done == 0.25 and progress.stopped
    assert progress.bar.disable, "the bar is closed"


def test_the_progress_of_a_whole_dream(toy):
    progress = Progress(disable=True)
    dd.deepdream(dd.load_net(toy), np.zeros((24, 32, 3)) + 99, 2, 2, end="both", on_step=progress)
    assert progress.done == 1 and not progress.stopped


def test_the_progress_of_a_film(screen, bar):
    with Progress(4, bar, disable=False) as progress:
        progress.on_frame(1)
        assert progress.bar.n == progress.bar.initial == 1, (
            "a frame of an earlier run takes no time now"
        )
        progress(step(0, 0.5, end="a" * 41))
        assert progress.bar.n == 1.5 and progress.done == 0.5
        assert f"{'a' * 39}…  38%|" in screen.getvalue() and "1.5 of 4 frames" in screen.getvalue()
        progress.on_frame(2)
        assert progress.bar.n == 2
        progress.on_frame(4)
        assert "encoding" not in screen.getvalue() and "4.0 of 4 frames" in screen.getvalue()
    assert progress.bar.disable


def last_line(screen):
    return screen.getvalue().split("\r")[-1]


def test_a_bar_shows_when_the_film_will_be_done(screen, bar):
    hours = 0
    with Progress(100, bar, disable=False) as progress:
        progress.bar._time = lambda: 3600 * hours
        progress.bar.start_t = progress.bar.last_print_t = 0
        progress.on_frame(40)
        assert "00:00 elapsed" in last_line(screen) and "done" not in last_line(screen), (
            "it cannot be known yet"
        )
        for hours in range(1, 11):
            progress.on_frame(40 + hours)
        due = datetime.now() + timedelta(hours=50)
        shown = [
            f"50:00:00 left, ready {day:%a %H:%M}" for day in (due, due - timedelta(minutes=1))
        ]
        assert any(text in last_line(screen) for text in shown), last_line(screen)
        progress(step(0, 0.5, end="a" * 99))
        assert re.search(
            r"50\.5 of 100 frames, .* left, ready \w{3} \d\d:\d\d", last_line(screen)
        ), "all of it fits"


def test_the_progress_of_a_film_of_unknown_length(screen, bar):
    with Progress(None, bar, disable=False) as progress:
        progress.on_frame(0)
        progress(step(3, 0.5))
        progress.on_frame(1)
        assert progress.bar.n == 1 and progress.bar.total is None
        assert "1.0 of ? frames" in last_line(screen) and "left" not in screen.getvalue()
        progress.on_encode(0, 1)
        assert "encoding   0%|" in last_line(screen)
        progress.on_encode(1, 1)
        assert "encoding 100%|" in last_line(screen) and "1 of 1 frames" in last_line(screen)


def test_a_film_that_has_more_frames_than_it_says(screen, bar):
    with Progress(1, bar, disable=False) as progress:
        for n in range(3):
            progress.on_frame(n)
        assert "2.0 of ? frames" in last_line(screen) and "done" not in last_line(screen)


def test_encoding_has_a_bar_of_its_own(screen, bar):
    with Progress(4, bar, disable=False) as progress:
        progress.on_frame(4)  # an earlier run has made all of them
        progress.on_encode(0, 3)
        assert (
            progress.bar.n == 0
            and "encoding   0%|" in last_line(screen)
            and "0 of 3 frames" in last_line(screen)
        )
        progress.on_encode(1, 3)
        assert re.search(
            r"encoding  33%\|.*\| 1 of 3 frames, 00:00 left, ready \w{3} \d\d:\d\d",
            last_line(screen),
        )
        progress.on_encode(3, 3)
        assert "encoding 100%|" in last_line(screen)
    with Progress(4, disable=True) as progress:  # away from a terminal
        progress.on_frame(0)
        progress(step(0, 0.5))
        progress.on_encode(0, 4)
        progress.on_encode(4, 4)


def test_away_from_a_terminal_there_is_no_bar(capsys):
    with Progress() as progress:
        progress(step(0, 0.5))
    assert progress.done == 0.5 and capsys.readouterr() == ("", "")


@pytest.fixture
def page(monkeypatch):
    """[(place, what is shown there)], in the order of time."""
    from IPython.display import DisplayHandle

    shown = []
    for name in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle, name, lambda self, thing: shown.append((self.display_id, thing))
        )
    return shown


def grow(view, value=2.5):
    for i in range(10):
        done = (i + 1) / 10
        view(Step(0, i, "a<b", done, lambda: np.zeros((4, 6, 3)), False, value, (40, 60)))


def test_the_live_view_draws_in_one_place_and_seldom(page):
    from IPython.display import HTML, Image

    rendered = []
    view = dd.live_view(every=1000)
    picture, line = [place for place, _ in page]
    for i in range(10):
        view(Step(0, i, "both", (i + 1) / 10, lambda: rendered.append(1) or np.zeros((4, 6, 3))))
    assert len(rendered) == 2, "once on the way, once at the end"
    there = dict(page)
    assert set(there) == {picture, line} and len(page) == 6
    assert isinstance(there[picture], Image) and there[picture].data[:2] == b"\xff\xd8"
    assert there[picture].alt == "a dream of both" and there[line].data.startswith("both, 0.")
    assert isinstance(page[2][1], HTML)


def test_the_live_view_shows_the_final_size_and_the_objective(page):
    view = dd.live_view(every=0)
    grow(view)
    html = [thing.data for _, thing in page[2:-2]]
    assert all("width: 60px; aspect-ratio: 60 / 40" in each for each in html[::2])
    assert "a&lt;b: octave 0, step 0, objective 2.5; 0 s" in html[1]
    assert page[-1][1].data == "a<b, 0.0 s, objective 2.5"


def test_views_in_a_loop_keep_their_results(page):
    for _ in range(3):
        grow(dd.live_view())
    pictures = [thing for thing in dict(page).values() if hasattr(thing, "alt")]
    assert len(pictures) == 3


def test_a_stopped_dream_says_how_far_it_came(page):
    view = dd.live_view()
    view(Step(0, 3, "both", 0.34, lambda: np.zeros((4, 6, 3)), stopped=True))
    assert page[-1][1].data == "both, stopped at 34%"


def test_bars_in_a_notebook_are_plain_text(page, monkeypatch):
    monkeypatch.setattr("deepdream.show.find_notebook", object)
    with TrainingProgress(200) as progress:
        for n in (1, 100, 200):
            progress(SimpleNamespace(step=n, loss=1.5, accuracy=0.5))
            progress.bar.refresh()
    first = page[-2][1].data
    with Progress() as progress:
        progress(step(1, 0.25))
        progress.bar.refresh()
    second = page[-2][1].data
    assert "octave 0, step 1, both" in second and "elapsed" in second
    assert "loss 1.50, accuracy 50%" in first and "of 200 steps" in first
    assert len({place for place, _ in page}) == 2 and page[-1][1].data == "<div></div>"


def test_a_film_stays_in_the_notebook(tmp_path, monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda thing: shown.append(thing.data))
    pictures = [np.full((16, 16, 3), n) for n in (0, 255)]
    for name, begins in (("a.gif", "<img src="), ("a.mp4", "<video src=")):
        dd.save_film(tmp_path / name, pictures, fps=2)
        dd.show_film(tmp_path / name, alt="black & white")
        assert shown[-1].startswith(begins) and '"black &amp; white"' in shown[-1]
        data = shown[-1].split("base64,")[1].split('"')[0]
        assert b64decode(data) == (tmp_path / name).read_bytes()
    with pytest.raises(dd.DreamError, match=r"cannot read the film .*absent"):
        dd.show_film(tmp_path / "absent.gif")
    with pytest.raises(dd.DreamError, match=r"a film's name ends in \.gif, \.mp4, \.webm"):
        dd.show_film(tmp_path / "film.avi")


def test_pictures_have_words():
    image = as_image(np.zeros((4, 6, 3)))
    assert image.alt == "a picture of 6 x 4 pixels"
    assert as_image(np.zeros((4, 6, 3)), alt="clouds").alt == "clouds"
