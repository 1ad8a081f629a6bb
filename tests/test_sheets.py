"""Grid and atlas: which pictures they are made of, and the sheet or page that shows
them.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import write_model

import deepdream as dd
from deepdream import sheets
from deepdream.recipe import complete, record

GRID = {"image": "a.png", "end": ["both", "deep/left"], "step_size": [0.00001, -2.0], "iter_n": 3}
NAMES = ["both, step 0.00001", "both, step -2.0", "deep-left, step 0.00001", "deep-left, step -2.0"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return dd.load_net(write_model(tmp_path_factory.mktemp("model") / "toy"))


def test_a_grid_has_a_job_for_each_combination(tmp_path):
    grid = sheets.plan_grid(complete("grid", GRID), str(tmp_path / "s.png"))
    assert grid.columns == 2 and [label.replace("/", "-") for label in grid.labels] == NAMES
    assert [job["out"] for job in grid.jobs] == [
        f"{tmp_path}/s.pictures/{name}.png" for name in NAMES
    ]
    assert [(job["end"], job["step_size"]) for job in grid.jobs] == [
        ("both", 0.00001),
        ("both", -2.0),
        ("deep/left", 0.00001),
        ("deep/left", -2.0),
    ]
    for job in grid.jobs:
        out = job.pop("out")
        assert (
            out
            and complete("dream", job)["iter_n"] == 3
            and job["width"] == 320
            and job["seed"] == 0
        )


def test_a_grid_beside_a_file_of_that_name_is_refused(tmp_path):
    (tmp_path / "s.pictures").write_text("in the way")
    with pytest.raises(dd.DreamError, match=r"s\.pictures is a file; -o takes a folder"):
        sheets.plan_grid(complete("grid", GRID), str(tmp_path / "s.png"))


def test_the_sheet_of_a_grid_has_a_grey_picture_for_one_that_failed(tmp_path):
    recipe = complete("grid", GRID | {"guide": "g.png"})
    grid = sheets.plan_grid(recipe, str(tmp_path / "s.png"))
    (tmp_path / "s.pictures").mkdir()
    reports = {}
    for i, job in enumerate(grid.jobs):
        out = job.pop("out")
        carried = record(complete("dream", job), model="toy", engine="caffe")
        dd.save_image(out, np.full((30, 40, 3), 20 + 40 * i), carried)
        reports[out] = {"settings": carried, "error": None}
        job["out"] = out
    reports[grid.jobs[2]["out"]] = {"error": "there is not enough memory"}
    sheet, carried = sheets.lay_out(grid, recipe, reports)
    found = [(sheet == value).all(2).sum() for value in (20, 60, 200, 140, 100)]
    assert min(found[:4]) >= 30 * 40 and found[4] < 30 * 40, "the third is grey"
    assert (
        carried["command"] == "grid" and carried["guide"] == "g.png" and carried["model"] == "toy"
    )
    assert (carried["end"], carried["step_size"], carried["iter_n"]) == (
        ["both", "deep/left"],
        [0.00001, -2.0],
        3,
    )
    assert sheets.lay_out(grid, recipe, {out: {"error": "no"} for out in reports}) is None


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        (None, [*range(10)]),
        ("3", [3]),
        ("0-2,7", [0, 1, 2, 7]),
        ("7, 2 - 3,3", [7, 2, 3]),
        ("9", [9]),
    ],
)
def test_channels_of_an_atlas(net, tmp_path, text, channels):
    jobs = sheets.plan_atlas(
        complete("atlas", {"layer": "both", "channels": text, "steps": 3}), str(tmp_path), net
    )
    assert [job["draw"] for job in jobs] == [[f'channel("both", {i})'] for i in channels]
    assert [Path(job["out"]).name for job in jobs] == [f"{i:05}.jpg" for i in channels]
    assert {(job["model"], job["steps"], job["seed"]) for job in jobs} == {("toy", 3, 0)}


@pytest.mark.parametrize("text", ["10", "3-", "-3", "5-4", "a", "1,,2", "0-10", "1.5", "²"])
def test_channels_that_an_atlas_cannot_have(net, tmp_path, text):
    with pytest.raises(
        dd.DreamError, match=rf"^channels is '{text}'; it must be such as 0-63,200, of 0 to 9"
    ):
        sheets.plan_atlas(
            complete("atlas", {"layer": "both", "channels": text}), str(tmp_path), net
        )


def test_channels_are_named_where_they_are_classes(squeezenet):
    names = sheets.channel_names(squeezenet, "pool10")
    assert len(names) == 1000 and names[954].startswith("banana")
    assert sheets.channel_names(squeezenet, "fire9/concat") == []


def test_the_page_of_an_atlas_takes_any_name(tmp_path):
    layer = "a</title>DATA'LAYER"
    settings = {"deepdream": "1", "draw": [f"channel({json.dumps(layer)}, 1)"], "steps": 3}
    for name, of in (
        ("00001.jpg", settings),
        ("00002.jpg", settings | {"draw": ["banana"]}),
        ("x.jpg", settings),
    ):
        dd.save_image(tmp_path / name, np.zeros((9, 9, 3)), of)
    dd.save_image(tmp_path / "00003.jpg", np.zeros((9, 9, 3)))
    text = sheets.write_atlas(tmp_path, layer, ["DATA", "</script>, b"]).read_text()
    assert "<title>a&lt;/title&gt;DATA&#x27;LAYER</title>" in text and text.count("</script>") == 2
    data = json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )
    line = f"deepdream draw {shlex.quote(settings['draw'][0])} --steps 3 -o 00001.jpg"
    assert data == {
        "layer": layer,
        "tiles": [{"n": 1, "name": "1 </script>", "file": "00001.jpg", "command": line}],
    }
    assert sheets.write_atlas(tmp_path, "other", []) is None
