"""The door: compose -> skip if done -> run -> record. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import importlib
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ltrun import __version__, streams
from ltrun.errors import ConfigError, LtrunError, did_you_mean
from ltrun.machine import Terminated, terminate

HOME = re.compile(r"^([+\w.@]+=)~(?=/|$)")
COMMANDS = ("report", "status", "methods", "data")  # each a module of ltrun.commands; without one, a command line trains
HELP = """ltrun {version}: one command-line experiment runner for long-tailed recognition

  ltrun method=ldam dataset=cifar100_lt             train one run, or go on with it
  ltrun margin=ldam reweighting=drw classifier=cosine seed=1
                                                    any slots, without a preset
  ltrun -m method=erm,ldam_drw,crt seed=0,1,2       a sweep; given again, it skips what is done
  ltrun report outputs/                             tables: all, many-, medium- and few-shot accuracy
  ltrun status outputs/                             what is done, running (and for how long yet), failed or unfinished
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
    streams.guard()
    sys.exit(streams.concluded(dispatch(sys.argv[1:])))


def dispatch(argv: list[str]) -> int:
    """Exit code: 0 done, 1 refused or failed, 130 interrupted, 143 ended by SIGTERM."""
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    argv = [HOME.sub(lambda match: match[1] + str(Path.home()), word) for word in argv]  # Hydra cannot read a bare ~
    try:
        if argv in ([], ["--help"], ["-h"], ["help"]):
            return _help()
        if argv == ["--version"]:
            print(f"ltrun {__version__}")
            return 0
        if argv[0] in COMMANDS:
            return _run(argv[0], argv[1:])
        if argv[0].isalpha():
            raise ConfigError(f"there is no command '{argv[0]}'{did_you_mean(argv[0], COMMANDS)}")
        return _run("train", argv)
    except LtrunError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as interrupt:
        again = [word for word in argv if not re.match(r"\+*force=", word)]  # which would begin anew
        goes_on = "The same command" if again == argv else "Without force=true the command"
        print(
            f"\nltrun: interrupted; nothing finished is lost. {goes_on} goes on from the last checkpoint:\n"
            f"  {shlex.join(['ltrun', *again])}"
        )
        return 143 if isinstance(interrupt, Terminated) else 130


def _refuse(sentence: str) -> int:
    print(f"ltrun: {sentence}", file=sys.stderr)
    return 1


def _help() -> int:
    from ltrun.config import catalogue

    listed = (f"{group}: {', '.join(option.name for option in catalogue.options(group))}" for group in catalogue.groups())
    print(HELP.format(version=__version__, options="\n".join(listed)))
    return 0


def _run(command: str, argv: list[str]) -> int:
    """Imports a command only when it is asked for."""
    main: Callable[[list[str]], int] = importlib.import_module(f"ltrun.commands.{command}").main
    return main(argv)
