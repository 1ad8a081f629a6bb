"""Each command is a function of its recipe, in `args.recipe`; a few have none."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np

from .. import looks
from .. import recipe as table
from ..errors import DreamError, reason
from ..films import film_of_preview, preview_path, read_keys
from ..pictures import check_output, load_guide, or_sample, save_image, to_json
from ..settings import FILMS, Params, Recipe, Record, arguments
from .networks import list_layers, run_models
from .parser import parse_replaced
from .terminal import say, warn

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
    "layers": list_layers,
    "models": run_models,
}
