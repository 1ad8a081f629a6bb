"""The oracle: 2015's algorithm written out, on a network as pycaffe loads it by itself."""

import tempfile
from pathlib import Path

import caffe
import numpy as np
import scipy.ndimage as nd


def stock_net(net):
    """The network of a CaffeNet or TorchNet again, `force_backward` on, as in 2015."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stock.prototxt"
        path.write_text("force_backward: true\n" + net.model.file(".prototxt").read_text())
        return caffe.Net(str(path), caffe.TEST, weights=str(net.model.file(".caffemodel")))


def objective_L2(dst):
    dst.diff[:] = dst.data


def plain_gradient(net, end, objective=objective_L2):
    net.forward(end=end)
    objective(net.blobs[end])
    net.backward(start=end)
    return net.blobs["data"].diff[0]


def plain_dream(net, mean, img, end, objective=objective_L2, clip=True, iter_n=10, octave_n=4, octave_scale=1.4,
                jitter=32, step_size=1.5):  # fmt: skip
    bases = [np.float32(np.rollaxis(img, 2)[::-1]) - mean]
    for _ in range(octave_n - 1):
        bases.append(nd.zoom(bases[-1], (1, 1.0 / octave_scale, 1.0 / octave_scale), order=1))
    src, detail = net.blobs["data"], np.zeros_like(bases[-1])
    for octave, base in enumerate(bases[::-1]):
        h, w = base.shape[-2:]
        if octave > 0:
            detail = nd.zoom(detail, (1, 1.0 * h / detail.shape[1], 1.0 * w / detail.shape[2]), order=1)
        src.reshape(1, 3, h, w)
        src.data[0] = base + detail
        for _ in range(iter_n):
            ox, oy = np.random.randint(-jitter, jitter + 1, 2)
            src.data[0] = np.roll(np.roll(src.data[0], ox, -1), oy, -2)
            g = plain_gradient(net, end, objective)
            src.data[:] += step_size / np.abs(g).mean() * g
            src.data[0] = np.roll(np.roll(src.data[0], -ox, -1), -oy, -2)
            if clip:
                src.data[:] = np.clip(src.data, -mean, 255 - mean)
        detail = src.data[0] - base
    return np.dstack((src.data[0] + mean)[::-1])
