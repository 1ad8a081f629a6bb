"""A network of your own: train one on your pictures, then dream of what they show."""

from .lessons import Lesson
from .training import Trained, Training, train

__all__ = ["Lesson", "Trained", "Training", "train"]
