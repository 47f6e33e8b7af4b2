"""SimCLR augmentation: crops, colours and blur as in torchvision, and single steps switched on or off."""

from itertools import permutations
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from ltrun.augmentation import SimCLR
from ltrun.augmentation.colour import HUE, greyscale, jitter, shift_hue
from ltrun.augmentation.geometry import draw_boxes, gaussian, separable, stretch
from ltrun.augmentation.operations import INDEX, apply
from tests.support.photographs import assert_close, batch_of, photographs


def test_stretch_matches_torchvisions_resized_crop() -> None:
    from torchvision.transforms import functional as reference

    boxes = [(0, 0, 32, 32), (3, 5, 20, 17), (31, 0, 1, 32), (10, 22, 15, 10)]  # top, left, height, width
    images = photographs(len(boxes))
    top, left, height, width = (torch.tensor(value, dtype=torch.float) for value in zip(*boxes, strict=True))
    result = separable(images.float(), stretch(top, height, 32), stretch(left, width, 32)).round()
    expected = torch.stack([reference.resized_crop(i, *b, [32, 32]) for i, b in zip(images, boxes, strict=True)])
    assert_close(result, expected, levels=1, exact=0.98)


def test_crop_boxes_lie_inside_the_image_and_follow_torchvisions_distribution() -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    top, left, height, width = draw_boxes(4000, 32, 32, 0.2, torch.device("cpu"))
    for value in (top, left, height, width):
        assert torch.equal(value, value.round())
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 32).all() and (left + width <= 32).all()
    image = torch.zeros(3, 32, 32)
    expected = torch.tensor([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]).float()
    drawn = torch.stack([top, left, height, width], dim=1)
    torch.testing.assert_close(drawn.mean(0), expected.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(drawn.std(0), expected.std(0), rtol=0, atol=0.35)
    quantiles = torch.linspace(0, 1, 11)
    torch.testing.assert_close(drawn.quantile(quantiles, 0), expected.quantile(quantiles, 0), rtol=0, atol=1.01)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_gaussian_blur_matches_torchvision_on_replicated_edges(sigma: float) -> None:
    from torchvision.transforms import functional as reference

    images = photographs(3)
    weights = gaussian(torch.full((3,), sigma), 32, 6)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 32))
    padded = F.pad(images.float(), [6] * 4, mode="replicate")
    expected = reference.gaussian_blur(padded, [13, 13], [sigma, sigma])[..., 6:-6, 6:-6]
    assert_close(separable(images.float(), weights, weights).round(), expected.round(), levels=1, exact=0.95)


def test_separable_keeps_float32_under_autocast() -> None:
    images, identity = photographs(2).float() + 0.123, torch.eye(32).expand(2, -1, -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = separable(images, identity, identity)
    assert result.dtype == torch.float32 and torch.equal(result, images)


def test_shift_hue_matches_torchvision() -> None:
    from torchvision.transforms import functional as reference

    turns = torch.tensor([-0.5, -0.1, -0.03, 0.0, 0.07, 0.1, 0.33, 0.5])
    images = photographs(len(turns))
    images[:, :, 0] = 90  # grey pixels have no hue
    expected = torch.stack([reference.adjust_hue(i, float(t)) for i, t in zip(images, turns, strict=True)])
    assert_close(shift_hue(images.float(), turns).round(), expected, levels=1)


def test_jitter_changes_colours_in_the_given_order() -> None:
    from torchvision.transforms import functional as reference

    adjust = [reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue]
    orders = list(permutations(range(4)))
    torch.manual_seed(0)
    images = photographs(len(orders))
    change = (2 * torch.rand(len(orders), 4) - 1) * torch.tensor([0.4, 0.4, 0.4, 0.1])
    without_hue = torch.tensor([[operation for operation in order if operation != HUE] for order in orders])
    place = torch.tensor([order.index(HUE) for order in orders])
    result = jitter(images.float(), change, without_hue, place)
    for row, order in enumerate(orders):
        expected = images[row].float() / 255
        for operation in order:
            expected = adjust[operation](expected, float(change[row, operation]) + (operation != HUE))
        assert_close(result[row].round(), (expected * 255).round(), levels=1, exact=0.99)


def simclr(flip: bool = False, jitter: float = 0.0, hue: float = 0.1, grey: float = 0.0, blur: float = 0.0) -> SimCLR:
    """SimCLR with only the given steps switched on; its jitter changes the hue alone."""
    return SimCLR(smallest=1.0, flip=flip, jitter=jitter, strength=0.0, hue=hue, grey=grey, blur=blur)


def test_simclr_with_everything_off_is_the_identity() -> None:
    images = photographs(16)
    assert torch.equal(simclr()(batch_of(images)).inputs, images)
    grey = simclr(grey=1.0)(batch_of(images)).inputs
    assert torch.equal(grey, greyscale(images.float()).round().to(torch.uint8).expand_as(images))
    mirrored = simclr(flip=True)(batch_of(images)).inputs
    as_is, turned = ((mirrored == other).flatten(1).all(1) for other in (images, images.flip(-1)))
    assert (as_is ^ turned).all() and as_is.any() and turned.any()


def test_colour_operations_leave_images_of_one_channel_alone() -> None:
    digits = photographs(32, (1, 8, 8))
    assert torch.equal(simclr(jitter=1.0, hue=0.5, grey=1.0)(batch_of(digits)).inputs, digits)
    operation = torch.full((32,), INDEX["color"])
    assert torch.equal(apply(digits, operation, torch.ones(32, dtype=torch.float64), fill=128), digits)


def test_simclr_blurs_small_images_less() -> None:
    torch.manual_seed(0)
    digits = photographs(64, (1, 8, 8))
    blurred = simclr(blur=1.0)(batch_of(digits)).inputs.float()
    assert not torch.equal(blurred, digits.float())
    assert (blurred.var((1, 2, 3)) / digits.float().var((1, 2, 3))).min() > 0.5


@pytest.mark.parametrize(
    ("augments", "flip"), [({"crop_flip": {"flip": False}}, False), ({"crop_flip": {}}, True), (None, True)]
)
def test_simclr_mirrors_only_where_the_data_set_allows_flips(augments: dict | None, flip: bool) -> None:
    option = OmegaConf.load(Path(__file__).parents[3] / "conf" / "augmentation" / "simclr.yaml")
    config = OmegaConf.create({"dataset": {"augments": augments}, "augmentation": option})
    assert config.augmentation.augments.simclr.flip is flip
