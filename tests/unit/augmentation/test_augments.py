"""Augments and mixers: shape, random draws and invalid arguments, and pixels compared with torchvision."""

from collections.abc import Callable
from itertools import product
from unittest.mock import patch

import pytest
import torch
from torch.nn import functional as F

from ltrun.augmentation import (
    CMO,
    CUDA,
    AugMix,
    AutoAugment,
    Blur,
    ColourJitter,
    CropFlip,
    Cutout,
    Grey,
    Mixup,
    RandAugment,
    RandomErasing,
    Rotation,
    SimCLR,
    TrivialAugment,
)
from ltrun.augmentation.crop_flip import crop_flip
from ltrun.augmentation.geometry import affine, rotation
from ltrun.data import Normalise
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Mixer
from ltrun.types import Batch, Labels
from tests.support.photographs import SHAPES, batch_of, photographs


def cuda() -> CUDA:
    part = CUDA(num_classes=2)
    part.level.fill_(4)
    return part


def lt_table() -> RandAugment:
    return RandAugment("long_tailed", 2, 14.0, 0.0, 1.0, 0)


def autoaugment() -> AutoAugment:
    return AutoAugment("long_tailed")


def randaugment() -> RandAugment:
    return RandAugment("timm")


AUGMENTS: list[Callable[[], Augment]] = [
    CropFlip, Rotation, Cutout, autoaugment, SimCLR, ColourJitter, randaugment, lt_table, TrivialAugment, AugMix, RandomErasing,
    Blur, cuda,
]  # fmt: skip
COLOURED: list[Callable[[], Augment]] = [Grey]
MIXERS: dict[str, Callable[[], Mixer]] = {"mixup": Mixup, "cmo": CMO, "always": lambda: CMO(probability=1.0)}


@pytest.mark.parametrize("make", AUGMENTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_augment_changes_only_pixels_and_in_a_copy(make: Callable[[], Augment], shape: tuple[int, int, int]) -> None:
    images = photographs(64, shape)
    batch, before = batch_of(images), images.clone()
    torch.manual_seed(1)
    first = make()(batch)
    torch.manual_seed(1)
    second = make()(batch)
    assert first.inputs.dtype == torch.uint8 and first.inputs.shape == images.shape
    assert torch.equal(images, before), "the augment wrote into the store's pixels"
    assert torch.equal(first.inputs, second.inputs), "the augment drew from a generator other than torch's own"
    assert first.targets is batch.targets and first.rows is batch.rows
    assert not torch.equal(first.inputs, images)


@pytest.mark.parametrize("make", AUGMENTS)
def test_each_image_has_its_own_draw(make: Callable[[], Augment]) -> None:
    torch.manual_seed(0)
    results = make()(batch_of(photographs(1).expand(64, -1, -1, -1))).inputs
    assert len(results.flatten(1).unique(dim=0)) > 16


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("make", [*AUGMENTS, *COLOURED, *MIXERS.values()])
def test_an_augment_never_waits_for_the_device(make: Callable[[], Augment | Mixer], device: str) -> None:
    """Fake tensors have no values: `.item()`, a branch or a shape that depends on data, or a stray CPU tensor raises.

    On a CPU, whose eager steps may look at values, this is a step that is compiled.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), patch.object(torch.compiler, "is_compiling", return_value=device == "cpu"):
        part = make().to(device)
        images = torch.empty(4, 3, 32, 32, dtype=torch.uint8, device=device)
        labels = Labels(torch.empty(4, 1, dtype=torch.long, device=device), torch.empty(4, 1, device=device))
        batch = Batch(images, labels, torch.empty(4, dtype=torch.long, device=device))
        if isinstance(part, Mixer):
            floats = batch.replace(inputs=images.float())
            result = part({"main": floats, "tail": floats})["main"]
        else:
            result = part(batch)
        assert result.inputs.device.type == result.targets.weight.device.type == device


@pytest.mark.parametrize(
    "make",
    [
        lambda: CropFlip(padding=-1),
        lambda: Rotation(degrees=-1.0),
        lambda: Cutout(size=0),
        lambda: AutoAugment("long_tailed", fill=256),
        lambda: SimCLR(smallest=0.0),
        lambda: SimCLR(jitter=1.5),
        lambda: SimCLR(hue=0.6),
        lambda: Mixup(alpha=0.0),
        lambda: CMO(probability=2.0),
        lambda: CMO(beta=0.0),
        lambda: CMO(plain=0.5),
        lambda: Normalise([0.5], [0.0], in_channels=1, channels_last=True),
        lambda: Normalise([0.5, 0.5], [0.1], in_channels=2, channels_last=True),
        lambda: Normalise([], [], in_channels=1, channels_last=True),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="must"):
        make()


def test_crop_flip_draws_every_legal_crop_and_no_other() -> None:
    padding, image = 2, torch.arange(1, 37, dtype=torch.uint8).view(1, 6, 6)
    padded = F.pad(image, [padding] * 4)
    legal = {
        tuple((crop.flip(-1) if flip else crop).flatten().tolist()): (top, left, flip)
        for top, left, flip in product(range(2 * padding + 1), range(2 * padding + 1), (False, True))
        for crop in [padded[:, top : top + 6, left : left + 6]]
    }
    assert len(legal) == 50
    torch.manual_seed(0)
    results = CropFlip(padding=padding)(batch_of(image.expand(5000, -1, -1, -1))).inputs.flatten(1).tolist()
    counts = dict.fromkeys(legal, 0)
    for result in results:
        counts[tuple(result)] += 1  # a KeyError is an illegal crop
    assert min(counts.values()) > 50 and max(counts.values()) < 160  # 100 each; 5 standard deviations are 50


def test_crop_flip_without_flip_never_mirrors() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 4, 4).expand(500, -1, -1, -1)
    results = CropFlip(padding=1, flip=False)(batch_of(image)).inputs.long()
    rightwards = results[..., 1:] - results[..., :-1]
    inner = (results[..., 1:] > 0) & (results[..., :-1] > 0)
    assert (rightwards[inner] == 1).all()
    assert torch.equal(CropFlip(padding=0, flip=False)(batch_of(image)).inputs, image)


def test_crop_flip_fills_with_black_and_moves_channels_together() -> None:
    images = photographs(2).clamp(min=1)
    moved = crop_flip(images, torch.tensor([3, -2]), torch.tensor([-1, 4]), torch.tensor([False, True]))
    assert torch.equal(moved[0, :, :29, 1:], images[0, :, 3:, :31]) and moved[0, :, 29:].sum() == moved[0, :, :, 0].sum() == 0
    assert torch.equal(moved[1, :, 2:, 4:], images[1, :, :30, 4:].flip(-1)) and moved[1, :, :, :4].sum() == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_matches_torchvision(shape: tuple[int, int, int]) -> None:
    from torchvision.transforms import functional as reference

    angles = torch.tensor([-180.0, -90.0, -33.3, -15.0, -7.1, -0.5, 0.0, 3.2, 12.9, 15.0, 90.0])
    images = photographs(len(angles), shape)
    expected = torch.stack([reference.rotate(image, float(angle)) for image, angle in zip(images, angles, strict=True)])
    same = (affine(images, rotation(angles)) == expected).flatten(1).float().mean(1)
    assert same.min() >= 0.99  # a source point halfway between two pixels may be rounded either way


def test_rotation_angles_are_uniform_over_the_given_range() -> None:
    image = torch.zeros(1, 1, 101, 101, dtype=torch.uint8)
    image[..., 50, 90:] = 255  # a mark 40 pixels to the right of the centre
    torch.manual_seed(0)
    results = Rotation(degrees=15.0)(batch_of(image.expand(400, -1, -1, -1))).inputs.float()
    rows = torch.arange(101.0) - 50
    weights = results[:, 0, :, 90:95]
    heights = (weights * rows[:, None]).sum((1, 2)) / weights.sum((1, 2))
    angles = torch.atan2(heights, torch.tensor(42.0)).rad2deg()
    assert angles.abs().max() < 15.8
    assert angles.max() > 14 and angles.min() < -14 and angles.mean().abs() < 2
    assert angles.std() == pytest.approx(30 / 12**0.5, rel=0.1)


@pytest.mark.parametrize(("size", "side", "hole"), [(16, 32, 16), (8, 32, 8), (16, 8, 4)])
def test_cutout_blackens_one_clipped_square(size: int, side: int, hole: int) -> None:
    images = torch.full((2000, 3, side, side), 7, dtype=torch.uint8)
    torch.manual_seed(0)
    black = Cutout(size=size)(batch_of(images)).inputs == 0
    assert torch.equal(black[:, 0], black[:, 1]) and torch.equal(black[:, 0], black[:, 2])
    rows, columns = black[:, 0].any(2), black[:, 0].any(1)
    assert torch.equal(black[:, 0], rows[:, :, None] & columns[:, None, :])
    lengths = rows.sum(1)
    assert lengths.max() == columns.sum(1).max() == hole and lengths.min() == hole // 2
    assert black.float().mean((0, 1)).amin() > 0, "some pixels are never cut"
    shares = (lengths == hole).float().mean()
    assert shares == pytest.approx((side - hole + 1) / side, abs=0.05)


def test_normalise_matches_torchvision() -> None:
    from torchvision.transforms import functional as reference

    mean, std = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    expected = reference.normalize(images.float().div(255), mean, std)
    result = Normalise(mean, std, in_channels=len(mean), channels_last=False)(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
