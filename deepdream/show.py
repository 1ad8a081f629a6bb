"""Watch a dream grow: a progress bar, and a live view for notebooks."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .dream import OnStep, Step
from .pictures import encode

if TYPE_CHECKING:
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
MOST_LABEL = 40  # characters of a layer or objective beside a film's bar


class _Bar:
    """A bar that its `with` block removes. tqdm: its class; without it, one
    for the terminal. disable: True shows no bar; None shows one only on a
    terminal.
    """

    begun_at = 0

    def __init__(self, tqdm: Tqdm | None, disable: bool | None, **look: Any) -> None:
        if tqdm is None:
            from tqdm import tqdm

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
    """An `on_step` for one dream in a notebook: a progress bar with the
    time left, and below it the picture, drawn once in `every` seconds; at
    the end, the picture alone.
    """
    return _LiveView(every)


class _LiveView:
    """A progress bar and a picture that changes, below a notebook's cell."""

    def __init__(self, every: float) -> None:
        import ipywidgets
        from IPython.display import display
        from tqdm.notebook import tqdm

        self.every = every
        self.progress = Progress(tqdm=tqdm, disable=False)
        self.picture = ipywidgets.Image(format="jpeg")
        display(self.picture)
        self.started = time.monotonic()
        self.drawn = 0.0

    def __call__(self, step: Step) -> None:
        self.progress(step)
        now = time.monotonic()
        if step.done == 1 or step.stopped:
            self.end(step, now - self.started)
        elif now - self.drawn >= self.every:
            self.picture.value = encode(step.image(), "jpeg")
            self.drawn = now

    def end(self, step: Step, seconds: float) -> None:
        """Replace the widgets by a plain picture, which a saved notebook shows, too."""
        from IPython.display import Image, Pretty, clear_output, display

        self.progress.bar.close()
        self.picture.close()
        clear_output(wait=True)
        display(Pretty(f"{step.end}, {seconds:.1f} s"), Image(encode(step.image(), "jpeg")))


def showarray(a: np.ndarray, fmt: str = "jpeg") -> None:
    """Show an image (H, W, 3), RGB, 0..255, in the notebook."""
    from IPython.display import Image, display

    display(Image(encode(a, fmt)))
