"""Augmentation of photographs: crops of decoded images, flips and colour jitter, beside torchvision's."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from ltrun.augmentation import ColourJitter, Flip, RandomResizedCrop
from ltrun.augmentation.colour import jitter
from ltrun.augmentation.geometry import resample, separable
from ltrun.errors import ConfigError
from ltrun.types import Batch, Labels


def images(count: int = 6, height: int = 40, width: int = 40) -> Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").round().clamp(0, 255).to(torch.uint8)


def batch_of(inputs: Tensor) -> Batch:
    return Batch(inputs, Labels.hard(torch.zeros(len(inputs))), torch.arange(len(inputs)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [(0, 0, 40, 40), (3, 7, 30, 21), (10, 10, 8, 9), (0, 39, 40, 1)])
@pytest.mark.parametrize("size", [16, 56])
def test_decoded_images_are_scaled_as_torchvision_does(interpolation: str, box: tuple[int, ...], size: int) -> None:
    top, left, height, width = box
    wanted = functional.resized_crop(
        images().float(), top, left, height, width, [size, size], v2.InterpolationMode(interpolation), antialias=True
    )
    down, across = (
        resample(torch.full((6,), float(start)), torch.full((6,), float(length)), 40, size, interpolation)
        for start, length in ((top, height), (left, width))
    )
    torch.testing.assert_close(separable(images().float(), down, across), wanted, rtol=0, atol=0.05)


def test_a_crop_of_decoded_images_has_its_size_and_varies() -> None:
    part = RandomResizedCrop(24, [0.1, 0.5])
    torch.manual_seed(0)
    found = part(batch_of(images(1).expand(50, -1, -1, -1))).inputs
    assert found.shape == (50, 3, 24, 24) and found.dtype is torch.uint8
    assert len({tuple(image.flatten().tolist()) for image in found}) == 50
    whole = RandomResizedCrop(40, [1.0, 1.0], [1.0, 1.0])
    assert torch.equal(whole(batch_of(images())).inputs, images())


def test_flips_mirror_with_their_probability() -> None:
    inputs = images(400, 6, 6)
    torch.manual_seed(0)
    found = Flip(0.25)(batch_of(inputs)).inputs
    mirrored = (found == inputs.flip(3)).flatten(1).all(1)
    same = (found == inputs).flatten(1).all(1)
    assert (mirrored | same).all() and 70 < mirrored.sum() < 130
    assert torch.equal(Flip(1.0)(batch_of(inputs)).inputs, inputs.flip(3))
    assert torch.equal(Flip(0.0)(batch_of(inputs)).inputs, inputs)


def test_colours_change_as_torchvision_changes_them_in_each_order() -> None:
    inputs = images(6).float()
    change = torch.tensor([[0.3, -0.2, 0.4, 0.0]]).expand(6, 4)
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    found = jitter(inputs, change, orders, torch.full((6,), 3), hue=False)
    apply = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    factors = (1.3, 0.8, 1.4)
    for image, order, row in zip(inputs / 255, orders.tolist(), found, strict=True):
        for step in order:
            image = apply[step](image, factors[step])
        torch.testing.assert_close(row, image * 255, rtol=0, atol=0.1)
    torch.testing.assert_close(found, jitter(inputs, change, orders, torch.full((6,), 3)), rtol=0, atol=0.01)


def test_colour_jitter_stays_within_its_strength() -> None:
    grey = torch.full((500, 3, 4, 4), 100, dtype=torch.uint8)
    torch.manual_seed(0)
    found = ColourJitter(0.4, 0.0, 0.0)(batch_of(grey)).inputs
    assert 60 <= found.min() < 64 and 136 < found.max() <= 140
    assert torch.equal(ColourJitter(0.0, 0.0, 0.0)(batch_of(images())).inputs, images())
    turned = ColourJitter(0.0, 0.0, 0.0, 0.1)(batch_of(images())).inputs
    assert (turned != images()).any()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: RandomResizedCrop(0), "size must be at least 1"),
        (lambda: RandomResizedCrop(8, [0.5, 0.1]), "scale must be two rising shares"),
        (lambda: RandomResizedCrop(8, [0.0, 1.0]), "scale must be two rising shares"),
        (lambda: RandomResizedCrop(8, ratio=[0.0, 1.0]), "ratio must be two rising aspects"),
        (lambda: Flip(1.5), "probability must lie between 0 and 1"),
        (lambda: ColourJitter(brightness=2.0), "brightness must lie between 0 and 1"),
        (lambda: ColourJitter(hue=0.6), "hue must lie between 0 and 0.5"),
    ],
)
def test_values_that_make_no_sense_are_refused(build: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()  # type: ignore[operator]
