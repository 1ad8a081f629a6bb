"""TorchNet: the same prototxt and caffemodel on PyTorch, behind pycaffe's
interface. It imports torch, so `load_net` imports it late.

Layers run one by one in file order, each with a small piece of autograd of
its own, so that a pass can begin and end at any layer. Gradients of weights
are not computed. In memory the channels of a pixel lie side by side
(channels_last), except for NNPACK.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from ..errors import DreamError
from . import branches, shapes, zoo
from .base import Fill, Net, Part
from .download import load
from .torch_arrays import Blob, TorchArrays
from .torch_fast import channels_last, find_kernels, keep_freed_memory, like
from .torch_graphs import Graphs, Taped
from .torch_layers import TYPES, is_relu_in_place

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


class TorchNet(TorchArrays, Net):
    """A Caffe network on PyTorch: `blobs`, `params`, `forward(end=)`,
    `backward(start=)`; unlike pycaffe's, passes return nothing.

    device, dtype: see `load_net`; the picture is always float32. params:
    the weights in float32 on the CPU, else copies. Raises DreamError if
    either is not available.
    """

    def __init__(
        self, model: zoo.Model, device: str | None = None, dtype: str | None = None
    ) -> None:
        self.device = find_device(device or "auto")
        dtype = _choose_dtype(dtype or "auto", self.device)
        self.dtype = DTYPES[dtype]
        self.engine = {"engine": "torch", "device": str(self.device), "dtype": dtype}
        is_plain = (self.device.type, dtype) == ("cpu", "float32")
        self.kernels = find_kernels() if is_plain else ""
        layers, weights = load(model)
        layers = branches.cut(layers, _why_cut)
        self.adopt(model, layers)
        low, high = self.limits
        self.limits = self.array(low), self.array(high)
        keep_freed_memory(large_blocks=True)
        self.params: OrderedDict[str, list[Blob]] = OrderedDict()
        self._weights: dict[str, list[Tensor]] = {}
        for layer, arrays in weights.items():
            if layer not in self.layer_names:
                continue
            blobs = [_blob_of(array) for array in arrays]
            tensors = [blob.tensor("data").to(self.device, self.dtype) for blob in blobs]
            self.params[layer] = blobs
            self._weights[layer] = [channels_last(tensor) for tensor in tensors]
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        for layer, _, tops, _ in shapes.walk(layers):
            kind = torch.float32 if layer.type == "Input" else self.dtype
            for top, shape in zip(layer.top, tops):
                self.blobs.setdefault(top, Blob((1, *shape[1:]), self.device, kind))
        self._index = {layer.name: i for i, layer in enumerate(layers)}
        # What each layer's last forward pass read and wrote, for autograd
        self.tape: list[Taped | None] = [None for _ in layers]
        self._graphs = Graphs(self.device)

    @property
    def image(self) -> Tensor:
        return self.blobs["data"].tensor("data")[0]

    def diff(self, layer: str) -> Tensor:
        return self.blobs[layer].tensor("diff")

    def keep_large_blocks(self, keep: bool) -> None:
        keep_freed_memory(large_blocks=keep)

    def free_memory(self) -> float:
        if self.device.type == "cpu":
            return super().free_memory()
        if self.device.type != "cuda":
            return math.inf
        reserved = torch.cuda.memory_reserved(self.device)
        freed = reserved - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + freed + self._held

    def apply(self, fill: Fill, blob: Blob) -> None:
        """As Net's; on tensors, if the fill works with them."""
        if not fill.any_array:
            fill(blob)
            return
        part = Part(blob.tensor("data").float(), blob.tensor("diff").float())
        fill(part)
        blob.put("diff", part.diff.to(self.dtype))

    def climb(self, fills: Mapping[str, Fill]) -> Tensor:
        """As Net's; on a GPU, what is climbed again is replayed."""
        if self.device.type != "cuda" or not all(fill.any_array for fill in fills.values()):
            return super().climb(fills)
        return self._graphs.climb(self, fills)

    def forward(self, start: str | None = None, end: str | None = None) -> None:
        """As Net's."""
        self._check(end)
        first, last = self._range(start, end)
        missing = self._missing()
        with self._precision():
            for i in range(first, last + 1):
                if self.layer_names[i] not in missing:
                    self._run(i)

    def _run(self, i: int) -> None:
        layer = self.layer_specs[i]
        if layer.type == "Input":
            return
        bottoms = [self.blobs[name].tensor("data") for name in layer.bottom]
        if is_relu_in_place(layer):
            # Of `data`, so that autograd takes no notice (see `backward`)
            bottoms[0].data.clamp_min_(0)
            return
        leaves = [bottom.data.requires_grad_() for bottom in bottoms]  # as above
        with torch.enable_grad():
            tops = TYPES[layer.type](layer, self._weights.get(layer.name, []), *leaves)
        tops = list(tops) if isinstance(tops, tuple) else [tops]
        self.tape[i] = leaves, tops
        for name, top in zip(layer.top, tops):
            self.blobs[name].put("data", top.data)

    def backward(self, start: str | None = None, end: str | None = None) -> None:
        """As Net's. Raises DreamError also where a layer has not run yet."""
        self._check(start)
        lowest, highest = self._range(end, start)  # their places in the file
        tops = self.layer_specs[highest].top
        diffs = {name: self.blobs[name].tensor("diff") for name in tops}
        with self._precision():
            for i in range(highest, lowest - 1, -1):
                self._run_back(i, diffs)

    def _run_back(self, i: int, diffs: dict[str, Tensor]) -> None:
        """Carry the `diffs` of what layer i wrote to what it read."""
        layer = self.layer_specs[i]
        given = {k: diffs.pop(name) for k, name in enumerate(layer.top) if name in diffs}
        if layer.type in branches.NO_GRADIENT or not given:  # or a side branch
            return
        for name, diff in zip(layer.bottom, self._gradients(i, given)):
            diffs[name] = diffs[name] + diff if name in diffs else diff
            self.blobs[name].put("diff", diffs[name])

    def _gradients(self, i: int, given: dict[int, Tensor]) -> tuple[Tensor, ...]:
        """The gradients of layer i's bottoms, given {number of a top: its own}."""
        layer = self.layer_specs[i]
        if is_relu_in_place(layer):
            after = self.blobs[layer.top[0]].tensor("data")
            return (torch.ops.aten.threshold_backward(like(given[0], after), after, 0),)
        taped = self.tape[i]
        if taped is None:
            cure = "call forward(end=...) before backward"
            raise DreamError(f"layer {layer.name!r} has not run; {cure}")
        leaves, tops = taped
        leaves = branches.passes(layer.type, leaves)
        # The places of a Pooling's maxima, a second top, carry no gradient
        above = {top: diff for top, diff in given.items() if tops[top].requires_grad}
        outputs = [tops[top] for top in above]
        return torch.autograd.grad(outputs, leaves, list(above.values()), retain_graph=True)

    def _precision(self) -> AbstractContextManager:
        """cuDNN as precise as the dtype says, and without trials."""
        if self.device.type != "cuda":
            return nullcontext()
        tf32 = self.engine["dtype"] == "tf32"
        exact = torch.backends.cudnn.deterministic
        return torch.backends.cudnn.flags(True, deterministic=exact, allow_tf32=tf32)

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        for name in (start, end):
            if name is not None and name not in self._index:
                raise self.unknown(name, self._index)
        first = self._index[start] if start else 0
        last = self._index[end] if end else len(self._index) - 1
        return first, last


def _why_cut(layer: shapes.Layer) -> str:
    """Why this engine cannot run a layer; "" if it can."""
    if layer.type in TYPES or layer.type == "Input":
        return ""
    return f"PyTorch has no layers of the type {layer.type}; the engine 'caffe' may run them"


def _blob_of(array: np.ndarray) -> Blob:
    blob = Blob(array.shape, torch.device("cpu"), torch.float32)
    blob.put("data", channels_last(torch.tensor(array, dtype=torch.float32)))
    return blob


def find_device(name: str) -> torch.device:
    """The device, 'auto' a GPU or the CPU, or a DreamError."""
    devices = {"cpu": True, "cuda": torch.cuda.is_available()}
    devices["mps"] = torch.backends.mps.is_available()
    for candidate in ["cuda", "cpu"] if name == "auto" else [name]:
        try:
            device = torch.device(candidate)
            if devices.get(device.type):
                # An old GPU, or one whose memory is full, cannot do even this
                ones = torch.ones(1, 1, 3, 3, device=device)
                F.conv2d(ones, ones).sum().item()
                return device
        except RuntimeError:
            pass  # PyTorch does not know this word, or the device cannot compute
    available = ", ".join(each for each, is_there in devices.items() if is_there)
    has = f"this machine's PyTorch has {available}"
    raise DreamError(f"device {name!r} is not available; {has}; choose one, or auto")


def find_dtypes(device: torch.device) -> list[str]:
    """The dtypes that it multiplies in hardware, the fastest last."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return list(DTYPES)
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    checks = [getattr(torch.cpu, name, bool) for name in names]
    if device.type == "cpu" and any(check() for check in checks):
        return ["float32", "bfloat16"]
    return ["float32"]


def _choose_dtype(name: str, device: torch.device) -> str:
    """The dtype, 'auto' the fastest, or a DreamError."""
    available = find_dtypes(device)
    if name not in ("auto", *available):
        reason = "does not multiply in hardware" if name in DTYPES else "does not know"
        allowed = f"choose {' or '.join(available)}, or auto"
        fault = f"is {name!r}, which device {str(device)!r} {reason}"
        raise DreamError(f"{{setting}} {fault}; {allowed}", "dtype")
    return available[-1] if name == "auto" else name
