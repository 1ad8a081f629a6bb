"""Many dreams at once: against single dreams to the bit, on real schedulers and workers, which die and are refused."""

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
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import refused, run, write_model
from PIL import Image

import deepdream as dd

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'deepdream[batch]'")
from deepdream import batch

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # as Dask's workers have; with two, sums differ in their last bits
IMAGES = Path(__file__).parent.parent / "images"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def client():
    with batch.connected(workers=2) as client:
        yield client


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
    return [few | {"image": str(path), "out": str(out / path.name)} for path in sorted(photos.iterdir())]


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("[!.]*.png")}


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """{name: hash} of the eight dreams, each made by a process of its own."""
    folder = tmp_path_factory.mktemp("alone")
    for path in write_photos(folder / "photos").iterdir():
        few = ("--iterations", 25, "--octaves", 3, "--seed", 0)
        assert run("dream", path, "-o", folder / path.name, "--model", model, *few, env=ONE_THREAD).returncode == 0
    return hashes(folder)


def test_pictures_are_those_of_single_dreams_to_the_bit(client, photos, model, alone, tmp_path):
    reports = list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
    assert hashes(tmp_path / "out") == alone
    assert len(reports) == 8 and len({report["out"] for report in reports}) == 8
    for report in reports:
        assert report["error"] is None and report["skipped"] is False and report["host"] == socket.gethostname()
        assert report["sha256"] == alone[Path(report["out"]).name] and report["seconds"] > 0
        assert 1e7 < report["memory"] < 2e9 and report["settings"]["iter_n"] == 25
    with batch.connected(workers=1) as one:
        list(batch.dream_many(jobs_for(photos, model, tmp_path / "one"), one))
    assert hashes(tmp_path / "one") == alone, "whatever the number of workers"


def test_what_is_there_is_not_made_again(client, photos, model, tmp_path):
    jobs = jobs_for(photos, model, tmp_path / "out")
    list(batch.dream_many(jobs[:3], client))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    first, second, third = sorted(times)
    second.write_bytes(second.read_bytes()[:500])  # damaged
    Image.open(jobs[2]["image"]).rotate(180).save(jobs[2]["image"])  # another picture by the same name
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
        {"image": f"file://{photos}/0.png", "model": str(model), "iter_n": 1, "out": f"file://{tmp_path}/u.jpg"},
    ]
    shutil.copytree(photos, tmp_path / "guides")
    shutil.copy(photos / "1.png", tmp_path / "guides" / "0.png")  # by the same name, and another
    jobs[1]["guide"] = f"file://{tmp_path}/guides/0.png"
    for skipped in (False, True):
        reports = list(batch.dream_many(jobs, client))
        assert [(report["error"], report["skipped"]) for report in reports] == [(None, skipped)] * 2
    net = dd.load_net(model, "caffe")
    assert np.array_equal(dd.load_image(tmp_path / "d.png"), np.uint8(dd.draw(net, text, steps=3)))
    told = dd.read_settings(tmp_path / "u.jpg")
    assert told["image"] == told["guide"] == "0.png" and told["sha256"]["image"] != told["sha256"]["guide"]


def test_the_memory_is_shared_out(client, monkeypatch):
    shares = client.run(lambda: os.environ["DEEPDREAM_MEMORY"], workers=None).values()
    assert len(shares) == 2 and 1e8 < 2 * 2 * int(next(iter(shares))) < 1e12
    assert set(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == {"1"}


def test_the_page_of_an_atlas_takes_any_name(tmp_path):
    layer = "a</title>DATA'LAYER"
    settings = {"deepdream": "1", "draw": [f"channel({json.dumps(layer)}, 1)"], "steps": 3}
    for name, of in (("00001.jpg", settings), ("00002.jpg", settings | {"draw": ["banana"]}), ("x.jpg", settings)):
        dd.save_image(tmp_path / name, np.zeros((9, 9, 3)), of)
    text = batch.write_atlas(tmp_path, layer, ["DATA", "</script>, b"]).read_text()
    assert "<title>a&lt;/title&gt;DATA&#x27;LAYER</title>" in text and text.count("</script>") == 2
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1])
    told = f"deepdream draw {shlex.quote(settings['draw'][0])} --steps 3 -o 00001.jpg"
    assert data == {"layer": layer, "tiles": [{"n": 1, "name": "1 </script>", "file": "00001.jpg", "command": told}]}
    assert batch.write_atlas(tmp_path, "other", []) is None


def test_a_job_that_fails_is_told_and_the_rest_goes_on(client, photos, model, tmp_path):
    jobs = jobs_for(photos, model, tmp_path / "out")
    Path(jobs[1]["image"]).write_text("no picture")
    jobs[2] |= {"end": "boht"}
    jobs[3] |= {"iter_n": -1}
    jobs[4] |= {"image": f"file://{photos}/none.png"}
    errors = {Path(report["out"]).stem: report["error"] for report in batch.dream_many(jobs, client)}
    assert [name for name, error in sorted(errors.items()) if error is None] == ["0", "5", "6", "7"]
    for name, says in (("1", "cannot read the picture"), ("2", "did you mean 'both'?"), ("3", "iter_n is -1")):
        assert says in errors[name]
    assert "cannot copy file://" in errors["4"]


def test_what_is_refused_before_anything_is_done(client, photos, model, tmp_path, monkeypatch):
    jobs = jobs_for(photos, model, tmp_path / "out")
    for wrong, says in (
        ([jobs[0], jobs[1] | {"out": jobs[0]["out"]}], "would both become .*0.png"),
        ([jobs[0] | {"out": jobs[0]["image"]}], "is one of the pictures to dream of"),
        ([jobs[0] | {"out": "x.gif"}], "a job's out is 'x.gif'; it must be a path or URL that ends in .jpg"),
        ([jobs[0] | {"model": "places205_googlenet"}], "places205_googlenet has no prototxt yet|no caffemodel yet"),
    ):
        with pytest.raises(dd.DreamError, match=says):
            list(batch.dream_many(wrong, client))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(batch, "__version__", "9.9")
    host = socket.gethostname()
    with pytest.raises(
        dd.DreamError, match=rf"the worker tcp://.* on {host} has deepdream {dd.__version__}, and here is 9.9"
    ):
        list(batch.dream_many(jobs, client))


class Workers(list):
    """The processes of a cluster's workers; and that of its `scheduler`."""


@contextmanager
def cluster(tmp_path, workers=2, host="127.0.0.1", scheduler=(), worker=lambda i: (), env=None, threads=1):
    """A scheduler and its workers, each a process; yields (its address, the workers)."""
    python, processes = (sys.executable, "-m", "dask"), []
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}

    def start(prefix, *words):
        env_of = os.environ | {"OMP_NUM_THREADS": "1"} | (env or {})
        processes.append(subprocess.Popen([*prefix, *python, *map(str, words)], env=env_of, cwd=tmp_path, **output))
        return processes[-1]

    try:
        file = tmp_path / "scheduler.json"
        start(scheduler, "scheduler", "--host", host, "--port", 0, "--scheduler-file", file, "--no-dashboard")
        for _ in range(300):
            if file.exists() and file.read_text().endswith("}"):
                break
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        few = "--nthreads", threads, "--no-nanny", "--no-dashboard"
        started = Workers(start(worker(i), "worker", address, *few) for i in range(workers))
        started.scheduler = processes[0]
        yield address, started
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(20)


def test_a_cluster_that_loses_a_worker_makes_all_the_same(photos, model, alone, tmp_path):
    with cluster(tmp_path) as (address, workers), batch.connected(address) as client:
        client.wait_for_workers(2, timeout=30)
        reports = batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client)
        done = [next(reports), next(reports)]
        assert len(hashes(tmp_path / "out")) < 8
        workers[0].send_signal(signal.SIGKILL)
        done += reports
    assert [report["error"] for report in done] == [None] * 8
    assert hashes(tmp_path / "out") == alone


def test_what_a_worker_lacks_is_said_with_its_host(photos, model, tmp_path):
    fake, known = tmp_path / "fake", tmp_path / "cache" / "deepdream" / "models" / "bvlc_googlenet"
    fake.mkdir()
    known.mkdir(parents=True)
    (fake / "caffe.py").write_text("raise ImportError('libboost is gone')")
    (known / "failed").write_text("the weights of bvlc_googlenet cannot be had")
    lacking = {"PYTHONPATH": str(fake), "XDG_CACHE_HOME": str(tmp_path / "cache"), "DEEPDREAM_MODELS": ""}
    jobs = jobs_for(photos, model, tmp_path / "out")
    with cluster(tmp_path, 1, env=lacking) as (address, _), batch.connected(address) as client:
        for wrong, says in (
            ({"engine": "caffe"}, "the engine 'caffe' cannot be imported .*libboost is gone"),
            ({"engine": "torch", "model": "bvlc_googlenet"}, "the weights of bvlc_googlenet cannot be had"),
        ):
            if wrong["engine"] == "torch":
                pytest.importorskip("torch")
            with pytest.raises(
                dd.DreamError, match=rf"the worker tcp://.* on {socket.gethostname()} cannot dream: {says}"
            ):
                list(batch.dream_many([jobs[0] | wrong], client))


def test_several_threads_of_one_worker_do_not_mix_up_their_pictures(photos, model, alone, tmp_path):
    with cluster(tmp_path, 1, worker=lambda i: (), threads=4) as (address, _), batch.connected(address) as client:
        reports = list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
    assert [report["error"] for report in reports] == [None] * 8 and hashes(tmp_path / "out") == alone


def test_a_scheduler_that_goes(photos, model, tmp_path):
    with cluster(tmp_path, 1) as (address, workers), batch.connected(address) as client:
        reports = batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client)
        next(reports)
        workers.scheduler.kill()
        with pytest.raises(dd.DreamError, match=r"the scheduler at tcp://.* is gone; what is done is there"):
            list(reports)


def test_other_weights_make_another_picture(client, photos, model, tmp_path):
    other = write_model(tmp_path / "toy")
    random = np.random.RandomState(1)
    weights = dd.caffemodel.read_weights(other / "toy.caffemodel")
    for blobs in weights.values():
        blobs[0] = np.float32(random.normal(0, 0.1, blobs[0].shape))
    dd.caffemodel.write_weights(other / "toy.caffemodel", weights)
    job = jobs_for(photos, model, tmp_path / "out")[0]
    [first] = batch.dream_many([job], client)
    [second] = batch.dream_many([job | {"model": str(other)}], client)
    assert not second["skipped"] and first["sha256"] != second["sha256"]


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
        ip("link", "add", "dream0", "netns", a, "type", "veth", "peer", "name", "dream1", "netns", b)
        for name, wire, address in ((a, "dream0", "10.77.0.1/24"), (b, "dream1", "10.77.0.2/24")):
            ip("-n", name, "addr", "add", address, "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
        here, there = (("ip", "netns", "exec", name) for name in (a, b))
        out = tmp_path / "out"
        with cluster(tmp_path, 1, "10.77.0.1", here, lambda _: there) as (address, _):
            assert "10.77.0.1" in address
            command = [*here, sys.executable, "-m", "deepdream", "batch", photos, "-o", out, "--model", model]
            command += ["--scheduler", address, "--iterations", 25, "--octaves", 3]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "8 made, 0 were there, 0 failed" in done.stdout, done
        assert hashes(out) == alone
    finally:
        for name in (a, b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_the_command_batch(photos, model, alone, tmp_path):
    few = ("--model", model, "--iterations", 25, "--octaves", 3, "--workers", 2)
    (photos / ".0.png").write_text("a hidden file")
    (photos / "bad.jpg").write_text("no picture")
    done = run("batch", photos / "[0-3].png", photos / "bad.jpg", "-o", tmp_path / "out", *few,
               "--report", tmp_path / "r.jsonl")  # fmt: skip
    assert done.returncode == 1 and "4 made, 0 were there, 1 failed" in done.stdout, done
    assert "bad.jpg: cannot read the picture" in done.stderr and "Traceback" not in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(Path(line["out"]).name for line in lines if line["error"]) == ["bad.jpg"] and len(lines) == 5
    (photos / "bad.jpg").unlink()
    done = run("batch", photos, "-o", tmp_path / "out", *few)
    assert done.returncode == 0 and "4 made, 4 were there, 0 failed" in done.stdout, done
    assert hashes(tmp_path / "out") == alone
    again = run("replay", tmp_path / "out" / "0.png")
    assert re.search(r"deepdream dream 0.png --model toy .*--iterations 25 --octaves 3", again.stdout), again


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(photos, model, tmp_path):
    out = tmp_path / "out"
    words = ["batch", str(photos), "-o", str(out), "--model", str(model), "--workers", "2", "--iterations", "200"]
    process = subprocess.Popen([sys.executable, "-m", "deepdream", *words], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    while not list(out.glob("*.png")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    assert re.search(r"deepdream: stopped; [0-7] of 8 pictures are there, the same command goes on", stderr), stderr
    with suppress(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        pytest.fail("a process is left")
    made = {path.name for path in out.iterdir()}
    assert all(re.fullmatch(r"\d\.png", name) for name in made), "no half files"
    done = run(*words)
    assert done.returncode == 0 and f"{len(made)} were there, 0 failed" in done.stdout, done


@pytest.mark.parametrize("after", [0, 0.3, 0.8])
def test_ctrl_c_while_it_begins(photos, model, tmp_path, after):
    words = ["batch", str(photos), "-o", str(tmp_path / "out"), "--model", str(model), "--iterations", "2000"]
    process = subprocess.Popen([sys.executable, "-m", "deepdream", *words], stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    while not psutil.Process(process.pid).children():  # until the cluster begins
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=60)[1] and process.returncode == 130


def test_a_grid(tmp_path, model):
    words = ("grid", IMAGES / "flower.jpg", "-o", tmp_path / "s.png", "--model", model, "--octaves", 2, "--width", 60)
    done = run(*words, "--end", "both,left", "--iterations", "1,2,3", "--workers", 2)
    assert done.returncode == 0 and "6 made" in done.stdout, done
    assert dd.load_image(tmp_path / "s.png").shape[1] == 3 * 62 + 2, "three columns"
    names = {path.name for path in (tmp_path / "s.pictures").iterdir()}
    assert names == {f"{end}, iterations {n}.png" for end in ("both", "left") for n in (1, 2, 3)}
    assert dd.read_settings(tmp_path / "s.pictures" / "left, iterations 3.png")["iter_n"] == 3
    told = run("replay", tmp_path / "s.png").stdout
    assert re.search(
        "deepdream grid flower.jpg --model toy --engine caffe --layer both,left --iterations 1,2,3", told
    ), told
    done = run(*words, "--end", "both,left", "--iterations", "1,2,4", "--workers", 1)
    assert "2 made, 4 were there, 0 failed" in done.stdout, done
    before = (tmp_path / "s.png").read_bytes()
    done = run(*words, "--iterations", "1,2", "--end", "nowhere", "--workers", 1)
    assert done.returncode == 1 and "unknown layer 'nowhere'" in done.stderr
    assert (tmp_path / "s.png").read_bytes() == before, "of nothing there is no sheet"
    done = run(*words, "--end", "both,nowhere,both", "--workers", 1)
    assert done.returncode == 1 and "1 made, 0 were there, 1 failed" in done.stdout
    assert dd.load_image(tmp_path / "s.png").shape[1] == 2 * 62 + 2, "with a blank"
    url = ("grid", (IMAGES / "flower.jpg").as_uri(), *words[2:])
    assert run(*url, "--seed", "1,2", "--workers", 1).returncode == 0


def test_an_atlas_of_64_channels_in_the_browser(browser, tmp_path):
    done = run("atlas", "--layer", "fire9/concat", "--channels", "0-62,400", "--steps", 3, "-o", tmp_path / "atlas",
               "--model", "squeezenet_v1.1")  # fmt: skip
    assert done.returncode == 0 and "64 made, 0 were there, 0 failed" in done.stdout, done
    assert done.stdout.splitlines()[-1] == str(tmp_path / "atlas" / "index.html")
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "atlas" / "index.html").as_uri())
    assert page.get_by_role("status").inner_text() == "64 channels" and page.locator("main button").count() == 64
    page.get_by_label("Find a channel").fill("400")
    assert page.locator("main button:visible").all_inner_texts() == ["channel 400"]
    page.get_by_role("button", name="channel 400").click()
    told = page.locator("dialog code").inner_text()
    assert told.startswith("deepdream draw 'channel(\"fire9/concat\", 400)' --model squeezenet_v1.1 --engine caffe ")
    assert told.endswith(" --steps 3 -o 00400.jpg")
    page.keyboard.press("Escape")
    done = run("atlas", "--layer", "fire9/concat", "--channels", "64", "--steps", 3, "-o", tmp_path / "atlas",
               "--model", "squeezenet_v1.1", "--workers", 1)  # fmt: skip
    page.reload()
    assert page.get_by_role("status").inner_text() == "65 channels", "the page has all that is there"
    page.get_by_label("Find a channel").fill("nothing")
    assert page.get_by_role("status").inner_text() == "0 of 65 channels"
    assert all(url.startswith("file://") for url in asked)
    assert page.locator("main img").first.evaluate("img => img.decode().then(() => img.naturalWidth)") > 200
    words = shlex.split(told)[1:-1]
    assert run(*words, tmp_path / "alone.jpg", env=ONE_THREAD).returncode == 0
    pictures = [dd.load_image(tmp_path / name) for name in ("alone.jpg", "atlas/00400.jpg")]
    assert np.array_equal(*pictures), "the command that it tells makes the same"
    page.close()


@pytest.mark.parametrize(
    "words, says",
    [
        (("batch", "none/*.jpg", "-o", "out"), "no picture matches 'none/\\*.jpg'"),
        (("batch", "a/x.png", "b/x.png", "-o", "out"), "a/x.png and .*b/x.png would both become .*out/x.png"),
        (("batch", "a/x.png", "-o", "a"), "a/x.png is one of the pictures to dream of"),
        (("batch", "a/x.png", "-o", "out", "--model", "nowhere"), "unknown model"),
        (("batch", "a/x.png", "-o", "out", "--report", "none/r"), "cannot write none/r: No such file"),
        (("grid", "a/x.png", "-o", "s.png"), "a grid needs a knob with several values"),
        (("grid", "a/x.png", "-o", "s.png", "--iterations", "1,b"), "--iterations is '1,b'; it must be numbers"),
        (
            ("grid", "a/x.png", "-o", "s.png", "--end", "both,left,"),
            "--end is 'both,left,'; between its commas|--layer is",
        ),
        (("batch", "a", "-o", "out", "--mask", "none.png"), "cannot read the picture none.png"),
        (("batch", "a", "-o", "out", "--workers", "0"), "--workers is 0; it must be a whole number above 0"),
        (("batch", "a", "-o", "out", "--scheduler", "http://x:1"), "is no scheduler's address; that is such as tcp://"),
        (("batch", "a", "-o", "out", "--scheduler", "tcp://127.0.0.1"), "is no scheduler's address"),
        (("atlas", "-o", "file:///x", "--layer", "both", "--model", "toy"), "is a URL; an atlas takes a folder"),
        (("grid", "a/x.png", "-o", "s.gif", "--seed", "1,2"), "its name must end in"),
        (("atlas", "-o", "atlas", "--layer", "boht", "--model", "toy"), "unknown layer 'boht'; did you mean 'both'"),
        (
            ("atlas", "-o", "atlas", "--layer", "both", "--model", "toy", "--channels", "3-99"),
            "channels is '3-99'; .* 0 to 9",
        ),
    ],
)
def test_refusals(tmp_path, words, says, toy):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / folder / "x.png")
    words = (*words, "--model", "toy") if "--model" not in words else words
    refused(run(*words, cwd=tmp_path), says)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there(monkeypatch):
    assert batch.PATIENCE == 10
    monkeypatch.setattr(batch, "PATIENCE", 1)
    says = r"no scheduler answers at tcp://127.0.0.1:9 within 1 seconds; `dask scheduler` starts one"
    with pytest.raises(dd.DreamError, match=says), batch.connected("tcp://127.0.0.1:9"):
        pass


def test_a_scheduler_without_workers(tmp_path, photos, model, monkeypatch):
    monkeypatch.setattr(batch, "PATIENCE", 1)
    says = r"the scheduler at tcp://.* has no workers; `dask worker tcp://.*` starts one"
    with (
        cluster(tmp_path, workers=0) as (address, _),
        batch.connected(address) as client,
        pytest.raises(dd.DreamError, match=says),
    ):
        list(batch.dream_many(jobs_for(photos, model, tmp_path / "out"), client))
