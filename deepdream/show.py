"""Watch a dream grow: a progress bar, and a live view for notebooks.

In a notebook both are plain HTML, without widgets: it looks the same in JupyterLab,
Notebook and VS Code, and in a notebook that was saved.
"""

import math
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .dream import OnStep, Step
from .errors import DreamError, reason
from .pictures import encode
from .stopping import find_notebook

if TYPE_CHECKING:
    from IPython.display import HTML, DisplayHandle, Image
    from tqdm import tqdm

    from .train import Lesson

Tqdm = Callable[..., Any]  # tqdm's class of a bar, or one like it
BAR = "{desc}{percentage:3.0f}%|{bar}| "
DREAM = BAR + "{elapsed} elapsed, {remaining} left"
FILM = BAR + "{n:.1f} of {total_fmt} frames, {rate_noinv_fmt}, "
ENCODING = BAR + "{n_fmt} of {total_fmt} frames, "
TRAINING = BAR + "{n_fmt} of {total_fmt} steps, {remaining} left"
# How FILM and ENCODING end before and after it is known when the film will be finished
UNKNOWN = "{elapsed} elapsed"
KNOWN = "{remaining} left, ready {eta:%a %H:%M}"
FILM_KINDS = {".gif": "image/gif", ".mp4": "video/mp4", ".webm": "video/webm"}
MOST_LABEL = 40  # characters of a layer or objective beside a film's bar


class _Bar:
    """A bar that its `with` block removes. tqdm: its class; without it, one
    for the terminal, or for the notebook. disable: True shows no bar; None
    shows one only on a terminal, and in a notebook.
    """

    begun_at = 0

    def __init__(self, tqdm: Tqdm | None, disable: bool | None, ncols: int, **look: Any) -> None:
        if tqdm is None and find_notebook():
            tqdm, disable = _make_notebook_bar, bool(disable)
        elif tqdm is None:
            from tqdm import tqdm as terminal_bar

            tqdm = partial(terminal_bar, ncols=ncols)
        self.bar = tqdm(**look, leave=False, disable=disable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def begin_at(self, n: int) -> None:
        """Begin with an earlier run's share, which does not count in the speed."""
        self.begun_at = n
        self.bar.initial = self.bar.n = self.bar.last_print_n = n

    def move(self, n: float, label: str = "") -> None:
        """Move the bar to n, with a label before it."""
        if label:
            self.bar.set_description_str(f"{label} ", refresh=False)
        self.bar.update(n - self.bar.n)


class Progress(_Bar):
    """A bar with the time left, for a dream or a film: `with Progress() as
    progress`. Give it as `on_step`; to `make_film`, its methods `on_frame`
    and `on_encode`, too.
    """

    def __init__(
        self, frames: int | None = 0, tqdm: Tqdm | None = None, disable: bool | None = None
    ) -> None:
        """frames: of a film, None if not known; 0 for a dream. Others: see `_Bar`."""
        self.done = 0.0  # share of the dream, or of the frame
        self.stopped = False  # before the end
        self.is_film = frames != 0
        self._finished: int | None = None  # frames of the film
        self._look = FILM
        if not self.is_film:
            super().__init__(tqdm, disable, total=1.0, bar_format=DREAM, ncols=100)
            return
        look = {"bar_format": FILM + UNKNOWN, "unit": " frames", "ncols": 120}
        # with smoothing, the time would jump with the speed of each step
        super().__init__(tqdm, disable, total=frames, smoothing=0, **look)

    def __call__(self, step: Step) -> None:
        """Move the bar to where this step is."""
        self.done = step.done
        self.stopped = step.stopped
        label = f"octave {step.octave}, step {step.iteration}, {step.end}"
        if self.is_film:
            label = step.end
            if len(label) > MOST_LABEL:
                label = f"{label[: MOST_LABEL - 1]}…"
        self.move((self._finished or 0) + step.done, label)

    def on_frame(self, finished: int) -> None:
        """Move the bar to the finished frames, at first those of an earlier run."""
        if self._finished is None:
            self.begin_at(finished)
        self._finished = finished
        self.move(finished)

    def on_encode(self, encoded: int, frames: int) -> None:
        """Begin again with a bar for encoding, and move it to the frames encoded."""
        if self._look != ENCODING:
            self._look = ENCODING
            self.begin_at(0)
            self.bar.bar_format = ENCODING + UNKNOWN
            self.bar.set_description_str("encoding ", refresh=False)
            self.bar.reset(frames)
        self.move(encoded)

    def move(self, n: float, label: str = "") -> None:
        """Move the bar; for a film, show when it will be done, where that is known."""
        if self.is_film:
            is_known = self.begun_at < n <= (self.bar.total or 0)
            self.bar.bar_format = self._look + (KNOWN if is_known else UNKNOWN)
        super().move(n, label)


class TrainingProgress(_Bar):
    """A bar with loss, accuracy and the time left: give it to `train` as `on_step`."""

    def __init__(self, steps: int, tqdm: Tqdm | None = None, disable: bool | None = None) -> None:
        """steps: of the whole training. tqdm, disable: see `_Bar`."""
        self.accuracy: float | None = None
        super().__init__(tqdm, disable, total=steps, bar_format=TRAINING, ncols=100)

    def __call__(self, lesson: "Lesson") -> None:
        """Move the bar to this lesson."""
        if self.accuracy is None:
            self.begin_at(lesson.step - 1)
            self.accuracy = lesson.accuracy
        self.accuracy = 0.9 * self.accuracy + 0.1 * lesson.accuracy
        self.move(lesson.step, f"loss {lesson.loss:.2f}, accuracy {self.accuracy:.0%}")


def live_view(every: float = 0.2) -> OnStep:
    """An `on_step` for one dream in a notebook: the picture as it grows,
    drawn once in `every` seconds, and a line below it, with the time left
    and the value of the objective. What it shows stays when other cells, or
    other dreams of the same cell, show theirs.
    """
    return _LiveView(every)


class _LiveView:
    """A picture that changes, and a line below it, each in a place of its own."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.started = time.monotonic()
        self.drawn = -math.inf
        self.picture = _show_html("")
        self.line = _show_html(_bar_html(0, "", "begins"))

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        seconds = now - self.started
        if step.done == 1 or step.stopped:
            self.end(step, seconds)
        elif now - self.drawn >= self.every:
            self.drawn = now
            self.picture.update(_html(_image_html(step)))
            self.line.update(_html(_line_html(step, seconds)))

    def end(self, step: Step, seconds: float) -> None:
        """Leave a plain picture, and a plain line."""
        from IPython.display import Pretty

        how = f"stopped at {step.done:.0%}" if step.stopped else f"{seconds:.1f} s"
        alt = f"a dream of {step.end}"
        self.picture.update(as_image(step.image(), alt=alt))
        self.line.update(Pretty(f"{step.end}, {how}{_value_text(step)}"))


def _value_text(step: Step) -> str:
    return "" if math.isnan(step.value) else f", objective {step.value:.4g}"


def _line_html(step: Step, seconds: float) -> str:
    """Where a dream is, in words and as a bar."""
    left = seconds / step.done * (1 - step.done) if step.done else 0
    at = f"octave {step.octave}, step {step.iteration}{_value_text(step)}"
    text = f"{step.end}: {at}; {seconds:.0f} s, {left:.0f} s left"
    return _bar_html(step.done, "", text)


def _image_html(step: Step) -> str:
    """The picture as it is, at the size that it will have."""
    data = b64encode(encode(step.image(), "jpeg")).decode()
    size = ""
    if step.size:
        h, w = step.size
        size = f"width: {w}px; aspect-ratio: {w} / {h}; "
    style = f"{size}max-width: 100%; display: block"
    return f'<img src="data:image/jpeg;base64,{data}" style="{style}" alt="a dream that grows">'


def _bar_html(share: float, before: str, after: str) -> str:
    """A thin bar above its text, in the colours of the page, light or dark."""
    done = f"width: {share:.1%}; height: 100%; background: #8a63d2; border-radius: 2px"
    whole = "max-width: 480px; height: 4px; background: #8884; border-radius: 2px"
    text = ", ".join(filter(None, (before.strip(), after.strip())))
    bar = f'<div style="{whole}"><div style="{done}"></div></div>'
    words = f'<div style="font-variant-numeric: tabular-nums">{escape(text)}</div>'
    return f'<div style="padding: 4px 0; font-size: 90%">{bar}{words}</div>'


def _html(text: str) -> "HTML":
    from IPython.display import HTML

    return HTML(text or "<div></div>")


def _show_html(text: str) -> "DisplayHandle":
    """A place below the cell for this, and for what comes after it."""
    from IPython.display import DisplayHandle

    place = DisplayHandle()
    place.display(_html(text))
    return place


def _make_notebook_bar(**look: Any) -> "tqdm":
    """tqdm's bar, drawn as plain HTML."""
    from tqdm import tqdm

    class NotebookBar(tqdm):
        """tqdm counts; only `display` is ours."""

        place: "DisplayHandle | None" = None

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            about = self.format_dict
            about["bar_format"] = about["bar_format"].replace("{bar}", "<bar/>")
            about["ncols"] = None
            before, after = self.format_meter(**about).split("<bar/>", 1)
            share = self.n / self.total if self.total else 0
            html = _bar_html(min(1.0, share), before.strip(" |"), after.strip(" |"))
            if self.place:
                self.place.update(_html(html))
            else:
                self.place = _show_html(html)

        def close(self) -> None:
            super().close()
            if self.place:
                self.place.update(_html(""))

    bar = NotebookBar(**look, gui=True)
    bar.refresh()
    return bar


def as_image(a: np.ndarray, fmt: str = "jpeg", alt: str = "") -> "Image":
    """An image (H, W, 3), RGB, 0..255, as IPython displays it. alt: in words."""
    from IPython.display import Image

    alt = alt or "a picture of {1} x {0} pixels".format(*np.shape(a))
    return Image(encode(a, fmt), format=fmt, alt=alt)


def show_film(path: str | Path, alt: str = "") -> None:
    """Show a .gif, .mp4 or .webm in the notebook, which keeps it when it is saved.
    alt: in words. Raises DreamError for another file, or none.
    """
    from IPython.display import display

    path = Path(path)
    kind = FILM_KINDS.get(path.suffix.lower())
    if not kind:
        allowed = f"a film's name ends in {', '.join(FILM_KINDS)}"
        raise DreamError(f"cannot show {path}: {allowed}")
    try:
        data = b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise DreamError(f"cannot read the film {path}: {reason(error)}") from None
    source = f'src="data:{kind};base64,{data}" style="max-width: 100%"'
    words = escape(alt or f"the film {path.name}")
    html = f'<img {source} alt="{words}">'
    if kind != "image/gif":
        html = f'<video {source} controls loop muted autoplay aria-label="{words}"></video>'
    display(_html(html))


def showarray(a: np.ndarray, fmt: str = "jpeg", alt: str = "") -> None:
    """Show an image (H, W, 3), RGB, 0..255, in the notebook. alt: in words."""
    from IPython.display import display

    display(as_image(a, fmt, alt))
