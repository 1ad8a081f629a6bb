"""The table of settings, and what is derived from it: checks, the command line, the
studio, what is passed to which function.
"""

import ast
import inspect
import math
import re
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import main, refused, write_model
from rows import COMMANDS, PLACES, begin, outside, refusal, required

import deepdream as dd
from deepdream import batch, jobs, looks, making, recipe, sheets
from deepdream import settings as table
from deepdream.cli import main as cli
from deepdream.cli import parser
from deepdream.errors import DreamError
from deepdream.nets import engines
from deepdream.pictures import SAMPLES
from deepdream.settings import REQUIRED, ROWS, TABLE, File, Size

ROOT = Path(__file__).parent.parent


# What may differ in one command; neither its name nor its kind, nor who receives it
OTHER_COLUMNS = "option", "alias", "metavar", "count", "kept"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_whole(row):
    words = row.help.split()
    assert len(words) >= 3 and row.help[0] not in " (" and not row.help.endswith((".", " ")), (
        "help says what it does"
    )
    assert "  " not in row.help and not row.help.startswith("default")
    assert row.kind in (int, float, bool, str, File, Size)
    assert set(row.commands) <= set(parser.COMMANDS)
    assert {*row.but, *row.help_in} <= {*row.commands, "studio"}
    for different in row.but.values():
        assert different.keys() <= {"default", "old_default", *OTHER_COLUMNS}
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
    places = [(row.name, command) for row in TABLE for command in row.commands]
    assert len(set(places)) == len(places)
    twice = [row for row in TABLE if ROWS[row.name] is not row]
    assert [(row.name, row.commands) for row in twice] == [("size", ("draw",))]
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
        says = "^deepdream: unknown option '--scale'; did you mean '--octave-scale'"
        says += f".*`deepdream {command} --help`"
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
    says = "unknown option '--quantity'; allowed: --help, --model, --size "
    says += r"\(`deepdream layers --help` shows all"
    refused(main("layers", "--quantity"), says)
    refused(main("dream", "a.png", "--iterations", 5), "required: -o/--out")
    refused(
        main("dream", "a.png", "-o", "x.png", "--model", "--seed", 3),
        "argument --model: expected one argument",
    )


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


COMMANDS_AND_NUMBERS = [
    (command, name)
    for command in parser.COMMANDS
    for name, row in table.rows_of(command).items()
    if row.kind in (int, float)
]


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.kind in (int, float)], ids=lambda row: row.name
)
def test_a_wrong_number_is_refused_in_python(row):
    name = row.name

    def check(value):
        table.check(name, value, "" if row is ROWS[name] else row.commands[0])

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
        assert refusal(check, value).startswith(says)
        with pytest.raises(DreamError) as caught:
            check(value)
        assert caught.value.named(table.option(name)).startswith(f"{table.option(name)} is ")
    for limit in (row.low, row.high):
        if limit is not None:
            check(row.kind(limit) if row.count is None else [row.kind(limit)] * 2)
            if row.count is None and abs(limit) < 2**62:
                check((np.int64 if row.kind is int else np.float64)(limit))


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


def test_what_may_differ_when_a_film_or_training_is_resumed():
    rows = [*TABLE, *table.ABOUT.values()]
    free = {row.name: row.resume for row in rows if row.resume}
    assert free == {"frames": "loop", "stop": True, "fps": True, "steps": True, "deepdream": True}
    assert all(name is True or "zoom" in ROWS[name].commands for name in free.values())


# Who receives a setting


FUNCTIONS = {}  # {public function of a module: its parameters; None stands for any}
READERS = {}  # {module or wing: the texts in it}
for path in (ROOT / "deepdream").rglob("*.py"):
    tree = ast.parse(path.read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    reader = path.stem if path.parent.name == "deepdream" else path.parent.name
    READERS.setdefault(reader, set()).update(texts)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names = FUNCTIONS.setdefault(node.name, set())
            names |= {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
            names |= {None} if node.args.kwarg else set()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_received_or_read_by_those_it_names(row):
    assert row.to, "nobody"
    for name in row.to:
        if name in READERS:
            assert row.name in READERS[name], f"{name} does not read {row.name}"
        else:
            assert {row.name, None} & FUNCTIONS[name], f"{name}() has no parameter {row.name}"


def test_arguments_are_those_of_the_table():
    made = recipe.complete("zoom", required("zoom") | {"rotate": 2.0})
    given = table.arguments(made, "zoom")
    assert given["rotate"] == 2.0 and {"frames", "scale", "shift", "hold", "loop"} <= given.keys()
    assert table.arguments(made, "journey").keys() == given.keys() - {"frames"}
    assert table.arguments(made, "draw").keys() == {"seed"}
    assert table.arguments(recipe.complete("serve", {}), "serve").keys() == {
        *("host", "port", "token", "at_once", "idle", "minutes")
    }
    parameters = inspect.signature(dd.load_net).parameters.values()
    # The others are for modules of PyTorch, which no recipe names
    recorded = [each.name for each in parameters if each.kind != each.KEYWORD_ONLY]
    assert tuple(recorded) == table.NETWORK


# One row more


@pytest.fixture
def add_row(monkeypatch):
    """A function that adds a row to the table, and does nothing else."""

    def add(row):
        monkeypatch.setattr(table, "TABLE", (*table.TABLE, row))
        monkeypatch.setattr(table, "ROWS", table.ROWS | {row.name: row})
        parser.make_parser.cache_clear()

    yield add
    parser.make_parser.cache_clear()


class Arrived(BaseException):
    """What a function was called with; nothing between it and a test catches this."""


def record(*args, **kwargs):
    dicts = [arg for arg in args if isinstance(arg, dict)]
    raise Arrived({name: value for each in (*dicts, kwargs) for name, value in each.items()})


def work_here(monkeypatch):
    """Jobs are done in this process."""

    def dream_many(given, client):
        return (batch.work(job, dd.__version__) for job in jobs.check_jobs(given))

    monkeypatch.setattr(batch, "connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr(batch, "dream_many", dream_many)


# command: (where its function is called, that function, other commands that need the
# setting, words)
DREAM = "deepdream.making", "deepdream"
DRAW = "deepdream.making", "draw"
ARRIVALS = {
    "dream": (*DREAM, (), "in.png -o out.png"),
    "looks": (*DREAM, ("dream",), "in.png -o out.png"),
    "look": ("deepdream.seeing", "look", (), "in.png"),
    "draw": (*DRAW, (), "3 -o out.png"),
    "zoom": ("deepdream.films", "zoom", (), "in.png -o film"),
    "journey": ("deepdream.films", "journey", (), "in.png -o film --layers both"),
    "video": ("deepdream.films", "steady", (), "in.gif -o film"),
    "batch": (*DREAM, ("dream",), "in.png -o out"),
    "grid": (*DREAM, ("dream",), "in.png -o out.png --seed 1,2"),
    "atlas": (*DRAW, ("draw",), "--layer both --channels 0 -o out"),
    "train": ("deepdream.train.training", "Training", (), "pictures -o out"),
    "serve": ("deepdream.studio.serve", "serve", (), ""),
}


def replace_function(monkeypatch, module, name):
    """Put the recorder in its place; in a wing, wherever a module has imported it."""
    original = getattr(import_module(module), name)
    wing = ".".join(module.split(".")[:2])
    for path, each in list(sys.modules.items()):
        if path.startswith(wing) and getattr(each, name, None) is original:
            monkeypatch.setattr(each, name, record)


def test_there_is_a_case_for_every_command():
    assert ARRIVALS.keys() == parser.COMMANDS.keys()


@pytest.mark.parametrize("command", ARRIVALS)
def test_a_new_row_arrives_in_the_function_of_its_command(
    command, add_row, monkeypatch, model, tmp_path
):
    module, function, others, words = ARRIVALS[command]
    if command in table.SPREAD:
        pytest.importorskip("distributed", reason="Dask is not installed")
        work_here(monkeypatch)
    if command == "serve":
        pytest.importorskip("solara", reason="the page is not installed")
    if command == "looks":
        monkeypatch.setattr(looks, "of_network", lambda _: {"Plain": {}})
    monkeypatch.chdir(tmp_path)
    dd.save_image("in.png", np.full((30, 40, 3), 99.0))
    dd.save_film("in.gif", [np.full((30, 40, 3), 99.0)] * 2)
    replace_function(monkeypatch, module, function)
    to = "train" if command == "train" else function
    add_row(
        table.row(
            table.Value("shine", "--shine", float, 1.0, low=0, high=10),
            table.Use((command, *others), to=(to,)),
            help="how much each hair shines",
        )
    )
    option = ["--from" if command == "train" else "--model", model] if command != "serve" else []
    for given, value in ((["--shine", 2], 2.0), ([], 1.0)):
        with pytest.raises(Arrived) as arrived:
            main(command, *words.split(), *option, *given)
        assert arrived.value.args[0]["shine"] == value


@pytest.fixture
def contrast(add_row):
    """One row more, for all that dreams."""
    row = table.row(
        table.Value("contrast", "--contrast", float, 1.0, low=0, high=10),
        table.Use(table.DREAMS, to=("deepdream",), varies=True, knob="Contrast"),
        help="how strong the colours of the picture become",
    )
    add_row(row)
    return row


def test_a_new_row_is_everywhere(contrast, capsys, net, tmp_path):
    for command in table.DREAMS:
        args = parser.parse([*begin(command), "--contrast", "2"])
        assert args.recipe["contrast"] == 2.0
        assert recipe.words(args.recipe, "x.png")[-4:-2] == ["--contrast", "2.0"]
        assert parser.parse(begin(command)).recipe["contrast"] == 1.0
        done = main(*begin(command), "--contrast", "11")
        refused(done, "--contrast is 11.0; it must be a number from 0 to 10, such")
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        assert "how strong the colours" in " ".join(capsys.readouterr().out.split())
    refused(main(*begin("draw"), "--contrast", "2"), "unknown option '--contrast'")

    made = recipe.complete("dream", {"image": "a.png", "contrast": 3.5})
    carried = recipe.record(made)
    assert recipe.from_record(carried) == made and carried["contrast"] == 3.5
    older = {"deepdream": "0.2.0", "image": "a.png"}
    assert recipe.from_record(older)["contrast"] == 1.0
    assert recipe.with_defaults(older | {"command": "dream"})["contrast"] == 1.0
    assert refusal(recipe.complete, "dream", {"contrast": "3"}).startswith("contrast is '3'")
    assert making.open_recipe(made, net)[2]["contrast"] == 3.5, "`deepdream` gets it"

    several = parser.parse([*begin("grid"), "--contrast", "1,2.5"]).recipe
    grid = sheets.plan_grid(several, str(tmp_path / "s.png"))
    assert grid.labels == ["contrast 1.0", "contrast 2.5"]
    assert [job["contrast"] for job in grid.jobs] == [1.0, 2.5]
    made = parser.parse([*begin("batch"), "--contrast", "4"]).recipe
    assert jobs.make_job(made, "dream", "b.png", image="a.png")["contrast"] == 4.0


def test_a_new_row_has_a_knob(contrast, monkeypatch):
    pytest.importorskip("ipywidgets", reason="the studio is not installed")
    from deepdream.studio import knobs

    monkeypatch.setattr(knobs, "ROWS", table.knobs())
    panel = knobs.Knobs(None, SAMPLES)
    knob = panel["contrast"]
    assert (knob.value, knob.min, knob.max) == (1.0, 0, 10)
    assert (knob.description, knob.tooltip) == (contrast.knob, contrast.help)
    knob.value = 2.5
    assert panel.recipe()["contrast"] == 2.5
    assert "--contrast 2.5" in knobs.command_line(panel.recipe())
