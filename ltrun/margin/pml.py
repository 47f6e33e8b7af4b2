"""PML: progressive margins, learnt from the class centres, the scatter of each class, and their last changes."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.margin.loce import mean_scores
from ltrun.parts import Adjust
from ltrun.targets import one_label
from ltrun.types import Outputs, Streams

VARIATIONAL_SHARE = 0.1  # weight of the variational margin; the ordinal one has weight 1, as in the authors' code
LEAST_WIDTH = 0.01  # lower bound of the ordinal margin's bell width, in cosine distance
MOMENTUM = 0.9  # of the running scatter, per row


def class_statistics(centres: Tensor, scatter: Tensor) -> Tensor:
    """(C, 2): each class's scatter, and its mean cosine distance to all classes. centres: (C, D) of length 1. scatter: (C,)."""
    return torch.stack([scatter, 1 - centres @ centres.mean(0)], dim=1)


def ordinal_margins(distances: Tensor, means: Tensor, widths: Tensor) -> Tensor:
    """(B, C): normal density of each row, with its mean and width (B,), at its label's distances to the classes (B, C)."""
    standard = (distances - means[:, None]) / widths[:, None]
    return (-standard.square() / 2).exp() / (math.sqrt(2 * math.pi) * widths[:, None])


def progressive_margins(ordinal: Tensor, variational: Tensor, strength: float) -> Tensor:
    """(B, C): ordinal (B, C) plus a tenth of variational (C,), standardised to mean 0 and deviation `strength` in each row."""
    margins = ordinal + VARIATIONAL_SHARE * variational
    spread = margins.std(1, keepdim=True) if margins.shape[1] > 1 else torch.ones_like(margins)
    return strength * (margins - margins.mean(1, keepdim=True)) / spread.clamp(min=1e-6)


class PML(Adjust):
    """Progressive margin loss: subtracts from the cosine of every class a margin that two small networks learn with the loss.

    The first reads each class's statistics V and gives the label's ordinal margin, a bell over its distances to the classes;
    the second reads the change of V since the previous step and gives each class's variational margin. The sum is standardised
    over the classes, as in the authors' code; their strength of 0.01 applies to the cosine here.

    The authors classify ages. Differences, because class labels have no order and may be thousands:
    1. The bell lies over cosine distances between classes, not over years.
    2. The centre of a class is its class weight, not a running mean of features.
    3. V is each class's scatter (the running cosine distance of its rows to the centre) and its mean distance to the others,
       read by one network for all classes, not by a convolution over all centres at once.
    4. The loss is the run's own, not a divergence from smoothed ages and an error in years.

    Deng et al., 2021, arXiv 2103.02140.
    """

    reads = frozenset({"logits", "cosines", "head"})
    scatter: Tensor
    before: Tensor

    def __init__(self, strength: float = 0.01, scale: float = 30.0, hidden: int = 16, *, num_classes: int):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, got {strength}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        if not 1 <= hidden <= 10**6:
            raise ConfigError(f"hidden must be at least 1 and at most a million, got {hidden}")
        self.strength, self.scale = strength, scale
        self.ordinal = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.variational = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.register_buffer("scatter", torch.ones(num_classes))
        self.register_buffer("before", torch.ones(num_classes, 2))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        centres = self._centres(outputs)
        statistics = class_statistics(centres, self.scatter)
        means, widths = self.ordinal(statistics[labels]).unbind(1)
        distances = 1 - centres[labels] @ centres.T
        ordinal = ordinal_margins(distances, means, F.softplus(widths) + LEAST_WIDTH)
        variational = self.variational(statistics - self.before)[:, 0]
        margins = progressive_margins(ordinal, variational, self.strength)
        return self.scale * (logits.to(self.scatter.dtype) / outputs.scale - margins)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        self.before.copy_(class_statistics(self._centres(output), self.scatter))
        distances = 1 - (output.need("logits").to(self.scatter.dtype) / output.scale).gather(1, targets.index)
        rows = (distances.flatten(), targets.index.flatten(), targets.weight.flatten())
        self.scatter.copy_(mean_scores(self.scatter, *rows, MOMENTUM))

    def _centres(self, outputs: Outputs) -> Tensor:
        return F.normalize(outputs.need("head").detach().to(self.scatter.dtype), dim=1)
