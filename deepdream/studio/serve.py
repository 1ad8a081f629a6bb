"""The studio as a page: Solara's virtual kernels, with a page and a guard of ours
before them.

Solara keeps the ipywidgets of each visitor apart in one process, and brings the
JavaScript that shows them. Voilà had a process of Jupyter's for each visitor, and with
it all that Jupyter's server can be asked for.
"""

import asyncio
import logging
import os
import secrets
import shlex
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from typing import Any
from urllib.parse import quote

from ..errors import DreamError, install
from ..settings import check
from .guard import (
    AWAY,
    COOKIE,
    HEADERS,
    House,
    RefusedError,
    Visitor,
    check_host,
    check_origin,
    is_visit,
)

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
MOST_MESSAGE = 3 * 2**20  # bytes; studio.js sends files in pieces of 1 MB
MOST_CONNECTIONS = 400  # of which one address may have half
PATIENCE = 60  # seconds from one request of a connection to the next, or else it is closed
PING, PONG = (
    20,
    40,
)  # seconds from one ping of a socket to the next, and within which it has to be answered
HERE = Path(__file__).parent
BUNDLE, REQUIRE = "@widgetti/solara-vuetify3-app@5.1.1/dist", "requirejs@2.3.6/require.js"
LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Deep Dream</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26em; margin: 20vh auto; padding: 0 16px }}
input, button {{ font: inherit; padding: 8px 12px }}</style><main><h1>Deep Dream</h1>{}</main></html>"""
FORM = """<form method="post" action="/login"><p><label>The token, which is at the end of the address that
`deepdream serve` has printed:<br><input name="token" type="password" required autofocus></label></p>
<p role="alert">{}</p><button>Come in</button></form>"""


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

    host: the address to listen on; any but this machine's own needs a `token`, which
    visitors have to know; one is made up if none is given. port: without it, 8866 or
    the next one that is free. at_once: how many visitors may dream at once; without it,
    half the cores. idle: minutes after which a panel that nobody uses is closed.
    minutes: the most that one dream or film may take. on_ready: called with the page's
    address, which includes the token.

    Raises DreamError if packages are missing, or an argument cannot be used.
    """
    missing = [
        shlex.quote(f"{name}{which}") for name, which in NEEDS.items() if not _is_there(name, which)
    ]
    if missing:
        raise DreamError(f"the page needs {', '.join(missing)}; {install(*missing)}")
    values = {
        "host": host,
        "port": port,
        "token": token,
        "at_once": at_once,
        "idle": idle,
        "minutes": minutes,
    }
    for name, value in values.items():
        check(name, value)
    listener = _listen(host, port)
    if not token and host not in ("127.0.0.1", "localhost", "::1"):
        token = secrets.token_urlsafe(16)
    cores = os.cpu_count() or 1
    at_once = at_once or max(1, cores // 2)
    if at_once > 1:  # each gets an equal share of the cores
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
    with TemporaryDirectory(
        prefix="deepdream-page-"
    ) as folder:  # all pictures, gone with the server
        os.environ |= {
            "SOLARA_TELEMETRY_MIXPANEL_ENABLE": "false",
            "SOLARA_HOME": folder,
            "SOLARA_MODE": "production",
        }
        url = _url(host, listener.getsockname()[1], token)
        with (
            suppress(KeyboardInterrupt),
            _interrupted(),
        ):  # the server raises it again once it has ended well
            asyncio.run(
                _serve(
                    listener,
                    Page(token, at_once, minutes, idle, folder),
                    lambda: on_ready and on_ready(url),
                )
            )


@contextmanager
def _interrupted() -> Iterator[None]:
    """Whatever else ends this process is as Ctrl-C here, so that the visitors' pictures
    do not stay behind.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if current_thread() is not main_thread():
        names = []
    before = {
        name: signal.signal(getattr(signal, name), signal.default_int_handler) for name in names
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _is_there(package: str, which: str) -> bool:
    """Whether a package is installed, in the version that is needed."""
    try:
        return version(package) == (which.partition("==")[2] or version(package))
    except PackageNotFoundError:
        return False


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens there; raises DreamError if that cannot be."""
    where = host if port is None else f"{host}, port {port}"
    reason: Exception | None = None
    for number in range(PORT, PORT + PORTS) if port is None else [port]:
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family, backlog=128)
        except (OSError, UnicodeError) as error:  # the name of a host can be too long
            reason = error
    why, advice = (
        str(getattr(reason, "strerror", "") or reason).partition(" (")[0],
        "use another address or port",
    )
    raise DreamError(f"cannot listen on {where}: {why}; {advice}") from None


def _url(host: str, port: int, token: str | None) -> str:
    """The address to open; of a server that listens on all addresses, the one that
    others on the network can reach.
    """
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


async def _serve(listener: socket.socket, page: "Page", on_ready: Callable[[], object]) -> None:
    """Run the server until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        page.app,
        **_protocols(),
        log_level="critical",
        access_log=False,
        server_header=False,
        ws_max_size=MOST_MESSAGE,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
        ws_ping_interval=PING,
        ws_ping_timeout=PONG,
    )
    server = uvicorn.Server(config)
    sweeper = asyncio.create_task(page.sweep())
    ready = asyncio.create_task(_when_started(server, on_ready))
    try:
        await server.serve(sockets=[listener])
    finally:
        sweeper.cancel()
        ready.cancel()
        page.close()


def _protocols() -> dict[str, Any]:
    """Uvicorn's protocols, with less patience: it would wait for ever for who says
    nothing, or reads nothing.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class Http(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            address, all_of_them = transport.get_extra_info("peername"), list[Any](self.connections)
            theirs = sum(
                bool(other.client and address and other.client[0] == address[0])
                for other in all_of_them
            )
            if len(all_of_them) > MOST_CONNECTIONS or theirs > MOST_CONNECTIONS // 2:
                transport.abort()
            self.loop.call_later(PATIENCE, self.look, None)

        def look(self, before: Any) -> None:
            """Cut off who has made no new request since we looked before."""
            if self.transport.get_protocol() is self and not self.transport.is_closing():
                if self.cycle is before:
                    self.transport.abort()
                self.loop.call_later(PATIENCE, self.look, self.cycle)

    class Socket(WebSocketsSansIOProtocol):
        def keepalive_timeout(self) -> None:
            super().keepalive_timeout()
            self.transport.abort()  # what was sent and is not read would keep it open

    return {"http": Http, "ws": Socket}


async def _when_started(server: Any, on_ready: Callable[[], object]) -> None:
    while not server.started:
        await asyncio.sleep(0.05)
    on_ready()


class Page:
    """The page's server: its `app`, and the visitors' panels."""

    def __init__(
        self, token: str | None, at_once: int, minutes: float, idle: float, folder: str
    ) -> None:
        logging.disable(logging.ERROR)  # Solara and Jupyter log what a visitor's browser gets wrong
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from solara import lifecycle
            from solara.server import kernel_context, settings
            from solara.server.starlette import kernel_connection

            from .turns import Crew  # after Solara, which gives each thread its visitor

        settings.kernel.cull_timeout = "1000d"  # `sweep` does that
        self.contexts, self.connect = kernel_context.contexts, kernel_connection
        self.cdn = settings.assets.proxy_cache_dir  # where solara-assets has put its files
        self.house = House(token, self._close_panel, self._is_new)
        self.crew, self.idle, self.folder = Crew(at_once, minutes), idle, folder
        self.panels: dict[str, Any] = {}  # {kernel_id: Studio}
        lifecycle.on_kernel_start(lambda: self._make_panel(kernel_context.get_current_context().id))
        self.app = self._make_app()

    def _make_app(self) -> Any:
        from jupyter_core.paths import jupyter_path
        from solara.server.server import solara_static
        from starlette.applications import Starlette
        from starlette.responses import FileResponse
        from starlette.routing import Mount, Route, WebSocketRoute
        from starlette.staticfiles import StaticFiles

        anywidget = next(
            Path(path, "anywidget")
            for path in jupyter_path("nbextensions")
            if Path(path, "anywidget").exists()
        )
        routes = [
            Route("/", self._show_page),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/here", self._say_here),
            WebSocketRoute("/api/kernels/mine/channels", self._connect),
            Route("/page.js", lambda _: FileResponse(HERE / "page.js")),
            Route("/require.js", lambda _: FileResponse(self.cdn / REQUIRE)),
            Mount("/bundle", StaticFiles(directory=self.cdn / BUNDLE)),
            Mount("/theme", StaticFiles(directory=Path(solara_static).parent / "assets")),
            Mount("/nbextensions/anywidget", StaticFiles(directory=anywidget)),
        ]
        return self._guarded(Starlette(routes=routes))

    def _guarded(self, app: Any) -> Any:
        """The app, behind what holds for every request: its host's name, and the
        headers of every answer.
        """
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            async def send_with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).update(HEADERS)
                await send(message)

            if scope["type"] == "http" and not check_host(
                Headers(scope=scope).get("host", ""), self.house.token
            ):
                await PlainTextResponse("this page has another name", 403)(
                    scope, receive, send_with_headers
                )
            else:
                await app(scope, receive, send_with_headers)

        return guarded

    # What can be asked for

    async def _show_page(self, request: Any) -> Any:
        from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

        visits, cookie = is_visit(request.headers), request.cookies.get(COOKIE)
        if visits is False:
            return HTMLResponse(LOGIN.format("<p>This page cannot be part of another.</p>"), 403)
        token = request.query_params.get("token")
        if token is not None and self.house.token:
            return await self._try(request, token)
        if not self.house.may_enter(cookie):
            return HTMLResponse(LOGIN.format(FORM.format("")))
        if visits is None:
            return HTMLResponse(LOGIN.format('<p><a href="/">Open Deep Dream</a></p>'))
        if request.query_params:
            return RedirectResponse("/", 303)
        if self.house.is_full(cookie):
            return HTMLResponse(
                LOGIN.format("<p>Too many people are dreaming here; please come back later.</p>"),
                503,
            )
        cookie = (
            cookie
            if cookie in self.house.visitors or cookie in self.house.known
            else secrets.token_urlsafe(24)
        )
        self.house.invite(cookie)
        return _with_cookie(
            FileResponse(HERE / "page.html", headers={"Cache-Control": "no-store"}), cookie
        )

    async def _log_in(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        if not check_origin(request.headers) and "origin" in request.headers:
            return PlainTextResponse("another site cannot log in here", 403)
        return await self._try(
            request, str((await request.form(max_files=0, max_fields=2)).get("token"))
        )

    async def _try(self, request: Any, token: str) -> Any:
        """Let in one who knows the token, at the address without it; the others get the
        form again.
        """
        from starlette.responses import HTMLResponse, RedirectResponse

        if self.house.token and await self.house.guess(request.client.host, token):
            return _with_cookie(RedirectResponse("/", 303), self.house.know())
        return HTMLResponse(LOGIN.format(FORM.format("That is not the token.")), 403)

    async def _say_here(self, request: Any) -> Any:
        """Whether the visitor's panel is still here; a page that lost its connection
        asks.
        """
        from starlette.responses import Response

        cookie = request.cookies.get(COOKIE)
        return Response(
            status_code=204
            if cookie in self.house.visitors or cookie in self.house.invited
            else 410
        )

    async def _connect(self, ws: Any) -> None:
        """Connect a visitor's page to their panel, which is made if need be."""
        admitted = None
        if check_host(ws.headers.get("host", ""), self.house.token) and check_origin(ws.headers):
            admitted = self.house.admit(ws.cookies.get(COOKIE))
        if admitted is None:
            await ws.close()
            return
        visitor, page = admitted
        panel = self.panels.get(visitor.kernel_id)
        if panel:  # one who comes back
            panel.is_alone = False
            panel.show_looks()
        hear = ws._receive

        async def receive() -> Any:
            while True:
                message = await hear()
                if message["type"] != "websocket.receive":
                    return message
                visitor.used = time.monotonic()
                what = "text" if message.get("text") is not None else "bytes"
                try:
                    heard = visitor.ear.hear(message[what])
                except RefusedError:
                    return {"type": "websocket.disconnect", "code": 1008}
                if heard is not None:
                    return message | {what: heard}

        ws._receive = receive
        ws.scope["path_params"] = {"kernel_id": visitor.kernel_id, "name": "channels"}
        ws.scope["query_string"] = (
            f"session_id={page}".encode()
        )  # Solara keeps all that it has heard of
        try:
            with suppress(Exception):  # Solara's, about a connection that is gone
                await self.connect(ws)
        finally:
            self.house.hang_up(visitor, page)

    # Panels

    def _make_panel(self, kernel_id: str) -> Callable[[], None]:
        from .panel import Studio

        panel = self.panels[kernel_id] = Studio(
            crew=self.crew, folder=self.folder, model_id=f"studio-{secrets.token_hex(8)}"
        )

        def close() -> None:
            self.panels.pop(kernel_id, None)
            panel.close()

        return close

    def _close_panel(self, visitor: Visitor) -> None:
        context = self.contexts.get(visitor.kernel_id)
        if context:
            session = context.kernel.session
            session.close()  # first, for the widgets would take what the visitor still sees with them
            session.websockets.clear()
            context.close()

    def _is_new(self, visitor: Visitor) -> bool:
        panel = self.panels.get(visitor.kernel_id)
        return panel is None or not (panel.busy or panel.history or len(panel.states) > 1)

    async def sweep(self) -> None:
        """From time to time, stop the dreams of visitors who have gone, and close
        panels that nobody uses.
        """
        while True:
            await asyncio.sleep(min(5.0, self.idle * 15))
            now = time.monotonic()
            for cookie, visitor in list(self.house.visitors.items()):
                panel = self.panels.get(visitor.kernel_id)
                if panel:
                    panel.is_alone = visitor.gone is not None
                if panel and panel.busy:
                    visitor.used = now
                    if visitor.gone is not None and now - visitor.gone > min(AWAY, 60 * self.idle):
                        panel.stop()
                elif now - visitor.used > 60 * self.idle:
                    with suppress(
                        Exception
                    ):  # Solara's; the others' panels are to be closed all the same
                        await asyncio.to_thread(self.house.leave, cookie)

    def close(self) -> None:
        """Close all panels, and end what they do."""
        for cookie in list(self.house.visitors):
            self.house.leave(cookie)


def _with_cookie(response: Any, cookie: str) -> Any:
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="lax")
    return response
