"""Many dreams at once, on Dask: it distributes, moves, counts and repeats; ours is what
a job is and what it reports.

A job is the settings of one picture, as `read_settings` gives them, and `out`, where
the picture goes: {"image": "a.jpg", "end": "conv2/3x3", "out": "b.png"}, or {"command":
"draw", "draw": ["banana"], "out": "c.png"}. Files are paths that every worker can see,
or URLs that fsspec knows, such as s3://bucket/a.jpg. Settings that are left out have
the command line's defaults, and the seed 0.
"""

import glob
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from threading import get_ident
from typing import Any

from . import looks
from .errors import DreamError, in_words, install, out_of_memory, reason
from .films import read_settings
from .making import dream_job, identity, layer_of, make_drawing, make_dream, objective_of, sha256
from .nets import download, zoo
from .nets.base import Net
from .nets.engines import load_net
from .objectives import L2
from .paths import check_folder, check_place, is_local
from .pictures import FORMATS, grey, is_picture, load_guide, load_image, or_sample, save_image
from .recipe import VERSION, Recipe, all_files, command_of, complete, with_files
from .settings import ABOUT, NETWORK, File, check, rows_of

Job = dict[str, Any]
Report = dict[str, Any]
Network = tuple[str | None, ...]  # model, engine, device, dtype
PATIENCE = 10  # seconds to wait for a scheduler, and for its first worker
FETCHING = 1800  # seconds to wait for workers to fetch and load the network
INPUTS = [
    name for name, row in rows_of("dream").items() if row.kind is File
]  # settings of a job that are files


def dream_many(jobs: Iterable[Job], client: Any = None) -> Iterator[Report]:
    """Dream and draw; yields a report of each job as soon as its picture is written, or
    has failed.

    It is a generator: nothing is dreamt until the first report is asked for. A script
    calls it under `if __name__ == "__main__":`, because each worker on this machine
    imports the script again.

    jobs: see the top of this file. client: a dask.distributed Client; without one, one
    process for each core is started. A report has `out`, `host`, `seconds`, `memory`
    (the peak, in bytes), `settings`, `sha256` of the file, `skipped` (the picture was
    already there, with the same settings), and `error`, None or a sentence. Pictures
    are the same to the bit whatever the number of workers, if each has one BLAS thread,
    except for pictures so large that the free memory decides on tiles.

    Raises DreamError, before the first dream, if two outputs have the same name, or a
    worker cannot do the jobs.
    """
    jobs = list(jobs)
    if not all(job.get("model") for job in jobs):
        model = (
            download.default()
        )  # the same for all workers, whichever networks each of them could get
        jobs = [job | {"model": job.get("model") or model} for job in jobs]
    jobs = [_with_full_paths(job) for job in jobs]
    _check_outputs(jobs)
    with (
        nullcontext(client)
        if client
        else connect(workers=min(len(jobs), os.cpu_count() or 1)) as client
    ):
        _check_workers(client, jobs)
        yield from _run(client, jobs)


def _run(client: Any, jobs: list[Job]) -> Iterator[Report]:
    from distributed import KilledWorker, as_completed

    futures = client.map(work, jobs, version=VERSION, pure=False)
    outs = {future.key: job["out"] for future, job in zip(futures, jobs)}
    try:
        for future in as_completed(futures, loop=client.loop):
            try:
                yield future.result()
            except KilledWorker:
                yield {
                    "out": outs[future.key],
                    "error": "several workers died of it, perhaps out of memory",
                }
            except Exception as error:
                if future.status in ("cancelled", "lost"):
                    gone = f"the scheduler at {client.scheduler.address} is gone"
                    raise DreamError(
                        f"{gone}; finished pictures are kept, and the same command resumes"
                    ) from None
                yield {"out": outs[future.key], "error": repr(error)}
            future.release()
    finally:
        client.cancel(futures)


@contextmanager
def connect(scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """A dask.distributed Client: of the scheduler at this address, tcp://host:8786, or
    of `workers` processes here.

    On this machine each has one BLAS thread and an equal share of the memory. Raises
    DreamError if no scheduler answers.
    """
    if not find_spec("distributed"):
        raise DreamError(f"Dask is not installed; {install('distributed')}")
    logging.getLogger("distributed").setLevel("CRITICAL")  # our own messages say what happens
    with (
        _join(scheduler)
        if scheduler is not None
        else _start(workers or os.cpu_count() or 1) as client
    ):
        yield client


@contextmanager
def _join(scheduler: str) -> Iterator[Any]:
    """A client of a scheduler that somebody else has started."""
    from distributed import Client, Security

    if not re.fullmatch(r"(tcp|tls|ws|wss)://[^/\s]+:[0-9]+", scheduler):
        raise DreamError(
            f"{scheduler!r} is no scheduler's address; an address looks like tcp://10.0.0.1:8786"
        )
    if scheduler.startswith(("tls", "wss")) and not Security().get_connection_args("client").get(
        "ssl_context"
    ):
        raise DreamError(
            f"{scheduler} needs certificates; Dask's configuration names them, distributed.comm.tls"
        )
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except Exception:
        advice = "`dask scheduler` starts one and prints its address"
        raise DreamError(
            f"no scheduler answers at {scheduler} within {PATIENCE} seconds; {advice}"
        ) from None
    with client:
        yield client


@contextmanager
def _start(workers: int) -> Iterator[Any]:
    """A client of so many processes on this machine."""
    import psutil
    from distributed import Client, LocalCluster

    share = os.environ.get("DEEPDREAM_MEMORY") or str(
        psutil.virtual_memory().available // 2 // workers
    )
    options = {
        "env": {"DEEPDREAM_MEMORY": share},
        "silence_logs": "CRITICAL",
        "dashboard_address": "127.0.0.1:0",
    }
    before = dict(os.environ)
    try:
        with _ignore_ctrl_c():
            try:
                cluster = LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, **options
                )
            except (OSError, RuntimeError) as error:
                raise DreamError(f"no processes can be started here: {in_words(error)}") from None
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client
    finally:
        for name in (
            os.environ.keys() - before.keys()
        ):  # Dask leaves OMP_NUM_THREADS=1 in this process
            del os.environ[name]


@contextmanager
def _ignore_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits; threads that begin in here, and the processes that those start,
    never receive it.

    It is meant for this process, which then ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let Ctrl-C through again if it began later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# On a worker


def work(job: Job, version: str) -> Report:
    """Do one job, on a worker; failures are reported."""
    began, error, about = time.monotonic(), None, {}
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
    seconds = round(time.monotonic() - began, 3)
    return {
        "out": job["out"],
        "host": gethostname(),
        "seconds": seconds,
        "memory": _peak(),
        **about,
        "error": error,
    }


def _do(job: Job, folder: Path) -> Report:
    """Make the picture of a job and write it, unless it is already there: `settings`,
    `sha256`, `skipped`.
    """
    out = job["out"]
    skip = "out", "sha256", *ABOUT
    recipe = complete(
        job["command"], {name: value for name, value in job.items() if name not in skip}
    )
    recipe = with_files(recipe, lambda name, path: _fetch(path, folder / name))
    if is_local(out):
        check_place(out)
    net = _load(*(recipe[name] for name in NETWORK), get_ident())
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


@lru_cache(maxsize=16)
def _load(
    model: str | None, engine: str | None, device: str | None, dtype: str | None, thread: int
) -> Net:
    """Each worker loads its network once and keeps it; each of its threads has one of
    its own.
    """
    # Unless somebody chooses, what makes the same pictures on all workers
    return load_net(model, engine, device or "cpu", dtype or "float32")


def _fetch(path: str, folder: Path) -> str:
    """A local path of the file at this path or URL."""
    if is_local(path):
        return path
    local = folder / Path(path).name
    folder.mkdir(exist_ok=True)
    _copy(path, str(local))
    return str(local)


def _copy(source: str, target: str) -> None:
    import fsspec

    try:
        with fsspec.open(source, "rb") as a, fsspec.open(target, "wb") as b:
            shutil.copyfileobj(a, b)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # each kind of store has errors of its own
        raise DreamError(f"cannot copy {source} to {target}: {error}") from None


def _known(out: str, folder: Path) -> dict[str, Any] | None:
    """The settings of the picture that is already there, if there is one."""
    try:
        return read_settings(_fetch(out, folder))
    except DreamError:
        return None


def _peak(reset: bool = False) -> int:
    """The most bytes of memory held since the last reset; where Linux does not say,
    those held now.
    """
    import psutil

    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        return 1024 * int(peak[1]) if peak else 0
    except OSError:
        return psutil.Process().memory_info().rss


def examine(networks: list[Network], version: str) -> tuple[str | None, list[dict[str, str]]]:
    """On a worker: (why it cannot work with these networks, or None; what tells its
    networks from others).

    It loads them in the thread that works, which then finds them loaded.
    """
    here, loaded = f"on {gethostname()}", []
    if version != VERSION:
        return (
            f"{here} has deepdream {VERSION}, and here is {version}; install the same version on both",
            [],
        )
    try:
        for model, engine, device, dtype in networks[::-1]:
            net = _load(model, engine, device, dtype, get_ident())
            loaded.append(
                net.engine | {"kernels": getattr(net, "kernels", "")} | identity(net.model)
            )
    except DreamError as error:
        return f"{here} cannot dream: {error}", []
    return None, loaded


# Before the first dream


def _with_full_paths(job: Job) -> Job:
    """A job with full paths, because workers may run in other folders."""
    if not isinstance(job.get("out"), str) or Path(job["out"]).suffix.lower() not in FORMATS:
        ends = f"it must be a path or URL that ends in {', '.join(FORMATS)}"
        raise DreamError(f"a job's out is {job.get('out')!r}; {ends}")
    command = command_of(job)
    if command not in ("dream", "draw"):
        raise DreamError(f"a job's command is {command!r}; it must be dream or draw")
    for name in ("model", *INPUTS):
        check(name, job.get(name))
    job = {"seed": 0} | looks.begin(job) | {"command": command, "out": _full(job["out"])}
    if job["model"] not in zoo.names():
        job["model"] = _full(job["model"])  # a folder
    return with_files(job, lambda _, path: _full(path))


def _full(path: str) -> str:
    return os.path.abspath(or_sample(path)) if is_local(path) else path


def _check_outputs(jobs: list[Job]) -> None:
    inputs, outs = {path for job in jobs for path in all_files(job).values()}, {}
    for job in jobs:
        out = job["out"]
        if out in outs:
            pair = " and ".join(
                str(one.get("image") or one.get("draw")) for one in (outs[out], job)
            )
            raise DreamError(f"{pair} would both become {out}; put them into folders of their own")
        if out in inputs:
            raise DreamError(
                f"{out} is one of the pictures to dream of; choose another place for the dreams"
            )
        outs[out] = job


def _check_workers(client: Any, jobs: list[Job]) -> None:
    """Raise a DreamError unless every worker can do the jobs, and all would make the
    same pictures.
    """
    networks = sorted({tuple(job.get(name) for name in NETWORK) for job in jobs}, key=str)
    if client.cluster:  # on this machine: what is missing is downloaded once
        for model in {job["model"] for job in jobs}:
            download.get(zoo.find(model))
    address = client.scheduler.address
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise DreamError(
            f"the scheduler at {address} has no workers; `dask worker {address}` starts one"
        ) from None
    options = {
        "pure": False,
        "allow_other_workers": True,
    }  # on another one only if this one has died meanwhile
    answers = {
        worker: client.submit(examine, networks, VERSION, workers=[worker], **options)
        for worker in client.nthreads()
    }
    first = None
    try:
        for worker, answer in answers.items():
            problem, loaded = _wait_for(answer)
            if problem:
                raise DreamError(f"the worker {worker} {problem}")
            first = first or (worker, loaded)
            if loaded != first[1]:
                differ = f"the workers {first[0]} and {worker} would dream with {first[1][0]} and {loaded[0]}"
                raise DreamError(
                    f"{differ}, and pictures would differ; choose an engine, a device and a dtype for all, "
                    "and for PyTorch set DEEPDREAM_KERNELS"
                )
    finally:
        client.cancel(list(answers.values()))


def _wait_for(answer: Any) -> tuple[str | None, list[dict[str, str]]]:
    """The answer of `examine`, or why there is none."""
    try:
        return answer.result(timeout=FETCHING)
    except TimeoutError:
        return (
            f"has not loaded the network in {FETCHING // 60} minutes; is it busy with something else?",
            [],
        )
    except Exception as error:  # it has no deepdream, or one without this function
        return f"cannot dream: {error!r}; install deepdream {VERSION} there", []


def check_common(recipe: Recipe) -> None:
    """Raise a DreamError for what is wrong with settings that all pictures of a command
    share.
    """
    if recipe["workers"] is not None and recipe["scheduler"] is not None:
        raise DreamError(
            "--workers is for this machine, and a --scheduler has its own; leave out one of them"
        )
    loads = {"image": load_image, "mask": grey}
    for name, path in all_files(recipe).items():
        if is_local(path):
            loads.get(name, load_guide)(or_sample(path))
    if "end" in recipe and _is_known(recipe):
        _check_goal(recipe, outline(recipe["model"]))


def _is_known(recipe: Recipe) -> bool:
    """Whether it can be told here which network the recipe means."""
    model = recipe["model"]
    if model is None:  # GoogLeNet, or another one if its weights cannot be downloaded
        return zoo.find(zoo.DEFAULT).file(".caffemodel") is not None
    return recipe["scheduler"] is None or model in zoo.names() or os.path.isdir(model)


def _check_goal(recipe: Recipe, net: Net) -> None:
    """Raise a DreamError for a layer, channel or class that this network lacks; a grid
    may have several layers.
    """
    for end in recipe["end"] if isinstance(recipe["end"], list) else [recipe["end"]]:
        point = recipe | {"end": end}
        goal = (
            L2(layer_of(point, net))
            if recipe["objective"] is None
            else objective_of(point, lambda path: None)
        )
        goal.layers_in(net)


def outline(model: str | None) -> Net:
    """The network of this name, or in this folder, without its weights: enough to tell
    what can be climbed.
    """
    net, found = Net(), zoo.find(model or download.default())
    net.adopt(found, zoo.layers(found))
    return net


def batch_jobs(recipe: Recipe, out: str) -> list[Job]:
    """One job for each picture that the command `batch` names; `out` is the folder, or
    its URL, for the dreams.
    """
    if is_local(out):
        check_folder(out)
    jobs = []
    for picture in find_pictures(recipe["images"]):
        stem, suffix = os.path.splitext(picture.replace("\\", "/").rsplit("/", 1)[-1])
        suffix = suffix.lower() if suffix.lower() in FORMATS else ".png"
        jobs.append(dream_job(recipe, image=picture, out=f"{out.rstrip('/')}/{stem}{suffix}"))
    return jobs


def find_pictures(patterns: Iterable[str]) -> list[str]:
    """The pictures that these paths, folders, patterns or URLs name, each once, in
    order.
    """
    pictures: dict[str, None] = {}
    for pattern in patterns:
        if not is_local(pattern):
            from fsspec.core import url_to_fs

            try:
                fs, path = url_to_fs(pattern)
                matches = (
                    filter(is_picture, fs.ls(path, detail=False))
                    if fs.isdir(path)
                    else fs.glob(path)
                )
                matches = sorted(map(fs.unstrip_protocol, matches))
            except Exception as error:  # each kind of store has errors of its own
                raise DreamError(f"cannot list {pattern}: {in_words(error)}") from None
        elif os.path.isdir(pattern):
            try:
                matches = sorted(
                    os.path.join(pattern, name) for name in os.listdir(pattern) if is_picture(name)
                )
            except OSError as error:
                raise DreamError(f"cannot read the folder {pattern}: {reason(error)}") from None
        elif or_sample(pattern) != pattern:
            matches = [pattern]
        else:
            matches = sorted(
                path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)
            )
        if not matches:
            raise DreamError(
                f"no picture matches {pattern!r}; give paths, folders, or patterns such as 'photos/*.jpg'"
            )
        pictures |= dict.fromkeys(matches)
    return list(pictures)
