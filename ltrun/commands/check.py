"""`ltrun check PACKAGE`: the contracts that ltrun's own parts and options keep to, run on a package of the user's own."""

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
Run the contracts of ltrun on the parts that PACKAGE exports (its __all__, and those of its subpackages) and on its options:
style of the classes, files of the options, finite losses, steps without a look at the host, resuming, and so on.
Options are the YAML files in --config-dir, in the folders of LTRUN_SEARCHPATH, and in PACKAGE/conf, where a package may ship
its own; a run finds those by --config-dir too. Naming a package here lets its classes run, as plugins=[PACKAGE] does."""
EPILOG = """\
examples:
  ltrun check mypackage --config-dir options
  ltrun check mypackage --config-dir options margin=small      one option
  ltrun check mypackage CDT                                    one class
  ltrun check ltrun                                            ltrun itself: some minutes

exit code: 0 all contracts hold, 1 one is broken, 2 flags that cannot be read"""


def main(argv: Sequence[str]) -> int:
    """`ltrun check PACKAGE [NAME or GROUP=NAME ...]`. Returns 1 where a contract is broken. Raises LtrunError."""
    asked = _parser().parse_intermixed_args(argv)
    name, *only = asked.words
    begun, console = time.perf_counter(), streams.console()
    console.file = console.file  # pinned: standard output is elsewhere while code of the user's own runs
    plugins.refuse_missing("check", [name])
    plugins.refuse_missing(plugins.PLUGINS, plugins.from_environment())
    with _status(console, f"importing {name}"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # contracts run on the CPU; a GPU is imagined
        import torch

        torch.set_num_threads(1)  # networks of milliseconds are too small to be shared
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
    of_package = "importable: installed, or in a folder that PYTHONPATH names"
    parser.add_argument("words", nargs="+", metavar="PACKAGE", help=of_package)
    parser.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR", help="options of your own")
    return parser


def _tell(name: str, contracts: int, failed: Sequence[Broken], console: Console) -> None:
    """A line for a subject, and for each cause of a broken contract which contracts it breaks, and its sentence."""
    kept = f"{len(failed)} of {contracts} contracts broken" if failed else f"{contracts} contracts hold"
    console.print(f"{name}  {kept}", markup=False, soft_wrap=True, style="red" if failed else None)
    causes: dict[str, list[str]] = {}
    for each in failed:
        causes.setdefault(each.sentence, []).append(each.contract)
    for sentence, names in causes.items():
        others = f", and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"  {names[0]}{others}\n    {sentence}", markup=False, soft_wrap=True)


def _opened(name: str) -> Package:
    """Raises ConfigError for a package whose code raises, ends or hangs while it is imported."""
    from ltrun.contracts.contract import told
    from ltrun.contracts.guard import Overdue
    from ltrun.contracts.package import Package, code_of

    try:
        return Package.opened(name)
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit, Overdue) as error:
        raise ConfigError(f"{name} cannot be imported: {told(error, code_of(name))}; mend it there") from None


def _folders(package: Package, named: Sequence[Path]) -> list[Path]:
    """Where options lie besides ltrun's own, each once. Raises ConfigError for a folder that is missing."""
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
    """The subjects that the words name, all without words. Raises ConfigError for a word that names none."""
    if not words:
        return subjects
    for word in words:
        if not any(_is_meant(subject, word) for subject in subjects):
            known = [name for subject in subjects for name in (subject.name, _short(subject))]
            near = did_you_mean(word, known) or "; without a name all are checked"
            raise ConfigError(f"there is no part and no option '{word}' to check{near}")
    return [subject for subject in subjects if any(_is_meant(subject, word) for word in words)]


def _is_meant(subject: Subject, word: str) -> bool:
    return word in (subject.name, _short(subject))


def _short(subject: Subject) -> str:
    """CDT for mypackage.CDT, small for margin=small."""
    return subject.name.rpartition("=")[2] if "=" in subject.name else subject.name.rpartition(".")[2]


def _checked(subject: Subject, where: str, console: Console) -> Iterator[Broken | None]:
    from ltrun.contracts.subjects import broken_of

    answers = broken_of(subject)
    for contract in subject.contracts:
        with _status(console, f"{where}: {subject.name}: {contract.name}"):
            try:
                answer = next(answers)
            except StopIteration:  # behind a decisive contract that is broken
                return
        yield answer


@contextmanager
def _status(console: Console, what: str) -> Iterator[None]:
    """Says what is under way, on a terminal."""
    if not streams.is_live(console):
        yield
        return
    from rich.text import Text

    line = Text(what)
    line.truncate(console.width - len("⠋ "), overflow="ellipsis")
    with console.status(line):
        yield
