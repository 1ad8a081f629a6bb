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
from .pixels import Numbers, choose_pixels
from .sources import open_source

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

    from .layers import Converted

SIDES = 8, 4096  # of a picture, pixels
FILES = {"deploy.prototxt", "weights.caffemodel", "model.toml", "labels.txt"}


class Imported(NamedTuple):
    """What `import_net` made. size: of its picture. layers: how many it has.

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
    labels: str | Path | Sequence[str] | None = None, until: str | None = None,
    default_layer: str | None = None, title: str | None = None, licence: str | None = None,
    replace: bool = False, compare_all: bool = False, on_step: Callable[[str], object] = lambda step: None,
) -> Imported:  # fmt: skip
    """Make a Caffe network of another, in the folder `out`, for `load_net`.

    source: an .onnx or .pt2 file, a torch.nn.Module, or a network that the
        package onnx has loaded.
    size: of the picture, pixels, or (h, w); None: the network's own, else 224.
    mean, std: of red, green and blue, in `value_range`, "0..1" or "0..255":
        the network gets (colour - mean) / std. None: ImageNet's usual ones.
    order: of the colours that the network wants, "rgb" or "bgr".
    labels: the names of its classes, or a file with one a line.
    until: a node or module of the source, with which the network ends.
    default_layer: to dream of; None: one at two thirds of the depth.
    compare_all: compare every layer with the source, not only six.
    replace: the imported network that is in `out` already.
    on_step: called with a few words before each step that takes long.

    The result is compared with the source. Raises DreamError for what
    cannot become a network of Caffe, or does not answer as its source does;
    nothing is left behind then.
    """
    from . import writing  # late, as they import protobuf
    from .layers import to_caffe

    out = Path(out)
    _check_out(out, replace)
    pixels = choose_pixels(mean, std, order, value_range)
    side = _check_size(size)
    on_step("reading the network")
    opened = open_source(source, side)
    graph, model = trim(opened.model, side, until)
    on_step("making layers of Caffe")
    made = to_caffe(graph)
    names = writing.read_labels(labels, _count_classes(graph, made))
    layers = made.layers
    if names.toml:
        layers = writing.add_softmax(layers, _last_shape(graph, made))
    about: dict[str, object] = {
        "title": title or opened.name, "credit": f"imported from {opened.origin}",
        "licence": licence, **pixels.as_toml(), "labels": names.toml,
    }  # fmt: skip
    with whole_folder(out, replace) as part:
        about["digest"] = writing.write(part, layers, made.weights, opened.origin)
        if names.names:
            text = "".join(f"{name}\n" for name in names.names)
            (part / writing.LABELS).write_text(text, encoding="utf-8")
        writing.write_toml(part, about)
        chosen = writing.choose_layer(part, default_layer)
        on_step("comparing it with its source")
        truth = Truth(model, graph.input, graph.shapes[graph.input], pixels)
        checked = check_import(part, made.values, truth, compare_all)
        about |= {"default_layer": chosen, "checked": str(checked)}
        writing.write_toml(part, about)
    _, _, h, w = truth.shape
    return Imported(out, (h, w), len(layers), chosen, checked, [*pixels.notes, *names.notes])


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


def _last_shape(graph: Graph, made: "Converted") -> tuple[int, ...]:
    """The shape of what the last layer makes, (1, n, ...)."""
    value = made.values.get(made.layers[-1].name, graph.outputs[-1])
    return graph.shapes[value]


def _count_classes(graph: Graph, made: "Converted") -> int:
    shape = _last_shape(graph, made)
    return shape[1] if len(shape) > 1 else 0
