"""Temperature scaling: the temperature of a search through all, bounds, classes that are ruled out, and equal predictions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ltrun.posthoc.temperature_scaling import MOST, TemperatureScaling, best_temperature
from ltrun.tasks.calibration import expected_calibration_error
from ltrun.types import Outputs


def drawn(temperature: float, rows: int = 4000, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Returns logits, and labels drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(rows, classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    found = best_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    best = cross_entropy(logits.double() / found, labels)
    others = [cross_entropy(logits.double() / (found * factor), labels) for factor in (0.9, 0.99, 1.01, 1.1)]
    assert all(best < other for other in others)


def test_images_that_are_all_right_or_all_wrong_end_at_a_bound() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert best_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1 / MOST)
    assert best_temperature(logits, torch.tensor([1, 0])) == pytest.approx(MOST)


def test_classes_that_are_ruled_out_do_not_count() -> None:
    logits, labels = drawn(2.0)
    masked = torch.cat([logits, torch.full((len(logits), 1), -torch.inf)], 1)
    assert best_temperature(masked, labels) == pytest.approx(best_temperature(logits, labels))
    ruled_out = torch.tensor([[0.0, -torch.inf]])
    assert best_temperature(ruled_out, torch.tensor([1])) == 1.0
    assert best_temperature(torch.cat([masked, masked[:1]]), torch.cat([labels, torch.tensor([5])])) == pytest.approx(
        best_temperature(logits, labels)
    )


class Val:
    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = logits, labels

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return Outputs(logits=self.logits)


def test_predictions_stay_and_confidences_fit() -> None:
    logits, labels = drawn(4.0)
    part = TemperatureScaling()
    assert torch.equal(part(Outputs(logits=logits)), logits)  # not yet fitted
    part.fit({"val": Val(logits[:1000], labels[:1000])})  # type: ignore[dict-item]
    scaled = part(Outputs(logits=logits[1000:]))
    assert scaled.dtype == torch.float32 and torch.equal(scaled.argmax(1), logits[1000:].argmax(1))
    before = expected_calibration_error(logits[1000:], labels[1000:])
    assert expected_calibration_error(scaled, labels[1000:]) < before / 4 and math.isfinite(before)
