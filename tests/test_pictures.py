"""Pictures in and out."""

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import deepdream as dd
from deepdream import pictures

GREY = np.linspace(0, 255, 12 * 10).reshape(10, 12)


# No format that Pillow writes holds HSV, so there is no such file to read.
@pytest.mark.parametrize(
    "mode", ["L", "RGB", "RGBA", "LA", "P", "PA", "1", "CMYK", "YCbCr", "I;16", "I", "F"]
)
def test_every_mode_of_pillow_comes_in(tmp_path, mode):
    path, expected = tmp_path / "picture.tiff", GREY
    grey = Image.fromarray(np.uint8(GREY))
    if mode == "I;16":
        image = Image.fromarray(np.uint16(GREY * 257))
    elif mode == "I":
        image = Image.fromarray(np.int32(GREY * 257))
    elif mode == "F":
        image = Image.fromarray(np.float32(GREY))
    elif mode == "1":
        image = grey.convert("1", dither=Image.Dither.NONE)
        expected = np.where(np.uint8(GREY) > 127, 255, 0)
    elif mode in ("P", "LA", "PA"):
        image = grey.convert(mode)
    else:
        image = grey.convert("RGB").convert(mode)
    image.save(path)
    with Image.open(path) as saved:
        assert saved.mode == mode, "the file holds what the test is about"
    image = dd.load_image(path)
    assert image.shape == (10, 12, 3) and image.dtype == np.float32
    assert np.abs(image - expected[..., None]).max() <= (0 if mode == "1" else 3)


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (dd.load_image(tmp_path / "clear.png") == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    assert (dd.load_image(tmp_path / "palette.png") == 255).all()


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.uint16([[0, 257, 25700, 65535]])).save(tmp_path / "deep.png")
    assert dd.load_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 100, 255]


def test_sixteen_bits_stay_dark_where_they_are_dark(tmp_path):
    Image.fromarray(np.uint16([[0, 200]])).save(tmp_path / "dark.png")
    assert dd.load_image(tmp_path / "dark.png").max() == 0


def test_floats_from_0_to_1_are_seen(tmp_path):
    Image.fromarray(np.float32([[0, 0.5, 1]])).save(tmp_path / "float.tiff")
    assert dd.load_image(tmp_path / "float.tiff")[0, :, 0].tolist() == [0, 127, 255]
    Image.fromarray(np.float32([[0, np.nan]])).save(tmp_path / "nan.tiff")
    with pytest.raises(dd.DreamError, match="not numbers"):
        dd.load_image(tmp_path / "nan.tiff")


def test_a_cameras_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert dd.load_image(tmp_path / "turned.jpg").shape == (30, 20, 3)


def test_width_resizes_in_proportion(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "p.png")
    assert dd.load_image(tmp_path / "p.png", width=90).shape == (60, 90, 3)
    with pytest.raises(dd.DreamError, match="width is 0"):
        dd.load_image(tmp_path / "p.png", width=0)


def promise(path, side):
    """A picture of one pixel with a header that promises so many more."""
    Image.new("1", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "half a jpeg", "huge"],
)
def test_what_cannot_be_read_is_said(tmp_path, content):
    path = tmp_path / "bad.jpg"
    if content == "half a jpeg":
        Image.effect_noise((300, 300), 90).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif content == "huge":
        path = tmp_path / "huge.png"
        promise(path, 50000)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(dd.DreamError, match=r"cannot read the picture .*(bad|huge)"):
        dd.load_image(path)


@pytest.mark.parametrize("name", ["dream.png", "dream.jpg", "DREAM.JPEG"])
def test_settings_travel_in_the_picture(tmp_path, name):
    settings = {"end": "both", "seed": None, "scale": 1.4, "image": "Mädchen.jpg"}
    image = np.random.RandomState(0).uniform(-50, 300, (20, 30, 3))
    dd.save_image(tmp_path / name, image, settings)
    assert dd.read_settings(tmp_path / name) == settings
    assert os.listdir(tmp_path) == [name]
    if name.endswith("png"):
        assert np.array_equal(dd.load_image(tmp_path / name), np.uint8(np.clip(image, 0, 255)))


def test_a_picture_without_settings_has_none(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "p.jpg", comment=b"taken by me")
    assert dd.read_settings(tmp_path / "p.jpg") == {}


def test_settings_of_what_cannot_be_read_are_refused_in_one_sentence(tmp_path):
    huge, long = tmp_path / "huge.png", tmp_path / "long.png"
    promise(huge, 50000)
    note = PngInfo()
    note.add_text("deepdream", "x" * 2_000_000, zip=True)  # more text than Pillow unpacks
    Image.new("1", (1, 1)).save(long, pnginfo=note)
    for path, says in {
        huge: r"huge\.png: it has more than 178,956,970 pixels",
        long: r"long\.png: Decompressed data too large",
    }.items():
        with pytest.raises(dd.DreamError, match=rf"^cannot read the picture .*{says}"):
            dd.read_settings(path)


def test_where_nothing_can_be_written_is_said(tmp_path):
    image = np.zeros((4, 4, 3))
    (tmp_path / "folder.png").mkdir()
    for path, says in [
        (tmp_path / "a.gif", r"its name must end in \.jpg, \.jpeg, \.png"),
        (tmp_path / "none" / "a.png", "there is no folder"),
        (tmp_path / "folder.png", "it is a folder"),
    ]:
        with pytest.raises(dd.DreamError, match=says):
            dd.save_image(path, image)


def test_long_names_and_numpy_settings(tmp_path):
    dd.save_image(tmp_path / ("x" * 250 + ".png"), np.zeros((4, 4, 3)), {"step": np.float32(1.5)})
    assert dd.read_settings(next(tmp_path.iterdir())) == {"step": 1.5}
    for check in (dd.save_image, lambda path, _: pictures.check_output(path)):
        with pytest.raises(dd.DreamError, match="File name too long"):
            check(tmp_path / ("x" * 252 + ".png"), np.zeros((4, 4, 3)))
    assert len(os.listdir(tmp_path)) == 1


def test_a_write_that_fails_midway_leaves_the_old_picture(tmp_path):
    """A limit on file size stands for a full disk; the file is far larger than the
    limit.
    """
    dd.save_image(tmp_path / "p.png", np.zeros((4, 4, 3)))
    before = (tmp_path / "p.png").read_bytes()
    code = """if True:
        import resource, sys, numpy as np, deepdream as dd
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            dd.save_image(sys.argv[1], np.random.uniform(0, 255, (300, 300, 3)))
        except dd.DreamError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "p.png"], capture_output=True, text=True
    )
    assert "cannot write" in done.stdout and "too large" in done.stdout, done
    assert os.listdir(tmp_path) == ["p.png"] and (tmp_path / "p.png").read_bytes() == before


def test_notebook_metadata_is_json(tmp_path):
    dd.save_image(tmp_path / "p.png", np.zeros((4, 4, 3)), {"a": [1, 2]})
    assert json.loads(Image.open(tmp_path / "p.png").text["deepdream"]) == {"a": [1, 2]}


@pytest.mark.parametrize("fmt", ["EPS", "PDF", "PPM", "ICO", "PCX", "TGA", "DDS", "JPEG2000"])
def test_other_formats_are_refused_whatever_their_names(tmp_path, fmt):
    """For some of them, Pillow starts other programs."""
    path = tmp_path / "p.jpg"
    Image.new("RGB", (20, 20)).save(path, fmt)
    says = r"p\.jpg: only JPEG, PNG, WEBP, GIF, BMP, TIFF.* are read"
    for read in (dd.load_image, dd.read_settings, pictures.load_guide, pictures.read_mask):
        with pytest.raises(dd.DreamError, match=says):
            read(path)


def damage(path, fmt, at, value):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a camera's words"
    Image.fromarray(np.uint8(np.stack([GREY] * 3, 2))).save(path, fmt, exif=exif)
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)


def test_damaged_pictures_are_read_or_refused_in_silence(tmp_path, capfd):
    path, refused = tmp_path / "p", 0
    for fmt in ("WEBP", "TIFF", "JPEG", "AVIF"):
        if fmt not in pictures.list_decoders():
            continue
        damage(path, fmt, 0, 0)
        for at in range(0, path.stat().st_size, 5):
            damage(path, fmt, at, 77)
            try:
                dd.load_image(path)
                dd.read_settings(path)
            except dd.DreamError:
                refused += 1
    assert refused > 50 and capfd.readouterr() == ("", ""), (
        "neither warnings nor libtiff's own lines"
    )


def test_any_error_of_a_decoder_is_said(tmp_path, monkeypatch):
    def fail(image):
        raise TypeError("'tuple' object cannot be interpreted as an integer")

    Image.new("RGB", (3, 3)).save(tmp_path / "p.png")
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(dd.DreamError, match=r"^cannot read the picture .*p\.png: it is damaged$"):
        dd.load_image(tmp_path / "p.png")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    pipe = tmp_path / "pipe.png"
    for path, what in {pipe: "a pipe", "/dev/zero": "a device", tmp_path: "a folder"}.items():
        says = rf"^cannot read the (picture|film) .*: it is .*{what}"
        for read in (dd.load_image, dd.read_settings, lambda path: next(dd.read_film(path))):
            if not (read is dd.read_settings and path is tmp_path):
                with pytest.raises(dd.DreamError, match=says):
                    read(path)
    for path in ("a\0b.png", "\ud800.png"):
        with pytest.raises(dd.DreamError, match="no file can have this name"):
            dd.load_image(path)
        with pytest.raises(dd.DreamError, match="no file can have this name"):
            dd.save_image(path, np.zeros((4, 4, 3)))


def test_a_picture_may_come_through_a_pipe(tmp_path):
    dd.save_image(tmp_path / "p.png", np.full((4, 5, 3), 9.0))
    code = "import deepdream as dd, deepdream.making; print(dd.load_image('/dev/stdin').shape)"
    code += "; print(repr(deepdream.making.sha256('/dev/stdin')))"
    data = (tmp_path / "p.png").read_bytes()
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
    assert done.stdout == b"(4, 5, 3)\n''\n", "read once, and no sha256 of what is gone is recorded"


def test_a_sample_is_found_in_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(
        dd.load_image("flower.jpg"), dd.load_image(pictures.SAMPLES["flower.jpg"])
    )
    dd.save_image("flower.jpg", np.zeros((4, 4, 3)))
    assert dd.load_image("flower.jpg").shape == (4, 4, 3), "one that is here comes first"


def test_a_thin_picture_is_not_enlarged_beyond_all_bounds(tmp_path):
    Image.new("L", (1, 5000)).save(tmp_path / "thin.png")
    assert dd.load_image(tmp_path / "thin.png", width=2).shape == (10_000, 2, 3)
    says = r"width is 100; it must be 1 or more, and the picture at most .* 65,500 at"
    with pytest.raises(dd.DreamError, match=says):
        dd.load_image(tmp_path / "thin.png", width=100)
