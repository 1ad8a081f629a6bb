"""The branches of a network: which layers a layer needs, which a gradient
passes, and what is left when some are cut away.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from .layer_shapes import INPUT, Layer

T = TypeVar("T")
# Caffe computes no gradient of these; where one ends, it is zero
NO_GRADIENT = {
    *("Input", "Parameter", "DummyData", "Silence", "ArgMax", "Threshold", "MaxUnPool"),
    *("PriorBox", "DetectionOutput", "Proposal", "Embed"),
}
# How many of its bottoms a layer passes a gradient to, where not to all
FIRST = "Crop", "PSROIPooling", "BatchReindex", "LSTM", "RNN"
PASSES = dict.fromkeys(NO_GRADIENT, 0) | dict.fromkeys(FIRST, 1) | {"Filter": -1}


class Layers(list[Layer]):
    """The layers of a network that can run, in file order.

    cut: {layer that was left out: why}.
    """

    def __init__(self, layers: Iterable[Layer], cut: dict[str, str] | None = None) -> None:
        super().__init__(layers)
        self.cut = cut or {}


def cut(layers: Iterable[Layer], why: Callable[[Layer], str]) -> Layers:
    """The layers without those that have a reason, and what needs them.

    why: a layer's reason, "" for none.
    """
    left: list[Layer] = []
    reasons = dict(getattr(layers, "cut", {}))
    gone: dict[str, str] = {}  # {blob: why}
    for layer in layers:
        missing = [gone[bottom] for bottom in layer.bottom if bottom in gone]
        if reason := why(layer) or "".join(missing[:1]):
            reasons[layer.name] = reason
            through = reason if missing else f"it needs layer {layer.name!r}: {reason}"
            gone |= dict.fromkeys(layer.top, through)
        else:
            left.append(layer)
    return Layers(left, reasons)


def needed(layers: list[Layer], end: str) -> list[Layer]:
    """Layer `end`, and all those that it needs, in file order."""
    kept: list[Layer] = []
    blobs: set[str] = set()
    names = [layer.name for layer in layers]
    for layer in reversed(layers[: names.index(end) + 1]):
        if layer.name == end or blobs.intersection(layer.top):
            kept.insert(0, layer)
            blobs |= set(layer.bottom)
    return kept


def passes(kind: str, bottoms: list[T]) -> list[T]:
    """Those of a layer's bottoms that it passes a gradient to."""
    return bottoms[: PASSES.get(kind, len(bottoms))]


def climbable(layers: list[Layer]) -> list[str]:
    """The layers with a blob of their own name and a gradient down to the picture."""
    reached = {"data"}  # blobs
    found = []
    for layer in layers:
        if reached.intersection(passes(layer.type, list(layer.bottom))):
            reached |= set(layer.top)
            if layer.name in layer.top and layer.name != INPUT:
                found.append(layer.name)
        elif layer.type != "Input":
            reached -= set(layer.top)
    return found
