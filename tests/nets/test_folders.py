"""Folders as the Model Zoo has them, and networks whose scale nobody gave. Oracles:
stock pycaffe writes HDF5 and binaryproto; the numbers are worked out by hand.
"""

import bz2
import gzip
import warnings
import zipfile

import numpy as np
import pytest
from conftest import TOY, load, main, refused, write_model

import deepdream as dd
from deepdream.nets import caffemodel, download, zoo

ENGINES = "caffe", "torch"
SOLVER = 'net: "train_val.prototxt"\nbase_lr: 0.01\nmax_iter: 10\n'
SAYS = "scale: 0.017 mean_value: 103.94 mean_value: 116.78 mean_value: 123.68"
USUAL = [104, 117, 123]
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 240000000\n"


def train_val(says=""):
    """The training prototxt beside TOY's deploy, with this transform_param."""
    both = "".join(
        f'layer {{ name: "data" type: "Data" top: "data" top: "label"\n'
        f"  include {{ phase: {phase} }}\n"
        f"  transform_param {{ crop_size: 24 {extra} {says} }} }}\n"
        for phase, extra in (("TRAIN", "mirror: true"), ("TEST", ""))
    )
    rest = TOY[TOY.index('layer { name: "conv1"') :]
    return both + rest


@pytest.fixture
def folder(tmp_path):
    """A network's folder without a model.toml."""
    found = write_model(tmp_path / "it")
    (found / "model.toml").unlink()
    return found


@pytest.fixture
def caffe():
    return pytest.importorskip("caffe", reason="Caffe is not installed")


def pixels(folder):
    model = zoo.find(folder)
    return model.mean, model.scale


# Which prototxt


def test_a_zoo_folder_as_downloaded(folder):
    (folder / "train_val.prototxt").write_text(train_val())
    (folder / "solver.prototxt").write_text(SOLVER)
    (folder / "readme.md").write_text("# A network")
    for engine in ENGINES:
        assert "both" in load(folder, engine).climbable
    assert zoo.find_prototxt(zoo.find(folder)).name == "deploy.prototxt"


@pytest.mark.parametrize(
    ("names", "takes"),
    [
        ({"net.prototxt": TOY, "train.prototxt": train_val()}, "net.prototxt"),
        ({"a.prototxt": SOLVER, "b.prototxt": TOY}, "b.prototxt"),
        ({"x_deploy.prototxt": TOY, "x.prototxt": TOY}, "x_deploy.prototxt"),
        ({"deploy.prototxt": TOY, "deploy_old.prototxt": TOY}, "deploy.prototxt"),
        ({"quick_solver.prototxt": "", "net.prototxt": TOY}, "net.prototxt"),
        ({"old.prototxt": 'input: "data"\ninput_dim: 1', "t.prototxt": "# input: 1\n"},
         "old.prototxt"),
    ],
)  # fmt: skip
def test_which_prototxt_is_taken(folder, names, takes):
    (folder / "deploy.prototxt").unlink()
    for name, text in names.items():
        (folder / name).write_text(text)
    assert zoo.find(folder).file(*zoo.PROTOTXT).name == takes


def test_two_that_could_run_are_named(folder):
    (folder / "deploy.prototxt").rename(folder / "one.prototxt")
    (folder / "two.prototxt").write_text(TOY)
    (folder / "solver.prototxt").write_text(SOLVER)
    says = r"holds one\.prototxt and two\.prototxt; leave only one .* call the one to run deploy"
    with pytest.raises(dd.DreamError, match=says):
        dd.load_net(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("net.onnx", "`deepdream models import .*net.onnx -o models/NAME` makes a network"),
        ("net.pth", "net.pth holds weights of PyTorch; .*import_net.module, 'models/NAME'"),
    ],
)
def test_networks_of_others_are_imported(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(dd.DreamError, match="has no prototxt yet: " + says):
        dd.load_net(tmp_path)


# Mean and scale


def test_what_a_train_val_says_is_taken(folder):
    (folder / "train_val.prototxt").write_text(train_val(SAYS))
    mean, scale = pixels(folder)
    assert mean == pytest.approx([103.94, 116.78, 123.68]) and scale == [0.017] * 3
    assert "data/input" in load(folder, "caffe").layer_names
    said = main("models", "list", folder).stdout
    assert "mean 103.94, 116.78, 123.68 of blue, green, red (train_val.prototxt)" in said
    assert "scale 0.017 (train_val.prototxt)" in said
    assert "order bgr (as usual; no file says it)" in said


def test_model_toml_wins(folder):
    (folder / "train_val.prototxt").write_text(train_val(SAYS))
    (folder / "mean.npy").write_bytes(b"never read")
    (folder / "model.toml").write_text("mean = [1, 2, 3]\nscale = 1")
    assert pixels(folder) == ([1, 2, 3], [1, 1, 1])
    assert "scale 1 (model.toml)" in main("models", "list", folder).stdout
    (folder / "model.toml").write_text("mean = [1, 2, 3]")
    assert pixels(folder) == ([1, 2, 3], [0.017] * 3)


def test_the_deploy_itself_may_say_it(folder):
    text = TOY.replace("input_param", "transform_param { scale: 0.5 mean_value: 9 } input_param", 1)
    (folder / "deploy.prototxt").write_text(text)
    (folder / "train_val.prototxt").write_text(train_val(SAYS))
    assert pixels(folder) == ([9, 9, 9], [0.5] * 3)


@pytest.mark.parametrize(
    ("says", "mean", "scale"),
    [
        ("", USUAL, None),
        ("scale: 0.00390625", [0, 0, 0], [1 / 256] * 3),  # LeNet's: Caffe subtracts nothing
        ("mean_value: 127.5 scale: 0.0078125", [127.5] * 3, [1 / 128] * 3),
        ('mean_file: "elsewhere.binaryproto"', USUAL, None),
        ("# scale: 3\n", USUAL, None),
    ],
)
def test_a_transform_by_hand(folder, says, mean, scale):
    (folder / "train_val.prototxt").write_text(train_val(says))
    found, times = pixels(folder)
    assert found == pytest.approx(mean)
    assert times == (None if scale is None else pytest.approx(scale))


def test_caffes_old_data_layers(folder):
    old = 'layers { name: "data" type: DATA top: "data" data_param { scale: 0.25 mean_file: "m" } }'
    (folder / "train_val.prototxt").write_text(old)
    np.save(folder / "mean.npy", np.float32([1, 2, 3]))
    assert pixels(folder) == ([1, 2, 3], [0.25] * 3)


@pytest.mark.parametrize("shape", [(3,), (3, 5, 7), (1, 3, 5, 7), (5, 7), (1, 5, 7)])
def test_a_mean_picture(folder, shape):
    array = np.random.RandomState(0).uniform(90, 130, shape)
    np.save(folder / "ilsvrc_2012_mean.npy", array)
    mean, _ = pixels(folder)
    each = array.reshape(3, -1).mean(1) if 3 in shape else [array.mean()] * 3
    assert mean == pytest.approx(list(each), abs=1e-4)
    assert "(ilsvrc_2012_mean.npy)" in main("models", "list", folder).stdout


def test_a_binaryproto_that_caffe_wrote(folder, caffe):
    array = np.random.RandomState(0).uniform(90, 130, (1, 3, 5, 7)).astype(np.float32)
    blob = caffe.io.array_to_blobproto(array)
    (folder / "imagenet_mean.binaryproto").write_bytes(blob.SerializeToString())
    assert pixels(folder)[0] == pytest.approx(list(array[0].mean((1, 2))), rel=1e-5)
    np.save(folder / "mean.npy", np.float32([1, 2, 3]))
    assert pixels(folder)[0] == [1, 2, 3]
    (folder / "train_val.prototxt").write_text(
        train_val('mean_file: "data/ilsvrc12/imagenet_mean.binaryproto"')
    )
    assert pixels(folder)[0] == pytest.approx(list(array[0].mean((1, 2))), rel=1e-5)


def save(array):
    return lambda path: np.save(path, array)


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("mean.npy", save(np.zeros((5, 7, 3))), r"shape \(5, 7, 3\); it must be \(3, height"),
        ("mean.npy", save(np.zeros((0, 7))), "shape"),
        ("mean.npy", save(np.full(3, 300.0)), r"mean is .300.* write the mean into .*model\.toml"),
        ("mean.npy", save(np.full(3, np.nan)), "mean is .nan"),
        ("mean.npy", save(np.array([{}])), r"as an array of NumPy: .*; get it again, or remove"),
        ("mean.npy", lambda path: path.write_text("3"), "as an array of NumPy"),
        ("mean.npy", lambda path: path.mkdir(), r"cannot read .*mean\.npy: it is a folder"),
        ("mean.npy", lambda path: path.write_text(LFS), r"cannot read .*: it is a Git LFS pointer"),
        ("m.binaryproto", lambda path: path.write_bytes(b"\xff"), "as a blob of Caffe"),
        ("m.binaryproto", lambda path: path.write_bytes(b""), "shape"),
        ("train_val.prototxt", lambda path: path.write_text(train_val("scale: -1")),
         "scale is -1.0; it must be a number above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_mean_or_scale(folder, name, write, says):
    write(folder / name)
    with pytest.raises(dd.DreamError, match=says):
        zoo.find(folder)
    (folder / "model.toml").write_text("mean = [1, 2, 3]\nscale = 1")
    zoo.find(folder)


def test_two_means_are_named(folder):
    for name in ("mean.npy", "mean_places.npy"):
        np.save(folder / name, np.ones(3))
    refused(main("layers", "--model", folder), "holds mean.npy and mean_places.npy; leave only")


# Files of weights


def test_hdf5_that_caffe_wrote(folder, caffe):
    pytest.importorskip("h5py")
    text = TOY.replace('"conv1"', '"conv/1"').replace('"conv1', '"conv1')
    (folder / "deploy.prototxt").write_text(text)
    stock = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    random = np.random.RandomState(0)
    for blobs in stock.params.values():
        for blob in blobs:
            blob.data[...] = random.normal(0, 0.1, blob.data.shape)
    next(folder.glob("*.caffemodel")).unlink()
    stock.save_hdf5(str(folder / "toy.caffemodel.h5"))
    for engine in ENGINES:
        net = load(folder, engine)
        for layer, blobs in stock.params.items():
            for ours, theirs in zip(net.params[layer], blobs):
                assert np.array_equal(ours.data, theirs.data)
    stock.save_hdf5(str(folder / "toy.h5.caffemodel"))  # by its content, whatever its name
    assert download.load(zoo.find(folder))
    assert zoo.find(folder).weights().name == "toy.h5.caffemodel"


def test_hdf5_of_others(folder, monkeypatch):
    h5py = pytest.importorskip("h5py")
    path = folder / "weights.h5"
    next(folder.glob("*.caffemodel")).unlink()
    with h5py.File(path, "w") as file:
        file["model_weights/conv/kernel:0"] = np.ones(3)
    with pytest.raises(dd.DreamError, match=r"no weights as Caffe writes.*models import"):
        dd.load_net(folder)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(dd.DreamError, match=r"as HDF5: .*; it may be cut short: get it again"):
        dd.load_net(folder)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(dd.DreamError, match=r"HDF5, which needs h5py; .*install h5py` installs it"):
        dd.load_net(folder)


def zipped(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w", data)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path, _: path.write_text(LFS), r"Git LFS pointer, 134 bytes.*`git lfs pull`"),
        (lambda path, _: path.write_text("\n<!DOCTYPE html><html>"), "page, not the file"),
        (lambda path, _: path.write_text("<html><body>404"), "page, not the file"),
        (lambda path, data: path.write_bytes(gzip.compress(data)), r"archive \(gzip\); unpack"),
        (lambda path, data: path.write_bytes(bz2.compress(data)), r"archive \(bzip2\)"),
        (zipped, r"archive \(zip\)"),
    ],
    ids=["lfs", "page", "html", "gzip", "bzip2", "zip"],
)
@pytest.mark.parametrize("suffix", [".caffemodel", ".prototxt"])
def test_files_in_disguise(folder, write, says, suffix):
    path = next(folder.glob(f"*{suffix}"))
    write(path, path.read_bytes())
    with pytest.raises(dd.DreamError, match=rf"{path.name}: it is an? .*{says}"):
        dd.load_net(folder)


# A scale that nobody gave


BN = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 32 dim: 40 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 bias_term: false } }
layer { name: "conv1/bn" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "conv1/scale" type: "Scale" bottom: "conv1" top: "conv1"
  scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "both" type: "Pooling" bottom: "conv1" top: "both"
  pooling_param { kernel_size: 2 stride: 2 } }
"""
CLIPS = BN.replace('name: "relu1" type: "ReLU"', 'name: "relu1" type: "ReLU6"')
head, tail = CLIPS.index('layer { name: "conv1/bn"'), CLIPS.index('layer { name: "relu1"')
CLIPS = (CLIPS[:head] + CLIPS[tail:]).replace(" bias_term: false", "")


def trained(folder, prototxt, scale, factor=1.0):
    """A network with the statistics of the package's photographs at this scale."""
    write_model(folder, prototxt, "")
    random = np.random.RandomState(1)
    filters = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    seen = []
    for name in ("mountains.jpg", "flower.jpg"):
        bgr = dd.load_image(name, 160)[..., ::-1] - USUAL
        windows = np.lib.stride_tricks.sliding_window_view(bgr * scale, (3, 3), (0, 1))
        seen.append(np.einsum("hwcij,ocij->ohw", windows, filters).reshape(8, -1))
    seen = np.concatenate(seen, 1)
    weights = {"conv1": [filters]}
    if prototxt is BN:
        statistics = [seen.mean(1) * factor, seen.var(1) * factor, np.array([factor])]
        weights["conv1/bn"] = [np.float32(it) for it in statistics]
        weights["conv1/scale"] = [np.ones(8, np.float32), np.zeros(8, np.float32)]
    else:
        weights["conv1"] = [filters / seen.std(1)[:, None, None, None].astype(np.float32)]
        if prototxt is CLIPS:
            weights["conv1"].append(np.ones(8, np.float32))
    caffemodel.write_weights(folder / "toy.caffemodel", weights)
    return folder


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("prototxt", [BN, CLIPS], ids=["BatchNorm", "ReLU6"])
@pytest.mark.parametrize("scale", [0.017, 1 / 128, 1 / 255])
def test_a_missing_scale_is_said(tmp_path, prototxt, scale, engine):
    folder = trained(tmp_path / "it", prototxt, scale, 999.98)
    with pytest.warns(UserWarning, match=r"it seems to need a scale: .*model\.toml") as notices:
        load(folder, engine)
    assert len(notices) == 1
    for right in (scale, 1):  # 1: whoever wrote it must know
        (folder / "model.toml").write_text(f"scale = {right}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(folder, engine)
    (folder / "model.toml").unlink()
    (folder / "train_val.prototxt").write_text(train_val(f"mean_value: 110 scale: {scale}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("times", [1, 0.017])
def test_statistics_of_the_picture_itself(tmp_path, engine, times):
    """As in networks that come from MXNet."""
    first = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\nlayer { name: "conv1"'
    prototxt = TOY.replace('layer { name: "conv1"', first, 1).replace(
        'bottom: "data" top: "conv1"', 'bottom: "bn" top: "conv1"'
    )
    folder = write_model(tmp_path / "it", prototxt, "")
    weights = caffemodel.read_weights(folder / "toy.caffemodel")
    variance = np.float32([4800, 4500, 4900]) * times**2
    weights["bn"] = [np.ones(3, np.float32), variance, np.ones(1, np.float32)]
    caffemodel.write_weights(folder / "toy.caffemodel", weights)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        load(folder, engine)
    assert ["a scale" in str(notice.message) for notice in notices] == [True] * (times < 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("prototxt", [BN, CLIPS], ids=["BatchNorm", "ReLU6"])
def test_nothing_is_said_of_a_network_that_wants_none(tmp_path, prototxt, engine):
    folder = trained(tmp_path / "it", prototxt, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = load(folder, engine)
    assert not net.blobs["data"].data.any() and tuple(net.blobs["data"].shape[2:]) == (32, 40)


def test_nothing_is_said_of_an_untrained_network(tmp_path):
    folder = trained(tmp_path / "it", BN, 1)
    weights = caffemodel.read_weights(folder / "toy.caffemodel")
    mean, variance, factor = weights["conv1/bn"]
    for statistics in ((0 * mean, 0 * variance + 1, factor), (mean, variance, 0 * factor),
                       (mean, -variance, factor)):  # fmt: skip
        weights["conv1/bn"] = list(statistics)
        caffemodel.write_weights(folder / "toy.caffemodel", weights)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(folder, "caffe")


def test_the_command_line_says_it(tmp_path):
    folder = trained(tmp_path / "it", BN, 0.017)
    words = "dream flower.jpg --layer both --width 64 --iterations 1 --octaves 1 -o"
    done = main(*words.split(), tmp_path / "x.png", "--model", folder)
    assert "seems to need a scale" in done.stderr
