"""Multi-step schedule of the learning rate."""

from collections.abc import Sequence

from ltrun.errors import ConfigError
from ltrun.schedule.warmup import WarmupBy, check_warmup, warmup_factor
from ltrun.types import Clock, fraction_of


class MultiStep:
    """Linear warm-up, then `factors[i]` times the base learning rate from `milestones[i]` on.

    milestones and warmup are fractions of a stage: 0.8 is epoch index 160 of 200. factors multiply the base rate, not each
    other. The warm-up rises from warmup_start: with five warm-up epochs, epoch 0 has the factor 1/5 in LDAM-DRW, which starts
    from 0, and 1/3 + 2/3 * 1/5 in BBN, which starts from 1/3. warmup_by: 'step' has the rate rise with each step, as mmcv does;
    the factor of the epoch, if it is a later one, multiplies it. Every rate lasts at least one epoch: in a run so short that
    milestones coincide or fall into its first epoch, they are postponed, if need be past the end of the run, so that a
    one-epoch run trains at the base rate.

    The defaults are LDAM-DRW's (Cao et al., 2019, arXiv 1906.07413).
    """

    def __init__(
        self,
        epochs: int = 200,
        milestones: Sequence[float] = (0.8, 0.9),
        factors: Sequence[float] = (0.01, 0.0001),
        warmup: float = 0.025,
        warmup_start: float = 0.0,
        warmup_by: WarmupBy = "epoch",
    ):
        if epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {epochs}")
        if len(milestones) != len(factors):
            raise ConfigError(f"factors must have a value for each of the {len(milestones)} milestones, got {len(factors)}")
        if list(milestones) != sorted(set(milestones)) or not all(0 < milestone < 1 for milestone in milestones):
            raise ConfigError(f"milestones must be rising fractions of a stage, between 0 and 1, got {list(milestones)}")
        if any(factor < 0 for factor in factors):
            raise ConfigError(f"factors must not be negative, got {list(factors)}")
        check_warmup(warmup, warmup_start)
        self.epochs, self.milestones, self.factors = epochs, milestones, factors
        self.warmup, self.warmup_start, self.warmup_by = warmup, warmup_start, warmup_by

    def factor(self, clock: Clock) -> float:
        warming = warmup_factor(clock, self.warmup, self.warmup_start, self.warmup_by)
        if warming is not None:
            return warming
        current, begin = 1.0, 0
        for milestone, factor in zip(self.milestones, self.factors, strict=True):
            begin = max(begin + 1, fraction_of(clock.epochs, milestone))
            if clock.epoch >= begin:
                current = factor
        return current
