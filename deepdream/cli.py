"""The command line: deepdream dream, looks, draw, zoom, journey, video, batch, grid, atlas, train, serve and others.

The parser is made from the table in recipe.py. It only cuts the words apart: `parse` turns them into a recipe, which is
checked there, and each command is a function of that recipe. Nothing else in the package prints.
"""

import argparse
import codecs
import io
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import keys, looks
from . import recipe as table
from .errors import DreamError, in_words, one_line, out_of_memory, reason, unknown
from .pictures import check_output, load_guide, or_sample, save_image, to_json
from .recipe import REQUIRED, Recipe, Setting

FILM = "where the film goes, .mp4, .webm, .gif, or a folder (no dot) for its frames; it carries its settings"
PICTURE = "where the {} goes, .jpg or .png; it carries its settings"
# What each command does, and what its -o takes; those without one make no recipe.
COMMANDS = {
    "dream": ("dream a picture", PICTURE.format("dream")),
    "looks": ("list the looks, recipes with a name; or show a picture in all of them", PICTURE.format("sheet")),
    "look": ("show what the network sees in a picture: its classes, and the channels that answer most", ""),
    "draw": ("draw what the network means by a class, from noise", PICTURE.format("drawing")),
    "zoom": ("dream, enlarge, dream again: an endless zoom into a picture", FILM),
    "journey": ("zoom through the network's layers, from noise to whole animals", FILM),
    "video": ("dream over a film, without flicker, and keep its sound", FILM),
    "batch": ("dream many pictures, on all cores or a cluster; what is already there is not made again",
              "a folder, or the URL of one, for the dreams"),
    "grid": ("dream a picture with all combinations of some settings, side by side: --layer, --iterations and others "
             "take several values, a,b,c", PICTURE.format("sheet")),
    "atlas": ("draw each channel of a layer from the same noise, and a page to search them",
              "a folder for the pictures and their page, index.html"),
    "train": ("train a network on pictures of your own, to dream of what they show",
              "a folder for the network; give it to --model afterwards"),
    "serve": ("open the studio, a page of knobs for people who do not program", ""),
}  # fmt: skip


unprinted: list[str] = []  # why something could not be printed


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 if some pictures failed, 2 for bad input, 130 after Ctrl-C.

    It is also 1 if the name of what was made cannot be printed, but not because nobody reads it, as after `| head`.
    """
    _open_streams()
    warnings.showwarning = _warn
    unprinted.clear()
    args = argparse.Namespace(command=None)
    try:
        try:
            args = parse(argv)
            return run(args) or len(unprinted)
        finally:
            say()  # what argparse has printed
    except DreamError as error:
        complain(error.named(table.option(error.setting or "", args.command or "")))
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        rows = table.settings(args.command or "")
        cures = {"batch": "; take a smaller --batch", "width": "; make the pictures smaller with --width"}
        advice = next((cure for name, cure in cures.items() if name in rows), "")
        complain(f"there is not enough memory{advice}")
        return 2
    except KeyboardInterrupt as stop:
        complain(f"stopped{stop}")
        return 130
    except (OSError, ImportError) as error:  # a file or a library that this machine does not let us read
        complain(DreamError(in_words(error)))
        return 2


def say(text: object = "") -> None:
    """Print a line, at once: all that a command prints goes through here, and what is wrong through `complain`.

    If that fails, the work goes on, and nothing more is printed: Python would try again at the end.
    """
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = _nowhere()
        if not isinstance(error, BrokenPipeError):
            unprinted.append(reason(error))
            complain(f"cannot print to stdout: {reason(error)}")


def complain(text: object) -> None:
    """Print a line to stderr, if that can be done: nothing must fail because nobody can read what is wrong."""
    try:
        print(f"deepdream: {one_line(str(text))}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = _nowhere()


def _nowhere() -> io.TextIOBase:
    return open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)


def _open_streams() -> None:
    """Make stdout and stderr usable, also where they are closed, or cannot spell a file's name.

    Where one is closed, the next file that is opened would get its number, and whatever Caffe or ffmpeg complains of.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number, which is this one
        if name != "stdin" and getattr(sys, name) is None:
            setattr(sys, name, _nowhere())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="deepdream")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """For characters that cannot be printed: the bytes of a file's name that they stand for, or else such as \\xf6."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error("deepdream", _spell)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """What these words of the command line say: `command`, `recipe` if it has one, `out`, and other arguments.

    Raises DreamError for words that make no sense.
    """
    words = sys.argv[1:] if words is None else words
    parser, commands = make_parser()
    try:
        args, rest = parser.parse_known_args(words)
    except DreamError:
        command = words[0] if words else ""
        wrong = [] if command == "replay" else _unknown_options(words, commands.get(command))
        if wrong:  # rather than that --out is missing, in a line with --output
            raise _unrecognized(wrong, commands[command]) from None
        raise
    if args.command == "replay":
        args.rest = rest
    elif rest:
        raise _unrecognized(rest, commands[args.command])
    if vars(args).get("out") == "":
        raise DreamError("-o is ''; it must be the path of what is to be written")
    if args.command in COMMANDS:
        args.recipe = table.complete(args.command, looks.begin(_given(args, args.command)))
    return args


def _given(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """{name: value} of the settings that were given, read from their words."""
    rows = table.settings(command)
    given = {name: value for name, value in vars(args).items() if name in rows}
    for name, value in given.items():
        if isinstance(value, str):
            given[name] = table.read(command, name, value)
        elif isinstance(value, list):
            given[name] = [table.read(command, name, each) for each in value]
    return given


class _Parser(argparse.ArgumentParser):
    """A parser that knows its own options, takes none that is cut short, and raises a DreamError."""

    def __init__(self, *args: Any, **about: Any) -> None:
        self.options: list[str] = []
        super().__init__(*args, allow_abbrev=False, **about)

    def add_argument(self, *names: str, **about: Any) -> argparse.Action:
        self.options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **about)

    def error(self, message: str) -> NoReturn:
        raise DreamError(f"{message}; `{self.prog} --help` shows what is allowed")


def _unknown_options(words: list[str], parser: _Parser | None) -> list[str]:
    """The words that look like options and that this command does not have."""
    options = [word for word in words if re.match("--[a-z]", word)]
    return [option for option in options if parser and option.split("=")[0] not in parser.options]


def _unrecognized(words: list[str], parser: _Parser) -> DreamError:
    wrong = words[0].split("=")[0]
    if wrong.startswith("-"):
        return unknown("option", wrong, parser.options, f"`{parser.prog} --help` shows all of them")
    return DreamError(f"unknown arguments: {shlex.join(words)}; `{parser.prog} --help` shows what is allowed")


@cache
def make_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """(the parser of all commands, that of each). They store the words that are given for a setting under its name."""
    parser = _Parser("deepdream", description="Deep dreams of photographs, with Caffe and GoogLeNet, as in 2015.")
    parser.add_argument("--version", action="version", version=table.VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (does, out) in COMMANDS.items():
        p = commands.add_parser(name, help=does, description=does)
        for row in table.settings(name).values():
            _add(p, row)
        if out:
            p.add_argument("-o", "--out", required=name != "looks", help=out)
    p = commands.add_parser("replay", help="show the command that made a picture or film, or run it again")
    p.add_argument("file", metavar="FILE", help="what was made: .jpg, .png, .mp4, .webm, .gif, or a folder of frames")
    p.add_argument("-o", "--out", help="run it again, and write this; options after FILE (--seed 5) replace its own")
    p = commands.add_parser("layers", help="list a network's layers: shape, receptive field, whether a dream can climb "
                            "it")  # fmt: skip
    p.add_argument("--model", help="a network's name or a folder; without it, the one that `dream` takes")
    p.add_argument("--size", metavar="WxH", help="size of the picture, such as 1024x575; without it, the network's own")
    p = commands.add_parser("models", help="list the networks and where their weights are, or get weights")
    p.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    p.add_argument("name", nargs="?", help="the network; without it, list shows all, and get takes bvlc_googlenet")
    return parser, commands.choices


def _add(parser: argparse.ArgumentParser, row: Setting) -> None:
    """Add a row of the table to a command's parser."""
    about: dict[str, Any] = {"help": row.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if row.kind is bool:
        parser.add_argument(row.option, dest=row.name, action="store_const", const=not row.default, **about)
        return
    if row.default not in (None, REQUIRED) and row.is_option:
        values = row.default if isinstance(row.default, list) else [row.default]
        about["help"] += f" (default: {' '.join(map(str, values))})"
    metavar = row.metavar or ("N" if row.kind is int else "X" if row.kind is float else row.option)
    if row.varies:
        metavar = "A,B,C"
    if row.is_option:
        names = [row.option, row.alias] if row.alias else [row.option]
        about["required"] = row.default is REQUIRED
        parser.add_argument(*names, dest=row.name, nargs=row.count, metavar=metavar, **about)
    else:
        parser.add_argument(row.name, nargs=row.count, metavar=row.option, **about)


def _warn(message: object, *_: object, **__: object) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):  # above a bar that is on the screen
        complain(message)


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
                raise DreamError(f"{args.out} would be read and overwritten; choose another name for -o")
    return RUN[args.command](args)


def _dream(args: argparse.Namespace) -> int:
    from .jobs import make_drawing, make_dream

    return _make(args, make_dream if args.command == "dream" else make_drawing)


def _make(args: argparse.Namespace, make: Callable[..., tuple[np.ndarray | None, dict[str, Any]]]) -> int:
    """Make a picture, with a bar, and save it."""
    from .show import Progress

    check_output(args.out)
    with Progress() as progress:
        picture, carried = make(args.recipe, on_step=progress)
    assert picture is not None
    return _save(args.out, picture, carried, progress.done if progress.stopped else None)


def _looks(args: argparse.Namespace) -> int:
    from .sheets import make_looks

    if not args.recipe["image"] and not args.out:
        for look in looks.read().values():
            say(f"{look.name:16} {look.about}")
        return 0
    if not args.recipe["image"] or not args.out:
        raise DreamError("a sheet of looks needs a picture and -o: `deepdream looks photo.jpg -o sheet.jpg`")
    return _make(args, make_looks)


def _look(args: argparse.Namespace) -> int:
    from .jobs import open_net
    from .look import look, side_by_side

    paths = [path for path in (args.recipe["image"], args.recipe["after"]) if path]
    images = [load_guide(or_sample(path)) for path in paths]
    net = open_net(args.recipe)
    say(side_by_side([look(net, image) for image in images], paths))
    return 0


def _save(out: str, image: np.ndarray, carried: dict[str, Any], stopped_at: float | None) -> int:
    """Save the picture, finished, or as far as it was when Ctrl-C stopped it; the exit status."""
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
    from .films import check_film
    from .jobs import PREVIEW_EVERY, plan_film
    from .resume import make_film
    from .show import Progress

    fps = args.recipe["fps"]
    if args.recipe["preview"]:
        fps = max(fps / PREVIEW_EVERY, table.ROWS["fps"].low or 0)
    check_film(args.out, fps)
    film = plan_film(args.recipe)
    with Progress(frames=film.frames) as progress:
        make_film(args.out, partial(film.make, progress), film.settings, film.frames, fps,
                  restart=args.recipe["restart"], on_frame=progress.on_frame,
                  on_encode=progress.on_encode)  # fmt: skip
    say(args.out)
    return 0


def _video(args: argparse.Namespace) -> int:
    from .films import check_film, film_about
    from .jobs import prepare, preview_video, settings_of
    from .resume import dream_video
    from .show import Progress

    check_film(args.out)
    _, announced, _ = film_about(args.recipe["source"])
    net, recipe, params = prepare(args.recipe)
    carried = settings_of(recipe, net)
    if recipe["preview"]:
        recipe, params, carried["preview"] = *preview_video(recipe, params), True
    part = {name: recipe[name] for name in ("start", "stop", "stride", "width", "blend", "seed", "restart")}
    last = min(recipe["stop"] or announced, announced)
    with Progress(frames=len(range(recipe["start"], last, recipe["stride"])) or None) as progress:
        dream_video(net, recipe["source"], args.out, settings=carried, on_frame=progress.on_frame,
                    on_encode=progress.on_encode, on_step=progress, **part, **params)  # fmt: skip
    say(args.out)
    return 0


def _batch(args: argparse.Namespace) -> int:
    from .batch import batch_jobs

    jobs = batch_jobs(args.recipe, args.out)
    reports = _many(args.recipe, jobs)
    say(args.out)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _grid(args: argparse.Namespace) -> int:
    from .sheets import lay_out, plan_grid

    check_output(args.out)
    grid = plan_grid(args.recipe, args.out)
    reports = _many(args.recipe, grid.jobs)
    sheet = lay_out(grid, args.recipe, reports)
    if sheet:
        save_image(args.out, *sheet)
        say(args.out)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _atlas(args: argparse.Namespace) -> int:
    from .batch import outline
    from .sheets import channel_names, plan_atlas, write_atlas

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

    from .batch import check_common, connect, dream_many

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
                    _warn(f"{report['out']}: {report['error']}")
                write(report)
                bar.update()
    except KeyboardInterrupt:
        done = sum(not report["error"] for report in reports.values())
        raise KeyboardInterrupt(f"; {done} of {len(jobs)} pictures are there; the same command resumes") from None
    failed = sum(bool(report["error"]) for report in reports.values())
    there = sum(report.get("skipped", False) for report in reports.values())
    say(f"{len(reports) - there - failed} made, {there} were there, {failed} failed")
    return reports


@contextmanager
def _open_report(path: str | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that adds one line of JSON to this file; it does nothing if there is no path."""

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
    from .show import TrainingProgress
    from .train import Training

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
    from .studio.serve import serve

    def on_ready(url: str) -> None:
        say(f"Deep Dream is at {url} (Ctrl-C stops it)")
        if "token=" in url and sys.stdout.isatty():
            import segno

            segno.make(url).terminal(compact=True)  # for a phone's camera
        if args.recipe["browser"]:
            import webbrowser

            webbrowser.open(url)

    about = {name: args.recipe[name] for name in ("host", "port", "token", "at_once", "idle", "minutes")}
    serve(**about, on_ready=on_ready)
    return 0


def _replay(args: argparse.Namespace) -> int:
    from .jobs import locate, read_recipe

    recipe, carried = read_recipe(args.file)
    parser = _Parser(f"deepdream {recipe['command']}")
    for row in table.settings(recipe["command"]).values():
        if row.is_option:
            _add(parser, row)
    replaced, rest = parser.parse_known_args(args.rest)
    if rest:
        raise _unrecognized(rest, parser)
    replaced = _given(replaced, recipe["command"])
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
    from . import shapes, zoo

    table.check("size", args.size)
    size = table.size_of(args.size) if args.size else None
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
        name, sees = layer.name, "all" if fields[layer.name] == float("inf") else f"{fields[layer.name]:.0f}"
        climbs = name in climbable and shapes.fits(layers, name, size)
        say(row(name, layer.type, outputs.get(name, "too small"), sees, "yes" if climbs else "-"))
    return 0


def _models(args: argparse.Namespace) -> int:
    from . import zoo

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
        say(f"{name}\n    {model.title}; default layer {model.default_layer}; licence: {model.licence}\n    {where}")
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "dream": _dream, "looks": _looks, "look": _look, "draw": _dream, "zoom": _film, "journey": _film,
    "video": _video, "batch": _batch, "grid": _grid, "atlas": _atlas, "train": _train, "serve": _serve,
    "replay": _replay, "layers": _layers, "models": _models,
}  # fmt: skip
