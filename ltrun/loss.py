"""Classification loss, composed of margins, logit adjustments, class weights and a criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import TrainingError
from ltrun.metrics import BOTH
from ltrun.parts import Adjust, Criterion, Term, Weigh
from ltrun.types import Column, Outputs, Streams, Targets


class CrossEntropy(Criterion):
    """-log softmax(logits)[label] of one label per row; binary cross-entropy of each sigmoid(logit) where rows have several."""

    accepts = BOTH

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        if labels.ndim == 2:
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
        return F.cross_entropy(logits, labels, reduction="none")


class Classification(Term):
    """The classification loss: adjusts change the logits, weighs scale the losses of the rows.

    sum_m sum_i weight[i,m] * w(i,m) * criterion(adjust(logits, y_m), y_m)[i] / norm_m, with M weighted labels per row, the
    adjusts applied in order, w the product of the weighs, and norm_m the sum over the batch of the product of the weighs
    whose `mean` is 'weights', or B if there is none. Where rows have several labels, M is 1, the losses and weights are (B, C),
    and the sum is divided by B x C, unless criterion and weighs say otherwise.
    """

    accepts = BOTH

    def __init__(self, *, adjusts: Sequence[Adjust] = (), weighs: Sequence[Weigh] = (), criterion: Criterion | None = None):
        super().__init__()
        self.criterion = criterion or CrossEntropy()
        self.adjusts = nn.ModuleList(adjusts)
        self.weighs = nn.ModuleList(weighs)

    def loss(self, logits: Tensor, targets: Targets, outputs: Outputs) -> Tensor:
        """Returns a scalar. logits: (B, C), of `outputs` or of one expert."""
        return torch.stack([self._column(column, outputs) for column in targets.columns(logits)]).sum()

    def _column(self, column: Column, outputs: Outputs) -> Tensor:
        logits, labels = column.logits, column.labels
        for adjust in self.adjusts:
            adjusted = expect_shape(adjust, adjust(logits, labels, outputs), logits.shape, logits.device)
            if not adjusted.is_floating_point():
                raise TrainingError(f"{type(adjust).__name__} returns {adjusted.dtype}, where {logits.dtype} is needed")
            logits = adjusted
        losses = (
            expect_shape(self.criterion, self.criterion(logits, labels, outputs), labels.shape, labels.device) * column.share
        )
        normaliser: Tensor | None = None
        for weigh in self.weighs:
            weights = expect_shape(weigh, weigh(logits, labels, outputs), labels.shape, labels.device)
            losses = losses * weights
            if (weigh.mean if labels.ndim == 1 else weigh.mean_of_entries) == "weights":
                normaliser = weights if normaliser is None else normaliser * weights
        count = labels.numel() if self.criterion.mean == "entries" else len(labels)
        return losses.sum() / (count if normaliser is None else normaliser.sum())

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output = outputs["main"]
        return self.loss(output.need("logits"), streams["main"].targets, output)


def expect_shape(part: nn.Module, result: Tensor, shape: torch.Size, device: torch.device) -> Tensor:
    """Returns the part's result. Raises TrainingError unless it is a dense, real tensor of this shape on this device."""
    if not isinstance(result, Tensor):
        raise TrainingError(
            f"{type(part).__name__} returns {type(result).__name__}; a tensor of shape {tuple(shape)} is needed"
        )
    if result.shape != shape:
        raise TrainingError(
            f"{type(part).__name__} returns a tensor of shape {tuple(result.shape)}, where {tuple(shape)} is needed"
        )
    if result.is_complex() or result.device != device or result.layout is not torch.strided:
        found = f"{result.dtype} on {result.device} ({result.layout})"
        raise TrainingError(f"{type(part).__name__} returns {found}, where real numbers on {device} are needed")
    return result
