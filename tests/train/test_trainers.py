"""The arithmetic: two engines against each other and against plain PyTorch."""

import numpy as np
import pytest
from conftest import write_model
from learning import ENGINES, draw_classes, few, learn, prepare, weights

import deepdream as dd
from deepdream.nets import caffemodel

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
F = torch.nn.functional
each_engine = pytest.mark.parametrize("engine", ENGINES)
BATCH_NORM = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv"
        scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv"
        dropout_param { dropout_ratio: 0.4 } }
layer { name: "both" type: "Convolution" bottom: "conv" top: "both"
        convolution_param { num_output: 6 kernel_size: 3 } }
"""


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return draw_classes(tmp_path_factory.mktemp("patterns") / "pictures", 30)


def write_batch_norm(folder):
    write_model(folder, BATCH_NORM)
    inside = caffemodel.read_weights(folder / "toy.caffemodel")
    inside["norm"] = [np.float32([5] * 8), np.float32([900] * 8), np.float32([1])]
    caffemodel.write_weights(folder / "toy.caffemodel", inside)


@pytest.mark.parametrize("model", ["toy", "norm", "squeezenet_v1.1"])
def test_both_engines_learn_the_same(tmp_path, toy, patterns, model):
    write_batch_norm(tmp_path / "norm")
    if model in ("toy", "norm"):
        model = tmp_path / model
    given = few(model, batch=4, seed=3, keep_out=0)
    losses = []
    for engine in ENGINES:
        lessons = learn(patterns, tmp_path / engine, **given | {"engine": engine})
        losses.append([lesson.loss for lesson in lessons])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-3)
    assert losses[0][-1] != losses[0][0]
    ours, theirs = (weights(tmp_path / engine) for engine in ENGINES)
    for name in theirs:
        for a, b in zip(ours[name], theirs[name]):
            np.testing.assert_allclose(a, b, atol=1e-3 * max(1, abs(b).max()))


def toy_loss(p, data, classes):
    """The toy with its head, written in PyTorch; p: its parameters by their layers."""
    conv1 = F.relu(F.conv2d(torch.tensor(data), *p["conv1"], stride=2, padding=2))
    low = F.max_pool2d(conv1, 3, 2, ceil_mode=True)
    both = torch.cat([F.conv2d(low, *p["left"]), F.conv2d(low, *p["right"], padding=1)], 1)
    features = 10 * F.normalize(both.mean((2, 3)))
    return F.cross_entropy(F.linear(features, *p["classes"]), torch.tensor(classes))


@each_engine
def test_the_update_is_caffes_rule_on_the_network_written_in_pytorch(toy, patterns, engine):
    training = prepare(patterns, **few(toy, engine=engine, freeze="none", steps=8))
    trainer = training.make_trainer()
    p = {name: [torch.tensor(a) for a in blobs] for name, blobs in trainer.weights().items()}
    changes = {name: [torch.zeros_like(blob) for blob in blobs] for name, blobs in p.items()}
    for i, (data, classes) in enumerate(training.crops.batches(0, 6, 6)):
        for blobs in p.values():
            for blob in blobs:
                blob.requires_grad_()
        loss = toy_loss(p, data, classes)
        assert trainer.step(data, classes) == pytest.approx(loss.item(), rel=1e-3)
        for name, blobs in p.items():
            rate = (0.0025 if name == "classes" else 0.005) * (1 - i / 8)
            gradients = torch.autograd.grad(loss, blobs, retain_graph=True)
            for k, gradient in enumerate(gradients):
                blob = blobs[k].detach()
                changes[name][k] = 0.9 * changes[name][k] + rate * (gradient + 1e-4 * blob)
        for name, blobs in p.items():
            p[name] = [blob.detach() - change for blob, change in zip(blobs, changes[name])]
    for name, blobs in trainer.weights().items():
        for ours, theirs in zip(blobs, p[name]):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


@each_engine
@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [(None, {"conv1"}), ("conv1", {"conv1"}), ("left", {"conv1", "left"}), ("none", set())],
)
def test_frozen_layers_stay_to_the_bit_and_the_others_change(
    tmp_path, toy, patterns, engine, freeze, frozen
):
    before = caffemodel.read_weights(toy / "toy.caffemodel")
    learn(patterns, tmp_path / "out", **few(toy, engine=engine, freeze=freeze, steps=3))
    after = weights(tmp_path / "out")
    for name in ("conv1", "left", "right"):
        is_same = np.array_equal(before[name][0], after[name][0])
        assert is_same == (name in frozen), name
    assert np.array_equal(before["conv1"][1], after["conv1"][1]) == ("conv1" in frozen)


@each_engine
def test_the_classifier_sees_features_of_one_length(toy, patterns, engine):
    training = prepare(patterns, **few(toy, engine=engine))
    trainer = training.make_trainer()
    for strength in (0.1, 1, 30):
        trainer.forward(strength * training.crops.make_batch(0, 6)[0])
        lengths = np.linalg.norm(trainer.blob("classes/norm"), axis=1)
        np.testing.assert_allclose(lengths.ravel(), 10, rtol=1e-3)


@each_engine
@pytest.mark.parametrize("end", ["conv1", "pool1", "left", "right", "both"])
def test_every_layer_that_a_dream_can_climb_with_places_can_be_trained(
    tmp_path, toy, patterns, engine, end
):
    given = few(toy, engine=engine, end=end, freeze="none", steps=2)
    learn(patterns, tmp_path / "out", **given)
    assert dd.load_net(tmp_path / "out", engine).default_layer == end
