"""The queue: only so many visitors of a page dream at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

PAGE, AT_ONCE = "DEEPDREAM_PAGE", "DEEPDREAM_AT_ONCE"  # environment: the page's folder; how many may dream at once


class StoppedError(Exception):
    """Stop was pressed before there was a picture."""


@contextmanager
def in_turn(waiting: Callable[[int], None], stopping: Event) -> Iterator[None]:
    """Wait for one's turn among all visitors of the same page; outside a page, there is no queue.

    Each waits with a ticket, a file that its process keeps locked, so that the tickets of dead processes do not count.
    waiting: called several times a second with the place in the queue, from 1. Raises StoppedError once `stopping` is
    set.
    """
    if PAGE not in os.environ:
        yield
        return
    from filelock import FileLock

    folder, at_once = Path(os.environ[PAGE]), int(os.environ[AT_ONCE])
    with FileLock(folder / "door"):
        number = max(_tickets(folder), default=0) + 1
        ticket = FileLock(folder / f"ticket.{number}")
        ticket.acquire()
    try:
        place = _count_before(folder, number) + 1 - at_once
        while place > 0:
            waiting(place)
            if stopping.wait(0.3):
                raise StoppedError
            place = _count_before(folder, number) + 1 - at_once
        yield
    finally:
        (folder / f"ticket.{number}").unlink(missing_ok=True)
        ticket.release()


def _tickets(folder: Path) -> list[int]:
    """The numbers of all tickets, in order."""
    return sorted(int(path.suffix[1:]) for path in folder.glob("ticket.*"))


def _count_before(folder: Path, number: int) -> int:
    """How many living processes hold a ticket with a lower number."""
    return sum(_is_held(folder / f"ticket.{other}") for other in _tickets(folder) if other < number)


def _is_held(ticket: Path) -> bool:
    """Whether a living process holds this ticket; one that nobody holds is removed."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(ticket, timeout=0):
            ticket.unlink(missing_ok=True)
            return False
    except Timeout:
        return True
