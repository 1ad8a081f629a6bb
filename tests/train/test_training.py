"""What is learnt and written, what is refused, and networks that die."""

import re
import tomllib

import caffe
import numpy as np
import pytest
from conftest import load, main, refused, write_model
from learning import (
    ENGINES,
    PHOTO,
    command,
    draw_classes,
    draw_loose,
    few,
    learn,
    pattern,
    prepare,
    weights,
)
from PIL import Image

import deepdream as dd
from deepdream.nets import caffemodel, zoo
from deepdream.train import grouping, train, trainers

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
each_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("patterns") / "pictures", 30)


@pytest.fixture
def loose(tmp_path):
    return draw_loose(tmp_path / "loose")


@each_engine
def test_it_learns(tmp_path, toy, patterns, engine):
    easy = {"rate": 0.01, "freeze": "none", "steps": 300, "batch": 12, "keep_out": 0.3, "seed": 7}
    trained = train(patterns, tmp_path / "out", **few(toy, engine=engine) | easy)
    assert trained.steps == 300 and trained.accuracy >= 0.8 and not trained.stopped
    net, right = dd.load_net(tmp_path / "out", engine), []
    for number, name in enumerate(zoo.labels(net.model)):  # pictures that nobody has seen
        for i in range(10):
            unseen = np.uint8(pattern(name, np.random.default_rng(1000 + i)))
            image = np.float32(Image.fromarray(unseen).resize((32, 24)))
            net.blobs["data"].data[0] = dd.preprocess(net, image)
            net.forward(end="prob")
            right.append(net.blobs["prob"].data[0].argmax() == number)
    assert np.mean(right) >= 0.8


def test_pictures_without_classes_are_sorted_by_what_they_show(loose):
    training = prepare(loose, model="squeezenet_v1.1", end="fire3/concat", engine="torch")
    found = grouping.group(training.crops, training.make_trainer(), training.end, 12)
    agree = np.mean(found == np.repeat([0, 1], 16))
    assert max(agree, 1 - agree) >= 0.9
    assert not any(training.crops.tested), "groups are no truth to test with"


def test_a_network_without_classes_is_cut_off_above_its_layer(tmp_path, toy, loose):
    out = tmp_path / "out"
    assert train(loose, out, **few(toy)) == (out, 10, None, False)
    assert caffemodel.read_layers(out / "deploy.prototxt")[-1].name == "both"
    assert not (out / "labels.txt").exists() and "classes" not in weights(out)
    grey = np.full((40, 50, 3), 99.0)
    for engine in ENGINES:
        net = dd.load_net(out, engine)
        assert dd.deepdream(net, grey, end="both", iter_n=1, octave_n=1).std() > 0
    assert train(loose, tmp_path / "again", **few(out)).steps == 10, "and can be trained further"


def test_pictures_that_are_all_alike_are_not_blamed_on_the_rate(tmp_path, toy):
    (tmp_path / "two").mkdir()
    for name in "ab":
        dd.save_image(tmp_path / "two" / f"{name}.png", np.full((40, 40, 3), 50.0))
    done = command(tmp_path / "two", tmp_path / "out", toy, "--steps", 2)
    if done.returncode:
        refused(done, "^(?!.*--rate).*alike")


def test_what_is_written(tmp_path, toy, patterns):
    out = tmp_path / "out"
    learn(patterns, out, **few(toy, keep_out=0.2))
    network = {"deploy.prototxt", "weights.caffemodel", "model.toml", "labels.txt"}
    assert {path.name for path in out.iterdir()} == {*network, "state.npz"}
    assert (out / "labels.txt").read_text().splitlines() == ["checks", "columns", "rows"]
    about = tomllib.loads((out / "model.toml").read_text())
    assert about["default_layer"] == "both" and about["mean"] == [104, 117, 123]
    assert "72 pictures of 3 classes" in about["title"] and "toy" in about["title"]
    assert "licence" in about
    accuracy = about["trained"].pop("accuracy")
    assert 0 <= accuracy <= 1
    assert about["trained"] == {
        "model": "toy",
        "pictures": 72,
        "classes": 3,
        "engine": "caffe",
        "rate": 0.005,
        "batch": 6,
        "seed": 0,
        "keep_out": 0.2,
        "steps": 10,
    }
    for data in (path.read_bytes() for path in out.iterdir()):
        assert b"secret" not in data and str(patterns).encode() not in data


def test_stock_caffe_and_both_engines_compute_the_same(tmp_path, toy, patterns):
    out, random = tmp_path / "out", np.random.RandomState(0)
    learn(patterns, out, **few(toy, engine="torch"))
    prototxt, caffemodel = out / "deploy.prototxt", str(out / "weights.caffemodel")
    caffe.Net(str(prototxt), caffemodel, caffe.TEST)
    (tmp_path / "stock.txt").write_text("force_backward: true\n" + prototxt.read_text())
    stock = caffe.Net(str(tmp_path / "stock.txt"), caffemodel, caffe.TEST)
    nets = [dd.load_net(out, engine) for engine in ENGINES]
    data, seed = random.normal(0, 50, (1, 3, 24, 32)), random.normal(0, 1, (1, 10, 6, 8))
    for net in (stock, *nets):
        net.blobs["data"].data[...] = data
        net.forward()
    for net in (stock, *nets):
        h, w = net.blobs["both"].shape[2:]
        net.blobs["both"].diff[...] = seed[:, :, :h, :w]
        net.backward(start="both")
    near = {"rtol": 1e-4, "atol": 1e-5}
    for net in nets:
        for name in ("both", "classes/pool", "classes", "prob"):
            np.testing.assert_allclose(net.blobs[name].data, stock.blobs[name].data, **near)
        np.testing.assert_allclose(net.blobs["data"].diff, stock.blobs["data"].diff, **near)


def test_the_commands_take_the_network(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = draw_classes(tmp_path / "pictures", 3)
    (pictures / "rows").rename(pictures / "Große_Rüben,  alt")
    (tmp_path / "models").mkdir()
    done = command(pictures, "models/mine", toy, "--steps", 3, "--batch", 4)
    assert done.returncode == 0 and not done.stderr, done
    assert done.stdout.startswith("models/mine (after 3 steps; it finds the class of ")
    assert "mine" in zoo.names()
    for model in ("mine", "models/mine"):
        out = "--model", model, "-o", "x.png"
        assert main("draw", "Große Rüben, alt", "--steps", 2, *out).returncode == 0
        assert main("dream", PHOTO, "--width", 60, "--iterations", 1, *out).returncode == 0
        assert dd.read_settings("x.png")["end"] == "both"
    done = command(pictures, "further", "mine", "--steps", 3, "--batch", 4)
    assert done.returncode == 0


def test_the_studio_offers_the_network_once(tmp_path, toy, patterns, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    learn(patterns, "models/mine", **few(toy, steps=1))
    from deepdream.studio import knobs

    choices = knobs.Knobs(None, [str(PHOTO)])["model"].options
    assert [name for _, name in choices].count("mine") == 1


def needs(*words, says):
    """A case of what is refused; words: after `deepdream train`."""
    return pytest.param(words, says, id=" ".join(map(str, words))[:40])


LAYER = ".*a height and a width; try 'both'"
ROW = "pictures/rows/secret00.png"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        needs(
            "nowhere", says="no folder nowhere; give a folder with a folder of pictures for each"
        ),
        needs("toy", says="there are no two pictures in toy that can be read"),
        needs(ROW, says=r"pictures/rows/secret00\.png is a file; give a folder"),
        needs("one", says=r"one has one class only, 'rows', and two are needed .* give one/rows$"),
        needs(
            "archive",
            says="has one class only, .pictures., .*; "
            "if its folders are the classes, give archive.pictures",
        ),
        needs("pictures", "--layer", "boht", says="layer to train 'boht'; did you mean 'both'"),
        needs("pictures", "--layer", "prob", says="layer 'prob' cannot be trained: " + LAYER),
        needs("pictures", "--layer", "fc", says="layer 'fc' cannot be trained: " + LAYER),
        needs("pictures", "--freeze", "pool2", says="freeze 'pool2'; did you mean 'pool1'"),
        needs("pictures", "--freeze", "fc", says="'fc'; .*a layer of toy below the one to train"),
        needs(
            "pictures",
            "--freeze",
            "both",
            says="no layer up to both is left to learn; .* for --freeze, or .* for --layer",
        ),
        needs(
            "pictures",
            "--film",
            "x.mp4",
            says="--watch is missing; --film and --watch-every need a photograph",
        ),
        needs("pictures", "--watch-every", 5, says="--watch is missing"),
        needs("pictures", "--watch", ROW, "--film", "x.mov", says=r"x\.mov.*\.mp4"),
        needs(
            "pictures",
            "--watch",
            "nowhere.jpg",
            says=r"cannot read the picture nowhere\.jpg: there is no such file",
        ),
        needs("pictures", "--watch", "toy/model.toml", says="cannot read the picture"),
        needs("pictures", "--rate", 0, says=r"--rate is 0\.0; it must be"),
        needs("pictures", "--steps", 0, says="--steps is 0; it must be"),
        needs("pictures", "--batch", 1, says="--batch is 1; it must be"),
        needs("pictures", "--keep-out", 1, says="--keep-out is 1"),
        needs("pictures", "--from", "toyy", says="unknown model 'toyy'"),
        needs("pictures", "--from", "shy", says="^(?!.*None).*--layer"),
        needs(
            "pictures",
            "--engine",
            "caffe",
            "--device",
            "cuda",
            says="Caffe runs on the CPU .*; choose engine 'torch'",
        ),
        needs(
            "pictures", "-o", "toy/model.toml", says=r"toy/model\.toml is a file; -o takes a folder"
        ),
        needs("pictures", "-o", "toy", says="holds other files, and no network to resume"),
        needs(
            "pictures",
            "-o",
            "pictures/rows/mine",
            says="pictures/rows/mine lies in pictures, .*; choose another -o",
        ),
        needs(
            "pictures",
            "-o",
            "models/bvlc_googlenet",
            says="bvlc_googlenet is the name of a network of the package",
        ),
    ],
)
def test_wrong_words(tmp_path, toy, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    draw_classes(tmp_path / "pictures", 3)
    draw_classes(tmp_path / "one", 3, ["rows"])
    draw_classes(tmp_path / "archive" / "pictures", 3)
    write_model(tmp_path / "shy", toml="")
    before = sorted(tmp_path.rglob("*"))
    out = () if "-o" in given else ("-o", "out")
    model = () if "--from" in given else ("--from", "toy")
    refused(main("train", *given, *out, *model), says)
    assert sorted(tmp_path.rglob("*")) == before


def test_one_class_can_be_learnt_without_classes(tmp_path, toy):
    out = tmp_path / "out"
    done = command(draw_classes(tmp_path / "one", 3, ["rows"]), out, toy)
    advised = done.stderr.split("give ")[-1].strip()
    done = command(advised, out, toy, "--steps", 2)
    assert done.returncode == 0 and done.stdout == f"{out} (after 2 steps)\n", done


def test_a_batch_that_needs_more_memory_than_there_is(tmp_path, toy, patterns, monkeypatch):
    monkeypatch.setattr("deepdream.train.training.free_memory", lambda: 10**6)
    done = command(patterns, tmp_path / "out", toy, "--batch", 5000)
    free = r"which needs about .* GB of memory, and 0\.0 GB are free; take fewer"
    refused(done, f"--batch is 5000, {free}")


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("rate", [0.1, 10.0])
def test_a_network_that_dies_is_not_written(tmp_path, patterns, rate, steps):
    """Not even if it dies in its last step. It is dead if its layer answers every
    picture in the same way.
    """
    given = few("squeezenet_v1.1", engine="torch", freeze="none", batch=4, keep_out=0)
    given |= {"rate": rate, "steps": steps}
    training = prepare(patterns, tmp_path / "out", **given)
    try:
        training.run()
    except dd.DreamError as error:
        assert re.match("the network died in step .*; .*lower rate, such as", str(error))
        assert not (tmp_path / "out").exists()
        return
    net, seen = load(tmp_path / "out", "torch"), []
    for image in training.crops.make_batch(0, 4)[0]:
        net.blobs["data"].data[0] = image
        net.forward(end="classes/pool")
        features = np.ravel(net.blobs["classes/pool"].data)
        seen.append(features / np.linalg.norm(features))
    assert np.linalg.norm(np.std(seen, 0)) > 0.01 * np.linalg.norm(seen[0])


def test_after_a_death_a_lower_rate_begins_again(tmp_path, toy, patterns, monkeypatch):
    out = tmp_path / "out"
    words = "--watch", PHOTO, "--width", 48, "--steps", 5
    step = trainers.TorchTrainer.step
    monkeypatch.setattr(trainers.TorchTrainer, "step", lambda *args: step(*args) * np.nan)
    says = "the network died in step 1: .*choose a lower --rate, such as a tenth of it$"
    refused(command(patterns, out, toy, *words), says)
    assert not list(out.glob("*.caffemodel"))
    monkeypatch.undo()
    done = command(patterns, out, toy, *words, "--rate", 0.005, "--restart")
    assert done.returncode == 0
