"""Which engine is chosen, what is said where one is missing, and how to add one."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_model

import deepdream as dd
from deepdream.nets import download, engines
from deepdream.nets.base import Net

ONE_LAYER = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "half" type: "Power" bottom: "data" top: "half" power_param { scale: 0.5 } }
"""


class Blob:
    def __init__(self, *shape):
        self.reshape(*shape)

    def reshape(self, *shape):
        self.shape = shape
        self.data, self.diff = np.zeros(shape, np.float32), np.zeros(shape, np.float32)


class MadeupNet(Net):
    """An engine for ONE_LAYER alone, with no more than `Net` says it has to give."""

    def __init__(self, model, device=None, dtype=None):
        self.adopt(model, download.load(model)[0])
        self.engine = {"engine": "madeup"}
        self.blobs = {"data": Blob(1, 3, 24, 32), "half": Blob(1, 3, 24, 32)}

    def forward(self, *, start=None, end=None):
        self._check(end)
        data, half = self.blobs["data"], self.blobs["half"]
        if half.shape != data.shape:
            half.reshape(*data.shape)
        if end != "data":
            half.data[...] = data.data / 2

    def backward(self, *, start=None, end=None):
        self._check(start)
        self.blobs["data"].diff[...] = self.blobs["half"].diff / 2


def test_an_engine_that_gives_what_net_asks_for_dreams_as_caffe_does(tmp_path, monkeypatch, photo):
    monkeypatch.setitem(engines.ENGINES, "madeup", "nothing")
    monkeypatch.setitem(sys.modules, "deepdream.nets.madeup", SimpleNamespace(MadeupNet=MadeupNet))
    folder = write_model(tmp_path / "one", ONE_LAYER, "")
    ours, caffes = (dd.load_net(folder, engine) for engine in ("madeup", "caffe"))
    assert type(ours) is MadeupNet
    kwargs = {"end": "half", "seed": 0, "iter_n": 3, "octave_n": 2}
    for more in ({}, {"tile": 48}, {"objective": dd.guide("half", photo)}):
        dreams = [dd.deepdream(net, photo, **kwargs, **more) for net in (ours, caffes)]
        assert np.array_equal(*dreams), more


def test_torch_is_used_when_caffe_is_broken(tmp_path, toy):
    (tmp_path / "caffe.py").write_text("raise ImportError('libglog.so.1 is not there')")
    code = f"import deepdream as dd; print(type(dd.load_net({str(toy)!r})).__name__)"
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "TorchNet\n" and "libglog.so.1 is not there" in done.stderr


def test_torch_is_imported_only_when_asked():
    code = "import sys, deepdream as dd; dd.load_net('squeezenet_v1.1', 'caffe'); "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_which_engine_is_chosen(toy, monkeypatch):
    assert type(dd.load_net(toy)).__name__ == "CaffeNet"
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    assert type(dd.load_net(toy)).__name__ == "TorchNet"
    assert type(dd.load_net(toy, "caffe")).__name__ == "CaffeNet"
    monkeypatch.delenv("DEEPDREAM_ENGINE")
    monkeypatch.setattr("deepdream.nets.engines.find_spec", lambda name: name == "torch")
    assert type(dd.load_net(toy)).__name__ == "TorchNet"
    monkeypatch.setattr("deepdream.nets.engines.find_spec", lambda name: None)
    with pytest.raises(
        dd.DreamError, match=r"neither caffe .*make caffe.* nor torch .*pip install torch"
    ):
        dd.load_net(toy)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"engine": "tensorflow"}, "unknown engine 'tensorflow'; allowed: caffe, torch"),
        ({"engine": "torhc"}, "unknown engine 'torhc'; did you mean 'torch'"),
        (
            {"engine": "torch", "device": "tpu"},
            "device 'tpu' is not available; this machine's PyTorch has cpu",
        ),
        ({"engine": "torch", "device": "cpu:x"}, "device 'cpu:x' is not available"),
        (
            {"engine": "torch", "dtype": "float16"},
            "dtype is 'float16', which device 'c.*' does not know; choose float32",
        ),
        ({"engine": "caffe", "device": "cuda"}, "Caffe runs on the CPU in float32, not on cuda"),
        (
            {"engine": "caffe", "dtype": "bfloat16"},
            "Caffe runs on the CPU in float32, not on cpu in bfloat16",
        ),
    ],
)
def test_engines_devices_and_types_that_are_not_available_are_refused(toy, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.load_net(toy, **wrong)


def test_an_engine_that_cannot_be_imported_is_an_error(tmp_path, toy):
    (tmp_path / "torch.py").write_text("raise ImportError('no such thing')")
    code = f"import deepdream as dd\ntry: dd.load_net({str(toy)!r}, 'torch')\n"
    code += "except dd.DreamError as e: print(e)"
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    says = "'torch' cannot be imported (no such thing); `pip install torch` installs it"
    assert says in done.stdout


def test_auto_is_caffes_processor_too(toy):
    assert type(dd.load_net(toy, "caffe", "auto", "auto")).__name__ == "CaffeNet"
