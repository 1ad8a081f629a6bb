"""The numbers that README.md quotes: python benchmarks/bench.py [--rounds N] [--json FILE]

One gradient at 1024x575 to the network's default layer, each contender in turn in every round, medians over the
rounds, ratios first. Seconds depend on the machine; the ratios hardly do.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np

import deepdream as dd


def stock_net(net):
    """The same network as pycaffe loads it by itself, `force_backward` on, as in 2015."""
    import caffe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stock.prototxt"
        path.write_text("force_backward: true\n" + net.model.file(".prototxt").read_text())
        return caffe.Net(str(path), caffe.TEST, weights=str(net.model.file(".caffemodel")))


def plain_gradient(net, end):
    net.forward(end=end)
    net.blobs[end].diff[:] = net.blobs[end].data
    net.backward(start=end)
    return net.blobs["data"].diff[0]


def in_turn(contenders: dict, rounds: int) -> dict[str, float]:
    """{name: median seconds}, each called once in every round; the first round warms up and does not count."""
    times = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: median(seconds[1:]) for name, seconds in times.items()}


def python_share(net, image, end) -> float:
    """What the package adds to the time inside Caffe, over the steps of a dream, as a share of that time."""
    inside = 0.0

    def timed(call):
        def wrapper(*args):
            nonlocal inside
            start = time.perf_counter()
            call(*args)
            inside += time.perf_counter() - start

        return wrapper

    net._forward, net._backward = timed(net._forward), timed(net._backward)
    start = time.perf_counter()
    dd.deepdream(net, image, end=end, on_step=lambda step: None)
    total = time.perf_counter() - start
    del net._forward, net._backward
    return total / inside - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)

    image = dd.load_image(Path(__file__).parent.parent / "images" / "mountains.jpg")
    net = dd.load_net()
    end = net.default_layer
    stock = stock_net(net)
    for each in (net, stock):
        each.blobs["data"].reshape(1, 3, *image.shape[:2])
        each.blobs["data"].data[0] = dd.preprocess(net, image)
    assert np.array_equal(plain_gradient(stock, end), dd.gradient(net, end)), "the two do not compute the same"

    seconds = in_turn(
        {"stock": lambda: plain_gradient(stock, end), "CaffeNet": lambda: dd.gradient(net, end)}, args.rounds
    )
    result = {
        "network": net.model.name,
        "ratio": {name: seconds["stock"] / value for name, value in seconds.items()},
        "seconds_a_gradient": seconds,
        "python_added": python_share(net, image, end),
    }
    print(f"{net.model.name}, one gradient at {image.shape[1]}x{image.shape[0]} to {end}, median of {args.rounds}")
    for name, value in seconds.items():
        print(f"  {name:10} {result['ratio'][name]:5.2f} times the speed of stock Caffe   {value:6.3f} s")
    print(f"default dream: the package adds {result['python_added']:.1%} to the time inside Caffe")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
