"""Weights from elsewhere: get them, verify them, and keep them in the cache."""

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DreamError, reason
from . import inputs, zoo
from .caffemodel import Weights, fit_weights, read_weights, weights_digest, write_weights
from .fetch import NotNowError, OfflineError, download, fetch
from .shapes import Layer
from .zoo import DEFAULT, FALLBACK, Model, Source

FORGET_AFTER = 3600  # seconds that a failed download is remembered
# What reading a file raises that holds something else than it should
WRONG = ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, StopIteration
TOLD = "told"  # a file in the cache: the warning that another network is used was given


class NoWeightsError(DreamError):
    """None of a model's sources gives its weights."""


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
    if found := model.weights():
        return found
    if not model.source or model.is_converted:
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
        raise _cannot_write(folder, error) from None


@contextmanager
def fetched(model: Model) -> Iterator[tuple[Path, Source]]:
    """The ONNX file that a model is made from, until the end of the block,
    and its source. Raises NoWeightsError, or DreamError if the cache cannot
    be written.
    """
    cache = zoo.cache()
    source = next(each for each in model.source if each["kind"] == "onnx")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=cache)
    except OSError as error:
        raise _cannot_write(cache, error) from None
    with folder as temporary:
        try:
            file = download(source["url"], Path(temporary), source["sha256"], progress=True)
            file = file.rename(file.with_name(f"{model.name}.onnx"))
        except OSError as error:
            raise _cannot_write(cache, error) from None
        except (*WRONG, DreamError) as error:
            why = "there is no connection to the network"
            if not isinstance(error, OfflineError):
                why = str(error)
            fault = f"{model.name} cannot be downloaded ({why})"
            cure = f"if you have the file, `deepdream models import FILE -o models/my_{model.name}`"
            raise NoWeightsError(f"{fault}; {cure}") from None
        yield file, source


def _cannot_write(folder: Path, error: OSError) -> DreamError:
    fault = f"cannot write to the cache, {folder}: {reason(error)}"
    return DreamError(f"{fault}; set XDG_CACHE_HOME to another folder")


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
                weights = fetch(source, needed, Path(temporary))
            weights = fit_weights(needed, weights, kind)
            if not _is_right(model, weights):
                raise DreamError("it holds other weights than it should")
            return weights
        except (*WRONG, DreamError) as error:
            errors.append((kind, error))  # an OSError is the cache's
    why = "; ".join(f"{kind}: {error}" for kind, error in errors)
    if all(isinstance(error, OfflineError) for _, error in errors):
        why = "there is no connection to the network"
    fault = f"the weights of {model.name} cannot be downloaded ({why})"
    message = f"{fault}; if you have the file, put it into {folder}"
    if not all(isinstance(error, NotNowError) for _, error in errors):
        (folder / "failed").write_text(message, encoding="utf-8", errors="surrogateescape")
    raise NoWeightsError(message)
