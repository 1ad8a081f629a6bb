"""The same numbers on a GPU: python benchmarks/gpu.py [--device cuda] [--widths
1024,2048,4096] [--parts gradients,...]

GoogLeNet (else SqueezeNet), default layer. It needs only PyTorch and this package, no
Caffe and no network.

gradients: those of the GPU beside the processor's, both in float32, for every layer
that a dream can climb. dreams: the whole default dream at each width in each kind of
number, and the networks of two other projects (peers.py), in which 2015's loop runs on
the GPU, too. The first dream of a size finds and records its kernels; the later ones
replay them. films: frames a second of `steady` and `zoom`. draw: a class from noise.
train: an epoch or so of two classes of noise. large: the memory that a dream of
8000x4500 takes on the GPU and off it.

Every row is printed as soon as it is known. Seconds are medians of --rounds dreams
after the first.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it
from peers import PEERS, Peer
from torch import Tensor

import deepdream as dd
from deepdream.nets import shapes
from deepdream.nets import torch as torchnet
from deepdream.nets.base import Net

IMAGES = Path(__file__).parent.parent / "images"
Image = Any  # (H, W, 3) float32, RGB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--widths", default="1024,2048,4096", help="of the dreams")
    parser.add_argument(
        "--large", type=int, default=8000, help="width of the picture whose memory is measured"
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    args.device = torchnet.find_device(args.device)
    name = (
        torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "the processor"
    )
    print(f"{name}, PyTorch {torch.__version__}", flush=True)
    for part in args.parts.split(","):
        print(f"\n{part}", flush=True)
        PARTS[part](args)


def load(args: argparse.Namespace, dtype: str = "float32", device: str | None = None) -> Any:
    return dd.load_net(None, "torch", device or str(args.device), dtype)


def picture(width: int) -> Image:
    return dd.load_image(IMAGES / "mountains.jpg", width=width)


def put(net: Any, image: Image) -> None:
    net.blobs["data"].reshape(1, 3, *image.shape[:2])
    net.blobs["data"].data[0] = dd.preprocess(net, image)


def gradient(net: Any, image: Image, end: str) -> np.ndarray:
    """(3, H, W) float64, of this picture."""
    put(net, image)
    dd.gradient(net, end)
    return np.float64(net.blobs["data"].diff[0])


def wait(args: argparse.Namespace) -> None:
    if args.device.type == "cuda":
        torch.cuda.synchronize(args.device)


def seconds(args: argparse.Namespace, call: Callable, rounds: int) -> list[float]:
    """How long each of the calls takes."""
    took = []
    for _ in range(rounds):
        wait(args)
        start = time.perf_counter()
        call()
        wait(args)
        took.append(time.perf_counter() - start)
    return took


def peak(args: argparse.Namespace) -> float:
    """The most memory of the GPU since the last call, GB."""
    if args.device.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated(args.device) / 1e9
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(args.device)
    return most


def gradients(args: argparse.Namespace) -> None:
    """Print how far the GPU's gradients are from the processor's, and a replayed
    gradient from one that is not.
    """
    ours, theirs, image, errors = load(args), load(args, device="cpu"), picture(320), {}
    for end in ours.climbable:
        if shapes.fits(ours.layer_specs, end, image.shape[:2]):
            found, true = (gradient(net, image, end) for net in (ours, theirs))
            errors[end] = np.linalg.norm(found - true) / np.linalg.norm(true)
    worst = max(errors, key=lambda end: errors[end])
    within = sum(error <= 1e-4 for error in errors.values())
    middle = np.median(list(errors.values()))
    print(
        f"{within} of {len(errors)} layers within 1e-4 of the processor's; "
        f"median {middle:.1e}, worst {errors[worst]:.1e} ({worst})"
    )
    end = theirs.default_layer
    true = gradient(theirs, image, end)
    for dtype in torchnet.find_dtypes(args.device):
        net = load(args, dtype)
        # As it is, recorded, and replayed twice
        grads = [gradient(net, image, end) for _ in range(4)]
        first, last, norm = grads[0], grads[-1], np.linalg.norm
        cosine = (last * true).sum() / norm(last) / norm(true)
        replayed = norm(last - first) / norm(first)
        print(
            f"{dtype:9} at {end}: cosine with the processor's {cosine:.5f}; "
            f"replayed, it changes by {replayed:.0e}"
        )


def dreams(args: argparse.Namespace) -> None:
    """Print the seconds of default dreams."""
    print(
        f"{'':28} {'width':>6} {'gradient':>10} {'replayed':>10} "
        f"{'first dream':>12} {'later':>8} {'memory':>9}"
    )
    for width in map(int, args.widths.split(",")):
        image = picture(width)
        for dtype in torchnet.find_dtypes(args.device):
            net = load(args, dtype)
            fills = {net.default_layer: dd.objective_L2}
            peak(args)
            dream = partial(dd.deepdream, net, image, end=net.default_layer, seed=0)
            first, *later = seconds(args, dream, 1 + args.rounds)
            memory = peak(args)
            put(net, image)
            passes = partial(Net.climb, net, fills), partial(net.climb, fills)
            plain, replayed = (median(seconds(args, each, 8)[3:]) for each in passes)
            row(f"deepdream, {dtype}", width, plain, replayed, first, later, memory)
            del net, passes, dream
        for name in PEERS:
            peak(args)
            network = Peer(name)
            network.network.to(args.device)
            first, *later = seconds(
                args, partial(peer_dream, args, network, image), 1 + args.rounds
            )
            memory = peak(args)
            data = torch.from_numpy(dd.preprocess(network, image))[None].to(args.device)
            plain = median(seconds(args, partial(peer_gradient, network, data), 8)[3:])
            row(name, width, plain, None, first, later, memory)


def row(
    name: str,
    width: int,
    plain: float,
    replayed: float | None,
    first: float,
    later: list[float],
    memory: float,
) -> None:
    ms = "" if replayed is None else f"{1e3 * replayed:.2f} ms"
    print(
        f"{name:28} {width:6} {1e3 * plain:7.2f} ms {ms:>10} {first:10.2f} s "
        f"{median(later):6.3f} s {memory:6.1f} GB",
        flush=True,
    )


def peer_gradient(peer: Peer, data: Tensor) -> Tensor:
    data = data.detach().requires_grad_()
    return torch.autograd.grad(peer.loss(peer.network(data)), data)[0]


def peer_dream(args: argparse.Namespace, peer: Peer, image: Image) -> Image:
    """2015's dream around a network of another project, all of it on the GPU."""
    low, high = (torch.from_numpy(a)[None].to(args.device) for a in (-peer.mean, 255 - peer.mean))
    bases = [torch.from_numpy(dd.preprocess(peer, image))[None].to(args.device)]
    for _ in range(3):
        size = [round(n / 1.4) for n in bases[-1].shape[2:]]
        bases.append(F.interpolate(bases[-1], size, mode="bilinear", align_corners=True))
    detail = torch.zeros_like(bases[-1])
    data = base = bases[-1]
    for base in bases[::-1]:
        data = base + F.interpolate(detail, base.shape[2:], mode="bilinear", align_corners=True)
        for _ in range(10):
            shift = tuple(map(int, np.random.randint(-32, 33, 2)))
            data = torch.roll(data, shift, (2, 3))
            g = peer_gradient(peer, data)
            data = torch.roll(
                data + 1.5 / g.abs().mean() * g, tuple(-n for n in shift), (2, 3)
            ).clamp(low, high)
        detail = data - base
    return data.cpu().numpy()


def films(args: argparse.Namespace) -> None:
    """Print frames a second, 640 pixels wide."""
    image = picture(640)
    for dtype in torchnet.find_dtypes(args.device):
        net = load(args, dtype)
        moving = [np.roll(image, 3 * i, 1) for i in range(12)]
        for name, frames in (
            ("zoom", dd.zoom(net, image, 12, end=net.default_layer, seed=0)),
            ("steady", dd.steady(net, moving, end=net.default_layer, seed=0)),
        ):
            times = seconds(args, partial(next, frames), 12)
            print(f"{name:8} {dtype:9} {1 / median(times[3:]):6.2f} frames a second", flush=True)


def draw(args: argparse.Namespace) -> None:
    """Print the seconds of a drawing from noise."""
    for dtype in torchnet.find_dtypes(args.device):
        net = load(args, dtype)
        print(
            f"{dtype:9} {min(seconds(args, partial(dd.draw, net, 'banana'), 2)):6.2f} s a drawing",
            flush=True,
        )


def train(args: argparse.Namespace) -> None:
    """Print how long a few training steps take, which begin and end as those of the
    processor do.
    """
    from deepdream.train import train as learn

    rng = np.random.RandomState(0)
    with TemporaryDirectory() as folder, TemporaryDirectory() as out:
        for label in ("dark", "light"):
            (Path(folder) / label).mkdir()
            for i in range(24):
                noise = rng.uniform(0, 100, (64, 64, 3)) + (155 if label == "light" else 0)
                dd.save_image(Path(folder) / label / f"{i}.png", noise)
        for device in ("cpu", str(args.device)):
            start = time.perf_counter()
            network = Path(out) / device.replace(":", "-")
            found = learn(folder, network, engine="torch", device=device, steps=20)
            print(
                f"{device:9} {time.perf_counter() - start:6.1f} s for 20 steps: {found}", flush=True
            )


def large(args: argparse.Namespace) -> None:
    """Print the memory of a large dream, with one iteration an octave."""
    import psutil

    image = picture(args.large)
    for dtype in torchnet.find_dtypes(args.device):
        net = load(args, dtype)
        peak(args)
        dream = partial(dd.deepdream, net, image, end=net.default_layer, iter_n=1, seed=0)
        took = seconds(args, dream, 1)[0]
        held = psutil.Process().memory_info().rss / 1e9
        height, width = image.shape[:2]
        print(
            f"{dtype:9} {width}x{height}: {took:5.1f} s, {peak(args):5.1f} GB on the GPU, "
            f"{held:.1f} GB held by the process",
            flush=True,
        )


PARTS = {
    "gradients": gradients,
    "dreams": dreams,
    "films": films,
    "draw": draw,
    "train": train,
    "large": large,
}

if __name__ == "__main__":
    main()
