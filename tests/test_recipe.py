"""The table of settings, and what is derived from it: checks, the command line, what a
picture carries, the studio.
"""

import ast
import inspect
import json
import math
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import main, refused, write_model
from hypothesis import example, given, settings
from hypothesis import strategies as st

import deepdream as dd
from deepdream import batch, recipe, sheets
from deepdream import making as jobs
from deepdream import settings as table
from deepdream.cli import main as cli
from deepdream.cli import parser
from deepdream.errors import DreamError
from deepdream.nets import engines
from deepdream.pictures import SAMPLES, from_json, to_json
from deepdream.settings import MAKERS, REQUIRED, ROWS, TABLE, File, Setting, Size

ROOT = Path(__file__).parent.parent
COMMANDS = [
    name for name in parser.COMMANDS if name not in ("serve", "look")
]  # those that write something
PLACES = {
    "image": "a.png",
    "images": ["a.png"],
    "draw": ["3"],
    "source": "a.mp4",
    "pictures": "a",
    "layer": "both",
}
COMMANDS_AND_NUMBERS = [
    (command, name)
    for command in parser.COMMANDS
    for name, row in table.rows_of(command).items()
    if row.kind in (int, float)
]


def required(command):
    """{name: value} of what has to be given."""
    rows = table.rows_of(command)
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


# The table


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_whole(row):
    words = row.help.split()
    assert len(words) >= 3 and row.help[0] not in " (" and not row.help.endswith((".", " ")), (
        "help says what it does"
    )
    assert "  " not in row.help and not row.help.startswith("default")
    assert row.kind in (int, float, bool, str, File, Size)
    assert set(row.commands) <= set(parser.COMMANDS)
    assert set(row.but) <= {*row.commands, "studio"}
    assert all(hasattr(row, name) for different in row.but.values() for name in different)
    if row.kind in (int, float):
        assert (row.low is None) != (row.above is None) and (row.high is None) != (
            row.below is None
        ), "two limits"
    if row.is_option:
        assert re.fullmatch("--[a-z][a-z-]+", row.option) and (
            row.alias is None or row.alias.startswith("--")
        )
    else:
        assert row.option == row.option.upper(), "an argument by its place"
    if row.knob:
        assert "dream" in row.commands, "the studio dreams"


def test_names_are_unique_and_so_are_the_options_of_a_command():
    assert len(ROWS) == len(TABLE) and all(ROWS[row.name] is row for row in TABLE)
    for command in parser.COMMANDS:
        rows = table.rows_of(command).values()
        options = [
            option for row in rows if row.is_option for option in (row.option, row.alias) if option
        ]
        assert rows and len(set(options)) == len(options), command
        assert not {"--out", "--help", "--version"} & set(options)
    labels = [row.knob for row in table.knobs().values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("command", parser.COMMANDS)
def test_defaults_pass_their_own_check(command):
    made = recipe.complete(command, required(command))
    assert made["command"] == command and made.keys() == {"command", *table.rows_of(command)}
    assert recipe.complete(command, made) == made
    for name, row in table.rows_of(command).items():
        if row.default is not REQUIRED:
            assert made[name] == PLACES.get(name, row.default)
            table.check(name, row.default)


@pytest.mark.parametrize(
    ("command", "functions"),
    [
        ("dream", [dd.deepdream, dd.make_step]),
        ("draw", [dd.draw]),
        ("zoom", [dd.zoom]),
        ("journey", [dd.journey]),
        ("video", [dd.dream_video, dd.steady]),
    ],
)
def test_defaults_are_those_of_the_functions(command, functions):
    """But that a film on the command line has the seed 0, and a journey's noise a size
    that its settings record.
    """
    rows, found = table.rows_of(command), 0
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            row = rows.get(name)
            if (
                row is None
                or name in ("end", "objective", "size")
                or (command, name) == ("zoom", "seed")
            ):
                continue
            if parameter.default is not parameter.empty and row.kept:
                found += 1
                given = (
                    list(parameter.default)
                    if isinstance(parameter.default, tuple)
                    else parameter.default
                )
                assert given == row.default, name
    assert found >= 2


def test_choices_are_those_of_the_engines():
    assert set(ROWS["engine"].choices) == set(engines.ENGINES)


def test_only_the_command_line_knows_argparse():
    files = sorted((ROOT / "deepdream").rglob("*.py"))
    assert len(files) > 25
    for path in files:
        text = path.read_text()
        assert "_actions" not in text, path
        imported = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imported |= {getattr(node, "module", None), *(alias.name for alias in node.names)}
        if path.parent.name != "cli" and path.name != "__main__.py":
            assert not {"argparse", "cli", "deepdream.cli"} & imported, path


# The command line


@pytest.mark.parametrize("command", parser.COMMANDS)
def test_help_shows_every_setting(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = "".join(capsys.readouterr().out.split())  # without the places where lines are broken
    assert stop.value.code == 0
    for row in table.rows_of(command).values():
        assert row.option in text and "".join(row.help.split()) in text
        if row.is_option and row.kind is not bool and row.default not in (None, REQUIRED):
            values = row.default if isinstance(row.default, list) else [row.default]
            assert f"(default:{''.join(map(str, values))})" in text


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
    "caricature('b', 'a.jpg', 2) - 3 * caricature('b', power=2, image='c.jpg') + guide('b', image='g.jpg')": [
        "a.jpg",
        "c.jpg",
        "g.jpg",
    ],
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
    assert (
        same == words
        if not paths
        else ast.dump(ast.parse(same)) == ast.dump(ast.parse(words.strip()))
    )
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
    ("value", "text"),
    [
        (1e-05, "0.00001"),
        (-1e-07, "-0.0000001"),
        (0.1, "0.1"),
        (2.0, "2.0"),
        (1e16, "10000000000000000.0"),
        (3, "3"),
    ],
)
def test_numbers_are_written_as_people_write_them(value, text):
    assert table.text_of(value) == text


def test_an_unknown_option_suggests_the_closest():
    for command in ("dream", "batch", "grid", "video"):
        says = rf"^deepdream: unknown option '--scale'; did you mean '--octave-scale'.*`deepdream {command} --help`"
        refused(main(*begin(command), "--scale", "2"), says)
    refused(
        main(*begin("dream"), "--iteration-s=5"),
        "unknown option '--iteration-s'; did you mean '--iterations'",
    )
    refused(main(*begin("draw"), "--octaves", "5"), "unknown option '--octaves'")


def test_an_option_is_never_cut_short():
    refused(main(*begin("dream"), "--octaves", 2, "--iter", 3), "unknown option '--iter'")
    refused(
        main(*begin("journey"), "--frames", 3),
        "unknown option '--frames'; did you mean '--frames-per-layer'",
    )
    refused(
        main("layers", "--mod", "squeezenet_v1.1"), "unknown option '--mod'; did you mean '--model'"
    )
    refused(main("models", "--vers"), "unknown option '--vers'")


def test_options_that_are_not_in_the_table_are_suggested_too():
    for words in (["--output", "x.png"], ["--output=x.png"], ["-o", "x.png", "--output", "y.png"]):
        refused(
            main("dream", "a.png", *words),
            "^deepdream: unknown option '--output'; did you mean '--out'",
        )
    says = r"unknown option '--quantity'; allowed: --help, --model, --size \(`deepdream layers --help` shows all"
    refused(main("layers", "--quantity"), says)
    refused(main("dream", "a.png", "--iterations", 5), "required: -o/--out")
    refused(
        main("dream", "a.png", "-o", "x.png", "--model", "--seed", 3),
        "argument --model: expected one argument",
    )


# Pictures of older versions


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


COMMANDS_AND_TEXTS = [
    (command, name)
    for command in COMMANDS
    for name, row in table.rows_of(command).items()
    if row.kind in (str, File) and row.is_option and not row.choices and name != "look"
]


@pytest.mark.parametrize(("command", "name"), COMMANDS_AND_TEXTS)
def test_an_empty_text_is_refused_and_not_left_out(command, name):
    row = table.rows_of(command)[name]
    words = [word for word in begin(command) if not word.startswith(f"{row.option}=")]
    says = "a value is missing" if row.varies and command == "grid" else "it must be"
    refused(main(*words, f"{row.option}="), f"^deepdream: ({row.option}|{row.alias}) is ''; {says}")


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


# Values that are refused


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.kind in (int, float)])
def test_a_wrong_number_is_refused_in_python(name):
    row = ROWS[name]
    wrong = [
        math.nan,
        math.inf,
        -math.inf,
        True,
        "5",
        "",
        b"5",
        [5],
        {},
        object(),
        1j,
        np.bool_(True),
        *outside(row),
    ]
    wrong += [1.5, np.float32(1.0)] if row.kind is int else []
    wrong += (
        [[math.nan, 0.0], [0.0, True], [0.0], [0.0, 0.0, 0.0], ["0", "0"]] if row.count == 2 else []
    )
    for value in wrong:
        says = f"{name} is {value!r}; it must be "
        assert refusal(table.check, name, value).startswith(says)
        with pytest.raises(DreamError) as caught:
            table.check(name, value)
        assert caught.value.named(table.option(name)).startswith(f"{table.option(name)} is ")
    for limit in (row.low, row.high):
        if limit is not None:
            table.check(name, row.kind(limit) if row.count is None else [row.kind(limit)] * 2)
            if row.count is None and abs(limit) < 2**62:
                table.check(name, (np.int64 if row.kind is int else np.float64)(limit))


def test_nothing_is_refused_where_it_is_the_default():
    for name in ("seed", "tile", "halo", "width", "stop", "cross_fade", "workers"):
        table.check(name, None)
    for name in (
        "iter_n",
        "octave_n",
        "octave_scale",
        "step_size",
        "jitter",
        "smooth",
        "steps",
        "fps",
        "clip",
    ):
        assert f"{name} is None" in refusal(table.check, name, None)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("keep_color", 1, "keep_color is 1; it must be True or False"),
        ("keep_color", "yes", "keep_color is 'yes'; it must be True or False"),
        ("size", "64", "size is '64'; it must be WIDTHxHEIGHT in pixels, such as 1024x575"),
        ("size", (64, 48), r"size is \(64, 48\)"),
        ("size", "64x48 ", "size is '64x48 '"),
        ("size", "64X48", "size is '64X48'"),
        ("image", 5, "image is 5; it must be the path of a file"),
        ("end", ["a"], r"end is \['a'\]; it must be text"),
        ("engine", "tensorflow", "unknown engine 'tensorflow'; allowed: caffe, torch"),
        ("engine", "tork", "unknown engine 'tork'; did you mean 'torch'"),
        ("dtype", 16, "unknown dtype '16'"),
        ("draw", [3], r"draw is \[3\]; it must be one or more of: text"),
        (
            "octave_scale",
            1,
            "octave_scale is 1; it must be a number, above 1 and at most 100, such as 1.4",
        ),
        ("scale", 1.0, "scale is 1.0; it must be a number, at least -1 and below 1, such as 0.05"),
        ("frames", 0, "frames is 0; it must be a whole number, at least 1$"),
        ("jitter", -1, "jitter is -1; it must be a whole number of pixels, at least 0$"),
        ("iter_n", 10_001, "iter_n is 10001; it must be a whole number from 0 to 10000$"),
        (
            "fps",
            0,
            "fps is 0; it must be a number of frames a second from 0.01 to 240, such as 25.0",
        ),
    ],
)
def test_a_refusal_says_what_is_allowed(name, value, says):
    with pytest.raises(DreamError, match=f"^{says}"):
        table.check(name, value)


@pytest.mark.parametrize(("command", "name"), COMMANDS_AND_NUMBERS)
def test_a_wrong_number_is_refused_on_the_command_line(command, name):
    row = table.rows_of(command)[name]
    for word in (
        "nan",
        "inf",
        "-inf",
        "five",
        "",
        "1.5.2",
        "0x10",
        *map(table.text_of, outside(row)),
    ):
        words = [row.option, word, word] if row.count == 2 else [f"{row.option}={word}"]
        if row.count == 2 and word == "-inf":  # looks like an option
            continue
        done = main(*begin(command), *words)
        refused(done, rf"^deepdream: {row.option} is .*; (it must be|a value is missing)")
        assert name == row.option[2:] or not re.search(rf"\b{name} is", done.stderr)
    if row.kind is int:
        refused(
            main(*begin(command), f"{row.option}=1.5"),
            f"{row.option} is '1.5'; it must be a whole number",
        )


NUMBERS = "iter_n", "octave_n", "octave_scale", "step_size", "jitter", "smooth", "seed", "tile"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def net(model):
    return dd.load_net(model)


@pytest.mark.parametrize("name", NUMBERS)
def test_python_a_job_and_the_command_line_refuse_the_same(net, model, tmp_path, name):
    picture = np.zeros((30, 40, 3), np.float32)
    dd.save_image(tmp_path / "a.png", picture)
    for value in [*outside(ROWS[name]), math.nan]:
        says = refusal(dd.deepdream, net, picture, **{"end": "both", name: value})
        assert says.startswith(f"{name} is {value!r}; it must be ")
        job = {
            "command": "dream",
            "image": str(tmp_path / "a.png"),
            "out": str(tmp_path / "b.png"),
            name: value,
        }
        assert batch.work(job | {"model": str(model)}, dd.__version__)["error"] == says
        if value == value or ROWS[name].kind is float:
            done = main(
                "dream",
                job["image"],
                "-o",
                job["out"],
                f"{ROWS[name].option}={table.text_of(value)}",
            )
            assert done.returncode == 2
            assert done.stderr == f"deepdream: {says.replace(name, ROWS[name].option, 1)}\n"
    assert not (tmp_path / "b.png").exists()


def test_a_job_with_a_setting_that_no_dream_has(tmp_path):
    job = {"command": "dream", "image": "a.png", "out": str(tmp_path / "b.png")}
    for name, says in {
        "scale": "unknown setting 'scale'; did you mean 'octave_scale'",
        "frames": "unknown setting 'frames'",
        "iter": "unknown setting 'iter'; did you mean 'iter_n'",
    }.items():
        assert re.match(says, batch.work(job | {name: 1}, dd.__version__)["error"])


def test_words_of_a_grid_that_cannot_be_read():
    for word, says in {
        "1,,2": "--iterations is '1,,2'; a value is missing between its commas",
        "1,2,": "--iterations is '1,2,'; a value is missing between its commas",
        "": "--iterations is ''; a value is missing between its commas",
        "1,b": "--iterations is 'b'; it must be a whole number from 0 to 10000",
        "1,20000": "--iterations is 20000; it must be a whole number from 0 to 10000",
    }.items():
        refused(main(*begin("grid"), "--iterations", word), re.escape(says))
    assert parser.parse([*begin("grid"), "--iterations", "1, 2,1,3 ,2"]).recipe["iter_n"] == [
        1,
        2,
        3,
    ], "each once"
    assert parser.parse([*begin("grid"), "--iterations", "2,2"]).recipe["iter_n"] == 2


# One row more


@pytest.fixture
def contrast(monkeypatch):
    """The table with one more row, and nothing else."""
    row = Setting(
        "contrast",
        "--contrast",
        float,
        "how strong the colours of the picture become",
        table.DREAMS,
        1.0,
        low=0,
        high=10,
        varies=True,
        to=("deepdream",),
        knob="Contrast",
    )
    monkeypatch.setattr(table, "TABLE", (*TABLE, row))
    monkeypatch.setattr(table, "ROWS", ROWS | {"contrast": row})
    monkeypatch.setattr(sheets, "ROWS", ROWS | {"contrast": row})
    parser.make_parser.cache_clear()
    yield row
    parser.make_parser.cache_clear()


def test_a_new_row_is_everywhere(contrast, capsys, net, tmp_path):
    for command in table.DREAMS:
        args = parser.parse([*begin(command), "--contrast", "2"])
        assert args.recipe["contrast"] == 2.0 and recipe.words(args.recipe, "x.png")[-4:-2] == [
            "--contrast",
            "2.0",
        ]
        assert parser.parse(begin(command)).recipe["contrast"] == 1.0
        refused(
            main(*begin(command), "--contrast", "11"),
            "--contrast is 11.0; it must be a number from 0 to 10, such",
        )
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert "how strong the colours" in " ".join(capsys.readouterr().out.split())
    refused(main(*begin("draw"), "--contrast", "2"), "unknown option '--contrast'")

    made = recipe.complete("dream", {"image": "a.png", "contrast": 3.5})
    assert (
        recipe.from_record(recipe.record(made)) == made and recipe.record(made)["contrast"] == 3.5
    )
    assert recipe.from_record({"deepdream": "0.2.0", "image": "a.png"})["contrast"] == 1.0, (
        "of a picture before it"
    )
    assert recipe.with_defaults({"deepdream": "0.2.0", "command": "dream"})["contrast"] == 1.0
    assert refusal(recipe.complete, "dream", {"contrast": "3"}).startswith("contrast is '3'")
    assert jobs.prepare(made, net)[2]["contrast"] == 3.5, "`deepdream` gets it"

    several = parser.parse([*begin("grid"), "--contrast", "1,2.5"]).recipe
    grid = sheets.plan_grid(several, str(tmp_path / "s.png"))
    assert grid.labels == ["contrast 1.0", "contrast 2.5"] and [
        job["contrast"] for job in grid.jobs
    ] == [1.0, 2.5]
    made = parser.parse([*begin("batch"), "--contrast", "4"]).recipe
    assert jobs.dream_job(made, image="a.png", out="b.png")["contrast"] == 4.0


def test_a_new_row_has_a_knob(contrast, monkeypatch):
    pytest.importorskip(
        "ipywidgets", reason="the studio is not installed: pip install ipywidgets anywidget"
    )
    from deepdream.studio import knobs

    monkeypatch.setattr(knobs, "ROWS", table.knobs())
    panel = knobs.Knobs(None, SAMPLES)
    knob = panel["contrast"]
    assert (knob.value, knob.min, knob.max) == (1.0, 0, 10)
    assert (knob.description, knob.tooltip) == (
        "Contrast",
        "how strong the colours of the picture become",
    )
    knob.value = 2.5
    assert panel.recipe()["contrast"] == 2.5 and "--contrast 2.5" in knobs.command_line(
        panel.recipe()
    )
