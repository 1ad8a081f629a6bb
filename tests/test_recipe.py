"""Recipes: as words and back, what a picture carries, old pictures, and the files that
a recipe reads.
"""

import json
import math
import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rows import COMMANDS, PLACES

import deepdream as dd
from deepdream import recipe
from deepdream import settings as table
from deepdream.cli import parser
from deepdream.errors import DreamError
from deepdream.language import parse
from deepdream.pictures import from_json, to_json
from deepdream.settings import MAKERS, REQUIRED, File, Size

NASTY = [
    "-L2('a')",
    "--help",
    "--",
    "-",
    "-5",
    "-1.5e3",
    "--seed=3",
    "-o",
    "@x",
    "a b",
    " -x",
    "é'\"\n",
    "%s",
]


TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1).map("-{}".format),
)


LAYERS = st.from_regex("[-a-zA-Z0-9_/][-a-zA-Z0-9_/ ]*[-a-zA-Z0-9_/]", fullmatch=True)  # no commas


SIDES = st.integers(1, 10**9 - 1)


def values_of(row, command):
    """What hypothesis may choose for a setting of a command."""
    varies = command == "grid" and row.varies
    if row.choices:
        one = st.sampled_from(row.choices)
    elif row.kind is bool:
        one = st.booleans()
    elif row.kind is Size:
        one = st.builds("{}x{}".format, SIDES, SIDES)
    elif row.kind is int:
        one = st.integers(row.low, row.high)
    elif row.kind is float:
        low, high = (
            a if b is None else b for a, b in ((row.low, row.above), (row.high, row.below))
        )
        ends = {"exclude_min": row.above is not None, "exclude_max": row.below is not None}
        one = st.floats(low, high, **ends) | st.floats(low, min(high, low + 1e-3), **ends).filter(
            lambda x: x != low
        )
    else:
        one = LAYERS if varies else TEXTS
        one = (
            one.filter(lambda text: text != "--") if row.is_option else one
        )  # argparse reads --model=-- as nothing
    if isinstance(row.count, int):
        return st.lists(one, min_size=row.count, max_size=row.count)
    if row.count == "+":
        return st.lists(one, min_size=1, max_size=4)
    return one | st.lists(one, min_size=2, max_size=4, unique=True) if varies else one


@st.composite
def recipes(draw, commands):
    command = draw(st.sampled_from(commands))
    chosen = {}
    for name, row in table.rows_of(command).items():
        if name != "look" and (
            row.default is REQUIRED or draw(st.booleans())
        ):  # a look becomes other settings
            chosen[name] = draw(values_of(row, command))
    return recipe.complete(command, chosen)


DASHES = recipe.complete("draw", {"draw": ["-L2('both')", "3", "--"], "seed": 2**32 - 1})


TINY = recipe.complete(
    "zoom", {"image": "-x.png", "scale": -1e-05, "shift": [-1e-05, 1e6], "step_size": -1e-300}
)


SEVERAL = recipe.complete(
    "grid", {"image": "x.png", "step_size": [-1e-05, 0.1], "end": ["-a", "b"], "seed": [0, 7]}
)


@settings(max_examples=300, deadline=None)
@given(recipes(COMMANDS))
@example(DASHES)
@example(TINY)
@example(SEVERAL)
def test_the_command_line_of_a_recipe_makes_it_again(made):
    words = recipe.words(made, "-out.png")
    assert all(isinstance(word, str) for word in words)
    args = parser.parse(words)
    assert args.recipe == made and args.out == "./-out.png"
    for name, value in made.items():
        assert type(args.recipe[name]) is type(value) or isinstance(value, (int, float)), name


@settings(max_examples=300, deadline=None)
@given(recipes(MAKERS))
@example(DASHES)
@example(TINY)
@example(SEVERAL)
def test_a_picture_carries_its_recipe(made):
    carried = json.loads(
        to_json(recipe.record(made, model="toy", engine="caffe", sha256={"image": "0"}))
    )
    assert carried["deepdream"] == dd.__version__ and carried["sha256"] == {"image": "0"}
    again, expected = recipe.from_record(carried), made | {"model": "toy", "engine": "caffe"}
    for name, row in table.rows_of(made["command"]).items():
        if not row.kept:
            expected[name] = PLACES.get(name, row.default)
        elif row.kind is File and expected[name] and Path(expected[name]).is_absolute():
            expected[name] = Path(expected[name]).name or expected[name]
    assert again == expected
    assert list(recipe.record(again, sha256={"image": "0"})) == list(carried), (
        "in the same order, too"
    )


def test_only_the_name_of_a_file_is_recorded():
    made = recipe.complete(
        "dream", {"image": "/home/ann/sky.jpg", "mask": "near/m.png", "guide": "s3://b/g.jpg"}
    )
    carried = recipe.record(made, model="/home/toy")
    assert (carried["image"], carried["mask"], carried["guide"]) == (
        "sky.jpg",
        "near/m.png",
        "s3://b/g.jpg",
    )
    assert [*recipe.files(made)] == [(name, made[name]) for name in ("image", "guide", "mask")]


GUIDES = {
    "L2('a') + guide('b', 'g.jpg')": ["g.jpg"],
    "  2*guide('b',\"/home/ann/g.jpg\")\t-  guide( 'g.jpg' , 'g.jpg' ) ": [
        "/home/ann/g.jpg",
        "g.jpg",
    ],
    "(guide('ä', 'ö/ü.jpg') +\n\r\n guide('b', 'it\\'s.jpg')) / 3": ["ö/ü.jpg", "it's.jpg"],
    " + ".join(["guide('b', 'g.jpg')"] * 300): ["g.jpg"] * 300,
    "anemone fish": [],
    "guide(": [],
    "guide('b')": [],
    "guide('b', 3) + guide(image=x) + channel('g.jpg', 3)": [],
    "caricature('b', 'a.jpg', 2) - 3 * caricature('b', power=2, image='c.jpg')": ["a.jpg", "c.jpg"],
    "guide(layer='b', image='g.jpg')": ["g.jpg"],
    "\x01": [],
    " 7": [],
}


@pytest.mark.parametrize(("words", "paths"), GUIDES.items())
def test_guides_inside_an_objective_are_files_of_the_recipe(words, paths):
    made = recipe.complete("dream", {"image": "a.png", "objective": words})
    names = [f"objective {i + 1}" for i in range(len(paths))]
    assert recipe.all_files(made) == {"image": "a.png"} | dict(zip(names, paths))
    changed = recipe.with_files(made, lambda name, path: f"{name}/{path}")
    assert changed["image"] == "image/a.png"
    assert recipe.all_files(changed) == {n: f"{n}/{p}" for n, p in recipe.all_files(made).items()}
    same = recipe.with_files(made, lambda _, path: path)["objective"]
    assert same == (str(parse(words)) if paths else words), "no path, and not a byte changes"
    carried = recipe.record(made)["objective"]
    assert "home" not in carried and ("ö/ü.jpg" in carried) == ("ö/ü.jpg" in words), (
        "only the name of a full path"
    )
    assert [*recipe.files(made)] == [("image", "a.png")]


def test_guides_to_draw_are_files_of_the_recipe():
    made = recipe.complete(
        "draw", {"draw": ["banana", "guide('a', 'g.jpg')", "3", "guide('a', '/h/h.jpg')"]}
    )
    assert recipe.all_files(made) == {"draw 1": "g.jpg", "draw 2": "/h/h.jpg"}
    assert recipe.record(made)["draw"] == [
        "banana",
        "guide('a', 'g.jpg')",
        "3",
        "guide('a', 'h.jpg')",
    ]
    assert made["draw"][3] == "guide('a', '/h/h.jpg')", "the recipe itself stays"


def test_numbers_of_numpy_are_recorded_as_plain_ones():
    numbers = {
        "iter_n": np.int64(3),
        "octave_scale": np.float32(1.5),
        "step_size": np.float64(1e-5),
    }
    made = recipe.complete("dream", {"image": "a.png", **numbers})
    carried = json.loads(to_json(recipe.record(made)))
    assert [carried[name] for name in numbers] == [3, 1.5, 1e-5]


def test_running_leaves_no_trace_in_what_is_made():
    made = recipe.complete(
        "grid", {"image": "a.png", "seed": [1, 2], "workers": 3, "report": "r", "scheduler": "x"}
    )
    assert not {"workers", "report", "scheduler", "restart", "out"} & recipe.record(made).keys()


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ({}, {"command": "dream", "image": None}),
        ({"draw": ["banana"]}, {"command": "draw", "draw": ["banana"], "steps": 300}),
        (
            {
                "command": "grid",
                "image": "a.png",
                "end": "conv1, both",
                "iter_n": "5,10,20",
                "step_size": "1.5,-2",
            },
            {
                "end": ["conv1", "both"],
                "iter_n": [5, 10, 20],
                "step_size": [1.5, -2.0],
                "octave_n": 4,
            },
        ),
        ({"command": "grid", "image": "a.png", "seed": "3", "width": 64}, {"seed": 3, "width": 64}),
        (
            {"command": "dream", "image": "a.png", "guide": None, "seed": None, "clip": None},
            {"clip": True},
        ),
        (
            {
                "command": "zoom",
                "image": "a.png",
                "frame": 7,
                "stopped_at": 0.5,
                "sha256": {},
                "from": "elsewhere",
            },
            {"scale": 0.05, "shift": [0.0, 0.0], "fps": 25.0, "restart": False},
        ),
        ({"command": "zoom", "image": "a.png", "restart": True, "workers": 3}, {"restart": False}),
        (
            {"command": "journey", "size": "48x36", "shift": [1, -2]},
            {"shift": [1, -2], "image": None, "iter_n": 4},
        ),
    ],
)
def test_what_pictures_of_version_0_1_0_carry_is_read(old, expected):
    made = recipe.from_record({"deepdream": "0.1.0"} | old)
    assert made.items() >= expected.items()
    assert not {"frame", "stopped_at", "sha256", "from", "deepdream"} & made.keys()


@pytest.mark.parametrize(
    ("carried", "says"),
    [
        ({}, "carries no settings of deepdream's command line"),
        ({"command": "dream"}, "carries no settings of deepdream's command line"),
        (
            {"deepdream": "0.1.0", "command": "paint"},
            "carries no settings of deepdream's command line",
        ),
        (
            {"deepdream": "0.1.0", "command": "batch"},
            "carries no settings of deepdream's command line",
        ),
        (
            {"deepdream": "0.1.0", "command": ["dream"]},
            "carries no settings of deepdream's command line",
        ),
        ({"deepdream": "0.1.0", "iter_n": "10"}, "iter_n is '10'"),
        ({"deepdream": "0.1.0", "iter_n": {"a": 1}}, "iter_n is {'a': 1}"),
        ({"deepdream": "0.1.0", "image": ["a.png"]}, r"image is \['a.png'\]"),
        ({"deepdream": "0.1.0", "keep_color": 1}, "keep_color is 1; it must be True or False"),
        (
            {"deepdream": "0.1.0", "draw": "banana"},
            "draw is 'banana'; it must be one or more of: text",
        ),
        ({"deepdream": "0.1.0", "draw": []}, r"draw is \[\]"),
        ({"deepdream": "0.1.0", "command": "zoom"}, "image is missing"),
        (
            {"deepdream": "0.1.0", "command": "grid", "image": "a.png", "iter_n": "5,x"},
            "iter_n is 'x'",
        ),
        (
            {"deepdream": "0.1.0", "command": "grid", "image": "a.png", "iter_n": [5, "x"]},
            "iter_n is 'x'",
        ),
        (
            {"deepdream": "0.1.0", "command": "grid", "image": "a.png", "iter_n": []},
            r"iter_n is \[\]",
        ),
        (
            {"deepdream": "0.1.0", "command": "grid", "image": "a.png", "iter_n": [[5]]},
            r"iter_n is \[5\]",
        ),
        (
            {"deepdream": "0.1.0", "command": "zoom", "image": "a.png", "shift": [1]},
            r"shift is \[1\]; .* 2 numbers",
        ),
        (
            {"deepdream": "0.1.0", "command": "zoom", "image": "a.png", "shift": 1},
            "shift is 1; .* 2 numbers",
        ),
        # From strangers
        ({"deepdream": 5}, "deepdream is 5; it must be text"),
        ({"deepdream": "0.2.0", "guide": ""}, "guide is ''; it must be the path of a file"),
        ({"deepdream": "0.2.0", "mask": "\ud800"}, r"mask is '\\ud800'; it must be the path"),
        ({"deepdream": "0.2.0", "image": "a\0b"}, r"image is 'a\\x00b'"),
        ({"deepdream": "0.2.0", "model": []}, r"model is \[\]"),
        ({"deepdream": "0.2.0", "engine": {}}, "unknown engine '{}'"),
        ({"deepdream": "0.2.0", "seed": 10**400}, r"seed is 10{90,}…0+; it must be a whole number"),
        ({"deepdream": "0.2.0", "octave_scale": math.nan}, "octave_scale is nan"),
        ({"deepdream": "0.2.0", "sha256": []}, r"sha256 is \[\]; it must be texts by their names"),
        ({"deepdream": "0.2.0", "sha256": {"image": 5}}, "sha256 is {'image': 5}"),
        ({"deepdream": "0.2.0", "frame": -1}, "frame is -1; it must be a whole number, at least 0"),
        (
            {"deepdream": "0.2.0", "stopped_at": "half"},
            "stopped_at is 'half'; it must be a number from 0 to 1",
        ),
        ({"deepdream": "0.2.0", "preview": 1}, "preview is 1; it must be True or False"),
        ({"deepdream": "0.2.0", "end": {"a": "\x1b[2J"}}, r"end is {'a': '\\x1b\[2J'}"),
    ],
)
def test_what_cannot_be_replayed_is_refused(carried, says):
    with pytest.raises(DreamError, match=says):
        recipe.from_record(carried)


@pytest.mark.parametrize("name", ["image", "end", "engine", "sha256", "frame"])
def test_settings_nested_as_deeply_as_json_can_be_read_are_refused(name):
    for depth in range(900, 1000):
        carried = from_json(f'{{"deepdream": "0.2.0", "{name}": {"[" * depth + "]" * depth}}}')
        with pytest.raises(
            DreamError, match=rf"{name} is \[|nested too deeply|carries no settings"
        ):
            recipe.from_record(carried)


@pytest.mark.parametrize(
    "word", ["a b", "it's", "\x1b[2J", "a\nb'\\", "\u202eé", "\udcff\x9b", "🦆\t"]
)
def test_words_are_quoted_for_a_shell_so_that_they_can_be_printed(word):
    line = recipe.quote(["printf", "%s", word])
    assert line.isprintable() and (
        not word.isprintable() or line == shlex.join(["printf", "%s", word])
    )
    assert subprocess.run(["bash", "-c", line], capture_output=True).stdout == os.fsencode(word)


def test_a_picture_of_an_older_version_has_the_defaults_of_later_settings():
    carried = {"deepdream": "0.1.0", "command": "dream", "iter_n": 3}
    assert recipe.with_defaults(carried) == carried | {
        name: row.default
        for name, row in table.rows_of("dream").items()
        if row.kept and row.default is not None and name != "iter_n"
    }
