"""Import a network: read it, make Caffe's layers of it, write it, compare it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DreamError
from ..nets.shapes import Size
from ..paths import check_folder, whole_folder
from .compare import Checked, Truth, check_import
from .graph import Graph, trim
from .pixels import Numbers, Pixels, choose_pixels
from .sources import open_source

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

    from ..nets.caffemodel import Weights
    from ..nets.shapes import Layer
    from .writing import Labels

Given = str | Path | Sequence[str] | None  # names of classes, or where they are
SIDES = 8, 4096  # of a picture, pixels
FILES = {"deploy.prototxt", "weights.caffemodel", "model.toml", "labels.txt"}


class Imported(NamedTuple):
    """What `import_net` made. size: (h, w) of its picture. layers: how many.

    checked: how far it is from its source. notes: what had to be assumed.
    """

    folder: Path
    size: Size
    layers: int
    default_layer: str
    checked: Checked
    notes: list[str]


def import_net(
    source: "str | Path | torch.nn.Module | ModelProto", out: str | Path, *,
    size: int | Size | None = None, mean: Numbers | None = None, std: Numbers | None = None,
    order: str = "rgb", value_range: str = "0..1",
    labels: Given = None, until: str | None = None,
    default_layer: str | None = None, title: str | None = None, licence: str | None = None,
    replace: bool = False, compare_all: bool = False,
    on_step: Callable[[str], object] = lambda step: None,
) -> Imported:  # fmt: skip
    """Make a Caffe network of another, in the folder `out`, for `load_net`.

    source: an .onnx or .pt2 file, a torch.nn.Module, or a network that the
        package onnx has loaded.
    size: of the picture, or (h, w); None: the network's own, else 224.
    mean, std: of red, green and blue, in `value_range`, "0..1" or "0..255":
        the network gets (colour - mean) / std. None: ImageNet's.
    order: of the colours that the network wants, "rgb" or "bgr".
    labels: names of its classes, or a file of them. until: the node or
        module of the source that ends it. replace: what is in `out`.
    default_layer: to dream of; None: one at two thirds of the depth.
    compare_all: compare every layer with the source, not only six.
    on_step: called with a few words before each step that takes long.

    Raises DreamError for what cannot become a network of Caffe, or does not
    answer as its source does; nothing is left behind then.
    """
    _check_out(Path(out), replace)
    pixels, side = choose_pixels(mean, std, order, value_range), _check_size(size)
    on_step("reading the network")
    opened = open_source(source, side)
    about = {"title": title or opened.name, "credit": f"imported from {opened.origin}"}
    on_step("making layers of Caffe")
    made = _convert(*trim(opened.model, side, until), pixels, labels)
    with whole_folder(Path(out), replace) as part:
        toml = _write(part, made, {**about, "licence": licence, **pixels.as_toml()})
        on_step("comparing it with its source")
        chosen, checked = _finish(part, made, toml, default_layer, compare_all)
    notes = [*pixels.notes, *made.labels.notes]
    h, w = made.truth.shape[2:]
    return Imported(Path(out), (h, w), len(made.layers), chosen, checked, notes)


class _Made(NamedTuple):
    """A network before it is written."""

    layers: "list[Layer]"
    weights: "Weights"
    values: dict[str, str]  # {layer: the value of the source that it equals}
    labels: "Labels"
    truth: Truth


def _convert(graph: Graph, model: "ModelProto", pixels: Pixels, labels: Given) -> _Made:
    from .layers import to_caffe  # late, as they import protobuf
    from .writing import add_softmax, read_labels

    made = to_caffe(graph)
    last = graph.shapes[made.values.get(made.layers[-1].name, graph.outputs[-1])]
    names = read_labels(labels, last[1] if len(last) > 1 else 0)
    layers = add_softmax(made.layers, last) if names.toml else made.layers
    truth = Truth(model, graph.input, graph.shapes[graph.input], pixels)
    return _Made(layers, made.weights, made.values, names, truth)


def _write(folder: Path, made: _Made, about: dict[str, object]) -> dict[str, object]:
    """Write all but what the check finds; what model.toml says."""
    from . import writing

    digest = writing.write(folder, made.layers, made.weights, str(about["credit"]))
    writing.write_labels(folder, made.labels)
    toml = {**about, "labels": made.labels.toml, "digest": digest}
    writing.write_toml(folder, toml)
    return toml


def _finish(
    folder: Path, made: _Made, toml: dict[str, object], layer: str | None, compare_all: bool
) -> tuple[str, Checked]:
    """Choose the layer to dream of, compare, and write what was found."""
    from . import writing

    chosen = writing.choose_layer(folder, layer)
    checked = check_import(folder, made.values, made.truth, compare_all)
    toml = {**toml, "default_layer": chosen, "checked": str(checked)}
    writing.write_toml(folder, toml)
    return chosen, checked


def _check_out(out: Path, replace: bool) -> None:
    """Raise a DreamError for a folder that must not be written."""
    check_folder(out)
    held = set(os.listdir(out)) if out.is_dir() else set()
    if not held:
        return
    if not replace:
        cure = "choose another name, or replace it with --replace"
        raise DreamError(f"{out} exists already; {cure}")
    if not held <= FILES:
        other = ", ".join(sorted(held - FILES)[:3])
        raise DreamError(f"{out} also holds {other}, so it is not replaced; choose another name")


def _check_size(size: int | Size | None) -> Size | None:
    if size is None:
        return None
    side = (size, size) if isinstance(size, int) else tuple(size)
    low, high = SIDES
    if len(side) != 2 or not all(isinstance(n, int) and low <= n <= high for n in side):
        must = f"one number of pixels from {low} to {high}, or two"
        raise DreamError(f"{{setting}} is {size!r}; it must be {must}", "size")
    return side
