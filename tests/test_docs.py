"""README and docs: their links lead somewhere, their commands and code are right, and
nothing installs a stranger's.
"""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import deepdream as dd
from deepdream.cli.parser import parse
from deepdream.errors import DreamError

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "images" / "README.md",
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
MOST_WORDS = 1000  # of the README
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# `pip install`, then up to the end of the command the name of a package that others
# own; `.[batch]` and paths are ours.
STRANGER = re.compile(r"pip install\b[^`\n;]*?(?<![\w./-])(deepdream|caffe)(?![\w/.])")


def all_pages(test: Callable[[Path], None]) -> Callable[[Path], None]:
    return pytest.mark.parametrize(
        "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
    )(test)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """The `deepdream ...` command lines of a page: those in its code blocks, and whole
    ones within a sentence.
    """
    text = page.read_text().replace("\\\n", " ")
    yield from re.findall(r"^(?: {4,}|)(?:\.venv/bin/)?(deepdream .*)$", text, re.MULTILINE)
    yield from re.findall(
        r"`(deepdream (?:replay|layers|models|serve|[^`]* -o )[^`]*)`", text
    )  # no mere names


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


@all_pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_links_all_docs() -> None:
    links = LINK.findall((ROOT / "README.md").read_text())
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(links)


@all_pages
def test_commands_are_understood(page: Path) -> None:
    for command in commands(page):
        try:
            parse(shlex.split(command, comments=True)[1:])
        except DreamError as error:
            pytest.fail(f"{command}: {error}")


def test_commands_are_found() -> None:
    """So that the test above cannot pass by looking at nothing."""
    assert len({command for page in PAGES for command in commands(page)}) > 30


@all_pages
def test_python_is_right(page: Path) -> None:
    """It compiles, and what it imports from the package is there."""
    for language, code in FENCED.findall(page.read_text()):
        if language == "python":
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module == "deepdream":
                    assert {alias.name for alias in node.names} <= set(dd.__all__), code


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\n## {dd.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {dd.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_nothing_installs_what_others_own() -> None:
    """The names `deepdream` and `caffe` on PyPI belong to others, so nothing here may
    advise to install them.
    """
    folders = "deepdream", "tools", "docs", "models", "tests", "benchmarks", ".github"
    kinds = {".py", ".md", ".toml", ".yml", ".ipynb", ".html", ".js", ".prototxt"}
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds
    ]
    files += [path for path in ROOT.glob("*") if path.suffix in kinds or path.name == "Makefile"]
    files.remove(Path(__file__))
    texts = {path: path.read_text() for path in files}
    assert sum("pip install" in text for text in texts.values()) > 5
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path, text in texts.items()
        if (match := STRANGER.search(text))
    }
    assert not found


@pytest.mark.parametrize(
    ("advice", "wrong"),
    [
        ("`pip install 'deepdream[batch]'` installs it", True),
        ("python -m pip install --quiet deepdream-caffe", True),
        ("pip install torch caffe", True),
        ("`pip install distributed` installs it; Caffe and deepdream need it", False),
        (".venv/bin/pip install -e '.[batch]'", False),
        ("pip install -e ./deepdream", False),
    ],
)
def test_a_strangers_package_is_noticed(advice: str, wrong: bool) -> None:
    assert bool(STRANGER.search(advice)) == wrong
