"""Knowledge summary of LTRL: labels softened by the similarity of the classes' features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.transfer.knowledge_review import last_of_each
from ltrun.types import ClassStats, Outputs, Streams, View

UNSEEN = -1  # label of an image that has not been drawn


def class_medians(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C, D): the lower median of each feature over the rows of each class, 0 for a class without rows.

    features: (N, D). labels: (N,), UNSEEN for a row to ignore. Uses no loop over classes.
    """
    by_value = features.argsort(dim=0, stable=True)
    by_class = by_value.gather(0, labels[by_value].argsort(dim=0, stable=True))  # by class, and by value within a class
    counts = torch.bincount(labels + 1, minlength=num_classes + 1)
    first = (counts.cumsum(0) - counts)[1:]
    middle = (first + (counts[1:] - 1).clamp(min=0) // 2).clamp(max=len(labels) - 1)
    found = features.gather(0, by_class[middle])
    return torch.where(counts[1:, None] > 0, found, 0.0)


def soft_labels(medians: Tensor, labels: Tensor) -> Tensor:
    """(B, C): softmax over classes of the cosine similarity between the label's median features (C, D) and each class's."""
    unit = F.normalize(medians, dim=1)
    return (unit[labels] @ unit.T).softmax(dim=1)


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """A scalar: the mean of -sum(soft * log softmax(logits)). A class whose logit is masked by -inf takes no part."""
    log_p = logits.log_softmax(dim=1)
    return -(soft * log_p.masked_fill(log_p == -torch.inf, 0.0)).sum(dim=1).mean()


class KnowledgeSummary(Term):
    """LTRL's knowledge summary: the run's classification loss with softened labels.

    The label is (1 - share) * one-hot + share * softmax over classes of the cosine similarity between the label's and each
    class's median features in the last epoch. The first epoch has no features, and labels are smoothed by first_share evenly.
    The logits are adjusted for the image's own label, as for the hard label; class weights act on the hard label alone. The
    features of each training image when it was last drawn are stored: (N, D) float32. A class that was not drawn has similarity
    0 to all others.

    Zhao et al., 2024, arXiv 2407.12568.
    """

    mixed = False
    reads = frozenset({"logits", "features"})
    features: Tensor
    labels: Tensor
    medians: Tensor
    share: Tensor

    def __init__(
        self,
        share: float = 0.01,
        first_share: float = 0.1,
        *,
        stats: ClassStats,
        features: int,
        classify: Classification,
    ):
        super().__init__()
        if not 0 <= share <= 1 or not 0 <= first_share <= 1:
            raise ConfigError(f"share and first_share must lie between 0 and 1, got {share} and {first_share}")
        self.later, self.classify = share, classify
        images = int(stats.counts.sum())
        self.register_buffer("features", torch.zeros(images, features))
        self.register_buffer("labels", torch.full((images,), UNSEEN))
        self.register_buffer("medians", torch.zeros(stats.num_classes, features))
        self.register_buffer("share", torch.tensor(first_share))

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        if view.clock.epoch > 0:
            self.medians.copy_(class_medians(self.features, self.labels, len(self.medians)))
            self.share.fill_(self.later)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, labels = outputs["main"], streams["main"].targets.labels
        logits = output.need("logits")
        for adjust in self.classify.adjusts:
            logits = adjust(logits, labels, output)
        soft = soft_cross_entropy(widened(logits), soft_labels(self.medians, labels))
        return (1 - self.share) * self.classify(outputs, streams) + self.share * soft

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        batch = streams["main"]
        last = last_of_each(batch.rows)
        self.features[batch.rows] = outputs["main"].need("features").to(self.features.dtype)[last]
        self.labels[batch.rows] = batch.targets.labels
