"""`ltrun method=...`: training of one run or of a sweep."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltrun import streams
from ltrun.errors import ConfigError

if TYPE_CHECKING:
    from ltrun.config.experiment import PublishedTable
    from ltrun.config.job import Job
    from ltrun.sweep.outcome import Outcome


def main(argv: list[str]) -> int:
    """Trains the job of a command line, or the jobs of a sweep; lets Hydra answer its own flags, such as `--cfg job`."""
    from ltrun.config import search_path
    from ltrun.config.experiment import PublishedTable, sweep_of, table_of
    from ltrun.config.words import CONFIG_DIR, MULTIRUN, for_hydra

    given, lines = argv, sweep_of(argv)
    table = table_of(argv) if lines else PublishedTable()
    flags = {word.partition("=")[0] for word in argv if word.startswith("-")}
    argv = for_hydra([MULTIRUN[0], *argv] if lines and flags <= {*CONFIG_DIR} else argv)
    search_path.use(argv)
    sweep = any(word in MULTIRUN for word in argv)
    outcomes: list[Outcome] = []
    try:
        if any(word.startswith("-") and word not in (*MULTIRUN, *CONFIG_DIR) for word in argv):
            _ask_hydra(argv)
        else:
            streams.outlive()
            _train(search_path.without_flags(argv), sweep, outcomes, search_path.words_of(argv), lines, table)
    except BaseException as error:
        if outcomes:
            _conclude(outcomes, sweep, table, table.chooses(lines), given)  # the table of a sweep that was cut short
        if not isinstance(error, Exception):
            raise
        from ltrun.config.explain import explained

        raise explained(error, argv) from None
    return _conclude(outcomes, sweep, table, table.chooses(lines), given)


def _train(
    words: Sequence[str],
    sweep: bool,
    outcomes: list[Outcome],
    search_path: Sequence[str],
    lines: Sequence[Sequence[str]],
    table: PublishedTable,
) -> None:
    """Composes every job, then trains the unfinished ones: here, or with a launcher if an override configures Hydra.

    search_path: words that name folders of options. lines, table: the sweep of an experiment.
    """
    from ltrun.config.compose import hydra_ready
    from ltrun.engine.progress import show_log
    from ltrun.sweep.combinations import combinations
    from ltrun.sweep.experiment import commands_of
    from ltrun.sweep.jobs import compose_jobs, train, train_here, without_refused
    from ltrun.sweep.launch import check, launch, overrides_of_hydra, search_of, train_under_hydra, without_search
    from ltrun.sweep.outcome import tell
    from ltrun.sweep.references import once, refuse_alone, with_references
    from ltrun.sweep.together import refuse_budget, refuse_launcher

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(outcome, named=sweep)

    def go(jobs: Sequence[Job], hydra: Sequence[str]) -> None:
        if hydra:
            launch(jobs, hydra, len(jobs) + len(outcomes), note, outcomes.append)
        else:
            train(jobs, len(jobs) + len(outcomes), note)

    show_log()
    with hydra_ready():
        hydra = overrides_of_hydra(words)
        if hydra:
            refuse_launcher()
            check(hydra, sweep)
        words = [word for word in words if word not in hydra]
        settings, budget = search_of(hydra), any(word.lstrip("+").startswith("sweep.budget=") for word in words)
        refuse_alone(words, sweep, settings is not None)
        if settings:
            if budget:
                raise ConfigError("sweep.budget: a search ends after hydra.sweeper.n_trials trials; leave it out")
            others = without_search(hydra)
            _search(words, settings, lambda jobs: go(without_refused(jobs, note), others), note, search_path)
            return
        commands = commands_of(lines, words, table.chooses(lines)) if lines else combinations(words) if sweep else [list(words)]
        compose = once()
        jobs = compose_jobs(with_references(commands, compose) if sweep else commands, note, search_path, compose)
        if jobs and (sweep or budget):  # an experiment's budget is of its sweep, not of one of its jobs alone
            refuse_budget(jobs[0].settings.sweep, sweep, bool(hydra) and "hydra/launcher=gpus" not in hydra)
        if not sweep:
            for job in jobs:
                note(train_under_hydra(job, hydra) if hydra else train_here(job, alone=True))
            return
        go(without_refused(jobs, note), hydra)


def _search(
    words: Sequence[str],
    settings: Mapping[str, Any],
    go: Callable[[Sequence[Job]], None],
    note: Callable[[Outcome], None],
    search_path: Sequence[str],
) -> None:
    """Searches the values of a command line, and prints the best ones. settings: of the search. go: trains jobs."""
    from ltrun.config.compose import compose_job
    from ltrun.sweep.combinations import space_of
    from ltrun.sweep.jobs import compose_jobs
    from ltrun.sweep.search import Search

    search = Search(*space_of(words), settings)
    print(search.run(compose_job, lambda commands: go(compose_jobs(commands, note, search_path))))


def _ask_hydra(argv: Sequence[str]) -> None:
    """Lets Hydra answer its flags, such as --cfg job. Raises ConfigError for flags with which Hydra would train."""
    import hydra

    from ltrun.config.compose import composed_by_hydra, hydra_ready
    from ltrun.config.published import with_recipe
    from ltrun.config.words import flags_and_overrides

    flags, overrides = flags_and_overrides(argv)
    with hydra_ready():
        argv = [*flags, *with_recipe(overrides, composed_by_hydra)]
    reached = []

    def task(_: object) -> None:
        reached.append(" ".join(word for word in argv if word.startswith("-")))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed with a traceback
    sys.argv[1:] = argv
    hydra.main(config_path="pkg://ltrun.conf", config_name="config", version_base="1.3")(task)()
    for flag in reached:
        raise ConfigError(f"{flag}: a run is trained without this flag; leave it out")


def _conclude(outcomes: Sequence[Outcome], sweep: bool, table: PublishedTable, choose: bool, given: Sequence[str]) -> int:
    """Prints the table of finished runs, and lists the jobs without a result. Returns the exit code.

    table: of an experiment. choose: whether to compare the methods on the validation split. given: the words of the command
    line.
    """
    from ltrun.commands.report import print_sweep
    from ltrun.config.words import command_line
    from ltrun.report.render.common import plain
    from ltrun.sweep.rest import rest

    done = [outcome.folder for outcome in outcomes if outcome.state == "done" and outcome.folder]
    if done or (sweep and outcomes):
        print_sweep(done, choose, table)
    if sweep:
        again = [word for word in given if not re.match(r"\+*force=", word)]  # force=true would start over
        for line in rest(outcomes, command_line(again)):
            print(plain(line), file=sys.stderr)
    return 0 if all(outcome.state == "done" for outcome in outcomes) else 1
