"""Reflective learning (LTRL): memories of a training image, labels from medians of features, the corrected step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import BalancedSoftmax
from ltrun.loss import Classification
from ltrun.transfer import KnowledgeReview, KnowledgeSummary
from ltrun.transfer.knowledge_review import last_of_each
from ltrun.transfer.knowledge_summary import class_medians, soft_cross_entropy
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import Count, blind_view

COUNTS = torch.tensor([4, 2, 3, 1, 0])
STATS = ClassStats(COUNTS)
TRAIN = torch.arange(5).repeat_interleave(COUNTS)
CLASSIFY = Classification()


def batch(rows: list[int]) -> Batch:
    return Batch(torch.empty(len(rows), 0), Labels.hard(TRAIN[rows]), torch.tensor(rows))


def random(rows: int, seed: int = 0) -> dict[str, Outputs]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "main": Outputs(logits=torch.randn(rows, 5, generator=generator), features=torch.randn(rows, 3, generator=generator))
    }


def test_the_memory_has_the_last_prediction_of_each_drawn_image() -> None:
    """Rows that repeat in a batch, as with class-aware sampling, write one value whatever the order of the writes."""
    term = KnowledgeReview(stats=STATS)
    assert last_of_each(torch.tensor([7, 2, 7, 5, 2, 7])).tolist() == [5, 4, 5, 3, 4, 5]
    first, second = random(4), random(2, seed=1)
    term.after_step(first, {"main": batch([7, 2, 7, 5])})
    logits = first["main"].need("logits") / torch.tensor([[2.0], [1.0], [2.0], [1.0]])  # images of the class
    assert torch.equal(term.memory[[2, 5, 7]], logits[[1, 3, 2]])
    assert term.known.nonzero()[:, 0].tolist() == [2, 5, 7]
    term.after_step(second, {"main": batch([7, 0])})
    assert torch.equal(term.memory[[7, 0]], second["main"].need("logits"))


def test_an_image_is_reviewed_only_where_its_last_prediction_was_right() -> None:
    term, rows = KnowledgeReview(stats=STATS), [0, 4, 6, 9]
    outputs = random(4)
    assert term(outputs, {"main": batch(rows)}) == 0, "nothing to review in the first epoch"
    told = torch.zeros(4, 5)
    told[0, 0] = told[1, 1] = told[2, 3] = 5.0  # the third is wrong
    term.after_step({"main": Outputs(logits=told)}, {"main": batch(rows)})
    whole, right = (
        term(outputs, {"main": batch(rows)}),
        outputs["main"].of_rows({name: tensor[:2] for name, tensor in outputs["main"].by_row().items()}),
    )
    torch.testing.assert_close(whole, term({"main": right}, {"main": batch(rows[:2])}))
    assert whole > 0


def test_a_prediction_like_the_last_one_costs_nothing() -> None:
    term, rows = KnowledgeReview(stats=STATS), list(range(10))
    outputs = {"main": Outputs(logits=5.0 * torch.nn.functional.one_hot(TRAIN, 5))}
    term.after_step(outputs, {"main": batch(rows)})
    assert term(outputs, {"main": batch(rows)}).abs() < 1e-6


def test_the_first_epoch_smooths_labels_evenly_and_the_next_by_similarity() -> None:
    term = KnowledgeSummary(features=3, stats=STATS, classify=CLASSIFY)
    rows, outputs = list(range(10)), random(10)
    streams = {"main": batch(rows)}
    term.adapt(blind_view(Clock("train", 0, 3), STATS))
    smoothed = torch.nn.functional.cross_entropy(outputs["main"].need("logits"), TRAIN, label_smoothing=0.1)
    torch.testing.assert_close(term(outputs, streams), smoothed)

    term.after_step(outputs, streams)
    term.adapt(blind_view(Clock("train", 1, 3), STATS))
    medians = class_medians(outputs["main"].need("features"), TRAIN, 5)
    assert torch.equal(term.medians, medians) and not medians[4].any()
    soft = torch.nn.functional.normalize(medians, dim=1)
    labels = 0.99 * torch.eye(5)[TRAIN] + 0.01 * (soft[TRAIN] @ soft.T).softmax(1)
    expected = torch.nn.functional.cross_entropy(outputs["main"].need("logits"), labels)
    torch.testing.assert_close(term(outputs, streams), expected)


def test_soft_labels_meet_the_adjusted_logits() -> None:
    classify = Classification(adjusts=[BalancedSoftmax(stats=STATS)])
    term, outputs = KnowledgeSummary(features=3, stats=STATS, classify=classify), random(10)
    logits = BalancedSoftmax(stats=STATS)(outputs["main"].need("logits"), TRAIN, outputs["main"])
    expected = torch.nn.functional.cross_entropy(logits, TRAIN, label_smoothing=0.1)
    torch.testing.assert_close(term(outputs, {"main": batch(list(range(10)))}), expected)


def test_a_masked_class_takes_no_part() -> None:
    logits = torch.tensor([[1.0, -torch.inf, 2.0]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.full((1, 3), 1 / 3))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_medians_take_no_loop() -> None:
    calls = []
    for classes in (3, 8_142):
        with Count() as count:
            class_medians(torch.randn(20, 4), torch.arange(20) % 3, classes)
        calls.append(count.calls)
    assert calls[0] == calls[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KnowledgeReview(0.0, stats=STATS), "temperature must"),
        (lambda: KnowledgeSummary(share=-0.1, features=3, stats=STATS, classify=CLASSIFY), "share and first_share must"),
        (lambda: KnowledgeSummary(first_share=2.0, features=3, stats=STATS, classify=CLASSIFY), "share and first_share must"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
