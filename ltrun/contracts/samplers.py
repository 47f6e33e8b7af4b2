"""Contracts of samplers: valid rows, drawn from the given generator alone, without a loop over classes or images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ltrun.config.bind import public_name
from ltrun.contracts.contract import Contract, require
from ltrun.contracts.library import Choice
from ltrun.contracts.losses import built_or_refused, no_loop
from ltrun.contracts.stand_ins import FIRST, INATURALIST, LAST, RARE, SHORT, SMALL, STATS, at_the_edges, built, loss_of, targets
from ltrun.contracts.trial import Count
from ltrun.engine.promises import check_rows
from ltrun.metrics import GROUPS, MULTI_LABEL, SINGLE_LABEL
from ltrun.parts import Sampler
from ltrun.recipe.stage import MAIN
from ltrun.types import ClassStats, Clock

COUNTS = [500, 180, 0, 64, 23, 8, 1]
LABELS = torch.arange(7).repeat_interleave(torch.tensor(COUNTS))[
    torch.randperm(776, generator=torch.Generator().manual_seed(0))
]


def of_a_sampler(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option of `resampling`, for each task that it accepts."""
    for each in choice.of_each_task():
        rows = "" if each.task != MULTI_LABEL else " where rows have several labels"
        for clock, name in ((FIRST, "first"), (LAST, "last")):
            yield Contract(
                f"the rows of the {name} epoch depend on the generator alone{rows}",
                partial(draws_by_its_generator, each, clock),
            )
        yield Contract(f"drawing takes no loop over classes or images{rows}", partial(draws_without_a_loop, each))
        yield Contract(f"extreme arguments are refused or give valid rows{rows}", partial(extremes_draw_rows, each))
        yield Contract(f"the rows of the first epoch are the same in short and long stages{rows}", partial(draws_alike, each))


def sampler_of(choice: Choice, stats: ClassStats) -> Sampler:
    sampler: Sampler = loss_of(choice.stage, stats, choice.recipe.task).sampler
    return sampler


def draw(
    sampler: Sampler, clock: Clock, labels: Tensor = LABELS, seed: int = 0, task: str = SINGLE_LABEL, classes: int = len(COUNTS)
) -> Tensor:
    """Draws the rows of an epoch. Raises TrainingError for invalid rows."""
    rows = sampler.draw(targets(labels, classes, task), clock, torch.Generator().manual_seed(seed))
    check_rows(rows, len(labels), sampler, "resampling: the sampler")
    return rows


def draws_by_its_generator(choice: Choice, clock: Clock) -> None:
    """Checks that `draw` depends on the seed of its generator, and on nothing else."""
    stats, task = ClassStats(torch.tensor(COUNTS), rows=len(LABELS)), choice.recipe.task
    first, sampler = draw(sampler_of(choice, stats), clock, task=task), sampler_of(choice, stats)
    whose, way = f"{public_name(type(sampler))}.draw", "draw from the generator argument only"
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again, third = draw(sampler, clock, task=task), draw(sampler, clock, task=task)
    require(torch.equal(again, first), f"{whose} gives different rows for generators of the same seed; {way}")
    require(torch.equal(third, first), f"{whose} depends on the number of earlier calls; keep no count, and {way}")
    require(torch.equal(torch.get_rng_state(), before), f"{whose} draws from torch's default generator; {way}")
    require(
        not torch.equal(draw(sampler, clock, seed=1, task=task), first),
        f"{whose} gives the same rows for every seed, so all epochs have one order; {way}",
    )


def draws_without_a_loop(choice: Choice) -> None:
    """Checks that 20,000 images of 8,142 classes take as many tensor operations as 12 of three, and give as many rows.

    Several labels of each image: 3,000 images of 1,000 classes.
    """
    calls, task = [], choice.recipe.task
    for rows, classes in ((12, SMALL), (20_000, INATURALIST) if task == SINGLE_LABEL else (3_000, 1_000)):
        labels = torch.arange(rows) % classes
        sampler = sampler_of(choice, ClassStats.of(targets(labels, classes, task), classes))
        with Count() as count:
            drawn = draw(sampler, LAST, labels, task=task, classes=classes)
        require(
            len(drawn) * len(GROUPS) >= rows,
            f"{public_name(type(sampler))} draws {len(drawn):,} rows where the set has {rows:,}; draw as many, or those of a "
            "shot group",
        )
        calls.append(count.calls)
    no_loop(choice.word, calls, "classes or images")


def extremes_draw_rows(choice: Choice) -> None:
    """Checks that each extreme argument is refused by a ConfigError that names it, or gives valid rows."""
    main = choice.stage.streams[MAIN].sampler
    assert main is not None
    known = targets(torch.arange(5).repeat_interleave(RARE.counts), 5, choice.recipe.task)
    for what, edge in at_the_edges(main):
        sampler = built_or_refused(what, partial(built, edge))
        if sampler is None:
            continue
        for epoch in (0, 199):
            rows = sampler.draw(known, Clock("train", epoch, 200), torch.Generator().manual_seed(0))
            check_rows(rows, len(known), sampler, f"{what}: the sampler")


def draws_alike(choice: Choice) -> None:
    """Checks that the rows of the first epoch are the same in stages of one and of 200 epochs: nothing deferred is on yet."""
    labels, sampler = torch.arange(5).repeat_interleave(STATS.counts), sampler_of(choice, STATS)
    require(
        torch.equal(*(draw(sampler, clock, labels, task=choice.recipe.task, classes=5) for clock in (SHORT, FIRST))),
        f"{public_name(type(sampler))} draws other rows in the first epoch of a stage of one epoch than of a stage of "
        "200; switch by clock.passed(fraction), or follow clock.progress, which is 0 in the first epoch",
    )
