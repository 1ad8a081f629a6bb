"""The panel: knobs, buttons, and a picture that dreams before your eyes.

A dream is made from a recipe, as the command line's are, so the command that is shown makes the same picture. It runs
in a thread, so that the panel stays live.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from .. import zoo
from ..dream import Step, deepdream
from ..errors import DreamError, out_of_memory
from ..jobs import make_dream, open_net
from ..motion import noise, stations
from ..net import Net
from ..pictures import encode, picture_settings
from ..recipe import File, Recipe, from_record, size_of
from .knobs import NOISE, ROWS, Knobs, command_line, label, noise_size
from .shelf import Shelf, check_picture, picture_size, widest
from .turns import StoppedError, in_turn
from .widgets import MOST_BYTES, Drop, Line, Picture, Strip, Watch

MOST_DREAMT = 8_000_000  # pixels of a dream
MOST_SHOWN = 2_000_000  # pixels of the picture before
SOURCE = "image", "width"  # knobs above the others
FIRST = "model", "engine", "end", "iter_n", "octave_n", "octave_scale", "step_size", "jitter", "seed"  # always shown
TOUR_STOPS, TOUR_WIDTH, TOUR_PIXELS, TOUR_OCTAVES = 6, 240, 60_000, 3
KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"

Work = Callable[[Recipe, Net, str], None]  # what a button does: (recipe, network, name of the picture)


class Shown(NamedTuple):
    """What the panel shows, or showed before: `undo` goes back to it."""

    image: str  # the name of the picture; '' is noise
    dream: str = ""  # the name of what was dreamt of it
    command: str = ""  # the command that makes this dream
    about: str = PICTURE_LINE  # what that command is for


class Studio(ipywidgets.VBox):
    """A panel of knobs for dreams; as the last expression of a notebook's cell it shows itself.

    net: a network that is already loaded, see `load_net`; without it, the panel has a choice of networks and engines,
    and loads one for the first dream. `knobs`: the ipywidgets, by their names in Python; `settings()`, `restore(...)`:
    the knobs as a recipe, and back; `dream()`, `stop()`, `again()`, `undo()`, `tour()`: the buttons. `result`: the path
    of the dream that is shown, in a folder that lasts as long as the panel, or None.
    """

    def __init__(self, net: Net | None = None) -> None:
        self.given, self.net = net, net
        self.loaded: tuple[str, ...] | None = None  # which network `net` is, where none was given
        self.shelf = Shelf()
        self.knobs = Knobs(net, self.shelf.files)
        self.states = [Shown(self.knobs["image"].value)]  # the last one is shown
        self.stopping = Event()
        self.thread: Thread | None = None
        self.picture, self.strip, self.line = Picture(), Strip(), Line()
        self.strip.on_msg(self._choose_layer)
        self.buttons = self._make_buttons()
        super().__init__([self._lay_out()])
        self.add_class("dd-studio")
        self.knobs.watch(self._react)
        self.strip.chosen = self.knobs["end"].value
        self._show()

    def _make_buttons(self) -> dict[str, ipywidgets.Button]:
        buttons = {}
        for press, name, tip in (
            (self.dream, "Dream", "Dream the picture with these knobs"),
            (self.stop, "Stop", "Stop after this step, and keep the picture so far"),
            (self.again, "Again", "Dream again, on the result"),
            (self.undo, "Undo", "Go back to the picture before"),
            (self.tour, "Layer tour", f"A small dream of the picture at each of {TOUR_STOPS} depths of the network"),
        ):
            button = buttons[press.__name__] = ipywidgets.Button(description=name, tooltip=tip)
            button.on_click(lambda _, press=press: press())
        buttons["dream"].button_style = "primary"
        return buttons

    def _lay_out(self) -> ipywidgets.Widget:
        more = ipywidgets.ToggleButton(description="More knobs")
        more.add_class("dd-more")
        folded = [name for name in self.knobs if name not in SOURCE + FIRST]
        source = [self._make_drop("image"), *(self.knobs[name] for name in SOURCE)]
        first = [self.knobs[name] for name in FIRST]
        others = [widget for name in folded for widget in self._with_drop(name)]
        result = [_box("dd-buttons", self.buttons.values()), self.picture, self.strip, self.line]
        controls = [_box("dd-knobs", first), more, _box("dd-knobs dd-folded", others)]
        panes = [_box("dd-source", source), _box("dd-result", result), _box("dd-controls", controls)]
        return _box("dd-panes", panes)

    def _with_drop(self, name: str) -> list[ipywidgets.Widget]:
        """A knob, and if it is for a picture, a place to drop one."""
        return [self.knobs[name], self._make_drop(name)] if ROWS[name].kind is File else [self.knobs[name]]

    def _make_drop(self, name: str) -> Drop:
        what = "a photograph" if name == "image" else f"a {label(name).lower()}"
        return Drop(partial(self._take_file, name), what=what, anywhere=name == "image")

    # Knobs and settings

    def settings(self) -> Recipe:
        """The knobs, as the recipe of the dream that they would make; raises DreamError for a value not allowed."""
        return self.knobs.recipe()

    def restore(self, settings: dict[str, Any]) -> list[str]:
        """Turn the knobs to the settings of a picture, see `read_settings`; returns what is missing here for that.

        Raises DreamError, and turns none, where these are not the settings of a dream, or a knob has no such value.
        """
        if "deepdream" not in settings or settings.get("command", "dream") != "dream" or "draw" in settings:
            raise DreamError("it does not carry the settings of a dream of a picture, and only those have knobs here")
        digests = settings.get("sha256")

        def find(role: str, name: str) -> str | None:
            return self.shelf.find_same(name, digests.get(role) if isinstance(digests, dict) else None)

        values, missing = self.knobs.values_of(from_record(settings), find)
        self.turn(**values)
        return missing

    def turn(self, **values: Any) -> None:
        """Turn knobs, by their names in Python, `turn(end='inception_3b/output', iter_n=20)`; all, or none."""
        before = len(self.states)
        try:
            self.knobs.turn(**values)
        except (DreamError, OSError):
            del self.states[before:]
            self._show()
            raise
        del self.states[before:-1]  # for `undo`, all of it is one turn

    def _react(self, name: str) -> None:
        """What follows when a knob has been turned."""
        if name in ("model", "image") and not self.picture.busy:
            self.strip.stops = []  # they show another network, or picture
        last = self.states[-1]
        if name == "image" and not self.picture.busy:
            self._go(Shown(self.knobs["image"].value))
        elif name in ("seed", "width") and not (last.image or last.dream):
            self._show()  # other noise
        self.strip.chosen = self.knobs["end"].value
        self._show_command()

    def _show_command(self) -> None:
        """Show the command for these knobs; where a value is not allowed, there is none, but a note."""
        was_wrong = not self.line.text
        try:
            command = command_line(self.settings())
        except DreamError as error:
            command = ""
            self._say_error(error)
        else:
            if was_wrong:
                self.say("")
        with self.line.hold_sync():
            self.line.text, self.line.about = command, KNOBS_LINE

    def _choose_layer(self, _: Any, layer: str, __: Any) -> None:
        with self._saying():
            self.turn(end=layer)

    # Pictures

    @property
    def result(self) -> Path | None:
        return self.shelf.files.get(self.states[-1].dream)

    def _go(self, to: Shown) -> None:
        """Show a picture, and what was dreamt of it; `undo` comes back from there."""
        last = self.states[-1]
        if (to.image, to.dream) != (last.image, last.dream):
            self.states.append(to)
            self._show()

    def _show(self) -> None:
        shown = self.states[-1]
        before = encode(self._load(shown.image, self.knobs["width"].value, MOST_SHOWN), "jpeg")
        with self.picture.hold_sync():
            self.picture.before, self.picture.after = before, self.result.read_bytes() if self.result else b""
            self.picture.live, self.picture.name = b"", shown.dream
        if shown.command:
            with self.line.hold_sync():
                self.line.text, self.line.about = shown.command, shown.about
        else:
            self._show_command()
        self._enable_buttons()

    def _load(self, name: str, width: int, most: int) -> np.ndarray:
        """The picture of this name, (h, w, 3), of at most so many pixels; noise where there is no name."""
        if name:
            return self.shelf.load(name, width, most)
        width = min(width, widest(9, 16, most))
        return noise(size_of(noise_size(width)), self.knobs["seed"].value)

    def _take_file(self, role: str, name: str, size: int, data: bytes | None) -> None:
        """Take a file that was dropped on the place for this role; of one that is too large, there are no data."""
        with self._saying():
            if role == "image" and self.picture.busy:
                raise DreamError(f"a dream is being made; wait for it or stop it, then drop {name} again")
            if data is None:
                allowed = f"at most {MOST_BYTES >> 20} MB are allowed; make it smaller"
                raise DreamError(f"{name} has {size / 2**20:.0f} MB; {allowed}")
            check_picture(name, data)
            name = self.shelf.keep(name, data)
            self.knobs.offer_pictures(self.shelf.files)
            settings = picture_settings(self.shelf.find(name))
            if role == "image" and "deepdream" in settings:
                self._take_dream(name, settings)
            else:
                self.turn(**{role: name})
                self.say("")

    def _take_dream(self, name: str, settings: dict[str, Any]) -> None:
        """Take a picture that carries settings: turn the knobs to them, or say why not."""
        before = len(self.states)
        try:
            missing = self.restore(settings)
        except DreamError as error:
            self.turn(image=name)
            self.say(f"{name} is used as a plain picture: {self._explain(error)}.")
            return
        if any(what.startswith("the image") for what in missing):
            self.turn(image=name)
        else:
            self._go(Shown(self.knobs["image"].value, name, command_line(from_record(settings))))
        del self.states[before:-1]
        lacks = f" Not available here: {', '.join(missing)}." if missing else ""
        self.say(f"The knobs are set as they were for {name}.{lacks}")

    # Buttons

    def dream(self) -> None:
        """Dream the picture, in a thread; `thread.join()` waits for the end."""
        self._run(self._dream, self.knobs["image"].value)

    def again(self) -> None:
        """Dream again, on the result."""
        if self.result:
            changes = {"image": self.result.name, "width": self.knobs["width"].value, "size": None}
            self._run(self._dream, self.states[-1].image, **changes)

    def tour(self) -> None:
        """Dream the picture, small, at some depths of the network, low to high."""
        self._run(self._tour, self.knobs["image"].value)

    def stop(self) -> None:
        """Stop after the step that is being made, and say so at once: Caffe runs without Python's lock."""
        self.stopping.set()
        if self.picture.busy:
            self.picture.text = "stopping after this step"

    def undo(self) -> None:
        """Go back to what was shown before."""
        if len(self.states) > 1 and not self.picture.busy:
            states = self.states[:-1]
            self.knobs["image"].value = states[-1].image
            self.states = states  # turning the knob has added one
            self._show()

    def say(self, note: str) -> None:
        """Show a note to the person at the panel."""
        self.picture.note = note

    def _enable_buttons(self) -> None:
        busy = self.knobs["image"].disabled = self.picture.busy
        self.buttons["stop"].disabled = not busy
        self.buttons["dream"].disabled = self.buttons["tour"].disabled = busy
        self.buttons["again"].disabled = busy or not self.result
        self.buttons["undo"].disabled = busy or len(self.states) < 2

    # Work, in a thread

    def _run(self, work: Work, source: str, **changes: Any) -> None:
        """Do the work of a button in a thread, when it is our turn, with the knobs' recipe and these changes."""
        if self.picture.busy:
            return
        self.say("")
        with self._saying():
            recipe = self.settings() | changes
            self.stopping.clear()
            self.picture.busy, self.picture.progress, self.picture.text = True, 0.0, ""
            self._enable_buttons()
            self.thread = Thread(target=self._work, args=(work, recipe, source), daemon=True)
            self.thread.start()

    def _work(self, work: Work, recipe: Recipe, source: str) -> None:
        began = time.monotonic()

        def waiting(place: int) -> None:  # that the seconds change keeps the page from being taken for idle
            where = "you are next" if place == 1 else f"number {place}"
            self.picture.text = f"In the queue: {where}; {time.monotonic() - began:.0f} s so far"

        try:
            with self._saying(), in_turn(waiting, self.stopping):
                work(recipe, self._open_net(recipe), source)
        finally:
            self.picture.busy, self.picture.live = False, b""
            self._enable_buttons()

    def _open_net(self, recipe: Recipe) -> Net:
        if self.given:
            return self.given
        wanted = recipe["model"], recipe["engine"], recipe["dtype"]
        if self.net is None or self.loaded != wanted:
            self.picture.text = "Loading the network; the first time, it is downloaded"
            self.net = self.loaded = None  # there may not be memory for two
            try:
                self.net, self.loaded = open_net(recipe), wanted
            except zoo.NoWeightsError as error:
                self.turn(model=zoo.FALLBACK)
                raise DreamError(f"{error}; {zoo.FALLBACK} is chosen now, so press the button again") from None
        return self.net

    def _dream(self, recipe: Recipe, net: Net, source: str) -> None:
        self._check_size(recipe)
        self.shelf.check_room()

        def describe(step: Step) -> str:
            octave = f"Octave {step.octave + 1} of {recipe['octave_n']}"
            return f"{octave}, step {step.iteration + 1} of {recipe['iter_n']}"

        def show(jpeg: bytes) -> None:
            self.picture.live = jpeg

        watch = Watch(self.picture, self.stopping, describe, show)
        picture, settings = make_dream(recipe, net, watch, self.shelf.find)
        assert picture is not None  # only one that was already known would not be made
        stopped = {} if watch.stopped is None else {"stopped_at": watch.stopped}
        name = self.shelf.save(picture, settings | stopped)
        self.knobs.offer_pictures(self.shelf.files)
        about = f"{PICTURE_LINE}, had it not been stopped" if stopped else PICTURE_LINE
        self._go(Shown(source, name, command_line(from_record(settings)), about))
        if watch.stopped is not None:
            self.say(f"Stopped at {watch.stopped:.0%}; this is the picture so far.")

    def _check_size(self, recipe: Recipe) -> None:
        """Raise a DreamError for a dream that is too large for a panel."""
        if recipe["image"]:
            height, width = picture_size(self.shelf.find(recipe["image"]))
            wanted = recipe["width"]
        else:
            height, width = size_of(recipe["size"])
            wanted = width
        most = widest(height, width, MOST_DREAMT)
        if wanted > most:
            name = recipe["image"] or NOISE
            raise DreamError(f"{{setting}} is {wanted}; a dream of {name} may be at most {most} pixels wide", "width")

    def _tour(self, recipe: Recipe, net: Net, source: str) -> None:
        layers = _tour_layers(net)
        image = self._load(source, TOUR_WIDTH, TOUR_PIXELS)
        began = time.monotonic()
        for i, layer in enumerate(layers):
            show = partial(self.strip.put, i, layer, self.knobs.layers.get(layer, ""))
            watch = Watch(self.picture, self.stopping, lambda step: step.end, show, i, len(layers), began)
            picture = deepdream(net, image, octave_n=TOUR_OCTAVES, end=layer, seed=recipe["seed"], on_step=watch)
            if watch.stopped is not None:
                self.strip.stops = self.strip.stops[:i]
                raise StoppedError
            show(encode(picture, "jpeg"))

    # What goes wrong

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """What goes wrong becomes a note on the panel."""
        try:
            yield
        except DreamError as error:
            self._say_error(error)
        except StoppedError:
            self.say("Stopped.")
        except Exception as error:
            if not out_of_memory(error):
                self.say(f"Something went wrong here: {error!r}.")
                raise  # to the kernel's log
            self.say("There is not enough memory; lower the width.")

    def _say_error(self, error: DreamError) -> None:
        self.say(f"{self._explain(error)}.")

    def _explain(self, error: DreamError) -> str:
        """An error in words for the panel: settings by their labels, and pictures without their folder."""
        return error.named(label(error.setting or "")).replace(f"{self.shelf.folder.name}{os.sep}", "")


def _tour_layers(net: Net) -> list[str]:
    """Layers of this network at some depths, low to high; the first, which shows least, is left out."""
    layers = stations(net)
    last = len(layers) - 1
    return [layers[i] for i in sorted({round(i) for i in np.linspace(min(1, last), last, TOUR_STOPS)})]


def _box(classes: str, children: Iterable[ipywidgets.Widget]) -> ipywidgets.VBox:
    box = ipywidgets.VBox(list(children))
    for name in classes.split():
        box.add_class(name)
    return box
