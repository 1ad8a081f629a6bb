"""Networks that run at few sizes only, as those with skip connections do, against stock
Caffe and pictures that are extended by hand.
"""

import numpy as np
import pytest
from conftest import load, main, write_model

import deepdream as dd
from deepdream.nets import receptive, sizes
from deepdream.nets.tiles import Tiles, fit


def layer(name, kind, bottoms, parameters):
    below = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {below} top: "{name}" {parameters} }}\n'


def conv(name, bottom, n, kernel, stride=1, pad=0):
    p = f"num_output: {n} kernel_size: {kernel} stride: {stride} pad: {pad}"
    return layer(name, "Convolution", [bottom], f"convolution_param {{ {p} }}")


def pool(name, bottom, kernel, stride):
    p = f"pool: MAX kernel_size: {kernel} stride: {stride}"
    return layer(name, "Pooling", [bottom], f"pooling_param {{ {p} }}")


def data(height, width):
    shape = f"dim: 1 dim: 3 dim: {height} dim: {width}"
    return layer("data", "Input", [], f"input_param {{ shape {{ {shape} }} }}")


UP = "convolution_param { num_output: 4 kernel_size: 2 stride: 2 }"
UNET = (
    data(48, 64)
    + conv("c1", "data", 4, 3, pad=1)
    + pool("p1", "c1", 2, 2)
    + conv("c2", "p1", 6, 3, pad=1)
    + pool("p2", "c2", 2, 2)
    + conv("c3", "p2", 8, 3, pad=1)
    + pool("p3", "c3", 2, 2)
    + conv("c4", "p3", 8, 3, pad=1)
    + layer("u3", "Deconvolution", ["c4"], UP)
    + layer("j3", "Concat", ["u3", "c3"], "")
    + layer("u2", "Deconvolution", ["j3"], UP)
    + layer("j2", "Concat", ["u2", "c2"], "")
    + layer("u1", "Deconvolution", ["j2"], UP)
    + layer("j1", "Concat", ["u1", "c1"], "")
    + conv("top", "j1", 5, 3, pad=1)
)
# As Inception v3's: valid convolutions round down, poolings up
INCEPTION = data(75, 75) + conv("s1", "data", 4, 3, 2) + conv("s2", "s1", 4, 3) + conv(
    "m1", "s2", 6, 3, 2
) + pool("n1", "s2", 3, 2) + layer("j1", "Concat", ["m1", "n1"], "") + conv(
    "m2", "j1", 6, 3, 2
) + pool("n2", "j1", 3, 2) + layer("j2", "Concat", ["m2", "n2"], "") + conv(
    "top", "j2", 8, 3, pad=1
)  # fmt: skip
TOYS = {"unet": UNET, "inception": INCEPTION}
ENGINES = "caffe", "torch"


@pytest.fixture(params=TOYS)
def folder(request, tmp_path):
    return write_model(tmp_path / request.param, TOYS[request.param], 'default_layer = "top"')


def stock(folder):
    caffe = pytest.importorskip("caffe", reason="Caffe is not installed")
    text = (folder / "deploy.prototxt").read_text()
    (folder / "stock.txt").write_text("force_backward: true\n" + text)
    net = caffe.Net(str(folder / "stock.txt"), caffe.TEST)
    net.copy_from(str(folder / "toy.caffemodel"))
    return net


def gradient_by_hand(oracle, x, end, size):
    added = [(0, more - n) for more, n in zip(size, x.shape[1:])]
    padded = np.pad(x, [(0, 0), *added], "symmetric")
    oracle.blobs["data"].reshape(1, *padded.shape)
    oracle.blobs["data"].data[0] = padded
    oracle.forward(end=end)
    oracle.blobs[end].diff[...] = oracle.blobs[end].data
    oracle.backward(start=end)
    return oracle.blobs["data"].diff[0][:, : x.shape[1], : x.shape[2]]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradient_is_that_of_the_mirrored_picture(folder, engine):
    net, oracle = load(folder, engine), stock(folder)
    random = np.random.RandomState(1)
    for size in [(41, 57), (63, 50), (48, 64)]:
        x = np.float32(random.uniform(-100, 100, (3, *size)))
        tiles = fit(net, ["top"], [size])
        tiles.blobs["data"].reshape(1, *x.shape)
        tiles.blobs["data"].data[0] = x
        got = tiles.to_numpy(dd.gradient(tiles, "top"))
        ran = sizes.find(net, ["top"], size)
        want = gradient_by_hand(oracle, x, "top", ran)
        assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_rectangle_can_be_dreamt(folder, engine):
    net = load(folder, engine)
    random = np.random.RandomState(2)
    for _ in range(40):
        h, w = random.randint(32, 200, 2)
        image = np.float32(random.uniform(0, 255, (h, w, 3)))
        dream = dd.deepdream(net, image, 1, 1, end="top", seed=0)
        assert dream.shape == image.shape and np.abs(dream - image).mean() > 0.5


def test_the_nearest_size_above_is_found(folder):
    net = load(folder, "caffe")
    for h, w in np.random.RandomState(3).randint(32, 200, (20, 2)):
        found = sizes.find(net, ["top"], (h, w))
        rows = next(n for n in range(h, 999) if net.fits("top", (n, net.own_size[1])))
        columns = next(n for n in range(w, 999) if net.fits("top", (net.own_size[0], n)))
        assert found == (rows, columns)


def test_a_picture_that_runs_goes_in_as_it_is(folder):
    net = load(folder, "caffe")
    assert fit(net, ["top"], [net.own_size]) is net
    assert fit(net, ["top"], [(41, 50), net.own_size]) is not net


def test_several_layers_and_objectives_work(folder):
    net = load(folder, "caffe")
    image = np.float32(np.random.RandomState(4).uniform(0, 255, (61, 83, 3)))
    some = image[:45, :52]
    goal = dd.L2("top") + 10 * dd.channel("j1", 3) + dd.unit("top", 0, 2, 2)
    goal += dd.guide("top", some) + dd.strongest("j1") + dd.caricature("top", some)
    mask = np.zeros((61, 83))
    mask[20:40] = 1
    dream = dd.deepdream(net, image, 2, 2, end="top", objective=goal, seed=0, mask=mask)
    assert dream.shape == image.shape and np.abs(dream - image)[:10].max() < 1e-3
    seen = dd.look(net, image)
    assert seen.channels
    assert dd.draw(net, dd.channel("top", 1), steps=2).shape[2] == 3


def test_tiles_run_too_and_have_the_gradient_of_the_whole_picture(folder):
    net = load(folder, "caffe")
    x = np.float32(np.random.RandomState(5).uniform(-100, 100, (3, 181, 207)))
    found = []
    for tile in (None, 160):
        tiles = fit(net, ["top"], [x.shape[1:]], tile, halo=tile and 48)
        assert isinstance(tiles, Tiles) and bool(tiles.tiling) == bool(tile)
        tiles.blobs["data"].reshape(1, *x.shape)
        tiles.blobs["data"].data[0] = x
        found.append(dd.gradient(tiles, "top").copy())
    inside = np.s_[:, :120, :120]  # far from what is mirrored
    error = np.abs(found[1] - found[0])[inside].mean() / np.abs(found[0])[inside].mean()
    assert error < 0.02
    assert receptive.fields(net.layer_specs)["top"] < 96


def test_what_does_not_run_says_what_does(folder):
    net = load(folder, "caffe")
    h = next(n for n in range(50, 99) if not net.fits("top", (n, n)))
    net.blobs["data"].reshape(1, 3, h, h)
    found = sizes.find(net, ["top"], (h, h))
    says = f"{h}x{h}, but on one of {found[1]}x{found[0]}, the next larger that runs"
    with pytest.raises(dd.DreamError, match=says):
        net.forward(end="top")
    with pytest.raises(dd.DreamError, match=r"too small for layer 'top'|on one of 19x19, and some"):
        dd.deepdream(net, np.full((4, 4, 3), 9.0), 1, 1, end="top")


def test_layers_at_a_size_are_those_of_the_enlarged_picture(folder):
    net = load(folder, "caffe")
    h, w = sizes.find(net, ["top"], (61, 83))
    lines = main("layers", "--model", folder, "--size", "83x61").stdout.splitlines()
    assert lines[0] == f"enlarged by its mirror image to {w}x{h}, where all layers run"
    assert lines[-1].startswith("top") and lines[-1].endswith("yes")
