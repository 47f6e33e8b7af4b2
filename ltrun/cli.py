"""The door: compose -> skip if done -> run -> record. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun import __version__
from ltrun.errors import ConfigError, LtrunError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltrun.sweep import Outcome

SWEEP = "LTRUN_SWEEP"  # environment: the file in which the jobs that Hydra starts note what became of them
HOME = re.compile(r"^([+\w.@]+=)~(?=/|$)")
MULTIRUN = ("-m", "--multirun")
HELP = """ltrun {version}: one command-line experiment runner for long-tailed recognition

  ltrun method=ldam dataset=cifar100_lt             train one run, or go on with it
  ltrun margin=ldam reweighting=drw classifier=cosine seed=1
                                                    any slots, without a preset
  ltrun -m method=erm,ldam_drw,crt seed=0,1,2       a sweep; given again, it skips what is done
  ltrun report outputs/                             tables: all, many-, medium- and few-shot accuracy
  ltrun methods                                     everything that can be composed, with citation
  ltrun data dataset=image_folder dataset.root=DIR  classes, counts and the bar chart of the tail
  ltrun data export dataset=cifar100_lt to=DIR      the exact long-tailed images, for a machine without network

  ltrun method=ldam --cfg job --resolve             what a command would run
  ltrun --config-dir DIR method=mine                options of your own
  ltrun --hydra-help                                flags of Hydra, which composes all this

{options}
"""


def main() -> None:
    """The console script. Prints one sentence for whatever the user can mend."""
    sys.exit(dispatch(sys.argv[1:]))


def dispatch(argv: list[str]) -> int:
    """Exit code: 0 done, 1 refused or failed, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    argv = [HOME.sub(lambda match: match[1] + str(Path.home()), word) for word in argv]  # Hydra cannot read a bare ~
    commands: dict[str, Callable[[list[str]], int]] = {"report": _report, "methods": _methods, "data": _data}
    try:
        if argv in ([], ["--help"], ["-h"], ["help"]):
            return _help()
        if argv == ["--version"]:
            print(f"ltrun {__version__}")
            return 0
        if argv and argv[0] in commands:
            return commands[argv[0]](argv[1:])
        if argv and argv[0].isalpha():
            raise ConfigError(f"there is no command '{argv[0]}'{did_you_mean(argv[0], commands)}")
        return _train(argv)
    except LtrunError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        again = [word for word in argv if not re.match(r"\+*force=", word)]  # which would begin anew
        goes_on = "The same command" if again == argv else "Without force=true the command"
        print(
            f"\nltrun: interrupted; nothing finished is lost. {goes_on} goes on from the last checkpoint:\n"
            f"  {shlex.join(['ltrun', *again])}"
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _refuse(sentence: str) -> int:
    print(f"ltrun: {sentence}", file=sys.stderr)
    return 1


def _help() -> int:
    from ltrun import catalogue

    listed = (f"{group}: {', '.join(option.name for option in catalogue.options(group))}" for group in catalogue.groups())
    print(HELP.format(version=__version__, options="\n".join(listed)))
    return 0


def _report(argv: list[str]) -> int:
    from ltrun import report

    return report.main(argv)


def _methods(argv: list[str]) -> int:
    from ltrun import catalogue

    return catalogue.main(argv)


def _data(argv: list[str]) -> int:
    """`ltrun data`: what a data set holds, and its export."""
    from ltrun.data import command

    _show_log()
    return command.main(argv)


def _train(argv: list[str]) -> int:
    """Trains the job of a command line, or those of a sweep; Hydra does where it is spoken to, as in `--cfg job`."""
    from ltrun import own_options

    own_options.admit(argv)
    sweep = any(word in MULTIRUN for word in argv)
    outcomes: list[Outcome] = []
    try:
        (_train_by_hydra if _speaks_to_hydra(argv) else _train_here)(argv, sweep, outcomes)
    except BaseException as error:
        if outcomes:
            _conclude(outcomes, sweep)  # the table of a sweep that was cut short
        if not isinstance(error, Exception):
            raise
        from ltrun.explain import explained

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

    from ltrun import own_options
    from ltrun.sweep import combinations, train

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        _tell(outcome, named=sweep)

    _show_log()
    words = own_options.without_flags(argv)
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        train(combinations(words) if sweep else [words], note)


def _train_by_hydra(argv: Sequence[str], sweep: bool, outcomes: list[Outcome]) -> None:
    """Hydra, or a launcher of its own in other processes, calls `_job` once for each job."""
    import hydra

    from ltrun.sweep import Outcome

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

    from ltrun.compose import job_of
    from ltrun.sweep import Outcome, done_before, train_here

    _show_log()
    words = list(HydraConfig.get().overrides.task)
    try:
        job = job_of(cfg, HydraConfig.get().runtime.choices, words)
        _note(Outcome(job.title, str(job.folder)) if done_before(job) else train_here(job))
    except LtrunError as error:
        _note(Outcome(" ".join(words), "", str(error)))


def _show_log() -> None:
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
    from ltrun import report

    failures = [(outcome.title, outcome.failure) for outcome in outcomes if outcome.failure]
    done = [Path(outcome.folder) for outcome in outcomes if not outcome.failure]
    if done or (sweep and outcomes):
        report.print_sweep(done, failures if sweep else [])
    return 1 if failures else 0
