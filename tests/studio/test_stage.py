"""The stage, and the other views of studio.js, as their visitors use them: by mouse,
fingers and keyboard.
"""

import io

import numpy as np
import pytest
from browsing import (
    FOR_EVER,
    REPEATS,
    button,
    dream,
    expect,
    shows,
    start,
    turn,
    unfold,
    upload,
    visitors,
)
from PIL import Image

import deepdream as dd


@pytest.fixture(scope="module")
def page(browser, address):
    """The page of a visitor whom several tests share, who has a dream."""
    with visitors(browser, address) as visit:
        page = visit()
        turn(page, REPEATS, 1)
        dream(page)
        yield page


def at(page):
    """Where the stage is: {split: percent, zoom, x, y}."""
    names = ["split", "zoom", "x", "y"]
    read = "(stage, names) => names.map(name => Number(stage.style.getPropertyValue(`--${name}`)))"
    return dict(zip(names, page.locator(".dd-stage").evaluate(read, names), strict=True))


def drag(page, start, end):
    """Drag with the mouse from a point of the stage to another, both from 0 to 1."""
    page.locator(".dd-stage").scroll_into_view_if_needed()
    box = page.locator(".dd-stage").bounding_box()
    for i, (x, y) in enumerate((start, end)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if i == 0:
            page.mouse.down()
    page.mouse.up()


def whole(page):
    """Show the whole picture, all of it the dream."""
    while at(page)["zoom"] > 1:
        button(page, "Zoom out").click()
    page.get_by_label("Before and after").fill("0")


def test_the_divider_follows_the_mouse(page):
    whole(page)
    drag(page, (0.1, 0.5), (0.6, 0.4))
    assert at(page)["split"] == pytest.approx(60, abs=1)
    clip = page.locator(".dd-after").evaluate("after => getComputedStyle(after).clipPath")
    assert clip.startswith("inset(0px 0px 0px 6")
    expect(page.get_by_label("Before and after")).to_have_value("60")


@pytest.mark.slow
def test_the_divider_follows_a_finger_and_the_page_still_scrolls(visit):
    page = visit(width=390, has_touch=True, is_mobile=True)
    turn(page, REPEATS, 1)
    dream(page)
    page.locator(".dd-stage").evaluate("stage => stage.scrollIntoView({block: 'center'})")
    box = page.locator(".dd-stage").bounding_box()
    touches = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.2, 0.5))
    for x in (0.3, 0.4, 0.6, 0.7):
        touch("touchMove", (x, 0.5))
    touch("touchEnd")
    assert at(page)["split"] == pytest.approx(70, abs=1)
    touch("touchStart", (0.45, 0.5), (0.55, 0.5))
    for apart in (0.1, 0.15, 0.2):
        touch("touchMove", (0.5 - apart, 0.5), (0.5 + apart, 0.5))
    touch("touchEnd")
    assert at(page)["zoom"] == pytest.approx(4, rel=0.3)
    whole(page)
    box = page.locator(".dd-stage").bounding_box()
    was = page.evaluate("scrollY")
    touch("touchStart", (0.5, 0.9))
    for y in (0.7, 0.5, 0.3, 0.1):
        touch("touchMove", (0.5, y))
    touch("touchEnd")
    page.wait_for_function("was => scrollY > was", arg=was)


def test_the_divider_has_arrow_keys(page):
    whole(page)
    slider = page.get_by_role("slider", name="Before and after")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert at(page)["split"] == 3
    expect(slider).to_have_attribute("aria-valuetext", "97 % of the dream is shown")


def test_zooming_and_moving(page):
    whole(page)
    page.locator(".dd-stage").dblclick(position={"x": 100, "y": 100})
    assert at(page)["zoom"] == 2.5
    was = at(page)
    drag(page, (0.5, 0.5), (0.3, 0.4))
    now = at(page)
    assert (now["x"], now["y"]) == pytest.approx(
        (was["x"] - 0.2, was["y"] - 0.1), abs=0.02
    ) and now["split"] == 0
    drag(page, (0.01, 0.5), (0.5, 0.5))  # the divider is at the edge
    assert at(page)["split"] == pytest.approx(50, abs=1) and at(page)["x"] == now["x"]
    page.locator(".dd-stage").focus()
    page.keyboard.press("ArrowRight")
    assert at(page)["x"] < now["x"]
    page.locator(".dd-stage").hover()
    page.mouse.wheel(0, 50)
    assert at(page)["zoom"] == 2.5, "the wheel is the page's"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -50)
    page.keyboard.up("Control")
    page.wait_for_function(
        "Number(document.querySelector('.dd-stage').style.getPropertyValue('--zoom')) > 2.5"
    )
    button(page, "Zoom in").click()
    whole(page)
    assert at(page) == {"split": 0, "zoom": 1, "x": 0, "y": 0}
    expect(button(page, "Zoom out")).to_be_disabled()


def test_full_screen(page):
    button(page, "Full screen").click()
    page.wait_for_function("document.fullscreenElement?.matches('.dd-frame')")
    expect(page.get_by_role("link", name="Download")).to_be_in_viewport()
    button(page, "Leave full screen").click()
    page.wait_for_function("!document.fullscreenElement")
    expect(button(page, "Full screen")).to_be_visible()


@pytest.mark.slow
def test_the_picture_can_be_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    turn(page, REPEATS, 1)
    dream(page)
    button(page, "Copy the picture").click()
    expect(page.locator(".dd-unseen")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.read().then(([item]) => item.types)") == ["image/png"]


def test_who_leaves_without_the_dream_is_asked(visit):
    page = visit()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("window.stayed = true")
    turn(page, REPEATS, 1)
    dream(page)
    page.evaluate("setTimeout(() => location.reload())")
    page.wait_for_event("dialog") if not asked else None
    assert asked == ["beforeunload"] and page.evaluate("window.stayed")
    with page.expect_download():
        page.get_by_role("link", name="Download").click()
    page.reload()
    assert len(asked) == 1 and not page.evaluate("window.stayed")


@pytest.mark.slow
def test_a_large_photograph_is_made_smaller_before_it_is_sent(visit):
    page = visit()
    small = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((8000, 6000)).save(
        file, "jpeg"
    )  # 48 megapixels, more than Python takes
    upload(page, "holiday.2015.jpeg", file.getvalue())
    expect(page.get_by_label("Picture", exact=True)).to_have_value("holiday.2015.jpg")
    page.wait_for_function("""() => {
      const image = document.querySelector(".dd-before");
      return Math.abs(image.naturalWidth / image.naturalHeight - 4 / 3) < 0.01;
    }""")


def test_a_png_is_sent_as_it_is(page, photo, tmp_path):
    settings = {
        "deepdream": dd.__version__,
        "model": "squeezenet_v1.1",
        "image": "mountains.jpg",
        "seed": 7,
    }
    dd.save_image(tmp_path / "mine.png", photo, settings)
    upload(page, "mine.png", (tmp_path / "mine.png").read_bytes())
    expect(page.get_by_role("alert")).to_contain_text("The knobs are set as they were for mine.png")


def test_a_picture_can_be_pasted(page):
    page.evaluate("""async () => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 40, height: 30});
      const clipboardData = new DataTransfer();
      const blob = await new Promise(done => canvas.toBlob(done));
      clipboardData.items.add(new File([blob], "pasted.png", {type: "image/png"}));
      document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
    }""")
    expect(page.get_by_label("Picture", exact=True)).to_have_value("pasted.png")


def test_the_field_to_search(page):
    unfold(page)
    field = page.get_by_role("combobox", name="Find a thing to draw")
    options = page.locator(".dd-search").get_by_role("option")
    expect(field).to_have_attribute("aria-expanded", "false")
    field.fill("a")
    expect(options).to_have_count(30)
    field.fill("shark white")  # in any order
    expect(options).to_have_count(1)
    field.press("ArrowDown")
    expect(field).to_have_attribute("aria-activedescendant", options.first.get_attribute("id"))
    name = options.first.inner_text()
    field.press("Enter")
    expect(field).to_have_value(name)
    expect(page.get_by_role("listbox")).to_be_hidden()
    field.fill("no such thing")
    expect(options).to_have_text("Nothing has such a name")
    field.press("Escape")
    expect(field).to_have_value(name)


def test_folds_and_helps_say_whether_they_are_open(page):
    for name, inside in (
        ("More knobs", page.get_by_label("Network", exact=True)),
        ("Films", button(page, "Zoom")),
    ):
        fold = button(page, name)
        was = fold.get_attribute("aria-expanded") == "true"
        for is_open in (not was, was):
            fold.press("Enter")
            expect(fold).to_have_attribute("aria-expanded", str(is_open).lower())
            expect(inside).to_be_visible(visible=is_open)
    ask = button(page, "What does “How much” mean?")
    expect(ask).to_have_attribute("aria-expanded", "false")
    ask.press("Enter")
    expect(ask).to_have_attribute("aria-expanded", "true")
    expect(page.locator(f"#{ask.get_attribute('aria-controls')}")).to_be_visible()


def test_a_button_keeps_the_focus_when_it_is_disabled(visit):
    page = visit()
    turn(page, REPEATS, FOR_EVER)
    button(page, "Dream").focus()
    page.keyboard.press("Enter")
    expect(button(page, "Dream")).to_be_disabled()
    expect(button(page, "Dream")).to_be_focused()
    shows(page, "live")
    page.keyboard.press("Enter")  # does nothing
    button(page, "Stop").focus()
    page.keyboard.press("Enter")
    shows(page, "both")
    expect(button(page, "Stop")).to_be_disabled()
    expect(button(page, "Stop")).to_be_focused()
    expect(button(page, "Dream")).to_be_enabled()


@pytest.mark.slow
def test_nothing_moves_for_who_wants_no_motion(visit):
    page = visit(reduced_motion="reduce")
    turn(page, REPEATS, FOR_EVER)
    start(page)
    assert page.evaluate("document.getAnimations().length") == 0
    shows(page, "live")
    assert page.evaluate("document.getAnimations().length") == 0
    button(page, "Stop").click()


def test_the_stage_does_not_jump(page):
    """Not while a dream is made, nor when its pictures change places."""
    page.evaluate("scrollTo(0, 0)")
    was = page.locator(".dd-stage").bounding_box()
    turn(page, REPEATS, 2)
    start(page)
    assert page.locator(".dd-stage").bounding_box() == was
    expect(button(page, "Dream")).to_be_enabled()
    page.evaluate("scrollTo(0, 0)")
    assert page.locator(".dd-stage").bounding_box() == was
