"""Teachers of a configuration: the jobs that train them where they are missing, and the digests of finished ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltrun.config.values import coerce
from ltrun.config.words import for_hydra
from ltrun.errors import ConfigError, DataError, LtrunError
from ltrun.machine import at_home
from ltrun.results.address import MODEL, RESULT
from ltrun.results.find import run_at
from ltrun.taxonomy import teachers_in

if TYPE_CHECKING:
    from ltrun.config.job import Job

OF_TEACHERS = ("fingerprint", "sha256")  # keys that ltrun adds to a teacher: of the job that trains it, of a finished model
SHARED = (
    "dataset", "network", "epochs", "batch_size", "seed", "outputs", "plugins", "evaluation", "runtime",
)  # fmt: skip  # words of the student that its teachers share
REFUSED = {
    "dataset": "a teacher sees the data set of its student",
    "outputs": "a teacher lies beside its student",
    "plugins": "name packages on the student's command line",
    "force": "force=true of its own command trains a teacher again",
    "sweep": "a teacher is one run",
    "experiment": "a teacher is one run",
    "hydra": "the student's command line configures Hydra",
}
DIGITS = 12  # of a SHA-256, in an address
DEEPEST = 3  # a teacher may have teachers, but not be its own

_above: ContextVar[int] = ContextVar("teachers above the one that is composed", default=0)


class TeacherWordsError(Exception):
    """Words of a teacher that do not compose, at a key path; its cause says why."""

    def __init__(self, key: str, words: Sequence[str]):
        super().__init__(key)
        self.key, self.words = key, words


def resolve_teachers(
    config: dict[str, Any], overrides: Sequence[str], compose: Callable[[Sequence[str]], Job]
) -> dict[str, Job]:
    """Returns key path -> the job that trains a teacher on demand, and adds to each teacher the digest that an address counts.

    overrides: of the student. Raises ConfigError, with the key path, for a teacher that cannot be composed or found.
    """
    jobs: dict[str, Job] = {}
    for path, node in teachers_in(config):
        run = coerce(node.get("run"), str | None, f"{path}.run")
        words = coerce(node.get("words"), list[str] | None, f"{path}.words") or []
        if run is not None:
            folder = _folder(run, config["outputs"], path)
            node |= {"run": str(folder), "sha256": _digest(folder / MODEL, path, node.get("sha256"))}
        elif words:
            with _one_deeper(path):
                jobs[path] = job = _composed(words_of_teacher(overrides, words, path), compose, path)
            if (stated := node.get("fingerprint")) not in (None, job.fingerprint):
                raise ConfigError(
                    f"{path}: its words train the run {job.fingerprint} here, not the recorded {stated}, because options have "
                    f"changed since; give {path}.run=FOLDER of the recorded one"
                )
            node["fingerprint"] = job.fingerprint
    return jobs


def _composed(words: Sequence[str], compose: Callable[[Sequence[str]], Job], path: str) -> Job:
    """Returns the job of a teacher. Raises TeacherWordsError around an error that is not ltrun's own."""
    try:
        return compose(words)
    except (LtrunError, TeacherWordsError):
        raise
    except Exception as error:
        raise TeacherWordsError(f"{path}.words", words) from error


def words_of_teacher(overrides: Sequence[str], words: Sequence[str], path: str) -> list[str]:
    """Returns the command line of a teacher: its own words, and the student's for data, network, length, seed and machine.

    Raises ConfigError for a word that a teacher cannot have.
    """
    own = for_hydra(words, ())
    keys = {_key(word) for word in own}
    for key in sorted(keys):
        head = key.split(".")[0]
        if head in REFUSED:
            raise ConfigError(f"{path}.words: '{key}' does not belong there, because {REFUSED[head]}; remove it")
        if key == "network.download":
            raise ConfigError(f"{path}.words: '{key}' does not belong there; give the file, network.weights=PATH")
    shared = [word for word in overrides if _key(word).split(".")[0] in SHARED and _key(word) not in keys]
    if "network" in keys:
        shared = [word for word in shared if _key(word).split(".")[0] != "network"]
    return [*shared, *own]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


@contextmanager
def _one_deeper(path: str) -> Iterator[None]:
    token = _above.set(_above.get() + 1)
    try:
        if _above.get() > DEEPEST:
            raise ConfigError(f"{path}: a teacher of a teacher of a teacher has a teacher; is it its own? change its words")
        yield
    finally:
        _above.reset(token)


def _folder(run: str, outputs: str, path: str) -> Path:
    """Returns the folder of a finished run, given as a path, or as its address below outputs. Raises ConfigError."""
    given = Path(at_home(run, f"{path}.run"))
    below = Path(at_home(outputs, "outputs")) / run
    try:
        file, _ = run_at(below if not given.exists() and below.exists() else given)
    except DataError as error:
        raise ConfigError(f"{path}.run: {error}") from None
    return file.parent.resolve()


def _digest(model: Path, path: str, stated: object) -> str:
    """Returns the first digits of a model's SHA-256. Raises ConfigError if it is missing, or differs from the stated digits."""
    try:
        found = _sha256(model, model.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigError(
            f"{path}.run: {model} cannot be read ({error.strerror}): train the run of its {RESULT} again with force=true"
        ) from None
    if stated not in (None, found):
        raise ConfigError(f"{path}.run: {model} is another model than the recorded one: its SHA-256 begins with {found}")
    return found


@lru_cache
def _sha256(model: Path, written: int) -> str:
    with model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
