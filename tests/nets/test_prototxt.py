"""Networks as people publish them: what is read, rewritten, cut away and skipped,
compared with stock Caffe.
"""

import caffe
import numpy as np
import pytest
from conftest import TOY, load, run_command, write_model

from deepdream import DreamError, dream, gradient, load_net
from deepdream.nets import caffemodel, prototxt, rewriting, shapes

ENGINES = "caffe", "torch"


def layer(name, kind, bottoms, text="", tops=None):
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split())
    ends += "".join(f'top: "{t}" ' for t in (name if tops is None else tops).split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends} {text} }}\n'


def data(channels=3, height=24, width=32, name="data"):
    dims = f"dim: 1 dim: {channels} dim: {height} dim: {width}"
    return layer(name, "Input", "", f"input_param {{ shape {{ {dims} }} }}")


def conv(name, bottom, outputs=4, text="kernel_size: 3 pad: 1"):
    return layer(name, "Convolution", bottom, f"convolution_param {{ num_output: {outputs} {text} }}")


def fill(net, size=None, seed=0):
    if size:
        net.blobs["data"].reshape(1, 3, *size)
    shape = net.blobs["data"].shape
    net.blobs["data"].data[...] = np.random.RandomState(seed).normal(0, 60, tuple(shape))
    return net


def climb(net, end, size=None):
    return np.array(gradient(fill(net, size), end)).copy()


def stock(folder, text, start, end):
    """The gradient of stock pycaffe with `force_backward`, (1, c, h, w)."""
    (folder / "stock.txt").write_text("force_backward: true\n" + text)
    net = caffe.Net(str(folder / "stock.txt"), caffe.TEST, weights=str(folder / "toy.caffemodel"))
    fill(net)
    net.forward(end=end)
    net.blobs[end].diff[...] = net.blobs[end].data
    net.backward(start=end)
    return net.blobs[start].diff.copy()


def names(text, tmp_path):
    (tmp_path / "net.prototxt").write_text(text)
    return [it.name for it in prototxt.read_layers(tmp_path / "net.prototxt")]
