"""Random erasing, grey and blur: places, shares and pixels."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomErasing as Reference
from torchvision.transforms.functional import gaussian_blur

from ltrun.augmentation import Blur, Grey, RandomErasing
from ltrun.augmentation.blur import blurred
from ltrun.augmentation.grey import greyed
from ltrun.errors import ConfigError
from tests.support.photographs import SHAPES, assert_close, batch_of, photographs


def test_erased_rectangles_have_torchvisions_distribution() -> None:
    torch.manual_seed(0)
    images = torch.full((4000, 3, 32, 32), 7, dtype=torch.uint8)
    hole = RandomErasing(probability=1.0, fill=0)(batch_of(images)).inputs == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    rows, columns = hole[:, 0].any(2), hole[:, 0].any(1)
    assert torch.equal(hole[:, 0], rows[:, :, None] & columns[:, None, :]), "not a rectangle"
    found = torch.stack([rows.int().argmax(1), columns.int().argmax(1), rows.sum(1), columns.sum(1)], dim=1).float()
    draws = [Reference.get_params(images[0], (0.02, 0.33), (0.3, 1 / 0.3), [0.0])[:4] for _ in range(4000)]
    expected = torch.tensor(draws).float()
    torch.testing.assert_close(found.mean(0), expected.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(found.std(0), expected.std(0), rtol=0, atol=0.4)


def test_half_of_the_images_get_noise() -> None:
    torch.manual_seed(0)
    images = torch.full((2000, 1, 16, 16), 7, dtype=torch.uint8)
    found = RandomErasing()(batch_of(images)).inputs
    changed = (found != 7).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.5, abs=0.05)
    noise = found[found != 7].float()
    assert noise.min() < 3 and noise.max() > 252 and noise.mean() == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize("shape", SHAPES)
def test_grey_images_are_pillows(shape: tuple[int, int, int]) -> None:
    images, torch_grey = photographs(6, shape), []
    for image in images:
        page = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).convert("L")
        torch_grey.append(torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).view(1, *shape[1:]).expand(shape))
    assert torch.equal(greyed(images), torch.stack(torch_grey))


def test_a_share_of_the_images_turns_grey() -> None:
    torch.manual_seed(0)
    found = Grey(0.2)(batch_of(photographs(1).expand(2000, -1, -1, -1))).inputs
    assert (found[:, 0] == found[:, 2]).flatten(1).all(1).float().mean() == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_has_torchvisions_pixels_inside_the_image(sigma: float) -> None:
    images = photographs(3)
    expected = gaussian_blur(images, [13, 13], [sigma, sigma])
    found = blurred(images, torch.full((3,), sigma), 6)
    assert_close(found[..., 6:-6, 6:-6], expected[..., 6:-6, 6:-6], levels=1, exact=0.95)


def test_blur_is_drawn_for_half_of_the_images_and_scales_with_the_side() -> None:
    torch.manual_seed(0)
    images = photographs(1, (1, 8, 8)).expand(1000, -1, -1, -1)
    found = Blur(largest=2.0, smallest=0.4)(batch_of(images)).inputs
    assert (found != images).flatten(1).any(1).float().mean() == pytest.approx(0.5, abs=0.06)
    rough = [(page[..., 1:] - page[..., :-1]).abs().sum((1, 2, 3)) for page in (found.float(), images[:1].float())]
    weakest = blurred(images[:1], torch.tensor([0.5]), 6).float()  # a sixteenth of the side
    least = (weakest[..., 1:] - weakest[..., :-1]).abs().sum()
    assert rough[0].min() >= 0.99 * least and rough[0].max() <= rough[1].max()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomErasing(probability=2.0),
        lambda: RandomErasing(smallest=0.5),
        lambda: RandomErasing(narrowest=0.0),
        lambda: RandomErasing(fill=256),
        lambda: Grey(-0.1),
        lambda: Blur(1.1),
        lambda: Blur(smallest=3.0),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="must"):
        make()  # type: ignore[operator]
