"""Google's DeepDream of 2015, alive: real Caffe, the real GoogLeNet, the notebook's
algorithm to the bit.

    net = load_net()
    image = load_image('sky.jpg')
    dream = deepdream(net, image, end=net.default_layer)
    save_image('dream.jpg', dream)

The port of 2015 stands at the front door; each family has a wing.

    dream.py        the algorithm: gradient, make_step, octaves, deepdream
    canvas.py       the picture as it grows, from octave to octave
    objectives.py   what to climb: a term, and the function that makes it
    algebra.py      sums of terms
    language.py     objectives in words
    drawing.py      the same algorithm from noise
    seeing.py       what a network sees in a picture
    pyramid.py      Laplacian pyramids, for `lap`
    pictures.py     pictures in and out of files
    show.py         live view and progress bars

    settings.py     the table: a row for each setting, and the check of a value
    recipe.py       recipes: complete, record, read back, as words
    looks.py        recipes with a name
    making.py       from a recipe and a network to a picture that carries its recipe
    replay.py       the way back
    jobs.py         one picture of many: what a job says, and checks before the first
    batch.py        many pictures at once, on Dask
    sheets.py       grid, looks and atlas

    given.py        what people give: pictures, keywords; a sentence for each mistake
    errors.py       sentences for people
    paths.py        files written whole or not at all
    stopping.py     Ctrl-C, and other ways to stop

    nets/           base (what a dream needs of a network), blobs, arrays,
                    engines (load_net), caffe with caffe_gradients,
                    torch with torch_arrays, torch_layers, torch_shaping,
                    torch_fast and torch_graphs, tiles
                    (larger than memory); prototxt (read) with feeding, rewriting,
                    branches; shapes with layer_shapes, asking, sizes; receptive,
                    bilinear, classes, caffemodel, caffemodel_pb2, zoo, folders,
                    disguises, inputs, scaling, fetch, download;
                    modules with survey and hooks (any PyTorch module)
    films/          files, encode, sound (films in and out), motion (zoom, journey),
                    moves, goals, hold (how a frame follows another), video, flow
                    (dreams over a film), keys, keyfile, planning (from a recipe to a
                    film), make, resume
    convert/        networks of PyTorch, ONNX and Keras as Caffe's: importing
                    (import_net), listed, sources, plain, graph with folding and
                    naming, pixels, layers with building, activations, arithmetic,
                    choosing, padding, patterns, pooling, reducing, resizing,
                    shaping and windows, writing, running, compare
    train/          a network of your own: training, trainers, lessons, head, grouping,
                    viewer, files
    studio/         knobs for people who do not program: panel, layout, stage, works,
                    knobs, shelf, widgets, tasks, turns, guard, serve, page
    cli/            the command line: main, parser, commands, networks, terminal
"""

# fmt: off
# isort: off
from .convert import import_net
from .drawing import draw
from .dream import Step, deepdream, gradient, make_step, octaves
from .errors import DreamError
from .films import (
    dream_video, journey, make_film, read_film, read_settings, save_film, steady, zoom,
)
from .nets.base import deprocess, preprocess
from .nets.engines import load_net
from .objectives import (
    L2, caricature, channel, guide, guide_features, logit, objective_guide, objective_L2,
    strongest, typical, unit, weakest,
)
from .pictures import load_image, save_image, sheet
from .recipe import VERSION
from .seeing import look, stations
from .show import live_view, show_film, showarray
# fmt: on

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
    "import_net",
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
    "show_film",
    "showarray",
    "stations",
    "steady",
    "strongest",
    "typical",
    "unit",
    "weakest",
    "zoom",
]
