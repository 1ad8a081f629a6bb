"""What ipywidgets lacks: places to drop a file, the stage, pictures that
are buttons, help, a fold, a line to copy.

Each is an anywidget whose view is in studio.js.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bool, Bytes, Float, Int, List, Unicode

HERE = Path(__file__).parent
MOST_SENT_BYTES = 20 * 2**20  # of a file that is dropped
# Of a photograph; the browser makes larger ones smaller before it sends them
MOST_SENT_PIXELS = 16_000_000
OnFile = Callable[[str, int, bytes | None], None]


class StudioWidget(anywidget.AnyWidget):
    """One of the views in studio.js; `kind` says which."""

    _esm = HERE / "studio.js"
    _css = HERE / "studio.css"
    kind = Unicode().tag(sync=True)


class Drop(StudioWidget):
    """A place to drop a file on, or to choose one with: calls
    `on_file(name, size, bytes)`, bytes None if too large.
    """

    kind = Unicode("drop").tag(sync=True)
    what = Unicode().tag(sync=True)
    most = Int(MOST_SENT_BYTES).tag(sync=True)
    most_pixels = Int(MOST_SENT_PIXELS).tag(sync=True)
    # What the browser offers to choose
    accept = Unicode("image/*,.heic,.heif,.avif").tag(sync=True)
    # Whether it also takes what is dropped elsewhere on the panel
    anywhere = Bool(False).tag(sync=True)

    def __init__(self, on_file: OnFile, **traits: object) -> None:
        super().__init__(**traits)
        self.on_file = on_file
        self.data = bytearray()
        self.on_msg(self._receive)

    def _receive(self, _: object, about: dict[str, Any], pieces: list[bytes]) -> None:
        """Put a file together: it comes in pieces, because servers refuse
        large messages.

        Of a file that is too large, only its name and size come.
        """
        if about.get("at", 0) == 0:
            self.data = bytearray()
        for piece in pieces:
            self.data += piece
        size = max(about["size"], len(self.data))
        is_too_large = size > MOST_SENT_BYTES
        if is_too_large or len(self.data) == size:
            self.on_file(about["name"], size, None if is_too_large else bytes(self.data))
            self.data = bytearray()


class PictureView(StudioWidget):
    """The stage: a picture before, after, and as it dreams; progress; a note."""

    kind = Unicode("picture").tag(sync=True)
    before = Bytes().tag(sync=True)  # JPEG
    live = Bytes().tag(sync=True)  # JPEG
    after = Bytes().tag(sync=True)  # the file to download: a PNG, or a film
    mime = Unicode("image/png").tag(sync=True)  # of `after`; a video/mp4 plays in place
    name = Unicode().tag(sync=True)  # of `after`, for who downloads it
    unsaved = Bool(False).tag(sync=True)  # the page asks before it is left
    busy = Bool(False).tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    text = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)


class Strip(StudioWidget):
    """Pictures that are buttons, [{key, title, says, picture (JPEG)}];
    sends the key of the one that is pressed.

    Of an item whose picture is still to be made, `picture` is empty.
    """

    kind = Unicode("strip").tag(sync=True)
    label = Unicode().tag(sync=True)  # what they are, as a heading
    items = List().tag(sync=True)
    chosen = Unicode().tag(sync=True)  # a key
    is_row = Bool(False).tag(sync=True)  # one row to scroll, not a grid

    def put(self, key: str, title: str, says: str, picture: bytes) -> None:
        """Show this picture for its key, in its place or as the last."""
        item = {"key": key, "title": title, "says": says, "picture": picture}
        keys = [item["key"] for item in self.items]
        i = keys.index(key) if key in keys else len(keys)
        self.items = [*self.items[:i], item, *self.items[i + 1 :]]


class Help(StudioWidget):
    """A question mark beside a knob; a press opens what the knob does, below it."""

    kind = Unicode("help").tag(sync=True)
    label = Unicode().tag(sync=True)  # of the knob
    text = Unicode().tag(sync=True)


class Fold(StudioWidget):
    """A button that shows and hides what follows it in its box, as `is_open` says."""

    kind = Unicode("fold").tag(sync=True)
    label = Unicode().tag(sync=True)
    is_open = Bool(False).tag(sync=True)


class Slider(StudioWidget):
    """A slider of so many places, from 0, with words at its ends."""

    kind = Unicode("slider").tag(sync=True)
    label = Unicode().tag(sync=True)
    low = Unicode().tag(sync=True)
    high = Unicode().tag(sync=True)
    places = Int().tag(sync=True)
    value = Int().tag(sync=True)


class Search(StudioWidget):
    """A field to find one of `choices` [[name, key], ...]; sends the key."""

    kind = Unicode("search").tag(sync=True)
    label = Unicode().tag(sync=True)
    hint = Unicode().tag(sync=True)  # in the empty field
    choices = List().tag(sync=True)


class CopyLine(StudioWidget):
    """A line of text to copy, and what it is for."""

    kind = Unicode("line").tag(sync=True)
    about = Unicode().tag(sync=True)
    text = Unicode().tag(sync=True)
