"""Shared cases of the tests: composed configurations, combinations of options, a trainer on a small data set."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ltrun.config import catalogue
from ltrun.contracts.assembly import Assembly
from ltrun.contracts.library import DIGITS, Choice, Composed, Config, Library, Picked, changed, small
from ltrun.contracts.stand_ins import blind_view
from ltrun.contracts.trial import (
    COUNTS,
    CPU,
    Count,
    accuracies,
    context,
    differing,
    digits,
    normaliser,
    settings,
    snapshot,
    stats,
    trainer,
)
from ltrun.engine.precision import Precision
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe
from ltrun.results.atomic import write_atomically
from ltrun.taxonomy import SLOTS, STAGE_SLOTS
from tests.support.walks import drawn

__all__ = [
    "CONF", "COUNTS", "CPU", "FP32", "LIBRARY", "METHODS", "OPTIONS", "STAGE_OPTIONS", "Composed", "Config", "Count",
    "accuracies", "assembled", "blind_view", "bound", "changed", "choice", "composed", "context", "differing",
    "digits", "nodes", "normaliser", "of_each_task", "presets_of", "settings", "small", "snapshot", "stats", "that_accept",
    "trainer",
]  # fmt: skip

CONF = Path(str(catalogue.folders()[0])).resolve()  # conf/; ltrun/conf is a link to it
FP32 = Precision("fp32", CPU)


class Shared(Library):
    """Options of ltrun, composed once per session: parallel workers of pytest share the compositions as files."""

    def _compose(self, words: tuple[str, ...]) -> Composed:
        if "LTRUN_COMPOSED" not in os.environ:  # a script, outside of a test session
            return super()._compose(words)
        name = hashlib.sha256(json.dumps(words).encode()).hexdigest()
        shared = Path(os.environ["LTRUN_COMPOSED"], f"{name}.json")
        if not shared.exists():
            write_atomically(shared, json.dumps(super()._compose(words)).encode())
        config, choices = json.loads(shared.read_bytes())
        return config, choices

    def put_together(self, picked: Picked, task: str | None = None) -> Composed:
        """Assembles options of slots without Hydra, in a thousandth of the time."""
        return ASSEMBLY.put_together(picked, task) if picked.keys() <= set(SLOTS) else super().put_together(picked, task)


LIBRARY = Shared()
ASSEMBLY = Assembly(LIBRARY)
OPTIONS = LIBRARY.options
METHODS = OPTIONS["method"]
STAGE_OPTIONS = {slot: OPTIONS[slot] for slot in STAGE_SLOTS}
composed = LIBRARY.composed


def choice(group: str, name: str) -> Choice:
    return Choice(LIBRARY, group, name)


def of_each_task(group: str, name: str) -> list[Choice]:
    """Returns the choice on digits with one label, on scenes with several, or on both, as its parts accept."""
    return choice(group, name).of_each_task()


def presets_of(task: str, most: int) -> list[str]:
    """Returns the presets that accept this task alone, and a drawn share of those that accept others as well, on its digits."""
    own = [name for name in METHODS if LIBRARY.tasks(f"method={name}") == {task}]
    both = [name for name in METHODS if LIBRARY.tasks(f"method={name}") > {task}]
    return [*own, *(f"{name} {DIGITS[task]}" for name in drawn(both, most))]


def that_accept(task: str, group: str) -> list[str]:
    """Returns the options of a group that accept the task."""
    return [option for option in OPTIONS[group] if task in LIBRARY.tasks(f"{group}={option}")]


def nodes() -> dict[str, dict[str, Composed]]:
    """slot -> option -> (what the option writes into the configuration, its choices), for every option of every slot."""
    return ASSEMBLY.nodes


def assembled(picked: Picked) -> Composed:
    """Returns `composed` without Hydra: slot -> option, or options, on the digits that fit. The result must not be changed."""
    return ASSEMBLY.put_together(picked)


def bound(composition: Composed, plugins: Sequence[str] = ()) -> Recipe:
    return recipe_of(*composition, plugins)
