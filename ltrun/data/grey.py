"""Grey images of more than 8 bits: the values of black and white, and their conversion to 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def known_range(image: ImageFile) -> tuple[float, float] | None:
    """Returns the values of black and white in a grey image of more than 8 bits, or None where its file does not say them."""
    if image.format == "PPM" and image.mode == "I":
        args = image.tile[0].args  # with a maximum, Pillow has scaled the pixels to 65535
        return (0, 65535) if isinstance(args, tuple) and args[1] != 65535 else None
    bits = image.tag_v2.get(258) if image.format == "TIFF" and image.mode.startswith("I;16") else None  # type: ignore[attr-defined]
    return (0, 2 ** bits[0] - 1) if bits and bits[0] < 16 else None


def is_16_bit(image: ImageFile) -> bool:
    """Returns whether an image is grey with values from 0 to 65535."""
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def range_of(image: ImageFile, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """Returns the values of (black, white) in a grey image of more than 8 bits, or None. given: where its file does not say."""
    ends = known_range(image) or given or ((0, 65535) if is_16_bit(image) else None)
    if ends and image.format == "TIFF" and image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
        return ends[1], ends[0]  # white is the least value (WhiteIsZero), which Pillow inverts in 8 bits alone
    return ends


def to_8_bits(grey: NDArray[np.generic], black: float, white: float) -> NDArray[np.uint8]:
    """Returns values in 256 steps of equal width from black to white, clipped beyond; for 0 and 65535, the upper 8 bits."""
    values = grey.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite")
    return np.floor((values - black) * (256 / (white - black))).clip(0, 255).astype(np.uint8)
