"""The command line as a person meets it: what it makes, and what it refuses, in one
sentence.

Most of it runs in this process. Whatever could abort or hang, and one dream or smoke
test of each command, has a real process: nothing ever kills one.
"""

import errno
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import TOY, main, mounted, refused, run
from PIL import Image

import deepdream as dd
from deepdream.nets import caffemodel

ROOT = Path(__file__).parents[2]
MOUNTAINS = ROOT / "images" / "mountains.jpg"
FEW = "--iterations", 1, "--octaves", 2, "--seed", 0


def dream(*args):
    return main("dream", *args, *FEW)


def dream_in_a_process(*args, **kwargs):
    return run("dream", *args, *FEW, **kwargs)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.uint8(np.random.RandomState(0).uniform(0, 255, (60, 80, 3)))).save(
        tmp_path / "in.png"
    )
    return tmp_path / "in.png"


def test_a_dream_from_end_to_end(tmp_path, picture, toy):
    out = tmp_path / "out.png"
    words = picture, "--model", toy, "--guide", picture, "--no-clip", "--width", 70
    done = dream_in_a_process(*words, "-o", out)
    assert done.returncode == 0 and done.stdout == f"{out}\n" and done.stderr == "", done
    assert dd.load_image(out).shape == (52, 70, 3)
    settings = dd.read_settings(out)
    given = {"command": "dream", "deepdream": dd.__version__, "model": "toy", "engine": "caffe"}
    given |= {"image": "in.png", "width": 70, "guide": "in.png", "end": "both", "seed": 0}
    given |= {"iter_n": 1, "octave_n": 2, "octave_scale": 1.4, "step_size": 1.5, "jitter": 32}
    given |= {"clip": False, "keep_color": False, "smooth": 0.0, "lap": 0, "turn": 0.0}
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    weights = hashlib.sha256((toy / "toy.caffemodel").read_bytes()).hexdigest()
    assert settings == {**given, "sha256": {"image": digest, "guide": digest, "weights": weights}}
    again = tmp_path / "again.png"
    dream_in_a_process(*words, "-o", again)
    assert again.read_bytes() == out.read_bytes()


def test_a_dream_of_noise(tmp_path, toy):
    done = dream("--size", "64x48", "-o", tmp_path / "n.png", "--model", toy)
    assert done.returncode == 0, done
    settings = dd.read_settings(tmp_path / "n.png")
    assert settings["size"] == "64x48" and not {"image", "width"} & settings.keys()
    again = run("replay", tmp_path / "n.png", "-o", tmp_path / "again.png", "--model", toy)
    assert (
        again.returncode == 0
        and (tmp_path / "again.png").read_bytes() == (tmp_path / "n.png").read_bytes()
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            (),
            "begins with a picture, IN, or noise of a --size, such as 640x360; give one of the two",
        ),
        (("--size", "64x48", "in.png"), "begins with a picture, IN, or noise of a --size"),
        (("--size", "64x48", "--width", 50), "--width is for a picture; noise has a --size"),
        (("--size", "64"), "--size is '64'; it must be WIDTHxHEIGHT in pixels"),
        (("--size", "0x48"), "--size is '0x48'; it must be WIDTHxHEIGHT in pixels"),
        (
            ("--size", "99999999x1"),
            "--size is 99999999x1; both numbers must be whole numbers of pixels",
        ),
        (("--size", f"{'9' * 5000}x1"), "it must be WIDTHxHEIGHT in pixels"),
    ],
)
def test_a_dream_begins_with_a_picture_or_with_noise(tmp_path, toy, given, says):
    refused(dream(*given, "-o", tmp_path / "x.png", "--model", toy), says)
    assert not (tmp_path / "x.png").exists()


def test_the_photographs_of_the_package_are_found_by_name(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = dream(
        "flower.jpg", "--guide", "forest.jpg", "-o", "d.png", "--model", toy, "--width", 60
    )
    assert done.returncode == 0, done
    settings = dd.read_settings(tmp_path / "d.png")
    assert (settings["image"], settings["guide"]) == ("flower.jpg", "forest.jpg")
    again = main("replay", "d.png", "-o", "again.png", "--model", toy)
    assert (
        again.returncode == 0
        and (tmp_path / "again.png").read_bytes() == (tmp_path / "d.png").read_bytes()
    )
    dd.save_image(tmp_path / "forest.jpg", np.zeros((40, 50, 3)))
    dream("forest.jpg", "-o", "mine.png", "--model", toy)
    assert dd.load_image(tmp_path / "mine.png").shape == (40, 50, 3), (
        "a file that is there comes first"
    )


def test_squeezenet_dreams_a_photograph(tmp_path):
    done = dream(MOUNTAINS, "-o", tmp_path / "d.jpg", "--model", "squeezenet_v1.1", "--width", 200)
    assert done.returncode == 0 and done.stderr == "", done
    assert dd.read_settings(tmp_path / "d.jpg")["end"] == "fire8/concat"


def test_ctrl_c_keeps_the_picture_so_far(tmp_path, picture, toy):
    args = ["dream", picture, "-o", tmp_path / "o.png", "--model", toy, "--iterations", 50]
    code = f"""if True:
        import signal, sys
        from deepdream.cli import main as cli
        from deepdream import dream
        steps, make_step = [], dream.make_step
        def stop_at_the_fourth(*args, **kwargs):
            make_step(*args, **kwargs)
            steps.append(1)
            if len(steps) == 4:
                signal.raise_signal(signal.SIGINT)
        dream.make_step = stop_at_the_fourth
        sys.exit(cli.main({list(map(str, args))}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "(stopped at " in done.stdout and done.stderr == "", done
    assert 0 < dd.read_settings(tmp_path / "o.png")["stopped_at"] < 1


def test_layers_lists_shapes_fields_and_what_can_be_climbed(toy):
    done = run("layers", "--model", toy, "--size", "64x48")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["conv1"] == ["conv1", "Convolution", "8", "x", "24", "x", "32", "5", "yes"]
    assert lines["both"] == ["both", "Concat", "10", "x", "12", "x", "16", "17", "yes"]
    assert lines["relu1"][-1] == "-" and lines["data"][-1] == "-" and done.returncode == 0


def test_what_a_name_begins_with_is_suggested_first(tmp_path):
    words = "atlas", "-o", tmp_path / "a", "--model", "bvlc_googlenet", "--layer"
    for given, says in {
        "inception_4c": "did you mean 'inception_4c/output' or 'inception_4c/pool_proj' "
        "or 'inception_4c/pool'",
        "conv2": "did you mean 'conv2/norm2' or 'conv2/3x3' or 'conv2/3x3_reduce'",
        "inception_4c/outptu": "did you mean 'inception_4c/output'",
        "x": "allowed: conv1/7x7_s2",
    }.items():
        refused(main(*words, given), f"unknown layer '{given}'; {says}")
    refused(
        main("dream", "a.png", "-o", "x.png", "--oct", 3),
        "did you mean '--octave-scale' or '--octaves'",
    )


def test_layers_of_a_small_picture_are_listed_all_the_same():
    googlenet = "layers", "--model", "bvlc_googlenet", "--size"
    lines = {line.split()[0]: line for line in main(*googlenet, "200x112").stdout.splitlines()}
    assert lines["inception_5b/output"].endswith("yes") and len(lines) == 144
    assert "too small" in lines["prob"] and lines["prob"].endswith("-")
    large = main(*googlenet, "1024x575").stdout.splitlines()
    assert large[-1].startswith("prob") and large[-1].endswith("-")


def test_layers_of_googlenet_need_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPDREAM_MODELS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = main("layers", "--model", "bvlc_googlenet")
    assert len(done.stdout.splitlines()) == 144 and "inception_4c/output" in done.stdout


def test_models_lists_all_and_where():
    done = run("models")
    assert done.returncode == 0
    for name in ("bvlc_googlenet", "squeezenet_v1.1", "places205_googlenet", "places365_googlenet"):
        assert f"{name}\n" in done.stdout
    assert "squeezenet_v1.1.caffemodel" in done.stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--layer", "boht"], "unknown layer 'boht'; did you mean 'both'"),
        (["--layer", "fc"], "only on one of its own size, 32x24"),
        (["--model", "squeezenet"], "unknown model 'squeezenet'; did you mean 'squeezenet_v1.1'"),
        (["--engine", "cafe"], r"unknown engine 'cafe'; did you mean 'caffe'\?"),
        (["--iterations", "-3"], "--iterations is -3; it must be a whole number from 0 to 10000"),
        (
            ["--octaves", "13"],
            "too small for layer 'both', which needs at least 3x3 pixels; it is one of 13 octaves",
        ),
        (
            ["--octave-scale", "0.5"],
            "--octave-scale is 0.5; it must be a number, above 1 and at most 100, such as 1.4",
        ),
        (["--scale", "1.5"], r"unknown option '--scale'; did you mean '--octave-scale'"),
        (["--seed", "-1"], "--seed is -1"),
        (["--model", ""], "--model is ''; it must be text"),
        (["--width", "-1"], "--width is -1"),
        (
            ["--width", "wide"],
            "--width is 'wide'; it must be a whole number of pixels from 1 to 65535",
        ),
        (["--objective", "L2('boht')"], "unknown layer 'boht'; did you mean 'both'"),
        (["--objective", ""], "--objective is ''; it must be text"),
        (["--tile", "0"], "--tile is 0"),
        (["--objective", "L2(both)"], "cannot read .*'both' has no meaning in it"),
        (["--objective", "L2('both')", "--layer", "both"], "leave out --layer"),
        (["--tile", "7"], "--tile is 7; layer 'both' needs tiles of at least"),
        (["--smooth", "-2"], "--smooth is -2"),
        (["--mask", "absent.jpg"], r"cannot read the picture absent\.jpg"),
        (["--guide", "absent.jpg"], r"cannot read the picture absent\.jpg: there is no such file"),
    ],
)
def test_wrong_arguments(tmp_path, picture, toy, args, says):
    given = ["dream", picture, "-o", tmp_path / "o.png", "--model", toy, "--iterations", 1, *args]
    refused(main(*given), says)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        "dream p.png -o p.png",
        "dream p.png -o link.png",
        "dream p.png -o other.png --guide other.png",
        "dream p.png -o other.png --mask other.png",
        "dream p.png -o other.png --objective guide('left','other.png')",
        "draw 3 guide('left','p.png') -o p.png",
        "grid p.png -o p.png --iterations 1,2",
        "zoom p.gif -o p.gif --frames 2",
        "journey p.gif -o p.gif",
        "video p.gif -o p.gif",
    ],
)
def test_what_is_read_is_not_overwritten(tmp_path, toy, picture, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    for name in ("p.png", "other.png", "p.gif"):
        Image.open(picture).save(name)
    Path("link.png").symlink_to("p.png")
    before = {name: Path(name).read_bytes() for name in ("p.png", "other.png", "p.gif")}
    out = words.split("-o ")[1].split()[0]
    done = main(*words.split(), "--model", toy)
    refused(done, f"^deepdream: {out} would be read and overwritten; choose another name for -o$")
    assert {name: Path(name).read_bytes() for name in before} == before


def test_a_dream_may_be_replayed_onto_itself(tmp_path, toy, picture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dream("in.png", "-o", "o.png", "--guide", "in.png", "--model", toy).returncode == 0
    before = Path("o.png").read_bytes()
    done = main("replay", "o.png", "-o", "o.png", "--model", toy)
    assert done.returncode == 0 and Path("o.png").read_bytes() == before, done
    refused(
        main("replay", "o.png", "-o", "in.png", "--model", toy),
        "in.png would be read and overwritten",
    )


def test_a_photograph_of_the_package_may_have_the_name_of_the_dream(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "flower.jpg", "-o", "flower.jpg", "--model", toy, "--width", 60
    assert dream(*words).returncode == 0
    before = Path("flower.jpg").read_bytes()
    refused(dream(*words), "flower.jpg would be read and overwritten")
    done = main("replay", "flower.jpg", "-o", "again.jpg", "--model", toy)
    assert done.returncode == 0 and done.stderr == "", done
    assert Path("again.jpg").read_bytes() == before, "the photograph is taken, not the dream"


def test_a_command_leaves_the_process_as_it_was():
    before = warnings.showwarning, list(warnings.filters)
    assert main("models").returncode == 0
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_models_lists_one(tmp_path):
    done = main("models", "list", "squeezenet_v1.1")
    assert (
        done.returncode == 0
        and done.stdout.startswith("squeezenet_v1.1\n")
        and done.stdout.count("\n") == 4
        and "mean 104, 117, 123 of blue, green, red (model.toml)" in done.stdout
    ), done
    refused(
        main("models", "list", "squeezenet"),
        "unknown model 'squeezenet'; did you mean 'squeezenet_v1.1'",
    )


def test_a_refusal_in_a_process_of_its_own(tmp_path, picture):
    refused(
        run("dream", picture, "-o", tmp_path / "o.png", "--iterations", -3),
        "deepdream: --iterations is -3",
    )
    refused(run("draw", "banana", "-o", tmp_path / "x.gif"), r"must end in \.jpg")
    refused(run(), "COMMAND")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["daydream"], "invalid choice: 'daydream'"),
        (["layers", "--size", "big"], "--size is 'big'"),
        (
            ["draw", "banana split", "-o", "x.png", "--model", "squeezenet_v1.1"],
            "unknown class .*'banana'",
        ),
        (["draw", "-o", "x.png"], "WHAT"),
        (
            ["dream", "a.png", "b.png", "-o", "x.png"],
            r"unknown arguments: b\.png; `deepdream dream --help` shows",
        ),
        (["dream", "a.png"], "required: -o/--out; `deepdream dream --help` shows what is allowed"),
        (["models", "get", "googlenet"], "did you mean 'bvlc_googlenet'"),
        (["models", "get", "places205_googlenet"], "get Places205-GoogLeNet from"),
        (["zoom", "-o", "x.mp4"], "required: IN"),
        (
            ["journey", "-o", "x.mp4", "--zoom", "1"],
            "--zoom is 1.0; it must be a number, at least -1 and below 1",
        ),
        (["video", "absent.mp4", "-o", "x.mp4"], "absent.mp4"),
        (["serve", "--port", "0"], "--port is 0"),
        (["replay", "absent.png"], "absent.png"),
    ],
)
def test_wrong_commands(words, says):
    refused(main(*words), says)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_unreadable_pictures(tmp_path, toy, content):
    if content is not None:
        (tmp_path / "in.jpg").write_bytes(content)
    refused(
        dream(tmp_path / "in.jpg", "-o", tmp_path / "o.png", "--model", toy),
        "cannot read the picture",
    )


@pytest.mark.slow
def test_a_picture_too_large_for_one_pass(tmp_path, toy):
    """Here a limit stands for a small machine. Tiles fit into it."""
    Image.new("RGB", (4000, 3000), "grey").save(tmp_path / "phone.png")
    paths = [tmp_path / "phone.png", "-o", tmp_path / "o.jpg", "--model", toy]
    command = [sys.executable, "-m", "deepdream", "dream", *paths]
    command += ["--octaves", 1, "--iterations", 1]
    limited = ["bash", "-c", 'ulimit -v 2500000 && exec "$@"', "bash", *map(str, command)]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(limited, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and dd.load_image(tmp_path / "o.jpg").shape == (3000, 4000, 3), done
    done = subprocess.run(
        limited, capture_output=True, text=True, env=env | {"DEEPDREAM_MEMORY": "1k"}
    )
    refused(
        done, r"a budget of 0 MB is too small for even one tile of layer 'both'.*DEEPDREAM_MEMORY"
    )


def test_objective_mask_and_colour_on_the_command_line(tmp_path, picture, toy):
    out = tmp_path / "o.png"
    objective = "0.5 * L2('both') + 3 * channel('conv1', 2)"
    more = ["--objective", objective, "--mask", picture, "--keep-color"]
    more += ["--smooth", 1, "--tile", 40]
    done = dream(picture, "-o", out, "--model", toy, *more)
    assert done.returncode == 0, done
    settings = dd.read_settings(out)
    assert (settings["objective"], settings["mask"]) == (objective, "in.png")
    assert "end" not in settings
    assert settings["keep_color"] is True and settings["smooth"] == 1 and settings["tile"] == 40


def test_drawings(tmp_path, toy):
    one, two = tmp_path / "one.png", tmp_path / "two.jpg"
    common = ["--model", toy, "--steps", 3, "--seed", 5]
    done = run("draw", "3", "-o", one, *common)
    assert done.returncode == 0 and done.stdout == f"{one}\n", done
    assert dd.load_image(one).shape == (32, 43, 3)
    settings = dd.read_settings(one)
    assert (settings["draw"], settings["steps"], settings["seed"]) == (["3"], 3, 5)
    done = main("draw", "3", "channel('both', 2)", "2 * L2('conv1')", "-o", two, *common)
    assert done.returncode == 0, done
    height, width, _ = dd.load_image(two).shape
    assert height > 64 and width > 86, "a sheet"
    wrong = main("draw", "3", "channel('both', 99)", "-o", tmp_path / "x.png", *common)
    refused(wrong, "channel of layer 'both' is 99")
    assert not (tmp_path / "x.png").exists()


def test_the_drawing_of_a_sum_that_begins_with_a_minus_can_be_replayed(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = main("draw", "--steps", 2, "--model", toy, "-o", "one.png", "--", "-L2('conv1')")
    assert done.returncode == 0 and dd.read_settings("one.png")["draw"] == ["-L2('conv1')"], done
    line = main("replay", "one.png").stdout
    options = "--model toy --engine caffe --steps 2 -o one.png"
    what = """'-L2('"'"'conv1'"'"')'"""
    assert line == f"deepdream draw {options} -- {what}\n"
    assert main("replay", "one.png", "-o", "again.png").returncode == 0
    assert Path("again.png").read_bytes() == Path("one.png").read_bytes()


def test_ctrl_c_keeps_the_drawings_so_far(tmp_path, toy):
    args = ["draw", "3", "2", "1", "-o", tmp_path / "o.png", "--model", toy, "--steps", 4]
    code = f"""if True:
        import signal, sys
        from deepdream.cli import main as cli
        import deepdream.drawing as drawing
        calls = []
        gradient = drawing.gradient
        def stop_at_the_ninth(*args):
            calls.append(1)
            if len(calls) == 9:
                signal.raise_signal(signal.SIGINT)
            return gradient(*args)
        drawing.gradient = stop_at_the_ninth
        sys.exit(cli.main({list(map(str, args))}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "stopped at 67%" in done.stdout, done
    assert dd.read_settings(tmp_path / "o.png")["draw"] == ["3", "2"]


def test_a_picture_too_small(tmp_path, toy):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    refused(
        dream(tmp_path / "dot.png", "-o", tmp_path / "o.png", "--model", toy), "at least 3x3 pixels"
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("layer {", "layer {{", "cannot read .*deploy.prototxt"),
        (
            'type: "Concat"',
            'type: "Konkat"',
            "unknown layer type of layer 'both': 'Konkat'; did you mean 'Concat'",
        ),
        ("num_output: 8", "num_output: 0", "layer 'conv1'.*num_output"),
        ('type: "ReLU"', 'type: "LRN" lrn_param { local_size: 4 }', "layer 'relu1'.*local_size"),
        ("kernel_size: 1 }", "kernel_size: 1 axis: 7 }", "Caffe refuses .*axis"),
    ],
)
def test_wrong_prototxts(tmp_path, picture, toy, old, new, says):
    """The last passes our own checks, and is then refused in Caffe's words."""
    (toy / "deploy.prototxt").write_text(TOY.replace(old, new))
    refused(dream_in_a_process(picture, "-o", tmp_path / "o.png", "--model", toy), says)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content[: len(content) // 2], "cannot read .*toy.caffemodel"),
        (lambda content: b"\xff" * 500, "cannot read .*toy.caffemodel"),
        (
            lambda content: b"",
            "toy.caffemodel holds no weights: it is not a caffemodel, or an empty one",
        ),
        (None, "toy has no caffemodel yet: put a .prototxt and a .caffemodel, one of each, into"),
    ],
    ids=["half", "nonsense", "empty", "absent"],
)
def test_wrong_caffemodels(tmp_path, picture, toy, damage, says):
    file = toy / "toy.caffemodel"
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    refused(dream(picture, "-o", tmp_path / "o.png", "--model", toy), says)


@pytest.mark.parametrize("left", [None, [(4, 8, 3, 3), (4,)], [(4, 8, 1, 1)], [(4, 8, 1, 1), (5,)]])
def test_weights_that_are_missing_or_do_not_fit(tmp_path, picture, toy, left):
    weights = caffemodel.read_weights(toy / "toy.caffemodel")
    del weights["left"]
    if left:
        weights["left"] = [np.ones(shape, np.float32) for shape in left]
    caffemodel.write_weights(toy / "toy.caffemodel", weights)
    says = r"layer 'left' needs weights of the shapes \(4, 8, 1, 1\), \(4,\), but the file has"
    refused(dream(picture, "-o", tmp_path / "o.png", "--model", toy), says)


def test_a_full_disk(tmp_path, picture, toy):
    with mounted(tmp_path / "full", "size=8k"):
        done = dream_in_a_process(picture, "-o", tmp_path / "full" / "o.png", "--model", toy)
        refused(done, "cannot write .*No space left")
        assert os.listdir(tmp_path / "full") == []


STREAMS = {  # what is done to the streams: (the exit status, the last line of stderr)
    "2>&-": (0, ""),
    ">&- 2>&- <&-": (0, ""),
    ">/dev/full": (1, "deepdream: cannot print to stdout: No space left on device\n"),
    ">/dev/full 2>/dev/full": (1, ""),
    "| true; exit ${PIPESTATUS[0]}": (0, ""),
    "2>&1 | true; exit ${PIPESTATUS[0]}": (0, ""),
}


@pytest.mark.parametrize("streams", STREAMS)
def test_streams_that_nobody_reads_or_that_are_full(tmp_path, picture, toy, streams):
    """The work is done all the same."""
    status, says = STREAMS[streams]
    words, made = (
        ("zoom -o z.gif --frames 2", "z.gif") if streams == "2>&-" else ("dream -o o.png", "o.png")
    )
    words = [*words.split(), picture, "--model", toy, *FEW]
    command = shlex.join(map(str, [sys.executable, "-m", "deepdream", *words]))
    done = subprocess.run(
        ["bash", "-c", f"{command} {streams}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (status, says) and (tmp_path / made).exists(), done


def test_a_closed_stderr_is_no_place_for_the_picture():
    """The first file that is opened would get its number, and whatever is printed by
    libraries.
    """
    code = "import os; from deepdream.cli.terminal import open_streams; open_streams()"
    code += "; print(os.fstat(2).st_rdev)"
    shell = "bash", "-c", shlex.join([sys.executable, "-c", code]) + " 2>&-"
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.stdout == f"{os.stat(os.devnull).st_rdev}\n", done


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_a_name_that_stdout_cannot_spell(tmp_path, picture, toy, utf8):
    env = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": utf8}
    name = "grün-\udcff.png"
    words = [sys.executable, "-m", "deepdream", "dream", picture, "-o", name, "--model", toy, *FEW]
    done = subprocess.run([*map(str, words)], capture_output=True, env=env, cwd=tmp_path)
    spelt = os.fsencode(name) if utf8 == "0" else rb"gr\xfcn-" + b"\xff.png"
    assert done.returncode == 0 and done.stdout == spelt + b"\n" and (tmp_path / name).exists(), (
        done
    )


@pytest.mark.parametrize("kilobytes", [400_000, 460_000, 500_000])
def test_a_limit_on_memory(tmp_path, picture, kilobytes):
    """SciPy's OpenBLAS would ask for more for ever."""
    words = [picture, "-o", tmp_path / "o.png", "--model", "squeezenet_v1.1", "--width", 1000, *FEW]
    command = shlex.join(map(str, [sys.executable, "-m", "deepdream", "dream", *words]))
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    limited = "bash", "-c", f"ulimit -v {kilobytes}; exec {command}"
    refused(
        subprocess.run(limited, capture_output=True, text=True, env=env, timeout=100),
        "memory|failed to map",
    )


def test_without_a_folder_for_temporary_files(tmp_path, picture, toy, monkeypatch):
    def nowhere():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    says = "temporary files cannot be written: No usable temporary .*; set TMPDIR"
    refused(dream(picture, "-o", tmp_path / "o.png", "--model", toy), says)


def test_files_of_the_system_that_fail_in_any_way_are_a_sentence(
    tmp_path, picture, toy, monkeypatch
):
    from deepdream import making as jobs

    for error, says in (
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            "^deepdream: Permission denied: /a/b$",
        ),
        (OSError("nobody answers"), "^deepdream: nobody answers$"),
        (
            ImportError("libfoo.so: failed to map segment from shared object"),
            "^deepdream: libfoo.so: failed to map",
        ),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(jobs, "make_dream", fail)
        refused(dream(picture, "-o", tmp_path / "o.png", "--model", toy), says)


def test_numbers_beyond_those_of_float32(tmp_path, picture, toy):
    words = picture, "-o", tmp_path / "o.png", "--model", toy
    refused(
        dream(*words, "--objective", "1e300 * L2('both')"),
        "is not a finite number, or beyond 1e.30",
    )
    refused(dream(*words, "--smooth", "1e30"), "--smooth is 1e.30")
    caffemodel.write_weights(
        toy / "toy.caffemodel",
        {
            name: [1e18 * blob for blob in blobs]
            for name, blobs in caffemodel.read_weights(toy / "toy.caffemodel").items()
        },
    )
    refused(dream(*words), "gives no direction to climb: its gradient is (inf|nan)")
    refused(main("look", picture, "--model", toy), "answers with numbers that are not finite")


def test_a_read_only_folder(tmp_path, picture, toy):
    with mounted(tmp_path / "fixed", "ro"):
        refused(
            dream(picture, "-o", tmp_path / "fixed" / "o.png", "--model", toy),
            "cannot write .*Read-only",
        )


def test_a_cache_that_cannot_be_written(tmp_path, picture, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    refused(
        dream(picture, "-o", tmp_path / "o.png", "--model", "squeezenet_v1.1"), "XDG_CACHE_HOME"
    )


def test_without_caffe(tmp_path, picture, toy):
    (tmp_path / "caffe.py").write_text("raise ImportError('libglog.so.1 is not there')")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = dream_in_a_process(
        picture, "-o", tmp_path / "o.png", "--model", toy, "--engine", "caffe", env=env
    )
    refused(done, "libglog.so.1.*make caffe")


NOTE = {"deepdream": "0.2.0", "command": "zoom", "image": "in.png", "model": "toy"}


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ({"model": []}, r"n\.png cannot be replayed: --model is \[\]; it must be text"),
        (
            {"keys": "/etc/hostname.toml"},
            "--keys is the path of a file; a film carries what its keys say",
        ),
        ({"keys": '{"0": {"step_size": []}}'}, r"--keys, key 0: step_size is \[\]"),
        ({"keys": '{"0": {"mask": "\\ud800"}}'}, "--keys, key 0: mask is"),
        ({"keys": "{" + "[" * 5000}, "--keys, line 1: this is not JSON|nested"),
        ({"frame": []}, "frame is"),
        ({"image": "x" * 5000}, "was made from xxx.*xxx, which is not here"),
    ],
)
def test_settings_in_a_picture_come_from_strangers(tmp_path, toy, picture, monkeypatch, note, says):
    monkeypatch.chdir(tmp_path)
    dd.save_image("n.png", np.zeros((9, 9, 3)), NOTE | note)
    before = sorted(os.listdir())
    done = main("replay", "n.png", "-o", "o.gif")
    refused(done, says)
    assert sorted(os.listdir()) == before and len(done.stderr) < 600


def test_a_strangers_words_do_not_reach_the_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dd.save_image("n.png", np.zeros((9, 9, 3)), NOTE | {"image": "\x1b[2J.png"})
    assert r"zoom $'\x1b[2J.png' --model toy" in main("replay", "n.png").stdout
    refused(
        main("replay", "n.png", "-o", "o.gif"), r"was made from \\x1b\[2J\.png, which is not here"
    )


@pytest.mark.parametrize(
    "words",
    [
        "dream in.png -o ",
        "zoom in.png -o ",
        "grid in.png --iterations 1,2 -o {long}.png",
        "grid in.png --iterations 1,2 -o o.png --layer both,{long}",
        "batch in.png -o {long}",
        "batch in.png -o new/{long}",
        "zoom in.png -o {long}.mp4",
        "zoom in.png -o {long}",
        "dream {long} -o o.png",
        "video {long}.mp4 -o o.mp4",
        "zoom in.png --keys {long}.toml -o o.mp4",
        "dream in.png --objective guide('both','{long}') -o o.png",
        "draw guide('both','{long}') -o o.png",
        "video fifo.mp4 -o o.mp4",
        "dream in.png --mask fifo.mp4 -o o.png",
        "zoom in.png -o o.mp4 --fps 0.0000001",
        "video clip.gif -o o.mp4 --stride 2147483647",
    ],
)
def test_names_that_no_file_can_have_are_refused_before_any_work(
    tmp_path, toy, picture, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.mp4")
    Image.open(picture).save("clip.gif")
    before = sorted(os.listdir())
    done = main(*(word.format(long="x" * 300) for word in words.split(" ")), "--model", toy)
    refused(done, "-o is ''|[Ff]ile name too long|no such file|it is a pipe|--fps is|--stride is")
    assert sorted(os.listdir()) == before and len(done.stderr) < 600
