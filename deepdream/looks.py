"""Looks: recipes with a name, from looks.toml. A recipe begins with one;
whatever a person gives as well replaces what the look says.
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
    """A recipe with a name."""

    name: str
    about: str  # what it shows, in words
    common: Params  # its settings
    networks: dict[str, Params]  # {a network's name, or a layer of it: settings for it}
    only: list[str]  # the networks that have it, if GoogLeNet does not


@cache
def read() -> dict[str, Look]:
    """{name: look} of all looks, in the order in which they are shown."""
    table = tomllib.loads(Path(__file__).with_name("looks.toml").read_text("utf-8"))
    signs = table.pop("networks")
    looks = {}
    for name, says in table.items():
        networks = {signs[each]: says.pop(each) for each in signs if each in says}
        only = [] if signs["googlenet"] in networks else list(networks)
        looks[name] = Look(name, says.pop("about"), says, networks, only)
    return looks


def find(name: str) -> str:
    """The name of a look as it is written. Raises DreamError for one that is none."""
    looks = {each.lower(): each for each in read()}
    words = " ".join(name.split())
    if words.lower() not in looks:
        named = words.capitalize()
        raise unknown("look", named, looks.values(), "`deepdream looks` lists them all")
    return looks[words.lower()]


def of_network(model: str | Path) -> dict[str, Params]:
    """{name: what it says for this network} of the looks that this has,
    perhaps none. Raises DreamError for an unknown network.
    """
    from .nets import inputs, zoo  # late, because it imports protobuf

    looks = read().values()
    found = zoo.find(model)
    signs = {found.name}  # of a network with looks of its own, which go before
    if not any(signs & look.networks.keys() for look in looks):
        signs = {layer.name for layer in inputs.layers(found)}
    return {
        look.name: look.common | says
        for look in looks
        for sign, says in look.networks.items()
        if sign in signs
    }


def begin(given: Mapping[str, Any]) -> Params:
    """Settings that name a look, {"look": "Eyes", "iter_n": 20}, with those
    of the look and its `model` in its place. Raises DreamError for an
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
    replaced: tuple[str, ...] = ()  # goals of the look
    if "objective" in given:
        replaced = GOALS
    elif "end" in given or "guide" in given:
        replaced = ("objective",)
    says = {name: value for name, value in offered[name].items() if name not in replaced}
    return says | given
