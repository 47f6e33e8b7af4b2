"""Heads and post-hoc parts of every option stay finite in half precision and take no loop over classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.config.bind import Bound
from ltrun.parts import Head, PostHoc
from ltrun.types import ClassStats, Outputs
from tests.support.cases import OPTIONS, Count, assembled, bound
from tests.support.rebalancing import DTYPES, FEATURES, INATURALIST, SMALL, STATS, tail


def head_of(option: str, classes: int, dtype: torch.dtype = torch.float32) -> Head:
    """As the trainer makes it: a wrapping head around the one trained before."""
    torch.manual_seed(0)
    stage = bound(assembled({"classifier": option})).stages[0]
    context: dict[str, Any] = {"stats": tail(classes), "num_classes": classes, "features": FEATURES}
    head = stage.head.build(context)
    return (stage.wrap.build(context | {"head": head}) if stage.wrap else head).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", OPTIONS["classifier"])
def test_heads_stay_finite(option: str, dtype: torch.dtype) -> None:
    head = head_of(option, 5, dtype)
    for features in (torch.randn(1, FEATURES), torch.zeros(2, FEATURES), 1e4 * torch.randn(3, FEATURES)):
        features = features.to(dtype).requires_grad_()
        logits = head(features)
        logits.float().logsumexp(1).sum().backward()
        assert logits.shape == (len(features), 5) and logits.dtype == dtype and logits.isfinite().all()
        assert features.grad is not None and features.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())
    assert head.classes.shape == (5, FEATURES)


@pytest.mark.parametrize("option", OPTIONS["classifier"])
def test_heads_take_no_loop_over_classes(option: str) -> None:
    calls = []
    for classes in (SMALL, INATURALIST):
        with Count() as count:
            assert head_of(option, classes)(torch.randn(4, FEATURES)).shape == (4, classes)
        calls.append(count.calls)
    assert calls[0] == calls[1]


class Split:
    """A split whose outputs are given; a part may ask for the labels of training images alone."""

    def __init__(self, outputs: Outputs, given: Tensor | None):
        self.given, self.hidden = outputs, given

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return self.given

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.outputs(augment, epoch)

    @property
    def labels(self) -> Tensor:
        if self.hidden is None:
            raise PermissionError("labels")
        return self.hidden


POSTHOC = [option for option in OPTIONS["posthoc"] if option != "none"]


def predictors_of(option: str, stats: ClassStats) -> dict[str, Bound]:
    needed = {"tde": {"classifier": "causal"}, "tde_sweep": {"classifier": "causal"}, "sade_aggregation": {"ensemble": "sade"}}
    needed["sade_aggregation_jitter"] = needed["sade_aggregation"]
    return bound(assembled({"posthoc": option, **needed.get(option, {})})).posthoc


def evidence(rows: int, classes: int, dtype: torch.dtype) -> Outputs:
    """Of the de-confounded head, whose logits all post-hoc parts can read; three experts besides."""
    head = head_of("causal", classes)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, FEATURES, generator=generator) + 1
    experts = torch.randn(3, rows, classes, generator=generator)
    with torch.no_grad():
        outputs = Outputs(features, head(features), head.scale, head.classes, experts)
    return outputs.map(lambda tensor: tensor.to(dtype))


def fitted(part: Bound, stats: ClassStats, dtype: torch.dtype = torch.float32) -> PostHoc:
    """Trained on images that lack the rarest class with images."""
    made: PostHoc = part.build({"stats": stats, "num_classes": stats.num_classes})
    labels = torch.arange(40) % (stats.num_classes - 2)
    known, unknown = (evidence(rows, stats.num_classes, dtype) for rows in (40, 30))
    splits = {"train": Split(known, labels), "val": Split(known, labels), "test_inputs": Split(unknown, None)}
    made.fit({name: splits[name] for name in made.sees})
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", POSTHOC)
def test_scores_stay_finite(option: str, dtype: torch.dtype) -> None:
    for name, bound_part in predictors_of(option, STATS).items():
        part = fitted(bound_part, STATS, dtype)
        for rows in (1, 7):
            scores = part(evidence(rows, 5, dtype))
            assert scores.shape == (rows, 5) and scores.isfinite().all(), name
            assert not scores.requires_grad, name


@pytest.mark.parametrize("option", POSTHOC)
def test_scores_take_no_loop_over_classes(option: str) -> None:
    calls = []
    for classes in (SMALL, INATURALIST):
        stats, count = tail(classes), Count()
        with count:
            for part in predictors_of(option, stats).values():
                assert fitted(part, stats)(evidence(2, classes, torch.float32)).isfinite().all()
        calls.append(count.calls)
    assert calls[0] == calls[1] or option == "label_shift_em"  # whose steps end by themselves
