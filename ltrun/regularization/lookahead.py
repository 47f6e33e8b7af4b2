"""Lookahead: slow weights that follow the optimizer's weights, and from which these start again every few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Descent, Network, Objective, Outcome, Update
from ltrun.types import Streams


class Lookahead(Update):
    """k steps forward, 1 step back: every `every` steps, slow <- slow + share * (fast - slow), and fast <- slow.

    The fast weights are the network's, which the optimizer moves; its momentum stays. Slow weights start with the stage. An
    epoch ends with fast weights, which are evaluated, at most `every` - 1 steps past the slow ones; the authors evaluate the
    slow ones. Parameters of terms have no slow weights.

    Zhang et al., 2019, arXiv 1907.08610.
    """

    steps: Tensor

    def __init__(self, every: int = 5, share: float = 0.8, *, network: Network):
        super().__init__()
        if every < 2:
            raise ConfigError(f"every must be at least 2 steps, got {every}; regularization=none takes plain steps")
        if not 0 < share < 1:
            raise ConfigError(f"share must lie between 0 and 1, got {share}; with 1, steps are plain: regularization=none")
        self.every, self.share = every, share
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for place, weight in enumerate(_fast(network)):
            self.register_buffer(f"slow_{place}", weight.detach().clone())

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        outcome = objective(streams)
        optimizer.zero_grad(set_to_none=True)
        outcome[0]["total"].backward()
        optimizer.step()
        self.meet(_fast(objective.network))
        return outcome

    @torch.no_grad()
    def meet(self, fast: list[nn.Parameter]) -> None:
        """Counts a step; after every so many, moves the slow weights, and the fast weights to them, in place."""
        self.steps += 1
        now = self.steps % self.every == 0
        slow = [self.get_buffer(f"slow_{place}") for place in range(len(fast))]
        for own, weight in zip(slow, fast, strict=True):
            own.copy_(torch.where(now, own + self.share * (weight - own), own))
            weight.copy_(torch.where(now, own, weight))


def _fast(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
