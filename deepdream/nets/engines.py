"""The one door to a network: `load_net` finds the model and an engine to
run it. `Net` says what makes an engine.
"""

import mmap
import os
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import DreamError, install, unknown
from ..settings import ROWS
from .base import Net
from .scaling import warn_unscaled

# {name: how to install it}
ENGINES = {name: install(name) for name in ROWS["engine"].choices}
ENGINES["caffe"] = "`make caffe` builds and installs it"


def load_net(
    model: str | Path | None = None, engine: str | None = None,
    device: str | None = None, dtype: str | None = None,
) -> Net:  # fmt: skip
    """A network ready to dream.

    model: a name from models/, such as 'bvlc_googlenet', or a folder with one
        .prototxt, one .caffemodel and perhaps a model.toml. None takes
        GoogLeNet if its weights can be had, else SqueezeNet, with a
        warning.
    engine: 'caffe' or 'torch'; None: DEEPDREAM_ENGINE, else Caffe if it is
    installed. device: for torch, 'cpu', 'cuda', 'mps' or 'auto', an NVIDIA
    GPU if there is one. dtype: for torch, 'float32', 'tf32' (less exact, on
    a GPU), 'bfloat16' (still less
        exact, faster) or 'auto', the fastest in hardware.

    Raises DreamError where the model, its files, the engine or the device
    are missing or damaged.
    """
    from . import download, zoo  # late, because they import protobuf

    _load_scipy()
    engine = choose_engine(engine)
    check_device(engine, device, dtype)
    found = zoo.find(download.default() if model is None else model)
    make = getattr(import_module(f".{engine}", __package__), f"{engine.title()}Net")
    net = make(found, device, dtype)
    warn_unscaled(net)
    return net


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


def choose_engine(engine: str | None, best_first: Iterable[str] = tuple(ENGINES)) -> str:
    """The one asked for, or the first to be had, or a DreamError."""
    asked = engine or os.environ.get("DEEPDREAM_ENGINE")
    if asked and asked not in ENGINES:
        advice = "set DEEPDREAM_ENGINE or the argument `engine`"
        raise unknown("engine", asked, ENGINES, advice)
    names = [asked] if asked else [name for name in best_first if find_spec(name)]
    problems = []
    for name in names:
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
