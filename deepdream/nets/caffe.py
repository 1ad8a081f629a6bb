"""CaffeNet: a caffe.Net with a mean, labels and checks. It imports Caffe,
so `load_net` imports it late.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import caffe
import numpy as np
from caffe.proto.caffe_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue]

from ..errors import DreamError
from ..paths import temporary_folder
from .base import Net
from .branches import PASSES, passes
from .caffe_gradients import GRADIENTS, Pass
from .download import load
from .shapes import Layer, param_shapes
from .zoo import Model, find_prototxt

Arrays = dict[str, np.ndarray]


class CaffeNet(Net, caffe.Net):
    """A caffe.Net whose passes raise DreamError before anything goes wrong."""

    def __init__(self, model: Model, device: str | None = None, dtype: str | None = None) -> None:
        layers, weights = load(model)
        self.adopt(model, layers)
        self.engine = {"engine": "caffe"}
        prototxt = find_prototxt(model)
        with temporary_folder() as folder:
            path = folder / "dream.prototxt"
            path.write_text(str(_prepare(layers)), encoding="utf-8")
            with _refusals(f"Caffe refuses {prototxt}"):
                caffe.Net.__init__(self, str(path), caffe.TEST)
        self._types = dict(zip(self._layer_names, (layer.type for layer in self.layers)))
        self._apart = {name for name in self.order if self._is_apart(name)}
        for layer, blobs in weights.items():
            for mine, blob in zip(self.params[layer], blobs):
                shape = tuple(mine.shape)
                if shape != blob.shape:
                    fault = f"layer {layer!r} needs weights of the shape {shape} in Caffe"
                    why = "it has an option with no meaning in a dream"
                    given = f"the caffemodel has {blob.shape}"
                    raise DreamError(f"{prototxt}: {fault}, and {given}; {why}")
                mine.data[...] = blob

    def _is_apart(self, name: str) -> bool:
        """Whether Caffe's backward pass of this layer fails, or does nothing."""
        kind = self._types[name]
        is_deaf = PASSES.get(kind) == 0 and len(self.bottom_names[name]) > 0
        return kind in GRADIENTS or is_deaf

    @property
    def order(self) -> list[str]:
        return list(self._layer_names)

    def forward(
        self, blobs: list[str] | None = None, start: str | None = None,
        end: str | None = None, **inputs: np.ndarray,
    ) -> Arrays:  # fmt: skip
        """pycaffe's forward pass, checked, without what cannot run at this size."""
        self._check(end)
        missing = self._missing()
        with _refusals(f"Caffe cannot run {self.model.name}"):
            if not missing:
                return caffe.Net.forward(self, blobs, start, end, **inputs)
            found: Arrays = {}
            for is_missing, names in _stretches(self._range(start, end), missing):
                if not is_missing:
                    found = caffe.Net.forward(self, blobs, names[0], names[-1], **inputs)
                    inputs = {}
            return found

    def backward(
        self, diffs: list[str] | None = None, start: str | None = None,
        end: str | None = None, **outputs: np.ndarray,
    ) -> Arrays:  # fmt: skip
        """The gradient of what layer `start` wrote, and of nothing else."""
        self._check(start)
        # Caffe runs through these, too, with what an earlier dream left in their diffs
        for blob in self._side_branches(start):
            self.blobs[blob].diff[...] = 0
        order = self._range(end, start)[::-1]
        missing = self._missing()
        apart = missing | self._apart
        with _refusals(f"Caffe cannot run {self.model.name} backward"):
            if apart.isdisjoint(order):
                return caffe.Net.backward(self, diffs, start, end, **outputs)
            found: Arrays = {}
            for is_apart, names in _stretches(order, apart):
                if not is_apart:
                    found = caffe.Net.backward(self, diffs, names[0], names[-1], **outputs)
                    outputs = {}
                    continue
                for name in names:
                    if name not in missing:
                        self._carry(name)
            return found

    def _carry(self, name: str) -> None:
        """Carry the gradient through a layer as Caffe does not."""
        compute = GRADIENTS.get(self._types[name])
        if compute is None:  # it passes none
            return
        below = self.blobs[self.bottom_names[name][0]]
        above = self.blobs[self.top_names[name][0]]
        layer = next(layer for layer in self.layer_specs if layer.name == name)
        below.diff[...] = compute(Pass(layer, below.data, above.data, above.diff))

    def _range(self, start: str | None, end: str | None) -> list[str]:
        """The layers from `start` through `end`."""
        order = self.order
        first = order.index(start) if start else 0
        return order[first : order.index(end) + 1 if end else None]

    def _missing(self) -> set[str]:
        gone = super()._missing()
        return self._with_readers(gone) if gone else gone

    def _with_readers(self, gone: set[str]) -> set[str]:
        """These layers, and Caffe's own that copy what they write."""
        found, blobs = set(gone), set()
        for name in self.order:
            if blobs.intersection(self.bottom_names[name]):
                found.add(name)
            if name in found:
                blobs |= set(self.top_names[name])
        return found

    def _side_branches(self, start: str | None) -> set[str]:
        """The blobs that are written before `start`, and get no gradient by then."""
        names = self._range(None, start)
        missing = self._missing()
        unread: set[str] = set()
        for name in names:
            if name not in missing:
                unread -= set(passes(self._types[name], self.bottom_names[name]))
                unread |= set(self.top_names[name])
        return unread - set(self.top_names[names[-1]])

    def _check(self, layer: str | None) -> None:
        if layer is not None and layer not in self._layer_names:
            raise self.unknown(layer, self.layer_names)
        super()._check(layer)


def _stretches(names: list[str], apart: set[str]) -> Iterator[tuple[bool, list[str]]]:
    """(whether they are `apart`, neighbours of which all are or none is)"""
    for is_apart, neighbours in groupby(names, apart.__contains__):
        yield is_apart, list(neighbours)


def _prepare(layers: list[Layer]) -> NetParameter:
    """The network, changed so that Caffe computes the gradient of the
    picture and none of the weights', as `force_backward` would.

    No parameter learns but that of a Bias in place on the picture, and
    every last blob has a loss weight: Caffe skips what leads to no loss.
    """
    net = NetParameter()
    for layer in layers:
        net.layer.add().MergeFromString(layer.SerializeToString())
    params = param_shapes(layers)
    for layer in net.layer:
        for _ in params.get(layer.name, []):
            layer.param.add(lr_mult=0)
    net.layer[0].input_param.shape[0].dim[0] = 1  # pictures come one at a time
    read = set()
    for layer in reversed(net.layer):
        layer.loss_weight[:] = [float(top not in read) for top in layer.top]
        read |= set(layer.bottom)
    bias = net.layer.add(name="data/bias", type="Bias", bottom=["data"], top=["data"])
    bias.bias_param.num_axes = 1
    bias.param.add(lr_mult=1)
    net.layer.insert(1, net.layer.pop())
    return net


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Caffe's RuntimeErrors become DreamErrors."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).split("] ", 1)[-1]  # after the place in Caffe's source
        raise DreamError(f"{what}: {words}") from None
