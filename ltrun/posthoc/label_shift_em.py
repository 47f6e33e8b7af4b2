"""Label-shift correction by expectation maximisation (EM), which estimates the test prior from predictions for test images."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Evidence, PostHoc
from ltrun.posthoc.effective_prior import LEAST, source_prior
from ltrun.results import mapped
from ltrun.results.spans import spans
from ltrun.types import ClassStats, Outputs


def em_prior(posteriors: Tensor, source: Tensor, iterations: int = 1000, tolerance: float = 1e-6) -> Tensor:
    """(C,): the maximum-likelihood class distribution of the rows. posteriors: (N, C), for the source prior (C,).

    Starts from the source prior. Each step re-weights the rows' posteriors by current / source prior and normalises them; their
    mean is the next prior. Ends after `iterations` steps, or when a step changes the prior by less than `tolerance` (L1).
    """
    return maximised(posteriors / source, source, iterations, tolerance)


def maximised(ratio: Tensor, source: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Computes `em_prior` from posteriors over the source prior (N, C)."""
    prior = source
    for _ in range(iterations):
        prior, before = prior * (ratio.T @ (ratio @ prior).reciprocal()) / len(ratio), prior
        if (prior - before).abs().sum() < tolerance:
            break
    return prior


class LabelShiftEM(PostHoc):
    """Label-shift EM: adds log(test prior / training prior), with both priors estimated from the network's own predictions.

    The training prior is the mean prediction on training images; the test prior is the estimate of expectation maximisation on
    the test images, without their labels. Equation 2.4 of Saerens et al. then corrects each prediction. Neither prior is
    assumed uniform, so long-tailed test data are covered too. The less calibrated the posteriors, the worse the estimate. Sees
    test inputs, which the table marks. Not for a network trained with an adjustment.

    Saerens et al., 2002, Neural Computation 14(1); Alexandari et al., 2020, arXiv 1901.06852.
    """

    sees = frozenset({"train", "test_inputs"})
    balances = True
    shift: Tensor

    def __init__(self, iterations: int = 1000, tolerance: float = 1e-6, *, stats: ClassStats):
        super().__init__()
        if iterations < 1 or tolerance < 0:
            raise ConfigError(f"iterations must be at least 1 and tolerance not negative, got {iterations} and {tolerance}")
        self.iterations, self.tolerance = iterations, tolerance
        self.present = stats.counts > 0
        self.register_buffer("shift", torch.zeros(stats.num_classes))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        train = (outputs.need("logits") for outputs in splits["train"].batches())
        test = splits["test_inputs"].outputs().need("logits")
        source = source_prior(train, self.present)
        ratio = mapped.empty(test.shape, torch.float64, f"the posteriors of {len(test):,} test images")
        for some in spans(test.shape):
            ratio[some] = test[some].double().softmax(1) / source
        target = maximised(ratio, source, self.iterations, self.tolerance)
        self.shift = (target.clamp(min=LEAST) / source).log().float()

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") + self.shift
