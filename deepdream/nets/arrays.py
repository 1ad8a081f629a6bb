"""How an engine calculates with pictures: here with NumPy and SciPy."""

from types import ModuleType
from typing import Any

import numpy as np

EngineArray = Any  # NumPy's array or torch's tensor, as the engine has it


class Arrays:
    """The arithmetic of an engine whose arrays are NumPy's."""

    xp: ModuleType = np  # or torch

    def array(self, a: np.ndarray) -> EngineArray:
        """A NumPy array as the engine's own, perhaps in the same memory."""
        return a

    def to_numpy(self, a: EngineArray) -> np.ndarray:
        """One of the engine's own arrays as NumPy's."""
        return a

    def zoom(self, a: EngineArray, down: float, across: float) -> EngineArray:
        """(3, h, w) -> (3, h * down, w * across), rounded; corners stay corners."""
        from scipy import ndimage as nd

        return np.asarray(nd.zoom(a, (1, down, across), order=1))

    def rotate(self, a: EngineArray, degrees: float, mirror: bool = True) -> EngineArray:
        """Turn (channels, h, w) clockwise; beyond it is its mirror image, or 0."""
        from scipy import ndimage as nd

        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix = np.array([[cos, -sin], [sin, cos]])
        middle = (np.array(a.shape[1:]) - 1) / 2
        mode = "mirror" if mirror else "grid-constant"
        about = {"offset": middle - matrix @ middle, "order": 1, "mode": mode}
        return np.stack([nd.affine_transform(channel, matrix, **about) for channel in a])

    def blur(self, a: EngineArray, sigma: float) -> EngineArray:
        """A Gaussian over the last two axes; sigma in pixels."""
        from scipy import ndimage as nd

        return nd.gaussian_filter(a, sigma, axes=(-2, -1))
