"""Training: two engines against each other and plain PyTorch; what is written; runs
that are stopped; odd pictures.
"""

import os
import re
import signal
import struct
import subprocess
import sys
import time
import tomllib
import zlib
from itertools import islice
from pathlib import Path

import caffe
import numpy as np
import pytest
from conftest import load, main, mounted, refused, write_model
from PIL import Image

import deepdream as dd
from deepdream import recipe
from deepdream.films import files as films
from deepdream.nets import caffemodel, zoo
from deepdream.train import Training, lessons, train, trainers

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
ENGINES = "caffe", "torch"
PHOTO = Path(__file__).parents[2] / "images" / "mountains.jpg"
each_engine = pytest.mark.parametrize("engine", ENGINES)
EASY = {
    "rate": 0.01,
    "freeze": "none",
    "steps": 300,
    "batch": 12,
    "keep_out": 0.3,
    "seed": 7,
}  # for the toy to learn
BATCH_NORM = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" dropout_param { dropout_ratio: 0.4 } }
layer { name: "both" type: "Convolution" bottom: "conv" top: "both" convolution_param { num_output: 6 kernel_size: 3 } }
"""


def pattern(kind, rng, plain=False):
    """Rows, columns or checks of two colours, (48, 64, 3)."""
    y, x = (np.mgrid[:48, :64] + rng.integers(0, 9, (2, 1, 1))) // rng.integers(4, 8)
    light = {"rows": y, "columns": x, "checks": x + y}[kind] % 2
    a, b = ((0, 0, 0), (255, 255, 255)) if plain else rng.uniform(0, 255, (2, 3))
    return np.where(light[..., None], a, b)


def draw_classes(folder, n=10, kinds=("checks", "columns", "rows")):
    """A folder of n pictures for each class."""
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for i in range(n):
            dd.save_image(folder / kind / f"secret{i:02}.png", pattern(kind, rng))
    return folder


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("patterns") / "pictures", 30)


@pytest.fixture
def loose(tmp_path):
    """A folder with pictures alone: first 16 of rows, then 16 of columns."""
    (tmp_path / "loose").mkdir()
    for i in range(32):
        kind = "rows" if i < 16 else "columns"
        dd.save_image(
            tmp_path / "loose" / f"{i:02}.png", pattern(kind, np.random.default_rng(i), plain=True)
        )
    return tmp_path / "loose"


def prepare(pictures, out="unused", **settings):
    return Training(recipe.complete("train", {"pictures": str(pictures)} | settings), Path(out))


def few(toy, **settings):
    """Settings for a quick training of the toy."""
    return {
        "model": str(toy),
        "engine": "caffe",
        "steps": 10,
        "batch": 6,
        "rate": 0.005,
        **settings,
    }


def learn(pictures, out, **settings):
    """All Crops of a training."""
    seen = []
    train(pictures, out, lambda lesson: seen.append(lesson), **settings)
    return seen


def weights(folder):
    return caffemodel.read_weights(folder / "weights.caffemodel")


def same(a, b):
    """Whether two networks' weights are the same to the bit."""
    return a.keys() == b.keys() and all(
        np.array_equal(x, y) for name in a for x, y in zip(a[name], b[name])
    )


# The arithmetic


@pytest.mark.parametrize("model", ["toy", "batch norm", "squeezenet_v1.1"])
def test_both_engines_learn_the_same(tmp_path, toy, patterns, model):
    if model == "batch norm":
        folder = write_model(tmp_path / "norm", BATCH_NORM)
        inside = caffemodel.read_weights(folder / "toy.caffemodel")
        inside["norm"] = [np.float32([5] * 8), np.float32([900] * 8), np.float32([1])]
        caffemodel.write_weights(folder / "toy.caffemodel", inside)
    given = {
        "model": str({"toy": toy, "batch norm": tmp_path / "norm"}.get(model, model)),
        "steps": 10,
        "batch": 4,
    }
    given |= {"rate": 0.005, "seed": 3, "keep_out": 0}
    losses = [
        [lesson.loss for lesson in learn(patterns, tmp_path / e, engine=e, **given)]
        for e in ENGINES
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-3)
    assert losses[0][-1] != losses[0][0]
    ours, theirs = (weights(tmp_path / engine) for engine in ENGINES)
    for name in theirs:
        for a, b in zip(ours[name], theirs[name]):
            np.testing.assert_allclose(a, b, atol=1e-3 * max(1, abs(b).max()))


@each_engine
def test_the_update_is_caffes_rule_on_the_network_written_in_pytorch(toy, patterns, engine):
    import torch

    F = torch.nn.functional
    training = prepare(patterns, **few(toy, engine=engine, freeze="none", steps=8))
    trainer = training._make_trainer()
    p = {
        name: [torch.tensor(a, requires_grad=True) for a in blobs]
        for name, blobs in trainer.weights().items()
    }
    changes = {name: [torch.zeros_like(blob) for blob in blobs] for name, blobs in p.items()}
    for i, (data, classes) in enumerate(training.crops.batches(0, 6, 6)):
        low = F.max_pool2d(
            F.relu(F.conv2d(torch.tensor(data), *p["conv1"], stride=2, padding=2)),
            3,
            2,
            ceil_mode=True,
        )
        both = torch.cat([F.conv2d(low, *p["left"]), F.conv2d(low, *p["right"], padding=1)], 1)
        loss = F.cross_entropy(
            F.linear(10 * F.normalize(both.mean((2, 3))), *p["classes"]), torch.tensor(classes)
        )
        assert trainer.step(data, classes) == pytest.approx(loss.item(), rel=1e-3)
        for name, blobs in p.items():
            rate = (0.0025 if name == "classes" else 0.005) * (1 - i / 8)
            for k, (blob, gradient) in enumerate(
                zip(blobs, torch.autograd.grad(loss, blobs, retain_graph=True))
            ):
                changes[name][k] = 0.9 * changes[name][k] + rate * (gradient + 1e-4 * blob.detach())
        p = {
            name: [
                (blob.detach() - change).requires_grad_()
                for blob, change in zip(blobs, changes[name])
            ]
            for name, blobs in p.items()
        }
    for name, blobs in trainer.weights().items():
        for ours, theirs in zip(blobs, p[name]):
            np.testing.assert_allclose(ours, theirs.detach(), atol=2e-5)


@each_engine
def test_frozen_layers_stay_to_the_bit_and_the_others_change(tmp_path, toy, patterns, engine):
    before = caffemodel.read_weights(toy / "toy.caffemodel")
    for freeze, frozen in (
        (None, {"conv1"}),
        ("conv1", {"conv1"}),
        ("left", {"conv1", "left"}),
        ("none", set()),
    ):
        out = tmp_path / str(freeze)
        learn(patterns, out, **few(toy, engine=engine, freeze=freeze, steps=3))
        after = weights(out)
        stay = {
            name
            for name in ("conv1", "left", "right")
            if np.array_equal(before[name][0], after[name][0])
        }
        assert stay == frozen and np.array_equal(before["conv1"][1], after["conv1"][1]) == (
            freeze != "none"
        )


@each_engine
def test_the_classifier_sees_features_of_one_length(toy, patterns, engine):
    training = prepare(patterns, **few(toy, engine=engine))
    trainer = training._make_trainer()
    for strength in (0.1, 1, 30):
        data = strength * training.crops.make_batch(0, 6)[0]
        trainer.look(data)
        np.testing.assert_allclose(
            np.linalg.norm(trainer.blob("classes/norm"), axis=1).ravel(), 10, rtol=1e-3
        )


@each_engine
def test_every_layer_that_a_dream_can_climb_with_places_can_be_trained(
    tmp_path, toy, patterns, engine
):
    for end in ("conv1", "pool1", "left", "right", "both"):
        learn(patterns, tmp_path / end, **few(toy, engine=engine, end=end, freeze="none", steps=2))
        assert dd.load_net(tmp_path / end, engine).default_layer == end


# What is learnt, and written


@each_engine
def test_it_learns(tmp_path, toy, patterns, engine):
    trained = train(patterns, tmp_path / "out", **few(toy, engine=engine) | EASY)
    assert trained.steps == 300 and trained.accuracy >= 0.8 and not trained.stopped
    net, right = dd.load_net(tmp_path / "out", engine), []
    for number, name in enumerate(zoo.labels(net.model)):  # pictures that nobody has seen
        for i in range(10):
            image = Image.fromarray(
                np.uint8(pattern(name, np.random.default_rng(1000 + i)))
            ).resize((32, 24))
            net.blobs["data"].data[0] = dd.preprocess(net, np.asarray(image, np.float32))
            net.forward(end="prob")
            right.append(net.blobs["prob"].data[0].argmax() == number)
    assert np.mean(right) >= 0.8


def test_pictures_without_classes_are_sorted_by_what_they_show(loose):
    training = prepare(loose, model="squeezenet_v1.1", end="fire3/concat", engine="torch")
    training._group({}, training._make_trainer())
    agree = np.mean(training.group_of == np.repeat([0, 1], 16))
    assert max(agree, 1 - agree) >= 0.9
    assert not any(training.crops.tested), "groups are no truth to test with"


def test_a_network_without_classes_is_cut_off_above_its_layer(tmp_path, toy, loose):
    out = tmp_path / "out"
    assert train(loose, out, **few(toy)) == (out, 10, None, False)
    assert [layer.name for layer in caffemodel.read_layers(out / "deploy.prototxt")][-1] == "both"
    assert not (out / "labels.txt").exists() and "classes" not in weights(out)
    for engine in ENGINES:
        net = dd.load_net(out, engine)
        assert (
            dd.deepdream(net, np.full((40, 50, 3), 99.0), end="both", iter_n=1, octave_n=1).std()
            > 0
        )
    assert train(loose, tmp_path / "again", **few(out)).steps == 10, "and can be trained further"


def test_pictures_that_are_all_alike_are_not_blamed_on_the_rate(tmp_path, toy):
    (tmp_path / "two").mkdir()
    for name in "ab":
        dd.save_image(tmp_path / "two" / f"{name}.png", np.full((40, 40, 3), 50.0))
    done = main("train", tmp_path / "two", "-o", tmp_path / "out", "--from", toy, "--steps", 2)
    if done.returncode:
        refused(done, "^(?!.*--rate).*alike")


def test_what_is_written(tmp_path, toy, patterns):
    learn(patterns, tmp_path / "out", **few(toy, keep_out=0.2))
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {
        "deploy.prototxt",
        "weights.caffemodel",
        "model.toml",
        "labels.txt",
        "state.npz",
    }
    assert (out / "labels.txt").read_text().splitlines() == ["checks", "columns", "rows"]
    about = tomllib.loads((out / "model.toml").read_text())
    assert (
        about["default_layer"] == "both" and about["mean"] == [104, 117, 123] and "licence" in about
    )
    assert "72 pictures of 3 classes" in about["title"] and "toy" in about["title"]
    trained = about["trained"]
    assert (trained["pictures"], trained["classes"], trained["steps"], trained["rate"]) == (
        72,
        3,
        10,
        0.005,
    )
    assert 0 <= trained["accuracy"] <= 1
    for path in out.iterdir():
        assert (
            b"secret" not in path.read_bytes() and str(patterns).encode() not in path.read_bytes()
        )


def test_stock_caffe_and_both_engines_compute_the_same(tmp_path, toy, patterns):
    out, random = tmp_path / "out", np.random.RandomState(0)
    learn(patterns, out, **few(toy, engine="torch"))
    (tmp_path / "stock.txt").write_text(
        "force_backward: true\n" + (out / "deploy.prototxt").read_text()
    )
    caffe.Net(str(out / "deploy.prototxt"), str(out / "weights.caffemodel"), caffe.TEST)
    stock = caffe.Net(str(tmp_path / "stock.txt"), str(out / "weights.caffemodel"), caffe.TEST)
    nets = [dd.load_net(out, engine) for engine in ENGINES]
    data, seed = random.normal(0, 50, (1, 3, 24, 32)), random.normal(0, 1, (1, 10, 6, 8))
    for net in (stock, *nets):
        net.blobs["data"].data[...] = data
        net.forward()
    for net in (stock, *nets):
        net.blobs["both"].diff[...] = seed[
            :, :, : net.blobs["both"].shape[2], : net.blobs["both"].shape[3]
        ]
        net.backward(start="both")
    for net in nets:
        for name in ("both", "classes/pool", "classes", "prob"):
            np.testing.assert_allclose(
                net.blobs[name].data, stock.blobs[name].data, rtol=1e-4, atol=1e-5
            )
        np.testing.assert_allclose(
            net.blobs["data"].diff, stock.blobs["data"].diff, rtol=1e-4, atol=1e-5
        )


def test_the_commands_take_the_network(tmp_path, toy, patterns, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = draw_classes(tmp_path / "pictures", 3)
    (pictures / "rows").rename(pictures / "Große_Rüben,  alt")
    (tmp_path / "models").mkdir()
    given = "--from", toy, "--steps", 3, "--batch", 4
    done = main("train", pictures, "-o", "models/mine", *given)
    assert done.returncode == 0 and not done.stderr, done
    assert done.stdout.startswith("models/mine (after 3 steps; it finds the class of ")
    assert "mine" in zoo.names()
    from deepdream.studio import knobs

    assert [name for _, name in knobs._models()].count("mine") == 1
    for model in ("mine", "models/mine"):
        few_steps = "--model", model, "-o", "x.png"
        assert main("draw", "Große Rüben, alt", "--steps", 2, *few_steps).returncode == 0
        assert main("dream", PHOTO, "--width", 60, "--iterations", 1, *few_steps).returncode == 0
        assert dd.read_settings("x.png")["end"] == "both"
    assert main("train", pictures, "-o", "further", "--from", "mine", *given[2:]).returncode == 0


# Runs that are stopped, killed and resumed

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
train(pictures, out, on_step, model=toy, engine=engine, steps=50, batch=6, rate=0.005, freeze="none")
"""


@each_engine
@pytest.mark.parametrize("moment", ["step", "state"])
def test_a_run_that_is_killed_and_resumed_learns_the_same(tmp_path, toy, patterns, engine, moment):
    """A real process, killed after step 33, or while it writes the state of step 40."""
    given = few(toy, engine=engine, steps=50, freeze="none")
    learn(patterns, tmp_path / "whole", **given)
    words = [
        sys.executable,
        "-c",
        KILLED,
        *map(str, (patterns, tmp_path / "out", toy)),
        engine,
        moment,
    ]
    assert subprocess.run(words).returncode == -signal.SIGKILL
    assert [lesson.step for lesson in learn(patterns, tmp_path / "out", **given)] == list(
        range(21, 51)
    )
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "whole"))


@each_engine
def test_a_run_that_is_stopped_within_a_step_learns_the_same(
    tmp_path, toy, patterns, engine, monkeypatch
):
    """Python sees Ctrl-C when Caffe's step, or an operation of PyTorch's, has returned."""
    given = few(toy, engine=engine, steps=30, freeze="none")
    learn(patterns, tmp_path / "whole", **given)
    kind = {"caffe": trainers.CaffeTrainer, "torch": trainers.TorchTrainer}[engine]
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
    out, given = (
        tmp_path / "out",
        ["--from", toy, "--engine", "caffe", "--batch", 6, "--rate", 0.005],
    )
    words = [
        sys.executable,
        "-m",
        "deepdream",
        "train",
        patterns,
        "-o",
        out,
        *given,
        "--steps",
        10**6,
    ]
    process = subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (
        (out / "state.npz").exists() and np.load(out / "state.npz")["done"]
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130 and not stderr, stderr
    steps = int(stdout.split("stopped after ")[1].split(" of ")[0])
    assert stdout.startswith(f"{out} (stopped after ") and steps >= 20
    assert tomllib.loads((out / "model.toml").read_text())["trained"]["steps"] == steps
    done = main(*words[3:-1], steps + 5)
    assert done.returncode == 0 and f"after {steps + 5} steps" in done.stdout, done


@pytest.mark.parametrize("watch", [(), ("--watch", PHOTO, "--width", 48)], ids=["", "watching"])
def test_ctrl_c_before_the_first_step(tmp_path, toy, patterns, monkeypatch, watch):
    monkeypatch.setattr(lessons.Crops, "batches", lambda *_: signal.raise_signal(signal.SIGINT))
    words = (
        "train",
        patterns,
        "-o",
        tmp_path / "out",
        "--from",
        toy,
        "--engine",
        "caffe",
        "--steps",
        2,
        *watch,
    )
    done = main(*words)
    assert done.returncode == 130 and done.stderr == "deepdream: stopped\n", done
    assert not list(tmp_path.glob("out/*.caffemodel"))
    monkeypatch.undo()
    assert main(*words).returncode == 0, "what it left is not in the way"


def test_on_step_stops_and_a_second_run_continues(tmp_path, toy, loose):
    given, out = few(toy, steps=30), tmp_path / "out"
    stopped = train(loose, out, lambda lesson: lesson.step == 7, **given)
    assert stopped == (out, 7, None, True) and dd.load_net(out, "torch").default_layer == "both"
    assert [lesson.step for lesson in learn(loose, out, **given)] == list(range(8, 31))
    before = weights(out)
    learn(loose, tmp_path / "whole", **given)
    assert same(before, weights(tmp_path / "whole")), (
        "as if it had not stopped; the groups stay as they are"
    )
    assert learn(loose, out, **given) == [] and same(weights(out), before), (
        "the same again does nothing"
    )
    assert learn(loose, out, **given | {"steps": 5}) == [] and same(weights(out), before)
    assert [lesson.step for lesson in learn(loose, out, **given | {"steps": 33})] == [31, 32, 33]
    assert len(learn(loose, out, **given | {"rate": 0.001, "restart": True})) == 30


def test_other_settings_and_pictures_are_refused(tmp_path, toy, patterns):
    out, given = tmp_path / "out", ["--from", toy, "--engine", "caffe", "--steps", 2, "--batch", 4]
    assert main("train", patterns, "-o", out, *given).returncode == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for option, value in (
        ("--rate", 0.5),
        ("--layer", "left"),
        ("--seed", 4),
        ("--batch", 5),
        ("--engine", "torch"),
        ("--freeze", "none"),
        ("--keep-out", 0.5),
    ):
        done = main("train", patterns, "-o", out, *given, option, value)
        refused(
            done,
            f"the network in .* was begun with {option} .*, and now it is '?{value}'?; go back .*--restart",
        )
    write_model(tmp_path / "other" / "toyy")
    refused(
        main("train", patterns, "-o", out, "--from", tmp_path / "other" / "toyy", *given[2:]),
        "with --from 'toy'",
    )
    other = draw_classes(tmp_path / "others", 4)
    refused(
        main("train", other, "-o", out, *given),
        "has learnt other pictures than .*--from .*--restart",
    )
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert main("train", other, "-o", out, *given, "--restart").returncode == 0
    assert main("train", other.rename(tmp_path / "moved"), "-o", out, *given).returncode == 0, (
        "they may move"
    )


def test_a_restart_that_is_killed_does_not_bring_the_old_network_back(tmp_path, toy, patterns):
    learn(patterns, tmp_path / "out", **few(toy, steps=60))
    with pytest.raises(ZeroDivisionError):
        train(patterns, tmp_path / "out", lambda lesson: 1 / 0, **few(toy, steps=70, restart=True))
    assert learn(patterns, tmp_path / "out", **few(toy, steps=70))[0].step == 1


def test_two_runs_at_once_do_not_meet(tmp_path, toy, patterns):
    def on_step(lesson):
        done = main("train", patterns, "-o", tmp_path / "out", "--from", toy)
        refused(
            done, "another process is making the network in .*; wait for it, or choose another name"
        )

    train(patterns, tmp_path / "out", on_step, **few(toy, steps=2))


def test_a_damaged_state(tmp_path, toy, patterns):
    words = "train", patterns, "-o", tmp_path / "out", "--from", toy, "--steps", 2
    assert main(*words).returncode == 0
    path = tmp_path / "out" / "state.npz"
    state = path.read_bytes()
    for damaged in (
        b"PK",
        b"",
        state[: len(state) // 2],
        state.replace("rate".encode("utf-32-le"), bytes(16)),
    ):
        path.write_bytes(damaged)
        refused(main(*words), r"cannot read .*state\.npz.*--restart")
    assert main(*words, "--restart").returncode == 0


def test_a_folder_with_other_files_is_left_alone(tmp_path, toy, patterns):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "labels.txt").write_text("mine")
    for more in ((), ("--restart",)):
        done = main("train", patterns, "-o", tmp_path / "mine", "--from", toy, *more)
        refused(done, "holds other files, and no network to resume; choose another")
    assert (
        os.listdir(tmp_path / "mine") == ["labels.txt"]
        and (tmp_path / "mine" / "labels.txt").read_text() == "mine"
    )


def test_a_disk_that_fills_up(tmp_path, toy, patterns):
    words = "--from", toy, "--steps", 3, "--batch", 4
    with mounted(tmp_path / "full", "size=24k"):
        out = tmp_path / "full" / "out"
        refused(
            main("train", patterns, "-o", out, *words), r"cannot write .*No space left on device"
        )
        subprocess.run(["mount", "-o", "remount,size=9m", tmp_path / "full"], check=True)
        assert main("train", patterns, "-o", out, *words).returncode == 0
        assert dd.load_net(out).default_layer == "both"


# Pictures


def write_odd(folder):
    """Pictures of many kinds. (those that can be learnt, those that cannot)"""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    grid = Image.fromarray(np.uint8(pattern("checks", rng)))
    grid.convert("L").save(folder / "grey.png")
    Image.fromarray(np.uint16(np.arange(48 * 64).reshape(48, 64) * 20)).save(folder / "deep.png")
    Image.merge("RGBA", (*grid.split(), grid.convert("L"))).save(folder / "clear.png")
    grid.convert("CMYK").save(folder / "print.jpg")
    grid.convert("P").save(folder / "few colours.GIF")
    upside = Image.Exif()
    upside[0x0112] = 6
    grid.save(folder / "turned.jpg", exif=upside)
    grid.resize((900, 700)).save(folder / "inner, größer.jpeg")
    good = {path.name for path in folder.iterdir()}
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    grid.resize((31, 100)).save(folder / "tiny.png")
    head = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    (folder / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))
    )
    bad = {path.name for path in folder.iterdir()} - good
    grid.save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("mine")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return good, bad


def test_pictures_of_all_kinds(tmp_path, toy):
    good, bad = write_odd(tmp_path / "pictures" / "class one" / "nested" / "deep")
    draw_classes(tmp_path / "pictures", 3, ["rows"])
    (tmp_path / "pictures" / "empty").mkdir()
    dd.save_image(tmp_path / "pictures" / "stray.png", np.zeros((50, 50, 3)))
    with pytest.warns(UserWarning) as told:
        found = lessons.find_classes(tmp_path / "pictures")
    assert (
        list(found) == ["class one", "rows"] and {path.name for path in found["class one"]} == good
    )
    (said,) = (str(warning.message) for warning in told)
    assert re.fullmatch(r"left out, \d+ in all: .* \(.*\); .*; \.\.\.", said), said
    assert int(said.split()[2]) >= len(bad) + 2, (
        "what cannot be read, the empty folder, and the stray picture"
    )
    done = main(
        "train", tmp_path / "pictures", "-o", tmp_path / "out", "--from", toy, "--steps", 20
    )
    assert done.returncode == 0, done.stderr


def test_a_picture_is_turned_as_the_camera_was_held(tmp_path):
    image = Image.fromarray(np.uint8(pattern("rows", np.random.default_rng(0))))
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "upright.png")
    turned = Image.Exif()
    turned[0x0112] = 8
    image.save(tmp_path / "turned.png", exif=turned)
    both = [tmp_path / "upright.png", tmp_path / "turned.png"]
    (views,) = lessons.Crops([both], 0, (24, 32), [1, 2, 3], 0).views(both, 6)
    assert np.array_equal(views[0], views[1])
    top = (
        image.transpose(Image.Transpose.ROTATE_90)
        .crop((0, 14, 48, 50))
        .resize((32, 24), Image.Resampling.BILINEAR)
    )
    expected = np.float32(top)[..., ::-1].transpose(2, 0, 1) - np.float32([1, 2, 3]).reshape(
        3, 1, 1
    )
    assert np.array_equal(views[0], expected), "the middle, BGR minus the mean"


def test_a_picture_cut_off_after_its_header_is_left_out(tmp_path, toy):
    """Wherever it is read: in a step, in the test, or while groups are made."""
    pictures = draw_classes(tmp_path / "pictures", 6)
    kept = prepare(pictures, model=str(toy)).crops
    cut = [kept.groups[0][0], kept.tested[1][0]]
    for path in cut:
        Image.effect_noise((80, 80), 99).save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:1500])
    assert lessons.find_classes(pictures)["checks"].count(cut[0]) == 1, "its header is fine"
    done = main("train", pictures, "-o", tmp_path / "out", "--from", toy, "--steps", 20)
    assert done.returncode == 0, done.stderr
    assert (
        all(str(path) in done.stderr for path in cut)
        and done.stderr.count("; it is left out\n") == 2
    )
    done = main(
        "train",
        pictures / "checks",
        "-o",
        tmp_path / "alone",
        "--from",
        toy,
        "--steps",
        9,
        "--batch",
        5,
    )
    assert done.returncode == 0 and str(cut[0]) in done.stderr, done.stderr


def test_folders_whose_names_give_the_same_class_or_none(tmp_path, toy):
    """a_b and "a b" are one class, or refused; none of their pictures is lost without a
    word.
    """
    pictures = draw_classes(tmp_path / "pictures", 3, ["rows", "columns", "checks"])
    for kind, name in (("rows", "a_b"), ("columns", "a  b")):
        (pictures / kind).rename(pictures / name)
    try:
        assert sum(map(len, lessons.find_classes(pictures).values())) == 9
    except dd.DreamError as error:
        assert "a b" in str(error)
    (pictures / "a_b").rename(pictures / "_")
    found = lessons.find_classes(pictures)
    assert len(found) == 3 and "" not in found


@pytest.mark.parametrize("where", ["class", "picture"])
def test_names_that_are_not_utf_8(tmp_path, toy, where):
    """As in old archives."""
    pictures = draw_classes(tmp_path / "pictures", 3)
    name = (
        os.fsencode(pictures / "rows")
        if where == "class"
        else os.fsencode(pictures / "rows" / "secret00.png")
    )
    os.rename(name, os.path.dirname(name) + b"/caf\xe9.png")
    done = main("train", pictures, "-o", tmp_path / "out", "--from", toy, "--steps", 2)
    if done.returncode:
        refused(done, "caf")


def test_a_batch_depends_on_the_seed_and_its_step_alone(patterns):
    found = list(lessons.find_classes(patterns).values())
    one, two, other = (lessons.Crops(found, 0.2, (24, 32), [0, 0, 0], seed) for seed in (5, 5, 6))
    batches = list(one.batches(0, 6, 4))
    for step in (3, 0, 5):
        assert all(np.array_equal(a, b) for a, b in zip(two.make_batch(step, 4), batches[step]))
    assert all(np.array_equal(a, b) for a, b in zip(next(two.batches(4, 6, 4)), batches[4]))
    assert not np.array_equal(other.make_batch(0, 4)[0], batches[0][0])
    assert one.tested == two.tested != other.tested
    assert not {p for paths in one.tested for p in paths} & {
        p for paths in one.groups for p in paths
    }


def test_pictures_are_read_when_they_are_needed(tmp_path, toy, monkeypatch):
    pictures = draw_classes(tmp_path / "pictures", 1)
    for folder in pictures.iterdir():
        for i in range(999):
            os.link(folder / "secret00.png", folder / f"{i}.png")
    read, load_image = [], lessons.load_image
    monkeypatch.setattr(
        lessons, "load_image", lambda path, **how: read.append(path) or load_image(path, **how)
    )
    training = prepare(pictures, tmp_path / "out", **few(toy, keep_out=0.5))
    assert not read and sum(map(len, training.crops.groups)) >= 2000
    training.run(lambda lesson: lesson.step == 2)
    assert len(read) <= 4 * 6 + sum(map(len, training.crops.tested)) <= 4 * 6 + 402
    assert training.crops._read.cache_info().currsize <= lessons.CACHED
    for path in list(islice((pictures / "rows").iterdir(), 997)):
        path.unlink()
    loose = prepare(pictures / "checks", tmp_path / "loose", **few(toy))
    assert len(loose.crops.groups[0]) == 1000, "that many can be sorted"


# Errors


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["nowhere"],
            "there is no folder nowhere; give a folder with a folder of pictures for each class",
        ),
        (["toy"], "there are no two pictures in toy that can be read"),
        (["pictures/rows/secret00.png"], r"pictures/rows/secret00\.png is a file; give a folder"),
        (["one"], r"one has one class only, 'rows', and two are needed .* give one/rows$"),
        (["pictures", "--layer", "boht"], "unknown layer to train 'boht'; did you mean 'both'"),
        (
            ["pictures", "--layer", "prob"],
            "layer 'prob' cannot be trained: .*a height and a width; try 'both'",
        ),
        (
            ["pictures", "--layer", "fc"],
            "layer 'fc' cannot be trained: .*a height and a width; try 'both'",
        ),
        (
            ["pictures", "--freeze", "pool2"],
            "unknown layer to freeze 'pool2'; did you mean 'pool1'",
        ),
        (
            ["pictures", "--freeze", "fc"],
            "unknown layer to freeze 'fc'; .*a layer of toy below the one to train",
        ),
        (
            ["pictures", "--freeze", "both"],
            "no layer up to both is left to learn; .* for --freeze, or .* for --layer",
        ),
        (
            ["pictures", "--film", "x.mp4"],
            "--watch is missing; --film and --watch-every need a photograph",
        ),
        (["pictures", "--watch-every", 5], "--watch is missing"),
        (
            ["pictures", "--watch", "pictures/rows/secret00.png", "--film", "x.mov"],
            r"x\.mov.*\.mp4",
        ),
        (
            ["pictures", "--watch", "nowhere.jpg"],
            r"cannot read the picture nowhere\.jpg: there is no such file",
        ),
        (["pictures", "--watch", "toy/model.toml"], "cannot read the picture"),
        (["pictures", "--rate", 0], r"--rate is 0\.0; it must be"),
        (["pictures", "--steps", 0], "--steps is 0; it must be"),
        (["pictures", "--batch", 1], "--batch is 1; it must be"),
        (["pictures", "--keep-out", 1], "--keep-out is 1"),
        (["pictures", "--from", "toyy"], "unknown model 'toyy'"),
        (["pictures", "--from", "shy"], "^(?!.*None).*--layer"),
        (
            ["pictures", "--engine", "caffe", "--device", "cuda"],
            "Caffe runs on the CPU .*; choose engine 'torch'",
        ),
        (["pictures", "-o", "toy/model.toml"], r"toy/model\.toml is a file; -o takes a folder"),
        (["pictures", "-o", "toy"], "holds other files, and no network to resume"),
        (
            ["pictures", "-o", "pictures/rows/mine"],
            "pictures/rows/mine lies in pictures, .*; choose another -o",
        ),
        (
            ["pictures", "-o", "models/bvlc_googlenet"],
            "bvlc_googlenet is the name of a network of the package",
        ),
        (
            ["archive"],
            "has one class only, .pictures., .*; if its folders are the classes, give archive.pictures",
        ),
    ],
    ids=lambda it: " ".join(map(str, it))[:40] if isinstance(it, list) else "",
)
def test_wrong_words(tmp_path, toy, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    draw_classes(tmp_path / "pictures", 3)
    draw_classes(tmp_path / "one", 3, ["rows"])
    write_model(tmp_path / "shy", toml="")
    draw_classes(tmp_path / "archive" / "pictures", 3)
    before = sorted(tmp_path.rglob("*"))
    out, model = (
        ([] if "-o" in given else ["-o", "out"]),
        ([] if "--from" in given else ["--from", "toy"]),
    )
    refused(main("train", *given, *out, *model), says)
    assert sorted(tmp_path.rglob("*")) == before


def test_one_class_can_be_learnt_without_classes(tmp_path, toy):
    pictures = draw_classes(tmp_path / "one", 3, ["rows"])
    done = main("train", pictures, "-o", tmp_path / "out", "--from", toy)
    done = main(
        "train",
        done.stderr.split("give ")[-1].strip(),
        "-o",
        tmp_path / "out",
        "--from",
        toy,
        "--steps",
        2,
    )
    assert done.returncode == 0 and done.stdout == f"{tmp_path / 'out'} (after 2 steps)\n", done


def test_a_batch_that_needs_more_memory_than_there_is(tmp_path, toy, patterns, monkeypatch):
    monkeypatch.setattr("deepdream.train.training.free_memory", lambda: 10**6)
    done = main("train", patterns, "-o", tmp_path / "out", "--from", toy, "--batch", 5000)
    refused(
        done,
        r"--batch is 5000, which needs about .* GB of memory, and 0\.0 GB are free; take fewer",
    )


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("rate", [0.1, 10.0])
def test_a_network_that_dies_is_not_written(tmp_path, patterns, rate, steps):
    """Not even if it dies in its last step. It is dead if its layer answers every
    picture in the same way.
    """
    given = few(
        "squeezenet_v1.1",
        engine="torch",
        freeze="none",
        batch=4,
        keep_out=0,
        rate=rate,
        steps=steps,
    )
    training = prepare(patterns, tmp_path / "out", **given)
    try:
        training.run()
    except dd.DreamError as error:
        assert re.match("the network died in step .*; .*lower rate, such as", str(error))
        assert not (tmp_path / "out").exists()
    else:
        net, seen = load(tmp_path / "out", "torch"), []
        for net.blobs["data"].data[0] in training.crops.make_batch(0, 4)[0]:
            net.forward(end="classes/pool")
            seen.append(
                net.blobs["classes/pool"].data.ravel()
                / np.linalg.norm(net.blobs["classes/pool"].data)
            )
        assert np.linalg.norm(np.std(seen, 0)) > 0.01 * np.linalg.norm(seen[0])


def test_after_a_death_a_lower_rate_begins_again(tmp_path, toy, patterns, monkeypatch):
    words = (
        "train",
        patterns,
        "-o",
        tmp_path / "out",
        "--from",
        toy,
        "--watch",
        PHOTO,
        "--width",
        48,
        "--steps",
        5,
    )
    step = trainers.TorchTrainer.step
    monkeypatch.setattr(trainers.TorchTrainer, "step", lambda *args: step(*args) * np.nan)
    refused(
        main(*words), "the network died in step 1: .*choose a lower --rate, such as a tenth of it$"
    )
    assert not list((tmp_path / "out").glob("*.caffemodel"))
    monkeypatch.undo()
    assert main(*words, "--rate", 0.005, "--restart").returncode == 0


# Watching


def test_watching(tmp_path, toy, patterns):
    out, film = tmp_path / "out", tmp_path / "film.mp4"
    given = few(toy, watch=str(PHOTO), width=64, watch_every=4)
    learn(patterns, out, **given)
    watched = ["000000.png", "000004.png", "000008.png", "000010.png"]
    assert sorted(os.listdir(out / "watch")) == watched and not film.exists()
    few_wide = dd.load_image(out / "watch.jpg").shape
    first = [(out / "watch" / name).read_bytes() for name in watched]
    assert len(set(first)) == 4, "the dreams change with the network"
    learn(patterns, out, **given | {"steps": 16, "film": str(film)})
    assert sorted(os.listdir(out / "watch")) == [*watched, "000012.png", "000016.png"]
    assert np.prod(dd.load_image(out / "watch.jpg").shape) > np.prod(few_wide)
    assert films.film_about(film)[:2] == (8, 6)
    for steps in (10, 16):
        learn(patterns, tmp_path / "plain", **few(toy, steps=steps))
    assert same(weights(out), weights(tmp_path / "plain")), (
        "watching changes nothing in what is learnt"
    )
    for width, frames in ((40, 2), (64, 1)):  # with another photograph the dreams begin again
        learn(patterns, out, **given | {"steps": 18, "film": str(film), "width": width})
        assert films.film_about(film)[1] == frames


@each_engine
def test_a_film_that_was_killed_is_continued(tmp_path, toy, loose, engine):
    given = few(toy, engine=engine, watch=str(PHOTO), width=48, watch_every=4, steps=30)
    learn(loose, tmp_path / "whole", **given | {"film": str(tmp_path / "whole.gif")})
    with pytest.raises(ZeroDivisionError):
        train(
            loose,
            tmp_path / "out",
            lambda it: 1 / (it.step - 26),
            **given | {"film": str(tmp_path / "out.gif")},
        )
    learn(loose, tmp_path / "out", **given | {"film": str(tmp_path / "out.gif")})
    assert (tmp_path / "out.gif").read_bytes() == (tmp_path / "whole.gif").read_bytes()
    assert films.film_about(tmp_path / "out.gif")[1] == 9


def test_a_finished_network_can_be_watched(tmp_path, toy, patterns):
    learn(patterns, tmp_path / "out", **few(toy))
    learn(
        patterns,
        tmp_path / "out",
        **few(toy, watch=str(PHOTO), width=48, film=str(tmp_path / "x.gif")),
    )
    assert films.film_about(tmp_path / "x.gif")[1] == 1


def test_a_class_of_photographs_in_a_format_that_is_not_read_is_reported(tmp_path):
    draw_classes(tmp_path, 3)
    for path in (tmp_path / "rows").iterdir():
        path.rename(path.with_suffix(".HEIC"))
    with pytest.warns(UserWarning, match=r"rows.*\.HEIC \(only \.jpg, .* are read\)"):
        assert "rows" not in lessons.find_classes(tmp_path)


def test_a_crop_of_any_picture_lies_within_it():
    for side in (*range(32, 260), 448):
        for own in (224, 227):
            image = Image.new("RGB", (side, side + side // 3))
            crops = lessons.Crops([[Path("a"), Path("b")]], 0, (own, own), [0, 0, 0], 0)
            for place in (0, 0.5, 1):
                assert crops._cut(image, 1, place, place, False).shape == (own, own, 3)


@pytest.mark.filterwarnings("ignore:cannot read")
@pytest.mark.parametrize("whole", [0, 1, 2])
def test_pictures_without_classes_of_which_most_are_cut_off(tmp_path, toy, whole):
    pictures = draw_classes(tmp_path / "all", 4, ["rows"]) / "rows"
    for path in sorted(pictures.iterdir())[whole:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if whole == 2:
        assert len(learn(pictures, tmp_path / "out", **few(toy))) == 10
    else:
        with pytest.raises(
            dd.DreamError, match=r"there are no two pictures in .* that can be read"
        ):
            learn(pictures, tmp_path / "out", **few(toy))
        assert not (tmp_path / "out").exists()
