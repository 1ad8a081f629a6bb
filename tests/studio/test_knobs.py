"""The studio's knobs: what the table makes of them, and what they offer."""

import shlex

import pytest
from panels import choices, press

import deepdream as dd
from deepdream.cli import parser
from deepdream.studio import Studio

pytest_plugins = "panel_fixtures"


def test_knobs_are_made_from_the_table(toy_net):
    from deepdream.settings import knobs

    fresh = Studio(toy_net).knobs
    assert fresh.keys() == knobs().keys()
    for name, row in knobs().items():
        knob = fresh[name]
        assert knob.description == row.knob and knob.tooltip == row.help
        if row.kind in (int, float):
            assert knob.value == row.default
            assert knob.min == (row.above if row.low is None else row.low) and knob.max == row.high


def test_networks_and_engines_to_choose_from(monkeypatch, squeezenet):
    monkeypatch.delenv("DEEPDREAM_ENGINE", raising=False)
    panel = Studio()
    models, layers = choices(panel.knobs["model"]), choices(panel.knobs["end"])
    assert (
        models[:1] == ["bvlc_googlenet"]
        and "squeezenet_v1.1" in models
        and "places205_googlenet" not in models
    )
    assert layers[0] == "conv1/7x7_s2" and layers.index("inception_3b/output") < layers.index(
        "inception_4c/output"
    )
    assert panel.knobs["end"].value == "inception_4c/output" and "prob" not in layers
    says = dict(label.split(" · ") for label, _ in panel.knobs["end"].options)
    assert says["conv2/3x3"] == says["inception_3b/5x5_reduce"] == "edges and strokes"
    assert (
        says["inception_3b/output"] == "textures and eyes"
        and says["inception_5b/output"] == "whole things"
    )
    panel.turn(model="squeezenet_v1.1")
    assert panel.knobs["end"].value == "fire8/concat"
    assert Studio(squeezenet).knobs["model"].options == (
        ("SqueezeNet v1.1, ImageNet", "squeezenet_v1.1"),
    )
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    if "torch" in choices(panel.knobs["engine"]):
        assert Studio().knobs["engine"].value == "torch"


@pytest.mark.parametrize("able", [["float32"], ["float32", "bfloat16"]])
def test_bfloat16_is_offered_where_the_hardware_multiplies_it(monkeypatch, able):
    torchnet = pytest.importorskip(
        "deepdream.nets.torch", reason="PyTorch is not installed: pip install torch"
    )
    monkeypatch.setattr(torchnet, "find_dtypes", lambda device: able)
    monkeypatch.setattr("deepdream.studio.knobs._may_have_bfloat16", lambda: True)
    panel = Studio()
    offered = choices(panel.knobs["engine"])
    assert ("torch bfloat16" in offered) == ("bfloat16" in able) and "torch" in offered
    panel.turn(engine="torch")
    assert panel.knobs.recipe()["dtype"] == "float32", "not what another machine's auto would be"
    if "bfloat16" in able:
        panel.turn(engine="torch bfloat16")
        assert panel.knobs.recipe()["dtype"] == "bfloat16"
    panel.turn(engine="caffe")
    assert panel.knobs.recipe()["dtype"] is None


def test_the_name_of_a_thing_is_an_objective(squeezenet):
    panel = Studio(squeezenet)
    panel.turn(objective=" peacock ", width=64, iter_n=1, octave_n=1)
    assert panel.settings()["objective"] == "logit('peacock')"
    command = parser.parse(shlex.split(panel.parts.line.text)[1:])
    assert command.recipe["objective"] == "logit('peacock')" and command.recipe["end"] is None
    assert (
        press(panel, "dream") == ""
        and dd.read_settings(panel.result)["objective"] == "logit('peacock')"
    )
    panel.turn(objective="84")
    assert panel.settings()["objective"] == "logit(84)"
    panel.turn(objective="it's")
    command = parser.parse(shlex.split(panel.parts.line.text)[1:])
    assert command.recipe["objective"] == """logit("it's")"""
    assert 'unknown class "it\'s"' in press(panel, "dream")
