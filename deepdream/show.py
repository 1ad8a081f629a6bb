"""Watch a dream grow: a progress bar, and a live view for notebooks."""

import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .dream import OnStep, Step
from .pictures import encode

if TYPE_CHECKING:
    from .train import Lesson

DREAM_LOOK = "{desc}{percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
FILM_LOOK = "{desc}{percentage:3.0f}%|{bar}| {n:.1f} of {total_fmt} frames, {rate_noinv_fmt}, "
ENCODING_LOOK = "{desc}{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} frames, "
UNKNOWN, KNOWN = (
    "{elapsed} elapsed",
    "{remaining} left, ready {eta:%a %H:%M}",
)  # when a film will be finished
TRAINING_LOOK = "{desc}{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} steps, {remaining} left"
LONGEST = 40  # characters of a layer or objective beside a film's bar


class _Bar:
    """A bar that its `with` block removes. tqdm: the class of the bar; without it, a
    bar on the terminal. disable: True shows no bar; None shows one only on a
    terminal."""

    begun_at = 0

    def __init__(self, tqdm: Any, disable: bool | None, **look: Any) -> None:
        if tqdm is None:
            from tqdm import tqdm

        self.bar = tqdm(**look, leave=False, disable=disable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_at(self, n: int) -> None:
        """Begin with what an earlier run has done: it took no time in this run, and
        must not count in its speed.
        """
        self.begun_at = self.bar.initial = self.bar.n = self.bar.last_print_n = n

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


class Progress(_Bar):
    """A bar with the time left, for a dream or for all frames of a film: `with
    Progress() as progress`.

    For a dream, give it as `on_step`. For a film, give it as `on_step` too, and to
    `make_film` its methods `on_frame` and `on_encode`.

    done: the share of the dream, or of the frame, that is done, 0..1. stopped: whether
    the dream was stopped before its end.
    """

    def __init__(
        self, frames: int | None = 0, tqdm: Any = None, disable: bool | None = None
    ) -> None:
        """frames: how many a film has, None if that is not known, 0 for a dream. tqdm,
        disable: see `_Bar`.
        """
        self.done, self.stopped = 0.0, False
        self.is_film, self._finished, self._look = (
            frames != 0,
            None,
            FILM_LOOK,
        )  # _finished: frames of the film
        if self.is_film:  # with smoothing, the time would jump with the speed of each step
            look = {
                "total": frames,
                "bar_format": FILM_LOOK + UNKNOWN,
                "unit": " frames",
                "ncols": 120,
                "smoothing": 0,
            }
        else:
            look = {"total": 1.0, "bar_format": DREAM_LOOK, "ncols": 100}
        super().__init__(tqdm, disable, **look)

    def __call__(self, step: Step) -> None:
        self.on_step(step)

    def on_step(self, step: Step) -> None:
        """Move the bar to where this step is."""
        self.done, self.stopped = step.done, step.stopped
        if self.is_film:
            label = step.end if len(step.end) <= LONGEST else f"{step.end[: LONGEST - 1]}…"
        else:
            label = f"octave {step.octave}, step {step.iteration}, {step.end}"
        self.bar.set_description_str(f"{label} ", refresh=False)
        self._move((self._finished or 0) + step.done)

    def on_frame(self, finished: int) -> None:
        """Move the bar to the number of frames that are finished; the first call gives
        those of an earlier run.
        """
        if self._finished is None:
            self.begin_at(finished)
        self._finished = finished
        self._move(finished)

    def on_encode(self, encoded: int, frames: int) -> None:
        """Begin again with a bar for encoding, and move it to the number of frames that
        are encoded.
        """
        if self._look != ENCODING_LOOK:
            self._look = ENCODING_LOOK
            self.bar.set_description_str("encoding ", refresh=False)
            self.begin_at(0)
            self.bar.bar_format = ENCODING_LOOK + UNKNOWN
            self.bar.reset(frames)
        self._move(encoded)

    def _move(self, n: float) -> None:
        """Move the bar; for a film, show when it will be done, as soon as that can be
        calculated.
        """
        if self.is_film:
            is_known = self.begun_at < n <= (self.bar.total or 0)
            self.bar.bar_format = self._look + (KNOWN if is_known else UNKNOWN)
        self.bar.update(n - self.bar.n)


class TrainingProgress(_Bar):
    """A bar for `train`, with the loss, the accuracy of the last steps, and the time
    left; give it as `on_step`.
    """

    def __init__(self, steps: int, tqdm: Any = None, disable: bool | None = None) -> None:
        """steps: of the whole training. tqdm, disable: see `_Bar`."""
        self.accuracy: float | None = None
        super().__init__(tqdm, disable, total=steps, bar_format=TRAINING_LOOK, ncols=100)

    def __call__(self, lesson: "Lesson") -> None:
        """Move the bar to this lesson."""
        if self.accuracy is None:
            self.begin_at(lesson.step - 1)
            self.accuracy = lesson.accuracy
        self.accuracy = 0.9 * self.accuracy + 0.1 * lesson.accuracy
        self.bar.set_description_str(
            f"loss {lesson.loss:.2f}, accuracy {self.accuracy:.0%} ", refresh=False
        )
        self.bar.update(lesson.step - self.bar.n)


def live_view(every: float = 0.2) -> OnStep:
    """An `on_step` for notebooks: a progress bar with the time left, and below it the
    picture as it changes.

    Both are drawn at most once in `every` seconds; at the end the finished picture
    replaces them. Make one for each dream.
    """
    import ipywidgets
    from IPython.display import Image, Pretty, clear_output, display
    from tqdm.notebook import tqdm

    progress = Progress(tqdm=tqdm, disable=False)
    picture = ipywidgets.Image(format="jpeg")
    display(picture)
    started, drawn = time.monotonic(), 0.0

    def on_step(step: Step) -> None:
        nonlocal drawn
        progress(step)
        now = time.monotonic()
        if step.done == 1 or step.stopped:
            # A notebook that is read later shows no widgets, but it shows a plain
            # picture.
            progress.close()
            picture.close()
            clear_output(wait=True)
            display(
                Pretty(f"{step.end}, {now - started:.1f} s"), Image(encode(step.image(), "jpeg"))
            )
        elif now - drawn >= every:
            picture.value = encode(step.image(), "jpeg")
            drawn = now

    return on_step


def showarray(a: np.ndarray, fmt: str = "jpeg") -> None:
    """Show an image (H, W, 3) in the notebook."""
    from IPython.display import Image, display

    display(Image(encode(a, fmt)))
