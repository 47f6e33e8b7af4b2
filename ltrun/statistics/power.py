"""Number of seeds, or of test images, that a difference would need to be found."""

from __future__ import annotations

import math

from ltrun.statistics.bootstrap import Difference
from ltrun.statistics.means import LEVEL, quantile

POWER = 0.8  # probability to find the difference
MOST = 1000  # seeds


def seeds_needed(found: Difference, together: int = 1) -> int | None:
    """Returns with how many seeds a difference of this size would be found with 80% probability.

    Takes the measured variances for the true ones, so it is a rough number. Returns None if images alone hide the difference,
    whatever the number of seeds, or if more than 1,000 would be needed. Needs two seeds or more. together: the number of
    comparisons, by which the level is divided.
    """
    one_seed = max(found.seeds, found.chance) * found.n  # fewer than the chance of single images is luck
    always = quantile(10**9, LEVEL / together) + quantile(10**9, 2 * (1 - POWER))
    if always**2 * found.beyond >= found.value**2:
        return None
    for k in range(2, MOST + 1):
        t, z = (quantile(freedom, LEVEL / together) + quantile(freedom, 2 * (1 - POWER)) for freedom in (k - 1, 10**9))
        needed = max(t**2 * one_seed / k + z**2 * found.beyond, z**2 * (found.beyond + found.chance * found.n / k))
        if needed <= found.value**2:
            return max(k, found.n + 1)
    return None


def images_needed(found: Difference, images: int) -> int | None:
    """Returns how many test images would show a difference of this size, with any number of seeds; None for 0.

    images: the number of test images.
    """
    if found.value == 0:
        return None
    z = quantile(10**9, LEVEL) + quantile(10**9, 2 * (1 - POWER))
    return math.ceil(images * z**2 * found.beyond / found.value**2)
