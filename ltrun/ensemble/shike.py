"""SHIKE's loss: experts learn from each other, and from the logits of all experts for the classes that are not the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import Labels, Outputs, Streams

EXCLUDED = -30.0  # the logit of the label among the classes that are not the label


def mutual(experts: Tensor) -> Tensor:
    """A scalar: the sum over ordered pairs of experts of KL(softmax(one) || softmax(other)), a mean over rows.

    experts: (E, B, C). Both experts of a pair get gradient.
    """
    log = F.log_softmax(experts, dim=2)
    own, others = (log.exp() * log).sum(), torch.einsum("ibc,jbc->", log.exp(), log)
    return (len(experts) * own - others) / experts.shape[1]


def hardest_negatives(experts: Tensor, labels: Tensor) -> Tensor:
    """(B,): the sum over experts of KL(softmax(R) || softmax(logits without the label)).

    experts: (E, B, C). labels: (B, C), one-hot. R: the largest logit of any expert, but for the hardest class that is
    not the label the mean logit, and for the label 0; an expert's own logit of the label is -30. All get gradient.
    """
    others = 1 - labels
    mean = EXCLUDED * labels + experts.mean(dim=0) * others
    hardest = F.one_hot(mean.argmax(dim=1), labels.shape[1])
    target = experts.amax(dim=0) * (1 - hardest) * others + mean * hardest
    own = F.log_softmax(experts * others + EXCLUDED * labels, dim=2)
    log = F.log_softmax(target, dim=1)
    return (log.exp() * (log - own)).sum(dim=(0, 2))


def shike(
    experts: Tensor, labels: Labels, base: Callable[[Tensor], Tensor], hardest: float = 0.1, exchange: float = 0.01
) -> Tensor:
    """A scalar: base(logits (B, C)) summed over the experts (E, B, C), and the two divergences with their weights.

    Each of several labels of a row counts by its weight.
    """
    loss = torch.stack([base(logits) for logits in experts]).sum()
    if hardest:
        columns = zip(labels.index.unbind(1), labels.weight.to(experts).unbind(1), strict=True)
        rows = [share * hardest_negatives(experts, F.one_hot(index, experts.shape[2])) for index, share in columns]
        loss = loss + hardest * torch.stack(rows).sum(dim=0).mean()
    return loss + exchange * mutual(experts) if exchange else loss


class SHIKE(Term):
    """SHIKE: sums the run's classification loss over experts, and adds what experts learn from each other.

    exchange: weight of the divergences between each two experts. hardest: weight of the divergences from the experts' best
    knowledge of the classes that are not the label, with the hardest of them lowered to its mean logit. Both are means over
    rows; the authors weigh means over rows and classes by 10 and 1, which is 0.1 and 0.01 for the 100 classes of their code.
    Nothing is detached: experts learn both as teachers and as students.

    Jin et al., 2023, arXiv 2304.01279.
    """

    reads = frozenset({"experts"})

    def __init__(self, hardest: float = 0.1, exchange: float = 0.01, *, classify: Classification):
        super().__init__()
        if hardest < 0 or exchange < 0:
            raise ConfigError(f"hardest and exchange must not be negative, got {hardest} and {exchange}")
        self.hardest, self.exchange, self.classify = hardest, exchange, classify

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        experts = output.need("experts")
        base = partial(self.classify.loss, targets=targets, outputs=output)
        return shike(experts, targets, base, self.hardest, self.exchange)
