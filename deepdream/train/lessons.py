"""Pictures to learn from: find them, keep some out for a test, cut batches of crops."""

import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DreamError
from ..nets.base import to_data
from ..pictures import MOST_PIXELS, READABLE, is_picture, load_image, open_picture, to_image

if TYPE_CHECKING:
    import PIL.Image

CROP = 0.5, 1.0  # least and largest side of a crop, as a share of the largest that fits
SMALLEST = 32  # pixels of a picture's shorter side
MOST_TESTED = 400  # pictures
CACHED = 256  # pictures that are kept in memory, reduced
ALLOWED = ", ".join(READABLE)
Groups = list[list[Path]]  # pictures of one kind each
# Data (n, 3, h, w) float32, BGR minus the mean; classes (n,), whole numbers
Batch = tuple[np.ndarray, np.ndarray]


class Lesson(NamedTuple):
    """For `on_step` of `train`: steps done, loss, and the share of right classes."""

    step: int
    loss: float
    accuracy: float


def find_classes(folder: str | Path) -> dict[str, list[Path]]:
    """{class: pictures}, from a folder for each; {"": pictures} if there
    are no folders.

    Warns about those left out; raises DreamError if too few are left.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        is_file = os.path.exists(folder)
        fault = f"{folder} is a file" if is_file else f"there is no folder {folder}"
        raise DreamError(f"{fault}; give a folder with a folder of pictures for each class")
    left_out: dict[Path, str] = {}  # and why
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        folders = [path for path in inside if path.is_dir()]
        found = {path: _find_pictures(path.rglob("*"), left_out) for path in folders}
        loose = _find_pictures(inside, left_out)
    except OSError as error:
        raise DreamError(f"cannot read {folder}: {error.strerror or error}") from None
    classes: dict[str, list[Path]] = {}
    for path, pictures in found.items():
        if pictures:
            classes.setdefault(_class_name(path), []).extend(pictures)
        else:
            left_out[path] = "there is no picture in it"
    if not classes:
        classes = {"": loose}
    elif loose:
        left_out |= dict.fromkeys(loose, "it lies in no class's folder")
    if sum(map(len, classes.values())) < 2:
        fault = f"there are no two pictures in {folder} that can be read"
        size = f"each of at least {SMALLEST}x{SMALLEST} pixels"
        raise DreamError(f"{fault}; give {ALLOWED}, {size}")
    if left_out:
        some = "; ".join(f"{path} ({why})" for path, why in [*left_out.items()][:3])
        more = "; ..." if len(left_out) > 3 else ""
        warnings.warn(f"left out, {len(left_out)} in all: {some}{more}", stacklevel=3)
    if len(classes) == 1 and "" not in classes:
        raise _one_class(folder, next(iter(classes)), found)
    return classes


def _one_class(folder: Path, name: str, found: dict[Path, list[Path]]) -> DreamError:
    alone = next(path for path in found if _class_name(path) == name)
    why = "to learn from its pictures without classes"
    if any(path.parent != alone for path in found[alone]):
        why = "if its folders are the classes"
    need = f"two are needed to tell apart; {why}, give {alone}"
    return DreamError(f"{folder} has one class only, {name!r}, and {need}")


def _class_name(folder: Path) -> str:
    name = os.fsencode(folder.name).decode(errors="replace")
    return " ".join(name.replace("_", " ").split()) or name


def _find_pictures(paths: Iterable[Path], left_out: dict[Path, str]) -> list[Path]:
    """Those that can be used; others that are not hidden are added to `left_out`."""
    found = []
    for path in sorted(paths):
        if path.name.startswith(".") or not os.path.isfile(path):
            continue
        if fault := _find_fault(path):
            left_out[path] = fault
        else:
            found.append(path)
    return found


def _find_fault(path: Path) -> str:
    """Why a file cannot be used, as its name and first bytes show; empty if it can."""
    if not is_picture(path.name):
        return f"only {ALLOWED} are read"
    try:
        with open_picture(path) as image:
            width, height = image.size
    except DreamError:
        return "it cannot be read"
    if min(width, height) < SMALLEST:
        return f"it has only {width}x{height} pixels"
    if width * height > MOST_PIXELS:
        return f"it has more than {MOST_PIXELS:,} pixels"
    return ""


class Crops:
    """Random crops, which depend on seed and step alone: a training can be resumed.

    groups: pictures to learn, a list for each class. tested: those kept
    out. size: (h, w) of a crop. mean: of blue, green and red.
    """

    def __init__(
        self, groups: Groups, keep_out: float, size: tuple[int, int], mean: list[float], seed: int
    ) -> None:
        self.size = size
        self.mean = np.array(mean, np.float32).reshape(3, 1, 1)
        self.seed = seed
        self.groups: Groups = []
        self.tested: Groups = []
        self.unreadable: set[Path] = set()  # as far as it was tried
        side = 2 * max(size)
        self._read = lru_cache(CACHED)(lambda path: to_image(load_image(path, side=side)))
        for number, paths in enumerate(groups):
            order = np.random.default_rng((seed, number)).permutation(len(paths))
            most = min(len(paths) - 1, math.ceil(MOST_TESTED / len(groups)))
            n = min(most, max(1, round(keep_out * len(paths)))) if keep_out else 0
            self.tested.append([paths[i] for i in sorted(order[:n])])
            self.groups.append([paths[i] for i in sorted(order[n:])])

    def batches(self, first: int, last: int, n: int) -> Iterator[Batch]:
        """Batches of n from the step `first` on, each made while one is learnt."""
        with ThreadPoolExecutor(1) as pool:
            steps = range(first, last)
            begun = (pool.submit(self.make_batch, step, n) for step in steps)
            ahead = next(begun, None)  # begins when it is asked for
            while ahead:
                batch = ahead.result()
                ahead = next(begun, None)
                yield batch

    def make_batch(self, step: int, n: int) -> Batch:
        """The batch for one step: classes, pictures and crops are random."""
        rng = np.random.default_rng((self.seed, step))
        classes = rng.integers(len(self.groups), size=n)
        crops = []
        for number in classes:
            group = self.groups[number]
            image = self._pick(group, int(rng.integers(len(group))))
            scale = rng.uniform(*CROP)
            x, y, side = rng.random(3)
            crops.append(self.cut(image, scale, x, y, side < 0.5))
        return self._data(crops), classes

    def views(self, paths: list[Path], n: int) -> Iterator[np.ndarray]:
        """Each picture's middle, (n, 3, h, w), up to n at once, if it can be read."""
        images = filter(None, map(self._try, paths))
        while part := list(islice(images, n)):
            yield self._data([self.cut(image, 1, 0.5, 0.5, False) for image in part])

    def cut(
        self, image: "PIL.Image.Image", scale: float, x: float, y: float, mirrored: bool
    ) -> np.ndarray:
        """A crop at the network's size, (h, w, 3). scale: 1 is most. x, y: 0..1."""
        from PIL import Image

        h, w = self.size
        unit = scale * min(image.width / w, image.height / h)
        left = max(0, x * (image.width - unit * w))
        top = max(0, y * (image.height - unit * h))
        right = min(image.width, left + unit * w)  # rounding goes too far
        bottom = min(image.height, top + unit * h)
        crop = image.resize((w, h), Image.Resampling.BILINEAR, (left, top, right, bottom))
        return np.asarray(crop, np.float32)[:, :: -1 if mirrored else 1]

    def _data(self, crops: list[np.ndarray]) -> np.ndarray:
        return np.stack([to_data(crop, self.mean) for crop in crops])

    def _pick(self, group: list[Path], i: int) -> "PIL.Image.Image":
        """Picture i of the group, or the next that can be read."""
        for path in group[i:] + group[:i]:
            if image := self._try(path):
                return image
        raise DreamError(f"none of the pictures in {group[0].parent} can be read")

    def _try(self, path: Path) -> "PIL.Image.Image | None":
        if path not in self.unreadable:
            try:
                return self._read(path)
            except DreamError as error:
                self.unreadable.add(path)
                warnings.warn(f"{error}; it is left out", stacklevel=2)
        return None


def fingerprint(groups: Groups) -> str:
    """What tells these pictures from others: sha256 of their names and lengths."""
    digest = hashlib.sha256()
    for path in (path for group in groups for path in group):
        line = f"{path.parent.name}/{path.name} {path.stat().st_size}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()
