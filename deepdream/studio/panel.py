"""The panel: looks, knobs, buttons, and a picture that dreams before your eyes.

A dream is made from a recipe, as the command line's are, so the command that is shown
makes the same picture. Here is what follows when something is pressed, turned or
dropped; layout.py has the widgets, stage.py what is shown, works.py what takes long.
"""

import base64
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

import ipywidgets

from ..errors import DreamError
from ..nets import zoo
from ..nets.base import Net
from ..recipe import Recipe, from_record
from .knobs import WISHES, Knobs
from .layout import Parts
from .shelf import FILM_SUFFIXES, Record, Shelf, has_film_name
from .stage import Shown, Stage
from .tasks import TOUR_STOPS
from .turns import Crew
from .widgets import MOST_SENT_BYTES
from .works import LookPictures, Works

BUTTONS = {  # by the methods of the panel that they call
    "dream": ("Dream", "Dream the picture with these knobs"),
    "stop": ("Stop", "Stop after this step, and keep the picture so far"),
    "again": ("Again", "Dream again, on the result"),
    "undo": ("Undo", "Go back to the picture before"),
    "tour": ("Layer tour", f"A small dream of the picture at {TOUR_STOPS} depths of the network"),
    "show_channels": ("Show channels", "Draw what the next channels of the layer see"),
}
FILMS = {  # by their commands
    "zoom": ("Zoom", "Fly into the picture, which dreams on for ever"),
    "journey": ("Journey", "Fly through the network, from its first layers to its last"),
    "video": ("My video", "Dream over a film of yours, frame by frame"),
}
SENTENCE = "The studio: run this cell, and its panel appears here."


class Studio(ipywidgets.VBox):
    """A panel of looks and knobs for dreams; as the last expression of a notebook's
    cell it shows itself.

    net: a network that is already loaded, see `load_net`; without it, the panel has a
    choice of networks and engines. crew: the workers of a page. folder: where the
    folder of its pictures is made. `knobs`: the ipywidgets of the settings, by their
    names in Python; `parts`: the others; `states`, `history`: see stage.py.
    """

    is_alone = False  # whether the visitor of a page has gone

    def __init__(
        self,
        net: Net | None = None,
        crew: Crew | None = None,
        folder: str | Path | None = None,
        **traits: object,
    ) -> None:
        self._is_page = crew is not None
        crew = crew or Crew(1)
        self._shelf = Shelf(folder)
        self.knobs = Knobs(net, self._shelf.files)
        self.parts = Parts(self.knobs, BUTTONS, FILMS, lambda *file: self._uploads.take(*file))
        self._stage = Stage(self.parts, self.knobs, self._shelf)
        self.states = self._stage.states
        self.history = self._stage.history
        self._works = Works(net, crew, self._stage)
        self._uploads = Uploads(self._works)
        self._look_pictures = LookPictures(crew, self._stage, lambda: not self.is_alone)
        super().__init__([self.parts.box], **traits)
        self.add_class("dd-studio")
        self._listen()
        self.parts.strip.chosen = self.knobs["end"].value
        self._offer()
        self._follow_wishes()
        self._stage.show()

    def _listen(self) -> None:
        """Connect the widgets with what they do."""
        parts = self.parts
        for name, button in parts.buttons.items():
            button.on_click(lambda _, name=name: getattr(self, name)())
        for kind, button in parts.film_buttons.items():
            button.on_click(lambda _, kind=kind: self.film(kind))
        self.knobs.watch(self._react)
        for name, slider in parts.wishes.items():
            slider.observe(partial(self._grant, name), "value")
        parts.looks.on_msg(lambda _, look, __: self._choose_look(str(look)))
        parts.past.on_msg(lambda _, dream, __: self._stage.go_back(str(dream)))
        parts.strip.on_msg(lambda _, layer, __: self._choose(end=str(layer), objective=""))
        for things in (parts.search, parts.channels):
            things.on_msg(lambda _, thing, __: self._choose(objective=str(thing)))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """With a picture and a sentence for a saved notebook, which has no kernel."""
        bundle = super()._repr_mimebundle_(**options)
        data = base64.b64encode(self.parts.picture.before).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" width="320" alt="">'
        if isinstance(bundle, dict):
            bundle |= {"text/html": f"{image}<p>{SENTENCE}</p>", "text/plain": SENTENCE}
        return bundle

    # What is shown

    @property
    def result(self) -> Path | None:
        """The path of the dream that is shown; it lasts as long as the panel."""
        return self._stage.result

    @property
    def busy(self) -> bool:
        """Whether something is being made."""
        return self._stage.busy

    @property
    def thread(self) -> Thread | None:
        """The thread in which something is made; `thread.join()` waits for the end."""
        return self._works.thread

    def say(self, note: str) -> None:
        """Show a note to the person at the panel."""
        self._stage.say(note)

    # Knobs and settings

    def settings(self) -> Recipe:
        """The recipe of the knobs' dream; raises DreamError for a value not allowed."""
        return self.knobs.recipe()

    def restore(self, settings: Record) -> list[str]:
        """Turn the knobs to the settings of a picture, see `read_settings`; returns
        what is missing here for that.

        Raises DreamError, and turns none, where these are not the settings of a dream,
        or a knob has no such value.
        """
        return self._uploads.restore(settings)

    def turn(self, **values: object) -> None:
        """Turn knobs, by their names in Python, `turn(end='inception_3b/output',
        iter_n=20)`; all, or none where a DreamError is raised.
        """
        with self._stage.one_step():
            self.knobs.turn(**values)

    def _react(self, name: str) -> None:
        """What follows when a knob has been turned."""
        parts, stage = self.parts, self._stage
        image = self.knobs["image"].value
        if name in ("model", "end") and not stage.busy:
            parts.channels.items = []
        if name in ("model", "image") and not stage.busy:
            parts.strip.items = []  # they show another network, or picture
        is_other_noise = name == "seed" and not image
        if name in ("model", "image", "engine") or is_other_noise:
            self._offer()
        last = stage.states[-1]
        if name == "image" and not stage.busy:
            stage.go(Shown(image))
        elif name in ("seed", "width") and not (last.image or last.dream):
            stage.show()  # other noise
        parts.strip.chosen = self.knobs["end"].value
        if name in ("end", "objective", "guide"):
            parts.looks.chosen = ""  # `_choose_look` says it again
        self._follow_wishes()
        stage.show_command()

    def _follow_wishes(self) -> None:
        """Move the sliders to where the knobs are."""
        for name, slider in self.parts.wishes.items():
            slider.unobserve_all("value")
            slider.value = WISHES[name].place(self.knobs)
            slider.observe(partial(self._grant, name), "value")

    def _grant(self, name: str, change: dict[str, int]) -> None:
        """Turn the knobs to where a slider is."""
        values = WISHES[name].values
        self._choose(**values[min(max(0, change["new"]), len(values) - 1)])

    def _choose(self, **values: object) -> None:
        """Turn knobs, or say why not."""
        with self._stage.saying():
            self.turn(**values)

    def _choose_look(self, name: str) -> None:
        with self._stage.saying():
            self.turn(**self.knobs.values_of_look(name))
            self.parts.looks.chosen = name
            self.say("")

    def _offer(self) -> None:
        """Offer the looks of the network, and the things that it knows."""
        self._look_pictures.offer(self.knobs.model)
        self.parts.search.choices = _things(self.knobs)
        if self._is_page:
            self.show_looks()

    def show_looks(self) -> None:
        """Make the pictures of the looks that have none, while nobody else waits."""
        self._look_pictures.make()

    # Buttons

    def dream(self) -> None:
        """Dream the picture, in a thread; `thread.join()` waits for the end."""
        self._works.start(self._works.dream)

    def again(self) -> None:
        """Dream again, on the result."""
        if self.result and self.result.suffix == ".png":
            changes = {"image": self.result.name, "width": self.knobs["width"].value, "size": None}
            self._works.start(self._works.dream, self.states[-1].image, **changes)

    def tour(self) -> None:
        """Dream the picture, small, at some depths of the network, low to high."""
        self._works.start(self._works.tour)

    def show_channels(self) -> None:
        """Draw what the next channels of the layer see, each a thing to draw."""
        self._works.start(self._works.show_channels)

    def film(self, kind: str) -> None:
        """Make a film: 'zoom' or 'journey', or 'video' of one that was dropped."""
        self._works.start(partial(self._works.film, kind))

    def stop(self) -> None:
        """Stop after the step that is being made, and say so at once."""
        self._works.stop()

    def undo(self) -> None:
        """Go back to what was shown before."""
        self._stage.undo()

    def close(self) -> None:
        """End what is being made, and remove the folder of pictures."""
        self._stage.closing.set()
        self._works.stopping.set()
        self._shelf.folder.cleanup()
        super().close()


class Uploads:
    """What follows when a file is dropped on a panel."""

    def __init__(self, works: Works) -> None:
        self.works = works
        self.stage = works.stage
        self.knobs = works.stage.knobs
        self.shelf = works.stage.shelf

    def take(self, role: str, name: str, size: int, data: bytes | None) -> None:
        """Take a file that was dropped on the place for this role, a knob's name or
        'film'; of one that is too large, there are no data.
        """
        with self.stage.saying():
            is_film = has_film_name(name)
            if role == "film" or (is_film and role == "image"):
                self._take_film(name, size, data)
            elif is_film:
                raise DreamError(f"{name} is a film, and here is a place for a picture")
            elif role == "image" and self.stage.busy:
                cure = f"wait for it or stop it, then drop {name} again"
                raise DreamError(f"a dream is being made; {cure}")
            else:
                self._take_picture(role, self._keep(name, size, data))

    def _take_film(self, name: str, size: int, data: bytes | None) -> None:
        if not has_film_name(name):
            raise DreamError(f"{name} is no film; these are: {', '.join(FILM_SUFFIXES)}")
        self.shelf.film = self._keep(name, size, data)
        self.stage.say(f"{self.shelf.film} is here; now press My video.")

    def _keep(self, name: str, size: int, data: bytes | None) -> str:
        """Keep a file, once it was looked at; its name here."""
        if data is None:
            allowed = f"at most {MOST_SENT_BYTES >> 20} MB are allowed; make it smaller"
            raise DreamError(f"{name} has {size / 2**20:.0f} MB; {allowed}")
        kept = self.shelf.keep(name, data)
        if kept not in self.shelf.views:
            try:
                self.works.inspect(kept)
            except BaseException:
                self.shelf.remove(kept)
                raise
        return kept

    def _take_picture(self, role: str, name: str) -> None:
        self.knobs.offer_pictures(self.shelf.pictures())
        settings = self.shelf.views[name].settings
        if role == "image" and "deepdream" in settings:
            self._take_dream(name, settings)
        else:
            self._turn(**{role: name})
            self.stage.say("")

    def _take_dream(self, name: str, settings: Record) -> None:
        """Turn the knobs to the settings that a picture carries, or say why not."""
        try:
            with self.stage.one_step():
                missing = self.restore(settings)
                if any(what.startswith("the image") for what in missing):
                    self._turn(image=name)
                else:
                    command = self.knobs.command(from_record(settings))
                    self.stage.go(Shown(self.knobs["image"].value, name, command))
        except DreamError as error:
            self._turn(image=name)
            why = self.stage.explain(error)
            self.stage.say(f"{name} is used as a plain picture: {why}.")
            return
        lacks = f" Not available here: {', '.join(missing)}." if missing else ""
        self.stage.say(f"The knobs are set as they were for {name}.{lacks}")

    def restore(self, settings: Record) -> list[str]:
        """See `Studio.restore`."""
        is_dream = "deepdream" in settings and settings.get("command", "dream") == "dream"
        if not is_dream or "draw" in settings:
            what = "the settings of a dream of a picture, and only those have knobs here"
            raise DreamError(f"it does not carry {what}")
        digests = settings.get("sha256")

        def find(role: str, name: str) -> str | None:
            digest = digests.get(role) if isinstance(digests, dict) else None
            return self.shelf.find_same(name, digest)

        values, missing = self.knobs.values_of(from_record(settings), find)
        self._turn(**values)
        return missing

    def _turn(self, **values: object) -> None:
        with self.stage.one_step():
            self.knobs.turn(**values)


def _things(knobs: Knobs) -> list[list[str]]:
    """[its names, what names it alone] of each class that the network knows."""
    try:
        labels = knobs.net.labels if knobs.net else zoo.labels(knobs.model)
    except DreamError:
        return []
    names = [{name.strip().lower() for name in [text, *text.split(",")]} for text in labels]
    times = Counter(chain.from_iterable(names))
    things = []
    for i, text in enumerate(labels):
        first = text.split(",")[0]
        things.append([text, str(i) if times[first.lower()] > 1 else first])
    return things
