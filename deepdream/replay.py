"""The way back: from a picture or a film to the recipe that made it."""

import os
import warnings
from pathlib import Path
from typing import Any

from .errors import DreamError
from .films import read_keys, read_settings
from .making import sha256
from .pictures import SAMPLES
from .recipe import Recipe, from_record, with_files


def read_recipe(path: str | Path) -> tuple[Recipe, dict[str, Any]]:
    """(the recipe, all settings) of a picture, a film or a folder of frames. Raises
    DreamError where there is none.
    """
    frames = Path(path).glob("[0-9]" * 6 + ".png")
    carried = read_settings(
        max(frames, default=path)
    )  # of the last frame: a film may have been made longer since
    try:
        recipe = from_record(carried)
        if recipe.get("keys"):
            if not recipe["keys"].startswith("{"):
                raise DreamError(
                    "{setting} is the path of a file; a film carries what its keys say", "keys"
                )
            read_keys(recipe["keys"], recipe)
        return recipe, carried
    except DreamError as error:
        raise DreamError(f"{path} cannot be replayed: {error.args[0]}", error.setting) from None


def locate(recipe: Recipe, carried: dict[str, Any], path: str | Path) -> Recipe:
    """The recipe of the picture at `path`, with the files that it reads found: as
    recorded, or beside the picture.

    Of several files by that name, the one with the recorded sha256 is taken, and never
    the picture itself. Warns about a file that has changed since; raises DreamError for
    one that is not there.
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
