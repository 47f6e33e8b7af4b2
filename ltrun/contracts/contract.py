"""Contracts and their failures: a named check of a part, an option or a preset, and the sentence of a failed check."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltrun.contracts import guard
from ltrun.errors import LtrunError


class BrokenContract(LtrunError):
    """A broken contract, as one sentence that names the class, or the file and the key, and the way out."""


@dataclass(frozen=True)
class Contract:
    """name: the rule, as a sentence. check: returns if the rule holds; raises BrokenContract, another LtrunError, or any
    exception of the subject's code if it does not.

    decisive: whether the later contracts of the subject are skipped if this one is broken.
    """

    name: str
    check: Callable[[], None]
    decisive: bool = False


def require(condition: object, sentence: str) -> None:
    """Raises BrokenContract with the sentence if the condition is false."""
    if not condition:
        raise BrokenContract(sentence)


def told(error: BaseException, code: Path | None) -> str:
    """Returns an error in one sentence, with the file and line that raised it.

    code: the folder or file of the subject's package, whose lines are named first. A BrokenContract is its own sentence; if
    code of the package raised its cause, the line is added.
    """
    if isinstance(error, LtrunError):
        sentence, cause = " ".join(str(error).split()), error.__cause__
        own = _frames(cause, code) if isinstance(error, BrokenContract) and cause else []
        return f"{sentence} ({_place(own[-1])})" if own else sentence
    frames = [frame for frame in _frames(error, Path("/")) if Path(frame.filename) != Path(guard.__file__)]
    where = "".join(map(_place, (_frames(error, code) or frames)[-1:]))
    if isinstance(error, SyntaxError):
        where, what = f"{error.filename}, line {error.lineno}", error.msg
    else:
        what = " ".join(str(error).split())
    if isinstance(error, guard.Overdue):
        return f"{what} ({where})"
    return f"{type(error).__name__}: {what or 'without a message'} ({where})"


def _frames(error: BaseException, code: Path | None) -> list[traceback.FrameSummary]:
    """Returns the frames of an error that lie in a folder or a file."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if code is not None and Path(frame.filename).resolve().is_relative_to(code)]


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}"
