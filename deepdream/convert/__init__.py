"""Networks of PyTorch, ONNX and Keras as Caffe's.

sources opens what is given, plain brings it to today's ONNX, graph reads
it (with folding and naming), layers makes Caffe's layers of it, writing
writes them, and compare asks whether they answer as the source does. listed
downloads networks that are published as ONNX.
"""

from .importing import Imported, import_net
from .listed import import_listed

__all__ = ["Imported", "import_listed", "import_net"]
