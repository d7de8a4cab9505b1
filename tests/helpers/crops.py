"""Folders of person crops."""

import numpy as np
from PIL import Image


def write_crops(root, tracks=3, frames=2):
    """Random images as root/CAMERA/TRACK/image for two cameras."""
    rng = np.random.default_rng(0)
    for camera in ("a", "b"):
        for track in range(tracks):
            folder = root / camera / f"track {track}"
            folder.mkdir(parents=True)
            for frame in range(frames):
                image = rng.integers(0, 255, (40, 20, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{frame}.png")
