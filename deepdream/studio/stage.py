"""What a panel shows, what it showed before, and what it says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple

from ..errors import DreamError, out_of_memory
from ..films import read_film
from ..nets import download, zoo
from ..pictures import encode, load_image, make_noise
from ..recipe import from_record
from ..settings import size_of
from .knobs import Knobs, label, noise_size
from .layout import Parts
from .shelf import MOST_SHOWN, Record, Shelf, has_film_name, widest
from .tasks import StoppedError

THUMB = 160  # pixels: the width of a picture in the history
MOST_PAST = 48  # dreams in the history
KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"


class Shown(NamedTuple):
    """What the panel shows, or showed before: `undo` goes back to it."""

    image: str  # the name of the picture; '' is noise
    dream: str = ""  # the name of what was dreamt of it
    command: str = ""  # the command that makes this dream
    about: str = PICTURE_LINE  # what that command is for


class Stage:
    """The picture of a panel, its history, its command, and its notes.

    states: what was shown, one after another; the last one is shown now.
    history: {name of a dream: what it was}. late: why the work was stopped,
    if its time was over. closing: set when the panel is closed.
    """

    def __init__(self, parts: Parts, knobs: Knobs, shelf: Shelf) -> None:
        self.parts = parts
        self.knobs = knobs
        self.shelf = shelf
        self.states = [Shown(knobs["image"].value)]
        self.history: dict[str, Shown] = {}
        self.late = ""
        self.closing = Event()

    @property
    def busy(self) -> bool:
        """Whether something is being made."""
        return self.parts.picture.busy

    @property
    def result(self) -> Path | None:
        """The path of the dream that is shown."""
        return self.shelf.files.get(self.states[-1].dream)

    # Pictures

    def show(self) -> None:
        """Show the last of the states."""
        shown, result = self.states[-1], self.result
        picture = self.parts.picture
        is_film = result is not None and has_film_name(result.name)
        before = self.shelf.view(shown.image).jpeg if shown.image else self._noise()
        with picture.hold_sync():
            picture.before = before
            picture.after = result.read_bytes() if result else b""
            picture.mime = "video/mp4" if is_film else "image/png"
            picture.live = b""
            picture.name = shown.dream
        self.parts.past.chosen = shown.dream
        if shown.command:
            self._show_line(shown.command, shown.about)
        else:
            self.show_command()
        self.enable_buttons()

    def _noise(self) -> bytes:
        width = min(self.knobs["width"].value, widest(9, 16, MOST_SHOWN))
        return encode(make_noise(size_of(noise_size(width)), self.knobs["seed"].value), "jpeg")

    def enable_buttons(self) -> None:
        """Enable the buttons that can be pressed now."""
        self.knobs["image"].disabled = self.busy
        is_picture = self.result is not None and self.result.suffix == ".png"
        self.parts.enable(self.busy, is_picture, len(self.states) > 1)

    def go(self, to: Shown) -> None:
        """Show a picture, and what was dreamt of it; `undo` comes back from there."""
        last = self.states[-1]
        if (to.image, to.dream) != (last.image, last.dream):
            self.states.append(to)
            self.show()

    def go_back(self, name: str) -> None:
        """Show a dream of the history again, unless something is being made."""
        if name in self.history and not self.busy:
            self.go(self.history[name])

    def undo(self) -> None:
        """Go back to what was shown before."""
        last = len(self.states) - 1
        if last > 0 and not self.busy:
            self.knobs["image"].value = self.states[last - 1].image
            del self.states[last:]  # turning the knob has added one
            self.show()

    @contextmanager
    def one_step(self) -> Iterator[None]:
        """All that is shown in this block is one step for `undo`; nothing
        of it stays where the block fails.
        """
        before = len(self.states)
        try:
            yield
        except (DreamError, OSError):
            del self.states[before:]
            self.show()
            raise
        del self.states[before:-1]

    def keep(self, source: str, out: Path, carried: Record) -> None:
        """Show what was made of a picture, and keep it in the history."""
        is_film = has_film_name(out.name)
        past = self.parts.past
        self.shelf.files[out.name] = out
        if not is_film:
            self.knobs.offer_pictures(self.shelf.pictures())
        stopped = carried.get("stopped_at")
        about = PICTURE_LINE if stopped is None else f"{PICTURE_LINE}, had it not been stopped"
        command = self.knobs.command(from_record(carried), f"dream{out.suffix}")
        self.history[out.name] = Shown(source, out.name, command, about)
        small = next(read_film(out, width=THUMB)) if is_film else load_image(out, THUMB)
        past.items = past.items[-(MOST_PAST - 1) :]
        past.put(out.name, out.stem, "", encode(small, "jpeg"))
        self.go(self.history[out.name])
        self.parts.picture.unsaved = True
        if stopped is not None:
            what = "film" if is_film else "picture"
            self.say(f"Stopped at {stopped:.0%}{self.late}; this is the {what} so far.")

    # The command

    def show_command(self) -> None:
        """Show the command for these knobs, or why there is none."""
        was_wrong = not self.parts.line.text
        try:
            command = self.knobs.command(self.knobs.recipe())
        except DreamError as error:
            command = ""
            self.say(f"{self.explain(error)}.")
        else:
            if was_wrong or not self.busy:  # the note about the knobs before no longer holds
                self.say("")
        self._show_line(command, KNOBS_LINE)

    def _show_line(self, text: str, about: str) -> None:
        with self.parts.line.hold_sync():
            self.parts.line.text = text
            self.parts.line.about = about

    # Notes

    def say(self, note: str) -> None:
        """Show a note to the person at the panel."""
        self.parts.picture.note = note

    def explain(self, error: DreamError) -> str:
        """An error in words for the panel: labels of settings, names of pictures."""
        text = error.named(label(error.setting or ""))
        return text.replace(f"{self.shelf.folder.name}{os.sep}", "")

    @contextmanager
    def saying(self, quietly: bool = False) -> Iterator[None]:
        """What goes wrong becomes a note on the panel; quietly, it does not."""
        try:
            yield
        except (DreamError, StoppedError) as error:
            if not quietly:
                self._say_error(error)
        except Exception as error:
            if self.closing.is_set():  # its folder is gone, so whatever it did must fail
                return
            if not out_of_memory(error):
                self.say(f"Something went wrong here: {error!r}.")
                raise  # to the log
            self.say("There is not enough memory; lower the width.")

    def _say_error(self, error: DreamError | StoppedError) -> None:
        if isinstance(error, StoppedError):
            self.say(f"Stopped{self.late}.")
        elif isinstance(error, download.NoWeightsError):
            self.knobs.turn(model=zoo.FALLBACK)
            chosen = f"{zoo.FALLBACK} is chosen now, so press the button again"
            self.say(f"{self.explain(error)}; {chosen}.")
        else:
            self.say(f"{self.explain(error)}.")
