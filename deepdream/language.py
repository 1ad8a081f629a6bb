"""Objectives in words, and whatever else a person may give for one."""

import ast
import warnings
from collections.abc import Callable
from inspect import signature
from operator import add, mul, sub, truediv
from typing import Any

from .algebra import Function, Objective, Weighted
from .errors import DreamError
from .nets.base import Values
from .objectives import L2, TERMS, logit, objective_L2
from .pictures import or_sample

ObjectiveLike = Callable[[Values], object] | Objective | str  # what `make_step` takes
OPERATORS = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv}
WRONG = SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError


def as_objective(given: ObjectiveLike, end: str | None) -> Objective:
    """An Objective: given itself, in words, or as a function that fills the
    diff of layer `end`, perhaps with an attribute `any_array`, see `Fill`.
    Raises DreamError for anything else, and for words that are none.
    """
    if isinstance(given, (str, Objective)):
        return to_objective(given)
    if end is not None and not isinstance(end, str):
        raise DreamError(_say_one_layer(end))
    if callable(given) and given in TERMS.values():
        name = getattr(given, "__name__", "")
        cure = f"write objective={name}(...), with what it takes"
        raise DreamError(f"objective={name} makes an Objective, and is none; {cure}")
    if not callable(given):
        must = "it must be a function that fills dst.diff, an Objective, or words"
        several = "; add its parts with +" if isinstance(given, (list, tuple)) else ""
        raise DreamError(f"objective is {given!r}; {must}{several}")
    any_array = given is objective_L2 or bool(getattr(given, "any_array", False))
    return Objective(str(end), [Weighted(1.0, Function(given, str(end), any_array))])


def _say_one_layer(end: object) -> str:
    fault = f"end is {end!r}; it must be the name of one layer"
    if not isinstance(end, (list, tuple)) or not end:
        return fault
    if len(end) == 1:
        return f"{fault}: end={end[0]!r}"
    terms = " + ".join(f"L2({each!r})" for each in end)
    return f"{fault}; objective={terms} climbs them all, with L2 of deepdream"


def to_objective(what: str | int | Objective) -> Objective:
    """An Objective: given itself, in words, where a guide may be one of the
    package's photographs, or as a class, by name or number. Raises
    DreamError as `parse`.
    """
    if isinstance(what, Objective):
        return what
    if isinstance(what, (list, tuple, dict)) or what is None or callable(what):
        must = "one class, by name or number, or an Objective"
        raise DreamError(f"what to draw is {what!r}; it must be {must}")
    if not isinstance(what, str):
        return logit(what)
    what = what.strip()
    if "(" in what:
        return parse(what, or_sample)
    return logit(int(what) if what.isdecimal() else what)


def parse(text: str, find: Callable[[str], str | None] = str) -> Objective:
    """The objective in words such as "L2('conv2') - 3 * channel('conv3',
    7)"; no file is read. Raises DreamError for words that are no objective.

    find: the path to read a guide from, given each in the text, in its
    order. Where it makes None, nobody will look at the guide: L2 of its
    layer stands for it.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # they are for programmers
            tree = ast.parse(text.strip(), mode="eval")
        objective = _build(tree.body, find)
        if not isinstance(objective, Objective):
            raise TypeError("it has no term")
        return objective
    except WRONG as error:
        reason = getattr(error, "msg", error) or type(error).__name__
        example = "L2('inception_4c/output') + 8000 * channel('inception_4c/output', 237)"
        form = f'an objective is a sum such as "{example}", of {", ".join(TERMS)}'
        raise DreamError(f"cannot read {text[:200]!r}: {reason}; {form}") from None


def _build(node: ast.expr, find: Callable[[str], str | None]) -> Any:
    """The Objective, number, text or None that this piece means, or one of WRONG."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            sides = _build(left, find), _build(right, find)
            if str not in map(type, sides):
                return OPERATORS[type(op)](*sides)
        case ast.UnaryOp(ast.USub(), operand):
            return -_build(operand, find)
        case ast.Call(ast.Name(name)) if name in TERMS:
            return _build_term(node, name, find)
        case ast.Constant(str() | int() | float() | None as value) if value is not True:
            return value
    raise TypeError(f"{ast.unparse(node)!r} has no meaning in it")


def _build_term(node: ast.Call, name: str, find: Callable[[str], str | None]) -> Objective:
    shown = ast.unparse(node)
    named = {str(each.arg): _build(each.value, find) for each in node.keywords}
    try:
        given = signature(TERMS[name]).bind(*(_build(each, find) for each in node.args), **named)
    except TypeError as error:
        raise TypeError(f"{shown}: {error}") from None
    path = given.arguments.get("image")
    if path is not None:
        if not isinstance(path, str):
            raise TypeError(f"the image of {shown} must be a path in quotes")
        found = find(path)
        if found is None:
            return L2(given.arguments["layer"])
        given.arguments["image"] = found
    return TERMS[name](*given.args, **given.kwargs)
