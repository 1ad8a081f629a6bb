"""Each command is a function of its recipe."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import looks
from .. import recipe as table
from ..errors import DreamError, reason
from ..films import keys
from ..pictures import check_output, load_guide, or_sample, save_image, to_json
from ..recipe import Recipe
from ..settings import ROWS, arguments, check, rows_of, size_of
from .parser import Parser, add_option, read_given, unrecognized
from .terminal import say, warn


def run(args: argparse.Namespace) -> int:
    """Run a command, unless it would overwrite a file that it reads."""
    recipe = args.recipe if "recipe" in args else {}
    if recipe.get("preview"):
        name, suffix = os.path.splitext(args.out.rstrip("/"))
        args.out = f"{name}-preview{suffix}"
    if recipe and os.path.exists(getattr(args, "out", None) or ""):
        if recipe.get("keys"):
            recipe = recipe | {"keys": keys.write(keys.KeyFile(recipe["keys"], recipe).keys)}
        for path in map(or_sample, table.all_files(recipe).values()):
            if os.path.exists(path) and os.path.samefile(path, args.out):
                raise DreamError(
                    f"{args.out} would be read and overwritten; choose another name for -o"
                )
    return RUN[args.command](args)


def _dream(args: argparse.Namespace) -> int:
    from ..making import make_drawing, make_dream

    return _make(args, make_dream if args.command == "dream" else make_drawing)


def _make(
    args: argparse.Namespace, make: Callable[..., tuple[np.ndarray | None, dict[str, Any]]]
) -> int:
    """Make a picture, with a bar, and save it."""
    from ..show import Progress

    check_output(args.out)
    with Progress() as progress:
        picture, carried = make(args.recipe, on_step=progress)
    assert picture is not None
    return _save(args.out, picture, carried, progress.done if progress.stopped else None)


def _looks(args: argparse.Namespace) -> int:
    from ..sheets import make_looks

    if not args.recipe["image"] and not args.out:
        for look in looks.read().values():
            say(f"{look.name:16} {look.about}")
        return 0
    if not args.recipe["image"] or not args.out:
        raise DreamError(
            "a sheet of looks needs a picture and -o: `deepdream looks photo.jpg -o sheet.jpg`"
        )
    return _make(args, make_looks)


def _look(args: argparse.Namespace) -> int:
    from ..making import open_net
    from ..seeing import look, side_by_side

    paths = [path for path in (args.recipe["image"], args.recipe["after"]) if path]
    images = [load_guide(or_sample(path)) for path in paths]
    net = open_net(args.recipe)
    about = arguments(args.recipe, "look")
    say(side_by_side([look(net, image, **about) for image in images], paths))
    return 0


def _save(out: str, image: np.ndarray, carried: dict[str, Any], stopped_at: float | None) -> int:
    """Save the picture, finished, or as far as it was when Ctrl-C stopped it; the exit
    status.
    """
    if stopped_at is None:
        save_image(out, image, carried)
        say(out)
        return 0
    if not stopped_at:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the picture is safe
    save_image(out, image, carried | {"stopped_at": stopped_at})
    say(f"{out} (stopped at {stopped_at:.0%})")
    return 130


def _film(args: argparse.Namespace) -> int:
    from ..films.encode import check_film
    from ..films.make import make_film
    from ..films.plan import PREVIEW_EVERY, plan_film
    from ..show import Progress

    fps = args.recipe["fps"]
    if args.recipe["preview"]:
        fps = max(fps / PREVIEW_EVERY, ROWS["fps"].low or 0)
    check_film(args.out, fps)
    film = plan_film(args.recipe)
    with Progress(frames=film.frames) as progress:
        make_film(
            args.out,
            partial(film.make, progress),
            film.settings,
            film.frames,
            fps,
            restart=args.recipe["restart"],
            on_frame=progress.on_frame,
            on_encode=progress.on_encode,
        )
    say(args.out)
    return 0


def _video(args: argparse.Namespace) -> int:
    from ..films.encode import check_film
    from ..films.files import film_about
    from ..films.make import dream_video
    from ..films.plan import open_video, preview_video
    from ..making import settings_of
    from ..show import Progress

    check_film(args.out)
    _, announced, _ = film_about(args.recipe["source"])
    net, recipe, params = open_video(args.recipe)
    carried = settings_of(recipe, net)
    if recipe["preview"]:
        recipe, params, carried["preview"] = *preview_video(recipe, params), True
    part = {name: recipe[name] for name in ("start", "stop", "stride", "width", "blend", "restart")}
    last = min(recipe["stop"] or announced, announced)
    with Progress(frames=len(range(recipe["start"], last, recipe["stride"])) or None) as progress:
        dream_video(
            net,
            recipe["source"],
            args.out,
            settings=carried,
            on_frame=progress.on_frame,
            on_encode=progress.on_encode,
            on_step=progress,
            **part,
            **params,
        )
    say(args.out)
    return 0


def _batch(args: argparse.Namespace) -> int:
    from ..jobs import batch_jobs

    jobs = batch_jobs(args.recipe, args.out)
    reports = _many(args.recipe, jobs)
    say(args.out)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _grid(args: argparse.Namespace) -> int:
    from ..sheets import lay_out, plan_grid

    check_output(args.out)
    grid = plan_grid(args.recipe, args.out)
    reports = _many(args.recipe, grid.jobs)
    sheet = lay_out(grid, args.recipe, reports)
    if sheet:
        save_image(args.out, *sheet)
        say(args.out)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _atlas(args: argparse.Namespace) -> int:
    from ..jobs import outline
    from ..sheets import channel_names, plan_atlas, write_atlas

    net = outline(args.recipe["model"])
    jobs, layer = plan_atlas(args.recipe, args.out, net), args.recipe["layer"]
    try:
        reports = _many(args.recipe, jobs)
    finally:  # after Ctrl-C, too
        page = write_atlas(Path(args.out), layer, channel_names(net, layer))
    if page:
        say(page)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _many(recipe: Recipe, jobs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Do the jobs, and print what becomes of them; {out: report}."""
    from tqdm import tqdm

    from ..batch import connect, dream_many
    from ..jobs import check_common

    check_common(recipe)
    reports: dict[str, dict[str, Any]] = {}
    workers = min(len(jobs), recipe["workers"] or os.cpu_count() or 1)
    try:
        with (
            _open_report(recipe["report"]) as write,
            connect(recipe["scheduler"], workers) as client,
            tqdm(total=len(jobs), unit=" pictures", disable=None, leave=False) as bar,
        ):
            for report in dream_many(jobs, client):
                reports[report["out"]] = report
                if report["error"]:
                    warn(f"{report['out']}: {report['error']}")
                write(report)
                bar.update()
    except KeyboardInterrupt:
        done = sum(not report["error"] for report in reports.values())
        raise KeyboardInterrupt(
            f"; {done} of {len(jobs)} pictures are there; the same command resumes"
        ) from None
    failed = sum(bool(report["error"]) for report in reports.values())
    there = sum(report.get("skipped", False) for report in reports.values())
    say(f"{len(reports) - there - failed} made, {there} were there, {failed} failed")
    return reports


@contextmanager
def _open_report(path: str | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that adds one line of JSON to this file; it does nothing if there is
    no path.
    """

    def write(report: dict[str, Any]) -> None:
        try:
            file.write(f"{to_json(report)}\n".encode())
        except OSError as error:
            raise DreamError(f"cannot write {path}: {reason(error)}") from None

    try:
        file = open(path or os.devnull, "ab", 0)  # noqa: SIM115, closed below, with nothing left to write
    except OSError as error:
        raise DreamError(f"cannot write {path}: {reason(error)}") from None
    try:
        yield write
    finally:
        with suppress(OSError):  # `write` has reported it
            file.close()


def _train(args: argparse.Namespace) -> int:
    from ..show import TrainingProgress
    from ..train.training import Training

    with TrainingProgress(args.recipe["steps"]) as progress:
        trained = Training(args.recipe, Path(args.out)).run(progress)
    how = f"after {trained.steps} steps"
    if trained.stopped:
        how = f"stopped after {trained.steps} of {args.recipe['steps']} steps; the same command continues"
    elif trained.accuracy is not None:
        how += f"; it finds the class of {trained.accuracy:.0%} of the pictures kept out"
    say(f"{trained.folder} ({how})")
    return 130 if trained.stopped else 0


def _serve(args: argparse.Namespace) -> int:
    from ..studio.serve import serve

    def on_ready(url: str) -> None:
        say(f"Deep Dream is at {url} (Ctrl-C stops it)")
        if "token=" in url and sys.stdout.isatty():
            import segno

            segno.make(url).terminal(compact=True)  # for a phone's camera
        if args.recipe["browser"]:
            import webbrowser

            webbrowser.open(url)

    serve(**arguments(args.recipe, "serve"), on_ready=on_ready)
    return 0


def _replay(args: argparse.Namespace) -> int:
    from ..replay import locate, read_recipe

    recipe, carried = read_recipe(args.file)
    parser = Parser(f"deepdream {recipe['command']}")
    for row in rows_of(recipe["command"]).values():
        if row.is_option:
            add_option(parser, row)
    replaced, rest = parser.parse_known_args(args.rest)
    if rest:
        raise unrecognized(rest, parser)
    replaced = read_given(replaced, recipe["command"])
    if "look" in replaced:
        recipe |= dict.fromkeys(looks.GOALS)
        replaced = looks.begin({"model": recipe["model"]} | replaced)
    if not args.out:
        recipe = table.complete(recipe["command"], recipe | replaced)
        is_frame = "frame" in carried and os.path.isfile(args.file)
        out = Path(args.file).parent if is_frame else Path(args.file)
        if carried.get("preview"):  # what it says of itself is the recipe of the whole film
            name, suffix = os.path.splitext(out)
            out = Path(f"{name.removesuffix('-preview')}{suffix}")
        words = table.words(recipe, args.file if out == Path(args.file) else str(out))
        say(table.quote(["deepdream", *words]))
        return 0
    recipe = locate(recipe, carried, args.file)
    recipe = table.complete(recipe["command"], recipe | replaced)
    return run(argparse.Namespace(command=recipe["command"], recipe=recipe, out=args.out))


def _layers(args: argparse.Namespace) -> int:
    from ..nets import shapes, zoo

    check("size", args.size)
    size = size_of(args.size) if args.size else None
    layers = zoo.layers(zoo.find(args.model or zoo.default()))
    fields, climbable, outputs = shapes.receptive_fields(layers), shapes.climbable(layers), {}
    try:
        for layer, _, tops, _ in shapes.walk(layers, size):
            outputs[layer.name] = " x ".join(map(str, tops[0][1:]))
    except DreamError:
        pass  # the picture is too small for the rest
    row = "{:32} {:14} {:>20} {:>6}  {}".format
    say(row("layer", "type", "output", "sees", "climb"))
    for layer in layers:
        name, sees = (
            layer.name,
            "all" if fields[layer.name] == float("inf") else f"{fields[layer.name]:.0f}",
        )
        climbs = name in climbable and shapes.fits(layers, name, size)
        say(row(name, layer.type, outputs.get(name, "too small"), sees, "yes" if climbs else "-"))
    return 0


def _models(args: argparse.Namespace) -> int:
    from ..nets import zoo

    if args.action == "get":
        say(zoo.get(zoo.find(args.name or zoo.DEFAULT), again=True))
        return 0
    for name in [args.name] if args.name else zoo.names():
        try:
            model = zoo.find(name)
        except DreamError as error:
            if args.name:
                raise
            say(f"{name}\n    {error}")
            continue
        get = f"`deepdream models get {name}`" if model.source else model.by_hand()
        try:
            where = model.file(".caffemodel") or f"not here; {get}"
        except DreamError as error:
            where = error
        say(
            f"{name}\n    {model.title}; default layer {model.default_layer}; licence: {model.licence}\n    {where}"
        )
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "dream": _dream,
    "looks": _looks,
    "look": _look,
    "draw": _dream,
    "zoom": _film,
    "journey": _film,
    "video": _video,
    "batch": _batch,
    "grid": _grid,
    "atlas": _atlas,
    "train": _train,
    "serve": _serve,
    "replay": _replay,
    "layers": _layers,
    "models": _models,
}
