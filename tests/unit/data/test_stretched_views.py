"""Views that lose the aspect of a photograph: the whole image stretched to a square, and crops by random sides."""

import numpy as np
import pytest
import torch
from torchvision import transforms

from ltrun.augmentation import StretchedCrop
from ltrun.data.crop import SideCrop, uniform
from ltrun.data.decoding import Decoding
from ltrun.data.images import decode_all
from ltrun.data.views import view
from ltrun.errors import ConfigError
from tests.support.photographs import batch_of
from tests.unit.data.test_views import LEVELS, encoded, picture

STRETCHED = Decoding(32, stretch=True)


@pytest.mark.parametrize("size", [(90, 64), (64, 90), (32, 32), (500, 375), (80, 8)])
def test_the_whole_photograph_is_stretched_as_torchvision_resizes(size: tuple[int, int]) -> None:
    image = picture(*size)
    (found,), reasons = decode_all([encoded(image, "PNG")], STRETCHED)
    wanted = np.asarray(transforms.Resize((32, 32))(image)).transpose(2, 0, 1)
    assert not reasons and np.abs(found.astype(int) - wanted.astype(int)).max() <= LEVELS


def test_boxes_have_sides_of_at_least_the_smallest_share_and_reach_every_edge() -> None:
    boxes = np.array([SideCrop(32).box(100, 150, draws) for draws in uniform(np.arange(2000, dtype=np.uint64))])
    top, left, height, width = boxes.T
    assert (height >= 79).all() and (width >= 119).all() and (top + height <= 100).all() and (left + width <= 150).all()
    assert top.min() == 0 and left.min() == 0 and (top + height).max() >= 99 and (left + width).max() >= 149
    assert np.abs([height.mean() / 100 - 0.9, width.mean() / 150 - 0.9]).max() < 0.01


def test_a_photograph_that_is_too_long_is_taken_whole() -> None:
    draws = uniform(np.arange(1, dtype=np.uint64))[0]
    assert SideCrop(32).box(10, 100, draws) == (0, 0, 10, 100)
    assert SideCrop(32).box(1, 1, draws) == (0, 0, 1, 1)


def test_a_crop_on_the_device_cuts_what_a_crop_while_decoding_cuts() -> None:
    """A ramp from 0 to 255 shows by its ends where a crop began and ended."""
    ramp = torch.linspace(0, 255, 64).round().to(torch.uint8).expand(3, 64, 64)
    torch.manual_seed(0)
    part = StretchedCrop(64)
    decoded = part(batch_of(ramp.expand(2000, -1, -1, -1))).inputs[:, 0, 32]
    cut = torch.stack([view(ramp, STRETCHED, part.crop, draws)[0, 32] for draws in uniform(np.arange(2000, dtype=np.uint64))])
    for end in (0, -1):
        one, other = decoded[:, end].float(), cut[:, end].float()
        assert (one.mean() - other.mean()).abs() < 1 and (one.std() - other.std()).abs() < 1


@pytest.mark.parametrize("given", [{"size": 0}, {"smallest": 0.0}, {"smallest": 1.1}])
def test_a_crop_that_cannot_be_cut_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        StretchedCrop(**given)  # type: ignore[arg-type]
