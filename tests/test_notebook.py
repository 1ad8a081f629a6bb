"""dream.ipynb from the first cell to the last, small; and what is committed of it."""

import base64
import os
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from deepdream import zoo

ROOT = Path(__file__).parent.parent
NOTEBOOK = nbformat.read(ROOT / "dream.ipynb", as_version=4)


def pictures(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data["image/jpeg"] for output in outputs if "image/jpeg" in output.get("data", {})]


def run(tmp_path):
    notebook = nbformat.from_dict(NOTEBOOK)
    setting = next(cell for cell in notebook.cells if cell.source.startswith("WIDTH = "))
    setting.source = "WIDTH = 160"
    (tmp_path / "images").symlink_to(ROOT / "images")
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_every_cell_runs(tmp_path, monkeypatch, engine):
    if engine == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'deepdream[torch]'")
    monkeypatch.setenv("DEEPDREAM_ENGINE", engine)
    done = run(tmp_path)
    assert f"engine: {engine}" in str(done.cells)
    assert len(pictures(done)) == len(pictures(NOTEBOOK))
    assert {path.name for path in tmp_path.iterdir()} == {"images", "dreams"}, "nothing else is left lying about"


def test_it_runs_on_squeezenet(tmp_path, monkeypatch):
    """As on a machine without GoogLeNet's weights."""
    cache = tmp_path / "cache"
    models = cache / "deepdream" / "models"
    (models / "bvlc_googlenet").mkdir(parents=True)
    (models / "bvlc_googlenet" / "failed").write_text("the weights of bvlc_googlenet cannot be had (no network)")
    if (zoo.MODELS / "bvlc_googlenet" / "bvlc_googlenet.caffemodel").exists():
        pytest.skip("GoogLeNet's weights lie in models/")
    (models / "squeezenet_v1.1").symlink_to(zoo.get(zoo.find("squeezenet_v1.1")).parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)
    (tmp_path / "run").mkdir()
    done = run(tmp_path / "run")
    assert "SqueezeNet" in str(done.cells) and len(pictures(done)) == len(pictures(NOTEBOOK))


def test_the_committed_pictures_are_large_and_from_googlenet():
    shown = [Image.open(BytesIO(base64.b64decode(data))) for data in pictures(NOTEBOOK)]
    assert sum(picture.width == 1024 for picture in shown) >= 5
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert "GoogLeNet, ImageNet" in str([cell.outputs for cell in cells])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert os.path.getsize(ROOT / "dream.ipynb") < 5e6
