"""Which training and which predictor a preset stands for, so that runs find their rows whatever they were called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.compose import Job, compose_job
from ltrun.config.rows import rows_of
from ltrun.errors import ConfigError
from ltrun.results.address import as_typed, fingerprint
from ltrun.results.record import RunRecord

PLAIN = "plain"
Recipe = tuple[str, ...]  # words that a run adds to its preset, such as epochs=20; none: as published


class Key(NamedTuple):
    """What a row is about: one training, whatever the post-hoc parts and the arithmetic, and one of its predictors."""

    training: str
    predictor: str


@contextmanager
def composing() -> Iterator[None]:
    """Within it, commands can be composed."""
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        yield


def recipe_of(dataset: str, changes: Mapping[str, Any], usual: str) -> Recipe:
    """What a run changes of its preset, but for post-hoc parts and arithmetic. usual: the data set of the literature."""
    own = {key: value for key, value in changes.items() if key != "posthoc" and not key.startswith("runtime.")}
    words = [f"{key}={'null' if value is None else as_typed(value)}" for key, value in sorted(own.items())]
    return (*([f"dataset={dataset}"] if dataset != usual else []), *words)


def words_of(method: str, dataset: str, recipe: Recipe) -> list[str]:
    """A command line of a preset on the data set of the literature, unless the recipe names another."""
    own = [] if any(word.startswith("dataset=") for word in recipe) else [f"dataset={dataset}"]
    return [f"method={method}", *own, *recipe]


def jobs_of(methods: Sequence[str], dataset: str, recipe: Recipe) -> dict[str, Job]:
    """Method -> its job, of seed 0. None for a recipe of another version that this one cannot compose."""
    try:
        return {method: compose_job(words_of(method, dataset, recipe)) for method in methods}
    except (HydraException, OmegaConfBaseException, ConfigError):
        return {}


def key_of(job: Job) -> Key:
    """Of the predictor that stands for the method."""
    return Key(_training(job.config), _predictors(job.config)[job.headline])


def keys_in(record: RunRecord) -> dict[Key, str]:
    """The rows that a run has a number for, and the predictor that has it."""
    training, predictors = _training(record.config), _predictors(record.config)
    return {Key(training, predictors[name]): name for name in record.predictors if name in predictors}


def _training(config: Mapping[str, Any]) -> str:
    return fingerprint({key: value for key, value in config.items() if key not in ("posthoc", "runtime")})


def _predictors(config: Mapping[str, Any]) -> dict[str, str]:
    parts = {name: part for name, (_, part) in rows_of(config.get("posthoc")).items()}
    return {PLAIN: PLAIN} | {name: fingerprint({"posthoc": part}) for name, part in parts.items()}
