"""DisAlign: calibration of a frozen classifier's logits, with a scale and a bias per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.parts import Head, Part


def aligned(logits: Tensor, confidence: Tensor, scales: Tensor, biases: Tensor) -> Tensor:
    """(B, C): (1 + confidence * scales) * logits + confidence * biases. logits: (B, C); confidence: (B, 1); rest: (C,)."""
    return (1 + confidence * scales) * logits + confidence * biases


class DisAlign(Head):
    """Distribution alignment: learns a scale and an offset per class for a head's logits, weighted by a confidence per image.

    The confidence is the sigmoid of a linear layer of the features, whose weights start at 0.1; scales start at 1, offsets
    at 0. The logits thus start as (1 + confidence) times the wrapped head's: the same ranking, sharper. The stage freezes the
    wrapped head (decoupling=disalign). `classes` holds the wrapped head's weights, because the calibration of an image is not
    linear in its features.

    Zhang et al., 2021, arXiv 2103.16370.
    """

    accepts = Part.accepts  # a factor and an offset of a class leave the order of its scores

    def __init__(self, *, head: Head):
        super().__init__()
        classes, features = head.classes.shape
        self.scale = head.scale
        self.head = head
        self.scales, self.biases = nn.Parameter(torch.ones(classes)), nn.Parameter(torch.zeros(classes))
        self.confidence = nn.Linear(features, 1)
        nn.init.constant_(self.confidence.weight, 0.1)

    def forward(self, features: Tensor) -> Tensor:
        return aligned(self.head(features), self.confidence(features).sigmoid(), self.scales, self.biases)

    @property
    def classes(self) -> Tensor:
        return self.head.classes
