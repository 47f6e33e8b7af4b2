"""MAMix: mixup whose label shares leave a wider margin to the rarer class of a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.mixup import beta_of, draw_partners, draw_share, mixup
from ltrun.parts import Mixer
from ltrun.types import Batch, ClassStats, Streams


def label_share(keep: Tensor, own: Tensor, other: Tensor, omega: float) -> Tensor:
    """(B,) weight of a row's own label, given the share `keep` of its image. own, other: (B,) images of the two classes.

    Linear from 1, where the partner has no share, to 1/2, where it has own^omega / (own^omega + other^omega), to 0.
    """
    turn = (omega * (own.to(keep.dtype).log() - other.to(keep.dtype).log())).sigmoid()  # of powers that may overflow
    partner, tiny = 1 - keep, torch.finfo(keep.dtype).tiny
    return torch.where(partner < turn, 1 - partner / (2 * turn).clamp(min=tiny), keep / (2 * (1 - turn)).clamp(min=tiny))


class MAMix(Mixer):
    """Margin-aware mixup: the label turns to the other class later, the rarer a row's own class is.

    keep ~ Beta(alpha, alpha), drawn once per batch; the partners are a random permutation of the batch. A mixed image has half
    of each label where the partner's share is n_i^omega / (n_i^omega + n_j^omega), which is above 1/2 for a rarer class i:
    omega = -0.25 is the power of LDAM's margins, and 0 is mixup. Rows that an earlier mixer mixed count as their first label.

    Cheng et al., 2023, arXiv 2308.15457.
    """

    alpha: Tensor
    counts: Tensor

    def __init__(self, alpha: float = 1.0, omega: float = -0.25, *, stats: ClassStats):
        super().__init__()
        self.omega = omega
        self.register_buffer("alpha", beta_of(alpha), persistent=False)
        self.register_buffer("counts", stats.counts.clone(), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        keep, partner = draw_share(self.alpha), draw_partners(main)
        own = self.counts[main.targets.labels]
        return {**streams, "main": mixup(main, partner, keep, label_share(keep, own, own[partner], self.omega))}
