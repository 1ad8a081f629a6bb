"""Names that a person can read, from what a source calls its operations."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from onnx import NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter puts the modules
TAKEN = "data", "data/input"  # that a network of ours has


class Place(NamedTuple):
    """The module that an operation belongs to, and a word for the operation."""

    scope: str
    word: str


def name_nodes(nodes: Iterable["NodeProto"]) -> list[str]:
    """A name for each node, such as 'layer3.2.conv2', no two alike."""
    nodes = list(nodes)
    places = _drop_common([_place(node) for node in nodes])
    scopes = {place.scope for place in places}
    parents = {scope.rpartition(".")[0] for scope in _with_parents(scopes)}
    kinds: dict[str, set[str]] = {}
    last: dict[str, int] = {}
    for i, (node, place) in enumerate(zip(nodes, places)):
        kinds.setdefault(place.scope, set()).add(node.op_type)
        last[place.scope] = i
    names = []
    for i, (node, (scope, word)) in enumerate(zip(nodes, places)):
        if not scope or scope in parents:
            names.append(f"{scope}.{word}")
        elif len(kinds[scope]) == 1 or last[scope] == i:
            names.append(scope)
        else:  # SiLU is a Sigmoid and a Mul; the last is the module's output
            names.append(f"{scope}.{node.op_type.lower()}")
    return _make_unique([_make_safe(name) for name in names])


def _with_parents(scopes: Iterable[str]) -> set[str]:
    found = set()
    for scope in scopes:
        while scope:
            found.add(scope)
            scope = scope.rpartition(".")[0]
    return found


def _place(node: "NodeProto") -> Place:
    word = node.op_type.lower()
    owner = _weight_owner(node)
    if owner:
        return Place(owner, word)
    for each in node.metadata_props:
        if each.key == SCOPES:
            scopes = re.findall(r"'([^']*)'", each.value)
            if len(scopes) > 1:
                return Place(scopes[-2], re.sub(r"(_\d+)+$", "", scopes[-1]))
    name = re.sub(r"__\d+$", "", node.name).strip("/")
    if "/" in name:
        scope, _, own = name.rpartition("/")
        return Place(_join(scope.split("/")), _plain(own, word))
    made = next(value for value in node.output if value)
    for each in (name, made):
        if each and not _is_number(each, word):
            return Place("", each)
    return Place("", word)


def _is_number(name: str, word: str) -> bool:
    """Whether a name is only that of the operation, a number, or both."""
    name = re.sub(r"^(node_|onnx::)|_output|[/_:\d]+", "", name.lower())
    return bool(re.fullmatch(f"({re.escape(word)})*|node", name))


def _weight_owner(node: "NodeProto") -> str:
    """The module whose weights a convolution or matrix product has, in torch."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.input) < 2:
        return ""
    name = node.input[1]
    return name.removesuffix(".weight") if name.endswith(".weight") else ""


def _plain(own: str, word: str) -> str:
    """The word for an operation: without the exporter's number, in small letters."""
    own = re.sub(r"(_\d+)+$", "", own)
    return word if own.lower() == word else own


def _join(parts: list[str]) -> str:
    """'layer3', 'layer3.2', 'conv2' -> 'layer3.2.conv2'."""
    joined: list[str] = []
    for part in parts:
        if joined and part.startswith(joined[-1] + "."):
            joined.pop()
        joined.append(part)
    return ".".join(joined)


def _drop_common(places: list[Place]) -> list[Place]:
    """Without the modules that all of them lie in, such as 'model.'."""
    while places:
        heads = {place.scope.partition(".")[0] for place in places}
        tails = [place.scope.partition(".")[2] for place in places]
        if len(heads) > 1 or heads == {""} or not all(tails):
            break
        places = [Place(tail, place.word) for tail, place in zip(tails, places)]
    return places


def _make_safe(name: str) -> str:
    """Without what a prototxt, a shell or a list of layers would misread."""
    return re.sub(r"[^\w.-]+", "_", name.strip("./"), flags=re.ASCII).lstrip("-") or "layer"


def _make_unique(names: list[str]) -> list[str]:
    """The names, with a number where an earlier one is equal."""
    taken = {*names, *TAKEN}
    used = set(TAKEN)
    unique = []
    for name in names:
        new, number = name, 1
        while new in used or (number > 1 and new in taken):
            number += 1
            new = f"{name}_{number}"
        used.add(new)
        unique.append(new)
    return unique
