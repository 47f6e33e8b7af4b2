"""Operations on chosen images: rows that a CPU computes alone, and all rows of a step that is compiled or on a GPU."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.chosen import on_chosen
from ltrun.augmentation.operations import INDEX, OPERATIONS, apply
from tests.support.photographs import SHAPES, photographs


def test_chosen_images_change_with_their_own_arguments_and_the_batch_stays() -> None:
    images, amount = photographs(5).clamp(max=200), torch.tensor([1, 2, 3, 4, 5], dtype=torch.uint8)
    before, seen = images.clone(), []

    def add(images: Tensor, amount: Tensor) -> Tensor:
        seen.append(len(images))
        return images + amount[:, None, None, None]

    result = on_chosen(images, torch.tensor([False, True, False, False, True]), add, amount)
    assert (result - before)[:, 0, 0, 0].tolist() == [0, 2, 0, 0, 5] and torch.equal(images, before)
    assert torch.equal(on_chosen(images, torch.zeros(5, dtype=torch.bool), add, amount), images)
    assert seen == [2]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_compiled_step_computes_the_same_pixels(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    images = photographs(4 * len(OPERATIONS), shape)
    operation = torch.arange(len(OPERATIONS)).repeat(4)
    value = torch.rand(len(images), dtype=torch.float64)
    value += 1.0 * (operation == INDEX["resize_crop"])
    eager = apply(images, operation, value, 7)
    with patch.object(torch.compiler, "is_compiling", return_value=True):
        assert torch.equal(apply(images, operation, value, 7), eager)
