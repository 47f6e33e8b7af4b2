"""Fingerprints of a preset's training and predictor, by which a run finds its preset whatever its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ltrun.config import catalogue, search_path
from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.job import Job
from ltrun.config.rows import rows_of
from ltrun.results.address import as_typed, fingerprint
from ltrun.results.record import RunRecord

PLAIN = "plain"
Recipe = tuple[str, ...]  # words that a run adds to its preset, such as epochs=20; empty for the preset as it is


class Key(NamedTuple):
    """Fingerprints of a training, without its post-hoc parts and arithmetic, and of one of its predictors."""

    training: str
    predictor: str


@contextmanager
def composing(more: Sequence[Path] = ()) -> Iterator[None]:
    """Allows commands to be composed inside. more: folders of the user's options, beside LTRUN_SEARCHPATH.

    Raises ConfigError for a folder that is missing, or that configures Hydra.
    """
    if own := [*more, *catalogue.from_environment()]:
        search_path.admit(own)
    try:
        with hydra_ready():
            yield
    finally:
        search_path.SearchPath.folders = ()


def recipe_of(dataset: str, changes: Mapping[str, Any], usual: str) -> Recipe:
    """Returns the words that a run adds to its preset, without post-hoc parts and arithmetic.

    dataset, changes: as the record has them. usual: the data set that needs no word.
    """
    own = {key: value for key, value in changes.items() if key != "posthoc" and not key.startswith("runtime.")}
    words = [f"{key}={'null' if value is None else as_typed(value)}" for key, value in sorted(own.items())]
    return (*([f"dataset={dataset}"] if dataset != usual else []), *words)


def words_of(method: str, dataset: str, recipe: Recipe) -> list[str]:
    """Returns the command line that trains a preset by a recipe, on `dataset` unless the recipe names another."""
    own = [] if any(word.startswith("dataset=") for word in recipe) else [f"dataset={dataset}"]
    return [f"method={method}", *own, *recipe]


def jobs_of(methods: Sequence[str], dataset: str, recipe: Recipe = ()) -> dict[str, Job]:
    """Returns method -> its job with seed 0. Needs `composing`. Raises Hydra's errors, and ConfigError."""
    return {method: compose_job(words_of(method, dataset, recipe)) for method in methods}


def key_of(job: Job) -> Key:
    """Returns the key of the predictor that stands for the method."""
    return Key(_training(job.config), _predictors(job.config)[job.headline])


def keys_in(record: RunRecord) -> dict[Key, str]:
    """Returns the key of each predictor of a run -> the predictor's name."""
    training, predictors = _training(record.config), _predictors(record.config)
    return {Key(training, predictors[name]): name for name in record.predictors if name in predictors}


def _training(config: Mapping[str, Any]) -> str:
    return fingerprint({key: value for key, value in config.items() if key not in ("posthoc", "runtime")})


def _predictors(config: Mapping[str, Any]) -> dict[str, str]:
    parts = {name: part for name, (_, part) in rows_of(config.get("posthoc")).items()}
    return {PLAIN: PLAIN} | {name: fingerprint({"posthoc": part}) for name, part in parts.items()}
