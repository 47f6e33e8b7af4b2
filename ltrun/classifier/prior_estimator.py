"""Classifier with prior estimation modules: linear layers that learn how frequent a class is, and correct the prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Head, Part


def centred_mean(priors: Tensor) -> Tensor:
    """(...): the mean over the K modules of values (K, ..., C), each less its mean over the classes. Zeros without modules."""
    return (priors - priors.mean(dim=-1, keepdim=True)).sum(dim=0) / max(1, len(priors))


class PriorEstimator(Head):
    """Adds `modules` linear layers to a classifier; their mean, centred over the classes, is added to the logits at test time.

    In training the logits are those of the wrapped classifier. Only the term of representation=npe trains the modules: the
    more images a class has, the further their output for it sinks. `classes` holds the weights of the wrapped classifier, in
    evaluation mode with the modules' part. The modules' weights start with a standard deviation of 0.001.

    Yavari and Moallem, 2026, arXiv 2602.17853.
    """

    accepts = Part.accepts  # for representation=npe
    provides = frozenset({"priors"})
    keeps = frozenset({"head", "products"})

    def __init__(self, modules: int = 1, *, head: Head):
        super().__init__()
        if modules < 1:
            raise ConfigError(f"modules must be at least 1, got {modules}")
        classes, features = head.classes.shape
        self.scale = head.scale
        self.head = head
        self.weight = nn.Parameter(1e-3 * torch.randn(modules, classes, features))
        self.bias = nn.Parameter(torch.zeros(modules, 1, classes))

    def priors(self, features: Tensor) -> Tensor:
        """(K, B, C): the output of each module for features (B, D)."""
        return features @ self.weight.transpose(1, 2) + self.bias

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits if self.training else logits + centred_mean(self.priors(features))

    @property
    def classes(self) -> Tensor:
        own = self.head.classes
        return own if self.training else own + centred_mean(self.weight.transpose(1, 2)).T
