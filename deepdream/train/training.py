"""A network of your own: train one on your pictures, then dream of what they show.

Dreams of a layer change only if that layer itself has to learn. So the network is cut
off above the layer, and gets a new head there: the average over all places, brought to
one length, and a linear classifier. (Features of one length: Ranjan et al. 2017,
arxiv.org/abs/1703.09507.) What lies between the first, frozen layers and the head
learns, by Caffe's own SGD or by the same in PyTorch.

Pictures without classes are first sorted into groups that look alike to the network as
it is, and the groups are learnt like classes. (Caron et al. 2018, "Deep clustering",
arxiv.org/abs/1807.05520; here the groups stay as they are.)
"""

import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import text_format

from ..errors import DreamError, unknown
from ..films import (
    STATE,
    SteadyFrame,
    check_film,
    check_same,
    frame_path,
    save_film,
    steady,
)
from ..making import identity
from ..nets import shapes, zoo
from ..nets.base import free_memory
from ..nets.caffemodel import write_weights
from ..nets.caffemodel_pb2 import NetParameter  # pyright: ignore[reportAttributeAccessIssue], made when it is imported
from ..nets.engines import check_device, choose_engine, load_net
from ..nets.shapes import Layer
from ..paths import check_folder, reserve, temporary_folder, whole
from ..pictures import load_image, or_sample, save_image, sheet, to_json
from ..recipe import Recipe, complete, record
from ..stopping import Stopped, delay_ctrl_c
from .lessons import Crops, Lesson, find_classes, fingerprint
from .trainers import HEAD, LENGTH, Trainer, add_head, make_trainer, remove_norm

HEAD_RATE = 0.5  # the classifier's learning rate, as a share of the others'
MOST_GROUPS, PER_GROUP = 32, 16  # of pictures without classes
MOST_SORTED = 2000  # of more pictures without classes, so many are taken at random
LEAST_SPREAD = (
    0.02  # how much the features of a batch differ, as a share of how much they did at first
)
MOST_MEAN = 1e6  # of a feature
KEEP_EVERY = 20  # steps after which the state is written
MOST_SHOWN = 12  # dreams of the watched photograph on the sheet
FPS, BLEND = (
    8,
    0.8,
)  # of the film: frames a second, and how much of a dream carries over to the next


class Trained(NamedTuple):
    """What `train` returns.

    folder: the network's. steps: how many it has learnt. accuracy: the share of the
    pictures kept out whose class it finds, 0..1; None where there are none, and after a
    stop. stopped: whether Ctrl-C, or `on_step`, ended it early.
    """

    folder: Path
    steps: int
    accuracy: float | None
    stopped: bool


def train(
    pictures: str | Path,
    out: str | Path,
    on_step: Callable[[Lesson], object] | None = None,
    **settings: Any,
) -> Trained:
    """Train a layer of a network on pictures, and write the new network into the folder
    `out`, for `load_net`.

    pictures: a folder with a folder of pictures for each class, or with pictures alone.
    on_step: called with a Lesson after each step; it stops the training by returning
    True. After that, or after Ctrl-C, the network so far is written. A run that was
    stopped or killed is resumed: its state is kept in `out`.

    settings, as for the command `train`: model, to start from; end, the layer; steps;
    rate; freeze, the last layer that stays as it is, or 'none'; batch; seed; keep_out;
    engine; device; watch, watch_every, film and width, see `Viewer`; restart. Raises
    DreamError for what cannot be used, and if the network dies because the rate is too
    high.
    """
    return Training(complete("train", {"pictures": str(pictures)} | settings), Path(out)).run(
        on_step
    )


class Training:
    """One training: everything is checked when it is made, and done by `run`."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.engine = choose_engine(recipe["engine"], ("torch", "caffe"))
        check_device(self.engine, recipe["device"])
        _check_out(out, Path(recipe["pictures"]))
        self.parent = zoo.find(recipe["model"] or zoo.default())
        layers, self.weights = zoo.load(self.parent)
        self.end = _check_layer(self.parent, layers, recipe["end"] or self.parent.default_layer)
        classes = find_classes(recipe["pictures"])
        self.names = [] if "" in classes else list(classes)
        groups = list(classes.values())
        if not self.names and len(groups[0]) > MOST_SORTED:
            chosen = np.random.default_rng(recipe["seed"]).choice(
                len(groups[0]), MOST_SORTED, replace=False
            )
            groups = [[groups[0][i] for i in sorted(chosen)]]
        keep_out = recipe["keep_out"] if self.names else 0  # groups are no truth to test with
        size = shapes.own_size(layers)
        self.crops = Crops(groups, keep_out, size, self.parent.mean, recipe["seed"])
        n = len(groups) if self.names else min(MOST_GROUPS, max(2, len(groups[0]) // PER_GROUP))
        self.layers = add_head(layers, self.end, n)
        self.rates = _rates(self.parent, self.layers, recipe["freeze"])
        need, free = recipe["batch"] * shapes.memory(self.layers, HEAD, *size), free_memory()
        if need > free:
            batch = (
                f"{{setting}} is {recipe['batch']}, which needs about {need / 1e9:.1f} GB of memory"
            )
            raise DreamError(f"{batch}, and {free / 1e9:.1f} GB are free; take fewer", "batch")
        self.pictures = fingerprint(groups)
        self.viewer = Viewer(recipe, out, self.engine, self.end)
        about = {
            "model": self.parent.name,
            "engine": self.engine,
            "end": self.end,
            "sha256": identity(self.parent),
        }
        self.settings = record(recipe, **about)
        self.spread = 0.0  # how much the features of the first batch differed, see `_check_alive`
        self.length = 0.0  # of the features before they are brought to one length: about the mean of the last steps

    def run(self, on_step: Callable[[Lesson], object] | None = None) -> Trained:
        """Learn all steps that are not done yet, and write the network."""
        with reserve(self.out, "network", STATE):
            kept = self._resume()
            done, self.length, self.spread = (
                kept[name].item() if kept else 0 for name in ("done", "length", "spread")
            )
            steps, batch = max(done, self.recipe["steps"]), self.recipe["batch"]
            trainer = self._make_trainer()
            if kept:
                trainer.restore(kept)
            self._group(kept, trainer)
            self.viewer.resume(kept)
            stopped, write = False, partial(self._write, trainer)
            try:
                if not kept:
                    self._keep(
                        0, trainer
                    )  # what is sorted need not be sorted again, nor is `out` a stranger's folder
                if not self.viewer.last:
                    self.viewer.look(done, write, is_last=True)
                for data, classes in self.crops.batches(done, steps, batch):
                    with delay_ctrl_c():
                        loss = trainer.step(data, classes)
                        done += 1
                        accuracy = float(np.mean(trainer.blob(HEAD).argmax(1) == classes))
                        if done == steps:
                            trainer.look(data)  # with what it has learnt last
                        self._check_alive(done, loss, trainer)
                    self.viewer.look(done, write, done == steps)
                    if done % KEEP_EVERY == 0 or done == steps:
                        self._keep(done, trainer)
                    if on_step and on_step(Lesson(done, loss, accuracy)) is True and done < steps:
                        raise Stopped
                accuracy = self._test(trainer)
            except KeyboardInterrupt:
                if not done:
                    raise
                stopped, accuracy = done < steps, None
            with delay_ctrl_c():
                if stopped:
                    self._keep(done, trainer)
                write(self.out, {"steps": done, "accuracy": accuracy})
            self.viewer.finish()
        return Trained(self.out, done, accuracy, stopped)

    def _make_trainer(self) -> Trainer:
        rng = np.random.default_rng(self.recipe["seed"])
        matrix, bias = shapes.param_shapes(self.layers)[HEAD]
        head = [rng.normal(0, 0.01, matrix).astype(np.float32), np.zeros(bias, np.float32)]
        weights = {name: self.weights[name] for name in self.rates if name != HEAD} | {HEAD: head}
        rates = {name: self.recipe["rate"] * share for name, share in self.rates.items()}
        running = (self.recipe[name] for name in ("steps", "batch", "device"))
        return make_trainer(self.engine, self.layers, weights, rates, *running)

    def _group(self, kept: Mapping[str, np.ndarray], trainer: Trainer) -> None:
        """Sort pictures without classes into groups that look alike, unless an earlier
        run has done so.
        """
        if self.names:
            return
        paths = self.crops.groups[0]
        self.group_of = (
            kept["groups"] if kept else _sort(self.crops, trainer, self.end, self.recipe["batch"])
        )
        groups = [
            [path for path, g in zip(paths, self.group_of) if g == number]
            for number in range(MOST_GROUPS)
        ]
        self.crops.groups = [group for group in groups if group]

    def _check_alive(self, step: int, loss: float, trainer: Trainer) -> None:
        """Measure the features; raise a DreamError if the network has died, and remove
        what is there of it.
        """
        means, features = (
            trainer.blob(f"{HEAD}/{name}")[:, :, 0, 0] for name in ("pool", "norm")
        )  # (n, channels)
        spread = np.linalg.norm(features - features.mean(0), axis=1).mean() / LENGTH
        self.spread = self.spread or spread
        length = float(np.linalg.norm(means, axis=1).mean())
        self.length = 0.9 * self.length + 0.1 * length if self.length else length
        if not np.isfinite(loss) or not abs(means).max() < MOST_MEAN:
            how = "its numbers have grown beyond all bounds"
        elif spread < LEAST_SPREAD * self.spread:
            how = "the layer sees the same in every picture"
        else:
            return
        advice = "choose a lower {setting}, such as a tenth of it"
        if (self.out / "model.toml").exists():
            advice += ", and begin again with --restart"
        else:
            rmtree(self.out / "watch", ignore_errors=True)
            for name in (STATE, "watch.jpg"):
                (self.out / name).unlink(missing_ok=True)
        raise DreamError(f"the network died in step {step}: {how}; {advice}", "rate")

    def _test(self, trainer: Trainer) -> float | None:
        """The share of the pictures kept out whose class is found."""
        right = []
        matrix, bias = self._scale_head(trainer.weights()[HEAD])
        for number, paths in enumerate(self.crops.tested):
            for data in self.crops.views(paths, self.recipe["batch"]):
                trainer.look(data)
                scores = trainer.blob(f"{HEAD}/pool")[:, :, 0, 0] @ matrix.T + bias  # (n, classes)
                right += list(scores.argmax(1) == number)
        return float(np.mean(right)) if right else None

    def _scale_head(self, head: list[np.ndarray]) -> list[np.ndarray]:
        """The classifier's matrix and bias as they are written, given those that were
        learnt.

        Training divides the features of each picture by their own length. The network
        that is written does not, or a class drawn from noise would stay small, since
        more of it at one place would be less of it at all others. So its matrix is
        divided by the mean length.
        """
        matrix, bias = head
        return [matrix * np.float32(LENGTH / (self.length or LENGTH)), bias]

    def _keep(self, done: int, trainer: Trainer) -> None:
        """Write all that a later run needs to resume."""
        state: dict[str, Any] = trainer.state() | self.viewer.state()
        if not self.names:
            state["groups"] = self.group_of
        with whole(self.out / STATE) as part:
            state |= {"done": done, "length": self.length, "spread": self.spread}
            np.savez(
                part,
                **state,
                settings=np.array(to_json(self.settings)),
                pictures=np.array(self.pictures),
            )

    def _resume(self) -> dict[str, np.ndarray]:
        """What `_keep` wrote last; empty if there is nothing to resume."""
        path = self.out / STATE
        if self.recipe["restart"] or not path.exists():
            return {}
        try:
            with np.load(path) as file:
                kept = dict(file)
            begun = json.loads(str(kept["settings"]))
        except Exception as error:  # a damaged file can raise nearly anything
            raise DreamError(
                f"cannot read {path}: {error}; --restart trains from the beginning"
            ) from None
        check_same(self.out, begun, self.settings, "network")
        if str(kept["pictures"]) != self.pictures:
            cure = f"choose another name, perhaps with --from {self.out}, or begin again with --restart"
            raise DreamError(
                f"the network in {self.out} has learnt other pictures than those given now; {cure}"
            )
        return kept

    def _write(self, trainer: Trainer, folder: Path, about: dict[str, Any] | None = None) -> None:
        """Write the network as it is now, so that `load_net` and Caffe load it; without
        classes it has no head.
        """
        weights = trainer.weights()
        if self.names:
            layers = remove_norm(self.layers)
            weights[HEAD] = self._scale_head(weights[HEAD])
        else:
            layers = self.layers[: [layer.name for layer in self.layers].index(self.end) + 1]
        net = NetParameter(name=self.out.name)
        net.layer.extend(layers)
        files = {
            "deploy.prototxt": text_format.MessageToString(net),
            "model.toml": self._describe(about or {}),
        }
        if self.names:
            files["labels.txt"] = "".join(f"{name}\n" for name in self.names)
        write_weights(
            folder / "weights.caffemodel",
            {name: weights[name] for name in shapes.param_shapes(layers)},
        )
        for name, text in files.items():
            with whole(folder / name) as part:
                part.write_text(text, encoding="utf-8")

    def _describe(self, about: dict[str, Any]) -> str:
        """The text of the network's model.toml; it says how it was trained, but names
        none of the pictures.
        """
        count, parent = sum(map(len, self.crops.groups)), self.parent
        what = f"{count} pictures" + f" of {len(self.names)} classes" * bool(self.names)
        model = {
            "title": f"{self.out.name}: {what}, from {parent.title.split(', from ')[-1]}",
            "licence": parent.licence,
            "mean": [float(value) for value in parent.mean],
            "default_layer": self.end,
            "labels": "labels.txt" if self.names else None,
        }
        trained = {
            "model": parent.name,
            "pictures": count,
            "classes": len(self.names),
            "engine": self.engine,
        }
        trained |= {
            name: self.recipe[name] for name in ("rate", "batch", "seed", "keep_out", "freeze")
        } | about

        def lines(table: dict[str, Any]) -> list[str]:
            given = {name: value for name, value in table.items() if value is not None}
            return [
                f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()
            ]

        return "\n".join(
            [*lines(model), "", "[trained]  # for people who read this file", *lines(trained), ""]
        )


def _check_out(out: Path, pictures: Path) -> None:
    """Raise a DreamError if this is no place for a network."""
    check_folder(out)
    if out.resolve().is_relative_to(pictures.resolve()):
        raise DreamError(
            f"{out} lies in {pictures}, and would be one of its classes the next time; choose another -o"
        )
    package = zoo.MODELS / out.name
    if (
        out.parent.resolve() == Path("models").resolve() != zoo.MODELS.resolve()
        and package.exists()
    ):
        raise DreamError(f"{out.name} is the name of a network of the package; choose another -o")


def _check_layer(model: zoo.Model, layers: list[Layer], end: str | None) -> str:
    """The layer to train; a DreamError if it cannot be trained."""
    if end is None:
        raise DreamError(
            f"{model.name} has no default layer; {{setting}} names the one to train", "end"
        )
    size = shapes.own_size(layers)
    can = [
        name for name in shapes.climbable(layers) if len(shapes.top_shape(layers, name, *size)) == 4
    ]
    can = [
        name for name in can if not name.startswith(f"{HEAD}/")
    ]  # the head of a network trained before
    if end in can:
        return end
    if end in [layer.name for layer in layers]:
        raise DreamError(
            f"layer {end!r} cannot be trained: its output must be its own, with a height and a width; try "
            f"{can[-1]!r}"
        )
    raise unknown(
        "layer to train", end, can, f"`deepdream layers --model {model.name}` lists all of them"
    )


def _rates(model: zoo.Model, layers: list[Layer], freeze: str | None) -> dict[str, float]:
    """{layer with weights: its learning rate, as a share of the highest}; 0 for those
    that stay as they are.
    """
    names, learn = [layer.name for layer in layers], list(shapes.param_shapes(layers))
    below = names[: names.index(f"{HEAD}/pool")]

    def share(name: str, frozen: str | None) -> float:
        if frozen and names.index(name) <= names.index(frozen):
            return 0.0
        return (
            HEAD_RATE
            if name == HEAD
            else 0.0
            if layers[names.index(name)].type == "BatchNorm"
            else 1.0
        )

    if freeze is None:
        poolings = [
            layer.name for layer in layers if layer.name in below and layer.type == "Pooling"
        ]
        choices = [*poolings[1:2], *learn[:1], None]
    elif freeze == "none":
        choices = [None]
    elif freeze in below:
        choices = [freeze]
    else:
        raise unknown(
            "layer to freeze",
            freeze,
            below,
            f"`none`, or a layer of {model.name} below the one to train",
        )
    for frozen in choices:
        rates = {name: share(name, frozen) for name in learn}
        if 1.0 in rates.values():
            return rates
    stuck = f"no layer up to {below[-1]} is left to learn"
    raise DreamError(
        f"{stuck}; choose an earlier layer for {{setting}}, or a later one for --layer", "freeze"
    )


def _sort(crops: Crops, trainer: Trainer, end: str, batch: int) -> np.ndarray:
    """The number of each picture's group, -1 if it cannot be read: k-means of the
    strongest answer of each channel.

    The strongest, not the mean over all places: it belongs to the things in a picture
    rather than to their background.
    """
    from scipy.cluster.vq import kmeans2
    from tqdm import tqdm

    strongest: list[np.ndarray] = []
    (paths,) = crops.groups
    for data in tqdm(
        crops.views(paths, batch), "sorting", -(-len(paths) // batch), leave=False, disable=None
    ):
        trainer.look(data)
        strongest += list(trainer.blob(end).max((2, 3)))
    if len(strongest) < 2:
        raise DreamError(f"there are no two pictures in {paths[0].parent} that can be read")
    features = np.stack(strongest) / np.maximum(
        np.linalg.norm(strongest, axis=1, keepdims=True), 1e-9
    )
    rng, groups = np.random.default_rng(crops.seed), trainer.blob(HEAD).shape[1]
    with warnings.catch_warnings(
        action="ignore"
    ):  # of groups that stay empty, because pictures are alike
        found = iter(kmeans2(features - features.mean(0), groups, minit="++", rng=rng)[1])
    readable = set(crops.readable(paths))
    return np.array([next(found) if path in readable else -1 for path in paths])


class Viewer:
    """Dreams one photograph from time to time with the network as it is then:
    out/watch.jpg, and perhaps a film.

    recipe: `watch`, the photograph; `width`; `watch_every`, so many steps lie between
    two dreams; `film`, its path. Without a film each dream begins with the photograph;
    in a film it carries over some of the dream before.
    """

    def __init__(self, recipe: Recipe, out: Path, engine: str, end: str) -> None:
        self.is_on, self.film = bool(recipe["watch"]), recipe["film"]
        self.settings = {"end": end, "seed": recipe["seed"]}
        self.network, self.out, self.last = (engine, recipe["device"]), out, None
        if self.is_on:
            self.photograph = load_image(or_sample(recipe["watch"]), recipe["width"])
            self.every = recipe["watch_every"] or (5 if self.film else 25)
            if self.film:
                check_film(self.film, FPS)
        elif self.film or recipe["watch_every"]:
            raise DreamError(
                "{setting} is missing; --film and --watch-every need a photograph to dream", "watch"
            )

    def resume(self, kept: Mapping[str, np.ndarray]) -> None:
        """Continue after the last dream of an earlier run; if that watched another
        photograph, begin again.
        """
        if self.is_on and "watched" in kept and np.array_equal(kept["source"], self.photograph):
            self.last = SteadyFrame(kept["watched"], kept["source"], float(kept["strength"]))
        elif self.is_on or not kept:
            rmtree(self.out / "watch", ignore_errors=True)

    def state(self) -> dict[str, Any]:
        return dict(zip(("watched", "source", "strength"), self.last)) if self.last else {}

    def look(self, step: int, write: Callable[[Path], object], is_last: bool = False) -> None:
        """Dream the photograph with the network that `write` writes into a folder, if
        it is time.
        """
        if not self.is_on or (step % self.every and not is_last):
            return
        with temporary_folder() as folder:
            write(folder)
            net = load_net(folder, *self.network)
        blend = BLEND if self.film else 0
        self.last = next(steady(net, [self.photograph], blend, last=self.last, **self.settings))
        (self.out / "watch").mkdir(exist_ok=True)
        save_image(frame_path(self.out / "watch", step), self.last.picture)
        frames = self._frames()
        shown = np.linspace(0, len(frames) - 1, min(len(frames), MOST_SHOWN)).round().astype(int)
        shown = [frames[i] for i in shown]
        labels = [f"step {int(path.stem)}" for path in shown]
        save_image(self.out / "watch.jpg", sheet([load_image(path) for path in shown], labels))

    def finish(self) -> None:
        """Make the film, if one is wanted."""
        if self.film:
            save_film(self.film, map(load_image, self._frames()), FPS)

    def _frames(self) -> list[Path]:
        return sorted((self.out / "watch").glob("*.png"))
