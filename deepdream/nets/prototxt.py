"""A prototxt: the layers of a network, brought to one form that runs."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from ..errors import DreamError, reason, unknown
from . import asking, branches, disguises, layer_shapes
from .branches import Layers
from .caffemodel_pb2 import (
    LayerParameter,  # pyright: ignore[reportAttributeAccessIssue]
    NetParameter,  # pyright: ignore[reportAttributeAccessIssue]
)
from .feeding import feed
from .layer_shapes import TYPES, Layer
from .rewriting import rewrite
from .shapes import climbable, walk

# Those that are not just CamelCase of the old name
V1_NAMES = {
    **{"RELU": "ReLU", "LRN": "LRN", "TANH": "TanH", "ARGMAX": "ArgMax"},
    **{"MVN": "MVN", "BNLL": "BNLL", "ABSVAL": "AbsVal", "SOFTMAX_LOSS": "SoftmaxWithLoss"},
}
Rule = layer_shapes.Message  # a NetStateRule
TEST = 1  # the number of that phase in Caffe's files
TRAINING = "Accuracy", "DetectionEvaluate"  # and all losses


def read_prototxt(path: Path) -> NetParameter:
    """The NetParameter in a prototxt, brought to today's form by `upgrade`.

    It leaves out what a dream does not read. Raises DreamError for a wrong
    file.
    """
    disguises.check(path)
    found = NetParameter()
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        text_format.Parse(text, found, allow_unknown_field=True)
        upgrade(found)
    except (OSError, text_format.ParseError, ValueError, RecursionError) as error:
        fault = f"cannot read {path} as a Caffe prototxt"
        raise DreamError(f"{fault}: {reason(error)}") from None
    if not found.layer:
        raise DreamError(f"{path} describes no layers; a deploy.prototxt is needed")
    return found


def read_layers(path: Path) -> Layers:
    """The layers of a prototxt that can run, or a DreamError.

    Its input is called `data`, and those of other Caffes' types are
    rewritten in this one's. `cut` says what was left out: what is for
    training, what is unknown, and what reads that.
    """
    fed = feed(read_prototxt(path).layer, path)
    layers = Layers(rewrite(fed), fed.cut)
    for layer in layers:
        for name, value in _infinite(layer):
            what = f"{name} of layer {layer.name!r}"
            raise DreamError(f"{path}: {what} is {value}; it must be a finite number")
    left = branches.cut(layers, _why_cut)
    list(walk(left))  # it raises where a layer cannot run
    if left.cut and not climbable(left):
        raise DreamError(f"{path}: {next(iter(left.cut.values()))}")
    return left


def _why_cut(layer: Layer) -> str:
    """Why such a layer never runs in a dream; "" if it does."""
    kind = layer.type
    if kind == "Upsample" and len(layer.bottom) > 1:
        return "SegNet's Upsample, with two bottoms, is not in this Caffe"
    if kind in asking.TYPES:
        return asking.why_unknown(kind)
    if kind in TYPES:
        return ""
    if kind in TRAINING or "Loss" in kind:
        return f"{kind} is for training"
    advice = "a deploy.prototxt has only layers that run forward"
    error = unknown(f"layer type of layer {layer.name!r}:", kind, TYPES, advice)
    if kind.lower() in map(str.lower, TYPES):  # a slip of the pen
        raise error
    return str(error)


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
    """Bring it to today's form, without layers that its rules leave out.

    Raises ValueError for inputs of no shape.
    """
    for old in net.layers:
        types = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
        name = types[old.type].name
        name = V1_NAMES.get(name) or name.title().replace("_", "")
        new = net.layer.add(name=old.name, type=name)
        kept = set(new.DESCRIPTOR.fields_by_name) - {"name", "type", "param"}
        for field, value in old.ListFields():
            if field.name in kept:
                getattr(new, field.name).MergeFrom(value)
    layers = _choose(net.layer)
    inputs = _inputs_of_header(net, layers)
    del net.layer[:]
    net.layer.extend([*inputs, *layers])
    for old_form in ("layers", "input", "input_shape", "input_dim"):
        net.ClearField(old_form)


def _inputs_of_header(net: NetParameter, layers: list[Layer]) -> list[Layer]:
    """The inputs that the head of the file names, as layers."""
    dims = [list(shape.dim) for shape in net.input_shape]
    dims += [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
    given = [top for layer in layers if not layer.bottom for top in layer.top]
    names = [name for name in net.input if name not in given]
    if len(dims) != len(net.input) and names and not (given and not dims):
        raise ValueError(f"{len(net.input)} inputs, but {len(dims)} input shapes")
    inputs = []
    for name, dim in zip(net.input, dims):
        if name in names:
            data = LayerParameter(name=name, type="Input", top=[name])
            data.input_param.shape.add(dim=dim)
            inputs.append(data)
    return inputs


def _choose(layers: Iterable[Layer]) -> list[Layer]:
    """The layers of the phase TEST; if those have no input, of its stage "deploy"."""
    layers = list(layers)
    plain = [layer for layer in layers if _runs(layer, set())]
    if any(not layer.bottom for layer in plain) or not any(it.include for it in layers):
        return plain
    return [layer for layer in layers if _runs(layer, {"deploy"})]


def _runs(layer: Layer, stages: set[str]) -> bool:
    """Whether its rules have it run in the phase TEST, at level 0."""
    if layer.include:
        return any(_is_met(rule, stages) for rule in layer.include)
    return not any(_is_met(rule, stages) for rule in layer.exclude)


def _is_met(rule: Rule, stages: set[str]) -> bool:
    phase = not rule.HasField("phase") or rule.phase == TEST
    level = rule.min_level <= 0 and (not rule.HasField("max_level") or rule.max_level >= 0)
    asked, barred = set(rule.stage), set(rule.not_stage)
    return phase and level and asked <= stages and not barred & stages
