"""Tiny networks of ONNX, and what onnxruntime and stock pycaffe make of them."""

import numpy as np

from deepdream.convert.graph import read
from deepdream.convert.layers import Converted, to_caffe
from deepdream.nets.caffemodel_pb2 import NetParameter

OPSET = 20


class Sketch:
    """A graph that grows: sketch("Relu", x) appends a node; its output's name."""

    def __init__(self, shape):
        self.shape = shape
        self.nodes, self.arrays = [], []
        self.random = np.random.RandomState(0)

    def __call__(self, op, *inputs, outputs=1, **attributes):
        from onnx import helper

        names = [self._name(each) for each in inputs]
        made = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, f"n{len(self.nodes)}", **attributes))
        return made[0] if outputs == 1 else made

    def _name(self, value):
        from onnx import numpy_helper

        if isinstance(value, str):
            return value
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = np.float32(array)
        self.arrays.append(numpy_helper.from_array(array, f"c{len(self.arrays)}"))
        return self.arrays[-1].name

    def normal(self, *shape):
        """The same numbers at each call with a new sketch."""
        return np.float32(self.random.normal(size=shape))

    def model(self, result, opset=OPSET):
        """The whole as ONNX has it."""
        from onnx import helper

        x = helper.make_tensor_value_info("x", 1, self.shape)
        y = helper.make_tensor_value_info(result, 1, None)
        graph = helper.make_graph(self.nodes, "toy", [x], [y], self.arrays)
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def sketch(build, shape, opset=OPSET):
    """The model that build(sketch, x) makes for pictures of this shape."""
    toy = Sketch(shape)
    return toy.model(build(toy, "x"), opset)


def onnx_answer(model, x):
    import onnxruntime

    cpu = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=cpu)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def convert(model) -> Converted:
    return to_caffe(read(model))


def stock_net(converted, folder):
    """A plain caffe.Net of what was converted, with its weights."""
    import caffe

    text = NetParameter(layer=converted.layers)
    path = folder / "toy.prototxt"
    path.write_text(f"force_backward: true\n{text}")
    net = caffe.Net(str(path), caffe.TEST)
    for name, blobs in converted.weights.items():
        assert len(net.params[name]) == len(blobs), name
        for mine, blob in zip(net.params[name], blobs):
            assert mine.data.shape == blob.shape, name
            mine.data[...] = blob
    return net


def blob_of(converted, net):
    """The blob of the network's last layer."""
    last = converted.layers[-1]
    name = last.name if last.name in last.top else last.top[0]
    return net.blobs[name]


def caffe_answer(converted, net, x):
    net.blobs["data"].reshape(*x.shape)
    net.blobs["data"].data[...] = x
    net.forward()
    return blob_of(converted, net).data.copy()


def gradient(converted, net, x, diff):
    caffe_answer(converted, net, x)
    blob_of(converted, net).diff[...] = diff
    net.backward()
    return net.blobs["data"].diff.copy()
