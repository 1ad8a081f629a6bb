"""Networks of the list that are published as ONNX: download and import them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .importing import Imported, import_net

if TYPE_CHECKING:
    from ..nets.zoo import Model

# What networks that Caffe trained want, wherever they have been since
CAFFES = {"order": "bgr", "value_range": "0..255", "mean": [123, 117, 104], "std": [1, 1, 1]}


def import_listed(model: "Model", on_step: Callable[[str], object]) -> Imported:
    """Download such a network, and import it into the cache.

    on_step: as in `import_net`, and this raises what that does, or
    NoWeightsError.
    """
    from ..nets import zoo  # late, as it imports protobuf
    from ..nets.download import fetched

    out = zoo.cache() / model.name
    with fetched(model) as (file, source):
        pixels = CAFFES if source.get("order") == "bgr" else {}
        return import_net(
            file,
            out,
            **pixels,
            title=model.title,
            licence=model.licence,
            replace=True,
            on_step=on_step,
        )
