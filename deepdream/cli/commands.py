"""Each command is a function of its recipe, in `args.recipe`; a few have none."""

import argparse
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import looks
from .. import recipe as table
from ..errors import DreamError, reason
from ..films import film_of_preview, preview_path, read_keys
from ..pictures import check_output, load_guide, or_sample, save_image, to_json
from ..settings import FILMS, Params, Recipe, Record, arguments, check, size_of
from .parser import IMPORT, parse_replaced
from .terminal import say, warn

if TYPE_CHECKING:
    from ..nets.zoo import Model

Make = Callable[..., tuple[np.ndarray | None, Record]]  # make_dream and its like
Reports = dict[str, Record]  # by the path of the picture


def run(args: argparse.Namespace) -> int:
    """Run a command, unless it would overwrite what it reads; the exit status."""
    recipe = vars(args).get("recipe", {})
    out = vars(args).get("out")
    if recipe.get("preview"):
        args.out = out = preview_path(args.out)
    if recipe and out:
        _check_overwriting(recipe, out)
    return RUN[args.command](args)


def _check_overwriting(recipe: Recipe, out: str) -> None:
    if not os.path.exists(out):
        return
    if recipe.get("keys"):
        recipe = recipe | {"keys": read_keys(recipe["keys"], recipe)}
    for path in map(or_sample, table.all_files(recipe).values()):
        if os.path.exists(path) and os.path.samefile(path, out):
            raise DreamError(f"{out} would be read and overwritten; choose another name for -o")


def _dream(args: argparse.Namespace) -> int:
    from ..making import make_dream

    return _make(args, make_dream)


def _draw(args: argparse.Namespace) -> int:
    from ..making import make_drawing

    return _make(args, make_drawing)


def _looks(args: argparse.Namespace) -> int:
    from ..sheets import make_looks

    image = args.recipe["image"]
    if image and args.out:
        return _make(args, make_looks)
    if image or args.out:
        example = "`deepdream looks photo.jpg -o sheet.jpg`"
        raise DreamError(f"a sheet of looks needs a picture and -o: {example}")
    for look in looks.read().values():
        only = f" (--model {' or '.join(look.only)})" if look.only else ""
        say(f"{look.name:16} {look.about}{only}")
    return 0


def _make(args: argparse.Namespace, make: Make) -> int:
    """Make a picture and save it, finished or as Ctrl-C left it; the exit status."""
    from ..show import Progress

    check_output(args.out)
    with Progress() as progress:
        picture, carried = make(args.recipe, on_step=progress)
    assert picture is not None
    if not progress.stopped:
        save_image(args.out, picture, carried)
        say(args.out)
        return 0
    if not progress.done:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the picture is safe
    save_image(args.out, picture, carried | {"stopped_at": progress.done})
    say(f"{args.out} (stopped at {progress.done:.0%})")
    return 130


def _look(args: argparse.Namespace) -> int:
    from ..making import open_net
    from ..seeing import look, side_by_side

    paths = list(filter(None, (args.recipe["image"], args.recipe["after"])))
    images = [load_guide(or_sample(path)) for path in paths]
    net = open_net(args.recipe)
    about = arguments(args.recipe, "look")
    say(side_by_side([look(net, image, **about) for image in images], paths))
    return 0


def _film(args: argparse.Namespace) -> int:
    from ..films import check_film, fps_of, plan
    from ..show import Progress

    check_film(args.out, fps_of(args.recipe))
    film = plan(args.recipe)
    with Progress(frames=film.announced) as progress:
        film.write(args.out, progress, progress.on_frame, progress.on_encode)
    say(args.out)
    return 0


def _batch(args: argparse.Namespace) -> int:
    from ..jobs import batch_jobs

    reports = _many(args.recipe, batch_jobs(args.recipe, args.out))
    say(args.out)
    return _status(reports)


def _grid(args: argparse.Namespace) -> int:
    from ..sheets import lay_out, plan_grid

    check_output(args.out)
    grid = plan_grid(args.recipe, args.out)
    reports = _many(args.recipe, grid.jobs)
    if sheet := lay_out(grid, args.recipe, reports):
        save_image(args.out, *sheet)
        say(args.out)
    return _status(reports)


def _atlas(args: argparse.Namespace) -> int:
    from ..jobs import outline
    from ..sheets import channel_names, plan_atlas, write_atlas

    layer = args.recipe["layer"]
    net = outline(args.recipe["model"])
    jobs = plan_atlas(args.recipe, args.out, net)
    try:
        reports = _many(args.recipe, jobs)
    finally:  # after Ctrl-C, too
        page = write_atlas(Path(args.out), layer, channel_names(net, layer))
    if page:
        say(page)
    return _status(reports)


def _status(reports: Reports) -> int:
    return 1 if any(report["error"] for report in reports.values()) else 0


def _many(recipe: Recipe, jobs: list[Params]) -> Reports:
    """Do the jobs, and print what becomes of them; {out: report}."""
    from tqdm import tqdm

    from ..batch import connect, dream_many
    from ..jobs import check_common

    check_common(recipe)
    reports: Reports = {}
    workers = min(len(jobs), recipe["workers"] or os.cpu_count() or 1)
    try:
        with (
            _open_report(recipe["report"]) as file,
            connect(recipe["scheduler"], workers) as client,
            tqdm(total=len(jobs), unit=" pictures", disable=None, leave=False) as bar,
        ):
            for report in dream_many(jobs, client):
                reports[report["out"]] = report
                if report["error"]:
                    warn(f"{report['out']}: {report['error']}")
                _add_line(file, report)
                bar.update()
    except KeyboardInterrupt:
        done = sum(not report["error"] for report in reports.values())
        there = f"; {done} of {len(jobs)} pictures are there; the same command resumes"
        raise KeyboardInterrupt(there) from None
    failed = sum(bool(report["error"]) for report in reports.values())
    there = sum(report.get("skipped", False) for report in reports.values())
    say(f"{len(reports) - there - failed} made, {there} were there, {failed} failed")
    return reports


def _open_report(path: str | None) -> FileIO:
    """The file for a line of JSON about each picture; without a path, a void."""
    try:
        return open(path or os.devnull, "ab", buffering=0)
    except OSError as error:
        raise DreamError(f"cannot write {path}: {reason(error)}") from None


def _add_line(file: FileIO, report: Record) -> None:
    try:
        file.write(f"{to_json(report)}\n".encode())
    except OSError as error:
        raise DreamError(f"cannot write {file.name}: {reason(error)}") from None


def _train(args: argparse.Namespace) -> int:
    from ..show import TrainingProgress
    from ..train import Training

    steps = args.recipe["steps"]
    with TrainingProgress(steps) as progress:
        trained = Training(args.recipe, Path(args.out)).run(progress)
    how = f"after {trained.steps} steps"
    if trained.stopped:
        how = f"stopped after {trained.steps} of {steps} steps; the same command continues"
    elif trained.accuracy is not None:
        how += f"; it finds the class of {trained.accuracy:.0%} of the pictures kept out"
    say(f"{trained.folder} ({how})")
    return 130 if trained.stopped else 0


def _serve(args: argparse.Namespace) -> int:
    from ..studio.serve import serve

    on_ready = partial(_welcome, browser=args.recipe["browser"])
    serve(**arguments(args.recipe, "serve"), on_ready=on_ready)
    return 0


def _welcome(url: str, browser: bool) -> None:
    """Print where the page is, and perhaps open it."""
    say(f"Deep Dream is at {url} (Ctrl-C stops it)")
    if "token=" in url and sys.stdout.isatty():
        import segno

        segno.make(url).terminal(compact=True)  # for a phone's camera
    if browser:
        import webbrowser

        webbrowser.open(url)


def _replay(args: argparse.Namespace) -> int:
    from ..replay import locate, read_recipe

    recipe, carried = read_recipe(args.file)
    command = recipe["command"]
    replaced = parse_replaced(args.rest, command)
    if "look" in replaced:
        recipe |= dict.fromkeys(looks.GOALS)
        replaced = looks.begin({"model": recipe["model"]} | replaced)
    if args.out:
        recipe = locate(recipe, carried, args.file)
    recipe = table.complete(command, recipe | replaced)
    if args.out:
        return run(argparse.Namespace(command=command, recipe=recipe, out=args.out))
    words = table.words(recipe, _find_out(args.file, carried))
    say(table.quote(["deepdream", *words]))
    return 0


def _find_out(file: str, carried: Record) -> str:
    """What -o was when this file was made."""
    if "frame" in carried and os.path.isfile(file):
        file = str(Path(file).parent)  # the frames lie in a folder
    # a preview's recipe is that of the whole film
    return str(film_of_preview(file)) if carried.get("preview") else file


def _layers(args: argparse.Namespace) -> int:
    from ..nets import download, inputs, receptive, shapes, sizes, zoo

    check("size", args.size)
    size = size_of(args.size) if args.size else None
    layers = inputs.layers(zoo.find(args.model or download.default()))
    fields = receptive.fields(layers)
    climbable = shapes.climbable(layers)
    local = [name for name in climbable if fields[name] < math.inf]
    if size and local:
        runs = partial(shapes.fits, layers, local[-1])
        given, size = size, sizes.search(runs, size, shapes.own_size(layers)) or size
        if size != given:
            say(f"enlarged by its mirror image to {size[1]}x{size[0]}, where all layers run")
    outputs = {}
    for each in shapes.walk_all(layers, size):  # it may be too small for the deeper ones
        top = each.tops[0] if each.tops else ()
        outputs[each.layer.name] = " x ".join(map(str, top[1:])) or "-"
    row = "{:32} {:14} {:>20} {:>6}  {}".format
    say(row("layer", "type", "output", "sees", "climb"))
    for layer in layers:
        name, field = layer.name, fields[layer.name]
        sees = "all" if field == math.inf else f"{field:.0f}"
        climbs = name in climbable and shapes.fits(layers, name, size)
        output = outputs.get(name, "too small")
        say(row(name, layer.type, output, sees, "yes" if climbs else "-"))
    for name, why in getattr(layers, "cut", {}).items():
        say(row(name, "left out", "-", "-", f"-  ({why})"))
    return 0


def _models(args: argparse.Namespace) -> int:
    from ..nets import inputs, zoo

    given = {name: value for name, value in vars(args).items() if name in IMPORT}
    if args.action == "import":
        return _import(args.name, given)
    if given:
        raise DreamError(f"only `deepdream models import FILE` has options, not {args.action}")
    if args.action == "get":
        return _get(zoo.find(args.name or zoo.DEFAULT))
    if args.name:
        model = zoo.find(args.name)
        say(f"{_describe(args.name, model)}\n    {inputs.describe(model)}")
        return 0
    for name in zoo.names():
        try:
            say(_describe(name, zoo.find(name)))
        except DreamError as error:
            say(f"{name}\n    {error}")
    return 0


def _get(model: "Model") -> int:
    """Download a network, import it if need be, and say where it is."""
    from ..nets import download

    found = model.weights()
    if found or not model.is_converted:
        say(found or download.get(model, again=True))
        return 0
    from ..convert import import_listed

    made = import_listed(model, lambda step: say(f"{step} ..."))
    say(made.checked)
    say(made.folder)
    return 0


def _import(file: str | None, given: Params) -> int:
    """Import a network, and say what was assumed and what was found."""
    from ..convert import import_net

    if not file or "out" not in given:
        raise DreamError("`deepdream models import FILE -o FOLDER` needs both names")
    orders = [order for order in ("rgb", "bgr") if given.pop(order, False)]
    if len(orders) > 1:
        raise DreamError("the network wants --rgb or --bgr, not both")
    if orders:
        given["order"] = orders[0]
    if "size" in given:
        given["size"] = _read_size(given["size"])
    out = given.pop("out")
    made = import_net(file, out, **given, on_step=lambda step: say(f"{step} ..."))
    for note in made.notes:
        say(note)
    say(made.checked)
    height, width = made.size
    say(f"{made.layers} layers, for pictures of {width}x{height}")
    say(f"dreams climb {made.default_layer}; `deepdream layers --model {out}` lists others")
    say(out)
    return 0


def _read_size(text: str) -> int | tuple[int, int]:
    """'224', or '320x240' -> (height, width)."""
    if not re.fullmatch(r"\d+(x\d+)?", text):
        raise DreamError(f"{{setting}} is {text!r}; it must be such as 224 or 320x240", "size")
    return size_of(text) if "x" in text else int(text)


def _describe(name: str, model: "Model") -> str:
    """What a network is, and where its weights are."""
    get = f"`deepdream models get {name}`" if model.source else model.by_hand()
    try:
        where = model.weights() or f"not here; {get}"
    except DreamError as error:
        where = error
    layer = f"; default layer {model.default_layer}" if model.default_layer else ""
    about = f"{model.title}{layer}; licence: {model.licence}"
    return f"{name}\n    {about}\n    {where}"


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "dream": _dream,
    "looks": _looks,
    "look": _look,
    "draw": _draw,
    **dict.fromkeys(FILMS, _film),
    "batch": _batch,
    "grid": _grid,
    "atlas": _atlas,
    "train": _train,
    "serve": _serve,
    "replay": _replay,
    "layers": _layers,
    "models": _models,
}
