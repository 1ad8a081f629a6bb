"""The numbers that docs/ quotes: python benchmarks/bench.py [--rounds N] [--json FILE] [--draw] [--film] [--batch]

GoogLeNet (else SqueezeNet), 1024x575, default layer: one gradient, the whole default dream, and the peak memory, of
the plain 2015 algorithm on stock Caffe and of each engine. Every round runs each contender once, in turn; the numbers
are medians; ratios come first, because seconds depend on the machine. All contenders share one process, so the
allocator's settings, which TorchNet changes, are the same for Caffe.

--draw: six classes from noise instead, by each engine and by the recipe of auduno/deepdraw on stock Caffe: seconds, the
probability that GoogLeNet gives the class, and the rank that SqueezeNet gives it, which took no part in the drawing.

--film: a camera pans over one photograph and flies into another. How much less does a film's dream flicker along the
known motion than pictures dreamt one by one, how strong is it beside them, and how far is its brightness off?

--batch: 16 small dreams by two workers, by one, and in a plain loop, each with one thread, in turn.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import deepdream as dd

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))
STOCK = "stock Caffe, 2015"
ENGINES = {"CaffeNet": ("caffe",), "TorchNet float32": ("torch",), "TorchNet bfloat16": ("torch", None, "bfloat16")}


def contender(name: str, image: np.ndarray) -> tuple:
    """(the network with the picture in it, a gradient to call, a dream to call)."""
    net = dd.load_net(None, *ENGINES.get(name, ("caffe",)))
    end = net.default_layer
    if name == STOCK:
        from plain import plain_dream, plain_gradient, stock_net

        runner = stock_net(net)
        calls = partial(plain_gradient, runner, end), partial(plain_dream, runner, net.mean, image, end)
    else:
        runner, calls = net, (partial(dd.gradient, net, end), partial(dd.deepdream, net, image, end=end))
    runner.blobs["data"].reshape(1, 3, *image.shape[:2])
    runner.blobs["data"].data[0] = dd.preprocess(net, image)
    return net, *calls


def in_turn(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    """{name: median seconds}, each called once in every round."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in times.items()}


def python_share(net: Any, image: np.ndarray) -> float:
    """What the package adds to the time inside Caffe over a dream's steps, as a share of that time."""
    inside = 0.0

    def timed(call: Callable) -> Callable:
        def wrapper(*args: Any) -> None:
            nonlocal inside
            start = time.perf_counter()
            call(*args)
            inside += time.perf_counter() - start

        return wrapper

    net._forward, net._backward = timed(net._forward), timed(net._backward)
    start = time.perf_counter()
    dd.deepdream(net, image, end=net.default_layer, on_step=lambda step: None)
    total = time.perf_counter() - start
    del net._forward, net._backward
    return total / inside - 1


DRAWN = ["banana", "dumbbell", "starfish", "ant", "parachute", "anemone fish"]


def drawings() -> None:
    """Draw each class with each engine in turn; print what both networks think of it, and write dreams/draw-*.png."""
    from plain import opinion, plain_draw, stock_net

    from deepdream.objectives import class_number

    nets = {name: dd.load_net("bvlc_googlenet", *engine) for name, engine in ENGINES.items()}
    google, other = nets["CaffeNet"], dd.load_net("squeezenet_v1.1", "caffe")
    stock = stock_net(google)
    pictures = {name: [] for name in (STOCK, *nets)}
    print(f"{'':20} {'':14} {'seconds':>8} {'GoogLeNet':>10} {'SqueezeNet':>11}")
    for label in DRAWN:
        i = class_number(google, label)
        for name in pictures:
            start = time.perf_counter()
            picture = plain_draw(stock, google.mean, i) if name == STOCK else dd.draw(nets[name], i)
            seconds = time.perf_counter() - start
            pictures[name].append(picture)
            p, rank = opinion(google, picture, i)[0], opinion(other, picture, i)[1]
            print(f"{name:20} {label:14} {seconds:8.1f} {p:10.4f} {'rank':>6} {rank:4}", flush=True)
    for name, drawn in pictures.items():
        path = ROOT / "dreams" / f"draw-{name.split(',')[0].replace(' ', '-')}.png"
        path.parent.mkdir(exist_ok=True)
        dd.save_image(path, dd.sheet(drawn, DRAWN))


def films(frames: int = 200) -> None:
    """Print, for films of default dreams by TorchNet, every 20th frame beside the same frame dreamt by itself."""
    from plain import Camera

    cameras = {
        "pan": Camera("mountains.jpg", lambda i: (20 + 0.9 * i, 60 + 0.2 * i, 1.3)),
        "flight": Camera("forest.jpg", lambda i: (40 + 0.5 * i, 30 + 0.3 * i, 1.9 - 0.004 * i)),
    }
    print(f"{'':32} {'flicker':>12} {'strength':>12} {'off by at most':>14}")
    for model, end in (
        ("bvlc_googlenet", "inception_4c/output"),
        ("bvlc_googlenet", "inception_3b/output"),
        ("squeezenet_v1.1", "fire8/concat"),
    ):
        net = dd.load_net(model, "torch")
        for name, camera in cameras.items():
            flicker, strength, off, before = [], [], 0.0, []
            for i, film in enumerate(dd.steady(net, map(camera.shot, range(frames)), end=end)):
                off = max(off, abs((film.picture - film.source).mean((0, 1))).max())
                if i % 20 < 2:
                    pair = film.picture, dd.deepdream(net, film.source, end=end, seed=0)
                    strength.append(np.divide(*(abs(dream - film.source).mean() for dream in pair)))
                    if i % 20:
                        flicker.append(np.divide(*(camera.flicker(two, i - 1) for two in zip(before, pair))))
                    before = pair
            row = f"{min(flicker):.2f} to {max(flicker):.2f} {min(strength):.2f} to {max(strength):.2f}"
            print(f"{end:20} {name:11} {row} {off:14.2f}", flush=True)


def peak_memory(name: str) -> float:
    """The most memory that a separate process holds during one gradient, in GB."""
    out = subprocess.run([sys.executable, __file__, "--peak", name], capture_output=True, text=True, check=True).stdout
    return float(out)


LOOP = """
import sys, time
import deepdream as dd
net, image = dd.load_net(engine="caffe"), dd.load_image(sys.argv[1], width=int(sys.argv[2]))
for line in sys.stdin:
    start = time.perf_counter()
    for seed in range(int(line)):
        settings = {"seed": seed}
        dd.save_image(f"{sys.argv[3]}/{seed}.png", dd.deepdream(net, image, end=net.default_layer, seed=seed), settings)
    print(time.perf_counter() - start, flush=True)
"""


def batches(rounds: int, width: int = 256, n: int = 16) -> None:
    """Print the seconds for n dreams, and their ratios."""
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from deepdream.batch import connect, dream_many

    picture = ROOT / "images" / "mountains.jpg"
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        clients = {f"{k} workers": stack.enter_context(connect(workers=k)) for k in (1, 2)}
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LOOP, picture, str(width), folder]
        loop = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                                    env=one_thread))  # fmt: skip
        drawn = iter(range(10**9))

        def plain(n: int = n) -> float:
            print(n, file=loop.stdin, flush=True)
            return float(loop.stdout.readline())

        def dask(client: Any, n: int = n) -> None:
            name = f"{folder}/{next(drawn)}"
            about = {"image": str(picture), "width": width, "engine": "caffe"}
            for report in dream_many([about | {"seed": i, "out": f"{name}-{i}.png"} for i in range(n)], client):
                assert report["error"] is None, report

        calls = {name: partial(dask, client) for name, client in clients.items()} | {"plain loop": plain}
        for call in calls.values():  # each loads its network
            call(n=2)
        seconds = in_turn(calls, rounds)
        loop.stdin.close()
    for name, took in seconds.items():
        print(f"{name:12} {took:7.1f} s for {n} dreams of {width} pixels")
    print(f"two workers are {seconds['1 workers'] / seconds['2 workers']:.2f} times as fast as one")
    print(f"one worker takes {seconds['1 workers'] / seconds['plain loop'] - 1:+.1%} against the plain loop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="of gradients; a third of that of dreams")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    parser.add_argument("--draw", action="store_true", help="time and judge drawings instead")
    parser.add_argument("--film", action="store_true", help="judge films instead")
    parser.add_argument("--batch", action="store_true", help="time many dreams at once instead")
    parser.add_argument("--peak", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
    image = dd.load_image(ROOT / "images" / "mountains.jpg")
    if args.peak:
        contender(args.peak, image)[1]()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(int(status["VmHWM"].split()[0]) / 1e6)
        return

    if args.batch:
        return batches(max(1, args.rounds // 2))
    if args.draw or args.film:
        return drawings() if args.draw else films()

    names = [STOCK, *ENGINES]
    memory = {name: peak_memory(name) for name in names}
    nets, gradients, dreams = (dict(zip(names, parts))
                               for parts in zip(*(contender(name, image) for name in names)))  # fmt: skip
    assert np.array_equal(gradients[STOCK](), gradients["CaffeNet"]()), "the two do not compute the same"
    in_turn(gradients, 1)  # to warm up
    gradient, dream = in_turn(gradients, args.rounds), in_turn(dreams, max(1, args.rounds // 3))
    result = {
        name: {"gradient_ratio": gradient[STOCK] / gradient[name], "dream_ratio": dream[STOCK] / dream[name],
               "gradient_s": gradient[name], "dream_s": dream[name], "peak_gb": memory[name]}
        for name in names
    }  # fmt: skip
    added = python_share(nets["CaffeNet"], image)

    net = nets["CaffeNet"]
    print(f"{net.model.name}, {image.shape[1]}x{image.shape[0]}, {net.default_layer}; times as fast as {STOCK}:\n")
    print(f"{'':20} {'gradient':>9} {'dream':>9} {'gradient':>12} {'dream':>9} {'peak memory':>12}")
    for name, r in result.items():
        print(f"{name:20} {r['gradient_ratio']:8.2f}x {r['dream_ratio']:8.2f}x {r['gradient_s']:10.3f} s "
              f"{r['dream_s']:7.1f} s {r['peak_gb']:9.2f} GB")  # fmt: skip
    print(f"\nOver a dream, CaffeNet's Python adds {added:.1%} to the time inside Caffe.")
    if args.json:
        args.json.write_text(
            json.dumps({"network": net.model.name, "python_added": added, "engines": result}, indent=1)
        )


if __name__ == "__main__":
    main()
