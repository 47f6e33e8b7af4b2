"""Class counts of zero and arguments at the edges, in every option that counts images: walks conf/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from ltrun.config.bind import Bound
from ltrun.errors import ConfigError
from ltrun.parts import Part, PostHoc, Sampler
from ltrun.recipe.stage import Stage
from ltrun.types import ClassStats, Clock, Labels
from tests.contracts.test_every_head_and_predictor import POSTHOC, Split, evidence, fitted, predictors_of
from tests.support.cases import OPTIONS, assembled, blind_view, bound
from tests.support.rebalancing import LAST, SCALE, outputs_of

STATS = ClassStats(torch.tensor([500, 60, 9, 4, 0]))  # the rarest class that has images has four, not one
EXTREMES = (0.0, 1e-6, 60.0, 1e4)
SLOTS = ("resampling", "reweighting", "margin", "logit_adjustment")
LOSSES = [pytest.param(slot, o, id=f"{slot}={o}") for slot in SLOTS for o in OPTIONS[slot] if o != "none"]
DRAWN = ("gcl", "pml", "softmax_equalization")  # each logit by its own draw, or by the direction of its class weight


def stage_of(slot: str, option: str) -> Stage:
    return bound(assembled({slot: option, **({"classifier": "cosine"} if slot == "margin" else {})})).stages[0]


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_a_class_without_images_is_adjusted_as_the_rarest_that_has_some(slot: str, option: str) -> None:
    """The same cosine for every class: what is added to the logits of the empty class is what the rarest one gets."""
    for part in stage_of(slot, option).adjusts:
        logits = torch.full((2, 5), 0.5 * SCALE)
        adjust = part.build({"stats": STATS, "num_classes": STATS.num_classes})
        scores = adjust(logits, torch.tensor([0, 1]), replace(outputs_of(2, 5), logits=logits))
        if option not in DRAWN:
            torch.testing.assert_close(scores[:, 4], scores[:, 3])
        assert not scores.isnan().any()


@pytest.mark.parametrize("option", POSTHOC)
def test_a_predictor_lifts_a_class_without_images_no_more_than_the_rarest_that_has_some(option: str) -> None:
    """A class that a network was never shown has low logits; a count of 0 must not lift it above all others."""
    known = evidence(200, 5, torch.float32)
    logits = known.need("logits") - torch.tensor([0.0, 0.0, 0.0, 0.0, 15.0])
    for name, part in predictors_of(option, STATS).items():
        if part.target.reads == {"logits"}:
            made: PostHoc = part.build({"stats": STATS, "num_classes": STATS.num_classes})
            made.fit({split: Split(replace(known, logits=logits), None) for split in made.sees})
            scores = made(replace(known, logits=logits))
            assert (scores.argmax(1) == 4).float().mean() < 0.1, name


def at_the_edges(part: Bound[Any]) -> Iterator[Bound[Any]]:
    """The part with each of its numbers, or those of parts nested in it, at each edge."""
    for name, value in part.arguments.items():
        if isinstance(value, Bound):
            yield from (replace(part, arguments={**part.arguments, name: inner}) for inner in at_the_edges(value))
        elif isinstance(value, (float, int)) and not isinstance(value, bool):
            kind = type(value)
            yield from (replace(part, arguments={**part.arguments, name: kind(edge)}) for edge in EXTREMES)


def built(part: Bound[Any], **context: Any) -> Part | None:
    """None where the value is refused with a sentence that names it."""
    given = {"stats": STATS, "num_classes": STATS.num_classes, **context}
    try:
        made: Part = part.build(given)
    except ConfigError as error:
        assert part.path in str(error)
        return None
    return made


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_extreme_numbers_of_a_loss_are_refused_or_finite(slot: str, option: str) -> None:
    stage, labels = stage_of(slot, option), [0, 1, 2, 3, 3, 0]
    parts = [*stage.adjusts, *stage.weighs, *([stage.criterion] if stage.criterion else [])]
    for edge in [edge for part in parts if not part.wants("sampler") for edge in at_the_edges(part)]:
        made = built(edge)
        if made is not None:
            for part in made.modules():
                if isinstance(part, Part):
                    part.adapt(blind_view(LAST, STATS))
            outputs = outputs_of(len(labels), 5)
            scores = made(outputs.need("logits"), torch.tensor(labels), outputs)
            assert not scores.isnan().any() and (scores < torch.inf).all(), edge.arguments


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_extreme_numbers_of_a_sampler_are_refused_or_draw_rows_of_the_set(option: str) -> None:
    stage = bound(assembled({"resampling": option})).stages[0]
    main = stage.streams["main"].sampler
    assert main is not None
    targets = Labels.hard(torch.arange(5).repeat_interleave(STATS.counts))
    for edge in at_the_edges(main):
        sampler = built(edge)
        if isinstance(sampler, Sampler):
            for epoch in (0, 199):
                rows = sampler.draw(targets, Clock("train", epoch, 200), torch.Generator().manual_seed(0))
                assert len(rows) and rows.min() >= 0 and rows.max() < len(targets), edge.arguments


@pytest.mark.parametrize("option", POSTHOC)
def test_extreme_numbers_of_a_predictor_are_refused_or_finite(option: str) -> None:
    for name, part in predictors_of(option, STATS).items():
        for edge in at_the_edges(part):
            if edge.arguments.get("epochs", 0) > 100:  # SADE's would take minutes
                continue
            try:
                made = fitted(edge, STATS)
            except ConfigError as error:
                assert str(error)
                continue
            scores = made(evidence(7, 5, torch.float32))
            assert scores.isfinite().all(), (name, edge.arguments)
