"""How the things in a film move from one picture to the next: optical flow."""

from typing import Any

import numpy as np

CUT = 0.25  # less mean trust than this is a cut
SMALLEST = 32  # pixels of a side; on smaller pictures OpenCV's DIS may crash


class Motion:
    """Where each pixel of a picture was in the one before.

    x, y: right and down, (H, W) in pixels. trust: how sure that is, (H, W) 0..1.
    """

    def __init__(self, old: np.ndarray, new: np.ndarray) -> None:
        """old, new: grey pictures (H, W) uint8."""
        height, width = new.shape
        back = _flow(new, old)  # (H, W, 2)
        y, x = np.indices((height, width), np.float32)
        self.x = x + back[..., 0]
        self.y = y + back[..., 1]
        forth = self.move(_flow(old, new))
        # Sundaram, Brox and Keutzer (2010): there and back should end at the start
        lengths = (back**2 + forth**2).sum(2)
        astray = ((back + forth) ** 2).sum(2) / (0.02 * lengths + 0.5)
        is_beside = (self.x < 0) | (self.x > width - 1)
        is_above = (self.y < 0) | (self.y > height - 1)
        self.trust = np.exp(-astray) * ~(is_beside | is_above)

    def move(self, image: np.ndarray, is_smooth: bool = False) -> np.ndarray:
        """What lies on the old picture, (H, W) or (H, W, n), moved with it."""
        import cv2

        how = cv2.INTER_CUBIC if is_smooth else cv2.INTER_LINEAR
        return cv2.remap(image, self.x, self.y, how, borderMode=cv2.BORDER_REPLICATE)


def find_motion(old: np.ndarray, new: np.ndarray) -> Motion | None:
    """The motion from one picture (H, W, 3) to the next; None after a cut."""
    import cv2

    if old.shape != new.shape:
        return None
    to_grey = cv2.COLOR_RGB2GRAY
    old, new = (cv2.cvtColor(image.astype(np.uint8), to_grey) for image in (old, new))
    motion = Motion(old, new)
    before = motion.move(old.astype(np.float32))
    before -= before.mean()  # so that a flash of light is no cut
    now = new.astype(np.float32)
    now -= now.mean()
    is_other = abs(before - now).mean() > 0.7 * abs(now).mean() + 5
    return None if is_other or motion.trust.mean() < CUT else motion


def _flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """From each pixel of a grey image to its place in the other: (H, W, 2)."""
    import cv2

    height, width = here.shape
    edges = (0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width))
    padded = [np.pad(image, edges, "edge") for image in (here, there)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*padded, None)[:height, :width]
