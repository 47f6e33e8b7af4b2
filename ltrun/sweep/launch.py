"""Launchers: ltrun's own, and Hydra's, such as joblib or submitit, each task of which trains the job of a file in its folder.

The file holds the whole resolved configuration: a node needs no command line, and a change of conf/ changes no queued job.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.progress import show_log
from ltrun.errors import ConfigError
from ltrun.machine import at_home, heed_stops
from ltrun.sweep.jobs import Note, train, train_here
from ltrun.sweep.launchers import gpus, ray, slurm
from ltrun.sweep.launchers.one import train_file
from ltrun.sweep.outcome import GOES_ON, STOPPED, Outcome, forget, outcome_of

CONFIG = "launch"  # conf/launch.yaml
OVERRIDE = re.compile(r"[+~]*hydra[./]")
OURS = {  # Hydra's keys that would move or duplicate the files that ltrun writes
    "job.chdir": "paths are relative to the folder in which the command is given",
    "run.dir": "a run has a folder of its own below outputs=DIR",
    "output_subdir": "the configuration of a run lies in its result.json",
    "mode": "-m asks for a sweep",
}
OWN = {"gpus": gpus.train, "slurm": slurm.train, "ray": ray.train}  # of conf/hydra/launcher -> what trains a sweep's jobs
OF_LAUNCHER = re.compile(r"[+~]*hydra([./]launcher\b|\.searchpath=)")
SWEEPER = re.compile(r"[+~]*hydra[./]sweeper(?!=basic$|\.max_batch_size=)")
SEARCH = "hydra/sweeper=optuna"  # ltrun's own, whatever plugin of Hydra is installed


def overrides_of_hydra(words: Sequence[str]) -> list[str]:
    """Returns the overrides of a command line that configure Hydra, such as hydra/launcher=joblib."""
    return [word for word in words if OVERRIDE.match(word)]


def check(overrides: Sequence[str], sweep: bool = True) -> None:
    """Raises Hydra's errors for a launcher or a key that does not exist, and ConfigError for a sweeper.

    sweep: whether the command is a sweep, which a launcher of ltrun's own needs.
    """
    if SEARCH in overrides and not sweep:
        raise ConfigError(f"{SEARCH}: searches by the jobs of a sweep, which -m asks for: ltrun -m ...")
    for word in filter(SWEEPER.match, overrides if SEARCH not in overrides else ()):
        raise ConfigError(f"{word}: ltrun itself composes the jobs of a sweep; leave it out, and give values as in seed=0,1,2")
    own = compose(CONFIG, [], return_hydra_config=True).hydra
    said = compose(CONFIG, list(overrides), return_hydra_config=True).hydra
    for key, way_out in OURS.items():
        if OmegaConf.select(said, key) != OmegaConf.select(own, key):
            raise ConfigError(f"hydra.{key}: {way_out}; leave it out")
    if (name := said.runtime.choices["hydra/launcher"]) in OWN:
        if not sweep:
            raise ConfigError(f"hydra/launcher={name}: starts the jobs of a sweep, which -m asks for: ltrun -m ...")
        if other := next((word for word in without_search(overrides) if not OF_LAUNCHER.match(word)), None):
            raise ConfigError(f"{other}: hydra/launcher={name} is ltrun's own, and heeds hydra.launcher.* alone; leave it out")


def without_search(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides without those that configure a search."""
    return [word for word in overrides if not SWEEPER.match(word)]


def search_of(overrides: Sequence[str]) -> Mapping[str, Any] | None:
    """Returns the keys of conf/hydra/sweeper/optuna.yaml if the overrides ask for a search, else None."""
    if SEARCH not in overrides:
        return None
    found = compose(CONFIG, list(overrides), return_hydra_config=True).hydra.sweeper
    return cast(dict[str, Any], OmegaConf.to_container(found, resolve=True))


def launch(jobs: Sequence[Job], overrides: Sequence[str], total: int, note: Note, told: Note) -> None:
    """Trains the jobs with the launcher, waits for it, and notes the outcome of each. Hydra must be initialised.

    overrides: the ones that configure Hydra. total: jobs of the sweep, also those done before. note: prints outcomes, too.
    told: takes those that a job itself prints. Raises TrainingError if a job's folder cannot be written to, and ConfigError.
    """
    if not jobs:
        return
    chosen = compose(CONFIG, list(overrides), return_hydra_config=True).hydra
    name = chosen.runtime.choices["hydra/launcher"]
    if name not in OWN:
        return _launch_by_hydra(jobs, overrides, told)
    if name == "gpus" and gpus.idle():
        return train(jobs, total, note)
    OWN[name](jobs, total, note, cast(dict[str, Any], OmegaConf.to_container(chosen.launcher, resolve=True)))


def _launch_by_hydra(jobs: Sequence[Job], overrides: Sequence[str], note: Note) -> None:
    for job in jobs:
        forget(job)
    files = [quoted(job.save().absolute()) for job in jobs]
    why = STOPPED
    try:
        _hydra().multirun(CONFIG, train_from_file, [*overrides, _outputs(jobs[0]), f"job={','.join(files)}"])
    except KeyboardInterrupt:
        for outcome in map(outcome_of, jobs):
            if outcome.state != "unfinished":
                note(outcome)
        raise
    except Exception as error:  # whatever a launcher raises, the folders hold the outcomes of the jobs
        name, said = type(error).__name__, str(error).partition("\n")[0]
        print(f"ltrun: the launcher stopped: {name}: {said}", file=sys.stderr)
        why = (
            f"it had not ended when the launcher stopped ({name}: {said}); it may still train, or wait for a node, as "
            f"'ltrun status {jobs[0].settings.outputs}' shows; if not, {GOES_ON}"
        )
    for job in jobs:
        note(outcome_of(job, why))


def train_under_hydra(job: Job, overrides: Sequence[str]) -> Outcome:
    """Trains a single run in this process, with Hydra's settings from the command line, such as callbacks."""
    done = _hydra().run(CONFIG, lambda _: train_here(job, alone=True), [*overrides, _outputs(job)])
    outcome: Outcome = done.return_value
    return outcome


def train_from_file(cfg: DictConfig) -> None:
    """Trains the job of a file, in a process that the launcher started; leaves the outcome in the folder. Raises DataError."""
    streams.guard()
    streams.outlive()
    heed_stops()
    show_log()
    train_file(Path(cfg.job))


def _hydra() -> Hydra:
    return Hydra("ltrun", GlobalHydra.instance().config_loader())


def _outputs(job: Job) -> str:
    folder = Path(at_home(job.settings.outputs, "outputs")).absolute()
    return f"outputs={quoted(folder)}"


def quoted(path: Path) -> str:
    """Quotes a path as the value of an override, whatever its characters."""
    return QuotedString(str(path).replace("${", r"\${"), Quote.single).with_quotes()
