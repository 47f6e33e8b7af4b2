"""Class shares of unlabelled images, as far as the labelled images tell them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Shares = Literal["complement", "labelled", "uniform"]
"""What is assumed of the unlabelled images.

complement: n_max - n_c of class c, the images that a long tail leaves over from balanced data: the reverse of the labelled
shares, none of the largest class. That is CIFAR's pool, exactly, and closely that of the digits. labelled: the shares of the
labelled images, as the authors of CReST, DARP and ABC assume of theirs. uniform: as many of each class.
"""


def pool_shares(counts: Tensor, shares: Shares) -> Tensor:
    """(C,) float64: the assumed share of each class in the unlabelled images. counts: (C,) labelled images per class.

    Labelled images of equal number in each class have no complement; its shares are uniform then.
    """
    counts = counts.double()
    found = {"complement": counts.max() - counts, "labelled": counts, "uniform": torch.ones_like(counts)}[shares]
    return found / found.sum() if found.any() else torch.full_like(counts, 1 / len(counts))
