"""Losses of collaborating experts: what is summed, averaged and detached; any number of experts; edges and refusals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble import MDCS, NCL, BalPoE, NCLPlus, ResLT
from ltrun.ensemble.mdcs import consistency
from ltrun.ensemble.ncl import hardest, mutual
from ltrun.ensemble.reslt import ranks
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.reweighting import InverseFrequency
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([50, 20, 20, 8, 1, 0]))
ROWS, CLASSES = 7, 6
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 0])
TERMS: list[Callable[..., Term]] = [ResLT, BalPoE, MDCS, NCL, NCLPlus]


def logits(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * drawn).requires_grad_()


def streams_of(term: Term, targets: Labels | None = None) -> dict[str, Batch]:
    targets = targets or Labels.hard(LABELS)
    return {name: Batch(torch.empty(len(targets), 0), targets, torch.arange(len(targets))) for name in term.streams}


def value(term: Term, experts: Tensor, targets: Labels | None = None) -> Tensor:
    return term({name: Outputs(experts=experts) for name in term.streams}, streams_of(term, targets))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("make", TERMS)
def test_every_number_of_experts_learns(make: Callable[..., Term], number: int) -> None:
    experts = logits(number, ROWS)
    loss = value(make(stats=STATS, classify=Classification()), experts)
    (gradient,) = torch.autograd.grad(loss, experts)
    assert loss.isfinite() and gradient.isfinite().all() and gradient.any(dim=2).any(dim=1).all()


@pytest.mark.parametrize("number", [2, 4, 6])
def test_rules_for_other_numbers_of_experts(number: int) -> None:
    """Taus from 0 to 2, exponents from -0.5 to 2.5, branches from e / E of the classes on."""
    experts, steps = logits(number, ROWS), [e / (number - 1) for e in range(number)]
    classify = Classification()
    for make, given in [
        (BalPoE, {"taus": [2 * step for step in steps]}),
        (MDCS, {"exponents": [3 * step - 0.5 for step in steps]}),
        (ResLT, {"starts": [e / number for e in range(number)]}),
    ]:
        alone, stated = (value(make(**each, stats=STATS, classify=classify), experts) for each in ({}, given))
        torch.testing.assert_close(alone, stated)


@pytest.mark.parametrize(
    ("make", "name"), [(BalPoE, "taus"), (MDCS, "exponents"), (ResLT, "starts")], ids=["balpoe", "mdcs", "reslt"]
)
def test_a_wrong_number_of_values_is_refused(make: Callable[..., Term], name: str) -> None:
    term = make([0.0, 0.5], stats=STATS, classify=Classification())
    sentence = rf"{name} has 2 values for 3 experts; give one for each, or null, or set ensemble.network.num_experts=2"
    with pytest.raises(ConfigError, match=sentence):
        value(term, logits(3, ROWS))


def test_balpoe_averages_where_the_others_sum() -> None:
    """Fact 21: with experts alike, one more changes the loss of sums alone."""
    one = logits(1, ROWS)
    two, four = one.expand(2, -1, -1), one.expand(4, -1, -1)
    flat = ClassStats(torch.full((CLASSES,), 9))
    for make, ratio in [(BalPoE, 1), (MDCS, 2), (NCL, 2), (NCLPlus, 2)]:
        term = make(stats=flat, classify=Classification())
        assert value(term, four).item() == pytest.approx(ratio * value(term, two).item(), rel=1e-6)


def test_divergences_are_means_over_the_rows() -> None:
    """Fact 18: NCL's over all rows, MDCS's over the rows that the weak view gets right; T = 1, without a division by C."""
    members = logits(2, ROWS)
    p = [F.softmax(x, dim=1) for x in members]
    both = [(p[j] * (p[j].log() - (p[1 - j] + 1e-9).log())).sum() for j in range(2)]
    torch.testing.assert_close(mutual(members), (both[0] + both[1]) / ROWS, rtol=1e-12, atol=0)

    weak, strong = logits(1, ROWS, seed=1), logits(1, ROWS, seed=2)
    guess = weak[0].argmax(dim=1)
    labels = torch.cat([guess[:3], (guess[3:] + 1) % CLASSES])  # three of seven rows are right
    q, log_s = F.softmax(weak[0], dim=1), F.log_softmax(strong[0], dim=1)
    rows = (q * (q.log() - log_s)).sum(dim=1)
    torch.testing.assert_close(consistency(weak, strong, labels)[0], rows[:3].mean(), rtol=1e-12, atol=0)
    assert consistency(weak, strong, (guess + 1) % CLASSES).tolist() == [0.0]


def test_the_weak_view_is_detached_and_no_network_of_ncl_is() -> None:
    """Fact 19."""
    weak, strong = logits(2, ROWS, seed=1), logits(2, ROWS, seed=2)
    own = weak[0].argmax(dim=1)
    gradients = torch.autograd.grad(consistency(weak, strong, own).sum(), [weak, strong], allow_unused=True)
    assert gradients[0] is None and gradients[1].any()
    members = logits(3, ROWS)
    for i in range(3):  # of one pair, both networks get gradient
        j = (i + 1) % 3
        (gradient,) = torch.autograd.grad(mutual(torch.stack([members[i], members[j]])), members)
        assert gradient[i].any() and gradient[j].any()


def test_ncls_divergence_is_the_sum_over_ordered_pairs() -> None:
    members, weight = logits(4, ROWS), torch.rand(ROWS, CLASSES, dtype=torch.float64)
    p = members.softmax(dim=2)
    pairs = [(weight * p[j] * (p[j].log() - (p[i] + 1e-9).log())).sum() / ROWS for i in range(4) for j in range(4) if i != j]
    torch.testing.assert_close(mutual(members, weight), torch.stack(pairs).sum(), rtol=1e-12, atol=0)
    assert mutual(members[:1]).item() == 0


def test_logarithms_of_counts() -> None:
    """Fact 20: NCL log n, MDCS log(n^a + 1e-9) of raw counts, BalPoE log(pi + 1e-9); an empty class counts as the rarest."""
    counts = torch.tensor([50.0, 20, 20, 8, 1, 1], dtype=torch.float64)
    rows, experts = torch.arange(ROWS) % CLASSES, torch.zeros(2, ROWS, CLASSES, dtype=torch.float64)

    def entropy(shift: Tensor) -> Tensor:
        return F.cross_entropy(shift.expand(ROWS, -1), rows)

    log_prior = (counts / STATS.counts.sum() + 1e-9).log()
    found = value(BalPoE([0.0, 1.5], stats=STATS, classify=Classification()), experts, Labels.hard(rows))
    expected = (entropy(torch.zeros(CLASSES, dtype=torch.float64)) + entropy(1.5 * log_prior)) / 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    powers = [entropy((counts**a + 1e-9).log()) for a in (-0.5, 2.0)]
    found = value(MDCS([-0.5, 2.0], strength=0.0, stats=STATS, classify=Classification()), experts, Labels.hard(rows))
    torch.testing.assert_close(found, powers[0] + powers[1], rtol=1e-6, atol=0)
    plain = value(NCL(hard=0.0, stats=STATS, classify=Classification()), experts, Labels.hard(rows))
    torch.testing.assert_close(plain, 2 * entropy(counts.log()), rtol=1e-6, atol=1e-6)


def test_hard_classes_contain_every_label_of_a_row() -> None:
    raw = logits(ROWS)
    both = torch.stack([LABELS, (LABELS + 1) % CLASSES], dim=1)
    mask = hardest(raw, both, 3)
    assert mask.sum(dim=1).tolist() == [3] * ROWS and not mask.requires_grad
    assert mask.gather(1, both).all()
    others = raw.detach().scatter(1, both, -torch.inf)
    assert mask.gather(1, others.argmax(dim=1, keepdim=True)).all()
    assert hardest(raw, both, 1).sum(dim=1).tolist() == [2] * ROWS  # no label is left out
    assert hardest(raw, both, 99).all()


def test_reslt_ranks_classes_by_their_images() -> None:
    assert ranks(torch.tensor([8, 50, 0, 20, 20])).tolist() == [3, 0, 4, 1, 2]
    term = ResLT([0.0, 0.5], stats=ClassStats(torch.tensor([8, 50, 0, 20])), classify=Classification())
    assert term.trains(2).tolist() == [[True] * 4, [True, False, True, False]]


def test_reslt_composes_with_the_runs_loss() -> None:
    """Each branch has the run's loss of its images; with mixed labels, of the shares of its images."""
    experts, weighs = logits(2, ROWS), [InverseFrequency(stats=STATS)]
    weights = weighs[0](experts[0], LABELS, Outputs()).double()
    term = ResLT([0.0, 0.5], 1.0, stats=STATS, classify=Classification(weighs=weighs))
    losses = torch.stack([-(x.softmax(dim=1)[torch.arange(ROWS), LABELS] + 1e-7).log() for x in experts])
    late = (LABELS >= 3).double()
    expected = ((losses[0] * weights).sum() + (losses[1] * weights * late).sum()) / weights.mean() / (ROWS + late.sum())
    torch.testing.assert_close(value(term, experts), expected, rtol=1e-5, atol=0)

    plain = ResLT([0.0, 0.5], 0.7, stats=STATS, classify=Classification())
    half = torch.full((ROWS,), 0.5)
    doubled = Labels.hard(LABELS).mix(Labels.hard(LABELS), half)
    torch.testing.assert_close(value(plain, experts, doubled), value(plain, experts), rtol=1e-6, atol=0)


def test_the_strength_of_mdcs_grows_over_a_twentieth_of_the_stage() -> None:
    term = MDCS(strength=0.6, stats=STATS, classify=Classification())
    place, found = term.now.data_ptr(), []
    for epoch, epochs in [(0, 400), (9, 400), (19, 400), (399, 400), (0, 40), (1, 40), (0, 1)]:
        term.adapt(blind_view(Clock("train", epoch, epochs), STATS))
        found.append(term.now.item())
    assert found == pytest.approx([0.03, 0.3, 0.6, 0.6, 0.3, 0.6, 0.6]) and term.now.data_ptr() == place


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (partial(ResLT, beta=1.5), "beta must lie between 0 and 1, got 1.5"),
        (partial(ResLT, [0.0, 1.0]), "starts must be fractions of the classes, from 0 to below 1"),
        (partial(ResLT, [0.1, 0.5]), "starts must begin with 0"),
        (partial(BalPoE, [0.0, 1e9]), "taus must lie between -100 and 100"),
        (partial(BalPoE, [0.0, float("nan")]), "taus must lie between -100 and 100"),
        (partial(MDCS, [0.0, 9.0]), "exponents must lie between -8 and 8"),
        (partial(MDCS, strength=-1.0), "strength must be at least 0, got -1"),
        (partial(MDCS, ramp=2.0), "ramp must be a fraction of a stage"),
        (partial(NCL, hard_share=0.0), "hard_share must be above 0 and at most 1, got 0"),
        (partial(NCL, hard_distillation=-1.0), "hard_distillation must be at least 0, got -1"),
        (partial(NCLPlus, distillation=-1.0), "distillation must be at least 0, got -1"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[..., Term], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(stats=STATS, classify=Classification())
