"""Many visitors, and many dreams, on the real page: each gets its dream, and the memory
stays what it was.
"""

import threading

import pytest
from browsing import REPEATS, button, dream, expect, serving, shows, turn, visitors

from deepdream.pictures import SAMPLES
from deepdream.studio.shelf import MOST_FILES

psutil = pytest.importorskip("psutil")


def memory(server):
    """How many bytes the server and its workers hold; shared pages count once."""
    held = 0
    for process in [
        psutil.Process(server.pid),
        *psutil.Process(server.pid).children(recursive=True),
    ]:
        try:
            held += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return held


@pytest.mark.slow
def test_twelve_at_once_each_get_their_dream(browser, googlenet):
    most, done = [0], threading.Event()

    def watch(server):
        while not done.wait(0.2):
            most[0] = max(most[0], memory(server))

    with serving("--at-once", 1) as (address, server), visitors(browser, address) as visit:
        pages = [visit() for _ in range(12)]
        for page in pages:
            page.get_by_label("Network", exact=True).select_option(
                label="GoogLeNet, ImageNet (BVLC)"
            )
            turn(page, "Width", 640)
            turn(page, REPEATS, 1)
        watcher = threading.Thread(target=watch, args=(server,))
        watcher.start()
        for page in pages:
            button(page, "Dream").click()
        for page in pages:
            shows(page, "both")
            expect(page.get_by_role("link", name="Download mountains-dream-1.png")).to_be_visible()
        done.set()
        watcher.join()
    print(f"at most {most[0] / 2**30:.2f} GB for 12 visitors")
    assert most[0] < 3 * 2**30


@pytest.mark.slow
def test_many_dreams_leave_the_memory_as_it_was(browser):
    """As many as a panel keeps: 200 files, with the samples."""
    with serving("--at-once", 1) as (address, server), visitors(browser, address) as visit:
        page = visit()
        turn(page, "Width", 64)
        turn(page, "Sizes (octaves)", 1)
        turn(page, REPEATS, 1)
        for _ in range(20):
            dream(page)
        before = memory(server)
        for _ in range(MOST_FILES - len(SAMPLES) - 20):
            dream(page)
        after = memory(server)
        print(f"{before / 2**20:.0f} MB after 20 dreams, {after / 2**20:.0f} MB after all")
        assert after < 1.1 * before
