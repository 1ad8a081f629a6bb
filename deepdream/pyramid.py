"""A gradient split by scale, a Laplacian pyramid, for the setting `lap`."""

from collections.abc import Iterator
from types import ModuleType

from .nets.base import EngineArray


def lap_normalize(xp: ModuleType, g: EngineArray, lap: int) -> EngineArray:
    """Give all scales of a gradient (channels, h, w) the same strength, so
    that large forms show: each level of its Laplacian pyramid (Burt and
    Adelson, 1983) is divided by its root mean square. After
    tensorflow/examples/tutorials/deepdream.

    lap: how often a blurred half is split off. xp: numpy or torch, as g is.
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
    """(channels, h, w) -> (channels, h / 2, w / 2), rounded up."""
    rows = xp.zeros_like(a[:, ::2])
    for weight, small, large in _taps(a.shape[1]):
        _add(rows[:, small], weight, a[:, large])
    half = xp.zeros_like(rows[:, :, ::2])
    for weight, small, large in _taps(a.shape[2]):
        _add(half[:, :, small], weight, rows[:, :, large])
    return half


def _double(xp: ModuleType, half: EngineArray, like: EngineArray) -> EngineArray:
    """Back to the size of `like`: `_halve` transposed, times 4."""
    rows = xp.zeros_like(like[:, ::2])
    for weight, small, large in _taps(like.shape[2]):
        _add(rows[:, :, large], 2 * weight, half[:, :, small])
    whole = xp.zeros_like(like)
    for weight, small, large in _taps(like.shape[1]):
        _add(whole[:, large], 2 * weight, rows[:, small])
    return whole


def _add(total: EngineArray, weight: float, part: EngineArray) -> None:
    if hasattr(total, "add_"):  # PyTorch then makes no copy of the part
        total.add_(part, alpha=weight)
    else:
        total += weight * part


def _taps(n: int) -> Iterator[tuple[float, slice, slice]]:
    """(weight, where in the half, where in n): TensorFlow's."""
    before = 1 + n % 2
    for k, weight in enumerate((1, 4, 6, 4, 1)):
        first = (before - k + 1) // 2 if k < before else 0
        start = 2 * first + k - before
        count = min(len(range(start, n, 2)), (n + 1) // 2 - first)
        yield weight / 16, slice(first, first + count), slice(start, start + 2 * count, 2)
