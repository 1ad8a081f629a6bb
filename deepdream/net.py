"""The one door to a network, and the way between pictures and its `data` blob."""

import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .errors import DreamError, unknown

ENGINES = {
    "caffe": "`make caffe` builds and installs it",
    "torch": "`pip install torch` installs it",
}


class DreamNet:
    """What every engine's network has beside pycaffe's `blobs`, `params`, `forward` and `backward`.

    model: the zoo's Model; layer_specs: its layers; mean: (3, 1, 1) float32, BGR; default_layer; climbable: layer
    names; own_size: (h, w), that of its prototxt; labels: class names; engine: what a picture's settings say of it. For
    the ascent, in the engine's own arrays, which `xp` (numpy or torch) calculates with: image and image_diff,
    (3, h, w), the picture and its gradient; limits, what pixels stay between.
    """

    xp = np
    shift = 0, 0  # by how much make_step has rolled the picture, in pixels down and right, at this very moment

    def adopt(self, model):
        """Take over what the model says, and return its weights."""
        from . import caffemodel, zoo

        self.layer_specs, weights = zoo.load(model)
        self.model, self.default_layer = model, model.default_layer
        self.mean = np.float32(model.mean).reshape(3, 1, 1)
        self.climbable = caffemodel.climbable(self.layer_specs)
        self.own_size = next(caffemodel.walk(self.layer_specs))[2][0][2:]
        self.limits = -self.mean, 255 - self.mean
        self._checked, self._held = None, 0
        return weights

    @property
    def image(self) -> np.ndarray:
        return self.blobs["data"].data[0]

    @property
    def image_diff(self) -> np.ndarray:
        return self.blobs["data"].diff[0]

    def array(self, a: np.ndarray):
        """A NumPy array as one of the engine's own."""
        return a

    def expect(self, tiles: bool) -> None:
        """Hear whether pictures will come in tiles or whole, and arrange memory for it."""

    def blurred(self, a, sigma: float):
        """A Gaussian over the last two axes; sigma in pixels."""
        from scipy import ndimage as nd

        return nd.gaussian_filter(a, sigma, axes=(-2, -1))

    @cached_property
    def labels(self) -> list[str]:
        from . import zoo

        return zoo.labels(self.model)

    @property
    def order(self) -> list[str]:
        """The layers as they run, those of the engine's own making among them."""
        return [spec.name for spec in self.layer_specs]

    def channels(self, layer: str) -> int:
        """How many channels the blob of a layer has."""
        from . import caffemodel

        return caffemodel.top_shape(self.layer_specs, layer, *self.own_size)[1]

    def stops(self, layers: Collection[str]) -> Iterator[tuple]:
        """One forward pass that stops at each of the layers, in network order: yields (layer, its blob).

        At a stop the blob is as that layer left it; a later one may change it in place, as a ReLU does.
        """
        order, start = self.order, None
        for layer in layers:
            if layer not in order:
                raise self.unknown(layer, self.climbable)
        for i in sorted(map(order.index, layers)):
            self.forward(start=start, end=order[i])
            yield order[i], self.blobs[order[i]]
            start = order[min(i + 1, len(order) - 1)]

    def check(self, end: str, height: int, width: int) -> None:
        """Raise a DreamError unless layer `end` can be climbed from a picture of this size."""
        from . import caffemodel

        if end not in self.climbable:
            raise self.unknown(end, self.climbable)
        caffemodel.check(self.layer_specs, end, height, width)
        need, free = caffemodel.memory(self.layer_specs, end, height, width), self.free_memory()
        if need > free:
            size = f"a picture of {width}x{height} needs about {need / 1e9:.1f} GB of memory for layer {end!r}"
            cure = f"make it at most {int(width * (free / need) ** 0.5)} pixels wide"
            raise DreamError(f"{size}, and {free / 1e9:.1f} GB are free; {cure}")

    def free_memory(self) -> float:
        """How many bytes a pass may take: what is free, and what this network's blobs hold already."""
        return free_memory() + self._held

    def unknown(self, layer: str, allowed: Iterable[str]) -> DreamError:
        """The DreamError for a layer that is none of those allowed."""
        return unknown("layer", layer, allowed, f"`deepdream layers --model {self.model.name}` lists all of them")

    def _check(self, layer):
        """As `check`, for any layer that runs, climbable or not, and the picture's size now; None is the last layer."""
        from . import caffemodel

        key = (layer, *self.blobs["data"].shape)
        if key != self._checked:  # it takes some milliseconds, and a dream asks for the same again and again
            if len(key) != 5 or key[2] != 3:
                raise DreamError(f"'data' has the shape {key[1:]}; it must be (n, 3, height, width)")
            names = [spec.name for spec in self.layer_specs]
            end = layer if layer in names else names[-1]
            caffemodel.check(self.layer_specs, end, *key[3:])
            self._checked = key
            self._held = max(self._held, caffemodel.memory(self.layer_specs, end, *key[3:]))


def load_net(model: str | Path | None = None, engine: str | None = None, device: str | None = None,
             dtype: str | None = None):  # fmt: skip
    """A network ready to dream.

    model: a name from models/ ('bvlc_googlenet', 'squeezenet_v1.1'), or a folder with one .prototxt, one .caffemodel
        and perhaps a model.toml. None takes GoogLeNet where its weights are present or can be downloaded, else
        SqueezeNet, with a warning that says how to get GoogLeNet.
    engine: 'caffe' or 'torch'; None means DEEPDREAM_ENGINE, else Caffe where it is installed, else PyTorch.
    device, dtype: for torch, 'cpu', 'cuda', 'mps'; 'float32' or 'bfloat16' (faster, a little less exact).

    Raises DreamError where the model, its files, the engine or the device are missing or damaged.
    """
    from . import zoo

    asked = engine or os.environ.get("DEEPDREAM_ENGINE")
    if asked and asked not in ENGINES:
        raise unknown("engine", asked, ENGINES, "DEEPDREAM_ENGINE or the argument says which")
    reasons = []
    for engine in [asked] if asked else filter(find_spec, ENGINES):
        try:
            if engine == "torch":
                from .torchnet import TorchNet as Net
            else:
                from .caffenet import CaffeNet as Net
            break
        except ImportError as error:
            reasons.append(f"the engine {engine!r} cannot be imported ({error}); {ENGINES[engine]}")
    else:
        neither = f"neither Caffe ({ENGINES['caffe']}) nor PyTorch ({ENGINES['torch']}) is here; one is needed"
        raise DreamError("; ".join(reasons) or neither)
    if reasons:
        warnings.warn(f"dreaming with {engine}, for {reasons[0]}", stacklevel=2)
    if engine == "caffe" and (device not in (None, "cpu") or dtype not in (None, "float32")):
        raise DreamError(f"Caffe runs on the CPU in float32, not on {device or 'cpu'} in {dtype or 'float32'}; "
                         f"take engine 'torch'")  # fmt: skip
    found = zoo.find(zoo.default() if model is None else model)
    return Net(found, device, dtype) if engine == "torch" else Net(found)


def free_memory() -> int:
    """How many bytes this process can still take."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

        limit = getrlimit(RLIMIT_AS)[0]
        return free if limit == RLIM_INFINITY else max(0, min(free, limit - psutil.Process().memory_info().vms))
    except ImportError:  # Windows
        return free


def check_image(img: np.ndarray) -> None:
    """Raise a DreamError for what is not an image (H, W, 3) of finite numbers: from NaN, Caffe would write anywhere."""
    if np.ndim(img) != 3 or np.shape(img)[2] != 3 or 0 in np.shape(img):
        raise DreamError(f"an image is an array (height, width, 3), RGB; this one is {np.shape(img)}; see `load_image`")
    if not np.isfinite(img).all():
        raise DreamError("some of the image's values are not numbers, or not finite")


def preprocess(net, img: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB, 0..255 -> (3, H, W) float32 BGR minus the network's mean."""
    check_image(img)
    return np.float32(np.rollaxis(np.asarray(img), 2)[::-1]) - net.mean


def deprocess(net, img: np.ndarray) -> np.ndarray:
    """(3, H, W) BGR minus the mean -> (H, W, 3) float32 RGB; not clipped."""
    return np.dstack((img + net.mean)[::-1])
