"""The numbers that README and docs quote: python benchmarks/bench.py [--rounds N]
[--json FILE] [--write]

GoogLeNet (else SqueezeNet), 1024x575, default layer: one gradient, the whole default
dream, and the peak memory of the gradients, of the plain 2015 algorithm on stock Caffe,
of each engine, and of two other projects' networks (peers.py). Each contender has a
process of its own, which sleeps while another works. Every round runs each contender
once, in turn. A ratio compares two times of the same round. The tables have medians,
and for ratios also the lowest and the highest. Plain float32 matrix products take their
turn, too: the faster one says how long a gradient's multiplications take at least. The
processes together hold several GB.

--write puts the tables into README.md and docs/speed.md, between the comments that name
this benchmark.

--draw: six classes from noise instead, by each engine and by the recipe of
auduno/deepdraw on stock Caffe: seconds, the probability that GoogLeNet gives the class,
and the rank that SqueezeNet gives it, which took no part in the drawing.

--film: a camera pans over one photograph and flies into another. How much less does a
film's dream flicker along the known motion than pictures dreamt one by one, how strong
is it beside them, and how far is its brightness off?

--batch: 16 small dreams by two workers, by one, and in a plain loop, each with one
thread, in turn.
"""

import argparse
import ctypes
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import deepdream as dd
from deepdream.errors import DreamError
from deepdream.nets import download, inputs, shapes, zoo
from deepdream.nets.base import to_data

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))
STOCK = "stock Caffe, 2015"
ENGINES = {
    "CaffeNet": ("caffe",),
    "TorchNet float32": ("torch", "cpu", "float32"),
    "TorchNet bfloat16": ("torch", "cpu", "bfloat16"),
}
PEERS = ["neural-dream", "pytorch-deepdream"]
PRODUCTS = ["torch.mm", "numpy.matmul"]  # plain matrix products, of PyTorch and of OpenBLAS
SIDE = 2048  # of their matrices
LABELS = {  # in README.md, in docs/speed.md
    STOCK: ("stock Caffe, 2015", "stock Caffe with `force_backward`, as in 2015"),
    "CaffeNet": ("Caffe here", "Caffe here: only the picture's gradient"),
    "TorchNet float32": ("PyTorch, float32", "PyTorch here, float32"),
    "TorchNet bfloat16": ("PyTorch, bfloat16", "PyTorch here, bfloat16"),
    "neural-dream": ("neural-dream's network", "the network of neural-dream (PyTorch)"),
    "pytorch-deepdream": (
        "pytorch-deepdream's network",
        "the network of pytorch-deepdream (no LRN, no 5x5)",
    ),
}
FLAGS = "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"
BEGIN, END = "<!--bench-->\n", "<!--/bench-->\n"  # one word each, for the README has few


# What runs in the process of a contender


def serve(name: str, model: str, image: np.ndarray) -> None:
    """Do what each line of the standard input asks for; answer with a line of JSON."""
    try:
        jobs = {"start": lambda: None} | prepare(name, model, image)
    except DreamError as error:
        reason = str(error)
        jobs = {"start": lambda: reason}
    for line in sys.stdin:
        print(json.dumps(jobs[line.strip()]()), flush=True)


def prepare(name: str, model: str, image: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What this contender can do: {job: a function}."""
    if name in PRODUCTS:
        return {"product": partial(seconds, matrix_product(name))}
    about = zoo.find(model)
    mean, end = np.array(about.mean, np.float32).reshape(3, 1, 1), str(about.default_layer)
    if name in ENGINES:
        net = dd.load_net(model, *ENGINES[name])
        gradient, dream = partial(dd.gradient, net, end), partial(dd.deepdream, net, image, end=end)
    elif name in PEERS:
        from peers import Peer

        net = Peer(name)
        gradient = partial(peer_gradient, net, end)
        dream = partial(plain_dream, net, mean, image, end, objective=lambda blob: None)
    else:
        from plain import plain_gradient, stock_net

        net = stock_net(SimpleNamespace(model=about))
        gradient, dream = (
            partial(plain_gradient, net, end),
            partial(plain_dream, net, mean, image, end),
        )
    net.blobs["data"].reshape(1, 3, *image.shape[:2])
    net.blobs["data"].data[0] = to_data(image, mean)
    return {
        "gradient": partial(seconds, gradient),
        "dream": partial(seconds, dream),
        "short dream": partial(seconds, partial(dream, iter_n=1)),
        "memory": peak_memory,
        "digest": lambda: hashlib.sha256(np.asarray(gradient()).tobytes()).hexdigest(),
        "python share": lambda: python_share(net, image),
        "openblas": openblas_kernels,
    }


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peer_gradient(net: Any, end: str) -> None:
    net.forward(end=end)
    net.backward(start=end)


def plain_dream(*args: Any, **kwargs: Any) -> None:
    from plain import (
        plain_dream,
    )  # late, because it imports Caffe, which would count as memory of the peers

    plain_dream(*args, **kwargs)


def matrix_product(name: str) -> Callable[[], object]:
    """A product of two float32 matrices, ready to run."""
    a, b, product = np.random.default_rng(0).standard_normal((3, SIDE, SIDE), np.float32)
    if name == "numpy.matmul":
        return partial(np.matmul, a, b, out=product)
    import torch

    a, b, product = map(torch.from_numpy, (a, b, product))
    return partial(torch.mm, a, b, out=product)


def peak_memory() -> float:
    """The most memory that this process has held so far, in GB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e6


def openblas_kernels() -> list[str]:
    """The processors whose kernels each OpenBLAS in this process has chosen."""
    paths = {
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "openblas" in line
    }
    kernels = set()
    for library in map(ctypes.CDLL, paths):
        for symbol in (
            "openblas_get_corename",
            "scipy_openblas_get_corename",
            "scipy_openblas_get_corename64_",
        ):
            if get_name := getattr(library, symbol, None):
                get_name.restype = ctypes.c_char_p
                kernels.add(get_name().decode())
    return sorted(kernels)


def python_share(net: Any, image: np.ndarray) -> float:
    """What the package adds to the time inside Caffe over a dream's steps, as a share
    of that time.
    """
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


# What runs in the process that asks them


class Contender:
    """A process that waits on its pipe until it is asked for a job."""

    def __init__(self, stack: ExitStack, name: str, options: list[str]) -> None:
        self.name = name
        command = [sys.executable, str(Path(__file__).resolve()), "--contender", name, *options]
        self.process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )

    def ask(self, job: str) -> Any:
        print(job, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline() if self.process.stdout else ""
        if not answer:
            sys.exit(f"{self.name} has stopped; its error is printed above")
        return json.loads(answer)


def in_turn(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """{name: what its calls returned}, each called once in every round."""
    results = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.2)  # threads of the one before spin on for a while
            results[name].append(call())
    return results


def measure(model: str, options: list[str], image: np.ndarray, rounds: int) -> dict[str, Any]:
    """All numbers of the default benchmark."""
    about = zoo.find(model)
    layers, end = inputs.layers(about), str(about.default_layer)
    dream_rounds = max(1, rounds // 3)
    others, start = others_time(), time.perf_counter()
    with ExitStack() as stack:
        names = [STOCK, *ENGINES, *PEERS, *PRODUCTS]
        if end != "inception_4c/output":  # that is what the peers' networks climb
            names = [name for name in names if name not in PEERS]
        contenders = {name: Contender(stack, name, options) for name in names}
        left_out = {name: reason for name, it in contenders.items() if (reason := it.ask("start"))}
        if "CaffeNet" in left_out:
            sys.exit(left_out["CaffeNet"])
        products = {name: contenders.pop(name) for name in PRODUCTS}
        nets = {name: it for name, it in contenders.items() if name not in left_out}
        calls = {name: partial(it.ask, "gradient") for name, it in nets.items()}
        calls |= {name: partial(it.ask, "product") for name, it in products.items()}
        in_turn(calls, 1)  # to warm up
        same = nets[STOCK].ask("digest") == nets["CaffeNet"].ask("digest")
        assert same, "stock Caffe and CaffeNet do not compute the same gradient"
        gradients = in_turn(calls, rounds)
        memory = {name: it.ask("memory") for name, it in nets.items()}
        in_turn({name: partial(it.ask, "short dream") for name, it in nets.items()}, 1)
        dreams = in_turn(
            {name: partial(it.ask, "dream") for name, it in nets.items()}, dream_rounds
        )
        python_added, kernels = (nets["CaffeNet"].ask(job) for job in ("python share", "openblas"))
    others = (others_time() - others) / (time.perf_counter() - start) / len(os.sched_getaffinity(0))
    rates = {name: [2e-9 * SIDE**3 / taken for taken in gradients.pop(name)] for name in products}
    return {
        "network": about.title.split(",")[0],
        "layer": end,
        "size": [image.shape[1], image.shape[0]],
        "processor": processor(),
        "rounds": [rounds, dream_rounds],
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "openblas_kernels": kernels,
        "contenders": {
            name: {
                "gradient_s": gradients[name],
                "dream_s": dreams[name],
                "peak_gb": memory[name],
                "gradient_ratio": compare(gradients[STOCK], gradients[name]),
                "dream_ratio": compare(dreams[STOCK], dreams[name]),
            }
            for name in nets
        },
        "left_out": left_out,
        "python_added": python_added,
        "others_share": others,
        "product_gflops": rates,
        "gradient_gflop": gradient_flop(layers, end, *image.shape[:2]) / 1e9,
    }


def others_time() -> float:
    """How many seconds all cores have worked, but for this process and those of its own
    that have ended.
    """
    user, nice, system, _, _, *others = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )  # no idle
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


class Spread(NamedTuple):
    median: float
    lowest: float
    highest: float


def spread(values: list[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def compare(stock: list[float], others: list[float]) -> Spread:
    """How many times as fast as stock Caffe, from the seconds of each round."""
    return spread([one / other for one, other in zip(stock, others)])


def gradient_flop(layers: list[shapes.Layer], end: str, height: int, width: int) -> int:
    """The operations of a gradient's convolutions: a multiplication and an addition for
    each weight and output pixel, forward, and once more backward to the picture."""
    convolutions = [
        it for it in shapes.walk(layers, (height, width), end) if it.layer.type == "Convolution"
    ]
    return 2 * sum(2 * math.prod(it.params[0]) * math.prod(it.tops[0][2:]) for it in convolutions)


def processor() -> dict[str, Any]:
    """Its name without advertising, those of its flags that matter, and the cores that
    this process may use.
    """
    lines = [
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line
    ]
    about = {key.strip(): value.strip() for key, value in lines}
    name = re.sub(
        r"\((R|TM)\)| CPU\b.*| @.*| \d+-Core.*| Processor.*",
        "",
        about.get("model name", platform.machine()),
    )
    flags = [flag for flag in FLAGS if flag in about.get("flags", "").split()]
    return {"name": name, "flags": flags, "cores": len(os.sched_getaffinity(0))}


def readme_table(result: dict[str, Any]) -> str:
    """The short table: seconds of stock Caffe, and how many times as fast the others
    are.
    """
    width, height = result["size"]
    where = f"{result['processor']['name']}, {result['processor']['cores']} cores"
    rows = []
    for name, its in result["contenders"].items():
        jobs = "gradient", "dream"
        speeds = [
            duration(its[f"{job}_s"]) if name == STOCK else f"{its[f'{job}_ratio'].median:.2f}x"
            for job in jobs
        ]
        rows.append([LABELS[name][0], *speeds, f"{its['peak_gb']:.2f}"])
    return table(
        [f"{result['network']}, {width}x{height}, {where}", "gradient", "dream", "memory, GB"], rows
    )


def docs_table(result: dict[str, Any]) -> str:
    """The whole table, and what must be known to read it."""
    width, height = result["size"]
    title = f"{result['network']}, {width}x{height}, {result['layer']}"
    head = [title, "one gradient", "times as fast", "default dream", "times as fast", "peak memory"]
    rows = []
    for name, its in result["contenders"].items():
        cells = [LABELS[name][1]]
        for job in ("gradient", "dream"):
            ratio = its[f"{job}_ratio"]
            words = f"{ratio.median:.2f}x ({ratio.lowest:.2f} to {ratio.highest:.2f})"
            cells += [duration(its[f"{job}_s"]), "1" if name == STOCK else words]
        rows.append([*cells, f"{its['peak_gb']:.2f} GB"])
    return table(head, rows) + "".join(f"\n{textwrap.fill(note, 120)}\n" for note in notes(result))


def notes(result: dict[str, Any]) -> list[str]:
    """The paragraphs below the table."""
    chip, versions, rounds = result["processor"], result["versions"], result["rounds"]
    kernels = " and ".join(result["openblas_kernels"]) or "unknown"
    fastest, rate = max(
        ((name, spread(rates)) for name, rates in result["product_gflops"].items()),
        key=lambda item: item[1].median,
    )
    gflop = result["gradient_gflop"]
    others, added = max(0, result["others_share"]), result["python_added"]
    about = [
        f"{chip['name']} ({', '.join(chip['flags'])}), {chip['cores']} cores; "
        f"PyTorch {versions['torch']}, NumPy {versions['numpy']}, "
        f"OpenBLAS with its kernels for {kernels}. "
        f"Medians of {rounds[0]} rounds of gradients and {rounds[1]} of dreams, "
        "in which all contenders take turns, each in a process of its own; "
        "in brackets the lowest and the highest ratio of a round. "
        f"Other programs took {others:.1%} of the processor's time.",
        *[
            f"{LABELS[name][1]}: left out, because {reason}."
            for name, reason in result["left_out"].items()
        ],
        f"The convolutions of one gradient take {gflop:.3g} GFLOP. "
        f"The fastest matrix product, {fastest}, reaches {rate.median:.0f} GFLOP/s in float32 "
        f"({rate.lowest:.0f} to {rate.highest:.0f}), so plain multiplication "
        f"could not take less than {gflop / rate.median:.2f} s.",
        f"Over a dream, CaffeNet's Python adds {added:.1%} to the time inside Caffe.",
    ]
    if any(name in PEERS for name in result["contenders"]):
        about.insert(
            1,
            "The other projects' networks have random weights; "
            "their dreams are 2015's loop around their own gradient.",
        )
    return about


def duration(values: list[float]) -> str:
    return f"{median(values):.{1 if median(values) >= 10 else 2}f} s"


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join([_row(head), "|---" * len(head) + "|", *map(_row, rows)]) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the two comments on a page."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{path} has no lines {BEGIN.strip()} and {END.strip()}")
    path.write_text(before + BEGIN + text + END + after)


DRAWN = ["banana", "dumbbell", "starfish", "ant", "parachute", "anemone fish"]


def drawings() -> None:
    """Draw each class with each engine in turn; print what both networks think of it,
    and write dreams/draw-*.png.
    """
    from plain import opinion, plain_draw, stock_net

    from deepdream.objectives import class_number

    nets = {}
    for name, engine in ENGINES.items():
        try:
            nets[name] = dd.load_net("bvlc_googlenet", *engine)
        except DreamError as error:
            print(f"{name} is left out: {error}")
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
    """Print, for films of default dreams by TorchNet, every 20th frame beside the same
    frame dreamt by itself.
    """
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
                        flicker.append(
                            np.divide(*(camera.flicker(two, i - 1) for two in zip(before, pair)))
                        )
                    before = pair
            row = f"{spell_range(flicker)} {spell_range(strength)}"
            print(f"{end:20} {name:11} {row} {off:14.2f}", flush=True)


def spell_range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


LOOP = """
import sys, time
import deepdream as dd
net, image = dd.load_net(engine="caffe"), dd.load_image(sys.argv[1], width=int(sys.argv[2]))
for line in sys.stdin:
    start = time.perf_counter()
    for seed in range(int(line)):
        dream = dd.deepdream(net, image, end=net.default_layer, seed=seed)
        dd.save_image(f"{sys.argv[3]}/{seed}.png", dream, {"seed": seed})
    print(time.perf_counter() - start, flush=True)
"""


def batches(rounds: int, width: int = 256, n: int = 16) -> None:
    """Print the seconds for n dreams, and their ratios."""
    from tempfile import TemporaryDirectory

    from deepdream.batch import connect, dream_many

    picture = ROOT / "images" / "mountains.jpg"
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        clients = {f"{k} workers": stack.enter_context(connect(workers=k)) for k in (1, 2)}
        one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LOOP, picture, str(width), folder]
        loop = stack.enter_context(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread
            )
        )
        drawn = iter(range(10**9))

        def plain(n: int = n) -> float:
            print(n, file=loop.stdin, flush=True)
            return float(loop.stdout.readline())

        def dask(client: Any, n: int = n) -> None:
            name = f"{folder}/{next(drawn)}"
            about = {"image": str(picture), "width": width, "engine": "caffe"}
            for report in dream_many(
                [about | {"seed": i, "out": f"{name}-{i}.png"} for i in range(n)], client
            ):
                assert report["error"] is None, report

        calls = {name: partial(dask, client) for name, client in clients.items()} | {
            "plain loop": plain
        }
        for call in calls.values():  # each loads its network
            call(n=2)
        timed = {name: partial(seconds, call) for name, call in calls.items()}
        took = {name: median(each) for name, each in in_turn(timed, rounds).items()}
        loop.stdin.close()
    for name, each in took.items():
        print(f"{name:12} {each:7.1f} s for {n} dreams of {width} pixels")
    print(f"two workers are {took['1 workers'] / took['2 workers']:.2f} times as fast as one")
    print(
        f"one worker takes {took['1 workers'] / took['plain loop'] - 1:+.1%} against the plain loop"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=7, help="of gradients; a third of that of dreams"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here, too")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into README.md and docs/speed.md, too"
    )
    parser.add_argument("--draw", action="store_true", help="time and judge drawings instead")
    parser.add_argument("--film", action="store_true", help="judge films instead")
    parser.add_argument("--batch", action="store_true", help="time many dreams at once instead")
    for option, kind in (
        ("--model", str),
        ("--width", int),
        ("--contender", str),
    ):  # for tests, and for itself
        parser.add_argument(option, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
    if args.batch:
        return batches(max(1, args.rounds // 2))
    if args.draw or args.film:
        return drawings() if args.draw else films()

    model = args.model or download.default()
    image = dd.load_image(ROOT / "images" / "mountains.jpg", args.width)
    if args.contender:
        return serve(args.contender, model, image)
    options = ["--model", model, *(["--width", str(args.width)] if args.width else [])]
    result = measure(model, options, image, args.rounds)
    print(docs_table(result), end="")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    if args.write:
        write_between(ROOT / "README.md", readme_table(result))
        write_between(ROOT / "docs" / "speed.md", docs_table(result))


if __name__ == "__main__":
    main()
