"""The crew of a page: so many tasks at once, each in a process of its own;
the others wait for their turn.

A process of its own for each task means that neither a crash nor its memory
is anybody else's: with the task, both end.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock
from typing import Any, TypeVar

from ..errors import DreamError
from .tasks import StoppedError, say_time

GRACE = 60  # seconds that a task may take to stop
SHORT = 0.5  # minutes that a task without a turn may take
WORK = 1e8  # pixels times steps: what a fast processor does in a minute
TOO_LATE = "it did not stop in time, and was ended; make it smaller"
LITTLE_MEMORY = ", perhaps because there was not enough memory; lower the width"
Task = Callable[..., Any]
Show = Callable[..., object]  # called with what a task reports
Waiting = Callable[[int], object]  # called with a place in the queue
T = TypeVar("T")


class Crew:
    """Workers, of which at most `at_once` are at work, each for at most so
    many minutes.

    most_work: pixels times steps that one task may take; None where there
    is no limit. looks: the small pictures that were made for the looks, for
    all panels.
    """

    def __init__(self, at_once: int, minutes: float | None = None) -> None:
        self.at_once = at_once
        self.minutes = minutes
        self.most_work = None if minutes is None else WORK * minutes
        self.waiting: list[object] = []  # tickets, in the order of their turn
        self.giving_way: list[object] = []  # tickets of tasks that let the others pass
        self.working: list[object] = []
        self.looks: dict[Hashable, bytes] = {}
        self._lock = Lock()
        self._short = BoundedSemaphore(2)
        self._context = _choose_context()

    def run(
        self,
        task: Callable[..., T],
        args: tuple,
        show: Show,
        stopping: Event,
        waiting: Waiting | None = None,
    ) -> T:
        """Have a task done when it is its turn, and return what it returns;
        raises what it raises.

        task: a function of a module, see tasks.py; `args`: what it takes
        after its report. show: called with what it reports. stopping: once
        it is set, the task is stopped. waiting: called several times a
        second with the place in the queue, from 1; a task without it gives
        way: it works only while nobody else waits.

        Raises StoppedError if it is stopped while it waits, and DreamError
        if its process dies.
        """
        gives_way = waiting is None

        def is_stopped() -> bool:
            return stopping.is_set() or (gives_way and bool(self.waiting))

        with self._turn(waiting, stopping):
            worker = Worker(self._context, self.at_once, task, args)
            return worker.finish(show, is_stopped, self.minutes, GRACE)

    def run_now(self, task: Callable[..., T], *args: object) -> T:
        """Have a task of at most 30 seconds done without a turn, two at a time."""
        with self._short:
            worker = Worker(self._context, self.at_once, task, args)
            return worker.finish(lambda **_: None, lambda: False, SHORT, 0)

    @contextmanager
    def _turn(self, waiting: Waiting | None, stopping: Event) -> Iterator[None]:
        """Wait for a turn, and have it while the block lasts."""
        ticket = object()
        queue = self.waiting if waiting else self.giving_way
        with self._lock:
            queue.append(ticket)
        try:
            while place := self._try(ticket, queue):
                if waiting:
                    waiting(place)
                if stopping.wait(0.3):
                    raise StoppedError
            yield
        finally:
            with self._lock:
                (self.working if ticket in self.working else queue).remove(ticket)

    def _try(self, ticket: object, queue: list[object]) -> int:
        """0 if it is this ticket's turn, which then begins, or else its place, 1..."""
        with self._lock:
            before = queue.index(ticket)
            if queue is self.giving_way:
                before += len(self.waiting)
            place = before + 1 - (self.at_once - len(self.working))
            if place <= 0:
                queue.remove(ticket)
                self.working.append(ticket)
            return max(0, place)


def _choose_context() -> ForkServerContext | SpawnContext:
    """How processes start: where that can be, from one that has imported all."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    modules = [__name__, "deepdream.films", "scipy.ndimage", "cv2"]
    if os.environ.get("DEEPDREAM_ENGINE") == "torch" and find_spec("torch"):
        modules.append("torch")
    context.set_forkserver_preload(modules)
    return context


class Worker:
    """A process that does one task."""

    def __init__(
        self, context: ForkServerContext | SpawnContext, at_once: int, task: Task, args: tuple
    ) -> None:
        self._pipe, there = context.Pipe()
        args = there, at_once, task, args
        self._process = context.Process(target=_work, args=args, daemon=True)
        self._process.start()
        there.close()
        self._stopped: float | None = None  # when it was told to stop

    def finish(
        self, show: Show, is_stopped: Callable[[], bool], minutes: float | None, grace: float
    ) -> Any:
        """What the task returns, after `show` was called with all that it
        reports; raises what the task raises, and DreamError if its process
        dies.

        It is stopped when that is wanted, or after so many minutes, and
        killed if it then takes longer than `grace` seconds.
        """
        try:
            kind, what = self._follow(show, is_stopped, minutes, grace)
        except (EOFError, ConnectionError):
            self._process.join(GRACE)
            code = self._process.exitcode
            memory = LITTLE_MEMORY if code == -9 else ""
            raise DreamError(f"the process that dreamt ended with {code}{memory}") from None
        finally:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        if kind == "failed":
            raise what
        return what

    def _follow(
        self, show: Show, is_stopped: Callable[[], bool], minutes: float | None, grace: float
    ) -> tuple[str, Any]:
        """("done", what the task returns) or ("failed", what it raises)."""
        ends = None if minutes is None else time.monotonic() + 60 * minutes
        while True:
            if self._pipe.poll(0.1):
                kind, what = self._pipe.recv()
                if kind != "report":
                    return kind, what
                show(**what)
            now = time.monotonic()
            is_late = ends is not None and now > ends
            if self._stopped is None and (is_late or is_stopped()):
                with suppress(ConnectionError):  # it has ended; its reports are still to be read
                    self._pipe.send("stop")
                self._stopped = now
                if is_late:
                    allowed = say_time(60 * (minutes or 0))
                    show(late=f", because only {allowed} are allowed here")
            if self._stopped is not None and now > self._stopped + grace:
                raise DreamError(TOO_LATE)


def _work(pipe: Connection, at_once: int, task: Task, args: tuple) -> None:
    """What a worker does: one task, and the end."""
    import psutil

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its workers
    if hasattr(os, "nice"):  # not on Windows
        os.nice(5)  # the page stays quick
    with suppress(OSError):  # on Linux: where memory is short, we end, and not the page
        Path("/proc/self/oom_score_adj").write_text("1000")
    memory = psutil.virtual_memory().available // 2 // at_once
    os.environ.setdefault("DEEPDREAM_MEMORY", str(memory))

    def report(**what: object) -> bool:
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
