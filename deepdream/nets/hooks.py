"""What the submodules of a torch.nn.Module put out, read by forward hooks, and
how that lies on the picture. It imports torch, so modules.py alone imports it.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from ..errors import DreamError, out_of_memory
from .shapes import Shape, Size

OUTPUT = "output"  # the layer that is the module itself
MOST_EXTRA = 8  # class and register tokens
See = Callable[[str, Tensor, nn.Module], object]  # called as each layer ends


class Stop(Exception):  # noqa: N818, it is no error
    """All that is asked for has run."""


def run(module: nn.Module, x: Tensor, see: See, wanted: Collection[str] | None = None) -> None:
    """Run a module on x, (1, 3, h, w), and call `see` as each layer ends.

    wanted: the only layers to see; `see` may raise Stop. A submodule that
    runs again is the layer `name:2`. The module is left as it was.
    """
    runs: Counter[str] = Counter()

    def hook(name: str, submodule: nn.Module, output: object) -> None:
        runs[name] += 1
        layer = name if runs[name] == 1 else f"{name}:{runs[name]}"
        tensor = find_tensor(output)
        if tensor is not None and (wanted is None or layer in wanted):
            see(layer, tensor, submodule)

    with ExitStack() as stack:
        stack.enter_context(_at_rest(module))
        for path, each in module.named_modules():
            name = path or OUTPUT
            if wanted is None or any(layer.split(":")[0] == name for layer in wanted):
                call = _Hook(name, hook)
                stack.callback(each.register_forward_hook(call).remove)
        stack.enter_context(torch.enable_grad())
        with suppress(Stop):
            module(x)


class _Hook(NamedTuple):
    """PyTorch's forward hook, with the submodule's name."""

    name: str
    call: Callable[[str, nn.Module, object], None]

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        self.call(self.name, module, output)


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """The module as for a prediction, without gradients of weights; then as before."""
    modes = [(each, each.training) for each in module.modules()]
    learning = [each for each in module.parameters() if each.requires_grad]
    try:
        for each, _ in modes:
            each.training = False
        for each in learning:
            each.requires_grad_(False)
        yield
    finally:
        for each, mode in modes:
            each.training = mode
        for each in learning:
            each.requires_grad_(True)


def find_tensor(output: object) -> Tensor | None:
    """The first floating tensor in what a module puts out, if any."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        found = (find_tensor(each) for each in output)
        return next((each for each in found if each is not None), None)
    return None


class Seen(NamedTuple):
    """A layer's output, and the bytes that autograd holds when it ends."""

    shape: Shape
    held: int


def measure(
    module: nn.Module, size: Size, device: torch.device, see: See | None = None, fake: bool = False
) -> tuple[dict[str, Seen], Exception | None]:
    """({layer: Seen} of a run on noise of this size, as far as it came; what ended it).

    fake: count, and calculate nothing.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
    weights = [*module.parameters(), *module.buffers()]
    found: dict[str, Seen] = {}
    held = 0
    with mode:
        if isinstance(mode, FakeTensorMode):
            weights = [mode.from_tensor(each) for each in weights]
        known = {each.untyped_storage()._cdata for each in weights}

        def keep(x: Tensor) -> Tensor:
            nonlocal held
            storage = x.untyped_storage()
            if storage._cdata not in known:
                known.add(storage._cdata)
                held += storage.nbytes()
            return x

        def note(layer: str, x: Tensor, submodule: nn.Module) -> None:
            found[layer] = Seen(tuple(x.shape), held)
            if see:
                see(layer, x, submodule)

        x = torch.zeros(1, 3, *size)
        if not fake:
            x.normal_(generator=torch.Generator().manual_seed(0))
        try:
            with saved_tensors_hooks(keep, lambda x: x):
                run(module, x.to(device).requires_grad_(), note)
        except Exception as error:  # whatever a module raises
            if out_of_memory(error) or isinstance(error, DreamError):
                raise
            return found, error
    return found, None


class Layout(NamedTuple):
    """Where an output has its batch and channels, and how many of its tokens, in
    front, are of no place: a class, or registers.
    """

    batch: int = 0
    channels: int = 1
    extra: int = 0

    def to_blob(self, x: Tensor, size: Size) -> Tensor:
        """An output as a blob (1, channels, h, w), of a picture of this size."""
        if x.ndim == 2:
            return x
        if x.ndim == 4:
            return x.movedim(self.channels, 1)
        x = x.permute(self.batch, self.channels, 3 - self.batch - self.channels)
        x = x[:, :, self.extra :]  # (1, channels, places)
        return x.unflatten(2, _find_grid(x.shape[2], size))

    def shape(self, shape: Shape, size: Size) -> Shape:
        """The shape of the blob."""
        return tuple(self.to_blob(torch.empty(shape, device="meta"), size).shape)


def find_layout(
    module: nn.Module, size: Size, shape: Shape, tall: Shape | None, wide: Shape | None
) -> Layout | None:
    """How the output of a layer lies on the picture; None if it does not.

    tall, wide: its shape where the picture is twice as high, or wide, if
    the module takes such.
    """
    first, *_ = shape or (0,)
    if len(shape) == 2 and first == 1:
        return Layout() if tall in (None, shape) else None
    for axes, layout in _candidates(module, shape):
        rows, columns = axes[0], axes[-1]
        is_sure = False
        if tall and wide and tall != shape:
            # A place is where doubling the picture makes a difference
            is_sure = (_changed(shape, tall), _changed(shape, wide)) == ([rows], [columns])
            if not is_sure:
                continue
        if rows == columns:
            extra = _count_extra(shape[rows], size)
            if extra is not None:
                return layout._replace(extra=extra)
        elif is_sure or shape[rows] * size[1] == shape[columns] * size[0]:
            return layout
    return None


def _candidates(module: nn.Module, shape: Shape) -> Iterator[tuple[tuple[int, ...], Layout]]:
    """(the axes of places, the Layout), the likeliest first."""
    if len(shape) == 4 and shape[0] == 1:
        width = getattr(module, "out_features", None)  # of Linear
        width = width or getattr(module, "normalized_shape", [None])[-1]  # of LayerNorm
        both = [((2, 3), Layout(0, 1)), ((1, 2), Layout(0, 3))]
        yield from both[::-1] if width == shape[3] else both
    if len(shape) == 3 and shape[0] == 1:
        yield from [((1,), Layout(0, 2)), ((2,), Layout(0, 1))]
    if len(shape) == 3 and shape[1] == 1:
        yield (0,), Layout(1, 2)


def _changed(one: Shape, other: Shape) -> list[int]:
    if len(one) != len(other):
        return []
    return [i for i, (a, b) in enumerate(zip(one, other)) if a != b]


def _count_extra(tokens: int, size: Size) -> int | None:
    """How many tokens are too many for a grid on such a picture; None: it is none."""
    for extra in range(MOST_EXTRA + 1):
        if tokens - extra > 3:
            rows, columns = _find_grid(tokens - extra, size)
            if rows * size[1] == columns * size[0]:
                return extra
    return None


def _find_grid(places: int, size: Size) -> Size:
    """(rows, columns) of so many places, as like the picture as can be."""
    least = [n for n in range(1, math.isqrt(places) + 1) if places % n == 0]
    grids = [(n, places // n) for n in least] + [(places // n, n) for n in least]
    slope = math.log(size[0] / size[1])
    return min(grids, key=lambda grid: abs(math.log(grid[0] / grid[1]) - slope))


def find_gates(end: Node) -> set[Node]:
    """The nodes of autograd's graph that all of the picture passes through on its
    way to `end`.
    """
    waits: Counter[Node] = Counter()  # readers that have not been counted yet
    found, ahead = {end}, [end]
    while ahead:
        for node in _before(ahead.pop()):
            waits[node] += 1
            if node not in found:
                found.add(node)
                ahead.append(node)
    gates: set[Node] = set()
    open_, ready = {end}, [end]
    while ready:
        node = ready.pop()
        if open_ == {node}:
            gates.add(node)
        open_.remove(node)
        for each in _before(node):
            open_.add(each)
            waits[each] -= 1
            if not waits[each]:
                ready.append(each)
    return gates


def _before(node: Node) -> list[Node]:
    return [each for each, _ in node.next_functions if each is not None]
