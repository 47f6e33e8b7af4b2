"""Command line: dispatches argv to a command and returns its exit code. Imports nothing heavy before it is needed."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence

from ltrun import __version__, streams
from ltrun.errors import ConfigError, LtrunError, did_you_mean, heed_interruption
from ltrun.machine import STOPS, Lost, Terminated, machines, processes, processes_here, terminate

COMMANDS = (
    "report", "compare", "status", "errors", "predict", "evaluate", "export", "rerun", "methods", "show", "data", "check",
    "completion",
)  # fmt: skip  # modules of ltrun.commands; a command line without a command trains
MEANT = {"train": "ltrun method=ldam", "run": "ltrun method=ldam", "sweep": "ltrun -m method=erm,ldam", "list": "ltrun methods",
         "test": "ltrun predict", "infer": "ltrun predict", "info": "ltrun show"}  # fmt: skip
HELP = """ltrun {version}: one command-line experiment runner for long-tailed recognition

  ltrun method=ldam dataset=cifar100_lt             train one run, or resume it
  ltrun margin=ldam reweighting=drw classifier=cosine seed=1
                                                    any slots, without a preset
  ltrun -m method=erm,ldam_drw,crt seed=0,1,2       a sweep; given again, it skips finished runs
  torchrun --nproc-per-node 4 -m ltrun method=ldam  one network on four devices
  ltrun report outputs/                             tables: all, many-, medium- and few-shot accuracy
  ltrun compare ldam_drw erm                        whether one method is better: difference, 95% interval, p; of test images
  ltrun report --html page.html                     one page to sort, filter, open rows and compare them
  ltrun status outputs/                             runs that are done, running (and the time left), failed, unfinished, waiting
  ltrun errors RUN                                  wrong test images, most confident first; --html FILE shows them
  ltrun predict RUN IMAGES...                       classes of image files; --csv, --json or --parquet OUT writes them
  ltrun evaluate RUN --open IMAGES...               images of classes without training images: which of them a run rejects
  ltrun export RUN --to model.onnx                  the model with its preprocessing; also .pt2 and .safetensors
  ltrun rerun RESULT.json                           train a recorded run again on this machine
  ltrun methods                                     every method and option, with its citation
  ltrun show ldam                                   a method or an option: citation, slots, published number, keys
  ltrun show outputs/.../seed0                      a run: command, metrics, stages, files
  ltrun data dataset=image_folder dataset.root=DIR  classes, counts and the bar chart of the tail
  ltrun data dataset=digits_lt augmentation=cuda --show sheet.png
                                                    augmented images of each class, at each level
  ltrun data export dataset=cifar100_lt to=DIR      the exact long-tailed images, for a machine without network

  ltrun method=ldam --cfg job --resolve             what a command would run
  ltrun --config-dir DIR method=mine                options of your own
  ltrun check mypackage --config-dir DIR            check parts and options of your own against ltrun's contracts
  ltrun completion bash                             completion with TAB; also for zsh and fish
  ltrun --hydra-help                                flags of Hydra, which composes the configuration

exit code: 0 done, 1 refused, failed or out of time, 2 unreadable flags, 130 interrupted (Ctrl-C),
           143 stopped (SIGTERM, SIGUSR1, SIGUSR2)

{options}
"""


def main() -> None:
    """The console script: runs a command and exits with its code. Prints one sentence for an error that the user can fix."""
    streams.guard()
    if processes() > 1 and os.environ.get("RANK", "0") != "0":
        streams.mute()  # rank 0 speaks for all
    code = streams.concluded(dispatch(sys.argv[1:]))
    if code and processes() > 1:
        os._exit(code)  # libraries of a GPU wait for a lost rank when Python ends
    sys.exit(code)


def dispatch(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 1 refused or failed, 2 unreadable flags, 128 + the signal that interrupted."""
    for number in STOPS:
        signal.signal(number, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    try:
        try:
            return _dispatch(argv)
        except Exception as error:
            heed_interruption(error)
            raise
    except LtrunError as error:
        return _refuse(str(error))
    except Lost as loss:
        print(f"ltrun: {loss}", file=sys.stderr)
        print(_resuming(argv), file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        if argv and argv[0] in COMMANDS and argv[0] != "rerun":  # nothing that resumes
            print("\nltrun: interrupted", file=sys.stderr)
        else:
            print(_resuming(argv))
        return 128 + (signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT)


def _resuming(argv: Sequence[str]) -> str:
    """Returns what to say of training that was interrupted, with the command that resumes it."""
    again = [word for word in argv if not re.match(r"\+*force=", word)]  # force=true would start over
    goes_on = "The same command" if again == argv else "Without force=true the command"
    goes_on += ", on every machine," if machines() > 1 else ""
    return (
        f"\nltrun: interrupted; nothing finished is lost. {goes_on} resumes from the last checkpoint:\n"
        f"  {shlex.join([*_launcher(), *again])}"
    )


def _launcher() -> list[str]:
    """Returns the words before the overrides of a command that trains."""
    if processes() == 1:
        return ["ltrun"]
    meet = []
    if machines() > 1:
        endpoint = f"{os.environ.get('MASTER_ADDR', 'HOST')}:29400"  # 29400 is torchrun's own choice
        meet = ["--nnodes", str(machines()), "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint]
    return ["torchrun", *meet, "--nproc-per-node", str(processes_here()), "-m", "ltrun"]


def _dispatch(argv: list[str]) -> int:
    if argv in ([], ["--help"], ["-h"], ["help"]):
        return _help()
    if argv == ["--version"]:
        print(f"ltrun {__version__}")
        return 0
    if argv[0] in COMMANDS:
        return _run(argv[0], argv[1:])
    if re.fullmatch(r"\w[\w-]*", argv[0]):
        raise _no_command(argv[0])
    if {"--help", "-h"} & set(argv):
        return _explain(argv)
    return _run("train", argv)


def _no_command(word: str) -> ConfigError:
    """Returns the error for a first word that is neither a command nor an override, with what was probably meant."""
    from ltrun.config import catalogue

    names = catalogue.names()
    if word in names:
        return ConfigError(f"'{word}' is not a command: write {word}=NAME; ltrun methods {word} lists the names")
    if groups := [f"{group}={word}" for group in names if word in names[group]]:
        return ConfigError(f"'{word}' is not a command: write {' or '.join(groups[:3])}; ltrun show {word} describes it")
    if word in MEANT:
        return ConfigError(f"there is no command '{word}'; did you mean '{MEANT[word]}'?")
    return ConfigError(f"there is no command '{word}'{did_you_mean(word, COMMANDS)}")


def _explain(argv: Sequence[str]) -> int:
    """Shows the options that a command line names: `ltrun method=ldam --help` shows ldam. Without options, the general help."""
    from ltrun.commands.show import about

    if words := about(argv):
        return _run("show", words)
    return _help()


def _refuse(sentence: str) -> int:
    print(f"ltrun: {sentence}", file=sys.stderr)
    return 1


def _help() -> int:
    from ltrun.config import catalogue

    listed = (f"{group}: {', '.join(option.name for option in catalogue.options(group))}" for group in catalogue.groups())
    print(HELP.format(version=__version__, options="\n".join(listed)))
    return 0


def _run(command: str, argv: list[str]) -> int:
    """Runs a command, whose module is imported only now."""
    main: Callable[[list[str]], int] = importlib.import_module(f"ltrun.commands.{command}").main
    if command not in ("train", "rerun") or processes() == 1:
        return main(argv)
    from ltrun.engine.group import joined

    with joined():
        return main(argv)
