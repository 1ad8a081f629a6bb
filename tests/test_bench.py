"""The benchmark runs to its end, and what it compares with is what it says. No test
asserts a time.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_model

from deepdream import load_net
from deepdream.dream import gradient
from deepdream.nets import caffemodel, shapes
from deepdream.nets.base import to_data

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import bench  # noqa: E402, after its folder is known
import peers  # noqa: E402

PROTOTXT = ROOT / "models" / "bvlc_googlenet" / "deploy.prototxt"


@pytest.fixture(scope="module")
def random_googlenet(tmp_path_factory):
    toml = f'title = "GoogLeNet, random"\ndefault_layer = "{peers.END}"'
    return write_model(tmp_path_factory.mktemp("models") / "googlenet", PROTOTXT.read_text(), toml)


@pytest.mark.slow  # it starts eight processes, which load PyTorch or Caffe
def test_it_prints_each_row(random_googlenet, tmp_path):
    pytest.importorskip("caffe", reason="Caffe is not installed: make caffe")
    command = [
        sys.executable,
        ROOT / "benchmarks" / "bench.py",
        "--model",
        random_googlenet,
        "--width",
        "96",
    ]
    done = subprocess.run(
        [*command, "--rounds", "1", "--json", tmp_path / "it.json"], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    result = json.loads((tmp_path / "it.json").read_text())
    assert {*result["contenders"], *result["left_out"]} == set(bench.LABELS)
    assert set(result["left_out"]) <= {"TorchNet bfloat16"}
    for _, label in bench.LABELS.values():
        assert label in done.stdout
    assert "plain multiplication could not take less than" in done.stdout
    assert done.stdout.count("\n| ") == len(result["contenders"])


def test_tables_are_replaced_in_the_pages(tmp_path):
    for page in ("README.md", "docs/speed.md"):
        copy = tmp_path / "page.md"
        copy.write_text((ROOT / page).read_text())
        bench.write_between(copy, "| new |\n")
        before, after = (
            text.split(bench.BEGIN) for text in ((ROOT / page).read_text(), copy.read_text())
        )
        assert after == [before[0], "| new |\n" + bench.END + before[1].split(bench.END)[1]]
    (tmp_path / "bare.md").write_text("nothing\n")
    with pytest.raises(SystemExit, match="has no lines <!--bench-->"):
        bench.write_between(tmp_path / "bare.md", "")


def test_ratios_compare_times_of_one_round():
    assert bench.compare([1, 10, 3], [1, 5, 1]) == (2, 1, 3)


def test_the_operations_of_a_convolution(toy):
    layers = caffemodel.read_layers(toy / "deploy.prototxt")
    forward = 2 * (8 * 3 * 5 * 5) * (12 * 16)  # conv1 makes 12x16 pixels of 24x32
    assert bench.gradient_flop(layers, "conv1", 24, 32) == 2 * forward


@pytest.mark.parametrize(
    ("build", "parameters"), [(peers.neural_dream, 5_973_552), (peers.pytorch_deepdream, 5_599_904)]
)
def test_peers_have_the_layers_of_googlenet(build, parameters):
    network = build()
    assert sum(weights.numel() for weights in network.parameters()) == parameters
    tops = {
        it.layer.name: it.tops[0]
        for it in shapes.walk(caffemodel.read_layers(PROTOTXT), (224, 224))
    }
    x = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        for name, layer in network.named_children():
            x = layer(x)
            assert tuple(x.shape) == tops[name], name


def test_a_peer_computes_googlenets_gradient(random_googlenet, photo):
    """neural-dream's network with our weights. Its loss is the root of ours, so its
    gradient has the same direction.
    """
    net, peer = load_net(random_googlenet, "torch", dtype="float32"), peers.Peer("neural-dream")
    ours = [blob.data for blobs in net.params.values() for blob in blobs]
    for weights, blob in zip(peer.network.parameters(), ours):
        weights.copy_(torch.from_numpy(blob))
    for each in (net, peer):
        each.blobs["data"].reshape(1, 3, *photo.shape[:2])
        each.blobs["data"].data[0] = to_data(photo, net.mean)
    gradient(net, peers.END)
    bench.peer_gradient(peer, peers.END)
    a, b = (
        each.blobs["data"].diff[0] / np.linalg.norm(each.blobs["data"].diff[0])
        for each in (net, peer)
    )
    assert abs(a - b).max() < 1e-3 * abs(a).max()
