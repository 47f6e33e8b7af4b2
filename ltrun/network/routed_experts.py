"""Experts with a router, which decides image by image whether a further expert is asked."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.network.experts import Experts
from ltrun.numerics import in_float32, widened
from ltrun.parts import Head, Network, Piece
from ltrun.types import Outputs, View


def routed(logits: Tensor, asks: Tensor) -> tuple[Tensor, Tensor]:
    """The mean logits (B, C) of the experts that each image asked, and their number (B,).

    logits: (E, B, C). asks: (E - 1, B), whether expert i asks for the next one; an image stops at the first that does not.
    """
    runs = torch.cat([torch.ones_like(asks[:1]), asks]).cumprod(dim=0)
    used = runs.sum(dim=0)
    return (runs[:, :, None] * logits).sum(dim=0) / used[:, None], used


class Router(nn.Module):
    """RIDE's expert assignment: a logit above 0 asks for the next expert.

    For each expert but the last, a hidden layer of 16 reads its features, scaled to length 1; a layer that experts share reads
    it after the `top` largest mean logits of the experts so far, in falling order. top: all classes, if there are fewer.

    Wang et al., 2021, arXiv 2010.01809.
    """

    def __init__(self, features: list[int], top: int, num_classes: int, hidden: int = 16):
        super().__init__()
        self.top = min(top, num_classes)
        self.hidden = nn.ModuleList(nn.Linear(length, hidden) for length in features[:-1])
        self.output = nn.Linear(self.top + hidden, 1)
        for layer in (*self.hidden, self.output):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, index: int, features: Tensor, logits: Tensor) -> Tensor:
        """(B,): features (B, D) of expert `index`, and the mean logits (B, C) of the experts so far."""
        found = F.relu(self.hidden[index](F.normalize(features, dim=1)))
        most = logits.topk(self.top, dim=1).values
        return self.output(torch.cat([most, found], dim=1))[:, 0]


class RoutedExperts(Network):
    """Experts whose router decides, once it is trained, how many of them an image needs.

    As long as the experts train, and in training mode, all experts run and their mean predicts. Once a stage has frozen them,
    an image in evaluation mode begins with the first expert and goes on to the next while the router asks for it; the mean
    logits of its experts predict. Branches run on the images that need them alone. In this mode `experts` (E, B, C) are the
    predictions with at most 1, 2, ..., E experts, and there are no features. An exported graph computes all experts and gives
    the same predictions.

    Wang et al., 2021, arXiv 2010.01809.
    """

    provides = frozenset({"logits", "experts", "router"})
    adaptive = True
    routes: Tensor

    def __init__(self, network: Experts, top: int = 30, *, num_classes: int):
        super().__init__()
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}")
        self.network = network
        self.lengths, self.num_classes = network.lengths, num_classes
        self.router = Router(self.lengths, top, num_classes)
        self.register_buffer("routes", torch.zeros((), dtype=torch.bool))

    @property
    def features(self) -> int:
        return self.network.features

    def adapt(self, view: View) -> None:
        self.routes.fill_(not any(parameter.requires_grad for parameter in self.network.parameters()))

    def encode(self, inputs: Tensor) -> Tensor:
        return self.network.encode(inputs)

    def pieces(self) -> list[Piece]:
        return self.network.pieces()

    def decide(self, features: Tensor) -> Outputs:
        return self.network.decide(features)

    def asks(self, features: Tensor, experts: Tensor) -> Tensor:
        """(E - 1, B): the router's logits, of features (B, E * D), side by side, and logits (E, B, C) of all experts."""
        count = torch.arange(1, len(experts) + 1, device=experts.device)[:, None, None]
        means, parts = experts.cumsum(dim=0) / count, features.split(self.lengths, dim=1)
        return torch.stack([self.router(index, parts[index], means[index]) for index in range(len(experts) - 1)])

    def predict(self, inputs: Tensor) -> Outputs:
        if self.training:
            return self.decide(self.encode(inputs))
        if torch.compiler.is_compiling():
            return self._masked(inputs)
        return self._skipping(inputs) if self.routes else self.decide(self.encode(inputs))

    def _masked(self, inputs: Tensor) -> Outputs:
        """Computes all experts and leaves out those that an image does not need."""
        outputs = self.decide(self.encode(inputs))
        experts = outputs.need("experts")
        with torch.autocast(inputs.device.type, enabled=False):
            asks = (self.asks(outputs.need("features"), experts) > 0) | ~self.routes
        places = torch.arange(len(asks), device=asks.device)[:, None]
        within = [routed(experts, asks & (places < most))[0] for most in range(len(experts))]
        return Outputs(logits=within[-1], scale=outputs.scale, experts=torch.stack(within))

    def _skipping(self, inputs: Tensor) -> Outputs:
        """Runs each branch on the images that need it alone."""
        shared, experts = self.network.trunk(inputs), self.network
        rows = torch.arange(len(inputs), device=inputs.device)
        total, used = (torch.zeros(len(inputs), length, device=inputs.device) for length in (self.num_classes, 1))
        found: list[Tensor] = []
        for index, (branch, head) in enumerate(zip(experts.branches, experts.heads, strict=True)):
            if len(rows):
                features = widened(branch(shared[rows]))
                logits = in_float32(head, features)
                total = total.index_add(0, rows, logits)
                used[rows] += 1
            found.append(total / used)
            if len(rows) and index < len(experts.branches) - 1:
                with torch.autocast(inputs.device.type, enabled=False):
                    rows = rows[self.router(index, features, found[-1][rows]) > 0]
        return Outputs(logits=found[-1], scale=cast(Head, experts.heads[0]).scale, experts=torch.stack(found))
