"""Pictures to train on: emoji of eight kinds, pasted onto pieces of images/, in a
folder for each kind.

    python benchmarks/emoji.py FOLDER [--each 120] [--seed 0] [--font
    NotoColorEmoji.ttf]

The font is in Debian's package fonts-noto-color-emoji; where it is not installed, the
package is downloaded.
"""

import argparse
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = "mountains.jpg", "forest.jpg", "flower.jpg"
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SIDE = 288  # pixels of a picture
GLYPH = 109  # the one size that the font has
KINDS = {  # by code point
    "faces": range(0x1F600, 0x1F648),
    "animals": range(0x1F400, 0x1F43F),
    "food": range(0x1F32D, 0x1F380),
    "vehicles": range(0x1F680, 0x1F6A5),
    "flowers": [*range(0x1F337, 0x1F33D), 0x1F490, 0x1F940],
    "hearts": range(0x1F493, 0x1F4A0),
    "clocks": range(0x1F550, 0x1F568),
    "moons": range(0x1F311, 0x1F31F),
}


def write_pictures(
    folder: Path, each: int = 120, seed: int = 0, font: Path | None = None, nothing: bool = False
) -> None:
    """Write `each` JPEGs of every kind into folder/<kind>/; with `nothing`, also of
    pieces without any emoji.
    """
    photographs = [Image.open(ROOT / "images" / name).convert("RGB") for name in PHOTOGRAPHS]
    with TemporaryDirectory() as temporary:
        font = font or find_font(Path(temporary))
        glyphs = {
            kind: [draw_glyph(font, point) for point in points] for kind, points in KINDS.items()
        }
    if nothing:
        glyphs["nothing"] = []
    for number, (kind, drawn) in enumerate(glyphs.items()):
        rng = np.random.default_rng((seed, number))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            make_picture(rng, photographs, drawn).save(folder / kind / f"{i:04d}.jpg", quality=92)


def make_picture(
    rng: np.random.Generator, photographs: list[Image.Image], glyphs: list[Image.Image]
) -> Image.Image:
    """A piece of a photograph, with one to six of the glyphs at random places, sizes
    and angles.
    """
    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.uniform(0.3, 0.9) * min(photograph.size))
    left, top = (int(rng.integers(length - side)) for length in photograph.size)
    picture = photograph.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
    for _ in range(rng.integers(1, 7) if glyphs else 0):
        size = int(SIDE * rng.uniform(0.25, 0.7))
        glyph = glyphs[rng.integers(len(glyphs))].resize((size, size), Image.Resampling.LANCZOS)
        glyph = glyph.rotate(rng.uniform(-180, 180), Image.Resampling.BICUBIC, expand=True)
        picture.paste(
            glyph, tuple(int(rng.integers(-size // 3, SIDE - size // 2)) for _ in "xy"), glyph
        )
    return picture


def draw_glyph(font: Path, point: int) -> Image.Image:
    """The emoji of this code point on a transparent ground."""
    glyph = Image.new("RGBA", (136, 128))
    pen = ImageDraw.Draw(glyph)
    pen.text((0, 0), chr(point), font=ImageFont.truetype(font, GLYPH), embedded_color=True)
    return glyph.crop(glyph.getbbox())


def find_font(folder: Path) -> Path:
    """The font's file: as installed, or unpacked into this folder from Debian's
    package.
    """
    if FONT.exists():
        return FONT
    subprocess.run(
        ["apt-get", "download", "-q", "fonts-noto-color-emoji"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
    return folder / FONT.relative_to("/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=120, help="pictures of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--font", type=Path)
    parser.add_argument("--nothing", action="store_true", help="also a kind without emoji")
    args = parser.parse_args()
    write_pictures(args.folder, args.each, args.seed, args.font, args.nothing)


if __name__ == "__main__":
    main()
