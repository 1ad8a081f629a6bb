"""TorchNet: the same prototxt and caffemodel on PyTorch, behind pycaffe's interface, more than twice as fast as Caffe.

Layers run one by one in file order, each with a small piece of autograd of its own, so that a pass can begin and end
at any layer, as in Caffe. Only gradients of blobs are computed, never those of weights. In memory the channels of a
pixel lie side by side (PyTorch's channels_last), which most of its kernels prefer; only NNPACK has Caffe's order.

It imports torch, so `load_net` imports it late.
"""

import ctypes
import math
import os
import platform
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from . import shapes, zoo
from .errors import DreamError, whole
from .net import DreamNet, Fill
from .shapes import Layer, axis, pair

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
KERNELS = "nnpack", "onednn"
RECORDING = Lock()  # CUDA records one graph at a time
MOST_RECORDINGS = 8  # gradients on the GPU that are ready to be replayed, such as those of a film's octaves


class Blob:
    """pycaffe's Blob: `shape`, `reshape(n, c, h, w)`, and the NumPy arrays `data` and `diff`.

    The arrays share memory with the tensors in float32 on the CPU. Elsewhere they are copies, which travel back when
    the network needs them next, as Caffe's own do between host and GPU. Read `data` and `diff` again after each pass,
    and index all four axes: in memory, the values of most blobs are not in Caffe's order, so a flat view would be a
    copy. After a backward pass the diffs of a Concat's bottoms are parts of its top's diff.
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
    """What an objective with `any_array` sees of a blob: tensors, (1, channels, h, w) float32."""

    data: Tensor
    diff: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


class Recording(NamedTuple):
    """A gradient recorded on the GPU, as a CUDA graph, which starts all its kernels at once.

    tensors: {name: the tensors of its blob}, and tape: {number of a layer: what it read and wrote}, of the layers that
    ran; a replay fills the same memory again. fills: what it climbs.
    """

    graph: torch.cuda.CUDAGraph
    tensors: dict[str, dict[str, Tensor]]
    tape: dict[int, Any]
    fills: Mapping[str, Fill]


class TorchNet(DreamNet):
    """A Caffe network on PyTorch, used like pycaffe's: `blobs`, `params`, `forward(end=)`, `backward(start=)`.

    device, dtype: see `load_net`; the picture itself is always float32. `params` are the weights themselves in float32
    on the CPU, else what they were made from. Unlike pycaffe's, passes return nothing: read `blobs`. Raises DreamError
    if the device or the type is not available.
    """

    xp = torch

    def __init__(self, model: zoo.Model, device: str | None = None, dtype: str | None = None) -> None:
        self.device = find_device(device or "auto")
        dtype = _choose_dtype(dtype or "auto", self.device)
        self.dtype = DTYPES[dtype]
        self.engine = {"engine": "torch", "device": str(self.device), "dtype": dtype}
        self.kernels = _find_kernels() if (self.device.type, dtype) == ("cpu", "float32") else ""
        layers, weights = zoo.load(model)
        self.adopt(model, layers)
        _keep_freed_memory(large_blocks=True)
        self.params: OrderedDict[str, list[Blob]] = OrderedDict()
        self._weights: dict[str, list[Tensor]] = {}
        for layer, arrays in weights.items():
            tensors = [channels_last(torch.tensor(array, dtype=torch.float32)) for array in arrays]
            self.params[layer] = [Blob(t.shape, torch.device("cpu"), torch.float32) for t in tensors]
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
        # By the picture's shape and what is climbed; None is one that was seen once, False one that cannot be recorded
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
        places = F.affine_grid(matrix, [1, 1, h, w], align_corners=True)  # (1, h, w, 2), each axis from -1 to 1
        beyond = "reflection" if mirror else "zeros"
        return F.grid_sample(a[None].contiguous(), places, "bilinear", beyond, align_corners=True)[0]

    def blur(self, a: Tensor, sigma: float) -> Tensor:
        return self.array(super().blur(self.to_numpy(a), sigma))

    def keep_large_blocks(self, keep: bool) -> None:
        _keep_freed_memory(large_blocks=keep)

    def free_memory(self) -> float:
        if self.device.type == "cuda":
            freed = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return torch.cuda.mem_get_info(self.device)[0] + freed + self._held
        return super().free_memory() if self.device.type == "cpu" else math.inf

    def apply(self, fill: Fill, blob: Blob) -> None:
        """Let an objective fill the diff of a blob; on its tensors, if it works with them."""
        if not _takes_tensors(fill):
            fill(blob)
            return
        tensors = Tensors(blob.tensor("data").float(), blob.tensor("diff").float())
        fill(tensors)
        blob.put("diff", tensors.diff.to(self.dtype))

    def climb(self, fills: Mapping[str, Fill]) -> Tensor:
        """As DreamNet's. On a GPU, what is climbed for the second time is recorded, and replayed from then on."""
        if self.device.type != "cuda" or not all(map(_takes_tensors, fills.values())):
            return super().climb(fills)
        key = tuple(self.blobs["data"].shape), *((layer, id(fill)) for layer, fill in fills.items())
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
        """Whether to record a gradient: in large pictures, arithmetic takes longer than starting the kernels does."""
        height, width = self.blobs["data"].shape[2:]
        if height * width > 2**22:
            return False
        return self.free_memory() > 3 * max(shapes.memory(self.layer_specs, end, height, width) for end in fills)

    def _record(self, fills: Mapping[str, Fill]) -> Recording | bool:
        """A recording of this gradient; False if it cannot be recorded, as where an objective looks at a value."""
        before = {name: blob.tensors() for name, blob in self.blobs.items()}
        tape = list(self._tape)
        others = [it.graph for it in self._recordings.values() if isinstance(it, Recording)]
        graph = torch.cuda.CUDAGraph()
        try:
            with RECORDING, torch.cuda.device(self.device):
                pool = others[0].pool() if others else None
                with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                    super().climb(fills)
        except RuntimeError:
            for name, blob in self.blobs.items():
                blob.restore(before[name])
            self._tape = tape
            return False
        return self._recording(graph, before, tape, fills)

    def _recording(
        self, graph: Any, before: dict[str, dict[str, Tensor]], tape: list, fills: Mapping[str, Fill]
    ) -> Recording:
        """What has changed since the blobs had the tensors `before`, and layers had read and written `tape`."""
        after = {name: blob.tensors() for name, blob in self.blobs.items()}
        tensors = {
            name: now
            for name, now in after.items()
            if name == "data" or any(tensor is not before[name].get(which) for which, tensor in now.items())
        }
        return Recording(graph, tensors, {i: it for i, it in enumerate(self._tape) if it is not tape[i]}, fills)

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
        if _is_relu_in_place(layer):
            bottoms[0].data.clamp_min_(0)  # of `data`, so that autograd takes no notice (see `backward`)
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
        """The gradients of layer i's bottoms, given those of its tops, {number of the top: its gradient}."""
        layer = self.layer_specs[i]
        if _is_relu_in_place(layer):
            after = self.blobs[layer.top[0]].tensor("data")
            return (torch.ops.aten.threshold_backward(_like(given[0], after), after, 0),)
        taped = self._tape[i]
        if taped is None:
            raise DreamError(f"layer {layer.name!r} has not run; call forward(end=...) before backward")
        leaves, tops = taped
        outputs = [tops[top] for top in given]
        return torch.autograd.grad(outputs, leaves, list(given.values()), retain_graph=True)

    def _precision(self) -> Any:
        """A context in which cuDNN calculates as precisely as the dtype says.

        It does not time its kernels first: on an H100, the first dream of a size then took 4 to 70 s.
        """
        if self.device.type != "cuda":
            return nullcontext()
        deterministic = torch.backends.cudnn.deterministic
        tf32 = self.engine["dtype"] == "tf32"
        return torch.backends.cudnn.flags(enabled=True, deterministic=deterministic, allow_tf32=tf32)

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        for name in (start, end):
            if name is not None and name not in self._index:
                raise self.unknown(name, self._index)
        return self._index[start] if start else 0, self._index[end] if end else len(self._index) - 1


def _takes_tensors(fill: Fill) -> bool:
    return getattr(fill, "any_array", False)


def channels_last(tensor: Tensor) -> Tensor:
    """The same values, with the channels of a pixel side by side."""
    if tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    n, c, h, w = tensor.shape
    if n > 1 or not tensor.is_contiguous():
        return tensor.contiguous(memory_format=torch.channels_last)
    # A matrix is transposed twice as fast as a blob
    return tensor.view(c, h * w).t().contiguous().view(1, h, w, c).permute(0, 3, 1, 2)


def channels_first(tensor: Tensor) -> Tensor:
    """The same values, with the pixels of a channel side by side, as in Caffe."""
    if tensor.ndim != 4 or tensor.is_contiguous():
        return tensor
    n, c, h, w = tensor.shape
    if n > 1 or not tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.contiguous()
    return tensor.permute(0, 2, 3, 1).view(h * w, c).t().contiguous().view(1, c, h, w)


def _like(g: Tensor, x: Tensor) -> Tensor:
    """The gradient g with its values in the order of x's: mixed orders are slow."""
    if x.ndim != 4:
        return g
    return channels_last(g) if x.is_contiguous(memory_format=torch.channels_last) else channels_first(g)


def find_device(name: str) -> torch.device:
    """The device of this name, once it has computed something; 'auto' is an NVIDIA GPU, or else the CPU."""
    devices = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for candidate in ["cuda", "cpu"] if name == "auto" else [name]:
        try:
            device = torch.device(candidate)
            if devices.get(device.type):
                ones = torch.ones(1, 1, 3, 3, device=device)
                F.conv2d(ones, ones).sum().item()  # an old GPU, or one whose memory is full, cannot do even this
                return device
        except RuntimeError:
            pass  # PyTorch does not know this word, or the device is not there, or it cannot compute
    available = ", ".join(each for each, is_there in devices.items() if is_there)
    raise DreamError(f"device {name!r} is not available; this machine's PyTorch has {available}; choose one, or auto")


def find_dtypes(device: torch.device) -> list[str]:
    """The kinds of numbers that the device multiplies in hardware, the fastest last."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return list(DTYPES)
    checks = (getattr(torch.cpu, f"_is_{flag}_supported", bool) for flag in ("avx512_bf16", "amx_tile"))
    if device.type == "cpu" and any(check() for check in checks):
        return ["float32", "bfloat16"]
    return ["float32"]


def _choose_dtype(name: str, device: torch.device) -> str:
    """The kind of numbers of this name; 'auto' is the fastest of the device.

    Raises DreamError for one that the device does not multiply in hardware: bfloat16 then takes thirty times as long.
    """
    available = find_dtypes(device)
    if name not in ("auto", *available):
        reason = "does not multiply in hardware" if name in DTYPES else "does not know"
        allowed = f"choose {' or '.join(available)}, or auto"
        raise DreamError(f"{{setting}} is {name!r}, which device {str(device)!r} {reason}; {allowed}", "dtype")
    return available[-1] if name == "auto" else name


def _keep_freed_memory(large_blocks: bool) -> None:
    """Make glibc keep freed memory for the next step, or each step would map its large blobs again, page by page.

    Without `large_blocks`, it gives blocks above 32 MB back to the system: in tiles, they are pictures, not blobs.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: larger blocks are mapped one by one,
            libc.mallopt(-4, 0 if large_blocks else 65536)  # M_MMAP_MAX: at most so many of them
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass  # another libc; PyTorch is only slower


# Each function below is one layer type: (layer, its weights, *bottoms) -> top, or a tuple of tops. Autograd does the
# rest. Tensors are (n, channels, h, w), unless a layer has changed that.


def _is_relu_in_place(layer: Layer) -> bool:
    return layer.type == "ReLU" and layer.relu_param.negative_slope == 0 and layer.bottom[0] == layer.top[0]


def _relu(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    slope = layer.relu_param.negative_slope
    return F.leaky_relu(x, slope) if slope else F.relu(x)


def _filters_and_bias(weights: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    return weights[0], weights[1] if len(weights) > 1 else None


def _convolution(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    stride, pad, dilation = pair(p, "stride", 1), pair(p, "pad", 0), pair(p, "dilation", 1)
    filters, bias = _filters_and_bias(weights)
    kernel = tuple(filters.shape[2:])
    square = all(h == w for h, w in (kernel, stride, pad, dilation))
    if square and dilation[0] == p.group == 1 and pad[0] < kernel[0] and not filters.requires_grad:
        if x.shape[1] <= 4 and stride[0] > 1:
            return _StridedOnPicture.apply(x, filters, bias, stride[0], pad[0])
        if stride[0] == 1 and _suits_nnpack(x, filters, pad[0], exact=False):
            return _WithoutStride.apply(x, filters, bias, pad[0])
    return F.conv2d(channels_last(x).to(filters.dtype), filters, bias, stride, pad, dilation, p.group)


class _WithoutStride(torch.autograd.Function):
    """A convolution without a stride: its gradient is one too, with the filters turned round, which have none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, bias: Tensor | None, pad: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.pad = filters.shape[2] - 1 - pad
        ctx.is_last = x.is_contiguous(memory_format=torch.channels_last)
        return _convolve(x, filters, bias, pad)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (filters,) = ctx.saved_tensors
        turned = filters.flip(2, 3).transpose(0, 1)
        g = _convolve(g, turned, None, ctx.pad, exact=False)
        return channels_last(g) if ctx.is_last else channels_first(g), None, None, None


def _convolve(x: Tensor, filters: Tensor, bias: Tensor | None, pad: int, exact: bool = True) -> Tensor:
    """A convolution without a stride, by NNPACK's transforms where they are faster.

    For 3x3 filters NNPACK takes Winograd's transform, whose error is ten times that of plain sums. Where a pass must be
    exact, because a ReLU or a maximum that switches changes the gradient much more, they become 4x4 filters, for which
    it takes Fourier's transform, whose error is smaller than that of plain sums.
    """
    if not _suits_nnpack(x, filters, pad, exact):
        return F.conv2d(channels_last(x), channels_last(filters), bias, 1, pad)
    x = channels_first(x)
    if exact and filters.shape[2] == 3:
        x, filters = F.pad(x, (0, 1, 0, 1)), F.pad(filters, (0, 1, 0, 1))
    return torch.ops.aten._nnpack_spatial_convolution(x, filters.contiguous(), bias, [pad, pad])


def _suits_nnpack(x: Tensor, filters: Tensor, pad: int, exact: bool) -> bool:
    """Whether NNPACK is the faster one: on small blobs, it loses more time with the filters than it gains."""
    k, enough = filters.shape[2], 6000 if exact and filters.shape[2] == 3 else 2000
    if len(x) > 1 or not 3 <= k <= 8 or pad >= k or x.shape[2] * x.shape[3] < enough:
        return False
    return x.device.type == "cpu" and x.dtype == filters.dtype == torch.float32 and _find_kernels() == "nnpack"


@cache
def _find_kernels() -> str:
    """Which library's convolutions to use on this processor: DEEPDREAM_KERNELS, or the faster.

    PyTorch has two. With AVX2, NNPACK's transforms save a third of the time and more; with AVX-512, which NNPACK does
    not use, oneDNN's plain sums can be as fast. They are timed once on a machine, for the choice changes the bits of
    pictures: it is kept beside the weights.
    """
    pinned = os.environ.get("DEEPDREAM_KERNELS", "")
    if pinned not in ("", *KERNELS):
        raise DreamError(f"DEEPDREAM_KERNELS is {pinned!r}; it must be {' or '.join(KERNELS)}, or not be set")
    is_available = torch.backends.nnpack.is_available()  # it also starts NNPACK
    if pinned == "nnpack" and not is_available:
        raise DreamError("DEEPDREAM_KERNELS is 'nnpack', which this processor cannot run; choose onednn")
    if pinned or not is_available:
        return pinned or "onednn"
    with suppress(OSError, DreamError):
        about = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0]
        about = f"{platform.machine()} {about} {torch.backends.cpu.get_cpu_capability()} {torch.__version__}"
        path = zoo.cache().parent / "kernels" / re.sub(r"\W+", "-", f"{about} {torch.get_num_threads()}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                part.write_text(_time_kernels())
        if (known := path.read_text()) in KERNELS:
            return known
    return _time_kernels()


def _time_kernels() -> str:
    """NNPACK if it needs less than four fifths of oneDNN's time."""
    x, filters = torch.ones(1, 64, 96, 160), torch.ones(192, 64, 3, 3)
    padded, last = F.pad(filters, (0, 1, 0, 1)), (channels_last(x), channels_last(filters))

    def nnpack() -> None:
        for each in (filters, padded):
            torch.ops.aten._nnpack_spatial_convolution(x, each, None, [1, 1])

    def onednn() -> None:
        for _ in range(2):
            F.conv2d(*last, padding=1)

    seconds: dict[Callable, list[float]] = {nnpack: [], onednn: []}
    for _ in range(4):  # the first of which warms up
        for call in seconds:
            start = time.perf_counter()
            call()
            seconds[call].append(time.perf_counter() - start)
    return "nnpack" if min(seconds[nnpack]) < 0.8 * min(seconds[onednn]) else "onednn"


class _StridedOnPicture(torch.autograd.Function):
    """A convolution with a stride on few channels, such as the first of a network. PyTorch's own gradient is slow.

    Here the gradient is one convolution without a stride: it makes the s x s sub-pixels of each pixel as channels,
    which are then put in their places. The filters have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, bias: Tensor | None, s: int, pad: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.args = s, pad, x.shape[2:], x.dtype
        return F.conv2d(x.to(filters.dtype), filters, bias, s, pad)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (filters,) = ctx.saved_tensors  # (f, c, k, k)
        s, pad, (height, width), dtype = ctx.args
        f, c, k, _ = filters.shape
        # Sub-pixel i of pixel Y is reached by output Y + d through the tap i + pad - s * d, for d from low to high.
        low, high = -((k - 1 - pad) // s), (s - 1 + pad) // s
        n = high - low + 1
        left = pad + s - k - s * low
        right = s * n - k - left
        phases = F.pad(filters.flip(2, 3), (left, right, left, right)).reshape(f, c, n, s, n, s).flip(3, 5)
        phases = phases.permute(1, 3, 5, 0, 2, 4).reshape(c * s * s, f, n, n)
        margin = max(-low, -(-height // s) + high - g.shape[2], -(-width // s) + high - g.shape[3])
        fine = F.pixel_shuffle(_convolve(g, phases, None, margin), s)
        first = s * (margin + low)
        picture = fine[:, :, first : first + height, first : first + width]
        return channels_last(picture.to(dtype)), None, None, None, None


def _deconvolution(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    stride, pad, dilation = pair(p, "stride", 1), pair(p, "pad", 0), pair(p, "dilation", 1)
    filters, bias = _filters_and_bias(weights)
    return F.conv_transpose2d(x.to(filters.dtype), filters, bias, stride, pad, 0, p.group, dilation)


def _top_shape(layer: Layer, x: Tensor) -> shapes.Shape:
    """The shape that Caffe gives this layer's top."""
    tops, _ = shapes.TYPES[layer.type](layer, tuple(x.shape))
    return tops[0]


def _pooling(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    x = channels_last(x)
    p = layer.pooling_param
    average = p.pool == p.AVE
    if p.global_pooling:
        return x.mean((2, 3), keepdim=True) if average else F.max_pool2d(x, x.shape[2:])
    kernel, stride, pad = pair(p, "kernel_size", 0), pair(p, "stride", 1), pair(p, "pad", 0)
    if any(2 * q > k for q, k in zip(pad, kernel)):  # more than PyTorch pads by itself
        height, width = _top_shape(layer, x)[2:]
        x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=0 if average else -math.inf)
        pool = F.avg_pool2d if average else F.max_pool2d
        return pool(x, kernel, stride, ceil_mode=p.ceil_mode)[:, :, :height, :width].clone()
    if average:
        return F.avg_pool2d(x, kernel, stride, pad, p.ceil_mode)
    return F.max_pool2d(x, kernel, stride, pad, ceil_mode=p.ceil_mode)


class _AcrossChannels(torch.autograd.Function):
    """x * s^-beta, where s = k + alpha / n * (the sum of x^2 over n neighbouring channels)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, alpha: float, beta: float, k: float) -> Tensor:
        s = _sum_neighbours(x * x, n).mul_(alpha / n).add_(k)
        root = s.rsqrt()
        scale = root.sqrt().mul_(root) if beta == 0.75 else s.pow(-beta)
        ctx.save_for_backward(x, s, scale)
        ctx.args = n, 2 * alpha * beta / n
        return x * scale

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, s, scale = ctx.saved_tensors
        n, factor = ctx.args
        g = _like(g, x) * scale
        others = _sum_neighbours((g * x).div_(s), n)
        return g.addcmul_(others, x, value=-factor), None, None, None, None


def _sum_neighbours(x: Tensor, n: int) -> Tensor:
    """The sum over a window of n channels: a product with a matrix in which a band is 1."""
    c, half = x.shape[1], n // 2
    if len(x) > 1 or not x.is_contiguous():
        i = torch.arange(c, device=x.device)
        return F.conv2d(x, ((i[:, None] - i).abs() <= half).to(x.dtype)[:, :, None, None])
    # Most of the matrix is 0, so eight channels at a time
    blocks, pixels = -(-c // 8), x.shape[2] * x.shape[3]
    padded = F.pad(x.view(c, pixels), (0, 0, half, half + 8 * blocks - c))
    parts = padded.as_strided((blocks, 8 + 2 * half, pixels), (8 * pixels, pixels, 1))
    i = torch.arange(8 + 2 * half, device=x.device)
    band = ((i[:8, None] + half - i).abs() <= half).to(x.dtype)
    return torch.bmm(band.expand(blocks, -1, -1), parts).view(1, 8 * blocks, *x.shape[2:])[:, :c]


def _lrn(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.lrn_param
    if p.norm_region == p.ACROSS_CHANNELS:
        return _AcrossChannels.apply(x, p.local_size, p.alpha, p.beta, p.k)
    return x * (1 + p.alpha * F.avg_pool2d(x * x, p.local_size, 1, p.local_size // 2)) ** -p.beta


def _inner_product(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.inner_product_param
    matrix, bias = _filters_and_bias(weights)
    x = x.flatten(axis(p.axis, x.shape)).to(matrix.dtype)
    return F.linear(x, matrix.T if p.transpose else matrix, bias)


def _prelu(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return F.prelu(x, weights[0].reshape(-1).to(x.dtype))


def _batch_norm(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        return F.batch_norm(x, None, None, training=True, eps=p.eps)
    mean, variance, count = (blob.to(x.dtype) for blob in weights)
    factor = torch.where(count == 0, 0, 1 / count)
    return F.batch_norm(x, mean * factor, variance * factor, eps=p.eps)


def _along(x: Tensor, factor: Tensor, first: int) -> Tensor:
    """`factor` in a shape such that its first axis lies along axis `first` of x."""
    return factor.reshape(*factor.shape, *[1] * (x.ndim - first - factor.ndim))


def _scale(layer: Layer, weights: list[Tensor], x: Tensor, *bottom: Tensor) -> Tensor:
    first = axis(layer.scale_param.axis, x.shape)
    factor, *bias = [*bottom, *weights]  # the factor is a second bottom, or else a parameter
    y = x * _along(x, factor, first)
    return y + _along(x, bias[0], first) if bias else y


def _bias(layer: Layer, weights: list[Tensor], x: Tensor, *bottom: Tensor) -> Tensor:
    bias = bottom[0] if bottom else weights[0]
    return x + _along(x, bias, axis(layer.bias_param.axis, x.shape))


def _eltwise(layer: Layer, weights: list[Tensor], *xs: Tensor) -> Tensor:
    p = layer.eltwise_param
    if p.operation == p.SUM and p.coeff:
        xs = tuple(x if c == 1 else c * x for c, x in zip(p.coeff, xs))
    result = xs[0]
    for x in xs[1:]:
        if p.operation == p.SUM:
            result = result + x
        elif p.operation == p.PROD:
            result = result * x
        else:
            result = torch.where(result > x, result, x)
    return result


def _concat(layer: Layer, weights: list[Tensor], *xs: Tensor) -> Tensor:
    p = layer.concat_param
    xs = tuple(map(channels_last, xs))
    return torch.cat(xs, axis(p.concat_dim if p.HasField("concat_dim") else p.axis, xs[0].shape))


def _slice(layer: Layer, weights: list[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    p = layer.slice_param
    i = axis(p.slice_dim if p.HasField("slice_dim") else p.axis, x.shape)
    parts = x.tensor_split(list(p.slice_point) or len(layer.top), i)
    return tuple(part.clone() for part in parts)


def _power(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    p = layer.power_param
    y = p.shift + p.scale * x
    return y if p.power == 1 else y**p.power


def _flatten(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    first, last = axis(layer.flatten_param.axis, x.shape), axis(layer.flatten_param.end_axis, x.shape)
    return x.flatten(first, last).clone()


def _reshape(layer: Layer, weights: list[Tensor], x: Tensor) -> Tensor:
    return x.reshape(_top_shape(layer, x)).clone()


TYPES: dict[str, Callable] = {
    "Convolution": _convolution, "Deconvolution": _deconvolution, "InnerProduct": _inner_product, "Pooling": _pooling,
    "LRN": _lrn, "ReLU": _relu, "PReLU": _prelu,
    "ELU": lambda layer, weights, x: F.elu(x, layer.elu_param.alpha),
    "Sigmoid": lambda layer, weights, x: x.sigmoid(),
    "TanH": lambda layer, weights, x: x.tanh(),
    "Concat": _concat, "Slice": _slice, "Split": lambda layer, weights, x: tuple(x.clone() for _ in layer.top),
    "Eltwise": _eltwise, "BatchNorm": _batch_norm, "Scale": _scale, "Bias": _bias, "Power": _power,
    "Flatten": _flatten, "Reshape": _reshape, "Dropout": lambda layer, weights, x: x.clone(),
    "Softmax": lambda layer, weights, x: x.softmax(axis(layer.softmax_param.axis, x.shape)),
}  # fmt: skip
