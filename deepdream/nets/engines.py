"""The one door to a network: `load_net` finds the model and an engine to
run it. `Net` says what makes an engine.
"""

import mmap
import os
import sys
import warnings
from collections.abc import Collection, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import DreamError, install, unknown
from ..settings import ROWS
from .base import Net
from .scaling import warn_unscaled
from .shapes import Size

if TYPE_CHECKING:
    from torch.nn import Module

# {name: how to install it}
ENGINES = {name: install(name) for name in ROWS["engine"].choices}
ENGINES["caffe"] = "`make caffe` builds and installs it"


def load_net(
    model: "str | Path | Module | None" = None, engine: str | None = None,
    device: str | None = None, dtype: str | None = None, *,
    mean: Iterable[float] | None = None, std: Iterable[float] | None = None,
    order: str | None = None, size: int | Size | None = None,
    labels: Collection[str] | str | None = None,
) -> Net:  # fmt: skip
    """A network ready to dream.

    model: a name from models/, such as 'bvlc_googlenet', or a folder with one
        .prototxt, one .caffemodel and perhaps a model.toml. None takes
        GoogLeNet if its weights can be had, else SqueezeNet, with a
        warning.
    engine: 'caffe' or 'torch'; None: DEEPDREAM_ENGINE, else Caffe if it is
        installed.
    device: for torch, 'cpu', 'cuda', 'mps' or 'auto', an NVIDIA GPU if
        there is one.
    dtype: for torch, 'float32', 'tf32' (less exact, on a GPU), 'bfloat16'
        (still less exact, faster) or 'auto', the fastest in hardware.

    A torch.nn.Module of any kind can be dreamt, too, by PyTorch alone, where
    and as it is: its layers are its submodules, by their names. For it:
    mean, std: of its training pictures, red, green and blue, 0..1; None:
    ImageNet's. order: 'rgb' or 'bgr', the colours as it reads them; None:
    'rgb'. size: of its training pictures, pixels or (h, w); None: 224.
    labels: the names of its classes, or 'imagenet'.

    Raises DreamError where the model, its files, the engine or the device
    are missing or damaged.
    """
    from . import download, zoo  # late, because they import protobuf

    _load_scipy()
    about = {"mean": mean, "std": std, "order": order, "size": size, "labels": labels}
    if _is_module(model):
        return _load_module(model, engine, device, dtype, about)
    given = _check_given(model, about)
    engine = choose_engine(engine)
    check_device(engine, device, dtype)
    found = zoo.find(download.default() if given is None else given)
    make = getattr(import_module(f".{engine}", __package__), f"{engine.title()}Net")
    net = make(found, device, dtype)
    warn_unscaled(net)
    return net


def _check_given(model: object, about: dict[str, Any]) -> str | Path | None:
    """The name or folder, or a DreamError, also for what only a module takes."""
    given = [name for name, value in about.items() if value is not None]
    if given:
        fault = f"{' and '.join(given)}: only a torch.nn.Module needs that"
        raise DreamError(f"{fault}; a folder says it in its model.toml")
    if model is None or isinstance(model, (str, Path)):
        return model
    if isinstance(model, Net):
        raise DreamError("this is a network that is loaded already; use it as it is")
    kind = type(model).__name__
    must = "it takes the name of a network, a folder, or a torch.nn.Module"
    cure = "weights alone need their module: module.load_state_dict(weights)"
    raise DreamError(f"`load_net` cannot use {kind!r}: {must}; {cure}")


def _is_module(model: object) -> "TypeGuard[Module]":
    """Whether it is a torch.nn.Module, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _load_module(
    module: "Module", engine: str | None, device: str | None, dtype: str | None,
    about: dict[str, Any],
) -> Net:  # fmt: skip
    """A torch.nn.Module as a network. Raises as `load_net`."""
    if engine not in (None, "torch"):
        fault = f"{type(module).__name__} is a torch.nn.Module, which {engine} cannot run"
        raise DreamError(f"{fault}; leave out the argument `engine`")
    from .modules import ModuleNet, Reading  # late, because it imports torch

    return ModuleNet(module, device, dtype, Reading(**about))


def _load_scipy() -> None:
    """Import SciPy while there is memory: its BLAS, at 40 MB a thread,
    waits for that forever, and the engine's own would end the process.
    """
    needed = 200_000_000 + 50_000_000 * min(64, os.cpu_count() or 1)
    try:
        mmap.mmap(-1, needed).close()
    except OSError:
        advice = "raise its limit (`ulimit -v`), or close other programs"
        fault = f"this process cannot get {needed / 1e6:.0f} MB of memory"
        raise DreamError(f"{fault}; {advice}") from None
    import scipy.ndimage  # noqa: F401


def check_device(engine: str, device: str | None, dtype: str | None = None) -> None:
    """Raise a DreamError unless this engine can run so."""
    runs = device in (None, "auto", "cpu") and dtype in (None, "auto", "float32")
    if engine == "caffe" and not runs:
        given = f"{device or 'cpu'} in {dtype or 'float32'}"
        fault = f"Caffe runs on the CPU in float32, not on {given}"
        raise DreamError(f"{fault}; choose engine 'torch'")


def _wait_quietly(engine: str) -> None:
    """Before torch is imported: threads that wait for others sleep. By
    default they spin, which on a busy machine takes several times as long.
    """
    if engine == "torch" and "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def choose_engine(engine: str | None, best_first: Iterable[str] = tuple(ENGINES)) -> str:
    """The one asked for, or the first to be had, or a DreamError."""
    asked = engine or os.environ.get("DEEPDREAM_ENGINE")
    if asked and asked not in ENGINES:
        advice = "set DEEPDREAM_ENGINE or the argument `engine`"
        raise unknown("engine", asked, ENGINES, advice)
    names = [asked] if asked else [name for name in best_first if find_spec(name)]
    problems = []
    for name in names:
        _wait_quietly(name)
        try:
            import_module(f".{name}", __package__)
        except ImportError as error:
            fault = f"the engine {name!r} cannot be imported ({error})"
            problems.append(f"{fault}; {ENGINES[name]}")
            continue
        if problems:
            warnings.warn(f"using {name}, because {'; '.join(problems)}", stacklevel=3)
        return name
    ways = " nor ".join(f"{name} ({how})" for name, how in ENGINES.items())
    none = f"neither {ways} is installed; one is needed"
    raise DreamError("; ".join(problems) or none)
