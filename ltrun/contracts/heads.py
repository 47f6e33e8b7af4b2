"""What heads and post-hoc parts keep to: finite logits and scores, in half precision too, without a loop over classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ltrun.classifier import Causal
from ltrun.config.bind import Bound, public_name
from ltrun.contracts.contract import Contract, require
from ltrun.contracts.library import Choice
from ltrun.contracts.losses import names_its_key, no_loop
from ltrun.contracts.stand_ins import (
    DTYPES,
    FEATURES,
    INATURALIST,
    SMALL,
    STATS,
    Split,
    at_the_edges,
    built,
    given,
    tail,
)
from ltrun.contracts.trial import Count
from ltrun.errors import ConfigError
from ltrun.parts import Head, PostHoc
from ltrun.types import ClassStats, Outputs


def of_a_head(choice: Choice) -> Iterator[Contract]:
    """The contracts of an option of `classifier`."""
    for dtype in DTYPES:
        yield Contract(
            f"logits and their gradients are finite in {str(dtype).removeprefix('torch.')}",
            lambda dtype=dtype: head_stays_finite(choice, dtype),  # type: ignore[misc]
        )
    yield Contract("8,142 classes take no loop", lambda: head_takes_no_loop(choice))


def of_a_predictor(choice: Choice) -> Iterator[Contract]:
    """The contracts of an option of `posthoc`."""
    for dtype in DTYPES:
        yield Contract(
            f"scores are finite in {str(dtype).removeprefix('torch.')}, without gradient, in a batch of one too",
            lambda dtype=dtype: scores_stay_finite(choice, dtype),  # type: ignore[misc]
        )
    yield Contract("8,142 classes take no loop", lambda: scores_take_no_loop(choice))
    yield Contract("a class without images is lifted no more than the rarest", lambda: empty_is_not_lifted(choice))
    yield Contract("extreme arguments are refused or give finite scores", lambda: extremes_score_finite(choice))


def head_of(choice: Choice, classes: int, dtype: torch.dtype = torch.float32) -> Head:
    """As the trainer makes it: a wrapping head around the one trained before."""
    torch.manual_seed(0)
    stage, context = choice.stage, given(tail(classes), features=FEATURES)
    head = stage.head.build(context)
    return (stage.wrap.build(context | {"head": head}) if stage.wrap else head).to(dtype)


def head_stays_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Raises BrokenContract."""
    head = head_of(choice, 5, dtype)
    name = public_name(type(head))
    cases = {"ordinary": torch.randn(1, FEATURES), "zero": torch.zeros(2, FEATURES), "large": 1e4 * torch.randn(3, FEATURES)}
    for kind, features in cases.items():
        features = features.to(dtype).requires_grad_()
        logits = head(features)
        where = f"for {kind} features in {dtype}"
        logits.float().logsumexp(1).sum().backward()
        shape = (len(features), 5)
        require(logits.shape == shape, f"{name} returns {tuple(logits.shape)} where (B, C) is {shape}; return a logit a class")
        require(logits.dtype == dtype, f"{name} returns {logits.dtype} {where}; return the type of the features")
        require(logits.isfinite().all(), f"{name}: logits are not finite {where}; do not divide by a norm that may be 0")
        known = features.grad is not None and features.grad.isfinite().all()
        require(known, f"{name}: the gradient of the features is not finite {where}; do not divide by a norm that may be 0")
        for parameter, value in head.named_parameters():
            fine = value.grad is None or value.grad.isfinite().all()
            require(fine, f"{name}: the gradient of '{parameter}' is not finite {where}")
    found = tuple(head.classes.shape)
    require(found == (5, FEATURES), f"{name}.classes has shape {found}, where (C, D) is (5, {FEATURES}); give a weight a class")


def head_takes_no_loop(choice: Choice) -> None:
    """Raises BrokenContract."""
    calls = []
    for classes in (SMALL, INATURALIST):
        with Count() as count:
            shape = head_of(choice, classes)(torch.randn(4, FEATURES)).shape
        require(shape == (4, classes), f"{choice.word}: logits of {classes:,} classes have the shape {tuple(shape)}")
        calls.append(count.calls)
    no_loop(choice.word, calls)


def evidence(rows: int, classes: int, dtype: torch.dtype, seed: int = 0) -> Outputs:
    """Of the de-confounded head, whose logits all post-hoc parts can read; three experts besides."""
    torch.manual_seed(0)
    head = Causal(features=FEATURES, num_classes=classes)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, FEATURES, generator=generator) + 1
    experts = torch.randn(3, rows, classes, generator=generator)
    with torch.no_grad():
        outputs = Outputs(features, head(features), head.scale, head.classes, experts)
    return outputs.map(lambda tensor: tensor.to(dtype))


def fitted(part: Bound[PostHoc], stats: ClassStats, dtype: torch.dtype = torch.float32, seed: int = 0) -> PostHoc:
    """Trained on images that lack the rarest class with images."""
    made = part.build(given(stats))
    labels = torch.arange(40) % (stats.num_classes - 2)
    known, unknown = (evidence(rows, stats.num_classes, dtype, seed) for rows in (40, 30))
    splits = {"train": Split(known, labels), "val": Split(known, labels), "test_inputs": Split(unknown, None)}
    made.fit({name: splits[name] for name in made.sees})
    return made


def scores_stay_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Raises BrokenContract."""
    for row, bound in choice.recipe.posthoc.items():
        part = fitted(bound, STATS, dtype)
        name = f"posthoc.predictors.{row}: {public_name(type(part))}"
        for rows in (1, 7):
            scores = part(evidence(rows, 5, dtype))
            where = f"for a batch of {rows} in {dtype}"
            shape = tuple(scores.shape)
            require(shape == (rows, 5), f"{name} returns scores of shape {shape} {where}; give a score a class: ({rows}, 5)")
            require(scores.isfinite().all(), f"{name}: scores are not finite {where}, a class without images among them")
            require(not scores.requires_grad, f"{name}: scores carry a gradient {where}; keep what it learns in a buffer")


def scores_take_no_loop(choice: Choice) -> None:
    """Raises BrokenContract. A part whose steps end by themselves takes as many as the images ask for."""
    if not ends_by_itself(choice):
        no_loop(choice.word, [_operations(choice, classes) for classes in (SMALL, INATURALIST)])


def ends_by_itself(choice: Choice) -> bool:
    """Whether a post-hoc part takes more operations on some images than on as many others, as until it converges."""
    return len({_operations(choice, SMALL, seed) for seed in range(3)}) > 1


def _operations(choice: Choice, classes: int, seed: int = 0) -> int:
    """Tensor operations from the constructor to the scores. Raises BrokenContract for scores that are not finite."""
    stats, count = tail(classes), Count()
    for row, part in choice.recipe.posthoc.items():
        shown = evidence(2, classes, torch.float32, seed)
        with count:
            scores = fitted(part, stats, seed=seed)(shown)
        require(scores.isfinite().all(), f"posthoc.predictors.{row}: scores of {classes:,} classes are not finite")
    return count.calls


def empty_is_not_lifted(choice: Choice) -> None:
    """A class that a network was never shown has low logits; a count of 0 must not lift it above all others.

    Raises BrokenContract.
    """
    known = evidence(200, 5, torch.float32)
    logits = known.need("logits") - torch.tensor([0.0, 0.0, 0.0, 0.0, 15.0])
    for row, part in choice.recipe.posthoc.items():
        if part.target.reads == {"logits"}:
            made: PostHoc = built(part)
            made.fit({split: Split(replace(known, logits=logits), None) for split in made.sees})
            share = (made(replace(known, logits=logits)).argmax(1) == 4).float().mean()
            require(
                share < 0.1,
                f"posthoc.predictors.{row}: {public_name(part.target)} predicts a class without training images for "
                f"{share:.0%} of the images, whose logits are 15 below; count it as the rarest: ltrun.types.as_rarest(counts)",
            )


def extremes_score_finite(choice: Choice) -> None:
    """Raises BrokenContract."""
    for row, part in choice.recipe.posthoc.items():
        for what, edge in at_the_edges(part):
            if edge.arguments.get("epochs", 0) > 100:  # SADE's would take minutes
                continue
            try:
                made = fitted(edge, STATS)
            except ConfigError as error:
                names_its_key(what, error)
                continue
            scores = made(evidence(7, 5, torch.float32))
            require(
                scores.isfinite().all(),
                f"{what}: the scores of {row} are not finite; refuse such a value in the constructor with a ConfigError",
            )
