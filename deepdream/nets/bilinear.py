"""How Caffe's bilinear layers mix rows, or columns, as a matrix."""

import numpy as np

from .layer_shapes import Layer


def mixing(layer: Layer, before: int, after: int) -> np.ndarray:
    """(after, before) float32: how much of each row read is in each row written.

    A Resize lets what lies beyond the last row count as black; a
    BilinearInterpolate repeats the last row.
    """
    rows = np.arange(after)
    if layer.type == "Resize":
        places = rows * np.float32(before / np.float32(after))
        low = np.floor(places).astype(int)
    else:
        if layer.bilinear_interpolate_param.align_corners:
            places = np.float32(before - 1) / max(1, after - 1) * rows
        else:
            places = np.float32(before) / after * (rows + 0.5) - 0.5
        places = places.clip(0, before - 1)
        low = np.floor(places).astype(int).clip(0, before - 2)
    share = (places - low).astype(np.float32)
    matrix = np.zeros((after, before + 1), np.float32)
    matrix[rows, low] = 1 - share
    matrix[rows, low + 1] += share
    return matrix[:, :before]
