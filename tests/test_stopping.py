"""Ctrl-C: a step is done whole or not at all."""

import signal
import threading

import pytest
from jupyter_client.manager import start_new_kernel

from deepdream.stopping import Stopped, delay_ctrl_c


def test_ctrl_c_waits_for_the_end_of_the_block():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), delay_ctrl_c():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done and signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_is_raised_as_it_is():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError), delay_ctrl_c():
        signal.raise_signal(signal.SIGINT)
        raise ValueError
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_never_receive_it():
    done = []

    def work():
        with delay_ctrl_c():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_stopping_is_handled_like_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        raise Stopped


SET_UP = """
import numpy as np, deepdream as dd, signal
net = dd.load_net({toy!r})
image = np.random.RandomState(0).uniform(0, 255, (24, 32, 3))


def press(step):
    if step.iteration == 1 and not step.stopped:
        signal.raise_signal(signal.SIGINT)


def dream(**how):
    return dd.deepdream(net, image, 4, 2, end="both", seed=0, **how)
"""


class Kernel:
    """A real kernel of Jupyter's. run: (status, [what was shown]) of cells that were
    all sent at once, as *Run All* does.
    """

    def __init__(self, client):
        self.client = client

    def run(self, *cells):
        sent = [self.client.execute(cell, stop_on_error=True) for cell in cells]
        said = {number: [] for number in sent}
        for _ in range(1000):
            message = self.client.get_iopub_msg(timeout=60)
            number, content = message["parent_header"].get("msg_id"), message["content"]
            if message["msg_type"] in ("stream", "error", "execute_result"):
                text = content.get("text") or content.get("traceback")
                said[number].append(text or content["data"]["text/plain"])
            if number == sent[-1] and content.get("execution_state") == "idle":
                break
        replies = [self.client.get_shell_msg(timeout=60)["content"] for _ in sent]
        return [(reply["status"], said[number]) for reply, number in zip(replies, sent)]


@pytest.fixture
def kernel(toy):
    manager, client = start_new_kernel()
    kernel = Kernel(client)
    assert kernel.run(SET_UP.format(toy=str(toy))) == [("ok", [])]
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_in_a_notebook_ctrl_c_keeps_the_picture_and_ends_the_queue(kernel):
    slow = "import time; time.sleep(1); "  # until the next cell waits
    one, two = kernel.run(f"{slow}picture = dream(on_step=press)", "print('the next cell')")
    assert one == ("error", []), "no traceback: the picture is there"
    assert two == ("aborted", [])
    assert kernel.run("picture.shape, bool((picture != image).any())") == [
        ("ok", ["((24, 32, 3), True)"])
    ]
    same = "import numpy; fresh = dream(); numpy.array_equal(dream(), fresh)"
    assert kernel.run(same) == [("ok", ["True"])]


@pytest.mark.parametrize(
    "cell",
    [
        "made = []\nfor n in range(3): made.append(dream(on_step=press))",
        "made = [dream(on_step=press)]; dd.draw(net, dd.L2('both'), steps=3)",
        "made = [dd.draw(net, dd.L2('both'), steps=3, on_step=press)]; dream()",
    ],
)
def test_in_a_notebook_ctrl_c_ends_a_loop_of_dreams(kernel, cell):
    ((status, said),) = kernel.run(cell)
    assert status == "error" and said == [["Stopped; what follows in this cell is not made"]]
    assert kernel.run("len(made), dream().shape") == [("ok", ["(1, (24, 32, 3))"])]


def test_a_film_that_is_stopped_in_a_notebook_keeps_its_frames(kernel, tmp_path):
    film = tmp_path / "film.gif"
    cell = f"""
from itertools import count
steps = count()
frames = dd.zoom(
    net, image, 9, iter_n=2, octave_n=1, end="both", seed=0,
    on_step=lambda step: next(steps) == 6 and signal.raise_signal(signal.SIGINT),
)
dd.save_film({str(film)!r}, frames)
"""
    ((status, said),) = kernel.run(cell)
    assert status == "error" and said == [[f"Stopped; {film} has the 3 frames that were made"]]
    assert film.stat().st_size > 0


def test_a_mistake_in_a_notebook_is_short(kernel):
    cell = "def make():\n    return dream(step_size='x')\n\n\nmake()"
    ((_, (said,)),) = kernel.run(cell)
    assert said[:2] == ["line 5: make()", "line 2: return dream(step_size='x')"]
    assert said[2].startswith("line 12: return dd.deepdream(net, image, 4, 2")
    assert said[3].startswith("DreamError: step_size is 'x'; it must be a number")
    assert len(said) == 4
