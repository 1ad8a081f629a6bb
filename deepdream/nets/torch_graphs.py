"""Gradients on a GPU as CUDA graphs, which start all kernels of a pass at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .base import Fill, Net

if TYPE_CHECKING:
    from .torch import TorchNet

Graph = torch.cuda.CUDAGraph
Fills = Mapping[str, Fill]
Taped = tuple[list[Tensor], list[Tensor]]  # what a layer read and wrote
Key = tuple[object, ...]  # the picture's shape, and what is climbed
MOST = 8  # gradients that are remembered, such as those of a film's octaves
RECORDING = Lock()  # CUDA records one graph at a time


class Recording(NamedTuple):
    """A gradient recorded as a CUDA graph, which fills the same memory again.

    tensors: {name: the tensors of its blob}, tape: {number of a layer: what
    it read and wrote}, of the layers that ran. fills: what it climbs, kept
    alive. value: of what it climbs.
    """

    graph: Graph
    tensors: dict[str, dict[str, Tensor]]
    tape: dict[int, Taped | None]
    fills: Fills
    value: Tensor | float


@dataclass
class Gradient:
    """What is known of a gradient that was climbed before."""

    recording: Recording | None = None
    can_be_recorded: bool = True


class Graphs:
    """What a network has climbed on its GPU, the latest last."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._known: dict[Key, Gradient] = {}

    def climb(self, net: "TorchNet", fills: Fills) -> Tensor:
        """As Net.climb, for fills with `any_array`."""
        recording = self._find(net, fills)
        if recording is None:
            return Net.climb(net, fills)
        recorded = recording.tensors["data"]["data"]
        image = net.blobs["data"].tensor("data")
        if recorded is not image:
            recorded.copy_(image)
        recording.graph.replay()
        for name, tensors in recording.tensors.items():
            net.blobs[name].restore(tensors)
        for i, taped in recording.tape.items():
            net.tape[i] = taped
        net.value = recording.value
        return net.image_diff

    def _find(self, net: "TorchNet", fills: Fills) -> Recording | None:
        """The recording of this gradient, if there can be one now."""
        key = (tuple(net.blobs["data"].shape), *fills.items())
        known = self._known.pop(key, None)
        if known is None:
            known = Gradient()
        elif known.can_be_recorded and not known.recording and _has_room(net, fills):
            known.recording = self._record(net, fills)
            known.can_be_recorded = known.recording is not None
        self._known[key] = known  # in the last place
        if len(self._known) > MOST:
            self._known.pop(next(iter(self._known)))
        return known.recording

    def _record(self, net: "TorchNet", fills: Fills) -> Recording | None:
        """A recording; None if an objective looks at a value."""
        before = {name: blob.tensors() for name, blob in net.blobs.items()}
        tape = list(net.tape)
        others = [it.recording.graph for it in self._known.values() if it.recording]
        try:
            graph = capture(net, fills, self._stream, others)
        except RuntimeError:
            for name, blob in net.blobs.items():
                blob.restore(before[name])
            net.tape = tape
            return None
        tensors = {}
        for name, blob in net.blobs.items():
            after = blob.tensors()
            is_new = any(after[which] is not before[name].get(which) for which in after)
            if is_new or name == "data":
                tensors[name] = after
        ran = {i: it for i, it in enumerate(net.tape) if it is not tape[i]}
        return Recording(graph, tensors, ran, fills, net.value)


def capture(
    net: "TorchNet", fills: Fills, stream: torch.cuda.Stream | None, others: list[Graph]
) -> Graph:
    """The gradient as a graph, in memory shared with `others`. Raises RuntimeError."""
    graph = Graph()
    mode = "thread_local"  # other threads may use the GPU meanwhile
    with RECORDING, torch.cuda.device(net.device):
        pool = others[0].pool() if others else None
        with torch.cuda.graph(graph, pool, stream, mode):
            Net.climb(net, fills)
    return graph


def _has_room(net: "TorchNet", fills: Fills) -> bool:
    """Large pictures need no recording, and much memory."""
    height, width = net.blobs["data"].shape[2:]
    if height * width > 2**22:
        return False
    needs = [net.memory(end, height, width) for end in fills]
    return net.free_memory() > 3 * max(needs)
