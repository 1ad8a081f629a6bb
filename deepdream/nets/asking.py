"""The shapes of layers that only Caffe knows: it loads one alone."""

from functools import lru_cache
from importlib.util import find_spec

from ..paths import temporary_folder
from .layer_shapes import Layer, Shape, TopsAndParams

# The further types that this project's Caffe runs in a deploy.prototxt
TYPES = (
    *("Im2col", "SPP", "Embed", "Parameter", "MaxUnPool", "BatchReindex", "Filter"),
    *("LSTM", "RNN", "LSTMUnit", "PriorBox", "DetectionOutput"),
    *("Proposal", "PSROIPooling"),
)


def why_unknown(kind: str) -> str:
    """Why the shapes of such layers cannot be had; "" if they can."""
    if find_spec("caffe"):
        return ""
    return f"only Caffe knows layers of the type {kind}; `make caffe` installs it"


def ask(layer: Layer, bottoms: list[Shape]) -> TopsAndParams:
    """The shapes of its tops and parameters, or a ValueError in Caffe's words."""
    return _ask(layer.SerializeToString(deterministic=True), tuple(bottoms))


@lru_cache(maxsize=4096)
def _ask(serialized: bytes, bottoms: tuple[Shape, ...]) -> TopsAndParams:
    import caffe
    from caffe.proto.caffe_pb2 import LayerParameter, NetParameter  # pyright: ignore

    layer = LayerParameter.FromString(serialized)
    net = NetParameter()
    for i, shape in enumerate(bottoms):
        data = net.layer.add(name=f"bottom{i}", type="Input", top=[f"bottom{i}"])
        data.input_param.shape.add(dim=shape)
    tops = [f"top{i}" for i in range(len(layer.top))]
    net.layer.add().CopyFrom(layer)
    last = net.layer[-1]
    last.bottom[:] = [f"bottom{i}" for i in range(len(bottoms))]
    last.top[:] = tops
    with temporary_folder() as folder:
        path = folder / "layer.prototxt"
        path.write_text(str(net), encoding="utf-8")
        try:
            alone = caffe.Net(str(path), caffe.TEST)
            alone.reshape()
        except RuntimeError as error:
            raise ValueError(str(error).split("] ", 1)[-1]) from None
    params = [tuple(blob.shape) for blob in alone.params.get(layer.name, [])]
    return [tuple(alone.blobs[top].shape) for top in tops], params
