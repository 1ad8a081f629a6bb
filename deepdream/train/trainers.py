"""The two ways to train: Caffe's own SGDSolver, and the same arithmetic in PyTorch; and
the head that is trained.
"""

import json
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from google.protobuf import text_format

from ..nets import shapes
from ..nets.caffemodel import Weights
from ..nets.caffemodel_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue], made when it is imported
from ..nets.shapes import Layer

HEAD = "classes"  # the classifier; the two layers below it are classes/pool and classes/norm
LENGTH = 10.0  # of the features that the classifier sees
MOMENTUM, DECAY = 0.9, 1e-4


def add_head(layers: list[Layer], end: str, classes: int) -> list[Layer]:
    """The layers that make `end`, and above them the new head, all of types that every
    Caffe has.

    An LRN over all channels brings the features to one length: x / sqrt(sum of squares)
    * LENGTH.
    """
    cut: list[Layer] = []
    needed = {end}  # blobs
    for layer in reversed(layers[: [layer.name for layer in layers].index(end) + 1]):
        if needed.intersection(layer.top):
            cut.insert(0, layer)
            needed |= set(layer.bottom)
    window = (
        2 * shapes.top_shape(layers, end, *shapes.own_size(layers))[1] - 1
    )  # all channels, seen from each of them
    head = f"""
    layer {{ name: "{HEAD}/pool" type: "Pooling" bottom: {json.dumps(end)} top: "{HEAD}/pool"
             pooling_param {{ pool: AVE global_pooling: true }} }}
    layer {{ name: "{HEAD}/norm" type: "LRN" bottom: "{HEAD}/pool" top: "{HEAD}/norm"
             lrn_param {{ local_size: {window} alpha: {window / LENGTH**2!r} beta: 0.5 k: 1e-6 }} }}
    layer {{ name: "{HEAD}" type: "InnerProduct" bottom: "{HEAD}/norm" top: "{HEAD}"
             inner_product_param {{ num_output: {classes} }} }}
    layer {{ name: "prob" type: "Softmax" bottom: "{HEAD}" top: "prob" }}
    """
    return [*cut, *text_format.Parse(head, NetParameter()).layer]


def remove_norm(layers: list[Layer]) -> list[Layer]:
    """The layers without the head's LRN."""
    layers = [deepcopy(layer) for layer in layers if layer.name != f"{HEAD}/norm"]
    layers[-2].bottom[:] = [f"{HEAD}/pool"]
    return layers


def make_trainer(
    engine: str,
    layers: list[Layer],
    weights: Weights,
    rates: dict[str, float],
    steps: int,
    batch: int,
    device: str | None = None,
) -> "Trainer":
    """A Trainer of these layers, which end with a head.

    weights: to begin with. rates: {layer: its learning rate in the first step}; a layer
    with 0 stays as it is. steps: over so many, the rates fall evenly to 0. batch:
    pictures in a step.
    """
    if engine == "torch":
        return TorchTrainer(layers, weights, rates, steps, device)
    return CaffeTrainer(layers, weights, rates, steps, batch)


class Trainer(Protocol):
    """A network that learns by stochastic gradient descent, with momentum and weight
    decay as in Caffe.
    """

    def step(self, data: np.ndarray, classes: np.ndarray) -> float:
        """Learn a batch, (n, 3, h, w) and (n,); returns its loss before that."""
        ...

    def look(self, data: np.ndarray) -> None:
        """Run a batch forward without learning it."""
        ...

    def blob(self, name: str) -> np.ndarray:
        """What the last `step` or `look` made of its batch: (n, ...)."""
        ...

    def weights(self) -> Weights:
        """The weights as they are now; the next step may change these arrays."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """All that `restore` needs to continue; the next step may change these arrays."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None: ...


class TorchTrainer:
    """In PyTorch: the same layers as in a dream, and autograd for their weights."""

    def __init__(
        self,
        layers: list[Layer],
        weights: Weights,
        rates: dict[str, float],
        steps: int,
        device: str | None,
    ) -> None:
        import torch

        from ..nets import torch_fast, torch_layers
        from ..nets.torch import find_device

        self.layers, self.torch = layers, torch
        self.types, self.channels_last = torch_layers.TYPES, torch_fast.channels_last
        self.device = find_device(device or "auto")
        self.params = {
            name: [self._tensor(blob) for blob in blobs] for name, blobs in weights.items()
        }
        self.learning = []  # (parameter, its last change, its rate)
        for name, rate in rates.items():
            for param in self.params[name] if rate else ():
                self.learning.append((param.requires_grad_(), torch.zeros_like(param), rate))
        self.blobs: dict[str, Any] = {}
        self.done, self.steps = 0, steps

    def _tensor(self, array: np.ndarray) -> Any:
        return self.channels_last(self.torch.tensor(array, device=self.device))

    def _forward(self, data: np.ndarray) -> None:
        self.blobs = {"data": self._tensor(data)}
        for layer in self.layers[1:-1]:  # between the Input and the Softmax
            bottoms = [self.blobs[name] for name in layer.bottom]
            tops = self.types[layer.type](layer, self.params.get(layer.name, []), *bottoms)
            self.blobs.update(zip(layer.top, tops if isinstance(tops, tuple) else [tops]))

    def step(self, data: np.ndarray, classes: np.ndarray) -> float:
        torch = self.torch
        self._forward(data)
        loss = torch.nn.functional.cross_entropy(
            self.blobs[HEAD], torch.tensor(classes, device=self.device)
        )
        gradients = torch.autograd.grad(loss, [param for param, _, _ in self.learning])
        with torch.no_grad():
            for (param, change, rate), gradient in zip(self.learning, gradients):
                rate *= 1 - self.done / self.steps
                change.mul_(MOMENTUM).add_(gradient.add(param, alpha=DECAY), alpha=rate)
                param.sub_(change)
        self.done += 1
        return loss.item()

    def look(self, data: np.ndarray) -> None:
        with self.torch.no_grad():
            self._forward(data)

    def blob(self, name: str) -> np.ndarray:
        return self.blobs[name].detach().cpu().numpy()

    def weights(self) -> Weights:
        return {
            name: [blob.detach().cpu().numpy() for blob in blobs]
            for name, blobs in self.params.items()
        }

    def state(self) -> dict[str, np.ndarray]:
        state = {
            f"{kind}{i}": tensor.detach().cpu().numpy()
            for i, pair in enumerate(self.learning)
            for kind, tensor in zip(("param", "change"), pair)
        }
        return state | {"trained": np.array(self.done)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.done = int(state["trained"])
        with self.torch.no_grad():
            for i, pair in enumerate(self.learning):
                for kind, tensor in zip(("param", "change"), pair):
                    tensor.copy_(self.torch.from_numpy(state[f"{kind}{i}"]))


class CaffeTrainer:
    """Caffe's own SGDSolver, on a prototxt written here, as one would have trained in
    2015.
    """

    def __init__(
        self, layers: list[Layer], weights: Weights, rates: dict[str, float], steps: int, batch: int
    ) -> None:
        import caffe
        from caffe.proto import caffe_pb2

        pb: Any = caffe_pb2  # whose classes are made when it is imported
        self._folder = tempfile.TemporaryDirectory()
        self.folder, self.pb = Path(self._folder.name), pb
        top = max(rates.values())
        solver = pb.SolverParameter(
            type="SGD",
            base_lr=top,
            lr_policy="poly",
            power=1,
            max_iter=steps,
            momentum=MOMENTUM,
            weight_decay=DECAY,
            snapshot_prefix=str(self.folder / "state"),
            snapshot_after_train=False,
            solver_mode="CPU",
            net_param=_training_net(
                pb, layers, {name: rate / top for name, rate in rates.items()}, batch
            ),
        )
        (self.folder / "solver.prototxt").write_text(
            text_format.MessageToString(solver), encoding="utf-8"
        )
        self.solver = caffe.SGDSolver(str(self.folder / "solver.prototxt"))
        self.net, self.batch = self.solver.net, batch
        self.seen = batch  # how many pictures of the batch were given to the last pass
        for name, blobs in weights.items():
            for param, blob in zip(self.net.params[name], blobs):
                param.data[...] = blob

    def step(self, data: np.ndarray, classes: np.ndarray) -> float:
        self.net.blobs["data"].data[...], self.net.blobs["label"].data[...] = data, classes
        self.solver.step(1)
        self.seen = self.batch
        return float(self.net.blobs["loss"].data)

    def look(self, data: np.ndarray) -> None:
        self.seen = len(data)
        self.net.blobs["data"].data[: self.seen] = data
        self.net.forward(end=HEAD)

    def blob(self, name: str) -> np.ndarray:
        return self.net.blobs[name].data[: self.seen].copy()

    def weights(self) -> Weights:
        return {
            name: [blob.data.copy() for blob in blobs] for name, blobs in self.net.params.items()
        }

    def state(self) -> dict[str, np.ndarray]:
        self.solver.snapshot()
        files = {}
        for path in self.folder.glob("state_iter_*"):
            files[path.suffix.strip(".")] = np.fromfile(path, np.uint8)
            path.unlink()
        return files

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        weights, kept = self.folder / "kept.caffemodel", self.folder / "kept.solverstate"
        solver = self.pb.SolverState.FromString(state["solverstate"].tobytes())
        solver.learned_net = str(weights)
        weights.write_bytes(state["caffemodel"].tobytes())
        kept.write_bytes(solver.SerializeToString())
        self.solver.restore(str(kept))


def _training_net(pb: Any, layers: list[Layer], rates: dict[str, float], batch: int) -> Any:
    """Caffe's NetParameter of the layers, with classes as a second input and a loss
    instead of the softmax.
    """
    ours = NetParameter()
    ours.layer.extend(layers)
    net = pb.NetParameter.FromString(ours.SerializeToString())
    net.layer[0].input_param.shape[0].dim[0] = batch
    needed = shapes.param_shapes(layers)
    for layer in net.layer:
        if (
            layer.type == "Dropout"
        ):  # PyTorch would leave out others, so neither engine leaves out any
            layer.type, layer.relu_param.negative_slope = "ReLU", 1
        if layer.type == "BatchNorm" and not layer.batch_norm_param.HasField("use_global_stats"):
            layer.batch_norm_param.use_global_stats = True  # as in a dream
        layer.param.extend(
            pb.ParamSpec(lr_mult=rates[layer.name]) for _ in needed.get(layer.name, [])
        )
    data, *rest, _ = net.layer
    label = pb.LayerParameter(name="label", type="Input", top=["label"])
    label.input_param.shape.add(dim=[batch])
    loss = pb.LayerParameter(
        name="loss", type="SoftmaxWithLoss", bottom=[HEAD, "label"], top=["loss"]
    )
    del net.layer[:]
    net.layer.extend([data, label, *rest, loss])
    return net
