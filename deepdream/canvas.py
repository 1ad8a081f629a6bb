"""What a dream is painted on: the picture as it grows, from octave to octave."""

import math

import numpy as np

from .nets.base import EngineArray, Net, deprocess, preprocess, to_data
from .pictures import resize


def make_bases(
    net: Net, base_img: np.ndarray, octave_n: int, octave_scale: float
) -> list[EngineArray]:
    """The photograph at each octave, smallest first, in the engine's own arrays."""
    bases = [net.array(preprocess(net, base_img))]
    for _ in range(octave_n - 1):
        bases.append(net.zoom(bases[-1], 1.0 / octave_scale, 1.0 / octave_scale))
    return bases[::-1]


class Canvas:
    """The picture as it grows in net.blobs['data'], one octave after another.

    bases: of the octaves to come, but the last: it is made when its turn
    comes, to save memory. base: what is under the detail now, (3, h, w);
    None at the last octave. light: the mask, (h, w). size: values in the
    picture now; work: in all octaves.
    """

    def __init__(
        self, net: Net, base_img: np.ndarray, octave_n: int, octave_scale: float,
        mask: np.ndarray | None, clip: bool,
    ) -> None:  # fmt: skip
        self.net, self.base_img, self.mask, self.clip = net, base_img, mask, clip
        self.bases = make_bases(net, base_img, octave_n, octave_scale)[:-1]
        self.work = np.size(base_img) + sum(math.prod(base.shape) for base in self.bases)
        self.base = self.light = None
        self.size = 0
        self.advance()

    def advance(self) -> None:
        """Go to the next octave: enlarge the detail, and lay it over the photograph."""
        net, src, is_last = self.net, self.net.blobs["data"], not self.bases
        h, w = np.shape(self.base_img)[:2] if is_last else self.bases[0].shape[-2:]
        if self.size == 0:  # the first octave
            detail = net.array(np.zeros((3, h, w), np.float32))
        else:
            detail = net.image - self.base
            self.base = None
            src.reshape(1, 3, 1, 1)  # frees the old picture, except in Caffe's own blobs
            detail = self._enlarge(detail, h, w)
        if self.mask is not None:
            self.light = net.array(resize(self.mask, h, w))
            detail *= self.light > 0
        self.base = None if is_last else self.bases.pop(0)
        detail += self._photograph() if is_last else self.base
        src.reshape(1, 3, h, w)
        net.image[:] = detail
        self.size = 3 * h * w

    def _enlarge(self, detail: EngineArray, h: int, w: int) -> EngineArray:
        """(3, h', w') -> (3, h, w)"""
        h1, w1 = detail.shape[-2:]
        return self.net.zoom(detail, 1.0 * h / h1, 1.0 * w / w1)

    def _photograph(self) -> EngineArray:
        """What is under the detail at the last octave, (3, H, W)."""
        return self.net.array(to_data(self.base_img, self.net.mean))

    def show(self) -> np.ndarray:
        """The picture at this octave's size, (h, w, 3), for a person to look at."""
        return fit_brightness(deprocess(self.net, self.net.blobs["data"].data[0]), self.clip)

    def picture(self) -> np.ndarray:
        """The picture so far, (H, W, 3)."""
        net = self.net
        if self.base is None:
            return deprocess(net, net.to_numpy(net.image))
        h, w = np.shape(self.base_img)[:2]
        whole = self._enlarge(net.image - self.base, h, w)
        if self.mask is not None:
            whole *= net.array(resize(self.mask, h, w)) > 0
        whole += self._photograph()
        return deprocess(net, net.to_numpy(whole))


def fit_brightness(image: np.ndarray, clip: bool) -> np.ndarray:
    """An unclipped dream (H, W, 3), nearly all of it scaled into 0..255."""
    if clip:
        return image
    brightest = np.percentile(image, 99.98)
    return image * (255.0 / brightest) if brightest > 0 else image
