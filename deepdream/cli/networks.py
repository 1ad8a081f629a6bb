"""The commands about networks themselves: `layers` and `models`."""

import argparse
import math
import re
from functools import partial
from typing import TYPE_CHECKING

from ..errors import DreamError
from ..settings import Params, check, size_of
from .parser import IMPORT
from .terminal import say

if TYPE_CHECKING:
    from ..nets.zoo import Model


def list_layers(args: argparse.Namespace) -> int:
    """List a network's layers; the exit status."""
    from ..nets import download, inputs, receptive, shapes, sizes, zoo

    check("size", args.size)
    size = size_of(args.size) if args.size else None
    layers = inputs.layers(zoo.find(args.model or download.default()))
    fields = receptive.fields(layers)
    climbable = shapes.climbable(layers)
    local = [name for name in climbable if fields[name] < math.inf]
    if size and local:
        runs = partial(shapes.fits, layers, local[-1])
        given, size = size, sizes.search(runs, size, shapes.own_size(layers)) or size
        if size != given:
            say(f"enlarged by its mirror image to {size[1]}x{size[0]}, where all layers run")
    outputs = {}
    for each in shapes.walk_all(layers, size):  # it may be too small for the deeper ones
        top = each.tops[0] if each.tops else ()
        outputs[each.layer.name] = " x ".join(map(str, top[1:])) or "-"
    row = "{:32} {:14} {:>20} {:>6}  {}".format
    say(row("layer", "type", "output", "sees", "climb"))
    for layer in layers:
        name, field = layer.name, fields[layer.name]
        sees = "all" if field == math.inf else f"{field:.0f}"
        climbs = name in climbable and shapes.fits(layers, name, size)
        output = outputs.get(name, "too small")
        say(row(name, layer.type, output, sees, "yes" if climbs else "-"))
    for name, why in getattr(layers, "cut", {}).items():
        say(row(name, "left out", "-", "-", f"-  ({why})"))
    return 0


def run_models(args: argparse.Namespace) -> int:
    """List networks, get or import one; the exit status."""
    from ..nets import inputs, zoo

    given = {name: value for name, value in vars(args).items() if name in IMPORT}
    if args.action == "import":
        return _import(args.name, given)
    if given:
        raise DreamError(f"only `deepdream models import FILE` has options, not {args.action}")
    if args.action == "get":
        return _get(zoo.find(args.name or zoo.DEFAULT))
    if args.name:
        model = zoo.find(args.name)
        say(f"{_describe(args.name, model)}\n    {inputs.describe(model)}")
        return 0
    for name in zoo.names():
        try:
            say(_describe(name, zoo.find(name)))
        except DreamError as error:
            say(f"{name}\n    {error}")
    return 0


def _get(model: "Model") -> int:
    """Download a network, import it if need be, and say where it is."""
    from ..nets import download

    found = model.weights()
    if found or not model.is_converted:
        say(found or download.get(model, again=True))
        return 0
    from ..convert import import_listed

    made = import_listed(model, lambda step: say(f"{step} ..."))
    say(made.checked)
    say(made.folder)
    return 0


def _import(file: str | None, given: Params) -> int:
    """Import a network, and say what was assumed and what was found."""
    from ..convert import import_net

    if not file or "out" not in given:
        raise DreamError("`deepdream models import FILE -o FOLDER` needs both names")
    orders = [order for order in ("rgb", "bgr") if given.pop(order, False)]
    if len(orders) > 1:
        raise DreamError("the network wants --rgb or --bgr, not both")
    if orders:
        given["order"] = orders[0]
    if "size" in given:
        given["size"] = _read_size(given["size"])
    out = given.pop("out")
    made = import_net(file, out, **given, on_step=lambda step: say(f"{step} ..."))
    for note in made.notes:
        say(note)
    say(made.checked)
    height, width = made.size
    say(f"{made.layers} layers, for pictures of {width}x{height}")
    say(f"dreams climb {made.default_layer}; `deepdream layers --model {out}` lists others")
    say(out)
    return 0


def _read_size(text: str) -> int | tuple[int, int]:
    """'224', or '320x240' -> (height, width)."""
    if not re.fullmatch(r"\d+(x\d+)?", text):
        raise DreamError(f"{{setting}} is {text!r}; it must be such as 224 or 320x240", "size")
    return size_of(text) if "x" in text else int(text)


def _describe(name: str, model: "Model") -> str:
    """What a network is, and where its weights are."""
    get = f"`deepdream models get {name}`" if model.source else model.by_hand()
    try:
        where = model.weights() or f"not here; {get}"
    except DreamError as error:
        where = error
    layer = f"; default layer {model.default_layer}" if model.default_layer else ""
    licence = model.licence or "not stated"
    about = f"{model.title}{layer}; licence: {licence}"
    return f"{name}\n    {about}\n    {where}"
