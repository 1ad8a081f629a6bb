"""Caffe's two file formats: prototxt (the layers of a network) and caffemodel (their
weights). No engine needed.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from ..errors import DreamError, reason
from ..paths import whole
from .caffemodel_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue], made when it is imported
from .shapes import Layer, param_shapes, walk

Weights = dict[str, list[np.ndarray]]
V1_NAMES = {
    "RELU": "ReLU",
    "LRN": "LRN",
    "TANH": "TanH",
}  # those that are not just CamelCase of the old name
MOST_AXES = 32  # of a blob in Caffe
TRAIN = 0  # the number of that phase in Caffe's files


def read_prototxt(path: Path, net: Message | None = None) -> NetParameter:
    """The NetParameter in a prototxt, brought to today's form by `upgrade`.

    net: an empty NetParameter of Caffe's own to read into; a field that it does not
    have is then an error. Without it, the result is a NetParameter of ours, which
    leaves out what a dream does not read.
    """
    found: Any = NetParameter() if net is None else net
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        text_format.Parse(text, found, allow_unknown_field=net is None)
        upgrade(found)
    except (OSError, text_format.ParseError, ValueError, RecursionError) as error:
        raise DreamError(f"cannot read {path} as a Caffe prototxt: {reason(error)}") from None
    if not found.layer:
        raise DreamError(f"{path} describes no layers; a deploy.prototxt is needed")
    return found


def read_layers(path: Path) -> list[Layer]:
    """The layers of a deploy.prototxt in file order, checked: types, names,
    connections, one `data` input.
    """
    layers = list(read_prototxt(path).layer)
    for layer in layers:
        for name, value in _infinite(layer):
            raise DreamError(
                f"{path}: {name} of layer {layer.name!r} is {value}; it must be a finite number"
            )
    inputs = [top for layer in layers if layer.type == "Input" for top in layer.top]
    if inputs != ["data"]:
        raise DreamError(
            f"{path} has the inputs {inputs}; a dream needs one, called 'data' (a deploy.prototxt has it)"
        )
    data = next(walk(layers)).tops[0]
    if len(data) != 4 or data[1] != 3:
        raise DreamError(
            f"{path}: 'data' has the shape {data}; a dream needs (n, 3, height, width)"
        )
    for _ in walk(layers):
        pass  # it raises where a layer cannot run
    return layers


def _infinite(message: Message) -> Iterator[tuple[str, float]]:
    """(name, value) of each number in a message, and in the messages inside it, that is
    infinite or NaN.
    """
    for field, value in message.ListFields():
        for each in [value] if isinstance(value, (Message, float, int, str, bytes)) else value:
            if isinstance(each, Message):
                yield from _infinite(each)
            elif isinstance(each, float) and not math.isfinite(each):
                yield field.name, each


def upgrade(net: NetParameter) -> None:
    """Bring a NetParameter, ours or Caffe's, to today's form: no V1 `layers`, `input:`
    header or training layers.
    """
    for old in net.layers:
        name = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[old.type].name
        new = net.layer.add(name=old.name, type=V1_NAMES.get(name) or name.title().replace("_", ""))
        for field, value in old.ListFields():
            if (
                field.name not in ("name", "type", "param")
                and field.name in new.DESCRIPTOR.fields_by_name
            ):
                getattr(new, field.name).MergeFrom(value)
    dims = [list(shape.dim) for shape in net.input_shape]
    dims += [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
    if len(dims) != len(net.input):
        raise ValueError(f"{len(net.input)} inputs, but {len(dims)} input shapes")
    layers = [layer for layer in net.layer if not _only_trains(layer)]
    del net.layer[:]
    for name, dim in zip(net.input, dims):
        net.layer.add(name=name, type="Input", top=[name]).input_param.shape.add(dim=dim)
    net.layer.extend(layers)
    for old_form in ("layers", "input", "input_shape", "input_dim"):
        net.ClearField(old_form)


def _only_trains(layer: Layer) -> bool:
    phases = {rule.phase for rule in layer.include if rule.HasField("phase")}
    return phases == {TRAIN}


def read_weights(path: Path) -> Weights:
    """All blobs of a caffemodel (V1 or V2 layers), float32, by layer name; layers
    without blobs are left out.
    """
    net = NetParameter()
    try:
        net.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise DreamError(f"cannot read {path}: {reason(error)}") from None
    except DecodeError as error:
        if "alloc" in str(error):
            raise MemoryError from None
        raise DreamError(
            f"cannot read {path} as a caffemodel: {error}; it may be cut short: get it again"
        ) from None
    weights = {}
    for layer in [*net.layers, *net.layer]:
        weights[layer.name] = [_to_array(blob, layer.name, path) for blob in layer.blobs]
    weights = {name: blobs for name, blobs in weights.items() if blobs}
    if not weights:
        raise DreamError(
            f"{path} holds no weights: it is not a caffemodel, or an empty one; get it again"
        )
    return weights


def _to_array(blob: Any, layer: str, path: Path) -> np.ndarray:
    """The values of a BlobProto, float32, in its shape."""
    old_shape = blob.num, blob.channels, blob.height, blob.width
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else old_shape
    if blob.data:
        raw, dtype = blob.data, np.dtype("<f4")
    else:
        raw, dtype = blob.double_data, np.dtype("<f8")
    if (
        len(raw) != math.prod(shape) * dtype.itemsize
        or min(shape, default=0) < 0
        or len(shape) > MOST_AXES
    ):
        raise DreamError(
            f"{path}: layer {layer!r} says {shape} but holds {len(raw)} bytes; the file is damaged: get it again"
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused by `fit_weights`
        return np.frombuffer(raw, dtype).astype(np.float32, copy=False).reshape(shape)


def write_weights(path: Path, weights: Weights) -> None:
    """Write a caffemodel in today's (V2) format, whole or not at all."""
    net = NetParameter()
    for name, blobs in weights.items():
        layer = net.layer.add(name=name)
        for blob in blobs:
            layer.blobs.add(data=blob.astype("<f4").tobytes()).shape.dim.extend(blob.shape)
    with whole(Path(path)) as part:
        part.write_bytes(net.SerializeToString())


def fit_weights(layers: list[Layer], weights: Weights, source: str | Path) -> Weights:
    """The weights that `layers` need, in their shapes and order; a DreamError where one
    is missing or does not fit.
    """
    fitted = {}
    for layer, shapes in param_shapes(layers).items():
        blobs = weights.get(layer, [])
        # Old files pad every shape to four numbers, so ones do not count.
        squeezed = [[n for n in blob.shape if n != 1] for blob in blobs]
        if squeezed != [[n for n in shape if n != 1] for shape in shapes]:
            needed = ", ".join(map(str, shapes))
            found = ", ".join(str(blob.shape) for blob in blobs) or "none"
            raise DreamError(
                f"{source}: layer {layer!r} needs weights of the shapes {needed}, but the file has {found}; it belongs "
                "to another network than the prototxt"
            )
        if not all(np.isfinite(blob).all() for blob in blobs):
            raise DreamError(
                f"{source}: some weights of layer {layer!r} are infinite, or no numbers; get it again"
            )
        fitted[layer] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes)]
    return fitted


def weights_digest(weights: Weights) -> str:
    """sha256 over each layer's name, a zero byte and its blobs as little-endian
    float32, whatever the file's format.
    """
    digest = hashlib.sha256()
    for name, blobs in weights.items():
        digest.update(name.encode() + b"\0")
        for blob in blobs:
            digest.update(blob.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
