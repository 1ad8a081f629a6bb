"""From a recipe to a film that can be made: zoom, journey and video alike."""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ..dream import OnStep
from ..errors import DreamError
from ..looks import GOALS
from ..making import Find, open_net, open_recipe, settings_of
from ..nets.base import Net
from ..pictures import load_image, make_noise, or_sample, read_mask, resize
from ..seeing import stations
from ..settings import ROWS, Params, Recipe, arguments, size_of
from .files import follow_film, is_film, read_film
from .hold import clouds
from .keyfile import KeyFile
from .keys import Keys, check_key, to_pixels
from .make import Film
from .motion import journey, zoom
from .video import Footage

PREVIEW_EVERY = 10  # frames
PREVIEW_SIDE = 320  # pixels of the longer side
PREVIEW = "-preview"  # in its name
Frames = Callable[..., Iterator[np.ndarray]]


def plan(recipe: Recipe, find: Find = or_sample, net: Net | None = None) -> Film:
    """The film of a recipe of `zoom`, `journey` or `video`, or its preview.

    find: from a file's name to its path. net: the recipe's, if it is
    loaded. Raises DreamError for what cannot be made.
    """
    kinds = {"zoom": _plan_zoom, "journey": _plan_journey, "video": _plan_video}
    return kinds[recipe["command"]](recipe, find, net)


def fps_of(recipe: Recipe, find: Find = or_sample) -> float | Fraction:
    """The frames a second of a recipe's film. Raises DreamError for what is no film."""
    if recipe["command"] == "video":
        fps = Footage(find(recipe["source"]), **arguments(recipe, "read_film")).fps
    else:
        fps = recipe["fps"]
    if recipe["preview"]:  # lasts as long as the film
        return max(fps / PREVIEW_EVERY, ROWS["fps"].low or 0)
    return fps


def preview_path(out: str) -> str:
    """Where the preview of the film at `out` is made: film-preview.mp4 for film.mp4."""
    name, suffix = os.path.splitext(out.rstrip("/"))
    return f"{name}{PREVIEW}{suffix}"


def film_of_preview(path: str | Path) -> Path:
    """The path of the film whose preview is at this path."""
    name, suffix = os.path.splitext(path)
    return Path(f"{name.removesuffix(PREVIEW)}{suffix}")


def _plan_zoom(recipe: Recipe, find: Find, net: Net | None) -> Film:
    image, recipe = _load_first(recipe, find)
    keys = KeyFile(recipe["keys"], recipe) if recipe["keys"] else None
    if keys:
        recipe = recipe | {"keys": keys.to_json()}
    net, recipe, params = open_recipe(recipe, net, find)
    if keys:
        params["keys"] = _resolve(keys, recipe, net, image, params, find)
        latest = max(keys.keys)
        if latest >= recipe["frames"]:
            late = f"the last key is at frame {latest}, and the film ends before it"
            warnings.warn(f"{late}; give more --frames", stacklevel=3)
    params |= arguments(recipe, "zoom")
    return _prepare_film(zoom, net, image, recipe, find, params, recipe["frames"])


def _plan_journey(recipe: Recipe, find: Find, net: Net | None) -> Film:
    image, recipe = _load_first(recipe, find)
    params: Params = {}
    for function in ("deepdream", "zoom", "journey"):
        params |= arguments(recipe, function)
    params["mask"] = read_mask(find(recipe["mask"])) if recipe["mask"] else None
    net = net or open_net(recipe)
    layers = recipe["layers"]
    if layers not in (None, "all"):
        layers = [name.strip() for name in layers.split(",") if name.strip()]
    layers = stations(net, layers, **arguments(recipe, "stations"))
    recipe = recipe | {"layers": ",".join(layers)}
    like = None if recipe["image"] else clouds(image.shape[:2], recipe["seed"])
    params |= {"layers": layers, "like": like}
    frames = len(layers) * recipe["frames_per_layer"]
    return _prepare_film(journey, net, image, recipe, find, params, frames)


def _load_first(recipe: Recipe, find: Find) -> tuple[np.ndarray, Recipe]:
    """(what a film begins with, (H, W, 3); the recipe with its size)"""
    if recipe["command"] == "journey":
        other = recipe["size"] if recipe["image"] else recipe["width"]
        if other:
            rule = "--size is for a journey from noise, --width for one from a picture, IN"
            raise DreamError(f"{rule}; leave out the other")
    if recipe["image"]:
        image = load_image(find(recipe["image"]), recipe["width"])
        return image, recipe | {"width": image.shape[1]}
    recipe = recipe | {"size": recipe["size"] or "640x360"}
    return make_noise(size_of(recipe["size"]), recipe["seed"]), recipe


def _resolve(
    keys: KeyFile, recipe: Recipe, net: Net, image: np.ndarray, base: Params, find: Find
) -> Keys:
    """The keys as `zoom` takes them, checked; base: for `deepdream` without them."""
    resolved: Keys = {}
    for frame, given in keys.keys.items():
        with keys.naming(frame):
            _, _, params = open_recipe(recipe | given, net, find)
            names = given.keys() - {*GOALS}
            key = {name: params.get(name, given[name]) for name in given if name in names}
            if given.keys() != names:
                goals = params.keys() & {"end", "objective"}
                key |= {name: params[name] for name in goals}
            check_key(net, image, frame, key, base)
        resolved[frame] = key
    return resolved


def _prepare_film(
    make: Frames, net: Net, image: np.ndarray, recipe: Recipe, find: Find, params: Params,
    frames: int,
) -> Film:  # fmt: skip
    carried = settings_of(recipe, net, find)
    if recipe["preview"]:
        image, params = _shrink(image, params)
        params["every"] = PREVIEW_EVERY
        carried["preview"] = True
        frames = math.ceil(frames / PREVIEW_EVERY)
    needs_first = recipe["loop"] or bool(recipe["hold"] and params.get("like") is None)
    frames_of = partial(_make_frames, partial(make, net, **params), image, needs_first)
    writing = arguments(recipe, "make_film")
    return Film(carried, frames, frames, fps_of(recipe), frames_of, writing=writing)


def _make_frames(
    make: Frames, image: np.ndarray, needs_first: bool, on_step: OnStep | None, done: int,
    last: np.ndarray | None = None, first: np.ndarray | None = None,
) -> Iterator[tuple]:  # fmt: skip
    """The frames after those that are done, each with what the next one needs."""
    frame = image if last is None else last
    for picture in make(frame=frame, first=first, done=done, on_step=on_step):
        first = picture if first is None else first
        yield (picture, first) if needs_first else (picture,)


def _plan_video(recipe: Recipe, find: Find, net: Net | None) -> Film:
    part = arguments(recipe, "read_film")
    footage = Footage(find(recipe["source"]), **part)
    films = _find_films(recipe, find)
    net, prepared, params = open_recipe(recipe | dict.fromkeys(films), net, find)
    recipe = prepared | {name: recipe[name] for name in films}
    params |= films | arguments(recipe, "steady")
    carried = settings_of(recipe, net, find)
    if recipe["preview"]:
        carried["preview"] = True
        first = next(read_film(footage.path, part["start"], width=part["width"]))
        small, params = _shrink(first, params)
        part |= {"width": small.shape[1], "stride": part["stride"] * PREVIEW_EVERY}
        footage = Footage(footage.path, **part)
    return footage.film(net, params, carried, **arguments(recipe, "make_film"))


def _find_films(recipe: Recipe, find: Find) -> dict[str, str]:
    """{name: path} of a mask and guide that are films and can be decoded."""
    films = {}
    for name in ("mask", "guide"):
        # `open_recipe` refuses a guide beside an objective
        path = find(recipe[name]) if recipe[name] else ""
        if is_film(path) and not (name == "guide" and recipe["objective"]):
            next(follow_film(path))
            films[name] = path
    return films


def _shrink(image: np.ndarray, params: Params) -> tuple[np.ndarray, Params]:
    """(the picture, the parameters) of a preview; octaves as small as that stay."""
    height, width = image.shape[:2]
    by = max(1.0, max(height, width) / PREVIEW_SIDE)

    def shrink(given: Params) -> Params:
        given = dict(given)
        if "octave_n" in given:
            scale = given.get("octave_scale", params["octave_scale"])
            fewer = round(math.log(by) / math.log(scale))
            given["octave_n"] = max(1, given["octave_n"] - fewer)
        if "shift" in given:
            given["shift"] = [pixels / by for pixels in given["shift"]]
        if given.get("to"):
            down, right = to_pixels(given["to"], (height, width))
            given["to"] = [right / width, down / height]
        return given

    small = resize(image, max(1, round(height / by)), max(1, round(width / by)))
    shrunk = shrink(params)
    if "keys" in shrunk:
        shrunk["keys"] = {frame: shrink(key) for frame, key in shrunk["keys"].items()}
    return small, shrunk
