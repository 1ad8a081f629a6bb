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
        right, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
        x, y = np.meshgrid(right, down)
        self.x, self.y = x + back[..., 0], y + back[..., 1]
        forth = self.move(_flow(old, new))
        # Sundaram, Brox and Keutzer's check (2010): there and back again should end
        # where it began.
        astray = ((back + forth) ** 2).sum(2) / (0.02 * (back**2 + forth**2).sum(2) + 0.5)
        inside = (self.x >= 0) & (self.x <= width - 1) & (self.y >= 0) & (self.y <= height - 1)
        self.trust = np.exp(-astray) * inside

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
    images = (image.astype(np.uint8) for image in (old, new))
    old, new = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)  # (H, W) each
    motion = Motion(old, new)
    before, now = motion.move(old.astype(np.float32)), new.astype(np.float32)
    before, now = before - before.mean(), now - now.mean()  # so that a flash of light is no cut
    is_other = abs(before - now).mean() > 0.7 * abs(now).mean() + 5
    return None if is_other or motion.trust.mean() < CUT else motion


def _flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """From each pixel of a grey image to its place in the other, (H, W, 2): right,
    down.
    """
    import cv2

    height, width = here.shape
    below, beside = max(0, SMALLEST - height), max(0, SMALLEST - width)
    edges = 0, below, 0, beside, cv2.BORDER_REPLICATE
    padded = [cv2.copyMakeBorder(image, *edges) for image in (here, there)]
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*padded, None)[:height, :width]
