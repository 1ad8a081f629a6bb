"""Shows that a change of the code changes no picture: python tools/same_pictures.py OLD
NEW

OLD and NEW are two checkouts, such as one of the last release (`git worktree add ../old
v0.1.0`) and this one. Six recipes are made by both, with both networks and both
engines, small and with few steps, on this machine. The table says for each whether the
pixels are the same to the bit; the exit status is 1 if any differ.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

ENGINES = "caffe", "torch"
# A layer for each recipe that names one; `reduce` is a convolution whose ReLU comes
# after it, in place.
LAYERS = {
    "bvlc_googlenet": {
        "reduce": "inception_3b/5x5_reduce",
        "middle": "inception_4c/output",
        "low": "inception_3a/output",
    },
    "squeezenet_v1.1": {
        "reduce": "fire4/squeeze1x1",
        "middle": "fire8/concat",
        "low": "fire3/concat",
    },
}
SMALL = "--width 200 --octaves 3 --seed 1"
RECIPES = {
    "default": f"dream mountains.jpg {SMALL} --iterations 3",
    "before ReLU": f"dream mountains.jpg {SMALL} --iterations 3 --layer {{reduce}} --no-clip",
    "guide, mask": f"dream forest.jpg {SMALL} --iterations 2 --layer {{middle}} "
    "--guide flower.jpg --mask mountains.jpg",
    "sum, colour": f"dream flower.jpg {SMALL} --iterations 2 --keep-color --smooth 1 "
    "--jitter 9 --step 2 --objective L2('{middle}')+3*channel('{low}',7)-logit('goldfish')",
    "tiles": f"dream mountains.jpg {SMALL} --iterations 2 --layer {{low}} --tile 128",
    "draw": "draw jellyfish --steps 6 --seed 1",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the pictures that two checkouts make.")
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another one")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FILE",
        help="keep the hashes of OLD in this file, and do not "
        "make its pictures again; for one machine and one OLD only",
    )
    args = parser.parse_args()
    old, new = check_checkout(args.old), check_checkout(args.new)
    known: dict[str, str] = (
        json.loads(args.cache.read_text()) if args.cache and args.cache.exists() else {}
    )
    row = "{:12} {:16} {:6}  {:13} {:13} {}".format
    print(row("recipe", "network", "engine", "old", "new", ""))
    different = 0
    for recipe, network, engine in product(RECIPES, LAYERS, ENGINES):
        words = [
            *RECIPES[recipe].format(**LAYERS[network]).split(),
            "--model",
            network,
            "--engine",
            engine,
        ]
        key = " ".join(words)
        before = known.get(key) or make_picture(old, words)
        after = make_picture(new, words)
        is_same = before == after
        different += not is_same
        print(
            row(
                recipe, network, engine, before[:12], after[:12], "same" if is_same else "DIFFERENT"
            ),
            flush=True,
        )
        if args.cache:
            known[key] = before
            args.cache.write_text(json.dumps(known, indent=1))
    print(f"{different} differ" if different else "all are the same")
    return 1 if different else 0


def run_python(checkout: Path, arguments: list[str], folder: str) -> str:
    """What this Python prints with these arguments, when it imports `deepdream` from
    the checkout.

    One thread, so that sums are always added in the same order.
    """
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments)} fails:\n{done.stderr}")
    return done.stdout


def check_checkout(path: Path) -> Path:
    """The full path of a checkout, whose package is really the one that is imported."""
    checkout = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        found = run_python(
            checkout, ["-c", "import deepdream; print(deepdream.__file__)"], folder
        ).strip()
    if not Path(found).is_relative_to(checkout / "deepdream"):
        raise SystemExit(f"{checkout} is no checkout of deepdream: {found} is imported instead")
    return checkout


def make_picture(checkout: Path, words: list[str]) -> str:
    """The sha256 of the pixels of the picture that `deepdream WORDS` makes."""
    with tempfile.TemporaryDirectory() as folder:
        run_python(checkout, ["-m", "deepdream", *words, "-o", "out.png"], folder)
        with Image.open(Path(folder) / "out.png") as image:
            pixels = np.asarray(image.convert("RGB"))  # (H, W, 3)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
