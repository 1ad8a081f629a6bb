"""Pictures to learn, and short trainings of the toy; for tests/train."""

from pathlib import Path

import numpy as np
from conftest import main

import deepdream as dd
from deepdream import recipe
from deepdream.nets import caffemodel
from deepdream.train import Training, train

ENGINES = "caffe", "torch"
PHOTO = Path(__file__).parents[2] / "images" / "mountains.jpg"
KINDS = "checks", "columns", "rows"


def pattern(kind, rng, plain=False):
    """Rows, columns or checks of two colours, (48, 64, 3)."""
    y, x = (np.mgrid[:48, :64] + rng.integers(0, 9, (2, 1, 1))) // rng.integers(4, 8)
    light = {"rows": y, "columns": x, "checks": x + y}[kind] % 2
    a, b = ((0, 0, 0), (255, 255, 255)) if plain else rng.uniform(0, 255, (2, 3))
    return np.where(light[..., None], a, b)


def draw_classes(folder, n=10, kinds=KINDS):
    """A folder of n pictures for each class."""
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for i in range(n):
            dd.save_image(folder / kind / f"secret{i:02}.png", pattern(kind, rng))
    return folder


def draw_loose(folder):
    """A folder with pictures alone: first 16 of rows, then 16 of columns."""
    folder.mkdir()
    for i in range(32):
        kind = "rows" if i < 16 else "columns"
        image = pattern(kind, np.random.default_rng(i), plain=True)
        dd.save_image(folder / f"{i:02}.png", image)
    return folder


def prepare(pictures, out="unused", **settings):
    given = {"pictures": str(pictures)} | settings
    return Training(recipe.complete("train", given), Path(out))


def few(toy, **settings):
    """Settings for a quick training of the toy."""
    quick = {"engine": "caffe", "steps": 10, "batch": 6, "rate": 0.005}
    return {"model": str(toy)} | quick | settings


def learn(pictures, out, **settings):
    """All Lessons of a training."""
    seen = []
    train(pictures, out, lambda lesson: seen.append(lesson), **settings)
    return seen


def command(pictures, out, toy, *words):
    """`deepdream train` of the toy, in this process."""
    return main("train", pictures, "-o", out, "--from", toy, *words)


def weights(folder):
    return caffemodel.read_weights(folder / "weights.caffemodel")


def same(a, b):
    """Whether two networks' weights are the same to the bit."""
    pairs = [pair for name in a for pair in zip(a[name], b[name])]
    return a.keys() == b.keys() and all(np.array_equal(x, y) for x, y in pairs)
