"""Jobs: pictures that are made many at once, and what is checked before the first.

A job is the settings of one picture and its place: {"image": "a.jpg",
"end": "conv2/3x3", "out": "b.png"} or {"command": "draw", "draw":
["banana"], "out": "c.png"}. Files are paths that every worker can see, or
URLs that fsspec knows. Settings left out have the command line's defaults,
and the seed 0.
"""

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import looks
from .errors import DreamError, in_words, reason
from .making import layer_of, objective_of
from .nets import download, inputs, zoo
from .nets.base import Net
from .objectives import L2
from .paths import check_folder, is_local
from .pictures import WRITABLE, is_picture, load_guide, load_image, or_sample, read_mask
from .recipe import all_files, command_of, with_files
from .settings import File, Recipe, check, rows_of

Job = dict[str, Any]


def make_job(recipe: Recipe, command: str, out: str, **more: object) -> Job:
    """The job of one picture of `dream` or `draw`, as another's recipe says."""
    names = sorted(rows_of(command).keys() & recipe.keys())
    says = {name: recipe[name] for name in names if recipe[name] is not None}
    return {"command": command} | says | more | {"out": out}


def batch_jobs(recipe: Recipe, out: str) -> list[Job]:
    """One job for each picture that the command `batch` names; `out` is a
    folder or its URL. Raises DreamError for no pictures, or no place for
    the dreams.
    """
    if is_local(out):
        check_folder(out)
    jobs = []
    for picture in find_pictures(recipe["images"]):
        name = picture.replace("\\", "/").rsplit("/", 1)[-1]
        stem, suffix = os.path.splitext(name)
        suffix = suffix.lower() if suffix.lower() in WRITABLE else ".png"
        path = f"{out.rstrip('/')}/{stem}{suffix}"
        jobs.append(make_job(recipe, "dream", path, image=picture))
    return jobs


def find_pictures(patterns: Iterable[str]) -> list[str]:
    """The pictures that these paths, folders, patterns or URLs name, each
    once, in order. Raises DreamError for a pattern that names none.
    """
    pictures: list[str] = []
    for pattern in patterns:
        found = _find_here(pattern) if is_local(pattern) else _find_there(pattern)
        if not found:
            give = "give paths, folders, or patterns such as 'photos/*.jpg'"
            raise DreamError(f"no picture matches {pattern!r}; {give}")
        pictures += found
    return list(dict.fromkeys(pictures))


def _find_here(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        try:
            names = os.listdir(pattern)
        except OSError as error:
            raise DreamError(f"cannot read the folder {pattern}: {reason(error)}") from None
        return sorted(os.path.join(pattern, name) for name in names if is_picture(name))
    if or_sample(pattern) != pattern:
        return [pattern]
    return sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))


def _find_there(pattern: str) -> list[str]:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(pattern)
        is_folder = fs.isdir(path)
        names = fs.ls(path, detail=False) if is_folder else fs.glob(path)
        found = [name for name in names if is_picture(name) or not is_folder]
        return sorted(map(fs.unstrip_protocol, found))
    except Exception as error:  # each kind of store has errors of its own
        raise DreamError(f"cannot list {pattern}: {in_words(error)}") from None


# Checks


def check_jobs(jobs: Iterable[Job]) -> list[Job]:
    """The jobs as workers, perhaps in other folders, do them: with networks
    and full paths. Raises DreamError for a job that is none, two outputs
    with one name, and an output that some job reads.
    """
    jobs = list(jobs)
    has_all = all(job.get("model") for job in jobs)
    default = "" if has_all else download.default()  # the same for all workers
    jobs = [_complete(job | {"model": job.get("model") or default}) for job in jobs]
    inputs = {path for job in jobs for path in all_files(job).values()}
    outs: dict[str, Job] = {}
    for job in jobs:
        out = job["out"]
        if out in outs:
            both = [str(one.get("image") or one.get("draw")) for one in (outs[out], job)]
            same = f"{' and '.join(both)} would both become {out}"
            raise DreamError(f"{same}; put them into folders of their own")
        if out in inputs:
            cure = "choose another place for the dreams"
            raise DreamError(f"{out} is one of the pictures to dream of; {cure}")
        outs[out] = job
    return jobs


def _complete(job: Job) -> Job:
    """A job with its command, seed, look and full paths."""
    out = job.get("out")
    if not isinstance(out, str) or Path(out).suffix.lower() not in WRITABLE:
        ends = f"it must be a path or URL that ends in {', '.join(WRITABLE)}"
        raise DreamError(f"a job's out is {out!r}; {ends}")
    command = command_of(job)
    if command not in ("dream", "draw"):
        raise DreamError(f"a job's command is {command!r}; it must be dream or draw")
    check("model", job["model"])
    for name, row in rows_of(command).items():
        if row.kind is File:
            check(name, job.get(name))
    job = {"seed": 0} | looks.begin(job) | {"command": command, "out": _full(out)}
    if job["model"] not in zoo.names():  # a folder
        job["model"] = _full(job["model"])
    return with_files(job, lambda _, path: _full(path))


def _full(path: str) -> str:
    return os.path.abspath(or_sample(path)) if is_local(path) else path


def check_common(recipe: Recipe) -> None:
    """Raise a DreamError for what is wrong in the settings that all pictures share."""
    if recipe["workers"] is not None and recipe["scheduler"] is not None:
        wrong = "--workers is for this machine, and a --scheduler has its own"
        raise DreamError(f"{wrong}; leave out one of them")
    loads = {"image": load_image, "mask": read_mask}
    for name, path in all_files(recipe).items():
        if is_local(path):
            loads.get(name, load_guide)(or_sample(path))
    if "end" in recipe and _is_known(recipe):
        _check_goal(recipe, outline(recipe["model"]))


def _is_known(recipe: Recipe) -> bool:
    """Whether it can be told here which network the recipe means."""
    model = recipe["model"]
    if model is None:  # GoogLeNet, or another one if its weights cannot be downloaded
        return zoo.find(zoo.DEFAULT).weights() is not None
    return recipe["scheduler"] is None or model in zoo.names() or os.path.isdir(model)


def _check_goal(recipe: Recipe, net: Net) -> None:
    """Raise a DreamError for a layer, channel or class that this network lacks."""
    ends = recipe["end"] if isinstance(recipe["end"], list) else [recipe["end"]]
    for end in ends:
        one = recipe | {"end": end}
        if one["objective"] is None:
            goal = L2(layer_of(one, net))
        else:
            goal = objective_of(one, lambda path: None)
        goal.layers_in(net)


def outline(model: str | None) -> Net:
    """The network of this name or folder without weights: enough to tell
    what can be climbed. Raises DreamError for one that is not there.
    """
    found = zoo.find(model or download.default())
    net = Net()
    net.adopt(found, inputs.layers(found))
    return net
