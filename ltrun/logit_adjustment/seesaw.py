"""Seesaw loss: mitigates the penalty of frequent on rare classes, and compensates where a class is confused."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.targets import one_label
from ltrun.types import Outputs, Streams


def seesaw_logits(logits: Tensor, labels: Tensor, counts: Tensor, p: float, q: float, eps: float) -> Tensor:
    """(B, C): adds log(mitigation * compensation) to the logit of every class j but the label y. counts: (C,) images seen.

    mitigation: (n_j / n_y) ** p where j was seen less often than y, else 1; a count is at least 1. compensation:
    (s_j / s_y) ** q where j is likelier than y, else 1; the probability s_y is at least eps. The factors get no gradient.
    """
    seen = counts.clamp(min=1).log().to(logits.dtype)
    scores = F.log_softmax(logits.detach(), dim=1)
    own = scores.gather(1, labels[:, None]).clamp(min=math.log(eps))
    factor = p * (seen - seen[labels][:, None]).clamp(max=0) + q * (scores - own).clamp(min=0)
    is_label = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    return logits + factor.masked_fill(is_label, 0)


class Seesaw(Adjust):
    """Seesaw loss: lowers a label's penalty on classes with fewer images, and raises it on classes with a higher score.

    The counts are the images seen since training began, including the current batch. The forward pass adds the batch without
    storing it; `after_step` stores it, each label by its share of the row. So a loss that runs several times in a step, once
    per expert, counts its batch once. If rows have several labels, the loss of one column of labels counts that column's batch
    in full, and the other columns from the next step on. The objectness branch of detection is left out.

    Wang et al., 2021, arXiv 2008.10032.
    """

    balances = True
    counts: Tensor

    def __init__(self, p: float = 0.8, q: float = 2.0, eps: float = 0.01, *, num_classes: int):
        super().__init__()
        for name, value in (("p", p), ("q", q)):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        if not 0 < eps <= 1:
            raise ConfigError(f"eps must be a probability above 0, got {eps}")
        self.p, self.q, self.eps = p, q, eps
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.float64))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        counts = self.counts.index_add(0, labels, torch.ones_like(labels, dtype=self.counts.dtype))
        return seesaw_logits(logits.float(), labels, counts, self.p, self.q, self.eps)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        targets = one_label(streams["main"].targets)
        self.counts.index_add_(0, targets.index.flatten(), targets.weight.flatten().to(self.counts.dtype))
