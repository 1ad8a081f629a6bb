"""The repository around the code: a light import, old names, a wheel that works
elsewhere, a quiet Caffe.
"""

import importlib
import os
import pkgutil
import re
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
    heavy = """
        caffe torch scipy PIL google.protobuf IPython pooch tqdm h5py requests
        av cv2 distributed ipywidgets argparse
    """
    there = f"[name for name in {heavy.split()} if name in sys.modules]"
    out, err = python(f"import sys, deepdream; print({there})")
    assert (out, err) == ("[]\n", "")


OLD_NAMES = """
    L2 DreamError Step channel deepdream deprocess draw dream_video gradient guide
    guide_features journey live_view load_image load_net logit make_film make_step
    objective_L2 objective_guide octaves preprocess read_film read_settings save_film
    save_image sheet show_film showarray stations steady unit zoom
"""
# What README, docs or notebook ever imported from below the front door
OLD_PATHS = {
    "deepdream.batch": ["dream_many"],
    "deepdream.films": ["make_film", "read_film", "save_film", "zoom"],
    "deepdream.show": ["Progress", "TrainingProgress", "live_view"],
    "deepdream.studio": ["Studio"],
    "deepdream.train": ["train"],
}


def test_public_names_exist_and_have_a_docstring():
    assert all(getattr(dd, name).__doc__ for name in dd.__all__)
    assert set(OLD_NAMES.split()) <= set(dd.__all__), "those of version 0.1.0"


@pytest.mark.parametrize("path", OLD_PATHS)
def test_paths_that_readme_docs_or_notebook_ever_showed_are_there(path):
    if path == "deepdream.studio":
        pytest.importorskip(
            "anywidget", reason="the studio is not installed: pip install anywidget"
        )
    module = importlib.import_module(path)
    assert all(callable(getattr(module, name)) for name in OLD_PATHS[path])


def modules():
    """The names of all that is in the package, without `deepdream.__main__`."""
    names = [module.name for module in pkgutil.walk_packages(dd.__path__, "deepdream.")]
    assert len(names) > 50
    return [name for name in names if not name.endswith("__main__")]


def test_no_public_function_hides_a_module():
    """As `import deepdream.draw as d`, which once gave a function."""
    for name in modules():
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            assert not str(error.name).startswith("deepdream"), error  # Caffe, PyTorch and such
            continue
        parent, _, child = name.rpartition(".")
        assert getattr(sys.modules[parent], child) is module, name


def test_the_map_in_the_packages_docstring_is_complete():
    entries = re.split(r"^    (?=\w)", dd.__doc__, flags=re.MULTILINE)[1:]
    tree = {entry.split()[0]: entry.split(None, 1)[1] for entry in entries if "  " in entry}
    folder = Path(dd.__file__).parent
    front = {path.name for path in folder.glob("[a-z]*.py")}
    wings = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert tree.keys() == front | wings
    for wing in wings:
        there = {path.stem for path in (folder / wing).glob("[a-z]*.py")}
        assert there <= set(re.findall(r"\w+", tree[wing])), wing


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
    files = str(toy / "deploy.prototxt"), str(toy / "toy.caffemodel")
    warn = f"import caffe; caffe.Net(*{files!r}, 1)"
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
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("deepdream_caffe-*.whl"))
    venv.create(tmp_path / "env", symlinks=True, with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    install = [*pip, "install", "--no-deps", "--target", site, wheel]
    subprocess.run(install, check=True, capture_output=True)
    borrowed = Path(pytest.__file__).parent.parent
    words = "dream flower.jpg -o o.png --model squeezenet_v1.1 --width 100 --iterations 1"
    command = [tmp_path / "env" / "bin" / "python", "-m", "deepdream", *words.split()]
    env = os.environ | {"PYTHONPATH": f"{site}:{borrowed}"}
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    assert dd.read_settings(tmp_path / "o.png")["model"] == "squeezenet_v1.1"
    package = site / "deepdream"
    studio = {path.name for path in (package / "studio").iterdir()}
    assert {"page.html", "page.js", "studio.js", "studio.css"} <= studio
    assert (package / "py.typed").exists()
    assert {path.name for path in (package / "images").iterdir()} == {"README.md", *SAMPLES}
    contents = {path.relative_to(package).as_posix() for path in package.glob("models/**/*.*")}
    assert "models/bvlc_googlenet/deploy.prototxt" in contents
    assert not any(path.endswith(".caffemodel") for path in contents)
