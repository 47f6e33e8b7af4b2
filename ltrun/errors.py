"""The errors a user can cause. Each is one sentence that names the key or the file and the way out."""

from collections.abc import Iterable
from difflib import get_close_matches

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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' for the nearest known name, or the list of what is known when none is near."""
    known = sorted(known)
    if near := get_close_matches(name, known, n=1, cutoff=0.6):
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= MOST_NAMES else ""
