"""Who may come in, and what a visitor's browser may say: all that reaches the page's
server passes through here.

A visitor is a cookie. They have one panel, in one of Solara's virtual kernels, which is
made when their page connects, and found again when they come back. Nothing that is
asked for before has a panel made, so no other website can fill the house.
"""

import asyncio
import hmac
import json
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

COOKIE = "solara-session-id"  # its name is Solara's
MOST_VISITORS = 24
MOST_SOCKETS = 4  # of one visitor
MOST_BUFFERS = 8  # of one message
MOST_TEXT = 4000  # bytes of what one message says, without its buffers
MOST_NAME = 100  # letters of the name of a comm, or of what a header holds
INVITED = 120  # seconds that a page may take to connect
AWAY = 60  # seconds without a connection after which a visitor's dream is stopped, and their place may be given away
MOST_KNOWN = 10_000  # cookies of those who knew the token
PAUSE = 1.0  # seconds after a wrong token
MESSAGES = "comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request"
TARGETS = (
    "jupyter.widget.control",
    "solara.control",
)  # the second, which would run other apps, hears nothing
# What a browser may set of widgets: no limits of knobs, for example
TRAITS = "value", "index", "is_open", "unsaved", "note"
BURST, RATE = 300, 60  # messages: at once, and a second
STATES = 40  # requests for the state of all widgets, and comms for that, in a burst
HEADER = (
    "msg_id",
    "msg_type",
    "session",
    "username",
    "version",
    "date",
)  # what a message's header holds
LOCAL = "127.0.0.1", "localhost", "[::1]"
HEADERS = {
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class RefusedError(Exception):
    """What a browser has said is not allowed."""


@dataclass
class Visitor:
    """One visitor, known by a cookie. `kernel_id` never leaves the server."""

    kernel_id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    pages: list[int] = field(
        default_factory=lambda: list(range(MOST_SOCKETS))
    )  # names for sockets, those not in use
    used: float = field(default_factory=time.monotonic)  # when something was last heard from them
    gone: float | None = None  # since when they have no connection
    ear: "Ear" = field(default_factory=lambda: Ear())


class House:
    """The visitors of a page.

    token: what a visitor has to know; None lets in everyone who reaches this machine by
    its own name. close: called with a visitor whose panel is to be closed. is_new:
    whether there is nothing on a visitor's panel that they would miss; such a one who
    has gone does not keep their place when others want to come in.
    """

    def __init__(
        self,
        token: str | None,
        close: Callable[[Visitor], object],
        is_new: Callable[[Visitor], bool],
    ) -> None:
        self.token, self.close, self.is_new = token, close, is_new
        self.visitors: dict[str, Visitor] = {}  # by their cookies
        self.invited: dict[str, float] = {}  # {cookie: when the page was sent, which then connects}
        self.known: dict[
            str, None
        ] = {}  # cookies of those who knew the token, in the order in which they came
        self.guesses: dict[str, asyncio.Lock] = {}

    def may_enter(self, cookie: str | None) -> bool:
        return self.token is None or cookie in self.known

    def is_full(self, cookie: str | None) -> bool:
        """Whether there is no place for this visitor, nor one to give away."""
        return (
            cookie not in self.visitors and len(self.visitors) >= MOST_VISITORS and not self._away()
        )

    def invite(self, cookie: str) -> None:
        """Expect the page that was sent to this visitor to connect."""
        now = time.monotonic()
        self.invited = {other: sent for other, sent in self.invited.items() if now - sent < INVITED}
        self.invited[cookie] = now

    def know(self) -> str:
        """A cookie for one who knew the token."""
        cookie = secrets.token_urlsafe(24)
        self.known[cookie] = None
        if len(self.known) > MOST_KNOWN:
            del self.known[next(iter(self.known))]
        return cookie

    def admit(self, cookie: str | None) -> tuple[Visitor, int] | None:
        """(the visitor with this cookie, a name for one socket more); None for who may
        not come in, or has no place.

        Nothing is awaited between counting and letting in, so that many at once are
        counted one after another.
        """
        if cookie is None or not self.may_enter(cookie) or self.is_full(cookie):
            return None
        if cookie not in self.visitors:
            if self.invited.pop(cookie, None) is None:
                return None
            if len(self.visitors) >= MOST_VISITORS:
                self.leave(self._away()[0])
            self.visitors[cookie] = Visitor()
        visitor = self.visitors[cookie]
        if not visitor.pages:
            return None
        visitor.gone, visitor.used = None, time.monotonic()
        return visitor, visitor.pages.pop()

    def hang_up(self, visitor: Visitor, page: int) -> None:
        """Note that this socket of a visitor has closed."""
        visitor.pages.append(page)
        if len(visitor.pages) == MOST_SOCKETS:
            visitor.gone = time.monotonic()

    def leave(self, cookie: str) -> None:
        """Close a visitor's panel, if it is still there."""
        visitor = self.visitors.pop(cookie, None)
        if visitor:
            self.close(visitor)

    def _away(self) -> list[str]:
        """Cookies of visitors who have gone and whose place may be given away, those
        first who went first.
        """
        now = time.monotonic()
        gone = {
            cookie: visitor.gone
            for cookie, visitor in self.visitors.items()
            if visitor.gone is not None
        }
        by_time = sorted(gone, key=gone.__getitem__)
        return [who for who in by_time if now - gone[who] > AWAY or self.is_new(self.visitors[who])]

    async def guess(self, address: str, token: str) -> bool:
        """Whether this is the token; whoever was wrong waits, one guess after another."""
        if len(self.guesses) > 1000:
            self.guesses = {who: lock for who, lock in self.guesses.items() if lock.locked()}
        async with self.guesses.setdefault(address, asyncio.Lock()):
            is_right = hmac.compare_digest(token.encode(), (self.token or "").encode())
            if not is_right:
                await asyncio.sleep(PAUSE)
        return is_right


def check_host(host: str, token: str | None) -> bool:
    """Whether a page may be asked for by this name: without a token, only by this
    machine's own, so that no other site's name can be made to point here."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return token is not None or name in LOCAL


def check_origin(headers: Any) -> bool:
    """Whether a socket is opened by our own page."""
    origin = headers.get("origin")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host")


def is_visit(headers: Any) -> bool | None:
    """Whether somebody opens the page: True; False for a part of another page; None for
    one who follows a link.

    Old browsers do not say.
    """
    if headers.get("sec-fetch-dest", "document") != "document":
        return False
    return True if headers.get("sec-fetch-site", "none") in ("none", "same-origin") else None


class Ear:
    """What one visitor's browser says, before Solara hears it."""

    def __init__(self) -> None:
        self.allowance, self.states, self.last = float(BURST), float(STATES), time.monotonic()

    def hear(self, data: str | bytes) -> str | bytes | None:
        """The message, without what a browser may not set, or None for one to pass
        over; raises RefusedError for what none of ours would say."""
        now = time.monotonic()
        passed, self.last = now - self.last, now
        self.allowance = min(BURST, self.allowance + passed * RATE) - 1
        self.states = min(STATES, self.states + passed / 5)
        if self.allowance < 0:
            raise RefusedError("too many messages")
        try:
            text, buffers = (data.encode(), []) if isinstance(data, str) else take_apart(data)
            if len(text) > MOST_TEXT:
                raise RefusedError("too long a message")
            clean = self._clean(json.loads(text))
            # What a browser has opened ends with its panel.
            if (
                clean["header"]["msg_type"] == "comm_close"
                or clean["content"].get("target_name") == TARGETS[1]
            ):
                return None
            said = json.dumps(clean, allow_nan=False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
            raise RefusedError("not a message") from None
        return said if isinstance(data, str) else put_together(said.encode(), buffers)

    def _clean(self, message: dict[str, Any]) -> dict[str, Any]:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind not in MESSAGES or message["channel"] not in ("shell", "control"):
            raise RefusedError(f"{kind} is not for here")
        if kind == "comm_open":
            if content["target_name"] not in TARGETS:
                raise RefusedError("only the server makes widgets")
            self._count_state()
        elif kind == "comm_msg":
            self._clean_data(content["data"])
        if "comm_id" in content and not (
            isinstance(content["comm_id"], str) and len(content["comm_id"]) <= MOST_NAME
        ):
            raise RefusedError("not a name")
        version = message["metadata"].get("version", "")
        header = {
            name: str(value)[:MOST_NAME]
            for name, value in message["header"].items()
            if name in HEADER
        }
        return {
            "header": header,
            "channel": message["channel"],
            "content": content,
            "buffers": [],
            "parent_header": {},
            "metadata": {"version": version},
        }

    def _clean_data(self, data: dict[str, Any]) -> None:
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
            raise RefusedError(f"{method} is not for here")

    def _count_state(self) -> None:
        self.states -= 1
        if self.states < 0:
            raise RefusedError("too many requests")


def take_apart(data: bytes) -> tuple[bytes, list[bytes]]:
    """(the JSON, the buffers) of a binary message: how many parts there are, where each
    begins, and the parts.
    """
    (n,) = struct.unpack_from("!I", data)
    if not 1 <= n <= MOST_BUFFERS:
        raise ValueError(n)
    places = [*struct.unpack_from(f"!{n}I", data, 4), len(data)]
    if places[0] != 4 * (n + 1) or places != sorted(places):
        raise ValueError(places)
    parts = [data[first:last] for first, last in pairwise(places)]
    return parts[0], parts[1:]


def put_together(text: bytes, buffers: list[bytes]) -> bytes:
    """The opposite of `take_apart`."""
    parts, places = [text, *buffers], [4 * (len(buffers) + 2)]
    for part in parts[:-1]:
        places.append(places[-1] + len(part))
    return b"".join([struct.pack(f"!{len(parts) + 1}I", len(parts), *places), *parts])
