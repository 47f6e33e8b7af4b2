"""The loss of a step as one pure function of the streams: augmentation, mixing, network, terms. The compile boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import TrainingError
from ltrun.parts import Adjust, Augment, Criterion, Mixer, Network, Term, Weigh
from ltrun.precision import Precision
from ltrun.types import Batch, Labels, Outputs, Streams


class SoftmaxCrossEntropy(Criterion):
    """-log softmax(logits)[label]."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")


class Classification(Term):
    """The class-sensitive loss that margin, logit adjustment and re-weighting are parts of.

    sum_m sum_i weight[i,m] * w(i,m) * criterion(adjust(logits, y_m), y_m)[i] / norm_m, with M weighted labels a row, the
    adjusts applied one after the other, w the product of the weighs, and norm_m the sum over the batch of those weighs whose
    `mean` is 'weights', or B where there is none.
    """

    def __init__(self, *, adjusts: Sequence[Adjust] = (), weighs: Sequence[Weigh] = (), criterion: Criterion | None = None):
        super().__init__()
        self.criterion = criterion or SoftmaxCrossEntropy()
        self.adjusts = nn.ModuleList(adjusts)
        self.weighs = nn.ModuleList(weighs)

    def loss(self, logits: Tensor, targets: Labels, outputs: Outputs) -> Tensor:
        """A scalar. logits: (B, C), those of `outputs` or of one expert."""
        columns = zip(targets.index.unbind(1), targets.weight.unbind(1), strict=True)
        return torch.stack([self._column(logits, labels, weight, outputs) for labels, weight in columns]).sum()

    def _column(self, logits: Tensor, labels: Tensor, share: Tensor, outputs: Outputs) -> Tensor:
        for adjust in self.adjusts:
            logits = shaped(adjust, adjust(logits, labels, outputs), logits.shape)
        losses = shaped(self.criterion, self.criterion(logits, labels, outputs), labels.shape) * share
        normaliser: Tensor | None = None
        for weigh in self.weighs:
            weights = shaped(weigh, weigh(logits, labels, outputs), labels.shape)
            losses = losses * weights
            if weigh.mean == "weights":
                normaliser = weights if normaliser is None else normaliser * weights
        return losses.sum() / (len(labels) if normaliser is None else normaliser.sum())

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output = outputs["main"]
        assert output.logits is not None
        return self.loss(output.logits, streams["main"].targets, output)


def shaped(part: nn.Module, result: Tensor, shape: torch.Size) -> Tensor:
    """The result of a part, unless it has a shape that would only fit by repeating numbers. Raises TrainingError."""
    if not isinstance(result, Tensor):
        raise TrainingError(
            f"{type(part).__name__} returns {type(result).__name__}; a tensor of shape {tuple(shape)} is needed"
        )
    if result.shape != shape:
        raise TrainingError(
            f"{type(part).__name__} returns a tensor of shape {tuple(result.shape)}, where {tuple(shape)} is needed"
        )
    return result


class Objective(nn.Module):
    """streams of uint8 batches -> the value of each term, 'total', the outputs, and the streams as the terms saw them."""

    def __init__(
        self,
        network: Network,
        normalise: nn.Module,
        augments: Mapping[str, Sequence[Augment]],
        mixers: Mapping[str, Mixer],
        terms: Mapping[str, Term],
        weights: Mapping[str, float],
        precision: Precision,
    ):
        super().__init__()
        self.network, self.normalise, self.weights, self.precision = network, normalise, dict(weights), precision
        self.augments = nn.ModuleDict({name: nn.Sequential(*chain) for name, chain in augments.items()})
        self.mixers, self.terms = nn.ModuleDict(dict(mixers)), nn.ModuleDict(dict(terms))
        self.need = list(dict.fromkeys(name for term in terms.values() for name in term.streams))

    def forward(self, streams: Streams) -> tuple[dict[str, Tensor], dict[str, Outputs], Streams]:
        prepared: Streams = {name: self._prepare(name, batch) for name, batch in streams.items()}
        for mixer in self.mixers.values():
            prepared = mixer(prepared)
        with self.precision.autocast():
            outputs = self.network(prepared, self.need)
        return self.values(outputs, prepared), outputs, prepared

    def values(self, outputs: Mapping[str, Outputs], prepared: Streams) -> dict[str, Tensor]:
        """The weighted value of each term, and 'total'."""
        values = {
            name: self.weights[name] * shaped(term, term(outputs, prepared), torch.Size()) for name, term in self.terms.items()
        }
        return values | {"total": torch.stack(list(values.values())).sum()}

    def _prepare(self, name: str, batch: Batch) -> Batch:
        for augment in cast(nn.Sequential, self.augments[name]):
            batch = augment(batch)
            if batch.inputs.dtype != torch.uint8:
                raise TrainingError(f"{type(augment).__name__} returns images of {batch.inputs.dtype}, where uint8 is needed")
        return batch.replace(inputs=self.normalise(batch.inputs))
