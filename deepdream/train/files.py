"""What a training writes: the new network, and the state from which it is resumed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from ..errors import DreamError
from ..films import STATE, check_same
from ..nets import shapes
from ..nets.caffemodel import Weights, write_weights
from ..nets.shapes import Layer
from ..paths import whole
from ..pictures import to_json
from ..recipe import Recipe
from .head import as_net


def keep_state(out: Path, state: dict[str, Any], settings: Recipe) -> None:
    """Write all that a later run needs to resume. state: {name: array or number}."""
    with whole(out / STATE) as part:
        np.savez(part, **state, settings=np.array(to_json(settings)))


def read_state(out: Path, settings: Recipe, pictures: str) -> dict[str, np.ndarray]:
    """What `keep_state` wrote last, if anything. pictures: their `fingerprint`.

    Raises DreamError if it is damaged, or was begun with others.
    """
    path = out / STATE
    if not path.exists():
        return {}
    try:
        with np.load(path) as file:
            kept = dict(file)
        begun = json.loads(str(kept["settings"]))
    except Exception as error:  # a damaged file can raise nearly anything
        cure = "--restart trains from the beginning"
        raise DreamError(f"cannot read {path}: {error}; {cure}") from None
    check_same(out, begun, settings, "network")
    if str(kept["pictures"]) != pictures:
        fault = f"the network in {out} has learnt other pictures than those given now"
        cure = f"perhaps with --from {out}, or begin again with --restart"
        raise DreamError(f"{fault}; choose another name, {cure}")
    return kept


def write_network(
    folder: Path, name: str, layers: list[Layer], weights: Weights, texts: dict[str, str]
) -> None:
    """Write a network for `load_net` and Caffe. texts: {name of another
    file: its text}.
    """
    needed = {layer: weights[layer] for layer in shapes.param_shapes(layers)}
    write_weights(folder / "weights.caffemodel", needed)
    prototxt = text_format.MessageToString(as_net(layers, name))
    for file, text in {"deploy.prototxt": prototxt, **texts}.items():
        with whole(folder / file) as part:
            part.write_text(text, encoding="utf-8")


def to_toml(table: Mapping[str, object]) -> str:
    """The lines of a table without tables in it; what is None is left out."""
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in table.items()
        if value is not None
    ]
    return "".join(lines)
