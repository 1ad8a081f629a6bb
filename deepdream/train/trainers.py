"""How weights change: with Caffe's own SGDSolver, or the same arithmetic in PyTorch."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import text_format

from ..errors import DreamError
from ..nets import shapes
from ..nets.caffe_gradients import GRADIENTS
from ..nets.caffemodel import Weights
from ..nets.shapes import Layer
from ..recipe import Recipe
from .head import HEAD, Rates, as_net

if TYPE_CHECKING:
    import torch

MOMENTUM = 0.9
DECAY = 1e-4


class TorchTrainer:
    """Stochastic gradient descent in PyTorch, with momentum and decay as in Caffe."""

    def __init__(self, layers: list[Layer], weights: Weights, rates: Rates, recipe: Recipe) -> None:
        """layers: with a head. rates: of the first step; they fall evenly to 0."""
        import torch

        from ..nets import torch_fast, torch_layers
        from ..nets.torch import find_device

        self.torch = torch
        self.layers = layers
        self.types = torch_layers.TYPES
        self.channels_last = torch_fast.channels_last
        self.device = find_device(recipe["device"] or "auto")
        self.params = {name: [*map(self._tensor, blobs)] for name, blobs in weights.items()}
        self.learning = []  # (parameter, its last change, its rate)
        for name, params in self.params.items():
            for param in params if rates[name] else []:
                change = torch.zeros_like(param)
                self.learning.append((param.requires_grad_(), change, rates[name]))
        self.blobs: dict[str, torch.Tensor] = {}
        self.done = 0
        self.steps = recipe["steps"]

    def step(self, data: np.ndarray, classes: np.ndarray) -> float:
        """Learn a batch, (n, 3, h, w) and (n,); returns its loss before that."""
        torch = self.torch
        self._run(data)
        right = torch.tensor(classes, device=self.device)
        loss = torch.nn.functional.cross_entropy(self.blobs[HEAD], right)
        gradients = torch.autograd.grad(loss, [param for param, _, _ in self.learning])
        left = 1 - self.done / self.steps
        with torch.no_grad():
            for (param, change, rate), gradient in zip(self.learning, gradients):
                decayed = gradient.add(param, alpha=DECAY)
                change.mul_(MOMENTUM).add_(decayed, alpha=rate * left)
                param.sub_(change)
        self.done += 1
        return loss.item()

    def forward(self, data: np.ndarray) -> None:
        """Run a batch (n, 3, h, w), or a smaller one, without learning it."""
        with self.torch.no_grad():
            self._run(data)

    def blob(self, name: str) -> np.ndarray:
        """What the last `step` or `forward` made of its batch: (n, ...)."""
        return _array(self.blobs[name])

    def weights(self) -> Weights:
        """These arrays, and those of `state`, may change with the next step."""
        return {name: [_array(a) for a in blobs] for name, blobs in self.params.items()}

    def state(self) -> dict[str, np.ndarray]:
        state = {name: _array(tensor) for name, tensor in self._changing().items()}
        return state | {"trained": np.array(self.done)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.done = int(state["trained"])
        with self.torch.no_grad():
            for name, tensor in self._changing().items():
                tensor.copy_(self.torch.from_numpy(state[name]))

    def _changing(self) -> "dict[str, torch.Tensor]":
        """{name in a state: tensor} of all that a step changes."""
        tensors = {}
        for i, (param, change, _) in enumerate(self.learning):
            tensors |= {f"param{i}": param, f"change{i}": change}
        return tensors

    def _run(self, data: np.ndarray) -> None:
        self.blobs = {"data": self._tensor(data)}
        for layer in self.layers[1:-1]:  # between the Input and the Softmax
            bottoms = [self.blobs[name] for name in layer.bottom]
            tops = self.types[layer.type](layer, self.params.get(layer.name, []), *bottoms)
            self.blobs.update(zip(layer.top, tops if isinstance(tops, tuple) else [tops]))

    def _tensor(self, array: np.ndarray) -> "torch.Tensor":
        return self.channels_last(self.torch.tensor(array, device=self.device))


def _array(tensor: "torch.Tensor") -> np.ndarray:
    return tensor.detach().cpu().numpy()


class CaffeTrainer:
    """As TorchTrainer, with Caffe's own SGDSolver on a prototxt, as in 2015."""

    def __init__(self, layers: list[Layer], weights: Weights, rates: Rates, recipe: Recipe) -> None:
        import caffe
        from caffe.proto import caffe_pb2

        for layer in layers:
            if layer.type in GRADIENTS:
                fault = f"Caffe's own training has no gradient of {layer.type} layers"
                raise DreamError(f"{fault}, such as {layer.name!r}; choose engine 'torch'")
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.pb: Any = caffe_pb2  # whose classes are made when it is imported
        self.seen = self.batch = recipe["batch"]  # how many the last pass was given
        solver = self.pb.SolverParameter(
            type="SGD",
            base_lr=max(rates.values()),
            lr_policy="poly",
            power=1,
            max_iter=recipe["steps"],
            momentum=MOMENTUM,
            weight_decay=DECAY,
            snapshot_prefix=str(self.folder / "state"),
            snapshot_after_train=False,
            solver_mode="CPU",
            net_param=_training_net(self.pb, layers, rates, self.batch),
        )
        path = self.folder / "solver.prototxt"
        path.write_text(text_format.MessageToString(solver), encoding="utf-8")
        self.solver = caffe.SGDSolver(str(path))
        self.net = self.solver.net
        for name, blobs in weights.items():
            for param, blob in zip(self.net.params[name], blobs):
                param.data[...] = blob

    def step(self, data: np.ndarray, classes: np.ndarray) -> float:
        self.net.blobs["data"].data[...] = data
        self.net.blobs["label"].data[...] = classes
        self.solver.step(1)
        self.seen = self.batch
        return float(self.net.blobs["loss"].data)

    def forward(self, data: np.ndarray) -> None:
        self.seen = len(data)
        self.net.blobs["data"].data[: self.seen] = data
        self.net.forward(end=HEAD)

    def blob(self, name: str) -> np.ndarray:
        return self.net.blobs[name].data[: self.seen].copy()

    def weights(self) -> Weights:
        params = self.net.params.items()
        return {name: [blob.data.copy() for blob in blobs] for name, blobs in params}

    def state(self) -> dict[str, np.ndarray]:
        self.solver.snapshot()
        files = {}
        for path in self.folder.glob("state_iter_*"):
            files[path.suffix.strip(".")] = np.fromfile(path, np.uint8)
            path.unlink()
        return files

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        weights = self.folder / "kept.caffemodel"
        weights.write_bytes(state["caffemodel"].tobytes())
        solver = self.pb.SolverState.FromString(state["solverstate"].tobytes())
        solver.learned_net = str(weights)
        kept = self.folder / "kept.solverstate"
        kept.write_bytes(solver.SerializeToString())
        self.solver.restore(str(kept))


def _training_net(pb: Any, layers: list[Layer], rates: Rates, batch: int) -> Any:
    """Caffe's NetParameter of the layers, with an input for classes and a loss."""
    net = pb.NetParameter.FromString(as_net(layers).SerializeToString())
    net.layer[0].input_param.shape[0].dim[0] = batch
    params = shapes.param_shapes(layers)
    top = max(rates.values())
    for layer in net.layer:
        if layer.type == "Dropout":  # PyTorch would leave out others, so no engine does
            layer.type = "ReLU"
            layer.relu_param.negative_slope = 1
        norm = layer.batch_norm_param
        if layer.type == "BatchNorm" and not norm.HasField("use_global_stats"):
            norm.use_global_stats = True  # as in a dream
        for _ in params.get(layer.name, []):
            layer.param.add(lr_mult=rates[layer.name] / top)
    data, *rest, _ = net.layer
    label = pb.LayerParameter(name="label", type="Input", top=["label"])
    label.input_param.shape.add(dim=[batch])
    loss = pb.LayerParameter(name="loss", type="SoftmaxWithLoss", top=["loss"])
    loss.bottom.extend([HEAD, "label"])
    del net.layer[:]
    net.layer.extend([data, label, *rest, loss])
    return net


Trainer = TorchTrainer | CaffeTrainer  # these have the same methods
TRAINERS: dict[str, type[Trainer]] = {"torch": TorchTrainer, "caffe": CaffeTrainer}
