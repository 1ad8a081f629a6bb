"""TorchNet: the same prototxt and caffemodel on PyTorch, behind pycaffe's interface, several times faster than Caffe.

Layers run one by one in file order, each with a small piece of autograd of its own, so that a pass can begin and end
at any layer, as in Caffe. Only gradients of blobs are computed, never those of weights. In memory the channels of a
pixel lie side by side (PyTorch's channels_last), which its convolutions prefer.

It imports torch, so `load_net` imports it late.
"""

import ctypes
import math
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from . import shapes, zoo
from .errors import DreamError
from .net import DreamNet
from .shapes import Layer, axis, pair


class Blob:
    """pycaffe's Blob: `shape`, `reshape(n, c, h, w)`, and the NumPy arrays `data` and `diff`.

    The arrays share memory with the tensors in float32 on the CPU. Elsewhere they are copies, which travel back when
    the network needs them next, as Caffe's own do between host and GPU. Read `data` and `diff` again after each pass,
    and index all four axes: the channels of a pixel lie side by side, so a flat view would be a copy. After a backward
    pass the diffs of a Concat's bottoms are parts of its top's diff.
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


class TorchNet(DreamNet):
    """A Caffe network on PyTorch, used like pycaffe's: `blobs`, `params`, `forward(end=)`, `backward(start=)`.

    device: 'cpu', 'cuda', 'mps'; dtype: 'float32' or 'bfloat16', that of everything but the picture. `params` are the
    weights themselves in float32 on the CPU, else what they were made from. Unlike pycaffe's, passes return nothing:
    read `blobs`. Raises DreamError if the device or the type is not available.
    """

    xp = torch

    def __init__(self, model: zoo.Model, device: str | None = None, dtype: str | None = None) -> None:
        self.device = find_device(device or "cpu")
        self.dtype = _dtype(dtype or "float32", self.device)
        self.engine = {"engine": "torch", "device": str(self.device), "dtype": str(self.dtype).removeprefix("torch.")}
        layers, weights = zoo.load(model)
        self.adopt(model, layers)
        if self.device.type != "cpu":
            self._held = math.inf  # the host's memory is no limit
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
        low, high = self.limits
        self.limits = torch.from_numpy(low).to(self.device), torch.from_numpy(high).to(self.device)

    @property
    def image(self) -> Tensor:
        return self.blobs["data"].tensor("data")[0]

    @property
    def image_diff(self) -> Tensor:
        return self.blobs["data"].tensor("diff")[0]

    def array(self, a: np.ndarray) -> Tensor:
        return torch.tensor(a, device=self.device)

    def blur(self, a: Tensor, sigma: float) -> Tensor:
        return self.array(super().blur(a.cpu().numpy(), sigma))

    def keep_large_blocks(self, keep: bool) -> None:
        _keep_freed_memory(large_blocks=keep)

    def forward(self, start: str | None = None, end: str | None = None) -> None:
        """Run the layers from `start` through `end`."""
        self._check(end)
        first, last = self._range(start, end)
        for i in range(first, last + 1):
            layer = self.layer_specs[i]
            if layer.type == "Input":
                continue
            bottoms = [self.blobs[name].tensor("data") for name in layer.bottom]
            if _is_relu_in_place(layer):
                bottoms[0].data.clamp_min_(0)  # of `data`, so that autograd takes no notice (see `backward`)
                continue
            leaves = [bottom.detach().requires_grad_() for bottom in bottoms]
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
        for i in range(highest, lowest - 1, -1):
            layer = self.layer_specs[i]
            if layer.type == "Input":
                continue
            given = {top: diffs.pop(name) for top, name in enumerate(layer.top) if name in diffs}
            if not given:
                continue  # a side branch
            for name, diff in zip(layer.bottom, self._gradients(i, given)):
                diffs[name] = diffs[name] + diff if name in diffs else diff
                self.blobs[name].put("diff", diffs[name])

    def _gradients(self, i: int, given: dict[int, Tensor]) -> tuple[Tensor, ...]:
        """The gradients of layer i's bottoms, given those of its tops, {number of the top: its gradient}."""
        layer = self.layer_specs[i]
        if _is_relu_in_place(layer):
            after = self.blobs[layer.top[0]].tensor("data")
            return (torch.ops.aten.threshold_backward(given[0], after, 0),)
        taped = self._tape[i]
        if taped is None:
            raise DreamError(f"layer {layer.name!r} has not run; call forward(end=...) before backward")
        leaves, tops = taped
        outputs = [tops[top] for top in given]
        return torch.autograd.grad(outputs, leaves, list(given.values()), retain_graph=True)

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        for name in (start, end):
            if name is not None and name not in self._index:
                raise self.unknown(name, self._index)
        return self._index[start] if start else 0, self._index[end] if end else len(self._index) - 1


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def find_device(name: str) -> torch.device:
    available = ["cpu"]
    if torch.cuda.is_available():
        available.append("cuda")
    if torch.backends.mps.is_available():
        available.append("mps")
    try:
        device = torch.device(name)
        if device.type in available:
            torch.empty(1, device=device)
            return device
    except RuntimeError:
        pass  # PyTorch does not know this word, or the machine has no device of this number
    raise DreamError(f"device {str(name)!r} is not available; this machine's PyTorch has {', '.join(available)}")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name not in ("float32", "bfloat16"):
        raise DreamError(f"dtype is {name!r}; it must be 'float32' or 'bfloat16'")
    try:
        ones = torch.ones(1, 1, 3, 3, dtype=getattr(torch, name), device=device)
        F.max_pool2d(F.conv2d(ones, ones, padding=1), 2)
    except RuntimeError as error:
        advice = "choose 'float32'"
        raise DreamError(f"dtype {name!r} does not work on device {str(device)!r} ({error}); {advice}") from None
    return ones.dtype


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
    is_on_picture = x.shape[1] <= 4 and stride[0] > 1 and dilation[0] == p.group == 1 and pad[0] < kernel[0]
    if square and is_on_picture and not filters.requires_grad:
        return _StridedOnPicture.apply(x, filters, bias, stride[0], pad[0])
    return F.conv2d(x.to(filters.dtype), filters, bias, stride, pad, dilation, p.group)


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
        phases = channels_last(phases.permute(1, 3, 5, 0, 2, 4).reshape(c * s * s, f, n, n))
        margin = max(-low, -(-height // s) + high - g.shape[2], -(-width // s) + high - g.shape[3])
        fine = F.pixel_shuffle(F.conv2d(g, phases, padding=margin), s)
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
        # The sum over a window of channels is a 1x1 convolution with a banded matrix.
        i = torch.arange(x.shape[1], device=x.device)
        band = ((i[:, None] - i).abs() <= n // 2).to(x.dtype)[:, :, None, None]
        s = F.conv2d(x * x, band * (alpha / n), x.new_full((x.shape[1],), k))
        root = s.rsqrt()
        scale = root.sqrt().mul_(root) if beta == 0.75 else s.pow(-beta)
        ctx.save_for_backward(x, s, scale, band)
        ctx.factor = 2 * alpha * beta / n
        return x * scale

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, s, scale, band = ctx.saved_tensors
        g = g * scale
        others = F.conv2d((g * x).div_(s), band)
        return g.addcmul_(others, x, value=-ctx.factor), None, None, None, None


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
    factor = 1 / count if count != 0 else 0 * count
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
