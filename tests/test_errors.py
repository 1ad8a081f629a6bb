"""Errors as sentences: what they name, how long they are, what they suggest."""

import errno
import sys

import pytest

from deepdream import errors
from deepdream.errors import DreamError

LAYERS = ["conv1", "conv2", "inception_4c/1x1", "inception_4c/output", "prob"]


def test_a_setting_is_called_what_the_reader_calls_it():
    error = DreamError("{setting} is 0; it must be 1 or more", "iter_n")
    assert str(error) == "iter_n is 0; it must be 1 or more"
    assert error.named("--iterations") == "--iterations is 0; it must be 1 or more"
    assert str(DreamError("{setting} stays where no setting is at fault")).startswith("{setting}")
    assert str(DreamError()) == ""


def test_what_a_message_quotes_is_short():
    error = DreamError(f"{{setting}} is {'x' * 5000!r}; it must be text", "end")
    assert str(error).startswith("end is 'xxx")
    assert str(error).endswith("x'; it must be text")
    assert len(str(error)) < 200
    assert len(str(DreamError("a b " * 5000))) <= errors.LONGEST


def test_a_message_is_one_line_that_can_be_printed():
    strange = DreamError("\x1b[2Ja\nb \u202e\x9b \ud800 é 🦆")
    assert str(strange) == r"\x1b[2Ja\nb \u202e\x9b \ud800 é 🦆"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("conv", "did you mean 'conv2' or 'conv1'?"),
        ("inception_4c", "did you mean 'inception_4c/output' or 'inception_4c/1x1'?"),
        ("porb", "did you mean 'prob'?"),
        ("xyz", "allowed: conv1, conv2, inception_4c/1x1, inception_4c/output, prob"),
        ("", "allowed: conv1"),
        (None, "unknown layer 'None'"),
    ],
)
def test_an_unknown_name_brings_the_closest_ones(given, says):
    message = str(errors.unknown("layer", given, LAYERS, "`deepdream layers` lists them"))
    assert says in message and message.endswith("(`deepdream layers` lists them)")


def test_of_many_names_the_first_are_listed():
    message = str(errors.unknown("class", "x", map(str, range(100)), "there are no others"))
    assert "allowed: 0, 1, 2, " in message and ", 11, ..." in message and "12" not in message


def test_an_option_that_holds_the_word_comes_first():
    options = ["--scales", "--octave-scale", "--size"]
    message = str(errors.unknown("option", "--octave", options, "`--help` shows all"))
    assert "did you mean '--octave-scale'" in message


def test_long_names_are_compared_quickly():
    message = str(errors.unknown("layer", "both" * 10**6, ["both"] * 1000, "no others"))
    assert len(message) < 400


@pytest.mark.parametrize(
    ("error", "why", "where"),
    [
        (OSError(errno.ENOSPC, "No space left", "/a"), "No space left", "No space left: /a"),
        (OSError("nobody answers"), "nobody answers", "nobody answers"),
        (RecursionError("maximum recursion"), "it is nested too deeply", "it is nested too deeply"),
        (ValueError(), "ValueError", "ValueError"),
    ],
)
def test_why_something_failed(error, why, where):
    assert errors.reason(error) == why
    assert errors.in_words(error) == where


def test_what_means_that_memory_ran_out():
    assert errors.out_of_memory(MemoryError())
    assert errors.out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not errors.out_of_memory(RuntimeError("shapes differ"))
    assert not errors.out_of_memory(OSError("out of memory"))


def test_how_to_install_a_package(monkeypatch):
    monkeypatch.setattr(errors, "find_spec", lambda name: name == "pip")
    assert errors.install("torch") == "`pip install torch` installs it"
    assert errors.install("a", "b") == "`pip install a b` installs them"
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    assert f"{sys.executable} -m ensurepip && " in errors.install("torch")
