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
from ..settings import REQUIRED, Setting, read, rows_of

FILM = "where the film goes, .mp4, .webm, .gif, or a folder (no dot) for its frames; it carries its settings"
PICTURE = "where the {} goes, .jpg or .png; it carries its settings"
# What each command does, and what its -o takes; those without one make no recipe.
COMMANDS = {
    "dream": ("dream a picture", PICTURE.format("dream")),
    "looks": (
        "list the looks, recipes with a name; or show a picture in all of them",
        PICTURE.format("sheet"),
    ),
    "look": (
        "show what the network sees in a picture: its classes, and the channels that answer most",
        "",
    ),
    "draw": ("draw what the network means by a class, from noise", PICTURE.format("drawing")),
    "zoom": ("dream, enlarge, dream again: an endless zoom into a picture", FILM),
    "journey": ("zoom through the network's layers, from noise to whole animals", FILM),
    "video": ("dream over a film, without flicker, and keep its sound", FILM),
    "batch": (
        "dream many pictures, on all cores or a cluster; what is already there is not made again",
        "a folder, or the URL of one, for the dreams",
    ),
    "grid": (
        "dream a picture with all combinations of some settings, side by side: --layer, --iterations and others "
        "take several values, a,b,c",
        PICTURE.format("sheet"),
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


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """What these words of the command line say: `command`, `recipe` if it has one,
    `out`, and other arguments.

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
            raise unrecognized(wrong, commands[command]) from None
        raise
    if args.command == "replay":
        args.rest = rest
    elif rest:
        raise unrecognized(rest, commands[args.command])
    if vars(args).get("out") == "":
        raise DreamError("-o is ''; it must be the path of what is to be written")
    if args.command in COMMANDS:
        args.recipe = table.complete(args.command, looks.begin(read_given(args, args.command)))
    return args


def read_given(args: argparse.Namespace, command: str) -> dict[str, Any]:
    """{name: value} of the settings that were given, read from their words."""
    rows = rows_of(command)
    given = {name: value for name, value in vars(args).items() if name in rows}
    for name, value in given.items():
        if isinstance(value, str):
            given[name] = read(command, name, value)
        elif isinstance(value, list):
            given[name] = [read(command, name, each) for each in value]
    return given


class Parser(argparse.ArgumentParser):
    """A parser that knows its own options, takes none that is cut short, and raises a
    DreamError.
    """

    def __init__(self, *args: Any, **about: Any) -> None:
        self.options: list[str] = []
        super().__init__(*args, allow_abbrev=False, **about)

    def add_argument(self, *names: str, **about: Any) -> argparse.Action:
        self.options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **about)

    def error(self, message: str) -> NoReturn:
        raise DreamError(f"{message}; `{self.prog} --help` shows what is allowed")


def _unknown_options(words: list[str], parser: Parser | None) -> list[str]:
    """The words that look like options and that this command does not have."""
    options = [word for word in words if re.match("--[a-z]", word)]
    return [option for option in options if parser and option.split("=")[0] not in parser.options]


def unrecognized(words: list[str], parser: Parser) -> DreamError:
    wrong = words[0].split("=")[0]
    if wrong.startswith("-"):
        return unknown("option", wrong, parser.options, f"`{parser.prog} --help` shows all of them")
    return DreamError(
        f"unknown arguments: {shlex.join(words)}; `{parser.prog} --help` shows what is allowed"
    )


@cache
def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """(the parser of all commands, that of each). They store the words that are given
    for a setting under its name.
    """
    parser = Parser(
        "deepdream", description="Deep dreams of photographs, with Caffe and GoogLeNet, as in 2015."
    )
    parser.add_argument("--version", action="version", version=table.VERSION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (does, out) in COMMANDS.items():
        p = commands.add_parser(name, help=does, description=does)
        for row in rows_of(name).values():
            add_option(p, row)
        if out:
            p.add_argument("-o", "--out", required=name != "looks", help=out)
    p = commands.add_parser(
        "replay", help="show the command that made a picture or film, or run it again"
    )
    p.add_argument(
        "file",
        metavar="FILE",
        help="what was made: .jpg, .png, .mp4, .webm, .gif, or a folder of frames",
    )
    p.add_argument(
        "-o",
        "--out",
        help="run it again, and write this; options after FILE (--seed 5) replace its own",
    )
    p = commands.add_parser(
        "layers",
        help="list a network's layers: shape, receptive field, whether a dream can climb it",
    )
    p.add_argument(
        "--model", help="a network's name or a folder; without it, the one that `dream` takes"
    )
    p.add_argument(
        "--size",
        metavar="WxH",
        help="size of the picture, such as 1024x575; without it, the network's own",
    )
    p = commands.add_parser(
        "models", help="list the networks and where their weights are, or get weights"
    )
    p.add_argument("action", nargs="?", choices=("list", "get"), default="list")
    p.add_argument(
        "name",
        nargs="?",
        help="the network; without it, list shows all, and get takes bvlc_googlenet",
    )
    return parser, commands.choices


def add_option(parser: argparse.ArgumentParser, row: Setting) -> None:
    """Add a row of the table to a command's parser."""
    about: dict[str, Any] = {"help": row.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if row.kind is bool:
        parser.add_argument(
            row.option, dest=row.name, action="store_const", const=not row.default, **about
        )
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
