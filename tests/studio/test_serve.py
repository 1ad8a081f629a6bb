"""The page's server, as far as it needs no browser."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import main, refused

from deepdream.studio import serve


def test_the_page_asks_no_other_host():
    for name in ("page.html", "page.js", "studio.js", "studio.css"):
        text = (Path(serve.__file__).parent / name).read_text()
        assert not re.search(r"""["'(=]\s*(https?:)?//[\w]""", text), name


def test_serve_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(serve, "version", {"segno": "1.6"}.__getitem__)
    monkeypatch.setattr(serve, "PackageNotFoundError", KeyError)
    monkeypatch.setattr(serve, "NEEDS", {"segno": "", "anywidget": ""})
    refused(main("serve"), "the page needs anywidget; `pip install anywidget` installs it")
    monkeypatch.setattr(serve, "NEEDS", {"segno": "==1.7", "anywidget": ""})
    refused(
        main("serve"),
        "the page needs segno==1.7, anywidget; `pip install segno==1.7 anywidget` installs them",
    )


def test_the_server_needs_no_ipywidgets():
    code = "import sys; import deepdream.studio.serve; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
