"""The page's server: Solara's virtual kernels, with a page and a guard of
ours before them.

Solara keeps the ipywidgets of each visitor apart in one process, and brings
the JavaScript that shows them. serve.py imports this module late, since
Solara is heavy.
"""

import asyncio
import logging
import secrets
import socket
import time
from asyncio import Transport
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from jupyter_core.paths import jupyter_path
from solara import lifecycle
from solara.server import kernel_context, settings
from solara.server.server import solara_static
from solara.server.starlette import kernel_connection
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# These come after Solara, which gives each thread its visitor
from .guard import (
    AWAY,
    COOKIE,
    HEADERS,
    RefusedError,
    Session,
    Sessions,
    Visit,
    is_own_name,
    is_same_origin,
    kind_of_visit,
)
from .panel import Studio
from .turns import Crew

MOST_MESSAGE = 3 * 2**20  # bytes; studio.js sends files in pieces of 1 MB
MOST_CONNECTIONS = 400  # of which one address may have half
PATIENCE = 60  # seconds from one request of a connection to the next
PING = 20  # seconds from one ping of a socket to the next
PONG = 40  # seconds within which it has to be answered
HERE = Path(__file__).parent
BUNDLE = "@widgetti/solara-vuetify3-app@5.1.1/dist"
REQUIRE = "requirejs@2.3.6/require.js"
LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Deep Dream</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26em;
margin: 20vh auto; padding: 0 16px }}
input, button {{ font: inherit; padding: 8px 12px }}</style>
<main><h1>Deep Dream</h1>{}</main></html>"""
FORM = """<form method="post" action="/login"><p><label>The token, which is at the end of
the address that `deepdream serve` has printed:<br>
<input name="token" type="password" required autofocus></label></p>
<p role="alert">{}</p><button>Come in</button></form>"""
EMBEDDED = "<p>This page cannot be part of another.</p>"
LINKED = '<p><a href="/">Open Deep Dream</a></p>'
FULL = "<p>Too many people are dreaming here; please come back later.</p>"


class Page:
    """The page's server: its `app`, and the visitors' panels."""

    def __init__(
        self, token: str | None, at_once: int, minutes: float, idle: float, folder: str
    ) -> None:
        logging.disable(logging.ERROR)  # Solara and Jupyter log what a visitor's browser gets wrong
        settings.kernel.cull_timeout = "1000d"  # `sweep` does that
        self.sessions = Sessions(token, self._close_panel, self._is_new)
        self.crew = Crew(at_once, minutes)
        self.idle = idle
        self.folder = folder
        self.panels: dict[str, Studio] = {}  # by kernel_id
        lifecycle.on_kernel_start(self._make_panel)
        self.app = Guarded(Starlette(routes=self._routes()), token)

    def _routes(self) -> list[Route | Mount | WebSocketRoute]:
        cdn = settings.assets.proxy_cache_dir  # where solara-assets has put its files
        extensions = (Path(path, "anywidget") for path in jupyter_path("nbextensions"))
        anywidget = next(path for path in extensions if path.exists())
        return [
            Route("/", self._show_page),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/here", self._say_here),
            WebSocketRoute("/api/kernels/mine/channels", self._connect),
            Route("/page.js", lambda _: FileResponse(HERE / "page.js")),
            Route("/require.js", lambda _: FileResponse(cdn / REQUIRE)),
            Mount("/bundle", StaticFiles(directory=cdn / BUNDLE)),
            Mount("/theme", StaticFiles(directory=Path(solara_static).parent / "assets")),
            Mount("/nbextensions/anywidget", StaticFiles(directory=anywidget)),
        ]

    # What can be asked for

    async def _show_page(self, request: Request) -> Response:
        visit = kind_of_visit(request.headers)
        cookie = request.cookies.get(COOKIE)
        if visit is Visit.EMBEDDED:
            return HTMLResponse(LOGIN.format(EMBEDDED), 403)
        token = request.query_params.get("token")
        if token is not None and self.sessions.token:
            return await self._check_token(request, token)
        if not self.sessions.is_allowed(cookie):
            return HTMLResponse(LOGIN.format(FORM.format("")))
        if visit is Visit.LINK:
            return HTMLResponse(LOGIN.format(LINKED))
        if request.query_params:
            return RedirectResponse("/", 303)
        if self.sessions.is_full(cookie):
            return HTMLResponse(LOGIN.format(FULL), 503)
        if cookie not in self.sessions.open and cookie not in self.sessions.logged_in:
            cookie = None
        cookie = cookie or secrets.token_urlsafe(24)
        self.sessions.expect(cookie)
        page = FileResponse(HERE / "page.html", headers={"Cache-Control": "no-store"})
        return _with_cookie(page, cookie)

    async def _log_in(self, request: Request) -> Response:
        if not is_same_origin(request.headers) and "origin" in request.headers:
            return PlainTextResponse("another site cannot log in here", 403)
        form = await request.form(max_files=0, max_fields=2)
        return await self._check_token(request, str(form.get("token")))

    async def _check_token(self, request: Request, token: str) -> Response:
        """Let in who knows the token, at the address without it."""
        address = request.client.host if request.client else ""
        if self.sessions.token and await self.sessions.check_token(address, token):
            return _with_cookie(RedirectResponse("/", 303), self.sessions.log_in())
        return HTMLResponse(LOGIN.format(FORM.format("That is not the token.")), 403)

    async def _say_here(self, request: Request) -> Response:
        """Whether the visitor's panel is still here: a page that lost it asks."""
        cookie = request.cookies.get(COOKIE)
        is_here = cookie in self.sessions.open or cookie in self.sessions.expected
        return Response(status_code=204 if is_here else 410)

    async def _connect(self, ws: WebSocket) -> None:
        """Connect a visitor's page to their panel, which is made if need be."""
        connected = None
        host = ws.headers.get("host", "")
        if is_own_name(host, self.sessions.token) and is_same_origin(ws.headers):
            connected = self.sessions.connect(ws.cookies.get(COOKIE))
        if connected is None:
            await ws.close()
            return
        session, number = connected
        panel = self.panels.get(session.kernel_id)
        if panel:  # one who comes back
            panel.is_alone = False
            panel.show_looks()
        ws._receive = Filtered(ws._receive, session)
        ws.scope["path_params"] = {"kernel_id": session.kernel_id, "name": "channels"}
        # Solara keeps each name that it has received
        ws.scope["query_string"] = f"session_id={number}".encode()
        try:
            with suppress(Exception):  # Solara's, about a connection that is gone
                await kernel_connection(ws)
        finally:
            self.sessions.disconnect(session, number)

    # Panels

    def _make_panel(self) -> Callable[[], None]:
        """Make the panel of the kernel that starts; returns what closes it."""
        kernel_id = kernel_context.get_current_context().id
        panel = Studio(
            crew=self.crew, folder=self.folder, model_id=f"studio-{secrets.token_hex(8)}"
        )
        panel.add_class("dd-page")
        self.panels[kernel_id] = panel

        def close() -> None:
            self.panels.pop(kernel_id, None)
            panel.close()

        return close

    def _close_panel(self, session: Session) -> None:
        context = kernel_context.contexts.get(session.kernel_id)
        if context:
            jupyter = context.kernel.session
            jupyter.close()  # first, or else what the visitor still sees would go with the widgets
            jupyter.websockets.clear()
            context.close()

    def _is_new(self, session: Session) -> bool:
        panel = self.panels.get(session.kernel_id)
        return panel is None or not (panel.busy or panel.history or len(panel.states) > 1)

    async def sweep(self) -> None:
        """Stop dreams whose visitors have gone; close panels that nobody uses."""
        while True:
            await asyncio.sleep(min(5.0, self.idle * 15))
            for cookie, session in list(self.sessions.open.items()):
                await self._look_after(cookie, session)

    async def _look_after(self, cookie: str, session: Session) -> None:
        now = time.monotonic()
        away = session.away_since
        panel = self.panels.get(session.kernel_id)
        if panel:
            panel.is_alone = away is not None
        if panel and panel.busy:
            session.last_used = now
            if away is not None and now - away > min(AWAY, 60 * self.idle):
                panel.stop()
        elif now - session.last_used > 60 * self.idle:
            with suppress(Exception):  # Solara's; the others' panels are closed all the same
                await asyncio.to_thread(self.sessions.end, cookie)

    def close(self) -> None:
        """Close all panels, and end what they do."""
        for cookie in list(self.sessions.open):
            self.sessions.end(cookie)


def _with_cookie(response: Response, cookie: str) -> Response:
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="lax")
    return response


class Guarded:
    """An app, behind a check of its host's name, and with our headers."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self.app
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not is_own_name(host, self.token):
                app = PlainTextResponse("this page has another name", 403)
        await app(scope, receive, send_with_headers)


class Filtered:
    """What a socket of this session receives, through the session's filter."""

    def __init__(self, receive: Callable[[], Awaitable[Message]], session: Session) -> None:
        self.receive = receive
        self.session = session

    async def __call__(self) -> Message:
        while True:
            message = await self.receive()
            if message["type"] != "websocket.receive":
                return message
            self.session.last_used = time.monotonic()
            kind = "text" if message.get("text") is not None else "bytes"
            try:
                clean = self.session.filter.clean(message[kind])
            except RefusedError:
                return {"type": "websocket.disconnect", "code": 1008}
            if clean is not None:
                message[kind] = clean
                return message


# The server


async def run(page: Page, listener: socket.socket, on_ready: Callable[[], object] | None) -> None:
    """Run the page's server until Ctrl-C."""
    config = uvicorn.Config(
        page.app,
        http=Http,
        ws=Socket,
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


async def _when_started(server: uvicorn.Server, on_ready: Callable[[], object] | None) -> None:
    while not server.started:
        await asyncio.sleep(0.05)
    if on_ready:
        on_ready()


class Http(H11Protocol):
    """Uvicorn's protocol, which would wait for ever for who sends nothing."""

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        clients = [getattr(each, "client", None) for each in list(self.connections)]
        theirs = sum(bool(client and address and client[0] == address[0]) for client in clients)
        if len(clients) > MOST_CONNECTIONS or theirs > MOST_CONNECTIONS // 2:
            transport.abort()
        self.loop.call_later(PATIENCE, self.check_patience, None)

    def check_patience(self, before: object) -> None:
        """End the connection if there was no new request since the last check."""
        if self.transport.get_protocol() is self and not self.transport.is_closing():
            if self.cycle is before:
                self.transport.abort()
            self.loop.call_later(PATIENCE, self.check_patience, self.cycle)


class Socket(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, which would wait for ever for who reads nothing."""

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()  # what was sent and is not read would keep it open
