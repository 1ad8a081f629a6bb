"""Who may come in, and what a visitor's browser may say: all that reaches
the page's server passes through here.

A session is a cookie. It has one panel, in one of Solara's virtual kernels,
which is made when the visitor's page connects, and found again when they
come back. No request before that makes a panel, so no other website can
fill the server.
"""

import asyncio
import hmac
import json
import secrets
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

COOKIE = "solara-session-id"  # its name is Solara's
MOST_SESSIONS = 24
MOST_SOCKETS = 4  # of one session
MOST_BUFFERS = 8  # of one message
MOST_TEXT = 4000  # bytes of one message, without its buffers
MOST_NAME = 100  # letters of the name of a comm, or of what a header holds
CONNECT_WITHIN = 120  # seconds that a page may take to connect
# Seconds without a connection after which a visitor's dream is stopped, and
# their place may be given away
AWAY = 60
MOST_LOGGED_IN = 10_000  # cookies of those who gave the token
PAUSE = 1.0  # seconds after a wrong token
MESSAGES = "comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request"
# The second would run other apps, and gets nothing
TARGETS = "jupyter.widget.control", "solara.control"
# What a browser may set of widgets: no limits of knobs, for example
TRAITS = "value", "index", "is_open", "unsaved", "note"
BURST, RATE = 300, 60  # messages: at once, and a second
STATES = 40  # requests for the state of all widgets, and comms for that, in a burst
STATES_RATE = 0.2  # of these, a second
# What a message's header holds
HEADER = "msg_id", "msg_type", "session", "username", "version", "date"
LOCAL = "127.0.0.1", "localhost", "[::1]"
HEADERS = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' "
    "'unsafe-eval'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
Message = dict[str, Any]  # of Jupyter's protocol


class RefusedError(Exception):
    """What a browser has sent is not allowed."""


# Sessions


@dataclass
class Session:
    """One visitor, known by a cookie. `kernel_id` never leaves the server."""

    kernel_id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    # Names for sockets, those not in use
    free_sockets: list[int] = field(default_factory=lambda: list(range(MOST_SOCKETS)))
    last_used: float = field(default_factory=time.monotonic)
    away_since: float | None = None  # since when it has no connection
    filter: "MessageFilter" = field(default_factory=lambda: MessageFilter())


class Sessions:
    """The sessions of a page, by their cookies.

    token: what a visitor has to know; None lets in everyone who reaches
    this machine by its own name. close: called with a session whose panel
    is to be closed. is_new: whether a session's panel holds nothing that
    its visitor would miss; once they have gone, such a session does not
    keep its place when others want to come in.
    """

    def __init__(
        self,
        token: str | None,
        close: Callable[[Session], object],
        is_new: Callable[[Session], bool],
    ) -> None:
        self.token = token
        self.close = close
        self.is_new = is_new
        self.open: dict[str, Session] = {}
        self.expected: dict[str, float] = {}  # {cookie: when its page was sent}
        self.logged_in: dict[str, None] = {}  # cookies, the oldest first
        self._guessing: dict[str, asyncio.Lock] = {}  # by address

    def is_allowed(self, cookie: str | None) -> bool:
        return self.token is None or cookie in self.logged_in

    def is_full(self, cookie: str | None) -> bool:
        """Whether there is no place for this cookie, nor one to give away."""
        is_crowded = len(self.open) >= MOST_SESSIONS
        return cookie not in self.open and is_crowded and not self._away()

    def expect(self, cookie: str) -> None:
        """Expect the page that was sent with this cookie to connect."""
        now = time.monotonic()
        sent = self.expected.items()
        self.expected = {other: at for other, at in sent if now - at < CONNECT_WITHIN}
        self.expected[cookie] = now

    def log_in(self) -> str:
        """A cookie for one who gave the token."""
        cookie = secrets.token_urlsafe(24)
        self.logged_in[cookie] = None
        if len(self.logged_in) > MOST_LOGGED_IN:
            del self.logged_in[next(iter(self.logged_in))]
        return cookie

    def connect(self, cookie: str | None) -> tuple[Session, int] | None:
        """(the session of this cookie, a name for one socket more); None
        for a visitor who may not come in, or has no place.

        Nothing is awaited between counting and letting in, so that many at
        once are counted one after another.
        """
        if cookie is None or not self.is_allowed(cookie) or self.is_full(cookie):
            return None
        if cookie not in self.open:
            if self.expected.pop(cookie, None) is None:
                return None
            if len(self.open) >= MOST_SESSIONS:
                self.end(self._away()[0])
            self.open[cookie] = Session()
        session = self.open[cookie]
        if not session.free_sockets:
            return None
        session.away_since = None
        session.last_used = time.monotonic()
        return session, session.free_sockets.pop()

    def disconnect(self, session: Session, socket: int) -> None:
        """Note that this socket of a session has closed."""
        session.free_sockets.append(socket)
        if len(session.free_sockets) == MOST_SOCKETS:
            session.away_since = time.monotonic()

    def end(self, cookie: str) -> None:
        """End a session, if it is still there, and close its panel."""
        session = self.open.pop(cookie, None)
        if session:
            self.close(session)

    def _away(self) -> list[str]:
        """Cookies of those whose place may be given away, the longest gone first."""
        now = time.monotonic()
        gone = {
            cookie: session.away_since
            for cookie, session in self.open.items()
            if session.away_since is not None
        }
        by_time = sorted(gone, key=gone.__getitem__)
        return [who for who in by_time if now - gone[who] > AWAY or self.is_new(self.open[who])]

    async def check_token(self, address: str, token: str) -> bool:
        """Whether this is the token; an address has to wait after each wrong one."""
        if len(self._guessing) > 1000:
            locks = self._guessing.items()
            self._guessing = {who: lock for who, lock in locks if lock.locked()}
        async with self._guessing.setdefault(address, asyncio.Lock()):
            is_right = hmac.compare_digest(token.encode(), (self.token or "").encode())
            if not is_right:
                await asyncio.sleep(PAUSE)
        return is_right


# Requests


class Visit(Enum):
    """How somebody asks for the page."""

    DIRECT = "by its address, or from the page itself"
    LINK = "by a link on another site"
    EMBEDDED = "as a part of another page"


def kind_of_visit(headers: Mapping[str, str]) -> Visit:
    """How the page is asked for; old browsers do not say, and count as direct."""
    if headers.get("sec-fetch-dest", "document") != "document":
        return Visit.EMBEDDED
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return Visit.DIRECT
    return Visit.LINK


def is_own_name(host: str, token: str | None) -> bool:
    """Whether a page may be asked for by this name: without a token, only
    by this machine's own, so that no other site's name can be made to point
    here."""
    has_port = ":" in host and not host.endswith("]")
    name = host.rpartition(":")[0] if has_port else host
    return token is not None or name in LOCAL


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a socket is opened by our own page."""
    origin = headers.get("origin")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host")


# Messages


class RateLimit:
    """So many at once, and so many a second."""

    def __init__(self, burst: int, rate: float) -> None:
        self.burst = burst
        self.rate = rate
        self._left = float(burst)
        self._last = time.monotonic()

    def take(self) -> bool:
        """Whether one more is allowed; if so, it is counted."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._last) * self.rate)
        self._last = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class MessageFilter:
    """What one visitor's browser sends, before Solara receives it."""

    def __init__(self) -> None:
        self._messages = RateLimit(BURST, RATE)
        self._states = RateLimit(STATES, STATES_RATE)

    def clean(self, data: str | bytes) -> str | bytes | None:
        """The message, without what a browser may not set, or None for one
        to leave out; raises RefusedError for what no page of ours would
        send."""
        if not self._messages.take():
            raise RefusedError("too many messages")
        try:
            text, buffers = (data.encode(), []) if isinstance(data, str) else unpack(data)
            if len(text) > MOST_TEXT:
                raise RefusedError("too long a message")
            message = self._clean(json.loads(text))
            if _is_left_out(message):
                return None
            cleaned = json.dumps(message, allow_nan=False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
            raise RefusedError("not a message") from None
        return cleaned if isinstance(data, str) else pack(cleaned.encode(), buffers)

    def _clean(self, message: Message) -> Message:
        kind = message["header"]["msg_type"]
        content = message["content"]
        if kind not in MESSAGES or message["channel"] not in ("shell", "control"):
            raise RefusedError(f"{kind} is not allowed")
        if kind == "comm_open":
            if content["target_name"] not in TARGETS:
                raise RefusedError("only the server makes widgets")
            self._count_state()
        elif kind == "comm_msg":
            self._clean_data(content["data"])
        if "comm_id" in content:
            _check_name(content["comm_id"])
        header = message["header"].items()
        return {
            "header": {name: str(value)[:MOST_NAME] for name, value in header if name in HEADER},
            "channel": message["channel"],
            "content": content,
            "buffers": [],
            "parent_header": {},
            "metadata": {"version": message["metadata"].get("version", "")},
        }

    def _clean_data(self, data: Message) -> None:
        method = data.get("method")
        if method == "update":
            state = data["state"].items()  # a list of ours always has a choice
            data["state"] = {
                name: value for name, value in state if name in TRAITS and value is not None
            }
            data["buffer_paths"] = []
        elif method == "request_states":
            self._count_state()
        elif method not in ("custom", "request_state"):
            raise RefusedError(f"{method} is not allowed")

    def _count_state(self) -> None:
        if not self._states.take():
            raise RefusedError("too many requests")


def _is_left_out(message: Message) -> bool:
    """What a browser has opened ends with its panel, and Solara runs no other app."""
    is_close = message["header"]["msg_type"] == "comm_close"
    return is_close or message["content"].get("target_name") == TARGETS[1]


def _check_name(name: object) -> None:
    if not isinstance(name, str) or len(name) > MOST_NAME:
        raise RefusedError("not a name")


def unpack(data: bytes) -> tuple[bytes, list[bytes]]:
    """(the JSON, the buffers) of a binary message, which begins with their places."""
    (n,) = struct.unpack_from("!I", data)
    if not 1 <= n <= MOST_BUFFERS:
        raise ValueError(n)
    places = [*struct.unpack_from(f"!{n}I", data, 4), len(data)]
    if places[0] != 4 * (n + 1) or places != sorted(places):
        raise ValueError(places)
    text, *buffers = (data[first:last] for first, last in pairwise(places))
    return text, buffers


def pack(text: bytes, buffers: list[bytes]) -> bytes:
    """The opposite of `unpack`."""
    parts = [text, *buffers]
    places = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        places.append(places[-1] + len(part))
    return b"".join([struct.pack(f"!{len(parts) + 1}I", len(parts), *places), *parts])
