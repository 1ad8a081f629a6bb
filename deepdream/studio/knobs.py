"""The knobs: ipywidgets made from the rows of the table in settings.py.

A row knows its knob's label, kind, limits and default. Here is only what a
row cannot know: which networks, engines, layers and pictures there are to
choose from.
"""

import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
from traitlets import TraitError

from .. import looks
from ..errors import DreamError, unknown
from ..nets import inputs, receptive, shapes, zoo
from ..nets.base import Net
from ..nets.engines import ENGINES
from ..recipe import Recipe, complete, files, words
from ..settings import GRAND, File, Setting, check, knobs, option, size_of
from .tasks import LOOK_SETTINGS

ROWS = knobs()
CHOICES = "model", "engine", "end"  # besides pictures, these are chosen from a list
CAN_BE_EMPTY = [
    name
    for name, row in ROWS.items()
    if row.kind in (str, File) and name not in ("image", *CHOICES)
]
PLACEHOLDERS = {"objective": "peacock"}
NOISE = "noise"  # the choice of no picture
HALF = " bfloat16"  # after an engine's name
ENGINE_NAMES = {
    "caffe": "Caffe, as in 2015",
    "torch": "PyTorch, more than twice as fast",
    "torch bfloat16": "PyTorch, bfloat16: faster, less exact",
}
# By a layer's receptive field, divided by the side of the pictures that its
# network was made for
DEPTHS = {
    0.27: "edges and strokes",
    0.77: "textures and eyes",
    1.4: "animal parts",
    np.inf: "whole things",
}
Knob = Any  # an ipywidget with a `value`; the classes of those have no type in common
Values = dict[str, Any]  # of knobs, by their names
Choices = list[tuple[str, str]]  # [(what is shown, value)]


class Knobs(dict[str, Knob]):
    """{name in Python: its ipywidget}. `layers` is {layer: what it tends to
    show} of the network that is chosen.
    """

    def __init__(self, net: Net | None, pictures: Iterable[str]) -> None:
        """net: the only network to choose; without it, all that there are."""
        super().__init__({name: _make(row) for name, row in ROWS.items()})
        self.net = net
        self.layers: dict[str, str] = {}
        self._quiet = False
        models, engines, engine = _choices_of(net) if net else _choices()
        self._offer("model", models, models[0][1])
        engine = engine if engine in engines else engines[0]
        self._offer("engine", [(ENGINE_NAMES.get(name, name), name) for name in engines], engine)
        self.offer_pictures(pictures)
        self["image"].value = next(iter(pictures))
        self._offer_layers()

    def watch(self, turned: Callable[[str], None]) -> None:
        """Call `turned` with the name of each knob that is turned, by whatever hand."""

        def react(name: str, _: object) -> None:
            if name == "model":
                self._offer_layers()
            if not self._quiet:
                turned(name)

        for name, knob in self.items():
            knob.observe(partial(react, name), "value")

    @property
    def model(self) -> zoo.Model:
        """The network that is chosen."""
        return self.net.model if self.net else zoo.find(self["model"].value)

    def offer_pictures(self, names: Iterable[str]) -> None:
        """Let the knobs for pictures choose from these."""
        pictures = [(name, name) for name in names]
        for name, row in ROWS.items():
            if row.kind is File:
                nothing = NOISE if name == "image" else "none"
                self._offer(name, [*pictures, (nothing, "")], self[name].value or "")

    def command(self, recipe: Recipe, out: str = "dream.png") -> str:
        """The command that makes this recipe's picture, if there is one."""
        if self.net and "module" in self.net.engine:
            return f"# {self.model.name} is a PyTorch module, which only Python can load"
        return command_line(recipe, out)

    def _offer_layers(self) -> None:
        """Let the knob for the layer choose from those of the network."""
        self.layers = _describe_layers_of(self.net) if self.net else _describe_layers(self.model)
        wanted = self["end"].value, self.model.default_layer, *self.layers
        layers = [(f"{layer} · {says}", layer) for layer, says in self.layers.items()]
        self._offer("end", layers, next(layer for layer in wanted if layer in self.layers))

    def _offer(self, name: str, choices: Choices, chosen: str) -> None:
        """Let a knob choose from these. New options move a Dropdown's value
        for a moment, which is no turn of the knob.
        """
        self._quiet = True
        try:
            self[name].options = choices
            self[name].value = chosen
        finally:
            self._quiet = False

    # Turned by hand

    def recipe(self) -> Recipe:
        """The recipe of the knobs' dream; raises DreamError for a value not allowed."""
        values = {name: knob.value for name, knob in self.items()}
        values["objective"] = _objective(values["objective"])
        if values["objective"]:  # it names its own layers and guides
            values |= {"end": "", "guide": ""}
        if not values["image"]:
            values["size"] = noise_size(values.pop("width"))
        values["engine"], _, dtype = values["engine"].partition(" ")
        if values["engine"] == "torch":
            values["dtype"] = dtype or "float32"
        return complete("dream", {name: value for name, value in values.items() if value != ""})

    # Turned to values

    def turn(self, **values: object) -> None:
        """Turn knobs by their names; all, or none where a DreamError is raised."""
        for name in values:
            if name not in self:
                raise unknown("knob", name, self, "the panel has no others")
        before = {name: self[name].value for name in values}
        try:
            for name, value in values.items():
                self._turn(name, value)
        except (DreamError, OSError):
            for name, value in before.items():
                self[name].value = value
            raise

    def _turn(self, name: str, value: object) -> None:
        knob = self[name]
        if isinstance(knob, ipywidgets.Dropdown):
            choices = [choice for _, choice in knob.options]
            if value not in choices:
                # Of "What to look for (layer)", the layer
                what = label(name).split("(")[-1].rstrip(")").lower()
                raise unknown(what, value, choices, "the knob has these")
        elif value != "" or name not in CAN_BE_EMPTY:
            check(name, value)
        with suppress(TraitError):
            knob.value = value
        if knob.value != value:
            raise DreamError(f"{{setting}} cannot be {value!r}", name)

    def values_of(
        self, recipe: Recipe, find: Callable[[str, str], str | None]
    ) -> tuple[Values, list[str]]:
        """({name: value} that turns the knobs to a recipe, what the recipe
        needs that is not here).

        find: from a setting and the name of its file to the name of that
        picture here, or None.
        """
        values, missing = {name: recipe[name] for name in self}, []
        for name, file in files(recipe):
            values[name] = find(name, Path(file).name)
            if values[name] is None:
                missing.append(f"the {name} {Path(file).name}")
        for name in CAN_BE_EMPTY:
            values[name] = values[name] or ""
        if recipe["dtype"] == "bfloat16" and recipe["engine"]:
            values["engine"] += HALF
        if values["engine"] not in (None, *(choice for _, choice in self["engine"].options)):
            missing.append(f"the engine {values.pop('engine')}")
        if recipe["size"]:
            values |= {"image": "", "width": size_of(recipe["size"])[1]}
        options = words(self._without_knobs(recipe), "dream.png")
        if options[1:-2]:  # between the command and -o
            missing.append(" ".join(options[1:-2]))
        return {name: value for name, value in values.items() if value is not None}, missing

    def _without_knobs(self, recipe: Recipe) -> Recipe:
        """What of a recipe no knob can say."""
        rest = {name: value for name, value in recipe.items() if name not in self}
        if rest["dtype"] != "tf32":  # the knob of the engine has the others
            rest["dtype"] = None
        if rest["device"] == "cpu":
            rest["device"] = None
        if recipe["size"] and noise_size(size_of(recipe["size"])[1]) == recipe["size"]:
            rest["size"] = None
        return rest

    def values_of_look(self, look: str) -> Values:
        """{name: value} that turns the knobs to a look, so that nothing
        stays of the look before; raises DreamError where the network does
        not have it.
        """
        given = {"model": self["model"].value, "look": look}
        recipe = complete("dream", looks.begin(given))
        values = {name: recipe[name] for name in self if name in LOOK_SETTINGS}
        values |= {name: values[name] or "" for name in CAN_BE_EMPTY if name in values}
        return {name: value for name, value in values.items() if value is not None}


class Wish(NamedTuple):
    """A slider that moves several settings: the values of these at each position."""

    label: str
    help: str
    low: str  # what the slider's ends are called
    high: str
    values: tuple[Values, ...]

    def place(self, knobs: Mapping[str, Knob]) -> int:
        """The position, from 0, that is nearest to where the knobs are."""
        first, last = self.values[0], self.values[-1]

        def distance(values: Values) -> float:
            return sum(
                abs(knobs[name].value - value) / (last[name] - first[name])
                for name, value in values.items()
            )

        return min(range(len(self.values)), key=lambda i: distance(self.values[i]))


OCTAVES = 1, 2, 3, 3, 4, 5, 5, 6, 6
SCALES = 1.2, 1.25, 1.3, 1.35, 1.4, 1.4, 1.45, 1.45, 1.5
WISHES = {
    "much": Wish(
        "How much",
        "How long the network works on the picture: the iterations at each size.",
        "a touch",
        "all over",
        tuple({"iter_n": n} for n in (2, 4, 6, 8, 10, 14, 20, 30, 45)),
    ),
    "large": Wish(
        "How large the forms",
        "At how many sizes the picture is dreamt, and how far these are apart: the "
        "octaves, and their scale.",
        "small",
        "large",
        tuple({"octave_n": n, "octave_scale": scale} for n, scale in zip(OCTAVES, SCALES)),
    ),
    "wild": Wish(
        "How wild",
        "How far each step goes: the step.",
        "tame",
        "wild",
        tuple({"step_size": size} for size in (0.5, 0.7, 0.9, 1.2, 1.5, 2.0, 2.7, 3.6, 5.0)),
    ),
}


# In words


def label(name: str) -> str:
    """What a person at the panel calls a setting: its knob's label, or its option."""
    return str(ROWS[name].knob) if name in ROWS else option(name)


def command_line(recipe: Recipe, out: str = "dream.png") -> str:
    """The command that makes this recipe's picture."""
    return shlex.join(["deepdream", *words(recipe, out)])


def noise_size(width: int) -> str:
    """The size of noise that is this wide, such as 640x360."""
    return f"{width}x{max(1, round(width * 9 / 16))}"


def _objective(text: str) -> str:
    """An objective in words, in which the name of a class may stand for its `logit`."""
    text = text.strip()
    if not text or "(" in text:
        return text
    return f"logit({int(text) if text.isdecimal() else text!r})"


# How they are made


def _make(row: Setting) -> Knob:
    """The ipywidget of a row."""
    about: dict[str, Any] = {"description": row.knob, "tooltip": row.help}
    if row.kind is bool:
        return ipywidgets.Checkbox(value=row.default, **about)
    if row.kind in (str, File):
        if row.kind is File or row.name in CHOICES:
            knob = ipywidgets.Dropdown(**about)
        else:
            hint = PLACEHOLDERS.get(row.name, "")
            knob = ipywidgets.Text(value=row.default or "", placeholder=hint, **about)
        if row.name != "image":
            knob.add_class("dd-wide")
        return knob
    about |= {"min": _first(row.low, row.above, -GRAND), "max": _first(row.high, row.below, GRAND)}
    if row.kind is int:
        return ipywidgets.BoundedIntText(value=row.default, **about)
    return ipywidgets.BoundedFloatText(value=row.default, step=0.05, **about)


def _first(*limits: float | None) -> float:
    """The first of these that is given."""
    return next(limit for limit in limits if limit is not None)


# What there is to choose from


def _choices() -> tuple[Choices, list[str], str | None]:
    """The networks, the engines, and the engine to begin with, if one was asked for."""
    return _models(), _engines(), os.environ.get("DEEPDREAM_ENGINE")


def _choices_of(net: Net) -> tuple[Choices, list[str], str]:
    """The same for a network that is already loaded."""
    model = net.model
    name = model.name
    if name not in zoo.names() and model.folders:
        name = os.path.relpath(model.folders[0])
    is_half = net.engine.get("dtype") == "bfloat16"
    engine = net.engine["engine"] + (HALF if is_half else "")
    return [(model.title, name)], [engine], engine


def _models() -> Choices:
    """(title, name) of each network that can be used, the default first."""
    models = []
    for name in zoo.names():
        with suppress(DreamError):  # one that is damaged is not offered
            model = zoo.find(name)
            if model.weights() or (model.source and not model.is_converted):
                models.append((model.title, model.name))
    return sorted(models, key=lambda model: model[1] != zoo.DEFAULT)


def _engines() -> list[str]:
    """The engines that are installed; if none is, all: a dream then says what to do."""
    names = [name for name in ENGINES if find_spec(name)] or list(ENGINES)
    if "torch" in names and _may_have_bfloat16():
        with suppress(ImportError):
            from ..nets import torch  # late, because to import torch takes two seconds

            if "bfloat16" in torch.find_dtypes(torch.find_device("auto")):
                names.append("torch" + HALF)
    return names


def _may_have_bfloat16() -> bool:
    """Whether it is worth asking PyTorch what this machine multiplies in hardware."""
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text().split()
        return "avx512_bf16" in flags or "amx_bf16" in flags or Path("/dev/nvidia0").exists()
    return True


def _describe_layers(model: zoo.Model) -> dict[str, str]:
    """{layer: what it tends to show}, in order, of those that any picture can climb."""
    specs = inputs.layers(model)
    fields = receptive.fields(specs)
    side = max(shapes.own_size(specs))
    climbable = shapes.climbable(specs)
    return {name: _describe(fields[name] / side) for name in climbable if fields[name] < np.inf}


def _describe_layers_of(net: Net) -> dict[str, str]:
    """The same for a network that is already loaded."""
    described = {}
    for name in net.climbable:
        field = net.reach(name).side
        places = net.top_shape(name, *net.own_size)[2:]
        if field < np.inf or math.prod(places) > 1:  # attention sees the whole picture
            described[name] = _describe(field / max(net.own_size))
    return described


def _describe(field: float) -> str:
    """What a layer tends to show. field: as for DEPTHS."""
    return next(says for most, says in DEPTHS.items() if field <= most)
