"""Where networks come from: files of ONNX, torch's exported programs, modules."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DreamError, install, one_line, reason
from ..paths import temporary_folder, why_unreadable
from .plain import COLOURS, SIDE, Size, make_plain

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

MOST_BYTES = 2**31 - 1  # of a file of ONNX, and of Caffe's weights
TEXTS = ".onnxtxt", ".json", ".txt", ".textproto", ".prototxt", ".pbtxt"
KERAS = ".keras", ".h5", ".hdf5"
HDF5 = b"\x89HDF\r\n\x1a\n"
# How a file begins that torch.save wrote: a zip, or a pickle
TORCH = b"PK\x03\x04", b"\x80\x02"
TO_ONNX = "save it with onnx.save(model, 'net.onnx')"


class Source(NamedTuple):
    """A network to import, where it came from, and a name for it."""

    model: "ModelProto"
    origin: str
    name: str


def open_source(source: "str | Path | torch.nn.Module | ModelProto", size: Size | None) -> Source:
    """The network in an .onnx or .pt2 file, of a module, or of onnx, float32.

    Raises DreamError for what is none, or cannot become one of Caffe.
    """
    _need_onnx()
    if isinstance(source, (str, Path)):
        path = Path(source)
        model = load_pt2(path) if path.suffix.lower() == ".pt2" else load_onnx(path)
        return Source(model, f"{path.name}, sha256 {_hash(path)}", path.stem)
    kind = type(source).__name__
    from onnx import ModelProto

    if isinstance(source, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(source)
        return Source(make_plain(copy), "a network in memory", copy.graph.name or "network")
    if hasattr(source, "named_modules"):
        return Source(export(source, size), f"the PyTorch module {kind}", kind)
    fault = f"a network to import is an .onnx or .pt2 file or a torch.nn.Module, not {kind}"
    raise DreamError(fault)


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        fault = f"importing a network needs the package onnx ({reason(error)})"
        raise DreamError(f"{fault}; {install('onnx')}") from None


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_onnx(path: str | Path) -> "ModelProto":
    """The network in an .onnx file, as `make_plain` leaves it, or a DreamError."""
    _need_onnx()
    from onnx import ModelProto, external_data_helper

    path = Path(path)
    cannot = f"cannot import {path}"
    if fault := why_unreadable(path):
        raise DreamError(f"{cannot}: {fault}")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DreamError(f"{cannot}: it has more than 2 GB, which no file of Caffe may have")
        data = path.read_bytes()
    except OSError as error:
        raise DreamError(f"{cannot}: {reason(error)}") from None
    if fault := _other_kind(path, data[:512]):
        raise DreamError(f"{cannot}: {fault}")
    model = ModelProto()
    try:
        model.ParseFromString(data)
        is_onnx = model.ir_version > 0 and len(model.graph.node) > 0
    except Exception:  # protobuf's own, whose name depends on its version
        is_onnx = False
    if not is_onnx:
        raise DreamError(f"{cannot}: it is no network of ONNX, or a damaged one")
    del data
    _check_external(path, model)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # OSError, and onnx's own for paths that lead elsewhere
        raise DreamError(f"{cannot}: {one_line(reason(error))}") from None
    return make_plain(model)


def _other_kind(path: Path, start: bytes) -> str:
    """What a file is instead of ONNX, and what to do; empty if that is unknown."""
    suffix = path.suffix.lower()
    if suffix in KERAS or start.startswith(HDF5):
        return f"it is Keras'; `python -m tf2onnx.convert` makes {path.stem}.onnx of it first"
    if start.startswith(TORCH):
        call = f"net.load_state_dict(torch.load('{path.name}'))"
        then = "then deepdream.import_net(net, 'models/mine')"
        whole = "or net = torch.load(..., weights_only=False) if the whole network was saved"
        return f"it is PyTorch's own, mostly weights alone; in Python: {call}, {whole}, {then}"
    if start[8:9] == b"{" and suffix == ".safetensors":
        call = f"net.load_state_dict(safetensors.torch.load_file('{path.name}'))"
        then = "then deepdream.import_net(net, 'models/mine')"
        return f"it holds weights without the network; in Python: {call}, {then}"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` gets the file itself"
    is_text = bool(start) and all(32 <= byte < 127 or byte in b"\t\n\r" for byte in start)
    if b"layer" in start and is_text and b"ir_version" not in start:
        return "it is a network of Caffe already; give its folder to --model"
    if is_text or suffix in TEXTS:
        return f"it is text; {TO_ONNX}"
    return ""


def _check_external(path: Path, model: "ModelProto") -> None:
    """Raise a DreamError for weights in other files that are missing, or too large."""
    from onnx import TensorProto

    total = 0
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        about = {each.key: each.value for each in tensor.external_data}
        file = path.parent / about.get("location", "")
        if why := why_unreadable(file):
            fault = f"its weights are in {file.name}, which must lie beside it: {why}"
            raise DreamError(f"cannot import {path}: {fault}")
        total += int(about.get("length", 0))
    if total > MOST_BYTES:
        fault = "its weights have more than 2 GB, which no file of Caffe may have"
        raise DreamError(f"cannot import {path}: {fault}")


def load_pt2(path: Path) -> "ModelProto":
    """The network in a file of torch.export.save, or a DreamError."""
    if fault := why_unreadable(path):
        raise DreamError(f"cannot import {path}: {fault}")
    torch = _import_torch(f"reading {path.name}")
    try:
        with _quiet():
            program = torch.export.load(path)
    except Exception as error:  # a damaged file can raise nearly anything
        fault = f"it is no file of torch.export.save: {one_line(reason(error))}"
        raise DreamError(f"cannot import {path}: {fault}") from None
    return _export_new(program, None, path.name)


def export(module: "torch.nn.Module", size: Size | None) -> "ModelProto":
    """A module as it answers in eval mode; it is left as it was.

    Raises DreamError where PyTorch cannot export it.
    """
    torch = _import_torch("exporting a module")
    weight = next(module.parameters(), torch.zeros(1))
    shape = _picture_shape(module, size)
    picture = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    name = type(module).__name__
    with _eval_mode(module):
        _try(module, picture, name)
        try:
            return _export_new(module, picture, name)
        except DreamError as first:
            try:
                return _export_old(module, picture)
            except Exception:  # what is said of the new exporter is of more use
                raise first from None


def _try(module: "torch.nn.Module", picture: "torch.Tensor", name: str) -> None:
    """Raise a DreamError if the module does not take such a picture."""
    import torch

    try:
        with torch.no_grad(), _quiet():
            module(picture)
    except Exception as error:  # whatever the module raises
        shape = " x ".join(map(str, picture.shape))
        fault = f"{name} does not run on a picture of {shape} (`size` gives another)"
        why = one_line(reason(error).strip().splitlines()[0])
        raise DreamError(f"{fault}: {why}") from None


def _picture_shape(module: "torch.nn.Module", size: Size | None) -> tuple[int, ...]:
    """What a module takes: the channels last, if it is Keras'."""
    import torch

    keras = getattr(module, "input_shape", None)  # (None, height, width, channels)
    if isinstance(keras, tuple) and len(keras) == 4 and keras[3] in COLOURS:
        h, w = size or [side or SIDE for side in keras[1:3]]
        return 1, h, w, keras[3]
    filters = [each for each in module.modules() if isinstance(each, torch.nn.Conv2d)]
    first = filters[0].in_channels if filters else 3
    colours = first if first in COLOURS else 3  # it may rearrange the picture first
    return 1, colours, *(size or (SIDE, SIDE))


def _import_torch(purpose: str):
    try:
        import torch
    except ImportError:
        raise DreamError(f"{purpose} needs PyTorch; {install('torch')}") from None
    return torch


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _eval_mode(module: "torch.nn.Module") -> Iterator[None]:
    were = [(each, each.training) for each in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for each, was in were:
            each.training = was


def _export_new(
    module: "torch.nn.Module | torch.export.ExportedProgram",
    picture: "torch.Tensor | None",
    name: str,
) -> "ModelProto":
    """By torch.export, which knows the names of modules."""
    import torch

    args = () if picture is None else (picture,)
    try:
        with _quiet():
            made = torch.onnx.export(module, args, dynamo=True, verbose=False)
    except Exception as error:  # torch's own, of many kinds
        why = one_line(reason(_root(error)).strip().splitlines()[0])
        if isinstance(error, ImportError):
            why = f"it needs onnxscript; {install('onnxscript')}"
        raise DreamError(f"PyTorch cannot export {name} to ONNX: {why}") from None
    if made is None:  # as it says it could be
        raise DreamError(f"PyTorch cannot export {name} to ONNX")
    return make_plain(made.model_proto)


def _root(error: BaseException) -> BaseException:
    """What an error comes from; torch's own only counts the steps of exporting."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _export_old(module: "torch.nn.Module", picture: "torch.Tensor") -> "ModelProto":
    """By the older exporter, which only follows what the module does."""
    import torch
    from onnx import ModelProto

    with _quiet(), temporary_folder() as folder:
        path = folder / "net.onnx"
        torch.onnx.export(module, (picture,), path, dynamo=False, opset_version=17)
        return make_plain(ModelProto.FromString(path.read_bytes()))
