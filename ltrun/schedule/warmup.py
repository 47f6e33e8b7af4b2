"""Linear warm-up of the learning rate, epoch by epoch or step by step."""

from typing import Literal

from ltrun.errors import ConfigError
from ltrun.types import Clock, fraction_of

WarmupBy = Literal["epoch", "step"]


def warmup_factor(clock: Clock, warmup: float, start: float, by: WarmupBy = "epoch") -> float | None:
    """The factor that rises linearly to 1 over a fraction of the stage; None after it.

    By epochs it rises over floor(warmup * epochs) of them, from above `start`. By steps it is `start` in the first step, and 1
    in the first step after the warm-up, as in mmcv.
    """
    if by == "step":
        done = (clock.epoch + clock.within) / clock.epochs
        return start + (1 - start) * done / warmup if done < warmup else None
    length = fraction_of(clock.epochs, warmup)
    return start + (1 - start) * (clock.epoch + 1) / length if clock.epoch < length else None


def check_warmup(warmup: float, start: float) -> None:
    if not 0 <= warmup < 1:
        raise ConfigError(f"warmup must be a fraction of the stage, at least 0 and below 1, got {warmup}")
    if not 0 <= start <= 1:
        raise ConfigError(f"warmup_start must lie between 0 and 1, got {start}")
