"""Meta sampler: class sample rates that a bilevel update learns."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Sampler, Weigh
from ltrun.resampling.power import draw_rows
from ltrun.types import ClassStats, Clock, Labels, Outputs, View, as_rarest


def log_rates(logits: Tensor, log_counts: Tensor) -> Tensor:
    """(C,): log of the probability of drawing one given image of a class, sigmoid(logits_c) / sum_k n_k sigmoid(logits_k)."""
    rates = F.logsigmoid(logits)
    return rates - torch.logsumexp(rates + log_counts, dim=0)


class MetaSampler(Sampler):
    """BALMS's Meta Sampler: every image of class c is drawn at rate sigmoid(logits_c); the logits are learnt by `Bilevel`.

    At first the rates are n_c ** -initial_power, up to scale: 0, the authors' value on CIFAR, draws images as they come; on
    Places they take 0.3. len(targets) rows an epoch, with replacement. The authors draw every batch from the rates of that
    step. Here the rows of an epoch are drawn from the rates at its beginning, `drawn`, and `RateRatio` makes good for what
    the rates have moved since: on average a step is the same.

    It does not count as balancing the classes: how much it does is learnt, given the loss that it is used with.

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
        """(C,) of the rates as they are now."""
        return log_rates(self.logits, self.log_counts)

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        self.drawn.copy_(self.log_rates())

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        labels, rates = targets.primary.to(generator.device), self.drawn.to(generator.device).double().exp()
        probabilities = rates * torch.bincount(labels, minlength=len(rates))
        return draw_rows(labels, probabilities, len(labels), generator)


class RateRatio(Weigh):
    """Weighs a row by the rate of its class now over that at which it was drawn: importance sampling; divides by B.

    The expectation over the draw is that of rows drawn at the present rates, and so is its derivative by the rates, which
    is what `Bilevel` follows. The authors take the derivative of one draw by a straight-through Gumbel softmax over all
    images, which needs a new draw each step and is biased; the ratio needs neither.

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
