"""From a recipe and a network to a picture that carries its recipe."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .algebra import Objective
from .canvas import fit_brightness
from .drawing import draw
from .dream import OnStep, Step, deepdream
from .errors import DreamError, reason
from .language import parse, to_objective
from .nets.base import Net
from .nets.engines import load_net
from .objectives import guide as guide_objective
from .objectives import guide_features, objective_guide
from .paths import why_unreadable
from .pictures import load_guide, load_image, make_noise, or_sample, read_mask, sheet, to_json
from .recipe import all_files, record, with_defaults, with_files
from .settings import Params, Recipe, Record, arguments, size_of

if TYPE_CHECKING:
    from .nets.zoo import Model  # it imports protobuf

Find = Callable[[str], str]  # from a file's name in a recipe to its path


class Series:
    """The `on_step` of so many pictures, one after another: it passes on
    each step with its share of all of them.
    """

    def __init__(self, on_step: OnStep | None, of: int) -> None:
        self.on_step = on_step
        self.of = of
        self.finished = 0
        self.last: Step | None = None  # that it was called with

    def __call__(self, step: Step) -> object:
        self.last = step
        share = (self.finished + step.done) / self.of
        return self.on_step(step._replace(done=share)) if self.on_step else None

    @property
    def is_stopped(self) -> bool:
        """Whether the last picture was stopped."""
        return self.last is not None and self.last.stopped


def open_net(recipe: Recipe) -> Net:
    """The network that the recipe names. Raises DreamError as `load_net` does."""
    return load_net(**arguments(recipe, "load_net"))


def make_dream(
    recipe: Recipe, net: Net | None = None, on_step: OnStep | None = None,
    find: Find = or_sample, known: Record | None = None,
) -> tuple[np.ndarray | None, Record]:  # fmt: skip
    """(the picture (H, W, 3), what it carries) of a recipe of the command `dream`.

    net: the recipe's network, if it is loaded. known: what a picture
    carries that is already there; if this one would carry the same, it is
    not made, but None.

    Raises DreamError for settings that exclude each other, files that
    cannot be read, and whatever the network or `deepdream` refuses.
    """
    image, recipe = _begin(recipe, find)
    net, recipe, params = open_recipe(recipe, net, find)
    carried = settings_of(recipe, net, find)
    if _is_same(carried, known):
        return None, carried
    dream = deepdream(net, image, on_step=on_step, **params)
    return fit_brightness(dream, recipe["clip"]), carried


def _begin(recipe: Recipe, find: Find) -> tuple[np.ndarray, Recipe]:
    """(what a dream begins with, (H, W, 3); the recipe with its seed and width)"""
    if bool(recipe["size"]) == bool(recipe["image"]):
        either = "a picture, IN, or noise of a --size, such as 640x360"
        raise DreamError(f"a dream begins with {either}; give one of the two")
    if recipe["size"] and recipe["width"]:
        raise DreamError("--width is for a picture; noise has a --size; leave out one of the two")
    if recipe["seed"] is None:  # recorded, so that the picture can be made again
        recipe = recipe | {"seed": secrets.randbelow(2**32)}
    if recipe["size"]:
        return make_noise(size_of(recipe["size"]), recipe["seed"]), recipe
    # Kept until the dream is finished; bytes take a quarter of the memory
    image = load_image(find(recipe["image"]), recipe["width"]).astype(np.uint8)
    return image, recipe | {"width": image.shape[1]}


def make_drawing(
    recipe: Recipe, net: Net | None = None, on_step: OnStep | None = None,
    known: Record | None = None,
) -> tuple[np.ndarray | None, Record]:  # fmt: skip
    """As `make_dream`, for the command `draw`; several pictures make a
    sheet. If it is stopped, the sheet and what it carries have what was
    drawn so far.
    """
    objectives = [to_objective(what) for what in recipe["draw"]]
    net = net or open_net(recipe)
    carried = settings_of(recipe, net)
    if _is_same(carried, known):
        return None, carried
    for objective in objectives:  # refuses what the network lacks before the first
        objective.layers_in(net)
    pictures: list[np.ndarray] = []
    series = Series(on_step, len(objectives))
    for objective in objectives:
        picture = draw(net, objective, on_step=series, **arguments(recipe, "draw"))
        if not pictures or (series.last and series.last.done):
            pictures.append(picture)
        if series.is_stopped:
            break
        series.finished += 1
    names = carried["draw"] = carried["draw"][: len(pictures)]
    return _lay_out(pictures, names, recipe["several"]), carried


def _lay_out(pictures: list[np.ndarray], names: list[str], several: int) -> np.ndarray:
    """One picture by itself; or a sheet, with a line of `several` for each name."""
    if several == 1:
        return sheet(pictures, names) if len(pictures) > 1 else pictures[0]
    labels = [f"{name} {i + 1}" for name in names for i in range(several)]
    columns = several if len(pictures) > 1 else None
    return sheet([one for group in pictures for one in group], labels, columns)


def open_recipe(
    recipe: Recipe, net: Net | None = None, find: Find = or_sample
) -> tuple[Net, Recipe, Params]:
    """(the network; the recipe with its layer; what `deepdream` takes
    besides the picture, with the pictures that the recipe names). Raises as
    `make_dream`.

    The network is loaded if none is given, after all that can be refused without one.
    """
    params = arguments(recipe, "deepdream")
    params["mask"] = read_mask(find(recipe["mask"])) if recipe["mask"] else None
    if recipe["command"] == "journey":  # it has layers of its own
        return net or open_net(recipe), recipe, params
    if recipe["objective"] is not None:
        params["objective"] = objective_of(recipe, find)
        return net or open_net(recipe), recipe, params
    guide = load_guide(find(recipe["guide"])) if recipe["guide"] else None
    net = net or open_net(recipe)
    end = layer_of(recipe, net)
    params["end"] = end
    if guide is not None and recipe.get("keys"):  # one that can fade into another
        params["objective"] = guide_objective(end, guide)
    elif guide is not None:
        features = guide_features(net, guide, end)
        params["objective"] = partial(objective_guide, guide_features=features)
    return net, recipe | {"end": end}, params


def objective_of(recipe: Recipe, find: Callable[[str], str | None]) -> Objective:
    """The objective that the recipe has in words. find: as for `parse`.
    Raises DreamError for one that cannot be read, or beside a layer or a
    guide.
    """
    if recipe["end"] or recipe["guide"]:
        cure = "leave out --layer and --guide"
        raise DreamError(f"--objective names its own layers and guides; {cure}")
    return parse(recipe["objective"], find)


def layer_of(recipe: Recipe, net: Net) -> str:
    """The recipe's layer, or the network's default. Raises DreamError for neither."""
    end = recipe["end"] or net.default_layer
    if not end:
        layers = f"`deepdream layers --model {recipe['model']}` lists them"
        fault = f"{net.model.name} has no default layer"
        raise DreamError(f"{fault}; choose one with --layer ({layers})")
    return end


def settings_of(recipe: Recipe, net: Net, find: Find = or_sample) -> Record:
    """What a picture carries: its recipe, the network and engine, and the
    sha256 of its files. Raises DreamError for one that cannot be read.
    """
    model = recipe["model"]
    is_near = os.path.isdir(model or "") and not os.path.isabs(model)
    about = {"model": model if is_near else net.model.name, **net.engine}
    found = {name: sha256(find(file)) for name, file in all_files(recipe).items()}
    digests = {name: digest for name, digest in found.items() if digest} | identity(net.model)
    if digests:
        about["sha256"] = digests
    return record(recipe, **about)


def _is_same(carried: Record, known: Record | None) -> bool:
    """Whether a picture carries these settings, by any version of this program."""
    if known is None:
        return False
    return _compared(known) == _compared(json.loads(to_json(carried)))


def _compared(carried: Record) -> Record:
    spelled = with_files(carried, lambda _, path: path)  # each objective in the same way
    return with_defaults(spelled) | {"deepdream": ""}


def identity(model: "Model") -> dict[str, str]:
    """What tells a network's weights from others, unless its model.toml does."""
    path = model.weights()
    if model.digest or path is None:
        return {}
    return {"weights": _sha256(path, path.stat().st_mtime_ns)}


@cache
def _sha256(path: Path, changed: int) -> str:
    return sha256(path)


def sha256(file: str | Path) -> str:
    """The sha256 of a file, in hexadecimal; empty for a pipe, whose content
    is gone. Raises DreamError.
    """
    if fault := why_unreadable(file, may_be_pipe=True):
        raise DreamError(f"cannot read {file}: {fault}")
    if Path(file).is_fifo():
        return ""
    try:
        with open(file, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as error:
        raise DreamError(f"cannot read {file}: {reason(error)}") from None
