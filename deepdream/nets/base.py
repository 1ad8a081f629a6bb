"""What a dream needs of a network, whatever the engine, and the way between pictures
and its `data` blob.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..errors import DreamError, unknown
from . import shapes

if TYPE_CHECKING:
    from .zoo import Model

EngineArray = Any  # NumPy's array or torch's tensor, whichever the engine calculates with


class Values(Protocol):
    """What an objective sees of a layer: its whole blob, or a part of it; arrays of (1,
    channels, h, w).
    """

    @property
    def data(self) -> EngineArray: ...

    @property
    def diff(self) -> EngineArray: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class Place(NamedTuple):
    """Where a part of a layer's blob lies: its upper left, and the whole blob's size."""

    top: int
    left: int
    height: int
    width: int


class Fill(Protocol):
    """Fills `dst.diff` with the gradient of what should rise. place: of `dst`, if it is
    a tile's part of the layer.

    any_array: whether it works with torch's arrays as it does with NumPy's, and depends
    on `data` alone; the engine may then pass it tensors, and record what it does. Such
    fills are equal if they do the same.
    """

    @property
    def any_array(self) -> bool: ...

    def __call__(self, dst: Any, place: Place | None = None) -> object: ...


class Net(Protocol):
    """What the loop needs of a network: pycaffe's blobs and passes, and the methods of
    DreamNet.

    model: the zoo's Model. layer_specs: its layers. climbable: the layers that a dream
    can climb. default_layer: the one to climb where none is named. own_size: (h, w),
    that of its prototxt. mean: (3, 1, 1) float32, BGR. labels: class names. engine:
    what a picture's settings record of it. inner: this network itself; for Tiles, the
    one inside.

    For the ascent, in the engine's own arrays, which `xp` (numpy or torch) calculates
    with: image and image_diff, (3, h, w), the picture and its gradient; limits, the
    lowest and highest values of pixels, (3, 1, 1) each.
    """

    model: "Model"
    layer_specs: list[shapes.Layer]
    climbable: list[str]
    default_layer: str | None
    own_size: tuple[int, int]
    mean: np.ndarray
    engine: dict[str, str]
    xp: Any
    limits: tuple[EngineArray, EngineArray]

    @property
    def blobs(self) -> Mapping[str, Any]: ...  # pycaffe's, which have no types

    @property
    def image(self) -> EngineArray: ...

    @property
    def image_diff(self) -> EngineArray: ...

    @property
    def labels(self) -> list[str]: ...

    @property
    def inner(self) -> "Net": ...

    def forward(self, *, start: str | None = None, end: str | None = None) -> object: ...

    def backward(self, *, start: str | None = None, end: str | None = None) -> object: ...

    def climb(self, fills: Mapping[str, Fill]) -> EngineArray: ...

    def stops(self, layers: Collection[str]) -> Iterator[tuple[str, Any]]: ...

    def array(self, a: np.ndarray) -> EngineArray: ...

    def to_numpy(self, a: EngineArray) -> np.ndarray: ...

    def zoom(self, a: EngineArray, down: float, across: float) -> EngineArray: ...

    def rotate(self, a: EngineArray, degrees: float, mirror: bool = True) -> EngineArray: ...

    def blur(self, a: EngineArray, sigma: float) -> EngineArray: ...

    def features(self, layer: str) -> np.ndarray: ...

    def channels(self, layer: str) -> int: ...

    def check_layer(self, layer: str) -> None: ...

    def check(self, end: str, height: int, width: int) -> None: ...

    def free_memory(self) -> float: ...

    def keep_large_blocks(self, keep: bool) -> None: ...

    def unknown(self, layer: str, allowed: Iterable[str]) -> DreamError: ...


class DreamNet:
    """What every engine's network has beside pycaffe's `blobs`, `params`, `forward` and
    `backward`; see `Net`.

    It cannot inherit from `Net`, because caffe.Net, its sister in CaffeNet, has a
    metaclass of its own.
    """

    model: "Model"
    layer_specs: list[shapes.Layer]
    climbable: list[str]
    default_layer: str | None
    own_size: tuple[int, int]
    mean: np.ndarray
    engine: dict[str, str]
    limits: tuple[EngineArray, EngineArray]
    blobs: Mapping[str, Any]
    forward: Callable[..., object]
    backward: Callable[..., object]
    xp: Any = np

    def adopt(self, model: "Model", layers: list[shapes.Layer]) -> None:
        """Set all that follows from the model and its layers."""
        self.model, self.layer_specs = model, layers
        self.default_layer = model.default_layer
        self.mean = np.array(model.mean, np.float32).reshape(3, 1, 1)
        self.limits = -self.mean, 255 - self.mean
        self.climbable = shapes.climbable(layers)
        self.own_size = shapes.own_size(layers)
        self._labels: list[str] | None = None
        self._checked: tuple[str | None, tuple[int, ...]] | None = (
            None  # layer and size of the last `_check`
        )
        self._held: float = 0  # bytes of memory that the blobs may hold already

    @property
    def inner(self) -> Net:
        return self

    @property
    def image(self) -> EngineArray:
        return self.blobs["data"].data[0]

    @property
    def image_diff(self) -> EngineArray:
        return self.diff("data")[0]

    def diff(self, layer: str) -> EngineArray:
        """The diff of a layer's blob, in the engine's own array."""
        return self.blobs[layer].diff

    def apply(self, fill: Fill, blob: Any) -> None:
        """Let an objective fill the diff of a blob."""
        fill(blob)

    @property
    def labels(self) -> list[str]:
        from . import zoo  # late, because it imports protobuf

        if self._labels is None:
            self._labels = zoo.labels(self.model)
        return self._labels

    @property
    def order(self) -> list[str]:
        """The layers as they run, with those that the engine itself has added."""
        return [spec.name for spec in self.layer_specs]

    def array(self, a: np.ndarray) -> EngineArray:
        """A NumPy array as one of the engine's own, perhaps in the same memory."""
        return a

    def to_numpy(self, a: EngineArray) -> np.ndarray:
        """One of the engine's own arrays as NumPy's."""
        return a

    def zoom(self, a: EngineArray, down: float, across: float) -> EngineArray:
        """(3, h, w) -> (3, h * down, w * across), rounded; corners stay corners."""
        from scipy import ndimage as nd

        return np.asarray(nd.zoom(a, (1, down, across), order=1))

    def rotate(self, a: EngineArray, degrees: float, mirror: bool = True) -> EngineArray:
        """Turn a picture (channels, h, w) clockwise about its middle; beyond its edges
        are mirror images, or 0.
        """
        from scipy import ndimage as nd

        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix, middle = np.array([[cos, -sin], [sin, cos]]), (np.array(a.shape[1:]) - 1) / 2
        about = {
            "offset": middle - matrix @ middle,
            "order": 1,
            "mode": "mirror" if mirror else "grid-constant",
        }
        return np.stack([nd.affine_transform(channel, matrix, **about) for channel in a])

    def blur(self, a: EngineArray, sigma: float) -> EngineArray:
        """A Gaussian over the last two axes; sigma in pixels."""
        from scipy import ndimage as nd

        return nd.gaussian_filter(a, sigma, axes=(-2, -1))

    def keep_large_blocks(self, keep: bool) -> None:
        """Whether to keep large blocks of memory for the next pass once they are freed;
        only TorchNet has a choice.
        """

    def channels(self, layer: str) -> int:
        """How many channels the blob of a layer has."""
        return shapes.top_shape(self.layer_specs, layer, *self.own_size)[1]

    def stops(self, layers: Collection[str]) -> Iterator[tuple[str, Any]]:
        """One forward pass that stops at each of the layers, in network order: yields
        (layer, its blob).

        At a stop the blob is as that layer left it; a later layer may change it in
        place, as a ReLU does.
        """
        order, start = self.order, None
        for layer in layers:
            if layer not in order:
                raise self.unknown(layer, self.climbable)
        for i in sorted(map(order.index, layers)):
            self.forward(start=start, end=order[i])
            yield order[i], self.blobs[order[i]]
            start = order[min(i + 1, len(order) - 1)]

    def climb(self, fills: Mapping[str, Fill]) -> EngineArray:
        """The gradient of the sum of `fills`, {layer: a `Fill`}:
        (3, h, w), a view.

        One forward pass, and one backward pass from each layer.
        """
        deepest, diffs = None, {}
        for deepest, dst in self.stops(fills):
            self.apply(fills[deepest], dst)
            if (
                len(fills) > 1
            ):  # a backward pass overwrites the diffs that it meets, so each layer's is copied
                diffs[deepest] = deepcopy(self.diff(deepest))
        self.backward(start=deepest)
        if len(fills) > 1:
            total = deepcopy(self.image_diff)
            for layer in list(diffs)[:-1]:
                self.diff(layer)[:] = diffs[layer]
                self.backward(start=layer)
                total += self.image_diff
            self.image_diff[:] = total
        return self.image_diff

    def features(self, layer: str) -> np.ndarray:
        """What a layer makes of the picture in net.blobs['data']: (channels, h, w)
        float32, or (channels,).
        """
        self.forward(end=layer)
        values = self.blobs[layer].data[0].copy()
        check_finite(values, layer)
        return values

    def check_layer(self, layer: str) -> None:
        """Raise a DreamError unless the network has this layer and a dream can climb
        it.
        """
        if layer not in self.climbable:
            raise self.unknown(layer, self.climbable)

    def check(self, end: str, height: int, width: int) -> None:
        """Raise a DreamError unless layer `end` can be climbed from a picture of this
        size.
        """
        self.check_layer(end)
        shapes.check(self.layer_specs, end, height, width)
        need, free = shapes.memory(self.layer_specs, end, height, width), self.free_memory()
        if need > free:
            size = f"a picture of {width}x{height} needs about {need / 1e9:.1f} GB of memory for layer {end!r}"
            advice = f"make it at most {int(width * (free / need) ** 0.5)} pixels wide"
            raise DreamError(f"{size}, and {free / 1e9:.1f} GB are free; {advice}")

    def free_memory(self) -> float:
        """How many bytes a pass may take: what is free, and what this network's blobs
        hold already.
        """
        return free_memory() + self._held

    def unknown(self, layer: str, allowed: Iterable[str]) -> DreamError:
        """The DreamError for a layer that is not among those allowed."""
        return unknown(
            "layer",
            layer,
            allowed,
            f"`deepdream layers --model {self.model.name}` lists all of them",
        )

    def _check(self, layer: str | None) -> None:
        """As `check`, for any layer that runs, and the picture's size now; None is the
        last layer.
        """
        shape = tuple(self.blobs["data"].shape)
        if (layer, shape) == self._checked:
            return  # a check takes some milliseconds, and a dream asks for the same again and again
        if len(shape) != 4 or shape[1] != 3:
            raise DreamError(f"'data' has the shape {shape}; it must be (n, 3, height, width)")
        names = [spec.name for spec in self.layer_specs]
        end = layer if layer and layer in names else names[-1]
        shapes.check(self.layer_specs, end, *shape[2:])
        self._checked = layer, shape
        self._held = max(self._held, shapes.memory(self.layer_specs, end, *shape[2:]))


def free_memory() -> int:
    """How many bytes this process can still take."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # Windows
        return free
    limit = getrlimit(RLIMIT_AS)[0]
    return (
        free
        if limit == RLIM_INFINITY
        else max(0, min(free, limit - psutil.Process().memory_info().vms))
    )


def check_image(img: np.ndarray) -> None:
    """Raise a DreamError unless this is an image (H, W, 3) of finite numbers: NaN could
    make Caffe write anywhere.
    """
    if np.ndim(img) != 3 or np.shape(img)[2] != 3 or 0 in np.shape(img):
        raise DreamError(
            f"an image is an array (height, width, 3), RGB; this one is {np.shape(img)}; see `load_image`"
        )
    is_finite = np.asarray(img).dtype.kind in "buif"
    if is_finite:
        with np.errstate(over="ignore"):  # in float32, as the network will see them
            is_finite = np.isfinite(np.array([np.min(img), np.max(img)], np.float32)).all()
    if not is_finite:
        raise DreamError("some of the image's values are not numbers, or not finite")


def check_finite(values: np.ndarray, layer: str) -> None:
    """Raise a DreamError if these values of a layer are infinite or NaN: its weights,
    or its options, make no sense.
    """
    if not np.isfinite(values).all():
        raise DreamError(
            f"layer {layer!r} answers with numbers that are not finite; the network is damaged"
        )


def preprocess(net: Net, img: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB, 0..255 -> (3, H, W) float32 BGR minus the network's mean."""
    check_image(img)
    return to_data(img, net.mean)


def to_data(img: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """As `preprocess`, for an image that needs no check; mean: (3, 1, 1), BGR."""
    # In one pass, and below too, because large pictures are short of memory
    return np.subtract(np.rollaxis(np.asarray(img), 2)[::-1], mean, dtype=np.float32, order="C")


def put(net: Net, picture: np.ndarray) -> None:
    """Put a picture (3, h, w), as `preprocess` makes it, into the network."""
    net.blobs["data"].reshape(1, *picture.shape)
    net.blobs["data"].data[0] = picture


def deprocess(net: Net, img: np.ndarray) -> np.ndarray:
    """(3, H, W) BGR minus the mean -> (H, W, 3) float32 RGB; not clipped."""
    image = np.empty((*img.shape[1:], 3), np.float32)
    np.add(img[::-1], net.mean[::-1], out=np.moveaxis(image, 2, 0))
    return image
