"""TrivialAugment and AugMix: what they draw, and torchvision's mixture."""

import pytest
import torch

from ltrun.augmentation import AugMix, TrivialAugment
from ltrun.augmentation.aug_mix import mixed
from ltrun.augmentation.operations import INDEX
from ltrun.augmentation.tables import TRIVIAL
from ltrun.errors import ConfigError
from tests.support.photographs import assert_close, batch_of, photographs
from tests.support.pillow import by_pillow


def test_trivial_augment_applies_one_operation_of_31_magnitudes() -> None:
    torch.manual_seed(0)
    images = photographs(1, (3, 12, 12)).expand(8000, -1, -1, -1)
    found = TrivialAugment()(batch_of(images)).inputs
    solarized = {by_pillow(images[:1], "solarize", 255 - 8.5 * number).numpy().tobytes() for number in range(31)}
    posterized = {by_pillow(images[:1], "posterize", bits).numpy().tobytes() for bits in range(2, 9)}
    counts = [sum(image[None].numpy().tobytes() in known for image in found) for known in (solarized, posterized)]
    assert counts[0] > 8000 / 14 * 0.8 and counts[1] > 8000 / 14 * 0.8
    same = (found == images).flatten(1).all(1).float().mean()
    assert 1 / 14 < float(same) < 0.25, "the identity, and magnitudes that change nothing"


def test_a_mixture_is_torchvisions() -> None:
    """The weights of torchvision's AugMix.forward: a share for the image, the rest shared among the versions."""
    torch.manual_seed(0)
    images, versions = photographs(4), photographs(12, seed=1).view(3, 4, 3, 32, 32)
    own, shares = torch.rand(4), torch.rand(3, 4)
    shares = shares / shares.sum(0)
    m = torch.stack([own, 1 - own], dim=1).double()
    combined = shares.T.double() * m[:, 1].view(4, -1)
    mix = m[:, 0].view(4, 1, 1, 1) * images
    for number in range(3):
        mix.add_(combined[:, number].view(4, 1, 1, 1) * versions[number])
    assert_close(mixed(images, versions, own, shares), mix.to(torch.uint8), levels=1, exact=0.99)


def test_augmix_draws_shares_that_sum_to_one_and_low_magnitudes() -> None:
    torch.manual_seed(0)
    part = AugMix()
    shares = part._draw_shares(3, batch_of(photographs(1).expand(5000, -1, -1, -1)))
    torch.testing.assert_close(shares.sum(0), torch.ones(5000))
    torch.testing.assert_close(shares.mean(1), torch.full((3,), 1 / 3), rtol=0, atol=0.02)
    torch.testing.assert_close(shares.var(1), torch.full((3,), 1 / 18), rtol=0, atol=0.005)  # of Dirichlet(1, 1, 1)
    images = photographs(64)
    found = part(batch_of(images)).inputs
    assert (found != images).flatten(1).any(1).float().mean() > 0.9
    flat = torch.full((64, 3, 8, 8), 90, dtype=torch.uint8)
    assert AugMix(severity=1)(batch_of(flat)).inputs.float().mean() > 60, "magnitude 0 darkens little"


@pytest.mark.parametrize("bad", [{"severity": 11}, {"width": 0}, {"alpha": 0.0}, {"fill": -1}])
def test_impossible_mixtures_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(bad))} must"):
        AugMix(**bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^fill must"):
        TrivialAugment(fill=256)


def test_trivial_augment_knows_its_operations() -> None:
    assert set(TRIVIAL.values) < set(INDEX) and len(TRIVIAL.values) == 14
