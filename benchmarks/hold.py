"""How far a long zoom drifts, plain and held: the figures and the plot of
docs/movies.md.

    python benchmarks/hold.py [FRAMES] [PLOT]

Two films of 160x90 pixels, GoogLeNet's inception_4c/output, 4 iterations at 2 octaves,
1,000 frames: about ten minutes each on one core. The plot, such as images/hold.png,
needs matplotlib (`pip install matplotlib`).
"""

import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.fft import dctn
from tqdm import tqdm

import deepdream as dd

PHOTO = Path(__file__).parent.parent / "images" / "mountains.jpg"
WHAT = (
    "mean colour",
    "contrast",
    "saturation",
    "slope of the spectrum",
    "change from frame to frame",
)
# (how far each may be from the first ten frames', whether as a share of it)
ALLOWED = (4, False), (0.1, True), (0.1, True), (0.2, False), (0.2, True)
COLOURS = {"plain": "#c44e52", "held": "#2b6cb0"}


def measure(frames: Iterable[np.ndarray]) -> np.ndarray:
    """(frames, 5): what `WHAT` names, for each frame; the change of the first one is
    not a number.
    """
    rows, before = [], None
    for frame in frames:
        change = np.nan if before is None else abs(frame - before).mean()
        rows.append([frame.mean(), frame.std(), np.ptp(frame, 2).mean(), slope(frame), change])
        before = frame
    return np.array(rows)


def slope(frame: np.ndarray) -> float:
    """How fast the power falls with the frequency, on logarithmic axes; about -2 to -3
    for photographs.
    """
    height, width = frame.shape[:2]
    power = dctn(frame.mean(2), norm="ortho") ** 2
    down, right = np.arange(height)[:, None] / height, np.arange(width) / width
    frequency = np.hypot(down, right) / 2  # cycles a pixel
    edges = np.geomspace(2 / height, 0.5, 11)
    rings = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(edges)]
    return float(np.polyfit(np.log(edges[1:] * edges[:-1]) / 2, np.log(rings), 1)[0])


def show(name: str, rows: np.ndarray) -> None:
    """Print how far a film goes from its first ten frames."""
    ten = rows[:10].mean(0)
    mean, slope_off = (abs(rows[:, n] - ten[n]).max() for n in (0, 3))
    contrast, saturation = (ratio(rows[:, n], ten[n]) for n in (1, 2))
    print(f"{name}: mean {mean:.1f} off; contrast {contrast}, ", end="")
    print(f"saturation {saturation} times; slope {slope_off:.2f} off")
    hundred = np.nanmean(rows[:100, 4])
    parts = [np.nanmean(rows[i : i + 100, 4]) / hundred for i in range(0, len(rows), 100)]
    change = f"{min(parts):.2f} to {max(parts):.2f}"
    print(f"    change from frame to frame, each hundred against the first: {change}")


def ratio(values: np.ndarray, first: float) -> str:
    return f"{values.min() / first:.2f} to {values.max() / first:.2f}"


def plot(films: dict[str, np.ndarray], path: str) -> None:
    """Draw both films' figures over time, with what is allowed as a grey band."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(WHAT), 1, figsize=(8, 8.5), sharex=True, layout="constrained"
    )
    for n, (axis, what, (allowed, as_share)) in enumerate(zip(axes, WHAT, ALLOWED)):
        first = np.nanmean(films["held"][: 100 if n == 4 else 10, n])
        by = allowed * first if as_share else allowed
        axis.axhspan(first - by, first + by, color="0.9")
        for name, rows in films.items():
            values = rows[:, n]
            if n == 4:  # single frames differ much; the mean of 25 shows what lasts
                values = np.nan_to_num(values, nan=values[1])
                values = np.convolve(values, np.ones(25) / 25, "valid")
            axis.plot(values, color=COLOURS[name], label=name, linewidth=1.2)
        axis.set_title(what, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(loc="upper right", ncols=2, frameon=False)
    axes[-1].set_xlabel("frame")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    net, photo = dd.load_net(), dd.load_image(PHOTO, 160)
    films = {}
    for name, share in (("plain", 0.0), ("held", 1.0)):
        film = dd.zoom(net, photo, count, hold=share, seed=0, iter_n=4, octave_n=2)
        films[name] = measure(tqdm(film, name, count))
        show(name, films[name])
    if len(sys.argv) > 2:
        plot(films, sys.argv[2])
