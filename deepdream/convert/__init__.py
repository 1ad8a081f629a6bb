"""Networks of PyTorch, ONNX and Keras as Caffe's.

sources opens what is given, plain brings it to today's ONNX, graph reads
it (with folding and naming), layers makes Caffe's layers of it, writing
writes them, and compare asks whether they answer as the source does.
"""

from .importing import Imported, import_net

__all__ = ["Imported", "import_net"]
