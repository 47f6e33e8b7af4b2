"""`ltrun check PACKAGE`: runs the contracts of ltrun on the parts and options of a package."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun import streams
from ltrun.config import catalogue, plugins
from ltrun.errors import ConfigError, did_you_mean
from ltrun.machine import at_home

if TYPE_CHECKING:
    from rich.console import Console

    from ltrun.contracts.package import Package
    from ltrun.contracts.subjects import Broken, Subject

LTRUN = "ltrun"
USAGE = "ltrun check [-h] [--config-dir DIR] PACKAGE [NAME or GROUP=NAME ...]"
DESCRIPTION = """\
Run the contracts of ltrun on the parts that PACKAGE exports (in its __all__, or a subpackage's) and on its options:
style of the classes, files of the options, finite losses, steps that a GPU can replay, runs that resume, and so on.
Options are the YAML files in --config-dir, in the folders of LTRUN_SEARCHPATH, and in PACKAGE/conf; a run reads PACKAGE/conf
only if --config-dir names it. Naming a package here allows its classes to run, as plugins=[PACKAGE] does."""
EPILOG = """\
examples:
  ltrun check mypackage --config-dir options
  ltrun check mypackage --config-dir options margin=small      one option
  ltrun check mypackage CDT                                    one class
  ltrun check ltrun                                            ltrun itself: some minutes

exit code: 0 if all contracts hold, 1 if one is broken, 2 for unknown flags"""


def main(argv: Sequence[str]) -> int:
    """`ltrun check PACKAGE [NAME or GROUP=NAME ...]`. Returns 1 if a contract is broken, else 0. Raises LtrunError."""
    asked = _parser().parse_intermixed_args(argv)
    name, *only = asked.words
    begun, console = time.perf_counter(), streams.console()
    console.file = console.file  # pin it: the guard redirects standard output while the user's code runs
    plugins.refuse_missing("check", [name])
    plugins.refuse_missing(plugins.PLUGINS, plugins.from_environment())
    with _status(console, f"importing {name}"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # contracts run on the CPU; a GPU is imagined
        import torch

        torch.set_num_threads(1)  # the networks are too small for several threads
        package = _opened(name)
        folders = _folders(package, asked.config_dir)
        subjects = _chosen(_subjects(package, folders), only)
    for folder in folders:
        print(f"options are also read from {folder}")
    total, broken = 0, dict[str, int]()
    width = max(len(subject.name) for subject in subjects)
    for number, subject in enumerate(subjects, 1):
        found = list(_checked(subject, f"{number} of {len(subjects)}", console))
        failed = [each for each in found if each is not None]
        total += len(found)
        _tell(f"{subject.name:<{width}}", len(found), failed, console)
        if failed:
            broken[subject.name] = len(failed)
    what = f"{sum(broken.values())} broken, of {', '.join(broken)}" if broken else "all hold"
    of = f"{len(subjects)} subjects" if len(subjects) > 1 else subjects[0].name
    seconds = time.perf_counter() - begun
    console.print(f"{total} contracts of {of}, in {seconds:.0f} s: {what}", markup=False, soft_wrap=True)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ltrun check", USAGE, DESCRIPTION, EPILOG, formatter_class=raw)
    of_package = "a package that Python can import: installed, or in a folder of PYTHONPATH"
    parser.add_argument("words", nargs="+", metavar="PACKAGE", help=of_package)
    parser.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR", help="a folder of options")
    return parser


def _tell(name: str, contracts: int, failed: Sequence[Broken], console: Console) -> None:
    """Prints a line for a subject, and for each sentence of its broken contracts the contracts that have it."""
    kept = f"{len(failed)} of {contracts} contracts broken" if failed else f"{contracts} contracts hold"
    console.print(f"{name}  {kept}", markup=False, soft_wrap=True, style="red" if failed else None)
    causes: dict[str, list[str]] = {}
    for each in failed:
        causes.setdefault(each.sentence, []).append(each.contract)
    for sentence, names in causes.items():
        others = f", and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"  {names[0]}{others}\n    {sentence}", markup=False, soft_wrap=True)


def _opened(name: str) -> Package:
    """Imports the package. Raises ConfigError if its code raises, exits or hangs."""
    from ltrun.contracts.contract import told
    from ltrun.contracts.guard import Overdue
    from ltrun.contracts.package import Package, code_of

    try:
        return Package.opened(name)
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit, Overdue) as error:
        raise ConfigError(f"{name} cannot be imported: {told(error, code_of(name))}; correct it there") from None


def _folders(package: Package, named: Sequence[Path]) -> list[Path]:
    """Returns the folders of options besides conf/ of ltrun, each once. Raises ConfigError for a missing folder."""
    given = [Path(at_home(str(folder), "--config-dir")) for folder in named]
    shipped = [package.options] if package.options and package.name != LTRUN else []
    return list({folder.resolve(): folder for folder in [*given, *catalogue.from_environment(), *shipped]}.values())


def _subjects(package: Package, folders: Sequence[Path]) -> list[Subject]:
    from ltrun.config import search_path
    from ltrun.contracts.library import Library
    from ltrun.contracts.subjects import subjects_of

    search_path.admit(folders)
    allowed = [name for name in dict.fromkeys([package.name, *plugins.from_environment()]) if name != LTRUN]
    return list(subjects_of(package, Library(folders, allowed)))


def _chosen(subjects: list[Subject], words: Sequence[str]) -> list[Subject]:
    """Returns the subjects that the words name, or all if there are no words. Raises ConfigError for an unknown word."""
    if not words:
        return subjects
    for word in words:
        if not any(_is_meant(subject, word) for subject in subjects):
            known = [name for subject in subjects for name in (subject.name, _short(subject))]
            near = did_you_mean(word, known) or "; without a name, all are checked"
            raise ConfigError(f"check: there is no part or option '{word}'{near}")
    return [subject for subject in subjects if any(_is_meant(subject, word) for word in words)]


def _is_meant(subject: Subject, word: str) -> bool:
    return word in (subject.name, _short(subject))


def _short(subject: Subject) -> str:
    """Returns CDT for mypackage.CDT, small for margin=small."""
    return subject.name.rpartition("=")[2] if "=" in subject.name else subject.name.rpartition(".")[2]


def _checked(subject: Subject, where: str, console: Console) -> Iterator[Broken | None]:
    from ltrun.contracts.subjects import broken_of

    answers = broken_of(subject)
    for contract in subject.contracts:
        with _status(console, f"{where}: {subject.name}: {contract.name}"):
            try:
                answer = next(answers)
            except StopIteration:  # a decisive contract was broken
                return
        yield answer


@contextmanager
def _status(console: Console, what: str) -> Iterator[None]:
    """Shows on a terminal what is being checked."""
    if not streams.is_live(console):
        yield
        return
    from rich.text import Text

    line = Text(what)
    line.truncate(console.width - len("⠋ "), overflow="ellipsis")
    with console.status(line):
        yield
