"""Dreams that move: films in and out, zoom, journey, dreams over a film."""

from .encode import check_film, save_film
from .files import film_about, frame_path, is_film, read_film, read_settings
from .make import dream_video, make_film
from .motion import journey, zoom
from .resume import STATE, check_same, reserve
from .video import SteadyFrame, steady

__all__ = [
    "STATE",
    "SteadyFrame",
    "check_film",
    "check_same",
    "dream_video",
    "film_about",
    "frame_path",
    "is_film",
    "journey",
    "make_film",
    "read_film",
    "read_settings",
    "reserve",
    "save_film",
    "steady",
    "zoom",
]
