"""Google's DeepDream of 2015, alive: real Caffe, the real GoogLeNet, the notebook's
algorithm to the bit.

    net = load_net()
    image = load_image('sky.jpg')
    dream = deepdream(net, image, end=net.default_layer)
    save_image('dream.jpg', dream)

A map of the package, from the bottom up; each module imports only from modules before
it: errors.py, sentences for people. recipe.py, the table of all settings. pictures.py,
pictures in and out. shapes.py, caffemodel.py, zoo.py: Caffe's layers, its files, and
where they come from. net.py, what a dream needs of a network. caffenet.py and
torchnet.py, networks on Caffe and on PyTorch; engines.py, the door to both.
objectives.py, what to climb. tiles.py, pictures larger than memory. films.py, films in
and out. lessons.py, pictures to learn from. dream.py, the algorithm. trainers.py,
training on Caffe and on PyTorch. draw.py, the algorithm from noise. motion.py, the same
in motion. show.py, live view and progress. looks.py, recipes with a name. jobs.py, from
a recipe to a picture. look.py, what a network sees. resume.py, what survives a kill.
batch.py and sheets.py, many at once. train.py, a network of your own. studio/, the
panel of knobs. cli.py, the command line.
"""

from .drawing import draw
from .dream import Step, deepdream, gradient, make_step, octaves
from .errors import DreamError
from .films import (
    dream_video,
    journey,
    make_film,
    read_film,
    read_settings,
    save_film,
    steady,
    zoom,
)
from .nets.base import deprocess, preprocess
from .nets.engines import load_net
from .objectives import (
    L2,
    caricature,
    channel,
    guide,
    guide_features,
    logit,
    objective_guide,
    objective_L2,
    strongest,
    typical,
    unit,
    weakest,
)
from .pictures import load_image, save_image, sheet
from .recipe import VERSION
from .seeing import look, stations
from .show import live_view, showarray

__version__ = VERSION
__all__ = [
    "L2",
    "DreamError",
    "Step",
    "caricature",
    "channel",
    "deepdream",
    "deprocess",
    "draw",
    "dream_video",
    "gradient",
    "guide",
    "guide_features",
    "journey",
    "live_view",
    "load_image",
    "load_net",
    "logit",
    "look",
    "make_film",
    "make_step",
    "objective_L2",
    "objective_guide",
    "octaves",
    "preprocess",
    "read_film",
    "read_settings",
    "save_film",
    "save_image",
    "sheet",
    "showarray",
    "stations",
    "steady",
    "strongest",
    "typical",
    "unit",
    "weakest",
    "zoom",
]
