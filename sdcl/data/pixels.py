"""Constants of the augmentation: erasing colour, luminance, channel codes."""

from __future__ import annotations

ERASE_FILL = (0.4914, 0.4822, 0.4465)  # R, G, B, written into standardised images
LUMINANCE = (0.2989, 0.5870, 0.1140)  # weights of R, G, B in a grey image
UNCHANGED, GREY_CODE = -1, 3  # channel codes; 0, 1, 2 copy that channel to all three
NO_BOX = (0, 0, 0, 0)  # an empty rectangle: top, left, height, width
# operations, in the order of their factors
JITTER = (
    "brightness",
    "contrast",
    "saturation",
    "hue",
)
