"""Search of values by optuna: proposals, whose runs train as jobs of a sweep, are told their metric on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltrun.config.job import Job
from ltrun.config.words import command_line, words_of
from ltrun.errors import ConfigError, DataError
from ltrun.metrics import BALANCED, is_number
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord
from ltrun.sweep.combinations import Interval
from ltrun.sweep.experiment import validation

SPLIT = "val"
DIGITS = 4  # significant digits of a proposed number
SAMPLERS = ("tpe", "random")


@dataclass(frozen=True)
class Proposal:
    """A trial of optuna and the command lines of its runs, one for each seed."""

    trial: Any
    commands: Sequence[Sequence[str]]


class Search:
    """Proposals for the swept keys of a command line.

    fixed: the words of every run. each: the words that seeds add, one run each. space: key -> its values, or an interval.
    settings: the keys of conf/hydra/sweeper/optuna.yaml. Raises ConfigError without optuna, and for a value without sense.
    """

    def __init__(
        self,
        fixed: Sequence[str],
        each: Sequence[Sequence[str]],
        space: Mapping[str, Sequence[str] | Interval],
        settings: Mapping[str, Any],
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError("hydra/sweeper=optuna needs optuna: pip install 'ltrun[hpo]'") from None
        if not space:
            raise ConfigError("hydra/sweeper=optuna: no key is searched; give values, as in optimizer.lr=interval(0.01,0.5)")
        for name in ("n_trials", "n_jobs", "seed"):
            if not isinstance(settings[name], int) or isinstance(settings[name], bool) or settings[name] < (name != "seed"):
                raise ConfigError(f"hydra.sweeper.{name}: expected a whole number of at least 1, got {settings[name]}")
        if settings["sampler"] not in SAMPLERS:
            raise ConfigError(f"hydra.sweeper.sampler: expected {' or '.join(SAMPLERS)}, got {settings['sampler']}")
        self.fixed, self.each, self.settings = fixed, each, settings
        self.space = {key: _distribution(values, optuna.distributions) for key, values in space.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kind = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[settings["sampler"]]
        self.study = optuna.create_study(direction="maximize", sampler=kind(seed=settings["seed"]))
        self.failed = optuna.trial.TrialState.FAIL

    def run(self, job_of: Callable[[Sequence[str]], Job], train: Callable[[Sequence[Sequence[str]]], None]) -> str:
        """Trains all proposals and returns a sentence on the best one. train: trains command lines, whatever becomes of them.

        Raises ConfigError if there are no validation images, and DataError for data that are not there.
        """
        left = self.settings["n_trials"]
        while left:
            proposals = [self._propose() for _ in range(min(left, self.settings["n_jobs"]))]
            if left == self.settings["n_trials"] and (missing := validation(job_of(proposals[0].commands[0]))):
                told = "hydra/sweeper=optuna compares runs on validation images, and this data set has none"
                raise ConfigError(f"{told}; add {' '.join(missing)}")
            train([command for proposal in proposals for command in proposal.commands])
            for proposal in proposals:
                values = [value_of(job_of(command).folder) for command in proposal.commands]
                found = [value for value in values if value is not None]
                if len(found) == len(values):
                    self.study.tell(proposal.trial, math.fsum(found) / len(found))
                else:
                    self.study.tell(proposal.trial, state=self.failed)
            left -= len(proposals)
        return self._best()

    def _propose(self) -> Proposal:
        trial = self.study.ask(self.space)
        words = [f"{key}={_text(value)}" for key, value in trial.params.items()]
        trial.set_user_attr("words", [*self.fixed, *words])
        return Proposal(trial, [[*self.fixed, *words, *seed] for seed in self.each])

    def _best(self) -> str:
        done = [trial for trial in self.study.trials if trial.value is not None]
        if not done:
            return "no proposal has a value, because a run of each failed"
        best = max(done, key=lambda trial: trial.value)
        runs = f", the mean of {len(self.each)} seeds" if len(self.each) > 1 else ""
        command = command_line(words_of(best.user_attrs["words"]))
        share = f"{100 * best.value:.1f}% on the validation split as a mean over classes"
        return f"best of {len(done)} proposals: {share}{runs}:\n  {command}"


def value_of(folder: Path) -> float | None:
    """Returns the metric of a run's own row on its validation split, of which 1 is all and classes count alike; or None."""
    try:
        record = RunRecord.load(folder / RESULT)
    except DataError:
        return None
    value = record.predictors[record.headline]["splits"].get(SPLIT, {}).get(BALANCED[record.task])
    return float(value) if is_number(value) else None


def _distribution(values: Sequence[str] | Interval, kinds: Any) -> Any:
    if not isinstance(values, Interval):
        return kinds.CategoricalDistribution(list(values))
    try:
        if values.whole:
            return kinds.IntDistribution(int(values.low), int(values.high), log=values.log)
        return kinds.FloatDistribution(values.low, values.high, log=values.log)
    except ValueError as error:
        raise ConfigError(f"{values.word}: optuna refuses the interval ({error})") from None


def _text(value: Any) -> str:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
