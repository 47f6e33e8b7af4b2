"""Meta Sampler: sampling rates of the classes, learnt by a bilevel update."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Sampler, Weigh
from ltrun.resampling.power import draw_rows
from ltrun.types import ClassStats, Clock, Outputs, Targets, View, as_rarest


def log_rates(logits: Tensor, log_counts: Tensor) -> Tensor:
    """(C,): log of the probability of drawing one given image of a class, sigmoid(logits_c) / sum_k n_k sigmoid(logits_k)."""
    rates = F.logsigmoid(logits)
    return rates - torch.logsumexp(rates + log_counts, dim=0)


class MetaSampler(Sampler):
    """BALMS's Meta Sampler: draws every image of class c at rate sigmoid(logits_c); `Bilevel` learns the logits.

    The initial rates are n_c ** -initial_power, up to scale: 0, the authors' value on CIFAR, is instance-balanced sampling;
    on Places they use 0.3. An epoch has len(targets) rows, drawn with replacement. The authors draw every batch at the rates
    of its step. Here the rows of an epoch are drawn at the rates of its beginning, `drawn`, and `RateRatio` corrects for the
    change of the rates since then, so that a step is the same in expectation.

    `balances` is False, because the degree of balancing is learnt, given the loss that the sampler is used with.

    Ren et al., 2020, arXiv 2007.10740.
    """

    outer = True
    log_counts: Tensor
    drawn: Tensor

    def __init__(self, initial_power: float = 0.0, *, stats: ClassStats):
        super().__init__()
        if initial_power < 0:
            raise ConfigError(f"initial_power must not be negative, which would favour the head, got {initial_power}")
        rates = as_rarest(stats.counts).double() ** -initial_power
        logits = held(torch.logit(rates / (rates.min() + rates.max())), "initial_power", initial_power)
        self.logits = nn.Parameter(logits)
        self.register_buffer("log_counts", stats.counts.double().clamp(min=1e-30).log().float())  # finite without images
        self.register_buffer("drawn", self.log_rates().detach())

    def log_rates(self) -> Tensor:
        """(C,): log of the current rates."""
        return log_rates(self.logits, self.log_counts)

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        self.drawn.copy_(self.log_rates())

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        labels, rates = targets.labels.to(generator.device), self.drawn.to(generator.device).double().exp()
        probabilities = rates * torch.bincount(labels, minlength=len(rates))
        return draw_rows(labels, probabilities, len(labels), generator)


class RateRatio(Weigh):
    """Importance weights for MetaSampler: a row's class's current rate over its rate at the draw; divides by B.

    The expected loss is that of rows drawn at the current rates, and so is its derivative with respect to the rates, which
    `Bilevel` follows. The authors differentiate one draw by a straight-through Gumbel softmax over all images, which needs a
    new draw each step and is biased; the ratio needs no new draw and is unbiased.

    Ren et al., 2020, arXiv 2007.10740.
    """

    mean = "batch"

    def __init__(self, *, sampler: Sampler):
        super().__init__()
        if not isinstance(sampler, MetaSampler):
            raise ConfigError("RateRatio needs MetaSampler as the sampler of stream main; choose resampling=meta")
        self.sampler = sampler

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (self.sampler.log_rates() - self.sampler.drawn).exp()[labels].to(logits.dtype)
