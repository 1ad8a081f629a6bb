"""The `caffe` package as people used it in 2015, its threads, and what would once have
aborted the process.
"""

import gc
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import caffe
import numpy as np
import psutil
import pytest
from conftest import TOY, write_model

ROOT = Path(__file__).parents[2]
PHOTO = str(ROOT / "images" / "mountains.jpg")


def files(net):
    """The prototxt and the weights of a network of ours, as pycaffe wants them."""
    return str(net.model.file(".prototxt")), str(net.model.file(".caffemodel"))


def toy_net(folder, text=TOY, phase=caffe.TEST, **options):
    """A toy with random weights, ready to run."""
    model = write_model(folder, text)
    return caffe.Net(
        str(model / "deploy.prototxt"), phase, weights=str(model / "toy.caffemodel"), **options
    )


def noise(*shape, seed=0):
    return np.random.RandomState(seed).normal(0, 60, shape).astype(np.float32)


# Caffe's own tests

# Layers written in Python need a Python inside C++. They skip themselves, since
# layer_type_list lacks "Python".
SKIPPED = {"test_python_layer", "test_python_layer_with_param_str"}


def test_caffes_own_python_tests_pass(build, tmp_path):
    """In a folder with nothing but the tests, so that the installed package is what
    they import.
    """
    source = build.fetch("brocolli-caffe", tmp_path)
    folder = tmp_path / "tests"
    folder.mkdir()
    for test in (source / "python/caffe/test").glob("test_*.py"):
        (folder / test.name).write_bytes(test.read_bytes())
    # Python 3.12 has no longer the old names of these two.
    (folder / "conftest.py").write_text(
        "from unittest import TestCase\n"
        "TestCase.assertEquals = TestCase.assertEqual\n"
        "TestCase.assertRaisesRegexp = TestCase.assertRaisesRegex\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        folder,
        folder,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b42 passed, \d+ skipped", done.stdout), done.stdout
    assert set(re.findall(r"(\w+)\.py:\d+: ", done.stdout)) == SKIPPED, done.stdout


# pycaffe, as in Caffe's notebook 00-classification of 2015


def test_classification_as_in_caffes_notebook(net):
    real = net
    caffe.set_mode_cpu()
    net = caffe.Net(*files(real), caffe.TEST)
    transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_mean("data", real.mean.ravel())
    transformer.set_raw_scale("data", 255)
    transformer.set_channel_swap("data", (2, 1, 0))
    side = net.blobs["data"].width
    net.blobs["data"].reshape(2, 3, side, side)
    image = caffe.io.load_image(PHOTO)
    assert (
        image.dtype == np.float32
        and image.shape[2] == 3
        and 0 <= image.min() < 0.2 < 0.9 < image.max() <= 1
    )
    net.blobs["data"].data[...] = transformer.preprocess("data", image)
    prob = net.forward()["prob"].reshape(2, 1000)
    assert np.array_equal(*prob) and prob[0].sum() == pytest.approx(1, abs=1e-4)
    top = [real.labels[i] for i in prob[0].argsort()[-1:-6:-1]]
    assert top[0] == "alp" and "volcano" in top and "valley, vale" in top
    first, bias = next(iter(net.params.values()))
    assert first.data.shape == (64, 3, *first.data.shape[2:]) and bias.data.shape == (64,)
    features = next(iter(net.blobs.items()))[1].data[0]
    assert np.allclose(
        transformer.deprocess("data", features),
        caffe.io.resize_image(image, (side, side)),
        atol=1e-4,
    )


def test_classifier_averages_ten_crops(squeezenet):
    mean = squeezenet.mean.ravel()
    options = {"image_dims": (256, 256), "mean": mean, "raw_scale": 255, "channel_swap": (2, 1, 0)}
    net = caffe.Classifier(*files(squeezenet), **options)
    image = caffe.io.load_image(PHOTO)
    (ten,) = net.predict([image])
    (centre,) = net.predict([image], oversample=False)
    assert ten.shape == (1000,) and ten.argmax() == centre.ravel().argmax()
    # by hand
    resized = caffe.io.resize_image(image, (256, 256))
    corners = [(0, 0), (0, 29), (29, 0), (29, 29), (14, 14)]
    crops = [resized[y : y + 227, x : x + 227] for y, x in corners]
    crops += [crop[:, ::-1] for crop in crops]
    batch = np.stack(
        [255 * crop[..., ::-1].transpose(2, 0, 1) - mean[:, None, None] for crop in crops]
    )
    by_hand = net.forward_all(data=batch)["prob"].reshape(10, 1000).mean(0)
    assert np.allclose(ten, by_hand, atol=1e-5)


def test_forward_all_runs_in_batches_and_discards_the_padding(tmp_path):
    net = toy_net(tmp_path)
    net.blobs["data"].reshape(4, 3, 24, 32)
    x = noise(10, 3, 24, 32)
    out = net.forward_all(blobs=["both"], data=x)
    assert out["prob"].shape == (10, 5) and out["both"].shape[0] == 10
    for i in range(10):
        net.blobs["data"].data[...] = x[i]
        assert np.allclose(net.forward()["prob"][0], out["prob"][i], atol=1e-6)
    outs, diffs = net.forward_backward_all(
        blobs=["both"], diffs=["both"], data=x[:8], prob=np.ones((8, 5))
    )
    assert np.allclose(outs["prob"], out["prob"][:8], atol=1e-6) and diffs["both"].shape[0] == 8


def test_images_and_datums():
    grey = caffe.io.load_image(PHOTO, color=False)
    assert grey.shape[2] == 1 and 0 <= grey.min() < grey.max() <= 1
    picture = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    for array in (picture, picture / 7):
        datum = caffe.io.array_to_datum(array, label=3)
        again = caffe.io.datum_to_array(
            caffe.proto.caffe_pb2.Datum.FromString(datum.SerializeToString())
        )
        assert np.allclose(again, array) and datum.label == 3
        again += 1  # can be written to
    blob = caffe.io.array_to_blobproto(picture, diff=-1.0 * picture)
    assert np.array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), -1.0 * picture)
    vector = caffe.io.arraylist_to_blobprotovector_str([picture, picture + 1])
    assert np.array_equal(caffe.io.blobprotovector_str_to_arraylist(vector)[1], picture + 1)
    many = caffe.io.resize_image(np.random.RandomState(0).rand(8, 10, 5), (4, 5))
    assert many.shape == (4, 5, 5) and many.dtype == np.float32
    assert np.array_equal(
        caffe.io.resize_image(np.full((8, 8, 3), 0.5), (4, 4)), np.full((4, 4, 3), 0.5)
    )


def test_weights_are_saved_loaded_and_shared(tmp_path):
    net = toy_net(tmp_path)
    prototxt = str(tmp_path / "deploy.prototxt")

    def values(net):
        return [blob.data.copy() for blobs in net.params.values() for blob in blobs]

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(values(a), values(b), strict=True))

    net.save(str(tmp_path / "saved.caffemodel"))
    net.save_hdf5(tmp_path / "saved.h5")
    empty = caffe.Net(prototxt, caffe.TEST)
    assert not same(empty, net)
    empty.copy_from(tmp_path / "saved.caffemodel")
    assert same(empty, net)
    from_h5 = caffe.Net(prototxt, caffe.TEST)
    from_h5.load_hdf5(str(tmp_path / "saved.h5"))
    assert same(from_h5, net)
    assert same(
        caffe.Net(network_file=prototxt, phase=caffe.TEST, weights=tmp_path / "saved.caffemodel"),
        net,
    )
    sharing = caffe.Net(prototxt, caffe.TEST)
    sharing.share_with(net)
    net.params["left"][0].data[...] = 7
    assert (sharing.params["left"][0].data == 7).all() and not (
        empty.params["left"][0].data == 7
    ).any()


def test_what_a_net_is_made_of(tmp_path):
    net = toy_net(tmp_path)
    names = "data conv1 relu1 pool1 pool1_pool1_0_split left right both fc prob"
    assert list(net.layer_dict) == list(net._layer_names) == names.split()
    assert [layer.type for layer in net.layers][:5] == [
        "Input",
        "Convolution",
        "ReLU",
        "Pooling",
        "Split",
    ]
    assert net.inputs == ["data"] and net.outputs == ["prob"]
    assert net.bottom_names["both"] == ["left", "right"] and net.top_names["both"] == ["both"]
    assert [list(blob.shape) for blob in net.layer_dict["conv1"].blobs] == [[8, 3, 5, 5], [8]]
    assert net.layers[0].blobs[:] == [] and len(net.layers[1].blobs) == 2
    blob = net.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (
        1,
        3,
        24,
        32,
        3 * 24 * 32,
    )
    assert (net.params["conv1"][1].num, net.params["conv1"][1].channels) == (8, 1)
    with pytest.raises(RuntimeError):
        net._top_ids(99)
    assert set(net.blob_loss_weights.values()) == {0.0}
    assert len(caffe.layer_type_list()) >= 77 and "Python" not in caffe.layer_type_list()
    assert caffe.__version__ == "1.0.0"


SOLVER = """
net: "{folder}/train.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: {momentum}
max_iter: 60 display: 0 test_iter: 1 test_interval: 1000 test_initialization: false
snapshot_prefix: "{folder}/snap" random_seed: 1
"""
LEARNING = """
layer { name: "data" type: "MemoryData" top: "data" top: "label" include { phase: TRAIN }
        memory_data_param { batch_size: 16 channels: 2 height: 1 width: 1 } }
layer { name: "data" type: "DummyData" top: "data" top: "label" include { phase: TEST }
        dummy_data_param { shape { dim: 4 dim: 2 dim: 1 dim: 1 } shape { dim: 4 } } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1"
        inner_product_param { num_output: 12 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
layer { name: "hits" type: "Accuracy" bottom: "fc2" bottom: "label" top: "hits"
        include { phase: TEST } }
"""


def solver(folder, kind=caffe.SGDSolver):
    """A solver that learns which points lie above a parabola, and its data, which it
    reads from our memory.
    """
    (folder / "train.prototxt").write_text(LEARNING)
    momentum = (
        0 if kind in (caffe.AdaGradSolver, caffe.RMSPropSolver) else 0.9
    )  # these two refuse one
    (folder / "solver.prototxt").write_text(SOLVER.format(folder=folder, momentum=momentum))
    solver = kind(str(folder / "solver.prototxt"))
    x = np.random.RandomState(0).uniform(-1, 1, (64, 2, 1, 1)).astype(np.float32)
    solver.net.set_input_arrays(x, np.float32(x[:, 1, 0, 0] > x[:, 0, 0, 0] ** 2))
    return solver


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_solvers_learn(tmp_path, kind):
    learner = solver(tmp_path, getattr(caffe, f"{kind}Solver"))
    learner.step(1)
    first = float(learner.net.blobs["loss"].data)
    learner.step(59)
    assert learner.iter == 60 and len(learner.test_nets) == 1
    if kind != "AdaDelta":  # which starts slowly
        last = np.mean([learner.net.forward()["loss"] for _ in range(4)])
        assert last < 0.7 * first


def test_a_solver_resumes_from_its_snapshot_to_the_bit(tmp_path):
    whole = solver(tmp_path)
    whole.step(8)
    whole.snapshot()
    whole.step(8)
    resumed = solver(tmp_path)
    resumed.restore(str(tmp_path / "snap_iter_8.solverstate"))
    assert resumed.iter == 8
    resumed.step(8)
    for layer in ("fc1", "fc2"):
        for a, b in zip(whole.net.params[layer], resumed.net.params[layer]):
            assert np.array_equal(a.data, b.data)
    resumed.test_nets[0].share_with(resumed.net)
    assert set(resumed.test_nets[0].forward()) == {"loss", "hits"}
    resumed.solve()
    assert resumed.iter == 60


def test_callbacks_of_a_solver_see_every_iteration_and_their_errors_arrive(tmp_path):
    learner, calls = solver(tmp_path), []
    learner.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    learner.step(3)
    assert calls == ["start", "gradients"] * 3
    learner.add_callback(lambda: 1 / 0, lambda: None)
    with pytest.raises(ZeroDivisionError):
        learner.step(1)


def test_netspec_writes_a_net(tmp_path):
    spec = caffe.NetSpec()
    spec.data, spec.label = caffe.layers.DummyData(
        shape=[{"dim": [8, 1, 12, 12]}, {"dim": [8]}], ntop=2
    )
    filler = {"type": "xavier"}
    spec.conv = caffe.layers.Convolution(
        spec.data, kernel_size=5, num_output=4, weight_filler=filler
    )
    spec.pool = caffe.layers.Pooling(
        spec.conv, kernel_size=2, stride=2, pool=caffe.params.Pooling.MAX
    )
    spec.relu = caffe.layers.ReLU(spec.pool, in_place=True)
    spec.score = caffe.layers.InnerProduct(spec.relu, num_output=10, weight_filler=filler)
    spec.loss = caffe.layers.SoftmaxWithLoss(spec.score, spec.label)
    (tmp_path / "net.prototxt").write_text(str(spec.to_proto()))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    assert float(net.forward()["loss"]) == pytest.approx(np.log(10), rel=0.01)
    net.backward()
    assert net.params["score"][1].diff.any()


# Lifetimes


def test_data_outlive_their_net(tmp_path):
    net = toy_net(tmp_path)
    net.blobs["data"].data[...] = noise(1, 3, 24, 32)
    prob = net.forward()["prob"]
    blob, weights, diff = net.blobs["both"], net.params["left"][0].data, net.blobs["conv1"].diff
    layer, layers = net.layers[1], net.layers
    expected = prob.copy(), blob.data.copy(), weights.copy(), layer.blobs[0].data.copy()
    del net
    gc.collect()
    churn = [toy_net(tmp_path) for _ in range(5)]  # would reuse the memory if it were free
    for now, before in zip((prob, blob.data, weights, layer.blobs[0].data), expected):
        assert np.array_equal(now, before)
    diff[...] = 1
    assert layers[1].type == "Convolution" and len(churn) == 5


def test_nets_outlive_their_solver(tmp_path):
    learner = solver(tmp_path)
    learner.step(1)
    net, (test,) = learner.net, learner.test_nets
    del learner
    gc.collect()
    assert np.isfinite(net.forward()["loss"]) and np.isfinite(test.forward()["loss"])


def test_reshaping(tmp_path):
    """A smaller blob keeps its memory; the whole net follows at the next pass, or with
    reshape().
    """
    net = toy_net(tmp_path)
    blob = net.blobs["data"]
    old = blob.data
    blob.reshape(1, 3, 12, 12)
    assert blob.data.shape == (1, 3, 12, 12) and old.shape == (1, 3, 24, 32)
    blob.data[...] = 5
    assert (old.ravel()[: 3 * 12 * 12] == 5).all()
    with pytest.raises(RuntimeError, match="Input size incompatible with inner product parameters"):
        net.reshape()
    assert list(net.blobs["conv1"].shape) == [1, 8, 6, 6]
    blob.reshape(2, 3, 24, 32)
    assert old.sum() != 0  # it can still be read, although the blob has other memory now
    blob.data[...] = x = noise(2, 3, 24, 32)
    prob = net.forward()["prob"]
    assert prob.shape == (2, 5)
    for shape in [(2, -3, 24, 32), (1 << 30, 3, 24, 32), (1000, -1), (1,) * 40]:
        with pytest.raises(RuntimeError):
            blob.reshape(*shape)
        assert blob.shape == [2, 3, 24, 32] and np.array_equal(blob.data, x)
    with pytest.raises((OverflowError, RuntimeError)):
        blob.reshape(2**32 + 2, 3, 24, 32)
    assert np.array_equal(net.forward()["prob"], prob)


def test_memory_stays_flat_over_a_hundred_nets(tmp_path):
    def live():
        net = toy_net(tmp_path)
        net.blobs["data"].reshape(8, 3, 24, 32)
        net.forward()
        net.backward()
        with pytest.raises(RuntimeError):
            caffe.Net(str(tmp_path / "wrong.prototxt"), caffe.TEST)

    write_model(tmp_path)
    (tmp_path / "wrong.prototxt").write_text(
        TOY.replace("Softmax", "Softmux")
    )  # fails late, with all memory taken
    for _ in range(10):
        live()
    before = psutil.Process().memory_info().rss
    for _ in range(100):
        live()
    assert psutil.Process().memory_info().rss - before < 8 << 20


# Threads


def test_other_threads_go_on_during_a_pass(squeezenet):
    """A thread counts for as long as it is given the GIL."""
    net = caffe.Net(files(squeezenet)[0], caffe.TEST)
    steps, done = 0, threading.Event()

    def count():
        nonlocal steps
        while not done.is_set():
            steps += 1
            time.sleep(0)  # lets go of the GIL

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(
        1000
    )  # Python itself takes the GIL from no thread, so only the pass can let go of it
    try:
        thread.start()
        during = passes = 0
        while during < 100 and passes < 100:
            before = steps
            net._forward(0, len(net.layers) - 1)
            during += steps - before
            passes += 1
    finally:
        done.set()
        sys.setswitchinterval(interval)
        thread.join()
    assert during >= 100


def in_threads(*calls):
    """The results of the calls, which run at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        start = threading.Barrier(len(calls))
        return list(pool.map(lambda call: (start.wait(), call())[1], calls))


def test_two_threads_in_one_net_wait_for_each_other(tmp_path):
    net = toy_net(tmp_path, "force_backward: true" + TOY)
    net.blobs["data"].data[...] = noise(1, 3, 24, 32) / 100
    net.blobs["prob"].diff[...] = [[1, 0, 0, 0, 2]]
    net.forward()
    net.backward()
    expected = net.blobs["prob"].data.copy(), net.blobs["data"].diff.copy()
    assert expected[1].any()

    def passes():
        for _ in range(300):
            net.forward()
            net.backward()
        return net.blobs["prob"].data.copy(), net.blobs["data"].diff.copy()

    for result in in_threads(passes, passes, net.reshape):
        if result:
            assert all(np.array_equal(a, b) for a, b in zip(result, expected))


THREADS = """if True:
    import os, sys, zlib
    sys.path[:0] = sys.argv[1], sys.argv[1] + "/nets"
    import caffe, numpy as np
    from functools import partial
    from test_caffe import in_threads, noise

    nets = [caffe.Net(sys.argv[2], caffe.TEST, weights=sys.argv[3]) for _ in range(2)]

    def gradients(net, seed):
        sums = []
        for i in range(3):
            net.blobs["data"].reshape(1, 3, 96 + 32 * i, 128)
            net.blobs["data"].data[...] = noise(*net.blobs["data"].shape, seed=seed + i)
            net.forward(end="fire5/concat")
            net.blobs["fire5/concat"].diff[...] = net.blobs["fire5/concat"].data
            net.backward(start="fire5/concat")
            assert net.blobs["data"].diff.any()
            sums.append(zlib.crc32(net.blobs["data"].diff.tobytes()))
        return sums

    alone = [gradients(net, seed) for seed, net in enumerate(nets)]
    calls = [partial(gradients, net, seed) for seed, net in enumerate(nets)]
    assert alone == in_threads(*calls)
    threads = min(int(os.environ["OPENBLAS_NUM_THREADS"]), os.cpu_count())
    assert len(os.listdir("/proc/self/task")) >= threads
    print(alone)
"""


def test_nets_in_threads_and_any_number_of_blas_threads_give_the_same_bits(squeezenet, tmp_path):
    stock, weights = files(squeezenet)
    prototxt = tmp_path / "force.prototxt"
    prototxt.write_text("force_backward: true\n" + Path(stock).read_text())
    command = [sys.executable, "-c", THREADS, Path(__file__).parents[1], prototxt, weights]
    printed = set()
    for threads in "1", "2", "5":
        env = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert len(printed) == 1


# It cannot abort


def abuse(folder, what, *options):
    """What caffe_abuse.py found; it must not end before its last case, nor be silent
    for 20 seconds.
    """
    command = [
        sys.executable,
        Path(__file__).parents[1] / "helpers" / "caffe_abuse.py",
        folder,
        what,
        *map(str, options),
    ]
    lines = queue.Queue()
    with (folder / "errors").open("w+") as errors:
        env = os.environ | {"GLOG_minloglevel": "2"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        )
        reader = threading.Thread(target=lambda: [*map(lines.put, process.stdout), lines.put(None)])
        reader.start()
        case = line = "the start\n"
        try:
            while line is not None and not line.startswith("{"):
                case = line if line.startswith("> ") else case
                line = lines.get(timeout=20)
        except queue.Empty:
            pytest.fail(f"20 s without a word in {case}")
        finally:
            process.kill()
            reader.join()
            status = process.wait()
        errors.seek(0)
        assert line, f"status {status} in {case}{errors.read()[-2000:]}"
    return json.loads(line)


def test_what_once_aborted_is_an_exception_and_the_same_process_dreams_on(tmp_path):
    """Known aborts, 200 mutated prototxts, 100 mutated caffemodels, in one process."""
    found = abuse(tmp_path, "caffe")
    assert found["wrong"] == []
    assert found["same"], "the process does not dream as before"
    assert found["outcomes"]["RuntimeError"] > 150 and found["outcomes"]["fine"] > 50, found
    assert found["after"] - found["before"] < 32, found


def test_of_mutated_files_deepdream_raises_its_own_errors_alone(tmp_path):
    found = abuse(tmp_path, "deepdream")
    assert found["wrong"] == []
    assert found["same"]
    assert found["outcomes"]["DreamError"] > 150 and found["outcomes"]["fine"] > 5, found
    assert found["after"] - found["before"] < 32, found


@pytest.mark.slow
@pytest.mark.parametrize("what", ["caffe", "deepdream"])
def test_thousands_of_mutated_files(tmp_path, what):
    found = abuse(tmp_path, what, "--first", 1000, "--count", 4000)
    assert found["wrong"] == []
    assert found["same"] and found["after"] - found["before"] < 64, found
