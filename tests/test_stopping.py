"""Ctrl-C: a step is done whole or not at all."""

import signal
import threading

import pytest

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
