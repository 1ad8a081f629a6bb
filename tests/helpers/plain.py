"""The oracle: 2015's algorithms written out, on a network as pycaffe loads it by
itself; a camera of known motion.
"""

import tempfile
from itertools import pairwise
from pathlib import Path

import caffe
import cv2
import numpy as np
import scipy.ndimage as nd
from PIL import Image

from deepdream import load_image


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


def plain_dream(
    net,
    mean,
    img,
    end,
    objective=objective_L2,
    clip=True,
    iter_n=10,
    octave_n=4,
    octave_scale=1.4,
    jitter=32,
    step_size=1.5,
):
    bases = [np.float32(np.rollaxis(img, 2)[::-1]) - mean]
    for _ in range(octave_n - 1):
        bases.append(nd.zoom(bases[-1], (1, 1.0 / octave_scale, 1.0 / octave_scale), order=1))
    src, detail = net.blobs["data"], np.zeros_like(bases[-1])
    for octave, base in enumerate(bases[::-1]):
        h, w = base.shape[-2:]
        if octave > 0:
            detail = nd.zoom(
                detail, (1, 1.0 * h / detail.shape[1], 1.0 * w / detail.shape[2]), order=1
            )
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


KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def reach(n):
    """How far TensorFlow's 'SAME' puts the kernel's first tap before the first of n
    places.
    """
    return 1 if n % 2 == 0 else 2


def plain_halve(a):
    """Every second place of the blurred picture, (h, w); beyond its edges is 0."""
    top, left = map(reach, a.shape)
    padded = np.pad(a, ((top, 4), (left, 4)))
    half = np.zeros([(n + 1) // 2 for n in a.shape])
    for y, x in np.ndindex(*half.shape):
        half[y, x] = (KERNEL * padded[2 * y : 2 * y + 5, 2 * x : 2 * x + 5]).sum()
    return half


def plain_double(half, h, w):
    """The transposed convolution with 4 times the kernel: (h, w)"""
    padded = np.zeros((h + 8, w + 8))
    for y, x in np.ndindex(*half.shape):
        padded[2 * y : 2 * y + 5, 2 * x : 2 * x + 5] += 4 * KERNEL * half[y, x]
    return padded[reach(h) : reach(h) + h, reach(w) : reach(w) + w]


def plain_lapnorm(g, splits=4):
    """The gradient (channels, h, w) as in Mordvintsev's second notebook, TensorFlow's,
    of 2016.
    """
    levels, low = [], np.float64(g)
    for _ in range(splits):
        half = np.stack([plain_halve(channel) for channel in low])
        levels.insert(
            0, low - np.stack([plain_double(channel, *low.shape[1:]) for channel in half])
        )
        low = half
    levels.insert(0, low)
    levels = [level / max(np.sqrt((level**2).mean()), 1e-10) for level in levels]
    image = levels[0]
    for level in levels[1:]:
        image = np.stack([plain_double(channel, *level.shape[1:]) for channel in image]) + level
    return image


def plain_draw(net, mean, i, layer="loss3/classifier", seed=0):
    """A class from noise by the recipe of auduno/deepdraw for GoogLeNet, of 2015."""
    rng, low, high = np.random.RandomState(seed), -mean, 255 - mean

    def one_hot(dst):
        dst.diff[:] = 0
        dst.diff[0, i] = 1

    x = np.float32(rng.normal(200, 8, (3, 224, 224))) - mean
    for steps, enlarge, sigmas, sizes in (
        (190, 1, (2.5, 0.78), (11, 11)),
        (450, 1.2, (0.936, 0.4), (6, 3)),
    ):
        x = nd.zoom(x, (1, enlarge, enlarge), order=1)
        for step in range(steps):
            oy, ox = rng.randint(0, x.shape[1] - 224 + 1, 2)
            window = x[:, oy : oy + 224, ox : ox + 224]
            net.blobs["data"].reshape(1, 3, 224, 224)
            net.blobs["data"].data[0] = window
            g = plain_gradient(net, layer, one_hot)
            sigma, size = (a + (b - a) * step / steps for a, b in (sigmas, sizes))
            window += size / np.abs(g).mean() * g
            x = nd.gaussian_filter(np.clip(x, low, high), (0, sigma, sigma))
    return np.dstack((x + mean)[::-1])


def opinion(net, picture, i):
    """(probability of class i in this picture, its rank from 1)"""
    height, width = net.own_size
    picture = np.uint8(np.clip(picture, 0, 255))
    image = np.float32(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    net.blobs["data"].reshape(1, 3, height, width)
    net.blobs["data"].data[0] = np.rollaxis(image, 2)[::-1] - net.mean
    net.forward()
    p = net.blobs["prob"].data.ravel()
    return float(p[i]), int((p > p[i]).sum()) + 1


def plain_zoom(net, mean, frame, end, frames, s=0.05, **params):
    """The notebook's loop that feeds the dream back."""
    h, w = frame.shape[:2]
    for _ in range(frames):
        frame = plain_dream(net, mean, frame, end, **params)
        yield frame
        frame = nd.affine_transform(frame, [1 - s, 1 - s, 1], [h * s / 2, w * s / 2, 0], order=1)


class Camera:
    """Looks at a photograph through a window that moves: shot i is `window(i)`, (left,
    top, pixels to a pixel).
    """

    def __init__(self, name, window, size=(120, 200)):
        photo = load_image(Path(__file__).parents[2] / "images" / name, 640)
        self.photo = cv2.GaussianBlur(
            photo, (0, 0), 1.2
        )  # or what is finer than a pixel would flicker by itself
        self.window, (self.height, self.width) = window, size

    def shot(self, i):
        left, top, scale = self.window(i)
        at = np.float32([[scale, 0, left], [0, scale, top]])
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.photo, at, (self.width, self.height), flags=how).clip(0, 255)

    def moved(self, image, i):
        """(shot i from where shot i + 1 is taken, where that is in the picture)"""
        (left, top, scale), (left2, top2, scale2) = self.window(i), self.window(i + 1)
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        x, y = (left2 + scale2 * x - left) / scale, (top2 + scale2 * y - top) / scale
        inside = (x >= 0) & (x <= self.width - 1) & (y >= 0) & (y <= self.height - 1)
        return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), inside

    def flicker(self, frames, first=0):
        """How much of a frame's dream is another in the next frame: mean |difference|
        along the true motion.
        """
        changes = []
        for i, (here, there) in enumerate(pairwise(frames), first):
            moved, inside = self.moved(here, i)
            changes.append(abs(moved - there)[inside].mean())
        return np.mean(changes)
