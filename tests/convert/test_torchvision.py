"""The convolutional networks of torchvision, with random weights, in stock Caffe.

Every layer is compared with onnxruntime, right after it ran.
"""

import sys
import types

import numpy as np
import pytest

pytest.importorskip("caffe")
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
