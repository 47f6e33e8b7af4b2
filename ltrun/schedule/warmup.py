"""Linear warm-up of the learning rate."""

from ltrun.errors import ConfigError
from ltrun.types import Clock, fraction_of


def warmup_factor(clock: Clock, warmup: float, start: float) -> float | None:
    """The factor that rises linearly from above `start` to 1 over the first floor(warmup * epochs) epochs; None after them."""
    length = fraction_of(clock.epochs, warmup)
    return start + (1 - start) * (clock.epoch + 1) / length if clock.epoch < length else None


def check_warmup(warmup: float, start: float) -> None:
    if not 0 <= warmup < 1:
        raise ConfigError(f"warmup must be a fraction of the stage, at least 0 and below 1, got {warmup}")
    if not 0 <= start <= 1:
        raise ConfigError(f"warmup_start must lie between 0 and 1, got {start}")
