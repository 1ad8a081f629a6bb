"""From a recipe and a network to a picture, or a film's frames, and the settings that
it carries.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from .algebra import Objective
from .drawing import draw
from .dream import OnStep, Step, deepdream, fit_brightness
from .errors import DreamError, reason
from .language import parse, to_objective
from .nets.base import Net
from .nets.engines import load_net
from .objectives import guide as guide_objective
from .objectives import guide_features, objective_guide
from .paths import why_unreadable
from .pictures import grey, load_guide, load_image, noise, or_sample, sheet, to_json
from .recipe import Recipe, all_files, record, with_defaults
from .settings import NETWORK, arguments, rows_of, size_of

Find = Callable[[str], str]  # from a file's name in a recipe to its path


def open_net(recipe: Recipe) -> Net:
    """The network that the recipe names."""
    return load_net(*(recipe[name] for name in NETWORK))


def make_dream(
    recipe: Recipe,
    net: Net | None = None,
    on_step: OnStep | None = None,
    find: Find = or_sample,
    known: dict[str, Any] | None = None,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """(the picture (H, W, 3), the settings that it carries) of a recipe of the command
    `dream`.

    net: the recipe's network, if it is already loaded. find: from a file's name in the
    recipe to its path. known: the settings of a picture that is already there; if this
    one would carry the same, it is not made, and the answer is (None, settings).
    """
    if bool(recipe["size"]) == bool(recipe["image"]):
        either = "a picture, IN, or noise of a --size, such as 640x360"
        raise DreamError(f"a dream begins with {either}; give one of the two")
    if recipe["size"] and recipe["width"]:
        raise DreamError("--width is for a picture; noise has a --size; leave out one of the two")
    if recipe["seed"] is None:
        recipe = recipe | {
            "seed": secrets.randbelow(2**32)
        }  # recorded, so that the picture can be made again
    if recipe["image"]:
        # Its values are whole numbers, and it is kept until the dream is finished:
        # bytes take a quarter of the memory.
        image = load_image(find(recipe["image"]), recipe["width"]).astype(np.uint8)
        recipe = recipe | {"width": image.shape[1]}
    else:
        image = noise(size_of(recipe["size"]), recipe["seed"])
    net, recipe, params = prepare(recipe, net, find)
    carried = settings_of(recipe, net, find)
    if _same(carried, known):
        return None, carried
    dream = deepdream(net, image, on_step=on_step, **params)
    return fit_brightness(dream, recipe["clip"]), carried


def dream_job(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """The job of one dream, for `batch.dream_many`, with what this recipe of another
    command says of it.
    """
    names = rows_of("dream").keys() & recipe.keys()
    return (
        {"command": "dream"}
        | {name: recipe[name] for name in sorted(names) if recipe[name] is not None}
        | more
    )


def make_drawing(
    recipe: Recipe,
    net: Net | None = None,
    on_step: OnStep | None = None,
    known: dict[str, Any] | None = None,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """As `make_dream`, for the command `draw`; of several things, or several pictures
    of one, it makes a sheet.

    If it is stopped, the sheet and its settings hold what was drawn so far.
    """
    objectives, several = [to_objective(what) for what in recipe["draw"]], recipe["several"]
    net = net or open_net(recipe)
    carried = settings_of(recipe, net)
    if _same(carried, known):
        return None, carried
    for objective in objectives:
        objective.layers_in(
            net
        )  # refuses a class or channel that the network lacks before the first is drawn
    pictures: list[np.ndarray] = []
    steps: list[Step] = []  # the last one of each drawing

    def on_each(step: Step) -> object:
        steps[len(pictures) :] = [step]
        share = (len(pictures) + step.done) / len(objectives)
        return on_step(step._replace(done=share)) if on_step else None

    for objective in objectives:
        picture = draw(
            net, objective, recipe["steps"], recipe["seed"], on_each, several, recipe["size"]
        )
        if steps[-1].done or not pictures:
            pictures.append(picture)
        if steps[-1].stopped:
            break
    carried["draw"] = carried["draw"][: len(pictures)]
    if several > 1:  # a line of the sheet for each thing
        labels = [f"{what} {i + 1}" for what in carried["draw"] for i in range(several)]
        columns = several if len(pictures) > 1 else None
        return sheet([face for faces in pictures for face in faces], labels, columns), carried
    return sheet(pictures, carried["draw"]) if len(pictures) > 1 else pictures[0], carried


def prepare(
    recipe: Recipe, net: Net | None = None, find: Find = or_sample
) -> tuple[Net, Recipe, dict[str, Any]]:
    """(the network; the recipe, with the layer that it climbs; what `deepdream` takes
    besides the picture and seed).

    The network is loaded if none is given, after all that can be refused without one.
    """
    params = arguments(recipe, "deepdream")
    params["mask"] = grey(find(recipe["mask"])) if recipe["mask"] else None
    if recipe["command"] == "journey":  # it has layers of its own
        return net or open_net(recipe), recipe, params
    if recipe["objective"] is not None:
        params["objective"] = objective_of(recipe, find)
        return net or open_net(recipe), recipe, params
    guide = load_guide(find(recipe["guide"])) if recipe["guide"] else None
    net = net or open_net(recipe)
    params["end"] = end = layer_of(recipe, net)
    if guide is not None and recipe.get("keys"):
        params["objective"] = guide_objective(end, guide)  # the same, and it can fade into another
    elif guide is not None:
        params["objective"] = partial(
            objective_guide, guide_features=guide_features(net, guide, end)
        )
    return net, recipe | {"end": end}, params


def objective_of(recipe: Recipe, find: Callable[[str], str | None]) -> Objective:
    """The objective that the recipe has in words. find: as for `parse`."""
    if recipe["end"] or recipe["guide"]:
        raise DreamError(
            "--objective names its own layers and guides; leave out --layer and --guide"
        )
    return parse(recipe["objective"], find)


def layer_of(recipe: Recipe, net: Net) -> str:
    """The layer that the recipe climbs, its own or the network's default."""
    end = recipe["end"] or net.default_layer
    if not end:
        layers = f"`deepdream layers --model {recipe['model']}`"
        raise DreamError(
            f"{net.model.name} has no default layer; choose one with --layer ({layers} lists them)"
        )
    return end


def settings_of(recipe: Recipe, net: Net, find: Find = or_sample) -> dict[str, Any]:
    """What a picture carries: its recipe, the network and engine, and the sha256 of the
    files it was made from.
    """
    model = recipe["model"]
    near = os.path.isdir(model or "") and not os.path.isabs(model)
    about = {"model": model if near else net.model.name, **net.engine}
    found = {name: sha256(find(file)) for name, file in all_files(recipe).items()}
    digests = {name: digest for name, digest in found.items() if digest} | identity(net.model)
    if digests:
        about["sha256"] = digests
    return record(recipe, **about)


def _same(carried: dict[str, Any], known: dict[str, Any] | None) -> bool:
    """Whether a picture carries these settings; which version of this program made it
    does not count.
    """
    if known is None:
        return False
    plain = json.loads(to_json(carried))
    return with_defaults(known) | {"deepdream": ""} == with_defaults(plain) | {"deepdream": ""}


def identity(model: Any) -> dict[str, str]:
    """What tells a network's weights from others of the same name; empty if its
    model.toml has their digest.
    """
    if model.digest:
        return {}
    path = model.file(".caffemodel")
    return {"weights": _sha256(path, path.stat().st_mtime_ns)}


@cache
def _sha256(path: Path, changed: int) -> str:
    return sha256(path)


def sha256(file: str | Path) -> str:
    """The sha256 of a file, in hexadecimal; empty for a pipe, whose content is gone."""
    if fault := why_unreadable(file, may_be_pipe=True):
        raise DreamError(f"cannot read {file}: {fault}")
    if Path(file).is_fifo():
        return ""
    try:
        with open(file, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as error:
        raise DreamError(f"cannot read {file}: {reason(error)}") from None
