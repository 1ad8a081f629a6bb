"""Networks for the tests: a toy written on the spot, SqueezeNet (always), GoogLeNet
where its weights are.
"""

import importlib.util
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

# One thread for each product of matrices: the threads of OpenMP wait by spinning, so on
# a busy machine two would make a test take twenty times as long; and sums with two
# threads may differ in their last bits from those with one.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest

from deepdream import load_net
from deepdream.cli.main import main as run_command
from deepdream.nets import caffemodel, shapes, zoo

# A shell's background job ignores Ctrl-C, and so would the processes that the tests
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

BUILD = Path(__file__).parent.parent / "tools" / "caffe" / "build.py"
TOY = """
name: "toy"
layer { name: "data" type: "Input" top: "data" \
input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 5 stride: 2 pad: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" \
pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "left" type: "Convolution" bottom: "pool1" top: "left"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "right" type: "Convolution" bottom: "pool1" top: "right"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "both" type: "Concat" bottom: "left" bottom: "right" top: "both" }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" \
inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""

V1 = """
name: "old"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 24 input_dim: 32
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" \
blobs_lr: 1 blobs_lr: 2 weight_decay: 1
         convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "norm" type: LRN bottom: "conv" top: "norm" lrn_param { local_size: 3 alpha: 0.1 } }
layers { name: "pool" type: POOLING bottom: "norm" top: "pool" \
pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "pool" top: "fc" \
inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""


def write_model(folder: Path, prototxt: str = TOY, toml: str = 'default_layer = "both"') -> Path:
    """A model folder with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deploy.prototxt").write_text(prototxt)
    (folder / "model.toml").write_text(toml)
    random = np.random.RandomState(0)
    needed = shapes.param_shapes(caffemodel.read_layers(folder / "deploy.prototxt"))
    weights = {
        layer: [np.float32(random.normal(0, 0.1, s)) for s in blobs]
        for layer, blobs in needed.items()
    }
    caffemodel.write_weights(folder / "toy.caffemodel", weights or {"unused": [np.zeros(1)]})
    return folder


@pytest.fixture
def build(monkeypatch):
    """tools/caffe/build.py as a module of its own for each test."""
    monkeypatch.syspath_prepend(BUILD.parent)
    spec = importlib.util.spec_from_file_location("build", BUILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(model, engine):
    """`load_net`, in float32 everywhere, or a skip where the engine is PyTorch and is
    not there.
    """
    if engine == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    return load_net(model, engine, dtype="float32")


def run(*args, **kwargs):
    """`deepdream` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "deepdream", *map(str, args)],
        capture_output=True,
        text=True,
        **kwargs,
    )


def main(*args):
    """`deepdream` in this process, which is much quicker; what comes back looks as from
    `run`.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a new process does with what is meant for developers
        warnings.simplefilter("always", UserWarning)
        status = run_command(list(map(str, args)))
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())


def refused(done, says):
    """One clear line, status 2, no traceback."""
    assert done.returncode == 2, done
    assert re.search(says, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and not done.stdout


def without_powers(*command):
    """The command line, such that a folder that root may not read cannot be read, as
    for anybody else.
    """
    if os.geteuid():
        return [*map(str, command)]
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and there is no setpriv to change that")
    powers = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}", *map(str, command)]


@contextmanager
def mounted(folder, options):
    """A small file system of its own, which only root may make."""
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def toy(tmp_path):
    return write_model(tmp_path / "toy")


@pytest.fixture(scope="session")
def squeezenet():
    return load_net("squeezenet_v1.1")


@pytest.fixture(scope="session")
def googlenet():
    if not zoo.find("bvlc_googlenet").file(".caffemodel"):
        pytest.skip(
            "GoogLeNet's weights are not here; `deepdream models get`, or set DEEPDREAM_MODELS"
        )
    return load_net("bvlc_googlenet")


@pytest.fixture(params=["squeezenet", "googlenet"])
def net(request):
    """Each real network in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def photo():
    """A piece of the mountain photograph, (96, 144, 3)."""
    from deepdream import load_image

    return load_image(Path(__file__).parent.parent / "images" / "mountains.jpg", 240)[
        20:116, 40:184
    ]


@pytest.fixture(scope="session")
def chromium():
    """The path of Debian's Chromium, which is installed where that can be."""
    if not shutil.which("chromium") and not os.geteuid() and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True
        )
    path = shutil.which("chromium")
    if not path:
        assert "CI" not in os.environ, "CI has to test the page"
        pytest.skip("there is no Chromium; sudo apt-get install chromium")
    return path


@pytest.fixture(scope="module")  # no longer, for Playwright keeps an event loop running
def browser(chromium):
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is missing: pip install playwright"
    )
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    """The address of a studio's page on which one visitor dreams at a time, for as long
    as they like.
    """
    from browsing import (
        NO_LIMIT,
        serving,
    )  # late: it skips whoever imports it where there is no Playwright

    with serving("--at-once", 1, *NO_LIMIT) as (address, _):
        yield address


@pytest.fixture
def visit(browser, address):
    """A function that opens the page as a visitor of their own."""
    from browsing import visitors

    with visitors(browser, address) as visit:
        yield visit
