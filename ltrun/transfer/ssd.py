"""SSD: self-supervision to distillation, from a contrastively trained teacher to a student with two heads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.queue import check_length, enqueue
from ltrun.transfer.divergence import check_temperature, divergence
from ltrun.transfer.moco import info_nce
from ltrun.types import ClassStats, Outputs, Streams

EMPTY = -1  # label of an empty slot of the queue


def labelled_contrast(
    query: Tensor, key: Tensor, queue: Tensor, labels: Tensor, queue_labels: Tensor, temperature: float
) -> Tensor:
    """A scalar: the mean of -log(p), the share of a row's own key among it and the keys of other classes in the queue.

    query, key: (B, P), queue: (Q, P), all unit vectors. labels: (B,), queue_labels: (Q,), EMPTY for a slot to ignore.
    """
    return info_nce(query, key, queue, (labels[:, None] != queue_labels) & (queue_labels != EMPTY), temperature)


class LabelledContrast(Term):
    """SSD's self-supervision: contrasts two views of an image, with the earlier keys of other classes as negatives.

    The query is the embedding of `main`, the key the embedding of `key`, another view through the slow network. Keys of the
    query's own class are no negatives. queue: number of slots, new keys replace the oldest; null for as many as training
    images, as in the authors' settings for ImageNet-LT. Empty slots are ignored; the authors' queue starts with random vectors
    of class 0. dim: length of the embedding.

    Li et al., 2021, arXiv 2109.04075.
    """

    streams = ("main", "key")
    reads = frozenset({"embedding"})
    mixed = False
    keys: Tensor
    key_labels: Tensor
    cursor: Tensor

    def __init__(self, temperature: float = 0.2, queue: int | None = None, dim: int = 128, *, stats: ClassStats):
        super().__init__()
        check_temperature(temperature)
        size = int(stats.counts.sum()) if queue is None else queue
        if size < 1 or dim < 1:
            raise ConfigError(f"queue and dim must be above 0, got {queue} and {dim}")
        self.temperature = temperature
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("key_labels", torch.full((size,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, key = widened(outputs["main"].need("embedding")), widened(outputs["key"].need("embedding"))
        check_length(self.keys, key)
        labels = streams["main"].targets.labels
        with torch.autocast(key.device.type, enabled=False):
            return labelled_contrast(query, key, self.keys, labels, self.key_labels, self.temperature)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key, labels = outputs["key"].need("embedding"), streams["key"].targets.labels
        enqueue(self.cursor, (self.keys, key), (self.key_labels, labels))


class SSD(Term):
    """SSD's student: the run's classification loss on the hard head, and the teacher's prediction on the soft head.

    The network is `TwoHeads`, whose experts are the hard and the soft head. The loss is the classification loss of the hard
    head plus `weight` times KL(softmax(teacher / T) || softmax(soft / T)), the mean over the batch, without a factor T ** 2;
    weight = 4 is T ** 2. At test time the soft head predicts. The authors' teacher sits in a module in training mode, so that
    its normalisation uses batches; here it is in evaluation mode.

    Li et al., 2021, arXiv 2109.04075.
    """

    teachers = ("teacher",)
    reads = frozenset({"logits", "experts"})

    def __init__(self, temperature: float = 2.0, weight: float = 4.0, *, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        if weight < 0:
            raise ConfigError(f"weight must not be negative, got {weight}")
        self.temperature, self.weight, self.classify = temperature, weight, classify

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, teacher = outputs["main"], outputs["teacher"].need("logits")
        hard, soft = output.need("experts")[0], output.need("logits")
        labelled = partial(self.classify.loss, targets=streams["main"].targets, outputs=output)
        return labelled(hard) + self.weight * divergence(teacher, soft, self.temperature).mean()
