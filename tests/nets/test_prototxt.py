"""Networks as people publish them: what is read, rewritten, cut away and skipped,
compared with stock Caffe.
"""

import subprocess
import sys

import caffe
import numpy as np
import pytest
from conftest import TOY, load, run_command, write_model

from deepdream import DreamError
from deepdream.nets import caffemodel, prototxt, shapes

ENGINES = "caffe", "torch"
SIDE = 24, 32


def layer(name, kind, bottoms, text="", tops=None):
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split())
    ends += "".join(f'top: "{t}" ' for t in (name if tops is None else tops).split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends} {text} }}\n'


def data(channels=3, name="data"):
    dims = f"dim: 1 dim: {channels} dim: {SIDE[0]} dim: {SIDE[1]}"
    return layer(name, "Input", "", f"input_param {{ shape {{ {dims} }} }}")


def conv(name, bottom, outputs=4, text="kernel_size: 3 pad: 1"):
    what = f"convolution_param {{ num_output: {outputs} {text} }}"
    return layer(name, "Convolution", bottom, what)


def fill(net, size=SIDE):
    shape = (1, net.blobs["data"].data.shape[1], *size)
    net.blobs["data"].reshape(*shape)
    net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, shape)
    return net


def climb(net, end, size=SIDE):
    """The gradient of half the sum of squares, (1, c, h, w)."""
    fill(net, size).forward(end=end)
    net.blobs[end].diff[...] = net.blobs[end].data
    net.backward(start=end)
    return net.blobs["data"].diff.copy()


def stock(folder, text, end, start="data"):
    """As `climb`, of stock pycaffe with `force_backward`."""
    (folder / "stock.txt").write_text("force_backward: true\n" + text)
    net = caffe.Net(str(folder / "stock.txt"), caffe.TEST, weights=str(folder / "toy.caffemodel"))
    shape = net.blobs[start].data.shape
    net.blobs[start].data[...] = np.random.RandomState(0).normal(0, 60, shape)
    net.forward(end=end)
    net.blobs[end].diff[...] = net.blobs[end].data
    net.backward(start=end)
    return net.blobs[start].diff.copy()


def close(ours, theirs, most=1e-5):
    return np.linalg.norm(ours - theirs) <= most * max(1e-12, np.linalg.norm(theirs))


def read(tmp_path, text):
    (tmp_path / "net.prototxt").write_text(text)
    return prototxt.read_layers(tmp_path / "net.prototxt")


PERMUTE = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
UP = "convolution_param { num_output: 4 kernel_size: 4 stride: 2 }"
PUBLISHED = {
    "segmentation": (
        data()
        + conv("a", "data", 4, "kernel_size: 3 pad: 9")
        + conv("b", "a", 4, "kernel_size: 2 stride: 2")
        + layer("up", "Deconvolution", "b", UP)
        + layer("end", "Crop", "up data", "crop_param { axis: 2 offset: 5 }")
    ),
    "detection": (
        data()
        + conv("a", "data")
        + conv("b", "a")
        + layer("n", "Normalize", "a", "norm_param { across_spatial: false channel_shared: false }")
        + layer("p", "Permute", "n", PERMUTE)
        + layer("q", "Permute", "b", PERMUTE)
        + layer("f", "Flatten", "p")
        + layer("g", "Flatten", "q")
        + layer("prior", "PriorBox", "a data", "prior_box_param { min_size: 9 }")
        + layer("end", "Concat", "f g")
    ),
    "trunk": (
        data()
        + conv("a", "data")
        + layer("r", "ReLU6", "a", tops="a")
        + layer("quiet", "Silence", "a", tops="")
        + conv("end", "a")
    ),
    "rules": (
        data()
        + conv("a", "data")
        + layer("off", "ReLU", "a", "exclude { phase: TEST }", "a")
        + layer(
            "on", "ReLU", "a", "relu_param { negative_slope: 0.5 } include { max_level: 0 }", "a"
        )
        + conv("end", "a").replace("}\n", ' include { not_stage: "x" } }\n')
    ),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_kinds_have_the_gradient_of_stock_caffe(tmp_path, kind):
    """To the bit on Caffe, and within 1e-5 on PyTorch."""
    folder = write_model(tmp_path / "m", PUBLISHED[kind])
    theirs = stock(folder, PUBLISHED[kind], "end")
    assert theirs.any()
    assert np.array_equal(climb(load(folder, "caffe"), "end"), theirs)
    assert close(climb(load(folder, "torch"), "end"), theirs)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_input_of_another_name_is_called_data(tmp_path, engine):
    """Even where a layer behind it has that name."""
    text = data(name="image") + layer("data", "Power", "image", "power_param { scale: 0.1 }")
    text += conv("end", "data")
    folder = write_model(tmp_path / "m", text)
    net = load(folder, engine)
    assert "data/own" in net.climbable
    assert close(climb(net, "end"), stock(folder, text, "end", "image"))


def test_a_header_beside_an_input_layer_is_ignored(tmp_path):
    assert [it.name for it in read(tmp_path, 'input: "data"\n' + TOY)][:2] == ["data", "conv1"]


def test_rules_choose_the_layers_that_caffe_chooses(tmp_path):
    text = data()
    for i, rule in enumerate([
        "include { phase: TRAIN }", "include { phase: TEST }", "exclude { phase: TRAIN }",
        "exclude { phase: TEST }", "include { stage: 'x' }", "include { not_stage: 'x' }",
        "include { min_level: 1 }", "include { min_level: -1 max_level: 0 }",
        "exclude { max_level: 3 }", "include { phase: TRAIN } include { phase: TEST }",
        "include { phase: TEST stage: 'x' }", "exclude { stage: 'x' }",
    ]):  # fmt: skip
        text += layer(f"l{i}", "Power", "data", rule)
    ours = [it.name for it in read(tmp_path, text)]
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert ours == [name for name in net._layer_names if "_split" not in name]


def test_the_deploy_stage_is_taken_where_there_is_no_other_input(tmp_path):
    inside = data().replace("}\n", ' include { stage: "deploy" } }\n')
    text = layer("train", "Data", "", 'include { stage: "train" }', "data") + inside
    assert [it.name for it in read(tmp_path, text + conv("a", "data"))] == ["data", "a"]


DATA = 'transform_param {{ {} }} data_param {{ source: "x" }}'


def test_a_training_prototxt_whose_size_is_known_can_be_dreamt_with(tmp_path):
    text = layer("data", "Data", "", DATA.format("crop_size: 20 mean_value: 9"), "data label")
    text += conv("a", "data") + layer("loss", "SoftmaxWithLoss", "a label")
    text += layer("accuracy", "Accuracy", "a label")
    layers = read(tmp_path, text)
    assert [it.name for it in layers] == ["data", "a"]
    assert shapes.own_size(layers) == (20, 20)
    assert list(layers[0].transform_param.mean_value) == [9]
    assert "'label', an input that a dream has not" in layers.cut["loss"]
    with pytest.raises(DreamError, match=r"a deploy.prototxt has one, called 'data', of a known"):
        read(tmp_path, text.replace("crop_size: 20", ""))
    with pytest.raises(DreamError, match=r"inputs \['data', 'label'\]; a dream needs"):
        read(tmp_path, layer("data", "DenseImageData", "", "", "data label") + conv("a", "data"))


def test_grey_pictures_are_read_and_fifteen_channels_are_not(tmp_path):
    assert shapes.own_size(read(tmp_path, data(1) + conv("a", "data"))) == SIDE
    with pytest.raises(DreamError, match=r"\(1, 15, 24, 32\); a dream needs \(n, 3, "):
        read(tmp_path, data(15) + conv("a", "data"))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_cannot_run_is_cut_away_and_says_why(tmp_path, engine, capsys):
    text = 'input: "data"\ninput_shape { dim: 1 dim: 3 dim: 24 dim: 32 }\n'
    text += 'input: "im_info"\ninput_shape { dim: 1 dim: 3 }\n'
    text += conv("a", "data") + conv("score", "a") + conv("after", "a")
    text += layer("rois", "Python", "score im_info", "python_param { module: 'x' layer: 'y' }")
    text += layer("pool", "ROIPooling", "a rois", "roi_pooling_param { pooled_w: 7 pooled_h: 7 }")
    folder = write_model(tmp_path / "m", text)
    net = load(folder, engine)
    assert net.climbable == ["a", "score", "after"]
    with pytest.raises(
        DreamError, match=r"layer 'pool' is left out: it needs layer 'rois': it reads"
    ):
        net.check_layer("pool")
    assert climb(net, "after").any()
    lines = run_command(["layers", "--model", str(folder)]) or capsys.readouterr().out
    assert "left out" in next(line for line in lines.splitlines() if line.startswith("pool"))


def test_a_network_of_which_nothing_is_left_is_refused(tmp_path):
    with pytest.raises(DreamError, match="unknown layer type of layer 'a': 'Quux'; allowed: "):
        read(tmp_path, data() + layer("a", "Quux", "data") + conv("b", "a"))


@pytest.mark.parametrize("engine", ENGINES)
def test_side_branches_are_skipped_where_they_cannot_run(tmp_path, engine):
    """A classifier at the side needs other weights at other sizes, or more pixels."""
    trunk = data() + conv("a", "data") + conv("b", "a", 4, "kernel_size: 3 stride: 2")
    side = layer("pool", "Pooling", "a", "pooling_param { kernel_size: 9 stride: 5 }")
    side += layer("fc", "InnerProduct", "pool", "inner_product_param { num_output: 5 }")
    side += layer("drop", "Dropout", "fc", tops="fc") + layer("soft", "Softmax", "fc")
    text = trunk + side + conv("end", "b")
    net = load(write_model(tmp_path / "m", text), engine)
    alone = load(write_model(tmp_path / "alone", trunk + conv("end", "b")), engine)
    for blobs in alone.params:
        for mine, other in zip(alone.params[blobs], net.params[blobs]):
            mine.data[...] = other.data
    if engine == "torch":
        alone._weights = {name: net._weights[name] for name in alone.params}
    for size in (SIDE, (40, 23), (6, 7), SIDE, (61, 61)):
        assert np.array_equal(climb(net, "end", size), climb(alone, "end", size)), size
        assert net.fits("soft", size) == (size == SIDE)
        assert net.memory("end", *size) >= alone.memory("end", *size)
    with pytest.raises(DreamError, match="'fc' would need other weights"):
        climb(net, "soft", (61, 61))


def test_batch_norms_of_other_caffes_fold_into_a_scale(tmp_path):
    """Slope, bias, mean and variance, as in PSPNet; slope and bias, as in SegNet."""
    text = data() + layer("bn", "BN", "data", "bn_param { eps: 0.25 frozen: true }")
    folder = write_model(tmp_path / "m", text + conv("end", "bn"))
    weights = caffemodel.read_weights(folder / "toy.caffemodel")
    four = np.random.RandomState(1).uniform(0.5, 2, (4, 1, 3, 1, 1)).astype(np.float32)
    for blobs in (four, four[:2]):
        caffemodel.write_weights(folder / "toy.caffemodel", weights | {"bn": list(blobs)})
        slope, bias, mean, variance = [*blobs, *[np.float32(0), np.float32(0.75)][: 4 - len(blobs)]]
        for engine in ENGINES:
            net = fill(load(folder, engine))
            net.forward(end="bn")
            y = (net.blobs["data"].data - mean) / np.sqrt(variance + 0.25) * slope + bias
            assert close(net.blobs["bn"].data, y) and climb(net, "end").any()


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_of_other_caffes_are_rewritten(tmp_path, engine):
    gate = layer("g", "Pooling", "a", "pooling_param { pool: AVE global_pooling: true }")
    depthwise = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 engine: CAFFE }"
    text = data() + conv("a", "data") + conv("b", "data") + gate
    text += layer("axpy", "Axpy", "g a b") + layer("dw", "ConvolutionDepthwise", "a", depthwise)
    text += layer("mix", "ShuffleChannel", "a", "shuffle_channel_param { group: 2 }")
    text += layer("un", "Unsqueeze", "a", "unsqueeze_param { dim: 2 }")
    text += layer("silu", "Swish", "b", "swish_param { beta: 0.2 }", "b")
    text += layer("clip", "Clip", "b", "clip_param { min: -3 max: 2 }") + conv("end", "clip")
    net = fill(load(write_model(tmp_path / "m", text), engine), (10, 12))
    net.forward(end="end")
    a, b, g = (net.blobs[name].data for name in "abg")
    assert close(net.blobs["axpy"].data, g * a + b)
    assert np.array_equal(net.blobs["mix"].data, a[:, [0, 2, 1, 3]])
    assert net.blobs["un"].data.shape == (1, 4, 1, 10, 12)
    assert net.params["dw"][0].data.shape == (4, 1, 3, 3)
    silu = b / (1 + np.exp(-0.2 * b))
    assert close(net.blobs["silu"].data, silu)
    assert close(net.blobs["clip"].data, silu.clip(-3, 2))
    for end in ("axpy", "dw", "mix", "un", "silu", "end"):
        assert climb(net, end, (10, 12)).any()


MISSING = {
    "Pad": "pad_param { pad_u: 1 pad_r: 2 pad_type: REFLECT }",
    "Upsample": "upsample_param { scale: 3 }",
    "PixelShuffle": "pixelshuffle_param { upscale_factor: 2 }",
    "HardSigmoid": "",
    "HardSwish": "",
    "BilinearInterpolate": "bilinear_interpolate_param { scale_factor: 2 align_corners: false }",
}


@pytest.mark.parametrize("kind", MISSING)
def test_gradients_that_caffe_leaves_out_are_those_of_small_steps(tmp_path, kind):
    """Of what the layer reads there is a second reader."""
    text = data() + layer("s", "Power", "data", "power_param { scale: 0.02 }")
    text += conv("a", "s", 8) + layer("it", kind, "a", MISSING[kind])
    text += conv("end", "it") + conv("side", "a")
    folder = write_model(tmp_path / "m", text)
    ours = climb(load(folder, "caffe"), "end")
    assert close(ours, climb(load(folder, "torch"), "end"))
    net = fill(load(folder, "caffe"))
    step = 0.5 * np.sign(ours)
    values = []
    for sign in (1, -1):
        fill(net).blobs["data"].data[...] += sign * step
        net.forward(end="end")
        values.append(np.square(net.blobs["end"].data, dtype=np.float64).sum() / 2)
    rise = (ours * step).sum(dtype=np.float64) * 2
    assert abs(values[0] - values[1] - rise) < 0.02 * rise


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_in_place_that_needs_what_it_has_overwritten_gets_a_top(tmp_path, engine):
    swish = layer("swish", "HardSwish", "a", tops="a")
    power = layer("power", "Power", "data", "power_param { scale: 0.5 }", "data")
    text = data() + power + conv("a", "data") + swish + conv("end", "a")
    net = load(write_model(tmp_path / "m", text), engine)
    assert net.climbable == ["power", "a", "swish", "end"]
    assert np.array_equal(climb(net, "end"), climb(net, "end"))  # the picture is as it was
    net.forward(end="power")
    assert np.array_equal(net.blobs["power"].data, net.blobs["data"].data / 2)


def test_shapes_that_only_caffe_knows_are_asked_of_it(tmp_path):
    text = data() + conv("a", "data") + conv("after", "a")
    text += layer("spp", "SPP", "a", "spp_param { pyramid_height: 2 }")
    text += layer("im", "Im2col", "a", "convolution_param { kernel_size: 3 }")
    folder = write_model(tmp_path / "m", text)
    net = load(folder, "caffe")
    theirs = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    for end in ("spp", "im"):
        assert net.top_shape(end, *SIDE) == tuple(theirs.blobs[end].shape)
        assert np.array_equal(climb(net, end), stock(folder, text, end))
        assert climb(net, end, (13, 20)).any()
    net = load(folder, "torch")
    assert net.climbable == ["a", "after"]
    with pytest.raises(DreamError, match="PyTorch has no layers of the type SPP; the engine 'ca"):
        net.check_layer("spp")


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_without_a_gradient_run_and_cannot_be_climbed(tmp_path, engine):
    text = data() + conv("a", "data") + layer("arg", "ArgMax", "a", "argmax_param { axis: 1 }")
    text += conv("end", "a") + layer("hard", "Threshold", "end") + conv("on", "hard")
    net = load(write_model(tmp_path / "m", text), engine)
    assert net.climbable == ["a", "end"]
    with pytest.raises(DreamError, match="'on' cannot be climbed: no gradient leads from it"):
        net.check_layer("on")
    assert climb(net, "end").any()
    assert set(np.unique(net.features("hard"))) <= {0, 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pooling_may_say_where_its_maxima_were(tmp_path, engine):
    pool = "pooling_param { kernel_size: 2 stride: 2 }"
    text = data() + conv("a", "data") + layer("pool", "Pooling", "a", pool, "pool mask")
    text += layer("up", "Upsample", "pool mask", "upsample_param { scale: 2 }")
    folder = write_model(tmp_path / "m", text)
    net = load(folder, engine)
    assert close(climb(net, "pool"), stock(folder, text.split('layer { name: "up"')[0], "pool"))
    assert "SegNet" in net.layer_specs.cut["up"]


def test_the_memory_of_residual_networks_is_foreseen(tmp_path):
    """Batch norms and scales in place, and strided 1x1 convolutions, as in ResNet."""
    norm = "batch_norm_param { use_global_stats: true }"
    text = data() + conv("a", "data", 32) + layer("bn", "BatchNorm", "a", norm, "a")
    text += layer("sc", "Scale", "a", "scale_param { bias_term: true }", "a")
    text += layer("relu", "ReLU", "a", tops="a")
    text += conv("b", "a", 64, "kernel_size: 1 stride: 2") + conv(
        "c", "a", 64, "kernel_size: 2 stride: 2"
    )
    text += layer("end", "Eltwise", "b c") + layer("relu2", "ReLU", "end", tops="end")
    folder = write_model(tmp_path / "m", text)
    code = f"""if True:
        import psutil, deepdream as dd
        net = dd.load_net({str(folder)!r}, "caffe")
        before = psutil.Process().memory_info().rss
        net.blobs["data"].reshape(1, 3, 900, 900)
        dd.gradient(net, "end")
        took = psutil.Process().memory_info().rss - before
        print(net.memory("end", 900, 900) / took)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0.85 < float(done.stdout) < 1.15, done
