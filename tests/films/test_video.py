"""Dreams over a film: without flicker, measured where the true motion is known; masks
and guides that move; sound.
"""

import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clips import panned, tone, write
from conftest import load, main, refused, write_model
from filming import frames_in, is_made
from plain import Camera

import deepdream as dd
from deepdream.films import video

PAN = Camera("mountains.jpg", lambda i: (20 + 4.3 * i, 60 + 0.7 * i, 1.3))
FLIGHT = Camera("forest.jpg", lambda i: (60 + 3 * i, 40 + 2 * i, 1.9 - 0.03 * i))  # pans and zooms
FEW = {"iter_n": 2, "octave_n": 2}


@pytest.fixture(scope="module")
def toynet(tmp_path_factory):
    return dd.load_net(write_model(tmp_path_factory.mktemp("models") / "toy"))


def same(a, b):
    a, b = list(a), list(b)
    return len(a) == len(b) and all(np.array_equal(*frames) for frames in zip(a, b))


# Films without flicker


def strength(frames, sources):
    return np.array([abs(frame - source).mean() for frame, source in zip(frames, sources)])


@pytest.mark.parametrize("camera", [PAN, FLIGHT], ids=["pan", "flight"])
@pytest.mark.parametrize("model", [pytest.param("googlenet", marks=pytest.mark.slow), "squeezenet"])
def test_films_do_not_flicker(request, model, camera):
    net = request.getfixturevalue(model)
    params = {"end": net.default_layer, "iter_n": 5, "octave_n": 2}
    sources = [camera.shot(i) for i in range(14)]
    alone = [dd.deepdream(net, source, seed=0, **params) for source in sources]
    film = list(dd.steady(net, sources, **params))
    together = [frame.picture for frame in film]
    assert camera.flicker(together) < 0.5 * camera.flicker(alone)
    ratio = strength(together, sources) / strength(alone, sources)
    assert (abs(ratio - 1) < 0.15).all(), ratio
    assert np.array_equal(film[3].source, sources[3]) and together[0].dtype == np.float32
    assert (
        min(frame.min() for frame in together) >= 0
        and max(frame.max() for frame in together) <= 255
    )


def test_a_steady_film_is_resumed(squeezenet):
    params = {"end": "fire5/concat", **FEW}
    sources = [PAN.shot(i) for i in range(5)]
    film = list(dd.steady(squeezenet, sources, **params))
    rest = dd.steady(squeezenet, sources[3:], last=film[2], **params)
    assert same((frame.picture for frame in film[3:]), (frame.picture for frame in rest))


def test_brightness_stays_over_200_frames(toynet):
    """On this network a dream left to itself darkens and colours the picture within
    some frames.
    """
    camera = Camera("mountains.jpg", lambda i: (40 + i, 60 + 0.5 * i, 1.0), (64, 96))
    sources = (camera.shot(i) for i in range(200))
    off = [
        abs(frame.picture - frame.source).mean() and (frame.picture - frame.source).mean((0, 1))
        for frame in dd.steady(toynet, sources, end="both", iter_n=3, octave_n=1)
    ]
    assert len(off) == 200 and abs(np.array(off)).max() < 2


def test_a_white_film_stays_white(toynet):
    sources = [np.full((48, 64, 3), 255, np.float32)] * 4
    for frame in dd.steady(toynet, sources, end="both", **FEW):
        assert frame.picture.mean() > 253


def test_what_is_a_cut(toynet, monkeypatch):
    """Detail is carried over motion, a flash and noise, but not over a cut, nor out of
    the dark.
    """
    masks = []
    monkeypatch.setattr(
        video, "deepdream", lambda net, image, mask=None, **_: masks.append(mask) or image + 1
    )

    def trust(old, new):
        """The mean share of the detail that is kept; 0 if the dream begins again."""
        next(dd.steady(toynet, [new], blend=0.99, last=dd.films.SteadyFrame(old + 1, old, 1.0)))
        rest = masks.pop()  # 1 less the square of the share that is kept
        return 0 if rest is None else np.sqrt(np.clip(1 - rest, 0, 1)).mean() / 0.99

    forest, dark = FLIGHT.shot(0), np.zeros((120, 200, 3), np.float32)
    noise = np.random.RandomState(0).normal(0, 8, forest.shape)
    for camera in (PAN, FLIGHT):
        shot = camera.shot(0)
        assert trust(shot, camera.shot(1)) > 0.8 and trust(shot, camera.shot(4)) > 0.6
        assert (
            trust(shot * 0.8, shot * 0.8 + 40) > 0.8
            and trust(shot, np.clip(shot + noise, 0, 255)) > 0.8
        )
        assert trust(shot, shot * 0.7) > 0.8
        assert trust(dark, shot) == trust(shot, dark) == 0
    assert trust(PAN.shot(0), forest) == trust(forest, PAN.shot(0)) == 0
    far = Camera("mountains.jpg", lambda i: (400, 200, 0.8))
    assert trust(PAN.shot(0), far.shot(0)) == 0
    assert (
        trust(dark, dark + 1) > 0.9
        and trust(dark[:9], dark[:9]) > 0.9
        and trust(dark[:, :5], dark) == 0
    )


def test_after_a_cut_the_dream_begins_again(toynet):
    params = {"end": "both", **FEW}
    after = next(dd.steady(toynet, [FLIGHT.shot(0)], **params)).picture
    film = [frame.picture for frame in dd.steady(toynet, [PAN.shot(0), FLIGHT.shot(0)], **params)]
    assert np.array_equal(film[1], after)


def test_what_comes_into_view_is_dreamt_as_if_alone(toynet, monkeypatch):
    masks = []

    def noted(net, image, mask=None, **_):
        masks.append(mask)
        return image + 5

    monkeypatch.setattr(video, "deepdream", noted)
    camera = Camera("mountains.jpg", lambda i: (20 + 20 * i, 60, 1.0))
    list(dd.steady(toynet, [camera.shot(0), camera.shot(1)]))
    assert masks[0] is None and masks[1].shape == (120, 200)
    assert masks[1][:, -15:].mean() > 0.9 and masks[1][:, :150].mean() < 0.3


def test_blend_0_is_each_picture_for_itself(toynet):
    sources = [PAN.shot(i) for i in range(2)]
    film = list(dd.steady(toynet, sources, blend=0, end="both", **FEW))
    alone = next(dd.steady(toynet, sources[1:], end="both", **FEW))
    assert np.array_equal(film[1].picture, alone.picture)
    for blend in (1, -0.1, "all"):
        with pytest.raises(dd.DreamError, match=r"blend is .*from 0 to 0\.99"):
            next(dd.steady(toynet, sources, blend=blend, end="both"))


def test_a_film_under_a_mask(toynet):
    mask = np.zeros((120, 200))
    mask[:, :100] = 1
    for frame in dd.steady(toynet, [PAN.shot(i) for i in range(3)], mask=mask, end="both", **FEW):
        changed = abs(frame.picture - frame.source).mean((0, 2))
        assert changed[:100].mean() > 1 and changed[105:].max() < 1e-3


# Masks and guides that are films, too


def disc(x, size=(60, 100), radius=20):
    """A mask: a white disc on black, x pixels from the left, (h, w) uint8."""
    down, right = np.mgrid[: size[0], : size[1]]
    return np.uint8(255 * ((down - size[0] / 2) ** 2 + (right - x) ** 2 < radius**2))


def detail(frame, columns=slice(None)):
    return abs(frame.picture - frame.source)[:, columns].mean()


def test_a_mask_and_a_guide_for_each_frame(toynet, photo):
    params = {"end": "both", "blend": 0, **FEW}
    sources, masks = [PAN.shot(i) for i in range(3)], [disc(20), disc(60, (30, 200)), disc(80)]
    guides = [photo[i * 8 :, : 60 + i] for i in range(3)]
    film = dd.steady(toynet, sources, mask=iter(masks), guide=iter(guides), **params)
    for frame, source, mask, guide in zip(film, sources, masks, guides):
        best = partial(dd.objective_guide, guide_features=dd.guide_features(toynet, guide, "both"))
        by_hand = next(dd.steady(toynet, [source], mask=mask, objective=best, **params))
        assert np.array_equal(frame.picture, by_hand.picture)
        dream = dd.deepdream(toynet, source, seed=0, mask=mask, objective=best, end="both", **FEW)
        assert abs(frame.picture - dream).mean() < 2, "all but the mean brightness is the dream's"
    one = dd.steady(toynet, sources, mask=masks[0], guide=guides[0], end="both", **FEW)
    best = partial(dd.objective_guide, guide_features=dd.guide_features(toynet, guides[0], "both"))
    by_hand = dd.steady(toynet, sources, mask=masks[0], objective=best, end="both", **FEW)
    assert same((frame.picture for frame in one), (frame.picture for frame in by_hand)), (
        "one picture for all frames"
    )


def test_the_last_mask_and_guide_stay(toynet, photo, monkeypatch):
    made, masks, made_from = [], [], []
    monkeypatch.setattr(
        video, "deepdream", lambda net, image, mask, **_: masks.append(mask) or image + 5
    )
    monkeypatch.setattr(
        video, "guide_features", lambda net, picture, end: made_from.append(picture) or made
    )
    other = photo + 1
    film = dd.steady(
        toynet,
        [PAN.shot(0)] * 6,
        mask=[disc(20), disc(80)],
        guide=[photo, photo.copy(), other],
        blend=0,
    )
    assert len(list(film)) == 6
    assert len(made_from) == 2 and made_from[0] is photo and made_from[1] is other, (
        "once for each that is new"
    )
    assert len(masks) == 6 and masks[0].argmax(1).max() < 50 < masks[1].argmax(1).max()
    assert all(np.array_equal(mask, masks[1]) for mask in masks[2:])


def test_under_a_black_mask_a_frame_is_not_dreamt(toynet):
    params = {"end": "both", **FEW}
    sources, black = [PAN.shot(i) for i in range(7)], np.zeros((60, 100, 3), np.float32)
    light = np.repeat(disc(50, radius=45)[..., None], 3, 2).astype(
        np.float32
    )  # as `read_film` yields it
    masks = [black, black, light, black, light, light, light]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film = list(dd.steady(toynet, sources, mask=iter(masks), **params))
        assert len(list(dd.steady(toynet, sources[:2], mask=[black], **params))) == 2, (
            "all of a film"
        )
    for i in (0, 1, 3):
        assert np.array_equal(film[i].picture, sources[i]) and film[i].strength == 0
    for i in (2, 4):
        alone = next(dd.steady(toynet, sources[i:], mask=np.uint8(light), **params))
        assert np.array_equal(film[i].picture, alone.picture), "the dream begins again"
    for i in (5, 6):
        assert detail(film[i]) == pytest.approx(detail(film[4]), rel=0.1)
    dark = np.ones_like(black)  # of 255: as dark as can be, and not white
    assert detail(next(dd.steady(toynet, sources, mask=[dark], **params))) < 0.02 * detail(film[2])


def test_a_dream_grows_and_fades_with_its_mask(squeezenet):
    params = {"end": "fire5/concat", **FEW}
    sources = [PAN.shot(i) for i in range(6)]
    whole = list(dd.steady(squeezenet, sources, **params))
    fading = (np.full((6, 10), light) for light in (0.25, 0.5, 1.0, 1.0, 0.5, 0.1))
    for frame, plain, light in zip(
        dd.steady(squeezenet, sources, mask=fading, **params), whole, (0.25, 0.5, 1, 1, 0.5, 0.1)
    ):
        assert detail(frame) == pytest.approx(light * detail(plain), rel=0.15)
    half, more = np.zeros((6, 200), np.uint8), np.zeros((6, 200), np.uint8)
    half[:, :80], more[:, :160] = 255, 255
    film = list(
        dd.steady(squeezenet, sources, mask=iter([half, half, more, half, half, half]), **params)
    )
    new = slice(
        95, 150
    )  # what becomes light at once is dreamt at once, and what becomes dark is left alone
    assert detail(film[2], new) > 0.7 * detail(whole[2], new) and detail(film[3], new) < 1e-3
    assert detail(film[5], slice(0, 60)) == pytest.approx(detail(film[1], slice(0, 60)), rel=0.3), (
        "the rest stays"
    )


def test_a_film_under_masks_is_resumed(toynet, photo):
    params = {"end": "both", **FEW}
    sources = [PAN.shot(i) for i in range(7)]
    masks, guides = (
        [disc(20), disc(30), 0 * disc(0), 0 * disc(0), disc(60), disc(70), disc(80)],
        [photo, photo + 9],
    )
    film = list(dd.steady(toynet, sources, mask=masks, guide=guides, **params))
    for done in range(1, 7):
        rest = dd.steady(
            toynet,
            sources[done:],
            last=film[done - 1],
            mask=iter(masks[done:]),
            guide=guides[1],
            **params,
        )
        assert same((frame.picture for frame in film[done:]), (frame.picture for frame in rest)), (
            done
        )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mask": iter([])}, "there is no picture in the mask; it needs at least one"),
        ({"guide": []}, "there is no picture in the guide; it needs at least one"),
        ({"mask": [np.zeros((4, 4)) - 1]}, "the mask's values go from -1"),
        ({"mask": np.zeros((4, 4))}, "the mask is black all over"),
        ({"guide": [np.zeros((4, 4))]}, r"\(height, width, 3\)"),
        ({"guide": np.zeros((2, 2, 3)), "end": "fc"}, "fc"),
        (
            {"guide": np.zeros((40, 40, 3)), "objective": dd.objective_L2},
            "a guide is an objective, too",
        ),
    ],
)
def test_masks_and_guides_that_are_refused(toynet, given, says):
    with pytest.raises(dd.DreamError, match=says):
        next(dd.steady(toynet, [PAN.shot(0)], **{"end": "both"} | given))


def test_films_on_torch(toy):
    net = load(toy, "torch")
    film = list(dd.steady(net, [PAN.shot(i) for i in range(3)], end="both", **FEW))
    params = {
        "mask": iter([disc(20), 0 * disc(0), disc(60)]),
        "guide": iter([PAN.shot(5), PAN.shot(9)]),
    }
    assert (
        len(list(dd.steady(net, [PAN.shot(i) for i in range(3)], end="both", **params, **FEW))) == 3
    )
    assert (
        len(film) == 3
        and len(list(dd.journey(net, frames_per_layer=2, cross_fade=1, size=(48, 64)))) == 4
    )


# Dreaming over a film


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_sound_is_kept(tmp_path, toy, suffix):
    source = write(tmp_path / "in.mp4", panned(50, 64, 48), sound=2.0, silent=0.8)
    out, net = tmp_path / f"out{suffix}", dd.load_net(toy)
    dd.dream_video(net, source, out, end="both", iter_n=1, octave_n=1)
    seconds, frequency, begins = tone(out)
    assert seconds == pytest.approx(2, abs=0.1) and frequency == pytest.approx(440, abs=2)
    assert begins == pytest.approx(0.8, abs=0.04)
    part = tmp_path / f"part{suffix}"
    dd.dream_video(
        net, source, part, start=10, stop=35, stride=5, width=40, end="both", iter_n=1, octave_n=1
    )
    seconds, frequency, begins = tone(part)
    assert seconds == pytest.approx(1, abs=0.1) and frequency == pytest.approx(440, abs=3)
    assert begins == pytest.approx(0.8 - 10 / 25, abs=0.04)
    frames = list(dd.read_film(part))
    assert len(frames) == 5 and frames[0].shape == (30, 40, 3) and dd.films.film_about(part)[0] == 5
    dd.dream_video(net, source, tmp_path / "mute.gif", stop=3, end="both", iter_n=1, octave_n=1)
    before = source.read_bytes()
    with pytest.raises(
        dd.DreamError, match="is the film to dream over; give the dream another name"
    ):
        dd.dream_video(net, source, source, end="both")
    assert source.read_bytes() == before


@pytest.fixture
def masked(tmp_path):
    """(a film of 9 frames, a film of 7 masks, the fourth of them black, a film of 4
    guides)
    """
    masks = [np.zeros((40, 60, 3), np.uint8) for _ in range(7)]
    for i in (0, 1, 2, 4, 5, 6):
        masks[i][:, 6 * i : 6 * i + 20] = 255
    dd.save_film(tmp_path / "guides.gif", panned(4, 48, 40))
    return (
        write(tmp_path / "in.mp4", panned(9)),
        write(tmp_path / "masks.avi", masks),
        tmp_path / "guides.gif",
    )


def test_masks_and_guides_that_are_films(tmp_path, toy, masked, monkeypatch):
    net, (source, masks, guides) = dd.load_net(toy), masked
    few = {"end": "both", "iter_n": 1, "octave_n": 2}
    made, features = [], video.guide_features
    monkeypatch.setattr(video, "guide_features", lambda *args: made.append(1) or features(*args))
    dd.dream_video(net, source, tmp_path / "out", mask=masks, guide=str(guides), **few)
    assert len(made) == 4, "the last guide stays, and is not looked at again"
    white, pictures = [np.uint8(frame) for frame in dd.read_film(masks)], list(dd.read_film(guides))
    by_hand = dd.steady(net, dd.read_film(source), mask=white, guide=pictures, **few)
    for i, frame in enumerate(by_hand):
        assert np.array_equal(
            dd.load_image(tmp_path / "out" / f"{i:06d}.png"), np.uint8(frame.picture)
        ), i
    black = dd.load_image(tmp_path / "out" / "000003.png")
    assert np.array_equal(black, list(dd.read_film(source))[3]), "the source's picture"
    # The same frames belong together in a part of the film.
    dd.dream_video(net, source, tmp_path / "part", 1, 8, 2, mask=masks, guide=guides, **few)
    some = dd.read_film(source, 1, 8, 2)
    by_hand = dd.steady(
        net, some, mask=[white[i] for i in (1, 3, 5, 6)], guide=[pictures[i] for i in (1, 3)], **few
    )
    for i, frame in enumerate(by_hand):
        assert np.array_equal(
            dd.load_image(tmp_path / "part" / f"{i:06d}.png"), np.uint8(frame.picture)
        ), i
    assert i == 3


def test_large_guides_are_reduced(tmp_path, toy, monkeypatch):
    seen, net, black = [], dd.load_net(toy), np.zeros((720, 1000, 3))
    monkeypatch.setattr(
        video, "guide_features", lambda _, image, end: seen.append(image.shape) or image
    )
    monkeypatch.setattr(video, "deepdream", lambda _, image, **params: image + 5)
    guide, still = write(tmp_path / "guide.mp4", [black] * 2), tmp_path / "guide.png"
    dd.save_image(still, black)
    source = write(tmp_path / "in.mp4", panned(2))
    for path in (guide, still):
        dd.dream_video(net, source, tmp_path / path.suffix[1:], guide=path)
    assert seen == [(600, 833, 3)] * 2


def test_a_film_under_masks_is_resumed_frame_by_frame(tmp_path, toy, masked):
    net, (source, masks, guides) = dd.load_net(toy), masked
    given = {"mask": masks, "guide": guides, "end": "both", "iter_n": 1, "octave_n": 2}
    dd.dream_video(net, source, tmp_path / "whole", **given)
    for stop in range(1, 10):
        dd.dream_video(net, source, tmp_path / "parts", stop=stop, **given)
    for name in sorted(os.listdir(tmp_path / "whole"))[:9]:
        assert np.array_equal(
            *(dd.load_image(tmp_path / folder / name) for folder in ("whole", "parts"))
        ), name
    with (
        np.load(tmp_path / "whole" / "state.npz") as one,
        np.load(tmp_path / "parts" / "state.npz") as other,
    ):
        assert all(np.array_equal(one[f"arr_{i}"], other[f"arr_{i}"]) for i in range(4))


def test_another_mask_or_guide_is_refused(tmp_path, toy, masked):
    net, (source, masks, guides) = dd.load_net(toy), masked
    given = {"mask": masks, "guide": guides, "end": "both", "iter_n": 1, "octave_n": 1, "stop": 2}
    dd.dream_video(net, source, tmp_path / "out", **given)
    copied = tmp_path / "copied.avi"
    copied.write_bytes(masks.read_bytes())
    dd.dream_video(net, source, tmp_path / "out", **given | {"mask": copied})
    for name in ("mask", "guide"):
        with pytest.raises(
            dd.DreamError, match=f"was begun with {name} '[0-9a-f]+', and now it is"
        ):
            dd.dream_video(net, source, tmp_path / "out", **given | {name: source})
    with pytest.raises(
        dd.DreamError, match="mask is several pictures; give one, or the path of a film"
    ):
        dd.dream_video(net, source, tmp_path / "out", **given | {"mask": iter([])})
    with pytest.raises(
        dd.DreamError, match=r"guides\.gif is the guide; give the dream another name"
    ):
        dd.dream_video(net, source, guides, **given)
    words = (
        "video",
        source,
        "-o",
        tmp_path / "film",
        "--model",
        toy,
        "--iterations",
        1,
        "--octaves",
        1,
    )
    assert is_made(main(*words, "--mask", masks, "--guide", guides), tmp_path / "film")
    carried = dd.read_settings(tmp_path / "film")
    assert (
        carried["sha256"].keys() >= {"source", "mask", "guide"} and carried["guide"] == "guides.gif"
    )
    assert is_made(main(*words, "--mask", copied, "--guide", guides), tmp_path / "film")
    refused(
        main(*words, "--mask", source, "--guide", guides),
        "was begun from another file than this one",
    )
    again = "replay", tmp_path / "film", "-o", tmp_path / "again", "--model", toy
    assert is_made(main(*again), tmp_path / "again"), "all three lie beside it"
    for name in frames_in(tmp_path / "film"):
        assert np.array_equal(
            *(dd.load_image(tmp_path / folder / name) for folder in ("film", "again"))
        )


def test_memory_does_not_grow_with_the_film(tmp_path, toy):
    source = write(tmp_path / "in.mp4", panned(62, 160, 96), sound=2.4)
    code = f"""if True:
        import psutil
        import deepdream as dd
        resident = {{}}
        def on_frame(n):
            resident[n] = psutil.Process().memory_info().rss
        net = dd.load_net({str(toy)!r})
        dd.dream_video(net, {str(source)!r}, {str(tmp_path / "out.mp4")!r}, end="both", iter_n=2,
                       octave_n=2, on_frame=on_frame)
        assert max(resident) == 62
        print(resident[60] / resident[10])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05


GUIDE = (
    "functools.partial(<function objective_guide>, "
    "guide_features=array([[0., 1., 2.]], dtype=float32))"
)


def test_parameters_are_described_the_same_in_every_process():
    """Version 0.1.0 wrote these texts; a film that it began must find them again."""
    mask = np.arange(6, dtype=np.float32).reshape(2, 3)
    for value, text in (
        (mask, "e2c0a71510b5394df7773b63fb5f54372b84c3564e67811bde7d665be227976d"),
        (dd.L2("both") + 2 * dd.channel("left", 1), "L2('both') + 2 * channel('left', 1)"),
        (dd.objective_L2, "objective_L2"),
        (0.5, 0.5),
        (None, None),
        (Path("mask.png"), "mask.png"),
        (partial(dd.objective_guide, guide_features=mask[:1]), GUIDE),
    ):
        assert video.describe(value) == text
    assert video.describe(mask[:, ::-1]) != video.describe(mask)
