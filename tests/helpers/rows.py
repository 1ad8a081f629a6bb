"""What tests of the table share: the least that a command has to be given, and values
that a row refuses.
"""

import pytest

from deepdream import recipe, settings
from deepdream.cli import parser
from deepdream.errors import DreamError
from deepdream.settings import REQUIRED

# The commands that write something
COMMANDS = [name for name in parser.COMMANDS if name not in ("serve", "look")]
PLACES = {
    "image": "a.png",
    "images": ["a.png"],
    "draw": ["3"],
    "source": "a.mp4",
    "pictures": "a",
    "layer": "both",
}


def required(command):
    """{name: value} of what has to be given."""
    rows = settings.rows_of(command)
    return {
        name: PLACES[name]
        for name, row in rows.items()
        if row.default is REQUIRED or name == "image"
    }


def begin(command):
    """A command line to which options may be added."""
    if command == "serve":
        return ["serve"]
    return recipe.words(recipe.complete(command, required(command)), "x.png")


def refusal(function, *args, **kwargs):
    """The message of the DreamError that this raises."""
    with pytest.raises(DreamError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def outside(row):
    """Numbers of the row's kind that lie just outside its limits."""
    least = 1 if row.kind is int else 1e-9
    found = []
    if row.low is not None:
        found.append(row.kind(row.low - (least if row.low < 1e6 else 1)))
    if row.above is not None:
        found.append(row.kind(row.above))
    if row.high is not None:
        found.append(
            row.kind(row.high + max(least, abs(row.high) * 1e-9 if row.kind is float else 1))
        )
    if row.below is not None:
        found.append(row.kind(row.below))
    return found
