"""Thresholds per class: the best F1 against a search through all thresholds, and classes without positives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ltrun.posthoc.thresholds import Thresholds, best_thresholds
from ltrun.types import ClassStats, Outputs


def f1(scores: Tensor, labels: Tensor, threshold: float) -> float:
    said = scores - threshold > 0
    return float(2 * (said & labels).sum() / max(1, int(said.sum() + labels.sum())))


@pytest.mark.parametrize("seed", range(8))
def test_no_other_threshold_has_a_higher_f1(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(60, 5, generator=generator)
    scores[:, 1] = scores[:, 1].round()  # many equal scores
    scores[:, 2] = 1.0
    scores[:20, 3] = float("-inf")
    labels = torch.rand(60, 5, generator=generator) < torch.sigmoid(scores - 1)
    labels[:, 4] = False
    found = best_thresholds(scores, labels)
    assert found.dtype == torch.float32 and found.isfinite().all() and found[4] == 0
    for column, truth, threshold in zip(scores.T[:4], labels.T[:4], found, strict=False):
        values = column.unique()
        others = [float(values[0]) - 1, *values.tolist(), *((values[1:] + values[:-1]) / 2).tolist()]
        best = max(f1(column, truth, other) for other in others if abs(other) < float("inf"))
        assert f1(column, truth, float(threshold)) == pytest.approx(best)


def test_neighbouring_numbers_are_told_apart() -> None:
    low = torch.tensor(1.0)
    high = torch.nextafter(low, torch.tensor(2.0))
    threshold = best_thresholds(torch.stack([high, low])[:, None], torch.tensor([[True], [False]]))
    assert (torch.stack([high, low]) - threshold > 0).tolist() == [True, False]


class Val:
    labels = torch.tensor([[True, False], [False, False], [True, True]])

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return Outputs(logits=torch.tensor([[-1.0, 2.0], [-2.0, 1.0], [-0.5, 3.0]]))


def test_scores_are_logits_less_the_threshold_of_the_class() -> None:
    part = Thresholds(stats=ClassStats(torch.tensor([5, 2])))
    part.fit({"val": Val()})  # type: ignore[dict-item]
    torch.testing.assert_close(part.thresholds, torch.tensor([-1.5, 2.5]))
    logits = torch.tensor([[0.0, 2.0], [-2.0, 2.75]])
    torch.testing.assert_close(part(Outputs(logits=logits)), logits - torch.tensor([-1.5, 2.5]))
