"""What people give: pictures of many kinds, and names of settings. Each
kind of mistake has its sentence here.

Pillow is imported late: it is heavy.
"""

import sys
import warnings
from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, TypeGuard

import numpy as np

from .errors import DreamError, shorten, unknown
from .settings import ROWS, Setting, rows_for

if TYPE_CHECKING:
    from PIL.Image import Image


class Picture(np.ndarray):
    """An array that a notebook shows as a picture, where it is (H, W, 3)."""

    @property
    def is_shown(self) -> bool:
        """Whether it is a picture, and not a part of one, or a number."""
        return self.ndim == 3 and self.shape[2] == 3 and 0 not in self.shape

    def _repr_jpeg_(self) -> bytes | None:
        if not self.is_shown or self.dtype.kind not in "uif":
            return None
        from PIL import Image

        file = BytesIO()
        values = np.nan_to_num(np.asarray(self)).clip(0, 255)
        Image.fromarray(np.uint8(values)).save(file, "jpeg", quality=90)
        return file.getvalue()

    def __array_wrap__(
        self, array: np.ndarray, context: object = None, return_scalar: bool = False
    ) -> np.ndarray:
        """What a calculation returns: a picture, if it is one, or plain numbers."""
        if return_scalar:
            return array[()]
        is_picture = array.ndim == 3 and array.shape[2] == 3
        return array.view(Picture if is_picture else np.ndarray)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple:
        """Files and other processes get plain numbers."""
        return np.asarray(self).__reduce_ex__(protocol)


def as_image(given: object) -> np.ndarray:
    """A picture (H, W, 3), of an array or one of Pillow's. Raises as `check_image`."""
    if is_pillow(given):
        return np.asarray(to_rgb(given))
    check_image(given)
    return np.asarray(given)


def is_pillow(given: object) -> "TypeGuard[Image]":
    """Whether it is a picture of Pillow's."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(given, pillow.Image)


def to_rgb(image: "Image", name: str = "") -> "Image":
    """A picture of Pillow's, upright, with 8 bits a colour, on white.
    Raises DreamError for values that are not finite. name: to call it by.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # Pillow would cut these off at 255
        image = _reduce_to_8_bits(image, name)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _reduce_to_8_bits(image: "Image", name: str) -> "Image":
    from PIL import Image

    values = np.asarray(image, np.float32)
    if not np.isfinite(values).all():
        raise DreamError(f"cannot read the picture {name}: some of its values are not numbers")
    if image.mode.startswith("I;16") or values.max() > 255:
        values = values / 257  # 16 bits
    elif image.mode == "F" and values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.uint8(np.clip(values, 0, 255)))


def check_image(img: object) -> None:
    """Raise a DreamError unless this is an image (H, W, 3) of finite numbers."""
    if is_pillow(img):
        return
    if isinstance(img, (str, Path)):
        path = shorten(str(img), 60)
        fault = f"{path!r} is the path of a picture, not a picture"
        raise DreamError(f"{fault}; load_image({path!r}) reads it")
    must = "an image is an array (height, width, 3), RGB"
    try:
        array = np.asarray(img)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DreamError(f"{must}; this is {_kind(img)} ({error})") from None
    if array.dtype == object:
        raise DreamError(f"{must}; this is {_kind(img)}; see `load_image`")
    shape = array.shape
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise DreamError(f"{must}; this one is {shape}; {_cure(shape)}")
    is_finite = array.dtype.kind in "buif"
    if is_finite:  # NaN could make Caffe write anywhere
        with np.errstate(over="ignore"):  # in float32, as the network will see them
            ends = np.array([np.min(array), np.max(array)], np.float32)
        is_finite = np.isfinite(ends).all()
    if not is_finite:
        raise DreamError("some of the image's values are not numbers, or not finite")


def _kind(given: object) -> str:
    return "None" if given is None else f"of type {type(given).__name__!r}"


def _cure(shape: tuple[int, ...]) -> str:
    """What to do with an array of this shape."""
    if 0 in shape or not shape:
        return "see `load_image`"
    if len(shape) == 2 or shape[2:] == (1,):
        take = "img" if len(shape) == 2 else "img[..., 0]"
        return f"it is grey: np.stack([{take}] * 3, 2) has three colours; see `load_image`"
    if shape[2:] == (4,):
        return "img[..., :3] is it without its alpha channel; see `load_image`"
    if len(shape) == 4 and shape[3] == 3:
        return "give one of its pictures, such as img[0]"
    if len(shape) == 3 and shape[0] == 3:
        return "img.transpose(1, 2, 0) has the colours last; see also `deprocess`"
    return "see `load_image`"


def warn_dark(image: np.ndarray) -> None:
    """Warn of a picture whose values look as if they go from 0 to 1."""
    if image.dtype.kind == "f" and 0 < image.max() <= 1 and image.min() >= 0:
        fault = "the image's values go from 0 to 1, which is nearly black"
        must = "they must go from 0 to 255: give 255 * img"
        warnings.warn(f"{fault}; {must}", stacklevel=4)


def spellings() -> dict[str, str]:
    """{another name of a setting: its name in Python}, of those of a dream."""
    rows = {name: ROWS[name] for name in ("end", "mask")} | rows_for("deepdream")
    return {other: name for name, row in rows.items() for other in _other_names(row)}


def _other_names(row: Setting) -> list[str]:
    """What the command line and the studio call it, and each word of that."""
    options = [row.option, row.alias or ""]
    names = [option.strip("-").replace("-", "_") for option in options]
    words = (row.knob or "").lower().replace("(", " ").replace(")", " ").split()
    names += words
    return [name for name in names if name and name != row.name]


def check_keywords(given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise a DreamError for keywords that a dream does not take."""
    allowed = [name for name in allowed if name not in ("net", "base_img", "dream_params")]
    allowed += rows_for("deepdream").keys() - set(allowed)
    other = spellings()
    for name in given:
        if name in allowed:
            continue
        like = [each for each in allowed if _letters(each) == _letters(name)]
        meant = like[0] if like else other.get(name.lower())
        if meant:
            raise DreamError(f"unknown setting {name!r}; in Python it is called {meant!r}")
        raise unknown("setting", name, allowed, "a dream has no others")


def _letters(name: str) -> list[str]:
    """For n_iter and iter_n the same."""
    return sorted(name.lower().replace("_", ""))


def add_keywords(function: Callable, *others: Callable) -> None:
    """Let help and Tab name the keywords that a function passes on to others,
    in place of its `**params`.
    """
    own = signature(function)
    known = {name: p for name, p in own.parameters.items() if p.kind != Parameter.VAR_KEYWORD}
    for other in others:
        for name, parameter in signature(other).parameters.items():
            if name not in known and parameter.kind != Parameter.VAR_KEYWORD:
                known[name] = parameter.replace(kind=Parameter.KEYWORD_ONLY)
    function.__dict__["__signature__"] = own.replace(parameters=list(known.values()))
