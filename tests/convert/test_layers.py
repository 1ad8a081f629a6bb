"""Each operation of ONNX, as onnxruntime and as stock pycaffe compute it."""

import numpy as np
import pytest

pytest.importorskip("caffe")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from toys import caffe_answer, convert, gradient, largest_difference, onnx_answer, sketch, stock_net

from deepdream.errors import DreamError

SHAPES = (1, 3, 8, 8), (1, 3, 12, 10)  # exported, and at another size


def conv(*args, **attributes):
    """A Conv of 4 channels with random filters of (outputs, inputs, h, w)."""
    return lambda g, x: g("Conv", x, g.normal(*args), g.normal(args[0]), **attributes)


def one(op, *constants, **attributes):
    return lambda g, x: g(op, x, *constants, **attributes)


def positive(op, *constants, **attributes):
    def build(g, x):
        return g(op, g("Add", g("Mul", x, x), 0.5), *constants, **attributes)

    return build


def pool(op, kernel, **attributes):
    return one(op, kernel_shape=kernel, **attributes)


def resize(scale, mode, how, **attributes):
    scales = np.float32([1, 1, *scale])
    none = np.zeros(0, np.float32)
    attributes |= {"mode": mode, "coordinate_transformation_mode": how}
    return lambda g, x: g("Resize", x, none, scales, **attributes)


def ints(*values):
    return np.array(values, np.int64)


CHOSEN = np.array([True, False, True, True]).reshape(1, 4, 1, 1)


def gate(g, x):
    """Squeeze and excite."""
    small = g("Conv", g("GlobalAveragePool", x), g.normal(4, 4, 1, 1))
    return g("Sigmoid", small)


def halves(g, x):
    return g("Split", x, outputs=2, axis=1, num_outputs=2)


def chunks(g, x):
    first, second = halves(g, x)
    return g("Concat", g("Relu", second), first, axis=1)


def shuffle(g, x):
    h, w = g.shape[2:]
    x = g("Reshape", x, ints(1, 2, 2, h, w))
    x = g("Transpose", x, perm=[0, 2, 1, 3, 4])
    return g("Reshape", x, ints(1, 4, h, w))


def classify(g, x):
    x = g("Flatten", g("GlobalAveragePool", x))
    x = g("Gemm", x, g.normal(6, 4), g.normal(6), transB=1)
    return g("Softmax", x)


def batch_norm(g, x):
    means = g.normal(4), g.normal(4), g.normal(4), np.abs(g.normal(4))
    return g("BatchNormalization", x, *means)


def group_norm(g, x):
    h, w = g.shape[2:]
    y = g("Reshape", x, ints(1, 2, -1))
    y = g("InstanceNormalization", y, np.ones(2), np.zeros(2))
    y = g("Reshape", y, ints(1, 4, h, w))
    return g("Add", g("Mul", y, g.normal(4, 1, 1)), g.normal(4, 1, 1))


def lrn_by_torch(g, x):
    h, w = g.shape[2:]
    y = g("Reshape", g("Mul", x, x), ints(1, 1, 4, h, -1))
    y = g("Pad", y, ints(0, 0, 1, 0, 0, 0, 0, 1, 0, 0))
    y = g("Squeeze", g("AveragePool", y, kernel_shape=[3, 1, 1]), ints(1))
    y = g("Add", g("Mul", g("Reshape", y, ints(1, 4, h, w)), 0.3), 1.2)
    return g("Div", x, g("Pow", y, 0.6))


def softplus_by_torch(g, x):
    x = g("Mul", x, 20.0)
    return g("Where", g("Greater", x, 15.0), x, g("Softplus", x))


def two(op):
    """Of two maps of one shape."""
    return lambda g, x: g(op, conv(4, 4, 1, 1)(g, x), g("Sigmoid", x))


def swapped(op, array):
    return lambda g, x: g(op, array, x)


CASES = {
    # activations
    "relu": one("Relu"),
    "relu in place": lambda g, x: g("Relu", conv(3, 4, 1, 1)(g, x)),
    "leaky": one("LeakyRelu", alpha=0.1),
    "leaky in place": lambda g, x: g("LeakyRelu", conv(3, 4, 1, 1)(g, x), alpha=0.1),
    "prelu": lambda g, x: g("PRelu", x, g.normal(4, 1, 1)),
    "prelu shared": one("PRelu", np.float32([0.25])),
    "elu in place": lambda g, x: g("Elu", conv(3, 4, 1, 1)(g, x), alpha=0.7),
    "selu": one("Selu"),
    "celu": one("Celu", alpha=0.5),
    "sigmoid": one("Sigmoid"),
    "tanh in place": lambda g, x: g("Tanh", conv(3, 4, 1, 1)(g, x)),
    "softplus": one("Softplus"),
    "softplus by torch": softplus_by_torch,
    "softsign": one("Softsign"),
    "exp": one("Exp"),
    "log": positive("Log"),
    "sqrt": positive("Sqrt"),
    "abs": one("Abs"),
    "neg": one("Neg"),
    "reciprocal": positive("Reciprocal"),
    "square": one("Pow", 2.0),
    "cube": one("Pow", 3.0),
    "power 0.3": positive("Pow", 0.3),
    "power -1.5": positive("Pow", -1.5),
    "relu6": lambda g, x: g("Clip", g("Mul", x, 5.0), 0.0, 6.0),
    "relu6 in place": lambda g, x: g("Clip", conv(3, 4, 3, 3)(g, x), 0.0, 6.0),
    "clip": one("Clip", -0.5, 0.7),
    "clip above": one("Clip", "", 0.7),
    "clip below": one("Clip", -0.3),
    "clip at 0": one("Clip", 0.0),
    "hard sigmoid": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard sigmoid of Keras": one("HardSigmoid"),
    "hard swish": one("HardSwish"),
    "silu": lambda g, x: g("Mul", x, g("Sigmoid", x)),
    "mish": one("Mish"),
    "gelu": one("Gelu"),
    "gelu of large values": lambda g, x: g("Gelu", g("Mul", x, 9.0)),
    "gelu by tanh": one("Gelu", approximate="tanh"),
    "erf": lambda g, x: g("Erf", g("Mul", x, 3.0)),
    "gelu, exported": lambda g, x: g(
        "Mul", x, g("Add", g("Tanh", g("Add", x, g("Mul", g("Pow", x, 3.0), 0.05))), 1.0)
    ),
    "softmax": one("Softmax", axis=1),
    "log softmax": one("LogSoftmax", axis=1),
    # choices
    "where": lambda g, x: g("Where", g("Greater", x, 0.1), x, g("Exp", x)),
    "where, or a number": lambda g, x: g("Where", g("Less", x, 0.1), x, 0.1),
    "leaky by where": lambda g, x: g("Where", g("LessOrEqual", x, 0.0), g("Mul", x, 0.2), x),
    "where of channels": lambda g, x: g("Where", CHOSEN, g("Exp", x), x),
    "filled where": lambda g, x: g("Where", CHOSEN, 2.0, x),
    "larger of two": lambda g, x: g("Where", g("Greater", x, g("Abs", x)), x, g("Exp", x)),
    "gate by a cast": lambda g, x: g("Mul", x, g("Cast", g("GreaterOrEqual", x, 0.0), to=1)),
    "neither": lambda g, x: g(
        "Where", g("Not", g("Or", g("Less", 0.5, x), g("Less", x, -0.5))), g("Exp", x), 1.0
    ),
    "both": lambda g, x: g("Where", g("And", g("Less", 0.1, x), g("Less", x, 0.6)), x, 0.1),
    "shrunk": lambda g, x: g("Mul", g("Sign", x), g("Relu", g("Add", g("Abs", x), -0.3))),
    # convolutions
    "conv of rows": lambda g, x: g(
        "Conv",
        g("ReduceMean", x, ints(2), keepdims=0),
        g.normal(4, 4, 3),
        g.normal(4),
        pads=[1, 0],
        strides=[2],
    ),
    "max of rows": lambda g, x: g(
        "MaxPool", g("ReduceMean", x, ints(2), keepdims=0), kernel_shape=[2], strides=[2]
    ),
    "conv": conv(5, 4, 3, 3, pads=[1, 1, 1, 1]),
    "conv without bias": lambda g, x: g("Conv", x, g.normal(5, 4, 3, 3)),
    "conv 1x3": conv(5, 4, 1, 3, pads=[0, 1, 0, 1]),
    "conv 5x3, stride 2x1": conv(5, 4, 5, 3, pads=[2, 1, 2, 1], strides=[2, 1]),
    "conv in groups": conv(6, 2, 3, 3, group=2, strides=[2, 2]),
    "depthwise": conv(4, 1, 3, 3, group=4, pads=[1, 1, 1, 1]),
    "dilated": conv(5, 4, 3, 3, pads=[2, 2, 2, 2], dilations=[2, 2]),
    "dilated, 2x1": conv(5, 4, 3, 3, pads=[2, 1, 2, 1], dilations=[2, 1]),
    "same of TensorFlow": conv(5, 4, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    "same, lower": conv(5, 4, 4, 4, auto_pad="SAME_LOWER"),
    "valid": conv(5, 4, 3, 3, auto_pad="VALID"),
    "uneven": conv(5, 4, 3, 3, pads=[0, 2, 1, 0], strides=[2, 2]),
    "uneven, dilated": conv(5, 4, 3, 3, pads=[0, 1, 3, 2], dilations=[2, 3]),
    "pad, conv": lambda g, x: conv(5, 4, 3, 3, strides=[2, 2])(
        g, g("Pad", x, ints(0, 0, 0, 0, 0, 0, 1, 1))
    ),
    "deconv": lambda g, x: g(
        "ConvTranspose", x, g.normal(4, 5, 4, 4), g.normal(5), strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "deconv, output padding": lambda g, x: g(
        "ConvTranspose",
        x,
        g.normal(4, 5, 3, 3),
        g.normal(5),
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    ),
    "deconv, uneven": lambda g, x: g(
        "ConvTranspose", x, g.normal(4, 5, 4, 4), g.normal(5), strides=[2, 2], pads=[0, 1, 2, 1]
    ),
    "deconv in groups": lambda g, x: g(
        "ConvTranspose", x, g.normal(4, 3, 3, 3), g.normal(6), group=2, dilations=[2, 2]
    ),
    "conv, batch norm": lambda g, x: batch_norm(g, conv(4, 4, 3, 3)(g, x)),
    "conv, batch norm, relu": lambda g, x: g(
        "Relu", batch_norm(g, g("Conv", x, g.normal(4, 4, 3, 3)))
    ),
    "batch norm": batch_norm,
    # pooling
    "max": pool("MaxPool", [3, 3], strides=[2, 2]),
    "max, padded": pool("MaxPool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max, ceil": pool("MaxPool", [3, 3], strides=[2, 2], ceil_mode=1),
    "max, same": pool("MaxPool", [3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "max, uneven": pool("MaxPool", [3, 3], strides=[2, 2], pads=[1, 0, 0, 2]),
    "max, uneven, stride 1": pool("MaxPool", [2, 2], pads=[0, 0, 1, 1]),
    "mean": pool("AveragePool", [2, 2], strides=[2, 2]),
    "mean, padded": pool("AveragePool", [3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "mean, without padding": pool("AveragePool", [3, 3], pads=[1, 1, 1, 1]),
    "mean, stride 2": pool("AveragePool", [3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    "mean, ceil": pool("AveragePool", [3, 3], strides=[2, 2], ceil_mode=1),
    "mean, uneven": pool("AveragePool", [3, 3], pads=[0, 1, 2, 0], count_include_pad=1),
    "mean, same": pool("AveragePool", [3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "mean of all": lambda g, x: g("AveragePool", x, kernel_shape=g.shape[2:]),
    "max of all": lambda g, x: g("MaxPool", x, kernel_shape=g.shape[2:]),
    "global mean": one("GlobalAveragePool"),
    "global max": one("GlobalMaxPool"),
    # sums and products
    "scale": one("Mul", 0.5),
    "shift": one("Add", -1.5),
    "times channels": lambda g, x: g("Mul", x, g.normal(1, 4, 1, 1)),
    "plus channels": lambda g, x: g("Add", g.normal(4, 1, 1), x),
    "conv, times, plus": lambda g, x: g(
        "Add", g("Mul", g("Conv", x, g.normal(4, 4, 1, 1)), g.normal(4, 1, 1)), g.normal(4, 1, 1)
    ),
    "minus": one("Sub", 0.5),
    "from": swapped("Sub", 0.5),
    "from channels": lambda g, x: g("Sub", g.normal(4, 1, 1), x),
    "divided": one("Div", 3.0),
    "one over": lambda g, x: g("Div", 1.0, g("Add", g("Mul", x, x), 0.5)),
    "two over": lambda g, x: g("Div", 2.0, g("Add", g("Mul", x, x), 0.5)),
    "add": two("Add"),
    "sub": two("Sub"),
    "mul": two("Mul"),
    "div": two("Div"),
    "squared": lambda g, x: g("Mul", x, x),
    "twice": lambda g, x: g("Add", x, x),
    "max of two": two("Max"),
    "min of two": two("Min"),
    "sum of two": two("Sum"),
    "mean of two": two("Mean"),
    "max with a number": one("Max", 0.2),
    "min with a number": one("Min", 0.2),
    "gate": lambda g, x: g("Mul", x, gate(g, x)),
    "gate first": lambda g, x: g("Mul", gate(g, x), x),
    "plus gate": lambda g, x: g("Add", x, gate(g, x)),
    "minus gate": lambda g, x: g("Sub", x, gate(g, x)),
    "gate minus": lambda g, x: g("Sub", gate(g, x), x),
    "over gate": lambda g, x: g("Div", x, gate(g, x)),
    "gate of one map": lambda g, x: g("Mul", x, g("Sigmoid", conv(1, 4, 3, 3, pads=[1] * 4)(g, x))),
    "gate of a line": lambda g, x: g("Mul", x, g("ReduceMean", x, ints(1, 2))),
    "conv, read twice": lambda g, x: g("Add", *[g("Relu", x), g("Tanh", x)]),
    "gemm": classify,
    "matmul": lambda g, x: g(
        "Add", g("MatMul", g("Flatten", g("GlobalMaxPool", x)), g.normal(4, 6)), g.normal(6)
    ),
    "matmul of tokens": lambda g, x: g(
        "MatMul", g("Transpose", x, perm=[0, 2, 3, 1]), g.normal(4, 6)
    ),
    # means and norms
    **{
        f"{op} {axes} {keep}": one(op, ints(*axes), keepdims=keep)
        for op in ("ReduceMean", "ReduceSum")
        for axes in ((2, 3), (1,), (3,), (2,), (1, 2, 3))
        for keep in (0, 1)
    },
    "largest of rows": one("ReduceMax", ints(2, 3), keepdims=0),
    "largest of channels": one("ReduceMax", ints(1)),
    "largest of channels, flat": one("ReduceMax", ints(1), keepdims=0),
    "l1": one("ReduceL1", ints(1, 2, 3)),
    "l2": one("ReduceL2", ints(1)),
    "squares": one("ReduceSumSquare", ints(1)),
    "unit length": lambda g, x: g("Div", x, g("ReduceL2", x, ints(1))),
    "lrn by torch": lrn_by_torch,
    "lrn": one("LRN", size=3, alpha=0.3, beta=0.6, bias=1.2),
    "instance norm": lambda g, x: g("InstanceNormalization", x, g.normal(4), g.normal(4)),
    "group norm, exported": group_norm,
    "layer norm": lambda g, x: g(
        "LayerNormalization", g("Transpose", x, perm=[0, 2, 3, 1]), g.normal(4), g.normal(4)
    ),
    # shapes
    "concat": lambda g, x: g("Concat", x, g("Relu", x), axis=1),
    "concat rows": lambda g, x: g("Concat", x, g("Relu", x), axis=2),
    "split": chunks,
    "split unevenly": lambda g, x: g(
        "Concat", *g("Split", x, ints(1, 3), outputs=2, axis=1)[::-1], axis=1
    ),
    "shuffle": shuffle,
    "transpose": one("Transpose", perm=[0, 3, 1, 2]),
    "slice channels": one("Slice", ints(1), ints(3), ints(1)),
    "slice first": one("Slice", ints(0), ints(2), ints(1)),
    "slice last": one("Slice", ints(-1), ints(99), ints(1)),
    "slice every other channel": one("Slice", ints(0), ints(99), ints(1), ints(2)),
    "slice back": one("Slice", ints(-1), ints(-99), ints(1), ints(-1)),
    "first rows": one("Slice", ints(1), ints(3), ints(2)),
    "crop": one("Slice", ints(1, 2), ints(99, -1), ints(2, 3)),
    "every other pixel": one("Slice", ints(0, 1), ints(99, 99), ints(2, 3), ints(2, 2)),
    "gather one": one("Gather", np.int64(2), axis=1),
    "gather some": one("Gather", ints(2, 0, 3), axis=1),
    "gather by torch": lambda g, x: g(
        "Transpose",
        g("GatherND", g("Transpose", x, perm=[1, 0, 2, 3]), np.int64([[2], [0], [3]])),
        perm=[1, 0, 2, 3],
    ),
    "gather all in their order": lambda g, x: g(
        "Gather",
        g("Reshape", g("GlobalAveragePool", x), ints(-1)),
        np.arange(4).reshape(1, 4, 1, 1),
        axis=0,
    ),
    "gather, unsqueeze": lambda g, x: g(
        "Concat",
        *[g("Unsqueeze", g("Gather", x, np.int64(i), axis=1), ints(1)) for i in (2, 0)],
        axis=1,
    ),
    "squeeze": lambda g, x: g("Squeeze", g("GlobalAveragePool", x), ints(2, 3)),
    "unsqueeze": one("Unsqueeze", ints(1)),
    "flatten": lambda g, x: g("Flatten", g("GlobalMaxPool", x)),
    "tokens": lambda g, x: g("Reshape", x, ints(1, 4, -1)),
    "tile": one("Tile", ints(1, 3, 1, 1)),
    "pixel shuffle": one("DepthToSpace", blocksize=2, mode="CRD"),
    "depth to space": lambda g, x: g("DepthToSpace", conv(8, 4, 1, 1)(g, x), blocksize=2),
    "space to depth": one("SpaceToDepth", blocksize=2),
    "pad": one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0)),
    "pad with 1.5": one("Pad", ints(0, 0, 1, 2, 0, 0, 3, 0), 1.5),
    "crop by pad": one("Pad", ints(0, 0, -1, 2, 0, 0, 0, -1)),
    # sizes
    "nearest": resize([2, 2], "nearest", "asymmetric", nearest_mode="floor"),
    "nearest, 3x2": resize([3, 2], "nearest", "half_pixel"),
    "bilinear": resize([2, 2], "linear", "half_pixel"),
    "bilinear, 3x4": resize([3, 4], "linear", "pytorch_half_pixel"),
    "bilinear of TensorFlow": resize([2, 2], "linear", "asymmetric"),
    "half, nearest": resize([0.5, 0.5], "nearest", "asymmetric", nearest_mode="floor"),
    "half, bilinear": resize([0.5, 0.5], "linear", "half_pixel"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_equals_onnxruntimes(name, tmp_path):
    converted = convert(sketch(CASES[name], SHAPES[0]))
    net = stock_net(converted, tmp_path)
    random = np.random.RandomState(1)
    for shape in SHAPES:
        x = random.normal(size=shape).astype(np.float32)
        wanted = onnx_answer(sketch(CASES[name], shape), x)
        found = caffe_answer(converted, net, x)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_comes_through(name, tmp_path):
    """The slope along a line, from the gradient and from two answers."""
    model = sketch(CASES[name], SHAPES[0])
    converted = convert(model)
    net = stock_net(converted, tmp_path)
    random = np.random.RandomState(2)
    x, line = np.float32(random.normal(size=(2, *SHAPES[0])))
    diff = np.float32(random.normal(size=onnx_answer(model, x).shape))
    step = 2e-4
    ends = [onnx_answer(model, np.float32(x + side * line)) for side in (step, -step)]
    wanted = ((np.float64(ends[0]) - ends[1]) * diff).sum() / (2 * step)
    slopes = gradient(converted, net, x, diff) * np.float64(line)
    assert np.isfinite(slopes).all()
    scale = np.sqrt((slopes**2).sum())
    assert scale > 0
    assert slopes.sum() == pytest.approx(wanted, abs=0.05 * scale)


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_pictures_are_padded_with_mirror_images(mode, tmp_path):
    build = one("Pad", ints(0, 0, 3, 0, 0, 0, 1, 2), mode=mode)
    converted = convert(sketch(build, SHAPES[0]))
    net = stock_net(converted, tmp_path)
    for shape in SHAPES:
        x = np.random.RandomState(0).normal(size=shape).astype(np.float32)
        wanted = onnx_answer(sketch(build, shape), x)
        assert np.abs(caffe_answer(converted, net, x) - wanted).max() < 1e-5


def test_every_layer_has_the_value_that_it_names(tmp_path):
    """Also those whose blob an activation changes in place, later."""

    def build(g, x):
        x = g("Relu", batch_norm(g, conv(4, 4, 3, 3, pads=[1] * 4)(g, x)))
        first, second = g("Split", x, outputs=2, axis=1, num_outputs=2)
        x = g("Concat", first, g("Tanh", conv(3, 2, 1, 1)(g, second)), axis=1)
        x = g("Slice", x, ints(1), ints(5), ints(1))
        x = g("Mul", x, gate(g, x))
        return classify(g, g("HardSwish", x))

    model = sketch(build, SHAPES[0])
    converted = convert(model)
    shared = [layer for layer in converted.layers if layer.name not in layer.top]
    assert [layer.type for layer in shared] == ["TanH", "ReLU", "Slice", "TanH", "Sigmoid"]
    net = stock_net(converted, tmp_path)
    x = np.random.RandomState(0).normal(size=SHAPES[0]).astype(np.float32)
    most, layer = largest_difference(converted, net, model, x)
    assert most < 1e-5, layer


def named(build, shape=SHAPES[0]):
    """(name, type, bottoms, tops) of each layer after the first three."""
    layers = convert(sketch(build, shape)).layers[3:]
    return [(each.name, each.type, list(each.bottom), list(each.top)) for each in layers]


def test_an_activation_is_in_place_where_nothing_else_reads_the_blob():
    once = named(lambda g, x: g("Relu", conv(4, 4, 1, 1)(g, x)))
    assert once == [("n2", "Convolution", ["n0"], ["n2"]), ("n3", "ReLU", ["n2"], ["n2"])]

    def twice(g, x):
        x = conv(4, 4, 1, 1)(g, x)
        return g("Add", x, g("Relu", x))

    assert named(twice)[1:] == [
        ("n3", "ReLU", ["n2"], ["n3"]),
        ("n4", "Eltwise", ["n2", "n3"], ["n4"]),
    ]


def test_batch_norm_goes_into_the_convolution_that_nothing_else_reads():
    assert [kind for _, kind, *_ in named(CASES["conv, batch norm, relu"])] == [
        "Convolution",
        "ReLU",
    ]

    def twice(g, x):
        x = conv(4, 4, 1, 1)(g, x)
        return g("Add", x, batch_norm(g, x))

    assert [kind for _, kind, *_ in named(twice)] == ["Convolution", "Scale", "Eltwise"]


def test_the_layers_are_those_of_a_readable_prototxt():
    kinds = {name: [kind for _, kind, *_ in named(CASES[name])] for name in CASES}
    assert kinds["pad, conv"] == ["Convolution"]
    assert kinds["same of TensorFlow"] == ["Convolution"]
    assert kinds["max, same"] == ["Pooling"]
    assert kinds["mean, padded"] == ["Pooling"]
    assert kinds["shuffle"] == ["Reshape", "Permute", "Flatten"]
    assert kinds["gather, unsqueeze"] == ["Slice", "Slice", "Concat"]
    assert kinds["gather by torch"] == kinds["gather some"] == ["Convolution"]
    assert kinds["lrn by torch"] == ["LRN"]
    assert kinds["softplus by torch"] == ["Power", "BNLL"]
    assert kinds["nearest"] == ["Deconvolution"]
    assert kinds["conv, times, plus"] == ["Convolution"]
    without_backward = {"HardSigmoid", "HardSwish", "Pad", "PixelShuffle", "Unsqueeze", "Upsample"}
    assert not without_backward & {kind for each in kinds.values() for kind in each}


REFUSED = {
    "sine": (one("Sin"), "Sin.*--until n1"),
    "of the picture": (lambda g, x: g("Sin", "x"), r"compute this; dream the whole"),
    "whole numbers": (
        lambda g, x: g("Cast", g("Floor", x), to=6), "Floor"
    ),
    "where, stretched": (
        lambda g, x: g("Where", g("Greater", g("ReduceMean", x, ints(1)), 0.0), x, g("Exp", x)),
        "several shapes",
    ),
    "two maps": (lambda g, x: g("MatMul", x, x), "MatMul.*constant"),
    "wrapped": (one("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="wrap"), "Pad.*wrap"),
    "corners": (resize([2, 2], "linear", "align_corners"), "align_corners depends on the size"),
    "1.5 times": (resize([1.5, 1.5], "nearest", "half_pixel"), "whole number"),
    "cubic": (resize([2, 2], "cubic", "half_pixel"), "not cubic"),
    "last rows": (one("Slice", ints(-2), ints(99), ints(2)), "size of the picture"),
    "turned round": (one("Slice", ints(-1), ints(-99), ints(3), ints(-1)), "size of"),
    "dilated pooling": (pool("MaxPool", [2, 2], dilations=[2, 2]), "dilated"),
    "stretched both ways": (
        lambda g, x: g("Add", g("ReduceMean", x, ints(2)), g("ReduceMean", x, ints(3))), "stretch"
    ),
    "exponents": (lambda g, x: g("Pow", g("Exp", x), x), "exponent"),
    "filters of the picture": (
        lambda g, x: g("Conv", x, g("Reshape", g("GlobalMaxPool", x), ints(1, 4, 1, 1))), "filters"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_become_caffe_is_refused(name):
    build, words = REFUSED[name]
    with pytest.raises(DreamError, match=words) as error:
        convert(sketch(build, SHAPES[0]))
    assert "load_net(module)" in str(error.value)
