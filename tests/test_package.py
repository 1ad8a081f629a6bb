"""The repository around the code: a light import, old names, a wheel that works
elsewhere, a quiet Caffe.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import deepdream as dd
from deepdream.pictures import SAMPLES

ROOT = Path(__file__).parent.parent


def python(code, **kwargs):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, **kwargs
    )
    return done.stdout, done.stderr


def test_import_is_light():
    heavy = [
        "caffe",
        "torch",
        "scipy",
        "PIL",
        "google.protobuf",
        "IPython",
        "pooch",
        "tqdm",
        "h5py",
        "requests",
    ]
    heavy += ["av", "cv2", "distributed", "ipywidgets", "argparse"]
    out, err = python(f"import sys, deepdream; print([m for m in {heavy} if m in sys.modules])")
    assert (out, err) == ("[]\n", "")


OLD_NAMES = """L2 DreamError Step channel deepdream deprocess draw dream_video gradient guide guide_features journey
    live_view load_image load_net logit make_film make_step objective_L2 objective_guide octaves preprocess read_film
    read_settings save_film save_image sheet showarray stations steady unit zoom""".split()  # noqa: SIM905


def test_public_names_exist_and_have_a_docstring():
    assert all(getattr(dd, name).__doc__ for name in dd.__all__)
    assert set(OLD_NAMES) <= set(dd.__all__), "those of version 0.1.0"


def test_what_readme_and_notebook_ever_imported_is_there():
    pytest.importorskip(
        "anywidget", reason="the studio is not installed: pip install anywidget ipywidgets"
    )
    from deepdream.batch import dream_many
    from deepdream.studio import Studio

    assert callable(dream_many) and callable(Studio)


def test_the_page_is_served_without_loading_the_panel():
    out, err = python("import sys, deepdream.studio.serve; print('ipywidgets' in sys.modules)")
    assert (out, err) == ("False\n", "")


def test_signatures_are_googles():
    from inspect import signature

    def defaults(function, n):
        return [(p.name, p.default) for p in signature(function).parameters.values()][1:n]

    assert defaults(dd.make_step, 6) == [
        ("step_size", 1.5),
        ("end", "inception_4c/output"),
        ("jitter", 32),
        ("clip", True),
        ("objective", dd.objective_L2),
    ]
    assert defaults(dd.deepdream, 7)[1:] == [
        ("iter_n", 10),
        ("octave_n", 4),
        ("octave_scale", 1.4),
        ("end", "inception_4c/output"),
        ("clip", True),
    ]


def test_caffe_is_quiet_unless_asked(toy):
    load = f"import deepdream; deepdream.load_net({str(toy)!r})"
    assert python(load) == ("", "")
    warn = f"import caffe; caffe.Net({str(toy / 'deploy.prototxt')!r}, {str(toy / 'toy.caffemodel')!r}, 1)"
    assert "DEPRECATION" in python(warn)[1]
    assert python(warn, env=os.environ | {"GLOG_minloglevel": "2"}) == ("", "")


def test_caffes_wheel_carries_the_licences_of_all_that_it_holds():
    from importlib.metadata import files

    licences = {
        file.name: file.read_text() for file in files("caffe") if file.parent.name == "licenses"
    }
    assert {"Caffe.txt", "protobuf.txt", "Boost.txt"} <= set(licences)
    for text in licences.values():
        assert "in binary form" in text or "machine-executable object code" in text


def test_the_wheel_works_outside_the_repository(tmp_path):
    """Installed into an environment of its own, from a folder of its own; the heavy
    packages are borrowed.
    """
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        ROOT,
    ]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("deepdream_caffe-*.whl"))
    venv.create(tmp_path / "env", symlinks=True, with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(install, check=True, capture_output=True)
    borrowed = Path(pytest.__file__).parent.parent
    command = [
        tmp_path / "env" / "bin" / "python",
        "-m",
        "deepdream",
        "dream",
        ROOT / "images" / "flower.jpg",
    ]
    options = [
        "-o",
        tmp_path / "o.png",
        "--model",
        "squeezenet_v1.1",
        "--width",
        "100",
        "--iterations",
        "1",
    ]
    env = os.environ | {"PYTHONPATH": f"{site}:{borrowed}"}
    run = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, env=env
    )
    assert run.returncode == 0, run.stderr
    assert dd.read_settings(tmp_path / "o.png")["model"] == "squeezenet_v1.1"
    studio = {path.name for path in (site / "deepdream" / "studio").iterdir()}
    assert {"page.html", "page.js", "studio.js", "studio.css"} <= studio and (
        site / "deepdream" / "py.typed"
    ).exists()
    assert {path.name for path in (site / "deepdream" / "images").iterdir()} == {
        "README.md",
        *SAMPLES,
    }
    contents = {
        path.relative_to(site).as_posix() for path in (site / "deepdream" / "models").rglob("*.*")
    }
    assert "deepdream/models/bvlc_googlenet/deploy.prototxt" in contents
    assert not any(path.endswith(".caffemodel") for path in contents)
