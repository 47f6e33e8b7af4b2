"""A contract: a sentence that holds for a part, an option or a preset, and the check of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltrun.contracts import guard
from ltrun.errors import LtrunError


class BrokenContract(LtrunError):
    """A contract does not hold: one sentence that names the class, or the file and the key, and the way out."""


@dataclass(frozen=True)
class Contract:
    """name: what holds, as a sentence. check: raises BrokenContract, another LtrunError, or whatever the subject's code raises.

    decisive: whether nothing else of the subject can be tried where this one is broken.
    """

    name: str
    check: Callable[[], None]
    decisive: bool = False


def require(condition: object, sentence: str) -> None:
    """Raises BrokenContract with the sentence unless the condition is true."""
    if not condition:
        raise BrokenContract(sentence)


def told(error: BaseException, code: Path | None) -> str:
    """An error in one sentence. code: the folder of the subject's package; where its code raised, the sentence says so."""
    if isinstance(error, LtrunError):
        return " ".join(str(error).split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) != Path(guard.__file__)]
    own = [frame for frame in frames if code is not None and Path(frame.filename).resolve().is_relative_to(code)]
    where = "".join(f"{frame.filename}, line {frame.lineno}, in {frame.name}" for frame in (own or frames)[-1:])
    if isinstance(error, SyntaxError):
        where, what = f"{error.filename}, line {error.lineno}", error.msg
    else:
        what = " ".join(str(error).split())
    if isinstance(error, guard.Overdue):
        return f"{what} ({where})"
    return f"{type(error).__name__}: {what or 'without a message'} ({where})"
