"""The course of a training: from a recipe and pictures to a network in a folder.

Dreams of a layer change only if it learns. So the network is cut off above
it, and gets a new head: the average over all places, brought to one length
(Ranjan et al. 2017, arxiv.org/abs/1703.09507), and a linear classifier.
What is not frozen learns. Pictures without classes are first sorted into
groups that look alike to the network, which are then learnt (Caron et al.
2018, arxiv.org/abs/1807.05520; but once).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np

from ..errors import DreamError
from ..films import STATE
from ..making import identity
from ..nets import download, shapes, zoo
from ..nets.base import free_memory
from ..nets.engines import check_device, choose_engine
from ..paths import check_folder, reserve
from ..recipe import Recipe, complete, record
from ..stopping import Stopped, delay_ctrl_c
from . import grouping, head
from .files import keep_state, read_state, to_toml, write_network
from .head import HEAD, LENGTH
from .lessons import Crops, Lesson, find_classes, fingerprint
from .trainers import TRAINERS, Trainer
from .viewer import Viewer

LEAST_SPREAD = 0.02  # of the features of a batch, as a share of the first batch's
MOST_MEAN = 1e6  # of a feature
UNTOLD = "deepdream", "command", "end", "sha256"  # in a model.toml
KEEP_EVERY = 20  # steps after which the state is written
OnLesson = Callable[[Lesson], object]


class Trained(NamedTuple):
    """What `train` returns; accuracy: of pictures kept out, 0..1, if it is known."""

    folder: Path
    steps: int
    accuracy: float | None
    stopped: bool


def train(
    pictures: str | Path, out: str | Path, on_step: OnLesson | None = None, **settings: Any
) -> Trained:
    """Train a layer of a network on pictures, and write the new one into
    `out`, for `load_net`.

    pictures: a folder with a folder of pictures for each class, or with
    pictures alone. on_step: called with a Lesson after each step; returning
    True stops, as Ctrl-C does, and the network so far is written. A run
    that was stopped or killed is resumed.

    settings, as for the command `train`: model; end, the layer; steps;
    rate; freeze, the last layer that stays, or 'none'; batch; seed;
    keep_out; engine; device; watch, watch_every, film and width, see
    `Viewer`; restart. Raises DreamError for what cannot be used, and if the
    network dies of too high a rate.
    """
    recipe = complete("train", {"pictures": str(pictures)} | settings)
    return Training(recipe, Path(out)).run(on_step)


class Training:
    """One training, of a recipe of `train`: checked when made, and done by `run`.

    Raises DreamError for what cannot be used.
    """

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe = recipe
        self.out = out
        self.engine = choose_engine(recipe["engine"], ("torch", "caffe"))
        check_device(self.engine, recipe["device"])
        _check_out(out, Path(recipe["pictures"]))
        self.parent = zoo.find(recipe["model"] or download.default())
        layers, self.weights = download.load(self.parent)
        end = recipe["end"] or self.parent.default_layer
        self.end = head.check_layer(self.parent, layers, end)
        classes = find_classes(recipe["pictures"])
        groups = list(classes.values())
        n = len(groups)
        self.names = [name for name in classes if name]
        if not self.names:  # so it is {"": pictures}
            groups[0], n = grouping.choose(groups[0], recipe["seed"])
        keep_out = recipe["keep_out"] if self.names else 0  # groups are no truth
        size = shapes.own_size(layers)
        self.crops = Crops(groups, keep_out, size, self.parent.mean, recipe["seed"])
        self.layers = head.add_head(layers, self.end, n)
        self.rates = head.choose_rates(self.parent, self.layers, recipe["freeze"])
        need = recipe["batch"] * shapes.memory(self.layers, HEAD, *size) / 1e9
        free = free_memory() / 1e9
        if need > free:
            needs = f"needs about {need:.1f} GB of memory, and {free:.1f} GB are free"
            fault = f"{{setting}} is {recipe['batch']}, which {needs}; take fewer"
            raise DreamError(fault, "batch")
        self.pictures = fingerprint(groups)
        self.viewer = Viewer(recipe, out, self.engine, self.end)
        about = {"model": self.parent.name, "engine": self.engine, "end": self.end}
        self.settings = record(recipe, **about, sha256=identity(self.parent))

    def run(self, on_step: OnLesson | None = None) -> Trained:
        """Learn the steps that are not done yet, and write the network."""
        with reserve(self.out, "network", STATE):
            trainer = self._begin()
            accuracy = None
            try:
                self._learn(trainer, on_step)
                accuracy = self._test(trainer)
            except KeyboardInterrupt:
                if not self.done:
                    raise
            stopped = self.done < self.steps
            with delay_ctrl_c():
                if stopped:
                    self._keep(trainer)
                self._write(trainer, self.out, steps=self.done, accuracy=accuracy)
            self.viewer.finish()
        return Trained(self.out, self.done, accuracy, stopped)

    def make_trainer(self) -> Trainer:
        """A trainer that has learnt nothing yet."""
        weights = {name: self.weights[name] for name in self.rates if name != HEAD}
        weights[HEAD] = head.random_head(self.layers, self.recipe["seed"])
        rates = {name: self.recipe["rate"] * share for name, share in self.rates.items()}
        return TRAINERS[self.engine](self.layers, weights, rates, self.recipe)

    def _begin(self) -> Trainer:
        """A trainer that stands where an earlier run ended, or at the beginning."""
        kept: dict[str, np.ndarray] = {}
        if not self.recipe["restart"]:
            kept = read_state(self.out, self.settings, self.pictures)
        self.done = int(kept["done"]) if kept else 0
        self.steps = max(self.done, self.recipe["steps"])
        self.health = Health(kept)
        trainer = self.make_trainer()
        if kept:
            trainer.restore(kept)
        if not self.names:
            numbers = kept.get("groups")
            if numbers is None:
                numbers = grouping.group(self.crops, trainer, self.end, self.recipe["batch"])
            self.crops.groups = grouping.split(self.crops.groups[0], numbers)
            self.group_of = numbers
        self.viewer.resume(kept)
        return trainer

    def _learn(self, trainer: Trainer, on_step: OnLesson | None) -> None:
        """Learn the steps that are left. Raises Stopped where `on_step` says so."""
        write = partial(self._write, trainer)
        if not self.done:  # groups need not be made again, and `out` becomes ours
            self._keep(trainer)
        if not self.viewer.last:
            self.viewer.dream(self.done, write, anyway=True)
        batches = self.crops.batches(self.done, self.steps, self.recipe["batch"])
        for data, classes in batches:
            with delay_ctrl_c():
                lesson = self._step(trainer, data, classes)
            is_last = self.done == self.steps
            self.viewer.dream(self.done, write, anyway=is_last)
            if self.done % KEEP_EVERY == 0 or is_last:
                self._keep(trainer)
            if on_step and on_step(lesson) is True and not is_last:
                raise Stopped

    def _step(self, trainer: Trainer, data: np.ndarray, classes: np.ndarray) -> Lesson:
        loss = trainer.step(data, classes)
        self.done += 1
        accuracy = float(np.mean(trainer.blob(HEAD).argmax(1) == classes))
        if self.done == self.steps:
            trainer.forward(data)  # with what it has learnt last
        fault = self.health.examine(loss, trainer)
        if not fault:
            return Lesson(self.done, loss, accuracy)
        cure = "choose a lower {setting}, such as a tenth of it"
        if (self.out / "model.toml").exists():
            cure += ", and begin again with --restart"
        else:  # nothing was written but this
            rmtree(self.viewer.folder, ignore_errors=True)
            for path in (self.viewer.sheet, self.out / STATE):
                path.unlink(missing_ok=True)
        died = f"the network died in step {self.done}: {fault}"
        raise DreamError(f"{died}; {cure}", "rate")

    def _test(self, trainer: Trainer) -> float | None:
        right: list[bool] = []
        matrix, bias = head.scale_head(trainer.weights()[HEAD], self.health.length)
        for number, paths in enumerate(self.crops.tested):
            for data in self.crops.views(paths, self.recipe["batch"]):
                trainer.forward(data)
                features = trainer.blob(f"{HEAD}/pool")[:, :, 0, 0]  # (n, channels)
                scores = features @ matrix.T + bias  # (n, classes)
                right += list(scores.argmax(1) == number)
        return float(np.mean(right)) if right else None

    def _keep(self, trainer: Trainer) -> None:
        state = trainer.state() | self.viewer.state()
        state |= {"done": self.done, "pictures": self.pictures}
        state |= {"length": self.health.length, "spread": self.health.spread}
        if not self.names:
            state["groups"] = self.group_of
        keep_state(self.out, state, self.settings)

    def _write(self, trainer: Trainer, folder: Path, **about: object) -> None:
        """Write the network so far; without classes, no head. about: for model.toml."""
        weights = trainer.weights()
        count = sum(map(len, self.crops.groups))
        what = f"{count} pictures"
        texts = {}
        if self.names:
            layers = head.remove_norm(self.layers)
            weights[HEAD] = head.scale_head(weights[HEAD], self.health.length)
            what += f" of {len(self.names)} classes"
            texts["labels.txt"] = "".join(f"{name}\n" for name in self.names)
        else:
            layers = head.up_to(self.layers, self.end)
        grandparent = self.parent.title.split(", from ")[-1]
        model = {
            "title": f"{self.out.name}: {what}, from {grandparent}",
            "licence": self.parent.licence,
            "mean": [float(value) for value in self.parent.mean],
            "default_layer": self.end,
            "labels": "labels.txt" if self.names else None,
        }
        trained = {"pictures": count, "classes": len(self.names)}
        trained |= self.settings | dict.fromkeys(UNTOLD) | about
        note = "[trained]  # for people who read this file"
        texts["model.toml"] = f"{to_toml(model)}\n{note}\n{to_toml(trained)}"
        write_network(folder, self.out.name, layers, weights, texts)


class Health:
    """Whether a network still tells its pictures apart.

    length: of features, about the mean of late. spread: of the first batch's.
    """

    def __init__(self, kept: Mapping[str, np.ndarray]) -> None:
        self.length = float(kept["length"]) if kept else 0.0
        self.spread = float(kept["spread"]) if kept else 0.0

    def examine(self, loss: float, trainer: Trainer) -> str:
        """How the network has died, given its last batch; empty if it lives."""
        means = trainer.blob(f"{HEAD}/pool")[:, :, 0, 0]  # (n, channels)
        features = trainer.blob(f"{HEAD}/norm")[:, :, 0, 0]  # the same, of one length
        distances = np.linalg.norm(features - features.mean(0), axis=1)
        spread = float(distances.mean()) / LENGTH
        self.spread = self.spread or spread
        length = float(np.linalg.norm(means, axis=1).mean())
        self.length = 0.9 * self.length + 0.1 * length if self.length else length
        if not np.isfinite(loss) or not abs(means).max() < MOST_MEAN:
            return "its numbers have grown beyond all bounds"
        if spread < LEAST_SPREAD * self.spread:
            return "the layer sees the same in every picture"
        return ""


def _check_out(out: Path, pictures: Path) -> None:
    check_folder(out)
    if out.resolve().is_relative_to(pictures.resolve()):
        fault = f"{out} lies in {pictures}, and would be one of its classes the next time"
        raise DreamError(f"{fault}; choose another -o")
    is_beside = out.parent.resolve() == Path("models").resolve() != zoo.MODELS.resolve()
    if is_beside and (zoo.MODELS / out.name).exists():
        fault = f"{out.name} is the name of a network of the package"
        raise DreamError(f"{fault}; choose another -o")
