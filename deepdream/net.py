"""The one door to a network, and the way between pictures and its `data` blob."""

import warnings
from pathlib import Path

import numpy as np

from .errors import DreamError


def load_net(model: str | Path | None = None):
    """A network ready to dream.

    model: a name from models/ ('bvlc_googlenet', 'squeezenet_v1.1'), or a folder with one .prototxt, one .caffemodel
        and perhaps a model.toml. None takes GoogLeNet where its weights are present or can be downloaded, else
        SqueezeNet, with a warning that says how to get GoogLeNet.

    Raises DreamError where the model, its files or Caffe are missing or damaged.
    """
    from . import zoo

    if model is None:
        model = zoo.DEFAULT
        try:
            zoo.get(zoo.find(model))
        except zoo.NotToBeHad as error:
            model = zoo.FALLBACK
            warnings.warn(f"dreaming with {model}, for {error}", stacklevel=2)
    found = zoo.find(model)
    try:
        from .caffenet import CaffeNet
    except ImportError as error:
        raise DreamError(f"Caffe cannot be imported ({error}); `make caffe` builds and installs it") from None
    return CaffeNet(found)


def free_memory() -> int:
    """How many bytes this process can still take."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

        limit = getrlimit(RLIMIT_AS)[0]
        return free if limit == RLIM_INFINITY else min(free, limit - psutil.Process().memory_info().vms)
    except ImportError:  # Windows
        return free


def preprocess(net, img: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB, 0..255 -> (3, H, W) float32 BGR minus the network's mean."""
    if np.ndim(img) != 3 or np.shape(img)[2] != 3 or 0 in np.shape(img):
        raise DreamError(f"an image is an array (height, width, 3), RGB; this one is {np.shape(img)}; see `load_image`")
    return np.float32(np.rollaxis(np.asarray(img), 2)[::-1]) - net.mean


def deprocess(net, img: np.ndarray) -> np.ndarray:
    """(3, H, W) BGR minus the mean -> (H, W, 3) float32 RGB; not clipped."""
    return np.dstack((img + net.mean)[::-1])
