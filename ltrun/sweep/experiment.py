"""Jobs of an experiment with a sweep of its own, whose methods are compared on validation images."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun.config.compose import compose_job
from ltrun.config.experiment import ALONE
from ltrun.config.job import Job
from ltrun.recipe.read import source_of
from ltrun.sweep.combinations import combinations

SHARE, EACH = 0.2, 20  # validation images: of each class's images; or of each class, where the tail leaves images out


def commands_of(lines: Sequence[Sequence[str]], words: Sequence[str], choose: bool) -> list[list[str]]:
    """Returns the words of each job. words: of the command line; they win. choose: whether the methods are compared
    on validation images. Hydra must be initialised.

    A validation split is then made if the data set has none. Raises Hydra's errors, and
    LtrunError for data that are not there.
    """
    commands = [[*job, ALONE] for line in lines for job in combinations([*line, *words])]
    more = validation(compose_job(commands[0])) if choose else []
    return [[*command, *more] for command in commands]


def validation(job: Job) -> list[str]:
    """Returns the words that give a job's data set a validation split; none if it has one."""
    dataset = job.config["dataset"]
    if dataset.get("validation") or dataset.get("validation_per_class"):
        return []
    from ltrun.data.photos import Photos

    source = source_of(job.config, job.settings.plugins).build({})
    if isinstance(source, Photos):
        return [] if "val" in source.find().splits else [f"dataset.validation={SHARE}"]
    return [f"dataset.validation_per_class={EACH}"] if source.lacks_validation else []
