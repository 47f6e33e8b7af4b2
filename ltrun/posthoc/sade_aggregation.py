"""SADE's test-time aggregation: expert weights learnt from test images without their labels."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Augment, Evidence, PostHoc
from ltrun.types import Outputs, seed_of


def aggregate(experts: Tensor, trust: Tensor) -> Tensor:
    """(B, C): mean of the experts' logits (E, B, C), weighted by softmax(trust). trust: (E,)."""
    return (trust.softmax(0)[:, None, None] * experts).sum(0)


def agreement(first: Tensor, second: Tensor, trust: Tensor) -> Tensor:
    """A scalar: mean cosine of the predicted distributions for two views of the same images, each (E, B, C)."""
    one, other = (aggregate(view, trust).softmax(1) for view in (first, second))
    return F.cosine_similarity(one, other, dim=1, eps=1e-6).mean()


def improve(trust: Tensor, optimizer: torch.optim.Optimizer, first: Tensor, second: Tensor) -> Tensor:
    """Moves `trust` one step towards more agreement; returns the agreement before the step."""
    optimizer.zero_grad()
    with torch.enable_grad():
        before = agreement(first, second, trust)
        before.neg().backward()
    optimizer.step()
    return before.detach()


class SADEAggregation(PostHoc):
    """SADE's aggregation: weights the experts so that their joint prediction is stable under augmentation of the test images.

    Learns only the experts' weights, softmax(a), starting from a = 1 / E. Each epoch draws two augmented views of every test
    image, shuffles the images into batches, and updates `a` by SGD (Nesterov, weight decay on `a`) towards a larger cosine
    between the two predicted distributions. Ends after `epochs`, or when a weight, rounded to two decimals, is below `stop`.
    Sees test inputs, which the table marks, but no test labels.

    views: null augments like the main stream, which for `method=sade` on CIFAR means crop, flip and a rotation by up to 15
    degrees. The authors' CIFAR script has no rotation; besides crop and flip it has colour jitter (0.4, 0.4, 0.4, 0.1;
    probability 0.8), grey (0.2) and blur (0.1 to 2 pixels; 0.2), as in `posthoc=sade_aggregation_jitter`. Their script draws
    views of training images that follow the test distribution; here, as in the paper, views are of the test images.

    Zhang et al., 2022, arXiv 2107.09249.
    """

    sees = frozenset({"test_inputs"})
    reads = frozenset({"experts"})
    trust: Tensor

    def __init__(
        self,
        epochs: int = 5,
        batch_size: int = 128,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        stop: float = 0.05,
        views: Augment | None = None,
    ):
        super().__init__()
        if epochs < 1 or batch_size < 1:
            raise ConfigError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
        if lr <= 0 or weight_decay < 0:
            raise ConfigError(f"lr must be above 0 and weight_decay not negative, got {lr} and {weight_decay}")
        if not 0 < momentum < 1:
            raise ConfigError(f"momentum must be between 0 and 1, got {momentum}")
        self.epochs, self.batch_size, self.stop, self.views = epochs, batch_size, stop, views
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.register_buffer("trust", torch.empty(0))

    def optimizer(self, trust: Tensor) -> torch.optim.Optimizer:
        return torch.optim.SGD([trust], self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=True)

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        for epoch in range(self.epochs):
            first, second = (self._view(splits["test_inputs"], 2 * epoch + k) for k in (0, 1))
            if epoch == 0:
                self.trust = torch.full((len(first),), 1 / len(first), device=first.device).requires_grad_()
                optimizer = self.optimizer(self.trust)
            generator = torch.Generator().manual_seed(seed_of("sade_aggregation", epoch))
            order = torch.randperm(first.shape[1], generator=generator).to(first.device)  # images may be sorted by class
            for rows in order.split(self.batch_size):
                improve(self.trust, optimizer, first[:, rows], second[:, rows])
            if (self.trust.detach().softmax(0).round(decimals=2) < self.stop).any():
                break
        self.trust = self.trust.detach()

    @staticmethod
    def _view(evidence: Evidence, epoch: int) -> Tensor:
        experts = evidence.outputs(augment=True, epoch=epoch).need("experts")
        return experts

    def forward(self, outputs: Outputs) -> Tensor:
        return aggregate(outputs.need("experts"), self.trust)
