"""The picture's way into a network: one Input, `data`, whatever a prototxt has."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import DreamError
from . import branches
from .branches import Layers
from .layer_shapes import Layer

SHAPE = "(n, 3, height, width)"


def feed(layers: Iterable[Layer], path: Path) -> Layers:
    """The layers, led by one Input `data`, without what reads other inputs.

    Raises DreamError where no input can take a picture.
    """
    layers = list(layers)
    # Those of other types read files, in training
    sources = [it for it in layers if not it.bottom and it.type != "Parameter"]
    inputs = [layer for layer in sources if layer.type == "Input"]
    picture, dims = _choose(inputs or sources, path)
    rest = [layer for layer in layers if layer not in sources]
    if picture != "data" and any("data" in layer.top for layer in rest):
        _rename(rest, "data", "data/own")
    _rename(rest, picture, "data")
    data = type(layers[0])(name="data", type="Input", top=["data"])
    data.input_param.shape.add(dim=dims)
    for layer in sources:
        if picture in layer.top:
            data.transform_param.MergeFrom(layer.transform_param)
    made = {"data", *(top for layer in rest for top in layer.top)}
    others = {top for layer in sources for top in layer.top} - made
    return branches.cut([data, *rest], lambda layer: _why_unfed(layer, others))


def _why_unfed(layer: Layer, others: set[str]) -> str:
    lacks = sorted(others.intersection(layer.bottom))
    return f"it reads {lacks[0]!r}, an input that a dream has not" if lacks else ""


def _choose(inputs: list[Layer], path: Path) -> tuple[str, list[int]]:
    """The input that takes a picture, and its shape, or a DreamError."""
    shapes = {top: dims for layer in inputs for top, dims in _shapes(layer)}
    fit = [top for top, dims in shapes.items() if len(dims) == 4 and dims[1] in (1, 3)]
    if fit:
        best = "data" if "data" in fit else fit[0]
        return best, shapes[best]
    needs = f"a dream needs {SHAPE}, or one channel of grey"
    if "data" in shapes:
        raise DreamError(f"{path}: 'data' has the shape {tuple(shapes['data'])}; {needs}")
    tops = [top for layer in inputs for top in layer.top]
    advice = "a deploy.prototxt has one, called 'data', of a known size"
    raise DreamError(f"{path} has the inputs {tops}; {needs}; {advice}")


def _shapes(layer: Layer) -> list[tuple[str, list[int]]]:
    """(top, its shape), of those that are known."""
    if layer.type == "Input":
        dims = [list(shape.dim) for shape in layer.input_param.shape]
        return list(zip(layer.top, dims * len(layer.top) if len(dims) == 1 else dims))
    if layer.type == "DummyData":
        p = layer.dummy_data_param
        old = zip(p.num, p.channels, p.height, p.width)
        dims = [list(shape.dim) for shape in p.shape] or [list(each) for each in old]
        return list(zip(layer.top, dims))
    height, width = _size(layer)
    is_grey = layer.transform_param.force_gray or not layer.image_data_param.is_color
    channels = layer.memory_data_param.channels or (1 if is_grey else 3)
    if not (layer.top and height and width):
        return []
    return [(layer.top[0], [1, channels, height, width])]


def _size(layer: Layer) -> tuple[int, int]:
    """The height and width of what a layer reads from files; 0 if unknown."""
    p, files, memory = layer.transform_param, layer.image_data_param, layer.memory_data_param
    crops = p.crop_size, layer.data_param.crop_size, files.crop_size
    side = max(*crops, layer.window_data_param.crop_size)
    height = p.crop_h or side or memory.height or files.new_height
    width = p.crop_w or side or memory.width or files.new_width
    return height, width


def _rename(layers: list[Layer], old: str, new: str) -> None:
    """Give a blob another name, and the layer of that name too."""
    for layer in layers:
        if layer.name == old:
            layer.name = new
        for blobs in (layer.bottom, layer.top):
            blobs[:] = [new if blob == old else blob for blob in blobs]
