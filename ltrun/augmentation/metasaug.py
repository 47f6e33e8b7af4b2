"""MetaSAug: implicit semantic augmentation along covariances that a balanced batch corrects before each step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ltrun.augmentation.isda import isda_logits
from ltrun.augmentation.moments import Covariance, RunningMoments
from ltrun.errors import ConfigError
from ltrun.margin.ldam import ldam_logits, ldam_margins
from ltrun.numerics import widened
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, Streams, View


class MetaSAug(Adjust):
    """Meta semantic augmentation: ISDA whose covariances are moved so that a step lowers the loss of a balanced batch.

    Before each step `Bilevel` differentiates the loss of stream `meta`, after a virtual step, by the covariances, and moves
    them one step down that gradient: `change`, which holds for the real step. As in the authors' code, the next step starts
    from the running estimate again, without the change, and the estimate takes in each batch after its step, unlike ISDA's.
    The margins are LDAM's, subtracted from ordinary logits, because the authors' scale of 30 is never applied; max_margin = 0
    is their variant with cross-entropy. The strength rises linearly over the stage from initial * strength to strength: the
    authors' grows from epoch 0 of 200 and acts from epoch 160. covariance: see RunningMoments; the authors keep diagonals on
    ImageNet.

    Stream `meta` draws balanced batches from the training images; the authors hold out ten further images of each class.

    Li et al., 2021, arXiv 2103.12579.
    """

    outer = True
    reads = frozenset({"logits", "features", "head", "products"})
    margins: Tensor
    ratio: Tensor

    def __init__(
        self,
        strength: float = 0.75,
        initial: float = 0.8,
        max_margin: float = 0.5,
        covariance: Covariance | None = None,
        *,
        stats: ClassStats,
        features: int,
    ):
        super().__init__()
        if strength < 0 or max_margin < 0:
            raise ConfigError(f"strength and max_margin must not be negative, got {strength} and {max_margin}")
        if not 0 <= initial <= 1:
            raise ConfigError(f"initial must be a share of the strength, from 0 to 1, got {initial}")
        self.strength, self.initial = strength, initial
        self.moments = RunningMoments(stats.num_classes, features, covariance)
        self.change = nn.Parameter(torch.zeros_like(self.moments.covariances))
        self.register_buffer("margins", ldam_margins(stats.counts, max_margin).float())
        self.register_buffer("ratio", torch.tensor(initial * strength))

    def adapt(self, view: View) -> None:
        self.ratio.fill_(self.strength * (self.initial + (1 - self.initial) * view.clock.progress))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        covariances = self.moments.covariances + self.change
        shifted = isda_logits(widened(logits), labels, widened(outputs.need("head")), covariances, self.ratio)
        return ldam_logits(shifted, labels, self.margins, 1.0)

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        self.moments.store(self.moments.with_step(outputs["main"], streams))
        self.change.zero_()
