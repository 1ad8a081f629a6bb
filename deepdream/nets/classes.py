"""The classes of a network: the layer that holds their values, and their names."""

from numbers import Integral
from typing import TypeGuard, TypeVar

from ..errors import DreamError, unknown
from .base import Net

T = TypeVar("T")


def is_whole(n: object) -> TypeGuard[int]:
    """Whether it is a whole number, Python's or NumPy's."""
    return isinstance(n, Integral) and not isinstance(n, bool)


def as_int(n: T) -> int | T:
    """NumPy's whole numbers as Python's; anything else as it is."""
    return int(n) if is_whole(n) else n


def check_range(what: str, i: int, n: int) -> None:
    """Raise a DreamError unless this is one of n numbers from 0."""
    if not (is_whole(i) and 0 <= i < n):
        raise DreamError(f"{what} is {i!r}; it must be a whole number from 0 to {n - 1}")


def scores(net: Net) -> str:
    """The layer whose blob holds the classes' values before the softmax, if any."""
    blobs = [layer.bottom[0] for layer in net.layer_specs if layer.type == "Softmax"]
    return blobs[-1] if blobs else net.layer_specs[-1].top[-1]


def class_number(net: Net, label: str | int) -> int:
    """The number of a class, given that or a name.

    Raises DreamError for an unknown class, and a name of several.
    """
    model, labels = net.model.name, net.labels
    if not isinstance(label, str):
        if labels:
            check_range(f"the number of a class of {model}", label, len(labels))
        return label  # without names, the number of channels of its blob is the limit
    if not labels:
        none = f"{model} has no names for its classes"
        cure = "give the number of one, or an objective such as channel('LAYER', 0),"
        raise DreamError(f"{none}; {cure} instead of {label!r}")
    given = " ".join(label.lower().replace("_", " ").split())
    names = []
    for i, all_of in enumerate(labels):
        names += [(name.strip(), i) for name in [all_of, *all_of.split(",")]]
    numbers = sorted({i for name, i in names if name.lower() == given})
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        which = "; ".join(f"{i}: {labels[i]}" for i in numbers)
        several = f"{label!r} names {len(numbers)} classes of {model}"
        raise DreamError(f"{several}; give the number of one ({which})")
    if label in net.climbable:
        raise DreamError(f"{label!r} is a layer, not a class; L2({label!r}) climbs it")
    single = list(dict.fromkeys(name for name, _ in names if "," not in name))
    similar = [name for name in single if given and given in name.lower()]
    raise unknown("class", label, similar or single, f"{model} has {len(labels)} classes")
