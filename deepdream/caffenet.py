"""CaffeNet: a caffe.Net with a mean, labels and checks, whose backward pass computes only what a dream reads.

Imports Caffe; reach it through `load_net`, which imports it late.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import caffe
from caffe.proto import caffe_pb2

from . import caffemodel, zoo
from .errors import DreamError
from .net import DreamNet


class CaffeNet(DreamNet, caffe.Net):
    """A caffe.Net, so `blobs`, `params`, `forward(end=)`, `backward(start=)` are pycaffe's own.

    `forward` and `backward` raise a DreamError where Caffe would abort the process.
    """

    engine = {"engine": "caffe"}  # noqa: RUF012, what a picture's settings say

    def __init__(self, model: zoo.Model) -> None:
        weights = self.adopt(model)
        prototxt = model.file(*zoo.PROTOTXT)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dream.prototxt"
            path.write_text(str(_dreaming(prototxt, self.layer_specs)))
            if not model.digest:  # a network that nobody has tried
                _try_out(path, prototxt)
            caffe.Net.__init__(self, str(path), caffe.TEST)
        for layer, blobs in weights.items():
            for mine, blob in zip(self.params[layer], blobs):
                mine.data[...] = blob

    @property
    def order(self) -> list[str]:
        return list(self._layer_names)

    def forward(self, blobs=None, start=None, end=None, **kwargs):
        self._check(end)
        return super().forward(blobs, start, end, **kwargs)

    def backward(self, diffs=None, start=None, end=None, **kwargs):
        """The gradient of what layer `start` wrote, and of nothing else.

        Caffe runs backward through every earlier layer, so a branch that does not lead to `start` would add whatever
        an earlier pass left in its diffs; a dream would depend on the dreams before it.
        """
        self._check(start)
        for blob in self._side_branches(start):
            self.blobs[blob].diff[...] = 0
        return super().backward(diffs, start, end, **kwargs)

    def _side_branches(self, start):
        """The blobs that are written before layer `start`, but read only after it."""
        unread = set()
        for name in self._layer_names:
            unread = (unread - set(self.bottom_names[name])) | set(self.top_names[name])
            if name == start:
                break
        return unread - set(self.top_names[name])

    def _check(self, layer):
        if layer is not None and layer not in self._layer_names:
            raise self.unknown(layer, [spec.name for spec in self.layer_specs])
        super()._check(layer)


def _dreaming(prototxt: Path, layers: list) -> caffe_pb2.NetParameter:
    """The network so arranged that Caffe computes the gradient of the picture and none of the weights'.

    `force_backward` would compute both. Instead no parameter learns, except a Bias layer in place on the picture:
    for its sake the gradient travels all the way down. Every last blob has a loss weight, for Caffe skips layers that
    lead to no loss. The result is the same to the bit, in less time.
    """
    net = caffemodel.read_prototxt(prototxt, caffe_pb2.NetParameter())
    net.force_backward = False
    shapes = caffemodel.param_shapes(layers)
    for layer in net.layer:
        del layer.param[:]
        layer.param.extend([caffe_pb2.ParamSpec(lr_mult=0)] * len(shapes.get(layer.name, [])))
    net.layer[0].input_param.shape[0].dim[0] = 1  # pictures come one at a time
    read = set()
    for layer in reversed(net.layer):
        layer.loss_weight[:] = [float(top not in read) for top in layer.top]
        read |= set(layer.bottom)
    bias = caffe_pb2.LayerParameter(name="data/bias", type="Bias", bottom=["data"], top=["data"])
    bias.bias_param.num_axes = 1
    bias.param.add(lr_mult=1)
    rest = list(net.layer)
    del net.layer[:]
    net.layer.extend([rest[0], bias, *rest[1:]])
    return net


def _try_out(path: Path, prototxt: Path) -> None:
    """Run the network in another process first: where Caffe aborts, that one dies, and we tell its last words."""
    code = "import sys, caffe; net = caffe.Net(sys.argv[1], caffe.TEST); net.forward(); net.backward()"
    env = os.environ | {"GLOG_minloglevel": "2", "GLOG_logtostderr": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=env)
    if done.returncode:
        said = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        checks = [line.split("] ", 1)[-1] for line in said if re.match(r"F\d+ ", line)]
        raise DreamError(f"Caffe refuses {prototxt}: {' '.join(checks or said[-1:])}")
