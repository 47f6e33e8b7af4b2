"""Linear warm-up of the learning rate."""

from ltrun.errors import ConfigError
from ltrun.types import Clock, fraction_of


def warmup_factor(clock: Clock, warmup: float, start: float) -> float | None:
    """From just above `start` to 1, linearly over the first floor(warmup * epochs) epochs; None once these are over."""
    length = fraction_of(clock.epochs, warmup)
    return start + (1 - start) * (clock.epoch + 1) / length if clock.epoch < length else None


def check_warmup(warmup: float, start: float) -> None:
    if not 0 <= warmup < 1:
        raise ConfigError(f"warmup must be a fraction of the stage, from 0 to below 1, got {warmup}")
    if not 0 <= start <= 1:
        raise ConfigError(f"warmup_start must be from 0 to 1, got {start}")
