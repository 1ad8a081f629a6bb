"""The studio as a page: Voilà with one notebook, studio.ipynb, and the queue of those who visit it."""

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from threading import Event

from .errors import DreamError, check_number

MOST_VISITORS = 24  # each has a process of 100 MB or more
POLICY = "; ".join((  # nothing is fetched from anywhere else, whatever Voilà's templates ask for
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'", "frame-ancestors 'self'",
))  # fmt: skip


def serve(host: str = "127.0.0.1", port: int | None = None, token: str | None = None, at_once: int | None = None,
          idle: float = 30.0, on_ready: Callable[[str], None] | None = None) -> None:  # fmt: skip
    """Serve the studio as a page, with Voilà, until Ctrl-C.

    host: an address other than this machine's own takes a `token` that visitors have to know; one is made up where none
    is given. port: 8866, or the next that is free. at_once: so many visitors dream at once, half the cores. idle: after
    so many minutes a page that nobody uses is let go. on_ready: hears the address, token and all.
    """
    missing = [name for name in ("voila", "anywidget", "ipykernel", "ipywidgets", "filelock") if not find_spec(name)]
    if missing:
        raise DreamError(f"the page needs {', '.join(missing)}; `pip install 'deepdream[studio]'` installs that")

    from jupyter_server import DEFAULT_STATIC_FILES_PATH
    from tornado.netutil import bind_sockets
    from traitlets.config import Config
    from voila.app import Voila

    class Page(Voila):
        def launch_browser(self):  # what it does once it listens
            name = gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
            on_ready(f"{self._url(name)}{f'?token={token}' if token else ''}")

    cores = os.cpu_count() or 1
    at_once = max(1, cores // 2) if at_once is None else at_once
    check_number("at_once", at_once, Integral, lambda n: n > 0, "a whole number above 0")
    check_number("idle", idle, Real, lambda x: 0 < x < 1e6, "a number of minutes above 0")
    check_number(
        "port", 8866 if port is None else port, Integral, lambda n: 0 < n < 2**16, "a whole number from 1 to 65535"
    )
    try:
        for socket in bind_sockets(port or 0, host):
            socket.close()
    except OSError as error:
        at = host if port is None else f"{host}, port {port}"
        raise DreamError(f"cannot listen on {at}: {error.strerror or error}; choose another address or port") from None
    if not token and host not in ("127.0.0.1", "localhost", "::1"):
        token = secrets.token_urlsafe(16)
    config = Config()
    config.Voila.update(ip=host, port=port or 8866, token=token or "", log_level="ERROR", open_browser=bool(on_ready))
    config.Voila.port_retries = 50 if port is None else 0
    config.Voila.tornado_settings = {
        "headers": {"Content-Security-Policy": POLICY},
        "static_path": DEFAULT_STATIC_FILES_PATH,  # for error pages
        "allow_remote_access": bool(token),  # without one, only by the name localhost: another site's may point here
        "disable_check_xsrf": True,  # or a page that is closed could not end its kernel, whose name no other site knows
    }
    config.VoilaConfiguration.update(file_allowlist=[], theme="light", show_tracebacks=False)
    config.MappingKernelManager.update(
        cull_idle_timeout=max(1, round(idle * 60)), cull_interval=max(1, min(30, round(idle * 15))), cull_connected=True
    )
    config.KernelRestarter.restart_limit = 0  # a kernel that crashed is gone, which studio.js notices
    if os.name == "posix":
        config.KernelManager.transport = "ipc"  # files of this user's; TCP ports would be open to all on this machine
    logging.getLogger("tornado").setLevel("ERROR")  # it has words for every page that went to sleep
    config.VoilaConfiguration.prelaunch_hook = _admit
    with TemporaryDirectory(prefix="deepdream-page-") as folder:  # pictures and tickets, gone with the server
        os.environ |= {"DEEPDREAM_PAGE": folder, "DEEPDREAM_AT_ONCE": str(at_once)}
        if at_once > 1:  # a fair share of the cores
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
        Page.launch_instance([str(Path(__file__).parent / "studio.ipynb")], config=config)


def _admit(request, notebook, cwd):
    """Voilà's hook before a visitor gets a kernel."""
    from tornado.web import HTTPError

    if len(request.settings["kernel_manager"].list_kernel_ids()) >= MOST_VISITORS:
        raise HTTPError(503, reason="Too many are dreaming here; come back in a while")


@contextmanager
def in_turn(waiting: Callable[[int], None], stopping: Event) -> Iterator[None]:
    """A place among those who may dream at once, on all the pages of one `serve`; elsewhere there is no queue.

    Each waits with a ticket, a file that its process holds locked, so that those of dead processes do not count.
    `waiting` hears the place in the queue, from 1. Raises KeyboardInterrupt once `stopping` is set.
    """
    if "DEEPDREAM_PAGE" not in os.environ:
        yield
        return
    from filelock import FileLock, Timeout

    folder, at_once = Path(os.environ["DEEPDREAM_PAGE"]), int(os.environ["DEEPDREAM_AT_ONCE"])

    def tickets():
        return sorted(int(path.suffix[1:]) for path in folder.glob("ticket.*"))

    def held(n):
        try:
            with FileLock(folder / f"ticket.{n}", timeout=0):
                (folder / f"ticket.{n}").unlink(missing_ok=True)
                return False
        except Timeout:
            return True

    with FileLock(folder / "door"):
        n = max(tickets(), default=0) + 1
        ticket = FileLock(folder / f"ticket.{n}")
        ticket.acquire()
    try:
        while (place := 1 + sum(map(held, (other for other in tickets() if other < n))) - at_once) > 0:
            waiting(place)
            if stopping.wait(0.3):
                raise KeyboardInterrupt
        yield
    finally:
        (folder / f"ticket.{n}").unlink(missing_ok=True)
        ticket.release()
