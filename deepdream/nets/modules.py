"""ModuleNet: any torch.nn.Module behind pycaffe's interface, for what Caffe
will never have. It imports torch, so `load_net` imports it late.

As in lucent, forward hooks read what the submodules put out; see hooks.py. A
pass runs the module from the picture on, and stops after the deepest layer
that is asked for; backward is PyTorch's autograd.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor, nn

from ..errors import DreamError, one_line, out_of_memory
from .base import Fill
from .hooks import Stop, run
from .shapes import Size
from .survey import Survey
from .torch_arrays import Blob, TensorNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB
WRAP = "give a torch.nn.Module whose forward takes one picture, (1, 3, h, w)"


class Reading(NamedTuple):
    """How a module reads pictures; see `load_net`."""

    mean: Iterable[float] | None = None
    std: Iterable[float] | None = None
    order: str | None = None
    size: int | Size | None = None
    labels: Collection[str] | str | None = None

    def numbers(self, name: str) -> np.ndarray:
        """The mean or std, BGR, 0..255, or a DreamError."""
        given = getattr(self, name)
        least = 0 if name == "mean" else 1e-4
        try:
            default = MEAN if name == "mean" else STD
            values = np.array(default if given is None else list(given), np.float32)
            is_right = values.shape == (3,) and ((values >= least) & (values <= 1)).all()
        except (TypeError, ValueError):
            is_right = False
        if not is_right:
            must = "three numbers from 0 to 1, red, green and blue, as torchvision has them"
            raise DreamError(f"{name} is {given!r}; it must be {must}")
        return 255 * values[::-1]

    def is_rgb(self) -> bool:
        """Whether the module reads red first, or a DreamError."""
        if self.order not in (None, "rgb", "bgr"):
            raise DreamError(f"order is {self.order!r}; it must be 'rgb' or 'bgr'")
        return self.order != "bgr"

    def own_size(self) -> Size:
        """(h, w), or a DreamError."""
        size = 224 if self.size is None else self.size
        sides = size if isinstance(size, (tuple, list)) else (size, size)
        if len(sides) != 2 or not all(type(n) is int and 0 < n < 10_000 for n in sides):
            must = "a number of pixels, or (height, width)"
            raise DreamError(f"size is {size!r}; it must be {must}")
        return sides[0], sides[1]


class Blobs(Mapping[str, Blob]):
    """{name: Blob}; a layer that the last pass did not ask for runs when it is read."""

    def __init__(self, net: "ModuleNet") -> None:
        self.net = net
        self.there = {"data": Blob((1, 3, *net.own_size), net.device, torch.float32)}

    def __getitem__(self, name: str) -> Blob:
        if name not in self.there and name in self.net.layer_names:
            self.net.forward(end=name)
        return self.there[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["data", *self.net.layer_names])

    def __len__(self) -> int:
        return 1 + len(self.net.layer_names)


class ModuleNet(Survey, TensorNet):
    """A module on PyTorch: its layers are its submodules, in the order in which they
    end, if what they put out is blobs, tokens on a grid, or a list of numbers.

    device, dtype: see `load_net`. Raises DreamError for a module that shows
    nothing to climb.
    """

    dtype = torch.float32

    def __init__(
        self, module: nn.Module, device: str | None, dtype: str | None, reading: Reading
    ) -> None:
        self.module = getattr(module, "_orig_mod", module)  # not as torch.compile left it
        self.device = _find_device(self.module, device, dtype)
        kind = type(self.module).__name__
        self.engine = {"engine": "torch", "module": kind, "device": str(self.device)}
        self._is_rgb = reading.is_rgb()
        self._std = self.array(reading.numbers("std").reshape(3, 1, 1))
        self.survey(reading.own_size(), reading.numbers("mean").tolist())
        self.name_classes(reading.labels)
        low, high = self.limits
        self.limits = self.array(low), self.array(high)
        self._tape: dict[str, Tensor] = {}  # blobs of the last pass, for autograd
        self.blobs = self._blobs = Blobs(self)

    def forward(self, start: str | None = None, end: str | None = None) -> None:
        """As Net's, from the picture on."""
        if start is not None:
            raise DreamError(f"a module runs from the picture on, not from {start!r}")
        self._pass([end or self.layer_names[-1]])

    def backward(self, start: str | None = None, end: str | None = None) -> None:
        """As Net's, down to the picture."""
        if end not in (None, "data"):
            raise DreamError(f"the gradients of a module go to the picture, not to {end!r}")
        self._carry([start or self.layer_names[-1]])

    def stops(self, layers: Collection[str]) -> Iterator[tuple[str, Blob]]:
        """As Net's; one pass sees them all."""
        for layer in layers:
            self.check_run(layer, *self.own_size)
        ordered = [layer for layer in self.layer_names if layer in layers]
        self._pass(ordered)
        for layer in ordered:
            yield layer, self.blobs[layer]

    def climb(self, fills: Mapping[str, Fill]) -> Tensor:
        """As Net's; one backward pass carries them all."""
        value: Tensor | float = 0.0
        for layer, blob in self.stops(fills):
            value += self.apply(fills[layer], blob)
        self._carry(fills)
        self.value = value
        return self.image_diff

    def _pass(self, layers: list[str]) -> None:
        """Run through these layers, in network order."""
        data = self.blobs["data"]
        size = _check_picture(data.shape)
        for layer in layers:
            self.check_run(layer, *size)
        self._tape = {}  # before the next takes its memory
        self._blobs.there = {"data": data}
        self._leaf = data.tensor("data").data.requires_grad_()
        left, problem = layers, None
        for window in self._sizes(size):
            known = [self._windows.get((layer, size), window) for layer in left]
            now = [layer for layer, each in zip(left, known) if each == window]
            found, error = self._look(now, window) if now else ({}, None)
            problem = problem or error
            for layer, blob in found.items():
                self._windows[layer, size] = window
                self._tape[layer] = blob
                self._blobs.there[layer] = Blob(tuple(blob.shape), self.device, self.dtype)
                self._blobs.there[layer].put("data", blob.data)
            left = [layer for layer in left if layer not in found]
        if left:
            what = f"layer {left[0]!r} cannot run on a picture of {size[1]}x{size[0]}"
            raise DreamError(f"{what}: {one_line(str(problem))}") from problem
        self._held = max(self._held, self._count_held(layers[-1], size))

    def _look(self, layers: list[str], size: Size) -> tuple[dict[str, Tensor], Exception | None]:
        """({layer: blob} of the picture in windows of this size; what went wrong)"""
        with torch.enable_grad():
            x = self._leaf / self._std
            if self._is_rgb:
                x = x.flip(1)
            high, wide = (max(0, side - n) for side, n in zip(size, x.shape[2:]))
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
            rows = []
            for top in _cut(x.shape[2], size[0]):
                row = []
                for left in _cut(x.shape[3], size[1]):
                    window = x[:, :, top : top + size[0], left : left + size[1]]
                    seen, error = self._look_at(window, layers)
                    if not seen:
                        return {}, error
                    row.append(seen)
                rows.append(row)
            return {layer: _join(rows, layer) for layer in rows[0][0]}, error

    def _look_at(self, x: Tensor, layers: list[str]) -> tuple[dict[str, Tensor], Exception | None]:
        """As `_look`, of one window."""
        found: dict[str, Tensor] = {}
        size = x.shape[2], x.shape[3]

        def see(layer: str, output: Tensor, _: nn.Module) -> None:
            is_last = len(found) == len(layers) - 1
            # A copy, because a later layer may change it in place
            output = output if is_last else output.clone()
            found[layer] = self._parts[layer].layout.to_blob(output, size)
            if is_last:
                raise Stop

        try:
            run(self.module, x, see, layers)
        except Exception as error:  # whatever a module raises
            if out_of_memory(error):
                raise
            return found, error
        return found, None

    def _carry(self, layers: Collection[str]) -> None:
        """Carry the diffs of these layers to the picture."""
        for layer in layers:
            if layer not in self._tape:
                cure = "call forward(end=...) before backward"
                raise DreamError(f"layer {layer!r} has not run; {cure}")
        blobs = [self._tape[layer] for layer in layers]
        diffs = [self.diff(layer) for layer in layers]
        try:
            grads = torch.autograd.grad(blobs, self._leaf, diffs, retain_graph=True)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            fault = f"PyTorch has no gradient for layer {next(iter(layers))!r}"
            raise DreamError(f"{fault}: {one_line(str(error))}") from error
        self.blobs["data"].put("diff", grads[0])


def _cut(length: int, side: int) -> list[int]:
    """Where windows of this side begin, so that they cover the length."""
    n = math.ceil(length / side)
    return [(length - side) * i // max(1, n - 1) for i in range(n)]


def _join(rows: list[list[dict[str, Tensor]]], layer: str) -> Tensor:
    """The blobs of all windows side by side; of lists of numbers, the mean."""
    blobs = [[seen[layer] for seen in row] for row in rows]
    if blobs[0][0].ndim == 2:
        return torch.stack([blob for row in blobs for blob in row]).mean(0)
    return torch.cat([torch.cat(row, 3) for row in blobs], 2)


def _check_picture(shape: tuple[int, ...]) -> Size:
    """(h, w), or a DreamError."""
    if len(shape) != 4 or shape[:2] != (1, 3) or 0 in shape:
        raise DreamError(f"'data' has the shape {shape}; it must be (1, 3, height, width)")
    return shape[2], shape[3]


def _find_device(module: nn.Module, device: str | None, dtype: str | None) -> torch.device:
    """Where the module is, or a DreamError unless it is there, in float32."""
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        fault = f"{name} is a script, which hides its layers"
        raise DreamError(f"{fault}; give the torch.nn.Module that it was made from")
    weights = [*module.parameters(), *module.buffers()]
    kinds = {str(each.dtype) for each in weights if each.is_floating_point()}
    kinds = {kind.removeprefix("torch.") for kind in kinds}
    if kinds - {"float32"}:
        fault = f"the weights of {name} are {' and '.join(sorted(kinds))}"
        raise DreamError(f"{fault}; a dream needs float32, as module.float() makes them")
    if dtype not in (None, "auto", "float32"):
        raise DreamError(f"{{setting}} is {dtype!r}; a module runs in float32", "dtype")
    places = {each.device for each in weights} or {torch.device("cpu")}
    here = sorted(places, key=str)[0]
    if len(places) > 1 or device not in (None, "auto", here.type, str(here)):
        found = " and ".join(sorted(map(str, places)))
        wanted = device or str(here)
        fault = f"{name} is on {found}, and {wanted} is asked for"
        raise DreamError(f"{fault}; module.to({wanted!r}) moves it")
    return here
