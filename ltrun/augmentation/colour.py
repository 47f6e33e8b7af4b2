"""Colour operations on a batch of images; every argument of shape (B,) is one value an image."""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def greyscale(images: Tensor) -> Tensor:
    """(B, 1, H, W) luma (ITU-R 601) of float colour images; images of another number of channels have no colour to lose."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


def blend(images: Tensor, reference: Tensor, factor: Tensor) -> Tensor:
    """Away from a reference image: 0 is the reference, 1 the image itself, 2 twice as far. Floats within 0 to 255."""
    return reference.lerp(images, factor[:, None, None, None]).clamp_(0, 255)


def select(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` for the images whose mask (B,) is true, else `other`; floats. On a CPU lerp takes a tenth of torch.where's time."""
    return other.lerp(one, mask[:, None, None, None].float())


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turns the colour wheel by `turn` (B,) rounds, leaving value and saturation. Other than 3 channels stay as they are."""
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


def jitter(images: Tensor, change: Tensor, order: Tensor, place: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue, in an order of its own for every image.

    images: (B, channels, H, W) float32 in 0..255. change: (B, 4): 0 leaves an image alone, 0.1 is 1.1 times as bright and so
    on, and a tenth of a round for the hue. order: (B, 3) permutation of BRIGHTNESS, CONTRAST, SATURATION. place: (B,) how
    many of them come before the hue. Every step is done to all images, by a factor of 1 to those whose turn it is not.
    """
    amount = change.gather(1, order)
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
