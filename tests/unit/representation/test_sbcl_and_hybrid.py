"""SBCL's subclasses and its two losses; the hybrid losses and what they pass from and to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.representation import SBCL, HybridPSC, HybridSC, SupCon
from ltrun.representation.hybrid import prototypical
from ltrun.representation.sbcl import between_subclasses, kmeans, scatter, temperatures
from ltrun.types import Batch, ClassStats, Clock, Outputs, Streams, View
from tests.support.photographs import batch_of, view

COUNTS = torch.tensor([6, 2, 0])
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])


def unit(rows: int, dim: int = 4, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_kmeans_finds_directions_and_keeps_as_many_clusters_as_rows() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.eye(3).repeat_interleave(20, dim=0) * torch.linspace(1, 5, 60)[:, None]
    rows = centres + 0.05 * torch.randn(60, 3, generator=generator)
    best = max((kmeans(rows, 3, generator) for _ in range(8)), key=lambda found: len(found.unique()))
    assert all(len(part.unique()) == 1 for part in best.split(20)) and len(best.unique()) == 3
    assert sorted(kmeans(torch.eye(4), 4, generator).tolist()) == [0, 1, 2, 3]
    assert kmeans(rows, 1, generator).tolist() == [0] * 60


def test_a_wide_class_has_a_high_temperature_and_an_undivided_one_the_usual() -> None:
    scatters = torch.tensor([1.0, 2.0, 3.0, 40.0])
    low, high = torch.tensor(scatters.tolist()).quantile(torch.tensor([0.1, 0.9])).tolist()
    clipped = torch.tensor([low, 2.0, 3.0, high])
    found = temperatures(scatters, torch.tensor([True, True, False, True]), 0.1)
    expected = 0.1 * clipped / clipped.mean()
    torch.testing.assert_close(found, torch.where(torch.tensor([True, True, False, True]), expected, 0.1))
    rows = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    torch.testing.assert_close(scatter(rows), 1 / torch.tensor(12.0).log())
    assert temperatures(torch.zeros(2), torch.tensor([True, True]), 0.1).tolist() == pytest.approx([0.1, 0.1])


def test_the_second_loss_of_sbcl_agrees_with_its_definition() -> None:
    rows, labels, subclasses = unit(8).requires_grad_(), torch.tensor([0, 0, 1, 0] * 2), torch.tensor([0, 1, 2, 0] * 2)
    warm = torch.tensor([0.2, 0.1], dtype=torch.float64)
    loss = between_subclasses(rows, labels, subclasses, warm)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(8):
        logits, view_of = rows[i] @ rows.T / warm[labels[i]], (i + 4) % 8
        counted = [j for j in range(8) if subclasses[j] != subclasses[i] or j == view_of]
        chosen = [j for j in counted if labels[j] == labels[i]]
        total = total - (logits[chosen] - logits[counted].logsumexp(0)).mean()
    torch.testing.assert_close(loss, total / 8, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(value, rows)[0] for value in (loss, total / 8)), rtol=1e-10, atol=1e-12)


def looks(epoch: int, epochs: int = 4) -> View:
    """A view of images whose embedding is their first pixels."""

    def predict(inputs: Tensor) -> Outputs:
        return Outputs(embedding=F.normalize(inputs.flatten(1).float(), dim=1))

    pixels = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def images(rows: Tensor) -> Batch:
        return batch_of(pixels[rows], LABELS[rows])

    clock, generator = Clock("train", epoch, epochs), torch.Generator().manual_seed(epoch)
    return View(clock, ClassStats(COUNTS), images, predict, generator, LABELS, lambda batch: batch)


def evaluate(term: SBCL | SupCon) -> Tensor:
    outputs = {name: Outputs(embedding=unit(8, seed=seed)) for seed, name in enumerate(term.streams)}
    return term(outputs, dict.fromkeys(term.streams, batch_of(torch.zeros(8, 1, 2, 2), LABELS)))


def test_sbcl_starts_as_supcon_and_divides_the_head_class_later() -> None:
    term = SBCL(size=2, every=0.5, stats=ClassStats(COUNTS))
    assert term.clusters == [3, 1, 1]
    term.adapt(looks(0))
    torch.testing.assert_close(evaluate(term), evaluate(SupCon()))
    term.adapt(looks(1))
    assert term.beta == 0 and torch.equal(term.subclasses, LABELS)
    term.adapt(looks(2))
    assert term.beta == 0.25 and set(term.subclasses[:6].tolist()) <= {0, 1, 2} and term.subclasses[6:].tolist() == [3, 3]
    assert len(term.subclasses[:6].unique()) > 1 and term.temperatures[1:].tolist() == pytest.approx([0.1, 0.1])
    assert evaluate(term).isfinite() and not torch.isclose(evaluate(term), evaluate(SupCon()))


def hybrid(term: HybridSC | HybridPSC, share: float) -> tuple[Tensor, Mapping[str, Outputs], Streams]:
    names = ("main", "view", "balanced")
    outputs = {
        name: Outputs(
            embedding=unit(4, seed=seed).float(), logits=torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        )
        for seed, name in enumerate(names)
    }
    streams = {
        name: batch_of(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]).roll(seed)) for seed, name in enumerate(names)
    }
    streams["view"] = streams["main"]
    term.passage.alpha.fill_(share)
    return term(outputs, streams), outputs, streams


def test_hybrid_sc_passes_from_supcon_to_the_run_s_loss_on_balanced_images() -> None:
    classify = Classification()
    term = HybridSC(classify=classify)
    term.passage.adapt(view(0, 10))
    assert term.passage.alpha == 1
    contrastive, outputs, streams = hybrid(term, 1.0)
    torch.testing.assert_close(contrastive, SupCon(0.1, base=0.1)(outputs, streams))
    classification, *_ = hybrid(term, 0.0)
    balanced = outputs["balanced"]
    torch.testing.assert_close(classification, classify.loss(balanced.need("logits"), streams["balanced"].targets, balanced))
    half, *_ = hybrid(term, 0.5)
    torch.testing.assert_close(half, (contrastive + classification) / 2)
    term.passage.adapt(view(9, 10))
    assert term.passage.alpha.item() == pytest.approx(1 - 0.81)


def test_the_own_prototype_is_outside_the_denominator_of_hybrid_psc() -> None:
    rows, prototypes, labels = unit(5), unit(3, seed=1), torch.tensor([0, 1, 2, 0, 1])
    found, total = prototypical(rows, prototypes, labels, 0.1), 0.0
    for row, label in zip(rows, labels.tolist(), strict=True):
        scores = (row @ prototypes.T / 0.1).exp()
        total -= (scores[label] / (scores.sum() - scores[label])).log().item() / 5
    assert found.item() == pytest.approx(total, rel=1e-9)
    assert prototypical(prototypes, prototypes, torch.arange(3), 0.1) < 0


def test_the_prototypes_are_trained() -> None:
    term = HybridPSC(dim=4, num_classes=3, classify=Classification())
    loss, *_ = hybrid(term, 0.5)
    loss.backward()
    assert term.prototypes.grad is not None and term.prototypes.grad.any()


def test_values_that_make_no_sense_are_refused() -> None:
    stats = ClassStats(COUNTS)
    for values in ({"beta": -1.0}, {"size": 0}, {"every": 0.0}, {"every": 1.5}):
        with pytest.raises(ConfigError, match="beta must be at least 0, size at least 1, and every above 0"):
            SBCL(stats=stats, **values)
    with pytest.raises(ConfigError, match=r"temperature must be at least 0\.001, got 0\.0"):
        HybridSC(temperature=0.0, classify=Classification())
    with pytest.raises(ConfigError, match="dim must be at least 1"):
        HybridPSC(dim=0, num_classes=3, classify=Classification())
    with pytest.raises(ConfigError, match="dim must equal the projector's out, 4, got 5"):
        hybrid(HybridPSC(dim=5, num_classes=3, classify=Classification()), 1.0)


def test_mixed_labels_are_refused() -> None:
    assert not SupCon.mixed and not SBCL.mixed and not HybridSC.mixed and not HybridPSC.mixed
