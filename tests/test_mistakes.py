"""What beginners get wrong, and the sentence that answers it, in both engines."""

import inspect
import pickle
import re
import threading
import warnings

import numpy as np
import pytest
from conftest import load
from PIL import Image

import deepdream as dd
from deepdream.errors import DreamError
from deepdream.given import Picture

EYES, HEADS = "fire5/concat", "fire8/concat"
IMAGE = dd.load_image("mountains.jpg", 64)


@pytest.fixture(scope="module", params=["caffe", "torch"])
def net(request):
    return load("squeezenet_v1.1", request.param)


def dream(net, image=IMAGE, **params):
    return dd.deepdream(net, image, **{"end": EYES, "iter_n": 1, "octave_n": 1, "seed": 0} | params)


def nothing(dst):
    """An objective as everybody writes the first."""
    return (dst.data**2).sum()


def write_zero(dst):
    dst.diff[:] = 0


def write_nan(dst):
    dst.diff[:] = np.nan


# What a dream is given, besides what is right, and what is said of it
OF_A_DREAM = [
    # the picture
    ({"image": "sky.jpg"}, r"'sky.jpg' is the path of a picture.*load_image\('sky.jpg'\)"),
    ({"image": None}, "this is None; see `load_image`"),
    ({"image": IMAGE[..., 0]}, r"grey: np.stack\(\[img\] \* 3, 2\)"),
    ({"image": IMAGE[..., :1]}, r"grey: np.stack\(\[img\[..., 0\]\] \* 3, 2\)"),
    ({"image": np.dstack([IMAGE, IMAGE[..., 0]])}, r"img\[..., :3\] is it without its alpha"),
    ({"image": IMAGE.transpose(2, 0, 1)}, r"img.transpose\(1, 2, 0\)"),
    ({"image": IMAGE[None]}, r"give one of its pictures, such as img\[0\]"),
    ({"image": IMAGE * np.nan}, "not numbers, or not finite"),
    ({"image": IMAGE.astype(str)}, "not numbers, or not finite"),
    ({"image": dd}, "of type 'module'"),
    ({"image": IMAGE[:3, :3]}, "at least 9x9 pixels"),
    # the layer
    ({"end": [EYES, HEADS]}, rf"L2\('{EYES}'\) \+ L2\('{HEADS}'\) climbs them all"),
    ({"end": (EYES,)}, f"the name of one layer: end='{EYES}'"),
    ({"end": 3}, "end is 3; it must be the name of one layer"),
    ({"end": None}, f"no layer is named; give end='{HEADS}'"),
    ({"end": "inception_4c/output"}, f"no layer 'inception_4c/output' here; give end='{HEADS}'"),
    ({"end": "fire5/conkat"}, "did you mean 'fire5/concat'"),
    # names of settings
    ({"iterations": 20}, "in Python it is called 'iter_n'"),
    ({"n_iter": 20}, "in Python it is called 'iter_n'"),
    ({"octaves": 2}, "in Python it is called 'octave_n'"),
    ({"layer": EYES}, "in Python it is called 'end'"),
    ({"step": 2}, "in Python it is called 'step_size'"),
    ({"stepsize": 2}, "in Python it is called 'step_size'"),
    ({"strength": 2}, "in Python it is called 'step_size'"),
    ({"shake": 2}, "in Python it is called 'jitter'"),
    ({"jiter": 2}, "did you mean 'jitter'"),
    # values of settings
    ({"iter_n": "20"}, "iter_n is '20'; it must be a whole number"),
    ({"iter_n": 2.0}, "iter_n is 2.0; it must be a whole number"),
    ({"octave_n": 0}, "octave_n is 0; it must be a whole number from 1"),
    ({"octave_scale": 1}, "octave_scale is 1; it must be a number, above 1"),
    ({"step_size": "big"}, "step_size is 'big'; it must be a number"),
    ({"jitter": 1.5}, "jitter is 1.5; it must be a whole number"),
    ({"seed": "a"}, "seed is 'a'"),
    ({"clip": "no"}, "clip is 'no'; it must be True or False"),
    ({"keep_color": "yes"}, "keep_color is 'yes'; it must be True or False"),
    ({"tile": "big"}, "tile is 'big'; it must be a whole number of pixels"),
    # views
    ({"on_step": dd.live_view, "iter_n": 2}, r"write on_step=live_view\(\), with parentheses"),
    ({"on_step": True}, "on_step is True; it must be a function"),
    # masks
    ({"mask": "nowhere.png"}, "nowhere.png: there is no such file"),
    ({"mask": [1, 2]}, "a mask is a grey picture"),
    # objectives
    ({"objective": nothing}, "did not fill dst.diff, it returned a value instead"),
    ({"objective": write_zero}, "its gradient is 0.0; try another layer"),
    ({"objective": write_nan}, "a number of the objective's is not finite"),
    ({"objective": dd.L2}, r"write objective=L2\(\.\.\.\)"),
    ({"objective": None}, "objective is None; it must be a function"),
    ({"objective": 7}, "objective is 7; it must be a function"),
    ({"objective": [dd.L2(EYES), dd.L2(HEADS)]}, r"add its parts with \+"),
    ({"objective": EYES}, f"'{EYES}' is a layer, not a class"),
    ({"objective": "peakock"}, "did you mean 'peacock'"),
    ({"objective": f"L2({EYES})"}, "has no meaning in it"),
    ({"objective": dd.channel(EYES, 9999)}, "9999; it must be a whole number from 0 to 255"),
    ({"objective": dd.guide(EYES, None)}, "this is None"),
    ({"objective": dd.guide(EYES, "nope.jpg")}, "nope.jpg: there is no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "says"), OF_A_DREAM, ids=[says for _, says in OF_A_DREAM])
def test_a_mistake_with_a_dream_is_answered_by_a_sentence(net, given, says, monkeypatch):
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)  # as IPython shows without a page
    with pytest.raises(DreamError, match=says) as caught:
        dream(net, **given)
    assert "\n" not in str(caught.value)


OTHERS = [
    (lambda net: dd.deepdream(IMAGE, net), "net is an array; the network comes first"),
    (lambda net: dd.deepdream(None, IMAGE), "net is of type 'NoneType'"),
    (lambda net: dd.deepdream("alexnet", IMAGE), "'alexnet' is no network"),
    (lambda net: dd.make_step(IMAGE), "net is an array"),
    (lambda net: dd.make_step(net, end=[EYES]), f"one layer: end='{EYES}'"),
    (lambda net: dd.octaves(net, IMAGE, "2"), "octave_n is '2'"),
    (lambda net: dd.preprocess(IMAGE, net), "net is an array"),
    (lambda net: dd.deprocess(net, IMAGE), "it takes what `preprocess` makes"),
    (lambda net: dd.look(net, "a.jpg"), r"load_image\('a.jpg'\) reads it"),
    (lambda net: dd.look(IMAGE, net), "net is an array"),
    (lambda net: dd.guide_features(net, "a.jpg", EYES), r"load_image\('a.jpg'\) reads it"),
    (lambda net: dd.draw("peacock", net), "'peacock' is no network"),
    (lambda net: dd.draw(net, ["peacock"]), "must be one class"),
    (lambda net: dd.draw(net, None), "what to draw is None"),
    (lambda net: dd.draw(net, dd.objective_L2), "must be one class"),
    (lambda net: dd.draw(net, EYES), "is a layer, not a class"),
    (lambda net: dd.draw(net, 1000), "from 0 to 999"),
    (lambda net: dd.draw(net, "peacock", steps="3"), "steps is '3'"),
    (lambda net: dd.draw(net, "peacock", 2, on_step=dd.live_view), "with parentheses"),
    (lambda net: next(dd.zoom(net, "a.jpg")), r"load_image\('a.jpg'\) reads it"),
    (lambda net: next(dd.zoom(IMAGE, net)), "net is an array"),
    (lambda net: next(dd.zoom(net, IMAGE, end=EYES, iterations=2)), "called 'iter_n'"),
    (lambda net: dd.load_net(net), "loaded already"),
]


@pytest.mark.parametrize(("call", "says"), OTHERS)
def test_a_mistake_elsewhere_is_answered_by_a_sentence(net, call, says, monkeypatch):
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)
    with pytest.raises(DreamError, match=says):
        call(net)


WITH_FILES = [
    (lambda: dd.load_image("https://a.b/sky.jpg"), "is an address.*download it first"),
    (lambda: dd.load_image("~/nowhere.jpg"), "cannot read the picture [^~]*nowhere.jpg"),
    (lambda: dd.load_image(None), "not 'NoneType'"),
    (lambda: dd.load_image(IMAGE), "a picture needs no `load_image`"),
    (lambda: dd.load_image(Image.new("L", (8, 8))), "a picture needs no `load_image`"),
    (lambda: dd.load_image("mountains.jpg", "300"), "width is '300'; it must be a whole number"),
    (lambda: dd.load_image("mountains.jpg", (300, 200)), r"width is \(300, 200\)"),
    (lambda: dd.load_image("mountains.jpg", side=-3), "side is -3; it must be a whole number"),
    (lambda: dd.save_image(IMAGE, "dream.jpg"), "the path comes first"),
    (lambda: dd.save_image("dream.jpg", "sky.jpg"), "is the path of a picture, not a picture"),
    (lambda: dd.save_image("dream.jpg", None), "this is None"),
    (lambda: dd.save_image("dream.jpg", IMAGE[None]), r"such as img\[0\]"),
    (lambda: dd.save_image("dream.jpg", IMAGE.transpose(2, 0, 1)), "transpose"),
    (lambda: dd.save_image("dream.png", IMAGE * np.nan), "not finite"),
    (lambda: dd.save_image("dream", IMAGE), "its name must end in"),
    (lambda: dd.sheet(IMAGE, ["one"]), r"write \[picture\] for a sheet of one"),
    (lambda: dd.sheet([IMAGE, IMAGE], ["one"]), "2 pictures, and labels for 1"),
    (lambda: dd.sheet([IMAGE, IMAGE], "ab"), "labels is 'ab'; it must be a list"),
    (lambda: dd.sheet(["a.jpg"], ["one"]), "a sheet is made of pictures"),
]


@pytest.mark.parametrize(("call", "says"), WITH_FILES)
def test_a_mistake_with_files_is_answered_by_a_sentence(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DreamError, match=says):
        call()
    assert not list(tmp_path.iterdir())


def test_pictures_of_pillow_are_pictures(net, tmp_path):
    pillow = Image.fromarray(np.uint8(IMAGE))
    expected = dream(net, np.uint8(IMAGE))
    assert np.array_equal(dream(net, pillow), expected)
    assert dream(net, pillow.convert("RGBA")).shape == dream(net, pillow.convert("L")).shape
    assert np.array_equal(next(dd.zoom(net, pillow, 1, end=EYES, seed=0, iter_n=1, octave_n=1)),
                          expected)  # fmt: skip
    assert dream(net, objective=dd.guide(EYES, pillow)).shape == IMAGE.shape
    assert dream(net, mask=pillow.convert("L")).shape == IMAGE.shape
    assert dd.look(net, pillow).classes == dd.look(net, np.uint8(IMAGE)).classes
    assert dd.sheet([pillow]).ndim == 3
    dd.save_image(tmp_path / "pillow.png", pillow)
    assert np.array_equal(dd.load_image(tmp_path / "pillow.png"), np.uint8(IMAGE))


def test_words_are_an_objective_as_on_the_page(net):
    assert np.array_equal(
        dream(net, objective="peacock"), dream(net, objective=dd.logit("peacock"))
    )


def test_a_picture_from_0_to_1_is_warned_about(net):
    with pytest.warns(UserWarning, match=r"from 0 to 1.*255 \* img"):
        dream(net, IMAGE / 255)
    with warnings.catch_warnings(action="error"):
        dream(net, np.zeros_like(IMAGE))
        dream(net, np.ones(IMAGE.shape, np.uint8))


def test_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    dd.save_image("~/sky.png", IMAGE)
    assert np.array_equal(dd.load_image("~/sky.png"), np.uint8(IMAGE))


def test_help_names_what_a_dream_takes():
    names = list(inspect.signature(dd.deepdream).parameters)
    assert names[:7] == ["net", "base_img", "iter_n", "octave_n", "octave_scale", "end", "clip"]
    for function in (dd.deepdream, dd.zoom, dd.journey, dd.steady):
        parameters = inspect.signature(function).parameters
        passed_on = {"step_size", "jitter", "objective", "smooth", "lap", "keep_color", "turn"}
        assert passed_on <= parameters.keys()
        assert not any(it.kind == it.VAR_KEYWORD for it in parameters.values())


def test_a_network_says_what_it_is(net):
    assert re.fullmatch(
        r"<SqueezeNet.* on (caffe|torch).*: \d+ layers, \d+ to climb, default 'fire8/concat'>",
        repr(net),
    )


def test_a_picture_shows_itself_and_calculates_as_an_array(net):
    for picture in (IMAGE, dream(net), dd.sheet([IMAGE])):
        assert isinstance(picture, Picture) and picture._repr_jpeg_()[:2] == b"\xff\xd8"
    assert isinstance((IMAGE + dream(net)) / 2, Picture)
    for other in (IMAGE[..., 0], IMAGE[None], IMAGE[:0], IMAGE.transpose(2, 0, 1)):
        assert other._repr_jpeg_() is None
    assert type(IMAGE.mean()) is np.float32 and type(IMAGE.mean(2)) is np.ndarray
    assert type(pickle.loads(pickle.dumps(IMAGE))) is np.ndarray


def test_two_threads_take_turns(net):
    expected = dream(net, iter_n=4)
    made = []

    def work():
        made.append(dream(net, iter_n=4))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    made.append(dream(net, iter_n=4))
    for thread in threads:
        thread.join()
    assert len(made) == 4 and all(np.array_equal(each, expected) for each in made)
