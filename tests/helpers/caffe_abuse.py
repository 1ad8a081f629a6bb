"""Files and calls that made Caffe abort, or might, all in one process: python
caffe_abuse.py FOLDER caffe|deepdream

It prints a line before each case and one after it, so that whoever started it sees
which one hangs or ended the process; then a line of JSON: what became of the cases,
what was wrong, and whether it still dreams the same dream. A case can be repeated
alone, with `--only prototxt_17`: the random numbers of each depend on its number.
"""

import argparse
import collections
import ctypes
import gc
import json
import os
import re
import resource
import sys
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve memory

import caffe
import numpy as np
import psutil
from caffe.proto import caffe_pb2

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TOY, V1, write_model
from google.protobuf import text_format

import deepdream as dd
from deepdream.nets import zoo

LIMIT = 3 << 30  # bytes of address space, so that a huge network does not eat the machine
HUGE = 2**31 - 1

# Each type of layer: the shapes that it reads ("!": ones, for labels and the like; else
# random numbers), how many blobs it writes, and its parameters.
LAYERS = """
AbsVal 2x3x4x5 -> 1
Accuracy 4x5 4! -> 1 accuracy_param { top_k: 2 }
ArgMax 2x3x4x5 -> 1 argmax_param { top_k: 2 axis: 1 out_max_val: true }
BNLL 2x3x4x5 -> 1
BatchNorm 2x3x4x5 -> 1 batch_norm_param { moving_average_fraction: 0.9 eps: 0.001 }
BatchNormKyle 2x3x4x5 -> 1
BatchReindex 3x4 5! -> 1
Bias 2x3x4x5 -> 1 bias_param { axis: 1 num_axes: 2 }
Bias 2x3x4x5 3x4 -> 1 bias_param { axis: 1 }
BilinearInterpolate 2x3x4x5 -> 1 bilinear_interpolate_param { dst_h: 7 dst_w: 9 }
Concat 2x3x4x5 2x2x4x5 -> 1 concat_param { axis: 1 }
ContrastiveLoss 4x3 4x3 4! -> 1 contrastive_loss_param { margin: 1 legacy_version: true
    }
Convolution 2x6x9x11 -> 1 convolution_param { num_output: 6 kernel_h: 3 kernel_w: 2 pad:
    1 stride: 2 group: 3 }
Convolution 2x3x9x11 -> 1 convolution_param { num_output: 2 kernel_size: 3 dilation: 2
    axis: 1 bias_term: false
    weight_filler { type: "xavier" variance_norm: AVERAGE } }
Convolution 2x3x4x5x6 -> 1 convolution_param { num_output: 2 kernel_size: 2 kernel_size:
    3 kernel_size: 1
    force_nd_im2col: true }
Crop 2x3x9x11 2x3x4x5 -> 1 crop_param { axis: 2 offset: 2 offset: 3 }
Deconvolution 2x4x5x6 -> 1 convolution_param { num_output: 2 kernel_size: 4 stride: 2
    pad: 1 weight_filler { type:
    "bilinear" } }
DetectionOutput 1x16 1x8 1x2x16 -> 1 detection_output_param { num_classes: 2 keep_top_k:
    5 nms_param {
    nms_threshold: 0.4 top_k: 10 eta: 0.9 } code_type: CENTER_SIZE }
DetectionEvaluate 1x1x3x7! 1x1x2x8! -> 1 detection_evaluate_param { num_classes: 2
    overlap_threshold: 0.5 }
Dropout 2x3x4x5 -> 1 dropout_param { dropout_ratio: 0.3 }
DummyData -> 2 dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } data_filler {
    type: "gaussian" std: 2
    sparse: 1 } }
ELU 2x3x4x5 -> 1 elu_param { alpha: 0.5 }
Eltwise 2x3x4x5 2x3x4x5 -> 1 eltwise_param { operation: SUM coeff: 1 coeff: -1 }
Embed 4! -> 1 embed_param { num_output: 3 input_dim: 5 }
EuclideanLoss 4x3 4x3 -> 1
Exp 2x3x4x5 -> 1 exp_param { base: 2 scale: 0.5 shift: 1 }
Filter 4x3 4! -> 1
Flatten 2x3x4x5 -> 1 flatten_param { axis: 1 end_axis: 2 }
HDF5Data -> 2 hdf5_data_param { source: "FILES/list.txt" batch_size: 2 }
HDF5Output 4x3 4! -> 0 hdf5_output_param { file_name: "FILES/out.h5" }
HardSigmoid 2x3x4x5 -> 1 hardsigmoid_param { alpha: 0.2 beta: 0.5 }
HardSwish 2x3x4x5 -> 1
HingeLoss 4x5 4! -> 1 hinge_loss_param { norm: L2 }
Im2col 2x3x9x11 -> 1 convolution_param { kernel_size: 3 stride: 2 pad: 1 }
InfogainLoss 4x3 4! -> 1 infogain_loss_param { source: "FILES/matrix.binaryproto" }
InnerProduct 2x3x4x5 -> 1 inner_product_param { num_output: 7 axis: 2 transpose: true
    weight_filler { type:
    "gaussian" std: 0.1 } }
Input -> 1 input_param { shape { dim: 2 dim: 3 dim: 4 } }
LRN 2x7x4x5 -> 1 lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 k: 2 }
LRN 2x3x4x5 -> 1 lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }
LSTM 4x2x3 4x2! -> 1 recurrent_param { num_output: 3 weight_filler { type: "uniform"
    min: -1 max: 1 } }
LSTMUnit 1x2x3 1x2x12 1x2! -> 2
Log 2x3x4x5 -> 1 log_param { base: 10 scale: 1 shift: 9 }
MVN 2x3x4x5 -> 1 mvn_param { across_channels: true eps: 0.001 }
MaxUnPool 1x2x3x3 1x2x3x3! -> 1 max_unpool_param { dst_h: 6 dst_w: 6 }
MemoryData -> 2 memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }
MultiBoxLoss 1x16 1x8 1x2x16 1x1x2x8! -> 1 multibox_loss_param { num_classes: 2
    neg_pos_ratio: 3 overlap_threshold:
    0.5 code_type: CENTER_SIZE }
MultinomialLogisticLoss 4x3 4! -> 1
Normalize 2x3x4x5 -> 1 norm_param { across_spatial: false channel_shared: false
    scale_filler { type: "constant"
    value: 2 } }
PReLU 2x3x4x5 -> 1 prelu_param { channel_shared: false }
PSROIPooling 1x8x6x6 2x5 -> 1 psroi_pooling_param { spatial_scale: 0.5 output_dim: 2
    group_size: 2 }
Pad 2x3x4x5 -> 1 pad_param { pad_u: 1 pad_d: 2 pad_l: 0 pad_r: 1 pad_value: 3 }
Parameter -> 1 parameter_param { shape { dim: 2 dim: 3 } }
Permute 2x3x4x5 -> 1 permute_param { order: 0 order: 2 order: 3 order: 1 }
PixelShuffle 2x8x3x4 -> 1 pixelshuffle_param { upscale_factor: 2 }
Pooling 2x3x9x11 -> 2 pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }
Pooling 2x3x9x11 -> 1 pooling_param { pool: AVE kernel_h: 2 kernel_w: 3 stride_h: 1
    stride_w: 2 }
Pooling 2x3x9x11 -> 1 pooling_param { pool: STOCHASTIC kernel_size: 3 }
Power 2x3x4x5 -> 1 power_param { power: 2 scale: 0.5 shift: 1 }
PriorBox 1x3x4x5 1x3x20x20 -> 1 prior_box_param { min_size: 4 max_size: 8 aspect_ratio:
    2 step: 5 variance: 0.1 }
Proposal 1x18x4x5 1x36x4x5 1x3 -> 1 proposal_param { ratio: 1 scale: 8 feat_stride: 16
    pre_nms_topn: 20
    post_nms_topn: 5 }
RNN 4x2x3 4x2! -> 1 recurrent_param { num_output: 3 weight_filler { type: "uniform" } }
ReLU 2x3x4x5 -> 1 relu_param { negative_slope: 0.1 }
ReLU6 2x3x4x5 -> 1 relu6_param { threshold: 6 }
Reduction 2x3x4x5 -> 1 reduction_param { operation: MEAN axis: 1 coeff: 2 }
Reshape 2x3x4x5 -> 1 reshape_param { axis: 1 num_axes: 2 shape { dim: 2 dim: -1 } }
Resize 2x3x4x5 -> 1 resize_param { height: 7 width: 9 }
SPP 2x3x9x11 -> 1 spp_param { pyramid_height: 2 pool: MAX }
Scale 2x3x4x5 -> 1 scale_param { axis: 1 num_axes: 1 bias_term: true }
Scale 2x3x4x5 3x4 -> 1 scale_param { axis: 1 }
Sigmoid 2x3x4x5 -> 1
SigmoidCrossEntropyLoss 4x3 4x3 -> 1 loss_param { normalization: FULL ignore_label: 1 }
Silence 2x3x4x5 -> 0
Slice 2x5x4x5 -> 3 slice_param { axis: 1 slice_point: 1 slice_point: 3 }
SmoothL1Loss 4x3 4x3 -> 1
Softmax 2x3x4x5 -> 1 softmax_param { axis: 1 }
SoftmaxWithLoss 4x5 4! -> 1 softmax_param { axis: 1 } loss_param { ignore_label: 0
    normalization: VALID }
SoftmaxWithLoss 2x5x3x4 2x1x3x4! -> 1
Split 2x3x4x5 -> 2
TanH 2x3x4x5 -> 1
Threshold 2x3x4x5 -> 1 threshold_param { threshold: 0.5 }
Tile 2x3x4x5 -> 1 tile_param { axis: 1 tiles: 2 }
Unsqueeze 2x3 -> 1 unsqueeze_param { dim: 1 }
Upsample 2x3x4x5 -> 1 upsample_param { scale: 2 }
Data -> 2 data_param { source: "FILES" backend: LMDB batch_size: 2 } transform_param {
    crop_size: 3 mirror: true
    mean_value: 104 }
Data -> 1 data_param { source: "FILES/nothing" backend: LEVELDB batch_size: 2 }
AnnotatedData -> 2 data_param { source: "FILES" backend: LMDB batch_size: 2 }
    annotated_data_param { batch_sampler {
    max_sample: 1 } }
"""

TRAIN = """
name: "train" force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label" include { phase: TRAIN }
        dummy_data_param { shape { dim: 4 dim: 3 dim: 12 dim: 12 } shape { dim: 4 }
                           data_filler { type: "gaussian" std: 1 } data_filler { type:
                           "constant" value: 1 } } }
layer { name: "data" type: "Input" top: "data" top: "label" include { phase: TEST }
        input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { name: "w"
        lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type:
        "msra" } } }
layer { name: "twin" type: "Convolution" bottom: "data" top: "twin" param { name: "w"
        share_mode: STRICT }
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" param { lr_mult: 0 } }
layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true
        } }
layer { name: "sum" type: "Eltwise" bottom: "bn" bottom: "twin" top: "sum" }
layer { name: "relu" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param {
        kernel_size: 2 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "drop" dropout_param {
        dropout_ratio: 0.5 } }
layer { name: "both" type: "Concat" bottom: "drop" bottom: "pool" top: "both" }
layer { name: "fc" type: "InnerProduct" bottom: "both" top: "fc" inner_product_param {
        num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
        loss_weight: 0.5 }
layer { name: "top" type: "Accuracy" bottom: "fc" bottom: "label" top: "top" include {
        phase: TEST not_stage: "x" } }
"""

FORCE = "force_backward: true\n"
NUMBERS = "0 1 2 3 5 7 300 0 1 2 3 -1 2147483647 4294967295 -2147483648 1e30 0.5 nan inf"


def single_layers(folder):
    """Prototxts with one layer each, of all types."""
    files = folder / "files"
    if not files.exists():
        files.mkdir()
        (files / "list.txt").write_text("nothing.h5\n")
        matrix = caffe.io.array_to_blobproto(np.eye(3)[None, None])
        (files / "matrix.binaryproto").write_bytes(matrix.SerializeToString())
    return [
        one_layer(line).replace("FILES", str(files))
        for line in re.split(r"\n(?=\w)", LAYERS.strip())
    ]


def one_layer(line):
    left, _, right = line.partition(" -> ")
    (kind, *shapes), (tops, _, params) = left.split(), right.partition(" ")
    text = ""
    for i, shape in enumerate(shapes):
        dims = " ".join(f"dim: {n}" for n in shape.rstrip("!").split("x"))
        values = 'type: "constant" value: 1' if "!" in shape else 'type: "gaussian" std: 1'
        text += f'layer {{ name: "in{i}" type: "DummyData" top: "in{i}"\n'
        text += f"        dummy_data_param {{ shape {{ {dims} }} data_filler {{ {values} }} }} }}\n"
    # Something that learns, so that backward passes go through the layer
    if shapes and "!" not in shapes[0]:
        text += 'layer { name: "learns" type: "Scale" bottom: "in0" top: "in0"\n'
        text += "        scale_param { axis: 0 } }\n"
    reads = " ".join(f'bottom: "in{i}"' for i in range(len(shapes)))
    writes = " ".join(f'top: "out{i}" loss_weight: 1' for i in range(int(tops)))
    return text + f'layer {{ name: "it" type: "{kind}" {reads} {writes}\n        {params} }}\n'


class Mutator:
    """Damages files; the same number, the same damage."""

    names = "", "data", "conv", "label", "gaussian", "nothing", "x" * 1000
    # Caffe would write and delete other files
    kept = "file_name", "output_directory", "save_file", "source"

    def __init__(self, number):
        self.random = np.random.RandomState(number)

    def pick(self, values):
        return values[self.random.randint(len(values))]

    def prototxt(self, text):
        change = self.words if self.random.rand() < 0.35 else self.message
        return change(text, times=self.pick([1, 1, 2, 4]))

    def words(self, text, times):
        """Drop, double and swap words, and replace numbers and names."""
        words = re.findall(r'"[^"]*"|[\w.+-]+|\S|\n', text)
        for _ in range(times):
            i, j = self.random.randint(len(words), size=2)
            match self.random.randint(8):
                case 0:
                    del words[i]
                case 1:
                    words.insert(i, words[i])
                case 2:
                    words[i], words[j] = words[j], words[i]
                case 3:
                    words[i] = words[j]
                case 4:
                    self.replace(words, '"')
                case 5:
                    self.replace(words, "[A-Z]+$|true$|false$")
                case _:
                    self.replace(words, r"[-+]?\d[\w.]*$", NUMBERS.split())
        return " ".join(words)

    def replace(self, words, kind, others=None):
        """Replace a word of a kind by another of this kind."""
        places = [i for i, word in enumerate(words) if re.match(kind, word)]
        if places:
            words[self.pick(places)] = self.pick(others or [words[i] for i in places])

    def message(self, text, times):
        """Drop, double and mix layers, and change fields, even absent ones."""
        net = text_format.Parse(text, caffe_pb2.NetParameter())
        layers = net.layer or net.layers
        for _ in range(times):
            i, j = self.random.randint(len(layers), size=2)
            match self.random.randint(10):
                case 0 if len(layers) > 1:
                    del layers[i]
                case 1:
                    layers.insert(i, layers[j])
                case 2:
                    layers[i].MergeFrom(layers[j])
                case _:
                    self.field(layers[i])
        return str(net)

    def field(self, message):
        """Change a field of the message, or of one inside it."""
        inside = [value for field, value in message.ListFields() if field.message_type]
        if inside and self.random.rand() < 0.8:
            value = self.pick(inside)
            self.field(self.pick(value) if hasattr(value, "append") else value)
            return
        fields = [
            field
            for field in message.DESCRIPTOR.fields
            if not field.message_type and field.name not in self.kept
        ]
        present = [field for field, _ in message.ListFields() if field in fields]
        if present and self.random.rand() < 0.6:
            fields = present
        if not fields:
            return
        field = self.pick(fields)
        old = getattr(message, field.name)
        if self.random.rand() < 0.2:
            message.ClearField(field.name)
        elif not hasattr(old, "append"):
            setattr(message, field.name, self.value(field))
        elif len(old) and self.random.rand() < 0.7:
            old[self.random.randint(len(old))] = self.value(field)
        else:
            old.append(self.value(field))

    def value(self, field):
        if field.enum_type:
            return self.pick(field.enum_type.values).number
        values = {
            field.CPPTYPE_STRING: self.names,
            field.CPPTYPE_BOOL: [False, True],
            field.CPPTYPE_UINT32: [0, 1, 2, 3, 5, 300, HUGE, 2**32 - 1],
            field.CPPTYPE_FLOAT: [0, -1, 1e-30, 0.5, 3, 1e30, np.nan, np.inf, -np.inf],
        }
        return self.pick(values.get(field.cpp_type, [0, -1, 1, 2, 3, -2, 5, 300, HUGE, -HUGE - 1]))

    def weights(self, whole):
        """Flip bits of a caffemodel, cut it, insert something, or change its shapes."""
        data = bytearray(whole)
        i, j = sorted(self.random.randint(len(data), size=2))
        match self.random.randint(8):
            case 0 | 1:
                for i in self.random.randint(len(data), size=self.pick([1, 1, 3, 100])):
                    data[i] ^= 1 << self.random.randint(8)
            case 2:
                del data[i:]
            case 3:
                del data[i:j]
            case 4:
                data[i:i] = self.random.bytes(self.pick([1, 10, 1000]))
            case _:
                net = caffe_pb2.NetParameter.FromString(whole)
                for _ in range(self.pick([1, 3])):
                    self.blob(self.pick([layer for layer in net.layer if layer.blobs]).blobs)
                return net.SerializeToString()
        return bytes(data)

    def blob(self, blobs):
        blob = self.pick(blobs)
        match self.random.randint(6):
            case 0:
                blob.shape.dim.append(self.pick([0, 1, 2, -1, HUGE]))
            case 1 if blob.shape.dim:
                blob.shape.dim[0] = self.pick([0, 1, -1, HUGE, 2**40, -(2**40)])
            case 2:
                blob.num, blob.channels = self.pick([0, 1, -1, HUGE]), 3
            case 3:
                del blob.data[self.random.randint(len(blob.data) + 1) :]
            case 4:
                blob.double_data.extend([1.0] * len(blob.data))
            case _:
                blobs.add()


def damaged_prototxts(folder, numbers):
    singles = single_layers(folder)
    squeezenet = zoo.find("squeezenet_v1.1").file(".prototxt").read_text().replace("227", "64")
    whole = [FORCE + TOY, TRAIN, FORCE + V1, FORCE + squeezenet]
    for n in numbers:
        text = singles[n // 2 % len(singles)] if n % 2 else whole[n // 2 % len(whole)]
        yield f"prototxt_{n}", Mutator(n).prototxt(text)


def known(folder):
    """What is known to have aborted: a name, what the exception must say, the call."""
    toy, model = folder / "toy.prototxt", write_model(folder / "toy")
    weights = str(model / "toy.caffemodel")

    def net(text=TOY, phase=caffe.TEST, **options):
        toy.write_text(text)
        return caffe.Net(str(toy), phase, **options)

    def data(shape):
        one = net()
        one.blobs["data"].reshape(*shape)
        one.forward()

    def solver(text):
        (folder / "solver.prototxt").write_text(text)
        return caffe.SGDSolver(str(folder / "solver.prototxt"))

    good = f'net: "{folder}/train.prototxt" base_lr: 0.1 lr_policy: "fixed" '
    good += f'snapshot_prefix: "{folder}/no/where" '
    (folder / "train.prototxt").write_text(TRAIN)
    layer = {re.findall(r'type: "(\w+)"', text)[-1]: text for text in single_layers(folder)}
    labels = layer["SoftmaxWithLoss"].replace("value: 1", "value: 99")
    weights_inside = TOY.replace(
        "num_output: 5 }", "num_output: 5 } blobs { shape { dim: 2 } data: 1 data: 2 }"
    )
    huge = 'layer { name: "data" type: "Input" top: "data" input_param { shape '
    huge += "{ dim: 40000 dim: 40000 } } }"
    return [
        ("unknown type", "Unknown layer type: Quux", lambda: net(TOY.replace("ReLU", "Quux"))),
        ("Python layer", "Unknown layer type: Python", lambda: net(TOY.replace("ReLU", "Python"))),
        (
            "300x300 to a classifier",
            "Input size incompatible with inner product",
            lambda: data((1, 3, 300, 300)),
        ),
        ("negative reshape", "Check failed", lambda: data((1, 3, -24, 32))),
        ("half a reshape", "Check failed", lambda: data((1000, -1))),
        ("too many axes", "Check failed", lambda: data((1,) * 33)),
        ("no axes", "", lambda: data(())),
        (
            "more than INT_MAX numbers",
            "blob size exceeds INT_MAX",
            lambda: data((1 << 20, 3, 1 << 10, 32)),
        ),
        ("an empty picture", "empty", lambda: data((1, 3, 0, 32))),
        (
            "backward after a reshape",
            "run forward before backward",
            lambda: turn(one := net(FORCE + TOY), one.blobs["data"]),
        ),
        (
            "reshaped weights",
            "weights were reshaped",
            lambda: turn(one := net(FORCE + TOY), one.params["left"][0]),
        ),
        ("a label that is not there", "label", lambda: net(labels, caffe.TRAIN).forward()),
        ("a prototxt with wrong weights in it", "weight", lambda: net(weights_inside)),
        (
            "no stride",
            "zero",
            lambda: net(TOY.replace("stride: 2 pad", "stride_h: 0 stride_w: 1 pad")),
        ),
        ("no groups", "group", lambda: net(TOY.replace("num_output: 4", "num_output: 4 group: 0"))),
        ("too large for the memory", "", lambda: net(huge).forward()),
        ("too large for the memory, then not", "", lambda: shrink(net())),
        ("GPU", "GPU", lambda: run_on_gpu(net())),
        ("GPU number", "GPU", lambda: caffe.set_device(0)),
        ("HDF5 data", "HDF5", lambda: net(layer["HDF5Data"])),
        ("HDF5 output", "HDF5", lambda: net(layer["HDF5Output"]).forward()),
        ("LMDB", "", lambda: net(layer["Data"].replace("LEVELDB", "LMDB"))),
        ("LevelDB", "", lambda: net(layer["Data"].replace("LMDB", "LEVELDB"))),
        ("LMDB twice", "", lambda: net(layer["Data"] + layer["Data"])),
        ("annotated data", "", lambda: net(layer["AnnotatedData"])),
        ("no prototxt", "Could not open file", lambda: caffe.Net(str(folder / "none"), caffe.TEST)),
        ("no weights", "Could not open file", lambda: net(weights=str(folder / "none"))),
        ("a folder as prototxt", "", lambda: caffe.Net(str(folder), caffe.TEST)),
        ("a folder as weights", "", lambda: net(weights=str(folder))),
        ("weights as prototxt", "", lambda: caffe.Net(weights, caffe.TEST)),
        ("prototxt as weights", "", lambda: net(weights=str(toy))),
        ("an unfinished prototxt", "Failed to parse|Expected", lambda: net(TOY[:-20])),
        ("an unknown field", "kernel_sice", lambda: net(TOY.replace("kernel_size", "kernel_sice"))),
        (
            "an unknown bottom",
            "Unknown bottom blob",
            lambda: net(TOY.replace('bottom: "pool1"', 'bottom: "pool9"')),
        ),
        ("the same top twice", "", lambda: net(TOY.replace('top: "left"', 'top: "right"'))),
        (
            "weights of another shape",
            "shape",
            lambda: net(TOY.replace("output: 4", "output: 5"), weights=weights),
        ),
        ("saved into a folder", "", lambda: net().save(str(folder))),
        ("saved nowhere", "", lambda: net().save(str(folder / "no/where"))),
        (
            "shared with another shape",
            "",
            lambda: net(TOY.replace("output: 4", "output: 5")).share_with(net()),
        ),
        ("a layer out of range", "", lambda: net()._forward(0, 99)),
        ("a layer below 0", "", lambda: net()._forward(-5, 3)),
        ("backward out of range", "", lambda: net()._backward(99, 0)),
        ("backward below 0", "", lambda: net()._backward(5, -9)),
        ("no solver", "Could not open file", lambda: caffe.SGDSolver(str(folder / "none"))),
        ("a solver without a net", "", lambda: solver("base_lr: 0.1")),
        ("a solver whose net is missing", "", lambda: solver('net: "none.prototxt"')),
        ("a solver of no known policy", "", lambda: solver(good.replace("fixed", "quux")).step(1)),
        ("a snapshot nowhere", "", lambda: solver(good).snapshot()),
        (
            "a solver resumed from nothing",
            "",
            lambda: solver(good).restore(str(folder / "none.solverstate")),
        ),
        ("a solver resumed from nonsense", "", lambda: solver(good).restore(weights)),
        (
            "a solver resumed from HDF5",
            "",
            lambda: solver(good).restore(str(folder / "none.solverstate.h5")),
        ),
    ]


def turn(net, blob):
    """Reshape a blob between a forward and a backward pass."""
    net.forward()
    blob.reshape(2, 3, 24, 32)
    net.backward()


def run_on_gpu(net):
    try:
        caffe.set_mode_gpu()
        net.forward()
    finally:
        caffe.set_mode_cpu()


def shrink(net):
    """Out of memory, then at its own size again, which must work; raises what the first
    raised.
    """
    try:
        net.blobs["data"].reshape(700, 3, 1000, 1000)
        net.blobs["data"].data[...] = 0
    finally:
        net.blobs["data"].reshape(1, 3, 24, 32)
        net.forward()


def must_raise(says, call):
    try:
        call()
    except (RuntimeError, MemoryError) as error:
        assert re.search(says, str(error)), f"it does not say {says!r}: {error}"
        raise
    raise AssertionError("it was not refused")


def live(prototxt, phase, weights=None):
    """A net's life: made, run forward and backward, and again with another batch, of
    numbers that are none.
    """
    net = caffe.Net(str(prototxt), phase)
    if weights:
        net.copy_from(str(weights))
    net.forward()
    net.backward()
    if net.inputs:
        blob = net.blobs[net.inputs[0]]
        blob.reshape(*[2 * n + 1 for n in blob.shape[:1]], *blob.shape[1:])
        blob.data[...] = np.nan
        net.forward()
        net.backward()
    for blob in net.blobs.values():
        blob.data.sum(), blob.diff.sum()


def live_twice(prototxt):
    """In both phases, the second also if the first raises."""
    try:
        live(prototxt, caffe.TRAIN)
    finally:
        live(prototxt, caffe.TEST)


def caffe_cases(folder, numbers):
    for name, says, call in known(folder):
        yield f"known: {name}", partial(must_raise, says, call)
    for i, text in enumerate(single_layers(folder)):
        yield f"layer_{i}", partial(live_twice, write(folder / f"layer_{i}.prototxt", text))
    yield "warm", lambda: None
    for name, text in damaged_prototxts(folder, numbers):
        yield name, partial(live_twice, write(folder / f"{name}.prototxt", text))
    model = write_model(folder / "toy")
    whole = (model / "toy.caffemodel").read_bytes()
    for n in numbers[::2]:
        (folder / f"weights_{n}.caffemodel").write_bytes(Mutator(n).weights(whole))
        yield (
            f"weights_{n}",
            partial(
                live, model / "deploy.prototxt", caffe.TEST, folder / f"weights_{n}.caffemodel"
            ),
        )


def dream_cases(folder, numbers):
    model = write_model(folder / "toy")

    def climb():
        net = dd.load_net(model)
        net.blobs["data"].reshape(1, 3, 40, 48)
        dd.gradient(net, net.default_layer)

    yield "warm", climb
    for name, text in damaged_prototxts(folder, numbers):
        write(model / "deploy.prototxt", text)
        yield name, climb
    write(model / "deploy.prototxt", TOY)
    whole = (model / "toy.caffemodel").read_bytes()
    for n in numbers[::2]:
        (model / "toy.caffemodel").write_bytes(Mutator(n).weights(whole))
        yield f"weights_{n}", climb


def write(path, text):
    path.write_text(text)
    return path


def resident():
    """The megabytes that this process has."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss >> 20


def dream(net):
    photo = np.random.RandomState(0).uniform(0, 255, (64, 96, 3))
    return dd.deepdream(net, photo, seed=0, end=net.default_layer, iter_n=2, octave_n=2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["caffe", "deepdream"])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True, parents=True)
    os.chdir(options.folder)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    net = dd.load_net("squeezenet_v1.1")
    expected, before = dream(net), resident()
    cases = caffe_cases if options.what == "caffe" else dream_cases
    allowed = (RuntimeError if options.what == "caffe" else dd.DreamError), MemoryError
    outcomes, wrong = collections.Counter(), []
    for name, call in cases(options.folder, range(options.first, options.first + options.count)):
        if options.only not in (None, name):
            continue
        print(">", name, flush=True)
        outcome = "fine"
        try:
            call()
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
            if not isinstance(error, allowed):
                wrong.append(f"{name}: {outcome}")
        print("<", outcome, flush=True)
        outcomes[outcome.partition(":")[0]] += 1
        if name == "warm":  # all code that is needed was loaded
            before = resident()
            outcomes.clear()
    same = all(
        np.array_equal(dream(again), expected) for again in (net, dd.load_net("squeezenet_v1.1"))
    )
    print(
        json.dumps(
            {
                "outcomes": outcomes,
                "wrong": wrong,
                "same": same,
                "before": before,
                "after": resident(),
            }
        )
    )


if __name__ == "__main__":
    main()
