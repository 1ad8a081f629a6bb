"""Pictures to learn from: which are found, how they are cut, and odd ones."""

import gc
import os
import re
import struct
import zlib
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from learning import command, draw_classes, few, learn, pattern, prepare
from PIL import Image

import deepdream as dd
from deepdream.train import lessons
from deepdream.train.lessons import Crops, find_classes

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
ORIENTATION = 0x0112


def turned(number):
    """What a camera writes that was held like this."""
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return exif


def write_odd(folder):
    """Pictures of many kinds. (those that can be learnt, those that cannot)"""
    folder.mkdir(parents=True)
    grid = Image.fromarray(np.uint8(pattern("checks", np.random.default_rng(0))))
    deep = np.uint16(np.arange(48 * 64).reshape(48, 64) * 20)
    grid.convert("L").save(folder / "grey.png")
    Image.fromarray(deep).save(folder / "deep.png")
    Image.merge("RGBA", (*grid.split(), grid.convert("L"))).save(folder / "clear.png")
    grid.convert("CMYK").save(folder / "print.jpg")
    grid.convert("P").save(folder / "few colours.GIF")
    grid.save(folder / "turned.jpg", exif=turned(6))
    grid.resize((900, 700)).save(folder / "inner, größer.jpeg")
    good = {path.name for path in folder.iterdir()}
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    grid.resize((31, 100)).save(folder / "tiny.png")
    head = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))
    (folder / "huge.png").write_bytes(huge)
    bad = {path.name for path in folder.iterdir()} - good
    grid.save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("mine")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return good, bad


def test_pictures_of_all_kinds(tmp_path, toy):
    pictures = draw_classes(tmp_path / "pictures", 3, ["rows"])
    good, bad = write_odd(pictures / "class one" / "nested" / "deep")
    (pictures / "empty").mkdir()
    dd.save_image(pictures / "stray.png", np.zeros((50, 50, 3)))
    with pytest.warns(UserWarning) as told:
        found = find_classes(pictures)
    assert list(found) == ["class one", "rows"]
    assert {path.name for path in found["class one"]} == good
    (said,) = (str(warning.message) for warning in told)
    assert re.fullmatch(r"left out, \d+ in all: .* \(.*\); .*; \.\.\.", said), said
    # What cannot be read, the empty folder, and the stray picture
    assert int(said.split()[2]) >= len(bad) + 2
    done = command(pictures, tmp_path / "out", toy, "--steps", 20)
    assert done.returncode == 0, done.stderr


def test_a_class_of_photographs_in_a_format_that_is_not_read_is_reported(tmp_path):
    draw_classes(tmp_path, 3)
    for path in (tmp_path / "rows").iterdir():
        path.rename(path.with_suffix(".HEIC"))
    with pytest.warns(UserWarning, match=r"rows.*\.HEIC \(only \.jpg, .* are read\)"):
        assert "rows" not in find_classes(tmp_path)


def test_folders_whose_names_give_the_same_class_or_none(tmp_path):
    """a_b and "a b" are one class; none of their pictures is lost without a word."""
    pictures = draw_classes(tmp_path / "pictures", 3)
    (pictures / "rows").rename(pictures / "a_b")
    (pictures / "columns").rename(pictures / "a  b")
    assert {name: len(them) for name, them in find_classes(pictures).items()} == {
        "a b": 6,
        "checks": 3,
    }
    (pictures / "a_b").rename(pictures / "_")
    found = find_classes(pictures)
    assert len(found) == 3 and "" not in found


@pytest.mark.parametrize("where", ["rows", "rows/secret00.png"])
def test_names_that_are_not_utf_8(tmp_path, toy, where):
    """As in old archives."""
    pictures = draw_classes(tmp_path / "pictures", 3)
    name = os.fsencode(pictures / where)
    os.rename(name, os.path.dirname(name) + b"/caf\xe9.png")
    done = command(pictures, tmp_path / "out", toy, "--steps", 2)
    if done.returncode:
        refused(done, "caf")


def cut_off(path, size=1500):
    """Half a picture, whose header is fine."""
    Image.effect_noise((80, 80), 99).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:size])


def test_a_picture_cut_off_after_its_header_is_left_out(tmp_path, toy):
    """Wherever it is read: in a step, in the test, or while groups are made."""
    pictures = draw_classes(tmp_path / "pictures", 6)
    kept = prepare(pictures, model=str(toy)).crops
    bad = [kept.groups[0][0], kept.tested[1][0]]
    for path in bad:
        cut_off(path)
    assert find_classes(pictures)["checks"].count(bad[0]) == 1, "its header is fine"
    done = command(pictures, tmp_path / "out", toy, "--steps", 20)
    assert done.returncode == 0, done.stderr
    assert all(str(path) in done.stderr for path in bad)
    assert done.stderr.count("; it is left out\n") == 2
    words = "--steps", 9, "--batch", 5
    done = command(pictures / "checks", tmp_path / "alone", toy, *words)
    assert done.returncode == 0 and str(bad[0]) in done.stderr, done.stderr


@pytest.mark.filterwarnings("ignore:cannot read")
@pytest.mark.parametrize("whole", [0, 1, 2])
def test_pictures_without_classes_of_which_most_are_cut_off(tmp_path, toy, whole):
    pictures = draw_classes(tmp_path / "all", 4, ["rows"]) / "rows"
    for path in sorted(pictures.iterdir())[whole:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if whole == 2:
        assert len(learn(pictures, tmp_path / "out", **few(toy))) == 10
        return
    says = r"there are no two pictures in .* that can be read"
    with pytest.raises(dd.DreamError, match=says):
        learn(pictures, tmp_path / "out", **few(toy))
    assert not (tmp_path / "out").exists()


def test_a_picture_is_turned_as_the_camera_was_held(tmp_path):
    image = Image.fromarray(np.uint8(pattern("rows", np.random.default_rng(0))))
    upright = image.transpose(Image.Transpose.ROTATE_90)
    upright.save(tmp_path / "upright.png")
    image.save(tmp_path / "turned.png", exif=turned(8))
    both = [tmp_path / "upright.png", tmp_path / "turned.png"]
    (views,) = Crops([both], 0, (24, 32), [1, 2, 3], 0).views(both, 6)
    assert np.array_equal(views[0], views[1])
    middle = upright.crop((0, 14, 48, 50)).resize((32, 24), Image.Resampling.BILINEAR)
    bgr = np.float32(middle)[..., ::-1].transpose(2, 0, 1)
    assert np.array_equal(views[0], bgr - np.float32([1, 2, 3]).reshape(3, 1, 1))


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_crop_of_any_picture_lies_within_it(place):
    for own in (224, 227):
        crops = Crops([[Path("a"), Path("b")]], 0, (own, own), [0, 0, 0], 0)
        for side in (*range(32, 260), 448):
            image = Image.new("RGB", (side, side + side // 3))
            assert crops.cut(image, 1, place, place, False).shape == (own, own, 3)


def test_a_batch_depends_on_the_seed_and_its_step_alone(patterns):
    found = list(find_classes(patterns).values())
    one, two, other = (Crops(found, 0.2, (24, 32), [0, 0, 0], seed) for seed in (5, 5, 6))
    batches = list(one.batches(0, 6, 4))
    for step in (3, 0, 5):
        for a, b in zip(two.make_batch(step, 4), batches[step]):
            assert np.array_equal(a, b)
    for a, b in zip(next(two.batches(4, 6, 4)), batches[4]):
        assert np.array_equal(a, b)
    assert not np.array_equal(other.make_batch(0, 4)[0], batches[0][0])
    assert one.tested == two.tested != other.tested
    assert not set(chain(*one.tested)) & set(chain(*one.groups))


@pytest.fixture
def patterns(tmp_path):
    return draw_classes(tmp_path / "pictures", 30)


def count_images():
    return sum(issubclass(type(it), Image.Image) for it in gc.get_objects())


def test_pictures_are_read_when_they_are_needed(tmp_path, toy, monkeypatch):
    pictures = draw_classes(tmp_path / "pictures", 1)
    for folder in pictures.iterdir():
        for i in range(999):
            os.link(folder / "secret00.png", folder / f"{i}.png")
    read, load_image = [], lessons.load_image

    def load(path, **how):
        read.append(path)
        return load_image(path, **how)

    monkeypatch.setattr(lessons, "load_image", load)
    training = prepare(pictures, tmp_path / "out", **few(toy, keep_out=0.5))
    assert not read and sum(map(len, training.crops.groups)) >= 2000
    before = count_images()
    training.run(lambda lesson: lesson.step == 2)
    for tested in training.crops.tested:
        list(training.crops.views(tested, 6))
    most = 4 * 6 + sum(map(len, training.crops.tested))
    assert lessons.CACHED < len(read) <= most <= 4 * 6 + 402
    assert count_images() - before <= lessons.CACHED + 6, "not all stay in memory"
    for path in list(islice((pictures / "rows").iterdir(), 997)):
        path.unlink()
    loose = prepare(pictures / "checks", tmp_path / "loose", **few(toy))
    assert len(loose.crops.groups[0]) == 1000, "that many can be sorted"
