"""From a recipe and a network to a picture, or a film's frames, and the settings that it carries."""

import hashlib
import json
import math
import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .draw import draw
from .dream import OnStep, Step, deepdream, fit_brightness
from .engines import load_net
from .errors import DreamError, reason, why_unreadable
from .films import follow_film, is_film, read_film, read_settings
from .hold import clouds
from .keys import KeyFile, Keys
from .keys import write as write_keys
from .looks import GOALS
from .motion import check_key, journey, noise, stations, to_pixels, zoom
from .net import Net
from .objectives import Objective, guide_features, objective_guide, parse, to_objective
from .objectives import guide as guide_objective
from .pictures import SAMPLES, grey, load_guide, load_image, or_sample, resized, sheet, to_json
from .recipe import NETWORK, Recipe, all_files, from_record, record, settings, size_of, with_defaults, with_files

PREVIEW_EVERY = 10  # frames
PREVIEW_SIDE = 320  # pixels of the longer side

Find = Callable[[str], str]  # from a file's name in a recipe to its path


def open_net(recipe: Recipe) -> Net:
    """The network that the recipe names."""
    return load_net(*(recipe[name] for name in NETWORK))


def make_dream(recipe: Recipe, net: Net | None = None, on_step: OnStep | None = None, find: Find = or_sample,
               known: dict[str, Any] | None = None) -> tuple[np.ndarray | None, dict[str, Any]]:  # fmt: skip
    """(the picture (H, W, 3), the settings that it carries) of a recipe of the command `dream`.

    net: the recipe's network, if it is already loaded. find: from a file's name in the recipe to its path. known: the
    settings of a picture that is already there; if this one would carry the same, it is not made, and the answer is
    (None, settings).
    """
    if bool(recipe["size"]) == bool(recipe["image"]):
        either = "a picture, IN, or noise of a --size, such as 640x360"
        raise DreamError(f"a dream begins with {either}; give one of the two")
    if recipe["size"] and recipe["width"]:
        raise DreamError("--width is for a picture; noise has a --size; leave out one of the two")
    if recipe["seed"] is None:
        recipe = recipe | {"seed": secrets.randbelow(2**32)}  # recorded, so that the picture can be made again
    if recipe["image"]:
        # Its values are whole numbers, and it is kept until the dream is finished: bytes take a quarter of the memory.
        image = load_image(find(recipe["image"]), recipe["width"]).astype(np.uint8)
        recipe = recipe | {"width": image.shape[1]}
    else:
        image = noise(size_of(recipe["size"]), recipe["seed"])
    net, recipe, params = prepare(recipe, net, find)
    carried = settings_of(recipe, net, find)
    if _same(carried, known):
        return None, carried
    dream = deepdream(net, image, seed=recipe["seed"], on_step=on_step, **params)
    return fit_brightness(dream, recipe["clip"]), carried


def dream_job(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """The job of one dream, for `batch.dream_many`, with what this recipe of another command says of it."""
    names = settings("dream").keys() & recipe.keys()
    return {"command": "dream"} | {name: recipe[name] for name in sorted(names) if recipe[name] is not None} | more


def make_drawing(recipe: Recipe, net: Net | None = None, on_step: OnStep | None = None,
                 known: dict[str, Any] | None = None) -> tuple[np.ndarray | None, dict[str, Any]]:  # fmt: skip
    """As `make_dream`, for the command `draw`; of several things, or several pictures of one, it makes a sheet.

    If it is stopped, the sheet and its settings hold what was drawn so far.
    """
    objectives, several = [to_objective(what) for what in recipe["draw"]], recipe["several"]
    net = net or open_net(recipe)
    carried = settings_of(recipe, net)
    if _same(carried, known):
        return None, carried
    for objective in objectives:
        objective.bind(net)  # refuses a class or channel that the network lacks before the first is drawn
    pictures: list[np.ndarray] = []
    steps: list[Step] = []  # the last one of each drawing

    def on_each(step: Step) -> object:
        steps[len(pictures) :] = [step]
        share = (len(pictures) + step.done) / len(objectives)
        return on_step(step._replace(done=share)) if on_step else None

    for objective in objectives:
        picture = draw(net, objective, recipe["steps"], recipe["seed"], on_each, several, recipe["size"])
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


class Film(NamedTuple):
    """A film to be made by `resume.make_film`: what it carries, how many frames it has, and how they are made.

    make: with `on_step` as its first argument filled in, what `make_film` takes.
    """

    settings: dict[str, Any]
    frames: int
    make: Callable[..., Iterator[tuple]]


def plan_film(recipe: Recipe) -> Film:
    """The film of a recipe of the command `zoom` or `journey`; for a preview, a smaller and shorter one."""
    image, recipe = _begin_film(recipe)
    keys = KeyFile(recipe["keys"], recipe) if recipe.get("keys") else None
    if keys:
        recipe = recipe | {"keys": write_keys(keys.keys)}
    net, recipe, params = prepare(recipe)
    if keys:
        params["keys"] = _resolve(keys, recipe, net, image, params)
    names = ("frames_per_layer", "cross_fade") if recipe["command"] == "journey" else ("frames",)
    params |= {name: recipe[name] for name in (*names, "scale", "rotate", "shift", "to", "seed", "hold", "loop")}
    if recipe["command"] == "journey":
        layers = recipe["layers"]
        if layers not in (None, "all"):
            layers = [name.strip() for name in layers.split(",") if name.strip()]
        params["layers"] = stations(net, layers, recipe["down"])
        params["like"] = None if recipe["image"] else clouds(image.shape[:2], recipe["seed"])
        recipe = recipe | {"layers": ",".join(params["layers"])}
        film, frames = journey, len(params["layers"]) * recipe["frames_per_layer"]
    else:
        film, frames = zoom, recipe["frames"]
    if keys and max(keys.keys) >= frames:
        late = f"the last key is at frame {max(keys.keys)}, and the film ends before it; give more --frames"
        warnings.warn(late, stacklevel=2)
    carried = settings_of(recipe, net)
    if recipe["preview"]:
        image, params = _shrink(image, params)
        params["every"] = PREVIEW_EVERY
        carried["preview"], frames = True, math.ceil(frames / PREVIEW_EVERY)

    needs_first = recipe["loop"] or (recipe["hold"] and params.get("like") is None)

    def make(on_step: OnStep, done: int, frame: np.ndarray = image, first: np.ndarray | None = None) -> Iterator[tuple]:
        for picture in film(net, frame=frame, first=first, done=done, on_step=on_step, **params):
            first = picture if first is None else first
            yield (picture, first) if needs_first else (picture,)  # what the next frame needs

    return Film(carried, frames, make)


def _begin_film(recipe: Recipe) -> tuple[np.ndarray, Recipe]:
    """(what a film begins with, (H, W, 3); the recipe with its size)"""
    is_journey = recipe["command"] == "journey"
    if is_journey and ((recipe["size"] and recipe["image"]) or (recipe["width"] and not recipe["image"])):
        raise DreamError("--size is for a journey from noise, --width for one from a picture, IN; leave out the other")
    if recipe["image"]:
        image = load_image(or_sample(recipe["image"]), recipe["width"])
        return image, recipe | {"width": image.shape[1]}
    recipe = recipe | {"size": recipe["size"] or "640x360"}
    return noise(size_of(recipe["size"]), recipe["seed"]), recipe


def _resolve(keys: KeyFile, recipe: Recipe, net: Net, image: np.ndarray, base: dict[str, Any]) -> Keys:
    """The keys of a film as `zoom` takes them: objectives and masks in place of words and paths; all are checked.

    base: what `deepdream` takes without them.
    """
    resolved: Keys = {}
    for frame, given in keys.keys.items():
        with keys.line(frame):
            _, _, params = prepare(recipe | given, net)
            goal = {name: params[name] for name in ("end", "objective") if name in params and given.keys() & {*GOALS}}
            rest = {name: params.get(name, value) for name, value in given.items() if name not in GOALS}
            resolved[frame] = rest | goal
            check_key(net, image, frame, resolved[frame], base)
    return resolved


def preview_video(recipe: Recipe, params: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """(a recipe of the command `video`; what `deepdream` takes) for its preview."""
    first = next(read_film(recipe["source"], recipe["start"], width=recipe["width"]))
    small, params = _shrink(first, params)
    return recipe | {"width": small.shape[1], "stride": recipe["stride"] * PREVIEW_EVERY}, params


def _shrink(image: np.ndarray, params: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """(the picture; the parameters of `zoom` or `journey`) for a film at the size of a preview.

    The octaves that are as small as that remain.
    """
    by = max(1.0, max(image.shape[:2]) / PREVIEW_SIDE)
    height, width = image.shape[:2]

    def shrink(given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        scale = given.get("octave_scale", params["octave_scale"])
        if "octave_n" in given:
            given["octave_n"] = max(1, given["octave_n"] - round(math.log(by) / math.log(scale)))
        if "shift" in given:
            given["shift"] = [pixels / by for pixels in given["shift"]]
        if given.get("to"):
            down, right = to_pixels(given["to"], (height, width))
            given["to"] = [right / width, down / height]
        return given

    small = max(1, round(height / by)), max(1, round(width / by))
    params = shrink(params)
    if "keys" in params:
        params["keys"] = {frame: shrink(key) for frame, key in params["keys"].items()}
    return resized(image, *small), params


def prepare(recipe: Recipe, net: Net | None = None,
            find: Find = or_sample) -> tuple[Net, Recipe, dict[str, Any]]:  # fmt: skip
    """(the network; the recipe, with the layer that it climbs; what `deepdream` takes besides the picture and seed).

    Of a mask or guide that is a film, it is the path, for `dream_video`. The network is loaded if none is given, after
    all that can be refused without one.
    """
    rows = settings(recipe["command"])
    params = {name: recipe[name] for name, row in rows.items() if row.passed}
    params["mask"] = _read_or_follow(recipe, "mask", find, grey)
    if recipe["command"] == "journey":  # it has layers of its own
        return net or open_net(recipe), recipe, params
    if recipe["objective"] is not None:
        params["objective"] = objective_of(recipe, find)
        return net or open_net(recipe), recipe, params
    guide = _read_or_follow(recipe, "guide", find, load_guide)
    net = net or open_net(recipe)
    params["end"] = end = layer_of(recipe, net)
    if isinstance(guide, str):
        params["guide"] = guide
    elif guide is not None and recipe.get("keys"):
        params["objective"] = guide_objective(end, guide)  # the same, and it can fade into another
    elif guide is not None:
        params["objective"] = partial(objective_guide, guide_features=guide_features(net, guide, end))
    return net, recipe | {"end": end}, params


def _read_or_follow(recipe: Recipe, name: str, find: Find,
                    read: Callable[[str], np.ndarray]) -> np.ndarray | str | None:  # fmt: skip
    """The mask or guide of a recipe, read; for a video, of a film its path, once its first frame was decoded."""
    if not recipe[name]:
        return None
    path = find(recipe[name])
    if recipe["command"] != "video" or not is_film(path):
        return read(path)
    next(follow_film(path))
    return path


def objective_of(recipe: Recipe, find: Callable[[str], str | None]) -> Objective:
    """The objective that the recipe has in words. find: as for `parse`."""
    if recipe["end"] or recipe["guide"]:
        raise DreamError("--objective names its own layers and guides; leave out --layer and --guide")
    return parse(recipe["objective"], find)


def layer_of(recipe: Recipe, net: Net) -> str:
    """The layer that the recipe climbs, its own or the network's default."""
    end = recipe["end"] or net.default_layer
    if not end:
        layers = f"`deepdream layers --model {recipe['model']}`"
        raise DreamError(f"{net.model.name} has no default layer; choose one with --layer ({layers} lists them)")
    return end


def settings_of(recipe: Recipe, net: Net, find: Find = or_sample) -> dict[str, Any]:
    """What a picture carries: its recipe, the network and engine, and the sha256 of the files it was made from."""
    model = recipe["model"]
    near = os.path.isdir(model or "") and not os.path.isabs(model)
    about = {"model": model if near else net.model.name, **net.engine}
    found = {name: sha256(find(file)) for name, file in all_files(recipe).items()}
    digests = {name: digest for name, digest in found.items() if digest} | identity(net.model)
    if digests:
        about["sha256"] = digests
    return record(recipe, **about)


def _same(carried: dict[str, Any], known: dict[str, Any] | None) -> bool:
    """Whether a picture carries these settings; which version of this program made it does not count."""
    if known is None:
        return False
    plain = json.loads(to_json(carried))
    return with_defaults(known) | {"deepdream": ""} == with_defaults(plain) | {"deepdream": ""}


def identity(model: Any) -> dict[str, str]:
    """What tells a network's weights from others of the same name; empty if its model.toml has their digest."""
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


def read_recipe(path: str | Path) -> tuple[Recipe, dict[str, Any]]:
    """(the recipe, all settings) of a picture, a film or a folder of frames. Raises DreamError where there is none."""
    frames = Path(path).glob("[0-9]" * 6 + ".png")
    carried = read_settings(max(frames, default=path))  # of the last frame: a film may have been made longer since
    try:
        recipe = from_record(carried)
        if recipe.get("keys"):
            if not recipe["keys"].startswith("{"):
                raise DreamError("{setting} is the path of a file; a film carries what its keys say", "keys")
            KeyFile(recipe["keys"], recipe)
        return recipe, carried
    except DreamError as error:
        raise DreamError(f"{path} cannot be replayed: {error.args[0]}", error.setting) from None


def locate(recipe: Recipe, carried: dict[str, Any], path: str | Path) -> Recipe:
    """The recipe of the picture at `path`, with the files that it reads found: as recorded, or beside the picture.

    Of several files by that name, the one with the recorded sha256 is taken, and never the picture itself. Warns about
    a file that has changed since; raises DreamError for one that is not there.
    """
    digests = carried.get("sha256")

    def find(name: str, file: str) -> str:
        given, beside = Path(file), Path(path).parent
        places = given, beside / given, beside / given.name, SAMPLES.get(given.name, given)
        there = [place for place in places if os.path.isfile(place) and not place.samefile(path)]
        if not there:
            cure = "put that beside it, or run this where that is"
            raise DreamError(f"{path} was made from {given}, which is not here; {cure}")
        digest = digests.get(name) if isinstance(digests, dict) else None
        same = next((place for place in there if digest in (None, sha256(place))), None)
        if same is None:
            warnings.warn(f"{there[0]} is not the same as what {path} was made from", stacklevel=4)
        return str(same or there[0])

    return with_files(recipe, find)
