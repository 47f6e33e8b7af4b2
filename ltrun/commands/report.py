"""`ltrun report`: tables and figures of runs; and the table at the end of a sweep."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun.errors import ConfigError, DataError, LtrunError
from ltrun.metrics import SETS, STORED, TASKS
from ltrun.report.bibliography import bibliography, cited
from ltrun.report.choice import choice, with_costs
from ltrun.report.collect import DEFAULT, Problem, collect, places
from ltrun.report.group import tables
from ltrun.report.plots import FORMATS as FIGURES
from ltrun.report.plots import Place, place_of, plot, plot_confusion
from ltrun.report.published import with_printed, with_published
from ltrun.report.render import FORMATS
from ltrun.report.render.common import complain, plain
from ltrun.report.render.latex import latex
from ltrun.report.render.terminal import terminal
from ltrun.report.table import Table
from ltrun.results.atomic import write_atomically
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.config.experiment import PublishedTable

COMPUTED = {*SETS, *(metric.name for metrics in STORED.values() for metric in metrics)}  # not in records
LISTED = 5  # the largest number of unfinished runs to name


def main(argv: Sequence[str]) -> int:
    """Prints tables to standard output, so that `> table.tex` holds nothing else, and problems to standard error."""
    asked = _parser().parse_args(argv)
    problems: list[Problem] = []
    try:
        _refuse_contradictions(asked)
        if asked.html:
            return _page(asked)
        if asked.figures and not (asked.plots or asked.confusion):
            raise ConfigError("--format applies to figures: say where they go with --plots FOLDER or --confusion FOLDER")
        if asked.experts and (asked.per_class or asked.confusion):
            raise ConfigError("--experts: --per-class and --confusion read the predictions of whole ensembles; leave one out")
        figures = place_of(asked.plots, asked.figures) if asked.plots else None
        maps = place_of(asked.confusion, asked.figures, "--confusion") if asked.confusion else None
        paths = places(asked.paths)
        records, problems = collect(paths)
        if not records:
            under = ", ".join(map(str, paths))
            raise DataError(f"no finished run under {under}: train one with 'ltrun method=erm', or name another folder")
        if asked.experts and not any(record.without_experts() is not record for record in records):
            raise ConfigError("--experts: no run has experts; train an ensemble such as method=ride, or leave --experts out")
        metric = _metric(asked)
        if metric in COMPUTED:
            records = _computed(records, metric, asked.split, asked.lists)
        made = tables(records, metric, asked.split, asked.by, asked.experts)
        if asked.published:
            made = with_published(made)
        shown = _of_classes(made, asked.per_class, maps) if asked.per_class or maps else made
        if asked.bib:
            papers = cited(shown)
            write_atomically(asked.bib, bibliography(papers).encode())
            sys.stdout.write(latex(shown, papers))
        elif asked.format:
            sys.stdout.write(FORMATS[asked.format](shown))
        else:
            terminal(shown)
        if figures:
            complain(plot(made, figures))
    except LtrunError as error:
        complain([*problem_lines(problems), f"ltrun: {error}"])
        return 1
    complain(problem_lines(problems))
    return 0


def _metric(asked: argparse.Namespace) -> str | None:
    """Returns the metric or the set of metrics that a command names. Raises ConfigError for two of them."""
    flags = [name for name in SETS if getattr(asked, name)]
    if len([*flags, *filter(None, [asked.metric])]) > 1:
        named = [*(f"--{name}" for name in flags), *([f"--metric {asked.metric}"] if asked.metric else [])]
        raise ConfigError(f"{' and '.join(named)} each ask for a table of their own: name one at a time")
    return flags[0] if flags else asked.metric


def _computed(records: Sequence[RunRecord], metric: str, split: str, lists: Path | None = None) -> list[RunRecord]:
    """Returns the records with a metric that none of them holds. Raises LtrunError."""
    if metric == "relative":
        from ltrun.report.relative import with_relative

        found, notes = with_relative(records, split)
    else:
        from ltrun.report.stored import with_stored  # NumPy is for those who ask for such a metric

        found, notes = with_stored(records, metric, split, lists)
    complain(notes)
    return found


def _page(asked: argparse.Namespace) -> int:
    """Writes the page of `--html`, with `--watch` again and again. Returns the exit code. Raises LtrunError."""
    from ltrun.report.page.contents import Asked
    from ltrun.report.page.write import refuse_place, watch, write

    refuse_place(asked.html)
    wanted = Asked(asked.by, _metric(asked), asked.split, asked.experts, asked.lists)
    paths = places(asked.paths, awaited=asked.watch)
    if asked.watch:
        print(f"watching {', '.join(map(str, paths))}: {asked.html} loads itself anew until all runs have ended; Ctrl-C stops")
        for found in watch(paths, asked.html, wanted):
            counts = Counter(state.state for state in found.states)
            print(f"{asked.html} written: " + ", ".join(f"{n:,} {word}" for word, n in counts.items()), flush=True)
        return 0
    found = write(paths, asked.html, wanted)
    complain([*found.notes, *problem_lines(found.problems)])
    print(f"{asked.html} written: {len(found.records):,} runs, {asked.html.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0


def _refuse_contradictions(asked: argparse.Namespace) -> None:
    """Raises ConfigError for flags that do not belong together."""
    if asked.watch and not asked.html:
        raise ConfigError("--watch writes a page again and again: say which with --html FILE")
    if asked.lists and _metric(asked) != "shifts":
        raise ConfigError("--lists names SADE's test sets of other class distributions: add --shifts")
    if asked.html and (asked.per_class or asked.published or asked.confusion or asked.plots):
        raise ConfigError("--html: the page shows classes, confusion, figures and published numbers; leave those flags out")
    if asked.bib and asked.format != "latex":
        raise ConfigError("--bib writes the papers that a LaTeX table cites: add --latex")
    if asked.published and asked.per_class:
        raise ConfigError("--published: no values of classes are published; leave out --per-class")


def _of_classes(made: Sequence[Table], values: bool, maps: Place | None) -> Sequence[Table]:
    """Draws confusion matrices, if `maps` gives their place. Returns the tables to show: `made`, or values of each class.

    Raises LtrunError.
    """
    from ltrun.report.confusion import confusions
    from ltrun.report.per_class import per_class

    confused, notes = confusions(made)
    complain(notes)
    if not confused:
        raise DataError("no run has its predictions.npz beside its result: copy them from the machine that trained the runs")
    if maps:
        complain(plot_confusion(confused, maps))
    return per_class(confused) if values else made


def print_sweep(run_dirs: Sequence[Path], choose: bool = False, table: PublishedTable | None = None) -> None:
    """Prints the table of these runs, and relative accuracy where the runs hold its references.

    choose: whether to say which method to take, by a table of the validation split. table: of an experiment, with the published
    numbers beside. References neither take part in the choice nor have published numbers.
    """
    from ltrun.report.relative import with_both
    from ltrun.results.references import is_balanced

    records, problems = collect([folder for folder in run_dirs if folder.is_dir()])
    metric, split = table.metric if table else None, "val" if choose else "test"
    related = with_both(records, split) if metric != "relative" else []
    printed = table.printed if table else {}
    own = [record for record in records if not is_balanced(record)] if choose or printed else []
    shown = own or records
    if records and choose:
        for each in with_costs(shown):
            terminal([each])
            print(plain(choice(each)))
    elif records:
        made = tables(_computed(shown, metric, "test") if metric else shown, metric)
        terminal(with_printed(made, printed) if printed else made)
    else:
        complain(["no run of this sweep has finished"])
    if related:
        terminal(tables(related, "relative", split))
    complain(problem_lines(problems))


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Returns a line for each problem, and a count. Names only a few unfinished runs: a sweep under way has many."""
    lines = [problem.text for problem in problems if problem.kind != "unfinished"]
    waiting = [str(problem.path) for problem in problems if problem.kind == "unfinished"]
    if waiting:
        more = f" and {len(waiting) - LISTED} more" if len(waiting) > LISTED else ""
        lines.append(f"unfinished, or still running: {', '.join(waiting[:LISTED])}{more}")
    counts = Counter(problem.kind for problem in problems)
    return [*lines, "not in the tables: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())] if counts else []


def _figure_formats(text: str) -> list[str]:
    found = list(dict.fromkeys(word.strip().lower().removeprefix(".") for word in text.split(",") if word.strip()))
    for word in found:
        if word in FORMATS:
            raise argparse.ArgumentTypeError(f"figures are {', '.join(FIGURES)}; a table as {word} is --{word}")
        if word not in FIGURES:
            raise argparse.ArgumentTypeError(f"'{word}' is not a format of figures; known: {', '.join(FIGURES)}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun report",
        description="Tables of runs: a row per method and its changes, with mean and standard deviation over seeds.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FOLDER", help=DEFAULT)
    parser.add_argument(
        "--by",
        action="extend",
        type=lambda text: [key for key in text.split(",") if key],
        default=[],
        metavar="KEY,...",
        help="group by these instead: a slot (margin), seed, method, dataset, predictor, or any dotted key (optimizer.lr)",
    )
    known = ", ".join(dict.fromkeys(metric.name for metrics in (*TASKS.values(), *STORED.values()) for metric in metrics))
    parser.add_argument(
        "--metric", metavar="NAME", help=f"{known}, cost, or another metric of the runs; default: the first of their task"
    )
    parser.add_argument(
        "--shifts", action="store_true", help="accuracy on test sets as long-tailed as training, and the reverse"
    )
    parser.add_argument(
        "--lists",
        type=Path,
        metavar="FOLDER",
        help="with --shifts: SADE's lists of ImageNet-LT, Places-LT and iNaturalist 2018",
    )
    parser.add_argument("--predicted", action="store_true", help="the share of the predictions that each shot group gets")
    parser.add_argument(
        "--relative", action="store_true", help="accuracy relative to balanced training (dataset.profile=balanced)"
    )
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument(
        "--plots",
        type=Path,
        metavar="PLACE",
        help="write figures of classes and groups: a folder, or x.pdf for x-classes.pdf ...",
    )
    parser.add_argument(
        "--format", dest="figures", action="extend", type=_figure_formats, default=[], metavar="FORMAT,...",
        help="formats of figures: pdf, svg, png",
    )  # fmt: skip
    parser.add_argument("--experts", action="store_true", help="a row of each expert; with --plots a figure too")
    parser.add_argument("--per-class", action="store_true", help="precision, recall and F1 of each class instead")
    parser.add_argument(
        "--confusion", type=Path, metavar="PLACE", help="write a heat map of each row, and its matrix as CSV, as for --plots"
    )
    parser.add_argument("--published", action="store_true", help="the published number and the gap beside each row")
    parser.add_argument("--bib", type=Path, metavar="FILE", help="with --latex: cite the methods' papers, written to FILE")
    parser.add_argument("--watch", action="store_true", help="with --html: write the page again while runs go on")
    formats = parser.add_mutually_exclusive_group()
    for name in FORMATS:
        formats.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name}")
    formats.add_argument("--html", type=Path, metavar="FILE", help="write one page to sort, filter, open and compare rows")
    return parser
