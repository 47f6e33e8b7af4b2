"""Hydra's launchers, such as joblib or submitit: each task trains the job of a file in the job's folder.

The file holds the whole resolved configuration: a node needs no command line, and a change of conf/ changes no queued job.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.progress import show_log
from ltrun.errors import ConfigError
from ltrun.machine import at_home, terminate
from ltrun.sweep.data_now import DataNow
from ltrun.sweep.jobs import done_before, train_here
from ltrun.sweep.outcome import GOES_ON, STOPPED, Outcome, forget, outcome_of, tell

CONFIG = "launch"  # conf/launch.yaml
OVERRIDE = re.compile(r"[+~]*hydra[./]")
OURS = {  # Hydra's keys that would move or duplicate the files that ltrun writes
    "job.chdir": "paths are relative to the folder in which the command is given",
    "run.dir": "a run has a folder of its own below outputs=DIR",
    "output_subdir": "the configuration of a run lies in its result.json",
    "mode": "-m asks for a sweep",
}
SWEEPER = re.compile(r"[+~]*hydra[./]sweeper(?!=basic$|\.max_batch_size=)")


def overrides_of_hydra(words: Sequence[str]) -> list[str]:
    """Returns the overrides of a command line that configure Hydra, such as hydra/launcher=joblib."""
    return [word for word in words if OVERRIDE.match(word)]


def check(overrides: Sequence[str]) -> None:
    """Raises Hydra's errors for a launcher or a key that does not exist, and ConfigError for a sweeper."""
    for word in filter(SWEEPER.match, overrides):
        raise ConfigError(f"{word}: ltrun itself composes the jobs of a sweep; leave it out, and give values as in seed=0,1,2")
    own = compose(CONFIG, [], return_hydra_config=True).hydra
    said = compose(CONFIG, list(overrides), return_hydra_config=True).hydra
    for key, way_out in OURS.items():
        if OmegaConf.select(said, key) != OmegaConf.select(own, key):
            raise ConfigError(f"hydra.{key}: {way_out}; leave it out")


def launch(jobs: Sequence[Job], overrides: Sequence[str], note: Callable[[Outcome], None]) -> None:
    """Trains the jobs with Hydra's launcher, waits for it, and notes the outcome of each. Hydra must be initialised.

    overrides: the ones that configure Hydra. Raises TrainingError if a job's folder cannot be written to.
    """
    if not jobs:
        return
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
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    show_log()
    job = Job.load(Path(cfg.job))
    if not done_before(job, DataNow()):  # by another sweep whose queue held the same job
        tell(train_here(job), named=True)


def _hydra() -> Hydra:
    return Hydra("ltrun", GlobalHydra.instance().config_loader())


def _outputs(job: Job) -> str:
    folder = Path(at_home(job.settings.outputs, "outputs")).absolute()
    return f"outputs={quoted(folder)}"


def quoted(path: Path) -> str:
    """Quotes a path as the value of an override, whatever its characters."""
    return QuotedString(str(path).replace("${", r"\${"), Quote.single).with_quotes()
