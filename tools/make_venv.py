"""Make .venv with pip in it, or say in one sentence why that cannot work here: python3
tools/make_venv.py

It needs no root, nor Debian's python3-venv. Old Pythons have to read this file, too,
before it can refuse them.
"""

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec

VENV = ".venv"
PYTHON = os.path.join(VENV, "bin", "python")
OLDEST = (3, 11)
OLDEST_GLIBC = (2, 28)  # what PyPI's wheels of PyAV and OpenCV are made for


def main() -> None:
    problem = find_problem()
    if problem:
        sys.exit(problem)
    is_new = not os.path.exists(VENV)
    try:
        make_venv()
        reach_pypi()
    except BaseException:
        if is_new:  # so that the next `make` begins here again
            shutil.rmtree(VENV, ignore_errors=True)
        raise


def find_problem() -> str:
    """What is wrong with this Python or this machine, in a sentence, or ''."""
    if sys.version_info < OLDEST:
        found = platform.python_version()
        return (
            f"deepdream needs Python 3.11 or newer, and this is {found}; "
            "name another: make PYTHON=python3.13"
        )
    if sys.platform != "linux":
        return (
            "make builds Caffe, which needs Linux; here, use PyTorch: "
            "see 'Without Caffe' in README.md"
        )
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < OLDEST_GLIBC:
        found = (
            f"glibc {version}" if libc == "glibc" else "another C library, such as Alpine's musl"
        )
        return (
            f"deepdream needs a Linux with glibc 2.28 or newer, and this one has {found}, "
            "for which PyPI lacks OpenCV or PyAV; use Debian, Ubuntu or Fedora, or Docker: "
            "the Dockerfile begins with the commands"
        )
    return ""


def make_venv() -> None:
    """Make the environment, in the best way that there is."""
    if not find_spec("ensurepip") and not find_spec("pip"):
        install_ensurepip()
    if find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", VENV], f"{VENV} cannot be made")
    else:  # Debian without python3-venv: its pip installs another pip
        run([sys.executable, "-m", "venv", "--without-pip", VENV], f"{VENV} cannot be made")
        run(
            [sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip"],
            "nothing can be installed from PyPI",
        )


def install_ensurepip() -> None:
    """As root, with apt; else stop, and show what to type."""
    package = f"python3.{sys.version_info[1]}-venv"
    install = [["apt-get", "update"], ["apt-get", "install", "-y", package]]
    if os.geteuid() or not shutil.which("apt-get"):
        advice = " && ".join(f"sudo {' '.join(command)}" for command in install)
        sys.exit(
            "Python has neither pip nor ensurepip here; install one, then try again; "
            f"on Debian: {advice}"
        )
    for command in install:
        run(command, f"{package} cannot be installed", stdout=subprocess.DEVNULL)
    importlib.invalidate_caches()


def reach_pypi() -> None:
    """Get the first of the packages that pip will want, with few retries: pip alone
    gives up after minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        download = ["download", "--quiet", "--no-deps", "--dest", folder, "hatchling"]
        run([PYTHON, "-m", "pip", *download], "nothing can be installed from PyPI")


def run(command: list, problem: str, **options: object) -> None:
    few = {
        "PIP_RETRIES": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    if subprocess.run(command, env={**os.environ, **few}, **options).returncode:
        sys.exit(f"deepdream: {problem}; the lines above say why")


if __name__ == "__main__":
    main()
