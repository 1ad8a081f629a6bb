"""TorchNet: the same prototxt and caffemodel on PyTorch, behind pycaffe's interface,
more than twice as fast as Caffe.

Layers run one by one in file order, each with a small piece of autograd of its own, so
that a pass can begin and end at any layer, as in Caffe. Only gradients of blobs are
computed, never those of weights. In memory the channels of a pixel lie side by side
(PyTorch's channels_last), which most of its kernels prefer; only NNPACK has Caffe's
order.

It imports torch, so `load_net` imports it late.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from ..errors import DreamError
from . import shapes, zoo
from .base import DreamNet, Fill
from .torch_fast import channels_last, find_kernels, keep_freed_memory, like
from .torch_layers import TYPES, is_relu_in_place

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
RECORDING = Lock()  # CUDA records one graph at a time
MOST_RECORDINGS = (
    8  # gradients on the GPU that are ready to be replayed, such as those of a film's octaves
)


class Blob:
    """pycaffe's Blob: `shape`, `reshape(n, c, h, w)`, and the NumPy arrays `data` and
    `diff`.

    The arrays share memory with the tensors in float32 on the CPU. Elsewhere they are
    copies, which travel back when the network needs them next, as Caffe's own do
    between host and GPU. Read `data` and `diff` again after each pass, and index all
    four axes: in memory, the values of most blobs are not in Caffe's order, so a flat
    view would be a copy. After a backward pass the diffs of a Concat's bottoms are
    parts of its top's diff.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self._device, self._dtype = tuple(shape), device, dtype
        self._tensors: dict[str, Tensor] = {}
        self._copies: dict[str, Tensor] = {}

    def reshape(self, *shape: int) -> None:
        if shape != self.shape:
            self.shape, self._tensors, self._copies = shape, {}, {}

    def tensor(self, which: str) -> Tensor:
        """The tensor of 'data' or 'diff', with what was written to its array."""
        if which not in self._tensors:
            zeros = torch.zeros(self.shape, dtype=self._dtype, device=self._device)
            self._tensors[which] = channels_last(zeros)
        if which in self._copies:
            self._tensors[which].copy_(self._copies.pop(which))
        return self._tensors[which]

    def put(self, which: str, tensor: Tensor) -> None:
        """Take this tensor for 'data' or 'diff'; new data drops the old diff."""
        self._tensors[which] = tensor
        self._copies.pop(which, None)
        if which == "data":
            self.shape = tuple(tensor.shape)
            self._tensors.pop("diff", None)
            self._copies.pop("diff", None)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` returned, in place of whatever is there."""
        if "data" in tensors:
            self.shape = tuple(tensors["data"].shape)
        self._tensors, self._copies = dict(tensors), {}

    def _array(self, which: str) -> np.ndarray:
        if which in self._copies:
            return self._copies[which].numpy()
        tensor = self.tensor(which)
        if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
            return tensor.numpy()
        self._copies[which] = tensor.float().cpu()
        return self._copies[which].numpy()

    @property
    def data(self) -> np.ndarray:
        return self._array("data")

    @property
    def diff(self) -> np.ndarray:
        return self._array("diff")


class Tensors(NamedTuple):
    """What an objective with `any_array` sees of a blob: tensors, (1, channels, h, w)
    float32.
    """

    data: Tensor
    diff: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


class Recording(NamedTuple):
    """A gradient recorded on the GPU, as a CUDA graph, which starts all its kernels at
    once.

    tensors: {name: the tensors of its blob}, and tape: {number of a layer: what it read
    and wrote}, of the layers that ran; a replay fills the same memory again. fills:
    what it climbs.
    """

    graph: torch.cuda.CUDAGraph
    tensors: dict[str, dict[str, Tensor]]
    tape: dict[int, Any]
    fills: Mapping[str, Fill]


class TorchNet(DreamNet):
    """A Caffe network on PyTorch, used like pycaffe's: `blobs`, `params`,
    `forward(end=)`, `backward(start=)`.

    device, dtype: see `load_net`; the picture itself is always float32. `params` are
    the weights themselves in float32 on the CPU, else what they were made from. Unlike
    pycaffe's, passes return nothing: read `blobs`. Raises DreamError if the device or
    the type is not available.
    """

    xp = torch

    def __init__(
        self, model: zoo.Model, device: str | None = None, dtype: str | None = None
    ) -> None:
        self.device = find_device(device or "auto")
        dtype = _choose_dtype(dtype or "auto", self.device)
        self.dtype = DTYPES[dtype]
        self.engine = {"engine": "torch", "device": str(self.device), "dtype": dtype}
        self.kernels = find_kernels() if (self.device.type, dtype) == ("cpu", "float32") else ""
        layers, weights = zoo.load(model)
        self.adopt(model, layers)
        keep_freed_memory(large_blocks=True)
        self.params: OrderedDict[str, list[Blob]] = OrderedDict()
        self._weights: dict[str, list[Tensor]] = {}
        for layer, arrays in weights.items():
            tensors = [channels_last(torch.tensor(array, dtype=torch.float32)) for array in arrays]
            self.params[layer] = [
                Blob(t.shape, torch.device("cpu"), torch.float32) for t in tensors
            ]
            for blob, tensor in zip(self.params[layer], tensors):
                blob.put("data", tensor)
            self._weights[layer] = [channels_last(t.to(self.device, self.dtype)) for t in tensors]
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        for layer, _, tops, _ in shapes.walk(layers):
            for top, shape in zip(layer.top, tops):
                kind = torch.float32 if layer.type == "Input" else self.dtype
                self.blobs.setdefault(top, Blob((1, *shape[1:]), self.device, kind))
        self._index = {layer.name: i for i, layer in enumerate(layers)}
        # What each layer's last forward pass read and wrote, for autograd
        self._tape: list[tuple[list[Tensor], list[Tensor]] | None] = [None for _ in layers]
        # By the picture's shape and what is climbed; None is one that was seen once,
        # False one that cannot be recorded
        self._recordings: dict[tuple, Recording | bool | None] = {}
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        low, high = self.limits
        self.limits = torch.from_numpy(low).to(self.device), torch.from_numpy(high).to(self.device)

    @property
    def image(self) -> Tensor:
        return self.blobs["data"].tensor("data")[0]

    def diff(self, layer: str) -> Tensor:
        return self.blobs[layer].tensor("diff")

    def array(self, a: np.ndarray) -> Tensor:
        return torch.as_tensor(np.require(a, requirements="W"), device=self.device)

    def to_numpy(self, a: Tensor) -> np.ndarray:
        return a.cpu().numpy()

    def zoom(self, a: Tensor, down: float, across: float) -> Tensor:
        if self.device.type != "cuda":  # to the bit as the notebook does it
            return self.array(super().zoom(self.to_numpy(a), down, across))
        size = round(a.shape[1] * down), round(a.shape[2] * across)
        # In float64, or places would be off by thousandths of a pixel
        return F.interpolate(a[None].double(), size, mode="bilinear", align_corners=True)[0].float()

    def rotate(self, a: Tensor, degrees: float, mirror: bool = True) -> Tensor:
        h, w = a.shape[1:]
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        ratio = max(1, h - 1) / max(1, w - 1)
        matrix = torch.tensor([[[cos, sin * ratio, 0], [-sin / ratio, cos, 0]]], device=a.device)
        places = F.affine_grid(
            matrix, [1, 1, h, w], align_corners=True
        )  # (1, h, w, 2), each axis from -1 to 1
        beyond = "reflection" if mirror else "zeros"
        return F.grid_sample(a[None].contiguous(), places, "bilinear", beyond, align_corners=True)[
            0
        ]

    def blur(self, a: Tensor, sigma: float) -> Tensor:
        return self.array(super().blur(self.to_numpy(a), sigma))

    def keep_large_blocks(self, keep: bool) -> None:
        keep_freed_memory(large_blocks=keep)

    def free_memory(self) -> float:
        if self.device.type == "cuda":
            freed = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(
                self.device
            )
            return torch.cuda.mem_get_info(self.device)[0] + freed + self._held
        return super().free_memory() if self.device.type == "cpu" else math.inf

    def apply(self, fill: Fill, blob: Blob) -> None:
        """Let an objective fill the diff of a blob; on its tensors, if it works with
        them.
        """
        if not fill.any_array:
            fill(blob)
            return
        tensors = Tensors(blob.tensor("data").float(), blob.tensor("diff").float())
        fill(tensors)
        blob.put("diff", tensors.diff.to(self.dtype))

    def climb(self, fills: Mapping[str, Fill]) -> Tensor:
        """As DreamNet's. On a GPU, what is climbed for the second time is recorded, and
        replayed from then on.
        """
        if self.device.type != "cuda" or not all(fill.any_array for fill in fills.values()):
            return super().climb(fills)
        key = tuple(self.blobs["data"].shape), *fills.items()
        is_first = key not in self._recordings
        recording = self._recordings.pop(key, None)
        if recording is None and not is_first and self._has_room(fills):
            recording = self._record(fills)
        self._recordings[key] = recording  # in the last place
        if len(self._recordings) > MOST_RECORDINGS:
            self._recordings.pop(next(iter(self._recordings)))
        if not isinstance(recording, Recording):
            return super().climb(fills)
        image, now = recording.tensors["data"]["data"], self.blobs["data"].tensor("data")
        if image is not now:
            image.copy_(now)
        recording.graph.replay()
        for name, tensors in recording.tensors.items():
            self.blobs[name].restore(tensors)
        for i, taped in recording.tape.items():
            self._tape[i] = taped
        return self.image_diff

    def _has_room(self, fills: Mapping[str, Fill]) -> bool:
        """Whether to record a gradient: in large pictures, arithmetic takes longer than
        starting the kernels does.
        """
        height, width = self.blobs["data"].shape[2:]
        if height * width > 2**22:
            return False
        return self.free_memory() > 3 * max(
            shapes.memory(self.layer_specs, end, height, width) for end in fills
        )

    def _record(self, fills: Mapping[str, Fill]) -> Recording | bool:
        """A recording of this gradient; False if it cannot be recorded, as where an
        objective looks at a value.
        """
        before = {name: blob.tensors() for name, blob in self.blobs.items()}
        tape = list(self._tape)
        others = [it.graph for it in self._recordings.values() if isinstance(it, Recording)]
        graph = torch.cuda.CUDAGraph()
        try:
            with RECORDING, torch.cuda.device(self.device):
                pool = others[0].pool() if others else None
                with torch.cuda.graph(
                    graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    super().climb(fills)
        except RuntimeError:
            for name, blob in self.blobs.items():
                blob.restore(before[name])
            self._tape = tape
            return False
        return self._recording(graph, before, tape, fills)

    def _recording(
        self,
        graph: Any,
        before: dict[str, dict[str, Tensor]],
        tape: list,
        fills: Mapping[str, Fill],
    ) -> Recording:
        """What has changed since the blobs had the tensors `before`, and layers had
        read and written `tape`.
        """
        after = {name: blob.tensors() for name, blob in self.blobs.items()}
        tensors = {
            name: now
            for name, now in after.items()
            if name == "data"
            or any(tensor is not before[name].get(which) for which, tensor in now.items())
        }
        return Recording(
            graph, tensors, {i: it for i, it in enumerate(self._tape) if it is not tape[i]}, fills
        )

    def forward(self, start: str | None = None, end: str | None = None) -> None:
        """Run the layers from `start` through `end`."""
        self._check(end)
        first, last = self._range(start, end)
        with self._precision():
            for i in range(first, last + 1):
                self._run(i)

    def _run(self, i: int) -> None:
        layer = self.layer_specs[i]
        if layer.type == "Input":
            return
        bottoms = [self.blobs[name].tensor("data") for name in layer.bottom]
        if is_relu_in_place(layer):
            bottoms[0].data.clamp_min_(
                0
            )  # of `data`, so that autograd takes no notice (see `backward`)
            return
        leaves = [bottom.data.requires_grad_() for bottom in bottoms]  # `data`, as above
        with torch.enable_grad():
            tops = TYPES[layer.type](layer, self._weights.get(layer.name, []), *leaves)
        tops = list(tops) if isinstance(tops, tuple) else [tops]
        self._tape[i] = leaves, tops
        for name, top in zip(layer.top, tops):
            self.blobs[name].put("data", top.data)

    def backward(self, start: str | None = None, end: str | None = None) -> None:
        """Carry the diff of what layer `start` wrote down through layer `end`."""
        self._check(start)
        lowest, highest = self._range(end, start)  # their places in the file
        diffs = {name: self.blobs[name].tensor("diff") for name in self.layer_specs[highest].top}
        with self._precision():
            for i in range(highest, lowest - 1, -1):
                self._run_back(i, diffs)

    def _run_back(self, i: int, diffs: dict[str, Tensor]) -> None:
        """Carry the `diffs` of what layer i wrote to what it read."""
        layer = self.layer_specs[i]
        given = {top: diffs.pop(name) for top, name in enumerate(layer.top) if name in diffs}
        if layer.type == "Input" or not given:  # or a side branch
            return
        for name, diff in zip(layer.bottom, self._gradients(i, given)):
            diffs[name] = diffs[name] + diff if name in diffs else diff
            self.blobs[name].put("diff", diffs[name])

    def _gradients(self, i: int, given: dict[int, Tensor]) -> tuple[Tensor, ...]:
        """The gradients of layer i's bottoms, given those of its tops, {number of the
        top: its gradient}.
        """
        layer = self.layer_specs[i]
        if is_relu_in_place(layer):
            after = self.blobs[layer.top[0]].tensor("data")
            return (torch.ops.aten.threshold_backward(like(given[0], after), after, 0),)
        taped = self._tape[i]
        if taped is None:
            raise DreamError(
                f"layer {layer.name!r} has not run; call forward(end=...) before backward"
            )
        leaves, tops = taped
        outputs = [tops[top] for top in given]
        return torch.autograd.grad(outputs, leaves, list(given.values()), retain_graph=True)

    def _precision(self) -> Any:
        """A context in which cuDNN calculates as precisely as the dtype says.

        It does not time its kernels first: on an H100, the first dream of a size then
        took 4 to 70 s.
        """
        if self.device.type != "cuda":
            return nullcontext()
        deterministic = torch.backends.cudnn.deterministic
        tf32 = self.engine["dtype"] == "tf32"
        return torch.backends.cudnn.flags(
            enabled=True, deterministic=deterministic, allow_tf32=tf32
        )

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        for name in (start, end):
            if name is not None and name not in self._index:
                raise self.unknown(name, self._index)
        return self._index[start] if start else 0, self._index[end] if end else len(self._index) - 1


def find_device(name: str) -> torch.device:
    """The device of this name, once it has computed something; 'auto' is an NVIDIA GPU,
    or else the CPU.
    """
    devices = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    for candidate in ["cuda", "cpu"] if name == "auto" else [name]:
        try:
            device = torch.device(candidate)
            if devices.get(device.type):
                ones = torch.ones(1, 1, 3, 3, device=device)
                F.conv2d(
                    ones, ones
                ).sum().item()  # an old GPU, or one whose memory is full, cannot do even this
                return device
        except RuntimeError:
            pass  # PyTorch does not know this word, or the device is not there, or it cannot compute
    available = ", ".join(each for each, is_there in devices.items() if is_there)
    raise DreamError(
        f"device {name!r} is not available; this machine's PyTorch has {available}; choose one, or auto"
    )


def find_dtypes(device: torch.device) -> list[str]:
    """The kinds of numbers that the device multiplies in hardware, the fastest last."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return list(DTYPES)
    checks = (
        getattr(torch.cpu, f"_is_{flag}_supported", bool) for flag in ("avx512_bf16", "amx_tile")
    )
    if device.type == "cpu" and any(check() for check in checks):
        return ["float32", "bfloat16"]
    return ["float32"]


def _choose_dtype(name: str, device: torch.device) -> str:
    """The kind of numbers of this name; 'auto' is the fastest of the device.

    Raises DreamError for one that the device does not multiply in hardware: bfloat16
    then takes thirty times as long.
    """
    available = find_dtypes(device)
    if name not in ("auto", *available):
        reason = "does not multiply in hardware" if name in DTYPES else "does not know"
        allowed = f"choose {' or '.join(available)}, or auto"
        raise DreamError(
            f"{{setting}} is {name!r}, which device {str(device)!r} {reason}; {allowed}", "dtype"
        )
    return available[-1] if name == "auto" else name
