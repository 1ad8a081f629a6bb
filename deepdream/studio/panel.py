"""The panel: looks, knobs, buttons, and a picture that dreams before your eyes.

A dream is made from a recipe, as the command line's are, so the command that is shown
makes the same picture. What takes long is a task, see tasks.py. It has a thread, so
that the panel stays live; unless the panel was given a network, the thread has it done
in a process of its own, see turns.py.
"""

import base64
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from .. import looks
from ..errors import DreamError, out_of_memory
from ..films import read_film
from ..nets import zoo
from ..nets.base import Net
from ..pictures import encode, load_image, noise
from ..recipe import Recipe, all_files, complete, from_record
from ..settings import File, rows_of, size_of
from . import tasks
from .knobs import NOISE, ROWS, WISHES, Knobs, command_line, label, noise_size
from .shelf import FILM_SUFFIXES, MOST_KEPT, MOST_SHOWN, Shelf, is_film, widest
from .tasks import StoppedError, say_time
from .turns import Crew
from .widgets import MOST_BYTES, Drop, Fold, Help, Line, Picture, Search, Slider, Strip

MOST_DREAMT = 8_000_000  # pixels of a dream
THUMB = 160  # pixels: the width of a picture in the history
LOOK_WIDTH = 160  # pixels: of the picture in a look
MOST_LOOKS = 3000  # pictures of looks that a crew keeps, each of about 10 kB
SOURCE = "image", "width"  # knobs beside the picture
BUTTONS = "dream", "stop", "again", "undo", "tour"  # above the picture
CHANNELS = 12  # shown at a time
MOST_PAST = 48  # dreams in the history
PIXEL = 3  # bytes of a film's frame that is kept while the film is made
KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"
FILM_RATE = 10.0  # frames a second of a film from a picture
FILMS = {
    "zoom": ("Zoom", "Fly into the picture, which dreams on for ever"),
    "journey": ("Journey", "Fly through the network, from its first layers to its last"),
    "video": ("My video", "Dream over a film of yours, frame by frame"),
}


class Shown(NamedTuple):
    """What the panel shows, or showed before: `undo` goes back to it."""

    image: str  # the name of the picture; '' is noise
    dream: str = ""  # the name of what was dreamt of it
    command: str = ""  # the command that makes this dream
    about: str = PICTURE_LINE  # what that command is for


class Studio(ipywidgets.VBox):
    """A panel of looks and knobs for dreams; as the last expression of a notebook's
    cell it shows itself.

    net: a network that is already loaded, see `load_net`; without it, the panel has a
    choice of networks and engines. crew: the workers of a page. `knobs`: the
    ipywidgets, by their names in Python; `rows_of()`, `restore(...)`: the knobs as a
    recipe, and back; `dream()`, `stop()`, `again()`, `undo()`, `tour()`, `film(...)`:
    the buttons. `result`: the path of the dream that is shown, in a folder that lasts
    as long as the panel, or None.
    """

    def __init__(
        self,
        net: Net | None = None,
        crew: Crew | None = None,
        folder: str | Path | None = None,
        **traits: Any,
    ) -> None:
        self.given, self.is_page = net, crew is not None
        self.crew = crew or Crew(1)
        self.shelf = Shelf(folder)
        self.knobs = Knobs(net, self.shelf.files)
        self.states = [Shown(self.knobs["image"].value)]  # the last one is shown
        self.history: dict[str, Shown] = {}  # {name of a dream: what it was}
        self.looks_of: tuple | None = None  # what pictures of looks are being made of
        self.source = ""  # the name of the film to dream over
        self.late = ""  # why it was stopped, if its time was over
        self.busy = self.is_alone = False  # whether it works; whether its visitor has gone
        self.stopping, self.closing = Event(), Event()
        self.thread: Thread | None = None
        self.picture, self.line = Picture(), Line()
        self.strip, self.looks = Strip(label="The layer tour"), Strip(label="Looks")
        self.past = Strip(label="Your dreams", is_row=True)
        self.channels = Strip(label="Channels of the layer")
        self.search = Search(label="Find a thing to draw", hint="peacock")
        self.wishes = {
            name: Slider(label=wish.label, low=wish.low, high=wish.high, places=len(wish.values))
            for name, wish in WISHES.items()
        }
        self.buttons, self.film_buttons = self._make_buttons(), self._make_film_buttons()
        super().__init__([self._lay_out()], **traits)
        self.add_class("dd-studio")
        self.knobs.watch(self._react)
        self.strip.on_msg(self._choose_layer)
        self.looks.on_msg(self._choose_look)
        self.past.on_msg(self._choose_dream)
        self.search.on_msg(self._choose_thing)
        self.channels.on_msg(self._choose_thing)
        for name, slider in self.wishes.items():
            slider.observe(partial(self._grant, name), "value")
        self.strip.chosen = self.knobs["end"].value
        self._offer()
        self._follow_wishes()
        self._show()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """With a picture and a sentence for a saved notebook, where no kernel brings
        the panel to life.
        """
        bundle = super()._repr_mimebundle_(**options)
        picture = base64.b64encode(self.picture.before).decode()
        sentence = "The studio: run this cell, and its panel appears here."
        plain = f'<img src="data:image/jpeg;base64,{picture}" width="320" alt=""><p>{sentence}</p>'
        if isinstance(bundle, dict):
            bundle |= {"text/html": plain, "text/plain": sentence}
        return bundle

    # Its parts

    def _make_buttons(self) -> dict[str, ipywidgets.Button]:
        buttons = {}
        for press, name, tip in (
            (self.dream, "Dream", "Dream the picture with these knobs"),
            (self.stop, "Stop", "Stop after this step, and keep the picture so far"),
            (self.again, "Again", "Dream again, on the result"),
            (self.undo, "Undo", "Go back to the picture before"),
            (self.show_channels, "Show channels", "Draw what the next channels of the layer see"),
            (
                self.tour,
                "Layer tour",
                f"A small dream of the picture at {tasks.TOUR_STOPS} depths of the network",
            ),
        ):
            button = buttons[press.__name__] = ipywidgets.Button(description=name, tooltip=tip)
            button.on_click(lambda _, press=press: press())
        buttons["dream"].button_style = "primary"
        return buttons

    def _make_film_buttons(self) -> dict[str, ipywidgets.Button]:
        buttons = {}
        for kind, (name, tip) in FILMS.items():
            button = buttons[kind] = ipywidgets.Button(description=name, tooltip=tip)
            button.on_click(lambda _, kind=kind: self.film(kind))
        self.seconds = ipywidgets.BoundedFloatText(
            value=4, min=0.5, max=600, step=0.5, description="Length (seconds)"
        )
        self.film_width = ipywidgets.BoundedIntText(
            value=320, min=16, max=1920, description="Width of the film"
        )
        return buttons

    def _lay_out(self) -> ipywidgets.Widget:
        knobs = [
            part for name in self.knobs if name not in SOURCE for part in self._with_help(name)
        ]
        source = [self._make_drop("image"), *(self.knobs[name] for name in SOURCE)]
        wishes = [
            _box("dd-knob", [self.wishes[name], Help(label=w.label, text=w.help)])
            for name, w in WISHES.items()
        ]
        drop = Drop(self._take_film, what="a film", accept="video/*")
        films = [
            _box("dd-knobs", [self.seconds, self.film_width]),
            drop,
            _box("dd-buttons", self.film_buttons.values()),
        ]
        things = [self.search, _box("dd-buttons", [self.buttons["show_channels"]]), self.channels]
        more = _box("dd-more", [Fold(label="More knobs"), *things, _box("dd-knobs", knobs)])
        panes = {
            "dd-source": source,
            "dd-looks": [self.looks],
            "dd-wishes": wishes,
            "dd-result": [
                _box("dd-buttons", [self.buttons[name] for name in BUTTONS]),
                self.picture,
                self.past,
                self.strip,
                _box("dd-films", [Fold(label="Films"), *films]),
            ],
            "dd-controls": [more],
            "dd-command": [self.line],
        }
        return _box("dd-panes", [_box(name, parts) for name, parts in panes.items()])

    def _with_help(self, name: str) -> list[ipywidgets.Widget]:
        """A knob with its help, and if it is for a picture, a place to drop one."""
        knob, row = self.knobs[name], ROWS[name]
        wide = " dd-wide" if "dd-wide" in knob._dom_classes else ""
        parts: list[ipywidgets.Widget] = [
            _box(f"dd-knob{wide}", [knob, Help(label=label(name), text=_sentence(row.help))])
        ]
        return [*parts, self._make_drop(name)] if row.kind is File else parts

    def _make_drop(self, name: str) -> Drop:
        what = "a photograph" if name == "image" else f"a {name}"
        return Drop(partial(self._take_file, name), what=what, anywhere=name == "image")

    # Knobs and settings

    def settings(self) -> Recipe:
        """The knobs, as the recipe of the dream that they would make; raises DreamError
        for a value not allowed.
        """
        return self.knobs.recipe()

    def restore(self, settings: dict[str, Any]) -> list[str]:
        """Turn the knobs to the settings of a picture, see `read_settings`; returns
        what is missing here for that.

        Raises DreamError, and turns none, where these are not the settings of a dream,
        or a knob has no such value.
        """
        if (
            "deepdream" not in settings
            or settings.get("command", "dream") != "dream"
            or "draw" in settings
        ):
            raise DreamError(
                "it does not carry the settings of a dream of a picture, and only those have knobs here"
            )
        digests = settings.get("sha256")

        def find(role: str, name: str) -> str | None:
            return self.shelf.find_same(
                name, digests.get(role) if isinstance(digests, dict) else None
            )

        values, missing = self.knobs.values_of(from_record(settings), find)
        self.turn(**values)
        return missing

    def turn(self, **values: Any) -> None:
        """Turn knobs, by their names in Python, `turn(end='inception_3b/output',
        iter_n=20)`; all, or none.
        """
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
        if name in ("model", "end") and not self.busy:
            self.channels.items = []
        if name in ("model", "image") and not self.busy:
            self.strip.items = []  # they show another network, or picture
        if name in ("model", "image", "engine") or (
            name == "seed" and not self.knobs["image"].value
        ):
            self._offer()
        last = self.states[-1]
        if name == "image" and not self.busy:
            self._go(Shown(self.knobs["image"].value))
        elif name in ("seed", "width") and not (last.image or last.dream):
            self._show()  # other noise
        self.strip.chosen = self.knobs["end"].value
        if name in ("end", "objective", "guide"):
            self.looks.chosen = ""  # `_choose_look` says it again
        self._follow_wishes()
        self._show_command()

    def _follow_wishes(self) -> None:
        """Move the sliders to where the knobs are."""
        for name, slider in self.wishes.items():
            slider.unobserve_all("value")
            slider.value = WISHES[name].place(self.knobs)
            slider.observe(partial(self._grant, name), "value")

    def _grant(self, name: str, change: Any) -> None:
        """Turn the knobs to where a slider is."""
        values = WISHES[name].values
        with self._saying():
            self.turn(**values[min(max(0, change["new"]), len(values) - 1)])

    def _show_command(self) -> None:
        """Show the command for these knobs; where a value is not allowed, there is
        none, but a note.
        """
        was_wrong = not self.line.text
        try:
            command = command_line(self.settings())
        except DreamError as error:
            command = ""
            self._say_error(error)
        else:
            if was_wrong or not self.busy:  # what was said of the knobs before no longer holds
                self.say("")
        with self.line.hold_sync():
            self.line.text, self.line.about = command, KNOBS_LINE

    def _choose_layer(self, _: Any, layer: object, __: Any) -> None:
        with self._saying():
            self.turn(end=str(layer), objective="")

    def _choose_thing(self, _: Any, name: object, __: Any) -> None:
        with self._saying():
            self.turn(objective=str(name))

    # Looks

    def _offer(self) -> None:
        """Offer the looks that the network has, of this picture, and the things that it
        knows.
        """
        model = self.given.model if self.given else zoo.find(self.knobs["model"].value)
        name = model.name if model.name in zoo.names() else str(model.folders[0])
        about, offered = looks.read(), looks.of_network(name)
        with self.looks.hold_sync():
            self.looks.items, self.looks.chosen = [], ""
            self.looks.items = [
                {"key": look, "title": look, "says": about[look].about, "picture": b""}
                for look in offered
            ]
        self.search.choices = _things(model)
        if self.is_page and offered:
            self.show_looks()

    def show_looks(self) -> None:
        """Make the small pictures of the looks that have none, one after another, while
        nobody else waits.
        """
        key = self._key_of_looks()
        if self.looks_of != key and not all(item["picture"] for item in self.looks.items):
            self.looks_of = key
            Thread(target=self._show_looks, args=(key,), daemon=True).start()

    def _key_of_looks(self) -> tuple:
        """What the pictures of the looks depend on."""
        image = self.knobs["image"].value
        picture = self.shelf.digest(image) if image else self.knobs["seed"].value
        return picture, self.knobs["model"].value, self.knobs["engine"].value

    def _show_looks(self, key: tuple) -> None:
        made = self.crew.looks
        names = [item["key"] for item in self.looks.items if not item["picture"]]
        for name in names:
            if (key, name) in made:
                self._show_look(name, made[key, name])
        names = [name for name in names if (key, name) not in made]
        gone = _Either(self.closing, lambda: self.is_alone or self._key_of_looks() != key)

        def show(look: tuple[str, bytes] | None = None, **_: Any) -> None:
            if look:
                made[key, look[0]] = look[1]
                for old in list(made)[:-MOST_LOOKS]:
                    made.pop(old, None)
                if not gone.is_set():
                    self._show_look(*look)

        try:
            with self._saying(quietly=True):
                recipe = self.knobs.recipe()
                recipe = recipe | (
                    {"size": noise_size(LOOK_WIDTH)} if recipe["size"] else {"width": LOOK_WIDTH}
                )
                while names and not gone.is_set():
                    names = self.crew.run(
                        tasks.show_looks, (None, recipe, names, self.shelf.files), show, gone
                    )
        finally:
            if self.looks_of == key:
                self.looks_of = None

    def _show_look(self, name: str, picture: bytes) -> None:
        for item in self.looks.items:
            if item["key"] == name:
                self.looks.put(name, item["title"], item["says"], picture)

    def _choose_look(self, _: Any, name: object, __: Any) -> None:
        with self._saying():
            recipe = complete(
                "dream", looks.begin({"model": self.knobs["model"].value, "look": str(name)})
            )
            goal = (
                "end",
                "objective",
                "guide",
                "iter_n",
                "octave_n",
                "octave_scale",
                "step_size",
                "jitter",
                "turn",
                "smooth",
                "lap",
                "keep_color",
            )
            self.turn(
                **{
                    key: recipe[key] if recipe[key] is not None else ""
                    for key in goal
                    if key in self.knobs
                    and (recipe[key] is not None or key in ("objective", "guide"))
                }
            )
            self.looks.chosen = str(name)
            self.say("")

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
        shown, result = self.states[-1], self.result
        before = self.shelf.view(shown.image).jpeg if shown.image else encode(self._noise(), "jpeg")
        with self.picture.hold_sync():
            self.picture.before, self.picture.after = before, result.read_bytes() if result else b""
            self.picture.mime = "video/mp4" if result and is_film(result.name) else "image/png"
            self.picture.live, self.picture.name = b"", shown.dream
        self.past.chosen = shown.dream
        if shown.command:
            with self.line.hold_sync():
                self.line.text, self.line.about = shown.command, shown.about
        else:
            self._show_command()
        self._enable_buttons()

    def _noise(self) -> np.ndarray:
        width = min(self.knobs["width"].value, widest(9, 16, MOST_SHOWN))
        return noise(size_of(noise_size(width)), self.knobs["seed"].value)

    def _keep(self, source: str, out: Path, carried: dict[str, Any]) -> None:
        """Show what was made of a picture, and keep it in the history."""
        self.shelf.files[out.name] = out
        if out.suffix == ".png":
            self.knobs.offer_pictures(self.shelf.pictures())
        stopped = "stopped_at" in carried
        about = f"{PICTURE_LINE}, had it not been stopped" if stopped else PICTURE_LINE
        command = command_line(from_record(carried), f"dream{out.suffix}")
        shown = self.history[out.name] = Shown(source, out.name, command, about)
        picture = next(read_film(out, width=THUMB)) if is_film(out.name) else load_image(out, THUMB)
        self.past.items = self.past.items[-(MOST_PAST - 1) :]
        self.past.put(out.name, out.stem, "", encode(picture, "jpeg"))
        self._go(shown)
        self.picture.unsaved = True
        if stopped:
            what = "film" if is_film(out.name) else "picture"
            self.say(
                f"Stopped at {carried['stopped_at']:.0%}{self.late}; this is the {what} so far."
            )

    def _choose_dream(self, _: Any, name: object, __: Any) -> None:
        if name in self.history and not self.busy:
            self._go(self.history[str(name)])

    def _take_file(self, role: str, name: str, size: int, data: bytes | None) -> None:
        """Take a file that was dropped on the place for this role; of one that is too
        large, there are no data.
        """
        with self._saying():
            if is_film(name) and role == "image":
                return self._take_film(name, size, data)
            if is_film(name):
                raise DreamError(f"{name} is a film, and here is a place for a picture")
            if role == "image" and self.busy:
                raise DreamError(
                    f"a dream is being made; wait for it or stop it, then drop {name} again"
                )
            name = self._put_on_shelf(name, size, data)
            self.knobs.offer_pictures(self.shelf.pictures())
            settings = self.shelf.views[name].settings
            if role == "image" and "deepdream" in settings:
                self._take_dream(name, settings)
            else:
                self.turn(**{role: name})
                self.say("")

    def _take_film(self, name: str, size: int, data: bytes | None) -> None:
        with self._saying():
            if not is_film(name):
                raise DreamError(f"{name} is no film; these are: {', '.join(FILM_SUFFIXES)}")
            self.source = self._put_on_shelf(name, size, data)
            self.say(f"{self.source} is here; now press My video.")

    def _put_on_shelf(self, name: str, size: int, data: bytes | None) -> str:
        """Keep a file that was sent, once it was looked at; of one that is too large,
        there are no data.
        """
        if data is None:
            allowed = f"at most {MOST_BYTES >> 20} MB are allowed; make it smaller"
            raise DreamError(f"{name} has {size / 2**20:.0f} MB; {allowed}")
        kept = self.shelf.keep(name, data)
        if kept not in self.shelf.views:
            try:
                about = self.shelf.files[kept], name
                view = (
                    tasks.inspect(self._report, *about)
                    if self.given
                    else self.crew.run_now(tasks.inspect, *about)
                )
            except BaseException:
                self.shelf.remove(kept)
                raise
            self.shelf.views[kept] = view
        return kept

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
        if self.result and self.result.suffix == ".png":
            changes = {"image": self.result.name, "width": self.knobs["width"].value, "size": None}
            self._run(self._dream, self.states[-1].image, **changes)

    def tour(self) -> None:
        """Dream the picture, small, at some depths of the network, low to high."""
        self._run(self._tour, self.knobs["image"].value)

    def show_channels(self) -> None:
        """Draw what the next channels of the layer see; a click on one makes it the
        thing to draw.
        """
        self._run(self._show_channels, self.knobs["image"].value)

    def film(self, kind: str) -> None:
        """Make a film of the picture: 'zoom', 'journey', or of a film that was dropped,
        'video'.
        """
        self._run(partial(self._film, kind), self.knobs["image"].value)

    def stop(self) -> None:
        """Stop after the step that is being made, and say so at once."""
        self.stopping.set()
        if self.busy:
            self.picture.text = "Stopping after this step"

    def undo(self) -> None:
        """Go back to what was shown before."""
        if len(self.states) > 1 and not self.busy:
            states = self.states[:-1]
            self.knobs["image"].value = states[-1].image
            self.states = states  # turning the knob has added one
            self._show()

    def say(self, note: str) -> None:
        """Show a note to the person at the panel."""
        self.picture.note = note

    def close(self) -> None:
        """End what is being made, and remove the folder of pictures."""
        self.closing.set()
        self.stopping.set()
        self.shelf.folder.cleanup()
        super().close()

    def _enable_buttons(self) -> None:
        busy = self.knobs["image"].disabled = self.busy
        self.buttons["stop"].disabled = not busy
        starters = self.buttons["dream"], self.buttons["tour"], self.buttons["show_channels"]
        for button in (*starters, *self.film_buttons.values()):
            button.disabled = busy
        self.buttons["again"].disabled = busy or not self.result or self.result.suffix != ".png"
        self.buttons["undo"].disabled = busy or len(self.states) < 2

    # Work, in a thread

    def _run(self, work: Callable[[Recipe, str], None], source: str, **changes: Any) -> None:
        """Do the work of a button in a thread, with the knobs' recipe and these
        changes.
        """
        if self.busy:
            return
        self.say("")
        with self._saying():
            recipe = self.settings() | changes
            self.stopping.clear()
            self.busy, self.late = True, ""
            with self.picture.hold_sync():
                self.picture.busy, self.picture.progress, self.picture.text = True, 0.0, ""
            self._enable_buttons()
            self.thread = Thread(target=self._work, args=(work, recipe, source), daemon=True)
            self.thread.start()

    def _work(self, work: Callable[[Recipe, str], None], recipe: Recipe, source: str) -> None:
        try:
            with self._saying():
                self.shelf.check_room()
                work(recipe, source)
        finally:
            self.busy = False
            if self.closing.is_set():
                self.shelf.folder.cleanup()  # of what was written meanwhile
            with self.picture.hold_sync():
                self.picture.busy, self.picture.live = False, b""
            self._enable_buttons()

    def _do(self, task: Callable[..., Any], *args: Any, net: bool = True) -> Any:
        """Have a task done: here, where the panel was given a network, else by the crew
        when it is our turn.
        """
        if self.given and net:
            return task(self._report, self.given, *args)
        began = time.monotonic()

        def waiting(place: int) -> None:
            where, waited = (
                "you are next" if place == 1 else f"number {place}",
                time.monotonic() - began,
            )
            queue = f"In the queue: {where}; {say_time(waited)} so far"
            self._show_report(text="Starting" if place == 1 and waited < 3 else queue)

        return self.crew.run(
            task, (None, *args) if net else args, self._show_report, self.stopping, waiting
        )

    def _report(self, **what: Any) -> bool:
        self._show_report(**what)
        return self.stopping.is_set()

    def _show_report(
        self,
        stop: tuple[str, bytes] | None = None,
        channel: tuple[int, bytes] | None = None,
        late: str = "",
        **traits: Any,
    ) -> None:
        """Show what a task reports."""
        if self.stopping.is_set():
            traits.pop("text", None)  # that it is stopping stays
        if late:
            self.late = late
        with self.picture.hold_sync():
            for name, value in traits.items():
                setattr(self.picture, name, value)
        if stop:
            self.strip.put(stop[0], stop[0], self.knobs.layers.get(stop[0], ""), stop[1])
        if channel:
            thing = f"channel({self.knobs['end'].value!r}, {channel[0]})"
            self.channels.put(thing, str(channel[0]), "", channel[1])

    def _dream(self, recipe: Recipe, source: str) -> None:
        self._check_size(recipe)
        out = self.shelf.new("dream", recipe["image"] or "", ".png")
        self._keep(source, out, self._do(tasks.dream, recipe, self.shelf.files, out))

    def _check_size(self, recipe: Recipe, frames: int = 1) -> None:
        """Raise a DreamError for what is too large, or takes too long, for a panel."""
        name = recipe.get("source") or recipe["image"]
        if name:
            height, width = self.shelf.view(name).size
            wanted = recipe["width"]
        else:
            height, width = size_of(recipe["size"])
            wanted = width
        most = widest(height, width, MOST_DREAMT)
        if wanted > most:
            allowed = f"a dream of {name or NOISE} may be at most {most} pixels wide"
            raise DreamError(f"{{setting}} is {wanted}; {allowed}", "width")
        pixels = wanted * wanted * height / width
        if frames > 1 and PIXEL * pixels * frames > MOST_KEPT:
            takes = f"its frames take {PIXEL * pixels * frames / 2**20:.0f} MB, and {MOST_KEPT >> 20} MB are allowed"
            raise DreamError(f"{takes}; lower the width or the length")
        shares = sum(
            recipe["octave_scale"] ** (-2.0 * octave) for octave in range(recipe["octave_n"])
        )
        work = pixels * shares * recipe["iter_n"] * frames
        if self.crew.most_work and work > self.crew.most_work:
            times = work / self.crew.most_work
            cure = "the length" if frames > 1 else "the octaves"
            allowed = "the work that one visitor may ask for here"
            raise DreamError(
                f"that is {times:.1f} times {allowed}; lower the width, the iterations or {cure}"
            )

    def _tour(self, recipe: Recipe, source: str) -> None:
        self.strip.items = []
        try:
            self._do(tasks.tour, recipe, self.shelf.files)
        except StoppedError:
            self.strip.items = self.strip.items[:-1]  # the last is half a dream
            raise

    def _show_channels(self, recipe: Recipe, source: str) -> None:
        first, layer = len(self.channels.items), self.knobs["end"].value
        self._do(tasks.show_channels, recipe, layer, list(range(first, first + CHANNELS)))

    def _film(self, kind: str, recipe: Recipe, source: str) -> None:
        frames = max(2, round(self.seconds.value * FILM_RATE))
        names = rows_of(kind)
        given: dict[str, Any] = {
            name: value for name, value in recipe.items() if name in names and name != "command"
        }
        given |= {"width": self.film_width.value}
        if kind == "video":
            if not self.source:
                raise DreamError("drop a film of yours first")
            view = self.shelf.view(self.source)
            given |= {
                "source": self.source,
                "start": 0,
                "stop": max(2, round(self.seconds.value * view.fps)),
            }
            frames = min(given["stop"], view.frames or given["stop"])
        else:
            given |= {"fps": FILM_RATE}
            if not given.get("image"):
                if kind == "zoom":
                    raise DreamError("a zoom begins with a picture; choose one")
                given |= {"size": noise_size(self.film_width.value), "width": None}
        if kind == "zoom":
            given["frames"] = frames
        elif kind == "journey":
            given["frames_per_layer"] = max(1, frames // 10)
        film = complete(kind, {name: value for name, value in given.items() if value is not None})
        self._check_size(film | {"size": film.get("size")}, frames)
        out = self.shelf.new(kind, self.source if kind == "video" else source, ".mp4")
        for file in all_files(film).values():  # the task reads no other files of this machine
            self.shelf.find(file)
        for (
            name,
            path,
        ) in (
            self.shelf.files.items()
        ):  # the task works in the panel's folder, and finds them by name
            if (
                not path.is_relative_to(self.shelf.folder.name)
                and not Path(self.shelf.folder.name, name).exists()
            ):
                os.symlink(path, Path(self.shelf.folder.name, name))
        try:
            carried = self._do(tasks.film, film, self.shelf.files, out, net=False)
        finally:
            shutil.rmtree(out.with_suffix(".frames"), ignore_errors=True)
        self._keep(source if kind != "video" else self.source, out, carried)

    # What goes wrong

    @contextmanager
    def _saying(self, quietly: bool = False) -> Iterator[None]:
        """What goes wrong becomes a note on the panel; quietly, it does not."""
        try:
            yield
        except zoo.NoWeightsError as error:
            if not quietly:
                self.turn(model=zoo.FALLBACK)
                self.say(
                    f"{self._explain(error)}; {zoo.FALLBACK} is chosen now, so press the button again."
                )
        except StoppedError:
            if not quietly:
                self.say(f"Stopped{self.late}.")
        except DreamError as error:
            if not quietly:
                self._say_error(error)
        except Exception as error:
            if self.closing.is_set():  # its folder is gone, so whatever it did must fail
                return
            if not out_of_memory(error):
                self.say(f"Something went wrong here: {error!r}.")
                raise  # to the log
            self.say("There is not enough memory; lower the width.")

    def _say_error(self, error: DreamError) -> None:
        self.say(f"{self._explain(error)}.")

    def _explain(self, error: DreamError) -> str:
        """An error in words for the panel: settings by their labels, and pictures
        without their folder.
        """
        return error.named(label(error.setting or "")).replace(
            f"{self.shelf.folder.name}{os.sep}", ""
        )


class _Either(Event):
    """An event that is also set where a condition holds."""

    def __init__(self, event: Event, condition: Callable[[], bool]) -> None:
        super().__init__()
        self.event, self.condition = event, condition

    def is_set(self) -> bool:
        return self.event.is_set() or self.condition()

    def wait(self, timeout: float | None = None) -> bool:
        return self.event.wait(timeout) or self.condition()


def _things(model: zoo.Model) -> list[list[str]]:
    """[its names, what names it alone] of each class that a network knows; none where
    they cannot be read.
    """
    try:
        labels = zoo.labels(model)
    except DreamError:
        return []
    names = [{name.strip().lower() for name in [text, *text.split(",")]} for text in labels]
    times = Counter(chain.from_iterable(names))
    firsts = (text.split(",")[0] for text in labels)
    return [
        [labels[i], str(i) if times[first.lower()] > 1 else first] for i, first in enumerate(firsts)
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _box(classes: str, children: Iterable[ipywidgets.Widget]) -> ipywidgets.VBox:
    box = ipywidgets.VBox(list(children))
    for name in classes.split():
        box.add_class(name)
    return box
