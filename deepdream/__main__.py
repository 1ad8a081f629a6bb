"""The command line: deepdream dream | draw | layers | models."""

import argparse
import re
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

from . import __version__
from .errors import DreamError


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for something that was given wrong, 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    warnings.showwarning = lambda message, *_, **__: print(f"deepdream: {message}", file=sys.stderr)
    try:
        return args.run(args)
    except DreamError as error:
        print(f"deepdream: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # PyTorch's word for it
            raise
        cure = "; make the pictures smaller with --width" if hasattr(args, "width") else ""
        print(f"deepdream: there is not enough memory{cure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deepdream: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `deepdream layers | head`
        sys.stdout = None
        return 0


def _dream(args) -> int:
    from . import deepdream, guide_features, load_image, load_net, objective_guide
    from .dream import visible
    from .objectives import parse
    from .show import check_output, progress_bar

    check_output(args.out)
    if args.objective is not None and (args.layer or args.guide):
        raise DreamError("--objective names its own layers and guides; leave out --layer and --guide")
    objective = None if args.objective is None else parse(args.objective)
    image = load_image(args.image, args.width)
    guide = load_image(args.guide) if args.guide else None
    net = load_net(args.model, args.engine, args.device, args.dtype)
    end = args.layer or net.default_layer
    if not (end or objective):
        raise DreamError(
            f"{net.model.name} has no default layer; choose one with --layer (`deepdream layers --model {args.model}`)"
        )
    params = {
        "iter_n": args.iterations, "octave_n": args.octaves, "octave_scale": args.scale, "end": end,
        "clip": not args.no_clip, "step_size": args.step, "jitter": args.jitter, "seed": args.seed,
    }  # fmt: skip
    further = {"tile": args.tile, "smooth": args.smooth or None, "keep_color": args.keep_color or None}
    params |= {name: value for name, value in further.items() if value is not None}
    settings = {"deepdream": __version__, "model": net.model.name, **net.engine, "image": Path(args.image).name}
    settings |= {"width": image.shape[1], "guide": args.guide and Path(args.guide).name, **params}
    if args.mask:
        params["mask"], settings["mask"] = args.mask, Path(args.mask).name
    if objective:
        del settings["end"]
        params["objective"], settings["objective"] = objective, str(objective)
    if guide is not None:
        params["objective"] = partial(objective_guide, guide_features=guide_features(net, guide, end))
    on_step = progress_bar()
    dream = deepdream(net, image, on_step=on_step, **params)
    on_step.bar.close()
    return _save(args.out, visible(dream, params["clip"]), settings, on_step.done if on_step.stopped else None)


def _draw(args) -> int:
    from . import draw, load_net, sheet
    from .objectives import wanted
    from .show import check_output, progress_bar

    check_output(args.out)
    objectives = [wanted(what) for what in args.what]
    net = load_net(args.model, args.engine, args.device, args.dtype)
    for objective in objectives:
        objective.bound(net)  # a class or channel that is not there is said before the first is drawn
    pictures, stopped_at = [], None
    for objective in objectives:
        on_step = progress_bar()
        picture = draw(net, objective, steps=args.steps, seed=args.seed, on_step=on_step)
        on_step.bar.close()
        if on_step.stopped:
            stopped_at = (len(pictures) + on_step.done) / len(objectives)
        if on_step.done:
            pictures.append(picture)
        if on_step.stopped:
            break
    settings = {"deepdream": __version__, "model": net.model.name, **net.engine}
    settings |= {"draw": list(map(str, objectives[: len(pictures)])), "steps": args.steps, "seed": args.seed}
    drawing = sheet(pictures, args.what) if len(pictures) > 1 else pictures[0] if pictures else None
    return _save(args.out, drawing, settings, stopped_at)


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
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` shows what is allowed\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("deepdream", description="Deep dreams of photographs, with Caffe and GoogLeNet, as in 2015.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    model = "a network's name (`deepdream models`) or a folder with its files"

    def network(p):
        p.add_argument("--model", help=f"{model}; GoogLeNet where its weights can be had, else SqueezeNet")
        p.add_argument("--engine", help="caffe or torch; DEEPDREAM_ENGINE, else Caffe where it is installed")
        p.add_argument("--device", help="for torch: cpu, cuda, mps; cpu")
        p.add_argument("--dtype", help="for torch: float32 or bfloat16; float32")

    p = commands.add_parser("dream", help="dream a picture")
    p.set_defaults(run=_dream)
    p.add_argument("image", metavar="IN", help="the picture, in any common format")
    p.add_argument("-o", "--out", required=True, help="where the dream goes, .jpg or .png; the settings travel in it")
    network(p)
    p.add_argument("--layer", metavar="NAME", help="layer to climb (`deepdream layers`); the network's default")
    p.add_argument("--iterations", type=int, default=10, metavar="N", help="steps an octave, 10")
    p.add_argument("--octaves", type=int, default=4, metavar="N", help="sizes to dream at, 4")
    p.add_argument("--scale", type=float, default=1.4, metavar="X", help="from one octave to the next, 1.4")
    p.add_argument(
        "--step", type=float, default=1.5, metavar="X", help="mean change of a colour value in a step, 1.5 of 255"
    )
    p.add_argument("--jitter", type=int, default=32, metavar="PX", help="largest random shift before a step, 32 pixels")
    p.add_argument("--no-clip", action="store_true", help="let colours leave 0..255, and scale the contrast at the end")
    p.add_argument("--guide", metavar="IMAGE", help="dream of what is in this picture")
    p.add_argument("--seed", type=int, metavar="N", help="the same number gives the same dream")
    p.add_argument("--width", type=int, metavar="PX", help="resize the picture first")
    p.add_argument("--objective", metavar="SUM", help="what to climb in place of a layer, such as "
                   "\"L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)\"; of L2(layer), "
                   "guide(layer, image), channel(layer, i), unit(layer, i, x, y) and logit(class); "
                   "--objective=... where it begins with a minus")  # fmt: skip
    p.add_argument("--mask", metavar="IMAGE", help="dream only where this picture is light")
    p.add_argument("--keep-color", action="store_true", help="change only how light each pixel is, not its colour")
    p.add_argument("--smooth", type=float, default=0.0, metavar="PX", help="blur the gradient, against grain: try 1; 0")
    p.add_argument("--tile", type=int, metavar="PX", help="send the picture through the network in tiles of this size; "
                   "only where half of the free memory, or DEEPDREAM_MEMORY (1.5GB), does not suffice")  # fmt: skip

    p = commands.add_parser("draw", help="draw what the network means by a class, from noise")
    p.set_defaults(run=_draw)
    p.add_argument("what", nargs="+", metavar="WHAT", help="a class, by name or number ('anemone fish'), or an "
                   "objective, as for `dream`; several make a sheet")  # fmt: skip
    p.add_argument("-o", "--out", required=True, help="where the picture goes, .jpg or .png; the settings travel in it")
    network(p)
    p.add_argument("--steps", type=int, default=300, metavar="N", help="300")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="another number draws another one; 0")

    p = commands.add_parser(
        "layers", help="list a network's layers: shape, receptive field, whether a dream can climb it"
    )
    p.set_defaults(run=_layers)
    p.add_argument("--model", default="bvlc_googlenet", help=f"{model}; bvlc_googlenet")
    p.add_argument("--size", type=_size, metavar="WxH", help="size of the picture, such as 1024x575; the network's own")

    p = commands.add_parser("models", help="list the networks and where their weights are, or get weights")
    p.set_defaults(run=_models)
    p.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    p.add_argument("name", nargs="?", help="the network to get, bvlc_googlenet")
    return parser


if __name__ == "__main__":
    sys.exit(main())
