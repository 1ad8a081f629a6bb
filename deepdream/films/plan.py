"""From a recipe to a film that can be made."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..dream import OnStep
from ..errors import DreamError
from ..looks import GOALS
from ..making import Find, open_recipe, settings_of
from ..nets.base import Net
from ..pictures import load_image, noise, or_sample, resized
from ..recipe import Recipe
from ..seeing import stations
from ..settings import size_of
from .files import follow_film, is_film, read_film
from .hold import clouds
from .keys import KeyFile, Keys, check_key, to_pixels
from .keys import write as write_keys
from .motion import journey, zoom

PREVIEW_EVERY = 10  # frames
PREVIEW_SIDE = 320  # pixels of the longer side


class Film(NamedTuple):
    """A film to be made by `resume.make_film`: what it carries, how many frames it has,
    and how they are made.

    make: with `on_step` as its first argument filled in, what `make_film` takes.
    """

    settings: dict[str, Any]
    frames: int
    make: Callable[..., Iterator[tuple]]


def plan_film(recipe: Recipe) -> Film:
    """The film of a recipe of the command `zoom` or `journey`; for a preview, a smaller
    and shorter one.
    """
    image, recipe = _begin_film(recipe)
    keys = KeyFile(recipe["keys"], recipe) if recipe.get("keys") else None
    if keys:
        recipe = recipe | {"keys": write_keys(keys.keys)}
    net, recipe, params = open_recipe(recipe)
    if keys:
        params["keys"] = _resolve(keys, recipe, net, image, params)
    names = ("frames_per_layer", "cross_fade") if recipe["command"] == "journey" else ("frames",)
    params |= {
        name: recipe[name]
        for name in (*names, "scale", "rotate", "shift", "to", "seed", "hold", "loop")
    }
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

    def make(
        on_step: OnStep, done: int, frame: np.ndarray = image, first: np.ndarray | None = None
    ) -> Iterator[tuple]:
        for picture in film(net, frame=frame, first=first, done=done, on_step=on_step, **params):
            first = picture if first is None else first
            yield (picture, first) if needs_first else (picture,)  # what the next frame needs

    return Film(carried, frames, make)


def _begin_film(recipe: Recipe) -> tuple[np.ndarray, Recipe]:
    """(what a film begins with, (H, W, 3); the recipe with its size)"""
    is_journey = recipe["command"] == "journey"
    if is_journey and (
        (recipe["size"] and recipe["image"]) or (recipe["width"] and not recipe["image"])
    ):
        raise DreamError(
            "--size is for a journey from noise, --width for one from a picture, IN; leave out the other"
        )
    if recipe["image"]:
        image = load_image(or_sample(recipe["image"]), recipe["width"])
        return image, recipe | {"width": image.shape[1]}
    recipe = recipe | {"size": recipe["size"] or "640x360"}
    return noise(size_of(recipe["size"]), recipe["seed"]), recipe


def _resolve(
    keys: KeyFile, recipe: Recipe, net: Net, image: np.ndarray, base: dict[str, Any]
) -> Keys:
    """The keys of a film as `zoom` takes them: objectives and masks in place of words
    and paths; all are checked.

    base: what `deepdream` takes without them.
    """
    resolved: Keys = {}
    for frame, given in keys.keys.items():
        with keys.line(frame):
            _, _, params = open_recipe(recipe | given, net)
            goal = {
                name: params[name]
                for name in ("end", "objective")
                if name in params and given.keys() & {*GOALS}
            }
            rest = {
                name: params.get(name, value) for name, value in given.items() if name not in GOALS
            }
            resolved[frame] = rest | goal
            check_key(net, image, frame, resolved[frame], base)
    return resolved


def open_video(recipe: Recipe, find: Find = or_sample) -> tuple[Net, Recipe, dict[str, Any]]:
    """As `open_recipe`, of a recipe of the command `video`: of a mask or guide that is a
    film the path, for `dream_video`, once its first frame was decoded.
    """
    films = {}
    for name in ("mask", "guide"):
        is_free = name == "mask" or recipe["objective"] is None
        path = find(recipe[name]) if recipe[name] and is_free else ""
        if path and is_film(path):
            next(follow_film(path))
            films[name] = path
    net, opened, params = open_recipe(recipe | dict.fromkeys(films), find=find)
    return net, opened | {name: recipe[name] for name in films}, params | films


def preview_video(recipe: Recipe, params: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """(a recipe of the command `video`; what `deepdream` takes) for its preview."""
    first = next(read_film(recipe["source"], recipe["start"], width=recipe["width"]))
    small, params = _shrink(first, params)
    return recipe | {"width": small.shape[1], "stride": recipe["stride"] * PREVIEW_EVERY}, params


def _shrink(image: np.ndarray, params: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """(the picture; the parameters of `zoom` or `journey`) for a film at the size of a
    preview.

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
