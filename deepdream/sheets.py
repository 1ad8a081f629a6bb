"""Grid, looks and atlas: which pictures are to be made, and the sheet or page that
shows them.
"""

import html
import json
import os
import re
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import looks
from .dream import OnStep, Step
from .errors import DreamError
from .films import read_settings
from .making import dream_job, make_dream, open_net, settings_of
from .nets.base import Net
from .nets.download import default
from .objectives import scores
from .paths import check_folder, check_place, is_local, whole
from .pictures import load_image, or_sample, sheet
from .recipe import Recipe, complete, from_record, quote, words
from .settings import NETWORK, ROWS, rows_of, text_of


class Grid(NamedTuple):
    """The pictures of a grid: a job and a label for each, row by row, and how many are
    side by side.
    """

    jobs: list[dict[str, Any]]
    labels: list[str]
    columns: int


def plan_grid(recipe: Recipe, out: str) -> Grid:
    """One job for each combination of the settings that have several values; pictures
    go into out.pictures/.
    """
    values = {}
    for name, row in rows_of("grid").items():
        if row.varies:
            values[name] = recipe[name] if isinstance(recipe[name], list) else [recipe[name]]
    varied = [name for name in values if len(values[name]) > 1]
    if not varied:
        raise DreamError("a grid needs a setting with several values, such as --iterations 5,10,20")
    folder, jobs, labels = Path(out).with_suffix(".pictures"), [], []
    check_folder(folder)
    for point in product(*values.values()):
        chosen = dict(zip(values, point))
        labels.append(", ".join(_label(name, chosen[name]) for name in varied))
        path = os.path.abspath(folder / f"{labels[-1].replace('/', '-')}.png")
        jobs.append(dream_job(recipe | chosen, out=path))
    check_place(max((job["out"] for job in jobs), key=len))
    return Grid(jobs, labels, len(values[varied[-1]]))


def _label(name: str, value: Any) -> str:
    return str(value) if name == "end" else f"{ROWS[name].option[2:]} {text_of(value)}"


def lay_out(
    grid: Grid, recipe: Recipe, reports: dict[str, dict[str, Any]]
) -> tuple[np.ndarray, dict[str, Any]] | None:
    """(the sheet of a grid's pictures, the settings that it carries); None where every
    picture failed.

    A picture that failed is grey.
    """
    made = {out: load_image(out) for out, report in reports.items() if not report["error"]}
    if not made:
        return None
    first = next(iter(made))
    grey = np.full_like(made[first], 200)
    pictures = [made.get(job["out"], grey) for job in grid.jobs]
    varied = {
        name: recipe[name]
        for name, row in rows_of("grid").items()
        if row.varies and recipe[name] is not None
    }
    carried = reports[first]["settings"] | varied | {"command": "grid"}
    return sheet(pictures, grid.labels, grid.columns), carried


def make_looks(recipe: Recipe, on_step: OnStep | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """(a sheet of the picture in all looks that its network has, the settings that it
    carries).

    If it is stopped, the sheet has those that are finished, and the last one as far as
    it is.
    """
    load_image(or_sample(recipe["image"]), recipe["width"])  # refused before a network is loaded
    model = recipe["model"] or default()
    chosen = looks.of_network(model)
    if not chosen:
        raise DreamError(
            f"{model} has no looks: they are for networks with the layers of GoogLeNet or SqueezeNet"
        )
    net = open_net(recipe | {"model": model})
    pictures: list[np.ndarray] = []
    names, is_stopped = list(chosen), False

    def on_each(step: Step) -> object:
        nonlocal is_stopped
        is_stopped = step.stopped
        share = (len(pictures) + step.done) / len(names)
        return on_step(step._replace(end=names[len(pictures)], done=share)) if on_step else None

    about = {name: recipe[name] for name in ("image", "width", "seed")} | {"model": model}
    for says in chosen.values():
        dream, _ = make_dream(complete("dream", says | about), net, on_each)
        assert dream is not None
        pictures.append(dream)
        if is_stopped:
            break
    carried = settings_of(recipe | {"width": pictures[0].shape[1]}, net)
    return sheet(pictures, names[: len(pictures)], min(4, len(pictures))), carried


def plan_atlas(recipe: Recipe, out: str, net: Net) -> list[dict[str, Any]]:
    """One job for each channel of the recipe's layer, or for those that it names."""
    layer = recipe["layer"]
    net.check_layer(layer)
    if not is_local(out):
        raise DreamError(f"{out} is a URL; an atlas takes a folder on this machine")
    check_folder(out)
    about = {name: recipe[name] for name in (*NETWORK, "steps", "seed") if recipe[name] is not None}
    about = {"command": "draw", "model": net.model.name} | about
    jobs = []
    for i in _channels(recipe["channels"], net.channels(layer)):
        what = f"channel({json.dumps(layer)}, {i})"
        jobs.append(about | {"draw": [what], "out": os.path.abspath(Path(out) / f"{i:05}.jpg")})
    return jobs


def _channels(text: str | None, n: int) -> list[int]:
    """'0-3,7' -> [0, 1, 2, 3, 7]; without a text, all n channels."""
    if text is None:
        return list(range(n))
    chosen: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]+)(?:\s*-\s*([0-9]+))?", part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not first <= last < n:
            raise DreamError(
                f"{{setting}} is {text!r}; it must be such as 0-63,200, of 0 to {n - 1}", "channels"
            )
        chosen += range(first, last + 1)
    return list(dict.fromkeys(chosen))


def channel_names(net: Net, layer: str) -> list[str]:
    """The names of a layer's channels, where they are classes; else an empty list."""
    is_classes = len(net.labels) == net.channels(layer) and layer in (
        scores(net),
        net.layer_specs[-1].name,
    )
    return net.labels if is_classes else []


def write_atlas(folder: Path, layer: str, names: list[str]) -> Path | None:
    """Write index.html, the page of all pictures in the folder that show a channel of
    this layer.

    The page opens from disk. names: of the channels, if they have any. Each picture is
    shown with the number of its channel and the command that made it. The answer is
    None if there are no pictures.
    """
    tiles, text = [], re.compile(rf"channel\({re.escape(json.dumps(layer))}, ([0-9]+)\)")
    for path in sorted(folder.glob("[0-9]*.jpg")):
        try:
            recipe = from_record(read_settings(path))
        except DreamError:
            continue  # it is somebody else's picture
        which = text.fullmatch(recipe["draw"][0]) if recipe["command"] == "draw" else None
        if which:
            n = int(which[1])
            name = f"{n} {names[n].split(',')[0]}" if names else f"channel {n}"
            command = quote(["deepdream", *words(recipe, path.name)])
            tiles.append({"n": n, "name": name, "file": path.name, "command": command})
    if not tiles:
        return None
    page = (Path(__file__).parent / "atlas.html").read_text(encoding="utf-8")
    data = json.dumps({"layer": layer, "tiles": tiles}).replace("<", "\\u003c")
    with whole(folder / "index.html") as part:
        part.write_text(
            page.replace("DATA", data, 1).replace("LAYER", html.escape(layer), 1), encoding="utf-8"
        )
    return folder / "index.html"
