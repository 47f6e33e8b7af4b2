"""Self-training on unlabelled images: selection of CReST, state of DARP, assumed shares, the auxiliary classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.contracts.trial import unlabelled
from ltrun.data import Resident
from ltrun.engine.stage import StageRun
from ltrun.errors import ConfigError, DataError
from ltrun.parts import Network
from ltrun.recipe.stage import Stage
from ltrun.targets import one_label
from ltrun.transfer import DARP, ABCConsistency, CReST, CReSTPool, DistributionAlignment, FixMatch
from ltrun.transfer.crest import rates
from ltrun.transfer.pool_shares import pool_shares
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import CPU, assembled, blind_view, bound, small, trainer
from tests.support.recipes import refused

STATS = ClassStats(torch.tensor([50, 20, 8, 2]))
POOL = 40


def view(logits: Tensor, epoch: int = 0) -> View:
    """A view whose teacher 'previous' predicts given logits (U, C) for the unlabelled images, whose inputs are their rows."""

    def opened(rows: Tensor, split: str) -> Batch:
        assert split == "unlabelled"
        return Batch(rows, Labels.hard(torch.zeros_like(rows)), rows)

    def predict(inputs: Tensor, by: str | None = None) -> Outputs:
        assert by == "previous"
        return Outputs(logits=logits[inputs])

    return replace(blind_view(Clock("train", epoch, 5), STATS), open=opened, predict=predict)


def pool(**arguments: Any) -> CReSTPool:
    return CReSTPool(**arguments, stats=STATS, unlabelled=POOL, teachers={"previous": Network()})


def batch(inputs: Tensor, labels: Tensor, rows: Tensor | None = None) -> Batch:
    return Batch(inputs, Labels.hard(labels), torch.arange(len(inputs)) if rows is None else rows)


# ----------------------------------------------------------------------------------------------------------------- shares


def test_a_long_tail_leaves_over_the_complement_of_its_counts() -> None:
    assert pool_shares(STATS.counts, "complement").tolist() == [0.0, 30 / 120, 42 / 120, 48 / 120]
    assert pool_shares(STATS.counts, "labelled").tolist() == [0.625, 0.25, 0.1, 0.025]
    assert pool_shares(STATS.counts, "uniform").tolist() == [0.25] * 4
    assert pool_shares(torch.tensor([7, 7]), "complement").tolist() == [0.5, 0.5]


# ------------------------------------------------------------------------------------------------------------------ CReST


def test_rates_are_those_of_the_opposite_rank_in_any_order_of_classes() -> None:
    expected = rates(torch.tensor([50, 20, 8, 2]), 3.0)
    assert expected[3] == 1 and expected.tolist() == sorted(expected.tolist())
    order = torch.tensor([2, 0, 3, 1])
    assert rates(torch.tensor([50, 20, 8, 2])[order], 3.0).tolist() == expected[order].tolist()
    assert rates(torch.tensor([5, 0]), 3.0).tolist() == [0.0, 1.0]


def test_the_pool_labels_all_images_when_a_stage_begins_and_only_then() -> None:
    logits = torch.randn(POOL, 4) + torch.tensor([3.0, 0.0, 0.0, 0.0])
    sampler = pool()
    sampler.adapt(view(logits))
    assert torch.equal(sampler.labels, logits.argmax(dim=1))
    kept = (torch.bincount(sampler.labels, minlength=4) * rates(STATS.counts, 3.0)).long()
    assert torch.bincount(sampler.labels[sampler.chosen], minlength=4).tolist() == kept.tolist()
    assert sampler.share.item() == pytest.approx(int(kept.sum()) / (80 + int(kept.sum())))
    before = {name: tensor.clone() for name, tensor in sampler.named_buffers()}
    sampler.adapt(view(-logits, epoch=1))
    assert all(torch.equal(before[name], tensor) for name, tensor in sampler.named_buffers())
    rows = sampler.draw(Labels.hard(torch.zeros(POOL)), Clock("train", 1, 5), torch.Generator())
    assert sorted(rows.tolist()) == sampler.chosen.nonzero()[:, 0].tolist() != rows.tolist()


def test_a_pool_without_a_selected_image_replaces_nothing() -> None:
    sampler = pool()
    sampler.chosen.zero_()
    assert sampler.draw(Labels.hard(torch.zeros(POOL)), Clock("train", 0, 5), torch.Generator()).tolist() == [0]
    main = batch(torch.rand(6, 1, 2, 2), torch.arange(6) % 4)
    selected = batch(torch.rand(6, 1, 2, 2), torch.zeros(6), torch.zeros(6, dtype=torch.int64))
    streams = CReST(samplers={"selected": sampler})({"main": main, "selected": selected})
    assert streams.keys() == {"main"} and torch.equal(streams["main"].inputs, main.inputs)


def test_replaced_images_have_their_pseudo_labels_in_every_column() -> None:
    sampler = pool()
    sampler.labels.copy_(torch.arange(POOL) % 4)
    sampler.share.fill_(0.5)
    rows = torch.randperm(POOL)
    main = Batch(torch.zeros(POOL, 1, 2, 2), Labels(torch.full((POOL, 2), 9), torch.full((POOL, 2), 0.5)), torch.arange(POOL))
    selected = batch(torch.ones(POOL, 1, 2, 2), torch.zeros(POOL), rows)
    torch.manual_seed(0)
    mixed = CReST(samplers={"selected": sampler})({"main": main, "selected": selected})["main"]
    replaced = mixed.inputs[:, 0, 0, 0] == 1
    assert 0.25 < replaced.float().mean() < 0.75
    assert torch.equal(one_label(mixed.targets).index[replaced], (rows % 4)[replaced][:, None].expand(-1, 2))
    assert (one_label(mixed.targets).index[~replaced] == 9).all()
    assert torch.equal(one_label(mixed.targets).weight, one_label(main.targets).weight)


def test_generations_begin_anew_and_learn_from_the_network_before(tmp_path: Path) -> None:
    made = trainer(bound(small(assembled({"transfer": "crest"}), 2)), tmp_path)
    begun: list[StageRun] = []
    begin = made.begin

    def watched(network: Network, stage: Stage, index: int) -> StageRun:
        before = {name: tensor.clone() for name, tensor in network.state_dict().items() if name.endswith("weight")}
        run = begin(network, stage, index)
        if begun:
            teacher = run.objective.teachers["previous"].state_dict()
            assert all(torch.equal(tensor, teacher[f"network.{name}"]) for name, tensor in before.items())
            assert not torch.equal(run.network.state_dict()["head.weight"], before["head.weight"])
        begun.append(run)
        return run

    made.begin = watched  # type: ignore[method-assign]
    made.run()
    assert [run.stage.name for run in begun] == ["generation0", "generation1", "train"]
    assert all(run.samplers.state_dict()["selected.chosen"].any() for run in begun[1:])


# --------------------------------------------------------------------------------------------------------- alignment, DARP


def test_the_mean_prediction_is_of_the_last_batches() -> None:
    term = DistributionAlignment(stats=STATS)
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    for _ in range(200):
        term.after_step({"weak": Outputs(logits=logits)}, {})
    assert torch.allclose(term.history.mean(dim=0), logits.softmax(dim=1)[0])


def test_darp_keeps_the_latest_predictions_and_refines_them_from_its_start_on() -> None:
    term = DARP(start=0.4, shares="uniform", stats=STATS, unlabelled=POOL)
    rows, logits = torch.randperm(POOL)[:30], 3 * torch.randn(30, 4) + torch.tensor([2.0, 0.0, 0.0, 0.0])
    outputs, streams = {"weak": Outputs(logits=logits), "strong": Outputs(logits=logits)}, {"weak": batch(logits, rows, rows)}
    plain = FixMatch()(outputs, streams)
    assert torch.equal(term(outputs, streams), plain), "before its start it is FixMatch"
    term.after_step(outputs, streams)
    assert torch.equal(term.predictions[rows], logits.softmax(dim=1))
    term.adapt(blind_view(Clock("train", 1, 5), STATS))
    assert not term.active
    term.adapt(blind_view(Clock("train", 2, 5), STATS))
    assert term.active and not torch.equal(term(outputs, streams), plain)
    wrong = (term.labels.sum(dim=0) / POOL - 0.25).abs().max()
    assert wrong < 0.01 < (term.predictions.sum(dim=0) / POOL - 0.25).abs().max()
    assert torch.allclose(term.labels.sum(dim=1), torch.ones(POOL))


def test_certain_predictions_and_a_class_without_a_share_are_refined_to_finite_labels() -> None:
    term = DARP(start=0.0, stats=STATS, unlabelled=POOL)
    term.predictions.copy_(torch.eye(4)[torch.zeros(POOL, dtype=torch.int64)])
    term.adapt(blind_view(Clock("train", 0, 5), STATS))
    assert term.labels.isfinite().all() and torch.allclose(term.labels.sum(dim=1), torch.ones(POOL))


def test_a_run_does_not_go_on_with_other_unlabelled_images(tmp_path: Path) -> None:
    recipe = bound(small(assembled({"transfer": "darp"}), 1))
    trainer(recipe, tmp_path).run()
    made = trainer(recipe, tmp_path)
    fewer = Resident(unlabelled(CPU).images[1:], Labels.hard(torch.zeros(len(unlabelled(CPU)) - 1)))
    made.context = replace(made.context, splits=replace(made.context.splits, unlabelled=fewer))
    with pytest.raises(DataError, match=r"begun with other data: .*unlabelled images"):
        made.run()


# -------------------------------------------------------------------------------------------------------------------- ABC


def test_the_auxiliary_classifier_predicts_and_the_other_is_trained_by_the_runs_losses(tmp_path: Path) -> None:
    made = trainer(bound(small(assembled({"transfer": "abc"}), 1)), tmp_path)
    network, inputs = made.network(), torch.rand(5, 1, 8, 8)
    assert network.head_names() == ["head", "auxiliary_head"] and network.features == made.network().backbone.features  # type: ignore[union-attr]
    for mode, place in ((True, 0), (False, 1)):
        outputs = network.train(mode).predict(inputs)
        assert torch.equal(outputs.need("logits"), outputs.need("experts")[place])
        head = network.get_submodule(network.head_names()[place])
        assert torch.equal(outputs.need("head"), head.classes)  # type: ignore[arg-type]


def test_abc_is_refused_where_a_stage_would_not_train_the_classifier_that_predicts() -> None:
    sentence = refused(assembled({"transfer": "abc", "decoupling": "crt"}))
    assert sentence.startswith("transfer=abc predicts with a classifier that only its term 'auxiliary' trains, which stage 'cl")
    assert "transfer=abc" in refused(assembled({"transfer": "abc", "ensemble": "ride"}))


def test_rates_of_the_unlabelled_images_balance_the_assumed_shares() -> None:
    for shares, rare in (("labelled", [0.04, 0.1, 0.25, 1.0]), ("complement", [1.0, 1.0, 30 / 42, 30 / 48])):
        term = ABCConsistency(shares=shares, stats=STATS)  # type: ignore[arg-type]
        assert term.last.tolist() == pytest.approx(rare)


# ------------------------------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FixMatch(1.5), "threshold"),
        (lambda: ABCConsistency(-0.1, stats=STATS), "threshold"),
        (lambda: DistributionAlignment(temperature=-1.0, stats=STATS), "temperature"),
        (lambda: DistributionAlignment(generation=3, generations=3, stats=STATS), "generation"),
        (lambda: DARP(start=2.0, stats=STATS, unlabelled=POOL), "start"),
        (lambda: DARP(rounds=0, stats=STATS, unlabelled=POOL), "delta"),
        (lambda: pool(alpha=0.0), "alpha"),
        (lambda: pool(teacher="nobody"), "teacher"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named}"):
        make()
