"""Many dreams at once: against single dreams to the bit, on real schedulers and
workers, which die and are refused.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import main, refused, run, write_model
from PIL import Image

import deepdream as dd

pytest.importorskip("distributed", reason="Dask is not installed: pip install distributed")
from deepdream import batch, jobs
from deepdream.nets import caffemodel
from deepdream.objectives import scores
from deepdream.recipe import complete

ONE_THREAD = os.environ | {
    "OMP_NUM_THREADS": "1"
}  # as Dask's workers have; with two, sums differ in their last bits
IMAGES = Path(__file__).parent.parent / "images"
LONG = 300  # seconds: far longer than anything takes that is waited for, even on a busy machine


def wait_until(condition):
    """Wait for a state, however long a busy machine takes to reach it."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never comes"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """No worker of a busy machine comes too late."""
    monkeypatch.setattr(batch, "PATIENCE", LONG)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def client():
    with batch.connect(workers=2) as client:
        yield client


@pytest.fixture
def scheduler(client):
    """The options that send the work of a command to the workers of `client`."""
    return "--scheduler", client.scheduler.address


def write_photos(folder):
    folder.mkdir()
    for i in range(8):
        values = np.random.RandomState(i).uniform(0, 255, (60, 80, 3))
        Image.fromarray(np.uint8(values)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Eight pictures, to work on and to spoil."""
    return write_photos(tmp_path / "photos")


def jobs_for(photos, model, out, **settings):
    few = {"model": str(model), "iter_n": 25, "octave_n": 3} | settings  # some tenths of a second
    return [
        few | {"image": str(path), "out": str(out / path.name)} for path in sorted(photos.iterdir())
    ]


def hashes(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("[!.]*.png")
    }


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """{name: hash} of the eight dreams, made one after another by a process with one
    thread.
    """
    folder = tmp_path_factory.mktemp("alone")
    commands = []
    for path in write_photos(folder / "photos").iterdir():
        few = ("--iterations", 25, "--octaves", 3, "--seed", 0)
        commands.append(
            [
                str(word)
                for word in ("dream", path, "-o", folder / path.name, "--model", model, *few)
            ]
        )
    code = f"from deepdream.cli.main import main; assert not any(map(main, {commands}))"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=ONE_THREAD, stdout=subprocess.DEVNULL
    )
    return hashes(folder)


def test_pictures_are_those_of_single_dreams_to_the_bit(client, photos, model, alone, tmp_path):
    reports = list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
    assert hashes(tmp_path / "out") == alone
    assert len(reports) == 8 and len({report["out"] for report in reports}) == 8
    for report in reports:
        assert (
            report["error"] is None
            and report["skipped"] is False
            and report["host"] == socket.gethostname()
        )
        assert report["sha256"] == alone[Path(report["out"]).name] and report["seconds"] > 0
        assert 1e7 < report["memory"] < 2e9 and report["settings"]["iter_n"] == 25
    with batch.connect(workers=1) as one:
        list(batch.dream_many(jobs_for(photos, model, tmp_path / "one"), one))
    assert hashes(tmp_path / "one") == alone, "whatever the number of workers"


def test_what_is_there_is_not_made_again(client, photos, model, tmp_path):
    jobs = jobs_for(photos, model, tmp_path / "out")
    list(batch.dream_many(jobs[:3], client))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    first, second, third = sorted(times)
    second.write_bytes(second.read_bytes()[:500])  # damaged
    Image.open(jobs[2]["image"]).rotate(180).save(
        jobs[2]["image"]
    )  # another picture by the same name
    reports = {Path(report["out"]): report for report in batch.dream_many(jobs, client)}
    assert [path.name for path, report in reports.items() if report["skipped"]] == ["0.png"]
    assert {path for path in times if path.stat().st_mtime_ns == times[path]} == {first}
    assert reports[first]["sha256"] == hashes(tmp_path / "out")["0.png"]
    again = list(batch.dream_many(jobs_for(photos, model, tmp_path / "out", seed=1), client))
    assert not any(report["skipped"] for report in again), "with another seed"
    assert dd.read_settings(third)["seed"] == 1


def test_drawings_and_urls(client, model, tmp_path, photos):
    text = "channel('conv1', 3)"
    jobs = [
        {"draw": [text], "steps": 3, "model": str(model), "out": f"file://{tmp_path}/d.png"},
        {
            "image": f"file://{photos}/0.png",
            "model": str(model),
            "iter_n": 1,
            "out": f"file://{tmp_path}/u.jpg",
        },
    ]
    shutil.copytree(photos, tmp_path / "guides")
    shutil.copy(photos / "1.png", tmp_path / "guides" / "0.png")  # by the same name, and another
    jobs[1]["guide"] = f"file://{tmp_path}/guides/0.png"
    for skipped in (False, True):
        reports = list(batch.dream_many(jobs, client))
        assert [(report["error"], report["skipped"]) for report in reports] == [(None, skipped)] * 2
    net = dd.load_net(model, "caffe")
    assert np.array_equal(dd.load_image(tmp_path / "d.png"), np.uint8(dd.draw(net, text, steps=3)))
    carried = dd.read_settings(tmp_path / "u.jpg")
    assert carried["image"] == carried["guide"] == "0.png"
    assert carried["sha256"]["image"] != carried["sha256"]["guide"]


def test_a_guide_inside_an_objective_is_fetched_and_checked(
    client, photos, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "1.png", "g.png")
    words = f"L2('both') + guide('left', 'g.png') + guide('left', 'file://{photos}/2.png')"
    job = {
        "image": f"{photos}/0.png",
        "objective": words,
        "model": str(model),
        "iter_n": 1,
        "out": "out/a.png",
    }
    draw = {"draw": ["guide('left', 'g.png')"], "steps": 1, "model": str(model), "out": "out/d.png"}
    for skipped in (False, True):
        for report in batch.dream_many([job, draw], client):
            assert (report["error"], report["skipped"]) == (None, skipped)
    carried = dd.read_settings("out/a.png")
    assert carried["objective"] == "L2('both') + guide('left', 'g.png') + guide('left', '2.png')"
    digests = [
        hashlib.sha256((photos / name).read_bytes()).hexdigest() for name in ("1.png", "2.png")
    ]
    assert [carried["sha256"][f"objective {i}"] for i in (1, 2)] == digests
    before = hashes(tmp_path / "out")
    shutil.copy(photos / "3.png", "g.png")  # another picture by the same name
    assert [report["skipped"] for report in batch.dream_many([job, draw], client)] == [False, False]
    after = hashes(tmp_path / "out")
    assert after["a.png"] != before["a.png"] and after["d.png"] != before["d.png"]
    with pytest.raises(dd.DreamError, match=r"g\.png is one of the pictures to dream of"):
        list(batch.dream_many([job | {"out": "g.png"}], client))


def test_the_memory_is_shared_out(client):
    shares = client.run(lambda: os.environ["DEEPDREAM_MEMORY"], workers=None).values()
    assert len(shares) == 2 and 1e8 < 2 * 2 * int(next(iter(shares))) < 1e12
    assert set(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == {"1"}


def test_a_cluster_on_this_machine_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # what Dask would set, for good
    before = dict(os.environ)
    with batch.connect(workers=1):
        pass
    assert dict(os.environ) == before


def test_a_job_that_fails_is_reported_and_the_rest_is_made(client, photos, model, tmp_path):
    jobs = jobs_for(photos, model, tmp_path / "out")
    Path(jobs[1]["image"]).write_text("no picture")
    jobs[2] |= {"end": "boht"}
    jobs[3] |= {"iter_n": -1}
    jobs[5] |= {"scale": 2}
    jobs[4] |= {"image": f"file://{photos}/none.png"}
    errors = {
        Path(report["out"]).stem: report["error"] for report in batch.dream_many(jobs, client)
    }
    assert [name for name, error in sorted(errors.items()) if error is None] == ["0", "6", "7"]
    for name, says in {
        "1": "cannot read the picture",
        "2": "unknown layer 'boht'; did you mean 'both'?",
        "3": "iter_n is -1; it must be a whole number from 0 to 10000",
        "4": "cannot copy file://",
        "5": "unknown setting 'scale'; did you mean 'octave_scale'",
    }.items():
        assert says in errors[name]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"out": "0.png"},
            "0.png and .*1.png would both become .*0.png; put them into folders of their own",
        ),
        ({"out": "photos/1.png"}, "1.png is one of the pictures to dream of"),
        ({"out": "x.gif"}, "a job's out is 'x.gif'; it must be a path or URL that ends in .jpg"),
        ({"out": None}, "a job's out is None; it must be a path or URL"),
        (
            {"model": "places205_googlenet"},
            "places205_googlenet has no caffemodel yet: get Places205-GoogLeNet from",
        ),
        ({"model": 5}, "model is 5; it must be text"),
        ({"image": 5}, "image is 5; it must be the path of a file"),
        ({"command": "zoom"}, "a job's command is 'zoom'; it must be dream or draw"),
    ],
)
def test_jobs_that_are_refused_before_any_is_done(
    client, photos, model, tmp_path, monkeypatch, wrong, says
):
    monkeypatch.chdir(tmp_path)
    first, second, *_ = jobs_for(photos, model, tmp_path)
    with pytest.raises(dd.DreamError, match=says):
        list(batch.dream_many([first, second | wrong], client))
    assert not list(tmp_path.glob("*.png"))


def test_a_job_is_made_on_the_processor_in_float32_unless_it_says_more(model, monkeypatch):
    """So that all workers make the same pictures."""
    asked = []

    def load_net(*given):
        asked.append(given)
        raise dd.DreamError("seen")

    monkeypatch.setattr(batch, "load_net", load_net)
    job = {"command": "draw", "draw": ["3"], "out": "a.png", "model": str(model), "engine": "torch"}
    for chosen in ({}, {"device": "auto", "dtype": "auto"}):
        assert batch.work(job | chosen, dd.__version__)["error"] == "seen"
    assert asked == [(str(model), "torch", *two) for two in (("cpu", "float32"), ("auto", "auto"))]


def test_a_job_without_a_model_has_the_default(client, photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(batch.download, "default", lambda: str(model))
    jobs = jobs_for(photos, model, tmp_path / "out", iter_n=1)[:3]
    del jobs[0]["model"]
    jobs[1]["model"] = None
    for report in batch.dream_many(jobs, client):
        assert report["error"] is None and report["settings"]["model"] == "toy"


def test_workers_of_another_version_are_refused(client, photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "VERSION", "9.9")
    says = rf"the worker tcp://.* on {socket.gethostname()} "
    says += f"has deepdream {dd.__version__}, and here is 9.9"
    with pytest.raises(dd.DreamError, match=says):
        list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
    assert not (tmp_path / "out").exists()


class Workers(list):
    """The processes of a cluster's workers; and that of its `scheduler`."""


@contextmanager
def cluster(
    tmp_path, workers=2, host="127.0.0.1", scheduler=(), worker=lambda i: (), env=None, threads=1
):
    """A scheduler and its workers, each a process; yields (address, workers)."""
    processes = []

    def start(prefix, *words):
        log = tmp_path / f"{len(processes)}.log"
        command = [*prefix, sys.executable, "-m", "dask", *map(str, words)]
        env_of = os.environ | {"OMP_NUM_THREADS": "1"} | (env or {})
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(command, env=env_of, cwd=tmp_path, stdout=file, stderr=file)
            )
        processes[-1].log = log
        return processes[-1]

    try:
        file = tmp_path / "scheduler.json"
        start(
            scheduler,
            "scheduler",
            "--host",
            host,
            "--port",
            0,
            "--scheduler-file",
            file,
            "--no-dashboard",
        )
        wait_until(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        few = "--nthreads", threads, "--no-nanny", "--no-dashboard"
        started = Workers(start(worker(i), "worker", address, *few) for i in range(workers))
        started.scheduler = processes[0]
        for process in started:
            wait_until(lambda process=process: "Registered to" in process.log.read_text())
        yield address, started
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(LONG)


def test_a_cluster_that_loses_a_worker_makes_all_the_same(photos, model, alone, tmp_path):
    with cluster(tmp_path) as (address, workers), batch.connect(address) as client:
        client.wait_for_workers(2, timeout=LONG)
        for attempt in count():
            out = tmp_path / f"out{attempt}"
            reports = batch.dream_many(jobs_for(photos, model, out), client)
            done = [next(reports), next(reports)]
            workers[0].send_signal(signal.SIGSTOP)
            if len(hashes(out)) < 8:
                break
            workers[0].send_signal(
                signal.SIGCONT
            )  # all were made before this process had its turn: once more
            list(reports)
        workers[0].send_signal(signal.SIGKILL)
        done += reports
    assert [report["error"] for report in done] == [None] * 8
    assert hashes(out) == alone


def test_what_a_worker_lacks_is_reported_with_its_host(photos, model, tmp_path):
    fake, known = tmp_path / "fake", tmp_path / "cache" / "deepdream" / "models" / "bvlc_googlenet"
    fake.mkdir()
    known.mkdir(parents=True)
    (fake / "caffe.py").write_text("raise ImportError('libboost is gone')")
    (known / "failed").write_text("the weights of bvlc_googlenet cannot be had")
    lacking = {
        "PYTHONPATH": str(fake),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DEEPDREAM_MODELS": "",
    }
    cases = [({"engine": "caffe"}, r"the engine 'caffe' cannot be imported \(libboost is gone\)")]
    if find_spec("torch"):
        cases.append(
            (
                {"engine": "torch", "model": "bvlc_googlenet"},
                "the weights of bvlc_googlenet cannot be had",
            )
        )
    job = jobs_for(photos, model, tmp_path / "out")[0]
    with cluster(tmp_path, 1, env=lacking) as (address, _), batch.connect(address) as client:
        for wrong, reason in cases:
            says = rf"the worker tcp://.* on {socket.gethostname()} cannot dream: {reason}"
            with pytest.raises(dd.DreamError, match=says):
                list(batch.dream_many([job | wrong], client))


def test_several_threads_of_one_worker_do_not_mix_up_their_pictures(photos, model, alone, tmp_path):
    with (
        cluster(tmp_path, 1, worker=lambda i: (), threads=4) as (address, _),
        batch.connect(address) as client,
    ):
        reports = list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
    assert [report["error"] for report in reports] == [None] * 8 and hashes(
        tmp_path / "out"
    ) == alone


def test_a_scheduler_that_goes(photos, model, tmp_path):
    with cluster(tmp_path, 1) as (address, workers), batch.connect(address) as client:
        jobs = jobs_for(photos, model, tmp_path / "out", iter_n=10_000)
        jobs[0]["iter_n"] = 1
        reports = batch.dream_many(jobs, client)
        next(reports)
        workers.scheduler.kill()
        says = "the scheduler at tcp://.* is gone; "
        says += "finished pictures are kept, and the same command resumes"
        with pytest.raises(dd.DreamError, match=says):
            list(reports)
    assert (tmp_path / "out" / "0.png").exists()


def test_other_weights_make_another_picture(client, photos, model, tmp_path):
    other = write_model(tmp_path / "toy")
    random = np.random.RandomState(1)
    weights = caffemodel.read_weights(other / "toy.caffemodel")
    for blobs in weights.values():
        blobs[0] = np.float32(random.normal(0, 0.1, blobs[0].shape))
    caffemodel.write_weights(other / "toy.caffemodel", weights)
    job = jobs_for(photos, model, tmp_path / "out")[0]
    [first] = batch.dream_many([job], client)
    [second] = batch.dream_many([job | {"model": str(other)}], client)
    assert not second["skipped"] and first["sha256"] != second["sha256"]


@pytest.mark.slow
def test_two_hosts(photos, model, alone, tmp_path):
    """The same in two network namespaces, joined by a wire."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the command `ip` (Debian's iproute2)")
    a, b = f"dream-a-{os.getpid()}", f"dream-b-{os.getpid()}"

    def ip(*words):
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()}")

    try:
        for name in (a, b):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            "dream0",
            "netns",
            a,
            "type",
            "veth",
            "peer",
            "name",
            "dream1",
            "netns",
            b,
        )
        for name, wire, address in ((a, "dream0", "10.77.0.1/24"), (b, "dream1", "10.77.0.2/24")):
            ip("-n", name, "addr", "add", address, "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
        here, there = (("ip", "netns", "exec", name) for name in (a, b))
        out = tmp_path / "out"
        with cluster(tmp_path, 1, "10.77.0.1", here, lambda _: there) as (address, _):
            assert "10.77.0.1" in address
            command = [
                *here,
                sys.executable,
                "-m",
                "deepdream",
                "batch",
                photos,
                "-o",
                out,
                "--model",
                model,
            ]
            command += ["--scheduler", address, "--iterations", 25, "--octaves", 3]
            done = subprocess.run(
                list(map(str, command)), capture_output=True, text=True, timeout=LONG
            )
        assert done.returncode == 0 and "8 made, 0 were there, 0 failed" in done.stdout, done
        assert hashes(out) == alone
    finally:
        for name in (a, b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_the_command_batch(photos, model, alone, scheduler, tmp_path):
    few = ("--model", model, "--iterations", 25, "--octaves", 3)
    (photos / ".0.png").write_text("a hidden file")
    (photos / "bad.jpg").write_text("no picture")
    done = run(
        "batch",
        photos / "[0-3].png",
        photos / "bad.jpg",
        "-o",
        tmp_path / "out",
        *few,
        "--workers",
        2,
        "--report",
        tmp_path / "r.jsonl",
    )
    assert done.returncode == 1 and "4 made, 0 were there, 1 failed" in done.stdout, done
    assert "bad.jpg: cannot read the picture" in done.stderr and "Traceback" not in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert (
        sorted(Path(line["out"]).name for line in lines if line["error"]) == ["bad.jpg"]
        and len(lines) == 5
    )
    (photos / "bad.jpg").unlink()
    done = main("batch", photos, "-o", tmp_path / "out", *few, *scheduler)
    assert done.returncode == 0 and "4 made, 4 were there, 0 failed" in done.stdout, done
    assert hashes(tmp_path / "out") == alone
    again = main("replay", tmp_path / "out" / "0.png")
    assert re.search(
        r"deepdream dream 0.png --model toy .*--iterations 25 --octaves 3", again.stdout
    ), again


def process_group_is_gone(number):
    try:
        os.killpg(number, 0)
        return False
    except ProcessLookupError:
        return True


def test_ctrl_c_stops_cleanly_and_the_next_run_resumes(photos, model, scheduler, tmp_path):
    out = tmp_path / "out"
    Image.new("RGB", (12, 9), "grey").save(
        photos / "0.png"
    )  # made at once; the others take a while
    words = [
        "batch",
        str(photos),
        "-o",
        str(out),
        "--model",
        str(model),
        "--octaves",
        "1",
        "--iterations",
    ]
    command = [sys.executable, "-m", "deepdream", *words, "3000", "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: process.poll() is not None or list(out.glob("*.png")))
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, stderr = process.communicate(timeout=LONG)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    says = r"deepdream: stopped; [0-7] of 8 pictures are there; the same command resumes"
    assert re.search(says, stderr), stderr
    wait_until(lambda: process_group_is_gone(process.pid))
    made = {path.name for path in out.iterdir()}
    assert all(re.fullmatch(r"\d\.png", name) for name in made), "no half files"
    for name in made:  # the rest in fewer steps: this is about which are made
        (photos / name).unlink()
    done = main(*words, "1", *scheduler)
    assert (
        done.returncode == 0 and f"{8 - len(made)} made, 0 were there, 0 failed" in done.stdout
    ), done


@pytest.mark.parametrize("after", [0, 0.3, 0.8])
def test_ctrl_c_while_it_begins(photos, model, tmp_path, after):
    """At some moment of its beginning; which one depends on the machine, and any is
    right.
    """
    words = [
        "batch",
        str(photos),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(model),
        "--iterations",
        "10000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "deepdream", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(psutil.Process(process.pid).children)  # until the cluster begins
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=LONG)[1] and process.returncode == 130


def test_a_grid(tmp_path, model, scheduler):
    words = (
        "grid",
        IMAGES / "flower.jpg",
        "-o",
        tmp_path / "s.png",
        "--model",
        model,
        "--octaves",
        2,
        "--width",
        60,
    )
    done = run(*words, "--end", "both,left", "--iterations", "1,2,3", "--workers", 2)
    assert done.returncode == 0 and "6 made" in done.stdout, done
    assert dd.load_image(tmp_path / "s.png").shape[1] == 3 * 62 + 2, "three columns"
    names = {path.name for path in (tmp_path / "s.pictures").iterdir()}
    assert names == {f"{end}, iterations {n}.png" for end in ("both", "left") for n in (1, 2, 3)}
    assert dd.read_settings(tmp_path / "s.pictures" / "left, iterations 3.png")["iter_n"] == 3
    line = main("replay", tmp_path / "s.png").stdout
    assert re.match(
        "deepdream grid flower.jpg --model toy --engine caffe --layer both,left --iterations 1,2,3",
        line,
    ), line
    done = main(*words, "--end", "both,left", "--iterations", "1,2,4", *scheduler)
    assert "2 made, 4 were there, 0 failed" in done.stdout, done
    before = (tmp_path / "s.png").read_bytes()
    for ends in ("nowhere", "both,nowhere"):
        done = main(*words, "--iterations", "1,2", "--end", ends, *scheduler)
        refused(done, "^deepdream: unknown layer 'nowhere'")
    done = main(*words, "--octaves", "13,14", *scheduler)
    assert done.returncode == 1 and "0 made, 0 were there, 2 failed" in done.stdout, done
    assert (tmp_path / "s.png").read_bytes() == before, "of nothing there is no sheet"
    done = main(*words, "--octaves", "1,13", *scheduler)
    assert done.returncode == 1 and "1 made, 0 were there, 1 failed" in done.stdout, done
    assert dd.load_image(tmp_path / "s.png").shape[1] == 2 * 62 + 2, "with a blank"
    url = ("grid", (IMAGES / "flower.jpg").as_uri(), *words[2:])
    assert main(*url, "--seed", "1,2", *scheduler).returncode == 0


@pytest.mark.slow
def test_an_atlas_in_the_browser(browser, scheduler, tmp_path):
    folder = tmp_path / "atlas"
    words = (
        "atlas",
        "--layer",
        "fire9/concat",
        "--steps",
        3,
        "-o",
        folder,
        "--model",
        "squeezenet_v1.1",
    )
    done = run(*words, "--channels", "0-14,400", "--workers", 2)
    assert done.returncode == 0 and "16 made, 0 were there, 0 failed" in done.stdout, done
    assert done.stdout.splitlines()[-1] == str(folder / "index.html")
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "index.html").as_uri())
    assert (
        page.get_by_role("status").inner_text() == "16 channels"
        and page.locator("main button").count() == 16
    )
    page.get_by_label("Find a channel").fill("400")
    assert page.locator("main button:visible").all_inner_texts() == ["channel 400"]
    page.get_by_role("button", name="channel 400").click()
    line = page.locator("dialog code").inner_text()
    assert line.startswith(
        "deepdream draw 'channel(\"fire9/concat\", 400)' --model squeezenet_v1.1 --engine caffe "
    )
    assert line.endswith(" --steps 3 -o 00400.jpg")
    page.keyboard.press("Escape")
    done = main(*words, "--channels", "64", *scheduler)
    assert done.returncode == 0 and "1 made, 0 were there, 0 failed" in done.stdout, done
    page.reload()
    assert page.get_by_role("status").inner_text() == "17 channels", (
        "the page has all that is there"
    )
    page.get_by_label("Find a channel").fill("nothing")
    assert page.get_by_role("status").inner_text() == "0 of 17 channels"
    assert all(url.startswith("file://") for url in asked)
    assert (
        page.locator("main img").first.evaluate("img => img.decode().then(() => img.naturalWidth)")
        > 200
    )
    words = shlex.split(line)[1:-1]
    assert run(*words, tmp_path / "alone.jpg", env=ONE_THREAD).returncode == 0
    pictures = [dd.load_image(tmp_path / name) for name in ("alone.jpg", "atlas/00400.jpg")]
    assert np.array_equal(*pictures), "the command that it shows makes the same"
    page.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("batch none/*.jpg -o out", r"no picture matches 'none/\*.jpg'"),
        ("batch a/x.png b/x.png -o out", "a/x.png and .*b/x.png would both become .*out/x.png"),
        ("batch a/x.png -o a", "a/x.png is one of the pictures to dream of"),
        ("batch a/x.png -o out --model nowhere", "unknown model 'nowhere'"),
        ("batch a/x.png -o out --report none/r", "cannot write none/r: No such file"),
        ("batch a -o out --mask none.png", "cannot read the picture none.png"),
        ("batch a -o out --workers 0", "--workers is 0; it must be a whole number, at least 1"),
        (
            "batch a -o out --scheduler http://x:1",
            "'http://x:1' is no scheduler's address; an address looks like tcp:",
        ),
        (
            "batch a -o out --scheduler tcp://127.0.0.1",
            "'tcp://127.0.0.1' is no scheduler's address",
        ),
        ("batch a -o out --scheduler tls://127.0.0.1:9", "tls://127.0.0.1:9 needs certificates"),
        ("batch foo://x/*.jpg -o out", r"cannot list foo://x/\*.jpg: Protocol not known: foo"),
        (
            "batch a -o out --scheduler tcp://x:1 --workers 2",
            "--workers is for this machine, .* leave out one of them",
        ),
        ("batch a -o a/x.png", "a/x.png is a file; -o takes a folder"),
        (
            "grid a/x.png -o s.png",
            "a grid needs a setting with several values, such as --iterations 5,10,20",
        ),
        (
            "grid a/x.png -o s.png --iterations 1,b",
            "--iterations is 'b'; it must be a whole number from 0 to 10000",
        ),
        (
            "grid a/x.png -o s.png --end both,left,",
            "--layer is 'both,left,'; a value is missing between its commas",
        ),
        ("grid a/x.png -o s.gif --seed 1,2", "its name must end in"),
        (
            "batch a b/x.png -o out --layer boht",
            "^deepdream: unknown layer 'boht'; did you mean 'both'",
        ),
        (
            "batch a -o out --objective guide('boht','b/x.png')",
            "^deepdream: unknown layer 'boht'; did you mean 'both'",
        ),
        (
            "batch a -o out --objective guide('both','b/x.png')+L2('boht')",
            "^deepdream: unknown layer 'boht'",
        ),
        (
            "batch a -o out --objective guide('left','none.png')",
            "^deepdream: cannot read the picture none.png",
        ),
        ("batch a -o out --objective channel('both',99)", "channel of layer 'both' is 99"),
        ("batch a -o out --objective logit('banana')", "toy has no names for its classes"),
        (
            "batch a -o out --objective L2(both)",
            "^deepdream: cannot read .*'both' has no meaning in it",
        ),
        ("batch a -o out --objective L2('both') --layer both", "leave out --layer and --guide"),
        ("batch a -o out --model plain", "plain has no default layer; choose one with --layer"),
        (
            "grid a/x.png -o s.png --layer both,boht",
            "^deepdream: unknown layer 'boht'; did you mean 'both'",
        ),
        ("grid none.png -o s.png --seed 1,2", "^deepdream: cannot read the picture none.png"),
        ("atlas -o file:///x --layer both", "file:///x is a URL; an atlas takes a folder"),
        ("atlas -o atlas --layer boht", "unknown layer 'boht'; did you mean 'both'"),
        (
            "atlas -o atlas --layer both --channels 3-99",
            "--channels is '3-99'; it must be such as 0-63,200, of 0 to 9",
        ),
        ("atlas -o atlas", "required: --layer"),
    ],
)
def test_refusals(tmp_path, words, says, toy, monkeypatch):
    """Before any cluster starts, but for the pictures that would have one name."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "plain", toml="")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / folder / "x.png")
    words = words.split() if "--model" in words else [*words.split(), "--model", "toy"]
    refused(main(*words), says)
    assert not (tmp_path / "out").exists() and not (tmp_path / "atlas").exists()


def test_a_layer_is_checked_where_it_is_known_which_network_it_will_be(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPDREAM_MODELS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = complete("batch", {"images": ["a.png"], "end": "boht", "scheduler": "tcp://x:1"})
    for unknown in ({}, {"model": "/only/on/the/workers"}):
        jobs.check_common(recipe | unknown)
    for known in ({"model": "squeezenet_v1.1"}, {"model": "bvlc_googlenet"}):
        with pytest.raises(dd.DreamError, match="unknown layer 'boht'"):
            jobs.check_common(recipe | known)


def test_an_outline_tells_as_much_as_the_network(model):
    (empty := model.parent / "empty").mkdir()
    shutil.copy(model / "deploy.prototxt", empty)
    for net, outline in (
        (dd.load_net(model), jobs.outline(str(empty))),
        (dd.load_net("squeezenet_v1.1"), jobs.outline("squeezenet_v1.1")),
    ):
        assert outline.climbable == net.climbable and outline.labels == net.labels
        assert [outline.channels(layer) for layer in net.climbable] == [
            net.channels(layer) for layer in net.climbable
        ]
        assert scores(outline) == scores(net) and outline.own_size == net.own_size


def test_a_refusal_in_processes_of_their_own(tmp_path, model):
    refused(
        run("batch", "none.jpg", "-o", tmp_path / "out", "--model", model),
        "no picture matches 'none.jpg'",
    )
    refused(
        run("grid", "x.png", "-o", tmp_path / "s.png", "--model", model), "a grid needs a setting"
    )
    refused(
        run("atlas", "--layer", "boht", "-o", tmp_path / "a", "--model", model),
        "unknown layer 'boht'",
    )


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(batch, "PATIENCE", 1)
    says = (
        r"no scheduler answers at tcp://127.0.0.1:9 within 1 seconds; `dask scheduler` starts one"
    )
    with pytest.raises(dd.DreamError, match=says), batch.connect("tcp://127.0.0.1:9"):
        pass


def test_a_scheduler_without_workers(tmp_path, photos, model, monkeypatch):
    says = r"the scheduler at tcp://.* has no workers; `dask worker tcp://.*` starts one"
    with cluster(tmp_path, workers=0) as (address, _), batch.connect(address) as client:
        monkeypatch.setattr(batch, "PATIENCE", 1)
        with pytest.raises(dd.DreamError, match=says):
            list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
