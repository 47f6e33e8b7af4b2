"""The errors a user can cause. Each is one sentence that names the key or the file and the way out."""

import re
from collections.abc import Iterable

MOST_NAMES = 40  # more would bury the sentence


class LtrunError(Exception):
    """Something the user can mend; the command line prints the sentence, without a traceback, and exits with 1."""


class ConfigError(LtrunError):
    """A choice, a key or a value of the configuration makes no sense.

    certain: False where a part of a plugin's refuses and names no value, so that it may depend on the data.
    """

    certain = True


class DataError(LtrunError):
    """A data file or an image is missing, damaged or refused."""


class TrainingError(LtrunError):
    """A run cannot go on: its loss is not finite, a checkpoint cannot be written or read."""


class BusyError(TrainingError):
    """Another process trains the same run."""


def heed_interruption(error: BaseException) -> None:
    """Raises the KeyboardInterrupt that an exception hides: one that a `finally` raised while the interruption passed it."""
    seen: set[int] = set()  # a chain may be a ring: `raise error from error`
    hidden: BaseException | None = error
    while hidden is not None and id(hidden) not in seen:
        if isinstance(hidden, KeyboardInterrupt):
            raise hidden
        seen.add(id(hidden))
        hidden = hidden.__cause__ or hidden.__context__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' for the known name that a slip of the fingers makes of it, or the list of what is known.

    Of dotted keys of one parent the last words are compared, and listed.
    """
    known = sorted(known)
    if near := nearest(name, known):
        return f"; did you mean '{near}'?"
    parent = name.rpartition(".")[0]
    siblings = [key for key in known if parent and key.rpartition(".")[0] == parent]
    listed = siblings or known
    return f"; known: {', '.join(listed)}" if 0 < len(listed) <= MOST_NAMES else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest name: a slip or two away, or begun with at least three of its letters. Other digits are another name."""
    found: list[tuple[int, int, str]] = []
    for other in known:
        typed, there = _without_parent(name.casefold(), other.casefold())
        slips = _slips(typed, there)
        begun = len(typed) >= 3 and there.startswith(typed)
        if (slips <= max(1, len(there) // 4) or begun) and _digits(typed, there):
            found.append((min(slips, len(there) // 4) if begun else slips, slips, other))
    return min(found)[2] if found else None


def _without_parent(one: str, other: str) -> tuple[str, str]:
    parent = one.rpartition(".")[0]
    return (one[len(parent) + 1 :], other[len(parent) + 1 :]) if parent and other.startswith(f"{parent}.") else (one, other)


def _digits(one: str, other: str) -> bool:
    """Whether no digit was exchanged for another: resnet50 is no resnet8."""
    mine, theirs = (re.sub(r"\D", "", text) for text in (one, other))
    return mine == theirs or not (mine and theirs)


def _slips(one: str, other: str) -> int:
    """How many letters were left out, added, exchanged, or swapped with their neighbours."""
    before, last = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, there in enumerate(other, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != there))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == there:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
