"""`ltrun method=...`: one run, or a sweep."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun.errors import LtrunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltrun.sweep.outcome import Outcome


SWEEP = "LTRUN_SWEEP"  # environment: the file in which the jobs that Hydra starts note what became of them
MULTIRUN = ("-m", "--multirun")


def main(argv: list[str]) -> int:
    """Trains the job of a command line, or those of a sweep; Hydra does where it is spoken to, as in `--cfg job`."""
    from ltrun.config import search_path

    search_path.use(argv)
    sweep = any(word in MULTIRUN for word in argv)
    outcomes: list[Outcome] = []
    try:
        (_train_by_hydra if _speaks_to_hydra(argv) else _train_here)(argv, sweep, outcomes)
    except BaseException as error:
        if outcomes:
            _conclude(outcomes, sweep)  # the table of a sweep that was cut short
        if not isinstance(error, Exception):
            raise
        from ltrun.config.explain import explained

        raise explained(error, argv) from None
    return _conclude(outcomes, sweep)


def _speaks_to_hydra(argv: Sequence[str]) -> bool:
    """Whether there is a flag of Hydra's, but for those of a sweep and of own options, or a key such as hydra/launcher."""
    flags = (*MULTIRUN, "--config-dir", "-cd")
    return any(
        word.partition("=")[0] not in flags if word.startswith("-") else re.match(r"[+~]*hydra[./]", word) for word in argv
    )


def _train_here(argv: Sequence[str], sweep: bool, outcomes: list[Outcome]) -> None:
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from ltrun.config import search_path
    from ltrun.sweep.combinations import combinations
    from ltrun.sweep.jobs import train

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        _tell(outcome, named=sweep)

    show_log()
    words = search_path.without_flags(argv)
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        train(combinations(words) if sweep else [words], note)


def _train_by_hydra(argv: Sequence[str], sweep: bool, outcomes: list[Outcome]) -> None:
    """Hydra, or a launcher of its own in other processes, calls `_job` once for each job."""
    import hydra

    from ltrun.sweep.outcome import Outcome

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed with a traceback
    words = [word for word in argv if word not in MULTIRUN]
    # Hydra wants its flags before the first override
    overrides = [word for word in words if re.match(r"[+~]*[^-=][^=]*=|~", word)]
    sys.argv[1:] = [*(["--multirun"] if sweep else []), *(word for word in words if word not in overrides), *overrides]
    file = Path(tempfile.mkstemp(prefix="ltrun-sweep-", suffix=".jsonl")[1])
    os.environ[SWEEP] = str(file)
    try:
        hydra.main(config_path="pkg://ltrun.conf", config_name="config", version_base="1.3")(_job)()
    finally:
        outcomes += [Outcome(**json.loads(line)) for line in file.read_text().splitlines()]
        file.unlink()


def _job(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from ltrun.config.compose import job_of
    from ltrun.sweep.jobs import done_before, train_here
    from ltrun.sweep.outcome import Outcome

    show_log()
    words = list(HydraConfig.get().overrides.task)
    try:
        job = job_of(cfg, HydraConfig.get().runtime.choices, words)
        _note(Outcome(job.title, str(job.folder)) if done_before(job) else train_here(job))
    except LtrunError as error:
        _note(Outcome(" ".join(words), "", str(error)))


def show_log() -> None:
    """What ltrun's modules have to say while a run is prepared, such as that images are being decoded."""
    logger, handler = logging.getLogger("ltrun"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def _note(outcome: Outcome) -> None:
    """For the process that was called. Appended in one write, so that jobs of several processes do not mix."""
    with Path(os.environ[SWEEP]).open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")
    _tell(outcome, named=False)


def _tell(outcome: Outcome, named: bool) -> None:
    """named: whether a failure says of which job."""
    if outcome.failure:
        print(f"ltrun: {outcome.title}: {outcome.failure}" if named else f"ltrun: {outcome.failure}", file=sys.stderr)


def _conclude(outcomes: list[Outcome], sweep: bool) -> int:
    """Prints the table of what ran. Hydra's own end-of-sweep callback is not called when a job failed."""
    from ltrun.commands.report import print_sweep

    failures = [(outcome.title, outcome.failure) for outcome in outcomes if outcome.failure]
    done = [Path(outcome.folder) for outcome in outcomes if not outcome.failure]
    if done or (sweep and outcomes):
        print_sweep(done, failures if sweep else [])
    return 1 if failures else 0
