"""Image operations of augmentation policies on a batch of images, each with its own operation and value, with Pillow's pixels.

Images are (B, channels, H, W) uint8. An operation has one value, or ignores it:

| rotate | degrees counter-clockwise |
| shear_*, bicubic_shear_* | pixels along the axis for each pixel across it |
| translate_* | pixels by which the source lies further right or down |
| gaussian_blur | radius in pixels, below 1.4 |
| resize_crop | enlargement, from 1, before the middle is cut out |
| posterize | bits to keep |
| cut | side in pixels of a coloured square |
| solarize | lowest level that is inverted |
| solarize_add | levels added to those below 128 |
| add_solarize | levels added to all, before those from 128 on are inverted |
| color, contrast, brightness, sharpness | factor, 1 for the image itself |
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.chosen import on_chosen
from ltrun.augmentation.colour import luma
from ltrun.augmentation.filters import box_blur, neighbours, zoom
from ltrun.augmentation.geometry import sample

MOVES = ("flip", "mirror", "rotate", "shear_x", "shear_y", "translate_x", "translate_y")
SLANTS = ("bicubic_shear_x", "bicubic_shear_y")
FILTERS = ("edge_enhance", "detail", "smooth", "sharpness")
BLURS = ("gaussian_blur",)
ZOOMS = ("resize_crop",)
BLENDS = ("color", "contrast", "brightness")
CURVES = ("autocontrast", "equalize", "invert", "posterize", "solarize", "solarize_add", "add_solarize")
CUTS = ("cut",)
OPERATIONS = ("identity", *MOVES, *SLANTS, *FILTERS, *BLURS, *ZOOMS, *BLENDS, *CURVES, *CUTS)
HOLE = (125, 123, 114)  # colour of a square that is cut out
INDEX = {name: index for index, name in enumerate(OPERATIONS)}


def apply(images: Tensor, operation: Tensor, value: Tensor, fill: int, place: Tensor | None = None) -> Tensor:
    """Applies one operation to each image. operation: (B,) index into OPERATIONS. value: (B,) float64.

    Pixels from outside an image have the grey level `fill`. place: (B, 2) random numbers from 0 to 1, for `cut` alone. Each
    kind of operation runs once for the batch.
    """

    def move(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
        return moved(images, operation, value, fill)

    def slant(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
        return slanted(images, operation, value, fill)

    kinds = {
        MOVES: move, SLANTS: slant, FILTERS: filtered, BLURS: blurred, ZOOMS: zoomed, BLENDS: blended, CURVES: curved,
    }  # fmt: skip
    for names, function in kinds.items():
        chosen = (operation >= INDEX[names[0]]) & (operation <= INDEX[names[-1]])
        images = on_chosen(images, chosen, function, operation, value)
    if place is not None:
        images = on_chosen(images, operation == INDEX["cut"], cut, value, place)
    return images


def in_pixels(operation: Tensor, value: Tensor, shape: torch.Size, whole: bool = False) -> Tensor:
    """Returns the values with translations, given as shares of the side, in pixels. shape: (B, channels, H, W).

    whole: whether they are cut to whole pixels.
    """
    for name, side in (("translate_x", shape[-1]), ("translate_y", shape[-2])):
        pixels = value * side
        value = torch.where(operation == INDEX[name], pixels.trunc() if whole else pixels, value)
    return value


def moved(images: Tensor, operation: Tensor, value: Tensor, fill: int) -> Tensor:
    """Takes each pixel from another place, in Pillow's fixed-point numbers of 16 bits."""
    height, width = images.shape[-2:]
    on = {name: operation == INDEX[name] for name in MOVES}
    angle = value.deg2rad() * on["rotate"]
    cos, sin = angle.cos(), angle.sin()
    xx, yy = cos - 2.0 * on["mirror"], cos - 2.0 * on["flip"]
    xy, yx = value * on["shear_x"] - sin, value * on["shear_y"] + sin
    turned = on["rotate"]
    middle_x, middle_y = width / 2, height / 2
    x0 = value * on["translate_x"] + width * on["mirror"] + (middle_x - cos * middle_x + sin * middle_y) * turned
    y0 = value * on["translate_y"] + height * on["flip"] + (middle_y - cos * middle_y - sin * middle_x) * turned
    x0, y0 = x0 + (xx + xy) / 2, y0 + (yx + yy) / 2  # of the first pixel's centre
    terms = (torch.stack([xx, xy, x0, yx, yy, y0]) * 65536 + 0.5).floor().long()[:, :, None, None]
    x, y = torch.arange(width, device=images.device), torch.arange(height, device=images.device)[:, None]
    columns, rows = (terms[i] * x + terms[i + 1] * y + terms[i + 2] for i in (0, 3))
    return sample(images, rows >> 16, columns >> 16, fill)


def slanted(images: Tensor, operation: Tensor, value: Tensor, fill: int) -> Tensor:
    """Shears with bicubic interpolation along the sheared axis, by Keys's kernel with a = -1."""
    sideways = images.mT
    across = (operation == INDEX["bicubic_shear_y"])[:, None, None, None]
    if images.shape[-1] != images.shape[-2]:
        down = _slanted(sideways, value, fill).mT
        return torch.where(across, down, _slanted(images, value, fill))
    turned = _slanted(torch.where(across, sideways, images), value, fill)
    return torch.where(across, turned.mT, turned)


def _slanted(images: Tensor, value: Tensor, fill: int) -> Tensor:
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device)[:, None] + 0.5
    place = torch.arange(width, device=images.device) + 0.5 + value[:, None, None] * y
    left = (place - 0.5).floor()
    d = (place - 0.5 - left)[:, None]
    source = [(left.long() + shift).clamp(0, width - 1)[:, None].expand(images.shape) for shift in (-1, 0, 1, 2)]
    v1, v2, v3, v4 = (images.gather(3, columns).double() for columns in source)
    sheared = v2 + d * (v3 - v1 + d * (2 * (v1 - v2) + v3 - v4 + d * (v2 - v1 - v3 + v4)))
    inside = ((place >= 0) & (place < width))[:, None]
    return torch.where(inside, sheared.clamp(0, 255).to(torch.uint8), fill)


def filtered(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """Weights each pixel and its eight neighbours; the outermost pixels keep their values. Sharpness blends with `smooth`."""
    pixels = images.float()
    edge, detail = (_column(operation == INDEX[name]) for name in ("edge_enhance", "detail"))
    smooth = ~(edge | detail)
    beside, diagonal = neighbours(pixels)
    weight = torch.where(smooth, 1.0, -1.0)
    total = torch.where(smooth, 5.0, 10.0) * pixels[..., 1:-1, 1:-1] + weight * (beside + diagonal * ~detail)
    inner = (total / torch.where(smooth, 13.0, torch.where(edge, 2.0, 6.0)) + 0.5).floor().clamp(0, 255)
    found = pixels.clone()
    found[..., 1:-1, 1:-1] = inner
    sharpened = blend(found, pixels, value)
    return torch.where(_column(operation == INDEX["sharpness"]), sharpened, found).to(torch.uint8)


def blurred(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    return box_blur(images.float(), value).to(torch.uint8)


def zoomed(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    return zoom(images.float(), value).to(torch.uint8)


def blended(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """Blends with grey, with the mean grey or with black."""
    pixels = images.float()
    grey = luma(pixels)
    mean = (grey.mean((1, 2, 3), dtype=torch.float64) + 0.5).floor().float()
    color, contrast = (_column(operation == INDEX[name]) for name in ("color", "contrast"))
    return blend(grey * color + _column(mean) * contrast, pixels, value).to(torch.uint8)


def blend(reference: Tensor, pixels: Tensor, factor: Tensor) -> Tensor:
    """Floats of 0..255, cut to whole levels later: the reference for factor 0, the pixels for 1."""
    return (reference + (pixels - reference) * _column(factor.float())).clamp_(0, 255)


def curved(images: Tensor, operation: Tensor, value: Tensor) -> Tensor:
    """Maps the 256 levels of each channel by a curve."""
    pixels = images.flatten(2).long()
    level = torch.arange(256, device=images.device)
    on, value = {name: (operation == INDEX[name])[:, None, None] for name in CURVES}, value[:, None, None]
    curve = torch.where(on["invert"] | on["solarize"] & (level >= value), 255 - level, level)
    bits = value.floor().clamp(0, 8).long()
    curve = torch.where(on["posterize"], level & -(1 << (8 - bits)), curve)
    added = (level + value).floor().clamp(0, 255).long()
    curve = torch.where(on["solarize_add"] & (level < 128), added, curve)
    curve = torch.where(on["add_solarize"], torch.where(added < 128, added, 255 - added), curve)
    curve = torch.where(on["autocontrast"], stretched(pixels, level), curve)
    curve = torch.where(on["equalize"], equalized(pixels, level), curve)
    return curve.to(torch.uint8).expand(*pixels.shape[:2], -1).gather(2, pixels).view_as(images)


def stretched(pixels: Tensor, level: Tensor) -> Tensor:
    """(B, channels, 256): curve from each channel's darkest pixel to 0 and its lightest to 255; a flat channel is unchanged."""
    low, high = (limit(dim=2, keepdim=True).double() for limit in (pixels.amin, pixels.amax))
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # 255 / x would multiply by 1 / x, one rounding too many
    curve = (level * scale - low * scale).clamp(0, 255).long()
    return torch.where(high > low, curve, level)


def equalized(pixels: Tensor, level: Tensor) -> Tensor:
    """(B, channels, 256): curve that makes each channel's histogram about flat."""
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(2, pixels, torch.ones_like(level[:1]).expand_as(pixels))
    highest = counts.gather(2, pixels.amax(dim=2, keepdim=True))
    step = (pixels.shape[2] - highest) // 255
    below = counts.cumsum(2) - counts
    return torch.where(step > 0, ((below + step // 2) // step.clamp(min=1)).clamp(max=255), level)


def cut(images: Tensor, side: Tensor, place: Tensor) -> Tensor:
    """Colours a square round a random place, cut off at the edges of the image."""
    channels, height, width = images.shape[1:]
    inside = torch.ones_like(images[:, :1], dtype=torch.bool)
    for dim, size in ((2, height), (3, width)):
        first = (place[:, dim - 2].double() * size - side / 2).clamp(min=0).trunc()
        pixel = torch.arange(size, device=images.device)
        along = (pixel >= first[:, None]) & (pixel <= (first + side).trunc()[:, None])
        inside = inside & (along[:, None, :, None] if dim == 2 else along[:, None, None, :])
    colour = torch.stack([torch.full_like(images[0, 0], level) for level in (HOLE if channels == 3 else (HOLE[1],))])
    return torch.where(inside, colour, images)


def _column(values: Tensor) -> Tensor:
    """(B, 1, 1, 1) of a value for each image."""
    return values[:, None, None, None]
