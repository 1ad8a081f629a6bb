"""Any torch.nn.Module as a network, against PyTorch's own autograd written out."""

import sys
import types
import warnings

import numpy as np
import pytest
from conftest import load, main, refused, write_model

import deepdream
from deepdream import DreamError, load_net
from deepdream.making import make_dream
from deepdream.nets import caffemodel
from deepdream.recipe import complete

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from torch import nn  # noqa: E402

MEAN = torch.tensor([0.406, 0.456, 0.485]).reshape(1, 3, 1, 1)  # ImageNet's, BGR
STD = torch.tensor([0.225, 0.224, 0.229]).reshape(1, 3, 1, 1)


class Block(nn.Module):
    """As ResNet's, with everything in place."""

    def __init__(self, channels):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn(self.conv(self.relu(x)))
        y += x
        return self.relu(y)


class Convolutions(nn.Module):
    """A toy ResNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, 2, 2)
        self.a = Block(8)
        self.down = nn.Conv2d(8, 16, 3, 2, 1)
        self.b = Block(16)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.b(self.down(self.a(self.stem(x))))
        return self.fc(self.dropout(x.mean((2, 3))))


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.mlp = nn.Linear(channels, channels)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y)[0]
        return x + self.mlp(x)


class Tokens(nn.Module):
    """A toy vision transformer: 4 x 4 places and 3 tokens of no place, of one size."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.extra = nn.Parameter(torch.randn(1, 3, 8))
        self.place = nn.Parameter(torch.randn(1, 19, 8))
        self.blocks = nn.Sequential(*(Attention(8) for _ in range(3)))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.blocks(torch.cat([self.extra, x], 1) + self.place)
        return self.head(x[:, 0]).softmax(1)


class Last(nn.Module):
    """As Swin and ConvNeXt inside: channels last, four of them on 12 x 16 places."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.norm = nn.LayerNorm(12)
        self.mlp = nn.Linear(12, 16)

    def forward(self, x):
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        return {"out": [self.mlp(x).permute(0, 3, 1, 2), None]}


def make(kind, *given, **about):
    torch.manual_seed(0)
    return load_net(kind(*given), **({"size": 32} | about))


@pytest.fixture
def photo():
    return np.random.RandomState(0).uniform(0, 255, (45, 70, 3)).astype(np.float32)


def show(net, height, width):
    """Put noise into the network, and return it, (1, 3, h, w)."""
    picture = np.random.RandomState(1).normal(0, 50, (1, 3, height, width))
    net.blobs["data"].reshape(1, 3, height, width)
    net.blobs["data"].data[:] = picture
    return torch.tensor(picture, dtype=torch.float32, requires_grad=True)


def by_hand(module, name, x, run=1):
    """What a submodule puts out, with autograd's graph."""
    found = []
    handle = module.get_submodule(name).register_forward_hook(
        lambda _, __, output: (
            found.append(output[0] if isinstance(output, tuple) else output)
            or (found[-1].clone() if isinstance(output, torch.Tensor) else None)
        )
    )
    module.eval()
    module((x / (255 * STD)).flip(1))
    handle.remove()
    return found[run - 1]


def close(ours, theirs, within=1e-5):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=within * abs(theirs).max())


CASES = [
    (Convolutions, "stem", "stem", 1),
    (Convolutions, "b.conv", "b.conv", 1),
    (Convolutions, "a.relu:2", "a.relu", 2),
    (Convolutions, "b", "b", 1),
    (Convolutions, "fc", "fc", 1),
    (Last, "patches", "patches", 1),
    (Last, "mlp", "mlp", 1),
    (Tokens, "blocks.1", "blocks.1", 1),
    (Tokens, "blocks.2.attention", "blocks.2.attention", 1),
]


@pytest.mark.parametrize("kind, layer, name, run", CASES, ids=lambda x: getattr(x, "__name__", x))
def test_values_and_gradients_are_those_of_autograd(kind, layer, name, run):
    net = make(kind)
    size = (32, 32) if kind is Tokens else (36, 52)
    x = show(net, *size)
    expected = by_hand(net.module, name, x, run)
    if layer == "mlp":
        expected = expected.permute(0, 3, 1, 2)
    if kind is Tokens:  # the three in front have no place, and no gradient
        expected = expected[:, 3:].transpose(1, 2).unflatten(2, (4, 4))
    g = deepdream.gradient(net, layer).numpy().copy()
    (expected.square().sum() / 2).backward()
    close(net.blobs[layer].data, expected)
    close(g, x.grad[0])
    assert net.top_shape(layer, *size) == net.blobs[layer].shape


def test_several_layers_at_once_add_up():
    net = make(Convolutions)
    show(net, 36, 52)
    parts = [deepdream.gradient(net, layer).clone() for layer in ("a.bn", "b.conv")]
    both = deepdream.gradient(net, None, deepdream.L2("a.bn") + deepdream.L2("b.conv"))
    close(both, parts[0] + parts[1])


def test_a_layer_is_seen_as_it_was_before_a_later_one_changed_it_in_place():
    net = make(Convolutions)
    x = show(net, 36, 52)
    found = {layer: blob.data.copy() for layer, blob in net.stops(["b", "stem", "a.bn"])}
    assert list(found) == ["stem", "a.bn", "b"], "in network order"
    assert found["stem"].min() < 0 and found["a.bn"].min() < 0
    close(found["stem"], by_hand(net.module, "stem", x))


def test_the_module_is_left_as_it_was():
    module = Convolutions()
    module.b.eval()
    module.stem.requires_grad_(False)
    modes = [each.training for each in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    net = load_net(module, size=32)
    show(net, 32, 32)
    deepdream.gradient(net, "b.bn")
    assert [each.training for each in module.modules()] == modes
    assert not any(each.requires_grad for each in module.stem.parameters())
    assert all(each.requires_grad and each.grad is None for each in module.b.parameters())
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert not any(each._forward_hooks for each in module.modules())


def test_a_shallow_layer_runs_nothing_behind_it():
    net = make(Convolutions)
    ran = []
    net.module.down.register_forward_hook(lambda *_: ran.append(1))
    net.forward(end="a")
    assert not ran
    net.forward(end="b")
    assert ran


def test_layers_are_found():
    net = make(Convolutions)
    assert net.climbable[:6] == ["stem", "a.relu", "a.conv", "a.bn", "a.relu:2", "a"]
    assert net.bottlenecks() == deepdream.stations(net) == ["stem", "a", "down", "b"]
    assert (net.default_layer, net.channels("b"), net.own_size) == ("down", 16, (32, 32))
    assert make(Tokens).default_layer == "blocks.1"
    assert set(make(Last).climbable) == {"patches", "norm", "mlp", "output"}
    assert np.ravel(net.mean).tolist() == pytest.approx([103.53, 116.28, 123.675])


def test_colours_and_range():
    """mean and std are red, green and blue, whatever the order of the network."""
    about = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    rgb, bgr = make(nn.Conv2d, 3, 3, 1, **about), make(nn.Conv2d, 3, 3, 1, order="bgr", **about)
    for net in (rgb, bgr):
        with torch.no_grad():
            net.module.weight[:] = torch.eye(3)[..., None, None]
            net.module.bias[:] = 0
        deepdream.nets.base.put(net, deepdream.preprocess(net, np.full((32, 32, 3), (255, 51, 0))))
        net.forward()
    red, green, blue = (1 - 0.1) / 0.5, (0.2 - 0.2) / 0.6, (0 - 0.3) / 0.7
    np.testing.assert_allclose(rgb.blobs["output"].data[0, :, 3, 3], [red, green, blue], atol=1e-6)
    np.testing.assert_allclose(bgr.blobs["output"].data[0, :, 3, 3], [blue, green, red], atol=1e-6)


def test_one_network_as_module_and_as_caffe(tmp_path):
    """The same convolutions as a Caffe folder on TorchNet give the same gradient."""
    folder = write_model(tmp_path / "toy")
    theirs = load(folder, "torch")
    module = nn.Sequential()
    for name, layer in [
        ("conv1", nn.Conv2d(3, 8, 5, 2, 2)),
        ("relu1", nn.ReLU(inplace=True)),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("right", nn.Conv2d(8, 6, 3, padding=1)),
    ]:
        module.add_module(name, layer)
    weights = caffemodel.read_weights(folder / "toy.caffemodel")
    with torch.no_grad():
        for name in ("conv1", "right"):
            module.get_submodule(name).weight[:] = torch.tensor(np.array(weights[name][0]))
            module.get_submodule(name).bias[:] = torch.tensor(np.array(weights[name][1]))
    std = [1 / 255] * 3
    ours = load_net(module, mean=[n / 255 for n in (123, 117, 104)], std=std, order="bgr", size=32)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6)
    for layer in ("conv1", "right"):
        show(ours, 33, 47), show(theirs, 33, 47)
        expected = deepdream.gradient(theirs, layer)
        close(deepdream.gradient(ours, layer), expected)


def test_windows_stand_side_by_side():
    """A transformer of one size sees a larger picture through windows of that."""
    net = make(Tokens)
    x = show(net, 32, 70)
    assert net.top_shape("blocks.1", 32, 70) == (1, 8, 4, 12)
    net.forward(end="blocks.1")
    blob = net.blobs["blocks.1"].data.copy()
    for i, left in enumerate((0, 19, 38)):
        window = by_hand(net.module, "blocks.1", x[..., left : left + 32])
        expected = window[:, 3:].transpose(1, 2).unflatten(2, (4, 4))
        close(blob[..., 4 * i : 4 * i + 4], expected)
    net.forward(end="head")
    assert net.blobs["head"].shape == (1, 5), "the mean of the windows"


def test_dreams_of_any_size(photo):
    for net, end in ((make(Tokens), "blocks.1"), (make(Convolutions), "b.conv")):
        dream = deepdream.deepdream(net, photo, iter_n=2, octave_n=3, end=end, seed=0, jitter=4)
        assert dream.shape == photo.shape and abs(dream - photo).mean() > 1
        again = deepdream.deepdream(net, photo, iter_n=2, octave_n=3, end=end, seed=0, jitter=4)
        np.testing.assert_array_equal(dream, again)


def test_tiles_of_convolutions_give_the_gradient_of_the_whole(photo):
    net = make(Convolutions)
    assert net.reach("stem")[:2] == pytest.approx((5, 2), abs=1)
    assert make(Tokens).reach("blocks.0").side == np.inf
    params = {"iter_n": 1, "octave_n": 1, "end": "a.bn", "seed": 0, "jitter": 0}
    whole = deepdream.deepdream(net, photo, **params)
    tiled = deepdream.deepdream(net, photo, tile=32, halo=12, **params)
    np.testing.assert_allclose(whole, tiled, atol=1e-3)


@pytest.mark.parametrize(
    "objective",
    [
        "channel('a.bn', 3)", "logit('cat')", "caricature('a.conv')", "unit('a.bn', 1, 3, 4)",
        "L2('a') + 100*channel('b.bn', 2)", "strongest('a')", "guide('a', 'guide.png')",
    ],
)  # fmt: skip
def test_objectives(objective, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deepdream.save_image("guide.png", photo)
    net = make(Convolutions, labels=["dog", "cat", "hen", "ant", "elk"])
    goal = deepdream.language.parse(objective)
    dream = deepdream.deepdream(net, photo, iter_n=1, octave_n=2, objective=goal, jitter=2, seed=0)
    assert abs(dream - photo).mean() > 0.5


def test_look_draw_and_films(photo):
    net = make(Convolutions, labels=["dog", "cat", "hen", "ant", "elk"])
    seen = deepdream.look(net, photo)
    assert list(seen.channels) == deepdream.stations(net) and sum(seen.classes.values()) < 1
    assert deepdream.draw(net, "cat", steps=2, several=2).shape == (2, 43, 43, 3)
    assert deepdream.draw(net, deepdream.channel("b", 1), steps=2, size=50).shape == (50, 50, 3)
    frames = list(deepdream.zoom(net, photo, frames=2, end="a", iter_n=1, octave_n=2))
    frames += list(deepdream.journey(net, frames_per_layer=1, frame=photo, iter_n=1, octave_n=1))
    assert len(frames) == 6 and all(frame.shape == photo.shape for frame in frames)


def test_the_values_of_classes_are_those_before_the_softmax():
    net = make(Tokens)
    assert deepdream.objectives.scores(net) == "head"
    assert deepdream.objectives.scores(make(Convolutions)) == "output"


def test_memory_is_foretold():
    """Against what autograd really keeps; the rest are gradients, and the picture."""
    net = make(Convolutions)
    held = []
    x = show(net, 200, 300)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        net.module.requires_grad_(False)
        by_hand(net.module, "b.bn", x)
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in held}
    total = sum(storages.values())
    assert total < net.memory("b.bn", 200, 300) < 3 * total + 8e6
    assert net.memory("stem", 200, 300) < net.memory("b.bn", 200, 300)


def test_a_picture_says_what_made_it_and_cannot_be_replayed(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deepdream.save_image("photo.png", photo)
    given = {"image": "photo.png", "iter_n": 1, "octave_n": 1, "end": "a"}
    picture, carried = make_dream(complete("dream", given), make(Convolutions))
    assert (carried["engine"], carried["module"]) == ("torch", "Convolutions")
    deepdream.save_image("out.png", picture, carried)
    done = main("replay", "out.png", "-o", "again.png")
    refused(done, "cannot be replayed: it was made in Python, with a PyTorch module, Convolutions")


class Two(nn.Module):
    def forward(self, x, text):
        return x


class Broken(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 0


class Number(nn.Module):
    def forward(self, x):
        return int(x.sum())


BAD = {
    "cannot be differentiated at all|shows nothing": (lambda: Number(), {}),
    "missing 1 required positional argument: 'text'.*one picture": (lambda: Two(), {}),
    "not finite": (lambda: Broken(3, 3, 1), {}),
    "weights of Conv2d are float16.*module.float": (lambda: nn.Conv2d(3, 3, 1).half(), {}),
    "which caffe cannot run": (lambda: nn.Conv2d(3, 3, 1), {"engine": "caffe"}),
    "dtype is 'bfloat16'": (lambda: nn.Conv2d(3, 3, 1), {"dtype": "bfloat16"}),
    "is on cpu, and cuda is asked for": (lambda: nn.Conv2d(3, 3, 1), {"device": "cuda"}),
    "mean is .123, 117, 104.; it must be three": (
        lambda: nn.Conv2d(3, 3, 1), {"mean": (123, 117, 104)},
    ),
    "std is 0": (lambda: nn.Conv2d(3, 3, 1), {"std": 0}),
    "order is 'grb'": (lambda: nn.Conv2d(3, 3, 1), {"order": "grb"}),
    "size is -3": (lambda: nn.Conv2d(3, 3, 1), {"size": -3}),
    "2 labels, and 5 classes": (lambda: Convolutions(), {"labels": ["dog", "cat"]}),
    "it takes the name of a network.*load_state_dict": (lambda: {"conv1.weight": 0}, {}),
    "mean and order: only a torch.nn.Module": (
        lambda: "squeezenet_v1.1", {"mean": (0, 0, 0), "order": "rgb"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("says", BAD)
def test_what_cannot_be_used_is_refused_in_a_sentence(says):
    make_it, given = BAD[says]
    about = {"size": 32} | given if isinstance(make_it(), nn.Module) else given
    with pytest.raises(DreamError, match=says):
        load_net(make_it(), **about)


def test_an_unknown_layer_and_a_wrong_picture_are_refused(photo):
    net = make(Convolutions)
    with pytest.raises(DreamError, match=r"unknown layer 'b.con'; did you mean 'b.conv'"):
        deepdream.deepdream(net, photo, end="b.con")
    with pytest.raises(DreamError, match="call forward"):
        net.backward(start="b")
    net.blobs["data"].reshape(2, 3, 32, 32)
    with pytest.raises(DreamError, match="it must be"):
        net.forward(end="b")


@pytest.fixture(scope="module")
def torchvision():
    # Its registrations need an operator that no build without images has
    name = "torchvision._meta_registrations"
    sys.modules.setdefault(name, types.ModuleType(name))
    why = "torchvision is not installed: pip install torchvision --no-deps"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchvision", reason=why)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, layer, shape",
    [
        ("resnet18", "layer3.1.conv2", (256, 14, 14)),
        ("convnext_tiny", "features.5.5.block.3", (1536, 14, 14)),  # channels last inside
        ("vit_b_16", "encoder.layers.encoder_layer_8", (768, 14, 14)),  # and a class token
        ("swin_t", "features.5.3", (384, 14, 14)),
    ],
)
def test_networks_of_torchvision(torchvision, name, layer, shape):
    torch.manual_seed(0)
    net = load_net(getattr(torchvision.models, name)(weights=None))
    x = show(net, 224, 224)
    g = deepdream.gradient(net, layer).numpy().copy()
    assert net.blobs[layer].shape == (1, *shape)
    expected = by_hand(net.module, layer, x)
    if expected.ndim == 3:
        expected = expected[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    elif expected.shape[1] == 14:
        expected = expected.permute(0, 3, 1, 2)
    close(net.blobs[layer].data, expected)
    (expected.square().sum() / 2).backward()
    close(g, x.grad[0])
    assert len(deepdream.stations(net)) >= 9 and net.default_layer in deepdream.stations(net)
    assert deepdream.objectives.scores(net) == "output" and net.channels("output") == 1000
