"""Network with an auxiliary classifier, which reads the same features and predicts at test time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ltrun.network.plain import classify
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Outputs


class Auxiliary(Network):
    """images -> backbone -> features -> two classifiers, both made by the classifier slot.

    experts: (2, B, C), the logits of the classifier and of the auxiliary classifier. logits and head: the classifier's in
    training mode, so that the losses of a run train it; the auxiliary classifier's in evaluation mode, so that it predicts.
    Only the term 'auxiliary' trains it.

    Lee et al., 2021, arXiv 2110.10368.
    """

    provides = Network.provides | {"experts", "auxiliary"}
    terms = ("auxiliary",)

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.backbone = backbone
        self.head, self.auxiliary_head = make_head(backbone.features), make_head(backbone.features)

    @property
    def features(self) -> int:
        return self.backbone.features

    def encode(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)

    def decide(self, features: Tensor) -> Outputs:
        found = classify(self.head, features), classify(self.auxiliary_head, features)
        experts = torch.stack([outputs.need("logits") for outputs in found])
        return replace(found[0 if self.training else 1], experts=experts)
