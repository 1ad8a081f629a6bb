"""The networks of two other PyTorch projects, rebuilt from their published layer
tables, with random weights.

- neural-dream (github.com/ProGamerGov/neural-dream): BVLC's GoogLeNet with LRN. Padding
is a step of its own. - pytorch-deepdream (github.com/gordicaleksa/pytorch-deepdream):
the GoogLeNet of torchvision. It has BatchNorm instead
  of biases, no LRN, 3x3 filters where the paper has 5x5, and a 2x2 window in its last
  pooling.

Each runs as its users run it: PyTorch's own autograd in its default memory format,
weights without gradients. Both projects run more layers than the loss needs; here they
stop at inception_4c/output, which is faster.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parent.parent / "tools"))
from prototxt import INCEPTION

END = "inception_4c/output"

Conv = Callable[
    ..., nn.Module
]  # (channels, filters, kernel size, stride=1) -> a convolution and what follows it
Pool = Callable[[int, int], nn.Module]  # (kernel size, stride) -> a pooling


class Inception(nn.Module):
    """Four branches over the same blob, side by side: 1x1, 3x3, 5x5, and a pooling."""

    def __init__(
        self,
        conv: Conv,
        pool: Pool,
        channels: int,
        one: int,
        three_reduce: int,
        three: int,
        five_reduce: int,
        five: int,
        proj: int,
    ) -> None:
        super().__init__()
        self.one = conv(channels, one, 1)
        self.three = nn.Sequential(conv(channels, three_reduce, 1), conv(three_reduce, three, 3))
        self.five = nn.Sequential(conv(channels, five_reduce, 1), conv(five_reduce, five, 5))
        self.pool = nn.Sequential(pool(3, 1), conv(channels, proj, 1))

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, h, w)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet(conv: Conv, pool: Pool, lrn: bool, last_pool: int) -> nn.Sequential:
    """All layers below the classifier, named as in Caffe."""
    layers: dict[str, nn.Module] = {"conv1/7x7_s2": conv(3, 64, 7, 2), "pool1/3x3_s2": pool(3, 2)}
    if lrn:
        layers["pool1/norm1"] = nn.LocalResponseNorm(5)
    layers |= {"conv2/3x3_reduce": conv(64, 64, 1), "conv2/3x3": conv(64, 192, 3)}
    if lrn:
        layers["conv2/norm2"] = nn.LocalResponseNorm(5)
    layers["pool2/3x3_s2"] = pool(3, 2)
    channels = 192
    for name, row in INCEPTION.items():
        if name == "4a":
            layers["pool3/3x3_s2"] = pool(3, 2)
        if name == "5a":
            layers["pool4/3x3_s2"] = pool(last_pool, 2)
        layers[f"inception_{name}/output"] = Inception(conv, pool, channels, *row)
        one, _, three, _, five, proj = row
        channels = one + three + five + proj
    return nn.Sequential(OrderedDict(layers))


def neural_dream() -> nn.Sequential:
    def conv(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Module:
        pad = [nn.ZeroPad2d(kernel // 2)] if kernel > 1 else []
        return nn.Sequential(*pad, nn.Conv2d(channels, filters, kernel, stride), nn.ReLU())

    def pool(kernel: int, stride: int) -> nn.Module:
        pad = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)  # left, right, top, bottom
        return nn.Sequential(nn.ConstantPad2d(pad, -torch.inf), nn.MaxPool2d(kernel, stride))

    return googlenet(conv, pool, lrn=True, last_pool=3)


def pytorch_deepdream() -> nn.Sequential:
    def conv(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Module:
        kernel = 3 if kernel == 5 else kernel
        convolution = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(filters, eps=0.001), nn.ReLU(inplace=True))

    def pool(kernel: int, stride: int) -> nn.Module:
        return nn.MaxPool2d(
            kernel, stride, padding=kernel // 2 if stride == 1 else 0, ceil_mode=True
        )

    return googlenet(conv, pool, lrn=False, last_pool=2)


def norm(x: Tensor) -> Tensor:
    return 1000 * x.pow(2).sum().sqrt()


def mean_square(x: Tensor) -> Tensor:
    return F.mse_loss(x, torch.zeros_like(x))


PEERS = {
    "neural-dream": (neural_dream, norm),
    "pytorch-deepdream": (pytorch_deepdream, mean_square),
}


class Peer:
    """A network of PEERS behind those names of pycaffe that tests/helpers/plain.py
    uses; its objective is its own loss.
    """

    def __init__(self, name: str) -> None:
        build, self.loss = PEERS[name]
        network = build()
        for weights in network.parameters():
            if weights.ndim > 1:  # of a size that blobs neither vanish nor explode with depth
                nn.init.kaiming_normal_(weights)
        layers = list(dict(network.named_children()))
        self.network = network[: layers.index(END) + 1].eval().requires_grad_(False)
        self.mean = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
        self.data = self.diff = np.zeros((1, 3, 224, 224), np.float32)
        self.blobs = {"data": self, END: self}

    def reshape(self, *shape: int) -> None:
        self.data = np.zeros(shape, np.float32)

    def forward(self, end: str) -> None:
        self.picture = torch.from_numpy(self.data).requires_grad_()
        self.value = self.loss(self.network(self.picture))

    def backward(self, start: str) -> None:
        self.value.backward()
        assert self.picture.grad is not None
        self.diff = self.picture.grad.numpy()
