"""Ctrl-C, and other ways to stop: a step is done whole or not at all.

In a notebook, a call that is interrupted returns what it has made so far, and what
would follow does not run: neither the next call in the cell, nor the cells that wait.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

EVENT = "post_run_cell"  # of IPython


class Stopped(KeyboardInterrupt):
    """`on_step` has answered True: whoever handles Ctrl-C handles this, too."""


class Interrupted(KeyboardInterrupt):
    """A person has stopped something; a notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"Stopped{self}"]


@contextmanager
def delay_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is None:
        yield  # only the main thread receives Ctrl-C; None: not Python handles it
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def end_cell(stop: KeyboardInterrupt) -> None:
    """After Ctrl-C in a notebook: let neither this cell nor the next make more."""
    shell = find_notebook()
    if shell and not isinstance(stop, Stopped) and not _find_end(shell):
        shell.events.register(EVENT, _End(shell))


def check_cell() -> None:
    """Raise Interrupted if something in this cell was stopped before."""
    shell = find_notebook()
    if shell and _find_end(shell):
        raise Interrupted("; what follows in this cell is not made")


def find_notebook() -> "InteractiveShell | None":
    """IPython's shell, if this thread runs the cells of a notebook; else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    is_main = threading.current_thread() is threading.main_thread()
    return shell if is_main and hasattr(shell, "kernel") else None


class _End:
    """Lets a cell that was stopped count as failed, so that no other follows it."""

    def __init__(self, shell: "InteractiveShell") -> None:
        self.shell = shell

    def __call__(self, result: "ExecutionResult") -> None:
        self.shell.events.unregister(EVENT, self)
        if result.success:
            result.error_in_exec = Interrupted("; the cells that wait do not run")


def _find_end(shell: "InteractiveShell") -> bool:
    return any(isinstance(each, _End) for each in shell.events.callbacks[EVENT])
