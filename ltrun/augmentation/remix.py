"""Remix: mixup whose label goes to the rarer class of a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.mixup import beta_of, draw_partners, draw_share, mixup
from ltrun.errors import ConfigError
from ltrun.parts import Mixer
from ltrun.types import Batch, ClassStats, Streams


def label_share(keep: Tensor, own: Tensor, other: Tensor, kappa: float, tau: float) -> Tensor:
    """(B,) weight of a row's own label: 0 or 1 where one class of the pair is kappa times as frequent as the other and the
    rarer one has more than 1 - tau of the image; `keep` elsewhere. own, other: (B,) images of the two classes."""
    keep = keep.expand(own.shape)
    share = torch.where((kappa * own <= other) & (1 - keep < tau), 1.0, keep)
    return torch.where((own >= kappa * other) & (keep < tau), 0.0, share)


class Remix(Mixer):
    """Remix: mixup in which the rarer class of an unequal pair gets the whole label.

    Where one class has at least `kappa` times the images of the other, and the share of its image is below `tau`, the label is
    the rarer class alone; other pairs keep mixup's shares. keep ~ Beta(alpha, alpha), drawn once per batch; the partners are a
    random permutation. Rows that an earlier mixer mixed count as their first label. Bag of Tricks combines the shares with the
    mean loss of the batch, which loses the pairing of both; here each row has its own share, as in the paper.

    Chou et al., 2020, arXiv 2007.03943.
    """

    alpha: Tensor
    counts: Tensor

    def __init__(self, alpha: float = 1.0, kappa: float = 3.0, tau: float = 0.5, *, stats: ClassStats):
        super().__init__()
        if kappa < 1:
            raise ConfigError(f"kappa must be at least 1, the ratio of two class sizes, got {kappa}")
        if not 0 <= tau <= 1:
            raise ConfigError(f"tau must be a share of the image, from 0 to 1, got {tau}")
        self.kappa, self.tau = kappa, tau
        self.register_buffer("alpha", beta_of(alpha), persistent=False)
        self.register_buffer("counts", stats.counts.clone(), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        keep, partner = draw_share(self.alpha), draw_partners(main)
        own = self.counts[main.targets.labels]
        share = label_share(keep, own, own[partner], self.kappa, self.tau)
        return {**streams, "main": mixup(main, partner, keep, share)}
