"""SupCon, KCL, TSC: positives, targets, edges of batches, the linear second stage, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Term
from ltrun.representation import KCL, TSC, KCLQueue, SupCon, TSCQueue
from ltrun.representation.kcl import drawn, positives
from ltrun.representation.supcon import other_view, supcon
from ltrun.representation.tsc import _Targets, moved, simplex, spread, targeted, uniformity
from ltrun.types import Outputs
from tests.support.cases import assembled, bound, choice
from tests.support.photographs import batch_of, view
from tests.support.recipes import refused

LABELS = torch.tensor([0, 0, 1, 2, 0, 0, 1, 2])


def unit(rows: int, dim: int = 4, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def evaluate(term: Term, labels: Tensor, dim: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns the loss of a term on random embeddings, and their gradient."""
    leaf = unit(2 * len(labels), dim, seed).requires_grad_()
    outputs = {name: Outputs(embedding=half) for name, half in zip(term.streams, leaf.chunk(2), strict=True)}
    loss = term(outputs, dict.fromkeys(term.streams, batch_of(torch.zeros(len(labels), 1, 2, 2), labels)))
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss, gradient


def test_k_candidates_are_drawn_and_all_where_there_are_fewer() -> None:
    torch.manual_seed(0)
    candidates = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    counts = torch.zeros(5)
    for _ in range(400):
        chosen = drawn(candidates, 2)
        assert not (chosen & ~candidates).any() and chosen.sum(dim=1).tolist() == [2, 1, 0]
        counts += chosen[0]
    assert counts[:4].min() > 150 and counts[4] == 0
    assert torch.equal(drawn(candidates, 9), candidates), "more than there are columns"


def test_the_positives_of_kcl_are_the_other_view_and_k_others_of_the_class() -> None:
    torch.manual_seed(0)
    found = positives(LABELS, 1)
    assert (found & other_view(LABELS)).sum(dim=1).tolist() == [1] * 8
    assert found.sum(dim=1).tolist() == [2, 2, 1, 1, 2, 2, 1, 1]
    assert not found.diagonal().any() and not (found & (LABELS[:, None] != LABELS)).any()


def test_kcl_with_a_large_k_is_supcon() -> None:
    assert torch.equal(evaluate(KCL(k=8), LABELS[:4])[0], evaluate(SupCon(), LABELS[:4])[0])


@pytest.mark.parametrize(
    "term", [SupCon(), KCL(), TSC(dim=4, num_classes=3), KCLQueue(queue=6, dim=4)], ids=lambda t: type(t).__name__
)
@pytest.mark.parametrize("labels", [[2], [0, 1, 2], [1, 1, 1]], ids=str)
def test_batches_of_one_image_of_one_class_and_of_single_images_are_finite(term: Term, labels: list[int]) -> None:
    loss, gradient = evaluate(term, torch.tensor(labels))
    assert loss.isfinite() and gradient.isfinite().all()


def test_without_two_images_of_a_class_supcon_is_simclr() -> None:
    rows, labels = unit(6), torch.arange(3).repeat(2)
    logits = (rows @ rows.T / 0.1).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits, torch.arange(6).roll(3))
    torch.testing.assert_close(supcon(rows, labels, 0.1, base=0.1), expected)


def test_a_simplex_has_the_least_uniformity_and_equal_angles() -> None:
    torch.manual_seed(0)
    for classes, dim in [(2, 1), (4, 3), (4, 7), (10, 9)]:
        targets = simplex(classes, dim)
        torch.testing.assert_close(targets @ targets.T, (classes * torch.eye(classes) - 1) / (classes - 1), atol=1e-5, rtol=0)
    found = spread(unit(4, 3), steps=4000)
    assert uniformity(simplex(4, 3)) < uniformity(found) + 1e-5 and uniformity(found) < uniformity(unit(4, 3))
    torch.testing.assert_close(uniformity(found), uniformity(simplex(4, 3)), rtol=1e-3, atol=0)


def test_more_classes_than_a_simplex_has_room_for_are_spread_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.representation.tsc.spread", lambda start: spread(start, steps=300))
    part = _Targets(dim=2, num_classes=6)
    before = part.targets.clone()
    part.adapt(view(1, 10))
    assert torch.equal(part.targets, before), "a resumed run keeps its targets"
    part.adapt(view(0, 10))
    assert uniformity(part.targets) < uniformity(before)
    torch.testing.assert_close(part.targets.norm(dim=1), torch.ones(6))


def test_only_centroids_of_the_batch_move_and_the_batch_counts_before_it_is_stored() -> None:
    torch.manual_seed(0)
    part, rows, labels = _Targets(dim=4, num_classes=3), unit(4), LABELS[:4]
    for label in (0, 1):
        part.centroids[label] = -part.targets[1 - label]
    before = part.centroids.clone()
    matched = part.matched(rows, labels)
    assert torch.equal(part.centroids, before)
    part.after_step({"main": Outputs(embedding=rows)}, {"main": batch_of(torch.zeros(4, 1, 2, 2), labels)})
    mean = F.normalize(rows[:2].mean(dim=0), dim=0)
    torch.testing.assert_close(part.centroids[0], F.normalize(0.9 * before[0] + 0.1 * mean, dim=0))
    assert sorted((matched @ part.targets.T).argmax(dim=1).tolist()) == [0, 1, 2]
    assert torch.equal(moved(before, rows[:2], labels[:2])[1:], before[1:])


def test_a_copy_of_a_target_is_a_column_of_its_own() -> None:
    """Two copies equal two columns, in value and gradient, in float64."""
    rows, targets = unit(8).double().requires_grad_(), unit(3, seed=1).double()
    positive, others = positives(LABELS, 9), ~torch.eye(8, dtype=torch.bool)
    loss = targeted(rows @ rows.T, positive, others, rows @ targets.T, LABELS, 0.1, copies=2, weight=0.2).sum()
    logits = torch.cat([rows @ rows.T, rows @ targets.T, rows @ targets.T], dim=1) / 0.1
    log_p = logits.masked_fill(F.pad(~others, (0, 6)), -torch.inf).log_softmax(dim=1)
    expected = torch.zeros((), dtype=torch.float64)
    for row, label in enumerate(LABELS.tolist()):
        keys, total = log_p[row, :8][positive[row]], positive[row].sum() + 2
        expected = expected - (keys.sum() + 0.2 * (log_p[row, 8 + label] + log_p[row, 11 + label])) / total
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(value, rows)[0] for value in (loss, expected)), rtol=1e-10, atol=1e-12)


def test_the_target_of_the_class_is_always_a_positive_of_the_queue_s_form() -> None:
    torch.manual_seed(0)
    term = TSCQueue(k=1, queue=6, dim=4, num_classes=3)
    empty, _ = evaluate(term, torch.tensor([0, 1]))
    assert empty > 0, "the other targets are negatives before there is a key"
    rows, labels = unit(2, seed=3), torch.tensor([0, 1])
    streams = dict.fromkeys(term.streams, batch_of(torch.zeros(2, 1, 2, 2), labels))
    term.queue.after_step(dict.fromkeys(term.streams, Outputs(embedding=rows)), streams)
    assert term.queue.labels.tolist() == [0, 1, -1, -1, -1, -1] and torch.equal(term.queue.keys[:2], rows)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SupCon(temperature=0), "temperature and base must be above 0"),
        (lambda: KCL(k=0), "k must be at least 1, got 0"),
        (lambda: KCLQueue(queue=0), "queue and dim must be above 0"),
        (lambda: TSC(copies=0, num_classes=3), "copies must be at least 1, got 0"),
        (lambda: TSCQueue(weight=-1.0, num_classes=3), "weight must not be negative"),
        (lambda: evaluate(TSC(dim=5, num_classes=3), LABELS[:4]), "dim must equal the projector's out, 4, got 5"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize("option", ["supcon", "kcl", "tsc", "sbcl", "kcl_large", "tsc_large"])
def test_without_a_stage_for_the_classifier_pre_training_is_refused(option: str) -> None:
    sentence = refused(assembled({"representation": option}))
    assert f"representation={option} trains no classifier" in sentence and "decoupling=linear" in sentence
    refused(assembled({"representation": option, "decoupling": "m2m"}))
    for decoupling in ("linear", "sbcl", "crt"):
        stages = bound(assembled({"representation": option, "decoupling": decoupling})).stages
        assert [stage.trainable for stage in stages] == [None, ["*head*"]]
    assert "margin=none" in refused(
        assembled({"representation": option, "margin": "ldam", "classifier": "cosine", "decoupling": "linear"})
    )
    assert choice("representation", option).picked["decoupling"] == "linear"


def test_the_second_stage_trains_a_new_head_on_frozen_features_with_the_authors_settings() -> None:
    contrast, classifier = bound(choice("method", "tsc").composition).stages
    assert list(contrast.streams) == ["main", "view"] and list(classifier.streams) == ["main"]
    assert not classifier.terms and classifier.reset_head and classifier.norm == "track"
    assert classifier.epochs == contrast.epochs // 10
