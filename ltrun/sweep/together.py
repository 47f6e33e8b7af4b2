"""Ranks of a sweep: what rank 0 does for all, where torchrun started several processes. Imports torch only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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


def refuse_launcher() -> None:
    """Raises ConfigError if torchrun started this process, so that a launcher cannot start further ones."""
    if processes() > 1:
        raise ConfigError("hydra/launcher: torchrun has started the processes already; leave the launcher out, or torchrun")
