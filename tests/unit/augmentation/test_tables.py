"""Tables of operations: torchvision's magnitudes and pixels, timm's and the long-tailed repositories' values, and the draws."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from ltrun.augmentation.operations import INDEX, OPERATIONS, apply
from ltrun.augmentation.tables import AUGMIX, LONG_TAILED, RAND, TIMM, TRIVIAL, Table
from tests.support.photographs import assert_close, photographs
from tests.support.pillow import by_pillow

NAMES = {
    "Identity": "identity", "AutoContrast": "autocontrast", "Brightness": "brightness", "Color": "color",
    "Contrast": "contrast", "Equalize": "equalize", "Posterize": "posterize", "Rotate": "rotate", "Sharpness": "sharpness",
    "ShearX": "shear_x", "ShearY": "shear_y", "Solarize": "solarize", "TranslateX": "translate_x",
    "TranslateY": "translate_y",
}  # fmt: skip
SPACES = {"RandAugment": (RAND, 31), "TrivialAugmentWide": (TRIVIAL, 31), "AugMix": (AUGMIX, 10)}


def applied(table: Table, images: Tensor, name: str, level: float, sign: float) -> Tensor:
    """Applies an operation of a table to all images."""
    count = len(images)
    drawn, levels = torch.full((count,), list(table.values).index(name)), torch.full((count,), level, dtype=torch.float64)
    operation, value = table.at(drawn, levels, torch.full((count,), sign, dtype=torch.float64), images.shape)
    return apply(images, operation, value, 0)


@pytest.mark.parametrize("space", SPACES)
def test_torchvisions_operations_have_its_magnitudes_and_pixels(space: str) -> None:
    from torchvision.transforms import InterpolationMode, autoaugment
    from torchvision.transforms.functional import pil_to_tensor

    table, bins = SPACES[space]
    images = photographs(2)
    reference = getattr(autoaugment, space)()
    sizes = [] if space == "TrivialAugmentWide" else [images.shape[-2:]]
    magnitudes = reference._augmentation_space(bins, *sizes)
    assert {NAMES[name] for name in magnitudes} == set(table.values)
    pages = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    for name, (strengths, signed) in magnitudes.items():
        assert signed == (NAMES[name] in table.signed)
        for number in (0, 1, 2, bins // 2, bins - 1) if strengths.ndim else (0,):
            for sign in (1, -1) if signed else (1,):
                strength = sign * float(strengths[number]) if strengths.ndim else 0.0
                if name == "Posterize" and strength < 1:
                    continue  # Pillow refuses to keep no bit
                strength = round(strength, 5)  # float32 takes 16 pixels to 15.999999, which torchvision cuts to 15
                nearest = InterpolationMode.NEAREST
                theirs = [pil_to_tensor(autoaugment._apply_op(page, name, strength, nearest, None)) for page in pages]
                ours = applied(table, images, NAMES[name], number / (bins - 1), -sign if "Translate" in name else sign)
                assert_close(ours, torch.stack(theirs), levels=1 if name == "Brightness" else 0, exact=0.99)


@pytest.mark.parametrize("level", [1.0, 0.96, 0.55, 0.3])
def test_timms_operations_have_pillows_pixels(level: float) -> None:
    images = photographs(2)
    values = {
        "rotate": 30 * level, "posterize": int(4 * level), "solarize": int(256 * level), "solarize_add": int(110 * level),
        "shear_x": 0.3 * level, "shear_y": 0.3 * level, "translate_x": int(0.45 * level * 32),
        "translate_y": int(0.45 * level * 32), "autocontrast": 0, "equalize": 0, "invert": 0,
    } | dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 1.8 * level + 0.1)  # fmt: skip
    assert set(values) == set(TIMM.values)
    for name, value in values.items():
        for sign in (1, -1):
            expected = by_pillow(images, name, sign * value if name in TIMM.signed else value)
            assert torch.equal(applied(TIMM, images, name, level, sign), expected), name


@pytest.mark.parametrize("table", [TIMM, LONG_TAILED, RAND, TRIVIAL, AUGMIX])
def test_operations_and_signs_are_drawn_alike(table: Table) -> None:
    torch.manual_seed(0)
    operation, value = table.draw(torch.full((len(table.values) * 1000,), 0.4), torch.Size((1, 3, 32, 32)))
    counts = torch.bincount(operation, minlength=len(OPERATIONS))
    drawn = {name: int(counts[INDEX[name]]) for name in table.values}
    assert sum(drawn.values()) == len(operation) and all(abs(count - 1000) < 160 for count in drawn.values())
    for name in table.values:
        found = value[operation == INDEX[name]].unique()
        assert len(found) == (2 if name in table.signed else 1), name
