"""The files of a panel: how they come, under which names, and how large they may be."""

from pathlib import Path

import numpy as np
from panels import drop, press
from PIL import Image

import deepdream as dd
from deepdream.pictures import SAMPLES, load_guide
from deepdream.studio import shelf, widgets

pytest_plugins = "panel_fixtures"


def test_a_file_comes_in_pieces():
    received = []
    drop = widgets.Drop(lambda *file: received.append(file), what="a photograph")
    for at in (0, 4, 8):
        drop._receive(drop, {"name": "a.png", "size": 10, "at": at}, [b"0123456789"[at : at + 4]])
    drop._receive(drop, {"name": "large.png", "size": 10**9}, [])
    too_large = bytes(widgets.MOST_SENT_BYTES + 1)
    drop._receive(drop, {"name": "liar.png", "size": 5, "at": 0}, [too_large])
    assert received == [
        ("a.png", 10, b"0123456789"),
        ("large.png", 10**9, None),
        ("liar.png", len(too_large), None),
    ]


def test_no_name_leaves_the_folder(tmp_path):
    mine = shelf.Shelf(tmp_path)
    folder = Path(mine.folder.name)
    for given, kept in {
        "../../p.png": "p.png",
        "C:\\x\\p.png": "p.png",
        "-o.png": "o.png",
        "..": "picture",
        "a\nb<i>.png": "a_b_i_.png",
        "mountains.jpg": "mountains-2.jpg",
        "x" * 300 + ".png": "x" * 80 + ".png",
        "é" * 90 + ".png": "é" * 40 + ".png",
    }.items():
        assert mine.keep(given, b"data") == kept
        assert mine.files[kept] == folder / kept and (folder / kept).read_bytes() == b"data"


def test_an_upload_may_have_the_name_of_a_dream(panel, photo, tmp_path):
    dd.save_image(tmp_path / "p.png", photo)
    data, name = (tmp_path / "p.png").read_bytes(), "mountains-dream-1.png"
    for _ in range(2):
        assert drop(panel, f"../{name}", data) == "" and panel.knobs["image"].value == name
    panel.turn(image="mountains.jpg")
    press(panel, "dream")
    assert panel.result.name == "mountains-dream-2.png"


def test_a_portrait_is_measured_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "p.jpg", exif=exif)
    assert (
        shelf.picture_size(tmp_path / "p.jpg")
        == dd.load_image(tmp_path / "p.jpg").shape[:2]
        == (40, 30)
    )


def test_guides_are_small_whatever_is_given(tmp_path):
    dd.save_image(tmp_path / "g.png", np.zeros((900, 1600, 3)))
    assert load_guide(tmp_path / "g.png").shape == (530, 942, 3)
    assert load_guide(SAMPLES["flower.jpg"]).shape == (320, 480, 3)
