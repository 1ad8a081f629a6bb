"""What a dream needs of a network, whatever the engine, and its pictures as blobs."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ..errors import DreamError, unknown
from ..given import as_image
from . import receptive, shapes, sizes
from .arrays import Arrays, EngineArray
from .blobs import Blob, Fill, Values
from .blobs import Part as Part
from .blobs import Place as Place
from .receptive import Reach
from .shapes import Layer, Shape, Size

if TYPE_CHECKING:
    from .zoo import Model

F = TypeVar("F", bound=Callable)
DEFAULT = "inception_4c/output"  # of `end`, GoogLeNet's


# What a network says of itself
ANSWERS = [
    "model", "layer_specs", "layer_names", "default_layer", "mean", "climbable", "own_size",
    "top_shape", "fits", "check_run", "memory", "reach", "bottlenecks", "unknown", "_labels",
]  # fmt: skip


class Outline:
    """What is known of a network without running it.

    climbable: the layers that a dream can climb. default_layer: where none
    is named. own_size: (h, w) of its prototxt. mean: (3, 1, 1) float32,
    BGR. limits: the lowest and highest values of pixels, (3, 1, 1) each.
    """

    default_layer: str | None
    _is_grey = False  # whether it reads no colours

    def adopt(self, model: "Model", layers: list[Layer], own_size: Size | None = None) -> None:
        """Set all that follows from the model and its layers."""
        self.model, self.layer_specs = model, layers
        self.layer_names = [layer.name for layer in layers]
        self.default_layer = model.default_layer
        self.mean = np.array(model.mean, np.float32).reshape(3, 1, 1)
        self.limits: tuple[EngineArray, EngineArray] = -self.mean, 255 - self.mean
        self.climbable = shapes.climbable(layers)
        # {layer that was left out: why}
        self._cut: dict[str, str] = getattr(layers, "cut", {})
        self.own_size = own_size or shapes.own_size(layers)
        between = [layer for layer in layers if layer.name == shapes.INPUT]
        self._is_grey = any(it.convolution_param.num_output == 1 for it in between)
        self._labels: list[str] | None = None
        self._held = 0  # bytes of memory that the blobs may hold already
        self._lock = RLock()  # see `alone`

    @property
    def labels(self) -> list[str]:
        """The names of its classes. Raises DreamError if their file cannot be read."""
        from . import zoo  # late, because it imports protobuf

        if self._labels is None:
            self._labels = zoo.labels(self.model)
        return self._labels

    def channels(self, layer: str) -> int:
        """How many channels the blob of a layer has."""
        return self.top_shape(layer, *self.own_size)[1]

    def top_shape(self, layer: str, height: int, width: int) -> Shape:
        """The shape of what a layer makes of a picture of this size."""
        return shapes.top_shape(self.layer_specs, layer, height, width)

    def fits(self, layer: str, size: Size | None) -> bool:
        """Whether a layer can run on a picture of this size; None: its own."""
        return shapes.fits(self.layer_specs, layer, size)

    def check_run(self, layer: str, height: int, width: int) -> None:
        """Raise a DreamError unless a layer can run on a picture of this size."""
        shapes.check(self.layer_specs, layer, height, width)

    def memory(self, layer: str, height: int, width: int) -> int:
        """About how many bytes it takes to climb a layer."""
        return shapes.memory(self.layer_specs, layer, height, width)

    def reach(self, layer: str) -> Reach:
        """How the values of a layer lie on the picture."""
        return receptive.reach(self.layer_specs, layer)

    def check_layer(self, layer: str) -> None:
        """Raise a DreamError unless a dream can climb this layer."""
        if layer not in self.climbable:
            own = [it for it in self.layer_specs if it.name == layer and layer in it.top]
            if own and own[0].type != "Input":
                fault = "no gradient leads from it to the picture"
                raise DreamError(f"layer {layer!r} cannot be climbed: {fault}")
            raise self.unknown(layer, self.climbable)

    def check(self, end: str, height: int, width: int) -> None:
        """Raise a DreamError unless such a picture can climb `end`."""
        self.check_layer(end)
        height, width = sizes.find(self, [end], (height, width)) or (height, width)
        self.check_run(end, height, width)
        need = self.memory(end, height, width)
        free = self.free_memory()
        if need > free:
            most = int(width * (free / need) ** 0.5)
            needs = f"needs about {need / 1e9:.1f} GB of memory for layer {end!r}"
            fault = f"a picture of {width}x{height} {needs}, and {free / 1e9:.1f} GB are free"
            raise DreamError(f"{fault}; make it at most {most} pixels wide")

    def free_memory(self) -> float:
        """How many bytes a pass may take."""
        return free_memory() + self._held

    def unknown(self, layer: str, allowed: Iterable[str]) -> DreamError:
        """The DreamError for a layer that is not among those allowed."""
        if layer in self._cut:
            return DreamError(f"layer {layer!r} is left out: {self._cut[layer]}")
        if layer in (DEFAULT, "None") and self.default_layer not in (None, layer):
            cure = f"give end={self.default_layer!r}, which is net.default_layer"
            given = "no layer is named" if layer == "None" else f"there is no layer {layer!r} here"
            return DreamError(f"{given}; {cure}")
        advice = f"`deepdream layers --model {self.model.name}` lists all of them"
        return unknown("layer", layer, allowed, advice)


class Net(Outline, Arrays):
    """A network as an engine runs it, used like pycaffe's.

    To add an engine, write nets/NAME.py, where NAME is the package that it
    imports, with a class NAMENet(Net); add NAME to the row `engine` in
    settings.py; and say in engines.py how to install it, unless that is
    `pip install NAME`.

    The class takes (model, device, dtype), calls `adopt`, and raises
    DreamError for what it cannot use. Arrays are changed in place. It has
    to give:

    - blobs: {name: Blob}, float32, (n, channels, h, w); a pass uses what is written
      to `data` and `diff`.
    - forward(start=, end=): run the layers from `start` through `end` in file order; a
      pass to a convolution stops before the ReLU that follows it on the same blob.
    - backward(start=, end=): carry the diff of what `start` wrote down through `end`,
      and nothing that an earlier pass has left. Both passes call `_check` first.
    - engine: what a picture's settings record of it, {"engine": NAME, ...}.

    An engine with arrays of its own also gives `image`, `diff`, `apply`,
    `free_memory`, `limits` and what `Arrays` has.
    """

    engine: dict[str, str]
    blobs: Mapping[str, Blob]
    params: Mapping[str, Sequence[Values]]  # weights, of an engine that has any
    value: EngineArray = math.nan  # of what was climbed last: a number
    _checked: tuple[str | None, tuple[int, ...]] | None = None  # by `_check`, the last
    _sized: Size | None = None  # of the picture, when `_gone` was found
    _gone: set[str]

    def forward(self, *, start: str | None = None, end: str | None = None) -> object:
        """As above. Raises DreamError for a layer that is unknown, or cannot run."""
        raise NotImplementedError

    def backward(self, *, start: str | None = None, end: str | None = None) -> object:
        """As above. Raises as `forward`."""
        raise NotImplementedError

    def answer_as(self, net: "Net") -> None:
        """Say of itself all that this network says of itself."""
        self._held = 0
        for name in ANSWERS:
            setattr(self, name, getattr(net, name))

    def bottlenecks(self) -> list[str]:
        """The convolutions (larger than 1x1), concatenations and sums that
        everything passes through.
        """
        return receptive.bottlenecks(self.layer_specs, self.climbable)

    def __repr__(self) -> str:
        title = getattr(self.model, "title", None) or self.model.name
        engine = ", ".join(self.engine.values())
        layers = f"{len(self.layer_names)} layers, {len(self.climbable)} to climb"
        return f"<{title} on {engine}: {layers}, default {self.default_layer!r}>"

    @property
    def inner(self) -> "Net":
        """This network itself; for Tiles, the one inside."""
        return self

    @property
    def image(self) -> EngineArray:
        """The picture, (3, h, w), in the engine's own array."""
        return self.blobs["data"].data[0]

    @property
    def image_diff(self) -> EngineArray:
        """The gradient of the picture, (3, h, w), in the engine's own array."""
        return self.diff("data")[0]

    def diff(self, layer: str) -> EngineArray:
        """The diff of a layer's blob, in the engine's own array."""
        return self.blobs[layer].diff

    def apply(self, fill: Fill, blob: Any) -> EngineArray:
        """Let an objective fill the diff of a blob; its value."""
        return fill(blob)

    @property
    def order(self) -> list[str]:
        """The layers as they run, with those that the engine itself has added."""
        return self.layer_names

    def keep_large_blocks(self, keep: bool) -> None:
        """Whether to keep large freed blocks of memory; only TorchNet has a choice."""

    def stops(self, layers: Collection[str]) -> Iterator[tuple[str, Blob]]:
        """One forward pass, stopped at each of these in network order: (layer, blob).

        Raises DreamError for an unknown layer.
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
        """The gradient of the sum of `fills`, {layer: a `Fill`}: (3, h, w), a view.
        `value` is that sum, then.
        """
        deepest = None
        diffs = {}
        value: EngineArray = 0.0
        for layer, dst in self.stops(fills):
            value += self.apply(fills[layer], dst)
            self._clear_others(layer)
            deepest = layer
            if len(fills) > 1:  # a backward pass overwrites the diffs that it meets
                diffs[layer] = deepcopy(self.diff(layer))
        self.backward(start=deepest)
        if len(fills) > 1:
            total = deepcopy(self.image_diff)
            for layer in list(diffs)[:-1]:
                self.diff(layer)[:] = diffs[layer]
                self.backward(start=layer)
                total += self.image_diff
            self.image_diff[:] = total
        if self._is_grey:  # all colours rise alike
            self.image_diff[:] = self.image_diff.sum(0)
        self.value = value
        return self.image_diff

    def _clear_others(self, layer: str) -> None:
        """No gradient for what a layer writes besides its own blob, as a Slice does."""
        tops = self.layer_specs[self.layer_names.index(layer)].top
        for top in tops:
            if top != layer:
                self.blobs[top].diff[:] = 0

    def features(self, layer: str) -> np.ndarray:
        """What a layer makes of the picture: (channels, ...) float32.

        Raises DreamError for values that are not finite.
        """
        self.forward(end=layer)
        values = self.blobs[layer].data[0].copy()
        check_finite(values, layer)
        return values

    def _missing(self) -> set[str]:
        """The layers that cannot run on a picture of this size."""
        height, width = self.blobs["data"].shape[2:]
        if self._sized != (height, width):
            self._sized = height, width
            self._gone = shapes.left_out(self.layer_specs, self._sized)
        return self._gone

    def _check(self, layer: str | None) -> None:
        shape = tuple(self.blobs["data"].shape)
        if self._checked == (layer, shape):
            return  # a check takes some milliseconds, and each step asks for the same
        if len(shape) != 4 or shape[1] != 3:
            must = "it must be (n, 3, height, width)"
            raise DreamError(f"'data' has the shape {shape}; {must}")
        end = layer if layer and layer in self.layer_names else self.layer_names[-1]
        self.check_run(end, *shape[2:])
        self._checked = layer, shape
        self._held = max(self._held, self.memory(end, *shape[2:]))


def free_memory() -> int:
    """How many bytes can still be taken."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # Windows
        return free
    limit = getrlimit(RLIMIT_AS)[0]
    if limit == RLIM_INFINITY:
        return free
    return max(0, min(free, limit - psutil.Process().memory_info().vms))


def check_net(net: object) -> None:
    """Raise a DreamError unless this is a network."""
    if isinstance(net, Net):
        return
    if isinstance(net, str):
        raise DreamError(f"{net!r} is no network; load_net makes one, and it comes first")
    what = "an array" if isinstance(net, np.ndarray) else f"of type {type(net).__name__!r}"
    first = "the network comes first, as load_net() makes it"
    raise DreamError(f"net is {what}; {first}: deepdream(net, image)")


def alone(function: F) -> F:
    """Let a function have its network, `net`, for itself: who calls it in
    another thread, such as a panel's, waits. Raises as `check_net`.
    """

    @wraps(function)
    def wait(net: Net, *args: object, **params: object) -> object:
        check_net(net)
        with net.inner._lock:
            return function(net, *args, **params)

    return cast(F, wait)


def check_finite(values: np.ndarray, layer: str) -> None:
    """Raise a DreamError if some values of a layer are not finite."""
    if not np.isfinite(values).all():
        fault = f"layer {layer!r} answers with numbers that are not finite"
        raise DreamError(f"{fault}; the network is damaged")


def preprocess(net: Net, img: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB, 0..255 -> (3, H, W) float32 BGR minus the mean.

    Raises DreamError for what is no image, or not finite.
    """
    check_net(net)
    return to_data(as_image(img), net.mean)


def to_data(img: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """As `preprocess`, for an image that needs no check; mean: (3, 1, 1), BGR."""
    # In one pass, and below too, because large pictures are short of memory
    bgr = np.rollaxis(np.asarray(img), 2)[::-1]
    return np.subtract(bgr, mean, dtype=np.float32, order="C")


def put(net: Net, picture: np.ndarray) -> None:
    """Put a picture (3, h, w), as `preprocess` makes it, into the network."""
    net.blobs["data"].reshape(1, *picture.shape)
    net.blobs["data"].data[0] = picture


def deprocess(net: Net, img: np.ndarray) -> np.ndarray:
    """(3, H, W) BGR minus the mean -> (H, W, 3) float32 RGB; not clipped."""
    if np.ndim(img) != 3 or len(img) != 3:
        must = "it takes what `preprocess` makes, (3, height, width)"
        raise DreamError(f"`deprocess` was given {np.shape(img)}; {must}")
    image = np.empty((*img.shape[1:], 3), np.float32)
    np.add(img[::-1], net.mean[::-1], out=np.moveaxis(image, 2, 0))
    return image
