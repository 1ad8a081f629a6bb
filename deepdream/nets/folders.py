"""A folder as the Model Zoo has them: which of its prototxts is to run, and
what its files say of the pictures that the network wants.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DreamError, reason
from ..paths import why_unreadable
from . import disguises
from .caffemodel import read_blob
from .layer_shapes import Layer, Message
from .prototxt import read_prototxt

PROTOTXT = ".prototxt", ".protxt"
WEIGHTS = ".caffemodel", ".h5"
SOLVER = r"^\s*(base_lr|max_iter|train_net|net)\s*:"
INPUT = r"type\s*:\s*[\"']Input[\"']|^\s*input(_dim|_shape)?\s*[:{]"
PIXELS = r"\b(scale|mean_value|mean_file)\s*:"


class Said(NamedTuple):
    """What a file says. value: three numbers, BGR, or one. source: the file's name."""

    value: list[float] | float
    source: str


def choose(paths: list[Path]) -> list[Path]:
    """Those to use of several prototxts, or files of weights: one if that is clear."""
    if len(paths) < 2:
        return paths
    if paths[0].suffix.lower() in PROTOTXT:
        return _choose_prototxt(paths)
    kinds = [WEIGHTS.index(path.suffix.lower()) for path in paths]
    return [path for path, kind in zip(paths, kinds) if kind == min(kinds)]


def _choose_prototxt(paths: list[Path]) -> list[Path]:
    """Not a solver; rather `deploy` than one of that name, or one with an Input."""
    nets = [path for path in paths if not _is_solver(path)] or paths
    ranks = [_rank(path) for path in nets]
    return [path for path, rank in zip(nets, ranks) if rank == max(ranks)]


def _rank(path: Path) -> tuple[bool, bool, bool]:
    stem = path.stem.lower()
    return stem == "deploy", "deploy" in stem, _says(INPUT, path)


def _is_solver(path: Path) -> bool:
    return "solver" in path.stem.lower() or _says(SOLVER, path)


def _says(pattern: str, path: Path) -> bool:
    """Whether a line of the file, but for its comment, matches."""
    if why_unreadable(path):
        return False
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return False
    text = re.sub("#.*", "", text)
    return bool(re.search(pattern, text, re.MULTILINE))


def find_importable(files: list[Path]) -> str:
    """How a network of another program, if one is there, becomes Caffe's; or ""."""
    for path in files:
        suffix = path.suffix.lower()
        if suffix in (".onnx", ".pt2"):
            return f"`deepdream models import {path} -o models/NAME` makes a network of that file"
        if suffix in (".pth", ".pt", ".safetensors"):
            what = f"{path.name} holds weights of PyTorch"
            return f"{what}; `deepdream.import_net(module, 'models/NAME')` takes their module"
    return ""


def read_said(files: list[Path]) -> dict[str, Said]:
    """{"mean": what says it, "scale": likewise}, as far as the files do.

    Raises DreamError for a mean that cannot be read, or several.
    """
    kinds = [path for path in files if path.suffix.lower() in PROTOTXT]
    first = choose(kinds)
    rest = [path for path in kinds if path not in first and not _is_solver(path)]
    found: dict[str, Said] = {}
    named = ""
    for path in [*first, *rest]:
        layer = _find_source(path)
        if layer is not None:
            found, named = _read_layer(layer, path.name)
            break
    if "mean" in found:
        return found
    mean = _find_mean(files, named)
    if mean:
        found["mean"] = Said(_read_mean(mean), mean.name)
    elif "scale" in found and not named:  # Caffe subtracts nothing that is not said
        found["mean"] = Said([0.0] * 3, found["scale"].source)
    return found


def _find_source(path: Path) -> Layer | None:
    """The layer of a prototxt that says what to do with pictures, if any."""
    if not _says(PIXELS, path):
        return None
    with suppress(DreamError):  # `read_layers` raises it for the one that runs
        for layer in read_prototxt(path).layer:
            if not layer.bottom and any(_parts(layer)):
                return layer
    return None


def _parts(layer: Layer) -> Iterator[Message]:
    """What a layer has of mean and scale; files before 2014 have it in `data_param`."""
    for name in ("transform_param", "data_param", "image_data_param", "window_data_param"):
        part = getattr(layer, name)
        given = {field.name for field, _ in part.ListFields()}
        if given & {"scale", "mean_file", "mean_value"}:
            yield part


def _read_layer(layer: Layer, source: str) -> tuple[dict[str, Said], str]:
    """(what it says, the name of the file with its mean)"""
    found: dict[str, Said] = {}
    named = ""
    for part in _parts(layer):
        values = list(getattr(part, "mean_value", []))
        if len(values) in (1, 3):
            found["mean"] = Said((values * 3)[:3], source)
        if part.HasField("scale"):
            found["scale"] = Said(round(part.scale, 8), source)
        if part.HasField("mean_file"):
            named = Path(part.mean_file).name
    return found, named


def _find_mean(files: list[Path], named: str) -> Path | None:
    """The file with the mean: the one named, mean.npy, or .binaryproto, or None."""
    arrays = [path for path in files if path.suffix.lower() == ".npy"]
    arrays = [path for path in arrays if "mean" in path.stem.lower()]
    protos = [path for path in files if path.suffix.lower() == ".binaryproto"]
    found = [path for path in files if path.name == named] or arrays or protos
    if len(found) > 1:
        clash = " and ".join(path.name for path in found)
        cure = "leave only one, or write `mean = [blue, green, red]` into its model.toml"
        raise DreamError(f"{found[0].parent} holds {clash}; {cure}")
    return found[0] if found else None


def _read_mean(path: Path) -> list[float]:
    """The mean of each colour, from a picture of means, or a DreamError."""
    if fault := why_unreadable(path):
        raise DreamError(f"cannot read {path}: {fault}")
    disguises.check(path)
    array = read_blob(path) if path.suffix.lower() == ".binaryproto" else _read_array(path)
    array = array.reshape(array.shape[1:]) if array.ndim == 4 and len(array) == 1 else array
    if array.ndim == 2:  # grey
        array = array[None]
    if array.ndim not in (1, 3) or len(array) not in (1, 3) or not array.size:
        must = "it must be (3, height, width): blue, green, red"
        raise DreamError(f"{path} has the shape {array.shape}; {must}")
    mean = array.reshape(len(array), -1).mean(1, dtype=float)
    return [round(float(value), 4) for value in mean] * (3 // len(mean))


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
        return np.asarray(array, np.float32)
    except (OSError, ValueError, TypeError, EOFError) as error:
        fault = f"cannot read {path} as an array of NumPy: {reason(error)}"
        raise DreamError(f"{fault}; get it again, or remove it") from None
