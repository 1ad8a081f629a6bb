"""Runs that are stopped, killed and resumed."""

import os
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from conftest import main, mounted, refused, write_model
from learning import ENGINES, PHOTO, command, draw_classes, draw_loose, few, learn, same, weights

import deepdream as dd
from deepdream.train import lessons, train, trainers

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
each_engine = pytest.mark.parametrize("engine", ENGINES)
KILLED = """
import os, signal, sys
import numpy as np
from deepdream.train import train
pictures, out, toy, engine, moment = sys.argv[1:]
def on_step(lesson):
    if moment == "step" and lesson.step == 33:
        os.kill(os.getpid(), signal.SIGKILL)
def savez(path, done=0, **state):
    write(path, done=done, **state)
    if moment == "state" and done == 40:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
write, np.savez = np.savez, savez
given = {"model": toy, "engine": engine, "steps": 50, "batch": 6, "rate": 0.005}
train(pictures, out, on_step, freeze="none", **given)
"""


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("patterns") / "pictures", 30)


def steps_of(lessons):
    return [lesson.step for lesson in lessons]


@each_engine
@pytest.mark.parametrize("moment", ["step", "state"])
def test_a_run_that_is_killed_and_resumed_learns_the_same(tmp_path, toy, patterns, engine, moment):
    """A real process, killed after step 33, or while it writes the state of step 40."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    given = few(toy, engine=engine, steps=50, freeze="none")
    learn(patterns, whole, **given)
    words = [*map(str, (patterns, out, toy)), engine, moment]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words])
    assert killed.returncode == -signal.SIGKILL
    assert steps_of(learn(patterns, out, **given)) == list(range(21, 51))
    assert same(weights(out), weights(whole))
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


@each_engine
def test_a_run_that_is_stopped_within_a_step_learns_the_same(
    tmp_path, toy, patterns, engine, monkeypatch
):
    """Python sees Ctrl-C when Caffe's step, or PyTorch's operation, has returned."""
    given = few(toy, engine=engine, steps=30, freeze="none")
    learn(patterns, tmp_path / "whole", **given)
    kind = trainers.TRAINERS[engine]
    step, calls = kind.step, []

    def interrupt(self, data, classes):
        calls.append(step(self, data, classes))
        if len(calls) == 13:
            signal.raise_signal(signal.SIGINT)
        return calls[-1]

    monkeypatch.setattr(kind, "step", interrupt)
    stopped = train(patterns, tmp_path / "out", **given)
    assert stopped.stopped and stopped.steps in (12, 13)
    assert dd.load_net(tmp_path / "out", engine).default_layer == "both"
    assert train(patterns, tmp_path / "out", **given).steps == 30
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_ctrl_c_in_a_real_process(tmp_path, toy, patterns):
    out = tmp_path / "out"
    given = "--engine", "caffe", "--batch", 6, "--rate", 0.005
    words = ["train", patterns, "-o", out, "--from", toy, *given, "--steps"]
    program = [sys.executable, "-m", "deepdream", *map(str, words), str(10**6)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(program, text=True, **pipes)
    state = out / "state.npz"
    while process.poll() is None and not (state.exists() and np.load(state)["done"]):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130 and not stderr, stderr
    steps = int(stdout.split("stopped after ")[1].split(" of ")[0])
    assert stdout.startswith(f"{out} (stopped after ") and steps >= 20
    about = tomllib.loads((out / "model.toml").read_text())
    assert about["trained"]["steps"] == steps
    done = main(*words, steps + 5)
    assert done.returncode == 0 and f"after {steps + 5} steps" in done.stdout, done


@pytest.mark.parametrize("watch", [(), ("--watch", PHOTO, "--width", 48)], ids=["", "watching"])
def test_ctrl_c_before_the_first_step(tmp_path, toy, patterns, monkeypatch, watch):
    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(lessons.Crops, "batches", interrupt)
    words = "--engine", "caffe", "--steps", 2, *watch
    done = command(patterns, tmp_path / "out", toy, *words)
    assert done.returncode == 130 and done.stderr == "deepdream: stopped\n", done
    assert not list(tmp_path.glob("out/*.caffemodel"))
    monkeypatch.undo()
    done = command(patterns, tmp_path / "out", toy, *words)
    assert done.returncode == 0, "what it left is not in the way"


def test_on_step_stops_and_a_second_run_continues(tmp_path, toy):
    loose = draw_loose(tmp_path / "loose")
    given, out = few(toy, steps=30), tmp_path / "out"
    stopped = train(loose, out, lambda lesson: lesson.step == 7, **given)
    assert stopped == (out, 7, None, True)
    assert dd.load_net(out, "torch").default_layer == "both"
    assert steps_of(learn(loose, out, **given)) == list(range(8, 31))
    before = weights(out)
    learn(loose, tmp_path / "whole", **given)
    # As if it had not stopped; the groups stay as they are
    assert same(before, weights(tmp_path / "whole"))
    for steps in (30, 5):
        assert learn(loose, out, **given | {"steps": steps}) == []
        assert same(weights(out), before), "the same again does nothing"
    assert steps_of(learn(loose, out, **given | {"steps": 33})) == [31, 32, 33]
    assert len(learn(loose, out, **given | {"rate": 0.001, "restart": True})) == 30


def test_other_settings_and_pictures_are_refused(tmp_path, toy, patterns):
    out = tmp_path / "out"
    given = "--engine", "caffe", "--steps", 2, "--batch", 4
    assert command(patterns, out, toy, *given).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    others = {"--rate": 0.5, "--layer": "left", "--seed": 4, "--batch": 5}
    others |= {"--engine": "torch", "--freeze": "none", "--keep-out": 0.5}
    for option, value in others.items():
        done = command(patterns, out, toy, *given, option, value)
        now = f"and now it is '?{value}'?; go back .*--restart"
        refused(done, f"the network in .* was begun with {option} .*, {now}")
    toyy = write_model(tmp_path / "other" / "toyy")
    refused(command(patterns, out, toyy, *given), "with --from 'toy'")
    pictures = draw_classes(tmp_path / "others", 4)
    done = command(pictures, out, toy, *given)
    refused(done, "has learnt other pictures than .*--from .*--restart")
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert command(pictures, out, toy, *given, "--restart").returncode == 0
    moved = pictures.rename(tmp_path / "moved")
    assert command(moved, out, toy, *given).returncode == 0


def test_a_restart_that_is_killed_does_not_bring_the_old_network_back(tmp_path, toy, patterns):
    out = tmp_path / "out"
    learn(patterns, out, **few(toy, steps=60))
    with pytest.raises(ZeroDivisionError):
        train(patterns, out, lambda lesson: 1 / 0, **few(toy, steps=70, restart=True))
    assert learn(patterns, out, **few(toy, steps=70))[0].step == 1


def test_two_runs_at_once_do_not_meet(tmp_path, toy, patterns):
    says = "another process is making the network in .*; wait for it, or choose another name"

    def on_step(lesson):
        refused(command(patterns, tmp_path / "out", toy), says)

    train(patterns, tmp_path / "out", on_step, **few(toy, steps=2))


def test_a_damaged_state(tmp_path, toy, patterns):
    out = tmp_path / "out"
    assert command(patterns, out, toy, "--steps", 2).returncode == 0
    path = out / "state.npz"
    state = path.read_bytes()
    holed = state.replace("rate".encode("utf-32-le"), bytes(16))
    for damaged in (b"PK", b"", state[: len(state) // 2], holed):
        path.write_bytes(damaged)
        done = command(patterns, out, toy, "--steps", 2)
        refused(done, r"cannot read .*state\.npz.*--restart")
    assert command(patterns, out, toy, "--steps", 2, "--restart").returncode == 0


def test_a_folder_with_other_files_is_left_alone(tmp_path, toy, patterns):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "labels.txt").write_text("mine")
    for more in ((), ("--restart",)):
        done = command(patterns, mine, toy, *more)
        refused(done, "holds other files, and no network to resume; choose another")
    assert os.listdir(mine) == ["labels.txt"]
    assert (mine / "labels.txt").read_text() == "mine"


def test_a_disk_that_fills_up(tmp_path, toy, patterns):
    words = "--steps", 3, "--batch", 4
    with mounted(tmp_path / "full", "size=24k"):
        out = tmp_path / "full" / "out"
        done = command(patterns, out, toy, *words)
        refused(done, r"cannot write .*No space left on device")
        remount = ["mount", "-o", "remount,size=9m", tmp_path / "full"]
        subprocess.run(remount, check=True)
        assert command(patterns, out, toy, *words).returncode == 0
        assert dd.load_net(out).default_layer == "both"
