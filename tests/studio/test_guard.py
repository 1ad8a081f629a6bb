"""Attacks on the studio's page, against the real server: each froze it, filled it, or
crossed to another visitor.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from browsing import button, expect, serving

requests = pytest.importorskip("requests")
client = pytest.importorskip(
    "websockets.sync.client", reason="websockets is not installed: pip install websockets"
)
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from deepdream.errors import DreamError  # noqa: E402
from deepdream.recipe import all_files, complete, with_files  # noqa: E402
from deepdream.studio import guard, shelf, turns  # noqa: E402

PROTOCOL = "v1.kernel.websocket.jupyter.org"


@pytest.fixture(scope="module")
def server():
    """A server, and its process."""
    with serving("--at-once", 1) as (address, server):
        yield address.rstrip("/"), server


@pytest.fixture
def address(server):
    """Its address; afterwards it answers a newcomer, and is as large as before."""
    import psutil

    address, server = server
    before = psutil.Process(server.pid).memory_info().rss
    yield address
    assert requests.get(address, timeout=60).ok
    with connect(address) as socket:
        assert panel_of(socket)
    assert psutil.Process(server.pid).memory_info().rss < before + 150 * 2**20


def visit(address, **headers):
    """Open the page as a new visitor; the cookie."""
    return requests.get(address, headers=headers, timeout=60).cookies[guard.COOKIE]


def connect(
    address, cookie=None, path="/api/kernels/mine/channels?session_id=x", origin=None, **options
):
    """The socket of a visitor, as their page opens it."""
    return client.connect(
        address.replace("http", "ws", 1) + path,
        additional_headers={
            "Cookie": f"{guard.COOKIE}={visit(address) if cookie is None else cookie}"
        },
        origin=address if origin is None else origin,
        max_size=None,
        open_timeout=60,
        **options,
    )


def message(kind, content, channel="shell"):
    header = {
        "msg_id": uuid4().hex,
        "msg_type": kind,
        "session": "s",
        "username": "",
        "version": "5.2",
        "date": "",
    }
    rest = {"metadata": {}, "parent_header": {}, "buffers": []}
    return {"header": header, "content": content, "channel": channel} | rest


def comm(data, comm_id="any"):
    return json.dumps(message("comm_msg", {"comm_id": comm_id, "data": data}))


def ask(socket, request, kind):
    """Send a message, and return the content of the first answer of this kind."""
    socket.send(json.dumps(request))
    while True:
        data = socket.recv(timeout=60)
        answer = json.loads(data if isinstance(data, str) else guard.unpack(data)[0])
        if answer["header"]["msg_type"] == kind:
            return answer["content"]


def panel_of(socket):
    """The id of the visitor's panel."""
    comms = ask(
        socket, message("comm_info_request", {"target_name": "jupyter.widget"}), "comm_info_reply"
    )["comms"]
    return next(name for name in comms if name.startswith("studio-"))


def refused(address, *sent, **options):
    """Whether the server hangs up on who says this."""
    with connect(address, **options) as socket, suppress(ConnectionClosed):
        for data in sent:
            socket.send(data)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            socket.recv(timeout=60)
        return False
    return True


DEEP = "[" * 100_000
FOREIGN = {
    "target_name": "jupyter.widget",
    "comm_id": "x",
    "data": {"state": {"_model_name": "OutputModel"}},
}


HOSTILE = (
    b"\xff" * 8,
    b"\x7f\xff\xff\xff" + bytes(8),
    b"\x00",
    b"",
    struct.pack("!3I", 2, 12, 4) + b"{}",
    struct.pack("!2I", 1, 8) + b"\xff\xfe",
    "not JSON",
    "null",
    "[]",
    "{}",
    DEEP,
    json.dumps({"header": {"msg_type": "comm_msg"}, "content": 5, "channel": "shell"}),
    json.dumps(message("execute_request", {"code": "import os; os.abort()"})),
    json.dumps(message("shutdown_request", {})),
    json.dumps(message("comm_msg", {"comm_id": "a", "data": {"method": "run"}})),
    json.dumps(message("comm_open", FOREIGN)),
    json.dumps(message("comm_info_request", {}, "iopub")),
    "x" * (4 * 2**20),
)


def test_what_none_of_our_pages_would_say_ends_the_socket(address):
    for sent in HOSTILE:
        assert refused(address, sent), sent[:100]
        assert requests.get(f"{address}/here", timeout=60).status_code == 410


@pytest.mark.parametrize("protocol", [PROTOCOL, None])
def test_the_bytes_that_froze_the_server(address, protocol):
    options = {"subprotocols": [protocol]} if protocol else {}
    with suppress(InvalidStatus, ConnectionClosed):
        assert refused(address, b"\xff" * 8, **options)
    with suppress(InvalidStatus, ConnectionClosed), connect(address, **options) as socket:
        for _ in range(5):
            socket.send(
                json.dumps(
                    message(
                        "comm_open",
                        {"target_name": "jupyter.widget.control", "comm_id": "c", "data": {}},
                    )
                )
            )
            socket.send(comm({"method": "request_states"}, "c"))


def test_too_many_messages_or_states_end_the_socket(address):
    # Many: a busy machine reads them slowly, and meanwhile more are allowed
    assert refused(address, *[comm({"method": "custom", "content": {}})] * (5 * guard.BURST))
    assert refused(address, *[comm({"method": "request_states"})] * (guard.STATES + 5))


def test_a_browser_sets_values_and_nothing_else():
    data = {
        "method": "update",
        "state": {"value": 7, "max": 10**9, "busy": False, "_model_name": "x"},
        "buffer_paths": [["value"]],
    }
    heard = json.loads(guard.MessageFilter().clean(comm(data)))["content"]["data"]
    assert heard == {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    text, parts = (
        json.dumps(
            message("comm_msg", {"comm_id": "a", "data": {"method": "custom", "content": {}}})
        ),
        [b"ab", b""],
    )
    together = guard.pack(text.encode(), parts)
    assert guard.unpack(together) == (text.encode(), parts)
    assert guard.unpack(guard.MessageFilter().clean(together))[1] == parts


@pytest.mark.parametrize(
    "headers, visit",
    [
        ({}, guard.Visit.DIRECT),  # an old browser
        ({"sec-fetch-dest": "document", "sec-fetch-site": "none"}, guard.Visit.DIRECT),
        ({"sec-fetch-dest": "document", "sec-fetch-site": "same-origin"}, guard.Visit.DIRECT),
        ({"sec-fetch-dest": "document", "sec-fetch-site": "cross-site"}, guard.Visit.LINK),
        ({"sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}, guard.Visit.EMBEDDED),
    ],
)
def test_how_the_page_is_asked_for(headers, visit):
    assert guard.kind_of_visit(headers) is visit


def test_a_place_is_given_away_to_who_comes_next(monkeypatch):
    monkeypatch.setattr(guard, "MOST_SESSIONS", 1)
    ended, new = [], []
    sessions = guard.Sessions(None, ended.append, lambda session: session in new)

    def connect(cookie):
        sessions.expect(cookie)
        return sessions.connect(cookie)

    assert sessions.connect("a") is None, "its page was not sent"
    first, socket = connect("a")
    assert connect("b") is None and sessions.is_full("b") and not sessions.is_full("a")
    sessions.disconnect(first, socket)
    assert connect("b") is None, "it may come back"
    new.append(first)
    assert connect("b") and ended == [first] and list(sessions.open) == ["b"]


def test_many_at_once_are_counted_one_after_another():
    """In the first design, 32 requests at once made 32 kernels: 24 were allowed."""
    with serving("--at-once", 1) as (address, _):
        address = address.rstrip("/")
        cookies = [visit(address) for _ in range(32)]
        sockets, full = [], []

        def come(cookie):
            try:
                sockets.append(connect(address, cookie))
            except InvalidStatus:
                full.append(cookie)

        threads = [threading.Thread(target=come, args=(cookie,)) for cookie in cookies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert (len(sockets), len(full)) == (guard.MOST_SESSIONS, 32 - guard.MOST_SESSIONS)
        answer = requests.get(address, timeout=60)
        assert answer.status_code == 503 and "Too many people are dreaming here" in answer.text
        known = next(cookie for cookie in cookies if cookie not in full)
        again = [connect(address, known) for _ in range(guard.MOST_SOCKETS - 1)]
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            connect(address, known)
        for socket in sockets + again:
            socket.close()


def test_no_other_website_gets_a_panel(address, browser):
    for fetched in (
        {"Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "script", "Sec-Fetch-Site": "same-site"},
    ):
        answer = requests.get(f"{address}/?x=1", headers=fetched, timeout=60)
        assert answer.status_code == 403 and guard.COOKIE not in answer.cookies
    link = requests.get(
        address, headers={"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}, timeout=60
    )
    assert "Open Deep Dream" in link.text and guard.COOKIE not in link.cookies
    for origin in ("http://evil.example", "null", address.replace("127.0.0.1", "localhost")):
        with (
            pytest.raises((InvalidStatus, ConnectionClosed)),
            connect(address, origin=origin) as socket,
        ):
            socket.recv(timeout=60)
    page, answers, done = browser.new_page(), set(), []
    page.on("response", lambda response: answers.add(response.status))
    for event in "requestfinished", "requestfailed":
        page.on(event, lambda request: done.append(request.url))
    images = "".join(f'<img src="{address}/?x={i}">' for i in range(30))
    page.set_content(f'{images}<iframe src="{address}/"></iframe>')
    while len(done) < 31:
        page.wait_for_timeout(100)
    assert answers == {403}
    page.close()


def test_a_kernel_is_nobody_elses(address):
    with connect(address) as mine, connect(address) as other:
        assert panel_of(mine) != panel_of(other)
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        connect(address, cookie="stolen") as socket,
    ):
        socket.recv(timeout=60)
    for path in (
        "/resourcez",
        "/readyz",
        "/_solara/api/close/x",
        "/api/kernels",
        "/static/main.js",
        "/../serve.py",
        "/bundle/../../../../../../../etc/passwd",
    ):
        assert requests.get(address + path, timeout=60).status_code == 404


def test_nothing_is_reflected(address):
    for query in (
        '?theme="><script>alert(1)</script>',
        "?template=nosuch",
        "?kernelid=1&modelid=2",
    ):
        answer = requests.get(f"{address}/{query}", timeout=60)
        assert answer.ok and answer.url == f"{address}/" and "alert(1)" not in answer.text
    cookie = requests.get(address, timeout=60).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    policy = requests.get(address, timeout=60).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy


def test_no_other_site_gets_in_by_a_name_of_its_own(address):
    assert requests.get(address, headers={"Host": "evil.example"}, timeout=60).status_code == 403


@pytest.mark.slow
def test_the_token_leaves_the_address_and_guesses_are_slowed(browser, tmp_path):
    with serving("--host", "0.0.0.0", "--token", "open sesame") as (told, _):
        assert told.endswith("/?token=open%20sesame")
        local = re.sub("//.*:", "//127.0.0.1:", told.split("?")[0])
        assert "has printed" in requests.get(local, timeout=60).text
        with (
            pytest.raises((InvalidStatus, ConnectionClosed)),
            connect(local.rstrip("/"), cookie="x") as socket,
        ):
            socket.recv(timeout=60)
        began = time.monotonic()
        for _ in range(3):
            assert requests.get(f"{local}?token=wrong", timeout=60).status_code == 403
        assert time.monotonic() - began > 2 * guard.PAUSE
        page = browser.new_page()
        page.goto(f"{local}?token=open sesame")
        expect(button(page, "Dream")).to_be_visible()
        assert page.url == local and not page.evaluate("document.cookie")
        page.close()
        page = browser.new_page()
        page.goto(local)
        page.get_by_label("The token").fill("wrong")
        page.get_by_label("The token").press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("The token").fill("open sesame")
        button(page, "Come in").click()
        expect(button(page, "Dream")).to_be_visible()
        assert page.url == local
        page.close()
    with serving("--host", "0.0.0.0") as (told, _):
        assert len(told.split("?token=")[1]) > 15


def test_what_a_browser_says_is_short_and_finite():
    """One message could take 3 MB of memory for ever, or be sent back with each
    message; another closed a widget in such a way that its panel could not be
    closed."""
    messages = guard.MessageFilter()
    assert messages.clean(json.dumps(message("comm_close", {"comm_id": "a"}))) is None
    assert (
        messages.clean(
            json.dumps(message("comm_open", {"comm_id": "a", "target_name": "solara.control"}))
        )
        is None
    )
    control = {"target_name": "jupyter.widget.control", "data": {}}
    for refused in (
        comm({"method": "custom", "content": "x" * guard.MOST_TEXT}),
        comm({"method": "update", "state": {"value": float("nan")}}),
        comm({"method": "update", "state": {"value": 1}}).replace(": 1", ": 1e999"),
        comm({"method": "custom", "content": {}}, ["a"]),
        json.dumps(message("comm_open", control | {"comm_id": "x" * 200})),
    ):
        with pytest.raises(guard.RefusedError):
            messages.clean(refused)
    said = message("kernel_info_request", {})
    said["header"] |= {"username": "x" * 1000, "more": "x"}
    heard = json.loads(messages.clean(json.dumps(said)))["header"]
    assert len(heard["username"]) == guard.MOST_NAME and heard.keys() == said["header"].keys() - {
        "more"
    }
    opened = json.dumps(message("comm_open", control | {"comm_id": "a"}))
    with pytest.raises(guard.RefusedError):
        for _ in range(guard.STATES + 5):
            messages.clean(opened)


@pytest.mark.slow  # the server's patience is a minute
def test_who_reads_nothing_is_cut_off(server):
    """Such a one held the place of their dream for ever: the server waited until they
    had read what it had sent.
    """
    address, server = server
    with connect(address, max_queue=1, ping_interval=None, close_timeout=0) as socket:
        port = socket.local_address[1]
        socket.send(
            json.dumps(
                message(
                    "comm_open",
                    {"target_name": "jupyter.widget.control", "comm_id": "c", "data": {}},
                )
                | {"metadata": {"version": "1.0.0"}}
            )
        )
        for _ in range(guard.STATES // 2):
            socket.send(comm({"method": "request_states"}, "c"))
        deadline = time.monotonic() + 180
        while any(
            c.raddr and c.raddr.port == port and c.status == "ESTABLISHED"
            for c in connections(server)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.5)


def connections(server):
    import psutil

    return psutil.Process(server.pid).net_connections("tcp")


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have no second address of their own"
)
def test_one_address_cannot_have_all_connections(server):
    address, _ = server
    where = "127.0.0.1", int(address.rpartition(":")[2])
    held = [socket.create_connection(where, source_address=("127.0.0.2", 0)) for _ in range(450)]
    assert [connection.recv(1) for connection in held[-1:]] == [b""]
    assert requests.get(address, timeout=60).ok
    for connection in held:
        connection.close()


def test_pictures_do_not_outlive_the_server(tmp_path):
    """SIGTERM, and a terminal that was closed, left all visitors' pictures behind."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        command = [sys.executable, "-m", "deepdream", "serve"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
        )
        assert b"http" in server.stdout.readline() and list(tmp_path.glob("deepdream-page-*"))
        server.send_signal(number)
        assert server.wait(60) == 0 and not list(tmp_path.glob("deepdream-page-*"))


def test_no_file_of_the_machine_is_read(tmp_path):
    """A path in two pieces, on two lines, was overlooked; and a film could be a list of
    other films.
    """
    objective = (
        "guide('fire8/concat', '/etc/'\n'secret.png') + L2('é') + guide('fire8/concat',\n'b.png')"
    )
    film = complete("zoom", {"image": "a.png", "objective": objective})
    assert sorted(all_files(film).values()) == ["/etc/secret.png", "a.png", "b.png"]
    found = with_files(film, lambda _, path: path.upper())["objective"]
    assert (
        found
        == "guide('fire8/concat', '/ETC/SECRET.PNG') + L2('é') + guide('fire8/concat', 'B.PNG')"
    )
    clip(tmp_path / "other.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    assert shelf.view_picture(tmp_path / "other.mp4", "a.mp4").jpeg
    with pytest.raises(DreamError, match="cannot read the film"):
        shelf.view_picture(tmp_path / "list.mp4", "a.mp4")


def clip(path):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=10, width=64, height=64, pix_fmt="yuv420p")
        film.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        film.mux(stream.encode())


def test_a_visitors_files_are_bounded(tmp_path, monkeypatch):
    """A film of 400 kB took 1.9 GB to look at; many small files fill the memory; and
    one of the name of a dream that was being made became that dream, under the sha256
    of the other, in the looks of everyone."""
    clip(tmp_path / "a.mp4")
    monkeypatch.setattr(shelf, "MOST_UPLOADED", 64 * 64 - 1)
    with pytest.raises(DreamError, match="64 x 64 pixels"):
        shelf.view_picture(tmp_path / "a.mp4", "a.mp4")
    mine = shelf.Shelf(tmp_path)
    out = mine.new("dream", "mountains.jpg", ".png")
    assert mine.keep(out.name, b"another") != out.name
    out.write_bytes(b"dream")
    mine.files[out.name] = out
    assert mine.keep(out.name, b"dream") == out.name
    monkeypatch.setattr(shelf, "MOST_FILES", len(mine.files))
    with pytest.raises(DreamError, match="files"):
        mine.keep("b.png", b"b")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux chooses whom to end")
def test_when_memory_is_short_a_worker_ends_and_not_the_page():
    assert turns.Crew(1, 1).run_now(read_score) == "1000"


def read_score(report):
    return Path("/proc/self/oom_score_adj").read_text().strip()
