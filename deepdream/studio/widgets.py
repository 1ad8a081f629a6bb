"""What ipywidgets lacks: places to drop a file, a picture before and after, pictures that are buttons, a line to copy.

Each is an anywidget whose view is in studio.js.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import anywidget
from traitlets import Bool, Bytes, Float, Int, List, Unicode

from ..dream import Step
from ..pictures import encode

HERE = Path(__file__).parent
MOST_BYTES = 20 * 2**20  # of a file that is dropped
EVERY = 0.2  # seconds from one live picture to the next

OnFile = Callable[[str, int, bytes | None], None]


class View(anywidget.AnyWidget):
    """One of the views in studio.js; `kind` says which."""

    _esm = HERE / "studio.js"
    _css = HERE / "studio.css"
    kind = Unicode().tag(sync=True)


class Drop(View):
    """A place to drop a file on, or to choose one with: calls `on_file(name, size, bytes)`, bytes None if too large."""

    kind = Unicode("drop").tag(sync=True)
    what = Unicode().tag(sync=True)
    most = Int(MOST_BYTES).tag(sync=True)
    anywhere = Bool(False).tag(sync=True)  # whether it also takes what is dropped elsewhere on the panel

    def __init__(self, on_file: OnFile, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_file, self.data = on_file, bytearray()
        self.on_msg(self._receive)

    def _receive(self, _: Any, about: dict[str, Any], pieces: list[bytes]) -> None:
        """Put a file together: it comes in pieces, because servers refuse large messages.

        Of a file that is too large, only its name and size come.
        """
        if about.get("at", 0) == 0:
            self.data = bytearray()
        for piece in pieces:
            self.data += piece
        size = max(about["size"], len(self.data))
        if size > MOST_BYTES or len(self.data) == size:
            self.on_file(about["name"], size, None if size > MOST_BYTES else bytes(self.data))
            self.data = bytearray()


class Picture(View):
    """The picture before and after, or as it dreams; the progress; a note; the result to download."""

    kind = Unicode("picture").tag(sync=True)
    before = Bytes().tag(sync=True)  # JPEG
    live = Bytes().tag(sync=True)  # JPEG
    after = Bytes().tag(sync=True)  # the file to download, which carries its settings
    name = Unicode().tag(sync=True)
    busy = Bool(False).tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    text = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)


class Strip(View):
    """Pictures that are buttons, {layer, says, picture (JPEG)}; sends the layer of the one that is pressed."""

    kind = Unicode("strip").tag(sync=True)
    stops = List().tag(sync=True)
    chosen = Unicode().tag(sync=True)

    def put(self, i: int, layer: str, says: str, picture: bytes) -> None:
        """Show this picture as the i-th, and the last."""
        self.stops = [*self.stops[:i], {"layer": layer, "says": says, "picture": picture}]


class Line(View):
    """A line of text to copy, and what it is for."""

    kind = Unicode("line").tag(sync=True)
    about = Unicode().tag(sync=True)
    text = Unicode().tag(sync=True)


@dataclass
class Watch:
    """The `on_step` of a dream on the panel: it shows the progress and the picture, and stops the dream after Stop.

    describe: says in words where a step is. show: called with the picture so far, a JPEG. number, of: which of so many
    dreams in a row this one is, from 0. began: when the first of them began. stopped: the share of the dream that was
    done when it was stopped; None if it was not.
    """

    picture: Picture
    stopping: Event
    describe: Callable[[Step], str]
    show: Callable[[bytes], None]
    number: int = 0
    of: int = 1
    began: float = field(default_factory=time.monotonic)
    stopped: float | None = None
    due: float = 0.0  # when to show the next picture

    def __call__(self, step: Step) -> bool:
        if step.stopped:
            self.stopped = step.done
            return True
        now, done = time.monotonic(), (self.number + step.done) / self.of
        with self.picture.hold_sync():
            self.picture.progress = done
            self.picture.text = f"{self.describe(step)}, {(now - self.began) * (1 / done - 1):.0f} s left"
        if now >= self.due:
            self.show(encode(step.image(), "jpeg"))
            self.due = now + max(EVERY, 10 * (time.monotonic() - now))  # large pictures take a while to encode
        return self.stopping.is_set()
