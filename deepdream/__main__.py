"""The command line: deepdream dream, draw, zoom, journey, video, batch, grid, atlas, serve, replay, layers, models."""

import argparse
import hashlib
import json
import os
import re
import secrets
import shlex
import signal
import sys
import warnings
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from pathlib import Path

from . import __version__
from .errors import DreamError, check_number, out_of_memory
from .show import SAMPLES, or_sample

INPUTS = "image", "source", "guide", "mask"  # arguments that are files
MAKERS = "dream", "draw", "zoom", "journey", "video", "grid"  # commands that make what can be made again
VARIED = "end", "iter_n", "octave_n", "octave_scale", "step_size", "jitter", "seed", "smooth"  # by a grid
KNOBS = "iter_n", "octave_n", "octave_scale", "step_size", "jitter", "smooth", "keep_color", "tile"


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for something that was given wrong, 130 after Ctrl-C."""
    warnings.showwarning = _warn
    args = argparse.Namespace(command=None)
    try:
        args = parsed(argv)
        return args.run(args)
    except DreamError as error:
        print(f"deepdream: {_in_options(str(error), args.command)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        cure = "; make the pictures smaller with --width" if hasattr(args, "width") else ""
        print(f"deepdream: there is not enough memory{cure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"deepdream: stopped{stop}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `deepdream layers | head`
        sys.stdout = None
        return 0


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The arguments that these words of the command line give; a DreamError where they make no sense."""
    parser, _ = parsers()
    args, args.more = parser.parse_known_args(words)
    if args.more and args.command != "replay":
        parser.error(f"unrecognized arguments: {' '.join(args.more)}")
    for name in INPUTS:
        if given := getattr(args, name, None):
            setattr(args, name, or_sample(given))
    return args


def _warn(message, *_, **__) -> None:
    from tqdm import tqdm

    tqdm.write(f"deepdream: {message}", file=sys.stderr)  # above a bar that is there


def _in_options(sentence: str, command: str) -> str:
    """A refusal with the option's name in place of Python's: --iterations is 0, not iter_n is 0."""
    for action in parsers()[1][command]._actions if command else ():
        if action.option_strings:
            sentence = re.sub(rf"(^|begun with ){action.dest} ", rf"\1{max(action.option_strings, key=len)} ", sentence)
    return sentence


def _dream(args) -> int:
    from .show import check_output, progress_bar

    check_output(args.out)
    on_step = progress_bar()
    dream, settings = dreamt(args, on_step)
    on_step.bar.close()
    return _save(args.out, dream, settings, on_step.done if on_step.stopped else None)


def dreamt(args: argparse.Namespace, on_step, net=None, find=None, known=None):
    """(the picture, its settings) that `deepdream dream` with these arguments makes; for the studio and batch.py, too.

    net: where it is loaded already. find: see `objectives.parse`. known: the settings of a picture that is there; where
    this would be the same, it is not made, and None.
    """
    from . import deepdream, load_image
    from .dream import visible
    from .movie import noise

    if bool(args.size) == bool(args.image):
        raise DreamError(
            "a dream begins with a picture, IN, or with noise of a --size, such as 640x360; give one of both"
        )
    if args.size and args.width:
        raise DreamError("--width is for a picture; noise has a --size")
    if args.seed is None:
        args.seed = secrets.randbelow(2**32)  # told in the picture, so that it can be made again
    image = load_image(args.image, args.width) if args.image else noise(args.size, args.seed)
    net, params = _net_and_params(args, net, find)
    settings = _settings(args, net, **_size_of(args, image))
    if _same(settings, known):
        return None, settings
    dream = deepdream(net, image, clip=args.clip, seed=args.seed, on_step=on_step, **params)
    return visible(dream, args.clip), settings


def _size_of(args, image):
    """How settings tell the size of what was begun with."""
    height, width = image.shape[:2]
    return {"width": width} if args.image else {"size": f"{width}x{height}"}


def _net(args):
    from . import load_net

    return load_net(args.model, args.engine, args.device, args.dtype)


def _net_and_params(args, net=None, find=None):
    """The network, loaded where none is given, and what `deepdream` is given besides the picture."""
    from . import guide_features, objective_guide
    from .dream import grey
    from .objectives import load_guide, parse

    params = {name: getattr(args, name) for name in KNOBS}
    params["mask"] = args.mask and grey(args.mask)
    if args.command == "journey":  # it has layers of its own
        return net or _net(args), params
    if args.objective is not None:
        if args.end or args.guide:
            raise DreamError("--objective names its own layers and guides; leave out --layer and --guide")
        params["objective"] = parse(args.objective, find or str)
    guide = load_guide(args.guide) if args.guide else None
    net = net or _net(args)
    if args.objective is None:
        args.end = params["end"] = args.end or net.default_layer
        if not args.end:
            layers = f"`deepdream layers --model {args.model}`"
            raise DreamError(f"{net.model.name} has no default layer; choose one with --layer ({layers})")
    if guide is not None:
        params["objective"] = partial(objective_guide, guide_features=guide_features(net, guide, args.end))
    return net, params


def _zoom(args) -> int:
    from . import load_image, zoom
    from .film import check_film

    check_film(args.out, args.fps)
    image = load_image(args.image, args.width)
    net, params = _net_and_params(args)

    def make(done, frame=image):
        return zoom(net, frame, args.frames, args.scale, args.rotate, args.shift, args.seed, done, **params)

    return _film(args, make, params, _settings(args, net, width=image.shape[1]), args.frames)


def _journey(args) -> int:
    from . import journey, load_image
    from .film import check_film
    from .movie import noise, stations

    check_film(args.out, args.fps)
    if (args.size and args.image) or (args.width and not args.image):
        raise DreamError("--size is for a journey from noise, --width for one from a picture, IN; leave out the other")
    image = load_image(args.image, args.width) if args.image else noise(args.size or (360, 640), args.seed)
    net, params = _net_and_params(args)
    layers = args.layers if args.layers in (None, "all") else filter(None, map(str.strip, args.layers.split(",")))
    layers = stations(net, layers)

    def make(done, frame=image):
        way = layers, args.frames_per_layer, args.cross_fade, frame, frame.shape[:2]
        return journey(net, *way, args.scale, args.rotate, args.shift, args.seed, done, **params)

    settings = _settings(args, net, layers=",".join(layers), **_size_of(args, image))
    return _film(args, make, params, settings, len(layers) * args.frames_per_layer)


def _film(args, make, params, settings, frames) -> int:
    """Make a film of what `make`, a function of how many frames are done and the last of them, yields."""
    from . import make_film
    from .show import film_bar

    def states(done, *last):
        for frame in make(done, *last):
            yield (frame,)  # all that the next one needs

    with film_bar(frames) as (params["on_step"], on_frame):
        make_film(args.out, states, settings, frames, args.fps, restart=args.restart, on_frame=on_frame)
    print(args.out)
    return 0


def _video(args) -> int:
    from . import dream_video
    from .film import check_film, film_about
    from .show import film_bar

    check_film(args.out)
    _, announced, _ = film_about(args.source)
    net, params = _net_and_params(args)
    last = min(args.stop or announced, announced)
    with film_bar(len(range(args.start, last, max(1, args.stride))) or None) as (params["on_step"], on_frame):
        dream_video(net, args.source, args.out, args.start, args.stop, args.stride, args.width, args.blend, args.seed,
                    _settings(args, net), args.restart, on_frame, **params)  # fmt: skip
    print(args.out)
    return 0


def _serve(args) -> int:
    from .serve import serve

    def ready(url):
        print(f"Deep Dream is at {url} (Ctrl-C stops it)", flush=True)
        if args.browser:
            import webbrowser

            webbrowser.open(url)

    serve(args.host, args.port, args.token, args.at_once, args.idle, ready)
    return 0


def _replay(args) -> int:
    from . import read_settings

    settings = read_settings(args.file)
    if "deepdream" not in settings or settings.get("command", "dream") not in MAKERS:
        what = "what the command line has made can be replayed"
        raise DreamError(f"{args.file} carries no settings of deepdream's command line; only {what}")
    if not args.out:
        out = Path(args.file).parent if "frame" in settings and os.path.isfile(args.file) else args.file
        words = [*command(settings), "-o", str(out), *args.more]
        parsed(words)
        print(shlex.join(["deepdream", *words]))
        return 0
    for name in filter(settings.get, INPUTS):
        given = Path(settings[name])
        places = given, Path(args.file).parent / given, Path(args.file).parent / given.name
        settings[name] = next((str(place) for place in places if place.is_file()), SAMPLES.get(given.name))
        if settings[name] is None:
            raise DreamError(f"{args.file} was made from {given}, which is not here; put that beside it")
        if settings.get("sha256", {}).get(name) not in (None, sha256(settings[name])):
            warnings.warn(f"{settings[name]} is not the same as what {args.file} was made from", stacklevel=2)
    return main([*command(settings), "-o", args.out, *args.more])


def command(settings: dict) -> list[str]:
    """The words of the command line that makes a picture or film with these settings, all but `-o OUT`."""
    name = settings.get("command", "draw" if "draw" in settings else "dream")
    words, options = [name], []
    for action in parsers()[1][name]._actions:
        value = settings.get(action.dest)
        if value is None or action.default in (value, argparse.SUPPRESS) or action.dest == "out":
            continue
        values = [_word(v) for v in (value if isinstance(value, list) else [value])]
        if not action.option_strings:
            words += [f"./{v}" if v.startswith("-") else v for v in values]
        elif action.nargs == 0:
            options.append(action.option_strings[0])
        elif action.nargs is None and values[0].startswith("-"):
            options.append(f"{action.option_strings[0]}={values[0]}")
        else:
            options += [action.option_strings[0], *values]
    return words + options


def _word(value) -> str:
    import numpy as np

    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


def _settings(args, net, **resolved) -> dict:
    """What a picture or film carries: every argument, from which `command` writes the line again.

    Of a file given with its full path only the name is told, for pictures are published, and folders have the names of
    people.
    """
    apart = "run", "out", "more", "restart", "workers", "scheduler", "report", "model", "engine", "device", "dtype"
    given = {name: value for name, value in (vars(args) | resolved).items() if value is not None and name not in apart}
    files = {name: given[name] for name in INPUTS if name in given}
    given |= {name: file if not os.path.isabs(file) else Path(file).name for name, file in files.items()}
    near = os.path.isdir(args.model or "") and not os.path.isabs(args.model)
    settings = {"deepdream": __version__, "model": args.model if near else net.model.name, **net.engine, **given}
    digests = {name: sha256(file) for name, file in files.items()} | identity(net.model)
    return settings | ({"sha256": digests} if digests else {})


def identity(model) -> dict:
    """What tells a network's weights from others of the same name; nothing where its model.toml knows their digest."""
    if model.digest:
        return {}
    path = model.file(".caffemodel")
    return {"weights": _sha256(path, path.stat().st_mtime_ns)}


@cache
def _sha256(path, changed):
    return sha256(path)


def sha256(file):
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def drawn(args: argparse.Namespace, on_step, net=None, known=None):
    """As `dreamt`, for `deepdream draw` of one thing."""
    from . import draw
    from .objectives import wanted

    net = net or _net(args)
    settings = _settings(args, net)
    if _same(settings, known):
        return None, settings
    return draw(net, wanted(args.draw[0]), args.steps, args.seed, on_step), settings


def _same(settings, known):
    from .show import written

    return known is not None and json.loads(written(settings)) == known


def _draw(args) -> int:
    from . import draw, sheet
    from .objectives import wanted
    from .show import check_output, progress_bar

    check_output(args.out)
    objectives = [wanted(what) for what in args.draw]
    net = _net(args)
    for objective in objectives:
        objective.bound(net)  # a class or channel that is not there is said before the first is drawn
    pictures, stopped_at = [], None
    for objective in objectives:
        on_step = progress_bar()
        picture = draw(net, objective, args.steps, args.seed, on_step)
        on_step.bar.close()
        if on_step.stopped:
            stopped_at = (len(pictures) + on_step.done) / len(objectives)
        if on_step.done:
            pictures.append(picture)
        if on_step.stopped:
            break
    settings = _settings(args, net, draw=args.draw[: len(pictures)])
    drawing = sheet(pictures, args.draw) if len(pictures) > 1 else pictures[0] if pictures else None
    return _save(args.out, drawing, settings, stopped_at)


def _batch(args) -> int:
    from .batch import found

    _check_folder(args.out)
    jobs = []
    for picture in found(args.images):
        stem, suffix = os.path.splitext(picture.replace("\\", "/").rsplit("/", 1)[-1])
        suffix = suffix.lower() if suffix.lower() in (".jpg", ".jpeg", ".png") else ".png"
        out = f"{args.out.rstrip('/')}/{stem}{suffix}"
        jobs.append(_job(args, image=picture, out=out))
    reports = _many(args, jobs)
    print(args.out)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _check_folder(out):
    if os.path.isfile(out):
        raise DreamError(f"{out} is a file; -o takes a folder")


def _job(args, **more):
    """The settings of a dream with these arguments, for batch.py."""
    names = {action.dest for action in parsers()[1]["dream"]._actions} - {"help", "out", "size"}
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    return {"command": "dream"} | given | more


def _many(args, jobs):
    """Do the jobs, and tell what becomes of them; {out: report}."""
    from tqdm import tqdm

    from .batch import connected, dream_many, is_local
    from .dream import grey
    from .objectives import load_guide

    for name, read in (("mask", grey), ("guide", load_guide)):  # what is the same for all is looked at once
        given = getattr(args, name, None)
        if given and is_local(given):
            read(given)
    if args.workers is not None:
        check_number("workers", args.workers, int, lambda n: n > 0, "a whole number above 0")
        if args.scheduler is not None:
            raise DreamError("--workers is for this machine, and a --scheduler has its own; leave out one of them")
    reports, workers = {}, min(len(jobs), args.workers or os.cpu_count() or 1)
    try:
        with (
            _lines(args.report) as write,
            connected(args.scheduler, workers) as client,
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
        raise KeyboardInterrupt(f"; {done} of {len(jobs)} pictures are there, the same command goes on") from None
    failed = sum(bool(report["error"]) for report in reports.values())
    there = sum(report.get("skipped", False) for report in reports.values())
    print(f"{len(reports) - there - failed} made, {there} were there, {failed} failed")
    return reports


@contextmanager
def _lines(path):
    """A function that adds one line of JSON to this file, if there is to be one."""
    from .show import written

    def write(report):
        try:
            print(written(report), file=file, flush=True)
        except OSError as error:
            raise DreamError(f"cannot write {path}: {error.strerror or error}") from None

    try:
        file = open(path or os.devnull, "a")  # noqa: SIM115
    except OSError as error:
        raise DreamError(f"cannot write {path}: {error.strerror or error}") from None
    with file:
        yield write


def _values(args, name):
    """The values of one knob of a grid."""
    given = getattr(args, name)
    if not isinstance(given, str):
        return [given]
    action = next(action for action in parsers()[1]["dream"]._actions if action.dest == name)
    try:
        values = [(action.type or str)(part.strip()) for part in given.split(",")]
    except ValueError:
        raise DreamError(f"{name} is {given!r}; it must be numbers, separated by commas") from None
    if "" in values:
        raise DreamError(f"{name} is {given!r}; between its commas something is missing")
    return list(dict.fromkeys(values))


def _grid(args) -> int:
    from . import load_image, save_image, sheet
    from .show import check_output

    check_output(args.out)
    values = {name: _values(args, name) for name in VARIED}
    varied = [name for name in VARIED if len(values[name]) > 1]
    if not varied:
        raise DreamError("a grid needs a knob with several values, such as --iterations 5,10,20")
    titles = {action.dest: max(action.option_strings, key=len)[2:] for action in parsers()[1]["grid"]._actions
              if action.option_strings}  # fmt: skip
    folder, jobs, labels = Path(args.out).with_suffix(".pictures"), [], []
    _check_folder(folder)
    for point in product(*values.values()):
        chosen = dict(zip(values, point))
        labels.append(", ".join(str(chosen[n]) if n == "end" else f"{titles[n]} {_word(chosen[n])}" for n in varied))
        out = folder / f"{labels[-1].replace('/', '-')}.png"
        jobs.append(_job(args, **{n: v for n, v in chosen.items() if v is not None}, out=os.path.abspath(out)))
    reports = _many(args, jobs)
    made = {out: load_image(out) for out, report in reports.items() if not report["error"]}
    if made:
        first = next(iter(made))
        pictures = [made.get(job["out"], made[first] * 0 + 200) for job in jobs]  # grey where one failed
        given = {name: value for name in VARIED if (value := getattr(args, name)) is not None}
        settings = reports[first]["settings"] | given | {"command": "grid"}
        save_image(args.out, sheet(pictures, labels, len(values[varied[-1]])), settings)
        print(args.out)
    return 1 if len(made) < len(jobs) else 0


def _atlas(args) -> int:
    from .batch import is_local, write_atlas
    from .objectives import scores

    net = _net(args)
    if args.layer not in net.climbable:
        raise net.unknown(args.layer, net.climbable)
    if not is_local(args.out):
        raise DreamError(f"{args.out} is a URL; an atlas takes a folder here")
    _check_folder(args.out)
    n, folder, jobs = net.channels(args.layer), Path(args.out), []
    network = {"model": args.model or net.model.name, "engine": args.engine, "device": args.device, "dtype": args.dtype}
    for i in _channels(args.channels, n):
        about = {"draw": [f"channel({json.dumps(args.layer)}, {i})"], "steps": args.steps, "seed": args.seed}
        about |= {name: value for name, value in network.items() if value}
        jobs.append(about | {"out": os.path.abspath(folder / f"{i:05}.jpg")})
    names = net.labels if len(net.labels) == n and args.layer in (scores(net), net.layer_specs[-1].name) else []
    try:
        reports = _many(args, jobs)
    finally:  # after Ctrl-C, too
        page = folder.is_dir() and write_atlas(folder, args.layer, names)
    if page:
        print(page)
    return 1 if any(report["error"] for report in reports.values()) else 0


def _channels(text, n):
    """'0-3,7' -> [0, 1, 2, 3, 7]; all of n without a text."""
    if text is None:
        return range(n)
    chosen = []
    for part in text.split(","):
        ends = re.fullmatch(r"([0-9]+)(?:\s*-\s*([0-9]+))?", part.strip())
        if not ends or int(ends[2] or ends[1]) >= n or int(ends[2] or ends[1]) < int(ends[1]):
            raise DreamError(f"channels is {text!r}; it must be such as 0-63,200, of 0 to {n - 1}")
        chosen += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return list(dict.fromkeys(chosen))


def _save(out, image, settings, stopped_at) -> int:
    """Save the picture, finished, or as far as it was where Ctrl-C stopped it; the exit status."""
    from . import save_image

    if stopped_at is None:
        save_image(out, image, settings)
        print(out)
        return 0
    if not stopped_at:
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the picture is safe
    save_image(out, image, settings | {"stopped_at": stopped_at})
    print(f"{out} (stopped at {stopped_at:.0%})")
    return 130


def _layers(args) -> int:
    from . import caffemodel, zoo

    layers = zoo.layers(zoo.find(args.model))
    fields, climbable, shapes = caffemodel.receptive_fields(layers), caffemodel.climbable(layers), {}
    try:
        for layer, _, tops, _ in caffemodel.walk(layers, args.size):
            shapes[layer.name] = " x ".join(map(str, tops[0][1:]))
    except DreamError:
        pass  # the picture is too small for the rest
    row = "{:32} {:14} {:>20} {:>6}  {}".format
    print(row("layer", "type", "output", "sees", "climb"))
    for layer in layers:
        name, sees = layer.name, "all" if fields[layer.name] == float("inf") else f"{fields[layer.name]:.0f}"
        climbs = name in climbable and caffemodel.fits(layers, name, args.size)
        print(row(name, layer.type, shapes.get(name, "too small"), sees, "yes" if climbs else "-"))
    return 0


def _models(args) -> int:
    from . import zoo

    if args.action == "get":
        print(zoo.get(zoo.find(args.name or zoo.DEFAULT), again=True))
        return 0
    for name in zoo.names():
        model = zoo.find(name)
        get = f"`deepdream models get {name}`" if model.source else model.by_hand()
        try:
            where = model.file(".caffemodel") or f"not here; {get}"
        except DreamError as error:
            where = error
        print(f"{name}\n    {model.title}; default layer {model.default_layer}; licence: {model.licence}\n    {where}")
    return 0


def _size(text: str) -> tuple[int, int]:
    """'1024x575' -> (height, width)"""
    if not re.fullmatch("[1-9][0-9]*x[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 1024x575")
    width, height = map(int, text.split("x"))
    return height, width


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise DreamError(f"{message}; `{self.prog} --help` shows what is allowed")


@cache
def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and that of each command. What an argument is stored as is its name in Python and in settings."""
    parser = _Parser("deepdream", description="Deep dreams of photographs, with Caffe and GoogLeNet, as in 2015.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    model = "a network's name (`deepdream models`) or a folder with its files"
    picture = "where the {} goes, .jpg or .png; the settings travel in it"
    film = "where the film goes, .mp4, .webm, .gif, or a folder (no dot) for its frames; the settings travel in it"

    def add(name, run, out, **kwargs):
        p = commands.add_parser(name, **kwargs)
        p.set_defaults(run=run)
        if out:
            p.add_argument("-o", "--out", required=True, help=out)
            p.add_argument("--model", help=f"{model}; GoogLeNet where its weights can be had, else SqueezeNet")
            p.add_argument("--engine", help="caffe or torch; DEEPDREAM_ENGINE, else Caffe where it is installed")
            p.add_argument("--device", help="for torch: cpu, cuda, mps; cpu")
            p.add_argument("--dtype", help="for torch: float32 or bfloat16; float32")
        return p

    def goal(p):
        p.add_argument(
            "--layer",
            "--end",
            dest="end",
            metavar="NAME",
            help="layer to climb (`deepdream layers`); the network's default",
        )
        p.add_argument("--guide", metavar="IMAGE", help="dream of what is in this picture (of half a megapixel of it)")
        p.add_argument("--objective", metavar="SUM", help="what to climb in place of a layer, such as "
                       "\"L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)\"; of L2(layer), "
                       "guide(layer, image), channel(layer, i), unit(layer, i, x, y) and logit(class); "
                       "--objective=... where it begins with a minus")  # fmt: skip

    def knobs(p, seed, same, iterations=10, what="picture"):
        p.add_argument("--iterations", dest="iter_n", type=int, default=iterations, metavar="N",
                       help=f"steps an octave, {iterations}")  # fmt: skip
        p.add_argument("--octaves", dest="octave_n", type=int, default=4, metavar="N", help="sizes to dream at, 4")
        p.add_argument("--scale", dest="octave_scale", type=float, default=1.4, metavar="X",
                       help="from one octave's size to the next, 1.4")  # fmt: skip
        p.add_argument("--step", dest="step_size", type=float, default=1.5, metavar="X",
                       help="mean change of a colour value in a step, 1.5 of 255")  # fmt: skip
        p.add_argument(
            "--jitter", type=int, default=32, metavar="PX", help="largest random shift before a step, 32 pixels"
        )
        p.add_argument("--seed", type=int, default=seed, metavar="N", help=same)
        p.add_argument("--width", type=int, metavar="PX", help=f"resize the {what} first")
        p.add_argument("--mask", metavar="IMAGE", help="dream only where this picture is light")
        p.add_argument("--keep-color", action="store_true", help="change only how light each pixel is, not its colour")
        p.add_argument(
            "--smooth", type=float, default=0.0, metavar="PX", help="blur the gradient, against grain: try 1; 0"
        )
        p.add_argument("--tile", type=int, metavar="PX", help="send the picture through the network in tiles of this "
                       "size; only where half of the free memory, or DEEPDREAM_MEMORY (1.5GB), is too "
                       "little")  # fmt: skip

    def moving(p, scale):
        p.add_argument("--zoom", dest="scale", type=float, default=scale, metavar="X",
                       help=f"share of the sides that is cut off from frame to frame, {scale}")  # fmt: skip
        p.add_argument("--rotate", type=float, default=0.0, metavar="DEG", help="turn clockwise from frame to frame, 0")
        p.add_argument("--shift", type=float, nargs=2, default=[0.0, 0.0], metavar=("RIGHT", "DOWN"),
                       help="move the picture by so many pixels from frame to frame, 0 0")  # fmt: skip
        p.add_argument("--fps", type=float, default=25.0, metavar="N", help="frames a second, 25")

    def clipped(p):
        p.add_argument("--no-clip", dest="clip", action="store_false",
                       help="let colours leave 0..255, and scale the contrast at the end")  # fmt: skip

    def spread(p):
        p.add_argument("--workers", type=int, metavar="N", help="processes on this machine, one a core")
        p.add_argument("--scheduler", metavar="ADDRESS", help="work on this Dask cluster instead, tcp://host:8786")
        p.add_argument("--report", metavar="FILE", help="add a line of JSON for each picture: settings, seconds, "
                       "peak memory in bytes, sha256, error")  # fmt: skip

    def lasting(p):
        p.add_argument("--restart", action="store_true", help="throw away the frames of an earlier run; without, a run "
                       "that was stopped or killed goes on")  # fmt: skip

    p = add("dream", _dream, picture.format("dream"), help="dream a picture")
    p.add_argument("image", nargs="?", metavar="IN", help=f"the picture, in any common format, or {', '.join(SAMPLES)}")
    p.add_argument("--size", type=_size, metavar="WxH", help="dream of noise of this size, and not of a picture")
    goal(p)
    knobs(p, None, "the same number gives the same dream; without, one is drawn by lot, and told in the picture")
    clipped(p)

    p = add("draw", _draw, picture.format("picture"), help="draw what the network means by a class, from noise")
    p.add_argument("draw", nargs="+", metavar="WHAT", help="a class, by name or number ('anemone fish'), or an "
                   "objective, as for `dream`; several make a sheet")  # fmt: skip
    p.add_argument("--steps", type=int, default=300, metavar="N", help="300")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="another number draws another one; 0")

    p = add("zoom", _zoom, film, help="dream, enlarge, dream again: an endless zoom into a picture")
    p.add_argument("image", metavar="IN", help="the picture to begin with")
    p.add_argument("--frames", type=int, default=100, metavar="N", help="100; more make a film that is there longer")
    moving(p, 0.05)
    goal(p)
    knobs(p, 0, "of the first frame, and one more for each; 0")
    lasting(p)

    p = add("journey", _journey, film, help="zoom through the network's layers, from noise to whole animals")
    p.add_argument("image", nargs="?", metavar="IN", help="a picture to begin with, or else noise")
    p.add_argument("--layers", metavar="A,B,C", help="layers to climb, in turn, or `all`; ten of all depths")
    p.add_argument("--frames-per-layer", type=int, default=100, metavar="N", help="100")
    p.add_argument("--cross-fade", type=int, metavar="N", help="the last frames of a layer, in which the next takes "
                   "over; a quarter of them")  # fmt: skip
    p.add_argument("--size", type=_size, metavar="WxH", help="size of a film from noise, 640x360")
    moving(p, 0.02)
    knobs(p, 0, "of the noise and of the first frame, and one more for each; 0", iterations=4)
    lasting(p)

    p = add("video", _video, film, help="dream over a film, without flicker, and keep its sound")
    p.add_argument("source", metavar="IN", help="the film, in any common format")
    p.add_argument("--blend", type=float, default=0.9, metavar="X", help="how much of the last frame's dream goes on "
                   "in the next, 0 (each for itself) to below 1; 0.9")  # fmt: skip
    p.add_argument("--start", type=int, default=0, metavar="N", help="first frame, 0")
    p.add_argument("--stop", type=int, metavar="N", help="the frame before which to stop; the end")
    p.add_argument("--stride", type=int, default=1, metavar="N", help="dream every Nth frame, shown N times as long; 1")
    goal(p)
    knobs(p, 0, "of every frame; 0", what="film")
    lasting(p)

    p = add("batch", _batch, "a folder, or a URL of one, for the dreams", help="dream many pictures, on all cores or a "
            "cluster; what is there already is not made again")  # fmt: skip
    p.add_argument(
        "images", nargs="+", metavar="IN", help="pictures, folders, patterns such as 'photos/*.jpg', or URLs"
    )
    goal(p)
    knobs(p, 0, "of every picture; 0")
    clipped(p)
    spread(p)

    p = add("grid", _grid, picture.format("sheet"), help="dream a picture with all combinations of some settings, side "
            "by side: --end, --iterations and others take several values, a,b,c")  # fmt: skip
    p.add_argument("image", metavar="IN", help="the picture")
    goal(p)
    knobs(p, 0, "0")
    clipped(p)
    spread(p)
    for action in p._actions:
        if action.dest in VARIED:
            action.type, action.metavar = None, "A,B,C"
    p.set_defaults(width=320)

    p = add("atlas", _atlas, "a folder for the pictures and their page, index.html", help="draw each channel of a "
            "layer from the same noise, and a page to search them")  # fmt: skip
    p.add_argument("--layer", required=True, metavar="NAME", help="the layer (`deepdream layers`)")
    p.add_argument("--channels", metavar="A-B,C", help="only these; all")
    p.add_argument("--steps", type=int, default=300, metavar="N", help="of each drawing, 300")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise, 0")
    spread(p)

    p = add("serve", _serve, None, help="the studio: a page of knobs for people who do not program")
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen on this address, so that others can "
                   "come; a token is then asked for; 127.0.0.1, for this machine only")  # fmt: skip
    p.add_argument("--port", type=int, metavar="N", help="8866, or the next that is free")
    p.add_argument("--token", help="what visitors have to know; with --host one is made up and shown")
    p.add_argument("--at-once", type=int, metavar="N",
                   help="so many visitors dream at once, and others queue; half the cores")  # fmt: skip
    p.add_argument("--idle", type=float, default=30.0, metavar="MIN",
                   help="minutes after which a page that nobody uses is let go, 30")  # fmt: skip
    p.add_argument("--browser", action="store_true", help="open the page here")

    p = add("replay", _replay, None, help="show the command that made a picture or film, or run it again")
    p.add_argument("file", metavar="FILE", help="what was made: .jpg, .png, .mp4, .webm, .gif, or a folder of frames")
    p.add_argument("-o", "--out", help="run it again, and write this; options after FILE (--seed 5) overrule")

    p = add(
        "layers", _layers, None, help="list a network's layers: shape, receptive field, whether a dream can climb it"
    )
    p.add_argument("--model", default="bvlc_googlenet", help=f"{model}; bvlc_googlenet")
    p.add_argument("--size", type=_size, metavar="WxH", help="size of the picture, such as 1024x575; the network's own")

    p = add("models", _models, None, help="list the networks and where their weights are, or get weights")
    p.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    p.add_argument("name", nargs="?", help="the network to get, bvlc_googlenet")
    return parser, commands.choices


if __name__ == "__main__":
    sys.exit(main())
