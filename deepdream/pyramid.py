"""A gradient split by scale, a Laplacian pyramid, for the setting `lap`."""

from collections.abc import Iterator
from types import ModuleType

from .nets.base import EngineArray


def lap_normalize(xp: ModuleType, g: EngineArray, lap: int) -> EngineArray:
    """Split a gradient (channels, h, w) by scale, and give all scales the same
    strength, so that large forms show, too.

    `lap` times, a blurred picture of half the size is split off. Each level of this
    Laplacian pyramid (Burt and Adelson, 1983) is divided by its root mean square, and
    all are put together again. After Mordvintsev's second notebook:
    tensorflow/examples/tutorials/deepdream. xp: numpy or torch, to whichever g belongs.
    """
    # A channel's pixels side by side in memory: faster than in PyTorch's order
    g = xp.stack(tuple(g))
    levels = []  # the finest first
    for _ in range(lap):
        low = _halve(xp, g)
        levels.append(g - _double(xp, low, g))
        g = low
    total = _scale_to_one(g)
    for level in levels[::-1]:
        total = _double(xp, total, level) + _scale_to_one(level)
    return total


def _scale_to_one(level: EngineArray) -> EngineArray:
    return level / ((level**2).mean() ** 0.5).clip(1e-10)


def _halve(xp: ModuleType, a: EngineArray) -> EngineArray:
    """(channels, h, w) -> (channels, h / 2, w / 2), rounded up, blurred with the kernel
    [1, 4, 6, 4, 1] / 16.
    """
    rows = xp.zeros_like(a[:, ::2])
    for weight, small, large in _taps(a.shape[1]):
        _add(rows[:, small], weight, a[:, large])
    half = xp.zeros_like(rows[:, :, ::2])
    for weight, small, large in _taps(a.shape[2]):
        _add(half[:, :, small], weight, rows[:, :, large])
    return half


def _double(xp: ModuleType, half: EngineArray, like: EngineArray) -> EngineArray:
    """Back to the size of `like` with the same kernel: `_halve` transposed, times 4."""
    rows = xp.zeros_like(like[:, ::2])
    for weight, small, large in _taps(like.shape[2]):
        _add(rows[:, :, large], 2 * weight, half[:, :, small])
    whole = xp.zeros_like(like)
    for weight, small, large in _taps(like.shape[1]):
        _add(whole[:, large], 2 * weight, rows[:, small])
    return whole


def _add(total: EngineArray, weight: float, part: EngineArray) -> None:
    """Add a part to the total, in place; PyTorch does it without a copy of the part."""
    if hasattr(total, "add_"):
        total.add_(part, alpha=weight)
    else:
        total += weight * part


def _taps(n: int) -> Iterator[tuple[float, slice, slice]]:
    """Which of n places the kernel joins with which of every second one: (weight, those
    of the half, those of the n). Beyond the edges there is nothing, and the places are
    TensorFlow's: for an even n, the first is the second of n.
    """
    before = 1 + n % 2
    for k, weight in enumerate((1, 4, 6, 4, 1)):
        first = (before - k + 1) // 2 if k < before else 0
        start = 2 * first + k - before
        count = min(len(range(start, n, 2)), (n + 1) // 2 - first)
        yield weight / 16, slice(first, first + count), slice(start, start + 2 * count, 2)
