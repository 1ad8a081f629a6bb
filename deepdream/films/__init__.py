"""Dreams that move: films in and out, zoom, journey, dreams over a film.

Other wings and the modules of the package import from here alone.
"""

from .encode import check_film, save_film
from .files import film_about, film_size, frame_path, is_film, read_film, read_settings
from .keyfile import read_keys
from .make import Film, make_film
from .motion import journey, zoom
from .planning import film_of_preview, fps_of, plan, preview_path
from .resume import STATE, check_same
from .video import SteadyFrame, dream_video, steady

__all__ = [
    "STATE", "Film", "SteadyFrame", "check_film", "check_same", "dream_video",
    "film_about", "film_of_preview", "film_size", "fps_of", "frame_path", "is_film",
    "journey", "make_film", "plan", "preview_path", "read_film", "read_keys",
    "read_settings", "save_film", "steady", "zoom",
]  # fmt: skip
