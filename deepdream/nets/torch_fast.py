"""Arithmetic made faster: orders of memory, convolutions by NNPACK, LRN, and malloc."""

import ctypes
import os
import platform
import re
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from ..errors import DreamError
from ..paths import whole
from . import zoo

KERNELS = "nnpack", "onednn"
Context = Any  # of autograd, which takes any attribute


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


def like(g: Tensor, x: Tensor) -> Tensor:
    """The gradient g in the order of x: mixed orders are slow."""
    if x.ndim != 4:
        return g
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return channels_last(g) if is_last else channels_first(g)


def keep_freed_memory(large_blocks: bool) -> None:
    """Make glibc keep freed memory, which is slow to map."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # another libc; PyTorch is only slower
        libc = ctypes.CDLL("libc.so.6")
        # M_MMAP_THRESHOLD: larger blocks are mapped, M_MMAP_MAX at the most
        libc.mallopt(-3, 2**25)
        libc.mallopt(-4, 0 if large_blocks else 65536)
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


class WithoutStride(torch.autograd.Function):
    """A convolution without a stride: so is its gradient, with the filters turned."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, filters: Tensor, bias: Tensor | None, pad: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.pad = filters.shape[2] - 1 - pad
        ctx.is_last = x.is_contiguous(memory_format=torch.channels_last)
        return _convolve(x, filters, bias, pad)

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        (filters,) = ctx.saved_tensors
        turned = filters.flip(2, 3).transpose(0, 1)
        g = _convolve(g, turned, None, ctx.pad, exact=False)
        return channels_last(g) if ctx.is_last else channels_first(g), None, None, None


def _convolve(
    x: Tensor, filters: Tensor, bias: Tensor | None, pad: int, exact: bool = True
) -> Tensor:
    """A convolution without a stride, by NNPACK's transforms where they are faster.

    For 3x3 filters it takes Winograd's, with ten times the error of plain
    sums. Where that could switch a ReLU or a maximum, they become 4x4, for
    which it takes Fourier's, with a smaller error than plain sums.
    """
    if not suits_nnpack(x, filters, pad, exact):
        return F.conv2d(channels_last(x), channels_last(filters), bias, 1, pad)
    x = channels_first(x)
    if exact and filters.shape[2] == 3:
        x, filters = F.pad(x, (0, 1, 0, 1)), F.pad(filters, (0, 1, 0, 1))
    filters = filters.contiguous()
    return torch.ops.aten._nnpack_spatial_convolution(x, filters, bias, [pad, pad])


def suits_nnpack(x: Tensor, filters: Tensor, pad: int, exact: bool) -> bool:
    """Whether NNPACK is faster: on small blobs, preparing the filters takes longer."""
    k = filters.shape[2]
    enough = 6000 if exact and k == 3 else 2000  # pixels
    if len(x) > 1 or not 3 <= k <= 8 or pad >= k or x.shape[2] * x.shape[3] < enough:
        return False
    if x.device.type != "cpu" or not x.dtype == filters.dtype == torch.float32:
        return False
    return find_kernels() == "nnpack"


@cache
def find_kernels() -> str:
    """Which library's convolutions to use on this processor:
    DEEPDREAM_KERNELS, or the faster. Raises DreamError if that is not one
    of KERNELS, or cannot run here.

    With AVX2, NNPACK saves a third of the time; with AVX-512, oneDNN can be
    as fast. They are timed once on a machine, for the choice changes the
    bits of pictures.
    """
    pinned = os.environ.get("DEEPDREAM_KERNELS", "")
    if pinned not in ("", *KERNELS):
        must = f"it must be {' or '.join(KERNELS)}, or not be set"
        raise DreamError(f"DEEPDREAM_KERNELS is {pinned!r}; {must}")
    is_available = torch.backends.nnpack.is_available()  # it also starts NNPACK
    if pinned == "nnpack" and not is_available:
        fault = "which this processor cannot run"
        raise DreamError(f"DEEPDREAM_KERNELS is 'nnpack', {fault}; choose onednn")
    if pinned or not is_available:
        return pinned or "onednn"
    with suppress(OSError, DreamError):
        path = zoo.cache().parent / "kernels" / _machine()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                part.write_text(_time_kernels())
        known = path.read_text()
        if known in KERNELS:
            return known
    return _time_kernels()


def _machine() -> str:
    """The processor and PyTorch, as the name of a file."""
    about = Path("/proc/cpuinfo").read_text()
    model = about.partition("model name")[2].partition("\n")[0]
    able = torch.backends.cpu.get_cpu_capability()
    words = platform.machine(), model, able, torch.__version__, torch.get_num_threads()
    return re.sub(r"\W+", "-", " ".join(map(str, words)))


def _time_kernels() -> str:
    """NNPACK if it needs less than four fifths of oneDNN's time."""
    x, filters = torch.ones(1, 64, 96, 160), torch.ones(192, 64, 3, 3)
    padded = F.pad(filters, (0, 1, 0, 1))
    last = channels_last(x), channels_last(filters)

    def nnpack() -> None:
        for each in (filters, padded):
            torch.ops.aten._nnpack_spatial_convolution(x, each, None, [1, 1])

    def onednn() -> None:
        for _ in range(2):
            F.conv2d(*last, padding=1)

    nn, one = [], []  # seconds
    for _ in range(4):  # the first of which warms up
        for call, seconds in ((nnpack, nn), (onednn, one)):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return "nnpack" if min(nn) < 0.8 * min(one) else "onednn"


class StridedOnPicture(torch.autograd.Function):
    """A convolution with a stride on few channels, where PyTorch's gradient is slow.

    Here it is one convolution without a stride, which makes the s x s
    sub-pixels of each pixel as channels. The filters have no gradient.
    """

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, filters: Tensor, bias: Tensor | None, s: int, pad: int
    ) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.args = s, pad, x.shape[2:], x.dtype
        return F.conv2d(x.to(filters.dtype), filters, bias, s, pad)

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        (filters,) = ctx.saved_tensors  # (f, c, k, k)
        s, pad, (height, width), dtype = ctx.args
        f, c, k, _ = filters.shape
        # Output Y + d, d from low to high, reaches sub-pixel i of pixel Y
        # through the tap i + pad - s * d
        low, high = -((k - 1 - pad) // s), (s - 1 + pad) // s
        n = high - low + 1
        left = pad + s - k - s * low
        right = s * n - k - left
        phases = F.pad(filters.flip(2, 3), (left, right, left, right))
        phases = phases.reshape(f, c, n, s, n, s).flip(3, 5)
        phases = phases.permute(1, 3, 5, 0, 2, 4).reshape(c * s * s, f, n, n)
        down = -(-height // s) + high - g.shape[2]
        across = -(-width // s) + high - g.shape[3]
        margin = max(-low, down, across)
        fine = F.pixel_shuffle(_convolve(g, phases, None, margin), s)
        first = s * (margin + low)
        picture = fine[:, :, first : first + height, first : first + width]
        return channels_last(picture.to(dtype)), None, None, None, None


class AcrossChannels(torch.autograd.Function):
    """x * s^-beta, where s = k + alpha / n * (the sum of x^2 over n channels)."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, n: int, alpha: float, beta: float, k: float) -> Tensor:
        s = _sum_neighbours(x * x, n).mul_(alpha / n).add_(k)
        root = s.rsqrt()
        scale = root.sqrt().mul_(root) if beta == 0.75 else s.pow(-beta)
        ctx.save_for_backward(x, s, scale)
        ctx.args = n, 2 * alpha * beta / n
        return x * scale

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        x, s, scale = ctx.saved_tensors
        n, factor = ctx.args
        g = like(g, x) * scale
        others = _sum_neighbours((g * x).div_(s), n)
        return g.addcmul_(others, x, value=-factor), None, None, None, None


def _sum_neighbours(x: Tensor, n: int) -> Tensor:
    """Over n channels: a product with a matrix, 1 in a band."""
    c, half = x.shape[1], n // 2
    if len(x) > 1 or not x.is_contiguous():
        i = torch.arange(c, device=x.device)
        band = ((i[:, None] - i).abs() <= half).to(x.dtype)
        return F.conv2d(x, band[:, :, None, None])
    # Most of the matrix is 0, so eight channels at a time
    blocks, pixels = -(-c // 8), x.shape[2] * x.shape[3]
    padded = F.pad(x.view(c, pixels), (0, 0, half, half + 8 * blocks - c))
    parts = padded.as_strided((blocks, 8 + 2 * half, pixels), (8 * pixels, pixels, 1))
    i = torch.arange(8 + 2 * half, device=x.device)
    band = ((i[:8, None] + half - i).abs() <= half).to(x.dtype)
    sums = torch.bmm(band.expand(blocks, -1, -1), parts)
    return sums.view(1, 8 * blocks, *x.shape[2:])[:, :c]
