"""Photometric distortion against the definition in HSV, image by image, in the order of the original detectors."""

import colorsys

import pytest
import torch

from ltrun.augmentation import PhotometricDistortion
from ltrun.augmentation.photometric_distortion import Distortion, distorted
from ltrun.errors import ConfigError
from tests.support.photographs import batch_of, photographs

CPU = torch.device("cpu")


def by_definition(image: torch.Tensor, by: Distortion, row: int) -> torch.Tensor:
    """One image (3, H, W), pixel by pixel: brightness, contrast or none, saturation, hue, order of channels, contrast."""
    values = image.double() + by.brightness[row].item()
    if by.early[row]:
        values = values * by.contrast[row].item()
    pixels = values.flatten(1).T.tolist()
    changed = []
    for red, green, blue in pixels:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        saturation *= by.saturation[row].item()
        changed.append(colorsys.hsv_to_rgb((hue + by.hue[row].item()) % 1, saturation, value))
    values = torch.tensor(changed, dtype=torch.float64).T.view_as(values)[by.order[row]]
    return (values if by.early[row] else values * by.contrast[row].item()).clamp(0, 255)


def test_every_change_equals_the_definition() -> None:
    torch.manual_seed(0)
    images = photographs(16, (3, 6, 5)).clamp(min=40)  # values below 0 have no hue in the definition
    by = PhotometricDistortion().draw(len(images), CPU)
    found = distorted(images.float(), by)
    for row, image in enumerate(images):
        assert (found[row] - by_definition(image, by, row)).abs().max() < 1e-2


def test_each_change_is_made_to_half_of_the_images_within_its_range() -> None:
    torch.manual_seed(0)
    by = PhotometricDistortion().draw(4000, CPU)
    neutral = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    ends = {"brightness": 32.0, "contrast": 0.5, "saturation": 0.5, "hue": 18 / 360}
    for name, value in neutral.items():
        changes = getattr(by, name) - value
        assert abs((changes != 0).float().mean() - 0.5) < 0.03
        assert 0.97 * ends[name] < changes.abs().max() <= ends[name] and changes.min() < -0.97 * ends[name]
    kept = (by.order == torch.arange(3)).all(1).float().mean()
    assert abs(kept - (0.5 + 0.5 / 6)) < 0.03 and abs(by.early.float().mean() - 0.5) < 0.03


def test_grey_images_keep_one_channel_and_all_images_stay_bytes() -> None:
    torch.manual_seed(0)
    for shape in ((1, 8, 8), (3, 8, 8)):
        found = PhotometricDistortion()(batch_of(photographs(8, shape))).inputs
        assert found.dtype == torch.uint8 and found.shape == (8, *shape)


@pytest.mark.parametrize("given", [{"brightness": -1}, {"contrast": [1.5, 0.5]}, {"saturation": [1.0]}, {"hue": 181}])
def test_values_without_a_meaning_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        PhotometricDistortion(**given)  # type: ignore[arg-type]
