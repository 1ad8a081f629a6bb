"""The parser, made from the table in settings.py: words become a recipe."""

import argparse
import re
import shlex
import sys
from functools import cache
from typing import Any, NoReturn

from .. import looks
from .. import recipe as table
from ..errors import DreamError, unknown
from ..settings import REQUIRED, Params, Setting, read, rows_of

FILM = "where the film goes, with its settings: .mp4, .webm, .gif, or a folder (no dot) of frames"
PICTURE = "where the {} goes, .jpg or .png; it carries its settings"
SHEET = PICTURE.format("sheet")
# What each command does, and what its -o takes; those without one make no recipe.
COMMANDS = {
    "dream": ("dream a picture", PICTURE.format("dream")),
    "looks": ("list the looks, recipes with a name; or show a picture in all", SHEET),
    "look": ("show the classes, and the strongest channels, that a network sees in a picture", ""),
    "draw": ("draw what the network means by a class, from noise", PICTURE.format("drawing")),
    "zoom": ("dream, enlarge, dream again: an endless zoom into a picture", FILM),
    "journey": ("zoom through the network's layers, from noise to whole animals", FILM),
    "video": ("dream over a film, without flicker, and keep its sound", FILM),
    "batch": (
        "dream many pictures, on all cores or a cluster; what is already there is not made again",
        "a folder, or the URL of one, for the dreams",
    ),
    "grid": (
        "dream a picture with all combinations of some settings, side by side: "
        "--layer, --iterations and others take several values, a,b,c",
        SHEET,
    ),
    "atlas": (
        "draw each channel of a layer from the same noise, and a page to search them",
        "a folder for the pictures and their page, index.html",
    ),
    "train": (
        "train a network on pictures of your own, to dream of what they show",
        "a folder for the network; give it to --model afterwards",
    ),
    "serve": ("open the studio, a page of knobs for people who do not program", ""),
}
# The commands that have no recipe
REPLAY = "show the command that made a picture or film, or run it again"
LAYERS = "list a network's layers: shape, receptive field, whether a dream can climb it"
MODELS = "list the networks and where their weights are, get weights, or import a network"
# The options of `models import`: {name in `import_net`: what argparse is told}
IMPORT: dict[str, Params] = {
    "out": {"flags": ["-o", "--out"], "help": "a new folder for the network; give it to --model"},
    "size": {"metavar": "N", "help": "its picture, N or NxN pixels (default: its own, or 224)"},
    "mean": {"nargs": "+", "type": float, "metavar": "X", "help": (
        "mean of red, green and blue, in --range (default: ImageNet's, 0.485 0.456 0.406 of 0..1)"
    )},
    "std": {"nargs": "+", "type": float, "metavar": "X", "help": (
        "what they are divided by after that (default: ImageNet's, 0.229 0.224 0.225 of 0..1)"
    )},
    "value_range": {"flags": ["--range"], "metavar": "0..1", "help": (
        "the values of colours that the network wants, 0..1 or 0..255 (default: 0..1)"
    )},
    "rgb": {"action": "store_true", "help": "the network wants red, green, blue (default)"},
    "bgr": {"action": "store_true", "help": "the network wants blue, green, red"},
    "labels": {"metavar": "FILE", "help": (
        "the names of its classes, one a line (default: ImageNet's, if it has 1,000)"
    )},
    "until": {"metavar": "NAME", "help": "the node or module that ends it, if not the last"},
    "default_layer": {"flags": ["--layer"], "metavar": "NAME", "help": (
        "the layer to dream of without --layer (default: one at two thirds of its depth)"
    )},
    "title": {"help": "what the network is, in a few words"},
    "licence": {"help": "the licence of its weights"},
    "replace": {"action": "store_true", "help": "replace the imported network in that folder"},
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser that knows its options, takes none cut short, and raises DreamError."""

    def __init__(self, *args: Any, **about: Any) -> None:
        self.options: list[str] = []
        super().__init__(*args, allow_abbrev=False, **about)

    def add_argument(self, *names: str, **about: Any) -> argparse.Action:
        self.options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **about)

    def error(self, message: str) -> NoReturn:
        raise DreamError(f"{message}; `{self.prog} --help` shows what is allowed")

    def refuse(self, words: list[str]) -> DreamError:
        """The error for words that this parser does not know."""
        wrong = words[0].split("=")[0]
        if wrong.startswith("-"):
            advice = f"`{self.prog} --help` shows all of them"
            return unknown("option", wrong, self.options, advice)
        advice = f"`{self.prog} --help` shows what is allowed"
        return DreamError(f"unknown arguments: {shlex.join(words)}; {advice}")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """What these words of the command line say: `command`, `recipe` if it
    has one, `out`, and other arguments. Raises DreamError for words that
    make no sense.
    """
    words = sys.argv[1:] if words is None else words
    parser, commands = make_parser()
    try:
        args, rest = parser.parse_known_args(words)
    except DreamError:
        _check_options(words, commands)
        raise
    if args.command == "replay":
        args.rest = rest
    elif rest:
        raise commands[args.command].refuse(rest)
    if vars(args).get("out") == "":
        raise DreamError("-o is ''; it must be the path of what is to be written")
    if args.command in COMMANDS:
        given = looks.begin(_read_given(args, args.command))
        args.recipe = table.complete(args.command, given)
    return args


def _check_options(words: list[str], commands: dict[str, Parser]) -> None:
    """Raise a DreamError for --output, rather than that --out is missing."""
    parser = commands.get(words[0]) if words else None
    if parser is None or words[0] == "replay":
        return
    options = [word for word in words if re.match("--[a-z]", word)]
    wrong = [option for option in options if option.split("=")[0] not in parser.options]
    if wrong:
        raise parser.refuse(wrong)


def parse_replaced(words: list[str], command: str) -> Params:
    """{name: value} of settings that replace others. Raises DreamError."""
    parser = Parser(f"deepdream {command}")
    for row in rows_of(command).values():
        if row.is_option:
            add_option(parser, row)
    args, rest = parser.parse_known_args(words)
    if rest:
        raise parser.refuse(rest)
    return _read_given(args, command)


def _read_given(args: argparse.Namespace, command: str) -> Params:
    """{name: value} of the settings that were given, read from their words."""
    rows = rows_of(command)
    given = {name: value for name, value in vars(args).items() if name in rows}
    for name, value in given.items():
        if isinstance(value, str):
            given[name] = read(command, name, value)
        elif isinstance(value, list):
            given[name] = [read(command, name, each) for each in value]
    return given


@cache
def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """(the parser of all commands, that of each); words stand under setting names."""
    about = "Deep dreams of photographs, with Caffe and GoogLeNet, as in 2015."
    parser = Parser("deepdream", description=about)
    parser.add_argument("--version", action="version", version=table.VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (does, out) in COMMANDS.items():
        p = commands.add_parser(name, help=does, description=does)
        for row in rows_of(name).values():
            add_option(p, row)
        if out:
            p.add_argument("-o", "--out", required=name != "looks", help=out)
    made = "what was made: .jpg, .png, .mp4, .webm, .gif, or a folder of frames"
    again = "run it again, and write this; options after FILE (--seed 5) replace its own"
    p = commands.add_parser("replay", help=REPLAY)
    p.add_argument("file", metavar="FILE", help=made)
    p.add_argument("-o", "--out", help=again)
    model = "a network's name or a folder; without it, the one that `dream` takes"
    size = "size of the picture, such as 1024x575; without it, the network's own"
    p = commands.add_parser("layers", help=LAYERS)
    p.add_argument("--model", help=model)
    p.add_argument("--size", metavar="WxH", help=size)
    which = (
        "the network; without it, list shows all, and get takes bvlc_googlenet; "
        "import takes a file, .onnx or .pt2"
    )
    p = commands.add_parser("models", help=MODELS)
    p.add_argument("action", nargs="?", choices=("list", "get", "import"), default="list")
    p.add_argument("name", nargs="?", help=which)
    group = p.add_argument_group("of import")
    for name, about in IMPORT.items():
        flags = about.get("flags", [f"--{name}"])
        about = {key: value for key, value in about.items() if key != "flags"}
        group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, **about)
        p.options += flags
    return parser, commands.choices


def add_option(parser: argparse.ArgumentParser, row: Setting) -> None:
    """Add a row of the table to a command's parser."""
    about: Params = {"help": row.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if row.kind is bool:
        about |= {"action": "store_const", "const": not row.default}
        parser.add_argument(row.option, dest=row.name, **about)
        return
    about["nargs"] = row.count
    if not row.is_option:
        parser.add_argument(row.name, metavar=row.option, **about)
        return
    if row.default not in (None, REQUIRED):
        values = row.default if isinstance(row.default, list) else [row.default]
        about["help"] += f" (default: {' '.join(map(str, values))})"
    names = [row.option, row.alias] if row.alias else [row.option]
    about["metavar"] = _metavar(row)
    about["required"] = row.default is REQUIRED
    parser.add_argument(*names, dest=row.name, **about)


def _metavar(row: Setting) -> str | tuple[str, ...]:
    """What stands for the value of an option in its help."""
    if row.varies:
        return "A,B,C"
    letters = {int: "N", float: "X"}
    return row.metavar or letters.get(row.kind, row.option)
