"""Binary cross-entropy summed over the classes of a row, in place of their mean."""

from torch import Tensor

from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Criterion
from ltrun.reweighting.sigmoid import binary_cross_entropies
from ltrun.types import Outputs


class SumOfClasses(Criterion):
    """Binary cross-entropy of several labels per row, summed over the classes and averaged over the rows.

    VideoLT's code has this sum for resampled videos, and the mean over all entries elsewhere: gradients are C times larger,
    which Adam divides out but for its eps and the clipped norm.

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668.
    """

    accepts = frozenset({MULTI_LABEL})
    mean = "rows"

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return binary_cross_entropies(logits, labels)
