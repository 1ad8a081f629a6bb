"""Caffe's file formats: a prototxt has a network's layers, a caffemodel its weights."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from ..errors import DreamError, reason
from ..paths import whole
from .caffemodel_pb2 import BlobProto, NetParameter  # pyright: ignore[reportAttributeAccessIssue]
from .shapes import Layer, param_shapes, walk

Weights = dict[str, list[np.ndarray]]
# Those that are not just CamelCase of the old name
V1_NAMES = {"RELU": "ReLU", "LRN": "LRN", "TANH": "TanH"}
MOST_AXES = 32  # of a blob in Caffe
TRAIN = 0  # the number of that phase in Caffe's files


def read_prototxt(path: Path, net: NetParameter | None = None) -> NetParameter:
    """The NetParameter in a prototxt, brought to today's form by `upgrade`.

    net: an empty one of Caffe's own to read into, where an unknown field is
    an error; ours leaves out what a dream does not read. Raises DreamError
    for a wrong file.
    """
    found = NetParameter() if net is None else net
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        text_format.Parse(text, found, allow_unknown_field=net is None)
        upgrade(found)
    except (OSError, text_format.ParseError, ValueError, RecursionError) as error:
        fault = f"cannot read {path} as a Caffe prototxt"
        raise DreamError(f"{fault}: {reason(error)}") from None
    if not found.layer:
        raise DreamError(f"{path} describes no layers; a deploy.prototxt is needed")
    return found


def read_layers(path: Path) -> list[Layer]:
    """The layers of a deploy.prototxt, which can all run, or a DreamError."""
    layers = list(read_prototxt(path).layer)
    for layer in layers:
        for name, value in _infinite(layer):
            what = f"{name} of layer {layer.name!r}"
            raise DreamError(f"{path}: {what} is {value}; it must be a finite number")
    inputs = [top for layer in layers if layer.type == "Input" for top in layer.top]
    if inputs != ["data"]:
        needs = "a dream needs one, called 'data' (a deploy.prototxt has it)"
        raise DreamError(f"{path} has the inputs {inputs}; {needs}")
    data = next(walk(layers)).tops[0]
    if len(data) != 4 or data[1] not in (1, 3):
        needs = "a dream needs (n, 3, height, width), or one channel of grey"
        raise DreamError(f"{path}: 'data' has the shape {data}; {needs}")
    list(walk(layers))  # it raises where a layer cannot run
    return layers


def _infinite(message: Message) -> Iterator[tuple[str, float]]:
    """(name, value) of each number in a message that is not finite."""
    for field, value in message.ListFields():
        is_one = isinstance(value, (Message, float, int, str, bytes))
        for each in [value] if is_one else value:
            if isinstance(each, Message):
                yield from _infinite(each)
            elif isinstance(each, float) and not math.isfinite(each):
                yield field.name, each


def upgrade(net: NetParameter) -> None:
    """Bring ours or Caffe's to today's form, or a ValueError for inputs of no shape."""
    for old in net.layers:
        types = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
        name = types[old.type].name
        name = V1_NAMES.get(name) or name.title().replace("_", "")
        new = net.layer.add(name=old.name, type=name)
        kept = set(new.DESCRIPTOR.fields_by_name) - {"name", "type", "param"}
        for field, value in old.ListFields():
            if field.name in kept:
                getattr(new, field.name).MergeFrom(value)
    dims = [list(shape.dim) for shape in net.input_shape]
    dims += [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
    if len(dims) != len(net.input):
        raise ValueError(f"{len(net.input)} inputs, but {len(dims)} input shapes")
    layers = [layer for layer in net.layer if not _only_trains(layer)]
    del net.layer[:]
    for name, dim in zip(net.input, dims):
        data = net.layer.add(name=name, type="Input", top=[name])
        data.input_param.shape.add(dim=dim)
    net.layer.extend(layers)
    for old_form in ("layers", "input", "input_shape", "input_dim"):
        net.ClearField(old_form)


def _only_trains(layer: Layer) -> bool:
    phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
    return phases == {TRAIN}


def read_weights(path: Path) -> Weights:
    """{layer: its blobs, float32} of a caffemodel (V1 or V2), or a DreamError."""
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
