"""What a network reads of `data`: scale, order of colours and grey, against stock Caffe
that is given pictures prepared by hand.
"""

import warnings

import numpy as np
import pytest
from conftest import TOY, load, main, write_model

import deepdream as dd
from deepdream.nets import caffemodel, inputs, shapes, zoo
from deepdream.train import train

GREY = TOY.replace("dim: 3 ", "dim: 1 ")
MEAN = "mean = [100.0, 120.0, 130.0]\n"
SCALE = np.float32([0.02, 0.017, 0.015])
# {model.toml: (the prototxt, BGR minus the mean as the network wants it)}
WANTS = {
    "scale = 0.017": (TOY, lambda x: x * np.float32(0.017)),
    "scale = [0.02, 0.017, 0.015]": (TOY, lambda x: x * SCALE[:, None, None]),
    'order = "rgb"': (TOY, lambda x: x[::-1]),
    'order = "rgb"\nscale = [0.02, 0.017, 0.015]': (
        TOY, lambda x: (x * SCALE[:, None, None])[::-1]
    ),
    "": (GREY, lambda x: np.tensordot([0.114, 0.587, 0.299], x, 1)[None]),
    "scale = 0.004": (GREY, lambda x: np.tensordot([0.114, 0.587, 0.299], x * 0.004, 1)[None]),
}  # fmt: skip
ENGINES = "caffe", "torch"


@pytest.fixture(params=WANTS, ids=["scale", "scales", "rgb", "rgb scales", "grey", "grey scale"])
def wanting(request, tmp_path):
    """(a model folder, what its network wants of `data`)"""
    prototxt, prepare = WANTS[request.param]
    return write_model(tmp_path / "it", prototxt, MEAN + request.param), prepare


def stock(folder):
    """The network in plain pycaffe, with `force_backward`."""
    caffe = pytest.importorskip("caffe", reason="Caffe is not installed")
    prototxt = folder / "stock.txt"
    text = (folder / "deploy.prototxt").read_text()
    prototxt.write_text("force_backward: true\n" + text)
    net = caffe.Net(str(prototxt), caffe.TEST)
    net.copy_from(str(folder / "toy.caffemodel"))
    return net


def near(a, b):
    return np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_gets_what_it_wants(wanting, engine, photo):
    folder, prepare = wanting
    net, oracle = load(folder, engine), stock(folder)
    data = dd.preprocess(net, photo[:24, :32])
    assert near(data[0], photo[:24, :32, 2] - 100)
    net.blobs["data"].reshape(1, *data.shape)
    net.blobs["data"].data[0] = data
    net.forward(end="prob")
    oracle.blobs["data"].data[0] = prepare(data)
    oracle.forward()
    for layer in ("conv1", "both", "prob"):
        assert near(net.blobs[layer].data, oracle.blobs[layer].data)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradient_is_stocks_through_scale_and_order(wanting, engine, photo):
    folder, prepare = wanting
    net, oracle = load(folder, engine), stock(folder)
    data = dd.preprocess(net, photo[:24, :32])
    net.blobs["data"].reshape(1, *data.shape)
    net.blobs["data"].data[0] = data
    got = net.to_numpy(dd.gradient(net, "both"))
    oracle.blobs["data"].data[0] = prepare(data)
    oracle.forward(end="both")
    oracle.blobs["both"].diff[...] = oracle.blobs["both"].data
    oracle.backward(start="both")
    below = oracle.blobs["data"].diff[0]
    if len(below) == 1:  # all colours rise as what the network reads does
        want = np.repeat(below, 3, 0) * (prepare(np.ones((3, 1, 1))).item())
    else:  # a linear map's gradient is its transpose
        columns = [prepare(np.eye(3)[i][:, None, None])[:, 0, 0] for i in range(3)]
        want = np.tensordot(np.array(columns), below, 1)
    assert near(got, want)


def test_the_gradient_of_a_grey_network_is_that_of_finite_differences(tmp_path, photo):
    folder = write_model(tmp_path / "it", GREY, MEAN)
    net = load(folder, "caffe")
    data = dd.preprocess(net, photo[:24, :32])
    net.blobs["data"].reshape(1, *data.shape)

    def rise(change):
        net.blobs["data"].data[0] = data + change
        net.forward(end="both")
        return float((net.blobs["both"].data.astype(float) ** 2).sum() / 2)

    net.blobs["data"].data[0] = data
    g = dd.gradient(net, "both").copy()
    change = np.zeros((1, 24, 32), np.float32)
    change[0, 11, 17] = 0.5  # of all three colours
    slope = (rise(change) - rise(-change)) / 1
    assert g[0, 11, 17] == g[1, 11, 17] == g[2, 11, 17]
    assert slope == pytest.approx(g[0, 11, 17], rel=1e-2)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_grey_network_dreams_draws_and_looks(tmp_path, engine):
    folder = write_model(tmp_path / "it", GREY, MEAN + "scale = 0.01")
    net = load(folder, engine)
    grey = np.full((40, 50, 3), 100.0) + np.random.RandomState(0).rand(40, 50, 1) * 50
    dream = dd.deepdream(net, grey, 2, 2, end="both", seed=1)
    assert np.abs(dream - dream[..., :1]).max() < 1e-3  # no colour comes in
    assert np.abs(dream - grey).max() > 1
    assert dd.draw(net, 3, steps=3).shape[2] == 3
    dd.look(net, grey)


def test_the_layer_between_is_shown_and_not_climbed(tmp_path):
    folder = write_model(tmp_path / "it", TOY, 'default_layer = "both"\nscale = 0.017')
    net = load(folder, "caffe")
    assert net.layer_names[:3] == ["data", "data/input", "conv1"]
    assert "data/input" not in net.climbable
    row = next(line for line in main("layers", "--model", folder).stdout.splitlines()
               if line.startswith("data/input"))  # fmt: skip
    assert row.split() == ["data/input", "Convolution", "3", "x", "24", "x", "32", "1", "-"]
    with pytest.raises(dd.DreamError, match="data/input"):
        dd.deepdream(net, np.zeros((40, 40, 3)), end="data/input")


def test_scale_1_and_bgr_change_nothing(tmp_path):
    folder = write_model(tmp_path / "it", TOY, 'scale = 1\norder = "bgr"')
    assert "data/input" not in load(folder, "caffe").layer_names


def test_the_digest_is_that_of_the_file(tmp_path):
    folder = write_model(tmp_path / "it")
    weights = caffemodel.read_weights(folder / "toy.caffemodel")
    digest = caffemodel.weights_digest(weights)
    (folder / "model.toml").write_text(f'digest = "{digest}"\nscale = 0.5\norder = "rgb"')
    assert load(folder, "caffe").params["data/input"][0].data.shape == (3, 3, 1, 1)


def test_in_place_layers_on_data_are_led_through_it(tmp_path):
    prototxt = TOY.replace(
        'layer { name: "conv1"',
        'layer { name: "p" type: "Power" bottom: "data" top: "data" power_param { shift: 3 } }\n'
        'layer { name: "conv1"', 1,
    )  # fmt: skip
    layers = inputs.layers(zoo.find(write_model(tmp_path / "it", prototxt, "scale = 2")))
    assert [list(layer.top) for layer in layers[:3]] == [["data"], ["data/input"], ["p"]]
    assert layers[2].bottom == ["data/input"]
    assert shapes.own_size(layers) == (24, 32)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("scale = 0", "scale is 0; it must be a number above 0"),
        ("scale = [1, 2]", "three: blue, green, red"),
        ("scale = inf", "a number above 0"),
        ("scale = true", "a number above 0"),
        ("scale = 1e39", "up to 255"),
        ('order = "grb"', '"bgr" or "rgb"'),
        ("order = 3", '"bgr" or "rgb"'),
    ],
)
def test_a_senseless_scale_or_order_is_refused(tmp_path, line, says):
    folder = write_model(tmp_path / "it")
    (folder / "model.toml").write_text(line)
    with pytest.raises(dd.DreamError, match=says):
        zoo.find(folder)


def test_what_the_self_check_found_is_free(tmp_path):
    folder = write_model(tmp_path / "it", TOY, '[checked]\nlargest = 1e-6\nby = "onnxruntime"')
    zoo.find(folder)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trained_network_carries_its_scale_along(tmp_path, engine, photo):
    parent = write_model(
        tmp_path / "it", TOY, MEAN + 'default_layer = "both"\norder = "rgb"\nscale = 0.017'
    )
    if engine == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    pictures = tmp_path / "pictures"
    for name in ("dark", "light"):
        (pictures / name).mkdir(parents=True)
        for i in range(3):
            dd.save_image(pictures / name / f"{i}.png", photo / 2 if name == "dark" else photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained = train(pictures, tmp_path / "new", model=str(parent), engine=engine, steps=2,
                           batch=2, freeze="none")  # fmt: skip
    new = load(trained.folder, "caffe")
    assert new.model.scale is None and new.model.order == "bgr"
    assert "data/input" in new.layer_names and "data/input" not in new.climbable
    before = load(parent, "caffe")
    for net in (before, new):
        assert np.array_equal(
            net.params["data/input"][0].data[:, :, 0, 0],
            np.float32(0.017) * np.eye(3, dtype=np.float32)[::-1],
        )
    assert not np.array_equal(before.params["conv1"][0].data, new.params["conv1"][0].data)
    (trained.folder / "model.toml").write_text("scale = 2")
    with pytest.raises(dd.DreamError, match="already; leave scale and order out"):
        load(trained.folder, "caffe")
