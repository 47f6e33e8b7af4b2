"""Operations of augmentation policies: Pillow's pixels for each operation, value and shape, and batches of mixed operations."""

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.operations import INDEX, OPERATIONS, apply, in_pixels
from tests.support.photographs import SHAPES, assert_close, photographs
from tests.support.pillow import by_pillow

VALUES: dict[str, tuple[float, ...]] = {
    "gaussian_blur": (0.0, 0.067, 0.4, 1.3),
    "resize_crop": (1.0, 1.0333, 1.1, 1.1667, 1.5),
    "posterize": (1, 3.7, 8),
    "solarize": (0, 8.53, 85, 256),
    "solarize_add": (0, 36.67, 110),
    "add_solarize": (0, 3.67, 36.67, 110),
    "cut": (1, 4.2, 18.67, 40),
    "rotate": (-135, -30, -10, -0.5, 0, 3, 15, 45),
    **dict.fromkeys(("translate_x", "translate_y"), (-33.3, -3.33, 0, 0.5, 14.5, 100)),
    **dict.fromkeys((name for name in OPERATIONS if "shear" in name), (-0.99, -0.3, -0.01, 0, 0.1, 0.2)),
    **dict.fromkeys(("color", "contrast", "brightness", "sharpness"), (0.01, 0.16, 0.7, 1, 1.33, 1.9)),
}
# Pillow's sums of floats decide values halfway between two levels, which are frequent for `detail` alone.
NEARLY = {"detail": 0.9, "resize_crop": 0.998, "bicubic_shear_x": 0.999, "bicubic_shear_y": 0.999}


def applied(images: Tensor, name: str, value: float, fill: int, place: Tensor | None = None) -> Tensor:
    count = len(images)
    return apply(
        images, torch.full((count,), INDEX[name]), torch.full((count,), float(value), dtype=torch.float64), fill, place
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_operation_has_pillows_pixels(name: str, shape: tuple[int, int, int]) -> None:
    images = photographs(4, shape)
    images[2, :, :3] = 255  # white, which the highest threshold leaves white
    images[3] = 77  # a flat image: nothing to stretch or equalise
    for value in VALUES.get(name, (0.0,)):
        for place in ((0.0, 0.4), (0.97, 0.1)) if name == "cut" else ((0.5, 0.5),):
            expected = by_pillow(images, name, value, 116, place)
            found = applied(images, name, value, 116, torch.tensor(place).expand(4, 2))
            exact = NEARLY.get(name, 1.0)
            assert_close(found, expected, levels=int(exact < 1), exact=exact)


def test_each_image_of_a_batch_gets_its_own_operation_only() -> None:
    torch.manual_seed(0)
    images = photographs(5 * len(OPERATIONS))
    operation, value = torch.arange(len(OPERATIONS)).repeat(5), torch.rand(len(images), dtype=torch.float64) + 1
    place = torch.rand(len(images), 2)
    value = torch.where(operation == INDEX["gaussian_blur"], value - 1, value)
    together = apply(images, operation, value, 128, place)
    each = [slice(row, row + 1) for row in range(len(images))]
    alone = [apply(images[row], operation[row], value[row], 128, place[row]) for row in each]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[0], images[0]) and OPERATIONS[0] == "identity"


def test_only_translations_are_shares_of_the_side() -> None:
    operation = torch.tensor([INDEX[name] for name in ("translate_x", "translate_y", "rotate")])
    found = in_pixels(operation, torch.full((3,), 0.5, dtype=torch.float64), torch.Size((3, 3, 20, 12)))
    assert found.tolist() == [6, 10, 0.5]


def test_posterize_to_no_bits_is_black() -> None:
    assert not applied(photographs(2), "posterize", 0, 0).any()
