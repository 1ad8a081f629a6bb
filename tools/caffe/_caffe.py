"""Caffe's Net, Blob, Layer and solvers for pycaffe: what Boost.Python made in 2015, by
way of ctypes and capi.cpp.

A failed CHECK is a RuntimeError with Caffe's words, or a MemoryError where memory is
short. Long calls let go of the GIL; a lock then keeps a second thread out of the same
net.
"""

import ctypes
import os
import threading
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_uint, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import scipy_openblas32

__version__ = "1.0.0"

_Ints = POINTER(c_int)
_Function = ctypes.CFUNCTYPE(None)
_LIBRARY = str(Path(__file__).with_name("libcaffe.so"))
# libcaffe.so needs OpenBLAS by its bare name, which is found because it is loaded
# already.
ctypes.CDLL(
    os.path.join(scipy_openblas32.get_lib_dir(), scipy_openblas32.get_library(fullname=True))
)
_long = ctypes.CDLL(_LIBRARY)  # these calls let go of the GIL
_short = ctypes.PyDLL(_LIBRARY)  # to let go of it would take longer than the call


def _check(result, function, arguments):
    if result is None or (function.restype is c_int and result < 0):
        words = _short.caffe_error().decode(errors="replace")
        raise (
            MemoryError if "host allocation" in words or words == "out of memory" else RuntimeError
        )(words)
    return result


def _declare(library, result, **functions):
    for name, arguments in functions.items():
        function = getattr(library, f"caffe_{name}")
        function.restype, function.argtypes = result, arguments
        if result is not None and result is not c_float:
            function.errcheck = _check


_declare(
    _long,
    c_int,
    set_device=[c_int],
    net_copy_from=[c_void_p, c_char_p],
    net_share_with=[c_void_p, c_void_p],
    net_save=[c_void_p, c_char_p],
    net_forward=[c_void_p, c_int, c_int, POINTER(c_float)],
    net_backward=[c_void_p, c_int, c_int],
    net_reshape=[c_void_p],
    net_clear_param_diffs=[c_void_p],
    net_set_input_arrays=[c_void_p, c_void_p, c_void_p, c_int, _Ints],
    blob_reshape=[c_void_p, _Ints, c_int],
    solver_step=[c_void_p, c_int],
    solver_solve=[c_void_p, c_char_p],
    solver_restore=[c_void_p, c_char_p],
    solver_snapshot=[c_void_p],
    solver_apply_update=[c_void_p],
)
_declare(
    _long,
    c_void_p,
    net_new=[c_char_p, c_int, c_int, POINTER(c_char_p), c_int],
    solver_new=[c_char_p, c_char_p],
)
_declare(
    _short,
    c_int,
    set_mode=[c_int],
    set_random_seed=[c_uint],
    warn=[c_char_p],
    net_layers=[c_void_p],
    net_layer_blobs=[c_void_p, c_int],
    net_blobs=[c_void_p],
    net_ids=[c_void_p, c_char, c_int, POINTER(_Ints)],
    blob_shape=[c_void_p, POINTER(_Ints)],
    solver_test_nets=[c_void_p],
    solver_iter=[c_void_p],
)
_declare(
    _short,
    c_void_p,
    net_layer_blob=[c_void_p, c_int, c_int],
    net_add_layer_blob=[c_void_p, c_int, _Ints, c_int],
    net_blob=[c_void_p, c_int],
    blob_memory=[c_void_p, c_char, POINTER(c_void_p)],
    solver_net=[c_void_p],
    solver_test_net=[c_void_p, c_int],
)
_declare(
    _short,
    c_char_p,
    error=[],
    layer_types=[],
    net_layer_name=[c_void_p, c_int],
    net_layer_type=[c_void_p, c_int],
    net_blob_name=[c_void_p, c_int],
)
_declare(_short, c_float, net_blob_loss_weight=[c_void_p, c_int])
_declare(
    _short, None, solver_add_callback=[c_void_p, _Function, _Function], set_get_pointer=[c_void_p]
)

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
_short.caffe_set_get_pointer(ctypes.cast(ctypes.pythonapi.PyCapsule_GetPointer, c_void_p))


def set_mode_cpu():
    _short.caffe_set_mode(0)


def set_mode_gpu():
    _short.caffe_set_mode(1)


def set_device(number):
    _long.caffe_set_device(number)


def set_random_seed(seed):
    _short.caffe_set_random_seed(seed)


def layer_type_list():
    return _short.caffe_layer_types().decode().split()


def _ints(numbers):
    if any(not -(2**31) <= number < 2**31 for number in numbers):
        raise OverflowError(f"{tuple(numbers)} has a number beyond 32 bits")  # ctypes would cut it
    return (c_int * len(numbers))(*numbers)


class _Handle:
    """A C++ object, freed with the last Python object that refers to this; ctypes takes
    it as an argument.

    A capsule frees it. A `__del__` would run Python's code, in which a Ctrl-C that
    comes just then would be lost.
    """

    def __init__(self, address, free):
        self._as_parameter_ = c_void_p(address)
        self._owner = _new_capsule(address, None, ctypes.cast(free, c_void_p))


class _Entered:
    """A Net or a Solver: one thread at a time is inside it, and inside those that share
    its lock.
    """

    def _hold(self, address, free, lock=None):
        self._handle, self._lock = _Handle(address, free), lock or threading.RLock()

    def _call(self, function, *arguments):
        with self._lock:
            return function(self._handle, *arguments)


class _Memory:
    """A blob's numbers in the form in which NumPy asks for them; the array keeps this,
    and this keeps the numbers.
    """

    def __init__(self, blob, which):
        address = c_void_p()
        self._handle = _Handle(
            _short.caffe_blob_memory(blob._handle, which, byref(address)), _short.caffe_memory_free
        )
        data = address.value or 0, False
        self.__array_interface__ = {
            "version": 3,
            "typestr": "<f4",
            "shape": tuple(blob.shape),
            "data": data,
        }


class Blob:
    """data, diff: arrays in Caffe's own memory; ask for them again after the blob was
    reshaped.
    """

    def __init__(self, address):
        self._handle = _Handle(address, _short.caffe_blob_free)

    @property
    def shape(self):
        dims = _Ints()
        axes = _short.caffe_blob_shape(self._handle, byref(dims))
        return dims[:axes]

    @property
    def data(self):
        return np.asarray(_Memory(self, b"v"))

    @property
    def diff(self):
        return np.asarray(_Memory(self, b"d"))

    @property
    def count(self):
        return int(np.prod(self.shape, dtype=int))

    num = property(lambda self: self._axis(0))
    channels = property(lambda self: self._axis(1))
    height = property(lambda self: self._axis(2))
    width = property(lambda self: self._axis(3))

    def _axis(self, axis):
        shape = self.shape
        if len(shape) > 4:
            raise RuntimeError(
                f"a blob of {len(shape)} axes has no num, channels, height and width; use shape"
            )
        return shape[axis] if axis < len(shape) else 1

    def reshape(self, *shape):
        _long.caffe_blob_reshape(self._handle, _ints(shape), len(shape))


class _Blobs(list):
    """The blobs of a layer; `add_blob(*shape)` adds one."""

    def __init__(self, net, layer):
        self._net, self._layer = net, layer
        super().__init__(
            Blob(_short.caffe_net_layer_blob(net, layer, i))
            for i in range(_short.caffe_net_layer_blobs(net, layer))
        )

    def add_blob(self, *shape):
        self.append(
            Blob(_short.caffe_net_add_layer_blob(self._net, self._layer, _ints(shape), len(shape)))
        )


class Layer:
    def __init__(self, net, index):
        self._net, self._index = net, index  # the net's handle, which keeps the C++ net alive
        self.type = _short.caffe_net_layer_type(net, index).decode()

    @property
    def blobs(self):
        return _Blobs(self._net, self._index)


class Net(_Entered):
    """Net(network_file, phase, level=0, stages=None, weights=None), or
    Net(network_file, weights, phase) as of old.
    """

    # pycaffe.py adds these, and more.
    blobs: Any
    params: Any
    top_names: Any
    bottom_names: Any
    forward: Any
    backward: Any

    def __init__(self, network_file, phase, level=0, stages=None, weights=None):
        if isinstance(phase, (str, os.PathLike)):
            phase, weights, level = level, phase, 0
            instead = f"Net('{network_file}', {phase}, weights='{weights}')"
            _short.caffe_warn(os.fsencode(f"DEPRECATION WARNING - use {instead} instead"))
        stages = [stage.encode() for stage in stages or ()]
        arguments = (
            os.fsencode(network_file),
            phase,
            level,
            (c_char_p * len(stages))(*stages),
            len(stages),
        )
        self._adopt(_long.caffe_net_new(*arguments))
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def _of(cls, address, lock):
        net = cls.__new__(cls)
        net._adopt(address, lock)
        return net

    def _adopt(self, address, lock=None):
        self._hold(address, _short.caffe_net_free, lock)
        net = self._handle
        layers, blobs = range(_short.caffe_net_layers(net)), range(_short.caffe_net_blobs(net))
        self._layer_names = [_short.caffe_net_layer_name(net, i).decode() for i in layers]
        self.layers = [Layer(net, i) for i in layers]
        self._blob_names = [_short.caffe_net_blob_name(net, i).decode() for i in blobs]
        self._blob_loss_weights = [_short.caffe_net_blob_loss_weight(net, i) for i in blobs]
        self._blobs = [Blob(_short.caffe_net_blob(net, i)) for i in blobs]

    def _ids(self, which, layer=0):
        numbers = _Ints()
        count = _short.caffe_net_ids(self._handle, which, layer, byref(numbers))
        return numbers[:count]

    def _bottom_ids(self, layer):
        return self._ids(b"b", layer)

    def _top_ids(self, layer):
        return self._ids(b"t", layer)

    _inputs = property(lambda self: self._ids(b"i"))
    _outputs = property(lambda self: self._ids(b"o"))

    def _forward(self, start, end):
        loss = c_float()
        self._call(_long.caffe_net_forward, start, end, byref(loss))
        return loss.value

    def _backward(self, start, end):
        self._call(_long.caffe_net_backward, start, end)

    def reshape(self):
        self._call(_long.caffe_net_reshape)

    def clear_param_diffs(self):
        self._call(_long.caffe_net_clear_param_diffs)

    def copy_from(self, filename):
        self._call(_long.caffe_net_copy_from, os.fsencode(filename))

    def share_with(self, other):
        self._call(_long.caffe_net_share_with, other._handle)

    def save(self, filename):
        self._call(_long.caffe_net_save, os.fsencode(filename))

    def save_hdf5(self, filename):
        """Write the weights as Caffe does: /data/LAYER/0, 1, ..."""
        import h5py

        with h5py.File(filename, "w") as file:
            for name, layer in zip(self._layer_names, self.layers):
                group = file.create_group(f"data/{name}")
                for i, blob in enumerate(layer.blobs):
                    group[str(i)] = blob.data

    def load_hdf5(self, filename):
        """Read weights that `save_hdf5` or another Caffe wrote; layers that this net
        lacks are left out.
        """
        import h5py

        with h5py.File(filename) as file:
            for name, layer in zip(self._layer_names, self.layers):
                for i, blob in enumerate(layer.blobs):
                    values = file.get(f"data/{name}/{i}")  # not there where another layer owns it
                    if values is None:
                        continue
                    if list(values.shape) != blob.shape:
                        given = list(values.shape)
                        raise RuntimeError(
                            f"{filename}: layer {name!r} needs {blob.shape}, not {given}"
                        )
                    blob.data[...] = values

    def _set_input_arrays(self, data, labels):
        for name, array in (("data", data), ("labels", labels)):
            if array.dtype != np.float32 or array.ndim != 4 or not array.flags.c_contiguous:
                raise RuntimeError(f"{name} array must be C contiguous, 4-d and float32")
        if labels.shape != (len(data), 1, 1, 1):
            raise RuntimeError(
                f"labels array must have the shape {(len(data), 1, 1, 1)}, not {labels.shape}"
            )
        arguments = data.ctypes.data, labels.ctypes.data, len(data), _ints(data.shape[1:])
        with self._lock:
            self._call(_long.caffe_net_set_input_arrays, *arguments)
            self._input_arrays = data, labels  # the layer reads from their memory


class Solver(_Entered):
    _type = ""  # the file's own

    def __init__(self, filename):
        address = _long.caffe_solver_new(self._type.encode(), os.fsencode(filename))
        self._hold(address, _short.caffe_solver_free)
        self.net = Net._of(_short.caffe_solver_net(self._handle), self._lock)
        self.test_nets = [
            Net._of(_short.caffe_solver_test_net(self._handle, i), self._lock)
            for i in range(_short.caffe_solver_test_nets(self._handle))
        ]
        self._callbacks, self._error = [], None

    iter = property(lambda self: _short.caffe_solver_iter(self._handle))

    def step(self, iterations):
        self._call(_long.caffe_solver_step, iterations)

    def solve(self, resume_file=None):
        self._call(_long.caffe_solver_solve, resume_file and os.fsencode(resume_file))

    def restore(self, filename):
        self._call(_long.caffe_solver_restore, os.fsencode(filename))

    def snapshot(self):
        self._call(_long.caffe_solver_snapshot)

    def apply_update(self):
        self._call(_long.caffe_solver_apply_update)

    def add_callback(self, on_start, on_gradients_ready):
        """Call the two in each iteration; what they raise is raised when the step is
        over.
        """
        functions = [
            _Function(self._guard(function)) for function in (on_start, on_gradients_ready)
        ]
        self._callbacks += functions  # C++ has only their addresses
        _short.caffe_solver_add_callback(self._handle, *functions)

    def _guard(self, function):
        def call():
            try:
                if self._error is None:
                    function()
            except BaseException as error:
                self._error = error

        return call

    def _call(self, function, *arguments):
        with self._lock:
            super()._call(function, *arguments)
            error, self._error = self._error, None
        if error is not None:
            raise error


get_solver = Solver


class SGDSolver(Solver):
    _type = "SGD"


class NesterovSolver(Solver):
    _type = "Nesterov"


class AdaGradSolver(Solver):
    _type = "AdaGrad"


class RMSPropSolver(Solver):
    _type = "RMSProp"


class AdaDeltaSolver(Solver):
    _type = "AdaDelta"


class AdamSolver(Solver):
    _type = "Adam"
