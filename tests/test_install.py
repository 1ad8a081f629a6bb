"""The way in: `make` makes .venv where it can, or says in one sentence why not. Docker
and conda.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "make_venv.py"


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """tools/make_venv.py, in an empty folder."""
    spec = importlib.util.spec_from_file_location("make_venv", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.parametrize(
    ("python", "system", "libc", "words"),
    [
        ((3, 13, 0), "linux", ("glibc", "2.41"), None),
        ((3, 11, 0), "linux", ("glibc", "2.28"), None),
        ((3, 10, 9), "linux", ("glibc", "2.36"), "needs Python 3.11"),
        ((3, 13, 0), "darwin", ("", ""), "Without Caffe"),
        ((3, 13, 0), "win32", ("", ""), "Without Caffe"),
        ((3, 13, 0), "linux", ("glibc", "2.17"), "has glibc 2.17"),
        ((3, 13, 0), "linux", ("musl", "1.2.5"), "musl"),
        ((3, 13, 0), "linux", ("libc", ""), "musl"),
        ((3, 13, 0), "linux", ("", ""), "musl"),
    ],
)
def test_what_cannot_work_is_refused_at_once(tool, monkeypatch, python, system, libc, words):
    monkeypatch.setattr(sys, "version_info", python)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    problem = tool.find_problem()
    assert words in problem and "\n" not in problem if words else problem == ""


def test_the_readme_has_what_the_sentences_name():
    assert "Without Caffe" in (ROOT / "README.md").read_text() and (ROOT / "Dockerfile").exists()


def test_old_pythons_can_read_the_script():
    """Those that make refuses; 3.6 is the oldest that a system still in use has."""
    import ast

    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def ways(tool, monkeypatch, modules, root, apt=True):
    """The commands that would run where Python has only these modules."""
    commands = []

    def run(command, problem, **options):
        commands.append(" ".join(command).replace(sys.executable, "python"))
        if command[:2] == ["apt-get", "install"]:
            modules.add("ensurepip")

    monkeypatch.setattr(tool, "run", run)
    monkeypatch.setattr(tool, "find_spec", lambda name: name in modules)
    monkeypatch.setattr(tool.shutil, "which", lambda name: apt)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    tool.make_venv()
    return commands


VENV = "python -m venv .venv"
WITHOUT = (
    "python -m venv --without-pip .venv",
    "python -m pip --python .venv/bin/python install --quiet pip",
)


def test_the_environment_is_made_with_what_there_is(tool, monkeypatch):
    assert ways(tool, monkeypatch, {"ensurepip", "pip"}, root=False) == [VENV]
    assert ways(tool, monkeypatch, {"ensurepip"}, root=False) == [VENV]
    assert (
        ways(tool, monkeypatch, {"pip"}, root=False)
        == ways(tool, monkeypatch, {"pip"}, root=True)
        == [*WITHOUT]
    )
    package = f"python3.{sys.version_info.minor}-venv"
    assert ways(tool, monkeypatch, set(), root=True) == [
        "apt-get update",
        f"apt-get install -y {package}",
        VENV,
    ]
    for root, apt in [(False, True), (True, False)]:
        with pytest.raises(
            SystemExit, match=f"neither pip nor ensurepip.* sudo apt-get install -y {package}$"
        ):
            ways(tool, monkeypatch, set(), root, apt)


def make(folder, code, **env):
    """The script as `make` calls it, after this code; PyPI is out of reach."""
    code += f"; import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    env = (
        os.environ
        | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
        | env
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True
    )


def test_without_a_network_one_sentence_says_so_and_nothing_stays(tmp_path):
    done = make(tmp_path, "pass")
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert (
        done.stderr.splitlines()[-1]
        == "deepdream: nothing can be installed from PyPI; the lines above say why"
    )
    assert "Traceback" not in done.stderr


def test_pip_comes_from_python_itself_where_venv_has_none(tmp_path):
    """As on Debian without python3-venv. The wheel of pip, which would come from PyPI,
    is the one in ensurepip.
    """
    bundled = Path(pytest.importorskip("ensurepip").__file__).parent / "_bundled"
    code = "import sys; sys.modules['ensurepip'] = None"
    (tmp_path / ".venv").mkdir()  # it was there before, so it stays
    done = make(tmp_path, code, PIP_FIND_LINKS=str(bundled))
    assert "nothing can be installed" in done.stderr, "hatchling is not there, but pip was"
    pip = tmp_path / ".venv" / "bin" / "pip"
    assert subprocess.run([pip, "--version"], capture_output=True, text=True).stdout.startswith(
        "pip "
    )


def test_the_container_gets_all_files_and_serves_the_studio():
    from deepdream.cli.parser import parse

    lines = (ROOT / "Dockerfile").read_text().splitlines()
    command = json.loads(lines[-1].removeprefix("CMD "))
    asked = parse(command)
    assert (
        asked.host == "0.0.0.0"
        and f"EXPOSE {asked.port}" in lines
        and f"-p {asked.port}:{asked.port} " in lines[3]
    )
    assert any(
        line.startswith("HEALTHCHECK ") and f"http://127.0.0.1:{asked.port}'" in line
        for line in lines
    )
    assert lines.index("USER artist") < lines.index('ENTRYPOINT ["deepdream"]')
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert all(list(ROOT.glob(path)) for path in kept)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]
    for path in [*wanted, project["project"]["readme"], "tools/caffe/build.py"]:
        assert any(path.startswith(start.split("*")[0]) for start in kept), path
