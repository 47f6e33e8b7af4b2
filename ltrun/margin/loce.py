"""LOCE: equilibrium margins, from the running mean classification score of each class."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.targets import one_label
from ltrun.types import Outputs, Streams

FIRST_SCORE = 0.01  # initial score of every class, as in the authors' code; equal scores give no margin
LEAST_SCORE = 1e-12  # keeps the logarithm finite where a class is never recognised


def equilibrium_logits(logits: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """(B, C): adds to each logit j the margin log(s_j / s_y) of class j against the label y. scores: (C,) in (0, 1]."""
    logs = scores.clamp(min=LEAST_SCORE).log().to(logits.dtype)
    return logits + logs - logs[labels][:, None]


def mean_scores(scores: Tensor, found: Tensor, labels: Tensor, shares: Tensor, momentum: float) -> Tensor:
    """(C,): scores, updated by rows with the probability `found` (B,) of their label; shares: (B,), how much each row counts.

    A class with n rows keeps momentum ** n of its score; the rest comes from the mean of its rows.
    """
    n = torch.zeros_like(scores).index_add(0, labels, shares)
    means = torch.zeros_like(scores).index_add(0, labels, shares * found) / n.clamp(min=torch.finfo(n.dtype).tiny)
    kept = momentum**n
    return kept * scores + (1 - kept) * means


class LOCE(Adjust):
    """Equilibrium loss: gives the label y a margin of log(s_j / s_y) against every class j, larger if y is poorly recognised.

    The score s_c is the running mean of the probability that rows of class c give to c, including the current batch; all
    scores start equal. The forward pass adds the batch without storing it; `after_step` stores it, by the shares of mixed
    labels, and once for several experts. The memory-augmented feature sampling of the paper and the background class of
    detection are left out. The authors fine-tune the classifier of a detector with this loss; here it trains the whole network.

    Feng et al., 2021, arXiv 2108.07507.
    """

    balances = True
    scores: Tensor

    def __init__(self, momentum: float = 0.9, *, num_classes: int):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum}")
        self.momentum = momentum
        self.register_buffer("scores", torch.full((num_classes,), FIRST_SCORE))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        logits = logits.to(self.scores.dtype)
        found = logits.detach().softmax(1).gather(1, labels[:, None])[:, 0]
        scores = mean_scores(self.scores, found, labels, torch.ones_like(found), self.momentum)
        return equilibrium_logits(logits, labels, scores)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        logits, targets = outputs["main"].need("logits"), one_label(streams["main"].targets)
        found = logits.to(self.scores.dtype).softmax(1).gather(1, targets.index)
        rows = (found.flatten(), targets.index.flatten(), targets.weight.flatten())
        self.scores.copy_(mean_scores(self.scores, *rows, self.momentum))
