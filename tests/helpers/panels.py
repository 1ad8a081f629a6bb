"""The studio's panel without a browser: what a person does at it, and a crew's task."""

import threading
import time
from io import BytesIO

import pytest
from PIL import Image

for package in ("anywidget", "ipywidgets"):
    pytest.importorskip(package, reason=f"the studio needs {package}: pip install {package}")

KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"


def press(panel, button, *args):
    """Press, and wait until all is done; what the panel says then."""
    getattr(panel, button)(*args)
    panel.thread.join(300)
    assert not panel.busy and not panel.parts.picture.busy
    return panel.parts.picture.note


def until(condition):
    """Wait until this holds."""
    ends = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def click(strip, key):
    """Press a picture that is a button."""
    strip._handle_custom_msg(key, [])


def drop(panel, name, data, role="image"):
    """Drop a file; what the panel says then. Of a file that is too large, there are no
    data.
    """
    panel.parts.drops[role].on_file(name, len(data or b""), data)
    return panel.parts.picture.note


def choices(knob):
    return [value for _, value in knob.options]


def size_of(picture):
    """(width, height) of a JPEG."""
    return Image.open(BytesIO(picture)).size


class Job(threading.Thread):
    """A task that a crew is given: its places in the queue, what it reports, and in the
    end its answer.
    """

    def __init__(self, crew, task, *args, gives_way=False):
        super().__init__(daemon=True)
        self.crew, self.task, self.args, self.stopping = crew, task, args, threading.Event()
        self.places, self.reports, self.answer = [], {}, None
        self.waiting = None if gives_way else self.places.append
        self.start()

    def run(self):
        try:
            self.answer = self.crew.run(
                self.task, self.args, self.show, self.stopping, self.waiting
            )
        except Exception as error:
            self.answer = error

    def show(self, **what):
        self.reports |= what

    def ends(self):
        self.join(300)
        return self.answer
