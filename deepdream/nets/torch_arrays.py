"""PyTorch's tensors as pycaffe's blobs, as the pictures of `Arrays`, and a Net of
such.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from torch import Tensor

from .arrays import Arrays, EngineArray
from .base import Fill, Net, Part
from .torch_fast import channels_last, keep_freed_memory


class Blob:
    """pycaffe's Blob: `shape`, `reshape(n, c, h, w)`, and the NumPy arrays
    `data` and `diff`.

    Read these again after each pass: in float32 on the CPU they are the
    tensors' own memory, else copies, which travel back when the network
    needs them next. Index all four axes: they are not in Caffe's order, so
    a flat view would be a copy. After a backward pass the diffs of a
    Concat's bottoms are parts of its top's.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> None:
        self.shape = tuple(shape)
        self._device, self._dtype = device, dtype
        self._tensors: dict[str, Tensor] = {}
        self._copies: dict[str, Tensor] = {}

    def reshape(self, *shape: int) -> None:
        """Take another shape; other values than before, unless it is the same."""
        if shape != self.shape:
            self.shape = shape
            self._tensors, self._copies = {}, {}

    def tensor(self, which: str) -> Tensor:
        """The tensor of 'data' or 'diff', with what was written to its array."""
        if which not in self._tensors:
            zeros = torch.zeros(self.shape, dtype=self._dtype, device=self._device)
            self._tensors[which] = channels_last(zeros)
        if which in self._copies:
            self._tensors[which].copy_(self._copies.pop(which))
        return self._tensors[which]

    def put(self, which: str, tensor: Tensor) -> None:
        """Take this tensor for 'data' or 'diff'; new data drops the old diff."""
        self._tensors[which] = tensor
        self._copies.pop(which, None)
        if which == "data":
            self.shape = tuple(tensor.shape)
            self._tensors.pop("diff", None)
            self._copies.pop("diff", None)

    def tensors(self) -> dict[str, Tensor]:
        """{'data' or 'diff': its tensor}, of those that there are."""
        return dict(self._tensors)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` returned, in place of whatever is there."""
        if "data" in tensors:
            self.shape = tuple(tensors["data"].shape)
        self._tensors, self._copies = dict(tensors), {}

    def _array(self, which: str) -> np.ndarray:
        if which not in self._copies:
            tensor = self.tensor(which)
            if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
                return tensor.numpy()
            self._copies[which] = tensor.float().cpu()
        return self._copies[which].numpy()

    @property
    def data(self) -> np.ndarray:
        return self._array("data")

    @property
    def diff(self) -> np.ndarray:
        return self._array("diff")


class TorchArrays(Arrays):
    """The arithmetic of an engine whose arrays are tensors on a device."""

    xp = torch
    device: torch.device

    def array(self, a: np.ndarray) -> Tensor:
        return torch.as_tensor(np.require(a, requirements="W"), device=self.device)

    def to_numpy(self, a: Tensor) -> np.ndarray:
        return a.cpu().numpy()

    def zoom(self, a: Tensor, down: float, across: float) -> Tensor:
        if self.device.type != "cuda":  # to the bit as the notebook does it
            return self.array(super().zoom(self.to_numpy(a), down, across))
        size = round(a.shape[1] * down), round(a.shape[2] * across)
        # In float64, or places would be off by thousandths of a pixel
        a = a[None].double()
        return F.interpolate(a, size, mode="bilinear", align_corners=True)[0].float()

    def rotate(self, a: Tensor, degrees: float, mirror: bool = True) -> Tensor:
        h, w = a.shape[1:]
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        ratio = max(1, h - 1) / max(1, w - 1)
        rows = [[cos, sin * ratio, 0], [-sin / ratio, cos, 0]]
        matrix = torch.tensor([rows], device=a.device)
        # (1, h, w, 2), each axis from -1 to 1
        places = F.affine_grid(matrix, [1, 1, h, w], align_corners=True)
        beyond = "reflection" if mirror else "zeros"
        a = a[None].contiguous()
        return F.grid_sample(a, places, "bilinear", beyond, align_corners=True)[0]

    def blur(self, a: Tensor, sigma: float) -> Tensor:
        return self.array(super().blur(self.to_numpy(a), sigma))


class TensorNet(TorchArrays, Net):
    """A network whose blobs are `Blob`s; dtype: of all but the picture."""

    dtype: torch.dtype
    blobs: Mapping[str, Blob]

    @property
    def image(self) -> Tensor:
        return self.blobs["data"].tensor("data")[0]

    def diff(self, layer: str) -> Tensor:
        return self.blobs[layer].tensor("diff")

    def keep_large_blocks(self, keep: bool) -> None:
        keep_freed_memory(large_blocks=keep)

    def free_memory(self) -> float:
        if self.device.type == "cpu":
            return super().free_memory()
        if self.device.type != "cuda":
            return math.inf
        reserved = torch.cuda.memory_reserved(self.device)
        freed = reserved - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + freed + self._held

    def apply(self, fill: Fill, blob: Blob) -> EngineArray:
        """As Net's; on tensors, if the fill works with them."""
        if not fill.any_array:
            return fill(blob)
        part = Part(blob.tensor("data").float(), blob.tensor("diff").float())
        value = fill(part)
        blob.put("diff", part.diff.to(self.dtype))
        return value
