"""The table of settings, one row each; everything else that knows about settings is
derived from it.

From a row come the option on the command line and its help, the check of its value in
Python, the knob in the studio, what a batch job may say, what a picture carries with
it, and the command that makes a picture again.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

from .errors import DreamError, unknown

Recipe = dict[str, Any]  # a command and all its settings, see recipe.py
Record = dict[str, Any]  # the settings that a picture or film carries
Params = dict[str, Any]  # keywords for a function
GRAND = 2**31 - 1  # in place of a limit, for whole numbers that have no natural one
REQUIRED = object()  # in place of a default
PICTURES = "dream", "batch", "grid"
FILMS = "zoom", "journey", "video"
DREAMS = (*PICTURES, *FILMS)
MAKERS = (
    "dream",
    "draw",
    *FILMS,
    "grid",
    "looks",
)  # what these make carries a recipe, and can be replayed
SPREAD = "batch", "grid", "atlas"  # these work with several processes
USERS = *MAKERS, *SPREAD, "train", "look"  # these use a network
NETWORK = (
    "model",
    "engine",
    "device",
    "dtype",
)  # the settings that choose a network; what `load_net` takes
GOAL = (
    "dream",
    "batch",
    "grid",
    "zoom",
    "video",
)  # these climb one goal; a journey has layers instead


class File(str):
    """A row of this kind holds the path of a file to read."""


class Size(str):
    """A row of this kind holds WIDTHxHEIGHT in pixels, such as 1024x575."""


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str  # in Python, where possible the notebook's; the key in a picture's settings
    option: str  # on the command line; without dashes, an argument by its place
    kind: type  # int, float, bool, str, File or Size
    help: str
    commands: tuple[str, ...] = ()
    default: Any = None
    low: float | None = None  # smallest value
    high: float | None = None  # largest value
    above: float | None = None  # the value must be larger than this
    below: float | None = None  # the value must be smaller than this
    unit: str = ""
    choices: tuple[str, ...] = ()
    count: str | int | None = None  # how many values: an int, or '?' or '+' as in argparse
    metavar: str | tuple[str, ...] | None = None
    alias: str | None = None  # a second option
    varies: bool = False  # a grid takes several values, separated by commas
    to: tuple[str, ...] = ()  # the functions that receive it as a keyword
    kept: bool = True  # recorded in the picture
    # may differ when a film or training is resumed; a name: unless that setting is set
    resume: bool | str = False
    knob: str | None = None  # label in the studio
    before: Any = None  # what it was before it was a setting, if that is not the default
    but: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # {command: what is different there}

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.kind is bool:
            return "True or False"
        if self.kind is File:
            return "the path of a file"
        if self.kind is Size:
            return "WIDTHxHEIGHT in pixels, such as 1024x575"
        if self.kind is str:
            return "text"
        number = "a whole number" if self.kind is int else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        if self.low is not None and self.high not in (None, GRAND):
            return f"{number}{unit} from {self.low:.15g} to {self.high:.15g}"
        limits = {
            "at least": self.low,
            "above": self.above,
            "at most": self.high,
            "below": self.below,
        }
        words = [
            f"{word} {limit:.15g}" for word, limit in limits.items() if limit not in (None, GRAND)
        ]
        return f"{number}{unit}, {' and '.join(words)}"

    @property
    def is_option(self) -> bool:
        return self.option.startswith("-")


SIDE = 65_535  # pixels: the most that a JPEG can have
TABLE = (
    # What to start from
    Setting(
        "image",
        "IN",
        File,
        "the picture, in any common format, or one of the package's own: mountains.jpg, "
        "forest.jpg, flower.jpg",
        ("dream", "grid", "zoom", "journey", "looks", "look"),
        count="?",
        knob="Picture",
        but={
            "grid": {"default": REQUIRED, "count": None},
            "zoom": {"default": REQUIRED, "count": None},
            "look": {"default": REQUIRED, "count": None},
            "looks": {"help": "show this picture in all looks; without it, list them"},
            "journey": {
                "help": "a picture to begin with; without one, the journey begins with noise"
            },
        },
    ),
    Setting(
        "images",
        "IN",
        str,
        "pictures, folders, patterns such as 'photos/*.jpg', or URLs",
        ("batch",),
        REQUIRED,
        count="+",
        kept=False,
    ),
    Setting(
        "draw",
        "WHAT",
        str,
        "a class, by name or number ('anemone fish'), or an objective, as for `dream "
        "--objective`; several make a sheet",
        ("draw",),
        REQUIRED,
        count="+",
    ),
    Setting("source", "IN", File, "the film, in any common format", ("video",), REQUIRED),
    Setting(
        "pictures",
        "PICTURES",
        str,
        "a folder with a folder of pictures for each class; or one with pictures "
        "alone, and the network learns from them without classes",
        ("train",),
        REQUIRED,
        kept=False,
    ),
    Setting(
        "after",
        "--after",
        File,
        "another picture, such as a dream of this one; both are shown side by side",
        ("look",),
        metavar="IMAGE",
    ),
    # The network
    Setting(
        "model",
        "--model",
        str,
        "a network's name (`deepdream models` lists them), or a folder with its files; "
        "without it, GoogLeNet, or SqueezeNet if GoogLeNet's weights cannot be downloaded",
        USERS,
        metavar="NAME",
        knob="Network",
        but={
            "studio": {
                "help": "which network looks at the picture; each has learnt from other "
                "pictures, and sees other things in yours"
            },
            "train": {
                "option": "--from",
                "alias": "--model",
                "help": "the network to start from: "
                "its name, or a folder with its files; without it, GoogLeNet, or SqueezeNet if GoogLeNet's weights cannot "
                "be downloaded",
            },
        },
        to=("load_net",),
    ),
    Setting(
        "engine",
        "--engine",
        str,
        "caffe or torch; without it, DEEPDREAM_ENGINE, or Caffe if it is installed",
        USERS,
        choices=("caffe", "torch"),
        metavar="NAME",
        knob="Engine",
        but={
            "studio": {
                "help": "the program that does the work: Caffe as in 2015, or PyTorch, which is faster"
            },
            "train": {
                "help": "caffe or torch; "
                "without it, DEEPDREAM_ENGINE, or PyTorch if it is installed, which trains faster"
            },
        },
        to=("load_net",),
    ),
    Setting(
        "device",
        "--device",
        str,
        "where PyTorch runs: auto (an NVIDIA GPU, or else the processor), cpu, cuda or "
        "mps; without it, auto, or cpu for batch, grid and atlas",
        USERS,
        metavar="NAME",
        to=("load_net",),
    ),
    Setting(
        "dtype",
        "--dtype",
        str,
        "the numbers that PyTorch calculates with: auto, float32, tf32 or bfloat16 "
        "(faster, less exact); auto is bfloat16 where the hardware multiplies it; without it, auto, or float32 for "
        "batch, grid and atlas",
        (*MAKERS, *SPREAD, "look"),
        choices=("auto", "float32", "tf32", "bfloat16"),
        metavar="NAME",
        to=("load_net",),
    ),
    # Films
    Setting(
        "frames",
        "--frames",
        int,
        "how many frames; a larger number makes a finished film longer",
        ("zoom",),
        100,
        low=1,
        high=GRAND,
        to=("zoom",),
        resume="loop",
    ),
    Setting(
        "layers",
        "--layers",
        str,
        "the layers to climb, in turn, or `all`; without it, about ten of all depths",
        ("journey",),
        metavar="A,B,C",
    ),
    Setting(
        "frames_per_layer",
        "--frames-per-layer",
        int,
        "frames for each layer",
        ("journey",),
        100,
        low=1,
        high=GRAND,
        to=("journey",),
    ),
    Setting(
        "cross_fade",
        "--cross-fade",
        int,
        "over the last N frames of a layer, the next layer takes over; without "
        "it, a quarter of the layer's frames",
        ("journey",),
        low=0,
        high=GRAND,
        unit="frames",
        to=("journey",),
    ),
    Setting(
        "size",
        "--size",
        Size,
        "dream from noise of this size instead of a picture",
        ("dream", "journey", "draw"),
        metavar="WxH",
        but={
            "journey": {"help": "the size of a film that begins with noise; without it, 640x360"},
            "draw": {
                "kind": int,
                "low": 16,
                "high": 4096,
                "unit": "pixels",
                "metavar": "PX",
                "help": "the longer side "
                "(time grows with the number of pixels); without it, a third more than the network's own",
            },
        },
    ),
    Setting(
        "several",
        "--several",
        int,
        "draw so many pictures that differ from each other, on one sheet",
        ("draw",),
        1,
        low=1,
        high=100,
        unit="pictures",
        to=("draw",),
    ),
    Setting(
        "scale",
        "--zoom",
        float,
        "from frame to frame, cut off this share of the sides and enlarge the rest",
        ("zoom", "journey"),
        0.05,
        low=-1,
        below=1,
        but={"journey": {"default": 0.02}},
        to=("zoom", "journey"),
    ),
    Setting(
        "rotate",
        "--rotate",
        float,
        "from frame to frame, turn the picture clockwise by this angle",
        ("zoom", "journey"),
        0.0,
        low=-360,
        high=360,
        unit="degrees",
        metavar="DEG",
        to=("zoom", "journey"),
    ),
    Setting(
        "shift",
        "--shift",
        float,
        "from frame to frame, move the picture by this many pixels",
        ("zoom", "journey"),
        [0.0, 0.0],
        low=-1e6,
        high=1e6,
        unit="pixels",
        count=2,
        metavar=("RIGHT", "DOWN"),
        to=("zoom", "journey"),
    ),
    Setting(
        "to",
        "--to",
        float,
        "fly to this point of the picture, to the right and down from its upper left, in "
        "pixels or in shares of the sides from 0 to 1",
        ("zoom", "journey"),
        low=0,
        high=SIDE,
        unit="pixels",
        count=2,
        metavar=("X", "Y"),
        to=("zoom", "journey"),
    ),
    Setting(
        "keys",
        "--keys",
        str,
        "a file, .toml or .json, that says what the settings are at some of the frames; "
        "between these, numbers change smoothly",
        ("zoom",),
        metavar="FILE",
    ),
    Setting(
        "down",
        "--down",
        bool,
        "climb the layers from the deepest to the lowest",
        ("journey",),
        False,
        to=("stations",),
    ),
    Setting(
        "hold",
        "--hold",
        float,
        "how firmly to hold the mean colour, and the contrast at each scale, of the first "
        "frame; from 0, not at all, to 1",
        ("zoom", "journey"),
        0.0,
        low=0,
        high=1,
        but={
            "journey": {
                "default": 0.3,
                "before": 0.0,
                "help": "how firmly to hold the mean colour, and the contrast at each scale, of the first "
                "frame, or from noise, of photographs; from 0, not at all, to 1",
            }
        },
        to=("zoom", "journey"),
    ),
    Setting(
        "loop",
        "--loop",
        bool,
        "let the last frames fade into the first, for a film that runs for ever",
        ("zoom", "journey"),
        False,
        to=("zoom", "journey"),
    ),
    Setting(
        "fps",
        "--fps",
        float,
        "frames a second",
        ("zoom", "journey"),
        25.0,
        low=0.01,
        high=240,
        unit="frames a second",
        to=("make_film",),
        resume=True,
    ),
    Setting(
        "blend",
        "--blend",
        float,
        "how much of a frame's dream carries over to the next frame; 0 dreams each "
        "frame for itself",
        ("video",),
        0.9,
        low=0,
        high=0.99,
        to=("steady",),
    ),
    Setting(
        "start",
        "--start",
        int,
        "the first frame to dream, counted from 0",
        ("video",),
        0,
        low=0,
        high=GRAND,
        to=("read_film",),
    ),
    Setting(
        "stop",
        "--stop",
        int,
        "stop before this frame; without it, at the end",
        ("video",),
        low=0,
        high=GRAND,
        to=("read_film",),
        resume=True,
    ),
    Setting(
        "stride",
        "--stride",
        int,
        "dream every Nth frame only and show it N times as long",
        ("video",),
        1,
        low=1,
        high=GRAND,
        to=("read_film",),
    ),
    # What to climb
    Setting(
        "look",
        "--look",
        str,
        "begin with this look (`deepdream looks` lists them); other options replace what it says",
        GOAL,
        metavar="NAME",
        kept=False,
    ),
    Setting(
        "end",
        "--layer",
        str,
        "the layer to climb (`deepdream layers` lists them); without it, the network's default",
        (*GOAL, "train"),
        alias="--end",
        metavar="NAME",
        varies=True,
        knob="What to look for (layer)",
        but={
            "studio": {
                "help": "the layer of the network whose findings are made stronger: early ones find strokes, "
                "late ones whole things"
            },
            "train": {
                "help": "the layer to train, and to dream of later; "
                "without it, the network's default"
            },
        },
    ),
    Setting(
        "guide",
        "--guide",
        File,
        "dream of what is in this picture (reduced to half a megapixel)",
        GOAL,
        metavar="IMAGE",
        knob="Dream of this picture (guide)",
        but={
            "studio": {"help": "the dream takes its forms from what is in this picture"},
            "video": {
                "metavar": "FILE",
                "help": "dream of what is in this picture, or in this film, frame by frame (reduced to half a "
                "megapixel)",
            },
        },
    ),
    Setting(
        "objective",
        "--objective",
        str,
        "what to climb in place of a layer: a sum such as \"L2('inception_4c/"
        "output') + 8000 * channel('inception_4c/output', 237)\" of the terms L2(layer), guide(layer, image), "
        "channel(layer, i), unit(layer, i, x, y), logit(class), strongest(layer, n), weakest(layer, n), "
        "typical(layer, n) and caricature(layer, image); write --objective=... if it begins with a minus",
        GOAL,
        metavar="SUM",
        knob="Draw a thing (objective)",
        but={
            "studio": {
                "help": "a thing that the network "
                "knows, such as peacock, in place of a layer; or a sum of terms, such as L2('inception_4c/output') + "
                "logit('peacock')"
            }
        },
    ),
    # How
    Setting(
        "iter_n",
        "--iterations",
        int,
        "steps at each octave",
        DREAMS,
        10,
        low=0,
        high=10_000,
        varies=True,
        to=("deepdream",),
        knob="Repeats (iterations)",
        but={"journey": {"default": 4}},
    ),
    Setting(
        "octave_n",
        "--octaves",
        int,
        "number of octaves, the sizes at which the picture is dreamt",
        DREAMS,
        4,
        low=1,
        high=100,
        varies=True,
        to=("deepdream",),
        knob="Sizes (octaves)",
    ),
    Setting(
        "octave_scale",
        "--octave-scale",
        float,
        "ratio of one octave's size to the one before",
        DREAMS,
        1.4,
        above=1,
        high=100,
        varies=True,
        to=("deepdream",),
        knob="Ratio of sizes (octave scale)",
    ),
    Setting(
        "step_size",
        "--step",
        float,
        "mean change of a colour value in a step, of 255",
        DREAMS,
        1.5,
        low=-1000,
        high=1000,
        varies=True,
        to=("deepdream",),
        knob="Strength (step)",
    ),
    Setting(
        "jitter",
        "--jitter",
        int,
        "largest random shift before a step, in pixels",
        DREAMS,
        32,
        low=0,
        high=GRAND,
        unit="pixels",
        metavar="PX",
        varies=True,
        to=("deepdream",),
        knob="Shake (jitter)",
    ),
    Setting(
        "turn",
        "--turn",
        float,
        "largest random rotation of the picture in a step, such as 10, for dreams that do "
        "not all stand upright",
        DREAMS,
        0.0,
        low=0,
        high=180,
        unit="degrees",
        metavar="DEG",
        varies=True,
        to=("deepdream",),
        knob="Tilt (turn)",
    ),
    Setting(
        "steps",
        "--steps",
        int,
        "steps of a drawing",
        ("draw", "atlas", "train"),
        300,
        low=1,
        high=GRAND,
        but={
            "train": {
                "default": 200,
                "help": "training steps; with a larger number than before, the training goes on",
            }
        },
        to=("draw",),
        resume=True,
    ),
    Setting(
        "seed",
        "--seed",
        int,
        "seed of the random shifts, and of the noise; the same seed makes the same picture",
        (*DREAMS, "looks", "draw", "atlas", "train"),
        0,
        low=0,
        high=2**32 - 1,
        varies=True,
        knob="Chance (seed)",
        but={
            "dream": {
                "default": None,
                "help": "seed of the random shifts, and of the noise; the same seed makes "
                "the same dream; without it, a random seed, which is recorded in the picture",
            },
            "zoom": {"help": "seed of the first frame's random shifts; each later frame adds 1"},
            "journey": {
                "help": "seed of the noise and of the first frame's shifts; each later frame adds 1"
            },
            "train": {
                "help": "seed of the crops, of what is kept out, and of the classifier's first weights"
            },
        },
        to=("deepdream", "draw"),
    ),
    Setting(
        "width",
        "--width",
        int,
        "resize to this width first",
        (*DREAMS, "looks", "train"),
        low=1,
        high=SIDE,
        unit="pixels",
        metavar="PX",
        knob="Width",
        to=("read_film",),
        but={
            "grid": {"default": 320},
            "looks": {"default": 400},
            "studio": {"default": 640},
            "train": {
                "default": 480,
                "kept": False,
                "help": "the width of the photograph that is watched",
            },
        },
    ),
    Setting(
        "mask",
        "--mask",
        File,
        "dream only where this picture is light",
        DREAMS,
        metavar="IMAGE",
        knob="Where to dream (mask)",
        but={
            "video": {
                "metavar": "FILE",
                "help": "dream only where this picture, or this film, frame by frame, is light",
            }
        },
    ),
    Setting(
        "smooth",
        "--smooth",
        float,
        "blur the gradient, against grain; sigma in pixels, such as 1",
        DREAMS,
        0.0,
        low=0,
        high=1000,
        unit="pixels",
        metavar="PX",
        varies=True,
        to=("deepdream",),
        knob="Softness (smooth)",
    ),
    Setting(
        "lap",
        "--lap",
        int,
        "split the gradient into this many scales and one more, such as 4, and give all the "
        "same strength: large forms, soft colours",
        DREAMS,
        0,
        low=0,
        high=16,
        varies=True,
        to=("deepdream",),
        knob="Even scales (lap)",
    ),
    Setting(
        "keep_color",
        "--keep-color",
        bool,
        "change only how light each pixel is, not its colour",
        DREAMS,
        False,
        to=("deepdream",),
        knob="Keep the colours",
    ),
    Setting(
        "tile",
        "--tile",
        int,
        "send the picture through the network in tiles of this size; without it, tiles are "
        "used only when a whole pass would take more than half of the free memory, or than DEEPDREAM_MEMORY (such "
        "as 1.5GB)",
        DREAMS,
        low=1,
        high=SIDE,
        unit="pixels",
        metavar="PX",
        to=("deepdream",),
    ),
    Setting(
        "halo", "", int, "margin around a tile", (), low=0, high=SIDE, unit="pixels"
    ),  # only in Python
    Setting(
        "clip",
        "--no-clip",
        bool,
        "let colours leave 0..255, and scale the contrast at the end",
        PICTURES,
        True,
        to=("deepdream",),
    ),
    # What an atlas draws; each of its pictures records its own channel as `draw`
    Setting(
        "layer",
        "--layer",
        str,
        "the layer whose channels are drawn (`deepdream layers` lists them)",
        ("atlas",),
        REQUIRED,
        metavar="NAME",
        kept=False,
    ),
    Setting(
        "channels",
        "--channels",
        str,
        "draw only these channels; without it, all",
        ("atlas",),
        metavar="A-B,C",
        kept=False,
    ),
    # Training
    Setting(
        "rate",
        "--rate",
        float,
        "the learning rate: how far the first step changes the weights; it falls evenly "
        "until the last step",
        ("train",),
        0.02,
        above=0,
        high=100,
    ),
    Setting(
        "freeze",
        "--freeze",
        str,
        "keep this layer and all before it as they are, or `none`; without it, those "
        "up to the second pooling, or if there is none, the first convolution",
        ("train",),
        metavar="NAME",
    ),
    Setting(
        "batch",
        "--batch",
        int,
        "pictures in a step",
        ("train",),
        12,
        low=2,
        high=10_000,
        unit="pictures",
    ),
    Setting(
        "keep_out",
        "--keep-out",
        float,
        "keep this share of the pictures out of the training, to test the network with them",
        ("train",),
        0.1,
        low=0,
        high=0.9,
    ),
    Setting(
        "watch",
        "--watch",
        File,
        "a photograph to dream from time to time, with the network as it is then; the "
        "dreams go into a growing sheet, OUT/watch.jpg",
        ("train",),
        metavar="IMAGE",
        kept=False,
    ),
    Setting(
        "watch_every",
        "--watch-every",
        int,
        "dream the watched photograph after every N steps; without it, 25, or 5 for a film",
        ("train",),
        low=1,
        high=GRAND,
        unit="steps",
        kept=False,
    ),
    Setting(
        "film",
        "--film",
        str,
        "make a film of the watched photograph's dreams, .mp4, .webm or .gif",
        ("train",),
        metavar="FILM",
        kept=False,
    ),
    # Running; these change nothing in what is made
    Setting(
        "preview",
        "--preview",
        bool,
        "make only every 10th frame, small and quick, in a film beside the other: "
        "film-preview.mp4 for film.mp4; `deepdream replay` then makes the whole film",
        FILMS,
        False,
        kept=False,
    ),
    Setting(
        "restart",
        "--restart",
        bool,
        "throw away the frames of an earlier run; without it, a run that was stopped "
        "or killed is resumed",
        (*FILMS, "train"),
        False,
        kept=False,
        but={
            "train": {
                "help": "throw away what an "
                "earlier run has learnt; without it, a run that was stopped or killed is resumed"
            }
        },
        to=("make_film",),
    ),
    Setting(
        "workers",
        "--workers",
        int,
        "number of processes on this machine; without it, one for each core",
        SPREAD,
        low=1,
        high=GRAND,
        kept=False,
        to=("connect",),
    ),
    Setting(
        "scheduler",
        "--scheduler",
        str,
        "run on this Dask cluster instead, tcp://host:8786",
        SPREAD,
        metavar="ADDRESS",
        kept=False,
        to=("connect",),
    ),
    Setting(
        "report",
        "--report",
        str,
        "add a line of JSON to this file for each picture: settings, seconds, peak "
        "memory in bytes, sha256, error",
        SPREAD,
        metavar="FILE",
        kept=False,
    ),
    Setting(
        "host",
        "--host",
        str,
        "the address to listen on; any but 127.0.0.1 lets other machines in, and visitors "
        "then need a token",
        ("serve",),
        "127.0.0.1",
        metavar="ADDRESS",
        kept=False,
        to=("serve",),
    ),
    Setting(
        "port",
        "--port",
        int,
        "the port to listen on; without it, 8866 or the next one that is free",
        ("serve",),
        low=1,
        high=65_535,
        kept=False,
        to=("serve",),
    ),
    Setting(
        "token",
        "--token",
        str,
        "the token that visitors need; without it, one is made up when --host lets others in",
        ("serve",),
        metavar="TEXT",
        kept=False,
        to=("serve",),
    ),
    Setting(
        "at_once",
        "--at-once",
        int,
        "number of visitors that dream at once while others queue; without it, half the cores",
        ("serve",),
        low=1,
        high=GRAND,
        kept=False,
        to=("serve",),
    ),
    Setting(
        "idle",
        "--idle",
        float,
        "minutes after which a page that nobody uses is closed",
        ("serve",),
        30.0,
        above=0,
        high=1e6,
        unit="minutes",
        metavar="MIN",
        kept=False,
        to=("serve",),
    ),
    Setting(
        "minutes",
        "--minutes",
        float,
        "the most that one visitor's dream or film may take",
        ("serve",),
        10.0,
        above=0,
        high=1e6,
        unit="minutes",
        metavar="MIN",
        kept=False,
        to=("serve",),
    ),
    Setting(
        "browser",
        "--browser",
        bool,
        "open the page in a browser on this machine",
        ("serve",),
        False,
        kept=False,
    ),
)
ROWS = {row.name: row for row in TABLE}
# What a picture carries besides its recipe; there is `sha256`, too, {what: its sha256}
ABOUT = {
    "deepdream": Setting(
        "deepdream", "", str, "the version that made it", default=REQUIRED, resume=True
    ),
    "frame": Setting("frame", "", int, "which frame of a film it is", low=0, high=GRAND),
    "preview": ROWS["preview"],
    "stopped_at": Setting(
        "stopped_at", "", float, "the share that was done when it was stopped", low=0, high=1
    ),
}


def rows_of(command: str) -> dict[str, Setting]:
    """{name: row} of the settings that this command has, with what is different there;
    only a grid varies any.
    """
    rows = (row for row in TABLE if command in row.commands)
    is_grid = command == "grid"
    return {
        row.name: replace(row, varies=row.varies and is_grid, **row.but.get(command, {}))
        for row in rows
    }


def arguments(recipe: dict[str, Any], function: str) -> dict[str, Any]:
    """{name: value} of a recipe's settings that this function receives as keywords."""
    rows = rows_of(recipe["command"])
    return {name: recipe[name] for name, row in rows.items() if function in row.to}


def knobs() -> dict[str, Setting]:
    """{name: row} of the settings of `dream` that have a knob in the studio."""
    return {row.name: replace(row, **row.but.get("studio", {})) for row in TABLE if row.knob}


def check(name: str, value: object, command: str = "") -> None:
    """Raise a DreamError unless the setting of this name may have this value, in
    Python.

    command: the one whose limits hold, if the setting has others there. None passes if
    it is the default of any.
    """
    row = rows_of(command)[name] if command else ROWS[name]
    defaults = [
        row.default,
        *(different.get("default", row.default) for different in row.but.values()),
    ]
    if value is not None or None not in defaults:
        check_row(row, value)


def check_row(row: Setting, value: object) -> None:
    if value is None and row.default is None:
        return
    several = isinstance(value, (list, tuple))
    if isinstance(row.count, int):
        if not several or len(value) != row.count:
            raise DreamError(f"{{setting}} is {value!r}; it must be {row.count} numbers", row.name)
    elif several != (row.count == "+"):
        raise _refusal(row, value)
    values = value if several else [value]
    if row.choices and values[0] not in row.choices:
        raise unknown(row.name, values[0], row.choices, "no others are allowed")
    if not values or not all(_fits(row, each) for each in values):
        raise _refusal(row, value)


def _refusal(row: Setting, value: object) -> DreamError:
    example = (
        f", such as {row.default}"
        if row.kind is float and isinstance(row.default, float) and row.default
        else ""
    )
    each = "one or more of: " if row.count == "+" else ""
    return DreamError(
        f"{{setting}} is {value!r}; it must be {each}{row.allowed}{example}", row.name
    )


def _fits(row: Setting, value: Any) -> bool:
    """Whether one value is of the row's kind and within its limits."""
    if row.kind is bool:
        return isinstance(value, bool)
    if row.kind is Size:
        return (
            isinstance(value, str)
            and re.fullmatch("[1-9][0-9]{0,8}x[1-9][0-9]{0,8}", value) is not None
        )
    if row.kind in (str, File):
        return _is_text(value)
    if isinstance(value, bool) or not isinstance(value, Integral if row.kind is int else Real):
        return False
    number: Any = value
    return (
        (row.low is None or number >= row.low)
        and (row.above is None or number > row.above)
        and (row.high is None or number <= row.high)
        and (row.below is None or number < row.below)
    )


def _is_text(value: object) -> bool:
    """Whether it is text that is not empty, and that a file's name may hold."""
    try:
        return isinstance(value, str) and value != "" and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a character
        return False


def read(command: str, name: str, word: str) -> Any:
    """The value that a word of the command line, or of an old picture's settings, gives
    to a setting.

    For a grid, a setting that varies may have several, separated by commas: a list.
    Raises DreamError for a word that cannot be read.
    """
    row = rows_of(command)[name]
    if row.varies:
        parts = [part.strip() for part in word.split(",")]
        if "" in parts:
            raise DreamError(
                f"{{setting}} is {word!r}; a value is missing between its commas", name
            )
        values = list(dict.fromkeys(_read(row, part) for part in parts))
        return values if len(values) > 1 else values[0]
    return _read(row, word)


def _read(row: Setting, word: str) -> Any:
    if row.kind not in (int, float):
        return word
    try:
        return row.kind(word)
    except ValueError:
        raise _refusal(row, word) from None


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
    """What a person calls a setting on the command line: `--iterations` for `iter_n`."""
    row = rows_of(command).get(name) or ROWS.get(name)
    return row.option if row and row.is_option else name
