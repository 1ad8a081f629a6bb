"""Pictures without classes, sorted into groups that look alike to a network."""

import warnings
from pathlib import Path

import numpy as np

from ..errors import DreamError
from .head import HEAD
from .lessons import Crops
from .trainers import Trainer

MOST_SORTED = 2000  # pictures; of more, so many are taken at random
MOST_GROUPS = 32
PER_GROUP = 16  # pictures


def choose(paths: list[Path], seed: int) -> tuple[list[Path], int]:
    """(those of these pictures that will be sorted, into how many groups)"""
    if len(paths) > MOST_SORTED:
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.choice(len(paths), MOST_SORTED, replace=False))
        paths = [paths[i] for i in chosen]
    return paths, min(MOST_GROUPS, max(2, len(paths) // PER_GROUP))


def group(crops: Crops, trainer: Trainer, end: str, batch: int) -> np.ndarray:
    """The number of each picture's group, -1 if unreadable: k-means of the
    strongest answer of each channel at layer `end`, which belongs to
    things, not to backgrounds.

    Raises DreamError if fewer than two can be read.
    """
    from scipy.cluster.vq import kmeans2
    from tqdm import tqdm

    strongest: list[np.ndarray] = []
    (paths,) = crops.groups
    views = crops.views(paths, batch)
    for data in tqdm(views, "sorting", -(-len(paths) // batch), leave=False, disable=None):
        trainer.forward(data)
        strongest += list(trainer.blob(end).max((2, 3)))
    if len(strongest) < 2:
        raise DreamError(f"there are no two pictures in {paths[0].parent} that can be read")
    lengths = np.linalg.norm(strongest, axis=1, keepdims=True)
    features = np.stack(strongest) / np.maximum(lengths, 1e-9)  # (pictures, channels)
    n = trainer.blob(HEAD).shape[1]
    rng = np.random.default_rng(crops.seed)
    with warnings.catch_warnings(action="ignore"):  # of groups that stay empty
        found = kmeans2(features - features.mean(0), n, minit="++", rng=rng)[1]
    numbers = np.full(len(paths), -1)
    numbers[[path not in crops.unreadable for path in paths]] = found
    return numbers


def split(paths: list[Path], numbers: np.ndarray) -> list[list[Path]]:
    """The pictures of each group."""
    used = np.unique(numbers[numbers >= 0])
    return [[path for path, n in zip(paths, numbers) if n == each] for each in used]
