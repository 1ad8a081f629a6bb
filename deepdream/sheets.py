"""Grid, looks and atlas: the pictures to be made, and the sheet or page of them."""

import html
import json
import os
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import looks
from .dream import OnStep, Step
from .errors import DreamError
from .films import read_settings
from .jobs import Job, make_job
from .making import Series, make_dream, open_net, settings_of
from .nets import download
from .nets.base import Net
from .objectives import scores
from .paths import check_folder, check_place, is_local, whole
from .pictures import load_image, or_sample, sheet
from .recipe import complete, from_record, quote, words
from .settings import Recipe, Record, option, rows_of, text_of


class Grid(NamedTuple):
    """The pictures of a grid, row by row."""

    jobs: list[Job]
    labels: list[str]
    columns: int


def plan_grid(recipe: Recipe, out: str) -> Grid:
    """One job for each combination of settings; pictures go into
    out.pictures/. Raises DreamError where no setting has several values, or
    the pictures no place.
    """
    values = {}
    for name, value in _varied(recipe).items():
        values[name] = value if isinstance(value, list) else [value]
    varied = [name for name in values if len(values[name]) > 1]
    if not varied:
        several = "several values, such as --iterations 5,10,20"
        raise DreamError(f"a grid needs a setting with {several}")
    folder = Path(out).with_suffix(".pictures")
    check_folder(folder)
    jobs: list[Job] = []
    labels = []
    for point in product(*values.values()):
        chosen = dict(zip(values, point))
        label = ", ".join(_label(name, chosen[name]) for name in varied)
        path = os.path.abspath(folder / f"{label.replace('/', '-')}.png")
        jobs.append(make_job(recipe | chosen, "dream", path))
        labels.append(label)
    check_place(max((job["out"] for job in jobs), key=len))
    return Grid(jobs, labels, len(values[varied[-1]]))


def _varied(recipe: Recipe) -> Record:
    """The settings of a grid that may have several values."""
    return {name: recipe[name] for name, row in rows_of("grid").items() if row.varies}


def _label(name: str, value: object) -> str:
    if name == "end":
        return str(value)
    return f"{option(name, 'grid').lstrip('-')} {text_of(value)}"


def lay_out(
    grid: Grid, recipe: Recipe, reports: Mapping[str, Record]
) -> tuple[np.ndarray, Record] | None:
    """(the sheet (H, W, 3) of a grid's pictures, what it carries), with
    grey for those that failed; None if all did. reports: {out: report}, see
    `batch.dream_many`.
    """
    made = {out: load_image(out) for out, report in reports.items() if not report["error"]}
    if not made:
        return None
    first = next(iter(made))
    grey = np.full_like(made[first], 200)
    pictures = [made.get(job["out"], grey) for job in grid.jobs]
    varied = {name: value for name, value in _varied(recipe).items() if value is not None}
    carried = reports[first]["settings"] | varied | {"command": "grid"}
    return sheet(pictures, grid.labels, grid.columns), carried


def make_looks(recipe: Recipe, on_step: OnStep | None = None) -> tuple[np.ndarray, Record]:
    """(a sheet (H, W, 3) of the picture in all looks that its network has,
    what it carries). on_step is called with the look's name as `end`; if it
    stops, the sheet has what was dreamt so far. Raises DreamError for a
    network without looks.
    """
    load_image(or_sample(recipe["image"]), recipe["width"])  # refused before the network
    recipe = recipe | {"model": recipe["model"] or download.default()}
    chosen = looks.of_network(recipe["model"])
    if not chosen:
        whose = "they are for networks with the layers of GoogLeNet or SqueezeNet"
        raise DreamError(f"{recipe['model']} has no looks: {whose}")
    net = open_net(recipe)
    names = list(chosen)
    pictures: list[np.ndarray] = []

    def on_each(step: Step) -> object:
        return on_step(step._replace(end=names[len(pictures)])) if on_step else None

    series = Series(on_each, len(names))
    common = {name: recipe[name] for name in rows_of("dream").keys() & recipe.keys()}
    for look in chosen.values():
        dream, _ = make_dream(complete("dream", look | common), net, series)
        assert dream is not None
        pictures.append(dream)
        if series.is_stopped:
            break
        series.finished += 1
    carried = settings_of(recipe | {"width": pictures[0].shape[1]}, net)
    return sheet(pictures, names[: len(pictures)], min(4, len(pictures))), carried


def plan_atlas(recipe: Recipe, out: str, net: Net) -> list[Job]:
    """One job for each channel of the recipe's layer, or for those that it
    names. Raises DreamError for one that the network lacks, and no place
    for the pictures.
    """
    layer = recipe["layer"]
    net.check_layer(layer)
    if not is_local(out):
        raise DreamError(f"{out} is a URL; an atlas takes a folder on this machine")
    check_folder(out)
    recipe = recipe | {"model": recipe["model"] or net.model.name}
    jobs = []
    for i in _channels(recipe["channels"], net.channels(layer)):
        path = os.path.abspath(Path(out) / f"{i:05}.jpg")
        jobs.append(make_job(recipe, "draw", path, draw=[_words(layer, i)]))
    return jobs


def _words(layer: str, channel: object) -> str:
    """What an atlas draws, in words."""
    return f"channel({json.dumps(layer)}, {channel})"


def _channels(text: str | None, n: int) -> list[int]:
    """'0-3,7' -> [0, 1, 2, 3, 7]; without a text, all n channels."""
    if text is None:
        return list(range(n))
    chosen: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]+)(?:\s*-\s*([0-9]+))?", part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not first <= last < n:
            allowed = f"it must be such as 0-63,200, of 0 to {n - 1}"
            raise DreamError(f"{{setting}} is {text!r}; {allowed}", "channels")
        chosen += range(first, last + 1)
    return list(dict.fromkeys(chosen))


def channel_names(net: Net, layer: str) -> list[str]:
    """The names of a layer's channels, where they are classes; else none."""
    may_be_classes = layer in (scores(net), net.layer_specs[-1].name)
    is_named = may_be_classes and len(net.labels) == net.channels(layer)
    return net.labels if is_named else []


def write_atlas(folder: Path, layer: str, names: list[str]) -> Path | None:
    """Write index.html, the page of the pictures in the folder that show a
    channel of this layer, with the commands that made them; None if there
    are none.

    names: of the channels, if they have any. Raises CannotWriteError.
    """
    tiles = [_tile(path, layer, names) for path in sorted(folder.glob("[0-9]*.jpg"))]
    tiles = list(filter(None, tiles))
    if not tiles:
        return None
    page = Path(__file__).with_name("atlas.html").read_text("utf-8")
    data = json.dumps({"layer": layer, "tiles": tiles}).replace("<", "\\u003c")
    page = page.replace("DATA", data, 1).replace("LAYER", html.escape(layer), 1)
    with whole(folder / "index.html") as part:
        part.write_text(page, encoding="utf-8")
    return folder / "index.html"


def _tile(path: Path, layer: str, names: list[str]) -> Record | None:
    """What the page knows of a picture; None where that is no channel of this layer."""
    try:
        recipe = from_record(read_settings(path))
    except DreamError:  # it is somebody else's picture
        return None
    drawn = recipe["draw"][0] if recipe["command"] == "draw" else ""
    number = re.match(r".*, ([0-9]+)\)$", drawn)
    if not number or drawn != _words(layer, number[1]):
        return None
    n = int(number[1])
    name = f"{n} {names[n].split(',')[0]}" if names else f"channel {n}"
    command = quote(["deepdream", *words(recipe, path.name)])
    return {"n": n, "name": name, "file": path.name, "command": command}
