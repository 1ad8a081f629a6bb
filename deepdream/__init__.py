"""Google's DeepDream of 2015, alive: real Caffe, the real GoogLeNet, the notebook's algorithm to the bit.

    net = load_net()
    image = load_image('sky.jpg')
    dream = deepdream(net, image, end=net.default_layer)
    save_image('dream.jpg', dream)

A map of the package: dream.py is the algorithm, objectives.py what it climbs, draw.py the same from noise, movie.py
the same in motion, frames.py for films that take hours, tiles.py for pictures larger than memory, net.py the door to
a network, caffenet.py that network in Caffe, torchnet.py the same in PyTorch, caffemodel.py its files, zoo.py where
they come from, show.py pictures in and out, film.py films in and out, studio.py the panel of knobs in a notebook,
serve.py the same as a page, batch.py many dreams at once, __main__.py the command line.
"""

from .draw import draw
from .dream import Step, deepdream, gradient, make_step, octaves
from .errors import DreamError
from .film import read_film, save_film
from .frames import dream_video, make_film
from .movie import journey, stations, steady, zoom
from .net import deprocess, load_net, preprocess
from .objectives import L2, channel, guide, guide_features, logit, objective_guide, objective_L2, unit
from .show import live_view, load_image, read_settings, save_image, sheet, showarray

__version__ = "0.1.0"
__all__ = [
    "L2", "DreamError", "Step", "channel", "deepdream", "deprocess", "draw", "dream_video", "gradient", "guide",
    "guide_features", "journey", "live_view", "load_image", "load_net", "logit", "make_film", "make_step",
    "objective_L2", "objective_guide", "octaves", "preprocess", "read_film", "read_settings", "save_film",
    "save_image", "sheet", "showarray", "stations", "steady", "unit", "zoom",
]  # fmt: skip
