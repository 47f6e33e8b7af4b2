"""Knowledge review of LTRL: a network distils its own predictions of the previous epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.parts import Term
from ltrun.transfer.divergence import check_temperature, divergence
from ltrun.types import ClassStats, Outputs, Streams


def review(previous: Tensor, current: Tensor, labels: Tensor, known: Tensor, temperature: float) -> Tensor:
    """A scalar: T ** 2 * the mean of KL(softmax(previous / T) || softmax(current / T)) over rows that were right.

    previous, current: (B, C) logits. known: (B,) whether a row has a previous prediction. 0 if no row was right.
    """
    right = ((previous.argmax(dim=1) == labels) & known).to(previous.dtype)
    rows = divergence(previous, current, temperature)
    return temperature**2 * (rows * right).sum() / right.sum().clamp(min=1)


def last_of_each(rows: Tensor) -> Tensor:
    """(B,): for each entry of `rows` (B,) the place of the last entry with its value, so that repeats write one value."""
    places = torch.arange(len(rows), device=rows.device)
    return ((rows[:, None] == rows) * places).amax(dim=1)


def per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C): the logits of each row, divided by the number of rows of its class in the batch."""
    return logits / (labels[:, None] == labels).sum(dim=1, keepdim=True)


class KnowledgeReview(Term):
    """LTRL's knowledge review: T ** 2 * KL from the prediction of the same image in the previous epoch, where it was right.

    A memory holds the logits of each training image when it was last drawn: (N, C) float32, 4 MB for CIFAR-100-LT, 463 MB for
    ImageNet-LT, 14 GB for iNaturalist 2018. As in the authors' code, logits are divided by the number of their class's images
    in the batch before they are stored and compared, so that a tail class is reviewed sharply and a head class, most of whose
    images were right, faintly; without it the preset falls from 91.4 to 80.1 % on digits_lt (2 seeds). The first epoch has
    nothing to review, whereas the code counts every image as predicted class 0 before. The weight is 1 in the authors' form
    with balanced softmax, 3 with SADE and RIDE, whose mean logits are reviewed.

    Zhao et al., 2024, arXiv 2407.12568.
    """

    mixed = False
    acts_from = 1
    memory: Tensor
    known: Tensor

    def __init__(self, temperature: float = 2.0, *, stats: ClassStats):
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        images = int(stats.counts.sum())
        self.register_buffer("memory", torch.zeros(images, stats.num_classes))
        self.register_buffer("known", torch.zeros(images, dtype=torch.bool))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        batch = streams["main"]
        previous, known = self.memory[batch.rows], self.known[batch.rows]
        labels = batch.targets.labels
        return review(previous, per_image(outputs["main"].need("logits"), labels), labels, known, self.temperature)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        rows = streams["main"].rows
        logits = per_image(outputs["main"].need("logits"), streams["main"].targets.labels)
        self.memory[rows] = logits.to(self.memory.dtype)[last_of_each(rows)]
        self.known.index_fill_(0, rows, True)
