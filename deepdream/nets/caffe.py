"""CaffeNet: a caffe.Net with a mean, labels and checks. It imports Caffe,
so `load_net` imports it late.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import caffe
import numpy as np
from caffe.proto.caffe_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue]

from ..errors import DreamError
from ..paths import temporary_folder
from . import inputs
from .base import Net
from .caffemodel import read_prototxt
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
            path.write_text(str(_prepare(model, layers)), encoding="utf-8")
            with _refusals(f"Caffe refuses {prototxt}"):
                caffe.Net.__init__(self, str(path), caffe.TEST)
        for layer, blobs in weights.items():
            for mine, blob in zip(self.params[layer], blobs):
                shape = tuple(mine.shape)
                if shape != blob.shape:
                    fault = f"layer {layer!r} needs weights of the shape {shape} in Caffe"
                    why = "it has an option with no meaning in a dream"
                    given = f"the caffemodel has {blob.shape}"
                    raise DreamError(f"{prototxt}: {fault}, and {given}; {why}")
                mine.data[...] = blob

    @property
    def order(self) -> list[str]:
        return list(self._layer_names)

    def forward(
        self, blobs: list[str] | None = None, start: str | None = None,
        end: str | None = None, **inputs: np.ndarray,
    ) -> Arrays:  # fmt: skip
        """pycaffe's forward pass, checked first."""
        self._check(end)
        with _refusals(f"Caffe cannot run {self.model.name}"):
            return caffe.Net.forward(self, blobs, start, end, **inputs)

    def backward(
        self, diffs: list[str] | None = None, start: str | None = None,
        end: str | None = None, **outputs: np.ndarray,
    ) -> Arrays:  # fmt: skip
        """The gradient of what layer `start` wrote, and of nothing else."""
        self._check(start)
        # Caffe runs through these, too, with what an earlier dream left in their diffs
        for blob in self._side_branches(start):
            self.blobs[blob].diff[...] = 0
        with _refusals(f"Caffe cannot run {self.model.name} backward"):
            return caffe.Net.backward(self, diffs, start, end, **outputs)

    def _side_branches(self, start: str | None) -> set[str]:
        """The blobs that are written before `start`, and not read by then."""
        names = list(self._layer_names)
        last = start or names[-1]
        unread: set[str] = set()
        for name in names[: names.index(last)]:
            unread -= set(self.bottom_names[name])
            unread |= set(self.top_names[name])
        return unread - set(self.bottom_names[last]) - set(self.top_names[last])

    def _check(self, layer: str | None) -> None:
        if layer is not None and layer not in self._layer_names:
            raise self.unknown(layer, self.layer_names)
        super()._check(layer)


def _prepare(model: Model, layers: list[Layer]) -> NetParameter:
    """The network, changed so that Caffe computes the gradient of the
    picture and none of the weights', as `force_backward` would.

    No parameter learns but that of a Bias in place on the picture, and
    every last blob has a loss weight: Caffe skips what leads to no loss.
    """
    net = read_prototxt(find_prototxt(model), NetParameter())
    inputs.insert(net.layer, model)
    net.force_backward = False
    params = param_shapes(layers)
    for layer in net.layer:
        del layer.param[:]
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
