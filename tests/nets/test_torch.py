"""The PyTorch engine compared with Caffe: each layer type alone, whole networks, and
dreams, which are chaotic.
"""

from functools import partial
from pathlib import Path

import caffe
import numpy as np
import pytest
from conftest import TOY, load, run, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deepdream as dd
from deepdream.nets import caffe_gradients, caffemodel, shapes, torch_fast, torch_layers

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from deepdream.nets import torch as torchnet  # noqa: E402
from deepdream.nets import torch_graphs  # noqa: E402
from deepdream.nets.base import Net  # noqa: E402

SIZES = st.integers(5, 12)
FEW = st.integers(1, 4)
CONVOLUTION = (
    "num_output: {outputs} kernel_h: {kernel} kernel_w: {kernel2} stride: {stride} pad: {pad} "
    "bias_term: {bias} dilation: {dilation}"
)
POOL = "pool: {pool} kernel_h: {kernel} kernel_w: {kernel2} stride: {pool_stride} pad: {pool_pad}"
LRN = "local_size: {odd} alpha: {alpha} beta: {beta} k: {k} norm_region: {region}"
METHOD, AXIS = {"pool": st.sampled_from(["MAX", "AVE"])}, {"axis": st.integers(1, 3)}
ACROSS = {
    "region": st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    "beta": st.sampled_from([0.75, 0.5, 1.2]),
}
WINDOW = {
    "odd": st.sampled_from([1, 3, 5]),
    "k": st.sampled_from([1, 2]),
    "alpha": st.floats(0.001, 2),
}
ALPHA, BASE = {"alpha": st.floats(0.5, 2)}, {"base": st.sampled_from([-1, 2, 10])}
MORE = st.sampled_from(["", "axis: 1", "axis: 2", "out_max_val: true", "axis: 1 out_max_val: true"])
# type: (text of its parameter, {name: what hypothesis draws}, how many bottoms)
CASES = {
    "Convolution": (f"convolution_param {{{{ {CONVOLUTION} group: {{group}} }}}}", {}, 1),
    "Deconvolution": (f"convolution_param {{{{ {CONVOLUTION} group: {{group}} }}}}", {}, 1),
    "InnerProduct": (
        "inner_product_param {{ num_output: {outputs} bias_term: {bias} transpose: {flag} }}",
        {},
        1,
    ),
    "Pooling": (f"pooling_param {{{{ {POOL} }}}}", METHOD, 1),
    "Pooling (global)": ("pooling_param {{ pool: {pool} global_pooling: true }}", METHOD, 1),
    "LRN": (f"lrn_param {{{{ {LRN} }}}}", ACROSS | WINDOW, 1),
    "ReLU": (
        "relu_param {{ negative_slope: {slope} }}",
        {"slope": st.sampled_from([0, 0.1, 0.5])},
        1,
    ),
    "PReLU": ("prelu_param {{ channel_shared: {flag} }}", {}, 1),
    "ELU": ("elu_param {{ alpha: {alpha} }}", {"alpha": st.floats(0.1, 2)}, 1),
    "Sigmoid": ("", {}, 1),
    "TanH": ("", {}, 1),
    "Concat": ("concat_param {{ axis: {axis} }}", AXIS, 2),
    "Slice": (
        "slice_param {{ axis: {axis} slice_point: {point} }}",
        AXIS | {"point": st.integers(1, 2)},
        1,
    ),
    "Split": ("", {}, 1),
    "Eltwise": (
        "eltwise_param {{ operation: {op} {coeff} }}",
        {"op": st.sampled_from(["SUM", "PROD", "MAX"])},
        2,
    ),
    "BatchNorm": ("batch_norm_param {{ eps: 0.001 }}", {}, 1),
    "Scale": ("scale_param {{ axis: {axis} num_axes: 1 bias_term: {bias} }}", AXIS, 1),
    "Bias": ("bias_param {{ axis: {axis} num_axes: 1 }}", AXIS, 1),
    "Power": (
        "power_param {{ power: {power} scale: 0.3 shift: 2 }}",
        {"power": st.sampled_from([1, 2, 3])},
        1,
    ),
    "ReLU6": (
        "relu6_param {{ negative_slope: {slope} threshold: {alpha} }}",
        {"slope": st.sampled_from([0, 0.1]), "alpha": st.floats(0.5, 2)},
        1,
    ),
    "HardSigmoid": ("hardsigmoid_param {{ alpha: {alpha} beta: 0.4 }}", ALPHA, 1),
    "HardSwish": ("", {}, 1),
    "Exp": ("exp_param {{ base: {base} scale: 0.3 shift: 0.5 }}", BASE, 1),
    "Log": ("log_param {{ base: {base} scale: 0.5 shift: 9 }}", BASE, 1),
    "AbsVal": ("", {}, 1),
    "BNLL": ("", {}, 1),
    "Threshold": ("threshold_param {{ threshold: {alpha} }}", ALPHA, 1),
    "Normalize": ("norm_param {{ across_spatial: {flag} channel_shared: {bias} }}", {}, 1),
    "MVN": ("mvn_param {{ across_channels: {flag} normalize_variance: {bias} }}", {}, 1),
    "Reduction": (
        "reduction_param {{ operation: {op} axis: {axis} coeff: {alpha} }}",
        AXIS | ALPHA | {"op": st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"])},
        1,
    ),
    "Crop": (
        "crop_param {{ axis: {first} {offset} }}",
        {"first": st.integers(1, 3), "offset": st.sampled_from(["", "offset: 0"])},
        2,
    ),
    "Permute": ("permute_param {{ order: 0 order: {axis} }}", AXIS, 1),
    "Pad": (
        "pad_param {{ pad_u: {pad} pad_d: {u} pad_l: {l} pad_r: {r} pad_type: {type} }}",
        {
            "type": st.sampled_from(["CONSTANT pad_value: 3", "REPLICATE", "REFLECT"]),
            **dict.fromkeys("ulr", st.integers(0, 3)),
        },
        1,
    ),
    "Pad (cut)": ("pad_param {{ pad_u: -1 pad_d: -2 pad_l: -1 pad_r: -1 }}", {}, 1),
    "Upsample": ("upsample_param {{ scale: {kernel} }}", {}, 1),
    "Resize": ("resize_param {{ height: {outputs} width: {r} }}", {"r": SIZES}, 1),
    "Resize (scale)": (
        "resize_param {{ is_pyramid_test: true out_height_scale: {alpha} out_width_scale: 1.5 }}",
        ALPHA,
        1,
    ),
    "BilinearInterpolate": (
        "bilinear_interpolate_param {{ dst_h: {r} dst_w: {r} align_corners: {flag} }}",
        {"r": st.integers(2, 20)},
        1,
    ),
    "BilinearInterpolate (scale)": (
        "bilinear_interpolate_param {{ scale_factor: {r} align_corners: {flag} }}",
        {"r": st.sampled_from([0.5, 1.5, 2, 3])},
        1,
    ),
    "PixelShuffle": ("pixelshuffle_param {{ upscale_factor: 1 }}", {}, 1),
    "Tile": ("tile_param {{ axis: {axis} tiles: {kernel} }}", AXIS, 1),
    "ArgMax": ("argmax_param {{ top_k: 2 {more} }}", {"more": MORE}, 1),
    "Flatten": ("flatten_param {{ axis: {axis} }}", AXIS, 1),
    "Reshape": ("reshape_param {{ shape {{ dim: 0 dim: -1 dim: 3 }} }}", {}, 1),
    "Dropout": ("", {}, 1),
    "Softmax": ("softmax_param {{ axis: {axis} }}", AXIS, 1),
}


def layer(name, kind, bottoms, tops, text=""):
    ends = "".join(f'bottom: "{b}" ' for b in bottoms) + "".join(f'top: "{t}" ' for t in tops)
    return f'layer {{ name: "{name}" type: "{kind}" {ends}{text} }}\n'


def picture(height, width):
    shape = f"shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}"
    return layer("data", "Input", [], ["data"], f"input_param {{ {shape} }}")


def relative(ours, theirs):
    length = max(np.linalg.norm(np.float64(theirs)), 1e-12)
    return np.linalg.norm(np.float64(ours) - theirs) / length


def test_every_layer_type_is_compared():
    compared = {name.split(" ")[0] for name in CASES}
    assert compared == set(torch_layers.TYPES) - {"Silence"}  # it computes nothing
    assert set(torch_layers.TYPES) == set(shapes.TYPES) - {"Input"}


@pytest.mark.parametrize("kind", CASES)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_each_layer_type_computes_what_caffe_computes(tmp_path, kind, data):
    """One layer alone, random parameters and sizes: forward and the gradient to its
    bottom within 1e-5.
    """
    text, own, bottoms = CASES[kind]
    draw, truth = data.draw, st.sampled_from(["true", "false"])
    group, kernel, kernel2 = draw(st.sampled_from([1, 3])), draw(FEW), draw(FEW)
    pad = draw(st.integers(0, 3))
    drawn = {
        "group": group,
        "outputs": group * draw(FEW),
        "kernel": kernel,
        "kernel2": kernel2,
        "pad": pad,
    }
    drawn |= {
        "stride": draw(FEW),
        "dilation": draw(st.integers(1, 2)),
        "bias": draw(truth),
        "flag": draw(truth),
    }
    drawn |= {
        "pool_pad": min(pad, kernel - 1, kernel2 - 1),
        "pool_stride": draw(st.integers(1, min(kernel, kernel2))),
    }
    drawn |= {"coeff": ""} | {name: draw(strategy) for name, strategy in own.items()}
    if drawn.get("op") == "SUM":
        drawn["coeff"] = "coeff: 0.5 coeff: -2"
    height, width = data.draw(SIZES), data.draw(SIZES)
    if kind == "Deconvolution":  # padding must leave something
        drawn["pad"] = 0
    below = ["first", "second"][:bottoms]
    prototxt = picture(height, width)
    for name, scale in zip(below, (1.5, 0.5)):
        prototxt += layer(
            name, "Power", ["data"], [name], f"power_param {{ scale: {scale} shift: 1 }}"
        )
    tops = ["it", "other"] if kind in ("Slice", "Split") else ["it"]
    prototxt += layer("it", kind.split(" ")[0], below, tops, text.format(**drawn))
    try:
        folder = write_model(tmp_path / "one", prototxt)
    except dd.DreamError:
        return  # nothing is left of the picture: refused before any engine sees it
    if kind == "BatchNorm":  # variances are positive
        weights = caffemodel.read_weights(folder / "toy.caffemodel")
        weights["it"][1], weights["it"][2] = np.abs(weights["it"][1]) + 0.1, np.float32([2.0])
        caffemodel.write_weights(folder / "toy.caffemodel", weights)
    (folder / "stock.txt").write_text("force_backward: true\n" + prototxt)
    stock = caffe.Net(str(folder / "stock.txt"), caffe.TEST, weights=str(folder / "toy.caffemodel"))
    net = load(folder, "torch")
    x = np.random.RandomState(0).normal(0, 1, (1, 3, height, width))
    g = np.random.RandomState(1).normal(0, 1, stock.blobs["it"].data.shape)
    if kind.split(" ")[0] in caffe_gradients.GRADIENTS:  # stock Caffe leaves out theirs
        stock = load(folder, "caffe")
    climbs = "it" in net.climbable
    for each in (stock, net):
        each.blobs["data"].data[...] = x
        each.forward(end="it")
        each.blobs["it"].diff[...] = g
        if climbs:
            each.backward(start="it")
    assert relative(net.blobs["it"].data, stock.blobs["it"].data) <= 1e-5
    assert relative(net.blobs["data"].diff, stock.blobs["data"].diff) <= 1e-5
    assert net.blobs["it"].data.shape == stock.blobs["it"].data.shape


@pytest.fixture(scope="module")
def engines():
    """A function that loads the same network on PyTorch, once."""
    cache = {}

    def twin(net):
        name = net.model.name
        cache[name] = cache.get(name) or load(name, "torch")
        return cache[name]

    return twin


def gradient_at(net, photo, end):
    """The gradient at the photograph, with `end` as objective, float32."""
    net.blobs["data"].reshape(1, 3, *photo.shape[:2])
    net.blobs["data"].data[0] = dd.preprocess(net, photo)
    dd.gradient(net, end)
    return net.blobs["data"].diff[0].copy()


def test_every_layer_that_can_be_climbed_agrees_with_caffe(net, photo, engines):
    """Values agree within 1e-5, most gradients too; within 1e-2 where a maximum or a
    ReLU switches.
    """
    twin, errors = engines(net), {}
    for end in net.climbable:
        if shapes.fits(net.layer_specs, end, photo.shape[:2]):
            expected = gradient_at(net, photo, end)
            errors[end] = relative(gradient_at(twin, photo, end), expected)
            assert relative(twin.blobs[end].data, net.blobs[end].data) <= 1e-5, end
            assert errors[end] <= 1e-2, end
    assert np.median(list(errors.values())) <= 1e-5 and len(errors) > 25


@pytest.fixture
def half(monkeypatch):
    """A function that loads a network in bfloat16 anywhere: without hardware for it, it
    is slow and just as exact.
    """
    monkeypatch.setattr(torchnet, "find_dtypes", lambda device: ["float32", "bfloat16"])
    return partial(dd.load_net, engine="torch", dtype="bfloat16")


def test_gradients_in_bfloat16_point_the_same_way(net, photo, half):
    fast = half(net.model.name)
    for end in (net.default_layer, net.climbable[10]):
        g, h = gradient_at(net, photo, end), gradient_at(fast, photo, end)
        assert (g * h).sum() >= 0.95 * np.linalg.norm(g) * np.linalg.norm(h)
    assert fast.blobs[end].data.dtype == np.float32


def psnr(a, b):
    a, b = np.clip(a, 0, 255), np.clip(b, 0, 255)
    return 10 * np.log10(255**2 / np.mean((a - b) ** 2))


@pytest.mark.parametrize(("dtype", "decibels"), [("float32", 1.5), ("bfloat16", 2.5)])
def test_dreams_are_as_close_to_caffes_as_the_noise_floor(net, photo, dtype, decibels):
    """Dreams are chaotic: the noise floor is Caffe compared with Caffe after a change
    of 0.001 in the input.
    """
    dream = partial(dd.deepdream, end=net.default_layer, seed=0, iter_n=5, octave_n=3)
    expected = dream(net, photo)
    noise = [np.random.RandomState(i).normal(0, 0.001, photo.shape) for i in range(3)]
    floor = np.median([psnr(dream(net, np.float32(photo + n)), expected) for n in noise])
    try:
        twin = dd.load_net(net.model.name, "torch", dtype=dtype)
    except dd.DreamError as error:
        pytest.skip(str(error))
    assert psnr(dream(twin, photo), expected) >= floor - decibels


def test_blobs_params_and_shapes_are_those_of_caffe(net, engines):
    twin = engines(net)
    theirs = {name: tuple(blob.shape) for name, blob in net.blobs.items() if "_split_" not in name}
    fresh = load(net.model.name, "torch")
    assert list(fresh.blobs) == list(theirs)
    stock = caffe.Net(str(net.model.file(".prototxt")), caffe.TEST)
    assert {n: b.shape[1:] for n, b in fresh.blobs.items()} == {
        n: tuple(stock.blobs[n].shape)[1:] for n in fresh.blobs
    }
    for name, blobs in twin.params.items():
        for ours, theirs in zip(blobs, net.params[name]):
            assert np.array_equal(ours.data, theirs.data)


def test_arrays_share_memory_with_the_tensors(toy):
    net = dd.load_net(toy, "torch", "cpu", "float32")
    net.blobs["data"].data[0] = 7
    assert (net.image == 7).all()
    net.forward(end="both")
    assert np.shares_memory(net.blobs["both"].data, net.blobs["both"].tensor("data").numpy())
    flat = net.blobs["both"].diff[0].reshape(10, -1)  # as objective_guide writes it
    flat[:] = 3
    assert (net.blobs["both"].diff == 3).all()


def test_a_pass_to_the_convolution_ends_before_its_relu(toy):
    net = load(toy, "torch")
    net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
    net.forward(end="conv1")
    assert net.blobs["conv1"].data.min() < 0
    net.forward(end="relu1")
    assert net.blobs["conv1"].data.min() == 0


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("degrees", [0, 7.5, -30, 90, 179])
def test_both_engines_turn_a_picture_alike(toy, degrees, mirror):
    net, twin = dd.load_net(toy, "caffe"), load(toy, "torch")
    for size in ((24, 32), (33, 20), (61, 47)):
        a = np.random.RandomState(0).normal(0, 50, (3, *size)).astype(np.float32)
        ours = twin.to_numpy(twin.rotate(twin.array(a), degrees, mirror))
        assert np.abs(ours - net.rotate(a, degrees, mirror)).max() < 0.02


def test_partial_passes_compute_what_pycaffe_computes(toy):
    """Passes forward and backward that begin and end in the middle, with values written
    in between.
    """
    answers = []
    for engine in ("caffe", "torch"):
        net = load(toy, engine)
        net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
        net.forward(end="conv1")
        net.blobs["conv1"].data[...] *= 2
        net.forward(start="relu1", end="pool1")
        net.blobs["pool1"].diff[...] = net.blobs["pool1"].data
        net.backward(start="pool1", end="pool1")
        middle = net.blobs["conv1"].diff.copy()
        net.backward(start="relu1", end="conv1")
        answers.append((net.blobs["pool1"].data.copy(), middle, net.blobs["data"].diff.copy()))
    for theirs, ours in zip(*answers):
        assert theirs.any() and relative(ours, theirs) < 1e-5


def test_one_forward_pass_is_enough_for_several_backward_passes(toy):
    net = load(toy, "torch")
    net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
    alone = {end: dd.gradient(net, end).clone() for end in ("left", "right", "both")}
    net.forward(end="both")
    for end in ("both", "left", "right"):
        net.blobs[end].diff[...] = net.blobs[end].data
        net.backward(start=end)
        assert torch.equal(net.image_diff, alone[end])


def test_arrays_that_are_copies(toy, photo, monkeypatch):
    """As on a GPU: an objective that looks at the picture changes nothing, and no pass
    by itself copies the picture or its gradient to the host."""

    def objective(dst):
        assert np.isfinite(net.blobs["data"].data).all()
        dst.diff[:] = dst.data

    dream = partial(dd.deepdream, base_img=photo, end="both", seed=0, iter_n=3, octave_n=2)
    net = load(toy, "torch")
    expected = dream(net)
    copied = []

    def copying(blob, which):
        if which not in blob._copies:
            copied.append((blob, which))
            blob._copies[which] = blob.tensor(which).detach().clone()
        return blob._copies[which].numpy()

    monkeypatch.setattr(torchnet.Blob, "_array", copying)
    assert np.array_equal(dream(net), expected)
    assert (net.blobs["data"], "diff") not in copied
    assert copied.count((net.blobs["data"], "data")) <= 6, "once or twice an octave"
    assert np.array_equal(dream(net, objective=objective), expected)


class Graph:
    """A CUDA graph without CUDA: a replay computes the gradient in a twin of the
    network, and writes what it made to where the recorded pass had it.
    """

    def __init__(self, net, fills):
        before = {id(it) for blob in net.blobs.values() for it in blob.tensors().values()}
        Net.climb(net, fills)
        self.twin, self.fills, self.replays = load(net.model.folders[0], "torch"), fills, 0
        self.data, self.made = net.blobs["data"].tensor("data"), []
        for name, blob in net.blobs.items():
            for which, tensor in blob.tensors().items():
                if id(tensor) not in before:
                    self.made.append((name, which, tensor))

    def replay(self):
        self.replays += 1
        self.twin.blobs["data"].put("data", self.data.clone())
        Net.climb(self.twin, self.fills)
        for name, which, tensor in self.made:
            tensor.data.copy_(self.twin.blobs[name].tensor(which))

    def pool(self):
        return None


@pytest.fixture
def recorded(toy, monkeypatch):
    """(A toy network that takes itself for one on a GPU, the graphs it records)."""
    net, graphs = load(toy, "torch"), []

    def capture(net, fills, stream, others):
        graphs.append(Graph(net, fills))
        return graphs[-1]

    monkeypatch.setattr(torch_graphs, "capture", capture)
    monkeypatch.setattr(net, "device", type("Device", (), {"type": "cuda"})())
    monkeypatch.setattr(net, "array", torch.as_tensor)
    monkeypatch.setattr(net, "free_memory", lambda: 1e12)
    return net, graphs


def test_dreams_of_recorded_gradients_are_the_same(toy, photo, recorded):
    net, graphs = recorded
    dream = partial(dd.deepdream, base_img=photo, seed=0, iter_n=4, octave_n=2, end="both")
    plain = load(toy, "torch")
    both, left = dd.L2("both"), dd.L2("left")
    terms = both, left, left + 3 * dd.channel("both", 1), dd.guide("both", photo)
    for what in (dd.objective_L2, *terms):
        expected = dream(plain, objective=what)
        assert np.array_equal(dream(net, objective=what), expected), what
    # One step as it is, then a recording for each octave
    assert [graph.replays for graph in graphs] == [3] * 10
    assert np.array_equal(dream(net), dream(plain))
    assert len(graphs) == 12, "the oldest of many were forgotten"


def test_a_films_later_pictures_only_replay(photo, recorded):
    net, graphs = recorded
    for seed in range(3):
        dd.deepdream(net, photo, seed=seed, iter_n=3, octave_n=2, end="both")
    assert [graph.replays for graph in graphs] == [8, 8]


def test_after_a_replay_the_blobs_are_those_of_the_pass(toy, recorded):
    net, graphs = recorded
    plain, noise = load(toy, "torch"), np.random.RandomState(0).normal(0, 60, (4, 3, 24, 32))
    # The last is what was recorded: here a replay does not renew what autograd keeps to
    # itself, such as the place of a maximum
    for i, x in enumerate(noise[[0, 1, 2, 1]]):
        for each in (net, plain):
            each.blobs["data"].data[0] = x
            dd.gradient(each, "both")
        for name in ("data", "conv1", "left", "both"):
            ours, theirs = net.blobs[name], plain.blobs[name]
            assert theirs.diff.any() and np.array_equal(ours.diff, theirs.diff), (i, name)
        assert np.array_equal(net.blobs["both"].data, plain.blobs["both"].data)
        if i == 2:
            net.forward(end="conv1")  # something else in between
    net.blobs["left"].diff[:] = plain.blobs["left"].diff[:] = 1
    for each in (net, plain):
        each.backward(start="left")
    assert len(graphs) == 1 and torch.equal(net.image_diff, plain.image_diff)


def test_a_replay_leaves_the_blobs_beyond_it_as_they_are(recorded):
    net, graphs = recorded
    for i in range(4):
        net.blobs["data"].data[0] = np.random.RandomState(i).normal(0, 60, (3, 24, 32))
        net.forward()
        before = net.blobs["prob"].data.copy()
        dd.gradient(net, "both")
        assert np.array_equal(net.blobs["prob"].data, before), i
    assert [graph.replays for graph in graphs] == [3]


def test_what_cannot_be_recorded_is_climbed_as_it_is(toy, photo, recorded, monkeypatch):
    """As where an objective looks at a value: CUDA fails in the middle of a pass."""
    tries = []

    def fail(net, fills, stream, others):
        tries.append(fills)
        net.forward(end="conv1")
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch_graphs, "capture", fail)
    net, _ = recorded
    dream = partial(dd.deepdream, base_img=photo, iter_n=3, octave_n=1, end="both", seed=0)
    assert np.array_equal(dream(net), dream(load(toy, "torch")))
    assert len(tries) == 1, "it was not tried again"


def test_what_depends_on_more_than_the_blob_is_not_recorded(photo, recorded):
    def objective(dst):
        dst.diff[0] = 1

    net, graphs = recorded
    dream = partial(dd.deepdream, net, photo, iter_n=3, octave_n=1, end="both")
    dream(objective=objective)
    need = shapes.memory(net.layer_specs, "both", *photo.shape[:2])
    net.free_memory = lambda: 2.5 * need  # room for a pass, and not for its recording
    dream()
    assert not graphs
    net.free_memory = lambda: 1e12
    dream()
    assert len(graphs) == 1


def test_bfloat16_forgets_the_diffs_of_another_size(toy, photo, half):
    net = half(toy)
    for side in (60, 90):
        dd.deepdream(net, photo[:side, :side], end="both", iter_n=1, octave_n=2)
        assert np.isfinite(net.blobs["both"].diff).all()


def test_weights_written_to_params_are_used(toy):
    outputs = []
    for engine in ("caffe", "torch"):
        net = load(toy, engine)
        net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 24, 32))
        for blob in net.params["conv1"]:
            blob.data[...] *= 2
        net.forward(end="both")
        outputs.append(net.blobs["both"].data.copy())
    assert relative(outputs[1], outputs[0]) < 1e-5


@pytest.mark.parametrize("kind", ["BatchNorm", "PReLU", "Scale"])
def test_bfloat16_works_with_any_first_layer(tmp_path, kind, half):
    text = picture(20, 20) + layer("a", kind, ["data"], ["a"])
    text += layer(
        "c", "Convolution", ["a"], ["c"], "convolution_param { num_output: 4 kernel_size: 3 }"
    )
    net = half(write_model(tmp_path / "n", text))
    for blob in net._weights["a"]:
        blob.abs_().add_(0.1)
    net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 20, 20))
    assert dd.gradient(net, "c").abs().mean() > 0


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(("kernel", "pad", "stride"), [(3, 2, 1), (3, 2, 3), (4, 3, 2), (5, 4, 4)])
def test_pooling_pads_as_far_as_caffe_does(tmp_path, method, kernel, pad, stride):
    p = f"pooling_param {{ pool: {method} kernel_size: {kernel} pad: {pad} stride: {stride} }}"
    folder = write_model(
        tmp_path / "n", picture(9, 12) + layer("p", "Pooling", ["data"], ["p"], p), ""
    )
    pair = [load(folder, engine) for engine in ("torch", "caffe")]
    for net in pair:
        net.blobs["data"].data[...] = np.random.RandomState(0).normal(0, 60, (1, 3, 9, 12))
        dd.gradient(net, "p")
    for which in ("p", "data"):
        assert relative(pair[0].blobs[which].data, pair[1].blobs[which].data) < 1e-5
    assert relative(pair[0].blobs["data"].diff, pair[1].blobs["data"].diff) < 1e-5


def test_a_blob_that_was_read_is_not_changed_in_place(tmp_path):
    """Caffe refuses it, and autograd would be wrong."""
    text = picture(9, 9) + layer("c", "Power", ["data"], ["c"]) + layer("r", "Power", ["c"], ["r"])
    (tmp_path / "deploy.prototxt").write_text(text + layer("relu", "ReLU", ["c"], ["c"]))
    with pytest.raises(
        dd.DreamError, match="layer 'relu' changes 'c' in place after another layer has read it"
    ):
        caffemodel.read_layers(tmp_path / "deploy.prototxt")


def test_no_gradient_of_a_weight_is_computed(toy):
    net = load(toy, "torch")
    net.forward(end="both")
    assert not any(t.requires_grad for blobs in net._weights.values() for t in blobs)


def test_a_first_layer_with_a_stride_has_caffes_gradient(tmp_path):
    """Strides, kernels and paddings that divide each other or not, on odd sizes."""
    sizes = [(23, 30), (22, 19), (31, 37), (9, 9), (10, 14), (131, 150), (231, 233)]
    cases = [(2, 7, 3), (3, 5, 1), (4, 11, 0), (2, 2, 0), (3, 2, 1), (2, 7, 3), (4, 11, 0)]
    for size, (stride, kernel, pad) in zip(sizes, cases):
        p = f"num_output: 5 kernel_size: {kernel} stride: {stride} pad: {pad}"
        p = f"convolution_param {{ {p} }}"
        text = picture(*size) + layer("c", "Convolution", ["data"], ["c"], p)
        folder = write_model(tmp_path / f"{stride}{kernel}{size[0]}", text, "")
        pair = [load(folder, engine) for engine in ("torch", "caffe")]
        for net in pair:
            net.blobs["data"].data[...] = np.random.RandomState(0).normal(
                0, 60, net.blobs["data"].data.shape
            )
        for net in pair:
            dd.gradient(net, "c")
        ours, theirs = (net.blobs["data"].diff for net in pair)
        assert relative(ours, theirs) < 1e-5, (stride, kernel, pad)


@pytest.mark.parametrize(
    ("able", "best"), [(["float32"], "float32"), (["float32", "bfloat16"], "bfloat16")]
)
def test_the_numbers_are_those_that_the_hardware_multiplies(toy, monkeypatch, able, best):
    monkeypatch.setattr(torchnet, "find_dtypes", lambda device: able)
    for auto in (None, "auto"):
        assert dd.load_net(toy, "torch", dtype=auto).engine["dtype"] == best
    assert dd.load_net(toy, "torch", dtype="float32").engine["dtype"] == "float32"
    if best == "float32":
        with pytest.raises(
            dd.DreamError, match=r"'bfloat16', which device '.*' does not multiply in hardware"
        ):
            dd.load_net(toy, "torch", dtype="bfloat16")


@pytest.fixture
def kernels(monkeypatch):
    """A function that pins whose convolutions are taken."""

    def pin(name):
        monkeypatch.setenv("DEEPDREAM_KERNELS", name)
        torch_fast.find_kernels.cache_clear()

    yield pin
    torch_fast.find_kernels.cache_clear()


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("library", torch_fast.KERNELS)
def test_both_libraries_compute_a_convolution_and_its_gradient(library, kernels, k):
    """Against PyTorch's own in float64; NNPACK's gradient by Winograd's transform is a
    little less exact.
    """
    if library == "nnpack" and not torch.backends.nnpack.is_available():
        pytest.skip("this processor has no AVX2, which NNPACK needs")
    kernels(library)
    rng = torch.Generator().manual_seed(0)
    for pad in range(k):
        x = torch.rand(1, 16, 80, 83, generator=rng, dtype=torch.float64).requires_grad_()
        filters = torch.randn(8, 16, k, k, generator=rng, dtype=torch.float64)
        y = torch.nn.functional.conv2d(x, filters, None, 1, pad)
        g = torch.randn(y.shape, generator=rng, dtype=torch.float64)
        (dx,) = torch.autograd.grad(y, x, g)
        ours = torch_fast.channels_last(x.detach().float()).requires_grad_()
        top = torch_fast.WithoutStride.apply(ours, filters.float(), None, pad)
        (diff,) = torch.autograd.grad(top, ours, g.float())
        assert top.shape == y.shape, pad
        assert relative(top.detach().numpy(), y.detach().numpy()) < 1e-6, pad
        assert relative(diff.numpy(), dx.numpy()) < 1e-5, pad


def test_whole_gradients_agree_with_either_library(net, kernels):
    photo = dd.load_image(Path(__file__).parents[2] / "images" / "forest.jpg", width=400)
    found = {}
    for library in torch_fast.KERNELS:
        kernels(library)
        twin = dd.load_net(net.model.name, "torch", "cpu", "float32")
        assert twin.kernels == library
        found[library] = [gradient_at(twin, photo, end) for end in net.climbable[::8]]
    errors = [relative(ours, theirs) for ours, theirs in zip(*found.values())]
    # 1e-3 where a ReLU or a maximum switches
    assert np.median(errors) <= 1e-3 and max(errors) <= 1e-2


def test_the_libraries_are_timed_once_on_a_machine(kernels, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch_fast, "_time_kernels", lambda: "nnpack")
    kernels("")
    first = torch_fast.find_kernels()
    monkeypatch.setattr(torch_fast, "_time_kernels", lambda: "onednn")
    kernels("")
    assert torch_fast.find_kernels() == first, "the bits of pictures depend on it"


def test_kernels_that_do_not_exist_are_refused(toy, kernels):
    kernels("mkl")
    with pytest.raises(
        dd.DreamError, match="DEEPDREAM_KERNELS is 'mkl'; it must be nnpack or onednn"
    ):
        dd.load_net(toy, "torch", "cpu", "float32")


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("channels", "window"), [(3, 5), (8, 3), (21, 5), (64, 1), (10, 7)])
def test_sums_over_channels(order, channels, window):
    x = torch.rand(1, channels, 6, 7).contiguous(memory_format=order)
    half = window // 2
    expected = [x[:, max(0, c - half) : c + half + 1].sum(1) for c in range(channels)]
    assert torch.allclose(
        torch_fast._sum_neighbours(x, window), torch.stack(expected, 1), atol=1e-5
    )


def test_orders_of_values_in_memory():
    for shape in ((1, 3, 4, 5), (2, 3, 4, 5), (1, 1, 4, 5), (1, 3, 1, 1)):
        x = torch.rand(shape)
        last = torch_fast.channels_last(x)
        assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(last, x)
        assert torch_fast.channels_first(last).is_contiguous() and torch.equal(
            torch_fast.channels_first(last), x
        )
        part = last[:, :, 1:, :]
        assert torch.equal(torch_fast.channels_first(part), part) and torch.equal(
            torch_fast.channels_last(part), part
        )


def test_backward_before_forward_is_refused(toy):
    net = load(toy, "torch")
    with pytest.raises(dd.DreamError, match="layer 'both' has not run; call forward"):
        net.backward(start="both")
    with pytest.raises(dd.DreamError, match="unknown layer 'boht'; did you mean 'both'"):
        net.forward(end="boht")


def test_an_unknown_layer_type_names_the_layer(toy):
    (toy / "deploy.prototxt").write_text(TOY.replace('type: "Softmax"', 'type: "Softmaxx"'))
    with pytest.raises(dd.DreamError, match="layer 'prob': 'Softmaxx'; did you mean 'Softmax'"):
        load(toy, "torch").check_layer("prob")


def test_the_command_line_takes_an_engine(tmp_path, toy):
    out = tmp_path / "o.png"
    dd.save_image(tmp_path / "in.png", np.random.RandomState(0).uniform(0, 255, (40, 50, 3)))
    few = "--iterations", 1, "--octaves", 1
    options = "-o", out, "--model", toy, "--engine", "torch", "--dtype", "auto", *few
    done = run("dream", tmp_path / "in.png", *options)
    assert done.returncode == 0, done
    settings = dd.read_settings(out)
    best = torchnet.find_device("auto")
    assert (settings["engine"], settings["device"]) == ("torch", str(best))
    # The one that was taken, to make it again
    assert settings["dtype"] == torchnet.find_dtypes(best)[-1]
