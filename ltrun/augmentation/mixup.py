"""Mixup: convex combinations of pairs of images and of their labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Gamma

from ltrun.errors import ConfigError
from ltrun.parts import Mixer
from ltrun.types import Batch, Streams


def draw_share(alpha: Tensor) -> Tensor:
    """Draws a scalar from Beta(alpha, alpha). alpha: scalar float64, in which small values do not underflow to 0 / 0.

    Uses a ratio of gammas, because compilers cannot trace torch's own Beta, which has no shape rule.
    """
    one, other = Gamma(alpha.expand(2), torch.ones_like(alpha), validate_args=False).sample().unbind()
    return (one / (one + other)).float()


def mixup(batch: Batch, partner: Tensor, keep: Tensor) -> Batch:
    """Mixes each image and its labels, in a share `keep` (a scalar), with the row `partner` (B,), in a share 1 - keep."""
    return batch.replace(
        inputs=keep * batch.inputs + (1 - keep) * batch.inputs[partner],
        targets=batch.targets.mix(batch.targets.take(partner), keep.expand(len(batch))),
    )


class Mixup(Mixer):
    """mixup: trains on keep * image + (1 - keep) * another image of the batch, with both labels in the same shares.

    keep ~ Beta(alpha, alpha), drawn once per batch as in the authors' code; the partners are a random permutation of the
    batch, so an image may be its own partner.

    Zhang et al., 2017, arXiv 1710.09412.
    """

    alpha: Tensor

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        if alpha <= 0:
            raise ConfigError(f"alpha must be above 0, got {alpha}")
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        keep = draw_share(self.alpha)
        partner = torch.rand(len(main), device=main.inputs.device).argsort()
        return {**streams, "main": mixup(main, partner, keep)}
