"""Panels without a browser, with little to do; a plugin of the tests that use them."""

import pytest
from conftest import write_model

from deepdream import load_net
from deepdream.studio import Studio
from deepdream.studio import panel as panel_module
from deepdream.studio.turns import Crew


@pytest.fixture(scope="module")
def toy_net(tmp_path_factory):
    return load_net(write_model(tmp_path_factory.mktemp("models") / "toy"), "caffe")


@pytest.fixture
def panel(toy_net):
    """A panel on the toy network, with little to do."""
    panel = Studio(toy_net)
    panel.turn(width=64, iter_n=2, octave_n=2, jitter=4)
    yield panel
    panel.close()


@pytest.fixture
def crew(monkeypatch):
    """The crew of the panels that are made without one."""
    crew = Crew(1)
    monkeypatch.setattr(panel_module, "Crew", lambda at_once: crew)
    return crew


@pytest.fixture
def apart(crew, tmp_path):
    """A panel without a network, which has all done in other processes; again with
    little to do. Its folder is in tmp_path / "panels".
    """
    (tmp_path / "panels").mkdir()
    panel = Studio(folder=tmp_path / "panels")
    panel.turn(model="squeezenet_v1.1", width=64, iter_n=1, octave_n=1)
    yield panel
    panel.close()
