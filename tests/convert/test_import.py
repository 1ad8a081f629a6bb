"""`import_net` and `deepdream models import`: what they read, write, refuse and say."""

import re
import tomllib
import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from conftest import main
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from toys import OPSET, Sketch

import deepdream as dd
from deepdream.convert import graph
from deepdream.errors import DreamError
from deepdream.nets import zoo

SHAPE = (1, 3, 32, 32)


def small(g, x, classes=5):
    """Two convolutions with a sum, a classifier: something to dream of."""
    a = g("Relu", g("Conv", x, g.normal(8, 3, 3, 3), g.normal(8), pads=[1] * 4))
    b = g("Conv", a, g.normal(8, 8, 3, 3) / 8, pads=[1] * 4)
    both = g("Relu", g("Add", a, b))
    mean = g("GlobalAveragePool", both)
    flat = g("Flatten", mean)
    return g("Gemm", flat, g.normal(classes, 8), g.normal(classes), transB=1)


def sketch(build, shape, opset=OPSET):
    """The model that build(sketch, x) makes of pictures x of this shape."""
    toy = Sketch(shape)
    return toy.model(build(toy, "x"), opset)


def save(path, model, **options):
    onnx.save(model, path, **options)
    return path


@pytest.fixture
def toy(tmp_path):
    return save(tmp_path / "toy.onnx", sketch(small, SHAPE))


def refusal(source, tmp_path, **options):
    """The one sentence with which it is refused; nothing is left behind."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DreamError) as caught:
        dd.import_net(source, tmp_path / "mine", **options)
    assert sorted(tmp_path.iterdir()) == before
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 500
    return message


def test_a_network_becomes_a_folder_that_answers_as_its_source(toy, tmp_path):
    made = dd.import_net(toy, tmp_path / "mine")
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names == {"deploy.prototxt", "weights.caffemodel", "model.toml"}
    assert made.size == (32, 32) and max(made.checked.differences.values()) < 1e-5
    image = dd.load_image("flower.jpg", 32)[:32]
    picture = np.zeros((32, 32, 3), np.float32)
    picture[: len(image)] = image
    # by hand: what torchvision's ImageNet networks get
    x = (picture / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = np.float32(x.transpose(2, 0, 1)[None])
    truth = ReferenceEvaluator(onnx.load(toy)).run(None, {"x": x})[0]
    for engine in made.checked.differences:
        net = dd.load_net(tmp_path / "mine", engine)
        net.blobs["data"].reshape(*SHAPE)
        net.blobs["data"].data[0] = dd.preprocess(net, picture)
        np.testing.assert_allclose(net.features(net.layer_names[-1]), truth[0], rtol=1e-4)


def test_model_toml_says_where_it_comes_from(toy, tmp_path):
    dd.import_net(toy, tmp_path / "mine", title="A toy", licence="CC0", labels=list("abcde"))
    about = tomllib.loads((tmp_path / "mine" / "model.toml").read_text())
    assert about["title"] == "A toy" and about["licence"] == "CC0"
    assert re.search("toy.onnx, sha256 [0-9a-f]{64}", about["credit"])
    assert "differences from" in about["checked"] and about["order"] == "rgb"
    np.testing.assert_allclose(about["mean"], [103.53, 116.28, 123.675])
    np.testing.assert_allclose(about["scale"], [1 / 57.375, 1 / 57.12, 1 / 58.395])
    assert zoo.labels(zoo.find(tmp_path / "mine")) == list("abcde")
    net = dd.load_net(tmp_path / "mine")
    assert net.default_layer == about["default_layer"] in net.climbable
    assert set(dd.look(net, dd.load_image("flower.jpg", 64)).classes) <= set("abcde")


def test_the_command_says_what_it_assumed(toy, tmp_path):
    done = main("models", "import", toy, "-o", tmp_path / "mine")
    assert (done.returncode, done.stderr) == (0, "")
    for said in ("ImageNet's usual ones", "differences from", "deepdream layers", "mine"):
        assert said in done.stdout
    options = ["--mean=0.5", "--std=0.5", "--bgr", "--size=48x40", "--replace", "--layer=n3"]
    done = main("models", "import", toy, "-o", tmp_path / "mine", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usual" not in done.stdout and "48x40" in done.stdout
    about = tomllib.loads((tmp_path / "mine" / "model.toml").read_text())
    assert about["mean"] == [127.5] * 3 and about["order"] == "bgr"
    assert about["default_layer"] == "n3"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("import", "needs both names"),
        ("import FILE", "needs both names"),
        ("list --size 3", "only `deepdream models import"),
        ("import FILE -o OUT --rgb --bgr", "not both"),
        ("import FILE -o OUT --size big", "'big'"),
        ("import FILE -o OUT --size 2", "from 8 to 4096"),
        ("import FILE -o OUT --mean 1 2", "three"),
        ("import FILE -o OUT --mean 120", "0..255"),
        ("import FILE -o OUT --std 0", "above"),
        ("import FILE -o OUT --range 1..2", "0..1 or 0..255"),
        ("import FILE -o OUT --layer nothing", "unknown layer 'nothing'"),
        ("import FILE -o OUT --until nothing", "unknown node 'nothing'"),
        ("import FILE -o OUT --labels FILE.txt", "no such file"),
        ("import FILE -o OUT --labels imagenet", "1,000"),
        ("import FILE -o FILE", "is a file"),
        ("import nothing.onnx -o OUT", "no such file"),
    ],
)
def test_the_command_refuses(toy, tmp_path, words, says):
    words = [w.replace("FILE", str(toy)).replace("OUT", f"{tmp_path}/mine") for w in words.split()]
    done = main("models", *words)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def test_a_folder_is_not_overwritten_unasked(toy, tmp_path):
    dd.import_net(toy, tmp_path / "mine")
    kept = (tmp_path / "mine" / "model.toml").read_bytes()
    assert "exists already" in refusal(toy, tmp_path)
    assert (tmp_path / "mine" / "model.toml").read_bytes() == kept
    (tmp_path / "mine" / "photo.jpg").touch()
    assert "photo.jpg" in refusal(toy, tmp_path, replace=True)


FILES = {
    "text.onnx": ("ir_version: 8 graph { }", "it is text"),
    "net.json": ('{"irVersion": 8}', "it is text"),
    "deploy.prototxt": ("layer { name: 'x' }", "Caffe already"),
    "weights.pth": (b"PK\x03\x04archive", "load_state_dict"),
    "whole.pt": (b"PK\x03\x04archive", "weights_only=False"),
    "net.safetensors": (b"\x90\x00\x00\x00\x00\x00\x00\x00{}", "weights without the network"),
    "old.pt": (b"\x80\x02\x8a\n", "load_state_dict"),
    "net.h5": (b"\x89HDF\r\n\x1a\n", "tf2onnx"),
    "net.keras": (b"PK\x03\x04", "tf2onnx"),
    "pointer.onnx": ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "random.onnx": (bytes(range(256)) * 4, "no network of ONNX"),
    "empty.onnx": (b"", "no network of ONNX"),
    "broken.pt2": (b"PK\x03\x04", "torch.export.save"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_refused(name, tmp_path):
    content, says = FILES[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refusal(path, tmp_path)


def test_half_a_file_is_refused(toy, tmp_path):
    toy.write_bytes(toy.read_bytes()[:-300])
    assert "no network of ONNX" in refusal(toy, tmp_path)


def test_weights_in_another_file(tmp_path):
    options = {"save_as_external_data": True, "size_threshold": 0, "location": "toy.data"}
    toy = save(tmp_path / "toy.onnx", sketch(small, SHAPE), **options)
    dd.import_net(toy, tmp_path / "mine")
    (tmp_path / "toy.data").unlink()
    assert "toy.data" in refusal(toy, tmp_path, replace=True)


def with_input(shape, kind=TensorProto.FLOAT):
    model = sketch(small, SHAPE)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, shape))
    return model


def test_free_sizes_are_fixed(tmp_path):
    toy = save(tmp_path / "toy.onnx", with_input(("n", 3, "h", "w")))
    assert dd.import_net(toy, tmp_path / "own").size == (224, 224)
    assert dd.import_net(toy, tmp_path / "given", size=40).size == (40, 40)
    assert dd.import_net(toy, tmp_path / "wide", size=(40, 56)).size == (40, 56)


def test_what_is_no_picture_is_refused(tmp_path):
    assert "three colours" in refusal(with_input((1, 7, 32, 32)), tmp_path)
    assert "(1, channels, height, width)" in refusal(with_input((1, 128)), tmp_path)
    model = sketch(small, SHAPE)
    model.graph.input.append(helper.make_tensor_value_info("mask", 1, SHAPE))
    dd.import_net(model, tmp_path / "unused")  # nothing reads it
    model = sketch(lambda g, x: small(g, g("Add", x, "mask")), SHAPE)
    model.graph.input.append(helper.make_tensor_value_info("mask", 1, SHAPE))
    assert "also needs mask" in refusal(model, tmp_path)


def test_channels_may_come_last(tmp_path):
    """As Keras has them."""
    turn = {"perm": [0, 3, 1, 2]}
    model = sketch(lambda g, x: small(g, g("Transpose", x, **turn)), (1, 32, 32, 3))
    found = graph.read(model)
    assert found.nodes[0].op == "Conv"  # the two turns cancel out
    assert max(dd.import_net(model, tmp_path / "mine").checked.differences.values()) < 1e-5


def test_half_precision_becomes_float32(tmp_path):
    model = sketch(small, SHAPE)
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    dd.import_net(model, tmp_path / "mine")


def test_quantised_networks_are_refused(tmp_path):
    def build(g, x):
        q = g("QuantizeLinear", x, np.float32(0.1), np.uint8(128))
        return small(g, g("DequantizeLinear", q, np.float32(0.1), np.uint8(128)))

    assert "quantised" in refusal(sketch(build, SHAPE), tmp_path)


def test_what_onnx_does_not_define_is_refused(tmp_path):
    def build(g, x):
        return g("Frobnicate", small(g, x), domain="org.example")

    model = sketch(build, SHAPE)
    model.opset_import.add(domain="org.example", version=1)
    said = refusal(model, tmp_path)
    assert "'n8' (Frobnicate)" in said and "--until NAME" in said
    dd.import_net(model, tmp_path / "cut", until="n7")


def test_control_flow_is_refused(tmp_path):
    g = Sketch(SHAPE)
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "body", [],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    large = g("Greater", g("ReduceMax", "x", keepdims=0), 1.0)
    model = g.model(small(g, g("If", large, then_branch=body, else_branch=body)))
    assert "(If)" in refusal(model, tmp_path)


def test_a_branch_that_every_picture_takes_is_taken(tmp_path):
    """As torch's old exporter writes a squeeze."""

    def build(g, x):
        x = g("Conv", x, g.normal(8, 3, 3, 3))
        rows = g("Gather", g("Shape", x), np.int64(2), axis=0)
        branches = {}
        for name, op in (("then_branch", "Relu"), ("else_branch", "Tanh")):
            value = helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)
            nodes = [helper.make_node(op, [x], [f"{op}_out"])]
            branches[name] = helper.make_graph(nodes, op, [], [value])
        return g("If", g("Equal", rows, np.int64(30)), **branches)

    made = dd.import_net(sketch(build, SHAPE), tmp_path / "mine")
    types = [layer.type for layer in dd.load_net(made.folder).layer_specs]
    assert types[-1] == "ReLU" and "TanH" not in types


def test_a_network_in_training_is_refused(tmp_path):
    def build(g, x):
        return small(g, g("Dropout", x, 0.5, np.array(True)))

    assert "eval()" in refusal(sketch(build, SHAPE), tmp_path)


def test_heads_that_choose_are_cut_off(tmp_path):
    model = sketch(lambda g, x: g("ArgMax", small(g, x), axis=1), SHAPE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = dd.import_net(model, tmp_path / "mine", labels=list("abcde"))
    assert "(ArgMax)" in str(caught[0].message)
    assert dd.load_net(made.folder).layer_names[-1] == "prob"


def test_old_opsets_are_brought_up(tmp_path):
    def build(g, x):
        a = g("Conv", x, g.normal(4, 3, 3, 3))
        return g("Pad", a, pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="constant", value=0.0)

    dd.import_net(sketch(build, SHAPE, opset=9), tmp_path / "mine")


def test_constants_are_folded():
    def build(g, x):
        shape = g("Shape", x)
        side = g("Gather", shape, np.int64(2))
        half = g("Div", side, np.int64(2))
        both = g("Unsqueeze", half, np.int64([0]))
        sizes = g("Concat", np.int64([1, 3]), both, np.int64([-1]), axis=0)
        same = g("Identity", g("Cast", x, to=1))
        return g("Reshape", g("Dropout", same), sizes)

    found = graph.read(sketch(build, (1, 3, 8, 8)))
    assert [node.op for node in found.nodes] == ["Reshape"]
    assert found.constants[found.nodes[0].inputs[1]].tolist() == [1, 3, 4, -1]
    assert found.shapes[found.outputs[0]] == (1, 3, 4, 16)


def test_names_are_the_modules():
    names = {
        "/layer1/layer1.0/conv1/Conv": "layer1.0.conv1",
        "/layer1/layer1.0/act/Sigmoid": "layer1.0.act.sigmoid",
        "/layer1/layer1.0/act/Mul": "layer1.0.act",
        "/layer1/layer1.0/Add": "layer1.0.add",
        "/relu/Relu": "relu",
        "/relu/Relu_1": "relu_2",
        "Relu_12": "v6_0",
        "my node; rm *": "my_node_rm_",
        "data": "data_2",
    }
    g = Sketch(SHAPE)
    value = "x"
    for name in names:
        op = re.sub(r"_\d+$", "", name.rpartition("/")[2])
        op = op if op in ("Conv", "Sigmoid", "Mul", "Add") else "Relu"
        more = {"Conv": [g.normal(3, 3, 1, 1)], "Mul": [value], "Add": [value]}.get(op, [])
        value = g(op, value, *more)
        g.nodes[-1].name = name
    assert [node.name for node in graph.read(g.model(value)).nodes] == list(names.values())


def test_a_wrong_layer_is_named(toy, tmp_path, monkeypatch):
    from deepdream.convert import layers

    def spoilt(read):
        made = convert(read)
        made.weights["n2"][0][0] += 0.1
        return made

    convert = layers.to_caffe
    monkeypatch.setattr(layers, "to_caffe", spoilt)
    assert "layer 'n2' differs from the source" in refusal(toy, tmp_path)


def test_without_onnxruntime_the_evaluator_of_onnx_compares(toy, tmp_path, monkeypatch):
    from deepdream.convert import running

    monkeypatch.setattr(running, "find_spec", lambda name: None)
    assert dd.import_net(toy, tmp_path / "mine").checked.by == "onnx"


def test_without_onnx_it_says_what_to_install(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert "install onnx" in refusal(toy, tmp_path)


@pytest.mark.slow
def test_keras_on_pytorch(tmp_path, monkeypatch):
    """As docs/networks.md has it; its channels come last."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed: pip install keras")
    pytest.importorskip("torch")
    net = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.MaxPool2D(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    made = dd.import_net(again, tmp_path / "mine", mean=0.5, std=0.5, compare_all=True)
    assert made.size == (32, 32) and max(made.checked.differences.values()) < 1e-5
