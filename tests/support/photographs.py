"""Synthetic photographs for the tests of augmentation: structure at several scales, batches, tolerances."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.types import Batch, ClassStats, Clock, Labels, View
from tests.support.cases import blind_view

SHAPES = [(3, 32, 32), (1, 8, 8), (3, 20, 12)]


def batch_of(images: Tensor, labels: Tensor | None = None) -> Batch:
    labels = torch.zeros(len(images), dtype=torch.long) if labels is None else labels
    return Batch(images, Labels.hard(labels), torch.arange(len(images)))


def photographs(count: int, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> Tensor:
    """Returns uint8 noise with structure at several scales; white noise would equalise and blur to almost nothing."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 3, 3, generator=generator)
    smooth = F.interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1) * 200
    return (smooth + 55 * torch.rand(count, *shape, generator=generator)).to(torch.uint8)


def view(epoch: int, epochs: int) -> View:
    stats = ClassStats(torch.tensor([4, 2]))
    return blind_view(Clock("joint", epoch, epochs), stats)


def assert_close(result: Tensor, expected: Tensor, levels: int, exact: float = 0.0) -> None:
    """Asserts that pixels differ by at most so many of 256 levels, and that at least the share `exact` of them are equal."""
    difference = (result.float() - expected.float()).abs()
    assert difference.max() <= levels
    assert (difference == 0).float().mean() >= exact
