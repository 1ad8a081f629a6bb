"""What a network sees in a picture: its classes, and the strongest channels."""

import html
from collections.abc import Iterable
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from .errors import DreamError
from .given import as_image
from .nets.base import Net, check_finite, check_net, preprocess, put
from .nets.sizes import find, fit_picture
from .objectives import channel, rank_channels, scores
from .pictures import MOST_GUIDE, resize


class Seen(NamedTuple):
    """What a network sees; it shows itself as a table.

    classes: {name: probability}, the likeliest first. channels: {layer:
    {number: how strong it is, where the layer's mean is 1}}, the strongest
    first.
    """

    classes: dict[str, float]
    channels: dict[str, dict[int, float]]

    def rows(self) -> dict[str, list[str]]:
        """{what a row is about: what is seen, line by line}"""
        rows: dict[str, list[str]] = {}
        if self.classes:
            rows["class"] = [f"{name}  {share:.1%}" for name, share in self.classes.items()]
        for layer, found in self.channels.items():
            rows[layer] = [f"{channel(layer, i)}  {by:.1f}" for i, by in found.items()]
        return rows

    def __repr__(self) -> str:
        return side_by_side([self])

    def _repr_html_(self) -> str:
        rows = ""
        for about, lines in self.rows().items():
            cells = about, *map(html.escape, lines)
            row = "".join(f"<td style='text-align: left'>{cell}</td>" for cell in cells)
            rows += f"<tr>{row}</tr>"
        return f"<table>{rows}</table>"


def look(net: Net, image: np.ndarray, n: int = 3) -> Seen:
    """What the network sees in an image (H, W, 3): the n likeliest classes,
    at its own size, and the n channels with the largest mean of each of the
    `stations`, at half a megapixel. Raises DreamError for what is no image,
    or too small.
    """
    check_net(net)
    image = np.asarray(as_image(image), np.float32)
    height, width = image.shape[:2]
    scale = min(1, (MOST_GUIDE / (height * width)) ** 0.5)
    small = resize(image, max(1, int(scale * height)), max(1, int(scale * width)))
    layers, channels = stations(net), {}
    put(net, fit_picture(net, preprocess(net, small), layers))
    for layer, dst in net.stops(layers):
        values = dst.data[0].reshape(len(dst.data[0]), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            means = np.mean(values, 1)
            mean = float(abs(means).mean()) or 1.0
        check_finite(np.append(means, mean), layer)
        channels[layer] = {i: float(means[i] / mean) for i in rank_channels(values)[:n]}
    return Seen(_classify(net, image, n), channels)


def _classify(net: Net, image: np.ndarray, n: int) -> dict[str, float]:
    """The likeliest classes, {name: probability}, if any."""
    if not any(spec.type == "Softmax" for spec in net.layer_specs):
        return {}
    put(net, preprocess(net, resize(image, *net.own_size)))
    values = net.features(scores(net))
    values = values.reshape(len(values), -1).mean(1, dtype=float)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    best = [int(i) for i in np.argsort(-shares)[:n]]
    labels = net.labels or [f"class {i}" for i in range(len(shares))]
    names = [labels[i].split(",")[0] for i in best]
    if len(set(names)) < len(names):  # ImageNet has two cranes
        names = [f"{name} ({i})" for name, i in zip(names, best)]
    return {name: float(shares[i]) for name, i in zip(names, best)}


def side_by_side(seen: list[Seen], titles: list[str] | None = None) -> str:
    """What is seen in several pictures, with these titles, as one table."""
    columns = [each.rows() for each in seen]
    table = [("", *titles)] if titles else []
    for about in columns[0]:
        lines = list(zip_longest(*(rows.get(about, []) for rows in columns), fillvalue=""))
        table += [(about if i == 0 else "", *line) for i, line in enumerate(lines)]
    widths = [max(map(len, column)) + 3 for column in zip(*table)]
    rows = ("".join(cell.ljust(w) for cell, w in zip(row, widths)) for row in table)
    return "\n".join(row.rstrip() for row in rows)


def stations(net: Net, layers: Iterable[str] | str | None = None, down: bool = False) -> list[str]:
    """The layers of a journey: those given, or in network order 'all' that
    can be climbed, or for None the convolutions (larger than 1x1),
    concatenations and sums that everything passes through.

    down: from the deepest on. Raises DreamError for a layer that cannot be
    climbed, and where there is none.
    """
    if layers is None:
        layers = net.bottlenecks()
    elif layers == "all":
        height, width = net.own_size
        twice = 2 * height, 2 * width  # a classifier runs only on the own size
        layers = [each for each in net.climbable if find(net, [each], twice)]
    layers = [layers] if isinstance(layers, str) else list(layers)
    for layer in layers:
        net.check_layer(layer)
    if not layers:
        cure = "name some (`deepdream layers` lists them)"
        raise DreamError(f"a journey needs at least one layer; {cure}")
    if down:
        layers.sort(key=net.layer_names.index, reverse=True)
    return layers
