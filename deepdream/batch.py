"""Many dreams at once, on Dask: it hands out, moves, counts and repeats; ours is what a job is, and what it reports.

A job is the settings of one picture, as `read_settings` gives them, and `out`, where it goes: {"image": "a.jpg",
"end": "conv2/3x3", "out": "b.png"}, or {"draw": ["banana"], "out": "c.png"}. Files are paths, which every worker has to
see, or URLs that fsspec knows, such as s3://bucket/a.jpg. What is left out is as on the command line, and the seed 0.
"""

import glob
import html
import json
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from shlex import join
from socket import gethostname
from tempfile import TemporaryDirectory
from threading import get_ident

from . import __version__, zoo
from .__main__ import INPUTS, command, drawn, dreamt, identity, parsed, sha256
from .errors import DreamError, out_of_memory, whole
from .net import load_net
from .show import FORMATS, or_sample, read_settings, save_image

PATIENCE = 10  # seconds to wait for a scheduler, and for its first worker
FETCHING = 1800  # seconds to wait for workers to get and load the network
PICTURES = (*FORMATS, ".webp", ".gif", ".bmp", ".tif", ".tiff")
NETWORK = "model", "engine", "device", "dtype"


def dream_many(jobs: Iterable[dict], client=None) -> Iterator[dict]:
    """Dream and draw; yields a report of each job as it is done: its picture is written then, or there is an `error`.

    jobs: see above. client: a dask.distributed Client; without, one is `connected` to a process for each core. A report
    tells `out`, `host`, `seconds`, `memory` (the peak, in bytes), `settings`, `sha256` of the file, `skipped` (it was
    there already, with the same settings), and `error`, None or a sentence. Whatever the number of workers, pictures
    are the same to the bit, where each has one BLAS thread, except for those so large that memory decides on tiles.

    Raises DreamError, before anything is dreamt, where outputs collide, or a worker is not fit for the jobs.
    """
    from distributed import KilledWorker, as_completed

    jobs = list(jobs)
    if not all(job.get("model") for job in jobs):
        model = zoo.default()  # the same for all workers, whatever each of them could get
        jobs = [{"model": model} | job for job in jobs]
    jobs = [_located(job) for job in jobs]
    _check_outputs(jobs)
    if client is None:
        with connected(workers=min(len(jobs), os.cpu_count() or 1)) as client:
            yield from dream_many(jobs, client)
        return
    _check_workers(client, jobs)
    futures = client.map(work, jobs, version=__version__, pure=False)
    outs = {future.key: job["out"] for future, job in zip(futures, jobs)}
    try:
        for future in as_completed(futures, loop=client.loop):
            try:
                yield future.result()
            except KilledWorker:
                yield {"out": outs[future.key], "error": "several workers died of it, perhaps for want of memory"}
            except Exception as error:
                if future.status in ("cancelled", "lost"):
                    gone = f"the scheduler at {client.scheduler.address} is gone"
                    raise DreamError(f"{gone}; what is done is there, and the same command goes on") from None
                yield {"out": outs[future.key], "error": repr(error)}
            future.release()
    finally:
        client.cancel(futures)


@contextmanager
def connected(scheduler: str | None = None, workers: int | None = None) -> Iterator:
    """A dask.distributed Client: of the scheduler at this address, tcp://host:8786, or of `workers` processes here.

    Here, each has one BLAS thread, and an equal share of the memory. Raises DreamError where no scheduler answers.
    """
    if not find_spec("distributed"):
        raise DreamError("Dask is not here; `pip install 'deepdream[batch]'` installs it")
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel("CRITICAL")  # what happens, we say
    if scheduler is not None:
        if not re.fullmatch(r"(tcp|tls|ws|wss)://[^/\s]+:[0-9]+", scheduler):
            raise DreamError(f"{scheduler!r} is no scheduler's address; that is such as tcp://10.0.0.1:8786")
        try:
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except Exception:
            cure = "`dask scheduler` starts one and tells its address"
            raise DreamError(f"no scheduler answers at {scheduler} within {PATIENCE} seconds; {cure}") from None
        with client:
            yield client
        return
    import psutil

    workers = workers or os.cpu_count() or 1
    share = os.environ.get("DEEPDREAM_MEMORY") or str(psutil.virtual_memory().available // 2 // workers)
    options = {"env": {"DEEPDREAM_MEMORY": share}, "silence_logs": "CRITICAL", "dashboard_address": "127.0.0.1:0"}
    with _deaf():
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **options)
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _deaf():
    """Ctrl-C waits; and the threads that begin in here, and the processes that those start, will never hear it: it is
    for us, who then end them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let Ctrl-C through again, if it began later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(job: dict, version: str) -> dict:
    """Do one job, on a worker; what goes wrong is told in the report."""
    began, error, told = time.monotonic(), None, {}
    _peak(reset=True)
    try:
        with TemporaryDirectory(prefix="deepdream-") as folder:
            if version != __version__:  # it came later than the check of all
                raise DreamError(f"{gethostname()} has deepdream {__version__}, and not {version}")
            told = _done(job, Path(folder))
    except DreamError as refusal:
        error = str(refusal)
    except Exception as problem:
        error = "there is not enough memory" if out_of_memory(problem) else repr(problem)
    seconds = round(time.monotonic() - began, 3)
    return {"out": job["out"], "host": gethostname(), "seconds": seconds, "memory": _peak(), **told, "error": error}


def _done(job, folder):
    args = parsed([*command(job), "-o", job["out"]])
    for name in INPUTS:
        if getattr(args, name, None):
            setattr(args, name, _fetched(getattr(args, name), folder / name))
    net = _net(*(getattr(args, name) for name in NETWORK), get_ident())
    make = drawn if args.command == "draw" else dreamt
    local = Path(job["out"]) if is_local(job["out"]) else folder / f"out{Path(job['out']).suffix}"
    picture, settings = make(args, None, net, known=_known(job["out"], folder))
    if picture is not None:
        local.parent.mkdir(parents=True, exist_ok=True)
        save_image(local, picture, settings)
        if not is_local(job["out"]):
            _copied(str(local), job["out"])
    else:
        local = Path(_fetched(job["out"], folder))
    return {"settings": settings, "sha256": sha256(local), "skipped": picture is None}


@lru_cache(maxsize=16)
def _net(model, engine, device, dtype, thread):
    """Each worker loads its network once and keeps it; each of its threads, if it has several."""
    return load_net(model, engine, device, dtype)


def is_local(path: str) -> bool:
    """Whether this is a path, and no URL."""
    return "://" not in path


def _fetched(path, folder):
    """A local path of what lies at this path or URL."""
    if is_local(path):
        return path
    local = folder / Path(path).name
    folder.mkdir(exist_ok=True)
    _copied(path, str(local))
    return str(local)


def _copied(source, target):
    import fsspec

    try:
        with fsspec.open(source, "rb") as a, fsspec.open(target, "wb") as b:
            shutil.copyfileobj(a, b)
    except Exception as error:  # each kind of store has errors of its own
        raise DreamError(f"cannot copy {source} to {target}: {error}") from None


def _known(out, folder):
    """The settings of the picture that is there already, if there is one."""
    try:
        return read_settings(_fetched(out, folder))
    except DreamError:
        return None


def _peak(reset=False):
    """The most bytes of memory held since the last reset; where Linux does not tell, those held now."""
    import psutil

    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
    except OSError:
        return psutil.Process().memory_info().rss


def _located(job):
    """A job with full paths, for workers may run in other folders."""
    if not isinstance(job.get("out"), str) or Path(job["out"]).suffix.lower() not in FORMATS:
        ends = f"it must be a path or URL that ends in {', '.join(FORMATS)}"
        raise DreamError(f"a job's out is {job.get('out')!r}; {ends}")
    if job.get("command", "dream") not in ("dream", "draw"):
        raise DreamError(f"a job's command is {job['command']!r}; it must be dream or draw")
    files = {name: _full(job[name]) for name in ("out", *INPUTS) if job.get(name)}
    if job["model"] not in zoo.names():
        files["model"] = _full(job["model"])  # a folder
    return {"seed": 0} | job | files


def _full(path):
    return os.path.abspath(or_sample(path)) if is_local(path) else path


def _check_outputs(jobs):
    inputs, outs = {job[name] for job in jobs for name in INPUTS if job.get(name)}, {}
    for job in jobs:
        out = job["out"]
        if out in outs:
            pair = " and ".join(str(one.get("image") or one.get("draw")) for one in (outs[out], job))
            raise DreamError(f"{pair} would both become {out}; put them into folders of their own")
        if out in inputs:
            raise DreamError(f"{out} is one of the pictures to dream of; choose another place for the dreams")
        outs[out] = job


def fit(networks: list[tuple], version: str) -> tuple[str | None, list[dict]]:
    """On a worker: what keeps it from working with these networks, in a sentence, or None; and what tells them apart.

    It loads them in the thread that works, which then finds them loaded.
    """
    here, loaded = f"on {gethostname()}", []
    if version != __version__:
        return f"{here} has deepdream {__version__}, and here is {version}; install the same on both", []
    try:
        for network in networks[::-1]:
            net = _net(*network, get_ident())
            loaded.append(net.engine | identity(net.model))
    except DreamError as error:
        return f"{here} cannot dream: {error}", []
    return None, loaded


def _check_workers(client, jobs):
    networks = sorted({tuple(job.get(name) for name in NETWORK) for job in jobs}, key=str)
    if client.cluster:  # on this machine: what is missing is fetched once
        for model, *_ in networks:
            zoo.get(zoo.find(model))
    address = client.scheduler.address
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise DreamError(f"the scheduler at {address} has no workers; `dask worker {address}` starts one") from None
    here = {"pure": False, "allow_other_workers": True}  # to others only where it has died meanwhile
    asked = {
        worker: client.submit(fit, networks, __version__, workers=[worker], **here) for worker in client.nthreads()
    }
    first = None
    try:
        for worker, answer in asked.items():
            try:
                problem, networks = answer.result(timeout=FETCHING)
            except TimeoutError:
                problem = f"has not loaded the network in {FETCHING // 60} minutes; is it busy with something else?"
            except Exception as error:  # it has no deepdream, or none with this function
                problem = f"cannot dream: {error!r}; install deepdream {__version__} there"
            if problem:
                raise DreamError(f"the worker {worker} {problem}")
            first = first or (worker, networks)
            if networks != first[1]:
                differ = f"the workers {first[0]} and {worker} would dream with {first[1][0]} and {networks[0]}"
                raise DreamError(f"{differ}, and pictures would differ; say which engine, device and dtype to take")
    finally:
        client.cancel(list(asked.values()))


def _is_picture(path):
    name = path.rsplit("/", 1)[-1]
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURES


def found(patterns: Iterable[str]) -> list[str]:
    """The pictures that these paths, folders, patterns or URLs name, each once, in order."""
    pictures = {}
    for pattern in patterns:
        if not is_local(pattern):
            from fsspec.core import url_to_fs

            fs, path = url_to_fs(pattern)
            matches = filter(_is_picture, fs.ls(path, detail=False)) if fs.isdir(path) else fs.glob(path)
            matches = sorted(map(fs.unstrip_protocol, matches))
        elif os.path.isdir(pattern):
            matches = sorted(os.path.join(pattern, name) for name in os.listdir(pattern) if _is_picture(name))
        elif or_sample(pattern) != pattern:
            matches = [pattern]
        else:
            matches = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
        if not matches:
            raise DreamError(f"no picture matches {pattern!r}; give paths, folders, or patterns such as 'photos/*.jpg'")
        pictures |= dict.fromkeys(matches)
    return list(pictures)


def write_atlas(folder: Path, layer: str, names: list[str]) -> Path | None:
    """Write the page of all pictures of this layer's channels in the folder: index.html, which opens from disk.

    names: of the channels, where they have any. Each picture tells which it is, and the command that made it.
    """
    tiles, text = [], re.compile(rf"channel\({re.escape(json.dumps(layer))}, ([0-9]+)\)")
    for path in sorted(folder.glob("[0-9]*.jpg")):
        settings = read_settings(path)
        if which := text.fullmatch(str(*settings.get("draw", ())[:1])):
            n = int(which[1])
            name = f"{n} {names[n].split(',')[0]}" if names else f"channel {n}"
            words = join(["deepdream", *command(settings), "-o", path.name])
            tiles.append({"n": n, "name": name, "file": path.name, "command": words})
    if not tiles:
        return None
    page = (Path(__file__).parent / "atlas.html").read_text(encoding="utf-8")
    data = json.dumps({"layer": layer, "tiles": tiles}).replace("<", "\\u003c")
    with whole(folder / "index.html") as part:
        part.write_text(page.replace("DATA", data, 1).replace("LAYER", html.escape(layer), 1), encoding="utf-8")
    return folder / "index.html"
