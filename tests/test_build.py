"""tools/caffe/build.py: where the wheel comes from, and what happens if that fails.
`make caffe` tries the rest.
"""

import hashlib
import zipfile
from pathlib import Path

import pytest


@pytest.fixture
def build(build, monkeypatch, tmp_path):
    """The script with a cache of its own, and a compiler that makes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        build, "compile_wheel", lambda folder, _: Path(folder) / "caffe-1.0.0-compiled.whl"
    )
    return build


@pytest.fixture
def released(build, tmp_path):
    """A wheel of a release, and its address."""
    wheel = tmp_path / "caffe-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(
            "caffe-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: caffe\nVersion: 1.0.0\n"
        )
        file.writestr("caffe-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return f"file://{wheel}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_the_wheel_of_a_release_is_taken_and_kept(build, released, tmp_path):
    build.RELEASED[build.MACHINE] = released
    found = build.find_wheel(tmp_path / "spare")
    assert found.name == "caffe-1.0.0-py3-none-any.whl" and (tmp_path / "cache") in found.parents
    build.RELEASED.clear()
    assert build.find_wheel(tmp_path / "spare") == found


@pytest.mark.parametrize(
    "change", [lambda address: address[:-4] + "0000", lambda _: "http://127.0.0.1:9/caffe.whl"]
)
def test_a_release_that_is_wrong_or_cannot_be_reached_is_no_error(
    build, released, tmp_path, capfd, change
):
    build.RELEASED[build.MACHINE] = change(released)
    assert build.find_wheel(tmp_path / "spare").name == "caffe-1.0.0-compiled.whl"
    assert "that failed, so it is compiled here" in capfd.readouterr().out


def test_a_cache_that_cannot_be_written_is_no_error(build, tmp_path, capfd):
    (tmp_path / "cache").write_text("a file")
    assert build.find_wheel(tmp_path / "spare").parent == tmp_path / "spare"
    assert "will not be kept, because the cache cannot be written" in capfd.readouterr().out


def test_another_recipe_has_another_place_in_the_cache(build, released, tmp_path, monkeypatch):
    build.RELEASED[build.MACHINE] = released
    before = build.find_wheel(tmp_path / "spare")
    monkeypatch.setattr(build, "MACHINE", "another")
    assert build.find_wheel(tmp_path / "spare").parent != before.parent


def test_a_source_with_another_checksum_is_refused(build, tmp_path, capfd):
    build.SOURCES["wheel"] = ("0.45.1", "0" * 64)
    with pytest.raises(SystemExit, match="caffe: pip download failed; the lines above say why"):
        build.fetch("wheel", tmp_path)
    assert "HASHES" in capfd.readouterr().err


def test_compilers(build, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.compilers() == ["zig c++"]
    monkeypatch.setenv("CXX", "ccache my-c++")
    assert build.compilers() == ["ccache my-c++", "zig c++"]


def test_machines_that_cannot_build_it_are_told_at_once(build, monkeypatch):
    monkeypatch.setattr(build.sys, "argv", ["build.py"])
    monkeypatch.setattr(build, "MACHINE", "riscv64")
    with pytest.raises(SystemExit, match="and not for riscv64; dream with PyTorch instead"):
        build.main()
    monkeypatch.setattr(build.platform, "libc_ver", lambda: ("", ""))
    with pytest.raises(SystemExit, match="needs Linux with glibc"):
        build.main()
