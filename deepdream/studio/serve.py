"""The studio as a page in the browser, see page.py; here is what comes
before it: its packages, its address, and how it ends.
"""

import asyncio
import os
import secrets
import shlex
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from urllib.parse import quote

from ..errors import DreamError, install
from ..settings import check

SOLARA = "==1.58.2"  # its parts belong together, and so does the page that uses them
NEEDS = {
    "anywidget": "",
    "ipykernel": "",
    "ipywidgets": "",
    "python-multipart": "",
    "segno": "",
    "solara-assets": SOLARA,
    "solara-server": f"[starlette]{SOLARA}",
    "solara-ui": SOLARA,
    "starlette": "",
    "uvicorn": "",
    "websockets": "",
}
PORT, PORTS = 8866, 50  # the first to try, and how many


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    at_once: int | None = None,
    idle: float = 30.0,
    minutes: float = 10.0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the studio as a page until Ctrl-C.

    host: the address to listen on; any but this machine's own needs a
    `token`, which visitors have to know; one is made up if none is given.
    port: without it, 8866 or the next one that is free. at_once: how many
    visitors may dream at once; without it, half the cores. idle: minutes
    after which a panel that nobody uses is closed. minutes: the most that
    one dream or film may take. on_ready: called with the page's address,
    which includes the token.

    Raises DreamError if packages are missing, or an argument cannot be used.
    """
    _check_packages()
    values = {"host": host, "port": port, "token": token}
    values |= {"at_once": at_once, "idle": idle, "minutes": minutes}
    for name, value in values.items():
        check(name, value)
    listener = _listen(host, port)
    if not token and host not in ("127.0.0.1", "localhost", "::1"):
        token = secrets.token_urlsafe(16)
    at_once = _share_cores(at_once)
    # All pictures are in a folder that is gone with the server
    with TemporaryDirectory(prefix="deepdream-page-") as folder:
        page = _import_page(folder)
        url = _url(host, listener.getsockname()[1], token)
        ready = None if on_ready is None else lambda: on_ready(url)
        with suppress(KeyboardInterrupt), _end_as_ctrl_c():  # raised once it has ended well
            asyncio.run(page.run(page.Page(token, at_once, minutes, idle, folder), listener, ready))


def _check_packages() -> None:
    """Raise a DreamError for packages that are missing, or have another version."""
    missing = [
        shlex.quote(f"{name}{which}") for name, which in NEEDS.items() if not _is_there(name, which)
    ]
    if missing:
        raise DreamError(f"the page needs {', '.join(missing)}; {install(*missing)}")


def _is_there(package: str, which: str) -> bool:
    """Whether a package is installed, in the version that is needed."""
    try:
        return version(package) == (which.partition("==")[2] or version(package))
    except PackageNotFoundError:
        return False


def _share_cores(at_once: int | None) -> int:
    """How many may dream at once; each gets an equal share of the cores."""
    cores = os.cpu_count() or 1
    at_once = at_once or max(1, cores // 2)
    if at_once > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
    return at_once


def _import_page(folder: str):
    """The module page.py, which imports Solara, for which all is set first."""
    os.environ |= {
        "SOLARA_TELEMETRY_MIXPANEL_ENABLE": "false",
        "SOLARA_HOME": folder,
        "SOLARA_MODE": "production",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from . import page
    return page


@contextmanager
def _end_as_ctrl_c() -> Iterator[None]:
    """Whatever else ends this process is as Ctrl-C, so that no pictures stay behind."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if current_thread() is not main_thread():
        names = []
    numbers = [getattr(signal, name) for name in names]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


# The address


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens there; raises DreamError if that cannot be."""
    where = host if port is None else f"{host}, port {port}"
    fault: Exception | None = None
    for number in range(PORT, PORT + PORTS) if port is None else [port]:
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family, backlog=128)
        except (OSError, UnicodeError) as error:  # the name of a host can be too long
            fault = error
    why = str(getattr(fault, "strerror", "") or fault).partition(" (")[0]
    raise DreamError(f"cannot listen on {where}: {why}; use another address or port") from None


def _url(host: str, port: int, token: str | None) -> str:
    """The address to open, which others on the network can reach if they may."""
    if host in ("0.0.0.0", "::", ""):
        host = _own_address() or socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={quote(token)}" if token else "")


def _own_address() -> str | None:
    """This machine's address in the local network; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
        except OSError:
            return None
        return probe.getsockname()[0]
