"""The studio's page as its visitors meet it: `deepdream serve` in a process of its own, and a real Chromium.

No test measures time: each waits for what a visitor would see, for as long as that takes.
"""

import re
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import main, refused, run
from PIL import Image

import deepdream as dd
from deepdream.recipe import VERSION

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytest.importorskip("voila", reason="Voilà is not installed: pip install voila")
expect = playwright.expect

PATIENCE = 240  # seconds to wait for something that comes at once on a machine with nothing else to do
expect.set_options(timeout=PATIENCE * 1000)
FOR_EVER = 10_000  # iterations, the most that there can be: such a dream ends with Stop
KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"


@contextmanager
def serving(*options):
    """`deepdream serve`; yields the address that it prints, and its process."""
    command = [sys.executable, "-m", "deepdream", "serve", *map(str, options)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+", server.stdout.readline())[0], server
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def address():
    with serving("--at-once", 1) as (address, _):
        yield address


@contextmanager
def visitors(browser, address):
    """A function that returns the page of a visitor of their own, with SqueezeNet chosen, and a small picture."""
    contexts = []

    def visit(address=address, width=1440, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.goto(address)
        set_up(page)
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            page.goto("about:blank")  # which ends the kernel; in Playwright, to close the page does not
        context.close()


@pytest.fixture
def visit(browser, address):
    with visitors(browser, address) as visit:
        yield visit


@pytest.fixture(scope="module")
def page(browser, address):
    """The page of a visitor whom several tests share."""
    with visitors(browser, address) as visit:
        yield visit()


def set_up(page):
    """Choose SqueezeNet, and a small picture."""
    expect(button(page, "Dream")).to_be_visible()
    page.get_by_label("Network").select_option(label="SqueezeNet v1.1, ImageNet")
    expect(page.get_by_label("Layer", exact=True)).to_have_value(re.compile("fire8/concat"))
    turn(page, "Width", 120)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def turn(page, label, value):
    """Turn a knob, and wait until the command follows."""
    knob = page.get_by_label(label, exact=True)
    was, is_list = command(page).input_value(), knob.evaluate("knob => knob.tagName") == "SELECT"
    now = knob.locator("option:checked").inner_text() if is_list else knob.input_value()
    if now == str(value):
        return
    if is_list:
        names = knob.locator("option").all_inner_texts()
        knob.select_option(next(name for name in names if name.startswith(value)))
    else:
        knob.fill(str(value))
        knob.press("Tab")
    expect(command(page)).not_to_have_value(was)


def command(page):
    return page.get_by_label("The command for")


def command_of_the_picture(page):
    """The command line, once it is the picture's and no longer the knobs'."""
    expect(page.locator(".dd-line label span")).to_have_text(PICTURE_LINE)
    return command(page).input_value()


def shows(page, what):
    """Wait until the stage shows the picture 'before', 'both', or the dream 'live'."""
    expect(page.locator(".dd-stage")).to_have_attribute("data-shows", what)


def start(page):
    """Press Dream, and wait until the dream has begun, or queues: it has to be a long one."""
    button(page, "Dream").click()
    expect(button(page, "Dream")).to_be_disabled()


def dream(page, press=None):
    """Press Dream, or do what `press` does, and wait for the end of the dream; returns its name."""
    link = page.locator("a.dd-download")
    before = link.get_attribute("download") or ""
    if press:
        press()
    else:
        button(page, "Dream").click()
    expect(link).not_to_have_attribute("download", before)
    expect(button(page, "Dream")).to_be_enabled()
    shows(page, "both")
    return link.get_attribute("download")


def unfold(page):
    """Show all knobs."""
    if not page.get_by_label("Objective").is_visible():
        button(page, "More knobs").click()
    expect(page.get_by_label("Objective")).to_be_visible()


def upload(page, name, data, role="a photograph"):
    page.get_by_label(f"Drop {role}, or choose one").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": data}
    )


def drop(page, name, data):
    """Drop a file on the picture, as a hand would."""
    transfer = page.evaluate_handle(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name));
          return transfer;
        }""",
        [name, list(data)],
    )
    page.dispatch_event(".dd-stage", "drop", {"dataTransfer": transfer})


def says(page, what):
    expect(page.get_by_role("alert")).to_contain_text(what)


def downloaded(page, tmp_path):
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    return tmp_path / download.value.suggested_filename


@pytest.fixture
def picture(tmp_path, photo):
    dd.save_image(tmp_path / "photo.png", photo)
    return tmp_path / "photo.png"


def test_from_a_photograph_to_a_dream_and_back_to_its_knobs(visit, page, tmp_path, picture):
    stranger, page = page, visit()
    upload(page, "photo.png", picture.read_bytes())
    expect(page.get_by_label("Picture", exact=True)).to_have_value("photo.png")
    turn(page, "Layer", "fire5/concat")
    turn(page, "Iterations", FOR_EVER)
    turn(page, "Seed", 7)
    start(page)
    shows(page, "live")
    seen = {page.locator(".dd-live").get_attribute("src")}
    while len(seen) < 3:  # it changes in place
        page.wait_for_function("seen => !seen.includes(document.querySelector('.dd-live').src)", arg=list(seen))
        seen.add(page.locator(".dd-live").get_attribute("src"))
    expect(page.locator(".dd-text")).to_have_text(re.compile(r"Octave \d of 4, step \d+ of 10000, \d+ s left"))
    button(page, "Stop").click()
    says(page, "this is the picture so far")
    shows(page, "both")
    expect(page.locator(".dd-line label span")).to_have_text(f"{PICTURE_LINE}, had it not been stopped")
    assert 0 < dd.read_settings(downloaded(page, tmp_path))["stopped_at"] < 1

    turn(page, "Iterations", 3)
    expect(page.locator(".dd-line label span")).to_have_text(KNOBS_LINE)
    assert dream(page) == "dream-2.png"
    told = command_of_the_picture(page)
    result = downloaded(page, tmp_path)
    settings = dd.read_settings(result)
    wanted = {"end": "fire5/concat", "iter_n": 3, "seed": 7, "width": 120, "image": "photo.png", "command": "dream"}
    assert wanted.items() <= settings.items() and "stopped_at" not in settings
    assert told.startswith("deepdream dream photo.png ")
    done = run(*told.replace("deepdream ", "", 1).split(), cwd=tmp_path)
    assert done.returncode == 0, done
    assert np.array_equal(dd.load_image(tmp_path / "dream.png"), dd.load_image(result)), "the command makes the same"

    assert dream(page, button(page, "Again").click) == "dream-3.png"
    assert "deepdream dream dream-2.png" in command_of_the_picture(page)
    assert dd.read_settings(downloaded(page, tmp_path))["image"] == "dream-2.png"
    button(page, "Undo").click()
    expect(page.get_by_role("link", name="Download dream-2.png")).to_be_visible()

    before = page.locator(".dd-after").evaluate("after => getComputedStyle(after).clipPath")
    page.get_by_role("slider", name="Before and after").fill("50")
    assert page.locator(".dd-after").evaluate("after => getComputedStyle(after).clipPath") != before

    turn(page, "Picture", "mountains.jpg")
    turn(page, "Layer", "fire9/concat")
    turn(page, "Seed", 8)
    drop(page, "mine.png", result.read_bytes())
    says(page, "The knobs are set as they were for mine.png.")
    for label, value in (("Picture", "photo.png"), ("Layer", re.compile("fire5")), ("Seed", "7"), ("Iterations", "3")):
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
    shows(page, "both")
    drop(stranger, "mine.png", result.read_bytes())  # who does not have the photograph
    says(stranger, "Not available here: the image photo.png.")
    expect(stranger.get_by_label("Picture", exact=True)).to_have_value("mine.png")
    expect(stranger.get_by_label("Seed")).to_have_value("7")


def test_the_tour_takes_a_layer(page):
    turn(page, "Picture", "forest.jpg")
    button(page, "Layer tour").click()
    stops = page.get_by_role("group", name="The layer tour").get_by_role("button")
    expect(stops).to_have_count(6)
    expect(button(page, "Dream")).to_be_enabled()
    names = stops.locator("b").all_inner_texts()
    assert names == [f"fire{n}/concat" for n in (2, 3, 5, 6, 8, 9)]
    assert stops.nth(0).inner_text().endswith("edges and strokes")
    stops.nth(3).click()
    expect(page.get_by_label("Layer", exact=True)).to_have_value(re.compile("fire6/concat"))
    expect(stops.nth(3)).to_have_attribute("aria-pressed", "true")


def bomb(width, height):
    """A PNG that claims to be large, and holds next to nothing."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99))
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_a_hostile_upload_gets_a_sentence_and_the_page_lives(page, photo, picture, tmp_path):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    Image.new("1", (7000, 7000)).save(tmp_path / "large.png")  # a small file
    for name, data, sentence in (
        ("text.png", b"not a picture at all", "text.png cannot be read as a picture"),
        ("nothing.png", b"", "nothing.png cannot be read as a picture"),
        ("bomb.png", bomb(50_000, 50_000), "bomb.png has far too many pixels; at most 40 megapixels are allowed"),
        ("large.png", (tmp_path / "large.png").read_bytes(), "large.png has 7,000 x 7,000 pixels"),
        ("cut.png", picture.read_bytes()[:900], "cut.png cannot be read as a picture"),
        ("drawing.svg", svg, "drawing.svg cannot be read as a picture; these can: JPEG, PNG"),
        ("huge.png", bytes(25 * 2**20), "huge.png has 25 MB; at most 20 MB are allowed; make it smaller"),
    ):
        upload(page, name, data)
        says(page, sentence)
    unfold(page)
    turn(page, "Objective", "guide('fire5/concat', '/etc/hostname')")
    button(page, "Dream").click()
    says(page, "there is no picture '/etc/hostname' here; upload it as a guide first")
    turn(page, "Objective", "")
    dd.save_image(tmp_path / "harmless.png", photo[::-1])
    upload(page, "harmless.png", (tmp_path / "harmless.png").read_bytes())
    expect(page.get_by_label("Picture", exact=True)).to_have_value("harmless.png")
    turn(page, "Iterations", 1)
    dream(page)


def test_of_two_at_once_one_waits_and_each_gets_their_picture(visit, page, tmp_path):
    one, two = visit(), page
    turn(one, "Iterations", FOR_EVER)
    turn(two, "Iterations", 1)
    turn(two, "Picture", "flower.jpg")
    start(one)
    shows(one, "live")
    start(two)
    expect(two.locator(".dd-text")).to_have_text(re.compile("In the queue: you are next; [1-9][0-9]* s so far"))
    button(two, "Stop").click()
    says(two, "Stopped.")
    start(two)
    expect(two.locator(".dd-text")).to_have_text(re.compile("In the queue: you are next"))
    button(one, "Stop").click()
    shows(one, "both")
    shows(two, "both")
    (tmp_path / "two").mkdir()
    pictures = [dd.load_image(downloaded(page, folder)) for page, folder in ((one, tmp_path), (two, tmp_path / "two"))]
    assert [picture.shape for picture in pictures] == [(67, 120, 3), (80, 120, 3)]


@pytest.mark.parametrize(
    "width, scheme",
    [
        (390, "dark"),
        pytest.param(390, "light", marks=pytest.mark.slow),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
        pytest.param(1440, "light", marks=pytest.mark.slow),
    ],
)
def test_it_fits_the_screen_and_anyone_can_use_it(visit, address, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    answers = []
    page = visit(width=width, color_scheme=scheme)
    page.on("response", lambda response: answers.append(response.url))
    page.reload()
    set_up(page)
    turn(page, "Iterations", 1)
    dream(page)
    button(page, "Layer tour").click()
    expect(page.locator(".dd-stops button")).to_have_count(6)
    expect(button(page, "Dream")).to_be_enabled()
    unfold(page)
    wide = (
        "[document.documentElement, document.querySelector('#rendered_cells')].map(e => e.scrollWidth - e.clientWidth)"
    )
    assert page.evaluate(wide) == [0, 0]
    assert page.title() == "Deep Dream" and "import" not in page.inner_text("body")
    assert all(answer.startswith((address, "data:", "blob:")) for answer in answers)
    dark = page.evaluate("getComputedStyle(document.querySelector('#rendered_cells')).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [node["html"][:100] for node in v["nodes"]]) for v in found]


def test_the_keyboard_reaches_every_control(page):
    turn(page, "Iterations", 1)
    name = dream(page)
    unfold(page)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(50):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("""() => {
              const el = document.activeElement;
              return el.ariaLabel || el.labels?.[0]?.innerText || el.innerText;
            }""").strip()
        )
    labels = "Drop a photograph, or choose one,Picture,Width,Dream,Again,Undo,Layer tour,Before and after,Copy,Network"
    labels += (
        ",Engine,Layer,Iterations,Octaves,Octave scale,Step,Jitter,Seed,More knobs,Guide,Drop a guide, or choose one"
    )
    labels += f",Mask,Objective,Smoothing,Keep the colours,Download {name}"
    missing = set(re.split(",(?! )", labels)) - reached
    assert not missing, reached
    button(page, "Dream").focus()
    dream(page, lambda: page.keyboard.press("Enter"))


def kernels(server):
    """The processes of its visitors."""
    import psutil

    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if "ipykernel_launcher" in (child.as_dict(["cmdline"])["cmdline"] or ())]


def test_a_page_that_lost_its_kernel_says_so(browser, tmp_path, photo):
    lost = "This page was closed because it was not used for a while"
    settings = {"deepdream": VERSION, "model": "squeezenet_v1.1", "image": "forest.jpg", "seed": 7, "width": 120}
    dd.save_image(tmp_path / "mine.png", photo, settings)
    # 15 seconds: an idle visitor outlasts the start of the page, even on a busy machine, and nobody waits for long
    with serving("--idle", 0.25, "--at-once", 1) as (address, server), visitors(browser, address) as visit:
        dreaming = visit()
        turn(dreaming, "Iterations", FOR_EVER)
        start(dreaming)
        shows(dreaming, "live")
        waiting = visit()
        start(waiting)
        idle = visit()
        drop(idle, "mine.png", (tmp_path / "mine.png").read_bytes())
        says(idle, "The knobs are set as they were for mine.png.")
        says(idle, lost)
        expect(idle.get_by_role("link", name="Download mine.png")).to_be_visible()
        shows(dreaming, "live")  # and these were used even less
        expect(waiting.locator(".dd-text")).to_have_text(re.compile("In the queue"))

        assert len(kernels(server)) == 2, "each visitor has their own"
        waiting.goto("about:blank")
        while len(kernels(server)) > 1:  # who leaves, leaves nothing behind
            dreaming.wait_for_timeout(100)
        [kernel] = kernels(server)
        kernel.kill()
        says(dreaming, lost)


def test_others_need_the_token(browser):
    import requests

    with serving("--host", "0.0.0.0", "--token", "secret") as (told, _):
        assert told.endswith("/?token=secret")
        local = re.sub("//.*:", "//127.0.0.1:", told.split("?")[0])
        assert "login" in requests.get(local).url
        assert requests.get(f"{local}api/kernels/00000000-0000-0000-0000-000000000000").status_code == 403
        page = browser.new_page()
        page.goto(f"{local}?token=secret", timeout=PATIENCE * 1000)
        expect(button(page, "Dream")).to_be_visible()
        page.goto("about:blank")
    with serving("--host", "0.0.0.0") as (told, _):
        assert len(told.split("?token=")[1]) > 15


def test_no_other_site_gets_in_by_a_name_of_its_own(address):
    import requests

    assert requests.get(address, headers={"Host": "evil.example"}).status_code == 403


def test_a_full_house_says_so(address, monkeypatch):
    from types import SimpleNamespace

    from tornado.web import HTTPError

    from deepdream.studio import serve

    manager = SimpleNamespace(list_kernel_ids=lambda: ["one", "two"])
    request = SimpleNamespace(settings={"kernel_manager": manager})
    serve._admit(request, None, None)
    monkeypatch.setattr(serve, "MOST_VISITORS", 2)
    with pytest.raises(HTTPError, match="Too many people are dreaming here"):
        serve._admit(request, None, None)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (("--at-once", 0), "--at-once is 0; it must be a whole number, at least 1"),
        (("--port", 0), "--port is 0; it must be a whole number from 1 to 65535"),
        (("--port", 99999), "--port is 99999; it must be a whole number from 1 to 65535"),
        (("--idle", -1), "--idle is -1.0; it must be a number of minutes, above 0 and at most 1000000"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_serve_refuses(options, sentence):
    refused(main("serve", *options), sentence)


def test_a_port_that_is_taken(address):
    port = address.rstrip("/").rpartition(":")[2]
    refused(main("serve", "--port", port), f"cannot listen on 127.0.0.1, port {port}: Address already in use")
    with serving() as (other, _):
        assert other != address
