"""The widgets of a panel, and where each of them stands."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import ipywidgets

from ..settings import File
from .knobs import ROWS, WISHES, Knobs, label
from .widgets import CopyLine, Drop, Fold, Help, PictureView, Search, Slider, Strip

BESIDE_PICTURE = "image", "width"  # knobs
BESIDE_CHANNELS = "show_channels"  # a button; the others are above the picture
Take = Callable[[str, str, int, bytes | None], None]  # role, name, size, data
Texts = Mapping[str, tuple[str, str]]  # {name: (what is on a button, its tooltip)}


class Parts:
    """The widgets of a panel; `box` has them all in their places.

    knobs: those of the panel. buttons, films: what is on the buttons, and
    on those for films. take: called with the role that a file was dropped
    for, a knob's name or 'film', and with the file's name, its size, and
    its bytes, if it is not too large.
    """

    def __init__(self, knobs: Knobs, buttons: Texts, films: Texts, take: Take) -> None:
        self.picture = PictureView()
        self.line = CopyLine()
        self.strip = Strip(label="The layer tour")
        self.looks = Strip(label="Looks")
        self.past = Strip(label="Your dreams", is_row=True)
        self.channels = Strip(label="Channels of the layer")
        self.search = Search(label="Find a thing to draw", hint="peacock")
        self.wishes = {
            name: Slider(label=wish.label, low=wish.low, high=wish.high, places=len(wish.values))
            for name, wish in WISHES.items()
        }
        self.buttons = _make_buttons(buttons)
        self.buttons["dream"].button_style = "primary"
        self.film_buttons = _make_buttons(films)
        self.seconds = ipywidgets.BoundedFloatText(
            value=4, min=0.5, max=600, step=0.5, description="Length (seconds)"
        )
        self.film_width = ipywidgets.BoundedIntText(
            value=320, min=16, max=1920, description="Width of the film"
        )
        self.drops = {name: _make_drop(name, take) for name in knobs if ROWS[name].kind is File}
        self.drops["film"] = Drop(partial(take, "film"), what="a film", accept="video/*")
        self.box = self._arrange(knobs)

    def enable(self, is_busy: bool, can_repeat: bool, can_undo: bool) -> None:
        """Enable the buttons that can be pressed now."""
        buttons = self.buttons | self.film_buttons
        disabled = dict.fromkeys(buttons, is_busy) | {
            "stop": not is_busy,
            "again": is_busy or not can_repeat,
            "undo": is_busy or not can_undo,
        }
        for name, button in buttons.items():
            button.disabled = disabled[name]

    # Where they stand

    def _arrange(self, knobs: Knobs) -> ipywidgets.VBox:
        above = [button for name, button in self.buttons.items() if name != BESIDE_CHANNELS]
        panes = {
            "dd-source": [self.drops["image"], *(knobs[name] for name in BESIDE_PICTURE)],
            "dd-looks": [self.looks],
            "dd-wishes": [
                _with_help("dd-knob", slider, slider.label, WISHES[name].help)
                for name, slider in self.wishes.items()
            ],
            "dd-result": [
                _box("dd-buttons", above),
                self.picture,
                self.past,
                self.strip,
                self._arrange_films(),
            ],
            "dd-controls": [self._arrange_knobs(knobs)],
            "dd-command": [self.line],
        }
        return _box("dd-panes", [_box(name, parts) for name, parts in panes.items()])

    def _arrange_films(self) -> ipywidgets.VBox:
        films = [
            Fold(label="Films"),
            _box("dd-knobs", [self.seconds, self.film_width]),
            self.drops["film"],
            _box("dd-buttons", self.film_buttons.values()),
        ]
        return _box("dd-films", films)

    def _arrange_knobs(self, knobs: Knobs) -> ipywidgets.VBox:
        parts = []
        for name, knob in knobs.items():
            if name in BESIDE_PICTURE:
                continue
            classes = "dd-knob dd-wide" if "dd-wide" in knob._dom_classes else "dd-knob"
            parts.append(_with_help(classes, knob, label(name), _sentence(ROWS[name].help)))
            if name in self.drops:
                parts.append(self.drops[name])
        more = [
            Fold(label="More knobs"),
            self.search,
            _box("dd-buttons", [self.buttons[BESIDE_CHANNELS]]),
            self.channels,
            _box("dd-knobs", parts),
        ]
        return _box("dd-more", more)


def _make_buttons(texts: Texts) -> dict[str, ipywidgets.Button]:
    return {
        name: ipywidgets.Button(description=text, tooltip=tip)
        for name, (text, tip) in texts.items()
    }


def _make_drop(name: str, take: Take) -> Drop:
    """The place to drop a picture for a knob."""
    is_image = name == "image"
    what = "a photograph" if is_image else f"a {name}"
    return Drop(partial(take, name), what=what, anywhere=is_image)


def _with_help(classes: str, widget: ipywidgets.Widget, name: str, text: str) -> ipywidgets.VBox:
    return _box(classes, [widget, Help(label=name, text=text)])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _box(classes: str, children: Iterable[ipywidgets.Widget]) -> ipywidgets.VBox:
    box = ipywidgets.VBox(list(children))
    for name in classes.split():
        box.add_class(name)
    return box
