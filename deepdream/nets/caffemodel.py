"""A caffemodel: a network's weights, in Caffe's own format or its HDF5.

`prototxt` reads its layers.
"""

import hashlib
import math
import re
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import DreamError, install, reason
from ..paths import whole
from . import disguises
from .caffemodel_pb2 import BlobProto, NetParameter  # pyright: ignore[reportAttributeAccessIssue]
from .prototxt import read_layers as read_layers
from .prototxt import read_prototxt as read_prototxt
from .rewriting import fold
from .shapes import Layer, param_shapes

Weights = dict[str, list[np.ndarray]]
MOST_AXES = 32  # of a blob in Caffe


def read_weights(path: Path) -> Weights:
    """{layer: its blobs, float32} of a caffemodel (V1, V2 or HDF5), or a DreamError."""
    disguises.check(path)
    if disguises.read_head(path).startswith(disguises.HDF5):
        return _read_hdf5(path)
    net = NetParameter()
    try:
        net.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise DreamError(f"cannot read {path}: {reason(error)}") from None
    except DecodeError as error:
        if "alloc" in str(error):
            raise MemoryError from None
        fault = f"cannot read {path} as a caffemodel: {error}"
        raise DreamError(f"{fault}; it may be cut short: get it again") from None
    weights = {}
    for layer in [*net.layers, *net.layer]:
        if layer.blobs:
            weights[layer.name] = [_to_array(blob, layer.name, path) for blob in layer.blobs]
    if not weights:
        fault = f"{path} holds no weights: it is not a caffemodel, or an empty one"
        raise DreamError(f"{fault}; get it again")
    return weights


def _read_hdf5(path: Path) -> Weights:
    """As `read_weights`. A layer's blobs are data/LAYER/0, 1, ...; its name may
    have slashes.
    """
    try:
        import h5py
    except ImportError:
        fault = f"{path} is HDF5, which needs h5py"
        raise DreamError(f"{fault}; {install('h5py')}") from None
    found: dict[str, dict[int, np.ndarray]] = {}

    def read(name: str, item: object) -> None:
        layer, _, number = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and layer and re.fullmatch(r"\d{1,3}", number):
            found.setdefault(layer, {})[int(number)] = np.asarray(item, np.float32)

    try:
        with h5py.File(path) as file:
            layers = file.get("data")
            if isinstance(layers, h5py.Group):
                layers.visititems(read)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        fault = f"cannot read {path} as HDF5: {reason(error)}"
        raise DreamError(f"{fault}; it may be cut short: get it again") from None
    if not found:
        fault = f"{path} is HDF5, but holds no weights as Caffe writes them, in data/LAYER/0"
        cure = "a network of Keras is imported instead: see `deepdream models import`"
        raise DreamError(f"{fault}; {cure}")
    return {layer: [blobs[i] for i in sorted(blobs)] for layer, blobs in found.items()}


def read_blob(path: Path) -> np.ndarray:
    """The float32 array in a .binaryproto, or a DreamError."""
    blob = BlobProto()
    try:
        blob.ParseFromString(Path(path).read_bytes())
    except (OSError, DecodeError) as error:
        fault = f"cannot read {path} as a blob of Caffe: {reason(error)}"
        raise DreamError(f"{fault}; get it again, or remove it") from None
    return _to_array(blob, "mean", path)


def _to_array(blob: BlobProto, layer: str, path: Path) -> np.ndarray:
    old_shape = blob.num, blob.channels, blob.height, blob.width
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else old_shape
    raw = blob.data or blob.double_data
    dtype = np.dtype("<f4" if blob.data else "<f8")
    is_whole = len(raw) == math.prod(shape) * dtype.itemsize
    if not is_whole or min(shape, default=0) < 0 or len(shape) > MOST_AXES:
        fault = f"layer {layer!r} says {shape} but holds {len(raw)} bytes"
        raise DreamError(f"{path}: {fault}; the file is damaged: get it again")
    with np.errstate(over="ignore"):  # `fit_weights` refuses what becomes infinite
        return np.frombuffer(raw, dtype).astype(np.float32, copy=False).reshape(shape)


def write_weights(path: Path, weights: Weights) -> None:
    """Write a caffemodel in today's (V2) format, whole or a CannotWriteError."""
    net = NetParameter()
    for name, blobs in weights.items():
        layer = net.layer.add(name=name)
        for blob in blobs:
            message = layer.blobs.add(data=blob.astype("<f4").tobytes())
            message.shape.dim.extend(blob.shape)
    with whole(Path(path)) as part:
        part.write_bytes(net.SerializeToString())


def fit_weights(layers: list[Layer], weights: Weights, source: str | Path) -> Weights:
    """The weights that `layers` need, in their order, or a DreamError."""
    fitted = {}
    weights = fold(layers, weights)
    for layer, shapes in param_shapes(layers).items():
        blobs = weights.get(layer, [])
        # Old files pad every shape to four numbers, so ones do not count.
        squeezed = [[n for n in blob.shape if n != 1] for blob in blobs]
        if squeezed != [[n for n in shape if n != 1] for shape in shapes]:
            needed = ", ".join(map(str, shapes))
            found = ", ".join(str(blob.shape) for blob in blobs) or "none"
            fault = f"layer {layer!r} needs weights of the shapes {needed}"
            why = "it belongs to another network than the prototxt"
            raise DreamError(f"{source}: {fault}, but the file has {found}; {why}")
        if not all(np.isfinite(blob).all() for blob in blobs):
            fault = f"some weights of layer {layer!r} are infinite, or no numbers"
            raise DreamError(f"{source}: {fault}; get it again")
        fitted[layer] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes)]
    return fitted


def weights_digest(weights: Weights) -> str:
    """sha256 of names, a zero byte, blobs as little-endian float32."""
    digest = hashlib.sha256()
    for name, blobs in weights.items():
        digest.update(name.encode() + b"\0")
        for blob in blobs:
            digest.update(blob.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
