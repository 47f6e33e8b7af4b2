"""Colour operations on a batch of images; every argument of shape (B,) holds one value per image."""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def greyscale(images: Tensor) -> Tensor:
    """(B, 1, H, W) luma (ITU-R 601) of float images with 3 channels; other images are returned unchanged."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) grey levels as Pillow rounds them, of float images with whole levels; others than 3 channels unchanged."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536).floor_()[:, None]


def blend(images: Tensor, reference: Tensor, factor: Tensor) -> Tensor:
    """Blends with a reference image: factor 0 is the reference, 1 the image, 2 twice as far away. Floats, clamped to 0..255."""
    return reference.lerp(images, factor[:, None, None, None]).clamp_(0, 255)


def select(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` for the images whose mask (B,) is true, else `other`; floats. On a CPU lerp takes a tenth of torch.where's time."""
    return other.lerp(one, mask[:, None, None, None].float())


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Shifts the hue by `turn` (B,) full turns, keeping value and saturation; images without 3 channels are unchanged."""
    if images.shape[1] != 3:
        return images
    (red, green, blue), value = images.unbind(1), images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=1e-6)
    sector = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    sector = torch.where(value == red, (green - blue) / divisor, sector)
    sector = (sector + 6 * turn[:, None, None]) % 6
    share = torch.stack([(sector - 3).abs() - 1, 2 - (sector - 2).abs(), 2 - (sector - 4).abs()], dim=1)
    return value[:, None] - chroma[:, None] * (1 - share.clamp(0, 1))


def jitter(images: Tensor, change: Tensor, order: Tensor, place: Tensor, hue: bool = True) -> Tensor:
    """Changes brightness, contrast, saturation and hue, in a separate order for every image.

    images: (B, channels, H, W) float32 in 0..255. change: (B, 4): 0 changes nothing; 0.1 multiplies brightness,
    contrast or saturation by 1.1, and shifts the hue by a tenth of a turn. order: (B, 3) permutation of BRIGHTNESS, CONTRAST,
    SATURATION. place: (B,) number of these that precede the hue. Every step runs on all images, with factor 1 for the rest.
    hue: false where no image changes its hue, which takes half the time.
    """
    amount = change.gather(1, order)
    if not hue:
        for step in range(3):
            images = _enhance(images, order[:, step], 1 + amount[:, step])
        return images
    before = torch.arange(3, device=images.device) < place[:, None]
    for step in range(3):
        images = _enhance(images, order[:, step], 1 + amount[:, step] * before[:, step])
    images = shift_hue(images, change[:, HUE])
    for step in range(3):
        images = _enhance(images, order[:, step], 1 + amount[:, step] * ~before[:, step])
    return images


def _enhance(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    grey, operation = greyscale(images), operation[:, None, None, None]
    # Brightness blends with black.
    reference = grey * (operation == SATURATION) + grey.mean((1, 2, 3), keepdim=True) * (operation == CONTRAST)
    return blend(images, reference, factor)
