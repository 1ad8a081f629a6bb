"""The studio as a page: Voilà with one notebook, studio.ipynb."""

import logging
import os
import secrets
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import DreamError
from ..recipe import check
from .turns import AT_ONCE, PAGE

NEEDS = "voila", "anywidget", "ipykernel", "ipywidgets", "filelock"
PORT = 8866
MOST_VISITORS = 24  # each has a process of 100 MB or more
POLICY = "; ".join((  # nothing is fetched from anywhere else, whatever Voilà's templates ask for
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'", "frame-ancestors 'self'",
))  # fmt: skip


def serve(host: str = "127.0.0.1", port: int | None = None, token: str | None = None, at_once: int | None = None,
          idle: float = 30.0, on_ready: Callable[[str], None] | None = None) -> None:  # fmt: skip
    """Serve the studio as a page, with Voilà, until Ctrl-C.

    host: the address to listen on; any but this machine's own needs a `token`, which visitors have to know; one is made
    up if none is given. port: without it, 8866 or the next one that is free. at_once: how many visitors may dream at
    once; without it, half the cores. idle: minutes after which a page that nobody uses is closed. on_ready: called with
    the page's address, which includes the token.

    Raises DreamError if packages are missing, or an argument cannot be used.
    """
    missing = [name for name in NEEDS if not find_spec(name)]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise DreamError(f"the page needs {', '.join(missing)}; `pip install {' '.join(missing)}` installs {them}")
    for name, value in {"host": host, "port": port, "token": token, "at_once": at_once, "idle": idle}.items():
        check(name, value)
    _check_address(host, port)
    if not token and host not in ("127.0.0.1", "localhost", "::1"):
        token = secrets.token_urlsafe(16)
    cores = os.cpu_count() or 1
    at_once = at_once or max(1, cores // 2)
    config = _configure(host, port, token, idle)
    config.Voila.open_browser = on_ready is not None
    logging.getLogger("tornado").setLevel("ERROR")  # it warns about every page that is closed
    with TemporaryDirectory(prefix="deepdream-page-") as folder:  # pictures and tickets, gone with the server
        os.environ |= {PAGE: folder, AT_ONCE: str(at_once)}
        if at_once > 1:  # each gets an equal share of the cores
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
        _make_page(host, token, on_ready).launch_instance([str(Path(__file__).parent / "studio.ipynb")], config=config)


def _check_address(host: str, port: int | None) -> None:
    """Raise a DreamError unless the page can listen there."""
    from tornado.netutil import bind_sockets

    try:
        for socket in bind_sockets(port or 0, host):
            socket.close()
    except OSError as error:
        where = host if port is None else f"{host}, port {port}"
        raise DreamError(f"cannot listen on {where}: {error.strerror or error}; use another address or port") from None


def _configure(host: str, port: int | None, token: str | None, idle: float) -> Any:
    """Voilà's configuration."""
    from jupyter_server import DEFAULT_STATIC_FILES_PATH
    from traitlets.config import Config

    config: Any = Config()
    config.Voila.update(ip=host, port=port or PORT, token=token or "", log_level="ERROR")
    config.Voila.port_retries = 50 if port is None else 0
    config.Voila.tornado_settings = {
        "headers": {"Content-Security-Policy": POLICY},
        "static_path": DEFAULT_STATIC_FILES_PATH,  # for error pages
        "allow_remote_access": bool(token),  # without one, only by the name localhost: another site's may point here
        "disable_check_xsrf": True,  # or a page that is closed could not end its kernel, whose name no other site knows
    }
    config.VoilaConfiguration.update(file_allowlist=[], theme="light", show_tracebacks=False, prelaunch_hook=_admit)
    config.MappingKernelManager.update(
        cull_idle_timeout=max(1, round(idle * 60)), cull_interval=max(1, min(30, round(idle * 15))), cull_connected=True
    )
    config.KernelRestarter.restart_limit = 0  # a kernel that crashed is gone, which studio.js notices
    if os.name == "posix":
        config.KernelManager.transport = "ipc"  # files of this user's; TCP ports would be open to all on this machine
    return config


def _make_page(host: str, token: str | None, on_ready: Callable[[str], None] | None) -> Any:
    """Voilà's application, which calls `on_ready` in the place where others open a browser."""
    from tornado.ioloop import IOLoop
    from voila.app import Voila

    class Page(Voila):
        def launch_browser(self) -> None:  # called once it listens
            name = gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
            url = f"{self._url(name)}{f'?token={token}' if token else ''}"
            if on_ready:
                # From inside the loop that runs next: before it does, nothing would handle a Ctrl-C.
                IOLoop.current().add_callback(on_ready, url)

    return Page


def _admit(request: Any, notebook: Any, cwd: Any) -> None:
    """Voilà calls this before a visitor gets a kernel."""
    from tornado.web import HTTPError

    if len(request.settings["kernel_manager"].list_kernel_ids()) >= MOST_VISITORS:
        raise HTTPError(503, reason="Too many people are dreaming here; please come back later")
