"""Contracts of heads and post-hoc parts: finite logits and scores, in bfloat16 too, without a loop over classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ltrun.classifier import Causal
from ltrun.config.bind import Bound, public_name
from ltrun.contracts.contract import Contract, require
from ltrun.contracts.library import Choice
from ltrun.contracts.losses import built_or_refused, no_loop
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
    several,
    tail,
)
from ltrun.contracts.trial import Count
from ltrun.metrics import SINGLE_LABEL
from ltrun.parts import Head, PostHoc
from ltrun.types import ClassStats, Outputs


def of_a_head(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option of `classifier`."""
    for dtype in DTYPES:
        yield Contract(
            f"logits and their gradients are finite in {str(dtype).removeprefix('torch.')}",
            partial(head_stays_finite, choice, dtype),
        )
    yield Contract("8,142 classes take no loop", lambda: head_takes_no_loop(choice))


def of_a_predictor(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option of `posthoc`."""
    for dtype in DTYPES:
        yield Contract(
            f"scores are finite in {str(dtype).removeprefix('torch.')}, without gradient, in a batch of one too",
            partial(scores_stay_finite, choice, dtype),
        )
    yield Contract("8,142 classes take no loop", lambda: scores_take_no_loop(choice))
    yield Contract("a class without images is not predicted for images of other classes", lambda: empty_is_not_lifted(choice))
    yield Contract("extreme arguments are refused or give finite scores", lambda: extremes_score_finite(choice))


def head_of(choice: Choice, classes: int, dtype: torch.dtype = torch.float32) -> Head:
    """Builds the head as the trainer does: a head that wraps another is built around it."""
    torch.manual_seed(0)
    stats, bound = replace(tail(classes), names=tuple(f"class {c}" for c in range(classes))), choice.stage.head
    stage, context = choice.stage, given(stats, features=FEATURES)
    if bound.arguments.get("superclasses"):  # those of a data set name its own classes
        halves = {"first": stats.names[: classes // 2], "second": stats.names[classes // 2 :]}
        bound = replace(bound, arguments={**bound.arguments, "superclasses": halves})
    head = bound.build(context)
    return (stage.wrap.build(context | {"head": head}) if stage.wrap else head).to(dtype)


def head_stays_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Checks shape, type and finiteness of logits, gradients and class weights, for zero and large features too."""
    head = head_of(choice, 5, dtype)
    name = public_name(type(head))
    cases = {"ordinary": torch.randn(1, FEATURES), "zero": torch.zeros(2, FEATURES), "large": 1e4 * torch.randn(3, FEATURES)}
    for kind, features in cases.items():
        features = features.to(dtype).requires_grad_()
        logits = head(features)
        where = f"for {kind} features in {dtype}"
        logits.float().logsumexp(1).sum().backward()
        shape = (len(features), 5)
        require(
            logits.shape == shape, f"{name} returns {tuple(logits.shape)} where (B, C) is {shape}; return one logit per class"
        )
        require(logits.dtype == dtype, f"{name} returns {logits.dtype} {where}; return the type of the features")
        require(logits.isfinite().all(), f"{name}: logits are not finite {where}; do not divide by a norm that may be 0")
        known = features.grad is not None and features.grad.isfinite().all()
        require(known, f"{name}: the gradient of the features is not finite {where}; do not divide by a norm that may be 0")
        for parameter, value in head.named_parameters():
            fine = value.grad is None or value.grad.isfinite().all()
            require(fine, f"{name}: the gradient of '{parameter}' is not finite {where}")
    found = tuple(head.classes.shape)
    require(
        found == (5, FEATURES),
        f"{name}.classes has shape {found}, where (C, D) is (5, {FEATURES}); return one weight vector per class",
    )


def head_takes_no_loop(choice: Choice) -> None:
    """Checks that logits of 8,142 classes take as many tensor operations as logits of three."""
    calls = []
    for classes in (SMALL, INATURALIST):
        with Count() as count:
            shape = head_of(choice, classes)(torch.randn(4, FEATURES)).shape
        require(shape == (4, classes), f"{choice.word}: logits of {classes:,} classes have the shape {tuple(shape)}")
        calls.append(count.calls)
    no_loop(choice.word, calls)


def evidence(rows: int, classes: int, dtype: torch.dtype, seed: int = 0) -> Outputs:
    """Returns (rows, classes) outputs of the de-confounded head, which every post-hoc part can read, and of three experts."""
    torch.manual_seed(0)
    head = Causal(features=FEATURES, num_classes=classes)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, FEATURES, generator=generator) + 1
    experts = torch.randn(3, rows, classes, generator=generator)
    with torch.no_grad():
        outputs = Outputs(features, head(features), head.scale, head.classes, experts)
    return outputs.map(lambda tensor: tensor.to(dtype))


def known_labels(labels: Tensor, classes: int, part: Bound[PostHoc]) -> Tensor:
    """Returns the labels (N,) of a split, or (N, C) where a post-hoc part needs several of each image."""
    return labels if SINGLE_LABEL in part.target.accepts else several(labels, classes)


def fitted(part: Bound[PostHoc], stats: ClassStats, dtype: torch.dtype = torch.float32, seed: int = 0) -> PostHoc:
    """Builds a post-hoc part and fits it on images that lack the rarest class with images.

    A part that trains itself, for a number of `epochs`, trains for one.
    """
    short = {"epochs": 1} if isinstance(part.arguments.get("epochs"), int) else {}
    made = replace(part, arguments={**part.arguments, **short}).build(given(stats))
    labels = known_labels(torch.arange(40) % (stats.num_classes - 2), stats.num_classes, part)
    known, unknown = (evidence(rows, stats.num_classes, dtype, seed) for rows in (40, 30))
    splits = {"train": Split(known, labels), "val": Split(known, labels), "test_inputs": Split(unknown, None)}
    made.fit({name: splits[name] for name in made.sees})
    return made


def scores_stay_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Checks shape and finiteness of the scores, and that they carry no gradient, for a batch of one too."""
    for row, bound in choice.recipe.posthoc.items():
        part = fitted(bound, STATS, dtype)
        name = f"posthoc.predictors.{row}: {public_name(type(part))}"
        for rows in (1, 7):
            scores = part(evidence(rows, 5, dtype))
            where = f"for a batch of {rows} in {dtype}"
            shape = tuple(scores.shape)
            require(
                shape == (rows, 5), f"{name} returns scores of shape {shape} {where}; return one score per class: ({rows}, 5)"
            )
            require(scores.isfinite().all(), f"{name}: scores are not finite {where}; one of the classes has no images")
            require(not scores.requires_grad, f"{name}: scores carry a gradient {where}; keep learnt values in a buffer")


def scores_take_no_loop(choice: Choice) -> None:
    """Checks that scores of 8,142 classes take as many tensor operations as scores of three.

    A part that iterates until convergence is exempt: the number of its steps depends on the images.
    """
    if not ends_by_itself(choice):
        no_loop(choice.word, [_operations(choice, classes) for classes in (SMALL, INATURALIST)])


def ends_by_itself(choice: Choice) -> bool:
    """Whether the number of tensor operations of a post-hoc part depends on the images, as with iteration until convergence."""
    return len({_operations(choice, SMALL, seed) for seed in range(3)}) > 1


def _operations(choice: Choice, classes: int, seed: int = 0) -> int:
    """Counts tensor operations from the constructor to the scores. Raises BrokenContract for scores that are not finite."""
    stats, count = tail(classes), Count()
    for row, part in choice.recipe.posthoc.items():
        shown = evidence(2, classes, torch.float32, seed)
        with count:
            scores = fitted(part, stats, seed=seed)(shown)
        require(scores.isfinite().all(), f"posthoc.predictors.{row}: scores of {classes:,} classes are not finite")
    return count.calls


def empty_is_not_lifted(choice: Choice) -> None:
    """Checks that scores do not lift a class without training images, whose logits are low, above all others.

    A count of 0 taken literally, as in a division by the prior, would.
    """
    known = evidence(200, 5, torch.float32)
    logits = known.need("logits") - torch.tensor([0.0, 0.0, 0.0, 0.0, 15.0])
    for row, part in choice.recipe.posthoc.items():
        if part.target.reads == {"logits"}:
            made: PostHoc = built(part)
            shown, labels = replace(known, logits=logits), known_labels(logits.argmax(1), 5, part)
            made.fit({split: Split(shown, None if split == "test_inputs" else labels) for split in made.sees})
            share = (made(shown).argmax(1) == 4).float().mean()
            require(
                share < 0.1,
                f"posthoc.predictors.{row}: {public_name(part.target)} predicts a class without training images for "
                f"{share:.0%} of the images, though its logits are 15 lower; count it "
                "as the rarest: ltrun.types.as_rarest(counts)",
            )


def extremes_score_finite(choice: Choice) -> None:
    """Checks that each extreme argument is refused by a ConfigError that names it, or gives finite scores."""
    for row, part in choice.recipe.posthoc.items():
        for what, edge in at_the_edges(part):
            if edge.arguments.get("epochs", 0) > 100:  # the aggregation of SADE would take minutes
                continue
            made = built_or_refused(what, partial(fitted, edge, STATS))
            if made is None:
                continue
            scores = made(evidence(7, 5, torch.float32))
            require(
                scores.isfinite().all(),
                f"{what}: the scores of {row} are not finite; refuse such a value in the constructor with a ConfigError",
            )
