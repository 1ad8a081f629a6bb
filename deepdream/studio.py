"""The studio: knobs, and a picture that dreams before your eyes, in a notebook or as a page for all who do not program.

Knobs are ipywidgets. Where those have nothing (a place to drop a file, a picture before and after, pictures that are
buttons) studio.js has a view. A dream goes through the command line's own parser and function, so that the command that
is shown makes the same picture; and it runs in a thread, so that the page stays live.
"""

import os
import re
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from pathlib import Path
from shlex import join
from tempfile import TemporaryDirectory
from threading import Event, Thread

import anywidget
import ipywidgets
import numpy as np
from traitlets import Bool, Bytes, Float, Int, List, TraitError, Unicode

from . import caffemodel, zoo
from .__main__ import command, dreamt, parsed, parsers, sha256
from .dream import deepdream
from .errors import DreamError, out_of_memory, unknown
from .movie import noise, stations
from .net import ENGINES, load_net
from .serve import in_turn
from .show import SAMPLES, encode, load_image, read_settings, save_image

HERE = Path(__file__).parent
MOST_BYTES = 20 * 2**20  # of a file that is dropped
MOST_PIXELS = 40_000_000  # of the picture in it
MOST_SIDE = 30_000  # pixels; a JPEG has 65,500 at most
MOST_KEPT = 500 * 2**20  # bytes of one panel's pictures
MOST_DREAMT = 8_000_000  # pixels of a dream
MOST_SHOWN = 2_000_000  # pixels of the picture before
FORMATS = "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"  # some others that Pillow knows start programs
EVERY = 0.2  # seconds from one live picture to the next
DEPTHS = {  # a layer's receptive field, over the side of the pictures its network was made for: what it tends to show
    0.27: "edges and strokes",
    0.77: "textures and eyes",
    1.4: "animal parts",
    np.inf: "whole things",
}
ENGINE_NAMES = {
    "caffe": "Caffe, as in 2015",
    "torch": "PyTorch, several times faster",
    "torch bfloat16": "PyTorch, bfloat16: faster, less exact",
}
NOISE = "noise"
SILENT = ("device", "cpu"), ("dtype", "float32")
TOUR_STOPS, TOUR_WIDTH, TOUR_PIXELS, TOUR_OCTAVES = 6, 240, 60_000, 3
KNOBS_LINE, PICTURE_LINE = "These knobs, on the command line", "This picture, on the command line"


class View(anywidget.AnyWidget):
    """One of the views in studio.js, which `kind` chooses."""

    _esm = HERE / "studio.js"
    _css = HERE / "studio.css"
    kind = Unicode().tag(sync=True)


class Drop(View):
    """A place to drop a file on, or to choose one with: calls `on_file(name, size, bytes)`, bytes None if too large."""

    kind = Unicode("drop").tag(sync=True)
    what = Unicode().tag(sync=True)
    most = Int(MOST_BYTES).tag(sync=True)
    anywhere = Bool(False).tag(sync=True)  # takes what falls anywhere on the panel

    def __init__(self, on_file: Callable, **traits):
        super().__init__(**traits)
        self.on_file, self.data = on_file, bytearray()
        self.on_msg(self._heard)

    def _heard(self, _, about, pieces):
        """Files come in pieces, for servers close the line on large messages; of one that is too large comes none."""
        if about.get("at", 0) == 0:
            self.data = bytearray()
        for piece in pieces:
            self.data += piece
        size = max(about["size"], len(self.data))
        if size > MOST_BYTES or len(self.data) == size:
            self.on_file(about["name"], size, None if size > MOST_BYTES else bytes(self.data))
            self.data = bytearray()


class Picture(View):
    """The picture before and after, or as it dreams; progress; what there is to say; the result to download."""

    kind = Unicode("picture").tag(sync=True)
    before = Bytes().tag(sync=True)  # JPEG
    live = Bytes().tag(sync=True)  # JPEG
    after = Bytes().tag(sync=True)  # the file to download, which carries its settings
    name = Unicode().tag(sync=True)
    busy = Bool(False).tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    text = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)


class Strip(View):
    """Pictures that are buttons, {layer, says, picture (JPEG)}; sends the number of the one that is pressed."""

    kind = Unicode("strip").tag(sync=True)
    stops = List().tag(sync=True)
    chosen = Unicode().tag(sync=True)


class Line(View):
    """A line of text to copy, and what it is the line of."""

    kind = Unicode("line").tag(sync=True)
    of = Unicode().tag(sync=True)
    text = Unicode().tag(sync=True)


class Studio(ipywidgets.VBox):
    """A panel of knobs for dreams; as the last expression of a notebook's cell it shows itself.

    net: a network that is there already, see `load_net`; without, the panel has a choice of networks and engines, and
    loads one for the first dream. `knobs`: the ipywidgets, by their names in Python; `settings()`, `restore(settings)`:
    the knobs as a picture's settings, and back; `dream()`, `stop()`, `again()`, `undo()`, `tour()`: the buttons.
    `result`: the path of the dream that is shown, in a folder that lasts as long as the panel, or None.
    """

    def __init__(self, net=None):
        self.given, self.net, self.net_is = net, net, None
        self.folder = TemporaryDirectory(prefix="deepdream-", dir=os.environ.get("DEEPDREAM_PAGE"))
        self.files = dict(SAMPLES)  # {name: path} of every picture there is: samples, uploads, dreams
        self.states = []  # (picture, dream or None, its command), names in files; the last one is shown
        self.stopping, self.thread, self.offering = Event(), None, False

        self.knobs = _knobs(net)
        self.picture, self.strip, self.line = Picture(), Strip(), Line()
        self.strip.on_msg(self._pressed)
        self.buttons = {}
        for press, name, tip in (
            (self.dream, "Dream", "Dream the picture with these knobs"),
            (self.stop, "Stop", "Stop after this step, and keep the picture so far"),
            (self.again, "Again", "Dream on, on the result"),
            (self.undo, "Undo", "Back to the picture before"),
            (self.tour, "Layer tour", "The picture, small, at six depths of the network"),
        ):
            button = self.buttons[press.__name__] = ipywidgets.Button(description=name, tooltip=tip)
            button.on_click(lambda _, press=press: press())
        self.drops = drops = {
            role: Drop(partial(self._dropped, role), what=what, anywhere=role == "image")
            for role, what in (("image", "a photograph"), ("guide", "a guide"), ("mask", "a mask"))
        }
        self.buttons["dream"].button_style = "primary"
        more = ipywidgets.ToggleButton(description="More knobs")
        more.add_class("dd-more")
        knobs = dict(self.knobs)
        source = [drops["image"], knobs.pop("image"), knobs.pop("width")]
        folded = [knobs.pop("guide"), drops["guide"], knobs.pop("mask"), drops["mask"]]
        folded += [knobs.pop(name) for name in ("objective", "smooth", "keep_color")]
        result = [_box("dd-buttons", self.buttons.values()), self.picture, self.strip, self.line]
        controls = [_box("dd-knobs", knobs.values()), more, _box("dd-knobs dd-folded", folded)]
        panes = [_box("dd-source", source), _box("dd-result", result), _box("dd-controls", controls)]
        super().__init__([_box("dd-panes", panes)])
        self.add_class("dd-studio")
        for name, knob in self.knobs.items():
            knob.observe(lambda _, name=name: self._turned(name), "value")
        self._turned("model")
        self._go(self.knobs["image"].value)

    # Knobs and settings

    def settings(self) -> dict:
        """The knobs, as the settings of the dream that they would make."""
        settings = {name: knob.value for name, knob in self.knobs.items()}
        settings["objective"] = settings["objective"].strip()
        if settings["objective"]:  # it names its own layers and guides
            settings |= {"end": "", "guide": ""}
        if not settings["image"]:
            width = settings.pop("width")
            settings["size"] = _noise_size(width)
        settings["engine"], _, settings["dtype"] = settings["engine"].partition(" ")
        return {"command": "dream"} | {name: value for name, value in settings.items() if value != ""}

    def restore(self, settings: dict) -> list[str]:
        """Turn the knobs to the settings of a picture, see `read_settings`; answers with what is not here for that.

        Raises DreamError, and turns none, where the settings are none of a dream, or a knob does not go there.
        """
        if "deepdream" not in settings or settings.get("command", "dream") != "dream" or "draw" in settings:
            raise DreamError("it carries no settings of a dream of a picture, and only those have knobs here")
        args, lost = parsed([*command(settings), "-o", "-"]), []
        digests = settings.get("sha256")
        for name in ("image", "guide", "mask"):
            given = getattr(args, name)
            found = given and self._found(Path(given).name, isinstance(digests, dict) and digests.get(name))
            if given and not found:
                lost.append(f"the {name} {Path(given).name}")
            setattr(args, name, found or "")
        engine = f"{args.engine} bfloat16" if args.dtype == "bfloat16" else args.engine
        if engine and engine not in [value for _, value in self.knobs["engine"].options]:
            lost.append(f"the engine {engine}")
            engine = None
        if args.size:
            height, args.width = args.size
            if f"{args.width}x{height}" != _noise_size(args.width):
                lost.append(f"--size {args.width}x{height}")
        elif not args.image:
            args.image = None
        lost += [f"--device {args.device}"] if args.device not in (None, "cpu") else []
        lost += [option for option, given in (("--no-clip", not args.clip), ("--tile", args.tile)) if given]
        args.engine, args.objective = engine, args.objective or ""
        wanted = {name: getattr(args, name) for name in self.knobs}
        self.turn(**{name: value for name, value in wanted.items() if value is not None})
        return lost

    def turn(self, **values) -> None:
        """Turn knobs, by their names in Python, `turn(end='inception_3b/output', iter_n=20)`; all, or none."""
        for name in values:
            if name not in self.knobs:
                raise unknown("knob", name, self.knobs, "the panel has no others")
        before, states = {name: self.knobs[name].value for name in values}, len(self.states)
        try:
            for name, value in values.items():
                self._turn(self.knobs[name], value)
        except (DreamError, OSError):
            for name, value in before.items():
                self.knobs[name].value = value
            del self.states[states:]
            self._show()
            raise
        del self.states[states:-1]  # all of it is one turn for `undo`

    def _turn(self, knob, value):
        label = knob.description
        with suppress(TraitError):
            knob.value = value
            if knob.value == value:
                return
        if hasattr(knob, "options"):
            raise unknown(label.lower(), value, [option for _, option in knob.options], "the knob has these")
        if hasattr(knob, "max"):
            raise DreamError(f"{label} is {value}; the knob goes from {knob.min} to {knob.max}")
        raise DreamError(f"{label} cannot be {value!r}")

    def _turned(self, name):
        """What follows when a knob has been turned."""
        if self.offering:
            return
        knobs = self.knobs
        if name == "model":
            model = self.given.model if self.given else zoo.find(knobs["model"].value)
            layers = self.layers = _layers(model)
            was = knobs["end"].value
            knobs["end"].options = [(f"{layer} · {says}", layer) for layer, says in layers.items()]
            knobs["end"].value = next(layer for layer in (was, model.default_layer, *layers) if layer in layers)
        if name in ("model", "image") and not self.picture.busy:
            self.strip.stops = []  # of another network, or picture
        if name == "image" and not self.picture.busy:
            self._go(knobs["image"].value)
        elif name in ("seed", "width") and self.states and self.states[-1][:2] == ("", None):
            self._show()  # other noise
        self.strip.chosen = knobs["end"].value or ""
        self._tell()

    def _pressed(self, _, layer, __):
        with self._saying():
            self.turn(end=layer)

    # Pictures

    @property
    def result(self) -> Path | None:
        return self.files.get(self.states[-1][1])

    def _go(self, image, dream=None, text=None, of=PICTURE_LINE):
        """Show a picture, and what was dreamt of it; `undo` comes back from there."""
        if self.states and self.states[-1][:2] == (image, dream):
            return
        self.states.append((image, dream, text and (text, of)))
        self._show()

    def _show(self):
        image, dream, text = self.states[-1]
        before = encode(self._image(image, self.knobs["width"].value, MOST_SHOWN), "jpeg")
        after = self.files[dream].read_bytes() if dream else b""
        with self.picture.hold_sync():
            self.picture.before, self.picture.after = before, after
            self.picture.live, self.picture.name = b"", dream or ""
        self._tell(*text or ())
        self._ready()

    def _tell(self, text=None, of=KNOBS_LINE):
        with self.line.hold_sync():
            self.line.text, self.line.of = text or _line(self.settings()), of

    def _image(self, name, width, most):
        """The picture of this name, of at most so many pixels; noise where there is no name."""
        if name:
            return load_image(self.files[name], min(width, _widest(*_size(self.files[name]), most)))
        width = min(width, _widest(9, 16, most))
        return noise((max(1, round(width * 9 / 16)), width), self.knobs["seed"].value)

    def _keep(self, name, data):
        """Keep a picture's file among those to choose from; the name that it has there."""
        name = re.sub(r"[^\w.() -]+", "_", name.replace("\\", "/").split("/")[-1]).lstrip(" .-") or "picture"
        stem, suffix = os.path.splitext(name)
        stem, suffix = (part.encode()[:most].decode(errors="ignore") for part, most in ((stem, 80), (suffix, 10)))
        name, n = stem + suffix, 1
        while name in self.files and self.files[name].read_bytes() != data:
            n += 1
            name = f"{stem}-{n}{suffix}"
        if name not in self.files:
            self._check_room(len(data))
            path = Path(self.folder.name, name)
            path.write_bytes(data)
            self._add(path)
        return name

    def _check_room(self, needed=0):
        held = sum(file.stat().st_size for file in Path(self.folder.name).iterdir())
        if held + needed > MOST_KEPT:
            raise DreamError(f"more than {MOST_KEPT >> 20} MB of pictures are here; begin anew with a fresh panel")

    def _add(self, path):
        """A picture more to choose from."""
        self.files[path.name] = path
        self.offering = True  # new options move a Dropdown's value for a moment
        _offer(self.knobs, self.files)
        self.offering = False

    def _found(self, name, digest):
        """The name here of a picture that settings name, or None."""
        same = (n for n, path in self.files.items() if (sha256(path) == digest if digest else n == name))
        return next(same, None)

    def _dropped(self, role, name, size, data):
        with self._saying():
            if role == "image" and self.picture.busy:
                raise DreamError(f"{name} came while a dream is made: wait for its end, or stop it, and drop it again")
            if data is None:
                most = f"at most {MOST_BYTES >> 20} MB are taken here; save it smaller"
                raise DreamError(f"{name} has {size / 2**20:.0f} MB; {most}")
            check_picture(name, data)
            name = self._keep(name, data)
            settings, states = read_settings(self.files[name]), len(self.states)
            if role != "image" or "deepdream" not in settings:
                self.turn(**{role: name})
                return self.say("")
            try:
                lost = self.restore(settings)
            except DreamError as error:
                self.turn(image=name)
                return self.say(f"{name} is taken as a plain picture: {error}.")
            if any(what.startswith("the image") for what in lost):
                self.turn(image=name)
            else:
                self._go(self.knobs["image"].value, name, _line(settings))
            del self.states[states:-1]
            missing = f" What it was made with and is not here: {', '.join(lost)}." if lost else ""
            self.say(f"{name} was made here: the knobs are where they were.{missing}")

    @contextmanager
    def _saying(self):
        """What goes wrong becomes a sentence on the panel."""
        try:
            yield
        except DreamError as error:
            self.say(f"{error}.".replace(f"{self.folder.name}{os.sep}", ""))
        except KeyboardInterrupt:
            self.say("Stopped.")
        except Exception as error:
            if not out_of_memory(error):
                self.say(f"Something went wrong here: {error!r}.")
                raise  # to the kernel's log
            self.say("There is not enough memory; lower the width.")

    # Buttons

    def dream(self) -> None:
        """Dream the picture, in a thread; `thread.join()` waits for the end."""
        self._run(self._dream, self.settings(), self.knobs["image"].value)

    def again(self) -> None:
        """Dream on, on the result."""
        if self.result:
            settings = self.settings() | {"image": self.result.name, "width": self.knobs["width"].value}
            settings.pop("size", None)
            self._run(self._dream, settings, self.states[-1][0])

    def tour(self) -> None:
        """Dream the picture, small, at some depths of the network, low to high."""
        self._run(self._tour, self.settings(), self.knobs["image"].value)

    def stop(self) -> None:
        """Stop after the step that is being made."""
        self.stopping.set()

    def undo(self) -> None:
        """Go back to what was shown before."""
        if len(self.states) > 1 and not self.picture.busy:
            self.states.pop()
            states = self.states.copy()
            self.knobs["image"].value = states[-1][0]
            self.states = states  # for turning the knob is no new state
            self._show()

    def say(self, note: str) -> None:
        """A sentence for the person at the panel."""
        self.picture.note = note

    def _ready(self):
        busy = self.knobs["image"].disabled = self.picture.busy
        self.buttons["stop"].disabled = not busy
        self.buttons["dream"].disabled = self.buttons["tour"].disabled = busy
        self.buttons["again"].disabled = busy or not self.result
        self.buttons["undo"].disabled = busy or len(self.states) < 2

    def _run(self, work, settings, source):
        """Do the work of a button in a thread, when it is our turn."""
        if self.picture.busy:
            return
        self.stopping.clear()
        self.say("")
        self.picture.busy, self.picture.progress, self.picture.text = True, 0.0, ""
        self._ready()
        began = time.monotonic()

        def wait(place):  # the seconds also keep the page from being taken for idle
            where = "you are next" if place == 1 else f"number {place}"
            self.picture.text = f"In the queue: {where}; {time.monotonic() - began:.0f} s so far"

        def run():
            try:
                with self._saying(), in_turn(wait, self.stopping):
                    args = parsed([*command(settings), "-o", "-"])
                    for role in ("image", "guide", "mask"):
                        if getattr(args, role):
                            setattr(args, role, str(self.files[settings[role]]))
                    net = self._net(args)
                    self.started = time.monotonic()
                    work(args, net, source)
            finally:
                self.picture.busy, self.picture.live = False, b""
                self._ready()

        self.thread = Thread(target=run, daemon=True)
        self.thread.start()

    def _net(self, args):
        if self.given:
            return self.given
        wanted = args.model, args.engine, args.dtype
        if self.net_is != wanted:
            self.picture.text = "Loading the network; the first time it is downloaded"
            self.net = self.net_is = None  # there may not be memory for two
            try:
                self.net, self.net_is = load_net(args.model, args.engine, dtype=args.dtype), wanted
            except zoo.NotToBeHad as error:
                self.turn(model=zoo.FALLBACK)
                raise DreamError(f"{error}; {zoo.FALLBACK} is chosen now, so press again") from None
        return self.net

    def _dream(self, args, net, source):
        height, width = _size(args.image) if args.image else args.size
        most = _widest(height, width, MOST_DREAMT)
        if (args.width or width) > most:
            raise DreamError(f"a dream of {Path(args.image or NOISE).name} may be at most {most} pixels wide here")
        self._check_room()

        def where(step):
            return f"Octave {step.octave + 1} of {args.octave_n}, step {step.iteration + 1} of {args.iter_n}"

        on_step = self._on_step(where, lambda jpeg: setattr(self.picture, "live", jpeg))
        picture, told = dreamt(args, on_step, net, self._named)
        name = next(name for n in count(1) if (name := f"dream-{n}.png") not in self.files)
        path = Path(self.folder.name, name)
        save_image(path, picture, told | ({"stopped_at": on_step.stopped} if on_step.stopped else {}))
        self._add(path)
        self._go(source, name, _line(told), f"{PICTURE_LINE}{', had it gone on' if on_step.stopped else ''}")
        if on_step.stopped:
            self.say(f"Stopped at {on_step.stopped:.0%}; this is the picture so far.")

    def _named(self, name):
        """The path of a picture that an objective names."""
        if name not in self.files:
            raise DreamError(f"the objective names the picture {name!r}; upload it first, as a guide")
        return str(self.files[name])

    def _tour(self, args, net, source):
        layers = stations(net)
        stops = sorted({round(i) for i in np.linspace(min(1, len(layers) - 1), len(layers) - 1, TOUR_STOPS)})
        image = self._image(source, TOUR_WIDTH, TOUR_PIXELS)
        done = []
        for i, layer in enumerate(layers[stop] for stop in stops):

            def show(jpeg, layer=layer, done=tuple(done)):
                self.strip.stops = [*done, {"layer": layer, "says": self.layers.get(layer, ""), "picture": jpeg}]

            on_step = self._on_step(lambda step, layer=layer: layer, show, i, len(stops))
            picture = deepdream(net, image, octave_n=TOUR_OCTAVES, end=layer, seed=args.seed, on_step=on_step)
            if on_step.stopped:
                self.strip.stops = done
                raise KeyboardInterrupt
            show(encode(picture, "jpeg"))
            done = self.strip.stops

    def _on_step(self, where, show, before=0, whole=1):
        """An `on_step` that shows the picture as a JPEG, tells where it is, and ends the dream after Stop.

        before, whole: it is the dream after so many, of so many.
        """
        due = 0.0

        def on_step(step):
            nonlocal due
            if step.stopped:
                on_step.stopped = step.done
                return
            now, done = time.monotonic(), (before + step.done) / whole
            with self.picture.hold_sync():
                self.picture.progress = done
                self.picture.text = f"{where(step)}, {(now - self.started) * (1 / done - 1):.0f} s left"
            if now >= due:
                show(encode(step.image(), "jpeg"))
                due = now + max(EVERY, 10 * (time.monotonic() - now))  # large pictures take their time
            if self.stopping.is_set() and step.done < 1:
                raise KeyboardInterrupt

        on_step.stopped = None
        return on_step


def _line(settings):
    """The command line of these settings, without what goes without saying."""
    settings = {name: value for name, value in settings.items() if (name, value) not in SILENT}
    return join(["deepdream", *command(settings), "-o", "dream.png"])


def _noise_size(width):
    return f"{width}x{max(1, round(width * 9 / 16))}"


def _box(classes, children):
    box = ipywidgets.VBox(list(children))
    for name in classes.split():
        box.add_class(name)
    return box


def _knobs(net):
    """{name in Python: its ipywidget}; defaults and tips are the command line's."""
    options = {action.dest: action for action in parsers()[1]["dream"]._actions}
    if net is None:
        models = [zoo.find(name) for name in sorted(zoo.names(), key=lambda name: name != zoo.DEFAULT)]
        models = {model.name: model.title for model in models if model.source or model.file(".caffemodel")}
        engines = [name for name in ENGINE_NAMES if find_spec(name.split()[0])] or list(ENGINES)
        engine = os.environ.get("DEEPDREAM_ENGINE")
    else:
        known = net.model.name in zoo.names()
        models = {net.model.name if known else os.path.relpath(net.model.folders[0]): net.model.title}
        engine = net.engine["engine"] + (" bfloat16" if net.engine.get("dtype") == "bfloat16" else "")
        engines = [engine]
    kinds = {
        "model": ("Network", [(title, name) for name, title in models.items()]),
        "engine": ("Engine", [(ENGINE_NAMES[name], name) for name in engines]),
        "image": ("Picture", []),
        "end": ("Layer", []),
        "iter_n": ("Iterations", 1, 1000),
        "octave_n": ("Octaves", 1, 20),
        "octave_scale": ("Octave scale", 1.05, 4.0),
        "step_size": ("Step", -100.0, 100.0),
        "jitter": ("Jitter", 0, 512),
        "seed": ("Seed", 0, 2**32 - 1),
        "width": ("Width", 16, 4096),
        "guide": ("Guide", []),
        "mask": ("Mask", []),
        "objective": ("Objective",),
        "smooth": ("Smoothing", 0.0, 50.0),
        "keep_color": ("Keep the colours",),
    }
    starts = {"seed": 0, "width": 640, "objective": ""}
    knobs = {}
    for name, (label, *of) in kinds.items():
        about = {"description": label, "tooltip": options[name].help}
        start = starts.get(name, options[name].default)
        if isinstance(start, bool):
            knobs[name] = ipywidgets.Checkbox(value=start, **about)
        elif not of:
            knobs[name] = ipywidgets.Text(value=start, placeholder="logit('peacock')", **about)
        elif isinstance(of[0], list):
            knobs[name] = ipywidgets.Dropdown(options=of[0], **about)
        elif isinstance(of[0], int):
            knobs[name] = ipywidgets.BoundedIntText(value=start, min=of[0], max=of[1], **about)
        else:
            knobs[name] = ipywidgets.BoundedFloatText(value=start, min=of[0], max=of[1], step=0.05, **about)
    for name in ("model", "engine", "end", "guide", "mask", "objective"):
        knobs[name].add_class("dd-wide")
    if engine in engines:
        knobs["engine"].value = engine
    _offer(knobs, SAMPLES)
    knobs["image"].value = next(iter(SAMPLES))
    return knobs


def _offer(knobs, names):
    """Let the knobs for pictures choose from these."""
    for role, nothing in (("image", NOISE), ("guide", "none"), ("mask", "none")):
        knob = knobs[role]
        was = knob.value or ""
        knob.options = [*((name, name) for name in names), (nothing, "")]
        knob.value = was


def _layers(model):
    """{layer: what it tends to show}, of all that a picture of any size can climb, in network order."""
    specs = zoo.layers(model)
    fields, size = caffemodel.receptive_fields(specs), next(caffemodel.walk(specs))[2][0][2:]
    shares = {name: fields[name] / max(size) for name in caffemodel.climbable(specs) if fields[name] < np.inf}
    return {name: next(says for most, says in DEPTHS.items() if share <= most) for name, share in shares.items()}


def check_picture(name: str, data: bytes) -> None:
    """Raise a DreamError for a file that is no picture, or one that would be too large when it is unpacked."""
    from PIL import Image

    most = f"a picture may have {MOST_PIXELS // 10**6} megapixels here; make it smaller"
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if max(image.size) > MOST_SIDE:
                raise DreamError(f"{name} has {image.width:,} x {image.height:,} pixels; a side may have {MOST_SIDE:,}")
            if image.width * image.height > MOST_PIXELS:
                raise DreamError(f"{name} has {image.width:,} x {image.height:,} pixels; {most}")
            image.load()
    except Image.DecompressionBombError:
        raise DreamError(f"{name} has far too many pixels; {most}") from None
    except DreamError:
        raise
    except Exception:  # whatever Pillow's decoders trip over
        raise DreamError(f"{name} cannot be read as a picture; these can: {', '.join(FORMATS)}") from None


def _size(path):
    """(height, width) of a picture as `load_image` gives it, turned as the camera was."""
    from PIL import Image

    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return image.size if turned else image.size[::-1]


def _widest(height, width, most):
    """How wide a picture of this shape may be, so that it has at most so many pixels, and no side is too long."""
    return max(1, min(int((most * width / height) ** 0.5), MOST_SIDE, MOST_SIDE * width // height))
