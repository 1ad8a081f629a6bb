<<<<<<< HEAD
"""Networks of torchvision with random weights, imported: every layer, and gradients."""
=======
"""The convolutional networks of torchvision, with random weights, in stock Caffe.

Every layer is compared with onnxruntime, right after it ran.
"""
>>>>>>> a2

import sys
import types

import numpy as np
import pytest

pytest.importorskip("caffe")
<<<<<<< HEAD
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
# else torchvision from PyPI asks the CPU build of PyTorch for what it has not
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))
pytest.importorskip("torchvision")

import torch
from torchvision import models

import deepdream as dd

SMALL = (
    "squeezenet1_1", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5",
    "mnasnet0_5",
)  # fmt: skip
# with layers that Caffe will never have; and one of 2.6 GB
OTHERS = "convnext", "maxvit", "swin", "vit", "regnet_y_128gf"
ALL = [name for name in models.list_models(module=models) if not name.startswith(OTHERS)]


def make(name):
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **options).eval()


def compare_gradients(folder, picture):
    """As tests/nets/test_torch.py has it for whole networks."""
    nets = [dd.load_net(folder, engine) for engine in ("caffe", "torch")]
    layers = nets[0].climbable
    errors = {}
    for end in layers[:: max(1, len(layers) // 12)]:
        gradients = []
        for net in nets:
            net.blobs["data"].reshape(1, *picture.shape)
            net.blobs["data"].data[0] = picture
            dd.gradient(net, end)
            gradients.append(np.float64(net.blobs["data"].diff))
        length = np.linalg.norm(gradients[0])
        errors[end] = np.linalg.norm(gradients[1] - gradients[0]) / max(length, 1e-30)
    # 1e-2 where a maximum or a ReLU switches
    assert max(errors.values()) <= 1e-2, errors
    assert np.median(list(errors.values())) <= 1e-5, errors


def check(source, folder, size):
    made = dd.import_net(source, folder, size=size, compare_all=True)
    assert set(made.checked.differences) == {"caffe", "torch"}
    assert max(made.checked.differences.values()) <= 1e-5, made.checked.differences
    net = dd.load_net(folder, "torch")
    image = dd.load_image("flower.jpg", 2 * size)[:size, :size]
    compare_gradients(folder, dd.preprocess(net, image))


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name, tmp_path):
    """By the older exporter, which is quicker."""
    path = tmp_path / "net.onnx"
    torch.onnx.export(make(name), (torch.zeros(1, 3, 64, 64),), path, dynamo=False)
    check(path, tmp_path / "mine", 64)


def test_a_module_is_left_as_it_was(tmp_path):
    net = make("squeezenet1_1").train()
    net.features.eval()
    before = {name: each.training for name, each in net.named_modules()}
    weights = {name: each.clone() for name, each in net.state_dict().items()}
    made = dd.import_net(net, tmp_path / "mine", size=64)
    assert {name: each.training for name, each in net.named_modules()} == before
    assert all(torch.equal(weights[name], each) for name, each in net.state_dict().items())
    assert "features.12.expand3x3" in dd.load_net(made.folder).layer_names


def test_a_saved_program_is_imported(tmp_path):
    program = torch.export.export(make("squeezenet1_1"), (torch.zeros(1, 3, 64, 64),))
    torch.export.save(program, tmp_path / "net.pt2")
    made = dd.import_net(tmp_path / "net.pt2", tmp_path / "mine")
    assert made.size == (64, 64) and "features.3.cat" in dd.load_net(made.folder).layer_names


def test_saved_weights_are_refused(tmp_path):
    torch.save(make("squeezenet1_1").state_dict(), tmp_path / "net.pth")
    with pytest.raises(dd.DreamError, match="load_state_dict"):
        dd.import_net(tmp_path / "net.pth", tmp_path / "mine")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_all_networks(name, tmp_path):
    check(make(name), tmp_path / "mine", 299 if name == "inception_v3" else 224)
=======
pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from toys import convert, largest_difference, stock_net

from deepdream.convert import sources

SMALL = (
    "squeezenet1_1", "resnet18", "mobilenet_v2",
    "mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0",
)  # fmt: skip
SLOW = (
    "alexnet", "densenet121", "densenet161", "densenet169", "densenet201",
    "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_v2_s", "efficientnet_v2_m", "googlenet", "inception_v3",
    "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "mobilenet_v3_large",
    "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_3_2gf", "regnet_x_400mf",
    "regnet_x_800mf", "regnet_x_8gf", "regnet_y_16gf", "regnet_y_1_6gf",
    "regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf",
    "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
    "resnext101_32x8d", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0", "squeezenet1_0", "vgg11", "vgg11_bn", "vgg13", "vgg16",
    "vgg16_bn", "vgg19", "wide_resnet50_2",
)  # fmt: skip
# Those with an adaptive pooling to several pixels are exported at their own size.
SIZES = {"alexnet": 224, "inception_v3": 107, **{name: 224 for name in SLOW if "vgg" in name}}


@pytest.fixture(scope="module")
def models():
    """torchvision.models; beside the processors' torch, part of it is missing."""
    hidden = "torchvision._meta_registrations"
    sys.modules.setdefault(hidden, types.ModuleType(hidden))
    return pytest.importorskip("torchvision.models")


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_every_layer_agrees(name, models, tmp_path):
    import torch

    torch.manual_seed(0)
    heads = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, weights=None, **heads).eval()
    size = SIZES.get(name, 64)
    model = sources.export(module, (size, size))
    converted = convert(model)
    net = stock_net(converted, tmp_path)
    x = np.random.RandomState(0).normal(size=(1, 3, size, size)).astype(np.float32)
    most, layer = largest_difference(converted, net, model, x)
    assert most < 1e-5, layer
>>>>>>> a2
