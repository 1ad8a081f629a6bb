"""Google's DeepDream of 2015, alive: real Caffe, the real GoogLeNet, the notebook's algorithm to the bit.

    net = load_net()
    image = load_image('sky.jpg')
    dream = deepdream(net, image, end=net.default_layer)
    save_image('dream.jpg', dream)

A map of the package: dream.py is the algorithm, objectives.py what it climbs, net.py the door to a network,
caffenet.py that network in Caffe, torchnet.py the same in PyTorch, caffemodel.py its files, zoo.py where they come
from, show.py pictures in and out, __main__.py the command line.
"""

from .dream import Step, deepdream, gradient, make_step, octaves
from .errors import DreamError
from .net import deprocess, load_net, preprocess
from .objectives import guide_features, objective_guide, objective_L2
from .show import live_view, load_image, read_settings, save_image, showarray

__version__ = "0.1.0"
__all__ = [
    "DreamError", "Step", "deepdream", "deprocess", "gradient", "guide_features", "live_view", "load_image", "load_net",
    "make_step", "objective_L2", "objective_guide", "octaves", "preprocess", "read_settings", "save_image", "showarray",
]  # fmt: skip
