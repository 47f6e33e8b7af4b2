"""Temperature scaling: logits divided by one number, so that confidences fit the validation images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.parts import Evidence, PostHoc
from ltrun.types import Outputs

MOST = 100.0  # bounds of the temperature, 1 / MOST to MOST: images that are all right or all wrong have no finite optimum
HALVINGS = 60  # of the logarithmic range; more change no bit of float32


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """Returns the temperature with the lowest mean cross-entropy of softmax(logits / temperature), in 1 / MOST to MOST.

    logits: (N, C); minus infinity rules a class out, and an image whose label is ruled out does not count. labels: (N,). The
    cross-entropy is convex in 1 / temperature. Its slope is the difference of the mean logit under the softmax and the logit of
    the label, so the optimum is found by halving. Returns 1 for no images.
    """
    kept = logits.gather(1, labels[:, None])[:, 0].isfinite()
    logits, labels = logits[kept].double(), labels[kept]
    if not len(logits):
        return 1.0
    logits = logits - logits.amax(1, keepdim=True)
    own = logits.gather(1, labels[:, None])[:, 0]
    finite = logits.masked_fill(logits.isinf(), 0.0)  # a class that is ruled out has probability 0
    low, high = -torch.tensor(MOST, dtype=torch.float64).log(), torch.tensor(MOST, dtype=torch.float64).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = ((logits / middle.exp()).softmax(1) * finite).sum(1) - own
        low, high = (low, middle) if slope.mean() < 0 else (middle, high)  # sharper confidences are better
    return float(((low + high) / 2).exp())


class TemperatureScaling(PostHoc):
    """Temperature scaling: divides logits by the temperature with the lowest cross-entropy on the validation images.

    Predictions and accuracies stay; confidences, and so the calibration error, change. Where validation images are balanced and
    the network is not, the temperature balances nothing: one number cannot tell the head from the tail.

    Guo et al., 2017, arXiv 1706.04599.
    """

    sees = frozenset({"val"})
    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        val = splits["val"]
        self.temperature = torch.tensor(best_temperature(val.outputs().need("logits"), val.labels))

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") / self.temperature
