"""The one door to a network: `load_net` finds the model and an engine to run it."""

import mmap
import os
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import DreamError, install, unknown
from .base import Net

ENGINES = {"caffe": "`make caffe` builds and installs it", "torch": install("torch")}


def load_net(
    model: str | Path | None = None,
    engine: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Net:
    """A network ready to dream.

    model: a name from models/ ('bvlc_googlenet', 'squeezenet_v1.1'), or a folder with
    one .prototxt, one .caffemodel
        and perhaps a model.toml. None takes GoogLeNet if its weights are present or can
        be downloaded, else SqueezeNet, with a warning that says how to get GoogLeNet.
    engine: 'caffe' or 'torch'; None means DEEPDREAM_ENGINE, else Caffe if it is
    installed, else PyTorch. device: for torch, 'auto' (the default: 'cuda' if there is
    an NVIDIA GPU, else 'cpu'), 'cpu', 'cuda', 'mps'. dtype: for torch, 'auto' (the
    default: 'bfloat16' where the hardware multiplies it, else 'float32'), 'float32',
        'tf32' (between the two, on a GPU), 'bfloat16' (faster, less exact).

    Raises DreamError where the model, its files, the engine or the device are missing
    or damaged.
    """
    from . import zoo  # late, because it imports protobuf

    _load_scipy()
    engine = choose_engine(engine)
    check_device(engine, device, dtype)
    found = zoo.find(zoo.default() if model is None else model)
    if engine == "torch":
        from .torch import TorchNet

        return TorchNet(found, device, dtype)
    from .caffe import CaffeNet

    return CaffeNet(found)


def _load_scipy() -> None:
    """Import what a dream needs of SciPy while there is memory: its BLAS, at 40 MB a
    thread, waits for that forever.

    As much again is for the engine's own BLAS, which would end the process.
    """
    needed = 200_000_000 + 50_000_000 * min(64, os.cpu_count() or 1)
    try:
        mmap.mmap(-1, needed).close()
    except OSError:
        advice = "raise its limit (`ulimit -v`), or close other programs"
        raise DreamError(
            f"this process cannot get {needed / 1e6:.0f} MB of memory; {advice}"
        ) from None
    import scipy.ndimage  # noqa: F401


def check_device(engine: str, device: str | None, dtype: str | None = None) -> None:
    """Raise a DreamError if this is Caffe and something else is asked for than what it
    runs on.
    """
    if engine == "caffe" and (
        device not in (None, "auto", "cpu") or dtype not in (None, "auto", "float32")
    ):
        given = f"{device or 'cpu'} in {dtype or 'float32'}"
        raise DreamError(f"Caffe runs on the CPU in float32, not on {given}; choose engine 'torch'")


def choose_engine(engine: str | None, best_first: Iterable[str] = tuple(ENGINES)) -> str:
    """The engine asked for, here or by DEEPDREAM_ENGINE, else the first of these that
    can be imported.

    Raises DreamError if there is none; warns if one that is installed cannot be
    imported.
    """
    asked = engine or os.environ.get("DEEPDREAM_ENGINE")
    if asked and asked not in ENGINES:
        raise unknown("engine", asked, ENGINES, "set DEEPDREAM_ENGINE or the argument `engine`")
    engine, problem = _import_engine(
        [asked] if asked else [name for name in best_first if find_spec(name)]
    )
    if problem:
        warnings.warn(f"using {engine}, because {problem}", stacklevel=3)
    return engine


def _import_engine(names: list[str]) -> tuple[str, str]:
    """The first of these engines that can be imported, and why the one before it
    cannot; else a DreamError.
    """
    problems = []
    for name in names:
        try:
            import_module(f".{name}", __package__)
            return name, "; ".join(problems)
        except ImportError as error:
            problems.append(f"the engine {name!r} cannot be imported ({error}); {ENGINES[name]}")
    none = f"neither Caffe ({ENGINES['caffe']}) nor PyTorch ({ENGINES['torch']}) is installed; one is needed"
    raise DreamError("; ".join(problems) or none)
