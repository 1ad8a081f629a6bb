"""Dreams in tiles compared with dreams of the whole picture, and the memory that tiles
save.
"""

import os
import signal
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import load, main, write_model

import deepdream as dd
from deepdream.language import as_objective
from deepdream.nets import receptive, shapes, zoo
from deepdream.nets.tiles import Tiles, budget, fit

ROOT = Path(__file__).parents[2]


def whole_and_tiled(net, layers, x, **tile):
    """The network and the same in tiles, in turn, each with the picture in it.

    A little noise makes neighbouring pixels differ, or rounding would decide between
    equal values under a maximum.
    """
    x = x + np.float32(np.random.RandomState(0).normal(0, 0.1, x.shape))
    tiles = fit(net, layers, [x.shape[1:]], **tile)
    assert isinstance(tiles, Tiles)
    for each in (net, tiles):
        each.blobs["data"].reshape(1, *x.shape)
        each.blobs["data"].data[0] = x
        yield each


def gradients(net, objective, end, x, **tile):
    """The gradient of the whole picture, and the gradient in tiles."""
    found = []
    for each in whole_and_tiled(net, as_objective(objective, end).layers_in(net), x, **tile):
        dd.gradient(each, end, objective)
        found.append(each.blobs["data"].diff[0].copy())
    return found


def error(whole, tiled):
    return np.abs(tiled - whole).mean() / np.abs(whole).mean()


@pytest.mark.parametrize("engine", ["caffe", "torch"])
@pytest.mark.parametrize(
    ("end", "tile"), [("conv1/7x7_s2", 64), ("conv2/3x3", 96), ("inception_3a/output", 240)]
)
def test_with_the_receptive_field_as_halo_the_gradient_is_that_of_the_whole_picture(
    googlenet, engine, end, tile
):
    net = googlenet if engine == "caffe" else load("bvlc_googlenet", "torch")
    x = dd.preprocess(net, dd.load_image(ROOT / "images" / "mountains.jpg", 290))
    field = int(receptive.fields(net.layer_specs)[end])
    for halo in (
        field,
        field // 2,
    ):  # half of it is enough where the layers pad as much as they take away
        assert error(*gradients(net, dd.objective_L2, end, x, tile=tile, halo=halo)) < 1e-5


def test_every_kind_of_objective_works_in_tiles(squeezenet):
    x = dd.preprocess(squeezenet, dd.load_image(ROOT / "images" / "mountains.jpg", 300))
    some = dd.load_image(ROOT / "images" / "flower.jpg", 100)
    objective = (
        dd.L2("fire2/concat") + 3 * dd.channel("fire3/concat", 7) - dd.guide("fire3/concat", some)
    )
    objective += 1e5 * dd.unit("fire3/concat", 5, 30, 15)
    values = []
    for net in whole_and_tiled(squeezenet, ["fire3/concat"], x, tile=200, halo=64):
        dd.gradient(net, "", objective)
        values.append(float(net.value))
    assert values[1] == pytest.approx(values[0], rel=1e-4) and values[0]
    assert error(*gradients(squeezenet, objective, "", x, tile=200, halo=64)) < 1e-5


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_what_a_layer_makes_of_tiles_is_what_it_makes_of_the_whole_picture(squeezenet, engine):
    net = squeezenet if engine == "caffe" else load("squeezenet_v1.1", "torch")
    x = dd.preprocess(net, dd.load_image(ROOT / "images" / "mountains.jpg", 300))
    for layer in ("conv1", "fire3/concat"):
        whole, tiled = (
            each.features(layer) for each in whole_and_tiled(net, [layer], x, tile=200, halo=64)
        )
        assert whole.shape == tiled.shape and np.abs(whole - tiled).max() < 1e-5 * whole.max()


def test_a_layer_in_windows_has_a_place_for_each(googlenet):
    """The window's own values: those of a picture as large as it."""
    image = np.random.RandomState(0).uniform(0, 255, (224, 448, 3))
    tiles = fit(googlenet, ["loss3/classifier"], [image.shape[:2]])
    tiles.blobs["data"].reshape(1, 3, *image.shape[:2])
    tiles.blobs["data"].data[0] = dd.preprocess(googlenet, image)
    sides = [
        dd.guide_features(googlenet, image[:, side], "loss3/classifier")
        for side in np.s_[:224, 224:]
    ]
    assert np.array_equal(tiles.features("loss3/classifier"), np.stack(sides, 1)[:, None])
    objective = dd.strongest("loss3/classifier")
    found = []
    for each in (objective, dd.channel("loss3/classifier", int(np.argmax(sum(sides))))):
        dd.gradient(tiles, "", each)
        found.append(tiles.blobs["data"].diff.copy())
    assert np.array_equal(*found)


def test_a_caricature_in_tiles_has_the_gradient_of_the_whole_picture(squeezenet):
    x = dd.preprocess(squeezenet, dd.load_image(ROOT / "images" / "mountains.jpg", 300))
    image = dd.load_image(ROOT / "images" / "flower.jpg", 200)
    for of in (None, image):
        objective = dd.caricature("fire3/concat", of, power=1.5)
        assert error(*gradients(squeezenet, objective, "", x, tile=200, halo=64)) < 1e-4


def test_a_dream_in_tiles_chooses_the_channels_of_the_whole_picture(squeezenet):
    image, layer = dd.load_image(ROOT / "images" / "mountains.jpg", 320), squeezenet.default_layer
    x = dd.preprocess(squeezenet, image)
    whole, tiled = (
        each.features(layer).mean((1, 2))
        for each in whole_and_tiled(squeezenet, [layer], x, tile=192)
    )
    strongest = whole.argsort()[-3:]
    assert set(strongest) == set(tiled.argsort()[-3:])
    dream = partial(dd.deepdream, squeezenet, image, iter_n=1, octave_n=1, seed=0, tile=192)
    expected = dream(objective=sum(dd.channel(layer, i) for i in strongest))
    assert np.array_equal(dream(objective=dd.strongest(layer, 3)), expected)


def test_a_dream_in_tiles_is_a_caricature_of_the_photograph(squeezenet, photo):
    dream = partial(dd.deepdream, squeezenet, photo, iter_n=2, octave_n=2, seed=0, tile=80, turn=20)
    expected = dream(objective=dd.caricature("fire2/concat", photo))
    assert np.array_equal(dream(objective=dd.caricature("fire2/concat")), expected)


def test_tiles_of_a_network_without_padding(tmp_path):
    """A tile then has fewer values than its pixels suggest, so the halo grows until
    none is missing.
    """
    bare = """layer { name: "data" type: "Input" top: "data"
                      input_param { shape { dim: 1 dim: 3 dim: 64 dim: 64 } } }
              layer { name: "a" type: "Convolution" bottom: "data" top: "a"
                      convolution_param { num_output: 4 kernel_size: 11 stride: 3 } }
              layer { name: "p" type: "Pooling" bottom: "a" top: "p"
                      pooling_param { kernel_size: 3 stride: 2 } }
              layer { name: "b" type: "Convolution" bottom: "p" top: "b"
                      convolution_param { num_output: 5 kernel_size: 5 dilation: 2 } }
              layer { name: "up" type: "Deconvolution" bottom: "b" top: "up"
                      convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }"""
    net = dd.load_net(write_model(tmp_path / "bare", bare, ""))
    x = np.random.RandomState(0).normal(0, 50, (3, 251, 303)).astype(np.float32)
    for end, field in (("a", 11), ("p", 17), ("b", 65), ("up", 77)):
        assert error(*gradients(net, dd.objective_L2, end, x, tile=200, halo=field)) < 1e-5
        assert error(*gradients(net, dd.objective_L2, end, x, tile=200)) < 0.1


def test_the_default_halo_is_as_exact_as_the_documentation_says(googlenet):
    x = dd.preprocess(googlenet, dd.load_image(ROOT / "images" / "mountains.jpg", 800))
    assert error(*gradients(googlenet, dd.objective_L2, "inception_4c/output", x, tile=512)) < 0.01


def test_a_dream_in_tiles_is_nearly_the_same_dream(squeezenet, photo):
    """Two steps at a low layer, where the tiles are exact."""
    how = {"end": "fire2/concat", "iter_n": 2, "octave_n": 1, "seed": 0}
    whole = dd.deepdream(squeezenet, photo, **how)
    tiled = dd.deepdream(squeezenet, photo, tile=72, halo=20, **how)
    assert np.abs(tiled - whole).mean() < 1e-3 and not np.array_equal(whole, photo)


@pytest.mark.slow
def test_no_seams_at_the_borders_of_tiles(googlenet):
    """Across borders the dream in tiles changes no more than across the lines beside
    them.

    The picture itself may change there, so the same ratio of the dream without tiles is
    the measure.
    """
    image, end = dd.load_image(ROOT / "images" / "mountains.jpg", 800), "inception_4c/output"
    how = {
        "end": end,
        "iter_n": 3,
        "octave_n": 1,
        "jitter": 0,
    }  # so that the borders stay where they are
    tiling = fit(googlenet, [end], [image.shape[:2]], 384).tiling
    found = []
    for tile in (None, 384):
        dream, at, beside = dd.deepdream(googlenet, image, tile=tile, **how), [], []
        for axis in (0, 1):
            change = np.abs(np.diff(dream - image, axis=axis)).mean((1 - axis, 2))
            borders = [cut.first - 1 for cut in tiling.cuts(image.shape[axis])[1:]]
            assert len(borders) >= 2
            at += [change[b] for b in borders]
            beside += [change[b + n] for b in borders for n in range(-24, 25) if n]
        found.append(np.mean(at) / np.mean(beside))
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_tiles_are_used_when_the_budget_is_small(squeezenet, monkeypatch):
    octaves, end = [(400, 600), (800, 1200)], ["fire8/concat"]
    assert fit(squeezenet, end, octaves) is squeezenet
    monkeypatch.setenv("DEEPDREAM_MEMORY", "300MB")
    tiles = fit(squeezenet, end, octaves)
    core, halo, _ = tiles.tiling
    assert core + 2 * halo <= 512
    monkeypatch.setenv("DEEPDREAM_MEMORY", "60 MB")
    core, halo, _ = fit(squeezenet, end, octaves).tiling
    assert core + 2 * halo < 400
    assert shapes.memory(squeezenet.layer_specs, end[0], core + 2 * halo, core + 2 * halo) <= 60e6
    monkeypatch.setenv("DEEPDREAM_MEMORY", "100k")
    with pytest.raises(
        dd.DreamError,
        match="a budget of 0 MB is too small for even one tile of layer 'fire8/concat'",
    ):
        fit(squeezenet, end, octaves)


@pytest.mark.parametrize(
    ("given", "bytes"), [("1000000", 1e6), ("1.5GB", 1.5e9), ("2 gib", 2**31), (".5m", 5e5)]
)
def test_deepdream_memory_is_read(squeezenet, monkeypatch, given, bytes):
    monkeypatch.setenv("DEEPDREAM_MEMORY", given)
    monkeypatch.setattr(squeezenet, "free_memory", lambda: 1e12)
    assert budget(squeezenet) == bytes


@pytest.mark.parametrize("given", ["much", "-1", "1.5 parsecs", "GB"])
def test_a_wrong_deepdream_memory_is_refused(squeezenet, monkeypatch, photo, given):
    monkeypatch.setenv("DEEPDREAM_MEMORY", given)
    with pytest.raises(dd.DreamError, match=r"DEEPDREAM_MEMORY is .*such as 1500000000 or 1\.5GB"):
        dd.deepdream(squeezenet, photo, end="fire2/concat", iter_n=1, octave_n=1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tile": 0}, "tile is 0; it must be a whole number"),
        ({"tile": 1.5}, "tile is 1.5; it must be a whole number"),
        ({"tile": 128, "halo": -1}, "halo is -1; it must be a whole number"),
        ({"tile": 20}, "tile is 20; layer 'fire8/concat' needs tiles of at least 48 pixels"),
        (
            {"tile": 128, "halo": 64},
            "tile is 128; .* needs tiles of at least 144 pixels with a halo of 64",
        ),
    ],
)
def test_wrong_sizes_of_tiles_are_refused(squeezenet, photo, wrong, says):
    with pytest.raises(dd.DreamError, match=says):
        dd.deepdream(squeezenet, photo, end="fire8/concat", iter_n=1, octave_n=1, **wrong)


def test_a_tile_larger_than_the_picture_keeps_the_memory_limit(toy, photo, monkeypatch):
    net = dd.load_net(toy)
    monkeypatch.setattr(net, "free_memory", lambda: 1e5)
    for tile in (143, 144, 1000):
        with pytest.raises(dd.DreamError, match="of memory for layer 'both'"):
            dd.deepdream(net, photo, end="both", octave_n=1, iter_n=1, tile=tile)


def test_a_layer_that_takes_only_one_size_is_refused_at_another(tmp_path):
    fixed = """layer { name: "data" type: "Input" top: "data"
                       input_param { shape { dim: 1 dim: 3 dim: 40 dim: 40 } } }
               layer { name: "r" type: "Reshape" bottom: "data" top: "r"
                       reshape_param { shape { dim: 1 dim: 3 dim: 20 dim: 80 } } }"""
    net = dd.load_net(write_model(tmp_path / "fixed", fixed, ""))
    image = np.random.RandomState(0).uniform(0, 255, (40, 40, 3))
    assert dd.deepdream(net, image, end="r", octave_n=1, iter_n=1, tile=20).shape == image.shape
    with pytest.raises(dd.DreamError, match="only on one of its own size"):
        dd.deepdream(net, np.zeros((50, 50, 3)), end="r", octave_n=1, iter_n=1)


def test_a_plain_function_receives_a_blob_in_tiles(squeezenet, photo):
    def objective(dst):
        assert dst.shape == dst.data.shape == dst.diff.shape
        dst.diff[:] = dst.data

    how = {"end": "fire2/concat", "octave_n": 1, "iter_n": 1, "seed": 0, "tile": 64}
    dream = partial(dd.deepdream, squeezenet, photo, **how)
    assert np.array_equal(dream(), dream(objective=objective))


def test_ctrl_c_in_tiles_returns_a_picture_that_is_not_shifted(squeezenet, photo):
    calls = []

    def interrupted(dst):
        dst.diff[:] = dst.data
        calls.append(1)
        if len(calls) == 20:
            signal.raise_signal(signal.SIGINT)

    how = {"end": "fire2/concat", "octave_n": 2, "jitter": 60, "step_size": 0.1, "tile": 64}
    dream = dd.deepdream(squeezenet, photo, objective=interrupted, **how)
    assert 0 < np.abs(dream - photo).mean() < 2


def count_copies(image, make):
    """How many pictures of this size Python holds at once, at most, while `make` runs,
    besides what it held before.
    """
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1] / image.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("stop_at", "most"), [(None, 3.2), ((1, 1), 3.7), ((2, 1), 3.7)]
)  # octave, step
def test_few_copies_of_the_picture_are_held_at_once(toy, photo, stop_at, most):
    """In a step: the picture, its gradient and one more. What Ctrl-C leaves takes half
    a copy more to enlarge.
    """
    net, image = dd.load_net(toy), np.tile(photo, (6, 6, 1))

    def on_step(step):
        return (step.octave, step.iteration) == stop_at

    dream = partial(dd.deepdream, net, end="both", iter_n=2, seed=0, tile=200, on_step=on_step)
    dream(photo)  # imports what it needs
    assert count_copies(image, lambda: dream(image)) < most


def test_the_command_line_holds_few_copies_of_the_picture(toy, photo, tmp_path):
    """The picture it has read as bytes, a quarter of a copy, and what a dream holds."""
    image = np.tile(photo, (6, 6, 1))
    dd.save_image(tmp_path / "in.png", image)
    how = ["--model", toy, "--iterations", 2, "--tile", 200]
    main(
        "dream", tmp_path / "in.png", "-o", tmp_path / "out.png", *how, "--width", 144
    )  # imports what it needs
    assert (
        count_copies(
            image, lambda: main("dream", tmp_path / "in.png", "-o", tmp_path / "out.png", *how)
        )
        < 3.6
    )


@pytest.mark.parametrize(
    "model, width, budget, most",
    [
        ("squeezenet_v1.1", 2048, "0.4GB", 0.9),  # 2.3 GB at once
        pytest.param("bvlc_googlenet", 4096, "1GB", 1.5, marks=pytest.mark.slow),  # 17 GB at once
    ],
)
def test_a_large_picture_in_little_memory(model, width, budget, most):
    """The peak memory, in GB, of a process that makes one step at each octave."""
    if not zoo.find(model).file(".caffemodel"):
        pytest.skip(f"the weights of {model} are not here")
    code = f"""if True:
        import numpy as np, deepdream as dd
        from PIL import Image
        net = dd.load_net({model!r})
        image = np.asarray(Image.open("images/mountains.jpg").resize(({width}, {width * 9 // 16})))
        dream = dd.deepdream(net, image, iter_n=1, end=net.default_layer)
        assert dream.shape == image.shape and np.abs(dream - image).mean() > 1
        status = open("/proc/self/status")
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    """
    env = os.environ | {"DEEPDREAM_MEMORY": budget}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < most * 1e6, "kB of resident memory"
