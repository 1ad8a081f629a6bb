"""Train networks on emoji, with classes and without, and let another one judge what
they dream of.

    python benchmarks/train.py [--engine torch] [--steps 200] [--font
    NotoColorEmoji.ttf]

The judge is trained with another seed, and has one more class, `nothing`: pieces of the
photographs without emoji, most of them dreamt by the parent network. A dream's share is
the judge's probability that a piece of it is anything else. Writes dreams/train.png.
"""

import argparse
import resource
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from emoji import KINDS, PHOTOGRAPHS, ROOT, write_pictures

import deepdream as dd
from deepdream.train import train
from deepdream.train.lessons import Crops

LABELS = "parent", "with classes", "without classes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--font", type=Path)
    args = parser.parse_args()
    how = {"engine": args.engine, "steps": args.steps}
    parent = dd.load_net("bvlc_googlenet", args.engine)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sets = {name: folder / name for name in ("classes", "mixed", "judge")}
        write_pictures(sets["classes"], font=args.font)
        write_pictures(sets["judge"], font=args.font, seed=1, nothing=True)
        dream_some(parent, sets["judge"] / "nothing")
        sets["mixed"].mkdir()
        for kind in KINDS:
            for path in (sets["classes"] / kind).iterdir():
                shutil.copy(path, sets["mixed"] / f"{kind}-{path.name}")
        timed_train(sets["judge"], folder / "1", seed=1, **how)
        timed_train(sets["classes"], folder / "2", **how)
        timed_train(sets["mixed"], folder / "3", **how)
        judge, mine, alone = (dd.load_net(folder / name, args.engine) for name in "123")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
        pictures = [[dream(net, name) for name in PHOTOGRAPHS] for net in (parent, mine, alone)]
        shares = [[share(judge, picture) for picture in row] for row in pictures]
    for label, row in zip(LABELS, shares):
        times = np.mean(row) / np.mean(shares[0])
        each = ", ".join(f"{value:.3f}" for value in row)
        print(
            f"{label:16} share of the trained classes {np.mean(row):.3f} ({each}), "
            f"{times:.1f} times the parent's"
        )
    (ROOT / "dreams").mkdir(exist_ok=True)
    shown = [picture for row in pictures for picture in row]
    dd.save_image(
        ROOT / "dreams" / "train.png",
        dd.sheet(shown, [label for label in LABELS for _ in PHOTOGRAPHS], 3),
    )


def timed_train(pictures: Path, out: Path, **settings: Any) -> None:
    """Train, and print the seconds and the accuracy."""
    start = time.perf_counter()
    done = train(pictures, out, model="bvlc_googlenet", **settings)
    known = (
        "no classes" if done.accuracy is None else f"{done.accuracy:.1%} of the pictures kept out"
    )
    print(
        f"{pictures.name:10} {done.steps} steps, {time.perf_counter() - start:.0f} s, {known}",
        flush=True,
    )


def dream_some(net: Any, folder: Path) -> None:
    """Let the network dream two of three pictures in the folder."""
    rng = np.random.default_rng(0)
    for i, path in enumerate(sorted(folder.iterdir())):
        if i % 3:
            strength = {"iter_n": int(rng.integers(5, 12)), "octave_n": int(rng.integers(2, 5))}
            dd.save_image(
                path,
                dd.deepdream(net, dd.load_image(path), end=net.default_layer, seed=i, **strength),
            )


def dream(net: Any, name: str) -> np.ndarray:
    return dd.deepdream(
        net, dd.load_image(ROOT / "images" / name, 480), end=net.default_layer, seed=0
    )


def share(judge: Any, picture: np.ndarray, n: int = 24) -> float:
    """The mean probability of the trained classes over n random crops of a picture."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "dream.png"
        dd.save_image(path, picture)
        crops, _ = Crops([[path]], 0, judge.own_size, judge.model.mean, 0).make_batch(0, n)
    nothing = []
    for crop in crops:
        judge.blobs["data"].reshape(1, *crop.shape)
        judge.blobs["data"].data[0] = crop
        judge.forward()
        nothing.append(judge.blobs["prob"].data[0, judge.labels.index("nothing")])
    return 1 - float(np.mean(nothing))


if __name__ == "__main__":
    main()
