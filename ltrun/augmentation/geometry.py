"""Affine maps of a batch of images; every argument of shape (B,) holds one value per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sample(images: Tensor, rows: Tensor, columns: Tensor, fill: int = 0) -> Tensor:
    """Takes each output pixel from a given position of its image, in one gather for the batch.

    images: (B, channels, H, W). rows, columns: integer positions that broadcast to (B, H, W); positions outside the image
    give `fill`.
    """
    batch, channels, height, width = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    source = source.expand(batch, height, width).reshape(batch, 1, height * width)
    gathered = images.flatten(2).gather(2, source.expand(-1, channels, -1)).view_as(images)
    inside = inside[:, None].to(images.dtype)
    return gathered * inside + (1 - inside) * fill  # takes a tenth of torch.where's time with a broadcast mask


def affine(images: Tensor, matrix: Tensor, fill: int = 0) -> Tensor:
    """Resamples by nearest neighbour. matrix: (B, 2, 3) from output to source (x, y), in pixels from the image's centre."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    a, b, c, d, e, f = matrix.flatten(1)[:, :, None, None].unbind(1)
    columns = (a * x + b * y + (c + (width - 1) / 2)).round().long()
    rows = (d * x + e * y + (f + (height - 1) / 2)).round().long()
    return sample(images, rows, columns, fill)


def rotation(degrees: Tensor) -> Tensor:
    """(B, 2, 3) matrices that rotate images counter-clockwise about their centre."""
    angle = degrees.deg2rad()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)


def draw_boxes(
    batch: int,
    height: int,
    width: int,
    smallest: float,
    device: torch.device,
    largest: float = 1.0,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[Tensor, ...]:
    """top, left, height, width (each (B,)) of boxes with from `smallest` to `largest` of the area and an aspect from `ratio`.

    Each image takes the first of ten draws that fits, or the whole image if none fits, as torchvision's RandomResizedCrop on
    square images.
    """
    area = height * width * torch.empty(batch, 10, device=device).uniform_(smallest, largest)
    low, high = map(math.log, ratio)
    aspect = torch.empty(batch, 10, device=device).uniform_(-1, 1).mul((high - low) / 2).add((low + high) / 2).exp()
    box_height, box_width = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (box_height > 0) & (box_height <= height) & (box_width > 0) & (box_width <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    box_height = torch.where(found, box_height.gather(1, first)[:, 0], float(height))
    box_width = torch.where(found, box_width.gather(1, first)[:, 0], float(width))
    top = (torch.rand(batch, device=device) * (height - box_height + 1)).floor()
    left = (torch.rand(batch, device=device) * (width - box_width + 1)).floor()
    return top, left, box_height, box_width


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Combines rows and columns linearly: rows (B, height, H) @ image @ columns (B, width, W) transposed. Always float32."""
    with torch.autocast(images.device.type, enabled=False):
        across = (images.flatten(1, 2) @ columns.mT).unflatten(1, images.shape[1:3])
        return rows[:, None] @ across


def stretch(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size, size) bilinear weights that stretch the pixels start .. start + length - 1 to `size` pixels."""
    pixel = torch.arange(size, device=start.device)
    source = start[:, None] + (pixel + 0.5) * (length / size)[:, None] - 0.5
    source = source.clamp(start[:, None], (start + length - 1)[:, None])
    return (1 - (source[:, :, None] - pixel).abs()).clamp(min=0)


def resample(start: Tensor, length: Tensor, size: int, out: int, interpolation: str) -> Tensor:
    """(B, out, size) weights that scale the pixels start .. start + length - 1 of `size` to `out` pixels, with antialiasing.

    The kernel is as wide as a pixel of the coarser side, as in Pillow; pixels outside the part do not count.
    """
    step = (length / out)[:, None, None]
    source = torch.arange(size, device=start.device)
    centre = start[:, None, None] + (torch.arange(out, device=start.device)[:, None] + 0.5) * step
    distance = (source + 0.5 - centre).abs() / step.clamp(min=1)
    weight = KERNELS[interpolation](distance)
    inside = (source >= start[:, None]) & (source < (start + length)[:, None])
    weight = weight * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def _cubic(distance: Tensor) -> Tensor:
    """Keys's kernel with a = -1/2, as Pillow's."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, far * (distance < 2))


KERNELS = {"bilinear": lambda distance: (1 - distance).clamp(min=0), "bicubic": _cubic}


def gaussian(sigma: Tensor, size: int, reach: int) -> Tensor:
    """(B, size, size) weights of a Gaussian blur; the edge pixel is repeated `reach` times beyond the edge."""
    pixel = torch.arange(size, device=sigma.device)
    neighbour = torch.arange(-reach, size + reach, device=sigma.device)
    distance = (pixel[:, None] - neighbour) / sigma[:, None, None]
    source = neighbour.clamp(0, size - 1)[:, None] == pixel
    return (-distance.square() / 2).softmax(2) @ source.float()
