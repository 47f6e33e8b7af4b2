"""RandAugment: Pillow's pixels for each operation and level, and the shares of the operations."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from ltrun.augmentation import RandAugment
from ltrun.augmentation.autoaugment import OPERATIONS, apply
from ltrun.augmentation.rand_augment import CHOICES, strengths
from ltrun.errors import ConfigError
from tests.support.photographs import assert_close, batch_of, photographs

FILL = 116
LEVELS = (1.0, 0.96, 0.9, 0.55, 0.3)


def reference(image: Image.Image, name: str, level: float, sign: int) -> Image.Image:
    """The operation as timm applies it, with the nearest pixel."""
    factor, bits, slope = 1.8 * level + 0.1, int(4 * level), sign * 0.3 * level
    fill = (FILL,) * 3
    lifted = [min(255, value + int(110 * level)) if value < 128 else value for value in range(256)]
    moved = -sign * int(0.45 * level * image.width)

    def transformed(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)

    return {
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "posterize": lambda: ImageOps.posterize(image, bits),
        "solarize": lambda: ImageOps.solarize(image, int(256 * level)),
        "solarize_add": lambda: image.point(lifted * 3),
        "color": lambda: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "shear_x": lambda: transformed(1, slope, 0, 0, 1, 0),
        "shear_y": lambda: transformed(1, 0, 0, slope, 1, 0),
        "translate_x": lambda: transformed(1, 0, moved, 0, 1, 0),
        "translate_y": lambda: transformed(1, 0, 0, 0, 1, moved),
        "rotate": lambda: image.rotate(sign * 30 * level, fillcolor=fill),
    }[name]()


def applied(images: Tensor, name: str, level: float, sign: int) -> Tensor:
    count = len(images)
    operation = torch.full((count,), OPERATIONS.index(name))
    return apply(images, *strengths(operation, torch.full((count,), level), torch.full((count,), float(sign))), FILL)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("level", LEVELS)
def test_an_operation_has_pillows_pixels(name: str, level: float) -> None:
    images = photographs(3, (3, 32, 32))
    images[2, :, :8] = 255  # at the highest level, solarize leaves white white
    for sign in (1, -1):
        pillow = [reference(Image.fromarray(image.permute(1, 2, 0).numpy()), name, level, sign) for image in images]
        expected = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in pillow])
        result = applied(images, name, level, sign)
        if name in ("rotate", "shear_x", "shear_y"):  # a source point between two pixels may be rounded either way
            assert_close(result, expected, levels=255, exact=0.97)
        elif name == "autocontrast":
            assert_close(result, expected, levels=1, exact=0.95)
        elif name in ("color", "contrast", "brightness", "sharpness"):
            assert_close(result, expected, levels=2, exact=0.4)
        else:
            assert_close(result, expected, levels=0)


def test_operations_are_drawn_alike_and_left_out_half_the_time() -> None:
    torch.manual_seed(0)
    images = photographs(1, (3, 16, 16)).expand(6000, -1, -1, -1)
    changed = (RandAugment(operations=1, magnitude=9.5)(batch_of(images)).inputs != images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.5, abs=0.05)
    assert not (RandAugment(probability=0.0)(batch_of(images)).inputs != images).any()
    twice = (RandAugment(operations=2, magnitude=9.5)(batch_of(images)).inputs != images).flatten(1).any(1)
    assert twice.float().mean() == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("values", "named"),
    [({"operations": 0}, "operations"), ({"magnitude": 11.0}, "magnitude"), ({"spread": -1.0}, "spread"),
     ({"probability": 1.5}, "probability"), ({"fill": 300}, "fill")],
)  # fmt: skip
def test_impossible_values_are_refused(values: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RandAugment(**values)  # type: ignore[arg-type]
