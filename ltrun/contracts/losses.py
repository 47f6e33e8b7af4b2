"""Contracts of class re-balancing: finite losses and gradients, no loop over classes, arguments at their edges.

The cases: float32 and bfloat16, a class absent from the batch, a batch of one, a class with one image and one with none, and
8,142 classes, which must take as many tensor operations as three.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ltrun.config.bind import Bound, public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.library import Choice
from ltrun.contracts.stand_ins import (
    BATCHES,
    DTYPES,
    FEATURES,
    FIRST,
    INATURALIST,
    LAST,
    NONE,
    RARE,
    SCALE,
    SHORT,
    SMALL,
    STATS,
    WAY_OUT,
    Loss,
    at_the_edges,
    built,
    loss_of,
    outputs_of,
    tail,
    targets,
    view,
)
from ltrun.contracts.trial import Count
from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL
from ltrun.parts import Part
from ltrun.types import Outputs

T = TypeVar("T")
EIGHT = [0, 1, 2, 3, 3, 0, 0, 1]  # labels
WITHOUT_LABELS = {"a row without labels": [0, NONE, 3, NONE], "no row with a label": [NONE, NONE]}
SEEDS = 9  # enough that two of them differ if anything is drawn at random
APART = 0.03  # bfloat16 keeps 8 bits
SLOTS = ("resampling", "reweighting", "margin", "logit_adjustment")  # resampling: the meta sampler has weights


def of_a_loss(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option of SLOTS, for each task that it accepts."""
    for each in choice.of_each_task():
        rows = "" if each.task != MULTI_LABEL else " where rows have several labels"
        for dtype in DTYPES:
            yield Contract(
                f"in {str(dtype).removeprefix('torch.')} loss, gradient and state are finite at the edges of the data{rows}",
                partial(stays_finite, each, dtype),
            )
        yield Contract(f"the loss in bfloat16 is near the one in float32{rows}", partial(half_is_near_single, each))
        yield Contract(f"8,142 classes take no loop{rows}", partial(takes_no_loop, each))
        yield Contract(
            f"a class without images is adjusted as the rarest class with images{rows}", partial(empty_is_rarest, each)
        )
        yield Contract(
            f"extreme arguments are refused or give finite numbers{rows}", partial(extremes_are_refused_or_finite, each)
        )
        yield Contract(f"the loss of the first epoch is the same in short and long stages{rows}", partial(begins_alike, each))


def stays_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Checks that loss, gradients and state are finite with absent and empty classes, in the first and the last epoch."""
    part, task = loss_of(choice.stage, STATS, choice.recipe.task), choice.recipe.task
    for clock in (FIRST, LAST):
        part.adapt(clock)
        for name, labels in (BATCHES if task == SINGLE_LABEL else BATCHES | WITHOUT_LABELS).items():
            when = f"epoch {clock.epoch + 1} of {clock.epochs}, {str(dtype).removeprefix('torch.')}"
            at = f"{choice.word}, {name}, counts {STATS.counts.tolist()}, {when}"
            _a_step_stays_finite(part, outputs_of(len(labels), 5, dtype), labels, at)


def _a_step_stays_finite(part: Loss, outputs: Outputs, labels: list[int], at: str) -> None:
    loss = part(outputs, labels)
    require(loss.isfinite(), f"{at}: the loss is {loss.item()}; {WAY_OUT}")
    require(loss.requires_grad, f"{at}: the loss does not depend on the logits; compute it from the logits that forward gets")
    loss.backward()
    gradient = outputs.need("logits").grad
    require(gradient is not None and gradient.isfinite().all(), f"{at}: the gradient of the logits is not finite; {WAY_OUT}")
    require(
        gradient is not None and gradient.any(), f"{at}: the gradient of the logits is zero, so nothing is learnt; {WAY_OUT}"
    )
    for state, parameter in part.named_parameters():
        fine = parameter.grad is None or parameter.grad.isfinite().all()
        require(fine, f"{at}: the gradient of the parameter '{state}' is not finite; {WAY_OUT}")
    part.after_step(outputs, labels)
    for state, tensor in part.state_dict().items():
        require(tensor.isfinite().all(), f"{at}: the state '{state}' is not finite after a step; {WAY_OUT}")


def half_is_near_single(choice: Choice) -> None:
    """Checks that the loss in bfloat16 is near the one in float32: a small margin, for one, must not be rounded away."""
    found = []
    for dtype in DTYPES:
        part = loss_of(choice.stage, STATS, choice.recipe.task)
        part.adapt(LAST)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(EIGHT), 5, dtype), EIGHT).item())
    single, half = found
    _is_finite(choice, *found)
    require(
        abs(half - single) <= max(APART, APART * abs(single)),
        f"{choice.word}: the loss is {single:.4g} in float32 and {half:.4g} in bfloat16, whose rounding hides the option; "
        "compute in float32 (ltrun.numerics.widened)",
    )


def _is_finite(choice: Choice, *losses: float) -> None:
    wrong = next((loss for loss in losses if not math.isfinite(loss)), None)
    require(wrong is None, f"{choice.word}: the loss is {wrong}; {WAY_OUT}")


def takes_no_loop(choice: Choice) -> None:
    """Checks that 8,142 classes take as many tensor operations as three, from the constructor to `after_step`."""
    calls = []
    for classes in (SMALL, INATURALIST):
        labels, stats = [0, 1, 2, 0, 1, classes - 1], tail(classes)
        outputs = outputs_of(len(labels), classes)
        with Count() as count:
            part = loss_of(choice.stage, stats, choice.recipe.task)
            part.adapt(LAST)
            loss = part(outputs, labels)
            loss.backward()
            part.after_step(outputs, labels)
        require(loss.isfinite(), f"{choice.word}: the loss is {loss.item()} with {classes:,} classes; {WAY_OUT}")
        calls.append(count.calls)
    no_loop(choice.word, calls)


def no_loop(whose: str, calls: list[int], over: str = "classes") -> None:
    """Checks that many classes take as many tensor operations as few. calls: operations with few classes, and with many."""
    few, many = calls
    require(
        few == many,
        f"{whose} takes {few:,} tensor operations with few {over} and {many:,} with many; compute them as one tensor, without "
        "a loop over them and without a mask as an index",
    )


def empty_is_rarest(choice: Choice) -> None:
    """Checks that the logit of a class without images changes as the logit of the rarest class that has images.

    All cosines are equal here, so that logits differ by the adjustment only.
    """
    for part in choice.stage.adjusts:
        name = public_name(part.target)
        given, scores = adjusted(part, 0, choice.recipe.task)
        require(
            scores.shape == (2, 5),
            f"{name} returns {tuple(scores.shape)} for logits of shape (2, 5); return logits of the same shape",
        )
        require(not scores.isnan().any(), f"{name}: logits are nan where a class has no images; {WAY_OUT}")
        if not depends_on_more_than_counts(part, choice.recipe.task):
            require(
                torch.allclose(scores[:, 4], scores[:, 3], rtol=1.3e-6, atol=1e-5),
                f"{name} turns a logit of {given:.4g} into {scores[0, 4]:.4g} for a class without images, and into "
                f"{scores[0, 3]:.4g} for the rarest class with images; count both alike: ltrun.types.as_rarest(counts)",
            )


def adjusted(part: Bound[Any], seed: int, task: str = SINGLE_LABEL) -> tuple[float, Tensor]:
    """Returns a logit, and the (2, 5) logits that an Adjust makes of it. seed: of its draws, and of the class weights."""
    logit = 0.5 * SCALE
    logits, head = torch.full((2, 5), logit), torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    made = built(part)
    return logit, made(logits, labels_of([0, 1], 5, task), replace(outputs_of(2, 5), logits=logits, head=head))


def labels_of(labels: list[int], classes: int, task: str) -> Tensor:
    """Returns the labels that a part of the loss gets: (B,), or (B, C) float32."""
    (column,) = targets(torch.tensor(labels), classes, task).columns(torch.zeros(len(labels), classes))
    return column.labels


def depends_on_more_than_counts(part: Bound[Any], task: str = SINGLE_LABEL) -> bool:
    """Whether an Adjust draws at random for each logit, or depends on the direction of a class weight."""
    first, *others = (adjusted(part, seed, task)[1] for seed in range(SEEDS))
    return not all(torch.equal(first, other) for other in others)


def extremes_are_refused_or_finite(choice: Choice) -> None:
    """Checks that each extreme argument is refused by a ConfigError that names it, or gives finite results and state."""
    stage, labels = choice.stage, [0, 1, 2, 3, 3, 0]
    parts = [*stage.adjusts, *stage.weighs, *([stage.criterion] if stage.criterion else [])]
    for what, edge in [found for part in parts if not part.wants("sampler") for found in at_the_edges(part)]:
        made = built_or_refused(what, partial(built, edge))
        if made is None:
            continue
        for part in (module for module in made.modules() if isinstance(module, Part)):
            part.adapt(view(LAST, RARE, choice.recipe.task))
        outputs = outputs_of(len(labels), 5)
        scores = made(outputs.need("logits"), labels_of(labels, 5, choice.recipe.task), outputs)
        fine = not scores.isnan().any() and (scores < torch.inf).all()
        for state, tensor in made.state_dict().items():
            held = f"{what}: the state '{state}' of {public_name(edge.target)} is not finite; see ltrun.numerics.held"
            require(tensor.isfinite().all(), held)
        require(
            fine,
            f"{what}: {public_name(edge.target)} gives {'nan' if scores.isnan().any() else 'inf'}; refuse such a value in the "
            "constructor, ConfigError(f'NAME must be ..., got {NAME}'), or see ltrun.numerics.held",
        )


def built_or_refused(what: str, build: Callable[[], T]) -> T | None:
    """Builds a part with an extreme argument. Returns None if a ConfigError refuses it, and checks the sentence."""
    try:
        return build()
    except ConfigError as error:
        names_its_key(what, error)
        return None
    except (ValueError, AssertionError) as error:
        kind, key = type(error).__name__, what.partition("=")[0].rpartition(".")[2]
        raise BrokenContract(
            f"{what} is refused by {kind}; raise ltrun.errors.ConfigError(f'{key} must be ..., got {{{key}}}') instead"
        ) from error


def names_its_key(what: str, error: ConfigError) -> None:
    """Checks that a refusal names the refused argument. what: its key path and value, `margin.adjust.scale=60`."""
    key = what.partition("=")[0].rpartition(".")[2]
    require(
        re.search(rf"\b{key}\b", str(error)),
        f"{what} is refused by a sentence that does not name '{key}': {error}",
    )


def begins_alike(choice: Choice) -> None:
    """Checks that the loss of the first epoch is the same in stages of one and of 200 epochs: nothing deferred is on yet."""
    found = []
    for clock in (FIRST, SHORT, FIRST):
        part = loss_of(choice.stage, STATS, choice.recipe.task)
        part.adapt(clock)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(EIGHT), 5), EIGHT).item())
    _is_finite(choice, *found)
    long, short, again = found
    require(
        long == again,
        f"{choice.word}: the same step has the losses {long!r} and {again!r}; draw random numbers from torch's default "
        "generator, which ltrun seeds",
    )
    require(
        short == long,
        f"{choice.word}: the loss of the first epoch is {short:.4g} in a stage of one epoch and {long:.4g} in a "
        "stage of 200; switch by view.clock.passed(fraction), which keeps the first epoch plain",
    )
