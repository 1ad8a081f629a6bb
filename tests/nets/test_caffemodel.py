"""How we read Caffe's files, and its layers' shapes, compared with Caffe itself."""

import math
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from conftest import TOY, V1, write_model

from deepdream import DreamError, gradient, load_net
from deepdream.nets import caffemodel, download, receptive, shapes

ROOT = Path(__file__).parents[2]


def test_the_prototxts_in_models_are_what_the_generator_writes():
    sys.path.insert(0, str(ROOT / "tools"))
    import prototxt

    for folder, write in prototxt.NETWORKS.items():
        assert (ROOT / "models" / folder / "deploy.prototxt").read_text() == write()


def test_real_weights_have_the_known_digests(net):
    _, weights = download.load(net.model)
    assert caffemodel.weights_digest(weights) == net.model.digest


@pytest.mark.parametrize("size", [(227, 227), (97, 160), (231, 330)])
def test_shapes_of_real_networks_are_caffes(net, size):
    last = "pool5/7x7_s1" if net.model.name == "bvlc_googlenet" else "prob"
    net.blobs["data"].reshape(1, 3, *size)
    try:
        net.forward(end=last)
    except DreamError as error:
        assert "too small" in str(error)
        last = "inception_5b/output"
        net.forward(end=last)
    for layer, _, tops, _ in shapes.walk(net.layer_specs, size, last):
        for top, shape in zip(layer.top, tops):
            assert tuple(net.blobs[top].shape) == shape, layer.name


LAYERS = {
    "conv": 'type: "Convolution" convolution_param { num_output: 6 '
    "kernel_h: 3 kernel_w: 2 pad: 1 stride: 2 group: 3 }",
    "dilated": 'type: "Convolution" convolution_param { num_output: 2 '
    "kernel_size: 3 dilation: 2 bias_term: false }",
    "deconv": 'type: "Deconvolution" convolution_param { num_output: 2 '
    "kernel_size: 4 stride: 2 pad: 1 }",
    "pool": 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 1 }',
    "pool_hw": 'type: "Pooling" pooling_param { pool: AVE '
    "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 }",
    "global": 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }',
    "lrn": 'type: "LRN" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }',
    "fc": 'type: "InnerProduct" inner_product_param { num_output: 7 }',
    "fc_t": 'type: "InnerProduct" inner_product_param { num_output: 7 '
    "transpose: true bias_term: false }",
    "prelu": 'type: "PReLU"',
    "prelu1": 'type: "PReLU" prelu_param { channel_shared: true }',
    "elu": 'type: "ELU"',
    "sigmoid": 'type: "Sigmoid"',
    "tanh": 'type: "TanH"',
    "power": 'type: "Power" power_param { power: 2 scale: 0.5 shift: 1 }',
    "bn": 'type: "BatchNorm"',
    "scale": 'type: "Scale" scale_param { bias_term: true }',
    "bias": 'type: "Bias" bias_param { num_axes: 2 }',
    "flatten": 'type: "Flatten"',
    "flatten2": 'type: "Flatten" flatten_param { axis: 2 }',
    "reshape": 'type: "Reshape" reshape_param { shape { dim: 0 dim: -1 dim: 11 } }',
    "reshape2": 'type: "Reshape" reshape_param { axis: 1 num_axes: 1 shape { dim: 3 dim: 1 } }',
    "slice": 'type: "Slice" top: "b" slice_param { axis: 2 slice_point: 4 }',
    "split": 'type: "Split" top: "b"',
    "eltwise": 'type: "Eltwise" bottom: "data" eltwise_param { coeff: 1 coeff: -1 }',
    "concat": 'type: "Concat" bottom: "data" concat_param { axis: 3 }',
    "softmax": 'type: "Softmax"',
    "dropout": 'type: "Dropout"',
    "relu": 'type: "ReLU" relu_param { negative_slope: 0.1 }',
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_layer_type_has_caffes_shapes(tmp_path, kind):
    """One layer alone: the shapes of its tops and of its parameters."""
    text = (
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 3 dim: 9 dim: 11 } } }\n"
        f'layer {{ name: "a" bottom: "data" top: "a" {LAYERS[kind]} }}'
    )
    (tmp_path / "net.prototxt").write_text(text)
    layers = caffemodel.read_layers(tmp_path / "net.prototxt")
    *_, (_, _, tops, params) = shapes.walk(layers)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert [tuple(net.blobs[top].shape) for top in layers[1].top] == tops
    assert [tuple(blob.shape) for blob in net.params.get("a", [])] == params


def test_receptive_fields_are_as_large_as_the_gradient_reaches(googlenet):
    fields = receptive.fields(googlenet.layer_specs)
    googlenet.blobs["data"].reshape(1, 3, 161, 161)
    googlenet.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 161, 161))
    for end, side in {"conv1/7x7_s2": 7, "conv2/3x3": 19, "inception_3a/output": 59}.items():

        def middle(dst):
            dst.diff[...] = 0
            dst.diff[0, :, dst.shape[2] // 2, dst.shape[3] // 2] = 1

        touched = np.abs(gradient(googlenet, end, middle)).sum(axis=0) > 0
        ys, xs = np.nonzero(touched)
        assert fields[end] == side
        assert side - 4 <= np.ptp(ys) + 1 <= side and side - 4 <= np.ptp(xs) + 1 <= side
    assert fields["prob"] == math.inf


def write_old_format(path, weights):
    """Write a V1 caffemodel as the official ones are, with Caffe's protobuf: enum
    types, old shapes, training heads.
    """
    net = caffe_pb2.NetParameter(name="old")
    heads = {"loss1/classifier": [np.ones((5, 8), np.float32), np.ones(5, np.float32)]}
    for name, blobs in (
        weights | heads | {"loss2/conv": [np.ones((4, 4, 1, 1), np.float32)]}
    ).items():
        kind = caffe_pb2.V1LayerParameter.LayerType.Value(
            "CONVOLUTION" if blobs[0].ndim == 4 else "INNER_PRODUCT"
        )
        layer = net.layers.add(name=name, type=kind)
        for blob in blobs:
            n, c, h, w = (1,) * (4 - blob.ndim) + blob.shape
            layer.blobs.add(num=n, channels=c, height=h, width=w).data.extend(blob.ravel().tolist())
    path.write_bytes(net.SerializeToString())


def test_v1_weights_give_the_same_activations(toy):
    weights = caffemodel.read_weights(toy / "toy.caffemodel")
    expected = load_net(toy)
    expected.blobs["data"].data[...] = x = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
    expected.forward()
    write_old_format(toy / "toy.caffemodel", weights)
    net = load_net(toy)
    stock = caffe.Net(str(toy / "deploy.prototxt"), str(toy / "toy.caffemodel"), caffe.TEST)
    for other in (net, stock):
        other.blobs["data"].data[...] = x
        other.forward()
        assert np.array_equal(other.blobs["prob"].data, expected.blobs["prob"].data)


def test_a_v1_prototxt_with_an_input_header_can_be_dreamt_with(tmp_path):
    folder = write_model(tmp_path / "old", V1)
    net = load_net(folder)
    stock = caffe.Net(str(folder / "deploy.prototxt"), str(folder / "toy.caffemodel"), caffe.TEST)
    for other in (net, stock):
        other.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
        other.forward()
    assert np.array_equal(net.blobs["prob"].data, stock.blobs["prob"].data)
    assert np.abs(gradient(net, "norm")).mean() > 0


def test_blobs_have_caffes_order(squeezenet):
    stock = caffe.Net(str(squeezenet.model.file(".prototxt")), caffe.TEST)
    ours, theirs = (
        [name for name in net.blobs if "_split_" not in name] for net in (squeezenet, stock)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("kernel_size: 5", "x " + "{ x " * 5000),
            "cannot read .* as a Caffe prototxt: it is nested too deeply",
        ),
        (
            ('type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: nan }'),
            "negative_slope of layer 'relu1' is nan",
        ),
        (("kernel_size: 5", "kernel_size: oops"), "cannot read .* as a Caffe prototxt: .*oops"),
        (
            ("kernel_size: 5", "kernel_sice: 5"),
            "num_output, kernel_size and stride must be above 0",
        ),
        (('type: "ReLU"', 'type: "RelU"'), "did you mean 'ReLU'"),
        (('bottom: "pool1" top: "left"', 'bottom: "pool2" top: "left"'), "did you mean 'pool1'"),
        (('name: "both"', 'name: "left"'), "two layers are called 'left'"),
        (("num_output: 4", "num_output: 4 group: 3"), "do not split into 3 groups"),
        (("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 0"), "differ in more than axis 1"),
        (
            ("kernel_size: 3 stride: 2", "kernel_size: 99 stride: 2"),
            "nothing is left of the picture at layer 'pool1'",
        ),
        (("dim: 3 dim: 24", "dim: 15 dim: 24"), r"needs \(n, 3, height, width\), or one"),
        (('type: "Softmax"', 'type: "Softmax" softmax_param { axis: 9 }'), "Caffe refuses .*axis"),
        ((TOY, ""), "describes no layers"),
        (
            ("kernel_size: 3 stride: 2", "pool: STOCHASTIC kernel_size: 3 stride: 2"),
            "stochastic pooling is for training",
        ),
        (
            ("kernel_size: 5", "kernel_size: 5 axis: -1"),
            "layer 'conv1' needs weights of the shape .* in Caffe",
        ),
    ],
)
def test_a_wrong_prototxt_raises_an_error_and_does_not_abort(toy, change, says):
    (toy / "deploy.prototxt").write_text(TOY.replace(*change))
    with pytest.raises(DreamError, match=says):
        load_net(toy)


@pytest.mark.parametrize("extra", ["Scale", "Bias"])
def test_a_layer_whose_weights_depend_on_the_size_runs_only_at_that_size(tmp_path, extra):
    tied = TOY.replace(
        'layer { name: "fc"',
        f'layer {{ name: "s" type: "{extra}" bottom: "left" top: "s" '
        f'{extra.lower()}_param {{ num_axes: 3 }} }}\nlayer {{ name: "fc"',
    )
    net = load_net(write_model(tmp_path / "tied", tied))
    net.check("s", 24, 32)
    for size in [(100, 100), (3, 3)]:
        with pytest.raises(
            DreamError,
            match=r"only on one of its own size, 32x24: layer 's' would need other weights",
        ):
            net.check("s", *size)


def test_a_size_that_does_not_fit_is_not_called_too_small_when_smaller_ones_fit(tmp_path):
    """A convolution rounds down and a pooling rounds up, so their sizes agree only for
    odd pictures.
    """
    forked = """
    layer { name: "data" type: "Input" top: "data"
            input_param { shape { dim: 1 dim: 3 dim: 25 dim: 25 } } }
    layer { name: "a" type: "Convolution" bottom: "data" top: "a"
            convolution_param { num_output: 2 kernel_size: 3 stride: 2 } }
    layer { name: "b" type: "Pooling" bottom: "data" top: "b"
            pooling_param { kernel_size: 3 stride: 2 } }
    layer { name: "out" type: "Concat" bottom: "a" bottom: "b" top: "out" }
    """
    net = load_net(write_model(tmp_path / "forked", forked))
    net.check("out", 25, 41)
    net.check("out", 575, 1024)  # enlarged by a pixel
    says = r"1024x575, but on one of 1025x575, .* differ in more than axis 1"
    with pytest.raises(DreamError, match=says):
        net.check_run("out", 575, 1024)


def test_windows_files_and_training_layers_are_read(toy):
    text = (
        TOY.replace("\n", "\r\n")
        + 'layer { name: "drop" type: "Data" top: "label" include { phase: TRAIN } }'
    )
    (toy / "deploy.prototxt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (toy / "._deploy.prototxt").write_bytes(b"left by macOS")
    (toy / "toy.caffemodel").rename(toy / "TOY.CAFFEMODEL")
    assert np.abs(gradient(filled(load_net(toy)), "both")).mean() > 0


def filled(net):
    net.blobs["data"].data[...] = np.random.RandomState(0).normal(
        0, 60, net.blobs["data"].data.shape
    )
    return net


def test_the_memory_estimate_is_close_to_what_caffe_takes():
    """The estimate over the memory that a process gains with its first gradient."""
    code = """if True:
        import psutil, deepdream as dd
        from deepdream.nets import shapes
        resident = lambda: psutil.Process().memory_info().rss
        net = dd.load_net("squeezenet_v1.1")
        before = resident()
        net.blobs["data"].reshape(1, 3, 600, 900)
        dd.gradient(net, "fire8/concat")
        print(shapes.memory(net.layer_specs, "fire8/concat", 600, 900) / (resident() - before))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0.85 < float(done.stdout) < 1.25, done


def test_wrong_weights_raise_an_error(toy, tmp_path):
    file = toy / "toy.caffemodel"
    whole, weights = file.read_bytes(), caffemodel.read_weights(file)

    def refuses(content, says):
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            caffemodel.write_weights(file, content)
        with pytest.raises(DreamError, match=says):
            load_net(toy)

    refuses(whole[:-7], "cannot read .* as a caffemodel")
    refuses(b"", "holds no weights")
    refuses(b"<html>404 Not Found</html>" * 50, "it is a web page")
    refuses(bytes(np.random.RandomState(0).bytes(5000)), "cannot read .* as a caffemodel")
    refuses(
        {k: v for k, v in weights.items() if k != "left"},
        r"'left' needs weights .*, but the file has none",
    )
    refuses(
        weights | {"left": [weights["left"][0].T, weights["left"][1]]},
        r"'left' needs .*\(4, 8, 1, 1\)",
    )
    refuses(weights | {"left": weights["left"][:1]}, "'left' needs")
    for value in (np.nan, np.inf):
        refuses(
            weights | {"left": [weights["left"][0] + value, weights["left"][1]]},
            "weights of layer 'left' are inf",
        )
    file.unlink()
    with pytest.raises(DreamError, match="has no caffemodel yet"):
        load_net(toy)
    (toy / "deploy.prototxt").unlink()
    with pytest.raises(DreamError, match="has no prototxt yet"):
        load_net(toy)


def test_reading_needs_no_caffe():
    code = "import sys, deepdream.nets.zoo; print('caffe' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "False\n"
    )
