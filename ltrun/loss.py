"""Classification loss, composed of margins, logit adjustments, class weights and a criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import TrainingError
from ltrun.parts import Adjust, Criterion, Term, Weigh
from ltrun.types import Column, Labels, Outputs, Streams


class SoftmaxCrossEntropy(Criterion):
    """-log softmax(logits)[label]."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


class Classification(Term):
    """The classification loss: adjusts change the logits, weighs scale the losses of the rows.

    sum_m sum_i weight[i,m] * w(i,m) * criterion(adjust(logits, y_m), y_m)[i] / norm_m, with M weighted labels per row, the
    adjusts applied in order, w the product of the weighs, and norm_m the sum over the batch of the product of the weighs
    whose `mean` is 'weights', or B if there is none.
    """

    def __init__(self, *, adjusts: Sequence[Adjust] = (), weighs: Sequence[Weigh] = (), criterion: Criterion | None = None):
        super().__init__()
        self.criterion = criterion or SoftmaxCrossEntropy()
        self.adjusts = nn.ModuleList(adjusts)
        self.weighs = nn.ModuleList(weighs)

    def loss(self, logits: Tensor, targets: Labels, outputs: Outputs) -> Tensor:
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
            if weigh.mean == "weights":
                normaliser = weights if normaliser is None else normaliser * weights
        return losses.sum() / (len(labels) if normaliser is None else normaliser.sum())

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
