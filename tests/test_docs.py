"""README and docs: their links lead somewhere, their commands and code are right, and
nothing installs a stranger's.
"""

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import deepdream as dd
from deepdream.cli.parser import parse
from deepdream.errors import DreamError
from deepdream.nets import download, zoo
from deepdream.objectives import TERMS
from deepdream.settings import ROWS

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
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a look asks which network there is, and would download it
    monkeypatch.setattr(download, "default", lambda: zoo.DEFAULT)
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


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = ROOT / "deepdream"
# The lines of the tree: what a line is about, and what it says
TREE = re.findall(r"^ {4,}(\S.*)$", CONTRIBUTING.split("## Find your way")[1], re.MULTILINE)
PATH = re.compile(r"[\w./-]*\w(?:\.(?:py|md|toml|ipynb|prototxt|yml)\b|/(?![\w.]))")


def is_there(path: str) -> bool:
    """In the repository, in the package, or as a file of some network."""
    return any((root / path).exists() for root in (ROOT, PACKAGE, *(ROOT / "models").iterdir()))


def test_paths_in_contributing_exist() -> None:
    quoted = [text for text in re.findall(r"`([^`\n]+)`", CONTRIBUTING) if " " not in text]
    paths = [path for text in (*TREE, *quoted) for path in PATH.findall(text)]
    assert len(paths) > 40
    assert not [path for path in paths if not is_there(path)]
    modules = [text for text in quoted if re.fullmatch(r"deepdream(\.\w+)+", text)]
    assert modules and all(map(import_module, modules))


def test_the_tree_in_contributing_is_complete() -> None:
    tree = "\n".join(TREE)
    front = {path.name for path in PACKAGE.glob("[a-z]*.py")}
    assert front <= {path.removeprefix("deepdream/") for path in PATH.findall(tree)}
    wings = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    # {wing: the words of its lines}, up to the next line that begins with a folder
    named = re.findall(r"^(\w+)/ (.*?)(?=^\w+/ |\Z)", tree, re.MULTILINE | re.DOTALL)
    said = {wing: set(re.findall(r"\w+", text)) for wing, text in named}
    for wing in wings:
        there = {path.stem for path in (PACKAGE / wing).glob("[a-z]*.py")}
        generated = {name for name in there if name.endswith("_pb2")}
        assert there - generated <= said[wing], wing


def test_the_workflow_runs_tests_that_exist() -> None:
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    paths = re.findall(r"tests/[\w/]+\.py", workflow)
    assert len(paths) > 5
    assert not [path for path in paths if not (ROOT / path).exists()]


def notebook_text() -> str:
    cells = json.loads((ROOT / "dream.ipynb").read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def test_modules_that_the_notebook_names_exist() -> None:
    paths = re.findall(r"deepdream/[\w/]+\.py", notebook_text())
    assert paths and all((ROOT / path).exists() for path in paths)


def test_kinds_of_objectives_are_all_named() -> None:
    """In the notebook, in docs/dreams.md and in the help of --objective."""
    told = next(text for text in notebook_text().split("\n\n") if "There are nine kinds" in text)
    assert len(TERMS) == 9, "the notebook says nine"
    table = re.findall(r"^\| `(.*?) \|", (ROOT / "docs" / "dreams.md").read_text(), re.MULTILINE)
    for text in (told, "\n".join(table), ROWS["objective"].help.partition("of the terms")[2]):
        assert set(re.findall(r"(\w+)\(", text)) == TERMS.keys()


def test_where_modules_have_gone_can_be_imported() -> None:
    rows = re.findall(r"^ *\|.*\| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    modules = {name for now in rows for name in re.findall(r"`([\w.]+)`", now)}
    assert len(modules) > 40
    for name in modules:
        try:
            import_module(f"deepdream.{name}")
        except ImportError as error:  # Caffe, PyTorch and such may be missing
            assert not str(error.name).startswith("deepdream"), error


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
