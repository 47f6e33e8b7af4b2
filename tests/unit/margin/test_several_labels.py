"""LDAM of rows with several labels, against VideoLT's code in plain Python, and as a cosine margin."""

import math

import pytest
import torch

from ltrun.errors import ConfigError
from ltrun.margin import LDAM, LogitLDAM
from ltrun.types import ClassStats, Outputs

STATS = ClassStats(torch.tensor([256, 81, 16, 0]), rows=300)
MARGINS = [0.5 * (16 / n) ** 0.25 for n in (256, 81, 16, 16)]
HOT = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
LOGITS = torch.linspace(-1, 1, 16).reshape(4, 4)


def logits_of(summed: bool) -> torch.Tensor:
    """s (z - m) at labels, s z elsewhere; m the label's own margin, or the sum over the row's labels."""
    rows = []
    for z, y in zip(LOGITS.tolist(), HOT, strict=True):
        total = sum(m for m, label in zip(MARGINS, y, strict=True) if label)
        rows.append([30 * (z[j] - (total if summed else MARGINS[j]) * y[j]) for j in range(4)])
    return torch.tensor(rows)


@pytest.mark.parametrize("summed", [True, False])
def test_margins_of_several_labels(summed: bool) -> None:
    hot = torch.tensor(HOT).float()
    plain = LogitLDAM(summed=summed, stats=STATS)(LOGITS, hot, Outputs(logits=LOGITS))
    torch.testing.assert_close(plain, logits_of(summed))
    cosine = LDAM(summed=summed, stats=STATS)(16 * LOGITS, hot, Outputs(logits=16 * LOGITS, scale=16))
    torch.testing.assert_close(cosine, logits_of(summed))


def test_a_mixed_label_has_a_share_of_its_margin() -> None:
    hot = torch.tensor([[0.25, 0.75, 0, 0]])
    found = LogitLDAM(scale=1.0, stats=STATS)(torch.zeros(1, 4), hot, Outputs())
    total = 0.25 * MARGINS[0] + 0.75 * MARGINS[1]
    assert found[0].tolist() == pytest.approx([-0.25 * total, -0.75 * total, 0, 0])


def test_a_row_with_one_label_is_a_row_of_one_label() -> None:
    labels = torch.tensor([0, 2, 3, 1])
    hot = torch.nn.functional.one_hot(labels, 4).float()
    outputs = Outputs(logits=LOGITS, scale=2.0)
    part = LDAM(stats=STATS)
    assert torch.equal(part(LOGITS, hot, outputs), part(LOGITS, labels, outputs))


@pytest.mark.parametrize("wrong", [{"max_margin": -0.1}, {"scale": 0.0}, {"scale": -math.inf}])
def test_wrong_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LogitLDAM(**wrong, stats=STATS)  # type: ignore[arg-type]
