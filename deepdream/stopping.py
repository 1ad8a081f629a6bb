"""Ctrl-C, and other ways to stop: a step is done whole or not at all."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """`on_step` has answered True: whoever handles Ctrl-C handles this, too."""


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
