"""The crew of a page: so many tasks at once, each in a process of its own; the others
wait for their turn.

A process of its own for each task means that neither a crash nor its memory is anybody
else's: with the task, both end.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock
from typing import Any

from ..errors import DreamError
from .tasks import StoppedError, say_time

GRACE = 60  # seconds that a task may take to stop
Show = Callable[..., object]  # called with what a task reports


class Crew:
    """Workers, of which at most `at_once` are at work, each for at most so many
    minutes.

    most_work: pixels times steps that one task may take; None where there is no limit.
    """

    def __init__(self, at_once: int, minutes: float | None = None) -> None:
        self.at_once, self.minutes = at_once, minutes
        self.most_work = (
            None if minutes is None else 1e8 * minutes
        )  # what a fast processor does in that time
        self.waiting: list[object] = []  # tickets, in the order of their turn
        self.giving_way: list[object] = []  # tickets of tasks that let the others pass
        self.working: list[object] = []
        self.looks: dict[Any, bytes] = {}  # the small pictures that were made for the looks
        self.lock, self.short = Lock(), BoundedSemaphore(2)
        way = (
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )  # Windows
        self.context: Any = multiprocessing.get_context(way)
        if way == "forkserver":
            engine = (
                ["torch"]
                if os.environ.get("DEEPDREAM_ENGINE") == "torch" and find_spec("torch")
                else []
            )
            self.context.set_forkserver_preload(
                [__name__, "deepdream.films", "scipy.ndimage", "cv2", *engine]
            )

    def run(
        self,
        task: Callable[..., Any],
        args: tuple,
        show: Show,
        stopping: Event,
        waiting: Callable[[int], object] | None = None,
    ) -> Any:
        """Have a task done when it is its turn, and return what it returns; raises what
        it raises.

        task: a function of a module, see tasks.py; `args`: what it takes after its
        report. show: called with what it reports. stopping: once it is set, the task is
        stopped. waiting: called several times a second with the place in the queue,
        from 1; a task without it gives way: it works only while nobody else waits.

        Raises StoppedError if it is stopped while it waits, and DreamError if its
        process dies.
        """
        gives_way = waiting is None
        with self._turn(waiting, stopping, gives_way):
            return self._watch(
                task,
                args,
                show,
                lambda: stopping.is_set() or (gives_way and bool(self.waiting)),
                self.minutes,
            )

    def run_now(self, task: Callable[..., Any], *args: Any) -> Any:
        """Have a short task done without a turn, two at a time; a DreamError if it
        takes longer than 30 seconds.
        """
        with self.short:
            return self._watch(task, args, lambda **_: None, lambda: False, 0.5, grace=0)

    @contextmanager
    def _turn(
        self, waiting: Callable[[int], object] | None, stopping: Event, gives_way: bool
    ) -> Iterator[None]:
        ticket, queue = object(), self.giving_way if gives_way else self.waiting
        with self.lock:
            queue.append(ticket)
        try:
            while True:
                with self.lock:
                    place = queue.index(ticket) + (len(self.waiting) if gives_way else 0)
                    free = self.at_once - len(self.working)
                    if place < free:
                        queue.remove(ticket)
                        self.working.append(ticket)
                        break
                if waiting:
                    waiting(place + 1 - free)
                if stopping.wait(0.3):
                    raise StoppedError
            yield
        finally:
            with self.lock:
                (self.working if ticket in self.working else queue).remove(ticket)

    def _watch(
        self,
        task: Callable[..., Any],
        args: tuple,
        show: Show,
        is_stopped: Callable[[], bool],
        minutes: float | None,
        grace: float | None = None,
    ) -> Any:
        """Start a process, pass on what it reports, and stop it where that is wanted,
        or after its time.
        """
        here, there = self.context.Pipe()
        worker = self.context.Process(
            target=_work, args=(there, self.at_once, task, args), daemon=True
        )
        worker.start()
        there.close()
        ends, is_told = None if minutes is None else time.monotonic() + 60 * minutes, None
        try:
            while True:
                if here.poll(0.1):
                    kind, what = here.recv()
                    if kind != "report":
                        break
                    show(**what)
                now = time.monotonic()
                is_late = ends is not None and now > ends
                if is_told is None and (is_late or is_stopped()):
                    with suppress(
                        ConnectionError
                    ):  # it has ended; what it has said is still to be read
                        here.send("stop")
                    is_told = now
                    if is_late:
                        show(
                            late=f", because only {say_time(60 * (minutes or 0))} are allowed here"
                        )
                if is_told is not None and now > is_told + (GRACE if grace is None else grace):
                    raise DreamError("it did not stop in time, and was ended; make it smaller")
        except (EOFError, ConnectionError):
            worker.join(GRACE)
            memory = (
                ", perhaps because there was not enough memory; lower the width"
                if worker.exitcode == -9
                else ""
            )
            raise DreamError(
                f"the process that dreamt ended with {worker.exitcode}{memory}"
            ) from None
        finally:
            worker.kill()
            worker.join()
            here.close()
        if kind == "failed":
            raise what
        return what


def _work(pipe: Any, at_once: int, task: Callable[..., Any], args: tuple) -> None:
    """What a worker does: one task, and the end."""
    import psutil

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its workers
    if hasattr(os, "nice"):  # not on Windows
        os.nice(5)  # the page stays quick
    with suppress(OSError):  # on Linux: where memory is short, we end, and not the page
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.environ.setdefault(
        "DEEPDREAM_MEMORY", str(psutil.virtual_memory().available // 2 // at_once)
    )

    def report(**what: Any) -> bool:
        if what:
            pipe.send(("report", what))
        return pipe.poll()

    try:
        answer = "done", task(report, *args)
    except Exception as error:
        answer = "failed", error
    try:
        pipe.send(answer)
    except BrokenPipeError:
        pass  # the server is gone
    except Exception:  # what cannot be sent as it is
        pipe.send(("failed", RuntimeError(repr(answer[1]))))
