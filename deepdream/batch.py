"""Many dreams at once, on Dask. What a job is stands in jobs.py."""

import logging
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .errors import DreamError, in_words, install, out_of_memory
from .films import read_settings
from .jobs import Job, check_jobs
from .making import identity, make_drawing, make_dream, sha256
from .nets import download, zoo
from .nets.base import Net
from .nets.engines import load_net
from .paths import check_place, is_local
from .pictures import save_image
from .recipe import VERSION, complete, with_files
from .settings import ABOUT, NETWORK, Record

if TYPE_CHECKING:
    from distributed import Client, Future

Report = dict[str, Any]  # of a job, see `dream_many`
Network = tuple[str | None, ...]  # the settings in NETWORK
Loaded = dict[str, str]  # what tells a network that is loaded from others
PATIENCE = 10  # seconds to wait for a scheduler, and for its first worker
FETCHING = 1800  # seconds to wait for workers to fetch and load the network


def dream_many(jobs: Iterable[Job], client: "Client | None" = None) -> Iterator[Report]:
    """Dream and draw; yields a report of each job when its picture is
    written, or has failed.

    Nothing is dreamt until the first report is asked for. A script calls it
    under `if __name__ == "__main__":`, because each worker on this machine
    imports the script.

    jobs: see jobs.py. client: a dask.distributed Client; without one, one
    process for each core is started. A report has `out`, `host`, `seconds`,
    `memory` (the peak, in bytes), `settings`, `sha256` of the file,
    `skipped` (it was there, with the same settings), and `error`, None or a
    sentence. If each worker has one BLAS thread, pictures are the same to
    the bit, unless free memory decides on tiles.

    Raises DreamError, before the first dream, as `check_jobs`, and for a
    worker that cannot do the jobs.
    """
    jobs = check_jobs(jobs)
    workers = min(len(jobs), os.cpu_count() or 1)
    with nullcontext(client) if client else connect(workers=workers) as client:
        _check_workers(client, jobs)
        yield from _run(client, jobs)


def _run(client: "Client", jobs: list[Job]) -> Iterator[Report]:
    from distributed import as_completed

    futures = client.map(work, jobs, version=VERSION, pure=False)
    outs = {future.key: job["out"] for future, job in zip(futures, jobs)}
    try:
        for future in as_completed(futures, loop=client.loop):
            yield _report_of(future, outs[future.key], client)
            future.release()
    finally:
        client.cancel(futures)


def _report_of(future: "Future", out: str, client: "Client") -> Report:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return {"out": out, "error": "several workers died of it, perhaps out of memory"}
    except Exception as error:
        if future.status not in ("cancelled", "lost"):
            return {"out": out, "error": repr(error)}
        kept = "finished pictures are kept, and the same command resumes"
        raise DreamError(f"the scheduler at {_address(client)} is gone; {kept}") from None


def _address(client: "Client") -> str:
    assert client.scheduler is not None
    return str(client.scheduler.address)


@contextmanager
def connect(scheduler: str | None = None, workers: int | None = None) -> Iterator["Client"]:
    """A dask.distributed Client: of the scheduler at this address,
    tcp://host:8786, or of `workers` processes here, each with one BLAS
    thread and an equal share of the memory. Raises DreamError if no
    scheduler answers.
    """
    if not find_spec("distributed"):
        raise DreamError(f"Dask is not installed; {install('distributed')}")
    logging.getLogger("distributed").setLevel("CRITICAL")  # our own messages say it
    workers = workers or os.cpu_count() or 1
    with _join(scheduler) if scheduler is not None else _start(workers) as client:
        yield client


@contextmanager
def _join(scheduler: str) -> Iterator["Client"]:
    """A client of a scheduler that somebody else has started."""
    from distributed import Client, Security

    if not re.fullmatch(r"(tcp|tls|ws|wss)://[^/\s]+:[0-9]+", scheduler):
        form = "an address looks like tcp://10.0.0.1:8786"
        raise DreamError(f"{scheduler!r} is no scheduler's address; {form}")
    has_certificates = Security().get_connection_args("client").get("ssl_context")
    if scheduler.startswith(("tls", "wss")) and not has_certificates:
        names = "Dask's configuration names them, distributed.comm.tls"
        raise DreamError(f"{scheduler} needs certificates; {names}")
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except Exception:
        none = f"no scheduler answers at {scheduler} within {PATIENCE} seconds"
        advice = "`dask scheduler` starts one and prints its address"
        raise DreamError(f"{none}; {advice}") from None
    with client:
        yield client


@contextmanager
def _start(workers: int) -> Iterator["Client"]:
    """A client of so many processes on this machine."""
    import psutil
    from distributed import Client, LocalCluster

    free = psutil.virtual_memory().available
    share = os.environ.get("DEEPDREAM_MEMORY") or str(free // 2 // workers)
    before = dict(os.environ)
    try:
        with _ignore_ctrl_c():
            try:
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    env={"DEEPDREAM_MEMORY": share},
                    silence_logs="CRITICAL",  # pyright: ignore[reportArgumentType]
                    dashboard_address="127.0.0.1:0",
                )
            except (OSError, RuntimeError) as error:
                why = in_words(error)
                raise DreamError(f"no processes can be started here: {why}") from None
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client
    finally:  # Dask leaves OMP_NUM_THREADS=1 in this process
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


@contextmanager
def _ignore_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits, and what begins in here never receives it: this process
    does, and ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # begun later, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# On a worker


class Networks(threading.local):
    """The networks that a worker keeps loaded, for each of its threads: a
    network holds one picture at a time.
    """

    def __init__(self) -> None:
        self.load = lru_cache(maxsize=16)(_load)


def _load(model: str, engine: str | None, device: str | None, dtype: str | None) -> Net:
    # By default, what makes the same pictures on all workers
    return load_net(model, engine, device or "cpu", dtype or "float32")


NETWORKS = Networks()


def work(job: Job, version: str) -> Report:
    """Do one job, on a worker; failures are reported."""
    began = time.monotonic()
    error = None
    about: Report = {}
    _peak(reset=True)
    try:
        with TemporaryDirectory(prefix="deepdream-") as folder:
            if version != VERSION:  # this worker joined after the check of all
                raise DreamError(f"{gethostname()} has deepdream {VERSION}, not {version}")
            about = _do(job, Path(folder))
    except DreamError as refusal:
        error = str(refusal)
    except OSError as problem:
        error = in_words(problem)
    except Exception as problem:
        error = "there is not enough memory" if out_of_memory(problem) else repr(problem)
    return {
        "out": job["out"],
        "host": gethostname(),
        "seconds": round(time.monotonic() - began, 3),
        "memory": _peak(),
        **about,
        "error": error,
    }


def _do(job: Job, folder: Path) -> Report:
    """Make the picture of a job and write it, unless it is already there."""
    out = job["out"]
    skip = "out", "sha256", *ABOUT
    given = {name: value for name, value in job.items() if name not in skip}
    recipe = complete(job["command"], given)
    recipe = with_files(recipe, lambda name, path: _fetch(path, folder / name))
    if is_local(out):
        check_place(out)
    net = NETWORKS.load(*(recipe[name] for name in NETWORK))
    make = make_drawing if recipe["command"] == "draw" else make_dream
    picture, carried = make(recipe, net, known=_known(out, folder))
    if picture is None:
        local = Path(_fetch(out, folder))
    else:
        local = Path(out) if is_local(out) else folder / f"out{Path(out).suffix}"
        local.parent.mkdir(parents=True, exist_ok=True)
        save_image(local, picture, carried)
        if not is_local(out):
            _copy(str(local), out)
    return {"settings": carried, "sha256": sha256(local), "skipped": picture is None}


def _fetch(path: str, folder: Path) -> str:
    """A local path of the file at this path or URL."""
    if is_local(path):
        return path
    folder.mkdir(exist_ok=True)
    local = str(folder / Path(path).name)
    _copy(path, local)
    return local


def _copy(source: str, target: str) -> None:
    import fsspec

    try:
        with fsspec.open(source, "rb") as a, fsspec.open(target, "wb") as b:
            shutil.copyfileobj(a, b)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # each kind of store has errors of its own
        raise DreamError(f"cannot copy {source} to {target}: {error}") from None


def _known(out: str, folder: Path) -> Record | None:
    """What the picture carries that is already there, if there is one."""
    try:
        return read_settings(_fetch(out, folder))
    except DreamError:
        return None


def _peak(reset: bool = False) -> int:
    """The most bytes of memory held since the reset; elsewhere than on Linux, now."""
    import psutil

    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        return 1024 * int(peak[1]) if peak else 0
    except OSError:
        return psutil.Process().memory_info().rss


def examine(networks: list[Network], version: str) -> tuple[str | None, list[Loaded]]:
    """On a worker: (why it cannot work with these networks, or None; what
    tells them from others). It loads them, for the work to come.
    """
    here = f"on {gethostname()}"
    if version != VERSION:
        differ = f"has deepdream {VERSION}, and here is {version}"
        return f"{here} {differ}; install the same version on both", []
    loaded = []
    try:
        for network in reversed(networks):
            net = NETWORKS.load(*network)
            kernels = {"kernels": getattr(net, "kernels", "")}
            loaded.append(net.engine | kernels | identity(net.model))
    except DreamError as error:
        return f"{here} cannot dream: {error}", []
    return None, loaded


# Before the first dream


def _check_workers(client: "Client", jobs: list[Job]) -> None:
    """Raise a DreamError unless all workers can work, and make the same pictures."""
    if client.cluster:  # on this machine: what is missing is downloaded once
        for model in {job["model"] for job in jobs}:
            download.get(zoo.find(model))
    networks = {tuple(job.get(name) for name in NETWORK) for job in jobs}
    found = _examine_all(client, sorted(networks, key=str))
    first, *others = found
    for worker in others:
        if found[worker] != found[first]:
            which = f"{found[first][0]} and {found[worker][0]}"
            differ = f"the workers {first} and {worker} would dream with {which}"
            cure = "an engine, a device and a dtype for all, and for PyTorch set DEEPDREAM_KERNELS"
            raise DreamError(f"{differ}, and pictures would differ; choose {cure}")


def _examine_all(client: "Client", networks: list[Network]) -> dict[str, list[Loaded]]:
    """{worker: what tells its networks from others} of all workers."""
    address = _address(client)
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        none = f"the scheduler at {address} has no workers"
        raise DreamError(f"{none}; `dask worker {address}` starts one") from None
    # On another worker only if this one has died meanwhile
    answers = {
        worker: client.submit(
            examine, networks, VERSION, workers=[worker], allow_other_workers=True, pure=False
        )
        for worker in client.nthreads()  # pyright: ignore[reportGeneralTypeIssues]
    }
    found = {}
    try:
        for worker, answer in answers.items():
            problem, found[worker] = _wait_for(answer)
            if problem:
                raise DreamError(f"the worker {worker} {problem}")
    finally:
        client.cancel(list(answers.values()))
    return found


def _wait_for(answer: "Future") -> tuple[str | None, list[Loaded]]:
    """The answer of `examine`, or why there is none."""
    try:
        return answer.result(timeout=FETCHING)
    except TimeoutError:
        late = f"has not loaded the network in {FETCHING // 60} minutes"
        return f"{late}; is it busy with something else?", []
    except Exception as error:  # it has no deepdream, or one without this function
        return f"cannot dream: {error!r}; install deepdream {VERSION} there", []
