"""Ranks of a sweep: what rank 0 does for all, where torchrun started several processes. Imports torch only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ltrun.config.settings import Sweep
from ltrun.errors import ConfigError
from ltrun.machine import processes

T = TypeVar("T")


def from_first(work: Callable[[], T]) -> T:
    """Returns what the work returns on rank 0; see `Ranks.from_first`."""
    if processes() == 1:
        return work()
    from ltrun.engine.group import ranks

    return ranks().from_first(work)


def settle(failure: str | None, leave: Callable[[], None] = lambda: None) -> None:
    """Raises Lost if a job failed on this rank, and not on every other. failure: why there is no result.

    leave: leaves the failure in the job's folder, for rank 0 or for the rank that fails alone.
    """
    if processes() > 1:
        from ltrun.engine.group import settle

        settle(failure, leave)
    elif failure is not None:
        leave()


def refuse_budget(sweep: Sweep, several: bool, launcher: bool) -> None:
    """Raises ConfigError for a budget where nothing would keep to it. several: whether the command is a sweep."""
    if sweep.budget is None:
        return
    if not several:
        raise ConfigError("sweep.budget: the time of a sweep, ltrun -m ...; this command trains one run; leave it out")
    if launcher:
        raise ConfigError("sweep.budget: the launcher sets the time of a job, such as hydra.launcher.timeout_min; leave it out")
    if processes() > 1:
        raise ConfigError("sweep.budget: torchrun trains the jobs one by one to their end; leave it out, or torchrun")


def refuse_launcher() -> None:
    """Raises ConfigError if torchrun started this process, so that a launcher cannot start further ones."""
    if processes() > 1:
        raise ConfigError("hydra/launcher: torchrun has started the processes already; leave the launcher out, or torchrun")
