"""Power sampling: classes drawn by a power of their counts, such as class-balanced, square-root and reversed sampling."""

import torch
from torch import Tensor

from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.members import members
from ltrun.types import Clock, Targets


def power_probabilities(counts: Tensor, q: float) -> Tensor:
    """(C,) float64, proportional to counts ** q, and 0 for a class without images. counts: (C,) images per class."""
    powers = counts.double().pow(q)
    powers = torch.where(counts > 0, powers, 0.0)  # 0 ** 0 is 1 and 0 ** -1 is infinite
    shares = powers / powers.sum()
    if not shares.isfinite().all():  # the powers are out of range, their ratios are not
        shares = torch.where(counts > 0, q * counts.double().log(), -torch.inf).softmax(0)
    return shares


def draw_rows(labels: Tensor, probabilities: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """(length,) rows: draws a class, then one of its rows uniformly, both with replacement.

    labels: (N,) class of each row. probabilities: (C,) of the classes; values of classes without rows are ignored. Computes on
    the generator's device, without a loop over rows or classes.
    """
    counts = torch.bincount(labels, minlength=len(probabilities))
    present = counts.nonzero()[:, 0]  # multinomial over these only: on a tie it could return a class of probability 0
    drawn = torch.multinomial(probabilities[present], length, replacement=True, generator=generator)
    classes = present[drawn]
    by_class = labels.argsort(stable=True)  # rows of class 0, then of class 1, and so on
    first = counts.cumsum(0) - counts
    within = torch.rand(length, dtype=torch.float64, generator=generator, device=generator.device) * counts[classes]
    return by_class[first[classes] + within.long()]


class Power(Sampler):
    """Draws a class with probability n_c ** q / sum n ** q, then an image of the class; len(targets) rows per epoch.

    q = 1 follows the class counts, 0.5 is square-root sampling (Mahajan et al., 2018, arXiv 1805.00932), 0 is
    class-balanced, -1 is BBN's reversed sampling (Zhou et al., 2020, arXiv 1912.02413). A sampler with image weights
    n_c ** -a is q = 1 - a, because a class has n_c images: CMO's tail-weighted stream, a = 1, is q = 0, not q = -1.

    Images of a class are drawn with replacement, as in BBN and CMO; Kang et al., 2020, arXiv 1910.09217, cycle through a
    shuffled list of the class, with the same class probabilities. Their epoch of class-balanced sampling has max(n_c) * C
    rows, of which they use len(targets); here len(targets) rows are drawn.

    Of rows with several labels, the classes drawn follow q, and a row comes with probability sum_j p_j y_ij / n_j: its other
    labels come with it, so the labels seen are not balanced. q = 1 draws a row in proportion to its number of labels. A row
    without labels is never drawn.
    """

    accepts = BOTH
    balances = True

    def __init__(self, q: float = 0.0):
        super().__init__()
        self.q = q

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows, classes = members(targets, generator)
        return rows[draw_rows(classes, power_probabilities(torch.bincount(classes), self.q), len(targets), generator)]
