"""What every option of class re-balancing keeps to, whichever parts it has: walks conf/, so that a new one is held to it too.

Single and half precision, a class absent from the batch, a batch of one, a class with one image and one with none, and 8,142
classes at as many tensor operations as three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.config.bind import Bound
from ltrun.loss import Classification
from ltrun.parts import Head, Part, PostHoc, Sampler
from ltrun.recipe.stage import MAIN, Stage
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import OPTIONS, Count, assembled, blind_view, bound
from tests.unit.resampling.test_samplers import chi_square

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
SMALL, INATURALIST = 3, 8_142
FIRST, LAST = Clock("train", 0, 200), Clock("train", 199, 200)  # before and after every deferred switch
DTYPES = [torch.float32, torch.bfloat16]
BATCHES = {"batch of one": [3], "one class": [0, 0, 0], "no class 4": [0, 1, 2, 3, 3]}
SCALE, FEATURES = 30.0, 16


def cases(*slots: str) -> list[Any]:
    found = [(slot, option) for slot in slots for option in OPTIONS[slot] if option != "none"]
    return [pytest.param(slot, option, id=f"{slot}={option}") for slot, option in found]


def tail(classes: int) -> ClassStats:
    return ClassStats((1000 * torch.arange(1, classes + 1) ** -0.9).long().clamp(min=2))


# ------------------------------------------------------------------------------------- margins, weights, losses, adjustments


class Loss(nn.Module):
    """The classification loss, further terms and sampler of an option, as the trainer builds them, without a network."""

    def __init__(self, stage: Stage, stats: ClassStats):
        super().__init__()
        context: dict[str, Any] = {"stats": stats, "num_classes": stats.num_classes}
        main = stage.streams[MAIN].sampler
        assert main is not None
        self.sampler = context["sampler"] = main.build(context)
        criterion = stage.criterion.build(context) if stage.criterion else None
        adjusts, weighs = [part.build(context) for part in stage.adjusts], [part.build(context) for part in stage.weighs]
        classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
        context["classify"] = classification
        self.terms = nn.ModuleList([classification, *(part.build(context) for _, part in stage.terms.values())])
        self.stats = stats

    def parts(self) -> Iterator[Part]:
        return (module for module in self.modules() if isinstance(module, Part))

    def adapt(self, clock: Clock) -> None:
        for part in self.parts():
            part.adapt(blind_view(clock, self.stats))

    def forward(self, outputs: Outputs, labels: list[int]) -> Tensor:
        streams = {MAIN: batch(labels)}
        return torch.stack([term({MAIN: outputs}, streams).float() for term in self.terms]).sum()

    @torch.no_grad()
    def after_step(self, outputs: Outputs, labels: list[int]) -> None:
        for part in self.parts():
            part.after_step({MAIN: outputs.detach()}, {MAIN: batch(labels)})


def batch(labels: list[int]) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 2, 2), Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


def outputs_of(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> Outputs:
    """What a cosine head says of random features; the logits are a leaf."""
    generator = torch.Generator().manual_seed(rows)
    features, head = torch.randn(rows, FEATURES, generator=generator), torch.randn(classes, FEATURES, generator=generator)
    logits = SCALE * nn.functional.normalize(features, dim=1) @ nn.functional.normalize(head, dim=1).T
    return Outputs(features.to(dtype), logits.to(dtype).requires_grad_(), SCALE, head.to(dtype))


def loss_of(slot: str, option: str, stats: ClassStats) -> Loss:
    torch.manual_seed(0)
    needed = {"classifier": "cosine"} if slot == "margin" else {}
    return Loss(bound(assembled({slot: option, **needed})).stages[0], stats)


LOSSES = cases("resampling", "reweighting", "margin", "logit_adjustment")  # re-sampling: the meta sampler weighs too


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_loss_gradient_and_state_stay_finite(slot: str, option: str, dtype: torch.dtype) -> None:
    part = loss_of(slot, option, STATS)
    for clock in (FIRST, LAST):
        part.adapt(clock)
        for name, labels in BATCHES.items():
            outputs = outputs_of(len(labels), 5, dtype)
            assert outputs.logits is not None
            loss = part(outputs, labels)
            loss.backward()
            gradient = outputs.logits.grad
            assert loss.isfinite(), name
            assert gradient is not None and gradient.isfinite().all() and gradient.any(), name
            for name_of_state, parameter in part.named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), name_of_state
            part.after_step(outputs, labels)
            assert all(tensor.isfinite().all() for tensor in part.state_dict().values()), name


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_half_precision_is_near_single(slot: str, option: str) -> None:
    """bfloat16 keeps 8 bits: what comes out must not be another loss, as a margin would be that is rounded away."""
    found = []
    for dtype in DTYPES:
        part, labels = loss_of(slot, option, STATS), [0, 1, 2, 3, 3, 0, 0, 1]
        part.adapt(LAST)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(labels), 5, dtype), labels).item())
    assert found[1] == pytest.approx(found[0], rel=0.03, abs=0.03)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_thousands_of_classes_take_no_loop(slot: str, option: str) -> None:
    """Building, an epoch's beginning, a step with its gradient, what follows it."""
    calls = []
    for classes in (SMALL, INATURALIST):
        labels, stats = [0, 1, 2, 0, 1, classes - 1], tail(classes)
        outputs = outputs_of(len(labels), classes)
        with Count() as count:
            part = loss_of(slot, option, stats)
            part.adapt(LAST)
            loss = part(outputs, labels)
            loss.backward()
            part.after_step(outputs, labels)
        assert loss.isfinite()
        calls.append(count.calls)
    assert calls[0] == calls[1]


# ------------------------------------------------------------------------------------------------------------------ samplers

COUNTS = [500, 180, 0, 64, 23, 8, 1]
LABELS = torch.arange(7).repeat_interleave(torch.tensor(COUNTS))[
    torch.randperm(776, generator=torch.Generator().manual_seed(0))
]
PRESENT = [n for n in COUNTS if n]


def shares(weight: Callable[[int], float]) -> list[float]:
    """Of each class, by the weight of one with n images; 0 without images."""
    weights = [weight(n) if n else 0.0 for n in COUNTS]
    return [w / sum(weights) for w in weights]


as_they_come, balanced = shares(lambda n: n), shares(lambda n: 1)
# The share of each class in the first epoch and in the last, by the published formula, in plain Python.
FORMULAE: dict[str, tuple[list[float], list[float]]] = {
    "instance": (as_they_come, as_they_come),
    "class_aware": (balanced, balanced),
    "class_balanced": (balanced, balanced),
    "class_difficulty": (balanced, balanced),  # before anything is known: every class is as difficult
    "drs": (as_they_come, balanced),
    "dynamic_curriculum": (as_they_come, shares(lambda n: n ** math.cos(math.pi / 2 * 199 / 200))),
    "effective_number": (shares(lambda n: n / sum(0.9999**k for k in range(n))),) * 2,
    "meta": (as_they_come, as_they_come),  # as long as its rates have not moved
    "power": (shares(lambda n: n**0.25),) * 2,
    "progressively_balanced": (as_they_come, balanced),
    "repeat_factor": (shares(lambda n: n * max(1.0, math.sqrt(776 / 7 / n))),) * 2,
    "reversed": (shares(lambda n: 1 / n),) * 2,
    "square_root": (shares(lambda n: math.sqrt(n)),) * 2,
}


def sampler_of(option: str, stats: ClassStats) -> Sampler:
    return loss_of("resampling", option, stats).sampler


def draw(sampler: Sampler, clock: Clock, labels: Tensor = LABELS, seed: int = 0) -> Tensor:
    return sampler.draw(Labels.hard(labels), clock, torch.Generator().manual_seed(seed))


def test_every_sampler_has_its_formula() -> None:
    assert set(FORMULAE) == set(OPTIONS["resampling"])


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_frequencies_are_those_of_the_formula(option: str) -> None:
    """Chi-square of 60 epochs, drawn by the option as its YAML has it; 20.5 is the 0.1 % point for 5 degrees of freedom."""
    sampler = sampler_of(option, ClassStats(torch.tensor(COUNTS)))
    for clock, formula in zip((FIRST, LAST), FORMULAE[option], strict=True):
        rows = torch.cat([draw(sampler, clock, seed=seed) for seed in range(60)])
        assert rows.dtype == torch.int64 and rows.min() >= 0 and rows.max() < len(LABELS)
        expected = torch.tensor(formula, dtype=torch.float64)
        assert chi_square(LABELS[rows], expected) < 20.5
        others = [torch.tensor(other, dtype=torch.float64) for pair in FORMULAE.values() for other in pair]
        far = [other for other in others if (other - expected).abs().max() > 0.02]
        assert len(far) > 6 and all(chi_square(LABELS[rows], other) > 500 for other in far)  # the test can fail


@pytest.mark.parametrize("clock", [FIRST, LAST], ids=["first", "last"])
@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_a_draw_is_a_function_of_its_generator_alone(option: str, clock: Clock) -> None:
    stats = ClassStats(torch.tensor(COUNTS))
    first = draw(sampler_of(option, stats), clock)
    sampler = sampler_of(option, stats)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(draw(sampler, clock), first) and torch.equal(
        draw(sampler, clock), first
    )  # nor of how often it was asked
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(draw(sampler, clock, seed=1), first)


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_drawing_takes_no_loop_over_classes_or_images(option: str) -> None:
    calls = []
    for rows, classes in ((12, SMALL), (20_000, INATURALIST)):
        labels = torch.arange(rows) % classes
        sampler = sampler_of(option, ClassStats(torch.bincount(labels, minlength=classes)))
        with Count() as count:
            assert len(draw(sampler, LAST, labels)) >= rows
        calls.append(count.calls)
    assert calls[0] == calls[1]


# ------------------------------------------------------------------------------------------------------- heads and post hoc


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
