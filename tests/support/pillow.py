"""Image operations of augmentation policies by Pillow, one image at a time."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

AFFINE, BICUBIC = Image.Transform.AFFINE, Image.Resampling.BICUBIC


def by_pillow(images: Tensor, name: str, value: float, fill: int = 0, place: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """Applies an operation of `ltrun.augmentation.operations` to images (B, channels, H, W) uint8."""
    pages = [Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()) for image in images]
    done = [_array(_ways(page, value, fill, place)[name]()) for page in pages]
    return torch.stack(done)


def _array(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _ways(image: Image.Image, v: float, fill: int, place: tuple[float, float]) -> dict[str, Callable[[], Image.Image]]:
    bands, outside = len(image.getbands()), (fill,) * len(image.getbands())
    added = [min(255, int(level + v)) for level in range(256)]

    def moved(*matrix: float, resample: Image.Resampling = Image.Resampling.NEAREST) -> Image.Image:
        return image.transform(image.size, AFFINE, matrix, resample, fillcolor=outside)

    return {
        "identity": lambda: image,
        "flip": lambda: ImageOps.flip(image),
        "mirror": lambda: ImageOps.mirror(image),
        "edge_enhance": lambda: image.filter(ImageFilter.EDGE_ENHANCE),
        "detail": lambda: image.filter(ImageFilter.DETAIL),
        "smooth": lambda: image.filter(ImageFilter.SMOOTH),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "gaussian_blur": lambda: image.filter(ImageFilter.GaussianBlur(v)),
        "resize_crop": lambda: _enlarged(image, v),
        "rotate": lambda: image.rotate(v, fillcolor=outside),
        "posterize": lambda: ImageOps.posterize(image, int(v)),
        "solarize": lambda: ImageOps.solarize(image, v),  # type: ignore[arg-type]
        "solarize_add": lambda: image.point([*added[:128], *range(128, 256)] * bands),
        "add_solarize": lambda: ImageOps.solarize(image.point(added * bands), 128),
        "color": lambda: ImageEnhance.Color(image).enhance(v),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(v),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(v),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(v),
        "shear_x": lambda: moved(1, v, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, v, 1, 0),
        "bicubic_shear_x": lambda: moved(1, v, 0, 0, 1, 0, resample=BICUBIC),
        "bicubic_shear_y": lambda: moved(1, 0, 0, v, 1, 0, resample=BICUBIC),
        "translate_x": lambda: moved(1, 0, v, 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, v),
        "cut": lambda: _cut(image, v, place),
    }


def _enlarged(image: Image.Image, v: float) -> Image.Image:
    (width, height), wide, high = image.size, int(image.width * v), int(image.height * v)
    left, top = wide // 2 - width // 2, high // 2 - height // 2
    return image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))


def _cut(image: Image.Image, v: float, place: tuple[float, float]) -> Image.Image:
    """As CutoutAbs of the long-tailed repositories' randaug.py."""
    (width, height), (y, x) = image.size, place
    left, top = (int(max(0, share * side - v / 2)) for share, side in ((x, width), (y, height)))
    colour = (125, 123, 114) if image.mode == "RGB" else 123
    found = image.copy()
    ImageDraw.Draw(found).rectangle((left, top, min(width, left + v), min(height, top + v)), colour)
    return found
