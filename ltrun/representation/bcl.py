"""BCL: balanced contrast of two views, in which every class has the same share of the negatives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.network.plain import perceptron
from ltrun.numerics import in_float32, widened
from ltrun.parts import Term
from ltrun.types import Outputs, Streams


def balanced_contrast(anchors: Tensor, centres: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """A scalar: the mean over R anchors and their positives p of -(s_p - log sum_j exp(s_j) / b_j), s the cosine / temperature.

    anchors: (R, P), centres: (C, P), one of each class, all unit vectors. labels: (R,). Columns j are all other anchors and
    all centres; positives are those of the anchor's class. b_j is the number of columns of j's class, its centre included, and
    for a positive one fewer.
    """
    classes = torch.arange(len(centres), device=labels.device)
    own = labels[:, None] == classes
    columns = torch.cat([labels, classes])
    number = (own.to(anchors.dtype).sum(dim=0) + 1)[columns]
    itself = torch.eye(len(labels), len(columns), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == columns) & ~itself
    similarity = anchors @ torch.cat([anchors, centres]).T / temperature
    share = (number - positive.to(anchors.dtype)).log()
    log_sum = (similarity - share).masked_fill(itself, -torch.inf).logsumexp(dim=1)
    mean = torch.where(positive, similarity, 0.0).sum(dim=1) / positive.sum(dim=1)
    return (log_sum - mean).mean()


class BCL(Term):
    """Balanced contrastive learning, added to the classification loss: BalSCL of two further views and of class centres.

    The anchors are the embeddings of streams `first` and `second`. A centre is a class's weights in the classifier, passed
    through a perceptron of its own, as deep as the projector: D -> hidden -> dim, with batch normalisation over the classes. It
    is thrown away after training, and its gradient reaches the classifier. dim: length of the embedding. The paper's
    classification loss is logit-adjusted (logit_adjustment=balanced_softmax); its weights of the two losses are 1 and 0.35 on
    ImageNet-LT, where the temperature is 0.07.

    Zhu et al., 2022, arXiv 2207.09052.
    """

    streams = ("first", "second")
    reads = frozenset({"embedding", "head"})
    mixed = False

    def __init__(self, temperature: float = 0.1, hidden: int = 512, dim: int = 128, *, features: int):
        super().__init__()
        if temperature <= 0 or hidden < 1 or dim < 1:
            raise ConfigError(f"temperature, hidden and dim must be above 0, got {temperature}, {hidden}, {dim}")
        self.temperature = temperature
        self.centres = perceptron([features, hidden, dim], norm=True, tracks=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        anchors = torch.cat([widened(outputs[name].need("embedding")) for name in self.streams])
        centres = F.normalize(in_float32(self.centres, outputs["first"].need("head")), dim=1)
        if anchors.shape[1] != centres.shape[1]:
            raise ConfigError(f"dim must equal the projector's out, {anchors.shape[1]}, got {centres.shape[1]}")
        labels = torch.cat([streams[name].targets.labels for name in self.streams])
        with torch.autocast(anchors.device.type, enabled=False):
            return balanced_contrast(anchors, centres, labels, self.temperature)
