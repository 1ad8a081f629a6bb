"""What takes long on a panel: dreams, the layer tour, the looks of a
picture, and films.

Each is a function of a `report` and of plain values, so that the page can
have it done in a process of its own. `report(progress=0.5, text="Octave 1
of 4", live=JPEG)` shows how far it is, and answers whether to stop.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import looks
from ..drawing import draw
from ..dream import Step, deepdream
from ..errors import DreamError
from ..films import plan
from ..making import make_dream, open_net
from ..nets.base import Net
from ..objectives import channel
from ..pictures import encode, load_image, make_noise, save_image
from ..recipe import Recipe, complete
from ..seeing import stations
from ..settings import rows_of, size_of
from .shelf import Record, View, find_in, picture_size, view_picture, widest

EVERY = 0.2  # seconds from one live picture to the next
TOUR_STOPS = 6  # layers
TOUR_OCTAVES = 3
TOUR_WIDTH, TOUR_PIXELS = 240, 60_000  # at most
CHANNEL_STEPS, CHANNEL_SIDE = 32, 80  # of the small picture of a channel
LOOK_STEPS, LOOK_OCTAVES = 10, 2  # at most, for the small picture of a look
LOOK_STEP = 1.5  # times larger, so that even a small picture shows what a look is
# What a look sets, and takes back from the look before: its goal, and how
# to climb it, but not the chance
LOOK_SETTINGS = [
    name
    for name, row in rows_of("dream").items()
    if name in looks.GOALS or ("deepdream" in row.to and name != "seed")
]
Report = Callable[..., bool]
Files = Mapping[str, Path]


class StoppedError(Exception):
    """It was stopped before there was anything to show."""


class Watch:
    """The `on_step` that reports a dream; it stops the dream where the report says so.

    describe: says in words where a step is. live: the name under which
    pictures are reported. number, of: which of so many dreams in a row this
    is, from 0. began: when the first of them began. stopped: the share of
    the dream that was done when it was stopped; None if it was not.
    """

    def __init__(
        self,
        report: Report,
        describe: Callable[[Step], str],
        live: str = "live",
        number: int = 0,
        of: int = 1,
        began: float | None = None,
    ) -> None:
        self.report = report
        self.describe = describe
        self.live = live
        self.number = number
        self.of = of
        self.began = time.monotonic() if began is None else began
        self.stopped: float | None = None
        self.due = 0.0  # when to show the next picture

    def __call__(self, step: Step) -> bool:
        if step.stopped:
            self.stopped = step.done
            return True
        now = time.monotonic()
        done = (self.number + step.done) / self.of
        left = say_time((now - self.began) * (1 / done - 1))
        picture: dict[str, bytes] = {}
        if now >= self.due:
            picture[self.live] = encode(step.image(), "jpeg")
            took = time.monotonic() - now  # large pictures take a while to encode
            self.due = now + max(EVERY, 10 * took)
        text = f"{self.describe(step)}, {left} left"
        return self.report(progress=done, text=text, **picture)


def say_time(seconds: float) -> str:
    """A time in the units that people use: 8 s, 3 min, 2 h 5 min, 3 days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 60 / 24:.0f} days"


def inspect(report: Report, path: Path, name: str) -> View:
    """Look at a file that a stranger has sent."""
    return view_picture(path, name)


def ensure_net(report: Report, net: Net | None, recipe: Recipe) -> Net:
    """The network of a recipe, which is loaded where there is none."""
    if net is None:
        report(text="Loading the network; the first time, it is downloaded")
        net = open_net(recipe)
        report(text="")
    return net


def dream(report: Report, net: Net | None, recipe: Recipe, files: Files, out: Path) -> Record:
    """Dream a picture, and save it as `out`; returns the settings that it carries."""

    def describe(step: Step) -> str:
        octave = f"Octave {step.octave + 1} of {recipe['octave_n']}"
        return f"{octave}, step {step.iteration + 1} of {recipe['iter_n']}"

    net = ensure_net(report, net, recipe)
    watch = Watch(report, describe)
    picture, settings = make_dream(recipe, net, watch, partial(find_in, files))
    assert picture is not None  # only one that was already known would not be made
    if watch.stopped is not None:
        settings = settings | {"stopped_at": watch.stopped}
    save_image(out, picture, settings)
    return settings


def tour(report: Report, net: Net | None, recipe: Recipe, files: Files) -> None:
    """Dream the recipe's picture, small, at some depths of the network, low
    to high; reports `stop`, (layer, JPEG).
    """
    if recipe["image"]:
        path = find_in(files, recipe["image"])
        image = load_image(path, min(TOUR_WIDTH, widest(*picture_size(path), TOUR_PIXELS)))
    else:
        height, width = size_of(recipe["size"])
        small = min(TOUR_WIDTH, width, widest(height, width, TOUR_PIXELS))
        image = make_noise((max(1, round(height * small / width)), small), recipe["seed"])
    net = ensure_net(report, net, recipe)
    began = time.monotonic()
    layers = _tour_layers(net)
    for i, layer in enumerate(layers):
        show = partial(_report_stop, report, layer)
        watch = Watch(show, lambda step: step.end, "picture", i, len(layers), began)
        picture = deepdream(
            net, image, octave_n=TOUR_OCTAVES, end=layer, seed=recipe["seed"], on_step=watch
        )
        if watch.stopped is not None:
            raise StoppedError
        show(picture=encode(picture, "jpeg"))


def _report_stop(report: Report, layer: str, picture: bytes = b"", **shown: object) -> bool:
    return report(stop=(layer, picture), **shown) if picture else report(**shown)


def _tour_layers(net: Net) -> list[str]:
    """Some layers, low to high, without the first, which shows least."""
    layers = stations(net)
    last = len(layers) - 1
    stops = np.linspace(min(1, last), last, TOUR_STOPS)
    return [layers[i] for i in sorted({round(stop) for stop in stops})]


def show_channels(
    report: Report, net: Net | None, recipe: Recipe, layer: str, numbers: list[int]
) -> None:
    """Draw, small, what these channels see; reports `channel`, (number, JPEG)."""
    net = ensure_net(report, net, recipe)
    numbers = [number for number in numbers if number < net.channels(layer)]
    if not numbers:
        raise DreamError(f"{layer} has {net.channels(layer)} channels, and all are shown")
    began = time.monotonic()
    for i, number in enumerate(numbers):
        where = f"Channel {i + 1} of {len(numbers)}"
        watch = Watch(report, lambda _, where=where: where, "live", i, len(numbers), began)
        picture = draw(net, channel(layer, number), CHANNEL_STEPS, on_step=watch, size=CHANNEL_SIDE)
        if watch.stopped is not None:
            raise StoppedError
        report(channel=(number, encode(picture, "jpeg")))


def show_looks(
    report: Report, net: Net | None, recipe: Recipe, names: list[str], files: Files
) -> list[str]:
    """Dream a small picture in each of these looks; reports `look`, (name,
    JPEG). Returns the names that are left.
    """
    net = net or open_net(recipe)
    given = {key: value for key, value in recipe.items() if key not in LOOK_SETTINGS}
    del given["mask"]
    for i, name in enumerate(names):
        small = complete("dream", looks.begin(given | {"look": name}))
        watch = Watch(lambda **_: report(), lambda step: "")
        small["iter_n"] = min(small["iter_n"], LOOK_STEPS)
        small["octave_n"] = min(small["octave_n"], LOOK_OCTAVES)
        small["step_size"] *= LOOK_STEP
        picture, _ = make_dream(small, net, watch, partial(find_in, files))
        if watch.stopped is not None or picture is None:
            return names[i:]
        if report(look=(name, encode(picture, "jpeg"))):
            return names[i + 1 :]
    return []


def film(report: Report, recipe: Recipe, files: Files, out: Path) -> dict[str, Any]:
    """Make the film of a recipe, and save it as `out`; the settings that it
    carries. A film that is stopped has the frames that are finished, and
    `stopped_at`.
    """
    report(text="Loading the network")
    planned = plan(recipe, partial(find_in, files))
    watch = FilmWatch(report, planned.announced)
    try:
        planned.write(out, watch, watch.on_frame, watch.on_encode)
    except KeyboardInterrupt:
        if not watch.number:
            raise StoppedError from None
        stopped_at = min(1.0, watch.number / watch.of)
        return planned.write_part(out, watch.number, {"stopped_at": stopped_at})
    return planned.settings


class FilmWatch(Watch):
    """The `on_step`, `on_frame` and `on_encode` that report a film: its
    frames are dreams in a row.
    """

    def __init__(self, report: Report, frames: int | None) -> None:
        super().__init__(report, lambda _: f"Frame {self.number + 1} of {self.of}")
        self.of = frames or 1

    def on_frame(self, finished: int) -> None:
        self.number = finished

    def on_encode(self, done: int, of: int) -> None:
        self.report(text=f"Writing the film, frame {done} of {of}")
