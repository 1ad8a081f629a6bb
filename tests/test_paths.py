"""Whether a file can be read or written, and files written whole or not at all."""

import os
import tempfile

import pytest

from deepdream import paths
from deepdream.errors import CannotWriteError, DreamError


def test_why_a_file_cannot_be_read(tmp_path):
    (tmp_path / "file").write_text("here")
    os.mkfifo(tmp_path / "pipe")
    assert paths.why_unreadable(tmp_path / "file") == ""
    for path, why in {
        tmp_path: "it is a folder",
        tmp_path / "absent": "there is no such file",
        tmp_path / "file" / "below": "Not a directory",
        tmp_path / ("x" * 300): "File name too long",
        tmp_path / "pipe": "it is a pipe or a device; save what comes from it",
        "/dev/zero": "it is a pipe or a device; save what comes from it",
        "a\0b": "no file can have this name",
        "\ud800": "no file can have this name",
    }.items():
        assert paths.why_unreadable(path).startswith(why), path


def test_only_a_pipe_of_the_shell_may_be_read():
    reading, writing = os.pipe()
    try:
        path = f"/dev/fd/{reading}"
        assert paths.why_unreadable(path, may_be_pipe=True) == ""
        assert "it is a pipe" in paths.why_unreadable(path)
        same = f"/proc/{os.getpid()}/fd/{reading}"
        assert "it is a pipe" in paths.why_unreadable(same, may_be_pipe=True)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_appears_whole(tmp_path):
    out = tmp_path / "out.txt"
    with paths.whole(out) as part:
        assert part.parent == tmp_path and part.suffix == ".txt"
        part.write_text("half")
        assert not out.exists()
        part.write_text("all of it")
    assert out.read_text() == "all of it" and os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_fails_midway_leaves_the_old_file(tmp_path, error):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(error), paths.whole(out, tmp_path / "part") as part:
        part.write_text("half")
        raise error
    assert out.read_text() == "old" and os.listdir(tmp_path) == ["out.txt"]


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path):
    out = tmp_path / "absent" / "out.txt"
    says = r"^cannot write .*out\.txt: No such file"
    with pytest.raises(CannotWriteError, match=says), paths.whole(out) as part:
        part.write_text("nowhere")


def test_a_temporary_folder_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with paths.temporary_folder() as folder:
        (folder / "file").write_text("here")
        assert folder.parent == tmp_path
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    says = r"No such file.*; set TMPDIR"
    with pytest.raises(CannotWriteError, match=says), paths.temporary_folder():
        pass


def test_a_folder_may_have_to_be_made(tmp_path):
    paths.check_folder(tmp_path)
    paths.check_folder(tmp_path / "new" / "deeper")
    assert os.listdir(tmp_path) == [], "nothing is made, and nothing stays"


@pytest.mark.parametrize(
    "name", ["x" * 300, f"new/{'x' * 300}/deeper", f"{'x' * 250}.png/in", "a\0b", "file/in"]
)
def test_a_place_where_nothing_can_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("here")
    (tmp_path / ("x" * 250 + ".png")).write_text("here")
    with pytest.raises(DreamError, match=r"^cannot write "):
        paths.check_folder(tmp_path / name)
    with pytest.raises(DreamError, match=r"^cannot write the film: "):
        paths.check_place(tmp_path / name, "the film")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(DreamError, match="file is a file; -o takes a folder"):
        paths.check_folder(tmp_path / "file")


def test_what_is_a_url():
    assert paths.is_local("a/b.jpg") and paths.is_local("C:/b.jpg")
    assert not paths.is_local("s3://bucket/b.jpg")
