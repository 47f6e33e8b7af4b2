"""Errors that a user can cause and fix: each is one sentence that names the key or the file and the way out."""

import re
from collections.abc import Iterable

MOST_NAMES = 40  # a longer list would bury the sentence


class LtrunError(Exception):
    """An error that the user can fix; the command line prints the sentence, without a traceback, and exits with 1."""


class ConfigError(LtrunError):
    """An option, a key or a value of the configuration is invalid.

    certain: False if a plugin's part refuses without naming a value, because the refusal may then depend on the data.
    """

    certain = True


class DataError(LtrunError):
    """A data file or an image is missing, damaged or refused."""


class TrainingError(LtrunError):
    """A run cannot continue: its loss is not finite, or a checkpoint cannot be written or read."""


class BusyError(TrainingError):
    """Another process is training the same run."""


def heed_interruption(error: BaseException) -> None:
    """Raises the KeyboardInterrupt in an exception's chain, if any: an error in a `finally` hides the interruption."""
    seen: set[int] = set()  # a chain may be a ring: `raise error from error`
    hidden: BaseException | None = error
    while hidden is not None and id(hidden) not in seen:
        if isinstance(hidden, KeyboardInterrupt):
            raise hidden
        seen.add(id(hidden))
        hidden = hidden.__cause__ or hidden.__context__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" with the nearest known name, else "; known: ..." with up to 40 names, else "".

    Dotted keys of the same parent are compared by their last words; if there are any, only they are listed.
    """
    known = sorted(known)
    if near := nearest(name, known):
        return f"; did you mean '{near}'?"
    parent = name.rpartition(".")[0]
    siblings = [key for key in known if parent and key.rpartition(".")[0] == parent]
    listed = siblings or known
    return f"; known: {', '.join(listed)}" if 0 < len(listed) <= MOST_NAMES else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that `name` misspells, or begins with three letters or more; None if there is none.

    A name with different digits is a different name.
    """
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
    """Whether the names have the same digits, or one has none: resnet50 is not a misspelt resnet8."""
    mine, theirs = (re.sub(r"\D", "", text) for text in (one, other))
    return mine == theirs or not (mine and theirs)


def _slips(one: str, other: str) -> int:
    """Returns the Damerau-Levenshtein distance: letters omitted, added, replaced, or swapped with a neighbour."""
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
