"""What to climb. An objective fills `dst.diff` with the gradient of a number that should rise, given `dst.data`."""

import numpy as np

from .errors import DreamError
from .net import preprocess


def objective_L2(dst) -> None:
    """Whatever the layer sees, more of it: half the sum of squares, whose gradient is the activations themselves."""
    dst.diff[:] = dst.data


def objective_guide(dst, guide_features: np.ndarray) -> None:
    """At each place, more of what best matches there among the guide's features (channels, h, w).

    Use it as `functools.partial(objective_guide, guide_features=guide_features(net, image, end))`.
    """
    x = dst.data[0].copy()
    y = guide_features
    ch = x.shape[0]
    if len(y) != ch:
        raise DreamError(
            f"the guide has {len(y)} channels, the layer {ch}; take `guide_features` at the layer to climb"
        )
    x = x.reshape(ch, -1)
    y = y.reshape(ch, -1)
    A = x.T.dot(y)  # (places here, places in the guide): the dot-products of their features
    dst.diff[0].reshape(ch, -1)[:] = y[:, A.argmax(1)]  # at each place the guide's best match


def guide_features(net, image: np.ndarray, end: str) -> np.ndarray:
    """What layer `end` makes of a guide image (H, W, 3): (channels, h, w) float32."""
    h, w = image.shape[:2]
    net.check(end, h, w)
    src, dst = net.blobs["data"], net.blobs[end]
    src.reshape(1, 3, h, w)
    src.data[0] = preprocess(net, image)
    net.forward(end=end)
    return dst.data[0].copy()
