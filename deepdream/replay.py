"""The way back: from a picture or a film to the recipe that made it."""

import os
import warnings
from pathlib import Path

from .errors import DreamError
from .films import read_keys, read_settings
from .making import sha256
from .pictures import SAMPLES
from .recipe import from_record, with_files
from .settings import Recipe, Record


def read_recipe(path: str | Path) -> tuple[Recipe, Record]:
    """(the recipe, all that it carries) of a picture, a film or a folder of
    frames. Raises DreamError for no recipe, or one that is not allowed.
    """
    # Of the last frame: a film may have been made longer since the first
    frames = Path(path).glob("[0-9]" * 6 + ".png")
    carried = read_settings(max(frames, default=path))
    if "module" in carried:
        name = carried["module"]
        fault = f"{path} cannot be replayed: it was made in Python, with a PyTorch module, {name}"
        raise DreamError(f"{fault}; load that with `load_net(module)`, and call `deepdream` again")
    try:
        recipe = from_record(carried)
        _check_keys(recipe)
    except DreamError as error:
        fault = f"{path} cannot be replayed: {error.args[0]}"
        raise DreamError(fault, error.setting) from None
    return recipe, carried


def _check_keys(recipe: Recipe) -> None:
    """Raise a DreamError for keys that are a path, or not allowed."""
    keys = recipe.get("keys")
    if not keys:
        return
    if not keys.startswith("{"):
        wrong = "is the path of a file; a film carries what its keys say"
        raise DreamError(f"{{setting}} {wrong}", "keys")
    read_keys(keys, recipe)


def locate(recipe: Recipe, carried: Record, path: str | Path) -> Recipe:
    """The recipe of the picture at `path`, with the files that it reads
    found as recorded, or beside the picture, by their sha256; never the
    picture itself.

    Warns about a file that has changed; raises DreamError for one that is not there.
    """
    digests = carried.get("sha256", {})

    def find(name: str, file: str) -> str:
        return _find(file, digests.get(name), Path(path))

    return with_files(recipe, find)


def _find(file: str, digest: str | None, picture: Path) -> str:
    """The path of a file that the picture was made from."""
    given = Path(file)
    folder = picture.parent
    places = given, folder / given, folder / given.name, SAMPLES.get(given.name, given)
    there = [place for place in places if os.path.isfile(place) and not place.samefile(picture)]
    if not there:
        cure = "put that beside it, or run this where that is"
        raise DreamError(f"{picture} was made from {given}, which is not here; {cure}")
    for place in there:
        if digest in (None, sha256(place)):
            return str(place)
    changed = f"{there[0]} is not the same as what {picture} was made from"
    warnings.warn(changed, stacklevel=5)
    return str(there[0])
