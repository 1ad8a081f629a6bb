"""Operations that move numbers about: each a function of the table in layers.py.

None of them may depend on the size of the picture that the source was
exported with. So a Reshape names only the axes that change, and lets Caffe
count one of them.
"""

from collections.abc import Iterator

import numpy as np

from ..nets.shapes import Shape
from .building import Params, Step
from .padding import select, shift

Block = tuple[int, int, Shape]  # axes [first, last) become these


def reshape(step: Step) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    end_reshape(step, step.blob(), step.shape())


def end_reshape(step: Step, x: str, old: Shape) -> None:
    """The node's output is blob x, of shape `old`, in another shape."""
    changes = list(_blocks(old, step.result))
    if not changes:
        return step.same(x)
    while len(changes) > 1:  # from the back, so that the numbers of axes stay
        kind, params = _change(*changes.pop(), len(old))
        x = step.helper(f"axes{len(changes)}", kind, x, **params)
    kind, params = _change(*changes[0], len(old))
    step.end(kind, x, **params)


def _change(first: int, last: int, new: Shape, axes: int) -> tuple[str, Params]:
    """A layer that turns the axes [first, last) into `new`."""
    if len(new) == 1:
        param = {"axis": first} if first != 1 else {}
        if last != axes:
            param["end_axis"] = last - 1
        return "Flatten", {"flatten_param": param}
    dims = list(new)
    if dims:
        dims[dims.index(max(dims))] = -1
    param = {"shape": {"dim": dims}, "axis": first, "num_axes": last - first}
    return "Reshape", {"reshape_param": param}


def _blocks(old: Shape, new: Shape) -> Iterator[Block]:
    """The smallest groups of axes whose numbers differ, from the front."""
    i = j = 0
    while i < len(old) and j < len(new):
        first, start = i, j
        before, after = old[i], new[j]
        i, j = i + 1, j + 1
        while before != after:
            if before < after:
                before *= old[i]
                i += 1
            else:
                after *= new[j]
                j += 1
        if i == len(old) or j == len(new):  # the rest are ones
            i, j = len(old), len(new)
        if old[first:i] != new[start:j]:
            yield first, i, new[start:j]


def transpose(step: Step) -> None:
    axes = len(step.shape())
    order = list(step.get("perm", range(axes)[::-1]))
    if order == sorted(order):
        return step.same()
    step.end("Permute", step.blob(), permute_param={"order": order})


def concat(step: Step) -> None:
    blobs = [step.blob(i) for i in range(len(step.node.inputs))]
    if len(blobs) == 1:
        return step.same()
    axis = step.get("axis") % len(step.result)
    step.end("Concat", *blobs, concat_param={"axis": axis} if axis != 1 else {})


def split(step: Step) -> None:
    axis = step.get("axis", 0) % len(step.shape())
    shapes = step.builder.graph.shapes
    sizes = [shapes[name][axis] for name in step.node.outputs]
    if len(sizes) == 1:
        return step.same()
    param = {"axis": axis}
    if len(set(sizes)) > 1:
        param["slice_point"] = np.cumsum(sizes)[:-1].tolist()
    tops = [f"{step.name}/{i}" for i in range(len(sizes))]
    step.split(step.blob(), tops, slice_param=param)


def cut(step: Step) -> None:
    """ONNX's Slice: x[start:end:stride] along some axes."""
    shape = step.shape()
    starts, ends = (step.weight(i, "bounds").tolist() for i in (1, 2))
    axes, strides = step.constant(3), step.constant(4)
    axes = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if strides is None else strides.tolist()
    picks = {}
    for axis, *bounds in zip(axes, starts, ends, strides):
        axis %= len(shape)
        pick = range(shape[axis])[slice(*bounds)]
        if pick != range(shape[axis]):
            picks[axis] = pick
    if not picks:
        return step.same()
    if set(picks) <= {2, 3} and len(shape) == 4:
        return _crop(step, [picks.get(axis, range(shape[axis])) for axis in (2, 3)])
    if len(picks) > 1:
        raise step.refuse("it cuts several axes at once")
    [(axis, pick)] = picks.items()
    end_pick(step, step.blob(), axis, list(pick))


def _crop(step: Step, picks: list[range]) -> None:
    """Cut rows and columns off; from the end, whatever the picture's size."""
    if any(pick.step < 1 for pick in picks):
        raise step.refuse("it turns the picture round")
    sizes = step.picture()[2:]
    before = [-pick.start for pick in picks]
    after = [min(pick.stop, size) - size for pick, size in zip(picks, sizes)]
    stride = [pick.step for pick in picks]
    shift(step, "", step.blob(), step.shape()[1], before, after, stride)


def end_pick(step: Step, x: str, axis: int, places: list[int]) -> None:
    """The node's output is x at these places of an axis."""
    size = step.shape()[axis]
    first, last = places[0], places[-1] + 1
    if places == list(range(first, last)):
        points = [point for point in (first, last) if 0 < point < size]
        tops = [f"{step.name}/{i}" for i in range(len(points) + 1)]
        tops[int(first > 0)] = step.name
        param = {"axis": axis, "slice_point": points}
        return step.cut_out(x, tops, slice_param=param)
    if axis != 1 or len(step.shape()) != 4:
        raise step.refuse("what it picks is not in one piece")
    step.end("Convolution", x, **select(size, places))


def gather(step: Step) -> None:
    axis = step.get("axis", 0) % len(step.shape())
    size = step.shape()[axis]
    places = step.weight(1, "indices") % size
    if places.ndim == 1:
        return end_pick(step, step.blob(), axis, places.tolist())
    if places.ndim > 1:
        raise step.refuse("its indices must be a number or a list")
    here = int(places)
    points = [point for point in (here, here + 1) if 0 < point < size]
    if not points:
        return end_reshape(step, step.blob(), step.shape())
    tops = [f"{step.name}/{i}" for i in range(len(points) + 1)]
    param = {"axis": axis, "slice_point": points}
    step.builder.add("Slice", f"{step.name}/slice", [step.blob()], tops, slice_param=param)
    part = (*step.shape()[:axis], 1, *step.shape()[axis + 1 :])
    end_reshape(step, tops[int(here > 0)], part)


def expand(step: Step) -> None:
    """Expand and Tile: copies along some axes."""
    old, new = step.shape(), step.result
    old = (1,) * (len(new) - len(old)) + old
    x = step.blob()
    if old != step.shape():
        dims = {"dim": [1, -1]} if len(old) == 1 + len(step.shape()) else None
        if dims is None:
            raise step.refuse("it adds several axes")
        x = step.helper("axes", "Reshape", x, reshape_param={"shape": dims, "num_axes": 1})
    copies = [(axis, n // m) for axis, (m, n) in enumerate(zip(old, new)) if m != n]
    if not copies:
        return step.same()
    for axis, tiles in copies[:-1]:
        x = step.helper(f"axis{axis}", "Tile", x, tile_param={"axis": axis, "tiles": tiles})
    axis, tiles = copies[-1]
    step.end("Tile", x, tile_param={"axis": axis, "tiles": tiles})


def depth_to_space(step: Step) -> None:
    """One Deconvolution that puts each channel where it belongs."""
    channels = step.picture()[1]
    r = step.get("blocksize")
    outputs = channels // r**2
    places = np.arange(channels).reshape(outputs, r, r)
    if step.get("mode", "DCR") == "DCR":
        places = np.arange(channels).reshape(r, r, outputs).transpose(2, 0, 1)
    filters = np.zeros((channels, outputs, r, r), np.float32)
    for output, row, column in np.ndindex(outputs, r, r):
        filters[places[output, row, column], output, row, column] = 1
    step.end("Deconvolution", step.blob(), **_patches(filters, outputs, r))


def space_to_depth(step: Step) -> None:
    channels = step.picture()[1]
    r = step.get("blocksize")
    outputs = channels * r**2
    filters = np.zeros((r, r, channels, channels, r, r), np.float32)
    for row, column, channel in np.ndindex(r, r, channels):
        filters[row, column, channel, channel, row, column] = 1
    filters = filters.reshape(outputs, channels, r, r)
    step.end("Convolution", step.blob(), **_patches(filters, outputs, r))


def _patches(filters: np.ndarray, outputs: int, side: int) -> Params:
    param = {"num_output": outputs, "bias_term": False}
    param |= {"kernel_size": [side], "stride": [side]}
    return {"weights": (filters,), "convolution_param": param}


OPERATIONS = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": reshape,
    "Gather": gather,
    "Reshape": reshape,
    "Slice": cut,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": reshape,
    "Tile": expand,
    "Transpose": transpose,
    "Unsqueeze": reshape,
}
