"""Predictors x evaluation splits -> metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.networks.fold import folded
from ltrun.parts import Augment, Evidence, Network, PostHoc, Store
from ltrun.precision import Precision
from ltrun.turns import hand_on, wait_for
from ltrun.types import ClassStats, Outputs, seed_of
from ltrun.watch import finite

Metrics = dict[str, Any]
CALIBRATION_BINS = 15


def measure(scores: Tensor, labels: Tensor, stats: ClassStats, many: int = 100, few: int = 20) -> Metrics:
    """Top-1 metrics as fractions of 1. scores: (N, C), labels: (N,).

    accuracy is over images, macro the mean over the classes that have test images, many/medium/few the same mean within a
    shot group; a group without such classes is None, never 0. Raises TrainingError for scores that are not finite, other than
    the minus infinity of a class that is ruled out.
    """
    if not finite(scores):
        raise TrainingError("the network's scores are not finite: it diverged in its last steps. Lower optimizer.lr")
    hits = scores.argmax(1) == labels
    images = torch.bincount(labels, minlength=stats.num_classes).double()
    correct = torch.bincount(labels[hits], minlength=stats.num_classes).double()
    seen, recall = images > 0, correct / images.clamp(min=1)

    def mean(group: Tensor) -> float | None:
        chosen = recall[group & seen]
        return float(chosen.mean()) if len(chosen) else None

    shots = {name: mean(mask) for name, mask in stats.shots(many, few).items()}
    accuracy = float(hits.double().mean())
    return {
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "macro": mean(seen),
        **shots,
        "ece": expected_calibration_error(scores, labels),
        "per_class": [value if there else None for value, there in zip(recall.tolist(), seen.tolist(), strict=True)],
        "images": len(labels),
    }


def expected_calibration_error(scores: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Mean gap of confidence and accuracy over equal-width bins of confidence (Guo et al., 2017, arXiv 1706.04599)."""
    gap = torch.zeros(bins, dtype=torch.float64)
    rows = max(1, 2**20 // scores.shape[1])  # at once: with 8,142 classes all in double precision would be half a gigabyte
    for some, right in zip(scores.split(rows), labels.split(rows), strict=True):
        confidence, predicted = some.double().softmax(1).max(1)
        which = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
        gap.index_add_(0, which, confidence - (predicted == right).double())
    return float(gap.abs().sum() / len(labels))


class SplitEvidence:
    """One split through one network, in evaluation mode and without gradient; outputs come to the CPU.

    hidden: the labels are not to be looked at, as for test inputs.
    """

    def __init__(
        self,
        network: Network,
        normalise: Any,
        augment: Augment | Any,
        store: Store,
        batch_size: int,
        seed: int,
        precision: Precision,
        hidden: bool = False,
    ):
        self.network, self.normalise, self.augment, self.store = network, normalise, augment, store
        self.precision = precision
        self.batch_size, self.seed, self.hidden = batch_size, seed, hidden
        self.clean: Outputs | None = None

    @property
    def labels(self) -> Tensor:
        if self.hidden:
            raise PermissionError("a post-hoc part may see test inputs, never test labels")
        return self.store.targets.primary.cpu()

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        if augment:
            return self._run(epoch)
        if self.clean is None:
            self.clean = self._run(None)
        return self.clean

    @torch.no_grad()
    def _run(self, epoch: int | None) -> Outputs:
        if epoch is not None:
            torch.manual_seed(seed_of(self.seed, "augmented evaluation", epoch))
        network, found = folded(self.network), []
        for batch in self.store.open(torch.arange(len(self.store)).split(self.batch_size)):
            batch = batch if epoch is None else self.augment(batch)
            with self.precision.autocast():
                found.append(network.predict(self.normalise(batch.inputs)))
            hand_on()
        wait_for(self.precision.device)
        return Outputs.concatenate(found).map(lambda tensor: tensor.cpu())


def plain_scores(outputs: Outputs) -> Tensor:
    assert outputs.logits is not None
    return outputs.logits


def fit(part: PostHoc, evidence: Mapping[str, Evidence]) -> None:
    """Shows a post-hoc part what it declares to see, and nothing else."""
    part.fit({name: evidence[name] for name in part.sees})
