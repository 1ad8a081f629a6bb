"""Films on the command line, for the tests: small ones with keys, stopped where a test
says, and compared byte by byte.
"""

from pathlib import Path

import numpy as np
from clips import panned
from conftest import TOY, write_model

import deepdream as dd

KEYS = """
[0]
layer = "left"
mask = "mask.png"

[2]
look = "2015"
zoom = 0.2
to = [0.8, 0.3]

[3]
guide = "FAR/guide.png"
jitter = 4

[5]
objective = "L2('left') + 2 * guide('right', 'FAR/guide.png')"
rotate = 10
keep-color = true
"""


HELD = "--hold", 0.5, "--to", 20, 40, "--loop", "--frames", 7


class Killed(BaseException):
    """In place of SIGKILL, at a moment that is chosen."""


def is_made(done, out):
    """Whether a command made this file, and said just that."""
    assert done.returncode == 0 and done.stdout == f"{out}\n", done
    return Path(out).exists()


def frames_in(folder):
    """{name: time of the last change} of a film's frames."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.png")}


def files_in(folder):
    """{name: content} of a film's frames, and the arrays of its state."""
    with np.load(Path(folder, "state.npz")) as state:
        arrays = {name: state[name].tobytes() for name in state.files}
    return {path.name: path.read_bytes() for path in Path(folder).glob("0*.png")} | arrays


def is_same_film(one, other):
    """Whether two films, and the frames that they were made of, are the same byte by
    byte.
    """
    one, other = Path(one), Path(other)
    frames = [path.with_suffix(".frames") for path in (one, other)]
    return one.read_bytes() == other.read_bytes() and files_in(frames[0]) == files_in(frames[1])


def zoom(out, *args, keys="film.toml"):
    """The words of a small film, with keys."""
    few = "--model", "toy", "--iterations", 2, "--octaves", 2
    return ["zoom", "in.png", "-o", out, *(["--keys", keys] if keys else []), *few, *args]


def count(settings, out, n=4, **kwargs):
    """Make a film of n grey frames; the numbers of those that were made now."""
    made = []

    def make(done, last=None):
        for i in range(done, n):
            made.append(i)
            assert done == 0 or last is not None
            yield (np.full((8, 8, 3), 10.0 * i, np.float32),)

    dd.make_film(out, make, settings, n, **kwargs)
    return made


def keyed_folder(tmp_path, monkeypatch):
    """Make tmp_path the working folder, with a photograph, a mask, a network, and
    film.toml, which names far/guide.png in full.
    """
    monkeypatch.chdir(tmp_path)
    write_model(
        tmp_path / "toy", TOY.replace('"both"', '"fire8/concat"'), 'default_layer = "fire8/concat"'
    )
    (tmp_path / "far").mkdir()
    dd.save_image("in.png", panned(1, 80, 60)[0])
    dd.save_image("far/guide.png", panned(2, 64, 40)[1])
    mask = np.zeros((20, 30))
    mask[:, 5:25] = 255
    dd.save_image("mask.png", np.repeat(mask[..., None], 3, 2))
    (tmp_path / "film.toml").write_text(KEYS.replace("FAR", str(tmp_path / "far")))
    return tmp_path
