"""Mixup: convex combinations of pairs of images and of their labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Gamma

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Mixer
from ltrun.types import Batch, Streams


def beta_of(alpha: float, name: str = "alpha") -> Tensor:
    """Returns the parameter of Beta(alpha, alpha) as `draw_share` takes it. Raises ConfigError unless it is above 0."""
    if alpha <= 0:
        raise ConfigError(f"{name} must be above 0, got {alpha}")
    return torch.tensor(alpha, dtype=torch.float64)


def draw_share(alpha: Tensor, *shape: int) -> Tensor:
    """Draws from Beta(alpha, alpha): a scalar, or a tensor of a shape. alpha: scalar float64, in which small values do not
    underflow to 0 / 0.

    Uses a ratio of gammas, because compilers cannot trace torch's own Beta, which has no shape rule.
    """
    one, other = Gamma(alpha.expand(2, *shape), torch.ones_like(alpha), validate_args=False).sample().unbind()
    return (one / (one + other)).float()


def draw_partners(batch: Batch) -> Tensor:
    """(B,) row of the partner of each row: a random permutation of the batch."""
    return torch.rand(len(batch), device=batch.inputs.device).argsort()


def mixup(batch: Batch, partner: Tensor, keep: Tensor, share: Tensor | None = None) -> Batch:
    """Mixes each image, in a share `keep` (a scalar or (B,)), with the row `partner` (B,), in a share 1 - keep.

    share: (B,) weight of its own labels; `keep` unless given.
    """
    rows = keep.expand(len(batch))
    pixels = rows.view(-1, *[1] * (batch.inputs.ndim - 1))
    return batch.replace(
        inputs=pixels * batch.inputs + (1 - pixels) * batch.inputs[partner],
        targets=batch.targets.mix(batch.targets.take(partner), rows if share is None else share),
    )


class Mixup(Mixer):
    """mixup: trains on keep * image + (1 - keep) * another image of the batch, with both labels in the same shares.

    keep ~ Beta(alpha, alpha), drawn once per batch as in the authors' code; the partners are a random permutation of the
    batch, so an image may be its own partner. With class weights, each of the two losses has its own divisor.

    Zhang et al., 2017, arXiv 1710.09412.
    """

    accepts = BOTH
    alpha: Tensor

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.register_buffer("alpha", beta_of(alpha), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        keep = draw_share(self.alpha)
        return {**streams, "main": mixup(main, draw_partners(main), keep)}
