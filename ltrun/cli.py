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
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltrun import __version__
from ltrun.errors import ConfigError, LtrunError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ltrun.compose import Job

SWEEP = "LTRUN_SWEEP"  # environment: the file in which the jobs of a sweep note what became of them
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
        if argv in (["--help"], ["-h"], ["help"]):
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
        again = shlex.join(["ltrun", *argv])
        print(f"\nltrun: interrupted; nothing finished is lost. The same command goes on from the last checkpoint:\n  {again}")
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
    """Hands the command line to Hydra, which calls `_job` once, or once for each job of a sweep."""
    import hydra

    from ltrun import own_options

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed with a traceback
    own_options.admit(argv)
    sweep = any(word in MULTIRUN for word in argv)
    # Hydra wants its flag before the first override
    sys.argv[1:] = [*(["--multirun"] if sweep else []), *(word for word in argv if word not in MULTIRUN)]
    note = Path(tempfile.mkstemp(prefix="ltrun-sweep-", suffix=".jsonl")[1])
    os.environ[SWEEP] = str(note)
    try:
        hydra.main(config_path="pkg://ltrun.conf", config_name="config", version_base="1.3")(_job)()
    except KeyboardInterrupt:
        _finish(note, sweep)
        raise
    except LtrunError:
        raise
    except Exception as error:
        _finish(note, sweep)
        raise _explained(error, argv) from None
    finally:
        outcomes = _outcomes(note)
        note.unlink(missing_ok=True)
    return _conclude(outcomes, sweep)


def _job(cfg: DictConfig) -> None:
    """One job. Its failure is noted, so that the other jobs of a sweep go on."""
    from hydra.core.hydra_config import HydraConfig

    from ltrun.compose import job_of

    _show_log()
    folder, title = "", " ".join(HydraConfig.get().overrides.task)
    try:
        job = job_of(cfg, HydraConfig.get().runtime.choices, list(HydraConfig.get().overrides.task))
        folder, title = str(job.folder), job.title
        _run(job)
        failure = None
    except LtrunError as error:
        failure = str(error)
    except Exception as error:
        failure = f"{type(error).__name__}: {error} (a defect of ltrun or of a part; {_keep_traceback(folder)})"
    _note({"folder": folder, "title": title, "failure": failure})


def _show_log() -> None:
    """What ltrun's modules have to say while a run is prepared, such as that images are being decoded."""
    logger, handler = logging.getLogger("ltrun"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def _run(job: Job) -> None:
    from ltrun.record import RESULT, RunRecord

    if (job.folder / RESULT).exists() and not job.config["force"]:
        record = RunRecord.load(job.folder / RESULT)
        print(f"{job.title}: done before, in {job.folder} (force=true trains it again)")
        assert record.seed == job.seed
        return
    from ltrun.progress import Progress
    from ltrun.run import run

    with Progress() as progress:
        run(job, progress)
        progress.say(f"written to {job.folder}")


def _keep_traceback(folder: str) -> str:
    if not folder or not Path(folder).is_dir():
        return traceback.format_exc()
    path = Path(folder) / "error.log"
    path.write_text(traceback.format_exc())
    return f"the traceback is in {path}"


def _note(outcome: dict[str, Any]) -> None:
    """Appended in one write, so that jobs of several processes do not mix."""
    with Path(os.environ[SWEEP]).open("a") as file:
        file.write(json.dumps(outcome) + "\n")
    if outcome["failure"]:
        print(f"ltrun: {outcome['failure']}", file=sys.stderr)


def _outcomes(note: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in note.read_text().splitlines()] if note.exists() else []


def _finish(note: Path, sweep: bool) -> None:
    """The table of a sweep that was cut short."""
    if outcomes := _outcomes(note):
        _conclude(outcomes, sweep)


def _conclude(outcomes: list[dict[str, Any]], sweep: bool) -> int:
    """Prints the table of what ran. Hydra's own end-of-sweep callback is not called when a job failed."""
    from ltrun import report

    failures = [(outcome["title"], outcome["failure"]) for outcome in outcomes if outcome["failure"]]
    done = [Path(outcome["folder"]) for outcome in outcomes if not outcome["failure"]]
    if done or (sweep and outcomes):
        report.print_sweep(done, failures if sweep else [])
    return 1 if failures else 0


def _explained(error: Exception, argv: Sequence[str]) -> LtrunError:
    """Hydra's error as a sentence with the nearest name."""
    from ltrun.explain import explain

    if isinstance(error, LtrunError):
        return error
    return explain(error, argv) or ConfigError(_first_line(error))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
