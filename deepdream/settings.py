"""The table of settings. All else that knows about settings derives from it: options
and their help, checks in Python, the studio's knobs, what a job may say and a picture
carries, the command that makes it again, and what is passed to which function.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Integral, Real
from typing import Any

from .errors import DreamError, unknown

Recipe = dict[str, Any]  # `command`, and every setting of that command: it is complete
Record = dict[str, Any]  # what a picture or film carries: what decides how it looks
Params = dict[str, Any]  # keywords for a function
But = Mapping[str, Params]  # {command: {column of its row: what is different there}}

GRAND = 2**31 - 1  # in place of a limit, for whole numbers that have no natural one
JPEG_SIDE = 65_535  # pixels: the most that a JPEG can have
REQUIRED = object()  # in place of a default

# Commands
PICTURES = "dream", "batch", "grid"
FLIGHTS = "zoom", "journey"
FILMS = *FLIGHTS, "video"
DREAMS = *PICTURES, *FILMS
GOAL = *PICTURES, "zoom", "video"  # these climb one goal; a journey has layers instead
MAKERS = "dream", "draw", *FILMS, "grid", "looks"  # what these make can be replayed
SPREAD = "batch", "grid", "atlas"  # these work with several processes
MODELS = *MAKERS, "batch", "atlas", "look"  # these use a network
USERS = *MODELS, "train"
VIDEO = ("video",)
TRAIN = ("train",)
SERVE = ("serve",)
ALGORITHM = ("deepdream",)  # the function that receives what is for a dream


class File(str):
    """A kind: the path of a file to read."""


class Size(str):
    """A kind: WIDTHxHEIGHT in pixels."""


KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    File: "the path of a file",
    Size: "WIDTHxHEIGHT in pixels, such as 1024x575",
}


@dataclass(frozen=True)
class Value:
    """What a setting is called, and what its value may be."""

    name: str  # in Python, where possible the notebook's; the key in a recipe
    option: str  # on the command line; without dashes, an argument by its place
    kind: type  # one of KINDS
    default: Any = None
    _: KW_ONLY
    low: float | None = None  # the smallest value
    high: float | None = None  # the largest value
    above: float | None = None  # the value must be larger than this
    below: float | None = None  # the value must be smaller than this
    unit: str = ""
    choices: tuple[str, ...] = ()
    count: str | int | None = None  # of values: an int, or '?' or '+' as in argparse
    old_default: Any = None  # in pictures older than the setting, if it is another


@dataclass(frozen=True)
class Use:
    """Where a setting is used."""

    commands: tuple[str, ...]
    _: KW_ONLY
    to: tuple[str, ...] = ()  # functions that receive it; modules or wings that read it
    varies: bool = False  # a grid takes several values, separated by commas
    kept: bool = True  # recorded in the picture
    resume: bool | str = False  # may differ when a film or training is resumed; the
    # name of a setting: unless that is on
    alias: str | None = None  # a second option
    metavar: str | tuple[str, ...] | None = None  # stands for its value in the help
    knob: str | None = None  # label in the studio


@dataclass(frozen=True)
class Setting(Value, Use):
    """One row, and what is different for some commands; `studio` counts as one."""

    _: KW_ONLY
    help: str  # what the option does
    help_in: Mapping[str, str] = field(default_factory=dict)  # by the command
    but: But = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        words = KINDS[self.kind]
        if self.kind not in (int, float):
            return words
        if self.unit:
            words += f" of {self.unit}"
        if self.low is not None and self.high not in (None, GRAND):
            return f"{words} from {self.low:.15g} to {self.high:.15g}"
        least = {"at least": self.low, "above": self.above}
        limits = least | {"at most": self.high, "below": self.below}
        ends = [f"{end} {n:.15g}" for end, n in limits.items() if n not in (None, GRAND)]
        return f"{words}, {' and '.join(ends)}"

    @property
    def is_option(self) -> bool:
        """Whether the command line gives it by a name, not by its place."""
        return self.option.startswith("-")

    def at(self, command: str) -> "Setting":
        """The row with what is different for this command; only a grid varies any."""
        help = self.help_in.get(command, self.help)
        varies = self.varies and command == "grid"
        return replace(self, help=help, varies=varies, **self.but.get(command, {}))


def row(value: Value, use: Use, help: str, but: But | None = None, **help_in: str) -> Setting:
    """One row, of its parts; see Setting. help_in: {command: its help}."""
    return Setting(**vars(value), **vars(use), help=help, help_in=help_in, but=but or {})


# A row is laid out to be read across
# fmt: off
TABLE = (
    # What to start from
    row(Value("image", "IN", File, count="?"),
        Use(("dream", "grid", *FLIGHTS, "looks", "look"),
            to=("making", "films", "sheets", "cli"), knob="Picture"),
        but={name: {"default": REQUIRED, "count": None} for name in ("grid", "zoom", "look")},
        help="the picture, in any common format, or our "
             "mountains.jpg, forest.jpg, flower.jpg",
        looks="show this picture in all looks; without it, list them",
        journey="the picture to begin with; without it, begin with noise"),
    row(Value("images", "IN", str, REQUIRED, count="+"),
        Use(("batch",), to=("jobs",), kept=False),
        help="pictures, folders, patterns such as 'photos/*.jpg', or URLs"),
    row(Value("draw", "WHAT", str, REQUIRED, count="+"),
        Use(("draw",), to=("making",)),
        help="a class, by name or number ('anemone fish'), or an "
             "objective, as for `dream`; several make a sheet"),
    row(Value("source", "IN", File, REQUIRED),
        Use(VIDEO, to=("films",)),
        help="the film, in any common format"),
    row(Value("pictures", "PICTURES", str, REQUIRED),
        Use(TRAIN, to=TRAIN, kept=False),
        help="a folder with a folder of pictures for each class; "
             "or one with pictures alone, to learn without classes"),
    row(Value("after", "--after", File),
        Use(("look",), to=("cli",), metavar="IMAGE"),
        help="another picture to compare, such as a dream of this one"),
    # The network
    row(Value("model", "--model", str),
        Use(USERS, to=("load_net", "train"), knob="Network", metavar="NAME"),
        but={"train": {"option": "--from", "alias": "--model"}},
        help="the network, a name (see `deepdream models`) or a folder; without "
             "it, GoogLeNet, or SqueezeNet if that cannot be downloaded",
        train="the network to start from, a name or a folder; without it, dream's",
        studio="which network looks at the picture; each has "
               "learnt from other pictures, and sees other things"),
    row(Value("engine", "--engine", str, choices=("caffe", "torch")),
        Use(USERS, to=("load_net", "train"), knob="Engine", metavar="NAME"),
        help="caffe or torch; without it, DEEPDREAM_ENGINE, or Caffe if installed",
        train="caffe or torch; without it, DEEPDREAM_ENGINE, or PyTorch if there",
        studio="what does the work: Caffe as in 2015, or PyTorch, which is faster"),
    row(Value("device", "--device", str),
        Use(USERS, to=("load_net", "train"), metavar="NAME"),
        help="where PyTorch runs: auto (an NVIDIA GPU, or else the processor), "
             "cpu, cuda or mps; without it, auto, or cpu for batch, grid and atlas"),
    row(Value("dtype", "--dtype", str, choices=("auto", "float32", "tf32", "bfloat16")),
        Use(MODELS, to=("load_net",), metavar="NAME"),
        help="PyTorch's numbers: auto, float32, tf32 or bfloat16 (faster, "
             "less exact); auto is bfloat16 where the hardware multiplies "
             "it; without it, auto, or float32 for batch, grid and atlas"),
    # Films
    row(Value("frames", "--frames", int, 100, low=1, high=GRAND),
        Use(("zoom",), to=("zoom",), resume="loop"),
        help="how many frames; a larger number makes a finished film longer"),
    row(Value("layers", "--layers", str),
        Use(("journey",), to=("films",), metavar="A,B,C"),
        help="the layers to climb, in turn, or `all`; without it, about ten"),
    row(Value("frames_per_layer", "--frames-per-layer", int, 100, low=1, high=GRAND),
        Use(("journey",), to=("journey",)),
        help="frames for each layer"),
    row(Value("cross_fade", "--cross-fade", int, low=0, high=GRAND, unit="frames"),
        Use(("journey",), to=("journey",)),
        help="over the last N frames of a layer, the next layer takes over; "
             "without it, over a quarter of them"),
    row(Value("size", "--size", int, low=16, high=4096, unit="pixels"),
        Use(("draw",), to=("draw",), metavar="PX"),
        help="the longer side; without it, a third more than the network's own"),
    row(Value("size", "--size", Size),
        Use(("dream", "journey"), to=("making", "films"), metavar="WxH"),
        help="dream from noise of this size instead of a picture",
        journey="the size of a film from noise; without it, 640x360"),
    row(Value("several", "--several", int, 1, low=1, high=100, unit="pictures"),
        Use(("draw",), to=("draw",)),
        help="draw so many pictures that differ from each other, on one sheet"),
    row(Value("scale", "--zoom", float, 0.05, low=-1, below=1),
        Use(FLIGHTS, to=FLIGHTS),
        but={"journey": {"default": 0.02}},
        help="from frame to frame, cut off this share and enlarge the rest"),
    row(Value("rotate", "--rotate", float, 0.0, low=-360, high=360, unit="degrees"),
        Use(FLIGHTS, to=FLIGHTS, metavar="DEG"),
        help="from frame to frame, turn the picture clockwise by this angle"),
    row(Value("shift", "--shift", float, [0.0, 0.0], low=-1e6, high=1e6, unit="pixels", count=2),
        Use(FLIGHTS, to=FLIGHTS, metavar=("RIGHT", "DOWN")),
        help="from frame to frame, move the picture by this many pixels"),
    row(Value("to", "--to", float, low=0, high=JPEG_SIDE, unit="pixels", count=2),
        Use(FLIGHTS, to=FLIGHTS, metavar=("X", "Y")),
        help="fly to this point, from the upper left, in pixels or in shares, 0 to 1"),
    row(Value("keys", "--keys", str),
        Use(("zoom",), to=("films",), metavar="FILE"),
        help="a file, .toml or .json, that says what the settings are "
             "at some frames; between them, numbers change smoothly"),
    row(Value("down", "--down", bool, False),
        Use(("journey",), to=("stations",)),
        help="climb the layers from the deepest to the lowest"),
    row(Value("hold", "--hold", float, 0.0, low=0, high=1),
        Use(FLIGHTS, to=FLIGHTS),
        but={"journey": {"default": 0.3, "old_default": 0.0}},
        help="how firmly, 0 to 1, to hold colour and contrasts of the first frame",
        journey="how firmly, 0 to 1, to hold colour and contrasts of "
                "the first frame, or of photographs if from noise"),
    row(Value("loop", "--loop", bool, False),
        Use(FLIGHTS, to=FLIGHTS),
        help="let the last frames fade into the first, for an endless film"),
    row(Value("fps", "--fps", float, 25.0, low=0.01, high=240, unit="frames a second"),
        Use(FLIGHTS, to=("make_film",), resume=True),
        help="frames a second"),
    row(Value("blend", "--blend", float, 0.9, low=0, high=0.99),
        Use(VIDEO, to=("steady",)),
        help="how much of a frame's dream carries over to the next frame"),
    row(Value("start", "--start", int, 0, low=0, high=GRAND),
        Use(VIDEO, to=("read_film",)),
        help="the first frame to dream, counted from 0"),
    row(Value("stop", "--stop", int, low=0, high=GRAND),
        Use(VIDEO, to=("read_film",), resume=True),
        help="stop before this frame; without it, at the end"),
    row(Value("stride", "--stride", int, 1, low=1, high=GRAND),
        Use(VIDEO, to=("read_film",)),
        help="dream every Nth frame only and show it N times as long"),
    # What to climb
    row(Value("look", "--look", str),
        Use(GOAL, to=("looks",), kept=False, metavar="NAME"),
        help="begin with this look (see `deepdream looks`); "
             "other options replace what it says"),
    row(Value("end", "--layer", str),
        Use((*GOAL, "train"), to=("making", "train"), varies=True,
            alias="--end", knob="What to look for (layer)", metavar="NAME"),
        help="the layer to climb (see `deepdream layers`), if not the default one",
        train="the layer to train, if not the network's default",
        studio="the layer whose findings are made stronger: "
               "early ones find strokes, late ones whole things"),
    row(Value("guide", "--guide", File),
        Use(GOAL, to=("making",), knob="Dream of this picture (guide)",
            metavar="IMAGE"),
        but={"video": {"metavar": "FILE"}},
        help="dream of what is in this picture (reduced to half a megapixel)",
        video="dream of what is in this picture, or in this film, "
              "frame by frame (reduced to half a megapixel)",
        studio="the dream takes its forms from what is in this picture"),
    row(Value("objective", "--objective", str),
        Use(GOAL, to=("making",), knob="Draw a thing (objective)", metavar="SUM"),
        help="what to climb in place of a layer: a sum such as "
             "\"L2('inception_4c/output') + 8000 * channel('inception_4c/output', "
             "237)\" of the terms L2(layer), guide(layer, image), channel(layer, "
             "i), unit(layer, i, x, y), logit(class), strongest(layer, n), "
             "weakest(layer, n), typical(layer, n) and caricature(layer, image); "
             "write --objective=... if it begins with a minus",
        studio="a thing that the network knows, such as peacock, in place of a layer; "
               "or a sum, such as L2('inception_4c/output') + logit('peacock')"),
    # How
    row(Value("iter_n", "--iterations", int, 10, low=0, high=10_000),
        Use(DREAMS, to=ALGORITHM, varies=True, knob="Repeats (iterations)"),
        but={"journey": {"default": 4}},
        help="steps at each octave"),
    row(Value("octave_n", "--octaves", int, 4, low=1, high=100),
        Use(DREAMS, to=ALGORITHM, varies=True, knob="Sizes (octaves)"),
        help="number of octaves, the sizes at which the picture is dreamt"),
    row(Value("octave_scale", "--octave-scale", float, 1.4, above=1, high=100),
        Use(DREAMS, to=ALGORITHM, varies=True,
            knob="Ratio of sizes (octave scale)"),
        help="ratio of one octave's size to the one before"),
    row(Value("step_size", "--step", float, 1.5, low=-1000, high=1000),
        Use(DREAMS, to=ALGORITHM, varies=True, knob="Strength (step)"),
        help="mean change of a colour value in a step, of 255"),
    row(Value("jitter", "--jitter", int, 32, low=0, high=GRAND, unit="pixels"),
        Use(DREAMS, to=ALGORITHM, varies=True, metavar="PX",
            knob="Shake (jitter)"),
        help="largest random shift before a step, in pixels"),
    row(Value("turn", "--turn", float, 0.0, low=0, high=180, unit="degrees"),
        Use(DREAMS, to=ALGORITHM, varies=True, metavar="DEG", knob="Tilt (turn)"),
        help="largest random rotation in a step, such as "
             "10, for dreams that do not all stand upright"),
    row(Value("steps", "--steps", int, 300, low=1, high=GRAND),
        Use(("draw", "atlas", "train"), to=("draw", "train"), resume=True),
        but={"train": {"default": 200}},
        help="steps of a drawing",
        train="training steps; with more than before, it is resumed"),
    row(Value("seed", "--seed", int, 0, low=0, high=2**32 - 1),
        Use((*DREAMS, "looks", "draw", "atlas", "train"),
            to=("deepdream", "draw", "train"), varies=True,
            knob="Chance (seed)"),
        but={"dream": {"default": None}},
        help="seed of the random shifts, and of the "
             "noise; the same seed makes the same picture",
        dream="seed of the random shifts, and of the noise; the same seed makes "
              "the same picture; without it, a random one, which is recorded",
        zoom="seed of the first frame's random shifts; each later frame adds 1",
        journey="seed of the noise and the first shifts; each later frame adds 1",
        train="seed of the crops, what is kept out, and the first weights"),
    row(Value("width", "--width", int, low=1, high=JPEG_SIDE, unit="pixels"),
        Use((*DREAMS, "looks", "train"), metavar="PX", knob="Width",
            to=("making", "films", "read_film", "sheets", "train")),
        but={"grid": {"default": 320},
             "looks": {"default": 400},
             "studio": {"default": 640},
             "train": {"default": 480, "kept": False}},
        help="resize to this width first",
        train="the width of the photograph that is watched"),
    row(Value("mask", "--mask", File),
        Use(DREAMS, to=("making",), knob="Where to dream (mask)", metavar="IMAGE"),
        but={"video": {"metavar": "FILE"}},
        help="dream only where this picture is light",
        video="dream only where this picture, or film, is light"),
    row(Value("smooth", "--smooth", float, 0.0, low=0, high=1000, unit="pixels"),
        Use(DREAMS, to=ALGORITHM, varies=True, metavar="PX",
            knob="Softness (smooth)"),
        help="blur the gradient, against grain; sigma in pixels, such as 1"),
    row(Value("lap", "--lap", int, 0, low=0, high=16),
        Use(DREAMS, to=ALGORITHM, varies=True, knob="Even scales (lap)"),
        help="split the gradient into this many scales and one more, such as "
             "4, and give all the same strength: large forms, soft colours"),
    row(Value("keep_color", "--keep-color", bool, False),
        Use(DREAMS, to=ALGORITHM, knob="Keep the colours"),
        help="change only how light each pixel is, not its colour"),
    row(Value("tile", "--tile", int, low=1, high=JPEG_SIDE, unit="pixels"),
        Use(DREAMS, to=ALGORITHM, metavar="PX"),
        help="dream in tiles of this size; without it, only if a "
             "whole pass would take more than half of the free "
             "memory, or than DEEPDREAM_MEMORY (such as 1.5GB)"),
    # Only in Python
    row(Value("halo", "", int, low=0, high=JPEG_SIDE, unit="pixels"),
        Use((), to=ALGORITHM),
        help="margin around a tile"),
    row(Value("clip", "--no-clip", bool, True),
        Use(PICTURES, to=ALGORITHM),
        help="let colours leave 0..255, and scale the contrast at the end"),
    # What an atlas draws; each of its pictures records its own channel as `draw`
    row(Value("layer", "--layer", str, REQUIRED),
        Use(("atlas",), to=("sheets",), kept=False, metavar="NAME"),
        help="the layer whose channels are drawn (see `deepdream layers`)"),
    row(Value("channels", "--channels", str),
        Use(("atlas",), to=("sheets",), kept=False, metavar="A-B,C"),
        help="draw only these channels; without it, all"),
    # Training
    row(Value("rate", "--rate", float, 0.02, above=0, high=100),
        Use(TRAIN, to=TRAIN),
        help="learning rate of the first step; it falls evenly to the last"),
    row(Value("freeze", "--freeze", str),
        Use(TRAIN, to=TRAIN, metavar="NAME"),
        help="keep all layers up to this one as they are, or `none`; without "
             "it, up to the second pooling, or else the first convolution"),
    row(Value("batch", "--batch", int, 12, low=2, high=10_000, unit="pictures"),
        Use(TRAIN, to=TRAIN),
        help="pictures in a step"),
    row(Value("keep_out", "--keep-out", float, 0.1, low=0, high=0.9),
        Use(TRAIN, to=TRAIN),
        help="keep this share of the pictures out, to test the network with them"),
    row(Value("watch", "--watch", File),
        Use(TRAIN, to=TRAIN, kept=False, metavar="IMAGE"),
        help="a photograph to dream from time to time, with the "
             "network as it is then, on a growing sheet, OUT/watch.jpg"),
    row(Value("watch_every", "--watch-every", int, low=1, high=GRAND, unit="steps"),
        Use(TRAIN, to=TRAIN, kept=False),
        help="dream it every N steps; without it, every 25, or 5 for a film"),
    row(Value("film", "--film", str),
        Use(TRAIN, to=TRAIN, kept=False, metavar="FILM"),
        help="make a film of the photograph's dreams, .mp4, .webm or .gif"),
    # Running; these change nothing in what is made
    row(Value("preview", "--preview", bool, False),
        Use(FILMS, to=("films",), kept=False),
        help="make only every 10th frame, small and quick, into film-preview.mp4 "
             "for film.mp4; `deepdream replay` then makes the whole film"),
    row(Value("restart", "--restart", bool, False),
        Use((*FILMS, "train"), to=("make_film", "train"), kept=False),
        help="throw away an earlier run's frames; without it, that is resumed",
        train="throw away what a run has learnt; without it, that is resumed"),
    row(Value("workers", "--workers", int, low=1, high=GRAND),
        Use(SPREAD, to=("connect",), kept=False),
        help="processes on this machine; without it, one for each core"),
    row(Value("scheduler", "--scheduler", str),
        Use(SPREAD, to=("connect",), kept=False, metavar="ADDRESS"),
        help="run on this Dask cluster instead, tcp://host:8786"),
    row(Value("report", "--report", str),
        Use(SPREAD, to=("cli",), kept=False, metavar="FILE"),
        help="add a line of JSON for each picture to this file: "
             "settings, error, sha256, seconds and peak memory in bytes"),
    row(Value("host", "--host", str, "127.0.0.1"),
        Use(SERVE, to=SERVE, kept=False, metavar="ADDRESS"),
        help="the address to listen on; any but 127.0.0.1 lets in others, by a token"),
    row(Value("port", "--port", int, low=1, high=65_535),
        Use(SERVE, to=SERVE, kept=False),
        help="the port to listen on; without it, 8866 or the next free one"),
    row(Value("token", "--token", str),
        Use(SERVE, to=SERVE, kept=False, metavar="TEXT"),
        help="the token that visitors need; with another --host, made up"),
    row(Value("at_once", "--at-once", int, low=1, high=GRAND),
        Use(SERVE, to=SERVE, kept=False),
        help="how many visitors dream at once; without it, half the cores"),
    row(Value("idle", "--idle", float, 30.0, above=0, high=1e6, unit="minutes"),
        Use(SERVE, to=SERVE, kept=False, metavar="MIN"),
        help="minutes after which a page that nobody uses is closed"),
    row(Value("minutes", "--minutes", float, 10.0, above=0, high=1e6, unit="minutes"),
        Use(SERVE, to=SERVE, kept=False, metavar="MIN"),
        help="the most that one visitor's dream or film may take"),
    row(Value("browser", "--browser", bool, False),
        Use(SERVE, to=("cli",), kept=False),
        help="open the page in a browser on this machine"),
)
# {name: row}; `size` is that of a dream, which comes after that of a drawing
ROWS = {row.name: row for row in TABLE}
NETWORK = tuple(row.name for row in TABLE if "load_net" in row.to)
# What a picture carries besides its recipe; there is `sha256`, too, {what: its sha256}
ABOUT = {
    "preview": ROWS["preview"],
    "deepdream": row(Value("deepdream", "", str, REQUIRED), Use((), resume=True),
        help="the version of this program that made it"),
    "frame": row(Value("frame", "", int, low=0, high=GRAND), Use(()),
        help="which frame of a film it is, counted from 0"),
    "stopped_at": row(Value("stopped_at", "", float, low=0, high=1), Use(()),
        help="the share that was done when it was stopped"),
}
# fmt: on


def rows_of(command: str) -> dict[str, Setting]:
    """{name: row} of a command's settings, with what is different there."""
    return {row.name: row.at(command) for row in TABLE if command in row.commands}


def rows_for(function: str) -> dict[str, Setting]:
    """{name: row} of the settings that this function receives."""
    return {row.name: row for row in TABLE if function in row.to}


def knobs() -> dict[str, Setting]:
    """{name: row} of the settings of `dream` that have a knob in the studio."""
    return {row.name: row.at("studio") for row in TABLE if row.knob}


def arguments(recipe: Recipe, function: str) -> Params:
    """{name: value} of a recipe's settings that this function receives as keywords."""
    rows = rows_of(recipe["command"])
    return {name: recipe[name] for name, row in rows.items() if function in row.to}


def check(name: str, value: object, command: str = "") -> None:
    """Raise a DreamError unless this setting may have this value, in Python.

    command: whose limits hold; without it, None passes if it is any command's default.
    """
    row = rows_of(command)[name] if command else ROWS[name]
    defaults = [row.at(other).default for other in row.but]
    if value is not None or None not in defaults:
        check_row(row, value)


def check_row(row: Setting, value: object) -> None:
    """Raise a DreamError unless a setting with this row may have this value."""
    if value is None and row.default is None:
        return
    several = isinstance(value, (list, tuple))
    if isinstance(row.count, int):
        if not several or len(value) != row.count:
            fault = f"{{setting}} is {value!r}; it must be {row.count} numbers"
            raise DreamError(fault, row.name)
    elif several != (row.count == "+"):
        raise _refuse(row, value)
    values = value if several else [value]
    if row.choices and values[0] not in row.choices:
        raise unknown(row.name, values[0], row.choices, "no others are allowed")
    if not values or not all(_fits(row, each) for each in values):
        raise _refuse(row, value)


def _refuse(row: Setting, value: object) -> DreamError:
    allowed = f"one or more of: {row.allowed}" if row.count == "+" else row.allowed
    if row.kind is float and isinstance(row.default, float) and row.default:
        allowed += f", such as {row.default}"
    return DreamError(f"{{setting}} is {value!r}; it must be {allowed}", row.name)


def _fits(row: Setting, value: Any) -> bool:
    """Whether one value is of the row's kind and within its limits."""
    if row.kind is bool:
        return isinstance(value, bool)
    if row.kind is Size:
        size = "[1-9][0-9]{0,8}x[1-9][0-9]{0,8}"
        return isinstance(value, str) and re.fullmatch(size, value) is not None
    if row.kind in (str, File):
        return _is_text(value)
    numbers = Integral if row.kind is int else Real
    if isinstance(value, bool) or not isinstance(value, numbers):
        return False
    number: Any = value
    return (
        (row.low is None or number >= row.low)
        and (row.above is None or number > row.above)
        and (row.high is None or number <= row.high)
        and (row.below is None or number < row.below)
    )


def _is_text(value: object) -> bool:
    """Whether it is text, not empty, that a file's name may hold."""
    if not isinstance(value, str) or not value:
        return False
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a character
        return False


def read(command: str, name: str, word: str) -> Any:
    """The value that a word of the command line, or of an old picture, gives a setting;
    for a grid, a list of several separated by commas. Raises DreamError.
    """
    row = rows_of(command)[name]
    if not row.varies:
        return _read(row, word)
    parts = [part.strip() for part in word.split(",")]
    if "" in parts:
        fault = f"{{setting}} is {word!r}; a value is missing between its commas"
        raise DreamError(fault, name)
    values = list(dict.fromkeys(_read(row, part) for part in parts))
    return values if len(values) > 1 else values[0]


def _read(row: Setting, word: str) -> Any:
    if row.kind not in (int, float):
        return word
    try:
        return row.kind(word)
    except ValueError:
        raise _refuse(row, word) from None


def size_of(text: str) -> tuple[int, int]:
    """'1024x575' -> (height, width), in pixels."""
    width, height = map(int, text.split("x"))
    return height, width


def text_of(value: object) -> str:
    """A value as a person would type it: 0.00001, never 1e-05."""
    if not isinstance(value, float):
        return str(value)
    import numpy as np

    return np.format_float_positional(value, trim="0")


def option(name: str, command: str = "") -> str:
    """What the command line calls a setting: `--iterations` for `iter_n`."""
    row = rows_of(command).get(name) or ROWS.get(name)
    return row.option if row and row.is_option else name
