"""What every option of class re-balancing keeps to, whichever parts it has.

Single and half precision, a class absent from the batch, a batch of one, a class with one image and one with none, 8,142
classes at as many tensor operations as three, arguments at their edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ltrun.config.bind import Bound, public_name
from ltrun.contracts.contract import Contract, require
from ltrun.contracts.library import Choice
from ltrun.contracts.stand_ins import (
    BATCHES,
    DTYPES,
    FEATURES,
    FIRST,
    INATURALIST,
    LAST,
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
    view,
)
from ltrun.contracts.trial import Count
from ltrun.errors import ConfigError
from ltrun.parts import Part
from ltrun.types import Outputs

EIGHT = [0, 1, 2, 3, 3, 0, 0, 1]  # labels
SEEDS = 9  # some of which draw otherwise, where anything is drawn
APART = 0.03  # bfloat16 keeps 8 bits
SLOTS = ("resampling", "reweighting", "margin", "logit_adjustment")  # re-sampling: the meta sampler weighs too


def of_a_loss(choice: Choice) -> Iterator[Contract]:
    """The contracts of an option of SLOTS."""
    for dtype in DTYPES:
        yield Contract(
            f"in {str(dtype).removeprefix('torch.')} loss, gradient and state are finite at the edges of the data",
            lambda dtype=dtype: stays_finite(choice, dtype),  # type: ignore[misc]
        )
    yield Contract("the loss in bfloat16 is near the one in float32", lambda: half_is_near_single(choice))
    yield Contract("8,142 classes take no loop", lambda: takes_no_loop(choice))
    yield Contract("a class without images is adjusted as the rarest that has some", lambda: empty_is_rarest(choice))
    yield Contract("extreme arguments are refused or give finite numbers", lambda: extremes_are_refused_or_finite(choice))
    yield Contract("the first epoch is the same however short the stage", lambda: begins_alike(choice))


def stays_finite(choice: Choice, dtype: torch.dtype) -> None:
    """Raises BrokenContract."""
    part = loss_of(choice.stage, STATS)
    for clock in (FIRST, LAST):
        part.adapt(clock)
        for name, labels in BATCHES.items():
            when = f"epoch {clock.epoch + 1} of {clock.epochs}, {str(dtype).removeprefix('torch.')}"
            at = f"{choice.word}, {name}, counts {STATS.counts.tolist()}, {when}"
            _a_step_stays_finite(part, outputs_of(len(labels), 5, dtype), labels, at)


def _a_step_stays_finite(part: Loss, outputs: Outputs, labels: list[int], at: str) -> None:
    loss = part(outputs, labels)
    require(loss.isfinite(), f"{at}: the loss is {loss.item()}; {WAY_OUT}")
    require(loss.requires_grad, f"{at}: the loss does not depend on the logits; compute it from those that the network gives")
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
    """What comes out must not be another loss, as a margin would be that is rounded away. Raises BrokenContract."""
    found = []
    for dtype in DTYPES:
        part = loss_of(choice.stage, STATS)
        part.adapt(LAST)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(EIGHT), 5, dtype), EIGHT).item())
    single, half = found
    require(
        abs(half - single) <= max(APART, APART * abs(single)),
        f"{choice.word}: the loss is {single:.4g} in float32 and {half:.4g} in bfloat16, which rounds it away; compute in "
        "float32 (ltrun.numerics.widened)",
    )


def takes_no_loop(choice: Choice) -> None:
    """Building, an epoch's beginning, a step with its gradient, what follows it. Raises BrokenContract."""
    calls = []
    for classes in (SMALL, INATURALIST):
        labels, stats = [0, 1, 2, 0, 1, classes - 1], tail(classes)
        outputs = outputs_of(len(labels), classes)
        with Count() as count:
            part = loss_of(choice.stage, stats)
            part.adapt(LAST)
            loss = part(outputs, labels)
            loss.backward()
            part.after_step(outputs, labels)
        require(loss.isfinite(), f"{choice.word}: the loss is {loss.item()} with {classes:,} classes; {WAY_OUT}")
        calls.append(count.calls)
    no_loop(choice.word, calls)


def no_loop(whose: str, calls: list[int], over: str = "classes") -> None:
    """calls: tensor operations with few classes, and with many. Raises BrokenContract where they differ."""
    few, many = calls
    require(
        few == many,
        f"{whose} takes {few:,} tensor operations with few {over} and {many:,} with many; compute them as one tensor, without "
        "a loop over them and without a mask as an index",
    )


def empty_is_rarest(choice: Choice) -> None:
    """The same cosine for every class: what is added to the logits of the empty class is what the rarest one gets.

    Raises BrokenContract.
    """
    for part in choice.stage.adjusts:
        name = public_name(part.target)
        given, scores = adjusted(part, 0)
        require(scores.shape == (2, 5), f"{name} returns {tuple(scores.shape)} for logits of shape (2, 5); return as many")
        require(not scores.isnan().any(), f"{name}: logits are nan where a class has no images; {WAY_OUT}")
        if not depends_on_more_than_counts(part):
            require(
                torch.allclose(scores[:, 4], scores[:, 3], rtol=1.3e-6, atol=1e-5),
                f"{name} makes {given:.4g}, the logit of a class without images, {scores[0, 4]:.4g}, and the one of the rarest "
                f"class with images {scores[0, 3]:.4g}; count it as the rarest: ltrun.types.as_rarest(counts)",
            )


def adjusted(part: Bound[Any], seed: int) -> tuple[float, Tensor]:
    """A logit, and what an Adjust makes of it (2, 5) for every class. seed: of its draws, and of the class weights."""
    logit = 0.5 * SCALE
    logits, head = torch.full((2, 5), logit), torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    made = built(part)
    return logit, made(logits, torch.tensor([0, 1]), replace(outputs_of(2, 5), logits=logits, head=head))


def depends_on_more_than_counts(part: Bound[Any]) -> bool:
    """Whether an Adjust draws each logit by itself, or looks at the direction of a class weight."""
    first, *others = (adjusted(part, seed)[1] for seed in range(SEEDS))
    return not all(torch.equal(first, other) for other in others)


def extremes_are_refused_or_finite(choice: Choice) -> None:
    """Raises BrokenContract."""
    stage, labels = choice.stage, [0, 1, 2, 3, 3, 0]
    parts = [*stage.adjusts, *stage.weighs, *([stage.criterion] if stage.criterion else [])]
    for what, edge in [found for part in parts if not part.wants("sampler") for found in at_the_edges(part)]:
        try:
            made = built(edge)
        except ConfigError as error:
            names_its_key(what, error)
            continue
        for part in (module for module in made.modules() if isinstance(module, Part)):
            part.adapt(view(LAST, RARE))
        outputs = outputs_of(len(labels), 5)
        scores = made(outputs.need("logits"), torch.tensor(labels), outputs)
        fine = not scores.isnan().any() and (scores < torch.inf).all()
        for state, tensor in made.state_dict().items():
            held = f"{what}: the state '{state}' of {public_name(edge.target)} is not finite; see ltrun.numerics.held"
            require(tensor.isfinite().all(), held)
        require(
            fine,
            f"{what}: {public_name(edge.target)} gives {'nan' if scores.isnan().any() else 'inf'}; refuse such a value in the "
            "constructor, ConfigError(f'NAME must be ..., got {NAME}'), or see ltrun.numerics.held",
        )


def names_its_key(what: str, error: ConfigError) -> None:
    """what: the key and the value that are refused. Raises BrokenContract."""
    key = what.partition("=")[0].rpartition(".")[2]
    require(
        re.search(rf"\b{key}\b", str(error)),
        f"{what} is refused, but the sentence does not name the key '{key}': {error}",
    )


def begins_alike(choice: Choice) -> None:
    """Raises BrokenContract where something deferred is on in the only epoch of a stage."""
    found = []
    for clock in (SHORT, FIRST):
        part = loss_of(choice.stage, STATS)
        part.adapt(clock)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(EIGHT), 5), EIGHT).item())
    require(
        found[0] == found[1],
        f"{choice.word}: the loss of the first epoch is {found[0]:.4g} in a stage of one epoch and {found[1]:.4g} in one of "
        "200; switch by view.clock.passed(fraction), which keeps the first epoch plain",
    )
