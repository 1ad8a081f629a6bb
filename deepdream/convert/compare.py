"""Whether a network that was imported answers as its source does."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DreamError
from ..nets.base import Net, preprocess, put
from ..nets.engines import ENGINES, load_net
from ..pictures import SAMPLES, fit_into, load_image
from .graph import CUT
from .pixels import Pixels
from .running import Runner, runner_name

if TYPE_CHECKING:
    from onnx import ModelProto

MOST = 1e-4  # by which values may differ, as a share of the largest
DEPTHS = 5  # layers that are compared besides the output
Answer = tuple[np.ndarray, dict[str, np.ndarray]]  # a photograph; {value: what it is}


class Truth(NamedTuple):
    """The source: a network of ONNX, the picture's value in it, and its shape."""

    model: "ModelProto"
    input: str
    shape: tuple[int, ...]
    pixels: Pixels

    def answers(self, values: Iterable[str]) -> Iterator[Answer]:
        """Each photograph of the package, and what the source makes of it."""
        runner = Runner(self.model, self.input, values)
        _, channels, h, w = self.shape
        for name in SAMPLES:
            image = fit_into(load_image(name, side=2 * max(h, w)), h, w)
            yield image, runner.run(self.pixels.prepare(image, channels))


class Checked(NamedTuple):
    """What a check found. differences: {engine: the largest, relative}."""

    by: str
    differences: dict[str, float]
    layers: list[str]

    def __str__(self) -> str:
        found = ", ".join(f"{name} {most:.1e}" for name, most in self.differences.items())
        where = f"{len(SAMPLES)} photographs, at {', '.join(self.layers)}"
        return f"differences from {self.by} are at most: {found}; {where}"


def check_import(
    folder: Path, values: Mapping[str, str], truth: Truth, everywhere: bool = False
) -> Checked:
    """Compare a network with its source, by all engines, on the package's photographs.

    values: {layer: the source's value that it should equal}. everywhere:
    compare all of them, else the last and five more. Raises DreamError,
    which names the first layer that differs, if one does.
    """
    layers = list(values) if everywhere else _choose(list(values))
    chosen = {layer: values[layer] for layer in layers}
    answers = list(truth.answers(chosen.values()))
    differences: dict[str, float] = {}
    for engine in filter(find_spec, ENGINES):
        net = load_net(folder, engine)
        most = max(_differ(net, chosen, answers).values())
        if not most <= MOST:
            _name_first(net, values, truth)
        differences[engine] = most
    if not differences:
        ways = " nor ".join(f"{name} ({how})" for name, how in ENGINES.items())
        raise DreamError(f"neither {ways} is installed; one is needed to check the import")
    return Checked(runner_name(), differences, layers)


def _choose(layers: list[str]) -> list[str]:
    """The last layer, and some at even depths before it."""
    places = np.linspace(0, len(layers) - 1, DEPTHS + 2)[1:]
    return list(dict.fromkeys(layers[round(i)] for i in places))


def _differ(net: Net, values: Mapping[str, str], answers: Iterable[Answer]) -> dict[str, float]:
    """{layer: how far it is from the source, as a share of its largest value}."""
    found = dict.fromkeys(values, 0.0)
    for image, truth in answers:
        put(net, preprocess(net, image))
        for layer, ours in _run(net, values):
            theirs = truth[values[layer]].reshape(-1)
            if ours.size != theirs.size:
                found[layer] = np.inf
                continue
            size = max(float(np.abs(theirs).max()), 1e-12)
            most = float(np.abs(ours.reshape(-1) - theirs).max()) / size
            found[layer] = max(found[layer], most if np.isfinite(most) else np.inf)
    return found


def _run(net: Net, layers: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(layer, what it makes of the picture), in one pass from stop to stop."""
    start = None
    tops = {spec.name: spec.top[0] for spec in net.layer_specs}
    for layer in sorted(layers, key=net.order.index):
        net.forward(start=start, end=layer)
        yield layer, np.asarray(net.blobs[tops[layer]].data)
        i = net.order.index(layer) + 1
        if i == len(net.order):
            return
        start = net.order[i]


def _name_first(net: Net, values: Mapping[str, str], truth: Truth) -> None:
    """Raise a DreamError that names the first layer that differs."""
    every = _differ(net, values, truth.answers(values.values()))
    for layer, most in every.items():
        if not most <= MOST:
            where = f"layer {layer!r} differs from the source"
            fault = f"{where} by {most:.1e} of its largest value in {net.engine['engine']}"
            raise DreamError(f"{fault}; please report this; {CUT}")
