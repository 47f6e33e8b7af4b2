"""References of relative accuracy: the two balanced runs that belong to a long-tailed run.

The one rule for the sweep that trains references and for the report that looks for them. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ltrun.results.address import as_typed
from ltrun.taxonomy import GROUPS, SLOTS

PROFILE, BALANCED = "dataset.profile", "balanced"
PLAIN = "erm"  # the method of plain training
STAGE = "stages.train."  # the only stage of plain training


class Configured(Protocol):
    """A run as its job or as its record. The fields are those of RunRecord."""

    @property
    def dataset(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def changes(self) -> Mapping[str, Any]: ...
    @property
    def choices(self) -> Mapping[str, str]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...


C = TypeVar("C", bound=Configured)


def is_balanced(run: Configured) -> bool:
    """Whether a run trains on a balanced set that its data set's profile makes."""
    return bool(run.config.get("dataset", {}).get("profile") == BALANCED)


def without_balance(run: Configured) -> str:
    """Returns why no balanced set has as many images as a run's; "" if there is one, which only `exponential` has."""
    data = run.config.get("dataset", {})
    profile = data.get("profile")
    if profile in (None, "as_is"):
        return "keeps its images as they are"
    if data.get("shots") is not None:
        return f"has a tail of dataset.shots={data['shots']}, and no balanced set of that size"
    return "" if profile in ("exponential", BALANCED) else f"with {PROFILE}={profile} has no balanced set of its size"


def of_method(key: str) -> bool:
    """Whether a key belongs to a method: to a slot, or to a stage that plain training lacks."""
    head = key.partition(".")[0]
    return head in (*SLOTS, "plan", "before") or (head == "stages" and not key.startswith(STAGE))


def wanted(run: Configured, plain: bool) -> dict[str, Any]:
    """Returns the changes that a reference of a run has beside its profile. plain: of plain training, without the method's."""
    return {key: value for key, value in run.changes.items() if key != PROFILE and not (plain and of_method(key))}


def is_reference(found: Configured, run: Configured, plain: bool) -> bool:
    """Whether a balanced run is a reference of a long-tailed one. plain: as plain training, else as the same method.

    Both have the same value for each change of either, apart from the profile; of plain training, no change is the method's.
    A value that a preset already has is no change of it, so the configuration tells: `schedule=sade` changes erm and not gcl.
    """
    method = PLAIN if plain else run.method
    if not is_balanced(found) or without_balance(run) or (found.dataset, found.method) != (run.dataset, method):
        return False
    theirs = wanted(found, plain=False)
    keys = theirs.keys() | wanted(run, plain).keys()
    return not (plain and any(map(of_method, theirs))) and all(_value(found, key) == _value(run, key) for key in keys)


def references(found: Iterable[C], run: Configured, plain: bool) -> Sequence[C]:
    """Returns the references of a run among others, over all seeds; of different ones, those with changes most like its own."""
    ours = wanted(run, plain)
    alike: dict[tuple[int, str], list[C]] = {}
    for each in found:
        if is_reference(each, run, plain):
            theirs = wanted(each, plain=False)
            mark = " ".join(f"{key}={as_typed(value)}" for key, value in sorted(theirs.items()))
            alike.setdefault((len(theirs.keys() ^ ours.keys()), mark), []).append(each)
    return alike[min(alike)] if alike else []


def _value(run: Configured, key: str) -> str:
    """Returns the value of a change of some run in this run, as it is typed; null if it has none."""
    if key in run.changes:
        return as_typed(run.changes[key])
    if key in GROUPS:
        return as_typed(run.choices.get(key))
    node: Any = run.config
    for step in key.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return as_typed(node)
