"""A real JupyterLab, driven in Chromium: a server, and a notebook in the browser."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect

PATIENCE = 90  # seconds for what comes at once on a machine that is not busy
expect.set_options(timeout=PATIENCE * 1000)
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    # all cells are in the page, also those that cannot be seen
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


@contextmanager
def jupyter(folder, app="lab"):
    """The address of a JupyterLab, or Notebook, in a process of its own, for this
    folder. Its settings lie in `folder`, too, not in the person's home.
    """
    settings = folder / ".jupyter"
    for extension, values in SETTINGS.items():
        package, name = extension.split(":")
        path = settings / "lab" / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    own = {
        "JUPYTER_CONFIG_DIR": str(settings),
        "JUPYTER_DATA_DIR": str(settings / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings / "lab"),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--IdentityProvider.token=", f"--notebook-dir={folder}"]
    with (folder / ".jupyter" / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, server)
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE)


def _wait(address, server):
    for _ in range(10 * PATIENCE):
        assert server.poll() is None, "JupyterLab does not start"
        with suppress(OSError):
            urlopen(f"{address}/api").close()
            return
        time.sleep(0.1)
    raise TimeoutError(address)


def write_notebook(path, *cells):
    """A notebook with these cells of code."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


class Notebook:
    """A notebook that is open in the browser."""

    def __init__(self, page, address, name, view="lab/tree"):
        self.page = page
        page.goto(f"{address}/{view}/{name}")
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)
        idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        expect(idle.first).to_be_visible()

    def run(self, i, more=0):
        """Run cell i, as a person does, and so many that follow it, at once."""
        prompt = self.cells.nth(i).locator(".jp-InputPrompt").first
        for _ in range(PATIENCE):  # while the page is being laid out, keys go elsewhere
            self.cells.nth(i).locator(".cm-content").click()
            self.page.keyboard.press("Shift+Enter")
            with suppress(AssertionError):
                expect(prompt).not_to_have_text("[ ]:", timeout=2000)
                break
        for _ in range(more):
            self.page.keyboard.press("Shift+Enter")

    def wait(self, i, number=r"\[\d+\]:"):
        """Wait until cell i has its number."""
        prompt = self.cells.nth(i).locator(".jp-InputPrompt").first
        expect(prompt).to_have_text(re.compile(number))

    def interrupt(self):
        """Press the square button."""
        self.page.get_by_role("button", name="Interrupt the kernel").first.click()

    def output(self, i):
        return self.cells.nth(i).locator(".jp-OutputArea-output")

    def save(self):
        self.page.keyboard.press("Control+s")
