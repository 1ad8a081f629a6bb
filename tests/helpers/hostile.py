"""Bad input, 1,500 pieces of it, for the command line and for Python; each is made from
its number alone.

    python hostile.py 0-1500    runs these, and prints a line of JSON for each that goes
    wrong, and one for them all python hostile.py 17        runs one, and shows it

Some of it may abort or hang, and there is much of it. So this process imports all that
is heavy once, and each case runs in a fork of it, in a folder of its own; every
nineteenth is a real `python -m deepdream`.
"""

import collections
import contextlib
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import import_module
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from pkgutil import walk_packages

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}  # threads would not survive a fork

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TOY, V1, write_model
from distributed import Client, LocalCluster
from PIL import Image, PngImagePlugin

import deepdream as dd
from deepdream import batch, language, recipe, settings  # noqa: F401
from deepdream.cli import (
    commands,  # noqa: F401
    parser,
)
from deepdream.cli import main as cli
from deepdream.errors import DreamError
from deepdream.films import keys
from deepdream.nets import caffemodel, shapes, zoo
from deepdream.pictures import READABLE, WRITABLE

LATE = "fsspec.core", "pooch", "psutil", "requests", "scipy.ndimage"  # imported late
PNG = b"\x89PNG\r\n\x1a\n"
TIMEOUT = 90  # seconds for a case; most take a tenth of one
LIMIT = 6 << 30  # bytes of address space
LONGEST = 600  # characters of a message
GONE = "http://127.0.0.1:9"
OFFLINE = {"http_proxy": GONE, "https_proxy": GONE, "PIP_INDEX_URL": GONE, "PIP_RETRIES": "0"}

# A command line for each command, which works, and quickly, in the folder that
# `furnish` makes; only `looks`, which the toy network has none of, and `serve` are
# refused.
LINES = {
    "dream": "dream in.png -o out.png --model toy --iterations 1 --octaves 2 --seed 0",
    "looks": "looks in.png -o out.png --model toy --width 40",
    "look": "look in.png --model toy",
    "draw": "draw 3 -o out.png --model toy --steps 2",
    "zoom": "zoom in.png -o out.gif --model toy --frames 2 --iterations 1 --octaves 1",
    "journey": "journey in.png -o out.gif --model toy --layers both --frames-per-layer 2 "
    "--iterations 1 --octaves 1",
    "video": "video in.gif -o out.gif --model toy --iterations 1 --octaves 1",
    "batch": "batch in.png -o dreams --model toy --iterations 1 --octaves 1 --workers 1",
    "grid": "grid in.png -o out.png --model toy --iterations 0,1 --octaves 1 --width 40 "
    "--workers 1",
    "atlas": "atlas -o atlas --model toy --layer both --channels 0-1 --steps 1 --workers 1",
    "train": "train classes -o trained --from toy --engine caffe --steps 1 --batch 2 --width 40",
    "serve": "serve --idle 0",  # a page would be served for ever
    "replay": "replay made.png -o out.png",
    "layers": "layers --model toy --size 40x30",
    "models": "models list toy",
}
MAKERS = [command for command, (_, out) in parser.COMMANDS.items() if out and command != "looks"]
# Where a path can stand, as @; what is missing comes from LINES
READS = [
    "dream @ -o out.png",
    "dream in.png -o out.png --mask @",
    "dream in.png -o out.png --guide @",
    "look @",
    "dream in.png -o out.png --objective guide('left','@')",
    "draw caricature('left','@') -o out.png",
    "replay @",
    "replay @ -o out.png",
    "zoom @ -o out.gif",
    "video @ -o out.gif",
    "video in.gif -o out.gif --mask @",
    "batch @ -o d",
    "video in.gif -o out.gif --guide @",
    "look in.png --after @",
    "train classes -o trained --watch @",
    "train @ -o t",
    "grid @ -o out.png",
    "looks @ -o out.png",
    "journey @ -o out.gif",
]
WRITES = [
    "dream in.png -o @",
    "draw 3 -o @",
    "zoom in.png -o @",
    "video in.gif -o @",
    "grid in.png -o @",
    "atlas -o @",
    "batch in.png -o @",
    "train classes -o @",
    "train classes -o trained --watch in.png --film @",
    "replay made.png -o @",
    "batch in.png -o d --report @",
    "journey in.png -o @",
    "dream in.png -o out.png --model @",
    "layers --model @",
    "zoom in.png -o out.gif --keys @",
    "models list @",
    "models get @",
    "train classes -o trained --from @",
]

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "\uff11",
    "\u0663",
    "½",
    "∞",
    "",
    " ",
    "0x10",
    "0b1",
    "1_0",
    "1e1",
    "+1",
    "1.5",
    "-1",
    "-0",
    "0",
    "9" * 30,
    "9" * 5000,
    "1,2",
    "1 ",
    "\t1",
    "1\n",
    "--",
    "-",
    "None",
    "1j",
    "\x1b[31m1",
    "\udcff",
    str(2**31),
    str(2**63),
    str(-(2**64)),
    "1" + "0" * 400 + ".5",
]
TEXTS = [
    "",
    " ",
    "x" * 5000,
    "a\nb",
    "\x1b[31mred",
    "../..",
    "é",
    "\udcff",
    "%s%n",
    "{setting}",
    "{0}",
    "-",
    "--",
    ",",
    "both,",
    "both,both",
    "🦆",
    "\u202eabc",
    "None",
    "0",
    "%00",
    "a\tb",
    "both\\0",
    "~",
    "*",
    "[",
    "(",
    "$(id)",
    "both" * 200,
    "auto",
    "\x7f",
    "\x9b2J",
    "a\r\nb",
    "\u2028",
    "1x1",
    "1-",
    "9-1",
    "0-99999999999",
]
STEMS = [
    "absent",
    "folder",
    "",
    "x" * 300,
    "y/" * 2500 + "z",
    "fifo",
    "broken",
    "loop",
    "null",
    "a\nb",
    "\x1b[31mred",
    "\udcff",
    "\u202egnp",
    "-x",
    "a b",
    "in",
    "no/such/in",
    "in.png/in",
    "fifo/in",
    "%00",
    "{setting}",
    "é" * 130,
    "file:in",
    "in\r",
    "~",
    "*",
    "[a",
    "?",
    "toy/in",
    "\x7f",
    "http://127.0.0.1:9/in",
    "nosuch://in",
    "a:b",
    "'\"",
    "classes",
    "\u2028",
    "a%d",
]
# What JSON can hold
VALUES = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "1.5",
    "1e400",
    "-1e999",
    "NaN",
    "Infinity",
    "1" + "0" * 400,
    '""',
    '"x"',
    '"\\ud800"',
    '"\\u001b[2J\\n"',
    '"\\u0000"',
    "[]",
    "[1]",
    "[1, 2]",
    "[[1], 2]",
    "{}",
    '{"a": 1}',
    "[null]",
    "-0.0",
    "[" * 3000 + "]" * 3000,
    '"' + "x" * 3000 + '"',
    str(2**63),
    '"1"',
    '"{setting}"',
    '"\\udcff.png"',
    '"../in.png"',
]
TOML_VALUES = [
    '""',
    "1",
    "-1",
    "1.5",
    "nan",
    "inf",
    "true",
    "[]",
    "[1]",
    '["a", 1]',
    "{}",
    "{a = 1}",
    "1979-05-27",
    '"\\u0000"',
    "[104, 117, 1e400]",
    '"../../../../etc/passwd"',
    '"in.png"',
    "[" * 2000 + "]" * 2000,
    '"""a\nb"""',
    '"\\u001b[2J"',
    "[[1, 2], [3]]",
    "[1, [2], 3]",
    "9" * 4000,
    '"' + "x" * 4000 + '"',
    "07:32:00",
    "[true, true, true]",
    "[[]]",
]
# The same in Python
THINGS = [
    "None",
    "True",
    "-1",
    "0",
    "10**400",
    "1.5",
    "nan",
    "-inf",
    "'x'",
    "''",
    "b'x'",
    "[]",
    "{}",
    "[1, 2]",
    "object()",
    "np.float32(nan)",
    "np.array([1, 2])",
    "np.int8(-1)",
    "net",
    "image",
    "len",
    "1j",
    r"'\ud800'",
    r"'\0'",
    "()",
    "'x' * 5000",
    "Path('in.png')",
    r"'\x1b[31m'",
    "'{setting}'",
    "int",
    "...",
    "np.array(None)",
    "range(3)",
    "{1}",
]
IMAGES = [
    "None",
    "'in.png'",
    "image[0]",
    "image[..., :2]",
    "image[:0]",
    "image.astype(complex)",
    "image.astype(str)",
    "42",
    "image.astype(object)",
    "image * nan",
    "image + inf",
    "image > 9",
    "image * 1e38",
    "image.tolist()",
    "image[::-1]",
    "image[:1, :1]",
    "np.zeros((2, 2, 3, 3))",
    "image.astype('>f4')",
    "image.astype('M8[s]')",
    "[image, image]",
    "{}",
    "np.ma.array(image, mask=True)",
    "image.astype(np.float16) * 1e4",
    "-image.astype(int)",
    "image[..., [0] * 4]",
    "np.empty((0, 0, 3))",
    "image.astype('V4')",
    "np.array([[[None] * 3]])",
    "image.T",
    "image.astype('U9')",
    "Image",
]
CALLS = [
    "dd.load_image({path})",
    "dd.load_image('in.png', {thing})",
    "dd.save_image({path}, image)",
    "dd.read_settings({path})",
    "dd.save_image('out.png', {image})",
    "dd.save_image('out.png', image, {thing})",
    "dd.load_net({path}, 'caffe')",
    "dd.load_net('toy', {thing})",
    "dd.load_net('toy', 'caffe', {thing})",
    "dd.load_net('toy', 'caffe', 'cpu', {thing})",
    "dd.load_net({thing}, 'caffe')",
    "dd.deepdream(net, {image}, **few)",
    "dd.deepdream(net, {image}, **few)",
    "dd.deepdream(net, image, **few | {{'{dreams}': {thing}}})",
    "dd.deepdream(net, image, **few | {{'{dreams}': {thing}}})",
    "dd.deepdream(net, image, mask={image}, **few)",
    "dd.draw(net, {thing}, steps=1)",
    "dd.preprocess(net, {image})",
    "dd.draw(net, 3, **{{'steps': 1, '{draws}': {thing}}})",
    "dd.guide_features(net, {image}, {thing})",
    "dd.look(net, {image})",
    "list(dd.zoom(net, {image}, frames=1, **few))",
    "list(dd.zoom(net, image, **few | {{'frames': 1, '{zooms}': {thing}}}))",
    "net.features({thing})",
    "dd.deepdream(net, image, **few, objective=dd.channel('both', {thing}))",
    "dd.octaves(net, {image})",
    "dd.deepdream(net, image, **few, objective=dd.logit({thing}))",
    "dd.deepdream(net, image, **few, objective={thing})",
    "dd.deepdream(net, image, **few, objective=dd.guide('both', {image}))",
    "0.5 * dd.L2('both') + {thing}",
    "dd.sheet({thing}, [])",
    "dd.deepdream(net, image, **few, objective=dd.caricature('left', {image}))",
    "dd.L2('both') * {thing}",
    "dd.sheet([{image}], ['a'])",
    "dd.unit('both', {thing}, 0, 0).layers_in(net)",
    "dd.strongest('both', {thing}).layers_in(net)",
    "dd.L2({thing}).layers_in(net)",
    "settings.check('{row}', {thing})",
    "recipe.complete('zoom', {{'image': 'in.png', '{row}': {thing}}})",
    "language.parse({text})",
    "recipe.from_record({{'deepdream': '1', 'command': 'dream', 'image': 'in.png', "
    "'{row}': {thing}}})",
    "list(dd.read_film({path}))",
    "dd.save_film({path}, [image])",
    "dd.save_film('out.gif', [{image}])",
    "dd.save_film('out.gif', [image], {thing})",
    "list(batch.dream_many([{{'image': 'in.png', 'out': 'out.png', 'model': 'toy', "
    "'seed': -1, '{row}': {thing}}}]))",
    "zoo.find({thing})",
    "dd.dream_video(net, 'in.gif', 'out.gif', **few | {{'{videos}': {thing}}})",
    "dd.stations(net, {thing})",
    "dd.steady(net, {thing})",
]
CLIMBERS = [
    "dream in.png -o out.png",
    "draw -o out.png",
    "grid in.png -o out.png",
    "batch in.png -o d",
    "zoom in.png -o o.gif",
]
SUMS = [
    "0.5 * L2('both') + 3 * channel('conv1', 2)",
    "-(L2('left') - unit('both', 1, 2, 3)) / 2",
    "logit(3) - 2 * logit(1)",
    "guide('left', 'in.png') * 1e3",
    "caricature('left', image='in.png', power=2)",
    "strongest('both', 2) - typical('both')",
]
ODD_WORDS = [
    "(",
    ")",
    "'",
    '"',
    ",",
    "*",
    "**",
    "1e400",
    "-",
    "+",
    "/",
    "0",
    "nan",
    "L2",
    "L2.__class__",
    "().__class__",
    "lambda: 0",
    "both",
    "9" * 5000,
    "1e308",
    "[]",
    "{}",
    "f'{1}'",
    "\0",
    "é",
    "\n",
    "None",
    "True",
    "__import__('os')",
    "@",
    "x:=1",
    "\\",
    "'both'",
    "'in.png'",
    "'conv1'",
    "''",
    "'x\\n'",
    "'\\ud800'",
    "'" + "x" * 900 + "'",
    "1e39",
    "2",
    "7",
    "*a",
    "**a",
    "1 if 1 else 2",
    "await x",
    "...",
    "b'x'",
    "\x1b[2J",
    "0x7f",
    "10**9",
    "-1",
    "[x for x in y]",
    "_ø_",
    ";",
    "#",
]
ODD_FIELDS = [
    "0",
    "-1",
    "1",
    "3",
    "2147483647",
    "2147483648",
    "4294967295",
    "18446744073709551615",
    "1e9",
    "nan",
    "inf",
    '"x"',
    '""',
    "{",
    "}",
    "{}",
    ":",
    "layer",
    "data",
    "both",
    "bottom",
    "top",
    "type",
    "true",
    "MAX",
    "\x1b[2J",
    "#",
    "\0",
    "'",
    "[",
    "<",
    "axis: -5",
    "group: 3",
    "dilation: 0",
    "pad: 999999",
    "stride: 0",
    'bottom: "both"',
    'top: "data"',
    "include { phase: TRAIN }",
    *(json.dumps(name) for name in shapes.TYPES),
]
WAYS = "drop", "double", "move", "odd", "like", "like", "like", "like"
ODD_ENV = [
    "",
    " ",
    ":",
    "/nonexistent/x",
    "x" * 5000,
    "\x1b[31m",
    "\udcff",
    "/dev/null",
    "in.png",
    "-1",
    "nan",
    "1e400",
    "0",
    "de_DE.UTF-8",
    "tr_TR",
    "C",
    "POSIX",
    "zz_ZZ.KOI8-R",
    "toy",
    "caffe",
    "{setting}",
    "9" * 40,
    "1GB",
    "a\nb",
    "\\",
    "~",
]


@dataclass
class Case:
    """One piece of bad input.

    words: of the command line. code: of Python, instead. files: what to write before,
    {path: content}; None removes. fits: a network's folder, whose caffemodel is made to
    fit its prototxt. alone: in a process of its own.
    """

    words: list[str] = field(default_factory=list)
    code: str = ""
    files: dict[str, bytes | None] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    fits: str = ""
    alone: bool = False
    kind: str = ""
    number: int = 0

    def __str__(self) -> str:
        env = [f"{name}={value}" for name, value in self.env.items()]
        return self.code or shlex.join([*env, "deepdream", *self.words])


def complete(line: str, at: str = "") -> list[str]:
    """The words of a command line, with `at` for @, and with the options that it lacks
    to work quickly.
    """
    words = line.split()
    options = [] if words[0] == "replay" else LINES[words[0]].split()
    for option, value in pairwise(options):
        if (
            option.startswith("--")
            and option not in words
            and ("--model" not in words or option != "--from")
        ):
            words += [option, value]
    return [word.replace("@", at) for word in words]


def garble(r: random.Random, text: str, odd: list[str], ways: Sequence[str] = WAYS) -> str:
    """A text with some of its words dropped, doubled, moved or replaced."""
    words = re.findall(r""""[^"]*"|'[^']*'|\w+|\s+|.""", text, re.DOTALL)
    for _ in range(r.randint(1, 3)):
        i, j = r.randrange(len(words)), r.randrange(len(words))
        match r.choice(ways):
            case "drop":
                del words[i : i + r.randint(1, 4)]
            case "double":
                words[j:j] = words[i : i + r.randint(1, 12)]
            case "move":
                words[i], words[j] = words[j], words[i]
            case "odd":
                words[i] = r.choice(odd)
            case "like":  # a number in place of a number, a text in place of a text
                i = r.choice([k for k, word in enumerate(words) if _sort(word) != "sign"] or [i])
                words[i] = r.choice([word for word in odd if _sort(word) == _sort(words[i])])
        words = words or [""]
    return "".join(words)


def _sort(word: str) -> str:
    return (
        "number"
        if word[:1].isdecimal()
        else "text"
        if word[:1] in "\"'"
        else "name"
        if word[:1].isalpha()
        else "sign"
    )


def damage(r: random.Random, data: bytes) -> bytes:
    """A file that is cut short, or has wrong bytes in it."""
    at, end = r.randrange(len(data) + 1), min(len(data), r.choice((60, 400, 10**9)))
    match r.choice(("cut", "flip", "flip", "flip", "zeros", "insert")):
        case "cut":
            return data[:at]
        case "zeros":
            return data[:at] + bytes(len(data) - at)
        case "insert":
            return data[:at] + r.randbytes(r.randint(1, 40)) + data[at:]
    flipped = bytearray(data)
    for _ in range(r.choice((1, 1, 5, 50)) if end else 0):
        flipped[r.randrange(end)] = r.randrange(256)
    return bytes(flipped)


# The kinds. Each is a function that makes a case, given its own random numbers and its
# place among those of its kind.


def say_numbers(r: random.Random, i: int) -> Case:
    """An option with a number that it cannot have, or that is written in an odd way."""
    return _say(r, i, [int, float])


def say_texts(r: random.Random, i: int) -> Case:
    """An option, or a place, with an odd text."""
    return _say(r, i, [str, settings.File, settings.Size])


def _say(r: random.Random, i: int, kinds: list[type]) -> Case:
    rows = [
        (command, row) for command in parser.COMMANDS for row in settings.rows_of(command).values()
    ]
    random.Random(0).shuffle(rows)
    rows = [(command, row) for command, row in rows if row.kind in kinds]
    command, row = rows[i % len(rows)]
    odd = TEXTS
    if row.kind in (int, float):
        limits = (row.low, -1), (row.above, 0), (row.high, 1), (row.below, 0)
        odd = NUMBERS + 5 * [
            str(row.kind(limit + beyond)) for limit, beyond in limits if limit is not None
        ]
    words = LINES[command].split()
    given = [r.choice(odd) for _ in range(row.count if isinstance(row.count, int) else 1)]
    if command == "serve" and row.name == "idle":
        words = ["serve", "--port", "0"]
    if not row.is_option:
        return Case([command, *words[1 if words[1].startswith("-") else 2 :], "--", *given])
    if len(given) == 1 and r.random() < 0.5:
        return Case([*words, f"{row.option}={given[0]}"])
    return Case([*words, row.option, *given])


def cut_words(r: random.Random, i: int) -> Case:
    """A command line with words too many, too few, or at the wrong place."""
    words = LINES[r.choice([command for command in LINES if command != "serve"])].split()
    odd = [
        "--",
        "-",
        "",
        "-h",
        "--version",
        "@in.png",
        "--oct",
        "--no-such",
        "--iterations",
        "-o",
        "-oout.png",
        "-9",
    ]
    odd += [
        "--preview",
        "--restart",
        "--help=1",
        "--keep-color=1",
        "--model",
        "--out=",
        "\x1b[2J",
        "-x" * 400,
    ]
    for _ in range(r.randint(1, 3)):
        at = r.randrange(len(words) + 1)
        match r.choice(("drop", "double", "shuffle", "odd", "odd")):
            case "drop":
                del words[at : at + 1]
            case "double":
                words[at:at] = words[at : at + 2]
            case "shuffle":
                r.shuffle(words)
            case "odd":
                words.insert(at, r.choice(odd))
    return Case(words)


def say_paths(r: random.Random, i: int) -> Case:
    """A path where nothing can be read or written, or whose name is hard to show."""
    line = (READS + WRITES)[i % len(READS + WRITES)]
    suffix = (
        ".toml"
        if "--keys" in line
        else ".gif"
        if ".gif" in line or line.startswith("zoom")
        else ".png"
    )
    path = r.choice(STEMS) + r.choice((suffix, suffix, suffix, ".jpg", "", ".frames"))
    if "--report" in line:
        path += ".jsonl"  # what it gets under the name of a picture cannot be opened as one
    if r.random() < 0.1:
        path = f"/dev/{r.choice(('null', 'full', 'tty', 'stdin', 'fd/99'))}"
    files = {}
    is_taken = re.match("in|fifo|folder|loop|broken|null|classes|$", path)
    if (
        not is_taken and "/" not in path and len(os.fsencode(path)) < 200 and r.random() < 0.5
    ):  # a good one
        files[path] = _film() if suffix == ".gif" else _encode(_picture(r), "PNG")
    return Case(complete(line, path), files=files)


def spoil_pictures(r: random.Random, i: int) -> Case:
    """A picture or film that is damaged, of an odd kind, or none at all."""
    fmt = r.choice(
        (
            "PNG",
            "JPEG",
            "GIF",
            "WEBP",
            "BMP",
            "TIFF",
            "ICO",
            "PPM",
            "TGA",
            "EPS",
            "PDF",
            "MP4",
            "PNG",
        )
    )
    match r.choice(("damaged", "damaged", "damaged", "odd", "odd", "huge", "nonsense")):
        case "huge":
            data, fmt = _claim_to_be_huge(r)
        case "nonsense":
            starts = b"", b"8BPS", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a", PNG, b"\xff\xd8\xff\xe0"
            data = r.choice(starts) + r.choice((b"", r.randbytes(200), bytes(5000)))
        case "odd":
            data = _encode(_picture(r, odd=True), fmt, _odd_exif(r))
        case _:
            data = damage(
                r, Path("clip.mp4").read_bytes() if fmt == "MP4" else _encode(_picture(r), fmt)
            )
    suffix = r.choice(
        (f".{fmt.lower()}", f".{fmt.lower()}", r.choice(READABLE), ".psd", ".eps", ".mp4", "")
    )
    line = READS[i % len(READS)]
    if line.startswith("train @"):
        return Case(
            complete(line, "few"),
            files={f"few/a{suffix}": data, "few/b.png": _encode(_picture(r), "PNG")},
        )
    return Case(complete(line, f"bad{suffix}"), files={f"bad{suffix}": data})


def _picture(r: random.Random, odd: bool = False) -> Image.Image:
    size, mode = (48, 36), "RGB"
    if odd:
        size = r.choice(((48, 36), (1, 1), (1, 300), (300, 1), (2, 2), (3, 3), (31, 7)))
        mode = r.choice(
            (
                "L",
                "P",
                "CMYK",
                "I;16",
                "I",
                "F",
                "1",
                "LA",
                "RGBA",
                "YCbCr",
                "LAB",
                "HSV",
                "PA",
                "I;16B",
            )
        )
    picture = Image.frombytes("RGB", size, r.randbytes(3 * size[0] * size[1]))
    with contextlib.suppress(ValueError):
        picture = picture.convert("L").convert(mode) if mode[0] in "IF" else picture.convert(mode)
    return picture


def _encode(picture: Image.Image, fmt: str, exif: bytes = b"") -> bytes:
    data = BytesIO()
    about = {"exif": exif} if exif and fmt in ("PNG", "JPEG", "WEBP") else {}
    if exif and fmt in ("GIF", "WEBP", "PNG", "TIFF"):
        about |= {"save_all": True, "append_images": [picture.copy(), picture.resize((7, 5))]}
    try:
        picture.save(data, fmt if fmt != "MP4" else "PNG", **about)
    except Exception:  # not every kind of picture fits into every format
        picture.convert("RGB").save(data, "PNG")
    return data.getvalue()


def _film() -> bytes:
    return Path("in.gif").read_bytes()


def _odd_exif(r: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = r.choice((0, 5, 6, 9, 255))  # how it is rotated
    return r.choice(
        (exif.tobytes(), damage(r, exif.tobytes()), b"Exif\0\0" + r.randbytes(30), b"\0")
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _claim_to_be_huge(r: random.Random) -> tuple[bytes, str]:
    """(a small file that says it is a large picture, its format)"""
    width, height = r.choice(
        ((60_000, 60_000), (65_500, 65_500), (12_000, 8_000), (65_500, 1), (1, 65_500))
    )
    match r.choice(("PNG", "JPEG", "GIF", "BMP", "note", "profile")):
        case "JPEG":
            data = _encode(_picture(r), "JPEG")
            at = data.index(b"\xff\xc0") + 5
            return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :], "JPEG"
        case "GIF":
            return b"GIF89a" + struct.pack("<HH", width, height) + Path("in.gif").read_bytes()[
                10:
            ], "GIF"
        case "BMP":
            data = _encode(_picture(r), "BMP")
            return data[:18] + struct.pack("<ii", width, height) + data[26:], "BMP"
        case "note":
            chunk = _chunk(b"zTXt", b"deepdream\0\0" + zlib.compress(bytes(80_000_000), 1))
        case "profile":
            chunk = _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(80_000_000), 1))
        case _:
            chunk = b""
    if chunk:
        width, height = 48, 36
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rest = _chunk(b"IDAT", zlib.compress(bytes(145 * 36))) + _chunk(b"IEND", b"")
    return PNG + header + chunk + rest, "PNG"


def spoil_notes(r: random.Random, i: int) -> Case:
    """A picture, or the frame of a film, whose settings this program did not write."""
    made = [command for command in settings.MAKERS if command != "looks"]
    begun = parser.parse(LINES[made[i % len(made)]].split()).recipe
    known = recipe.record(
        begun, engine="caffe", sha256={"image": "0" * 64, "weights": "1"}, stopped_at=0.5, frame=1
    )
    note = {name: json.dumps(value) for name, value in known.items()}
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        name = r.choice(list(note))
        match r.choice(("value", "value", "value", "value", "drop", "add")):
            case "value":
                note[name] = r.choice(VALUES)
            case "drop" if len(note) > 1:
                del note[name]
            case _:
                name = r.choice(
                    (*settings.ROWS, "x", "__class__", "self", "\x1b[2J", "\ud800", "", "x" * 900)
                )
                note[name] = r.choice(VALUES)
    text = "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in note.items()) + "}"
    if r.random() < 0.15:
        nested = "{" * 5000, "[" * 50_000, '{"a":' * 3000 + "1" + "}" * 3000
        text = r.choice(("null", "[]", *nested, text[:-1], text + text, f"[{text}]"))
    name = r.choice(("note.png", "note.png", "note.jpg", "note.gif", "film/000000.png"))
    data, picture = BytesIO(), _picture(r)
    if name.endswith(".png"):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("deepdream", text)
        picture.save(data, "PNG", pnginfo=info)
    else:
        picture.save(data, name[-3:].replace("jpg", "jpeg"), comment=text.encode())
    path = name.split("/")[0]
    if r.random() < 0.1:  # it is where a picture is to go, and may be the same
        return Case(complete("batch in.png -o d"), files={"d/in.png": data.getvalue()})
    out = "out.gif" if begun["command"] in settings.FILMS else "out.png"
    lines = [
        f"replay {path}",
        *[f"replay {path} -o {out}"] * 4,
        f"replay {path} -o {name}",
        f"replay {path} --seed 5",
    ]
    lines += [f"dream {name} -o out.png", "zoom in.png -o film", "replay note.png -o out.gif"]
    return Case(complete(r.choice(lines)), files={name: data.getvalue()})


def garble_sums(r: random.Random, i: int) -> Case:
    """An objective that is no sum of terms, or a monstrous one."""
    text = garble(r, r.choice(SUMS), ODD_WORDS)
    if r.random() < 0.3:
        n = r.choice((30, 300, 3000, 30_000))
        text = r.choice(
            (
                "(" * n + text + ")" * n,
                "-" * n + text,
                f"{text} + " * (n // 10) + text,
                "(" * n,
                "L2(" * n,
                f"{'x' * n}('both')",
                f"L2('{'x' * n}')",
                f"L2({'9' * n})",
                f"{'9' * n} * L2('both')",
                f"L2('both'{', 1' * n})",
                f"channel('both', {'1+' * n}1)",
                "~" * n + text,
                "'" * n,
                f"L2('both') / {'0' * n}",
                f"L2('both') * 1e{n}",
            )
        )
    if "\0" in text:
        return Case(code=f"language.parse({text!r})")
    words = complete(CLIMBERS[i % len(CLIMBERS)])
    return Case([*words, "--", text] if words[0] == "draw" else [*words, f"--objective={text}"])


def garble_networks(r: random.Random, i: int) -> Case:
    """A network whose files are damaged, missing, or of other networks."""
    files, fits, net = {}, "", r.choice((TOY, TOY, V1))
    match ("prototxt", "toml", "prototxt", "caffemodel", "prototxt", "file")[i % 6]:
        case "prototxt":
            text, fits = garble(r, net, ODD_FIELDS, r.choice((WAYS, ["like"], ["like"]))), "toy"
            if net == V1:
                files["toy/model.toml"] = b'default_layer = "pool"'
            if r.random() < 0.1:
                n = r.choice((100, 10_000))
                nested = "layer {" * n, net + "a { " * n + "}" * n, "{" * n
                text = r.choice((*nested, net * 50, "", "\ufeff" + net, "#" * n))
            files["toy/deploy.prototxt"] = text.encode(errors="surrogateescape")
        case "toml":
            names = [f.name for f in fields(zoo.Model)] + ["credit", "trained", "x", "a.b", "self"]
            text = "\n".join(
                f"{r.choice(names)} = {r.choice(TOML_VALUES)}"
                for _ in range(r.choice((1, 1, 1, 2)))
            )
            files["toy/model.toml"] = r.choice(
                (text, text, text, garble(r, text, ODD_FIELDS))
            ).encode()
        case "caffemodel":
            data = Path("toy/toy.caffemodel").read_bytes()
            odd = damage(r, data), damage(r, data), damage(r, data), _odd_weights(r)
            files["toy/toy.caffemodel"] = r.choice(odd)
        case "file":
            name = r.choice(("deploy.prototxt", "toy.caffemodel", "model.toml"))
            odd = (
                None,
                b"",
                b"\xff\xfe" + r.randbytes(40),
                bytes(1000),
                "é".encode("latin-1"),
                b"\0",
            )
            files[f"toy/{name}"] = r.choice(odd)
            if r.random() < 0.3:
                files[r.choice(("toy/b.prototxt", "toy/b.caffemodel"))] = r.choice((b"", b"x"))
    lines = (
        "dream in.png -o out.png",
        "draw 0 -o out.png",
        "layers",
        "look in.png",
        "models list toy",
        "models get toy",
    )
    lines += "draw apple -o out.png", "train classes -o t", "dream in.png -o out.png", "atlas -o a"
    return Case(complete(r.choice(lines)), files=files, fits=fits)


def _odd_weights(r: random.Random) -> bytes:
    """A caffemodel that can be read, with values or shapes of its own."""
    net = caffemodel.NetParameter()
    net.ParseFromString(Path("toy/toy.caffemodel").read_bytes())
    blob = r.choice(net.layer).blobs
    for each in blob:
        match r.choice(("nan", "huge", "shape", "empty", "negative", "double")):
            case "nan":
                each.data = (
                    struct.pack("<f", r.choice((float("nan"), float("inf"), -3e38))) + each.data[4:]
                )
            case "huge":
                each.shape.dim[:] = [2**31 - 1, 2**31 - 1, 4]
            case "shape":
                each.shape.dim[:] = [1] * r.choice((0, 1, 33)) + [len(each.data) // 4]
            case "empty":
                each.Clear()
            case "negative":
                each.shape.dim[:] = [-1, -(len(each.data) // 4)]
            case "double":
                each.data += each.data
    return net.SerializeToString()


def garble_keys(r: random.Random, i: int) -> Case:
    """A key file with wrong settings, or wrong grammar."""
    frames = [
        "0",
        "1",
        r.choice(("2", "1", "-1", "1.0", "x", "9" * 9, "9" * 30, "", "\u0661", "0 1")),
    ]
    name = r.choice(keys.KEYED)
    if r.random() < 0.3:
        name = r.choice(
            (
                settings.rows_of("zoom")[name].option.lstrip("-"),
                "frames",
                "model",
                "x",
                "\x1b[2J",
                "",
            )
        )
    if r.random() < 0.6:
        form, value = "json", r.choice(VALUES)
        text = (
            "{"
            + ", ".join(
                f'"{frame}": {{{json.dumps(name)}: {value}, "zoom": 0.1}}' for frame in frames
            )
            + "}"
        )
        odd = (
            "[]",
            "null",
            '{"0": 1}',
            '{"0": []}',
            '{"0": {}}',
            "{}",
            "",
            '{"0": {"zoom": 0, "zoom": 1}}',
        )
        odd += "{" * 9000, '{"0":' * 9000
    else:
        form, value = "toml", r.choice(TOML_VALUES)
        text = "".join(f"[{frame}]\n{json.dumps(name)} = {value}\nzoom = 0.1\n" for frame in frames)
        odd = (
            "[0",
            "a = 1",
            "[0]\n[0]\n",
            "[[0]]\nzoom=1",
            "[0.1]\nzoom=1",
            "\ufeff[0]\nzoom=0",
            "[0]\nzoom=[[",
        )
        odd += "x" * 5000, "[0]\na" + ".a" * 5000 + " = 1"
    if r.random() < 0.3:
        text = r.choice((*odd, garble(r, text, ODD_WORDS)))
    return Case(
        complete(f"zoom in.png -o out.gif --keys keys.{form}"),
        files={f"keys.{form}": text.encode()},
    )


def ask_for_many(r: random.Random, i: int) -> Case:
    """A batch, a grid, an atlas or a training that names its pictures, layers or values
    wrongly.
    """
    channels = "0-", "5-1", "0-99", "99", "-1", "0,0", "a", "0--1", "''", "1e9", "0-9" * 900
    options = {
        "batch": [
            "''",
            "'*'",
            "no.png",
            "[",
            "'**'",
            "classes",
            "in.png",
            "./in.png",
            "in.png/in.png",
            "toy",
        ],
        "grid": [
            "--octaves 1,",
            "--octaves ,",
            "--step 1,nan",
            "--layer both,no",
            "--layer both,../x",
            "--seed 0,0",
        ],
        "atlas": [
            *(f"--channels {which}" for which in channels),
            "--layer prob",
            "--layer data",
            "--layer fc",
        ],
        "train": [
            "--freeze no",
            "--freeze both",
            "--layer prob",
            "--layer data",
            "--batch 9999",
            "--keep-out 0.9",
        ],
    }
    options["batch"] += [
        "--guide no.png",
        "--mask clip.mp4",
        "--scheduler x",
        "--workers 1 --scheduler tcp://a:1",
    ]
    options["grid"] += [
        "--iterations 1",
        "--width 1,2",
        "--lap 0,99",
        f"--jitter {','.join(map(str, range(3000)))}",
    ]
    options["atlas"] += ["--report /dev/full", "--report folder.png", "--report no/such"]
    options["train"] += [
        "--film x.png",
        "--film x.gif",
        "--watch in.png --watch-every 9",
        "--from no",
        "--rate 100",
    ]
    command = r.choice(list(options))
    chosen = [
        word
        for option in r.sample(options[command], r.choice((1, 1, 2)))
        for word in shlex.split(option)
    ]
    words = LINES[command].split()
    return Case([*words, *chosen] if command != "batch" else ["batch", *chosen, *words[2:]])


def call_python(r: random.Random, i: int) -> Case:
    """A function of the package with an argument that it cannot take."""
    passed = [name for name, row in settings.rows_of("video").items() if "deepdream" in row.to]
    film = [
        "frames",
        "scale",
        "rotate",
        "shift",
        "to",
        "keys",
        "hold",
        "loop",
        "seed",
        "first",
        "done",
        "every",
    ]
    words = {
        "thing": r.choice(THINGS),
        "image": r.choice(IMAGES),
        "path": r.choice(
            (repr(r.choice(STEMS) + r.choice((".png", ".gif", ""))), r.choice(THINGS))
        ),
        "text": repr(garble(r, r.choice(SUMS), ODD_WORDS)),
        "row": r.choice(list(settings.ROWS)),
        "dreams": r.choice(("end", "seed", "tile", "halo", "mask", "on_step", "clip", *passed)),
        "draws": r.choice(("steps", "seed", "several", "size", "on_step")),
        "zooms": r.choice(film),
        "videos": r.choice(
            ("start", "stop", "stride", "blend", "settings", "guide", "mask", *passed)
        ),
    }
    return Case(code=CALLS[i % len(CALLS)].format(**words))


def change_environment(r: random.Random, i: int) -> Case:
    """An environment variable with an odd value, for a real process."""
    source = "".join(path.read_text() for path in Path(dd.__file__).parent.rglob("*.py"))
    names = sorted({*re.findall("DEEPDREAM_[A-Z]+", source)})
    names += [
        "XDG_CACHE_HOME",
        "HOME",
        "TMPDIR",
        "LC_ALL",
        "LANG",
        "COLUMNS",
        "TERM",
        "PYTHONIOENCODING",
        "TZ",
        "PATH",
    ]
    value = r.choice(ODD_ENV)
    if names[i % len(names)] == "PYTHONIOENCODING":  # Python itself refuses nonsense
        value = r.choice(("ascii", "latin-1", "utf-16", "ascii:strict", "utf-8:ignore"))
    lines = (
        "dream in.png -o out.png",
        "dream in.png -o é.png",
        "draw é -o x.png",
        "zoom in.png -o o.gif",
        "layers",
    )
    shorter = (
        "models",
        "models list bvlc_googlenet",
        "replay made.png",
        "looks",
        "dream -h",
        "layers",
        "look no.png",
    )
    download = "dream in.png -o out.png --model squeezenet_v1.1"
    words = r.choice((*map(complete, lines), *map(str.split, shorter), download.split()))
    return Case(words, env={names[i % len(names)]: value}, alone=True)


KINDS = {
    say_numbers: 9,
    say_texts: 4,
    cut_words: 2,
    say_paths: 6,
    spoil_pictures: 5,
    spoil_notes: 5,
    garble_sums: 4,
    garble_networks: 5,
    garble_keys: 3,
    ask_for_many: 1,
    call_python: 5,
    change_environment: 1,
}
TURNS = [kind for kind, n in KINDS.items() for _ in range(n)]  # how many of each are in a round
random.Random(0).shuffle(TURNS)


def make_case(number: int) -> Case:
    """The case of this number, in the folder that `furnish` has made."""
    kind = TURNS[number % len(TURNS)]
    place = number // len(TURNS) * KINDS[kind] + TURNS[: number % len(TURNS)].count(kind)
    case = kind(random.Random(f"{kind.__name__} {place}"), place)
    case.kind, case.number = kind.__name__, number
    can_be_alone = case.words and all(
        "\0" not in word and len(word) < 30_000 for word in case.words
    )  # as Linux has it
    case.alone |= bool(can_be_alone) and number % 19 == 0
    return case


# How they run


def import_all() -> None:
    """Import all that the command line does, except PyTorch."""
    left_out = "deepdream.__main__", "deepdream.nets.torch", "deepdream.studio."
    own = [module.name for module in walk_packages(dd.__path__, "deepdream.")]
    for name in (*LATE, *own):
        if not name.startswith(left_out):
            import_module(name)


def furnish() -> None:
    """Make the files that the command lines name, in this folder."""
    write_model(Path("toy"))
    r = random.Random(0)
    for name in (
        "in.png",
        "in.jpg",
        *(f"classes/{word}/{i}.png" for word in "ab" for i in range(3)),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        _picture(r).save(name)
    _picture(r).save("in.gif", save_all=True, append_images=[_picture(r)])
    Path("folder.png").mkdir()
    for words in (complete("dream in.png -o made.png"), complete("zoom in.png -o clip.mp4")):
        assert cli.main(words) == 0
    shutil.rmtree("clip.frames")


def put_odd_files(folder: Path, case: Case) -> None:
    """Add the files of this case, and some that are no files."""
    for suffix in (".png", ".gif", ".toml", ""):
        os.mkfifo(folder / f"fifo{suffix}")
        (folder / f"broken{suffix}").symlink_to("nowhere")
        (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
        (folder / f"null{suffix}").symlink_to("/dev/null")
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)


def fit_weights(folder: Path) -> None:
    """Give the network in this folder the weights that its prototxt asks for, if these
    are few.
    """
    with contextlib.suppress(Exception):
        needed = shapes.param_shapes(caffemodel.read_layers(folder / "deploy.prototxt"))
        if sum(np.prod(shape, dtype=float) for blobs in needed.values() for shape in blobs) < 1e6:
            weights = {
                layer: [np.full(shape, 0.1, np.float32) for shape in blobs]
                for layer, blobs in needed.items()
            }
            caffemodel.write_weights(folder / "toy.caffemodel", weights)


def look_into(folder: Path) -> dict[str, object]:
    """{path: what is there} of all that is in a folder."""
    found: dict[str, object] = {}
    for home, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(home, name)
            is_file = os.path.isfile(path) and not os.path.islink(path)
            found[os.path.relpath(path, folder)] = (
                Path(path).read_bytes() if is_file else os.lstat(path).st_mode
            )
    return found


def run(case: Case, template: Path, root: Path) -> dict:
    """What becomes of a case: its `status`, `out` and `err`, and which paths are
    `changed`, `half` or `broken`.
    """
    folder, temporary, home = root / "one" / "two" / "here", root / "tmp", root / "home"
    shutil.copytree(template, folder)
    temporary.mkdir(), home.mkdir()
    put_odd_files(folder, case)
    if case.fits:
        _in_a_fork(partial(fit_weights, folder / case.fits), {}, root, root)
    before = look_into(root / "one")
    env = (
        os.environ
        | OFFLINE
        | {"TMPDIR": str(temporary), "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    )
    env |= {
        "DEEPDREAM_MODELS": "",
        "PYTHONIOENCODING": "utf-8:strict",
    } | case.env  # as in en_US.UTF-8
    start = _in_a_process if case.alone else _in_a_fork
    status = start(case, env, folder, root)
    after = look_into(root / "one")
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    out, err = (
        (root / name).read_bytes().decode(errors="surrogateescape") for name in ("out", "err")
    )
    broken = [path for path in changed if status in (0, 1) and not _opens(root / "one" / path)]
    half = [path for path in after if "/.deepdream-" in path or ".part" in path]
    half += [name for name in os.listdir(temporary) if name != "dask-scratch-space"]
    return {
        "status": status,
        "out": out,
        "err": err,
        "changed": sorted(changed),
        "half": half,
        "broken": broken,
    }


def _opens(path: Path) -> bool:
    """Whether this is no picture or film by its name, or can be read as one."""
    try:
        if path.suffix.lower() in WRITABLE and path.is_file():
            Image.open(path).load()
        elif path.suffix.lower() in (".gif", ".mp4", ".webm") and path.is_file():
            av.open(f"file:{path}").close()
        return True
    except Exception:
        return False


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT // 2, TIMEOUT // 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _in_a_process(case: Case, env: dict[str, str], folder: Path, root: Path) -> int | None:
    with open(root / "out", "wb") as out, open(root / "err", "wb") as err:
        words = [sys.executable, "-m", "deepdream", *case.words]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=env,
            preexec_fn=_limit,
            start_new_session=True,
        )
        return _wait(process.pid)


def _in_a_fork(
    case: Case | Callable[[], object], env: dict[str, str], folder: Path, root: Path
) -> int | None:
    pid = os.fork()
    if pid:
        return _wait(pid)
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        for fd, path in enumerate(("/dev/null", root / "out", root / "err")):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if fd else os.O_RDONLY), fd)
        _limit()
        status = _do(case, env) if isinstance(case, Case) else int(bool(case()))
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(status)


def _wait(pid: int) -> int | None:
    """The exit status of a process, or minus the signal that ended it; None where it
    has to be killed.
    """
    end = time.monotonic() + TIMEOUT
    ended = 0
    while not ended and time.monotonic() < end:
        ended, code = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    if not ended:
        os.waitpid(pid, 0)
        return None
    return os.waitstatus_to_exitcode(code)


@contextlib.contextmanager
def _start_threads(workers: int) -> Iterator[Client]:
    """As `batch._start`, in place of it, without processes, each of which would take
    seconds.
    """
    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def _do(case: Case, env: dict[str, str]) -> int:
    """The exit status of a case, in this process."""
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    batch._start = _start_threads
    if not case.code:
        return cli.main(case.words)
    warnings.simplefilter("ignore")
    names = dict(vars(sys.modules[__name__])) | {"nan": float("nan"), "inf": float("inf")}
    names |= {"few": {"iter_n": 1, "octave_n": 1, "end": "both"}, "image": dd.load_image("in.png")}
    if re.search(r"\bnet\b", case.code):
        names["net"] = dd.load_net("toy", "caffe")
    try:
        eval(case.code, names)
    except DreamError as error:
        print(f"deepdream: {error}", file=sys.stderr)
        return 2
    except (TypeError, ValueError):
        print("deepdream: refused by Python", file=sys.stderr)
        return 2
    return 0


def judge_refusal(case: Case, out: str, err: str, changed: object) -> Iterator[str]:
    """What is wrong with how a case was refused."""
    if err.count("\n") != 1 or not err.endswith("\n"):
        yield "the message is not one line"
    if len(err) > LONGEST:
        yield f"the message has {len(err)} characters"
    if out:
        yield "it prints something besides the message"
    may_change = "frames finished:" in err or ("--report" in case.words and "cannot write" in err)
    if changed and not may_change:
        yield f"it is refused, and changes {changed}"


def judge(case: Case, done: dict) -> Iterator[str]:
    """What is wrong with what became of a case."""
    status, out, err, changed = done["status"], done["out"], done["err"], done["changed"]
    if status is None:
        yield f"it hangs for {TIMEOUT} seconds"
    elif status < 0:
        yield f"it dies of {signal.Signals(-status).name}"
    elif status not in (0, 1, 2, 130) or (
        status == 1 and case.words[0] not in ("batch", "grid", "atlas")
    ):
        yield f"the exit status is {status}"
    if "Traceback" in out + err:
        yield "it shows a traceback"
    if done["half"]:
        yield f"it leaves {done['half']}"
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in err.replace("\n", "")):
        yield "there are control characters in the message"
    if status == 2:
        yield from judge_refusal(case, out, err, changed)
    is_help = "usage:" in out or out == f"{recipe.VERSION}\n"
    if status == 0 and case.words and case.words[0] in MAKERS and not changed and not is_help:
        yield "it says it is done, and has made nothing"
    for path in done["broken"]:
        yield f"it has made {path}, which cannot be opened"


def try_cases(numbers: range, show_all: bool = False) -> None:
    """Run cases, and print what is wrong with them: a line of JSON for each, and one
    for all together.
    """
    counts: collections.Counter[str] = collections.Counter()
    slow = []
    import_all()
    with tempfile.TemporaryDirectory(prefix="hostile-") as top:
        template = Path(top) / "template"
        template.mkdir()
        assert _in_a_fork(furnish, {}, template, Path(top)) == 0, (Path(top) / "err").read_text()
        os.chdir(template)
        for number in numbers:
            case = make_case(number)
            root = Path(top) / str(number)
            root.mkdir()
            began = time.monotonic()
            done = run(case, template, root)
            slow.append((round(time.monotonic() - began, 1), number))
            faults = list(judge(case, done))
            counts[f"{case.kind} {done['status']}"] += 1
            about = {
                "number": number,
                "kind": case.kind,
                "faults": faults,
                "case": str(case)[:1500],
            }
            if faults or show_all:
                print(
                    json.dumps(about | {"err": done["err"][-1500:], "out": done["out"][-300:]}),
                    flush=True,
                )
            shutil.rmtree(root)
    print(
        json.dumps(
            {
                "cases": len(numbers),
                "counts": dict(sorted(counts.items())),
                "slowest": sorted(slow)[-8:],
            }
        )
    )


if __name__ == "__main__":
    first, _, end = sys.argv[1].partition("-")
    try_cases(range(int(first), int(end or int(first) + 1)), show_all=not end)
