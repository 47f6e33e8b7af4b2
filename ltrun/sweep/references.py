"""Balanced runs that a sweep trains beside its own, so that it has relative accuracy: sweep.references=true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.errors import ConfigError, heed_interruption
from ltrun.metrics import SINGLE_LABEL
from ltrun.results.references import BALANCED, PLAIN, PROFILE, is_balanced, is_reference, of_method, without_balance
from ltrun.sweep.jobs import UNCOMPOSED

ASKED = "sweep.references"
Compose = Callable[[Sequence[str]], Job]


def refuse_alone(words: Sequence[str], several: bool, search: bool) -> None:
    """Raises ConfigError if a command line asks for references where there is no sweep of given values.

    several: whether the command is a sweep. search: whether it searches values.
    """
    if any(_key(word) == ASKED and not word.lower().endswith("=false") for word in words):
        if not several:
            raise ConfigError(f"{ASKED}: further runs of a sweep, ltrun -m ...; this command trains one run; leave it out")
        if search:
            raise ConfigError(f"{ASKED}: a search compares its runs with each other alone; leave it out")


def once() -> Compose:
    """Returns `compose_job` with a memory, because a job and its references are composed again when their turn comes."""
    remembered = lru_cache(maxsize=None)(compose_job)
    return lambda words: remembered(tuple(words))


def with_references(commands: Sequence[Sequence[str]], compose: Compose = compose_job) -> Sequence[Sequence[str]]:
    """Returns the words of each job, and after them those of each reference that is not among the jobs, once.

    A reference has the seed and the other words of a job. The first job that composes says whether references are asked for.
    Words that do not compose are left to `compose_jobs`. Hydra must be initialised. Raises ConfigError for data that cannot be
    balanced, and for words with which no reference can be composed.
    """
    found = ((words, job) for words in commands if (job := _composed(words, compose)))
    first = next(found, None)
    if first is None or not first[1].settings.sweep.references:
        return commands
    jobs = [first, *found]
    for _, job in jobs:
        _refuse(job)
    seen: set[Path | tuple[str, ...]] = {job.folder for _, job in jobs}
    more: list[Sequence[str]] = []
    for plain in (False, True):
        for words, job in jobs:
            said = words_of_reference(words, plain)
            reference = _composed(said, compose)
            if reference and not is_reference(reference, job, plain):
                raise ConfigError(_other(reference, job, plain))
            place = reference.folder if reference else said
            if place not in seen:
                seen.add(place)
                more.append(said)
    return [*commands, *more]


def words_of_reference(words: Sequence[str], plain: bool) -> tuple[str, ...]:
    """Returns the words of the balanced run that belongs to a job with these words. plain: of plain training."""
    kept = [word for word in words if _key(word) != PROFILE]
    if plain:
        kept = [f"method={PLAIN}", *(word for word in kept if _key(word) != "method" and not of_method(_key(word)))]
    return (*kept, f"{PROFILE}={BALANCED}")


def _refuse(job: Job) -> None:
    """Raises ConfigError if a job has no references."""
    if job.config["dataset"].get("task", SINGLE_LABEL) != SINGLE_LABEL:
        raise ConfigError(f"{ASKED}: relative accuracy is for one label per image, and {job.dataset} has several; leave it out")
    if why := without_balance(job):
        raise ConfigError(f"{ASKED}: {job.dataset} {why}; give {PROFILE}=exponential, or leave it out")
    if is_balanced(job):
        raise ConfigError(f"{ASKED}: adds balanced runs to long-tailed ones itself; leave {PROFILE}={BALANCED} out")


def _other(found: Job, job: Job, plain: bool) -> str:
    """Returns why a composed run is no reference of a job."""
    own = [key for key in found.changes if of_method(key)] if plain else []
    told = f"an experiment or a file of options sets {', '.join(own)}" if own else f"it is {found.title}"
    return f"{ASKED}: no {'plain training' if plain else 'balanced run'} belongs to {job.title}, because {told}; leave it out"


def _composed(words: Sequence[str], compose: Compose) -> Job | None:
    try:
        return compose(words)
    except UNCOMPOSED as error:
        heed_interruption(error)
        return None


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]
