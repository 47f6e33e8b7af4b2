"""LADE's regulariser: empty classes, mixed labels, low precision, thousands of classes, compilation."""

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import LADE
from ltrun.logit_adjustment.lade import lade, shares
from ltrun.types import Batch, ClassStats, Labels, Outputs

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none


def loss_of(logits: Tensor, targets: Labels, stats: ClassStats = STATS) -> Tensor:
    streams = {"main": Batch(torch.empty(len(targets), 0), targets, torch.arange(len(targets)))}
    return LADE(stats=stats)({"main": Outputs(logits=logits)}, streams)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [[3], [0, 0, 0], [0, 1, 2, 3, 3]], ids=["batch of one", "one class", "no class 4"])
def test_loss_and_gradient_are_finite(labels: list[int], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (30 * torch.rand(len(labels), 5, generator=generator) - 15).to(dtype).requires_grad_()
    loss = loss_of(logits, Labels.hard(torch.tensor(labels)))
    loss.backward()
    assert loss.isfinite() and loss.dtype == torch.float32
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad.any()


def test_the_logit_of_a_class_without_training_images_does_not_count() -> None:
    logits, labels = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    other = logits.clone()
    other[:, 4] += 7
    torch.testing.assert_close(loss_of(logits, Labels.hard(labels)), loss_of(other, Labels.hard(labels)))


def test_raising_a_logit_lowers_the_loss_for_the_label_and_raises_it_for_another_class() -> None:
    logits = torch.zeros(4, 5, requires_grad=True)
    loss_of(logits, Labels.hard(torch.tensor([0, 0, 1, 1]))).backward()
    assert logits.grad is not None
    assert (logits.grad[:2, 0] < 0).all() and (logits.grad[2:, 0] > 0).all()


def test_mixed_labels_count_by_their_weights() -> None:
    logits, labels = torch.randn(3, 5), torch.tensor([0, 1, 2])
    hard = Labels.hard(labels)
    twice = hard.mix(hard, torch.tensor([0.3, 0.5, 1.0]))
    torch.testing.assert_close(loss_of(logits, twice), loss_of(logits, hard))
    mixed = hard.mix(Labels.hard(labels.flip(0)), torch.full((3,), 0.25))
    expected = torch.tensor([[0.25, 0, 0.75, 0, 0], [0, 1, 0, 0, 0], [0.75, 0, 0.25, 0, 0]])
    torch.testing.assert_close(shares(mixed, 5), expected)
    torch.testing.assert_close(loss_of(logits, mixed), lade(logits, expected, STATS.prior))


def test_the_loss_of_thousands_of_classes_is_finite() -> None:
    stats = ClassStats((1000 * torch.arange(1, 8143) ** -0.9).long().clamp(min=2))
    labels = Labels.hard(torch.tensor([0, 1, 10, 100, 1000, 4000, 8000, 8141]))
    assert loss_of(torch.randn(8, 8142), labels, stats).isfinite()


def test_lade_compiles_to_one_graph() -> None:
    part, targets = LADE(stats=STATS), Labels.hard(torch.tensor([0, 1, 2, 3]))
    streams = {"main": Batch(torch.empty(4, 0), targets, torch.arange(4))}
    compiled = torch.compile(lambda x: part({"main": Outputs(logits=x)}, streams), fullgraph=True, backend="eager")
    logits = torch.randn(4, 5)
    torch.testing.assert_close(compiled(logits), part({"main": Outputs(logits=logits)}, streams))


def test_a_negative_weight_of_the_regulariser_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^remine_lambda must"):
        LADE(-0.1, stats=STATS)
