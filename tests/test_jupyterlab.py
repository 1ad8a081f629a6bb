"""The notebook in a real JupyterLab, in Chromium."""

import json
import re

import pytest
from jupyter import Notebook, expect, jupyter, write_notebook
from nbconvert import HTMLExporter

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install jupyterlab")

SET_UP = """
import numpy as np, deepdream as dd
net = dd.load_net({toy!r})
image = np.random.RandomState(0).uniform(0, 255, (96, 144, 3))
how = {{"end": "both", "octave_n": 2, "seed": 0}}
"""
LOOP = """
for seed in range(3):
    print("seed", seed)
    how["seed"] = seed
    dd.deepdream(net, image, 5, on_step=dd.live_view(), **how)
"""
FOR_EVER = "dream = dd.deepdream(net, image, 10_000, on_step=dd.live_view(), **how)"


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield context.new_page()
    context.close()


def test_dreams_grow_stay_and_stop(page, toy, tmp_path):
    """A loop keeps its three results; the square button ends the queue, and keeps the
    picture so far; what is saved needs no widget.
    """
    cells = SET_UP.format(toy=str(toy)), LOOP, FOR_EVER, "print('next')", "dream.shape"
    write_notebook(tmp_path / "dreams.ipynb", *cells)
    with jupyter(tmp_path) as address:
        notebook = Notebook(page, address, "dreams.ipynb")
        notebook.run(0, more=3)
        pictures = notebook.output(1).locator("img")
        expect(pictures).to_have_count(3)
        for seed in range(3):
            expect(notebook.cells.nth(1)).to_contain_text(f"seed {seed}")
        growing = notebook.cells.nth(2)
        expect(growing).to_contain_text(re.compile(r"both: octave 0, step \d+, objective .* left"))
        assert growing.locator("img").evaluate("img => img.width") == 144, "the final size"
        page.screenshot(path=tmp_path / "growing.png")
        notebook.interrupt()
        expect(growing).to_contain_text(re.compile(r"both, stopped at \d+%, objective"))
        expect(growing).not_to_contain_text("Traceback")
        expect(notebook.cells.nth(3).locator(".jp-InputPrompt").first).to_have_text("[ ]:")
        notebook.run(4)
        expect(notebook.output(4)).to_have_text("(96, 144, 3)")
        page.screenshot(path=tmp_path / "stopped.png")
        notebook.save()
        saved = tmp_path / "dreams.ipynb"
        page.wait_for_function("document.title.startsWith('dreams')")
        for _ in range(100):
            if "stopped at" in saved.read_text():
                break
            page.wait_for_timeout(100)
        outputs = [cell["outputs"] for cell in json.loads(saved.read_text())["cells"]]
        assert "widget" not in str(outputs) and str(outputs).count("'image/jpeg': '") == 4
        assert not outputs[3]
    html, _ = HTMLExporter(template_name="classic").from_filename(saved)
    assert html.count('alt="a dream of both"') == 4, "what is exported says what it shows"
