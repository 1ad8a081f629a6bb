"""Looks: recipes with a name, for people who want to choose a picture and not a layer.
looks.toml has them.

A look is where a recipe begins: whatever a person gives as well takes its place.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .errors import DreamError, unknown
from .settings import Params

# What to climb; a look has one of them, or a layer with a guide
GOALS = "end", "guide", "objective"


class Look(NamedTuple):
    """A look.

    about: what it shows, in words. common: its settings, {name in Python: value}.
    networks: {a layer that tells the network: the settings for it}.
    """

    name: str
    about: str
    common: Params
    networks: dict[str, Params]


@cache
def read() -> dict[str, Look]:
    """{name: look} of all looks, in the order in which they are shown."""
    path = Path(__file__).parent / "looks.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    layers = table.pop("networks")
    looks = {}
    for name, says in table.items():
        networks = {layers[each]: says.pop(each) for each in layers if each in says}
        looks[name] = Look(name, says.pop("about"), says, networks)
    return looks


def find(name: str) -> str:
    """The name of a look as it is written; a DreamError with the closest names for one
    that is none.
    """
    looks = {each.lower(): each for each in read()}
    words = " ".join(name.split())
    if words.lower() not in looks:
        advice = "`deepdream looks` lists them all"
        raise unknown("look", words.capitalize(), looks.values(), advice)
    return looks[words.lower()]


def of_network(model: str | Path) -> dict[str, Params]:
    """{name: what it says for this network} of the looks that this has; empty where
    layers have other names. Raises DreamError for an unknown network.
    """
    from .nets import zoo  # late, because it imports protobuf

    there = {layer.name for layer in zoo.layers(zoo.find(model))}
    return {
        look.name: look.common | says
        for look in read().values()
        for layer, says in look.networks.items()
        if layer in there
    }


def begin(given: Mapping[str, Any]) -> Params:
    """Settings that name a look, {"look": "Eyes", "iter_n": 20}, with those of the look
    in its place.

    Without a `model`, the answer names the one that is taken. Raises DreamError for an
    unknown look, and for a network that does not have it.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if "look" not in given:
        return given
    from .nets import download  # as above

    name = find(given.pop("look"))
    if "model" not in given:
        given["model"] = download.default()
    offered = of_network(given["model"])
    if name not in offered:
        which = "looks are for networks with the layers of GoogLeNet or SqueezeNet"
        if offered:
            which = f"it has {', '.join(offered)}"
        raise DreamError(f"{given['model']} does not have the look {name!r}; {which}")
    replaced = _replaced_goals(given)
    says = {name: value for name, value in offered[name].items() if name not in replaced}
    return says | given


def _replaced_goals(given: Params) -> tuple[str, ...]:
    """Of a look's goals, those that the person's own replace."""
    if "objective" in given:
        return GOALS
    if "end" in given:
        return "objective", "end"
    if "guide" in given:
        return "objective", "guide"
    return ()
