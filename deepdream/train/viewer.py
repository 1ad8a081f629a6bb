"""A photograph that is dreamt again and again while a network learns."""

from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import rmtree

import numpy as np

from ..errors import DreamError
from ..films import SteadyFrame, check_film, frame_path, save_film, steady
from ..nets.engines import load_net
from ..paths import temporary_folder
from ..pictures import load_image, or_sample, save_image, sheet
from ..recipe import Recipe

MOST_SHOWN = 12  # dreams on the sheet
FPS = 8  # of the film
BLEND = 0.8  # how much of a dream carries over to the next in the film


class Viewer:
    """Dreams a photograph from time to time with the network as it is:
    out/watch.jpg, and perhaps a film, in which dreams carry over some of
    the one before.

    recipe: for `watch`, the photograph; `width`; `watch_every`, in steps; `film`.
    """

    def __init__(self, recipe: Recipe, out: Path, engine: str, end: str) -> None:
        self.recipe = recipe
        self.engine = engine
        self.end = end
        self.folder = out / "watch"
        self.sheet = out / "watch.jpg"
        self.last: SteadyFrame | None = None
        self.film: str | None = recipe["film"]
        self.every = recipe["watch_every"] or (5 if self.film else 25)
        self.is_on = bool(recipe["watch"])
        if self.is_on:
            self.photograph = load_image(or_sample(recipe["watch"]), recipe["width"])
            if self.film:
                check_film(self.film, FPS)
        elif self.film or recipe["watch_every"]:
            needs = "--film and --watch-every need a photograph to dream"
            raise DreamError(f"{{setting}} is missing; {needs}", "watch")

    def resume(self, kept: Mapping[str, np.ndarray]) -> None:
        """Continue after the last dream of an earlier run, if of this photograph."""
        has_dreamt = self.is_on and "watched" in kept
        if has_dreamt and np.array_equal(kept["source"], self.photograph):
            strength = float(kept["strength"])
            self.last = SteadyFrame(kept["watched"], kept["source"], strength)
        elif self.is_on or not kept:
            rmtree(self.folder, ignore_errors=True)

    def state(self) -> dict[str, np.ndarray | float]:
        """What `resume` needs."""
        if self.last is None:
            return {}
        picture, source, strength, _ = self.last
        return {"watched": picture, "source": source, "strength": strength}

    def dream(self, step: int, write: Callable[[Path], object], anyway: bool) -> None:
        """Dream with the network that `write` writes, if it is time, or anyway."""
        if not self.is_on or (step % self.every and not anyway):
            return
        with temporary_folder() as folder:
            write(folder)
            net = load_net(folder, self.engine, self.recipe["device"])
        blend = BLEND if self.film else 0
        seed = self.recipe["seed"]
        frames = steady(net, [self.photograph], blend, seed, self.last, end=self.end)
        self.last = next(frames)
        self.folder.mkdir(exist_ok=True)
        save_image(frame_path(self.folder, step), self.last.picture)
        paths = self._frames()
        n = min(len(paths), MOST_SHOWN)
        shown = [paths[i] for i in np.linspace(0, len(paths) - 1, n).round().astype(int)]
        labels = [f"step {int(path.stem)}" for path in shown]
        save_image(self.sheet, sheet([load_image(path) for path in shown], labels))

    def finish(self) -> None:
        if self.film:
            save_film(self.film, map(load_image, self._frames()), FPS)

    def _frames(self) -> list[Path]:
        return sorted(self.folder.glob("*.png"))
