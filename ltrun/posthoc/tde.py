"""Total direct effect (TDE): logits without the effect of the mean training feature."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ltrun.classifier.causal import unit_per_head
from ltrun.errors import ConfigError
from ltrun.parts import Evidence, PostHoc
from ltrun.results.spans import spans
from ltrun.types import Outputs


def tde_logits(features: Tensor, classes: Tensor, scale: float, mean: Tensor, alpha: float, num_heads: int) -> Tensor:
    """(B, C): scale * sum over heads k of (x_k - alpha * cos(x_k, m_k) * m_k) . w_k, x_k and m_k of length 1.

    features: (B, D); mean: (D,), the mean feature; classes: (C, D) normalised class weights; each cut into `num_heads`
    pieces of D / num_heads.
    """
    x, m = (unit_per_head(tensor, num_heads).unflatten(1, (num_heads, -1)) for tensor in (features, mean[None]))
    along = (x * m).sum(dim=2, keepdim=True)
    return scale * (x - alpha * along * m).flatten(1) @ classes.T


def published_alpha(num_classes: int) -> float:
    """The authors' alpha: 1 for 10 classes, 1.5 for 100, 3 for 365 and 1,000; in between, the value of the nearest by ratio."""
    return 1.0 if num_classes <= 31 else 1.5 if num_classes <= 191 else 3.0


class TDE(PostHoc):
    """Total direct effect: subtracts alpha times each feature's component along the mean training feature from the feature.

    Momentum drags all features towards the head classes, in the direction of the mean feature; subtracting the logits of this
    component leaves the direct effect. Needs `classifier=causal` with the same num_heads. alpha: null is the authors' value for
    the number of classes; the fewer classes, the more of the mean belongs to each. alpha needs no training, so several values
    make several rows (`posthoc=tde_sweep`); on digits_lt 0.5 is best with 95.9 %, and 1.5 gives 75.7 (3 seeds).

    The authors' mean is a moving average over training batches (0.9 per step, so over about the last ten). Here it is the mean
    of the trained network's features over all training images: the same direction with less noise, and no state in training.

    Tang et al., 2020, arXiv 2009.12991.
    """

    sees = frozenset({"train"})
    reads = frozenset({"features", "logits", "head", "heads of cosines"})
    mean: Tensor

    def __init__(self, alpha: float | None = None, num_heads: int = 2, *, num_classes: int):
        super().__init__()
        if (alpha is not None and alpha < 0) or num_heads < 1:
            raise ConfigError(f"alpha must be at least 0, or null, and num_heads above 0, got {alpha} and {num_heads}")
        self.alpha, self.num_heads = published_alpha(num_classes) if alpha is None else alpha, num_heads
        self.register_buffer("mean", torch.empty(0))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        outputs = splits["train"].outputs()
        features = outputs.need("features")
        self.mean = features.float().mean(0)
        if features.shape[1] % self.num_heads or not self._explains(outputs):
            raise ConfigError(
                f"posthoc=tde: the logits do not come from classifier=causal with num_heads={self.num_heads}; set num_heads "
                "to the classifier's value, and keep other classifiers out of later stages"
            )

    def _explains(self, outputs: Outputs) -> bool:
        """Whether the scores with alpha = 0 equal the network's logits, up to rounding in half precision."""
        features, logits = outputs.need("features"), outputs.need("logits")
        apart, largest = [], []
        for some in spans(logits.shape):
            scores = self._scores(replace(outputs, features=features[some]), 0.0)
            apart.append((scores - logits[some]).abs().max())
            largest.append(logits[some].abs().max())
        return bool(torch.stack(apart).max() <= 0.05 * torch.stack(largest).max())

    def _scores(self, outputs: Outputs, alpha: float) -> Tensor:
        features, head = outputs.need("features").float(), outputs.need("head").float()
        return tde_logits(features, head, outputs.scale, self.mean, alpha, self.num_heads)

    def forward(self, outputs: Outputs) -> Tensor:
        return self._scores(outputs, self.alpha)
