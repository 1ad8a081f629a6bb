"""TorchNet: the same prototxt and caffemodel on PyTorch, behind pycaffe's interface, several times faster than Caffe.

Layers run one by one in file order, each with a small piece of autograd of its own, so that a pass can begin and end
at any layer, as in Caffe. Only gradients of blobs are ever asked for, never those of weights. In memory the channels
of a pixel lie side by side (PyTorch's channels_last), which its convolutions prefer.

Imports torch; reach it through `load_net`, which imports it late.
"""

import ctypes
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from . import caffemodel_pb2 as pb
from . import zoo
from .caffemodel import TYPES as SHAPES
from .caffemodel import _axis, pair, walk
from .errors import DreamError
from .net import DreamNet


class Blob:
    """pycaffe's Blob: `shape`, `reshape(n, c, h, w)`, and the NumPy arrays `data` and `diff`.

    The arrays share memory with the tensors where that can be, in float32 on the CPU. Elsewhere they are copies, which
    travel back when the network needs them next, as Caffe's own do between host and GPU. Take them anew after each
    pass, and index all four axes: the channels of a pixel lie side by side, so a flat view would be a copy. After a
    backward pass the diffs of a Concat's bottoms are parts of its top's.
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
            self._tensors[which] = _layout(zeros)
        if which in self._copies:
            self._tensors[which].copy_(self._copies.pop(which))
        return self._tensors[which]

    def put(self, which: str, tensor: Tensor) -> None:
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


class Arrays(Mapping):
    """What a pass answers: the arrays of some blobs by name, fetched from the device only when they are looked at."""

    def __init__(self, blobs: Mapping[str, Blob], which: str, names: list[str]) -> None:
        self._blobs, self._which, self._names = blobs, which, list(names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return getattr(self._blobs[name], self._which)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class TorchNet(DreamNet):
    """A Caffe network on PyTorch that answers as pycaffe does: `blobs`, `params`, `forward(end=)`, `backward(start=)`.

    device: 'cpu', 'cuda', 'mps'; dtype: 'float32' or 'bfloat16', that of everything but the picture. `params` are the
    weights themselves in float32 on the CPU, else what they were made from.
    Raises DreamError where the device or the type is not to be had.
    """

    xp = torch

    def __init__(self, model: zoo.Model, device: str | None = None, dtype: str | None = None) -> None:
        self.device = _device(device or "cpu")
        self.dtype = _dtype(dtype or "float32", self.device)
        self.engine = {"engine": "torch", "device": str(self.device), "dtype": str(self.dtype).removeprefix("torch.")}
        weights = self.adopt(model)
        if self.device.type != "cpu":
            self._held = math.inf  # the host's memory is no limit
        keep_memory()
        self.params = OrderedDict()
        self._weights = {}
        for layer, arrays in weights.items():
            tensors = [_layout(torch.tensor(array, dtype=torch.float32)) for array in arrays]
            self.params[layer] = [Blob(t.shape, torch.device("cpu"), torch.float32) for t in tensors]
            for blob, tensor in zip(self.params[layer], tensors):
                blob.put("data", tensor)
            self._weights[layer] = [_layout(t.to(self.device, self.dtype)) for t in tensors]
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        for layer, _, shapes, _ in walk(self.layer_specs):
            for top, shape in zip(layer.top, shapes):
                kind = torch.float32 if layer.type == "Input" else self.dtype
                self.blobs.setdefault(top, Blob((1, *shape[1:]), self.device, kind))
        self._index = {layer.name: i for i, layer in enumerate(self.layer_specs)}
        self._tape: list[tuple[list[Tensor], list[Tensor]] | None] = [None] * len(self.layer_specs)
        self.limits = tuple(torch.from_numpy(limit).to(self.device) for limit in self.limits)

    @property
    def image(self) -> Tensor:
        return self.blobs["data"].tensor("data")[0]

    @property
    def image_diff(self) -> Tensor:
        return self.blobs["data"].tensor("diff")[0]

    def array(self, a: np.ndarray) -> Tensor:
        return torch.tensor(a, device=self.device)

    def blurred(self, a: Tensor, sigma: float) -> Tensor:
        return self.array(super().blurred(a.cpu().numpy(), sigma))

    def expect(self, tiles: bool) -> None:
        keep_memory(pictures=not tiles)

    def forward(self, start: str | None = None, end: str | None = None) -> Mapping[str, np.ndarray]:
        """Run the layers from `start` through `end`; the answer is what the last one wrote."""
        self._check(end)
        first, last = self._range(start, end)
        for i in range(first, last + 1):
            layer = self.layer_specs[i]
            if layer.type == "Input":
                continue
            bottoms = [self.blobs[name].tensor("data") for name in layer.bottom]
            if _is_relu_in_place(layer):
                bottoms[0].data.clamp_min_(0)  # in place; `data`, for autograd need not hear of it (see `backward`)
                continue
            leaves = [bottom.detach().requires_grad_() for bottom in bottoms]
            with torch.enable_grad():
                tops = TYPES[layer.type](layer, self._weights.get(layer.name, []), *leaves)
            tops = list(tops) if isinstance(tops, tuple) else [tops]
            self._tape[i] = leaves, tops
            for name, top in zip(layer.top, tops):
                self.blobs[name].put("data", top.data)
        return Arrays(self.blobs, "data", self.layer_specs[last].top)

    def backward(self, start: str | None = None, end: str | None = None) -> Mapping[str, np.ndarray]:
        """Carry the diff of what layer `start` wrote down through `end`; the answer is the diff of what `end` read."""
        self._check(start)
        last, first = self._range(end, start)  # from the first to run, which is the later in the file, down to the last
        diffs = {name: self.blobs[name].tensor("diff") for name in self.layer_specs[first].top}
        for i in range(first, last - 1, -1):
            layer = self.layer_specs[i]
            if layer.type == "Input":
                continue
            given = [(top, diffs.pop(name)) for top, name in enumerate(layer.top) if name in diffs]
            if not given:
                continue  # a side branch
            if _is_relu_in_place(layer):
                after = self.blobs[layer.top[0]].tensor("data")
                found = [torch.ops.aten.threshold_backward(given[0][1], after, 0)]
            else:
                if self._tape[i] is None:
                    raise DreamError(f"layer {layer.name!r} has not run; call forward(end=...) before backward")
                leaves, outputs = self._tape[i]
                found = torch.autograd.grad([outputs[top] for top, _ in given], leaves, [diff for _, diff in given],
                                            retain_graph=True)  # fmt: skip
            for name, diff in zip(layer.bottom, found):
                diffs[name] = diffs[name] + diff if name in diffs else diff
                self.blobs[name].put("diff", diffs[name])
        return Arrays(self.blobs, "diff", self.layer_specs[last].bottom or self.layer_specs[last].top)

    def _range(self, start, end):
        for name in (start, end):
            if name is not None and name not in self._index:
                raise self.unknown(name, self._index)
        return self._index[start] if start else 0, self._index[end] if end else len(self._index) - 1


def _layout(tensor):
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _device(name):
    there = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    try:
        device = torch.device(name)
        if device.type in there:
            torch.empty(1, device=device)
            return device
    except RuntimeError:
        pass  # no such word, or no such number
    raise DreamError(f"device {str(name)!r} is not there; this machine's PyTorch has {', '.join(there)}")


def _dtype(name, device):
    if name not in ("float32", "bfloat16"):
        raise DreamError(f"dtype is {name!r}; it must be 'float32' or 'bfloat16'")
    try:
        ones = torch.ones(1, 1, 3, 3, dtype=getattr(torch, name), device=device)
        F.max_pool2d(F.conv2d(ones, ones, padding=1), 2)
    except RuntimeError as error:
        raise DreamError(f"dtype {name!r} does not work on device {str(device)!r} ({error}); take 'float32'") from None
    return ones.dtype


def keep_memory(pictures: bool = True) -> None:
    """Have glibc keep freed memory for the next step: else each one maps its large blobs anew, page by page.

    Without `pictures` blocks above 32 MB are given back: in tiles, they are pictures, and no blobs.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: above it, blocks are mapped one by one,
            libc.mallopt(-4, 0 if pictures else 65536)  # M_MMAP_MAX: so many at most
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass  # another libc; it is only slower


# Each function below is one layer type: (layer, its weights, *bottoms) -> top, or tops. Autograd does the rest.


def _is_relu_in_place(layer):
    return layer.type == "ReLU" and layer.relu_param.negative_slope == 0 and layer.bottom[0] == layer.top[0]


def _relu(layer, weights, x):
    slope = layer.relu_param.negative_slope
    return F.leaky_relu(x, slope) if slope else F.relu(x)


def _convolution(layer, weights, x):
    p = layer.convolution_param
    stride, pad, dilation = (pair(p, *arg) for arg in (("stride", 1), ("pad", 0), ("dilation", 1)))
    filters, bias = (*weights, None)[:2]
    kernel = tuple(filters.shape[2:])
    square = all(h == w for h, w in (kernel, stride, pad, dilation))
    if square and x.shape[1] <= 4 and stride[0] > 1 and dilation[0] == p.group == 1 and pad[0] < kernel[0]:
        return _StridedOnPicture.apply(x, filters, bias, stride[0], pad[0])
    return F.conv2d(x.to(filters.dtype), filters, bias, stride, pad, dilation, p.group)


class _StridedOnPicture(torch.autograd.Function):
    """A convolution with a stride on few channels. Its gradient, slow in PyTorch, is here one convolution without a
    stride that makes each pixel's s x s sub-pixels as channels, which are then put in their places."""

    @staticmethod
    def forward(ctx, x, filters, bias, s, pad):
        ctx.save_for_backward(filters)
        ctx.args = s, pad, x.shape[2:], x.dtype
        return F.conv2d(x.to(filters.dtype), filters, bias, s, pad)

    @staticmethod
    def backward(ctx, g):
        (filters,) = ctx.saved_tensors
        s, pad, (height, width), dtype = ctx.args
        f, c, k, _ = filters.shape
        # Sub-pixel i of pixel Y is reached by output Y + d through the tap i + pad - s * d, for d from low to high.
        low, high = -((k - 1 - pad) // s), (s - 1 + pad) // s
        n = high - low + 1
        left = pad + s - k - s * low
        right = s * n - k - left
        phases = F.pad(filters.flip(2, 3), (left, right, left, right)).reshape(f, c, n, s, n, s).flip(3, 5)
        phases = _layout(phases.permute(1, 3, 5, 0, 2, 4).reshape(c * s * s, f, n, n))
        margin = max(-low, -(-height // s) + high - g.shape[2], -(-width // s) + high - g.shape[3])
        fine = F.pixel_shuffle(F.conv2d(g, phases, padding=margin), s)
        first = s * (margin + low)
        return _layout(fine[:, :, first : first + height, first : first + width].to(dtype)), None, None, None, None


def _deconvolution(layer, weights, x):
    p = layer.convolution_param
    stride, pad, dilation = (pair(p, *arg) for arg in (("stride", 1), ("pad", 0), ("dilation", 1)))
    filters, bias = (*weights, None)[:2]
    return F.conv_transpose2d(x.to(filters.dtype), filters, bias, stride, pad, 0, p.group, dilation)


def _pooling(layer, weights, x):
    p = layer.pooling_param
    average = p.pool == pb.PoolingParameter.AVE
    if p.global_pooling:
        return x.mean((2, 3), keepdim=True) if average else F.max_pool2d(x, x.shape[2:])
    kernel, stride, pad = (pair(p, *arg) for arg in (("kernel_size", 0), ("stride", 1), ("pad", 0)))
    if any(2 * q > k for q, k in zip(pad, kernel)):  # more than PyTorch pads by itself
        height, width = SHAPES["Pooling"](layer, tuple(x.shape))[0][0][2:]
        x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=0 if average else -math.inf)
        pool = F.avg_pool2d if average else F.max_pool2d
        return pool(x, kernel, stride, ceil_mode=p.ceil_mode)[:, :, :height, :width].clone()
    if average:
        return F.avg_pool2d(x, kernel, stride, pad, p.ceil_mode)
    return F.max_pool2d(x, kernel, stride, pad, ceil_mode=p.ceil_mode)


class _AcrossChannels(torch.autograd.Function):
    """x * s^-beta, where s = k + alpha / n * (the sum of x^2 over n neighbouring channels)."""

    @staticmethod
    def forward(ctx, x, n, alpha, beta, k):
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
    def backward(ctx, g):
        x, s, scale, band = ctx.saved_tensors
        g = g * scale
        others = F.conv2d((g * x).div_(s), band)
        return g.addcmul_(others, x, value=-ctx.factor), None, None, None, None


def _lrn(layer, weights, x):
    p = layer.lrn_param
    if p.norm_region == pb.LRNParameter.ACROSS_CHANNELS:
        return _AcrossChannels.apply(x, p.local_size, p.alpha, p.beta, p.k)
    return x * (1 + p.alpha * F.avg_pool2d(x * x, p.local_size, 1, p.local_size // 2)) ** -p.beta


def _inner_product(layer, weights, x):
    p = layer.inner_product_param
    matrix, bias = (*weights, None)[:2]
    return F.linear(x.flatten(_axis(p.axis, x.shape)).to(matrix.dtype), matrix.T if p.transpose else matrix, bias)


def _prelu(layer, weights, x):
    return F.prelu(x, weights[0].reshape(-1).to(x.dtype))


def _batch_norm(layer, weights, x):
    p = layer.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        return F.batch_norm(x, None, None, training=True, eps=p.eps)
    mean, variance, count = (blob.to(x.dtype) for blob in weights)
    factor = 1 / count if count != 0 else 0 * count
    return F.batch_norm(x, mean * factor, variance * factor, eps=p.eps)


def _along(x, factor, axis):
    """`factor` shaped so that its first axis lies along that axis of x."""
    return factor.reshape(*factor.shape, *[1] * (x.ndim - axis - factor.ndim))


def _scale(layer, weights, x, *factor):
    axis = _axis(layer.scale_param.axis, x.shape)
    factor, *bias = (*factor, *weights)
    y = x * _along(x, factor, axis)
    return y + _along(x, bias[0], axis) if bias else y


def _bias(layer, weights, x, *bias):
    return x + _along(x, (*bias, *weights)[0], _axis(layer.bias_param.axis, x.shape))


def _eltwise(layer, weights, *xs):
    p = layer.eltwise_param
    if p.operation == p.SUM:
        return reduce(torch.add, [x if c == 1 else c * x for c, x in zip(p.coeff or [1] * len(xs), xs)])
    result = xs[0]
    for x in xs[1:]:
        result = result * x if p.operation == p.PROD else torch.where(result > x, result, x)
    return result


def _concat(layer, weights, *xs):
    p = layer.concat_param
    return torch.cat(xs, _axis(p.concat_dim if p.HasField("concat_dim") else p.axis, xs[0].shape))


def _slice(layer, weights, x):
    p = layer.slice_param
    axis = _axis(p.slice_dim if p.HasField("slice_dim") else p.axis, x.shape)
    parts = x.tensor_split(list(p.slice_point) or len(layer.top), axis)
    return tuple(part.clone() for part in parts)


def _power(layer, weights, x):
    p = layer.power_param
    y = p.shift + p.scale * x
    return y if p.power == 1 else y**p.power


def _flatten(layer, weights, x):
    first, last = (_axis(axis, x.shape) for axis in (layer.flatten_param.axis, layer.flatten_param.end_axis))
    return x.flatten(first, last).clone()


def _reshape(layer, weights, x):
    return x.reshape(SHAPES["Reshape"](layer, tuple(x.shape))[0][0]).clone()


TYPES: dict[str, Callable] = {
    "Convolution": _convolution, "Deconvolution": _deconvolution, "InnerProduct": _inner_product, "Pooling": _pooling,
    "LRN": _lrn, "ReLU": _relu, "PReLU": _prelu,
    "ELU": lambda layer, weights, x: F.elu(x, layer.elu_param.alpha),
    "Sigmoid": lambda layer, weights, x: x.sigmoid(),
    "TanH": lambda layer, weights, x: x.tanh(),
    "Concat": _concat, "Slice": _slice, "Split": lambda layer, weights, x: tuple(x.clone() for _ in layer.top),
    "Eltwise": _eltwise, "BatchNorm": _batch_norm, "Scale": _scale, "Bias": _bias, "Power": _power,
    "Flatten": _flatten, "Reshape": _reshape, "Dropout": lambda layer, weights, x: x.clone(),
    "Softmax": lambda layer, weights, x: x.softmax(_axis(layer.softmax_param.axis, x.shape)),
}  # fmt: skip
