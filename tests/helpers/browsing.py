"""What a visitor of the studio's page does, for the tests: `deepdream serve` in a
process of its own, and Chromium.

Nothing here measures time: each function waits for what a visitor would see, for as
long as that takes.
"""

import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
pytest.importorskip("solara", reason="Solara is not installed: pip install solara-server")
expect = playwright.expect

PATIENCE = (
    90  # seconds to wait for something that comes at once on a machine with nothing else to do
)
expect.set_options(timeout=PATIENCE * 1000)
FOR_EVER = 10_000  # iterations, the most that there can be: such a dream ends with Stop
KNOBS_LINE, PICTURE_LINE = "The command for these knobs", "The command for this picture"
LAYER, REPEATS, SEED, OBJECTIVE = (
    "What to look for (layer)",
    "Repeats (iterations)",
    "Chance (seed)",
    "Draw a thing (objective)",
)
NO_LIMIT = "--minutes", 10_000


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


@contextmanager
def visitors(browser, address):
    """A function that returns the page of a visitor of their own, with SqueezeNet
    chosen, and a small picture.
    """
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
            page.close(run_before_unload=False)
        context.close()


def set_up(page):
    """Choose SqueezeNet, and a small picture."""
    expect(button(page, "Dream")).to_be_visible()
    unfold(page)
    page.get_by_label("Network", exact=True).select_option(label="SqueezeNet v1.1, ImageNet")
    expect(page.get_by_label(LAYER, exact=True)).to_have_value(re.compile("fire8/concat"))
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
    """Press Dream, and wait until the dream has begun, or queues: it has to be a long
    one.
    """
    button(page, "Dream").click()
    expect(button(page, "Dream")).to_be_disabled()


def dream(page, press=None):
    """Press Dream, or do what `press` does, and wait for the end of the dream; returns
    its name.
    """
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
    if not page.get_by_label(OBJECTIVE, exact=True).is_visible():
        button(page, "More knobs").click()
    expect(page.get_by_label(OBJECTIVE, exact=True)).to_be_visible()


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
