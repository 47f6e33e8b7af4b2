"""ABC: an auxiliary classifier on the same features, which sees each class equally often and predicts at test time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.transfer.fixmatch import confident, consistency, probability
from ltrun.transfer.pool_shares import Shares, pool_shares
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest

AUXILIARY = 1  # its logits in Outputs.experts, after the other classifier's


def keep_rates(counts: Tensor) -> Tensor:
    """(C,) float64: n_min / n_c, the probability with which an image of class c counts, 1 for the rarest class.

    A class without images counts as the rarest class with images.
    """
    counts = as_rarest(counts).double()
    return counts.min() / counts


def balanced_cross_entropy(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """A scalar: the mean over all B rows of kept * cross-entropy. logits: (B, C). labels, kept: (B,)."""
    return (F.cross_entropy(logits, labels, reduction="none") * kept).mean()


def drawn(probabilities: Tensor) -> Tensor:
    """(B,): 1 with the given probability, else 0."""
    return (torch.rand_like(probabilities) < probabilities).to(probabilities.dtype)


class ABC(Term):
    """Auxiliary balanced classifier, labelled part: its cross-entropy on images that count with the probability n_min / n_y.

    The mean is over the whole batch, so images that do not count make the loss smaller. Gradients reach the backbone. Without
    `ABCConsistency` and FixMatch this is the supervised form, for data without unlabelled images. The network must have an
    auxiliary classifier: ltrun.network.Auxiliary.

    Lee et al., 2021, arXiv 2110.10368, equation 2.
    """

    reads = frozenset({"auxiliary"})
    balances = True
    rates: Tensor

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("rates", keep_rates(stats.counts).float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        logits = widened(outputs["main"].need("experts")[AUXILIARY])
        columns = [
            balanced_cross_entropy(column.logits, column.labels, drawn(self.rates[column.labels]) * column.share)
            for column in streams["main"].targets.columns(logits)
        ]
        return torch.stack(columns).sum()


class ABCConsistency(Term):
    """Auxiliary balanced classifier, unlabelled part: its prediction for a weak view is the soft label of two strong views.

    An image counts if the largest probability reaches the threshold, and then with the probability of its likeliest class c:
    1 - epoch / epochs * (1 - n_min / n_c), 1 at first and n_min / n_c at last. The losses of both views are added. n_c are by
    default the labelled images, as in the paper: the rates answer the classifier's bias, which comes from them, whatever the
    shares of the unlabelled images. On the digits, three seeds, held-out validation images agree: 87.7 %, 83.0 % for `uniform`
    and 67.0 % for `complement`.

    FixMatch trains the other classifier with one of the strong views; the authors average its losses for both.

    Lee et al., 2021, arXiv 2110.10368, equation 4.
    """

    streams = ("weak", "strong", "again")
    reads = frozenset({"auxiliary"})
    rates: Tensor
    last: Tensor

    def __init__(self, threshold: float = 0.95, shares: Shares = "labelled", *, stats: ClassStats):
        super().__init__()
        self.threshold = probability(threshold)
        self.register_buffer("last", keep_rates(pool_shares(stats.counts, shares)).float(), persistent=False)
        self.register_buffer("rates", torch.ones_like(self.last))

    def adapt(self, view: View) -> None:
        self.rates.copy_(1 - view.clock.progress * (1 - self.last))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        weak, *strong = (widened(outputs[name].need("experts")[AUXILIARY]) for name in self.streams)
        labels = F.softmax(weak.detach(), dim=1)
        kept = confident(labels, self.threshold) * drawn(self.rates[labels.argmax(dim=1)]).to(labels.dtype)
        return torch.stack([consistency(logits, labels, kept) for logits in strong]).sum()
