"""Write an imported network as a folder that `load_net` takes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf import text_format

from ..errors import DreamError, reason, unknown
from ..nets import inputs, shapes, zoo
from ..nets.base import Outline
from ..nets.caffemodel import (
    NetParameter,
    Weights,
    fit_weights,
    read_layers,
    weights_digest,
    write_weights,
)  # fmt: skip
from ..nets.shapes import Layer
from ..paths import why_unreadable
from ..seeing import stations

if TYPE_CHECKING:
    pass

PROTOTXT, WEIGHTS, TOML, LABELS = (
    "deploy.prototxt", "weights.caffemodel", "model.toml", "labels.txt",
)  # fmt: skip
DEPTH = 2 / 3  # of the layer to dream of, where none is named
IMAGENET = 1000  # classes


class Labels(NamedTuple):
    """The names of classes: what model.toml says of them, and what was assumed."""

    toml: str | None
    names: list[str]
    notes: list[str]


def read_labels(given: str | Path | Sequence[str] | None, classes: int) -> Labels:
    """The names of so many classes, from a file with one a line, or as given.

    None: of ImageNet, if there are 1,000 classes. Raises DreamError for a
    file that cannot be read, and for another number of names.
    """
    if given is None or given == "imagenet":
        if classes == IMAGENET:
            why = "" if given else ", because it has 1,000"
            return Labels("imagenet", [], [f"the classes have the names of ImageNet's{why}"])
        if given is None:
            return Labels(None, [], [])
        raise DreamError(f"ImageNet has 1,000 classes, and this network {classes}", "labels")
    if isinstance(given, (str, Path)):
        cannot = f"cannot read the labels in {given}"
        if fault := why_unreadable(given):
            raise DreamError(f"{cannot}: {fault}")
        try:
            names = Path(given).read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, ValueError) as error:
            raise DreamError(f"{cannot}: {reason(error)}") from None
    else:
        names = [str(name) for name in given]
    if len(names) != classes:
        fault = f"{{setting}} has {len(names)} names, and the network {classes} outputs"
        raise DreamError(f"{fault}; it must have one a line, in their order", "labels")
    return Labels(LABELS, names, [])


def add_softmax(layers: list[Layer], shape: shapes.Shape) -> list[Layer]:
    """With a Softmax at the end, by which we find the classes, if there is none.

    shape: of what the last layer makes.
    """
    if any(layer.type == "Softmax" for layer in layers) or max(shape[2:], default=1) > 1:
        return layers
    prob = type(layers[0])(name="prob", type="Softmax", top=["prob"], bottom=layers[-1].top)
    return [*layers, prob]


def write(folder: Path, layers: list[Layer], weights: Weights, origin: str) -> str:
    """Write prototxt and weights; the digest of the weights.

    Raises DreamError for layers that could not run.
    """
    net = NetParameter(name=origin.partition(",")[0])
    net.layer.extend(layers)
    text = f"# imported from {origin}\n{text_format.MessageToString(net)}"
    path = folder / PROTOTXT
    path.write_text(text, encoding="utf-8")
    fitted = fit_weights(read_layers(path), weights, origin)
    write_weights(folder / WEIGHTS, fitted)
    return weights_digest(fitted)


def write_toml(folder: Path, about: dict[str, object]) -> None:
    """Write model.toml; what is None is left out."""
    notes = {
        "mean": "blue, green, red of 0..255",
        "scale": "(colour - mean) * scale",
        "order": "of the colours, as the network wants them",
        "default_layer": "climbed without --layer; `deepdream layers` lists others",
    }
    lines = []
    for name, value in about.items():
        if value is not None:
            note = f"  # {notes[name]}" if name in notes else ""
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}{note}\n")
    (folder / TOML).write_text("".join(lines), encoding="utf-8")


def choose_layer(folder: Path, wanted: str | None) -> str:
    """The layer to dream of: the one wanted, or at two thirds of the depth.

    Raises DreamError for one that a dream cannot climb.
    """
    model = zoo.find(folder)
    net = Outline()
    net.adopt(model, inputs.layers(model))
    if wanted:
        if wanted not in net.climbable:
            raise unknown("layer", wanted, net.climbable, "a dream can climb no others")
        return wanted
    maps = {
        name for name in net.climbable
        if max(net.top_shape(name, *net.own_size)[2:], default=1) > 1
    }  # fmt: skip
    order = [name for name in net.layer_names if name in maps]
    try:
        found = [name for name in stations(net) if name in maps]
    except DreamError:  # there is nothing that all passes through
        found = []
    if not order:
        raise DreamError("this network has no layer of more than one place to dream of")
    goal = DEPTH * order.index(order[-1])
    return min(found or order, key=lambda name: abs(order.index(name) - goal))
