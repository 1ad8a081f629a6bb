"""dream.ipynb runs: all of it with PyTorch, 2015's half with Caffe, both small; and
what is committed of it.
"""

import base64
import os
import re
import sys
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from PIL import Image

from deepdream.nets import download, zoo

ROOT = Path(__file__).parent.parent
NOTEBOOK = nbformat.read(ROOT / "dream.ipynb", as_version=4)
SMALL = {
    "WIDTH": 192,
    "FRAMES": 3,
    "STEPS": 4,
    "TILE": 160,
    "FILM": (90, 160),
    "FILM_STEPS": 1,
    "LESSONS": 2,
    "EACH": 4,
}


def has(cell, tag):
    return tag in cell.metadata.get("tags", [])


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells):
    return "".join(
        output.text for cell in cells for output in cell.outputs if output.output_type == "stream"
    )


def picture_kinds(cells):
    """{cell id: the MIME types of the pictures below it}"""
    return {
        cell.id: [
            kind
            for output in cell.outputs
            for kind in output.get("data", {})
            if kind.startswith("image/")
        ]
        for cell in cells
    }


def proof(cells):
    """What the cell that compares the notebook's own dream with the package's says."""
    (cell,) = [cell for cell in cells if "np.array_equal(" in cell.source]
    return cell.outputs[-1].data["text/plain"]


def run(folder, tag=None):
    """The code cells after a small run in this folder: all of them, or those with this
    tag.
    """
    notebook = nbformat.from_dict(NOTEBOOK)
    cells = code_cells(notebook)
    notebook.cells = []
    for cell in cells:
        if has(
            cell, "parameters"
        ):  # as papermill does it: a cell after this one sets its names to other values
            assert re.findall(r"^(\w+) = ", cell.source, re.MULTILINE) == list(SMALL)
            small = new_code_cell("\n".join(f"{name} = {value}" for name, value in SMALL.items()))
            notebook.cells += [cell, small]
        elif tag is None or has(cell, tag):
            notebook.cells.append(cell)
    folder.mkdir(exist_ok=True)
    (folder / "images").symlink_to(ROOT / "images")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    assert {path.name for path in folder.iterdir()} == {"images", "dreams"}, (
        "nothing else is left lying about"
    )
    return [cell for cell in notebook.cells if cell is not small]


def check(done, engine, network=""):
    assert network in printed(done) and f"engine: {engine}" in printed(done)
    assert proof(done) == "True", (
        "the notebook's own code and the package's make the same picture, bit for bit"
    )
    committed = picture_kinds(code_cells(NOTEBOOK))
    assert picture_kinds(done) == {cell.id: committed[cell.id] for cell in done}


@pytest.fixture
def no_googlenet(tmp_path, monkeypatch):
    """As on a machine that cannot download GoogLeNet's weights."""
    if (zoo.MODELS / "bvlc_googlenet" / "bvlc_googlenet.caffemodel").exists():
        pytest.skip("GoogLeNet's weights lie in models/")
    models = tmp_path / "cache" / "deepdream" / "models"
    (models / "bvlc_googlenet").mkdir(parents=True)
    (models / "bvlc_googlenet" / "failed").write_text(
        "the weights of bvlc_googlenet cannot be downloaded (no network)"
    )
    (models / "squeezenet_v1.1").symlink_to(download.get(zoo.find("squeezenet_v1.1")).parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)


@pytest.mark.slow  # with SqueezeNet, below, it is quicker
def test_every_cell_runs(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    done = run(tmp_path)
    assert len(done) == len(code_cells(NOTEBOOK))
    check(done, "torch")


def test_every_cell_runs_on_squeezenet(tmp_path, monkeypatch, no_googlenet):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    monkeypatch.setenv("DEEPDREAM_ENGINE", "torch")
    check(run(tmp_path / "run"), "torch", "SqueezeNet")


@pytest.mark.slow
def test_the_half_of_2015_runs_on_caffe(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPDREAM_ENGINE", "caffe")
    done = run(tmp_path, "2015")
    assert len(done) > 10
    check(done, "caffe")


def test_the_half_of_2015_runs_on_caffe_and_squeezenet(tmp_path, monkeypatch, no_googlenet):
    monkeypatch.setenv("DEEPDREAM_ENGINE", "caffe")
    check(run(tmp_path / "run", "2015"), "caffe", "SqueezeNet")


def test_the_notebook_of_other_networks_runs(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    notebook = nbformat.read(ROOT / "notebooks" / "networks.ipynb", as_version=4)
    small = new_code_cell("WIDTH, STEPS = 128, 1")
    (at,) = [i for i, cell in enumerate(notebook.cells) if has(cell, "parameters")]
    committed = picture_kinds(code_cells(notebook))
    notebook.cells.insert(at + 1, small)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    done = [cell for cell in code_cells(notebook) if cell is not small]
    assert picture_kinds(done) == committed
    assert "block" in printed(done)


def test_the_committed_pictures_are_large_and_from_googlenet():
    cells = code_cells(NOTEBOOK)
    jpegs = [
        output.data["image/jpeg"]
        for cell in cells
        for output in cell.outputs
        if "image/jpeg" in output.get("data", {})
    ]
    widths = [Image.open(BytesIO(base64.b64decode(jpeg))).width for jpeg in jpegs]
    assert widths.count(1024) >= 12
    assert "GoogLeNet, ImageNet (BVLC); engine: caffe" in printed(cells)
    assert proof(cells) == "True"


def test_what_is_committed_ran_once_in_order_without_errors():
    cells = code_cells(NOTEBOOK)
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [
        output
        for output in outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert not [
        output
        for output in outputs
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    texts = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    ]
    assert not re.search(r"/(home|root|tmp|work|Users)/", str(texts) + str(NOTEBOOK.metadata))
    assert os.path.getsize(ROOT / "dream.ipynb") < 5e6


class Shell:
    """IPython's, which notes commands in place of running them."""

    def __init__(self):
        self.commands = []

    def system(self, command):
        self.commands.append(command)

    def run_line_magic(self, name, line):
        self.commands.append(f"%{name} {line}")


def run_colab_cell(monkeypatch, installed, address="https://host/repository.git"):
    """The commands that the first code cell runs where only these packages can be
    imported.
    """
    (cell,) = [cell for cell in code_cells(NOTEBOOK) if cell.id == "dream-colab"]
    assert cell == code_cells(NOTEBOOK)[0] and 'ADDRESS = "' in cell.source
    source = re.sub('ADDRESS = ".*?"', f'ADDRESS = "{address}"', cell.source)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in installed)
    shell = Shell()
    exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
    return shell.commands


def test_the_first_cell_installs_what_is_missing_on_colab_and_nothing_elsewhere(monkeypatch):
    assert run_colab_cell(monkeypatch, []) == []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    enter = "%cd deepdream-caffe"
    assert run_colab_cell(monkeypatch, ["caffe", "deepdream"]) == [enter]
    clone, *install, last = run_colab_cell(monkeypatch, ["deepdream"])
    assert (
        clone.startswith("git clone ") and "/tools/caffe/build.py" in install[-1] and last == enter
    )
    with pytest.raises(AssertionError, match="write the address"):
        run_colab_cell(monkeypatch, [], address="")


def test_colabs_badge_and_the_first_cell_name_the_same_repository():
    """The repository has no public address yet; once the cell has one, a badge may lead
    to that on Colab.
    """
    texts = (ROOT / "README.md").read_text() + "".join(cell.source for cell in NOTEBOOK.cells)
    address = re.search('ADDRESS = "(.*?)"', texts)[1].removesuffix(".git")
    for badge in re.findall(r"colab\.research\.google\.com/github/([^/]+/[^/]+)", texts):
        assert address == f"https://github.com/{badge}"
