"""`ltrun rerun`: trains the run of a result.json again on this machine, and compares the numbers with the record's."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ltrun import streams
from ltrun.config.compose import hydra_ready
from ltrun.config.explain import explained
from ltrun.config.job import Job
from ltrun.config.recorded import command_of, drift, job_of_record
from ltrun.config.words import command_line, for_hydra, words_of
from ltrun.data.identity import Listing
from ltrun.data.source import Splits
from ltrun.engine.device import device_of
from ltrun.engine.precision import Precision
from ltrun.engine.progress import show_log
from ltrun.errors import ConfigError, DataError
from ltrun.machine import processes
from ltrun.recipe.read import recipe_of
from ltrun.report.comparison import circumstances, numbers
from ltrun.report.render.common import plain
from ltrun.results.address import RESULT
from ltrun.results.find import run_at
from ltrun.results.provenance import provenance
from ltrun.results.record import RunRecord
from ltrun.sweep.jobs import train_here
from ltrun.sweep.outcome import tell

SHOWN = 5  # the largest number of changed keys to name


def main(argv: Sequence[str]) -> int:
    """Trains the run of a record, unless it is done here already, and compares the numbers. Raises LtrunError."""
    asked = _parser().parse_intermixed_args(argv)
    if further := [word for word in asked.words if "=" not in word and Path(word).exists()]:
        raise ConfigError(f"ltrun rerun takes one run: leave {asked.run} or {', '.join(further)} out")
    file, record = run_at(asked.run)
    words = for_hydra(asked.words, ())
    if asked.print:
        return _print(file, record, words)
    show_log()
    try:
        with hydra_ready():
            job, changed = job_of_record(record, file, words), drift(record)
    except Exception as error:
        raise explained(error, words) from None
    result = job.folder / RESULT
    if result.exists() and result.samefile(file):
        raise ConfigError(f"{file} is the result of this very run, which stays: train it elsewhere with outputs=DIR")
    print(plain(f"{job.title}, as in {file}"))
    _check(file, record, job)
    for line in (*_drifted(changed), *circumstances(record.provenance, _here(job))):
        print(f"  {line}")
    if result.exists() and not job.settings.force:
        print(f"done before, in {job.folder} (force=true trains it again)")
    else:
        streams.outlive()
        outcome = train_here(job, alone=True)
        if outcome.state != "done":
            tell(outcome, named=False)
            return 1
    _compare(record, RunRecord.load(result))
    return 0


def _print(file: Path, record: RunRecord, words: Sequence[str]) -> int:
    """Prints the command of a record, with a warning if it names folders or code of the machine where it was given."""
    if not record.command:
        raise ConfigError(
            f"{file} has no command, because an earlier version wrote it: leave out --print to train its configuration"
        )
    whole = command_of(record, words)
    print(plain(command_line(words_of(whole))))
    foreign = [word for word in whole if word.startswith(("-", "plugins=", "hydra"))]
    if foreign:
        print("ltrun: this names folders or code of the machine where it was given: read it before you run it", file=sys.stderr)
    return 0


def _drifted(keys: Sequence[str] | None) -> list[str]:
    """Returns a line on options that have changed in this version, if any."""
    if keys is None:
        return ["its command no longer composes here; its recorded configuration is trained"]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    told = f"{', '.join(map(plain, keys[:SHOWN]))}{more}"
    return (
        [f"its command would train another run here, because of {told}; its recorded configuration is trained"] if keys else []
    )


def _check(file: Path, record: RunRecord, job: Job) -> None:
    """Raises ConfigError for a configuration that this version cannot train, DataError for data other than the record's."""
    try:
        recipe = recipe_of(job.config, job.choices, job.settings.plugins)
        recipe.check_settings()
        source = recipe.dataset()
    except ConfigError as error:
        raise ConfigError(f"{file}: this version of ltrun cannot train its configuration: {error}") from None
    splits = source.open(torch.device("cpu"))
    if differing := _other_sizes(record, splits) or Listing.of(splits).difference(record.data, file.parent):
        raise DataError(f"{file}: the data here differ from the record's: {differing}")
    if not record.data:
        print("  the record has no digest of its data: the classes have the same sizes, but the images may differ")
    logging.getLogger("ltrun").setLevel(logging.WARNING)  # the run would log again how it reads the data


def _other_sizes(record: RunRecord, splits: Splits) -> str | None:
    """Returns a sentence on the first difference in classes or sizes, or None."""
    names, counts = record.classes["names"], record.classes["counts"]
    if list(splits.names) != names:
        here, there = (len(set(one) - set(other)) for one, other in ((splits.names, names), (names, splits.names)))
        return (
            f"{len(splits.names)} classes, there {len(names)}; {here} of them are new and {there} are missing, by their names"
        )
    found = splits.stats.counts.tolist()
    for name, here, there in zip(names, found, counts, strict=True):
        if here != there:
            return f"class '{plain(name)}' has {here:,} training images, there {there:,}"
    images = record.predictors[record.headline]["splits"].get("test", {}).get("images")
    if len(splits.test) != images:
        return f"{len(splits.test):,} test images, there {images:,}"
    return None


def _here(job: Job) -> dict[str, object]:
    """Returns the provenance that the coming run will record."""
    runtime = job.settings.runtime
    device = device_of(runtime.device)
    return provenance() | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "devices": processes(),
        "threads": runtime.threads or torch.get_num_threads(),
        "precision": Precision(runtime.precision, device).name,
    }


def _compare(record: RunRecord, done: RunRecord) -> None:
    if done.seed != record.seed:
        print(f"seed {done.seed} is another run of the row of seed {record.seed}:")
    for line in numbers(record, done):
        print(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun rerun", description="Train the run of a result.json again, here, and compare its numbers with the recorded ones."
    )
    parser.add_argument("run", type=Path, metavar="RESULT.json", help="a result, or the folder of a run")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="KEY=VALUE",
        help="outputs=DIR, dataset.root=DIR, seed=N, runtime.device=cpu, plugins=[NAME] ...",
    )
    parser.add_argument("--print", action="store_true", help="print the command of the run, and train nothing")
    return parser
