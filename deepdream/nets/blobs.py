"""What an objective sees of a layer, and what fills it."""

from typing import Any, NamedTuple, Protocol

from .arrays import EngineArray


class Values(Protocol):
    """What an objective sees of a layer: arrays (1, channels, h, w)."""

    @property
    def data(self) -> EngineArray: ...

    @property
    def diff(self) -> EngineArray: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class Place(NamedTuple):
    """Where a part of a blob lies in it, and how large the whole is."""

    top: int
    left: int
    height: int
    width: int


class Fill(Protocol):
    """Fills `dst.diff` with the gradient of what should rise, and returns what that
    is now. place: of a tile's `dst`.

    any_array: it works with torch's arrays, too, and depends on `data`
    alone, so that an engine may record it. Such fills are equal if they do
    the same.
    """

    @property
    def any_array(self) -> bool: ...

    def __call__(self, dst: Any, place: Place | None = None) -> EngineArray: ...


class Part(NamedTuple):
    """Values with arrays of their own."""

    data: EngineArray
    diff: EngineArray

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


class Blob(Values, Protocol):
    """pycaffe's Blob; `data` and `diff` are changed in place."""

    def reshape(self, *shape: int) -> None: ...
