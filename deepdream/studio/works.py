"""What takes long on a panel: it is done in a thread, so that the panel stays live.

Unless the panel was given a network, the thread has it done in a process of
its own, see turns.py; tasks.py has what is done there.
"""

import shutil
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from .. import looks
from ..errors import DreamError
from ..nets.base import Net
from ..nets.zoo import Model, names
from ..recipe import Recipe, complete
from ..settings import rows_of, size_of
from . import tasks
from .knobs import NOISE, noise_size
from .shelf import MOST_KEPT, widest
from .stage import Stage
from .tasks import StoppedError, say_time
from .turns import Crew

MOST_DREAMT = 8_000_000  # pixels of a dream
LOOK_WIDTH = 160  # pixels: of the picture in a look
MOST_LOOKS = 3000  # pictures of looks that a crew keeps, each of about 10 kB
CHANNELS = 12  # shown at a time
FRAME_BYTES = 3  # for each pixel of a film's frame, which is kept while the film is made
FILM_RATE = 10.0  # frames a second of a film from a picture
Work = Callable[[Recipe, str], None]  # of a recipe, and the name of the picture


class Works:
    """The work of a panel: one of dream, tour, show_channels and film at a time."""

    def __init__(self, net: Net | None, crew: Crew, stage: Stage) -> None:
        """net: the network to work with; without one, the crew does it."""
        self.net = net
        self.crew = crew
        self.stage = stage
        self.thread: Thread | None = None
        self._parts = stage.parts
        self._knobs = stage.knobs
        self._shelf = stage.shelf
        self.stopping = Event()

    def start(self, work: Work, source: str | None = None, **changes: object) -> None:
        """Do this work in a thread, with the knobs' recipe and these
        changes, unless there is some to do already.

        source: the name of the picture that it is said to be of; if none, the knob's.
        """
        stage = self.stage
        picture = self._parts.picture
        if stage.busy:
            return
        stage.say("")
        with stage.saying():
            recipe = self._knobs.recipe() | changes
            source = self._knobs["image"].value if source is None else source
            self.stopping.clear()
            stage.late = ""
            with picture.hold_sync():
                picture.busy = True
                picture.progress = 0.0
                picture.text = ""
            stage.enable_buttons()
            self.thread = Thread(target=self._work, args=(work, recipe, source), daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """Stop after the step that is being made, and say so at once."""
        self.stopping.set()
        if self.stage.busy:
            self._parts.picture.text = "Stopping after this step"

    def _work(self, work: Work, recipe: Recipe, source: str) -> None:
        picture = self._parts.picture
        try:
            with self.stage.saying():
                self._shelf.check_room()
                work(recipe, source)
        finally:
            if self.stage.closing.is_set():
                self._shelf.folder.cleanup()  # of what was written meanwhile
            with picture.hold_sync():
                picture.busy = False
                picture.live = b""
            self.stage.enable_buttons()

    # What there is to do

    def dream(self, recipe: Recipe, source: str) -> None:
        """Dream the picture."""
        self._check_size(recipe)
        out = self._shelf.new("dream", recipe["image"] or "", ".png")
        carried = self._do(tasks.dream, recipe, self._shelf.files, out)
        self.stage.keep(source, out, carried)

    def tour(self, recipe: Recipe, source: str) -> None:
        """Dream the picture, small, at some depths of the network."""
        strip = self._parts.strip
        strip.items = []
        try:
            self._do(tasks.tour, recipe, self._shelf.files)
        except StoppedError:
            strip.items = strip.items[:-1]  # the last is half a dream
            raise

    def show_channels(self, recipe: Recipe, source: str) -> None:
        """Draw what the next channels of the layer see."""
        first = len(self._parts.channels.items)
        numbers = list(range(first, first + CHANNELS))
        self._do(tasks.show_channels, recipe, self._knobs["end"].value, numbers)

    def film(self, kind: str, recipe: Recipe, source: str) -> None:
        """Make a film: 'zoom', 'journey' or 'video'."""
        if kind == "video":
            source = self._shelf.film
        film, frames = self._film_recipe(kind, recipe)
        self._check_size(film, frames)
        out = self._shelf.new(kind, source, ".mp4")
        try:
            carried = self._queue(tasks.film, film, self._shelf.files, out)
        finally:
            shutil.rmtree(out.with_suffix(".frames"), ignore_errors=True)
        self.stage.keep(source, out, carried)

    def _film_recipe(self, kind: str, recipe: Recipe) -> tuple[Recipe, int]:
        """(the recipe of a film, with what the table has for this kind; its frames)."""
        seconds = self._parts.seconds.value
        width = self._parts.film_width.value
        frames = max(2, round(seconds * FILM_RATE))
        given = recipe | {"width": width, "fps": FILM_RATE, "frames": frames}
        given["frames_per_layer"] = max(1, frames // 10)
        if kind == "video":
            if not self._shelf.film:
                raise DreamError("drop a film of yours first")
            view = self._shelf.view(self._shelf.film)
            stop = max(2, round(seconds * view.fps))
            given |= {"source": self._shelf.film, "start": 0, "stop": stop}
            frames = min(stop, view.frames or stop)
        elif not recipe["image"]:
            if kind == "zoom":
                raise DreamError("a zoom begins with a picture; choose one")
            given |= {"size": noise_size(width), "width": None}
        rows = rows_of(kind)
        return complete(kind, {name: given[name] for name in rows if name in given}), frames

    def _check_size(self, recipe: Recipe, frames: int = 1) -> None:
        """Raise a DreamError for what is too large, or takes too long, for a panel."""
        name = recipe.get("source") or recipe["image"]
        height, width = self._shelf.view(name).size if name else size_of(recipe["size"])
        wanted = recipe["width"] if name else width
        most = widest(height, width, MOST_DREAMT)
        if wanted > most:
            allowed = f"a dream of {name or NOISE} may be at most {most} pixels wide"
            raise DreamError(f"{{setting}} is {wanted}; {allowed}", "width")
        pixels = wanted * wanted * height / width
        kept = FRAME_BYTES * pixels * frames
        if frames > 1 and kept > MOST_KEPT:
            allowed = f"{MOST_KEPT >> 20} MB are allowed; lower the width or the length"
            raise DreamError(f"its frames take {kept / 2**20:.0f} MB, and {allowed}")
        if self.crew.most_work:
            _check_work(recipe, pixels, frames, self.crew.most_work)

    # How it is done

    def _do(self, task: Callable[..., Any], *args: object) -> Any:
        """Have a task done that takes a network: here, where there is one."""
        if self.net:
            return task(self._report, self.net, *args)
        return self._queue(task, None, *args)

    def _queue(self, task: Callable[..., Any], *args: object) -> Any:
        """Have a task done by the crew, when it is our turn."""
        began = time.monotonic()

        def waiting(place: int) -> None:
            waited = time.monotonic() - began
            where = "you are next" if place == 1 else f"number {place}"
            is_short = place == 1 and waited < 3
            queue = f"In the queue: {where}; {say_time(waited)} so far"
            self._show_report(text="Starting" if is_short else queue)

        return self.crew.run(task, args, self._show_report, self.stopping, waiting)

    def inspect(self, name: str) -> None:
        """Look at a file on the shelf that somebody has sent."""
        about = self._shelf.files[name], name
        if self.net:
            view = tasks.inspect(self._report, *about)
        else:
            view = self.crew.run_now(tasks.inspect, *about)
        self._shelf.views[name] = view

    def _report(self, **what: Any) -> bool:
        self._show_report(**what)
        return self.stopping.is_set()

    def _show_report(
        self,
        stop: tuple[str, bytes] | None = None,
        channel: tuple[int, bytes] | None = None,
        late: str = "",
        **traits: object,
    ) -> None:
        """Show what a task reports."""
        if self.stopping.is_set():
            traits.pop("text", None)  # that it is stopping stays
        if late:
            self.stage.late = late
        with self._parts.picture.hold_sync():
            for name, value in traits.items():
                setattr(self._parts.picture, name, value)
        if stop:
            layer, picture = stop
            self._parts.strip.put(layer, layer, self._knobs.layers.get(layer, ""), picture)
        if channel:
            number, picture = channel
            thing = f"channel({self._knobs['end'].value!r}, {number})"
            self._parts.channels.put(thing, str(number), "", picture)


def _check_work(recipe: Recipe, pixels: float, frames: int, most: float) -> None:
    """Raise a DreamError for more work than this, in pixels times steps."""
    shares = sum(recipe["octave_scale"] ** (-2.0 * i) for i in range(recipe["octave_n"]))
    work = pixels * shares * recipe["iter_n"] * frames
    if work > most:
        allowed = "the work that one visitor may ask for here"
        cure = "the length" if frames > 1 else "the octaves"
        raise DreamError(
            f"that is {work / most:.1f} times {allowed}; lower the width, the iterations or {cure}"
        )


class LookPictures:
    """The small pictures of the looks, which are made while nobody else waits."""

    def __init__(self, crew: Crew, stage: Stage, is_wanted: Callable[[], bool]) -> None:
        """is_wanted: whether somebody is there to see them."""
        self.crew = crew
        self.stage = stage
        self.is_wanted = is_wanted
        self._strip = stage.parts.looks
        self._knobs = stage.knobs
        self._shelf = stage.shelf
        self._key: tuple | None = None  # what pictures are being made of

    def offer(self, model: Model) -> None:
        """Offer the looks that a network has, without pictures."""
        about = looks.read()
        name = model.name
        if name not in names() and model.folders:
            name = str(model.folders[0])
        found = looks.of_network(name) if model.folders else {}  # a module has none
        with self._strip.hold_sync():
            self._strip.items = []
            self._strip.chosen = ""
            self._strip.items = [
                {"key": look, "title": look, "says": about[look].about, "picture": b""}
                for look in found
            ]

    def make(self) -> None:
        """Make the pictures that are missing, one after another, in a thread."""
        key = self._find_key()
        if self._key != key and not all(item["picture"] for item in self._strip.items):
            self._key = key
            Thread(target=self._make, args=(key,), daemon=True).start()

    def _find_key(self) -> tuple:
        """What the pictures of the looks depend on."""
        image = self._knobs["image"].value
        picture = self._shelf.digest(image) if image else self._knobs["seed"].value
        return picture, self._knobs["model"].value, self._knobs["engine"].value

    def _make(self, key: tuple) -> None:
        made = self.crew.looks
        missing = []
        for name in [item["key"] for item in self._strip.items if not item["picture"]]:
            if (key, name) in made:
                self._put(name, made[key, name])
            else:
                missing.append(name)
        gone = _Until(lambda: not self._is_current(key))

        def show(look: tuple[str, bytes] | None = None, **_: object) -> None:
            if look:
                name, picture = look
                made[key, name] = picture
                for old in list(made)[:-MOST_LOOKS]:
                    made.pop(old, None)
                if not gone.is_set():
                    self._put(name, picture)

        try:
            with self.stage.saying(quietly=True):
                recipe = self._knobs.recipe()
                small = (
                    {"size": noise_size(LOOK_WIDTH)} if recipe["size"] else {"width": LOOK_WIDTH}
                )
                while missing and not gone.is_set():
                    args = None, recipe | small, missing, self._shelf.files
                    missing = self.crew.run(tasks.show_looks, args, show, gone)
        finally:
            if self._key == key:
                self._key = None

    def _is_current(self, key: tuple) -> bool:
        is_open = not self.stage.closing.is_set()
        return is_open and self.is_wanted() and self._find_key() == key

    def _put(self, name: str, picture: bytes) -> None:
        for item in self._strip.items:
            if item["key"] == name:
                self._strip.put(name, item["title"], item["says"], picture)


class _Until(Event):
    """An event that is set once a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self.condition = condition

    def is_set(self) -> bool:
        return self.condition()

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(timeout) or self.condition()
