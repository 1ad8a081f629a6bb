"""Networks of torchvision with random weights, imported: every layer, and gradients."""

import sys
import types

import numpy as np
import pytest

pytest.importorskip("caffe")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
# else torchvision from PyPI asks the CPU build of PyTorch for what it has not
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("none"))
pytest.importorskip("torchvision")

import torch  # noqa: E402
from torchvision import models  # noqa: E402

import deepdream as dd  # noqa: E402

QUICK = "resnet18", "mobilenet_v3_small"
SMALL = "squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x0_5", "mnasnet0_5"
# with layers that Caffe will never have; and those of 0.2 to 2.6 GB
LARGE = "convnext_small", "convnext_base", "convnext_large"
OTHERS = *LARGE, "maxvit", "swin", "vit", "regnet_y_128gf"
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
    # where a picture is quite flat, several places of a window are the maximum
    noise = np.random.RandomState(0).normal(0, 1, (3, size, size))
    compare_gradients(folder, dd.preprocess(net, image) + np.float32(noise))


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL)]
)
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


def test_a_module_may_rearrange_the_picture_first(tmp_path):
    """Its first convolution then has more than three colours."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.PixelUnshuffle(2), torch.nn.Conv2d(12, 8, 3))
    made = dd.import_net(net, tmp_path / "mine", size=32)
    assert max(made.checked.differences.values()) <= 1e-5


def test_a_module_that_takes_no_picture_is_refused(tmp_path):
    """In PyTorch's words for what is wrong, not those of its exporter."""
    says = "does not run on a picture of 1 x 3 x 32 x 32.*to have 4 channels"
    with pytest.raises(dd.DreamError, match=says):
        dd.import_net(torch.nn.Conv2d(4, 8, 3), tmp_path / "mine", size=32)


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
    """Small pictures: in a large one, somewhere a maximum or a ReLU always switches."""
    own_size = name.startswith(("alexnet", "vgg"))  # they pool adaptively
    size = 224 if own_size else 107 if name == "inception_v3" else 96
    check(make(name), tmp_path / "mine", size)
