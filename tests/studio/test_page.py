"""The studio's page as its visitors meet it: `deepdream serve` in a process of its own,
and a real Chromium.

No test measures time: each waits for what a visitor would see, for as long as that
takes.
"""

import re
import struct
import zlib

import numpy as np
import pytest
from browsing import (
    FOR_EVER,
    KNOBS_LINE,
    LAYER,
    NO_LIMIT,
    OBJECTIVE,
    PICTURE_LINE,
    REPEATS,
    SEED,
    button,
    command,
    command_of_the_picture,
    downloaded,
    dream,
    drop,
    expect,
    says,
    serving,
    set_up,
    shows,
    start,
    turn,
    unfold,
    upload,
    visitors,
)
from conftest import main, refused, run

import deepdream as dd
from deepdream.recipe import VERSION


@pytest.fixture(scope="module")
def page(browser, address):
    """The page of a visitor whom several tests share."""
    with visitors(browser, address) as visit:
        yield visit()


@pytest.fixture
def picture(tmp_path, photo):
    dd.save_image(tmp_path / "photo.png", photo)
    return tmp_path / "photo.png"


def test_from_a_photograph_to_a_dream_and_back_to_its_knobs(visit, page, tmp_path, picture):
    stranger, page = page, visit()
    upload(page, "photo.png", picture.read_bytes())
    expect(page.get_by_label("Picture", exact=True)).to_have_value("photo.png")
    turn(page, LAYER, "fire5/concat")
    turn(page, REPEATS, FOR_EVER)
    turn(page, SEED, 7)
    start(page)
    shows(page, "live")
    seen = {page.locator(".dd-live").get_attribute("src")}
    while len(seen) < 3:  # it changes in place
        page.wait_for_function(
            "seen => !seen.includes(document.querySelector('.dd-live').src)", arg=list(seen)
        )
        seen.add(page.locator(".dd-live").get_attribute("src"))
    expect(page.locator(".dd-text")).to_have_text(
        re.compile(r"Octave \d of 4, step \d+ of 10000, (\d+ s|\d+ min|\d+ h \d+ min) left")
    )
    button(page, "Stop").click()
    says(page, "this is the picture so far")
    shows(page, "both")
    expect(page.locator(".dd-line label span")).to_have_text(
        f"{PICTURE_LINE}, had it not been stopped"
    )
    assert 0 < dd.read_settings(downloaded(page, tmp_path))["stopped_at"] < 1

    turn(page, REPEATS, 3)
    expect(page.locator(".dd-line label span")).to_have_text(KNOBS_LINE)
    assert dream(page) == "photo-dream-2.png"
    told = command_of_the_picture(page)
    result = downloaded(page, tmp_path)
    settings = dd.read_settings(result)
    wanted = {
        "end": "fire5/concat",
        "iter_n": 3,
        "seed": 7,
        "width": 120,
        "image": "photo.png",
        "command": "dream",
    }
    assert wanted.items() <= settings.items() and "stopped_at" not in settings
    assert told.startswith("deepdream dream photo.png ")
    done = run(*told.replace("deepdream ", "", 1).split(), cwd=tmp_path)
    assert done.returncode == 0, done
    assert np.array_equal(dd.load_image(tmp_path / "dream.png"), dd.load_image(result)), (
        "the command makes the same"
    )

    assert dream(page, button(page, "Again").click) == "photo-dream-3.png"
    assert "deepdream dream photo-dream-2.png" in command_of_the_picture(page)
    assert dd.read_settings(downloaded(page, tmp_path))["image"] == "photo-dream-2.png"
    button(page, "Undo").click()
    expect(page.get_by_role("link", name="Download photo-dream-2.png")).to_be_visible()

    before = page.locator(".dd-after").evaluate("after => getComputedStyle(after).clipPath")
    page.get_by_role("slider", name="Before and after").fill("50")
    assert page.locator(".dd-after").evaluate("after => getComputedStyle(after).clipPath") != before

    turn(page, "Picture", "mountains.jpg")
    turn(page, LAYER, "fire9/concat")
    turn(page, SEED, 8)
    drop(page, "mine.png", result.read_bytes())
    says(page, "The knobs are set as they were for mine.png.")
    for label, value in (
        ("Picture", "photo.png"),
        (LAYER, re.compile("fire5")),
        (SEED, "7"),
        (REPEATS, "3"),
    ):
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
    shows(page, "both")
    drop(stranger, "mine.png", result.read_bytes())  # who does not have the photograph
    says(stranger, "Not available here: the image photo.png.")
    expect(stranger.get_by_label("Picture", exact=True)).to_have_value("mine.png")
    expect(stranger.get_by_label(SEED, exact=True)).to_have_value("7")


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
    expect(page.get_by_label(LAYER, exact=True)).to_have_value(re.compile("fire6/concat"))
    expect(stops.nth(3)).to_have_attribute("aria-pressed", "true")


def test_looks_of_the_photograph_and_things_to_draw(page):
    looks = page.get_by_role("group", name="Looks").get_by_role("button")
    expect(looks).to_have_count(9)
    expect(looks.locator("img[src]")).to_have_count(9)
    eyes = page.get_by_role("button", name="Eyes eyes look at you from everywhere")
    eyes.click()
    expect(eyes).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label(LAYER, exact=True)).to_have_value(re.compile("fire5/concat"))
    page.get_by_role("slider", name="How much").fill("1")
    page.get_by_role("slider", name="How much").blur()
    expect(page.get_by_label(REPEATS, exact=True)).to_have_value("4")
    unfold(page)
    field = page.get_by_role("combobox", name="Find a thing to draw")
    field.fill("peaco")
    page.get_by_role("listbox", name="Find a thing to draw").get_by_role("option").first.click()
    expect(command(page)).to_have_value(re.compile("logit.*peacock"))
    turn(page, OBJECTIVE, "anemone fish")
    expect(command(page)).to_have_value(re.compile("logit.*anemone fish"))
    turn(page, OBJECTIVE, "")


def test_films_play_in_place(visit, tmp_path):
    page = visit()
    turn(page, REPEATS, 1)
    turn(page, "Sizes (octaves)", 1)
    button(page, "Films").click()
    page.get_by_label("Length (seconds)").fill("0.5")
    page.get_by_label("Width of the film").fill("64")
    button(page, "My video").click()
    says(page, "drop a film of yours first")
    button(page, "Zoom").click()
    shows(page, "film")
    page.wait_for_function("document.querySelector('.dd-stage video').videoWidth == 64")
    film = downloaded(page, tmp_path)
    assert film.name == "mountains-zoom-1.mp4" and dd.read_settings(film)["frames"] == 5
    upload(page, "mine.mp4", film.read_bytes(), role="a film")
    says(page, "mine.mp4 is here; now press My video.")
    button(page, "My video").click()
    expect(page.get_by_role("link", name="Download mine-video-1.mp4")).to_be_visible()
    assert dd.read_settings(downloaded(page, tmp_path))["source"] == "mine.mp4"


def bomb(width, height):
    """A PNG that claims to be large, and holds next to nothing."""
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(99)),
    )
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.slow
def test_a_hostile_upload_gets_a_sentence_and_the_page_lives(page, photo, picture, tmp_path):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for name, data, sentence in (
        ("text.png", b"not a picture at all", "text.png cannot be read as a picture"),
        ("nothing.png", b"", "nothing.png cannot be read as a picture"),
        (
            "bomb.png",
            bomb(50_000, 50_000),
            "bomb.png has far too many pixels; at most 40 megapixels are allowed",
        ),
        ("cut.png", picture.read_bytes()[:900], "cut.png cannot be read as a picture"),
        ("drawing.svg", svg, "drawing.svg cannot be read as a picture; these can: JPEG, PNG"),
        (
            "huge.png",
            bytes(25 * 2**20),
            "huge.png has 25 MB; at most 20 MB are allowed; make it smaller",
        ),
    ):
        upload(page, name, data)
        says(page, sentence)
    unfold(page)
    turn(page, OBJECTIVE, "guide('fire5/concat', '/etc/hostname')")
    button(page, "Dream").click()
    says(page, "there is no picture '/etc/hostname' here; upload it as a guide first")
    turn(page, OBJECTIVE, "")
    dd.save_image(tmp_path / "harmless.png", photo[::-1])
    upload(page, "harmless.png", (tmp_path / "harmless.png").read_bytes())
    expect(page.get_by_label("Picture", exact=True)).to_have_value("harmless.png")
    turn(page, REPEATS, 1)
    dream(page)


@pytest.mark.slow
def test_of_two_at_once_one_waits_and_each_gets_their_picture(visit, page, tmp_path):
    one, two = visit(), page
    turn(one, REPEATS, FOR_EVER)
    turn(two, REPEATS, 1)
    turn(two, "Picture", "flower.jpg")
    start(one)
    shows(one, "live")
    start(two)
    expect(two.locator(".dd-text")).to_have_text(
        re.compile("In the queue: you are next; [1-9][0-9]* s so far")
    )
    button(two, "Stop").click()
    says(two, "Stopped.")
    start(two)
    expect(two.locator(".dd-text")).to_have_text(re.compile("In the queue: you are next"))
    button(one, "Stop").click()
    shows(one, "both")
    shows(two, "both")
    (tmp_path / "two").mkdir()
    pictures = [
        dd.load_image(downloaded(page, folder))
        for page, folder in ((one, tmp_path), (two, tmp_path / "two"))
    ]
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
    turn(page, REPEATS, 1)
    dream(page)
    button(page, "Layer tour").click()
    expect(page.get_by_role("group", name="The layer tour").get_by_role("button")).to_have_count(6)
    expect(button(page, "Dream")).to_be_enabled()
    unfold(page)
    for part in ("html", "#deepdream"):
        wide = page.locator(part).evaluate("part => part.scrollWidth - part.clientWidth")
        assert wide == 0, part
    assert page.title() == "Deep Dream" and "import" not in page.inner_text("body")
    assert all(answer.startswith((address, "data:", "blob:")) for answer in answers)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [node["html"][:100] for node in v["nodes"]]) for v in found]


def test_the_keyboard_reaches_every_control(page):
    turn(page, REPEATS, 1)
    name = dream(page)
    unfold(page)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(110):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("""() => {
              const el = document.activeElement;
              return el.ariaLabel || el.labels?.[0]?.innerText || el.innerText;
            }""").strip()
        )
    labels = (
        "Drop a photograph, or choose one|Picture|Width|Dream|Again|Undo|Layer tour"
        f"|Before and after|Copy|Network|Engine|{LAYER}|{REPEATS}|Sizes (octaves)"
        f"|Ratio of sizes (octave scale)|Strength (step)|{OBJECTIVE}|Shake (jitter)"
        f"|Tilt (turn)|{SEED}|More knobs|Dream of this picture (guide)"
        "|Where to dream (mask)|Softness (smooth)|Even scales (lap)|Keep the colours"
        "|How much|How large the forms|How wild|Films|Find a thing to draw"
        f"|What does “{REPEATS}” mean?|Zoom in|Full screen|Download {name}"
    )
    missing = set(labels.split("|")) - reached
    assert not missing, reached
    button(page, "Dream").focus()
    dream(page, lambda: page.keyboard.press("Enter"))


def workers(server):
    """The processes that dream."""
    import psutil

    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if child.nice() > psutil.Process(server.pid).nice()]


@pytest.mark.slow
def test_who_leaves_and_who_is_idle(browser, tmp_path, photo):
    settings = {
        "deepdream": VERSION,
        "model": "squeezenet_v1.1",
        "image": "forest.jpg",
        "seed": 7,
        "width": 120,
    }
    dd.save_image(tmp_path / "mine.png", photo, settings)
    # 15 seconds: an idle visitor outlasts the start of the page, even on a busy
    # machine, and nobody waits for long
    with (
        serving("--idle", 0.25, "--at-once", 1, *NO_LIMIT) as (address, server),
        visitors(browser, address) as visit,
    ):
        dreaming = visit()
        turn(dreaming, REPEATS, FOR_EVER)
        start(dreaming)
        shows(dreaming, "live")
        waiting = visit()
        turn(waiting, REPEATS, FOR_EVER)
        start(waiting)
        idle = visit()
        drop(idle, "mine.png", (tmp_path / "mine.png").read_bytes())
        says(idle, "The knobs are set as they were for mine.png.")
        expect(idle.get_by_role("status").first).to_contain_text(
            "This page was closed because it was not used"
        )
        expect(idle.get_by_role("link", name="Download mine.png")).to_be_visible()
        shows(dreaming, "live")  # and these were used even less
        expect(waiting.locator(".dd-text")).to_have_text(re.compile("In the queue"))
        [worker] = workers(server)
        worker.kill()
        says(dreaming, "the process that dreamt ended with -9")
        shows(waiting, "live")
        assert len(workers(server)) == 1
        waiting.close()
        while workers(server):  # who leaves, leaves nothing behind
            dreaming.wait_for_timeout(100)


def test_a_reload_finds_the_panel_again(visit):
    page = visit()
    turn(page, SEED, 77)
    turn(page, REPEATS, FOR_EVER)
    start(page)
    shows(page, "live")
    page.reload()
    shows(page, "live")  # the dream has gone on
    expect(page.get_by_label(SEED, exact=True)).to_have_value("77")
    second = page.context.new_page()  # a second tab shows the same panel
    second.goto(page.url)
    shows(second, "live")
    button(second, "Stop").click()
    says(page, "this is the picture so far")
    shows(page, "both")
    turn(page, REPEATS, 1)
    name = dream(page)
    past = page.get_by_role("group", name="Your dreams").get_by_role("button")
    expect(past).to_have_count(2)
    past.nth(0).click()
    expect(page.get_by_role("link", name="Download mountains-dream-1.png")).to_be_visible()
    past.nth(1).click()
    expect(page.get_by_role("link", name=f"Download {name}")).to_be_visible()
    expect(past.nth(1)).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    "options, sentence",
    [
        (("--at-once", 0), "--at-once is 0; it must be a whole number, at least 1"),
        (("--port", 0), "--port is 0; it must be a whole number from 1 to 65535"),
        (("--port", 99999), "--port is 99999; it must be a whole number from 1 to 65535"),
        (
            ("--minutes", 0),
            "--minutes is 0.0; it must be a number of minutes, above 0 and at most 1000000",
        ),
        (
            ("--idle", -1),
            "--idle is -1.0; it must be a number of minutes, above 0 and at most 1000000",
        ),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
    ],
)
def test_what_serve_refuses(options, sentence):
    refused(main("serve", *options), sentence)


def test_a_port_that_is_taken(address):
    port = address.rstrip("/").rpartition(":")[2]
    refused(
        main("serve", "--port", port),
        f"cannot listen on 127.0.0.1, port {port}: Address already in use",
    )
    with serving() as (other, _):
        assert other != address
