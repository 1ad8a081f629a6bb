"""Objectives in words: what is read, what is refused, and the way back."""

from fractions import Fraction

import numpy as np
import pytest

import deepdream as dd
from deepdream import L2, caricature
from deepdream.language import as_objective, parse


@pytest.mark.parametrize(
    "text",
    [
        "0.7 * L2('inception_4c/output') + 0.3 * channel('inception_4d/output', 42)",
        "-L2('a')",
        "L2('a') - 2 * (channel('b', 1) + unit('c', 1, 2, 3))",
        "(L2('a') + L2('b')) * 2",
        "-(L2('a') - L2('b')) / 4",
        "guide('inception_3b/output', 'flower.jpg') - (L2('a') - logit('anemone fish'))",
        "1e-05 * logit(954)",
        "strongest('a') - 2 * (weakest('b', 3) + typical('c', 2))",
        "-caricature('a') / 4 + caricature('b', power=2)",
        "0.5 * caricature('a', 'flower.jpg') + caricature('b', 'flower.jpg', power=2.5)",
    ],
)
def test_str_gives_back_the_words(text):
    assert str(eval(text, vars(dd).copy())) == str(parse(text)) == repr(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("strongest('both', n=3)", "strongest('both', 3)"),
        ("weakest(n=1, layer='both')", "weakest('both')"),
        ("caricature('both', None, 1)", "caricature('both')"),
        ("caricature('both', 'a.jpg', 2)", "caricature('both', 'a.jpg', power=2)"),
        ("caricature('both', power=1/2, image='a.jpg')", "caricature('both', 'a.jpg', power=0.5)"),
        ("guide(image='a.jpg', layer='both')", "guide('both', 'a.jpg')"),
    ],
)
def test_terms_in_words_take_keywords(text, short):
    assert str(parse(text)) == short


def test_a_guide_that_nobody_looks_at_needs_only_its_layer():
    seen = []
    assert (
        str(parse("2 * guide('left', 'a.jpg') - L2('both')", seen.append))
        == "2 * L2('left') - L2('both')"
    )
    assert seen == ["a.jpg"]
    with pytest.raises(
        dd.DreamError, match=r"guide\('left'\): missing a required argument: 'image'"
    ):
        parse("guide('left')", seen.append)


WORDS = [
    "",
    "L2('a'",
    "L2",
    "3",
    "L2('a') * L2('b')",
    "L2()",
    "L2('a').terms",
    "eval('1')",
    "L2(l='a')",
    "L2('a') / 0",
    "L2('a') if 1 else L2('b')",
    "__import__('os')",
    "L2('a' * 99999999999)",
    "-" * 100000 + "L2('a')",
]


@pytest.mark.parametrize("text", WORDS)
def test_words_that_are_not_an_objective_are_refused(text):
    terms = "L2, guide, channel, unit, logit, strongest, weakest, typical, caricature"
    with pytest.raises(dd.DreamError, match=rf"an objective is a sum such as .* of {terms}$"):
        parse(text)


def test_paths_are_asked_for_in_the_order_of_the_text_and_no_file_is_read():
    text = (
        "guide('a', 'no/1.jpg') - 2 * (caricature('b', 'no/2.jpg', power=2) + "
        "guide('a', image='no/1.jpg')) + caricature('c') + guide('d', 'no/3.jpg')"
    )
    asked = []
    objective = parse(text, lambda path: asked.append(path) or f"there's/{len(asked)}.png")
    assert asked == ["no/1.jpg", "no/2.jpg", "no/1.jpg", "no/3.jpg"]
    again = []
    assert str(parse(str(objective), lambda path: again.append(path) or path)) == str(objective)
    assert again == [f"there's/{n}.png" for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "objective",
    [
        L2("a") / Fraction(1, 2) - Fraction(1, 3) * L2("b"),
        np.float32(0.1) * (L2("a") + L2("b")) / np.int64(3),
        True * L2("a") - L2("b") / -4,
        caricature("a", power=np.float32(0.1)) * 1e-30,
    ],
)
def test_every_objective_is_read_back_from_its_words(objective):
    again = parse(str(objective))
    assert str(parse(str(again))) == str(again)
    assert [each.weight for each in again.terms] == [each.weight for each in objective.terms]


def test_a_function_keeps_its_name_and_two_of_it_are_the_same(toy):
    net = dd.load_net(toy)
    first, second = (as_objective(dd.objective_L2, "both") for _ in range(2))
    assert str(first) == "both" and first.fills(net) == second.fills(net)
    assert hash(first.fills(net)["both"]) == hash(second.fills(net)["both"])
    assert as_objective(first, "conv1") is first
    other = as_objective(lambda dst: None, "both")
    assert other.fills(net) != first.fills(net)
