"""Key files: what is read from them, what follows for the frames between two keys, and
what is refused.
"""

import json
import os
import re

import numpy as np
import pytest
from conftest import main, refused

import deepdream as dd
from deepdream import looks, recipe
from deepdream.films import read_keys
from deepdream.films.keyfile import KeyFile
from deepdream.films.keys import KEYED, around, at

BASE = recipe.complete(
    "zoom", {"image": "a.jpg", "model": "bvlc_googlenet", "end": "conv1/7x7_s2", "lap": 3}
)
NO_GOAL = dict.fromkeys(looks.GOALS)
SAID = [says for look in looks.read().values() for says in (look.common, *look.networks.values())]
LOOKED = {name for says in SAID for name in says}  # the settings that some look has


def read(text, suffix=".toml", base=BASE):
    """What a key file in the working folder says."""
    name = f"film{suffix}"
    with open(name, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return KeyFile(name, base).keys


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What is read

TOML = """
# a comment with [100] in it
[100]
zoom = 0.1
to = [0.8, 0.3]
layer = "conv2/3x3"

[0]
iterations = 5
keep-color = true
"""
SAYS = {
    0: {"iter_n": 5, "keep_color": True},
    100: {"scale": 0.1, "to": [0.8, 0.3], "end": "conv2/3x3", "objective": None, "guide": None},
}


def test_toml_json_and_json_on_the_command_line_say_the_same():
    assert read(TOML) == SAYS and list(read(TOML)) == [0, 100], "in the order of the frames"
    given = {
        "100": {"zoom": 0.1, "to": [0.8, 0.3], "layer": "conv2/3x3"},
        "0": {"iterations": 5, "keep-color": True},
    }
    for text in (json.dumps(given), json.dumps(given, indent=4)):
        assert read(text, ".json") == read(text, ".JSON") == KeyFile(text, BASE).keys == SAYS
        assert KeyFile(f"\n {text}", BASE).keys == SAYS


@pytest.mark.parametrize(
    "text",
    [
        "[7]\nzoom = 0.1",
        "7.zoom = 0.1",
        "7 = {zoom = 0.1}",
        '["7"]\n"zoom" = 0.1',
        "[ 007 ]\r\nzoom=0.1\r\n",
        "\ufeff[7]\nzoom = 0.1",
    ],
)
def test_other_ways_to_write_a_key(text):
    assert read(text) == {7: {"scale": 0.1}}


def test_a_setting_has_its_names_on_the_command_line_and_in_python():
    words = {
        "layer": "a",
        "guide": "b.jpg",
        "objective": "L2('a')",
        "zoom": 0.2,
        "rotate": 1,
        "shift": [1, 2],
    }
    words |= {
        "to": [1, 1],
        "mask": "m.png",
        "iterations": 1,
        "octaves": 2,
        "octave-scale": 1.5,
        "step": 2.0,
    }
    words |= {"jitter": 3, "turn": 5, "smooth": 1, "lap": 2, "keep-color": True}
    names = [name for name in KEYED if name != "look"]
    assert len(words) == len(names), "all that may change"
    for (word, value), name in zip(words.items(), ["end", *names[1:]]):
        for written in (word, name):
            (key,) = KeyFile(json.dumps({"5": {written: value}}), BASE).keys.values()
            assert key[name] == value, written


# Looks, and what a key climbs


def test_a_looks_settings_take_its_place_and_the_next_look_resets_them():
    text = '[0]\nlook = "dogs"\n[10]\nlook = "Feathers"\niterations = 7\n[20]\nlook = "Engraving"'
    dogs, feathers, engraving = read(text).values()
    own = {name: BASE[name] for name in LOOKED - {*looks.GOALS}}
    assert own["lap"] == 3
    goal = NO_GOAL | {"end": "inception_4b/output"}
    says = {"iter_n": 20, "octave_n": 6, "octave_scale": 1.25, "step_size": 1.0, "turn": 15.0}
    assert dogs == own | says | goal
    objective = "channel('inception_4c/output', 87) + channel('inception_4c/output', 423)"
    assert feathers == own | {"iter_n": 7} | NO_GOAL | {"objective": objective}, (
        "without the film's layer"
    )
    assert engraving == own | NO_GOAL | {"end": "conv2/3x3"}, "not what the looks before it left"
    assert all("look" not in key and "model" not in key for key in (dogs, feathers, engraving))


def test_what_looks_have_may_change_within_a_film():
    assert set(KEYED) >= LOOKED


def test_a_goal_replaces_the_goal_before():
    text = "[0]\nobjective = \"L2('a')\"\n[1]\nlayer = 'b'\n[2]\nguide = 'g.jpg'\n"
    text += "[3]\nguide='g.jpg'\nend='c'\n[4]\nlap=1"
    objective, layer, guide, both, none = read(text).values()
    assert objective == NO_GOAL | {"objective": "L2('a')"}
    assert layer == NO_GOAL | {"end": "b"}
    assert guide == {"guide": "g.jpg", "objective": None}, "with the film's layer"
    assert both == NO_GOAL | {"guide": "g.jpg", "end": "c"}
    assert none == {"lap": 1}, "it climbs on"


# From key to key

MOVES = {
    0: {
        "scale": 0.0,
        "iter_n": 10,
        "rotate": 0,
        "shift": [0, 10],
        "keep_color": False,
        "end": "a",
        "jitter": 5,
    },
    10: {
        "scale": 0.1,
        "iter_n": 20,
        "rotate": 4,
        "shift": [-8, 10.0],
        "keep_color": True,
        "end": "b",
    },
    14: {"scale": 0.2},
}


def test_numbers_change_smoothly_and_are_whole_only_where_they_must_be():
    eased = [at(MOVES, "scale", i) for i in range(11)]
    assert eased == pytest.approx([0.1 * t * t * (3 - 2 * t) for t in np.arange(11) / 10])
    assert eased[0] == 0 and eased[5] == pytest.approx(0.05) and eased[10] == 0.1, (
        "at its key it is what the key says"
    )
    assert eased[1] < 0.003 and eased[9] > 0.097, "slow at both ends"
    assert at(MOVES, "scale", 12) == pytest.approx(0.15)
    assert [at(MOVES, "scale", i) for i in (14, 15, 10**9)] == [0.2] * 3, (
        "and it stays after the last key"
    )
    whole = [at(MOVES, "iter_n", i) for i in range(12)]
    assert (
        all(isinstance(n, int) for n in whole)
        and whole == sorted(whole)
        and whole[5] == 15
        and whole[-1] == 20
    )
    assert at(MOVES, "rotate", 3) == pytest.approx(4 * 0.216), (
        "degrees need not be whole, even if both are written so"
    )
    assert at(MOVES, "shift", 5) == [-4, 10] and at(MOVES, "shift", 3) == pytest.approx(
        [-8 * 0.216, 10]
    )
    assert at(MOVES, "jitter", 7) == 5, "one key alone holds for all frames"


def test_what_is_no_number_changes_at_its_key():
    for i in range(10):
        assert at(MOVES, "keep_color", i) is False and at(MOVES, "end", i) == "a"
    assert at(MOVES, "keep_color", 10) is True and at(MOVES, "end", 99) == "b"


def test_masks_change_smoothly():
    dark, light = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    mixed = at({0: {"mask": dark}, 4: {"mask": light}}, "mask", 1)
    assert mixed.dtype == np.float32 and np.allclose(mixed, 0.15625)


def test_around():
    for i, found in {
        0: (0, 10),
        9: (0, 10),
        10: (10, 14),
        13: (10, 14),
        14: (14, None),
        99: (14, None),
    }.items():
        assert around(MOVES, "scale", i) == found
    assert around(MOVES, "iter_n", 12) == (10, None), "other settings' keys do not count"


def test_what_a_film_records_is_read_as_the_same_keys():
    text = TOML + "[3]\nlook = 'Eyes'\nshift = [1, -2]\n[4]\nguide = 'é \"x\".jpg'\n"
    text += "[5]\nobjective = \"L2('a')\"\n[6]\n"
    there = read(text)
    words = read_keys("film.toml", BASE)
    assert "\n" not in words and "null" not in words and json.loads(words)["6"] == {}
    for key in json.loads(words).values():
        assert list(key) == [name for name in KEYED if name in key], (
            "the same text in every process"
        )
    assert KeyFile(words, BASE).keys == there
    assert read_keys(words, BASE) == words
    other = BASE | {"end": "b", "lap": 9, "iter_n": 77}
    assert KeyFile(words, other).keys == there, "the look was written out"


# What is refused

NUMBER = "it must be a number, at least -1 and below 1, such as 0.05"
WHOLE = "it must be a whole number from 0 to 10000"
PIXELS = "it must be a number of pixels from"
NOT_SETTINGS = r"a key holds settings, such as zoom = 0\.1, and not"
NO_NAME = "Expecting property name enclosed in double quotes"
HEADING = r"is no key; a key has the number of its frame, such as \[100\]"
WRONG_TOML = {
    "[0]\nzom = 0.1": ", key 0: unknown setting 'zom'; did you mean 'zoom'",
    "[0]\n\n# zoom = 2\nzoom = 2": f", key 0: zoom is 2; {NUMBER}$",
    "[0]\nscale = 2": f", key 0: scale is 2; {NUMBER}$",
    "[0]\nmask = 'a#b.png'  # zoom = 5\nzoom = 2": f", key 0: zoom is 2; {NUMBER}$",
    "[0]\nzoom = 0.1\n[5]\nzoom = 'x'": f", key 5: zoom is 'x'; {NUMBER}$",
    "[0]\nzoom = nan": f", key 0: zoom is nan; {NUMBER}$",
    "[0]\niterations = 1.5": f", key 0: iterations is 1.5; {WHOLE}$",
    "[0]\niter_n = true": f", key 0: iter_n is True; {WHOLE}$",
    "[0]\noctave-scale = 1979-05-27": ", key 0: octave-scale is datetime.*; it must be .*100",
    "[0]\nkeep-color = 1": ", key 0: keep-color is 1; it must be True or False$",
    "[0]\nto = 0.5": ", key 0: to is 0.5; it must be 2 numbers$",
    "[0]\nto = [\n1,\n2, 3]": r", key 0: to is \[1, 2, 3\]; it must be 2 numbers$",
    "[0]\nto = [-1, 0]": rf", key 0: to is \[-1, 0\]; {PIXELS} 0 to 65535$",
    "[0]\nshift = ['a', 'b']": f", key 0: shift is .*; {PIXELS} -1000000 to 1000000$",
    "[0]\nlayer = ['a']": r", key 0: layer is \['a'\]; it must be text$",
    "[0]\nmask = 5": ", key 0: mask is 5; it must be the path of a file$",
    "[0]\nframes = 5": ", key 0: unknown setting 'frames'; did you mean .*a key has no others",
    "[0]\ntile = 512": ", key 0: unknown setting 'tile'",
    "[0]\nseed = 5": ", key 0: unknown setting 'seed'",
    "[0]\n[5]\nlook = 'Eyse'": ", key 5: unknown look 'Eyse'; did you mean 'Eyes'",
    "[0]\nlook = 5": ", key 0: look is 5; it must be text$",
    "\n\n[start]\nzoom = 0.1": f": 'start' {HEADING}$",
    "[-5]\nzoom = 0.1": f": '-5' {HEADING}$",
    "[0]\n[1000000000]": f": '1000000000' {HEADING}$",
    "zoom = 0.1": f": 'zoom' {HEADING}$",
    "[0]\n[100.5]\nzoom = 0.1": ", key 100: unknown setting '5'",
    "[0]\n[[100]]\nzoom = 0.1": rf", key 100: {NOT_SETTINGS} \[",
    "\n100 = 5": f", key 100: {NOT_SETTINGS} 5$",
    "[100]\nzoom = 0.1\n[5]\n[0100]\nzoom = 0.2": ": frame 100 has two keys$",
    "[0]\n\n[0]": r": this is not TOML: Cannot declare \('0',\) twice \(at line 3, ",
    "[0]\nlayer = 'a'\nend = 'b'": ", key 0: end is there twice, under two of its names$",
    "[0]\nstep = 1\nstep_size = 2": ", key 0: step_size is there twice, under two of its names$",
    "[0]\nzoom = 0.1\nzoom = 0.2": ": this is not TOML: Cannot overwrite a value",
    "[0]\nzoom = ": ": this is not TOML: Invalid value \\(at end",
    "[0]\nzoom 0.1": r": this is not TOML: Expected '=' after .* \(at line 2, ",
    "[0]\nlayer = '''\na\n": ": this is not TOML: .*",
    "[0\n": r": this is not TOML: Expected ']' .* \(at line 1, ",
    "": f": there are no keys; {HEADING[11:]}$",
    "# [0]\n": f": there are no keys; {HEADING[11:]}$",
}
WRONG_JSON = {
    '{"0": {"zoom": 0.1,\n "zom": 3}}': ", key 0: unknown setting 'zom'; did you mean 'zoom'",
    '{\n  "0": {"zoom": 0.1},\n  "5": {\n    "zoom": 5\n  }\n}': f", key 5: zoom is 5; {NUMBER}$",
    '{\n  "0": {"zoom": 0.1},\n  "5": {"zoom": 5}\n}': f", key 5: zoom is 5; {NUMBER}$",
    '{"0": {"zoom": NaN}}': f", key 0: zoom is nan; {NUMBER}$",
    '{\n"0": {"layer": "a",\n "end": "b"}}': ", key 0: end is there twice, under two of its names$",
    '{"0": {},\n"a": {}}': f": 'a' {HEADING}$",
    '{"0": {},\n"00": {}}': ": frame 0 has two keys$",
    '{\n"0": null}': f", key 0: {NOT_SETTINGS} None$",
    '{\n"0": {\n"layer": null}}': ", key 0: layer is null; leave it out, or give it a value$",
    '{"0": {\n"mask": null}}': ", key 0: mask is null; leave it out, or give it a value$",
    '{"0": {"zoom": 0.1}\n,}': f", line 2: this is not JSON: {NO_NAME}$",
    "{'0': {}}": f", line 1: this is not JSON: {NO_NAME}$",
    "": ", line 1: this is not JSON: Expecting value$",
    "{}": f": there are no keys; {HEADING[11:]}$",
}


def refusal(text, suffix):
    with pytest.raises(dd.DreamError) as caught:
        read(text, suffix)
    assert "\n" not in str(caught.value) and "{setting}" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", WRONG_TOML)
def test_wrong_toml(text):
    said = refusal(text, ".toml")
    assert re.match(f"film\\.toml{WRONG_TOML[text]}", said), said


@pytest.mark.parametrize("text", WRONG_JSON)
def test_wrong_json(text):
    says = WRONG_JSON[text]
    said = refusal(text, ".json")
    assert re.match(rf"film\.json{says}", said), said
    if text:
        with pytest.raises(dd.DreamError, match=f"^--keys{says}"):
            KeyFile(text, BASE)


@pytest.mark.parametrize(
    ("suffix", "text", "says"),
    [
        (".json", "[1]", r'film\.json must have the form {"100": {"zoom": 0\.1}}$'),
        (".json", "null", r'film\.json must have the form {"100": {"zoom": 0\.1}}$'),
        (".json", '{"0": {"zoom": 0.1}, "0": {}}', r"film\.json.*'0' is there twice$"),
        (".json", '{"0": {"zoom": 0.1, "zoom": 0.2}}', r"film\.json.*'zoom' is there twice$"),
        (
            ".json",
            '{"0":' + "[" * 100_000,
            r"film\.json cannot be read: maximum recursion depth exceeded",
        ),
        (
            ".toml",
            "[0]\nzoom = " + "[" * 10_000,
            r"film\.toml cannot be read: maximum recursion depth exceeded",
        ),
        (
            ".toml",
            "[0]\niterations = " + "9" * 5000,
            r"film\.toml cannot be read: Exceeds the limit",
        ),
        (
            ".toml",
            b"[0]\nlayer = '\xff'",
            r"cannot read the keys film\.toml: it is not UTF-8 text$",
        ),
        (".json", "{}".encode("utf-16"), r"cannot read the keys film\.json: it is not UTF-8 text$"),
        (
            ".txt",
            "[0]\nzoom = 0.1",
            r"keys is 'film\.txt'; it must be the path of a \.toml or \.json file$",
        ),
        ("", "[0]\nzoom = 0.1", r"keys is 'film'; it must be the path of a \.toml or \.json file$"),
    ],
)
def test_what_cannot_be_read(suffix, text, says):
    assert re.match(says, refusal(text, suffix)), refusal(text, suffix)


def test_a_look_that_the_network_does_not_have():
    with pytest.raises(
        dd.DreamError,
        match=r"^film\.toml, key 0: squeezenet_v1\.1 does not have the look 'Dogs'; it",
    ):
        read("[0]\nzoom = 0.1\nlook = 'Dogs'", base=BASE | {"model": "squeezenet_v1.1"})


# On the command line, with the network and the files


def zoom(*args):
    return main(
        "zoom",
        "in.png",
        "-o",
        "film.gif",
        "--model",
        "toy",
        "--octaves",
        1,
        "--iterations",
        1,
        *args,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[0]\nzom = 0.1", "0: unknown setting 'zom'; did you mean 'zoom'"),
        ("[0]\nzoom = 2", f"0: zoom is 2; {NUMBER}$"),
        ("[0]\n[2]\nlayer = 'boht'", "2: unknown layer 'boht'; did you mean 'both'"),
        (
            "[0]\n[2]\nobjective = 'L2(both)'",
            r"2: cannot read 'L2\(both\)': L2\(both\): 'both' has no meaning in it",
        ),
        (
            "[0]\n[2]\nobjective = \"channel('both', 99)\"",
            "2: channel of layer 'both' is 99; it must be .* to 9$",
        ),
        (
            "[0]\n[2]\nobjective = \"L2('both')\"\nlayer = 'both'",
            "2: --objective names its own layers and guides",
        ),
        (
            "[0]\n[2]\nguide = 'absent.jpg'",
            r"2: cannot read the picture absent\.jpg: there is no such file",
        ),
        (
            "[0]\n[2]\nmask = 'absent.png'",
            r"2: cannot read the picture absent\.png: there is no such file",
        ),
        ("[0]\n[2]\nmask = 'film.toml'", r"2: cannot read the picture film\.toml: "),
        ("[0]\n[2]\nobjective = \"guide('both', 'absent.jpg')\"", r"2: .*absent\.jpg"),
        (
            "[0]\n[2]\nzoom = 0.1\nto = [96, 10]",
            "2: to is 96 10; it must be a point of the frames, which are 80x60, ",
        ),
        ("[0]\n[2]\nto = [0.5, 10]", "2: to is 0.5 10; it must be a point of the frames"),
        (
            "[0]\n[2]\noctaves = 9\noctave-scale = 3",
            "2: .*too small for layer 'both', which needs at least 3x3",
        ),
        (
            "[0]\n[2]\nlook = 'Eyes'",
            "2: toy does not have the look 'Eyes'; looks are for networks with the layers of",
        ),
    ],
)
def test_wrong_keys_on_the_command_line(folder, toy, text, says):
    """Before the first frame, also what a late key needs; nothing is left behind."""
    dd.save_image("in.png", np.random.RandomState(0).uniform(0, 255, (60, 80, 3)))
    (folder / "film.toml").write_text(text)
    refused(zoom("--keys", "film.toml"), rf"^deepdream: film\.toml, key {says}")
    assert sorted(os.listdir()) == ["film.toml", "in.png", "toy"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--keys", "absent.toml"), r"cannot read the keys absent\.toml: there is no such file$"),
        (("--keys", "folder.toml"), r"cannot read the keys folder\.toml: it is a folder$"),
        (
            ("--keys", "in.png"),
            r"--keys is 'in\.png'; it must be the path of a \.toml or \.json file$",
        ),
        (
            ("--keys", '{"0": {"octaves": 0}}'),
            r"--keys, key 0: octaves is 0; it must be a whole number from 1 to 100$",
        ),
        (
            ("--to", 81, 5),
            "--to is 81 5; it must be a point of the frames, which are 80x60, in pixels, or in ",
        ),
        (("--to", 0.5, 5), "--to is 0.5 5; it must be a point of the frames"),
        (("--to", -1, 5), r"--to is \[-1.0, 5.0\]; it must be a number of pixels from 0 to 65535$"),
        (("--to", 5), "argument --to: expected 2 arguments"),
        (("--hold", 2), "--hold is 2.0; it must be a number from 0 to 1$"),
        (("--down",), "unknown option '--down'"),
    ],
)
def test_wrong_words_about_keys_and_motion(folder, toy, args, says):
    dd.save_image("in.png", np.random.RandomState(0).uniform(0, 255, (60, 80, 3)))
    (folder / "folder.toml").mkdir()
    refused(zoom(*args), f"^deepdream: {says}")
    assert sorted(os.listdir()) == ["folder.toml", "in.png", "toy"]


@pytest.mark.parametrize(
    "text",
    [
        # too small from frame 2 on
        "[0]\noctaves = 6\noctave-scale = 1.2\n[4]\noctave-scale = 3",
        # only between the keys
        "[0]\noctaves = 10\noctave-scale = 1.1\n[4]\noctaves = 2\noctave-scale = 6",
    ],
)
def test_keys_that_do_not_go_together(folder, toy, text):
    dd.save_image("in.png", np.random.RandomState(0).uniform(0, 255, (60, 80, 3)))
    (folder / "film.toml").write_text(text)
    refused(
        zoom("--keys", "film.toml", "--frames", 5),
        "too small for layer 'both', which needs at least 3x3 pixels",
    )
    assert sorted(os.listdir()) == ["film.toml", "in.png", "toy"]


def test_a_look_with_an_objective_in_a_film_with_a_layer():
    """The look's objective replaces the layer of the film."""
    (key,) = read("[5]\nlook = 'Feathers'").values()
    assert BASE["end"] and key["end"] is None and key["objective"]


def test_keys_behind_the_end_are_reported(folder, toy):
    dd.save_image("in.png", np.random.RandomState(0).uniform(0, 255, (60, 80, 3)))
    done = zoom("--keys", '{"1": {"zoom": 0.2}, "30": {"zoom": 0.1}}', "--frames", 2)
    assert done.returncode == 0 and done.stdout == "film.gif\n"
    late = "the last key is at frame 30, and the film ends before it; give more --frames"
    assert done.stderr == f"deepdream: {late}\n"
